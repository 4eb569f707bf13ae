/* config.json and GGUF's keys for the same things, by one table that is read both ways. */
#include "base/memory.h"
#include "formats/hf/hf.h"
#include "formats/json.h"
#include "formats/names.h"
#include "model/architecture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 192 };

typedef enum value_kind { COUNT_VALUE, REAL_VALUE } value_kind;

/* `otherwise` is what Hugging Face's classes take when the key is absent; negative: it must be there. */
static const struct {
  const char *hf, *gguf;
  value_kind kind;
  double otherwise;
} keys[] = {
    {"vocab_size", "vocab_size", COUNT_VALUE, -1},
    {"max_position_embeddings", "context_length", COUNT_VALUE, 2048},
    {"hidden_size", "embedding_length", COUNT_VALUE, -1},
    {"num_hidden_layers", "block_count", COUNT_VALUE, -1},
    {"intermediate_size", "feed_forward_length", COUNT_VALUE, -1},
    {"num_attention_heads", "attention.head_count", COUNT_VALUE, -1},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", REAL_VALUE, 1e-6},
};

/* RoPE scaling: which key belongs to which kind, and whether that kind needs it. */
static const struct {
  const char *kind, *hf, *gguf;
  value_kind value;
  bool required;
} scaling_keys[] = {
    {"linear", "factor", "rope.scaling.factor", REAL_VALUE, true},
    {"llama3", "factor", "rope.scaling.factor", REAL_VALUE, true},
    {"llama3", "original_max_position_embeddings", "rope.scaling.original_context_length", COUNT_VALUE, true},
    {"llama3", "low_freq_factor", "rope.scaling.low_freq_factor", REAL_VALUE, true},
    {"llama3", "high_freq_factor", "rope.scaling.high_freq_factor", REAL_VALUE, true},
    {"yarn", "factor", "rope.scaling.factor", REAL_VALUE, true},
    {"yarn", "original_max_position_embeddings", "rope.scaling.original_context_length", COUNT_VALUE, false},
    {"yarn", "attention_factor", "rope.scaling.yarn_attn_factor", REAL_VALUE, false},
    {"yarn", "beta_fast", "rope.scaling.yarn_beta_fast", REAL_VALUE, false},
    {"yarn", "beta_slow", "rope.scaling.yarn_beta_slow", REAL_VALUE, false},
};

