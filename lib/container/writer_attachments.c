/* Attachments: deflated as they are written, indexed behind. */
#include "container/index.h"
#include "container/writer.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

/* Section bytes go to the file and into the section's hash. */
static tq_status put(void *context, const void *data, size_t size, tq_error *error) {
  tq_writer *writer = context;
  tq_hash_update(writer->hash, data, size);
  return tq_output_write(writer->output, data, size, error);
}

static uint64_t position(const tq_writer *writer) { return tq_output_position(writer->output) - writer->stream_offset; }

static tq_status align(tq_writer *writer, tq_error *error) {
  static const uint8_t zeros[TQ_ATTACHMENT_ALIGNMENT];
  size_t over = (size_t)(position(writer) % TQ_ATTACHMENT_ALIGNMENT);
  return over == 0 ? TQ_OK : put(writer, zeros, TQ_ATTACHMENT_ALIGNMENT - over, error);
}

/* What a reader would refuse is refused here. */
static tq_status check_name(const tq_writer *writer, const char *name, uint32_t kind, tq_error *error) {
  size_t size = strlen(name);
  char text[256];
  if (size >= TQ_ATTACHMENT_NAME_LIMIT)
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: attachment %s: its name is longer than %d bytes", writer->path,
                   tq_printable(name, size, text, sizeof text), TQ_ATTACHMENT_NAME_LIMIT - 1);
  if (size == 0 || !tq_is_name(name, size) || (kind == TQ_ATTACHMENT_FILE && !tq_relative_name_is_safe(name)))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: attachment %s: not a name to write a file by", writer->path,
                   tq_printable(name, size, text, sizeof text));
  return TQ_OK;
}

static tq_status begin(tq_writer *writer, const char *name, uint32_t kind, tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status != TQ_OK) return status;
  if (writer->in_attachment || writer->in_tensor)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: attachment %s: begun inside another or a tensor", writer->path, name);
  status = check_name(writer, name, kind, error);
  if (status == TQ_OK && !writer->deflater) status = tq_deflater_create(TQ_DEFLATE_ANY, &writer->deflater, error);
  if (status == TQ_OK) status = tq_writer_stream_begin(writer, TQ_STREAM_ATTACHMENTS, error);
  if (status == TQ_OK)
    status = tq_pool_append(&writer->attachment_names, writer->path, name, &writer->attachment_name, error);
  writer->in_attachment = true;
  writer->attachment_kind = kind;
  writer->attachment_size = 0;
  writer->attachment_offset = position(writer);
  return status;
}

tq_status tq_writer_attachment_begin(tq_writer *writer, const char *name, uint32_t kind, tq_error *error) {
  return tq_writer_result(writer, begin(writer, name, kind, error));
}

static tq_status check_begun(const tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status == TQ_OK && !writer->in_attachment)
    status = tq_fail(error, TQ_ERROR_USAGE, "%s: no attachment was begun", writer->path);
  return status;
}

tq_status tq_writer_attachment_write(tq_writer *writer, const void *data, size_t size, tq_error *error) {
  tq_status status = check_begun(writer, error);
  if (status == TQ_OK) status = tq_deflater_write(writer->deflater, data, size, put, writer, error);
  writer->attachment_size += size;
  return tq_writer_result(writer, status);
}

tq_status tq_writer_attachment_end(tq_writer *writer, tq_error *error) {
  tq_status status = check_begun(writer, error);
  if (status == TQ_OK) status = tq_deflater_end(writer->deflater, put, writer, error);
  if (status == TQ_OK) {
    uint8_t record[TQ_ATTACHMENT_RECORD_SIZE] = {0};
    tq_store_u64(record + TQ_ATTACHMENT_OFFSET, writer->attachment_offset);
    tq_store_u64(record + TQ_ATTACHMENT_STORED_SIZE, position(writer) - writer->attachment_offset);
    tq_store_u64(record + TQ_ATTACHMENT_SIZE, writer->attachment_size);
    tq_store_u32(record + TQ_ATTACHMENT_KIND, writer->attachment_kind);
    tq_store_u32(record + TQ_ATTACHMENT_NAME, writer->attachment_name);
    status = tq_buffer_append(&writer->attachment_records, record, sizeof record, error);
    writer->attachments_size += writer->attachment_size;
  }
  writer->in_attachment = false;
  return tq_writer_result(writer, status);
}

static tq_status check_names(const tq_writer *writer, tq_error *error) {
  const tq_buffer *records = &writer->attachment_records;
  size_t count = records->size / TQ_ATTACHMENT_RECORD_SIZE;
  tq_attachment_name *names = tq_allocate(count, sizeof *names, error);
  if (!names) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < count; i++) {
    const uint8_t *record = records->data + i * TQ_ATTACHMENT_RECORD_SIZE;
    names[i] =
        (tq_attachment_name){tq_load_u32(record + TQ_ATTACHMENT_KIND),
                             (const char *)writer->attachment_names.data + tq_load_u32(record + TQ_ATTACHMENT_NAME)};
  }
  tq_status status = tq_attachment_names_check(writer->path, names, count, error);
  tq_free(names);
  return status;
}

static tq_status check_expansion(const tq_writer *writer, tq_error *error) {
  if (tq_attachments_are_bounded(writer->attachments_size, position(writer))) return TQ_OK;
  return tq_fail(error, TQ_ERROR_REFUSED,
                 "%s: attachments: deflated to %" PRIu64
                 " bytes, they would inflate to more than %d times as many and 64 MiB, which readers refuse",
                 writer->path, position(writer), TQ_ATTACHMENTS_RATIO_LIMIT);
}

tq_status tq_writer_attachments_finish(tq_writer *writer, tq_error *error) {
  const tq_buffer *records = &writer->attachment_records, *names = &writer->attachment_names;
  uint8_t trailer[TQ_TRAILER_SIZE] = {0};
  tq_status status = check_names(writer, error);
  if (status == TQ_OK) status = check_expansion(writer, error);
  if (status == TQ_OK) status = align(writer, error);
  tq_store_u64(trailer + TQ_TRAILER_INDEX_OFFSET, position(writer));
  tq_store_u64(trailer + TQ_TRAILER_COUNT, records->size / TQ_ATTACHMENT_RECORD_SIZE);
  tq_store_u64(trailer + TQ_TRAILER_NAMES_SIZE, names->size);
  if (status == TQ_OK) status = put(writer, records->data, records->size, error);
  if (status == TQ_OK) status = put(writer, names->data, names->size, error);
  if (status == TQ_OK) status = align(writer, error);
  return status == TQ_OK ? put(writer, trailer, sizeof trailer, error) : status;
}
