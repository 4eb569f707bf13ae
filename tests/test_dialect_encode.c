/* Ternary tensors of .tq files as the bytes of dialects: what is decoded again is what was there, whatever the team;
 * patches give back other bytes; and nothing hostile gets through. */
#include "base/bytes.h"
#include "container/deflate.h"
#include "formats/checkpoint.h"
#include "formats/dialects/encode.h"
#include "formats/dialects/scales.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tests/ternary_files.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_COLUMNS = 1280 };

static const uint32_t codes[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT};
static const uint32_t encodings[] = {TQ_F32, TQ_F16, TQ_BF16};

static size_t dialect_count(void) {
  size_t count = 0;
  while (tq_dialect_at(count)) count++;
  return count;
}

static collected encode(const tq_file *file, const tq_encode_options *options) {
  collected all = {0};
  ck_ok(tq_dialect_encode(file, 0, options, collect, &all, error));
  return all;
}

static void expect_same(const collected *a, const uint8_t *bytes, size_t size) {
  expect(a->size == size);
  expect(memcmp(a->bytes, bytes, size) == 0);
}

/* ---- decoding again, by the dialect's own word ---- */

static uint64_t canonical(uint64_t row, uint64_t rows, uint32_t heads) {
  if (!heads) return row;
  uint64_t n = rows / heads, head = row / n, b = row % n / 2, a = row % 2;
  return head * n + a * (n / 2) + b;
}

/* The weights of a row of the bytes; `outer` is the scale outside, or NULL. */
static void decode_row(const tq_form *form, const uint8_t *bytes, uint64_t rows, uint64_t columns, uint64_t row,
                       const uint8_t *outer, float *weights) {
  static int8_t trits[MOST_COLUMNS];
  const tq_dialect *dialect = form->dialect;
  uint8_t inside[4 * (MOST_COLUMNS / 32)];
  uint64_t unit_rows = tq_dialect_unit_rows(dialect, columns), units = rows / unit_rows;
  uint64_t unit = dialect->is_strided ? row % units : row / unit_rows;
  uint64_t place = dialect->is_strided ? row / units : row % unit_rows,
           unit_bytes = dialect->unit_bytes(unit_rows, columns);
  expect(dialect->decode(bytes + unit * unit_bytes, columns, (uint32_t)place, trits, inside));
  uint64_t count = tq_dialect_row_scales(dialect, columns);
  if (form->has_unit_scales) {
    for (uint64_t i = 0; i < count; i++)
      expect(tq_scale_load(dialect->scale_encoding, dialect->direction, inside, i) == 1);
  }
  if (outer)
    tq_trits_scale(trits, 1, 0, columns, TQ_PER_TENSOR, 0, form->scale_encoding, form->scale_direction, outer, weights);
  else if (dialect->scale_place == TQ_SCALE_IN_TAIL)
    tq_trits_scale(trits, 1, 0, columns, TQ_PER_TENSOR, 0, dialect->scale_encoding, dialect->direction,
                   bytes + units * unit_bytes, weights);
  else
    tq_trits_scale(trits, 1, 0, columns, dialect->granularity, dialect->group, dialect->scale_encoding,
                   dialect->direction, inside, weights);
}

static void check_decoded(const ternary *tensor, const tq_file *file, const tq_encode_options *options,
                          const collected *all) {
  tq_form form = options->form;
  bool is_outer = tq_form_has_outer_scale(&form), fits;
  float before[MOST_COLUMNS], after[MOST_COLUMNS];
  uint8_t scale[4];
  if (is_outer) {
    tq_scale_problem problem;
    ck_ok(tq_scales_as_one(file, 0, form.scale_encoding, form.scale_direction, scale, &problem, &fits, error));
    expect(fits);
  }
  for (uint64_t row = 0; row < tensor->rows; row++) {
    decode_row(&form, all->bytes, tensor->rows, tensor->columns, row, is_outer ? scale : NULL, after);
    ternary_weights(tensor, canonical(row, tensor->rows, options->adjacent_heads), before);
    expect(memcmp(before, after, tensor->columns * sizeof *before) == 0);
  }
}

