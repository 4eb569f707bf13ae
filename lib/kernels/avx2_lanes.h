/* 16 floats in two AVX registers. */
#ifndef TQ_KERNELS_AVX2_LANES_H
#define TQ_KERNELS_AVX2_LANES_H

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct lanes {
  __m256 low, high;
} lanes;

/* Accumulators that registers hold beside what is multiplied: of queries, of rows and tokens. */
enum { TILE_QUERIES = 4, TILE_ROWS = 2, TILE_TOKENS = 2 };

static inline lanes lanes_of(__m256 low, __m256 high) { return (lanes){low, high}; }

/* All ones in the lanes before `count`, from lane `begin` on. */
static inline __m256i first_lanes(size_t count, int begin) {
  __m256i index = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(begin));
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), index);
}

static inline lanes lanes_set(float x) { return lanes_of(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
static inline lanes lanes_load(const void *x) {
  const float *from = x;
  return lanes_of(_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8));
}
static inline void lanes_store(float *x, lanes a) {
  _mm256_storeu_ps(x, a.low);
  _mm256_storeu_ps(x + 8, a.high);
}
static inline lanes lanes_load_some(const float *x, size_t count) {
  return lanes_of(_mm256_maskload_ps(x, first_lanes(count, 0)), _mm256_maskload_ps(x + 8, first_lanes(count, 8)));
}
static inline void lanes_store_some(float *x, size_t count, lanes a) {
  _mm256_maskstore_ps(x, first_lanes(count, 0), a.low);
  _mm256_maskstore_ps(x + 8, first_lanes(count, 8), a.high);
}

static inline lanes lanes_add(lanes a, lanes b) {
  return lanes_of(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}
static inline lanes lanes_sub(lanes a, lanes b) {
  return lanes_of(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}
static inline lanes lanes_mul(lanes a, lanes b) {
  return lanes_of(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}
static inline lanes lanes_div(lanes a, lanes b) {
  return lanes_of(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high));
}
/* a > b ? a : b, and a < b ? a : b */
static inline lanes lanes_larger(lanes a, lanes b) {
  return lanes_of(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}
static inline lanes lanes_smaller(lanes a, lanes b) {
  return lanes_of(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}
static inline bool lanes_have_nan(lanes a) {
  __m256 low = _mm256_cmp_ps(a.low, a.low, _CMP_UNORD_Q), high = _mm256_cmp_ps(a.high, a.high, _CMP_UNORD_Q);
  return _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0;
}

/* a * 2^n for whole n in [-150, 128], rounded once: two factors, since 2^n alone may not be a normal number. */
static inline __m256 eight_scaled(__m256 a, __m256 n) {
  __m256i whole = _mm256_cvttps_epi32(n), half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  __m256i rest = _mm256_sub_epi32(whole, half);
  __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(a, first), second);
}
static inline lanes lanes_scale(lanes a, lanes n) {
  return lanes_of(eight_scaled(a.low, n.low), eight_scaled(a.high, n.high));
}

static inline float lanes_sum(lanes a) {
  __m256 eight = _mm256_add_ps(a.low, a.high);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float lanes_largest(lanes a) {
  __m256 eight = _mm256_max_ps(a.low, a.high);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline lanes lanes_load_f16(const void *x) {
  const __m128i *from = x;
  return lanes_of(_mm256_cvtph_ps(_mm_loadu_si128(from)), _mm256_cvtph_ps(_mm_loadu_si128(from + 1)));
}
static inline __m256 eight_bf16(__m128i brains) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(brains), 16));
}
static inline lanes lanes_load_bf16(const void *x) {
  const __m128i *from = x;
  return lanes_of(eight_bf16(_mm_loadu_si128(from)), eight_bf16(_mm_loadu_si128(from + 1)));
}
static inline __m256i eight_i8(const uint8_t *x) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)x)); }
static inline lanes lanes_load_i8(const void *x) {
  const uint8_t *from = x;
  return lanes_of(_mm256_cvtepi32_ps(eight_i8(from)), _mm256_cvtepi32_ps(eight_i8(from + 8)));
}
/* One F16 in all lanes. */
static inline lanes lanes_set_f16(const void *x) {
  short half;
  memcpy(&half, x, sizeof half);
  __m256 eight = _mm256_cvtph_ps(_mm_set1_epi16(half));
  return lanes_of(eight, eight);
}
/* To F16, halves to even; a signalling NaN becomes a quiet one. */
static inline void lanes_store_f16(void *x, lanes a) {
  __m128i *to = x;
  _mm_storeu_si128(to, _mm256_cvtps_ph(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  _mm_storeu_si128(to + 1, _mm256_cvtps_ph(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* What scale * (n - less) is for a number n of 4 bits, and that less a minimum. */
typedef struct ramp {
  __m256 scale, less, minimum;
} ramp;

static inline ramp ramp_make(lanes scale, float less) {
  return (ramp){scale.low, _mm256_set1_ps(less), _mm256_setzero_ps()};
}
static inline ramp ramp_less(ramp on, lanes minimum) { return (ramp){on.scale, on.less, minimum.low}; }

static inline __m256 eight_on_ramp(__m256i numbers, ramp on) {
  __m256 n = _mm256_sub_ps(_mm256_cvtepi32_ps(numbers), on.less);
  return _mm256_sub_ps(_mm256_mul_ps(on.scale, n), on.minimum);
}

/* The low halves of 16 bytes, and the high halves. */
static inline void lanes_load_nibbles(const void *x, ramp low_ramp, ramp high_ramp, lanes *low, lanes *high) {
  const uint8_t *from = x;
  __m256i first = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)from)), mask = _mm256_set1_epi32(15);
  __m256i second = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(from + 8)));
  *low = lanes_of(eight_on_ramp(_mm256_and_si256(first, mask), low_ramp),
                  eight_on_ramp(_mm256_and_si256(second, mask), low_ramp));
  *high = lanes_of(eight_on_ramp(_mm256_srli_epi32(first, 4), high_ramp),
                   eight_on_ramp(_mm256_srli_epi32(second, 4), high_ramp));
}

