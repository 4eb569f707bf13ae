/* logits [size], target -> -log softmax(logits)[target]
 * forward: log(sum(exp(logits - largest))) - (logits[target] - largest), summed in double in order of the index */
#include "ops/ops.h"

#include <math.h>

double tq_op_cross_entropy(const float *logits, size_t size, size_t target) {
  float largest = logits[0];
  for (size_t i = 1; i < size; i++) largest = logits[i] > largest ? logits[i] : largest;
  double sum = exp((double)logits[0] - (double)largest);
  for (size_t i = 1; i < size; i++) sum += exp((double)logits[i] - (double)largest);
  return log(sum) - ((double)logits[target] - (double)largest);
}
