#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/system.h"
#include "base/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  BUFFER_SIZE = 2 << 20, /* a huge page: written in whole ones, a file is kept in them, and is faster to map and read */
  WRITE_BACK_STEP = 8 << 20 /* the disk starts on what is written this often, so that the fsync at the end is short */
};

struct tq_output {
  int descriptor;
  bool failed;      /* a write failed: what is there is not what was asked for */
  tq_target target; /* inside a folder `temporary` is the file's own name in the temporary folder */
  bool in_folder;
  uint8_t *buffer;
  size_t buffered;
  uint64_t written; /* bytes handed to the system */
  uint64_t started; /* of those, bytes that the disk was told to start on */
};

struct tq_output_folder {
  tq_target target;
  int descriptor; /* of the temporary, holding the lock */
  char **made;    /* paths of the folders below it, to be synced */
  size_t made_count, made_capacity;
};

/* fsync of a folder, where the file system has that. */
static tq_status sync_folder(int descriptor, const char *path, tq_error *error) {
  if (tq_system_sync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP) return TQ_OK;
  return tq_fail_system(error, path, "sync the folder");
}

static tq_status open_folder(const char *path, int *descriptor, tq_error *error) {
  *descriptor = tq_system_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
  return *descriptor < 0 ? tq_fail_system(error, path, "open the folder") : TQ_OK;
}

/* ---- a file ---- */

static void free_output(tq_output *output) {
  tq_target_free(&output->target);
  tq_free(output->buffer);
  tq_free(output);
}

static tq_status start_file(tq_output *output, tq_error *error) {
  output->buffer = tq_allocate(BUFFER_SIZE, 1, error);
  if (!output->buffer) return TQ_ERROR_SYSTEM;
  output->descriptor =
      tq_system_open(AT_FDCWD, output->target.temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0666);
  if (output->descriptor >= 0) return TQ_OK;
  if (errno == EEXIST) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: is being written already", output->target.path);
  return tq_fail_system(error, output->target.path, "create");
}

/* A link is kept, and what it leads to replaced: writes that path to `resolved` (PATH_MAX bytes), or an empty one when
 * `path` is no link. The system's own places hold nothing that a file may replace. */
static tq_status follow_link(const char *path, char *resolved, tq_error *error) {
  struct stat status;
  resolved[0] = 0;
  if (lstat(path, &status) < 0 || !S_ISLNK(status.st_mode)) return TQ_OK;
  if (!realpath(path, resolved)) {
    if (errno != ENOENT) return tq_fail_system(error, path, "follow the link");
    return tq_fail(error, TQ_ERROR_USAGE, "%s: is a symbolic link that leads nowhere", path);
  }
  if (strncmp(resolved, "/proc/", 6) != 0 && strncmp(resolved, "/dev/", 5) != 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_USAGE, "%s: leads to %s, which is not replaced", path, resolved);
}

static tq_status check_replaceable(const char *path, tq_error *error) {
  tq_path_kind kind;
  tq_status status = tq_path_identify(path, &kind, error);
  if (status) return status;
  switch (kind) {
  case TQ_PATH_FOLDER:
    return tq_fail(error, TQ_ERROR_USAGE, "%s: is a folder, and a file cannot replace it", path);
  case TQ_PATH_OTHER:
    return tq_fail(error, TQ_ERROR_USAGE, "%s: is not a regular file, and cannot be replaced by one", path);
  default:
    return TQ_OK;
  }
}

/* Fills *target for the file that is to be replaced; free it in every case. */
static tq_status find_target(const char *path, tq_target *target, tq_error *error) {
  char resolved[PATH_MAX];
  tq_status status = tq_target_resolve(path, target, error);
  if (!status) status = follow_link(target->path, resolved, error);
  if (!status && resolved[0]) {
    tq_target_free(target);
    status = tq_target_resolve(resolved, target, error);
  }
  return status ? status : check_replaceable(target->path, error);
}

tq_status tq_output_check(const char *path, tq_error *error) {
  tq_target target;
  tq_status status = find_target(path, &target, error);
  tq_target_free(&target);
  return status;
}

