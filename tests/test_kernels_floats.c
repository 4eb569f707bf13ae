/* The kernels of floats of every instruction set that this machine has against the scalar ones, bit for bit: sizes that
 * fill no register, addresses that are no multiple of one, and numbers that are not finite. A result that is NaN has to
 * be NaN; which one is the processor's affair, but in F16, where it is kept. */
#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tests/kernel_sets.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t large_sizes[] = {127, 128, 256, 1000, 2561};
enum { ALL_SIZES = 70, LARGE_SIZES = sizeof large_sizes / sizeof large_sizes[0], SIZES = ALL_SIZES + LARGE_SIZES };

static size_t size_at(size_t i) { return i < ALL_SIZES ? i + 1 : large_sizes[i - ALL_SIZES]; }

/* Row `index` of the table if this machine can run it and it is not the reference. */
static const tq_kernels *tested_at(size_t index, bool *end) {
  const tq_kernels *kernels = tq_kernels_at(index);
  *end = !kernels;
  return kernels && kernels != &tq_kernels_scalar && kernels->available() ? kernels : NULL;
}

#define FOR_EACH_TESTED(kernels)                                                                                       \
  bool end_ = false;                                                                                                   \
  for (size_t index_ = 0; !end_; index_++)                                                                             \
    for (const tq_kernels *kernels = tested_at(index_, &end_); kernels; kernels = NULL)

static void ck_same(const char *what, const float *actual, const float *expected, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (isnan(actual[i]) && isnan(expected[i])) continue;
    ck_assert_msg(memcmp(&actual[i], &expected[i], sizeof *actual) == 0, "%s: number %zu of %zu is %a, not %a", what, i,
                  count, (double)actual[i], (double)expected[i]);
  }
}

/* ---- numbers ---- */

static const float odd_numbers[] = {NAN,       -NAN,       INFINITY,  -INFINITY, 0.0f,   -0.0f,
                                    0x1p-149f, -0x1p-130f, 0x1p-126f, 3e38f,     -3e38f, 104.5f};

static float random_number(uint64_t *seed, bool odd) {
  uint64_t bits = random_u64(seed);
  if (odd && bits % 8 == 0) return odd_numbers[bits / 8 % (sizeof odd_numbers / sizeof *odd_numbers)];
  return random_float(seed) * (odd ? 100.0f : 1.0f);
}

/* `count` numbers, one float behind what malloc gives, so that no vector is aligned; freed by free_numbers. */
static float *numbers(size_t count, uint64_t seed, bool odd) {
  float *made = malloc((count + 1) * sizeof *made);
  for (size_t i = 0; i <= count; i++) made[i] = random_number(&seed, odd);
  return made + 1;
}

static float *copy_of(const float *from, size_t count) {
  float *made = numbers(count, 0, false);
  memcpy(made, from, count * sizeof *made);
  return made;
}

static void free_numbers(float *made) { free(made - 1); }

/* ---- element by element ---- */

typedef void (*elementwise)(const tq_kernels *kernels, size_t size, const float *a, const float *b, float *y);

static void call_rms_norm(const tq_kernels *kernels, size_t size, const float *a, const float *b, float *y) {
  kernels->rms_norm(a, b, size, 1e-5f, y);
}
static void call_add(const tq_kernels *kernels, size_t size, const float *a, const float *b, float *y) {
  memcpy(y, b, size * sizeof *y);
  kernels->add(y, a, size);
}
static void call_gate_silu(const tq_kernels *kernels, size_t size, const float *a, const float *b, float *y) {
  kernels->gate_silu(a, b, y, size);
}
static void call_gate_squared_relu(const tq_kernels *kernels, size_t size, const float *a, const float *b, float *y) {
  kernels->gate_squared_relu(a, b, y, size);
}

static const struct {
  const char *name;
  elementwise call;
} elementwise_kernels[] = {{"rms_norm", call_rms_norm},
                           {"add", call_add},
                           {"gate_silu", call_gate_silu},
                           {"gate_squared_relu", call_gate_squared_relu}};
enum { ELEMENTWISE = sizeof elementwise_kernels / sizeof elementwise_kernels[0] };

