/* tq/metadata.h: what is built is parsed back, and what is wrong is refused where it stands. */
#include "base/bytes.h"
#include "tests/support.h"
#include "tq/metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Serialised by hand, so that the builder is not the only judge of the form. */
typedef struct bytes {
  uint8_t data[4096];
  size_t size;
} bytes;

static void put(bytes *b, const void *data, size_t size) {
  ck_assert_uint_le(b->size + size, sizeof b->data);
  if (size) memcpy(b->data + b->size, data, size);
  b->size += size;
}

static void put_u32(bytes *b, uint32_t value) {
  uint8_t stored[4];
  tq_store_u32(stored, value);
  put(b, stored, 4);
}

static void put_u64(bytes *b, uint64_t value) {
  uint8_t stored[8];
  tq_store_u64(stored, value);
  put(b, stored, 8);
}

static void put_string(bytes *b, const char *text) {
  put_u64(b, strlen(text));
  put(b, text, strlen(text));
}

static void put_key(bytes *b, const char *key, uint32_t type) {
  put_string(b, key);
  put_u32(b, type);
}

static void put_array(bytes *b, uint32_t item_type, uint64_t count) {
  put_u32(b, item_type);
  put_u64(b, count);
}

static tq_status parse_bytes(const bytes *b, uint64_t count, size_t *consumed, bool *truncated, tq_metadata **metadata,
                             tq_error *error) {
  return tq_metadata_parse("x.gguf", b->data, b->size, count, consumed, truncated, metadata, error);
}

static tq_metadata *parsed(const bytes *b, uint64_t count) {
  tq_metadata *metadata = NULL;
  size_t consumed = 0;
  bool truncated = true;
  ck_ok(parse_bytes(b, count, &consumed, &truncated, &metadata, error));
  ck_assert(!truncated);
  ck_assert_uint_eq(consumed, b->size);
  return metadata;
}

static void refused(const bytes *b, uint64_t count, const char *part) {
  tq_metadata *metadata = NULL;
  bool truncated = true;
  ck_fails(parse_bytes(b, count, NULL, &truncated, &metadata, error), TQ_ERROR_CORRUPT, part);
  ck_fails(parse_bytes(b, count, NULL, NULL, &metadata, error), TQ_ERROR_CORRUPT, "x.gguf: ");
  ck_assert(!truncated);
  ck_assert_ptr_null(metadata);
}

/* One key of each type, arrays of most, two levels of nesting. */
static uint64_t put_everything(bytes *b) {
  put_key(b, "u8", TQ_VALUE_U8), put(b, "\xff", 1);
  put_key(b, "i8", TQ_VALUE_I8), put(b, "\xff", 1);
  put_key(b, "u16", TQ_VALUE_U16), put(b, "\xfe\xff", 2);
  put_key(b, "i16", TQ_VALUE_I16), put(b, "\xfe\xff", 2);
  put_key(b, "u32", TQ_VALUE_U32), put_u32(b, 4000000000u);
  put_key(b, "i32", TQ_VALUE_I32), put_u32(b, (uint32_t)-5);
  put_key(b, "f32", TQ_VALUE_F32), put_u32(b, 0x3fc00000);
  put_key(b, "true", TQ_VALUE_BOOL), put(b, "\1", 1);
  put_key(b, "false", TQ_VALUE_BOOL), put(b, "\0", 1);
  put_key(b, "string", TQ_VALUE_STRING), put_string(b, "any \xff\xfe bytes");
  put_key(b, "empty", TQ_VALUE_STRING), put_string(b, "");
  put_key(b, "u64", TQ_VALUE_U64), put_u64(b, UINT64_MAX);
  put_key(b, "i64", TQ_VALUE_I64), put_u64(b, (uint64_t)INT64_MIN);
  put_key(b, "f64", TQ_VALUE_F64), put_u64(b, 0x3ff8000000000000u);
  put_key(b, "numbers", TQ_VALUE_ARRAY), put_array(b, TQ_VALUE_I16, 3), put(b, "\1\0\2\0\xff\xff", 6);
  put_key(b, "bools", TQ_VALUE_ARRAY), put_array(b, TQ_VALUE_BOOL, 2), put(b, "\0\1", 2);
  put_key(b, "nothing", TQ_VALUE_ARRAY), put_array(b, TQ_VALUE_STRING, 0);
  put_key(b, "strings", TQ_VALUE_ARRAY), put_array(b, TQ_VALUE_STRING, 3);
  put_string(b, "one"), put_string(b, ""), put_string(b, "three");
  put_key(b, "nested", TQ_VALUE_ARRAY), put_array(b, TQ_VALUE_ARRAY, 2);
  put_array(b, TQ_VALUE_STRING, 2), put_string(b, "a"), put_string(b, "bc");
  put_array(b, TQ_VALUE_U8, 3), put(b, "\1\2\3", 3);
  put_key(b, "\xc3\xa9t\xc3\xa9", TQ_VALUE_U8), put(b, "\7", 1);
  return 20;
}