/* Encodes where the tensor fits, and finds it refused by both functions or by none. */
static bool check_form(const ternary *tensor, const tq_file *file, const tq_encode_options *options) {
  tq_error why = {0};
  tq_status status = tq_dialect_fits(file, 0, &options->form, options->team, &why);
  uint64_t size;
  if (status) {
    support_check_failure("fits", status, &why, TQ_ERROR_REFUSED, "tensor t: ");
    char name[64];
    tq_form_name(&options->form, name, sizeof name);
    expect(strstr(why.message, name) != NULL);
    collected none = {0};
    if (!tq_form_has_outer_scale(&options->form)) {
      support_check_failure("encode", tq_dialect_encode(file, 0, options, collect, &none, &why), &why, TQ_ERROR_REFUSED,
                            "tensor t: ");
    }
    free(none.bytes);
    return false;
  }
  collected all = encode(file, options);
  expect(tq_dialect_size(options->form.dialect, tensor->rows, tensor->columns, &size) && size == all.size);
  check_decoded(tensor, file, options, &all);
  free(all.bytes);
  return true;
}

static ternary random_tensor(uint64_t *state, uint64_t rows, uint64_t columns, palette scales) {
  static const uint32_t groups[] = {32, 64, 128, 256, 96};
  uint32_t granularity = (uint32_t)(random_u64(state) % 3);
  ternary tensor = {.rows = rows,
                    .columns = columns,
                    .code = codes[random_u64(state) % 3],
                    .granularity = granularity,
                    .group = granularity == TQ_PER_GROUP ? groups[random_u64(state) % 5] : 0,
                    .encoding = encodings[random_u64(state) % 3],
                    .direction = (uint32_t)(random_u64(state) % 2)};
  ternary_random(&tensor, scales, state);
  return tensor;
}

/* Of a form what the dialect leaves open. */
static tq_form random_form(const tq_dialect *dialect, uint64_t *state) {
  tq_form form = {.dialect = dialect};
  form.has_unit_scales = dialect->gguf_type != TQ_NO_GGUF_TYPE && !dialect->is_unpacked && random_u64(state) % 4 == 0;
  if (!tq_form_has_outer_scale(&form)) return form;
  form.scale_encoding = TQ_F32;
  form.scale_direction = form.has_unit_scales ? TQ_DIRECT : dialect->direction;
  return form;
}

/* Shapes that suit all dialects and odd ones. */
START_TEST(every_dialect_says_the_same_or_refuses) {
  static const uint64_t rows[] = {4, 8, 64, 12, 5}, columns[] = {256, 512, 1280, 320, 300, 65, 96};
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  uint64_t state = 100 + (uint64_t)_i;
  unsigned met[2] = {0};
  for (unsigned i = 0; i < 150; i++) {
    bool suits = random_u64(&state) % 4 != 0;
    ternary tensor = random_tensor(&state, rows[random_u64(&state) % (suits ? 3 : 5)],
                                   columns[random_u64(&state) % (suits ? 3 : 7)], (palette)(random_u64(&state) % 3));
    tq_file *file = ternary_file(&tensor, TQ_VERIFY_LAZY, NULL, 0);
    tq_encode_options options = {.form = random_form(dialect, &state)};
    if (tensor.rows % 4 == 0) options.adjacent_heads = (uint32_t)(random_u64(&state) % 3);
    met[check_form(&tensor, file, &options)]++;
    tq_file_close(file);
    ternary_free(&tensor);
  }
  ck_assert_uint_gt(met[0], 5);
  ck_assert_uint_gt(met[1], 5);
}
END_TEST

/* ---- order, teams ---- */

/* As tq_rows_to_half_split has it: rows of a form in adjacent order are, moved, those in canonical order. */
START_TEST(adjacent_heads) {
  uint64_t state = 4;
  for (unsigned i = 0; i < 20; i++) {
    uint32_t heads = 1 + (uint32_t)(random_u64(&state) % 5), head_rows = 2 * (1 + (uint32_t)(random_u64(&state) % 6));
    ternary tensor = random_tensor(&state, heads * head_rows, 256, SCALES_ONE);
    tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, NULL, 0);
    tq_encode_options options = {.form = {.dialect = tq_dialect_find(i % 2 ? "IQ2_BN" : "F32")}};
    if (tensor.code == TQ_QUATERNARY_2BIT) options.form = (tq_form){.dialect = tq_dialect_find("Q2_0")};
    if (tq_dialect_fits(file, 0, &options.form, NULL, NULL) == TQ_OK) {
      collected straight = encode(file, &options);
      options.adjacent_heads = heads;
      collected adjacent = encode(file, &options);
      uint8_t *moved = malloc(adjacent.size);
      ck_assert(moved != NULL);
      tq_rows_to_half_split(adjacent.bytes, moved, heads, head_rows, adjacent.size / tensor.rows);
      expect_same(&straight, moved, adjacent.size);
      expect(head_rows == 2 || memcmp(straight.bytes, adjacent.bytes, straight.size) != 0);
      free(moved), free(adjacent.bytes), free(straight.bytes);
    }
    tq_file_close(file);
    ternary_free(&tensor);
  }
}
END_TEST

