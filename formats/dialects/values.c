/* Rows as floats, for whoever compares weights: in any order, a few at a time. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/reading.h"
#include "tq/ternary.h"

#include <string.h>

/* Memory for one row of a packed tensor. */
typedef struct row_memory {
  uint8_t *unit, *scales;
  int8_t *trits;
} row_memory;

/* The scale that counts for all rows, where it does not lie beside them. */
static tq_status outer_scale(tq_ternary_reader *reader, uint8_t scale[4], uint32_t *encoding, uint32_t *direction,
                             tq_error *error) {
  const tq_form *form = &reader->form;
  uint8_t tail[64];
  *encoding = form->scale_encoding;
  *direction = form->scale_direction;
  memcpy(scale, form->scale, sizeof form->scale);
  if (tq_form_has_outer_scale(form)) return TQ_OK;
  *encoding = form->dialect->scale_encoding;
  *direction = form->dialect->direction;
  if (form->dialect->tail_bytes > sizeof tail)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its tail is too long", reader->tensor->name);
  tq_status status = tq_reader_tail(reader, tail, error);
  memcpy(scale, tail, 4);
  return status;
}

static tq_status read_row(tq_ternary_reader *reader, uint64_t row, const row_memory *memory, float *values,
                          tq_error *error) {
  const tq_dialect *dialect = reader->form.dialect;
  uint64_t unit, place;
  uint8_t scale[4];
  uint32_t encoding, direction;
  tq_reader_place(reader, row, &unit, &place);
  tq_status status = tq_source_tensor_bytes(reader->checkpoint, reader->index, unit * reader->unit_bytes,
                                            reader->unit_bytes, memory->unit, error);
  if (status) return status;
  if (!dialect->decode(memory->unit, reader->columns, (uint32_t)place, memory->trits, memory->scales)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: row %llu holds what means nothing in %s",
                   tq_reader_file(reader), reader->tensor->name, (unsigned long long)row, dialect->name);
  }
  if (tq_reader_scales_inside(reader)) {
    tq_trits_scale(memory->trits, 1, 0, reader->columns, dialect->granularity, dialect->group, dialect->scale_encoding,
                   dialect->direction, memory->scales, values);
    return TQ_OK;
  }
  status = outer_scale(reader, scale, &encoding, &direction, error);
  if (!status)
    tq_trits_scale(memory->trits, 1, 0, reader->columns, TQ_PER_TENSOR, 0, encoding, direction, scale, values);
  return status;
}

static tq_status read_packed(tq_ternary_reader *reader, uint64_t first, uint64_t count, float *values,
                             tq_error *error) {
  row_memory memory = {.unit = tq_allocate((size_t)reader->unit_bytes, 1, error)};
  if (memory.unit) memory.trits = tq_allocate((size_t)reader->columns, 1, error);
  if (memory.trits) memory.scales = tq_allocate((size_t)reader->row_scales + 1, 4, error);
  tq_status status = memory.scales ? TQ_OK : TQ_ERROR_SYSTEM;
  for (uint64_t i = 0; !status && i < count; i++)
    status = read_row(reader, first + i, &memory, values + i * reader->columns, error);
  tq_free(memory.scales);
  tq_free(memory.trits);
  tq_free(memory.unit);
  return status;
}

/* Numbers and blocks as floats; false for those that have none. */
static bool decode_numbers(const tq_source_tensor *tensor, const uint8_t *bytes, uint64_t elements, float *values) {
  if (tensor->encoding != TQ_BLOCKS) return tq_numbers_decode(tensor->encoding, bytes, elements, values);
  const tq_block_type *type = tq_block_type_find(tensor->type_name);
  if (type) type->decode(bytes, elements / type->block_elements, values);
  return type != NULL;
}

/* Whole units are read, of which the rows at either end may be a part. */
static tq_status read_numbers(tq_ternary_reader *reader, uint64_t first, uint64_t count, uint64_t row_bytes,
                              uint64_t columns, float *values, tq_error *error) {
  const tq_source_tensor *tensor = reader->tensor;
  uint64_t unit = tq_source_tensor_unit(tensor);
  uint64_t begin = first * row_bytes / unit * unit, end = ((first + count) * row_bytes + unit - 1) / unit * unit;
  uint8_t *bytes = tq_allocate((size_t)(end - begin), 1, error);
  if (!bytes) return TQ_ERROR_SYSTEM;
  tq_status status = tq_source_tensor_read(reader->checkpoint, reader->index, begin, end - begin, bytes, error);
  if (!status && !decode_numbers(tensor, bytes + (first * row_bytes - begin), count * columns, values)) {
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: numbers of type %s are not computed with",
                     tq_reader_file(reader), tensor->name, tensor->type_name);
  }
  tq_free(bytes);
  return status;
}

tq_status tq_ternary_reader_values(tq_ternary_reader *reader, uint64_t first, uint64_t count, float *values,
                                   tq_error *error) {
  const tq_source_tensor *tensor = reader->tensor;
  if (tensor->form.dialect) return read_packed(reader, first, count, values, error);
  uint64_t columns = tensor->shape[tensor->dimensions - 1], rows = 1;
  for (uint32_t i = 0; i + 1 < tensor->dimensions; i++) rows *= tensor->shape[i];
  return read_numbers(reader, first, count, tensor->size / rows, columns, values, error);
}
