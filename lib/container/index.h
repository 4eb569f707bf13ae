/* A sorted index over names: look-ups and duplicates. */
#ifndef TQ_CONTAINER_INDEX_H
#define TQ_CONTAINER_INDEX_H

#include <stddef.h>

typedef struct tq_index_entry {
  const char *name; /* NUL-terminated, not owned */
  size_t index;     /* what it names */
} tq_index_entry;

/* Sorts bytewise by name, equal names by index. */
void tq_index_sort(tq_index_entry *entries, size_t count);
/* The second of two equal names in a sorted index, or NULL. */
const tq_index_entry *tq_index_duplicate(const tq_index_entry *entries, size_t count);
/* The index that `name` stands for, or SIZE_MAX. */
size_t tq_index_find(const tq_index_entry *entries, size_t count, const char *name);

#endif
