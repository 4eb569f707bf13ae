#include "base/bytes.h"
#include "base/memory.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/header.h"
#include "formats/gguf/tensors.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tq_gguf_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  (void)name;
  (void)file_size;
  return start_size >= 4 && memcmp(start, "GGUF", 4) == 0;
}

/* ---- files ---- */

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

/* Takes down the tensors of a part; its name is added to the checkpoint's files when all tensors are. */
static tq_status open_part(tq_checkpoint *checkpoint, tq_gguf_tensors *tensors, const char *name, uint64_t part,
                           uint64_t count, tq_error *error) {
  size_t input;
  tq_status status = open_input(checkpoint, name, &input, error);
  if (status) return status;
  tq_gguf_header header = {0};
  status = tq_gguf_header_read(checkpoint->inputs[input], &header, error);
  if (!status) {
    status = check_part(checkpoint, tq_input_name(checkpoint->inputs[input]), header.metadata, part, count, error);
  }
  if (!status) status = tq_gguf_tensors_gather(tensors, checkpoint, input, &header, error);
  tq_gguf_header_free(&header);
  return status;
}

static tq_status open_other_parts(tq_checkpoint *checkpoint, tq_gguf_tensors *tensors, const char *name, uint64_t count,
                                  tq_error *error) {
  const char *file = tq_input_name(checkpoint->inputs[0]);
  for (uint64_t part = 2; part <= count; part++) {
    char *other;
    tq_status status = split_name(file, name, 1, part, count, &other, error);
    if (status) return status;
    status = open_part(checkpoint, tensors, other, part, count, error);
    tq_free(other);
    if (status) return status;
  }
  uint64_t expected;
  tq_status status = split_number(file, checkpoint->metadata, "split.tensors.count", tensors->count, &expected, error);
  if (!status && expected != tensors->count) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %zu tensors in %llu parts where split.tensors.count says %llu", file,
                   tensors->count, (unsigned long long)count, (unsigned long long)expected);
  }
  return status;
}

/* Adds the files as something that can be written again: input i is part i + 1. */
static tq_status add_files(tq_checkpoint *checkpoint, const char *name, uint64_t count, tq_error *error) {
  tq_status status =
      tq_checkpoint_add_weights_file(checkpoint, name, 0, TQ_GGUF_FIXED_SIZE, checkpoint->metadata_size, error);
  for (uint64_t part = 2; !status && part <= count; part++) {
    char *other;
    status = split_name(tq_input_name(checkpoint->inputs[0]), name, 1, part, count, &other, error);
    if (status) return status;
    status = tq_checkpoint_add_weights_file(checkpoint, other, (size_t)part - 1, TQ_GGUF_FIXED_SIZE, 0, error);
    tq_free(other);
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
static tq_status open_first(tq_checkpoint *checkpoint, tq_gguf_tensors *tensors, const char *name, uint64_t *count,
                            tq_error *error) {
  size_t input;
  tq_status status = open_input(checkpoint, name, &input, error);
  if (status) return status;
  tq_gguf_header header = {0};
  const char *file = tq_input_name(checkpoint->inputs[input]);
  status = tq_gguf_header_read(checkpoint->inputs[input], &header, error);
  if (!status) status = check_first_part(file, name, header.metadata, count, error);
  if (!status) status = keep_metadata(checkpoint, &header, error);
  if (!status) status = tq_gguf_tensors_gather(tensors, checkpoint, input, &header, error);
  tq_gguf_header_free(&header);
  return status;
}

tq_status tq_gguf_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error) {
  uint64_t count = 1;
  tq_gguf_tensors tensors = {0};
  tq_status status = open_first(checkpoint, &tensors, name, &count, error);
  if (!status && count > 1) status = open_other_parts(checkpoint, &tensors, name, count, error);
  if (!status) status = tq_gguf_decide_readings(&tensors, checkpoint, options, error);
  if (!status) status = tq_gguf_tensors_add(&tensors, checkpoint, error);
  if (!status) status = add_files(checkpoint, name, count, error);
  tq_gguf_tensors_free(&tensors);
  return status ? status : open_tokenizer(checkpoint, options, error);
}
