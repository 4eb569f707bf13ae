/* config.json to GGUF's keys. */
#include "base/memory.h"
#include "formats/hf/config_keys.h"
#include "formats/hf/hf.h"
#include "formats/hf/quantization.h"
#include "formats/json.h"
#include "formats/names.h"
#include "model/architecture.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys of RoPE scaling that change what is computed in ways that are not implemented. */
static const char *const foreign_scaling_keys[] = {"mscale", "mscale_all_dim", "truncate", "short_factor",
                                                   "long_factor"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- reading ---- */

/* `strict` tells a known architecture, where every key matters, from an unknown one, where what can be said is said. */
typedef struct reading {
  const char *file;
  const char *architecture;
  const tq_hf_defaults *defaults; /* of a known architecture */
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
  char key[TQ_HF_KEY_SIZE];
  snprintf(key, sizeof key, "%s.%s", to->architecture, suffix);
  return tq_metadata_add_u32(to->builder, key, value, to->error);
}

static tq_status add_real(const reading *to, const char *suffix, float value) {
  char key[TQ_HF_KEY_SIZE];
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
static tq_status carry(const reading *to, const json_t *object, const char *hf, const char *gguf, tq_hf_value_kind kind,
                       double otherwise) {
  bool present = member(object, hf) != NULL;
  uint32_t count = 0;
  float number = 0;
  if (!present && otherwise < 0) return TQ_OK;
  if (kind == TQ_HF_REAL) {
    number = (float)otherwise;
    tq_status status = get_real(to, object, hf, &number);
    return status ? status : add_real(to, gguf, number);
  }
  count = present ? 0 : (uint32_t)otherwise;
  tq_status status = get_count(to, object, hf, &count);
  return status ? status : add_count(to, gguf, count);
}

/* What a key means when it is absent; negative: nothing. */
static double default_of(const reading *to, const tq_hf_size_key *key) {
  if (!to->strict || !key->is_optional) return -1;
  return key->kind == TQ_HF_COUNT ? to->defaults->context : to->defaults->epsilon;
}

static tq_status carry_sizes(const reading *to, const json_t *config) {
  for (size_t i = 0; i < tq_hf_size_key_count; i++) {
    const tq_hf_size_key *key = &tq_hf_size_keys[i];
    if (to->strict && !key->is_optional && !member(config, key->hf)) {
      return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: %s is missing", to->file, key->hf);
    }
    tq_status status = carry(to, config, key->hf, key->gguf, key->kind, default_of(to, key));
    if (status && to->strict) return status;
    if (status == TQ_ERROR_SYSTEM) return status;
  }
  return TQ_OK;
}

static tq_status carry_heads(const reading *to, const json_t *config, uint32_t *head_dimension) {
  uint32_t heads = 0, key_heads = 0, dimension = 0, stated = to->defaults->head_dimension;
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
  char key[TQ_HF_KEY_SIZE];
  if (!kind) return wrong_type(to, "rope_type", "a string");
  if (strcmp(kind, "default") == 0) return TQ_OK;
  bool known = false;
  for (size_t i = 0; i < tq_hf_scaling_key_count; i++) known = known || strcmp(tq_hf_scaling_keys[i].kind, kind) == 0;
  if (!known) {
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling of type %s is not understood", to->file, kind);
  }
  tq_status status = check_foreign_scaling(to, scaling);
  snprintf(key, sizeof key, "%s.rope.scaling.type", to->architecture);
  if (!status) status = tq_metadata_add_string(to->builder, key, kind, strlen(kind), to->error);
  for (size_t i = 0; !status && i < tq_hf_scaling_key_count; i++) {
    if (strcmp(tq_hf_scaling_keys[i].kind, kind) != 0) continue;
    if (tq_hf_scaling_keys[i].required && !member(scaling, tq_hf_scaling_keys[i].hf)) {
      return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling of type %s: %s is missing", to->file, kind,
                     tq_hf_scaling_keys[i].hf);
    }
    status = carry(to, scaling, tq_hf_scaling_keys[i].hf, tq_hf_scaling_keys[i].gguf, tq_hf_scaling_keys[i].value, -1);
  }
  return status;
}

/* Transformers' classes for these architectures rotate whole heads only. */
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
  float base = to->defaults->rope_base;
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

/* Qwen's classes can limit attention to a window, in some layers or all. */
static tq_status check_window(const reading *to, const json_t *config) {
  const json_t *window = member(config, "use_sliding_window"), *types = member(config, "layer_types");
  if (window && !json_is_false(window)) {
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: use_sliding_window: attention within a window is not understood",
                   to->file);
  }
  if (types && !json_is_array(types)) return wrong_type(to, "layer_types", "a list");
  for (size_t i = 0; i < json_array_size(types); i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (type && strcmp(type, "full_attention") == 0) continue;
    return tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: layer_types: a layer of type %s is not understood for %s",
                   to->file, type ? type : "unnamed", to->architecture);
  }
  return TQ_OK;
}

