/* Kernels: the inner loops, one row of functions per instruction set, chosen when the program runs.
 *
 * The scalar row defines every result; the others give the same bits. A sum over an array is made of 16 partial sums,
 * element i going to sum i mod 16 in order of i, by a product and then an addition (never fused); the 16 are then added
 * as a binary tree: j and j + 8, j and j + 4, j and j + 2, 0 and 1. A kernel with registers of 4, 8 or 16 floats makes
 * the same sums bit for bit.
 *
 * Where ternary codes meet 8-bit integers, a row is cut into runs that share a scale of the weights and a step of the
 * activations. The products of a run are added as integers, exactly; from 0 on, the sums of the runs are then added in
 * their order, each as float(sum) * (scale * step). A run whose sum is 0 adds 0 * step, whatever its scale. */
#ifndef TQ_KERNELS_KERNELS_H
#define TQ_KERNELS_KERNELS_H

#include "tq/encoding.h"
#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A matrix as it lies in mapped memory: rows of plain numbers or of foreign blocks, or panels of ternary codes. */
typedef struct tq_matrix {
  uint64_t rows, columns;
  uint32_t encoding; /* tq_encoding of the values */
  const uint8_t *values;
  uint64_t row_bytes;         /* that one row takes */
  const tq_block_type *block; /* TQ_BLOCKS only; columns are then a multiple of its elements */
  const uint8_t *scales;      /* of ternary codes or I8; NULL: the values are the weights */
  uint32_t scale_encoding, granularity, group, direction;
} tq_matrix;

/* True for trit codes: what 8-bit activations meet. */
bool tq_matrix_is_ternary(const tq_matrix *matrix);

/* Longer rows are far above any model; up to here a sum of 8-bit products fits 32 bits, also of codes 0 to 3 and when
 * it is kept times 64. */
enum { TQ_INTEGER_COLUMNS_LIMIT = 1 << 18 };

/* Vectors as 8-bit integers: element i of one is codes[i] * steps[i / block]. */
typedef struct tq_codes {
  int8_t *codes; /* [vector][tq_code_stride]: zeros behind the elements; NULL: there are none */
  float *steps;  /* [vector][tq_step_count] */
  int32_t *sums; /* [vector][tq_step_count of TQ_SPAN]: of each 32 codes, for weights kept as trit + 1 */
  size_t block;  /* elements that share a step: 0 (all of a vector) or TQ_SPAN */
} tq_codes;

size_t tq_step_count(size_t columns, size_t block);
/* Bytes from one vector's codes to the next's: a multiple of 64, with room for the places without a weight at the end
 * of a row. */
size_t tq_code_stride(size_t columns);

/* Floats of scratch memory that a product with rows of that length takes, and that decoding a row takes. */
size_t tq_linear_scratch(uint64_t columns);
/* The trits of a row of ternary codes; `bytes` has room for row_bytes. */
void tq_row_trits(const tq_matrix *matrix, uint64_t row, uint8_t *bytes, int8_t *trits);
/* Row `row` as floats, at scratch[0 .. columns). */
void tq_row_decode(const tq_matrix *matrix, uint64_t row, float *scratch);

/* Keys and values of one head of one sequence. */
typedef struct tq_cached_head {
  const void *keys;                     /* [position / 16][size][16]: F16, or I8 where there are steps */
  const void *values;                   /* [position][size]: the same */
  const float *key_steps, *value_steps; /* [position]: an element is code * step; NULL: F16 */
} tq_cached_head;

/* One head of one token. */
typedef struct tq_query {
  const float *query; /* [size] */
  float *y;           /* [size] */
  size_t positions;   /* that it looks back on: at least 1 */
} tq_query;

enum {
  TQ_KEY_LANES = 16,       /* positions whose keys lie side by side */
  TQ_ATTENTION_BLOCK = 64, /* positions between two corrections of the sum */
  TQ_ATTENTION_QUERIES = 64,
  TQ_ATTENTION_SCRATCH = TQ_ATTENTION_QUERIES * TQ_ATTENTION_BLOCK /* floats: a score for each */
};

