/* x [size], signs [size] -> y [size], in blocks of n = 2^k elements
 * forward: y = H (signs * x), H_ij = (-1)^popcount(i & j) / sqrt(n)
 * inverse: y = signs * (H x), for H is its own
 * The fast transform: Fino & Algazi, "Unified Matrix Treatment of the Fast Walsh-Hadamard Transform" (1976). */
#include "ops/ops.h"

#include <math.h>

/* Elements are scaled first, then pairs 1, 2, 4, ... apart become their sum and difference: so every sum is a binary
 * tree, whatever the processor. */
static void transform_block(float *x, size_t size) {
  float scale = 1.0f / sqrtf((float)size);
  for (size_t i = 0; i < size; i++) x[i] *= scale;
  for (size_t apart = 1; apart < size; apart *= 2) {
    for (size_t begin = 0; begin < size; begin += 2 * apart) {
      for (size_t i = begin; i < begin + apart; i++) {
        float a = x[i], b = x[i + apart];
        x[i] = a + b;
        x[i + apart] = a - b;
      }
    }
  }
}

static void flip(const tq_rotation *rotation, const float *x, size_t size, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = rotation->signs ? rotation->signs[i] * x[i] : x[i];
}

static void transform(const tq_rotation *rotation, float *x, size_t size) {
  for (size_t begin = 0; begin < size; begin += rotation->block) transform_block(x + begin, rotation->block);
}

void tq_op_rotate(const tq_rotation *rotation, const float *x, size_t size, float *y) {
  flip(rotation, x, size, y);
  transform(rotation, y, size);
}

void tq_op_rotate_back(const tq_rotation *rotation, const float *x, size_t size, float *y) {
  for (size_t i = 0; i < size; i++) y[i] = x[i];
  transform(rotation, y, size);
  flip(rotation, y, size, y);
}
