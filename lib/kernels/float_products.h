/* Products of rows with float vectors, in lanes: part of floats.h. The 16 partial sums of a row are one accumulator.
 * For one vector a row is unpacked in registers; for more, rows become floats that all vectors meet. */
#ifndef TQ_KERNELS_FLOAT_PRODUCTS_H
#define TQ_KERNELS_FLOAT_PRODUCTS_H

#include "base/bytes.h"

enum { ROWS_DECODED = 16, SCALES = 64 };

/* How a row is cut into pieces, and how these are unpacked. */
typedef struct format {
  size_t elements, bytes; /* of a piece; NUMBERS where a row may end within one */
  size_t run;             /* elements that are unpacked at once: 32 or 64 */
  size_t group;           /* pieces whose scales are made ready at once */
  size_t scales;          /* floats from one piece's to the next's */
  /* The scales of `count` pieces from `first` on, SCALES floats at most; false: only tq_row_decode can read this row.
   * NULL: there are none. */
  bool (*prepare)(const tq_matrix *matrix, uint64_t row, size_t first, size_t count, float *scales);
  void (*unpack)(const uint8_t *piece, size_t run, const float *scales, lanes *weights);
} format;

/* WHOLE_ROW: there is one group. */
enum { NUMBERS = 2 * LANES, WHOLE_ROW = 1 << 30 };

static inline const uint8_t *row_at(const tq_matrix *matrix, uint64_t row) {
  return matrix->values + row * matrix->row_bytes;
}

/* ---- numbers ---- */

SPECIALIZED void unpack_f32(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run, (void)scales;
  weights[0] = lanes_load(piece);
  weights[1] = lanes_load(piece + 64);
}

SPECIALIZED void unpack_f16(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run, (void)scales;
  weights[0] = lanes_load_f16(piece);
  weights[1] = lanes_load_f16(piece + 32);
}

SPECIALIZED void unpack_bf16(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run, (void)scales;
  weights[0] = lanes_load_bf16(piece);
  weights[1] = lanes_load_bf16(piece + 32);
}

/* One scale, 1 where the codes are the weights. A code 0 is 0 whatever its scale, which is no product where the scale
 * is not finite. */
SPECIALIZED bool prepare_i8(const tq_matrix *matrix, uint64_t row, size_t first, size_t count, float *scales) {
  (void)first, (void)count;
  if (matrix->scales && matrix->granularity == TQ_PER_GROUP) return false;
  uint64_t index = matrix->granularity == TQ_PER_ROW ? row : 0;
  scales[0] = matrix->scales ? tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index) : 1.0f;
  return isfinite(scales[0]);
}

SPECIALIZED void unpack_i8(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run;
  lanes scale = lanes_set(scales[0]);
  weights[0] = lanes_mul(lanes_load_i8(piece), scale);
  weights[1] = lanes_mul(lanes_load_i8(piece + 16), scale);
}

/* ---- blocks: their definitions stand in ternary/blocks.c ---- */

SPECIALIZED void unpack_q8_0(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run, (void)scales;
  lanes d = lanes_set_f16(piece);
  weights[0] = lanes_mul(d, lanes_load_i8(piece + 2));
  weights[1] = lanes_mul(d, lanes_load_i8(piece + 18));
}

SPECIALIZED void unpack_q4_0(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  (void)run, (void)scales;
  ramp on = ramp_make(lanes_set_f16(piece), 8);
  lanes_load_nibbles(piece + 2, on, on, &weights[0], &weights[1]);
}

/* Of each block the 8 scales times d, then from LANES + 8 on the 8 minima times m. */
SPECIALIZED bool prepare_q4_k(const tq_matrix *matrix, uint64_t row, size_t first, size_t count, float *scales) {
  const uint32_t six = 0x3f3f3f3fu, four = 0x0f0f0f0fu, two = 0x03030303u;
  const uint8_t *at = row_at(matrix, row) + first * 144;
  for (const uint8_t *end = at + count * 144; at < end; at += 144, scales += 2 * LANES) {
    uint32_t a = tq_load_u32(at + 4), b = tq_load_u32(at + 8), c = tq_load_u32(at + 12);
    uint32_t packed[4] = {a & six, (c & four) | (a >> 6 & two) << 4, b & six, (c >> 4 & four) | (b >> 6 & two) << 4};
    lanes numbers = lanes_load_i8(packed);
    lanes_store(scales, lanes_mul(lanes_set_f16(at), numbers));
    lanes_store(scales + LANES, lanes_mul(lanes_set_f16(at + 2), numbers));
  }
  return true;
}

