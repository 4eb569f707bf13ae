/* x [count][columns], W [rows][columns] as encoded, bias [rows] -> y [count][rows]
 * forward: y = scale * (W T(x)) + bias, T being a rotation, then the rounding to 8-bit integers, or neither
 * Integers: Wang et al., "BitNet" (2023), equations 4 to 6, with an 8-bit range as in BitNet b1.58. */
#include "ops/ops.h"

#include "tq/ternary.h"

/* Bits of *made. */
enum { ROTATED = 1, PLAIN_CODES = 2, ROTATED_CODES = 4 };

static bool meets_integers(const tq_linear *linear, const tq_input *input) {
  return input->codes[0].codes && tq_matrix_is_ternary(&linear->weights);
}

static void make_codes(const tq_kernels *kernels, const float *x, size_t columns, const tq_codes *codes,
                       size_t vector) {
  kernels->quantize(x, columns, codes->block, codes->codes + vector * tq_code_stride(columns),
                    codes->steps + vector * tq_step_count(columns, codes->block),
                    codes->sums + vector * tq_step_count(columns, TQ_SPAN));
}

void tq_op_input(const tq_kernels *kernels, const tq_linear *linear, const tq_input *input, size_t vector,
                 unsigned *made) {
  size_t columns = (size_t)linear->weights.columns, form = linear->rotation != NULL;
  const float *x = input->plain + vector * columns;
  if (form) {
    float *rotated = input->rotated + vector * columns;
    if (!(*made & ROTATED)) tq_op_rotate(linear->rotation, x, columns, rotated);
    *made |= ROTATED;
    x = rotated;
  }
  unsigned bit = form ? ROTATED_CODES : PLAIN_CODES;
  if (!meets_integers(linear, input) || (*made & bit)) return;
  make_codes(kernels, x, columns, &input->codes[form], vector);
  *made |= bit;
}

void tq_op_linear(const tq_kernels *kernels, const tq_linear *linear, uint64_t begin, uint64_t end,
                  const tq_input *input, size_t count, float *y, float *scratch) {
  size_t form = linear->rotation != NULL;
  if (meets_integers(linear, input))
    kernels->linear_rows_integer(&linear->weights, begin, end, &input->codes[form], count, y, scratch);
  else
    kernels->linear_rows(&linear->weights, begin, end, form ? input->rotated : input->plain, count, y, scratch);
  if (linear->output_scale == 1.0f && !linear->bias) return;
  for (size_t t = 0; t < count; t++) {
    float *output = y + t * linear->weights.rows;
    for (uint64_t row = begin; row < end; row++) {
      output[row] *= linear->output_scale;
      if (linear->bias) output[row] += linear->bias[row];
    }
  }
}
