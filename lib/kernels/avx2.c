/* AVX2 alone: 8 rows to a register, products of bytes summed in pairs in 16 bits, and these widened to 32 bits before
 * they could overflow. */
#if defined(__x86_64__)
#include "kernels/avx2_lanes.h"
#include "kernels/floats.h"
#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

/* UNROLL stands before loops over arrays that are to stay in registers. UNROLL_2: gcc would put the sums of more than
 * two rounds into another order, for which there are too few registers. */
#if defined(__clang__)
#pragma clang diagnostic ignored "-Wpass-failed" /* a sanitizer may keep a loop as it is */
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_2 _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_2 _Pragma("GCC unroll 2")
#endif

enum {
  LINE = TQ_PANEL_ROWS * TQ_PIECE, /* bytes: a piece of each row of a panel */
  HALF = LINE / 2,                 /* what a register holds of it */
  SPAN_LINES = TQ_SPAN / TQ_PIECE, /* of a span */
  SUM_SPANS = 4,                   /* whose sums of pairs of products fit 16 bits; of a block in base 3, 5 do */
  PLACES = 5,                      /* weights of a byte, at most */
  VECTORS = 6                      /* that meet a line at once: with their sums they fill the registers */
};

/* Not every compiler knows F16C by name; the first condition says that the system keeps the registers. */
static bool available(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

SPECIALIZED __m256i load(const void *from) { return _mm256_loadu_si256(from); }

/* ---- activations ---- */

/* 32 floats, or as many as there are and then zeros. */
SPECIALIZED void load_span(const float *x, size_t count, __m256 span[4]) {
  if (count < TQ_SPAN) {
    memset(span, 0, 4 * sizeof *span);
    memcpy(span, x, count * sizeof *x);
    return;
  }
  UNROLL
  for (size_t i = 0; i < 4; i++) span[i] = _mm256_loadu_ps(x + 8 * i);
}

/* Bits order magnitudes as numbers do, with infinity and NaN above all. */
static uint32_t largest_magnitude(const float *x, size_t count) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  for (size_t i = 0; i < count; i += TQ_SPAN) {
    __m256 span[4];
    load_span(x + i, count - i, span);
    UNROLL
    for (size_t k = 0; k < 4; k++)
      largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(span[k]), magnitude));
  }
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
  four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static void quantize_span(const float *x, size_t count, __m256 reciprocal, int8_t *codes) {
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  __m256 span[4];
  __m256i whole[4];
  load_span(x, count, span);
  UNROLL
  for (size_t k = 0; k < 4; k++) whole[k] = _mm256_cvtps_epi32(_mm256_mul_ps(span[k], reciprocal));
  __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(whole[0], whole[1]), _mm256_packs_epi32(whole[2], whole[3]));
  _mm256_storeu_si256((__m256i *)codes, _mm256_permutevar8x32_epi32(bytes, order));
}

/* Writes whole spans of codes. */
static void quantize_block(const float *x, size_t count, int8_t *codes, float *step) {
  uint32_t bits = largest_magnitude(x, count);
  float largest;
  memcpy(&largest, &bits, sizeof largest);
  bool finite = isfinite(largest);
  if (largest < 1e-5f) largest = 1e-5f;
  *step = finite ? largest / 127.0f : NAN;
  if (!finite) {
    memset(codes, 0, (count + TQ_SPAN - 1) / TQ_SPAN * TQ_SPAN);
    return;
  }
  __m256 reciprocal = _mm256_set1_ps(127.0f / largest);
  for (size_t i = 0; i < count; i += TQ_SPAN) quantize_span(x + i, count - i, reciprocal, codes + i);
}

static int32_t sum_span(const int8_t *codes) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i eight = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), load(codes)), ones);
  __m128i four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static void quantize(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums) {
  size_t length = block ? block : count;
  for (size_t begin = 0; begin < count; begin += length)
    quantize_block(x + begin, count - begin < length ? count - begin : length, codes + begin, &steps[begin / length]);
  memset(codes + count, 0, tq_code_stride(count) - count);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN) sums[begin / TQ_SPAN] = sum_span(codes + begin);
}

/* ---- codes ---- */

SPECIALIZED size_t place_count(bool base3) { return base3 ? 5 : 4; }

SPECIALIZED void split_2bit(__m256i bytes, __m256i *places) {
  const __m256i low = _mm256_set1_epi8(3);
  places[0] = _mm256_and_si256(bytes, low);
  places[1] = _mm256_and_si256(_mm256_srli_epi16(bytes, 2), low);
  places[2] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low);
  places[3] = _mm256_and_si256(_mm256_srli_epi16(bytes, 6), low);
}

