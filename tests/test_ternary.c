/* lib/ternary: codes, scales, number formats and the content hash, each against a plain second formulation. */
#include "base/bytes.h"
#include "base/hash.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdlib.h>

/* ck_assert for inner loops: it reports only failures, where ck_assert reports every call to the parent process. */
#define expect(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) ck_abort_msg("%s", #condition);                                                                  \
  } while (0)

enum { WIDEST = 700 };

static const uint32_t codes[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT};
enum { CODES = sizeof codes / sizeof *codes };

static void random_trits(uint32_t encoding, uint64_t *state, int8_t *trits, size_t count) {
  unsigned values = encoding == TQ_QUATERNARY_2BIT ? 4 : 3;
  for (size_t i = 0; i < count; i++) trits[i] = (int8_t)((int)(random_u64(state) % values) - 1);
}

/* Where weight `c` of a row lies: the byte and the place in it. Written from the definition, one weight at a time. */
static void locate(uint32_t encoding, uint64_t columns, uint64_t c, uint64_t *byte, uint64_t *k) {
  uint64_t places = encoding == TQ_TERNARY_BASE3 ? 5 : 4, whole = places * 32;
  uint64_t block = c / whole, rest = columns - block * whole;
  uint64_t span = rest >= whole ? 32 : (rest + 4 * places - 1) / (4 * places) * 4;
  *byte = block * 32 + c % whole % span;
  *k = c % whole / span;
}

static int digit_at(uint32_t encoding, uint8_t byte, uint64_t k) {
  if (encoding != TQ_TERNARY_BASE3) return byte >> (2 * k) & 3;
  int number = 0;
  while ((256 * number + 242) / 243 < byte) number++;
  for (uint64_t i = k; i < 4; i++) number /= 3;
  return number % 3;
}

START_TEST(every_width_round_trips) {
  uint32_t encoding = codes[_i];
  uint64_t state = 1;
  int8_t trits[WIDEST], back[WIDEST + 1];
  uint8_t row[WIDEST];
  for (uint64_t columns = 1; columns <= WIDEST; columns++) {
    uint64_t bytes = tq_trit_row_bytes(encoding, columns), byte, k, bad;
    uint64_t places = encoding == TQ_TERNARY_BASE3 ? 5 : 4;
    expect(bytes % 4 == 0 && bytes * places >= columns);
    expect((bytes - 4) * places < columns); /* the tail costs less than one piece */
    random_trits(encoding, &state, trits, columns);
    memset(row, 0xee, sizeof row);
    memset(back, 0x55, sizeof back);
    tq_trits_pack(encoding, trits, columns, row);
    expect(row[bytes] == 0xee);
    tq_trits_unpack(encoding, row, columns, back);
    expect(memcmp(back, trits, columns) == 0);
    expect(back[columns] == 0x55);
    expect(tq_trits_valid(encoding, row, columns, &bad));
    for (uint64_t c = 0; c < columns; c++) {
      locate(encoding, columns, c, &byte, &k);
      expect(byte < bytes);
      expect(digit_at(encoding, row[byte], k) == trits[c] + 1);
    }
  }
}
END_TEST

START_TEST(row_bytes_of_some_rows) {
  static const struct {
    uint64_t columns, base3, two_bits;
  } sizes[] = {{1, 4, 4},     {16, 4, 4},    {17, 4, 8},      {20, 4, 8},       {21, 8, 8},        {37, 8, 12},
               {128, 28, 32}, {129, 28, 36}, {141, 32, 36},   {160, 32, 40},    {161, 36, 44},     {256, 52, 64},
               {320, 64, 80}, {341, 72, 88}, {640, 128, 160}, {2560, 512, 640}, {6912, 1384, 1728}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_BASE3, sizes[i].columns), sizes[i].base3);
    ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_2BIT, sizes[i].columns), sizes[i].two_bits);
    ck_assert_uint_eq(tq_trit_row_bytes(TQ_QUATERNARY_2BIT, sizes[i].columns), sizes[i].two_bits);
  }
}
END_TEST

/* The example of docs/format.md. */
START_TEST(a_row_by_hand) {
  static const int8_t trits[7] = {-1, 0, 1, 1, 0, -1, 1};
  static const uint8_t base3[4] = {0x2b, 0x64, 0xf2, 0xd5}, two_bits[4] = {0x54, 0x51, 0x5a, 0x56};
  uint8_t row[4];
  tq_trits_pack(TQ_TERNARY_BASE3, trits, 7, row);
  ck_assert_mem_eq(row, base3, 4);
  tq_trits_pack(TQ_TERNARY_2BIT, trits, 7, row);
  ck_assert_mem_eq(row, two_bits, 4);
}
END_TEST

