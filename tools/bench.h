/* What the files of tq-bench share. */
#ifndef TQ_TOOLS_BENCH_H
#define TQ_TOOLS_BENCH_H

#include "base/team.h"
#include "kernels/kernels.h"
#include "tools/bench_synthetic.h"
#include "tq/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what is asked for ---- */

enum { BENCH_LIST_LIMIT = 32 };

typedef struct bench_list {
  uint32_t values[BENCH_LIST_LIMIT];
  size_t count;
} bench_list;

typedef struct bench_options {
  bench_list prefill, generate, threads;
  size_t repetitions;
  tq_activations activations;
  tq_cache_type cache;
} bench_options;

/* ---- what is measured ---- */

/* One figure per repetition. */
typedef struct bench_series {
  double *samples;
  size_t count;
} bench_series;

tq_status bench_series_create(size_t capacity, bench_series *series, tq_error *error);
void bench_series_add(bench_series *series, double sample);
double bench_mean(const bench_series *series);
double bench_deviation(const bench_series *series); /* of the samples, 0 where there is one only */
double bench_median(const bench_series *series);

double bench_seconds(void);

/* What the machine can do at most with a number of threads. */
typedef struct bench_limits {
  uint32_t threads;
  bench_series read;     /* GB/s */
  bench_series multiply; /* int8 GOPS, a product and its sum being two */
} bench_limits;

typedef struct bench_machine {
  char processor[128];
  long processors;
  const tq_kernels *kernels;
  uint8_t *memory; /* larger than any cache */
  size_t rounds;   /* of products that take a while */
} bench_machine;

tq_status bench_machine_create(bench_machine *machine, tq_error *error);
void bench_machine_destroy(bench_machine *machine);
/* Adds a sample to both series; leaves nothing of a model in the caches. */
void bench_machine_measure(const bench_machine *machine, tq_team *team, bench_limits *limits);

enum { BENCH_NAME_SIZE = 64 };

typedef struct bench_model {
  char name[BENCH_NAME_SIZE]; /* harmless to a terminal */
  const char *path;           /* NULL: a synthetic model that was not saved */
  tq_file *file;
  tq_model *model;
  uint64_t size, parameters;
  double bits_per_weight;                            /* of the layers' matrices */
  uint64_t layers_bytes, head_bytes, embedded_bytes; /* read for a pass, for logits, and for a token */
  uint64_t layers_products, head_products;           /* for a token, and for logits */
} bench_model;

/* Takes over the file, also when it fails. */
tq_status bench_model_open(const char *name, const char *path, tq_file *file, bench_model *model, tq_error *error);
void bench_model_close(bench_model *model);
/* What its weights meet. */
tq_activations bench_activations(const bench_model *model, const bench_options *options);
/* Bytes that a product with all rows reads: codes and scales. */
uint64_t bench_matrix_bytes(const tq_matrix *matrix);

/* A unit is a token, or a call of a kernel. */
typedef struct bench_result {
  size_t model, limits;     /* their indices */
  char name[64];            /* "pp128", "q/o 2560x2560 x 128" */
  const char *kind;         /* "prefill", "generate", "product" or "operation" */
  uint64_t count;           /* tokens, or vectors of a product */
  double bytes, operations; /* of a unit */
  bench_series rate;        /* units a second */
} bench_result;

typedef struct bench_report {
  const bench_options *options;
  bench_machine machine;
  bench_model *models;
  size_t model_count;
  bench_limits limits[BENCH_LIST_LIMIT]; /* one for each number of threads */
  size_t limit_count;
  bench_result *results;
  size_t result_count, result_capacity;
} bench_report;

/* Adds a result without samples. */
tq_status bench_result_add(bench_report *report, const bench_result *result, tq_error *error);

/* Runs the models' tests with the threads of the last limits, each repetition going once over everything. */
tq_status bench_run_models(bench_report *report, tq_error *error);
/* The same for the products and operations of the models' layers, each alone. */
tq_status bench_run_kernels(bench_report *report, tq_error *error);

/* A line on the terminal that says what is being measured, or nothing. */
void bench_progress(const char *model, const char *what, uint32_t threads, size_t repetition);
void bench_progress_end(void);

typedef enum bench_form { BENCH_TABLE, BENCH_MARKDOWN, BENCH_JSON } bench_form;
tq_status bench_print(const bench_report *report, bench_form form, tq_error *error);

#endif
