/* The view of a .tq file: its directory, and the range of its scales. */
#include "base/memory.h"
#include "formats/source.h"
#include "tools/inspect.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <string.h>

static const tq_part *find_part(const tq_tensor *tensor, uint32_t kind) {
  for (size_t i = 0; i < tensor->part_count; i++)
    if (tensor->parts[i].kind == kind) return &tensor->parts[i];
  return NULL;
}

static void describe_encoding(const tq_part *values, inspect_tensor *view) {
  const tq_encoding_info *info = tq_encoding_find(values->encoding);
  view->kind = values->encoding == TQ_BLOCKS ? INSPECT_BLOCKS
               : values->encoding == TQ_TERNARY_2BIT || values->encoding == TQ_TERNARY_BASE3 ||
                       values->encoding == TQ_QUATERNARY_2BIT
                   ? INSPECT_TERNARY
                   : INSPECT_NUMBERS;
  if (values->encoding == TQ_BLOCKS)
    snprintf(view->encoding, sizeof view->encoding, "%s", values->type_name);
  else if (info)
    snprintf(view->encoding, sizeof view->encoding, "%s", info->name);
  else
    snprintf(view->encoding, sizeof view->encoding, "encoding %u", values->encoding);
}

static bool scales_are_known(const tq_part *part) {
  return part->encoding == TQ_F32 || part->encoding == TQ_F16 || part->encoding == TQ_BF16;
}

/* Reads the scale table, which is verified as it is touched. */
static tq_status describe_scales(const tq_file *file, size_t index, const tq_part *part, inspect_scales *scales,
                                 tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  tq_status status = tq_file_touch(file, index, part->offset, part->size, error);
  if (status) return status;
  *scales = (inspect_scales){.count = tq_scale_count(part->granularity, part->group, tensor->rows, tensor->columns),
                             .granularity = part->granularity,
                             .group = part->group,
                             .encoding = part->encoding,
                             .direction = part->direction};
  for (uint64_t i = 0; i < scales->count; i++) {
    float scale = tq_scale_load(part->encoding, part->direction, part->data, i);
    if (i == 0 || scale < scales->least) scales->least = scale;
    if (i == 0 || scale > scales->most) scales->most = scale;
  }
  return TQ_OK;
}

static tq_status fill_tensor(const tq_file *file, size_t index, inspect_tensor *view, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  *view = (inspect_tensor){.role = tensor->role,
                           .name = tensor->name,
                           .source_type = tensor->source_type,
                           .dimensions = tensor->dimensions,
                           .shape = tensor->shape,
                           .elements = tensor->elements,
                           .stored = tensor};
  memcpy(view->trits, tensor->trit_counts, sizeof view->trits);
  memcpy(view->content.bytes, tensor->content_digest, sizeof view->content.bytes);
  for (size_t i = 0; i < tensor->part_count; i++) view->bytes += tensor->parts[i].size;
  const tq_part *values = find_part(tensor, TQ_PART_VALUES), *scales = find_part(tensor, TQ_PART_SCALES);
  if (values) describe_encoding(values, view);
  if (!scales || !scales_are_known(scales)) return TQ_OK;
  return describe_scales(file, index, scales, &view->scales, error);
}

tq_status inspect_fill_container(inspect_model *model, tq_error *error) {
  tq_file_info info;
  size_t source_files;
  tq_file_describe(model->file, &info);
  model->format = "tq";
  snprintf(model->description, sizeof model->description, "tq container");
  snprintf(model->version, sizeof model->version, "%u.%u", info.major, info.minor);
  model->size = info.size;
  model->files = 1;
  model->metadata = tq_file_metadata(model->file);
  model->hash_name = tq_hash_name(info.hash_algorithm);
  model->hash_size = info.hash_algorithm == TQ_HASH_XXH3_128 ? TQ_DIGEST_SIZE : TQ_HASH_SIZE;
  memcpy(model->hash, info.table_hash, sizeof model->hash);
  memcpy(model->weights.bytes, info.weights_digest, TQ_DIGEST_SIZE);
  memcpy(model->function.bytes, info.function_digest, TQ_DIGEST_SIZE);
  memcpy(model->tokenizer_digest.bytes, info.tokenizer_digest, TQ_DIGEST_SIZE);
  tq_status status = tq_source_describe(model->file, model->origin, sizeof model->origin, &source_files, error);
  if (status) return status;
  model->tensor_count = tq_file_tensor_count(model->file);
  model->tensors = tq_allocate(model->tensor_count, sizeof *model->tensors, error);
  if (!model->tensors) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < model->tensor_count && !status; i++)
    status = fill_tensor(model->file, i, &model->tensors[i], error);
  return status;
}
