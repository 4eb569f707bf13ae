/* Models: hyperparameters, the forward pass over a mapped file, and sampling.
 *
 * A model is immutable and shared by threads; a session holds everything that changes. */
#ifndef TQ_MODEL_H
#define TQ_MODEL_H

#include "tq/container.h"
#include "tq/error.h"
#include "tq/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum tq_rope_scaling { TQ_ROPE_NONE, TQ_ROPE_LINEAR, TQ_ROPE_LLAMA3, TQ_ROPE_YARN } tq_rope_scaling;

typedef enum tq_gate { TQ_GATE_SILU, TQ_GATE_SQUARED_RELU } tq_gate;

/* What the canonical metadata says of a model's shape and function; the names are GGUF's. */
typedef struct tq_hyperparameters {
  char architecture[64];    /* general.architecture: "llama", "bitnet", ... */
  uint32_t layers;          /* block_count */
  uint32_t dimension;       /* embedding_length */
  uint32_t feed_forward;    /* feed_forward_length */
  uint32_t heads, kv_heads; /* attention.head_count, head_count_kv */
  uint32_t head_dimension;  /* attention.key_length, or dimension / heads */
  uint32_t vocabulary;      /* vocab_size, or the number of tokens listed; 0: the embedding decides */
  uint32_t context;         /* context_length: the longest sequence it was trained for */
  float norm_epsilon;       /* attention.layer_norm_rms_epsilon */
  uint32_t rope_dimensions; /* rope.dimension_count */
  float rope_base;          /* rope.freq_base, 10000 by default */
  tq_rope_scaling rope_scaling;
  float rope_factor; /* rope.scaling.factor */
  uint32_t rope_original_context;
  float rope_low_frequency_factor, rope_high_frequency_factor; /* llama3 */
  float rope_beta_fast, rope_beta_slow, rope_attention_factor; /* yarn; attention factor 0: computed */
  tq_gate gate;
  bool sub_norms;              /* RMSNorm before o and before down (BitNet) */
  bool qk_norms;               /* RMSNorm of each head of q and k before RoPE (Qwen3) */
  bool tied_head;              /* no head of its own */
  bool rotated;                /* weights are folded with a rotation (prism.hadamard.*) */
  uint8_t rotation_digest[16]; /* of all that these keys say; zero where there are none */
} tq_hyperparameters;

/* Reads them from metadata with GGUF's keys. TQ_ERROR_CORRUPT for an architecture that is unknown or cannot be run
 * (named), a missing key, zero, values that contradict each other, or a rotation that is not understood. `tied_head` is
 * left false. */
tq_status tq_hyperparameters_read(const tq_metadata *metadata, tq_hyperparameters *hyperparameters, tq_error *error);
/* What RoPE's frequencies are divided by: rope_dimensions / 2 floats. 1 without scaling; for linear, llama3 and yarn by
 * their formulas (in double, rounded once). A model with a tensor "rope_factors" (GGUF's form of llama3 scaling) uses
 * that instead. */
void tq_rope_factors(const tq_hyperparameters *hyperparameters, float *factors);
/* XXH3-128 over everything that decides which logits a sequence gets (docs/format.md, "Digests"): RoPE enters as its
 * factors, so that llama3 scaling is the same whether it came as parameters or as a tensor. The context length is a
 * limit, not part of the function. `rope_factors` is the tensor's values, or NULL when the model has none. */
void tq_function_digest(const tq_hyperparameters *hyperparameters, const float *rope_factors, uint8_t digest[16]);

typedef struct tq_model tq_model;

/* Binds the file's tensors to an architecture. The file must outlive the model and be opened before; every role is
 * checked for presence and shape. TQ_ERROR_CORRUPT too for latent weights (tq.latent), which are not what the model
 * computes with. */
tq_status tq_model_create(const tq_file *file, tq_model **model, tq_error *error);
void tq_model_destroy(tq_model *model); /* NULL is allowed */
const tq_hyperparameters *tq_model_hyperparameters(const tq_model *model);
/* NULL when the file has no tokenizer. */
const tq_tokenizer *tq_model_tokenizer(const tq_model *model);

typedef struct tq_session tq_session;

