#include "formats/hf/weights.h"

#include "base/memory.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/names.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_SIZE = 1 << 22 };

void tq_hf_weights_free(tq_hf_weights *weights) {
  for (size_t i = 0; i < weights->count; i++) tq_free((char *)weights->entries[i].name);
  tq_free(weights->entries);
  tq_free(weights->items);
  tq_free(weights->shards);
  tq_hf_forms_free(&weights->forms);
}

/* ---- RoPE factors ---- */

/* GGUF's converter computes the factors in f32, this library in f64: they may differ in their last bits. */
static bool nearly_equal(const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!(fabsf(a[i] - b[i]) <= 2e-6f * fabsf(b[i]))) return false;
  }
  return true;
}

/* Tries an original context with the usual frequency factors; 1 and 4 are those of every published model. */
static bool try_context(tq_hyperparameters *scaled, uint32_t context, const float *factors, float *computed,
                        size_t count) {
  static const float lows[] = {1.0f, 2.0f, 4.0f}, highs[] = {4.0f, 2.0f, 8.0f, 16.0f};
  scaled->rope_original_context = context;
  for (size_t low = 0; low < sizeof lows / sizeof *lows; low++) {
    for (size_t high = 0; high < sizeof highs / sizeof *highs; high++) {
      if (lows[low] >= highs[high]) continue;
      scaled->rope_low_frequency_factor = lows[low];
      scaled->rope_high_frequency_factor = highs[high];
      tq_rope_factors(scaled, computed);
      if (nearly_equal(factors, computed, count)) return true;
    }
  }
  return false;
}

/* GGUF files say Llama 3's scaling only as the factors that come of it. Its lowest frequency is divided by the factor
 * itself; the other numbers are searched among usual ones, first that of the published models. */
static bool derive_scaling(tq_hyperparameters *model, const float *factors, float *computed, size_t count) {
  tq_rope_factors(model, computed);
  if (nearly_equal(factors, computed, count)) return true;
  if (model->rope_scaling != TQ_ROPE_NONE) return false;
  tq_hyperparameters scaled = *model;
  scaled.rope_scaling = TQ_ROPE_LLAMA3;
  scaled.rope_factor = factors[count - 1];
  bool found = try_context(&scaled, 8192, factors, computed, count) ||
               try_context(&scaled, model->context, factors, computed, count);
  for (uint32_t context = 32; !found && context <= UINT32_C(1) << 20; context *= 2) {
    found = try_context(&scaled, context, factors, computed, count);
  }
  if (found) *model = scaled;
  return found;
}

static tq_status drop_factors(const tq_file *file, size_t index, tq_hyperparameters *model, tq_buffer *notes,
                              tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  size_t count = model ? model->rope_dimensions / 2 : 0;
  if (!count || tensor->elements != count || tensor->rows != 1) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: a Hugging Face folder has no place for it", tensor->name);
  }
  float *values = tq_allocate(2 * count, sizeof *values, error);
  if (!values) return TQ_ERROR_SYSTEM;
  tq_status status = tq_tensor_decode(file, index, 0, 1, values, error);
  if (!status && !derive_scaling(model, values, values + count, count)) {
    status = tq_fail(error, TQ_ERROR_REFUSED,
                     "tensor %s: config.json says RoPE factors as parameters, and none that were tried give these",
                     tensor->name);
  }
  tq_free(values);
  if (status) return status;
  return tq_buffer_format(notes, error, "tensor %s is left out: config.json's RoPE scaling says the same\n",
                          tensor->name);
}

/* ---- deciding ---- */

static tq_status check_parts(const tq_tensor *tensor, const tq_safetensors_type **type, tq_error *error) {
  const tq_part *values = &tensor->parts[0];
  const tq_encoding_info *encoding = tq_encoding_find(values->encoding);
  *type = tq_safetensors_type_by_encoding(values->encoding);
  if (!*type) {
    const char *name = values->encoding == TQ_BLOCKS ? values->type_name : encoding ? encoding->name : "unknown";
    return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: safetensors has no type for its encoding %s", tensor->name,
                   name);
  }
  if (tensor->part_count != 1 || values->kind != TQ_PART_VALUES) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: safetensors holds values only, and it has %zu parts",
                   tensor->name, tensor->part_count);
  }
  return TQ_OK;
}

