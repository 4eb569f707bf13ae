/* The second look: rows in canonical order, packed, with their scales and their digest. */
#include "base/memory.h"
#include "formats/dialects/reading.h"
#include "tq/ternary.h"

#include <string.h>

typedef struct packing {
  tq_ternary_reader *reader;
  tq_survey *survey;
  const tq_ternary_output *output;
  size_t trits_bytes;    /* of a row, in the scratch memory */
  size_t scales_bytes;   /* of a row as it is decoded */
  bool proves;           /* where a row shares no bytes with another, it is encoded back at once */
  uint64_t row_bytes;    /* of codes */
  uint64_t codes_offset; /* of the rows' codes behind their values, in band->made */
  uint8_t *panel;        /* the codes of the rows that wait for the last of their panel */
  uint8_t *table;
  uint64_t (*counts)[4]; /* per member */
  atomic_bool differs;
  tq_content_hash *hash;
} packing;

/* Compares a row's own bytes with what its trits and scales give. The scratch memory has room for its scales as they
 * were and as they are encoded, and for its bytes. */
static void prove_row(packing *self, tq_band *band, uint64_t row, uint64_t unit, const int8_t *trits,
                      uint8_t *scratch) {
  const tq_ternary_reader *reader = self->reader;
  const tq_survey *survey = self->survey;
  const tq_scale_table table = {reader->rows,           survey->granularity,     survey->group,
                                survey->scale_encoding, survey->scale_direction, self->table};
  uint8_t *scales = scratch + self->scales_bytes, *made = scales + self->scales_bytes;
  const uint8_t *bytes = band->raw + (unit - band->unit) * reader->unit_bytes;
  if (!tq_reader_encode_scales(reader, &table, row, trits, scales)) {
    atomic_store(&band->bad, row);
    return;
  }
  reader->form.dialect->encode(trits, scales, 1, reader->columns, made);
  if (memcmp(bytes, made, (size_t)reader->unit_bytes) != 0) atomic_store(&self->differs, true);
}

/* The values are made here, where several threads work, for the hash over them is what takes longest. */
static void scale_row(const packing *self, tq_band *band, uint64_t item, const int8_t *trits) {
  const tq_survey *survey = self->survey;
  uint64_t columns = self->reader->columns;
  tq_trits_scale(trits, self->reader->rows, band->first + item, columns, survey->granularity, survey->group,
                 survey->scale_encoding, survey->scale_direction, self->table,
                 (float *)(void *)band->made + item * columns);
}

static void pack_row(void *context, tq_band *band, uint64_t item, uint8_t *scratch, unsigned member) {
  packing *self = context;
  const tq_ternary_reader *reader = self->reader;
  const tq_survey *survey = self->survey;
  uint64_t row = band->first + item, unit, place, columns = reader->columns;
  int8_t *trits = (int8_t *)scratch;
  uint8_t *scales = scratch + self->trits_bytes;
  tq_reader_place(reader, row, &unit, &place);
  if (!tq_band_decode(reader, band, unit, place, trits, scales)) return;
  tq_trits_count(trits, columns, self->counts[member]);
  tq_coarse_row(reader->form.dialect, survey->granularity, survey->group, reader->rows, row, columns, trits, scales,
                self->table);
  if (self->output->codes)
    tq_trits_pack(self->output->encoding, trits, columns, band->made + self->codes_offset + item * self->row_bytes);
  scale_row(self, band, item, trits);
  if (self->proves && !atomic_load(&self->differs)) prove_row(self, band, row, unit, trits, scales);
}

/* A band begins and ends anywhere; panels are handed over whole. */
static tq_status give_codes(const packing *self, const tq_band *band, tq_error *error) {
  const uint8_t *codes = band->made + self->codes_offset;
  tq_status status = TQ_OK;
  for (uint64_t i = 0; !status && i < band->count; i++) {
    uint64_t row = band->first + i, place = row % TQ_PANEL_ROWS, height = tq_panel_height(self->reader->rows, row);
    tq_panel_store_row(self->panel, height, place, self->row_bytes, codes + i * self->row_bytes);
    if (place + 1 == height)
      status = self->output->codes(self->output->context, self->panel, (size_t)(height * self->row_bytes), error);
  }
  return status;
}

