#include "formats/format.h"

#include "base/memory.h"
#include "base/text.h"
#include "formats/gguf/gguf.h"
#include "formats/hf/hf.h"
#include "formats/llama2c/llama2c.h"
#include "formats/pytorch/pytorch.h"
#include "formats/safetensors/safetensors.h"
#include "formats/tokenizer/tokenizer_files.h"

#include <string.h>

/* In the order in which a file's first bytes are put to them: the surest first. */
static const tq_format formats[] = {
    {"gguf", "GGUF file (llama.cpp)", ".gguf", tq_gguf_recognize, tq_gguf_open, tq_gguf_write},
    {"hf", "Hugging Face folder", "", NULL, tq_hf_open, tq_hf_write},
    {"safetensors", "safetensors file", NULL, tq_safetensors_recognize, tq_safetensors_open, NULL},
    {"pytorch", "PyTorch checkpoint", NULL, tq_pytorch_recognize, tq_pytorch_open, NULL},
    {"tiktoken", "tiktoken vocabulary", NULL, tq_tiktoken_recognize, tq_tiktoken_open, NULL},
    {"llama2c", "llama2.c checkpoint", NULL, tq_llama2c_recognize, tq_llama2c_open, NULL},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0], START_BYTES = 4096 };
/* A folder that is none of Hugging Face's is searched for a checkpoint only when it is small: every file is looked
 * into. */
enum { MAX_UNKNOWN_FILES = 64 };

const tq_format *tq_format_at(size_t index) { return index < FORMAT_COUNT ? &formats[index] : NULL; }

const tq_format *tq_format_find(const char *name) {
  for (size_t i = 0; i < FORMAT_COUNT; i++) {
    if (strcmp(formats[i].name, name) == 0) return &formats[i];
  }
  return NULL;
}

/* ---- recognising ---- */

typedef struct file_start {
  uint8_t bytes[START_BYTES];
  size_t count;
  uint64_t file_size;
} file_start;

static tq_status read_start(tq_input *input, file_start *start, tq_error *error) {
  start->file_size = tq_input_size(input);
  start->count = start->file_size < START_BYTES ? (size_t)start->file_size : START_BYTES;
  return tq_input_read(input, 0, start->bytes, start->count, error);
}

static const tq_format *recognize(const char *name, const file_start *start) {
  for (size_t i = 0; i < FORMAT_COUNT; i++) {
    if (formats[i].recognize && formats[i].recognize(name, start->bytes, start->count, start->file_size)) {
      return &formats[i];
    }
  }
  return NULL;
}

static tq_status open_as(tq_checkpoint *checkpoint, const tq_format *format, const char *name,
                         const tq_open_options *options, tq_error *error) {
  checkpoint->format = format->name;
  tq_status status = format->open(checkpoint, name, options, error);
  if (status || checkpoint->metadata) return status;
  return tq_checkpoint_set_metadata(checkpoint, &(tq_metadata_builder){0}, error);
}

static bool looks_like_hf(char *const *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (strchr(names[i], '/')) continue;
    if (strcmp(names[i], "config.json") == 0 || tq_ends_with(names[i], ".safetensors") ||
        tq_ends_with(names[i], ".safetensors.index.json")) {
      return true;
    }
  }
  return false;
}

/* A folder without the files of Hugging Face holds one file to open: the only one that is recognised, or the first of a
 * split one. */
static tq_status choose_file(tq_checkpoint *checkpoint, char *const *names, size_t count, const char **chosen,
                             tq_error *error) {
  *chosen = NULL;
  for (size_t i = 0; i < count; i++) {
    tq_input *input;
    file_start start;
    tq_status status = tq_folder_input(checkpoint->folder, names[i], &input, error);
    if (!status && input) status = read_start(input, &start, error);
    tq_input_close(input);
    if (status) return status;
    if (!recognize(names[i], &start) && !tq_archive_recognize(start.bytes, start.count)) continue;
    if (!*chosen)
      *chosen = names[i];
    else if (!strstr(*chosen, "-00001-of-")) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: holds more than one checkpoint: %s and %s", checkpoint->path,
                     *chosen, names[i]);
    }
  }
  if (*chosen) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: holds no checkpoint that is understood", checkpoint->path);
}

