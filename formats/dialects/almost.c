/* Plain floats that are ternary but for a few: how many are off, and by how much. Rare, so one thread does it. */
#include "base/memory.h"
#include "formats/dialects/reading.h"
#include "tq/ternary.h"

#include <math.h>

enum { LEAST_GROUP = 32, LARGEST_GROUP = 256, ROW_LEVEL = 1 };

/* From the coarsest. */
static const struct {
  uint32_t granularity, group;
} levels[TQ_COARSE_LEVELS] = {
    {TQ_PER_TENSOR, 0},  {TQ_PER_ROW, 0},    {TQ_PER_GROUP, 256},
    {TQ_PER_GROUP, 128}, {TQ_PER_GROUP, 64}, {TQ_PER_GROUP, 32},
};

/* ---- a few magnitudes ---- */

static void load_magnitudes(uint32_t encoding, const uint8_t *data, uint64_t count, float *magnitudes) {
  tq_numbers_decode(encoding, data, count, magnitudes);
  for (uint64_t i = 0; i < count; i++) magnitudes[i] = fabsf(magnitudes[i]);
}

/* The finite magnitude other than 0 that most of a group have, the first of those that tie; 0 when there is none.
 * *times gets how often it occurs. */
static float most_frequent(const float *magnitudes, uint64_t count, uint64_t *times) {
  float distinct[LARGEST_GROUP];
  uint16_t met[LARGEST_GROUP];
  size_t found = 0, best = 0;
  for (uint64_t i = 0, k; i < count; i++) {
    if (!isfinite(magnitudes[i]) || magnitudes[i] == 0) continue;
    for (k = 0; k < found && distinct[k] != magnitudes[i];) k++;
    if (k == found) {
      distinct[found] = magnitudes[i];
      met[found++] = 0;
    }
    met[k]++;
  }
  for (size_t k = 1; k < found; k++) {
    if (met[k] > met[best]) best = k;
  }
  *times = found ? met[best] : 0;
  return found ? distinct[best] : 0;
}

uint64_t tq_almost_row(uint32_t encoding, const uint8_t *row, uint64_t columns) {
  float magnitudes[LEAST_GROUP];
  uint64_t off = 0, width = tq_encoding_find(encoding)->bytes;
  for (uint64_t c = 0, times; c < columns; c += LEAST_GROUP) {
    uint64_t count = columns - c < LEAST_GROUP ? columns - c : LEAST_GROUP, zeros = 0;
    load_magnitudes(encoding, row + c * width, count, magnitudes);
    for (uint64_t i = 0; i < count; i++) zeros += magnitudes[i] == 0;
    most_frequent(magnitudes, count, &times);
    off += count - zeros - times;
  }
  return off;
}

/* The magnitude that more than half of those other than 0 have, if there is one: each vote for another cancels one. */
typedef struct majority {
  float leader;
  uint64_t lead;
} majority;

static void vote(majority *votes, const float *magnitudes, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    if (!isfinite(magnitudes[i]) || magnitudes[i] == 0) continue;
    if (votes->lead == 0) votes->leader = magnitudes[i];
    if (magnitudes[i] == votes->leader)
      votes->lead++;
    else
      votes->lead--;
  }
}

/* ---- all of a tensor ---- */

typedef struct tally {
  uint64_t off;
  double furthest; /* in units of the scale */
} tally;

static void count_off(tally *sum, const float *magnitudes, uint64_t count, float scale) {
  for (uint64_t i = 0; i < count; i++) {
    float magnitude = magnitudes[i];
    if (magnitude == 0 || magnitude == scale) continue;
    double distance = fmin((double)magnitude, fabs((double)magnitude - (double)scale)) / (double)scale;
    if (!isfinite(magnitude) || scale == 0) distance = INFINITY;
    sum->off++;
    if (distance > sum->furthest) sum->furthest = distance;
  }
}

typedef struct counting {
  tq_ternary_reader *reader;
  float *magnitudes; /* of a row */
  majority tensor;
  tally tallies[TQ_COARSE_LEVELS];
  bool is_first_seen; /* tq_almost_refuse */
  float first;
  void (*row)(struct counting *self);
} counting;

static void vote_row(counting *self) { vote(&self->tensor, self->magnitudes, self->reader->columns); }

static void count_groups(tally *sum, const float *magnitudes, uint64_t columns, uint32_t group) {
  for (uint64_t c = 0, times; c < columns; c += group) {
    uint64_t count = columns - c < group ? columns - c : group;
    count_off(sum, magnitudes + c, count, most_frequent(magnitudes + c, count, &times));
  }
}

static void count_row(counting *self) {
  const float *magnitudes = self->magnitudes;
  uint64_t columns = self->reader->columns;
  majority row = {0};
  vote(&row, magnitudes, columns);
  count_off(&self->tallies[0], magnitudes, columns, self->tensor.leader);
  count_off(&self->tallies[ROW_LEVEL], magnitudes, columns, row.leader);
  for (size_t i = ROW_LEVEL + 1; i < TQ_COARSE_LEVELS; i++)
    count_groups(&self->tallies[i], magnitudes, columns, levels[i].group);
}

