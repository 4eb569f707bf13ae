/* Products and operations, each alone, as a layer calls them: one after the other over all layers, so that weights come
 * from memory where those of one shape are larger together than the caches. */
#include "base/memory.h"
#include "model/model.h"
#include "tools/bench.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
  MANY = 128,        /* vectors of a product that serves many tokens */
  MANY_MATRICES = 4, /* that such a product is measured on */
  POSITIONS = 1024,  /* that attention looks back on */
  CALLS = 256        /* of a short operation, for one sample */
};

/* Matrices of one shape and encoding, in the order in which a pass meets them. */
typedef struct product {
  char name[48];
  const tq_matrix **matrices;
  size_t count;
  uint32_t layer; /* of the first */
} product;

typedef struct workshop workshop;

/* What gives one result. */
typedef struct job {
  double (*time)(const workshop *of, const struct job *on); /* calls a second */
  const product *product;
  size_t count; /* vectors of a product, or columns of a vector */
} job;

enum { OPERATIONS = 4 };

/* What the products and operations of one model share. */
struct workshop {
  const bench_model *model;
  const tq_kernels *kernels;
  tq_team *team;
  tq_activations activations;
  product *products; /* room for one for each matrix */
  size_t product_count;
  size_t columns, rows; /* the most that a matrix has */
  float *inputs;        /* [MANY][columns] */
  float *outputs;       /* [MANY][rows] */
  tq_codes codes;       /* [MANY] */
  float *scratch;       /* [member][scratch_size] */
  size_t scratch_size;
  tq_cache cache; /* of POSITIONS in all layers */
  job *jobs;      /* room for two for each product, and for the operations */
  size_t job_count;
};

/* ---- the products ---- */

static bool same_kind(const tq_matrix *a, const tq_matrix *b) {
  return a->rows == b->rows && a->columns == b->columns && a->encoding == b->encoding && a->block == b->block &&
         a->granularity == b->granularity && a->group == b->group;
}

static product *find_product(workshop *of, const tq_matrix *matrix) {
  for (size_t i = 0; i < of->product_count; i++)
    if (same_kind(of->products[i].matrices[0], matrix)) return &of->products[i];
  return NULL;
}

/* Puts a matrix to those of its kind, which has the name of its roles in the first layer that has any. */
static tq_status add_matrix(workshop *of, const tq_matrix *matrix, uint32_t layer, const char *role, size_t capacity,
                            tq_error *error) {
  product *to = find_product(of, matrix);
  if (!to) {
    to = &of->products[of->product_count++];
    to->layer = layer;
    to->matrices = tq_allocate(capacity, sizeof(tq_matrix *), error);
    if (!to->matrices) return TQ_ERROR_SYSTEM;
  }
  size_t size = strlen(to->name);
  if (layer == to->layer) snprintf(to->name + size, sizeof to->name - size, "%s%s", size ? "/" : "", role);
  to->matrices[to->count++] = matrix;
  if (of->columns < matrix->columns) of->columns = (size_t)matrix->columns;
  if (of->rows < matrix->rows) of->rows = (size_t)matrix->rows;
  return TQ_OK;
}

static tq_status collect_products(workshop *of, tq_error *error) {
  const tq_model *model = of->model->model;
  uint32_t layers = model->hyperparameters.layers;
  size_t capacity = (size_t)layers * TQ_LINEARS + 1;
  tq_status status = TQ_OK;
  of->products = tq_allocate(capacity, sizeof *of->products, error);
  if (!of->products) return TQ_ERROR_SYSTEM;
  for (uint32_t layer = 0; layer < layers; layer++)
    for (size_t i = 0; !status && i < TQ_LINEARS; i++)
      status = add_matrix(of, &model->layers[layer].linears[i].linear.weights, layer, tq_linear_rows[i].role, capacity,
                          error);
  return status ? status : add_matrix(of, &model->head.linear.weights, layers, "head", capacity, error);
}

/* ---- memory ---- */

