/* gate [size], up [size] -> y [size]
 * forward: y = silu(gate) * up (SwiGLU: Shazeer, "GLU Variants Improve Transformer" (2020), equation 6), or
 *          y = max(gate, 0)^2 * up (squared ReLU: So et al., "Primer" (2021), as BitNet b1.58 2B4T gates with it) */
#include "ops/ops.h"

void tq_op_gate_silu(const tq_kernels *kernels, const float *gate, const float *up, size_t size, float *y) {
  kernels->gate_silu(gate, up, y, size);
}

void tq_op_gate_squared_relu(const tq_kernels *kernels, const float *gate, const float *up, size_t size, float *y) {
  kernels->gate_squared_relu(gate, up, y, size);
}
