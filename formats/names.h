/* Names across carriers: tensor roles, architectures and hyperparameter keys, each one table that is read both ways. */
#ifndef TQ_FORMATS_NAMES_H
#define TQ_FORMATS_NAMES_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* TQ_CARRIER_META: the names that Meta's own checkpoints and llama2.c's use. */
typedef enum tq_carrier { TQ_CARRIER_GGUF, TQ_CARRIER_HF, TQ_CARRIER_META, TQ_CARRIERS } tq_carrier;

/* The canonical role of a tensor's name ("blk.3.attn_q.weight" or "model.layers.3.self_attn.q_proj.weight" ->
 * "layers.3.q"), into role[size]; false when the name has none. */
bool tq_role_from_name(tq_carrier carrier, const char *name, char *role, size_t size);
/* The carrier's name of a role, into name[size]; false when there is none. */
bool tq_name_from_role(tq_carrier carrier, const char *role, char *name, size_t size);
/* The second name that a carrier has for a role, where it has two; false otherwise. */
bool tq_other_name_from_role(tq_carrier carrier, const char *role, char *name, size_t size);
/* True for the roles of q and k projections (weights and biases), whose rows RoPE orders: *is_key tells k from q. */
bool tq_role_is_rotated(const char *role, bool *is_key);
/* True for the weights of the linear layers of blocks ("layers.3.q"); *linear is the row in tq_linear_rows
 * (model/architecture.h). */
bool tq_role_is_linear(const char *role, size_t *linear);

typedef struct tq_architecture_name {
  const char *gguf;     /* general.architecture */
  const char *hf_type;  /* model_type in config.json */
  const char *hf_class; /* architectures[0] */
  bool gguf_adjacent;   /* GGUF files of this architecture hold q/k rows in adjacent-pair order */
} tq_architecture_name;
const tq_architecture_name *tq_architecture_by_gguf(const char *name);
const tq_architecture_name *tq_architecture_by_hf(const char *model_type);

#endif
