/* Where rows lie, and the passes that the parts of the reader make over a tensor. */
#include "formats/dialects/reader.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/reading.h"

#include <limits.h>

enum {
  BAND_WEIGHTS = 1 << 19,  /* held at once, or one row or unit where that is longer */
  GRAIN_WEIGHTS = 1 << 14, /* taken at once by a member of the team */
  SCRATCH_LIMIT = 8 << 20, /* of all members together */
  LEAST_ROWS = 2,
  LEAST_COLUMNS = 32, /* shorter rows hold as many scales as weights: anything is ternary then */
  ALIGNMENT = 64
};

/* ---- opening ---- */

/* Only matrices are looked at: what else is made of floats (norms, biases, convolutions) is no weight of a ternary
 * layer, and a constant vector is no news. */
static tq_form form_of_floats(const tq_checkpoint *checkpoint, const tq_source_tensor *tensor) {
  const tq_assume *assume = &checkpoint->assume;
  tq_form none = {0};
  if (assume->is_given ? assume->is_float : tq_checkpoint_declares_latent(checkpoint)) return none;
  if (tensor->dimensions != 2 || tensor->shape[0] < LEAST_ROWS) return none;
  if (tensor->shape[1] < LEAST_COLUMNS || tensor->shape[1] > TQ_TERNARY_COLUMNS_LIMIT) return none;
  return (tq_form){.dialect = tq_dialect_of_floats(tensor->encoding)};
}

static void measure(tq_ternary_reader *reader) {
  const tq_source_tensor *tensor = reader->tensor;
  const tq_dialect *dialect = reader->form.dialect;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < tensor->dimensions; i++) elements *= tensor->shape[i];
  reader->columns = tensor->shape[tensor->dimensions - 1];
  reader->rows = elements / reader->columns;
  reader->unit_rows = tq_dialect_unit_rows(dialect, reader->columns);
  reader->unit_bytes = dialect->unit_bytes(reader->unit_rows, reader->columns);
  reader->unit_count = reader->rows / reader->unit_rows;
  reader->row_scales = tq_dialect_row_scales(dialect, reader->columns);
  reader->scale_bytes = dialect->scale_encoding ? tq_encoding_find(dialect->scale_encoding)->bytes : 0;
  reader->head_rows = tensor->adjacent_heads ? reader->rows / tensor->adjacent_heads : 0;
}

tq_status tq_ternary_reader_create(tq_checkpoint *checkpoint, size_t index, tq_team *team, tq_ternary_reader **reader,
                                   tq_error *error) {
  tq_ternary_reader *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  const tq_source_tensor *tensor = &checkpoint->tensors[index];
  *created = (tq_ternary_reader){.checkpoint = checkpoint, .index = index, .tensor = tensor, .team = team};
  created->form = tensor->form.dialect ? tensor->form : form_of_floats(checkpoint, tensor);
  tq_status status = TQ_OK;
  if (created->form.dialect) {
    measure(created);
    status = tq_source_tensor_hold(checkpoint, index, error);
  }
  if (status)
    tq_free(created);
  else
    *reader = created;
  return status;
}

void tq_ternary_reader_destroy(tq_ternary_reader *reader) {
  if (!reader) return;
  tq_source_tensor_release(reader->checkpoint);
  tq_free(reader);
}

/* ---- where rows lie ---- */

const char *tq_reader_file(const tq_ternary_reader *reader) {
  return tq_input_name(reader->checkpoint->inputs[reader->tensor->input]);
}

bool tq_reader_scales_inside(const tq_ternary_reader *reader) {
  return reader->form.dialect->scale_place == TQ_SCALES_INSIDE && !reader->form.has_unit_scales;
}

/* Row 2 b + a of a head is canonical row a * half + b. */
static uint64_t file_row(const tq_ternary_reader *reader, uint64_t row) {
  uint64_t head = reader->head_rows, half = head / 2;
  return head ? row - row % head + 2 * (row % half) + row % head / half : row;
}

uint64_t tq_reader_row_at(const tq_ternary_reader *reader, uint64_t unit, uint64_t place) {
  bool strided = reader->form.dialect->is_strided;
  uint64_t row = strided ? place * reader->unit_count + unit : unit * reader->unit_rows + place;
  uint64_t head = reader->head_rows, within = head ? row % head : 0;
  return head ? row - within + within % 2 * (head / 2) + within / 2 : row;
}

void tq_reader_place(const tq_ternary_reader *reader, uint64_t row, uint64_t *unit, uint64_t *place) {
  uint64_t number = file_row(reader, row);
  bool strided = reader->form.dialect->is_strided;
  *unit = strided ? number % reader->unit_count : number / reader->unit_rows;
  *place = strided ? number / reader->unit_count : number % reader->unit_rows;
}