static tq_status prepare_file(const char *path, tq_output *output, tq_error *error) {
  if (path[0] && path[strlen(path) - 1] == '/')
    return tq_fail(error, TQ_ERROR_USAGE, "%s: names a folder, not a file", path);
  tq_status status = find_target(path, &output->target, error);
  if (status) return status;
  tq_target_clean(&output->target);
  status = start_file(output, error);
  if (!status) tq_temporary_lock(output->descriptor);
  return status;
}

tq_status tq_output_create(const char *path, tq_output **output, tq_error *error) {
  tq_output *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  tq_status status = prepare_file(path, created, error);
  if (status)
    free_output(created);
  else
    *output = created;
  return status;
}

static tq_status fail_write(tq_output *output, tq_error *error) {
  output->failed = true;
  return tq_fail_system(error, output->target.path, "write");
}

/* Hands bytes to the system, and to the disk without waiting for it. */
static tq_status pass_on(tq_output *output, const void *data, size_t size, tq_error *error) {
  for (const uint8_t *from = data; size > 0;) {
    size_t step = size < WRITE_BACK_STEP ? size : WRITE_BACK_STEP;
    if (!tq_system_write_at(output->descriptor, from, step, output->written)) return fail_write(output, error);
    from += step;
    size -= step;
    output->written += step;
#if defined(SYNC_FILE_RANGE_WRITE)
    if (output->written - output->started < WRITE_BACK_STEP) continue;
    sync_file_range(output->descriptor, (off_t)output->started, (off_t)(output->written - output->started),
                    SYNC_FILE_RANGE_WRITE);
    output->started = output->written;
#endif
  }
  return TQ_OK;
}

static tq_status flush(tq_output *output, tq_error *error) {
  size_t size = output->buffered;
  output->buffered = 0;
  return pass_on(output, output->buffer, size, error);
}

static tq_status check_length(tq_output *output, uint64_t size, tq_error *error) {
  uint64_t end;
  if (tq_add_u64(tq_output_position(output), size, &end) && end <= INT64_MAX) return TQ_OK;
  output->failed = true;
  return tq_fail(error, TQ_ERROR_SYSTEM, "%s: would be larger than a file can be", output->target.path);
}

tq_status tq_output_write(tq_output *output, const void *data, size_t size, tq_error *error) {
  const uint8_t *from = data;
  tq_status status = check_length(output, size, error);
  while (!status && size > 0) {
    size_t room = BUFFER_SIZE - output->buffered, step = size < room ? size : room;
    memcpy(output->buffer + output->buffered, from, step);
    output->buffered += step;
    from += step;
    size -= step;
    if (output->buffered == BUFFER_SIZE) status = flush(output, error);
  }
  return status;
}

tq_status tq_output_zeros(tq_output *output, uint64_t size, tq_error *error) {
  tq_status status = check_length(output, size, error);
  while (!status && size > 0) {
    size_t room = BUFFER_SIZE - output->buffered, step = size < room ? (size_t)size : room;
    memset(output->buffer + output->buffered, 0, step);
    output->buffered += step;
    size -= step;
    if (output->buffered == BUFFER_SIZE) status = flush(output, error);
  }
  return status;
}

tq_status tq_output_write_at(tq_output *output, uint64_t offset, const void *data, size_t size, tq_error *error) {
  if (!tq_within(offset, size, tq_output_position(output)))
    return tq_fail(error, TQ_ERROR_USAGE, "%s: %zu bytes at offset %" PRIu64 " were not written before",
                   output->target.path, size, offset);
  if (offset >= output->written) {
    if (size) memcpy(output->buffer + (offset - output->written), data, size);
    return TQ_OK;
  }
  tq_status status = offset + size > output->written ? flush(output, error) : TQ_OK;
  if (status) return status;
  return tq_system_write_at(output->descriptor, data, size, offset) ? TQ_OK : fail_write(output, error);
}

uint64_t tq_output_position(const tq_output *output) { return output->written + output->buffered; }

/* The bytes are on the disk afterwards, still under the name they were made at. */
static tq_status complete(tq_output *output, tq_error *error) {
  if (output->failed)
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: not replaced, because a write failed before", output->target.path);
  tq_status status = flush(output, error);
  if (status) return status;
  if (tq_system_sync(output->descriptor) < 0) return tq_fail_system(error, output->target.path, "sync");
  return TQ_OK;
}

