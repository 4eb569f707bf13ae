/* Whether a tensor of a .tq file can be said in a form. */
#include "formats/dialects/encode.h"

#include "base/memory.h"
#include "container/parts.h"
#include "formats/dialects/scales.h"
#include "formats/dialects/trits.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

bool tq_tensor_is_ternary(const tq_tensor *tensor) { return tq_encoding_is_trits(tensor->parts[0].encoding); }

typedef struct refusal {
  const char *path; /* of the file */
  const tq_tensor *tensor;
  char form[64];
} refusal;

static tq_status refuse_place(const refusal *self, const tq_scale_problem *problem, tq_error *error) {
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: row %" PRIu64 ", column %" PRIu64 ": %s",
                 self->path, self->tensor->name, self->form, problem->row, problem->column, problem->reason);
}

static tq_status check_shape(const refusal *self, const tq_dialect *dialect, tq_error *error) {
  char reason[160] = "it is too large";
  uint64_t size;
  const tq_tensor *tensor = self->tensor;
  bool problem = tq_dialect_shape_problem(dialect, tensor->rows, tensor->columns, reason, sizeof reason);
  if (!problem && tq_dialect_size(dialect, tensor->rows, tensor->columns, &size)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: %s", self->path, tensor->name, self->form,
                 reason);
}

static tq_status check_trits(const refusal *self, const tq_dialect *dialect, tq_error *error) {
  uint64_t fours = self->tensor->trit_counts[3];
  if (!fours || dialect->four_valued) return TQ_OK;
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: %" PRIu64 " of its weights are +2",
                 self->path, self->tensor->name, self->form, fours);
}

/* What multiplies or adds to the weights and is not in the codes must not be passed over in silence. */
static tq_status check_parts(const refusal *self, tq_error *error) {
  for (size_t i = 1; i < self->tensor->part_count; i++) {
    uint32_t kind = self->tensor->parts[i].kind;
    if (kind == TQ_PART_SCALES || kind == TQ_PART_PATCH || kind == TQ_PART_SIGNS) continue;
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: it has a part of kind %" PRIu32,
                   self->path, self->tensor->name, self->form, kind);
  }
  return TQ_OK;
}

/* ---- one scale ---- */

static tq_status check_one_scale(const refusal *self, const tq_file *file, size_t index, const tq_form *form,
                                 tq_error *error) {
  const tq_dialect *dialect = form->dialect;
  tq_form outer = *form;
  uint8_t scale[4];
  bool fits;
  tq_scale_problem problem;
  if (!outer.scale_encoding) {
    outer.scale_encoding = TQ_F32;
    outer.scale_direction = dialect->direction;
  }
  tq_status status =
      tq_form_has_outer_scale(form)
          ? tq_scales_as_outer(file, index, &outer, scale, &problem, &fits, error)
          : tq_scales_as_one(file, index, dialect->scale_encoding, dialect->direction, scale, &problem, &fits, error);
  return status || fits ? status : refuse_place(self, &problem, error);
}

/* ---- scales inside ---- */

/* One member's; what it found, if anything, is of the first of its rows that is not right. */
typedef struct examiner {
  int8_t *trits;
  uint8_t *scales;
  tq_status status;
  tq_error error;
} examiner;

typedef struct examination {
  const refusal *refusal;
  const tq_file *file;
  size_t index;
  const tq_dialect *dialect;
  tq_scale_table table;
  examiner *examiners;
  atomic_uint failed; /* the lowest member that found something */
} examination;

/* The codes are read where the scales alone do not decide. */
static tq_status examine_row(examination *self, examiner *own, uint64_t row) {
  tq_scale_problem problem;
  uint64_t columns = self->refusal->tensor->columns;
  if (tq_scales_for_row(&self->table, self->dialect, row, columns, NULL, own->scales, &problem)) return TQ_OK;
  tq_status status = tq_tensor_read_trits(self->file, self->index, row, own->trits, &own->error);
  if (status) return status;
  if (tq_scales_for_row(&self->table, self->dialect, row, columns, own->trits, own->scales, &problem)) return TQ_OK;
  return refuse_place(self->refusal, &problem, &own->error);
}

