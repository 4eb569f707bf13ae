/* Binding the tensors of a file to an architecture. */
#include "model/model.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/function.h"
#include "tq/ternary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GROUP_UNIT = 32, GROUP_LIMIT = 256 }; /* weights that share a scale */

/* Which tensors have found their place, so that none is ignored. */
typedef struct binder {
  tq_model *model;
  const tq_file *file;
  const char *path;
  bool *bound; /* [tensor] */
  tq_error *error;
} binder;

static tq_status fail_role(const binder *of, const char *role, const char *reason) {
  return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: %s", of->path, role, reason);
}

/* The tensor of a role, or NULL with TQ_OK when it may be absent and is. */
static tq_status find(const binder *of, const char *role, bool required, const tq_tensor **tensor, size_t *index) {
  *index = tq_file_find_role(of->file, role);
  *tensor = *index == SIZE_MAX ? NULL : tq_file_tensor(of->file, *index);
  if (*tensor) of->bound[*index] = true;
  if (*tensor || !required) return TQ_OK;
  return fail_role(of, role, "is missing");
}

static void print_shape(const tq_tensor *tensor, char *text, size_t room) {
  size_t used = 0;
  for (uint32_t i = 0; i < tensor->dimensions && used < room; i++)
    used += (size_t)snprintf(text + used, room - used, "%s%" PRIu64, i ? " x " : "", tensor->shape[i]);
}

static tq_status fail_shape(const binder *of, const tq_tensor *tensor, const char *expected) {
  char actual[200];
  print_shape(tensor, actual, sizeof actual);
  return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: its shape is %s where %s is expected", of->path,
                 tensor->role, actual, expected);
}

/* Parts that would change the weights if they were ignored. A patch does not: it says how the original bytes differed.
 */
static tq_status check_parts(const binder *of, const tq_tensor *tensor) {
  for (size_t i = 0; i < tensor->part_count; i++) {
    uint32_t kind = tensor->parts[i].kind;
    if (kind == TQ_PART_VALUES || kind == TQ_PART_SCALES || kind == TQ_PART_PATCH) continue;
    return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: a part of kind %" PRIu32 " is not computed with",
                   of->path, tensor->role, kind);
  }
  return TQ_OK;
}

/* Fills the matrix's values, or says why the encoding cannot be computed with. */
static tq_status bind_values(const binder *of, const tq_tensor *tensor, tq_matrix *matrix) {
  const tq_part *part = &tensor->parts[0];
  const tq_encoding_info *info = tq_encoding_find(part->encoding);
  float ignored;
  matrix->encoding = part->encoding;
  matrix->values = part->data;
  if (part->encoding == TQ_BLOCKS) {
    matrix->block = tq_block_type_find(part->type_name);
    if (!matrix->block)
      return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: blocks of type %s cannot be computed with", of->path,
                     tensor->role, part->type_name);
    if (part->block_elements != matrix->block->block_elements || part->block_bytes != matrix->block->block_bytes ||
        tensor->columns % part->block_elements != 0)
      return fail_role(of, tensor->role, "its blocks are not of the size that their type has, or rows end inside them");
    matrix->row_bytes = tensor->columns / part->block_elements * part->block_bytes;
  } else if (tq_matrix_is_ternary(matrix)) {
    matrix->row_bytes = tq_trit_row_bytes(part->encoding, tensor->columns);
  } else {
    if (!info || !tq_numbers_decode(part->encoding, part->data, 0, &ignored))
      return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: encoding %s cannot be computed with", of->path,
                     tensor->role, info ? info->name : "unknown");
    matrix->row_bytes = tensor->columns * info->bytes;
  }
  uint64_t size;
  if (!tq_multiply_u64(matrix->row_bytes, tensor->rows, &size) || size != part->size)
    return fail_role(of, tensor->role, "its values are not of the size that its shape asks for");
  return TQ_OK;
}

/* The container checks scales only where it knows their encoding; others it carries. */
static bool scales_are_understood(const tq_tensor *tensor, const tq_part *part) {
  uint64_t count = tq_scale_count(part->granularity, part->group, tensor->rows, tensor->columns);
  bool in_rows = part->granularity == TQ_PER_TENSOR || part->granularity == TQ_PER_ROW;
  bool in_groups = part->granularity == TQ_PER_GROUP && part->group >= GROUP_UNIT && part->group <= GROUP_LIMIT &&
                   part->group % GROUP_UNIT == 0;
  bool halves = part->encoding == TQ_F16 || part->encoding == TQ_BF16;
  return (halves || part->encoding == TQ_F32) && (in_rows || in_groups) && part->size == count * (halves ? 2 : 4);
}