static tq_value found(const tq_metadata *metadata, const char *key) {
  tq_value value = {0};
  ck_assert_msg(tq_metadata_find(metadata, key, &value), "%s", key);
  return value;
}

START_TEST(every_type_is_read) {
  bytes b = {0};
  uint64_t count = put_everything(&b);
  tq_metadata *m = parsed(&b, count);
  ck_assert_uint_eq(tq_metadata_count(m), count);
  ck_assert_uint_eq(found(m, "u8").unsigned_integer, 255);
  ck_assert_int_eq(found(m, "u8").integer, 255);
  ck_assert_int_eq(found(m, "i8").integer, -1);
  ck_assert_uint_eq(found(m, "i8").unsigned_integer, 0);
  ck_assert_uint_eq(found(m, "u16").unsigned_integer, 65534);
  ck_assert_int_eq(found(m, "i16").integer, -2);
  ck_assert_uint_eq(found(m, "u32").unsigned_integer, 4000000000u);
  ck_assert_int_eq(found(m, "i32").integer, -5);
  ck_assert_double_eq(found(m, "f32").number, 1.5);
  ck_assert_uint_eq(found(m, "true").unsigned_integer, 1);
  ck_assert_uint_eq(found(m, "u64").unsigned_integer, UINT64_MAX);
  ck_assert_int_eq(found(m, "u64").integer, 0);
  ck_assert_int_eq(found(m, "i64").integer, INT64_MIN);
  ck_assert_double_eq(found(m, "f64").number, 1.5);
  tq_string text = found(m, "string").string;
  ck_assert_uint_eq(text.size, 12);
  ck_assert_mem_eq(text.data, "any \xff\xfe bytes", 12);
  ck_assert_uint_eq(found(m, "\xc3\xa9t\xc3\xa9").unsigned_integer, 7);
  tq_string key;
  tq_value value;
  tq_metadata_at(m, 0, &key, &value);
  ck_assert_uint_eq(key.size, 2);
  ck_assert_mem_eq(key.data, "u8", 2);
  tq_metadata_at(m, 9, &key, &value);
  ck_assert_mem_eq(key.data, "string", 6);
  ck_assert_int_eq((int)value.type, TQ_VALUE_STRING);
  ck_assert(!tq_metadata_find(m, "absent", &value));
  ck_assert(!tq_metadata_find(m, "", &value));
  tq_metadata_free(m);
}
END_TEST