START_TEST(row_bytes_of_huge_rows_do_not_overflow) {
  ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_2BIT, UINT64_MAX), UINT64_MAX / 4 + 1);
  ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_BASE3, UINT64_MAX), UINT64_MAX / 5 + 1);
  ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_BASE3, 0), 0);
}
END_TEST

/* All 243 numbers: a byte each, and the stated formula gives its digits back. */
START_TEST(base3_numbers) {
  for (int n = 0; n < 243; n++) {
    static const int weights[5] = {81, 27, 9, 3, 1};
    int8_t trits[20], back[20]; /* a span of 4: the number's digits in each of the 4 bytes */
    uint8_t bytes[4];
    for (int i = 0; i < 20; i++) trits[i] = (int8_t)(n / weights[i / 4] % 3 - 1);
    tq_trits_pack(TQ_TERNARY_BASE3, trits, 20, bytes);
    for (int m = 0; m < 4; m++) expect(bytes[m] == (unsigned)ceil(256.0 * n / 243.0));
    tq_trits_unpack(TQ_TERNARY_BASE3, bytes, 20, back);
    expect(memcmp(back, trits, 20) == 0);
    for (int k = 0, power = 1; k < 5; k++, power *= 3) expect((bytes[0] * power % 256 * 3) >> 8 == trits[4 * k] + 1);
  }
}
END_TEST

/* All 256 bytes: 243 are numbers, each of the other 13 is refused where it stands. */
START_TEST(base3_bytes) {
  unsigned valid = 0;
  for (unsigned b = 0; b < 256; b++) {
    bool is_number = false;
    for (int n = 0; n < 243; n++) is_number |= (256 * n + 242) / 243 == (int)b;
    uint8_t row[96];
    int8_t trits[160 * 3] = {0};
    uint64_t bad = 999;
    tq_trits_pack(TQ_TERNARY_BASE3, trits, 480, row);
    row[b % 96] = (uint8_t)b;
    expect((tq_trits_valid(TQ_TERNARY_BASE3, row, 480, &bad)) == is_number);
    if (!is_number) expect(bad == b % 96);
    valid += is_number;
  }
  expect(valid == 243);
}
END_TEST

START_TEST(code_3_is_ternary_nowhere) {
  for (uint64_t columns = 1; columns <= 300; columns++) {
    int8_t trits[300] = {0};
    uint8_t row[96];
    uint64_t bad = 999, byte, k, target = columns * columns / 3 % columns;
    trits[target] = 2;
    tq_trits_pack(TQ_QUATERNARY_2BIT, trits, columns, row);
    expect(tq_trits_valid(TQ_QUATERNARY_2BIT, row, columns, &bad));
    expect(!tq_trits_valid(TQ_TERNARY_2BIT, row, columns, &bad));
    locate(TQ_TERNARY_2BIT, columns, target, &byte, &k);
    expect(bad == byte);
  }
}
END_TEST

/* Every place of a row's last block that has no weight holds trit 0, and anything else is refused. */
START_TEST(padding_is_zero_trits) {
  uint32_t encoding = codes[_i];
  uint64_t state = 3, places = encoding == TQ_TERNARY_BASE3 ? 5 : 4;
  for (uint64_t columns = 1; columns <= 2 * 32 * places; columns++) {
    int8_t trits[320], whole[320];
    uint8_t row[80], dirty[80];
    uint64_t bytes = tq_trit_row_bytes(encoding, columns), bad = 999, tail = columns / (32 * places) * 32;
    uint64_t span = bytes - tail;
    random_trits(encoding, &state, trits, columns);
    tq_trits_pack(encoding, trits, columns, row);
    for (uint64_t place = columns - tail * places; place < span * places; place++) {
      expect(digit_at(encoding, row[tail + place % span], place / span) == 1);
      /* the tail repacked as if it were full gives the same bytes, with one padding trit changed */
      memset(whole, 0, sizeof whole);
      memcpy(whole, trits + tail * places, columns - tail * places);
      whole[place] = place % 2 ? 1 : -1;
      memcpy(dirty, row, bytes);
      tq_trits_pack(encoding, whole, span * places, dirty + tail);
      expect(!tq_trits_valid(encoding, dirty, columns, &bad));
      expect(bad == tail + place % span);
    }
  }
}
END_TEST

/* ---- panels ---- */

enum { MOST_ROWS = 40 };

