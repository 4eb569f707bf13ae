/* A config.json from a .tq file's metadata. */
#include "formats/hf/config_keys.h"
#include "formats/hf/hf.h"
#include "formats/json.h"
#include "formats/names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static tq_status set(json_t *object, const char *key, json_t *value, tq_error *error) {
  if (json_object_set_new(object, key, value) == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
}

/* Text that JSON cannot carry is left out: only a name can be such. */
static tq_status set_text(json_t *object, const char *key, const char *data, size_t size, tq_error *error) {
  if (!tq_is_utf8(data, size) || memchr(data, 0, size)) return TQ_OK;
  return set(object, key, json_stringn(data, size), error);
}

static bool has_role(const tq_file *file, const char *role) { return tq_file_find_role(file, role) != SIZE_MAX; }

static void architecture_of(const tq_metadata *metadata, char *name, size_t size) {
  tq_string found = tq_metadata_string(metadata, "general.architecture");
  snprintf(name, size, "%.*s", (int)(found.size < size ? found.size : size - 1), found.data ? found.data : "");
}

static tq_status write_sizes(const tq_file *file, const char *architecture, json_t *config, tq_error *error) {
  const tq_metadata *metadata = tq_file_metadata(file);
  char key[TQ_HF_KEY_SIZE];
  tq_value value;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_hf_size_key_count; i++) {
    snprintf(key, sizeof key, "%s.%s", architecture, tq_hf_size_keys[i].gguf);
    if (!tq_metadata_find(metadata, key, &value)) continue;
    uint64_t count = tq_metadata_u64(metadata, key, UINT64_MAX);
    double number = tq_metadata_f64(metadata, key, NAN);
    if (tq_hf_size_keys[i].kind == TQ_HF_COUNT && count <= INT32_MAX) {
      status = set(config, tq_hf_size_keys[i].hf, json_integer((json_int_t)count), error);
    } else if (tq_hf_size_keys[i].kind == TQ_HF_REAL && isfinite(number)) {
      status = set(config, tq_hf_size_keys[i].hf, tq_json_f32((float)number), error);
    }
  }
  return status;
}

/* GGUF may leave the size of the vocabulary to the tokens; a config.json may not. */
static tq_status write_vocabulary_size(const tq_file *file, const tq_tokenizer *tokenizer, json_t *config,
                                       tq_error *error) {
  if (json_object_get(config, "vocab_size")) return TQ_OK;
  size_t embedding = tq_file_find_role(file, "embedding");
  uint64_t size = embedding != SIZE_MAX ? tq_file_tensor(file, embedding)->rows
                  : tokenizer           ? tq_tokenizer_token_count(tokenizer)
                                        : 0;
  return size ? set(config, "vocab_size", json_integer((json_int_t)size), error) : TQ_OK;
}

/* What the reader demands of an architecture that is known. */
static tq_status check_sizes(const char *architecture, const json_t *config, tq_error *error) {
  if (!tq_architecture_by_gguf(architecture)) return TQ_OK;
  for (size_t i = 0; i < tq_hf_size_key_count; i++) {
    if (tq_hf_size_keys[i].is_optional || json_object_get(config, tq_hf_size_keys[i].hf)) continue;
    return tq_fail(error, TQ_ERROR_REFUSED, "config.json needs %s, and the file has no %s.%s to make it of",
                   tq_hf_size_keys[i].hf, architecture, tq_hf_size_keys[i].gguf);
  }
  return TQ_OK;
}

static tq_status write_scaling(const tq_hyperparameters *model, json_t *config, tq_error *error) {
  static const char *const names[] = {
      [TQ_ROPE_LINEAR] = "linear", [TQ_ROPE_LLAMA3] = "llama3", [TQ_ROPE_YARN] = "yarn"};
  if (model->rope_scaling == TQ_ROPE_NONE) return TQ_OK;
  json_t *scaling = json_object();
  tq_status status = set(config, "rope_scaling", scaling, error);
  if (!status) status = set(scaling, "rope_type", json_string(names[model->rope_scaling]), error);
  if (!status) status = set(scaling, "factor", tq_json_f32(model->rope_factor), error);
  if (status || model->rope_scaling == TQ_ROPE_LINEAR) return status;
  status = set(scaling, "original_max_position_embeddings", json_integer(model->rope_original_context), error);
  if (model->rope_scaling == TQ_ROPE_LLAMA3) {
    if (!status) status = set(scaling, "low_freq_factor", tq_json_f32(model->rope_low_frequency_factor), error);
    if (!status) status = set(scaling, "high_freq_factor", tq_json_f32(model->rope_high_frequency_factor), error);
    return status;
  }
  if (!status) status = set(scaling, "beta_fast", tq_json_f32(model->rope_beta_fast), error);
  if (!status) status = set(scaling, "beta_slow", tq_json_f32(model->rope_beta_slow), error);
  if (!status && model->rope_attention_factor > 0) {
    status = set(scaling, "attention_factor", tq_json_f32(model->rope_attention_factor), error);
  }
  return status;
}

static tq_status write_function(const tq_file *file, const tq_hyperparameters *model, json_t *config, tq_error *error) {
  tq_status status = set(config, "num_key_value_heads", json_integer(model->kv_heads), error);
  if (!status) status = set(config, "head_dim", json_integer(model->head_dimension), error);
  if (!status) status = set(config, "hidden_act", json_string(model->gate == TQ_GATE_SILU ? "silu" : "relu2"), error);
  if (!status) status = set(config, "attention_bias", json_boolean(has_role(file, "layers.0.q_bias")), error);
  if (!status) status = set(config, "mlp_bias", json_boolean(has_role(file, "layers.0.gate_bias")), error);
  if (!status) status = set(config, "rope_theta", tq_json_f32(model->rope_base), error);
  if (!status && model->rope_dimensions != model->head_dimension) {
    status = tq_fail(error, TQ_ERROR_REFUSED,
                     "RoPE over %u of a head's %u dimensions: a Hugging Face folder cannot say it for architecture %s",
                     model->rope_dimensions, model->head_dimension, model->architecture);
  }
  if (!status) status = write_scaling(model, config, error);
  return status;
}

