#include "formats/source.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/team.h"
#include "formats/dialects/encode.h"

#include <stdio.h>
#include <string.h>

enum { VERSION = 1, PIECE_SIZE = 24 };

char *tq_source_fragment_name(const char *path, tq_error *error) { return tq_format_string(error, "#%s", path); }

/* ---- writing the record ---- */

static tq_status append_u32(tq_buffer *buffer, uint32_t value, tq_error *error) {
  uint8_t bytes[4];
  tq_store_u32(bytes, value);
  return tq_buffer_append(buffer, bytes, sizeof bytes, error);
}

static tq_status append_u64(tq_buffer *buffer, uint64_t value, tq_error *error) {
  uint8_t bytes[8];
  tq_store_u64(bytes, value);
  return tq_buffer_append(buffer, bytes, sizeof bytes, error);
}

static tq_status append_string(tq_buffer *buffer, const char *text, tq_error *error) {
  tq_status status = append_u64(buffer, strlen(text), error);
  return status ? status : tq_buffer_append(buffer, text, strlen(text), error);
}

static tq_status append_piece(tq_buffer *buffer, uint32_t kind, uint64_t source, uint64_t size, tq_error *error) {
  tq_status status = append_u32(buffer, kind, error);
  if (!status) status = append_u32(buffer, 0, error);
  if (!status) status = append_u64(buffer, source, error);
  return status ? status : append_u64(buffer, size, error);
}

/* Literals follow each other in the fragment, so a literal's place there is what came before it. */
static tq_status append_file(tq_buffer *buffer, const tq_source_file *file, uint64_t size, tq_error *error) {
  tq_status status = append_string(buffer, file->path, error);
  if (!status) status = append_u64(buffer, size, error);
  if (!status) status = append_u64(buffer, file->piece_count, error);
  uint64_t literals = 0;
  for (size_t i = 0; !status && i < file->piece_count; i++) {
    const tq_piece *piece = &file->pieces[i];
    bool literal = piece->kind == TQ_PIECE_LITERAL;
    status = append_piece(buffer, piece->kind, literal ? literals : piece->source, piece->size, error);
    if (literal) literals += piece->size;
  }
  return status;
}

tq_status tq_source_serialize(const tq_checkpoint *checkpoint, tq_buffer *section, tq_error *error) {
  uint64_t count = 0;
  for (size_t i = 0; i < checkpoint->file_count; i++) count += checkpoint->files[i].is_weights;
  tq_status status = append_u32(section, VERSION, error);
  if (!status) status = append_u32(section, 0, error);
  if (!status) status = append_string(section, checkpoint->format, error);
  if (!status) status = append_u64(section, count, error);
  for (size_t i = 0; !status && i < checkpoint->file_count; i++) {
    const tq_source_file *file = &checkpoint->files[i];
    if (!file->is_weights) continue;
    status = append_file(section, file, tq_input_size(checkpoint->inputs[file->input]), error);
  }
  return status;
}

/* ---- reading it ---- */

typedef struct cursor {
  const tq_file *file;
  const char *path; /* of the .tq file, for messages */
  const uint8_t *data;
  uint64_t size, position;
  /* What may still be used: each byte once, so that a small record cannot ask for a large output. */
  bool *tensors_used;
  uint64_t metadata_used, literals_left;
} cursor;

static tq_status bad(const cursor *at, const char *reason, tq_error *error) {
  tq_error_set(error, TQ_ERROR_CORRUPT, "%s: section source, byte %llu: %s", at->path, (unsigned long long)at->position,
               reason);
  return TQ_ERROR_CORRUPT;
}

static tq_status take(cursor *at, uint64_t size, const uint8_t **bytes, tq_error *error) {
  if (!tq_within(at->position, size, at->size)) return bad(at, "it ends too early", error);
  *bytes = at->data + at->position;
  at->position += size;
  return TQ_OK;
}

static tq_status take_u64(cursor *at, uint64_t *value, tq_error *error) {
  const uint8_t *bytes;
  tq_status status = take(at, 8, &bytes, error);
  if (!status) *value = tq_load_u64(bytes);
  return status;
}

