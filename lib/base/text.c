#include "base/text.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

static tq_status make_room(tq_buffer *buffer, size_t more, tq_error *error) {
  size_t needed;
  if (__builtin_add_overflow(buffer->size, more, &needed))
    return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory: a buffer cannot grow by %zu bytes", more);
  void *data = buffer->data;
  tq_status status = tq_grow(&data, &buffer->capacity, needed, 1, error);
  buffer->data = data;
  return status;
}

tq_status tq_buffer_append(tq_buffer *buffer, const void *data, size_t size, tq_error *error) {
  tq_status status = make_room(buffer, size, error);
  if (status || !size) return status;
  memcpy(buffer->data + buffer->size, data, size);
  buffer->size += size;
  return TQ_OK;
}

tq_status tq_buffer_format(tq_buffer *buffer, tq_error *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(NULL, 0, format, arguments);
  va_end(arguments);
  if (length < 0) return tq_fail(error, TQ_ERROR_SYSTEM, "a text cannot be formatted");
  size_t room = (size_t)length + 1;
  tq_status status = make_room(buffer, room, error);
  if (status) return status;
  va_start(arguments, format);
  vsnprintf((char *)buffer->data + buffer->size, room, format, arguments);
  va_end(arguments);
  buffer->size += (size_t)length;
  return TQ_OK;
}

void tq_buffer_free(tq_buffer *buffer) {
  tq_free(buffer->data);
  *buffer = (tq_buffer){0};
}

/* The length of the UTF-8 sequence that `data` begins with and its character, or 0 when it is not well-formed. */
static size_t sequence(const char *data, size_t size, utf8proc_int32_t *character) {
  utf8proc_ssize_t limit = size > 4 ? 4 : (utf8proc_ssize_t)size;
  utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)data, limit, character);
  return length > 0 ? (size_t)length : 0;
}

static bool is_control(utf8proc_int32_t character) {
  return character < 0x20 || (character >= 0x7f && character <= 0x9f);
}

bool tq_is_utf8(const char *data, size_t size) {
  utf8proc_int32_t character;
  for (size_t i = 0, length; i < size; i += length) {
    length = (unsigned char)data[i] < 0x80 ? 1 : sequence(data + i, size - i, &character);
    if (!length) return false;
  }
  return true;
}

bool tq_is_name(const char *data, size_t size) {
  utf8proc_int32_t character;
  for (size_t i = 0, length; i < size; i += length) {
    length = sequence(data + i, size - i, &character);
    if (!length || is_control(character)) return false;
  }
  return true;
}

bool tq_bytes_begin_with(const char *data, size_t size, const char *start) {
  size_t head = strlen(start);
  return size >= head && memcmp(data, start, head) == 0;
}

bool tq_begins_with(const char *text, const char *start) { return tq_bytes_begin_with(text, strlen(text), start); }

bool tq_ends_with(const char *text, const char *end) {
  size_t size = strlen(text), tail = strlen(end);
  return size >= tail && memcmp(text + size - tail, end, tail) == 0;
}

/* Characters that a terminal shows as themselves: invisible ones could reorder or hide what a message says. */
static bool is_visible(utf8proc_int32_t character) {
  switch (utf8proc_category(character)) {
  case UTF8PROC_CATEGORY_CC:
  case UTF8PROC_CATEGORY_CF:
  case UTF8PROC_CATEGORY_CS:
  case UTF8PROC_CATEGORY_CN:
  case UTF8PROC_CATEGORY_ZL:
  case UTF8PROC_CATEGORY_ZP:
    return false;
  default:
    return true;
  }
}

/* Writes the printable form of the next character to `form` (at least 17 bytes) and returns how many bytes it stands
 * for. */
static size_t printable_form(const char *data, size_t size, char *form) {
  utf8proc_int32_t character;
  size_t length = sequence(data, size, &character);
  if (length && is_visible(character)) {
    memcpy(form, data, length);
    form[length] = 0;
    return length;
  }
  if (!length) length = 1;
  for (size_t i = 0; i < length; i++) snprintf(form + 4 * i, 5, "\\x%02X", (unsigned)(unsigned char)data[i]);
  return length;
}

const char *tq_printable(const char *data, size_t size, char *text, size_t room) {
  static const char ellipsis[] = "...";
  size_t used = 0, cut = 0; /* `cut` is the last place where the ellipsis still fits */
  char form[17];
  if (room == 0) return text;
  for (size_t i = 0; i < size;) {
    size_t taken = printable_form(data + i, size - i, form), length = strlen(form);
    if (used + length >= room) {
      size_t dots = room - cut - 1 < 3 ? room - cut - 1 : 3;
      memcpy(text + cut, ellipsis, dots);
      text[cut + dots] = 0;
      return text;
    }
    memcpy(text + used, form, length);
    used += length;
    if (used + sizeof ellipsis <= room) cut = used;
    i += taken;
  }
  text[used] = 0;
  return text;
}
