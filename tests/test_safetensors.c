/* The safetensors reader and header writer: every rule of the specification, broken one at a time. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_name[] = "a.safetensors";

/* A file with this header and as many data bytes, which count up from 1. */
static void make_file(const char *header, size_t header_size, size_t data_size) {
  uint8_t *bytes = calloc(1, 8 + header_size + data_size);
  ck_assert_ptr_nonnull(bytes);
  tq_store_u64(bytes, header_size);
  memcpy(bytes + 8, header, header_size);
  for (size_t i = 0; i < data_size; i++) bytes[8 + header_size + i] = (uint8_t)(i + 1);
  write_file(temporary_path(file_name), bytes, 8 + header_size + data_size);
  free(bytes);
}

static tq_status read_checkpoint(tq_checkpoint **checkpoint, tq_error *error) {
  *checkpoint = tq_allocate(1, sizeof **checkpoint, error);
  if (!*checkpoint) return error->status;
  (*checkpoint)->path = tq_copy_string("test", 4, error);
  tq_status status = (*checkpoint)->path ? TQ_OK : error->status;
  if (!status) status = tq_folder_open(temporary_folder(), &(*checkpoint)->folder, error);
  size_t input = 0;
  if (!status) status = tq_safetensors_read(*checkpoint, file_name, &input, error);
  if (!status) status = tq_checkpoint_add_weights_file(*checkpoint, file_name, input, 0, 0, error);
  if (!status) return TQ_OK;
  tq_checkpoint_close(*checkpoint);
  *checkpoint = NULL;
  return status;
}

