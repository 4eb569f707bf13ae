/* Key-values in GGUF's serialisation: a key (u64 length, bytes), a u32 type, a value; an array is a u32 item type, a
 * u64 count and the items. The index keeps where each key-value lies in the bytes, and the keys sorted. */
#include "tq/metadata.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum {
  MAX_KEY_SIZE = 65535,
  MAX_NESTING = 4, /* arrays within arrays */
  LENGTH_SIZE = 8, /* of a string */
  TYPE_SIZE = 4,
  ARRAY_HEAD = 12 /* item type and count */
};

/* Bytes of a value of each type; 0 where they vary. */
static const uint8_t type_sizes[] = {
    [TQ_VALUE_U8] = 1,  [TQ_VALUE_I8] = 1,  [TQ_VALUE_U16] = 2,  [TQ_VALUE_I16] = 2,    [TQ_VALUE_U32] = 4,
    [TQ_VALUE_I32] = 4, [TQ_VALUE_F32] = 4, [TQ_VALUE_BOOL] = 1, [TQ_VALUE_STRING] = 0, [TQ_VALUE_ARRAY] = 0,
    [TQ_VALUE_U64] = 8, [TQ_VALUE_I64] = 8, [TQ_VALUE_F64] = 8,
};

enum { TYPE_COUNT = sizeof type_sizes };

typedef struct entry {
  const uint8_t *key, *end; /* where the key-value begins and ends */
} entry;

struct tq_metadata {
  entry *entries;
  size_t count, capacity;
  const entry **sorted; /* by key */
};

/* ---- decoding of bytes that were validated ---- */

static tq_string string_at(const uint8_t *at) {
  return (tq_string){(const char *)at + LENGTH_SIZE, (size_t)tq_load_u64(at)};
}

static const uint8_t *skip_value(uint32_t type, const uint8_t *at) {
  if (type == TQ_VALUE_STRING) return at + LENGTH_SIZE + tq_load_u64(at);
  if (type != TQ_VALUE_ARRAY) return at + type_sizes[type];
  uint32_t item_type = tq_load_u32(at);
  uint64_t count = tq_load_u64(at + TYPE_SIZE);
  at += ARRAY_HEAD;
  if (type_sizes[item_type]) return at + count * type_sizes[item_type];
  while (count--) at = skip_value(item_type, at);
  return at;
}

static void set_unsigned(tq_value *value, uint64_t number) {
  value->unsigned_integer = number;
  value->integer = number <= INT64_MAX ? (int64_t)number : 0;
}

static void set_signed(tq_value *value, int64_t number) {
  value->integer = number;
  value->unsigned_integer = number >= 0 ? (uint64_t)number : 0;
}

/* An F32 as a double that narrow() turns back into the same bits: arithmetic would make a signalling NaN quiet. */
static double widen(uint32_t bits) {
  float single;
  memcpy(&single, &bits, sizeof single);
  if (single == single) return (double)single;
  uint64_t wide = (uint64_t)(bits & 0x80000000u) << 32 | 0x7ff0000000000000u | (uint64_t)(bits & 0x7fffffu) << 29;
  double number;
  memcpy(&number, &wide, sizeof number);
  return number;
}

static uint32_t narrow(double number) {
  uint32_t bits;
  if (number == number) {
    float single = (float)number;
    memcpy(&bits, &single, sizeof bits);
    return bits;
  }
  uint64_t wide;
  memcpy(&wide, &number, sizeof wide);
  bits = (uint32_t)(wide >> 29) & 0x7fffffu;
  return (uint32_t)(wide >> 32 & 0x80000000u) | 0x7f800000u | (bits ? bits : 0x400000u);
}

