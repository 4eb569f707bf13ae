/* The table of architectures, and the table of the tensors that a layer is made of. */
#ifndef TQ_MODEL_ARCHITECTURE_H
#define TQ_MODEL_ARCHITECTURE_H

#include "tq/model.h"

/* Every architecture here is pre-norm with one residual stream: x += o(attention(norm(x))), x += down(gate(norm(x))).
 */
typedef struct tq_architecture {
  const char *name; /* general.architecture */
  tq_gate gate;
  bool sub_norms;      /* RMSNorm before o and before down */
  bool qk_norms;       /* RMSNorm of each head of q and k, before RoPE */
  const char *refusal; /* why a model of it cannot be run; NULL: it can */
} tq_architecture;

/* The row of that name, or NULL. */
const tq_architecture *tq_architecture_find(const char *name);

/* The extents that shapes are made of. */
typedef enum tq_extent {
  TQ_EXTENT_ONE,
  TQ_EXTENT_DIMENSION,
  TQ_EXTENT_QUERY, /* heads * head_dimension */
  TQ_EXTENT_KEY,   /* kv_heads * head_dimension */
  TQ_EXTENT_HEAD,  /* head_dimension */
  TQ_EXTENT_FEED_FORWARD
} tq_extent;

enum { TQ_EXTENTS = TQ_EXTENT_FEED_FORWARD + 1 };

uint64_t tq_extent_size(const tq_hyperparameters *hyperparameters, tq_extent extent);

/* The places of a layer; linear layers and norms each count from 0. */
enum { TQ_LINEAR_Q, TQ_LINEAR_K, TQ_LINEAR_V, TQ_LINEAR_O, TQ_LINEAR_GATE, TQ_LINEAR_UP, TQ_LINEAR_DOWN, TQ_LINEARS };
enum { TQ_NORM_ATTENTION, TQ_NORM_Q, TQ_NORM_K, TQ_NORM_ATTENTION_SUB, TQ_NORM_FFN, TQ_NORM_FFN_SUB, TQ_NORMS };

/* A linear layer's role ("layers.N." before it), and its matrix; "_bias" [rows] and "_scale" [1] behind the role are
 * optional. */
typedef struct tq_linear_row {
  const char *role;
  tq_extent rows, columns;
} tq_linear_row;
extern const tq_linear_row tq_linear_rows[TQ_LINEARS];

typedef struct tq_norm_row {
  const char *role;
  tq_extent size;
  bool is_sub_norm; /* only where the architecture has sub-norms */
  bool is_qk_norm;  /* only where it has norms of q and k */
} tq_norm_row;
extern const tq_norm_row tq_norm_rows[TQ_NORMS];
/* True when the model has that norm. */
bool tq_has_norm(const tq_hyperparameters *hyperparameters, size_t norm);

#endif
