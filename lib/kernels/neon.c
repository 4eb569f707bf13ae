/* The row for AArch64 with dot products of bytes. */
#if defined(__aarch64__)
#include "kernels/neon_lanes.h"

#include "kernels/floats.h"
#include "kernels/neon_tiles.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#else
#include <sys/auxv.h>
#endif

enum {
  PLACES = 5,                       /* at most, in a byte */
  BLOCK_LINES = TQ_SPAN / TQ_PIECE, /* of a whole block */
  TILE_PANELS = 4                   /* that are unpacked together for many vectors */
};

#if defined(__APPLE__)
static bool available(void) { return true; }

static bool has_pairs(void) {
  int value = 0;
  size_t size = sizeof value;
  return sysctlbyname("hw.optional.arm.FEAT_I8MM", &value, &size, NULL, 0) == 0 && value;
}
#else
/* As <asm/hwcap.h> of the kernel numbers them. */
enum { HWCAP_DOT_PRODUCTS = 1 << 20, HWCAP2_I8MM_PRODUCTS = 1 << 13 };

static bool available(void) { return getauxval(AT_HWCAP) & HWCAP_DOT_PRODUCTS; }

static bool has_pairs(void) { return getauxval(AT_HWCAP2) & HWCAP2_I8MM_PRODUCTS; }
#endif

/* ---- floats to 8-bit integers ---- */

static uint32x4_t magnitudes(const float *x) {
  return vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x)), vdupq_n_u32(0x7fffffffu));
}

/* The bits of floats that are not negative are in the order of their values, NaN above all. */
static float largest_magnitude(const float *x, size_t count) {
  uint32x4_t largest = vdupq_n_u32(0);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    uint32x4_t low = vmaxq_u32(magnitudes(x + i), magnitudes(x + i + 4));
    uint32x4_t high = vmaxq_u32(magnitudes(x + i + 8), magnitudes(x + i + 12));
    largest = vmaxq_u32(largest, vmaxq_u32(low, high));
  }
  uint32_t bits = vmaxvq_u32(largest);
  for (; i < count; i++) {
    uint32_t one;
    memcpy(&one, &x[i], sizeof one);
    one &= 0x7fffffffu;
    bits = one > bits ? one : bits;
  }
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* Four products as whole numbers, halves to even. */
static int32x4_t rounded(lanes x, size_t quad, float32x4_t reciprocal) {
  float32x4_t four = quad == 0 ? x.a : quad == 1 ? x.b : quad == 2 ? x.c : x.d;
  return vcvtnq_s32_f32(vmulq_f32(four, reciprocal));
}

static int8x16_t sixteen_codes(lanes x, float32x4_t reciprocal) {
  int16x8_t low = vcombine_s16(vmovn_s32(rounded(x, 0, reciprocal)), vmovn_s32(rounded(x, 1, reciprocal)));
  int16x8_t high = vcombine_s16(vmovn_s32(rounded(x, 2, reciprocal)), vmovn_s32(rounded(x, 3, reciprocal)));
  return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}

static void quantize_block(const float *x, size_t count, int8_t *codes, float *step) {
  float largest = largest_magnitude(x, count);
  if (!isfinite(largest)) {
    memset(codes, 0, count);
    *step = NAN;
    return;
  }
  if (largest < 1e-5f) largest = 1e-5f;
  float32x4_t reciprocal = vdupq_n_f32(127.0f / largest);
  size_t i = 0;
  for (; i + 16 <= count; i += 16) vst1q_s8(codes + i, sixteen_codes(lanes_load(x + i), reciprocal));
  if (i < count) {
    int8_t rest[16];
    vst1q_s8(rest, sixteen_codes(lanes_load_some(x + i, count - i), reciprocal));
    memcpy(codes + i, rest, count - i);
  }
  *step = largest / 127.0f;
}