SPECIALIZED void unpack_q4_k(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  const float *minima = scales + LANES + 8;
  ramp low = ramp_less(ramp_make(lanes_set(scales[2 * run]), 0), lanes_set(minima[2 * run]));
  ramp high = ramp_less(ramp_make(lanes_set(scales[2 * run + 1]), 0), lanes_set(minima[2 * run + 1]));
  lanes_load_nibbles(piece + 16 + 32 * run, low, high, &weights[0], &weights[2]);
  lanes_load_nibbles(piece + 32 + 32 * run, low, high, &weights[1], &weights[3]);
}

/* The 16 scales of each block times d. */
SPECIALIZED bool prepare_q6_k(const tq_matrix *matrix, uint64_t row, size_t first, size_t count, float *scales) {
  const uint8_t *at = row_at(matrix, row) + first * 210;
  for (const uint8_t *end = at + count * 210; at < end; at += 210, scales += LANES)
    lanes_store(scales, lanes_mul(lanes_set_f16(at + 208), lanes_load_i8(at + 192)));
  return true;
}

SPECIALIZED void unpack_q6_k(const uint8_t *piece, size_t run, const float *scales, lanes *weights) {
  const uint8_t *low = piece + run / 4 * 64 + run % 2 * 32, *high = piece + 128 + run / 4 * 32;
  lanes_load_six_bits(low, high, run % 4 < 2 ? 0 : 4, 2 * (int)(run % 4), weights);
  weights[0] = lanes_mul(lanes_set(scales[2 * run]), weights[0]);
  weights[1] = lanes_mul(lanes_set(scales[2 * run + 1]), weights[1]);
}

/* ---- one row ---- */

/* The products of one piece with the vector's elements. */
SPECIALIZED lanes add_piece(format of, const uint8_t *piece, const float *scales, const float *x, lanes sum) {
  const size_t runs = of.elements / of.run, parts = of.run / LANES;
#pragma GCC unroll 8
  for (size_t run = 0; run < runs; run++) {
    lanes weights[4];
    of.unpack(piece, run, scales, weights);
#pragma GCC unroll 8
    for (size_t k = 0; k < parts; k++)
      sum = lanes_add(sum, lanes_mul(weights[k], lanes_load(x + run * of.run + k * LANES)));
  }
  return sum;
}

/* Pieces that a group from `first` on has. */
SPECIALIZED size_t group_size(format of, size_t first, size_t pieces) {
  return pieces - first < of.group ? pieces - first : of.group;
}

/* The scales of a group are made ready before the group before it is gone through. False: as `prepare` says. */
SPECIALIZED bool dot_row(format of, const tq_matrix *matrix, uint64_t row, const float *x, float *product) {
  const uint8_t *at = row_at(matrix, row);
  const size_t columns = (size_t)matrix->columns, pieces = columns / of.elements, rest = columns % of.elements;
  float scales[2][SCALES];
  lanes sum = lanes_set(0.0f);
  if (of.prepare && !of.prepare(matrix, row, 0, group_size(of, 0, pieces), scales[0])) return false;
  for (size_t first = 0, turn = 0; first < pieces; first += of.group, turn ^= 1) {
    size_t count = group_size(of, first, pieces), next = first + count;
    if (of.prepare && next < pieces && !of.prepare(matrix, row, next, group_size(of, next, pieces), scales[turn ^ 1]))
      return false;
    for (size_t k = 0; k < count; k++, at += of.bytes, x += of.elements)
      sum = add_piece(of, at, scales[turn] + k * of.scales, x, sum);
  }
  if (of.elements == NUMBERS && rest) {
    uint8_t rest_of_row[NUMBERS * sizeof(float)] = {0};
    float rest_of_x[NUMBERS] = {0};
    memcpy(rest_of_row, at, rest * (of.bytes / of.elements));
    memcpy(rest_of_x, x, rest * sizeof *x);
    sum = add_piece(of, rest_of_row, scales[0], rest_of_x, sum);
  }
  *product = lanes_sum(sum);
  return true;
}