/* Large enough for several bands. */
START_TEST(teams_make_the_same_bytes) {
  static const unsigned members[] = {1, 2, 5};
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  uint64_t state = 60;
  ternary tensor = {.rows = 3072, .columns = 1024, .code = TQ_TERNARY_BASE3, .encoding = TQ_F16};
  ternary_random(&tensor, SCALES_ONE, &state);
  ternary_set_scale(&tensor, 0, 0.375f);
  tq_encode_options options = {.form = {.dialect = dialect}, .adjacent_heads = 6};
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_HEADER, NULL, 0);
  collected alone = encode(file, &options);
  tq_file_close(file);
  for (size_t i = 0; i < 3; i++) {
    tq_file *lazy;
    ck_ok(tq_file_open(temporary_path("ternary.tq"), TQ_VERIFY_LAZY, &lazy, error));
    ck_ok(tq_team_create(members[i], &options.team, error));
    ck_ok(tq_dialect_fits(lazy, 0, &options.form, options.team, error));
    collected together = encode(lazy, &options);
    expect_same(&together, alone.bytes, alone.size);
    free(together.bytes);
    tq_team_destroy(options.team);
    tq_file_close(lazy);
  }
  free(alone.bytes);
  ternary_free(&tensor);
}
END_TEST

/* Of several rows that do not fit the first is named, whoever comes upon it. */
START_TEST(teams_refuse_with_the_same_words) {
  uint64_t state = 61;
  ternary tensor = {.rows = 900, .columns = 256, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_GROUP, .group = 64};
  tensor.encoding = TQ_F32;
  ternary_random(&tensor, SCALES_ONE, &state);
  for (uint64_t i = 0; i < 900 * 4; i++) ternary_set_scale(&tensor, i, 0.5f);
  static const uint64_t bad_rows[] = {307, 308, 700, 899};
  for (size_t i = 0; i < 4; i++) {
    ternary_set_scale(&tensor, tq_scale_index(TQ_PER_GROUP, 64, 900, 256, bad_rows[i], 128), 2);
    memset(tensor.trits + bad_rows[i] * 256, 1, 256);
  }
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_HEADER, NULL, 0);
  for (unsigned members = 1; members <= 5; members += 2) {
    tq_encode_options options = {.form = {.dialect = tq_dialect_find("TQ2_0")}};
    collected some = {0};
    ck_ok(tq_team_create(members, &options.team, error));
    ck_fails(tq_dialect_fits(file, 0, &options.form, options.team, error), TQ_ERROR_REFUSED,
             "tensor t: TQ2_0 cannot hold it: row 307, column 128: scales 0.5 and 2 meet in one group of 256");
    for (unsigned i = 0; i < 50; i++) { /* another member comes first each time */
      ck_fails(tq_dialect_encode(file, 0, &options, collect, &some, error), TQ_ERROR_REFUSED, "row 307, column 128");
    }
    free(some.bytes);
    tq_team_destroy(options.team);
  }
  tq_file_close(file);
  ternary_free(&tensor);
}
END_TEST

/* ---- what is refused by name ---- */

typedef struct refusal {
  const char *form;
  ternary tensor;
  float scale;
  const char *message;
} refusal;

