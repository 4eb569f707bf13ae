/* Activations as 8-bit integers: how numbers are rounded, products that are exact, and whole models that meet them. */
#include "base/bytes.h"
#include "ops/ops.h"
#include "tests/random_model.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const tq_kernels *kernels(void) {
  const tq_kernels *chosen;
  ck_ok(tq_kernels_choose(NULL, &chosen, error));
  return chosen;
}

/* ---- rounding ---- */

enum { MOST = 300, STRIDE = 384, SPANS = STRIDE / TQ_SPAN };

/* Room for the codes of one vector. */
typedef struct rounded {
  int8_t codes[STRIDE];
  float steps[SPANS];
  int32_t sums[SPANS];
} rounded;

static void quantize(const float *x, size_t count, size_t block, rounded *to) {
  ck_assert_uint_le(tq_code_stride(count), STRIDE);
  memset(to, 9, sizeof *to);
  kernels()->quantize(x, count, block, to->codes, to->steps, to->sums);
  for (size_t i = count; i < tq_code_stride(count); i++) ck_assert_int_eq(to->codes[i], 0);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN) {
    int32_t sum = 0;
    for (size_t i = begin; i < begin + TQ_SPAN; i++) sum += to->codes[i];
    ck_assert_int_eq(to->sums[begin / TQ_SPAN], sum);
  }
}

static void ck_block(const float *x, size_t count, const int8_t *codes, float step) {
  float largest = 1e-5f;
  for (size_t i = 0; i < count; i++) largest = fmaxf(largest, fabsf(x[i]));
  float reciprocal = 127.0f / largest;
  ck_assert(step == largest / 127.0f);
  for (size_t i = 0; i < count; i++) {
    float product = x[i] * reciprocal;
    double nearest = nearbyint((double)product); /* halves to even, as the mode is */
    ck_assert_msg(codes[i] == (int)nearest, "%a of %a is %d, not %g", (double)x[i], (double)largest, codes[i], nearest);
  }
}

static void ck_codes(const float *x, size_t count) {
  rounded to;
  quantize(x, count, 0, &to);
  ck_block(x, count, to.codes, to.steps[0]);
  quantize(x, count, TQ_SPAN, &to);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN)
    ck_block(x + begin, count - begin < TQ_SPAN ? count - begin : TQ_SPAN, to.codes + begin, to.steps[begin / TQ_SPAN]);
}

START_TEST(numbers_are_rounded_to_the_nearest) {
  static const size_t counts[] = {1, 2, 7, 16, 31, 32, 33, 100, 300};
  float x[MOST];
  uint64_t seed = 3;
  ck_assert_int_eq(fegetround(), FE_TONEAREST);
  for (int round = 0; round < 300; round++) {
    float size = ldexpf(1, (int)(random_u64(&seed) % 200) - 100);
    for (size_t i = 0; i < MOST; i++) x[i] = size * random_float(&seed);
    ck_codes(x, counts[round % 9]);
  }
  for (size_t i = 0; i < 255; i++) x[i] = ((float)i - 127) / 2; /* with 127, halves are halves */
  x[255] = 127;
  ck_codes(x, 256);
  x[255] = -127;
  ck_codes(x, 256);
}
END_TEST

START_TEST(small_and_large_numbers_have_a_step) {
  float x[3] = {0, -0.0f, 0};
  rounded to;
  quantize(x, 3, 0, &to);
  ck_assert(to.steps[0] == 1e-5f / 127.0f && !to.codes[0] && !to.codes[1] && !to.codes[2]);
  x[0] = 1e-5f, x[1] = -5e-6f, x[2] = FLT_TRUE_MIN;
  quantize(x, 3, 0, &to);
  ck_assert(to.steps[0] == 1e-5f / 127.0f && to.codes[0] == 127 && to.codes[1] == -64 && to.codes[2] == 0);
  x[0] = FLT_MAX, x[1] = -FLT_MAX, x[2] = FLT_MAX / 2;
  quantize(x, 3, 0, &to);
  ck_assert(to.steps[0] == FLT_MAX / 127.0f && to.codes[0] == 127 && to.codes[1] == -127);
  ck_assert(to.codes[2] == 63 || to.codes[2] == 64);
}
END_TEST

