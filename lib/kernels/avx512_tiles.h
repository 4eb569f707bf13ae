/* Products of a few panels of unpacked codes with a few vectors, whose sums stay in registers. For avx512.c alone. */
#ifndef TQ_KERNELS_AVX512_TILES_H
#define TQ_KERNELS_AVX512_TILES_H

#include "kernels/avx512_codes.h"

enum { PANELS = 4, VECTORS = 6 };

typedef struct integer_tile {
  const uint8_t *lines; /* [columns / 4, up to a span][PANELS]: unpacked codes */
  size_t spans, run;    /* of a row, of a run */
  size_t runs;
  const float *scales;        /* [runs][PANELS][16] */
  const int8_t *codes;        /* [vector][stride] */
  const int32_t *corrections; /* [vector][runs]: sums of the activations, less than 0 */
  const float *steps;         /* [vector][step_count] */
  size_t stride, step_count;
  float *outputs; /* [vector][rows] */
  uint64_t rows;
  __mmask16 masks[PANELS]; /* rows that each panel has */
} integer_tile;

/* How a run is added to the total. Where scales and steps are no larger than ORDINARY, a sum of 0 needs no care. */
typedef enum adding {
  CAREFUL,
  PLAIN,
  UNIFORM, /* plain, and the steps are multiplied by the one scale already */
  WHOLE    /* carefully, all of a row */
} adding;

#define ORDINARY 0x1p60f

/* Adds a run to the total: float(sum) * (scale * step), where the scale of a sum of 0 is taken for 0. */
INLINE __m512 add_run(adding how, __m512 total, row_sums sums, __m512 scales, __m512 steps) {
  if (how == CAREFUL) scales = _mm512_maskz_mov_ps(_mm512_test_epi32_mask((__m512i)sums, (__m512i)sums), scales);
  if (how != UNIFORM) steps = _mm512_mul_ps(scales, steps);
  return _mm512_add_ps(total, _mm512_mul_ps(_mm512_cvtepi32_ps((__m512i)sums), steps));
}

/* Registers take indices that are constants from the start: a vector's numbers, one of 16 rows for each of 1, 2 or 4
 * panels, are gone through by functions, the vectors by macros. */
typedef struct column_digits {
  __m512i panel[PANELS];
} column_digits;

typedef struct column_sums {
  row_sums panel[PANELS];
} column_sums;

typedef struct column_totals {
  __m512 panel[PANELS];
} column_totals;

INLINE void start_sums(size_t panels, column_sums *sums, int32_t correction) {
  sums->panel[0] = (row_sums)_mm512_set1_epi32(correction);
  if (panels > 1) sums->panel[1] = sums->panel[0];
  if (panels > 2) sums->panel[2] = sums->panel[3] = sums->panel[0];
}

INLINE void load_digits(size_t panels, column_digits *digits, const uint8_t *lines) {
  digits->panel[0] = _mm512_load_si512(lines);
  if (panels > 1) digits->panel[1] = _mm512_load_si512(lines + LINE);
  if (panels > 2) digits->panel[2] = _mm512_load_si512(lines + 2 * LINE);
  if (panels > 2) digits->panel[3] = _mm512_load_si512(lines + 3 * LINE);
}

INLINE void add_digits(size_t panels, column_sums *sums, const column_digits *digits, const int8_t *codes) {
  __m512i piece = broadcast_piece(codes);
  sums->panel[0] = add_products(sums->panel[0], digits->panel[0], piece);
  if (panels > 1) sums->panel[1] = add_products(sums->panel[1], digits->panel[1], piece);
  if (panels > 2) sums->panel[2] = add_products(sums->panel[2], digits->panel[2], piece);
  if (panels > 2) sums->panel[3] = add_products(sums->panel[3], digits->panel[3], piece);
}

INLINE void start_totals(size_t panels, column_totals *totals) {
  totals->panel[0] = _mm512_setzero_ps();
  if (panels > 1) totals->panel[1] = _mm512_setzero_ps();
  if (panels > 2) totals->panel[2] = totals->panel[3] = _mm512_setzero_ps();
}

INLINE void add_panel(adding how, __m512 *total, row_sums sums, const float *scales, __m512 steps) {
  *total = add_run(how, *total, sums, _mm512_load_ps(scales), steps);
}

INLINE void add_sums(adding how, size_t panels, column_totals *totals, const column_sums *sums, const float *scales,
                     float step) {
  __m512 steps = _mm512_set1_ps(step);
  add_panel(how, &totals->panel[0], sums->panel[0], scales, steps);
  if (panels > 1) add_panel(how, &totals->panel[1], sums->panel[1], scales + TQ_PANEL_ROWS, steps);
  if (panels > 2) add_panel(how, &totals->panel[2], sums->panel[2], scales + 2 * TQ_PANEL_ROWS, steps);
  if (panels > 2) add_panel(how, &totals->panel[3], sums->panel[3], scales + 3 * TQ_PANEL_ROWS, steps);
}

