/* IQ1_BN: an fp16 scale for the row, then 64 weights in 13 bytes: four runs of 16, each three bytes of five trits and
 * one trit of the last byte. The first digit of a number is the least significant, so the digits come out last first.
 */
#include "formats/dialects/codec.h"

enum { BLOCK = 64, RUN = 16, RUNS = BLOCK / RUN, EXTRA = 3 * RUNS, BLOCK_BYTES = EXTRA + 1, SCALE = 2 };

/* The five trits of each byte in the low five bytes of a word: made here by the compiler, for the order of a row does
 * not lend itself to vectors. */
#define REST(byte, power) (((byte) * (power)) & 0xff)
#define TRIT(byte, power) ((uint64_t)(uint8_t)((REST(byte, power) > 85) + (REST(byte, power) > 170) - 1))
#define TRITS(byte)                                                                                                    \
  (TRIT(byte, 81) | TRIT(byte, 27) << 8 | TRIT(byte, 9) << 16 | TRIT(byte, 3) << 24 | TRIT(byte, 1) << 32)
#define TRITS_4(byte) TRITS(byte), TRITS((byte) + 1), TRITS((byte) + 2), TRITS((byte) + 3)
#define TRITS_16(byte) TRITS_4(byte), TRITS_4((byte) + 4), TRITS_4((byte) + 8), TRITS_4((byte) + 12)
#define TRITS_64(byte) TRITS_16(byte), TRITS_16((byte) + 16), TRITS_16((byte) + 32), TRITS_16((byte) + 48)
static const uint64_t five_trits[256] = {TRITS_64(0), TRITS_64(64), TRITS_64(128), TRITS_64(192)};

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows * (SCALE + columns / BLOCK * BLOCK_BYTES); }

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)row;
  memcpy(scales, unit, SCALE);
  unit += SCALE;
  for (uint64_t b = 0; b < columns / BLOCK; b++, unit += BLOCK_BYTES) {
    uint64_t extra = five_trits[unit[EXTRA]];
    for (int i = 0; i < RUNS; i++, trits += RUN) {
      uint64_t first = five_trits[unit[3 * i]], second = five_trits[unit[3 * i + 1]];
      uint64_t third = five_trits[unit[3 * i + 2]], last = extra >> (8 * i) & 0xff;
      tq_store_u64(trits, first | second << 40);
      tq_store_u64(trits + 8, second >> 24 | third << 16 | last << 56);
    }
  }
  return true;
}

/* The number whose digits are the low five bytes, the first the least significant: their products meet in byte 4 of the
 * product, and no byte below it carries. */
static uint8_t number_of(uint64_t digits) {
  const uint64_t powers = 81 | 27 << 8 | 9 << 16 | 3 << 24 | (uint64_t)1 << 32;
  return (uint8_t)((digits & 0xffffffffff) * powers >> 32);
}

static void encode_block(const int8_t *trits, uint8_t *bytes) {
  static const uint8_t powers[RUNS] = {1, 3, 9, 27};
  uint8_t last = 0;
  for (int i = 0; i < RUNS; i++, trits += RUN) {
    uint64_t low = tq_trits_to_codes(tq_load_u64(trits)), high = tq_trits_to_codes(tq_load_u64(trits + 8));
    bytes[3 * i] = tq_base3_byte(number_of(low));
    bytes[3 * i + 1] = tq_base3_byte(number_of(low >> 40 | high << 24));
    bytes[3 * i + 2] = tq_base3_byte(number_of(high >> 16));
    last = (uint8_t)(last + (high >> 56) * powers[i]);
  }
  bytes[EXTRA] = tq_base3_byte(last);
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  for (uint64_t r = 0; r < rows; r++) {
    memcpy(unit, scales + SCALE * r, SCALE);
    unit += SCALE;
    for (uint64_t b = 0; b < columns / BLOCK; b++, unit += BLOCK_BYTES, trits += BLOCK) encode_block(trits, unit);
  }
}

const tq_dialect tq_dialect_iq1_bn = {
    .name = "IQ1_BN",
    .carrier = "gguf",
    .origin = "ik_llama.cpp",
    .gguf_type = 134,
    .file_type = 136,
    .granularity = TQ_PER_ROW,
    .scale_encoding = TQ_F16,
    .is_base3 = true,
    .column_multiple = BLOCK,
    .row_multiple = 1,
    .element_multiple = 1,
    .shared_rows = 1,
    .limits = "rows of a multiple of 64",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};
