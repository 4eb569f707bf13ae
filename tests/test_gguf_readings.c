/* What a GGUF file leaves open is decided on evidence, or by the user, or not at all. */
#include "base/bytes.h"
#include "formats/gguf/gguf.h"
#include "formats/source.h"
#include "tests/gguf_support.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float one[] = {1.0f}, half[] = {0.5f}, several[] = {0.5f, -0.25f, 2.0f, 0.0078125f};

/* ---- type 42 ---- */

static void add_q2(gguf_builder *builder, const char *name, uint32_t group, uint64_t rows, uint64_t columns) {
  const tq_dialect *dialect = tq_dialect_find(group == 64 ? "Q2_0" : "Q2_0_G128");
  gguf_ternary(builder, name, 42, dialect, rows, columns, rows, several, 4);
}

static void ck_q2_refused(gguf_builder *builder, uint32_t override, tq_status expected, const char *part) {
  const char *path = temporary_path("refused.gguf");
  tq_open_options options = {.q2_group = override};
  tq_checkpoint *checkpoint;
  gguf_end_file(builder, path);
  ck_fails(gguf_try(path, &options, &checkpoint, error), expected, part);
}

START_TEST(q2_by_place) {
  static const uint32_t groups[] = {64, 128};
  static const char *const lines[] = {
      "type 42 is Q2_0 with groups of 64: offsets and sizes of all 7 tensors fit blocks "
      "of 18 bytes for 64 weights, those of 34 bytes for 128 fit none\n",
      "type 42 is Q2_0 with groups of 128: offsets and sizes of all 7 tensors fit "
      "blocks of 34 bytes for 128 weights, those of 18 bytes for 64 fit none\n"};
  for (size_t i = 0; i < 2; i++) {
    const tq_dialect *dialect = tq_dialect_find(i ? "Q2_0_G128" : "Q2_0");
    const char *path = gguf_write_model("q2.gguf", dialect, several, 4);
    tq_open_options agrees = {.q2_group = groups[i]}, contradicts = {.q2_group = groups[1 - i]};
    tq_checkpoint *checkpoint = gguf_opened(path);
    ck_assert_ptr_eq(tensor_of_role(checkpoint, "layers.0.gate")->form.dialect, dialect);
    ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.gate")->type_name, dialect->name);
    ck_assert(gguf_reads(checkpoint, lines[i]));
    tq_checkpoint_close(checkpoint);
    checkpoint = gguf_opened_as(path, &agrees);
    ck_assert(gguf_reads(checkpoint, lines[i]));
    tq_checkpoint_close(checkpoint);
    ck_fails(gguf_try(path, &contradicts, &checkpoint, error), TQ_ERROR_CORRUPT,
             i ? "not groups of 64, as --q2-group says" : "not groups of 128, as --q2-group says");
    ck_gguf_comes_back(path, NULL);
  }
}
END_TEST

/* 18 * n / 64 and 34 * n / 128 bytes are padded to the same size where n is small. */
START_TEST(q2_ambiguous) {
  static const uint32_t groups[] = {64, 128};
  for (size_t i = 0; i < 3; i++) {
    gguf_builder builder = {0};
    add_q2(&builder, "a", 64, 1, 256);
    add_q2(&builder, "b", 64, 2, 128);
    if (i == 0) {
      ck_q2_refused(&builder, 0, TQ_ERROR_CORRUPT,
                    "tensor a: type Q2_0 (42) has groups of 64 or of 128 weights, and offsets and sizes of all 2 such "
                    "tensors fit both: --q2-group 64 or --q2-group 128 says which");
      continue;
    }
    const char *path = temporary_path("ambiguous.gguf");
    tq_open_options options = {.q2_group = groups[i - 1]};
    char line[128];
    gguf_end_file(&builder, path);
    tq_checkpoint *checkpoint = gguf_opened_as(path, &options);
    ck_assert_uint_eq(checkpoint->tensors[1].form.dialect->group, groups[i - 1]);
    snprintf(line, sizeof line, "with groups of %u, as --q2-group says: offsets and sizes of all 2 tensors fit",
             groups[i - 1]);
    ck_assert(gguf_reads(checkpoint, line));
    tq_checkpoint_close(checkpoint);
    ck_gguf_comes_back(path, &options);
  }
}
END_TEST