static tq_status take_string(cursor *at, char *text, size_t room, tq_error *error) {
  uint64_t size;
  const uint8_t *bytes;
  tq_status status = take_u64(at, &size, error);
  if (!status && size >= room) return bad(at, "a name is too long", error);
  if (!status) status = take(at, size, &bytes, error);
  if (status) return status;
  if (!tq_is_name((const char *)bytes, (size_t)size)) return bad(at, "a name is not UTF-8 text", error);
  memcpy(text, bytes, (size_t)size);
  text[size] = 0;
  return TQ_OK;
}

static uint64_t fragment_bytes(const tq_file *file) {
  uint64_t total = 0; /* the container has checked that it does not overflow */
  tq_attachment attachment;
  for (size_t i = 0; i < tq_file_attachment_count(file); i++) {
    tq_file_attachment(file, i, &attachment);
    if (attachment.kind == TQ_ATTACHMENT_FRAGMENT) total += attachment.size;
  }
  return total;
}

static void close_section(cursor *at) { tq_free(at->tensors_used); }

/* Opens the section and reads up to the count of files; at->data is NULL when there is no section. Ended by
 * close_section in every case. */
static tq_status open_section(const tq_file *file, cursor *at, char *format, size_t room, uint64_t *file_count,
                              tq_error *error) {
  tq_file_info info;
  tq_section section;
  tq_file_describe(file, &info);
  *at = (cursor){.file = file, .path = info.path};
  if (!tq_file_find_section(file, "source", &section)) return TQ_OK;
  at->data = section.data;
  at->size = section.size;
  at->literals_left = fragment_bytes(file);
  at->tensors_used = tq_allocate(tq_file_tensor_count(file), sizeof *at->tensors_used, error);
  if (!at->tensors_used) return TQ_ERROR_SYSTEM;
  const uint8_t *bytes;
  tq_status status = take(at, 8, &bytes, error);
  if (status) return status;
  if (tq_load_u32(bytes) != VERSION) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section source: version %u is not understood", at->path,
                   tq_load_u32(bytes));
  }
  status = take_string(at, format, room, error);
  if (!status) status = take_u64(at, file_count, error);
  return status;
}

/* One weights file of the record: pieces points into the section. */
typedef struct recipe {
  char path[4096];
  uint64_t size, piece_count;
  const uint8_t *pieces;
} recipe;

/* How the bytes that a tensor with codes came from are made: as its source type says. Parts that its source had not, as
 * low-rank factors, make it another tensor. False where they cannot be made. */
static bool form_of(const tq_tensor *tensor, tq_form *form) {
  for (size_t i = 1; i < tensor->part_count; i++) {
    uint32_t kind = tensor->parts[i].kind;
    if (kind != TQ_PART_SCALES && kind != TQ_PART_PATCH && kind != TQ_PART_SIGNS) return false;
  }
  return tq_form_from_name(tensor->source_type, form);
}

/* The bytes of the tensor as its file held them: those of its only part, or of the dialect that it came in. */
static tq_status use_tensor(cursor *at, uint64_t index, uint64_t size, tq_error *error) {
  if (index >= tq_file_tensor_count(at->file)) return bad(at, "a piece names a tensor that is not there", error);
  if (at->tensors_used[index]) return bad(at, "two pieces name the same tensor", error);
  at->tensors_used[index] = true;
  const tq_tensor *tensor = tq_file_tensor(at->file, (size_t)index);
  tq_form form;
  uint64_t made = tensor->parts[0].size;
  if (tq_tensor_is_ternary(tensor)) {
    if (!form_of(tensor, &form)) return bad(at, "a tensor's source type is not understood", error);
    if (!tq_dialect_size(form.dialect, tensor->rows, tensor->columns, &made)) made = UINT64_MAX;
  } else if (tensor->part_count != 1) {
    return bad(at, "a tensor has parts that its source had not", error);
  }
  return made == size ? TQ_OK : bad(at, "a tensor has another size", error);
}