static tq_status bind_scales(const binder *of, const tq_tensor *tensor, tq_matrix *matrix) {
  for (size_t i = 1; i < tensor->part_count; i++) {
    const tq_part *part = &tensor->parts[i];
    if (part->kind != TQ_PART_SCALES) continue;
    if (!scales_are_understood(tensor, part))
      return fail_role(of, tensor->role, "its scales' encoding cannot be computed with");
    matrix->scales = part->data;
    matrix->scale_encoding = part->encoding;
    matrix->granularity = part->granularity;
    matrix->group = part->group;
    matrix->direction = part->direction;
  }
  return TQ_OK;
}

static tq_status bind_matrix(const binder *of, const char *role, uint64_t rows, uint64_t columns, bool required,
                             tq_bound_linear *bound) {
  const tq_tensor *tensor;
  tq_status status = find(of, role, required, &tensor, &bound->tensor);
  if (status || !tensor) return status;
  if (tensor->dimensions != 2 || tensor->rows != rows || tensor->columns != columns) {
    char expected[64];
    snprintf(expected, sizeof expected, "%" PRIu64 " x %" PRIu64, rows, columns);
    return fail_shape(of, tensor, expected);
  }
  tq_matrix *matrix = &bound->linear.weights;
  bound->linear.output_scale = 1.0f;
  matrix->rows = rows;
  matrix->columns = columns;
  status = check_parts(of, tensor);
  if (!status) status = bind_values(of, tensor, matrix);
  return status ? status : bind_scales(of, tensor, matrix);
}

/* A vector of `size` floats, decoded into memory of the model's own; *values stays NULL when it may be absent and is.
 */
static tq_status bind_vector(const binder *of, const char *role, uint64_t size, bool required, const float **values) {
  const tq_tensor *tensor;
  size_t index;
  tq_model *model = of->model;
  tq_status status = find(of, role, required, &tensor, &index);
  if (status || !tensor) return status;
  if (tensor->dimensions != 1 || tensor->elements != size) {
    char expected[32];
    snprintf(expected, sizeof expected, "%" PRIu64, size);
    return fail_shape(of, tensor, expected);
  }
  status = check_parts(of, tensor);
  if (!status)
    status = tq_grow((void **)&model->owned, &model->owned_capacity, model->owned_count + 1, sizeof *model->owned,
                     of->error);
  if (status) return status;
  float *decoded = tq_allocate((size_t)size, sizeof *decoded, of->error);
  if (!decoded) return TQ_ERROR_SYSTEM;
  model->owned[model->owned_count++] = decoded;
  *values = decoded;
  return tq_tensor_decode(of->file, index, 0, 1, decoded, of->error);
}

/* The rotation of inputs of that extent, which the tensor is listed for. */
static tq_status bind_rotation(const binder *of, tq_extent extent, const tq_rotated_names *names,
                               tq_bound_linear *bound) {
  tq_model *model = of->model;
  const tq_rotation_keys *keys = &model->rotation_keys;
  const tq_tensor *tensor = tq_file_tensor(of->file, bound->tensor);
  tq_rotation *rotation = &model->rotations[extent];
  if (!tq_rotation_lists(names, tensor->name)) return TQ_OK;
  *rotation = (tq_rotation){keys->block, tq_rotation_signs(keys, tensor->columns)};
  if (tensor->columns % keys->block != 0)
    return fail_role(of, tensor->role, "the rotation's block does not divide its columns");
  if (keys->has_signs && !rotation->signs)
    return fail_role(of, tensor->role, "the rotation has no signs for inputs of its width");
  bound->linear.rotation = rotation;
  return TQ_OK;
}

static tq_status bind_linear(const binder *of, uint32_t layer, const tq_linear_row *row, tq_bound_linear *bound) {
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  uint64_t rows = tq_extent_size(sizes, row->rows);
  const float *scale = NULL;
  char role[64];
  snprintf(role, sizeof role, "layers.%" PRIu32 ".%s", layer, row->role);
  tq_status status = bind_matrix(of, role, rows, tq_extent_size(sizes, row->columns), true, bound);
  if (!status) status = bind_rotation(of, row->columns, &of->model->rotation_keys.weights, bound);
  snprintf(role, sizeof role, "layers.%" PRIu32 ".%s_bias", layer, row->role);
  if (!status) status = bind_vector(of, role, rows, false, &bound->linear.bias);
  snprintf(role, sizeof role, "layers.%" PRIu32 ".%s_scale", layer, row->role);
  if (!status) status = bind_vector(of, role, 1, false, &scale);
  if (status || !scale) return status;
  if (!isfinite(*scale)) return fail_role(of, role, "it is not a finite number");
  bound->linear.output_scale = *scale;
  return status;
}

