/* config.json and GGUF's keys for the same things: tables that are read both ways. */
#ifndef TQ_FORMATS_HF_CONFIG_KEYS_H
#define TQ_FORMATS_HF_CONFIG_KEYS_H

#include "formats/names.h"

#include <stdbool.h>
#include <stddef.h>

enum { TQ_HF_KEY_SIZE = 192 };

typedef enum tq_hf_value_kind { TQ_HF_COUNT, TQ_HF_REAL } tq_hf_value_kind;

/* What Hugging Face's classes take when a key is absent. */
typedef struct tq_hf_defaults {
  const char *architecture; /* GGUF's name */
  double context, epsilon;
  float rope_base;
  uint32_t head_dimension; /* 0: hidden_size / num_attention_heads */
  bool has_qkv_bias;       /* always, and on q, k and v alone: attention_bias is not looked at */
} tq_hf_defaults;
/* The row of an architecture in the table of formats/names.h. */
const tq_hf_defaults *tq_hf_defaults_of(const char *architecture);

/* Sizes. Without `is_optional` a known architecture must state it. */
typedef struct tq_hf_size_key {
  const char *hf, *gguf;
  tq_hf_value_kind kind;
  bool is_optional;
} tq_hf_size_key;
extern const tq_hf_size_key tq_hf_size_keys[];
extern const size_t tq_hf_size_key_count;

/* RoPE scaling: which key belongs to which kind, and whether that kind needs it. */
typedef struct tq_hf_scaling_key {
  const char *kind, *hf, *gguf;
  tq_hf_value_kind value;
  bool required;
} tq_hf_scaling_key;
extern const tq_hf_scaling_key tq_hf_scaling_keys[];
extern const size_t tq_hf_scaling_key_count;

#endif
