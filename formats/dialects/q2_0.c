/* Q2_0, with groups of 64 (llama.cpp) and 128 (PrismML, twice: under llama.cpp's number before it was given away, and
 * as PQ2_0): an fp16 scale, then 2-bit codes in the weights' order. Code 3 is +2. */
#include "formats/dialects/codec.h"

static uint64_t bytes_of(uint64_t weights, uint64_t group) { return weights / group * (2 + group / 4); }

/* The eight codes of two bytes, one in each byte of a word, and back. */
static uint64_t spread(uint64_t pair) {
  pair = (pair | pair << 24) & 0x000000ff000000ff;
  pair = (pair | pair << 12) & 0x000f000f000f000f;
  return (pair | pair << 6) & 0x0303030303030303;
}

static uint16_t gather(uint64_t codes) {
  codes = (codes | codes >> 6) & 0x000f000f000f000f;
  codes = (codes | codes >> 12) & 0x000000ff000000ff;
  return (uint16_t)(codes | codes >> 24);
}

static inline void decode_blocks(const uint8_t *restrict bytes, uint64_t count, size_t group, int8_t *restrict trits,
                                 uint8_t *restrict scales) {
  for (uint64_t b = 0; b < count; b++) {
    memcpy(scales + 2 * b, bytes, 2);
    bytes += 2;
    for (size_t i = 0; i < group; i += 8, bytes += 2) {
      tq_store_u64(trits + i, tq_codes_to_trits(spread(tq_load_u16(bytes))));
    }
    trits += group;
  }
}

static inline void encode_blocks(const int8_t *restrict trits, const uint8_t *restrict scales, uint64_t count,
                                 size_t group, uint8_t *restrict bytes) {
  for (uint64_t b = 0; b < count; b++) {
    memcpy(bytes, scales + 2 * b, 2);
    bytes += 2;
    for (size_t i = 0; i < group; i += 8, bytes += 2) {
      tq_store_u16(bytes, gather(tq_trits_to_codes(tq_load_u64(trits + i))));
    }
    trits += group;
  }
}

static uint64_t unit_bytes_64(uint64_t rows, uint64_t columns) { return bytes_of(rows * columns, 64); }
static uint64_t unit_bytes_128(uint64_t rows, uint64_t columns) { return bytes_of(rows * columns, 128); }

static bool decode_64(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  decode_blocks(unit, columns / 64, 64, trits, scales);
  return true;
}

static bool decode_128(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  decode_blocks(unit, columns / 128, 128, trits, scales);
  return true;
}

static void encode_64(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  encode_blocks(trits, scales, rows * (columns / 64), 64, unit);
}

static void encode_128(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  encode_blocks(trits, scales, rows * (columns / 128), 128, unit);
}

const tq_dialect tq_dialect_q2_0 = {
    .name = "Q2_0",
    .carrier = "gguf",
    .origin = "llama.cpp",
    .gguf_type = 42,
    .file_type = 41,
    .granularity = TQ_PER_GROUP,
    .group = 64,
    .scale_encoding = TQ_F16,
    .four_valued = true,
    .column_multiple = 64,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 64",
    .unit_bytes = unit_bytes_64,
    .decode = decode_64,
    .encode = encode_64,
};

const tq_dialect tq_dialect_q2_0_g128 = {
    .name = "Q2_0_G128",
    .carrier = "gguf",
    .origin = "PrismML before v7",
    .gguf_type = 42,
    .file_type = 41,
    .granularity = TQ_PER_GROUP,
    .group = 128,
    .scale_encoding = TQ_F16,
    .four_valued = true,
    .is_variant = true,
    .column_multiple = 128,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 128",
    .unit_bytes = unit_bytes_128,
    .decode = decode_128,
    .encode = encode_128,
};

const tq_dialect tq_dialect_pq2_0 = {
    .name = "PQ2_0",
    .carrier = "gguf",
    .origin = "PrismML",
    .gguf_type = 142,
    .file_type = 141,
    .granularity = TQ_PER_GROUP,
    .group = 128,
    .scale_encoding = TQ_F16,
    .four_valued = true,
    .column_multiple = 128,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 128",
    .unit_bytes = unit_bytes_128,
    .decode = decode_128,
    .encode = encode_128,
};
