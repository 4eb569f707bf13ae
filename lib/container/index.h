/* A sorted index over names: look-ups and duplicates. */
#ifndef TQ_CONTAINER_INDEX_H
#define TQ_CONTAINER_INDEX_H

#include "tq/error.h"

#include <stddef.h>
#include <stdint.h>

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

typedef struct tq_attachment_name {
  uint32_t kind;
  const char *name; /* not owned */
} tq_attachment_name;

/* Sorts the names of a file's attachments and checks that they are unique among those of one kind, and that none of the
 * files is a folder that another lies in. `path` begins the message. */
tq_status tq_attachment_names_check(const char *path, tq_attachment_name *names, size_t count, tq_error *error);

#endif
