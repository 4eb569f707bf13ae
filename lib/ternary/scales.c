/* Scale tables: from trits to weights. */
#include "base/bytes.h"
#include "tq/ternary.h"

#include <math.h>

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

uint64_t tq_scale_index(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns, uint64_t row,
                        uint64_t column) {
  if (granularity != TQ_PER_GROUP) return granularity == TQ_PER_ROW ? row : 0;
  uint64_t place = row % TQ_PANEL_ROWS;
  return (row - place) * groups_per_row(group, columns) + column / group * tq_panel_height(rows, row) + place;
}

float tq_scale_load(uint32_t encoding, uint32_t direction, const void *table, uint64_t index) {
  const uint8_t *bytes = table;
  float scale = encoding == TQ_F32   ? tq_load_f32(bytes + 4 * index)
                : encoding == TQ_F16 ? tq_f16_to_f32(tq_load_u16(bytes + 2 * index))
                                     : tq_bf16_to_f32(tq_load_u16(bytes + 2 * index));
  return direction == TQ_INVERTED ? 1.0f / scale : scale;
}

/* ---- storing ---- */

static uint32_t rounded_bits(uint32_t encoding, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return encoding == TQ_F32 ? bits : encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value);
}

static bool bits_say(uint32_t encoding, uint32_t direction, uint32_t bits, float scale) {
  uint8_t bytes[4];
  tq_store_u32(bytes, bits);
  return tq_scale_load(encoding, direction, bytes, 0) == scale;
}

static void store_bits(uint32_t encoding, uint32_t bits, void *bytes) {
  if (encoding == TQ_F32)
    tq_store_u32(bytes, bits);
  else
    tq_store_u16(bytes, (uint16_t)bits);
}

/* If the reciprocal of any number is the scale, then that of the number nearest to 1 / scale is: every f32 was tried.
 * The one exception is 2^-128, whose reciprocal is just too large: that is said by the number below infinity. */
bool tq_scale_store(uint32_t encoding, uint32_t direction, float scale, void *bytes) {
  if (!isfinite(scale)) return false;
  uint32_t bits = rounded_bits(encoding, direction == TQ_INVERTED ? 1.0f / scale : scale);
  bool says = bits_say(encoding, direction, bits, scale);
  if (!says && direction == TQ_INVERTED) says = bits_say(encoding, direction, --bits, scale);
  if (says) store_bits(encoding, bits, bytes);
  return says;
}

/* ---- weights ---- */

/* A zero trit is +0, whatever its scale. Where that is finite a product that is zero becomes so by adding 0 (-0 + 0 is
 * +0, and nothing else changes); where it is not, by a mask on the bits. Compilers vectorise both. */
static void scale_run(const int8_t *trits, uint64_t count, float scale, float *values) {
  if (isfinite(scale)) {
    for (uint64_t i = 0; i < count; i++) values[i] = (float)trits[i] * scale + 0.0f;
    return;
  }
  for (uint64_t i = 0; i < count; i++) {
    float product = (float)trits[i] * scale;
    uint32_t bits;
    memcpy(&bits, &product, sizeof bits);
    bits &= 0u - (trits[i] != 0);
    memcpy(&values[i], &bits, sizeof bits);
  }
}

void tq_trits_scale(const int8_t *trits, uint64_t rows, uint64_t row, uint64_t columns, uint32_t granularity,
                    uint32_t group, uint32_t encoding, uint32_t direction, const void *table, float *values) {
  uint64_t run = granularity == TQ_PER_GROUP ? group : columns, apart = tq_panel_height(rows, row);
  uint64_t index = tq_scale_index(granularity, group, rows, columns, row, 0);
  for (uint64_t c = 0; c < columns; c += run, index += apart) {
    uint64_t count = columns - c < run ? columns - c : run;
    scale_run(trits + c, count, tq_scale_load(encoding, direction, table, index), values + c);
  }
}
