/* Making a section from plain tables: everything is indexed here, so that nothing is left to do when it is opened. */
#include "base/memory.h"
#include "tokenizer/lookup.h"
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

typedef struct section_builder {
  const tq_vocabulary *vocabulary;
  uint64_t texts_size;
  uint32_t longest_text;
  tq_lookup texts;
  tq_index pair_index;
  uint8_t *pair_slots;
  tq_merge *merges; /* with the ids that their texts are found under */
  uint32_t *results;
  uint32_t *matches;
  size_t match_count;
  char *pair_text;
} section_builder;

static void builder_free(section_builder *builder) {
  tq_lookup_free(&builder->texts);
  tq_free(builder->pair_slots);
  tq_free(builder->merges);
  tq_free(builder->results);
  tq_free(builder->matches);
  tq_free(builder->pair_text);
}

static bool is_byte_level(const tq_vocabulary *vocabulary) { return vocabulary->kind == TQ_TOKENIZER_BYTE_LEVEL; }

/* ---- checks ---- */

static tq_status check_token(const tq_vocabulary *vocabulary, size_t id, tq_error *error) {
  uint8_t type = vocabulary->types[id];
  if (type < TQ_TOKEN_NORMAL || type > TQ_TOKEN_BYTE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: token %zu has type %u, which is not understood", id, type);
  }
  if (vocabulary->scores && vocabulary->scores[id] != vocabulary->scores[id]) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: the score of token %zu is no number", id);
  }
  return TQ_OK;
}

static tq_status check_special(const tq_vocabulary *vocabulary, tq_error *error) {
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) {
    int64_t id = vocabulary->special[i];
    if (id < -1 || (id >= 0 && (uint64_t)id >= vocabulary->token_count)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: special token %zu has id %lld of %zu tokens", i,
                     (long long)id, vocabulary->token_count);
    }
  }
  return TQ_OK;
}

static tq_status check_name(const char *what, const char *name, tq_error *error) {
  if (strlen(name) <= TQ_SECTION_NAME_LIMIT) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: the %s's name is longer than %d bytes", what,
                 TQ_SECTION_NAME_LIMIT);
}

static tq_status check(section_builder *builder, tq_error *error) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  if (vocabulary->kind != TQ_TOKENIZER_SENTENCEPIECE && !is_byte_level(vocabulary)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: kind %d is not understood", (int)vocabulary->kind);
  }
  if (vocabulary->token_count == 0 || vocabulary->token_count > INT32_MAX || vocabulary->merge_count > INT32_MAX) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: %zu tokens and %zu merges", vocabulary->token_count,
                   vocabulary->merge_count);
  }
  tq_status status = check_name("pre-tokenizer", vocabulary->pre, error);
  if (!status) status = check_name("normalizer", vocabulary->normalizer, error);
  if (!status) status = check_special(vocabulary, error);
  for (size_t i = 0; i < vocabulary->token_count && !status; i++) {
    status = check_token(vocabulary, i, error);
    builder->texts_size += vocabulary->tokens[i].size;
    if (builder->texts_size >= UINT32_MAX) return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: texts over 4 GiB");
    if (vocabulary->tokens[i].size > builder->longest_text)
      builder->longest_text = (uint32_t)vocabulary->tokens[i].size;
  }
  return status;
}

/* ---- merges ---- */

static tq_status fail_merge(const section_builder *builder, size_t rank, const char *what, tq_error *error) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  tq_merge merge = vocabulary->merges[rank];
  if (merge.left >= vocabulary->token_count || merge.right >= vocabulary->token_count) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: merge %zu is of token ids that do not exist", rank);
  }
  tq_string left = vocabulary->tokens[merge.left], right = vocabulary->tokens[merge.right];
  return tq_fail(error, TQ_ERROR_CORRUPT, "vocabulary: merge %zu (\"%.*s\" \"%.*s\") %s", rank,
                 (int)(left.size < 64 ? left.size : 64), left.data, (int)(right.size < 64 ? right.size : 64),
                 right.data, what);
}

