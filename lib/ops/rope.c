/* frequencies [pairs], position -> cosines [pairs], sines [pairs], by which the kernel `rope` turns a head
 * forward: c_i = magnitude * cos(position * frequency_i), s_i alike
 * Su et al., "RoFormer" (2021), section 3.4.2, with the pairs half a head apart as Hugging Face has them. */
#include "ops/ops.h"

#include <math.h>

/* Angles grow with the position, so they are taken in double and rounded once: at position 100000 an angle in float
 * would be off by up to 0.004. */
void tq_op_rope_angles(const double *frequencies, size_t pairs, uint32_t position, double magnitude, float *cosines,
                       float *sines) {
  for (size_t i = 0; i < pairs; i++) {
    double angle = (double)position * frequencies[i];
    cosines[i] = (float)(cos(angle) * magnitude);
    sines[i] = (float)(sin(angle) * magnitude);
  }
}