/* What the weights of a linear layer meet where they are trit codes alone; other weights meet floats. */
typedef enum tq_activations {
  TQ_ACTIVATIONS_RECORDED = 0, /* what the metadata's tq.activations says; float where it says nothing */
  TQ_ACTIVATIONS_FLOAT,        /* the floats themselves: the reference */
  TQ_ACTIVATIONS_INT8_TOKEN,   /* 8-bit integers with one scale for a token's whole vector */
  TQ_ACTIVATIONS_INT8_BLOCK    /* 8-bit integers with a scale for each 32 consecutive numbers */
} tq_activations;

/* "float", "int8-token" or "int8-block"; false for another name. */
bool tq_activations_by_name(const char *name, tq_activations *activations);
/* The name, "recorded" for TQ_ACTIVATIONS_RECORDED. */
const char *tq_activations_name(tq_activations activations);

/* How a session keeps keys and values. */
typedef enum tq_cache_type {
  TQ_CACHE_F16 = 0, /* as 16-bit floats */
  TQ_CACHE_Q8       /* as 8-bit integers with a scale for each head of each position: half the memory */
} tq_cache_type;

/* "f16" or "q8"; false for another name. */
bool tq_cache_type_by_name(const char *name, tq_cache_type *type);
const char *tq_cache_type_name(tq_cache_type type);

/* More tokens in a call take memory, and hardly make it faster. */
enum { TQ_DEFAULT_BATCH = 128 };

typedef struct tq_session_options {
  uint32_t context;           /* positions held per sequence; 0: the model's own */
  uint32_t sequences;         /* 0: one */
  uint32_t batch;             /* most tokens in one call; 0: TQ_DEFAULT_BATCH */
  uint32_t threads;           /* 0: one per processor */
  tq_activations activations; /* what ternary weights meet */
  tq_cache_type cache;        /* how keys and values are kept */
} tq_session_options;

/* TQ_ERROR_SYSTEM when the sizes do not fit in memory, TQ_ERROR_USAGE when $TQ_CPU names kernels that there are not,
 * TQ_ERROR_CORRUPT when rows are too long for sums of 8-bit products. */
tq_status tq_session_create(const tq_model *model, const tq_session_options *options, tq_session **session,
                            tq_error *error);
void tq_session_destroy(tq_session *session); /* NULL is allowed */
uint32_t tq_session_context(const tq_session *session);
/* What its weights meet: never TQ_ACTIVATIONS_RECORDED. */
tq_activations tq_session_activations(const tq_session *session);
tq_cache_type tq_session_cache(const tq_session *session);
/* Forgets positions >= `from` of a sequence. */
void tq_session_truncate(tq_session *session, uint32_t sequence, uint32_t from);

/* A batch of tokens, each with its place. Positions of one sequence must follow on from what the session holds. */
typedef struct tq_batch {
  size_t count;
  const uint32_t *tokens;    /* [count]; not read when first_layer > 0 */
  const uint32_t *positions; /* [count] */
  const uint32_t *sequences; /* [count], or NULL: all 0 */
  const bool *wants_logits;  /* [count], or NULL: the last only */
  uint32_t first_layer;      /* layers [first_layer, end_layer) are computed; end_layer 0: all */
  uint32_t end_layer;
  float *residual; /* [count][dimension]: input when first_layer > 0, output when end_layer < layers */
} tq_batch;

/* Runs the layers and keeps keys and values in the session. A batch that does not fit it (TQ_ERROR_USAGE) changes
 * nothing. The results depend on neither the threads nor on how a text is cut into batches. When the last layer is
 * included, *logits gets [tokens that want them][vocabulary], owned by the session and valid until its next call. */
tq_status tq_forward(tq_session *session, const tq_batch *batch, const float **logits, tq_error *error);

/* ---- sampling ---- */

typedef struct tq_sampler_options {
  float temperature;    /* 0: the most likely token, the lowest id among equals */
  uint32_t top_k;       /* 0: all */
  float top_p;          /* 1: all */
  float min_p;          /* 0: all */
  float repeat_penalty; /* 1: none; over the last 64 tokens */
  uint64_t seed;
} tq_sampler_options;

typedef struct tq_sampler tq_sampler;
tq_status tq_sampler_create(const tq_sampler_options *options, uint32_t vocabulary, tq_sampler **sampler,
                            tq_error *error);
/* Tells the sampler of a token that stands in the text, for the repeat penalty. */
void tq_sampler_accept(tq_sampler *sampler, uint32_t token);
uint32_t tq_sampler_sample(tq_sampler *sampler, const float *logits);
void tq_sampler_destroy(tq_sampler *sampler); /* NULL is allowed */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
