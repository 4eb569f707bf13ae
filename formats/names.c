#include "formats/names.h"

#include "model/architecture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* %u stands for the layer's number. */
static const struct {
  const char *role, *names[TQ_CARRIERS];
} tensor_names[] = {
    {"embedding", {"token_embd.weight", "model.embed_tokens.weight", "tok_embeddings.weight"}},
    {"head", {"output.weight", "lm_head.weight", "output.weight"}},
    {"final_norm", {"output_norm.weight", "model.norm.weight", "norm.weight"}},
    {"layers.%u.attention_norm",
     {"blk.%u.attn_norm.weight", "model.layers.%u.input_layernorm.weight", "layers.%u.attention_norm.weight"}},
    {"layers.%u.q",
     {"blk.%u.attn_q.weight", "model.layers.%u.self_attn.q_proj.weight", "layers.%u.attention.wq.weight"}},
    {"layers.%u.k",
     {"blk.%u.attn_k.weight", "model.layers.%u.self_attn.k_proj.weight", "layers.%u.attention.wk.weight"}},
    {"layers.%u.v",
     {"blk.%u.attn_v.weight", "model.layers.%u.self_attn.v_proj.weight", "layers.%u.attention.wv.weight"}},
    {"layers.%u.o",
     {"blk.%u.attn_output.weight", "model.layers.%u.self_attn.o_proj.weight", "layers.%u.attention.wo.weight"}},
    {"layers.%u.q_bias", {"blk.%u.attn_q.bias", "model.layers.%u.self_attn.q_proj.bias", NULL}},
    {"layers.%u.k_bias", {"blk.%u.attn_k.bias", "model.layers.%u.self_attn.k_proj.bias", NULL}},
    {"layers.%u.v_bias", {"blk.%u.attn_v.bias", "model.layers.%u.self_attn.v_proj.bias", NULL}},
    {"layers.%u.o_bias", {"blk.%u.attn_output.bias", "model.layers.%u.self_attn.o_proj.bias", NULL}},
    {"layers.%u.q_norm", {"blk.%u.attn_q_norm.weight", "model.layers.%u.self_attn.q_norm.weight", NULL}},
    {"layers.%u.k_norm", {"blk.%u.attn_k_norm.weight", "model.layers.%u.self_attn.k_norm.weight", NULL}},
    {"layers.%u.attention_sub_norm",
     {"blk.%u.attn_sub_norm.weight", "model.layers.%u.self_attn.attn_sub_norm.weight", NULL}},
    {"layers.%u.ffn_norm",
     {"blk.%u.ffn_norm.weight", "model.layers.%u.post_attention_layernorm.weight", "layers.%u.ffn_norm.weight"}},
    {"layers.%u.gate",
     {"blk.%u.ffn_gate.weight", "model.layers.%u.mlp.gate_proj.weight", "layers.%u.feed_forward.w1.weight"}},
    {"layers.%u.up",
     {"blk.%u.ffn_up.weight", "model.layers.%u.mlp.up_proj.weight", "layers.%u.feed_forward.w3.weight"}},
    {"layers.%u.down",
     {"blk.%u.ffn_down.weight", "model.layers.%u.mlp.down_proj.weight", "layers.%u.feed_forward.w2.weight"}},
    {"layers.%u.gate_bias", {"blk.%u.ffn_gate.bias", "model.layers.%u.mlp.gate_proj.bias", NULL}},
    {"layers.%u.up_bias", {"blk.%u.ffn_up.bias", "model.layers.%u.mlp.up_proj.bias", NULL}},
    {"layers.%u.down_bias", {"blk.%u.ffn_down.bias", "model.layers.%u.mlp.down_proj.bias", NULL}},
    {"layers.%u.ffn_sub_norm", {"blk.%u.ffn_sub_norm.weight", "model.layers.%u.mlp.ffn_sub_norm.weight", NULL}},
    /* What 1bitLLM's class calls them: other names of roles above. */
    {"layers.%u.attention_sub_norm", {NULL, "model.layers.%u.self_attn.inner_attn_ln.weight", NULL}},
    {"layers.%u.ffn_sub_norm", {NULL, "model.layers.%u.mlp.ffn_layernorm.weight", NULL}},
    /* llama.cpp's scales of products. */
    {"layers.%u.q_scale", {"blk.%u.attn_q.scale", NULL, NULL}},
    {"layers.%u.k_scale", {"blk.%u.attn_k.scale", NULL, NULL}},
    {"layers.%u.v_scale", {"blk.%u.attn_v.scale", NULL, NULL}},
    {"layers.%u.o_scale", {"blk.%u.attn_output.scale", NULL, NULL}},
    {"layers.%u.gate_scale", {"blk.%u.ffn_gate.scale", NULL, NULL}},
    {"layers.%u.up_scale", {"blk.%u.ffn_up.scale", NULL, NULL}},
    {"layers.%u.down_scale", {"blk.%u.ffn_down.scale", NULL, NULL}},
    /* Derived from hyperparameters: what frequencies are divided by, and the frequencies themselves. */
    {"rope_factors", {"rope_freqs.weight", NULL, NULL}},
    {"rope_inverse_frequencies", {NULL, "model.rotary_emb.inv_freq", "rope.freqs"}},
    {"layers.%u.rope_inverse_frequencies", {NULL, "model.layers.%u.self_attn.rotary_emb.inv_freq", NULL}},
};

