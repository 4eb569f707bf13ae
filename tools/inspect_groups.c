/* Tensors that say the same, layer after layer, become one line. */
#include "base/memory.h"
#include "base/text.h"
#include "tools/inspect.h"

#include <stdlib.h>
#include <string.h>

/* The order in which groups are shown; those that are not listed come behind, as the file has them. */
static const char *const order[] = {
    "embedding",
    "layers.*.q",
    "layers.*.k",
    "layers.*.v",
    "layers.*.o",
    "layers.*.gate",
    "layers.*.up",
    "layers.*.down",
    "layers.*.q_bias",
    "layers.*.k_bias",
    "layers.*.v_bias",
    "layers.*.o_bias",
    "layers.*.gate_bias",
    "layers.*.up_bias",
    "layers.*.down_bias",
    "head",
    "norms",
};

enum { LISTED = sizeof order / sizeof *order };

/* A tensor on its way into a group. */
typedef struct member {
  const inspect_tensor *tensor;
  char *name;
  size_t rank, index;
} member;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* The role with every number between dots replaced by '*'; "norms" for the norms of a known model. */
static char *group_name(const char *role, tq_error *error) {
  if (tq_ends_with(role, "_norm")) return tq_copy_string("norms", 5, error);
  char *name = tq_copy_string(role, strlen(role), error);
  if (!name) return NULL;
  char *to = name;
  for (const char *from = role; *from;) {
    size_t digits = 0;
    bool starts = from == role || from[-1] == '.';
    while (starts && is_digit(from[digits])) digits++;
    bool number = digits && (from[digits] == '.' || !from[digits]);
    *to++ = number ? '*' : *from;
    from += number ? digits : 1;
  }
  *to = 0;
  return name;
}

static size_t rank_of(const char *name) {
  size_t rank = 0;
  while (rank < LISTED && strcmp(order[rank], name) != 0) rank++;
  return rank;
}

static int compare_numbers(uint64_t a, uint64_t b) { return a < b ? -1 : a > b; }

static int compare_looks(const inspect_tensor *a, const inspect_tensor *b) {
  int result = strcmp(a->encoding, b->encoding);
  if (!result) result = compare_numbers(a->dimensions, b->dimensions);
  for (uint32_t i = 0; i < a->dimensions && !result; i++) result = compare_numbers(a->shape[i], b->shape[i]);
  if (!result) result = compare_numbers(a->scales.granularity, b->scales.granularity);
  if (!result) result = compare_numbers(a->scales.group, b->scales.group);
  if (!result) result = compare_numbers(a->scales.encoding, b->scales.encoding);
  if (!result) result = compare_numbers(a->scales.direction, b->scales.direction);
  return result ? result : compare_numbers(a->scales.count, b->scales.count);
}

/* Brings the members of a group together. */
static int compare_members(const void *a, const void *b) {
  const member *x = a, *y = b;
  int result = strcmp(x->name, y->name);
  if (!result) result = compare_looks(x->tensor, y->tensor);
  return result ? result : compare_numbers(x->index, y->index);
}

/* A group and what decides its place: its rank, then where its first tensor stands. */
typedef struct ranked {
  inspect_group group;
  size_t rank, index;
} ranked;

static int compare_ranked(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  int result = compare_numbers(x->rank, y->rank);
  return result ? result : compare_numbers(x->index, y->index);
}

void inspect_add(inspect_group *group, const inspect_tensor *tensor) {
  const inspect_scales *scales = &tensor->scales;
  group->count++;
  group->elements += tensor->elements;
  group->bytes += tensor->bytes;
  for (size_t i = 0; i < INSPECT_TRITS; i++) group->trits[i] += tensor->trits[i];
  if (!scales->count) return;
  if (!group->scales.count) {
    group->scales = *scales;
    return;
  }
  group->scales.count += scales->count;
  if (scales->least < group->scales.least) group->scales.least = scales->least;
  if (scales->most > group->scales.most) group->scales.most = scales->most;
}

void inspect_total(const inspect_model *model, inspect_group *total) {
  *total = (inspect_group){0};
  for (size_t i = 0; i < model->tensor_count; i++) inspect_add(total, &model->tensors[i]);
}

static tq_status make_members(const inspect_model *model, member *members, tq_error *error) {
  for (size_t i = 0; i < model->tensor_count; i++) {
    char *name = group_name(model->tensors[i].role, error);
    if (!name) return TQ_ERROR_SYSTEM;
    members[i] = (member){&model->tensors[i], name, rank_of(name), i};
  }
  qsort(members, model->tensor_count, sizeof *members, compare_members);
  return TQ_OK;
}

/* Takes the names of the groups from the first of their members. */
static size_t merge(member *members, size_t count, ranked *made) {
  size_t groups = 0;
  for (size_t i = 0; i < count; i++) {
    bool same = i && strcmp(members[i].name, made[groups - 1].group.name) == 0 &&
                compare_looks(members[i].tensor, members[i - 1].tensor) == 0;
    if (!same) {
      made[groups++] =
          (ranked){{.name = members[i].name, .first = members[i].tensor}, members[i].rank, members[i].index};
      members[i].name = NULL;
    }
    inspect_add(&made[groups - 1].group, members[i].tensor);
  }
  qsort(made, groups, sizeof *made, compare_ranked);
  return groups;
}

tq_status inspect_make_groups(const inspect_model *model, inspect_group **groups, size_t *count, tq_error *error) {
  size_t tensors = model->tensor_count;
  member *members = tq_allocate(tensors, sizeof *members, error);
  ranked *made = members ? tq_allocate(tensors, sizeof *made, error) : NULL;
  *groups = made ? tq_allocate(tensors, sizeof **groups, error) : NULL;
  *count = 0;
  tq_status status = *groups ? make_members(model, members, error) : TQ_ERROR_SYSTEM;
  if (!status) {
    *count = merge(members, tensors, made);
    for (size_t i = 0; i < *count; i++) (*groups)[i] = made[i].group;
  }
  for (size_t i = 0; members && i < tensors; i++) tq_free(members[i].name);
  tq_free(members);
  tq_free(made);
  if (status) tq_free(*groups), *groups = NULL;
  return status;
}

void inspect_free_groups(inspect_group *groups, size_t count) {
  for (size_t i = 0; i < count; i++) tq_free(groups[i].name);
  tq_free(groups);
}
