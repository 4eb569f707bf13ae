#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/header.h"
#include "formats/gguf/plan.h"
#include "tq/ternary.h"

#include <string.h>

enum { PIECE = 1 << 20, STAGE = 64 * 1024 };

/* Small pieces (rows in another order, the elements of a bias) gather in a stage before they are written; half-width
 * floats leave it as F32. */
typedef struct writer {
  const tq_gguf_plan *plan;
  tq_output *output;
  uint8_t *stage;
  float *values; /* room for the stage's bytes as 16-bit floats */
  uint8_t *widened;
  size_t staged;
  uint32_t widened_from; /* F16 or BF16, or 0: bytes are written as they are */
} writer;

static tq_status flush(writer *self, tq_error *error) {
  size_t size = self->staged;
  self->staged = 0;
  if (!self->widened_from) return tq_output_write(self->output, self->stage, size, error);
  size_t count = size / 2;
  tq_numbers_decode(self->widened_from, self->stage, count, self->values);
  for (size_t i = 0; i < count; i++) tq_store_f32(self->widened + 4 * i, self->values[i]);
  return tq_output_write(self->output, self->widened, 4 * count, error);
}

static tq_status put(writer *self, const uint8_t *data, uint64_t size, tq_error *error) {
  if (!self->widened_from && size >= STAGE) { /* nothing is gained by copying long rows */
    tq_status status = flush(self, error);
    return status ? status : tq_output_write(self->output, data, (size_t)size, error);
  }
  tq_status status = TQ_OK;
  while (!status && size) {
    size_t room = STAGE - self->staged, n = size < room ? (size_t)size : room;
    memcpy(self->stage + self->staged, data, n);
    self->staged += n;
    data += n;
    size -= n;
    if (self->staged == STAGE) status = flush(self, error);
  }
  return status;
}

/* Rows a * (n / 2) + b of a head of n rows go to 2 b + a. */
static tq_status put_head(writer *self, const uint8_t *rows, uint64_t count, uint64_t row_bytes, tq_error *error) {
  tq_status status = TQ_OK;
  for (uint64_t i = 0; !status && i < count; i++) {
    status = put(self, rows + ((i % 2) * (count / 2) + i / 2) * row_bytes, row_bytes, error);
  }
  return status;
}

static tq_status write_encoded(void *output, const void *data, size_t size, tq_error *error) {
  return tq_output_write(output, data, size, error);
}

static tq_status put_ternary(writer *self, const tq_gguf_planned *planned, tq_error *error) {
  tq_encode_options options = {.form = planned->form, .adjacent_heads = planned->heads, .team = self->plan->team};
  return tq_dialect_encode(self->plan->file, planned->tensor, &options, write_encoded, self->output, error);
}

static tq_status put_numbers(writer *self, const tq_gguf_planned *planned, tq_error *error) {
  const tq_file *file = self->plan->file;
  const tq_part *part = &tq_file_tensor(file, planned->tensor)->parts[0];
  uint64_t step = planned->heads ? part->size / planned->heads : PIECE;
  self->widened_from = planned->widened ? part->encoding : 0;
  tq_status status = TQ_OK;
  for (uint64_t offset = 0; !status && offset < part->size; offset += step) {
    uint64_t size = part->size - offset < step ? part->size - offset : step;
    status = tq_file_touch(file, planned->tensor, part->offset + offset, size, error);
    if (status) return status;
    if (planned->heads) {
      uint64_t rows = planned->shape[0] / planned->heads;
      status = put_head(self, part->data + offset, rows, step / rows, error);
    } else {
      status = put(self, part->data + offset, size, error);
    }
  }
  return status ? status : flush(self, error);
}

static tq_status put_rope_factors(writer *self, tq_error *error) {
  uint8_t bytes[4];
  tq_status status = TQ_OK;
  self->widened_from = 0;
  for (size_t i = 0; !status && i < self->plan->rope_factor_count; i++) {
    tq_store_f32(bytes, self->plan->rope_factors[i]);
    status = put(self, bytes, sizeof bytes, error);
  }
  return status ? status : flush(self, error);
}