START_TEST(what_is_not_finite_is_no_integer) {
  static const float odd[] = {NAN, -NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < 4; i++) {
    for (size_t place = 0; place < 40; place++) {
      float x[40];
      rounded to;
      for (size_t k = 0; k < 40; k++) x[k] = (float)k;
      x[place] = odd[i];
      quantize(x, 40, 0, &to);
      ck_assert(isnan(to.steps[0]));
      for (size_t k = 0; k < 40; k++) ck_assert_int_eq(to.codes[k], 0);
      quantize(x, 40, TQ_SPAN, &to);
      ck_assert(isnan(to.steps[place / TQ_SPAN]) && isfinite(to.steps[1 - place / TQ_SPAN]));
      for (size_t k = 0; k < 40; k++) ck_assert(k / TQ_SPAN != place / TQ_SPAN || to.codes[k] == 0);
    }
  }
}
END_TEST

/* ---- products ---- */

static const size_t widths[] = {1, 5, 31, 32, 33, 64, 95, 129, 160, 257, 640, 1000};
enum { WIDTHS = sizeof widths / sizeof widths[0], ROWS = 37 };

typedef struct example {
  tq_matrix matrix;
  int8_t *trits; /* [ROWS][columns] */
  uint8_t *values, *scales;
} example;

static example make_example(uint32_t encoding, size_t columns, uint32_t granularity, uint32_t group) {
  uint64_t seed = columns + group, row_bytes = tq_trit_row_bytes(encoding, columns);
  size_t count = (size_t)tq_scale_count(granularity, group, ROWS, columns);
  example made = {
      .trits = malloc(ROWS * columns), .values = malloc((size_t)(ROWS * row_bytes)), .scales = malloc(2 * count)};
  uint8_t *packed = malloc((size_t)row_bytes);
  for (size_t i = 0; i < count; i++) tq_store_u16(made.scales + 2 * i, tq_f32_to_f16(1 + random_float(&seed) / 2));
  for (size_t r = 0; r < ROWS; r++) {
    int8_t *row = made.trits + r * columns;
    for (size_t c = 0; c < columns; c++)
      row[c] = (int8_t)(random_u64(&seed) % (encoding == TQ_QUATERNARY_2BIT ? 4 : 3)) - 1;
    tq_trits_pack(encoding, row, columns, packed);
    tq_panel_store_row(made.values, ROWS, r, row_bytes, packed);
  }
  free(packed);
  made.matrix = (tq_matrix){.rows = ROWS,
                            .columns = columns,
                            .encoding = encoding,
                            .values = made.values,
                            .row_bytes = row_bytes,
                            .scales = made.scales,
                            .scale_encoding = TQ_F16,
                            .granularity = granularity,
                            .group = group,
                            .direction = TQ_INVERTED};
  return made;
}

static void free_example(example *of) {
  free(of->trits);
  free(of->values);
  free(of->scales);
}

static float scale_at(const example *of, size_t row, size_t column) {
  uint64_t index = tq_scale_index(of->matrix.granularity, of->matrix.group, ROWS, of->matrix.columns, row, column);
  return 1.0f / tq_f16_to_f32(tq_load_u16(of->scales + 2 * index));
}

/* The definition, written out: runs are added in their order. */
static float stated_product(const example *of, size_t row, const int8_t *codes, const float *steps, size_t block) {
  size_t columns = (size_t)of->matrix.columns, k = 0;
  size_t run = block ? block : of->matrix.granularity == TQ_PER_GROUP ? of->matrix.group : columns;
  float total = 0;
  for (size_t begin = 0; begin < columns; begin += run, k++) {
    int64_t sum = 0;
    for (size_t c = begin; c < columns && c < begin + run; c++) sum += of->trits[row * columns + c] * codes[c];
    float factor = (sum ? scale_at(of, row, begin) : 0) * steps[block ? k : 0];
    float term = (float)sum * factor;
    total += term;
  }
  return total;
}

