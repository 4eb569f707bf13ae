/* The candidates with AVX-512: VNNI for products of bytes, VBMI for lookups in base 3. */
#include "layout.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 16, PLACES = 5 };

#define EACH_LANE(f)                                                                                                   \
  _mm512_setr_epi32(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), f(13), f(14),     \
                    f(15))

static bool available(void) {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* ---- bytes to codes ---- */

/* The four last digits of each byte, in 2 bits each: a lookup among 256 is two among 128. */
typedef struct digits {
  __m512i low[2], high[2];
} digits;

INLINE digits digits_of(int form) {
  uint8_t table[256] = {0};
  if (form != TWO_BIT) {
    for (int n = 0; n < 243; n++) {
      int byte = form == BASE3_PLAIN ? n : (256 * n + 242) / 243;
      table[byte] = (uint8_t)(n / 27 % 3 | n / 9 % 3 << 2 | n / 3 % 3 << 4 | n % 3 << 6);
    }
  }
  return (digits){{_mm512_loadu_si512(table), _mm512_loadu_si512(table + 64)},
                  {_mm512_loadu_si512(table + 128), _mm512_loadu_si512(table + 192)}};
}

INLINE __m512i above(__m512i bytes, int low, int high) {
  __m512i digit =
      _mm512_maskz_mov_epi8(_mm512_cmpgt_epu8_mask(bytes, _mm512_set1_epi8((char)low)), _mm512_set1_epi8(1));
  return _mm512_mask_mov_epi8(digit, _mm512_cmpgt_epu8_mask(bytes, _mm512_set1_epi8((char)high)), _mm512_set1_epi8(2));
}

INLINE void unpack(int form, const digits *d, __m512i bytes, __m512i *codes) {
  const __m512i three = _mm512_set1_epi8(3);
  if (form == BASE3_OTHER) {
    for (int k = 0; k < 5; k++) {
      codes[k] = above(bytes, 85, 170);
      bytes = _mm512_add_epi8(_mm512_add_epi8(bytes, bytes), bytes);
    }
    return;
  }
  if (form != TWO_BIT) {
    *codes++ = form == BASE3_PLAIN ? above(bytes, 80, 161) : above(bytes, 85, 170);
    bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), _mm512_permutex2var_epi8(d->low[0], bytes, d->low[1]),
                                   _mm512_permutex2var_epi8(d->high[0], bytes, d->high[1]));
  }
  codes[0] = _mm512_and_si512(bytes, three);
  codes[1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 2), three);
  codes[2] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), three);
  codes[3] = _mm512_and_si512(_mm512_srli_epi16(bytes, 6), three);
}

/* ---- one vector ---- */

INLINE __m512i activations(layout l, const int8_t *x) {
#define PIECE(lane) lane_piece(l, lane)
  int32_t word;
  long long two;
  if (l.rows == 1) return _mm512_loadu_si512(x);
  if (l.rows == 4) {
    __m128i four = _mm_loadu_si128((const __m128i *)x);
    if (l.piece == 16) return _mm512_broadcast_i32x4(four);
    return _mm512_permutexvar_epi32(EACH_LANE(PIECE), _mm512_castsi128_si512(four));
  }
  if (l.rows == 8) {
    memcpy(&two, x, sizeof two);
    if (l.piece == 8) return _mm512_set1_epi64(two);
    return _mm512_permutexvar_epi32(EACH_LANE(PIECE), _mm512_castsi128_si512(_mm_cvtsi64_si128(two)));
  }
  memcpy(&word, x, sizeof word);
  return _mm512_set1_epi32(word);
#undef PIECE
}