static void ck_elementwise(const tq_kernels *kernels, size_t which, size_t size, bool odd) {
  elementwise call = elementwise_kernels[which].call;
  float *a = numbers(size, size, odd), *b = numbers(size, size + 1, odd);
  float *expected = numbers(size, 2, false), *actual = copy_of(a, size);
  call(&tq_kernels_scalar, size, a, b, expected);
  if (call == call_add)
    call(kernels, size, a, b, actual);
  else
    call(kernels, size, actual, b, actual); /* in place */
  ck_same(elementwise_kernels[which].name, actual, expected, size);
  call(kernels, size, a, b, actual);
  ck_same(elementwise_kernels[which].name, actual, expected, size);
  free_numbers(a);
  free_numbers(b);
  free_numbers(expected);
  free_numbers(actual);
}

START_TEST(elements_are_the_scalar_ones) {
  FOR_EACH_TESTED(kernels) {
    for (size_t which = 0; which < ELEMENTWISE; which++) {
      ck_elementwise(kernels, which, size_at((size_t)_i), false);
      ck_elementwise(kernels, which, size_at((size_t)_i), true);
    }
  }
}
END_TEST

START_TEST(pairs_turn_as_the_scalar_ones) {
  size_t pairs = size_at((size_t)_i);
  FOR_EACH_TESTED(kernels) {
    for (int odd = 0; odd < 2; odd++) {
      float *actual = numbers(2 * pairs, 1, odd), *expected = copy_of(actual, 2 * pairs);
      float *cosines = numbers(pairs, 2, odd), *sines = numbers(pairs, 3, odd);
      kernels->rope(actual, pairs, cosines, sines);
      tq_kernels_scalar.rope(expected, pairs, cosines, sines);
      ck_same("rope", actual, expected, 2 * pairs);
      free_numbers(actual);
      free_numbers(expected);
      free_numbers(cosines);
      free_numbers(sines);
    }
  }
}
END_TEST

/* Every exponent and sign: the gate goes through exp. */
START_TEST(exp_is_the_scalar_one) {
  enum { COUNT = 4096 };
  float x[COUNT], ones[COUNT], actual[COUNT], expected[COUNT];
  for (size_t i = 0; i < COUNT; i++) {
    uint32_t bits = (uint32_t)i << 20 | (uint32_t)(i * 2654435761u) >> 12;
    memcpy(&x[i], &bits, sizeof bits);
    if (i % 2) x[i] = ((float)i - COUNT / 2) * 0.0517f; /* where exp is neither 0 nor infinite */
    ones[i] = 1.0f;
  }
  tq_kernels_scalar.gate_silu(x, ones, expected, COUNT);
  FOR_EACH_TESTED(kernels) {
    kernels->gate_silu(x, ones, actual, COUNT);
    ck_same("gate_silu", actual, expected, COUNT);
  }
}
END_TEST

/* ---- halves ---- */

/* The numbers from `bits` on, `step` apart; the NaNs' bits are compared too. */
static void ck_halves(const tq_kernels *kernels, uint32_t bits, uint32_t step, size_t count) {
  float *x = numbers(count, 0, false);
  uint16_t *actual = malloc(count * sizeof *actual), *expected = malloc(count * sizeof *expected);
  for (size_t i = 0; i < count; i++, bits += step) memcpy(&x[i], &bits, sizeof bits);
  kernels->to_half(x, count, actual);
  tq_kernels_scalar.to_half(x, count, expected);
  for (size_t i = 0; i < count; i++)
    ck_assert_msg(actual[i] == expected[i], "%a is %#x, not %#x", (double)x[i], actual[i], expected[i]);
  free_numbers(x);
  free(actual);
  free(expected);
}

START_TEST(halves_are_the_scalar_ones) {
  FOR_EACH_TESTED(kernels) {
    ck_halves(kernels, 0, 65521, 65536);          /* all over */
    ck_halves(kernels, 0x387fc000, 0x100, 4096);  /* about the smallest normal one, with halves to even */
    ck_halves(kernels, 0x33000000 - 64, 1, 128);  /* about half the smallest */
    ck_halves(kernels, 0x477fe000, 0x80, 512);    /* about the largest */
    ck_halves(kernels, 0x7f800000 - 8, 1, 64);    /* infinity and NaNs without a payload in F16 */
    ck_halves(kernels, 0xff801000, 0x1000, 2047); /* NaNs, signalling and quiet */
    for (size_t count = 1; count <= ALL_SIZES; count++) ck_halves(kernels, 0x3e800000, 12345, count);
  }
}
END_TEST

/* ---- attention ---- */

