/* Sessions: what changes while a model runs. */
#include "model/model.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "tq/ternary.h"

#include <string.h>

enum { MOST_SEQUENCES = 1 << 16 };

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

static const char *const cache_names[] = {[TQ_CACHE_F16] = "f16", [TQ_CACHE_Q8] = "q8"};

bool tq_cache_type_by_name(const char *name, tq_cache_type *type) {
  for (int i = TQ_CACHE_F16; i <= TQ_CACHE_Q8; i++) {
    if (strcmp(cache_names[i], name) != 0) continue;
    *type = (tq_cache_type)i;
    return true;
  }
  return false;
}

const char *tq_cache_type_name(tq_cache_type type) { return cache_names[type]; }

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* A zeroed array of a * b floats; sizes come from a file, so the product is checked. */
static float *allocate_floats(uint64_t a, uint64_t b, tq_status *status, tq_error *error) {
  uint64_t count;
  if (*status) return NULL;
  bool fits = tq_multiply_u64(a, b, &count) && count <= SIZE_MAX;
  float *floats = fits ? tq_allocate((size_t)count, sizeof *floats, error) : NULL;
  if (!fits)
    *status = tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  else if (!floats)
    *status = TQ_ERROR_SYSTEM;
  return floats;
}

static uint64_t largest_columns(const tq_hyperparameters *sizes) {
  uint64_t largest = sizes->dimension;
  for (size_t i = 0; i < TQ_LINEARS; i++) largest = larger(largest, tq_extent_size(sizes, tq_linear_rows[i].columns));
  return largest;
}

/* Whole cache lines for each member, which begin where a line does. */
static tq_status allocate_scratch(tq_session *session, tq_error *error) {
  enum { LINE = 64 };
  uint64_t size = larger(tq_linear_scratch(largest_columns(&session->model->hyperparameters)), TQ_ATTENTION_SCRATCH);
  session->scratch_size = (size_t)(size + 31) / 16 * 16;
  session->scratch =
      tq_allocate_aligned(LINE, tq_team_members(session->team) * session->scratch_size * sizeof(float), error);
  return session->scratch ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* What lies where is said in model.h. */
static tq_status allocate_activations(tq_session *session, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t batch = session->batch, dimension = sizes->dimension, feed_forward = sizes->feed_forward;
  uint64_t query = tq_extent_size(sizes, TQ_EXTENT_QUERY), key = tq_extent_size(sizes, TQ_EXTENT_KEY);
  uint64_t hidden = larger(query + 2 * key, feed_forward + larger(feed_forward, dimension));
  tq_status status = TQ_OK;
  session->residual = allocate_floats(batch, dimension, &status, error);
  session->normed = allocate_floats(batch, larger(dimension, query), &status, error);
  session->gate = allocate_floats(batch, hidden, &status, error);
  session->cosines = allocate_floats(batch, sizes->rope_dimensions / 2, &status, error);
  session->sines = allocate_floats(batch, sizes->rope_dimensions / 2, &status, error);
  if (status) return status;
  session->attended = session->normed;
  session->up = session->gate + batch * feed_forward;
  session->projected = session->up;
  session->query = session->gate;
  session->key = session->query + batch * query;
  session->value = session->key + batch * key;
  return TQ_OK;
}

static tq_status allocate_codes(const tq_session *session, uint64_t columns, tq_codes *codes, tq_error *error) {
  size_t batch = session->batch, length = (size_t)columns;
  codes->block = session->activations == TQ_ACTIVATIONS_INT8_BLOCK ? TQ_SPAN : 0;
  codes->codes = tq_allocate(batch, tq_code_stride(length), error);
  if (codes->codes) codes->steps = tq_allocate(batch, tq_step_count(length, codes->block) * sizeof(float), error);
  if (codes->steps) codes->sums = tq_allocate(batch, tq_step_count(length, TQ_SPAN) * sizeof(int32_t), error);
  return codes->sums ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* Room for an input in the forms that weights meet instead of it: rotated, and as integers. */
static tq_status allocate_forms(tq_session *session, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t columns = largest_columns(sizes);
  tq_status status = TQ_OK;
  if (sizes->rotated) session->rotated = allocate_floats(session->batch, columns, &status, error);
  if (status || session->activations == TQ_ACTIVATIONS_FLOAT) return status;
  if (columns > TQ_INTEGER_COLUMNS_LIMIT)
    return tq_fail(error, TQ_ERROR_CORRUPT, "rows of %llu weights are too long for activations of 8 bits",
                   (unsigned long long)columns);
  status = allocate_codes(session, columns, &session->codes[0], error);
  if (!status && sizes->rotated) status = allocate_codes(session, columns, &session->codes[1], error);
  return status;
}

static tq_status allocate_cache(tq_session *session, tq_cache_type type, tq_error *error) {
  const tq_hyperparameters *sizes = &session->model->hyperparameters;
  uint64_t heads;
  if (!tq_multiply_u64((uint64_t)sizes->layers * session->sequences, sizes->kv_heads, &heads))
    return tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  return tq_cache_create(&session->cache, type, heads, session->context, sizes->head_dimension, error);
}

static tq_status allocate_records(tq_session *session, tq_error *error) {
  size_t layers = session->model->hyperparameters.layers, sequences = session->sequences;
  uint64_t places;
  if (!tq_multiply_u64(layers, sequences, &places) || places > SIZE_MAX)
    return tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  session->held = tq_allocate((size_t)places, sizeof *session->held, error);
  if (session->held) session->next = tq_allocate(sequences, sizeof *session->next, error);
  if (session->next) session->touched = tq_allocate(layers + 1, sizeof *session->touched, error);
  if (session->touched) session->wanted = tq_allocate(session->batch, sizeof *session->wanted, error);
  return session->wanted ? TQ_OK : TQ_ERROR_SYSTEM;
}

static tq_status create(tq_session *session, const tq_session_options *given, tq_error *error) {
  tq_status status = tq_kernels_choose(NULL, &session->kernels, error);
  if (!status) status = tq_team_create(given->threads, &session->team, error);
  if (!status) status = allocate_records(session, error);
  if (!status) status = allocate_cache(session, given->cache, error);
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
  created->batch = given.batch ? given.batch : TQ_DEFAULT_BATCH;
  created->activations = given.activations ? given.activations : model->activations;
  tq_status status = create(created, &given, error);
  if (status)
    tq_session_destroy(created);
  else
    *session = created;
  return status;
}

void tq_session_destroy(tq_session *session) {
  if (!session) return;
  tq_team_destroy(session->team);
  tq_cache_free(&session->cache);
  for (size_t i = 0; i < 2; i++) {
    tq_free(session->codes[i].codes);
    tq_free(session->codes[i].steps);
    tq_free(session->codes[i].sums);
  }
  void *const memory[] = {session->held,   session->next,   session->touched, session->residual,
                          session->normed, session->gate,   session->cosines, session->sines,
                          session->logits, session->wanted, session->scratch, session->rotated};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) tq_free(memory[i]);
  tq_free(session);
}

uint32_t tq_session_context(const tq_session *session) { return session->context; }

tq_activations tq_session_activations(const tq_session *session) { return session->activations; }

tq_cache_type tq_session_cache(const tq_session *session) { return session->cache.type; }

void tq_session_truncate(tq_session *session, uint32_t sequence, uint32_t from) {
  uint32_t layers = session->model->hyperparameters.layers;
  if (sequence >= session->sequences) return;
  uint32_t *held = session->held + (size_t)sequence * layers;
  for (uint32_t layer = 0; layer < layers; layer++)
    if (held[layer] > from) held[layer] = from;
}
