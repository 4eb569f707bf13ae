/* Writing a .tq file: sections, table and header. The header is written last, over zeros. */
#include "container/writer.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

tq_status tq_writer_ready(const tq_writer *writer, tq_error *error) {
  if (!writer->failed) return TQ_OK;
  return tq_fail(error, TQ_ERROR_USAGE, "%s: writing has failed before", writer->path);
}

tq_status tq_writer_result(tq_writer *writer, tq_status status) {
  writer->failed = writer->failed || status != TQ_OK;
  return status;
}

tq_status tq_pool_append(tq_buffer *pool, const char *path, const char *text, uint32_t *offset, tq_error *error) {
  tq_status status = pool->size == 0 ? tq_buffer_append(pool, "", 1, error) : TQ_OK;
  *offset = 0;
  if (status != TQ_OK || *text == '\0') return status;
  size_t size = strlen(text) + 1;
  if (size > UINT32_MAX - pool->size) return tq_fail(error, TQ_ERROR_REFUSED, "%s: more than 4 GiB of names", path);
  *offset = (uint32_t)pool->size;
  return tq_buffer_append(pool, text, size, error);
}

/* ---- sections ---- */

static tq_status align_output(tq_writer *writer, uint64_t alignment, tq_error *error) {
  uint64_t position = tq_output_position(writer->output), aligned;
  if (!tq_align_u64(position, alignment, &aligned))
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: the file grows too large", writer->path);
  return tq_output_zeros(writer->output, aligned - position, error);
}

static tq_status add_entry(tq_writer *writer, const char *name, bool required, uint64_t offset, uint64_t size,
                           const tq_hash *hash, tq_error *error) {
  uint8_t entry[TQ_ENTRY_SIZE] = {0};
  memcpy(entry + TQ_ENTRY_NAME, name, strlen(name));
  tq_store_u32(entry + TQ_ENTRY_FLAGS, required ? TQ_SECTION_REQUIRED : 0);
  tq_store_u64(entry + TQ_ENTRY_OFFSET, offset);
  tq_store_u64(entry + TQ_ENTRY_SIZE_FIELD, size);
  memcpy(entry + TQ_ENTRY_HASH, hash->bytes, TQ_HASH_SIZE);
  return tq_buffer_append(&writer->entries, entry, sizeof entry, error);
}

tq_status tq_writer_emit(tq_writer *writer, const char *name, bool required, const tq_buffer *prefix, const void *data,
                         size_t size, tq_error *error) {
  tq_status status = align_output(writer, tq_section_alignment(name), error);
  uint64_t offset = tq_output_position(writer->output);
  size_t prefix_size = prefix ? prefix->size : 0;
  if (status == TQ_OK && prefix_size > 0) status = tq_output_write(writer->output, prefix->data, prefix_size, error);
  if (status == TQ_OK && size > 0) status = tq_output_write(writer->output, data, size, error);
  if (status != TQ_OK) return status;
  tq_hash_reset(writer->hash);
  tq_hash_update(writer->hash, prefix ? prefix->data : NULL, prefix_size);
  tq_hash_update(writer->hash, data, size);
  tq_hash hash;
  tq_hash_final(writer->hash, &hash);
  return add_entry(writer, name, required, offset, prefix_size + size, &hash, error);
}

static tq_status hold_section(tq_writer *writer, const char *name, bool required, const tq_buffer *prefix,
                              const void *data, size_t size, tq_error *error) {
  void *sections = writer->held;
  tq_status status = tq_grow(&sections, &writer->held_capacity, writer->held_count + 1, sizeof *writer->held, error);
  writer->held = sections;
  if (status != TQ_OK) return status;
  tq_buffer copy = {0};
  if (prefix) status = tq_buffer_append(&copy, prefix->data, prefix->size, error);
  if (status == TQ_OK && size > 0) status = tq_buffer_append(&copy, data, size, error);
  if (status != TQ_OK) {
    tq_buffer_free(&copy);
    return status;
  }
  tq_held_section *held = &writer->held[writer->held_count++];
  *held = (tq_held_section){.required = required, .data = copy.data, .size = copy.size};
  memcpy(held->name, name, strlen(name) + 1);
  return TQ_OK;
}

static tq_status put_section(tq_writer *writer, const char *name, bool required, const tq_buffer *prefix,
                             const void *data, size_t size, tq_error *error) {
  if (writer->stream == TQ_STREAM_NONE) return tq_writer_emit(writer, name, required, prefix, data, size, error);
  return hold_section(writer, name, required, prefix, data, size, error);
}