/* Keys of RoPE scaling that change what is computed in ways that are not implemented. */
static const char *const foreign_scaling_keys[] = {"mscale", "mscale_all_dim", "truncate", "short_factor",
                                                   "long_factor"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- reading ---- */

/* `strict` tells a known architecture, where every key matters, from an unknown one, where what can be said is said. */
typedef struct reading {
  const char *file;
  const char *architecture;
  bool strict;
  tq_metadata_builder *builder;
  tq_error *error;
} reading;

/* A null counts as absent, as it does in Python. */
static const json_t *member(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_null(value) ? NULL : value;
}

static tq_status wrong_type(const reading *to, const char *key, const char *needed) {
  return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: %s: %s is needed", to->file, key, needed);
}

static tq_status add_count(const reading *to, const char *suffix, uint32_t value) {
  char key[KEY_SIZE];
  snprintf(key, sizeof key, "%s.%s", to->architecture, suffix);
  return tq_metadata_add_u32(to->builder, key, value, to->error);
}

static tq_status add_real(const reading *to, const char *suffix, float value) {
  char key[KEY_SIZE];
  snprintf(key, sizeof key, "%s.%s", to->architecture, suffix);
  return tq_metadata_add_f32(to->builder, key, value, to->error);
}

/* *value is left alone when the key is absent. */
static tq_status get_count(const reading *to, const json_t *object, const char *key, uint32_t *value) {
  const json_t *json = member(object, key);
  if (!json) return TQ_OK;
  if (!json_is_integer(json) || json_integer_value(json) < 0 || json_integer_value(json) > INT32_MAX) {
    return wrong_type(to, key, "a whole number below 2^31");
  }
  *value = (uint32_t)json_integer_value(json);
  return TQ_OK;
}

static tq_status get_real(const reading *to, const json_t *object, const char *key, float *value) {
  const json_t *json = member(object, key);
  if (!json) return TQ_OK;
  float number = (float)json_number_value(json);
  if (!json_is_number(json) || !isfinite(number)) return wrong_type(to, key, "a finite number");
  *value = number;
  return TQ_OK;
}

/* One key by its kind; an absent one is given `otherwise`, or left out when that is negative. */
static tq_status carry(const reading *to, const json_t *object, const char *hf, const char *gguf, value_kind kind,
                       double otherwise) {
  bool present = member(object, hf) != NULL;
  uint32_t count = 0;
  float number = 0;
  if (!present && otherwise < 0) return TQ_OK;
  if (kind == REAL_VALUE) {
    number = (float)otherwise;
    tq_status status = get_real(to, object, hf, &number);
    return status ? status : add_real(to, gguf, number);
  }
  count = present ? 0 : (uint32_t)otherwise;
  tq_status status = get_count(to, object, hf, &count);
  return status ? status : add_count(to, gguf, count);
}

static tq_status carry_sizes(const reading *to, const json_t *config) {
  for (size_t i = 0; i < COUNT(keys); i++) {
    if (to->strict && keys[i].otherwise < 0 && !member(config, keys[i].hf)) {
      return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: %s is missing", to->file, keys[i].hf);
    }
    tq_status status = carry(to, config, keys[i].hf, keys[i].gguf, keys[i].kind, to->strict ? keys[i].otherwise : -1);
    if (status && to->strict) return status;
    if (status == TQ_ERROR_SYSTEM) return status;
  }
  return TQ_OK;
}

static tq_status carry_heads(const reading *to, const json_t *config, uint32_t *head_dimension) {
  uint32_t heads = 0, key_heads = 0, dimension = 0, stated = 0;
  tq_status status = get_count(to, config, "num_attention_heads", &heads);
  key_heads = heads;
  if (!status) status = get_count(to, config, "num_key_value_heads", &key_heads);
  if (!status) status = get_count(to, config, "hidden_size", &dimension);
  if (!status) status = get_count(to, config, "head_dim", &stated);
  if (status) return status;
  if (heads == 0 || (stated == 0 && dimension % heads)) {
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: num_attention_heads %u does not divide hidden_size %u", to->file,
                   heads, dimension);
  }
  *head_dimension = stated ? stated : dimension / heads;
  status = add_count(to, "attention.head_count_kv", key_heads);
  if (!status && stated) status = add_count(to, "attention.key_length", stated);
  if (!status && stated) status = add_count(to, "attention.value_length", stated);
  return status;
}

/* The gate is part of an architecture's row, so another activation than that row's is another architecture. */
static tq_status check_activation(const reading *to, const json_t *config) {
  const tq_architecture *architecture = tq_architecture_find(to->architecture);
  const json_t *json = member(config, "hidden_act");
  if (!json || !architecture) return TQ_OK;
  const char *activation = json_string_value(json);
  if (!activation) return wrong_type(to, "hidden_act", "a string");
  bool silu = strcmp(activation, "silu") == 0 || strcmp(activation, "swish") == 0;
  bool squared = strcmp(activation, "relu2") == 0;
  if (architecture->gate == TQ_GATE_SILU ? silu : squared) return TQ_OK;
  return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: hidden_act: activation %s is not understood for architecture %s",
                 to->file, activation, to->architecture);
}

static const char *scaling_kind(const json_t *scaling) {
  const json_t *kind = member(scaling, "rope_type");
  if (!kind) kind = member(scaling, "type");
  if (!kind) return "default";
  return json_string_value(kind);
}

static tq_status check_foreign_scaling(const reading *to, const json_t *scaling) {
  for (size_t i = 0; i < COUNT(foreign_scaling_keys); i++) {
    if (!member(scaling, foreign_scaling_keys[i])) continue;
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling with %s is not understood", to->file,
                   foreign_scaling_keys[i]);
  }
  return TQ_OK;
}

