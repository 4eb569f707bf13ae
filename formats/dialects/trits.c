#include "formats/dialects/trits.h"

#include "container/parts.h"
#include "tq/ternary.h"

#include <inttypes.h>

tq_status tq_tensor_read_trits(const tq_file *file, size_t index, uint64_t row, int8_t *trits, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  const tq_part *values = &tensor->parts[0];
  uint64_t bytes = tq_trit_row_bytes(values->encoding, tensor->columns), bad;
  uint64_t panel = (row - row % TQ_PANEL_ROWS) * bytes, size = tq_panel_height(tensor->rows, row) * bytes;
  tq_status status = tq_file_touch(file, index, values->offset + panel, size, error);
  if (status) return status;
  if (!tq_tensor_unpack(tensor, row, 0, tensor->columns, trits, &bad)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "tensor %s: row %" PRIu64 ", byte %" PRIu64 " is no ternary code",
                   tensor->name, row, bad);
  }
  return TQ_OK;
}

tq_status tq_tensor_touch_scales(const tq_file *file, size_t index, tq_error *error) {
  const tq_part *scales = tq_tensor_part(tq_file_tensor(file, index), TQ_PART_SCALES);
  return scales ? tq_file_touch(file, index, scales->offset, scales->size, error) : TQ_OK;
}