/* Rows of floats are units. */
static tq_status walk_band(void *context, tq_band *band, bool *stop, tq_error *error) {
  counting *self = context;
  const tq_ternary_reader *reader = self->reader;
  (void)stop;
  (void)error;
  for (uint64_t i = 0; i < band->count; i++) {
    load_magnitudes(reader->tensor->encoding, band->raw + i * reader->unit_bytes, reader->columns, self->magnitudes);
    self->row(self);
  }
  return TQ_OK;
}

static tq_status walk(counting *self, void (*row)(counting *), tq_error *error) {
  self->row = row;
  return tq_pass_run(&(tq_pass){.reader = self->reader, .finish = walk_band, .context = self}, error);
}

/* The finest level has the fewest; a coarser one that has as few says the same with less. */
static size_t choose_level(const tally tallies[TQ_COARSE_LEVELS]) {
  size_t best = 0;
  for (size_t i = 1; i < TQ_COARSE_LEVELS; i++) {
    if (tallies[i].off < tallies[best].off) best = i;
  }
  return best;
}

tq_status tq_almost_survey(tq_ternary_reader *reader, tq_survey *survey, tq_error *error) {
  counting self = {.reader = reader, .magnitudes = tq_allocate((size_t)reader->columns, sizeof(float), error)};
  if (!self.magnitudes) return TQ_ERROR_SYSTEM;
  tq_status status = walk(&self, vote_row, error);
  if (!status) status = walk(&self, count_row, error);
  tq_free(self.magnitudes);
  if (status) return status;
  size_t level = choose_level(self.tallies);
  uint64_t off = self.tallies[level].off;
  survey->is_almost = off > 0 && off <= reader->rows * reader->columns / TQ_ALMOST_SHARE;
  if (!survey->is_almost) return TQ_OK;
  survey->almost_granularity = levels[level].granularity;
  survey->almost_group = levels[level].group;
  survey->almost_off = off;
  survey->almost_furthest = self.tallies[level].furthest;
  return TQ_OK;
}

/* ---- what an assumed granularity meets ---- */

/* The first number of a scale's reach sets it; another that is not 0 is what is looked for. */
typedef struct search {
  tq_ternary_reader *reader;
  float *values; /* of a row */
  float scale;   /* 0: none yet */
  tq_error *error;
} search;

static tq_status refuse_value(const search *self, uint64_t row, uint64_t column) {
  static const char *const reaches[] = {"its tensor", "its row", "its group"};
  const tq_ternary_reader *reader = self->reader;
  return tq_fail(self->error, TQ_ERROR_REFUSED,
                 "%s: tensor %s: row %llu, column %llu is %.9g where the scale of %s is %.9g: not ternary as assumed",
                 tq_reader_file(reader), reader->tensor->name, (unsigned long long)row, (unsigned long long)column,
                 (double)self->values[column], reaches[reader->checkpoint->assume.granularity], (double)self->scale);
}

static tq_status search_row(search *self, uint64_t row) {
  const tq_assume *assume = &self->reader->checkpoint->assume;
  uint64_t columns = self->reader->columns;
  uint64_t reach = assume->granularity == TQ_PER_GROUP ? assume->group : columns;
  for (uint64_t c = 0; c < columns; c++) {
    float magnitude = fabsf(self->values[c]);
    if (assume->granularity != TQ_PER_TENSOR && c % reach == 0) self->scale = 0;
    if (magnitude == 0) continue;
    if (self->scale == 0 && isfinite(magnitude)) self->scale = magnitude;
    if (magnitude != self->scale) return refuse_value(self, row, c);
  }
  return TQ_OK;
}

static tq_status search_band(void *context, tq_band *band, bool *stop, tq_error *error) {
  search *self = context;
  const tq_ternary_reader *reader = self->reader;
  (void)stop;
  self->error = error;
  tq_status status = TQ_OK;
  for (uint64_t i = 0; !status && i < band->count; i++) {
    tq_numbers_decode(reader->tensor->encoding, band->raw + i * reader->unit_bytes, reader->columns, self->values);
    status = search_row(self, tq_reader_row_at(reader, band->unit + i, 0));
  }
  return status;
}

tq_status tq_almost_refuse(tq_ternary_reader *reader, tq_error *error) {
  search self = {.reader = reader, .values = tq_allocate((size_t)reader->columns, sizeof(float), error)};
  if (!self.values) return TQ_ERROR_SYSTEM;
  tq_status status = tq_pass_run(&(tq_pass){.reader = reader, .finish = search_band, .context = &self}, error);
  tq_free(self.values);
  if (status) return status;
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: not ternary as assumed", tq_reader_file(reader),
                 reader->tensor->name);
}