/* The upper bytes of both: those of `even` go to the even places. */
SPECIALIZED __m256i upper_bytes(__m256i even, __m256i odd) {
  return _mm256_blendv_epi8(_mm256_srli_epi16(even, 8), odd, _mm256_set1_epi16(-256));
}

/* Nine times a byte has two digits above and what is left below, from which two more come in the same way, and then
 * the last. Even and odd bytes, as products of 16 bits, go apart. */
SPECIALIZED void split_base3(__m256i bytes, __m256i *places) {
  const __m256i nine_even = _mm256_set1_epi16(9), nine_odd = _mm256_set1_epi16(9 << 8), three = _mm256_set1_epi16(3);
  const __m256i first = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0));
  const __m256i second = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0));
  __m256i even = _mm256_maddubs_epi16(bytes, nine_even), odd = _mm256_maddubs_epi16(bytes, nine_odd);
  __m256i pair = upper_bytes(even, odd);
  places[0] = _mm256_shuffle_epi8(first, pair);
  places[1] = _mm256_shuffle_epi8(second, pair);
  even = _mm256_maddubs_epi16(even, nine_even);
  odd = _mm256_maddubs_epi16(odd, nine_even);
  pair = upper_bytes(even, odd);
  places[2] = _mm256_shuffle_epi8(first, pair);
  places[3] = _mm256_shuffle_epi8(second, pair);
  places[4] = upper_bytes(_mm256_maddubs_epi16(even, three), _mm256_maddubs_epi16(odd, three));
}

/* The codes in each place of 32 bytes. */
SPECIALIZED void split(bool base3, __m256i bytes, __m256i *places) {
  if (base3)
    split_base3(bytes, places);
  else
    split_2bit(bytes, places);
}

/* ---- products ---- */

/* Sums of pairs of products. As a type of their own they stay in registers: gcc copies sums that are 64-bit numbers to
 * all but the additions. */
typedef uint16_t pairs __attribute__((vector_size(32)));

/* What all panels of a product share. */
typedef struct product {
  const tq_matrix *matrix;
  const tq_codes *inputs;
  size_t columns, spans; /* the last span may be shorter */
  size_t run;            /* spans that share scale and step */
  size_t runs_per_scale, scale_count;
  size_t code_stride, step_stride;
  bool tame_steps, tame; /* no product of a scale and a step overflows */
  uint8_t *lines;        /* scratch memory: codes, unpacked, [columns / 4][16][4] */
  uint8_t *padded;       /* a panel that has fewer rows, filled up */
  float *scales;         /* [scale][16] of a panel */
} product;

SPECIALIZED pairs multiply_quad(__m256i places, __m256i quad) { return (pairs)_mm256_maddubs_epi16(places, quad); }

SPECIALIZED __m256i quad_at(const int8_t *codes) {
  int32_t four;
  memcpy(&four, codes, sizeof four);
  return _mm256_set1_epi32(four);
}

/* What the sums of a row begin with: codes being trit + 1, the sum of the activations, of SUM_SPANS spans at most, is
 * taken away beforehand. On the way sums may go round 16 bits; at the end they fit. */
SPECIALIZED pairs begin_sums(int32_t activations) {
  return (pairs)_mm256_sign_epi16(_mm256_set1_epi32(activations), _mm256_set1_epi32(UINT16_MAX));
}

SPECIALIZED __m256i widen(pairs sums) { return _mm256_madd_epi16((__m256i)sums, _mm256_set1_epi16(1)); }

/* Adds the sums of a run to the totals of 8 rows; `tame`: that the product of scale and step is a number is known. */
SPECIALIZED __m256 add_run(__m256 totals, __m256i sums, __m256 scales, __m256 step, bool tame) {
  __m256 none = _mm256_castsi256_ps(_mm256_cmpeq_epi32(sums, _mm256_setzero_si256()));
  __m256 factor = _mm256_mul_ps(tame ? scales : _mm256_andnot_ps(none, scales), step);
  return _mm256_add_ps(totals, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), factor));
}

/* Adds the products of a span of unpacked codes with one or more vectors. */
SPECIALIZED void multiply_span(const uint8_t *lines, const int8_t *codes, size_t stride, size_t vectors,
                               pairs sums[][2]) {
  UNROLL_2
  for (size_t i = 0; i < SPAN_LINES; i++) {
    __m256i low = load(lines + i * LINE), high = load(lines + i * LINE + HALF);
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
      __m256i quad = quad_at(codes + v * stride + i * TQ_PIECE);
      sums[v][0] += multiply_quad(low, quad);
      sums[v][1] += multiply_quad(high, quad);
    }
  }
}

