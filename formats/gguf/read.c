#include "base/bytes.h"
#include "base/memory.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/header.h"
#include "formats/names.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tq_gguf_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  (void)name;
  (void)file_size;
  return start_size >= 4 && memcmp(start, "GGUF", 4) == 0;
}

/* ---- tensors ---- */

static tq_status check_type(const char *file, const tq_gguf_info *info, const tq_gguf_type **type, tq_error *error) {
  *type = tq_gguf_type_find(info->type);
  if (!*type) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: type %u is not known", file, (int)info->name.size,
                   info->name.data, info->type);
  }
  if (!(*type)->encoding) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: type %s (%u) is not supported yet", file,
                   (int)info->name.size, info->name.data, (*type)->name, info->type);
  }
  return TQ_OK;
}

/* Bytes of the tensor's data. */
static tq_status measure(const char *file, const tq_gguf_info *info, const tq_gguf_type *type, uint64_t *size,
                         tq_error *error) {
  uint64_t columns = info->shape[info->dimensions - 1], elements = 1;
  bool fits = true;
  for (uint32_t i = 0; i < info->dimensions; i++) fits = fits && tq_multiply_u64(elements, info->shape[i], &elements);
  if (!fits || elements == 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: its dimensions %s", file, (int)info->name.size,
                   info->name.data, fits ? "contain a zero" : "overflow");
  }
  if (columns % type->block_elements) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: rows of %llu are not a multiple of the %u of type %s",
                   file, (int)info->name.size, info->name.data, (unsigned long long)columns, type->block_elements,
                   type->name);
  }
  if (!tq_multiply_u64(elements / type->block_elements, type->block_bytes, size)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: its size overflows", file, (int)info->name.size,
                   info->name.data);
  }
  return TQ_OK;
}

/* Fills the strings; what is there already is freed by the caller in every case but success. */
static tq_status name_tensor(const tq_checkpoint *checkpoint, const tq_gguf_info *info, const tq_gguf_type *type,
                             tq_source_tensor *tensor, tq_error *error) {
  tensor->name = tq_copy_string(info->name.data, info->name.size, error);
  if (!tensor->name) return TQ_ERROR_SYSTEM;
  char role[TQ_ROLE_SIZE];
  bool known =
      tq_gguf_architecture(checkpoint->metadata) && tq_role_from_name(TQ_CARRIER_GGUF, tensor->name, role, sizeof role);
  tensor->role =
      known ? tq_copy_string(role, strlen(role), error) : tq_copy_string(info->name.data, info->name.size, error);
  if (tensor->role) tensor->type_name = tq_copy_string(type->name, strlen(type->name), error);
  return tensor->type_name ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* Says whether the rows are in adjacent-pair order. Such an order can be undone for whole rows, or the elements of a
 * bias. */
static tq_status find_row_order(const char *file, const tq_checkpoint *checkpoint, tq_source_tensor *tensor,
                                tq_error *error) {
  tq_status status = tq_gguf_adjacent_heads(file, checkpoint->metadata, tensor->role, tensor->shape[0],
                                            &tensor->adjacent_heads, error);
  if (status || !tensor->adjacent_heads) return status;
  bool is_bias = tensor->dimensions == 1;
  if (tensor->dimensions > 2 || (is_bias && tensor->encoding == TQ_BLOCKS)) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: a q or k tensor of %u dimensions and type %s is not understood", file, tensor->name,
                   tensor->dimensions, tensor->type_name);
  }
  return TQ_OK;
}

static tq_status add_tensor(tq_checkpoint *checkpoint, size_t input, const tq_gguf_info *info, tq_error *error) {
  const char *file = tq_input_name(checkpoint->inputs[input]);
  const tq_gguf_type *type;
  tq_status status = check_type(file, info, &type, error);
  if (status) return status;
  tq_source_tensor tensor = {.encoding = type->encoding,
                             .block_elements = type->block_elements,
                             .block_bytes = type->block_bytes,
                             .dimensions = info->dimensions,
                             .input = input,
                             .offset = info->offset};
  memcpy(tensor.shape, info->shape, sizeof info->shape);
  status = measure(file, info, type, &tensor.size, error);
  if (!status) status = name_tensor(checkpoint, info, type, &tensor, error);
  if (!status) status = find_row_order(file, checkpoint, &tensor, error);
  if (!status) status = tq_checkpoint_add_tensor(checkpoint, &tensor, error);
  if (status) {
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  }
  return status;
}

/* ---- files ---- */

