#include "model/rotation.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "prism.hadamard."

/* Every key that there is. gdn_v_grouped is about the order of heads in linear attention, which none of the layers here
 * has: nothing follows from it. */
static const struct {
  const char *name;
  tq_value_type type;
  bool is_required;
} keys_known[] = {
    {"version", TQ_VALUE_U32, true},         {"block_size", TQ_VALUE_U32, true},
    {"transform", TQ_VALUE_STRING, true},    {"axis", TQ_VALUE_STRING, true},
    {"sign_mode", TQ_VALUE_STRING, true},    {"weight_names", TQ_VALUE_ARRAY, true},
    {"sign_widths", TQ_VALUE_ARRAY, false},  {"sign_values", TQ_VALUE_ARRAY, false},
    {"tied_output", TQ_VALUE_BOOL, false},   {"inverse_weight_names", TQ_VALUE_ARRAY, false},
    {"gdn_v_grouped", TQ_VALUE_BOOL, false},
};
enum { KEYS_KNOWN = sizeof keys_known / sizeof keys_known[0], KEY_SIZE = 64 };

static bool is_text(tq_string text, const char *other) {
  return text.size == strlen(other) && memcmp(text.data, other, text.size) == 0;
}

/* Integers of any type stand for U32, for writers differ. */
static bool is_integer(tq_value_type type) {
  return type <= TQ_VALUE_I32 || type == TQ_VALUE_U64 || type == TQ_VALUE_I64;
}

static bool find(const tq_metadata *metadata, const char *name, tq_value *value) {
  char key[KEY_SIZE];
  snprintf(key, sizeof key, PREFIX "%s", name);
  return tq_metadata_find(metadata, key, value);
}

/* ---- that all is there, and nothing else ---- */

static tq_status check_known(tq_string key, const tq_value *value, tq_error *error) {
  char text[80];
  for (size_t i = 0; i < KEYS_KNOWN; i++) {
    tq_string name = {key.data + strlen(PREFIX), key.size - strlen(PREFIX)};
    if (!is_text(name, keys_known[i].name)) continue;
    bool fits = keys_known[i].type == TQ_VALUE_U32 ? is_integer(value->type) : value->type == keys_known[i].type;
    return fits ? TQ_OK : tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "%s has a wrong type", keys_known[i].name);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT, "the key %s is not understood",
                 tq_printable(key.data, key.size, text, sizeof text));
}

/* *any says whether there is any key of a rotation. */
static tq_status check_keys(const tq_metadata *metadata, bool *any, tq_error *error) {
  tq_status status = TQ_OK;
  *any = false;
  for (size_t i = 0; !status && i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    if (!tq_bytes_begin_with(key.data, key.size, PREFIX)) continue;
    *any = true;
    status = check_known(key, &value, error);
  }
  for (size_t i = 0; !status && *any && i < KEYS_KNOWN; i++) {
    tq_value value;
    if (keys_known[i].is_required && !find(metadata, keys_known[i].name, &value))
      status = tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "%s is missing", keys_known[i].name);
  }
  return status;
}

/* ---- single values ---- */

static tq_status expect_text(const tq_metadata *metadata, const char *name, const char *expected, tq_error *error) {
  tq_value value = {0};
  char text[80];
  if (find(metadata, name, &value) && is_text(value.string, expected)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "%s: \"%s\" is not understood", name,
                 tq_printable(value.string.data, value.string.size, text, sizeof text));
}

static bool flag(const tq_metadata *metadata, const char *name) {
  tq_value value;
  return find(metadata, name, &value) && value.unsigned_integer;
}

/* Version 2 is version 1 with one more property, which it always has. */
static tq_status read_version(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error) {
  uint64_t version = tq_metadata_u64(metadata, PREFIX "version", UINT64_MAX);
  keys->tied = flag(metadata, "tied_output");
  if (version != 1 && version != 2)
    return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "version: only 1 and 2 are understood");
  if (keys->tied != (version == 2))
    return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "version %" PRIu64 " with%s tied_output is not understood", version,
                   keys->tied ? "" : "out");
  return TQ_OK;
}

static tq_status read_block(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error) {
  uint64_t block = tq_metadata_u64(metadata, PREFIX "block_size", 0);
  if (block == 0 || block > INT32_MAX || (block & (block - 1)) != 0)
    return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "block_size is not a power of two");
  keys->block = (uint32_t)block;
  return TQ_OK;
}