typedef struct declared_biases {
  bool attention, feed_forward; /* attention_bias and mlp_bias */
} declared_biases;

static tq_status read_switch(const reading *to, const json_t *config, const char *key, bool *value) {
  const json_t *json = member(config, key);
  *value = json_is_true(json);
  return !json || json_is_boolean(json) ? TQ_OK : wrong_type(to, key, "true or false");
}

static bool has_bias(const reading *to, const declared_biases *declared, size_t linear) {
  if (linear > TQ_LINEAR_O) return declared->feed_forward;
  return to->defaults->has_qkv_bias ? linear != TQ_LINEAR_O : declared->attention;
}

/* True for the role of a linear layer's bias. */
static bool is_bias(const char *role, size_t *linear) {
  static const char end[] = "_bias";
  char weight[TQ_ROLE_SIZE];
  size_t length = strlen(role), tail = sizeof end - 1;
  if (length <= tail || length >= sizeof weight || strcmp(role + length - tail, end) != 0) return false;
  memcpy(weight, role, length - tail);
  weight[length - tail] = 0;
  return tq_role_is_linear(weight, linear);
}

/* A bias that the config does not have is left alone by transformers, so it is no part of the model, and yet would be
 * used here. */
static tq_status check_biases(const reading *to, const json_t *config, const tq_checkpoint *checkpoint) {
  declared_biases declared;
  size_t linear;
  tq_status status = read_switch(to, config, "attention_bias", &declared.attention);
  if (!status) status = read_switch(to, config, "mlp_bias", &declared.feed_forward);
  for (size_t i = 0; !status && i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    if (!is_bias(tensor->role, &linear) || has_bias(to, &declared, linear)) continue;
    status = tq_fail(to->error, TQ_ERROR_CORRUPT, "%s: tensor %s is a bias, and attention_bias or mlp_bias says none",
                     to->file, tensor->name);
  }
  return status;
}

static tq_status read_known(const reading *to, const json_t *config, const tq_checkpoint *checkpoint) {
  uint32_t head_dimension;
  tq_status status = check_activation(to, config);
  if (!status) status = check_window(to, config);
  if (!status) status = check_biases(to, config, checkpoint);
  if (!status) status = carry_sizes(to, config);
  if (!status) status = carry_heads(to, config, &head_dimension);
  if (!status) status = carry_rope(to, config, head_dimension);
  return status;
}

/* ---- which architecture ---- */

/* 1bitLLM's models call themselves llama: only the class, which comes with them, tells. */
static const struct {
  const char *model_type, *hf_class, *architecture;
} by_class[] = {{"llama", "BitnetForCausalLM", "bitnet"}};

/* Known by name, and no more than that; their sizes may lie one level deeper. */
static const struct {
  const char *model_type, *architecture;
} unread[] = {{"qwen3_5", "qwen35"}, {"qwen3_5_text", "qwen35"}, {"qwen3_5_moe", "qwen35moe"}};

static const tq_architecture_name *find_known(const json_t *config, const char *type) {
  const char *class = json_string_value(json_array_get(json_object_get(config, "architectures"), 0));
  for (size_t i = 0; class && i < COUNT(by_class); i++) {
    if (strcmp(by_class[i].model_type, type) == 0 && strcmp(by_class[i].hf_class, class) == 0) {
      return tq_architecture_by_gguf(by_class[i].architecture);
    }
  }
  return tq_architecture_by_hf(type);
}

static tq_status read_unknown(reading *to, tq_checkpoint *checkpoint, const json_t *config, const char *type) {
  const json_t *text = member(config, "text_config");
  tq_error *error = to->error;
  const tq_architecture *architecture = tq_architecture_find(to->architecture);
  tq_status status = tq_checkpoint_note(
      checkpoint, error, "model_type %s is not %s: its tensors and files are carried, but it cannot be run%s%s", type,
      architecture ? "understood" : "known", architecture && architecture->refusal ? ": " : "",
      architecture && architecture->refusal ? architecture->refusal : "");
  /* The sizes are for whoever looks at the file, so one of a surprising type is left out. */
  to->error = NULL;
  if (!status && carry_sizes(to, json_is_object(text) ? text : config) == TQ_ERROR_SYSTEM) {
    status = tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", to->file);
  }
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
  const tq_architecture_name *known = find_known(config, type);
  to.architecture = known ? known->gguf : type;
  for (size_t i = 0; i < COUNT(unread); i++) {
    if (strcmp(unread[i].model_type, type) == 0) to.architecture = unread[i].architecture;
  }
  to.strict = known != NULL;
  to.defaults = known ? tq_hf_defaults_of(known->gguf) : NULL;
  tq_status status =
      tq_metadata_add_string(builder, "general.architecture", to.architecture, strlen(to.architecture), error);
  if (!status) status = add_name(&to, config);
  if (status) return status;
  return known ? read_known(&to, config, checkpoint) : read_unknown(&to, checkpoint, config, type);
}
