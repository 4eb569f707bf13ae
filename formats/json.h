/* JSON through jansson, with the limits that hostile text needs: no duplicate keys, bounded nesting. Whatever links
 * this has jansson allocate through base/memory.h. */
#ifndef TQ_FORMATS_JSON_H
#define TQ_FORMATS_JSON_H

#include "base/file.h"
#include "base/text.h"
#include "tq/error.h"

#include <jansson.h>
#include <stdbool.h>

enum { TQ_JSON_MAX_DEPTH = 64 };

/* What the values of all texts that a thread has parsed, and the text that it parses, may take at once: three quarters
 * of what a conversion may use beyond the sizes of its files. A vocabulary of 128 thousand tokens takes half of it. A
 * value is freed by the thread that parsed it. */
enum { TQ_JSON_BUDGET = 48 << 20 };

/* A part of a text, as byte offsets [begin, end). */
typedef struct tq_json_span {
  size_t begin, end;
} tq_json_span;

/* Makes jansson allocate through base/memory.h, in whatever links this. It is called before main; calling it again does
 * no harm. */
void tq_json_prepare(void);

/* Parses a whole text into *json, which json_decref frees. `name` begins messages. Malformed text, duplicate keys, text
 * behind the value, non-UTF-8, deeper nesting than TQ_JSON_MAX_DEPTH and more memory than TQ_JSON_BUDGET are
 * TQ_ERROR_CORRUPT. */
tq_status tq_json_parse(const char *name, const char *text, size_t size, json_t **json, tq_error *error);
/* The same without the bytes in `hole`, which are as if they were not in the text. `held` is what the text takes of the
 * budget: 0 for a file on disk, whose size justifies it, and all of it for what an archive expands to. */
tq_status tq_json_parse_around(const char *name, const char *text, size_t size, tq_json_span hole, size_t held,
                               json_t **json, tq_error *error);

/* Finds the inside of the array at root[outer][inner] without parsing: between its brackets. An empty span at 0 when it
 * is not there; says nothing about whether the text is well-formed. */
tq_json_span tq_json_find_array(const char *text, size_t size, const char *outer, const char *inner);
/* The next item of an array's inside from *cursor on (blanks and comma left out); false at the end. *cursor is
 * array.begin at first. An item that is missing is empty, so that it does not parse. */
bool tq_json_next_item(const char *text, tq_json_span array, size_t *cursor, tq_json_span *item);

/* Appends the value's text: `indent` spaces a level, 0 for one line; real numbers with the digits that an f32 needs. */
tq_status tq_json_print(tq_buffer *buffer, const json_t *json, unsigned indent, tq_error *error);
/* Appends a string with its quotes and escapes. TQ_ERROR_REFUSED when it is not UTF-8 or holds a NUL, which JSON text
 * cannot carry; `what` names it. */
tq_status tq_json_print_string(tq_buffer *buffer, const char *what, const char *data, size_t size, tq_error *error);

/* The number with the fewest digits that reads back as exactly this float. */
json_t *tq_json_f32(float value);
/* A real number; null for one that is infinite or none. */
json_t *tq_json_real(double number);

#endif