tq_status tq_reader_tail(tq_ternary_reader *reader, uint8_t *tail, tq_error *error) {
  return tq_source_tensor_bytes(reader->checkpoint, reader->index, reader->unit_count * reader->unit_bytes,
                                reader->form.dialect->tail_bytes, tail, error);
}

/* ---- bands ---- */

static uint64_t at_least_one(uint64_t number) { return number ? number : 1; }

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t rows_at_once(const tq_ternary_reader *reader) { return at_least_one(BAND_WEIGHTS / reader->columns); }

static uint64_t units_at_once(const tq_ternary_reader *reader) {
  return at_least_one(rows_at_once(reader) / reader->unit_rows);
}

static void band_of_units(const tq_ternary_reader *reader, tq_band *band) {
  band->count = smaller(units_at_once(reader), reader->unit_count - band->first);
  band->unit = band->first;
  band->units = band->count;
}

/* Rows of one quarter of the strided units, which lie in units that follow each other. */
static void band_of_strided_rows(const tq_ternary_reader *reader, tq_band *band) {
  band->unit = band->first % reader->unit_count;
  band->count = smaller(rows_at_once(reader), reader->unit_count - band->unit);
  band->units = band->count;
}

/* Whole heads where they fit; otherwise rows of one half of a head, which are every second one in the file, so that
 * each byte of it is read twice. */
static uint64_t rows_of_heads(const tq_ternary_reader *reader, uint64_t first) {
  uint64_t most = rows_at_once(reader), head = reader->head_rows, half = head / 2;
  if (head <= most) return smaller(most / head * head, reader->rows - first);
  return smaller(at_least_one(most / 2), half - first % half);
}

static uint64_t rows_in_order(const tq_ternary_reader *reader, uint64_t first) {
  uint64_t most = rows_at_once(reader), unit = reader->unit_rows;
  return smaller(most < unit ? most : most / unit * unit, reader->rows - first);
}

/* Whole heads, and rows of one half of a head, begin and end where their first and last row do. */
static void band_of_rows(const tq_ternary_reader *reader, tq_band *band) {
  if (reader->form.dialect->is_strided) {
    band_of_strided_rows(reader, band);
    return;
  }
  band->count = reader->head_rows ? rows_of_heads(reader, band->first) : rows_in_order(reader, band->first);
  band->unit = file_row(reader, band->first) / reader->unit_rows;
  band->units = file_row(reader, band->first + band->count - 1) / reader->unit_rows - band->unit + 1;
}

/* The most units that a band covers: one more at either end where rows begin and end inside a unit. */
static uint64_t most_units(const tq_pass *pass) {
  const tq_ternary_reader *reader = pass->reader;
  uint64_t most = !pass->by_rows                     ? units_at_once(reader)
                  : reader->form.dialect->is_strided ? rows_at_once(reader)
                                                     : rows_at_once(reader) / reader->unit_rows + 2;
  return smaller(most, reader->unit_count);
}

uint64_t tq_reader_band_items(const tq_ternary_reader *reader, bool by_rows) {
  return by_rows ? smaller(rows_at_once(reader), reader->rows) : smaller(units_at_once(reader), reader->unit_count);
}

size_t tq_aligned_size(uint64_t size) { return (size_t)((size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT); }

bool tq_band_decode(const tq_ternary_reader *reader, tq_band *band, uint64_t unit, uint64_t place, int8_t *trits,
                    uint8_t *scales) {
  const uint8_t *bytes = band->raw + (unit - band->unit) * reader->unit_bytes;
  if (reader->form.dialect->decode(bytes, reader->columns, (uint32_t)place, trits, scales)) return true;
  unsigned long long row = tq_reader_row_at(reader, unit, place), bad = atomic_load(&band->bad);
  while (row < bad && !atomic_compare_exchange_weak(&band->bad, &bad, row)) continue;
  return false;
}

tq_status tq_band_check(const tq_ternary_reader *reader, const tq_band *band, tq_error *error) {
  unsigned long long bad = atomic_load(&band->bad);
  if (bad == ULLONG_MAX) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: row %llu holds what means nothing in %s",
                 tq_reader_file(reader), reader->tensor->name, bad, reader->form.dialect->name);
}

/* ---- passes ---- */

/* What the team does at one time: the band before is finished, this one worked on, the next read. */
typedef struct stage {
  const tq_pass *pass;
  tq_band *before, *now, *next; /* NULL where there is none */
  uint8_t *scratch;
  size_t scratch_stride;
  unsigned workers;
  uint64_t grain; /* items */
  atomic_ullong taken;
  bool stop;
  tq_status status;
  tq_error *error;
} stage;

