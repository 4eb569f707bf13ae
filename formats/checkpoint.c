#include "formats/checkpoint.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void free_tensor(tq_source_tensor *tensor) {
  tq_free(tensor->name);
  tq_free(tensor->role);
  tq_free(tensor->type_name);
}

void tq_checkpoint_close(tq_checkpoint *checkpoint) {
  if (!checkpoint) return;
  for (size_t i = 0; i < checkpoint->tensor_count; i++) free_tensor(&checkpoint->tensors[i]);
  for (size_t i = 0; i < checkpoint->file_count; i++) {
    tq_free(checkpoint->files[i].path);
    tq_free(checkpoint->files[i].pieces);
  }
  for (size_t i = 0; i < checkpoint->input_count; i++) tq_input_close(checkpoint->inputs[i]);
  tq_metadata_free(checkpoint->metadata);
  tq_buffer_free(&checkpoint->notes);
  tq_buffer_free(&checkpoint->readings);
  tq_source_tensor_release(checkpoint);
  tq_free(checkpoint->names);
  tq_free(checkpoint->tensors);
  tq_free(checkpoint->files);
  tq_free(checkpoint->inputs);
  tq_free(checkpoint->metadata_bytes);
  tq_free(checkpoint->tokenizer);
  tq_free(checkpoint->path);
  tq_folder_close(checkpoint->folder);
  tq_free(checkpoint);
}

tq_status tq_checkpoint_add_input(tq_checkpoint *checkpoint, tq_input *input, size_t *index, tq_error *error) {
  tq_status status = tq_grow((void **)&checkpoint->inputs, &checkpoint->input_capacity, checkpoint->input_count + 1,
                             sizeof *checkpoint->inputs, error);
  if (status) return status;
  *index = checkpoint->input_count;
  checkpoint->inputs[checkpoint->input_count++] = input;
  return TQ_OK;
}

/* ---- tensors ---- */

static bool run_has(const tq_checkpoint *checkpoint, const size_t *run, size_t length, const char *name) {
  while (length) {
    size_t middle = length / 2;
    int order = strcmp(name, checkpoint->tensors[run[middle]].name);
    if (order == 0) return true;
    if (order > 0) run += middle + 1;
    length = order > 0 ? length - middle - 1 : middle;
  }
  return false;
}

/* Whoever makes a file could choose names that meet in one slot of a hash table; sorted runs have no worst case. */
static bool has_name(const tq_checkpoint *checkpoint, const char *name) {
  const size_t *run = checkpoint->names;
  for (size_t left = checkpoint->tensor_count, length; left; left -= length, run += length) {
    for (length = 1; length <= left / 2;) length *= 2;
    if (run_has(checkpoint, run, length, name)) return true;
  }
  return false;
}

/* Merges two sorted runs of `half` tensors that follow each other. */
static void merge_runs(const tq_checkpoint *checkpoint, size_t *run, size_t half, size_t *scratch) {
  const size_t *left = scratch, *right = run + half, *left_end = scratch + half, *right_end = right + half;
  memcpy(scratch, run, half * sizeof *run);
  while (left < left_end) {
    bool take_right =
        right < right_end && strcmp(checkpoint->tensors[*right].name, checkpoint->tensors[*left].name) < 0;
    *run++ = take_right ? *right++ : *left++;
  }
}

/* Adds the last tensor's name, for which there is room. */
static void add_name(tq_checkpoint *checkpoint) {
  size_t count = checkpoint->tensor_count, *scratch = checkpoint->names + checkpoint->name_capacity;
  checkpoint->names[count - 1] = count - 1;
  for (size_t half = 1; !(count & half); half *= 2)
    merge_runs(checkpoint, checkpoint->names + count - 2 * half, half, scratch);
}

