/* Tensors: their bytes stream through, hashed chunk by chunk; what is said of them is kept for the directory. */
#include "container/index.h"
#include "container/parts.h"
#include "container/writer.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

/* ---- bytes ---- */

static tq_status close_chunk(tq_writer *writer, tq_error *error) {
  tq_hash hash;
  tq_hash_final(writer->hash, &hash);
  tq_hash_reset(writer->hash);
  writer->chunk_fill = 0;
  return tq_buffer_append(&writer->chunk_hashes, hash.bytes, sizeof hash.bytes, error);
}

/* Each byte is hashed once and handed on while it is still in the cache. */
static tq_status put(tq_writer *writer, const void *data, size_t size, tq_error *error) {
  const uint8_t *bytes = data;
  tq_status status = TQ_OK;
  while (size > 0 && status == TQ_OK) {
    uint64_t room = TQ_CHUNK_SIZE - writer->chunk_fill;
    size_t step = size < room ? size : (size_t)room;
    tq_hash_update(writer->hash, bytes, step);
    status = tq_output_write(writer->output, bytes, step, error);
    writer->chunk_fill += step;
    writer->extent += step;
    bytes += step;
    size -= step;
    if (status == TQ_OK && writer->chunk_fill == TQ_CHUNK_SIZE) status = close_chunk(writer, error);
  }
  return status;
}

/* ---- a tensor ---- */

static tq_status check_name(const tq_writer *writer, const char *name, const char *what, bool may_be_empty,
                            tq_error *error) {
  size_t size = strlen(name);
  char text[128];
  if (size >= TQ_ROLE_SIZE)
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: its %s is longer than %d bytes", writer->path,
                   tq_printable(name, size, text, sizeof text), what, TQ_ROLE_SIZE - 1);
  if (!tq_is_name(name, size) || (size == 0 && !may_be_empty))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor '%s': its %s is empty or not proper UTF-8", writer->path,
                   tq_printable(name, size, text, sizeof text), what);
  return TQ_OK;
}

static tq_status keep_names(tq_writer *writer, const tq_tensor *tensor, tq_error *error) {
  tq_status status = check_name(writer, tensor->role, "role", false, error);
  if (status == TQ_OK) status = check_name(writer, tensor->name, "name", false, error);
  if (status == TQ_OK) status = check_name(writer, tensor->source_type, "source type", true, error);
  tq_buffer *pool = &writer->strings;
  if (status == TQ_OK) status = tq_pool_append(pool, writer->path, tensor->role, &writer->role_offset, error);
  if (status == TQ_OK) status = tq_pool_append(pool, writer->path, tensor->name, &writer->name_offset, error);
  if (status == TQ_OK)
    status = tq_pool_append(pool, writer->path, tensor->source_type, &writer->source_type_offset, error);
  if (status == TQ_OK) memcpy(writer->role, tensor->role, strlen(tensor->role) + 1);
  return status;
}

/* Pads to the tensor's start; the padding belongs to no tensor and is not hashed. */
static tq_status start_extent(tq_writer *writer, tq_error *error) {
  uint64_t offset = tq_output_position(writer->output) - writer->stream_offset, aligned;
  if (!tq_align_u64(offset, TQ_ALIGNMENT, &aligned))
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: the file grows too large", writer->path);
  writer->tensor.data_offset = aligned;
  writer->extent = 0;
  writer->chunk_fill = 0;
  writer->chunk_first = writer->chunk_hashes.size;
  return tq_output_zeros(writer->output, aligned - offset, error);
}

static tq_status begin_tensor(tq_writer *writer, const tq_tensor *tensor, tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status != TQ_OK) return status;
  if (writer->in_tensor)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: tensor %s: begun inside another", writer->path, tensor->role);
  status = keep_names(writer, tensor, error);
  if (status != TQ_OK) return status;
  writer->tensor = (tq_tensor){.role = writer->role,
                               .dimensions = tensor->dimensions,
                               .source_row_order = tensor->source_row_order,
                               .parts = writer->parts};
  uint32_t used = tensor->dimensions < TQ_MAX_DIMENSIONS ? tensor->dimensions : TQ_MAX_DIMENSIONS;
  memcpy(writer->tensor.shape, tensor->shape, used * sizeof *tensor->shape);
  status = tq_tensor_measure(writer->path, &writer->tensor, error);
  if (status == TQ_OK) status = tq_writer_stream_begin(writer, TQ_STREAM_DATA, error);
  writer->in_tensor = true;
  return status == TQ_OK ? start_extent(writer, error) : status;
}

