/* The loop that both kinds of tokenizer share: neighbouring symbols are merged, the most urgent pair first, until no
 * pair can be. A heap of candidates makes it n log n. */
#ifndef TQ_TOKENIZER_MERGE_H
#define TQ_TOKENIZER_MERGE_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TQ_NO_SYMBOL UINT32_MAX

typedef struct tq_symbol {
  uint32_t start, size; /* bytes of the text it covers; size 0: merged into a symbol to its left */
  uint32_t id;          /* token, or TQ_SECTION_NO_TOKEN */
  uint32_t previous, next;
} tq_symbol;

typedef struct tq_candidate {
  uint64_t key; /* urgency, then the left symbol: the smallest is merged first */
  uint32_t right, size, result;
} tq_candidate;

/* Scratch memory for any number of texts. Zero-initialise. */
typedef struct tq_merger {
  tq_symbol *symbols;
  size_t count, symbol_capacity;
  tq_candidate *heap;
  size_t heap_count, heap_capacity;
} tq_merger;

/* Whether two neighbours can be merged: into which token, and how urgently (the smaller the sooner). */
typedef bool (*tq_pair_function)(const void *context, const tq_symbol *left, const tq_symbol *right, uint32_t *urgency,
                                 uint32_t *result);

/* Empties the list of symbols, and appends to it. */
void tq_merger_reset(tq_merger *merger);
tq_status tq_merger_add(tq_merger *merger, uint32_t start, uint32_t size, uint32_t id, tq_error *error);
/* Merges what can be merged; what is left is the chain from symbol 0 along `next`. */
tq_status tq_merger_run(tq_merger *merger, tq_pair_function pair, const void *context, tq_error *error);
void tq_merger_free(tq_merger *merger);

#endif