/* Adds the lanes of each row, and stores the rows less `minus`. */
INLINE void store(layout l, __m512 sums, float minus, float *y) {
  int row_lanes = (l.rows - 1) * (l.piece / 4) & 15; /* the bits of a lane's number that say its row */
  if (!(row_lanes & 1)) sums = _mm512_add_ps(sums, _mm512_permute_ps(sums, 0xb1));
  if (!(row_lanes & 2)) sums = _mm512_add_ps(sums, _mm512_permute_ps(sums, 0x4e));
  if (!(row_lanes & 4)) sums = _mm512_add_ps(sums, _mm512_shuffle_f32x4(sums, sums, 0xb1));
  if (!(row_lanes & 8)) sums = _mm512_add_ps(sums, _mm512_shuffle_f32x4(sums, sums, 0x4e));
#define FIRST(row) ((row) % l.rows * (l.piece / 4) % 16)
  if (l.rows > 1 && l.piece > 4) sums = _mm512_permutexvar_ps(EACH_LANE(FIRST), sums);
#undef FIRST
  sums = _mm512_sub_ps(sums, _mm512_set1_ps(minus));
  if (l.rows == 16) _mm512_storeu_ps(y, sums);
  if (l.rows == 8) _mm256_storeu_ps(y, _mm512_castps512_ps256(sums));
  if (l.rows == 4) _mm_storeu_ps(y, _mm512_castps512_ps128(sums));
  if (l.rows == 1) *y = _mm512_cvtss_f32(sums);
}

INLINE void decode(layout l, const product *p) {
  const int count = places(l);
  const digits d = digits_of(l.form);
  const size_t chunks = p->row_bytes / (size_t)width(l), rows = (size_t)(l.rows * l.streams);
  for (size_t row = p->begin; row < p->end; row += rows) {
    const uint8_t *panel = p->codes + row * p->row_bytes;
    const int8_t *x = p->x;
    __m512i sums[4][PLACES];
    for (int s = 0; s < l.streams; s++)
      for (int k = 0; k < count; k++) sums[s][k] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (size_t i = 0; i < chunks; i++, x += count * width(l)) {
      for (int s = 0; s < l.streams; s++) {
        const uint8_t *chunk = panel + (size_t)s * p->row_bytes + i * CHUNK;
        __m512i codes[PLACES];
        if (PREFETCH) _mm_prefetch((const char *)chunk + PREFETCH, _MM_HINT_T0);
        unpack(l.form, &d, _mm512_loadu_si512(chunk), codes);
        for (int k = 0; k < count; k++)
          sums[s][k] = _mm512_dpbusd_epi32(sums[s][k], codes[k], activations(l, x + k * width(l)));
      }
    }
    for (int s = 0; s < l.streams; s++) {
      for (int k = 1; k < count; k++) sums[s][0] = _mm512_add_epi32(sums[s][0], sums[s][k]);
      store(l, _mm512_cvtepi32_ps(sums[s][0]), p->sum, p->y + row + s);
    }
  }
}

/* The scales of a chunk's lanes for one place. */
INLINE __m512 lane_scales(layout l, int k, const uint16_t *scales) {
  const int first = lane_scale(l, 0, k) & ~15;
#define SCALE(lane) (lane_scale(l, lane, k) - first)
  __m512 sixteen = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(scales + first)));
  return l.rows == 16 ? sixteen : _mm512_permutexvar_ps(EACH_LANE(SCALE), sixteen);
#undef SCALE
}

INLINE void decode_groups(layout l, const product *p) {
  const int count = places(l), sums_count = run_sums(l);
  const digits d = digits_of(l.form);
  const size_t runs = p->row_bytes / (size_t)(width(l) * run_chunks(l)), rows = (size_t)(l.rows * l.streams);
  const size_t run_bytes = (size_t)run_chunks(l) * CHUNK;
  for (size_t row = p->begin; row < p->end; row += rows) {
    const uint8_t *panel = p->codes + row * p->row_bytes;
    const int8_t *x = p->x;
    const int32_t *minus = p->minus;
    const uint16_t *scales = p->scales + row / (size_t)l.rows * runs * (size_t)run_scales(l);
    __m512 totals[4];
    for (int s = 0; s < l.streams; s++) totals[s] = _mm512_setzero_ps();
    for (size_t u = 0; u < runs; u++, minus += sums_count * LANES) {
      for (int s = 0; s < l.streams; s++) {
        const uint8_t *run = panel + (size_t)s * p->row_bytes + u * run_bytes;
        const uint16_t *run_scale = scales + ((size_t)s * runs + u) * (size_t)run_scales(l);
        __m512i sums[PLACES];
        for (int k = 0; k < sums_count; k++) sums[k] = _mm512_loadu_si512(minus + k * LANES);
        for (int i = 0; i < run_chunks(l); i++) {
          __m512i codes[PLACES];
          if (PREFETCH) _mm_prefetch((const char *)run + i * CHUNK + PREFETCH, _MM_HINT_T0);
          unpack(l.form, &d, _mm512_loadu_si512(run + i * CHUNK), codes);
          for (int k = 0; k < count; k++)
            sums[k % sums_count] =
                _mm512_dpbusd_epi32(sums[k % sums_count], codes[k], activations(l, x + (i * count + k) * width(l)));
        }
        for (int k = 0; k < sums_count; k++)
          totals[s] =
              _mm512_add_ps(totals[s], _mm512_mul_ps(_mm512_cvtepi32_ps(sums[k]), lane_scales(l, k, run_scale)));
      }
      x += run_chunks(l) * count * width(l);
    }
    for (int s = 0; s < l.streams; s++) store(l, totals[s], 0.0f, p->y + row + s);
  }
}

