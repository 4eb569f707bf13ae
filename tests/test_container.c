/* The container: what is written comes back, byte for byte and value for value; versions, features, sections,
 * attachments, digests. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "container/layout.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t no_digest[16];

static tq_writer *start(const char *name) {
  tq_writer *writer;
  ck_ok(tq_writer_create(temporary_path(name), 0, &writer, error));
  return writer;
}

static tq_file *finish_and_open(tq_writer *writer, const char *name) {
  tq_file *file;
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  ck_ok(tq_file_open(temporary_path(name), TQ_VERIFY_FULL, &file, error));
  return file;
}

/* ---- every encoding ---- */

static const uint32_t plain_encodings[] = {TQ_F32, TQ_F16,     TQ_BF16,    TQ_F64,     TQ_BOOL,        TQ_U8,
                                           TQ_I8,  TQ_U16,     TQ_I16,     TQ_U32,     TQ_I32,         TQ_U64,
                                           TQ_I64, TQ_F8_E4M3, TQ_F8_E5M2, TQ_F8_E8M0, TQ_F8_E4M3FNUZ, TQ_F8_E5M2FNUZ,
                                           TQ_C64, TQ_F6_E2M3, TQ_F6_E3M2, TQ_F4};
enum { PLAIN_ENCODINGS = sizeof plain_encodings / sizeof *plain_encodings };

typedef struct shape_row {
  uint32_t dimensions;
  uint64_t shape[8];
} shape_row;