/* Byte `byte` of a row, from the definition. */
static uint64_t byte_offset(uint64_t rows, uint64_t row, uint64_t row_bytes, uint64_t byte) {
  uint64_t first = row / 16 * 16, height = rows - first < 16 ? rows - first : 16;
  return first * row_bytes + byte / 4 * 4 * height + (row - first) * 4 + byte % 4;
}

START_TEST(rows_lie_in_panels) {
  uint32_t encoding = codes[_i];
  static const uint64_t widths[] = {1, 20, 21, 33, 128, 160, 161, 511, WIDEST};
  static uint8_t matrix[MOST_ROWS][WIDEST], stored[MOST_ROWS * WIDEST + 1], back[WIDEST + 1];
  uint64_t state = 21;
  for (size_t row = 0; row < MOST_ROWS; row++)
    for (size_t i = 0; i < WIDEST; i++) matrix[row][i] = (uint8_t)random_u64(&state);
  for (uint64_t rows = 1; rows <= MOST_ROWS; rows++) {
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
      uint64_t bytes = tq_trit_row_bytes(encoding, widths[w]);
      memset(stored, 0xee, sizeof stored);
      for (uint64_t row = rows; row-- > 0;) tq_panel_store_row(stored, rows, row, bytes, matrix[row]);
      expect(stored[rows * bytes] == 0xee);
      for (uint64_t row = 0; row < rows; row++) {
        expect(tq_panel_height(rows, row) == (row / 16 == rows / 16 ? rows % 16 : 16));
        for (uint64_t b = 0; b < bytes; b++) expect(stored[byte_offset(rows, row, bytes, b)] == matrix[row][b]);
        memset(back, 0x55, sizeof back);
        tq_panel_load_row(stored, rows, row, bytes, back);
        expect(memcmp(back, matrix[row], bytes) == 0 && back[bytes] == 0x55);
      }
    }
  }
}
END_TEST

START_TEST(panels_by_hand) {
  static const uint8_t matrix[3][8] = {{0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07},
                                       {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17},
                                       {0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27}};
  static const uint8_t three[24] = {0x00, 0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23,
                                    0x04, 0x05, 0x06, 0x07, 0x14, 0x15, 0x16, 0x17, 0x24, 0x25, 0x26, 0x27};
  uint8_t stored[17 * 8];
  for (uint64_t row = 0; row < 3; row++) tq_panel_store_row(stored, 3, row, 8, matrix[row]);
  ck_assert_mem_eq(stored, three, sizeof three);
  for (uint64_t row = 0; row < 17; row++) tq_panel_store_row(stored, 17, row, 8, matrix[row % 2 + row / 16 * 2]);
  ck_assert_mem_eq(stored + 14 * 4, matrix[0], 4); /* the first pieces of the panel's last two rows */
  ck_assert_mem_eq(stored + 15 * 4, matrix[1], 4);
  ck_assert_mem_eq(stored + 16 * 4, matrix[0] + 4, 4); /* the second of its first */
  ck_assert_mem_eq(stored + 16 * 8, matrix[2], 8);     /* row 16, alone in a panel */
}
END_TEST

START_TEST(counts) {
  uint64_t state = 5;
  int8_t trits[WIDEST];
  for (size_t columns = 1; columns <= WIDEST; columns += 3) {
    uint64_t expected[4] = {10, 20, 30, 40}, counted[4] = {10, 20, 30, 40};
    random_trits(TQ_QUATERNARY_2BIT, &state, trits, columns);
    for (size_t c = 0; c < columns; c++) expected[trits[c] + 1]++;
    tq_trits_count(trits, columns, counted);
    ck_assert_mem_eq(counted, expected, sizeof expected);
  }
  uint64_t all_zero[4] = {0};
  memset(trits, 0, sizeof trits);
  tq_trits_count(trits, WIDEST, all_zero);
  ck_assert_uint_eq(all_zero[1], WIDEST);
}
END_TEST

/* ---- scales ---- */

static const uint32_t scale_encodings[] = {TQ_F32, TQ_F16, TQ_BF16};

static void store_scale(uint32_t encoding, uint8_t *table, uint64_t index, float value) {
  if (encoding == TQ_F32)
    tq_store_f32(table + 4 * index, value);
  else
    tq_store_u16(table + 2 * index, encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value));
}

static float rounded(uint32_t encoding, float value) {
  if (encoding == TQ_F16) return tq_f16_to_f32(tq_f32_to_f16(value));
  return encoding == TQ_BF16 ? tq_bf16_to_f32(tq_f32_to_bf16(value)) : value;
}

/* Where the scale of a weight lies, from the definition. */
static uint64_t scale_place(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns, uint64_t row,
                            uint64_t column) {
  if (granularity == TQ_PER_TENSOR) return 0;
  if (granularity == TQ_PER_ROW) return row;
  uint64_t first = row / 16 * 16, height = rows - first < 16 ? rows - first : 16;
  return first * ((columns + group - 1) / group) + column / group * height + row - first;
}