static tq_status open_file(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                           tq_error *error);

static tq_status open_in_folder(tq_checkpoint *checkpoint, const tq_open_options *options, tq_error *error) {
  char *const *names;
  size_t count;
  const char *chosen;
  tq_status status = tq_folder_list(checkpoint->folder, &names, &count, error);
  if (status) return status;
  if (looks_like_hf(names, count)) return open_as(checkpoint, tq_format_find("hf"), NULL, options, error);
  if (count > MAX_UNKNOWN_FILES) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %zu files and no config.json among them", checkpoint->path, count);
  }
  status = choose_file(checkpoint, names, count, &chosen, error);
  return status ? status : open_file(checkpoint, chosen, options, error);
}

/* Goes on inside the archive `name` of the checkpoint's folder. */
static tq_status open_in_archive(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                                 tq_error *error) {
  tq_folder *archive;
  tq_status status = tq_folder_open_nested(checkpoint->folder, name, &archive, error);
  if (status) return status;
  if (tq_pytorch_is(archive)) {
    tq_folder_close(archive);
    return open_as(checkpoint, tq_format_find("pytorch"), name, options, error);
  }
  tq_folder_close(checkpoint->folder);
  checkpoint->folder = archive;
  return open_in_folder(checkpoint, options, error);
}

/* Opens the file `name` of the checkpoint's folder, whatever it is. */
static tq_status open_file(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                           tq_error *error) {
  tq_input *input;
  file_start start = {.count = 0};
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: no such file", checkpoint->path);
  status = read_start(input, &start, error);
  tq_input_close(input);
  if (status) return status;
  const tq_format *format = recognize(name, &start);
  if (format) return open_as(checkpoint, format, name, options, error);
  if (tq_archive_recognize(start.bytes, start.count)) return open_in_archive(checkpoint, name, options, error);
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a checkpoint of any format that is understood", checkpoint->path);
}

static tq_status open_parent(tq_checkpoint *checkpoint, const char *path, const char *slash, tq_error *error) {
  if (!slash) return tq_folder_open(".", &checkpoint->folder, error);
  char *parent = tq_copy_string(path, slash == path ? 1 : (size_t)(slash - path), error);
  if (!parent) return TQ_ERROR_SYSTEM;
  tq_status status = tq_folder_open(parent, &checkpoint->folder, error);
  tq_free(parent);
  return status;
}

/* Sets the folder that a path lies in, or is, and the file's name in it (NULL for a folder). */
static tq_status locate(tq_checkpoint *checkpoint, const char *path, const char **name, tq_error *error) {
  tq_path_kind kind;
  *name = NULL;
  tq_status status = tq_path_identify(path, &kind, error);
  if (status) return status;
  switch (kind) {
  case TQ_PATH_FOLDER:
    return tq_folder_open(path, &checkpoint->folder, error);
  case TQ_PATH_FILE:
    break;
  case TQ_PATH_MISSING:
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: no such file or folder", path);
  default:
    return tq_fail(error, TQ_ERROR_USAGE, "%s: not a regular file", path);
  }
  const char *slash = strrchr(path, '/');
  *name = slash ? slash + 1 : path;
  status = open_parent(checkpoint, path, slash, error);
  return status ? status : tq_folder_allow(checkpoint->folder, *name, error);
}

tq_status tq_checkpoint_open(const char *path, const tq_open_options *options, tq_checkpoint **checkpoint,
                             tq_error *error) {
  static const tq_open_options no_options;
  const char *name;
  tq_checkpoint *opened = tq_allocate(1, sizeof *opened, error);
  if (!opened) return TQ_ERROR_SYSTEM;
  if (!options) options = &no_options;
  opened->assume = options->assume;
  opened->path = tq_copy_string(path, strlen(path), error);
  tq_status status = opened->path ? locate(opened, path, &name, error) : TQ_ERROR_SYSTEM;
  if (!status) status = name ? open_file(opened, name, options, error) : open_in_folder(opened, options, error);
  if (status) {
    tq_checkpoint_close(opened);
    return status;
  }
  *checkpoint = opened;
  return TQ_OK;
}