static tq_status use_metadata(cursor *at, uint64_t offset, uint64_t size, uint64_t metadata_size, tq_error *error) {
  if (!tq_within(offset, size, metadata_size)) return bad(at, "a piece lies outside the metadata", error);
  if (offset < at->metadata_used) return bad(at, "pieces of the metadata overlap or are not in order", error);
  at->metadata_used = offset + size;
  return TQ_OK;
}

static tq_status use_piece(cursor *at, const uint8_t *piece, uint64_t metadata_size, tq_error *error) {
  uint64_t source = tq_load_u64(piece + 8), size = tq_load_u64(piece + 16);
  switch (tq_load_u32(piece)) {
  case TQ_PIECE_LITERAL:
    if (size > at->literals_left) return bad(at, "more literals than the fragments hold", error);
    at->literals_left -= size;
    return TQ_OK;
  case TQ_PIECE_METADATA:
    return use_metadata(at, source, size, metadata_size, error);
  case TQ_PIECE_TENSOR:
    return use_tensor(at, source, size, error);
  default:
    return bad(at, "a piece is of an unknown kind", error);
  }
}

static tq_status next_recipe(cursor *at, uint64_t metadata_size, recipe *file, tq_error *error) {
  tq_status status = take_string(at, file->path, sizeof file->path, error);
  if (!status && !tq_relative_name_is_safe(file->path)) return bad(at, "a path is not a safe relative name", error);
  if (!status) status = take_u64(at, &file->size, error);
  if (!status) status = take_u64(at, &file->piece_count, error);
  if (!status && file->piece_count > (at->size - at->position) / PIECE_SIZE) {
    return bad(at, "more pieces than there is room for", error);
  }
  if (!status) status = take(at, file->piece_count * PIECE_SIZE, &file->pieces, error);
  uint64_t total = 0, literals = 0;
  for (uint64_t i = 0; !status && i < file->piece_count; i++) {
    const uint8_t *piece = file->pieces + i * PIECE_SIZE;
    uint64_t size = tq_load_u64(piece + 16);
    if (!tq_add_u64(total, size, &total)) return bad(at, "the pieces' sizes overflow", error);
    if (tq_load_u32(piece) == TQ_PIECE_LITERAL) {
      if (tq_load_u64(piece + 8) != literals) return bad(at, "literals are not in order", error);
      literals += size;
    }
    status = use_piece(at, piece, metadata_size, error);
  }
  if (!status && total != file->size) return bad(at, "the pieces do not add up to the file", error);
  return status;
}

static uint64_t metadata_bytes(const tq_file *file, const uint8_t **data) {
  tq_section section;
  if (!tq_file_find_section(file, "metadata", &section) || section.size < 8) return 0;
  *data = section.data + 8;
  return section.size - 8;
}

/* Reads the whole record; *total is the bytes of all its files. */
static tq_status read_record(const tq_file *file, char *name, size_t size, size_t *file_count, uint64_t *total,
                             tq_error *error) {
  cursor at;
  recipe each;
  const uint8_t *metadata;
  uint64_t count = 0, metadata_size = metadata_bytes(file, &metadata);
  name[0] = 0;
  *file_count = 0;
  *total = 0;
  tq_status status = open_section(file, &at, name, size, &count, error);
  for (uint64_t i = 0; !status && i < count; i++) {
    status = next_recipe(&at, metadata_size, &each, error);
    if (!status && !tq_add_u64(*total, each.size, total)) status = bad(&at, "the files' sizes overflow", error);
  }
  if (!status && at.position != at.size) status = bad(&at, "bytes follow its end", error);
  if (!status) *file_count = (size_t)count;
  close_section(&at);
  return status;
}

tq_status tq_source_describe(const tq_file *file, char *name, size_t size, size_t *file_count, tq_error *error) {
  uint64_t total;
  return read_record(file, name, size, file_count, &total, error);
}

/* ---- putting the files together again ---- */

typedef struct restorer {
  const tq_file *file;
  tq_team *team;
  tq_output *output;
  const tq_progress *progress;
  uint64_t done, total; /* bytes of weights files */
} restorer;