/* One large tensor decides for small ones that could be either, whichever comes first. */
START_TEST(q2_decided_once_for_all) {
  for (uint32_t group = 64; group <= 128; group += 64) {
    gguf_builder builder = {0};
    char line[128];
    add_q2(&builder, "small", group, 1, 256);
    add_q2(&builder, "large", group, 64, 256);
    add_q2(&builder, "last", group, 1, 256);
    const char *path = temporary_path("q2.gguf");
    gguf_end_file(&builder, path);
    tq_checkpoint *checkpoint = gguf_opened(path);
    for (size_t i = 0; i < 3; i++) ck_assert_uint_eq(checkpoint->tensors[i].form.dialect->group, group);
    snprintf(line, sizeof line, "type 42 is Q2_0 with groups of %u: offsets and sizes of all 3 tensors", group);
    ck_assert(gguf_reads(checkpoint, line));
    ck_assert(gguf_reads(checkpoint, group == 64 ? "fit 2 of them\n" : "fit 1 of them\n"));
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* Rows that are no multiple of 128 can only have groups of 64. */
START_TEST(q2_by_rows) {
  gguf_builder builder = {0};
  add_q2(&builder, "x", 64, 2, 64);
  const char *path = temporary_path("q2.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = gguf_opened(path);
  ck_assert_uint_eq(checkpoint->tensors[0].form.dialect->group, 64);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(q2_neither) {
  for (uint32_t override = 0; override <= 128; override += 64) {
    gguf_builder builder = {0};
    add_q2(&builder, "a", 64, 64, 256);
    add_q2(&builder, "b", 128, 64, 256);
    add_q2(&builder, "c", 128, 64, 256);
    ck_q2_refused(&builder, override, TQ_ERROR_CORRUPT,
                  override == 64
                      ? "tensor b: type Q2_0 (42): not groups of 64, as --q2-group says: 4352 bytes lie up to what "
                        "follows; of 3 such tensors, blocks of 18 bytes for 64 weights fit 1, and those of 34 bytes "
                        "for 128 fit 2 (--q2-group 64 or 128 is taken where it fits all)"
                      : "tensor a: type Q2_0 (42): ");
  }
  static const uint64_t shape[2] = {256, 64};
  static const uint8_t bytes[4000];
  gguf_builder builder = {0};
  gguf_tensor(&builder, "x", 42, 2, shape, bytes, sizeof bytes);
  ck_q2_refused(&builder, 0, TQ_ERROR_CORRUPT, "tensor x: type Q2_0 (42): 4000 bytes lie up to what follows");
  add_q2(&builder, "x", 64, 64, 256);
  ck_q2_refused(&builder, 32, TQ_ERROR_USAGE, "groups of 32: type 42 has groups of 64 or of 128");
}
END_TEST

/* Bytes behind the last tensor's padding are not a tensor's. */
START_TEST(q2_with_something_behind) {
  size_t size;
  gguf_builder builder = {0};
  add_q2(&builder, "x", 64, 64, 256);
  uint8_t *bytes = gguf_end(&builder, &size), more[64] = {0};
  uint8_t *longer = calloc(size + sizeof more, 1);
  ck_assert_ptr_nonnull(longer);
  memcpy(longer, bytes, size);
  const char *path = temporary_path("longer.gguf");
  write_file(path, longer, size + sizeof more);
  tq_checkpoint *checkpoint;
  ck_fails(gguf_try(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, "blocks of 18 bytes for 64 weights fit 0");
  free(longer);
  free(bytes);
}
END_TEST

/* A model in two parts, of which only the second shows what both are. */
static const char *write_split(uint32_t first_group, uint32_t second_group) {
  const char *first = temporary_path("m-00001-of-00002.gguf");
  for (uint16_t part = 0; part < 2; part++) {
    gguf_builder builder = {0};
    gguf_key_u16(&builder, "split.no", part);
    gguf_key_u16(&builder, "split.count", 2);
    if (part)
      add_q2(&builder, "large", second_group, 64, 256);
    else
      add_q2(&builder, "small", first_group, 1, 256);
    gguf_end_file(&builder, part ? temporary_path("m-00002-of-00002.gguf") : first);
  }
  return first;
}

START_TEST(q2_in_split_files) {
  tq_checkpoint *checkpoint = gguf_opened(write_split(128, 128));
  ck_assert_uint_eq(checkpoint->tensors[0].form.dialect->group, 128);
  ck_assert_uint_eq(checkpoint->tensors[1].form.dialect->group, 128);
  ck_assert_uint_eq(checkpoint->tensors[1].input, 1);
  ck_assert(gguf_reads(checkpoint, "type 42 is Q2_0 with groups of 128: offsets and sizes of all 2 tensors"));
  tq_checkpoint_close(checkpoint);
  tq_file *file = gguf_imported(temporary_path("m-00001-of-00002.gguf"));
  ck_ok(tq_source_restore(file, temporary_path("parts"), NULL, error));
  ck_same_files(temporary_path("m-00001-of-00002.gguf"), temporary_path("parts/m-00001-of-00002.gguf"));
  ck_same_files(temporary_path("m-00002-of-00002.gguf"), temporary_path("parts/m-00002-of-00002.gguf"));
  tq_file_close(file);
}
END_TEST

/* ---- type 36 ---- */

START_TEST(i2s_layouts) {
  static const char *const names[] = {"I2_S", "I2_S_ARM", "I2_S_ROWS"};
  const char *path = gguf_write_model("i2s.gguf", tq_dialect_find("I2_S"), half, 1);
  tq_checkpoint *checkpoint = gguf_opened(path);
  const tq_source_tensor *up = tensor_of_role(checkpoint, "layers.0.up");
  ck_assert_str_eq(up->type_name, "I2_S");
  ck_assert_uint_eq(up->size, 256 * 256 / 4 + 32);
  ck_assert(gguf_reads(checkpoint,
                       "type 36 is read as I2_S, the layout of published files: nothing in the file tells its "
                       "layouts apart, and --i2s-layout chooses another\n"));
  tq_checkpoint_close(checkpoint);
  uint8_t digests[3][16];
  for (size_t i = 0; i < 3; i++) {
    tq_open_options options = {.i2s_dialect = names[i]};
    char line[64];
    path = temporary_path("i2s.gguf");
    checkpoint = gguf_opened_as(path, &options);
    ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.up")->type_name, names[i]);
    snprintf(line, sizeof line, "type 36 is read as %s, as --i2s-layout says", names[i]);
    ck_assert(gguf_reads(checkpoint, line));
    tq_file *file = gguf_imported_as(checkpoint, 0);
    gguf_weights_of(file, digests[i]);
    tq_file_close(file);
    ck_gguf_comes_back(path, &options);
  }
  ck_assert_mem_ne(digests[0], digests[1], 16);
  ck_assert_mem_ne(digests[0], digests[2], 16);
  ck_assert_mem_ne(digests[1], digests[2], 16);
  path = temporary_path("i2s.gguf");
  ck_fails(gguf_try(path, &(tq_open_options){.i2s_dialect = "TQ2_0"}, &checkpoint, error), TQ_ERROR_USAGE,
           "TQ2_0 is no layout of type 36");
  ck_fails(gguf_try(path, &(tq_open_options){.i2s_dialect = "?"}, &checkpoint, error), TQ_ERROR_USAGE,
           "? is no layout of type 36");
}
END_TEST

START_TEST(i2s_shapes) {
  static const uint64_t wrong[2] = {96, 3}, right[2] = {96, 4};
  static const uint8_t bytes[3 * 96];
  tq_checkpoint *checkpoint;
  gguf_builder builder = {0};
  gguf_tensor(&builder, "x", 36, 2, wrong, bytes, 3 * 24 + 32);
  const char *path = temporary_path("i2s.gguf");
  gguf_end_file(&builder, path);
  ck_fails(gguf_try(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT,
           "tensor x: type I2_S (36) does not go with its shape: ");
  gguf_tensor(&builder, "x", 36, 2, right, bytes, 4 * 24 + 32);
  gguf_end_file(&builder, path);
  ck_gguf_comes_back(path, NULL);
}
END_TEST

/* ---- types with no reading, or another than they seem ---- */

static void ck_type_refused(uint32_t type, size_t size, const char *part) {
  static const uint64_t shape[2] = {256, 8};
  static const uint8_t bytes[4096];
  const char *path = temporary_path("refused.gguf");
  tq_checkpoint *checkpoint;
  gguf_builder builder = {0};
  gguf_tensor(&builder, "first", 0, 1, shape, bytes, 1024);
  gguf_tensor(&builder, "x", type, 2, shape, bytes, size);
  gguf_tensor(&builder, "last", 0, 1, shape, bytes, 1024);
  gguf_end_file(&builder, path);
  ck_fails(gguf_try(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, part);
}

START_TEST(types_refused) {
  ck_type_refused(38, 512,
                  "tensor x: type TL1 (38) is not read: the order of its weights depends on the build of bitnet.cpp");
  ck_type_refused(39, 448,
                  "tensor x: type MXFP4 (39) does not fit its place, so it is TL2, which is not read: the order of its "
                  "weights depends on the build of bitnet.cpp");
  ck_type_refused(142, 544 + 32, "tensor x: type PQ2_0 (142) does not fit its place; ik_llama.cpp once gave");
  ck_type_refused(143, 448 + 32, "tensor x: type PTQ1_0 (143) does not fit its place; ik_llama.cpp once gave");
  ck_type_refused(37, 2048, "tensor x: type I8_S (37) is not supported");
}
END_TEST

/* Types whose blocks are held as they are. */
START_TEST(blocks_come_back) {
  static const struct {
    uint32_t type, bytes; /* for 256 weights */
    const char *name;
  } rows[] = {{2, 144, "Q4_0"},    {3, 160, "Q4_1"},    {6, 176, "Q5_0"},    {7, 192, "Q5_1"},   {8, 272, "Q8_0"},
              {10, 84, "Q2_K"},    {11, 110, "Q3_K"},   {12, 144, "Q4_K"},   {13, 176, "Q5_K"},  {14, 210, "Q6_K"},
              {16, 66, "IQ2_XXS"}, {17, 74, "IQ2_XS"},  {18, 98, "IQ3_XXS"}, {19, 50, "IQ1_S"},  {20, 144, "IQ4_NL"},
              {21, 110, "IQ3_S"},  {22, 82, "IQ2_S"},   {23, 136, "IQ4_XS"}, {29, 56, "IQ1_M"},  {39, 136, "MXFP4"},
              {40, 144, "NVFP4"},  {41, 36, "Q1_0"},    {133, 208, "Q6_0"},  {137, 76, "IQ2_K"}, {138, 110, "IQ3_K"},
              {139, 144, "IQ4_K"}, {140, 176, "IQ5_K"}, {141, 212, "IQ6_K"}};
  static const uint64_t shape[2] = {256, 2};
  uint64_t seed = 3;
  uint8_t bytes[1024];
  gguf_builder builder = {0};
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)random_u64(&seed);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    gguf_tensor(&builder, rows[i].name, rows[i].type, 2, shape, bytes, 2 * rows[i].bytes);
  }
  const char *path = temporary_path("blocks.gguf"), *written_path = temporary_path("written.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = gguf_opened(path);
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    ck_assert_uint_eq(checkpoint->tensors[i].encoding, TQ_BLOCKS);
    ck_assert_str_eq(checkpoint->tensors[i].type_name, rows[i].name);
  }
  tq_checkpoint_close(checkpoint);
  ck_gguf_comes_back(path, NULL);
  tq_buffer notes = {0};
  tq_file *file = gguf_imported(path);
  ck_ok(tq_gguf_write(file, written_path, &(tq_write_options){0}, &notes, error));
  checkpoint = gguf_opened(written_path);
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    uint8_t *data = tensor_bytes(checkpoint, rows[i].name);
    ck_assert_str_eq(checkpoint->tensors[i].type_name, rows[i].name);
    ck_assert_mem_eq(data, bytes, 2 * rows[i].bytes);
    free(data);
  }
  tq_checkpoint_close(checkpoint);
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* ---- NAME.scale ---- */

START_TEST(scales_are_folded) {
  static const char *const names[] = {"TQ1_0", "TQ2_0", "Q2_0", "PQ2_0", "IQ2_BN_R4"};
  const tq_dialect *dialect = tq_dialect_find(names[_i]);
  const char *path = gguf_write_scaled("scaled.gguf", dialect, one, 1);
  char form[32];
  tq_checkpoint *checkpoint = gguf_opened(path);
  const tq_source_tensor *down = tensor_of_role(checkpoint, "layers.0.down");
  ck_assert_uint_eq(checkpoint->tensor_count, 11);
  snprintf(form, sizeof form, "%s+scale", names[_i]);
  ck_assert_str_eq(down->type_name, form);
  ck_assert(down->form.has_unit_scales);
  ck_assert_float_eq(tq_load_f32(down->form.scale), -0.1f);
  ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.gate")->type_name, names[_i]);
  ck_assert(
      gguf_reads(checkpoint, "2 tensors NAME.scale are the scales of their weights, whose own are all exactly 1\n"));
  tq_file *file = gguf_imported_as(checkpoint, 0);
  const tq_part *scales = &gguf_tensor_in(file, "layers.0.down")->parts[1];
  ck_assert_uint_eq(scales->granularity, TQ_PER_TENSOR);
  ck_assert_uint_eq(scales->encoding, TQ_F32);
  ck_assert_float_eq(tq_load_f32(scales->data), -0.1f);
  tq_file_close(file);
  ck_gguf_comes_back(path, NULL);
}
END_TEST

START_TEST(other_scales_stay) {
  static const float almost[] = {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0009765625f};
  const char *path = gguf_write_scaled("scaled.gguf", tq_dialect_find("TQ2_0"), almost, 8);
  tq_checkpoint *checkpoint = gguf_opened(path);
  ck_assert_uint_eq(checkpoint->tensor_count, 13);
  ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.q_scale")->type_name, "F32");
  ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.q")->type_name, "TQ2_0");
  ck_assert(gguf_reads(checkpoint, "2 tensors NAME.scale are kept beside their weights, whose own are not all 1 "
                                   "(blk.0.attn_q.scale)\n"));
  tq_checkpoint_close(checkpoint);
  ck_gguf_comes_back(path, NULL);
}
END_TEST

/* The number of tensors of a file with one weight of four rows and a scale beside it, which comes back. */
static size_t count_beside(const tq_dialect *dialect, uint64_t columns, const uint8_t *bytes, uint64_t size,
                           uint32_t type, uint32_t dimensions, const void *scale, size_t scale_size) {
  static const uint64_t ones[2] = {1, 1};
  const uint64_t shape[2] = {columns, 4};
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "qwen3");
  gguf_tensor(&builder, "blk.0.attn_v.weight", dialect->gguf_type, 2, shape, bytes, (size_t)size);
  gguf_tensor(&builder, "blk.0.attn_v.scale", type, dimensions, ones, scale, scale_size);
  const char *path = temporary_path("beside.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = gguf_opened(path);
  size_t count = checkpoint->tensor_count;
  tq_checkpoint_close(checkpoint);
  ck_gguf_comes_back(path, NULL);
  return count;
}

enum { BESIDE_COLUMNS = 256, BESIDE_GROUPS = 8 };

/* Four rows of 256: `scales` per 128 weights, of which those of group `zeros` are over zeros. */
static size_t fold_groups(const char *name, const float *scales, size_t zeros) {
  const tq_dialect *dialect = tq_dialect_find(name);
  int8_t trits[4 * BESIDE_COLUMNS];
  uint8_t packed[2 * BESIDE_GROUPS], bytes[1024];
  uint64_t size;
  for (size_t i = 0; i < sizeof trits; i++) trits[i] = i / 128 == zeros || zeros == SIZE_MAX ? 0 : (int8_t)(i % 3) - 1;
  for (size_t i = 0; i < BESIDE_GROUPS; i++) tq_scale_store(TQ_F16, TQ_DIRECT, scales[i], packed + 2 * i);
  ck_assert(tq_dialect_size(dialect, 4, BESIDE_COLUMNS, &size) && size <= sizeof bytes);
  uint64_t unit = dialect->unit_bytes(1, BESIDE_COLUMNS);
  for (size_t i = 0; i < 4; i++)
    dialect->encode(trits + i * BESIDE_COLUMNS, packed + 4 * i, 1, BESIDE_COLUMNS, bytes + i * unit);
  float scale = 0.05f;
  return count_beside(dialect, BESIDE_COLUMNS, bytes, size, 0, 1, &scale, 4);
}

START_TEST(scales_over_zeros_do_not_keep_one) {
  float scales[BESIDE_GROUPS] = {1, 1, 1, 1, 1, 1, 1, 1};
  ck_assert_uint_eq(fold_groups("PQ2_0", scales, 3), 1);
  scales[3] = 0;
  ck_assert_uint_eq(fold_groups("PQ2_0", scales, 3), 1);
  scales[3] = 7;
  ck_assert_uint_eq(fold_groups("PQ2_0", scales, 3), 1);
  ck_assert_uint_eq(fold_groups("PQ2_0", scales, 2), 2);
  for (size_t i = 0; i < BESIDE_GROUPS; i++) scales[i] = (float)i;
  ck_assert_uint_eq(fold_groups("PQ2_0", scales, SIZE_MAX), 1);
}
END_TEST

/* I2_S has its scale behind the codes: of zeros alone any scale there does. */
START_TEST(scales_beside_tails) {
  const tq_dialect *dialect = tq_dialect_find("I2_S");
  int8_t trits[4 * BESIDE_COLUMNS] = {0};
  uint8_t bytes[1024] = {0};
  uint64_t size;
  float scale = 0.05f;
  ck_assert(tq_dialect_size(dialect, 4, BESIDE_COLUMNS, &size) && size <= sizeof bytes);
  for (int any = 0; any < 2; any++) {
    uint64_t rows = tq_dialect_unit_rows(dialect, BESIDE_COLUMNS), unit = dialect->unit_bytes(rows, BESIDE_COLUMNS);
    trits[700] = (int8_t)any;
    for (uint64_t i = 0; i < 4 / rows; i++)
      dialect->encode(trits + i * rows * BESIDE_COLUMNS, NULL, rows, BESIDE_COLUMNS, bytes + i * unit);
    tq_store_f32(bytes + size - dialect->tail_bytes, 1);
    ck_assert_uint_eq(count_beside(dialect, BESIDE_COLUMNS, bytes, size, 0, 1, &scale, 4), 1);
    tq_store_f32(bytes + size - dialect->tail_bytes, 2);
    ck_assert_uint_eq(count_beside(dialect, BESIDE_COLUMNS, bytes, size, 0, 1, &scale, 4), any ? 2u : 1u);
  }
}
END_TEST

START_TEST(scales_of_every_float_are_folded) {
  static const struct {
    uint32_t type, dimensions;
    uint8_t bytes[4];
    size_t size;
  } scales[] = {{0, 1, {0, 0, 0, 0x3e}, 4}, {0, 2, {0, 0, 0, 0x3e}, 4}, {1, 1, {0, 0x30}, 2}, {30, 1, {0, 0x3e}, 2}};
  const tq_dialect *dialect = tq_dialect_find("TQ2_0");
  int8_t trits[4 * BESIDE_COLUMNS];
  uint8_t bytes[1024], ones[2] = {0, 0x3c};
  uint64_t size, unit = dialect->unit_bytes(1, BESIDE_COLUMNS);
  ck_assert(tq_dialect_size(dialect, 4, BESIDE_COLUMNS, &size) && size <= sizeof bytes);
  for (size_t i = 0; i < sizeof trits; i++) trits[i] = (int8_t)(i % 3) - 1;
  for (size_t i = 0; i < 4; i++) dialect->encode(trits + i * BESIDE_COLUMNS, ones, 1, BESIDE_COLUMNS, bytes + i * unit);
  for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
    ck_assert_uint_eq(count_beside(dialect, BESIDE_COLUMNS, bytes, size, scales[i].type, scales[i].dimensions,
                                   scales[i].bytes, scales[i].size),
                      1);
  }
}
END_TEST

/* What is kept is told aloud, and floats of -1, 0 and 1 beside a scale do not become codes, which would be folded. */
START_TEST(kept_scales_are_told) {
  static const float almost[] = {1.0f, 0.5f};
  const char *path = gguf_write_scaled("scaled.gguf", tq_dialect_find("TQ2_0"), almost, 2);
  tq_write_options options = {.type = tq_dialect_find("TQ1_0")};
  tq_buffer notes = {0};
  tq_file *file = gguf_imported(path);
  ck_ok(tq_gguf_write(file, temporary_path("told.gguf"), &options, &notes, error));
  ck_assert_ptr_nonnull(memmem(notes.data, notes.size, "warning: 2 tensors NAME.scale multiply", 38));
  tq_file_close(file);
  path = gguf_write_scaled("scaled.gguf", tq_dialect_find("F32"), one, 1);
  file = gguf_imported(path);
  ck_fails(tq_gguf_write(file, temporary_path("told.gguf"), &options, &notes, error), TQ_ERROR_REFUSED,
           "TQ1_0 cannot hold it: its scales are 1, and blk.0.");
  tq_buffer_free(&notes);
  tq_file_close(file);
}
END_TEST

/* Scales of no known architecture, or of another shape, are tensors. */
START_TEST(scales_that_are_none) {
  static const uint64_t two[1] = {2};
  static const uint8_t bytes[8];
  tq_checkpoint *checkpoint;
  gguf_builder builder = {0};
  gguf_ternary(&builder, "blk.0.attn_v.weight", 35, tq_dialect_find("TQ2_0"), 2, 256, 1, one, 1);
  gguf_add_scale(&builder, "blk.0.attn_v.scale", 2.0f);
  const char *path = temporary_path("scaled.gguf");
  gguf_end_file(&builder, path);
  checkpoint = gguf_opened(path);
  ck_assert_uint_eq(checkpoint->tensor_count, 2);
  tq_checkpoint_close(checkpoint);
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_ternary(&builder, "blk.0.attn_v.weight", 35, tq_dialect_find("TQ2_0"), 2, 256, 1, one, 1);
  gguf_tensor(&builder, "blk.0.attn_v.scale", 0, 1, two, bytes, 8);
  gguf_add_scale(&builder, "blk.0.attn_o.scale", 2.0f);
  gguf_add_scale(&builder, "blk.0.ffn_up.scale", 2.0f);
  gguf_end_file(&builder, path);
  checkpoint = gguf_opened(path);
  ck_assert_uint_eq(checkpoint->tensor_count, 4);
  tq_checkpoint_close(checkpoint);
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_ternary(&builder, "blk.0.attn_v.weight", 35, tq_dialect_find("TQ2_0"), 2, 256, 1, one, 1);
  gguf_add_scale(&builder, "blk.0.attn_v.scale", 2.0f);
  gguf_add_scale(&builder, "blk.0.attn_v.scale", 3.0f);
  gguf_end_file(&builder, path);
  ck_fails(gguf_try(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT,
           "tensor blk.0.attn_v.scale: there are two of that name");
}
END_TEST

/* ---- hostile files ---- */

/* Every field of the header at its extremes: an error in one line, or a file that is still consistent. */
START_TEST(extremes_anywhere) {
  static const uint64_t values[] = {0, 1, 36, 39, 42, 0xff, 0x80000000, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
  size_t size, failures = 0;
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "qwen3");
  add_q2(&builder, "token_embd.weight", 64, 32, 128);
  gguf_add_scale(&builder, "blk.0.attn_v.scale", 2.0f);
  gguf_ternary(&builder, "blk.0.attn_v.weight", 35, tq_dialect_find("TQ2_0"), 1, 256, 1, one, 1);
  gguf_ternary(&builder, "blk.0.attn_q.weight", 335, tq_dialect_find("IQ2_BN_R4"), 4, 64, 1, one, 1);
  gguf_ternary(&builder, "blk.0.attn_k.weight", 36, tq_dialect_find("I2_S"), 2, 64, 1, one, 1);
  size_t data = builder.data.size;
  uint8_t *bytes = gguf_end(&builder, &size);
  const char *path = temporary_path("extreme.gguf");
  for (size_t place = 0; place + 8 <= size - data; place++) {
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
      uint8_t saved[8];
      memcpy(saved, bytes + place, 8);
      if (i % 2)
        tq_store_u64(bytes + place, values[i]);
      else
        tq_store_u32(bytes + place, (uint32_t)values[i]);
      write_file(path, bytes, size);
      memcpy(bytes + place, saved, 8);
      tq_checkpoint *checkpoint;
      tq_error error = {0};
      tq_status status = gguf_try(path, NULL, &checkpoint, &error);
      ck_assert(status == TQ_OK || status == TQ_ERROR_CORRUPT);
      if (status) {
        failures++;
        ck_assert_ptr_nonnull(strstr(error.message, "extreme.gguf"));
        ck_assert_ptr_null(strchr(error.message, '\n'));
      }
      tq_checkpoint_close(checkpoint);
    }
  }
  ck_assert_uint_gt(failures, 1000);
  write_file(path, bytes, size);
  ck_gguf_comes_back(path, NULL);
  free(bytes);
}
END_TEST

START_TEST(truncated_anywhere) {
  size_t size;
  tq_checkpoint *checkpoint;
  uint8_t *bytes = read_file(gguf_write_scaled("whole.gguf", tq_dialect_find("Q2_0"), one, 1), &size);
  const char *path = temporary_path("truncated.gguf");
  for (size_t cut = 0; cut < size; cut += cut < 2048 ? 1 : 997) {
    write_file(path, bytes, cut);
    ck_fails(gguf_try(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, "truncated.gguf");
  }
  free(bytes);
}
END_TEST

/* ---- faults ---- */

static tq_status open_once(const void *path, tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_status status = gguf_try(path, NULL, &checkpoint, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

START_TEST(opening_faults) {
  const char *path = gguf_write_scaled("faults.gguf", tq_dialect_find("Q2_0"), one, 1);
  ck_assert_int_gt(check_every_fault(open_once, path), 30);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gguf_readings");
  TCase *types = tcase_create("types");
  tcase_set_timeout(types, 120);
  tcase_add_test(types, q2_by_place);
  tcase_add_test(types, q2_ambiguous);
  tcase_add_test(types, q2_decided_once_for_all);
  tcase_add_test(types, q2_by_rows);
  tcase_add_test(types, q2_neither);
  tcase_add_test(types, q2_with_something_behind);
  tcase_add_test(types, q2_in_split_files);
  tcase_add_test(types, i2s_layouts);
  tcase_add_test(types, i2s_shapes);
  tcase_add_test(types, types_refused);
  tcase_add_test(types, blocks_come_back);
  suite_add_tcase(suite, types);
  TCase *scales = tcase_create("scales beside weights");
  tcase_set_timeout(scales, 120);
  tcase_add_loop_test(scales, scales_are_folded, 0, 5);
  tcase_add_test(scales, other_scales_stay);
  tcase_add_test(scales, scales_that_are_none);
  tcase_add_test(scales, kept_scales_are_told);
  tcase_add_test(scales, scales_over_zeros_do_not_keep_one);
  tcase_add_test(scales, scales_beside_tails);
  tcase_add_test(scales, scales_of_every_float_are_folded);
  suite_add_tcase(suite, scales);
  TCase *hostile = tcase_create("hostile files");
  tcase_set_timeout(hostile, 120);
  tcase_add_test(hostile, extremes_anywhere);
  tcase_add_test(hostile, truncated_anywhere);
  suite_add_tcase(suite, hostile);
  TCase *faults = tcase_create("faults");
  tcase_set_timeout(faults, 120);
  tcase_add_test(faults, opening_faults);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