/* ---- tiles ---- */

/* Exchanges a bit of the lanes' numbers with the bit by which the numbers of the two vectors differ. */
INLINE void exchange(__m512i *a, __m512i *b, int bit) {
#define LOW(lane) (((lane) & ~bit) + ((lane)&bit ? 16 : 0))
#define HIGH(lane) (((lane) | bit) + ((lane)&bit ? 16 : 0))
  __m512i low = _mm512_permutex2var_epi32(*a, EACH_LANE(LOW), *b);
  *b = _mm512_permutex2var_epi32(*a, EACH_LANE(HIGH), *b);
  *a = low;
#undef LOW
#undef HIGH
}

INLINE void load_vectors(layout l, const uint8_t *codes, size_t row_bytes, size_t row, size_t tile, bool rows_in_lanes,
                         __m512i *v) {
  for (int i = 0; i < LANES; i++)
    v[i] = _mm512_loadu_si512(codes + (row + (size_t)(i / l.rows * l.rows)) * row_bytes +
                              (tile * (size_t)l.rows + (size_t)(i % l.rows)) * CHUNK);
  /* Bits that say a row: of the lanes' numbers, and of the vectors'. */
  int lanes = (l.rows - 1) * (l.piece / 4) & 15, vectors = 16 - l.rows;
  int from = rows_in_lanes ? 15 & ~lanes : lanes, to = rows_in_lanes ? vectors : 15 & ~vectors;
  for (int bit = 0; bit < 4; bit++) {
    int lane_bit = from & -from, vector_bit = to & -to;
    if (!lane_bit) continue;
    for (int i = 0; i < LANES; i++)
      if (!(i & vector_bit)) exchange(&v[i], &v[i | vector_bit], lane_bit);
    from &= ~lane_bit;
    to &= ~vector_bit;
  }
}

INLINE void load_tile(layout l, const uint8_t *codes, bool rows_in_lanes, uint32_t *words) {
  __m512i v[LANES];
  load_vectors(l, codes, CHUNK, 0, 0, rows_in_lanes, v);
  for (int i = 0; i < LANES; i++) _mm512_storeu_si512(words + i * LANES, v[i]);
}

INLINE void unpack_tiles(layout l, const uint8_t *codes, size_t row_bytes, size_t row, bool rows_in_lanes,
                         uint8_t *unpacked) {
  const size_t count = (size_t)places(l), tiles = row_bytes / CHUNK;
  const digits d = digits_of(l.form);
  for (size_t tile = 0; tile < tiles; tile++) {
    __m512i v[LANES];
    load_vectors(l, codes, row_bytes, row, tile, rows_in_lanes, v);
    for (size_t i = 0; i < LANES; i++) {
      __m512i out[PLACES];
      unpack(l.form, &d, v[i], out);
      for (size_t k = 0; k < count; k++) {
        size_t place = rows_in_lanes ? (tile * count + k) * LANES + i : (i * tiles + tile) * count + k;
        _mm512_storeu_si512(unpacked + place * CHUNK, out[k]);
      }
    }
  }
}

/* ---- many vectors ---- */

