#include "formats/dialects/encode.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "container/parts.h"
#include "formats/dialects/patch.h"
#include "formats/dialects/scales.h"
#include "formats/dialects/trits.h"
#include "tq/ternary.h"

#include <inttypes.h>
#include <stdatomic.h>

enum {
  BANDS = 2,
  BAND_BYTES = 2 << 20,  /* that are made between two calls of the sink, or a unit where that is more */
  GRAIN_BYTES = 16 << 10 /* that a member of the team takes at once */
};

/* One member's: a unit's trits and the scales inside it, and the unit that went wrong. */
typedef struct worker {
  int8_t *trits;
  uint8_t *scales;
  uint64_t failed;
  tq_status status;
  tq_error error;
} worker;

/* Units that are made at one time. */
typedef struct band {
  uint8_t *bytes;
  uint64_t first, count, size;
} band;

typedef struct encoder {
  const tq_file *file;
  const char *path; /* of the file */
  size_t index;
  const tq_tensor *tensor;
  const tq_encode_options *options;
  const tq_dialect *dialect;
  tq_scale_table table;
  uint64_t size; /* of all, tail included */
  uint64_t unit_rows, unit_bytes, units;
  uint64_t row_scale_bytes; /* of the scales inside for one row */
  bool scales_are_fixed;    /* the workers' scales are those of every unit */
  worker *workers;
  unsigned worker_count;
  band bands[BANDS], *before, *now; /* the one that is handed over and the one that is made; NULL for none */
  uint64_t band_units, grain;       /* units that fit a band, and that are taken at once */
  atomic_ullong taken;              /* of the band that is made */
  tq_patch_reader *patch;
  tq_sink sink;
  void *context;
  tq_status give_status;
  tq_error give_error;
} encoder;

/* ---- units ---- */

/* The canonical row that lies at a row of the form: see tq_rows_to_half_split. */
static uint64_t canonical_row(const encoder *self, uint64_t row) {
  if (!self->options->adjacent_heads) return row;
  uint64_t head_rows = self->tensor->rows / self->options->adjacent_heads, place = row % head_rows;
  return row - place + place % 2 * (head_rows / 2) + place / 2;
}

/* A code for +2 in a tensor whose counts deny it. */
static tq_status check_fours(const encoder *self, const int8_t *trits, tq_error *error) {
  uint64_t columns = self->tensor->columns;
  if (self->tensor->parts[0].encoding != TQ_QUATERNARY_2BIT || self->dialect->four_valued) return TQ_OK;
  bool found = false;
  for (uint64_t i = 0; i < columns; i++) found |= trits[i] > 1;
  if (!found) return TQ_OK;
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold +2", self->path, self->tensor->name,
                 self->dialect->name);
}

static tq_status prepare_row(const encoder *self, worker *own, uint64_t row, uint64_t place) {
  int8_t *trits = own->trits + place * self->tensor->columns;
  tq_scale_problem problem;
  tq_status status = tq_tensor_read_trits(self->file, self->index, row, trits, &own->error);
  if (!status) status = check_fours(self, trits, &own->error);
  if (status || self->scales_are_fixed) return status;
  uint8_t *scales = own->scales + place * self->row_scale_bytes;
  if (tq_scales_for_row(&self->table, self->dialect, row, self->tensor->columns, trits, scales, &problem)) return TQ_OK;
  return tq_fail(&own->error, TQ_ERROR_REFUSED,
                 "%s: tensor %s: %s cannot hold it: row %" PRIu64 ", column %" PRIu64 ": %s", self->path,
                 self->tensor->name, self->dialect->name, problem.row, problem.column, problem.reason);
}

static tq_status encode_unit(const encoder *self, worker *own, uint64_t unit, uint8_t *to) {
  tq_status status = TQ_OK;
  for (uint64_t i = 0; !status && i < self->unit_rows; i++) {
    uint64_t row = self->dialect->is_strided ? unit + i * self->units : unit * self->unit_rows + i;
    status = prepare_row(self, own, canonical_row(self, row), i);
  }
  if (!status) self->dialect->encode(own->trits, own->scales, self->unit_rows, self->tensor->columns, to);
  return status;
}

/* ---- bands ---- */

static tq_status give(encoder *self, uint8_t *bytes, uint64_t size, tq_error *error) {
  tq_status status = tq_patch_apply(self->patch, bytes, (size_t)size, error);
  return status ? status : self->sink(self->context, bytes, (size_t)size, error);
}

