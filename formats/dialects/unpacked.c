/* Plain floats that take at most the values -d, 0 and +d in each group of 32 weights of a row: d is then their
 * magnitude, in their own encoding. -0 is the trit 0, and +0 is written. */
#include "formats/dialects/codec.h"

enum { GROUP = 32 };

static const uint32_t sign_bit = 0x80000000;

/* Numbers are widened to 32 bits with their sign at the top. */
static inline void load(const uint8_t *restrict bytes, size_t width, uint64_t count, uint32_t *restrict numbers) {
  if (width == 2) {
    for (uint64_t i = 0; i < count; i++) numbers[i] = (uint32_t)tq_load_u16(bytes + 2 * i) << 16;
  } else {
    for (uint64_t i = 0; i < count; i++) numbers[i] = tq_load_u32(bytes + 4 * i);
  }
}

static inline void store_scale(uint8_t *bytes, size_t width, uint32_t scale) {
  if (width == 2)
    tq_store_u16(bytes, (uint16_t)(scale >> 16));
  else
    tq_store_u32(bytes, scale);
}

/* The magnitude that all numbers but zeros have; false when there are two, or it is no number, being `infinity` or
 * more. */
static bool find_scale(const uint32_t numbers[GROUP], uint32_t infinity, uint32_t *scale) {
  int32_t largest = 0; /* magnitudes are positive as signed numbers too, which compare faster */
  for (int i = 0; i < GROUP; i++) {
    int32_t magnitude = (int32_t)(numbers[i] & ~sign_bit);
    largest = magnitude > largest ? magnitude : largest;
  }
  uint32_t others = 0;
  for (int i = 0; i < GROUP; i++) {
    int32_t magnitude = (int32_t)(numbers[i] & ~sign_bit);
    others |= magnitude == largest ? 0 : (uint32_t)magnitude;
  }
  *scale = (uint32_t)largest;
  return !others && *scale < infinity;
}

static void find_trits(const uint32_t numbers[GROUP], int8_t trits[GROUP]) {
  for (int i = 0; i < GROUP; i++) {
    int32_t is_negative = (int32_t)numbers[i] < 0, is_zero = (numbers[i] & ~sign_bit) == 0;
    trits[i] = (int8_t)(is_zero ? 0 : 1 - 2 * is_negative);
  }
}

static inline bool decode_row(const uint8_t *bytes, size_t width, uint32_t infinity, uint64_t columns, int8_t *trits,
                              uint8_t *scales) {
  uint32_t numbers[GROUP], scale;
  for (; columns >= GROUP; columns -= GROUP) {
    load(bytes, width, GROUP, numbers);
    if (!find_scale(numbers, infinity, &scale)) return false;
    find_trits(numbers, trits);
    store_scale(scales, width, scale);
    bytes += width * GROUP;
    trits += GROUP;
    scales += width;
  }
  if (!columns) return true;
  int8_t padded[GROUP];
  memset(numbers, 0, sizeof numbers);
  load(bytes, width, columns, numbers);
  if (!find_scale(numbers, infinity, &scale)) return false;
  find_trits(numbers, padded);
  memcpy(trits, padded, (size_t)columns);
  store_scale(scales, width, scale);
  return true;
}

/* As a number a trit has its sign in every bit, and is odd unless it is 0. */
static inline void encode_2(const int8_t *restrict trits, uint16_t scale, uint64_t count, uint8_t *restrict bytes) {
  for (uint64_t i = 0; i < count; i++) {
    int trit = trits[i];
    tq_store_u16(bytes + 2 * i, (uint16_t)((scale ^ (trit & 0x8000)) & -(trit & 1)));
  }
}

static inline void encode_4(const int8_t *restrict trits, uint32_t scale, uint64_t count, uint8_t *restrict bytes) {
  for (uint64_t i = 0; i < count; i++) {
    uint32_t trit = (uint32_t)(int32_t)trits[i];
    tq_store_u32(bytes + 4 * i, (scale ^ (trit & sign_bit)) & (0 - (trit & 1)));
  }
}

static inline void encode_row(const int8_t *trits, size_t width, const uint8_t *scales, uint64_t columns,
                              uint8_t *bytes) {
  for (uint64_t c = 0; c < columns; c += GROUP) {
    uint64_t count = columns - c < GROUP ? columns - c : GROUP;
    const uint8_t *scale = scales + width * (c / GROUP);
    if (width == 2)
      encode_2(trits + c, tq_load_u16(scale), count, bytes + width * c);
    else
      encode_4(trits + c, tq_load_u32(scale), count, bytes + width * c);
  }
}

static uint64_t unit_bytes_2(uint64_t rows, uint64_t columns) { return 2 * rows * columns; }
static uint64_t unit_bytes_4(uint64_t rows, uint64_t columns) { return 4 * rows * columns; }

static bool decode_f32(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  return decode_row(unit, 4, 0x7f800000, columns, trits, scales);
}

static bool decode_f16(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  return decode_row(unit, 2, 0x7c000000, columns, trits, scales);
}

static bool decode_bf16(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  return decode_row(unit, 2, 0x7f800000, columns, trits, scales);
}

static void encode_unit(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, size_t width,
                        uint8_t *unit) {
  uint64_t row_scales = (columns + GROUP - 1) / GROUP;
  for (uint64_t r = 0; r < rows; r++) {
    encode_row(trits + r * columns, width, scales + width * row_scales * r, columns, unit + width * columns * r);
  }
}

static void encode_wide(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  encode_unit(trits, scales, rows, columns, 4, unit);
}

static void encode_narrow(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  encode_unit(trits, scales, rows, columns, 2, unit);
}

const tq_dialect tq_dialect_f32 = {
    .name = "F32",
    .carrier = "",
    .origin = "any",
    .gguf_type = 0,
    .file_type = 0,
    .granularity = TQ_PER_GROUP,
    .group = GROUP,
    .scale_encoding = TQ_F32,
    .is_unpacked = true,
    .column_multiple = 1,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "",
    .unit_bytes = unit_bytes_4,
    .decode = decode_f32,
    .encode = encode_wide,
};

const tq_dialect tq_dialect_f16 = {
    .name = "F16",
    .carrier = "",
    .origin = "any",
    .gguf_type = 1,
    .file_type = 1,
    .granularity = TQ_PER_GROUP,
    .group = GROUP,
    .scale_encoding = TQ_F16,
    .is_unpacked = true,
    .column_multiple = 1,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "",
    .unit_bytes = unit_bytes_2,
    .decode = decode_f16,
    .encode = encode_narrow,
};

const tq_dialect tq_dialect_bf16 = {
    .name = "BF16",
    .carrier = "",
    .origin = "any",
    .gguf_type = 30,
    .file_type = 32,
    .granularity = TQ_PER_GROUP,
    .group = GROUP,
    .scale_encoding = TQ_BF16,
    .is_unpacked = true,
    .column_multiple = 1,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "",
    .unit_bytes = unit_bytes_2,
    .decode = decode_bf16,
    .encode = encode_narrow,
};
