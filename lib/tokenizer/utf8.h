/* Walking over bytes that may or may not be UTF-8. */
#ifndef TQ_TOKENIZER_UTF8_H
#define TQ_TOKENIZER_UTF8_H

#include <stddef.h>
#include <stdint.h>
#include <utf8proc.h>

/* Bytes of the well-formed character at the start of text[0, size), 0 when there is none (size > 0). */
static inline size_t tq_utf8_length(const char *text, size_t size) {
  if ((uint8_t)*text < 0x80) return 1;
  utf8proc_int32_t character;
  utf8proc_ssize_t length =
      utf8proc_iterate((const utf8proc_uint8_t *)text, size < 4 ? (utf8proc_ssize_t)size : 4, &character);
  return length > 0 ? (size_t)length : 0;
}

#endif
