/* formats/dialects: every codec against its layout's index formula, a weight at a time, and against peers' own files.
 */
#include "base/bytes.h"
#include "formats/dialects/dialect.h"
#include "formats/gguf/header.h"
#include "tests/dialect_layouts.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdlib.h>
#include <string.h>

/* ck_assert for inner loops: it reports only failures, where ck_assert reports every call to the parent process. */
#define expect(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) ck_abort_msg("%s", #condition);                                                                  \
  } while (0)

/* ---- whole tensors ---- */

typedef struct tensor {
  const tq_dialect *dialect;
  uint64_t rows, columns, size, row_scales, scale_bytes;
  uint8_t *data; /* size bytes, the tail last */
  int8_t *trits; /* [rows][columns] */
  uint8_t *scales;
} tensor;

/* Every array is exactly as long as it must be, so that a sanitizer sees what goes beyond it. */
static tensor tensor_of(const tq_dialect *dialect, uint64_t rows, uint64_t columns) {
  tensor t = {dialect, rows, columns, 0, tq_dialect_row_scales(dialect, columns), 0, NULL, NULL, NULL};
  expect(tq_dialect_size(dialect, rows, columns, &t.size));
  t.scale_bytes = t.row_scales * (dialect->scale_encoding == TQ_F32 ? 4 : 2);
  t.data = malloc((size_t)t.size);
  t.trits = malloc((size_t)(rows * columns));
  t.scales = malloc((size_t)(rows * t.scale_bytes) + 1);
  expect(t.data && t.trits && t.scales);
  memset(t.data, 0xee, (size_t)t.size);
  return t;
}

static void tensor_free(tensor *t) {
  free(t->data);
  free(t->trits);
  free(t->scales);
}

/* The row of the tensor that is row k of a unit. */
static uint64_t row_of(const tensor *t, uint64_t unit, uint64_t k) {
  uint64_t unit_rows = tq_dialect_unit_rows(t->dialect, t->columns);
  return t->dialect->is_strided ? k * (t->rows / unit_rows) + unit : unit * unit_rows + k;
}

static bool tensor_decode(tensor *t) {
  uint64_t unit_rows = tq_dialect_unit_rows(t->dialect, t->columns);
  uint64_t unit_bytes = t->dialect->unit_bytes(unit_rows, t->columns);
  bool is_ternary = true;
  for (uint64_t r = 0; r < t->rows; r++) {
    uint64_t unit = r / unit_rows, k = r % unit_rows, row = row_of(t, unit, k);
    is_ternary &= t->dialect->decode(t->data + unit * unit_bytes, t->columns, (uint32_t)k, t->trits + row * t->columns,
                                     t->scales + row * t->scale_bytes);
  }
  return is_ternary;
}

/* Encodes all units, each into memory of its own; the tail stays. */
static void tensor_encode(tensor *t) {
  uint64_t unit_rows = tq_dialect_unit_rows(t->dialect, t->columns);
  size_t unit_bytes = (size_t)t->dialect->unit_bytes(unit_rows, t->columns);
  int8_t *trits = malloc((size_t)(unit_rows * t->columns));
  uint8_t *scales = malloc((size_t)(unit_rows * t->scale_bytes) + 1), *unit = malloc(unit_bytes);
  expect(trits && scales && unit);
  for (uint64_t u = 0; u < t->rows / unit_rows; u++) {
    for (uint64_t k = 0; k < unit_rows; k++) {
      uint64_t row = row_of(t, u, k);
      memcpy(trits + k * t->columns, t->trits + row * t->columns, (size_t)t->columns);
      memcpy(scales + k * t->scale_bytes, t->scales + row * t->scale_bytes, (size_t)t->scale_bytes);
    }
    t->dialect->encode(trits, scales, unit_rows, t->columns, unit);
    memcpy(t->data + u * unit_bytes, unit, unit_bytes);
  }
  free(trits);
  free(scales);
  free(unit);
}

