/* "model_args": how llama2.c's training script says what the model in its checkpoint is. */
#ifndef TQ_FORMATS_PYTORCH_MODEL_ARGS_H
#define TQ_FORMATS_PYTORCH_MODEL_ARGS_H

#include "formats/pytorch/state.h"

typedef struct tq_model_args {
  uint32_t dimension, layers, heads, kv_heads, vocabulary, context, feed_forward, rope_dimensions;
  float norm_epsilon, rope_base;
} tq_model_args;

/* Reads the arguments, with llama2.c's defaults; vocabulary and feed-forward width are those of the tensors. A missing
 * or impossible one, or one that is not understood and not off, is TQ_ERROR_CORRUPT. */
tq_status tq_model_args_read(const tq_state *state, tq_model_args *arguments, tq_error *error);

/* The same as metadata with GGUF's keys. */
tq_status tq_model_args_describe(const tq_model_args *arguments, tq_metadata_builder *builder, tq_error *error);

#endif
