/* The first look at a tensor: which trits it has, and how coarse its scales may be. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/codec.h"
#include "formats/dialects/reading.h"
#include "formats/names.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <string.h>

/* The levels of a tq_coarsening. */
static const struct {
  uint32_t granularity, group;
} levels[TQ_COARSE_LEVELS] = {
    {TQ_PER_TENSOR, 0},  {TQ_PER_ROW, 0},    {TQ_PER_GROUP, 256},
    {TQ_PER_GROUP, 128}, {TQ_PER_GROUP, 64}, {TQ_PER_GROUP, 32},
};

/* What one member of the team has seen. */
typedef struct findings {
  tq_coarsening coarsening;
  bool has_twos;
} findings;

typedef struct look {
  tq_ternary_reader *reader;
  findings *members;
  uint64_t most_off; /* floats that are no trits, before they are given up */
  uint64_t off;
  size_t trits_bytes;
} look;

/* ---- one unit ---- */

static void look_at_row(const look *self, tq_band *band, uint64_t unit, uint64_t place, uint8_t *scratch,
                        findings *found) {
  const tq_ternary_reader *reader = self->reader;
  int8_t *trits = (int8_t *)scratch;
  uint8_t *scales = scratch + self->trits_bytes;
  if (!tq_band_decode(reader, band, unit, place, trits, scales)) {
    if (!reader->form.dialect->is_unpacked) return;
    const uint8_t *row = band->raw + (unit - band->unit) * reader->unit_bytes;
    atomic_fetch_add(&band->found, tq_almost_row(reader->tensor->encoding, row, reader->columns));
    return;
  }
  if (reader->form.dialect->four_valued && !tq_all_are_trits(trits, reader->columns)) found->has_twos = true;
  if (tq_reader_scales_inside(reader)) tq_coarsening_row(&found->coarsening, reader->columns, trits, scales);
  /* Where a scale outside counts, those inside must not say anything else. */
  if (reader->form.has_unit_scales && !tq_scales_are_ones(reader->form.dialect, reader->columns, trits, scales))
    atomic_fetch_add(&band->found, 1);
}

static void look_at_unit(void *context, tq_band *band, uint64_t item, uint8_t *scratch, unsigned member) {
  const look *self = context;
  for (uint64_t place = 0; place < self->reader->unit_rows; place++)
    look_at_row(self, band, band->unit + item, place, scratch, &self->members[member]);
}

/* ---- one band ---- */

static tq_status finish_packed(void *context, tq_band *band, bool *stop, tq_error *error) {
  const look *self = context;
  (void)stop;
  tq_status status = tq_band_check(self->reader, band, error);
  if (status || !atomic_load(&band->found)) return status;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: it has scales other than 1 beside the one outside of it",
                 tq_reader_file(self->reader), self->reader->tensor->name);
}

/* A row that is not ternary has at least one number that is off. */
static tq_status finish_floats(void *context, tq_band *band, bool *stop, tq_error *error) {
  look *self = context;
  (void)error;
  self->off += atomic_load(&band->found);
  *stop = self->off > self->most_off;
  return TQ_OK;
}

/* ---- what comes of it ---- */

static void merge_findings(const look *self, findings *sum) {
  *sum = self->members[0];
  for (unsigned i = 1; i < tq_reader_members(self->reader); i++) {
    tq_coarsening_merge(&sum->coarsening, &self->members[i].coarsening);
    sum->has_twos = sum->has_twos || self->members[i].has_twos;
  }
}

static tq_status run_look(look *self, findings *sum, tq_error *error) {
  const tq_ternary_reader *reader = self->reader;
  const tq_dialect *dialect = reader->form.dialect;
  unsigned members = tq_reader_members(reader);
  self->members = tq_allocate(members, sizeof *self->members, error);
  if (!self->members) return TQ_ERROR_SYSTEM;
  for (unsigned i = 0; i < members; i++) tq_coarsening_begin(&self->members[i].coarsening, dialect);
  self->trits_bytes = tq_aligned_size(reader->columns);
  const tq_pass pass = {.reader = self->reader,
                        .scratch_bytes = self->trits_bytes + (size_t)reader->row_scales * reader->scale_bytes,
                        .work = look_at_unit,
                        .finish = dialect->is_unpacked ? finish_floats : finish_packed,
                        .context = self};
  tq_status status = tq_pass_run(&pass, error);
  if (!status) merge_findings(self, sum);
  tq_free(self->members);
  return status;
}