/* Every place of a table belongs to the weights of one group, and the places are those of the definition. */
static void check_places(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns) {
  static uint64_t owner[MOST_ROWS * 32];
  uint64_t run = granularity == TQ_PER_GROUP ? group : columns, met = 0;
  uint64_t count = tq_scale_count(granularity, group, rows, columns);
  expect(count <= sizeof owner / sizeof *owner);
  memset(owner, 0xff, sizeof owner);
  for (uint64_t row = 0; row < rows; row++) {
    for (uint64_t c = 0; c < columns; c++) {
      uint64_t index = tq_scale_index(granularity, group, rows, columns, row, c);
      uint64_t mine = granularity == TQ_PER_TENSOR ? 0 : row * 32 + c / run;
      expect(index == scale_place(granularity, group, rows, columns, row, c));
      expect(index < count && (owner[index] == UINT64_MAX || owner[index] == mine));
      met += owner[index] == UINT64_MAX;
      owner[index] = mine;
    }
  }
  expect(met == count);
}

START_TEST(every_scale_has_a_place) {
  static const uint64_t widths[] = {1, 32, 33, 300, WIDEST};
  for (uint64_t rows = 1; rows <= MOST_ROWS; rows++) {
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
      check_places(TQ_PER_TENSOR, 0, rows, widths[w]);
      check_places(TQ_PER_ROW, 0, rows, widths[w]);
      for (uint32_t group = 32; group <= 256; group += 32) check_places(TQ_PER_GROUP, group, rows, widths[w]);
    }
  }
  /* Three rows of two groups by hand: the first group's of each row, then the second's. */
  static const uint64_t expected[3][2] = {{0, 3}, {1, 4}, {2, 5}};
  for (uint64_t row = 0; row < 3; row++)
    for (uint64_t g = 0; g < 2; g++)
      ck_assert_uint_eq(tq_scale_index(TQ_PER_GROUP, 32, 3, 40, row, 32 * g), expected[row][g]);
}
END_TEST

/* One tensor, every weight computed by itself. */
static void check_scaling(uint64_t columns, uint32_t granularity, uint32_t group, uint32_t encoding,
                          uint32_t direction) {
  enum { ROWS = 18 };
  uint64_t per_row = granularity == TQ_PER_GROUP ? (columns + group - 1) / group : 1;
  uint64_t count = granularity == TQ_PER_TENSOR ? 1 : ROWS * per_row, state = columns;
  expect(tq_scale_count(granularity, group, ROWS, columns) == count);
  uint8_t table[4 * ROWS * 32];
  float scales[ROWS * 32];
  expect(count <= ROWS * 32);
  for (uint64_t i = 0; i < count; i++) {
    scales[i] = rounded(encoding, random_float(&state) * 3);
    store_scale(encoding, table, i, scales[i]);
  }
  int8_t trits[WIDEST];
  float values[WIDEST];
  for (uint64_t row = 0; row < ROWS; row++) {
    random_trits(TQ_QUATERNARY_2BIT, &state, trits, columns);
    tq_trits_scale(trits, ROWS, row, columns, granularity, group, encoding, direction, table, values);
    for (uint64_t c = 0; c < columns; c++) {
      uint64_t index = scale_place(granularity, group, ROWS, columns, row, c);
      float factor = direction == TQ_INVERTED ? 1.0f / scales[index] : scales[index];
      float expected = trits[c] == -1 ? -factor : trits[c] == 1 ? factor : trits[c] == 2 ? factor + factor : 0.0f;
      expect(memcmp(&values[c], &expected, sizeof expected) == 0); /* bit for bit: a zero is +0 */
      expect(tq_scale_load(encoding, direction, table, index) == factor);
    }
  }
}

START_TEST(scales_of_every_granularity) {
  static const uint64_t widths[] = {1, 31, 32, 33, 100, 256, 300, 511, WIDEST};
  for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
    for (size_t e = 0; e < 3; e++) {
      for (uint32_t direction = TQ_DIRECT; direction <= TQ_INVERTED; direction++) {
        check_scaling(widths[w], TQ_PER_TENSOR, 0, scale_encodings[e], direction);
        check_scaling(widths[w], TQ_PER_ROW, 0, scale_encodings[e], direction);
        for (uint32_t group = 32; group <= 256; group += 32)
          check_scaling(widths[w], TQ_PER_GROUP, group, scale_encodings[e], direction);
      }
    }
  }
}
END_TEST

