/* Scale tables across dialects: every weight the same, or refused where nothing could say it; and the coarsest
 * granularity, against a search through all pairs. */
#include "base/bytes.h"
#include "formats/dialects/scales.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tests/ternary_files.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_COLUMNS = 600, MOST_SCALES = 20 };

static const uint32_t encodings[] = {TQ_F32, TQ_F16, TQ_BF16};

static size_t scale_bytes(uint32_t encoding) { return encoding == TQ_F32 ? 4 : 2; }

static uint64_t index_of(const ternary *tensor, uint64_t row, uint64_t column) {
  return tq_scale_index(tensor->granularity, tensor->group, tensor->rows, tensor->columns, row, column);
}

static float value_of(const ternary *tensor, uint64_t row, uint64_t column) {
  return tq_scale_load(tensor->encoding, tensor->direction, tensor->table, index_of(tensor, row, column));
}

static tq_scale_table table_of(const ternary *tensor) {
  return (tq_scale_table){tensor->rows,     tensor->granularity, tensor->group,
                          tensor->encoding, tensor->direction,   tensor->table};
}

/* ---- one row in another dialect ---- */

/* True when some number of the type and direction says the scale: all of a small type are tried. */
static bool can_say(uint32_t encoding, uint32_t direction, float scale) {
  uint8_t bytes[4];
  if (!isfinite(scale)) return false;
  if (encoding == TQ_F32) return tq_scale_store(encoding, direction, scale, bytes);
  for (uint32_t bits = 0; bits < 65536; bits++) {
    tq_store_u16(bytes, (uint16_t)bits);
    if (tq_scale_load(encoding, direction, bytes, 0) == scale) return true;
  }
  return false;
}

/* Whether columns [begin, end) of a row can have one scale: those under trits are the same, and can be said. */
static bool group_fits(const ternary *from, const tq_dialect *to, uint64_t row, uint64_t begin, uint64_t end) {
  bool found = false;
  float one = 0;
  for (uint64_t c = begin; c < end; c++) {
    if (!from->trits[row * from->columns + c]) continue;
    float scale = value_of(from, row, c);
    if (found && scale != one) return false;
    found = true;
    one = scale;
  }
  bool copied = from->encoding == to->scale_encoding && from->direction == to->direction;
  return !found || (copied && (isfinite(one) || !to->is_unpacked)) || can_say(to->scale_encoding, to->direction, one);
}

static bool row_fits(const ternary *from, const tq_dialect *to, uint64_t row) {
  uint64_t run = to->granularity == TQ_PER_GROUP ? to->group : from->columns;
  for (uint64_t c = 0; c < from->columns; c += run) {
    if (!group_fits(from, to, row, c, c + run < from->columns ? c + run : from->columns)) return false;
  }
  return true;
}

static void check_row(const ternary *from, const tq_dialect *to, uint64_t row, unsigned met[2]) {
  uint8_t scales[MOST_SCALES * 4], blind[MOST_SCALES * 4];
  float before[MOST_COLUMNS], after[MOST_COLUMNS];
  tq_scale_table table = table_of(from);
  tq_scale_problem problem = {.reason = ""};
  const int8_t *trits = from->trits + row * from->columns;
  size_t size = (size_t)tq_dialect_row_scales(to, from->columns) * scale_bytes(to->scale_encoding);
  memset(scales, 0xee, sizeof scales);
  bool fits = tq_scales_for_row(&table, to, row, from->columns, trits, scales, &problem);
  expect(fits == row_fits(from, to, row));
  met[fits]++;
  if (tq_scales_for_row(&table, to, row, from->columns, NULL, blind, &problem)) {
    expect(fits); /* what scales alone decide, trits do not revoke */
    expect(memcmp(blind, scales, size) == 0);
  }
  if (!fits) {
    expect(problem.row == row && problem.column < from->columns && problem.reason[0]);
    return;
  }
  expect(scales[size] == 0xee);
  ternary_weights(from, row, before);
  tq_trits_scale(trits, 1, 0, from->columns, to->granularity, to->group, to->scale_encoding, to->direction, scales,
                 after);
  expect(memcmp(before, after, from->columns * sizeof *before) == 0);
}

