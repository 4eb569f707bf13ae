/* Rows of trits, out of the panels they lie in. */
#include "container/parts.h"

#include "tq/ternary.h"

enum { BLOCKS_AT_ONCE = 16, BYTES_AT_ONCE = BLOCKS_AT_ONCE * TQ_WHOLE_BLOCKS / 4 };

/* A stretch of a panel that begins and ends at pieces is a panel of shorter rows. */
bool tq_tensor_unpack(const tq_tensor *tensor, uint64_t row, uint64_t column, uint64_t count, int8_t *trits,
                      uint64_t *bad) {
  uint32_t encoding = tensor->parts[0].encoding;
  uint64_t place = row % TQ_PANEL_ROWS, height = tq_panel_height(tensor->rows, row), step;
  const uint8_t *panel = tensor->parts[0].data + (row - place) * tq_trit_row_bytes(encoding, tensor->columns);
  for (uint64_t end = column + count; column < end; column += step, trits += step) {
    uint8_t bytes[BYTES_AT_ONCE];
    uint64_t first = tq_trit_row_bytes(encoding, column);
    step = end - column < BLOCKS_AT_ONCE * TQ_WHOLE_BLOCKS ? end - column : BLOCKS_AT_ONCE * TQ_WHOLE_BLOCKS;
    tq_panel_load_row(panel + first * height, height, place, tq_trit_row_bytes(encoding, step), bytes);
    if (!tq_trits_valid(encoding, bytes, step, bad)) {
      *bad += first;
      return false;
    }
    tq_trits_unpack(encoding, bytes, step, trits);
  }
  return true;
}