/* Trits and scales that lie inside are where the formula says; true when no trit is +2. */
static bool follows(const tensor *t, const layout *l) {
  uint64_t scale_size = t->row_scales ? t->scale_bytes / t->row_scales : 0, group = t->dialect->group;
  bool is_ternary = true;
  for (uint64_t r = 0; r < t->rows; r++) {
    for (uint64_t c = 0; c < t->columns; c++) {
      place p = {t->rows, t->columns, r, c};
      int trit = l->trit(t->data, &p);
      if (t->trits[r * t->columns + c] != trit) {
        ck_abort_msg("%s: row %llu of %llu, column %llu of %llu: %d, not %d", l->name, (unsigned long long)r,
                     (unsigned long long)t->rows, (unsigned long long)c, (unsigned long long)t->columns,
                     t->trits[r * t->columns + c], trit);
      }
      is_ternary &= trit < 2;
      if (!l->scale) continue;
      const uint8_t *scale = t->scales + r * t->scale_bytes + (group ? c / group : 0) * scale_size;
      expect(memcmp(scale, t->data + l->scale(&p), scale_size) == 0);
    }
  }
  return is_ternary;
}

/* ---- shapes: widths and heights that a dialect allows, odd ones first ---- */

static const uint64_t factors[] = {1, 2, 3, 5, 31, 32, 33, 48, 64, 96, 127, 128, 129, 160, 341};
enum { FACTORS = sizeof factors / sizeof *factors, WIDEST = 1400 };

typedef void (*check_function)(tensor *t, const layout *l, uint64_t *state);

static void for_every_shape(const layout *l, check_function check) {
  const tq_dialect *dialect = tq_dialect_find(l->name);
  ck_assert_ptr_nonnull(dialect);
  uint64_t state = 7, shapes = 0;
  for (size_t i = 0; i < FACTORS; i++) {
    uint64_t columns = factors[i] * dialect->column_multiple;
    if (columns > WIDEST) break;
    uint64_t unit_rows = tq_dialect_unit_rows(dialect, columns);
    for (uint64_t units = 1; units <= 5; units += 2, shapes++) {
      tensor t = tensor_of(dialect, units * unit_rows, columns);
      check(&t, l, &state);
      tensor_free(&t);
    }
  }
  ck_assert_uint_ge(shapes, 9);
}

static void random_scales(tensor *t, uint64_t *state) {
  for (uint64_t i = 0; i < t->rows * t->scale_bytes; i++) t->scales[i] = (uint8_t)random_u64(state);
}

static void random_trits(tensor *t, unsigned values, uint64_t *state) {
  for (uint64_t i = 0; i < t->rows * t->columns; i++) t->trits[i] = (int8_t)((int)(random_u64(state) % values) - 1);
}

/* ---- packed dialects ---- */

static void check_any_bytes(tensor *t, const layout *l, uint64_t *state) {
  for (uint64_t i = 0; i < t->size; i++) t->data[i] = (uint8_t)random_u64(state);
  bool decoded = tensor_decode(t), is_ternary = follows(t, l);
  expect(!l->is_base3 || is_ternary);
  expect(decoded == (is_ternary || t->dialect->four_valued));
}

START_TEST(any_bytes_decode_as_the_formula_says) { for_every_shape(&layouts[_i], check_any_bytes); }
END_TEST

static void check_round_trip(tensor *t, const layout *l, uint64_t *state) {
  random_trits(t, t->dialect->four_valued ? 4 : 3, state);
  random_scales(t, state);
  tensor_encode(t);
  follows(t, l);
  int8_t *trits = malloc((size_t)(t->rows * t->columns));
  uint8_t *scales = malloc((size_t)(t->rows * t->scale_bytes) + 1), *data = malloc((size_t)t->size);
  expect(trits && scales && data);
  memcpy(trits, t->trits, (size_t)(t->rows * t->columns));
  memcpy(scales, t->scales, (size_t)(t->rows * t->scale_bytes));
  memcpy(data, t->data, (size_t)t->size);
  memset(t->trits, 0x55, (size_t)(t->rows * t->columns));
  memset(t->scales, 0x55, (size_t)(t->rows * t->scale_bytes));
  expect(tensor_decode(t));
  expect(memcmp(t->trits, trits, (size_t)(t->rows * t->columns)) == 0);
  expect(memcmp(t->scales, scales, (size_t)(t->rows * t->scale_bytes)) == 0);
  memset(t->data, 0xee, (size_t)t->size);
  tensor_encode(t);
  expect(memcmp(t->data, data, (size_t)t->size) == 0);
  for (uint64_t i = 0; i < t->dialect->tail_bytes; i++) expect(t->data[t->size - 1 - i] == 0xee);
  free(trits);
  free(scales);
  free(data);
}

