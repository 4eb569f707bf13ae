/* Kernels of every instruction set that this processor has, where they meet 8-bit integers: the bits of the reference.
 * All memory is exactly as large as it has to be, so that a sanitizer sees who reads beyond it. */
#include "base/bytes.h"
#include "kernels/kernels.h"
#include "tests/kernel_sets.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The rows of the table that are not the reference. */
static const tq_kernels *next_kernels(size_t *index) {
  const tq_kernels *kernels;
  while ((kernels = tq_kernels_at((*index)++)))
    if (kernels != &tq_kernels_scalar && kernels->available()) break;
  return kernels;
}

/* Never NULL, and never more than it says. */
static void *exactly(size_t size) {
  void *memory = malloc(size ? size : 1);
  ck_assert(memory);
  return memory;
}

static uint64_t below(uint64_t *seed, uint64_t limit) { return random_u64(seed) % limit; }

/* The same bits, or both not a number, of which there are many. */
static bool same_floats(const float *a, const float *b, size_t count, size_t *where) {
  for (*where = 0; *where < count; ++*where)
    if (memcmp(&a[*where], &b[*where], sizeof *a) != 0 && !(isnan(a[*where]) && isnan(b[*where]))) return false;
  return true;
}

/* ---- rounding ---- */

typedef struct rounded {
  int8_t *codes;
  float *steps;
  int32_t *sums;
} rounded;

static rounded quantize(const tq_kernels *kernels, const float *x, size_t count, size_t block) {
  rounded r = {exactly(tq_code_stride(count)), exactly(tq_step_count(count, block) * sizeof(float)),
               exactly(tq_step_count(count, TQ_SPAN) * sizeof(int32_t))};
  memset(r.codes, 99, tq_code_stride(count));
  kernels->quantize(x, count, block, r.codes, r.steps, r.sums);
  return r;
}

static void free_rounded(rounded *r) {
  free(r->codes);
  free(r->steps);
  free(r->sums);
}

static void check_rounding(const float *x, size_t count, size_t block) {
  const tq_kernels *kernels;
  rounded expected = quantize(&tq_kernels_scalar, x, count, block);
  for (size_t i = 0; (kernels = next_kernels(&i));) {
    rounded actual = quantize(kernels, x, count, block);
    size_t where;
    ck_assert_msg(memcmp(actual.codes, expected.codes, tq_code_stride(count)) == 0, "%s: codes of %zu in blocks of %zu",
                  kernels->name, count, block);
    ck_assert_msg(same_floats(actual.steps, expected.steps, tq_step_count(count, block), &where),
                  "%s: step %zu of %zu in blocks of %zu", kernels->name, where, count, block);
    ck_assert_msg(memcmp(actual.sums, expected.sums, tq_step_count(count, TQ_SPAN) * sizeof(int32_t)) == 0,
                  "%s: sums of %zu in blocks of %zu", kernels->name, count, block);
    free_rounded(&actual);
  }
  free_rounded(&expected);
}

START_TEST(numbers_are_rounded_alike) {
  static const size_t more[] = {127, 128, 129, 255, 256, 640, 1000, 2560};
  for (size_t i = 1; i < 100 + COUNT(more); i++) {
    size_t count = i < 100 ? i : more[i - 100];
    uint64_t seed = count;
    float *x = exactly(count * sizeof *x);
    for (int round = 0; round < 12; round++) {
      float size = ldexpf(1, (int)below(&seed, 250) - 125);
      bool halves = round % 4 == 0;
      for (size_t k = 0; k < count; k++)
        x[k] = halves ? ((float)below(&seed, 255) - 127) / 2 : size * random_float(&seed);
      if (halves) x[below(&seed, count)] = 127;
      check_rounding(x, count, 0);
      check_rounding(x, count, TQ_SPAN);
    }
    free(x);
  }
}
END_TEST