INLINE void store_totals(size_t panels, const column_totals *totals, const __mmask16 *masks, float *outputs) {
  _mm512_mask_storeu_ps(outputs, masks[0], totals->panel[0]);
  if (panels > 1) _mm512_mask_storeu_ps(outputs + TQ_PANEL_ROWS, masks[1], totals->panel[1]);
  if (panels > 2) _mm512_mask_storeu_ps(outputs + 2 * TQ_PANEL_ROWS, masks[2], totals->panel[2]);
  if (panels > 2) _mm512_mask_storeu_ps(outputs + 3 * TQ_PANEL_ROWS, masks[3], totals->panel[3]);
}

#define EACH_VECTOR(action) action(0) action(1) action(2) action(3) action(4) action(5)
#define START_SUMS(t)                                                                                                  \
  if (t < vectors) start_sums(panels, &sums[t], of->corrections[t * of->runs + r]);
#define ADD_DIGITS(t)                                                                                                  \
  if (t < vectors) add_digits(panels, &sums[t], &digits, codes + t * of->stride + q * TQ_PIECE);
#define START_TOTALS(t)                                                                                                \
  if (t < vectors) start_totals(panels, &totals[t]);
#define ADD_SUMS(t)                                                                                                    \
  if (t < vectors) add_sums(how, panels, &totals[t], &sums[t], scales, steps[t * of->step_count]);
#define STORE_TOTALS(t)                                                                                                \
  if (t < vectors) store_totals(panels, &totals[t], of->masks, of->outputs + t * of->rows);

/* Adds run r. */
INLINE void multiply_run(adding how, size_t panels, size_t vectors, const integer_tile *of, size_t r,
                         column_totals *totals) {
  column_sums sums[VECTORS];
  size_t first = r * of->run, left = of->spans - first, count = left < of->run ? left : of->run;
  const int8_t *codes = of->codes + first * TQ_SPAN;
  const uint8_t *lines = of->lines + first * BLOCK_LINES * PANELS * LINE;
  EACH_VECTOR(START_SUMS)
  for (; count; count--, codes += TQ_SPAN, lines += BLOCK_LINES * PANELS * LINE) {
    UNROLL
    for (size_t q = 0; q < BLOCK_LINES; q++) {
      column_digits digits;
      load_digits(panels, &digits, lines + q * PANELS * LINE);
      EACH_VECTOR(ADD_DIGITS)
    }
  }
  const float *scales = of->scales + r * PANELS * TQ_PANEL_ROWS, *steps = of->steps + (of->step_count > 1 ? r : 0);
  EACH_VECTOR(ADD_SUMS)
}

INLINE void multiply_runs(adding how, size_t panels, size_t vectors, const integer_tile *of) {
  column_totals totals[VECTORS];
  EACH_VECTOR(START_TOTALS)
  for (size_t r = 0; r < of->runs; r++) multiply_run(how, panels, vectors, of, r, totals);
  EACH_VECTOR(STORE_TOTALS)
}

/* A row that is a single run: the totals need no registers beside the sums. */
INLINE void multiply_whole(size_t panels, size_t vectors, const integer_tile *of) {
  column_totals totals[VECTORS];
  EACH_VECTOR(START_TOTALS)
  multiply_run(CAREFUL, panels, vectors, of, 0, totals);
  EACH_VECTOR(STORE_TOTALS)
}

/* ---- a function for every number of vectors ---- */

typedef void multiplier(const integer_tile *of);

#define SINGLE_RUN(vectors)                                                                                            \
  static void whole_##vectors(const integer_tile *of) { multiply_whole(4, vectors, of); }
#define RUNS(vectors)                                                                                                  \
  static void careful_##vectors(const integer_tile *of) { multiply_runs(CAREFUL, 1, vectors, of); }                    \
  static void plain_##vectors(const integer_tile *of) { multiply_runs(PLAIN, 2, vectors, of); }                        \
  static void uniform_##vectors(const integer_tile *of) { multiply_runs(UNIFORM, 2, vectors, of); }
#define FUNCTIONS(vectors) SINGLE_RUN(vectors) RUNS(vectors)
FUNCTIONS(1)
FUNCTIONS(2)
FUNCTIONS(3)
FUNCTIONS(4)
FUNCTIONS(5)
FUNCTIONS(6)

#define ALL(kind)                                                                                                      \
  { kind##_1, kind##_2, kind##_3, kind##_4, kind##_5, kind##_6 }
static multiplier *const multipliers[][VECTORS] = {
    [CAREFUL] = ALL(careful), [PLAIN] = ALL(plain), [UNIFORM] = ALL(uniform), [WHOLE] = ALL(whole)};

/* All panels of a tile; `how` is what its scales and steps allow. Where a panel is missing its mask is empty, and what
 * is multiplied there does not matter. */
static void multiply_tile(adding how, size_t panels, size_t vectors, integer_tile of) {
  if (of.runs == 1 && panels > 2) how = WHOLE;
  size_t some = how == CAREFUL ? 1 : how == WHOLE ? PANELS : 2;
  for (size_t p = 0; p < panels; p += some) {
    multipliers[how][vectors - 1](&of);
    of.lines += some * LINE;
    of.scales += some * TQ_PANEL_ROWS;
    of.outputs += some * TQ_PANEL_ROWS;
    memmove(of.masks, of.masks + some, (PANELS - some) * sizeof *of.masks);
  }
}

#endif
