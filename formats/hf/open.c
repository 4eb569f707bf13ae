/* A Hugging Face folder: which files are weights, which are described, and which are only carried. */
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/hf/hf.h"
#include "formats/hf/quantization.h"
#include "formats/hf/tokenizer.h"
#include "formats/json.h"
#include "formats/names.h"
#include "formats/pytorch/pytorch.h"
#include "formats/safetensors/safetensors.h"

#include <string.h>

/* Names under which folders hold the same model once more, for other programs. */
static const char *const other_extensions[] = {".pt",  ".pth",    ".ckpt",      ".gguf",    ".ggml",
                                               ".h5",  ".onnx",   ".onnx_data", ".msgpack", ".ot",
                                               ".npz", ".tflite", ".mlmodel",   ".pdparams"};

/* A config.json has a few kilobytes, an index of weights some hundred bytes a tensor. */
enum { CONFIG_LIMIT = 1 << 20, INDEX_LIMIT = 16 << 20 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct weights {
  const char *single; /* one file with everything, or */
  const char *index;  /* the file that says which tensor is in which */
  bool pytorch;
} weights;

/* Files of safetensors that were read: they are cut into pieces once it is known which tensors there are. */
typedef struct read_file {
  char *name;
  size_t input;
} read_file;

typedef struct read_files {
  read_file *items;
  size_t count, capacity;
} read_files;

static void free_files(read_files *files) {
  for (size_t i = 0; i < files->count; i++) tq_free(files->items[i].name);
  tq_free(files->items);
}

/* Transformers' own PyTorch files and what Meta and Mistral publish beside theirs; another .bin or .safetensors may be
 * anything. */
static bool is_other_form(const char *name) {
  const char *slash = strrchr(name, '/'), *base = slash ? slash + 1 : name;
  for (size_t i = 0; i < COUNT(other_extensions); i++) {
    if (tq_ends_with(base, other_extensions[i])) return true;
  }
  if (tq_ends_with(base, ".bin")) return tq_begins_with(base, "pytorch_model");
  return tq_ends_with(base, ".safetensors") &&
         (tq_begins_with(base, "consolidated") || tq_begins_with(name, "original/"));
}

/* ---- choosing the weights ---- */

static const char *find_name(char *const *names, size_t count, const char *name) {
  for (size_t i = 0; i < count; i++) {
    if (strcmp(names[i], name) == 0) return names[i];
  }
  return NULL;
}

/* The only file at the top of the folder with that extension; *several when there are more. */
static const char *find_only(char *const *names, size_t count, const char *extension, bool *several) {
  const char *only = NULL;
  for (size_t i = 0; i < count; i++) {
    if (strchr(names[i], '/') || !tq_ends_with(names[i], extension)) continue;
    if (only) *several = true;
    only = names[i];
  }
  return *several ? NULL : only;
}

/* In the order in which Hugging Face's libraries look; NULL members when there are none. */
static tq_status choose_weights(const char *folder, char *const *names, size_t count, weights *chosen,
                                tq_error *error) {
  bool several = false;
  *chosen = (weights){.single = find_name(names, count, "model.safetensors")};
  if (chosen->single) return TQ_OK;
  chosen->index = find_name(names, count, "model.safetensors.index.json");
  if (chosen->index) return TQ_OK;
  chosen->single = find_only(names, count, ".safetensors", &several);
  if (several) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: several .safetensors files, and no model.safetensors.index.json",
                   folder);
  }
  if (chosen->single) return TQ_OK;
  chosen->pytorch = true;
  chosen->single = find_name(names, count, "pytorch_model.bin");
  if (chosen->single) return TQ_OK;
  chosen->index = find_name(names, count, "pytorch_model.bin.index.json");
  if (chosen->index) return TQ_OK;
  chosen->single = find_only(names, count, ".pt", &several);
  if (!chosen->single && !several) chosen->single = find_only(names, count, ".pth", &several);
  if (several) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: several PyTorch files, and no index", folder);
  return TQ_OK;
}

/* ---- reading them ---- */

static tq_status remember(read_files *files, const char *name, size_t input, tq_error *error) {
  void *items = files->items;
  tq_status status = tq_grow(&items, &files->capacity, files->count + 1, sizeof *files->items, error);
  files->items = items;
  if (status) return status;
  char *copy = tq_copy_string(name, strlen(name), error);
  if (!copy) return TQ_ERROR_SYSTEM;
  files->items[files->count++] = (read_file){copy, input};
  return TQ_OK;
}

