/* PTQ1_0: 128 weights in 24 bytes of five trits, 2 bytes of four, and an fp16 scale. */
#include "formats/dialects/codec.h"

enum {
  BLOCK = 128,
  WIDE = 16,            /* the first bytes: planes of 16 */
  NARROW = 8,           /* the next: planes of 8 */
  LAST = 2,             /* the last: four planes of 2 */
  NARROW_AT = 5 * WIDE, /* the first weight of each */
  LAST_AT = NARROW_AT + 5 * NARROW,
  CODES = WIDE + NARROW + LAST,
  BLOCK_BYTES = CODES + 2
};

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows * (columns / BLOCK) * BLOCK_BYTES; }

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  for (uint64_t b = 0; b < columns / BLOCK; b++, unit += BLOCK_BYTES, trits += BLOCK) {
    tq_base3_decode(unit, WIDE, trits);
    tq_base3_decode(unit + WIDE, NARROW, trits + NARROW_AT);
    tq_base3_decode_4(unit + WIDE + NARROW, LAST, trits + LAST_AT);
    memcpy(scales + 2 * b, unit + CODES, 2);
  }
  return true;
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  for (uint64_t b = 0; b < rows * (columns / BLOCK); b++, unit += BLOCK_BYTES, trits += BLOCK) {
    tq_base3_encode(trits, WIDE, unit);
    tq_base3_encode(trits + NARROW_AT, NARROW, unit + WIDE);
    tq_base3_encode_4(trits + LAST_AT, LAST, unit + WIDE + NARROW);
    memcpy(unit + CODES, scales + 2 * b, 2);
  }
}

const tq_dialect tq_dialect_ptq1_0 = {
    .name = "PTQ1_0",
    .carrier = "gguf",
    .origin = "PrismML",
    .gguf_type = 143,
    .file_type = 143,
    .granularity = TQ_PER_GROUP,
    .group = BLOCK,
    .scale_encoding = TQ_F16,
    .is_base3 = true,
    .column_multiple = BLOCK,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 128",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};
