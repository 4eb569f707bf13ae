/* What the dialects' files share: the table's rows, and the loops over packed bytes.
 *
 * Most layouts are planar: the weights that share a byte lie a span of bytes apart. The loops are written a byte at a
 * time with a constant span, so that a compiler turns them into vector code. */
#ifndef TQ_FORMATS_DIALECTS_CODEC_H
#define TQ_FORMATS_DIALECTS_CODEC_H

#include "base/bytes.h"
#include "formats/dialects/dialect.h"

extern const tq_dialect tq_dialect_iq1_bn;
extern const tq_dialect tq_dialect_tq1_0;
extern const tq_dialect tq_dialect_ptq1_0;
extern const tq_dialect tq_dialect_i2_s;
extern const tq_dialect tq_dialect_i2_s_arm;
extern const tq_dialect tq_dialect_i2_s_rows;
extern const tq_dialect tq_dialect_iq2_bn;
extern const tq_dialect tq_dialect_iq2_bn_r4;
extern const tq_dialect tq_dialect_tq2_0;
extern const tq_dialect tq_dialect_pq2_0;
extern const tq_dialect tq_dialect_q2_0_g128;
extern const tq_dialect tq_dialect_q2_0;
extern const tq_dialect tq_dialect_bitlinear;
extern const tq_dialect tq_dialect_autobitlinear;
extern const tq_dialect tq_dialect_bf16;
extern const tq_dialect tq_dialect_f16;
extern const tq_dialect tq_dialect_f32;

/* ---- base-3 ---- */

enum { TQ_BASE3_CODES = 243 };

/* The first digit of what is left of a byte, less one. The digit is 3 * rest >> 8, which these comparisons equal for
 * every byte; ik_llama.cpp's (rest + rest / 2) >> 7 is the same function. */
static inline int8_t tq_base3_trit(uint8_t rest) { return (int8_t)((rest > 85) + (rest > 170) - 1); }

static inline uint8_t tq_base3_byte(uint8_t number) {
  return (uint8_t)((uint16_t)(256 * number + TQ_BASE3_CODES - 1) / TQ_BASE3_CODES);
}

/* Five planes of `span` trits from `span` bytes. */
static inline void tq_base3_decode(const uint8_t *restrict bytes, size_t span, int8_t *restrict trits) {
  for (size_t m = 0; m < span; m++) {
    uint8_t rest = bytes[m];
    trits[m] = tq_base3_trit(rest);
    trits[span + m] = tq_base3_trit(rest = (uint8_t)(rest * 3));
    trits[2 * span + m] = tq_base3_trit(rest = (uint8_t)(rest * 3));
    trits[3 * span + m] = tq_base3_trit(rest = (uint8_t)(rest * 3));
    trits[4 * span + m] = tq_base3_trit((uint8_t)(rest * 3));
  }
}

static inline void tq_base3_encode(const int8_t *restrict trits, size_t span, uint8_t *restrict bytes) {
  for (size_t m = 0; m < span; m++) {
    uint8_t number = (uint8_t)(trits[m] + 1);
    number = (uint8_t)(number * 3 + trits[span + m] + 1);
    number = (uint8_t)(number * 3 + trits[2 * span + m] + 1);
    number = (uint8_t)(number * 3 + trits[3 * span + m] + 1);
    number = (uint8_t)(number * 3 + trits[4 * span + m] + 1);
    bytes[m] = tq_base3_byte(number);
  }
}

/* The same with four planes, the fifth digit being 0. */
static inline void tq_base3_decode_4(const uint8_t *restrict bytes, size_t span, int8_t *restrict trits) {
  for (size_t m = 0; m < span; m++) {
    uint8_t rest = bytes[m];
    trits[m] = tq_base3_trit(rest);
    trits[span + m] = tq_base3_trit(rest = (uint8_t)(rest * 3));
    trits[2 * span + m] = tq_base3_trit(rest = (uint8_t)(rest * 3));
    trits[3 * span + m] = tq_base3_trit((uint8_t)(rest * 3));
  }
}

