/* Small models with random weights, written as .tq files, and the same models computed naively in double. */
#ifndef TQ_TESTS_RANDOM_MODEL_H
#define TQ_TESTS_RANDOM_MODEL_H

#include "tq/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the matrices of the layers are encoded; embedding and head too where the encoding is not ternary. The file's
 * names of tensors are their roles. */
typedef struct random_encoding {
  const char *name;
  uint32_t encoding;
  uint32_t scale_encoding, granularity, group, direction; /* ternary codes and I8 */
} random_encoding;

typedef struct random_spec {
  const char *architecture;
  uint32_t layers, dimension, feed_forward, heads, kv_heads, head_dimension, vocabulary, context;
  uint32_t rope_dimensions; /* 0: the head's */
  bool tied, biases, output_scales;
  bool ternary_ends; /* embedding and head too are encoded as `encoding` says, where it is ternary */
  random_encoding encoding;
  /* Of the naive model, not written: what its ternary weights meet (0: floats), and how it keeps keys and values. */
  tq_activations activations;
  tq_cache_type cache;
  const char *rope_type; /* NULL: none */
  float rope_factor;
  bool rope_tensor; /* random factors as a tensor */
  uint64_t seed;
  /* Damage: */
  const char *leave_out;                   /* role */
  const char *misshape;                    /* role: one column or element more */
  const char *extra;                       /* role of a tensor that nothing asks for */
  const char *low_rank;                    /* role that gets low-rank parts */
  const char *leave_out_key, *replace_key; /* metadata; replaced by the string "no" */
  const char *add_u32_key;
  uint32_t add_u32_value;
  /* Adds metadata of the test's own. */
  void (*add_keys)(tq_metadata_builder *keys);
  /* Changes what is written of F32 matrices, not what the naive model computes with. */
  void (*fold)(const char *role, uint64_t rows, uint64_t columns, float *values);
} random_spec;

typedef struct random_tensor {
  char role[64];
  uint64_t rows, columns;
  float *values; /* the exact weights */
} random_tensor;

typedef struct random_model {
  random_spec spec;
  random_tensor *tensors;
  size_t tensor_count;
} random_model;

/* Makes the model and writes it to `path`. */
random_model *random_model_write(const random_spec *spec, const char *path);
void random_model_free(random_model *model);

/* The exact weights of a role, or NULL. */
const float *random_model_weights(const random_model *model, const char *role);

/* Logits [count][vocabulary] of a sequence, by the definitions, in double, without a cache. `frequencies` are RoPE's
 * [rope_dimensions / 2], `magnitude` the factor of its cosines and sines. */
void random_model_logits(const random_model *model, const uint32_t *tokens, size_t count, const double *frequencies,
                         double magnitude, double *logits);

#endif
