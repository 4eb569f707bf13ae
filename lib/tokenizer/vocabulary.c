/* What an opened tokenizer says of itself. */
#include "tokenizer/tokenizer.h"

#include "base/hash.h"

#include <string.h>

tq_tokenizer_kind tq_tokenizer_get_kind(const tq_tokenizer *tokenizer) { return tokenizer->kind; }

const char *tq_tokenizer_pre(const tq_tokenizer *tokenizer) { return (const char *)tokenizer->tables[TQ_TABLE_PRE]; }

const char *tq_tokenizer_normalizer(const tq_tokenizer *tokenizer) {
  return (const char *)tokenizer->tables[TQ_TABLE_NORMALIZER];
}

tq_string tq_tokenizer_chat_template(const tq_tokenizer *tokenizer) {
  return (tq_string){(const char *)tokenizer->tables[TQ_TABLE_CHAT_TEMPLATE],
                     tokenizer->table_sizes[TQ_TABLE_CHAT_TEMPLATE]};
}

size_t tq_tokenizer_token_count(const tq_tokenizer *tokenizer) { return tokenizer->token_count; }

size_t tq_tokenizer_merge_count(const tq_tokenizer *tokenizer) { return tokenizer->merge_count; }

bool tq_tokenizer_has_scores(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_SCORES; }

bool tq_tokenizer_adds_bos(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_ADD_BOS; }

bool tq_tokenizer_adds_eos(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_ADD_EOS; }

bool tq_tokenizer_adds_space_prefix(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_SPACE_PREFIX; }

bool tq_tokenizer_ignores_merges(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_IGNORE_MERGES; }

bool tq_tokenizer_cleans_up_spaces(const tq_tokenizer *tokenizer) { return tokenizer->flags & TQ_FLAG_CLEAN_UP_SPACES; }

tq_string tq_tokenizer_token(const tq_tokenizer *tokenizer, uint32_t id, tq_token_type *type, float *score) {
  if (type) *type = tq_token_type_of(tokenizer, id);
  if (score) {
    *score = tq_tokenizer_has_scores(tokenizer) ? tq_load_f32(tokenizer->tables[TQ_TABLE_SCORES] + 4 * (size_t)id) : 0;
  }
  return tq_token_text(tokenizer, id);
}

tq_merge tq_tokenizer_merge(const tq_tokenizer *tokenizer, size_t rank) {
  const uint8_t *merge = tokenizer->tables[TQ_TABLE_MERGES] + 8 * rank;
  return (tq_merge){tq_load_u32(merge), tq_load_u32(merge + 4)};
}

int64_t tq_tokenizer_special(const tq_tokenizer *tokenizer, tq_special_token which) {
  uint32_t id = tokenizer->special[which];
  return id == TQ_SECTION_NO_TOKEN ? -1 : (int64_t)id;
}

uint32_t tq_token_find(const tq_tokenizer *tokenizer, const char *text, size_t size) {
  if (size == 0 || size > tokenizer->longest_text) return TQ_SECTION_NO_TOKEN;
  tq_index_cursor cursor = tq_index_start(tokenizer->text_index, tq_hash_xxh3_64(text, size));
  for (uint32_t id; tq_index_next(&cursor, &id);) {
    tq_string found = tq_token_text(tokenizer, id);
    if (found.size == size && memcmp(found.data, text, size) == 0) return id;
  }
  return TQ_SECTION_NO_TOKEN;
}

uint32_t tq_token_find_ordinary(const tq_tokenizer *tokenizer, const char *text, size_t size) {
  uint32_t id = tq_token_find(tokenizer, text, size);
  if (id == TQ_SECTION_NO_TOKEN) return id;
  tq_token_type type = tq_token_type_of(tokenizer, id);
  return type == TQ_TOKEN_NORMAL || type == TQ_TOKEN_UNUSED ? id : TQ_SECTION_NO_TOKEN;
}

int64_t tq_tokenizer_find(const tq_tokenizer *tokenizer, const char *text, size_t size) {
  uint32_t id = tq_token_find(tokenizer, text, size);
  return id == TQ_SECTION_NO_TOKEN ? -1 : (int64_t)id;
}

uint64_t tq_pair_hash(uint32_t left, uint32_t right) {
  uint8_t pair[8];
  tq_store_u32(pair, left);
  tq_store_u32(pair + 4, right);
  return tq_hash_xxh3_64(pair, sizeof pair);
}

bool tq_tokenizer_ends_generation(const tq_tokenizer *tokenizer, uint32_t id) {
  static const char *const ends[] = {"<|eot_id|>",      "<|eom_id|>",    "<|im_end|>",    "<|end|>",
                                     "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>"};
  if (id >= tokenizer->token_count) return false;
  if (id == tokenizer->special[TQ_SPECIAL_EOS] || id == tokenizer->special[TQ_SPECIAL_END_OF_TURN]) return true;
  if (tq_token_type_of(tokenizer, id) != TQ_TOKEN_CONTROL) return false;
  tq_string text = tq_token_text(tokenizer, id);
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    if (text.size == strlen(ends[i]) && memcmp(text.data, ends[i], text.size) == 0) return true;
  }
  return false;
}

/* ---- digest ---- */

static void hash_table(const void *data, size_t size, uint8_t *digest) {
  tq_hash hash;
  tq_hash_bytes(TQ_HASH_XXH3_128, data, size, &hash);
  memcpy(digest, hash.bytes, TQ_DIGEST_SIZE);
}

/* A hash over the hashes of the tables, in a buffer of fixed size: it allocates nothing, so that it cannot fail. */
void tq_tokenizer_digest(const tq_tokenizer *tokenizer, uint8_t digest[16]) {
  enum { HASHES = 6, NUMBERS = 3 + TQ_SPECIAL_COUNT };
  bool sentencepiece = tokenizer->kind == TQ_TOKENIZER_SENTENCEPIECE;
  tq_section_table decisive = sentencepiece ? TQ_TABLE_SCORES : TQ_TABLE_MERGES;
  const tq_section_table tables[] = {TQ_TABLE_TEXT_OFFSETS, TQ_TABLE_TEXTS, TQ_TABLE_TYPES, decisive};
  const char *pre = tokenizer->pretokenizer ? tokenizer->pretokenizer->names[0] : tq_tokenizer_pre(tokenizer);
  const char *normalizer = tq_tokenizer_normalizer(tokenizer);
  uint8_t record[4 * NUMBERS + TQ_DIGEST_SIZE * HASHES], *at = record;
  uint32_t numbers[NUMBERS] = {(uint32_t)tokenizer->kind, tokenizer->token_count, tokenizer->merge_count};
  memcpy(numbers + 3, tokenizer->special, sizeof tokenizer->special);
  for (size_t i = 0; i < NUMBERS; i++, at += 4) tq_store_u32(at, numbers[i]);
  hash_table(pre, strlen(pre), at);
  hash_table(normalizer, strlen(normalizer), at += TQ_DIGEST_SIZE);
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    hash_table(tokenizer->tables[tables[i]], tokenizer->table_sizes[tables[i]], at += TQ_DIGEST_SIZE);
  }
  hash_table(record, sizeof record, digest);
}
