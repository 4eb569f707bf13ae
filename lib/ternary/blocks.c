/* The foreign block types that can be decoded: a table, and how each one's numbers come about. Every product and
 * difference is rounded for itself, in the order that the expressions show. */
#include "tq/encoding.h"

#include "base/bytes.h"
#include "tq/ternary.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum {
  Q8_0_ELEMENTS = 32,
  Q8_0_BYTES = 34,
  Q4_0_ELEMENTS = 32,
  Q4_0_BYTES = 18,
  K_ELEMENTS = 256,
  Q4_K_BYTES = 144,
  Q6_K_BYTES = 210
};

/* ---- numbers that are not finite ---- */

static float with_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float quiet(float nan) {
  uint32_t bits;
  memcpy(&bits, &nan, sizeof bits);
  return with_bits(bits | 0x00400000u);
}

/* Which NaN an operation gives is the processor's affair; a block's NaNs are made the same on all: d where it is one,
 * else m where that is one, else what x86-64 makes of infinity times 0 or less itself. */
static void settle_nans(float d, float m, float *values, size_t count) {
  if (isfinite(d) && isfinite(m)) return;
  float nan = isnan(d) ? quiet(d) : isnan(m) ? quiet(m) : with_bits(0xffc00000u);
  for (size_t i = 0; i < count; i++)
    if (isnan(values[i])) values[i] = nan;
}

/* ---- blocks of 32 ---- */

/* An F16 scale, then 32 signed bytes. */
static void decode_q8_0(const void *blocks, uint64_t block_count, float *values) {
  const uint8_t *block = blocks;
  for (uint64_t b = 0; b < block_count; b++, block += Q8_0_BYTES, values += Q8_0_ELEMENTS) {
    float d = tq_f16_to_f32(tq_load_u16(block));
    for (size_t i = 0; i < Q8_0_ELEMENTS; i++) values[i] = d * (float)(int8_t)block[2 + i];
    settle_nans(d, 0.0f, values, Q8_0_ELEMENTS);
  }
}

/* An F16 scale, then 16 bytes: element i is the low half of byte i, element 16 + i its high half, less 8. */
static void decode_q4_0(const void *blocks, uint64_t block_count, float *values) {
  const uint8_t *block = blocks;
  for (uint64_t b = 0; b < block_count; b++, block += Q4_0_BYTES, values += Q4_0_ELEMENTS) {
    float d = tq_f16_to_f32(tq_load_u16(block));
    for (size_t i = 0; i < Q4_0_ELEMENTS / 2; i++) {
      values[i] = d * (float)((block[2 + i] & 15) - 8);
      values[Q4_0_ELEMENTS / 2 + i] = d * (float)((block[2 + i] >> 4) - 8);
    }
    settle_nans(d, 0.0f, values, Q4_0_ELEMENTS);
  }
}

/* ---- blocks of 256 ---- */

/* Eight scales and eight minima of 6 bits in 12 bytes. Of the first four each has the low 6 bits of a byte (bytes 0-3
 * and 4-7); of the others the low 4 bits are a half of bytes 8-11, and the high 2 bits the top of bytes 0-3 and 4-7. */
static uint32_t scale_of_six_bits(const uint8_t *packed, size_t run) {
  return run < 4 ? packed[run] & 63u : (packed[4 + run] & 15u) | (uint32_t)(packed[run - 4] >> 6 << 4);
}

static uint32_t minimum_of_six_bits(const uint8_t *packed, size_t run) {
  return run < 4 ? packed[4 + run] & 63u : (uint32_t)(packed[4 + run] >> 4) | (uint32_t)(packed[run] >> 6 << 4);
}

/* F16 d and m, 12 bytes of scales and minima for runs of 32 elements, 128 bytes of halves: the low halves of each 32
 * bytes are one run, their high halves the next. */
static void decode_q4_k(const void *blocks, uint64_t block_count, float *values) {
  const uint8_t *block = blocks;
  for (uint64_t b = 0; b < block_count; b++, block += Q4_K_BYTES, values += K_ELEMENTS) {
    float d = tq_f16_to_f32(tq_load_u16(block)), m = tq_f16_to_f32(tq_load_u16(block + 2));
    for (size_t run = 0; run < 8; run++) {
      const uint8_t *bytes = block + 16 + run / 2 * 32;
      unsigned shift = run % 2 ? 4 : 0;
      float scale = d * (float)scale_of_six_bits(block + 4, run);
      float minimum = m * (float)minimum_of_six_bits(block + 4, run);
      for (size_t i = 0; i < 32; i++) values[32 * run + i] = scale * (float)(bytes[i] >> shift & 15) - minimum;
    }
    settle_nans(d, m, values, K_ELEMENTS);
  }
}

/* 128 bytes of low halves, 64 bytes of high quarters, 16 signed scales, one for 16 elements, and F16 d. Each half of
 * the block has 64 bytes of low halves, of which the second run of 32 elements is in bytes 32-63 and the last two are
 * in the high halves, and 32 bytes of high quarters, a quarter of each byte for each run; a number is 32 less. */
static void decode_q6_k(const void *blocks, uint64_t block_count, float *values) {
  const uint8_t *block = blocks;
  for (uint64_t b = 0; b < block_count; b++, block += Q6_K_BYTES, values += K_ELEMENTS) {
    float d = tq_f16_to_f32(tq_load_u16(block + 208));
    for (size_t run = 0; run < 8; run++) {
      const uint8_t *low = block + run / 4 * 64 + run % 2 * 32, *high = block + 128 + run / 4 * 32;
      unsigned low_shift = run % 4 < 2 ? 0 : 4, high_shift = 2 * (run % 4);
      for (size_t i = 0; i < 32; i++) {
        int number = ((low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4) - 32;
        values[32 * run + i] = d * (float)(int8_t)block[192 + 2 * run + i / 16] * (float)number;
      }
    }
    settle_nans(d, 0.0f, values, K_ELEMENTS);
  }
}

static const tq_block_type block_types[] = {
    {"Q4_0", Q4_0_ELEMENTS, Q4_0_BYTES, decode_q4_0},
    {"Q8_0", Q8_0_ELEMENTS, Q8_0_BYTES, decode_q8_0},
    {"Q4_K", K_ELEMENTS, Q4_K_BYTES, decode_q4_k},
    {"Q6_K", K_ELEMENTS, Q6_K_BYTES, decode_q6_k},
};

const tq_block_type *tq_block_type_find(const char *name) {
  for (size_t i = 0; i < sizeof block_types / sizeof *block_types; i++)
    if (strcmp(block_types[i].name, name) == 0) return &block_types[i];
  return NULL;
}
