/* GGUF's tokenizer.* keys, both ways. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/tokenizer/tables.h"
#include "tokenizer/lookup.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>

#define KEY_MODEL "tokenizer.ggml.model"
#define KEY_PRE "tokenizer.ggml.pre"
#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_SCORES "tokenizer.ggml.scores"
#define KEY_TYPES "tokenizer.ggml.token_type"
#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_ADD_BOS "tokenizer.ggml.add_bos_token"
#define KEY_ADD_EOS "tokenizer.ggml.add_eos_token"
#define KEY_SPACE_PREFIX "tokenizer.ggml.add_space_prefix"
#define KEY_CHAT_TEMPLATE "tokenizer.chat_template"
#define MODEL_SENTENCEPIECE "llama"
#define MODEL_BYTE_LEVEL "gpt2"

/* In the order in which llama.cpp's converter writes them. `sentencepiece` is the id that llama.cpp takes where a
 * SentencePiece vocabulary does not name one. */
static const struct {
  tq_special_token which;
  const char *key;
  int64_t sentencepiece;
} special_keys[] = {
    {TQ_SPECIAL_BOS, "tokenizer.ggml.bos_token_id", 1},
    {TQ_SPECIAL_EOS, "tokenizer.ggml.eos_token_id", 2},
    {TQ_SPECIAL_UNKNOWN, "tokenizer.ggml.unknown_token_id", 0},
    {TQ_SPECIAL_SEPARATOR, "tokenizer.ggml.seperator_token_id", -1}, /* spelled so in GGUF */
    {TQ_SPECIAL_PADDING, "tokenizer.ggml.padding_token_id", -1},
    {TQ_SPECIAL_MASK, "tokenizer.ggml.mask_token_id", -1},
    {TQ_SPECIAL_END_OF_TURN, "tokenizer.ggml.eot_token_id", -1},
};

enum { SPECIAL_KEYS = sizeof special_keys / sizeof *special_keys };

/* ---- reading ---- */

typedef struct reader {
  const char *name;
  const tq_metadata *metadata;
  char *reason; /* set when the tokenizer is not understood */
  tq_vocabulary_tables tables;
  char pre[TQ_REASON_SIZE];
} reader;

static bool is_integer(tq_value_type type) {
  return type != TQ_VALUE_F32 && type != TQ_VALUE_F64 && type != TQ_VALUE_STRING && type != TQ_VALUE_ARRAY;
}

/* An array key; false with TQ_OK when there is none. */
static tq_status find_array(const reader *from, const char *key, bool integers, tq_value_type item, tq_value *array,
                            bool *found, tq_error *error) {
  *found = tq_metadata_find(from->metadata, key, array);
  if (!*found) return TQ_OK;
  bool right = array->type == TQ_VALUE_ARRAY && (integers ? is_integer(array->item_type) : array->item_type == item);
  if (right || (array->type == TQ_VALUE_ARRAY && array->item_count == 0)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: key %s is of the wrong type", from->name, key);
}

static tq_status check_count(const reader *from, const char *key, const tq_value *array, tq_error *error) {
  size_t tokens = from->tables.vocabulary.token_count;
  if (array->item_count >= tokens) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: key %s has %llu items for %zu tokens", from->name, key,
                 (unsigned long long)array->item_count, tokens);
}

static tq_status read_tokens(reader *from, tq_tokenizer_kind kind, tq_error *error) {
  tq_value array, item;
  bool found;
  tq_status status = find_array(from, KEY_TOKENS, false, TQ_VALUE_STRING, &array, &found, error);
  if (status) return status;
  if (!found || array.item_count == 0 || array.item_count > SIZE_MAX) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: key %s is missing or empty", from->name, KEY_TOKENS);
  }
  bool scores = tq_metadata_find(from->metadata, KEY_SCORES, &item);
  status = tq_vocabulary_tables_start(&from->tables, kind, (size_t)array.item_count, scores, error);
  size_t cursor = 0;
  for (size_t i = 0; !status && tq_array_next(&array, &cursor, &item); i++) from->tables.tokens[i] = item.string;
  return status;
}

