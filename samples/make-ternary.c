/* make-ternary IN.tq OUT.tq: the same model with the matrices of its layers made ternary, in base-3 code with one scale
 * per row: each row's trits are its weights divided by their mean magnitude, rounded. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tq/container.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct ternary {
  int8_t *trits;   /* of one row */
  uint8_t *row;    /* their codes */
  uint8_t *codes;  /* of all rows */
  uint8_t *scales; /* F32, of all rows */
  float *values;   /* of one row: first as they were, then as they became */
  tq_content_hash *content;
  uint64_t counts[4];
} ternary;

static void free_ternary(ternary *work) {
  tq_free(work->trits);
  tq_free(work->row);
  tq_free(work->codes);
  tq_free(work->scales);
  tq_free(work->values);
  tq_content_hash_destroy(work->content);
}

static tq_status allocate_ternary(const tq_tensor *tensor, ternary *work, tq_error *error) {
  size_t rows = (size_t)tensor->rows, columns = (size_t)tensor->columns;
  *work = (ternary){
      .trits = tq_allocate(columns, 1, error),
      .row = tq_allocate((size_t)tq_trit_row_bytes(TQ_TERNARY_BASE3, columns), 1, error),
      .codes = tq_allocate(rows, (size_t)tq_trit_row_bytes(TQ_TERNARY_BASE3, columns), error),
      .scales = tq_allocate(rows, sizeof(float), error),
      .values = tq_allocate(columns, sizeof(float), error),
  };
  if (!work->trits || !work->row || !work->codes || !work->scales || !work->values) return TQ_ERROR_SYSTEM;
  return tq_content_hash_create(tensor->shape, tensor->dimensions, &work->content, error);
}

static void quantize_row(ternary *work, const tq_tensor *tensor, uint64_t row) {
  double sum = 0;
  for (uint64_t c = 0; c < tensor->columns; c++) sum += fabs((double)work->values[c]);
  float scale = (float)fmax(sum / (double)tensor->columns, 1e-5);
  for (uint64_t c = 0; c < tensor->columns; c++)
    work->trits[c] = (int8_t)fmaxf(-1, fminf(1, nearbyintf(work->values[c] / scale)));
  tq_store_f32(work->scales + 4 * row, scale);
  uint64_t row_bytes = tq_trit_row_bytes(TQ_TERNARY_BASE3, tensor->columns);
  tq_trits_pack(TQ_TERNARY_BASE3, work->trits, tensor->columns, work->row);
  tq_panel_store_row(work->codes, tensor->rows, row, row_bytes, work->row);
  tq_trits_count(work->trits, tensor->columns, work->counts);
  tq_trits_scale(work->trits, tensor->rows, row, tensor->columns, TQ_PER_ROW, 0, TQ_F32, TQ_DIRECT, work->scales,
                 work->values);
  tq_content_hash_update(work->content, work->values, tensor->columns);
}

static tq_status write_part(tq_writer *writer, const tq_part *part, const void *data, size_t size, tq_error *error) {
  tq_status status = tq_writer_part_begin(writer, part, error);
  if (!status) status = tq_writer_part_write(writer, data, size, error);
  if (!status) status = tq_writer_part_end(writer, error);
  return status;
}

static tq_status write_ternary(tq_writer *writer, const tq_tensor *tensor, const ternary *work, tq_error *error) {
  const tq_part codes = {.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_BASE3, .type_name = ""};
  const tq_part scales = {
      .kind = TQ_PART_SCALES, .encoding = TQ_F32, .granularity = TQ_PER_ROW, .direction = TQ_DIRECT, .type_name = ""};
  size_t rows = (size_t)tensor->rows;
  tq_digest digest;
  tq_content_hash_final(work->content, digest.bytes);
  tq_tensor begun = *tensor;
  begun.source_type = "";
  tq_status status = tq_writer_tensor_begin(writer, &begun, error);
  if (!status)
    status = write_part(writer, &codes, work->codes,
                        rows * (size_t)tq_trit_row_bytes(TQ_TERNARY_BASE3, tensor->columns), error);
  if (!status) status = write_part(writer, &scales, work->scales, rows * sizeof(float), error);
  if (!status) status = tq_writer_tensor_end(writer, work->counts, digest.bytes, error);
  return status;
}

static tq_status make_tensor_ternary(const tq_file *file, size_t index, tq_writer *writer, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  ternary work;
  tq_status status = allocate_ternary(tensor, &work, error);
  for (uint64_t row = 0; row < tensor->rows && !status; row++) {
    status = tq_tensor_decode(file, index, row, 1, work.values, error);
    if (!status) quantize_row(&work, tensor, row);
  }
  if (!status) status = write_ternary(writer, tensor, &work, error);
  free_ternary(&work);
  return status;
}

static tq_status copy_tensor(const tq_tensor *tensor, tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, tensor, error);
  for (size_t i = 0; i < tensor->part_count && !status; i++)
    status = write_part(writer, &tensor->parts[i], tensor->parts[i].data, (size_t)tensor->parts[i].size, error);
  if (!status) status = tq_writer_tensor_end(writer, tensor->trit_counts, tensor->content_digest, error);
  return status;
}

static tq_status copy_metadata(const tq_metadata *metadata, tq_writer *writer, tq_error *error) {
  tq_metadata_builder builder = {0};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < tq_metadata_count(metadata) && !status; i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    status = tq_metadata_add_value(&builder, key, &value, error);
  }
  if (!status) status = tq_writer_metadata(writer, builder.data, builder.size, builder.count, error);
  tq_metadata_builder_free(&builder);
  return status;
}

static tq_status write_model(const tq_file *file, tq_writer *writer, tq_error *error) {
  tq_section tokenizer;
  tq_status status = copy_metadata(tq_file_metadata(file), writer, error);
  if (!status && tq_file_find_section(file, "tokenizer", &tokenizer))
    status =
        tq_writer_section(writer, tokenizer.name, tokenizer.required, tokenizer.data, (size_t)tokenizer.size, error);
  for (size_t i = 0; i < tq_file_tensor_count(file) && !status; i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    bool matrix = strncmp(tensor->role, "layers.", 7) == 0 && tensor->dimensions == 2;
    status = matrix ? make_tensor_ternary(file, i, writer, error) : copy_tensor(tensor, writer, error);
  }
  return status;
}

static tq_status make_ternary(const char *from, const char *to, tq_error *error) {
  tq_file *file;
  tq_writer *writer = NULL;
  tq_file_info info;
  tq_status status = tq_file_open(from, TQ_VERIFY_FULL, &file, error);
  if (status) return status;
  tq_file_describe(file, &info);
  status = tq_writer_create(to, 0, &writer, error);
  if (!status) status = write_model(file, writer, error);
  if (!status) status = tq_writer_finish(writer, info.function_digest, info.tokenizer_digest, error);
  if (status) tq_writer_abandon(writer);
  tq_file_close(file);
  return status;
}

int main(int count, char **arguments) {
  if (count != 3) {
    fprintf(stderr, "Usage: make-ternary IN.tq OUT.tq\n");
    return TQ_ERROR_USAGE;
  }
  tq_error error;
  tq_status status = make_ternary(arguments[1], arguments[2], &error);
  if (status) fprintf(stderr, "make-ternary: %s\n", error.message);
  return (int)status;
}