SPECIALIZED void decode_piece(format of, const uint8_t *piece, const float *scales, float *floats) {
  const size_t runs = of.elements / of.run, parts = of.run / LANES;
#pragma GCC unroll 8
  for (size_t run = 0; run < runs; run++) {
    lanes weights[4];
    of.unpack(piece, run, scales, weights);
#pragma GCC unroll 8
    for (size_t k = 0; k < parts; k++) lanes_store(floats + run * of.run + k * LANES, weights[k]);
  }
}

SPECIALIZED bool decode_row(format of, const tq_matrix *matrix, uint64_t row, float *floats) {
  const uint8_t *at = row_at(matrix, row);
  const size_t columns = (size_t)matrix->columns, pieces = columns / of.elements, rest = columns % of.elements;
  float scales[SCALES];
  if (of.prepare && !pieces && !of.prepare(matrix, row, 0, 0, scales)) return false;
  for (size_t first = 0; first < pieces; first += of.group) {
    size_t count = group_size(of, first, pieces);
    if (of.prepare && !of.prepare(matrix, row, first, count, scales)) return false;
    for (size_t k = 0; k < count; k++, at += of.bytes, floats += of.elements)
      decode_piece(of, at, scales + k * of.scales, floats);
  }
  if (of.elements != NUMBERS || !rest) return true;
  uint8_t rest_of_row[NUMBERS * sizeof(float)] = {0};
  float rest_of_floats[NUMBERS];
  memcpy(rest_of_row, at, rest * (of.bytes / of.elements));
  decode_piece(of, rest_of_row, scales, rest_of_floats);
  memcpy(floats, rest_of_floats, rest * sizeof *floats);
  return true;
}

/* ---- a function of each kind for each format ---- */

typedef struct reader {
  /* A row's product with one vector. */
  float (*dot)(const tq_matrix *matrix, uint64_t row, const float *x, float *scratch);
  /* A row as floats, at scratch[0 .. columns). */
  void (*decode)(const tq_matrix *matrix, uint64_t row, float *scratch);
} reader;

static float dot_floats(const float *a, const float *b, size_t count) {
  const format of = {NUMBERS, 128, 32, WHOLE_ROW, 0, NULL, unpack_f32};
  const tq_matrix row = {.columns = count, .values = (const uint8_t *)a};
  float product = 0.0f;
  dot_row(of, &row, 0, b, &product);
  return product;
}

static float dot_decoded(void (*decode)(const tq_matrix *, uint64_t, float *), const tq_matrix *matrix, uint64_t row,
                         const float *x, float *scratch) {
  decode(matrix, row, scratch);
  return dot_floats(scratch, x, (size_t)matrix->columns);
}

static float dot_any(const tq_matrix *matrix, uint64_t row, const float *x, float *scratch) {
  return dot_decoded(tq_row_decode, matrix, row, x, scratch);
}

static const reader any_reader = {dot_any, tq_row_decode};

#define DOT(name, ...)                                                                                                 \
  static float dot_##name(const tq_matrix *matrix, uint64_t row, const float *x, float *scratch) {                     \
    const format of = {__VA_ARGS__};                                                                                   \
    float product;                                                                                                     \
    return dot_row(of, matrix, row, x, &product) ? product : dot_any(matrix, row, x, scratch);                         \
  }

#define DECODE(name, ...)                                                                                              \
  static void decode_##name(const tq_matrix *matrix, uint64_t row, float *scratch) {                                   \
    const format of = {__VA_ARGS__};                                                                                   \
    if (!decode_row(of, matrix, row, scratch)) tq_row_decode(matrix, row, scratch);                                    \
  }

#define READER(name, ...)                                                                                              \
  DOT(name, __VA_ARGS__)                                                                                               \
  DECODE(name, __VA_ARGS__)                                                                                            \
  static const reader name##_reader = {dot_##name, decode_##name};

