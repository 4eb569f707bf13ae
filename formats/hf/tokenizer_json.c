/* tokenizer.json: the tokens. */
#include "base/memory.h"
#include "formats/hf/tokenizer.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Ids may have gaps, but no more of them than this beyond what the file or the model fills. */
enum { MOST_GAPS = 65536, PADDING_SIZE = 24 };

tq_status tq_tokenizer_json_stop(tq_tokenizer_json *from, const char *format, ...) {
  va_list arguments;
  char text[TQ_REASON_SIZE];
  if (from->reason[0]) return TQ_OK;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) length = 0;
  if ((size_t)length >= sizeof text) length = sizeof text - 1;
  tq_printable(text, (size_t)length, from->reason, sizeof from->reason);
  return TQ_OK;
}

tq_status tq_tokenizer_json_load(tq_tokenizer_json *from, const char *file, char *text, size_t size, bool expanded,
                                 tq_error *error) {
  from->file = file;
  from->text = text;
  from->size = size;
  from->error = error;
  from->merge_span = tq_json_find_array(text, size, "model", "merges");
  return tq_json_parse_around(file, text, size, from->merge_span, expanded ? size : 0, &from->json, error);
}

void tq_tokenizer_json_free(tq_tokenizer_json *from) {
  json_decref(from->json);
  tq_free(from->text);
  tq_free(from->padding);
  tq_vocabulary_tables_free(&from->tables);
}

static bool is_absent(const json_t *value) {
  return !value || json_is_null(value) || (json_is_string(value) && !json_string_length(value));
}

/* ---- the model's own flags ---- */

static tq_status read_model(tq_tokenizer_json *from, bool *byte_fallback) {
  const json_t *model = json_object_get(from->json, "model");
  if (!json_is_object(model)) return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: model is not an object", from->file);
  const char *type = json_string_value(json_object_get(model, "type"));
  /* Files from before the type was written down are BPE when they have merges. */
  bool untyped = !json_object_get(model, "type") && json_object_get(model, "merges");
  if (!untyped && (!type || strcmp(type, "BPE") != 0)) {
    return tq_tokenizer_json_stop(from, "tokenizer model %s is not understood", type ? type : "without a type");
  }
  if (!is_absent(json_object_get(model, "continuing_subword_prefix")) ||
      !is_absent(json_object_get(model, "end_of_word_suffix"))) {
    return tq_tokenizer_json_stop(from, "subword prefixes and word suffixes are not understood");
  }
  if (json_number_value(json_object_get(model, "dropout")) > 0) {
    return tq_tokenizer_json_stop(from, "dropping merges at random is not understood");
  }
  from->vocabulary = json_object_get(model, "vocab");
  if (!json_is_object(from->vocabulary)) {
    return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: model.vocab is not an object", from->file);
  }
  if (json_array_size(json_object_get(model, "merges"))) {
    return tq_tokenizer_json_stop(from, "the key model.merges is spelled with escapes");
  }
  *byte_fallback = json_is_true(json_object_get(model, "byte_fallback"));
  from->tables.vocabulary.ignore_merges = json_is_true(json_object_get(model, "ignore_merges"));
  return TQ_OK;
}

/* ---- tokens ---- */

/* An id within bounds, or an error that names the token. */
static tq_status check_id(const tq_tokenizer_json *from, const char *text, const json_t *json, uint64_t most,
                          size_t *id) {
  char printable[64];
  if (json_is_integer(json) && json_integer_value(json) >= 0 && (uint64_t)json_integer_value(json) < most) {
    *id = (size_t)json_integer_value(json);
    return TQ_OK;
  }
  return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: token '%s': its id is not a whole number below %llu", from->file,
                 tq_printable(text, strlen(text), printable, sizeof printable), (unsigned long long)most);
}

static const json_t *added_tokens(const tq_tokenizer_json *from) { return json_object_get(from->json, "added_tokens"); }