/* Which scale a member has seen first depends on the team, where they are not all the same. */
static void take_scale(const tq_coarsening *coarsening, tq_survey *survey) {
  if (survey->granularity == TQ_PER_TENSOR) memcpy(survey->scale, coarsening->scale, sizeof survey->scale);
}

static tq_status survey_units(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  look self = {.reader = reader};
  findings sum;
  tq_status status = run_look(&self, &sum, error);
  if (status) return status;
  survey->has_twos = sum.has_twos;
  if (!tq_reader_scales_inside(reader)) return TQ_OK;
  tq_coarsening_result(&sum.coarsening, &survey->granularity, &survey->group);
  take_scale(&sum.coarsening, survey);
  return TQ_OK;
}

static tq_status survey_tail(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  uint8_t *tail = tq_allocate(reader->form.dialect->tail_bytes, 1, error);
  tq_status status = tail ? tq_reader_tail(reader, tail, error) : TQ_ERROR_SYSTEM;
  if (!status) memcpy(survey->scale, tail, reader->scale_bytes);
  tq_free(tail);
  return status;
}

static tq_status survey_packed(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  const tq_form *form = &reader->form;
  const tq_dialect *dialect = form->dialect;
  bool has_outer_scale = tq_form_has_outer_scale(form);
  *survey = (tq_survey){.is_ternary = true,
                        .form = *form,
                        .granularity = TQ_PER_TENSOR,
                        .scale_encoding = has_outer_scale ? form->scale_encoding : dialect->scale_encoding,
                        .scale_direction = has_outer_scale ? form->scale_direction : dialect->direction};
  if (has_outer_scale) memcpy(survey->scale, form->scale, sizeof survey->scale);
  tq_status status = TQ_OK;
  if (dialect->scale_place == TQ_SCALES_INSIDE || dialect->four_valued) status = survey_units(reader, survey, error);
  if (!status && dialect->scale_place == TQ_SCALE_IN_TAIL && !has_outer_scale)
    status = survey_tail(reader, survey, error);
  survey->fits_one_scale = survey->granularity == TQ_PER_TENSOR;
  return status;
}

/* ---- plain floats ---- */

/* The granularity that the user gave must hold for the linear layers of the blocks; other matrices (embedding, head)
 * are ternary where it does. */
static tq_status take_assumed(tq_ternary_reader *reader, const tq_coarsening *coarsening, bool is_exact,
                              tq_survey *survey, tq_error *error) {
  const tq_assume *assume = &reader->checkpoint->assume;
  bool holds = false;
  for (size_t i = 0; i < TQ_COARSE_LEVELS; i++) {
    if (levels[i].granularity == assume->granularity && levels[i].group == assume->group)
      holds = is_exact && coarsening->holds[i];
  }
  survey->is_ternary = holds;
  survey->granularity = assume->granularity;
  survey->group = assume->group;
  size_t linear;
  return holds || !tq_role_is_linear(reader->tensor->role, &linear) ? TQ_OK : tq_almost_refuse(reader, error);
}

static tq_status survey_floats(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  const tq_assume *assume = &reader->checkpoint->assume;
  look self = {.reader = reader, .most_off = assume->is_given ? 0 : reader->rows * reader->columns / TQ_ALMOST_SHARE};
  findings sum;
  tq_survey found = {.form = reader->form,
                     .scale_encoding = reader->form.dialect->scale_encoding,
                     .scale_direction = reader->form.dialect->direction};
  tq_status status = run_look(&self, &sum, error);
  if (status) return status;
  tq_coarsening_result(&sum.coarsening, &found.granularity, &found.group);
  found.is_ternary = self.off == 0;
  found.fits_one_scale = found.is_ternary && found.granularity == TQ_PER_TENSOR;
  if (assume->is_given) status = take_assumed(reader, &sum.coarsening, self.off == 0, &found, error);
  take_scale(&sum.coarsening, &found);
  if (!status && found.is_ternary) *survey = found;
  if (status || found.is_ternary || assume->is_given || self.off > self.most_off) return status;
  return tq_almost_survey(reader, survey, error);
}

tq_status tq_ternary_survey(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  *survey = (tq_survey){0};
  if (!reader->form.dialect) return TQ_OK;
  tq_status status =
      reader->tensor->form.dialect ? survey_packed(reader, survey, error) : survey_floats(reader, survey, error);
  /* Floats that stay floats are read once more and forwards: what was read of them is all that is held. */
  if (!survey->is_ternary) tq_source_tensor_hold_no_more(reader->checkpoint);
  return status;
}
