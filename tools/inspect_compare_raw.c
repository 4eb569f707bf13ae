/* Functions that are not computed here, told apart by the metadata that they come from, whatever it means. */
#include "base/memory.h"
#include "base/text.h"
#include "tools/inspect_compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

static bool is_real(tq_value_type type) { return type == TQ_VALUE_F32 || type == TQ_VALUE_F64; }

static bool is_integer(tq_value_type type) {
  return type <= TQ_VALUE_I32 || type == TQ_VALUE_U64 || type == TQ_VALUE_I64;
}

/* Writers differ in the type of a number, which means nothing. */
static bool same_type(tq_value_type a, tq_value_type b) {
  return a == b || (is_integer(a) && is_integer(b)) || (is_real(a) && is_real(b));
}

static bool same_text(tq_string a, tq_string b) { return a.size == b.size && memcmp(a.data, b.data, a.size) == 0; }

static bool same_value(const tq_value *a, const tq_value *b);

/* The first item that differs, of arrays of one length; false when none does. */
static bool find_item(const tq_value *a, const tq_value *b, uint64_t *at, tq_value *x, tq_value *y) {
  size_t a_cursor = 0, b_cursor = 0;
  for (*at = 0; tq_array_next(a, &a_cursor, x) && tq_array_next(b, &b_cursor, y); ++*at)
    if (!same_value(x, y)) return true;
  return false;
}

static bool same_value(const tq_value *a, const tq_value *b) {
  tq_value x, y;
  uint64_t at;
  if (!same_type(a->type, b->type)) return false;
  if (a->type == TQ_VALUE_STRING) return same_text(a->string, b->string);
  if (a->type == TQ_VALUE_ARRAY) return a->item_count == b->item_count && !find_item(a, b, &at, &x, &y);
  if (is_real(a->type)) return a->number == b->number || (isnan(a->number) && isnan(b->number));
  return a->unsigned_integer == b->unsigned_integer && a->integer == b->integer;
}

static void print_value(const tq_value *value, char *text, size_t size) {
  if (!value)
    snprintf(text, size, "absent");
  else if (value->type == TQ_VALUE_STRING)
    tq_printable(value->string.data, value->string.size, text, size);
  else if (value->type == TQ_VALUE_ARRAY)
    snprintf(text, size, "%llu items", (unsigned long long)value->item_count);
  else if (value->type == TQ_VALUE_BOOL)
    snprintf(text, size, "%s", value->unsigned_integer ? "true" : "false");
  else if (is_real(value->type))
    snprintf(text, size, "%.*g", value->type == TQ_VALUE_F32 ? 9 : 17, value->number);
  else if (value->integer < 0)
    snprintf(text, size, "%lld", (long long)value->integer);
  else
    snprintf(text, size, "%llu", (unsigned long long)value->unsigned_integer);
}

/* ---- keys ---- */

typedef struct raw_key {
  tq_string name;
  tq_value value;
} raw_key;

