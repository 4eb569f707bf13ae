#include "formats/import.h"

#include "base/memory.h"
#include "formats/digests.h"
#include "formats/findings.h"
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

static tq_status write_readings(tq_writer *writer, const tq_checkpoint *checkpoint, tq_error *error) {
  const tq_buffer *readings = &checkpoint->readings;
  if (!readings->size) return TQ_OK;
  return tq_writer_section(writer, "readings", false, readings->data, readings->size, error);
}

/* ---- tensors ---- */

/* What is needed for all of them, and what each was found to be. */
typedef struct importing {
  tq_writer *writer;
  tq_checkpoint *checkpoint;
  tq_team *team;
  tq_walk walk;
  uint32_t code;
  tq_survey *surveys;
} importing;

static tq_status write_part(void *writer, const void *data, size_t size, tq_error *error) {
  return tq_writer_part_write(writer, data, size, error);
}

static tq_status begin_tensor(const importing *self, const tq_source_tensor *source, const char *source_type,
                              tq_error *error) {
  tq_tensor tensor = {.role = source->role,
                      .name = source->name,
                      .source_type = source_type,
                      .dimensions = source->dimensions,
                      .source_row_order = source->adjacent_heads};
  memcpy(tensor.shape, source->shape, sizeof tensor.shape);
  return tq_writer_tensor_begin(self->writer, &tensor, error);
}

static tq_status write_numbers(importing *self, size_t index, tq_error *error) {
  static const uint64_t no_trits[4];
  const tq_source_tensor *source = &self->checkpoint->tensors[index];
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = source->encoding, .type_name = ""};
  if (source->encoding == TQ_BLOCKS) {
    part.type_name = source->type_name;
    part.block_elements = source->block_elements;
    part.block_bytes = source->block_bytes;
  }
  tq_digest content;
  tq_status status = begin_tensor(self, source, source->type_name, error);
  if (!status) status = tq_writer_part_begin(self->writer, &part, error);
  if (!status) status = tq_walk_tensor(&self->walk, self->checkpoint, index, write_part, self->writer, &content, error);
  if (!status) status = tq_writer_part_end(self->writer, error);
  return status ? status : tq_writer_tensor_end(self->writer, no_trits, content.bytes, error);
}

static tq_status write_codes(importing *self, tq_ternary_reader *reader, tq_survey *survey, uint8_t **table,
                             size_t *table_size, tq_digest *content, tq_error *error) {
  uint32_t code = survey->has_twos ? TQ_QUATERNARY_2BIT : self->code;
  const tq_part part = {.kind = TQ_PART_VALUES, .encoding = code, .type_name = ""};
  const tq_ternary_output output = {code, write_part, self->writer};
  tq_status status = tq_writer_part_begin(self->writer, &part, error);
  if (!status) status = tq_ternary_read(reader, survey, &output, table, table_size, content->bytes, error);
  return status ? status : tq_writer_part_end(self->writer, error);
}

static tq_status write_scales(importing *self, const tq_survey *survey, const uint8_t *table, size_t size,
                              tq_error *error) {
  const tq_part part = {.kind = TQ_PART_SCALES,
                        .encoding = survey->scale_encoding,
                        .granularity = survey->granularity,
                        .group = survey->group,
                        .direction = survey->scale_direction,
                        .type_name = ""};
  tq_status status = tq_writer_part_begin(self->writer, &part, error);
  if (!status) status = tq_writer_part_write(self->writer, table, size, error);
  return status ? status : tq_writer_part_end(self->writer, error);
}

static tq_status prove(importing *self, tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table,
                       tq_error *error) {
  bool differs;
  tq_status status = tq_ternary_prove(reader, survey, table, &differs, error);
  return status || !differs ? status : tq_ternary_patch(reader, survey, table, self->writer, error);
}

static tq_status write_ternary(importing *self, tq_ternary_reader *reader, tq_survey *survey,
                               const tq_source_tensor *source, tq_error *error) {
  char name[TQ_ROLE_SIZE];
  uint8_t *table = NULL;
  size_t size;
  tq_digest content;
  tq_form_name(&survey->form, name, sizeof name);
  tq_status status = begin_tensor(self, source, name, error);
  if (!status) status = write_codes(self, reader, survey, &table, &size, &content, error);
  if (!status) status = write_scales(self, survey, table, size, error);
  if (!status) status = prove(self, reader, survey, table, error);
  tq_free(table);
  if (status) return status;
  tq_walk_past(&self->walk, source);
  return tq_writer_tensor_end(self->writer, survey->counts, content.bytes, error);
}