static const shape_row shapes[] = {{1, {1}},      {1, {7}},        {2, {3, 5}},    {2, {1, 300}},
                                   {2, {33, 1}},  {3, {5, 7, 37}}, {2, {16, 256}}, {8, {1, 2, 1, 3, 1, 1, 2, 9}},
                                   {2, {2, 160}}, {2, {17, 161}},  {1, {1048577}}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static uint64_t elements_of(const shape_row *row) {
  uint64_t elements = 1;
  for (uint32_t i = 0; i < row->dimensions; i++) elements *= row->shape[i];
  return elements;
}

static uint8_t *random_bytes(size_t size, uint64_t seed) {
  uint8_t *bytes = malloc(size + 8);
  ck_assert(bytes != NULL);
  for (size_t i = 0; i < size; i += 8) tq_store_u64(bytes + i, random_u64(&seed));
  return bytes;
}

static void check_shape(const tq_tensor *tensor, const shape_row *row) {
  expect(tensor->dimensions == row->dimensions);
  for (uint32_t i = 0; i < 8; i++) expect(tensor->shape[i] == (i < row->dimensions ? row->shape[i] : 0));
  expect(tensor->elements == elements_of(row));
  expect(tensor->columns == row->shape[row->dimensions - 1]);
  expect(tensor->rows * tensor->columns == tensor->elements);
  expect(tensor->data_offset % 64 == 0);
}

START_TEST(plain_values_come_back) {
  const shape_row *row = &shapes[_i];
  tq_writer *writer = start("plain.tq");
  uint8_t *bytes = random_bytes(8 * elements_of(row), 5);
  size_t written = 0;
  for (size_t i = 0; i < PLAIN_ENCODINGS; i++) {
    const tq_encoding_info *info = tq_encoding_find(plain_encodings[i]);
    if (elements_of(row) % info->elements != 0) continue;
    part_bytes part = {{.kind = TQ_PART_VALUES,
                        .encoding = plain_encodings[i],
                        .size = elements_of(row) / info->elements * info->bytes},
                       bytes};
    ck_ok(put_tensor(writer, info->name, row->dimensions, row->shape, &part, 1, NULL, error));
    written++;
  }
  tq_file *file = finish_and_open(writer, "plain.tq");
  ck_assert_uint_eq(tq_file_tensor_count(file), written);
  for (size_t i = 0; i < written; i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    const tq_encoding_info *info = tq_encoding_find(tensor->parts[0].encoding);
    check_shape(tensor, row);
    expect(strcmp(tensor->role, info->name) == 0 && tq_file_find_role(file, info->name) == i);
    expect(tensor->part_count == 1 && memcmp(tensor->parts[0].data, bytes, tensor->parts[0].size) == 0);
    expect(tensor->bits_per_weight == 8.0 * info->bytes / info->elements);
    expect(tensor->trit_counts[0] + tensor->trit_counts[1] + tensor->trit_counts[2] + tensor->trit_counts[3] == 0);
  }
  tq_file_close(file);
  free(bytes);
}
END_TEST

/* One way to hold a ternary tensor. */
typedef struct ternary_row {
  uint32_t encoding, granularity, group, scale_encoding, direction;
} ternary_row;

static float scale_value(const ternary_row *form, uint64_t index) {
  float scale = (float)(index % 13 + 1) / 8; /* exact in F16 and BF16 */
  return form->direction == TQ_INVERTED ? 1.0f / scale : scale;
}

static void store_scale(uint32_t encoding, float scale, uint64_t index, uint8_t *table) {
  if (encoding == TQ_F32)
    tq_store_f32(table + 4 * index, scale);
  else
    tq_store_u16(table + 2 * index, encoding == TQ_F16 ? tq_f32_to_f16(scale) : tq_f32_to_bf16(scale));
}

static void round_trip_integers(const ternary_row *form, const shape_row *shape) {
  uint64_t columns = shape->shape[shape->dimensions - 1], rows = elements_of(shape) / columns;
  bool trits = form->encoding != TQ_I8;
  uint64_t row_bytes = trits ? tq_trit_row_bytes(form->encoding, columns) : columns;
  uint64_t scales = tq_scale_count(form->granularity, form->group, rows, columns), counts[4] = {0}, state = columns;
  int8_t *integers = malloc(rows * columns);
  uint8_t *codes = malloc(rows * row_bytes), *table = malloc(4 * scales);
  float *values = malloc(rows * columns * sizeof *values);
  ck_assert(integers && codes && table && values);
  int kinds = form->encoding == TQ_I8 ? 256 : form->encoding == TQ_QUATERNARY_2BIT ? 4 : 3;
  for (uint64_t i = 0; i < rows * columns; i++)
    integers[i] = (int8_t)((int)(random_u64(&state) % (unsigned)kinds) - (trits ? 1 : 128));
  for (uint64_t row = 0; row < rows; row++) {
    if (trits)
      put_trits(form->encoding, integers + row * columns, rows, row, columns, codes);
    else
      memcpy(codes + row * row_bytes, integers + row * columns, columns);
    if (trits) tq_trits_count(integers + row * columns, columns, counts);
  }
  for (uint64_t i = 0; i < scales; i++) store_scale(form->scale_encoding, (float)(i % 13 + 1) / 8, i, table);
  part_bytes parts[] = {{{.kind = TQ_PART_VALUES, .encoding = form->encoding, .size = rows * row_bytes}, codes},
                        {{.kind = TQ_PART_SCALES,
                          .encoding = form->scale_encoding,
                          .granularity = form->granularity,
                          .group = form->group,
                          .direction = form->direction,
                          .size = scales * (form->scale_encoding == TQ_F32 ? 4 : 2)},
                         table}};
  tq_writer *writer = start("ternary.tq");
  ck_ok(put_floats(writer, "before", 3, 1, error));
  ck_ok(put_tensor(writer, "t", shape->dimensions, shape->shape, parts, 2, counts, error));
  tq_file *file = finish_and_open(writer, "ternary.tq");
  const tq_tensor *tensor = tq_file_tensor(file, 1);
  check_shape(tensor, shape);
  for (size_t i = 0; i < 2; i++) {
    expect(tensor->parts[i].encoding == parts[i].part.encoding && tensor->parts[i].size == parts[i].part.size);
    expect(memcmp(tensor->parts[i].data, parts[i].data, parts[i].part.size) == 0);
  }
  expect(tensor->parts[1].granularity == form->granularity && tensor->parts[1].group == form->group);
  expect(tensor->parts[1].direction == form->direction);
  expect(memcmp(tensor->trit_counts, counts, sizeof counts) == 0);
  expect(tensor->bits_per_weight == 8.0 * (double)(parts[0].part.size + parts[1].part.size) / (double)(rows * columns));
  uint64_t first = rows / 3, count = rows - first; /* some rows, the last among them */
  ck_ok(tq_tensor_decode(file, 1, first, count, values, error));
  for (uint64_t i = 0; i < count * columns; i++) {
    uint64_t row = first + i / columns, column = i % columns;
    int8_t integer = integers[row * columns + column];
    uint64_t index = tq_scale_index(form->granularity, form->group, rows, columns, row, column);
    float expected = integer ? (float)integer * scale_value(form, index) : 0.0f;
    expect(memcmp(&values[i], &expected, sizeof expected) == 0);
  }
  tq_file_close(file);
  free(values);
  free(table);
  free(codes);
  free(integers);
}

START_TEST(scaled_integers_come_back) {
  static const uint32_t encodings[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT, TQ_I8};
  static const uint32_t scales[] = {TQ_F32, TQ_F16, TQ_BF16};
  static const ternary_row granularities[] = {{0, TQ_PER_TENSOR, 0, 0, 0}, {0, TQ_PER_ROW, 0, 0, 0},
                                              {0, TQ_PER_GROUP, 32, 0, 0}, {0, TQ_PER_GROUP, 64, 0, 0},
                                              {0, TQ_PER_GROUP, 96, 0, 0}, {0, TQ_PER_GROUP, 128, 0, 0},
                                              {0, TQ_PER_GROUP, 256, 0, 0}};
  for (size_t g = 0; g < sizeof granularities / sizeof *granularities; g++)
    for (size_t s = 0; s < 3; s++)
      for (uint32_t direction = 0; direction < 2; direction++)
        for (size_t shape = 0; shape < SHAPES - 1; shape++) {
          ternary_row form = granularities[g];
          form.encoding = encodings[_i];
          form.scale_encoding = scales[s];
          form.direction = direction;
          round_trip_integers(&form, &shapes[shape]);
        }
}
END_TEST

/* ---- decoding ---- */

START_TEST(decodes_numbers_and_blocks) {
  image sample = sample_image(0);
  tq_file *file;
  ck_ok(tq_file_open_memory("s", sample.data, sample.size, TQ_VERIFY_LAZY, &file, error));
  float values[128];
  uint64_t seed = 3;
  ck_ok(tq_tensor_decode(file, tq_file_find_role(file, "embedding"), 0, 1, values, error));
  for (size_t i = 0; i < 11; i++) ck_assert(values[i] == random_float(&seed));
  ck_ok(tq_tensor_decode(file, tq_file_find_role(file, "layers.0.k"), 0, 2, values, error));
  /* the first block: scale 0x3c00 = 1, then 1 2 3 -1 -2 0 ... */
  static const float expected[] = {1, 2, 3, -1, -2, 0};
  for (size_t i = 0; i < 6; i++) ck_assert(values[i] == expected[i]);
  ck_assert(values[64] == 0);
  tq_file_close(file);
  free(sample.data);
}
END_TEST

START_TEST(refuses_what_it_cannot_decode) {
  image sample = sample_image(0);
  tq_file *file;
  float values[64];
  ck_ok(tq_file_open_memory("s.tq", sample.data, sample.size, TQ_VERIFY_FULL, &file, error));
  ck_fails(tq_tensor_decode(file, tq_file_find_role(file, "odd"), 0, 1, values, error), TQ_ERROR_CORRUPT,
           "s.tq: tensor odd: cannot be decoded: it has a part of unknown kind 99");
  ck_fails(tq_tensor_decode(file, tq_file_find_role(file, "layers.0.o"), 0, 1, values, error), TQ_ERROR_CORRUPT,
           "low-rank");
  ck_fails(tq_tensor_decode(file, 0, 1, 1, values, error), TQ_ERROR_USAGE, "no rows [1, +1)");
  ck_fails(tq_tensor_decode(file, 99, 0, 1, values, error), TQ_ERROR_USAGE, "no tensor 99");
  ck_fails(tq_file_touch(file, 99, 0, 1, error), TQ_ERROR_USAGE, "no tensor 99");
  tq_file_close(file);

  tq_writer *writer = start("undecodable.tq");
  static const uint64_t shape[] = {4, 16};
  static const uint8_t bytes[256];
  part_bytes part = {{.kind = TQ_PART_VALUES, .encoding = TQ_F4, .size = 32}, bytes};
  ck_ok(put_tensor(writer, "f4", 2, shape, &part, 1, NULL, error));
  part.part = (tq_part){.kind = TQ_PART_VALUES, .encoding = 4711, .size = 32};
  ck_ok(put_tensor(writer, "unknown", 2, shape, &part, 1, NULL, error));
  part.part = (tq_part){.kind = TQ_PART_VALUES,
                        .encoding = TQ_BLOCKS,
                        .type_name = "Q9_9",
                        .block_elements = 16,
                        .block_bytes = 9,
                        .size = 36};
  ck_ok(put_tensor(writer, "blocks", 2, shape, &part, 1, NULL, error));
  part.part.type_name = "Q8_0";
  ck_ok(put_tensor(writer, "liar", 2, shape, &part, 1, NULL, error));
  part.part.block_elements = 32;
  part.part.block_bytes = 34;
  part.part.size = 68;
  ck_ok(put_tensor(writer, "across", 2, shape, &part, 1, NULL, error));
  file = finish_and_open(writer, "undecodable.tq");
  static const char *const reasons[] = {"F4", "unknown encoding 4711", "blocks of type Q9_9",
                                        "Q8_0 blocks of 16 elements in 9 bytes", "its rows are not whole blocks"};
  for (size_t i = 0; i < 5; i++) ck_fails(tq_tensor_decode(file, i, 0, 1, values, error), TQ_ERROR_CORRUPT, reasons[i]);
  tq_file_close(file);
  free(sample.data);
}
END_TEST

START_TEST(names_the_row_of_a_bad_code) {
  image sample = sample_image(0);
  uint8_t *record = section_bytes(sample, "tensors") + TQ_DIRECTORY_HEADER_SIZE + TQ_TENSOR_RECORD_SIZE;
  /* Base-3 byte 1 is no number's: 0 is n = 0, 2 is n = 1. Three rows' second pieces lie behind their first. */
  section_bytes(sample, "data")[tq_load_u64(record + TQ_TENSOR_DATA_OFFSET) + 3 * 4 + 2 * 4 + 1] = 1;
  reseal(sample);
  tq_file *file;
  float values[37 * 3];
  ck_ok(tq_file_open_memory("s.tq", sample.data, sample.size, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_tensor_decode(file, 1, 0, 2, values, error));
  ck_fails(tq_tensor_decode(file, 1, 0, 3, values, error), TQ_ERROR_CORRUPT,
           "s.tq: tensor layers.0.q: row 2: byte 5 is no ternary code");
  tq_file_close(file);
  free(sample.data);
}
END_TEST

/* ---- the file as a whole ---- */

static void check_sample(const tq_file *file, uint32_t algorithm) {
  tq_file_info info;
  tq_file_describe(file, &info);
  ck_assert_uint_eq(info.major, TQ_FORMAT_MAJOR);
  ck_assert_uint_eq(info.minor, TQ_FORMAT_MINOR);
  ck_assert_uint_eq(info.hash_algorithm, algorithm);
  ck_assert_str_eq((const char *)info.function_digest, "function digest");
  ck_assert_str_eq((const char *)info.tokenizer_digest, "tokenizer");
  ck_assert_uint_eq(tq_file_tensor_count(file), SAMPLE_TENSORS);
  ck_assert_uint_eq(tq_metadata_count(tq_file_metadata(file)), SAMPLE_METADATA_KEYS);
  tq_section section;
  ck_assert(tq_file_find_section(file, "extra", &section));
  ck_assert(!section.required && section.size == 13 && memcmp(section.data, "of the future", 13) == 0);
  ck_assert(tq_file_find_section(file, "source", &section) && section.size == 4);
  ck_assert(tq_file_find_section(file, "data", &section) && section.required && section.offset % 65536 == 0);
  ck_assert(!tq_file_find_section(file, "nothing", &section));
  ck_assert(tq_file_find_role(file, "nothing") == SIZE_MAX);
  const tq_tensor *odd = tq_file_tensor(file, tq_file_find_role(file, "odd"));
  ck_assert_uint_eq(odd->parts[0].encoding, 4711);
  ck_assert_uint_eq(odd->parts[1].kind, 99);
  ck_assert_uint_eq(odd->parts[1].granularity, 17);
}

START_TEST(sample_opens) {
  static const uint32_t algorithms[] = {TQ_HASH_XXH3_128, TQ_HASH_SHA256};
  ck_ok(write_sample(temporary_path("whole.tq"), algorithms[_i], error));
  for (int verify = TQ_VERIFY_HEADER; verify <= TQ_VERIFY_FULL; verify++) {
    tq_file *file;
    ck_ok(tq_file_open(temporary_path("whole.tq"), (tq_verify)verify, &file, error));
    check_sample(file, algorithms[_i]);
    ck_ok(tq_file_verify(file, error));
    tq_file_close(file);
  }
}
END_TEST

START_TEST(same_input_same_bytes) {
  ck_ok(write_sample(temporary_path("a.tq"), 0, error));
  ck_ok(write_sample(temporary_path("b.tq"), 0, error));
  ck_same_files(temporary_path("a.tq"), temporary_path("b.tq"));
}
END_TEST

START_TEST(a_file_without_tensors) {
  tq_file *file = finish_and_open(start("empty.tq"), "empty.tq");
  ck_assert_uint_eq(tq_file_tensor_count(file), 0);
  ck_assert_uint_eq(tq_metadata_count(tq_file_metadata(file)), 0);
  ck_assert_uint_eq(tq_file_attachment_count(file), 0);
  tq_file_close(file);
}
END_TEST

/* The same bytes whatever pieces they come in, chunks of a mebibyte and a rest. */
START_TEST(pieces_do_not_matter) {
  enum { COUNT = 700001 };
  static const size_t steps[] = {4 * COUNT, 65537, 1 << 20, 4099};
  uint8_t *bytes = random_bytes(4 * COUNT, 9);
  static const uint64_t shape[] = {COUNT}, counts[4];
  const tq_tensor tensor = {.role = "big", .name = "big", .source_type = "", .dimensions = 1, .shape = {shape[0]}};
  const tq_part part = {.kind = TQ_PART_VALUES, .encoding = TQ_F32};
  for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
    const char *name = s == 0 ? "whole.tq" : "pieces.tq";
    tq_writer *writer = start(name);
    ck_ok(put_attachment(writer, "f", TQ_ATTACHMENT_FILE, bytes, 300000, steps[s], error));
    ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
    ck_ok(tq_writer_part_begin(writer, &part, error));
    for (size_t at = 0; at < 4 * COUNT; at += steps[s])
      expect(tq_writer_part_write(writer, bytes + at, 4 * COUNT - at < steps[s] ? 4 * COUNT - at : steps[s], NULL) ==
             TQ_OK);
    ck_ok(tq_writer_part_end(writer, error));
    ck_ok(tq_writer_tensor_end(writer, counts, no_digest, error));
    tq_file_close(finish_and_open(writer, name));
    if (s > 0) ck_same_files(temporary_path("whole.tq"), temporary_path("pieces.tq"));
  }
  image file = load_image(temporary_path("whole.tq"));
  ck_assert_uint_eq(tq_load_u64(section_bytes(file, "hashes") + TQ_HASHES_CHUNK_COUNT), 3);
  free(file.data);
  free(bytes);
}
END_TEST

/* Sections may be given at any time: those that come while attachments or data stream follow the data. */
START_TEST(sections_at_any_time) {
  tq_writer *writer = start("late.tq");
  ck_ok(put_attachment(writer, "a", TQ_ATTACHMENT_FILE, "a", 1, 1, error));
  ck_ok(tq_writer_section(writer, "one", false, "1", 1, error));
  ck_ok(put_attachment(writer, "b", TQ_ATTACHMENT_FILE, "b", 1, 1, error));
  ck_ok(put_floats(writer, "t", 5, 1, error));
  ck_ok(tq_writer_section(writer, "two", false, "22", 2, error));
  ck_ok(tq_writer_metadata(writer, NULL, 0, 0, error));
  tq_file *file = finish_and_open(writer, "late.tq");
  tq_section section;
  ck_assert(tq_file_find_section(file, "one", &section) && section.size == 1 && section.data[0] == '1');
  ck_assert(tq_file_find_section(file, "two", &section) && section.size == 2 && section.data[1] == '2');
  ck_assert_uint_eq(tq_file_attachment_count(file), 2);
  tq_file_close(file);
}
END_TEST

/* ---- versions and features ---- */

START_TEST(versions) {
  image sample = sample_image(0);
  tq_store_u16(sample.data + TQ_HEADER_MAJOR, TQ_FORMAT_MAJOR + 1);
  reseal_header(sample);
  ck_fails(try_open(sample, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT,
           "image.tq: header: format version 2.0; this tq reads 1.x");
  tq_store_u16(sample.data + TQ_HEADER_MAJOR, 0);
  tq_store_u16(sample.data + TQ_HEADER_MINOR, 1);
  reseal_header(sample);
  ck_fails(try_open(sample, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT,
           "image.tq: header: format version 0.1; this tq reads 1.x");
  tq_store_u16(sample.data + TQ_HEADER_MAJOR, TQ_FORMAT_MAJOR);
  tq_store_u16(sample.data + TQ_HEADER_MINOR, 65535);
  /* A later minor version may use what is reserved now. */
  section_entry(sample, "extra")[TQ_ENTRY_ZERO_1] = 1;
  section_entry(sample, "extra")[TQ_ENTRY_FLAGS] = 8;
  section_bytes(sample, "tensors")[TQ_DIRECTORY_ZERO] = 1;
  sample.data[TQ_HEADER_ZERO_1] = 1;
  reseal(sample);
  ck_ok(try_open(sample, TQ_VERIFY_FULL, error));
  tq_store_u16(sample.data + TQ_HEADER_MINOR, TQ_FORMAT_MINOR);
  reseal(sample);
  ck_fails(try_open(sample, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "reserved byte at offset 56");
  free(sample.data);
}
END_TEST

START_TEST(features) {
  image sample = sample_image(0);
  tq_store_u64(sample.data + TQ_HEADER_OPTIONAL_FEATURES, UINT64_MAX);
  reseal(sample);
  ck_ok(try_open(sample, TQ_VERIFY_FULL, error));
  tq_store_u64(sample.data + TQ_HEADER_REQUIRED_FEATURES, UINT64_C(5) << 40);
  reseal(sample);
  ck_fails(try_open(sample, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "needs feature 40");
  free(sample.data);
}
END_TEST

START_TEST(unknown_sections) {
  image sample = sample_image(0);
  section_entry(sample, "extra")[TQ_ENTRY_FLAGS] = TQ_SECTION_REQUIRED;
  reseal(sample);
  ck_fails(try_open(sample, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "section extra is required");
  free(sample.data);
}
END_TEST

START_TEST(memory_must_be_aligned) {
  image sample = sample_image(0);
  tq_file *file;
  ck_fails(tq_file_open_memory("m", sample.data + 8, sample.size - 8, TQ_VERIFY_HEADER, &file, error), TQ_ERROR_USAGE,
           "aligned");
  free(sample.data);
}
END_TEST

START_TEST(files_that_are_none) {
  tq_file *file;
  ck_fails(tq_file_open(temporary_path("missing.tq"), TQ_VERIFY_HEADER, &file, error), TQ_ERROR_SYSTEM, "missing.tq");
  write_file(temporary_path("none.tq"), "", 0);
  ck_fails(tq_file_open(temporary_path("none.tq"), TQ_VERIFY_HEADER, &file, error), TQ_ERROR_CORRUPT,
           "none.tq: not a .tq file");
  write_file(temporary_path("none.tq"), "GGUF, and more than a header's 128 bytes", 40);
  ck_fails(tq_file_open(temporary_path("none.tq"), TQ_VERIFY_HEADER, &file, error), TQ_ERROR_CORRUPT, "not a .tq file");
}
END_TEST

/* ---- attachments ---- */

typedef struct collected {
  size_t size, limit;
  uint8_t data[8];
} collected;

static tq_status collect(void *context, const void *data, size_t size, tq_error *error) {
  collected *into = context;
  into->size += size;
  memcpy(into->data, data, size < sizeof into->data ? size : sizeof into->data);
  return into->size > into->limit ? tq_fail(error, TQ_ERROR_REFUSED, "enough") : TQ_OK;
}

START_TEST(attachments_come_back) {
  enum { BIG = 3000000 };
  uint8_t *big = random_bytes(BIG, 4);
  memset(big, 0, BIG / 2);
  tq_writer *writer = start("attached.tq");
  ck_ok(put_attachment(writer, "sub/big.bin", TQ_ATTACHMENT_FILE, big, BIG, 100000, error));
  ck_ok(put_attachment(writer, "empty", TQ_ATTACHMENT_FILE, "", 0, 1, error));
  ck_ok(put_attachment(writer, "empty", TQ_ATTACHMENT_FRAGMENT, "x", 1, 1, error));
  tq_file *file = finish_and_open(writer, "attached.tq");
  ck_assert_uint_eq(tq_file_attachment_count(file), 3);
  tq_attachment attachment;
  tq_file_attachment(file, 0, &attachment);
  ck_assert_str_eq(attachment.name, "sub/big.bin");
  ck_assert_uint_eq(attachment.size, BIG);
  ck_assert(attachment.stored_size > BIG / 2 && attachment.stored_size < BIG / 2 + BIG / 10);
  char *data;
  size_t size;
  ck_ok(tq_file_attachment_load(file, "sub/big.bin", BIG, &data, &size, error));
  ck_assert(size == BIG && memcmp(data, big, BIG) == 0 && data[BIG] == 0);
  tq_release(data);
  ck_fails(tq_file_attachment_load(file, "sub/big.bin", BIG - 1, &data, &size, error), TQ_ERROR_CORRUPT,
           "at most 2999999");
  ck_ok(tq_file_attachment_load(file, "empty", 10, &data, &size, error));
  ck_assert(data && size == 0 && data[0] == 0);
  tq_release(data);
  ck_ok(tq_file_attachment_load(file, "absent", 10, &data, &size, error));
  ck_assert(!data);
  collected got = {.limit = 1000};
  ck_fails(tq_file_attachment_read(file, 0, collect, &got, error), TQ_ERROR_REFUSED, "enough");
  ck_assert_uint_lt(got.size, 200000);
  tq_file_close(file);
  free(big);
}
END_TEST

/* ---- the example of the specification ---- */

static void write_example(const char *path) {
  static const int8_t trits[2][7] = {{-1, 0, 1, 1, 0, -1, 1}};
  static const uint64_t shape[] = {2, 7};
  uint8_t codes[8], scale[2];
  uint64_t counts[4] = {0};
  float values[14];
  tq_store_u16(scale, tq_f32_to_f16(0.5f));
  for (size_t row = 0; row < 2; row++) {
    put_trits(TQ_TERNARY_BASE3, trits[row], 2, row, 7, codes);
    tq_trits_count(trits[row], 7, counts);
    tq_trits_scale(trits[row], 2, row, 7, TQ_PER_TENSOR, 0, TQ_F16, TQ_DIRECT, scale, values + 7 * row);
  }
  tq_content_hash *hash;
  tq_digest digest;
  ck_ok(tq_content_hash_create(shape, 2, &hash, error));
  tq_content_hash_update(hash, values, 14);
  tq_content_hash_final(hash, digest.bytes);
  tq_content_hash_destroy(hash);
  const tq_tensor tensor = {.role = "embedding",
                            .name = "token_embd.weight",
                            .source_type = "F16",
                            .dimensions = 2,
                            .shape = {shape[0], shape[1]}};
  const part_bytes parts[] = {{{.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_BASE3, .size = sizeof codes}, codes},
                              {{.kind = TQ_PART_SCALES, .encoding = TQ_F16, .size = 2}, scale}};
  tq_metadata_builder metadata = {0};
  tq_writer *writer;
  ck_ok(tq_metadata_add_string(&metadata, "general.architecture", "llama", 5, error));
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, metadata.data, metadata.size, metadata.count, error));
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
  for (size_t i = 0; i < 2; i++) {
    ck_ok(tq_writer_part_begin(writer, &parts[i].part, error));
    ck_ok(tq_writer_part_write(writer, parts[i].data, (size_t)parts[i].part.size, error));
    ck_ok(tq_writer_part_end(writer, error));
  }
  ck_ok(tq_writer_tensor_end(writer, counts, digest.bytes, error));
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  tq_metadata_builder_free(&metadata);
}

/* Subtracts a line of the dump ("OFFSET  16 bytes in two columns  remark") from the file, so that only what the dump
 * does not show is left. */
static void take_line(image file, const char *line) {
  char *at;
  size_t offset = strtoul(line, &at, 16);
  while (at < line + 54 && *at != '\n') {
    if (at[0] == ' ') {
      at++;
      continue;
    }
    char digits[3] = {at[0], at[1], 0};
    expect(offset < file.size);
    if (file.data[offset] != strtoul(digits, NULL, 16)) ck_abort_msg("byte %zx is not %s", offset, digits);
    file.data[offset++] = 0;
    at += 2;
  }
}

/* docs/format.md ends with a small file, byte by byte: it is the file that is written. */
START_TEST(the_specification_is_right) {
  size_t size;
  char *text = (char *)read_file("docs/format.md", &size);
  char *line = strstr(text, "\n## An example");
  ck_assert(line != NULL);
  line = strstr(line, "```\n");
  ck_assert(line != NULL);
  write_example(temporary_path("example.tq"));
  image file = load_image(temporary_path("example.tq"));
  ck_ok(try_open(file, TQ_VERIFY_FULL, error));
  ck_assert_uint_eq(file.size, 66704);
  for (line += 4; strncmp(line, "```", 3) != 0; line = strchr(line, '\n') + 1)
    if (*line != '\n') take_line(file, line);
  for (size_t i = 0; i < file.size; i++)
    if (file.data[i] != 0) ck_abort_msg("byte %zx is not in the specification", i);
  free(file.data);
  free(text);
}
END_TEST

/* ---- digests ---- */

static void digest_of(const char *const *roles, const uint8_t (*digests)[16], size_t count, char text[33]) {
  uint8_t digest[16];
  ck_ok(tq_weights_digest(roles, digests, count, digest, error));
  tq_hash_print(digest, 16, text);
}

START_TEST(weights_digest) {
  static const uint8_t digests[4][16] = {"embedding", "q", "embedding", "freqs"};
  static const char *const tied[] = {"embedding", "layers.0.q"}, *const separate[] = {"embedding", "layers.0.q",
                                                                                      "head"};
  char expected[33], text[33];
  digest_of(separate, digests, 3, expected);
  digest_of(tied, digests, 2, text);
  ck_assert_str_eq(text, expected);

  /* By hand: the pairs in order of their roles. */
  uint8_t bytes[128];
  size_t size = 0;
  static const char *const sorted[] = {"embedding", "head", "layers.0.q"};
  static const int which[] = {0, 0, 1};
  for (size_t i = 0; i < 3; i++) {
    memcpy(bytes + size, sorted[i], strlen(sorted[i]) + 1);
    size += strlen(sorted[i]) + 1;
    memcpy(bytes + size, digests[which[i]], 16);
    size += 16;
  }
  tq_hash hash;
  tq_hash_bytes(TQ_HASH_XXH3_128, bytes, size, &hash);
  tq_hash_print(hash.bytes, 16, text);
  ck_assert_str_eq(text, expected);

  static const char *const derived[] = {"rope_factors", "rope_inverse_frequencies",
                                        "layers.12.rope_inverse_frequencies"};
  static const uint8_t reordered[4][16] = {"freqs", "q", "embedding", "embedding"};
  for (size_t i = 0; i < 3; i++) {
    const char *const roles[] = {derived[i], "layers.0.q", "head", "embedding"};
    digest_of(roles, reordered, 4, text);
    ck_assert_str_eq(text, expected);
  }
  static const char *const counted[] = {"rope_factorsx", "layers..rope_inverse_frequencies",
                                        "layers.1x.rope_inverse_frequencies"};
  for (size_t i = 0; i < 3; i++) {
    const char *const roles[] = {counted[i], "layers.0.q", "head", "embedding"};
    digest_of(roles, reordered, 4, text);
    ck_assert_str_ne(text, expected);
  }
  static const uint8_t swapped[3][16] = {"q", "embedding", "embedding"};
  digest_of(separate, swapped, 3, text);
  ck_assert_str_ne(text, expected);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("container");
  TCase *values = tcase_create("values");
  tcase_add_loop_test(values, plain_values_come_back, 0, SHAPES);
  tcase_add_loop_test(values, scaled_integers_come_back, 0, 4);
  tcase_add_test(values, decodes_numbers_and_blocks);
  tcase_add_test(values, refuses_what_it_cannot_decode);
  tcase_add_test(values, names_the_row_of_a_bad_code);
  suite_add_tcase(suite, values);
  TCase *whole = tcase_create("file");
  tcase_add_loop_test(whole, sample_opens, 0, 2);
  tcase_add_test(whole, same_input_same_bytes);
  tcase_add_test(whole, a_file_without_tensors);
  tcase_add_test(whole, pieces_do_not_matter);
  tcase_add_test(whole, sections_at_any_time);
  tcase_add_test(whole, versions);
  tcase_add_test(whole, features);
  tcase_add_test(whole, unknown_sections);
  tcase_add_test(whole, memory_must_be_aligned);
  tcase_add_test(whole, files_that_are_none);
  tcase_add_test(whole, attachments_come_back);
  tcase_add_test(whole, weights_digest);
  tcase_add_test(whole, the_specification_is_right);
  suite_add_tcase(suite, whole);
  return run_suite(suite);
}
