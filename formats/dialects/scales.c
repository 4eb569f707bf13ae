#include "formats/dialects/scales.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "container/parts.h"
#include "formats/dialects/trits.h"
#include "tq/ternary.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

static bool is_scale_encoding(uint32_t encoding) {
  return encoding == TQ_F32 || encoding == TQ_F16 || encoding == TQ_BF16;
}

/* The container carries scales of an encoding that nobody knows, unchecked. */
bool tq_scale_table_of(const tq_tensor *tensor, tq_scale_table *table) {
  const tq_part *part = tq_tensor_part(tensor, TQ_PART_SCALES);
  if (!part || !is_scale_encoding(part->encoding)) return false;
  *table = (tq_scale_table){tensor->rows, part->granularity, part->group, part->encoding, part->direction, part->data};
  return true;
}

/* ---- from one table to another ---- */

/* A table, and how its scales are to be said. */
typedef struct saying {
  const tq_scale_table *table;
  uint32_t granularity, group, encoding, direction;
  bool finite_only, invertible; /* what else is asked of them */
} saying;

static float scale_at(const tq_scale_table *table, uint64_t index) {
  return tq_scale_load(table->encoding, table->direction, table->data, index);
}

static bool are_same(const tq_scale_table *table, uint64_t a, uint64_t b) {
  size_t size = tq_scale_bytes(table->encoding);
  return memcmp(table->data + a * size, table->data + b * size, size) == 0 || scale_at(table, a) == scale_at(table, b);
}

static bool convert(const saying *self, uint64_t index, uint8_t *scale) {
  const tq_scale_table *table = self->table;
  if (table->encoding != self->encoding || table->direction != self->direction)
    return tq_scale_store(self->encoding, self->direction, scale_at(table, index), scale);
  size_t size = tq_scale_bytes(self->encoding);
  memcpy(scale, table->data + index * size, size);
  return true;
}

bool tq_is_weight_scale(uint32_t encoding, const uint8_t *scale) {
  return isfinite(tq_scale_load(encoding, TQ_DIRECT, scale, 0)) &&
         isfinite(tq_scale_load(encoding, TQ_INVERTED, scale, 0));
}

static bool is_allowed(const saying *self, const uint8_t *scale) {
  if (self->finite_only && !isfinite(tq_scale_load(self->encoding, self->direction, scale, 0))) return false;
  return !self->invertible || tq_is_weight_scale(self->encoding, scale);
}

static bool say(const saying *self, uint64_t index, uint8_t *scale) {
  return convert(self, index, scale) && is_allowed(self, scale);
}

/* Over zeros any scale does; the one that is there, if it can be said. */
static void say_over_zeros(const saying *self, uint64_t index, uint8_t *scale) {
  if (!say(self, index, scale)) tq_scale_store(self->encoding, self->direction, self->invertible, scale);
}

static void cannot_say(const saying *self, uint64_t index, tq_scale_problem *problem) {
  uint8_t scale[4];
  if (convert(self, index, scale)) {
    snprintf(problem->reason, sizeof problem->reason, "its scale %.9g is not a number that %s",
             (double)scale_at(self->table, index), self->invertible ? "can be divided by" : "is finite");
    return;
  }
  snprintf(problem->reason, sizeof problem->reason, "its scale %.9g is not exact in %s%s",
           (double)scale_at(self->table, index), tq_encoding_find(self->encoding)->name,
           self->direction == TQ_INVERTED ? ", inverted" : "");
}

static void cannot_meet(const saying *self, uint64_t one, uint64_t other, tq_scale_problem *problem) {
  char group[32];
  snprintf(group, sizeof group, "group of %" PRIu32, self->group);
  snprintf(problem->reason, sizeof problem->reason, "scales %.9g and %.9g meet in one %s",
           (double)scale_at(self->table, one), (double)scale_at(self->table, other),
           self->granularity == TQ_PER_GROUP ? group
           : self->granularity == TQ_PER_ROW ? "row"
                                             : "tensor");
}

