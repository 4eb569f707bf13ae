/* Kernels and operations against naive ones in double, at sizes that fill no register. */
#include "base/bytes.h"
#include "kernels/exponential.h"
#include "ops/ops.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const size_t sizes[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 100, 255, 1000};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const tq_kernels *kernels(void) {
  const tq_kernels *chosen;
  ck_ok(tq_kernels_choose(NULL, &chosen, error));
  return chosen;
}

static float *random_floats(size_t count, float size, uint64_t seed) {
  float *floats = calloc(count, sizeof *floats);
  for (size_t i = 0; i < count; i++) floats[i] = size * random_float(&seed);
  return floats;
}

static void ck_near(double actual, double expected, double tolerance) {
  ck_assert_msg(fabs(actual - expected) <= tolerance, "%.9g is not %.9g within %g", actual, expected, tolerance);
}

/* ---- kernels ---- */

/* The order of summation that kernels.h states, written out without loops over lanes. */
static float stated_sum(const float *terms, size_t count) {
  float s[16] = {0};
  for (size_t i = 0; i < count; i++) s[i % 16] = s[i % 16] + terms[i];
  float a[8], b[4];
  for (int j = 0; j < 8; j++) a[j] = s[j] + s[j + 8];
  for (int j = 0; j < 4; j++) b[j] = a[j] + a[j + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

START_TEST(sums_have_the_stated_order) {
  size_t count = sizes[_i];
  float *x = random_floats(count, 1, 1), *weight = random_floats(count, 1, 2), *y = malloc(count * sizeof *y);
  float *squares = malloc(count * sizeof *squares);
  for (size_t i = 0; i < count; i++) squares[i] = x[i] * x[i];
  float r = 1.0f / sqrtf(stated_sum(squares, count) / (float)count + 1e-5f);
  kernels()->rms_norm(x, weight, count, 1e-5f, y);
  for (size_t i = 0; i < count; i++) {
    float scaled = x[i] * r;
    ck_assert(y[i] == scaled * weight[i]);
  }
  free(x);
  free(weight);
  free(y);
  free(squares);
}
END_TEST

START_TEST(add_adds) {
  size_t count = sizes[_i];
  float *x = random_floats(count, 1, 3), *y = random_floats(count, 1, 4), *before = random_floats(count, 1, 4);
  kernels()->add(y, x, count);
  for (size_t i = 0; i < count; i++) ck_assert(y[i] == before[i] + x[i]);
  free(x);
  free(y);
  free(before);
}
END_TEST

START_TEST(halves_are_rounded_as_everywhere) {
  size_t count = sizes[_i];
  float *x = random_floats(count, 70000, 5);
  uint16_t *halves = malloc(count * sizeof *halves);
  x[0] = 1e-7f;
  kernels()->to_half(x, count, halves);
  for (size_t i = 0; i < count; i++) ck_assert_uint_eq(halves[i], tq_f32_to_f16(x[i]));
  free(x);
  free(halves);
}
END_TEST

/* In units of the last place of a float near the exact value. */
static double error_in_ulp(float x) {
  double exact = exp((double)x);
  double ulp = exact < (double)FLT_MIN ? 0x1p-149 : ldexp(1, ilogb(exact) - 23);
  return fabs((double)tq_exp(x) - exact) / ulp;
}

/* All floats were tried once (see exponential.h); here a share of them, every magnitude and sign among them. */
START_TEST(exp_is_within_its_bound) {
  double worst = 0, worst_denormal = 0;
  for (uint32_t bits = 0; bits < 0xff000000u; bits += 4093) {
    float x;
    memcpy(&x, &bits, sizeof x);
    if (!isfinite(x) || x > 88.72f) continue;
    double *place = exp((double)x) < (double)FLT_MIN ? &worst_denormal : &worst;
    *place = fmax(*place, error_in_ulp(x));
  }
  for (float x = -104; x < 88.7f; x += 0.000917f) {
    double *place = exp((double)x) < (double)FLT_MIN ? &worst_denormal : &worst;
    *place = fmax(*place, error_in_ulp(x));
  }
  ck_assert_msg(worst <= 1.05 && worst_denormal <= 0.76, "%g ulp, %g where denormal", worst, worst_denormal);
  ck_assert_msg(worst > 0.5, "the test sees no error at all");
}
END_TEST

START_TEST(exp_has_the_right_ends) {
  ck_assert(tq_exp(0.0f) == 1.0f && tq_exp(-0.0f) == 1.0f);
  ck_assert(isinf(tq_exp(89.0f)) && isinf(tq_exp(INFINITY)) && isinf(tq_exp(FLT_MAX)));
  ck_assert(tq_exp(88.72f) < INFINITY && tq_exp(88.72f) > 3e38f);
  ck_assert(tq_exp(-INFINITY) == 0.0f && tq_exp(-104.0f) == 0.0f && tq_exp(-FLT_MAX) == 0.0f);
  ck_assert(tq_exp(-103.2f) == 0x1p-149f);
  ck_assert(isnan(tq_exp(NAN)));
}
END_TEST

START_TEST(unknown_kernels_are_refused) {
  const tq_kernels *chosen;
  ck_ok(tq_kernels_choose("scalar", &chosen, error));
  ck_assert_str_eq(chosen->name, "scalar");
  ck_fails(tq_kernels_choose("avx9000", &chosen, error), TQ_ERROR_USAGE, "are called \"avx9000\"");
}
END_TEST

/* ---- linear ---- */

enum { ROWS = 37 };

static tq_matrix ternary_matrix(uint32_t encoding, uint64_t columns, uint32_t granularity, float *weights) {
  uint64_t seed = columns, row_bytes = tq_trit_row_bytes(encoding, columns);
  uint32_t group = granularity == TQ_PER_GROUP ? 32 : 0;
  uint64_t scale_count = tq_scale_count(granularity, group, ROWS, columns);
  uint8_t *values = malloc((size_t)(ROWS * row_bytes)), *scales = malloc((size_t)(4 * scale_count));
  uint8_t *row = malloc((size_t)row_bytes);
  int8_t *trits = malloc((size_t)columns);
  for (uint64_t i = 0; i < scale_count; i++) tq_store_f32(scales + 4 * i, 1 + random_float(&seed) / 2);
  for (uint64_t r = 0; r < ROWS; r++) {
    for (uint64_t c = 0; c < columns; c++) {
      uint64_t index = tq_scale_index(granularity, group, ROWS, columns, r, c);
      trits[c] = (int8_t)(random_u64(&seed) % 3 - 1);
      weights[r * columns + c] = (float)trits[c] * tq_load_f32(scales + 4 * index);
    }
    tq_trits_pack(encoding, trits, columns, row);
    tq_panel_store_row(values, ROWS, r, row_bytes, row);
  }
  free(trits);
  free(row);
  return (tq_matrix){.rows = ROWS,
                     .columns = columns,
                     .encoding = encoding,
                     .values = values,
                     .row_bytes = row_bytes,
                     .scales = scales,
                     .scale_encoding = TQ_F32,
                     .granularity = granularity,
                     .group = group};
}

static void check_linear(const tq_linear *linear, const float *weights, size_t count) {
  size_t rows = (size_t)linear->weights.rows, columns = (size_t)linear->weights.columns;
  float *x = random_floats(count * columns, 1, 9), *y = malloc(count * rows * sizeof *y);
  float *scratch = malloc(tq_linear_scratch(columns) * sizeof *scratch);
  size_t middle = rows / 2 / TQ_PANEL_ROWS * TQ_PANEL_ROWS;
  const tq_input input = {.plain = x};
  tq_op_linear(kernels(), linear, middle, rows, &input, count, y, scratch);
  tq_op_linear(kernels(), linear, 0, middle, &input, count, y, scratch);
  for (size_t t = 0; t < count; t++) {
    for (size_t r = 0; r < rows; r++) {
      double sum = 0;
      for (size_t c = 0; c < columns; c++) sum += (double)weights[r * columns + c] * (double)x[t * columns + c];
      sum = sum * (double)linear->output_scale + (linear->bias ? (double)linear->bias[r] : 0);
      ck_near((double)y[t * rows + r], sum, 2e-6 * sqrt((double)columns) + 1e-6);
    }
  }
  free(x);
  free(y);
  free(scratch);
}

START_TEST(linear_is_right_for_ternary_codes) {
  static const uint32_t codes[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3};
  size_t columns = sizes[_i];
  float *weights = malloc(ROWS * columns * sizeof *weights), *bias = random_floats(ROWS, 1, 8);
  for (size_t code = 0; code < 2; code++) {
    for (uint32_t granularity = TQ_PER_TENSOR; granularity <= TQ_PER_GROUP; granularity++) {
      tq_linear linear = {.weights = ternary_matrix(codes[code], columns, granularity, weights), .output_scale = 1};
      check_linear(&linear, weights, 3);
      linear.bias = bias;
      check_linear(&linear, weights, 1);
      linear.output_scale = 0.375f;
      check_linear(&linear, weights, 2);
      linear.bias = NULL;
      check_linear(&linear, weights, 2);
      free((void *)(uintptr_t)linear.weights.values);
      free((void *)(uintptr_t)linear.weights.scales);
    }
  }
  free(weights);
  free(bias);
}
END_TEST

/* A scale inside the weights, or beside weights whose own scale is 1: the same but for the last bits. */
START_TEST(scales_may_stand_beside_the_weights) {
  size_t columns = sizes[_i];
  float *weights = malloc(ROWS * columns * sizeof *weights), *x = random_floats(columns, 1, 9);
  float *scratch = malloc(tq_linear_scratch(columns) * sizeof *scratch), inside[ROWS], beside[ROWS];
  const tq_input input = {.plain = x};
  uint8_t scale[4];
  tq_linear linear = {.weights = ternary_matrix(TQ_TERNARY_BASE3, columns, TQ_PER_TENSOR, weights), .output_scale = 1};
  const uint8_t *own = linear.weights.scales;
  linear.weights.scales = scale;
  tq_store_f32(scale, 0.0173f);
  tq_op_linear(kernels(), &linear, 0, ROWS, &input, 1, inside, scratch);
  tq_store_f32(scale, 1);
  linear.output_scale = 0.0173f;
  tq_op_linear(kernels(), &linear, 0, ROWS, &input, 1, beside, scratch);
  for (size_t r = 0; r < ROWS; r++)
    ck_near((double)beside[r], (double)inside[r], 1e-7 * 0.0173 * sqrt((double)columns) * 4);
  free((void *)(uintptr_t)linear.weights.values);
  free((void *)(uintptr_t)own);
  free(weights);
  free(x);
  free(scratch);
}
END_TEST

START_TEST(linear_and_embedding_are_right_for_floats) {
  size_t columns = sizes[_i];
  float *weights = random_floats(7 * columns, 1, 5), *row = malloc(columns * sizeof *row);
  float *scratch = malloc(tq_linear_scratch(columns) * sizeof *scratch);
  uint8_t *bytes = malloc(7 * columns * 4);
  for (size_t i = 0; i < 7 * columns; i++) tq_store_f32(bytes + 4 * i, weights[i]);
  tq_linear linear = {
      .weights = {.rows = 7, .columns = columns, .encoding = TQ_F32, .values = bytes, .row_bytes = 4 * columns},
      .output_scale = 1};
  check_linear(&linear, weights, 4);
  tq_op_embedding(&linear.weights, 6, row, scratch);
  ck_assert_mem_eq(row, weights + 6 * columns, columns * sizeof *row);
  free(weights);
  free(row);
  free(scratch);
  free(bytes);
}
END_TEST

/* ---- the others ---- */

START_TEST(norm_is_right) {
  size_t size = sizes[_i];
  float *x = random_floats(size, 3, 11), *weight = random_floats(size, 2, 12), *y = malloc(size * sizeof *y);
  double sum = 0;
  for (size_t i = 0; i < size; i++) sum += (double)x[i] * (double)x[i];
  double root = sqrt(sum / (double)size + 1e-5);
  kernels()->rms_norm(x, weight, size, 1e-5f, y);
  for (size_t i = 0; i < size; i++) ck_near((double)y[i], (double)x[i] * (double)weight[i] / root, 3e-6);
  kernels()->rms_norm(x, weight, size, 1e-5f, x);
  ck_assert_mem_eq(x, y, size * sizeof *x);
  free(x);
  free(weight);
  free(y);
}
END_TEST

START_TEST(norm_of_zeros_is_zero) {
  float x[3] = {0}, weight[3] = {1, 2, 3};
  kernels()->rms_norm(x, weight, 3, 1e-6f, x);
  for (int i = 0; i < 3; i++) ck_assert(x[i] == 0.0f);
}
END_TEST

START_TEST(rope_turns_by_the_angle) {
  size_t pairs = sizes[_i];
  double *frequencies = malloc(pairs * sizeof *frequencies);
  float *x = random_floats(2 * pairs, 1, 13), *before = random_floats(2 * pairs, 1, 13);
  float *cosines = malloc(pairs * sizeof *cosines), *sines = malloc(pairs * sizeof *sines);
  for (size_t i = 0; i < pairs; i++) frequencies[i] = pow(10000, -(double)i / (double)pairs);
  tq_op_rope_angles(frequencies, pairs, 123457, 1.25, cosines, sines);
  kernels()->rope(x, pairs, cosines, sines);
  for (size_t i = 0; i < pairs; i++) {
    double angle = 123457 * frequencies[i], a = (double)before[i], b = (double)before[i + pairs];
    ck_near((double)x[i], 1.25 * (a * cos(angle) - b * sin(angle)), 1e-6);
    ck_near((double)x[i + pairs], 1.25 * (a * sin(angle) + b * cos(angle)), 1e-6);
  }
  free(frequencies);
  free(x);
  free(before);
  free(cosines);
  free(sines);
}
END_TEST

/* Keys and values of one head in random numbers of their type, and what these are. */
typedef struct cached {
  tq_cached_head head;
  double *keys, *values; /* [position][size] */
  void *memory[4];
} cached;

static double store_number(const tq_cached_head *head, void *numbers, size_t index, float number, float step) {
  if (head->key_steps) {
    ((int8_t *)numbers)[index] = (int8_t)(127 * number);
    return (double)((int8_t *)numbers)[index] * (double)step;
  }
  ((uint16_t *)numbers)[index] = tq_f32_to_f16(number);
  return (double)tq_f16_to_f32(((uint16_t *)numbers)[index]);
}

static cached make_cached(size_t positions, size_t size, bool integers) {
  size_t rounded = (positions + TQ_KEY_LANES - 1) / TQ_KEY_LANES * TQ_KEY_LANES;
  uint64_t seed = positions + size;
  float *key_steps = calloc(rounded, sizeof *key_steps), *value_steps = calloc(rounded, sizeof *value_steps);
  void *keys = calloc(rounded * size, 2), *values = calloc(rounded * size, 2);
  cached made = {.head = {keys, values, integers ? key_steps : NULL, integers ? value_steps : NULL},
                 .keys = malloc(positions * size * sizeof *made.keys),
                 .values = malloc(positions * size * sizeof *made.values),
                 .memory = {keys, values, key_steps, value_steps}};
  for (size_t p = 0; p < positions; p++) {
    key_steps[p] = (1.5f + random_float(&seed)) / 127;
    value_steps[p] = (1.5f + random_float(&seed)) / 127;
    for (size_t i = 0; i < size; i++) {
      size_t place = (p / TQ_KEY_LANES * size + i) * TQ_KEY_LANES + p % TQ_KEY_LANES;
      made.keys[p * size + i] = store_number(&made.head, keys, place, random_float(&seed), key_steps[p]);
      made.values[p * size + i] = store_number(&made.head, values, p * size + i, random_float(&seed), value_steps[p]);
    }
  }
  return made;
}

static void free_cached(cached *of) {
  for (size_t i = 0; i < 4; i++) free(of->memory[i]);
  free(of->keys);
  free(of->values);
}

static void check_query(const cached *of, const tq_query *query, size_t size, float spread) {
  double *weights = malloc(query->positions * sizeof *weights), sum = 0, largest = -INFINITY;
  for (size_t p = 0; p < query->positions; p++) {
    weights[p] = 0;
    for (size_t i = 0; i < size; i++) weights[p] += (double)query->query[i] * of->keys[p * size + i];
    weights[p] /= sqrt((double)size);
    largest = fmax(largest, weights[p]);
  }
  for (size_t p = 0; p < query->positions; p++) sum += weights[p] = exp(weights[p] - largest);
  for (size_t i = 0; i < size; i++) {
    double expected = 0;
    for (size_t p = 0; p < query->positions; p++) expected += weights[p] / sum * of->values[p * size + i];
    ck_near((double)query->y[i], expected, 4e-6 * (1 + (double)spread));
  }
  free(weights);
}

/* Queries that look back on ever fewer positions. */
static void check_attention(size_t positions, size_t size, size_t count, float spread, bool integers) {
  cached of = make_cached(positions, size, integers);
  float *x = random_floats(count * size, spread, 14), *y = calloc(count * size, sizeof *y);
  float *scratch = malloc(TQ_ATTENTION_SCRATCH * sizeof *scratch);
  tq_query queries[TQ_ATTENTION_QUERIES];
  for (size_t i = 0; i < count; i++)
    queries[i] = (tq_query){x + i * size, y + i * size, i < positions ? positions - i : 1};
  kernels()->attention(&of.head, queries, count, size, 1 / sqrtf((float)size), scratch);
  for (size_t i = 0; i < count; i++) check_query(&of, &queries[i], size, spread);
  free_cached(&of);
  free(x);
  free(y);
  free(scratch);
}

START_TEST(attention_is_right) {
  for (int integers = 0; integers < 2; integers++) {
    for (size_t i = 0; i < SIZES; i++) check_attention(sizes[i], sizes[_i], 1 + i % 7, 1, integers);
    check_attention(90, sizes[_i], TQ_ATTENTION_QUERIES, 1, integers);
    check_attention(50, sizes[_i], 3, 200, integers); /* scores that exp alone would not hold */
  }
}
END_TEST

/* A position whose step is none is seen by those that look back on it, and by no others. */
START_TEST(attention_shows_what_is_not_a_number) {
  enum { POSITIONS = 70, SIZE = 33 };
  for (int values = 0; values < 2; values++) {
    cached of = make_cached(POSITIONS, SIZE, true);
    float x[SIZE] = {0}, y[2][SIZE], *scratch = malloc(TQ_ATTENTION_SCRATCH * sizeof *scratch);
    const tq_query queries[] = {{x, y[0], 67}, {x, y[1], 66}};
    ((float *)of.memory[values ? 3 : 2])[66] = NAN;
    kernels()->attention(&of.head, queries, 2, SIZE, 0.25f, scratch);
    for (size_t i = 0; i < SIZE; i++) ck_assert(isnan(y[0][i]) && isfinite(y[1][i]));
    free_cached(&of);
    free(scratch);
  }
}
END_TEST

START_TEST(gates_are_right) {
  size_t size = sizes[_i];
  float *gate = random_floats(size, 9, 17), *up = random_floats(size, 2, 18), *y = malloc(size * sizeof *y);
  kernels()->gate_silu(gate, up, y, size);
  for (size_t i = 0; i < size; i++)
    ck_near((double)y[i], (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i], 4e-6);
  kernels()->gate_squared_relu(gate, up, y, size);
  for (size_t i = 0; i < size; i++) {
    double positive = fmax((double)gate[i], 0);
    ck_near((double)y[i], positive * positive * (double)up[i], 3e-5);
  }
  kernels()->gate_squared_relu(gate, up, gate, size);
  ck_assert_mem_eq(gate, y, size * sizeof *y);
  free(gate);
  free(up);
  free(y);
}
END_TEST

START_TEST(silu_has_the_right_ends) {
  float gate[] = {-200, -88, 0, 200}, up[] = {1, 1, 1, 1}, y[4];
  kernels()->gate_silu(gate, up, y, 4);
  ck_assert(y[0] == 0.0f && y[1] < 0.0f && y[1] > -1e-35f && y[2] == 0.0f && y[3] == 200.0f);
}
END_TEST

START_TEST(cross_entropy_is_right) {
  size_t size = sizes[_i];
  float *logits = random_floats(size, 20, 19);
  double sum = 0;
  for (size_t i = 0; i < size; i++) sum += exp((double)logits[i]);
  for (size_t target = 0; target < size; target += 1 + size / 7)
    ck_near(tq_op_cross_entropy(logits, size, target), log(sum) - (double)logits[target], 1e-9);
  for (size_t i = 0; i < size; i++) logits[i] = 1e30f; /* equal, and too large for exp */
  ck_near(tq_op_cross_entropy(logits, size, 0), log((double)size), 1e-12);
  free(logits);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("ops");
  TCase *kernel = tcase_create("kernels"), *op = tcase_create("ops");
  tcase_add_loop_test(kernel, sums_have_the_stated_order, 0, SIZES);
  tcase_add_loop_test(kernel, add_adds, 0, SIZES);
  tcase_add_loop_test(kernel, halves_are_rounded_as_everywhere, 0, SIZES);
  tcase_add_test(kernel, exp_is_within_its_bound);
  tcase_add_test(kernel, exp_has_the_right_ends);
  tcase_add_test(kernel, unknown_kernels_are_refused);
  tcase_add_loop_test(op, linear_is_right_for_ternary_codes, 0, SIZES);
  tcase_add_loop_test(op, scales_may_stand_beside_the_weights, 0, SIZES);
  tcase_add_loop_test(op, linear_and_embedding_are_right_for_floats, 0, SIZES);
  tcase_add_loop_test(op, norm_is_right, 0, SIZES);
  tcase_add_test(op, norm_of_zeros_is_zero);
  tcase_add_loop_test(op, rope_turns_by_the_angle, 0, SIZES);
  tcase_add_loop_test(op, attention_is_right, 0, SIZES);
  tcase_add_test(op, attention_shows_what_is_not_a_number);
  tcase_add_loop_test(op, gates_are_right, 0, SIZES);
  tcase_add_test(op, silu_has_the_right_ends);
  tcase_add_loop_test(op, cross_entropy_is_right, 0, SIZES);
  suite_add_tcase(suite, kernel);
  suite_add_tcase(suite, op);
  return run_suite(suite);
}
