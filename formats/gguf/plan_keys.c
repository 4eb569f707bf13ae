#include "base/bytes.h"
#include "base/memory.h"
#include "formats/gguf/plan.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "model/function.h"
#include "tq/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool key_is(tq_string key, const char *text) {
  return key.size == strlen(text) && memcmp(key.data, text, key.size) == 0;
}

/* What stands behind "llama.rope.scaling.", or the same of any architecture; nothing for other keys. */
static tq_string rope_scaling_name(tq_string key) {
  static const char middle[] = ".rope.scaling.";
  const char *dot = memchr(key.data, '.', key.size);
  if (!dot) return (tq_string){"", 0};
  tq_string rest = {dot, key.size - (size_t)(dot - key.data)};
  if (!tq_bytes_begin_with(rest.data, rest.size, middle)) return (tq_string){"", 0};
  return (tq_string){rest.data + sizeof middle - 1, rest.size - (sizeof middle - 1)};
}

/* ---- YaRN's magnitude ---- */

static bool is_magnitude(tq_string key) {
  tq_string name = rope_scaling_name(key);
  return key_is(name, "yarn_attn_factor") || key_is(name, "attn_factor");
}

/* The number that, multiplied with what YaRN computes, gives the magnitude bit for bit; 0 where there is none. */
static float multiplier_of(float magnitude, float computed) {
  float quotient = magnitude / computed;
  float candidates[] = {quotient, nextafterf(quotient, 0.0f), nextafterf(quotient, INFINITY)};
  for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
    if (candidates[i] * computed == magnitude) return candidates[i];
  }
  return 0.0f;
}

static tq_status refuse_scaling(const tq_gguf_plan *plan, const tq_hyperparameters *model, const char *key, float value,
                                const char *reason, tq_error *error) {
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: %s.rope.scaling.%s is %.9g: %s", plan->name, model->architecture, key,
                 (double)value, reason);
}

/* For the architectures that are known here llama.cpp reads neither yarn_attn_factor nor yarn_beta_fast and _slow: it
 * takes the betas' defaults and multiplies 1 + 0.1 ln(factor) by attn_factor. *multiplier gets what that is to be; 0
 * when the keys say the same to it as they stand. */
static tq_status plan_magnitude(const tq_gguf_plan *plan, float *multiplier, tq_error *error) {
  const tq_metadata *metadata = tq_file_metadata(plan->file);
  tq_hyperparameters model;
  tq_value value;
  char key[128];
  *multiplier = 0.0f;
  if (tq_hyperparameters_read(metadata, &model, NULL) || model.rope_scaling != TQ_ROPE_YARN) return TQ_OK;
  const char *defaults = "llama.cpp takes its defaults";
  if (model.rope_beta_fast != 32.0f) {
    return refuse_scaling(plan, &model, "yarn_beta_fast", model.rope_beta_fast, defaults, error);
  }
  if (model.rope_beta_slow != 1.0f) {
    return refuse_scaling(plan, &model, "yarn_beta_slow", model.rope_beta_slow, defaults, error);
  }
  snprintf(key, sizeof key, "%s.rope.scaling.yarn_attn_factor", model.architecture);
  if (!tq_metadata_find(metadata, key, &value)) return TQ_OK;
  *multiplier = multiplier_of(tq_rope_magnitude(&model), tq_yarn_attention_factor(model.rope_factor));
  if (*multiplier > 0.0f) return TQ_OK;
  return refuse_scaling(plan, &model, "yarn_attn_factor", tq_rope_magnitude(&model),
                        "llama.cpp multiplies, and no multiplier gives exactly that", error);
}

static tq_status add_magnitude(tq_gguf_plan *plan, float multiplier, tq_error *error) {
  tq_string architecture = tq_metadata_string(tq_file_metadata(plan->file), "general.architecture");
  char key[128];
  snprintf(key, sizeof key, "%.*s.rope.scaling.attn_factor", (int)architecture.size, architecture.data);
  return tq_metadata_add_f32(&plan->keys, key, multiplier, error);
}

/* ---- general.file_type, general.quantization_version ---- */

static const char file_type_key[] = "general.file_type";
static const char version_key[] = "general.quantization_version";

/* Weights of matrices by the number that their types have for general.file_type. */
typedef struct type_share {
  int number;
  double weights;
} type_share;

static int number_of(const tq_gguf_planned *tensor) {
  const tq_dialect *dialect = tensor->form.dialect;
  return dialect && !dialect->is_unpacked ? dialect->file_type : tensor->type->file_type;
}

/* The number of the type that most weights have; -1 where it has none. "All F32" means all: one matrix of another type
 * makes a file "mostly" of that. */
