/* The reference: plain C that any compiler may vectorise without changing a bit. */
#include "kernels/exponential.h"
#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <math.h>
#include <string.h>

enum { LANES = 16 };

static bool always(void) { return true; }

/* Adds 16 partial sums as a binary tree. */
static inline float add_lanes(const float *lanes) {
  float eight[8], four[4];
  for (size_t j = 0; j < 8; j++) eight[j] = lanes[j] + lanes[j + 8];
  for (size_t j = 0; j < 4; j++) four[j] = eight[j] + eight[j + 4];
  return (four[0] + four[2]) + (four[1] + four[3]);
}

static float dot(const float *a, const float *b, size_t count) {
  float lanes[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= count; i += LANES)
    for (size_t j = 0; j < LANES; j++) lanes[j] += a[i + j] * b[i + j];
  for (size_t j = 0; i + j < count; j++) lanes[j] += a[i + j] * b[i + j];
  return add_lanes(lanes);
}

static void add_scaled(float *y, const float *x, float a, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] += a * x[i];
}

static float exponentials(const float *x, float offset, float *y, size_t count) {
  float lanes[LANES] = {0};
  size_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    for (size_t j = 0; j < LANES; j++) y[i + j] = tq_exp(x[i + j] - offset);
    for (size_t j = 0; j < LANES; j++) lanes[j] += y[i + j];
  }
  for (size_t j = 0; i + j < count; j++) {
    y[i + j] = tq_exp(x[i + j] - offset);
    lanes[j] += y[i + j];
  }
  return add_lanes(lanes);
}

static void gate_silu(const float *gate, const float *up, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] = gate[i] / (1.0f + tq_exp(-gate[i])) * up[i];
}

static void gate_squared_relu(const float *gate, const float *up, float *y, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float positive = gate[i] < 0.0f ? 0.0f : gate[i];
    y[i] = positive * positive * up[i];
  }
}

static void linear_rows(const tq_matrix *matrix, uint64_t begin, uint64_t end, const float *inputs, size_t count,
                        float *outputs, float *scratch) {
  size_t columns = (size_t)matrix->columns;
  for (uint64_t row = begin; row < end; row++) {
    tq_row_decode(matrix, row, scratch);
    for (size_t t = 0; t < count; t++) outputs[t * matrix->rows + row] = dot(scratch, inputs + t * columns, columns);
  }
}

/* ---- 8-bit integers ---- */

/* Bits order magnitudes as numbers do, with infinity and NaN above all, so that one maximum finds these too. */
static float largest_magnitude(const float *x, size_t count) {
  uint32_t largest = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    memcpy(&bits, &x[i], sizeof bits);
    bits &= 0x7fffffffu;
    largest = bits > largest ? bits : largest;
  }
  float value;
  memcpy(&value, &largest, sizeof value);
  return value;
}

/* No product is beyond 127.5 in magnitude, so that no code has to be brought into range. */
static void quantize(const float *x, size_t count, int8_t *codes, float *step) {
  const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number, halves to even */
  float largest = largest_magnitude(x, count);
  if (!isfinite(largest)) {
    memset(codes, 0, count);
    *step = NAN;
    return;
  }
  if (largest < 1e-5f) largest = 1e-5f;
  float reciprocal = 127.0f / largest;
  for (size_t i = 0; i < count; i++) codes[i] = (int8_t)((x[i] * reciprocal + round) - round);
  *step = largest / 127.0f;
}

/* A span's sum of products, each at most 256 in magnitude, fits 16 bits, of which a register holds more. */
static inline int16_t dot_span(const int8_t *trits, const int8_t *codes, size_t count) {
  int16_t sum = 0;
  for (size_t i = 0; i < count; i++) sum = (int16_t)(sum + trits[i] * codes[i]);
  return sum;
}

static int32_t dot_integer(const int8_t *trits, const int8_t *codes, size_t count) {
  int32_t sum = 0;
  size_t i = 0;
  for (; i + TQ_SPAN <= count; i += TQ_SPAN) sum += dot_span(trits + i, codes + i, TQ_SPAN);
  return sum + dot_span(trits + i, codes + i, count - i);
}

/* A row's scales, one for each run of the products. */
static void load_scales(const tq_matrix *matrix, uint64_t row, size_t run, size_t runs, float *scales) {
  bool grouped = matrix->granularity == TQ_PER_GROUP;
  uint64_t first = grouped                             ? row * tq_step_count((size_t)matrix->columns, matrix->group)
                   : matrix->granularity == TQ_PER_ROW ? row
                                                       : 0;
  for (size_t k = 0; k < runs; k++)
    scales[k] = tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales,
                              first + (grouped ? k * run / matrix->group : 0));
}

/* One row with one vector, both cut into runs; `block` is the vector's, 0 or the length of a run. */
static float dot_runs(const int8_t *trits, const float *scales, size_t run, size_t block, const int8_t *codes,
                      const float *steps, size_t count) {
  float lanes[LANES] = {0};
  for (size_t k = 0, begin = 0; begin < count; k++, begin += run) {
    int32_t sum = dot_integer(trits + begin, codes + begin, count - begin < run ? count - begin : run);
    lanes[k % LANES] += (float)sum * ((sum ? scales[k] : 0.0f) * steps[block ? k : 0]);
  }
  return add_lanes(lanes);
}

static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  size_t columns = (size_t)matrix->columns, steps = tq_step_count(columns, inputs->block);
  size_t run = inputs->block ? inputs->block : matrix->granularity == TQ_PER_GROUP ? matrix->group : columns;
  int8_t *trits = (int8_t *)(scratch + columns);
  for (uint64_t row = begin; row < end; row++) {
    tq_trits_unpack(matrix->encoding, matrix->values + row * matrix->row_bytes, columns, trits);
    load_scales(matrix, row, run, tq_step_count(columns, run), scratch);
    for (size_t t = 0; t < count; t++)
      outputs[t * matrix->rows + row] =
          dot_runs(trits, scratch, run, inputs->block, inputs->codes + t * columns, inputs->steps + t * steps, columns);
  }
}

const tq_kernels tq_kernels_scalar = {
    .name = "scalar",
    .available = always,
    .dot = dot,
    .add_scaled = add_scaled,
    .exponentials = exponentials,
    .gate_silu = gate_silu,
    .gate_squared_relu = gate_squared_relu,
    .linear_rows = linear_rows,
    .quantize = quantize,
    .linear_rows_integer = linear_rows_integer,
};