static tq_status put(void *context, const void *data, size_t size, tq_error *error) {
  restorer *self = context;
  tq_status status = tq_output_write(self->output, data, size, error);
  self->done += size;
  tq_progress_report(self->progress, self->done, self->total);
  return status;
}

/* What a record asks for and cannot be made is the record's fault. */
static tq_status write_ternary(restorer *self, size_t index, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(self->file, index);
  tq_encode_options options = {.adjacent_heads = tensor->source_row_order, .patched = true, .team = self->team};
  tq_form_from_name(tensor->source_type, &options.form);
  tq_status status = tq_dialect_encode(self->file, index, &options, put, self, error);
  if (status != TQ_ERROR_REFUSED) return status;
  if (error) error->status = TQ_ERROR_CORRUPT;
  return TQ_ERROR_CORRUPT;
}

/* The container has checked that the rows are heads of pairs; their bytes are nobody's to check but ours. */
static tq_status write_plain(restorer *self, size_t index, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(self->file, index);
  const tq_part *part = &tensor->parts[0];
  tq_status status = tq_file_touch(self->file, index, 0, tensor->data_size, error);
  if (status) return status;
  if (!tensor->source_row_order) return put(self, part->data, (size_t)part->size, error);
  uint64_t heads = tensor->source_row_order, rows = tensor->shape[0];
  if (rows % heads || (rows / heads) % 2 || part->size % rows) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "tensor %s: %llu rows are not %llu heads of pairs", tensor->name,
                   (unsigned long long)rows, (unsigned long long)heads);
  }
  uint64_t head_rows = rows / heads, half = head_rows / 2, row = part->size / rows;
  for (uint64_t i = 0; !status && i < rows; i++) {
    uint64_t place = i % head_rows, stored = i - place + place % 2 * half + place / 2;
    status = put(self, part->data + stored * row, (size_t)row, error);
  }
  return status;
}

static tq_status write_tensor(restorer *self, size_t index, tq_error *error) {
  bool ternary = tq_tensor_is_ternary(tq_file_tensor(self->file, index));
  return ternary ? write_ternary(self, index, error) : write_plain(self, index, error);
}

/* The literals of a file arrive in one stream; each is written when its turn has come, with what follows it up to the
 * next. */
typedef struct assembly {
  restorer *self;
  const recipe *file;
  const uint8_t *metadata;
  uint64_t piece, literal_left;
} assembly;

/* Writes pieces until one is a literal, or the file is complete. */
static tq_status advance(assembly *work, tq_error *error) {
  tq_status status = TQ_OK;
  for (; !status && work->piece < work->file->piece_count; work->piece++) {
    const uint8_t *piece = work->file->pieces + work->piece * PIECE_SIZE;
    uint64_t source = tq_load_u64(piece + 8), size = tq_load_u64(piece + 16);
    switch (tq_load_u32(piece)) {
    case TQ_PIECE_LITERAL:
      work->literal_left = size;
      work->piece++;
      return TQ_OK;
    case TQ_PIECE_METADATA:
      status = put(work->self, work->metadata + source, (size_t)size, error);
      break;
    default:
      status = write_tensor(work->self, (size_t)source, error);
      break;
    }
  }
  return status;
}

static tq_status take_literals(void *context, const void *data, size_t size, tq_error *error) {
  assembly *work = context;
  const uint8_t *bytes = data;
  tq_status status = TQ_OK;
  while (!status && size) {
    if (!work->literal_left) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its fragment is too long", work->file->path);
    size_t n = size < work->literal_left ? size : (size_t)work->literal_left;
    status = put(work->self, bytes, n, error);
    bytes += n;
    size -= n;
    work->literal_left -= n;
    while (!status && !work->literal_left && work->piece < work->file->piece_count) status = advance(work, error);
  }
  return status;
}

static size_t find_attachment(const tq_file *file, const char *name) {
  tq_attachment attachment;
  for (size_t i = 0; i < tq_file_attachment_count(file); i++) {
    tq_file_attachment(file, i, &attachment);
    if (attachment.kind == TQ_ATTACHMENT_FRAGMENT && strcmp(attachment.name, name) == 0) return i;
  }
  return SIZE_MAX;
}

