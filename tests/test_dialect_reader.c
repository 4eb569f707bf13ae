/* Reading ternary tensors of foreign checkpoints: every dialect, row order and team gives the rows that were meant, at
 * the coarsest scales that are exact. */
#include "base/bytes.h"
#include "formats/dialects/encode.h"
#include "formats/dialects/reader.h"
#include "tests/container_support.h"
#include "tests/source_builder.h"
#include "tests/support.h"
#include "tests/ternary_files.h"
#include "tests/ternary_reading.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- every dialect ---- */

static tq_team *teams[3];

static void make_teams(void) {
  static const unsigned members[] = {1, 2, 5};
  for (size_t i = 0; i < 3; i++) ck_ok(tq_team_create(members[i], &teams[i], error));
}

static void end_teams(void) {
  for (size_t i = 0; i < 3; i++) tq_team_destroy(teams[i]);
}

static void ck_same_form(const tq_form *a, const tq_form *b) {
  ck_assert_ptr_eq(a->dialect, b->dialect);
  ck_assert_int_eq(a->has_unit_scales, b->has_unit_scales);
  ck_assert_uint_eq(a->scale_encoding, b->scale_encoding);
  ck_assert_uint_eq(a->scale_direction, b->scale_direction);
  ck_assert_mem_eq(a->scale, b->scale, sizeof a->scale);
}

static void ck_same_survey(const tq_survey *a, const tq_survey *b) {
  ck_same_form(&a->form, &b->form);
  ck_assert_int_eq(a->is_ternary, b->is_ternary);
  ck_assert_uint_eq(a->granularity, b->granularity);
  ck_assert_uint_eq(a->group, b->group);
  ck_assert_int_eq(a->fits_one_scale, b->fits_one_scale);
  ck_assert_int_eq(a->has_twos, b->has_twos);
  ck_assert_mem_eq(a->counts, b->counts, sizeof a->counts);
  ck_assert_mem_eq(a->scale, b->scale, sizeof a->scale);
  ck_assert_uint_eq(a->scale_encoding, b->scale_encoding);
  ck_assert_uint_eq(a->scale_direction, b->scale_direction);
  ck_assert_int_eq(a->is_almost, b->is_almost);
  ck_assert_uint_eq(a->almost_off, b->almost_off);
}

static void ck_same_outcome(const outcome *a, const outcome *b) {
  ck_same_survey(&a->survey, &b->survey);
  ck_assert_uint_eq(a->codes.size, b->codes.size);
  ck_assert_mem_eq(a->codes.bytes, b->codes.bytes, a->codes.size);
  ck_assert_uint_eq(a->table_size, b->table_size);
  ck_assert_mem_eq(a->table, b->table, a->table_size);
  ck_assert_mem_eq(a->content, b->content, sizeof a->content);
  ck_assert_int_eq(a->differs, b->differs);
}

/* By one thread, with each team, and from an input that does not seek. */
static void check_matrix(const source_matrix *matrix) {
  size_t size;
  uint8_t *bytes = source_matrix_bytes(matrix, &size);
  outcome first = {0}, other = {0};
  for (size_t i = 0; i <= 4; i++) {
    outcome *result = i ? &other : &first;
    tq_checkpoint *checkpoint = source_of("layers.0.q", matrix, bytes, size, i == 4);
    ck_ok(read_all(checkpoint, i > 0 && i < 4 ? teams[i - 1] : NULL, result, error));
    if (i) {
      ck_same_outcome(&first, &other);
      outcome_free(&other);
    }
    tq_checkpoint_close(checkpoint);
  }
  check_outcome(matrix, &first);
  ck_assert_msg(!first.differs, "%s is encoded otherwise", matrix->dialect->name);
  outcome_free(&first);
  free(bytes);
}

/* Odd sizes where the dialect allows them, heads, several bands, heads that are larger than a band. */
static const struct {
  uint64_t rows, columns;
  uint32_t heads;
} shapes[] = {{1, 256, 0},    {15, 256, 0},    {16, 256, 0},   {17, 256, 0},   {40, 256, 0},   {1, 301, 0},
              {15, 301, 0},   {17, 301, 0},    {40, 300, 0},   {4, 128, 0},    {12, 256, 0},   {20, 5460, 0},
              {36, 1365, 0},  {8, 33, 0},      {96, 64, 0},    {128, 5, 0},    {8, 512, 2},    {24, 64, 4},
              {2048, 64, 32}, {1100, 1024, 0}, {1500, 768, 6}, {768, 1024, 1}, {780, 1024, 1}, {4, 524544, 2},
              {160, 4160, 5}, {684, 1024, 3}};