static tq_status replace_target(const tq_output *output, tq_error *error) {
  int folder;
  tq_status status = open_folder(output->target.folder, &folder, error);
  if (status) return status;
  if (tq_system_rename(output->target.temporary, output->target.path) < 0)
    status = tq_fail_system(error, output->target.path, "rename the complete file to it");
  else
    status = sync_folder(folder, output->target.folder, error);
  close(folder);
  return status;
}

/* An output that failed leaves nothing: after a rename there is no temporary any more, and unlink does nothing. */
tq_status tq_output_commit(tq_output *output, tq_error *error) {
  tq_status status = complete(output, error);
  if (!status && !output->in_folder) status = replace_target(output, error);
  if (status) {
    tq_output_abandon(output);
    return status;
  }
  int closed = close(output->descriptor);
  if (closed < 0 && errno != EINTR) status = tq_fail_system(error, output->target.path, "close");
  free_output(output);
  return status;
}

void tq_output_abandon(tq_output *output) {
  if (!output) return;
  unlink(output->target.temporary);
  close(output->descriptor);
  free_output(output);
}

/* ---- a folder ---- */

static void free_folder(tq_output_folder *folder) {
  if (folder->descriptor >= 0) close(folder->descriptor);
  tq_free_names(folder->made, folder->made_count);
  tq_target_free(&folder->target);
  tq_free(folder);
}

static tq_status fail_exists(const char *path, tq_error *error) {
  return tq_fail(error, TQ_ERROR_USAGE, "%s: exists, and a folder is only made under a new name", path);
}

static tq_status find_new(const char *path, tq_target *target, tq_error *error) {
  struct stat existing;
  tq_status status = tq_target_resolve(path, target, error);
  if (status) return status;
  return lstat(target->path, &existing) == 0 ? fail_exists(target->path, error) : TQ_OK;
}

tq_status tq_output_folder_check(const char *path, tq_error *error) {
  tq_target target;
  tq_status status = find_new(path, &target, error);
  tq_target_free(&target);
  return status;
}

/* Makes the target's temporary folder and locks it; messages are about `path`. */
static tq_status make_temporary(const tq_target *target, const char *path, int *descriptor, tq_error *error) {
  tq_target_clean(target);
  if (tq_system_make_folder(target->temporary) < 0) {
    if (errno == EEXIST) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: is being written already", path);
    return tq_fail_system(error, path, "create");
  }
  tq_status status = open_folder(target->temporary, descriptor, error);
  if (status)
    tq_temporary_remove_folder(target->temporary);
  else
    tq_temporary_lock(*descriptor);
  return status;
}

static tq_status prepare_folder(const char *path, tq_output_folder *folder, tq_error *error) {
  tq_status status = find_new(path, &folder->target, error);
  return status ? status : make_temporary(&folder->target, path, &folder->descriptor, error);
}

tq_status tq_output_folder_create(const char *path, tq_output_folder **folder, tq_error *error) {
  tq_output_folder *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->descriptor = -1;
  tq_status status = prepare_folder(path, created, error);
  if (status)
    free_folder(created);
  else
    *folder = created;
  return status;
}

/* Makes one folder below the temporary unless it is there, and remembers it. */
static tq_status make_parent(tq_output_folder *folder, const char *relative, size_t length, tq_error *error) {
  void *made = folder->made;
  tq_status status = tq_grow(&made, &folder->made_capacity, folder->made_count + 1, sizeof *folder->made, error);
  folder->made = made;
  if (status) return status;
  char *path = tq_format_string(error, "%s/%.*s", folder->target.temporary, (int)length, relative);
  if (!path) return TQ_ERROR_SYSTEM;
  if (tq_system_make_folder(path) == 0) {
    folder->made[folder->made_count++] = path;
    return TQ_OK;
  }
  if (errno != EEXIST) status = tq_fail_system(error, path, "create the folder");
  tq_free(path);
  return status;
}

