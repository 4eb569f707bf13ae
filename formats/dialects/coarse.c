/* The coarsest granularity that says a tensor's scales exactly. */
#include "formats/dialects/scales.h"
#include "formats/dialects/trits.h"
#include "tq/ternary.h"

/* From the coarsest. */
static const struct {
  uint32_t granularity, group;
} levels[TQ_COARSE_LEVELS] = {
    {TQ_PER_TENSOR, 0},  {TQ_PER_ROW, 0},    {TQ_PER_GROUP, 256},
    {TQ_PER_GROUP, 128}, {TQ_PER_GROUP, 64}, {TQ_PER_GROUP, 32},
};
enum { TENSOR, ROW };

/* Columns that share a scale, and how many scales a row has. */
typedef struct fineness {
  uint64_t run, count;
  size_t size;
} fineness;

static fineness measure(uint32_t granularity, uint32_t group, size_t size, uint64_t columns) {
  uint64_t run = granularity == TQ_PER_GROUP && group < columns ? group : columns;
  return (fineness){run, columns / run + (columns % run != 0), size};
}

static bool counts(const fineness *fine, uint64_t columns, const int8_t *trits, uint64_t i) {
  uint64_t begin = i * fine->run;
  return tq_any_trit(trits + begin, columns - begin < fine->run ? columns - begin : fine->run);
}

/* Levels no coarser than the dialect's own are not asked about. */
static bool is_coarser(const tq_coarsening *coarsening, size_t level) {
  if (coarsening->fine_granularity == TQ_PER_TENSOR) return false;
  if (level == TENSOR) return true;
  if (coarsening->fine_granularity == TQ_PER_ROW) return false;
  return level == ROW || levels[level].group > coarsening->fine_group;
}

void tq_coarsening_begin(tq_coarsening *coarsening, const tq_dialect *dialect) {
  *coarsening = (tq_coarsening){.fine_granularity = dialect->granularity,
                                .fine_group = dialect->group,
                                .scale_bytes = (uint32_t)tq_scale_bytes(dialect->scale_encoding)};
  for (size_t i = 0; i < TQ_COARSE_LEVELS; i++) coarsening->holds[i] = true;
}

/* The coarsest level that is in question and still holds, or TQ_COARSE_LEVELS. */
static size_t coarsest(const tq_coarsening *coarsening) {
  size_t level = 0;
  while (level < TQ_COARSE_LEVELS && !(is_coarser(coarsening, level) && coarsening->holds[level])) level++;
  return level;
}

/* A scale that counts, for the level of the tensor. */
static void meet_tensor(tq_coarsening *coarsening, const uint8_t *scale) {
  if (!coarsening->has_scale) {
    memcpy(coarsening->scale, scale, coarsening->scale_bytes);
    coarsening->has_scale = true;
  } else if (memcmp(coarsening->scale, scale, coarsening->scale_bytes) != 0) {
    coarsening->holds[TENSOR] = false;
  }
}

/* A row whose scales are all the same: nothing but the tensor's level can break. */
static void uniform_row(tq_coarsening *coarsening, uint64_t columns, const int8_t *trits, const uint8_t *scales) {
  if (!coarsening->holds[TENSOR]) return;
  if (coarsening->has_scale && memcmp(coarsening->scale, scales, coarsening->scale_bytes) == 0) return;
  if (tq_any_trit(trits, columns)) meet_tensor(coarsening, scales);
}

/* Scale i counts: it must be the one before it that counts in every group that both lie in. */
static void meet_groups(tq_coarsening *coarsening, const fineness *fine, const uint8_t *scales, uint64_t last,
                        uint64_t i) {
  if (memcmp(scales + last * fine->size, scales + i * fine->size, fine->size) == 0) return;
  coarsening->holds[ROW] = false;
  for (size_t level = ROW + 1; level < TQ_COARSE_LEVELS; level++) {
    uint64_t group = levels[level].group;
    if (last * fine->run / group == i * fine->run / group) coarsening->holds[level] = false;
  }
}

void tq_coarsening_row(tq_coarsening *coarsening, uint64_t columns, const int8_t *trits, const uint8_t *scales) {
  if (coarsest(coarsening) == TQ_COARSE_LEVELS) return;
  fineness fine = measure(coarsening->fine_granularity, coarsening->fine_group, coarsening->scale_bytes, columns);
  if (memcmp(scales, scales + fine.size, (size_t)(fine.count - 1) * fine.size) == 0) {
    uniform_row(coarsening, columns, trits, scales);
    return;
  }
  uint64_t last = UINT64_MAX;
  for (uint64_t i = 0; i < fine.count; i++) {
    if (!counts(&fine, columns, trits, i)) continue;
    if (coarsening->holds[TENSOR]) meet_tensor(coarsening, scales + i * fine.size);
    if (last != UINT64_MAX) meet_groups(coarsening, &fine, scales, last, i);
    last = i;
  }
}

void tq_coarsening_merge(tq_coarsening *into, const tq_coarsening *from) {
  for (size_t i = 0; i < TQ_COARSE_LEVELS; i++) into->holds[i] = into->holds[i] && from->holds[i];
  if (from->has_scale) meet_tensor(into, from->scale);
}

void tq_coarsening_result(const tq_coarsening *coarsening, uint32_t *granularity, uint32_t *group) {
  size_t level = coarsest(coarsening);
  *granularity = level < TQ_COARSE_LEVELS ? levels[level].granularity : coarsening->fine_granularity;
  *group = level < TQ_COARSE_LEVELS ? levels[level].group : coarsening->fine_group;
  if (*granularity != TQ_PER_GROUP) *group = 0;
}

void tq_coarse_row(const tq_dialect *dialect, uint32_t granularity, uint32_t group, uint64_t rows, uint64_t row,
                   uint64_t columns, const int8_t *trits, const uint8_t *scales, uint8_t *table) {
  if (granularity == TQ_PER_TENSOR) return;
  size_t size = tq_scale_bytes(dialect->scale_encoding);
  fineness fine = measure(dialect->granularity, dialect->group, size, columns);
  fineness coarse = measure(granularity, group, size, columns);
  uint8_t *to = table + tq_scale_index(granularity, group, rows, columns, row, 0) * size;
  size_t apart = (size_t)tq_panel_height(rows, row) * size;
  for (uint64_t i = 0; coarse.run <= fine.run && i < fine.count; i++) memcpy(to + i * apart, scales + i * size, size);
  if (coarse.run <= fine.run) return;
  for (uint64_t i = 0, k = 0; i < coarse.count; i++, to += apart) {
    uint64_t first = k, end = (i + 1) * coarse.run, chosen;
    while (k < fine.count && k * fine.run < end) k++;
    for (chosen = first; chosen < k && !counts(&fine, columns, trits, chosen);) chosen++;
    memcpy(to, scales + (chosen < k ? chosen : first) * size, size);
  }
}
