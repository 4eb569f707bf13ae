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
  for (size_t i = 0; i < count; i += LANES)
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

/* `full` says that the panel has all its rows. */
INLINE __m512i load_line(bool full, const panel *of, size_t index) {
  if (full) return _mm512_loadu_si512(of->codes + index * LINE);
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

/* Multiplies the steps of runs by the scale, where there is one for all and none of them is out of the ordinary. */
static bool multiply_steps(const shape *s, const float *steps, size_t count, float *factors) {
  const tq_matrix *m = s->matrix;
  if (m->granularity != TQ_PER_TENSOR || s->steps == 1) return false;
  float scale = tq_scale_load(m->scale_encoding, m->direction, m->scales, 0);
  if (!(fabsf(scale) <= ORDINARY && largest_magnitude(steps, count) <= ORDINARY)) return false;
  for (size_t i = 0; i < count; i++) factors[i] = scale * steps[i];
  return true;
}

/* ---- few vectors: codes are met as they come from memory ---- */

enum { FEW = 4 };

/* Sums of each span of the last block, which has shorter ones. */
INLINE void sum_tail(bool base3, const shape *s, const panel *of, const int8_t *codes, const int32_t *sums,
                     row_sums *spans) {
  size_t places = base3 ? 5 : 4, first = s->blocks * places, count = s->spans - first;
  for (size_t k = 0; k < count; k++) spans[k] = (row_sums)_mm512_set1_epi32(-sums[first + k]);
  for (size_t q = 0; q < s->tail; q += TQ_PIECE) {
    __m512i place[MOST_PLACES];
    unpack_line(base3, load_line(false, of, s->blocks * BLOCK_LINES + q / TQ_PIECE), place);
    for (size_t k = 0; k < places && k * s->tail + q < count * TQ_SPAN; k++) {
      size_t column = k * s->tail + q;
      spans[column / TQ_SPAN] =
          add_products(spans[column / TQ_SPAN], place[k], broadcast_piece(codes + first * TQ_SPAN + column));
    }
  }
}

/* One vector, with the sums of its activations in each place of whole blocks. */
typedef struct vector {
  const int8_t *codes;
  const float *steps;
  const int32_t *sums;
  bool uniform; /* the steps are multiplied by the one scale already */
  int32_t place_sums[MOST_PLACES];
} vector;

static vector vector_at(const shape *s, const tq_codes *inputs, size_t t, float *factors) {
  vector made = {.codes = inputs->codes + t * s->stride,
                 .steps = inputs->steps + t * s->steps,
                 .sums = inputs->sums + t * s->spans};
  made.uniform = multiply_steps(s, made.steps, s->steps, factors);
  if (made.uniform) made.steps = factors;
  for (size_t i = 0; i < s->blocks * s->places; i++) made.place_sums[i % s->places] += made.sums[i];
  return made;
}

/* Rows that are a single run. */
INLINE __m512 dot_whole(bool base3, bool full, const shape *s, const panel *of, const vector *v) {
  size_t places = base3 ? 5 : 4;
  line_sums sums = {0};
  const int8_t *codes = v->codes;
  for (size_t b = 0; b < s->blocks; b++, codes += places * TQ_SPAN)
    for (size_t q = 0; q < BLOCK_LINES; q++)
      add_line(base3, &sums, load_line(full, of, b * BLOCK_LINES + q), codes + q * TQ_PIECE);
  row_sums place[MOST_PLACES], total = {0};
  finish_sums(base3, &sums, v->place_sums, place);
  for (size_t k = 0; k < places; k++) total += place[k];
  if (s->tail) {
    sum_tail(base3, s, of, v->codes, v->sums, place);
    for (size_t k = 0; k < s->spans - s->blocks * places; k++) total += place[k];
  }
  scale_reader scales = read_scales(s, of);
  return add_run(CAREFUL, _mm512_setzero_ps(), total, next_scales(&scales), _mm512_set1_ps(*v->steps));
}

/* Where a row is in its runs. */
typedef struct progress {
  __m512 total;
  row_sums sum;     /* of the run so far */
  size_t run, left; /* spans of a run, and those that this one still lacks */
  const float *step;
  size_t step_apart;
  scale_reader scales;
} progress;

INLINE void end_run(progress *at) {
  at->total = add_run(CAREFUL, at->total, at->sum, next_scales(&at->scales), _mm512_set1_ps(*at->step));
  at->step += at->step_apart;
  at->sum = (row_sums){0};
  at->left = at->run;
}

INLINE void add_span(adding how, progress *at, row_sums sum) {
  if (how == UNIFORM) {
    at->total = add_run(how, at->total, sum, _mm512_setzero_ps(), _mm512_set1_ps(*at->step++));
    return;
  }
  at->sum += sum;
  if (--at->left == 0) end_run(at);
}

INLINE __m512 dot_runs(adding how, bool base3, bool full, const shape *s, const panel *of, const vector *v) {
  size_t places = base3 ? 5 : 4, run = s->run / TQ_SPAN;
  progress at = {_mm512_setzero_ps(), {0}, run, run, v->steps, s->steps > 1, read_scales(s, of)};
  row_sums spans[MOST_PLACES];
  const int8_t *codes = v->codes;
  for (size_t b = 0; b < s->blocks; b++, codes += places * TQ_SPAN) {
    line_sums sums = {0};
    for (size_t q = 0; q < BLOCK_LINES; q++)
      add_line(base3, &sums, load_line(full, of, b * BLOCK_LINES + q), codes + q * TQ_PIECE);
    finish_sums(base3, &sums, v->sums + b * places, spans);
    add_span(how, &at, spans[0]);
    add_span(how, &at, spans[1]);
    add_span(how, &at, spans[2]);
    add_span(how, &at, spans[3]);
    if (base3) add_span(how, &at, spans[4]);
  }
  if (s->tail) {
    sum_tail(base3, s, of, v->codes, v->sums, spans);
    for (size_t k = 0; k < s->spans - s->blocks * places; k++) add_span(how, &at, spans[k]);
  }
  if (how != UNIFORM && at.left < at.run) end_run(&at);
  return at.total;
}

INLINE __m512 dot(bool base3, bool full, const shape *s, const panel *of, const vector *v) {
  if (s->runs == 1) return dot_whole(base3, full, s, of, v);
  return v->uniform ? dot_runs(UNIFORM, base3, full, s, of, v) : dot_runs(CAREFUL, base3, full, s, of, v);
}

/* A panel that was met once is in the nearest cache for the other vectors. */
INLINE void multiply_few(bool base3, const shape *s, uint64_t begin, uint64_t end, const tq_codes *inputs, size_t count,
                         float *outputs, float *scratch) {
  vector vectors[FEW];
  for (size_t t = 0; t < count; t++) vectors[t] = vector_at(s, inputs, t, scratch + t * s->steps);
  for (uint64_t row = begin; row < end; row += TQ_PANEL_ROWS) {
    panel of = panel_at(s->matrix, row);
    for (size_t t = 0; t < count; t++) {
      __m512 y = of.line == LINE ? dot(base3, true, s, &of, &vectors[t]) : dot(base3, false, s, &of, &vectors[t]);
      _mm512_mask_storeu_ps(outputs + t * s->matrix->rows + row, of.rows, y);
    }
  }
}

/* ---- more vectors: codes are unpacked for all of them ---- */

/* Panels are unpacked side by side, so that a tile reads them in order. */
INLINE void unpack_panel(bool base3, const shape *s, const panel *of, uint8_t *lines) {
  size_t places = base3 ? 5 : 4, count = s->blocks * BLOCK_LINES + s->tail / TQ_PIECE;
  for (size_t i = 0; i < count; i++) {
    size_t b = i / BLOCK_LINES, apart = (b < s->blocks ? TQ_SPAN : s->tail) / TQ_PIECE;
    uint8_t *to = lines + (b * places * BLOCK_LINES + i % BLOCK_LINES) * PANELS * LINE;
    __m512i place[MOST_PLACES];
    unpack_line(base3, load_line(false, of, i), place);
    for (size_t k = 0; k < places; k++) _mm512_store_si512(to + k * apart * PANELS * LINE, place[k]);
  }
}

/* What is multiplied with all vectors, in scratch memory. */
typedef struct workspace {
  uint8_t *lines;
  float *scales;        /* [runs][PANELS][16] */
  float *factors;       /* [VECTORS][runs]: scale * step, where there is one scale */
  int32_t *corrections; /* [VECTORS][runs] */
  size_t panels;        /* that are there */
  bool ordinary;        /* all of their scales */
  __mmask16 masks[PANELS];
} workspace;

static workspace workspace_in(const shape *s, float *scratch) {
  size_t unpacked = (s->blocks * TQ_SPAN + s->tail) * s->places, whole = s->spans * TQ_SPAN;
  size_t columns = unpacked > whole ? unpacked : whole;
  uint8_t *lines = (uint8_t *)(((uintptr_t)scratch + LINE - 1) / LINE * LINE);
  void *scales = lines + columns / TQ_PIECE * PANELS * LINE;
  float *factors = (float *)scales + s->runs * PANELS * TQ_PANEL_ROWS;
  void *corrections = factors + VECTORS * s->runs;
  memset(lines + unpacked / TQ_PIECE * PANELS * LINE, 0, (columns - unpacked) / TQ_PIECE * PANELS * LINE);
  return (workspace){.lines = lines, .scales = scales, .factors = factors, .corrections = corrections};
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
  for (size_t i = 0; i < count; i += LANES)
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

/* Of some vectors; where it is UNIFORM, their factors are made. */
static adding how_to_add(const shape *s, const workspace *space, const float *steps, size_t vectors) {
  size_t count = vectors * s->steps;
  if (multiply_steps(s, steps, count, space->factors)) return UNIFORM;
  return space->ordinary && largest_magnitude(steps, count) <= ORDINARY ? PLAIN : CAREFUL;
}

static void multiply_vectors(const shape *s, uint64_t begin, uint64_t end, const tq_codes *inputs, size_t count,
                             float *outputs, float *scratch) {
  workspace space = workspace_in(s, scratch);
  size_t tiles = (count + VECTORS - 1) / VECTORS;
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
      adding how = how_to_add(s, &space, of.steps, vectors);
      if (how == UNIFORM) of.steps = space.factors;
      multiply_tile(how, space.panels, vectors, of);
    }
  }
}