/* The member that drives the team hands over the band before while the others make this one, which it joins then. */
static void run_stage(void *context, unsigned member, unsigned members) {
  (void)members;
  encoder *self = context;
  worker *own = &self->workers[member];
  if (member == 0 && self->before)
    self->give_status = give(self, self->before->bytes, self->before->size, &self->give_error);
  for (uint64_t i; self->now && !own->status && (i = atomic_fetch_add(&self->taken, self->grain)) < self->now->count;) {
    uint64_t end = self->now->count - i < self->grain ? self->now->count : i + self->grain;
    for (; i < end && !own->status; i++) {
      own->failed = self->now->first + i;
      own->status = encode_unit(self, own, own->failed, self->now->bytes + i * self->unit_bytes);
    }
  }
}

/* Units are taken in their order, so that the lowest one that fails is among those that failed, whatever the number of
 * members. */
static tq_status first_failure(const encoder *self, tq_error *error) {
  const worker *first = NULL;
  if (self->give_status) {
    if (error) *error = self->give_error;
    return self->give_status;
  }
  for (unsigned i = 0; i < self->worker_count; i++) {
    const worker *each = &self->workers[i];
    if (each->status && (!first || each->failed < first->failed)) first = each;
  }
  if (!first) return TQ_OK;
  if (error) *error = first->error;
  return first->status;
}

static band *next_band(const encoder *self, uint64_t first, band *next) {
  uint64_t left = self->units - first;
  next->first = first;
  next->count = left < self->band_units ? left : self->band_units;
  next->size = next->count * self->unit_bytes;
  return next->count ? next : NULL;
}

static tq_status encode_units(encoder *self, tq_error *error) {
  uint64_t first = 0;
  tq_status status = TQ_OK;
  for (unsigned turn = 0; !status; turn++) {
    self->before = self->now;
    self->now = next_band(self, first, &self->bands[turn % BANDS]);
    if (!self->before && !self->now) break;
    atomic_store(&self->taken, 0);
    if (self->options->team)
      tq_team_run(self->options->team, run_stage, self);
    else
      run_stage(self, 0, 1);
    if (self->now) first += self->now->count;
    status = first_failure(self, error);
  }
  return status;
}

static tq_status tail_scale(const encoder *self, uint8_t scale[4], tq_error *error) {
  const tq_dialect *dialect = self->dialect;
  tq_scale_problem problem;
  bool fits;
  if (self->options->form.has_unit_scales) {
    tq_scale_store(dialect->scale_encoding, dialect->direction, 1, scale);
    return TQ_OK;
  }
  tq_status status = tq_scales_as_one(self->file, self->index, dialect->scale_encoding, dialect->direction, scale,
                                      &problem, &fits, error);
  if (status || fits) return status;
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: %s", self->path, self->tensor->name,
                 dialect->name, problem.reason);
}

/* The scale, and zeros. */
static tq_status encode_tail(encoder *self, tq_error *error) {
  uint32_t size = self->dialect->tail_bytes;
  if (!size) return TQ_OK;
  uint8_t *tail = tq_allocate(size, 1, error), scale[4];
  if (!tail) return TQ_ERROR_SYSTEM;
  tq_status status = TQ_OK;
  if (self->dialect->scale_place == TQ_SCALE_IN_TAIL) {
    status = tail_scale(self, scale, error);
    if (!status) memcpy(tail, scale, tq_scale_bytes(self->dialect->scale_encoding));
  }
  if (!status) status = give(self, tail, size, error);
  tq_free(tail);
  return status;
}

/* ---- beginning ---- */

static tq_status check_heads(const encoder *self, tq_error *error) {
  uint32_t heads = self->options->adjacent_heads;
  const tq_tensor *tensor = self->tensor;
  if (!heads || (tensor->dimensions == 2 && tensor->rows % heads == 0 && tensor->rows / heads % 2 == 0)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its rows are not %" PRIu32 " heads of pairs", self->path,
                 tensor->name, heads);
}

static uint64_t at_least_one(uint64_t number) { return number ? number : 1; }