/* ---- signs ---- */

static tq_status fail_signs(tq_error *error, const char *reason) {
  return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "sign_widths and sign_values: %s", reason);
}

static tq_status read_widths(const tq_value *array, tq_rotation_keys *keys, uint64_t *total, tq_error *error) {
  tq_value item;
  size_t cursor = 0;
  *total = 0;
  if (array->item_count == 0 || array->item_count > TQ_MOST_SIGN_WIDTHS)
    return fail_signs(error, "there is no width, or more than 64 are");
  while (tq_array_next(array, &cursor, &item)) {
    if (!is_integer(item.type) || item.integer < 1 || item.integer > INT32_MAX || item.integer % keys->block != 0)
      return fail_signs(error, "a width is not a multiple of the block");
    for (size_t i = 0; i < keys->width_count; i++)
      if (keys->widths[i] == item.integer) return fail_signs(error, "a width stands there twice");
    keys->widths[keys->width_count++] = (uint32_t)item.integer;
    *total += (uint64_t)item.integer;
  }
  return TQ_OK;
}

static tq_status read_values(const tq_value *array, uint64_t total, tq_rotation_keys *keys, tq_error *error) {
  tq_value item;
  size_t cursor = 0;
  if (array->item_count != total || !is_integer(array->item_type))
    return fail_signs(error, "there are not as many signs as the widths ask for");
  keys->signs = tq_allocate((size_t)total, sizeof *keys->signs, error);
  if (!keys->signs) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; tq_array_next(array, &cursor, &item); i++) {
    if (item.integer != 1 && item.integer != -1) return fail_signs(error, "a sign is neither 1 nor -1");
    keys->signs[i] = (float)item.integer;
  }
  return TQ_OK;
}

static tq_status read_signs(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error) {
  tq_value mode = {0}, widths = {0}, values = {0};
  uint64_t total;
  find(metadata, "sign_mode", &mode);
  find(metadata, "sign_widths", &widths);
  find(metadata, "sign_values", &values);
  keys->has_signs = is_text(mode.string, "explicit");
  if (!keys->has_signs && (widths.item_count || values.item_count))
    return fail_signs(error, "there are signs, but sign_mode is not \"explicit\"");
  if (!keys->has_signs) return expect_text(metadata, "sign_mode", "identity", error);
  tq_status status = read_widths(&widths, keys, &total, error);
  return status ? status : read_values(&values, total, keys, error);
}

/* ---- names ---- */

static int compare(tq_string a, tq_string b) {
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_names(const void *a, const void *b) { return compare(*(const tq_string *)a, *(const tq_string *)b); }

static tq_status read_names(const tq_metadata *metadata, const char *key, tq_rotated_names *names, tq_error *error) {
  tq_value array = {0}, item;
  size_t cursor = 0;
  char text[80];
  if (!find(metadata, key, &array) || array.item_count == 0) return TQ_OK;
  if (array.item_type != TQ_VALUE_STRING) return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "%s has a wrong type", key);
  names->names = tq_allocate((size_t)array.item_count, sizeof *names->names, error);
  if (names->names) names->bound = tq_allocate((size_t)array.item_count, sizeof *names->bound, error);
  if (!names->bound) return TQ_ERROR_SYSTEM;
  while (tq_array_next(&array, &cursor, &item)) names->names[names->count++] = item.string;
  qsort(names->names, names->count, sizeof *names->names, compare_names);
  for (size_t i = 1; i < names->count; i++)
    if (compare(names->names[i - 1], names->names[i]) == 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "%s: %s stands there twice", key,
                     tq_printable(names->names[i].data, names->names[i].size, text, sizeof text));
  return TQ_OK;
}

static size_t find_name(const tq_rotated_names *names, tq_string name) {
  const tq_string *found = names->count ? bsearch(&name, names->names, names->count, sizeof name, compare_names) : NULL;
  return found ? (size_t)(found - names->names) : SIZE_MAX;
}

bool tq_rotation_lists(const tq_rotated_names *names, const char *name) {
  size_t index = find_name(names, (tq_string){name, strlen(name)});
  if (index == SIZE_MAX) return false;
  names->bound[index] = true;
  return true;
}

