#include "formats/json.h"

#include "base/memory.h"

#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ----
 * jansson's lexer goes on when its buffer cannot grow, and then reads and writes behind it. So an allocation that fails
 * while a text is parsed does not return: it abandons the parse, and what the parse had allocated is freed by a list.
 * What the blocks take is counted, for three bytes of text can become two hundred of memory. */

typedef struct block {
  _Alignas(max_align_t) struct block *previous;
  struct block *next;
  size_t cost;
} block;

static _Thread_local struct {
  jmp_buf *escape; /* where a failed allocation goes; NULL outside of a parse */
  block list;      /* what the parse has allocated, as a ring through this */
  size_t most;     /* what `held` may become during the parse */
  size_t held;     /* bytes of all blocks of this thread */
} parsing;

/* Why a parse was abandoned. */
enum { NOT_ABANDONED, OUT_OF_MEMORY, OVER_BUDGET };

static void link_behind(block *place, block *added) {
  added->previous = place;
  added->next = place->next;
  place->next->previous = added;
  place->next = added;
}

static void unlink_block(block *removed) {
  removed->previous->next = removed->next;
  removed->next->previous = removed->previous;
}

/* What `size` bytes count for, roughly what a heap takes for them: the same on every machine, so that what is refused
 * is too. */
static size_t cost_of(size_t size) { return (size + 39) & ~(size_t)15; }

static bool is_over_budget(size_t size) { return parsing.held > parsing.most || size > parsing.most - parsing.held; }

static void *allocate(size_t size) {
  if (parsing.escape && is_over_budget(size)) longjmp(*parsing.escape, OVER_BUDGET);
  block *added = size <= SIZE_MAX - sizeof *added ? tq_hook_malloc(sizeof *added + size) : NULL;
  if (!added && parsing.escape) longjmp(*parsing.escape, OUT_OF_MEMORY);
  if (!added) return NULL;
  added->cost = cost_of(size);
  parsing.held += added->cost;
  added->previous = added->next = added;
  if (parsing.escape) link_behind(&parsing.list, added);
  return added + 1;
}

static void release(void *memory) {
  if (!memory) return;
  block *removed = (block *)memory - 1;
  unlink_block(removed);
  parsing.held -= removed->cost;
  tq_free(removed);
}

/* Calls json_load_callback; *abandoned tells a failed allocation from text that is not JSON. */
static json_t *load(json_load_callback_t supply, void *source, size_t most, json_error_t *failure, int *abandoned) {
  jmp_buf escape;
  parsing.most = most;
  parsing.list.previous = parsing.list.next = &parsing.list;
  parsing.escape = &escape;
  *abandoned = NOT_ABANDONED;
  switch (setjmp(escape)) {
  case 0:
    break;
  case OVER_BUDGET:
    *abandoned = OVER_BUDGET;
    break;
  default:
    *abandoned = OUT_OF_MEMORY;
  }
  if (*abandoned) {
    parsing.escape = NULL;
    while (parsing.list.next != &parsing.list) release(parsing.list.next + 1);
    return NULL;
  }
  json_t *json = json_load_callback(supply, source, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, failure);
  parsing.escape = NULL;
  unlink_block(&parsing.list);
  return json;
}

/* Before main: a value that jansson made with other functions could not be freed by these. */
__attribute__((constructor)) void tq_json_prepare(void) { json_set_alloc_funcs(allocate, release); }

/* ---- scanning without parsing ---- */

/* The offset behind the string that begins at `at` (a quote), or `size` when it does not end. */
static size_t skip_string(const char *text, size_t size, size_t at) {
  for (at++; at < size && text[at] != '"'; at++) {
    if (text[at] == '\\') at++;
  }
  return at < size ? at + 1 : size;
}

/* jansson recurses once a level, so nesting is bounded before it sees the text: its own bound is too deep for a thread
 * with a small stack. */