enum { BANDS = 3 };

static tq_status finish_band(stage *self) {
  if (!self->before) return TQ_OK;
  return self->pass->finish(self->pass->context, self->before, &self->stop, self->error);
}

static tq_status read_band(stage *self) {
  tq_band *band = self->next;
  if (!band) return TQ_OK;
  const tq_ternary_reader *reader = self->pass->reader;
  return tq_source_tensor_bytes(reader->checkpoint, reader->index, band->unit * reader->unit_bytes,
                                band->units * reader->unit_bytes, band->raw, self->error);
}

static void work_on_band(stage *self, unsigned member) {
  tq_band *band = self->now;
  if (!band || !self->pass->work || member >= self->workers) return;
  uint8_t *scratch = self->scratch + member * self->scratch_stride;
  for (uint64_t item; (item = atomic_fetch_add(&self->taken, self->grain)) < band->count;) {
    uint64_t end = smaller(item + self->grain, band->count);
    for (; item < end; item++) self->pass->work(self->pass->context, band, item, scratch, member);
  }
}

/* All that can fail is done by the calling thread. */
static void run_stage(void *context, unsigned member, unsigned members) {
  stage *self = context;
  (void)members;
  if (member == 0) self->status = finish_band(self);
  if (member == 0 && !self->status) self->status = read_band(self);
  work_on_band(self, member);
}

unsigned tq_reader_members(const tq_ternary_reader *reader) { return reader->team ? tq_team_members(reader->team) : 1; }

static tq_status advance(stage *self) {
  tq_team *team = self->pass->reader->team;
  atomic_store(&self->taken, 0);
  if (team)
    tq_team_run(team, run_stage, self);
  else
    run_stage(self, 0, 1);
  return self->status;
}

/* Places the band that follows `first` items, or returns NULL. */
static tq_band *next_band(const tq_pass *pass, uint64_t first, tq_band *band) {
  const tq_ternary_reader *reader = pass->reader;
  if (first == (pass->by_rows ? reader->rows : reader->unit_count)) return NULL;
  band->first = first;
  atomic_store(&band->bad, ULLONG_MAX);
  atomic_store(&band->found, 0);
  (pass->by_rows ? band_of_rows : band_of_units)(reader, band);
  return band;
}

static tq_status run_stages(stage *self, tq_band *bands) {
  uint64_t first = 0;
  tq_status status = TQ_OK;
  for (unsigned turn = 0; !status && !self->stop; turn++) {
    self->before = self->now;
    self->now = self->next;
    self->next = next_band(self->pass, first, &bands[turn % BANDS]);
    if (!self->before && !self->now && !self->next) break;
    status = advance(self);
    if (self->next) first += self->next->count;
  }
  return status;
}

static tq_status allocate_bands(const tq_pass *pass, tq_band *bands, uint8_t **memory, tq_error *error) {
  uint64_t units = most_units(pass), items = tq_reader_band_items(pass->reader, pass->by_rows);
  size_t raw = tq_aligned_size(units * pass->reader->unit_bytes), made = tq_aligned_size(items * pass->made_bytes);
  *memory = tq_allocate_aligned(ALIGNMENT, BANDS * (raw + made), error);
  if (!*memory) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < BANDS; i++) {
    bands[i].raw = *memory + i * (raw + made);
    bands[i].made = bands[i].raw + raw;
  }
  return TQ_OK;
}

/* So many that their scratch memory together stays within its limit. */
static unsigned count_workers(const tq_pass *pass) {
  uint64_t most = at_least_one(SCRATCH_LIMIT / at_least_one(pass->scratch_bytes));
  return (unsigned)smaller(tq_reader_members(pass->reader), most);
}

tq_status tq_pass_run(const tq_pass *pass, tq_error *error) {
  const tq_ternary_reader *reader = pass->reader;
  tq_band bands[BANDS];
  uint64_t weights = reader->columns * (pass->by_rows ? 1 : reader->unit_rows);
  stage self = {
      .pass = pass, .workers = count_workers(pass), .grain = at_least_one(GRAIN_WEIGHTS / weights), .error = error};
  self.scratch_stride = tq_aligned_size(pass->scratch_bytes);
  uint8_t *memory = NULL;
  self.scratch = tq_allocate_aligned(ALIGNMENT, self.workers * self.scratch_stride + 1, error);
  tq_status status = self.scratch ? allocate_bands(pass, bands, &memory, error) : TQ_ERROR_SYSTEM;
  if (!status) status = run_stages(&self, bands);
  tq_free(memory);
  tq_free(self.scratch);
  return status;
}
