/* The candidates with AVX2. A chunk is two halves of 8 lanes. */
#include "layout.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 8, HALF = 32, PLACES = 5, WIDEN = 8 /* chunks whose products of bytes fit 16 bits */ };

#define WITH_FMA __attribute__((target("fma")))
#define EACH_LANE(f) _mm256_setr_epi32(f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))

static bool available(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); /* those that have both have F16C */
}

/* ---- bytes to codes ---- */

/* A number of two digits, in each byte, to either. */
INLINE void two_digits(__m256i pairs, __m256i *codes) {
  const __m256i first =
      _mm256_setr_epi8(0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 0, 0);
  const __m256i second =
      _mm256_setr_epi8(0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0);
  codes[0] = _mm256_shuffle_epi8(first, pairs);
  codes[1] = _mm256_shuffle_epi8(second, pairs);
}

/* What products of even and of odd bytes carry. */
INLINE __m256i upper_bytes(__m256i even, __m256i odd) {
  return _mm256_blendv_epi8(_mm256_srli_epi16(even, 8), odd, _mm256_set1_epi16((short)0xff00));
}

/* Puts what 16-bit lanes say of even and of odd bytes together. */
INLINE __m256i join(__m256i even, __m256i odd) { return _mm256_or_si256(even, _mm256_slli_epi16(odd, 8)); }

/* Two digits at a time from the top: what carries out of 256 times 9. */
INLINE void by_multiplying(__m256i bytes, __m256i *codes) {
  const __m256i nine = _mm256_set1_epi16(9), three = _mm256_set1_epi16(3);
  __m256i even = _mm256_maddubs_epi16(bytes, nine), odd = _mm256_maddubs_epi16(bytes, _mm256_slli_epi16(nine, 8));
  two_digits(upper_bytes(even, odd), codes);
  even = _mm256_maddubs_epi16(even, nine);
  odd = _mm256_maddubs_epi16(odd, nine);
  two_digits(upper_bytes(even, odd), codes + 2);
  codes[4] = upper_bytes(_mm256_maddubs_epi16(even, three), _mm256_maddubs_epi16(odd, three));
}

/* The first digit by comparison; 3 times the byte has the next for its first, and comparing signed bytes needs an
 * offset of 128, which 3 times it leaves as it is. */
INLINE void by_comparing(__m256i bytes, __m256i *codes) {
  const __m256i one = _mm256_set1_epi8(85 - 128), two = _mm256_set1_epi8(170 - 128);
  bytes = _mm256_xor_si256(bytes, _mm256_set1_epi8((char)128));
  for (int k = 0; k < 5; k++) {
    codes[k] = _mm256_abs_epi8(_mm256_add_epi8(_mm256_cmpgt_epi8(bytes, one), _mm256_cmpgt_epi8(bytes, two)));
    bytes = _mm256_add_epi8(_mm256_add_epi8(bytes, bytes), bytes);
  }
}

INLINE __m256i divide(__m256i *words, short divisor, short reciprocal) {
  __m256i quotient = _mm256_mulhi_epu16(*words, _mm256_set1_epi16(reciprocal));
  *words = _mm256_sub_epi16(*words, _mm256_mullo_epi16(quotient, _mm256_set1_epi16(divisor)));
  return quotient;
}

INLINE void by_dividing(__m256i bytes, __m256i *codes) {
  __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(bytes, 8);
  __m256i even_pair = divide(&even, 27, 2428), odd_pair = divide(&odd, 27, 2428);
  two_digits(join(even_pair, odd_pair), codes);
  even_pair = divide(&even, 3, 21846);
  odd_pair = divide(&odd, 3, 21846);
  two_digits(join(even_pair, odd_pair), codes + 2);
  codes[4] = join(even, odd);
}

INLINE void unpack(int form, __m256i bytes, __m256i *codes) {
  const __m256i three = _mm256_set1_epi8(3);
  if (form == BASE3) {
    by_multiplying(bytes, codes);
  } else if (form == BASE3_OTHER) {
    by_comparing(bytes, codes);
  } else if (form == BASE3_PLAIN) {
    by_dividing(bytes, codes);
  } else {
    codes[0] = _mm256_and_si256(bytes, three);
    codes[1] = _mm256_and_si256(_mm256_srli_epi16(bytes, 2), three);
    codes[2] = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), three);
    codes[3] = _mm256_and_si256(_mm256_srli_epi16(bytes, 6), three);
  }
}