tq_status tq_writer_tensor_begin(tq_writer *writer, const tq_tensor *tensor, tq_error *error) {
  return tq_writer_result(writer, begin_tensor(writer, tensor, error));
}

/* ---- its parts ---- */

static tq_status check_inside(const tq_writer *writer, bool inside, const char *what, tq_error *error) {
  tq_status status = tq_writer_ready(writer, error);
  if (status == TQ_OK && !inside)
    status = tq_fail(error, TQ_ERROR_USAGE, "%s: %s out of its order", writer->path, what);
  return status;
}

static tq_status begin_part(tq_writer *writer, const tq_part *part, tq_error *error) {
  static const uint8_t zeros[TQ_ALIGNMENT];
  tq_status status = check_inside(writer, writer->in_tensor && !writer->in_part, "a part begun", error);
  if (status != TQ_OK) return status;
  size_t index = writer->tensor.part_count;
  if (index == TQ_MAX_PARTS)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: more than %d parts", writer->path, writer->role,
                   TQ_MAX_PARTS);
  const char *type_name = part->type_name ? part->type_name : "";
  status = check_name(writer, type_name, "part's type name", true, error);
  size_t over = (size_t)(writer->extent % TQ_ALIGNMENT);
  if (status == TQ_OK && over > 0) status = put(writer, zeros, TQ_ALIGNMENT - over, error);
  if (status != TQ_OK) return status;
  memcpy(writer->type_names[index], type_name, strlen(type_name) + 1);
  writer->parts[index] = *part;
  writer->parts[index].type_name = writer->type_names[index];
  writer->parts[index].offset = writer->extent;
  writer->tensor.part_count++;
  writer->in_part = true;
  return TQ_OK;
}

tq_status tq_writer_part_begin(tq_writer *writer, const tq_part *part, tq_error *error) {
  return tq_writer_result(writer, begin_part(writer, part, error));
}

tq_status tq_writer_part_write(tq_writer *writer, const void *data, size_t size, tq_error *error) {
  tq_status status = check_inside(writer, writer->in_part, "a part's bytes", error);
  if (status == TQ_OK) status = put(writer, data, size, error);
  return tq_writer_result(writer, status);
}

static tq_status end_part(tq_writer *writer, tq_error *error) {
  tq_status status = check_inside(writer, writer->in_part, "a part's end", error);
  if (status != TQ_OK) return status;
  writer->in_part = false;
  tq_part *part = &writer->parts[writer->tensor.part_count - 1];
  part->size = writer->extent - part->offset;
  status = tq_part_check(writer->path, &writer->tensor, part, error);
  if (status != TQ_OK) return status;
  uint32_t type_name;
  status = tq_pool_append(&writer->strings, writer->path, part->type_name, &type_name, error);
  uint8_t record[TQ_PART_RECORD_SIZE] = {0};
  tq_store_u32(record + TQ_PART_KIND, part->kind);
  tq_store_u32(record + TQ_PART_ENCODING, part->encoding);
  tq_store_u32(record + TQ_PART_GRANULARITY, part->granularity);
  tq_store_u32(record + TQ_PART_GROUP, part->group);
  tq_store_u32(record + TQ_PART_DIRECTION, part->direction);
  tq_store_u32(record + TQ_PART_BLOCK_ELEMENTS, part->block_elements);
  tq_store_u32(record + TQ_PART_BLOCK_BYTES, part->block_bytes);
  tq_store_u32(record + TQ_PART_TYPE_NAME, type_name);
  tq_store_u64(record + TQ_PART_OFFSET, part->offset);
  tq_store_u64(record + TQ_PART_SIZE, part->size);
  return status == TQ_OK ? tq_buffer_append(&writer->part_records, record, sizeof record, error) : status;
}

tq_status tq_writer_part_end(tq_writer *writer, tq_error *error) {
  return tq_writer_result(writer, end_part(writer, error));
}

