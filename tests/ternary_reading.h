/* Reading the only tensor of a checkpoint, and comparing what comes of it with what was meant. */
#ifndef TQ_TESTS_TERNARY_READING_H
#define TQ_TESTS_TERNARY_READING_H

#include "formats/dialects/reader.h"
#include "tests/source_builder.h"
#include "tests/ternary_files.h"

typedef struct coarse_level {
  uint32_t granularity, group;
} coarse_level;

/* From the coarsest on. */
extern const coarse_level levels[TQ_COARSE_LEVELS];

/* What reading gives. */
typedef struct outcome {
  tq_survey survey;
  collected codes;
  uint8_t *table;
  size_t table_size;
  uint8_t content[16];
  bool differs;
} outcome;

void outcome_free(outcome *result);

/* The survey alone. */
tq_survey survey_of(tq_checkpoint *checkpoint);
/* Survey, rows and proof. Nothing is left in the outcome when that fails. */
tq_status read_all(tq_checkpoint *checkpoint, tq_team *team, outcome *result, tq_error *error);
/* The encoding of the codes that read_all gives. */
uint32_t code_for(const tq_survey *survey);

/* The coarsest level no finer than the matrix was made with, by comparing every two weights' scales. */
size_t expected_level(const source_matrix *matrix);

/* Each fails the test unless the outcome is the matrix's. */
void check_codes(const source_matrix *matrix, const outcome *result);
/* Each weight's scale in the table is its own; those of zeros do not matter. */
void check_table(const source_matrix *matrix, const outcome *result);
/* All of it, with the dialect, the scales' form and the digest of the content. */
void check_outcome(const source_matrix *matrix, const outcome *result);

#endif