READER(f32, NUMBERS, 128, 32, WHOLE_ROW, 0, NULL, unpack_f32)
READER(f16, NUMBERS, 64, 32, WHOLE_ROW, 0, NULL, unpack_f16)
READER(bf16, NUMBERS, 64, 32, WHOLE_ROW, 0, NULL, unpack_bf16)
READER(i8, NUMBERS, 32, 32, WHOLE_ROW, 0, prepare_i8, unpack_i8)
READER(q4_0, 32, 18, 32, WHOLE_ROW, 0, NULL, unpack_q4_0)
READER(q4_k, 256, 144, 64, 2, 2 * LANES, prepare_q4_k, unpack_q4_k)
READER(q6_k, 256, 210, 32, 4, LANES, prepare_q6_k, unpack_q6_k)

DECODE(q8_0, 32, 34, 32, WHOLE_ROW, 0, NULL, unpack_q8_0)
#ifdef LANES_DOT_Q8_0
static float dot_q8_0(const tq_matrix *matrix, uint64_t row, const float *x, float *scratch) {
  (void)scratch;
  return LANES_DOT_Q8_0(row_at(matrix, row), x, (size_t)matrix->columns);
}
#else
DOT(q8_0, 32, 34, 32, WHOLE_ROW, 0, NULL, unpack_q8_0)
#endif
static const reader q8_0_reader = {dot_q8_0, decode_q8_0};

/* ---- ternary codes: their trits first ---- */

/* Elements that share a scale. */
static size_t scale_run(const tq_matrix *matrix) {
  return matrix->granularity == TQ_PER_GROUP ? matrix->group : (size_t)matrix->columns;
}

static trit_table load_trit_table(const tq_matrix *matrix, uint64_t row, size_t column) {
  uint64_t index =
      tq_scale_index(matrix->granularity, matrix->group, matrix->rows, matrix->columns, row, (uint64_t)column);
  return trit_table_make(tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index));
}

/* Fewer than 16. */
static lanes load_some_trits(const int8_t *trits, size_t count, trit_table table) {
  int8_t some[LANES] = {0};
  memcpy(some, trits, count);
  return lanes_load_trits(some, table);
}

static void decode_ternary(const tq_matrix *matrix, uint64_t row, float *scratch) {
  size_t columns = (size_t)matrix->columns, run = scale_run(matrix);
  int8_t *trits = (int8_t *)(scratch + columns);
  tq_row_trits(matrix, row, (uint8_t *)(scratch + 2 * columns), trits);
  for (size_t i = 0, end = 0; i < columns; i = end) {
    const trit_table table = load_trit_table(matrix, row, i);
    end = columns - i < run ? columns : i + run;
    for (; i + LANES <= end; i += LANES) lanes_store(scratch + i, lanes_load_trits(trits + i, table));
    if (i < end) lanes_store_some(scratch + i, end - i, load_some_trits(trits + i, end - i, table));
  }
}

static float dot_ternary(const tq_matrix *matrix, uint64_t row, const float *x, float *scratch) {
  size_t columns = (size_t)matrix->columns, run = scale_run(matrix);
  if (run % LANES && run < columns) return dot_decoded(decode_ternary, matrix, row, x, scratch);
  int8_t *trits = (int8_t *)scratch;
  tq_row_trits(matrix, row, (uint8_t *)(scratch + columns), trits);
  lanes sum = lanes_set(0.0f);
  for (size_t i = 0, end = 0; i < columns; i = end) {
    const trit_table table = load_trit_table(matrix, row, i);
    end = columns - i < run ? columns : i + run;
    for (; i + LANES <= end; i += LANES)
      sum = lanes_add(sum, lanes_mul(lanes_load_trits(trits + i, table), lanes_load(x + i)));
    if (i < end)
      sum = lanes_add(sum, lanes_mul(load_some_trits(trits + i, end - i, table), lanes_load_some(x + i, end - i)));
  }
  return lanes_sum(sum);
}

static const reader ternary_reader = {dot_ternary, decode_ternary};

/* ---- the choice ---- */

static const reader *block_reader(const tq_block_type *block) {
  static const struct {
    const char *name;
    const reader *reader;
  } readers[] = {{"Q8_0", &q8_0_reader}, {"Q4_0", &q4_0_reader}, {"Q4_K", &q4_k_reader}, {"Q6_K", &q6_k_reader}};
  for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
    if (strcmp(readers[i].name, block->name) == 0) return readers[i].reader;
  return &any_reader;
}

