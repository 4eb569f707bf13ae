/* Records of the files a model came from, with ternary tensors in them: the same bytes back, from any code, and nothing
 * from a record that asks for what the tensors cannot give. */
#include "base/bytes.h"
#include "formats/dialects/encode.h"
#include "formats/source.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tests/ternary_files.h"

#include <stdio.h>
#include <stdlib.h>

/* What tensor 0 of a file is, and what the record says of it; the others are as they should be. */
typedef struct variant {
  const char *source_type; /* NULL: TQ2_0 */
  uint32_t heads;
  uint32_t granularity, group;
  uint64_t size; /* 0: the right one */
  uint32_t extra_part;
  const char *message; /* NULL: it is given back */
  bool describes;      /* the record is in order, and only its making fails */
} variant;

enum { ROWS = 8, COLUMNS = 256, TQ2_0_SIZE = ROWS * 66, I2_S_SIZE = ROWS * 64 + 32 };

static const uint8_t none[16];

static void append_u64(tq_buffer *buffer, uint64_t value) {
  uint8_t bytes[8];
  tq_store_u64(bytes, value);
  ck_ok(tq_buffer_append(buffer, bytes, 8, error));
}

static void append_piece(tq_buffer *buffer, uint64_t kind, uint64_t source, uint64_t size) {
  append_u64(buffer, kind);
  append_u64(buffer, source);
  append_u64(buffer, size);
}

/* One file: "GGUF", tensor 0, "end", tensor 1. */
static void append_record(tq_buffer *record, uint64_t first_size) {
  append_u64(record, 1);
  append_u64(record, 4);
  ck_ok(tq_buffer_append(record, "gguf", 4, error));
  append_u64(record, 1);
  append_u64(record, 1);
  ck_ok(tq_buffer_append(record, "a", 1, error));
  append_u64(record, 4 + first_size + 3 + I2_S_SIZE);
  append_u64(record, 4);
  append_piece(record, 1, 0, 4);
  append_piece(record, 3, 0, first_size);
  append_piece(record, 1, 4, 3);
  append_piece(record, 3, 1, I2_S_SIZE);
}

static collected encode_tensor(const ternary *tensor, const char *form) {
  tq_file *file = ternary_file(tensor, TQ_VERIFY_FULL, NULL, 0);
  tq_encode_options options = {.adjacent_heads = tensor->heads};
  collected all = {0};
  ck_assert(tq_form_from_name(form, &options.form));
  ck_ok(tq_dialect_encode(file, 0, &options, collect, &all, error));
  tq_file_close(file);
  return all;
}

static ternary first_tensor(const variant *given) {
  uint64_t state = 12;
  ternary first = {.rows = ROWS,
                   .columns = COLUMNS,
                   .code = TQ_TERNARY_BASE3,
                   .granularity = given->granularity,
                   .group = given->group,
                   .encoding = TQ_F16,
                   .heads = given->heads,
                   .source_type = given->source_type ? given->source_type : "TQ2_0"};
  ternary_random(&first, SCALES_ANY, &state);
  memset(first.trits, 1, ROWS * COLUMNS);
  return first;
}

