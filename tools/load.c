#include "tools/load.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TEXT = 1 << 30, READ_SIZE = 1 << 16 };

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
  tq_path_kind kind = tq_path_examine(path);
  if ((kind != TQ_PATH_FILE && kind != TQ_PATH_FOLDER) || tq_file_recognize(path))
    return tq_file_open(path, TQ_VERIFY_LAZY, file, error);
  tq_checkpoint *checkpoint;
  tq_status status = tq_checkpoint_open(path, NULL, &checkpoint, error);
  if (status) return status;
  status = advise(path, checkpoint->format, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

static tq_status read_standard_input(char **text, size_t *size, tq_error *error) {
  tq_buffer all = {0};
  tq_status status = TQ_OK;
  char piece[READ_SIZE];
  for (size_t count; !status && (count = fread(piece, 1, sizeof piece, stdin)) > 0;) {
    status = tq_buffer_append(&all, piece, count, error);
    if (!status && all.size > MOST_TEXT)
      status = tq_fail(error, TQ_ERROR_USAGE, "standard input: more than %d bytes", MOST_TEXT);
  }
  if (!status && ferror(stdin)) status = tq_fail(error, TQ_ERROR_SYSTEM, "standard input: %s", strerror(errno));
  if (!status) status = tq_buffer_append(&all, "", 1, error);
  if (status) {
    tq_buffer_free(&all);
    return status;
  }
  *text = (char *)all.data;
  *size = all.size - 1;
  return TQ_OK;
}

tq_status tool_read_text(const char *path, char **text, size_t *size, tq_error *error) {
  if (strcmp(path, "-") == 0) return read_standard_input(text, size, error);
  tq_input *input;
  tq_status status = tq_input_open(path, &input, error);
  if (status) return status;
  status = tq_input_read_all(input, MOST_TEXT, text, size, error);
  tq_input_close(input);
  return status;
}