/* Puts lines of packed bytes into columns: the codes in place k begin `count` lines behind those in place k - 1. */
SPECIALIZED void unpack_lines(bool base3, const uint8_t *bytes, size_t count, uint8_t *lines) {
  for (size_t i = 0; i < 2 * count; i++) {
    __m256i places[PLACES];
    split(base3, load(bytes + i * HALF), places);
    UNROLL
    for (size_t k = 0; k < place_count(base3); k++)
      _mm256_storeu_si256((__m256i *)(lines + k * count * LINE + i * HALF), places[k]);
  }
}

/* Unpacks what is left of a row behind its whole blocks, and fills the last span up. */
SPECIALIZED void unpack_tail(bool base3, const product *p, size_t blocks, const uint8_t *bytes, uint8_t *lines) {
  size_t count = (size_t)p->matrix->row_bytes / TQ_PIECE - blocks * SPAN_LINES, filled = count * place_count(base3);
  unpack_lines(base3, bytes, count, lines);
  memset(lines + filled * LINE, 0, (SPAN_LINES - 1) * LINE);
}

/* ---- one vector: straight from the packed bytes ---- */

/* Where the product of a panel with a vector has got to. */
typedef struct progress {
  __m256 totals[2];
  __m256i sums[2];              /* of the open run */
  size_t span, run, left, uses; /* next span; open run, and the spans it still wants; runs left of the scales */
  const float *scales;
} progress;

/* Adds the sums of `count` spans, in which no run ends but at the end. */
SPECIALIZED void add_spans(const product *p, progress *at, size_t count, pairs low, pairs high) {
  at->sums[0] = _mm256_add_epi32(at->sums[0], widen(low));
  at->sums[1] = _mm256_add_epi32(at->sums[1], widen(high));
  at->span += count;
  at->left -= count;
  if (at->left > 0 && at->span < p->spans) return;
  __m256 step = _mm256_set1_ps(p->inputs->steps[p->inputs->block ? at->run : 0]);
  for (size_t h = 0; h < 2; h++) {
    at->totals[h] = add_run(at->totals[h], at->sums[h], _mm256_loadu_ps(at->scales + 8 * h), step, false);
    at->sums[h] = _mm256_setzero_si256();
  }
  at->run++;
  at->left = p->run;
  if (--at->uses > 0) return;
  at->scales += TQ_PANEL_ROWS;
  at->uses = p->runs_per_scale;
}

/* 8 rows of a whole block: the sums of each of its places. */
SPECIALIZED void multiply_block(bool base3, const uint8_t *bytes, const int8_t *codes, const int32_t *activations,
                                pairs *block) {
  pairs sums[PLACES];
  UNROLL
  for (size_t k = 0; k < place_count(base3); k++) sums[k] = begin_sums(activations[k]);
  UNROLL_2
  for (size_t i = 0; i < SPAN_LINES; i++) {
    __m256i places[PLACES];
    split(base3, load(bytes + i * LINE), places);
    UNROLL
    for (size_t k = 0; k < place_count(base3); k++)
      sums[k] += multiply_quad(places[k], quad_at(codes + k * TQ_SPAN + i * TQ_PIECE));
  }
  UNROLL
  for (size_t k = 0; k < place_count(base3); k++) block[k] = sums[k];
}

SPECIALIZED void multiply_packed(bool base3, const product *p, const uint8_t *bytes, __m256 totals[2]) {
  size_t per_block = place_count(base3) * TQ_SPAN, blocks = p->columns / per_block;
  const int8_t *codes = p->inputs->codes;
  const int32_t *activations = p->inputs->sums;
  progress at = {.left = p->run, .uses = p->runs_per_scale, .scales = p->scales};
  for (size_t b = 0; b < blocks; b++, bytes += SPAN_LINES * LINE) {
    pairs sums[2][PLACES];
    UNROLL
    for (size_t h = 0; h < 2; h++)
      multiply_block(base3, bytes + h * HALF, codes + at.span * TQ_SPAN, activations + at.span, sums[h]);
    if (at.left >= place_count(base3)) {
      UNROLL
      for (size_t k = 1; k < place_count(base3); k++) sums[0][0] += sums[0][k], sums[1][0] += sums[1][k];
      add_spans(p, &at, place_count(base3), sums[0][0], sums[1][0]);
    } else {
      for (size_t k = 0; k < place_count(base3); k++) add_spans(p, &at, 1, sums[0][k], sums[1][k]);
    }
  }
  if (at.span < p->spans) unpack_tail(base3, p, blocks, bytes, p->lines);
  for (const uint8_t *lines = p->lines; at.span < p->spans; lines += SPAN_LINES * LINE) {
    pairs sums[1][2];
    sums[0][0] = sums[0][1] = begin_sums(activations[at.span]);
    multiply_span(lines, codes + at.span * TQ_SPAN, 0, 1, sums);
    add_spans(p, &at, 1, sums[0][0], sums[0][1]);
  }
  for (size_t h = 0; h < 2; h++) totals[h] = at.totals[h];
}