START_TEST(refusals_say_why) {
  static const refusal cases[] = {
      {"TQ2_0", {.rows = 2, .columns = 5460, .code = TQ_TERNARY_2BIT}, 1, "rows of 5460 are not a multiple of 256"},
      {"I2_S", {.rows = 3, .columns = 20, .code = TQ_TERNARY_2BIT}, 1, "are not a multiple of 128"},
      {"bitlinear", {.rows = 6, .columns = 64, .code = TQ_TERNARY_2BIT}, 1, "6 rows are not a multiple of 4"},
      {"PTQ1_0", {.rows = 1, .columns = 128, .code = TQ_QUATERNARY_2BIT}, 1, "128 of its weights are +2"},
      {"F32", {.rows = 1, .columns = 128, .code = TQ_QUATERNARY_2BIT}, 1, "128 of its weights are +2"},
      {"PQ2_0",
       {.rows = 1, .columns = 128, .code = TQ_TERNARY_2BIT},
       0.1f,
       "row 0, column 0: its scale 0.100000001 is not exact in F16"},
      {"F16", {.rows = 1, .columns = 128, .code = TQ_TERNARY_2BIT}, 0.1f, "is not exact in F16"},
      {"bitlinear", {.rows = 4, .columns = 64, .code = TQ_TERNARY_2BIT}, 0.9999999f, "is not exact in F32, inverted"},
  };
  const refusal *each = &cases[_i];
  ternary tensor = each->tensor;
  uint64_t state = 1;
  tensor.encoding = TQ_F32;
  ternary_random(&tensor, SCALES_ONE, &state);
  memset(tensor.trits, tensor.code == TQ_QUATERNARY_2BIT ? 2 : 1, (size_t)(tensor.rows * tensor.columns));
  float scale = each->scale; /* of those near it one whose reciprocal no f32 has */
  uint8_t bytes[4];
  while (_i == 7 && tq_scale_store(TQ_F32, TQ_INVERTED, scale, bytes)) scale -= 0x1p-24f;
  ternary_set_scale(&tensor, 0, scale);
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, NULL, 0);
  tq_form form;
  ck_assert(tq_form_from_name(each->form, &form));
  ck_fails(tq_dialect_fits(file, 0, &form, NULL, error), TQ_ERROR_REFUSED, each->message);
  tq_file_close(file);
  ternary_free(&tensor);
}
END_TEST

START_TEST(tensors_that_are_no_ternary_matrix) {
  ck_ok(write_sample(temporary_path("sample.tq"), 0, error));
  tq_file *file;
  ck_ok(tq_file_open(temporary_path("sample.tq"), TQ_VERIFY_FULL, &file, error));
  tq_encode_options options = {.form = {.dialect = tq_dialect_find("F32")}};
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    bool is_ternary = strcmp(tq_file_tensor(file, i)->role, "layers.0.q") == 0;
    ck_assert(tq_tensor_is_ternary(tq_file_tensor(file, i)) == is_ternary);
    collected all = {0};
    if (is_ternary) {
      ck_ok(tq_dialect_fits(file, i, &options.form, NULL, error));
      ck_ok(tq_dialect_encode(file, i, &options, collect, &all, error));
      options.adjacent_heads = 2; /* of 3 rows */
      ck_fails(tq_dialect_encode(file, i, &options, collect, &all, error), TQ_ERROR_CORRUPT,
               "tensor layers.0.q: its rows are not 2 heads of pairs");
      options.adjacent_heads = 0;
    } else {
      ck_fails(tq_dialect_fits(file, i, &options.form, NULL, error), TQ_ERROR_REFUSED, "it is not ternary");
      ck_fails(tq_dialect_encode(file, i, &options, collect, &all, error), TQ_ERROR_REFUSED, "it is not ternary");
    }
    free(all.bytes);
  }
  tq_file_close(file);
}
END_TEST

/* ---- patches ---- */

START_TEST(patches_give_back_the_original_bytes) {
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  uint64_t state = 70 + (uint64_t)_i;
  for (unsigned i = 0; i < 6; i++) {
    ternary tensor = {.rows = i == 5 ? 4096 : 4 + 4 * i, .columns = 1024, .code = TQ_TERNARY_2BIT, .encoding = TQ_F32};
    ternary_random(&tensor, SCALES_ONE, &state);
    ternary_set_scale(&tensor, 0, 0.5f);
    tq_file *file = ternary_file(&tensor, TQ_VERIFY_LAZY, NULL, 0);
    tq_encode_options options = {.form = {.dialect = dialect}, .adjacent_heads = i == 3 ? 2 : 0};
    collected plain = encode(file, &options);
    tq_file_close(file);
    uint8_t *original = malloc(plain.size);
    ck_assert(original != NULL);
    memcpy(original, plain.bytes, plain.size);
    unsigned changes = i == 0 ? 0 : i == 1 ? (unsigned)plain.size : 1 + (unsigned)(random_u64(&state) % 999);
    for (unsigned k = 0; k < changes; k++) original[random_u64(&state) % plain.size] = (uint8_t)random_u64(&state);
    if (i > 1) original[plain.size - 1] ^= 0x80; /* the last byte of a tail too */
    collected patch = patch_bytes(original, plain.bytes, plain.size, i % 2 ? 777 : 200000);
    ck_assert(i != 0 || patch.size < 200); /* where nothing differs */
    file = ternary_file(&tensor, TQ_VERIFY_LAZY, patch.bytes, patch.size);
    collected unpatched = encode(file, &options);
    expect_same(&unpatched, plain.bytes, plain.size);
    options.patched = true;
    ck_ok(tq_team_create(1 + i % 3, &options.team, error));
    collected restored = encode(file, &options);
    expect_same(&restored, original, plain.size);
    tq_team_destroy(options.team);
    tq_file_close(file);
    free(original), free(plain.bytes), free(unpatched.bytes), free(restored.bytes), free(patch.bytes);
    ternary_free(&tensor);
  }
}
END_TEST

