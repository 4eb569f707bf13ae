/* From a row in the mapped file to floats. */
#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <string.h>

/* Bytes that each takes for c columns, at most. A group, and a block of activations, has 32 columns at least, so that
 * there are c / 32 + 1 of them. Unpacked codes of a panel take 16 bytes a column, up to 31 columns behind the last; a
 * row of packed codes takes c / 4 + 4, and a panel of them 4 c + 64.
 * - avx512: 4 panels unpacked, 64 c + 1984; for each run 4 panels' scales, 6 vectors' factors and sums, 9.5 c + 304;
 * - neon: 4 panels unpacked and 6 lines more of each, 64 c + 1728; 4 packed vectors, 4 c + 28; 4 panels' scales,
 *   8 c + 256; the last panel filled up, 4 c + 64: together 80 c + 2076;
 * - avx2: a panel unpacked, 16 c + 1024; filled up, 4 c + 64; its scales, 2 c + 64;
 * - scalar and tq_row_decode: c floats, the room of c more for trits, a row of codes: 8.25 c + 4;
 * - float_products.h: 16 rows as floats, what decoding the last takes behind them: 60 c + 8.25 c + 4.
 * The first and the third align theirs, by 63 at most. 80 c + 2351 do for all; the rest is to spare. */
size_t tq_linear_scratch(uint64_t columns) { return (size_t)columns * 20 + 1024; }

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
  uint64_t columns = matrix->columns;
  if (tq_matrix_is_ternary(matrix) || (matrix->encoding == TQ_I8 && matrix->scales)) {
    int8_t *codes = (int8_t *)(scratch + columns);
    if (matrix->encoding == TQ_I8)
      memcpy(codes, matrix->values + row * matrix->row_bytes, (size_t)columns);
    else
      tq_row_trits(matrix, row, (uint8_t *)(scratch + 2 * columns), codes);
    tq_trits_scale(codes, matrix->rows, row, columns, matrix->granularity, matrix->group, matrix->scale_encoding,
                   matrix->direction, matrix->scales, scratch);
    return;
  }
  const uint8_t *bytes = matrix->values + row * matrix->row_bytes;
  if (matrix->block)
    matrix->block->decode(bytes, columns / matrix->block->block_elements, scratch);
  else
    tq_numbers_decode(matrix->encoding, bytes, columns, scratch);
}
