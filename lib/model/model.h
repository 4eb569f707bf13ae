/* What a model and a session are made of, for the files of this folder. */
#ifndef TQ_MODEL_MODEL_H
#define TQ_MODEL_MODEL_H

#include "base/team.h"
#include "model/architecture.h"
#include "model/cache.h"
#include "model/rotation.h"
#include "ops/ops.h"

/* A matrix in the mapped file with the index of its tensor, by which its hashes are found. */
typedef struct tq_bound_linear {
  tq_linear linear;
  size_t tensor;
} tq_bound_linear;

typedef struct tq_layer {
  tq_bound_linear linears[TQ_LINEARS];
  const float *norms[TQ_NORMS]; /* NULL where the architecture has none */
} tq_layer;

struct tq_model {
  const tq_file *file;
  tq_hyperparameters hyperparameters;
  tq_tokenizer *tokenizer;         /* NULL: none */
  tq_bound_linear embedding, head; /* the embedding's rotation is undone when a row is looked up */
  const float *final_norm;
  tq_layer *layers;
  double *frequencies;        /* [rope_dimensions / 2], radians per position */
  float magnitude;            /* of RoPE's cosines and sines */
  tq_activations activations; /* as the metadata says, FLOAT where it does not */
  tq_rotation_keys rotation_keys;
  tq_rotation rotations[TQ_EXTENTS]; /* of inputs of that extent; used where a layer points to one */
  void **owned;                      /* small tensors decoded to floats: norms, biases */
  size_t owned_count, owned_capacity;
};

/* One session's working memory: for each token of a batch, or for each member of the team. */
struct tq_session {
  const tq_model *model;
  const tq_kernels *kernels;
  tq_team *team;
  uint32_t context, sequences, batch;
  tq_activations activations; /* not RECORDED */
  tq_cache cache;             /* head (layer * sequences + sequence) * kv_heads + kv head */
  uint32_t *held;             /* [sequence][layer]: positions that are there */
  uint32_t *next;             /* [sequence]: scratch for checking a batch */
  bool *touched;              /* [layer], then the head: verified if the file is opened lazily */
  /* Activations of a batch: [token][size]. Between its norm and its product, attention and feed-forward have the memory
   * to themselves in turn: `attended` lies where `normed` does, `query`, `key` and `value` where `gate` and `up` do,
   * and `projected` where `up` does. */
  float *residual;            /* [token][streams = 1][dimension] */
  float *normed, *attended;   /* [token][dimension], [token][heads * head_dimension] */
  float *query, *key, *value; /* [token][heads * head_dimension], twice [token][kv_heads * head_dimension] */
  float *gate, *up;           /* [token][feed_forward] */
  float *projected;           /* [token][dimension]: what a residual stream is given */
  float *cosines, *sines;     /* [token][rope_dimensions / 2] */
  float *rotated;             /* [token][longest input]: an input as rotated weights meet it; NULL without a rotation */
  tq_codes codes[2];          /* the same for integers, of inputs as they are and rotated */
  float *logits;              /* [wanted][vocabulary] */
  size_t logits_capacity;     /* in tokens */
  uint32_t *wanted;           /* [batch]: which tokens want logits */
  float *scratch;             /* [member][scratch_size]: of a kernel */
  size_t scratch_size;
};

#endif