/* Columns that share a scale. */
static uint64_t run_of(uint32_t granularity, uint32_t group, uint64_t columns) {
  return granularity == TQ_PER_GROUP ? group : columns;
}

/* Columns [begin, end) of a row, which are to have one scale, and the scales that meet there. */
typedef struct meeting {
  uint64_t row, begin, end;
  uint64_t run, first, apart; /* columns of a scale of the table; the index of the row's first; how far its next is */
} meeting;

static meeting meet(const tq_scale_table *table, uint64_t row, uint64_t columns) {
  return (meeting){.row = row,
                   .end = columns,
                   .run = run_of(table->granularity, table->group, columns),
                   .first = tq_scale_index(table->granularity, table->group, table->rows, columns, row, 0),
                   .apart = tq_panel_height(table->rows, row)};
}

static uint64_t index_at(const meeting *at, uint64_t column) { return at->first + column / at->run * at->apart; }

static bool all_are_same(const tq_scale_table *table, const meeting *at) {
  uint64_t from = index_at(at, at->begin), to = index_at(at, at->end - 1);
  for (uint64_t i = from + at->apart; i <= to; i += at->apart) {
    if (!are_same(table, from, i)) return false;
  }
  return true;
}

/* Looks which of the scales count. *chosen is UINT64_MAX, or the index of one that counted before. */
static bool choose(const saying *self, const meeting *at, const int8_t *trits, uint64_t *chosen,
                   tq_scale_problem *problem) {
  for (uint64_t c = at->begin, end; c < at->end; c = end) {
    uint64_t index = index_at(at, c);
    end = (c / at->run + 1) * at->run < at->end ? (c / at->run + 1) * at->run : at->end;
    if (*chosen != UINT64_MAX && are_same(self->table, *chosen, index)) continue;
    if (!tq_any_trit(trits + c, end - c)) continue;
    problem->row = at->row;
    problem->column = c;
    if (*chosen != UINT64_MAX) {
      cannot_meet(self, *chosen, index, problem);
      return false;
    }
    *chosen = index;
  }
  return true;
}

static bool scale_of(const saying *self, const meeting *at, const int8_t *trits, uint8_t *scale,
                     tq_scale_problem *problem) {
  uint64_t first = index_at(at, at->begin), chosen = UINT64_MAX;
  if (all_are_same(self->table, at) && say(self, first, scale)) return true;
  if (!trits || !choose(self, at, trits, &chosen, problem)) return false;
  if (chosen == UINT64_MAX) {
    say_over_zeros(self, first, scale);
    return true;
  }
  if (say(self, chosen, scale)) return true;
  cannot_say(self, chosen, problem);
  return false;
}

/* The table's row as it is, where it is what the dialect writes. */
static bool is_the_same_table(const tq_scale_table *table, const tq_dialect *dialect) {
  return table->granularity == dialect->granularity && table->encoding == dialect->scale_encoding &&
         table->direction == dialect->direction && !dialect->is_unpacked &&
         (table->granularity != TQ_PER_GROUP || table->group == dialect->group);
}

bool tq_scales_for_row(const tq_scale_table *table, const tq_dialect *dialect, uint64_t row, uint64_t columns,
                       const int8_t *trits, uint8_t *scales, tq_scale_problem *problem) {
  uint64_t count = tq_dialect_row_scales(dialect, columns);
  meeting at = meet(table, row, columns);
  size_t size = tq_scale_bytes(dialect->scale_encoding);
  if (is_the_same_table(table, dialect)) {
    const uint8_t *from = table->data + at.first * size;
    for (uint64_t i = 0; i < count; i++) memcpy(scales + i * size, from + i * at.apart * size, size);
    return true;
  }
  saying self = {.table = table,
                 .granularity = dialect->granularity,
                 .group = dialect->group,
                 .encoding = dialect->scale_encoding,
                 .direction = dialect->direction,
                 .finite_only = dialect->is_unpacked};
  uint64_t run = run_of(dialect->granularity, dialect->group, columns);
  for (uint64_t i = 0; i < count; i++, at.begin = at.end) {
    at.end = columns - at.begin < run ? columns : at.begin + run;
    if (!scale_of(&self, &at, trits, scales + i * size, problem)) return false;
  }
  return true;
}