static bool name_is_taken(const tq_writer *writer, const char *name) {
  for (size_t at = 0; at < writer->entries.size; at += TQ_ENTRY_SIZE)
    if (strcmp((const char *)writer->entries.data + at + TQ_ENTRY_NAME, name) == 0) return true;
  for (size_t i = 0; i < writer->held_count; i++)
    if (strcmp(writer->held[i].name, name) == 0) return true;
  return false;
}

static tq_status check_section_name(const tq_writer *writer, const char *name, tq_error *error) {
  size_t size = strlen(name);
  bool proper = size > 0 && size < TQ_ENTRY_NAME_SIZE && tq_section_by_name(name) >= (tq_known_section)TQ_SECTION_OWN;
  for (size_t i = 0; i < size; i++) proper = proper && name[i] > 0x20 && name[i] < 0x7f;
  if (!proper)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: section: not a name for a section of one's own", writer->path);
  if (name_is_taken(writer, name))
    return tq_fail(error, TQ_ERROR_USAGE, "%s: section %s: written twice", writer->path, name);
  return TQ_OK;
}

tq_status tq_writer_section(tq_writer *writer, const char *name, bool required, const void *data, size_t size,
                            tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status == TQ_OK) status = check_section_name(writer, name, error);
  if (status == TQ_OK) status = put_section(writer, name, required, NULL, data, size, error);
  return tq_writer_result(writer, status);
}

tq_status tq_writer_metadata(tq_writer *writer, const void *data, size_t size, uint64_t count, tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status == TQ_OK && writer->taken[TQ_SECTION_METADATA])
    status = tq_fail(error, TQ_ERROR_USAGE, "%s: metadata: written twice", writer->path);
  if (status == TQ_OK) {
    writer->taken[TQ_SECTION_METADATA] = true;
    uint8_t bytes[8];
    tq_store_u64(bytes, count);
    tq_buffer prefix = {.data = bytes, .size = sizeof bytes};
    status = put_section(writer, tq_section_names[TQ_SECTION_METADATA], true, &prefix, data, size, error);
  }
  return tq_writer_result(writer, status);
}

/* ---- streaming sections ---- */

static const tq_known_section stream_sections[] = {
    [TQ_STREAM_ATTACHMENTS] = TQ_SECTION_ATTACHMENTS, [TQ_STREAM_DATA] = TQ_SECTION_DATA};

tq_status tq_writer_stream_begin(tq_writer *writer, tq_writer_stream stream, tq_error *error) {
  if (writer->stream == stream) return TQ_OK;
  tq_status status = tq_writer_stream_end(writer, error);
  if (status != TQ_OK) return status;
  tq_known_section section = stream_sections[stream];
  const char *name = tq_section_names[section];
  if (writer->taken[section])
    return tq_fail(error, TQ_ERROR_USAGE, "%s: section %s: cannot be continued", writer->path, name);
  status = align_output(writer, tq_section_alignment(name), error);
  writer->taken[section] = true;
  writer->stream = stream;
  writer->stream_offset = tq_output_position(writer->output);
  tq_hash_reset(writer->hash);
  return status;
}

tq_status tq_writer_stream_end(tq_writer *writer, tq_error *error) {
  if (writer->stream == TQ_STREAM_NONE) return TQ_OK;
  if (writer->in_attachment || writer->in_tensor)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: the last %s was not ended", writer->path,
                   writer->in_tensor ? "tensor" : "attachment");
  tq_hash hash;
  bool data = writer->stream == TQ_STREAM_DATA;
  tq_status status = data ? TQ_OK : tq_writer_attachments_finish(writer, error);
  if (data)
    tq_hash_bytes(writer->algorithm, writer->tensor_hashes.data, writer->tensor_hashes.size, &hash);
  else
    tq_hash_final(writer->hash, &hash);
  const char *name = tq_section_names[stream_sections[writer->stream]];
  writer->stream = TQ_STREAM_NONE;
  if (status != TQ_OK) return status;
  uint64_t size = tq_output_position(writer->output) - writer->stream_offset;
  return add_entry(writer, name, data, writer->stream_offset, size, &hash, error);
}

/* ---- beginning and end ---- */

static tq_status prepare(tq_writer *writer, const char *path, tq_error *error) {
  writer->path = tq_copy_string(path, strlen(path), error);
  if (!writer->path) return TQ_ERROR_SYSTEM;
  if (!tq_hash_name(writer->algorithm))
    return tq_fail(error, TQ_ERROR_USAGE, "%s: unknown hash algorithm %" PRIu32, path, writer->algorithm);
  tq_status status = tq_hash_create(writer->algorithm, &writer->hash, error);
  if (status == TQ_OK) status = tq_output_create(path, &writer->output, error);
  return status == TQ_OK ? tq_output_zeros(writer->output, TQ_HEADER_SIZE, error) : status;
}

