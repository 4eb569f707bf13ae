/* Hash indexes that lie in a section: open addressing over slots of eight bytes, a tag and a value. Who looks something
 * up walks over the values whose tags agree and compares what they stand for. */
#ifndef TQ_TOKENIZER_INDEX_H
#define TQ_TOKENIZER_INDEX_H

#include "base/bytes.h"
#include "tq/error.h"

enum {
  TQ_INDEX_SLOT_SIZE = 8,
  TQ_INDEX_PROBES = 256, /* slots that a look-up reads at most, so that no file makes it slow */
  TQ_INDEX_LEAST_BITS = 3,
  TQ_INDEX_MOST_BITS = 31
};
#define TQ_INDEX_EMPTY UINT32_MAX

typedef struct tq_index {
  const uint8_t *slots;
  uint32_t bits; /* there are 2^bits slots */
  uint32_t seed;
} tq_index;

typedef struct tq_index_cursor {
  const uint8_t *slots;
  uint64_t slot, mask;
  uint32_t tag;
  unsigned left;
} tq_index_cursor;

static inline uint64_t tq_index_slot(uint32_t bits, uint32_t seed, uint64_t hash) {
  return (hash * (UINT64_C(0x9e3779b97f4a7c15) + 2 * (uint64_t)seed)) >> (64 - bits);
}

static inline uint32_t tq_index_tag(uint64_t hash) { return (uint32_t)(hash >> 32); }

static inline tq_index_cursor tq_index_start(tq_index index, uint64_t hash) {
  return (tq_index_cursor){index.slots, tq_index_slot(index.bits, index.seed, hash), (UINT64_C(1) << index.bits) - 1,
                           tq_index_tag(hash), TQ_INDEX_PROBES};
}

/* The next value whose tag agrees; false when there is none. */
static inline bool tq_index_next(tq_index_cursor *cursor, uint32_t *value) {
  while (cursor->left > 0) {
    const uint8_t *slot = cursor->slots + cursor->slot * TQ_INDEX_SLOT_SIZE;
    cursor->slot = (cursor->slot + 1) & cursor->mask;
    cursor->left--;
    *value = tq_load_u32(slot + 4);
    if (*value == TQ_INDEX_EMPTY) return false;
    if (tq_load_u32(slot) == cursor->tag) return true;
  }
  return false;
}

/* What an index is made of: items in the order in which they are put in. */
typedef struct tq_index_items {
  size_t count;
  const uint64_t *hashes;
  const uint32_t *values; /* NULL: 0, 1, 2, ... */
  bool later_wins;        /* of two items that are the same; otherwise the earlier stays */
  bool (*same)(const void *context, uint32_t value, uint32_t other);
  const void *context;
} tq_index_items;

/* Builds an index whose longest probe sequence is within the bound, in memory that tq_free frees. `what` names the
 * items in the message when they collide too often, which takes malice. */
tq_status tq_index_build(const tq_index_items *items, const char *what, tq_index *index, uint8_t **slots,
                         tq_error *error);

#endif
