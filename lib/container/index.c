#include "container/index.h"

#include "base/file.h"
#include "tq/container.h"

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

static int compare_attachments(const void *a, const void *b) {
  const tq_attachment_name *left = a, *right = b;
  if (left->kind != right->kind) return left->kind < right->kind ? -1 : 1;
  return tq_compare_paths(left->name, right->name);
}

tq_status tq_attachment_names_check(const char *path, tq_attachment_name *names, size_t count, tq_error *error) {
  qsort(names, count, sizeof *names, compare_attachments);
  for (size_t i = 1; i < count; i++) {
    const tq_attachment_name *before = &names[i - 1], *one = &names[i];
    if (before->kind != one->kind) continue;
    if (strcmp(before->name, one->name) == 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: duplicate attachment %s", path, one->name);
    if (one->kind == TQ_ATTACHMENT_FILE && tq_path_lies_below(one->name, before->name))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section attachments: %s is both a file and the folder of %s", path,
                     before->name, one->name);
  }
  return TQ_OK;
}
