#include "tokenizer/lookup.h"

#include "base/hash.h"
#include "base/memory.h"

#include <string.h>

static bool same_text(const void *context, uint32_t a, uint32_t b) {
  const tq_string *texts = context;
  return texts[a].size == texts[b].size && memcmp(texts[a].data, texts[b].data, texts[a].size) == 0;
}

tq_status tq_lookup_build(tq_lookup *lookup, const tq_string *texts, size_t count, tq_error *error) {
  uint64_t *hashes = tq_allocate(count, sizeof *hashes, error);
  uint32_t *numbers = tq_allocate(count, sizeof *numbers, error);
  tq_status status = hashes && numbers ? TQ_OK : TQ_ERROR_SYSTEM;
  size_t named = 0;
  for (size_t i = 0; i < count && !status; i++) {
    if (texts[i].size == 0) continue;
    hashes[named] = tq_hash_xxh3_64(texts[i].data, texts[i].size);
    numbers[named++] = (uint32_t)i;
  }
  tq_index_items items = {named, hashes, numbers, true, same_text, texts};
  if (!status) status = tq_index_build(&items, "token texts", &lookup->index, &lookup->slots, error);
  lookup->texts = texts;
  tq_free(hashes);
  tq_free(numbers);
  return status;
}

int64_t tq_lookup_find(const tq_lookup *lookup, const char *text, size_t size) {
  if (size == 0) return TQ_LOOKUP_NONE;
  tq_index_cursor cursor = tq_index_start(lookup->index, tq_hash_xxh3_64(text, size));
  for (uint32_t number; tq_index_next(&cursor, &number);) {
    tq_string found = lookup->texts[number];
    if (found.size == size && memcmp(found.data, text, size) == 0) return number;
  }
  return TQ_LOOKUP_NONE;
}

void tq_lookup_free(tq_lookup *lookup) {
  tq_free(lookup->slots);
  *lookup = (tq_lookup){0};
}
