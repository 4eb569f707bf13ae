/* Growing byte buffers and checks of text that comes from files. */
#ifndef TQ_BASE_TEXT_H
#define TQ_BASE_TEXT_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct tq_buffer {
  uint8_t *data; /* NULL when empty */
  size_t size, capacity;
} tq_buffer;

tq_status tq_buffer_append(tq_buffer *buffer, const void *data, size_t size, tq_error *error);
/* Appends without a terminating NUL. */
tq_status tq_buffer_format(tq_buffer *buffer, tq_error *error, const char *format, ...) TQ_PRINTF(3, 4);
void tq_buffer_free(tq_buffer *buffer);

/* True when the bytes are well-formed UTF-8 (by utf8proc: no surrogates, no overlong forms). NUL is allowed. */
bool tq_is_utf8(const char *data, size_t size);
/* The same, and without NUL and control characters: what a name may be. */
bool tq_is_name(const char *data, size_t size);

bool tq_begins_with(const char *text, const char *start);
bool tq_ends_with(const char *text, const char *end);
/* The same for text without a terminating NUL. */
bool tq_bytes_begin_with(const char *data, size_t size, const char *start);

/* A printable copy for messages: bytes outside 0x20..0x7e that are not part of well-formed UTF-8 become \xHH;
 * cut with "..." to fit `room` bytes, NUL included. Returns `text`. */
const char *tq_printable(const char *data, size_t size, char *text, size_t room);

#endif