static void check_tensor(const ternary *from, unsigned met[2]) {
  static const uint32_t groups[] = {0, 32, 64, 128, 256};
  for (size_t g = 0; g < 5; g++) {
    for (size_t e = 0; e < 3; e++) {
      for (uint32_t direction = TQ_DIRECT; direction <= TQ_INVERTED; direction++) {
        for (int unpacked = 0; unpacked < 2; unpacked++) {
          tq_dialect to = {.granularity = g ? TQ_PER_GROUP : TQ_PER_ROW,
                           .group = groups[g],
                           .scale_encoding = encodings[e],
                           .direction = direction,
                           .is_unpacked = unpacked};
          for (uint64_t row = 0; row < from->rows; row++) check_row(from, &to, row, met);
        }
      }
    }
  }
}

/* All granularities, types and directions, each into each. */
START_TEST(every_conversion_is_exact_or_refused) {
  static const uint64_t columns[] = {32, 256, 300, 512, 577};
  static const uint32_t groups[] = {0, 0, 32, 64, 96, 128, 160, 192, 224, 256};
  palette scales = (palette)_i;
  uint64_t state = 5 + (uint64_t)_i;
  unsigned met[2] = {0};
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    for (size_t e = 0; e < 3; e++) {
      for (uint32_t direction = TQ_DIRECT; direction <= TQ_INVERTED; direction++) {
        ternary from = {.rows = 2,
                        .columns = columns[random_u64(&state) % 5],
                        .code = TQ_QUATERNARY_2BIT,
                        .granularity = g == 0   ? TQ_PER_TENSOR
                                       : g == 1 ? TQ_PER_ROW
                                                : TQ_PER_GROUP,
                        .group = groups[g],
                        .encoding = encodings[e],
                        .direction = direction};
        ternary_random(&from, scales, &state);
        check_tensor(&from, met);
        ternary_free(&from);
      }
    }
  }
  ck_assert_uint_gt(met[0], 100);
  ck_assert_uint_gt(met[1], 100);
}
END_TEST

/* A row of 64 in groups of 32 with two scales: what becomes of them in one group of 64. */
static bool two_into_one(uint32_t encoding, uint32_t direction, const float scales[2], const int8_t trits[64],
                         uint8_t *scale, tq_scale_problem *problem) {
  uint8_t bytes[8];
  ternary from = {.rows = 1,
                  .columns = 64,
                  .granularity = TQ_PER_GROUP,
                  .group = 32,
                  .encoding = encoding,
                  .direction = direction,
                  .table = bytes};
  tq_dialect to = {.granularity = TQ_PER_GROUP, .group = 64, .scale_encoding = TQ_F16};
  ternary_set_scale(&from, 0, scales[0]);
  ternary_set_scale(&from, 1, scales[1]);
  tq_scale_table table = table_of(&from);
  return tq_scales_for_row(&table, &to, 0, 64, trits, scale, problem);
}

START_TEST(scales_over_zeros_do_not_count) {
  static const float different[] = {0.5f, 2}, inexact[] = {0.1f, 2}, none[] = {0.1f, 0.3f}, zeros[] = {-0.0f, 0};
  int8_t trits[64] = {0};
  uint8_t scale[2];
  tq_scale_problem problem;
  expect(two_into_one(TQ_F16, TQ_DIRECT, different, trits, scale, &problem)); /* all zero: the first */
  expect(tq_load_u16(scale) == tq_f32_to_f16(0.5f));
  expect(two_into_one(TQ_F32, TQ_DIRECT, none, trits, scale, &problem)); /* which cannot be said: 0 */
  expect(tq_load_u16(scale) == 0);
  trits[63] = -1;
  expect(two_into_one(TQ_F32, TQ_DIRECT, inexact, trits, scale, &problem));
  expect(tq_load_u16(scale) == tq_f32_to_f16(2));
  expect(!two_into_one(TQ_F32, TQ_DIRECT, none, trits, scale, &problem));
  ck_assert_str_eq(problem.reason, "its scale 0.300000012 is not exact in F16");
  ck_assert_uint_eq(problem.column, 32);
  trits[0] = 1;
  expect(!two_into_one(TQ_F16, TQ_DIRECT, different, trits, scale, &problem));
  ck_assert_str_eq(problem.reason, "scales 0.5 and 2 meet in one group of 64");
  ck_assert_uint_eq(problem.column, 32);
  expect(two_into_one(TQ_F16, TQ_DIRECT, zeros, trits, scale, &problem)); /* -0 is 0; bits are copied */
  expect(tq_load_u16(scale) == 0x8000);
}
END_TEST