static tq_status add_tensor_record(tq_writer *writer, tq_error *error) {
  const tq_tensor *tensor = &writer->tensor;
  uint64_t parts = writer->part_records.size / TQ_PART_RECORD_SIZE;
  if (parts > UINT32_MAX) return tq_fail(error, TQ_ERROR_REFUSED, "%s: more parts than 32 bits count", writer->path);
  uint8_t record[TQ_TENSOR_RECORD_SIZE] = {0};
  tq_store_u64(record + TQ_TENSOR_DATA_OFFSET, tensor->data_offset);
  tq_store_u64(record + TQ_TENSOR_DATA_SIZE, writer->extent);
  tq_store_u64(record + TQ_TENSOR_ELEMENTS, tensor->elements);
  for (size_t i = 0; i < TQ_MAX_DIMENSIONS; i++) tq_store_u64(record + TQ_TENSOR_SHAPE + 8 * i, tensor->shape[i]);
  for (size_t i = 0; i < 4; i++) tq_store_u64(record + TQ_TENSOR_TRIT_COUNTS + 8 * i, tensor->trit_counts[i]);
  tq_store_f64(record + TQ_TENSOR_BITS_PER_WEIGHT, tq_tensor_bits_per_weight(tensor));
  memcpy(record + TQ_TENSOR_CONTENT_DIGEST, tensor->content_digest, TQ_DIGEST_SIZE);
  tq_store_u32(record + TQ_TENSOR_DIMENSIONS, tensor->dimensions);
  tq_store_u32(record + TQ_TENSOR_ROW_ORDER, tensor->source_row_order);
  tq_store_u32(record + TQ_TENSOR_FIRST_PART, (uint32_t)(parts - tensor->part_count));
  tq_store_u32(record + TQ_TENSOR_PART_COUNT, (uint32_t)tensor->part_count);
  tq_store_u32(record + TQ_TENSOR_ROLE, writer->role_offset);
  tq_store_u32(record + TQ_TENSOR_NAME, writer->name_offset);
  tq_store_u32(record + TQ_TENSOR_SOURCE_TYPE, writer->source_type_offset);
  return tq_buffer_append(&writer->tensor_records, record, sizeof record, error);
}

static tq_status end_tensor(tq_writer *writer, const uint64_t trit_counts[4], const uint8_t content_digest[16],
                            tq_error *error) {
  tq_status status = check_inside(writer, writer->in_tensor && !writer->in_part, "a tensor's end", error);
  if (status != TQ_OK) return status;
  memcpy(writer->tensor.trit_counts, trit_counts, sizeof writer->tensor.trit_counts);
  memcpy(writer->tensor.content_digest, content_digest, TQ_DIGEST_SIZE);
  status = tq_parts_check(writer->path, &writer->tensor, error);
  if (status == TQ_OK && writer->chunk_fill > 0) status = close_chunk(writer, error);
  if (status != TQ_OK) return status;
  tq_hash hash;
  size_t slots = writer->chunk_hashes.size - writer->chunk_first;
  tq_hash_bytes(writer->algorithm, slots ? writer->chunk_hashes.data + writer->chunk_first : NULL, slots, &hash);
  status = tq_buffer_append(&writer->tensor_hashes, hash.bytes, sizeof hash.bytes, error);
  writer->in_tensor = false;
  return status == TQ_OK ? add_tensor_record(writer, error) : status;
}

tq_status tq_writer_tensor_end(tq_writer *writer, const uint64_t trit_counts[4], const uint8_t content_digest[16],
                               tq_error *error) {
  return tq_writer_result(writer, end_tensor(writer, trit_counts, content_digest, error));
}

/* ---- the sections that describe them ---- */

static const char *name_at(const tq_writer *writer, size_t tensor, size_t field) {
  const uint8_t *record = writer->tensor_records.data + tensor * TQ_TENSOR_RECORD_SIZE;
  return (const char *)writer->strings.data + tq_load_u32(record + field);
}

static tq_status check_unique(const tq_writer *writer, size_t count, size_t field, const char *what, tq_error *error) {
  tq_index_entry *index = tq_allocate(count, sizeof *index, error);
  if (!index) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < count; i++) index[i] = (tq_index_entry){name_at(writer, i, field), i};
  tq_index_sort(index, count);
  const tq_index_entry *twice = tq_index_duplicate(index, count);
  tq_status status = TQ_OK;
  if (twice) status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: duplicate tensor %s %s", writer->path, what, twice->name);
  tq_free(index);
  return status;
}