typedef struct tq_kernels {
  const char *name;        /* as TQ_CPU says it */
  bool (*available)(void); /* whether this processor can run them */

  /* y[i] = (x[i] * r) * weight[i], r = 1 / sqrt(sum(x^2) / size + epsilon). `y` may be `x`. Zhang & Sennrich, "Root
   * Mean Square Layer Normalization" (2019), equation 4, with LLaMA's epsilon under the root. */
  void (*rms_norm)(const float *x, const float *weight, size_t size, float epsilon, float *y);
  /* y[i] += x[i]: the residual of He et al., "Deep Residual Learning" (2015), equation 1. */
  void (*add)(float *y, const float *x, size_t count);
  /* Turns the pairs (x[i], x[i + pairs]) in place: x_i c_i - x_{i+pairs} s_i, x_{i+pairs} c_i + x_i s_i. */
  void (*rope)(float *x, size_t pairs, const float *cosines, const float *sines);
  /* y[i] = silu(gate[i]) * up[i], silu(g) being g / (1 + exp(-g)). `y` may be `gate`. SwiGLU: Shazeer, "GLU
   * Variants Improve Transformer" (2020), equation 6. */
  void (*gate_silu)(const float *gate, const float *up, float *y, size_t count);
  /* y[i] = max(gate[i], 0)^2 * up[i]. `y` may be `gate`. So et al., "Primer" (2021): squared ReLU, as
   * BitNet b1.58 2B4T gates with it. */
  void (*gate_squared_relu)(const float *gate, const float *up, float *y, size_t count);
  /* Floats to F16, halves to even; too large becomes infinity. */
  void (*to_half)(const float *x, size_t count, uint16_t *halves);

  /* Softmax attention of `count` queries, TQ_ATTENTION_QUERIES at most, that share a head's keys and values; size is a
   * head's. For each query, in blocks of TQ_ATTENTION_BLOCK positions from the first on, with m = -infinity, l = 0,
   * y = 0 before:
   *   s_p = sum(q[d] * key_p[d], in order of d, from 0) * scale (times key_steps[p] first, for integers: the sum is
   *   multiplied by (key_steps[p] * scale));
   *   n = the largest of m and the s_p; c = exp(m - n); m = n; w_p = exp(s_p - m);
   *   l = l * c + (w_p summed like an array); y[d] = y[d] * c, then += w_p * value_p[d] in order of p (integers:
   *   (w_p * value_steps[p]) * code).
   * At the end y[d] *= 1 / l. That is y = softmax(scale * K q) V of Vaswani et al., "Attention Is All You Need" (2017),
   * equation 1, made as in Milakov & Gimelshein, "Online normalizer calculation for softmax" (2018), algorithm 3,
   * with blocks as in Dao et al., "FlashAttention" (2022). The keys behind the last position, up to a multiple of 16,
   * can be read and are not used. */
  void (*attention)(const tq_cached_head *head, const tq_query *queries, size_t count, size_t size, float scale,
                    float *scratch);

  /* outputs[t * rows + r] = the product of row r with inputs[t * columns ...], for r in [begin, end) and t in [0,
   * count), summed like an array. */
  void (*linear_rows)(const tq_matrix *matrix, uint64_t begin, uint64_t end, const float *inputs, size_t count,
                      float *outputs, float *scratch);
  /* A vector as 8-bit integers, in blocks that share a step (`block` 0: all of it), with the sums of each 32. With m
   * the largest magnitude of a block, at least 1e-5, r = 127 / m: codes[i] is x[i] * r rounded to the nearest integer,
   * halves to even, so from -127 to 127; its step is m / 127. Where a number of the block is not finite, its codes are
   * 0 and its step is NaN. Writes all tq_code_stride(count) codes. */
  void (*quantize)(const float *x, size_t count, size_t block, int8_t *codes, float *steps, int32_t *sums);
  /* The same as linear_rows, of ternary codes (TQ_INTEGER_COLUMNS_LIMIT columns at most) with 8-bit integers. `begin`
   * is a multiple of TQ_PANEL_ROWS, and `end` is one or the number of rows. */
  void (*linear_rows_integer)(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                              size_t count, float *outputs, float *scratch);

  /* What the machine can do at most, for benchmarks. Reads all bytes, once, in order (`size` is a multiple of 256);
   * returns a sum of them that means nothing. */
  uint64_t (*read_memory)(const uint8_t *data, size_t size);
  /* Multiplies and adds 8-bit integers, in registers alone, as linear_rows_integer does; returns how many products that
   * were. `rounds` is how often the registers are gone through; *sum gets a sum of them that means nothing. */
  uint64_t (*multiply_integers)(size_t rounds, int32_t *sum);
} tq_kernels;

extern const tq_kernels tq_kernels_scalar;
#if defined(__x86_64__)
extern const tq_kernels tq_kernels_avx2, tq_kernels_avx512;
#elif defined(__aarch64__)
extern const tq_kernels tq_kernels_neon;
#endif

/* The kernels of that name; for NULL those that $TQ_CPU names, or else the best that this processor can run.
 * TQ_ERROR_USAGE for a name that is not known, or that this processor cannot run. */
tq_status tq_kernels_choose(const char *name, const tq_kernels **kernels, tq_error *error);
/* Row `index` of the table, best first, whether this processor can run it or not; NULL behind the last. */
const tq_kernels *tq_kernels_at(size_t index);

#endif
