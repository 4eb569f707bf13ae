/* Kernels: the inner loops, one row of functions per instruction set, chosen when the program runs.
 *
 * The scalar row defines every result. A sum over an array is made of 16 partial sums, element i going to sum i mod 16
 * in order of i, by a product and then an addition (never fused); the 16 are then added as a binary tree: j and j + 8,
 * j and j + 4, j and j + 2, 0 and 1. A kernel with registers of 4, 8 or 16 floats makes the same sums bit for bit.
 *
 * Where ternary codes meet 8-bit integers, a row is cut into runs that share a scale of the weights and a step of the
 * activations. The products of a run are added as integers, exactly; the sums of the runs are then added like the
 * elements of an array, each as float(sum) * (scale * step). A run whose sum is 0 adds 0 * step, whatever its scale. */
#ifndef TQ_KERNELS_KERNELS_H
#define TQ_KERNELS_KERNELS_H

#include "tq/encoding.h"
#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A matrix as it lies in mapped memory: rows of plain numbers, of ternary codes, or of foreign blocks. */
typedef struct tq_matrix {
  uint64_t rows, columns;
  uint32_t encoding; /* tq_encoding of the values */
  const uint8_t *values;
  uint64_t row_bytes;         /* from one row's values to the next's */
  const tq_block_type *block; /* TQ_BLOCKS only; columns are then a multiple of its elements */
  const uint8_t *scales;      /* of ternary codes or I8; NULL: the values are the weights */
  uint32_t scale_encoding, granularity, group, direction;
} tq_matrix;

/* True for trit codes: what 8-bit activations meet. */
bool tq_matrix_is_ternary(const tq_matrix *matrix);

/* Longer rows are far above any model; up to here a sum of 8-bit products fits 32 bits. */
enum { TQ_INTEGER_COLUMNS_LIMIT = 1 << 22 };

/* Vectors as 8-bit integers: element i of one is codes[i] * steps[i / block]. */
typedef struct tq_codes {
  int8_t *codes; /* [vector][columns]; NULL: there are none */
  float *steps;  /* [vector][tq_step_count] */
  size_t block;  /* elements that share a step; 0: all of a vector */
} tq_codes;

size_t tq_step_count(size_t columns, size_t block);

/* How many floats of scratch memory decoding a row of that length takes. */
size_t tq_row_scratch(uint64_t columns);
/* Row `row` as floats, at scratch[0 .. columns). */
void tq_row_decode(const tq_matrix *matrix, uint64_t row, float *scratch);

typedef struct tq_kernels {
  const char *name;        /* as TQ_CPU says it */
  bool (*available)(void); /* whether this processor can run them */

  /* The sum of a[i] * b[i]. */
  float (*dot)(const float *a, const float *b, size_t count);
  /* y[i] += a * x[i] */
  void (*add_scaled)(float *y, const float *x, float a, size_t count);
  /* y[i] = exp(x[i] - offset); returns the sum of y. `y` may be `x`. */
  float (*exponentials)(const float *x, float offset, float *y, size_t count);
  /* y[i] = silu(gate[i]) * up[i], silu(g) being g / (1 + exp(-g)). `y` may be `gate`. */
  void (*gate_silu)(const float *gate, const float *up, float *y, size_t count);
  /* y[i] = max(gate[i], 0)^2 * up[i]. `y` may be `gate`. */
  void (*gate_squared_relu)(const float *gate, const float *up, float *y, size_t count);
  /* outputs[t * rows + r] = the product of row r with inputs[t * columns ...], for r in [begin, end) and t in [0,
   * count). */
  void (*linear_rows)(const tq_matrix *matrix, uint64_t begin, uint64_t end, const float *inputs, size_t count,
                      float *outputs, float *scratch);
  /* One block of a vector as 8-bit integers. With m the largest magnitude, at least 1e-5, r = 127 / m: codes[i] is
   * x[i] * r rounded to the nearest integer, halves to even, so from -127 to 127; *step = m / 127. Where a number is
   * not finite, the codes are 0 and the step is NaN. */
  void (*quantize)(const float *x, size_t count, int8_t *codes, float *step);
  /* The same as linear_rows, of ternary codes (TQ_INTEGER_COLUMNS_LIMIT columns at most) with 8-bit integers. The
   * block of `inputs` is 0 or TQ_SPAN. */
  void (*linear_rows_integer)(const tq_matrix *matrix, uint64_t begin, uint64_t end, const tq_codes *inputs,
                              size_t count, float *outputs, float *scratch);
} tq_kernels;

extern const tq_kernels tq_kernels_scalar;

/* The kernels of that name; for NULL those that $TQ_CPU names, or else the best that this processor can run.
 * TQ_ERROR_USAGE for a name that is not known, or that this processor cannot run. */
tq_status tq_kernels_choose(const char *name, const tq_kernels **kernels, tq_error *error);

#endif