START_TEST(arrays_are_walked) {
  bytes b = {0};
  tq_metadata *m = parsed(&b, put_everything(&b));
  tq_value array = found(m, "numbers"), item, inner;
  size_t at = 0, inside = 0;
  ck_assert_int_eq((int)array.item_type, TQ_VALUE_I16);
  ck_assert_uint_eq(array.item_count, 3);
  ck_assert_uint_eq(array.items_size, 6);
  for (int i = 0; i < 3; i++) {
    ck_assert(tq_array_next(&array, &at, &item));
    ck_assert_int_eq(item.integer, i == 2 ? -1 : i + 1);
  }
  ck_assert(!tq_array_next(&array, &at, &item));
  array = found(m, "nothing"), at = 0;
  ck_assert_uint_eq(array.items_size, 0);
  ck_assert(!tq_array_next(&array, &at, &item));
  array = found(m, "strings"), at = 0;
  static const char *const texts[] = {"one", "", "three"};
  for (int i = 0; i < 3; i++) {
    ck_assert(tq_array_next(&array, &at, &item));
    ck_assert_uint_eq(item.string.size, strlen(texts[i]));
    ck_assert(memcmp(item.string.data, texts[i], item.string.size) == 0);
  }
  ck_assert(!tq_array_next(&array, &at, &item));
  array = found(m, "nested"), at = 0;
  ck_assert(tq_array_next(&array, &at, &item));
  ck_assert_int_eq((int)item.type, TQ_VALUE_ARRAY);
  ck_assert_uint_eq(item.items_size, 8 + 1 + 8 + 2);
  ck_assert(tq_array_next(&item, &inside, &inner));
  ck_assert(tq_array_next(&item, &inside, &inner));
  ck_assert_mem_eq(inner.string.data, "bc", 2);
  ck_assert(!tq_array_next(&item, &inside, &inner));
  ck_assert(tq_array_next(&array, &at, &item));
  ck_assert_uint_eq(item.item_count, 3);
  ck_assert_mem_eq(item.items, "\1\2\3", 3);
  ck_assert(!tq_array_next(&array, &at, &item));
  array = found(m, "u8"), at = 0;
  ck_assert(!tq_array_next(&array, &at, &item));
  tq_metadata_free(m);
}
END_TEST

START_TEST(lookups_convert_only_without_loss) {
  bytes b = {0};
  tq_metadata *m = parsed(&b, put_everything(&b));
  ck_assert_uint_eq(tq_metadata_u64(m, "u32", 1), 4000000000u);
  ck_assert_uint_eq(tq_metadata_u64(m, "u64", 1), UINT64_MAX);
  ck_assert_uint_eq(tq_metadata_u64(m, "i32", 1), 1); /* negative */
  ck_assert_uint_eq(tq_metadata_u64(m, "f32", 1), 1);
  ck_assert_uint_eq(tq_metadata_u64(m, "string", 1), 1);
  ck_assert_uint_eq(tq_metadata_u64(m, "absent", 1), 1);
  ck_assert_double_eq(tq_metadata_f64(m, "f32", 9), 1.5);
  ck_assert_double_eq(tq_metadata_f64(m, "f64", 9), 1.5);
  ck_assert_double_eq(tq_metadata_f64(m, "i32", 9), -5);
  ck_assert_double_eq(tq_metadata_f64(m, "u16", 9), 65534);
  ck_assert_double_eq(tq_metadata_f64(m, "u64", 9), 9);
  ck_assert_double_eq(tq_metadata_f64(m, "i64", 9), 9);
  ck_assert_double_eq(tq_metadata_f64(m, "true", 9), 9);
  ck_assert(tq_metadata_bool(m, "true", false));
  ck_assert(!tq_metadata_bool(m, "false", true));
  ck_assert(tq_metadata_bool(m, "u8", true));
  ck_assert(!tq_metadata_bool(m, "u8", false));
  ck_assert_uint_eq(tq_metadata_string(m, "string").size, 12);
  ck_assert_ptr_nonnull(tq_metadata_string(m, "empty").data);
  ck_assert_ptr_null(tq_metadata_string(m, "u8").data);
  ck_assert_ptr_null(tq_metadata_string(m, "absent").data);
  tq_metadata_free(m);
}
END_TEST