INLINE __m256i load(const uint8_t *bytes) { return _mm256_loadu_si256((const __m256i *)bytes); }

/* ---- one vector ---- */

INLINE __m256i activations(layout l, const int8_t *x, int half) {
  int32_t word;
  long long two;
  if (l.rows == 1) return _mm256_loadu_si256((const __m256i *)(x + half * HALF));
  if (l.piece == 16) return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)x));
  if (l.rows == 4) {
    memcpy(&two, x + half * 8, sizeof two);
    return _mm256_permutevar8x32_epi32(_mm256_castsi128_si256(_mm_cvtsi64_si128(two)),
                                       _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1));
  }
  if (l.piece == 8) {
    memcpy(&two, x, sizeof two);
    return _mm256_set1_epi64x(two);
  }
  memcpy(&word, l.rows == 8 ? x + half * 4 : x, sizeof word);
  return _mm256_set1_epi32(word);
}

/* Adds the lanes of each row, and stores the rows less `minus`. */
INLINE void store(layout l, const __m256 *halves, float minus, float *y) {
  const __m256 eight = _mm256_set1_ps(minus);
  const __m128 four = _mm_set1_ps(minus);
  if (l.rows == 16) {
    _mm256_storeu_ps(y, _mm256_sub_ps(halves[0], eight));
    _mm256_storeu_ps(y + LANES, _mm256_sub_ps(halves[1], eight));
  } else if (l.piece == 8) {
    __m256 pairs = _mm256_sub_ps(_mm256_hadd_ps(halves[0], halves[1]), eight);
    _mm256_storeu_ps(y, _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xd8)));
  } else if (l.piece == 16) {
    __m256 pairs = _mm256_hadd_ps(halves[0], halves[1]), fours = _mm256_hadd_ps(pairs, pairs);
    __m128 even = _mm256_castps256_ps128(fours), odd = _mm256_extractf128_ps(fours, 1);
    _mm_storeu_ps(y, _mm_sub_ps(_mm_unpacklo_ps(even, odd), four));
  } else if (l.rows == 8) {
    _mm256_storeu_ps(y, _mm256_sub_ps(_mm256_add_ps(halves[0], halves[1]), eight));
  } else {
    __m256 both = _mm256_add_ps(halves[0], halves[1]);
    __m128 sums = _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1));
    if (l.rows == 4) {
      _mm_storeu_ps(y, _mm_sub_ps(sums, four));
      return;
    }
    sums = _mm_add_ps(sums, _mm_movehl_ps(sums, sums));
    *y = _mm_cvtss_f32(_mm_add_ss(sums, _mm_movehdup_ps(sums))) - minus;
  }
}