/* Different numbers of which the reciprocals are one f32 are one scale, and not otherwise. */
START_TEST(inverted_scales_are_compared_by_what_they_say) {
  uint8_t bytes[8] = {0}, scale[4];
  ternary from = {.rows = 1,
                  .columns = 64,
                  .granularity = TQ_PER_GROUP,
                  .group = 32,
                  .encoding = TQ_F32,
                  .direction = TQ_INVERTED,
                  .table = bytes};
  int8_t trits[64];
  memset(trits, 1, sizeof trits);
  float one = 1.9f, other = one;
  while (1 / nextafterf(one, 2) != 1 / one) one = nextafterf(one, 2);
  other = nextafterf(one, 2);
  ternary_set_scale(&from, 0, one);
  ternary_set_scale(&from, 1, other);
  expect(memcmp(bytes, bytes + 4, 4) != 0);
  tq_scale_table table = table_of(&from);
  tq_scale_problem problem;
  tq_dialect same = {.granularity = TQ_PER_ROW, .scale_encoding = TQ_F32, .direction = TQ_INVERTED};
  tq_dialect direct = {.granularity = TQ_PER_ROW, .scale_encoding = TQ_F32};
  expect(tq_scales_for_row(&table, &same, 0, 64, trits, scale, &problem));
  expect(memcmp(scale, bytes, 4) == 0);
  expect(tq_scales_for_row(&table, &direct, 0, 64, trits, scale, &problem));
  expect(tq_load_f32(scale) == 1 / one);
}
END_TEST

/* Not a number: kept where bits are copied, and otherwise in the way of nothing but trits. */
START_TEST(scales_that_are_no_numbers) {
  static const float hostile[] = {NAN, INFINITY, -INFINITY};
  for (size_t i = 0; i < 3; i++) {
    uint8_t bytes[4], scale[4];
    int8_t trits[32] = {0};
    ternary from = {.rows = 1, .columns = 32, .encoding = TQ_F32, .table = bytes};
    ternary_set_scale(&from, 0, hostile[i]);
    tq_scale_table table = table_of(&from);
    tq_scale_problem problem;
    tq_dialect row = {.granularity = TQ_PER_ROW, .scale_encoding = TQ_F32};
    tq_dialect floats = {.granularity = TQ_PER_GROUP, .group = 32, .scale_encoding = TQ_F32, .is_unpacked = true};
    tq_dialect half = {.granularity = TQ_PER_ROW, .scale_encoding = TQ_F16};
    expect(tq_scales_for_row(&table, &floats, 0, 32, trits, scale, &problem) && tq_load_u32(scale) == 0);
    expect(tq_scales_for_row(&table, &half, 0, 32, trits, scale, &problem) && tq_load_u16(scale) == 0);
    trits[5] = 1;
    expect(tq_scales_for_row(&table, &row, 0, 32, trits, scale, &problem) && memcmp(scale, bytes, 4) == 0);
    expect(!tq_scales_for_row(&table, &floats, 0, 32, trits, scale, &problem));
    tq_scale_table same = {1, TQ_PER_GROUP, 32, TQ_F32, TQ_DIRECT, bytes};
    expect(!tq_scales_for_row(&same, &floats, 0, 32, trits, scale, &problem));
    expect(!tq_scales_for_row(&table, &half, 0, 32, trits, scale, &problem));
  }
}
END_TEST

/* ---- one scale for a tensor ---- */

static bool as_one(const ternary *tensor, uint32_t encoding, uint32_t direction, uint8_t scale[4],
                   tq_scale_problem *problem) {
  bool fits;
  tq_file *file = ternary_file(tensor, TQ_VERIFY_LAZY, NULL, 0);
  ck_ok(tq_scales_as_one(file, 0, encoding, direction, scale, problem, &fits, error));
  tq_file_close(file);
  return fits;
}