/* ---- many vectors: from unpacked codes ---- */

SPECIALIZED void unpack_panel(bool base3, const product *p, const uint8_t *bytes) {
  size_t blocks = p->columns / (place_count(base3) * TQ_SPAN);
  uint8_t *lines = p->lines;
  for (size_t b = 0; b < blocks; b++, bytes += SPAN_LINES * LINE, lines += place_count(base3) * SPAN_LINES * LINE)
    unpack_lines(base3, bytes, SPAN_LINES, lines);
  unpack_tail(base3, p, blocks, bytes, lines);
}

static int32_t add_integers(const int32_t *numbers, size_t count) {
  int32_t sum = 0;
  for (size_t i = 0; i < count; i++) sum += numbers[i];
  return sum;
}

/* The sums of `count` spans, SUM_SPANS at most, from `begin` on. */
SPECIALIZED void multiply_spans(const product *p, const tq_codes *vector, size_t begin, size_t count, size_t vectors,
                                pairs sums[][2]) {
  UNROLL
  for (size_t v = 0; v < vectors; v++)
    sums[v][0] = sums[v][1] = begin_sums(add_integers(vector->sums + v * p->spans + begin, count));
  for (size_t i = begin; i < begin + count; i++)
    multiply_span(p->lines + i * SPAN_LINES * LINE, vector->codes + i * TQ_SPAN, p->code_stride, vectors, sums);
}

/* A panel with some vectors, of which `first` is the first. `single`: a run is a span, and all scales are tame. */
SPECIALIZED void multiply_unpacked(const product *p, const tq_codes *first, size_t vectors, bool single,
                                   __m256 totals[][2]) {
  size_t uses = p->runs_per_scale, longest = single ? 1 : p->run;
  bool is_long = !single && longest > SUM_SPANS;
  const float *scales = p->scales;
  __m256i wide[VECTORS][2];
  for (size_t v = 0; v < vectors; v++) totals[v][0] = totals[v][1] = _mm256_setzero_ps();
  for (size_t run = 0, begin = 0; begin < p->spans; run++, begin += longest) {
    size_t left = single || p->spans - begin > longest ? longest : p->spans - begin, span = begin;
    pairs sums[VECTORS][2];
    if (is_long) memset(wide, 0, sizeof wide);
    for (; is_long && left > SUM_SPANS; left -= SUM_SPANS, span += SUM_SPANS) {
      multiply_spans(p, first, span, SUM_SPANS, vectors, sums);
      UNROLL
      for (size_t v = 0; v < vectors; v++)
        for (size_t h = 0; h < 2; h++) wide[v][h] = _mm256_add_epi32(wide[v][h], widen(sums[v][h]));
    }
    multiply_spans(p, first, span, single ? 1 : left, vectors, sums);
    __m256 low = _mm256_loadu_ps(scales), high = _mm256_loadu_ps(scales + 8);
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
      __m256 step = _mm256_set1_ps(first->steps[v * p->step_stride + (first->block ? run : 0)]);
      __m256i wide_low = widen(sums[v][0]), wide_high = widen(sums[v][1]);
      if (is_long) wide_low = _mm256_add_epi32(wide_low, wide[v][0]);
      if (is_long) wide_high = _mm256_add_epi32(wide_high, wide[v][1]);
      totals[v][0] = add_run(totals[v][0], wide_low, low, step, single);
      totals[v][1] = add_run(totals[v][1], wide_high, high, step, single);
    }
    if (--uses > 0) continue;
    scales += TQ_PANEL_ROWS;
    uses = p->runs_per_scale;
  }
}

