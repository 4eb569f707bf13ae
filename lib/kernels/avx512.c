/* AVX-512 with VNNI and VBMI. A register of 32-bit integers or floats is 16 rows of a panel, so that no sum goes across
 * one, and a line of 64 bytes of codes is what vpdpbusd takes: 4 columns of each row, with 4 activations that are the
 * same for all. Codes are trit + 1: the sum of the activations is taken off. */
#if defined(__x86_64__)
#include "kernels/avx512_codes.h"
#include "kernels/avx512_lanes.h"
#include "kernels/avx512_tiles.h"
#include "kernels/floats.h"
#include "kernels/kernels.h"

#include <math.h>

static bool available(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static __mmask16 lanes_up_to(size_t count) { return first_lanes(smaller(count, LANES)); }

/* Bits order magnitudes as numbers do, with infinity and NaN above all, so that one maximum finds these too. */
INLINE __m512 larger_magnitudes(__m512 a, __m512 b) {
  __m512i bits = _mm512_and_si512(_mm512_castps_si512(b), _mm512_set1_epi32(0x7fffffff));
  return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a), bits));
}

INLINE float largest_of(__m512 magnitudes) {
  uint32_t bits = _mm512_reduce_max_epu32(_mm512_castps_si512(magnitudes));
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static float largest_magnitude(const float *x, size_t count) {
  __m512 largest = _mm512_setzero_ps();
  for (size_t i = 0; i < count; i += 16)
    largest = larger_magnitudes(largest, _mm512_maskz_loadu_ps(lanes_up_to(count - i), x + i));
  return largest_of(largest);
}

/* ---- a matrix in panels ---- */

/* What all panels have in common. */
typedef struct shape {
  const tq_matrix *matrix;
  bool base3;
  size_t places; /* in a byte */
  size_t blocks; /* that are whole */
  size_t tail;   /* columns in each place of the last block; 0: there is none */
  size_t run;    /* columns that share a scale and a step */
  size_t runs;
  size_t stride, steps, spans; /* from one vector's codes, steps and sums to the next's */
} shape;

static shape shape_of(const tq_matrix *matrix, size_t block) {
  bool base3 = matrix->encoding == TQ_TERNARY_BASE3;
  size_t columns = (size_t)matrix->columns;
  size_t run = block ? block : matrix->granularity == TQ_PER_GROUP ? matrix->group : columns;
  return (shape){.matrix = matrix,
                 .base3 = base3,
                 .places = base3 ? 5 : 4,
                 .blocks = (size_t)matrix->row_bytes / TQ_SPAN,
                 .tail = (size_t)matrix->row_bytes % TQ_SPAN,
                 .run = run,
                 .runs = tq_step_count(columns, run),
                 .stride = tq_code_stride(columns),
                 .steps = tq_step_count(columns, block),
                 .spans = tq_step_count(columns, TQ_SPAN)};
}

typedef struct panel {
  uint64_t row;   /* its first */
  __mmask16 rows; /* that it has */
  size_t line;    /* bytes of a line */
  const uint8_t *codes;
} panel;

static panel panel_at(const tq_matrix *matrix, uint64_t row) {
  unsigned height = (unsigned)tq_panel_height(matrix->rows, row);
  return (panel){.row = row,
                 .rows = (__mmask16)((1u << height) - 1),
                 .line = height * TQ_PIECE,
                 .codes = matrix->values + row * matrix->row_bytes};
}

INLINE __m512i load_line(const panel *of, size_t index) {
  return _mm512_maskz_loadu_epi32(of->rows, of->codes + index * of->line);
}

/* ---- scales ---- */

/* Gives the scales of a panel's rows, run by run. */
typedef struct scale_reader {
  const tq_matrix *matrix;
  const uint8_t *next;
  size_t apart; /* bytes from one group's to the next's */
  size_t each;  /* runs that have the same */
  size_t left;  /* of these */
  __mmask16 rows;
  __m512 scales;
} scale_reader;

static scale_reader read_scales(const shape *s, const panel *of) {
  const tq_matrix *m = s->matrix;
  bool grouped = m->granularity == TQ_PER_GROUP;
  size_t bytes = m->scale_encoding == TQ_F32 ? 4 : 2;
  uint64_t index = tq_scale_index(m->granularity, m->group, m->rows, m->columns, of->row, 0);
  return (scale_reader){.matrix = m,
                        .next = m->scales + index * bytes,
                        .apart = of->line / TQ_PIECE * bytes,
                        .each = grouped ? m->group / s->run : s->runs,
                        .rows = of->rows};
}

static __m512 load_scales(const tq_matrix *m, const uint8_t *from, __mmask16 rows) {
  if (m->granularity == TQ_PER_TENSOR) return _mm512_set1_ps(tq_scale_load(m->scale_encoding, m->direction, from, 0));
  __m512 scales;
  if (m->scale_encoding == TQ_F32) {
    scales = _mm512_maskz_loadu_ps(rows, from);
  } else {
    __m256i halves = _mm256_maskz_loadu_epi16(rows, from);
    scales = m->scale_encoding == TQ_F16 ? _mm512_cvtph_ps(halves)
                                         : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  return m->direction == TQ_INVERTED ? _mm512_div_ps(_mm512_set1_ps(1), scales) : scales;
}

INLINE __m512 next_scales(scale_reader *of) {
  if (!of->left) {
    of->scales = load_scales(of->matrix, of->next, of->rows);
    of->next += of->apart;
    of->left = of->each;
  }
  of->left--;
  return of->scales;
}

/* ---- one vector: codes are met as they come from memory ---- */

/* Sums of each span of the last block, which has shorter ones. */
INLINE void sum_tail(bool base3, const shape *s, const panel *of, const int8_t *codes, const int32_t *sums,
                     row_sums *spans) {
  size_t places = base3 ? 5 : 4, first = s->blocks * places, count = s->spans - first;
  for (size_t k = 0; k < count; k++) spans[k] = (row_sums)_mm512_set1_epi32(-sums[first + k]);
  for (size_t q = 0; q < s->tail; q += TQ_PIECE) {
    __m512i place[MOST_PLACES];
    unpack_line(base3, load_line(of, s->blocks * BLOCK_LINES + q / TQ_PIECE), place);
    for (size_t k = 0; k < places && k * s->tail + q < count * TQ_SPAN; k++) {
      size_t column = k * s->tail + q;
      spans[column / TQ_SPAN] =
          add_products(spans[column / TQ_SPAN], place[k], broadcast_piece(codes + first * TQ_SPAN + column));
    }
  }
}

/* A vector for rows that are a single run: sums of its activations in each place of whole blocks. */
typedef struct whole_vector {
  const int8_t *codes;
  const int32_t *sums;
  int32_t place_sums[MOST_PLACES];
  float step;
} whole_vector;

INLINE __m512 dot_whole(bool base3, const shape *s, const panel *of, const whole_vector *vector, __m512 scales) {
  size_t places = base3 ? 5 : 4;
  line_sums sums = {0};
  const int8_t *codes = vector->codes;
  for (size_t b = 0; b < s->blocks; b++, codes += places * TQ_SPAN)
    for (size_t q = 0; q < BLOCK_LINES; q++)
      add_line(base3, &sums, load_line(of, b * BLOCK_LINES + q), codes + q * TQ_PIECE);
  row_sums place[MOST_PLACES], total = {0};
  finish_sums(base3, &sums, vector->place_sums, place);
  for (size_t k = 0; k < places; k++) total += place[k];
  if (s->tail) {
    sum_tail(base3, s, of, vector->codes, vector->sums, place);
    for (size_t k = 0; k < s->spans - s->blocks * places; k++) total += place[k];
  }
  return add_run(CAREFUL, _mm512_setzero_ps(), total, scales, _mm512_set1_ps(vector->step));
}

/* Where a row is in its runs. */
typedef struct progress {
  __m512 total;
  row_sums sum; /* of the run so far */
  size_t spans; /* that it still lacks */
  const float *step;
  scale_reader scales;
} progress;

INLINE void end_run(progress *at, size_t spans, size_t step_apart) {
  at->total = add_run(CAREFUL, at->total, at->sum, next_scales(&at->scales), _mm512_set1_ps(*at->step));
  at->step += step_apart;
  at->sum = (row_sums){0};
  at->spans = spans;
}

INLINE __m512 dot_runs(bool base3, const shape *s, const panel *of, const tq_codes *vector) {
  size_t places = base3 ? 5 : 4, spans = s->run / TQ_SPAN, step_apart = vector->block ? 1 : 0;
  progress at = {_mm512_setzero_ps(), {0}, spans, vector->steps, read_scales(s, of)};
  row_sums place[MOST_PLACES];
  for (size_t b = 0; b <= s->blocks; b++) {
    size_t count = b < s->blocks ? places : s->spans - b * places;
    if (b < s->blocks) {
      line_sums sums = {0};
      for (size_t q = 0; q < BLOCK_LINES; q++)
        add_line(base3, &sums, load_line(of, b * BLOCK_LINES + q), vector->codes + b * places * TQ_SPAN + q * TQ_PIECE);
      finish_sums(base3, &sums, vector->sums + b * places, place);
    } else {
      sum_tail(base3, s, of, vector->codes, vector->sums, place);
    }
    for (size_t k = 0; k < count; k++) {
      at.sum += place[k];
      if (--at.spans == 0) end_run(&at, spans, step_apart);
    }
  }
  if (at.spans < spans) end_run(&at, spans, step_apart);
  return at.total;
}

static whole_vector whole_vector_of(const shape *s, const tq_codes *of) {
  whole_vector made = {of->codes, of->sums, {0}, *of->steps};
  for (size_t i = 0; i < s->blocks * s->places; i++) made.place_sums[i % s->places] += of->sums[i];
  return made;
}

INLINE void multiply_vector(bool base3, const shape *s, uint64_t begin, uint64_t end, const tq_codes *vector,
                            float *outputs) {
  whole_vector whole = whole_vector_of(s, vector);
  for (uint64_t row = begin; row < end; row += TQ_PANEL_ROWS) {
    panel of = panel_at(s->matrix, row);
    __m512 y;
    if (s->runs == 1) {
      scale_reader scales = read_scales(s, &of);
      y = dot_whole(base3, s, &of, &whole, next_scales(&scales));
    } else {
      y = dot_runs(base3, s, &of, vector);
    }
    _mm512_mask_storeu_ps(outputs + row, of.rows, y);
  }
}

/* ---- several vectors: codes are unpacked for all of them ---- */

/* Panels are unpacked side by side, so that a tile reads them in order. */
INLINE void unpack_panel(bool base3, const shape *s, const panel *of, uint8_t *lines) {
  size_t places = base3 ? 5 : 4, count = s->blocks * BLOCK_LINES + s->tail / TQ_PIECE;
  for (size_t i = 0; i < count; i++) {
    size_t b = i / BLOCK_LINES, apart = (b < s->blocks ? TQ_SPAN : s->tail) / TQ_PIECE;
    uint8_t *to = lines + (b * places * BLOCK_LINES + i % BLOCK_LINES) * PANELS * LINE;
    __m512i place[MOST_PLACES];
    unpack_line(base3, load_line(of, i), place);
    for (size_t k = 0; k < places; k++) _mm512_store_si512(to + k * apart * PANELS * LINE, place[k]);
  }
}

/* What is multiplied with all vectors, in scratch memory. */
typedef struct workspace {
  uint8_t *lines;
  float *scales;        /* [runs][PANELS][16] */
  int32_t *corrections; /* [VECTORS][runs] */
  float *factors;       /* [VECTORS][runs]: scale * step, where there is one scale */
  size_t panels;        /* that are there */
  bool ordinary;        /* all of their scales */
  __mmask16 masks[PANELS];
} workspace;

static workspace workspace_in(const shape *s, float *scratch) {
  size_t unpacked = (s->blocks * TQ_SPAN + s->tail) * s->places, whole = s->spans * TQ_SPAN;
  size_t columns = unpacked > whole ? unpacked : whole;
  uint8_t *lines = (uint8_t *)(((uintptr_t)scratch + LINE - 1) / LINE * LINE);
  float *scales = (float *)(lines + columns / TQ_PIECE * PANELS * LINE);
  int32_t *corrections = (int32_t *)(scales + s->runs * PANELS * TQ_PANEL_ROWS);
  memset(lines + unpacked / TQ_PIECE * PANELS * LINE, 0, (columns - unpacked) / TQ_PIECE * PANELS * LINE);
  return (workspace){.lines = lines,
                     .scales = scales,
                     .corrections = corrections,
                     .factors = (float *)corrections + VECTORS * s->runs};
}

/* The panels from `row` on, with their scales. */
static void unpack(const shape *s, uint64_t row, uint64_t end, workspace *to) {
  __m512 largest = _mm512_setzero_ps();
  memset(to->masks, 0, sizeof to->masks);
  for (to->panels = 0; to->panels < PANELS && row < end; to->panels++, row += TQ_PANEL_ROWS) {
    panel of = panel_at(s->matrix, row);
    scale_reader scales = read_scales(s, &of);
    to->masks[to->panels] = of.rows;
    if (s->base3)
      unpack_panel(true, s, &of, to->lines + to->panels * LINE);
    else
      unpack_panel(false, s, &of, to->lines + to->panels * LINE);
    for (size_t r = 0; r < s->runs; r++) {
      __m512 some = next_scales(&scales);
      _mm512_store_ps(to->scales + (r * PANELS + to->panels) * TQ_PANEL_ROWS, some);
      largest = larger_magnitudes(largest, _mm512_maskz_mov_ps(of.rows, some));
    }
  }
  to->ordinary = largest_of(largest) <= ORDINARY;
}

static int32_t sum_of(const int32_t *sums, size_t count) {
  __m512i total = _mm512_setzero_si512();
  for (size_t i = 0; i < count; i += 16)
    total = _mm512_add_epi32(total, _mm512_maskz_loadu_epi32(lanes_up_to(count - i), sums + i));
  return _mm512_reduce_add_epi32(total);
}

/* What a tile takes off the sums of each run. */
static void correct(const shape *s, const int32_t *sums, size_t vectors, int32_t *corrections) {
  size_t each = tq_step_count(s->run, TQ_SPAN);
  if (each == 1) {
    for (size_t i = 0; i < vectors * s->spans; i++) corrections[i] = -sums[i];
    return;
  }
  for (size_t t = 0; t < vectors; t++, sums += s->spans)
    for (size_t begin = 0; begin < s->spans; begin += each)
      *corrections++ = -sum_of(sums + begin, smaller(s->spans - begin, each));
}

/* Asks for a part of what will be unpacked next, while there is much to do with what was. */
static void prefetch_rows(const shape *s, uint64_t row, uint64_t end, size_t part, size_t parts) {
  if (row >= end) return;
  uint64_t rows = end - row < PANELS * TQ_PANEL_ROWS ? end - row : PANELS * TQ_PANEL_ROWS;
  size_t size = (size_t)(rows * s->matrix->row_bytes);
  const uint8_t *codes = s->matrix->values + row * s->matrix->row_bytes;
  for (size_t i = size * part / parts; i < size * (part + 1) / parts; i += LINE)
    _mm_prefetch((const char *)codes + i, _MM_HINT_T1);
}

static void multiply_vectors(const shape *s, uint64_t begin, uint64_t end, const tq_codes *inputs, size_t count,
                             float *outputs, float *scratch) {
  workspace space = workspace_in(s, scratch);
  size_t tiles = (count + VECTORS - 1) / VECTORS;
  bool uniform = s->matrix->granularity == TQ_PER_TENSOR && s->steps > 1;
  integer_tile of = {.lines = space.lines,
                     .spans = s->spans,
                     .run = tq_step_count(s->run, TQ_SPAN),
                     .runs = s->runs,
                     .scales = space.scales,
                     .corrections = space.corrections,
                     .stride = s->stride,
                     .step_count = s->steps,
                     .rows = s->matrix->rows};
  for (uint64_t row = begin, next; row < end; row = next) {
    next = row + PANELS * TQ_PANEL_ROWS;
    unpack(s, row, end, &space);
    memcpy(of.masks, space.masks, sizeof of.masks);
    for (size_t i = 0; i < tiles; i++) {
      size_t first = count * i / tiles, vectors = count * (i + 1) / tiles - first;
      prefetch_rows(s, next, end, i, tiles);
      correct(s, inputs->sums + first * s->spans, vectors, space.corrections);
      of.codes = inputs->codes + first * s->stride;
      of.steps = inputs->steps + first * s->steps;
      of.outputs = outputs + first * of.rows + row;
      bool ordinary = space.ordinary && largest_magnitude(of.steps, vectors * s->steps) <= ORDINARY;
      if (ordinary && uniform) {
        for (size_t k = 0; k < vectors * s->steps; k++) space.factors[k] = *space.scales * of.steps[k];
        of.steps = space.factors;
      }
      multiply_tile(!ordinary ? CAREFUL : uniform ? UNIFORM : PLAIN, space.panels, vectors, of);
    }
  }
}

static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  shape s = shape_of(matrix, inputs->block);
  if (count != 1)
    multiply_vectors(&s, begin, end, inputs, count, outputs, scratch);
  else if (s.base3)
    multiply_vector(true, &s, begin, end, inputs, outputs);
  else
    multiply_vector(false, &s, begin, end, inputs, outputs);
}

/* ---- activations as 8-bit integers ---- */

static void quantize_block(const float *x, size_t count, int8_t *codes, float *step) {
  const __m512 round = _mm512_set1_ps(12582912.0f); /* 1.5 * 2^23: adding it rounds to a whole number */
  float largest = largest_magnitude(x, count);
  if (!isfinite(largest)) {
    memset(codes, 0, count);
    *step = NAN;
    return;
  }
  if (largest < 1e-5f) largest = 1e-5f;
  __m512 reciprocal = _mm512_set1_ps(127.0f / largest);
  for (size_t i = 0; i < count; i += 16) {
    __m512 product = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_up_to(count - i), x + i), reciprocal);
    __m512i whole = _mm512_cvttps_epi32(_mm512_sub_ps(_mm512_add_ps(product, round), round));
    _mm_mask_storeu_epi8(codes + i, lanes_up_to(count - i), _mm512_cvtepi32_epi8(whole));
  }
  *step = largest / 127.0f;
}