/* The number of ids, from the largest one on. */
static tq_status count_tokens(tq_tokenizer_json *from, uint64_t least_count, size_t *count) {
  const char *text;
  json_t *value;
  size_t i, id;
  uint64_t entries = json_object_size(from->vocabulary) + json_array_size(added_tokens(from));
  uint64_t most = (entries > least_count ? entries : least_count) + MOST_GAPS;
  *count = 0;
  json_object_foreach((json_t *)from->vocabulary, text, value) {
    tq_status status = check_id(from, text, value, most, &id);
    if (status) return status;
    if (id >= *count) *count = id + 1;
  }
  from->base_count = *count;
  json_array_foreach(added_tokens(from), i, value) {
    text = json_string_value(json_object_get(value, "content"));
    if (!text) {
      return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: added token %zu has no content", from->file, i);
    }
    tq_status status = check_id(from, text, json_object_get(value, "id"), most, &id);
    if (status) return status;
    if (id >= *count) *count = id + 1;
  }
  if (least_count > *count) *count = (size_t)least_count;
  return TQ_OK;
}

static tq_status place_token(tq_tokenizer_json *from, size_t id, const char *text, size_t size) {
  tq_string *token = &from->tables.tokens[id];
  char a[64], b[64];
  if (!token->data) {
    *token = (tq_string){text, size};
    return TQ_OK;
  }
  if (token->size == size && memcmp(token->data, text, size) == 0) return TQ_OK;
  return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: id %zu is that of '%s' and of '%s'", from->file, id,
                 tq_printable(token->data, token->size, a, sizeof a), tq_printable(text, size, b, sizeof b));
}

static tq_status place_vocabulary(tq_tokenizer_json *from) {
  const char *text;
  size_t size;
  json_t *value;
  json_object_keylen_foreach((json_t *)from->vocabulary, text, size, value) {
    size_t id = (size_t)json_integer_value(value);
    tq_status status = place_token(from, id, text, size);
    if (status) return status;
    from->tables.types[id] = TQ_TOKEN_NORMAL;
  }
  return TQ_OK;
}

/* Stripping of blanks and whole-word matching around added tokens are not done; a token that asks for it changes how
 * the text beside it is cut, so such a file is not understood. */
static tq_status place_added(tq_tokenizer_json *from) {
  size_t i;
  json_t *added;
  json_array_foreach(added_tokens(from), i, added) {
    const json_t *content = json_object_get(added, "content");
    const char *text = json_string_value(content);
    size_t id = (size_t)json_integer_value(json_object_get(added, "id")), size = json_string_length(content);
    const json_t *known = json_object_getn(from->vocabulary, text, size);
    char printable[64];
    if (known && (size_t)json_integer_value(known) != id) {
      return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: token '%s' has two ids", from->file,
                     tq_printable(text, size, printable, sizeof printable));
    }
    if (json_is_true(json_object_get(added, "lstrip")) || json_is_true(json_object_get(added, "rstrip")) ||
        json_is_true(json_object_get(added, "single_word"))) {
      return tq_tokenizer_json_stop(from, "token '%s' that strips blanks or matches whole words is not understood",
                                    tq_printable(text, size, printable, sizeof printable));
    }
    tq_status status = place_token(from, id, text, size);
    if (status) return status;
    bool special = json_is_true(json_object_get(added, "special"));
    from->tables.types[id] = special ? TQ_TOKEN_CONTROL : TQ_TOKEN_USER_DEFINED;
  }
  return TQ_OK;
}

/* The model's tables have a row for each id up to the size of the embedding; llama.cpp's converter names those that the
 * tokenizer does not know like this, and so must we for the tokenizer to be the same. */