START_TEST(odd_numbers_are_rounded_alike) {
  static const float odd[] = {NAN, -NAN,    INFINITY, -INFINITY, FLT_MAX, -FLT_MAX,     FLT_TRUE_MIN,
                              0,   FLT_MIN, 1e-5f,    -1e-5f,    -0.0f,   -1.00001e-5f, 9.99999e-6f};
  static const size_t counts[] = {1, 15, 31, 32, 33, 64, 70, 100};
  for (size_t i = 0; i < COUNT(counts); i++) {
    size_t count = counts[i];
    float *x = exactly(count * sizeof *x);
    for (size_t place = 0; place<count; place += count> 32 && place < 30 ? 15 : 1) {
      for (size_t k = 0; k < COUNT(odd); k++) {
        for (int size = 0; size < 2; size++) {
          for (size_t j = 0; j < count; j++) x[j] = size ? (float)j - 7 : 0;
          x[place] = odd[k];
          check_rounding(x, count, 0);
          check_rounding(x, count, TQ_SPAN);
        }
      }
    }
    free(x);
  }
}
END_TEST

/* ---- products ---- */

typedef enum fill { RANDOM, EXTREME, ODD } fill;

/* What a product is of: which codes, scales and steps there are, and how many. */
typedef struct spec {
  uint32_t encoding;
  size_t rows, columns, vectors;
  uint32_t granularity, group, scale_encoding, direction;
  size_t block;
  fill fill;
} spec;

typedef struct example {
  spec spec;
  tq_matrix matrix;
  uint8_t *values, *scales;
  tq_codes inputs;
} example;

static int8_t some_trit(const spec *of, uint64_t *seed) {
  int8_t largest = of->encoding == TQ_QUATERNARY_2BIT ? 2 : 1;
  if (of->fill == EXTREME) return below(seed, 50) ? largest : -1;
  if (of->fill == ODD) return below(seed, 40) == 0;
  return (int8_t)((int)below(seed, (uint64_t)largest + 2) - 1);
}

static float some_scale(const spec *of, uint64_t *seed) {
  static const float odd[] = {INFINITY, -INFINITY, NAN, 0, 1e-30f, 3};
  if (of->fill == ODD) return odd[below(seed, COUNT(odd))];
  return random_float(seed) + 1.5f;
}

static int8_t some_code(const spec *of, uint64_t *seed) {
  if (of->fill == EXTREME) return below(seed, 200) ? 127 : -127;
  if (of->fill == ODD && below(seed, 3)) return 0;
  return (int8_t)((int)below(seed, 255) - 127);
}

static float some_step(const spec *of, uint64_t *seed) {
  if (of->fill == ODD && below(seed, 8) == 0) return NAN;
  return (random_float(seed) + 1.5f) / 100;
}

static void store_scale(uint32_t encoding, float scale, uint8_t *scales, size_t index) {
  if (encoding == TQ_F32)
    tq_store_f32(scales + 4 * index, scale);
  else
    tq_store_u16(scales + 2 * index, encoding == TQ_F16 ? tq_f32_to_f16(scale) : tq_f32_to_bf16(scale));
}

static void make_matrix(example *of, uint64_t *seed) {
  const spec *s = &of->spec;
  size_t row_bytes = (size_t)tq_trit_row_bytes(s->encoding, s->columns);
  size_t scales = (size_t)tq_scale_count(s->granularity, s->group, s->rows, s->columns);
  int8_t *trits = exactly(s->columns);
  uint8_t *bytes = exactly(row_bytes);
  of->values = exactly(s->rows * row_bytes);
  of->scales = exactly(scales * (s->scale_encoding == TQ_F32 ? 4 : 2));
  for (size_t i = 0; i < scales; i++) store_scale(s->scale_encoding, some_scale(s, seed), of->scales, i);
  for (size_t r = 0; r < s->rows; r++) {
    for (size_t c = 0; c < s->columns; c++) trits[c] = some_trit(s, seed);
    tq_trits_pack(s->encoding, trits, s->columns, bytes);
    tq_panel_store_row(of->values, s->rows, r, row_bytes, bytes);
  }
  free(trits);
  free(bytes);
  of->matrix = (tq_matrix){.rows = s->rows,
                           .columns = s->columns,
                           .encoding = s->encoding,
                           .values = of->values,
                           .row_bytes = row_bytes,
                           .scales = of->scales,
                           .scale_encoding = s->scale_encoding,
                           .granularity = s->granularity,
                           .group = s->group,
                           .direction = s->direction};
}