static tq_status emit_directory(tq_writer *writer, size_t count, tq_error *error) {
  uint32_t empty;
  tq_status status = tq_pool_append(&writer->strings, writer->path, "", &empty, error);
  uint8_t header[TQ_DIRECTORY_HEADER_SIZE] = {0};
  tq_store_u64(header + TQ_DIRECTORY_TENSOR_COUNT, count);
  tq_store_u64(header + TQ_DIRECTORY_PART_COUNT, writer->part_records.size / TQ_PART_RECORD_SIZE);
  tq_store_u64(header + TQ_DIRECTORY_STRINGS_SIZE, writer->strings.size);
  tq_store_u32(header + TQ_DIRECTORY_TENSOR_SIZE, TQ_TENSOR_RECORD_SIZE);
  tq_store_u32(header + TQ_DIRECTORY_PART_SIZE, TQ_PART_RECORD_SIZE);
  tq_buffer prefix = {0};
  const tq_buffer *const pieces[] = {&writer->tensor_records, &writer->part_records};
  if (status == TQ_OK) status = tq_buffer_append(&prefix, header, sizeof header, error);
  for (size_t i = 0; i < 2 && status == TQ_OK; i++)
    if (pieces[i]->size > 0) status = tq_buffer_append(&prefix, pieces[i]->data, pieces[i]->size, error);
  if (status == TQ_OK)
    status = tq_writer_emit(writer, tq_section_names[TQ_SECTION_TENSORS], true, &prefix, writer->strings.data,
                            writer->strings.size, error);
  tq_buffer_free(&prefix);
  return status;
}

static tq_status emit_hashes(tq_writer *writer, size_t count, tq_error *error) {
  uint8_t header[TQ_HASHES_HEADER_SIZE] = {0};
  tq_store_u64(header + TQ_HASHES_CHUNK_SIZE, TQ_CHUNK_SIZE);
  tq_store_u64(header + TQ_HASHES_TENSOR_COUNT, count);
  tq_store_u64(header + TQ_HASHES_CHUNK_COUNT, writer->chunk_hashes.size / TQ_HASH_SIZE);
  tq_buffer prefix = {0};
  tq_status status = tq_buffer_append(&prefix, header, sizeof header, error);
  if (status == TQ_OK && count > 0)
    status = tq_buffer_append(&prefix, writer->tensor_hashes.data, writer->tensor_hashes.size, error);
  if (status == TQ_OK)
    status = tq_writer_emit(writer, tq_section_names[TQ_SECTION_HASHES], true, &prefix, writer->chunk_hashes.data,
                            writer->chunk_hashes.size, error);
  tq_buffer_free(&prefix);
  return status;
}

static tq_status digest_weights(const tq_writer *writer, size_t count, uint8_t digest[16], tq_error *error) {
  const char **roles = tq_allocate(count, sizeof *roles, error);
  uint8_t(*digests)[16] = roles ? tq_allocate(count, sizeof *digests, error) : NULL;
  tq_status status = TQ_ERROR_SYSTEM;
  if (digests) {
    for (size_t i = 0; i < count; i++) {
      roles[i] = name_at(writer, i, TQ_TENSOR_ROLE);
      memcpy(digests[i], writer->tensor_records.data + i * TQ_TENSOR_RECORD_SIZE + TQ_TENSOR_CONTENT_DIGEST,
             TQ_DIGEST_SIZE);
    }
    status = tq_weights_digest(roles, (const uint8_t(*)[16])digests, count, digest, error);
  }
  tq_free(digests);
  tq_free(roles);
  return status;
}

tq_status tq_writer_directory(tq_writer *writer, const uint8_t function_digest[16], const uint8_t tokenizer_digest[16],
                              tq_error *error) {
  size_t count = writer->tensor_records.size / TQ_TENSOR_RECORD_SIZE;
  uint8_t digests[TQ_DIGESTS_SIZE];
  memcpy(digests + TQ_DIGESTS_FUNCTION, function_digest, TQ_DIGEST_SIZE);
  memcpy(digests + TQ_DIGESTS_TOKENIZER, tokenizer_digest, TQ_DIGEST_SIZE);
  tq_status status = check_unique(writer, count, TQ_TENSOR_NAME, "name", error);
  if (status == TQ_OK) status = check_unique(writer, count, TQ_TENSOR_ROLE, "role", error);
  if (status == TQ_OK) status = emit_directory(writer, count, error);
  if (status == TQ_OK) status = emit_hashes(writer, count, error);
  if (status == TQ_OK) status = digest_weights(writer, count, digests + TQ_DIGESTS_WEIGHTS, error);
  if (status != TQ_OK) return status;
  return tq_writer_emit(writer, tq_section_names[TQ_SECTION_DIGESTS], true, NULL, digests, sizeof digests, error);
}