START_TEST(patches_are_given_all_their_bytes) {
  const tq_tensor described = {.role = "t", .name = "t", .source_type = "", .dimensions = 1, .shape = {1}};
  const tq_part values = {.kind = TQ_PART_VALUES, .encoding = TQ_U8};
  for (int too_many = 0; too_many < 2; too_many++) {
    tq_writer *writer;
    tq_patch_writer *patch;
    ck_ok(tq_writer_create(temporary_path("p.tq"), 0, &writer, error));
    ck_ok(tq_writer_tensor_begin(writer, &described, error));
    ck_ok(tq_writer_part_begin(writer, &values, error));
    ck_ok(tq_writer_part_write(writer, "x", 1, error));
    ck_ok(tq_writer_part_end(writer, error));
    ck_ok(tq_patch_create(writer, 3, &patch, error));
    ck_ok(tq_patch_write(patch, (const uint8_t *)"ab", (const uint8_t *)"cd", 2, error));
    if (too_many) {
      ck_fails(tq_patch_write(patch, (const uint8_t *)"ab", (const uint8_t *)"cd", 2, error), TQ_ERROR_USAGE, "more");
      tq_patch_abandon(patch);
    } else {
      ck_fails(tq_patch_finish(patch, error), TQ_ERROR_USAGE, "fewer");
    }
    tq_writer_abandon(writer);
  }
  tq_patch_abandon(NULL);
}
END_TEST

/* Whatever the stream still holds. */
START_TEST(inflaters_stop_at_the_stated_size) {
  collected patch = {0};
  uint8_t bytes[8];
  tq_deflater *deflater;
  tq_inflater *inflater;
  ck_ok(tq_deflater_create(TQ_DEFLATE_ANY, &deflater, error));
  ck_ok(tq_deflater_write(deflater, "12345678", 8, collect, &patch, error));
  ck_ok(tq_deflater_end(deflater, collect, &patch, error));
  tq_deflater_destroy(deflater);
  ck_ok(tq_inflater_create("it", patch.bytes, patch.size, 5, &inflater, error));
  ck_ok(tq_inflater_read(inflater, bytes, 3, error));
  ck_fails(tq_inflater_read(inflater, bytes, 3, error), TQ_ERROR_CORRUPT, "it: inflates to 2 bytes less");
  ck_ok(tq_inflater_read(inflater, bytes, 2, error));
  ck_assert_mem_eq(bytes, "45", 2);
  ck_fails(tq_inflater_finish(inflater, error), TQ_ERROR_CORRUPT, "it: inflates to more than its size");
  tq_inflater_destroy(inflater);
  tq_inflater_destroy(NULL);
  free(patch.bytes);
}
END_TEST

static ternary small_tensor(void) {
  static uint64_t state = 5;
  ternary tensor = {.rows = 4, .columns = 256, .code = TQ_TERNARY_BASE3, .encoding = TQ_F16};
  ternary_random(&tensor, SCALES_ONE, &state);
  return tensor;
}