/* Cut anywhere, the data "ended too early"; whole, nothing is missing; and what follows is left alone. */
START_TEST(truncated_exactly_when_cut) {
  bytes b = {0};
  uint64_t count = put_everything(&b);
  for (size_t size = 0; size < b.size; size++) {
    uint8_t *exact = malloc(size ? size : 1); /* of its own, so that a read past the end is seen */
    memcpy(exact, b.data, size);
    tq_metadata *m = NULL;
    bool truncated = false;
    ck_fails(tq_metadata_parse("cut", exact, size, count, NULL, &truncated, &m, error), TQ_ERROR_CORRUPT, "truncated");
    ck_assert(truncated);
    free(exact);
  }
  size_t whole = b.size, consumed = 0;
  bool truncated = true;
  tq_metadata *m;
  put(&b, "what follows", 12);
  ck_ok(parse_bytes(&b, count, &consumed, &truncated, &m, error));
  ck_assert_uint_eq(consumed, whole);
  ck_assert(!truncated);
  tq_metadata_free(m);
}
END_TEST

START_TEST(counts_that_the_data_cannot_hold) {
  static const uint64_t counts[] = {2, 1000, (uint64_t)1 << 32, (uint64_t)1 << 61, UINT64_MAX};
  static const uint32_t types[] = {TQ_VALUE_U8, TQ_VALUE_U64, TQ_VALUE_STRING, TQ_VALUE_ARRAY, TQ_VALUE_BOOL};
  for (size_t i = 0; i < 5; i++) {
    for (size_t t = 0; t < 5; t++) {
      bytes b = {0};
      put_key(&b, "k", TQ_VALUE_ARRAY), put_array(&b, types[t], counts[i]);
      bool truncated = false;
      tq_metadata *m;
      ck_fails(parse_bytes(&b, 1, NULL, &truncated, &m, error), TQ_ERROR_CORRUPT, "key \"k\": truncated");
      ck_assert(truncated);
    }
    bytes b = {0};
    put_key(&b, "k", TQ_VALUE_STRING), put_u64(&b, counts[i]);
    bool truncated = false;
    tq_metadata *m;
    ck_fails(parse_bytes(&b, 1, NULL, &truncated, &m, error), TQ_ERROR_CORRUPT, "truncated");
    ck_assert(truncated);
  }
  bytes b = {0};
  put_key(&b, "k", TQ_VALUE_U8), put(&b, "\1", 1);
  bool truncated = false;
  tq_metadata *m;
  ck_fails(parse_bytes(&b, 4000000000u, NULL, &truncated, &m, error), TQ_ERROR_CORRUPT, "key 1: truncated");
  ck_assert(truncated);
  refused(&b, UINT64_MAX, "more keys than");
}
END_TEST

START_TEST(wrong_keys) {
  bytes b = {0};
  put_key(&b, "", TQ_VALUE_U8), put(&b, "\1", 1);
  refused(&b, 1, "an empty key");
  b.size = 0;
  put_u64(&b, 65536);
  refused(&b, 1, "longer than 65535");
  b.size = 0;
  put_u64(&b, UINT64_MAX);
  refused(&b, 1, "longer than 65535");
  static const char *const not_utf8[] = {"\xff", "a\xc3", "\xed\xa0\x80", "\xc0\xaf"};
  for (size_t i = 0; i < 4; i++) {
    b.size = 0;
    put_key(&b, not_utf8[i], TQ_VALUE_U8), put(&b, "\1", 1);
    refused(&b, 1, "not UTF-8");
  }
}
END_TEST

START_TEST(a_key_of_65535_bytes) {
  static uint8_t data[8 + 65535 + 4 + 1];
  tq_store_u64(data, 65535);
  memset(data + 8, 'k', 65535);
  tq_metadata *m;
  ck_ok(tq_metadata_parse("long", data, sizeof data, 1, NULL, NULL, &m, error));
  tq_string key;
  tq_value value;
  tq_metadata_at(m, 0, &key, &value);
  ck_assert_uint_eq(key.size, 65535);
  tq_metadata_free(m);
}
END_TEST

