/* Attachments: the index at the section's end, and inflating. */
#include "container/deflate.h"
#include "container/file.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct attachment_index {
  const uint8_t *records, *names;
  uint64_t index_offset, names_size;
} attachment_index;

/* The trailer ends the section and says where the index begins; index and names fill what lies between. */
static tq_status cut_section(tq_file *file, attachment_index *cut, tq_error *error) {
  const tq_section *section = file->known[TQ_SECTION_ATTACHMENTS];
  if (section->size < TQ_TRAILER_SIZE || section->size % TQ_ATTACHMENT_ALIGNMENT != 0)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: %" PRIu64 " bytes hold no trailer", file->path,
                   section->size);
  const uint8_t *trailer = section->data + section->size - TQ_TRAILER_SIZE;
  uint64_t count = tq_load_u64(trailer + TQ_TRAILER_COUNT), bytes, names_end, index_end;
  cut->index_offset = tq_load_u64(trailer + TQ_TRAILER_INDEX_OFFSET);
  cut->names_size = tq_load_u64(trailer + TQ_TRAILER_NAMES_SIZE);
  if (cut->index_offset % TQ_ATTACHMENT_ALIGNMENT != 0 || !tq_multiply_u64(count, TQ_ATTACHMENT_RECORD_SIZE, &bytes) ||
      !tq_add_u64(bytes, cut->index_offset, &index_end) || !tq_add_u64(index_end, cut->names_size, &names_end) ||
      !tq_align_u64(names_end, TQ_ATTACHMENT_ALIGNMENT, &bytes) || bytes != section->size - TQ_TRAILER_SIZE)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: section attachments: %" PRIu64 " records at %" PRIu64 " and %" PRIu64
                   " bytes of names do not make up its %" PRIu64 " bytes",
                   file->path, count, cut->index_offset, cut->names_size, section->size);
  cut->records = section->data + cut->index_offset;
  cut->names = section->data + index_end;
  file->attachment_count = (size_t)count;
  if (!tq_pool_is_closed(cut->names, cut->names_size))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: its names do not begin and end with a NUL",
                   file->path);
  tq_status status = tq_check_reserved(file, "section attachments", trailer + TQ_TRAILER_ZERO, 8, error);
  if (status != TQ_OK) return status;
  return tq_check_reserved(file, "section attachments", cut->names + cut->names_size, (size_t)(bytes - names_end),
                           error);
}

static tq_status check_attachment(const tq_file *file, size_t index, const tq_attachment *attachment, tq_error *error) {
  if (!attachment->name || !*attachment->name)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: attachment %zu has no proper name", file->path,
                   index);
  if (attachment->kind == TQ_ATTACHMENT_FILE && !tq_relative_name_is_safe(attachment->name))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: attachment %s: a name that leads out of its folder", file->path,
                   attachment->name);
  if (attachment->size / TQ_DEFLATE_RATIO_LIMIT > attachment->stored_size)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: attachment %s: %" PRIu64 " bytes cannot be deflated to %" PRIu64,
                   file->path, attachment->name, attachment->size, attachment->stored_size);
  return TQ_OK;
}

/* Attachments lie end to end from the section's start. */
static tq_status read_attachment(tq_file *file, const attachment_index *cut, size_t index, uint64_t *end,
                                 tq_error *error) {
  const uint8_t *record = cut->records + index * TQ_ATTACHMENT_RECORD_SIZE;
  tq_stored_attachment *stored = &file->attachments[index];
  tq_attachment *attachment = &stored->attachment;
  attachment->name =
      tq_pool_string(cut->names, cut->names_size, tq_load_u32(record + TQ_ATTACHMENT_NAME), TQ_ATTACHMENT_NAME_LIMIT);
  attachment->kind = tq_load_u32(record + TQ_ATTACHMENT_KIND);
  attachment->size = tq_load_u64(record + TQ_ATTACHMENT_SIZE);
  attachment->stored_size = tq_load_u64(record + TQ_ATTACHMENT_STORED_SIZE);
  tq_status status = check_attachment(file, index, attachment, error);
  if (status != TQ_OK) return status;
  uint64_t offset = tq_load_u64(record + TQ_ATTACHMENT_OFFSET);
  if (offset != *end || !tq_within(offset, attachment->stored_size, cut->index_offset))
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: attachment %s: [%" PRIu64 ", +%" PRIu64
                   ") does not follow the one before it within the section",
                   file->path, attachment->name, offset, attachment->stored_size);
  stored->data = file->known[TQ_SECTION_ATTACHMENTS]->data + offset;
  *end = offset + attachment->stored_size;
  return tq_check_reserved(file, "section attachments", record + TQ_ATTACHMENT_ZERO, 8, error);
}