static tq_status fill_gaps(tq_tokenizer_json *from, size_t count) {
  size_t gaps = 0;
  for (size_t id = 0; id < count; id++) gaps += !from->tables.tokens[id].data;
  if (!gaps) return TQ_OK;
  from->padding = tq_allocate(gaps, PADDING_SIZE, from->error);
  if (!from->padding) return TQ_ERROR_SYSTEM;
  char *text = from->padding;
  for (size_t id = 0; id < count; id++) {
    if (from->tables.tokens[id].data) continue;
    int size = snprintf(text, PADDING_SIZE, "[PAD%zu]", id);
    from->tables.tokens[id] = (tq_string){text, (size_t)size};
    from->tables.types[id] = TQ_TOKEN_UNUSED;
    text += PADDING_SIZE;
  }
  return TQ_OK;
}

static bool is_byte_token(tq_string token) {
  static const char digits[] = "0123456789ABCDEF";
  return token.size == 6 && memcmp(token.data, "<0x", 3) == 0 && token.data[5] == '>' && token.data[3] &&
         strchr(digits, token.data[3]) && token.data[4] && strchr(digits, token.data[4]);
}

/* In SentencePiece's vocabularies bytes and the unknown token have types of their own. */
static void type_sentencepiece(tq_tokenizer_json *from) {
  tq_vocabulary_tables *tables = &from->tables;
  const json_t *unknown = json_object_get(json_object_get(from->json, "model"), "unk_token");
  int64_t id = json_is_string(unknown)
                   ? tq_tokenizer_json_find(from, json_string_value(unknown), json_string_length(unknown))
                   : -1;
  for (size_t i = 0; i < from->base_count; i++) {
    if (tables->types[i] == TQ_TOKEN_NORMAL && is_byte_token(tables->tokens[i])) tables->types[i] = TQ_TOKEN_BYTE;
  }
  if (id < 0) return;
  tables->types[id] = TQ_TOKEN_UNKNOWN;
  tables->vocabulary.special[TQ_SPECIAL_UNKNOWN] = id;
}

int64_t tq_tokenizer_json_find(const tq_tokenizer_json *from, const char *text, size_t size) {
  size_t i;
  json_t *added;
  const json_t *known = json_object_getn(from->vocabulary, text, size);
  if (known) return json_integer_value(known);
  json_array_foreach(added_tokens(from), i, added) {
    const json_t *content = json_object_get(added, "content");
    if (json_string_length(content) == size && memcmp(json_string_value(content), text, size) == 0) {
      return json_integer_value(json_object_get(added, "id"));
    }
  }
  return -1;
}

static tq_status read_tokens(tq_tokenizer_json *from, uint64_t least_count) {
  tq_vocabulary_tables *tables = &from->tables;
  size_t count;
  tq_status status = count_tokens(from, least_count, &count);
  if (status) return status;
  tables->tokens = tq_allocate(count, sizeof *tables->tokens, from->error);
  tables->types = tq_allocate(count, sizeof *tables->types, from->error);
  if (!tables->tokens || !tables->types) return TQ_ERROR_SYSTEM;
  tables->vocabulary.token_count = count;
  tables->vocabulary.tokens = tables->tokens;
  tables->vocabulary.types = tables->types;
  status = place_vocabulary(from);
  if (!status) status = place_added(from);
  if (!status && !from->reason[0]) status = fill_gaps(from, count);
  return status;
}

tq_status tq_tokenizer_json_read(tq_tokenizer_json *from, uint64_t least_count,
                                 const tq_vocabulary_tables *sentencepiece) {
  bool byte_fallback = false;
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) from->tables.vocabulary.special[i] = -1;
  from->tables.vocabulary.pre = from->tables.vocabulary.normalizer = "";
  if (!json_is_object(from->json)) return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: not a JSON object", from->file);
  tq_status status = read_model(from, &byte_fallback);
  if (!status && !from->reason[0]) status = tq_tokenizer_json_read_pipeline(from, byte_fallback);
  if (!status && !from->reason[0]) status = read_tokens(from, least_count);
  if (status || from->reason[0]) return status;
  if (from->tables.vocabulary.kind == TQ_TOKENIZER_SENTENCEPIECE) type_sentencepiece(from);
  return tq_tokenizer_json_read_merges(from, sentencepiece);
}
