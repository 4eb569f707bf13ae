#include "base/system.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Some systems refuse, and others cut short, a transfer of 2 GiB or more. */
enum { LARGEST_TRANSFER = 1 << 30 };

/* True, with errno set, when a test wants this operation to fail. */
static bool injected(tq_operation operation) {
  if (!tq_fault(operation)) return false;
  errno = EIO;
  return true;
}

tq_status tq_fail_system(tq_error *error, const char *path, const char *what) {
  return tq_fail(error, TQ_ERROR_SYSTEM, "%s: cannot %s: %s", path, what, strerror(errno));
}

int tq_system_open(int folder, const char *path, int flags, mode_t mode) {
  if (injected(TQ_OPERATION_OPEN)) return -1;
  int descriptor;
  do descriptor = openat(folder, path, flags | O_CLOEXEC, mode);
  while (descriptor < 0 && errno == EINTR);
  return descriptor;
}

bool tq_system_read_at(int descriptor, void *buffer, size_t size, uint64_t offset) {
  if (injected(TQ_OPERATION_READ)) return false;
  for (uint8_t *to = buffer; size > 0;) {
    ssize_t got = pread(descriptor, to, size < LARGEST_TRANSFER ? size : LARGEST_TRANSFER, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = 0;
    if (got <= 0) return false;
    to += got;
    offset += (uint64_t)got;
    size -= (size_t)got;
  }
  return true;
}

bool tq_system_write_at(int descriptor, const void *data, size_t size, uint64_t offset) {
  if (injected(TQ_OPERATION_WRITE)) return false;
  for (const uint8_t *from = data; size > 0;) {
    ssize_t put = pwrite(descriptor, from, size < LARGEST_TRANSFER ? size : LARGEST_TRANSFER, (off_t)offset);
    if (put < 0 && errno == EINTR) continue;
    if (put == 0) errno = EIO;
    if (put <= 0) return false;
    from += put;
    offset += (uint64_t)put;
    size -= (size_t)put;
  }
  return true;
}

int tq_system_sync(int descriptor) {
  if (injected(TQ_OPERATION_SYNC)) return -1;
  int result;
  do result = fsync(descriptor);
  while (result < 0 && errno == EINTR);
  return result;
}

int tq_system_rename(const char *from, const char *to) {
  if (injected(TQ_OPERATION_RENAME)) return -1;
  return rename(from, to);
}

int tq_system_rename_new(const char *from, const char *to) {
  if (injected(TQ_OPERATION_RENAME)) return -1;
#if defined(RENAME_NOREPLACE) && defined(__linux__)
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -1;
#elif defined(RENAME_EXCL)
  if (renamex_np(from, to, RENAME_EXCL) == 0) return 0;
  if (errno != ENOTSUP) return -1;
#endif
  struct stat status;
  if (lstat(to, &status) == 0) {
    errno = EEXIST;
    return -1;
  }
  return rename(from, to);
}

int tq_system_make_folder(const char *path) { return injected(TQ_OPERATION_OPEN) ? -1 : mkdir(path, 0777); }

void *tq_system_map(int descriptor, size_t size) {
  if (injected(TQ_OPERATION_MAP)) return NULL;
  void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
  return data == MAP_FAILED ? NULL : data;
}

/* O_NONBLOCK keeps a named pipe from holding the caller up before its kind is known. */
tq_status tq_system_open_regular(const char *path, int *descriptor, uint64_t *size, tq_error *error) {
  int opened = tq_system_open(AT_FDCWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
  if (opened < 0) return tq_fail_system(error, path, "open");
  struct stat status;
  tq_status result = TQ_OK;
  if (fstat(opened, &status) < 0)
    result = tq_fail_system(error, path, "examine");
  else if (!S_ISREG(status.st_mode))
    result = tq_fail(error, TQ_ERROR_USAGE, "%s: not a regular file", path);
  if (result) {
    close(opened);
    return result;
  }
  *descriptor = opened;
  *size = (uint64_t)status.st_size;
  return TQ_OK;
}