START_TEST(zero_trits_are_plus_zero) {
  static const float hostile[] = {-1.5f, -0.0f, INFINITY, -INFINITY, NAN};
  int8_t trits[3] = {0, 0, 0};
  for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
    uint8_t table[4];
    float values[3], zeros[3] = {0};
    tq_store_f32(table, hostile[i]);
    tq_trits_scale(trits, 1, 0, 3, TQ_PER_TENSOR, 0, TQ_F32, TQ_DIRECT, table, values);
    ck_assert_mem_eq(values, zeros, sizeof zeros);
  }
}
END_TEST

/* Also those of trits that are not zero: the sign of a zero says nothing, and no form that has no -0 could keep it. */
START_TEST(zero_products_are_plus_zero) {
  static const float zeros[] = {0.0f, -0.0f}, infinities[] = {INFINITY, -INFINITY};
  static const int8_t trits[4] = {-1, 0, 1, 2};
  for (size_t i = 0; i < 2; i++) {
    uint8_t table[4];
    float values[4], expected[4] = {0};
    tq_store_f32(table, zeros[i]);
    tq_trits_scale(trits, 1, 0, 4, TQ_PER_TENSOR, 0, TQ_F32, TQ_DIRECT, table, values);
    ck_assert_mem_eq(values, expected, sizeof expected);
    tq_store_f32(table, infinities[i]);
    tq_trits_scale(trits, 1, 0, 4, TQ_PER_TENSOR, 0, TQ_F32, TQ_INVERTED, table, values);
    ck_assert_mem_eq(values, expected, sizeof expected);
  }
}
END_TEST

/* Stores and loads again; the bytes behind the scale stay. */
static bool stores(uint32_t encoding, uint32_t direction, float scale) {
  uint8_t bytes[5] = {0xee, 0xee, 0xee, 0xee, 0xee};
  if (!tq_scale_store(encoding, direction, scale, bytes)) {
    for (size_t i = 0; i < sizeof bytes; i++) expect(bytes[i] == 0xee);
    return false;
  }
  float back = tq_scale_load(encoding, direction, bytes, 0);
  expect(memcmp(&back, &scale, sizeof back) == 0);
  for (size_t i = encoding == TQ_F32 ? 4 : 2; i < sizeof bytes; i++) expect(bytes[i] == 0xee);
  return true;
}

/* Whatever a scale of a small type says, that type can say again. */
START_TEST(every_small_scale_is_stored) {
  static const uint32_t small[] = {TQ_F16, TQ_BF16};
  for (uint32_t bits = 0; bits < 65536; bits++) {
    uint8_t bytes[2];
    tq_store_u16(bytes, (uint16_t)bits);
    for (size_t e = 0; e < 2; e++) {
      for (uint32_t direction = TQ_DIRECT; direction <= TQ_INVERTED; direction++) {
        float scale = tq_scale_load(small[e], direction, bytes, 0);
        expect(stores(small[e], direction, scale) == (isfinite(scale) != 0));
        expect(stores(TQ_F32, direction, scale) == (isfinite(scale) != 0));
      }
    }
  }
}
END_TEST

static float neighbour(float value, int steps) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  bits += (uint32_t)steps;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Inverted F32: what some number says is stored, and what is not stored no number near the reciprocal says. */
START_TEST(inverted_scales_are_found_or_not_there) {
  uint64_t state = 17;
  unsigned found = 0, lost = 0;
  for (unsigned i = 0; i < 400000; i++) {
    float number = ldexpf(1 + fabsf(random_float(&state)), (int)(random_u64(&state) % 250) - 125);
    expect(stores(TQ_F32, TQ_INVERTED, 1.0f / number));
    if (stores(TQ_F32, TQ_INVERTED, number)) {
      found++;
      continue;
    }
    lost++;
    for (int step = -8; step <= 8; step++) expect(1.0f / neighbour(1.0f / number, step) != number);
  }
  expect(found > 100000 && lost > 10000);
}
END_TEST

