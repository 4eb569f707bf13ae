/* IQ2_BN: an f32 scale for the row, then 64 weights in 16 bytes of 2-bit codes. IQ2_BN_R4: the four scales of four
 * rows, then 64 columns of them in 64 bytes. */
#include "formats/dialects/codec.h"

enum { BLOCK = 64, SPAN = 16, SCALE = 4, ROWS = 4 };

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows * (SCALE + columns / 4); }

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  memcpy(scales, unit, SCALE);
  for (uint64_t b = 0; b < columns / BLOCK; b++) {
    tq_planes_decode(unit + SCALE + SPAN * b, SPAN, trits + BLOCK * b);
  }
  return tq_all_are_trits(trits, columns);
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  for (uint64_t r = 0; r < rows; r++) {
    memcpy(unit, scales + SCALE * r, SCALE);
    unit += SCALE;
    for (uint64_t b = 0; b < columns / BLOCK; b++, unit += SPAN, trits += BLOCK) tq_planes_encode(trits, SPAN, unit);
  }
}

/* Sixteen weights of one row are four bytes: weight 4s + i is bits 2s..2s+1 of byte i. */
static void decode_run(const uint8_t *bytes, int8_t *trits) {
  const uint64_t mask = 0x0303030303030303, four = tq_load_u32(bytes);
  tq_store_u64(trits, tq_codes_to_trits((four | four << 30) & mask));
  tq_store_u64(trits + 8, tq_codes_to_trits((four >> 4 | four << 26) & mask));
}

static void encode_run(const int8_t *trits, uint8_t *bytes) {
  uint64_t low = tq_trits_to_codes(tq_load_u64(trits)), high = tq_trits_to_codes(tq_load_u64(trits + 8));
  tq_store_u32(bytes, (uint32_t)(low | low >> 30 | high << 4 | high >> 26));
}

/* Block b, row k, run l of 16 weights: where its four bytes lie behind the scales. */
static uint64_t run_at(uint64_t b, uint64_t k, uint64_t l) { return BLOCK * b + 4 * k + 16 * l; }

static bool decode_r4(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  memcpy(scales, unit + SCALE * row, SCALE);
  unit += SCALE * ROWS;
  for (uint64_t b = 0; b < columns / BLOCK; b++) {
    for (uint64_t l = 0; l < 4; l++) decode_run(unit + run_at(b, row, l), trits + BLOCK * b + 16 * l);
  }
  return tq_all_are_trits(trits, columns);
}

static void encode_r4(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  memcpy(unit, scales, SCALE * ROWS);
  unit += SCALE * ROWS;
  for (uint64_t k = 0; k < rows; k++, trits += columns) {
    for (uint64_t b = 0; b < columns / BLOCK; b++) {
      for (uint64_t l = 0; l < 4; l++) encode_run(trits + BLOCK * b + 16 * l, unit + run_at(b, k, l));
    }
  }
}

const tq_dialect tq_dialect_iq2_bn = {
    .name = "IQ2_BN",
    .carrier = "gguf",
    .origin = "ik_llama.cpp",
    .gguf_type = 135,
    .file_type = 137,
    .granularity = TQ_PER_ROW,
    .scale_encoding = TQ_F32,
    .column_multiple = BLOCK,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 64",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};

const tq_dialect tq_dialect_iq2_bn_r4 = {
    .name = "IQ2_BN_R4",
    .carrier = "gguf",
    .origin = "ik_llama.cpp",
    .gguf_type = 335,
    .file_type = 337,
    .granularity = TQ_PER_ROW,
    .scale_encoding = TQ_F32,
    .is_variant = true,
    .column_multiple = BLOCK,
    .row_multiple = ROWS,
    .element_multiple = 1,
    .shared_rows = ROWS,
    .limits = "a multiple of 4 rows, each a multiple of 64",
    .unit_bytes = unit_bytes,
    .decode = decode_r4,
    .encode = encode_r4,
};