static const tq_architecture_name architecture_names[] = {
    {"llama", "llama", "LlamaForCausalLM", true},           {"bitnet", "bitnet_b1_58", "BitnetForCausalLM", false},
    {"bitnet-b1.58", "bitnet", "BitNetForCausalLM", false}, {"bitnet-25", "bitnet", "BitNetForCausalLM", false},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", false},          {"qwen3", "qwen3", "Qwen3ForCausalLM", false},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Matches `text` against a pattern with at most one %u; *number gets what stood there. A number with a leading zero or
 * more than six digits does not match, so that translation there and back is the identity. */
static bool matches(const char *pattern, const char *text, unsigned *number) {
  const char *hole = strstr(pattern, "%u");
  *number = 0;
  if (!hole) return strcmp(pattern, text) == 0;
  size_t before = (size_t)(hole - pattern);
  if (strncmp(pattern, text, before) != 0) return false;
  const char *digit = text + before;
  size_t digits = strspn(digit, "0123456789");
  if (digits == 0 || digits > 6 || (digits > 1 && digit[0] == '0')) return false;
  *number = (unsigned)strtoul(digit, NULL, 10);
  return strcmp(hole + 2, digit + digits) == 0;
}

static bool fill(const char *pattern, unsigned number, char *text, size_t size) {
  const char *hole = strstr(pattern, "%u");
  int length = hole ? snprintf(text, size, "%.*s%u%s", (int)(hole - pattern), pattern, number, hole + 2)
                    : snprintf(text, size, "%s", pattern);
  return length >= 0 && (size_t)length < size;
}

bool tq_role_from_name(tq_carrier carrier, const char *name, char *role, size_t size) {
  unsigned number;
  for (size_t i = 0; i < COUNT(tensor_names); i++) {
    const char *pattern = tensor_names[i].names[carrier];
    if (pattern && matches(pattern, name, &number)) return fill(tensor_names[i].role, number, role, size);
  }
  return false;
}

bool tq_name_from_role(tq_carrier carrier, const char *role, char *name, size_t size) {
  unsigned number;
  for (size_t i = 0; i < COUNT(tensor_names); i++) {
    const char *pattern = tensor_names[i].names[carrier];
    if (pattern && matches(tensor_names[i].role, role, &number)) return fill(pattern, number, name, size);
  }
  return false;
}

bool tq_other_name_from_role(tq_carrier carrier, const char *role, char *name, size_t size) {
  unsigned number;
  bool is_first = true;
  for (size_t i = 0; i < COUNT(tensor_names); i++) {
    const char *pattern = tensor_names[i].names[carrier];
    if (!pattern || !matches(tensor_names[i].role, role, &number)) continue;
    if (!is_first) return fill(pattern, number, name, size);
    is_first = false;
  }
  return false;
}

bool tq_role_is_rotated(const char *role, bool *is_key) {
  static const struct {
    const char *pattern;
    bool is_key;
  } rotated[] = {
      {"layers.%u.q", false}, {"layers.%u.q_bias", false}, {"layers.%u.k", true}, {"layers.%u.k_bias", true}};
  unsigned number;
  for (size_t i = 0; i < COUNT(rotated); i++) {
    if (matches(rotated[i].pattern, role, &number)) {
      *is_key = rotated[i].is_key;
      return true;
    }
  }
  return false;
}

bool tq_role_is_linear(const char *role, size_t *linear) {
  static const char layers[] = "layers.";
  if (strncmp(role, layers, sizeof layers - 1) != 0) return false;
  const char *rest = role + sizeof layers - 1;
  size_t digits = strspn(rest, "0123456789");
  if (digits == 0 || rest[digits] != '.') return false;
  for (*linear = 0; *linear < TQ_LINEARS; ++*linear) {
    if (strcmp(tq_linear_rows[*linear].role, rest + digits + 1) == 0) return true;
  }
  return false;
}

const tq_architecture_name *tq_architecture_by_gguf(const char *name) {
  for (size_t i = 0; i < COUNT(architecture_names); i++) {
    if (strcmp(architecture_names[i].gguf, name) == 0) return &architecture_names[i];
  }
  return NULL;
}

const tq_architecture_name *tq_architecture_by_hf(const char *model_type) {
  for (size_t i = 0; i < COUNT(architecture_names); i++) {
    if (strcmp(architecture_names[i].hf_type, model_type) == 0) return &architecture_names[i];
  }
  return NULL;
}
