#include "tools/inspect_compare.h"

#include "base/memory.h"
#include "formats/dialects/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Values of each model at once. */
enum { VALUES_AT_ONCE = 1 << 19 };

/* ---- the values of a tensor, whatever file it lies in ---- */

typedef struct values {
  inspect_model *model;
  size_t index;
  tq_ternary_reader *reader; /* of a foreign checkpoint's tensor, or NULL */
} values;

static tq_status open_values(inspect_model *model, const inspect_tensor *tensor, values *of, tq_error *error) {
  *of = (values){.model = model, .index = (size_t)(tensor - model->tensors)};
  return model->file ? TQ_OK : tq_ternary_reader_create(model->checkpoint, of->index, NULL, &of->reader, error);
}

static tq_status read_values(values *of, uint64_t first, uint64_t count, float *into, tq_error *error) {
  return of->model->file ? tq_tensor_decode(of->model->file, of->index, first, count, into, error)
                         : tq_ternary_reader_values(of->reader, first, count, into, error);
}

/* ---- one tensor ---- */

static bool same_shape(const inspect_tensor *a, const inspect_tensor *b) {
  return a->dimensions == b->dimensions && memcmp(a->shape, b->shape, a->dimensions * sizeof *a->shape) == 0;
}

static int sign(float value) { return (value > 0) - (value < 0); }

/* Sums that are collected over a tensor. */
typedef struct sums {
  double difference, first;
} sums;

static void compare_values(const float *a, const float *b, uint64_t count, uint64_t columns, uint64_t row,
                           compare_tensor *result, sums *total) {
  for (uint64_t i = 0; i < count; i++) {
    double distance = fabs((double)a[i] - (double)b[i]);
    total->first += (double)a[i] * (double)a[i];
    if (a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))) continue;
    if (!result->different++) {
      result->row = row + i / columns;
      result->column = i % columns;
    }
    result->different_signs += sign(a[i]) != sign(b[i]);
    if (!(distance <= result->furthest)) result->furthest = distance;
    total->difference += distance * distance;
  }
}

static tq_status compare_all_values(values *a, values *b, uint64_t rows, uint64_t columns, float *buffer,
                                    compare_tensor *result, tq_error *error) {
  uint64_t at_once = VALUES_AT_ONCE / columns;
  sums total = {0};
  if (at_once == 0) at_once = 1;
  float *other = buffer + at_once * columns;
  for (uint64_t row = 0, count; row < rows; row += count) {
    count = rows - row < at_once ? rows - row : at_once;
    tq_status status = read_values(a, row, count, buffer, error);
    if (!status) status = read_values(b, row, count, other, error);
    if (status) return status;
    compare_values(buffer, other, count * columns, columns, row, result, &total);
  }
  result->relative = sqrt(total.difference) / sqrt(total.first);
  return TQ_OK;
}

static bool is_ternary(const inspect_tensor *tensor) { return tensor->kind == INSPECT_TERNARY; }

static compare_kind kind_of(const compare_tensor *result) {
  if (!is_ternary(result->first) || !is_ternary(result->second)) return COMPARE_VALUES;
  uint64_t twos = result->first->trits[3], others = result->second->trits[3];
  /* A +2 looks like +1 of a larger scale, so that of scales nothing can be said. */
  if (twos || others) return result->different_signs || twos != others ? COMPARE_TRITS : COMPARE_SCALES;
  if (!result->different_signs) return COMPARE_SCALES;
  return result->different > result->different_signs ? COMPARE_TRITS_AND_SCALES : COMPARE_TRITS;
}

/* Fills in how two tensors of one role and shape differ. Those whose types have no values are told by their bytes. */
static tq_status measure(comparison *all, compare_tensor *result, tq_error *error) {
  const inspect_tensor *first = result->first;
  uint64_t columns = first->shape[first->dimensions - 1], rows = first->elements / columns;
  uint64_t at_once = VALUES_AT_ONCE / columns ? VALUES_AT_ONCE / columns : 1;
  values a = {0}, b = {0};
  float *buffer = tq_allocate((size_t)at_once, 2 * (size_t)columns * sizeof *buffer, error);
  if (!buffer) return TQ_ERROR_SYSTEM;
  tq_status status = open_values((inspect_model *)all->first, first, &a, error);
  if (!status) status = open_values((inspect_model *)all->second, result->second, &b, error);
  if (!status) status = compare_all_values(&a, &b, rows, columns, buffer, result, error);
  result->kind = status == TQ_ERROR_CORRUPT ? COMPARE_UNREADABLE : kind_of(result);
  tq_ternary_reader_destroy(a.reader);
  tq_ternary_reader_destroy(b.reader);
  tq_free(buffer);
  return status == TQ_ERROR_CORRUPT ? TQ_OK : status;
}