/* Of 32 codes, of which each is made 128 more, so that they can be added as numbers without a sign. */
static int32_t sum_span(const int8_t *codes) {
  __m256i bytes = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)codes), _mm256_set1_epi8(-128));
  __m256i sums = _mm256_sad_epu8(bytes, _mm256_setzero_si256());
  __m128i two = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  return _mm_cvtsi128_si32(_mm_add_epi64(two, _mm_unpackhi_epi64(two, two))) - 128 * TQ_SPAN;
}

static void quantize(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums) {
  size_t length = block ? block : count;
  for (size_t begin = 0; begin < count; begin += length)
    quantize_block(x + begin, smaller(count - begin, length), codes + begin, &steps[begin / length]);
  memset(codes + count, 0, tq_code_stride(count) - count);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN) sums[begin / TQ_SPAN] = sum_span(codes + begin);
}

/* ---- what the machine can do ---- */

static uint64_t read_memory(const uint8_t *data, size_t size) {
  __m512i sums[4] = {_mm512_setzero_si512()};
  for (size_t i = 0; i < size; i += 256) {
    UNROLL
    for (size_t k = 0; k < 4; k++) sums[k] = _mm512_xor_si512(sums[k], _mm512_loadu_si512(data + i + k * LINE));
  }
  return (uint64_t)_mm512_reduce_add_epi64(
      _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3])));
}

static uint64_t multiply_integers(size_t rounds, int32_t *sum) {
  const size_t panels = PANELS;
  const int8_t piece[TQ_PIECE] = {3, -5, 7, -9};
  column_sums sums[VECTORS];
  const column_digits digits = {{_mm512_set1_epi8(0), _mm512_set1_epi8(1), _mm512_set1_epi8(2), _mm512_set1_epi8(3)}};
  row_sums total = {0};
#define START(t) start_sums(panels, &sums[t], t);
#define ADD(t) add_digits(panels, &sums[t], &digits, piece);
#define SUM(t) total += sums[t].panel[0] + sums[t].panel[1] + sums[t].panel[2] + sums[t].panel[3];
  EACH_VECTOR(START)
  for (size_t i = 0; i < rounds; i++) {
    EACH_VECTOR(ADD)
  }
  EACH_VECTOR(SUM)
  *sum = _mm512_reduce_add_epi32((__m512i)total);
  return (uint64_t)rounds * PANELS * VECTORS * LINE;
}

const tq_kernels tq_kernels_avx512 = {
    .name = "avx512",
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