static tq_status read_scores(reader *from, tq_error *error) {
  tq_value array, item;
  bool found;
  tq_status status = find_array(from, KEY_SCORES, false, TQ_VALUE_F32, &array, &found, error);
  if (!status && found) status = check_count(from, KEY_SCORES, &array, error);
  if (status || !found) return status;
  size_t cursor = 0, count = from->tables.vocabulary.token_count;
  for (size_t i = 0; i < count && tq_array_next(&array, &cursor, &item); i++) {
    from->tables.scores[i] = (float)item.number;
  }
  return TQ_OK;
}

/* Types that no token can have become 0, which is refused with the token's number. */
static tq_status read_types(reader *from, tq_error *error) {
  tq_value array, item;
  bool found;
  tq_status status = find_array(from, KEY_TYPES, true, TQ_VALUE_I32, &array, &found, error);
  if (!status && found) status = check_count(from, KEY_TYPES, &array, error);
  if (status || !found) return status;
  size_t cursor = 0, count = from->tables.vocabulary.token_count;
  for (size_t i = 0; i < count && tq_array_next(&array, &cursor, &item); i++) {
    bool known = item.integer >= TQ_TOKEN_NORMAL && item.integer <= TQ_TOKEN_BYTE;
    from->tables.types[i] = known ? (uint8_t)item.integer : 0;
  }
  return TQ_OK;
}

/* "left right", cut at the first space that is not the first character. */
static bool parse_merge(const tq_lookup *lookup, tq_string text, tq_merge *merge) {
  const char *space = text.size > 1 ? memchr(text.data + 1, ' ', text.size - 1) : NULL;
  if (!space) return false;
  size_t left_size = (size_t)(space - text.data);
  int64_t left = tq_lookup_find(lookup, text.data, left_size);
  int64_t right = tq_lookup_find(lookup, space + 1, text.size - left_size - 1);
  if (left < 0 || right < 0) return false;
  *merge = (tq_merge){(uint32_t)left, (uint32_t)right};
  return true;
}

static tq_status parse_merges(reader *from, const tq_value *array, const tq_lookup *lookup, tq_error *error) {
  size_t count = (size_t)array->item_count, cursor = 0;
  from->tables.merges = tq_allocate(count, sizeof *from->tables.merges, error);
  if (!from->tables.merges) return TQ_ERROR_SYSTEM;
  tq_value item;
  for (size_t i = 0; tq_array_next(array, &cursor, &item); i++) {
    if (parse_merge(lookup, item.string, &from->tables.merges[i])) continue;
    snprintf(from->reason, TQ_REASON_SIZE, "merge %zu is not of two tokens", i);
    return TQ_OK;
  }
  from->tables.vocabulary.merges = from->tables.merges;
  from->tables.vocabulary.merge_count = count;
  return TQ_OK;
}

static tq_status read_merges(reader *from, tq_error *error) {
  tq_value array;
  bool found;
  tq_status status = find_array(from, KEY_MERGES, false, TQ_VALUE_STRING, &array, &found, error);
  if (status) return status;
  if (!found) {
    snprintf(from->reason, TQ_REASON_SIZE, "it has no merges");
    return TQ_OK;
  }
  tq_lookup lookup = {0};
  status = tq_lookup_build(&lookup, from->tables.tokens, from->tables.vocabulary.token_count, error);
  if (!status) status = parse_merges(from, &array, &lookup, error);
  tq_lookup_free(&lookup);
  return status;
}

/* -1, in 32 or 64 bits, is how some converters say that there is none. */
static tq_status read_id(const reader *from, const char *key, int64_t *id, tq_error *error) {
  size_t count = from->tables.vocabulary.token_count;
  tq_value value;
  if (!tq_metadata_find(from->metadata, key, &value) || !is_integer(value.type)) return TQ_OK;
  uint64_t number = value.integer < 0 ? (uint64_t)value.integer : value.unsigned_integer;
  if (number == UINT32_MAX || number == UINT64_MAX) return TQ_OK;
  if (number >= count) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: key %s is not one of the %zu tokens", from->name, key, count);
  }
  *id = (int64_t)number;
  return TQ_OK;
}