/* The product of the dimensions, none of which is zero. */
static tq_status count_elements(const char *file, const tq_source_tensor *tensor, uint64_t *elements, tq_error *error) {
  if (tensor->dimensions < 1 || tensor->dimensions > TQ_MAX_DIMENSIONS) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %u dimensions (1 to %d are allowed)", file, tensor->name,
                   tensor->dimensions, TQ_MAX_DIMENSIONS);
  }
  *elements = 1;
  for (uint32_t i = 0; i < tensor->dimensions; i++) {
    if (tensor->shape[i] == 0) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: dimension %u is zero", file, tensor->name, i);
    }
    if (!tq_multiply_u64(*elements, tensor->shape[i], elements)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its dimensions overflow", file, tensor->name);
    }
  }
  return TQ_OK;
}

/* Bytes that the shape and encoding of numbers or blocks demand. */
static tq_status measure_numbers(const char *file, const tq_source_tensor *tensor, uint64_t elements, uint64_t *bytes,
                                 tq_error *error) {
  const tq_encoding_info *info = tq_encoding_find(tensor->encoding);
  uint64_t unit_elements = tensor->encoding == TQ_BLOCKS ? tensor->block_elements : info ? info->elements : 0;
  uint64_t unit_bytes = tensor->encoding == TQ_BLOCKS ? tensor->block_bytes : info ? info->bytes : 0;
  if (!unit_elements || !unit_bytes) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: type %s is not understood", file, tensor->name,
                   tensor->type_name);
  }
  uint64_t divided = tensor->encoding == TQ_BLOCKS ? tensor->shape[tensor->dimensions - 1] : elements;
  if (divided % unit_elements) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu elements are not a multiple of the %llu of type %s",
                   file, tensor->name, (unsigned long long)divided, (unsigned long long)unit_elements,
                   tensor->type_name);
  }
  if (!tq_multiply_u64(elements / unit_elements, unit_bytes, bytes)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its size overflows", file, tensor->name);
  }
  return TQ_OK;
}

/* Bytes that the shape and dialect of a packed tensor demand. */
static tq_status measure_packed(const char *file, const tq_source_tensor *tensor, uint64_t elements, uint64_t *bytes,
                                tq_error *error) {
  const tq_dialect *dialect = tensor->form.dialect;
  uint64_t columns = tensor->shape[tensor->dimensions - 1], rows = elements / columns;
  char reason[160];
  if (tq_dialect_shape_problem(dialect, rows, columns, reason, sizeof reason)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: type %s: %s", file, tensor->name, tensor->type_name,
                   reason);
  }
  if (!tq_dialect_size(dialect, rows, columns, bytes)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its size overflows", file, tensor->name);
  }
  return TQ_OK;
}

static tq_status measure(const char *file, const tq_source_tensor *tensor, uint64_t *bytes, tq_error *error) {
  uint64_t elements;
  tq_status status = count_elements(file, tensor, &elements, error);
  if (status) return status;
  return tensor->form.dialect ? measure_packed(file, tensor, elements, bytes, error)
                              : measure_numbers(file, tensor, elements, bytes, error);
}

/* Rows whose order RoPE decides: output channels, so the elements of a bias. */
static uint64_t rotated_rows(const tq_source_tensor *tensor) { return tensor->shape[0]; }

static tq_status check_row_order(const char *file, const tq_source_tensor *tensor, tq_error *error) {
  if (!tensor->adjacent_heads) return TQ_OK;
  uint64_t rows = rotated_rows(tensor);
  if (rows % tensor->adjacent_heads || (rows / tensor->adjacent_heads) % 2) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu rows are not %u heads of pairs", file, tensor->name,
                   (unsigned long long)rows, tensor->adjacent_heads);
  }
  const tq_dialect *dialect = tensor->form.dialect;
  if (dialect && (tensor->dimensions != 2 || dialect->is_strided)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %u dimensions of type %s in adjacent-pair order", file,
                   tensor->name, tensor->dimensions, tensor->type_name);
  }
  if (!dialect && tensor->size % rows) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its rows are not whole bytes", file, tensor->name);
  }
  return TQ_OK;
}