/* A patch's bytes: a header, and `size` zeros deflated. */
static collected zero_patch(uint32_t version, uint32_t reserved, uint64_t stated, size_t size) {
  collected all = {0};
  uint8_t header[16], *zeros = calloc(size + 1, 1);
  tq_deflater *deflater;
  ck_assert(zeros != NULL);
  tq_store_u32(header, version);
  tq_store_u32(header + 4, reserved);
  tq_store_u64(header + 8, stated);
  ck_ok(collect(&all, header, sizeof header, error));
  ck_ok(tq_deflater_create(TQ_DEFLATE_MOSTLY_ZEROS, &deflater, error));
  ck_ok(tq_deflater_write(deflater, zeros, size, collect, &all, error));
  ck_ok(tq_deflater_end(deflater, collect, &all, error));
  tq_deflater_destroy(deflater);
  free(zeros);
  return all;
}

static void check_hostile(const void *patch, size_t size, const char *message) {
  ternary tensor = small_tensor();
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, patch, size);
  tq_encode_options options = {.form = {.dialect = tq_dialect_find("TQ2_0")}, .patched = true};
  collected all = {0};
  if (message) {
    ck_fails(tq_dialect_encode(file, 0, &options, collect, &all, error), TQ_ERROR_CORRUPT, message);
  } else {
    ck_ok(tq_dialect_encode(file, 0, &options, collect, &all, error));
  }
  expect(all.size <= 4 * 66);
  free(all.bytes);
  tq_file_close(file);
  ternary_free(&tensor);
}