START_TEST(trits_and_scales_come_back) { for_every_shape(&layouts[_i], check_round_trip); }
END_TEST

/* What a base-3 number's byte is, found by trying: the one byte that a writer makes of it. */
static bool is_number(uint8_t byte, unsigned multiple, unsigned below) {
  for (unsigned n = 0; n < below; n += multiple) {
    if ((256 * n + 242) / 243 == byte) return true;
  }
  return false;
}

/* Byte `offset` of a base-3 dialect's row: 0 for a scale's, else how far its numbers go and what they are multiples of.
 */
static bool byte_is_canonical(const layout *l, uint64_t offset, uint8_t byte) {
  if (strcmp(l->name, "TQ1_0") == 0) {
    offset %= 54;
    return offset >= 52 || is_number(byte, offset >= 48 ? 3 : 1, 243);
  }
  if (strcmp(l->name, "PTQ1_0") == 0) {
    offset %= 28;
    return offset >= 26 || is_number(byte, offset >= 24 ? 3 : 1, 243);
  }
  return offset < 2 || is_number(byte, 1, (offset - 2) % 13 == 12 ? 81 : 243);
}

static void check_canonical(tensor *t, const layout *l, uint64_t *state) {
  uint64_t row_bytes = t->size / t->rows;
  for (uint64_t i = 0; i < t->size; i++) {
    do {
      t->data[i] = (uint8_t)random_u64(state);
    } while (!byte_is_canonical(l, i % row_bytes, t->data[i]));
  }
  uint8_t *data = malloc((size_t)t->size);
  expect(data);
  memcpy(data, t->data, (size_t)t->size);
  expect(tensor_decode(t));
  memset(t->data, 0xee, (size_t)t->size);
  tensor_encode(t);
  expect(memcmp(t->data, data, (size_t)t->size) == 0);
  free(data);
  random_trits(t, 3, state);
  tensor_encode(t);
  for (uint64_t i = 0; i < t->size; i++) expect(byte_is_canonical(l, i % row_bytes, t->data[i]));
}

START_TEST(base3_numbers_are_canonical) { for_every_shape(&layouts[_i], check_canonical); }
END_TEST

/* Bytes worked out by hand: of a tensor of zeros but one +1, the byte that holds it, and another. */
static const struct {
  const char *name;
  uint64_t rows, columns, r, c;
  uint64_t offset;
  uint8_t byte;
  uint64_t other;
  uint8_t zeros;
} by_hand[] = {
    {"TQ1_0", 1, 256, 0, 0, 0, 213, 1, 128},                 /* 21111 = 202, ceil(202 * 256 / 243); 11111 = 121 */
    {"TQ1_0", 2, 512, 1, 511, 3 * 54 + 51, 130, 48, 127},    /* 11120 = 123, 11110 = 120 */
    {"TQ1_0", 1, 256, 0, 176, 32, 156, 33, 128},             /* 12111 = 148 */
    {"PTQ1_0", 1, 128, 0, 80, 16, 213, 17, 128},             /* the first digit of the second run */
    {"PTQ1_0", 1, 256, 0, 128 + 121, 28 + 25, 212, 24, 127}, /* 21110 = 201 */
    {"TQ2_0", 1, 256, 0, 32, 0, 0x59, 1, 0x55},
    {"TQ2_0", 1, 256, 0, 255, 63, 0x95, 31, 0x55},
    {"Q2_0", 1, 128, 0, 64 + 5, 18 + 3, 0x59, 3, 0x55},
    {"Q2_0_G128", 1, 128, 0, 127, 33, 0x95, 2, 0x55},
    {"PQ2_0", 2, 128, 1, 0, 36, 0x56, 2, 0x55},
    {"I2_S", 1, 128, 0, 32, 0, 0x65, 31, 0x55},
    {"I2_S", 2, 192, 1, 0, 32, 0x59, 33, 0x55}, /* weight 192: the second block's 64th */
    {"I2_S_ARM", 1, 128, 0, 64 + 63, 31, 0x56, 0, 0x55},
    {"I2_S_ROWS", 8, 3, 5, 2, 5, 0x65, 2, 0x55},
    {"IQ1_BN", 1, 64, 0, 0, 2, 129, 3, 128},                      /* 122: the first digit is the least significant */
    {"IQ1_BN", 1, 64, 0, 63, 14, 71, 2, 128},                     /* 40 + 27 of 80 */
    {"IQ1_BN", 2, 128, 1, 64 + 20, 28 + 2 + 13 + 3, 213, 27, 43}, /* 121 + 81; 40 */
    {"IQ2_BN", 2, 64, 1, 16, 24, 0x59, 4, 0x55},
    {"IQ2_BN_R4", 4, 64, 1, 4, 20, 0x59, 16, 0x55},
    {"IQ2_BN_R4", 8, 128, 6, 127, 144 + 16 + 64 + 59, 0x95, 16, 0x55},
    {"bitlinear", 8, 3, 3, 2, 5, 0x59, 2, 0x55},
    {"autobitlinear", 4, 1, 3, 0, 0, 0x95, 0, 0x95},
};