static int file_type(const tq_gguf_plan *plan) {
  enum { TYPES = 64 };
  type_share shares[TYPES] = {{0}};
  size_t count = 0, most = SIZE_MAX;
  for (size_t i = 0; i < plan->tensor_count; i++) {
    const tq_gguf_planned *tensor = &plan->tensors[i];
    if (tensor->dimensions < 2) continue;
    size_t place = 0;
    while (place < count && shares[place].number != number_of(tensor)) place++;
    if (place == TYPES) continue;
    if (place == count) shares[count++] = (type_share){number_of(tensor), 0.0};
    shares[place].weights += (double)tq_file_tensor(plan->file, tensor->tensor)->elements;
  }
  for (size_t i = 0; i < count; i++) {
    bool is_f32 = shares[i].number == 0;
    if (is_f32 && count > 1) continue;
    if (most == SIZE_MAX || shares[i].weights > shares[most].weights) most = i;
  }
  return most == SIZE_MAX ? -1 : shares[most].number;
}

bool tq_gguf_types_change(const tq_gguf_plan *plan) {
  for (size_t i = 0; i < plan->tensor_count; i++) {
    const tq_gguf_planned *tensor = &plan->tensors[i];
    if (tensor->dimensions < 2) continue;
    const char *source = tq_file_tensor(plan->file, tensor->tensor)->source_type;
    tq_form form = {0};
    bool same = tensor->form.dialect ? tq_form_from_name(source, &form) && form.dialect == tensor->form.dialect
                                     : strcmp(source, tensor->type->name) == 0;
    if (!same) return true;
  }
  return false;
}

static bool is_quantized(const tq_gguf_plan *plan) {
  for (size_t i = 0; i < plan->tensor_count; i++) {
    const tq_gguf_planned *tensor = &plan->tensors[i];
    if (tensor->type->encoding == TQ_BLOCKS || (tensor->form.dialect && !tensor->form.dialect->is_unpacked))
      return true;
  }
  return false;
}

static bool has_key(const tq_gguf_plan *plan, const char *key) {
  tq_value value;
  return tq_metadata_find(tq_file_metadata(plan->file), key, &value);
}

/* The keys that tell of types, where the source has none or its own do not tell any more: behind all others and in this
 * order, as llama-quantize leaves them. */
static tq_status add_types(tq_gguf_plan *plan, bool stale, tq_error *error) {
  bool has_version = has_key(plan, version_key), has_type = has_key(plan, file_type_key) && !stale;
  int number = file_type(plan);
  tq_status status = TQ_OK;
  if (has_version ? stale : is_quantized(plan)) status = tq_metadata_add_u32(&plan->keys, version_key, 2, error);
  if (status || has_type || number < 0) return status;
  return tq_metadata_add_u32(&plan->keys, file_type_key, (uint32_t)number, error);
}

/* ---- the keys that the file has ---- */

/* Without it these floats would be run as they are when the file is read again. */
static const char latent_key[] = "tq.latent";

/* The written file is not split, and llama.cpp stops at a scaling type that it does not know. */
static bool is_left_out(tq_string key, bool llama3) {
  bool is_own = tq_bytes_begin_with(key.data, key.size, "tq.") && !key_is(key, latent_key);
  return is_own || tq_bytes_begin_with(key.data, key.size, "split.") || (llama3 && rope_scaling_name(key).size);
}

/* True when the tokenizer's keys are made from its section, for the metadata does not have them. */
static bool translates_tokenizer(const tq_gguf_plan *plan, tq_section *section) {
  return !tq_metadata_string(tq_file_metadata(plan->file), "tokenizer.ggml.model").data &&
         tq_file_find_section(plan->file, "tokenizer", section);
}

static tq_status warn_of_latent(const tq_metadata *metadata, tq_buffer *notes, tq_error *error) {
  if (!tq_metadata_bool(metadata, latent_key, false)) return TQ_OK;
  return tq_buffer_format(notes, error,
                          "warning: the linear layers are latent weights, not quantized yet: other programs take these "
                          "floats for finished weights\n");
}

static tq_status copy_keys(tq_gguf_plan *plan, bool stale, tq_buffer *notes, tq_error *error) {
  const tq_metadata *metadata = tq_file_metadata(plan->file);
  bool llama3 = tq_gguf_scales_like_llama3(metadata);
  tq_section section;
  bool translates = translates_tokenizer(plan, &section);
  size_t own = 0, replaced = 0;
  float multiplier;
  tq_status status = plan_magnitude(plan, &multiplier, error);
  for (size_t i = 0; !status && i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    own += tq_bytes_begin_with(key.data, key.size, "tq.") && !key_is(key, "tq.activations") && !key_is(key, latent_key);
    if (key_is(key, "general.architecture") || is_left_out(key, llama3)) continue;
    if (multiplier > 0.0f && is_magnitude(key)) continue;
    if (stale && (key_is(key, file_type_key) || key_is(key, version_key))) continue;
    if (translates && tq_bytes_begin_with(key.data, key.size, "tokenizer.")) {
      replaced++;
      continue;
    }
    status = tq_metadata_add_value(&plan->keys, key, &value, error);
  }
  if (!status && multiplier > 0.0f) status = add_magnitude(plan, multiplier, error);
  if (!status) status = warn_of_latent(metadata, notes, error);
  if (!status && own) {
    status = tq_buffer_format(notes, error, "%zu keys that only .tq files have are not written\n", own);
  }
  if (status || !replaced) return status;
  return tq_buffer_format(notes, error, "%zu keys of the metadata give way to those of the tokenizer\n", replaced);
}

