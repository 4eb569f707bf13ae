/* The writer: what it refuses, and that a file appears whole or not at all. */
#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "tests/container_support.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t no_digest[16];
static const uint64_t no_trits[4];

static tq_writer *start(void) {
  tq_writer *writer;
  ck_ok(tq_writer_create(temporary_path("w.tq"), 0, &writer, error));
  return writer;
}

/* ---- the order of calls ---- */

static tq_status section_twice(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_section(writer, "a", false, "", 0, error);
  return status == TQ_OK ? tq_writer_section(writer, "a", false, "", 0, error) : status;
}
static tq_status section_twice_while_streaming(tq_writer *writer, tq_error *error) {
  tq_status status = put_floats(writer, "t", 1, 1, error);
  return status == TQ_OK ? section_twice(writer, error) : status;
}
static tq_status section_of_the_container(tq_writer *writer, tq_error *error) {
  return tq_writer_section(writer, "tensors", true, "", 0, error);
}
static tq_status section_without_name(tq_writer *writer, tq_error *error) {
  return tq_writer_section(writer, "", true, "", 0, error);
}
static tq_status section_with_long_name(tq_writer *writer, tq_error *error) {
  return tq_writer_section(writer, "0123456789abcdef", true, "", 0, error);
}
static tq_status section_with_odd_name(tq_writer *writer, tq_error *error) {
  return tq_writer_section(writer, "a b", true, "", 0, error);
}
static tq_status metadata_twice(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_metadata(writer, NULL, 0, 0, error);
  return status == TQ_OK ? tq_writer_metadata(writer, NULL, 0, 0, error) : status;
}
static tq_status attachment_in_attachment(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_attachment_begin(writer, "a", TQ_ATTACHMENT_FILE, error);
  return status == TQ_OK ? tq_writer_attachment_begin(writer, "b", TQ_ATTACHMENT_FILE, error) : status;
}
static tq_status attachment_not_begun(tq_writer *writer, tq_error *error) {
  return tq_writer_attachment_write(writer, "a", 1, error);
}
static tq_status attachment_not_ended(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_attachment_begin(writer, "a", TQ_ATTACHMENT_FILE, error);
  return status == TQ_OK ? put_floats(writer, "t", 1, 1, error) : status;
}
static tq_status attachments_in_two_runs(tq_writer *writer, tq_error *error) {
  tq_status status = put_attachment(writer, "a", TQ_ATTACHMENT_FILE, "", 0, 1, error);
  if (status == TQ_OK) status = put_floats(writer, "t", 1, 1, error);
  return status == TQ_OK ? put_attachment(writer, "b", TQ_ATTACHMENT_FILE, "", 0, 1, error) : status;
}
static tq_status attachment_twice(tq_writer *writer, tq_error *error) {
  tq_status status = put_attachment(writer, "a", TQ_ATTACHMENT_FILE, "", 0, 1, error);
  if (status == TQ_OK) status = put_attachment(writer, "a", TQ_ATTACHMENT_FILE, "", 0, 1, error);
  return status == TQ_OK ? put_floats(writer, "t", 1, 1, error) : status;
}
static tq_status attachment_as_file_and_folder(tq_writer *writer, tq_error *error) {
  static const char *const names[] = {"a/b", "a!", "a"};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < 3 && status == TQ_OK; i++)
    status = put_attachment(writer, names[i], TQ_ATTACHMENT_FILE, "", 0, 1, error);
  return status == TQ_OK ? put_floats(writer, "t", 1, 1, error) : status;
}
static tq_status attachment_outside(tq_writer *writer, tq_error *error) {
  return put_attachment(writer, "../a", TQ_ATTACHMENT_FILE, "", 0, 1, error);
}
static tq_status attachment_with_odd_name(tq_writer *writer, tq_error *error) {
  return put_attachment(writer, "#a\n", TQ_ATTACHMENT_FRAGMENT, "", 0, 1, error);
}
static const tq_tensor plain = {.role = "r", .name = "n", .source_type = "", .dimensions = 1, .shape = {2}};
static const tq_part floats = {.kind = TQ_PART_VALUES, .encoding = TQ_F32};

static tq_status tensor_in_tensor(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, &plain, error);
  return status == TQ_OK ? tq_writer_tensor_begin(writer, &plain, error) : status;
}
static tq_status part_without_tensor(tq_writer *writer, tq_error *error) {
  return tq_writer_part_begin(writer, &floats, error);
}
static tq_status bytes_without_part(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, &plain, error);
  return status == TQ_OK ? tq_writer_part_write(writer, "x", 1, error) : status;
}
static tq_status part_not_ended(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, &plain, error);
  if (status == TQ_OK) status = tq_writer_part_begin(writer, &floats, error);
  return status == TQ_OK ? tq_writer_tensor_end(writer, no_trits, no_digest, error) : status;
}
static tq_status tensor_not_ended(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, &plain, error);
  return status == TQ_OK ? tq_writer_finish(writer, no_digest, no_digest, error) : status;
}

/* ---- what a reader would refuse ---- */

