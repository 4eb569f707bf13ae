/* Opening a section: everything that later code relies on is checked here, once, in time linear in the section. */
#include "tokenizer/tokenizer.h"

#include "base/hash.h"
#include "base/memory.h"

#include <stdio.h>
#include <string.h>

static const char *const table_names[TQ_TABLE_COUNT] = {
    "pre-tokenizer name", "normalizer name", "chat template", "text offsets", "texts", "types", "scores", "merges",
    "merge results",      "matched tokens",  "text index",    "pair index"};

static tq_status corrupt(tq_error *error, const char *what) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "tokenizer section: %s", what);
}

static tq_status corrupt_table(tq_error *error, tq_section_table table, const char *what) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "tokenizer section: table \"%s\" %s", table_names[table], what);
}

/* ---- header ---- */

static bool is_known_kind(uint32_t kind) {
  return kind == TQ_TOKENIZER_SENTENCEPIECE || kind == TQ_TOKENIZER_BYTE_LEVEL;
}

static tq_status read_index(const uint8_t *field, tq_index *index, bool present, tq_error *error) {
  index->bits = tq_load_u32(field);
  index->seed = tq_load_u32(field + 4);
  bool valid = present ? index->bits >= TQ_INDEX_LEAST_BITS && index->bits <= TQ_INDEX_MOST_BITS
                       : index->bits == 0 && index->seed == 0;
  return valid ? TQ_OK : corrupt(error, "an index has an impossible size");
}

static tq_status read_special(tq_tokenizer *tokenizer, const uint8_t *section, tq_error *error) {
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) {
    uint32_t id = tq_load_u32(section + TQ_AT_SPECIAL + 4 * i);
    if (id != TQ_SECTION_NO_TOKEN && id >= tokenizer->token_count) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "tokenizer section: special token %zu has id %u of %u tokens", i, id,
                     tokenizer->token_count);
    }
    tokenizer->special[i] = id;
  }
  return TQ_OK;
}

static tq_status read_header(tq_tokenizer *tokenizer, const uint8_t *section, size_t size, tq_error *error) {
  if ((uintptr_t)section % TQ_SECTION_ALIGNMENT) {
    return tq_fail(error, TQ_ERROR_USAGE, "a tokenizer section must be aligned to %d bytes", TQ_SECTION_ALIGNMENT);
  }
  if (size < TQ_SECTION_HEADER_SIZE) return corrupt(error, "shorter than its header");
  if (memcmp(section + TQ_AT_MAGIC, TQ_SECTION_MAGIC, 4) != 0) return corrupt(error, "wrong magic");
  uint32_t version = tq_load_u32(section + TQ_AT_VERSION), kind = tq_load_u32(section + TQ_AT_KIND);
  if (version != TQ_SECTION_VERSION) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "tokenizer section: version %u is not understood", version);
  }
  if (!is_known_kind(kind)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "tokenizer section: kind %u is not understood", kind);
  }
  if (tq_load_u32(section + TQ_AT_RESERVED) != 0) return corrupt(error, "a reserved field that is not zero");
  tokenizer->kind = (tq_tokenizer_kind)kind;
  tokenizer->flags = tq_load_u32(section + TQ_AT_FLAGS);
  if (tokenizer->flags & ~(uint32_t)TQ_FLAGS_KNOWN) return corrupt(error, "flags that are not understood");
  tokenizer->token_count = tq_load_u32(section + TQ_AT_TOKEN_COUNT);
  tokenizer->merge_count = tq_load_u32(section + TQ_AT_MERGE_COUNT);
  tokenizer->match_count = tq_load_u32(section + TQ_AT_MATCH_COUNT);
  tokenizer->longest_text = tq_load_u32(section + TQ_AT_LONGEST_TEXT);
  if (tokenizer->token_count == 0 || tokenizer->token_count > INT32_MAX)
    return corrupt(error, "impossible token count");
  if (tokenizer->merge_count > INT32_MAX) return corrupt(error, "impossible merge count");
  bool byte_level = kind == TQ_TOKENIZER_BYTE_LEVEL;
  if (!byte_level && tokenizer->merge_count) return corrupt(error, "merges in a SentencePiece vocabulary");
  tq_status status = read_index(section + TQ_AT_TEXT_INDEX, &tokenizer->text_index, true, error);
  if (!status) status = read_index(section + TQ_AT_PAIR_INDEX, &tokenizer->pair_index, byte_level, error);
  if (!status) status = read_special(tokenizer, section, error);
  return status;
}

