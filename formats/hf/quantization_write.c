/* What a config.json says of how the weights beside it are packed. */
#include "formats/hf/quantization.h"
#include "formats/hf/weights.h"
#include "formats/names.h"

#include <string.h>

static const char section[] = "quantization_config", weight_end[] = ".weight";

static const tq_tensor *tensor_of(const tq_hf_weights *weights, size_t entry) {
  return tq_file_tensor(weights->file, weights->items[weights->entries[entry].source].tensor);
}

static bool is_packed(const tq_hf_weights *weights, size_t entry) {
  return tq_hf_is_packed(weights->items[weights->entries[entry].source].form.dialect);
}

/* The length of the name of a linear module that the entry is the weight of, or 0. */
static size_t module_length(const tq_hf_weights *weights, size_t entry) {
  const char *name = weights->entries[entry].name, *role = tensor_of(weights, entry)->role;
  size_t length = strlen(name), linear;
  if (weights->items[weights->entries[entry].source].is_scale) return 0;
  if (!is_packed(weights, entry) && strcmp(role, "head") != 0 && !tq_role_is_linear(role, &linear)) return 0;
  if (length < sizeof weight_end || strcmp(name + length - (sizeof weight_end - 1), weight_end) != 0) return 0;
  return length - (sizeof weight_end - 1);
}

/* Latent weights must be quantized whenever they are used; 1bitLLM's class does so by itself. */
static bool needs_online(const tq_hf_weights *weights) {
  const tq_metadata *metadata = tq_file_metadata(weights->file);
  tq_string architecture = tq_metadata_string(metadata, "general.architecture");
  bool quantizes_itself = architecture.size == 6 && memcmp(architecture.data, "bitnet", 6) == 0;
  return tq_metadata_bool(metadata, "tq.latent", false) && !quantizes_itself;
}

static bool says_the_same(const tq_hf_weights *weights, const tq_hf_quantization *said) {
  if (!tq_hf_is_packed(weights->forms.type)) {
    bool is_latent = tq_metadata_bool(tq_file_metadata(weights->file), "tq.latent", false);
    return said->is_online ? is_latent : !said->is_bitnet && !needs_online(weights);
  }
  if (!said->is_bitnet || said->is_online || said->dialect != weights->forms.type) return false;
  for (size_t i = 0; i < weights->count; i++) {
    size_t length = module_length(weights, i);
    if (!length) continue;
    if (tq_hf_quantization_keeps(said, weights->entries[i].name, length) == is_packed(weights, i)) return false;
  }
  return true;
}

/* NULL when memory runs out. A tied head is a module too, though it has no tensor. */
static json_t *list_kept(const tq_hf_weights *weights) {
  json_t *list = json_array();
  bool is_whole = json_array_append_new(list, json_string("lm_head")) == 0;
  for (size_t i = 0; is_whole && i < weights->count; i++) {
    size_t length = module_length(weights, i);
    if (!length || is_packed(weights, i) || strcmp(tensor_of(weights, i)->role, "head") == 0) continue;
    is_whole = json_array_append_new(list, json_stringn(weights->entries[i].name, length)) == 0;
  }
  if (is_whole) return list;
  json_decref(list);
  return NULL;
}

static tq_status set(json_t *object, const char *key, json_t *value, tq_error *error) {
  if (json_object_set_new(object, key, value) == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
}

static tq_status write_section(const tq_hf_weights *weights, json_t *config, tq_error *error) {
  bool packed = tq_hf_is_packed(weights->forms.type);
  if (!packed && !needs_online(weights)) {
    json_object_del(config, section);
    return TQ_OK;
  }
  json_t *said = json_object();
  tq_status status = set(config, section, said, error);
  if (!status) status = set(said, "quant_method", json_string("bitnet"), error);
  if (!status) {
    status = set(said, "linear_class", json_string(packed ? weights->forms.type->name : "autobitlinear"), error);
  }
  if (!status) status = set(said, "quantization_mode", json_string(packed ? "offline" : "online"), error);
  if (!status && packed) status = set(said, "modules_to_not_convert", list_kept(weights), error);
  return status;
}

/* Transformers rounds all floats to the type that is stated, the scales too. */
static tq_status widen(const tq_hf_weights *weights, json_t *config, tq_error *error) {
  static const char *const keys[] = {"torch_dtype", "dtype"};
  const char *type = tq_hf_weights_dtype(weights);
  tq_status status = TQ_OK;
  if (!type || strcmp(type, "float32") != 0) return TQ_OK;
  for (size_t i = 0; !status && i < sizeof keys / sizeof *keys; i++) {
    if (json_object_get(config, keys[i])) status = set(config, keys[i], json_string(type), error);
  }
  return status;
}

tq_status tq_hf_weights_declare(const tq_hf_weights *weights, json_t *config, bool *is_changed, tq_error *error) {
  tq_hf_quantization said;
  *is_changed = false;
  if (!tq_file_tensor_count(weights->file)) return TQ_OK;
  tq_status status = tq_hf_quantization_read("config.json", config, &said, error);
  if (status || says_the_same(weights, &said)) return status;
  *is_changed = true;
  status = write_section(weights, config, error);
  return status ? status : widen(weights, config, error);
}