/* `files` is NULL where they are PyTorch's, which are not written again. */
static tq_status read_one(tq_checkpoint *checkpoint, const char *name, read_files *files, tq_error *error) {
  size_t input;
  if (!files) return tq_pytorch_read(checkpoint, name, error);
  tq_status status = tq_safetensors_read(checkpoint, name, &input, error);
  return status ? status : remember(files, name, input, error);
}

static tq_status add_files(tq_checkpoint *checkpoint, const read_files *files, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < files->count; i++) {
    status = tq_checkpoint_add_weights_file(checkpoint, files->items[i].name, files->items[i].input, 0, 0, error);
  }
  return status;
}

/* Every tensor read from a shard must be one that the index puts there. Those found are taken from the map, so that
 * what is left at the end is missing. */
static tq_status check_shard(tq_checkpoint *checkpoint, const char *index, const char *shard, size_t first, json_t *map,
                             tq_error *error) {
  for (size_t i = first; i < checkpoint->tensor_count; i++) {
    const char *name = checkpoint->tensors[i].name, *place = json_string_value(json_object_get(map, name));
    if (!place || strcmp(place, shard) != 0) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s is in %s, but the index %s%s", index, name, shard,
                     place ? "says " : "does not have it", place ? place : "");
    }
    json_object_del(map, name);
  }
  return TQ_OK;
}

/* What the index still has for a shard that was read is not in it. */
static tq_status check_rest(const char *index, const char *shard, json_t *map, tq_error *error) {
  const char *name;
  json_t *place;
  json_object_foreach(map, name, place) {
    if (!json_is_string(place) || strcmp(json_string_value(place), shard) != 0) continue;
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s is not in %s", index, name, shard);
  }
  return TQ_OK;
}

/* The shards in the order in which the map first names them. */
static tq_status read_shards(tq_checkpoint *checkpoint, const char *index, json_t *map, read_files *files,
                             tq_error *error) {
  tq_status status = TQ_OK;
  while (!status && json_object_size(map)) {
    void *first = json_object_iter(map);
    char *tensor = tq_copy_string(json_object_iter_key(first), strlen(json_object_iter_key(first)), error);
    const char *place = json_string_value(json_object_iter_value(first));
    char *shard = tensor && place ? tq_copy_string(place, strlen(place), error) : NULL;
    size_t before = checkpoint->tensor_count;
    if (!tensor || (place && !shard)) {
      status = TQ_ERROR_SYSTEM;
    } else if (!shard || !tq_relative_name_is_safe(shard)) {
      status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: weight_map: %s is not put in a file of the folder", index, tensor);
    } else {
      status = read_one(checkpoint, shard, files, error);
    }
    if (!status) status = check_shard(checkpoint, index, shard, before, map, error);
    if (!status) status = check_rest(index, shard, map, error);
    tq_free(tensor);
    tq_free(shard);
  }
  return status;
}

static tq_status read_index(tq_checkpoint *checkpoint, const char *index, read_files *files, tq_error *error) {
  json_t *json;
  tq_status status = tq_hf_load(checkpoint->folder, index, INDEX_LIMIT, &json, error);
  if (status) return status;
  char *place = tq_format_string(error, "%s/%s", tq_folder_name(checkpoint->folder), index);
  json_t *map = json_object_get(json, "weight_map");
  if (!place)
    status = TQ_ERROR_SYSTEM;
  else if (json_is_object(map))
    status = read_shards(checkpoint, place, map, files, error);
  else
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: weight_map is not an object", place);
  tq_free(place);
  json_decref(json);
  return status;
}

static tq_status read_weights(tq_checkpoint *checkpoint, const weights *chosen, read_files *files, tq_error *error) {
  if (chosen->pytorch) files = NULL;
  if (chosen->index) return read_index(checkpoint, chosen->index, files, error);
  if (chosen->single) return read_one(checkpoint, chosen->single, files, error);
  return TQ_OK;
}

/* ---- the head ---- */

static tq_status hash_tensor(tq_checkpoint *checkpoint, size_t index, tq_hash *hash, tq_error *error) {
  enum { PIECE = 1 << 20 };
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  tq_hash_state *state = NULL;
  uint8_t *piece = tq_allocate(PIECE, 1, error);
  tq_status status = piece ? tq_hash_create(TQ_HASH_XXH3_128, &state, error) : TQ_ERROR_SYSTEM;
  for (uint64_t done = 0; !status && done < tensor->size;) {
    size_t size = tensor->size - done < PIECE ? (size_t)(tensor->size - done) : PIECE;
    status = tq_input_read(checkpoint->inputs[tensor->input], tensor->offset + done, piece, size, error);
    if (!status) tq_hash_update(state, piece, size);
    done += size;
  }
  if (!status) tq_hash_final(state, hash);
  if (state) tq_hash_destroy(state);
  tq_free(piece);
  return status;
}