START_TEST(bytes_worked_out_by_hand) {
  tensor t = tensor_of(tq_dialect_find(by_hand[_i].name), by_hand[_i].rows, by_hand[_i].columns);
  memset(t.trits, 0, (size_t)(t.rows * t.columns));
  memset(t.scales, 0, (size_t)(t.rows * t.scale_bytes));
  t.trits[by_hand[_i].r * t.columns + by_hand[_i].c] = 1;
  tensor_encode(&t);
  ck_assert_msg(t.data[by_hand[_i].offset] == by_hand[_i].byte, "%s: byte %llu is %u, not %u", by_hand[_i].name,
                (unsigned long long)by_hand[_i].offset, t.data[by_hand[_i].offset], by_hand[_i].byte);
  ck_assert_uint_eq(t.data[by_hand[_i].other], by_hand[_i].zeros);
  tensor_free(&t);
}
END_TEST

/* A code 3 in one row is seen there, and nowhere else. */
START_TEST(code_3_is_found_in_its_row) {
  const tq_dialect *dialect = tq_dialect_find(layouts[_i].name);
  uint64_t columns = dialect->column_multiple > 1 ? 3 * dialect->column_multiple : 208, state = 3;
  uint64_t unit_rows = tq_dialect_unit_rows(dialect, columns);
  tensor t = tensor_of(dialect, unit_rows, columns);
  random_scales(&t, &state);
  for (uint64_t r = 0; r < unit_rows; r++) {
    random_trits(&t, 3, &state);
    t.trits[r * columns + random_u64(&state) % columns] = 2;
    tensor_encode(&t);
    for (uint64_t k = 0; k < unit_rows; k++) {
      bool is_ternary = dialect->decode(t.data, columns, (uint32_t)k, t.trits, t.scales);
      ck_assert(is_ternary == (k != r || dialect->four_valued));
      ck_assert((memchr(t.trits, 2, (size_t)columns) != NULL) == (k == r));
    }
  }
  tensor_free(&t);
}
END_TEST

/* ---- plain floats ---- */

/* Numbers, and per dialect their bits: a magnitude, a larger one, the smallest, infinity, NaN. */
static const struct {
  const char *name;
  uint32_t encoding, width, sign, one, two, least, infinity, nan;
} floats[] = {
    {"F32", TQ_F32, 4, 0x80000000, 0x3f800000, 0x40000000, 1, 0x7f800000, 0x7fc00000},
    {"F16", TQ_F16, 2, 0x8000, 0x3c00, 0x4000, 1, 0x7c00, 0x7e00},
    {"BF16", TQ_BF16, 2, 0x8000, 0x3f80, 0x4000, 1, 0x7f80, 0x7f81},
};
enum { FLOATS = sizeof floats / sizeof *floats };

static void put(tensor *t, uint64_t index, uint32_t bits) {
  if (t->dialect->scale_encoding == TQ_F32)
    tq_store_u32(t->data + 4 * index, bits);
  else
    tq_store_u16(t->data + 2 * index, (uint16_t)bits);
}