static tq_status read_special(reader *from, tq_error *error) {
  tq_vocabulary *vocabulary = &from->tables.vocabulary;
  bool sentencepiece = vocabulary->kind == TQ_TOKENIZER_SENTENCEPIECE;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < SPECIAL_KEYS; i++) {
    int64_t *id = &vocabulary->special[special_keys[i].which];
    *id = sentencepiece ? special_keys[i].sentencepiece : -1;
    if (*id >= 0 && (uint64_t)*id >= vocabulary->token_count) *id = -1;
    status = read_id(from, special_keys[i].key, id, error);
  }
  return status;
}

static void read_behaviour(reader *from) {
  tq_vocabulary *vocabulary = &from->tables.vocabulary;
  const tq_metadata *metadata = from->metadata;
  bool sentencepiece = vocabulary->kind == TQ_TOKENIZER_SENTENCEPIECE;
  const tq_pretokenizer *row = NULL;
  if (!sentencepiece) {
    vocabulary->pre = from->pre;
    row = tq_pretokenizer_find(from->pre);
  }
  vocabulary->ignore_merges = row && row->ignore_merges;
  vocabulary->normalizer = row ? row->normalizer : "";
  vocabulary->add_bos = tq_metadata_bool(metadata, KEY_ADD_BOS, sentencepiece || (row && row->add_bos));
  vocabulary->add_eos = tq_metadata_bool(metadata, KEY_ADD_EOS, false);
  vocabulary->add_space_prefix = tq_metadata_bool(metadata, KEY_SPACE_PREFIX, sentencepiece);
  vocabulary->chat_template = tq_metadata_string(metadata, KEY_CHAT_TEMPLATE);
}

/* Which kind the keys describe; false, with the reason, when it is none that is understood. */
static bool read_kind(reader *from, tq_tokenizer_kind *kind) {
  tq_string model = tq_metadata_string(from->metadata, KEY_MODEL), pre = tq_metadata_string(from->metadata, KEY_PRE);
  char name[64];
  if (!model.data) {
    snprintf(from->reason, TQ_REASON_SIZE, "it has no tokenizer");
    return false;
  }
  tq_printable(model.data, model.size, name, sizeof name);
  *kind = strcmp(name, MODEL_SENTENCEPIECE) == 0 ? TQ_TOKENIZER_SENTENCEPIECE : TQ_TOKENIZER_BYTE_LEVEL;
  if (*kind == TQ_TOKENIZER_BYTE_LEVEL && strcmp(name, MODEL_BYTE_LEVEL) != 0) {
    snprintf(from->reason, TQ_REASON_SIZE, "tokenizer model \"%s\" is not understood", name);
    return false;
  }
  if (pre.size >= sizeof from->pre || (pre.size && memchr(pre.data, 0, pre.size))) {
    snprintf(from->reason, TQ_REASON_SIZE, "its pre-tokenizer has an impossible name");
    return false;
  }
  if (pre.size) memcpy(from->pre, pre.data, pre.size);
  return true;
}

static tq_status read_tables(reader *from, tq_tokenizer_kind kind, tq_error *error) {
  tq_status status = read_tokens(from, kind, error);
  if (!status) status = read_scores(from, error);
  if (!status) status = read_types(from, error);
  if (!status && kind == TQ_TOKENIZER_BYTE_LEVEL) status = read_merges(from, error);
  if (status || from->reason[0]) return status;
  status = read_special(from, error);
  if (!status) read_behaviour(from);
  return status;
}

/* What serialising finds contradictory is carried like anything else that is not understood. */
static tq_status serialize(reader *from, uint8_t **section, size_t *size, tq_error *error) {
  tq_error reason;
  tq_status status = tq_tokenizer_serialize(&from->tables.vocabulary, section, size, &reason);
  if (status == TQ_ERROR_CORRUPT) {
    snprintf(from->reason, TQ_REASON_SIZE, "%.*s", TQ_REASON_SIZE - 1, reason.message);
    return TQ_OK;
  }
  return status ? tq_fail(error, status, "%s: %s", from->name, reason.message) : TQ_OK;
}

tq_status tq_vocabulary_from_metadata(const char *name, const tq_metadata *metadata, uint8_t **section, size_t *size,
                                      char reason[TQ_REASON_SIZE], tq_error *error) {
  reader from = {.name = name, .metadata = metadata, .reason = reason};
  tq_tokenizer_kind kind;
  *section = NULL;
  *size = 0;
  reason[0] = 0;
  if (!read_kind(&from, &kind)) return TQ_OK;
  tq_status status = read_tables(&from, kind, error);
  if (!status && !reason[0]) status = serialize(&from, section, size, error);
  tq_vocabulary_tables_free(&from.tables);
  return status;
}