static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  shape s = shape_of(matrix, inputs->block);
  if (count > FEW)
    multiply_vectors(&s, begin, end, inputs, count, outputs, scratch);
  else if (s.base3)
    multiply_few(true, &s, begin, end, inputs, count, outputs, scratch);
  else
    multiply_few(false, &s, begin, end, inputs, count, outputs, scratch);
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
  for (size_t i = 0; i < count; i += LANES) {
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

/* Loads that run far ahead of the memory are slower: each line waits for two multiplications after the one before. */
static uint64_t read_memory(const uint8_t *data, size_t size) {
  row_sums sums = {0};
  const __m512i ones = _mm512_set1_epi8(1);
  for (size_t i = 0; i < size; i += LINE) {
    __m512i line = _mm512_loadu_si512(data + i);
    sums = add_products(add_products(sums, line, ones), line, ones);
  }
  return (uint32_t)_mm512_reduce_add_epi32((__m512i)sums);
}

static uint64_t multiply_integers(size_t rounds, int32_t *sum) {
  const size_t panels = PANELS;
  const int8_t piece[TQ_PIECE] = {3, -5, 7, -9};
  column_sums sums[VECTORS];
  const column_digits digits = {{_mm512_set1_epi8(0), _mm512_set1_epi8(1), _mm512_set1_epi8(2), _mm512_set1_epi8(3)}};
  row_sums total = {0};
#define START(t) start_sums(panels, &sums[t], t);
#define ADD(t) add_digits(panels, &sums[t], &digits, piece);
#define SUM(t) total ^= sums[t].panel[0] ^ sums[t].panel[1] ^ sums[t].panel[2] ^ sums[t].panel[3];
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