INLINE __m256i widened(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

INLINE void decode(layout l, const product *p) {
  const int count = places(l);
  const size_t chunks = p->row_bytes / (size_t)width(l), rows = (size_t)(l.rows * l.streams);
  for (size_t row = p->begin; row < p->end; row += rows) {
    const uint8_t *panel = p->codes + row * p->row_bytes;
    const int8_t *x = p->x;
    __m256i sums[4][2];
    for (int s = 0; s < l.streams; s++) sums[s][0] = sums[s][1] = _mm256_setzero_si256();
    for (size_t begin = 0; begin < chunks; begin += WIDEN) {
      size_t end = begin + WIDEN < chunks ? begin + WIDEN : chunks;
      __m256i narrow[4][2];
      for (int s = 0; s < l.streams; s++) narrow[s][0] = narrow[s][1] = _mm256_setzero_si256();
#pragma GCC unroll 2
      for (size_t i = begin; i < end; i++, x += count * width(l)) {
        for (int s = 0; s < l.streams; s++) {
          const uint8_t *chunk = panel + (size_t)s * p->row_bytes + i * CHUNK;
          if (PREFETCH) _mm_prefetch((const char *)chunk + PREFETCH, _MM_HINT_T0);
          for (int h = 0; h < 2; h++) {
            __m256i codes[PLACES];
            unpack(l.form, load(chunk + h * HALF), codes);
            for (int k = 0; k < count; k++)
              narrow[s][h] =
                  _mm256_add_epi16(narrow[s][h], _mm256_maddubs_epi16(codes[k], activations(l, x + k * width(l), h)));
          }
        }
      }
      for (int s = 0; s < l.streams; s++)
        for (int h = 0; h < 2; h++) sums[s][h] = _mm256_add_epi32(sums[s][h], widened(narrow[s][h]));
    }
    for (int s = 0; s < l.streams; s++) {
      __m256 halves[2] = {_mm256_cvtepi32_ps(sums[s][0]), _mm256_cvtepi32_ps(sums[s][1])};
      store(l, halves, p->sum, p->y + row + s);
    }
  }
}

/* The scales of half a chunk's lanes for one place. */
INLINE __m256 lane_scales(layout l, int k, int half, const uint16_t *scales) {
  const int lane0 = half * LANES, first = lane_scale(l, lane0, k) & ~7;
#define SCALE(lane) (lane_scale(l, lane0 + lane, k) - first)
  __m256 eight = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(scales + first)));
  return l.rows == 16 ? eight : _mm256_permutevar8x32_ps(eight, EACH_LANE(SCALE));
#undef SCALE
}

INLINE void decode_groups(layout l, const product *p) {
  const int count = places(l), sums_count = run_sums(l);
  const size_t runs = p->row_bytes / (size_t)(width(l) * run_chunks(l)), rows = (size_t)(l.rows * l.streams);
  const size_t run_bytes = (size_t)run_chunks(l) * CHUNK;
  for (size_t row = p->begin; row < p->end; row += rows) {
    const uint8_t *panel = p->codes + row * p->row_bytes;
    const int8_t *x = p->x;
    const int32_t *minus = p->minus;
    const uint16_t *scales = p->scales + row / (size_t)l.rows * runs * (size_t)run_scales(l);
    __m256 totals[4][2];
    for (int s = 0; s < l.streams; s++) totals[s][0] = totals[s][1] = _mm256_setzero_ps();
    for (size_t u = 0; u < runs; u++, minus += sums_count * 2 * LANES) {
      for (int s = 0; s < l.streams; s++) {
        const uint8_t *run = panel + (size_t)s * p->row_bytes + u * run_bytes;
        const uint16_t *run_scale = scales + ((size_t)s * runs + u) * (size_t)run_scales(l);
        for (int h = 0; h < 2; h++) {
          __m256i sums[PLACES];
          for (int k = 0; k < sums_count; k++) sums[k] = _mm256_setzero_si256();
          for (int i = 0; i < run_chunks(l); i++) {
            __m256i codes[PLACES];
            if (PREFETCH) _mm_prefetch((const char *)run + i * CHUNK + PREFETCH, _MM_HINT_T0);
            unpack(l.form, load(run + i * CHUNK + h * HALF), codes);
            for (int k = 0; k < count; k++)
              sums[k % sums_count] =
                  _mm256_add_epi16(sums[k % sums_count],
                                   _mm256_maddubs_epi16(codes[k], activations(l, x + (i * count + k) * width(l), h)));
          }
          for (int k = 0; k < sums_count; k++) {
            const int32_t *from = minus + (k * 2 + h) * LANES;
            __m256i sum = _mm256_add_epi32(widened(sums[k]), _mm256_loadu_si256((const __m256i *)from));
            totals[s][h] =
                _mm256_add_ps(totals[s][h], _mm256_mul_ps(_mm256_cvtepi32_ps(sum), lane_scales(l, k, h, run_scale)));
          }
        }
      }
      x += run_chunks(l) * count * width(l);
    }
    for (int s = 0; s < l.streams; s++) store(l, totals[s], 0.0f, p->y + row + s);
  }
}

/* ---- tiles ---- */

/* Takes a bit out of the lanes' numbers, and the bit by which the numbers of the two vectors differ into them. Lanes
 * change places where that saves an instruction. */