static tq_status write_identity(const tq_metadata *metadata, const char *architecture, json_t *config,
                                tq_error *error) {
  const tq_architecture_name *known = tq_architecture_by_gguf(architecture);
  tq_string name = tq_metadata_string(metadata, "general.name");
  const char *type = known ? known->hf_type : architecture;
  tq_status status = TQ_OK;
  if (name.data) status = set_text(config, "_name_or_path", name.data, name.size, error);
  if (!status && known) status = set(config, "architectures", json_pack("[s]", known->hf_class), error);
  if (!status && *type) status = set_text(config, "model_type", type, strlen(type), error);
  return status;
}

static tq_status write_special_ids(const tq_tokenizer *tokenizer, json_t *config, tq_error *error) {
  static const struct {
    const char *key;
    tq_special_token which;
  } ids[] = {{"bos_token_id", TQ_SPECIAL_BOS}, {"eos_token_id", TQ_SPECIAL_EOS}, {"pad_token_id", TQ_SPECIAL_PADDING}};
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < COUNT(ids); i++) {
    int64_t id = tokenizer ? tq_tokenizer_special(tokenizer, ids[i].which) : -1;
    if (id >= 0) status = set(config, ids[i].key, json_integer(id), error);
  }
  return status;
}

tq_status tq_hf_config_write(const tq_file *file, const tq_hyperparameters *model, const tq_tokenizer *tokenizer,
                             const char *float_type, json_t **config, tq_error *error) {
  const tq_metadata *metadata = tq_file_metadata(file);
  char architecture[64];
  *config = json_object();
  architecture_of(metadata, architecture, sizeof architecture);
  tq_status status = write_identity(metadata, architecture, *config, error);
  if (!status) status = write_sizes(file, architecture, *config, error);
  if (!status) status = write_vocabulary_size(file, tokenizer, *config, error);
  if (!status && model) status = write_function(file, model, *config, error);
  if (!status) status = check_sizes(architecture, *config, error);
  if (!status) status = set(*config, "tie_word_embeddings", json_boolean(!has_role(file, "head")), error);
  if (!status) status = write_special_ids(tokenizer, *config, error);
  if (!status && float_type) status = set(*config, "torch_dtype", json_string(float_type), error);
  if (status) json_decref(*config);
  if (status) *config = NULL;
  return status;
}

/* ---- what has a place ---- */

static bool equals(tq_string key, const char *text) {
  return key.size == strlen(text) && memcmp(key.data, text, key.size) == 0;
}

/* Keys that other files of the folder hold, or that only say how a GGUF file is made. */
static bool held_elsewhere(tq_string key) {
  static const char *const held[] = {"general.architecture",
                                     "general.name",
                                     "tq.activations",
                                     "tq.latent",
                                     "general.type",
                                     "general.file_type",
                                     "general.alignment",
                                     "general.quantization_version",
                                     "tokenizer.ggml.model",
                                     "tokenizer.ggml.pre",
                                     "tokenizer.ggml.tokens",
                                     "tokenizer.ggml.scores",
                                     "tokenizer.ggml.token_type",
                                     "tokenizer.ggml.merges",
                                     "tokenizer.ggml.bos_token_id",
                                     "tokenizer.ggml.eos_token_id",
                                     "tokenizer.ggml.eot_token_id",
                                     "tokenizer.ggml.unknown_token_id",
                                     "tokenizer.ggml.seperator_token_id",
                                     "tokenizer.ggml.padding_token_id",
                                     "tokenizer.ggml.mask_token_id",
                                     "tokenizer.ggml.add_bos_token",
                                     "tokenizer.ggml.add_eos_token",
                                     "tokenizer.ggml.add_space_prefix",
                                     "tokenizer.chat_template"};
  for (size_t i = 0; i < COUNT(held); i++) {
    if (equals(key, held[i])) return true;
  }
  return false;
}

bool tq_hf_config_holds(const tq_metadata *metadata, tq_string key) {
  static const char *const others[] = {"attention.head_count_kv", "attention.key_length",    "attention.value_length",
                                       "rope.dimension_count",    "rope.freq_base",          "rope.scale_linear",
                                       "rope.scaling.type",       "rope.scaling.attn_factor"};
  char architecture[64];
  if (held_elsewhere(key)) return true;
  architecture_of(metadata, architecture, sizeof architecture);
  size_t length = strlen(architecture);
  if (key.size <= length || memcmp(key.data, architecture, length) != 0 || key.data[length] != '.') return false;
  tq_string suffix = {key.data + length + 1, key.size - length - 1};
  for (size_t i = 0; i < tq_hf_size_key_count; i++) {
    if (equals(suffix, tq_hf_size_keys[i].gguf)) return true;
  }
  /* The rest is written from the hyperparameters, which must be understood for that. */
  tq_hyperparameters model;
  if (tq_hyperparameters_read(metadata, &model, NULL)) return false;
  for (size_t i = 0; i < tq_hf_scaling_key_count; i++) {
    if (equals(suffix, tq_hf_scaling_keys[i].gguf)) return true;
  }
  for (size_t i = 0; i < COUNT(others); i++) {
    if (equals(suffix, others[i])) return true;
  }
  return false;
}