START_TEST(scales_that_cannot_be_stored) {
  static const float none[] = {NAN, INFINITY, -INFINITY};
  for (size_t e = 0; e < 3; e++) {
    for (size_t i = 0; i < 3; i++) {
      expect(!stores(scale_encodings[e], TQ_DIRECT, none[i]));
      expect(!stores(scale_encodings[e], TQ_INVERTED, none[i]));
    }
    expect(stores(scale_encodings[e], TQ_DIRECT, -0.0f));
    expect(stores(scale_encodings[e], TQ_INVERTED, -0.0f));
    expect(stores(scale_encodings[e], TQ_INVERTED, -0.25f));
  }
  expect(stores(TQ_F32, TQ_INVERTED, 0x1p-128f)); /* its reciprocal is infinite, and yet there is a number */
  expect(stores(TQ_F32, TQ_INVERTED, -0x1p-128f));
  expect(!stores(TQ_F32, TQ_INVERTED, 0x1p-129f));
  expect(stores(TQ_F32, TQ_DIRECT, 0.1f));
  expect(!stores(TQ_F16, TQ_DIRECT, 0.1f));
  expect(!stores(TQ_BF16, TQ_DIRECT, 0.1f));
  expect(!stores(TQ_F16, TQ_DIRECT, 1e-30f));
  expect(!stores(TQ_F16, TQ_DIRECT, 65536.0f));
  expect(!stores(TQ_F16, TQ_INVERTED, 3.0f));
}
END_TEST

START_TEST(counts_of_scales_that_make_no_sense) {
  ck_assert_uint_eq(tq_scale_count(TQ_PER_GROUP, 0, 4, 64), 0);
  ck_assert_uint_eq(tq_scale_count(77, 32, 4, 64), 0);
}
END_TEST

/* ---- number formats ---- */

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* A half's value by its definition; not for NaN. */
static double half_value(uint16_t half) {
  int exponent = half >> 10 & 31, mantissa = half & 1023;
  double magnitude = exponent == 31  ? INFINITY
                     : exponent == 0 ? ldexp(mantissa, -24)
                                     : ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

START_TEST(every_half_goes_both_ways) {
  for (uint32_t h = 0; h < 65536; h++) {
    float value = tq_f16_to_f32((uint16_t)h);
    expect(tq_f32_to_f16(value) == h); /* NaNs with their payload too */
    if ((h & 0x7fff) > 0x7c00) {
      expect(isnan(value));
      continue;
    }
    expect((double)value == half_value((uint16_t)h));
    expect((signbit(value) != 0) == h >> 15);
  }
}
END_TEST

START_TEST(every_brain_float_goes_both_ways) {
  for (uint32_t b = 0; b < 65536; b++) {
    float value = tq_bf16_to_f32((uint16_t)b);
    expect(bits_of(value) == b << 16);
    expect(tq_f32_to_bf16(value) == b);
  }
}
END_TEST

/* Between neighbours a < b: the middle goes to the even one, its two sides to the nearer. */
static void check_rounding(uint16_t (*round)(float), uint16_t low, float a, float b) {
  float middle = (float)(((double)a + (double)b) / 2);
  uint16_t even = (uint16_t)(low + (low & 1));
  expect(round(middle) == even);
  expect(round(nextafterf(middle, 0)) == low);
  expect(round(nextafterf(middle, INFINITY)) == low + 1u);
  expect(round(-middle) == (even | 0x8000u));
}

START_TEST(halves_round_to_even) {
  for (uint16_t h = 0; h < 0x7bff; h++)
    check_rounding(tq_f32_to_f16, h, tq_f16_to_f32(h), tq_f16_to_f32((uint16_t)(h + 1)));
  ck_assert_uint_eq(tq_f32_to_f16(65519.99f), 0x7bff);
  ck_assert_uint_eq(tq_f32_to_f16(65520.0f), 0x7c00);
  ck_assert_uint_eq(tq_f32_to_f16(-3e38f), 0xfc00);
  ck_assert_uint_eq(tq_f32_to_f16(-1e-30f), 0x8000);
  ck_assert_uint_eq(tq_f32_to_f16(float_of(1)), 0);
  ck_assert_uint_eq(tq_f32_to_f16(float_of(0x7f800001)), 0x7e00); /* a payload that does not fit stays a NaN */
}
END_TEST

START_TEST(brain_floats_round_to_even) {
  for (uint16_t b = 0; b < 0x7f7f; b++)
    check_rounding(tq_f32_to_bf16, b, tq_bf16_to_f32(b), tq_bf16_to_f32((uint16_t)(b + 1)));
  ck_assert_uint_eq(tq_f32_to_bf16(float_of(0x7f7fffff)), 0x7f80);
  ck_assert_uint_eq(tq_f32_to_bf16(float_of(0x7f800001)), 0x7fc0);
  ck_assert_uint_eq(tq_f32_to_bf16(float_of(0xffffffff)), 0xffff);
}
END_TEST

/* Numbers of each encoding, as bytes, and what they are. */
static const struct {
  uint32_t encoding;
  uint8_t bytes[16];
  float values[2];
} numbers[] = {
    {TQ_F32, {0, 0, 0x80, 0x3f, 0, 0, 0, 0x80}, {1, -0.0f}},
    {TQ_F16, {0, 0x3c, 1, 0}, {1, 0x1p-24f}},
    {TQ_BF16, {0x80, 0x3f, 0x80, 0xff}, {1, -INFINITY}},
    {TQ_F64, {0, 0, 0, 0, 0, 0, 0xf0, 0xbf, 1, 0, 0, 0x10, 0, 0, 0xf0, 0x3f}, {-1, 1.00000011920928955f}},
    {TQ_BOOL, {1, 0}, {1, 0}},
    {TQ_U8, {255, 3}, {255, 3}},
    {TQ_I8, {255, 3}, {-1, 3}},
    {TQ_U16, {0xff, 0xff, 2, 1}, {65535, 258}},
    {TQ_I16, {0xff, 0xff, 2, 1}, {-1, 258}},
    {TQ_U32, {0xff, 0xff, 0xff, 0xff, 4, 3, 2, 1}, {0x1p32f, 16909060}},
    {TQ_I32, {0xff, 0xff, 0xff, 0xff, 4, 3, 2, 1}, {-1, 16909060}},
    {TQ_U64, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7}, {0x1p64f, 7}},
    {TQ_I64, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 7}, {-1, 7}},
};