/* ---- directory ---- */

/* The size that the header demands of a table; UINT64_MAX where any size is allowed. */
static uint64_t demanded_size(const tq_tokenizer *tokenizer, tq_section_table table) {
  uint64_t tokens = tokenizer->token_count, merges = tokenizer->merge_count;
  switch (table) {
  case TQ_TABLE_TEXT_OFFSETS:
    return 4 * (tokens + 1);
  case TQ_TABLE_TYPES:
    return tokens;
  case TQ_TABLE_SCORES:
    return tokenizer->flags & TQ_FLAG_SCORES ? 4 * tokens : 0;
  case TQ_TABLE_MERGES:
    return 8 * merges;
  case TQ_TABLE_MERGE_RESULTS:
    return 4 * merges;
  case TQ_TABLE_MATCHES:
    return 4 * (uint64_t)tokenizer->match_count;
  case TQ_TABLE_TEXT_INDEX:
    return (uint64_t)TQ_INDEX_SLOT_SIZE << tokenizer->text_index.bits;
  case TQ_TABLE_PAIR_INDEX:
    return tokenizer->pair_index.bits ? (uint64_t)TQ_INDEX_SLOT_SIZE << tokenizer->pair_index.bits : 0;
  default:
    return UINT64_MAX;
  }
}

static bool all_zero(const uint8_t *bytes, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin; i < end; i++) {
    if (bytes[i]) return false;
  }
  return true;
}

/* Tables lie in their order, each at the next aligned offset, and nothing else is there. */
static tq_status read_directory(tq_tokenizer *tokenizer, const uint8_t *section, size_t size, tq_error *error) {
  uint64_t end = TQ_AT_DIRECTORY + 16 * (uint64_t)TQ_TABLE_COUNT;
  for (tq_section_table table = 0; table < TQ_TABLE_COUNT; table++) {
    const uint8_t *entry = section + TQ_AT_DIRECTORY + 16 * (size_t)table;
    uint64_t offset = tq_load_u64(entry), table_size = tq_load_u64(entry + 8), expected;
    uint64_t demanded = demanded_size(tokenizer, table);
    if (!tq_align_u64(end, TQ_SECTION_ALIGNMENT, &expected) || offset != expected) {
      return corrupt_table(error, table, "is not where it belongs");
    }
    if (!tq_within(offset, table_size, size)) return corrupt_table(error, table, "runs past the end");
    if (demanded != UINT64_MAX && table_size != demanded) return corrupt_table(error, table, "has the wrong size");
    if (!all_zero(section, end, offset)) return corrupt_table(error, table, "follows padding that is not zero");
    tokenizer->tables[table] = section + offset;
    tokenizer->table_sizes[table] = (size_t)table_size;
    end = offset + table_size;
  }
  if (end != size) return corrupt(error, "bytes behind the last table");
  tokenizer->text_index.slots = tokenizer->tables[TQ_TABLE_TEXT_INDEX];
  tokenizer->pair_index.slots = tokenizer->tables[TQ_TABLE_PAIR_INDEX];
  return TQ_OK;
}

/* ---- tables ---- */

