#include "formats/tokenizer/tables.h"

#include "base/memory.h"

#include <string.h>

tq_status tq_vocabulary_tables_start(tq_vocabulary_tables *tables, tq_tokenizer_kind kind, size_t count, bool scores,
                                     tq_error *error) {
  tables->tokens = tq_allocate(count, sizeof *tables->tokens, error);
  if (!tables->tokens) return TQ_ERROR_SYSTEM;
  tables->types = tq_allocate(count, sizeof *tables->types, error);
  if (!tables->types) return TQ_ERROR_SYSTEM;
  if (scores) {
    tables->scores = tq_allocate(count, sizeof *tables->scores, error);
    if (!tables->scores) return TQ_ERROR_SYSTEM;
  }
  memset(tables->types, TQ_TOKEN_NORMAL, count);
  tq_vocabulary *vocabulary = &tables->vocabulary;
  *vocabulary = (tq_vocabulary){.kind = kind, .pre = "", .normalizer = "", .token_count = count};
  vocabulary->tokens = tables->tokens;
  vocabulary->types = tables->types;
  vocabulary->scores = tables->scores;
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) vocabulary->special[i] = -1;
  return TQ_OK;
}

void tq_vocabulary_tables_free(tq_vocabulary_tables *tables) {
  tq_free(tables->tokens);
  tq_free(tables->types);
  tq_free(tables->scores);
  tq_free(tables->merges);
  tq_free(tables->texts);
  *tables = (tq_vocabulary_tables){0};
}

size_t tq_escape_spaces(tq_string text, char *to) {
  size_t size = 0;
  for (size_t i = 0; i < text.size; i++) {
    if (text.data[i] == ' ') {
      memcpy(to + size, TQ_ESCAPED_SPACE, TQ_ESCAPED_SPACE_SIZE);
      size += TQ_ESCAPED_SPACE_SIZE;
    } else {
      to[size++] = text.data[i];
    }
  }
  return size;
}

size_t tq_unescape_spaces(tq_string text, char *to) {
  size_t size = 0;
  for (size_t i = 0; i < text.size; size++) {
    bool space =
        text.size - i >= TQ_ESCAPED_SPACE_SIZE && memcmp(text.data + i, TQ_ESCAPED_SPACE, TQ_ESCAPED_SPACE_SIZE) == 0;
    to[size] = space ? ' ' : text.data[i];
    i += space ? TQ_ESCAPED_SPACE_SIZE : 1;
  }
  return size;
}

static bool is_digit(char digit) { return (digit >= '0' && digit <= '9') || (digit >= 'A' && digit <= 'F'); }

bool tq_is_byte_text(tq_string text) {
  return text.size == 6 && memcmp(text.data, "<0x", 3) == 0 && is_digit(text.data[3]) && is_digit(text.data[4]) &&
         text.data[5] == '>';
}