/* ---- writing ---- */

static bool is_byte_level(const tq_tokenizer *tokenizer) {
  return tq_tokenizer_get_kind(tokenizer) == TQ_TOKENIZER_BYTE_LEVEL;
}

/* Whether merges are ignored must be what the name implies, or make no difference. */
static tq_status check_merges(const tq_tokenizer *tokenizer, bool implied, tq_error *error) {
  bool ignores = tq_tokenizer_ignores_merges(tokenizer), every;
  if (ignores == implied) return TQ_OK;
  tq_status status = tq_merges_make_every_token(tokenizer, &every, error);
  if (status || every) return status;
  return tq_fail(error, TQ_ERROR_REFUSED,
                 "tokenizer: GGUF cannot say that pre-tokenizer \"%s\" is used with ignore_merges %s",
                 tq_tokenizer_pre(tokenizer), ignores ? "true" : "false");
}

/* What GGUF says by the pre-tokenizer's name alone must be what the tokenizer does. */
static tq_status check_behaviour(const tq_tokenizer *tokenizer, tq_error *error) {
  const char *pre = tq_tokenizer_pre(tokenizer), *normalizer = tq_tokenizer_normalizer(tokenizer);
  const tq_pretokenizer *row = is_byte_level(tokenizer) ? tq_pretokenizer_find(pre) : NULL;
  if (strcmp(normalizer, row ? row->normalizer : "") != 0) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tokenizer: GGUF cannot say that the normalizer is \"%s\"", normalizer);
  }
  tq_status status = is_byte_level(tokenizer) ? check_merges(tokenizer, row && row->ignore_merges, error) : TQ_OK;
  if (status) return status;
  for (size_t i = 0; i < SPECIAL_KEYS && !is_byte_level(tokenizer); i++) {
    int64_t assumed = special_keys[i].sentencepiece;
    bool exists = assumed >= 0 && (uint64_t)assumed < tq_tokenizer_token_count(tokenizer);
    if (exists && tq_tokenizer_special(tokenizer, special_keys[i].which) < 0) {
      return tq_fail(error, TQ_ERROR_REFUSED, "tokenizer: GGUF cannot say that there is no %s", special_keys[i].key);
    }
  }
  return TQ_OK;
}

static tq_status append_string(tq_buffer *items, tq_string text, tq_error *error) {
  uint8_t length[8];
  tq_store_u64(length, text.size);
  tq_status status = tq_buffer_append(items, length, sizeof length, error);
  return status ? status : tq_buffer_append(items, text.data, text.size, error);
}

static tq_status append_u32(tq_buffer *items, uint32_t value, tq_error *error) {
  uint8_t bytes[4];
  tq_store_u32(bytes, value);
  return tq_buffer_append(items, bytes, sizeof bytes, error);
}

static tq_status append_text(const tq_tokenizer *tokenizer, size_t i, tq_buffer *items, tq_error *error) {
  return append_string(items, tq_tokenizer_token(tokenizer, (uint32_t)i, NULL, NULL), error);
}

static tq_status append_type(const tq_tokenizer *tokenizer, size_t i, tq_buffer *items, tq_error *error) {
  tq_token_type type;
  tq_tokenizer_token(tokenizer, (uint32_t)i, &type, NULL);
  return append_u32(items, (uint32_t)type, error);
}

static tq_status append_score(const tq_tokenizer *tokenizer, size_t i, tq_buffer *items, tq_error *error) {
  float score;
  uint8_t bytes[4];
  tq_tokenizer_token(tokenizer, (uint32_t)i, NULL, &score);
  tq_store_f32(bytes, score);
  return tq_buffer_append(items, bytes, sizeof bytes, error);
}

