#include "tokenizer/index.h"

#include "base/memory.h"

#include <string.h>

enum { SEEDS = 16, DOUBLINGS = 4 };

static uint32_t item_value(const tq_index_items *items, size_t item) {
  return items->values ? items->values[item] : (uint32_t)item;
}

/* Puts one item in; false when its probe sequence would be too long. */
static bool insert(const tq_index_items *items, size_t item, uint32_t bits, uint32_t seed, uint8_t *slots) {
  uint64_t mask = (UINT64_C(1) << bits) - 1, slot = tq_index_slot(bits, seed, items->hashes[item]);
  uint32_t tag = tq_index_tag(items->hashes[item]), value = item_value(items, item);
  for (unsigned probes = 0; probes < TQ_INDEX_PROBES; probes++, slot = (slot + 1) & mask) {
    uint8_t *at = slots + slot * TQ_INDEX_SLOT_SIZE;
    uint32_t present = tq_load_u32(at + 4);
    bool empty = present == TQ_INDEX_EMPTY;
    if (!empty && (tq_load_u32(at) != tag || !items->same(items->context, present, value))) continue;
    if (empty || items->later_wins) {
      tq_store_u32(at, tag);
      tq_store_u32(at + 4, value);
    }
    return true;
  }
  return false;
}

static bool fill(const tq_index_items *items, uint32_t bits, uint32_t seed, uint8_t *slots) {
  size_t count = (size_t)1 << bits;
  for (size_t i = 0; i < count; i++) {
    tq_store_u32(slots + i * TQ_INDEX_SLOT_SIZE, 0);
    tq_store_u32(slots + i * TQ_INDEX_SLOT_SIZE + 4, TQ_INDEX_EMPTY);
  }
  for (size_t i = 0; i < items->count; i++) {
    if (!insert(items, i, bits, seed, slots)) return false;
  }
  return true;
}

/* At most two thirds full, so that a look-up reads three slots or so. */
static uint32_t least_bits(size_t count) {
  uint32_t bits = TQ_INDEX_LEAST_BITS;
  while (bits < TQ_INDEX_MOST_BITS && ((uint64_t)1 << bits) < (uint64_t)count + count / 2) bits++;
  return bits;
}

tq_status tq_index_build(const tq_index_items *items, const char *what, tq_index *index, uint8_t **slots,
                         tq_error *error) {
  uint32_t first = least_bits(items->count);
  for (uint32_t bits = first; bits < first + DOUBLINGS && bits <= TQ_INDEX_MOST_BITS; bits++) {
    uint8_t *memory = tq_allocate((size_t)1 << bits, TQ_INDEX_SLOT_SIZE, error);
    if (!memory) return TQ_ERROR_SYSTEM;
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
      if (!fill(items, bits, seed, memory)) continue;
      *index = (tq_index){memory, bits, seed};
      *slots = memory;
      return TQ_OK;
    }
    tq_free(memory);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s collide in their hashes and cannot be indexed", what);
}