START_TEST(numbers_of_every_encoding) {
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    float values[2];
    ck_assert(tq_numbers_decode(numbers[i].encoding, numbers[i].bytes, 2, values));
    ck_assert_mem_eq(values, numbers[i].values, sizeof values);
  }
  static const uint32_t carried[] = {TQ_F8_E4M3,     TQ_F8_E8M0, TQ_F6_E2M3, TQ_F4,           TQ_C64,
                                     TQ_F8_E5M2FNUZ, TQ_BLOCKS,  0,          TQ_TERNARY_2BIT, 12345};
  float value;
  for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
    ck_assert(!tq_numbers_decode(carried[i], "", 1, &value));
}
END_TEST

START_TEST(the_table_of_encodings) {
  static const struct {
    uint32_t id;
    const char *name;
    uint32_t elements, bytes;
  } expected[] = {{TQ_F32, "F32", 1, 4},
                  {TQ_F16, "F16", 1, 2},
                  {TQ_BF16, "BF16", 1, 2},
                  {TQ_F64, "F64", 1, 8},
                  {TQ_BOOL, "BOOL", 1, 1},
                  {TQ_I64, "I64", 1, 8},
                  {TQ_F6_E2M3, "F6_E2M3", 4, 3},
                  {TQ_F4, "F4", 2, 1},
                  {TQ_C64, "C64", 1, 8},
                  {TQ_BLOCKS, "blocks", 1, 0},
                  {TQ_TERNARY_BASE3, "ternary-base3", 1, 0}};
  for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
    const tq_encoding_info *info = tq_encoding_find(expected[i].id);
    ck_assert_ptr_nonnull(info);
    ck_assert_str_eq(info->name, expected[i].name);
    ck_assert_uint_eq(info->elements, expected[i].elements);
    ck_assert_uint_eq(info->bytes, expected[i].bytes);
  }
  ck_assert_ptr_null(tq_encoding_find(0));
  ck_assert_ptr_null(tq_encoding_find(97));
  for (uint32_t id = 0; id < 200; id++) ck_assert(!tq_encoding_find(id) || tq_encoding_find(id)->id == id);
}
END_TEST

/* ---- content hash ---- */

static void one_shot_digest(const uint64_t *shape, uint32_t dimensions, const float *values, size_t count,
                            uint8_t digest[16]) {
  uint8_t *bytes = malloc(8 + 8 * (size_t)dimensions + 4 * count);
  tq_store_u64(bytes, dimensions);
  for (uint32_t i = 0; i < dimensions; i++) tq_store_u64(bytes + 8 + 8 * i, shape[i]);
  for (size_t i = 0; i < count; i++) tq_store_f32(bytes + 8 + 8 * dimensions + 4 * i, values[i]);
  tq_hash hash;
  tq_hash_bytes(TQ_HASH_XXH3_128, bytes, 8 + 8 * (size_t)dimensions + 4 * count, &hash);
  memcpy(digest, hash.bytes, 16);
  free(bytes);
}

static void content_digest(const uint64_t *shape, uint32_t dimensions, const float *values, size_t count, size_t step,
                           tq_digest *digest) {
  tq_content_hash *hash;
  ck_ok(tq_content_hash_create(shape, dimensions, &hash, error));
  for (size_t at = 0; at < count; at += step)
    tq_content_hash_update(hash, values + at, count - at < step ? count - at : step);
  tq_content_hash_final(hash, digest->bytes);
  tq_content_hash_destroy(hash);
}