START_TEST(wrong_values) {
  static const uint32_t types[] = {13, 255, UINT32_MAX};
  for (size_t i = 0; i < 3; i++) {
    bytes b = {0};
    put_key(&b, "k", types[i]), put_u64(&b, 0);
    refused(&b, 1, "key \"k\": unknown value type");
    b.size = 0;
    put_key(&b, "k", TQ_VALUE_ARRAY), put_array(&b, types[i], 0);
    refused(&b, 1, "unknown value type");
  }
  bytes b = {0};
  put_key(&b, "k", TQ_VALUE_BOOL), put(&b, "\2", 1);
  refused(&b, 1, "neither 0 nor 1");
  b.size = 0;
  put_key(&b, "k", TQ_VALUE_ARRAY), put_array(&b, TQ_VALUE_BOOL, 3), put(&b, "\1\0\xff", 3);
  refused(&b, 1, "neither 0 nor 1");
}
END_TEST

START_TEST(nesting_is_limited) {
  for (unsigned depth = 1; depth <= 6; depth++) {
    bytes b = {0};
    put_key(&b, "deep", TQ_VALUE_ARRAY);
    for (unsigned i = 1; i < depth; i++) put_array(&b, TQ_VALUE_ARRAY, 1);
    put_array(&b, TQ_VALUE_U8, 1), put(&b, "\1", 1);
    if (depth <= 4)
      tq_metadata_free(parsed(&b, 1));
    else
      refused(&b, 1, "key \"deep\": arrays nested more than 4 deep");
  }
}
END_TEST

START_TEST(duplicate_keys_are_named) {
  bytes b = {0};
  for (unsigned i = 0; i < 100; i++) {
    char key[16];
    snprintf(key, sizeof key, "key.%u", i);
    put_key(&b, key, TQ_VALUE_U8), put(&b, "\1", 1);
  }
  tq_metadata_free(parsed(&b, 100));
  put_key(&b, "key.\x37", TQ_VALUE_U8), put(&b, "\1", 1);
  refused(&b, 101, "\"key.7\" appears twice");
}
END_TEST

/* Many keys, as a hostile file may have them, are indexed in time that grows with their number. */
START_TEST(many_keys) {
  enum { KEYS = 200000 };
  tq_metadata_builder builder = {0};
  char key[32];
  for (uint32_t i = 0; i < KEYS; i++) {
    snprintf(key, sizeof key, "%u", i);
    tq_error error;
    if (tq_metadata_add_u32(&builder, key, i, &error)) ck_abort_msg("%s", error.message);
  }
  tq_metadata *m;
  ck_ok(tq_metadata_parse("many", builder.data, builder.size, builder.count, NULL, NULL, &m, error));
  for (uint32_t i = 0; i < KEYS; i += 997) {
    snprintf(key, sizeof key, "%u", i);
    ck_assert_uint_eq(tq_metadata_u64(m, key, UINT64_MAX), i);
  }
  tq_metadata_free(m);
  tq_metadata_builder_free(&builder);
}
END_TEST

START_TEST(the_builder_writes_the_same_bytes) {
  bytes b = {0};
  tq_metadata *m = parsed(&b, put_everything(&b));
  tq_metadata_builder copy = {0};
  for (size_t i = 0; i < tq_metadata_count(m); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(m, i, &key, &value);
    ck_ok(tq_metadata_add_value(&copy, key, &value, error));
  }
  ck_assert_uint_eq(copy.count, tq_metadata_count(m));
  ck_assert_uint_eq(copy.size, b.size);
  ck_assert_mem_eq(copy.data, b.data, b.size);
  tq_metadata_builder_free(&copy);
  ck_assert_ptr_null(copy.data);
  tq_metadata_free(m);
}
END_TEST

