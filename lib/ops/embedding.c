/* table [vocabulary][size] as encoded, token -> y [size]
 * forward: y = table[token] */
#include "ops/ops.h"

#include <string.h>

void tq_op_embedding(const tq_matrix *embedding, uint32_t token, float *y, float *scratch) {
  tq_row_decode(embedding, token, scratch);
  memcpy(y, scratch, (size_t)embedding->columns * sizeof *y);
}
