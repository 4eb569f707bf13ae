/* RoPE's parameters as numbers: what hyperparameters stand for when the model runs. */
#ifndef TQ_MODEL_FUNCTION_H
#define TQ_MODEL_FUNCTION_H

#include "tq/model.h"

enum { TQ_MOST_HEAD_DIMENSION = 4096 }; /* published models have at most 576 */

/* What YaRN multiplies cosines and sines by when the model does not say: 0.1 ln(factor) + 1. */
float tq_yarn_attention_factor(float factor);
/* The factor of cosines and sines: 1 but for YaRN. */
float tq_rope_magnitude(const tq_hyperparameters *hyperparameters);
/* base^(-2i / rope_dimensions) / factors[i], for i below rope_dimensions / 2. */
void tq_rope_frequencies(const tq_hyperparameters *hyperparameters, const float *factors, double *frequencies);

#endif