const tq_string *tq_rotation_unbound(const tq_rotated_names *names) {
  for (size_t i = 0; i < names->count; i++)
    if (!names->bound[i]) return &names->names[i];
  return NULL;
}

static tq_status read_all_names(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error) {
  char text[80];
  tq_status status = read_names(metadata, "weight_names", &keys->weights, error);
  if (!status) status = read_names(metadata, "inverse_weight_names", &keys->embeddings, error);
  if (!status && keys->weights.count == 0) status = tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "weight_names is empty");
  for (size_t i = 0; !status && i < keys->embeddings.count; i++) {
    tq_string name = keys->embeddings.names[i];
    if (find_name(&keys->weights, name) != SIZE_MAX)
      status = tq_fail(error, TQ_ERROR_CORRUPT, PREFIX "weight_names and inverse_weight_names both list %s",
                       tq_printable(name.data, name.size, text, sizeof text));
  }
  return status;
}

/* ---- the whole ---- */

tq_status tq_rotation_read(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error) {
  bool any;
  *keys = (tq_rotation_keys){0};
  tq_status status = check_keys(metadata, &any, error);
  if (status || !any) return status;
  status = read_version(metadata, keys, error);
  if (!status) status = read_block(metadata, keys, error);
  if (!status) status = expect_text(metadata, "transform", "normalized-sylvester-walsh-hadamard", error);
  if (!status) status = expect_text(metadata, "axis", "input-last-dimension", error);
  if (!status) status = read_signs(metadata, keys, error);
  return status ? status : read_all_names(metadata, keys, error);
}

void tq_rotation_free(tq_rotation_keys *keys) {
  tq_free(keys->signs);
  tq_free(keys->weights.names);
  tq_free(keys->weights.bound);
  tq_free(keys->embeddings.names);
  tq_free(keys->embeddings.bound);
  *keys = (tq_rotation_keys){0};
}

const float *tq_rotation_signs(const tq_rotation_keys *keys, uint64_t width) {
  const float *signs = keys->signs;
  for (size_t i = 0; i < keys->width_count; signs += keys->widths[i++])
    if (keys->widths[i] == width) return signs;
  return NULL;
}

/* ---- digest ---- */

static void hash_u32(tq_hash_state *state, uint32_t value) {
  uint8_t bytes[4];
  tq_store_u32(bytes, value);
  tq_hash_update(state, bytes, sizeof bytes);
}

/* The width above `width` that comes next, or 0: the order in the file has no meaning. */
static uint32_t next_width(const tq_rotation_keys *keys, uint32_t width) {
  uint32_t next = 0;
  for (size_t i = 0; i < keys->width_count; i++)
    if (keys->widths[i] > width && (next == 0 || keys->widths[i] < next)) next = keys->widths[i];
  return next;
}

static void hash_signs(tq_hash_state *state, const tq_rotation_keys *keys) {
  hash_u32(state, (uint32_t)keys->width_count);
  for (uint32_t width = next_width(keys, 0); width; width = next_width(keys, width)) {
    const float *signs = tq_rotation_signs(keys, width);
    hash_u32(state, width);
    for (uint32_t i = 0; i < width; i++) tq_hash_update(state, signs[i] < 0 ? "\xff" : "\x01", 1);
  }
}

static void hash_names(tq_hash_state *state, const tq_rotated_names *names) {
  hash_u32(state, (uint32_t)names->count);
  for (size_t i = 0; i < names->count; i++) {
    hash_u32(state, (uint32_t)names->names[i].size);
    tq_hash_update(state, names->names[i].data, names->names[i].size);
  }
}

tq_status tq_rotation_digest(const tq_rotation_keys *keys, uint8_t digest[16], tq_error *error) {
  tq_hash_state *state;
  tq_hash hash;
  tq_status status = tq_hash_create(TQ_HASH_XXH3_128, &state, error);
  if (status) return status;
  hash_u32(state, keys->block);
  hash_u32(state, keys->tied);
  hash_signs(state, keys);
  hash_names(state, &keys->weights);
  hash_names(state, &keys->embeddings);
  tq_hash_final(state, &hash);
  tq_hash_destroy(state);
  memcpy(digest, hash.bytes, TQ_DIGEST_SIZE);
  return TQ_OK;
}