/* A head that config.json ties to the embedding is not used, whatever it holds. An equal one may stay the head: it is
 * the same model. Another one is carried under its own name. */
static tq_status untie_head(tq_checkpoint *checkpoint, size_t head, size_t embedding, tq_error *error) {
  const tq_source_tensor *a = &checkpoint->tensors[head], *b = &checkpoint->tensors[embedding];
  tq_hash x = {{0}}, y = {{0}};
  bool comparable = !a->form.dialect && !b->form.dialect && a->encoding == b->encoding && a->size == b->size;
  if (comparable && memcmp(a->shape, b->shape, sizeof a->shape) == 0) {
    tq_status status = hash_tensor(checkpoint, embedding, &x, error);
    if (!status) status = hash_tensor(checkpoint, head, &y, error);
    if (status || memcmp(x.bytes, y.bytes, sizeof x.bytes) == 0) return status;
  }
  char *role = tq_copy_string(a->name, strlen(a->name), error);
  if (!role) return TQ_ERROR_SYSTEM;
  tq_free(checkpoint->tensors[head].role);
  checkpoint->tensors[head].role = role;
  return tq_checkpoint_note(checkpoint, error,
                            "config.json ties the head to the embedding: %s, which differs, is carried but not used",
                            role);
}

/* `whole`: all of the model's weights are there, so that an absent head means something. */
static tq_status check_head(tq_checkpoint *checkpoint, const json_t *config, bool whole, tq_error *error) {
  const json_t *tied = json_object_get(config, "tie_word_embeddings");
  size_t head = tq_checkpoint_find_role(checkpoint, "head");
  size_t embedding = tq_checkpoint_find_role(checkpoint, "embedding");
  if (embedding == SIZE_MAX) return TQ_OK;
  if (head != SIZE_MAX) return json_is_true(tied) ? untie_head(checkpoint, head, embedding, error) : TQ_OK;
  if (!whole || json_is_true(tied)) return TQ_OK;
  if (json_is_false(tied)) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s/config.json: tie_word_embeddings is false, but there is no lm_head.weight",
                   tq_folder_name(checkpoint->folder));
  }
  return tq_checkpoint_note(checkpoint, error,
                            "config.json does not say tie_word_embeddings: there is no lm_head.weight, so it is tied");
}

/* ---- describing ---- */

static tq_status read_given_tokenizer(tq_checkpoint *checkpoint, const char *path, tq_error *error) {
  tq_input *input;
  uint8_t first = 0;
  tq_status status = tq_input_open(path, &input, error);
  if (status) return status;
  if (tq_input_size(input)) status = tq_input_read(input, 0, &first, 1, error);
  if (!status && first == '{') {
    status = tq_hf_tokenizer_serialize(input, &checkpoint->tokenizer, &checkpoint->tokenizer_size, error);
  } else if (!status) {
    status = tq_tokenizer_file_serialize(input, &checkpoint->tokenizer, &checkpoint->tokenizer_size, error);
  }
  tq_input_close(input);
  return status ? status : tq_checkpoint_note(checkpoint, error, "the tokenizer is that of %s", path);
}

/* Joins what is packed, and takes down that the floats are latent where that is declared. */
static tq_status read_packing(tq_checkpoint *checkpoint, const char *name, const tq_hf_quantization *quantization,
                              const tq_open_options *options, tq_metadata_builder *builder, tq_error *error) {
  checkpoint->trained_with_int8 = quantization->is_bitnet;
  tq_status status = tq_hf_pack(checkpoint, name, quantization, options, error);
  if (status || !quantization->is_online) return status;
  checkpoint->latent_by = "quantization_mode \"online\"";
  return tq_metadata_add_bool(builder, "tq.latent", true, error);
}

/* `name` begins messages; `config` is NULL when there is none. */
static tq_status read_all(tq_checkpoint *checkpoint, const char *name, const json_t *config,
                          const tq_open_options *options, bool whole, tq_metadata_builder *builder, tq_error *error) {
  tq_hf_quantization quantization;
  tq_hyperparameters model;
  tq_status status = tq_hf_quantization_read(name, config, &quantization, error);
  if (!status && config) status = tq_hf_config_read(checkpoint, name, config, builder, error);
  if (!status && config) status = check_head(checkpoint, config, whole, error);
  if (!status) status = read_packing(checkpoint, name, &quantization, options, builder, error);
  if (!status) status = tq_checkpoint_set_metadata(checkpoint, builder, error);
  if (status || tq_hyperparameters_read(checkpoint->metadata, &model, NULL)) return status;
  return tq_hf_check_packed_shapes(checkpoint, &model, error);
}

