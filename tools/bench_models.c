/* Whole models: prefill of some tokens, and generation of some after nothing. */
#include "base/memory.h"
#include "base/text.h"
#include "model/model.h"
#include "tools/bench.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- what a model reads and computes ---- */

uint64_t bench_matrix_bytes(const tq_matrix *matrix) {
  uint64_t bytes = matrix->rows * matrix->row_bytes;
  if (!matrix->scales) return bytes;
  return bytes + tq_scale_count(matrix->granularity, matrix->group, matrix->rows, matrix->columns) *
                     tq_encoding_find(matrix->scale_encoding)->bytes;
}

static void measure_model(bench_model *model) {
  const tq_model *of = model->model;
  uint64_t weights = 0;
  for (uint32_t layer = 0; layer < of->hyperparameters.layers; layer++)
    for (size_t i = 0; i < TQ_LINEARS; i++) {
      const tq_matrix *matrix = &of->layers[layer].linears[i].linear.weights;
      model->layers_bytes += bench_matrix_bytes(matrix);
      weights += matrix->rows * matrix->columns;
    }
  const tq_matrix *head = &of->head.linear.weights, *embedding = &of->embedding.linear.weights;
  model->layers_products = weights;
  model->head_products = head->rows * head->columns;
  model->head_bytes = bench_matrix_bytes(head);
  model->embedded_bytes = bench_matrix_bytes(embedding) / embedding->rows;
  model->bits_per_weight = 8 * (double)model->layers_bytes / (double)weights;
  for (size_t i = 0; i < tq_file_tensor_count(model->file); i++)
    model->parameters += tq_file_tensor(model->file, i)->elements;
}

tq_status bench_model_open(const char *name, const char *path, tq_file *file, bench_model *model, tq_error *error) {
  tq_file_info info;
  tq_file_describe(file, &info);
  *model = (bench_model){.path = path, .file = file, .size = info.size};
  tq_printable(name, strlen(name), model->name, sizeof model->name);
  tq_status status = tq_model_create(file, &model->model, error);
  if (status)
    tq_file_close(file);
  else
    measure_model(model);
  return status;
}

void bench_model_close(bench_model *model) {
  tq_model_destroy(model->model);
  tq_file_close(model->file);
}

tq_activations bench_activations(const bench_model *model, const bench_options *options) {
  return options->activations ? options->activations : model->model->activations;
}

/* ---- the tests ---- */

/* A token reads its own row of the embedding; the layers are read once for all tokens of a call. */
static tq_status add_test(bench_report *report, size_t index, const char *kind, uint32_t tokens, tq_error *error) {
  const bench_model *model = &report->models[index];
  bool generates = strcmp(kind, "generate") == 0;
  uint32_t passes = generates ? tokens : (tokens + TQ_DEFAULT_BATCH - 1) / TQ_DEFAULT_BATCH,
           logits = generates ? tokens : 1;
  double bytes = (double)model->layers_bytes * passes + (double)model->head_bytes * logits;
  double products = (double)model->layers_products * tokens + (double)model->head_products * logits;
  bench_result test = {.model = index,
                       .kind = kind,
                       .count = tokens,
                       .bytes = bytes / tokens + (double)model->embedded_bytes,
                       .operations = 2 * products / tokens};
  snprintf(test.name, sizeof test.name, "%s%u", generates ? "tg" : "pp", tokens);
  return bench_result_add(report, &test, error);
}

static tq_status add_tests(bench_report *report, tq_error *error) {
  const bench_options *options = report->options;
  tq_status status = TQ_OK;
  for (size_t m = 0; m < report->model_count; m++) {
    for (size_t i = 0; !status && i < options->prefill.count; i++)
      status = add_test(report, m, "prefill", options->prefill.values[i], error);
    for (size_t i = 0; !status && i < options->generate.count; i++)
      status = add_test(report, m, "generate", options->generate.values[i], error);
  }
  return status;
}