static void make_inputs(example *of, uint64_t *seed) {
  const spec *s = &of->spec;
  size_t stride = tq_code_stride(s->columns), steps = tq_step_count(s->columns, s->block);
  size_t spans = tq_step_count(s->columns, TQ_SPAN);
  of->inputs = (tq_codes){.codes = exactly(s->vectors * stride),
                          .steps = exactly(s->vectors * steps * sizeof(float)),
                          .sums = exactly(s->vectors * spans * sizeof(int32_t)),
                          .block = s->block};
  for (size_t t = 0; t < s->vectors; t++) {
    int8_t *codes = of->inputs.codes + t * stride;
    for (size_t c = 0; c < stride; c++) codes[c] = c < s->columns ? some_code(s, seed) : 0;
    for (size_t k = 0; k < spans; k++) {
      int32_t sum = 0;
      for (size_t c = 0; c < TQ_SPAN; c++) sum += codes[k * TQ_SPAN + c];
      of->inputs.sums[t * spans + k] = sum;
    }
  }
  for (size_t i = 0; i < s->vectors * steps; i++) of->inputs.steps[i] = some_step(s, seed);
}

static example make_example(const spec *s) {
  uint64_t seed = s->columns * 1000 + s->rows + s->vectors + s->group;
  example made = {.spec = *s};
  make_matrix(&made, &seed);
  make_inputs(&made, &seed);
  return made;
}

static void free_example(example *of) {
  free(of->values);
  free(of->scales);
  free(of->inputs.codes);
  free(of->inputs.steps);
  free(of->inputs.sums);
}

/* Outputs of the rows in [begin, end), and a number that nobody writes in all others. */
static float *multiply(const tq_kernels *kernels, const example *of, size_t begin, size_t end) {
  size_t count = of->spec.rows * of->spec.vectors;
  float *outputs = exactly(count * sizeof *outputs),
        *scratch = exactly(tq_linear_scratch(of->spec.columns) * sizeof(float));
  for (size_t i = 0; i < count; i++) outputs[i] = -12345;
  kernels->linear_rows_integer(&of->matrix, begin, end, &of->inputs, of->spec.vectors, outputs, scratch);
  free(scratch);
  return outputs;
}

static void check_range(const example *of, size_t begin, size_t end) {
  const spec *s = &of->spec;
  const tq_kernels *kernels;
  float *expected = multiply(&tq_kernels_scalar, of, begin, end);
  for (size_t i = 0; (kernels = next_kernels(&i));) {
    float *actual = multiply(kernels, of, begin, end);
    size_t at;
    bool same = same_floats(actual, expected, s->rows * s->vectors, &at);
    ck_assert_msg(same,
                  "%s: vector %zu, row %zu is %a, not %a: %zu rows [%zu, %zu), %zu columns, %zu vectors, encoding %u, "
                  "granularity %u, group %u, scales %u, direction %u, block %zu, fill %d",
                  kernels->name, at / s->rows, at % s->rows, (double)actual[at], (double)expected[at], s->rows, begin,
                  end, s->columns, s->vectors, s->encoding, s->granularity, s->group, s->scale_encoding, s->direction,
                  s->block, (int)s->fill);
    free(actual);
  }
  free(expected);
}

static void check_product(const spec *s) {
  example of = make_example(s);
  check_range(&of, 0, s->rows);
  free_example(&of);
}