/* Random codes, and their sums. */
static tq_codes make_codes(size_t count, size_t columns, size_t block) {
  size_t stride = tq_code_stride(columns), steps = tq_step_count(columns, block);
  size_t spans = tq_step_count(columns, TQ_SPAN);
  tq_codes made = {.codes = calloc(count, stride),
                   .steps = malloc(count * steps * sizeof *made.steps),
                   .sums = calloc(count * spans, sizeof *made.sums),
                   .block = block};
  uint64_t seed = 4;
  for (size_t t = 0; t < count; t++)
    for (size_t c = 0; c < columns; c++) {
      int8_t code = (int8_t)(random_u64(&seed) % 255 - 127);
      made.codes[t * stride + c] = code;
      made.sums[t * spans + c / TQ_SPAN] += code;
    }
  for (size_t i = 0; i < count * steps; i++) made.steps[i] = 1 + random_float(&seed) / 2;
  return made;
}

static void free_codes(tq_codes *codes) {
  free(codes->codes);
  free(codes->steps);
  free(codes->sums);
}

static void check_products(uint32_t encoding, size_t columns, uint32_t granularity, uint32_t group, size_t block) {
  enum { VECTORS = 3 };
  example of = make_example(encoding, columns, granularity, group);
  size_t steps = tq_step_count(columns, block), stride = tq_code_stride(columns);
  tq_codes inputs = make_codes(VECTORS, columns, block);
  float y[VECTORS * ROWS], *scratch = malloc(tq_linear_scratch(columns) * sizeof *scratch);
  kernels()->linear_rows_integer(&of.matrix, 16, ROWS, &inputs, VECTORS, y, scratch);
  kernels()->linear_rows_integer(&of.matrix, 0, 16, &inputs, VECTORS, y, scratch);
  for (size_t t = 0; t < VECTORS; t++) {
    for (size_t r = 0; r < ROWS; r++) {
      double sum = 0, size = 0;
      for (size_t c = 0; c < columns; c++) {
        double term = (double)of.trits[r * columns + c] * (double)scale_at(&of, r, c) * inputs.codes[t * stride + c] *
                      (double)inputs.steps[t * steps + (block ? c / block : 0)];
        sum += term, size += fabs(term);
      }
      float stated = stated_product(&of, r, inputs.codes + t * stride, inputs.steps + t * steps, block);
      ck_assert_msg(memcmp(&stated, &y[t * ROWS + r], sizeof stated) == 0, "%zu columns, row %zu: %a is not %a",
                    columns, r, (double)y[t * ROWS + r], (double)stated);
      ck_assert(fabs((double)stated - sum) <= 2e-6 * size);
    }
  }
  free_codes(&inputs);
  free(scratch);
  free_example(&of);
}

START_TEST(products_are_exact_sums_and_one_epilogue) {
  static const uint32_t codes[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT};
  for (size_t code = 0; code < 3; code++) {
    for (size_t block = 0; block <= TQ_SPAN; block += TQ_SPAN) {
      check_products(codes[code], widths[_i], TQ_PER_TENSOR, 0, block);
      check_products(codes[code], widths[_i], TQ_PER_ROW, 0, block);
      for (uint32_t group = 32; group <= 256; group += group == 96 ? 160 : 32)
        check_products(codes[code], widths[_i], TQ_PER_GROUP, group, block);
    }
  }
}
END_TEST

