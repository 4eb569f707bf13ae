/* Encoding: special tokens are found in the raw text, and what lies between them is normalised and encoded. */
#include "base/memory.h"
#include "tokenizer/normalize.h"
#include "tokenizer/tokenizer.h"
#include "tq/chat.h"

#include <string.h>

tq_status tq_encoder_add(tq_encoder *encoder, uint32_t id, tq_error *error) {
  void *ids = encoder->ids;
  tq_status status = tq_grow(&ids, &encoder->capacity, encoder->count + 1, sizeof *encoder->ids, error);
  encoder->ids = ids;
  if (!status) encoder->ids[encoder->count++] = id;
  return status;
}

static bool normalizes(const tq_tokenizer *tokenizer) { return strcmp(tq_tokenizer_normalizer(tokenizer), "nfc") == 0; }

/* What is not understood is named, never replaced by a default. */
static tq_status check_understood(const tq_tokenizer *tokenizer, tq_error *error) {
  const char *pre = tq_tokenizer_pre(tokenizer), *normalizer = tq_tokenizer_normalizer(tokenizer);
  if (tokenizer->kind == TQ_TOKENIZER_BYTE_LEVEL && !tokenizer->splitter) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "pre-tokenizer \"%s\" is not understood: text cannot be encoded", pre);
  }
  if (*normalizer && !normalizes(tokenizer)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "normalizer \"%s\" is not understood: text cannot be encoded", normalizer);
  }
  return TQ_OK;
}

static tq_status encode_text(tq_encoder *encoder, const char *text, size_t size, bool after_special, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  tq_buffer normalized = {0};
  tq_status status = TQ_OK;
  if (normalizes(tokenizer)) {
    status = tq_normalize_nfc(text, size, &normalized, error);
    text = (const char *)normalized.data;
    size = normalized.size;
  }
  if (!status && tokenizer->kind == TQ_TOKENIZER_SENTENCEPIECE) {
    bool space_prefix = after_special && tq_tokenizer_adds_space_prefix(tokenizer);
    status = tq_encode_sentencepiece(encoder, text, size, space_prefix, error);
  } else if (!status) {
    status = tq_encode_byte_level(encoder, text, size, error);
  }
  tq_buffer_free(&normalized);
  return status;
}

static tq_status add_special(tq_encoder *encoder, tq_special_token which, bool wanted, tq_error *error) {
  uint32_t id = encoder->tokenizer->special[which];
  return wanted && id != TQ_SECTION_NO_TOKEN ? tq_encoder_add(encoder, id, error) : TQ_OK;
}

/* The dummy prefix goes before each stretch of text that begins the input or follows a special token, as in llama.cpp.
 */
static tq_status encode_fragments(tq_encoder *encoder, const char *text, const tq_fragments *fragments,
                                  tq_error *error) {
  bool after_special = true;
  tq_status status = TQ_OK;
  for (size_t i = 0; i < fragments->count && !status; i++) {
    tq_fragment fragment = fragments->items[i];
    bool is_text = fragment.id == TQ_SECTION_NO_TOKEN;
    status = is_text ? encode_text(encoder, text + fragment.start, fragment.size, after_special, error)
                     : tq_encoder_add(encoder, fragment.id, error);
    after_special = !is_text;
  }
  return status;
}

/* Encodes what a text was cut in, with BOS and EOS around it, and hands the ids over. */
static tq_status encode_all(tq_encoder *encoder, const char *text, const tq_fragments *fragments, bool special,
                            tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  tq_status status = add_special(encoder, TQ_SPECIAL_BOS, special && tq_tokenizer_adds_bos(tokenizer), error);
  if (!status) status = encode_fragments(encoder, text, fragments, error);
  if (!status) status = add_special(encoder, TQ_SPECIAL_EOS, special && tq_tokenizer_adds_eos(tokenizer), error);
  return status;
}

