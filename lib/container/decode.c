/* Decoding: from whatever a tensor is encoded in to the exact values in f32. */
#include "container/file.h"
#include "container/parts.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "tq/ternary.h"

#include <inttypes.h>

typedef struct decoding {
  const tq_file *file;
  const tq_tensor *tensor;
  size_t index;
  const tq_part *values, *scales; /* scales may be NULL */
  uint64_t row_bytes;             /* of the values */
  uint64_t first, count;          /* rows */
  int8_t *row;                    /* one row of integers */
  float *output;
} decoding;

static tq_status fail(const decoding *job, const char *reason, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: cannot be decoded: %s", job->file->path, job->tensor->role,
                 reason);
}

/* Parts that change the values and are not decoded here must not be passed over in silence. */
static tq_status find_parts(decoding *job, tq_error *error) {
  const tq_tensor *tensor = job->tensor;
  job->values = &tensor->parts[0];
  for (size_t i = 1; i < tensor->part_count; i++) {
    uint32_t kind = tensor->parts[i].kind;
    if (kind == TQ_PART_SCALES)
      job->scales = &tensor->parts[i];
    else if (kind == TQ_PART_LOW_RANK_A)
      return fail(job, "it has low-rank factors", error);
    else if (kind != TQ_PART_PATCH && kind != TQ_PART_SIGNS && kind != TQ_PART_LOW_RANK_B)
      return tq_fail(error, TQ_ERROR_CORRUPT,
                     "%s: tensor %s: cannot be decoded: it has a part of unknown kind %" PRIu32, job->file->path,
                     tensor->role, kind);
  }
  if (job->scales && !tq_encoding_find(job->scales->encoding)) return fail(job, "its scales' encoding", error);
  return TQ_OK;
}

/* Verifies, in a lazy file, what a part has for the rows [first, end): row_bytes for each, or the whole of it for 0. */
static tq_status touch_part(const decoding *job, const tq_part *part, uint64_t first, uint64_t end, uint64_t row_bytes,
                            tq_error *error) {
  uint64_t size = row_bytes ? (end - first) * row_bytes : part->size;
  return tq_file_touch(job->file, job->index, part->offset + first * row_bytes, size, error);
}

/* Codes and scales of groups lie in panels: those of all rows that share one with the rows wanted. */
static tq_status touch_rows(const decoding *job, tq_error *error) {
  const tq_part *scales = job->scales;
  uint64_t rows = job->tensor->rows, end = job->first + job->count;
  if (job->count == 0) return TQ_OK;
  uint64_t panel = job->first - job->first % TQ_PANEL_ROWS;
  uint64_t panel_end = end - 1 - (end - 1) % TQ_PANEL_ROWS + tq_panel_height(rows, end - 1);
  bool panels = tq_encoding_is_trits(job->values->encoding);
  tq_status status =
      touch_part(job, job->values, panels ? panel : job->first, panels ? panel_end : end, job->row_bytes, error);
  if (status || !scales) return status;
  uint64_t scale_bytes = scales->granularity == TQ_PER_TENSOR ? 0 : scales->size / rows;
  return touch_part(job, scales, panel, panel_end, scale_bytes, error);
}

static void scale_row(const decoding *job, const int8_t *integers, uint64_t row) {
  const tq_part *scales = job->scales;
  tq_trits_scale(integers, job->tensor->rows, row, job->tensor->columns, scales->granularity, scales->group,
                 scales->encoding, scales->direction, scales->data,
                 job->output + (row - job->first) * job->tensor->columns);
}

static tq_status decode_trits(const decoding *job, tq_error *error) {
  uint64_t columns = job->tensor->columns;
  for (uint64_t row = job->first; row < job->first + job->count; row++) {
    uint64_t bad;
    if (!tq_tensor_unpack(job->tensor, row, 0, columns, job->row, &bad))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: row %" PRIu64 ": byte %" PRIu64 " is no ternary code",
                     job->file->path, job->tensor->role, row, bad);
    scale_row(job, job->row, row);
  }
  return TQ_OK;
}

