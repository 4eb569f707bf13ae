/* The third look: encoding what was read and comparing it with the bytes it came from. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/encode.h"
#include "formats/dialects/reading.h"
#include "tq/ternary.h"

#include <string.h>

typedef struct proof {
  tq_ternary_reader *reader;
  tq_scale_table table;
  size_t trits_bytes;     /* of a unit */
  tq_patch_writer *patch; /* NULL: the bytes are compared only */
  bool differs;
} proof;

/* ---- encoding ---- */

static void fill_with_ones(const tq_ternary_reader *reader, uint8_t *scales) {
  uint32_t encoding = reader->form.dialect->scale_encoding;
  for (uint64_t i = 0; i < reader->row_scales; i++) {
    if (encoding == TQ_F32)
      tq_store_f32(scales + 4 * i, 1);
    else
      tq_store_u16(scales + 2 * i, encoding == TQ_F16 ? tq_f32_to_f16(1) : tq_f32_to_bf16(1));
  }
}

bool tq_reader_encode_scales(const tq_ternary_reader *reader, const tq_scale_table *table, uint64_t row,
                             const int8_t *trits, uint8_t *scales) {
  tq_scale_problem problem;
  if (reader->form.has_unit_scales) {
    fill_with_ones(reader, scales);
    return true;
  }
  return !reader->row_scales ||
         tq_scales_for_row(table, reader->form.dialect, row, reader->columns, trits, scales, &problem);
}

static void encode_unit(void *context, tq_band *band, uint64_t item, uint8_t *scratch, unsigned member) {
  const proof *self = context;
  const tq_ternary_reader *reader = self->reader;
  size_t row_scales = (size_t)reader->row_scales * reader->scale_bytes;
  uint64_t unit = band->unit + item;
  uint8_t *scales = scratch + self->trits_bytes, *made = band->made + item * reader->unit_bytes;
  (void)member;
  for (uint64_t place = 0; place < reader->unit_rows; place++) {
    int8_t *trits = (int8_t *)scratch + place * reader->columns;
    uint8_t *row = scales + place * row_scales;
    if (!tq_band_decode(reader, band, unit, place, trits, row)) return;
    uint64_t number = tq_reader_row_at(reader, unit, place);
    if (tq_reader_encode_scales(reader, &self->table, number, trits, row)) continue;
    atomic_store(&band->bad, number);
    return;
  }
  reader->form.dialect->encode((const int8_t *)scratch, scales, reader->unit_rows, reader->columns, made);
}

/* ---- comparing ---- */

static tq_status take(proof *self, const uint8_t *original, const uint8_t *encoded, uint64_t size, tq_error *error) {
  if (self->patch) return tq_patch_write(self->patch, original, encoded, (size_t)size, error);
  self->differs = self->differs || memcmp(original, encoded, (size_t)size) != 0;
  return TQ_OK;
}

static tq_status finish_band(void *context, tq_band *band, bool *stop, tq_error *error) {
  proof *self = context;
  tq_status status = tq_band_check(self->reader, band, error);
  if (!status) status = take(self, band->raw, band->made, band->count * self->reader->unit_bytes, error);
  *stop = self->differs;
  return status;
}

/* A tail is its scale and zeros. */
static tq_status take_tail(proof *self, tq_error *error) {
  const tq_dialect *dialect = self->reader->form.dialect;
  uint8_t *original = tq_allocate(2, dialect->tail_bytes, error);
  if (!original) return TQ_ERROR_SYSTEM;
  uint8_t *encoded = original + dialect->tail_bytes;
  if (dialect->scale_place == TQ_SCALE_IN_TAIL) {
    if (self->reader->form.has_unit_scales)
      tq_scale_store(dialect->scale_encoding, dialect->direction, 1, encoded);
    else
      memcpy(encoded, self->table.data, self->reader->scale_bytes);
  }
  tq_status status = tq_reader_tail(self->reader, original, error);
  if (!status) status = take(self, original, encoded, dialect->tail_bytes, error);
  tq_free(original);
  return status;
}

static tq_status run_proof(proof *self, tq_error *error) {
  const tq_ternary_reader *reader = self->reader;
  size_t row_scales = (size_t)reader->row_scales * reader->scale_bytes;
  self->trits_bytes = tq_aligned_size(reader->unit_rows * reader->columns);
  const tq_pass pass = {.reader = self->reader,
                        .made_bytes = (size_t)reader->unit_bytes,
                        .scratch_bytes = self->trits_bytes + (size_t)reader->unit_rows * row_scales,
                        .work = encode_unit,
                        .finish = finish_band,
                        .context = self};
  return tq_pass_run(&pass, error);
}

static proof begin_proof(tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table) {
  return (proof){.reader = reader,
                 .table = {reader->rows, survey->granularity, survey->group, survey->scale_encoding,
                           survey->scale_direction, table}};
}

tq_status tq_ternary_prove(tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table, bool *differs,
                           tq_error *error) {
  proof self = begin_proof(reader, survey, table);
  self.differs = reader->is_proven && reader->differs;
  tq_status status = TQ_OK;
  if (!reader->is_proven) status = run_proof(&self, error);
  if (!status && !self.differs) status = take_tail(&self, error);
  *differs = self.differs;
  return status;
}

tq_status tq_ternary_patch(tq_ternary_reader *reader, const tq_survey *survey, const uint8_t *table, tq_writer *writer,
                           tq_error *error) {
  proof self = begin_proof(reader, survey, table);
  tq_status status = tq_patch_create(writer, reader->tensor->size, &self.patch, error);
  if (status) return status;
  status = run_proof(&self, error);
  if (!status) status = take_tail(&self, error);
  if (!status) return tq_patch_finish(self.patch, error);
  tq_patch_abandon(self.patch);
  return status;
}
