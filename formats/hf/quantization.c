/* quantization_config. */
#include "formats/hf/quantization.h"

#include "formats/names.h"
#include "model/architecture.h"

#include <string.h>

/* ---- what is declared ---- */

/* A null counts as absent, as it does in Python. */
static const json_t *member(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  return json_is_null(value) ? NULL : value;
}

/* One of two words, the first of which is meant when there is none. */
static tq_status read_choice(const char *name, const json_t *from, const char *key, const char *const words[2],
                             bool *is_second, tq_error *error) {
  const json_t *value = member(from, key);
  const char *text = json_string_value(value);
  *is_second = text && strcmp(text, words[1]) == 0;
  if (!value || *is_second || (text && strcmp(text, words[0]) == 0)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: quantization_config: %s: \"%s\" or \"%s\" is needed", name, key,
                 words[0], words[1]);
}

static tq_status read_kept(const char *name, const json_t *from, tq_hf_quantization *quantization, tq_error *error) {
  static const char key[] = "modules_to_not_convert";
  const json_t *list = member(from, key);
  bool is_list = !list || json_is_array(list);
  for (size_t i = 0; is_list && i < json_array_size(list); i++) {
    is_list = json_is_string(json_array_get(list, i)) && *json_string_value(json_array_get(list, i));
  }
  if (!is_list) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: quantization_config: %s: a list of names is needed", name, key);
  }
  quantization->kept = list;
  return TQ_OK;
}

/* The norms have weights of their own, `<module>.rms_norm.weight`, and stand where no architecture here has any. */
static tq_status refuse_norms(const char *name, const json_t *from, tq_error *error) {
  const json_t *value = member(from, "use_rms_norm");
  if (!value || json_is_false(value)) return TQ_OK;
  if (!json_is_true(value)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: quantization_config: use_rms_norm: true or false is needed", name);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: quantization_config: use_rms_norm, an RMSNorm before each linear layer, is not understood", name);
}

tq_status tq_hf_quantization_read(const char *name, const json_t *config, tq_hf_quantization *quantization,
                                  tq_error *error) {
  static const char *const classes[2] = {"bitlinear", "autobitlinear"}, *const modes[2] = {"offline", "online"};
  const json_t *from = member(config, "quantization_config");
  *quantization = (tq_hf_quantization){0};
  if (!from) return TQ_OK;
  const char *method = json_string_value(member(from, "quant_method"));
  if (!method || strcmp(method, "bitnet") != 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: quantization_config: weights packed by method '%s' are not understood",
                   name, method ? method : "unnamed");
  }
  bool is_automatic, is_online;
  tq_status status = read_choice(name, from, "linear_class", classes, &is_automatic, error);
  if (!status) status = read_choice(name, from, "quantization_mode", modes, &is_online, error);
  if (!status) status = refuse_norms(name, from, error);
  if (!status) status = read_kept(name, from, quantization, error);
  if (status) return status;
  quantization->is_bitnet = true;
  quantization->dialect = tq_dialect_find(classes[is_automatic]);
  /* Transformers' other class does not look at the mode. */
  quantization->is_online = is_online && is_automatic;
  return TQ_OK;
}

/* Transformers compares parts of names, and has done so in several ways; whole components are what all of them agree
 * on. */
static bool is_part_of(const char *name, const char *module, size_t length) {
  size_t size = strlen(name);
  for (size_t at = 0; at + size <= length; at++) {
    bool begins = at == 0 || module[at - 1] == '.', ends = at + size == length || module[at + size] == '.';
    if (begins && ends && memcmp(module + at, name, size) == 0) return true;
  }
  return false;
}

bool tq_hf_quantization_keeps(const tq_hf_quantization *quantization, const char *module, size_t length) {
  if (!quantization->kept) return is_part_of("lm_head", module, length);
  for (size_t i = 0; i < json_array_size(quantization->kept); i++) {
    if (is_part_of(json_string_value(json_array_get(quantization->kept, i)), module, length)) return true;
  }
  return false;
}

bool tq_hf_packed_rows_fit(const tq_hyperparameters *model, const char *role, uint64_t rows, uint64_t *wanted) {
  size_t linear;
  if (!tq_role_is_linear(role, &linear)) return true;
  *wanted = tq_extent_size(model, tq_linear_rows[linear].rows);
  return rows == *wanted;
}

tq_status tq_hf_check_packed_shapes(const tq_checkpoint *checkpoint, const tq_hyperparameters *model, tq_error *error) {
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    uint64_t rows;
    if (!tensor->form.dialect || tq_hf_packed_rows_fit(model, tensor->role, tensor->shape[0], &rows)) continue;
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: %llu outputs are packed four in a byte, and config.json says %llu%s",
                   tq_input_name(checkpoint->inputs[tensor->input]), tensor->name, (unsigned long long)tensor->shape[0],
                   (unsigned long long)rows, rows % 4 ? ", which is not a multiple of 4" : "");
  }
  return TQ_OK;
}
