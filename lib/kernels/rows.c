/* From a row in the mapped file to floats. */
#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <string.h>

/* What takes most: four panels of unpacked codes with their scales. */
size_t tq_linear_scratch(uint64_t columns) { return (size_t)columns * 20 + 2048; }

bool tq_matrix_is_ternary(const tq_matrix *matrix) {
  return matrix->encoding == TQ_TERNARY_2BIT || matrix->encoding == TQ_TERNARY_BASE3 ||
         matrix->encoding == TQ_QUATERNARY_2BIT;
}

size_t tq_step_count(size_t columns, size_t block) { return block ? columns / block + (columns % block != 0) : 1; }

size_t tq_code_stride(size_t columns) { return (columns + 83) / 64 * 64; }

void tq_row_trits(const tq_matrix *matrix, uint64_t row, uint8_t *bytes, int8_t *trits) {
  tq_panel_load_row(matrix->values, matrix->rows, row, matrix->row_bytes, bytes);
  tq_trits_unpack(matrix->encoding, bytes, matrix->columns, trits);
}

void tq_row_decode(const tq_matrix *matrix, uint64_t row, float *scratch) {
  const uint8_t *bytes = matrix->values + row * matrix->row_bytes;
  uint64_t columns = matrix->columns;
  if (tq_matrix_is_ternary(matrix) || (matrix->encoding == TQ_I8 && matrix->scales)) {
    int8_t *codes = (int8_t *)(scratch + columns);
    if (matrix->encoding == TQ_I8)
      memcpy(codes, bytes, (size_t)columns);
    else
      tq_row_trits(matrix, row, (uint8_t *)(scratch + 2 * columns), codes);
    tq_trits_scale(codes, matrix->rows, row, columns, matrix->granularity, matrix->group, matrix->scale_encoding,
                   matrix->direction, matrix->scales, scratch);
    return;
  }
  if (matrix->block)
    matrix->block->decode(bytes, columns / matrix->block->block_elements, scratch);
  else
    tq_numbers_decode(matrix->encoding, bytes, columns, scratch);
}