static int compare_names(const void *a, const void *b) {
  const raw_key *x = a, *y = b;
  size_t size = x->name.size < y->name.size ? x->name.size : y->name.size;
  int order = memcmp(x->name.data, y->name.data, size);
  return order ? order : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

/* Only where architectures are the same are the keys under the name the same too. */
static bool tells_function(tq_string key, tq_string architecture) {
  bool below = architecture.size && key.size > architecture.size && key.data[architecture.size] == '.' &&
               memcmp(key.data, architecture.data, architecture.size) == 0;
  return below || tq_bytes_begin_with(key.data, key.size, "prism.");
}

/* The keys that count, sorted by name; freed by tq_free. */
static raw_key *gather(const tq_metadata *metadata, tq_string architecture, size_t *count, tq_error *error) {
  raw_key *keys = tq_allocate(tq_metadata_count(metadata), sizeof *keys, error);
  *count = 0;
  for (size_t i = 0; keys && i < tq_metadata_count(metadata); i++) {
    tq_metadata_at(metadata, i, &keys[*count].name, &keys[*count].value);
    *count += tells_function(keys[*count].name, architecture);
  }
  if (keys) qsort(keys, *count, sizeof *keys, compare_names);
  return keys;
}

/* NULL: the key is absent. */
static void add_difference(comparison *result, tq_string full, const tq_value *first, const tq_value *second) {
  char name[sizeof((compare_key *)NULL)->name];
  tq_value x, y;
  uint64_t item;
  tq_printable(full.data, full.size, name, sizeof name);
  bool arrays = first && second && first->type == TQ_VALUE_ARRAY && second->type == TQ_VALUE_ARRAY &&
                first->item_count == second->item_count;
  compare_key *key = compare_add_key(result, name);
  if (!key) return;
  if (arrays && find_item(first, second, &item, &x, &y)) {
    size_t used = strlen(key->name);
    snprintf(key->name + used, sizeof key->name - used, ", item %llu", (unsigned long long)item);
    first = &x;
    second = &y;
  }
  print_value(first, key->first, sizeof key->first);
  print_value(second, key->second, sizeof key->second);
}

/* Both sorted. */
static bool compare_keys(comparison *result, const raw_key *a, size_t a_count, const raw_key *b, size_t b_count) {
  bool same = true;
  for (size_t i = 0, k = 0; i < a_count || k < b_count;) {
    int order = i == a_count ? 1 : k == b_count ? -1 : compare_names(&a[i], &b[k]);
    tq_string name = order <= 0 ? a[i].name : b[k].name;
    const tq_value *first = order <= 0 ? &a[i++].value : NULL, *second = order >= 0 ? &b[k++].value : NULL;
    if (first && second && same_value(first, second)) continue;
    add_difference(result, name, first, second);
    same = false;
  }
  return same;
}

/* ---- all of it ---- */

static bool compare_architectures(comparison *result, tq_string a, tq_string b) {
  if (same_text(a, b)) return true;
  compare_key *key = compare_add_key(result, "architecture");
  if (!key) return false;
  snprintf(key->first, sizeof key->first, "none");
  snprintf(key->second, sizeof key->second, "none");
  if (a.size) tq_printable(a.data, a.size, key->first, sizeof key->first);
  if (b.size) tq_printable(b.data, b.size, key->second, sizeof key->second);
  return false;
}

static const inspect_tensor *find_rope_factors(const inspect_model *model) {
  for (size_t i = 0; i < model->tensor_count; i++)
    if (strcmp(model->tensors[i].role, "rope_factors") == 0) return &model->tensors[i];
  return NULL;
}

/* They are no weights: no other digest tells of them. */
static bool compare_rope_factors(comparison *result) {
  const inspect_tensor *a = find_rope_factors(result->first), *b = find_rope_factors(result->second);
  if (a == b || (a && b && memcmp(&a->content, &b->content, sizeof a->content) == 0)) return true;
  compare_key *key = compare_add_key(result, "RoPE factors");
  if (!key) return false;
  snprintf(key->first, sizeof key->first, "%s", !a ? "absent" : b ? "one" : "present");
  snprintf(key->second, sizeof key->second, "%s", !b ? "absent" : a ? "another" : "present");
  return false;
}

tq_status compare_raw_functions(comparison *result, bool *same, tq_error *error) {
  const tq_metadata *first = result->first->metadata, *second = result->second->metadata;
  tq_string a = tq_metadata_string(first, "general.architecture");
  tq_string b = tq_metadata_string(second, "general.architecture"), shared = same_text(a, b) ? a : (tq_string){0};
  size_t a_count, b_count;
  raw_key *a_keys = gather(first, shared, &a_count, error), *b_keys = NULL;
  if (a_keys) b_keys = gather(second, shared, &b_count, error);
  if (b_keys) {
    bool same_architecture = compare_architectures(result, a, b);
    bool same_keys = compare_keys(result, a_keys, a_count, b_keys, b_count);
    *same = compare_rope_factors(result) && same_keys && same_architecture;
  }
  tq_free(a_keys);
  tq_free(b_keys);
  return b_keys ? TQ_OK : TQ_ERROR_SYSTEM;
}
