/* Scale tables across dialects: whether the scales that a tensor has can be said in another granularity, type and
 * direction, and which granularity is the coarsest that says them exactly. */
#ifndef TQ_FORMATS_DIALECTS_SCALES_H
#define TQ_FORMATS_DIALECTS_SCALES_H

#include "formats/dialects/dialect.h"
#include "tq/container.h"

/* A table as a .tq file's SCALES part holds it. */
typedef struct tq_scale_table {
  uint64_t rows; /* of the tensor */
  uint32_t granularity, group, encoding, direction;
  const uint8_t *data;
} tq_scale_table;

/* The table of a tensor with codes; false when it has none. */
bool tq_scale_table_of(const tq_tensor *tensor, tq_scale_table *table);

/* What cannot be said, for a message. */
typedef struct tq_scale_problem {
  uint64_t row, column; /* where */
  char reason[160];     /* "its scale 0.0123 is not exact in F16", "scales 1 and 2 meet in one group of 256" */
} tq_scale_problem;

/* Row `row`'s scales for a dialect that keeps them inside, [tq_dialect_row_scales] numbers of its scale_encoding. Where
 * several scales of the table meet in one group, only those with a trit other than 0 under them count; a group of zeros
 * takes the first of them, or 0 where that cannot be said. Scales are the same when their f32 values are, -0 being 0.
 * Bits are copied where type and direction agree; plain floats take finite scales only. False, with the problem, where
 * the weights would change. `trits` may be NULL: then the scales alone must decide, and false says that they do not. */
bool tq_scales_for_row(const tq_scale_table *table, const tq_dialect *dialect, uint64_t row, uint64_t columns,
                       const int8_t *trits, uint8_t *scales, tq_scale_problem *problem);
/* The one scale of `encoding` (F32, F16, BF16) and `direction` that says a tensor's table: *fits where all of its
 * scales but those over zeros are the same and that one can be said, with the rules of tq_scales_for_row; *problem
 * where not. `scale` is zeros behind its two or four bytes. The codes are read only where the table's scales differ, or
 * where what they all say cannot be said. */
tq_status tq_scales_as_one(const tq_file *file, size_t tensor, uint32_t encoding, uint32_t direction, uint8_t scale[4],
                           tq_scale_problem *problem, bool *fits, tq_error *error);
/* The same for the scale of a form that lies in a tensor of its own, of the encoding and direction that the form says:
 * finite for llama.cpp's `.scale`, tq_is_weight_scale for all others. Over zeros a scale that is neither becomes 0
 * or 1.
 */
tq_status tq_scales_as_outer(const tq_file *file, size_t tensor, const tq_form *form, uint8_t scale[4],
                             tq_scale_problem *problem, bool *fits, tq_error *error);
/* True for what a `weight_scale` may hold: which way it is meant is not always known when it is read, so it must be a
 * finite number both ways. */
bool tq_is_weight_scale(uint32_t encoding, const uint8_t *scale);
/* True when the scales inside a decoded row, those over zeros aside, are all exactly 1, so that a scale outside may
 * count instead. */
bool tq_scales_are_ones(const tq_dialect *dialect, uint64_t columns, const int8_t *trits, const uint8_t *scales);

/* ---- the coarsest granularity ---- */

enum { TQ_COARSE_LEVELS = 6 }; /* tensor, row, groups of 256, 128, 64, 32 */

/* Rows are added in any order, by one thread each; parts are merged. A level holds while all scales over trits other
 * than 0 that it would make one are the same bits. */
typedef struct tq_coarsening {
  uint32_t fine_granularity, fine_group, scale_bytes;
  bool holds[TQ_COARSE_LEVELS];
  bool has_scale;   /* a scale over a trit other than 0 was seen */
  uint8_t scale[4]; /* the first such */
} tq_coarsening;

void tq_coarsening_begin(tq_coarsening *coarsening, const tq_dialect *dialect);
/* One row's scales as the dialect's decode gives them. */
void tq_coarsening_row(tq_coarsening *coarsening, uint64_t columns, const int8_t *trits, const uint8_t *scales);
void tq_coarsening_merge(tq_coarsening *into, const tq_coarsening *from);
/* The coarsest level that holds; a level that is no coarser than the dialect's own always does. */
void tq_coarsening_result(const tq_coarsening *coarsening, uint32_t *granularity, uint32_t *group);
/* One row's scales at the level chosen, written to their places in a tensor's `table` (TQ_PER_TENSOR: nothing is
 * written; the caller has coarsening->scale). Groups of zeros take the first scale that lies in them. */
void tq_coarse_row(const tq_dialect *dialect, uint32_t granularity, uint32_t group, uint64_t rows, uint64_t row,
                   uint64_t columns, const int8_t *trits, const uint8_t *scales, uint8_t *table);

#endif
