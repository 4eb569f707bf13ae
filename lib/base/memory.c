#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tq_fault_function fault_function;
static void *fault_context;

void tq_inject_faults(tq_fault_function function, void *context) {
  fault_function = function;
  fault_context = context;
}

bool tq_fault(tq_operation operation) { return fault_function && fault_function(fault_context, operation); }

static void *out_of_memory(size_t size, tq_error *error) {
  tq_error_set(error, TQ_ERROR_SYSTEM, "out of memory: cannot allocate %zu bytes", size);
  return NULL;
}

/* The bytes of an array, at least 1 so that even an empty one has an address of its own; 0, with *error filled, when
 * they cannot be counted. */
static size_t array_bytes(size_t count, size_t size, tq_error *error) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX) {
    tq_error_set(error, TQ_ERROR_SYSTEM, "out of memory: %zu items of %zu bytes are too many", count, size);
    return 0;
  }
  return bytes ? bytes : 1;
}

void *tq_allocate(size_t count, size_t size, tq_error *error) {
  size_t bytes = array_bytes(count, size, error);
  if (!bytes) return NULL;
  void *array = tq_fault(TQ_OPERATION_ALLOCATE) ? NULL : calloc(1, bytes);
  return array ? array : out_of_memory(bytes, error);
}

void *tq_reallocate(void *array, size_t count, size_t size, tq_error *error) {
  size_t bytes = array_bytes(count, size, error);
  if (!bytes) return NULL;
  void *grown = tq_fault(TQ_OPERATION_ALLOCATE) ? NULL : realloc(array, bytes);
  return grown ? grown : out_of_memory(bytes, error);
}

tq_status tq_grow(void **array, size_t *capacity, size_t needed, size_t size, tq_error *error) {
  if (needed <= *capacity) return TQ_OK;
  size_t room = *capacity < 8 ? 8 : *capacity;
  if (__builtin_mul_overflow(room, (size_t)2, &room) || room < needed) room = needed;
  void *grown = tq_reallocate(*array, room, size, error);
  if (!grown) return TQ_ERROR_SYSTEM;
  *array = grown;
  *capacity = room;
  return TQ_OK;
}

void *tq_allocate_aligned(size_t alignment, size_t size, tq_error *error) {
  size_t bytes = array_bytes(1, size, error);
  if (!bytes) return NULL;
  void *block = NULL;
  if (tq_fault(TQ_OPERATION_ALLOCATE) || posix_memalign(&block, alignment, bytes)) return out_of_memory(bytes, error);
  return memset(block, 0, bytes);
}

char *tq_copy_string(const char *data, size_t size, tq_error *error) {
  if (size == SIZE_MAX) return out_of_memory(size, error);
  char *copy = tq_allocate(size + 1, 1, error);
  if (copy && size) memcpy(copy, data, size);
  return copy;
}

char *tq_format_string(tq_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (length < 0) {
    tq_error_set(error, TQ_ERROR_SYSTEM, "a text cannot be formatted");
    return NULL;
  }
  size_t room = (size_t)length + 1;
  char *text = tq_allocate(room, 1, error);
  if (!text) return NULL;
  va_start(arguments, format);
  vsnprintf(text, room, format, arguments);
  va_end(arguments);
  return text;
}

void tq_free(void *pointer) { free(pointer); }

void *tq_hook_malloc(size_t size) { return tq_fault(TQ_OPERATION_ALLOCATE) ? NULL : malloc(size ? size : 1); }

void *tq_hook_zlib_allocate(void *opaque, unsigned count, unsigned size) {
  (void)opaque;
  size_t bytes;
  return __builtin_mul_overflow((size_t)count, (size_t)size, &bytes) ? NULL : tq_hook_malloc(bytes);
}

void tq_hook_zlib_free(void *opaque, void *pointer) {
  (void)opaque;
  tq_free(pointer);
}