static const reader *find_reader(const tq_matrix *matrix) {
  if (tq_matrix_is_ternary(matrix)) return &ternary_reader;
  if (matrix->block) return block_reader(matrix->block);
  switch (matrix->encoding) {
  case TQ_F32:
    return &f32_reader;
  case TQ_F16:
    return &f16_reader;
  case TQ_BF16:
    return &bf16_reader;
  case TQ_I8:
    return &i8_reader;
  default:
    return &any_reader;
  }
}

/* ---- many vectors ---- */

/* Adds the products of 16 elements, or of `left` where these are fewer. */
SPECIALIZED void add_tile(const float *weights, size_t rows, const float *x, size_t tokens, size_t columns, size_t left,
                          lanes *sums) {
  lanes elements[TILE_TOKENS];
#pragma GCC unroll 32
  for (size_t t = 0; t < tokens; t++)
    elements[t] = left < LANES ? lanes_load_some(x + t * columns, left) : lanes_load(x + t * columns);
#pragma GCC unroll 32
  for (size_t r = 0; r < rows; r++) {
    const float *at = weights + r * columns;
    lanes weight = left < LANES ? lanes_load_some(at, left) : lanes_load(at);
#pragma GCC unroll 32
    for (size_t t = 0; t < tokens; t++)
      sums[r * tokens + t] = lanes_add(sums[r * tokens + t], lanes_mul(weight, elements[t]));
  }
}

/* `rows` rows of floats with `tokens` vectors: that many accumulators. */
SPECIALIZED void product_tile(const float *weights, size_t rows, const float *x, size_t tokens, size_t columns,
                              float *outputs, size_t stride) {
  const size_t tile = rows * tokens;
  lanes sums[TILE_ROWS * TILE_TOKENS];
#pragma GCC unroll 32
  for (size_t k = 0; k < tile; k++) sums[k] = lanes_set(0.0f);
  size_t i = 0;
  for (; i + LANES <= columns; i += LANES) add_tile(weights + i, rows, x + i, tokens, columns, LANES, sums);
  if (i < columns) add_tile(weights + i, rows, x + i, tokens, columns, columns - i, sums);
#pragma GCC unroll 32
  for (size_t k = 0; k < tile; k++) outputs[k % tokens * stride + k / tokens] = lanes_sum(sums[k]);
}

SPECIALIZED void product_tiles(const float *weights, size_t rows, const float *x, size_t tokens, size_t columns,
                               float *outputs, size_t stride) {
  size_t r = 0;
  for (; r + TILE_ROWS <= rows; r += TILE_ROWS)
    product_tile(weights + r * columns, TILE_ROWS, x, tokens, columns, outputs + r, stride);
  for (; r < rows; r++) product_tile(weights + r * columns, 1, x, tokens, columns, outputs + r, stride);
}

static void multiply_decoded(const float *weights, size_t rows, const float *x, size_t count, size_t columns,
                             float *outputs, size_t stride) {
  size_t t = 0;
  for (; t + TILE_TOKENS <= count; t += TILE_TOKENS)
    product_tiles(weights, rows, x + t * columns, TILE_TOKENS, columns, outputs + t * stride, stride);
  for (; t < count; t++) product_tiles(weights, rows, x + t * columns, 1, columns, outputs + t * stride, stride);
}

/* With one vector rows are read one after the other: memory gives most when its bytes are taken in order. */
static void linear_rows(const tq_matrix *matrix, uint64_t begin, uint64_t end, const float *inputs, size_t count,
                        float *outputs, float *scratch) {
  const reader *with = find_reader(matrix);
  size_t columns = (size_t)matrix->columns, stride = (size_t)matrix->rows;
  if (count == 1) {
    for (uint64_t row = begin; row < end; row++) outputs[row] = with->dot(matrix, row, inputs, scratch);
    return;
  }
  for (uint64_t row = begin; row < end; row += ROWS_DECODED) {
    size_t rows = end - row < ROWS_DECODED ? (size_t)(end - row) : ROWS_DECODED;
    /* Decoding a row takes scratch memory behind it, where the next row then comes. */
    for (size_t r = 0; r < rows; r++) with->decode(matrix, row + r, scratch + r * columns);
    multiply_decoded(scratch, rows, inputs, count, columns, outputs + row, stride);
  }
}

#endif
