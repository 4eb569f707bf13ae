/* TQ2_0: 256 weights in 64 bytes of 2-bit codes and an fp16 scale. llama.cpp computes with code 3 as +2. */
#include "formats/dialects/codec.h"

enum { BLOCK = 256, HALF = 128, SPAN = 32, CODES = 2 * SPAN, BLOCK_BYTES = CODES + 2 };

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows * (columns / BLOCK) * BLOCK_BYTES; }

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  for (uint64_t b = 0; b < columns / BLOCK; b++, unit += BLOCK_BYTES, trits += BLOCK) {
    tq_planes_decode(unit, SPAN, trits);
    tq_planes_decode(unit + SPAN, SPAN, trits + HALF);
    memcpy(scales + 2 * b, unit + CODES, 2);
  }
  return true;
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  for (uint64_t b = 0; b < rows * (columns / BLOCK); b++, unit += BLOCK_BYTES, trits += BLOCK) {
    tq_planes_encode(trits, SPAN, unit);
    tq_planes_encode(trits + HALF, SPAN, unit + SPAN);
    memcpy(unit + CODES, scales + 2 * b, 2);
  }
}

const tq_dialect tq_dialect_tq2_0 = {
    .name = "TQ2_0",
    .carrier = "gguf",
    .origin = "llama.cpp",
    .gguf_type = 35,
    .file_type = 37,
    .granularity = TQ_PER_GROUP,
    .group = BLOCK,
    .scale_encoding = TQ_F16,
    .four_valued = true,
    .column_multiple = BLOCK,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 256",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};