static bool tensor_fits(const ternary *from, uint32_t encoding, uint32_t direction) {
  tq_dialect to = {.granularity = TQ_PER_ROW, .scale_encoding = encoding, .direction = direction};
  ternary row = *from; /* as one row: the scales are looked up by hand */
  bool found = false;
  float one = 0;
  for (uint64_t r = 0; r < from->rows; r++) {
    for (uint64_t c = 0; c < from->columns; c++) {
      if (!from->trits[r * from->columns + c]) continue;
      if (found && value_of(from, r, c) != one) return false;
      found = true;
      one = value_of(from, r, c);
    }
    if (!group_fits(&row, &to, r, 0, from->columns)) return false;
  }
  return true;
}

START_TEST(one_scale_for_a_tensor) {
  uint64_t state = 99;
  unsigned met[2] = {0};
  for (unsigned i = 0; i < 240; i++) {
    uint32_t granularity = i % 3, to = encodings[random_u64(&state) % 3], direction = random_u64(&state) % 2;
    ternary tensor = {.rows = 1 + random_u64(&state) % 5,
                      .columns = 1 + random_u64(&state) % 300,
                      .code = i % 2 ? TQ_TERNARY_BASE3 : TQ_QUATERNARY_2BIT,
                      .granularity = granularity,
                      .group = granularity == TQ_PER_GROUP ? 64 : 0,
                      .encoding = encodings[random_u64(&state) % 3],
                      .direction = random_u64(&state) % 2};
    uint8_t scale[4];
    float before[300], after[300];
    tq_scale_problem problem;
    ternary_random(&tensor, (palette)(random_u64(&state) % 3), &state);
    bool fits = as_one(&tensor, to, direction, scale, &problem);
    expect(fits == tensor_fits(&tensor, to, direction));
    met[fits]++;
    for (uint64_t row = 0; fits && row < tensor.rows; row++) {
      ternary_weights(&tensor, row, before);
      tq_trits_scale(tensor.trits + row * tensor.columns, 1, 0, tensor.columns, TQ_PER_TENSOR, 0, to, direction, scale,
                     after);
      expect(memcmp(before, after, tensor.columns * sizeof *before) == 0);
    }
    if (fits && to != TQ_F32) expect(scale[2] == 0 && scale[3] == 0);
    ternary_free(&tensor);
  }
  ck_assert_uint_gt(met[0], 30);
  ck_assert_uint_gt(met[1], 30);
}
END_TEST

/* A scale in a tensor of its own is one that readers take; over zeros it becomes one. */
START_TEST(scales_that_no_reader_takes) {
  static const struct {
    float scale;
    bool is_finite, is_weight_scale;
  } scales[] = {{0.0f, true, false},       {-0.0f, true, false},  {NAN, false, false}, {INFINITY, false, false},
                {-INFINITY, false, false}, {1e-45f, true, false}, {-0.5f, true, true}, {3e38f, true, true}};
  const tq_form folded = {.dialect = tq_dialect_find("TQ2_0"), .has_unit_scales = true, .scale_encoding = TQ_F32};
  const tq_form packed = {.dialect = tq_dialect_find("autobitlinear"), .scale_encoding = TQ_F32};
  int8_t trits[64] = {0};
  for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
    uint8_t bytes[4], scale[4];
    tq_store_f32(bytes, scales[i].scale);
    ck_assert(tq_is_weight_scale(TQ_F32, bytes) == scales[i].is_weight_scale);
    for (int8_t any = 0; any < 2; any++) {
      tq_scale_problem problem;
      bool fits;
      trits[37] = any;
      const ternary tensor = {.rows = 2,
                              .columns = 32,
                              .code = TQ_TERNARY_2BIT,
                              .granularity = TQ_PER_TENSOR,
                              .encoding = TQ_F32,
                              .direction = TQ_DIRECT,
                              .trits = trits,
                              .table = bytes};
      tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, NULL, 0);
      ck_ok(tq_scales_as_outer(file, 0, &folded, scale, &problem, &fits, error));
      ck_assert(fits == (!any || scales[i].is_finite));
      if (fits) ck_assert(isfinite(tq_load_f32(scale)));
      ck_ok(tq_scales_as_outer(file, 0, &packed, scale, &problem, &fits, error));
      ck_assert(fits == (!any || scales[i].is_weight_scale));
      if (fits) ck_assert_float_eq(tq_load_f32(scale), scales[i].is_weight_scale ? scales[i].scale : 1.0f);
      if (!fits) ck_assert_ptr_nonnull(strstr(problem.reason, "is not a number that can be divided by"));
      tq_file_close(file);
    }
  }
}
END_TEST

