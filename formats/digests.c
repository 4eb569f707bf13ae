#include "formats/digests.h"

#include "formats/findings.h"

#include "base/memory.h"
#include "tq/model.h"
#include "tq/ternary.h"
#include "tq/tokenizer.h"

#include <string.h>

/* A piece is small enough to stay in the second-level cache while it is hashed, hashed again and written. */
enum { PIECE_BYTES = 512 * 1024, VALUES_AT_ONCE = 16 * 1024 };

tq_status tq_walk_create(const tq_checkpoint *checkpoint, const tq_progress *progress, tq_walk *walk, tq_error *error) {
  *walk = (tq_walk){.progress = progress, .capacity = PIECE_BYTES};
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    uint64_t unit = tensor->form.dialect ? 0 : tq_source_tensor_unit(tensor);
    if (unit > walk->capacity) walk->capacity = (size_t)unit;
    walk->total += tensor->size;
  }
  walk->bytes = tq_allocate(walk->capacity, 1, error);
  if (!walk->bytes) return TQ_ERROR_SYSTEM;
  walk->values = tq_allocate(VALUES_AT_ONCE, sizeof *walk->values, error);
  return walk->values ? TQ_OK : TQ_ERROR_SYSTEM;
}

void tq_walk_destroy(tq_walk *walk) {
  tq_free(walk->bytes);
  tq_free(walk->values);
  *walk = (tq_walk){0};
}

/* Adds the values of `size` bytes, a whole number of elements or blocks, to the hash. */
static void hash_values(tq_walk *walk, const tq_source_tensor *tensor, tq_content_hash *hash, const uint8_t *data,
                        size_t size) {
  if (tensor->encoding == TQ_BLOCKS) {
    const tq_block_type *type = tq_block_type_find(tensor->type_name);
    uint64_t at_once = VALUES_AT_ONCE / type->block_elements;
    for (uint64_t blocks = size / type->block_bytes, n; blocks; blocks -= n, data += n * type->block_bytes) {
      n = blocks < at_once ? blocks : at_once;
      type->decode(data, n, walk->values);
      tq_content_hash_update(hash, walk->values, n * type->block_elements);
    }
    return;
  }
  size_t bytes = tq_encoding_find(tensor->encoding)->bytes;
  for (size_t count = size / bytes, n; count; count -= n, data += n * bytes) {
    n = count < VALUES_AT_ONCE ? count : VALUES_AT_ONCE;
    tq_numbers_decode(tensor->encoding, data, n, walk->values);
    tq_content_hash_update(hash, walk->values, n);
  }
}

static bool has_values(const tq_source_tensor *tensor) {
  float value;
  if (tensor->encoding == TQ_BLOCKS) {
    const tq_block_type *type = tq_block_type_find(tensor->type_name);
    return type && type->block_elements <= VALUES_AT_ONCE;
  }
  return tq_numbers_decode(tensor->encoding, NULL, 0, &value);
}

tq_status tq_walk_tensor(tq_walk *walk, tq_checkpoint *checkpoint, size_t index, tq_sink sink, void *context,
                         tq_digest *content, tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  uint64_t unit = tq_source_tensor_unit(tensor), step = walk->capacity / unit * unit;
  bool decodes = has_values(tensor);
  tq_content_hash *hash = NULL;
  tq_status status = tq_content_hash_create(tensor->shape, tensor->dimensions, &hash, error);
  for (uint64_t offset = 0, size; !status && offset < tensor->size; offset += size) {
    size = tensor->size - offset < step ? tensor->size - offset : step;
    status = tq_source_tensor_read(checkpoint, index, offset, size, walk->bytes, error);
    if (status) break;
    if (decodes)
      hash_values(walk, tensor, hash, walk->bytes, (size_t)size);
    else
      tq_content_hash_update_bytes(hash, walk->bytes, (size_t)size);
    if (sink) status = sink(context, walk->bytes, (size_t)size, error);
    walk->done += size;
    tq_progress_report(walk->progress, walk->done, walk->total);
  }
  if (!status) tq_content_hash_final(hash, content->bytes);
  tq_content_hash_destroy(hash);
  return status;
}

void tq_walk_past(tq_walk *walk, const tq_source_tensor *tensor) {
  walk->done += tensor->size;
  tq_progress_report(walk->progress, walk->done, walk->total);
}

/* The values of the tensor of RoPE factors (NULL when there is none), freed by tq_free. */
static tq_status read_rope_factors(tq_checkpoint *checkpoint, uint32_t count, float **factors, tq_error *error) {
  *factors = NULL;
  size_t index = tq_checkpoint_find_role(checkpoint, "rope_factors");
  if (index == SIZE_MAX) return TQ_OK;
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  if (tensor->encoding != TQ_F32 || tensor->size != (uint64_t)count * sizeof(float)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: RoPE factors are %u values of F32, not %llu bytes of %s",
                   checkpoint->path, tensor->name, count, (unsigned long long)tensor->size, tensor->type_name);
  }
  uint8_t *bytes = tq_allocate(count, sizeof(float), error);
  *factors = tq_allocate(count, sizeof(float), error);
  tq_status status = bytes && *factors ? TQ_OK : TQ_ERROR_SYSTEM;
  if (!status) status = tq_source_tensor_read(checkpoint, index, 0, tensor->size, bytes, error);
  if (!status) tq_numbers_decode(TQ_F32, bytes, count, *factors);
  tq_free(bytes);
  if (status) tq_free(*factors), *factors = NULL;
  return status;
}

