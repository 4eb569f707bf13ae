/* tokenizer.json: what is done to a text before and after the merging. */
#include "base/memory.h"
#include "formats/hf/tokenizer.h"
#include "tokenizer/pretokenizer.h"

#include <string.h>

#define SPACE_MARK "\xe2\x96\x81"

/* What the steps found so far amount to. */
typedef struct pipeline {
  tq_tokenizer_json *from;
  bool marks_spaces;  /* " " becomes U+2581 */
  bool prepends_mark; /* and one is put in front */
  bool nfc;
  bool byte_level;
  tq_buffer patterns; /* joined by newlines */
} pipeline;

static bool is_type(const json_t *step, const char *type) {
  const char *text = json_string_value(json_object_get(step, "type"));
  return text && strcmp(text, type) == 0;
}

static bool is_text(const json_t *step, const char *key, const char *expected) {
  const char *text = json_string_value(json_object_get(step, key));
  return text && strcmp(text, expected) == 0;
}

static tq_status not_understood(pipeline *to, const char *what, const json_t *step) {
  const char *type = json_string_value(json_object_get(step, "type"));
  return tq_tokenizer_json_stop(to->from, "%s %s is not understood", what, type ? type : "without a type");
}

/* Applies `visit` to a step, or to each of a sequence of steps. */
static tq_status each_step(pipeline *to, const json_t *step, const char *list,
                           tq_status (*visit)(pipeline *to, const json_t *step)) {
  size_t i;
  json_t *item;
  tq_status status = TQ_OK;
  if (!step || json_is_null(step)) return TQ_OK;
  if (!is_type(step, "Sequence")) return visit(to, step);
  json_array_foreach(json_object_get(step, list), i, item) {
    if (!status && !to->from->reason[0]) status = visit(to, item);
  }
  return status;
}

/* ---- normalizers ---- */

static tq_status visit_normalizer(pipeline *to, const json_t *step) {
  if (is_type(step, "NFC")) {
    to->nfc = true;
    return TQ_OK;
  }
  if (is_type(step, "Prepend") && is_text(step, "prepend", SPACE_MARK)) {
    to->prepends_mark = true;
    return TQ_OK;
  }
  if (is_type(step, "Replace") && is_text(json_object_get(step, "pattern"), "String", " ") &&
      is_text(step, "content", SPACE_MARK)) {
    to->marks_spaces = true;
    return TQ_OK;
  }
  return not_understood(to, "normalizer", step);
}

/* ---- pre-tokenizers ---- */

/* Line breaks may stand in a pattern as themselves; the tables have them as escapes, which mean the same, since a line
 * break separates patterns there. */
static tq_status add_pattern(pipeline *to, const char *pattern) {
  tq_status status = to->patterns.size ? tq_buffer_append(&to->patterns, "\n", 1, to->from->error) : TQ_OK;
  for (const char *at = pattern; !status && *at;) {
    size_t size = strcspn(at, "\r\n");
    status = tq_buffer_append(&to->patterns, at, size, to->from->error);
    at += size;
    if (status || !*at) break;
    status = tq_buffer_append(&to->patterns, *at++ == '\r' ? "\\r" : "\\n", 2, to->from->error);
  }
  return status;
}

static tq_status visit_byte_level(pipeline *to, const json_t *step) {
  const json_t *prefix = json_object_get(step, "add_prefix_space");
  if (json_is_true(prefix)) return tq_tokenizer_json_stop(to->from, "a space before the text is not understood");
  to->byte_level = true;
  if (json_is_false(json_object_get(step, "use_regex"))) return TQ_OK;
  return add_pattern(to, tq_pretokenizer_pattern("gpt-2"));
}

/* Both the scheme that marks the first piece only and the one that marks each are the dummy prefix of SentencePiece;
 * they differ from each other, and from it, in texts that begin with a space or follow a special token. */
static tq_status visit_metaspace(pipeline *to, const json_t *step) {
  const json_t *scheme = json_object_get(step, "prepend_scheme");
  bool never =
      (scheme && is_text(step, "prepend_scheme", "never")) || json_is_false(json_object_get(step, "add_prefix_space"));
  if (!is_text(step, "replacement", SPACE_MARK) || !json_is_false(json_object_get(step, "split"))) {
    return tq_tokenizer_json_stop(to->from, "a Metaspace that splits at spaces is not understood");
  }
  to->marks_spaces = true;
  to->prepends_mark = to->prepends_mark || !never;
  return TQ_OK;
}

