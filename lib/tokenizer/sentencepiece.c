/* SentencePiece's BPE as llama.cpp does it: characters are merged where the two together are a token, that of the
 * highest score first; what is no token in the end is spelled in byte tokens. */
#include "tokenizer/tokenizer.h"

#include "tokenizer/utf8.h"

#include <string.h>

static const char escaped_space[] = "\xe2\x96\x81"; /* U+2581 */

/* A score as an urgency: the higher the score, the smaller the number. */
static uint32_t urgency_of(float score) {
  float positive_zero = score + 0.0f;
  uint32_t bits;
  memcpy(&bits, &positive_zero, sizeof bits);
  uint32_t ascending = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return ~ascending;
}

static bool pair(const void *context, const tq_symbol *left, const tq_symbol *right, uint32_t *urgency,
                 uint32_t *result) {
  const tq_encoder *encoder = context;
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  const char *text = (const char *)encoder->scratch.data + left->start;
  uint32_t id = tq_token_find_ordinary(tokenizer, text, (size_t)left->size + right->size);
  if (id == TQ_SECTION_NO_TOKEN) return false;
  *urgency = urgency_of(tq_load_f32(tokenizer->tables[TQ_TABLE_SCORES] + 4 * (size_t)id));
  *result = id;
  return true;
}

/* One symbol per character; a byte that is not part of well-formed UTF-8 is one of its own. */
static tq_status add_symbols(tq_encoder *encoder, tq_error *error) {
  const char *text = (const char *)encoder->scratch.data;
  size_t size = encoder->scratch.size;
  tq_status status = TQ_OK;
  tq_merger_reset(&encoder->merger);
  for (size_t at = 0; at < size && !status;) {
    size_t length = tq_utf8_length(text + at, size - at);
    if (length == 0) length = 1;
    uint32_t id = tq_token_find_ordinary(encoder->tokenizer, text + at, length);
    status = tq_merger_add(&encoder->merger, (uint32_t)at, (uint32_t)length, id, error);
    at += length;
  }
  return status;
}

static bool has_byte_tokens(const tq_tokenizer *tokenizer, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    if (tokenizer->byte_tokens[bytes[i]] == TQ_SECTION_NO_TOKEN) return false;
  }
  return true;
}

/* A symbol that is no token: its bytes, or else the unknown token, of which a run of such symbols makes one. */
static tq_status add_fallback(tq_encoder *encoder, const tq_symbol *symbol, bool *unknown, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  const uint8_t *bytes = encoder->scratch.data + symbol->start;
  tq_status status = TQ_OK;
  if (has_byte_tokens(tokenizer, bytes, symbol->size)) {
    *unknown = false;
    for (size_t i = 0; i < symbol->size && !status; i++) {
      status = tq_encoder_add(encoder, tokenizer->byte_tokens[bytes[i]], error);
    }
    return status;
  }
  uint32_t id = tokenizer->special[TQ_SPECIAL_UNKNOWN];
  if (id == TQ_SECTION_NO_TOKEN) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "the vocabulary has no token for \"%.*s\"", (int)symbol->size,
                   (const char *)bytes);
  }
  if (!*unknown) status = tq_encoder_add(encoder, id, error);
  *unknown = true;
  return status;
}

static tq_status add_tokens(tq_encoder *encoder, tq_error *error) {
  const tq_symbol *symbols = encoder->merger.symbols;
  bool unknown = false;
  tq_status status = TQ_OK;
  for (uint32_t i = encoder->merger.count ? 0 : TQ_NO_SYMBOL; i != TQ_NO_SYMBOL && !status; i = symbols[i].next) {
    if (symbols[i].id == TQ_SECTION_NO_TOKEN) {
      status = add_fallback(encoder, &symbols[i], &unknown, error);
    } else {
      status = tq_encoder_add(encoder, symbols[i].id, error);
      unknown = false;
    }
  }
  return status;
}

static tq_status escape_spaces(tq_buffer *escaped, const char *text, size_t size, tq_error *error) {
  const size_t mark = sizeof escaped_space - 1;
  tq_status status = TQ_OK;
  for (const char *end = text + size; text < end && !status;) {
    const char *space = memchr(text, ' ', (size_t)(end - text));
    status = tq_buffer_append(escaped, text, (size_t)((space ? space : end) - text), error);
    if (space && !status) status = tq_buffer_append(escaped, escaped_space, mark, error);
    text = space ? space + 1 : end;
  }
  return status;
}

tq_status tq_encode_sentencepiece(tq_encoder *encoder, const char *text, size_t size, bool space_prefix,
                                  tq_error *error) {
  encoder->scratch.size = 0;
  tq_status status = space_prefix ? escape_spaces(&encoder->scratch, " ", 1, error) : TQ_OK;
  if (!status) status = escape_spaces(&encoder->scratch, text, size, error);
  if (status) return status;
  if (encoder->scratch.size >= UINT32_MAX) return tq_fail(error, TQ_ERROR_USAGE, "a text of 4 GiB or more");
  status = add_symbols(encoder, error);
  if (!status) status = tq_merger_run(&encoder->merger, pair, encoder, error);
  return status ? status : add_tokens(encoder, error);
}
