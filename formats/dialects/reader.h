/* Reading ternary tensors of foreign checkpoints: rows in canonical order, whatever the dialect. */
#ifndef TQ_FORMATS_DIALECTS_READER_H
#define TQ_FORMATS_DIALECTS_READER_H

#include "base/progress.h"
#include "base/team.h"
#include "formats/checkpoint.h"
#include "formats/dialects/scales.h"

/* What reading all of a tensor has shown. */
typedef struct tq_survey {
  bool is_ternary;             /* false: the tensor stays what it is (floats; a packed tensor is always ternary) */
  tq_form form;                /* how it is read: the source's, or that of plain floats */
  uint32_t granularity, group; /* the coarsest that is exact, or the one assumed */
  bool fits_one_scale;         /* one scale for the tensor is exact, whatever is assumed */
  bool has_twos;               /* a +2 was met: the tensor is four-valued */
  uint64_t counts[4];          /* -1, 0, +1, +2: filled by tq_ternary_read */
  uint8_t scale[4];            /* TQ_PER_TENSOR: the scale, in the form's encoding */
  uint32_t scale_encoding, scale_direction;
  float least, most; /* of what trits are multiplied by; only where the scales were read for a digest */
  /* Plain floats that are almost ternary: at most one weight in a thousand is off, and not none, at the granularity
   * that leaves the fewest, the coarsest of those. d is the magnitude that most have of the weights that share it. */
  bool is_almost;
  uint32_t almost_granularity, almost_group;
  uint64_t almost_off; /* weights that are none of -d, 0, +d */
  double
      almost_furthest; /* the largest distance of one to the nearest of them, in units of d; infinite for no number */
} tq_survey;

/* One tensor, being read. Where its input does not seek, its bytes are held in memory as far as they were read: all of
 * them for a ternary tensor, for they are read more than once. Of a checkpoint one tensor is read at a time, by one
 * thread; the team's others work on what it has read. */
typedef struct tq_ternary_reader tq_ternary_reader;
tq_status tq_ternary_reader_create(tq_checkpoint *checkpoint, size_t tensor, tq_team *team, tq_ternary_reader **reader,
                                   tq_error *error);
void tq_ternary_reader_destroy(tq_ternary_reader *reader); /* NULL is allowed */

/* The f32 values of canonical rows [first, first + count) into values[count][columns], of a tensor of any kind: a few
 * rows at a time, for comparing. TQ_ERROR_CORRUPT for numbers that have no f32 value. */
tq_status tq_ternary_reader_values(tq_ternary_reader *reader, uint64_t first, uint64_t count, float *values,
                                   tq_error *error);

/* Reads what is needed to know the form, the granularity and whether there is a +2: nothing where the scale lies
 * outside the units and no code says +2, all of it otherwise. Plain floats in matrices (2 dimensions, 2 rows and 32
 * columns at least) are looked at as checkpoint->assume says: by default they are ternary where that is exact, unless
 * the checkpoint declares latent weights, which are made ternary anew whenever they are used and so stay floats. An
 * assumed granularity is the survey's, even where a coarser one holds; where it does not, TQ_ERROR_REFUSED names the
 * first weight off if the tensor is a linear layer's (tq_role_is_linear), and any other stays floats. A matrix of zeros
 * is ternary with the scale 0. Other tensors of numbers, and blocks, are not read: they are not ternary. A packed
 * tensor with a code that means nothing is TQ_ERROR_CORRUPT, here or when its rows are read. Reading of plain floats
 * stops as soon as they are neither ternary nor almost. */
tq_status tq_ternary_survey(tq_ternary_reader *reader, tq_survey *survey, tq_error *error);

/* Where packed codes go. */
typedef struct tq_ternary_output {
  uint32_t encoding; /* TQ_TERNARY_2BIT, TQ_TERNARY_BASE3 or TQ_QUATERNARY_2BIT */
  tq_sink codes;     /* rows in canonical order; NULL when only scales and digest are wanted */
  void *context;
} tq_ternary_output;

/* Reads a ternary tensor (again), packs its rows, counts its trits into the survey and computes their digest, the
 * values' zeros being +0. *table gets the scale table of survey->granularity in survey->scale_encoding (tq_free;
 * *table_size bytes), `content` the content digest. */
tq_status tq_ternary_read(tq_ternary_reader *reader, tq_survey *survey, const tq_ternary_output *output,
                          uint8_t **table, size_t *table_size, uint8_t content[16], tq_error *error);

/* Encodes what was read back and compares: *differs when the original bytes are not what the trits and scales give.
 * Where no rows share bytes, reading with an output for codes has done that on the way. */
tq_status tq_ternary_prove(tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table, bool *differs,
                           tq_error *error);
/* Writes the PATCH part for a tensor that differs. */
tq_status tq_ternary_patch(tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table, tq_writer *writer,
                           tq_error *error);

#endif