enum { QUERIES = TQ_ATTENTION_QUERIES };

typedef struct cache {
  tq_cached_head head;
  void *keys, *values;
  float *key_steps, *value_steps;
} cache;

/* What lies behind the last position of the last 16 keys is NaN, or large. */
static cache make_cache(size_t positions, size_t size, bool integers, bool odd) {
  size_t places = (positions + TQ_KEY_LANES - 1) / TQ_KEY_LANES * TQ_KEY_LANES, bytes = integers ? 1 : 2;
  uint64_t seed = positions;
  cache made = {.keys = malloc(places * size * bytes), .values = malloc(positions * size * bytes)};
  for (size_t i = 0; i < places * size; i++) {
    size_t position = i / (TQ_KEY_LANES * size) * TQ_KEY_LANES + i % TQ_KEY_LANES;
    if (integers)
      ((int8_t *)made.keys)[i] = position < positions ? (int8_t)random_u64(&seed) : 127;
    else
      ((uint16_t *)made.keys)[i] = position < positions ? tq_f32_to_f16(random_number(&seed, odd)) : 0x7fff;
  }
  for (size_t i = 0; i < positions * size; i++) {
    if (integers)
      ((int8_t *)made.values)[i] = (int8_t)random_u64(&seed);
    else
      ((uint16_t *)made.values)[i] = tq_f32_to_f16(random_number(&seed, odd));
  }
  if (integers) {
    made.key_steps = numbers(positions, 5, odd);
    made.value_steps = numbers(positions, 6, odd);
  }
  made.head = (tq_cached_head){made.keys, made.values, made.key_steps, made.value_steps};
  return made;
}

static void free_cache(cache *of) {
  free(of->keys);
  free(of->values);
  if (of->key_steps) free_numbers(of->key_steps);
  if (of->value_steps) free_numbers(of->value_steps);
}

static void attend(const tq_kernels *kernels, const cache *of, const float *x, const size_t *positions, size_t count,
                   size_t size, float *y) {
  float *scratch = malloc(TQ_ATTENTION_SCRATCH * sizeof *scratch);
  tq_query queries[QUERIES];
  for (size_t i = 0; i < count; i++) queries[i] = (tq_query){x + i * size, y + i * size, positions[i]};
  kernels->attention(&of->head, queries, count, size, 0.3f, scratch);
  free(scratch);
}

/* Queries that look back on `positions` and up to `spread` fewer. */
static void ck_attention(size_t positions, size_t spread, size_t count, size_t size, bool integers, bool odd) {
  cache of = make_cache(positions, size, integers, odd);
  float *x = numbers(count * size, 7, odd), *expected = numbers(count * size, 8, false);
  size_t looks[QUERIES];
  for (size_t i = 0; i < count; i++) looks[i] = positions - i * 7 % (spread + 1);
  attend(&tq_kernels_scalar, &of, x, looks, count, size, expected);
  FOR_EACH_TESTED(kernels) {
    float *actual = numbers(count * size, 9, false);
    attend(kernels, &of, x, looks, count, size, actual);
    ck_same("attention", actual, expected, count * size);
    free_numbers(actual);
  }
  free_numbers(x);
  free_numbers(expected);
  free_cache(&of);
}

static const size_t head_sizes[] = {1, 8, 16, 20, 64, 80, 128};
enum { HEAD_SIZES = sizeof head_sizes / sizeof head_sizes[0] };

START_TEST(attention_of_every_length_is_the_scalar_one) {
  for (size_t positions = 1; positions <= 200; positions += positions < 20 ? 1 : 9)
    for (size_t count = 1; count <= 5; count += 4)
      for (int integers = 0; integers < 2; integers++)
        ck_attention(positions, 0, count, head_sizes[_i], integers, false);
}
END_TEST

START_TEST(attention_of_many_queries_is_the_scalar_one) {
  static const size_t counts[] = {2, 3, 4, 7, 8, 9, 15, 31, 64};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (int integers = 0; integers < 2; integers++) {
      ck_attention(150, 149, counts[i], head_sizes[_i], integers, false);
      ck_attention(129, 3, counts[i], head_sizes[_i], integers, false);
    }
}
END_TEST

START_TEST(attention_to_odd_numbers_is_the_scalar_one) {
  for (size_t positions = 1; positions <= 70; positions += 3)
    for (int integers = 0; integers < 2; integers++)
      ck_attention(positions, positions / 2, 9, head_sizes[_i], integers, true);
}
END_TEST