START_TEST(two_scales_of_a_tensor_are_named) {
  uint64_t state = 1;
  ternary tensor = {.rows = 3, .columns = 40, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_ROW, .encoding = TQ_F16};
  uint8_t scale[4];
  tq_scale_problem problem;
  ternary_random(&tensor, SCALES_EXACT, &state);
  memset(tensor.trits, 0, 120);
  for (uint64_t i = 0; i < 3; i++) ternary_set_scale(&tensor, i, (float)(1 << i));
  tensor.trits[0] = tensor.trits[119] = 1;
  expect(!as_one(&tensor, TQ_F32, TQ_DIRECT, scale, &problem));
  ck_assert_str_eq(problem.reason, "scales 1 and 4 meet in one tensor");
  ck_assert_uint_eq(problem.row, 2);
  tensor.trits[0] = 0;
  expect(as_one(&tensor, TQ_F32, TQ_DIRECT, scale, &problem) && tq_load_f32(scale) == 4);
  tensor.trits[119] = 0;
  expect(as_one(&tensor, TQ_F32, TQ_INVERTED, scale, &problem) && tq_load_f32(scale) == 1);
  ternary_free(&tensor);
}
END_TEST

/* Where the scales are equal the codes are not looked at, and so may be damaged; otherwise that is seen. */
START_TEST(codes_are_read_only_where_they_decide) {
  uint64_t state = 8;
  for (int equal = 0; equal < 2; equal++) {
    ternary tensor = {.rows = 9, .columns = 64, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_ROW, .encoding = TQ_F32};
    uint8_t scale[4];
    bool fits;
    tq_scale_problem problem;
    ternary_random(&tensor, equal ? SCALES_ONE : SCALES_EXACT, &state);
    for (uint64_t i = 0; !equal && i < 9; i++) ternary_set_scale(&tensor, i, (float)(i + 1));
    tq_file_close(ternary_file(&tensor, TQ_VERIFY_HEADER, NULL, 0));
    image damaged = load_image(temporary_path("ternary.tq"));
    section_bytes(damaged, "data")[3] = 0xff;
    reseal(damaged);
    tq_file *file;
    ck_ok(tq_file_open_memory("damaged", damaged.data, damaged.size, TQ_VERIFY_LAZY, &file, error));
    if (equal) {
      ck_ok(tq_scales_as_one(file, 0, TQ_F32, TQ_DIRECT, scale, &problem, &fits, error));
      expect(fits);
    } else {
      ck_fails(tq_scales_as_one(file, 0, TQ_F32, TQ_DIRECT, scale, &problem, &fits, error), TQ_ERROR_CORRUPT,
               "row 0, byte 3 is no ternary code");
    }
    tq_file_close(file);
    free(damaged.data);
    ternary_free(&tensor);
  }
}
END_TEST

/* ---- the coarsest granularity ---- */

static const uint32_t level_groups[TQ_COARSE_LEVELS] = {0, 0, 256, 128, 64, 32};

static bool share(size_t level, uint64_t row_a, uint64_t a, uint64_t row_b, uint64_t b) {
  if (level == 0) return true;
  if (row_a != row_b) return false;
  return level == 1 || a / level_groups[level] == b / level_groups[level];
}

/* By all pairs of weights whose scales count. */
static bool level_holds(const ternary *tensor, size_t level) {
  uint64_t count = tensor->rows * tensor->columns;
  size_t size = scale_bytes(tensor->encoding);
  for (uint64_t a = 0; a < count; a++) {
    for (uint64_t b = a + 1; tensor->trits[a] && b < count; b++) {
      if (!tensor->trits[b]) continue;
      uint64_t row_a = a / tensor->columns, row_b = b / tensor->columns, at_a = a % tensor->columns,
               at_b = b % tensor->columns;
      if (!share(level, row_a, at_a, row_b, at_b)) continue;
      if (memcmp(tensor->table + index_of(tensor, row_a, at_a) * size,
                 tensor->table + index_of(tensor, row_b, at_b) * size, size) != 0)
        return false;
    }
  }
  return true;
}