/* A number that a layer's product is multiplied by has a name in GGUF files alone. */
static tq_status check_role(const tq_tensor *tensor, tq_error *error) {
  static const char end[] = ".scale";
  char name[TQ_ROLE_SIZE];
  if (!tq_name_from_role(TQ_CARRIER_GGUF, tensor->role, name, sizeof name)) return TQ_OK;
  size_t length = strlen(name);
  if (length < sizeof end || strcmp(name + length - (sizeof end - 1), end) != 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_REFUSED,
                 "tensor %s: a Hugging Face folder has no place for a scale of a layer's product", tensor->name);
}

/* The name in files of this architecture: 1bitLLM's class has its own for some. */
static const char *hf_name(const tq_hf_weights *weights, const tq_tensor *tensor, char *name, size_t size) {
  tq_string architecture = tq_metadata_string(tq_file_metadata(weights->file), "general.architecture");
  bool is_first = architecture.size == 6 && memcmp(architecture.data, "bitnet", 6) == 0;
  if (is_first && tq_other_name_from_role(TQ_CARRIER_HF, tensor->role, name, size)) return name;
  return tq_name_from_role(TQ_CARRIER_HF, tensor->role, name, size) ? name : tensor->name;
}

/* An entry and its item, which get the name `text` with `end` instead of its last `cut` characters. */
static tq_status add_entry(tq_hf_weights *weights, const tq_hf_item *item, const tq_safetensors_type *type,
                           uint32_t dimensions, uint64_t size, const char *text, size_t cut, const char *end,
                           tq_error *error) {
  char *name = tq_format_string(error, "%.*s%s", (int)(strlen(text) - cut), text, end);
  if (!name) return TQ_ERROR_SYSTEM;
  tq_hf_item *place = &weights->items[weights->count];
  *place = *item;
  weights->entries[weights->count] = (tq_safetensors_entry){.name = name,
                                                            .type = type,
                                                            .shape = place->shape,
                                                            .dimensions = dimensions,
                                                            .size = size,
                                                            .source = weights->count};
  weights->count++;
  return TQ_OK;
}

static tq_status add_values(tq_hf_weights *weights, size_t index, const char *name, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(weights->file, index);
  const tq_safetensors_type *type;
  tq_hf_item item = {.tensor = index};
  memcpy(item.shape, tensor->shape, sizeof item.shape);
  tq_status status = check_parts(tensor, &type, error);
  return status ? status
                : add_entry(weights, &item, type, tensor->dimensions, tensor->parts[0].size, name, 0, "", error);
}

static bool has_patch(const tq_tensor *tensor) {
  for (size_t i = 1; i < tensor->part_count; i++) {
    if (tensor->parts[i].kind == TQ_PART_PATCH) return true;
  }
  return false;
}

/* What a patch is applied to are the bytes of the form and the row order that the tensor came in. */
static bool comes_back(const tq_tensor *tensor, const tq_form *form) {
  char text[64];
  tq_form_name(form, text, sizeof text);
  return !tensor->source_row_order && strcmp(text, tensor->source_type) == 0;
}

static tq_status add_scale(tq_hf_weights *weights, const tq_hf_item *weight, const char *name, tq_error *error) {
  static const char end[] = ".weight";
  size_t length = strlen(name);
  const tq_safetensors_type *type = tq_safetensors_type_by_encoding(weight->form.scale_encoding);
  tq_hf_item item = *weight;
  item.is_scale = true;
  item.shape[0] = 1;
  if (length < sizeof end || strcmp(name + length - (sizeof end - 1), end) != 0) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: only what is called NAME%s can have a weight_scale", name, end);
  }
  return add_entry(weights, &item, type, 1, tq_encoding_find(type->encoding)->bytes, name, sizeof end - 1,
                   ".weight_scale", error);
}

