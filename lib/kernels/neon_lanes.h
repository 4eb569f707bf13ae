/* 16 floats in four NEON registers. */
#ifndef TQ_KERNELS_NEON_LANES_H
#define TQ_KERNELS_NEON_LANES_H

#include <arm_neon.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct lanes {
  float32x4_t a, b, c, d;
} lanes;

/* Accumulators that registers hold beside what is multiplied: of queries, of rows and tokens. */
enum { TILE_QUERIES = 4, TILE_ROWS = 2, TILE_TOKENS = 2 };

static inline lanes lanes_set(float x) {
  float32x4_t four = vdupq_n_f32(x);
  return (lanes){four, four, four, four};
}
static inline lanes lanes_load(const void *x) {
  const uint8_t *from = x;
  return (lanes){vreinterpretq_f32_u8(vld1q_u8(from)), vreinterpretq_f32_u8(vld1q_u8(from + 16)),
                 vreinterpretq_f32_u8(vld1q_u8(from + 32)), vreinterpretq_f32_u8(vld1q_u8(from + 48))};
}
static inline void lanes_store(float *x, lanes v) {
  vst1q_f32(x, v.a);
  vst1q_f32(x + 4, v.b);
  vst1q_f32(x + 8, v.c);
  vst1q_f32(x + 12, v.d);
}
static inline lanes lanes_load_some(const float *x, size_t count) {
  float all[16] = {0};
  memcpy(all, x, count * sizeof *x);
  return lanes_load(all);
}
static inline void lanes_store_some(float *x, size_t count, lanes v) {
  float all[16];
  lanes_store(all, v);
  memcpy(x, all, count * sizeof *x);
}

static inline lanes lanes_add(lanes x, lanes y) {
  return (lanes){vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b), vaddq_f32(x.c, y.c), vaddq_f32(x.d, y.d)};
}
static inline lanes lanes_sub(lanes x, lanes y) {
  return (lanes){vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b), vsubq_f32(x.c, y.c), vsubq_f32(x.d, y.d)};
}
static inline lanes lanes_mul(lanes x, lanes y) {
  return (lanes){vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b), vmulq_f32(x.c, y.c), vmulq_f32(x.d, y.d)};
}
static inline lanes lanes_div(lanes x, lanes y) {
  return (lanes){vdivq_f32(x.a, y.a), vdivq_f32(x.b, y.b), vdivq_f32(x.c, y.c), vdivq_f32(x.d, y.d)};
}
static inline float32x4_t four_larger(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
static inline float32x4_t four_smaller(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
/* x > y ? x : y, and x < y ? x : y */
static inline lanes lanes_larger(lanes x, lanes y) {
  return (lanes){four_larger(x.a, y.a), four_larger(x.b, y.b), four_larger(x.c, y.c), four_larger(x.d, y.d)};
}
static inline lanes lanes_smaller(lanes x, lanes y) {
  return (lanes){four_smaller(x.a, y.a), four_smaller(x.b, y.b), four_smaller(x.c, y.c), four_smaller(x.d, y.d)};
}
static inline bool lanes_have_nan(lanes x) {
  uint32x4_t ab = vandq_u32(vceqq_f32(x.a, x.a), vceqq_f32(x.b, x.b));
  uint32x4_t cd = vandq_u32(vceqq_f32(x.c, x.c), vceqq_f32(x.d, x.d));
  return vminvq_u32(vandq_u32(ab, cd)) == 0;
}

/* x * 2^n for whole n in [-150, 128], rounded once: two factors, since 2^n alone may not be a normal number. */
static inline float32x4_t four_scaled(float32x4_t x, float32x4_t n) {
  int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1), bias = vdupq_n_s32(127);
  int32x4_t rest = vsubq_s32(whole, half);
  float32x4_t first = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  float32x4_t second = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
  return vmulq_f32(vmulq_f32(x, first), second);
}
static inline lanes lanes_scale(lanes x, lanes n) {
  return (lanes){four_scaled(x.a, n.a), four_scaled(x.b, n.b), four_scaled(x.c, n.c), four_scaled(x.d, n.d)};
}

static inline float lanes_sum(lanes x) {
  float32x4_t four = vaddq_f32(vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d));
  float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline float lanes_largest(lanes x) { return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.a, x.b), vmaxq_f32(x.c, x.d))); }

