/* Byte-level BPE: words of the pre-tokenizer, as bytes, are merged in the order of the ranks. */
#include "tokenizer/tokenizer.h"

#include "base/memory.h"

static bool pair(const void *context, const tq_symbol *left, const tq_symbol *right, uint32_t *urgency,
                 uint32_t *result) {
  const tq_tokenizer *tokenizer = context;
  if (left->id == TQ_SECTION_NO_TOKEN || right->id == TQ_SECTION_NO_TOKEN) return false;
  const uint8_t *merges = tokenizer->tables[TQ_TABLE_MERGES];
  tq_index_cursor cursor = tq_index_start(tokenizer->pair_index, tq_pair_hash(left->id, right->id));
  for (uint32_t rank; tq_index_next(&cursor, &rank);) {
    const uint8_t *merge = merges + 8 * (size_t)rank;
    if (tq_load_u32(merge) != left->id || tq_load_u32(merge + 4) != right->id) continue;
    *urgency = rank;
    *result = tq_load_u32(tokenizer->tables[TQ_TABLE_MERGE_RESULTS] + 4 * (size_t)rank);
    return true;
  }
  return false;
}

/* The token that a whole word is, or TQ_SECTION_NO_TOKEN. */
static tq_status find_word(tq_encoder *encoder, const char *word, size_t size, uint32_t *id, tq_error *error) {
  *id = TQ_SECTION_NO_TOKEN;
  if (size > encoder->tokenizer->longest_text) return TQ_OK;
  encoder->scratch.size = 0;
  tq_status status = TQ_OK;
  for (size_t i = 0; i < size && !status; i++) {
    char printable[2];
    size_t length = tq_byte_to_printable((uint8_t)word[i], printable);
    status = tq_buffer_append(&encoder->scratch, printable, length, error);
  }
  if (status) return status;
  *id = tq_token_find_ordinary(encoder->tokenizer, (const char *)encoder->scratch.data, encoder->scratch.size);
  return TQ_OK;
}

static tq_status add_token(tq_encoder *encoder, const tq_symbol *symbol, const char *word, tq_error *error) {
  uint32_t id = symbol->id;
  if (id == TQ_SECTION_NO_TOKEN) id = encoder->tokenizer->special[TQ_SPECIAL_UNKNOWN];
  if (id != TQ_SECTION_NO_TOKEN) return tq_encoder_add(encoder, id, error);
  return tq_fail(error, TQ_ERROR_CORRUPT, "the vocabulary has no token for byte 0x%02X",
                 (unsigned)(uint8_t)word[symbol->start]);
}

static tq_status merge_word(tq_encoder *encoder, const char *word, size_t size, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  tq_status status = TQ_OK;
  tq_merger_reset(&encoder->merger);
  for (size_t i = 0; i < size && !status; i++) {
    status = tq_merger_add(&encoder->merger, (uint32_t)i, 1, tokenizer->byte_tokens[(uint8_t)word[i]], error);
  }
  return status ? status : tq_merger_run(&encoder->merger, pair, tokenizer, error);
}

static tq_status encode_word(tq_encoder *encoder, const char *word, size_t size, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  tq_status status = TQ_OK;
  if (tq_tokenizer_ignores_merges(tokenizer)) {
    uint32_t id;
    status = find_word(encoder, word, size, &id, error);
    if (status) return status;
    if (id != TQ_SECTION_NO_TOKEN) return tq_encoder_add(encoder, id, error);
  }
  status = merge_word(encoder, word, size, error);
  for (uint32_t i = 0; i != TQ_NO_SYMBOL && !status; i = encoder->merger.symbols[i].next) {
    status = add_token(encoder, &encoder->merger.symbols[i], word, error);
  }
  return status;
}

/* Whether a text can be a word at all: what the patterns cut when it stands alone they cut anywhere, unless it begins
 * with a space, whose words depend on what follows. */
static tq_status can_be_word(const tq_tokenizer *tokenizer, const char *text, size_t size, bool *can, tq_error *error) {
  tq_words words = {0};
  *can = size > 0;
  if (size == 0 || text[0] <= ' ' || text[0] > '~') return TQ_OK;
  tq_status status = tq_splitter_split(tokenizer->splitter, text, size, &words, error);
  *can = words.count == 1;
  tq_free(words.ends);
  return status;
}

/* The bytes that a token's text stands for; false when a word cannot become that token by its text. */
static bool word_of_token(const tq_tokenizer *tokenizer, uint32_t id, char *word, size_t *size) {
  tq_string text = tq_token_text(tokenizer, id);
  *size = 0;
  if (tq_token_find_ordinary(tokenizer, text.data, text.size) != id) return false;
  for (size_t at = 0; at < text.size;) {
    int byte = tq_printable_next(text, &at);
    if (byte < 0) return false;
    word[(*size)++] = (char)byte;
  }
  return true;
}

static tq_status merges_make(tq_encoder *encoder, uint32_t id, char *word, bool *same, tq_error *error) {
  const tq_tokenizer *tokenizer = encoder->tokenizer;
  size_t size;
  bool can;
  *same = true;
  if (!word_of_token(tokenizer, id, word, &size)) return TQ_OK;
  tq_status status = can_be_word(tokenizer, word, size, &can, error);
  if (status || !can) return status;
  status = merge_word(encoder, word, size, error);
  if (!status) *same = encoder->merger.symbols[0].size == size && encoder->merger.symbols[0].id == id;
  return status;
}

tq_status tq_merges_make_every_token(const tq_tokenizer *tokenizer, bool *every, tq_error *error) {
  tq_encoder encoder = {.tokenizer = tokenizer};
  *every = tokenizer->splitter != NULL;
  char *word = tq_allocate((size_t)tokenizer->longest_text + 1, 1, error);
  tq_status status = word ? TQ_OK : TQ_ERROR_SYSTEM;
  for (uint32_t id = 0; !status && *every && id < tokenizer->token_count; id++) {
    status = merges_make(&encoder, id, word, every, error);
  }
  tq_merger_free(&encoder.merger);
  tq_free(word);
  return status;
}

tq_status tq_encode_byte_level(tq_encoder *encoder, const char *text, size_t size, tq_error *error) {
  if (size >= UINT32_MAX) return tq_fail(error, TQ_ERROR_USAGE, "a text of 4 GiB or more");
  tq_words words = {0};
  tq_status status = tq_splitter_split(encoder->tokenizer->splitter, text, size, &words, error);
  for (size_t i = 0, begin = 0; i < words.count && !status; begin = words.ends[i++]) {
    status = encode_word(encoder, text + begin, words.ends[i] - begin, error);
  }
  tq_free(words.ends);
  return status;
}
