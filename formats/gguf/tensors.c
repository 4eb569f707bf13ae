#include "formats/gguf/tensors.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "formats/names.h"

#include <stdlib.h>
#include <string.h>

void tq_gguf_tensors_free(tq_gguf_tensors *tensors) {
  for (size_t i = 0; i < tensors->count; i++) tq_free(tensors->items[i].name);
  tq_free(tensors->items);
  *tensors = (tq_gguf_tensors){0};
}

bool tq_gguf_matrix_of(const tq_gguf_info *info, uint64_t *rows, uint64_t *columns) {
  uint64_t elements;
  *columns = info->shape[info->dimensions - 1];
  *rows = 1;
  for (uint32_t i = 0; i + 1 < info->dimensions; i++) {
    if (!tq_multiply_u64(*rows, info->shape[i], rows)) return false;
  }
  return tq_multiply_u64(*rows, *columns, &elements) && elements > 0;
}

/* ---- gathering ---- */

static tq_status gather_one(tq_gguf_tensors *tensors, const tq_checkpoint *checkpoint, size_t input,
                            const tq_gguf_info *info, uint32_t alignment, tq_error *error) {
  tq_status status =
      tq_grow((void **)&tensors->items, &tensors->capacity, tensors->count + 1, sizeof *tensors->items, error);
  if (status) return status;
  tq_gguf_found found = {.info = *info, .type = tq_gguf_type_find(info->type), .input = input, .alignment = alignment};
  if (!found.type) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: type %u is not known",
                   tq_input_name(checkpoint->inputs[input]), (int)info->name.size, info->name.data, info->type);
  }
  found.name = tq_copy_string(info->name.data, info->name.size, error);
  if (!found.name) return TQ_ERROR_SYSTEM;
  found.info.name.data = found.name; /* the header's bytes go */
  tensors->items[tensors->count++] = found;
  return TQ_OK;
}

static int compare_offsets(const void *a, const void *b) {
  const tq_gguf_found *x = *(tq_gguf_found *const *)a, *y = *(tq_gguf_found *const *)b;
  return (x->info.offset > y->info.offset) - (x->info.offset < y->info.offset);
}

/* Finds where the space of each of `count` tensors of one file ends. */
static tq_status find_ends(tq_gguf_found *items, size_t count, uint64_t file_size, tq_error *error) {
  if (!count) return TQ_OK;
  tq_gguf_found **order = tq_allocate(count, sizeof *order, error);
  if (!order) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < count; i++) order[i] = &items[i];
  qsort(order, count, sizeof *order, compare_offsets);
  for (size_t i = 0; i < count; i++) {
    order[i]->is_last = i + 1 == count;
    order[i]->end = order[i]->is_last ? file_size : order[i + 1]->info.offset;
  }
  tq_free(order);
  return TQ_OK;
}

tq_status tq_gguf_tensors_gather(tq_gguf_tensors *tensors, const tq_checkpoint *checkpoint, size_t input,
                                 const tq_gguf_header *header, tq_error *error) {
  size_t before = tensors->count;
  uint32_t alignment = TQ_GGUF_ALIGNMENT;
  tq_status status = tq_gguf_alignment(tq_input_name(checkpoint->inputs[input]), header->metadata, &alignment, error);
  for (size_t i = 0; !status && i < header->info_count; i++) {
    status = gather_one(tensors, checkpoint, input, &header->infos[i], alignment, error);
  }
  if (status) return status;
  return find_ends(tensors->items + before, tensors->count - before, tq_input_size(checkpoint->inputs[input]), error);
}

/* ---- adding ---- */

static tq_status fail_shape(const char *file, const tq_gguf_found *found, const char *reason, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %s", file, found->name, reason);
}

static tq_status measure_packed(const char *file, const tq_gguf_found *found, uint64_t rows, uint64_t columns,
                                uint64_t *size, tq_error *error) {
  char reason[160];
  if (tq_dialect_size(found->form.dialect, rows, columns, size)) return TQ_OK;
  if (!tq_dialect_shape_problem(found->form.dialect, rows, columns, reason, sizeof reason)) {
    return fail_shape(file, found, "its size overflows", error);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: type %s (%u) does not go with its shape: %s", file,
                 found->name, found->type->name, found->type->id, reason);
}