INLINE void exchange(__m256i *a, __m256i *b, int bit) {
  __m256i low, high;
  if (bit == 4) {
    low = _mm256_permute2x128_si256(*a, *b, 0x20);
    high = _mm256_permute2x128_si256(*a, *b, 0x31);
  } else if (bit == 2) {
    low = _mm256_unpacklo_epi64(*a, *b);
    high = _mm256_unpackhi_epi64(*a, *b);
  } else {
    __m256 first = _mm256_castsi256_ps(*a), second = _mm256_castsi256_ps(*b);
    low = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88));
    high = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd));
  }
  *a = low;
  *b = high;
}

INLINE void load_vectors(layout l, const uint8_t *codes, size_t row_bytes, size_t row, size_t tile, bool rows_in_lanes,
                         __m256i *v) {
  const size_t height = (size_t)l.rows;
  for (size_t i = 0; i < LANES; i++)
    v[i] = l.rows == 16 ? load(codes + row / 16 * 16 * row_bytes + row % 16 * 4 + (tile * LANES + i) * CHUNK)
                        : load(codes + (row + i / height * height) * row_bytes + (tile * height + i % height) * HALF);
  /* Bits that say a row: of the lanes' numbers, and of the vectors'. The highest of the lanes' go first. */
  int lanes = (l.rows - 1) * (l.piece / 4) & 7;
  int vectors = l.rows == 16 ? 0 : 8 - l.rows + (l.rows - 1) * (l.piece / 4) / 8 % l.rows;
  int from = rows_in_lanes ? 7 & ~lanes : lanes, to = rows_in_lanes ? vectors : 7 & ~vectors;
  for (int bit = 4; bit > 0; bit /= 2) {
    int vector_bit = to & -to;
    if (!(from & bit)) continue;
    for (int i = 0; i < LANES; i++)
      if (!(i & vector_bit)) exchange(&v[i], &v[i | vector_bit], bit);
    to &= ~vector_bit;
  }
}

INLINE void load_tile(layout l, const uint8_t *codes, bool rows_in_lanes, uint32_t *words) {
  __m256i v[LANES];
  load_vectors(l, codes, HALF, 0, 0, rows_in_lanes, v);
  for (int i = 0; i < LANES; i++) _mm256_storeu_si256((__m256i *)(words + i * LANES), v[i]);
}

INLINE void unpack_tiles(layout l, const uint8_t *codes, size_t row_bytes, size_t row, bool rows_in_lanes,
                         uint8_t *unpacked) {
  const size_t count = (size_t)places(l), tiles = row_bytes / HALF;
  for (size_t tile = 0; tile < tiles; tile++) {
    __m256i v[LANES];
    load_vectors(l, codes, row_bytes, row, tile, rows_in_lanes, v);
    for (size_t i = 0; i < LANES; i++) {
      __m256i out[PLACES];
      unpack(l.form, v[i], out);
      for (size_t k = 0; k < count; k++) {
        size_t place = rows_in_lanes ? (tile * count + k) * LANES + i : (i * tiles + tile) * count + k;
        _mm256_storeu_si256((__m256i *)(unpacked + place * HALF), out[k]);
      }
    }
  }
}

/* ---- many vectors ---- */

/* Two tiles' height of rows with 4 vectors; sums of 16 bits for 32 columns. */
static void prefill_block(const uint8_t *codes, size_t words, const int8_t *x, int32_t *y, size_t rows) {
  __m256i sums[4][2];
  for (size_t t = 0; t < 4; t++) sums[t][0] = sums[t][1] = _mm256_setzero_si256();
  for (size_t begin = 0; begin < words; begin += 8) {
    __m256i narrow[4][2];
    for (size_t t = 0; t < 4; t++) narrow[t][0] = narrow[t][1] = _mm256_setzero_si256();
    for (size_t i = begin; i < begin + 8; i++) {
      __m256i a = load(codes + i * HALF), b = load(codes + (words + i) * HALF);
      for (size_t t = 0; t < 4; t++) {
        int32_t word;
        memcpy(&word, x + (t * words + i) * 4, sizeof word);
        __m256i factor = _mm256_set1_epi32(word);
        narrow[t][0] = _mm256_add_epi16(narrow[t][0], _mm256_maddubs_epi16(a, factor));
        narrow[t][1] = _mm256_add_epi16(narrow[t][1], _mm256_maddubs_epi16(b, factor));
      }
    }
    for (size_t t = 0; t < 4; t++)
      for (size_t j = 0; j < 2; j++) sums[t][j] = _mm256_add_epi32(sums[t][j], widened(narrow[t][j]));
  }
  for (size_t t = 0; t < 4; t++)
    for (size_t j = 0; j < 2; j++) _mm256_storeu_si256((__m256i *)(y + t * rows + j * LANES), sums[t][j]);
}