static tq_status assemble(restorer *self, const recipe *file, tq_error *error) {
  assembly work = {.self = self, .file = file};
  metadata_bytes(self->file, &work.metadata);
  char *name = tq_source_fragment_name(file->path, error);
  if (!name) return TQ_ERROR_SYSTEM;
  size_t fragment = find_attachment(self->file, name);
  tq_free(name);
  tq_status status = advance(&work, error);
  if (!status && fragment != SIZE_MAX) {
    status = tq_file_attachment_read(self->file, fragment, take_literals, &work, error);
  }
  if (!status && (work.literal_left || work.piece < file->piece_count)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its fragment is too short", file->path);
  }
  return status;
}

static tq_status write_to_output(void *output, const void *data, size_t size, tq_error *error) {
  return tq_output_write(output, data, size, error);
}

static tq_status restore_attachments(restorer *self, tq_output_folder *folder, tq_error *error) {
  tq_status status = TQ_OK;
  tq_attachment attachment;
  for (size_t i = 0; !status && i < tq_file_attachment_count(self->file); i++) {
    tq_file_attachment(self->file, i, &attachment);
    if (attachment.kind != TQ_ATTACHMENT_FILE) continue;
    status = tq_output_folder_file(folder, attachment.name, &self->output, error);
    if (status) return status;
    status = tq_file_attachment_read(self->file, i, write_to_output, self->output, error);
    if (!status)
      status = tq_output_commit(self->output, error);
    else
      tq_output_abandon(self->output);
  }
  return status;
}

static tq_status restore_weights(restorer *self, tq_output_folder *folder, const char *path, tq_error *error) {
  cursor at;
  char format[64];
  recipe *each = tq_allocate(1, sizeof *each, error);
  if (!each) return TQ_ERROR_SYSTEM;
  const uint8_t *metadata;
  uint64_t count = 0, metadata_size = metadata_bytes(self->file, &metadata);
  tq_status status = open_section(self->file, &at, format, sizeof format, &count, error);
  for (uint64_t i = 0; !status && i < count; i++) {
    status = next_recipe(&at, metadata_size, each, error);
    if (!status) {
      status = folder ? tq_output_folder_file(folder, each->path, &self->output, error)
                      : tq_output_create(path, &self->output, error);
    }
    if (status) break;
    status = assemble(self, each, error);
    if (!status)
      status = tq_output_commit(self->output, error);
    else
      tq_output_abandon(self->output);
  }
  close_section(&at);
  tq_free(each);
  return status;
}

/* True when what is restored is one file, not a folder. */
static bool is_single_file(const tq_file *file, size_t file_count) {
  tq_attachment attachment;
  for (size_t i = 0; i < tq_file_attachment_count(file); i++) {
    tq_file_attachment(file, i, &attachment);
    if (attachment.kind == TQ_ATTACHMENT_FILE) return false;
  }
  return file_count == 1;
}

static tq_status restore_folder(restorer *self, const char *path, tq_error *error) {
  tq_output_folder *folder;
  tq_status status = tq_output_folder_create(path, &folder, error);
  if (status) return status;
  status = restore_attachments(self, folder, error);
  if (!status) status = restore_weights(self, folder, NULL, error);
  if (!status) return tq_output_folder_commit(folder, error);
  tq_output_folder_abandon(folder);
  return status;
}

tq_status tq_source_restore(const tq_file *file, const char *path, const tq_progress *progress, tq_error *error) {
  restorer self = {.file = file, .progress = progress};
  char format[64];
  size_t count;
  tq_status status = read_record(file, format, sizeof format, &count, &self.total, error);
  if (!status) status = tq_team_create(0, &self.team, error);
  if (status) return status;
  if (is_single_file(file, count))
    status = restore_weights(&self, NULL, path, error);
  else
    status = restore_folder(&self, path, error);
  tq_team_destroy(self.team);
  return status;
}