static tq_status add_ternary(tq_hf_weights *weights, size_t index, const char *name, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(weights->file, index);
  const tq_dialect *dialect = weights->forms.of[index].dialect;
  bool is_packed = tq_hf_is_packed(dialect);
  uint64_t size = 0;
  tq_hf_item item = {.tensor = index, .form = weights->forms.of[index]};
  item.patched = has_patch(tensor) && comes_back(tensor, &item.form);
  memcpy(item.shape, tensor->shape, sizeof item.shape);
  if (is_packed) item.shape[0] /= 4;
  tq_dialect_size(dialect, tensor->rows, tensor->columns, &size);
  tq_status status =
      add_entry(weights, &item, tq_safetensors_type_by_encoding(is_packed ? TQ_U8 : dialect->scale_encoding),
                tensor->dimensions, size, name, 0, "", error);
  return status || !is_packed ? status : add_scale(weights, &item, name, error);
}

static tq_status add_tensor(tq_hf_weights *weights, size_t index, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(weights->file, index);
  char buffer[TQ_ROLE_SIZE];
  const char *name = hf_name(weights, tensor, buffer, sizeof buffer);
  tq_status status = check_role(tensor, error);
  if (status) return status;
  if (strcmp(name, "__metadata__") == 0) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: safetensors keeps that name for itself", name);
  }
  return weights->forms.of[index].dialect ? add_ternary(weights, index, name, error)
                                          : add_values(weights, index, name, error);
}

static int compare_names(const void *a, const void *b) {
  const tq_safetensors_entry *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

/* The entries by name, in an array to be freed. */
static const tq_safetensors_entry **sort_by_name(const tq_hf_weights *weights, tq_error *error) {
  const tq_safetensors_entry **sorted = tq_allocate(weights->count, sizeof *sorted, error);
  if (!sorted) return NULL;
  for (size_t i = 0; i < weights->count; i++) sorted[i] = &weights->entries[i];
  qsort(sorted, weights->count, sizeof *sorted, compare_names);
  return sorted;
}

static const tq_tensor *tensor_of(const tq_hf_weights *weights, const tq_safetensors_entry *entry) {
  return tq_file_tensor(weights->file, weights->items[entry->source].tensor);
}

/* Translation may give two tensors one name. */
static tq_status check_names(const tq_hf_weights *weights, tq_error *error) {
  const tq_safetensors_entry **sorted = sort_by_name(weights, error);
  tq_status status = sorted ? TQ_OK : TQ_ERROR_SYSTEM;
  for (size_t i = 1; !status && i < weights->count; i++) {
    if (strcmp(sorted[i - 1]->name, sorted[i]->name) != 0) continue;
    status = tq_fail(error, TQ_ERROR_REFUSED, "tensors %s and %s would both be called %s",
                     tensor_of(weights, sorted[i - 1])->name, tensor_of(weights, sorted[i])->name, sorted[i]->name);
  }
  tq_free(sorted);
  return status;
}

static tq_status cut_into_shards(tq_hf_weights *weights, uint64_t shard_bytes, tq_error *error) {
  uint64_t bytes = 0;
  for (size_t i = 0; i == 0 || i < weights->count; i++) {
    uint64_t size = weights->count ? weights->entries[i].size : 0;
    if (i == 0 || size > shard_bytes - bytes) {
      void *shards = weights->shards;
      tq_status status =
          tq_grow(&shards, &weights->shard_capacity, weights->shard_count + 1, sizeof *weights->shards, error);
      weights->shards = shards;
      if (status) return status;
      weights->shards[weights->shard_count++] = (tq_hf_shard){i, 0};
      bytes = 0;
    }
    if (weights->count) weights->shards[weights->shard_count - 1].count++;
    bytes = size > shard_bytes - bytes ? shard_bytes : bytes + size;
  }
  for (size_t i = 0; i < weights->shard_count; i++) {
    tq_safetensors_sort(weights->entries + weights->shards[i].first, weights->shards[i].count);
  }
  return TQ_OK;
}

/* The rotation is part of such a model, and config.json has no words for it. */
static tq_status refuse_rotation(const tq_file *file, tq_error *error) {
  static const char start[] = "prism.hadamard.";
  const tq_metadata *metadata = tq_file_metadata(file);
  char printable[96];
  for (size_t i = 0; i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    if (key.size < sizeof start - 1 || memcmp(key.data, start, sizeof start - 1) != 0) continue;
    return tq_fail(error, TQ_ERROR_REFUSED,
                   "its weights are folded with a rotation (%s), which a Hugging Face folder cannot say",
                   tq_printable(key.data, key.size, printable, sizeof printable));
  }
  return TQ_OK;
}

/* Signs of zeros, and the like: what is no weight, but was in the file. */
static tq_status note_patches(const tq_hf_weights *weights, tq_buffer *notes, tq_error *error) {
  size_t count = 0;
  const tq_tensor *first = NULL;
  for (size_t i = 0; i < weights->count; i++) {
    const tq_hf_item *item = &weights->items[i];
    const tq_tensor *tensor = tq_file_tensor(weights->file, item->tensor);
    if (!item->form.dialect || item->is_scale || item->patched || !has_patch(tensor)) continue;
    if (!count++) first = tensor;
  }
  if (!count) return TQ_OK;
  return tq_buffer_format(notes, error,
                          "not carried: what is no weight in the bytes of %zu ternary tensors, such as the signs of "
                          "zeros; %s is the first\n",
                          count, first->name);
}

static tq_status add_tensors(tq_hf_weights *weights, tq_hyperparameters *model, tq_buffer *notes, tq_error *error) {
  const tq_file *file = weights->file;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_file_tensor_count(file); i++) {
    bool derived = strcmp(tq_file_tensor(file, i)->role, "rope_factors") == 0;
    status = derived ? drop_factors(file, i, model, notes, error) : add_tensor(weights, i, error);
  }
  return status;
}