static tq_status resolve_merge(section_builder *builder, size_t rank, tq_error *error) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  tq_merge merge = vocabulary->merges[rank];
  if (merge.left >= vocabulary->token_count || merge.right >= vocabulary->token_count) {
    return fail_merge(builder, rank, "", error);
  }
  tq_string left = vocabulary->tokens[merge.left], right = vocabulary->tokens[merge.right];
  if (left.size == 0 || right.size == 0) return fail_merge(builder, rank, "is of an empty token", error);
  int64_t result = TQ_LOOKUP_NONE;
  if (left.size + right.size <= builder->longest_text) {
    memcpy(builder->pair_text, left.data, left.size);
    memcpy(builder->pair_text + left.size, right.data, right.size);
    result = tq_lookup_find(&builder->texts, builder->pair_text, left.size + right.size);
  }
  if (result == TQ_LOOKUP_NONE) return fail_merge(builder, rank, "makes a text that no token has", error);
  builder->merges[rank].left = (uint32_t)tq_lookup_find(&builder->texts, left.data, left.size);
  builder->merges[rank].right = (uint32_t)tq_lookup_find(&builder->texts, right.data, right.size);
  builder->results[rank] = (uint32_t)result;
  return TQ_OK;
}

static bool same_pair(const void *context, uint32_t a, uint32_t b) {
  const tq_merge *merges = context;
  return merges[a].left == merges[b].left && merges[a].right == merges[b].right;
}

static tq_status index_merges(section_builder *builder, tq_error *error) {
  if (!is_byte_level(builder->vocabulary)) return TQ_OK;
  size_t count = builder->vocabulary->merge_count;
  uint64_t *hashes = tq_allocate(count, sizeof *hashes, error);
  builder->merges = tq_allocate(count, sizeof *builder->merges, error);
  builder->results = tq_allocate(count, sizeof *builder->results, error);
  builder->pair_text = tq_allocate(builder->longest_text, 1, error);
  bool allocated = hashes && builder->merges && builder->results && builder->pair_text;
  tq_status status = allocated ? TQ_OK : TQ_ERROR_SYSTEM;
  for (size_t rank = 0; rank < count && !status; rank++) {
    status = resolve_merge(builder, rank, error);
    if (!status) hashes[rank] = tq_pair_hash(builder->merges[rank].left, builder->merges[rank].right);
  }
  tq_index_items items = {count, hashes, NULL, false, same_pair, builder->merges};
  if (!status) status = tq_index_build(&items, "vocabulary: merges", &builder->pair_index, &builder->pair_slots, error);
  tq_free(hashes);
  return status;
}

/* ---- tokens found in raw text ---- */

typedef struct matched {
  size_t size;
  uint32_t id;
} matched;

static int compare_matched(const void *a, const void *b) {
  const matched *left = a, *right = b;
  if (left->size != right->size) return left->size > right->size ? -1 : 1;
  return left->id < right->id ? -1 : 1;
}

static tq_status list_matches(section_builder *builder, tq_error *error) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  matched *list = tq_allocate(vocabulary->token_count, sizeof *list, error);
  builder->matches = tq_allocate(vocabulary->token_count, sizeof *builder->matches, error);
  tq_status status = list && builder->matches ? TQ_OK : TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < vocabulary->token_count && !status; i++) {
    size_t size = vocabulary->tokens[i].size;
    if (size == 0 || !tq_type_is_matched((tq_token_type)vocabulary->types[i])) continue;
    list[builder->match_count++] = (matched){size, (uint32_t)i};
  }
  if (!status) qsort(list, builder->match_count, sizeof *list, compare_matched);
  for (size_t i = 0; i < builder->match_count && !status; i++) builder->matches[i] = list[i].id;
  tq_free(list);
  return status;
}

/* ---- writing ---- */

static uint32_t flags_of(const tq_vocabulary *vocabulary) {
  bool scores = vocabulary->scores || !is_byte_level(vocabulary);
  return (vocabulary->add_bos ? TQ_FLAG_ADD_BOS : 0u) | (vocabulary->add_eos ? TQ_FLAG_ADD_EOS : 0u) |
         (vocabulary->add_space_prefix ? TQ_FLAG_SPACE_PREFIX : 0u) |
         (vocabulary->ignore_merges ? TQ_FLAG_IGNORE_MERGES : 0u) |
         (vocabulary->clean_up_spaces ? TQ_FLAG_CLEAN_UP_SPACES : 0u) | (scores ? TQ_FLAG_SCORES : 0u);
}

