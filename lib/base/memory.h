/* The one allocator. Every allocation of libtq and of the formats goes through here, the libraries' own
 * hooks included where they have them, so that a test can make the n-th one fail. */
#ifndef TQ_BASE_MEMORY_H
#define TQ_BASE_MEMORY_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count * size zeroed bytes, or NULL with *error filled (overflow of the product included). A request of
 * zero bytes gives a unique pointer that can be freed. */
void *tq_allocate(size_t count, size_t size, tq_error *error);

/* The array grown or shrunk to count * size bytes (new bytes undefined), or NULL with *error filled and the
 * old array untouched. */
void *tq_reallocate(void *array, size_t count, size_t size, tq_error *error);

/* Makes room for `needed` items of `size` bytes in the growing array *array of *capacity items (doubling). */
tq_status tq_grow(void **array, size_t *capacity, size_t needed, size_t size, tq_error *error);

/* A zeroed block aligned to `alignment` (a power of two, at least sizeof(void *)); freed by tq_free. */
void *tq_allocate_aligned(size_t alignment, size_t size, tq_error *error);

/* A NUL-terminated copy of `size` bytes, or NULL with *error filled. */
char *tq_copy_string(const char *data, size_t size, tq_error *error);

/* A formatted NUL-terminated string, or NULL with *error filled. */
char *tq_format_string(tq_error *error, const char *format, ...) TQ_PRINTF(2, 3);

/* Frees what the functions above gave; NULL is allowed. */
void tq_free(void *pointer);

/* A malloc-shaped entry point without an error record, for libraries that take hooks (jansson, PCRE2, zlib). The
 * memory is freed by tq_free. */
void *tq_hook_malloc(size_t size);
/* The same in zlib's own shape. */
void *tq_hook_zlib_allocate(void *opaque, unsigned count, unsigned size);
void tq_hook_zlib_free(void *opaque, void *pointer);

/* Fault injection, for tests: when set, it is asked before each operation, and an operation that it answers
 * with true fails as the system would make it fail (ENOMEM, EIO). Set it only while no other thread is in the
 * library. */
typedef enum tq_operation {
  TQ_OPERATION_ALLOCATE,
  TQ_OPERATION_OPEN,
  TQ_OPERATION_READ,
  TQ_OPERATION_WRITE,
  TQ_OPERATION_SYNC,
  TQ_OPERATION_RENAME,
  TQ_OPERATION_MAP
} tq_operation;

typedef bool (*tq_fault_function)(void *context, tq_operation operation);
void tq_inject_faults(tq_fault_function function, void *context);

/* Asked by base itself before each operation. */
bool tq_fault(tq_operation operation);

#endif
