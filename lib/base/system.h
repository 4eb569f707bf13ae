/* System calls as the file layer makes them: retried when a signal interrupts them, and failing with EIO when a test
 * asks for it. Like the calls they wrap they return -1 and set errno. Only lib/base includes this. */
#ifndef TQ_BASE_SYSTEM_H
#define TQ_BASE_SYSTEM_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens with close-on-exec; `folder` is a descriptor or AT_FDCWD. */
int tq_system_open(int folder, const char *path, int flags, mode_t mode);
/* Reads or writes exactly `size` bytes; a read returns false with errno 0 when the file ends before. */
bool tq_system_read_at(int descriptor, void *buffer, size_t size, uint64_t offset);
bool tq_system_write_at(int descriptor, const void *data, size_t size, uint64_t offset);
int tq_system_sync(int descriptor);
int tq_system_rename(const char *from, const char *to);
/* Renames unless `to` exists (EEXIST), in one step where the system has one. */
int tq_system_rename_new(const char *from, const char *to);
int tq_system_make_folder(const char *path);
/* NULL on failure. */
void *tq_system_map(int descriptor, size_t size);

/* Opens a regular file for reading and tells its size. */
tq_status tq_system_open_regular(const char *path, int *descriptor, uint64_t *size, tq_error *error);

/* "PATH: cannot DO: reason", from errno. */
tq_status tq_fail_system(tq_error *error, const char *path, const char *what);

#endif