/* The value that lies in [at, end). */
static void decode_value(uint32_t type, const uint8_t *at, const uint8_t *end, tq_value *value) {
  *value = (tq_value){.type = (tq_value_type)type};
  switch (value->type) {
  case TQ_VALUE_U8:
  case TQ_VALUE_BOOL:
    set_unsigned(value, *at);
    break;
  case TQ_VALUE_I8:
    set_signed(value, (int8_t)*at);
    break;
  case TQ_VALUE_U16:
    set_unsigned(value, tq_load_u16(at));
    break;
  case TQ_VALUE_I16:
    set_signed(value, (int16_t)tq_load_u16(at));
    break;
  case TQ_VALUE_U32:
    set_unsigned(value, tq_load_u32(at));
    break;
  case TQ_VALUE_I32:
    set_signed(value, (int32_t)tq_load_u32(at));
    break;
  case TQ_VALUE_U64:
    set_unsigned(value, tq_load_u64(at));
    break;
  case TQ_VALUE_I64:
    set_signed(value, (int64_t)tq_load_u64(at));
    break;
  case TQ_VALUE_F32:
    value->number = widen(tq_load_u32(at));
    break;
  case TQ_VALUE_F64:
    value->number = tq_load_f64(at);
    break;
  case TQ_VALUE_STRING:
    value->string = string_at(at);
    break;
  case TQ_VALUE_ARRAY:
    value->item_type = (tq_value_type)tq_load_u32(at);
    value->item_count = tq_load_u64(at + TYPE_SIZE);
    value->items = at + ARRAY_HEAD;
    value->items_size = (size_t)(end - value->items);
    break;
  }
}

/* ---- validation ---- */

typedef struct parser {
  const char *name; /* of the input, for messages */
  const uint8_t *data;
  size_t size, position;
  uint64_t index, count; /* which key-value of how many */
  tq_string key;         /* once it was read */
  bool truncated;
} parser;

/* "at byte 120, key \"general.name\"" */
static const char *place(const parser *p, char text[160]) {
  char key[100];
  if (p->key.data)
    snprintf(text, 160, "metadata byte %zu, key \"%s\"", p->position,
             tq_printable(p->key.data, p->key.size, key, sizeof key));
  else
    snprintf(text, 160, "metadata byte %zu, key %llu", p->position, (unsigned long long)p->index);
  return text;
}

/* True when `size` more bytes are there; if not, the data ended too early. */
static tq_status need(parser *p, uint64_t size, tq_error *error) {
  if (size <= p->size - p->position) return TQ_OK;
  char where[160];
  p->truncated = true;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s: truncated: %llu bytes needed, %zu left", p->name, place(p, where),
                 (unsigned long long)size, p->size - p->position);
}

static tq_status wrong(const parser *p, tq_error *error, const char *what) {
  char where[160];
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s: %s", p->name, place(p, where), what);
}

static tq_status check_type(parser *p, uint32_t *type, tq_error *error) {
  tq_status status = need(p, TYPE_SIZE, error);
  if (status) return status;
  *type = tq_load_u32(p->data + p->position);
  if (*type < TYPE_COUNT) {
    p->position += TYPE_SIZE;
    return TQ_OK;
  }
  char what[48];
  snprintf(what, sizeof what, "unknown value type %u", (unsigned)*type);
  return wrong(p, error, what);
}

static tq_status check_bools(parser *p, uint64_t count, tq_error *error) {
  for (uint64_t i = 0; i < count; i++, p->position++)
    if (p->data[p->position] > 1) return wrong(p, error, "a bool that is neither 0 nor 1");
  return TQ_OK;
}

/* `count` values of a type of fixed size. */
static tq_status check_fixed(parser *p, uint32_t type, uint64_t count, tq_error *error) {
  uint64_t size;
  if (!tq_multiply_u64(count, type_sizes[type], &size)) size = UINT64_MAX;
  tq_status status = need(p, size, error);
  if (status) return status;
  if (type == TQ_VALUE_BOOL) return check_bools(p, count, error);
  p->position += (size_t)size;
  return TQ_OK;
}

static tq_status check_string(parser *p, tq_error *error) {
  tq_status status = need(p, LENGTH_SIZE, error);
  if (status) return status;
  uint64_t length = tq_load_u64(p->data + p->position);
  p->position += LENGTH_SIZE;
  status = need(p, length, error);
  if (status) return status;
  p->position += (size_t)length;
  return TQ_OK;
}

static tq_status check_value(parser *p, uint32_t type, unsigned nesting, tq_error *error);