static uint64_t slots_size(tq_index index) { return index.bits ? (uint64_t)TQ_INDEX_SLOT_SIZE << index.bits : 0; }

static void measure(const section_builder *builder, uint64_t sizes[TQ_TABLE_COUNT]) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  uint64_t tokens = vocabulary->token_count, merges = is_byte_level(vocabulary) ? vocabulary->merge_count : 0;
  sizes[TQ_TABLE_PRE] = strlen(vocabulary->pre) + 1;
  sizes[TQ_TABLE_NORMALIZER] = strlen(vocabulary->normalizer) + 1;
  sizes[TQ_TABLE_CHAT_TEMPLATE] = vocabulary->chat_template.size;
  sizes[TQ_TABLE_TEXT_OFFSETS] = 4 * (tokens + 1);
  sizes[TQ_TABLE_TEXTS] = builder->texts_size;
  sizes[TQ_TABLE_TYPES] = tokens;
  sizes[TQ_TABLE_SCORES] = flags_of(vocabulary) & TQ_FLAG_SCORES ? 4 * tokens : 0;
  sizes[TQ_TABLE_MERGES] = 8 * merges;
  sizes[TQ_TABLE_MERGE_RESULTS] = 4 * merges;
  sizes[TQ_TABLE_MATCHES] = 4 * (uint64_t)builder->match_count;
  sizes[TQ_TABLE_TEXT_INDEX] = slots_size(builder->texts.index);
  sizes[TQ_TABLE_PAIR_INDEX] = slots_size(builder->pair_index);
}

/* Offsets of the tables; returns the size of the whole. */
static uint64_t place(const uint64_t sizes[TQ_TABLE_COUNT], uint64_t offsets[TQ_TABLE_COUNT]) {
  uint64_t end = TQ_SECTION_HEADER_SIZE;
  for (size_t i = 0; i < TQ_TABLE_COUNT; i++) {
    offsets[i] = (end + TQ_SECTION_ALIGNMENT - 1) & ~(uint64_t)(TQ_SECTION_ALIGNMENT - 1);
    end = offsets[i] + sizes[i];
  }
  return end;
}

static void write_header(const section_builder *builder, const uint64_t offsets[TQ_TABLE_COUNT],
                         const uint64_t sizes[TQ_TABLE_COUNT], uint8_t *section) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  memcpy(section + TQ_AT_MAGIC, TQ_SECTION_MAGIC, 4);
  tq_store_u32(section + TQ_AT_VERSION, TQ_SECTION_VERSION);
  tq_store_u32(section + TQ_AT_KIND, (uint32_t)vocabulary->kind);
  tq_store_u32(section + TQ_AT_FLAGS, flags_of(vocabulary));
  tq_store_u32(section + TQ_AT_TOKEN_COUNT, (uint32_t)vocabulary->token_count);
  tq_store_u32(section + TQ_AT_MERGE_COUNT, (uint32_t)(sizes[TQ_TABLE_MERGES] / 8));
  tq_store_u32(section + TQ_AT_MATCH_COUNT, (uint32_t)builder->match_count);
  tq_store_u32(section + TQ_AT_LONGEST_TEXT, builder->longest_text);
  tq_store_u32(section + TQ_AT_TEXT_INDEX, builder->texts.index.bits);
  tq_store_u32(section + TQ_AT_TEXT_INDEX + 4, builder->texts.index.seed);
  tq_store_u32(section + TQ_AT_PAIR_INDEX, builder->pair_index.bits);
  tq_store_u32(section + TQ_AT_PAIR_INDEX + 4, builder->pair_index.seed);
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) {
    int64_t id = vocabulary->special[i];
    tq_store_u32(section + TQ_AT_SPECIAL + 4 * i, id < 0 ? TQ_SECTION_NO_TOKEN : (uint32_t)id);
  }
  for (size_t i = 0; i < TQ_TABLE_COUNT; i++) {
    tq_store_u64(section + TQ_AT_DIRECTORY + 16 * i, offsets[i]);
    tq_store_u64(section + TQ_AT_DIRECTORY + 16 * i + 8, sizes[i]);
  }
}

