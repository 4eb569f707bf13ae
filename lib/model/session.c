/* Sessions: what changes while a model runs. */
#include "model/model.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "tq/ternary.h"

#include <string.h>

enum { DEFAULT_BATCH = 512, MOST_SEQUENCES = 1 << 16 };

static const char *const activation_names[] = {[TQ_ACTIVATIONS_RECORDED] = "recorded",
                                               [TQ_ACTIVATIONS_FLOAT] = "float",
                                               [TQ_ACTIVATIONS_INT8_TOKEN] = "int8-token",
                                               [TQ_ACTIVATIONS_INT8_BLOCK] = "int8-block"};

bool tq_activations_by_name(const char *name, tq_activations *activations) {
  for (int i = TQ_ACTIVATIONS_FLOAT; i <= TQ_ACTIVATIONS_INT8_BLOCK; i++) {
    if (strcmp(activation_names[i], name) != 0) continue;
    *activations = (tq_activations)i;
    return true;
  }
  return false;
}

const char *tq_activations_name(tq_activations activations) { return activation_names[activations]; }

/* A zeroed array of a * b * c * d floats; sizes come from a file, so every product is checked. */
static float *allocate_floats(uint64_t a, uint64_t b, uint64_t c, uint64_t d, tq_status *status, tq_error *error) {
  uint64_t count, most = SIZE_MAX;
  if (*status) return NULL;
  bool fits = tq_multiply_u64(a, b, &count) && tq_multiply_u64(count, c, &count) && tq_multiply_u64(count, d, &count) &&
              count <= most;
  float *floats = fits ? tq_allocate((size_t)count, sizeof *floats, error) : NULL;
  if (!fits)
    *status = tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  else if (!floats)
    *status = TQ_ERROR_SYSTEM;
  return floats;
}

static uint64_t largest_columns(const tq_hyperparameters *sizes) {
  uint64_t largest = sizes->dimension;
  for (size_t i = 0; i < TQ_LINEARS; i++) {
    uint64_t columns = tq_extent_size(sizes, tq_linear_rows[i].columns);
    if (columns > largest) largest = columns;
  }
  return largest;
}

/* A member's scratch memory serves a decoded row or the scores of one head; rounded up so that members share no cache
 * line. */
static tq_status allocate_scratch(tq_session *session, tq_error *error) {
  uint64_t size = tq_row_scratch(largest_columns(&session->model->hyperparameters));
  tq_status status = TQ_OK;
  if (size < session->context) size = session->context;
  session->scratch_size = (size_t)(size + 31) / 16 * 16;
  session->scratch = allocate_floats(tq_team_members(session->team), session->scratch_size, 1, 1, &status, error);
  return status;
}

static tq_status allocate_activations(tq_session *session, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t batch = session->batch, query = tq_extent_size(sizes, TQ_EXTENT_QUERY);
  uint64_t key = tq_extent_size(sizes, TQ_EXTENT_KEY), pairs = sizes->rope_dimensions / 2;
  tq_status status = TQ_OK;
  session->residual = allocate_floats(batch, sizes->dimension, 1, 1, &status, error);
  session->normed = allocate_floats(batch, sizes->dimension, 1, 1, &status, error);
  session->projected = allocate_floats(batch, sizes->dimension, 1, 1, &status, error);
  session->query = allocate_floats(batch, query, 1, 1, &status, error);
  session->attended = allocate_floats(batch, query, 1, 1, &status, error);
  session->key = allocate_floats(batch, key, 1, 1, &status, error);
  session->value = allocate_floats(batch, key, 1, 1, &status, error);
  session->gate = allocate_floats(batch, sizes->feed_forward, 1, 1, &status, error);
  session->up = allocate_floats(batch, sizes->feed_forward, 1, 1, &status, error);
  session->cosines = allocate_floats(batch, pairs, 1, 1, &status, error);
  session->sines = allocate_floats(batch, pairs, 1, 1, &status, error);
  return status;
}

