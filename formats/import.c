#include "formats/import.h"

#include "base/memory.h"
#include "formats/digests.h"
#include "formats/source.h"

#include <string.h>

enum { COPY_BYTES = 256 * 1024 };

/* Copies [offset, offset + size) of an input into the attachment that the writer has open. */
static tq_status copy_to_attachment(tq_writer *writer, tq_input *input, uint64_t offset, uint64_t size, uint8_t *buffer,
                                    tq_error *error) {
  tq_status status = TQ_OK;
  for (uint64_t n; !status && size; offset += n, size -= n) {
    n = size < COPY_BYTES ? size : COPY_BYTES;
    status = tq_input_read(input, offset, buffer, (size_t)n, error);
    if (!status) status = tq_writer_attachment_write(writer, buffer, (size_t)n, error);
  }
  return status;
}

static tq_status write_literals(tq_writer *writer, tq_input *input, const tq_source_file *file, uint8_t *buffer,
                                tq_error *error) {
  char *name = tq_source_fragment_name(file->path, error);
  if (!name) return TQ_ERROR_SYSTEM;
  tq_status status = tq_writer_attachment_begin(writer, name, TQ_ATTACHMENT_FRAGMENT, error);
  uint64_t position = 0;
  for (size_t i = 0; !status && i < file->piece_count; position += file->pieces[i++].size) {
    const tq_piece *piece = &file->pieces[i];
    if (piece->kind != TQ_PIECE_LITERAL) continue;
    status = copy_to_attachment(writer, input, position, piece->size, buffer, error);
  }
  if (!status) status = tq_writer_attachment_end(writer, error);
  tq_free(name);
  return status;
}

static tq_status write_whole(tq_writer *writer, tq_input *input, const char *path, uint8_t *buffer, tq_error *error) {
  tq_status status = tq_writer_attachment_begin(writer, path, TQ_ATTACHMENT_FILE, error);
  if (!status) status = copy_to_attachment(writer, input, 0, tq_input_size(input), buffer, error);
  if (!status) status = tq_writer_attachment_end(writer, error);
  return status;
}

static tq_status write_files(tq_writer *writer, const tq_checkpoint *checkpoint, tq_error *error) {
  uint8_t *buffer = tq_allocate(COPY_BYTES, 1, error);
  if (!buffer) return TQ_ERROR_SYSTEM;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < checkpoint->file_count; i++) {
    const tq_source_file *file = &checkpoint->files[i];
    tq_input *input = checkpoint->inputs[file->input];
    status = file->is_weights ? write_literals(writer, input, file, buffer, error)
                              : write_whole(writer, input, file->path, buffer, error);
  }
  tq_free(buffer);
  return status;
}

static tq_status write_source(tq_writer *writer, const tq_checkpoint *checkpoint, tq_error *error) {
  if (!checkpoint->file_count) return TQ_OK;
  tq_buffer section = {0};
  tq_status status = tq_source_serialize(checkpoint, &section, error);
  if (!status) status = tq_writer_section(writer, "source", false, section.data, section.size, error);
  tq_buffer_free(&section);
  return status;
}

static tq_status write_part(void *writer, const void *data, size_t size, tq_error *error) {
  return tq_writer_part_write(writer, data, size, error);
}

static tq_status write_tensor(tq_writer *writer, tq_walk *walk, tq_checkpoint *checkpoint, size_t index,
                              tq_error *error) {
  static const uint64_t no_trits[4];
  const tq_source_tensor *source = &checkpoint->tensors[index];
  tq_tensor tensor = {.role = source->role,
                      .name = source->name,
                      .source_type = source->type_name,
                      .dimensions = source->dimensions,
                      .source_row_order = source->adjacent_heads};
  memcpy(tensor.shape, source->shape, sizeof tensor.shape);
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = source->encoding, .type_name = ""};
  if (source->encoding == TQ_BLOCKS) {
    part.type_name = source->type_name;
    part.block_elements = source->block_elements;
    part.block_bytes = source->block_bytes;
  }
  tq_digest content;
  tq_status status = tq_writer_tensor_begin(writer, &tensor, error);
  if (!status) status = tq_writer_part_begin(writer, &part, error);
  if (!status) status = tq_walk_tensor(walk, checkpoint, index, write_part, writer, &content, error);
  if (!status) status = tq_writer_part_end(writer, error);
  if (!status) status = tq_writer_tensor_end(writer, no_trits, content.bytes, error);
  return status;
}

static tq_status write_tensors(tq_writer *writer, tq_checkpoint *checkpoint, const tq_progress *progress,
                               tq_error *error) {
  tq_walk walk;
  tq_status status = tq_walk_create(checkpoint, progress, &walk, error);
  for (size_t i = 0; !status && i < checkpoint->tensor_count; i++) {
    status = write_tensor(writer, &walk, checkpoint, i, error);
  }
  tq_walk_destroy(&walk);
  return status;
}

/* What is this large and no part of the model was hardly meant to come along, and may not be lost either. */
static tq_status check_attachments(const tq_checkpoint *checkpoint, tq_error *error) {
  char printable[128];
  for (size_t i = 0; i < checkpoint->file_count; i++) {
    const tq_source_file *file = &checkpoint->files[i];
    uint64_t size = tq_input_size(checkpoint->inputs[file->input]);
    if (file->is_weights || size <= TQ_ATTACHMENT_LIMIT) continue;
    return tq_fail(error, TQ_ERROR_REFUSED,
                   "%s: %s is no part of the model that was read, and its %llu bytes are more than the %d that a file "
                   "attached to it may have: move it away",
                   checkpoint->path, tq_printable(file->path, strlen(file->path), printable, sizeof printable),
                   (unsigned long long)size, TQ_ATTACHMENT_LIMIT);
  }
  return TQ_OK;
}

tq_status tq_import(tq_checkpoint *checkpoint, const char *path, uint32_t hash_algorithm, const tq_progress *progress,
                    tq_error *error) {
  tq_writer *writer;
  tq_digest function, tokenizer;
  tq_status status = check_attachments(checkpoint, error);
  if (!status) status = tq_checkpoint_function_digest(checkpoint, &function, error);
  if (!status) status = tq_checkpoint_tokenizer_digest(checkpoint, &tokenizer, error);
  if (!status) status = tq_writer_create(path, hash_algorithm, &writer, error);
  if (status) return status;
  status = tq_writer_metadata(writer, checkpoint->metadata_bytes, checkpoint->metadata_size, checkpoint->metadata_count,
                              error);
  if (!status && checkpoint->tokenizer) {
    status = tq_writer_section(writer, "tokenizer", false, checkpoint->tokenizer, checkpoint->tokenizer_size, error);
  }
  if (!status) status = write_source(writer, checkpoint, error);
  if (!status) status = write_files(writer, checkpoint, error);
  if (!status) status = write_tensors(writer, checkpoint, progress, error);
  if (!status) status = tq_writer_finish(writer, function.bytes, tokenizer.bytes, error);
  if (status) tq_writer_abandon(writer);
  return status;
}