static tq_status bind_layer(const binder *of, uint32_t number, tq_layer *layer) {
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < TQ_LINEARS; i++)
    status = bind_linear(of, number, &tq_linear_rows[i], &layer->linears[i]);
  for (size_t i = 0; !status && i < TQ_NORMS; i++) {
    char role[64];
    if (!tq_has_norm(sizes, i)) continue;
    snprintf(role, sizeof role, "layers.%" PRIu32 ".%s", number, tq_norm_rows[i].role);
    status = bind_vector(of, role, tq_extent_size(sizes, tq_norm_rows[i].size), true, &layer->norms[i]);
  }
  return status;
}

/* Every layer has tensors, so that a count of layers beyond that of the tensors is wrong before memory is taken for it.
 */
static tq_status bind_layers(const binder *of) {
  tq_model *model = of->model;
  uint32_t layers = model->hyperparameters.layers;
  if (layers > tq_file_tensor_count(of->file))
    return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: %" PRIu32 " layers cannot be made of %zu tensors", of->path,
                   layers, tq_file_tensor_count(of->file));
  model->layers = tq_allocate(layers, sizeof *model->layers, of->error);
  if (!model->layers) return TQ_ERROR_SYSTEM;
  tq_status status = TQ_OK;
  for (uint32_t i = 0; !status && i < layers; i++) status = bind_layer(of, i, &model->layers[i]);
  return status;
}

/* A rotated embedding that is the head too is rotated back when it is looked up, and its input rotated when it is
 * multiplied by; version 1 of the keys does not provide for that. */
static tq_status bind_end_rotations(const binder *of) {
  tq_model *model = of->model;
  const tq_rotation_keys *keys = &model->rotation_keys;
  bool tied = model->hyperparameters.tied_head;
  tq_status status = bind_rotation(of, TQ_EXTENT_DIMENSION, &keys->embeddings, &model->embedding);
  if (!status && !tied) status = bind_rotation(of, TQ_EXTENT_DIMENSION, &keys->weights, &model->head);
  if (status) return status;
  if (keys->tied != (tied && model->embedding.linear.rotation))
    return fail_role(of, "embedding", "whether it is rotated and the head too is not what prism.hadamard.version says");
  if (tied) model->head = model->embedding;
  return TQ_OK;
}

/* A name that no layer has would be a rotation that is left out. */
static tq_status check_rotations(const binder *of) {
  const tq_rotation_keys *keys = &of->model->rotation_keys;
  const tq_string *name = tq_rotation_unbound(&keys->weights);
  char text[80];
  if (!name) name = tq_rotation_unbound(&keys->embeddings);
  if (!name) return TQ_OK;
  return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: prism.hadamard lists %s, which is no layer that can be rotated here",
                 of->path, tq_printable(name->data, name->size, text, sizeof text));
}

/* A file that does not state the size of its vocabulary has as many tokens as embeddings. */
static tq_status bind_ends(const binder *of) {
  tq_model *model = of->model;
  tq_hyperparameters *sizes = &model->hyperparameters;
  const tq_tensor *embedding;
  size_t index;
  tq_status status = find(of, "embedding", true, &embedding, &index);
  if (status) return status;
  if (sizes->vocabulary == 0) sizes->vocabulary = embedding->rows <= INT32_MAX ? (uint32_t)embedding->rows : 0;
  status = bind_matrix(of, "embedding", sizes->vocabulary, sizes->dimension, true, &model->embedding);
  if (!status) status = bind_vector(of, "final_norm", sizes->dimension, true, &model->final_norm);
  if (!status) status = bind_matrix(of, "head", sizes->vocabulary, sizes->dimension, false, &model->head);
  if (status) return status;
  sizes->tied_head = model->head.tensor == SIZE_MAX;
  return bind_end_rotations(of);
}

static tq_status check_factors(const binder *of, const float *factors, uint32_t pairs) {
  for (uint32_t i = 0; i < pairs; i++)
    if (!(isfinite(factors[i]) && factors[i] > 0.0f))
      return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: RoPE factor %" PRIu32 " is not a finite number above 0",
                     of->path, i);
  return TQ_OK;
}

/* RoPE's frequencies, from the tensor of factors where there is one. It stands for llama3 scaling; beside another kind
 * it would be unclear which counts. */
static tq_status bind_rope(const binder *of) {
  tq_model *model = of->model;
  const tq_hyperparameters *sizes = &model->hyperparameters;
  uint32_t pairs = sizes->rope_dimensions / 2;
  float computed[TQ_MOST_HEAD_DIMENSION / 2];
  const float *factors = NULL;
  tq_status status = bind_vector(of, "rope_factors", pairs, false, &factors);
  if (status) return status;
  if (factors && (sizes->rope_scaling == TQ_ROPE_LINEAR || sizes->rope_scaling == TQ_ROPE_YARN))
    return fail_role(of, "rope_factors", "stands beside RoPE scaling of another kind");
  if (!factors) tq_rope_factors(sizes, computed);
  status = check_factors(of, factors ? factors : computed, pairs);
  if (status) return status;
  model->frequencies = tq_allocate(pairs, sizeof *model->frequencies, of->error);
  if (!model->frequencies) return TQ_ERROR_SYSTEM;
  tq_rope_frequencies(sizes, factors ? factors : computed, model->frequencies);
  model->magnitude = tq_rope_magnitude(sizes);
  return TQ_OK;
}