static tq_status try_file(tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_status status = read_checkpoint(&checkpoint, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

static tq_status try_header(const char *header, size_t data_size, tq_error *error) {
  make_file(header, strlen(header), data_size);
  return try_file(error);
}

/* One tensor "x" whose description is given. */
static tq_status try_tensor(const char *description, size_t data_size, tq_error *error) {
  char header[512];
  snprintf(header, sizeof header, "{\"x\":%s}", description);
  return try_header(header, data_size, error);
}

static const char two_tensors[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"caf\\u00e9\"},"
    "\"model.layers.3.self_attn.q_proj.weight\":{\"data_offsets\":[8,16],\"unknown\":[1,{}],\"dtype\":\"BF16\","
    "\"shape\":[2,2]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}   ";

START_TEST(test_reads_in_order_of_data) {
  tq_checkpoint *checkpoint;
  uint8_t bytes[8];
  make_file(two_tensors, sizeof two_tensors - 1, 16);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensor_count, 2);
  const tq_source_tensor *first = &checkpoint->tensors[0], *second = &checkpoint->tensors[1];
  ck_assert_str_eq(first->name, "b");
  ck_assert_str_eq(first->role, "b");
  ck_assert_str_eq(first->type_name, "F32");
  ck_assert_uint_eq(first->encoding, TQ_F32);
  ck_assert_str_eq(second->role, "layers.3.q");
  ck_assert_uint_eq(second->encoding, TQ_BF16);
  ck_assert_uint_eq(second->dimensions, 2);
  ck_assert_uint_eq(second->adjacent_heads, 0);
  ck_ok(tq_source_tensor_read(checkpoint, 1, 0, 8, bytes, error));
  for (size_t i = 0; i < 8; i++) ck_assert_uint_eq(bytes[i], 9 + i);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* The pieces put together are the file: what an export relies on. */
START_TEST(test_pieces_cover_the_file) {
  tq_checkpoint *checkpoint;
  size_t size;
  make_file(two_tensors, sizeof two_tensors - 1, 16);
  uint8_t *whole = read_file(temporary_path(file_name), &size);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->file_count, 1);
  const tq_source_file *file = &checkpoint->files[0];
  ck_assert_str_eq(file->path, file_name);
  ck_assert(file->is_weights);
  uint64_t position = 0;
  for (size_t i = 0; i < file->piece_count; i++) {
    const tq_piece *piece = &file->pieces[i];
    uint8_t bytes[512];
    ck_assert_uint_le(piece->size, sizeof bytes);
    if (piece->kind == TQ_PIECE_TENSOR)
      ck_ok(tq_source_tensor_read(checkpoint, (size_t)piece->source, 0, piece->size, bytes, error));
    else
      ck_ok(tq_input_read(checkpoint->inputs[file->input], piece->source, bytes, (size_t)piece->size, error));
    ck_assert_mem_eq(bytes, whole + position, piece->size);
    position += piece->size;
  }
  ck_assert_uint_eq(position, size);
  free(whole);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  const char *name;
  uint32_t encoding;
  size_t elements, bytes;
} types[] = {
    {"BOOL", TQ_BOOL, 3, 3},
    {"U8", TQ_U8, 3, 3},
    {"I8", TQ_I8, 3, 3},
    {"F8_E5M2", TQ_F8_E5M2, 3, 3},
    {"F8_E4M3", TQ_F8_E4M3, 3, 3},
    {"F8_E8M0", TQ_F8_E8M0, 3, 3},
    {"F8_E4M3FNUZ", TQ_F8_E4M3FNUZ, 3, 3},
    {"F8_E5M2FNUZ", TQ_F8_E5M2FNUZ, 3, 3},
    {"F4", TQ_F4, 6, 3},
    {"F6_E2M3", TQ_F6_E2M3, 4, 3},
    {"F6_E3M2", TQ_F6_E3M2, 4, 3},
    {"I16", TQ_I16, 3, 6},
    {"U16", TQ_U16, 3, 6},
    {"F16", TQ_F16, 3, 6},
    {"BF16", TQ_BF16, 3, 6},
    {"I32", TQ_I32, 3, 12},
    {"U32", TQ_U32, 3, 12},
    {"F32", TQ_F32, 3, 12},
    {"C64", TQ_C64, 3, 24},
    {"F64", TQ_F64, 3, 24},
    {"I64", TQ_I64, 3, 24},
    {"U64", TQ_U64, 3, 24},
};

START_TEST(test_every_type) {
  char header[256];
  tq_checkpoint *checkpoint;
  snprintf(header, sizeof header, "{\"x\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", types[_i].name,
           types[_i].elements, types[_i].bytes);
  make_file(header, strlen(header), types[_i].bytes);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensors[0].encoding, types[_i].encoding);
  ck_assert_uint_eq(checkpoint->tensors[0].size, types[_i].bytes);
  tq_checkpoint_close(checkpoint);
  ck_assert_str_eq(tq_safetensors_type_by_encoding(types[_i].encoding)->name, types[_i].name);
}
END_TEST

START_TEST(test_scalar_is_a_vector_of_one) {
  tq_checkpoint *checkpoint;
  static const char header[] = "{\"x\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}";
  make_file(header, sizeof header - 1, 8);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensors[0].dimensions, 1);
  ck_assert_uint_eq(checkpoint->tensors[0].shape[0], 1);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_empty_file_of_tensors) {
  tq_checkpoint *checkpoint;
  make_file("{}", 2, 0);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensor_count, 0);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  const char *header;
  size_t data_size;
  const char *message;
} bad_headers[] = {
    {"[]", 0, "does not begin with '{'"},
    {" {}", 0, "does not begin with '{'"},
    {"\xef\xbb\xbf{}", 0, "does not begin with '{'"},
    {"{", 0, "not JSON"},
    {"{}{}", 0, "not JSON"},
    {"{} x", 0, "not JSON"},
    {"{\"a\":1,}", 0, "not JSON"},
    {"{\"a\":'b'}", 0, "not JSON"},
    {"{\"a\":NaN}", 0, "not JSON"},
    {"{\"\xff\":{}}", 0, "not JSON"},
    {"{\"a\\u0000\":{}}", 0, "not JSON"},
    {"{\"a\\ud800\":{}}", 0, "not JSON"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__: 'a' is not a string"},
    {"{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "duplicate"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate"},
    {"{\"x\":1}", 0, "tensor x: its description is not an object"},
    {"{}", 1, "1 bytes behind the last tensor belong to none"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"x\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, "duplicate"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
     3, "tensor y: its data overlaps"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}",
     2, "its data overlaps"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}",
     5, "a hole of 1 bytes before tensor y"},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", 3, "a hole of 1 bytes before tensor x"},
    {"{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "not a name"},
    {"{\"a\\nb\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "not a name"},
};

START_TEST(test_bad_header) {
  ck_fails(try_header(bad_headers[_i].header, bad_headers[_i].data_size, error), TQ_ERROR_CORRUPT,
           bad_headers[_i].message);
}
END_TEST

static const struct {
  const char *description;
  size_t data_size;
  tq_status status;
  const char *message;
} bad_tensors[] = {
    {"{\"shape\":[1],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "its dtype is missing"},
    {"{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "its dtype is missing or not a string"},
    {"{\"dtype\":\"F12\",\"shape\":[1],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "type F12 is not understood"},
    {"{\"dtype\":\"bf16\",\"shape\":[1],\"data_offsets\":[0,2]}", 2, TQ_ERROR_CORRUPT, "type bf16 is not understood"},
    {"{\"dtype\":\"U8\",\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "its shape is not an array"},
    {"{\"dtype\":\"U8\",\"shape\":{},\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "its shape is not an array"},
    {"{\"dtype\":\"U8\",\"shape\":[1.0],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "not a non-negative integer"},
    {"{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "not a non-negative integer"},
    {"{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "not a non-negative integer"},
    {"{\"dtype\":\"U8\",\"shape\":[99999999999999999999],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT, "not JSON"},
    {"{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT,
     "its dimensions overflow"},
    {"{\"dtype\":\"F64\",\"shape\":[4611686018427387904],\"data_offsets\":[0,1]}", 1, TQ_ERROR_CORRUPT,
     "its size overflows"},
    {"{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]}", 2, TQ_ERROR_CORRUPT, "do not fill whole bytes"},
    {"{\"dtype\":\"F6_E2M3\",\"shape\":[5],\"data_offsets\":[0,4]}", 4, TQ_ERROR_CORRUPT, "do not fill whole bytes"},
    {"{\"dtype\":\"U8\",\"shape\":[1]}", 1, TQ_ERROR_CORRUPT, "data_offsets are not two"},
    {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}", 1, TQ_ERROR_CORRUPT, "data_offsets are not two"},
    {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]}", 1, TQ_ERROR_CORRUPT, "data_offsets are not two"},
    {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[-1,0]}", 1, TQ_ERROR_CORRUPT, "data_offsets are not two"},
    {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}", 1, TQ_ERROR_CORRUPT, "its data ends before it begins"},
    {"{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}", 1, TQ_ERROR_CORRUPT, "its data ends at byte 2 of 1"},
    {"{\"dtype\":\"U8\",\"shape\":[9223372036854775807],\"data_offsets\":[0,9223372036854775807]}", 1, TQ_ERROR_CORRUPT,
     "its data ends at byte 9223372036854775807 of 1"},
    {"{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}", 2, TQ_ERROR_CORRUPT,
     "2 bytes where its shape and type U8 demand 1"},
    {"{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}", 4, TQ_ERROR_CORRUPT,
     "4 bytes where its shape and type F32 demand 8"},
    {"{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]}", 0, TQ_ERROR_CORRUPT,
     "tensor x: dimension 1 is zero"},
    {"{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}", 1, TQ_ERROR_REFUSED, "9 dimensions"},
};

START_TEST(test_bad_tensor) {
  ck_fails(try_tensor(bad_tensors[_i].description, bad_tensors[_i].data_size, error), bad_tensors[_i].status,
           bad_tensors[_i].message);
}
END_TEST

START_TEST(test_nesting) {
  char header[1024] = "{\"a\":";
  for (size_t depth = 0; depth < 300; depth++) strcat(header, "[");
  ck_fails(try_header(header, 0, error), TQ_ERROR_CORRUPT, "nested deeper than 64");
  /* Brackets inside strings are not nesting. */
  strcpy(header, "{\"__metadata__\":{\"a\":\"\\\"");
  for (size_t depth = 0; depth < 300; depth++) strcat(header, "[");
  strcat(header, "\"}}");
  ck_ok(try_header(header, 0, error));
}
END_TEST

START_TEST(test_sizes_of_the_header) {
  uint8_t bytes[16] = {0};
  memcpy(bytes + 8, "{}", 2);
  static const struct {
    uint64_t size;
    const char *message;
  } sizes[] = {{0, "does not begin with '{'"},
               {1, "not JSON"},
               {9, "truncated"},
               {100000000, "truncated"},
               {100000001, "at most 100000000 are allowed"},
               {UINT64_MAX, "at most 100000000 are allowed"},
               {UINT64_MAX - 7, "at most 100000000 are allowed"}};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    tq_store_u64(bytes, sizes[i].size);
    write_file(temporary_path(file_name), bytes, sizeof bytes);
    ck_fails(try_file(error), TQ_ERROR_CORRUPT, sizes[i].message);
  }
}
END_TEST

/* A header as large models have it is read; one that takes far more memory than its tensors deserve is not. */
START_TEST(test_memory_is_bounded) {
  enum { TENSORS = 20000, KEYS = 700000, ROOM = 100 };
  char *header = calloc(KEYS, ROOM), *at = header;
  ck_assert_ptr_nonnull(header);
  for (size_t i = 0; i < TENSORS; i++) {
    at += sprintf(at, "%c\"layers.%zu\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}", i ? ',' : '{', i,
                  4 * i, 4 * i + 4);
  }
  strcpy(at, "}");
  ck_ok(try_header(header, (size_t)4 * TENSORS, error));
  at = header + sprintf(header, "{\"__metadata__\":");
  for (size_t i = 0; i < KEYS; i++) at += sprintf(at, "%c\"%zu\":\"\"", i ? ',' : '{', i);
  strcpy(at, "}}");
  ck_fails(try_header(header, 0, error), TQ_ERROR_CORRUPT, "JSON that takes more memory than 48 MiB");
  free(header);
}
END_TEST

START_TEST(test_truncated_anywhere) {
  size_t size;
  make_file(two_tensors, sizeof two_tensors - 1, 16);
  uint8_t *whole = read_file(temporary_path(file_name), &size);
  for (size_t length = 0; length < size; length++) {
    write_file(temporary_path(file_name), whole, length);
    ck_fails(try_file(error), TQ_ERROR_CORRUPT, file_name);
  }
  write_file(temporary_path(file_name), whole, size);
  ck_ok(try_file(error));
  free(whole);
}
END_TEST

/* Any byte of the header may be any other: the reader must say no or yes, and not crash. */
START_TEST(test_flipped_bytes) {
  size_t size;
  make_file(two_tensors, sizeof two_tensors - 1, 16);
  uint8_t *whole = read_file(temporary_path(file_name), &size);
  for (size_t at = 0; at < size - 16; at++) {
    uint8_t old = whole[at];
    for (unsigned flip = 1; flip < 256; flip <<= 1) {
      tq_error problem = {0};
      whole[at] = (uint8_t)(old ^ flip);
      write_file(temporary_path(file_name), whole, size);
      tq_status status = try_file(&problem);
      ck_assert(status == TQ_OK || status == TQ_ERROR_CORRUPT || status == TQ_ERROR_REFUSED);
      ck_assert(status == TQ_OK || problem.message[0]);
    }
    whole[at] = old;
  }
  free(whole);
}
END_TEST

static tq_status try_once(const void *context, tq_error *error) {
  (void)context;
  return try_file(error);
}

START_TEST(test_every_operation_may_fail) {
  make_file(two_tensors, sizeof two_tensors - 1, 16);
  ck_assert_int_gt(check_every_fault(try_once, NULL), 12);
}
END_TEST

START_TEST(test_recognizes) {
  uint8_t start[16] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  ck_assert(tq_safetensors_recognize("model.safetensors", start, 0, 0));
  ck_assert(tq_safetensors_recognize("weights", start, 10, 10));
  ck_assert(!tq_safetensors_recognize("weights", start, 9, 9));
  start[8] = '[';
  ck_assert(!tq_safetensors_recognize("weights", start, 10, 10));
  start[8] = '{';
  start[0] = 3;
  ck_assert(!tq_safetensors_recognize("weights", start, 10, 10));
}
END_TEST

/* What the writer makes, the reader reads; the layout is that of the reference implementation. */
START_TEST(test_header_round_trip) {
  static const uint64_t shape[] = {2, 3};
  tq_safetensors_entry entries[] = {
      {"b", tq_safetensors_type_by_name("U8"), shape, 2, 6, 0},
      {"a \"q\"", tq_safetensors_type_by_name("BF16"), shape, 2, 12, 1},
      {"z", tq_safetensors_type_by_name("F32"), shape, 2, 24, 2},
      {"a", tq_safetensors_type_by_name("U8"), shape, 2, 6, 3},
  };
  static const size_t order[] = {2, 1, 3, 0};
  tq_buffer buffer = {0};
  tq_checkpoint *checkpoint;
  tq_safetensors_sort(entries, 4);
  for (size_t i = 0; i < 4; i++) ck_assert_uint_eq(entries[i].source, order[i]);
  ck_ok(tq_safetensors_header(&buffer, entries, 4, error));
  ck_assert_uint_eq(buffer.size % 8, 0);
  ck_assert_uint_eq(tq_load_u64(buffer.data), buffer.size - 8);
  static const char beginning[] = "{\"__metadata__\":{\"format\":\"pt\"},\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],"
                                  "\"data_offsets\":[0,24]},\"a \\\"q\\\"\":";
  ck_assert_mem_eq(buffer.data + 8, beginning, sizeof beginning - 1);
  make_file((char *)buffer.data + 8, buffer.size - 8, 48);
  tq_buffer_free(&buffer);
  ck_ok(read_checkpoint(&checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensor_count, 4);
  for (size_t i = 0; i < 4; i++) ck_assert_str_eq(checkpoint->tensors[i].name, entries[i].name);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_writer_refuses_bad_names) {
  static const uint64_t shape[] = {1};
  tq_safetensors_entry entry = {"a\xff", tq_safetensors_type_by_name("U8"), shape, 1, 1, 0};
  tq_buffer buffer = {0};
  ck_fails(tq_safetensors_header(&buffer, &entry, 1, error), TQ_ERROR_REFUSED, "tensor name 'a\\xFF'");
  tq_buffer_free(&buffer);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
  Suite *suite = suite_create("safetensors");
  TCase *reading = tcase_create("reading");
  tcase_set_timeout(reading, 60);
  tcase_add_test(reading, test_reads_in_order_of_data);
  tcase_add_test(reading, test_pieces_cover_the_file);
  tcase_add_loop_test(reading, test_every_type, 0, COUNT(types));
  tcase_add_test(reading, test_scalar_is_a_vector_of_one);
  tcase_add_test(reading, test_empty_file_of_tensors);
  tcase_add_test(reading, test_recognizes);
  suite_add_tcase(suite, reading);
  TCase *hostile = tcase_create("hostile");
  tcase_set_timeout(hostile, 60);
  tcase_add_loop_test(hostile, test_bad_header, 0, COUNT(bad_headers));
  tcase_add_loop_test(hostile, test_bad_tensor, 0, COUNT(bad_tensors));
  tcase_add_test(hostile, test_nesting);
  tcase_add_test(hostile, test_sizes_of_the_header);
  tcase_add_test(hostile, test_memory_is_bounded);
  tcase_add_test(hostile, test_truncated_anywhere);
  tcase_add_test(hostile, test_flipped_bytes);
  tcase_add_test(hostile, test_every_operation_may_fail);
  suite_add_tcase(suite, hostile);
  TCase *writing = tcase_create("writing");
  tcase_add_test(writing, test_header_round_trip);
  tcase_add_test(writing, test_writer_refuses_bad_names);
  suite_add_tcase(suite, writing);
  return run_suite(suite);
}
