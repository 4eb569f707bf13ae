/* Plain floats of foreign checkpoints: which are ternary, which almost, and what is assumed of them. */
#include "base/bytes.h"
#include "formats/dialects/reader.h"
#include "tests/source_builder.h"
#include "tests/support.h"
#include "tests/ternary_reading.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what they are ---- */

typedef struct floats {
  source_matrix matrix;
  uint8_t *bytes;
  size_t size, width;
} floats;

static floats floats_make(const char *name, uint64_t rows, uint64_t columns, size_t level) {
  floats made = {.matrix = source_matrix_make(tq_dialect_find(name), rows, columns, 0, levels[level].granularity,
                                              levels[level].group, false, 21)};
  made.bytes = source_matrix_bytes(&made.matrix, &made.size);
  made.width = strcmp(name, "F32") == 0 ? 4 : 2;
  return made;
}

static void floats_free(floats *self) {
  free(self->bytes);
  source_matrix_free(&self->matrix);
}

static float load(const floats *self, uint64_t index) {
  float value;
  ck_assert(tq_numbers_decode(self->matrix.encoding, self->bytes + index * self->width, 1, &value));
  return value;
}

static void store(const floats *self, uint64_t index, float value) {
  uint8_t *at = self->bytes + index * self->width;
  if (self->width == 4)
    tq_store_f32(at, value);
  else
    tq_store_u16(at, self->matrix.encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value));
}

static tq_survey floats_survey(const floats *self, const tq_assume *assume) {
  tq_checkpoint *checkpoint = source_of("layers.0.q", &self->matrix, self->bytes, self->size, false);
  if (assume) checkpoint->assume = *assume;
  tq_survey survey = survey_of(checkpoint);
  tq_checkpoint_close(checkpoint);
  return survey;
}

/* The index of a weight other than 0. */
static uint64_t some_weight(const floats *self, uint64_t from) {
  while (load(self, from) == 0) from++;
  return from;
}

START_TEST(one_weight_off) {
  static const char *const names[] = {"F32", "F16", "BF16"};
  for (size_t level = 0; level < TQ_COARSE_LEVELS; level++) {
    floats self = floats_make(names[_i], 40, 1280, level);
    tq_survey survey = floats_survey(&self, NULL);
    ck_assert(survey.is_ternary && survey.granularity == levels[level].granularity);
    ck_assert_uint_eq(survey.group, levels[level].group);
    uint64_t index = some_weight(&self, 23456);
    float scale = fabsf(load(&self, index));
    store(&self, index, load(&self, index) * 1.5f);
    survey = floats_survey(&self, NULL);
    ck_assert(!survey.is_ternary && survey.is_almost);
    ck_assert_uint_eq(survey.almost_off, 1);
    ck_assert_uint_eq(survey.almost_granularity, levels[level].granularity);
    ck_assert_uint_eq(survey.almost_group, levels[level].group);
    ck_assert_double_eq_tol(survey.almost_furthest, 0.5, 0.01);
    store(&self, index, scale * 0.25f);
    survey = floats_survey(&self, NULL);
    ck_assert(survey.is_almost);
    ck_assert_double_eq_tol(survey.almost_furthest, 0.25, 0.01);
    store(&self, index, NAN);
    survey = floats_survey(&self, NULL);
    ck_assert(!survey.is_ternary && survey.is_almost && isinf(survey.almost_furthest));
    store(&self, index, -INFINITY);
    survey = floats_survey(&self, NULL);
    ck_assert(!survey.is_ternary && survey.is_almost && isinf(survey.almost_furthest));
    floats_free(&self);
  }
}
END_TEST

/* 1000 * 128 weights: 128 may be off and no more, wherever they are. */
START_TEST(almost_has_a_limit) {
  for (unsigned spread = 0; spread < 2; spread++) {
    floats self = floats_make("F16", 1000, 128, 0);
    for (uint64_t i = 0; i < 129; i++) {
      uint64_t index = some_weight(&self, spread ? i * 990 : 64000 + 16 * i);
      store(&self, index, load(&self, index) * -1.25f);
      tq_survey survey = floats_survey(&self, NULL);
      ck_assert(!survey.is_ternary);
      ck_assert_int_eq(survey.is_almost, i < 128);
      if (i < 128) ck_assert_uint_eq(survey.almost_off, i + 1);
    }
    floats_free(&self);
  }
}
END_TEST