static tq_status append(comparison *result, const compare_tensor *tensor, tq_error *error) {
  tq_status status =
      tq_grow((void **)&result->tensors, &result->capacity, result->tensor_count + 1, sizeof *result->tensors, error);
  if (!status) result->tensors[result->tensor_count++] = *tensor;
  return status;
}

static tq_status compare_pair(comparison *result, const inspect_tensor *a, const inspect_tensor *b, tq_error *error) {
  compare_tensor tensor = {.first = a, .second = b};
  bool ternary = is_ternary(a) || is_ternary(b);
  result->compared++;
  if (same_shape(a, b) && memcmp(&a->content, &b->content, sizeof a->content) == 0) return TQ_OK;
  if (ternary) result->ternary = false;
  if (!same_shape(a, b)) {
    tensor.kind = COMPARE_SHAPE;
    return append(result, &tensor, error);
  }
  tq_status status = measure(result, &tensor, error);
  return status ? status : append(result, &tensor, error);
}

/* ---- all tensors, by role ---- */

static int compare_roles(const void *a, const void *b) {
  const inspect_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->role, (*y)->role);
}

/* The tensors that count, sorted by role; freed by the caller. */
static const inspect_tensor **sort(const inspect_model *model, size_t *count, tq_error *error) {
  const inspect_tensor **sorted = tq_allocate(model->tensor_count, sizeof *sorted, error);
  *count = 0;
  for (size_t i = 0; sorted && i < model->tensor_count; i++) {
    if (!tq_role_is_derived(model->tensors[i].role)) sorted[(*count)++] = &model->tensors[i];
  }
  if (sorted) qsort(sorted, *count, sizeof *sorted, compare_roles);
  return sorted;
}

static const inspect_tensor *find(const inspect_tensor **sorted, size_t count, const char *role) {
  inspect_tensor wanted = {.role = role};
  const inspect_tensor *key = &wanted, **found = bsearch(&key, sorted, count, sizeof *sorted, compare_roles);
  return found ? *found : NULL;
}

/* A head that is not there is the embedding. */
static const inspect_tensor *counterpart(const inspect_tensor **sorted, size_t count, const char *role) {
  const inspect_tensor *found = find(sorted, count, role);
  return found || strcmp(role, "head") != 0 ? found : find(sorted, count, "embedding");
}

static tq_status add_alone(comparison *result, const inspect_tensor *tensor, const compare_tensor *alone,
                           tq_error *error) {
  result->compared++;
  if (is_ternary(tensor)) result->ternary = false;
  return append(result, alone, error);
}

static tq_status compare_sorted(comparison *result, const inspect_tensor **a, size_t a_count, const inspect_tensor **b,
                                size_t b_count, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < a_count; i++) {
    const inspect_tensor *other = counterpart(b, b_count, a[i]->role);
    compare_tensor alone = {.first = a[i], .kind = COMPARE_ONLY_FIRST};
    status = other ? compare_pair(result, a[i], other, error) : add_alone(result, a[i], &alone, error);
  }
  for (size_t i = 0; !status && i < b_count; i++) {
    if (find(a, a_count, b[i]->role)) continue;
    const inspect_tensor *other = counterpart(a, a_count, b[i]->role);
    compare_tensor alone = {.second = b[i], .kind = COMPARE_ONLY_SECOND};
    status = other ? compare_pair(result, other, b[i], error) : add_alone(result, b[i], &alone, error);
  }
  return status;
}

static bool has_ternary(const inspect_model *model) {
  for (size_t i = 0; i < model->tensor_count; i++) {
    if (is_ternary(&model->tensors[i])) return true;
  }
  return false;
}

static tq_status compare_weights(comparison *result, tq_error *error) {
  size_t a_count, b_count;
  const inspect_tensor **b = NULL, **a = sort(result->first, &a_count, error);
  tq_status status = TQ_ERROR_SYSTEM;
  if (a) b = sort(result->second, &b_count, error);
  if (b) status = compare_sorted(result, a, a_count, b, b_count, error);
  tq_free(a);
  tq_free(b);
  return status;
}

static bool same_digest(const tq_digest *a, const tq_digest *b) { return memcmp(a, b, sizeof *a) == 0; }

tq_status compare_models(inspect_model *first, inspect_model *second, comparison *result, tq_error *error) {
  *result = (comparison){.first = first, .second = second};
  result->weights = same_digest(&first->weights, &second->weights);
  result->tokenizer = same_digest(&first->tokenizer_digest, &second->tokenizer_digest);
  result->ternary = has_ternary(first) && has_ternary(second);
  tq_status status = compare_functions(result, error);
  compare_tokenizers(result);
  return status || result->weights ? status : compare_weights(result, error);
}

void compare_free(comparison *result) { tq_free(result->tensors); }

bool compare_is_identical(const comparison *result) { return result->weights && result->function && result->tokenizer; }
