#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { STREAM_STEP = 64 << 10 };

struct tq_input {
  char *name;
  uint64_t size;
  const tq_input_operations *operations;
  void *context;
};

tq_status tq_input_create(const char *name, uint64_t size, const tq_input_operations *operations, void *context,
                          tq_input **input, tq_error *error) {
  tq_input *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  *created = (tq_input){.size = size, .operations = operations, .context = context};
  created->name = tq_copy_string(name, strlen(name), error);
  if (!created->name) {
    tq_free(created);
    return TQ_ERROR_SYSTEM;
  }
  *input = created;
  return TQ_OK;
}

/* ---- over a file ---- */

typedef struct file_context {
  int descriptor;
  char *path;
} file_context;

static tq_status file_read(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  const file_context *file = context;
  if (tq_system_read_at(file->descriptor, buffer, size, offset)) return TQ_OK;
  if (errno) return tq_fail_system(error, file->path, "read");
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: truncated while it was read: no %zu bytes at offset %" PRIu64 " any more", file->path, size,
                 offset);
}

static void file_close(void *context) {
  file_context *file = context;
  close(file->descriptor);
  tq_free(file->path);
  tq_free(file);
}

static const tq_input_operations file_operations = {file_read, file_close, NULL};

/* Takes over the descriptor on success. */
static tq_status input_over(const char *path, int descriptor, uint64_t size, tq_input **input, tq_error *error) {
  file_context *file = tq_allocate(1, sizeof *file, error);
  if (!file) return TQ_ERROR_SYSTEM;
  file->descriptor = descriptor;
  file->path = tq_copy_string(path, strlen(path), error);
  tq_status status = file->path ? tq_input_create(path, size, &file_operations, file, input, error) : TQ_ERROR_SYSTEM;
  if (status) {
    tq_free(file->path);
    tq_free(file);
  }
  return status;
}

tq_status tq_input_open(const char *path, tq_input **input, tq_error *error) {
  int descriptor;
  uint64_t size;
  tq_status status = tq_system_open_regular(path, &descriptor, &size, error);
  if (status) return status;
#if defined(POSIX_FADV_SEQUENTIAL)
  posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL); /* only a hint: it doubles what is read ahead */
#endif
  status = input_over(path, descriptor, size, input, error);
  if (status) close(descriptor);
  return status;
}

/* ---- over memory ---- */

static tq_status memory_read(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  (void)error;
  memcpy(buffer, (const uint8_t *)context + offset, size);
  return TQ_OK;
}

static const tq_input_operations memory_operations = {memory_read, tq_free, NULL};

tq_status tq_input_from_memory(const char *name, void *data, size_t size, tq_input **input, tq_error *error) {
  return tq_input_create(name, size, &memory_operations, data, input, error);
}

/* ---- whatever it is over ---- */

const char *tq_input_name(const tq_input *input) { return input->name; }

uint64_t tq_input_size(const tq_input *input) { return input->size; }

bool tq_input_seeks(const tq_input *input) {
  return !input->operations->seeks || input->operations->seeks(input->context);
}

tq_status tq_input_read(tq_input *input, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  if (!tq_within(offset, size, input->size))
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: truncated: %zu bytes needed at offset %" PRIu64 ", but it ends at %" PRIu64, input->name, size,
                   offset, input->size);
  return size ? input->operations->read(input->context, offset, buffer, size, error) : TQ_OK;
}

tq_status tq_input_read_all(tq_input *input, size_t limit, char **data, size_t *size, tq_error *error) {
  if (input->size > limit)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %" PRIu64 " bytes, more than the %zu it may have", input->name,
                   input->size, limit);
  size_t total = (size_t)input->size;
  char *all = tq_allocate(total + 1, 1, error);
  if (!all) return TQ_ERROR_SYSTEM;
  tq_status status = tq_input_read(input, 0, all, total, error);
  if (status) {
    tq_free(all);
    return status;
  }
  *data = all;
  *size = total;
  return TQ_OK;
}

/* ---- streams ---- */

static tq_status read_stream(int descriptor, const char *name, size_t limit, tq_buffer *all, tq_error *error) {
  char piece[STREAM_STEP];
  tq_status status = TQ_OK;
  while (!status) {
    ssize_t count = tq_fault(TQ_OPERATION_READ) ? (errno = EIO, -1) : read(descriptor, piece, sizeof piece);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return tq_fail_system(error, name, "read");
    if (count == 0) break;
    if ((size_t)count > limit - all->size)
      return tq_fail(error, TQ_ERROR_USAGE, "%s: more than %zu bytes", name, limit);
    status = tq_buffer_append(all, piece, (size_t)count, error);
  }
  return status ? status : tq_buffer_append(all, "", 1, error);
}

tq_status tq_stream_read_all(const char *path, size_t limit, char **data, size_t *size, tq_error *error) {
  bool standard = strcmp(path, "-") == 0;
  int descriptor = standard ? STDIN_FILENO : tq_system_open(AT_FDCWD, path, O_RDONLY | O_NOCTTY, 0);
  if (descriptor < 0) return tq_fail_system(error, path, "open");
  tq_buffer all = {0};
  tq_status status = read_stream(descriptor, standard ? "standard input" : path, limit, &all, error);
  if (!standard) close(descriptor);
  if (status) {
    tq_buffer_free(&all);
    return status;
  }
  *data = (char *)all.data;
  *size = all.size - 1;
  return TQ_OK;
}

void tq_input_close(tq_input *input) {
  if (!input) return;
  if (input->operations->close) input->operations->close(input->context);
  tq_free(input->name);
  tq_free(input);
}
