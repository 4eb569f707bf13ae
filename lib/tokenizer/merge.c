#include "tokenizer/merge.h"

#include "base/memory.h"

void tq_merger_reset(tq_merger *merger) {
  merger->count = 0;
  merger->heap_count = 0;
}

void tq_merger_free(tq_merger *merger) {
  tq_free(merger->symbols);
  tq_free(merger->heap);
  *merger = (tq_merger){0};
}

tq_status tq_merger_add(tq_merger *merger, uint32_t start, uint32_t size, uint32_t id, tq_error *error) {
  void *symbols = merger->symbols;
  tq_status status = tq_grow(&symbols, &merger->symbol_capacity, merger->count + 1, sizeof *merger->symbols, error);
  merger->symbols = symbols;
  if (status) return status;
  uint32_t index = (uint32_t)merger->count++;
  uint32_t previous = index ? index - 1 : TQ_NO_SYMBOL;
  merger->symbols[index] = (tq_symbol){start, size, id, previous, TQ_NO_SYMBOL};
  if (index) merger->symbols[index - 1].next = index;
  return TQ_OK;
}

/* ---- the heap ---- */

static tq_status push(tq_merger *merger, tq_candidate candidate, tq_error *error) {
  void *heap = merger->heap;
  tq_status status = tq_grow(&heap, &merger->heap_capacity, merger->heap_count + 1, sizeof *merger->heap, error);
  merger->heap = heap;
  if (status) return status;
  size_t hole = merger->heap_count++;
  while (hole > 0) {
    size_t parent = (hole - 1) / 2;
    if (merger->heap[parent].key <= candidate.key) break;
    merger->heap[hole] = merger->heap[parent];
    hole = parent;
  }
  merger->heap[hole] = candidate;
  return TQ_OK;
}

static tq_candidate pop(tq_merger *merger) {
  tq_candidate *heap = merger->heap, top = heap[0], last = heap[--merger->heap_count];
  size_t hole = 0, count = merger->heap_count;
  for (size_t child = 1; child < count; child = 2 * hole + 1) {
    if (child + 1 < count && heap[child + 1].key < heap[child].key) child++;
    if (last.key <= heap[child].key) break;
    heap[hole] = heap[child];
    hole = child;
  }
  if (count) heap[hole] = last;
  return top;
}

/* ---- merging ---- */

static tq_status consider(tq_merger *merger, uint32_t left, uint32_t right, tq_pair_function pair, const void *context,
                          tq_error *error) {
  if (left == TQ_NO_SYMBOL || right == TQ_NO_SYMBOL) return TQ_OK;
  const tq_symbol *a = &merger->symbols[left], *b = &merger->symbols[right];
  uint32_t urgency, result;
  if (!pair(context, a, b, &urgency, &result)) return TQ_OK;
  tq_candidate candidate = {((uint64_t)urgency << 32) | left, right, a->size + b->size, result};
  return push(merger, candidate, error);
}

/* A candidate is stale once either symbol was merged with another: the right one is then gone, or the two together are
 * longer than they were. */
static bool is_stale(const tq_symbol *left, const tq_symbol *right, const tq_candidate *candidate) {
  return left->size == 0 || right->size == 0 || left->size + right->size != candidate->size;
}

tq_status tq_merger_run(tq_merger *merger, tq_pair_function pair, const void *context, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 1; i < merger->count && !status; i++) {
    status = consider(merger, (uint32_t)i - 1, (uint32_t)i, pair, context, error);
  }
  while (!status && merger->heap_count) {
    tq_candidate candidate = pop(merger);
    uint32_t index = (uint32_t)candidate.key;
    tq_symbol *left = &merger->symbols[index], *right = &merger->symbols[candidate.right];
    if (is_stale(left, right, &candidate)) continue;
    left->size = candidate.size;
    left->id = candidate.result;
    left->next = right->next;
    right->size = 0;
    if (left->next != TQ_NO_SYMBOL) merger->symbols[left->next].previous = index;
    status = consider(merger, left->previous, index, pair, context, error);
    if (!status) status = consider(merger, index, left->next, pair, context, error);
  }
  return status;
}