/* Strings and arrays take bytes of their own each, so that a count larger than the data ends the walk early. */
static tq_status check_array(parser *p, unsigned nesting, tq_error *error) {
  if (nesting > MAX_NESTING) return wrong(p, error, "arrays nested more than 4 deep");
  uint32_t item_type;
  tq_status status = check_type(p, &item_type, error);
  if (!status) status = need(p, LENGTH_SIZE, error);
  if (status) return status;
  uint64_t count = tq_load_u64(p->data + p->position);
  p->position += LENGTH_SIZE;
  if (type_sizes[item_type]) return check_fixed(p, item_type, count, error);
  for (uint64_t i = 0; i < count && !status; i++) status = check_value(p, item_type, nesting, error);
  return status;
}

static tq_status check_value(parser *p, uint32_t type, unsigned nesting, tq_error *error) {
  if (type == TQ_VALUE_STRING) return check_string(p, error);
  if (type == TQ_VALUE_ARRAY) return check_array(p, nesting + 1, error);
  return check_fixed(p, type, 1, error);
}

static const char *key_problem(const char *key, uint64_t size) {
  if (!size) return "an empty key";
  if (size > MAX_KEY_SIZE) return "a key longer than 65535 bytes";
  return tq_is_utf8(key, (size_t)size) ? NULL : "a key that is not UTF-8";
}

static tq_status check_key(parser *p, tq_error *error) {
  p->key = (tq_string){0};
  tq_status status = need(p, LENGTH_SIZE, error);
  if (status) return status;
  uint64_t length = tq_load_u64(p->data + p->position);
  if (!length || length > MAX_KEY_SIZE) return wrong(p, error, key_problem(NULL, length));
  status = check_string(p, error);
  if (status) return status;
  p->key = (tq_string){(const char *)p->data + p->position - length, (size_t)length};
  const char *problem = key_problem(p->key.data, length);
  return problem ? wrong(p, error, problem) : TQ_OK;
}

/* ---- the index ---- */

static tq_string entry_key(const entry *e) { return string_at(e->key); }

static int compare_strings(tq_string a, tq_string b) {
  int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
  return order ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_keys(const void *a, const void *b) {
  const entry *const *x = a, *const *y = b;
  return compare_strings(entry_key(*x), entry_key(*y));
}

static int compare_with_key(const void *key, const void *candidate) {
  return compare_strings(*(const tq_string *)key, entry_key(*(const entry *const *)candidate));
}

/* Sorts the keys, which brings duplicates together. Not a hash table: whoever makes a file could choose keys that all
 * meet in one slot. */
static tq_status index_keys(tq_metadata *metadata, const char *name, tq_error *error) {
  metadata->sorted = tq_allocate(metadata->count, sizeof *metadata->sorted, error);
  if (!metadata->sorted) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < metadata->count; i++) metadata->sorted[i] = &metadata->entries[i];
  qsort(metadata->sorted, metadata->count, sizeof *metadata->sorted, compare_keys);
  for (size_t i = 1; i < metadata->count; i++) {
    if (compare_keys(&metadata->sorted[i - 1], &metadata->sorted[i]) != 0) continue;
    tq_string key = entry_key(metadata->sorted[i]);
    char text[100];
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: metadata key \"%s\" appears twice", name,
                   tq_printable(key.data, key.size, text, sizeof text));
  }
  return TQ_OK;
}

static tq_status parse_entries(parser *p, tq_metadata *metadata, tq_error *error) {
  if (p->count >= UINT32_MAX) return wrong(p, error, "more keys than an index can hold");
  for (; p->index < p->count; p->index++) {
    size_t start = p->position;
    uint32_t type = 0;
    tq_status status = check_key(p, error);
    if (!status) status = check_type(p, &type, error);
    if (!status) status = check_value(p, type, 0, error);
    void *entries = metadata->entries;
    if (!status) status = tq_grow(&entries, &metadata->capacity, metadata->count + 1, sizeof(entry), error);
    if (status) return status;
    metadata->entries = entries;
    metadata->entries[metadata->count++] = (entry){p->data + start, p->data + p->position};
  }
  return TQ_OK;
}

tq_status tq_metadata_parse(const char *name, const uint8_t *data, size_t size, uint64_t count, size_t *consumed,
                            bool *truncated, tq_metadata **metadata, tq_error *error) {
  if (truncated) *truncated = false;
  tq_metadata *parsed = tq_allocate(1, sizeof *parsed, error);
  if (!parsed) return TQ_ERROR_SYSTEM;
  parser p = {.name = name, .data = data, .size = size, .count = count};
  tq_status status = parse_entries(&p, parsed, error);
  if (!status) status = index_keys(parsed, name, error);
  if (truncated) *truncated = p.truncated;
  if (status) {
    tq_metadata_free(parsed);
    return status;
  }
  if (consumed) *consumed = p.position;
  *metadata = parsed;
  return TQ_OK;
}

