/* exp in float, in one fixed order of operations that every instruction set can follow: no fused steps, no table.
 * Largest error, found by trying every float: 1.05 ulp where the result is normal, 0.75 ulp where it is denormal. */
#ifndef TQ_KERNELS_EXPONENTIAL_H
#define TQ_KERNELS_EXPONENTIAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* 2^n for n in [-126, 127]. */
static inline float tq_power_of_two(int32_t n) {
  uint32_t bits = (uint32_t)(n + 127) << 23;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* exp(x) = 2^n exp(r) with n = round(x / ln 2) and |r| <= ln(2) / 2, where exp(r) = 1 + (r + r^2 P(r)); the
 * coefficients of P are a Chebyshev fit. Results too large are infinite, results below half the smallest denormal are
 * 0, NaN stays NaN. */
static inline float tq_exp(float x) {
  const float round = 12582912.0f;                                /* 1.5 * 2^23: adding it rounds to a whole number */
  const float ln2_high = 0x1.62e4p-1f, ln2_low = 0x1.7f7d1cp-20f; /* 15 bits, so that n * ln2_high is exact; the rest */
  float bounded = x < -104.0f ? -104.0f : x > 89.0f ? 89.0f : x == x ? x : 0.0f;
  float n = (bounded * 0x1.715476p0f + round) - round;
  float r = (bounded - n * ln2_high) - n * ln2_low;
  float p = 0x1.6d117cp-10f;
  p = p * r + 0x1.120be2p-7f;
  p = p * r + 0x1.555518p-5f;
  p = p * r + 0x1.5554dcp-3f;
  p = p * r + 0.5f;
  float y = 1.0f + (r + (r * r) * p);
  /* Two factors, since 2^n alone may not be a normal number. */
  int32_t whole = (int32_t)n, half = whole / 2;
  float value = (y * tq_power_of_two(half)) * tq_power_of_two(whole - half);
  return x == x ? value : x;
}

#endif