/* Each is a function of its own, with all registers to itself. */
#define MULTIPLY(vectors)                                                                                              \
  static __attribute__((noinline)) void multiply_runs_##vectors(const product *p, const tq_codes *first,               \
                                                                __m256 totals[][2]) {                                  \
    multiply_unpacked(p, first, vectors, false, totals);                                                               \
  }                                                                                                                    \
  static __attribute__((noinline)) void multiply_single_##vectors(const product *p, const tq_codes *first,             \
                                                                  __m256 totals[][2]) {                                \
    multiply_unpacked(p, first, vectors, true, totals);                                                                \
  }
MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(4)
MULTIPLY(6)

typedef void multiply_function(const product *p, const tq_codes *first, __m256 totals[][2]);
typedef struct width {
  size_t vectors;
  multiply_function *runs, *single;
} width;
static const width widths[] = {{6, multiply_runs_6, multiply_single_6},
                               {4, multiply_runs_4, multiply_single_4},
                               {2, multiply_runs_2, multiply_single_2},
                               {1, multiply_runs_1, multiply_single_1}};

static void store_totals(const product *p, uint64_t row, const __m256 totals[2], float *outputs) {
  memcpy(outputs + row, totals, (size_t)tq_panel_height(p->matrix->rows, row) * sizeof *outputs);
}

/* The codes, steps and sums of a vector and of those behind it. */
static tq_codes codes_from(const product *p, size_t vector) {
  return (tq_codes){.codes = p->inputs->codes + vector * p->code_stride,
                    .steps = p->inputs->steps + vector * p->step_stride,
                    .sums = p->inputs->sums + vector * p->spans,
                    .block = p->inputs->block};
}

static void multiply_vectors(const product *p, uint64_t row, size_t count, float *outputs) {
  bool single = p->run == 1 && p->tame;
  size_t t = 0;
  for (const width *w = widths; t < count; w++) {
    for (; t + w->vectors <= count; t += w->vectors) {
      tq_codes first = codes_from(p, t);
      __m256 totals[VECTORS][2];
      (single ? w->single : w->runs)(p, &first, totals);
      for (size_t v = 0; v < w->vectors; v++) store_totals(p, row, totals[v], outputs + (t + v) * p->matrix->rows);
    }
  }
}

/* ---- panels ---- */

SPECIALIZED __m256 load_scales(const tq_matrix *matrix, uint64_t index) {
  const uint8_t *table = matrix->scales;
  __m256 numbers;
  if (matrix->scale_encoding == TQ_F32) {
    numbers = _mm256_loadu_ps((const float *)(const void *)(table + 4 * index));
  } else {
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(table + 2 * index));
    numbers = matrix->scale_encoding == TQ_F16
                  ? _mm256_cvtph_ps(halves)
                  : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
  }
  return matrix->direction == TQ_INVERTED ? _mm256_div_ps(_mm256_set1_ps(1.0f), numbers) : numbers;
}

/* The scales of a panel; the rows that it lacks have those of its first. */
static void decode_scales(const product *p, uint64_t row) {
  const tq_matrix *matrix = p->matrix;
  uint64_t index = tq_scale_index(matrix->granularity, matrix->group, matrix->rows, p->columns, row, 0);
  uint64_t rows = matrix->granularity == TQ_PER_TENSOR ? 1 : tq_panel_height(matrix->rows, row);
  float *scales = p->scales;
  for (size_t k = 0; k < p->scale_count; k++, index += rows, scales += TQ_PANEL_ROWS) {
    if (rows == TQ_PANEL_ROWS) {
      _mm256_storeu_ps(scales, load_scales(matrix, index));
      _mm256_storeu_ps(scales + 8, load_scales(matrix, index + 8));
    } else {
      for (size_t i = 0; i < TQ_PANEL_ROWS; i++)
        scales[i] =
            tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index + (i < rows ? i : 0));
    }
  }
}

/* A panel's bytes; one with fewer rows is filled up with others that are not used. */
static const uint8_t *whole_panel(const product *p, uint64_t row) {
  const tq_matrix *matrix = p->matrix;
  const uint8_t *bytes = matrix->values + row * matrix->row_bytes;
  size_t apart = TQ_PIECE * (size_t)tq_panel_height(matrix->rows, row), lines = (size_t)matrix->row_bytes / TQ_PIECE;
  if (apart == LINE) return bytes;
  memset(p->padded, 0, lines * LINE);
  for (size_t i = 0; i < lines; i++) memcpy(p->padded + i * LINE, bytes + i * apart, apart);
  return p->padded;
}