static void quantize(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums) {
  size_t length = block ? block : count;
  for (size_t begin = 0; begin < count; begin += length)
    quantize_block(x + begin, count - begin < length ? count - begin : length, codes + begin, &steps[begin / length]);
  memset(codes + count, 0, tq_code_stride(count) - count);
  for (size_t begin = 0; begin < count; begin += TQ_SPAN)
    sums[begin / TQ_SPAN] = vaddlvq_s8(vld1q_s8(codes + begin)) + vaddlvq_s8(vld1q_s8(codes + begin + 16));
}

/* ---- codes out of their bytes ---- */

/* sum += four rows' 4 columns of weights times columns 4 lane .. 4 lane + 3 of 16; `lane` is constant where this ends
 * up. */
static inline int32x4_t add_products(int32x4_t sum, int8x16_t weights, int8x16_t columns, size_t lane) {
  switch (lane) {
  case 0:
    return vdotq_laneq_s32(sum, weights, columns, 0);
  case 1:
    return vdotq_laneq_s32(sum, weights, columns, 1);
  case 2:
    return vdotq_laneq_s32(sum, weights, columns, 2);
  default:
    return vdotq_laneq_s32(sum, weights, columns, 3);
  }
}

/* From the first three digits of a base-3 byte, as a number, to each of them, and from the last two. */
typedef struct digits {
  uint8x16x2_t first, second, third;
  uint8x16_t fourth, fifth;
} digits;

static inline digits digits_load(void) {
  static const uint8_t tables[3][32] = {
      {0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2},
      {0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2},
      {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2}};
  digits d = {.fourth = vld1q_u8(tables[1]), .fifth = vld1q_u8(tables[2])};
  for (size_t i = 0; i < 2; i++) {
    d.first.val[i] = vld1q_u8(tables[0] + 16 * i);
    d.second.val[i] = vld1q_u8(tables[1] + 16 * i);
    d.third.val[i] = vld1q_u8(tables[2] + 16 * i);
  }
  return d;
}

/* 27 times a byte is the number of the first three digits and a rest, whose 9/256 is that of the last two: 9/16 of it
 * by halving a sum, which rounds down as the whole does. */
static inline void unpack_base3(uint8x16_t bytes, const digits *d, int8x16_t codes[PLACES]) {
  uint8x16_t low = vreinterpretq_u8_u16(vmull_u8(vget_low_u8(bytes), vdup_n_u8(27)));
  uint8x16_t high = vreinterpretq_u8_u16(vmull_high_u8(bytes, vdupq_n_u8(27)));
  uint8x16_t three = vuzp2q_u8(low, high), rest = vuzp1q_u8(low, high);
  uint8x16_t two = vshrq_n_u8(vhaddq_u8(rest, vshrq_n_u8(rest, 3)), 4);
  codes[0] = vreinterpretq_s8_u8(vqtbl2q_u8(d->first, three));
  codes[1] = vreinterpretq_s8_u8(vqtbl2q_u8(d->second, three));
  codes[2] = vreinterpretq_s8_u8(vqtbl2q_u8(d->third, three));
  codes[3] = vreinterpretq_s8_u8(vqtbl1q_u8(d->fourth, two));
  codes[4] = vreinterpretq_s8_u8(vqtbl1q_u8(d->fifth, two));
}

static inline int8x16_t masked(uint8x16_t bytes, uint8_t mask) {
  return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(mask)));
}

/* The codes at places 1 and 2 remain times 4 and times 16. */
static inline void unpack_2bit_scaled(uint8x16_t bytes, int8x16_t codes[PLACES]) {
  codes[0] = masked(bytes, 3);
  codes[1] = masked(bytes, 3 << 2);
  codes[2] = masked(bytes, 3 << 4);
  codes[3] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
}

static inline void unpack_2bit(uint8x16_t bytes, int8x16_t codes[PLACES]) {
  codes[0] = masked(bytes, 3);
  codes[1] = masked(vshrq_n_u8(bytes, 2), 3);
  codes[2] = masked(vshrq_n_u8(bytes, 4), 3);
  codes[3] = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 6));
}

/* ---- a product ---- */

/* What is the same for all panels. */
typedef struct product {
  const tq_matrix *matrix;
  const tq_codes *inputs;
  float *outputs;
  size_t columns, places, lines, scales; /* lines of unpacked codes; columns that share a row's scale */
  size_t run, stride, steps, spans;      /* columns of a run; of one vector: codes, steps, sums */
} product;