static tq_dialect dialect_of(const ternary *tensor) {
  return (tq_dialect){.granularity = tensor->granularity, .group = tensor->group, .scale_encoding = tensor->encoding};
}

/* A row's scales by themselves, as decoding a dialect's row gives them; valid until the next call. */
static const uint8_t *row_scales(const ternary *tensor, uint64_t row) {
  static uint8_t scales[MOST_SCALES * 4];
  size_t size = scale_bytes(tensor->encoding), run = tensor->group ? tensor->group : tensor->columns;
  for (uint64_t c = 0; c < tensor->columns; c += run)
    memcpy(scales + c / run * size, tensor->table + index_of(tensor, row, c) * size, size);
  return scales;
}

/* The rows in two parts, each backwards, merged. */
static tq_coarsening coarsen(const ternary *tensor) {
  tq_dialect dialect = dialect_of(tensor);
  tq_coarsening one, other;
  tq_coarsening_begin(&one, &dialect);
  tq_coarsening_begin(&other, &dialect);
  for (uint64_t row = tensor->rows; row-- > 0;) {
    tq_coarsening_row(row % 3 ? &one : &other, tensor->columns, tensor->trits + row * tensor->columns,
                      row_scales(tensor, row));
  }
  tq_coarsening_merge(&one, &other);
  return one;
}

static void check_coarse_table(const ternary *fine, uint32_t granularity, uint32_t group, const tq_coarsening *found) {
  tq_dialect dialect = dialect_of(fine);
  ternary coarse = *fine;
  coarse.granularity = granularity;
  coarse.group = group;
  size_t size = (size_t)ternary_scale_count(&coarse) * scale_bytes(fine->encoding);
  coarse.table = malloc(size + 1);
  ck_assert(coarse.table != NULL);
  memset(coarse.table, 0xee, size + 1);
  if (granularity == TQ_PER_TENSOR) memcpy(coarse.table, found->scale, size);
  float before[MOST_COLUMNS], after[MOST_COLUMNS];
  for (uint64_t row = 0; row < fine->rows; row++) {
    tq_coarse_row(&dialect, granularity, group, fine->rows, row, fine->columns, fine->trits + row * fine->columns,
                  row_scales(fine, row), coarse.table);
    ternary_weights(fine, row, before);
    ternary_weights(&coarse, row, after);
    expect(memcmp(before, after, fine->columns * sizeof *before) == 0);
  }
  expect(coarse.table[size] == 0xee);
  free(coarse.table);
}

static size_t check_coarsening(const ternary *tensor) {
  size_t level = 0;
  while (level < TQ_COARSE_LEVELS && !level_holds(tensor, level)) level++;
  tq_coarsening found = coarsen(tensor);
  uint32_t granularity, group;
  tq_coarsening_result(&found, &granularity, &group);
  expect(level < TQ_COARSE_LEVELS);
  expect(granularity == (level == 0 ? TQ_PER_TENSOR : level == 1 ? TQ_PER_ROW : TQ_PER_GROUP));
  expect(group == level_groups[level]);
  check_coarse_table(tensor, granularity, group, &found);
  return level;
}

/* Repeats scales so that levels of all kinds hold. */
static void smear(const ternary *tensor, uint64_t columns) {
  size_t size = scale_bytes(tensor->encoding);
  for (uint64_t row = 0; tensor->granularity == TQ_PER_GROUP && row < tensor->rows; row++) {
    for (uint64_t c = tensor->group; c < tensor->columns; c += tensor->group) {
      uint8_t *at = tensor->table + index_of(tensor, row, c) * size;
      if (c % columns) memcpy(at, tensor->table + index_of(tensor, row, c - tensor->group) * size, size);
    }
  }
}