void tq_metadata_free(tq_metadata *metadata) {
  if (!metadata) return;
  tq_free(metadata->entries);
  tq_free(metadata->sorted);
  tq_free(metadata);
}

size_t tq_metadata_count(const tq_metadata *metadata) { return metadata->count; }

void tq_metadata_at(const tq_metadata *metadata, size_t index, tq_string *key, tq_value *value) {
  const entry *e = &metadata->entries[index];
  *key = entry_key(e);
  const uint8_t *type = e->key + LENGTH_SIZE + key->size;
  decode_value(tq_load_u32(type), type + TYPE_SIZE, e->end, value);
}

bool tq_metadata_find(const tq_metadata *metadata, const char *key, tq_value *value) {
  tq_string wanted = {key, strlen(key)}, found;
  const entry **place = bsearch(&wanted, metadata->sorted, metadata->count, sizeof *metadata->sorted, compare_with_key);
  if (place) tq_metadata_at(metadata, (size_t)(*place - metadata->entries), &found, value);
  return place != NULL;
}

static bool is_signed(tq_value_type type) {
  return type == TQ_VALUE_I8 || type == TQ_VALUE_I16 || type == TQ_VALUE_I32 || type == TQ_VALUE_I64;
}

static bool is_unsigned(tq_value_type type) {
  return type == TQ_VALUE_U8 || type == TQ_VALUE_U16 || type == TQ_VALUE_U32 || type == TQ_VALUE_U64;
}

uint64_t tq_metadata_u64(const tq_metadata *metadata, const char *key, uint64_t otherwise) {
  tq_value value;
  if (!tq_metadata_find(metadata, key, &value)) return otherwise;
  bool fits = is_unsigned(value.type) || (is_signed(value.type) && value.integer >= 0);
  return fits ? value.unsigned_integer : otherwise;
}

double tq_metadata_f64(const tq_metadata *metadata, const char *key, double otherwise) {
  const uint64_t exact = (uint64_t)1 << 53; /* integers up to here are doubles */
  tq_value value;
  if (!tq_metadata_find(metadata, key, &value)) return otherwise;
  if (value.type == TQ_VALUE_F32 || value.type == TQ_VALUE_F64) return value.number;
  if (is_unsigned(value.type)) return value.unsigned_integer <= exact ? (double)value.unsigned_integer : otherwise;
  bool fits = is_signed(value.type) && value.integer >= -(int64_t)exact && value.integer <= (int64_t)exact;
  return fits ? (double)value.integer : otherwise;
}

bool tq_metadata_bool(const tq_metadata *metadata, const char *key, bool otherwise) {
  tq_value value;
  if (!tq_metadata_find(metadata, key, &value) || value.type != TQ_VALUE_BOOL) return otherwise;
  return value.unsigned_integer != 0;
}

tq_string tq_metadata_string(const tq_metadata *metadata, const char *key) {
  tq_value value;
  if (!tq_metadata_find(metadata, key, &value)) return (tq_string){0};
  return value.string;
}

bool tq_array_next(const tq_value *array, size_t *cursor, tq_value *item) {
  if (array->type != TQ_VALUE_ARRAY || *cursor >= array->items_size) return false;
  const uint8_t *at = array->items + *cursor, *end = skip_value(array->item_type, at);
  decode_value(array->item_type, at, end, item);
  *cursor = (size_t)(end - array->items);
  return true;
}

/* ---- building ---- */