static product describe(const tq_matrix *matrix, const tq_codes *inputs, float *outputs) {
  size_t columns = (size_t)matrix->columns, scales = matrix->granularity == TQ_PER_GROUP ? matrix->group : columns;
  return (product){.matrix = matrix,
                   .inputs = inputs,
                   .outputs = outputs,
                   .columns = columns,
                   .places = matrix->encoding == TQ_TERNARY_BASE3 ? 5 : 4,
                   .lines = (columns + TQ_PIECE - 1) / TQ_PIECE,
                   .scales = scales,
                   .run = inputs->block ? inputs->block : scales,
                   .stride = tq_code_stride(columns),
                   .steps = tq_step_count(columns, inputs->block),
                   .spans = tq_step_count(columns, TQ_SPAN)};
}

typedef struct panel_view {
  const uint8_t *bytes; /* lines */
  const float *scales;  /* [column / product.scales][16] */
  uint64_t row;         /* its first */
  size_t height;
} panel_view;

static float32x4_t four_scales(const tq_matrix *matrix, uint64_t index) {
  const uint8_t *at = matrix->scales + index * (matrix->scale_encoding == TQ_F32 ? 4 : 2);
  float32x4_t scales = matrix->scale_encoding == TQ_F32   ? vreinterpretq_f32_u8(vld1q_u8(at))
                       : matrix->scale_encoding == TQ_F16 ? four_f16(at)
                                                          : four_bf16(at);
  return matrix->direction == TQ_INVERTED ? vdivq_f32(vdupq_n_f32(1.0f), scales) : scales;
}

/* The scales of `height` rows from `index` on, with zeros behind them. */
static void load_scales(const tq_matrix *matrix, uint64_t index, size_t height, float *scales) {
  if (height == TQ_PANEL_ROWS) {
    for (size_t r = 0; r < TQ_PANEL_ROWS; r += 4) vst1q_f32(scales + r, four_scales(matrix, index + r));
    return;
  }
  for (size_t r = 0; r < TQ_PANEL_ROWS; r++)
    scales[r] = r < height ? tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index + r) : 0.0f;
}

/* A panel of fewer rows, as one of 16 whose last are of zeros. */
static void pad_lines(const uint8_t *bytes, size_t height, size_t count, uint8_t *lines) {
  memset(lines, 0, count * NEON_LINE);
  for (size_t i = 0; i < count; i++) memcpy(lines + i * NEON_LINE, bytes + i * height * TQ_PIECE, height * TQ_PIECE);
}

/* Advances *scratch behind what the panel takes of it. */
static panel_view open_panel(const product *p, uint64_t row, float **scratch) {
  const tq_matrix *matrix = p->matrix;
  panel_view opened = {.bytes = matrix->values + row * matrix->row_bytes,
                       .scales = *scratch,
                       .row = row,
                       .height = (size_t)tq_panel_height(matrix->rows, row)};
  for (size_t column = 0; column < p->columns; column += p->scales, *scratch += TQ_PANEL_ROWS) {
    uint64_t index = tq_scale_index(matrix->granularity, matrix->group, matrix->rows, p->columns, row, column);
    if (matrix->granularity == TQ_PER_TENSOR)
      lanes_store(*scratch, lanes_set(tq_scale_load(matrix->scale_encoding, matrix->direction, matrix->scales, index)));
    else
      load_scales(matrix, index, opened.height, *scratch);
  }
  if (opened.height < TQ_PANEL_ROWS) {
    size_t lines = (size_t)matrix->row_bytes / TQ_PIECE;
    pad_lines(opened.bytes, opened.height, lines, (uint8_t *)*scratch);
    opened.bytes = (const uint8_t *)*scratch;
    *scratch += lines * (NEON_LINE / sizeof **scratch);
  }
  return opened;
}