static const uint32_t encodings[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT};
static const uint32_t scale_encodings[] = {TQ_F32, TQ_F16, TQ_BF16};
static const size_t all_rows[] = {1, 3, 15, 16, 17, 33, 64, 80};
static const size_t all_vectors[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 33, 130};
/* Groups of scales; 0 is a scale per row, 1 one per tensor. */
static const uint32_t groups[] = {1, 0, 32, 64, 96, 128, 160, 256};
enum { SHAPES = 16 }; /* each of these with one step per vector and with one per span */

static void set_granularity(spec *s, uint32_t group) {
  s->granularity = group == 0 ? TQ_PER_ROW : group == 1 ? TQ_PER_TENSOR : TQ_PER_GROUP;
  s->group = s->granularity == TQ_PER_GROUP ? group : 0;
}

/* Everything that is not a size is gone through; what of it meets in one product is chosen at random. */
static spec some_spec(size_t columns, size_t shape, uint32_t encoding, uint64_t *seed) {
  spec s = {.encoding = encoding,
            .columns = columns,
            .rows = all_rows[below(seed, COUNT(all_rows))],
            .vectors = all_vectors[below(seed, COUNT(all_vectors))],
            .scale_encoding = scale_encodings[below(seed, COUNT(scale_encodings))],
            .direction = (uint32_t)below(seed, 2) ? TQ_INVERTED : 0,
            .block = shape % 2 ? TQ_SPAN : 0,
            .fill = (fill)below(seed, 3)};
  set_granularity(&s, groups[shape / 2]);
  return s;
}

static void check_columns(size_t columns) {
  uint64_t seed = columns;
  for (size_t shape = 0; shape < SHAPES; shape++) {
    for (size_t i = 0; i < COUNT(encodings); i++) {
      spec s = some_spec(columns, shape, encodings[i], &seed);
      check_product(&s);
    }
  }
}

START_TEST(short_rows_have_the_same_sums) {
  for (size_t columns = 1; columns <= 70; columns++) check_columns(columns);
}
END_TEST

static const size_t long_rows[] = {96,  127, 128, 129, 159, 160, 161, 192, 255, 256,  257,
                                   288, 300, 319, 320, 511, 513, 640, 672, 999, 1300, 2560};

START_TEST(long_rows_have_the_same_sums) { check_columns(long_rows[_i]); }
END_TEST

/* Every number of rows with every number of vectors. */
START_TEST(every_block_of_outputs_is_the_same) {
  uint64_t seed = 5;
  for (size_t i = 0; i < COUNT(all_rows); i++) {
    for (size_t k = 0; k < COUNT(all_vectors); k++) {
      for (size_t shape = 0; shape < 6; shape++) {
        spec s = some_spec(shape % 3 ? 333 : 70, shape, encodings[(i + k) % 3], &seed);
        s.rows = all_rows[i], s.vectors = all_vectors[k], s.fill = RANDOM;
        check_product(&s);
      }
    }
  }
}
END_TEST

START_TEST(parts_of_the_rows_are_the_same) {
  static const size_t borders[] = {0, 16, 32, 64, 80, 83};
  uint64_t seed = 6;
  for (size_t shape = 0; shape < SHAPES; shape++) {
    spec s = some_spec(200, shape, encodings[shape % 3], &seed);
    s.rows = 83, s.vectors = shape % 3 ? 7 : 1;
    example of = make_example(&s);
    for (size_t i = 0; i < COUNT(borders); i++)
      for (size_t k = i; k < COUNT(borders); k++) check_range(&of, borders[i], borders[k]);
    free_example(&of);
  }
}
END_TEST

/* No sum of products may stop at the largest number of 16 bits. */
START_TEST(largest_numbers_do_not_overflow) {
  for (size_t i = 0; i < COUNT(encodings); i++) {
    for (size_t shape = 0; shape < SHAPES; shape++) {
      for (size_t vectors = 1; vectors <= 7; vectors += 3) {
        spec s = {.encoding = encodings[i], .rows = 17, .columns = 700, .vectors = vectors, .scale_encoding = TQ_F32};
        s.block = shape % 2 ? TQ_SPAN : 0, s.fill = EXTREME;
        set_granularity(&s, groups[shape / 2]);
        check_product(&s);
      }
    }
  }
}
END_TEST