static tq_status check_name(const tq_tokenizer *tokenizer, tq_section_table table, tq_error *error) {
  const uint8_t *name = tokenizer->tables[table];
  size_t size = tokenizer->table_sizes[table];
  if (size == 0 || size > TQ_SECTION_NAME_LIMIT + 1 || memchr(name, 0, size) != name + size - 1) {
    return corrupt_table(error, table, "is not a string of at most 255 bytes with a NUL behind it");
  }
  return TQ_OK;
}

static tq_status check_texts(const tq_tokenizer *tokenizer, tq_error *error) {
  const uint8_t *offsets = tokenizer->tables[TQ_TABLE_TEXT_OFFSETS];
  uint32_t previous = tq_load_u32(offsets), longest = 0, backwards = previous;
  for (size_t i = 1; i <= tokenizer->token_count; i++) {
    uint32_t offset = tq_load_u32(offsets + 4 * i);
    backwards |= (uint32_t)(offset < previous);
    uint32_t length = offset - previous;
    longest = length > longest ? length : longest;
    previous = offset;
  }
  if (backwards || previous != tokenizer->table_sizes[TQ_TABLE_TEXTS]) {
    return corrupt_table(error, TQ_TABLE_TEXT_OFFSETS, "does not ascend from 0 to the texts' size");
  }
  if (longest != tokenizer->longest_text) return corrupt(error, "wrong length of the longest text");
  return TQ_OK;
}

static tq_status check_types(const tq_tokenizer *tokenizer, tq_error *error) {
  const uint8_t *types = tokenizer->tables[TQ_TABLE_TYPES];
  unsigned wrong = 0;
  for (size_t i = 0; i < tokenizer->token_count; i++) {
    wrong |= (unsigned)(types[i] < TQ_TOKEN_NORMAL) | (unsigned)(types[i] > TQ_TOKEN_BYTE);
  }
  return wrong ? corrupt_table(error, TQ_TABLE_TYPES, "has a type that is not understood") : TQ_OK;
}

static tq_status check_scores(const tq_tokenizer *tokenizer, tq_error *error) {
  const uint8_t *scores = tokenizer->tables[TQ_TABLE_SCORES];
  unsigned wrong = 0;
  for (size_t i = 0; i < tokenizer->table_sizes[TQ_TABLE_SCORES] / 4; i++) {
    wrong |= (unsigned)((tq_load_u32(scores + 4 * i) & 0x7fffffff) > 0x7f800000);
  }
  return wrong ? corrupt_table(error, TQ_TABLE_SCORES, "has a score that is no number") : TQ_OK;
}

/* Every number of a table of ids is below `limit`. */
static tq_status check_ids(const tq_tokenizer *tokenizer, tq_section_table table, uint32_t limit, tq_error *error) {
  const uint8_t *ids = tokenizer->tables[table];
  uint32_t most = 0;
  for (size_t i = 0; i < tokenizer->table_sizes[table] / 4; i++) {
    uint32_t id = tq_load_u32(ids + 4 * i);
    most = id > most ? id : most;
  }
  return tokenizer->table_sizes[table] && most >= limit ? corrupt_table(error, table, "has an id out of range") : TQ_OK;
}

static tq_status check_index(const tq_tokenizer *tokenizer, tq_section_table table, uint32_t limit, tq_error *error) {
  const uint8_t *slots = tokenizer->tables[table];
  uint32_t most = 0;
  for (size_t i = 0; i < tokenizer->table_sizes[table] / TQ_INDEX_SLOT_SIZE; i++) {
    uint32_t next = tq_load_u32(slots + i * TQ_INDEX_SLOT_SIZE + 4) + 1; /* an empty slot becomes 0 */
    most = next > most ? next : most;
  }
  return most > limit ? corrupt_table(error, table, "points to nothing") : TQ_OK;
}