/* Adds the tensors of one file, and the file itself as something that can be written again. */
static tq_status add_file(tq_checkpoint *checkpoint, const char *path, size_t input, const tq_gguf_header *header,
                          uint64_t metadata_size, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < header->info_count; i++) {
    status = add_tensor(checkpoint, input, &header->infos[i], error);
  }
  if (status) return status;
  return tq_checkpoint_add_weights_file(checkpoint, path, input, TQ_GGUF_FIXED_SIZE, metadata_size, error);
}

/* Copies the first file's metadata into the checkpoint. */
static tq_status keep_metadata(tq_checkpoint *checkpoint, const tq_gguf_header *header, tq_error *error) {
  tq_metadata_builder builder = {
      .size = header->metadata_size, .capacity = header->metadata_size, .count = header->key_count};
  builder.data = tq_allocate(header->metadata_size, 1, error);
  if (!builder.data) return TQ_ERROR_SYSTEM;
  if (header->metadata_size) memcpy(builder.data, header->bytes + TQ_GGUF_FIXED_SIZE, header->metadata_size);
  return tq_checkpoint_set_metadata(checkpoint, &builder, error);
}

static tq_status open_input(tq_checkpoint *checkpoint, const char *name, size_t *index, tq_error *error) {
  tq_input *input;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: there is no file %s", tq_folder_name(checkpoint->folder), name);
  status = tq_checkpoint_add_input(checkpoint, input, index, error);
  if (status) tq_input_close(input);
  return status;
}

/* ---- split files: NAME-00001-of-00003.gguf and so on ---- */

enum { SPLIT_LIMIT = 65535 /* split.count is a u16 */ };

static tq_status split_number(const char *file, const tq_metadata *metadata, const char *key, uint64_t otherwise,
                              uint64_t *number, tq_error *error) {
  tq_value value;
  *number = otherwise;
  if (!tq_metadata_find(metadata, key, &value)) return TQ_OK;
  *number = tq_metadata_u64(metadata, key, UINT64_MAX);
  if (*number != UINT64_MAX) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s is not a number that counts", file, key);
}

/* The name of part `part` (from 1) of `count`, of which `name` is part `own`; released by tq_free. `file` begins
 * messages. */
static tq_status split_name(const char *file, const char *name, uint64_t own, uint64_t part, uint64_t count,
                            char **result, tq_error *error) {
  char ending[64];
  snprintf(ending, sizeof ending, "-%05llu-of-%05llu.gguf", (unsigned long long)own, (unsigned long long)count);
  size_t size = strlen(name), ending_size = strlen(ending);
  if (size <= ending_size || strcmp(name + size - ending_size, ending) != 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: part %llu of %llu, but its name does not end in %s", file,
                   (unsigned long long)own, (unsigned long long)count, ending);
  }
  *result = tq_format_string(error, "%.*s-%05llu-of-%05llu.gguf", (int)(size - ending_size), name,
                             (unsigned long long)part, (unsigned long long)count);
  return *result ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* The first file's place among the parts: *count is 1 for a file that is not split. */
static tq_status check_first_part(const char *file, const char *name, const tq_metadata *metadata, uint64_t *count,
                                  tq_error *error) {
  uint64_t number;
  tq_status status = split_number(file, metadata, "split.count", 1, count, error);
  if (!status) status = split_number(file, metadata, "split.no", 0, &number, error);
  if (status) return status;
  if (*count > SPLIT_LIMIT || (*count && number >= *count)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: part %llu of %llu is not possible", file,
                   (unsigned long long)number + 1, (unsigned long long)*count);
  }
  if (*count <= 1) {
    *count = 1;
    return TQ_OK;
  }
  if (number == 0) return TQ_OK;
  char *first;
  status = split_name(file, name, number + 1, 1, *count, &first, error);
  if (status) return status;
  status = tq_fail(error, TQ_ERROR_USAGE, "%s: part %llu of %llu of a model: open the first, %s", file,
                   (unsigned long long)number + 1, (unsigned long long)*count, first);
  tq_free(first);
  return status;
}

static bool is_split_key(tq_string key) { return key.size >= 6 && memcmp(key.data, "split.", 6) == 0; }