/* What the reference makes of codes that are all 127 and weights that are all `trit`. */
static void check_sums(const example *of, int trit) {
  const spec *s = &of->spec;
  float sum = (float)(127 * trit * (int)s->columns), scale = tq_load_f32(of->scales);
  float *actual = multiply(&tq_kernels_scalar, of, 0, s->rows);
  for (size_t i = 0; i < s->rows * s->vectors; i++) {
    float expected = sum * (scale * of->inputs.steps[i / s->rows]);
    ck_assert_msg(actual[i] == expected, "output %zu is %a, not %a", i, (double)actual[i], (double)expected);
  }
  free(actual);
}

/* The longest row there may be, all of it as large as can be. */
START_TEST(longest_rows_do_not_overflow) {
  static const uint8_t bytes[] = {0x00, 0xff}; /* all -1, or all +1 or +2 */
  for (size_t i = 0; i < 4; i++) {
    spec s = {.encoding = i % 2 ? TQ_TERNARY_BASE3 : TQ_QUATERNARY_2BIT,
              .rows = 3,
              .columns = TQ_INTEGER_COLUMNS_LIMIT,
              .vectors = i / 2 ? 7 : 1,
              .scale_encoding = TQ_F32};
    example of = make_example(&s);
    for (size_t t = 0; t < s.vectors; t++) memset(of.inputs.codes + t * tq_code_stride(s.columns), 127, s.columns);
    for (size_t k = 0; k < s.vectors * tq_step_count(s.columns, TQ_SPAN); k++) of.inputs.sums[k] = 127 * TQ_SPAN;
    for (size_t k = 0; k < COUNT(bytes); k++) {
      memset(of.values, bytes[k], s.rows * (size_t)of.matrix.row_bytes);
      check_range(&of, 0, s.rows);
      check_sums(&of, k == 0 ? -1 : s.encoding == TQ_QUATERNARY_2BIT ? 2 : 1);
    }
    free_example(&of);
  }
}
END_TEST

/* ---- what the machine can do ---- */

START_TEST(measures_do_what_they_count) {
  const tq_kernels *kernels;
  uint8_t *data = exactly(1024);
  memset(data, 1, 1024);
  for (size_t i = 0; (kernels = tq_kernels_at(i)); i++) {
    int32_t sum;
    if (!kernels->available()) continue;
    for (size_t size = 0; size <= 1024; size += 256) kernels->read_memory(data, size);
    ck_assert(kernels->multiply_integers(0, &sum) == 0);
    uint64_t once = kernels->multiply_integers(1, &sum);
    ck_assert(once > 0 && kernels->multiply_integers(10, &sum) == 10 * once);
  }
  free(data);
}
END_TEST

START_TEST(required_kernels_are_compared) { ck_required_kernels(); }
END_TEST

int main(void) {
  Suite *suite = suite_create("integer kernels");
  TCase *rounding = tcase_create("rounding"), *products = tcase_create("products"), *machine = tcase_create("machine");
  tcase_set_timeout(products, 60);
  tcase_add_test(rounding, numbers_are_rounded_alike);
  tcase_add_test(rounding, odd_numbers_are_rounded_alike);
  tcase_add_test(products, short_rows_have_the_same_sums);
  tcase_add_loop_test(products, long_rows_have_the_same_sums, 0, COUNT(long_rows));
  tcase_add_test(products, every_block_of_outputs_is_the_same);
  tcase_add_test(products, parts_of_the_rows_are_the_same);
  tcase_add_test(products, largest_numbers_do_not_overflow);
  tcase_add_test(products, longest_rows_do_not_overflow);
  tcase_add_test(machine, required_kernels_are_compared);
  tcase_add_test(machine, measures_do_what_they_count);
  suite_add_tcase(suite, rounding);
  suite_add_tcase(suite, products);
  suite_add_tcase(suite, machine);
  return run_suite(suite);
}
