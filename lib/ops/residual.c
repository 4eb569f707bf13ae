/* stream [size], x [size] -> stream + x
 * forward: He et al., "Deep Residual Learning" (2015), equation 1 */
#include "ops/ops.h"

void tq_op_residual(float *stream, const float *x, size_t size) {
  for (size_t i = 0; i < size; i++) stream[i] += x[i];
}