static tq_status visit_split(pipeline *to, const json_t *step) {
  const json_t *pattern = json_object_get(step, "pattern");
  const char *regex = json_string_value(json_object_get(pattern, "Regex"));
  bool inverted = json_is_true(json_object_get(step, "invert"));
  /* Where every space was marked by a normalizer there is none left to split at. */
  if (to->marks_spaces && is_text(pattern, "String", " ")) return TQ_OK;
  bool isolates = is_text(step, "behavior", "Isolated") && !inverted;
  bool keeps_matches = is_text(step, "behavior", "Removed") && inverted;
  /* Of printable characters that stand for bytes, only ASCII digits are known to mean what they mean in the text. */
  bool sees_text = !to->byte_level || (regex && strcmp(regex, TQ_PATTERN_DIGIT_TRIPLE) == 0);
  if (!regex || !(isolates || keeps_matches) || !sees_text) return not_understood(to, "pre-tokenizer", step);
  return add_pattern(to, regex);
}

static tq_status visit_digits(pipeline *to, const json_t *step) {
  bool individual = json_is_true(json_object_get(step, "individual_digits"));
  if (!to->byte_level) return add_pattern(to, individual ? "\\p{N}" : "\\p{N}+");
  return individual ? not_understood(to, "pre-tokenizer", step) : add_pattern(to, TQ_PATTERN_MAPPED_DIGITS);
}

static tq_status visit_punctuation(pipeline *to, const json_t *step) {
  bool runs = is_text(step, "behavior", "Contiguous") && !to->byte_level;
  return runs ? add_pattern(to, TQ_PATTERN_PUNCTUATION) : not_understood(to, "pre-tokenizer", step);
}

static tq_status visit_pre_tokenizer(pipeline *to, const json_t *step) {
  if (is_type(step, "ByteLevel") && !to->byte_level) return visit_byte_level(to, step);
  if (is_type(step, "Metaspace")) return visit_metaspace(to, step);
  if (is_type(step, "Split")) return visit_split(to, step);
  if (is_type(step, "Digits")) return visit_digits(to, step);
  if (is_type(step, "Punctuation")) return visit_punctuation(to, step);
  return not_understood(to, "pre-tokenizer", step);
}

/* ---- post-processors ---- */

/* The one special token on either side of the text. */
static tq_status visit_template(pipeline *to, const json_t *step) {
  size_t i;
  json_t *item;
  bool behind = false;
  tq_vocabulary *vocabulary = &to->from->tables.vocabulary;
  json_array_foreach(json_object_get(step, "single"), i, item) {
    const char *special = json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
    const char **place = behind ? &to->from->eos : &to->from->bos;
    if (json_object_get(item, "Sequence")) {
      behind = true;
      continue;
    }
    if (!special || *place)
      return tq_tokenizer_json_stop(to->from, "a template of more than BOS, text and EOS is not understood");
    *place = special;
  }
  vocabulary->add_bos = to->from->bos != NULL;
  vocabulary->add_eos = to->from->eos != NULL;
  return TQ_OK;
}

static tq_status visit_post_processor(pipeline *to, const json_t *step) {
  if (is_type(step, "ByteLevel")) return TQ_OK; /* offsets only */
  if (is_type(step, "TemplateProcessing")) return visit_template(to, step);
  return not_understood(to, "post-processor", step);
}

/* ---- the whole ---- */

static tq_status conclude(pipeline *to, bool byte_fallback) {
  tq_vocabulary *vocabulary = &to->from->tables.vocabulary;
  if (to->byte_level && !to->marks_spaces && !to->prepends_mark) {
    tq_status status = tq_buffer_append(&to->patterns, "", 1, to->from->error);
    if (status) return status;
    vocabulary->kind = TQ_TOKENIZER_BYTE_LEVEL;
    if (to->nfc) vocabulary->normalizer = "nfc";
    vocabulary->pre = tq_pretokenizer_by_pattern((const char *)to->patterns.data, to->nfc ? "nfc" : "");
    if (vocabulary->pre) return TQ_OK;
    vocabulary->pre = "";
    return tq_tokenizer_json_stop(to->from, "pre-tokenizer pattern %s is not understood",
                                  (const char *)to->patterns.data);
  }
  if (byte_fallback && to->marks_spaces && !to->byte_level && !to->nfc && !to->patterns.size) {
    vocabulary->kind = TQ_TOKENIZER_SENTENCEPIECE;
    vocabulary->add_space_prefix = to->prepends_mark;
    return TQ_OK;
  }
  return tq_tokenizer_json_stop(to->from, "BPE that is neither byte-level nor SentencePiece's is not understood");
}

tq_status tq_tokenizer_json_read_pipeline(tq_tokenizer_json *from, bool byte_fallback) {
  pipeline to = {.from = from};
  tq_status status = each_step(&to, json_object_get(from->json, "normalizer"), "normalizers", visit_normalizer);
  if (!status && !from->reason[0]) {
    status = each_step(&to, json_object_get(from->json, "pre_tokenizer"), "pretokenizers", visit_pre_tokenizer);
  }
  if (!status && !from->reason[0]) {
    status = each_step(&to, json_object_get(from->json, "post_processor"), "processors", visit_post_processor);
  }
  if (!status && !from->reason[0]) status = conclude(&to, byte_fallback);
  tq_buffer_free(&to.patterns);
  return status;
}