/* Weights of infinite scores and of none at all, which random numbers seldom meet. */
START_TEST(attention_to_scores_that_are_all_odd_is_the_scalar_one) {
  enum { SIZE = 16, POSITIONS = 90 };
  static const uint16_t all[] = {0x7c00, 0xfc00, 0x7e00, 0x8000}; /* infinity, its negative, NaN, -0 */
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    cache of = make_cache(POSITIONS, SIZE, false, false);
    float *x = numbers(SIZE, 7, false), expected[SIZE], actual[SIZE];
    for (size_t d = 0; d < SIZE; d++) x[d] = fabsf(x[d]);
    for (size_t k = 0; k < 64 * SIZE; k++) ((uint16_t *)of.keys)[k] = all[i];
    size_t positions = POSITIONS;
    attend(&tq_kernels_scalar, &of, x, &positions, 1, SIZE, expected);
    FOR_EACH_TESTED(kernels) {
      attend(kernels, &of, x, &positions, 1, SIZE, actual);
      ck_same("attention", actual, expected, SIZE);
    }
    free_numbers(x);
    free_cache(&of);
  }
}
END_TEST

/* ---- products ---- */

typedef struct kind {
  uint32_t encoding;
  const char *block;
  uint32_t scale_encoding, granularity, group, direction; /* scale_encoding 0: there are none */
} kind;