static tq_status check_tensor(const tq_checkpoint *checkpoint, const tq_source_tensor *tensor, tq_error *error) {
  if (tensor->input >= checkpoint->input_count) {
    return tq_fail(error, TQ_ERROR_USAGE, "tensor %s lies in no input", tensor->name);
  }
  const tq_input *input = checkpoint->inputs[tensor->input];
  const char *file = tq_input_name(input);
  size_t length = strlen(tensor->name);
  char printable[128];
  if (length == 0 || length >= TQ_ROLE_SIZE || !tq_is_name(tensor->name, length)) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor name '%s': not a name (1 to %d bytes of UTF-8 without control characters)", file,
                   tq_printable(tensor->name, length, printable, sizeof printable), TQ_ROLE_SIZE - 1);
  }
  uint64_t bytes = 0;
  tq_status status = measure(file, tensor, &bytes, error);
  if (status) return status;
  if (bytes != tensor->size) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu bytes where its shape and type %s demand %llu", file,
                   tensor->name, (unsigned long long)tensor->size, tensor->type_name, (unsigned long long)bytes);
  }
  if (!tq_within(tensor->offset, tensor->size, tq_input_size(input))) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: bytes %llu to %llu lie outside the file of %llu bytes",
                   file, tensor->name, (unsigned long long)tensor->offset,
                   (unsigned long long)(tensor->offset + tensor->size), (unsigned long long)tq_input_size(input));
  }
  return check_row_order(file, tensor, error);
}

tq_status tq_checkpoint_add_tensor(tq_checkpoint *checkpoint, tq_source_tensor *tensor, tq_error *error) {
  tq_status status = check_tensor(checkpoint, tensor, error);
  if (!status) {
    status = tq_grow((void **)&checkpoint->tensors, &checkpoint->tensor_capacity, checkpoint->tensor_count + 1,
                     sizeof *checkpoint->tensors, error);
  }
  if (!status) {
    status = tq_grow((void **)&checkpoint->names, &checkpoint->name_capacity, checkpoint->tensor_count + 1,
                     2 * sizeof *checkpoint->names, error);
  }
  if (status) return status;
  if (has_name(checkpoint, tensor->name)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: there are two of that name",
                   tq_input_name(checkpoint->inputs[tensor->input]), tensor->name);
  }
  checkpoint->tensors[checkpoint->tensor_count++] = *tensor;
  add_name(checkpoint);
  return TQ_OK;
}

void tq_checkpoint_remove_tensors(tq_checkpoint *checkpoint, const bool *removed) {
  size_t count = checkpoint->tensor_count;
  checkpoint->tensor_count = 0;
  for (size_t i = 0; i < count; i++) {
    if (removed[i]) {
      free_tensor(&checkpoint->tensors[i]);
      continue;
    }
    checkpoint->tensors[checkpoint->tensor_count++] = checkpoint->tensors[i];
    add_name(checkpoint);
  }
}

size_t tq_checkpoint_find_role(const tq_checkpoint *checkpoint, const char *role) {
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    if (strcmp(checkpoint->tensors[i].role, role) == 0) return i;
  }
  return SIZE_MAX;
}

/* ---- files ---- */

static bool can_be_written_again(const char *path) {
  return tq_relative_name_is_safe(path) && tq_is_name(path, strlen(path));
}

/* The user may name a file as no file may name another: what is recorded is then a plain name. */
static char *recorded_path(const char *path, tq_error *error) {
  if (can_be_written_again(path)) return tq_copy_string(path, strlen(path), error);
  const char *dot = strrchr(path, '.');
  return tq_format_string(error, "model%s", dot && can_be_written_again(dot) ? dot : "");
}

static tq_status add_file(tq_checkpoint *checkpoint, const char *path, size_t input, tq_source_file **file,
                          tq_error *error) {
  tq_status status = tq_grow((void **)&checkpoint->files, &checkpoint->file_capacity, checkpoint->file_count + 1,
                             sizeof *checkpoint->files, error);
  if (status) return status;
  char *copy = recorded_path(path, error);
  if (!copy) return TQ_ERROR_SYSTEM;
  *file = &checkpoint->files[checkpoint->file_count++];
  **file = (tq_source_file){.path = copy, .input = input};
  return TQ_OK;
}

