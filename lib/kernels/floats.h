/* The kernels of floats, written once for every instruction set that has 16 floats as `lanes`: to be included behind
 * its lanes header by the file of its row. The functions have the names and the results of the scalar row's. */
#ifndef TQ_KERNELS_FLOATS_H
#define TQ_KERNELS_FLOATS_H

#include "kernels/exponential.h"
#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

/* What has constant arguments is compiled once for each. */
#define SPECIALIZED static inline __attribute__((always_inline))

/* exp in lanes: the steps of tq_exp, of which the bounds pass NaN on. */
SPECIALIZED lanes lanes_exp(lanes x) {
  const lanes round = lanes_set(12582912.0f), one = lanes_set(1.0f);
  lanes bounded = lanes_smaller(lanes_set(89.0f), lanes_larger(lanes_set(-104.0f), x));
  lanes n = lanes_sub(lanes_add(lanes_mul(bounded, lanes_set(0x1.715476p0f)), round), round);
  lanes high = lanes_sub(bounded, lanes_mul(n, lanes_set(0x1.62e4p-1f)));
  lanes r = lanes_sub(high, lanes_mul(n, lanes_set(0x1.7f7d1cp-20f)));
  lanes p = lanes_set(0x1.6d117cp-10f);
  p = lanes_add(lanes_mul(p, r), lanes_set(0x1.120be2p-7f));
  p = lanes_add(lanes_mul(p, r), lanes_set(0x1.555518p-5f));
  p = lanes_add(lanes_mul(p, r), lanes_set(0x1.5554dcp-3f));
  p = lanes_add(lanes_mul(p, r), lanes_set(0.5f));
  return lanes_scale(lanes_add(one, lanes_add(r, lanes_mul(lanes_mul(r, r), p))), n);
}

/* ---- element by element ---- */

static float sum_of_squares(const float *x, size_t count) {
  lanes sum = lanes_set(0.0f);
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) sum = lanes_add(sum, lanes_mul(lanes_load(x + i), lanes_load(x + i)));
  if (i < count) {
    lanes rest = lanes_load_some(x + i, count - i);
    sum = lanes_add(sum, lanes_mul(rest, rest));
  }
  return lanes_sum(sum);
}

static void rms_norm(const float *x, const float *weight, size_t size, float epsilon, float *y) {
  float mean = sum_of_squares(x, size) / (float)size;
  const lanes r = lanes_set(1.0f / sqrtf(mean + epsilon));
  size_t i = 0;
  for (; i + LANES <= size; i += LANES)
    lanes_store(y + i, lanes_mul(lanes_mul(lanes_load(x + i), r), lanes_load(weight + i)));
  if (i == size) return;
  lanes rest = lanes_mul(lanes_load_some(x + i, size - i), r);
  lanes_store_some(y + i, size - i, lanes_mul(rest, lanes_load_some(weight + i, size - i)));
}

static void add(float *y, const float *x, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) lanes_store(y + i, lanes_add(lanes_load(y + i), lanes_load(x + i)));
  if (i == count) return;
  lanes rest = lanes_add(lanes_load_some(y + i, count - i), lanes_load_some(x + i, count - i));
  lanes_store_some(y + i, count - i, rest);
}

static inline lanes turned_first(lanes a, lanes b, lanes cosine, lanes sine) {
  return lanes_sub(lanes_mul(a, cosine), lanes_mul(b, sine));
}

static inline lanes turned_second(lanes a, lanes b, lanes cosine, lanes sine) {
  return lanes_add(lanes_mul(b, cosine), lanes_mul(a, sine));
}

static void rope(float *x, size_t pairs, const float *cosines, const float *sines) {
  size_t i = 0;
  for (; i + LANES <= pairs; i += LANES) {
    lanes a = lanes_load(x + i), b = lanes_load(x + pairs + i);
    lanes cosine = lanes_load(cosines + i), sine = lanes_load(sines + i);
    lanes_store(x + i, turned_first(a, b, cosine, sine));
    lanes_store(x + pairs + i, turned_second(a, b, cosine, sine));
  }
  size_t rest = pairs - i;
  if (!rest) return;
  lanes a = lanes_load_some(x + i, rest), b = lanes_load_some(x + pairs + i, rest);
  lanes cosine = lanes_load_some(cosines + i, rest), sine = lanes_load_some(sines + i, rest);
  lanes_store_some(x + i, rest, turned_first(a, b, cosine, sine));
  lanes_store_some(x + pairs + i, rest, turned_second(a, b, cosine, sine));
}

SPECIALIZED lanes silu(lanes gate) {
  lanes minus = lanes_mul(gate, lanes_set(-1.0f));
  return lanes_div(gate, lanes_add(lanes_set(1.0f), lanes_exp(minus)));
}

static void gate_silu(const float *gate, const float *up, float *y, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) lanes_store(y + i, lanes_mul(silu(lanes_load(gate + i)), lanes_load(up + i)));
  if (i == count) return;
  lanes rest = silu(lanes_load_some(gate + i, count - i));
  lanes_store_some(y + i, count - i, lanes_mul(rest, lanes_load_some(up + i, count - i)));
}

static inline lanes squared_relu(lanes gate) {
  lanes positive = lanes_larger(lanes_set(0.0f), gate);
  return lanes_mul(positive, positive);
}

static void gate_squared_relu(const float *gate, const float *up, float *y, size_t count) {
  size_t i = 0;
  for (; i + LANES <= count; i += LANES)
    lanes_store(y + i, lanes_mul(squared_relu(lanes_load(gate + i)), lanes_load(up + i)));
  if (i == count) return;
  lanes rest = squared_relu(lanes_load_some(gate + i, count - i));
  lanes_store_some(y + i, count - i, lanes_mul(rest, lanes_load_some(up + i, count - i)));
}

/* The instruction makes signalling NaNs quiet, so that NaNs are left to the function. */
static void to_half(const float *x, size_t count, uint16_t *halves) {
  for (size_t i = 0; i < count; i += LANES) {
    size_t some = count - i < LANES ? count - i : LANES;
    lanes numbers = some == LANES ? lanes_load(x + i) : lanes_load_some(x + i, some);
    if (lanes_have_nan(numbers)) {
      for (size_t j = i; j < i + some; j++) halves[j] = tq_f32_to_f16(x[j]);
    } else if (some == LANES) {
      lanes_store_f16(halves + i, numbers);
    } else {
      uint16_t rest[LANES];
      lanes_store_f16(rest, numbers);
      memcpy(halves + i, rest, some * sizeof *rest);
    }
  }
}

#include "kernels/float_attention.h"
#include "kernels/float_products.h"

#endif