static tq_status allocate_codes(workshop *of, tq_error *error) {
  tq_codes *codes = &of->codes;
  codes->block = of->activations == TQ_ACTIVATIONS_INT8_BLOCK ? TQ_SPAN : 0;
  codes->codes = tq_allocate_aligned(64, MANY * tq_code_stride(of->columns), error);
  codes->steps = tq_allocate(MANY * tq_step_count(of->columns, TQ_SPAN), sizeof(float), error);
  codes->sums = tq_allocate(MANY * tq_step_count(of->columns, TQ_SPAN), sizeof(int32_t), error);
  return codes->codes && codes->steps && codes->sums ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* All of it is written, for memory that never was has no place of its own. */
static tq_status fill_cache(workshop *of, tq_cache_type type, tq_error *error) {
  const tq_hyperparameters *sizes = tq_model_hyperparameters(of->model->model);
  size_t heads = (size_t)sizes->layers * sizes->kv_heads;
  tq_status status = tq_cache_create(&of->cache, type, heads, POSITIONS, sizes->head_dimension, error);
  for (size_t head = 0; !status && head < heads; head++)
    for (size_t position = 0; position < POSITIONS; position++)
      tq_cache_store(&of->cache, of->kernels, head, position, of->inputs + position % of->columns,
                     of->inputs + head % of->columns);
  return status;
}

static tq_status allocate(workshop *of, tq_cache_type cache, tq_error *error) {
  size_t scratch = tq_linear_scratch(of->columns);
  of->scratch_size = (scratch > TQ_ATTENTION_SCRATCH ? scratch : TQ_ATTENTION_SCRATCH) / 16 * 16 + 16;
  of->scratch = tq_allocate(tq_team_members(of->team) * of->scratch_size, sizeof(float), error);
  of->inputs = tq_allocate(MANY * of->columns, sizeof(float), error);
  of->outputs = tq_allocate(MANY * of->rows, sizeof(float), error);
  if (!of->scratch || !of->inputs || !of->outputs) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < MANY * of->columns; i++) of->inputs[i] = sinf((float)i);
  tq_status status = allocate_codes(of, error);
  return status ? status : fill_cache(of, cache, error);
}

static void free_workshop(workshop *of) {
  for (size_t i = 0; i < of->product_count; i++) tq_free(of->products[i].matrices);
  void *const memory[] = {of->inputs,     of->outputs, of->codes.codes, of->codes.steps,
                          of->codes.sums, of->scratch, of->products,    of->jobs};
  for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) tq_free(memory[i]);
  tq_cache_free(&of->cache);
}

/* ---- measuring ---- */

typedef struct call {
  const workshop *of;
  const tq_matrix *matrix;
  size_t vectors;
  uint32_t layer;
} call;

static bool meets_integers(const workshop *of, const tq_matrix *matrix) {
  return of->activations != TQ_ACTIVATIONS_FLOAT && tq_matrix_is_ternary(matrix);
}

/* This member's panels of the rows. */
static void multiply(void *context, unsigned member, unsigned members) {
  const call *to = context;
  const workshop *of = to->of;
  const tq_matrix *matrix = to->matrix;
  float *scratch = of->scratch + member * of->scratch_size;
  size_t begin, end;
  tq_team_share((size_t)(matrix->rows + TQ_PANEL_ROWS - 1) / TQ_PANEL_ROWS, member, members, &begin, &end);
  begin *= TQ_PANEL_ROWS;
  end = end * TQ_PANEL_ROWS < matrix->rows ? end * TQ_PANEL_ROWS : (size_t)matrix->rows;
  if (begin >= end) return;
  if (meets_integers(of, matrix))
    of->kernels->linear_rows_integer(matrix, begin, end, &of->codes, to->vectors, of->outputs, scratch);
  else
    of->kernels->linear_rows(matrix, begin, end, of->inputs, to->vectors, of->outputs, scratch);
}

static void quantize(const workshop *of, size_t columns, size_t vector) {
  const tq_codes *to = &of->codes;
  of->kernels->quantize(of->inputs + vector * columns, columns, to->block, to->codes + vector * tq_code_stride(columns),
                        to->steps + vector * tq_step_count(columns, to->block),
                        to->sums + vector * tq_step_count(columns, TQ_SPAN));
}

