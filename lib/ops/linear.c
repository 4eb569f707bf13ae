/* x [count][columns], W [rows][columns] as encoded, bias [rows] -> y [count][rows]
 * forward: y = scale * (W x) + bias */
#include "ops/ops.h"

void tq_op_linear(const tq_kernels *kernels, const tq_linear *linear, uint64_t begin, uint64_t end, const float *x,
                  size_t count, float *y, float *scratch) {
  kernels->linear_rows(&linear->weights, begin, end, x, count, y, scratch);
  if (linear->output_scale == 1.0f && !linear->bias) return;
  for (size_t t = 0; t < count; t++) {
    float *output = y + t * linear->weights.rows;
    for (uint64_t row = begin; row < end; row++) {
      output[row] *= linear->output_scale;
      if (linear->bias) output[row] += linear->bias[row];
    }
  }
}