static tq_status encode(const tq_tokenizer *tokenizer, const char *text, const tq_fragments *fragments, bool special,
                        uint32_t **ids, size_t *count, tq_error *error) {
  tq_encoder encoder = {.tokenizer = tokenizer};
  tq_status status = encode_all(&encoder, text, fragments, special, error);
  tq_merger_free(&encoder.merger);
  tq_buffer_free(&encoder.scratch);
  if (!status && !encoder.ids) { /* no ids are still an array that can be released */
    encoder.ids = tq_allocate(1, sizeof *encoder.ids, error);
    if (!encoder.ids) status = TQ_ERROR_SYSTEM;
  }
  if (status) {
    tq_free(encoder.ids);
    return status;
  }
  *ids = encoder.ids;
  *count = encoder.count;
  return TQ_OK;
}

tq_status tq_tokenizer_encode(const tq_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                              uint32_t **ids, size_t *count, tq_error *error) {
  tq_fragments fragments = {0};
  tq_status status = check_understood(tokenizer, error);
  if (!status) status = tq_split_special(tokenizer, text, size, flags & TQ_ENCODE_CONTROL, &fragments, error);
  if (!status) status = encode(tokenizer, text, &fragments, flags & TQ_ENCODE_SPECIAL, ids, count, error);
  tq_free(fragments.items);
  return status;
}

/* ---- conversations ---- */

/* Texts that follow on from each other are one, so that words may reach over where they meet. */
static tq_status add_joined(tq_fragments *fragments, tq_fragment fragment, tq_error *error) {
  tq_fragment *last = fragments->count ? &fragments->items[fragments->count - 1] : NULL;
  bool joins = last && last->id == TQ_SECTION_NO_TOKEN && fragment.id == TQ_SECTION_NO_TOKEN;
  if (!joins) return tq_fragments_add(fragments, fragment, error);
  last->size += fragment.size;
  return TQ_OK;
}

/* Adds what the stretch of text that begins at `start` is cut in. */
static tq_status cut_stretch(const tq_tokenizer *tokenizer, const char *text, tq_fragment stretch, bool control,
                             tq_fragments *fragments, tq_error *error) {
  tq_fragments cut = {0};
  tq_status status = tq_split_special(tokenizer, text + stretch.start, stretch.size, control, &cut, error);
  for (size_t i = 0; i < cut.count && !status; i++) {
    cut.items[i].start += stretch.start;
    status = add_joined(fragments, cut.items[i], error);
  }
  tq_free(cut.items);
  return status;
}

/* The template's own pieces are cut at control tokens. */
static tq_status cut_markup(const tq_tokenizer *tokenizer, const tq_chat_text *text, tq_fragments *fragments,
                            tq_error *error) {
  tq_status status = TQ_OK;
  size_t start = 0;
  for (size_t i = 0; i < text->piece_count && !status; start += text->pieces[i++].size) {
    tq_fragment piece = {start, text->pieces[i].size, TQ_SECTION_NO_TOKEN};
    status = text->pieces[i].markup ? cut_stretch(tokenizer, text->text, piece, true, fragments, error)
                                    : add_joined(fragments, piece, error);
  }
  return status;
}

/* What lies between those, whoever wrote it, at user-defined tokens. */
static tq_status cut_chat(const tq_tokenizer *tokenizer, const tq_chat_text *text, tq_fragments *fragments,
                          tq_error *error) {
  tq_fragments rough = {0};
  tq_status status = cut_markup(tokenizer, text, &rough, error);
  for (size_t i = 0; i < rough.count && !status; i++) {
    bool is_text = rough.items[i].id == TQ_SECTION_NO_TOKEN;
    status = is_text ? cut_stretch(tokenizer, text->text, rough.items[i], false, fragments, error)
                     : tq_fragments_add(fragments, rough.items[i], error);
  }
  tq_free(rough.items);
  return status;
}

tq_status tq_chat_encode(const tq_tokenizer *tokenizer, const tq_chat_text *text, unsigned flags, uint32_t **ids,
                         size_t *count, tq_error *error) {
  tq_fragments fragments = {0};
  tq_status status = check_understood(tokenizer, error);
  if (!status) status = cut_chat(tokenizer, text, &fragments, error);
  if (!status) status = encode(tokenizer, text->text, &fragments, flags & TQ_ENCODE_SPECIAL, ids, count, error);
  tq_free(fragments.items);
  return status;
}