static tq_status make_parents(tq_output_folder *folder, const char *relative, tq_error *error) {
  tq_status status = TQ_OK;
  for (const char *slash = strchr(relative, '/'); slash && !status; slash = strchr(slash + 1, '/'))
    status = make_parent(folder, relative, (size_t)(slash - relative), error);
  return status;
}

tq_status tq_output_folder_file(tq_output_folder *folder, const char *relative, tq_output **output, tq_error *error) {
  if (!tq_relative_name_is_safe(relative) || strlen(relative) > INT32_MAX)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: '%s' is not a name that a file in it may have", folder->target.path,
                   relative);
  tq_status status = make_parents(folder, relative, error);
  if (status) return status;
  tq_output *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->in_folder = true;
  created->target.path = tq_format_string(error, "%s/%s", folder->target.path, relative);
  if (created->target.path)
    created->target.temporary = tq_format_string(error, "%s/%s", folder->target.temporary, relative);
  status = created->target.temporary ? start_file(created, error) : TQ_ERROR_SYSTEM;
  if (status) {
    free_output(created);
    return status;
  }
  *output = created;
  return TQ_OK;
}

static tq_status sync_contents(const tq_output_folder *folder, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; i < folder->made_count && !status; i++) {
    int descriptor;
    status = open_folder(folder->made[i], &descriptor, error);
    if (status) break;
    status = sync_folder(descriptor, folder->made[i], error);
    close(descriptor);
  }
  return status ? status : sync_folder(folder->descriptor, folder->target.path, error);
}

static tq_status move_into_place(const tq_output_folder *folder, tq_error *error) {
  int parent;
  tq_status status = open_folder(folder->target.folder, &parent, error);
  if (status) return status;
  if (tq_system_rename_new(folder->target.temporary, folder->target.path) == 0)
    status = sync_folder(parent, folder->target.folder, error);
  else if (errno == EEXIST)
    status = fail_exists(folder->target.path, error);
  else
    status = tq_fail_system(error, folder->target.path, "rename the complete folder to it");
  close(parent);
  return status;
}

tq_status tq_output_folder_commit(tq_output_folder *folder, tq_error *error) {
  tq_status status = sync_contents(folder, error);
  if (!status) status = move_into_place(folder, error);
  if (status)
    tq_output_folder_abandon(folder);
  else
    free_folder(folder);
  return status;
}

void tq_output_folder_abandon(tq_output_folder *folder) {
  if (!folder) return;
  tq_temporary_remove_folder(folder->target.temporary);
  free_folder(folder);
}

/* ---- a scratch folder ---- */

struct tq_scratch {
  tq_target target;
  int descriptor; /* of the temporary, holding the lock */
};

static tq_status find_scratch(const char *target, tq_target *scratch, tq_error *error) {
  size_t length = strlen(target);
  while (length > 1 && target[length - 1] == '/') length--;
  *scratch = (tq_target){0};
  char *copy = tq_copy_string(target, length, error);
  char *name = copy ? tq_format_string(error, "%s.between", copy) : NULL;
  tq_free(copy);
  if (!name) return TQ_ERROR_SYSTEM;
  tq_status status = tq_target_resolve(name, scratch, error);
  tq_free(name);
  return status;
}

tq_status tq_scratch_create(const char *target, tq_scratch **scratch, tq_error *error) {
  tq_scratch *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  tq_status status = find_scratch(target, &created->target, error);
  if (!status) status = make_temporary(&created->target, target, &created->descriptor, error);
  if (status) {
    tq_target_free(&created->target);
    tq_free(created);
    return status;
  }
  *scratch = created;
  return TQ_OK;
}

const char *tq_scratch_path(const tq_scratch *scratch) { return scratch->target.temporary; }

void tq_scratch_remove(tq_scratch *scratch) {
  if (!scratch) return;
  tq_temporary_remove_folder(scratch->target.temporary);
  close(scratch->descriptor);
  tq_target_free(&scratch->target);
  tq_free(scratch);
}

void tq_scratch_clean(const char *target) {
  tq_error ignored;
  tq_target scratch;
  if (find_scratch(target, &scratch, &ignored) == TQ_OK) tq_target_clean(&scratch);
  tq_target_free(&scratch);
}