/* Tokens are arbitrary, and others in every call. */
static tq_status run_tokens(tq_session *session, uint32_t vocabulary, uint32_t begin, uint32_t end, tq_error *error) {
  uint32_t tokens[TQ_DEFAULT_BATCH], positions[TQ_DEFAULT_BATCH];
  const float *logits;
  for (uint32_t i = begin; i < end; i++) {
    tokens[i - begin] = (uint32_t)((uint64_t)i * 2654435761u % vocabulary);
    positions[i - begin] = i;
  }
  bool wants[TQ_DEFAULT_BATCH] = {false};
  wants[end - begin - 1] = true;
  tq_batch batch = {.count = end - begin, .tokens = tokens, .positions = positions, .wants_logits = wants};
  return tq_forward(session, &batch, &logits, error);
}

/* The threads of the model before stay awake for some milliseconds. */
static void let_teams_sleep(void) { nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); }

static tq_status run_test(tq_session *session, const bench_model *model, const bench_result *test, double *seconds,
                          tq_error *error) {
  uint32_t vocabulary = tq_model_hyperparameters(model->model)->vocabulary, count = (uint32_t)test->count;
  uint32_t step = strcmp(test->kind, "generate") == 0 ? 1 : TQ_DEFAULT_BATCH;
  tq_status status = TQ_OK;
  tq_session_truncate(session, 0, 0);
  let_teams_sleep();
  double begin = bench_seconds();
  for (uint32_t i = 0; !status && i < count; i += step)
    status = run_tokens(session, vocabulary, i, count - i < step ? count : i + step, error);
  *seconds = bench_seconds() - begin;
  return status;
}

static uint32_t longest(const bench_options *options) {
  uint32_t most = 0;
  for (size_t i = 0; i < options->prefill.count; i++)
    if (options->prefill.values[i] > most) most = options->prefill.values[i];
  for (size_t i = 0; i < options->generate.count; i++)
    if (options->generate.values[i] > most) most = options->generate.values[i];
  return most;
}

static tq_status create_sessions(const bench_report *report, tq_session **sessions, tq_error *error) {
  const bench_options *options = report->options;
  tq_session_options wanted = {.context = longest(options),
                               .batch = longest(options) < TQ_DEFAULT_BATCH ? longest(options) : TQ_DEFAULT_BATCH,
                               .threads = report->limits[report->limit_count - 1].threads,
                               .activations = options->activations,
                               .cache = options->cache};
  tq_status status = TQ_OK;
  for (size_t m = 0; !status && m < report->model_count; m++)
    status = tq_session_create(report->models[m].model, &wanted, &sessions[m], error);
  return status;
}

/* Repetition 0 warms up and is not counted. */
static tq_status run_repetition(bench_report *report, tq_session **sessions, tq_team *team, size_t first,
                                size_t repetition, tq_error *error) {
  bench_limits *limits = &report->limits[report->limit_count - 1];
  tq_status status = TQ_OK;
  let_teams_sleep();
  if (repetition > 0) bench_machine_measure(&report->machine, team, limits);
  for (size_t i = first; !status && i < report->result_count; i++) {
    bench_result *test = &report->results[i];
    double seconds;
    bench_progress(report->models[test->model].name, test->name, limits->threads, repetition);
    status = run_test(sessions[test->model], &report->models[test->model], test, &seconds, error);
    if (!status && repetition > 0) bench_series_add(&test->rate, (double)test->count / seconds);
  }
  return status;
}

tq_status bench_run_models(bench_report *report, tq_error *error) {
  size_t first = report->result_count;
  tq_team *team = NULL;
  tq_session **sessions = tq_allocate(report->model_count, sizeof(tq_session *), error);
  if (!sessions) return TQ_ERROR_SYSTEM;
  tq_status status = add_tests(report, error);
  if (!status) status = create_sessions(report, sessions, error);
  if (!status) status = tq_team_create(report->limits[report->limit_count - 1].threads, &team, error);
  for (size_t i = 0; !status && i <= report->options->repetitions; i++)
    status = run_repetition(report, sessions, team, first, i, error);
  tq_team_destroy(team);
  for (size_t m = 0; m < report->model_count; m++) tq_session_destroy(sessions[m]);
  tq_free(sessions);
  return status;
}