/* ---- one scale for a tensor ---- */

/* Finds the scale that counts by looking at all trits; *fits is false when there are two. */
static tq_status choose_in_tensor(const saying *self, const tq_file *file, size_t index, uint64_t *chosen,
                                  tq_scale_problem *problem, bool *fits, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  const tq_scale_table *table = self->table;
  int8_t *trits = tq_allocate((size_t)tensor->columns, 1, error);
  if (!trits) return TQ_ERROR_SYSTEM;
  tq_status status = TQ_OK;
  for (uint64_t row = 0; !status && *fits && row < tensor->rows; row++) {
    meeting at = meet(table, row, tensor->columns);
    status = tq_tensor_read_trits(file, index, row, trits, error);
    if (!status) *fits = choose(self, &at, trits, chosen, problem);
  }
  tq_free(trits);
  return status;
}

static bool table_is_one(const tq_scale_table *table, uint64_t count) {
  for (uint64_t i = 1; i < count; i++) {
    if (!are_same(table, 0, i)) return false;
  }
  return true;
}

/* `self` lacks the table. */
static tq_status say_as_one(saying self, const tq_file *file, size_t index, uint8_t scale[4], tq_scale_problem *problem,
                            bool *fits, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  tq_scale_table table;
  memset(scale, 0, 4);
  if (!tq_scale_table_of(tensor, &table)) {
    tq_file_info info;
    tq_file_describe(file, &info);
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: it has no scales that are understood", info.path,
                   tensor->name);
  }
  tq_status status = tq_tensor_touch_scales(file, index, error);
  if (status) return status;
  self.table = &table;
  uint64_t count = tq_scale_count(table.granularity, table.group, tensor->rows, tensor->columns), chosen = UINT64_MAX;
  *fits = true;
  if (table_is_one(&table, count) && say(&self, 0, scale)) return TQ_OK;
  status = choose_in_tensor(&self, file, index, &chosen, problem, fits, error);
  if (status || !*fits) return status;
  if (chosen == UINT64_MAX) {
    say_over_zeros(&self, 0, scale);
  } else if (!say(&self, chosen, scale)) {
    *fits = false;
    cannot_say(&self, chosen, problem);
  }
  return TQ_OK;
}

tq_status tq_scales_as_one(const tq_file *file, size_t index, uint32_t encoding, uint32_t direction, uint8_t scale[4],
                           tq_scale_problem *problem, bool *fits, tq_error *error) {
  saying self = {.granularity = TQ_PER_TENSOR, .encoding = encoding, .direction = direction};
  return say_as_one(self, file, index, scale, problem, fits, error);
}

tq_status tq_scales_as_outer(const tq_file *file, size_t index, const tq_form *form, uint8_t scale[4],
                             tq_scale_problem *problem, bool *fits, tq_error *error) {
  saying self = {.granularity = TQ_PER_TENSOR,
                 .encoding = form->scale_encoding,
                 .direction = form->scale_direction,
                 .finite_only = true,
                 .invertible = !form->has_unit_scales};
  return say_as_one(self, file, index, scale, problem, fits, error);
}

/* ---- scales of 1 ---- */

bool tq_scales_are_ones(const tq_dialect *dialect, uint64_t columns, const int8_t *trits, const uint8_t *scales) {
  uint64_t count = tq_dialect_row_scales(dialect, columns), run = run_of(dialect->granularity, dialect->group, columns);
  for (uint64_t i = 0; i < count; i++) {
    if (tq_scale_load(dialect->scale_encoding, dialect->direction, scales, i) == 1) continue;
    uint64_t begin = i * run, left = columns - begin;
    if (tq_any_trit(trits + begin, left < run ? left : run)) return false;
  }
  return true;
}