START_TEST(hostile_patches) {
  enum { SIZE = 4 * 66 };
  static const struct {
    uint32_t version, reserved;
    uint64_t stated;
    size_t size;
    const char *message;
  } cases[] = {
      {1, 0, SIZE, SIZE, NULL},
      {2, 0, SIZE, SIZE, "tensor t: its patch: its version 2 is not understood"},
      {0, 0, SIZE, SIZE, "its version 0 is not understood"},
      {1, 1, SIZE, SIZE, "reserved bytes are not zero"},
      {1, 0, SIZE + 1, SIZE + 1, "it is for 265 bytes where the tensor has 264"},
      {1, 0, UINT64_MAX, SIZE, "where the tensor has 264"},
      {1, 0, SIZE, SIZE - 1, "inflates to 1 bytes less than its size"},
      {1, 0, SIZE, 0, "inflates to 264 bytes less than its size"},
      {1, 0, SIZE, SIZE + 1, "inflates to more than its size"},
      {1, 0, SIZE, 50000000, "inflates to more than its size"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    collected patch = zero_patch(cases[i].version, cases[i].reserved, cases[i].stated, cases[i].size);
    check_hostile(patch.bytes, patch.size, cases[i].message);
    free(patch.bytes);
  }
  collected patch = zero_patch(1, 0, SIZE, SIZE);
  for (size_t size = 0; size < patch.size; size++)
    check_hostile(patch.bytes, size, size < 16 ? "it is too short" : "its deflated bytes are damaged");
  collect(&patch, "\0\0", 2, NULL);
  check_hostile(patch.bytes, patch.size, "bytes behind the end of its deflated bytes");
  for (size_t i = 16; i < patch.size; i++) patch.bytes[i] = (uint8_t)(i * 37);
  check_hostile(patch.bytes, patch.size, "its deflated bytes are damaged");
  free(patch.bytes);
}
END_TEST

/* ---- damage ---- */

/* Encodes with one byte of the data changed, hashes made right again or not. */
static tq_status encode_damaged(size_t at, uint8_t value, bool sealed, const char *dialect, tq_error *why) {
  image damaged = load_image(temporary_path("ternary.tq"));
  section_bytes(damaged, "data")[at] = value;
  if (sealed) reseal(damaged);
  tq_file *file;
  ck_ok(tq_file_open_memory("damaged", damaged.data, damaged.size, TQ_VERIFY_LAZY, &file, error));
  tq_encode_options options = {.form = {.dialect = tq_dialect_find(dialect)}, .patched = true};
  collected all = {0};
  tq_status status = tq_dialect_encode(file, 0, &options, collect, &all, why);
  free(all.bytes);
  tq_file_close(file);
  free(damaged.data);
  return status;
}

START_TEST(damage_is_found) {
  uint64_t state = 9;
  ternary tensor = {.rows = 4, .columns = 256, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_ROW, .encoding = TQ_F16};
  ternary_random(&tensor, SCALES_EXACT, &state);
  collected patch = zero_patch(1, 0, 4 * 66, 4 * 66);
  tq_file_close(ternary_file(&tensor, TQ_VERIFY_FULL, patch.bytes, patch.size));
  ck_fails(encode_damaged(5, 0xff, false, "TQ2_0", error), TQ_ERROR_CORRUPT, "chunk");
  ck_fails(encode_damaged(256, 0xff, false, "TQ2_0", error), TQ_ERROR_CORRUPT, "chunk");
  ck_fails(encode_damaged(320 + 20, 0xff, false, "TQ2_0", error), TQ_ERROR_CORRUPT, "chunk");
  ck_fails(encode_damaged(4 * 4 + 4 + 1, 0xff, true, "TQ2_0", error), TQ_ERROR_CORRUPT,
           "tensor t: row 1, byte 5 is no ternary code"); /* of 4 rows, in their second pieces */
  ck_fails(encode_damaged(320 + 20, 0xff, true, "TQ2_0", error), TQ_ERROR_CORRUPT, "its patch");
  ternary_free(&tensor);
  /* a four-valued tensor whose counts deny its +2 */
  tensor.code = TQ_QUATERNARY_2BIT;
  ternary_random(&tensor, SCALES_EXACT, &state);
  for (size_t i = 0; i < 4 * 256; i++) tensor.trits[i] = 1;
  tq_file_close(ternary_file(&tensor, TQ_VERIFY_FULL, patch.bytes, patch.size));
  ck_ok(encode_damaged(5, 0xff, true, "TQ2_0", error));
  ck_fails(encode_damaged(5, 0xff, true, "F32", error), TQ_ERROR_CORRUPT, "its patch: it is for 264 bytes");
  tq_file_close(ternary_file(&tensor, TQ_VERIFY_FULL, NULL, 0));
  ck_fails(encode_damaged(5, 0xff, true, "F32", error), TQ_ERROR_REFUSED, "tensor t: F32 cannot hold +2");
  ternary_free(&tensor);
  free(patch.bytes);
}
END_TEST

/* Codes, scales and patch in chunks of their own, each damaged: all three are verified when they are read. */
START_TEST(each_part_is_verified) {
  enum { SCALES_AT = 2 << 20, PATCH_AT = 3 << 20, SIZE = 32 << 20 };
  static const size_t places[] = {SCALES_AT - 1, SCALES_AT + 7, PATCH_AT + 17};
  uint64_t state = 14;
  ternary tensor = {.rows = 8192,
                    .columns = 1024,
                    .code = TQ_TERNARY_2BIT,
                    .granularity = TQ_PER_GROUP,
                    .group = 32,
                    .encoding = TQ_F32};
  ternary_random(&tensor, SCALES_ANY, &state);
  collected patch = zero_patch(1, 0, SIZE, SIZE);
  tq_file_close(ternary_file(&tensor, TQ_VERIFY_FULL, patch.bytes, patch.size));
  for (size_t i = 0; i < 3; i++) {
    char chunk[32];
    snprintf(chunk, sizeof chunk, "chunk %zu", places[i] >> 20);
    ck_fails(encode_damaged(places[i], 0x5a, false, "F32", error), TQ_ERROR_CORRUPT, chunk);
  }
  free(patch.bytes);
  ternary_free(&tensor);
}
END_TEST

static tq_status full(void *context, const void *data, size_t size, tq_error *error) {
  (void)data;
  size_t *left = context;
  if (size > *left) return tq_fail(error, TQ_ERROR_SYSTEM, "no room");
  *left -= size;
  return TQ_OK;
}

START_TEST(sinks_may_stop) {
  uint64_t state = 10;
  ternary tensor = {.rows = 6000, .columns = 512, .code = TQ_TERNARY_2BIT, .encoding = TQ_F16};
  ternary_random(&tensor, SCALES_EXACT, &state);
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_LAZY, NULL, 0);
  tq_encode_options options = {.form = {.dialect = tq_dialect_find("F16")}};
  for (unsigned members = 1; members < 4; members++) {
    size_t left = 5 << 20;
    ck_ok(tq_team_create(members, &options.team, error));
    ck_fails(tq_dialect_encode(file, 0, &options, full, &left, error), TQ_ERROR_SYSTEM, "no room");
    tq_team_destroy(options.team);
  }
  tq_file_close(file);
  ternary_free(&tensor);
}
END_TEST

/* ---- faults ---- */

static tq_status encode_once(const void *file, tq_error *error) {
  tq_encode_options options = {.form = {.dialect = tq_dialect_find("I2_S")}, .patched = true};
  size_t left = SIZE_MAX;
  tq_status status = tq_team_create(3, &options.team, error);
  if (!status) status = tq_dialect_fits(file, 0, &options.form, options.team, error);
  if (!status) status = tq_dialect_encode(file, 0, &options, full, &left, error);
  tq_team_destroy(options.team);
  return status;
}