tq_status tq_checkpoint_add_attachment(tq_checkpoint *checkpoint, const char *path, size_t input, tq_error *error) {
  tq_source_file *file;
  return add_file(checkpoint, path, input, &file, error);
}

static tq_status add_piece(tq_source_file *file, uint32_t kind, uint64_t source, uint64_t size, tq_error *error) {
  if (size == 0) return TQ_OK;
  tq_status status =
      tq_grow((void **)&file->pieces, &file->piece_capacity, file->piece_count + 1, sizeof *file->pieces, error);
  if (status) return status;
  file->pieces[file->piece_count++] = (tq_piece){kind, source, size};
  return TQ_OK;
}

/* A stretch of a file whose bytes the container holds elsewhere. */
typedef struct stretch {
  uint64_t offset, size, source;
  uint32_t kind;
} stretch;

static int compare_stretches(const void *a, const void *b) {
  const stretch *x = a, *y = b;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* What of the input is metadata or tensor, in the order of the file. */
static tq_status list_stretches(const tq_checkpoint *checkpoint, size_t input, uint64_t metadata_offset,
                                uint64_t metadata_size, stretch **stretches, size_t *count, tq_error *error) {
  *stretches = tq_allocate(checkpoint->tensor_count + 1, sizeof **stretches, error);
  if (!*stretches) return TQ_ERROR_SYSTEM;
  *count = 0;
  if (metadata_size) (*stretches)[(*count)++] = (stretch){metadata_offset, metadata_size, 0, TQ_PIECE_METADATA};
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    if (tensor->input != input) continue;
    (*stretches)[(*count)++] = (stretch){tensor->offset, tensor->size, i, TQ_PIECE_TENSOR};
  }
  qsort(*stretches, *count, sizeof **stretches, compare_stretches);
  return TQ_OK;
}

static tq_status cut_into_pieces(tq_checkpoint *checkpoint, tq_source_file *file, const stretch *stretches,
                                 size_t count, tq_error *error) {
  const tq_input *input = checkpoint->inputs[file->input];
  uint64_t position = 0;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < count; i++) {
    const stretch *next = &stretches[i];
    if (next->offset < position) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s at byte %llu overlaps what lies before it", tq_input_name(input),
                     next->kind == TQ_PIECE_TENSOR ? checkpoint->tensors[next->source].name : "metadata",
                     (unsigned long long)next->offset);
    }
    status = add_piece(file, TQ_PIECE_LITERAL, position, next->offset - position, error);
    if (!status) status = add_piece(file, next->kind, next->source, next->size, error);
    position = next->offset + next->size;
  }
  if (!status) status = add_piece(file, TQ_PIECE_LITERAL, position, tq_input_size(input) - position, error);
  return status;
}

tq_status tq_checkpoint_add_weights_file(tq_checkpoint *checkpoint, const char *path, size_t input,
                                         uint64_t metadata_offset, uint64_t metadata_size, tq_error *error) {
  stretch *stretches;
  size_t count;
  tq_status status = list_stretches(checkpoint, input, metadata_offset, metadata_size, &stretches, &count, error);
  if (status) return status;
  tq_source_file *file;
  status = add_file(checkpoint, path, input, &file, error);
  if (!status) {
    file->is_weights = true;
    status = cut_into_pieces(checkpoint, file, stretches, count, error);
  }
  tq_free(stretches);
  return status;
}

/* ---- metadata and notes ---- */

tq_status tq_checkpoint_set_metadata(tq_checkpoint *checkpoint, tq_metadata_builder *builder, tq_error *error) {
  tq_metadata_free(checkpoint->metadata);
  checkpoint->metadata = NULL;
  tq_free(checkpoint->metadata_bytes);
  checkpoint->metadata_bytes = builder->data;
  checkpoint->metadata_size = builder->size;
  checkpoint->metadata_count = builder->count;
  *builder = (tq_metadata_builder){0};
  size_t consumed;
  return tq_metadata_parse(checkpoint->path, checkpoint->metadata_bytes, checkpoint->metadata_size,
                           checkpoint->metadata_count, &consumed, NULL, &checkpoint->metadata, error);
}