/* Writes the file described, and the bytes that it should give back, which are of TQ2_0 for tensor 0 at best. */
static collected write_model(const char *path, const variant *given) {
  uint64_t state = 13;
  ternary first = first_tensor(given),
          second = {
              .rows = ROWS, .columns = COLUMNS, .code = TQ_TERNARY_2BIT, .encoding = TQ_F32, .source_type = "I2_S"};
  ternary_random(&second, SCALES_ONE, &state);
  collected whole = {0}, end = encode_tensor(&second, "I2_S");
  ck_ok(collect(&whole, "GGUF", 4, error));
  if (!given->message) {
    collected start = encode_tensor(&first, first.source_type);
    ck_ok(collect(&whole, start.bytes, start.size, error));
    free(start.bytes);
  }
  uint64_t size = given->size ? given->size : whole.size - 4;
  ck_ok(collect(&whole, "end", 3, error));
  ck_ok(collect(&whole, end.bytes, end.size, error));
  whole.bytes[whole.size - 1] ^= 0x5a;
  collected patch = patch_bytes(whole.bytes + whole.size - end.size, end.bytes, end.size, end.size);
  tq_buffer record = {0};
  tq_writer *writer;
  append_record(&record, size);
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, "", 0, 0, error));
  ck_ok(tq_writer_section(writer, "source", false, record.data, record.size, error));
  ck_ok(put_attachment(writer, "#a", TQ_ATTACHMENT_FRAGMENT, "GGUFend", 7, 7, error));
  ck_ok(ternary_put(writer, &first, "first", given->extra_part, "extra", 5, error));
  ck_ok(ternary_put(writer, &second, "second", TQ_PART_PATCH, patch.bytes, patch.size, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  tq_buffer_free(&record);
  free(end.bytes), free(patch.bytes);
  ternary_free(&first);
  ternary_free(&second);
  return whole;
}

static void check_restored(const char *path, const collected *expected) {
  const char *back = temporary_path("back");
  size_t size;
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
  ck_ok(tq_source_restore(file, back, NULL, error));
  uint8_t *bytes = read_file(back, &size);
  ck_assert_uint_eq(size, expected->size);
  ck_assert_mem_eq(bytes, expected->bytes, size);
  free(bytes);
  remove(back);
  tq_file_close(file);
}

static const variant restored[] = {
    {.granularity = TQ_PER_TENSOR},
    {.granularity = TQ_PER_ROW, .heads = 2},
    {.granularity = TQ_PER_GROUP, .group = 256},
    {.source_type = "Q2_0", .granularity = TQ_PER_GROUP, .group = 64, .heads = 4},
    {.source_type = "TQ1_0+scale"},
    {.source_type = "F16", .granularity = TQ_PER_GROUP, .group = 32, .heads = 1},
    {.source_type = "F32", .heads = 4},
    {.source_type = "bitlinear"},
    {.source_type = "I2_S_ROWS"},
    {.source_type = "IQ2_BN_R4", .granularity = TQ_PER_ROW, .heads = 1},
};
enum { RESTORED = sizeof restored / sizeof *restored };

/* Also after the codes were written again in the other code, patch and all. */
START_TEST(files_come_back) {
  const char *path = temporary_path("source.tq"), *recoded = temporary_path("recoded.tq");
  static const uint32_t codes[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3};
  collected whole = write_model(path, &restored[_i]);
  check_restored(path, &whole);
  for (size_t i = 0; i < 2; i++) {
    tq_file *file;
    ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
    ck_ok(tq_file_recode(file, recoded, codes[i], 0, error));
    tq_file_close(file);
    ck_ok(tq_file_open(recoded, TQ_VERIFY_FULL, &file, error));
    for (size_t t = 0; t < 2; t++) ck_assert_uint_eq(tq_file_tensor(file, t)->parts[0].encoding, codes[i]);
    tq_file_close(file);
    check_restored(recoded, &whole);
  }
  free(whole.bytes);
}
END_TEST

static const variant hostile[] = {
    {.size = TQ2_0_SIZE - 1, .message = "a tensor has another size"},
    {.size = TQ2_0_SIZE + 1, .message = "a tensor has another size"},
    {.size = UINT64_C(1) << 62, .message = "a tensor has another size"},
    {.size = ROWS * 52, .message = "a tensor has another size"}, /* that of the codes */
    {.source_type = "", .size = TQ2_0_SIZE, .message = "a tensor's source type is not understood"},
    {.source_type = "TQ3_0", .size = TQ2_0_SIZE, .message = "a tensor's source type is not understood"},
    {.source_type = "bitlinear+scale", .size = TQ2_0_SIZE, .message = "a tensor's source type is not understood"},
    {.source_type = "Q8_0", .size = ROWS * 272, .message = "a tensor's source type is not understood"},
    {.extra_part = 77, .size = TQ2_0_SIZE, .message = "a tensor's source type is not understood"},
    {.granularity = TQ_PER_GROUP,
     .group = 64,
     .size = TQ2_0_SIZE,
     .message = "tensor first: TQ2_0 cannot hold it: row 0, column",
     .describes = true},
    {.source_type = "I2_S",
     .granularity = TQ_PER_ROW,
     .size = I2_S_SIZE,
     .message = "tensor first: I2_S cannot hold it: scales",
     .describes = true},
};
enum { HOSTILE = sizeof hostile / sizeof *hostile };

START_TEST(records_that_ask_for_what_is_not_there) {
  const variant *given = &hostile[_i];
  const char *path = temporary_path("hostile.tq"), *back = temporary_path("back");
  char format[64];
  size_t count;
  collected unused = write_model(path, given);
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  if (given->describes) {
    ck_ok(tq_source_describe(file, format, sizeof format, &count, error));
    ck_assert_uint_eq(count, 1);
  } else {
    ck_fails(tq_source_describe(file, format, sizeof format, &count, error), TQ_ERROR_CORRUPT, given->message);
  }
  ck_fails(tq_source_restore(file, back, NULL, error), TQ_ERROR_CORRUPT, given->message);
  ck_assert_int_eq(tq_path_examine(back), TQ_PATH_MISSING);
  tq_file_close(file);
  free(unused.bytes);
}
END_TEST

/* ---- progress ---- */

typedef struct watched {
  uint64_t last, total;
} watched;

static void watch(void *context, uint64_t done, uint64_t total) {
  watched *seen = context;
  expect(done >= seen->last && done <= total);
  *seen = (watched){done, total};
}

START_TEST(progress_ends_at_the_files_size) {
  const char *path = temporary_path("source.tq"), *back = temporary_path("back");
  collected whole = write_model(path, &restored[0]);
  watched seen = {0};
  const tq_progress progress = {watch, &seen};
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
  ck_ok(tq_source_restore(file, back, &progress, error));
  ck_assert_uint_eq(seen.last, whole.size);
  ck_assert_uint_eq(seen.total, whole.size);
  tq_file_close(file);
  remove(back);
  free(whole.bytes);
}
END_TEST

/* ---- faults ---- */

static tq_status restore_once(const void *file, tq_error *error) {
  const char *back = temporary_path("back");
  tq_status status = tq_source_restore(file, back, NULL, error);
  fail_no_operation();
  bool renamed = operations_met(TQ_OPERATION_RENAME) > 0 && operation_failed() != TQ_OPERATION_RENAME;
  expect((tq_path_examine(back) == TQ_PATH_FILE) == renamed);
  remove(back);
  return status;
}

START_TEST(faults_while_restoring) {
  const char *path = temporary_path("source.tq");
  collected whole = write_model(path, &restored[3]);
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_assert_int_ge(check_every_fault(restore_once, file), 20);
  tq_file_close(file);
  free(whole.bytes);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("source");
  TCase *records = tcase_create("records");
  tcase_set_timeout(records, 60);
  tcase_add_loop_test(records, files_come_back, 0, RESTORED);
  tcase_add_loop_test(records, records_that_ask_for_what_is_not_there, 0, HOSTILE);
  tcase_add_test(records, progress_ends_at_the_files_size);
  tcase_add_test(records, faults_while_restoring);
  suite_add_tcase(suite, records);
  return run_suite(suite);
}