static tq_status put_tensor(writer *self, const tq_gguf_planned *planned, tq_error *error) {
  if (planned->tensor == SIZE_MAX) return put_rope_factors(self, error);
  if (planned->is_scale) return tq_output_write(self->output, planned->form.scale, 4, error);
  return planned->form.dialect ? put_ternary(self, planned, error) : put_numbers(self, planned, error);
}

/* ---- the header ---- */

static tq_status write_u32(tq_output *output, uint32_t value, tq_error *error) {
  uint8_t bytes[4];
  tq_store_u32(bytes, value);
  return tq_output_write(output, bytes, sizeof bytes, error);
}

static tq_status write_u64(tq_output *output, uint64_t value, tq_error *error) {
  uint8_t bytes[8];
  tq_store_u64(bytes, value);
  return tq_output_write(output, bytes, sizeof bytes, error);
}

static tq_status write_info(tq_output *output, const tq_gguf_planned *planned, tq_error *error) {
  size_t size = strlen(planned->name);
  tq_status status = write_u64(output, size, error);
  if (!status) status = tq_output_write(output, planned->name, size, error);
  if (!status) status = write_u32(output, planned->dimensions, error);
  for (uint32_t i = planned->dimensions; !status && i-- > 0;) status = write_u64(output, planned->shape[i], error);
  if (!status) status = write_u32(output, planned->type->id, error);
  return status ? status : write_u64(output, planned->offset, error);
}

static tq_status pad(const writer *self, tq_error *error) {
  uint64_t position = tq_output_position(self->output), aligned;
  if (!tq_align_u64(position, self->plan->alignment, &aligned)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the file's size overflows", self->plan->name);
  }
  return tq_output_zeros(self->output, aligned - position, error);
}

static tq_status write_header(const writer *self, tq_error *error) {
  const tq_gguf_plan *plan = self->plan;
  tq_status status = tq_output_write(self->output, "GGUF", 4, error);
  if (!status) status = write_u32(self->output, TQ_GGUF_VERSION, error);
  if (!status) status = write_u64(self->output, plan->tensor_count, error);
  if (!status) status = write_u64(self->output, plan->keys.count, error);
  if (!status) status = tq_output_write(self->output, plan->keys.data, plan->keys.size, error);
  for (size_t i = 0; !status && i < plan->tensor_count; i++) {
    status = write_info(self->output, &plan->tensors[i], error);
  }
  return status || !plan->tensor_count ? status : pad(self, error);
}

/* ---- the whole ---- */

static tq_status write_all(writer *self, tq_error *error) {
  tq_status status = write_header(self, error);
  for (size_t i = 0; !status && i < self->plan->tensor_count; i++) {
    status = put_tensor(self, &self->plan->tensors[i], error);
    if (!status) status = pad(self, error);
  }
  return status;
}

static tq_status write_planned(const tq_gguf_plan *plan, const char *path, tq_error *error) {
  writer self = {.plan = plan};
  tq_status status = TQ_ERROR_SYSTEM;
  self.stage = tq_allocate(STAGE, 1, error);
  self.values = self.stage ? tq_allocate(STAGE / 2, sizeof *self.values, error) : NULL;
  self.widened = self.values ? tq_allocate(STAGE / 2, 4, error) : NULL;
  if (self.widened) status = tq_output_create(path, &self.output, error);
  if (!status) {
    status = write_all(&self, error);
    if (status)
      tq_output_abandon(self.output);
    else
      status = tq_output_commit(self.output, error);
  }
  tq_free(self.widened);
  tq_free(self.values);
  tq_free(self.stage);
  return status;
}

tq_status tq_gguf_write(const tq_file *file, const char *path, const tq_write_options *options, tq_buffer *notes,
                        tq_error *error) {
  tq_gguf_plan plan = {0};
  tq_status status = tq_gguf_plan_make(file, options, &plan, notes, error);
  if (!status) status = write_planned(&plan, path, error);
  tq_gguf_plan_free(&plan);
  return status;
}