static tq_status fit_once(const void *file, tq_error *error) {
  tq_form form = {.dialect = tq_dialect_find("Q2_0")};
  return tq_dialect_fits(file, 0, &form, NULL, error);
}

static tq_status patch_once(const void *unused, tq_error *error) {
  (void)unused;
  const tq_tensor described = {.role = "t", .name = "t", .source_type = "", .dimensions = 1, .shape = {1}};
  const tq_part values = {.kind = TQ_PART_VALUES, .encoding = TQ_U8};
  static const uint8_t digest[16], zeros[100000];
  static const uint64_t counts[4];
  tq_writer *writer;
  tq_patch_writer *patch = NULL;
  tq_status status = tq_writer_create(temporary_path("faults.tq"), 0, &writer, error);
  if (status) return status;
  status = tq_writer_tensor_begin(writer, &described, error);
  if (!status) status = tq_writer_part_begin(writer, &values, error);
  if (!status) status = tq_writer_part_write(writer, "x", 1, error);
  if (!status) status = tq_writer_part_end(writer, error);
  if (!status) status = tq_patch_create(writer, sizeof zeros, &patch, error);
  if (!status) {
    status = tq_patch_write(patch, zeros, zeros, sizeof zeros, error);
    if (status)
      tq_patch_abandon(patch);
    else
      status = tq_patch_finish(patch, error);
  }
  if (!status) status = tq_writer_tensor_end(writer, counts, digest, error);
  if (!status) status = tq_writer_finish(writer, digest, digest, error);
  if (status) tq_writer_abandon(writer);
  return status;
}

START_TEST(faults) {
  uint64_t state = 11;
  ternary tensor = {.rows = 4, .columns = 256, .code = TQ_TERNARY_2BIT, .granularity = TQ_PER_ROW, .encoding = TQ_F16};
  ternary_random(&tensor, SCALES_EXACT, &state);
  for (uint64_t i = 0; i < 4; i++) ternary_set_scale(&tensor, i, (float)(i + 1));
  memset(tensor.trits, 0, 3 * 256); /* one scale counts, which only the codes show */
  collected patch = zero_patch(1, 0, 4 * 64 + 32, 4 * 64 + 32);
  tq_file *file = ternary_file(&tensor, TQ_VERIFY_FULL, patch.bytes, patch.size);
  ck_assert_int_ge(check_every_fault(encode_once, file), 8);
  ck_assert_int_ge(check_every_fault(fit_once, file), 3);
  ck_assert_int_ge(check_every_fault(patch_once, NULL), 8);
  tq_file_close(file);
  free(patch.bytes);
  ternary_free(&tensor);
}
END_TEST

int main(void) {
  int count = (int)dialect_count();
  Suite *suite = suite_create("dialects, encoding");
  TCase *forms = tcase_create("forms");
  tcase_set_timeout(forms, 300);
  tcase_add_loop_test(forms, every_dialect_says_the_same_or_refuses, 0, count);
  tcase_add_test(forms, adjacent_heads);
  tcase_add_loop_test(forms, teams_make_the_same_bytes, 0, count);
  tcase_add_test(forms, teams_refuse_with_the_same_words);
  tcase_add_loop_test(forms, refusals_say_why, 0, 8);
  tcase_add_test(forms, tensors_that_are_no_ternary_matrix);
  suite_add_tcase(suite, forms);
  TCase *patches = tcase_create("patches");
  tcase_set_timeout(patches, 300);
  tcase_add_loop_test(patches, patches_give_back_the_original_bytes, 0, count);
  tcase_add_test(patches, patches_are_given_all_their_bytes);
  tcase_add_test(patches, inflaters_stop_at_the_stated_size);
  tcase_add_test(patches, hostile_patches);
  suite_add_tcase(suite, patches);
  TCase *failures = tcase_create("failures");
  tcase_set_timeout(failures, 300);
  tcase_add_test(failures, damage_is_found);
  tcase_add_test(failures, each_part_is_verified);
  tcase_add_test(failures, sinks_may_stop);
  tcase_add_test(failures, faults);
  suite_add_tcase(suite, failures);
  return run_suite(suite);
}