static tq_status part_too_short(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {2};
  part_bytes part = {floats, "1234567"};
  part.part.size = 7;
  return put_tensor(writer, "t", 1, shape, &part, 1, NULL, error);
}
static tq_status part_too_long(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {2};
  part_bytes part = {floats, "123456789"};
  part.part.size = 9;
  return put_tensor(writer, "t", 1, shape, &part, 1, NULL, error);
}
static tq_status no_parts(tq_writer *writer, tq_error *error) {
  tq_status status = tq_writer_tensor_begin(writer, &plain, error);
  return status == TQ_OK ? tq_writer_tensor_end(writer, no_trits, no_digest, error) : status;
}
static tq_status too_many_parts(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {1};
  part_bytes parts[TQ_MAX_PARTS + 1];
  for (size_t i = 0; i <= TQ_MAX_PARTS; i++)
    parts[i] = (part_bytes){{.kind = i == 0 ? TQ_PART_VALUES : 99, .encoding = TQ_U8, .size = 1}, "x"};
  return put_tensor(writer, "t", 1, shape, parts, TQ_MAX_PARTS + 1, NULL, error);
}
static tq_status codes_without_scales(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {5}, counts[4] = {5};
  part_bytes part = {{.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_BASE3, .size = 4}, "\0\0\0"};
  return put_tensor(writer, "t", 1, shape, &part, 1, counts, error);
}
static tq_status wrong_counts(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {5}, counts[4] = {4};
  const part_bytes parts[] = {{{.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_BASE3, .size = 4}, "\0\0\0"},
                              {{.kind = TQ_PART_SCALES, .encoding = TQ_F16, .size = 2}, "\0\0"}};
  return put_tensor(writer, "t", 1, shape, parts, 2, counts, error);
}
static tq_status scales_in_f64(tq_writer *writer, tq_error *error) {
  static const uint64_t shape[] = {5};
  const part_bytes parts[] = {{{.kind = TQ_PART_VALUES, .encoding = TQ_I8, .size = 5}, "abcde"},
                              {{.kind = TQ_PART_SCALES, .encoding = TQ_F64, .size = 8}, "12345678"}};
  return put_tensor(writer, "t", 1, shape, parts, 2, NULL, error);
}
static tq_status no_elements(tq_writer *writer, tq_error *error) {
  tq_tensor tensor = plain;
  tensor.shape[0] = 0;
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status too_many_dimensions(tq_writer *writer, tq_error *error) {
  tq_tensor tensor = plain;
  tensor.dimensions = 9;
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status heads_that_do_not_divide(tq_writer *writer, tq_error *error) {
  tq_tensor tensor = plain;
  tensor.source_row_order = 3;
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status name_is_empty(tq_writer *writer, tq_error *error) {
  tq_tensor tensor = plain;
  tensor.name = "";
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status name_is_no_text(tq_writer *writer, tq_error *error) {
  tq_tensor tensor = plain;
  tensor.name = "a\xff";
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status name_is_too_long(tq_writer *writer, tq_error *error) {
  char name[TQ_ROLE_SIZE + 1] = {0};
  memset(name, 'n', TQ_ROLE_SIZE);
  tq_tensor tensor = plain;
  tensor.name = name;
  return tq_writer_tensor_begin(writer, &tensor, error);
}
static tq_status role_twice(tq_writer *writer, tq_error *error) {
  tq_status status = put_floats(writer, "t", 1, 1, error);
  if (status == TQ_OK) status = put_floats(writer, "u", 1, 1, error);
  if (status == TQ_OK) status = put_floats(writer, "t", 1, 1, error);
  return status == TQ_OK ? tq_writer_finish(writer, no_digest, no_digest, error) : status;
}

typedef struct misuse {
  tq_status (*call)(tq_writer *writer, tq_error *error);
  tq_status status;
  const char *message;
} misuse;

static const misuse misuses[] = {
    {section_twice, TQ_ERROR_USAGE, "section a: written twice"},
    {section_twice_while_streaming, TQ_ERROR_USAGE, "section a: written twice"},
    {section_of_the_container, TQ_ERROR_USAGE, "not a name for a section of one's own"},
    {section_without_name, TQ_ERROR_USAGE, "not a name for a section"},
    {section_with_long_name, TQ_ERROR_USAGE, "not a name for a section"},
    {section_with_odd_name, TQ_ERROR_USAGE, "not a name for a section"},
    {metadata_twice, TQ_ERROR_USAGE, "metadata: written twice"},
    {attachment_in_attachment, TQ_ERROR_USAGE, "attachment b: begun inside another"},
    {attachment_not_begun, TQ_ERROR_USAGE, "no attachment was begun"},
    {attachment_not_ended, TQ_ERROR_USAGE, "the last attachment was not ended"},
    {attachments_in_two_runs, TQ_ERROR_USAGE, "section attachments: cannot be continued"},
    {attachment_twice, TQ_ERROR_CORRUPT, "duplicate attachment a"},
    {attachment_as_file_and_folder, TQ_ERROR_CORRUPT, "a is both a file and the folder of a/b"},
    {attachment_outside, TQ_ERROR_CORRUPT, "attachment ../a: not a name to write a file by"},
    {attachment_with_odd_name, TQ_ERROR_CORRUPT, "attachment #a\\x0A: not a name"},
    {tensor_in_tensor, TQ_ERROR_USAGE, "tensor r: begun inside another"},
    {part_without_tensor, TQ_ERROR_USAGE, "a part begun out of its order"},
    {bytes_without_part, TQ_ERROR_USAGE, "a part's bytes out of its order"},
    {part_not_ended, TQ_ERROR_USAGE, "a tensor's end out of its order"},
    {tensor_not_ended, TQ_ERROR_USAGE, "the last tensor was not ended"},
    {part_too_short, TQ_ERROR_CORRUPT, "tensor t: part of kind 1, encoding 1 has 7 bytes where 8 are needed"},
    {part_too_long, TQ_ERROR_CORRUPT, "has 9 bytes where 8 are needed"},
    {no_parts, TQ_ERROR_CORRUPT, "tensor r: 0 parts"},
    {too_many_parts, TQ_ERROR_CORRUPT, "tensor t: more than 16 parts"},
    {codes_without_scales, TQ_ERROR_CORRUPT, "tensor t: ternary codes without scales"},
    {wrong_counts, TQ_ERROR_CORRUPT, "tensor t: the trit counts do not add up to 5"},
    {scales_in_f64, TQ_ERROR_CORRUPT, "scales must be F32, F16 or BF16"},
    {no_elements, TQ_ERROR_CORRUPT, "tensor r: dimension 0 is zero"},
    {too_many_dimensions, TQ_ERROR_CORRUPT, "tensor r: 9 dimensions"},
    {heads_that_do_not_divide, TQ_ERROR_CORRUPT, "tensor r: 2 rows are not 3 heads of pairs"},
    {name_is_empty, TQ_ERROR_CORRUPT, "its name is empty"},
    {name_is_no_text, TQ_ERROR_CORRUPT, "tensor 'a\\xFF': its name is empty or not proper UTF-8"},
    {name_is_too_long, TQ_ERROR_REFUSED, "its name is longer than 255 bytes"},
    {role_twice, TQ_ERROR_CORRUPT, "duplicate tensor name t"},
};

static size_t files_left(void) {
  char **names;
  size_t count;
  ck_ok(tq_list_folder(temporary_folder(), &names, &count, error));
  tq_free_names(names, count);
  return count;
}

START_TEST(misuse_is_refused) {
  const misuse *row = &misuses[_i];
  tq_writer *writer = start();
  ck_fails(row->call(writer, error), row->status, row->message);
  /* After a failure nothing is accepted any more, least of all the end. */
  ck_fails(tq_writer_section(writer, "later", false, "", 0, error), TQ_ERROR_USAGE, "has failed before");
  ck_fails(tq_writer_finish(writer, no_digest, no_digest, error), TQ_ERROR_USAGE, "has failed before");
  tq_writer_abandon(writer);
  ck_assert_uint_eq(files_left(), 0);
}
END_TEST

START_TEST(unknown_hash_algorithm) {
  tq_writer *writer;
  ck_fails(tq_writer_create(temporary_path("w.tq"), 3, &writer, error), TQ_ERROR_USAGE, "unknown hash algorithm 3");
  ck_assert_uint_eq(files_left(), 0);
}
END_TEST

START_TEST(abandoning_keeps_the_old_file) {
  const char *path = temporary_path("kept.tq");
  write_file(path, "old", 3);
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(put_floats(writer, "t", 100000, 1, error));
  tq_writer_abandon(writer);
  size_t size;
  uint8_t *data = read_file(path, &size);
  ck_assert(size == 3 && memcmp(data, "old", 3) == 0);
  free(data);
  ck_assert_uint_eq(files_left(), 1);
  remove(path);
}
END_TEST

/* ---- faults ---- */

static tq_status write_once(const void *path, tq_error *error) {
  tq_status status = write_sample(path, 0, error);
  fail_no_operation();
  bool renamed = operations_met(TQ_OPERATION_RENAME) > 0 && operation_failed() != TQ_OPERATION_RENAME;
  expect(files_left() == (renamed ? 1 : 0));
  if (renamed) {
    tq_file *file;
    expect(tq_file_open(path, TQ_VERIFY_FULL, &file, NULL) == TQ_OK);
    tq_file_close(file);
    remove(path);
  }
  return status;
}

/* Every allocation and file operation fails in its turn: nothing is left but, once it has its name, the whole file. */
START_TEST(faults_while_writing) {
  long faults = check_every_fault(write_once, temporary_path("f.tq"));
  ck_assert_int_gt(faults, 50);
  ck_assert_int_lt(faults, 2000);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("container, writer");
  TCase *cases = tcase_create("writer");
  tcase_add_loop_test(cases, misuse_is_refused, 0, sizeof misuses / sizeof *misuses);
  tcase_add_test(cases, unknown_hash_algorithm);
  tcase_add_test(cases, abandoning_keeps_the_old_file);
  tcase_add_test(cases, faults_while_writing);
  suite_add_tcase(suite, cases);
  return run_suite(suite);
}
