/* query [size], keys [positions][size], values [positions][size] -> y [size]: one head of one token
 * forward: p = softmax(scale * K q), y = p V
 * Vaswani et al., "Attention Is All You Need" (2017), equation 1. */
#include "ops/ops.h"

#include <string.h>

/* The largest score is taken off before exp, so that nothing overflows; the sum divides once, at the end. */
void tq_op_attention(const tq_kernels *kernels, const float *query, const float *keys, const float *values,
                     size_t positions, size_t size, float scale, float *y, float *scratch) {
  float largest = 0.0f;
  for (size_t p = 0; p < positions; p++) {
    scratch[p] = kernels->dot(query, keys + p * size, size) * scale;
    if (p == 0 || scratch[p] > largest) largest = scratch[p];
  }
  float sum = kernels->exponentials(scratch, largest, scratch, positions);
  memset(y, 0, size * sizeof *y);
  for (size_t p = 0; p < positions; p++) kernels->add_scaled(y, values + p * size, scratch[p], size);
  float share = 1.0f / sum;
  for (size_t i = 0; i < size; i++) y[i] *= share;
}