static tq_status append_merge(const tq_tokenizer *tokenizer, size_t i, tq_buffer *items, tq_error *error) {
  tq_merge merge = tq_tokenizer_merge(tokenizer, i);
  tq_string left = tq_tokenizer_token(tokenizer, merge.left, NULL, NULL);
  tq_string right = tq_tokenizer_token(tokenizer, merge.right, NULL, NULL);
  if (memchr(left.data, ' ', left.size) || memchr(right.data, ' ', right.size)) {
    return tq_fail(error, TQ_ERROR_REFUSED, "tokenizer: merge %zu has a space in a token, which GGUF cannot hold", i);
  }
  uint8_t length[8];
  tq_store_u64(length, left.size + 1 + right.size);
  tq_status status = tq_buffer_append(items, length, sizeof length, error);
  if (!status) status = tq_buffer_append(items, left.data, left.size, error);
  if (!status) status = tq_buffer_append(items, " ", 1, error);
  return status ? status : tq_buffer_append(items, right.data, right.size, error);
}

typedef tq_status (*append_function)(const tq_tokenizer *tokenizer, size_t i, tq_buffer *items, tq_error *error);

static tq_status add_array(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, const char *key,
                           tq_value_type type, size_t count, append_function append, tq_error *error) {
  tq_buffer items = {0};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < count && !status; i++) status = append(tokenizer, i, &items, error);
  if (!status) status = tq_metadata_add_array(builder, key, type, count, items.data, items.size, error);
  tq_buffer_free(&items);
  return status;
}

static tq_status add_arrays(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error) {
  size_t tokens = tq_tokenizer_token_count(tokenizer), merges = tq_tokenizer_merge_count(tokenizer);
  tq_status status = add_array(tokenizer, builder, KEY_TOKENS, TQ_VALUE_STRING, tokens, append_text, error);
  if (!status && tq_tokenizer_has_scores(tokenizer)) {
    status = add_array(tokenizer, builder, KEY_SCORES, TQ_VALUE_F32, tokens, append_score, error);
  }
  if (!status) status = add_array(tokenizer, builder, KEY_TYPES, TQ_VALUE_I32, tokens, append_type, error);
  if (!status && is_byte_level(tokenizer)) {
    status = add_array(tokenizer, builder, KEY_MERGES, TQ_VALUE_STRING, merges, append_merge, error);
  }
  return status;
}

static tq_status add_special(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; i < SPECIAL_KEYS && !status; i++) {
    int64_t id = tq_tokenizer_special(tokenizer, special_keys[i].which);
    if (id >= 0) status = tq_metadata_add_u32(builder, special_keys[i].key, (uint32_t)id, error);
  }
  return status;
}

/* The space prefix is said only where it is not what llama.cpp takes the kind to have. */
static tq_status add_behaviour(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error) {
  bool space_prefix = tq_tokenizer_adds_space_prefix(tokenizer);
  tq_string template = tq_tokenizer_chat_template(tokenizer);
  tq_status status = tq_metadata_add_bool(builder, KEY_ADD_BOS, tq_tokenizer_adds_bos(tokenizer), error);
  if (!status) status = tq_metadata_add_bool(builder, KEY_ADD_EOS, tq_tokenizer_adds_eos(tokenizer), error);
  if (!status && template.size) {
    status = tq_metadata_add_string(builder, KEY_CHAT_TEMPLATE, template.data, template.size, error);
  }
  if (!status && space_prefix == is_byte_level(tokenizer)) {
    status = tq_metadata_add_bool(builder, KEY_SPACE_PREFIX, space_prefix, error);
  }
  return status;
}

static tq_status add_names(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error) {
  const char *model = is_byte_level(tokenizer) ? MODEL_BYTE_LEVEL : MODEL_SENTENCEPIECE;
  const char *pre = is_byte_level(tokenizer) ? tq_tokenizer_pre(tokenizer) : "default";
  tq_status status = tq_metadata_add_string(builder, KEY_MODEL, model, strlen(model), error);
  return status || !*pre ? status : tq_metadata_add_string(builder, KEY_PRE, pre, strlen(pre), error);
}

tq_status tq_vocabulary_to_metadata(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error) {
  tq_status status = check_behaviour(tokenizer, error);
  if (!status) status = add_names(tokenizer, builder, error);
  if (!status) status = add_arrays(tokenizer, builder, error);
  if (!status) status = add_special(tokenizer, builder, error);
  return status ? status : add_behaviour(tokenizer, builder, error);
}