START_TEST(dialects_give_their_rows) {
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  char reason[160];
  size_t read = 0;
  make_teams();
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    uint64_t rows = shapes[i].rows, columns = shapes[i].columns;
    if (tq_dialect_shape_problem(dialect, rows, columns, reason, sizeof reason)) continue;
    if (shapes[i].heads && dialect->is_strided) continue;
    if (dialect->is_unpacked && (rows < 2 || columns < 32)) continue;
    uint32_t granularity = dialect->granularity;
    source_matrix matrix =
        source_matrix_make(dialect, rows, columns, shapes[i].heads, granularity,
                           granularity == TQ_PER_GROUP ? dialect->group : 0, dialect->four_valued && i % 2, 77 + i);
    check_matrix(&matrix);
    source_matrix_free(&matrix);
    read++;
  }
  ck_assert_uint_ge(read, 5);
  end_teams();
}
END_TEST

/* Scales that are coarser than the dialect's own are found to be. */
START_TEST(coarse_scales_are_found) {
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  make_teams();
  for (size_t i = 0; i < TQ_COARSE_LEVELS; i++) {
    if (levels[i].granularity > dialect->granularity) continue;
    if (levels[i].granularity == TQ_PER_GROUP && levels[i].group < dialect->group) continue;
    source_matrix matrix =
        source_matrix_make(dialect, 12, 1280, 0, levels[i].granularity, levels[i].group, false, 5 + i);
    ck_assert_uint_eq(expected_level(&matrix), i);
    check_matrix(&matrix);
    memset(matrix.trits, 0, (size_t)(matrix.rows * matrix.columns)); /* zeros hide all scales */
    matrix.trits[1300] = -1;
    ck_assert_uint_eq(expected_level(&matrix), 0);
    size_t size;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    tq_checkpoint *checkpoint = source_of("layers.0.q", &matrix, bytes, size, false);
    outcome result;
    ck_ok(read_all(checkpoint, teams[1], &result, error));
    check_outcome(&matrix, &result);
    ck_assert_int_eq(result.differs, i > 0 && !dialect->is_unpacked);
    outcome_free(&result);
    tq_checkpoint_close(checkpoint);
    free(bytes);
    source_matrix_free(&matrix);
  }
  end_teams();
}
END_TEST

/* ---- what is not canonical comes back too ---- */

