#include "tokenizer/normalize.h"

#include "base/memory.h"
#include "tokenizer/utf8.h"

#include <string.h>

enum { CLASSES = 256, LONGEST_DECOMPOSITION = 32 };

typedef struct characters {
  utf8proc_int32_t *data;
  size_t count, capacity;
} characters;

static tq_status make_room(characters *list, size_t needed, tq_error *error) {
  void *data = list->data;
  tq_status status = tq_grow(&data, &list->capacity, needed, sizeof *list->data, error);
  list->data = data;
  return status;
}

static tq_status append_decomposed(characters *list, utf8proc_int32_t character, tq_error *error) {
  utf8proc_int32_t parts[LONGEST_DECOMPOSITION];
  int boundary = 0;
  utf8proc_ssize_t count =
      utf8proc_decompose_char(character, parts, LONGEST_DECOMPOSITION, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &boundary);
  if (count <= 0 || count > LONGEST_DECOMPOSITION) { /* nothing in Unicode: kept as it is */
    parts[0] = character;
    count = 1;
  }
  tq_status status = make_room(list, list->count + (size_t)count, error);
  if (status) return status;
  memcpy(list->data + list->count, parts, (size_t)count * sizeof *parts);
  list->count += (size_t)count;
  return TQ_OK;
}

static unsigned combining_class(utf8proc_int32_t character) {
  return (unsigned)utf8proc_get_property(character)->combining_class % CLASSES;
}

/* Sorts combining marks by their class, keeping the order within a class, by counting: a long run of marks must not
 * cost its length squared. */
static void sort_marks(utf8proc_int32_t *marks, utf8proc_int32_t *scratch, size_t count) {
  size_t places[CLASSES + 1] = {0};
  for (size_t i = 0; i < count; i++) places[combining_class(marks[i]) + 1]++;
  for (size_t i = 0; i < CLASSES; i++) places[i + 1] += places[i];
  for (size_t i = 0; i < count; i++) scratch[places[combining_class(marks[i])]++] = marks[i];
  memcpy(marks, scratch, count * sizeof *marks);
}

static tq_status order_marks(characters *list, tq_error *error) {
  utf8proc_int32_t *scratch = tq_allocate(list->count, sizeof *scratch, error);
  if (!scratch) return TQ_ERROR_SYSTEM;
  for (size_t begin = 0, end; begin < list->count; begin = end) {
    bool ordered = true;
    for (end = begin; end < list->count && combining_class(list->data[end]) != 0; end++) {
      if (end > begin && combining_class(list->data[end]) < combining_class(list->data[end - 1])) ordered = false;
    }
    if (!ordered) sort_marks(list->data + begin, scratch, end - begin);
    if (end == begin) end++;
  }
  tq_free(scratch);
  return TQ_OK;
}

static tq_status append_composed(characters *list, tq_buffer *normalized, tq_error *error) {
  utf8proc_ssize_t count =
      utf8proc_normalize_utf32(list->data, (utf8proc_ssize_t)list->count, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (count < 0) return tq_fail(error, TQ_ERROR_SYSTEM, "text cannot be normalised: %s", utf8proc_errmsg(count));
  tq_status status = TQ_OK;
  for (utf8proc_ssize_t i = 0; i < count && !status; i++) {
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t length = utf8proc_encode_char(list->data[i], bytes);
    status = tq_buffer_append(normalized, bytes, (size_t)length, error);
  }
  list->count = 0;
  return status;
}

/* Puts what was gathered since the last ill-formed byte into its normal form. */
static tq_status flush(characters *list, tq_buffer *normalized, tq_error *error) {
  if (list->count == 0) return TQ_OK;
  tq_status status = order_marks(list, error);
  return status ? status : append_composed(list, normalized, error);
}

tq_status tq_normalize_nfc(const char *text, size_t size, tq_buffer *normalized, tq_error *error) {
  characters list = {0};
  tq_status status = TQ_OK;
  for (size_t at = 0; at < size && !status;) {
    size_t length = tq_utf8_length(text + at, size - at);
    if (length == 0) {
      status = flush(&list, normalized, error);
      if (!status) status = tq_buffer_append(normalized, text + at, 1, error);
      at++;
      continue;
    }
    utf8proc_int32_t character;
    utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)length, &character);
    status = append_decomposed(&list, character, error);
    at += length;
  }
  if (!status) status = flush(&list, normalized, error);
  tq_free(list.data);
  return status;
}