START_TEST(content_hash_is_that_of_the_bytes) {
  enum { COUNT = 6 * 7 * 100 };
  static float values[COUNT];
  uint64_t state = 9, shape[] = {6, 7, 100}, other[] = {7, 6, 100};
  for (size_t i = 0; i < COUNT; i++) values[i] = random_float(&state);
  uint8_t expected[16];
  one_shot_digest(shape, 3, values, COUNT, expected);
  static const size_t steps[] = {1, 7, 100, COUNT};
  tq_digest digest;
  for (size_t i = 0; i < 4; i++) {
    content_digest(shape, 3, values, COUNT, steps[i], &digest);
    ck_assert_mem_eq(digest.bytes, expected, 16);
  }
  content_digest(other, 3, values, COUNT, COUNT, &digest);
  ck_assert_mem_ne(digest.bytes, expected, 16);
  content_digest(&(uint64_t){COUNT}, 1, values, COUNT, COUNT, &digest);
  ck_assert_mem_ne(digest.bytes, expected, 16);
  values[COUNT - 1] = -values[COUNT - 1];
  content_digest(shape, 3, values, COUNT, COUNT, &digest);
  ck_assert_mem_ne(digest.bytes, expected, 16);
}
END_TEST

START_TEST(content_hash_of_bytes) {
  uint64_t shape[] = {2, 3};
  uint8_t bytes[24], expected[16];
  float values[6] = {1, 2, 3, 4, 5, 6};
  for (size_t i = 0; i < 6; i++) tq_store_f32(bytes + 4 * i, values[i]);
  one_shot_digest(shape, 2, values, 6, expected);
  tq_content_hash *hash;
  tq_digest digest;
  ck_ok(tq_content_hash_create(shape, 2, &hash, error));
  tq_content_hash_update_bytes(hash, bytes, 11);
  tq_content_hash_update_bytes(hash, bytes + 11, 13);
  tq_content_hash_final(hash, digest.bytes);
  tq_content_hash_destroy(hash);
  ck_assert_mem_eq(digest.bytes, expected, 16);
  tq_content_hash_destroy(NULL);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("ternary");
  TCase *packing = tcase_create("codes");
  tcase_set_timeout(packing, 60);
  tcase_add_loop_test(packing, every_width_round_trips, 0, CODES);
  tcase_add_loop_test(packing, padding_is_zero_trits, 0, CODES);
  tcase_add_test(packing, row_bytes_of_some_rows);
  tcase_add_test(packing, row_bytes_of_huge_rows_do_not_overflow);
  tcase_add_test(packing, a_row_by_hand);
  tcase_add_test(packing, base3_numbers);
  tcase_add_test(packing, base3_bytes);
  tcase_add_test(packing, code_3_is_ternary_nowhere);
  tcase_add_test(packing, counts);
  suite_add_tcase(suite, packing);
  TCase *panels = tcase_create("panels");
  tcase_set_timeout(panels, 60);
  tcase_add_loop_test(panels, rows_lie_in_panels, 0, CODES);
  tcase_add_test(panels, panels_by_hand);
  suite_add_tcase(suite, panels);
  TCase *scales = tcase_create("scales");
  tcase_set_timeout(scales, 60);
  tcase_add_test(scales, every_scale_has_a_place);
  tcase_add_test(scales, scales_of_every_granularity);
  tcase_add_test(scales, zero_trits_are_plus_zero);
  tcase_add_test(scales, zero_products_are_plus_zero);
  tcase_add_test(scales, every_small_scale_is_stored);
  tcase_add_test(scales, inverted_scales_are_found_or_not_there);
  tcase_add_test(scales, scales_that_cannot_be_stored);
  tcase_add_test(scales, counts_of_scales_that_make_no_sense);
  suite_add_tcase(suite, scales);
  TCase *formats = tcase_create("number formats");
  tcase_set_timeout(formats, 60);
  tcase_add_test(formats, every_half_goes_both_ways);
  tcase_add_test(formats, every_brain_float_goes_both_ways);
  tcase_add_test(formats, halves_round_to_even);
  tcase_add_test(formats, brain_floats_round_to_even);
  tcase_add_test(formats, numbers_of_every_encoding);
  tcase_add_test(formats, the_table_of_encodings);
  suite_add_tcase(suite, formats);
  TCase *hashes = tcase_create("content hash");
  tcase_add_test(hashes, content_hash_is_that_of_the_bytes);
  tcase_add_test(hashes, content_hash_of_bytes);
  suite_add_tcase(suite, hashes);
  return run_suite(suite);
}