/* Two tiles' height of rows with 8 vectors. */
static void prefill_block(const uint8_t *codes, size_t words, const int8_t *x, int32_t *y, size_t rows) {
  __m512i sums[8][2];
  for (size_t t = 0; t < 8; t++) sums[t][0] = sums[t][1] = _mm512_setzero_si512();
  for (size_t i = 0; i < words; i++) {
    __m512i a = _mm512_loadu_si512(codes + i * CHUNK), b = _mm512_loadu_si512(codes + (words + i) * CHUNK);
    for (size_t t = 0; t < 8; t++) {
      int32_t word;
      memcpy(&word, x + (t * words + i) * 4, sizeof word);
      sums[t][0] = _mm512_dpbusd_epi32(sums[t][0], a, _mm512_set1_epi32(word));
      sums[t][1] = _mm512_dpbusd_epi32(sums[t][1], b, _mm512_set1_epi32(word));
    }
  }
  for (size_t t = 0; t < 8; t++) {
    _mm512_storeu_si512(y + t * rows, sums[t][0]);
    _mm512_storeu_si512(y + t * rows + LANES, sums[t][1]);
  }
}

static void prefill(const kernels *k, const uint8_t *codes, size_t row_bytes, size_t rows, const int8_t *x, int32_t *y,
                    uint8_t *scratch) {
  size_t columns = row_bytes * (size_t)places(k->layout);
  for (size_t row = 0; row < rows; row += 2 * LANES) {
    k->unpack_across(codes, row_bytes, row, scratch);
    k->unpack_across(codes, row_bytes, row + LANES, scratch + columns * LANES);
    for (size_t t = 0; t < PREFILL; t += 8)
      prefill_block(scratch, columns / 4, x + t * columns, y + t * rows + row, rows);
  }
}

/* ---- transposed ---- */

INLINE __m512 to_floats(const uint8_t *codes) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes)));
}

static void backward_one(const uint8_t *codes, size_t columns, const float *dy, float *dx) {
  for (size_t c = 0; c < columns; c += LANES) {
    __m512 sum = _mm512_loadu_ps(dx + c);
    for (size_t r = 0; r < LANES; r++)
      sum = _mm512_fmadd_ps(_mm512_set1_ps(dy[r]), to_floats(codes + r * columns + c), sum);
    _mm512_storeu_ps(dx + c, sum);
  }
}

/* 8 vectors and 32 columns. */
static void backward_block(float (*weights)[32], size_t columns, size_t rows, const float *dy, float *dx) {
  __m512 sums[8][2];
  for (size_t t = 0; t < 8; t++)
    for (size_t j = 0; j < 2; j++) sums[t][j] = _mm512_loadu_ps(dx + t * columns + j * LANES);
  for (size_t r = 0; r < LANES; r++) {
    __m512 a = _mm512_loadu_ps(weights[r]), b = _mm512_loadu_ps(weights[r] + LANES);
    for (size_t t = 0; t < 8; t++) {
      __m512 factor = _mm512_set1_ps(dy[t * rows + r]);
      sums[t][0] = _mm512_fmadd_ps(factor, a, sums[t][0]);
      sums[t][1] = _mm512_fmadd_ps(factor, b, sums[t][1]);
    }
  }
  for (size_t t = 0; t < 8; t++)
    for (size_t j = 0; j < 2; j++) _mm512_storeu_ps(dx + t * columns + j * LANES, sums[t][j]);
}

static void backward(const kernels *k, const uint8_t *codes, size_t row_bytes, size_t rows, size_t count,
                     const float *dy, float *dx, uint8_t *scratch) {
  size_t columns = row_bytes * (size_t)places(k->layout);
  for (size_t row = 0; row < rows; row += LANES) {
    k->unpack_along(codes, row_bytes, row, scratch);
    if (count == 1) backward_one(scratch, columns, dy + row, dx);
    for (size_t c = 0; count > 1 && c < columns; c += 32) {
      float weights[LANES][32];
      for (size_t r = 0; r < LANES; r++) {
        _mm512_storeu_ps(weights[r], to_floats(scratch + r * columns + c));
        _mm512_storeu_ps(weights[r] + LANES, to_floats(scratch + r * columns + c + LANES));
      }
      for (size_t t = 0; t < count; t += 8)
        backward_block(weights, columns, rows, dy + t * rows + row, dx + t * columns + c);
    }
  }
}

LAYOUT_KERNELS

const instructions layout_avx512 = {"AVX-512", LANES, available, candidates, prefill, backward};