/* A member goes on until a lower one has failed, so that what is reported does not depend on their number. */
static void examine_share(void *context, unsigned member, unsigned members) {
  examination *self = context;
  examiner *own = &self->examiners[member];
  size_t row, end;
  tq_team_share((size_t)self->refusal->tensor->rows, member, members, &row, &end);
  for (; row < end && !own->status && atomic_load(&self->failed) > member; row++)
    own->status = examine_row(self, own, row);
  unsigned lowest = atomic_load(&self->failed);
  while (own->status && lowest > member && !atomic_compare_exchange_weak(&self->failed, &lowest, member)) continue;
}

static tq_status allocate_examiners(examination *self, unsigned members, tq_error *error) {
  uint64_t columns = self->refusal->tensor->columns, scales = tq_dialect_row_scales(self->dialect, columns);
  self->examiners = tq_allocate(members, sizeof *self->examiners, error);
  for (unsigned i = 0; self->examiners && i < members; i++) {
    self->examiners[i].trits = tq_allocate((size_t)columns, 1, error);
    self->examiners[i].scales = tq_allocate((size_t)scales, tq_scale_bytes(self->dialect->scale_encoding), error);
    if (!self->examiners[i].trits || !self->examiners[i].scales) return TQ_ERROR_SYSTEM;
  }
  return self->examiners ? TQ_OK : TQ_ERROR_SYSTEM;
}

static void free_examiners(examination *self, unsigned members) {
  for (unsigned i = 0; self->examiners && i < members; i++) {
    tq_free(self->examiners[i].trits);
    tq_free(self->examiners[i].scales);
  }
  tq_free(self->examiners);
}

static tq_status examine(examination *self, tq_team *team, tq_error *error) {
  unsigned members = team ? tq_team_members(team) : 1;
  tq_scale_problem problem;
  tq_status status = allocate_examiners(self, members, error);
  /* One scale for the tensor says the same of every row. */
  bool done = !status && self->table.granularity == TQ_PER_TENSOR &&
              tq_scales_for_row(&self->table, self->dialect, 0, self->refusal->tensor->columns, NULL,
                                self->examiners[0].scales, &problem);
  if (!status && !done) {
    atomic_store(&self->failed, members);
    if (team)
      tq_team_run(team, examine_share, self);
    else
      examine_share(self, 0, 1);
    unsigned failed = atomic_load(&self->failed);
    if (failed < members) {
      status = self->examiners[failed].status;
      if (error) *error = self->examiners[failed].error;
    }
  }
  free_examiners(self, members);
  return status;
}

static tq_status check_scales_inside(const refusal *self, const tq_file *file, size_t index, const tq_dialect *dialect,
                                     tq_team *team, tq_error *error) {
  examination work = {.refusal = self, .file = file, .index = index, .dialect = dialect};
  if (!tq_scale_table_of(self->tensor, &work.table))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its scales are not understood", self->path,
                   self->tensor->name);
  tq_status status = tq_tensor_touch_scales(file, index, error);
  return status ? status : examine(&work, team, error);
}

tq_status tq_dialect_fits(const tq_file *file, size_t index, const tq_form *form, tq_team *team, tq_error *error) {
  tq_file_info info;
  tq_file_describe(file, &info);
  refusal self = {info.path, tq_file_tensor(file, index), ""};
  tq_form_name(form, self.form, sizeof self.form);
  if (!tq_tensor_is_ternary(self.tensor))
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: it is not ternary", self.path,
                   self.tensor->name, self.form);
  tq_status status = check_shape(&self, form->dialect, error);
  if (!status) status = check_parts(&self, error);
  if (!status) status = check_trits(&self, form->dialect, error);
  if (status) return status;
  if (tq_form_has_outer_scale(form) || form->dialect->scale_place == TQ_SCALE_IN_TAIL)
    return check_one_scale(&self, file, index, form, error);
  return check_scales_inside(&self, file, index, form->dialect, team, error);
}