static tq_status decode_scaled_integers(const decoding *job, tq_error *error) {
  (void)error;
  for (uint64_t row = job->first; row < job->first + job->count; row++)
    scale_row(job, (const int8_t *)job->values->data + row * job->row_bytes, row);
  return TQ_OK;
}

static tq_status decode_numbers(const decoding *job, tq_error *error) {
  if (tq_numbers_decode(job->values->encoding, job->values->data + job->first * job->row_bytes,
                        job->count * job->tensor->columns, job->output))
    return TQ_OK;
  return fail(job, tq_encoding_find(job->values->encoding)->name, error);
}

static tq_status decode_blocks(const decoding *job, tq_error *error) {
  const tq_part *values = job->values;
  const tq_block_type *type = tq_block_type_find(values->type_name);
  if (!type)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: cannot be decoded: blocks of type %s", job->file->path,
                   job->tensor->role, values->type_name);
  if (type->block_elements != values->block_elements || type->block_bytes != values->block_bytes)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: cannot be decoded: %s blocks of %" PRIu32 " elements in %" PRIu32 " bytes",
                   job->file->path, job->tensor->role, values->type_name, values->block_elements, values->block_bytes);
  type->decode(values->data + job->first * job->row_bytes, job->count * (job->tensor->columns / type->block_elements),
               job->output);
  return TQ_OK;
}

/* Picks the way to decode and finds how long a row is. */
static tq_status choose(decoding *job, tq_status (**decode)(const decoding *, tq_error *), tq_error *error) {
  const tq_part *values = job->values;
  uint64_t columns = job->tensor->columns;
  if (tq_encoding_is_trits(values->encoding)) {
    job->row_bytes = tq_trit_row_bytes(values->encoding, columns);
    *decode = decode_trits;
    return TQ_OK;
  }
  const tq_encoding_info *info = tq_encoding_find(values->encoding);
  if (!info)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: cannot be decoded: unknown encoding %" PRIu32,
                   job->file->path, job->tensor->role, values->encoding);
  bool blocks = values->encoding == TQ_BLOCKS;
  uint64_t unit = blocks ? values->block_elements : info->elements;
  if (columns % unit != 0) return fail(job, "its rows are not whole blocks", error);
  job->row_bytes = columns / unit * (blocks ? values->block_bytes : info->bytes);
  *decode = blocks ? decode_blocks : job->scales ? decode_scaled_integers : decode_numbers;
  return TQ_OK;
}

tq_status tq_tensor_decode(const tq_file *file, size_t index, uint64_t first, uint64_t count, float *values,
                           tq_error *error) {
  decoding job = {.file = file, .index = index, .first = first, .count = count, .output = values};
  if (index >= file->tensor_count) return tq_fail(error, TQ_ERROR_USAGE, "%s: no tensor %zu", file->path, index);
  job.tensor = &file->tensors[index];
  if (!tq_within(first, count, job.tensor->rows))
    return tq_fail(error, TQ_ERROR_USAGE, "%s: tensor %s: no rows [%" PRIu64 ", +%" PRIu64 ")", file->path,
                   job.tensor->role, first, count);
  tq_status (*decode)(const decoding *, tq_error *) = NULL;
  tq_status status = find_parts(&job, error);
  if (status == TQ_OK) status = choose(&job, &decode, error);
  if (status == TQ_OK) status = touch_rows(&job, error);
  if (status != TQ_OK || decode != decode_trits) return status == TQ_OK ? decode(&job, error) : status;
  job.row = tq_allocate((size_t)job.tensor->columns, 1, error);
  if (!job.row) return TQ_ERROR_SYSTEM;
  status = decode(&job, error);
  tq_free(job.row);
  return status;
}