static tq_status carry_scaling(const reading *to, const json_t *scaling) {
  const char *kind = scaling_kind(scaling);
  char key[KEY_SIZE];
  if (!kind) return wrong_type(to, "rope_type", "a string");
  if (strcmp(kind, "default") == 0) return TQ_OK;
  bool known = false;
  for (size_t i = 0; i < COUNT(scaling_keys); i++) known = known || strcmp(scaling_keys[i].kind, kind) == 0;
  if (!known) {
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling of type %s is not understood", to->file, kind);
  }
  tq_status status = check_foreign_scaling(to, scaling);
  snprintf(key, sizeof key, "%s.rope.scaling.type", to->architecture);
  if (!status) status = tq_metadata_add_string(to->builder, key, kind, strlen(kind), to->error);
  for (size_t i = 0; !status && i < COUNT(scaling_keys); i++) {
    if (strcmp(scaling_keys[i].kind, kind) != 0) continue;
    if (scaling_keys[i].required && !member(scaling, scaling_keys[i].hf)) {
      return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling of type %s: %s is missing", to->file, kind,
                     scaling_keys[i].hf);
    }
    status = carry(to, scaling, scaling_keys[i].hf, scaling_keys[i].gguf, scaling_keys[i].value, -1);
  }
  return status;
}

/* Transformers' classes for Llama and BitNet rotate whole heads only. */
static tq_status check_share(const reading *to, const json_t *object) {
  const json_t *json = member(object, "partial_rotary_factor");
  if (!json || (json_is_number(json) && json_number_value(json) == 1.0)) return TQ_OK;
  return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: partial_rotary_factor other than 1 is not understood for %s",
                 to->file, to->architecture);
}

/* Newer files have rope_parameters, with the base and the scaling in one; older ones rope_theta and rope_scaling. */
static tq_status carry_rope(const reading *to, const json_t *config, uint32_t head_dimension) {
  const json_t *parameters = member(config, "rope_parameters"), *scaling = member(config, "rope_scaling");
  if ((parameters && !json_is_object(parameters)) || (scaling && !json_is_object(scaling))) {
    return wrong_type(to, parameters ? "rope_parameters" : "rope_scaling", "an object");
  }
  float base = 10000.0f;
  tq_status status = get_real(to, config, "rope_theta", &base);
  if (!status) status = get_real(to, parameters, "rope_theta", &base);
  if (!status) status = check_share(to, config);
  if (!status) status = check_share(to, parameters);
  if (!status) status = add_count(to, "rope.dimension_count", head_dimension);
  if (!status) status = add_real(to, "rope.freq_base", base);
  const char *a = scaling_kind(parameters), *b = scaling_kind(scaling);
  if (!status && parameters && scaling && a && b && strcmp(a, b) != 0) {
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: rope_parameters says %s and rope_scaling says %s", to->file, a, b);
  }
  if (!status) status = carry_scaling(to, parameters ? parameters : scaling);
  return status;
}

/* The last component of the path or repository that the model was saved from. */
static tq_status add_name(const reading *to, const json_t *config) {
  const char *path = json_string_value(member(config, "_name_or_path"));
  if (!path) return TQ_OK;
  size_t end = strlen(path);
  while (end > 0 && path[end - 1] == '/') end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/') begin--;
  if (begin == end) return TQ_OK;
  return tq_metadata_add_string(to->builder, "general.name", path + begin, end - begin, to->error);
}

static tq_status check_quantization(const reading *to, const json_t *config) {
  const json_t *quantization = member(config, "quantization_config");
  if (!quantization) return TQ_OK;
  const char *method = json_string_value(member(quantization, "quant_method"));
  return tq_fail(to->error, TQ_ERROR_CORRUPT,
                 "%s: quantization_config: weights packed by method '%s' are not understood", to->file,
                 method ? method : "unnamed");
}