/* The sum of a vector's codes in a run. */
static int32_t sum_of_codes(const product *p, size_t vector, size_t column, size_t width) {
  const int32_t *sums = p->inputs->sums + vector * p->spans + column / TQ_SPAN;
  int32_t sum = 0;
  for (size_t i = 0; i < tq_step_count(width, TQ_SPAN); i++) sum += sums[i];
  return sum;
}

static float step_at(const product *p, size_t vector, size_t column) {
  return p->inputs->steps[vector * p->steps + (p->inputs->block ? column / p->inputs->block : 0)];
}

static inline float32x4_t add_quad(float32x4_t total, int32x4_t sum, float32x4_t scale, float32x4_t step) {
  uint32x4_t kept = vbicq_u32(vreinterpretq_u32_f32(scale), vceqzq_s32(sum));
  return vaddq_f32(total, vmulq_f32(vcvtq_f32_s32(sum), vmulq_f32(vreinterpretq_f32_u32(kept), step)));
}

/* Adds a run that begins at `column`. */
static inline lanes add_run(const product *p, const panel_view *panel, size_t vector, size_t column,
                            const int32x4_t sums[NEON_QUADS], lanes total) {
  lanes scales = lanes_load(panel->scales + column / p->scales * TQ_PANEL_ROWS);
  float32x4_t step = vdupq_n_f32(step_at(p, vector, column));
  return (lanes){add_quad(total.a, sums[0], scales.a, step), add_quad(total.b, sums[1], scales.b, step),
                 add_quad(total.c, sums[2], scales.c, step), add_quad(total.d, sums[3], scales.d, step)};
}

static void store_totals(const product *p, const panel_view *panel, size_t vector, lanes total) {
  float *y = p->outputs + vector * p->matrix->rows + panel->row;
  if (panel->height == TQ_PANEL_ROWS)
    lanes_store(y, total);
  else
    lanes_store_some(y, panel->height, total);
}

/* ---- unpacked panels ---- */

/* The codes of a block of `count` lines of bytes as lines of 4 columns, in their order. */
static void unpack_block(size_t places, const uint8_t *bytes, size_t count, int8_t *lines) {
  const digits d = digits_load();
  for (size_t i = 0; i < count; i++) {
    for (size_t at = i * NEON_LINE; at < (i + 1) * NEON_LINE; at += 16) {
      int8x16_t codes[PLACES];
      if (places == 5)
        unpack_base3(vld1q_u8(bytes + at), &d, codes);
      else
        unpack_2bit(vld1q_u8(bytes + at), codes);
      for (size_t k = 0; k < places; k++) vst1q_s8(lines + k * count * NEON_LINE + at, codes[k]);
    }
  }
}

/* Writes whole blocks: behind the panel's own lines may be up to PLACES more. */
static void unpack_panel(const product *p, const panel_view *panel, int8_t *lines) {
  size_t left = (size_t)p->matrix->row_bytes / TQ_PIECE;
  for (const uint8_t *bytes = panel->bytes; left;) {
    size_t count = left < BLOCK_LINES ? left : BLOCK_LINES;
    unpack_block(p->places, bytes, count, lines);
    bytes += count * NEON_LINE;
    lines += count * NEON_LINE * p->places;
    left -= count;
  }
}

/* ---- one vector ---- */

/* For each place of a whole block, its 32 columns' products. */
static inline void block_products_base3(const uint8_t *bytes, const int8_t *columns,
                                        int32x4_t products[PLACES][NEON_QUADS]) {
  const digits d = digits_load();
  for (size_t quad = 0; quad < NEON_QUADS; quad++) {
    int32x4_t sums[PLACES];
    for (size_t k = 0; k < PLACES; k++) sums[k] = vdupq_n_s32(0);
    for (size_t half = 0; half < 2; half++) {
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; i++) {
        int8x16_t codes[PLACES];
        unpack_base3(vld1q_u8(bytes + (4 * half + i) * NEON_LINE + 16 * quad), &d, codes);
#pragma GCC unroll 5
        for (size_t k = 0; k < PLACES; k++)
          sums[k] = add_products(sums[k], codes[k], vld1q_s8(columns + k * TQ_SPAN + 16 * half), i);
      }
    }
    for (size_t k = 0; k < PLACES; k++) products[k][quad] = sums[k];
  }
}