static tq_status finish_band(void *context, tq_band *band, bool *stop, tq_error *error) {
  const packing *self = context;
  (void)stop;
  tq_status status = tq_band_check(self->reader, band, error);
  if (status) return status;
  tq_content_hash_update(self->hash, (const float *)(const void *)band->made, band->count * self->reader->columns);
  return self->output->codes ? give_codes(self, band, error) : TQ_OK;
}

/* ---- the whole ---- */

/* The sum of the scales does not overflow: there are no more of them than weights. */
static tq_status make_table(packing *self, size_t *size, tq_error *error) {
  const tq_survey *survey = self->survey;
  size_t scale_bytes = tq_encoding_find(survey->scale_encoding)->bytes;
  uint64_t count = tq_scale_count(survey->granularity, survey->group, self->reader->rows, self->reader->columns);
  self->table = tq_allocate((size_t)count, scale_bytes, error);
  if (!self->table) return TQ_ERROR_SYSTEM;
  if (survey->granularity == TQ_PER_TENSOR) memcpy(self->table, survey->scale, scale_bytes);
  *size = (size_t)count * scale_bytes;
  return TQ_OK;
}

static tq_status prepare(packing *self, size_t *table_size, tq_error *error) {
  const tq_source_tensor *tensor = self->reader->tensor;
  if (self->output->codes) {
    self->row_bytes = tq_trit_row_bytes(self->output->encoding, self->reader->columns);
    self->panel = tq_allocate((size_t)self->row_bytes, TQ_PANEL_ROWS, error);
    if (!self->panel) return TQ_ERROR_SYSTEM;
  }
  tq_status status = make_table(self, table_size, error);
  if (!status) status = tq_content_hash_create(tensor->shape, tensor->dimensions, &self->hash, error);
  if (status) return status;
  self->counts = tq_allocate(tq_reader_members(self->reader), sizeof *self->counts, error);
  return self->counts ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* The codes were chosen after the survey. */
static tq_status sum_counts(const packing *self, tq_error *error) {
  uint64_t *counts = self->survey->counts;
  memset(counts, 0, sizeof self->survey->counts);
  for (unsigned i = 0; i < tq_reader_members(self->reader); i++) {
    for (size_t k = 0; k < 4; k++) counts[k] += self->counts[i][k];
  }
  if (self->survey->has_twos || !counts[3]) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: it changed while it was read", tq_reader_file(self->reader),
                 self->reader->tensor->name);
}

static tq_status run_packing(packing *self, uint8_t content[16], tq_error *error) {
  tq_ternary_reader *reader = self->reader;
  self->codes_offset = tq_reader_band_items(reader, true) * reader->columns * sizeof(float);
  self->trits_bytes = tq_aligned_size(reader->columns);
  self->scales_bytes = tq_aligned_size(reader->row_scales * reader->scale_bytes);
  self->proves = self->output->codes && reader->unit_rows == 1;
  const tq_pass pass = {.reader = reader,
                        .by_rows = true,
                        .made_bytes = (size_t)(reader->columns * sizeof(float) + self->row_bytes),
                        .scratch_bytes = self->trits_bytes + 2 * self->scales_bytes +
                                         (size_t)(self->proves ? reader->unit_bytes : 0),
                        .work = pack_row,
                        .finish = finish_band,
                        .context = self};
  tq_status status = tq_pass_run(&pass, error);
  if (!status) status = sum_counts(self, error);
  if (status) return status;
  reader->is_proven = self->proves;
  reader->differs = atomic_load(&self->differs);
  tq_content_hash_final(self->hash, content);
  return TQ_OK;
}

tq_status tq_ternary_read(tq_ternary_reader *reader, tq_survey *survey, const tq_ternary_output *output,
                          uint8_t **table, size_t *table_size, uint8_t content[16], tq_error *error) {
  packing self = {.reader = reader, .survey = survey, .output = output};
  tq_status status = prepare(&self, table_size, error);
  if (!status) status = run_packing(&self, content, error);
  tq_content_hash_destroy(self.hash);
  tq_free(self.counts);
  tq_free(self.panel);
  *table = status ? NULL : self.table;
  if (status) tq_free(self.table);
  return status;
}
