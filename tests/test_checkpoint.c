/* Checkpoints whatever their format: names, large heads in adjacent-pair order, and records of files that ask for more
 * than a .tq file holds. */
#include "base/bytes.h"
#include "container/layout.h"
#include "formats/gguf/gguf.h"
#include "formats/import.h"
#include "formats/source.h"
#include "tests/container_support.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

static tq_status add_named(tq_checkpoint *checkpoint, unsigned number, tq_error *error) {
  tq_source_tensor tensor = {.encoding = TQ_U8, .dimensions = 1, .shape = {1}, .size = 1};
  tensor.name = tq_format_string(error, "t%u", number);
  tensor.role = tq_copy_string("r", 1, error);
  tensor.type_name = tq_copy_string("U8", 2, error);
  tq_status status = tq_checkpoint_add_tensor(checkpoint, &tensor, error);
  if (!status) return TQ_OK;
  tq_free(tensor.name);
  tq_free(tensor.role);
  tq_free(tensor.type_name);
  return status;
}

START_TEST(names_are_unique) {
  tq_checkpoint *checkpoint = tq_allocate(1, sizeof *checkpoint, NULL);
  tq_input *input;
  size_t index;
  ck_ok(tq_input_from_memory("names", tq_allocate(1, 1, NULL), 1, &input, error));
  ck_ok(tq_checkpoint_add_input(checkpoint, input, &index, error));
  for (unsigned i = 0; i < 150; i++) { /* up, down and mixed */
    unsigned number = i < 50 ? i : i < 100 ? 300 - i : (i - 100) * 37 % 50 + 400;
    ck_ok(add_named(checkpoint, number, error));
    for (unsigned k = 0; k <= i; k++) {
      unsigned known = k < 50 ? k : k < 100 ? 300 - k : (k - 100) * 37 % 50 + 400;
      char message[64];
      tq_error error = {0};
      snprintf(message, sizeof message, "names: tensor t%u: there are two of that name", known);
      if (add_named(checkpoint, known, &error) != TQ_ERROR_CORRUPT || strcmp(error.message, message) != 0)
        ck_abort_msg("%u of %u: %s", known, i, error.message);
    }
  }
  ck_assert_uint_eq(checkpoint->tensor_count, 150);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- packed tensors ---- */

static const struct {
  const char *dialect;
  uint32_t dimensions;
  uint64_t shape[3], size;
  uint32_t heads;
  const char *message; /* NULL: it is taken */
} packed[] = {
    {"TQ2_0", 2, {4, 256}, 264, 2, NULL},
    {"TQ2_0", 3, {2, 2, 256}, 264, 0, NULL},
    {"TQ2_0", 1, {256}, 66, 0, NULL},
    {"I2_S", 2, {4, 96}, 128, 0, NULL},
    {"bitlinear", 2, {8, 33}, 66, 0, NULL},
    {"TQ2_0", 2, {4, 255}, 264, 0, "tensor t: type TQ2_0: rows of 255 are not a multiple of 256"},
    {"TQ2_0", 2, {4, 256}, 263, 0, "tensor t: 263 bytes where its shape and type TQ2_0 demand 264"},
    {"I2_S", 2, {4, 96}, 96, 0, "tensor t: 96 bytes where its shape and type I2_S demand 128"},
    {"bitlinear", 2, {6, 33}, 66, 0, "tensor t: type bitlinear: 6 rows are not a multiple of 4"},
    {"TQ2_0", 2, {4, 256}, 264, 3, "tensor t: 4 rows are not 3 heads of pairs"},
    {"TQ2_0", 3, {4, 1, 256}, 264, 2, "tensor t: 3 dimensions of type TQ2_0 in adjacent-pair order"},
    {"bitlinear", 2, {8, 33}, 66, 2, "tensor t: 2 dimensions of type bitlinear in adjacent-pair order"},
    {"TQ2_0", 2, {0, 256}, 264, 0, "tensor t: dimension 0 is zero"},
    {"TQ2_0", 2, {UINT64_MAX / 256, 256}, 264, 0, "tensor t: "},
    {"TQ2_0", 2, {40, 256}, 2640, 0, "lie outside the file"},
};

START_TEST(packed_tensors_are_measured) {
  tq_checkpoint *checkpoint = tq_allocate(1, sizeof *checkpoint, NULL);
  tq_input *input;
  size_t index;
  ck_ok(tq_input_from_memory("packed", tq_allocate(1000, 1, NULL), 1000, &input, error));
  ck_ok(tq_checkpoint_add_input(checkpoint, input, &index, error));
  tq_source_tensor tensor = {.form = {.dialect = tq_dialect_find(packed[_i].dialect)},
                             .dimensions = packed[_i].dimensions,
                             .size = packed[_i].size,
                             .adjacent_heads = packed[_i].heads};
  memcpy(tensor.shape, packed[_i].shape, sizeof packed[_i].shape);
  tensor.name = tq_copy_string("t", 1, NULL);
  tensor.role = tq_copy_string("t", 1, NULL);
  tensor.type_name = tq_copy_string(packed[_i].dialect, strlen(packed[_i].dialect), NULL);
  if (packed[_i].message) {
    ck_fails(tq_checkpoint_add_tensor(checkpoint, &tensor, error), TQ_ERROR_CORRUPT, packed[_i].message);
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  } else {
    ck_ok(tq_checkpoint_add_tensor(checkpoint, &tensor, error));
  }
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- one head that is larger than what is held ---- */

static const struct {
  uint64_t rows, columns; /* of F32 */
} large_heads[] = {{4, 393216}, {2048, 1024}, {2, 1 << 20}, {30, 50001}};

static void check_pieces(tq_checkpoint *checkpoint, size_t index, const uint8_t *expected) {
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  uint64_t state = 3;
  ck_assert_uint_eq(tq_source_tensor_unit(tensor), 4);
  for (uint64_t offset = 0, size; offset < tensor->size; offset += size) {
    size = 4 * (1 + random_u64(&state) % 300000);
    if (size > tensor->size - offset) size = tensor->size - offset;
    uint8_t *piece = malloc((size_t)size);
    ck_ok(tq_source_tensor_read(checkpoint, index, offset, size, piece, error));
    ck_assert_mem_eq(piece, expected + offset, (size_t)size);
    free(piece);
  }
}

START_TEST(large_heads_are_gathered) {
  const char *path = temporary_path("large.gguf"), *stored = temporary_path("large.tq"),
             *back = temporary_path("back.gguf");
  uint64_t rows = large_heads[_i].rows, row = large_heads[_i].columns * 4, shape[2] = {row / 4, rows}, state = 5;
  uint8_t *data = malloc((size_t)(rows * row)), *expected = malloc((size_t)(rows * row));
  for (uint64_t i = 0; i < rows * row; i += 4) tq_store_f32(data + i, random_float(&state));
  tq_rows_to_half_split(data, expected, 1, rows, row);
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_u32(&builder, "llama.attention.head_count", 1);
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, shape, data, (size_t)(rows * row));
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint;
  ck_ok(open_with(tq_gguf_open, path, NULL, &checkpoint, error));
  size_t index = tq_checkpoint_find_role(checkpoint, "layers.0.q");
  ck_assert_uint_ne(index, SIZE_MAX);
  ck_assert_uint_eq(checkpoint->tensors[index].adjacent_heads, 1);
  check_pieces(checkpoint, index, expected);
  checkpoint->format = "gguf";
  ck_ok(tq_import(checkpoint, stored, 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  tq_file *file;
  ck_ok(tq_file_open(stored, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  ck_assert_mem_eq(tq_file_tensor(file, 0)->parts[0].data, expected, (size_t)(rows * row));
  ck_ok(tq_source_restore(file, back, NULL, error));
  ck_same_files(path, back);
  tq_file_close(file);
  free(data), free(expected);
}
END_TEST

/* ---- records that ask for much ---- */

typedef struct piece_row {
  uint32_t kind;
  uint64_t source, size;
} piece_row;

/* A file of one tensor of 8 bytes, 24 bytes of metadata and a fragment of 4; its record has `files` files of those
 * pieces each. */
static void write_record(const char *path, unsigned files, const piece_row *pieces, size_t count) {
  static const uint8_t none[16];
  static const uint64_t shape[] = {8};
  uint8_t bytes[24] = {1}, number[8];
  tq_buffer record = {0};
  uint64_t total = 0;
  for (size_t i = 0; i < count; i++) total += pieces[i].size;
  tq_store_u64(bytes + 8, 4);
  ck_ok(tq_buffer_append(&record, bytes, 16, error));
  ck_ok(tq_buffer_append(&record, "gguf", 4, error));
  for (uint64_t f = 0; f <= files; f++) {
    tq_store_u64(number, f ? 1 : files);
    ck_ok(tq_buffer_append(&record, number, 8, error));
    if (!f) continue;
    ck_ok(tq_buffer_append(&record, "a", 1, error));
    tq_store_u64(number, total);
    ck_ok(tq_buffer_append(&record, number, 8, error));
    tq_store_u64(number, count);
    ck_ok(tq_buffer_append(&record, number, 8, error));
    for (size_t i = 0; i < count; i++) {
      uint8_t piece[24] = {0};
      tq_store_u32(piece, pieces[i].kind);
      tq_store_u64(piece + 8, pieces[i].source);
      tq_store_u64(piece + 16, pieces[i].size);
      ck_ok(tq_buffer_append(&record, piece, sizeof piece, error));
    }
  }
  const part_bytes part = {{.kind = TQ_PART_VALUES, .encoding = TQ_U8, .size = 8}, "eight by"};
  tq_metadata_builder metadata = {0};
  tq_writer *writer;
  ck_ok(tq_metadata_add_u64(&metadata, "four", 4, error));
  ck_assert_uint_eq(metadata.size, 24);
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, metadata.data, metadata.size, metadata.count, error));
  ck_ok(tq_writer_section(writer, "source", false, record.data, record.size, error));
  ck_ok(put_attachment(writer, "#a", TQ_ATTACHMENT_FRAGMENT, "GGUF", 4, 4, error));
  ck_ok(put_tensor(writer, "t", 1, shape, &part, 1, NULL, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  tq_buffer_free(&record);
  tq_metadata_builder_free(&metadata);
}

static const struct {
  unsigned files;
  size_t count;
  piece_row pieces[4];
  const char *message; /* NULL: it is given back */
} records[] = {
    {1, 4, {{1, 0, 4}, {2, 0, 10}, {3, 0, 8}, {2, 10, 14}}, NULL},
    {1, 3, {{1, 0, 4}, {3, 0, 8}, {3, 0, 8}}, "two pieces name the same tensor"},
    {2, 1, {{3, 0, 8}}, "two pieces name the same tensor"},
    {1, 3, {{1, 0, 4}, {2, 0, 10}, {2, 9, 10}}, "pieces of the metadata overlap"},
    {1, 3, {{1, 0, 4}, {2, 10, 10}, {2, 0, 10}}, "pieces of the metadata overlap or are not in order"},
    {2, 1, {{2, 0, 24}}, "pieces of the metadata overlap"},
    {1, 2, {{1, 0, 4}, {1, 4, 1}}, "more literals than the fragments hold"},
    {2, 1, {{1, 0, 4}}, "more literals than the fragments hold"},
};

START_TEST(nothing_is_used_twice) {
  const char *path = temporary_path("record.tq"), *back = temporary_path("record");
  tq_file *file;
  char format[64];
  size_t count;
  remove(back); /* of the run before */
  write_record(path, records[_i].files, records[_i].pieces, records[_i].count);
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  if (records[_i].message) {
    ck_fails(tq_source_describe(file, format, sizeof format, &count, error), TQ_ERROR_CORRUPT, records[_i].message);
    ck_fails(tq_source_restore(file, back, NULL, error), TQ_ERROR_CORRUPT, records[_i].message);
    ck_assert_int_eq(tq_path_examine(back), TQ_PATH_MISSING);
  } else {
    ck_ok(tq_source_restore(file, back, NULL, error));
  }
  tq_file_close(file);
}
END_TEST

/* ---- attachments that inflate to much ---- */

START_TEST(writers_refuse_what_inflates_too_far) {
  const char *path = temporary_path("bomb.tq");
  const size_t size = 88 << 20;
  uint8_t *zeros = calloc(size, 1);
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, "", 0, 0, error));
  ck_ok(put_attachment(writer, "zeros", TQ_ATTACHMENT_FILE, zeros, size, size, error));
  static const uint8_t none[16];
  ck_fails(tq_writer_finish(writer, none, none, error), TQ_ERROR_REFUSED, "would inflate to more than 200 times");
  tq_writer_abandon(writer);
  ck_assert_int_eq(tq_path_examine(path), TQ_PATH_MISSING);
  free(zeros);
}
END_TEST

/* A section of one stream of `stored` bytes that states `size`; as another section's first, for the writer makes this
 * one itself. */
static image forged(uint64_t stored, uint64_t size) {
  static const uint8_t none[16];
  uint64_t total = stored + TQ_ATTACHMENT_RECORD_SIZE + 8 + TQ_TRAILER_SIZE;
  uint8_t *section = calloc((size_t)total, 1), *record = section + stored, *trailer = section + total - TQ_TRAILER_SIZE;
  tq_store_u64(record + TQ_ATTACHMENT_STORED_SIZE, stored);
  tq_store_u64(record + TQ_ATTACHMENT_SIZE, size);
  tq_store_u32(record + TQ_ATTACHMENT_KIND, TQ_ATTACHMENT_FILE);
  tq_store_u32(record + TQ_ATTACHMENT_NAME, 1);
  memcpy(record + TQ_ATTACHMENT_RECORD_SIZE, "\0zeros\0", 8);
  tq_store_u64(trailer + TQ_TRAILER_INDEX_OFFSET, stored);
  tq_store_u64(trailer + TQ_TRAILER_COUNT, 1);
  tq_store_u64(trailer + TQ_TRAILER_NAMES_SIZE, 8);
  const char *path = temporary_path("forged.tq");
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, "", 0, 0, error));
  ck_ok(tq_writer_section(writer, "extra", false, section, (size_t)total, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  free(section);
  image file = load_image(path);
  memcpy(section_entry(file, "extra"), "attachments", sizeof "attachments");
  reseal(file);
  return file;
}

START_TEST(readers_refuse_what_inflates_too_far) {
  const uint64_t stored = 100 << 10, most = 200 * stored + (64 << 20);
  image file = forged(stored, most);
  ck_ok(try_open(file, TQ_VERIFY_FULL, error));
  free(file.data);
  file = forged(stored, most + 1);
  ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT,
           "section attachments: 102400 bytes would inflate to more than 200 times as many and 64 MiB");
  free(file.data);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("checkpoint");
  TCase *tests = tcase_create("checkpoint");
  tcase_set_timeout(tests, 60);
  tcase_add_test(tests, names_are_unique);
  tcase_add_loop_test(tests, packed_tensors_are_measured, 0, sizeof packed / sizeof *packed);
  tcase_add_loop_test(tests, large_heads_are_gathered, 0, sizeof large_heads / sizeof *large_heads);
  tcase_add_loop_test(tests, nothing_is_used_twice, 0, sizeof records / sizeof *records);
  tcase_add_test(tests, writers_refuse_what_inflates_too_far);
  tcase_add_test(tests, readers_refuse_what_inflates_too_far);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
