#include "tq/error.h"

#include "base/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
  RAW_SIZE = 5120,             /* holds the longest path and what is said of it */
  ESCAPED_SIZE = 4 * RAW_SIZE, /* every byte as \xHH */
};

static bool continues(char byte) { return ((unsigned char)byte & 0xc0) == 0x80; }

/* Copies `text`, leaving out its middle when it is too long: a message begins with the file and ends with the reason.
 */
static void fit(const char *text, char *message, size_t room) {
  size_t length = strlen(text);
  if (length < room) {
    memcpy(message, text, length + 1);
    return;
  }
  size_t head = (room - 4) / 2, tail = length - (room - 4 - head);
  while (head > 0 && continues(text[head])) head--;
  while (continues(text[tail])) tail++;
  memcpy(message, text, head);
  memcpy(message + head, "...", 3);
  memcpy(message + head + 3, text + tail, length - tail + 1);
}

/* Formats aside first, so that an argument may be the error's own former message. */
void tq_error_set(tq_error *error, tq_status status, const char *format, ...) {
  if (!error) return;
  char raw[RAW_SIZE], escaped[ESCAPED_SIZE];
  va_list arguments;
  va_start(arguments, format);
  if (vsnprintf(raw, sizeof raw, format, arguments) < 0) raw[0] = 0;
  va_end(arguments);
  error->status = status;
  fit(tq_printable(raw, strlen(raw), escaped, sizeof escaped), error->message, sizeof error->message);
}