static tq_status add_architecture(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error) {
  static const char key[] = "general.architecture";
  tq_value value;
  if (tq_metadata_find(tq_file_metadata(plan->file), key, &value)) {
    return tq_metadata_add_value(&plan->keys, (tq_string){key, sizeof key - 1}, &value, error);
  }
  return tq_buffer_format(notes, error, "the metadata has no %s: llama.cpp will not load the file\n", key);
}

/* ---- tokenizer.* from the tokenizer section ---- */

/* Items for tokens first .. count - 1, serialised as the array `key` has them. */
static tq_status padding_items(const char *key, uint64_t first, uint64_t count, tq_buffer *items, tq_error *error) {
  uint8_t bytes[64];
  tq_status status = TQ_OK;
  for (uint64_t i = first; !status && i < count; i++) {
    size_t size = 4;
    if (strcmp(key, "tokenizer.ggml.tokens") == 0) {
      size = (size_t)snprintf((char *)bytes + 8, sizeof bytes - 8, "[PAD%llu]", (unsigned long long)i);
      tq_store_u64(bytes, size);
      size += 8;
    } else if (strcmp(key, "tokenizer.ggml.scores") == 0) {
      tq_store_f32(bytes, -10000.0f); /* below every token that is used */
    } else {
      tq_store_u32(bytes, TQ_TOKEN_UNUSED);
    }
    status = tq_buffer_append(items, bytes, size, error);
  }
  return status;
}

static tq_status add_padded(tq_gguf_plan *plan, const char *key, const tq_value *value, uint64_t count,
                            tq_error *error) {
  tq_buffer items = {0};
  tq_status status = tq_buffer_append(&items, value->items, value->items_size, error);
  if (!status) status = padding_items(key, value->item_count, count, &items, error);
  if (!status) status = tq_metadata_add_array(&plan->keys, key, value->item_type, count, items.data, items.size, error);
  tq_buffer_free(&items);
  return status;
}

/* Appends the tokenizer's keys; arrays with an item per token are brought to the embedding's rows, for llama.cpp takes
 * their length for the size of the vocabulary. */
static tq_status append_tokenizer_keys(tq_gguf_plan *plan, const tq_metadata *keys, uint64_t rows, tq_error *error) {
  static const char *const per_token[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                                          "tokenizer.ggml.token_type"};
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_metadata_count(keys); i++) {
    tq_string key;
    tq_value value;
    const char *padded = NULL;
    tq_metadata_at(keys, i, &key, &value);
    for (size_t k = 0; k < sizeof per_token / sizeof per_token[0]; k++) {
      if (key_is(key, per_token[k]) && value.item_count < rows) padded = per_token[k];
    }
    status =
        padded ? add_padded(plan, padded, &value, rows, error) : tq_metadata_add_value(&plan->keys, key, &value, error);
  }
  return status;
}

static tq_status translate_tokenizer(tq_gguf_plan *plan, const tq_tokenizer *tokenizer, tq_buffer *notes,
                                     tq_error *error) {
  tq_metadata_builder builder = {0};
  tq_metadata *keys = NULL;
  size_t consumed, embedding = tq_file_find_role(plan->file, "embedding");
  uint64_t rows = embedding == SIZE_MAX ? 0 : tq_file_tensor(plan->file, embedding)->shape[0];
  uint64_t tokens = tq_tokenizer_token_count(tokenizer);
  tq_status status = tq_vocabulary_to_metadata(tokenizer, &builder, error);
  if (!status) {
    status = tq_metadata_parse(plan->name, builder.data, builder.size, builder.count, &consumed, NULL, &keys, error);
  }
  if (!status) status = append_tokenizer_keys(plan, keys, rows, error);
  if (!status && tokens < rows) {
    status = tq_buffer_format(notes, error, "%llu unused tokens fill the vocabulary up to the embedding's %llu rows\n",
                              (unsigned long long)(rows - tokens), (unsigned long long)rows);
  }
  tq_metadata_free(keys);
  tq_metadata_builder_free(&builder);
  return status;
}

static tq_status add_tokenizer(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error) {
  tq_section section;
  tq_tokenizer *tokenizer;
  if (!translates_tokenizer(plan, &section)) return TQ_OK;
  tq_status status = tq_tokenizer_open(section.data, (size_t)section.size, &tokenizer, error);
  if (status) return status;
  status = translate_tokenizer(plan, tokenizer, notes, error);
  tq_tokenizer_close(tokenizer);
  return status;
}

tq_status tq_gguf_plan_keys(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error) {
  bool stale = tq_gguf_types_change(plan);
  tq_status status = add_architecture(plan, notes, error);
  if (!status) status = copy_keys(plan, stale, notes, error);
  if (!status) status = add_types(plan, stale, error);
  return status ? status : add_tokenizer(plan, notes, error);
}