tq_status tq_checkpoint_function_digest(tq_checkpoint *checkpoint, tq_digest *function, tq_error *error) {
  tq_hyperparameters hyperparameters;
  *function = (tq_digest){0};
  if (checkpoint->tensor_count == 0) return TQ_OK;
  if (tq_hyperparameters_read(checkpoint->metadata, &hyperparameters, NULL)) return TQ_OK;
  float *factors;
  tq_status status = read_rope_factors(checkpoint, hyperparameters.rope_dimensions / 2, &factors, error);
  if (status) return status;
  tq_function_digest(&hyperparameters, factors, function->bytes);
  tq_free(factors);
  return TQ_OK;
}

tq_status tq_checkpoint_tokenizer_digest(const tq_checkpoint *checkpoint, tq_digest *digest, tq_error *error) {
  *digest = (tq_digest){0};
  if (!checkpoint->tokenizer) return TQ_OK;
  tq_tokenizer *tokenizer;
  tq_status status = tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &tokenizer, error);
  if (status) return status;
  tq_tokenizer_digest(tokenizer, digest->bytes);
  tq_tokenizer_close(tokenizer);
  return TQ_OK;
}

static tq_status combine_weights(const tq_checkpoint *checkpoint, const tq_digest *content, tq_digest *weights,
                                 tq_error *error) {
  const char **roles = tq_allocate(checkpoint->tensor_count, sizeof *roles, error);
  if (!roles) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < checkpoint->tensor_count; i++) roles[i] = checkpoint->tensors[i].role;
  tq_status status =
      tq_weights_digest(roles, (const uint8_t(*)[16])content, checkpoint->tensor_count, weights->bytes, error);
  tq_free(roles);
  return status;
}

static void find_range(tq_survey *survey, const uint8_t *table, size_t size) {
  size_t count = size / tq_encoding_find(survey->scale_encoding)->bytes;
  for (size_t i = 0; i < count; i++) {
    float scale = tq_scale_load(survey->scale_encoding, survey->scale_direction, table, i);
    if (i == 0 || scale < survey->least) survey->least = scale;
    if (i == 0 || scale > survey->most) survey->most = scale;
  }
}

static tq_status digest_ternary(tq_ternary_reader *reader, tq_survey *survey, tq_digest *content, tq_error *error) {
  const tq_ternary_output nowhere = {0};
  uint8_t *table;
  size_t size;
  tq_status status = tq_ternary_read(reader, survey, &nowhere, &table, &size, content->bytes, error);
  if (status) return status;
  find_range(survey, table, size);
  tq_free(table);
  return TQ_OK;
}

static tq_status digest_tensor(tq_walk *walk, tq_checkpoint *checkpoint, size_t index, tq_team *team, tq_survey *survey,
                               tq_digest *content, tq_error *error) {
  tq_ternary_reader *reader;
  tq_status status = tq_ternary_reader_create(checkpoint, index, team, &reader, error);
  if (status) return status;
  status = tq_ternary_survey(reader, survey, error);
  if (!status && survey->is_ternary) {
    status = digest_ternary(reader, survey, content, error);
    tq_walk_past(walk, &checkpoint->tensors[index]);
  } else if (!status) {
    status = tq_walk_tensor(walk, checkpoint, index, NULL, NULL, content, error);
  }
  tq_ternary_reader_destroy(reader);
  return status;
}

static tq_status digest_tensors(tq_checkpoint *checkpoint, tq_digest *content, tq_survey *surveys,
                                const tq_progress *progress, tq_error *error) {
  tq_walk walk = {0};
  tq_team *team = NULL;
  tq_status status = tq_walk_create(checkpoint, progress, &walk, error);
  if (!status) status = tq_team_create(0, &team, error);
  for (size_t i = 0; !status && i < checkpoint->tensor_count; i++) {
    status = digest_tensor(&walk, checkpoint, i, team, &surveys[i], &content[i], error);
  }
  tq_team_destroy(team);
  tq_walk_destroy(&walk);
  return status;
}

tq_status tq_checkpoint_digests(tq_checkpoint *checkpoint, tq_digest *content, tq_survey *surveys, tq_digest *weights,
                                tq_digest *function, tq_digest *tokenizer, const tq_progress *progress,
                                tq_error *error) {
  size_t count = checkpoint->tensor_count;
  tq_digest *own = content ? NULL : tq_allocate(count, sizeof *own, error);
  tq_survey *own_surveys = surveys ? NULL : tq_allocate(count, sizeof *own_surveys, error);
  tq_digest *each = content ? content : own;
  tq_survey *each_survey = surveys ? surveys : own_surveys;
  tq_status status = TQ_ERROR_SYSTEM;
  if (each && each_survey) status = digest_tensors(checkpoint, each, each_survey, progress, error);
  if (!status) status = tq_checkpoint_tell_findings(checkpoint, each_survey, error);
  if (!status) status = combine_weights(checkpoint, each, weights, error);
  if (!status) status = tq_checkpoint_function_digest(checkpoint, function, error);
  if (!status) status = tq_checkpoint_tokenizer_digest(checkpoint, tokenizer, error);
  tq_free(own_surveys);
  tq_free(own);
  return status;
}