tq_status tq_hf_weights_plan(const tq_file *file, tq_hyperparameters *model, const tq_write_options *options,
                             uint64_t shard_bytes, tq_hf_weights *weights, tq_buffer *notes, tq_error *error) {
  size_t count = tq_file_tensor_count(file);
  weights->file = file;
  weights->team = options->team;
  /* A packed tensor has two entries. */
  weights->entries = tq_allocate(count, 2 * sizeof *weights->entries, error);
  weights->items = tq_allocate(count, 2 * sizeof *weights->items, error);
  if (!weights->entries || !weights->items) return TQ_ERROR_SYSTEM;
  tq_status status = refuse_rotation(file, error);
  if (!status) status = tq_hf_forms_choose(file, options, &weights->forms, notes, error);
  if (!status) status = add_tensors(weights, model, notes, error);
  if (!status) status = note_patches(weights, notes, error);
  if (!status) status = check_names(weights, error);
  if (!status) status = cut_into_shards(weights, shard_bytes, error);
  return status;
}

const char *tq_hf_weights_dtype(const tq_hf_weights *weights) {
  bool halves = false, brains = false;
  for (size_t i = 0; i < weights->count; i++) {
    const tq_safetensors_entry *entry = &weights->entries[i];
    uint32_t encoding = entry->type->encoding;
    if (entry->dimensions < 2 && !weights->items[entry->source].is_scale) continue;
    if (encoding == TQ_F32) return "float32";
    halves = halves || encoding == TQ_F16;
    brains = brains || encoding == TQ_BF16;
  }
  return halves && brains ? "float32" : halves ? "float16" : brains ? "bfloat16" : NULL;
}

/* ---- writing ---- */

static tq_status write_to_output(void *context, const void *data, size_t size, tq_error *error) {
  return tq_output_write(context, data, size, error);
}

static tq_status write_values(const tq_hf_weights *weights, size_t index, tq_output *output, tq_error *error) {
  const tq_part *part = &tq_file_tensor(weights->file, index)->parts[0];
  tq_status status = TQ_OK;
  for (uint64_t done = 0; !status && done < part->size;) {
    size_t size = part->size - done < PIECE_SIZE ? (size_t)(part->size - done) : PIECE_SIZE;
    status = tq_file_touch(weights->file, index, part->offset + done, size, error);
    if (!status) status = tq_output_write(output, part->data + done, size, error);
    done += size;
  }
  return status;
}