static uint32_t scale_of(const tensor *t, uint64_t index) {
  if (t->dialect->scale_encoding == TQ_F32) return tq_load_u32(t->scales + 4 * index);
  return tq_load_u16(t->scales + 2 * index);
}

/* A row of zeros. */
static tensor float_row(int which, uint64_t columns) {
  tensor t = tensor_of(tq_dialect_of_floats(floats[which].encoding), 1, columns);
  memset(t.data, 0, (size_t)t.size);
  return t;
}

START_TEST(floats_of_any_width) {
  uint64_t state = 5;
  for (uint64_t columns = 1; columns <= 130; columns++) {
    tensor t = tensor_of(tq_dialect_of_floats(floats[_i].encoding), 3, columns);
    uint64_t groups = (columns + 31) / 32;
    ck_assert_uint_eq(t.row_scales, groups);
    random_trits(&t, 3, &state);
    for (uint64_t r = 0; r < 3; r++) {
      for (uint64_t g = 0; g < groups; g++) {
        t.trits[r * columns + 32 * g] = -1; /* so that the group has its scale */
        uint32_t scale = 1 + (uint32_t)(random_u64(&state) % (floats[_i].infinity - 1));
        memcpy(t.scales + (r * groups + g) * floats[_i].width, &scale, floats[_i].width);
      }
    }
    tensor_encode(&t);
    follows(&t, &layouts[LAYOUTS - 1 - _i]);
    tensor back = tensor_of(t.dialect, 3, columns);
    memcpy(back.data, t.data, (size_t)t.size);
    expect(tensor_decode(&back));
    expect(memcmp(back.trits, t.trits, (size_t)(3 * columns)) == 0);
    expect(memcmp(back.scales, t.scales, (size_t)(3 * t.scale_bytes)) == 0);
    tensor_free(&back);
    tensor_free(&t);
  }
}
END_TEST

START_TEST(zeros_have_no_sign_and_no_scale) {
  tensor t = float_row(_i, 70);
  for (uint64_t i = 0; i < 70; i += 2) put(&t, i, floats[_i].sign);
  put(&t, 40, floats[_i].sign | floats[_i].one);
  ck_assert(tensor_decode(&t));
  for (uint64_t i = 0; i < 70; i++) ck_assert_int_eq(t.trits[i], i == 40 ? -1 : 0);
  ck_assert_uint_eq(scale_of(&t, 0), 0);
  ck_assert_uint_eq(scale_of(&t, 1), floats[_i].one);
  ck_assert_uint_eq(scale_of(&t, 2), 0);
  memset(t.scales, 0x7f, (size_t)t.scale_bytes); /* a scale over zeros leaves no trace */
  tensor_encode(&t);
  for (uint64_t i = 0; i < 70 * floats[_i].width; i++) {
    if (i / floats[_i].width != 40) ck_assert_uint_eq(t.data[i], 0);
  }
  tensor_free(&t);
}
END_TEST

START_TEST(floats_that_are_not_ternary) {
  const uint32_t no_numbers[] = {floats[_i].infinity, floats[_i].nan, floats[_i].infinity | floats[_i].sign,
                                 floats[_i].sign - 1};
  for (uint64_t at = 0; at < 70; at++) {
    tensor t = float_row(_i, 70);
    for (int i = 0; i < 4; i++) {
      put(&t, at, no_numbers[i]);
      ck_assert(!tensor_decode(&t));
    }
    put(&t, at, floats[_i].two | floats[_i].sign);
    ck_assert(tensor_decode(&t));
    uint64_t same = at / 32 * 32 + (at + 1) % 32, other = (at + 32) % 70;
    put(&t, other / 32 == at / 32 ? 32 : other, floats[_i].one);
    ck_assert(tensor_decode(&t)); /* another group may have another */
    put(&t, same < 70 ? same : at - 1, floats[_i].two + 1);
    ck_assert(!tensor_decode(&t));
    tensor_free(&t);
  }
}
END_TEST