/* Writes key and type, and gives the place of the value's `size` bytes in *value: nothing is left half written. */
static tq_status begin(tq_metadata_builder *builder, tq_string key, tq_value_type type, uint64_t size, uint8_t **value,
                       tq_error *error) {
  const char *problem = key_problem(key.data, key.size);
  if (problem) return tq_fail(error, TQ_ERROR_CORRUPT, "metadata: %s", problem);
  uint64_t needed = builder->size + (uint64_t)LENGTH_SIZE + key.size + TYPE_SIZE;
  if (!tq_add_u64(needed, size, &needed) || needed > SIZE_MAX)
    return tq_fail(error, TQ_ERROR_SYSTEM, "metadata: more than memory can hold");
  void *data = builder->data;
  tq_status status = tq_grow(&data, &builder->capacity, (size_t)needed, 1, error);
  if (status) return status;
  builder->data = data;
  uint8_t *at = builder->data + builder->size;
  tq_store_u64(at, key.size);
  memcpy(at + LENGTH_SIZE, key.data, key.size);
  tq_store_u32(at + LENGTH_SIZE + key.size, (uint32_t)type);
  *value = at + LENGTH_SIZE + key.size + TYPE_SIZE;
  builder->size = (size_t)needed;
  builder->count++;
  return TQ_OK;
}

static tq_string key_string(const char *key) { return (tq_string){key, strlen(key)}; }

tq_status tq_metadata_add_u32(tq_metadata_builder *builder, const char *key, uint32_t value, tq_error *error) {
  tq_value made = {.type = TQ_VALUE_U32, .unsigned_integer = value};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_i32(tq_metadata_builder *builder, const char *key, int32_t value, tq_error *error) {
  tq_value made = {.type = TQ_VALUE_I32, .integer = value};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_u64(tq_metadata_builder *builder, const char *key, uint64_t value, tq_error *error) {
  tq_value made = {.type = TQ_VALUE_U64, .unsigned_integer = value};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_f32(tq_metadata_builder *builder, const char *key, float value, tq_error *error) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  tq_value made = {.type = TQ_VALUE_F32, .number = widen(bits)};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_bool(tq_metadata_builder *builder, const char *key, bool value, tq_error *error) {
  tq_value made = {.type = TQ_VALUE_BOOL, .unsigned_integer = value};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_string(tq_metadata_builder *builder, const char *key, const char *value, size_t size,
                                 tq_error *error) {
  tq_value made = {.type = TQ_VALUE_STRING, .string = {value, size}};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

tq_status tq_metadata_add_array(tq_metadata_builder *builder, const char *key, tq_value_type item_type, uint64_t count,
                                const void *items, size_t items_size, tq_error *error) {
  tq_value made = {
      .type = TQ_VALUE_ARRAY, .item_type = item_type, .item_count = count, .items = items, .items_size = items_size};
  return tq_metadata_add_value(builder, key_string(key), &made, error);
}

/* The bytes that a value of any type but string and array takes, as an integer of that size. */
static uint64_t scalar_bits(const tq_value *value) {
  if (value->type == TQ_VALUE_F32) return narrow(value->number);
  if (is_signed(value->type)) return (uint64_t)value->integer;
  if (value->type != TQ_VALUE_F64) return value->unsigned_integer;
  uint64_t bits;
  memcpy(&bits, &value->number, sizeof bits);
  return bits;
}

static void store_bytes(uint8_t *to, const void *from, size_t size) {
  if (size) memcpy(to, from, size);
}

tq_status tq_metadata_add_value(tq_metadata_builder *builder, tq_string key, const tq_value *value, tq_error *error) {
  uint64_t size = value->type == TQ_VALUE_STRING  ? value->string.size + (uint64_t)LENGTH_SIZE
                  : value->type == TQ_VALUE_ARRAY ? value->items_size + (uint64_t)ARRAY_HEAD
                                                  : type_sizes[value->type];
  uint8_t *at = NULL;
  tq_status status = begin(builder, key, value->type, size, &at, error);
  if (status) return status;
  if (value->type == TQ_VALUE_STRING) {
    tq_store_u64(at, value->string.size);
    store_bytes(at + LENGTH_SIZE, value->string.data, value->string.size);
  } else if (value->type == TQ_VALUE_ARRAY) {
    tq_store_u32(at, (uint32_t)value->item_type);
    tq_store_u64(at + TYPE_SIZE, value->item_count);
    store_bytes(at + ARRAY_HEAD, value->items, value->items_size);
  } else {
    uint64_t bits = scalar_bits(value);
    for (uint64_t i = 0; i < size; i++) at[i] = (uint8_t)(bits >> (8 * i));
  }
  return TQ_OK;
}

void tq_metadata_builder_free(tq_metadata_builder *builder) {
  tq_free(builder->data);
  *builder = (tq_metadata_builder){0};
}