/* Of levels with as few off the coarsest is told; where a finer one has fewer, that. */
START_TEST(almost_takes_the_level_with_fewest) {
  floats self = floats_make("F32", 300, 1024, 0);
  for (uint64_t c = 0; c < 64; c++) store(&self, 5120 + c, load(&self, 5120 + c) * 2);
  store(&self, 9000, 0.001f);
  tq_survey survey = floats_survey(&self, NULL);
  ck_assert(survey.is_almost);
  ck_assert_uint_eq(survey.almost_granularity, TQ_PER_GROUP);
  ck_assert_uint_eq(survey.almost_group, 64);
  ck_assert_uint_eq(survey.almost_off, 1);
  floats_free(&self);
}
END_TEST

START_TEST(floats_that_are_nothing) {
  floats self = floats_make("F32", 2000, 600, 1);
  uint64_t state = 1;
  for (uint64_t i = 0; i < 2000 * 600; i++) store(&self, i, random_float(&state));
  tq_survey survey = floats_survey(&self, NULL);
  ck_assert(!survey.is_ternary && !survey.is_almost);
  floats_free(&self);
}
END_TEST

START_TEST(zeros_are_ternary) {
  static const char *const names[] = {"F32", "F16", "BF16"};
  floats self = floats_make(names[_i], 40, 70, 1);
  memset(self.matrix.trits, 0, 40 * 70);
  memset(self.bytes, 0, self.size);
  outcome result;
  tq_checkpoint *checkpoint = source_of("layers.0.q", &self.matrix, self.bytes, self.size, false);
  ck_ok(read_all(checkpoint, NULL, &result, error));
  ck_assert(result.survey.is_ternary && !result.differs);
  ck_assert_uint_eq(result.survey.granularity, TQ_PER_TENSOR);
  ck_assert_float_eq(tq_scale_load(result.survey.scale_encoding, TQ_DIRECT, result.table, 0), 0);
  check_codes(&self.matrix, &result);
  outcome_free(&result);
  tq_checkpoint_close(checkpoint);
  floats_free(&self);
}
END_TEST

