/* Encoding: special tokens are found in the raw text, and what lies between them is normalised and encoded. */
#include "base/memory.h"
#include "tokenizer/normalize.h"
#include "tokenizer/tokenizer.h"

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

static tq_status encode(tq_encoder *encoder, const char *text, size_t size, unsigned flags, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  bool special = flags & TQ_ENCODE_SPECIAL;
  tq_fragments fragments = {0};
  tq_status status = tq_split_special(tokenizer, text, size, flags & TQ_ENCODE_CONTROL, &fragments, error);
  if (!status) status = add_special(encoder, TQ_SPECIAL_BOS, special && tq_tokenizer_adds_bos(tokenizer), error);
  if (!status) status = encode_fragments(encoder, text, &fragments, error);
  if (!status) status = add_special(encoder, TQ_SPECIAL_EOS, special && tq_tokenizer_adds_eos(tokenizer), error);
  tq_free(fragments.items);
  return status;
}

tq_status tq_tokenizer_encode(const tq_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                              uint32_t **ids, size_t *count, tq_error *error) {
  tq_status status = check_understood(tokenizer, error);
  if (status) return status;
  tq_encoder encoder = {.tokenizer = tokenizer};
  status = encode(&encoder, text, size, flags, error);
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
