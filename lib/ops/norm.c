/* x [size], weight [size] -> y [size]
 * forward: y = (x * r) * weight, r = 1 / sqrt(mean(x^2) + epsilon)
 * Zhang & Sennrich, "Root Mean Square Layer Normalization" (2019), equation 4, with LLaMA's epsilon under the root. */
#include "ops/ops.h"

#include <math.h>

void tq_op_rms_norm(const tq_kernels *kernels, const float *x, const float *weight, size_t size, float epsilon,
                    float *y) {
  float mean = kernels->dot(x, x, size) / (float)size;
  float r = 1.0f / sqrtf(mean + epsilon);
  for (size_t i = 0; i < size; i++) y[i] = (x[i] * r) * weight[i];
}