static inline __m256 eight_numbers(__m128i bytes) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)); }

/* 32 bytes of low halves, shifted by `low_shift`, with 32 bytes of quarters, shifted by `high_shift`, less 32. */
static inline void lanes_load_six_bits(const void *low, const void *high, int low_shift, int high_shift, lanes w[2]) {
  __m256i four = _mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256(low), low_shift), _mm256_set1_epi8(15));
  __m256i two = _mm256_and_si256(_mm256_srli_epi16(_mm256_loadu_si256(high), high_shift), _mm256_set1_epi8(3));
  __m256i number = _mm256_sub_epi8(_mm256_or_si256(four, _mm256_slli_epi16(two, 4)), _mm256_set1_epi8(32));
  __m128i first = _mm256_castsi256_si128(number), second = _mm256_extracti128_si256(number, 1);
  w[0] = lanes_of(eight_numbers(first), eight_numbers(_mm_unpackhi_epi64(first, first)));
  w[1] = lanes_of(eight_numbers(second), eight_numbers(_mm_unpackhi_epi64(second, second)));
}

/* The weights that trits -1 to 2 are, 0 being 0 whatever the scale. */
typedef __m256 trit_table;

static inline trit_table trit_table_make(float scale) {
  return _mm256_setr_ps(0, scale, 2 * scale, 0, 0, 0, 0, -scale);
}

static inline lanes lanes_load_trits(const int8_t *trits, trit_table table) {
  const uint8_t *from = (const void *)trits;
  return lanes_of(_mm256_permutevar8x32_ps(table, eight_i8(from)), _mm256_permutevar8x32_ps(table, eight_i8(from + 8)));
}

#endif