/* Bytes of the tensor's data. */
static tq_status measure(const char *file, const tq_gguf_found *found, uint64_t *size, tq_error *error) {
  const tq_gguf_type *type = found->type;
  uint64_t rows, columns;
  if (!tq_gguf_matrix_of(&found->info, &rows, &columns)) {
    bool zero = false;
    for (uint32_t i = 0; i < found->info.dimensions; i++) zero = zero || found->info.shape[i] == 0;
    return fail_shape(file, found, zero ? "its dimensions contain a zero" : "its dimensions overflow", error);
  }
  if (found->form.dialect) return measure_packed(file, found, rows, columns, size, error);
  if (columns % type->block_elements) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: rows of %llu are not a multiple of the %u of type %s", file,
                   found->name, (unsigned long long)columns, type->block_elements, type->name);
  }
  if (!tq_multiply_u64(rows * (columns / type->block_elements), type->block_bytes, size)) {
    return fail_shape(file, found, "its size overflows", error);
  }
  return TQ_OK;
}

/* Fills the strings; what is there already is freed by the caller in every case but success. */
static tq_status name_tensor(const tq_checkpoint *checkpoint, const tq_gguf_found *found, tq_source_tensor *tensor,
                             tq_error *error) {
  char role[TQ_ROLE_SIZE], type[64];
  if (!tq_gguf_architecture(checkpoint->metadata) ||
      !tq_role_from_name(TQ_CARRIER_GGUF, found->name, role, sizeof role)) {
    memcpy(role, found->name, found->info.name.size + 1);
  }
  const char *type_name = found->type->name;
  if (found->form.dialect) {
    tq_form_name(&found->form, type, sizeof type);
    type_name = type;
  }
  tensor->name = tq_copy_string(found->name, found->info.name.size, error);
  if (tensor->name) tensor->role = tq_copy_string(role, strlen(role), error);
  if (tensor->role) tensor->type_name = tq_copy_string(type_name, strlen(type_name), error);
  return tensor->type_name ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* Says whether the rows are in adjacent-pair order. Such an order can be undone for whole rows, or the elements of a
 * bias. */
static tq_status find_row_order(const char *file, const tq_checkpoint *checkpoint, tq_source_tensor *tensor,
                                tq_error *error) {
  tq_status status = tq_gguf_adjacent_heads(file, checkpoint->metadata, tensor->name, tensor->role, tensor->shape[0],
                                            &tensor->adjacent_heads, error);
  if (status || !tensor->adjacent_heads) return status;
  bool is_plain = tensor->encoding != TQ_BLOCKS && !tensor->form.dialect;
  if (tensor->dimensions > 2 || (tensor->dimensions == 1 && !is_plain)) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: a q or k tensor of %u dimensions and type %s is not understood", file, tensor->name,
                   tensor->dimensions, tensor->type_name);
  }
  return TQ_OK;
}

static tq_status add_tensor(tq_checkpoint *checkpoint, const tq_gguf_found *found, tq_error *error) {
  const char *file = tq_input_name(checkpoint->inputs[found->input]);
  tq_source_tensor tensor = {
      .form = found->form, .dimensions = found->info.dimensions, .input = found->input, .offset = found->info.offset};
  if (!tensor.form.dialect) {
    tensor.encoding = found->type->encoding;
    tensor.block_elements = found->type->block_elements;
    tensor.block_bytes = found->type->block_bytes;
  }
  memcpy(tensor.shape, found->info.shape, sizeof found->info.shape);
  tq_status status = measure(file, found, &tensor.size, error);
  if (!status) status = name_tensor(checkpoint, found, &tensor, error);
  if (!status) status = find_row_order(file, checkpoint, &tensor, error);
  if (!status) status = tq_checkpoint_add_tensor(checkpoint, &tensor, error);
  if (status) {
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  }
  return status;
}

tq_status tq_gguf_tensors_add(const tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tensors->count; i++) {
    if (!tensors->items[i].is_folded) status = add_tensor(checkpoint, &tensors->items[i], error);
  }
  return status;
}
