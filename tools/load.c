#include "tools/load.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/checkpoint.h"

#include <stdio.h>
#include <string.h>

/* A path as a shell takes it for one word. */
static tq_status quote(tq_buffer *to, const char *path, size_t size, tq_error *error) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,/:@%";
  bool is_plain = size > 0 && strspn(path, plain) >= size;
  tq_status status = is_plain ? TQ_OK : tq_buffer_append(to, "'", 1, error);
  for (size_t i = 0; !status && i < size; i++)
    status = path[i] == '\'' ? tq_buffer_append(to, "'\\''", 4, error) : tq_buffer_append(to, path + i, 1, error);
  return status || is_plain ? status : tq_buffer_append(to, "'", 1, error);
}

/* The last component of a path without the ending that a checkpoint's name has: the name for what is made of it. */
static void find_stem(const char *path, const char **stem, size_t *size) {
  static const char *const endings[] = {".gguf", ".safetensors", ".bin", ".pt",  ".pth",    ".tiktoken",
                                        ".tar",  ".tar.gz",      ".tgz", ".zip", ".tar.zst"};
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t begin = end;
  while (begin > 0 && path[begin - 1] != '/') begin--;
  *stem = path + begin;
  *size = end - begin;
  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
    size_t length = strlen(endings[i]);
    if (end - begin > length && memcmp(path + end - length, endings[i], length) == 0) *size = end - begin - length;
  }
}

static tq_status compose_command(tq_buffer *command, const char *path, tq_error *error) {
  const char *stem;
  size_t size;
  find_stem(path, &stem, &size);
  char *target = tq_format_string(error, "%.*s.tq", (int)size, stem);
  if (!target) return TQ_ERROR_SYSTEM;
  tq_status status = tq_buffer_append(command, "tq-convert ", 11, error);
  if (!status) status = quote(command, path, strlen(path), error);
  if (!status) status = tq_buffer_append(command, " -o ", 4, error);
  if (!status) status = quote(command, target, strlen(target), error);
  tq_free(target);
  return status ? status : tq_buffer_append(command, "", 1, error);
}

static tq_status advise(const char *path, const char *format, tq_error *error) {
  tq_buffer command = {0};
  tq_status status = compose_command(&command, path, error);
  if (!status)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: is a checkpoint of format %s; first run: %s", path, format,
                     (const char *)command.data);
  tq_buffer_free(&command);
  return status;
}

tq_status tool_open_container(const char *path, tq_file **file, tq_error *error) {
  tq_path_kind kind;
  tq_status status = tq_path_identify(path, &kind, error);
  if (status) return status;
  if ((kind != TQ_PATH_FILE && kind != TQ_PATH_FOLDER) || tq_file_recognize(path))
    return tq_file_open(path, TQ_VERIFY_LAZY, file, error);
  tq_checkpoint *checkpoint;
  status = tq_checkpoint_open(path, NULL, &checkpoint, error);
  if (status) return status;
  status = advise(path, checkpoint->format, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

tq_status tool_check_tokens(const char *path, const uint32_t *tokens, size_t count, uint32_t vocabulary,
                            tq_error *error) {
  for (size_t i = 0; i < count; i++)
    if (tokens[i] >= vocabulary)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: token %u of its tokenizer is outside the vocabulary of %u", path,
                     tokens[i], vocabulary);
  return TQ_OK;
}