static tq_status read_known(const reading *to, const json_t *config) {
  uint32_t head_dimension;
  tq_status status = check_activation(to, config);
  if (!status) status = carry_sizes(to, config);
  if (!status) status = carry_heads(to, config, &head_dimension);
  if (!status) status = carry_rope(to, config, head_dimension);
  return status;
}

tq_status tq_hf_config_read(tq_checkpoint *checkpoint, const char *name, const json_t *config,
                            tq_metadata_builder *builder, tq_error *error) {
  reading to = {.file = name, .builder = builder, .error = error};
  if (!json_is_object(config)) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a JSON object", name);
  const json_t *model_type = member(config, "model_type");
  const char *type = json_string_value(model_type);
  if (!model_type) {
    return tq_checkpoint_note(checkpoint, error, "config.json has no model_type, so the architecture is not known");
  }
  if (!type || !*type || strlen(type) > 63 || !tq_is_name(type, strlen(type))) {
    return wrong_type(&to, "model_type", "a name of at most 63 bytes");
  }
  const tq_architecture_name *known = tq_architecture_by_hf(type);
  to.architecture = known ? known->gguf : type;
  to.strict = known != NULL;
  tq_status status = check_quantization(&to, config);
  if (!status) {
    status = tq_metadata_add_string(builder, "general.architecture", to.architecture, strlen(to.architecture), error);
  }
  if (!status) status = add_name(&to, config);
  if (status) return status;
  if (known) return read_known(&to, config);
  status = tq_checkpoint_note(
      checkpoint, error, "model_type %s is not known: its tensors and files are carried, but it cannot be run", type);
  /* The sizes are for whoever looks at the file, so one of a surprising type is left out. */
  to.error = NULL;
  if (!status && carry_sizes(&to, config) == TQ_ERROR_SYSTEM) {
    status = tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", name);
  }
  return status;
}

/* ---- writing ---- */

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
  char key[KEY_SIZE];
  tq_value value;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < COUNT(keys); i++) {
    snprintf(key, sizeof key, "%s.%s", architecture, keys[i].gguf);
    if (!tq_metadata_find(metadata, key, &value)) continue;
    uint64_t count = tq_metadata_u64(metadata, key, UINT64_MAX);
    double number = tq_metadata_f64(metadata, key, NAN);
    if (keys[i].kind == COUNT_VALUE && count <= INT32_MAX) {
      status = set(config, keys[i].hf, json_integer((json_int_t)count), error);
    } else if (keys[i].kind == REAL_VALUE && isfinite(number)) {
      status = set(config, keys[i].hf, tq_json_f32((float)number), error);
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
  for (size_t i = 0; i < COUNT(keys); i++) {
    if (keys[i].otherwise >= 0 || json_object_get(config, keys[i].hf)) continue;
    return tq_fail(error, TQ_ERROR_REFUSED, "config.json needs %s, and the file has no %s.%s to make it of", keys[i].hf,
                   architecture, keys[i].gguf);
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

static const char *float_type(const tq_file *file) {
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (tensor->dimensions < 2) continue;
    switch (tensor->parts[0].encoding) {
    case TQ_F32:
      return "float32";
    case TQ_F16:
      return "float16";
    case TQ_BF16:
      return "bfloat16";
    default:
      break;
    }
  }
  return NULL;
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
                             json_t **config, tq_error *error) {
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
  const char *type = float_type(file);
  if (!status && type) status = set(*config, "torch_dtype", json_string(type), error);
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
  for (size_t i = 0; i < COUNT(keys); i++) {
    if (equals(suffix, keys[i].gguf)) return true;
  }
  /* The rest is written from the hyperparameters, which must be understood for that. */
  tq_hyperparameters model;
  if (tq_hyperparameters_read(metadata, &model, NULL)) return false;
  for (size_t i = 0; i < COUNT(scaling_keys); i++) {
    if (equals(suffix, scaling_keys[i].gguf)) return true;
  }
  for (size_t i = 0; i < COUNT(others); i++) {
    if (equals(suffix, others[i])) return true;
  }
  return false;
}