/* Every kind of float comes back bit for bit, signalling NaNs included. */
START_TEST(floats_keep_their_bits) {
  static const uint32_t singles[] = {0,          0x80000000, 1,          0x7f7fffff, 0x7f800000,
                                     0xff800000, 0x7fc00000, 0x7f800001, 0xffa12345, 0x3f800001};
  static const uint64_t doubles[] = {0x8000000000000000u, 1, 0x7ff0000000000001u, 0xfff8000000000123u,
                                     0x3ff0000000000001u};
  bytes b = {0};
  char key[16];
  for (size_t i = 0; i < 10; i++) snprintf(key, 16, "s%zu", i), put_key(&b, key, TQ_VALUE_F32), put_u32(&b, singles[i]);
  for (size_t i = 0; i < 5; i++) snprintf(key, 16, "d%zu", i), put_key(&b, key, TQ_VALUE_F64), put_u64(&b, doubles[i]);
  tq_metadata *m = parsed(&b, 15);
  ck_assert(isnan(tq_metadata_f64(m, "s7", 0)));
  tq_metadata_builder copy = {0};
  for (size_t i = 0; i < 15; i++) {
    tq_string name;
    tq_value value;
    tq_metadata_at(m, i, &name, &value);
    ck_ok(tq_metadata_add_value(&copy, name, &value, error));
  }
  ck_assert_uint_eq(copy.size, b.size);
  ck_assert_mem_eq(copy.data, b.data, b.size);
  tq_metadata_builder_free(&copy);
  tq_metadata_free(m);
}
END_TEST

START_TEST(each_adder) {
  bytes expected = {0};
  put_key(&expected, "a", TQ_VALUE_U32), put_u32(&expected, 7);
  put_key(&expected, "b", TQ_VALUE_I32), put_u32(&expected, (uint32_t)-7);
  put_key(&expected, "c", TQ_VALUE_U64), put_u64(&expected, 1u << 31);
  put_key(&expected, "d", TQ_VALUE_F32), put_u32(&expected, 0xc0490fdb);
  put_key(&expected, "e", TQ_VALUE_BOOL), put(&expected, "\1", 1);
  put_key(&expected, "f", TQ_VALUE_STRING), put_u64(&expected, 3), put(&expected, "x\0y", 3);
  put_key(&expected, "g", TQ_VALUE_STRING), put_u64(&expected, 0);
  put_key(&expected, "h", TQ_VALUE_ARRAY), put_array(&expected, TQ_VALUE_U16, 2), put(&expected, "\1\0\2\0", 4);
  put_key(&expected, "i", TQ_VALUE_ARRAY), put_array(&expected, TQ_VALUE_STRING, 0);
  tq_metadata_builder built = {0};
  ck_ok(tq_metadata_add_u32(&built, "a", 7, error));
  ck_ok(tq_metadata_add_i32(&built, "b", -7, error));
  ck_ok(tq_metadata_add_u64(&built, "c", 1u << 31, error));
  ck_ok(tq_metadata_add_f32(&built, "d", -3.14159274f, error));
  ck_ok(tq_metadata_add_bool(&built, "e", true, error));
  ck_ok(tq_metadata_add_string(&built, "f", "x\0y", 3, error));
  ck_ok(tq_metadata_add_string(&built, "g", NULL, 0, error));
  ck_ok(tq_metadata_add_array(&built, "h", TQ_VALUE_U16, 2, "\1\0\2\0", 4, error));
  ck_ok(tq_metadata_add_array(&built, "i", TQ_VALUE_STRING, 0, NULL, 0, error));
  ck_assert_uint_eq(built.count, 9);
  ck_assert_uint_eq(built.size, expected.size);
  ck_assert_mem_eq(built.data, expected.data, expected.size);
  tq_metadata_builder_free(&built);
}
END_TEST

/* A key that a reader would refuse is not written, and what was built before stays whole. */
START_TEST(the_builder_refuses_wrong_keys) {
  static char endless[65537];
  memset(endless, 'k', sizeof endless - 1);
  tq_metadata_builder built = {0};
  ck_ok(tq_metadata_add_u32(&built, "good", 1, error));
  size_t size = built.size;
  ck_fails(tq_metadata_add_u32(&built, "", 1, error), TQ_ERROR_CORRUPT, "an empty key");
  ck_fails(tq_metadata_add_bool(&built, "\xff", true, error), TQ_ERROR_CORRUPT, "not UTF-8");
  ck_fails(tq_metadata_add_string(&built, endless, "", 0, error), TQ_ERROR_CORRUPT, "longer than 65535");
  ck_assert_uint_eq(built.size, size);
  ck_assert_uint_eq(built.count, 1);
  tq_metadata_builder_free(&built);
}
END_TEST