static inline void block_products_2bit(const uint8_t *bytes, const int8_t *columns,
                                       int32x4_t products[PLACES][NEON_QUADS]) {
  for (size_t quad = 0; quad < NEON_QUADS; quad++) {
    int32x4_t sums[4];
    for (size_t k = 0; k < 4; k++) sums[k] = vdupq_n_s32(0);
    for (size_t half = 0; half < 2; half++) {
#pragma GCC unroll 4
      for (size_t i = 0; i < 4; i++) {
        int8x16_t codes[PLACES];
        unpack_2bit_scaled(vld1q_u8(bytes + (4 * half + i) * NEON_LINE + 16 * quad), codes);
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++)
          sums[k] = add_products(sums[k], codes[k], vld1q_s8(columns + k * TQ_SPAN + 16 * half), i);
      }
    }
    products[0][quad] = sums[0];
    products[1][quad] = vshrq_n_s32(sums[1], 2);
    products[2][quad] = vshrq_n_s32(sums[2], 4);
    products[3][quad] = sums[3];
  }
}

/* A vector on its way along a panel. */
typedef struct walk {
  const product *product;
  const panel_view *panel;
  size_t vector, begin, end; /* of the run: its first column, and the one behind it */
  int32x4_t sums[NEON_QUADS];
  lanes total;
} walk;

static inline void begin_run(walk *w, size_t column) {
  const product *p = w->product;
  w->begin = column;
  w->end = p->columns - column < p->run ? p->columns : column + p->run;
  int32_t sum = sum_of_codes(p, w->vector, column, w->end - column);
  for (size_t quad = 0; quad < NEON_QUADS; quad++) w->sums[quad] = vdupq_n_s32(-sum);
}

/* Ends the run if it goes no farther than to `column`. */
static inline void pass(walk *w, size_t column) {
  if (column < w->end) return;
  w->total = add_run(w->product, w->panel, w->vector, w->begin, w->sums, w->total);
  begin_run(w, w->end);
}

/* The lines of the last block, where the spans are shorter. */
static inline void walk_tail(walk *w, const uint8_t *bytes, size_t column, const int8_t *codes) {
  const product *p = w->product;
  int8_t lines[PLACES * BLOCK_LINES * NEON_LINE];
  size_t passed = (size_t)(bytes - w->panel->bytes) / NEON_LINE;
  unpack_block(p->places, bytes, (size_t)p->matrix->row_bytes / TQ_PIECE - passed, lines);
  for (const int8_t *line = lines; column < p->columns; column += TQ_PIECE, line += NEON_LINE) {
    int32_t four;
    memcpy(&four, codes + column, sizeof four);
    for (size_t quad = 0; quad < NEON_QUADS; quad++)
      w->sums[quad] = vdotq_s32(w->sums[quad], vld1q_s8(line + 16 * quad), vreinterpretq_s8_s32(vdupq_n_s32(four)));
    pass(w, column + TQ_PIECE);
  }
}

static void multiply_vector(const product *p, const panel_view *panel, size_t vector) {
  const uint8_t *bytes = panel->bytes;
  const int8_t *codes = p->inputs->codes + vector * p->stride;
  size_t column = 0, per_block = p->places * TQ_SPAN;
  walk w = {.product = p, .panel = panel, .vector = vector, .total = lanes_set(0.0f)};
  begin_run(&w, 0);
  for (; column + per_block <= p->columns; bytes += BLOCK_LINES * NEON_LINE) {
    int32x4_t products[PLACES][NEON_QUADS];
    if (p->places == 5)
      block_products_base3(bytes, codes + column, products);
    else
      block_products_2bit(bytes, codes + column, products);
    for (size_t k = 0; k < p->places; k++) {
      for (size_t quad = 0; quad < NEON_QUADS; quad++) w.sums[quad] = vaddq_s32(w.sums[quad], products[k][quad]);
      pass(&w, column += TQ_SPAN);
    }
  }
  if (column < p->columns) walk_tail(&w, bytes, column, codes);
  store_totals(p, panel, vector, w.total);
}