START_TEST(the_smallest_and_largest_magnitudes_are_scales) {
  const uint32_t magnitudes[] = {floats[_i].least, floats[_i].infinity - 1};
  for (int i = 0; i < 2; i++) {
    tensor t = float_row(_i, 33);
    put(&t, 3, magnitudes[i]);
    put(&t, 31, magnitudes[i] | floats[_i].sign);
    put(&t, 32, magnitudes[i] | floats[_i].sign);
    uint8_t before[33 * 4];
    memcpy(before, t.data, (size_t)t.size);
    ck_assert(tensor_decode(&t));
    ck_assert_int_eq(t.trits[3], 1);
    ck_assert_int_eq(t.trits[31], -1);
    ck_assert_int_eq(t.trits[32], -1);
    ck_assert_uint_eq(scale_of(&t, 0), magnitudes[i]);
    ck_assert_uint_eq(scale_of(&t, 1), magnitudes[i]);
    memset(t.data, 0xee, (size_t)t.size);
    tensor_encode(&t);
    ck_assert_mem_eq(t.data, before, t.size);
    tensor_free(&t);
  }
}
END_TEST

/* A negative scale, which other dialects have, is the magnitude with the trits turned round. */
START_TEST(negative_scales_are_written_as_their_values) {
  tensor t = float_row(_i, 3);
  const int8_t trits[] = {1, 0, -1};
  uint32_t scale = floats[_i].one | floats[_i].sign;
  memcpy(t.trits, trits, 3);
  memcpy(t.scales, &scale, floats[_i].width);
  tensor_encode(&t);
  ck_assert(tensor_decode(&t));
  ck_assert_int_eq(t.trits[0], -1);
  ck_assert_int_eq(t.trits[1], 0);
  ck_assert_int_eq(t.trits[2], 1);
  ck_assert_uint_eq(scale_of(&t, 0), floats[_i].one);
  tensor_free(&t);
}
END_TEST

/* ---- peers' files ---- */

typedef struct golden {
  uint8_t *data;
  size_t size;
  tq_gguf_header header;
} golden;

static bool golden_open(const char *name, golden *file) {
  const char *path = shared_path(name);
  if (!path) return false;
  file->data = read_file(path, &file->size);
  tq_input *input = NULL;
  ck_ok(tq_input_open(path, &input, error));
  ck_ok(tq_gguf_header_read(input, &file->header, error));
  tq_input_close(input);
  return true;
}

static void golden_close(golden *file) {
  tq_gguf_header_free(&file->header);
  free(file->data);
}

static const tq_gguf_info *golden_find(const golden *file, tq_string name) {
  for (size_t i = 0; i < file->header.info_count; i++) {
    const tq_gguf_info *info = &file->header.infos[i];
    if (info->name.size == name.size && memcmp(info->name.data, name.data, name.size) == 0) return info;
  }
  ck_abort_msg("the source has no %.*s", (int)name.size, name.data);
  return NULL;
}

static float scale_at(const tensor *t, uint64_t r, uint64_t c) {
  uint64_t index = r * t->row_scales + (t->dialect->group ? c / t->dialect->group : 0);
  if (t->dialect->scale_encoding == TQ_F32) return tq_load_f32(t->scales + 4 * index);
  return tq_f16_to_f32(tq_load_u16(t->scales + 2 * index));
}

/* A packed tensor holds its F16 source's weights, and is what its trits and scales give. */
static void check_golden(const golden *file, const tq_gguf_info *info, const tq_dialect *dialect,
                         const golden *source) {
  const tq_gguf_info *original = golden_find(source, info->name);
  ck_assert_uint_eq(original->type, 1);
  ck_assert_uint_eq(info->dimensions, 2);
  ck_assert_uint_eq(info->shape[0], original->shape[0]);
  ck_assert_uint_eq(info->shape[1], original->shape[1]);
  tensor t = tensor_of(dialect, info->shape[0], info->shape[1]);
  tensor f = tensor_of(tq_dialect_of_floats(TQ_F16), info->shape[0], info->shape[1]);
  ck_assert(tq_within(info->offset, t.size, file->size));
  ck_assert(tq_within(original->offset, f.size, source->size));
  memcpy(t.data, file->data + info->offset, (size_t)t.size);
  memcpy(f.data, source->data + original->offset, (size_t)f.size);
  ck_assert(tensor_decode(&t));
  ck_assert(tensor_decode(&f));
  for (uint64_t r = 0; r < t.rows; r++) {
    for (uint64_t c = 0; c < t.columns; c++) {
      uint64_t i = r * t.columns + c;
      float weight = tq_f16_to_f32(tq_load_u16(f.data + 2 * i));
      expect((float)t.trits[i] * scale_at(&t, r, c) == weight);
      expect((float)f.trits[i] * scale_at(&f, r, c) == weight);
    }
  }
  memset(t.data, 0xee, (size_t)t.size);
  tensor_encode(&t);
  ck_assert_mem_eq(t.data, file->data + info->offset, t.size);
  tensor_free(&t);
  tensor_free(&f);
}