static tq_status allocate_codes(const tq_session *session, uint64_t columns, tq_codes *codes, tq_error *error) {
  tq_status status = TQ_OK;
  codes->block = session->activations == TQ_ACTIVATIONS_INT8_BLOCK ? TQ_SPAN : 0;
  codes->steps = allocate_floats(session->batch, tq_step_count((size_t)columns, codes->block), 1, 1, &status, error);
  if (!status) codes->codes = tq_allocate(session->batch, (size_t)columns, error);
  return codes->codes ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* Room for an input in the forms that weights meet instead of it: rotated, and as integers. */
static tq_status allocate_forms(tq_session *session, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t columns = largest_columns(sizes);
  tq_status status = TQ_OK;
  if (sizes->rotated) session->rotated = allocate_floats(session->batch, columns, 1, 1, &status, error);
  if (status || session->activations == TQ_ACTIVATIONS_FLOAT) return status;
  if (columns > TQ_INTEGER_COLUMNS_LIMIT)
    return tq_fail(error, TQ_ERROR_CORRUPT, "rows of %llu weights are too long for activations of 8 bits",
                   (unsigned long long)columns);
  status = allocate_codes(session, columns, &session->codes[0], error);
  if (!status && sizes->rotated) status = allocate_codes(session, columns, &session->codes[1], error);
  return status;
}

static tq_status allocate_cache(tq_session *session, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t layers = sizes->layers, sequences = session->sequences, key = tq_extent_size(sizes, TQ_EXTENT_KEY);
  tq_status status = TQ_OK;
  session->keys = allocate_floats(layers, sequences, key, session->context, &status, error);
  session->values = allocate_floats(layers, sequences, key, session->context, &status, error);
  return status;
}

static tq_status allocate_records(tq_session *session, tq_error *error) {
  size_t layers = session->model->hyperparameters.layers, sequences = session->sequences;
  uint64_t places;
  if (!tq_multiply_u64(layers, sequences, &places) || places > SIZE_MAX)
    return tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  session->held = tq_allocate((size_t)places, sizeof *session->held, error);
  if (session->held) session->next = tq_allocate(sequences, sizeof *session->next, error);
  if (session->next) session->touched = tq_allocate(layers + 2, sizeof *session->touched, error);
  if (session->touched) session->wanted = tq_allocate(session->batch, sizeof *session->wanted, error);
  return session->wanted ? TQ_OK : TQ_ERROR_SYSTEM;
}

static tq_status create(tq_session *session, uint32_t threads, tq_error *error) {
  tq_status status = tq_kernels_choose(NULL, &session->kernels, error);
  if (!status) status = tq_team_create(threads, &session->team, error);
  if (!status) status = allocate_records(session, error);
  if (!status) status = allocate_cache(session, error);
  if (!status) status = allocate_activations(session, error);
  if (!status) status = allocate_forms(session, error);
  return status ? status : allocate_scratch(session, error);
}

tq_status tq_session_create(const tq_model *model, const tq_session_options *options, tq_session **session,
                            tq_error *error) {
  tq_session_options given = options ? *options : (tq_session_options){0};
  if (given.sequences > MOST_SEQUENCES)
    return tq_fail(error, TQ_ERROR_USAGE, "%u sequences are more than the %d possible", given.sequences,
                   MOST_SEQUENCES);
  tq_session *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->model = model;
  created->context = given.context ? given.context : model->hyperparameters.context;
  created->sequences = given.sequences ? given.sequences : 1;
  created->batch = given.batch ? given.batch : DEFAULT_BATCH;
  created->activations = given.activations ? given.activations : model->activations;
  tq_status status = create(created, given.threads, error);
  if (status)
    tq_session_destroy(created);
  else
    *session = created;
  return status;
}

void tq_session_destroy(tq_session *session) {
  if (!session) return;
  tq_team_destroy(session->team);
  void *const memory[] = {session->keys,
                          session->values,
                          session->held,
                          session->next,
                          session->touched,
                          session->residual,
                          session->normed,
                          session->query,
                          session->attended,
                          session->key,
                          session->value,
                          session->gate,
                          session->up,
                          session->projected,
                          session->cosines,
                          session->sines,
                          session->logits,
                          session->wanted,
                          session->scratch,
                          session->rotated,
                          session->codes[0].codes,
                          session->codes[0].steps,
                          session->codes[1].codes,
                          session->codes[1].steps};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) tq_free(memory[i]);
  tq_free(session);
}

uint32_t tq_session_context(const tq_session *session) { return session->context; }

tq_activations tq_session_activations(const tq_session *session) { return session->activations; }

void tq_session_truncate(tq_session *session, uint32_t sequence, uint32_t from) {
  uint32_t layers = session->model->hyperparameters.layers;
  if (sequence >= session->sequences) return;
  uint32_t *held = session->held + (size_t)sequence * layers;
  for (uint32_t layer = 0; layer < layers; layer++)
    if (held[layer] > from) held[layer] = from;
}