/* ---- many vectors ---- */

static void multiply_lines(const int8_t *weights, const int8_t *vectors, size_t lines,
                           int32x4_t sums[NEON_VECTORS][NEON_QUADS]) {
  int32x4_t local[NEON_VECTORS][NEON_QUADS];
  for (size_t t = 0; t < NEON_VECTORS; t++)
    for (size_t quad = 0; quad < NEON_QUADS; quad++) local[t][quad] = vdupq_n_s32(0);
  for (size_t i = 0; i < lines; i++, weights += NEON_LINE, vectors += 16) {
    int8x16_t columns = vld1q_s8(vectors);
#pragma GCC unroll 4
    for (size_t quad = 0; quad < NEON_QUADS; quad++) {
      int8x16_t rows = vld1q_s8(weights + 16 * quad);
#pragma GCC unroll 4
      for (size_t t = 0; t < NEON_VECTORS; t++) local[t][quad] = add_products(local[t][quad], rows, columns, t);
    }
  }
  for (size_t t = 0; t < NEON_VECTORS; t++)
    for (size_t quad = 0; quad < NEON_QUADS; quad++) sums[t][quad] = vaddq_s32(sums[t][quad], local[t][quad]);
}

/* From lines to what tq_neon_multiply_pairs takes, in place. */
static void pair_lines(int8_t *lines, size_t count) {
  for (size_t i = 0; i < count; i += 2, lines += 2 * NEON_LINE) {
    int32x4_t even[NEON_QUADS], odd[NEON_QUADS];
    for (size_t quad = 0; quad < NEON_QUADS; quad++) {
      even[quad] = vreinterpretq_s32_s8(vld1q_s8(lines + 16 * quad));
      odd[quad] = vreinterpretq_s32_s8(vld1q_s8(lines + NEON_LINE + 16 * quad));
    }
    for (size_t quad = 0; quad < NEON_QUADS; quad++) {
      vst1q_s8(lines + 32 * quad, vreinterpretq_s8_s32(vzip1q_s32(even[quad], odd[quad])));
      vst1q_s8(lines + 32 * quad + 16, vreinterpretq_s8_s32(vzip2q_s32(even[quad], odd[quad])));
    }
  }
}

/* Four vectors, zeros for those that are missing: `width` columns of each in turn. */
static void pack_vectors(const product *p, size_t first, size_t count, size_t width, int8_t *packed) {
  const int8_t *codes = p->inputs->codes + first * p->stride;
  for (size_t column = 0; column < p->columns; column += width)
    for (size_t t = 0; t < NEON_VECTORS; t++, packed += width)
      if (t < count)
        memcpy(packed, codes + t * p->stride + column, width);
      else
        memset(packed, 0, width);
}

/* A panel's codes, unpacked, with the packed vectors. */
static void multiply_panel(const product *p, const panel_view *panel, neon_multiply multiply, const int8_t *lines,
                           const int8_t *packed, size_t first, size_t count) {
  lanes totals[NEON_VECTORS];
  for (size_t t = 0; t < NEON_VECTORS; t++) totals[t] = lanes_set(0.0f);
  for (size_t column = 0; column < p->columns; column += p->run) {
    size_t left = p->columns - column, width = left < p->run ? left : p->run, line = column / TQ_PIECE;
    int32x4_t sums[NEON_VECTORS][NEON_QUADS];
    for (size_t t = 0; t < NEON_VECTORS; t++) {
      int32_t sum = t < count ? sum_of_codes(p, first + t, column, width) : 0;
      for (size_t quad = 0; quad < NEON_QUADS; quad++) sums[t][quad] = vdupq_n_s32(-sum);
    }
    multiply(lines + line * NEON_LINE, packed + line * NEON_VECTORS * TQ_PIECE, (width + TQ_PIECE - 1) / TQ_PIECE,
             sums);
    for (size_t t = 0; t < count; t++) totals[t] = add_run(p, panel, first + t, column, sums[t], totals[t]);
  }
  for (size_t t = 0; t < count; t++) store_totals(p, panel, first + t, totals[t]);
}

