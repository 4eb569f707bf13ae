/* The reference: plain C that any compiler may vectorise without changing a bit. */
#include "kernels/exponential.h"
#include "kernels/kernels.h"

enum { LANES = 16 };

static bool always(void) { return true; }

/* Adds 16 partial sums as a binary tree. */
static float add_lanes(const float *lanes) {
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

const tq_kernels tq_kernels_scalar = {
    .name = "scalar",
    .available = always,
    .dot = dot,
    .add_scaled = add_scaled,
    .exponentials = exponentials,
    .gate_silu = gate_silu,
    .gate_squared_relu = gate_squared_relu,
    .linear_rows = linear_rows,
};
