/* The innermost product of many vectors on AArch64: with sdot on every processor that has the NEON kernels, with smmla
 * where it is there. */
#ifndef TQ_KERNELS_NEON_TILES_H
#define TQ_KERNELS_NEON_TILES_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

enum {
  NEON_LINE = 64, /* bytes: 4 columns of the 16 rows of a panel */
  NEON_QUADS = 4, /* registers in a line, each of 4 rows */
  NEON_VECTORS = 4
};

/* sums[t][quad] += lines of a panel times four vectors. A line of those is 4 columns of each vector. */
typedef void (*neon_multiply)(const int8_t *weights, const int8_t *vectors, size_t lines,
                              int32x4_t sums[NEON_VECTORS][NEON_QUADS]);

/* smmla takes two lines at once (an odd last one is followed by a line of zeros of the vectors): 8 columns of each
 * vector, and of two rows in each register of weights, rows in order. */
void tq_neon_multiply_pairs(const int8_t *weights, const int8_t *vectors, size_t lines,
                            int32x4_t sums[NEON_VECTORS][NEON_QUADS]);
uint64_t tq_neon_measure_pairs(size_t rounds, int32_t *sum);

#endif