/* Numbers that can be multiplied by each other without becoming infinite. */
static bool are_tame(const float *x, size_t count) { return largest_magnitude(x, count) < (127u + 63u) << 23; }

SPECIALIZED void multiply_panel(bool base3, product *p, uint64_t row, size_t count, float *outputs) {
  const uint8_t *bytes = whole_panel(p, row);
  decode_scales(p, row);
  if (count == 1) {
    __m256 totals[2];
    multiply_packed(base3, p, bytes, totals);
    store_totals(p, row, totals, outputs);
  } else {
    unpack_panel(base3, p, bytes);
    p->tame = p->tame_steps && are_tame(p->scales, p->scale_count * TQ_PANEL_ROWS);
    multiply_vectors(p, row, count, outputs);
  }
}

static void multiply_panel_2bit(product *p, uint64_t row, size_t count, float *outputs) {
  multiply_panel(false, p, row, count, outputs);
}

static void multiply_panel_base3(product *p, uint64_t row, size_t count, float *outputs) {
  multiply_panel(true, p, row, count, outputs);
}

static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  size_t columns = (size_t)matrix->columns, spans = tq_step_count(columns, TQ_SPAN);
  bool base3 = matrix->encoding == TQ_TERNARY_BASE3;
  size_t shared = matrix->granularity == TQ_PER_GROUP ? matrix->group / TQ_SPAN : spans;
  product p = {.matrix = matrix,
               .inputs = inputs,
               .columns = columns,
               .spans = spans,
               .run = inputs->block ? 1 : shared,
               .runs_per_scale = inputs->block ? shared : 1,
               .scale_count = tq_step_count(spans, shared),
               .code_stride = tq_code_stride(columns),
               .step_stride = tq_step_count(columns, inputs->block)};
  p.tame_steps = are_tame(inputs->steps, count * p.step_stride);
  p.lines = (uint8_t *)scratch + (LINE - (uintptr_t)scratch % LINE) % LINE;
  p.padded = p.lines + (columns + 2 * TQ_SPAN) * TQ_PANEL_ROWS;
  p.scales = (float *)(void *)(p.padded + matrix->row_bytes * TQ_PANEL_ROWS);
  for (uint64_t row = begin; row < end; row += TQ_PANEL_ROWS)
    (base3 ? multiply_panel_base3 : multiply_panel_2bit)(&p, row, count, outputs);
}

/* ---- what the machine can do ---- */

static uint64_t read_memory(const uint8_t *data, size_t size) {
  __m256i sums[8];
  for (size_t k = 0; k < 8; k++) sums[k] = _mm256_setzero_si256();
  for (size_t i = 0; i < size; i += sizeof sums)
    for (size_t k = 0; k < 8; k++) sums[k] = _mm256_xor_si256(sums[k], load(data + i + k * sizeof *sums));
  for (size_t k = 1; k < 8; k++) sums[0] = _mm256_xor_si256(sums[0], sums[k]);
  uint64_t words[4];
  memcpy(words, sums, sizeof words);
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

/* The empty instruction keeps the products from being made once for all rounds. */
static uint64_t multiply_integers(size_t rounds, int32_t *sum) {
  pairs sums[2 * VECTORS];
  __m256i trits = _mm256_set1_epi8(1), codes = _mm256_set1_epi8((char)(rounds & 63));
  UNROLL
  for (size_t k = 0; k < 2 * VECTORS; k++) sums[k] = (pairs){0};
  for (size_t i = 0; i < rounds; i++) {
    UNROLL
    for (size_t k = 0; k < 2 * VECTORS; k++) {
      __asm__("" : "+x"(codes));
      sums[k] += multiply_quad(trits, codes);
    }
  }
  UNROLL
  for (size_t k = 1; k < 2 * VECTORS; k++) sums[0] += sums[k];
  *sum = _mm256_cvtsi256_si32(widen(sums[0]));
  return (uint64_t)rounds * 2 * VECTORS * sizeof codes;
}

const tq_kernels tq_kernels_avx2 = {
    .name = "avx2",
    .available = available,
    .rms_norm = rms_norm,
    .add = add,
    .rope = rope,
    .gate_silu = gate_silu,
    .gate_squared_relu = gate_squared_relu,
    .to_half = to_half,
    .attention = attention,
    .linear_rows = linear_rows,
    .quantize = quantize,
    .linear_rows_integer = linear_rows_integer,
    .read_memory = read_memory,
    .multiply_integers = multiply_integers,
};
#endif