static bool nested_too_deep(const char *text, size_t size) {
  size_t depth = 0;
  for (size_t at = 0; at < size;) {
    if (text[at] == '"') {
      at = skip_string(text, size, at);
      continue;
    }
    if ((text[at] == '[' || text[at] == '{') && ++depth > TQ_JSON_MAX_DEPTH) return true;
    if ((text[at] == ']' || text[at] == '}') && depth > 0) depth--;
    at++;
  }
  return false;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static size_t skip_blanks(const char *text, size_t size, size_t at) {
  while (at < size && is_blank(text[at])) at++;
  return at;
}

/* The offset behind the value that begins at `at`: up to the comma or bracket that ends it. */
static size_t skip_value(const char *text, size_t size, size_t at) {
  size_t depth = 0;
  while (at < size) {
    char c = text[at];
    if (c == '"') {
      at = skip_string(text, size, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == ']' || c == '}')) return at;
    if (c == '[' || c == '{') depth++;
    if (c == ']' || c == '}') depth--;
    at++;
  }
  return size;
}

/* The offset of the value of `key` in the object that begins at `at`, or `size`. */
static size_t find_member(const char *text, size_t size, size_t at, const char *key) {
  size_t length = strlen(key);
  if (at >= size || text[at] != '{') return size;
  at = skip_blanks(text, size, at + 1);
  while (at < size && text[at] == '"') {
    size_t begin = at + 1, end = skip_string(text, size, at);
    at = skip_blanks(text, size, end);
    if (at >= size || text[at] != ':') return size;
    at = skip_blanks(text, size, at + 1);
    if (end - begin == length + 1 && memcmp(text + begin, key, length) == 0) return at;
    at = skip_value(text, size, at);
    if (at >= size || text[at] != ',') return size;
    at = skip_blanks(text, size, at + 1);
  }
  return size;
}

tq_json_span tq_json_find_array(const char *text, size_t size, const char *outer, const char *inner) {
  size_t at = find_member(text, size, skip_blanks(text, size, 0), outer);
  at = find_member(text, size, at, inner);
  if (at >= size || text[at] != '[') return (tq_json_span){0, 0};
  size_t end = skip_value(text, size, at);
  while (end > at + 1 && is_blank(text[end - 1])) end--;
  if (end < at + 2 || text[end - 1] != ']') return (tq_json_span){0, 0};
  return (tq_json_span){at + 1, end - 1};
}

bool tq_json_next_item(const char *text, tq_json_span array, size_t *cursor, tq_json_span *item) {
  size_t at = skip_blanks(text, array.end, *cursor);
  bool after_comma = *cursor > array.begin && *cursor <= array.end && text[*cursor - 1] == ',';
  if (at >= array.end && !after_comma) return false;
  item->begin = at;
  item->end = skip_value(text, array.end, at);
  *cursor = item->end < array.end && text[item->end] == ',' ? item->end + 1 : item->end;
  /* A missing item, or something that is neither an item nor a comma, ends the walk with an item that does not parse.
   */
  if (item->end == at) *cursor = array.end + 1;
  return true;
}

/* ---- parsing ---- */

typedef struct text_source {
  const char *text;
  size_t size, at;
  tq_json_span hole;
} text_source;

static size_t supply(void *buffer, size_t room, void *context) {
  text_source *source = context;
  if (source->at == source->hole.begin) source->at = source->hole.end;
  size_t end = source->at < source->hole.begin ? source->hole.begin : source->size;
  size_t size = end - source->at < room ? end - source->at : room;
  memcpy(buffer, source->text + source->at, size);
  source->at += size;
  return size;
}

tq_status tq_json_parse_around(const char *name, const char *text, size_t size, tq_json_span hole, size_t held,
                               json_t **json, tq_error *error) {
  *json = NULL;
  size_t most = held < TQ_JSON_BUDGET ? TQ_JSON_BUDGET - held : 0;
  if (nested_too_deep(text, size)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: JSON nested deeper than %d levels", name, TQ_JSON_MAX_DEPTH);
  }
  text_source source = {text, size, 0, hole};
  json_error_t failure = {0};
  int abandoned;
  *json = load(supply, &source, most, &failure, &abandoned);
  if (*json) return TQ_OK;
  if (abandoned == OUT_OF_MEMORY) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", name);
  if (abandoned == OVER_BUDGET) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: JSON that takes more memory than %d MiB for what it says", name,
                   TQ_JSON_BUDGET >> 20);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: line %d, column %d: not JSON as expected: %s", name, failure.line,
                 failure.column, failure.text);
}

tq_status tq_json_parse(const char *name, const char *text, size_t size, json_t **json, tq_error *error) {
  return tq_json_parse_around(name, text, size, (tq_json_span){0, 0}, size, json, error);
}

/* ---- printing ---- */

typedef struct text_sink {
  tq_buffer *buffer;
  tq_error *error;
  tq_status status;
} text_sink;

static int append_text(const char *data, size_t size, void *context) {
  text_sink *sink = context;
  if (sink->status) return -1;
  sink->status = tq_buffer_append(sink->buffer, data, size, sink->error);
  return sink->status ? -1 : 0;
}

tq_status tq_json_print(tq_buffer *buffer, const json_t *json, unsigned indent, tq_error *error) {
  text_sink sink = {buffer, error, TQ_OK};
  size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(9) | (indent ? JSON_INDENT(indent) : JSON_COMPACT);
  /* It goes on after some failures of the callback, so that its own result is not enough. */
  if (json && json_dump_callback(json, append_text, &sink, flags) == 0 && !sink.status) return TQ_OK;
  return sink.status ? sink.status : tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
}

tq_status tq_json_print_string(tq_buffer *buffer, const char *what, const char *data, size_t size, tq_error *error) {
  char printable[64];
  if (!tq_is_utf8(data, size) || memchr(data, 0, size)) {
    return tq_fail(error, TQ_ERROR_REFUSED, "%s '%s' cannot be text in a JSON file", what,
                   tq_printable(data, size, printable, sizeof printable));
  }
  json_t *string = json_stringn_nocheck(data, size);
  tq_status status = tq_json_print(buffer, string, 0, error);
  json_decref(string);
  return status;
}

json_t *tq_json_f32(float value) {
  char digits[32];
  for (int precision = 1; precision <= 9; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, (double)value);
    if (strtof(digits, NULL) == value) break;
  }
  return json_real(strtod(digits, NULL));
}

json_t *tq_json_real(double number) { return isfinite(number) ? json_real(number) : json_null(); }
