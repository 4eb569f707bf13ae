#include "model/architecture.h"

#include <string.h>

static const tq_architecture architectures[] = {
    {"llama", TQ_GATE_SILU, false, false, NULL},
    {"bitnet", TQ_GATE_SILU, true, false, NULL},
    {"bitnet-b1.58", TQ_GATE_SQUARED_RELU, true, false, NULL},
    {"bitnet-25", TQ_GATE_SQUARED_RELU, true, false, NULL},
    {"qwen2", TQ_GATE_SILU, false, false, NULL},
    {"qwen3", TQ_GATE_SILU, false, true, NULL},
    {"qwen35", TQ_GATE_SILU, false, true, "linear attention layers are not computed"},
    {"qwen35moe", TQ_GATE_SILU, false, true, "linear attention layers are not computed"},
};

const tq_linear_row tq_linear_rows[TQ_LINEARS] = {
    [TQ_LINEAR_Q] = {"q", TQ_EXTENT_QUERY, TQ_EXTENT_DIMENSION},
    [TQ_LINEAR_K] = {"k", TQ_EXTENT_KEY, TQ_EXTENT_DIMENSION},
    [TQ_LINEAR_V] = {"v", TQ_EXTENT_KEY, TQ_EXTENT_DIMENSION},
    [TQ_LINEAR_O] = {"o", TQ_EXTENT_DIMENSION, TQ_EXTENT_QUERY},
    [TQ_LINEAR_GATE] = {"gate", TQ_EXTENT_FEED_FORWARD, TQ_EXTENT_DIMENSION},
    [TQ_LINEAR_UP] = {"up", TQ_EXTENT_FEED_FORWARD, TQ_EXTENT_DIMENSION},
    [TQ_LINEAR_DOWN] = {"down", TQ_EXTENT_DIMENSION, TQ_EXTENT_FEED_FORWARD},
};

const tq_norm_row tq_norm_rows[TQ_NORMS] = {
    [TQ_NORM_ATTENTION] = {"attention_norm", TQ_EXTENT_DIMENSION, false, false},
    [TQ_NORM_Q] = {"q_norm", TQ_EXTENT_HEAD, false, true},
    [TQ_NORM_K] = {"k_norm", TQ_EXTENT_HEAD, false, true},
    [TQ_NORM_ATTENTION_SUB] = {"attention_sub_norm", TQ_EXTENT_QUERY, true, false},
    [TQ_NORM_FFN] = {"ffn_norm", TQ_EXTENT_DIMENSION, false, false},
    [TQ_NORM_FFN_SUB] = {"ffn_sub_norm", TQ_EXTENT_FEED_FORWARD, true, false},
};

bool tq_has_norm(const tq_hyperparameters *hyperparameters, size_t norm) {
  const tq_norm_row *row = &tq_norm_rows[norm];
  return (!row->is_sub_norm || hyperparameters->sub_norms) && (!row->is_qk_norm || hyperparameters->qk_norms);
}

const tq_architecture *tq_architecture_find(const char *name) {
  for (size_t i = 0; i < sizeof architectures / sizeof architectures[0]; i++)
    if (strcmp(architectures[i].name, name) == 0) return &architectures[i];
  return NULL;
}

uint64_t tq_extent_size(const tq_hyperparameters *hyperparameters, tq_extent extent) {
  switch (extent) {
  case TQ_EXTENT_DIMENSION:
    return hyperparameters->dimension;
  case TQ_EXTENT_QUERY:
    return (uint64_t)hyperparameters->heads * hyperparameters->head_dimension;
  case TQ_EXTENT_KEY:
    return (uint64_t)hyperparameters->kv_heads * hyperparameters->head_dimension;
  case TQ_EXTENT_HEAD:
    return hyperparameters->head_dimension;
  case TQ_EXTENT_FEED_FORWARD:
    return hyperparameters->feed_forward;
  case TQ_EXTENT_ONE:
    break;
  }
  return 1;
}
