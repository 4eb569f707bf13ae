/* Metadata: ordered, typed key-values with GGUF's key names, value types and serialisation. */
#ifndef TQ_METADATA_H
#define TQ_METADATA_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum tq_value_type { /* GGUF's numbers */
                             TQ_VALUE_U8 = 0,
                             TQ_VALUE_I8 = 1,
                             TQ_VALUE_U16 = 2,
                             TQ_VALUE_I16 = 3,
                             TQ_VALUE_U32 = 4,
                             TQ_VALUE_I32 = 5,
                             TQ_VALUE_F32 = 6,
                             TQ_VALUE_BOOL = 7,
                             TQ_VALUE_STRING = 8,
                             TQ_VALUE_ARRAY = 9,
                             TQ_VALUE_U64 = 10,
                             TQ_VALUE_I64 = 11,
                             TQ_VALUE_F64 = 12
} tq_value_type;

/* Not NUL-terminated: it points into the bytes it was parsed from. */
typedef struct tq_string {
  const char *data;
  size_t size;
} tq_string;

/* A value points into the bytes it was parsed from and lives as long as they do. */
typedef struct tq_value {
  tq_value_type type;
  uint64_t unsigned_integer; /* U8, U16, U32, U64, BOOL; non-negative I* too */
  int64_t integer;           /* I8, I16, I32, I64; U* that fit too */
  double number;             /* F32, F64 */
  tq_string string;          /* STRING */
  tq_value_type item_type;   /* ARRAY: what follows is its items */
  uint64_t item_count;
  const uint8_t *items; /* ARRAY: the items as serialised */
  size_t items_size;
} tq_value;

/* An index over serialised key-values. Immutable. */
typedef struct tq_metadata tq_metadata;

/* Parses `count` key-values at `data`, validating types, lengths, nesting (at most 4 arrays deep), UTF-8 keys and
 * duplicate keys. *consumed gets the bytes they took. The bytes must outlive the index.
 * When the data ends inside a key-value, *truncated (may be NULL) is set to true and the status is
 * TQ_ERROR_CORRUPT. `name` begins each message. */
tq_status tq_metadata_parse(const char *name, const uint8_t *data, size_t size, uint64_t count, size_t *consumed,
                            bool *truncated, tq_metadata **metadata, tq_error *error);
void tq_metadata_free(tq_metadata *metadata); /* NULL is allowed */

size_t tq_metadata_count(const tq_metadata *metadata);
void tq_metadata_at(const tq_metadata *metadata, size_t index, tq_string *key, tq_value *value);
/* False when there is no such key. */
bool tq_metadata_find(const tq_metadata *metadata, const char *key, tq_value *value);

/* Convenience look-ups: the value when the key exists and converts without loss, else `otherwise`. */
uint64_t tq_metadata_u64(const tq_metadata *metadata, const char *key, uint64_t otherwise);
double tq_metadata_f64(const tq_metadata *metadata, const char *key, double otherwise); /* integers convert too */
bool tq_metadata_bool(const tq_metadata *metadata, const char *key, bool otherwise);
/* An empty string with data == NULL when absent or not a string. */
tq_string tq_metadata_string(const tq_metadata *metadata, const char *key);

/* Walks an array's items: set *cursor to 0 first; false at the end. Cost per step is constant. */
bool tq_array_next(const tq_value *array, size_t *cursor, tq_value *item);

/* Serialises key-values into a growing buffer, in the order of the calls. Zero-initialise; free with
 * tq_metadata_builder_free. */
typedef struct tq_metadata_builder {
  uint8_t *data;
  size_t size, capacity;
  uint64_t count;
} tq_metadata_builder;

tq_status tq_metadata_add_u32(tq_metadata_builder *builder, const char *key, uint32_t value, tq_error *error);
tq_status tq_metadata_add_i32(tq_metadata_builder *builder, const char *key, int32_t value, tq_error *error);
tq_status tq_metadata_add_u64(tq_metadata_builder *builder, const char *key, uint64_t value, tq_error *error);
tq_status tq_metadata_add_f32(tq_metadata_builder *builder, const char *key, float value, tq_error *error);
tq_status tq_metadata_add_bool(tq_metadata_builder *builder, const char *key, bool value, tq_error *error);
tq_status tq_metadata_add_string(tq_metadata_builder *builder, const char *key, const char *value, size_t size,
                                 tq_error *error);
/* An array of `count` items already serialised in `items` (GGUF's form). */
tq_status tq_metadata_add_array(tq_metadata_builder *builder, const char *key, tq_value_type item_type, uint64_t count,
                                const void *items, size_t items_size, tq_error *error);
/* A value parsed elsewhere, as it was. */
tq_status tq_metadata_add_value(tq_metadata_builder *builder, tq_string key, const tq_value *value, tq_error *error);
void tq_metadata_builder_free(tq_metadata_builder *builder);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