/* As with floats, a zero weight is 0 whatever its scale; and a number that is none shows in its vector alone. */
START_TEST(odd_scales_and_steps_are_seen_where_they_count) {
  int8_t trits[64] = {0};
  uint8_t packed[16], scales[8];
  float y[2], *scratch = malloc(tq_linear_scratch(64) * sizeof *scratch);
  tq_codes inputs = make_codes(2, 64, 0);
  size_t stride = tq_code_stride(64);
  for (size_t t = 0; t < 2; t++) {
    memset(inputs.codes + t * stride, 1, 64);
    inputs.sums[2 * t] = inputs.sums[2 * t + 1] = TQ_SPAN;
  }
  inputs.steps[0] = NAN, inputs.steps[1] = 1;
  trits[32] = 1;
  tq_trits_pack(TQ_TERNARY_2BIT, trits, 64, packed);
  tq_store_f32(scales, INFINITY);
  tq_store_f32(scales + 4, 3);
  tq_matrix matrix = {.rows = 1,
                      .columns = 64,
                      .encoding = TQ_TERNARY_2BIT,
                      .values = packed,
                      .row_bytes = 16,
                      .scales = scales,
                      .scale_encoding = TQ_F32,
                      .granularity = TQ_PER_GROUP,
                      .group = 32};
  kernels()->linear_rows_integer(&matrix, 0, 1, &inputs, 2, y, scratch);
  ck_assert(isnan(y[0]) && y[1] == 3.0f);
  memset(inputs.codes, 0, 64); /* as such a vector's codes are */
  inputs.sums[0] = inputs.sums[1] = 0;
  kernels()->linear_rows_integer(&matrix, 0, 1, &inputs, 2, y, scratch);
  ck_assert(isnan(y[0]) && y[1] == 3.0f);
  float blocks[4] = {1, 1, NAN, 1}, *steps = inputs.steps;
  inputs.steps = blocks, inputs.block = TQ_SPAN;
  kernels()->linear_rows_integer(&matrix, 0, 1, &inputs, 2, y, scratch);
  ck_assert(y[0] == 0.0f && isnan(y[1]));
  inputs.steps = steps;
  free_codes(&inputs);
  free(scratch);
}
END_TEST

/* ---- the input of several layers ---- */

static int roundings;
static void counted_quantize(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums) {
  roundings++;
  tq_kernels_scalar.quantize(x, count, block, codes, steps, sums);
}

START_TEST(layers_share_the_forms_of_their_input) {
  tq_kernels counting = tq_kernels_scalar;
  float x[2 * 64], turned_x[2 * 64], signs[64];
  rounded expected, codes[2];
  uint64_t seed = 8;
  for (size_t i = 0; i < 128; i++) x[i] = random_float(&seed);
  for (size_t i = 0; i < 64; i++) signs[i] = random_u64(&seed) % 2 ? 1 : -1;
  counting.quantize = counted_quantize;
  const tq_rotation rotation = {16, signs};
  tq_linear ternary = {.weights = {.columns = 64, .encoding = TQ_TERNARY_2BIT}}, floats = ternary, turned = ternary;
  floats.weights.encoding = TQ_F16;
  turned.rotation = &rotation;
  const tq_linear *layers[] = {&floats, &ternary, &turned, &ternary, &turned, &floats};
  tq_input input = {x,
                    turned_x,
                    {{codes[0].codes, codes[0].steps, codes[0].sums, TQ_SPAN},
                     {codes[1].codes, codes[1].steps, codes[1].sums, TQ_SPAN}}};
  unsigned made = 0;
  for (size_t i = 0; i < 6; i++) {
    static const int times[] = {0, 1, 2, 2, 2, 2};
    tq_op_input(&counting, layers[i], &input, 1, &made);
    ck_assert_int_eq(roundings, times[i]);
  }
  float again[64];
  size_t place = tq_code_stride(64);
  tq_op_rotate(&rotation, x + 64, 64, again);
  ck_assert_mem_eq(again, turned_x + 64, sizeof again);
  for (size_t form = 0; form < 2; form++) {
    quantize(form ? again : x + 64, 64, TQ_SPAN, &expected);
    ck_assert_mem_eq(expected.codes, codes[form].codes + place, place);
    ck_assert_mem_eq(expected.steps, codes[form].steps + 2, 2 * sizeof(float));
    ck_assert_mem_eq(expected.sums, codes[form].sums + 2, 2 * sizeof(int32_t));
  }
}
END_TEST

/* ---- whole models ---- */

enum { LENGTH = 12 };

static random_spec small(void) {
  return (random_spec){.architecture = "bitnet-b1.58",
                       .layers = 2,
                       .dimension = 70,
                       .feed_forward = 133,
                       .heads = 6,
                       .kv_heads = 2,
                       .head_dimension = 10,
                       .vocabulary = 47,
                       .context = 32,
                       .encoding = {.name = "base-3",
                                    .encoding = TQ_TERNARY_BASE3,
                                    .scale_encoding = TQ_F32,
                                    .granularity = TQ_PER_TENSOR},
                       .seed = 7};
}