START_TEST(coarsest_granularity) {
  static const uint32_t groups[] = {0, 32, 64, 128, 256};
  static const uint64_t runs[] = {32, 64, 128, 256, 1024};
  uint64_t state = 3;
  unsigned met[TQ_COARSE_LEVELS] = {0};
  for (unsigned i = 0; i < 600; i++) {
    uint32_t group = groups[random_u64(&state) % 5];
    ternary tensor = {.rows = 1 + random_u64(&state) % 3,
                      .columns = 1 + random_u64(&state) % MOST_COLUMNS,
                      .code = TQ_TERNARY_2BIT,
                      .granularity = group ? TQ_PER_GROUP : TQ_PER_ROW,
                      .group = group,
                      .encoding = encodings[random_u64(&state) % 3]};
    ternary_random(&tensor, (palette)(random_u64(&state) % 3), &state);
    smear(&tensor, runs[random_u64(&state) % 5]);
    met[check_coarsening(&tensor)]++;
    ternary_free(&tensor);
  }
  for (size_t level = 0; level < TQ_COARSE_LEVELS; level++) ck_assert_uint_gt(met[level], 5);
}
END_TEST

/* The dialect's own granularity needs no proof, and -0 is not 0 where bits are kept. */
START_TEST(coarsening_compares_bits) {
  ternary tensor = {
      .rows = 1, .columns = 64, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_GROUP, .group = 32, .encoding = TQ_F32};
  uint64_t state = 1;
  ternary_random(&tensor, SCALES_ONE, &state);
  memset(tensor.trits, 1, 64);
  ternary_set_scale(&tensor, 0, 0.0f);
  ternary_set_scale(&tensor, 1, -0.0f);
  ck_assert_uint_eq(check_coarsening(&tensor), 5);
  memset(tensor.trits, 0, 32);
  ck_assert_uint_eq(check_coarsening(&tensor), 0);
  memset(tensor.trits, 0, 64);
  tq_coarsening all_zero = coarsen(&tensor);
  ck_assert(!all_zero.has_scale && all_zero.holds[0]);
  ck_assert_uint_eq(tq_load_u32(all_zero.scale), 0);
  ternary_free(&tensor);
}
END_TEST

START_TEST(tables_of_tensors) {
  uint64_t state = 2;
  ternary tensor = {.rows = 2,
                    .columns = 70,
                    .code = TQ_TERNARY_BASE3,
                    .granularity = TQ_PER_GROUP,
                    .group = 64,
                    .encoding = TQ_BF16,
                    .direction = TQ_INVERTED};
  ternary_random(&tensor, SCALES_ANY, &state);
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, NULL, 0);
  tq_scale_table table;
  ck_assert(tq_scale_table_of(tq_file_tensor(file, 0), &table));
  ck_assert_uint_eq(table.granularity, TQ_PER_GROUP);
  ck_assert_uint_eq(table.group, 64);
  ck_assert_uint_eq(table.encoding, TQ_BF16);
  ck_assert_uint_eq(table.direction, TQ_INVERTED);
  ck_assert_mem_eq(table.data, tensor.table, 8);
  tq_part unknown = {.kind = TQ_PART_SCALES, .encoding = 4711};
  tq_tensor carried = {.parts = &unknown, .part_count = 1}, none = {.parts = &unknown};
  ck_assert(!tq_scale_table_of(&carried, &table));
  ck_assert(!tq_scale_table_of(&none, &table));
  tq_file_close(file);
  ternary_free(&tensor);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dialects, scales");
  TCase *rows = tcase_create("rows");
  tcase_set_timeout(rows, 120);
  tcase_add_loop_test(rows, every_conversion_is_exact_or_refused, SCALES_EXACT, SCALES_ONE + 1);
  tcase_add_test(rows, scales_over_zeros_do_not_count);
  tcase_add_test(rows, inverted_scales_are_compared_by_what_they_say);
  tcase_add_test(rows, scales_that_are_no_numbers);
  suite_add_tcase(suite, rows);
  TCase *one = tcase_create("one scale");
  tcase_set_timeout(one, 120);
  tcase_add_test(one, one_scale_for_a_tensor);
  tcase_add_test(one, scales_that_no_reader_takes);
  tcase_add_test(one, two_scales_of_a_tensor_are_named);
  tcase_add_test(one, codes_are_read_only_where_they_decide);
  suite_add_tcase(suite, one);
  TCase *coarse = tcase_create("coarsening");
  tcase_set_timeout(coarse, 120);
  tcase_add_test(coarse, coarsest_granularity);
  tcase_add_test(coarse, coarsening_compares_bits);
  tcase_add_test(coarse, tables_of_tensors);
  suite_add_tcase(suite, coarse);
  return run_suite(suite);
}