static const kind kinds[] = {
    {TQ_F32, NULL, 0, 0, 0, 0},
    {TQ_F16, NULL, 0, 0, 0, 0},
    {TQ_BF16, NULL, 0, 0, 0, 0},
    {TQ_U8, NULL, 0, 0, 0, 0},
    {TQ_I8, NULL, 0, 0, 0, 0},
    {TQ_I8, NULL, TQ_F32, TQ_PER_TENSOR, 0, TQ_DIRECT},
    {TQ_I8, NULL, TQ_F16, TQ_PER_ROW, 0, TQ_INVERTED},
    {TQ_I8, NULL, TQ_BF16, TQ_PER_GROUP, 32, TQ_DIRECT},
    {TQ_BLOCKS, "Q4_0", 0, 0, 0, 0},
    {TQ_BLOCKS, "Q8_0", 0, 0, 0, 0},
    {TQ_BLOCKS, "Q4_K", 0, 0, 0, 0},
    {TQ_BLOCKS, "Q6_K", 0, 0, 0, 0},
    {TQ_TERNARY_2BIT, NULL, TQ_F32, TQ_PER_TENSOR, 0, TQ_DIRECT},
    {TQ_TERNARY_2BIT, NULL, TQ_F16, TQ_PER_ROW, 0, TQ_DIRECT},
    {TQ_TERNARY_2BIT, NULL, TQ_F16, TQ_PER_GROUP, 32, TQ_INVERTED},
    {TQ_TERNARY_BASE3, NULL, TQ_F32, TQ_PER_TENSOR, 0, TQ_INVERTED},
    {TQ_TERNARY_BASE3, NULL, TQ_BF16, TQ_PER_ROW, 0, TQ_DIRECT},
    {TQ_TERNARY_BASE3, NULL, TQ_F16, TQ_PER_GROUP, 64, TQ_DIRECT},
    {TQ_TERNARY_BASE3, NULL, TQ_F16, TQ_PER_GROUP, 20, TQ_DIRECT},
    {TQ_QUATERNARY_2BIT, NULL, TQ_F32, TQ_PER_TENSOR, 0, TQ_DIRECT},
    {TQ_QUATERNARY_2BIT, NULL, TQ_F32, TQ_PER_ROW, 0, TQ_INVERTED},
    {TQ_QUATERNARY_2BIT, NULL, TQ_F32, TQ_PER_GROUP, 48, TQ_DIRECT},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static size_t row_bytes_of(const kind *of, const tq_block_type *block, size_t columns) {
  if (block) return columns / block->block_elements * block->block_bytes;
  if (of->encoding == TQ_F32) return columns * 4;
  if (of->encoding == TQ_F16 || of->encoding == TQ_BF16) return columns * 2;
  if (of->encoding == TQ_U8 || of->encoding == TQ_I8) return columns;
  return (size_t)tq_trit_row_bytes(of->encoding, columns);
}

/* F16 numbers at the places of a block type's scales; the rest of the block is any bytes. */
static void fill_block(const tq_block_type *block, uint8_t *bytes, uint64_t *seed, bool odd) {
  for (size_t i = 0; i < block->block_bytes; i++) bytes[i] = (uint8_t)random_u64(seed);
  size_t d = strcmp(block->name, "Q6_K") == 0 ? 208 : 0;
  tq_store_u16(bytes + d, tq_f32_to_f16(random_number(seed, odd)));
  if (strcmp(block->name, "Q4_K") == 0) tq_store_u16(bytes + 2, tq_f32_to_f16(random_number(seed, odd)));
}

static void fill_row(const tq_matrix *matrix, uint64_t row, uint8_t *values, uint64_t *seed, bool odd) {
  size_t columns = (size_t)matrix->columns;
  uint8_t *bytes = values + row * matrix->row_bytes;
  if (tq_matrix_is_ternary(matrix)) {
    int8_t *trits = malloc(columns);
    uint8_t *packed = malloc((size_t)matrix->row_bytes);
    uint64_t codes = matrix->encoding == TQ_QUATERNARY_2BIT ? 4 : 3;
    for (size_t i = 0; i < columns; i++) trits[i] = (int8_t)((int8_t)(random_u64(seed) % codes) - 1);
    tq_trits_pack(matrix->encoding, trits, columns, packed);
    tq_panel_store_row(values, matrix->rows, row, matrix->row_bytes, packed);
    free(trits);
    free(packed);
  } else if (matrix->block) {
    for (size_t i = 0; i < matrix->row_bytes; i += matrix->block->block_bytes)
      fill_block(matrix->block, bytes + i, seed, odd);
  } else {
    for (size_t i = 0; i < columns; i++) {
      if (matrix->encoding == TQ_F32)
        tq_store_f32(bytes + 4 * i, random_number(seed, odd));
      else if (matrix->encoding == TQ_F16)
        tq_store_u16(bytes + 2 * i, tq_f32_to_f16(random_number(seed, odd)));
      else if (matrix->encoding == TQ_BF16)
        tq_store_u16(bytes + 2 * i, tq_f32_to_bf16(random_number(seed, odd)));
      else
        bytes[i] = (uint8_t)(random_u64(seed) % 5 ? random_u64(seed) : 0);
    }
  }
}

typedef struct example {
  tq_matrix matrix;
  uint8_t *values, *scales; /* the matrix's begin a byte behind */
} example;

static example make_example(const kind *of, size_t rows, size_t columns, bool odd) {
  const tq_block_type *block = of->block ? tq_block_type_find(of->block) : NULL;
  uint64_t seed = columns;
  size_t row_bytes = row_bytes_of(of, block, columns), scale_bytes = of->scale_encoding == TQ_F32 ? 4 : 2;
  size_t scale_count = (size_t)tq_scale_count(of->granularity, of->group, rows, columns);
  example made = {.values = malloc(rows * row_bytes + 1), .scales = malloc(scale_count * scale_bytes + 1)};
  made.matrix = (tq_matrix){.rows = rows,
                            .columns = columns,
                            .encoding = of->encoding,
                            .values = made.values + 1,
                            .row_bytes = row_bytes,
                            .block = block,
                            .scales = of->scale_encoding ? made.scales + 1 : NULL,
                            .scale_encoding = of->scale_encoding,
                            .granularity = of->granularity,
                            .group = of->group,
                            .direction = of->direction};
  for (size_t r = 0; r < rows; r++) fill_row(&made.matrix, r, made.values + 1, &seed, odd);
  for (size_t i = 0; i < scale_count && of->scale_encoding; i++) {
    float scale = random_number(&seed, odd);
    uint8_t *at = made.scales + 1 + i * scale_bytes;
    if (of->scale_encoding == TQ_F32)
      tq_store_f32(at, scale);
    else
      tq_store_u16(at, of->scale_encoding == TQ_F16 ? tq_f32_to_f16(scale) : tq_f32_to_bf16(scale));
  }
  return made;
}

static void multiply(const tq_kernels *kernels, const tq_matrix *matrix, uint64_t begin, uint64_t end, const float *x,
                     size_t count, float *y) {
  float *scratch = malloc(tq_linear_scratch(matrix->columns) * sizeof *scratch);
  kernels->linear_rows(matrix, begin, end, x, count, y, scratch);
  free(scratch);
}

/* All rows at once and in parts that fit no panel; what is behind the rows asked for stays as it was. */
static void ck_products(const kind *of, size_t rows, size_t columns, size_t count, bool odd) {
  example with = make_example(of, rows, columns, odd);
  float *x = numbers(count * columns, 2, odd), *expected = numbers(count * rows, 3, false);
  float *before = copy_of(expected, count * rows);
  multiply(&tq_kernels_scalar, &with.matrix, 0, rows, x, count, expected);
  FOR_EACH_TESTED(kernels) {
    char what[100];
    snprintf(what, sizeof what, "%s, encoding %u %s, %zu x %zu, %zu vectors", kernels->name, of->encoding,
             of->block ? of->block : "", rows, columns, count);
    float *actual = copy_of(before, count * rows);
    multiply(kernels, &with.matrix, 0, rows / 3, x, count, actual);
    for (size_t t = 0; t < count; t++)
      ck_assert(memcmp(actual + t * rows + rows / 3, before + t * rows + rows / 3, (rows - rows / 3) * sizeof *x) == 0);
    multiply(kernels, &with.matrix, rows / 3, rows, x, count, actual);
    ck_same(what, actual, expected, count * rows);
    free_numbers(actual);
  }
  free_numbers(x);
  free_numbers(expected);
  free_numbers(before);
  free(with.values);
  free(with.scales);
}

static bool has_columns(const kind *of, size_t columns) {
  return !of->block || columns % tq_block_type_find(of->block)->block_elements == 0;
}

START_TEST(products_of_every_size_are_the_scalar_ones) {
  for (size_t i = 0; i < SIZES; i++)
    if (has_columns(&kinds[_i], size_at(i))) {
      ck_products(&kinds[_i], 23, size_at(i), 1, false);
      ck_products(&kinds[_i], 5, size_at(i), 5, false);
    }
  ck_products(&kinds[_i], 40, 1280, 1, false);
  ck_products(&kinds[_i], 40, 1280, 6, false);
}
END_TEST

START_TEST(products_with_many_vectors_are_the_scalar_ones) {
  static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 33};
  static const size_t columns[] = {37, 90, 256};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
    for (size_t k = 0; k < 3; k++)
      if (has_columns(&kinds[_i], columns[k])) ck_products(&kinds[_i], 35, columns[k], counts[i], false);
}
END_TEST