/* What all of them inflate to is bounded by what they take, for programs write them out unasked. */
static tq_status check_expansion(const tq_file *file, uint64_t stored, tq_error *error) {
  uint64_t size = 0;
  bool fits = true;
  for (size_t i = 0; i < file->attachment_count; i++)
    fits = fits && tq_add_u64(size, file->attachments[i].attachment.size, &size);
  if (fits && tq_attachments_are_bounded(size, stored)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: section attachments: %" PRIu64 " bytes would inflate to more than %d times as many and 64 MiB",
                 file->path, stored, TQ_ATTACHMENTS_RATIO_LIMIT);
}

static tq_status check_names(const tq_file *file, tq_error *error) {
  tq_attachment_name *names = tq_allocate(file->attachment_count, sizeof *names, error);
  if (!names) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < file->attachment_count; i++)
    names[i] = (tq_attachment_name){file->attachments[i].attachment.kind, file->attachments[i].attachment.name};
  tq_status status = tq_attachment_names_check(file->path, names, file->attachment_count, error);
  tq_free(names);
  return status;
}

tq_status tq_attachments_read(tq_file *file, tq_error *error) {
  if (!file->known[TQ_SECTION_ATTACHMENTS]) return TQ_OK;
  attachment_index cut = {0};
  tq_status status = cut_section(file, &cut, error);
  if (status != TQ_OK) return status;
  file->attachments = tq_allocate(file->attachment_count, sizeof *file->attachments, error);
  if (!file->attachments) return TQ_ERROR_SYSTEM;
  uint64_t end = 0, aligned;
  for (size_t i = 0; i < file->attachment_count && status == TQ_OK; i++)
    status = read_attachment(file, &cut, i, &end, error);
  if (status != TQ_OK) return status;
  if (!tq_align_u64(end, TQ_ATTACHMENT_ALIGNMENT, &aligned) || aligned != cut.index_offset)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: bytes that belong to no attachment", file->path);
  status = tq_check_reserved(file, "section attachments", file->known[TQ_SECTION_ATTACHMENTS]->data + end,
                             (size_t)(aligned - end), error);
  if (status == TQ_OK) status = check_expansion(file, end, error);
  return status == TQ_OK ? check_names(file, error) : status;
}

/* ---- accessors ---- */

size_t tq_file_attachment_count(const tq_file *file) { return file->attachment_count; }

void tq_file_attachment(const tq_file *file, size_t index, tq_attachment *attachment) {
  *attachment = file->attachments[index].attachment;
}

tq_status tq_file_attachment_read(const tq_file *file, size_t index, tq_sink sink, void *context, tq_error *error) {
  const tq_stored_attachment *stored = &file->attachments[index];
  char *place = tq_format_string(error, "%s: attachment %s", file->path, stored->attachment.name);
  if (!place) return TQ_ERROR_SYSTEM;
  tq_status status =
      tq_inflate(place, stored->data, stored->attachment.stored_size, stored->attachment.size, sink, context, error);
  tq_free(place);
  return status;
}

static tq_status append_to_buffer(void *context, const void *data, size_t size, tq_error *error) {
  return tq_buffer_append(context, data, size, error);
}

tq_status tq_file_attachment_load(const tq_file *file, const char *name, size_t limit, char **data, size_t *size,
                                  tq_error *error) {
  *data = NULL;
  *size = 0;
  size_t index = 0;
  while (index < file->attachment_count && (file->attachments[index].attachment.kind != TQ_ATTACHMENT_FILE ||
                                            strcmp(file->attachments[index].attachment.name, name) != 0))
    index++;
  if (index == file->attachment_count) return TQ_OK;
  if (file->attachments[index].attachment.size > limit)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: attachment %s: %" PRIu64 " bytes, where at most %zu are expected",
                   file->path, name, file->attachments[index].attachment.size, limit);
  tq_buffer buffer = {0};
  tq_status status = tq_file_attachment_read(file, index, append_to_buffer, &buffer, error);
  size_t inflated = buffer.size;
  if (status == TQ_OK) status = tq_buffer_append(&buffer, "", 1, error);
  if (status != TQ_OK) {
    tq_buffer_free(&buffer);
    return status;
  }
  *data = (char *)buffer.data;
  *size = inflated;
  return TQ_OK;
}
