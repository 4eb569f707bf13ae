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

static void rms_norm(const float *x, const float *weight, size_t size, float epsilon, float *y) {
  float mean = dot(x, x, size) / (float)size;
  float r = 1.0f / sqrtf(mean + epsilon);
  for (size_t i = 0; i < size; i++) y[i] = (x[i] * r) * weight[i];
}

static void add(float *y, const float *x, size_t count) {
  for (size_t i = 0; i < count; i++) y[i] += x[i];
}

static void rope(float *x, size_t pairs, const float *cosines, const float *sines) {
  for (size_t i = 0; i < pairs; i++) {
    float a = x[i], b = x[i + pairs];
    x[i] = a * cosines[i] - b * sines[i];
    x[i + pairs] = b * cosines[i] + a * sines[i];
  }
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

static void to_half(const float *x, size_t count, uint16_t *halves) {
  for (size_t i = 0; i < count; i++) halves[i] = tq_f32_to_f16(x[i]);
}

/* ---- attention ---- */

static float cached_number(const void *numbers, bool integers, size_t index) {
  return integers ? (float)((const int8_t *)numbers)[index] : tq_f16_to_f32(((const uint16_t *)numbers)[index]);
}

static float score(const tq_cached_head *head, const float *query, size_t position, size_t size, float scale) {
  size_t block = position / TQ_KEY_LANES * TQ_KEY_LANES * size, lane = position % TQ_KEY_LANES;
  float sum = 0.0f;
  for (size_t d = 0; d < size; d++)
    sum += query[d] * cached_number(head->keys, head->key_steps != NULL, block + d * TQ_KEY_LANES + lane);
  return sum * (head->key_steps ? head->key_steps[position] * scale : scale);
}

/* weights[i] = exp(scores[i] - offset); returns their sum. */
static float exponentials(float *scores, size_t count, float offset) {
  float lanes[LANES] = {0};
  for (size_t i = 0; i < count; i++) {
    scores[i] = tq_exp(scores[i] - offset);
    lanes[i % LANES] += scores[i];
  }
  return add_lanes(lanes);
}

static void attend(const tq_cached_head *head, const tq_query *query, size_t size, float scale, float *scores) {
  float largest = -INFINITY, sum = 0.0f, *y = query->y;
  memset(y, 0, size * sizeof *y);
  for (size_t begin = 0; begin < query->positions; begin += TQ_ATTENTION_BLOCK) {
    size_t left = query->positions - begin, count = left < TQ_ATTENTION_BLOCK ? left : TQ_ATTENTION_BLOCK;
    float before = largest;
    for (size_t i = 0; i < count; i++) {
      scores[i] = score(head, query->query, begin + i, size, scale);
      if (scores[i] > largest) largest = scores[i];
    }
    float correction = tq_exp(before - largest);
    sum = sum * correction + exponentials(scores, count, largest);
    for (size_t d = 0; d < size; d++) y[d] *= correction;
    for (size_t i = 0; i < count; i++) {
      float weight = head->value_steps ? scores[i] * head->value_steps[begin + i] : scores[i];
      for (size_t d = 0; d < size; d++)
        y[d] += weight * cached_number(head->values, head->value_steps != NULL, (begin + i) * size + d);
    }
  }
  float share = 1.0f / sum;
  for (size_t d = 0; d < size; d++) y[d] *= share;
}

static void attention(const tq_cached_head *head, const tq_query *queries, size_t count, size_t size, float scale,
                      float *scratch) {
  for (size_t i = 0; i < count; i++) attend(head, &queries[i], size, scale, scratch);
}

/* ---- products ---- */

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
static void quantize_block(const float *x, size_t count, int8_t *codes, float *step) {
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

static void quantize(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums) {
  size_t length = block ? block : count;
  for (size_t begin = 0; begin < count; begin += length)
    quantize_block(x + begin, count - begin < length ? count - begin : length, codes + begin, &steps[begin / length]);
  memset(codes + count, 0, tq_code_stride(count) - count);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN) {
    int32_t sum = 0;
    for (size_t i = 0; i < TQ_SPAN; i++) sum += codes[begin + i];
    sums[begin / TQ_SPAN] = sum;
  }
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
  for (size_t k = 0; k < runs; k++) {
    uint64_t index =
        tq_scale_index(matrix->granularity, matrix->group, matrix->rows, matrix->columns, row, (uint64_t)k * run);
    scales[k] = tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index);
  }
}

/* One row with one vector, both cut into runs; `block` is the vector's, 0 or the length of a run. */
static float dot_runs(const int8_t *trits, const float *scales, size_t run, size_t block, const int8_t *codes,
                      const float *steps, size_t count) {
  float total = 0.0f;
  for (size_t k = 0, begin = 0; begin < count; k++, begin += run) {
    int32_t sum = dot_integer(trits + begin, codes + begin, count - begin < run ? count - begin : run);
    total += (float)sum * ((sum ? scales[k] : 0.0f) * steps[block ? k : 0]);
  }
  return total;
}

/* The scratch memory holds a row's scales, then its trits, then its bytes. */
static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  size_t columns = (size_t)matrix->columns, stride = tq_code_stride(columns);
  size_t steps = tq_step_count(columns, inputs->block);
  size_t run = inputs->block ? inputs->block : matrix->granularity == TQ_PER_GROUP ? matrix->group : columns;
  int8_t *trits = (int8_t *)(scratch + columns);
  for (uint64_t row = begin; row < end; row++) {
    tq_row_trits(matrix, row, (uint8_t *)(scratch + 2 * columns), trits);
    load_scales(matrix, row, run, tq_step_count(columns, run), scratch);
    for (size_t t = 0; t < count; t++)
      outputs[t * matrix->rows + row] =
          dot_runs(trits, scratch, run, inputs->block, inputs->codes + t * stride, inputs->steps + t * steps, columns);
  }
}

/* ---- what the machine can do ---- */

static uint64_t read_memory(const uint8_t *data, size_t size) {
  uint64_t sums[4] = {0};
  for (size_t i = 0; i + 32 <= size; i += 32) {
    uint64_t words[4];
    memcpy(words, data + i, sizeof words);
    for (size_t k = 0; k < 4; k++) sums[k] ^= words[k];
  }
  return sums[0] ^ sums[1] ^ sums[2] ^ sums[3];
}

static uint64_t multiply_integers(size_t rounds, int32_t *sum) {
  int8_t trits[TQ_SPAN], codes[TQ_SPAN];
  for (size_t i = 0; i < TQ_SPAN; i++) {
    trits[i] = (int8_t)(i % 3) - 1;
    codes[i] = (int8_t)(i + (rounds & 1));
  }
  *sum = 0;
  for (size_t i = 0; i < rounds; i++) {
    codes[i % TQ_SPAN] ^= 1;
    *sum += dot_span(trits, codes, TQ_SPAN);
  }
  return rounds * TQ_SPAN;
}

const tq_kernels tq_kernels_scalar = {
    .name = "scalar",
    .available = always,
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