static tq_status add_line(tq_buffer *lines, tq_error *error, const char *format, va_list arguments) {
  char line[1024], printable[1024];
  int length = vsnprintf(line, sizeof line, format, arguments);
  if (length < 0) length = 0;
  if ((size_t)length >= sizeof line) length = sizeof line - 1;
  return tq_buffer_format(lines, error, "%s\n", tq_printable(line, (size_t)length, printable, sizeof printable));
}

tq_status tq_checkpoint_note(tq_checkpoint *checkpoint, tq_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  tq_status status = add_line(&checkpoint->notes, error, format, arguments);
  va_end(arguments);
  return status;
}

tq_status tq_checkpoint_reading(tq_checkpoint *checkpoint, tq_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  tq_status status = add_line(&checkpoint->readings, error, format, arguments);
  va_end(arguments);
  return status;
}

bool tq_checkpoint_declares_latent(const tq_checkpoint *checkpoint) {
  return tq_metadata_bool(checkpoint->metadata, "tq.latent", false);
}

/* ---- reading tensors ---- */

/* Fills what is held up to `end`, and gives what there is of a range; the rest comes from the input. */
static tq_status read_held(tq_held_tensor *held, tq_input *input, uint64_t start, uint64_t offset, uint64_t size,
                           uint8_t *buffer, tq_error *error) {
  uint64_t end = offset + size;
  if (held->grows && end > held->filled) {
    tq_status status =
        tq_input_read(input, start + held->filled, held->bytes + held->filled, (size_t)(end - held->filled), error);
    if (status) return status;
    held->filled = end;
  }
  uint64_t there = offset >= held->filled ? 0 : end <= held->filled ? size : held->filled - offset;
  memcpy(buffer, held->bytes + offset, (size_t)there);
  return tq_input_read(input, start + offset + there, buffer + there, (size_t)(size - there), error);
}

tq_status tq_source_tensor_bytes(tq_checkpoint *checkpoint, size_t index, uint64_t offset, uint64_t size, void *buffer,
                                 tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  tq_input *input = checkpoint->inputs[tensor->input];
  tq_held_tensor *held = &checkpoint->held;
  if (held->bytes && held->tensor == index) return read_held(held, input, tensor->offset, offset, size, buffer, error);
  return tq_input_read(input, tensor->offset + offset, buffer, (size_t)size, error);
}

enum { HELD_BYTES = 16 << 20 };

/* Rows that share bytes with rows far off are read as often as there are such: from memory where that is little. */
static bool is_better_held(const tq_source_tensor *tensor) {
  return tensor->form.dialect && tensor->form.dialect->is_strided && tensor->size <= HELD_BYTES;
}

tq_status tq_source_tensor_hold(tq_checkpoint *checkpoint, size_t index, tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  tq_source_tensor_release(checkpoint);
  if (tq_input_seeks(checkpoint->inputs[tensor->input]) && !is_better_held(tensor)) return TQ_OK;
  uint8_t *bytes = tq_allocate((size_t)tensor->size, 1, error);
  if (!bytes) return TQ_ERROR_SYSTEM;
  checkpoint->held = (tq_held_tensor){.bytes = bytes, .tensor = index, .grows = true};
  return TQ_OK;
}

void tq_source_tensor_hold_no_more(tq_checkpoint *checkpoint) { checkpoint->held.grows = false; }

void tq_source_tensor_release(tq_checkpoint *checkpoint) {
  tq_free(checkpoint->held.bytes);
  checkpoint->held = (tq_held_tensor){0};
}

static uint64_t head_bytes(const tq_source_tensor *tensor) { return tensor->size / tensor->adjacent_heads; }

/* Heads up to this size are read whole, forwards, which is what an archive gives without beginning again. */
enum { WHOLE_HEAD_BYTES = 4 << 20, GATHER_BYTES = 256 * 1024 };

static bool reads_whole_heads(const tq_source_tensor *tensor) {
  return tensor->adjacent_heads && head_bytes(tensor) <= WHOLE_HEAD_BYTES;
}

