/* Rows of trits, out of a .tq file and in memory. */
#ifndef TQ_FORMATS_DIALECTS_TRITS_H
#define TQ_FORMATS_DIALECTS_TRITS_H

#include "tq/container.h"

#include <string.h>

/* Row `row` of a tensor with codes, [columns] trits: touched, checked and unpacked. TQ_ERROR_CORRUPT where a code means
 * nothing. May be called by several threads. */
tq_status tq_tensor_read_trits(const tq_file *file, size_t tensor, uint64_t row, int8_t *trits, tq_error *error);
/* Verifies the bytes of the tensor's table of scales, in a file that is verified lazily. */
tq_status tq_tensor_touch_scales(const tq_file *file, size_t tensor, tq_error *error);

/* True when one of `count` trits is not 0. */
static inline bool tq_any_trit(const int8_t *trits, uint64_t count) {
  uint64_t i = 0, eight = 0;
  for (; !eight && count - i >= sizeof eight; i += sizeof eight) memcpy(&eight, trits + i, sizeof eight);
  for (; !eight && i < count; i++) eight = trits[i] != 0;
  return eight != 0;
}

/* Bytes of a scale in F32, F16 or BF16. */
static inline size_t tq_scale_bytes(uint32_t encoding) { return encoding == TQ_F32 ? 4 : 2; }

#endif