static tq_status write_item(const tq_hf_weights *weights, const tq_hf_item *item, tq_output *output, tq_error *error) {
  if (item->is_scale) {
    return tq_output_write(output, item->form.scale, tq_encoding_find(item->form.scale_encoding)->bytes, error);
  }
  if (!item->form.dialect) return write_values(weights, item->tensor, output, error);
  tq_encode_options options = {.form = item->form, .patched = item->patched, .team = weights->team};
  return tq_dialect_encode(weights->file, item->tensor, &options, write_to_output, output, error);
}

static tq_status write_shard(const tq_hf_weights *weights, const tq_hf_shard *shard, tq_output *output,
                             tq_error *error) {
  const tq_safetensors_entry *entries = weights->entries + shard->first;
  tq_buffer header = {0};
  tq_status status = tq_safetensors_header(&header, entries, shard->count, error);
  if (!status) status = tq_output_write(output, header.data, header.size, error);
  tq_buffer_free(&header);
  for (size_t i = 0; !status && i < shard->count; i++) {
    status = write_item(weights, &weights->items[entries[i].source], output, error);
  }
  return status;
}

static void shard_name(const tq_hf_weights *weights, size_t index, char *name, size_t size) {
  if (weights->shard_count == 1)
    snprintf(name, size, "model.safetensors");
  else
    snprintf(name, size, "model-%05zu-of-%05zu.safetensors", index + 1, weights->shard_count);
}

static size_t shard_of(const tq_hf_weights *weights, const tq_safetensors_entry *entry) {
  size_t place = (size_t)(entry - weights->entries), shard = 0;
  while (place >= weights->shards[shard].first + weights->shards[shard].count) shard++;
  return shard;
}

static tq_status fill_index(const tq_hf_weights *weights, json_t *map, uint64_t *total, tq_error *error) {
  const tq_safetensors_entry **sorted = sort_by_name(weights, error);
  tq_status status = sorted ? TQ_OK : TQ_ERROR_SYSTEM;
  char name[64];
  *total = 0;
  for (size_t i = 0; !status && i < weights->count; i++) {
    shard_name(weights, shard_of(weights, sorted[i]), name, sizeof name);
    *total += sorted[i]->size;
    if (json_object_set_new(map, sorted[i]->name, json_string(name))) {
      status = tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
    }
  }
  tq_free(sorted);
  return status;
}

static tq_status write_index(const tq_hf_weights *weights, tq_output_folder *folder, tq_error *error) {
  json_t *map = json_object();
  tq_buffer text = {0};
  tq_output *output;
  uint64_t total;
  tq_status status = fill_index(weights, map, &total, error);
  json_t *index = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
  if (!status) status = tq_json_print(&text, index, 2, error);
  json_decref(index);
  if (!status) status = tq_output_folder_file(folder, "model.safetensors.index.json", &output, error);
  if (!status) {
    status = tq_output_write(output, text.data, text.size, error);
    if (!status)
      status = tq_output_commit(output, error);
    else
      tq_output_abandon(output);
  }
  tq_buffer_free(&text);
  return status;
}

tq_status tq_hf_weights_write(const tq_hf_weights *weights, tq_output_folder *folder, tq_error *error) {
  tq_status status = TQ_OK;
  char name[64];
  for (size_t i = 0; !status && i < weights->shard_count; i++) {
    tq_output *output;
    shard_name(weights, i, name, sizeof name);
    status = tq_output_folder_file(folder, name, &output, error);
    if (status) break;
    status = write_shard(weights, &weights->shards[i], output, error);
    if (!status)
      status = tq_output_commit(output, error);
    else
      tq_output_abandon(output);
  }
  if (!status && weights->shard_count > 1) status = write_index(weights, folder, error);
  return status;
}