typedef struct opened {
  random_model *random;
  tq_file *file;
  tq_model *model;
} opened;

static opened open_model(const random_spec *spec) {
  opened result;
  const char *path = temporary_path("activations.tq");
  result.random = random_model_write(spec, path);
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &result.file, error));
  ck_ok(tq_model_create(result.file, &result.model, error));
  return result;
}

static void close_model(opened *of) {
  tq_model_destroy(of->model);
  tq_file_close(of->file);
  random_model_free(of->random);
}

/* All logits of a fixed text, `step` tokens at a time. */
static float *logits_of(const opened *of, tq_activations activations, uint32_t threads, size_t step) {
  uint32_t vocabulary = of->random->spec.vocabulary, tokens[LENGTH], positions[LENGTH];
  float *all = malloc(LENGTH * vocabulary * sizeof *all);
  bool wanted[LENGTH];
  tq_session *session;
  tq_session_options options = {.context = LENGTH, .threads = threads, .activations = activations};
  ck_ok(tq_session_create(of->model, &options, &session, error));
  if (activations) ck_assert_int_eq(tq_session_activations(session), activations);
  for (uint32_t i = 0; i < LENGTH; i++) tokens[i] = (i * 29 + 5) % vocabulary, positions[i] = i, wanted[i] = true;
  for (size_t begin = 0; begin < LENGTH; begin += step) {
    const float *logits;
    size_t count = LENGTH - begin < step ? LENGTH - begin : step;
    tq_batch batch = {.count = count, .tokens = tokens + begin, .positions = positions + begin, .wants_logits = wanted};
    ck_ok(tq_forward(session, &batch, &logits, error));
    memcpy(all + begin * vocabulary, logits, count * vocabulary * sizeof *all);
  }
  tq_session_destroy(session);
  return all;
}

static double *naive_logits(opened *of, tq_activations activations) {
  const random_spec *spec = &of->random->spec;
  uint32_t tokens[LENGTH];
  double *all = malloc(LENGTH * spec->vocabulary * sizeof *all), frequencies[64];
  for (uint32_t i = 0; i < LENGTH; i++) tokens[i] = (i * 29 + 5) % spec->vocabulary;
  for (uint32_t i = 0; i < spec->head_dimension / 2; i++) frequencies[i] = pow(5000.0, -2.0 * i / spec->head_dimension);
  of->random->spec.activations = activations;
  random_model_logits(of->random, tokens, LENGTH, frequencies, 1, all);
  return all;
}

static double distance(const float *a, const double *b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) sum += fabs((double)a[i] - b[i]);
  return sum / (double)count;
}

/* Where a number lies between two codes, the naive model in double and ours may round it differently, but seldom: ours
 * is far nearer to the naive one of its kind than to the others. */
static void check_kinds(const random_spec *spec) {
  static const tq_activations kinds[] = {TQ_ACTIVATIONS_FLOAT, TQ_ACTIVATIONS_INT8_TOKEN, TQ_ACTIVATIONS_INT8_BLOCK};
  opened of = open_model(spec);
  size_t places = LENGTH * spec->vocabulary;
  double *naive[3];
  for (size_t i = 0; i < 3; i++) naive[i] = naive_logits(&of, kinds[i]);
  for (size_t i = 0; i < 3; i++) {
    float *logits = logits_of(&of, kinds[i], 2, LENGTH);
    double own = distance(logits, naive[i], places);
    for (size_t k = 0; k < 3; k++)
      if (k != i) {
        double other = distance(logits, naive[k], places);
        ck_assert_msg(own < other / 4 && other < 1, "%s: %g from its own, %g from %s", tq_activations_name(kinds[i]),
                      own, other, tq_activations_name(kinds[k]));
      }
    free(logits);
  }
  for (size_t i = 0; i < 3; i++) free(naive[i]);
  close_model(&of);
}

