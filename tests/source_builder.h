/* Checkpoints of ternary tensors made by hand, in any dialect, row order and input. */
#ifndef TQ_TESTS_SOURCE_BUILDER_H
#define TQ_TESTS_SOURCE_BUILDER_H

#include "formats/checkpoint.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A tensor as it is meant: rows in canonical order. */
typedef struct source_matrix {
  const tq_dialect *dialect;
  uint64_t rows, columns;
  uint32_t heads;              /* in adjacent-pair order in the file; 0: in order */
  uint32_t granularity, group; /* of the scales; no finer than the dialect's */
  uint32_t encoding, direction;
  int8_t *trits;   /* [rows][columns] */
  uint8_t *scales; /* encoded, as a .tq's table */
  size_t scale_count;
} source_matrix;

/* Random trits (with +2 where `twos`) and scales that differ from one to the next. Scales outside are F32 where the
 * dialect leaves that open. Freed by source_matrix_free. */
source_matrix source_matrix_make(const tq_dialect *dialect, uint64_t rows, uint64_t columns, uint32_t heads,
                                 uint32_t granularity, uint32_t group, bool twos, uint64_t seed);
void source_matrix_free(source_matrix *matrix);
/* The scale of a weight, as it is multiplied. */
float source_matrix_scale(const source_matrix *matrix, uint64_t row, uint64_t column);
/* The row that lies at a place of a unit of the file. */
uint64_t source_matrix_row(const source_matrix *matrix, uint64_t unit, uint64_t place);
/* The file's bytes; freed by free(). */
uint8_t *source_matrix_bytes(const source_matrix *matrix, size_t *size);
/* The digest of its weights, -0 as +0. */
void source_matrix_digest(const source_matrix *matrix, uint8_t content[16]);

/* An empty checkpoint without files, of the format "gguf". */
tq_checkpoint *source_checkpoint(void);
/* Adds an input over a copy of the bytes. With `forwards` it does not seek, and the test fails when a byte is asked for
 * twice. Returns its index. */
size_t source_input(tq_checkpoint *checkpoint, const void *bytes, size_t size, bool forwards);
/* Adds a tensor that fills an input. */
void source_add(tq_checkpoint *checkpoint, const char *role, const tq_form *form, const source_matrix *matrix,
                size_t input);
/* All of that: a checkpoint of one tensor. The form's outer scale is the matrix's. */
tq_checkpoint *source_of(const char *role, const source_matrix *matrix, const void *bytes, size_t size, bool forwards);

#endif