/* What is no matrix is not looked at: vectors, more dimensions, one row, rows as short as a group. */
START_TEST(only_matrices_are_looked_at) {
  static const struct {
    uint32_t dimensions;
    uint64_t shape[3];
    bool is_ternary;
  } cases[] = {{1, {6400}, false},    {2, {100, 64}, true}, {3, {10, 10, 64}, false},
               {2, {1, 6400}, false}, {2, {200, 32}, true}, {2, {400, 16}, false}};
  uint8_t zeros[12800] = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tq_checkpoint *checkpoint = source_checkpoint();
    tq_source_tensor tensor = {.encoding = TQ_F16,
                               .dimensions = cases[i].dimensions,
                               .input = source_input(checkpoint, zeros, sizeof zeros, false),
                               .size = sizeof zeros};
    memcpy(tensor.shape, cases[i].shape, sizeof cases[i].shape);
    tensor.name = tq_copy_string("t", 1, NULL);
    tensor.role = tq_copy_string("t", 1, NULL);
    tensor.type_name = tq_copy_string("F16", 3, NULL);
    ck_ok(tq_checkpoint_add_tensor(checkpoint, &tensor, error));
    ck_assert_int_eq(survey_of(checkpoint).is_ternary, cases[i].is_ternary);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* ---- assumed granularities ---- */

START_TEST(assumed_granularities) {
  for (size_t made = 0; made < TQ_COARSE_LEVELS; made++) {
    floats self = floats_make("BF16", 30, 1024, made);
    const tq_assume stays = {.is_given = true, .is_float = true};
    ck_assert(!floats_survey(&self, &stays).is_ternary);
    for (size_t taken = 0; taken < TQ_COARSE_LEVELS; taken++) {
      const tq_assume assume = {
          .is_given = true, .granularity = levels[taken].granularity, .group = levels[taken].group};
      const char *const roles[] = {"layers.0.down", "embedding"};
      for (size_t i = 0; i < 2; i++) {
        tq_checkpoint *checkpoint = source_of(roles[i], &self.matrix, self.bytes, self.size, false);
        checkpoint->assume = assume;
        outcome result;
        if (taken < made && i == 0) {
          ck_fails(read_all(checkpoint, NULL, &result, error), TQ_ERROR_REFUSED, "tensor layers.0.down.weight: row ");
        } else {
          ck_ok(read_all(checkpoint, NULL, &result, error));
          ck_assert_int_eq(result.survey.is_ternary, taken >= made);
          if (taken >= made) {
            uint8_t content[16];
            ck_assert_uint_eq(result.survey.granularity, levels[taken].granularity);
            ck_assert_uint_eq(result.survey.group, levels[taken].group);
            ck_assert(!result.differs);
            check_table(&self.matrix, &result);
            source_matrix_digest(&self.matrix, content);
            ck_assert_mem_eq(content, result.content, sizeof content);
          }
          outcome_free(&result);
        }
        tq_checkpoint_close(checkpoint);
      }
    }
    floats_free(&self);
  }
}
END_TEST

START_TEST(refusals_name_the_place) {
  floats self = floats_make("F32", 700, 1024, 0); /* two bands */
  uint64_t index = some_weight(&self, 600 * 1024 + 77);
  store(&self, index, 0.75f);
  float scale = source_matrix_scale(&self.matrix, 0, 0);
  char place[128];
  snprintf(place, sizeof place, "row 600, column %llu is 0.75 where the scale of its tensor is %.9g",
           (unsigned long long)(index - 600 * 1024), (double)scale);
  tq_checkpoint *checkpoint = source_of("layers.3.gate", &self.matrix, self.bytes, self.size, false);
  checkpoint->assume = (tq_assume){.is_given = true, .granularity = TQ_PER_TENSOR};
  outcome result;
  ck_fails(read_all(checkpoint, NULL, &result, error), TQ_ERROR_REFUSED, place);
  tq_checkpoint_close(checkpoint);
  floats_free(&self);
}
END_TEST

/* ---- inputs that do not seek ---- */

/* Floats from an input that does not seek: what the survey read is not read again, and no more of it is kept. */
START_TEST(floats_are_read_once) {
  floats self = floats_make("F32", 4000, 1024, 0);
  uint64_t state = 1;
  for (uint64_t i = 0; i < 4000 * 1024; i++) store(&self, i, random_float(&state));
  tq_checkpoint *checkpoint = source_of("embedding", &self.matrix, self.bytes, self.size, true);
  tq_ternary_reader *reader;
  tq_survey survey;
  ck_ok(tq_ternary_reader_create(checkpoint, 0, NULL, &reader, error));
  ck_ok(tq_ternary_survey(reader, &survey, error));
  ck_assert(!survey.is_ternary);
  uint64_t held = checkpoint->held.filled;
  ck_assert_uint_gt(held, 0);
  ck_assert_uint_lt(held, self.size);
  uint8_t piece[4096];
  for (uint64_t offset = 0; offset < self.size; offset += sizeof piece) {
    ck_ok(tq_source_tensor_read(checkpoint, 0, offset, sizeof piece, piece, error));
    if (memcmp(piece, self.bytes + offset, sizeof piece) != 0) ck_abort_msg("byte %llu", (unsigned long long)offset);
  }
  ck_assert_uint_eq(checkpoint->held.filled, held);
  tq_ternary_reader_destroy(reader);
  ck_assert_ptr_null(checkpoint->held.bytes);
  tq_checkpoint_close(checkpoint);
  floats_free(&self);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dialect_floats");
  TCase *tests = tcase_create("floats");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, one_weight_off, 0, 3);
  tcase_add_test(tests, almost_has_a_limit);
  tcase_add_test(tests, almost_takes_the_level_with_fewest);
  tcase_add_test(tests, floats_that_are_nothing);
  tcase_add_loop_test(tests, zeros_are_ternary, 0, 3);
  tcase_add_test(tests, only_matrices_are_looked_at);
  tcase_add_test(tests, assumed_granularities);
  tcase_add_test(tests, refusals_name_the_place);
  tcase_add_test(tests, floats_are_read_once);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