static void prefill(const kernels *k, const uint8_t *codes, size_t row_bytes, size_t rows, const int8_t *x, int32_t *y,
                    uint8_t *scratch) {
  size_t columns = row_bytes * (size_t)places(k->layout);
  for (size_t row = 0; row < rows; row += 2 * LANES) {
    k->unpack_across(codes, row_bytes, row, scratch);
    k->unpack_across(codes, row_bytes, row + LANES, scratch + columns * LANES);
    for (size_t t = 0; t < PREFILL; t += 4)
      prefill_block(scratch, columns / 4, x + t * columns, y + t * rows + row, rows);
  }
}

/* ---- transposed ---- */

INLINE __m256 to_floats(const uint8_t *codes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes)));
}

WITH_FMA static void backward_one(const uint8_t *codes, size_t columns, const float *dy, float *dx) {
  for (size_t c = 0; c < columns; c += LANES) {
    __m256 sum = _mm256_loadu_ps(dx + c);
    for (size_t r = 0; r < LANES; r++)
      sum = _mm256_fmadd_ps(_mm256_set1_ps(dy[r]), to_floats(codes + r * columns + c), sum);
    _mm256_storeu_ps(dx + c, sum);
  }
}

/* 4 vectors and 16 columns. */
WITH_FMA static void backward_block(float (*weights)[16], size_t columns, size_t rows, const float *dy, float *dx) {
  __m256 sums[4][2];
  for (size_t t = 0; t < 4; t++)
    for (size_t j = 0; j < 2; j++) sums[t][j] = _mm256_loadu_ps(dx + t * columns + j * LANES);
  for (size_t r = 0; r < LANES; r++) {
    __m256 a = _mm256_loadu_ps(weights[r]), b = _mm256_loadu_ps(weights[r] + LANES);
    for (size_t t = 0; t < 4; t++) {
      __m256 factor = _mm256_set1_ps(dy[t * rows + r]);
      sums[t][0] = _mm256_fmadd_ps(factor, a, sums[t][0]);
      sums[t][1] = _mm256_fmadd_ps(factor, b, sums[t][1]);
    }
  }
  for (size_t t = 0; t < 4; t++)
    for (size_t j = 0; j < 2; j++) _mm256_storeu_ps(dx + t * columns + j * LANES, sums[t][j]);
}

static void backward(const kernels *k, const uint8_t *codes, size_t row_bytes, size_t rows, size_t count,
                     const float *dy, float *dx, uint8_t *scratch) {
  size_t columns = row_bytes * (size_t)places(k->layout);
  for (size_t row = 0; row < rows; row += LANES) {
    k->unpack_along(codes, row_bytes, row, scratch);
    if (count == 1) backward_one(scratch, columns, dy + row, dx);
    for (size_t c = 0; count > 1 && c < columns; c += 16) {
      float weights[LANES][16];
      for (size_t r = 0; r < LANES; r++) {
        _mm256_storeu_ps(weights[r], to_floats(scratch + r * columns + c));
        _mm256_storeu_ps(weights[r] + LANES, to_floats(scratch + r * columns + c + LANES));
      }
      for (size_t t = 0; t < count; t += 4)
        backward_block(weights, columns, rows, dy + t * rows + row, dx + t * columns + c);
    }
  }
}

LAYOUT_KERNELS

const instructions layout_avx2 = {"AVX2", LANES, available, candidates, prefill, backward};