static void copy(uint8_t *to, const void *from, uint64_t size) {
  if (size) memcpy(to, from, (size_t)size);
}

static void write_tables(const section_builder *builder, const uint64_t offsets[TQ_TABLE_COUNT],
                         const uint64_t sizes[TQ_TABLE_COUNT], uint8_t *section) {
  const tq_vocabulary *vocabulary = builder->vocabulary;
  copy(section + offsets[TQ_TABLE_PRE], vocabulary->pre, sizes[TQ_TABLE_PRE]);
  copy(section + offsets[TQ_TABLE_NORMALIZER], vocabulary->normalizer, sizes[TQ_TABLE_NORMALIZER]);
  copy(section + offsets[TQ_TABLE_CHAT_TEMPLATE], vocabulary->chat_template.data, sizes[TQ_TABLE_CHAT_TEMPLATE]);
  copy(section + offsets[TQ_TABLE_TYPES], vocabulary->types, sizes[TQ_TABLE_TYPES]);
  copy(section + offsets[TQ_TABLE_TEXT_INDEX], builder->texts.slots, sizes[TQ_TABLE_TEXT_INDEX]);
  copy(section + offsets[TQ_TABLE_PAIR_INDEX], builder->pair_slots, sizes[TQ_TABLE_PAIR_INDEX]);
  uint32_t end = 0;
  tq_store_u32(section + offsets[TQ_TABLE_TEXT_OFFSETS], 0);
  for (size_t i = 0; i < vocabulary->token_count; i++) {
    copy(section + offsets[TQ_TABLE_TEXTS] + end, vocabulary->tokens[i].data, vocabulary->tokens[i].size);
    end += (uint32_t)vocabulary->tokens[i].size;
    tq_store_u32(section + offsets[TQ_TABLE_TEXT_OFFSETS] + 4 * (i + 1), end);
    if (sizes[TQ_TABLE_SCORES]) {
      tq_store_f32(section + offsets[TQ_TABLE_SCORES] + 4 * i, vocabulary->scores ? vocabulary->scores[i] : 0);
    }
  }
  for (size_t i = 0; i < sizes[TQ_TABLE_MERGES] / 8; i++) {
    tq_store_u32(section + offsets[TQ_TABLE_MERGES] + 8 * i, builder->merges[i].left);
    tq_store_u32(section + offsets[TQ_TABLE_MERGES] + 8 * i + 4, builder->merges[i].right);
    tq_store_u32(section + offsets[TQ_TABLE_MERGE_RESULTS] + 4 * i, builder->results[i]);
  }
  for (size_t i = 0; i < builder->match_count; i++) {
    tq_store_u32(section + offsets[TQ_TABLE_MATCHES] + 4 * i, builder->matches[i]);
  }
}

static tq_status write_section(const section_builder *builder, uint8_t **section, size_t *size, tq_error *error) {
  uint64_t sizes[TQ_TABLE_COUNT], offsets[TQ_TABLE_COUNT];
  measure(builder, sizes);
  uint64_t total = place(sizes, offsets);
  if (total > SIZE_MAX) return tq_fail(error, TQ_ERROR_SYSTEM, "vocabulary: too large for this machine");
  uint8_t *memory = tq_allocate_aligned(TQ_SECTION_ALIGNMENT, (size_t)total, error);
  if (!memory) return TQ_ERROR_SYSTEM;
  write_header(builder, offsets, sizes, memory);
  write_tables(builder, offsets, sizes, memory);
  *section = memory;
  *size = (size_t)total;
  return TQ_OK;
}

tq_status tq_tokenizer_serialize(const tq_vocabulary *vocabulary, uint8_t **section, size_t *size, tq_error *error) {
  section_builder builder = {.vocabulary = vocabulary};
  tq_status status = check(&builder, error);
  if (!status) status = tq_lookup_build(&builder.texts, vocabulary->tokens, vocabulary->token_count, error);
  if (!status) status = index_merges(&builder, error);
  if (!status) status = list_matches(&builder, error);
  if (!status) status = write_section(&builder, section, size, error);
  builder_free(&builder);
  return status;
}