static inline void tq_base3_encode_4(const int8_t *restrict trits, size_t span, uint8_t *restrict bytes) {
  for (size_t m = 0; m < span; m++) {
    uint8_t number = (uint8_t)(trits[m] + 1);
    number = (uint8_t)(number * 3 + trits[span + m] + 1);
    number = (uint8_t)(number * 3 + trits[2 * span + m] + 1);
    number = (uint8_t)(number * 3 + trits[3 * span + m] + 1);
    bytes[m] = tq_base3_byte((uint8_t)(number * 3));
  }
}

/* ---- 2-bit ---- */

/* Four planes of `span` trits from `span` bytes: plane k is bits 2k..2k+1 of each. */
static inline void tq_planes_decode(const uint8_t *restrict bytes, size_t span, int8_t *restrict trits) {
  for (size_t m = 0; m < span; m++) {
    uint8_t byte = bytes[m];
    trits[m] = (int8_t)((byte & 3) - 1);
    trits[span + m] = (int8_t)((byte >> 2 & 3) - 1);
    trits[2 * span + m] = (int8_t)((byte >> 4 & 3) - 1);
    trits[3 * span + m] = (int8_t)((byte >> 6) - 1);
  }
}

static inline void tq_planes_encode(const int8_t *restrict trits, size_t span, uint8_t *restrict bytes) {
  for (size_t m = 0; m < span; m++) {
    uint8_t low = (uint8_t)((trits[m] + 1) | (trits[span + m] + 1) << 2);
    uint8_t high = (uint8_t)((trits[2 * span + m] + 1) | (trits[3 * span + m] + 1) << 2);
    bytes[m] = (uint8_t)(low | high << 4);
  }
}

/* One plane alone; its shift is a constant in each loop, or a compiler would widen the bytes. */
static inline void tq_plane_decode(const uint8_t *restrict bytes, uint64_t count, uint32_t plane,
                                   int8_t *restrict trits) {
  switch (plane) {
  case 0:
    for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)((bytes[i] & 3) - 1);
    break;
  case 1:
    for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)((bytes[i] >> 2 & 3) - 1);
    break;
  case 2:
    for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)((bytes[i] >> 4 & 3) - 1);
    break;
  default:
    for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)((bytes[i] >> 6) - 1);
  }
}

/* The same from the highest bits down: plane k is bits 6-2k..7-2k. */
static inline void tq_planes_decode_high(const uint8_t *restrict bytes, size_t span, int8_t *restrict trits) {
  for (size_t m = 0; m < span; m++) {
    uint8_t byte = bytes[m];
    trits[m] = (int8_t)((byte >> 6) - 1);
    trits[span + m] = (int8_t)((byte >> 4 & 3) - 1);
    trits[2 * span + m] = (int8_t)((byte >> 2 & 3) - 1);
    trits[3 * span + m] = (int8_t)((byte & 3) - 1);
  }
}

static inline void tq_planes_encode_high(const int8_t *restrict trits, size_t span, uint8_t *restrict bytes) {
  for (size_t m = 0; m < span; m++) {
    uint8_t high = (uint8_t)((trits[m] + 1) << 2 | (trits[span + m] + 1));
    uint8_t low = (uint8_t)((trits[2 * span + m] + 1) << 2 | (trits[3 * span + m] + 1));
    bytes[m] = (uint8_t)(high << 4 | low);
  }
}

/* Eight codes 0..3 in the bytes of a word to eight trits less by one, and back; no byte touches its neighbour. */
static inline uint64_t tq_codes_to_trits(uint64_t codes) {
  const uint64_t top = 0x8080808080808080, one = 0x0101010101010101;
  return ((codes | top) - one) ^ top;
}

static inline uint64_t tq_trits_to_codes(uint64_t trits) {
  const uint64_t top = 0x8080808080808080, one = 0x0101010101010101;
  return ((trits ^ top) + one) ^ top;
}

/* True when none of the values, all from -1 to +2, is +2. */
static inline bool tq_all_are_trits(const int8_t *trits, uint64_t count) {
  uint64_t found = 0, i = 0;
  for (; i + 8 <= count; i += 8) {
    uint64_t eight;
    memcpy(&eight, trits + i, sizeof eight);
    found |= eight & ~(eight >> 6); /* bit 1 without bit 7 */
  }
  bool is_two = (found & 0x0202020202020202) != 0;
  for (; i < count; i++) is_two |= trits[i] == 2;
  return !is_two;
}

#endif