static tq_status read_config(tq_checkpoint *checkpoint, const json_t *config, const tq_open_options *options,
                             bool whole, tq_error *error) {
  tq_metadata_builder builder = {0};
  char *name = tq_format_string(error, "%s/config.json", tq_folder_name(checkpoint->folder));
  tq_status status = name ? read_all(checkpoint, name, config, options, whole, &builder, error) : TQ_ERROR_SYSTEM;
  tq_metadata_builder_free(&builder);
  tq_free(name);
  return status;
}

static tq_status describe(tq_checkpoint *checkpoint, const tq_open_options *options, bool whole, bool *described,
                          tq_error *error) {
  json_t *config;
  tq_status status = tq_hf_load(checkpoint->folder, "config.json", CONFIG_LIMIT, &config, error);
  if (status) return status;
  *described = config != NULL;
  status = read_config(checkpoint, config, options, whole, error);
  if (!status && options && options->tokenizer_path) {
    status = read_given_tokenizer(checkpoint, options->tokenizer_path, error);
  } else if (!status) {
    status = tq_hf_tokenizer_read(checkpoint, config, error);
  }
  json_decref(config);
  return status;
}

tq_status tq_hf_describe(tq_checkpoint *checkpoint, const tq_open_options *options, bool *described, tq_error *error) {
  return describe(checkpoint, options, false, described, error);
}

/* ---- what else is carried ---- */

static bool was_read(const tq_checkpoint *checkpoint, const char *name) {
  for (size_t i = 0; i < checkpoint->file_count; i++) {
    if (strcmp(checkpoint->files[i].path, name) == 0) return true;
  }
  return false;
}

/* The model once more in a form of many gigabytes is not worth carrying; anything else that is large is refused when
 * the folder is imported. */
static tq_status attach(tq_checkpoint *checkpoint, const char *name, tq_error *error) {
  tq_input *input;
  size_t index;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: %s is gone", tq_folder_name(checkpoint->folder), name);
  if (tq_input_size(input) > TQ_ATTACHMENT_LIMIT && is_other_form(name)) {
    unsigned long long size = tq_input_size(input);
    tq_input_close(input);
    return tq_checkpoint_note(checkpoint, error,
                              "not carried: %s, %llu bytes: it looks like weights in another form, and was not read",
                              name, size);
  }
  status = tq_checkpoint_add_input(checkpoint, input, &index, error);
  if (status) tq_input_close(input);
  return status ? status : tq_checkpoint_add_attachment(checkpoint, name, index, error);
}

/* Weights that were read stand among the files already. */
static tq_status attach_others(tq_checkpoint *checkpoint, char *const *names, size_t count, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < count; i++) {
    if (!was_read(checkpoint, names[i])) status = attach(checkpoint, names[i], error);
  }
  return status;
}

static tq_status note_pytorch(tq_checkpoint *checkpoint, tq_error *error) {
  return tq_checkpoint_note(
      checkpoint, error, "not carried: the PyTorch files as they are (what they hold is), nor the files beside them");
}

tq_status tq_hf_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error) {
  char *const *names;
  size_t count;
  weights chosen;
  read_files files = {0};
  bool described = false;
  (void)name;
  const char *folder = tq_folder_name(checkpoint->folder);
  tq_status status = tq_folder_list(checkpoint->folder, &names, &count, error);
  if (!status) status = choose_weights(folder, names, count, &chosen, error);
  if (status) return status;
  bool weightless = !chosen.single && !chosen.index;
  if (weightless && !find_name(names, count, "config.json") && !find_name(names, count, "tokenizer.json")) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: not a model's folder: no model.safetensors, pytorch_model.bin, index of either, config.json or "
                   "tokenizer.json",
                   folder);
  }
  status = read_weights(checkpoint, &chosen, &files, error);
  if (!status) status = describe(checkpoint, options, !weightless, &described, error);
  if (!status) status = add_files(checkpoint, &files, error);
  free_files(&files);
  if (!status && weightless) status = tq_checkpoint_note(checkpoint, error, "no weights");
  if (!status && !described) {
    status = tq_checkpoint_note(checkpoint, error, "no config.json, so the architecture is not known");
  }
  if (status) return status;
  if (chosen.pytorch && !weightless) return note_pytorch(checkpoint, error);
  return attach_others(checkpoint, names, count, error);
}