START_TEST(models_meet_what_they_are_told_to) {
  random_spec spec = small();
  check_kinds(&spec);
  spec.architecture = "qwen3";
  spec.ternary_ends = spec.tied = spec.biases = spec.output_scales = true;
  spec.encoding.granularity = TQ_PER_GROUP;
  spec.encoding.group = 64;
  check_kinds(&spec);
  spec.architecture = "llama";
  spec.tied = false;
  spec.encoding = (random_encoding){.name = "quaternary",
                                    .encoding = TQ_QUATERNARY_2BIT,
                                    .scale_encoding = TQ_F16,
                                    .granularity = TQ_PER_ROW,
                                    .direction = TQ_INVERTED};
  check_kinds(&spec);
}
END_TEST

START_TEST(weights_that_are_not_ternary_meet_floats) {
  random_spec spec = small();
  spec.encoding =
      _i ? (random_encoding){.name = "I8", .encoding = TQ_I8, .scale_encoding = TQ_F32, .granularity = TQ_PER_ROW}
         : (random_encoding){.name = "F16", .encoding = TQ_F16};
  opened of = open_model(&spec);
  float *floats = logits_of(&of, TQ_ACTIVATIONS_FLOAT, 1, LENGTH);
  for (int kind = TQ_ACTIVATIONS_INT8_TOKEN; kind <= TQ_ACTIVATIONS_INT8_BLOCK; kind++) {
    float *others = logits_of(&of, (tq_activations)kind, 1, LENGTH);
    ck_assert_mem_eq(floats, others, LENGTH * spec.vocabulary * sizeof *floats);
    free(others);
  }
  free(floats);
  close_model(&of);
}
END_TEST

START_TEST(threads_and_batches_do_not_matter) {
  random_spec spec = small();
  spec.ternary_ends = true;
  spec.architecture = _i % 2 ? "qwen3" : "bitnet";
  tq_activations kind = _i < 2 ? TQ_ACTIVATIONS_INT8_TOKEN : TQ_ACTIVATIONS_INT8_BLOCK;
  opened of = open_model(&spec);
  float *reference = logits_of(&of, kind, 1, LENGTH);
  for (uint32_t threads = 1; threads <= 5; threads += 2) {
    for (size_t step = 1; step <= 8; step += step == 1 ? 2 : 5) {
      float *other = logits_of(&of, kind, threads, step);
      ck_assert_mem_eq(reference, other, LENGTH * spec.vocabulary * sizeof *other);
      free(other);
    }
  }
  free(reference);
  close_model(&of);
}
END_TEST

static void record_token(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "int8-token", 10, error));
}

static void record_block(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "int8-block", 10, error));
}

static void record_float(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "float", 5, error));
}

START_TEST(what_is_recorded_counts_unless_told_otherwise) {
  static const struct {
    void (*record)(tq_metadata_builder *keys);
    tq_activations kind;
  } cases[] = {{NULL, TQ_ACTIVATIONS_FLOAT},
               {record_float, TQ_ACTIVATIONS_FLOAT},
               {record_token, TQ_ACTIVATIONS_INT8_TOKEN},
               {record_block, TQ_ACTIVATIONS_INT8_BLOCK}};
  for (size_t i = 0; i < 4; i++) {
    random_spec spec = small();
    spec.add_keys = cases[i].record;
    opened of = open_model(&spec);
    float *recorded = logits_of(&of, TQ_ACTIVATIONS_RECORDED, 1, LENGTH);
    for (int kind = TQ_ACTIVATIONS_FLOAT; kind <= TQ_ACTIVATIONS_INT8_BLOCK; kind++) {
      float *chosen = logits_of(&of, (tq_activations)kind, 1, LENGTH);
      bool same = memcmp(recorded, chosen, LENGTH * spec.vocabulary * sizeof *chosen) == 0;
      ck_assert_msg(same == (kind == (int)cases[i].kind), "%zu, %s", i, tq_activations_name((tq_activations)kind));
      free(chosen);
    }
    free(recorded);
    close_model(&of);
  }
}
END_TEST

static void record_abacus(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "abacus", 6, error));
}

static void record_recorded(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "recorded", 8, error));
}

static void record_more_than_a_name(tq_metadata_builder *keys) {
  ck_ok(tq_metadata_add_string(keys, "tq.activations", "float\0er", 8, error));
}

