/* The tokenizer's files, made from a tokenizer's tables so that Hugging Face's libraries tokenize the same. */
#include "base/memory.h"
#include "formats/hf/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum { PIECE_SIZE = 1 << 16 }; /* text is handed on in pieces of about this size */

#define SPACE_MARK "\xe2\x96\x81"

typedef struct writer {
  const tq_tokenizer *tokenizer;
  tq_sink sink;
  void *context;
  tq_buffer text;
  tq_error *error;
  tq_status status; /* the first failure; nothing is written behind it */
} writer;

static void flush(writer *to) {
  if (!to->status && to->text.size) to->status = to->sink(to->context, to->text.data, to->text.size, to->error);
  to->text.size = 0;
}

static void put(writer *to, const char *text) {
  if (!to->status) to->status = tq_buffer_append(&to->text, text, strlen(text), to->error);
  if (to->text.size >= PIECE_SIZE) flush(to);
}

static void put_number(writer *to, uint64_t number) {
  if (!to->status) to->status = tq_buffer_format(&to->text, to->error, "%llu", (unsigned long long)number);
}

static void put_string(writer *to, const char *data, size_t size) {
  if (!to->status) to->status = tq_json_print_string(&to->text, "token", data, size, to->error);
}

static tq_string token_at(const writer *to, size_t id, tq_token_type *type) {
  float score;
  return tq_tokenizer_token(to->tokenizer, (uint32_t)id, type, &score);
}

/* A token that exists only because the embedding has a row for it; a reader makes it up again. */
static bool is_padding(const writer *to, size_t id) {
  tq_token_type type;
  char name[32];
  tq_string text = token_at(to, id, &type);
  int size = snprintf(name, sizeof name, "[PAD%zu]", id);
  return type == TQ_TOKEN_UNUSED && text.size == (size_t)size && memcmp(text.data, name, text.size) == 0;
}

/* Where the padding at the vocabulary's end begins. */
static size_t written_count(const writer *to) {
  size_t count = tq_tokenizer_token_count(to->tokenizer);
  while (count > 0 && is_padding(to, count - 1)) count--;
  return count;
}

static bool is_sentencepiece(const tq_tokenizer *tokenizer) {
  return tq_tokenizer_get_kind(tokenizer) == TQ_TOKENIZER_SENTENCEPIECE;
}

/* JSON objects have no two members of one name. */
static tq_status check_unique(const writer *to, size_t count) {
  char printable[64];
  for (size_t id = 0; id < count; id++) {
    tq_token_type type;
    tq_string text = token_at(to, id, &type);
    int64_t found = tq_tokenizer_find(to->tokenizer, text.data, text.size);
    if (found == (int64_t)id) continue;
    return tq_fail(to->error, TQ_ERROR_REFUSED, "tokenizer.json cannot hold token '%s' twice, as %zu and %lld",
                   tq_printable(text.data, text.size, printable, sizeof printable), id, (long long)found);
  }
  return TQ_OK;
}

/* ---- the parts ---- */

static void put_added(writer *to, size_t count) {
  bool any = false;
  put(to, "  \"added_tokens\": [");
  for (size_t id = 0; id < count; id++) {
    tq_token_type type;
    tq_string text = token_at(to, id, &type);
    bool special = type == TQ_TOKEN_CONTROL || type == TQ_TOKEN_UNKNOWN;
    if (!special && type != TQ_TOKEN_USER_DEFINED) continue;
    put(to, any ? ",\n    {\"id\": " : "\n    {\"id\": ");
    put_number(to, id);
    put(to, ", \"content\": ");
    put_string(to, text.data, text.size);
    put(to, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": ");
    put(to, special ? "true}" : "false}");
    any = true;
  }
  put(to, any ? "\n  ],\n" : "],\n");
}

static void put_normalizer(writer *to) {
  static const char mark[] =
      "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" SPACE_MARK "\"}";
  put(to, "  \"normalizer\": ");
  if (!is_sentencepiece(to->tokenizer)) {
    put(to, strcmp(tq_tokenizer_normalizer(to->tokenizer), "nfc") == 0 ? "{\"type\": \"NFC\"},\n" : "null,\n");
    return;
  }
  if (tq_tokenizer_adds_space_prefix(to->tokenizer)) {
    put(to, "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"" SPACE_MARK "\"}, ");
    put(to, mark);
    put(to, "]},\n");
    return;
  }
  put(to, mark);
  put(to, ",\n");
}