/* The search relies on equally long texts standing together, and on none being empty. */
static tq_status check_matches(const tq_tokenizer *tokenizer, tq_error *error) {
  const uint8_t *matches = tokenizer->tables[TQ_TABLE_MATCHES];
  size_t previous_size = SIZE_MAX;
  uint32_t previous = 0;
  for (size_t i = 0; i < tokenizer->match_count; i++) {
    uint32_t id = tq_load_u32(matches + 4 * i);
    size_t size = tq_token_text(tokenizer, id).size;
    bool ordered = size < previous_size || (size == previous_size && id > previous);
    if (!ordered || size == 0 || !tq_type_is_matched(tq_token_type_of(tokenizer, id))) {
      return corrupt_table(error, TQ_TABLE_MATCHES, "is out of order or has a token that is not matched");
    }
    previous = id;
    previous_size = size;
  }
  return TQ_OK;
}

static tq_status check_tables(const tq_tokenizer *tokenizer, tq_error *error) {
  uint32_t tokens = tokenizer->token_count;
  tq_status status = check_name(tokenizer, TQ_TABLE_PRE, error);
  if (!status) status = check_name(tokenizer, TQ_TABLE_NORMALIZER, error);
  if (!status) status = check_texts(tokenizer, error);
  if (!status) status = check_types(tokenizer, error);
  if (!status) status = check_scores(tokenizer, error);
  if (!status) status = check_ids(tokenizer, TQ_TABLE_MERGES, tokens, error);
  if (!status) status = check_ids(tokenizer, TQ_TABLE_MERGE_RESULTS, tokens, error);
  if (!status) status = check_ids(tokenizer, TQ_TABLE_MATCHES, tokens, error);
  if (!status) status = check_matches(tokenizer, error);
  if (!status) status = check_index(tokenizer, TQ_TABLE_TEXT_INDEX, tokens, error);
  if (!status) status = check_index(tokenizer, TQ_TABLE_PAIR_INDEX, tokenizer->merge_count, error);
  return status;
}

/* ---- what is derived ---- */

/* "<0xHH>" in SentencePiece, with the bare byte as llama.cpp's second try; the printable character otherwise. */
static uint32_t find_byte(const tq_tokenizer *tokenizer, uint8_t byte) {
  char text[8];
  if (tokenizer->kind == TQ_TOKENIZER_BYTE_LEVEL) {
    return tq_token_find_ordinary(tokenizer, text, tq_byte_to_printable(byte, text));
  }
  snprintf(text, sizeof text, "<0x%02X>", byte);
  uint32_t id = tq_token_find(tokenizer, text, 6);
  if (id != TQ_SECTION_NO_TOKEN) return id;
  text[0] = (char)byte;
  return tq_token_find_ordinary(tokenizer, text, 1);
}

static tq_status derive(tq_tokenizer *tokenizer, tq_error *error) {
  for (unsigned byte = 0; byte < 256; byte++) tokenizer->byte_tokens[byte] = find_byte(tokenizer, (uint8_t)byte);
  if (tokenizer->kind != TQ_TOKENIZER_BYTE_LEVEL) return TQ_OK;
  tokenizer->pretokenizer = tq_pretokenizer_find(tq_tokenizer_pre(tokenizer));
  if (!tokenizer->pretokenizer) return TQ_OK;
  return tq_splitter_create(tokenizer->pretokenizer, &tokenizer->splitter, error);
}

tq_status tq_tokenizer_open(const void *section, size_t size, tq_tokenizer **tokenizer, tq_error *error) {
  tq_tokenizer *made = tq_allocate(1, sizeof *made, error);
  if (!made) return TQ_ERROR_SYSTEM;
  tq_status status = read_header(made, section, size, error);
  if (!status) status = read_directory(made, section, size, error);
  if (!status) status = check_tables(made, error);
  if (!status) status = derive(made, error);
  if (status) {
    tq_tokenizer_close(made);
    return status;
  }
  *tokenizer = made;
  return TQ_OK;
}

void tq_tokenizer_close(tq_tokenizer *tokenizer) {
  if (!tokenizer) return;
  tq_splitter_destroy(tokenizer->splitter);
  tq_free(tokenizer);
}
