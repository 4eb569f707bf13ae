#include "base/temporary.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static const char infix[] = ".tmp-";

/* ---- names ---- */

/* The last component of a path without slashes at its end. */
static const char *last_component(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static char *folder_of(const char *path, tq_error *error) {
  size_t length = (size_t)(last_component(path) - path);
  if (length == 0) return tq_copy_string(".", 1, error);
  return tq_copy_string(path, length > 1 ? length - 1 : 1, error);
}

tq_status tq_target_resolve(const char *path, tq_target *target, tq_error *error) {
  *target = (tq_target){0};
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  target->path = tq_copy_string(path, length, error);
  if (!target->path) return TQ_ERROR_SYSTEM;
  const char *name = last_component(target->path);
  if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
    return tq_fail(error, TQ_ERROR_USAGE, "'%s' is not a name that an output can have", path);
  target->folder = folder_of(target->path, error);
  if (!target->folder) return TQ_ERROR_SYSTEM;
  target->temporary = tq_format_string(error, "%s%s%ld", target->path, infix, (long)getpid());
  return target->temporary ? TQ_OK : TQ_ERROR_SYSTEM;
}

void tq_target_free(tq_target *target) {
  tq_free(target->path);
  tq_free(target->folder);
  tq_free(target->temporary);
  *target = (tq_target){0};
}

/* The process that an entry of the folder says it belongs to, or 0 when it is not a temporary of `name`. */
static pid_t owner_of(const char *entry, const char *name) {
  size_t length = strlen(name);
  if (strncmp(entry, name, length) != 0 || strncmp(entry + length, infix, sizeof infix - 1) != 0) return 0;
  const char *digits = entry + length + sizeof infix - 1;
  if (*digits < '1' || *digits > '9' || digits[strspn(digits, "0123456789")]) return 0;
  errno = 0;
  long number = strtol(digits, NULL, 10);
  return errno || number > INT_MAX ? 0 : (pid_t)number;
}

/* ---- removing ----
 * None of this asks tq_fault: a fault in it could only leave something behind, and it reports nothing. */

enum { DEEPEST_FOLDER = 64 };

static void empty_folder(int descriptor, int depth);

static void remove_entry(int folder, const char *entry, int depth) {
  struct stat status;
  if (fstatat(folder, entry, &status, AT_SYMLINK_NOFOLLOW) < 0) return;
  if (!S_ISDIR(status.st_mode)) {
    unlinkat(folder, entry, 0);
    return;
  }
  if (depth == DEEPEST_FOLDER) return;
  int descriptor = openat(folder, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (descriptor >= 0) empty_folder(descriptor, depth + 1);
  unlinkat(folder, entry, AT_REMOVEDIR);
}

/* Takes over the descriptor. */
static void empty_folder(int descriptor, int depth) {
  DIR *folder = fdopendir(descriptor);
  if (!folder) {
    close(descriptor);
    return;
  }
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
      remove_entry(descriptor, entry->d_name, depth);
  closedir(folder);
}

void tq_temporary_remove_folder(const char *path) { remove_entry(AT_FDCWD, path, 0); }

void tq_temporary_lock(int descriptor) { flock(descriptor, LOCK_EX | LOCK_NB); }

/* The lock tells a writer in this process, or one with a recycled number, from a dead one; where a file system has no
 * locks the number alone decides. */
static bool is_abandoned(int folder, const char *entry, pid_t owner) {
  if (owner != getpid() && (kill(owner, 0) == 0 || errno != ESRCH)) return false;
  int descriptor = openat(folder, entry, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return false;
  bool held = flock(descriptor, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
  close(descriptor);
  return !held;
}

void tq_target_clean(const tq_target *target) {
  DIR *folder = opendir(target->folder);
  if (!folder) return;
  const char *name = last_component(target->path);
  for (struct dirent *entry; (entry = readdir(folder));) {
    pid_t owner = owner_of(entry->d_name, name);
    if (owner && is_abandoned(dirfd(folder), entry->d_name, owner)) remove_entry(dirfd(folder), entry->d_name, 0);
  }
  closedir(folder);
}