/* Writes the tensor into a .tq file with its patch, and compares what that gives back. */
static void ck_comes_back(const source_matrix *matrix, const uint8_t *bytes, size_t size, bool differs) {
  const char *path = temporary_path("patched.tq");
  static const uint8_t none[16];
  tq_checkpoint *checkpoint = source_of("layers.0.q", matrix, bytes, size, false);
  outcome result;
  ck_ok(read_all(checkpoint, NULL, &result, error));
  check_outcome(matrix, &result);
  ck_assert_int_eq(result.differs, differs);
  tq_ternary_reader *reader;
  tq_writer *writer;
  const tq_survey *survey = &result.survey;
  char name[64];
  tq_form_name(&survey->form, name, sizeof name);
  tq_tensor tensor = {.role = "layers.0.q",
                      .name = "t",
                      .source_type = name,
                      .dimensions = 2,
                      .shape = {matrix->rows, matrix->columns},
                      .source_row_order = matrix->heads};
  tq_part codes = {.kind = TQ_PART_VALUES, .encoding = code_for(survey), .type_name = ""};
  tq_part scales = {.kind = TQ_PART_SCALES,
                    .encoding = survey->scale_encoding,
                    .granularity = survey->granularity,
                    .group = survey->group,
                    .direction = survey->scale_direction,
                    .type_name = ""};
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, "", 0, 0, error));
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
  ck_ok(tq_writer_part_begin(writer, &codes, error));
  ck_ok(tq_writer_part_write(writer, result.codes.bytes, result.codes.size, error));
  ck_ok(tq_writer_part_end(writer, error));
  ck_ok(tq_writer_part_begin(writer, &scales, error));
  ck_ok(tq_writer_part_write(writer, result.table, result.table_size, error));
  ck_ok(tq_writer_part_end(writer, error));
  if (differs) {
    ck_ok(tq_ternary_reader_create(checkpoint, 0, NULL, &reader, error));
    ck_ok(tq_ternary_patch(reader, survey, result.table, writer, error));
    tq_ternary_reader_destroy(reader);
  }
  ck_ok(tq_writer_tensor_end(writer, survey->counts, result.content, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  tq_file *file;
  collected back = {0};
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  tq_encode_options options = {.form = survey->form, .adjacent_heads = matrix->heads, .patched = true};
  ck_ok(tq_dialect_encode(file, 0, &options, collect, &back, error));
  ck_assert_uint_eq(back.size, size);
  ck_assert_mem_eq(back.bytes, bytes, size);
  free(back.bytes);
  tq_file_close(file);
  outcome_free(&result);
  tq_checkpoint_close(checkpoint);
}

START_TEST(dirty_tails_come_back) {
  static const char *const names[] = {"I2_S", "I2_S_ARM", "I2_S_ROWS"};
  for (size_t i = 0; i < 3; i++) {
    source_matrix matrix = source_matrix_make(tq_dialect_find(names[i]), 2304, 256, 18, TQ_PER_TENSOR, 0, false, 3);
    size_t size;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    ck_comes_back(&matrix, bytes, size, false);
    bytes[size - 1] = 9;
    ck_comes_back(&matrix, bytes, size, true);
    bytes[size - 28] = 1;
    ck_comes_back(&matrix, bytes, size, true);
    free(bytes);
    source_matrix_free(&matrix);
  }
}
END_TEST

START_TEST(minus_zeros_come_back) {
  static const char *const names[] = {"F32", "F16", "BF16"};
  const tq_dialect *dialect = tq_dialect_find(names[_i]);
  source_matrix matrix = source_matrix_make(dialect, 2400, 257, 4, TQ_PER_ROW, 0, false, 31);
  size_t size, width = _i ? 2 : 4;
  uint8_t *bytes = source_matrix_bytes(&matrix, &size);
  ck_comes_back(&matrix, bytes, size, false);
  uint64_t state = 4;
  for (size_t i = 0; i < size; i += width) {
    bool zero = _i ? tq_load_u16(bytes + i) == 0 : tq_load_u32(bytes + i) == 0;
    if (zero && random_u64(&state) % 2) bytes[i + width - 1] = 0x80;
  }
  ck_comes_back(&matrix, bytes, size, true);
  free(bytes);
  source_matrix_free(&matrix);
}
END_TEST

static uint8_t *half_scale(const source_matrix *matrix, uint64_t row, uint64_t column) {
  return matrix->scales + 2 * tq_scale_index(TQ_PER_GROUP, matrix->group, matrix->rows, matrix->columns, row, column);
}

/* Scales over zeros that are not the one beside them are no scales of weights, but bytes of the file. */
START_TEST(scales_over_zeros_come_back) {
  source_matrix matrix = source_matrix_make(tq_dialect_find("TQ2_0"), 2304, 512, 0, TQ_PER_GROUP, 256, false, 8);
  for (uint64_t r = 0; r < matrix.rows; r += 3) memset(matrix.trits + r * 512 + 256, 0, 256);
  for (uint64_t r = 1; r < matrix.rows; r += 3) memset(matrix.trits + r * 512, 0, 512);
  for (uint64_t r = 0; r < matrix.rows; r += 5) tq_store_u16(half_scale(&matrix, r, 0), 0xb800); /* -0.5 */
  size_t size;
  uint8_t *bytes = source_matrix_bytes(&matrix, &size);
  ck_comes_back(&matrix, bytes, size, false);
  for (uint64_t r = 0; r < matrix.rows; r += 3) matrix.trits[r * 512 + 256] = 0;
  for (uint64_t i = 0; i < 2 * matrix.rows; i++) tq_store_u16(matrix.scales + 2 * i, 0x3800);
  for (uint64_t r = 0; r < matrix.rows; r += 3) tq_store_u16(half_scale(&matrix, r, 256), 0x1234);
  free(bytes);
  bytes = source_matrix_bytes(&matrix, &size);
  ck_comes_back(&matrix, bytes, size, true);
  free(bytes);
  source_matrix_free(&matrix);
}
END_TEST

/* A base-3 byte that no writer makes, with the same digits as the one it makes. */
static void change_one_byte(const source_matrix *matrix, uint8_t *bytes, size_t size) {
  uint64_t columns = matrix->columns, row_bytes = matrix->dialect->unit_bytes(1, columns);
  int8_t *before = malloc((size_t)columns), *after = malloc((size_t)columns);
  uint8_t scales[64];
  for (size_t i = size / 2; i < size; i++) {
    uint8_t *row = bytes + i / row_bytes * row_bytes, scales_before[64];
    if (i % row_bytes < 2) continue; /* IQ1_BN's scale */
    ck_assert(matrix->dialect->decode(row, columns, 0, before, scales_before));
    bytes[i]++;
    bool same = matrix->dialect->decode(row, columns, 0, after, scales) && !memcmp(before, after, (size_t)columns);
    uint64_t count = tq_dialect_row_scales(matrix->dialect, columns);
    if (same && memcmp(scales, scales_before, (size_t)(2 * count)) == 0) {
      free(before), free(after);
      return;
    }
    bytes[i]--;
  }
  ck_abort_msg("%s has no second byte", matrix->dialect->name);
}

START_TEST(other_base3_bytes_come_back) {
  static const char *const names[] = {"TQ1_0", "PTQ1_0", "IQ1_BN"};
  for (size_t i = 0; i < 3; i++) {
    source_matrix matrix = source_matrix_make(tq_dialect_find(names[i]), 2304, 256, 18, TQ_PER_ROW, 0, false, 3);
    size_t size;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    ck_comes_back(&matrix, bytes, size, false);
    change_one_byte(&matrix, bytes, size);
    ck_comes_back(&matrix, bytes, size, true);
    free(bytes);
    source_matrix_free(&matrix);
  }
}
END_TEST

/* ---- codes that mean nothing ---- */

START_TEST(codes_that_mean_nothing) {
  make_teams();
  for (size_t i = 0; i < 4; i++) {
    source_matrix matrix = source_matrix_make(tq_dialect_find("IQ2_BN"), 2400, 512, 600, TQ_PER_ROW, 0, false, 6);
    size_t size, row = 4 + 512 / 4;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    bytes[1801 * row + 9] |= 0x30; /* file row 1801 = 450 * 4 + 1, so row 450 * 4 + 2 */
    bytes[1900 * row + 9] |= 0x30;
    tq_checkpoint *checkpoint = source_of("layers.0.q", &matrix, bytes, size, false);
    outcome result;
    ck_fails(read_all(checkpoint, i < 3 ? teams[i] : NULL, &result, error), TQ_ERROR_CORRUPT,
             "hand: tensor layers.0.q.weight: row 1802 holds what means nothing in IQ2_BN");
    tq_checkpoint_close(checkpoint);
    free(bytes);
    source_matrix_free(&matrix);
  }
  end_teams();
}
END_TEST

START_TEST(unit_scales_are_one) {
  source_matrix matrix = source_matrix_make(tq_dialect_find("TQ1_0"), 2400, 512, 0, TQ_PER_TENSOR, 0, false, 6);
  tq_store_u16(matrix.scales, 0x3c00);
  size_t size;
  uint8_t *bytes = source_matrix_bytes(&matrix, &size);
  tq_form form = {.dialect = matrix.dialect, .has_unit_scales = true, .scale_encoding = TQ_F32};
  tq_store_f32(form.scale, 0.3f);
  for (int dirty = 0; dirty < 2; dirty++) {
    tq_checkpoint *checkpoint = source_checkpoint();
    if (dirty) bytes[size - 2] ^= 1;
    source_add(checkpoint, "layers.0.q", &form, &matrix, source_input(checkpoint, bytes, size, false));
    outcome result;
    if (dirty) {
      ck_fails(read_all(checkpoint, NULL, &result, error), TQ_ERROR_CORRUPT, "scales other than 1");
    } else {
      ck_ok(read_all(checkpoint, NULL, &result, error));
      ck_assert(result.survey.form.has_unit_scales && !result.differs);
      ck_assert_uint_eq(result.survey.scale_encoding, TQ_F32);
      ck_assert_uint_eq(result.table_size, 4);
      ck_assert_float_eq(tq_load_f32(result.table), 0.3f);
      check_codes(&matrix, &result);
      outcome_free(&result);
    }
    tq_checkpoint_close(checkpoint);
  }
  free(bytes);
  source_matrix_free(&matrix);
}
END_TEST

/* ---- inputs ---- */

/* A file that is written to while it is read. */
typedef struct changing {
  uint8_t *bytes;
  unsigned reads;
} changing;

static tq_status read_changing(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  changing *self = context;
  (void)error;
  if (self->reads++ == 1) self->bytes[40] ^= 2; /* a 0 becomes a +2 */
  memcpy(buffer, self->bytes + offset, size);
  return TQ_OK;
}

START_TEST(changes_are_noticed) {
  static const tq_input_operations operations = {read_changing, NULL, NULL};
  source_matrix matrix = source_matrix_make(tq_dialect_find("Q2_0"), 4, 128, 0, TQ_PER_ROW, 0, false, 3);
  memset(matrix.trits, 0, 4 * 128);
  size_t size;
  changing self = {.bytes = source_matrix_bytes(&matrix, &size)};
  tq_checkpoint *checkpoint = source_checkpoint();
  tq_input *input;
  size_t index;
  ck_ok(tq_input_create("moving", size, &operations, &self, &input, error));
  ck_ok(tq_checkpoint_add_input(checkpoint, input, &index, error));
  source_add(checkpoint, "t", &(tq_form){.dialect = matrix.dialect}, &matrix, index);
  outcome result;
  ck_fails(read_all(checkpoint, NULL, &result, error), TQ_ERROR_CORRUPT,
           "moving: tensor t.weight: it changed while it was read");
  tq_checkpoint_close(checkpoint);
  free(self.bytes);
  source_matrix_free(&matrix);
}
END_TEST

/* ---- faults ---- */

static tq_status attempt(const void *context, tq_error *error) {
  tq_checkpoint *checkpoint = *(tq_checkpoint *const *)context;
  outcome result;
  tq_status status = read_all(checkpoint, NULL, &result, error);
  if (!status) outcome_free(&result);
  return status;
}

START_TEST(faults) {
  static const char *const names[] = {"I2_S", "TQ1_0", "F16", "bitlinear"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    source_matrix matrix = source_matrix_make(tq_dialect_find(names[i]), 2304, 256, 0, TQ_PER_TENSOR, 0, false, 3);
    size_t size;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    write_file(temporary_path("faults"), bytes, size);
    tq_checkpoint *checkpoint = source_checkpoint();
    tq_input *input;
    size_t index;
    ck_ok(tq_input_open(temporary_path("faults"), &input, error));
    ck_ok(tq_checkpoint_add_input(checkpoint, input, &index, error));
    tq_form form = {.dialect = matrix.dialect, .scale_encoding = TQ_F32, .scale_direction = TQ_INVERTED};
    memcpy(form.scale, matrix.scales, matrix.encoding == TQ_F32 ? 4 : 2);
    source_add(checkpoint, "t", &form, &matrix, index);
    ck_assert_int_gt(check_every_fault(attempt, &checkpoint), 10);
    if (i == 2) { /* almost, and refused */
      bytes[5000] ^= 1;
      write_file(temporary_path("faults"), bytes, size);
      ck_assert_int_gt(check_every_fault(attempt, &checkpoint), 5);
    }
    tq_checkpoint_close(checkpoint);
    free(bytes);
    source_matrix_free(&matrix);
  }
}
END_TEST

int main(void) {
  int dialects = 0;
  while (tq_dialect_at((size_t)dialects)) dialects++;
  Suite *suite = suite_create("dialect_reader");
  TCase *tests = tcase_create("rows");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, dialects_give_their_rows, 0, dialects);
  tcase_add_loop_test(tests, coarse_scales_are_found, 0, dialects);
  tcase_add_test(tests, dirty_tails_come_back);
  tcase_add_loop_test(tests, minus_zeros_come_back, 0, 3);
  tcase_add_test(tests, scales_over_zeros_come_back);
  tcase_add_test(tests, other_base3_bytes_come_back);
  tcase_add_test(tests, codes_that_mean_nothing);
  tcase_add_test(tests, unit_scales_are_one);
  suite_add_tcase(suite, tests);
  tests = tcase_create("inputs");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, changes_are_noticed);
  tcase_add_test(tests, faults);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