/* A part's own metadata is kept in the file's pieces, but only the first part's describes the model. */
static tq_status check_part(tq_checkpoint *checkpoint, const char *file, const tq_metadata *metadata, uint64_t part,
                            uint64_t count, tq_error *error) {
  uint64_t number, total;
  tq_status status = split_number(file, metadata, "split.no", UINT64_MAX, &number, error);
  if (!status) status = split_number(file, metadata, "split.count", UINT64_MAX, &total, error);
  if (status) return status;
  if (number != part - 1 || total != count) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its split.no and split.count do not say that it is part %llu of %llu",
                   file, (unsigned long long)part, (unsigned long long)count);
  }
  size_t others = 0;
  for (size_t i = 0; i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    others += !is_split_key(key);
  }
  if (!others) return TQ_OK;
  return tq_checkpoint_note(checkpoint, error, "%s: %zu metadata keys of this part are not used: the first part's are",
                            file, others);
}

static tq_status open_part(tq_checkpoint *checkpoint, const char *name, uint64_t part, uint64_t count,
                           tq_error *error) {
  size_t input;
  tq_status status = open_input(checkpoint, name, &input, error);
  if (status) return status;
  tq_gguf_header header = {0};
  status = tq_gguf_header_read(checkpoint->inputs[input], &header, error);
  if (!status) {
    status = check_part(checkpoint, tq_input_name(checkpoint->inputs[input]), header.metadata, part, count, error);
  }
  if (!status) status = add_file(checkpoint, name, input, &header, 0, error);
  tq_gguf_header_free(&header);
  return status;
}

static tq_status open_other_parts(tq_checkpoint *checkpoint, const char *name, uint64_t count, tq_error *error) {
  for (uint64_t part = 2; part <= count; part++) {
    char *other;
    tq_status status = split_name(tq_input_name(checkpoint->inputs[0]), name, 1, part, count, &other, error);
    if (status) return status;
    status = open_part(checkpoint, other, part, count, error);
    tq_free(other);
    if (status) return status;
  }
  uint64_t expected;
  const char *file = tq_input_name(checkpoint->inputs[0]);
  tq_status status =
      split_number(file, checkpoint->metadata, "split.tensors.count", checkpoint->tensor_count, &expected, error);
  if (!status && expected != checkpoint->tensor_count) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %zu tensors in %llu parts where split.tensors.count says %llu", file,
                   checkpoint->tensor_count, (unsigned long long)count, (unsigned long long)expected);
  }
  return status;
}

/* ---- the whole ---- */

static tq_status open_tokenizer(tq_checkpoint *checkpoint, const tq_open_options *options, tq_error *error) {
  char reason[TQ_REASON_SIZE];
  const char *file = tq_input_name(checkpoint->inputs[0]);
  tq_status status = tq_vocabulary_from_metadata(file, checkpoint->metadata, &checkpoint->tokenizer,
                                                 &checkpoint->tokenizer_size, reason, error);
  if (status) return status;
  if (checkpoint->tokenizer) {
    if (!options->tokenizer_path) return TQ_OK;
    return tq_fail(error, TQ_ERROR_USAGE, "%s: has a tokenizer of its own, so %s is not taken", file,
                   options->tokenizer_path);
  }
  if (!options->tokenizer_path) return tq_checkpoint_note(checkpoint, error, "no tokenizer: %s", reason);
  tq_input *input;
  status = tq_input_open(options->tokenizer_path, &input, error);
  if (status) return status;
  status = tq_tokenizer_file_serialize(input, &checkpoint->tokenizer, &checkpoint->tokenizer_size, error);
  tq_input_close(input);
  return status ? status : tq_checkpoint_note(checkpoint, error, "the tokenizer is %s", options->tokenizer_path);
}

/* The first file, whose metadata is the model's. *count gets the number of parts. */
static tq_status open_first(tq_checkpoint *checkpoint, const char *name, uint64_t *count, tq_error *error) {
  size_t input;
  tq_status status = open_input(checkpoint, name, &input, error);
  if (status) return status;
  tq_gguf_header header = {0};
  const char *file = tq_input_name(checkpoint->inputs[input]);
  status = tq_gguf_header_read(checkpoint->inputs[input], &header, error);
  if (!status) status = check_first_part(file, name, header.metadata, count, error);
  if (!status) status = keep_metadata(checkpoint, &header, error);
  if (!status) status = add_file(checkpoint, name, input, &header, header.metadata_size, error);
  tq_gguf_header_free(&header);
  return status;
}

tq_status tq_gguf_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error) {
  uint64_t count = 1;
  tq_status status = open_first(checkpoint, name, &count, error);
  if (!status && count > 1) status = open_other_parts(checkpoint, name, count, error);
  return status ? status : open_tokenizer(checkpoint, options, error);
}