typedef struct counted_bytes {
  const bytes *bytes;
  uint64_t count;
} counted_bytes;

static tq_status parse_once(const void *context, tq_error *error) {
  const counted_bytes *of = context;
  tq_metadata *m = NULL;
  bool truncated = true;
  tq_status status = parse_bytes(of->bytes, of->count, NULL, &truncated, &m, error);
  ck_assert(!truncated);
  if (status == TQ_OK) tq_metadata_free(m);
  return status;
}

static tq_status add_once(const void *context, tq_error *error) {
  (void)context;
  tq_metadata_builder built = {0};
  tq_status status = tq_metadata_add_u32(&built, "k", 1, error);
  ck_assert_uint_eq(built.count, status ? 0 : 1);
  tq_metadata_builder_free(&built);
  return status;
}

/* Each allocation fails in turn: the status says so, and nothing leaks. */
START_TEST(out_of_memory) {
  bytes b = {0};
  uint64_t count = put_everything(&b);
  ck_assert_int_ge(check_every_fault(parse_once, &(counted_bytes){&b, count}), 3);
  ck_assert_int_ge(check_every_fault(add_once, NULL), 1);
}
END_TEST

/* Every single-byte change is either refused or read within the bytes (a sanitizer would object). */
START_TEST(damaged_bytes_are_safe) {
  bytes b = {0};
  uint64_t count = put_everything(&b), state = 11;
  for (size_t i = 0; i < b.size; i++) {
    for (unsigned change = 0; change < 12; change++) {
      uint8_t kept = b.data[i];
      b.data[i] = (uint8_t)(change < 8 ? kept ^ 1u << change : random_u64(&state));
      uint8_t *exact = malloc(b.size);
      memcpy(exact, b.data, b.size);
      tq_metadata *m = NULL;
      tq_error error = {0};
      tq_status status = tq_metadata_parse("damaged", exact, b.size, count, NULL, NULL, &m, &error);
      if (status != TQ_OK && status != TQ_ERROR_CORRUPT) ck_abort_msg("status %d", (int)status);
      for (size_t k = 0; m && k < tq_metadata_count(m); k++) {
        tq_string key;
        tq_value value, item;
        tq_metadata_at(m, k, &key, &value);
        for (size_t at = 0; tq_array_next(&value, &at, &item);) state += item.unsigned_integer;
      }
      tq_metadata_free(m);
      free(exact);
      b.data[i] = kept;
    }
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("metadata");
  TCase *reading = tcase_create("parse");
  tcase_add_test(reading, every_type_is_read);
  tcase_add_test(reading, arrays_are_walked);
  tcase_add_test(reading, lookups_convert_only_without_loss);
  tcase_add_test(reading, truncated_exactly_when_cut);
  tcase_add_test(reading, counts_that_the_data_cannot_hold);
  tcase_add_test(reading, wrong_keys);
  tcase_add_test(reading, a_key_of_65535_bytes);
  tcase_add_test(reading, wrong_values);
  tcase_add_test(reading, nesting_is_limited);
  tcase_add_test(reading, duplicate_keys_are_named);
  tcase_add_test(reading, many_keys);
  tcase_add_test(reading, out_of_memory);
  tcase_add_test(reading, damaged_bytes_are_safe);
  suite_add_tcase(suite, reading);
  TCase *building = tcase_create("build");
  tcase_add_test(building, the_builder_writes_the_same_bytes);
  tcase_add_test(building, floats_keep_their_bits);
  tcase_add_test(building, each_adder);
  tcase_add_test(building, the_builder_refuses_wrong_keys);
  suite_add_tcase(suite, building);
  return run_suite(suite);
}