/* A tensor without a place would change what the model computes if it were ignored. RoPE's inverse frequencies, which
 * some checkpoints carry, the hyperparameters say too. */
static tq_status check_all_bound(const binder *of) {
  for (size_t i = 0; i < tq_file_tensor_count(of->file); i++) {
    const char *role = tq_file_tensor(of->file, i)->role;
    if (of->bound[i] || tq_role_is_derived(role)) continue;
    return tq_fail(of->error, TQ_ERROR_CORRUPT, "%s: tensor %s: has no place in architecture %s", of->path, role,
                   of->model->hyperparameters.architecture);
  }
  return TQ_OK;
}

static tq_status bind(binder *of) {
  tq_status status = bind_ends(of);
  if (!status) status = bind_layers(of);
  if (!status) status = bind_rope(of);
  if (!status) status = check_rotations(of);
  return status ? status : check_all_bound(of);
}

static tq_status open_tokenizer(tq_model *model, const char *path, tq_error *error) {
  tq_section section;
  tq_error reason;
  if (!tq_file_find_section(model->file, "tokenizer", &section)) return TQ_OK;
  tq_status status = tq_tokenizer_open(section.data, (size_t)section.size, &model->tokenizer, &reason);
  return status ? tq_fail(error, status, "%s: %s", path, reason.message) : TQ_OK;
}

/* ---- metadata of our own ---- */

/* Latent weights are what a trainer keeps; what the model computes with is made of them by rounding. */
static tq_status check_latent(const tq_metadata *metadata, const char *path, tq_error *error) {
  tq_value latent;
  if (!tq_metadata_find(metadata, "tq.latent", &latent)) return TQ_OK;
  if (latent.type != TQ_VALUE_BOOL) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tq.latent is not a bool", path);
  if (!latent.unsigned_integer) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its weights are latent: they must be quantized first", path);
}

static tq_status read_activations(const tq_metadata *metadata, tq_model *model, const char *path, tq_error *error) {
  tq_value value;
  char name[32] = "", text[64];
  model->activations = TQ_ACTIVATIONS_FLOAT;
  if (!tq_metadata_find(metadata, "tq.activations", &value)) return TQ_OK;
  if (value.type == TQ_VALUE_STRING && value.string.size < sizeof name)
    memcpy(name, value.string.data, value.string.size);
  if (strlen(name) == value.string.size && tq_activations_by_name(name, &model->activations)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tq.activations: \"%s\" is not understood", path,
                 tq_printable(value.string.data, value.string.size, text, sizeof text));
}

static tq_status create(tq_model *model, tq_error *error) {
  tq_file_info info;
  tq_error reason;
  tq_file_describe(model->file, &info);
  const tq_metadata *metadata = tq_file_metadata(model->file);
  tq_status status = tq_hyperparameters_read(metadata, &model->hyperparameters, &reason);
  if (!status) status = tq_rotation_read(metadata, &model->rotation_keys, &reason);
  if (status) return tq_fail(error, status, "%s: %s", info.path, reason.message);
  status = check_latent(metadata, info.path, error);
  if (!status) status = read_activations(metadata, model, info.path, error);
  if (status) return status;
  binder of = {.model = model, .file = model->file, .path = info.path, .error = error};
  of.bound = tq_allocate(tq_file_tensor_count(model->file), sizeof *of.bound, error);
  if (!of.bound) return TQ_ERROR_SYSTEM;
  status = bind(&of);
  tq_free(of.bound);
  return status ? status : open_tokenizer(model, info.path, error);
}

tq_status tq_model_create(const tq_file *file, tq_model **model, tq_error *error) {
  tq_model *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->file = file;
  tq_status status = create(created, error);
  if (status)
    tq_model_destroy(created);
  else
    *model = created;
  return status;
}

void tq_model_destroy(tq_model *model) {
  if (!model) return;
  for (size_t i = 0; i < model->owned_count; i++) tq_free(model->owned[i]);
  tq_free(model->owned);
  tq_free(model->layers);
  tq_free(model->frequencies);
  tq_rotation_free(&model->rotation_keys);
  tq_tokenizer_close(model->tokenizer);
  tq_free(model);
}

const tq_hyperparameters *tq_model_hyperparameters(const tq_model *model) { return &model->hyperparameters; }

const tq_tokenizer *tq_model_tokenizer(const tq_model *model) { return model->tokenizer; }