static void put_splits(writer *to, const char *patterns) {
  static const char byte_level[] =
      "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": ";
  if (strcmp(patterns, tq_pretokenizer_pattern("gpt-2")) == 0) {
    put(to, byte_level);
    put(to, "true},\n");
    return;
  }
  put(to, "{\"type\": \"Sequence\", \"pretokenizers\": [");
  while (*patterns) {
    size_t size = strcspn(patterns, "\n");
    put(to, "{\"type\": \"Split\", \"pattern\": {\"Regex\": ");
    put_string(to, patterns, size);
    put(to, "}, \"behavior\": \"Isolated\", \"invert\": false}, ");
    patterns += size + (patterns[size] == '\n');
  }
  put(to, byte_level);
  put(to, "false}]},\n");
}

static void put_pre_tokenizer(writer *to, const char *patterns) {
  put(to, "  \"pre_tokenizer\": ");
  if (is_sentencepiece(to->tokenizer))
    put(to, "null,\n");
  else
    put_splits(to, patterns);
}

static void put_special(writer *to, int64_t id) {
  tq_token_type type;
  tq_string text = token_at(to, (size_t)id, &type);
  put_string(to, text.data, text.size);
}

/* One side of a template: BOS, the text "A" or "B", EOS. */
static void put_sequence(writer *to, const char *name, int64_t bos, int64_t eos, const char *type_id) {
  if (bos >= 0) {
    put(to, "{\"SpecialToken\": {\"id\": ");
    put_special(to, bos);
    put(to, ", \"type_id\": ");
    put(to, type_id);
    put(to, "}}, ");
  }
  put(to, "{\"Sequence\": {\"id\": \"");
  put(to, name);
  put(to, "\", \"type_id\": ");
  put(to, type_id);
  put(to, "}}");
  if (eos >= 0) {
    put(to, ", {\"SpecialToken\": {\"id\": ");
    put_special(to, eos);
    put(to, ", \"type_id\": ");
    put(to, type_id);
    put(to, "}}");
  }
}

static void put_template_tokens(writer *to, int64_t bos, int64_t eos) {
  int64_t ids[2] = {bos, eos == bos ? -1 : eos};
  bool any = false;
  put(to, "\"special_tokens\": {");
  for (size_t i = 0; i < 2; i++) {
    if (ids[i] < 0) continue;
    if (any) put(to, ", ");
    put_special(to, ids[i]);
    put(to, ": {\"id\": ");
    put_special(to, ids[i]);
    put(to, ", \"ids\": [");
    put_number(to, (uint64_t)ids[i]);
    put(to, "], \"tokens\": [");
    put_special(to, ids[i]);
    put(to, "]}");
    any = true;
  }
  put(to, "}},\n");
}

static void put_post_processor(writer *to) {
  int64_t bos = tq_tokenizer_adds_bos(to->tokenizer) ? tq_tokenizer_special(to->tokenizer, TQ_SPECIAL_BOS) : -1;
  int64_t eos = tq_tokenizer_adds_eos(to->tokenizer) ? tq_tokenizer_special(to->tokenizer, TQ_SPECIAL_EOS) : -1;
  put(to, "  \"post_processor\": ");
  if (bos < 0 && eos < 0) {
    put(to, is_sentencepiece(to->tokenizer)
                ? "null,\n"
                : "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true},\n");
    return;
  }
  put(to, "{\"type\": \"TemplateProcessing\", \"single\": [");
  put_sequence(to, "A", bos, eos, "0");
  put(to, "], \"pair\": [");
  put_sequence(to, "A", bos, eos, "0");
  put(to, ", ");
  put_sequence(to, "B", bos, eos, "1");
  put(to, "], ");
  put_template_tokens(to, bos, eos);
}

static void put_decoder(writer *to) {
  put(to, "  \"decoder\": ");
  if (!is_sentencepiece(to->tokenizer)) {
    put(to, "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true, \"use_regex\": true},\n");
    return;
  }
  put(to, "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"" SPACE_MARK
          "\"}, \"content\": \" \"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}");
  if (tq_tokenizer_adds_space_prefix(to->tokenizer)) {
    put(to, ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}");
  }
  put(to, "]},\n");
}