static void record_number(tq_metadata_builder *keys) { ck_ok(tq_metadata_add_u32(keys, "tq.activations", 8, error)); }

START_TEST(records_that_are_not_understood_are_refused) {
  static const struct {
    void (*record)(tq_metadata_builder *keys);
    const char *part;
  } cases[] = {{record_abacus, "odd.tq: tq.activations: \"abacus\" is not understood"},
               {record_recorded, "tq.activations: \"recorded\" is not understood"},
               {record_more_than_a_name, "tq.activations: \"float\\x00er\" is not understood"},
               {record_number, "tq.activations: \"\" is not understood"}};
  for (size_t i = 0; i < 4; i++) {
    random_spec spec = small();
    const char *path = temporary_path("odd.tq");
    tq_file *file;
    tq_model *model;
    spec.add_keys = cases[i].record;
    random_model_free(random_model_write(&spec, path));
    ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
    ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, cases[i].part);
    tq_file_close(file);
  }
}
END_TEST

START_TEST(names_are_those_of_the_metadata) {
  static const char *const names[] = {"float", "int8-token", "int8-block"};
  tq_activations kind = TQ_ACTIVATIONS_RECORDED;
  for (size_t i = 0; i < 3; i++) {
    ck_assert(tq_activations_by_name(names[i], &kind));
    ck_assert_str_eq(tq_activations_name(kind), names[i]);
    ck_assert_int_eq(kind, TQ_ACTIVATIONS_FLOAT + (int)i);
  }
  ck_assert(!tq_activations_by_name("recorded", &kind) && !tq_activations_by_name("", &kind));
  ck_assert(!tq_activations_by_name("int8", &kind));
  ck_assert_int_eq(kind, TQ_ACTIVATIONS_INT8_BLOCK);
}
END_TEST

static tq_status run_once(const void *file, tq_error *error) {
  tq_model *model;
  tq_session *session = NULL;
  tq_session_options options = {.context = 4, .threads = 1, .activations = TQ_ACTIVATIONS_INT8_TOKEN};
  uint32_t token = 1, position = 0;
  const float *logits;
  tq_batch batch = {.count = 1, .tokens = &token, .positions = &position};
  tq_status status = tq_model_create(file, &model, error);
  if (status) return status;
  status = tq_session_create(model, &options, &session, error);
  if (!status) status = tq_forward(session, &batch, &logits, error);
  tq_session_destroy(session);
  tq_model_destroy(model);
  return status;
}

START_TEST(every_failing_allocation_is_reported) {
  random_spec spec = small();
  const char *path = temporary_path("allocations.tq");
  tq_file *file;
  random_model_free(random_model_write(&spec, path));
  ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
  ck_assert_int_gt(check_every_fault(run_once, file), 25);
  tq_file_close(file);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("activations");
  TCase *rounding = tcase_create("rounding"), *products = tcase_create("products"), *models = tcase_create("models");
  tcase_add_test(rounding, numbers_are_rounded_to_the_nearest);
  tcase_add_test(rounding, small_and_large_numbers_have_a_step);
  tcase_add_test(rounding, what_is_not_finite_is_no_integer);
  tcase_add_loop_test(products, products_are_exact_sums_and_one_epilogue, 0, WIDTHS);
  tcase_add_test(products, odd_scales_and_steps_are_seen_where_they_count);
  tcase_add_test(products, layers_share_the_forms_of_their_input);
  tcase_add_test(models, models_meet_what_they_are_told_to);
  tcase_add_loop_test(models, weights_that_are_not_ternary_meet_floats, 0, 2);
  tcase_add_loop_test(models, threads_and_batches_do_not_matter, 0, 4);
  tcase_add_test(models, what_is_recorded_counts_unless_told_otherwise);
  tcase_add_test(models, records_that_are_not_understood_are_refused);
  tcase_add_test(models, names_are_those_of_the_metadata);
  tcase_add_test(models, every_failing_allocation_is_reported);
  suite_add_tcase(suite, rounding);
  suite_add_tcase(suite, products);
  suite_add_tcase(suite, models);
  return run_suite(suite);
}