static inline float32x4_t four_f16(const uint8_t *x) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(x))); }
static inline lanes lanes_load_f16(const void *x) {
  const uint8_t *from = x;
  return (lanes){four_f16(from), four_f16(from + 8), four_f16(from + 16), four_f16(from + 24)};
}
static inline float32x4_t four_bf16(const uint8_t *x) {
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(x)), 16));
}
static inline lanes lanes_load_bf16(const void *x) {
  const uint8_t *from = x;
  return (lanes){four_bf16(from), four_bf16(from + 8), four_bf16(from + 16), four_bf16(from + 24)};
}
static inline float32x4_t low_four(int16x8_t x) { return vcvtq_f32_s32(vmovl_s16(vget_low_s16(x))); }
static inline float32x4_t high_four(int16x8_t x) { return vcvtq_f32_s32(vmovl_high_s16(x)); }
static inline lanes lanes_of_bytes(int8x16_t x) {
  int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
  return (lanes){low_four(low), high_four(low), low_four(high), high_four(high)};
}
static inline lanes lanes_load_i8(const void *x) { return lanes_of_bytes(vld1q_s8(x)); }
/* One F16 in all lanes. */
static inline lanes lanes_set_f16(const void *x) {
  uint16_t half;
  memcpy(&half, x, sizeof half);
  float32x4_t four = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
  return (lanes){four, four, four, four};
}
static inline uint8x8_t four_to_f16(float32x4_t x) { return vreinterpret_u8_f16(vcvt_f16_f32(x)); }
/* To F16, halves to even; a signalling NaN becomes a quiet one. */
static inline void lanes_store_f16(void *x, lanes v) {
  uint8_t *to = x;
  vst1q_u8(to, vcombine_u8(four_to_f16(v.a), four_to_f16(v.b)));
  vst1q_u8(to + 16, vcombine_u8(four_to_f16(v.c), four_to_f16(v.d)));
}

/* What scale * (n - less) is for a number n of 4 bits, and that less a minimum. */
typedef struct ramp {
  lanes scale, minimum;
  int8_t less;
} ramp;

static inline ramp ramp_make(lanes scale, int8_t less) { return (ramp){scale, lanes_set(0.0f), less}; }
static inline ramp ramp_less(ramp on, lanes minimum) { return (ramp){on.scale, minimum, on.less}; }

static inline lanes lanes_on_ramp(uint8x16_t numbers, ramp on) {
  lanes n = lanes_of_bytes(vsubq_s8(vreinterpretq_s8_u8(numbers), vdupq_n_s8(on.less)));
  return lanes_sub(lanes_mul(on.scale, n), on.minimum);
}

/* The low halves of 16 bytes, and the high halves. */
static inline void lanes_load_nibbles(const void *x, ramp low_ramp, ramp high_ramp, lanes *low, lanes *high) {
  uint8x16_t bytes = vld1q_u8(x);
  *low = lanes_on_ramp(vandq_u8(bytes, vdupq_n_u8(15)), low_ramp);
  *high = lanes_on_ramp(vshrq_n_u8(bytes, 4), high_ramp);
}

static inline lanes sixteen_six_bits(const uint8_t *low, const uint8_t *high, int8x16_t low_shift,
                                     int8x16_t high_shift) {
  uint8x16_t four = vandq_u8(vshlq_u8(vld1q_u8(low), low_shift), vdupq_n_u8(15));
  uint8x16_t two = vandq_u8(vshlq_u8(vld1q_u8(high), high_shift), vdupq_n_u8(3));
  uint8x16_t number = vorrq_u8(four, vshlq_n_u8(two, 4));
  return lanes_of_bytes(vsubq_s8(vreinterpretq_s8_u8(number), vdupq_n_s8(32)));
}

/* 32 bytes of low halves, shifted by `low_shift`, with 32 bytes of quarters, shifted by `high_shift`, less 32. */
static inline void lanes_load_six_bits(const uint8_t *low, const uint8_t *high, int low_shift, int high_shift,
                                       lanes w[2]) {
  int8x16_t down_low = vdupq_n_s8((int8_t)-low_shift), down_high = vdupq_n_s8((int8_t)-high_shift);
  w[0] = sixteen_six_bits(low, high, down_low, down_high);
  w[1] = sixteen_six_bits(low + 16, high + 16, down_low, down_high);
}

/* The weights that trits -1 to 2 are, 0 being 0 whatever the scale. */
typedef float32x4_t trit_table;

static inline trit_table trit_table_make(float scale) { return vdupq_n_f32(scale); }

/* A product's bits, or none where the trit is 0. */
static inline float32x4_t four_weights(float32x4_t trits, float32x4_t scale) {
  uint32x4_t zero = vceqzq_f32(trits);
  return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(vmulq_f32(trits, scale)), zero));
}

static inline lanes lanes_load_trits(const int8_t *trits, trit_table table) {
  lanes x = lanes_of_bytes(vld1q_s8(trits));
  return (lanes){four_weights(x.a, table), four_weights(x.b, table), four_weights(x.c, table),
                 four_weights(x.d, table)};
}

#endif