tq_status tq_writer_create(const char *path, uint32_t hash_algorithm, tq_writer **writer, tq_error *error) {
  tq_writer *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->algorithm = hash_algorithm == 0 ? TQ_HASH_XXH3_128 : hash_algorithm;
  tq_status status = prepare(created, path, error);
  if (status == TQ_OK)
    *writer = created;
  else
    tq_writer_abandon(created);
  return status;
}

static tq_status emit_held(tq_writer *writer, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; i < writer->held_count && status == TQ_OK; i++)
    status = tq_writer_emit(writer, writer->held[i].name, writer->held[i].required, NULL, writer->held[i].data,
                            writer->held[i].size, error);
  return status;
}

static tq_status write_table(tq_writer *writer, uint8_t header[TQ_HEADER_SIZE], tq_error *error) {
  tq_status status = align_output(writer, TQ_ALIGNMENT, error);
  uint64_t offset = tq_output_position(writer->output);
  if (status == TQ_OK) status = tq_output_write(writer->output, writer->entries.data, writer->entries.size, error);
  tq_hash hash;
  tq_hash_bytes(writer->algorithm, writer->entries.data, writer->entries.size, &hash);
  memcpy(header + TQ_HEADER_TABLE_HASH, hash.bytes, TQ_HASH_SIZE);
  tq_store_u64(header + TQ_HEADER_TABLE_OFFSET, offset);
  tq_store_u32(header + TQ_HEADER_SECTION_COUNT, (uint32_t)(writer->entries.size / TQ_ENTRY_SIZE));
  return status;
}

static tq_status write_header(tq_writer *writer, uint8_t header[TQ_HEADER_SIZE], tq_error *error) {
  memcpy(header, TQ_MAGIC, TQ_MAGIC_SIZE);
  tq_store_u16(header + TQ_HEADER_MAJOR, TQ_FORMAT_MAJOR);
  tq_store_u16(header + TQ_HEADER_MINOR, TQ_FORMAT_MINOR);
  tq_store_u32(header + TQ_HEADER_HEADER_SIZE, TQ_HEADER_SIZE);
  tq_store_u64(header + TQ_HEADER_FILE_SIZE, tq_output_position(writer->output));
  tq_store_u32(header + TQ_HEADER_HASH_ALGORITHM, writer->algorithm);
  tq_store_u64(header + TQ_HEADER_CHECKSUM, tq_hash_xxh3_64(header, TQ_HEADER_CHECKSUM));
  return tq_output_write_at(writer->output, 0, header, TQ_HEADER_SIZE, error);
}

static tq_status finish(tq_writer *writer, const uint8_t function_digest[16], const uint8_t tokenizer_digest[16],
                        tq_error *error) {
  uint8_t header[TQ_HEADER_SIZE] = {0};
  tq_status status = tq_writer_ready(writer, error);
  if (status == TQ_OK && !writer->taken[TQ_SECTION_DATA])
    status = tq_writer_stream_begin(writer, TQ_STREAM_DATA, error);
  if (status == TQ_OK) status = tq_writer_stream_end(writer, error);
  if (status == TQ_OK && !writer->taken[TQ_SECTION_METADATA]) status = tq_writer_metadata(writer, NULL, 0, 0, error);
  if (status == TQ_OK) status = emit_held(writer, error);
  if (status == TQ_OK) status = tq_writer_directory(writer, function_digest, tokenizer_digest, error);
  if (status == TQ_OK) status = write_table(writer, header, error);
  if (status == TQ_OK) status = write_header(writer, header, error);
  if (status != TQ_OK) return status;
  tq_output *output = writer->output;
  writer->output = NULL; /* the commit frees it, whatever comes of it */
  return tq_output_commit(output, error);
}

tq_status tq_writer_finish(tq_writer *writer, const uint8_t function_digest[16], const uint8_t tokenizer_digest[16],
                           tq_error *error) {
  tq_status status = finish(writer, function_digest, tokenizer_digest, error);
  if (status == TQ_OK)
    tq_writer_abandon(writer);
  else
    tq_writer_result(writer, status);
  return status;
}

void tq_writer_abandon(tq_writer *writer) {
  if (!writer) return;
  tq_output_abandon(writer->output);
  tq_deflater_destroy(writer->deflater);
  tq_hash_destroy(writer->hash);
  for (size_t i = 0; i < writer->held_count; i++) tq_free(writer->held[i].data);
  tq_free(writer->held);
  tq_buffer *const buffers[] = {&writer->entries,        &writer->attachment_records, &writer->attachment_names,
                                &writer->tensor_records, &writer->part_records,       &writer->strings,
                                &writer->tensor_hashes,  &writer->chunk_hashes};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) tq_buffer_free(buffers[i]);
  tq_free(writer->path);
  tq_free(writer);
}