static double time_product(const workshop *of, const job *on) {
  const product *which = on->product;
  size_t vectors = on->count;
  size_t columns = (size_t)which->matrices[0]->columns;
  size_t count = vectors == 1 || which->count < MANY_MATRICES ? which->count : MANY_MATRICES;
  if (meets_integers(of, which->matrices[0]))
    for (size_t v = 0; v < vectors; v++) quantize(of, columns, v);
  double begin = bench_seconds();
  for (size_t i = 0; i < count; i++) {
    call to = {.of = of, .matrix = which->matrices[i], .vectors = vectors};
    tq_team_run(of->team, multiply, &to);
  }
  return (double)count / (bench_seconds() - begin);
}

/* One token's heads that share keys and values; heads of keys are dealt out to the members. */
static void attend(void *context, unsigned member, unsigned members) {
  const call *to = context;
  const workshop *of = to->of;
  const tq_hyperparameters *sizes = tq_model_hyperparameters(of->model->model);
  size_t size = sizes->head_dimension, shared = sizes->heads / sizes->kv_heads, begin, end;
  float *scratch = of->scratch + member * of->scratch_size, scale = 1.0f / sqrtf((float)size);
  tq_team_share(sizes->kv_heads, member, members, &begin, &end);
  for (size_t head = begin; head < end; head++) {
    tq_cached_head cached = tq_cache_head(&of->cache, to->layer * (size_t)sizes->kv_heads + head);
    for (size_t first = 0; first < shared; first += TQ_ATTENTION_QUERIES) {
      tq_query queries[TQ_ATTENTION_QUERIES];
      size_t count = shared - first < TQ_ATTENTION_QUERIES ? shared - first : TQ_ATTENTION_QUERIES;
      for (size_t i = 0; i < count; i++) {
        size_t place = (head * shared + first + i) * size;
        queries[i] = (tq_query){of->inputs + place, of->outputs + place, POSITIONS};
      }
      of->kernels->attention(&cached, queries, count, size, scale, scratch);
    }
  }
}

static double time_attention(const workshop *of, const job *on) {
  uint32_t layers = tq_model_hyperparameters(of->model->model)->layers;
  (void)on;
  double begin = bench_seconds();
  for (uint32_t layer = 0; layer < layers; layer++) {
    call to = {.of = of, .layer = layer};
    tq_team_run(of->team, attend, &to);
  }
  return layers / (bench_seconds() - begin);
}

static double time_quantize(const workshop *of, const job *on) {
  double begin = bench_seconds();
  for (size_t i = 0; i < CALLS; i++) quantize(of, on->count, i % MANY);
  return CALLS / (bench_seconds() - begin);
}

static double time_norm(const workshop *of, const job *on) {
  double begin = bench_seconds();
  for (size_t i = 0; i < CALLS; i++)
    of->kernels->rms_norm(of->inputs + i % MANY * on->count, of->inputs, on->count, 1e-5f, of->outputs);
  return CALLS / (bench_seconds() - begin);
}

/* ---- what is measured ---- */

static tq_status add_job(bench_report *report, workshop *of, const job *added, const bench_result *result,
                         tq_error *error) {
  of->jobs[of->job_count++] = *added;
  return bench_result_add(report, result, error);
}

static tq_status add_product(bench_report *report, workshop *of, const product *which, size_t vectors,
                             tq_error *error) {
  const tq_matrix *matrix = which->matrices[0];
  bench_result result = {.model = (size_t)(of->model - report->models), .kind = "product", .count = vectors};
  result.bytes = (double)bench_matrix_bytes(matrix);
  result.operations = 2.0 * (double)matrix->rows * (double)matrix->columns * (double)vectors;
  snprintf(result.name, sizeof result.name, "%.30s %ux%u, %zu", which->name, (unsigned)matrix->rows,
           (unsigned)matrix->columns, vectors);
  return add_job(report, of, &(job){time_product, which, vectors}, &result, error);
}

