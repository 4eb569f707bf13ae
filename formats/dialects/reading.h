/* What the parts of the reader share: where the rows of a tensor lie in its bytes, and passes over it. */
#ifndef TQ_FORMATS_DIALECTS_READING_H
#define TQ_FORMATS_DIALECTS_READING_H

#include "formats/dialects/reader.h"

#include <stdatomic.h>

/* Rows are counted in three ways: canonical (the .tq file's order), file (the order of the file's own rows), and as
 * place in a unit. */
struct tq_ternary_reader {
  tq_checkpoint *checkpoint;
  size_t index;
  const tq_source_tensor *tensor;
  tq_team *team; /* may be NULL */
  tq_form form;  /* dialect NULL: what the tensor holds is not looked at */
  uint64_t rows, columns;
  uint64_t unit_rows, unit_bytes, unit_count;
  uint64_t row_scales; /* inside the units, per row */
  size_t scale_bytes;  /* of one of these */
  uint64_t head_rows;  /* of a head in adjacent-pair order; 0: the file's order is canonical */
  bool is_proven;      /* reading has compared everything but the tail: whether it differs is known */
  bool differs;
};

const char *tq_reader_file(const tq_ternary_reader *reader);
/* The canonical row that lies at a place of a unit. */
uint64_t tq_reader_row_at(const tq_ternary_reader *reader, uint64_t unit, uint64_t place);
/* True when the scales inside the units are those of the tensor. */
bool tq_reader_scales_inside(const tq_ternary_reader *reader);
/* The bytes behind the units, at most dialect->tail_bytes. */
tq_status tq_reader_tail(tq_ternary_reader *reader, uint8_t *tail, tq_error *error);

/* ---- passes: reading, work on what was read, and use of what the work has made, each on another band at one time ----
 */

/* A stretch of the tensor that is held at once. */
typedef struct tq_band {
  uint64_t first, count; /* its items: units, or canonical rows */
  uint64_t unit, units;  /* the units that were read */
  uint8_t *raw;          /* their bytes */
  uint8_t *made;         /* pass->made_bytes per item */
  atomic_ullong bad;     /* the smallest canonical row that could not be decoded, ULLONG_MAX when all could */
  atomic_ullong found;   /* whatever the work counts */
} tq_band;

typedef struct tq_pass {
  tq_ternary_reader *reader;
  bool by_rows;         /* items are canonical rows in their order; otherwise units in the order of the file */
  size_t made_bytes;    /* per item */
  size_t scratch_bytes; /* per member of the team */
  /* On one item (counted from band->first) of a band; called by several threads, and NULL when there is nothing to do.
   * `scratch` is aligned to 64 bytes, as band->made is. */
  void (*work)(void *context, tq_band *band, uint64_t item, uint8_t *scratch, unsigned member);
  /* On each band when its work is done, by the calling thread, in order. *stop ends the pass. */
  tq_status (*finish)(void *context, tq_band *band, bool *stop, tq_error *error);
  void *context;
} tq_pass;

tq_status tq_pass_run(const tq_pass *pass, tq_error *error);
/* The most items of a band. */
uint64_t tq_reader_band_items(const tq_ternary_reader *reader, bool by_rows);
/* How many members a team has, of which some may not work. */
unsigned tq_reader_members(const tq_ternary_reader *reader);

/* Decodes one row, which the caller may look for in band->bad when it cannot be. `unit` is counted in the tensor. */
bool tq_band_decode(const tq_ternary_reader *reader, tq_band *band, uint64_t unit, uint64_t place, int8_t *trits,
                    uint8_t *scales);
/* TQ_ERROR_CORRUPT when a row of the band could not be decoded. */
tq_status tq_band_check(const tq_ternary_reader *reader, const tq_band *band, tq_error *error);
/* The unit of a canonical row and its place there. */
void tq_reader_place(const tq_ternary_reader *reader, uint64_t row, uint64_t *unit, uint64_t *place);

/* `size` rounded up so that what follows is aligned. */
size_t tq_aligned_size(uint64_t size);

/* ---- encoding what was decoded (prove.c) ---- */

/* Encodes the scales of a decoded row as the table says them. False where it cannot, although they were taken from
 * there. */
bool tq_reader_encode_scales(const tq_ternary_reader *reader, const tq_scale_table *table, uint64_t row,
                             const int8_t *trits, uint8_t *scales);

/* ---- floats that are not quite ternary (almost.c) ---- */

enum { TQ_ALMOST_SHARE = 1000 }; /* one weight in so many may be off */

/* At least how many of a row's numbers are off, whatever the granularity. */
uint64_t tq_almost_row(uint32_t encoding, const uint8_t *row, uint64_t columns);
/* Fills is_almost and what tells of it. */
tq_status tq_almost_survey(tq_ternary_reader *reader, tq_survey *survey, tq_error *error);
/* TQ_ERROR_REFUSED, naming the first weight that is not -d, 0 or +d at the granularity that is assumed. */
tq_status tq_almost_refuse(tq_ternary_reader *reader, tq_error *error);

#endif
