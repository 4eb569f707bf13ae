/* Special tokens in raw text. Every length of token in turn, the longest first, is looked for in what text is left, by
 * a rolling hash: the time is that of reading the text once per length, however many tokens there are. */
#include "base/hash.h"
#include "base/memory.h"
#include "tokenizer/tokenizer.h"

#define BASE UINT64_C(0x9e3779b97f4a7c15)

/* Tokens of one length: the hashes of their texts, in open addressing. */
typedef struct length_group {
  uint64_t *hashes;
  bool *used;
  size_t mask;
  size_t length;
  uint64_t power; /* BASE to the length: what the byte that leaves the window weighs */
} length_group;

static uint64_t roll(uint64_t hash, uint8_t byte) { return hash * BASE + byte + 1; }

static uint64_t hash_text(const char *text, size_t size) {
  uint64_t hash = 0;
  for (size_t i = 0; i < size; i++) hash = roll(hash, (uint8_t)text[i]);
  return hash;
}

static size_t first_slot(const length_group *group, uint64_t hash) {
  return (size_t)((hash * BASE) >> 32) & group->mask;
}

static void group_add(length_group *group, uint64_t hash) {
  size_t slot = first_slot(group, hash);
  while (group->used[slot] && group->hashes[slot] != hash) slot = (slot + 1) & group->mask;
  group->used[slot] = true;
  group->hashes[slot] = hash;
}

static bool group_has(const length_group *group, uint64_t hash) {
  size_t slot = first_slot(group, hash);
  while (group->used[slot] && group->hashes[slot] != hash) slot = (slot + 1) & group->mask;
  return group->used[slot];
}

static bool is_wanted(const tq_tokenizer *tokenizer, uint32_t id, bool control) {
  return control || tq_token_type_of(tokenizer, id) == TQ_TOKEN_USER_DEFINED;
}

static tq_status group_start(length_group *group, size_t count, size_t length, tq_error *error) {
  size_t slots = 8;
  while (slots < 2 * count) slots *= 2;
  group->hashes = tq_allocate(slots, sizeof *group->hashes, error);
  group->used = tq_allocate(slots, sizeof *group->used, error);
  group->mask = slots - 1;
  group->length = length;
  group->power = 1;
  for (size_t i = 0; i < length; i++) group->power *= BASE;
  return group->hashes && group->used ? TQ_OK : TQ_ERROR_SYSTEM;
}

static void group_free(length_group *group) {
  tq_free(group->hashes);
  tq_free(group->used);
}

tq_status tq_fragments_add(tq_fragments *fragments, tq_fragment fragment, tq_error *error) {
  void *items = fragments->items;
  tq_status status = tq_grow(&items, &fragments->capacity, fragments->count + 1, sizeof fragment, error);
  fragments->items = items;
  if (!status) fragments->items[fragments->count++] = fragment;
  return status;
}

/* The token of the group that `text` begins with, or TQ_SECTION_NO_TOKEN. */
static uint32_t identify(const tq_tokenizer *tokenizer, const length_group *group, const char *text, bool control) {
  uint32_t id = tq_token_find(tokenizer, text, group->length);
  if (id == TQ_SECTION_NO_TOKEN || !tq_type_is_matched(tq_token_type_of(tokenizer, id))) return TQ_SECTION_NO_TOKEN;
  return is_wanted(tokenizer, id, control) ? id : TQ_SECTION_NO_TOKEN;
}

static tq_status cut_fragment(const tq_tokenizer *tokenizer, const length_group *group, const char *text,
                              tq_fragment fragment, bool control, tq_fragments *cut, tq_error *error) {
  size_t end = fragment.start + fragment.size, done = fragment.start, length = group->length;
  uint64_t hash = 0;
  size_t filled = 0; /* bytes in the window that ends at `at` */
  tq_status status = TQ_OK;
  for (size_t at = fragment.start; at < end && !status; at++) {
    hash = roll(hash, (uint8_t)text[at]);
    if (filled == length) {
      hash -= group->power * ((uint8_t)text[at - length] + UINT64_C(1));
    } else if (++filled < length) {
      continue;
    }
    if (!group_has(group, hash)) continue;
    size_t start = at + 1 - length;
    uint32_t id = identify(tokenizer, group, text + start, control);
    if (id == TQ_SECTION_NO_TOKEN) continue;
    if (start > done) {
      status = tq_fragments_add(cut, (tq_fragment){done, start - done, TQ_SECTION_NO_TOKEN}, error);
    }
    if (!status) status = tq_fragments_add(cut, (tq_fragment){start, length, id}, error);
    done = at + 1;
    filled = 0;
    hash = 0;
  }
  if (!status && done < end) {
    status = tq_fragments_add(cut, (tq_fragment){done, end - done, TQ_SECTION_NO_TOKEN}, error);
  }
  return status;
}

static tq_status cut_all(const tq_tokenizer *tokenizer, const length_group *group, const char *text, bool control,
                         tq_fragments *fragments, tq_error *error) {
  tq_fragments cut = {0};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < fragments->count && !status; i++) {
    tq_fragment fragment = fragments->items[i];
    bool whole = fragment.id != TQ_SECTION_NO_TOKEN || fragment.size < group->length;
    status = whole ? tq_fragments_add(&cut, fragment, error)
                   : cut_fragment(tokenizer, group, text, fragment, control, &cut, error);
  }
  tq_free(fragments->items);
  *fragments = cut;
  return status;
}

/* Cuts at the tokens of matches[first, end), which are of one length. */
static tq_status cut_at_length(const tq_tokenizer *tokenizer, size_t first, size_t end, const char *text, bool control,
                               tq_fragments *fragments, tq_error *error) {
  const uint8_t *matches = tokenizer->tables[TQ_TABLE_MATCHES];
  length_group group = {0};
  size_t length = tq_token_text(tokenizer, tq_load_u32(matches + 4 * first)).size, wanted = 0;
  for (size_t i = first; i < end; i++) wanted += is_wanted(tokenizer, tq_load_u32(matches + 4 * i), control);
  if (wanted == 0) return TQ_OK;
  tq_status status = group_start(&group, wanted, length, error);
  for (size_t i = first; i < end && !status; i++) {
    uint32_t id = tq_load_u32(matches + 4 * i);
    if (is_wanted(tokenizer, id, control)) group_add(&group, hash_text(tq_token_text(tokenizer, id).data, length));
  }
  if (!status) status = cut_all(tokenizer, &group, text, control, fragments, error);
  group_free(&group);
  return status;
}

tq_status tq_split_special(const tq_tokenizer *tokenizer, const char *text, size_t size, bool control,
                           tq_fragments *fragments, tq_error *error) {
  const uint8_t *matches = tokenizer->tables[TQ_TABLE_MATCHES];
  if (size == 0) return TQ_OK;
  tq_status status = tq_fragments_add(fragments, (tq_fragment){0, size, TQ_SECTION_NO_TOKEN}, error);
  for (size_t first = 0, end; first < tokenizer->match_count && !status; first = end) {
    size_t length = tq_token_text(tokenizer, tq_load_u32(matches + 4 * first)).size;
    end = first + 1;
    while (end < tokenizer->match_count && tq_token_text(tokenizer, tq_load_u32(matches + 4 * end)).size == length)
      end++;
    if (length <= size) status = cut_at_length(tokenizer, first, end, text, control, fragments, error);
  }
  return status;
}