static tq_status measure(encoder *self, tq_error *error) {
  const tq_tensor *tensor = self->tensor;
  const tq_dialect *dialect = self->dialect;
  if (!tq_tensor_is_ternary(tensor))
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: it is not ternary", self->path, tensor->name);
  if (!tq_scale_table_of(tensor, &self->table))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its scales are not understood", self->path, tensor->name);
  if (!tq_dialect_size(dialect, tensor->rows, tensor->columns, &self->size))
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot have its shape", self->path, tensor->name,
                   dialect->name);
  self->unit_rows = tq_dialect_unit_rows(dialect, tensor->columns);
  self->unit_bytes = dialect->unit_bytes(self->unit_rows, tensor->columns);
  self->units = tensor->rows / self->unit_rows;
  self->row_scale_bytes = tq_dialect_row_scales(dialect, tensor->columns) * tq_scale_bytes(dialect->scale_encoding);
  self->band_units = at_least_one(BAND_BYTES / self->unit_bytes);
  if (self->band_units > self->units) self->band_units = self->units;
  self->grain = at_least_one(GRAIN_BYTES / self->unit_bytes);
  return check_heads(self, error);
}

static tq_status allocate(encoder *self, tq_error *error) {
  for (size_t i = 0; i < BANDS; i++) {
    self->bands[i].bytes = tq_allocate((size_t)self->band_units, (size_t)self->unit_bytes, error);
    if (!self->bands[i].bytes) return TQ_ERROR_SYSTEM;
  }
  self->workers = tq_allocate(self->worker_count, sizeof *self->workers, error);
  if (!self->workers) return TQ_ERROR_SYSTEM;
  for (unsigned i = 0; i < self->worker_count; i++) {
    self->workers[i].trits = tq_allocate((size_t)self->unit_rows, (size_t)self->tensor->columns, error);
    self->workers[i].scales = tq_allocate((size_t)self->unit_rows, (size_t)self->row_scale_bytes, error);
    if (!self->workers[i].trits || !self->workers[i].scales) return TQ_ERROR_SYSTEM;
  }
  return TQ_OK;
}

/* The scales of a row that are those of every row: 1 for unit scales, and what a tensor's only scale says. False when
 * rows have scales of their own. */
static bool fixed_scales(const encoder *self, uint8_t *scales) {
  size_t size = tq_scale_bytes(self->dialect->scale_encoding);
  tq_scale_problem problem;
  if (!self->options->form.has_unit_scales) {
    return self->table.granularity == TQ_PER_TENSOR &&
           tq_scales_for_row(&self->table, self->dialect, 0, self->tensor->columns, NULL, scales, &problem);
  }
  for (uint64_t i = 0; i < self->row_scale_bytes; i += size)
    tq_scale_store(self->dialect->scale_encoding, self->dialect->direction, 1, scales + i);
  return true;
}

static void fix_scales(encoder *self) {
  uint8_t *first = self->workers[0].scales;
  size_t row = (size_t)self->row_scale_bytes;
  self->scales_are_fixed = row == 0 || fixed_scales(self, first);
  for (unsigned i = 0; self->scales_are_fixed && i < self->worker_count; i++) {
    for (uint64_t k = 0; k < self->unit_rows; k++) {
      if (i || k) memcpy(self->workers[i].scales + k * row, first, row);
    }
  }
}

static void dispose(encoder *self) {
  for (unsigned i = 0; self->workers && i < self->worker_count; i++) {
    tq_free(self->workers[i].trits);
    tq_free(self->workers[i].scales);
  }
  tq_free(self->workers);
  for (size_t i = 0; i < BANDS; i++) tq_free(self->bands[i].bytes);
  tq_patch_close(self->patch);
}

tq_status tq_dialect_encode(const tq_file *file, size_t index, const tq_encode_options *options, tq_sink sink,
                            void *context, tq_error *error) {
  tq_file_info info;
  tq_file_describe(file, &info);
  encoder self = {.file = file,
                  .path = info.path,
                  .index = index,
                  .tensor = tq_file_tensor(file, index),
                  .options = options,
                  .dialect = options->form.dialect,
                  .sink = sink,
                  .context = context,
                  .worker_count = options->team ? tq_team_members(options->team) : 1};
  tq_status status = measure(&self, error);
  if (!status) status = tq_tensor_touch_scales(file, index, error);
  if (!status && options->patched) status = tq_patch_open(file, index, self.size, &self.patch, error);
  if (!status) status = allocate(&self, error);
  if (!status) {
    fix_scales(&self);
    status = encode_units(&self, error);
  }
  if (!status) status = encode_tail(&self, error);
  if (!status) status = tq_patch_end(self.patch, error);
  dispose(&self);
  return status;
}