static tq_status write_tensor(importing *self, size_t index, tq_error *error) {
  const tq_source_tensor *source = &self->checkpoint->tensors[index];
  tq_ternary_reader *reader;
  tq_survey *survey = &self->surveys[index];
  tq_status status = tq_ternary_reader_create(self->checkpoint, index, self->team, &reader, error);
  if (status) return status;
  status = tq_ternary_survey(reader, survey, error);
  if (!status)
    status =
        survey->is_ternary ? write_ternary(self, reader, survey, source, error) : write_numbers(self, index, error);
  tq_ternary_reader_destroy(reader);
  return status;
}

static tq_status write_tensors(importing *self, const tq_progress *progress, tq_error *error) {
  tq_status status = tq_walk_create(self->checkpoint, progress, &self->walk, error);
  for (size_t i = 0; !status && i < self->checkpoint->tensor_count; i++) status = write_tensor(self, i, error);
  tq_walk_destroy(&self->walk);
  return status;
}

/* ---- metadata ---- */

static tq_status add_findings(const importing *self, tq_metadata_builder *builder, tq_error *error) {
  const tq_metadata *metadata = self->checkpoint->metadata;
  const char *activations = tq_checkpoint_activations(self->checkpoint, self->surveys);
  tq_value value;
  tq_status status = TQ_OK;
  if (strcmp(activations, "float") != 0 && !tq_metadata_find(metadata, "tq.activations", &value))
    status = tq_metadata_add_string(builder, "tq.activations", activations, strlen(activations), error);
  if (!status && !tq_metadata_find(metadata, "tq.latent", &value) &&
      tq_checkpoint_is_latent(self->checkpoint, self->surveys))
    status = tq_metadata_add_bool(builder, "tq.latent", true, error);
  return status;
}

/* What was found stands behind what came: the source record counts on the offsets of that. */
static tq_status write_metadata(const importing *self, tq_error *error) {
  const tq_checkpoint *checkpoint = self->checkpoint;
  tq_metadata_builder builder = {0};
  tq_status status = add_findings(self, &builder, error);
  size_t size = checkpoint->metadata_size;
  uint8_t *bytes = status ? NULL : tq_allocate(size + builder.size, 1, error);
  if (bytes) {
    if (size) memcpy(bytes, checkpoint->metadata_bytes, size);
    if (builder.size) memcpy(bytes + size, builder.data, builder.size);
    status =
        tq_writer_metadata(self->writer, bytes, size + builder.size, checkpoint->metadata_count + builder.count, error);
  } else if (!status) {
    status = TQ_ERROR_SYSTEM;
  }
  tq_free(bytes);
  tq_metadata_builder_free(&builder);
  return status;
}

/* ---- the whole ---- */

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

static tq_status write_all(importing *self, const tq_progress *progress, tq_error *error) {
  const tq_checkpoint *checkpoint = self->checkpoint;
  tq_status status = TQ_OK;
  if (checkpoint->tokenizer)
    status =
        tq_writer_section(self->writer, "tokenizer", false, checkpoint->tokenizer, checkpoint->tokenizer_size, error);
  if (!status) status = write_source(self->writer, checkpoint, error);
  if (!status) status = write_files(self->writer, checkpoint, error);
  if (!status) status = write_tensors(self, progress, error);
  if (!status) status = tq_checkpoint_tell_findings(self->checkpoint, self->surveys, error);
  if (!status) status = write_readings(self->writer, checkpoint, error);
  return status ? status : write_metadata(self, error);
}

tq_status tq_import_by(tq_team *team, tq_checkpoint *checkpoint, const char *path, uint32_t code,
                       uint32_t hash_algorithm, const tq_progress *progress, tq_error *error) {
  importing self = {.checkpoint = checkpoint, .team = team, .code = code ? code : TQ_TERNARY_BASE3};
  tq_digest function, tokenizer;
  tq_status status = check_attachments(checkpoint, error);
  if (!status) status = tq_checkpoint_function_digest(checkpoint, &function, error);
  if (!status) status = tq_checkpoint_tokenizer_digest(checkpoint, &tokenizer, error);
  if (!status) status = tq_writer_create(path, hash_algorithm, &self.writer, error);
  if (status) return status;
  self.surveys = tq_allocate(checkpoint->tensor_count, sizeof *self.surveys, error);
  status = self.surveys ? write_all(&self, progress, error) : TQ_ERROR_SYSTEM;
  tq_free(self.surveys);
  if (!status) status = tq_writer_finish(self.writer, function.bytes, tokenizer.bytes, error);
  if (status) tq_writer_abandon(self.writer);
  return status;
}

tq_status tq_import(tq_checkpoint *checkpoint, const char *path, uint32_t code, uint32_t hash_algorithm,
                    const tq_progress *progress, tq_error *error) {
  tq_team *team;
  tq_status status = tq_team_create(0, &team, error);
  if (status) return status;
  status = tq_import_by(team, checkpoint, path, code, hash_algorithm, progress, error);
  tq_team_destroy(team);
  return status;
}
