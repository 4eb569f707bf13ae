#include "tests/ternary_reading.h"

#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdlib.h>
#include <string.h>

const coarse_level levels[TQ_COARSE_LEVELS] = {
    {TQ_PER_TENSOR, 0},  {TQ_PER_ROW, 0},    {TQ_PER_GROUP, 256},
    {TQ_PER_GROUP, 128}, {TQ_PER_GROUP, 64}, {TQ_PER_GROUP, 32},
};

void outcome_free(outcome *result) {
  free(result->codes.bytes);
  tq_free(result->table);
  *result = (outcome){0};
}

uint32_t code_for(const tq_survey *survey) { return survey->has_twos ? TQ_QUATERNARY_2BIT : TQ_TERNARY_BASE3; }

tq_status read_all(tq_checkpoint *checkpoint, tq_team *team, outcome *result, tq_error *error) {
  tq_ternary_reader *reader;
  *result = (outcome){0};
  tq_status status = tq_ternary_reader_create(checkpoint, 0, team, &reader, error);
  if (status) return status;
  status = tq_ternary_survey(reader, &result->survey, error);
  if (!status && result->survey.is_ternary) {
    tq_ternary_output output = {code_for(&result->survey), collect, &result->codes};
    status =
        tq_ternary_read(reader, &result->survey, &output, &result->table, &result->table_size, result->content, error);
    if (!status) status = tq_ternary_prove(reader, &result->survey, result->table, &result->differs, error);
  }
  tq_ternary_reader_destroy(reader);
  if (status) outcome_free(result);
  return status;
}

tq_survey survey_of(tq_checkpoint *checkpoint) {
  tq_ternary_reader *reader;
  tq_survey survey;
  ck_ok(tq_ternary_reader_create(checkpoint, 0, NULL, &reader, error));
  ck_ok(tq_ternary_survey(reader, &survey, error));
  tq_ternary_reader_destroy(reader);
  return survey;
}

/* ---- what is expected ---- */

size_t expected_level(const source_matrix *matrix) {
  for (size_t i = 0; i < TQ_COARSE_LEVELS; i++) {
    uint64_t run = levels[i].granularity == TQ_PER_GROUP ? levels[i].group : matrix->columns;
    bool holds = true, seen = false;
    float scale = 0;
    for (uint64_t r = 0; r < matrix->rows && holds; r++) {
      for (uint64_t c = 0; c < matrix->columns && holds; c++) {
        if (levels[i].granularity != TQ_PER_TENSOR && c % run == 0) seen = false;
        if (!matrix->trits[r * matrix->columns + c]) continue;
        if (!seen) scale = source_matrix_scale(matrix, r, c);
        holds = scale == source_matrix_scale(matrix, r, c);
        seen = true;
      }
    }
    if (holds) return i;
  }
  return TQ_COARSE_LEVELS;
}

void check_codes(const source_matrix *matrix, const outcome *result) {
  uint32_t code = code_for(&result->survey);
  uint64_t row_bytes = tq_trit_row_bytes(code, matrix->columns), counts[4] = {0};
  uint8_t *row = malloc((size_t)row_bytes), *read = malloc((size_t)row_bytes);
  ck_assert_uint_eq(result->codes.size, row_bytes * matrix->rows);
  for (uint64_t r = 0; r < matrix->rows; r++) {
    tq_trits_pack(code, matrix->trits + r * matrix->columns, matrix->columns, row);
    tq_trits_count(matrix->trits + r * matrix->columns, matrix->columns, counts);
    tq_panel_load_row(result->codes.bytes, matrix->rows, r, row_bytes, read);
    if (memcmp(row, read, (size_t)row_bytes) != 0)
      ck_abort_msg("%s: row %llu", matrix->dialect->name, (unsigned long long)r);
  }
  ck_assert_mem_eq(counts, result->survey.counts, sizeof counts);
  free(row), free(read);
}

void check_table(const source_matrix *matrix, const outcome *result) {
  const tq_survey *survey = &result->survey;
  uint64_t count = tq_scale_count(survey->granularity, survey->group, matrix->rows, matrix->columns);
  ck_assert_uint_eq(result->table_size, count * (survey->scale_encoding == TQ_F32 ? 4 : 2));
  for (uint64_t r = 0; r < matrix->rows; r++) {
    for (uint64_t c = 0; c < matrix->columns; c++) {
      if (!matrix->trits[r * matrix->columns + c]) continue;
      uint64_t index = tq_scale_index(survey->granularity, survey->group, matrix->rows, matrix->columns, r, c);
      float scale = tq_scale_load(survey->scale_encoding, survey->scale_direction, result->table, index);
      expect(scale == source_matrix_scale(matrix, r, c));
    }
  }
}

void check_outcome(const source_matrix *matrix, const outcome *result) {
  uint8_t content[16];
  size_t level = expected_level(matrix);
  const tq_survey *survey = &result->survey;
  ck_assert(survey->is_ternary && !survey->is_almost);
  ck_assert_ptr_eq(survey->form.dialect, matrix->dialect);
  ck_assert_uint_eq(survey->scale_encoding, matrix->encoding);
  ck_assert_uint_eq(survey->scale_direction, matrix->direction);
  ck_assert_uint_eq(survey->granularity, levels[level].granularity);
  ck_assert_uint_eq(survey->group, levels[level].group);
  check_codes(matrix, result);
  check_table(matrix, result);
  source_matrix_digest(matrix, content);
  ck_assert_mem_eq(content, result->content, sizeof content);
}
