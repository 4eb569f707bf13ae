#include "container/index.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int compare_entries(const void *a, const void *b) {
  const tq_index_entry *left = a, *right = b;
  int order = strcmp(left->name, right->name);
  if (order != 0) return order;
  return (left->index > right->index) - (left->index < right->index);
}

static int compare_name(const void *name, const void *entry) {
  return strcmp(name, ((const tq_index_entry *)entry)->name);
}

void tq_index_sort(tq_index_entry *entries, size_t count) { qsort(entries, count, sizeof *entries, compare_entries); }

const tq_index_entry *tq_index_duplicate(const tq_index_entry *entries, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (strcmp(entries[i - 1].name, entries[i].name) == 0) return &entries[i];
  return NULL;
}

size_t tq_index_find(const tq_index_entry *entries, size_t count, const char *name) {
  if (count == 0) return SIZE_MAX;
  const tq_index_entry *found = bsearch(name, entries, count, sizeof *entries, compare_name);
  return found ? found->index : SIZE_MAX;
}