static void put_vocabulary(writer *to, size_t count) {
  put(to, "    \"vocab\": {");
  for (size_t id = 0; id < count; id++) {
    tq_token_type type;
    tq_string text = token_at(to, id, &type);
    put(to, id ? ",\n      " : "\n      ");
    put_string(to, text.data, text.size);
    put(to, ": ");
    put_number(to, id);
  }
  put(to, "\n    },\n");
}

/* "left right" is what every version of the libraries reads; it cannot say a token with a space in it. */
static bool merges_have_spaces(const writer *to, const tq_merge *merges, size_t count) {
  for (size_t i = 0; i < count; i++) {
    tq_token_type type;
    tq_string left = token_at(to, merges[i].left, &type), right = token_at(to, merges[i].right, &type);
    if (memchr(left.data, ' ', left.size) || memchr(right.data, ' ', right.size)) return true;
  }
  return false;
}

static void put_merges(writer *to, const tq_merge *merges, size_t count) {
  bool pairs = merges_have_spaces(to, merges, count);
  tq_buffer line = {0};
  put(to, "    \"merges\": [");
  for (size_t i = 0; !to->status && i < count; i++) {
    tq_token_type type;
    tq_string left = token_at(to, merges[i].left, &type), right = token_at(to, merges[i].right, &type);
    put(to, i ? ",\n      " : "\n      ");
    if (pairs) {
      put(to, "[");
      put_string(to, left.data, left.size);
      put(to, ", ");
      put_string(to, right.data, right.size);
      put(to, "]");
      continue;
    }
    line.size = 0;
    to->status = tq_buffer_append(&line, left.data, left.size, to->error);
    if (!to->status) to->status = tq_buffer_append(&line, " ", 1, to->error);
    if (!to->status) to->status = tq_buffer_append(&line, right.data, right.size, to->error);
    put_string(to, (const char *)line.data, line.size);
  }
  tq_buffer_free(&line);
  put(to, "\n    ]\n");
}

static void put_model(writer *to, size_t count, const tq_merge *merges, size_t merge_count) {
  int64_t unknown = tq_tokenizer_special(to->tokenizer, TQ_SPECIAL_UNKNOWN);
  bool sentencepiece = is_sentencepiece(to->tokenizer);
  put(to, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": ");
  if (sentencepiece && unknown >= 0)
    put_special(to, unknown);
  else
    put(to, "null");
  put(to, ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": ");
  put(to, sentencepiece ? "true,\n    \"byte_fallback\": true" : "false,\n    \"byte_fallback\": false");
  put(to, ",\n    \"ignore_merges\": ");
  put(to, tq_tokenizer_ignores_merges(to->tokenizer) ? "true,\n" : "false,\n");
  put_vocabulary(to, count);
  put_merges(to, merges, merge_count);
  put(to, "  }\n}\n");
}

/* The tables' merges are read one by one, so that both kinds can be written from one array. */
static tq_status list_merges(const tq_tokenizer *tokenizer, tq_merge **merges, size_t *count, tq_error *error) {
  if (is_sentencepiece(tokenizer)) return tq_sentencepiece_merges(tokenizer, merges, count, error);
  *count = tq_tokenizer_merge_count(tokenizer);
  *merges = tq_allocate(*count, sizeof **merges, error);
  if (!*merges) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < *count; i++) (*merges)[i] = tq_tokenizer_merge(tokenizer, i);
  return TQ_OK;
}

tq_status tq_tokenizer_json_write(const tq_tokenizer *tokenizer, tq_sink sink, void *context, tq_error *error) {
  writer to = {.tokenizer = tokenizer, .sink = sink, .context = context, .error = error};
  const char *patterns = tq_pretokenizer_pattern(tq_tokenizer_pre(tokenizer));
  size_t count = written_count(&to), merge_count = 0;
  tq_merge *merges = NULL;
  if (!is_sentencepiece(tokenizer) && !patterns) {
    return tq_fail(error, TQ_ERROR_REFUSED,
                   "tokenizer.json cannot name a pre-tokenizer, and the pattern of %s is not known",
                   tq_tokenizer_pre(tokenizer));
  }
  tq_status status = check_unique(&to, count);
  if (!status) status = list_merges(tokenizer, &merges, &merge_count, error);
  if (status) return status;
  put(&to, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
  put_added(&to, count);
  put_normalizer(&to);
  put_pre_tokenizer(&to, patterns);
  put_post_processor(&to);
  put_decoder(&to);
  put_model(&to, count, merges, merge_count);
  flush(&to);
  tq_buffer_free(&to.text);
  tq_free(merges);
  return to.status;
}
