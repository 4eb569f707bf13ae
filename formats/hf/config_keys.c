#include "formats/hf/config_keys.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const tq_hf_defaults defaults[] = {
    {"llama", 2048, 1e-6, 1e4f, 0, false},        {"bitnet", 2048, 1e-6, 1e4f, 0, false},
    {"bitnet-b1.58", 2048, 1e-5, 5e5f, 0, false}, {"bitnet-25", 2048, 1e-5, 5e5f, 0, false},
    {"qwen2", 32768, 1e-6, 1e4f, 0, true},        {"qwen3", 32768, 1e-6, 1e4f, 128, false},
};

const tq_hf_defaults *tq_hf_defaults_of(const char *architecture) {
  for (size_t i = 0; i < COUNT(defaults); i++) {
    if (strcmp(defaults[i].architecture, architecture) == 0) return &defaults[i];
  }
  return NULL;
}

const tq_hf_size_key tq_hf_size_keys[] = {
    {"vocab_size", "vocab_size", TQ_HF_COUNT, false},
    {"max_position_embeddings", "context_length", TQ_HF_COUNT, true},
    {"hidden_size", "embedding_length", TQ_HF_COUNT, false},
    {"num_hidden_layers", "block_count", TQ_HF_COUNT, false},
    {"intermediate_size", "feed_forward_length", TQ_HF_COUNT, false},
    {"num_attention_heads", "attention.head_count", TQ_HF_COUNT, false},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", TQ_HF_REAL, true},
};
const size_t tq_hf_size_key_count = COUNT(tq_hf_size_keys);

const tq_hf_scaling_key tq_hf_scaling_keys[] = {
    {"linear", "factor", "rope.scaling.factor", TQ_HF_REAL, true},
    {"llama3", "factor", "rope.scaling.factor", TQ_HF_REAL, true},
    {"llama3", "original_max_position_embeddings", "rope.scaling.original_context_length", TQ_HF_COUNT, true},
    {"llama3", "low_freq_factor", "rope.scaling.low_freq_factor", TQ_HF_REAL, true},
    {"llama3", "high_freq_factor", "rope.scaling.high_freq_factor", TQ_HF_REAL, true},
    {"yarn", "factor", "rope.scaling.factor", TQ_HF_REAL, true},
    {"yarn", "original_max_position_embeddings", "rope.scaling.original_context_length", TQ_HF_COUNT, false},
    {"yarn", "attention_factor", "rope.scaling.yarn_attn_factor", TQ_HF_REAL, false},
    {"yarn", "beta_fast", "rope.scaling.yarn_beta_fast", TQ_HF_REAL, false},
    {"yarn", "beta_slow", "rope.scaling.yarn_beta_slow", TQ_HF_REAL, false},
};
const size_t tq_hf_scaling_key_count = COUNT(tq_hf_scaling_keys);