/* The scratch memory holds the unpacked panels, the packed vectors, then what the panels take. */
static void multiply_panels(const product *p, uint64_t begin, uint64_t end, size_t count, float *scratch) {
  bool pairs = has_pairs();
  size_t panel_bytes = (p->lines + PLACES + 1) * NEON_LINE, panels = 0;
  int8_t *lines = (int8_t *)scratch, *packed = lines + TILE_PANELS * panel_bytes;
  panel_view opened[TILE_PANELS];
  scratch += (TILE_PANELS * panel_bytes + (p->lines + 1) * NEON_VECTORS * TQ_PIECE) / sizeof *scratch;
  for (uint64_t row = begin; row < end; row += TQ_PANEL_ROWS, panels++) {
    opened[panels] = open_panel(p, row, &scratch);
    unpack_panel(p, &opened[panels], lines + panels * panel_bytes);
    if (pairs) pair_lines(lines + panels * panel_bytes, p->lines);
  }
  for (size_t first = 0; first < count; first += NEON_VECTORS) {
    size_t left = count - first, vectors = left < NEON_VECTORS ? left : NEON_VECTORS;
    pack_vectors(p, first, vectors, pairs ? 2 * TQ_PIECE : TQ_PIECE, packed);
    for (size_t i = 0; i < panels; i++)
      multiply_panel(p, &opened[i], pairs ? tq_neon_multiply_pairs : multiply_lines, lines + i * panel_bytes, packed,
                     first, vectors);
  }
}

static void linear_rows_integer(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                                size_t count, float *outputs, float *scratch) {
  product p = describe(matrix, inputs, outputs);
  if (count < NEON_VECTORS) {
    for (uint64_t row = begin; row < end; row += TQ_PANEL_ROWS) {
      float *rest = scratch;
      panel_view opened = open_panel(&p, row, &rest);
      for (size_t t = 0; t < count; t++) multiply_vector(&p, &opened, t);
    }
    return;
  }
  const uint64_t tile = TILE_PANELS * TQ_PANEL_ROWS;
  for (uint64_t row = begin; row < end; row += tile)
    multiply_panels(&p, row, end - row < tile ? end : row + tile, count, scratch);
}

/* ---- what the machine can do ---- */

static uint64_t read_memory(const uint8_t *data, size_t size) {
  uint8x16_t sums[4];
  for (size_t k = 0; k < 4; k++) sums[k] = vdupq_n_u8(0);
  for (size_t i = 0; i < size; i += 64)
    for (size_t k = 0; k < 4; k++) sums[k] = veorq_u8(sums[k], vld1q_u8(data + i + 16 * k));
  uint64x2_t all = vreinterpretq_u64_u8(veorq_u8(veorq_u8(sums[0], sums[1]), veorq_u8(sums[2], sums[3])));
  return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}

static uint64_t measure_lines(size_t rounds, int32_t *sum) {
  enum { REGISTERS = 16, PRODUCTS = 16 };
  int32x4_t sums[REGISTERS], all = vdupq_n_s32(0);
  int8x16_t rows = vdupq_n_s8((int8_t)(rounds & 1)), vectors = vdupq_n_s8((int8_t)(rounds & 3));
  for (size_t i = 0; i < REGISTERS; i++) sums[i] = vdupq_n_s32((int32_t)i);
  for (size_t round = 0; round < rounds; round++)
    for (size_t i = 0; i < REGISTERS; i++) sums[i] = vdotq_s32(sums[i], rows, vectors);
  for (size_t i = 0; i < REGISTERS; i++) all = vaddq_s32(all, sums[i]);
  *sum = vaddvq_s32(all);
  return (uint64_t)rounds * REGISTERS * PRODUCTS;
}

static uint64_t multiply_integers(size_t rounds, int32_t *sum) {
  return has_pairs() ? tq_neon_measure_pairs(rounds, sum) : measure_lines(rounds, sum);
}

const tq_kernels tq_kernels_neon = {
    .name = "neon",
    .available = available,
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

#endif