static tq_status add_operation(bench_report *report, workshop *of, const char *name, size_t count, double bytes,
                               double (*time)(const workshop *, const job *), tq_error *error) {
  bench_result result = {
      .model = (size_t)(of->model - report->models), .kind = "operation", .count = count, .bytes = bytes};
  snprintf(result.name, sizeof result.name, "%s, %zu", name, count);
  return add_job(report, of, &(job){time, NULL, count}, &result, error);
}

static tq_status add_operations(bench_report *report, workshop *of, tq_error *error) {
  const tq_hyperparameters *sizes = tq_model_hyperparameters(of->model->model);
  size_t element = of->cache.type == TQ_CACHE_Q8 ? 1 : 2;
  double cached = 2.0 * (double)(element * POSITIONS * sizes->kv_heads) * sizes->head_dimension;
  tq_status status = TQ_OK;
  if (of->activations != TQ_ACTIVATIONS_FLOAT) {
    status = add_operation(report, of, "quantize", sizes->dimension, 0, time_quantize, error);
    if (!status) status = add_operation(report, of, "quantize", sizes->feed_forward, 0, time_quantize, error);
  }
  if (!status) status = add_operation(report, of, "norm", sizes->dimension, 0, time_norm, error);
  return status ? status : add_operation(report, of, "attention", POSITIONS, cached, time_attention, error);
}

static tq_status add_jobs(bench_report *report, workshop *of, tq_error *error) {
  tq_status status = TQ_OK;
  of->jobs = tq_allocate(2 * of->product_count + OPERATIONS, sizeof *of->jobs, error);
  if (!of->jobs) return TQ_ERROR_SYSTEM;
  for (size_t vectors = 1; vectors <= MANY; vectors += MANY - 1)
    for (size_t i = 0; !status && i < of->product_count; i++)
      status = add_product(report, of, &of->products[i], vectors, error);
  return status ? status : add_operations(report, of, error);
}

static tq_status open_workshop(bench_report *report, size_t model, tq_team *team, workshop *of, tq_error *error) {
  const bench_options *options = report->options;
  of->model = &report->models[model];
  of->kernels = report->machine.kernels;
  of->team = team;
  of->activations = bench_activations(of->model, options);
  tq_status status = collect_products(of, error);
  if (!status && of->activations != TQ_ACTIVATIONS_FLOAT && of->columns > TQ_INTEGER_COLUMNS_LIMIT)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: rows of %zu weights are too long for activations of 8 bits",
                     of->model->name, of->columns);
  if (!status) status = allocate(of, options->cache, error);
  return status ? status : add_jobs(report, of, error);
}

/* Repetition 0 warms up and is not counted. */
static void run_repetition(bench_report *report, const workshop *shops, tq_team *team, size_t first,
                           size_t repetition) {
  bench_limits *limits = &report->limits[report->limit_count - 1];
  bench_result *result = &report->results[first];
  if (repetition > 0) bench_machine_measure(&report->machine, team, limits);
  for (size_t m = 0; m < report->model_count; m++)
    for (size_t i = 0; i < shops[m].job_count; i++, result++) {
      bench_progress(report->models[m].name, result->name, limits->threads, repetition);
      double rate = shops[m].jobs[i].time(&shops[m], &shops[m].jobs[i]);
      if (repetition > 0) bench_series_add(&result->rate, rate);
    }
}

tq_status bench_run_kernels(bench_report *report, tq_error *error) {
  size_t first = report->result_count;
  tq_team *team = NULL;
  workshop *shops = tq_allocate(report->model_count, sizeof *shops, error);
  if (!shops) return TQ_ERROR_SYSTEM;
  tq_status status = tq_team_create(report->limits[report->limit_count - 1].threads, &team, error);
  for (size_t m = 0; !status && m < report->model_count; m++) status = open_workshop(report, m, team, &shops[m], error);
  for (size_t i = 0; !status && i <= report->options->repetitions; i++) run_repetition(report, shops, team, first, i);
  for (size_t m = 0; m < report->model_count; m++) free_workshop(&shops[m]);
  tq_team_destroy(team);
  tq_free(shops);
  return status;
}