uint64_t tq_source_tensor_unit(const tq_source_tensor *tensor) {
  if (reads_whole_heads(tensor)) return head_bytes(tensor);
  if (tensor->encoding == TQ_BLOCKS) return tensor->block_bytes;
  return tq_encoding_find(tensor->encoding)->bytes;
}

void tq_rows_to_half_split(const uint8_t *from, uint8_t *to, uint64_t heads, uint64_t head_rows, uint64_t row_bytes) {
  uint64_t half = head_rows / 2;
  for (uint64_t h = 0; h < heads; h++, from += head_rows * row_bytes, to += head_rows * row_bytes) {
    for (uint64_t b = 0; b < half; b++) {
      memcpy(to + b * row_bytes, from + 2 * b * row_bytes, row_bytes);
      memcpy(to + (half + b) * row_bytes, from + (2 * b + 1) * row_bytes, row_bytes);
    }
  }
}

static tq_status read_heads(tq_checkpoint *checkpoint, size_t index, uint64_t offset, uint64_t size, uint8_t *buffer,
                            tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  uint64_t head = head_bytes(tensor), rows = rotated_rows(tensor) / tensor->adjacent_heads;
  tq_status status = tq_source_tensor_bytes(checkpoint, index, offset, size, buffer, error);
  if (status) return status;
  uint8_t *copy = tq_allocate((size_t)head, 1, error);
  if (!copy) return TQ_ERROR_SYSTEM;
  for (uint8_t *place = buffer; size; place += head, size -= head) {
    memcpy(copy, place, (size_t)head);
    tq_rows_to_half_split(copy, place, 1, rows, head / rows);
  }
  tq_free(copy);
  return TQ_OK;
}

/* Reads `count` canonical rows, within one half of a head, that are every second row from `from` in the file. */
static tq_status read_every_second(tq_checkpoint *checkpoint, size_t index, uint64_t from, uint64_t count, uint64_t row,
                                   uint8_t *scratch, uint8_t *buffer, tq_error *error) {
  tq_status status = tq_source_tensor_bytes(checkpoint, index, from, (2 * count - 1) * row, scratch, error);
  for (uint64_t i = 0; !status && i < count; i++) memcpy(buffer + i * row, scratch + 2 * i * row, (size_t)row);
  return status;
}

/* Of heads too large to be held: small rows are picked from a stretch of the file that covers them, large ones and
 * parts of rows are read by themselves. */
static tq_status gather(tq_checkpoint *checkpoint, size_t index, uint64_t offset, uint64_t size, uint8_t *buffer,
                        tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  uint64_t rows = rotated_rows(tensor) / tensor->adjacent_heads, half = rows / 2, row = head_bytes(tensor) / rows;
  uint8_t *scratch = tq_allocate(GATHER_BYTES, 1, error);
  tq_status status = scratch ? TQ_OK : TQ_ERROR_SYSTEM;
  for (uint64_t n; !status && size; offset += n, size -= n, buffer += n) {
    uint64_t number = offset / row, within = offset % row, place = number % half;
    uint64_t file_row = number / rows * rows + 2 * place + number % rows / half;
    uint64_t from = file_row * row + within;
    uint64_t count = size / row, room = (GATHER_BYTES / row + 1) / 2;
    if (count > half - place) count = half - place;
    if (count > room) count = room;
    if (within || count < 2) {
      n = size < row - within ? size : row - within;
      status = tq_source_tensor_bytes(checkpoint, index, from, n, buffer, error);
    } else {
      n = count * row;
      status = read_every_second(checkpoint, index, from, count, row, scratch, buffer, error);
    }
  }
  tq_free(scratch);
  return status;
}

tq_status tq_source_tensor_read(tq_checkpoint *checkpoint, size_t index, uint64_t offset, uint64_t size, void *buffer,
                                tq_error *error) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  if (!tensor->adjacent_heads) return tq_source_tensor_bytes(checkpoint, index, offset, size, buffer, error);
  return reads_whole_heads(tensor) ? read_heads(checkpoint, index, offset, size, buffer, error)
                                   : gather(checkpoint, index, offset, size, buffer, error);
}