static const struct {
  const char *file, *source, *dialect;
} goldens[] = {
    {"golden/tensor-1.TQ1_0.gguf", "golden/tensor-1.f16.gguf", "TQ1_0"},
    {"golden/tensor-1.TQ2_0.gguf", "golden/tensor-1.f16.gguf", "TQ2_0"},
    {"golden/tensor-1.Q2_0.gguf", "golden/tensor-1.f16.gguf", "Q2_0"},
    {"golden/tensor-1.iq1_bn.gguf", "golden/tensor-1.f16.gguf", "IQ1_BN"},
    {"golden/tensor-1.iq2_bn.gguf", "golden/tensor-1.f16.gguf", "IQ2_BN"},
    {"golden/tensor-1.iq2_bn_r4.gguf", "golden/tensor-1.f16.gguf", "IQ2_BN_R4"},
    {"golden/row-2.TQ2_0.gguf", "golden/row-2.f16.gguf", "TQ2_0"},
    {"golden/g64-3.Q2_0.gguf", "golden/g64-3.f16.gguf", "Q2_0"},
    {"golden/bitnet-7.TQ2_0.gguf", "golden/bitnet-7.f16.gguf", "TQ2_0"},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

START_TEST(files_of_peers) {
  golden file = {0}, source = {0};
  if (!golden_open(goldens[_i].file, &file)) return;
  ck_assert(golden_open(goldens[_i].source, &source));
  const tq_dialect *dialect = tq_dialect_find(goldens[_i].dialect);
  size_t packed = 0;
  for (size_t i = 0; i < file.header.info_count; i++) {
    const tq_gguf_info *info = &file.header.infos[i];
    if (info->type != dialect->gguf_type) continue;
    check_golden(&file, info, dialect, &source);
    packed++;
  }
  ck_assert_uint_ge(packed, 7);
  ck_assert_uint_eq(tq_metadata_u64(file.header.metadata, "general.file_type", 0), (uint64_t)dialect->file_type);
  golden_close(&file);
  golden_close(&source);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dialects");
  TCase *packed = tcase_create("packed");
  tcase_set_timeout(packed, 120);
  tcase_add_loop_test(packed, any_bytes_decode_as_the_formula_says, 0, PACKED_LAYOUTS);
  tcase_add_loop_test(packed, trits_and_scales_come_back, 0, PACKED_LAYOUTS);
  tcase_add_loop_test(packed, base3_numbers_are_canonical, 0, 3);
  tcase_add_loop_test(packed, code_3_is_found_in_its_row, 3, PACKED_LAYOUTS);
  tcase_add_loop_test(packed, bytes_worked_out_by_hand, 0, sizeof by_hand / sizeof *by_hand);
  suite_add_tcase(suite, packed);
  TCase *unpacked = tcase_create("unpacked");
  tcase_set_timeout(unpacked, 120);
  tcase_add_loop_test(unpacked, floats_of_any_width, 0, FLOATS);
  tcase_add_loop_test(unpacked, zeros_have_no_sign_and_no_scale, 0, FLOATS);
  tcase_add_loop_test(unpacked, floats_that_are_not_ternary, 0, FLOATS);
  tcase_add_loop_test(unpacked, the_smallest_and_largest_magnitudes_are_scales, 0, FLOATS);
  tcase_add_loop_test(unpacked, negative_scales_are_written_as_their_values, 0, FLOATS);
  suite_add_tcase(suite, unpacked);
  TCase *golden_files = tcase_create("peers' files");
  tcase_set_timeout(golden_files, 120);
  tcase_add_loop_test(golden_files, files_of_peers, 0, GOLDENS);
  suite_add_tcase(suite, golden_files);
  return run_suite(suite);
}
