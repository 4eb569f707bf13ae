/* The functions that need the instruction smmla; neon.c calls them only where the processor has it. */
#if defined(__aarch64__)
#include "kernels/neon_tiles.h"

enum { PAIRS = 2 * NEON_QUADS /* of rows */ };

void tq_neon_multiply_pairs(const int8_t *weights, const int8_t *vectors, size_t lines,
                            int32x4_t sums[NEON_VECTORS][NEON_QUADS]) {
  int32x4_t low[PAIRS], high[PAIRS]; /* two rows with vectors 0 and 1, with vectors 2 and 3; a vector is a half */
  for (size_t pair = 0; pair < PAIRS; pair++) low[pair] = high[pair] = vdupq_n_s32(0);
  for (size_t i = 0; i < lines; i += 2, weights += 2 * NEON_LINE, vectors += 32) {
    int8x16_t first = vld1q_s8(vectors), second = vld1q_s8(vectors + 16);
    for (size_t pair = 0; pair < PAIRS; pair++) {
      int8x16_t rows = vld1q_s8(weights + 16 * pair);
      low[pair] = vmmlaq_s32(low[pair], first, rows);
      high[pair] = vmmlaq_s32(high[pair], second, rows);
    }
  }
  for (size_t quad = 0; quad < NEON_QUADS; quad++) {
    int64x2_t a = vreinterpretq_s64_s32(low[2 * quad]), b = vreinterpretq_s64_s32(low[2 * quad + 1]);
    int64x2_t c = vreinterpretq_s64_s32(high[2 * quad]), d = vreinterpretq_s64_s32(high[2 * quad + 1]);
    sums[0][quad] = vaddq_s32(sums[0][quad], vreinterpretq_s32_s64(vzip1q_s64(a, b)));
    sums[1][quad] = vaddq_s32(sums[1][quad], vreinterpretq_s32_s64(vzip2q_s64(a, b)));
    sums[2][quad] = vaddq_s32(sums[2][quad], vreinterpretq_s32_s64(vzip1q_s64(c, d)));
    sums[3][quad] = vaddq_s32(sums[3][quad], vreinterpretq_s32_s64(vzip2q_s64(c, d)));
  }
}

uint64_t tq_neon_measure_pairs(size_t rounds, int32_t *sum) {
  enum { REGISTERS = 16, PRODUCTS = 32 };
  int32x4_t sums[REGISTERS], all = vdupq_n_s32(0);
  int8x16_t rows = vdupq_n_s8((int8_t)(rounds & 1)), vectors = vdupq_n_s8((int8_t)(rounds & 3));
  for (size_t i = 0; i < REGISTERS; i++) sums[i] = vdupq_n_s32((int32_t)i);
  for (size_t round = 0; round < rounds; round++)
    for (size_t i = 0; i < REGISTERS; i++) sums[i] = vmmlaq_s32(sums[i], rows, vectors);
  for (size_t i = 0; i < REGISTERS; i++) all = vaddq_s32(all, sums[i]);
  *sum = vaddvq_s32(all);
  return (uint64_t)rounds * REGISTERS * PRODUCTS;
}

#endif
