/* Scale tables: from trits to weights. */
#include "base/bytes.h"
#include "tq/ternary.h"

static uint64_t groups_per_row(uint32_t group, uint64_t columns) { return columns / group + (columns % group != 0); }

uint64_t tq_scale_count(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns) {
  switch (granularity) {
  case TQ_PER_TENSOR:
    return 1;
  case TQ_PER_ROW:
    return rows;
  case TQ_PER_GROUP:
    return group ? rows * groups_per_row(group, columns) : 0;
  default:
    return 0;
  }
}

float tq_scale_load(uint32_t encoding, uint32_t direction, const void *table, uint64_t index) {
  const uint8_t *bytes = table;
  float scale = encoding == TQ_F32   ? tq_load_f32(bytes + 4 * index)
                : encoding == TQ_F16 ? tq_f16_to_f32(tq_load_u16(bytes + 2 * index))
                                     : tq_bf16_to_f32(tq_load_u16(bytes + 2 * index));
  return direction == TQ_INVERTED ? 1.0f / scale : scale;
}

/* A zero trit is +0 whatever the sign of its scale, and even when the scale is infinite; a mask on the bits sees to it,
 * which compilers vectorise. */
static void scale_run(const int8_t *trits, uint64_t count, float scale, float *values) {
  for (uint64_t i = 0; i < count; i++) {
    float product = (float)trits[i] * scale;
    uint32_t bits;
    memcpy(&bits, &product, sizeof bits);
    bits &= 0u - (trits[i] != 0);
    memcpy(&values[i], &bits, sizeof bits);
  }
}

void tq_trits_scale(const int8_t *trits, uint64_t row, uint64_t columns, uint32_t granularity, uint32_t group,
                    uint32_t encoding, uint32_t direction, const void *table, float *values) {
  uint64_t run = granularity == TQ_PER_GROUP ? group : columns;
  uint64_t index = granularity == TQ_PER_GROUP ? row * groups_per_row(group, columns)
                   : granularity == TQ_PER_ROW ? row
                                               : 0;
  for (uint64_t c = 0; c < columns; c += run, index++) {
    uint64_t count = columns - c < run ? columns - c : run;
    scale_run(trits + c, count, tq_scale_load(encoding, direction, table, index), values + c);
  }
}