START_TEST(products_of_odd_numbers_are_the_scalar_ones) {
  for (size_t i = 0; i < SIZES; i += 3)
    if (has_columns(&kinds[_i], size_at(i))) ck_products(&kinds[_i], 19, size_at(i), 1 + i % 3, true);
  for (size_t count = 1; count < 4; count++) ck_products(&kinds[_i], 19, 256, count, true);
}
END_TEST

START_TEST(required_kernels_are_compared) { ck_required_kernels(); }
END_TEST

int main(void) {
  Suite *suite = suite_create("kernels_floats");
  TCase *elements = tcase_create("elements"), *attention = tcase_create("attention"),
        *products = tcase_create("products");
  tcase_add_test(elements, required_kernels_are_compared);
  tcase_add_loop_test(elements, elements_are_the_scalar_ones, 0, SIZES);
  tcase_add_loop_test(elements, pairs_turn_as_the_scalar_ones, 0, SIZES);
  tcase_add_test(elements, exp_is_the_scalar_one);
  tcase_add_test(elements, halves_are_the_scalar_ones);
  suite_add_tcase(suite, elements);
  tcase_add_loop_test(attention, attention_of_every_length_is_the_scalar_one, 0, HEAD_SIZES);
  tcase_add_loop_test(attention, attention_of_many_queries_is_the_scalar_one, 0, HEAD_SIZES);
  tcase_add_loop_test(attention, attention_to_odd_numbers_is_the_scalar_one, 0, HEAD_SIZES);
  tcase_add_test(attention, attention_to_scores_that_are_all_odd_is_the_scalar_one);
  suite_add_tcase(suite, attention);
  tcase_add_loop_test(products, products_of_every_size_are_the_scalar_ones, 0, KINDS);
  tcase_add_loop_test(products, products_with_many_vectors_are_the_scalar_ones, 0, KINDS);
  tcase_add_loop_test(products, products_of_odd_numbers_are_the_scalar_ones, 0, KINDS);
  suite_add_tcase(suite, products);
  return run_suite(suite);
}
