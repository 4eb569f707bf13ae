/* Results as a table, as Markdown, or as JSON. */
#include "base/text.h"
#include "formats/json.h"
#include "tools/bench.h"
#include "tools/inspect_table.h"
#include "tools/tool.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void bench_progress(const char *model, const char *what, uint32_t threads, size_t repetition) {
  if (!isatty(STDERR_FILENO)) return;
  fprintf(stderr, "\r\033[K%s, %u thread%s, %s: ", model, threads, threads == 1 ? "" : "s", what);
  fprintf(stderr, repetition ? "repetition %zu" : "warming up", repetition);
}

void bench_progress_end(void) {
  if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

/* ---- figures ---- */

static double gigabytes(const bench_result *result) { return 1e-9 * result->bytes * bench_mean(&result->rate); }

static double gigaoperations(const bench_result *result) {
  return 1e-9 * result->operations * bench_mean(&result->rate);
}

static double share_of_reading(const bench_report *report, const bench_result *result) {
  return gigabytes(result) / bench_mean(&report->limits[result->limits].read);
}

static double share_of_multiplying(const bench_report *report, const bench_result *result) {
  return gigaoperations(result) / bench_mean(&report->limits[result->limits].multiply);
}

static bool is_call(const bench_result *result) {
  return strcmp(result->kind, "product") == 0 || strcmp(result->kind, "operation") == 0;
}

static const char *cache_name(const bench_report *report) {
  return report->options->cache == TQ_CACHE_Q8 ? "q8" : "f16";
}

/* ---- tables ---- */

enum { CELL = 80, COLUMNS = 8, WIDTH = 200 };

typedef struct line {
  char cells[COLUMNS][CELL];
} line;

static const table_column columns[COLUMNS] = {{"model", false, 0},   {"threads", true, 0}, {"test", false, 0},
                                              {"tokens/s", true, 0}, {"GB/s", true, 0},    {"of reading", true, 0},
                                              {"GOPS", true, 0},     {"of int8", true, 0}};

static const char *head_of(const bench_report *report, size_t column) {
  bool calls = report->result_count && is_call(&report->results[0]);
  return column == 3 && calls ? "us" : columns[column].head;
}

/* Calls are told by how long one takes; its deviation is as large a part of it as that of the rate is of the rate. */
static void describe_rate(const bench_result *result, char *cell) {
  double mean = bench_mean(&result->rate), deviation = bench_deviation(&result->rate);
  if (is_call(result))
    snprintf(cell, CELL, "%.2f ± %.2f", 1e6 / mean, 1e6 / mean * deviation / mean);
  else
    snprintf(cell, CELL, "%.2f ± %.2f", mean, deviation);
}

static void describe(const bench_report *report, const bench_result *result, line *to) {
  *to = (line){0};
  snprintf(to->cells[0], CELL, "%s", report->models[result->model].name);
  snprintf(to->cells[1], CELL, "%u", report->limits[result->limits].threads);
  snprintf(to->cells[2], CELL, "%s", result->name);
  describe_rate(result, to->cells[3]);
  if (result->bytes > 0) {
    snprintf(to->cells[4], CELL, "%.1f", gigabytes(result));
    snprintf(to->cells[5], CELL, "%.0f %%", 100 * share_of_reading(report, result));
  }
  if (result->operations > 0) {
    snprintf(to->cells[6], CELL, "%.1f", gigaoperations(result));
    snprintf(to->cells[7], CELL, "%.0f %%", 100 * share_of_multiplying(report, result));
  }
}

static tq_status print_aligned(const bench_report *report, tq_error *error) {
  table t = {.dim = "", .reset = "", .error = error};
  for (size_t c = 0; c < COLUMNS; c++) table_add_column(&t, head_of(report, c), columns[c].right, 0);
  for (size_t i = 0; i < report->result_count; i++) {
    line of;
    describe(report, &report->results[i], &of);
    table_add_row(&t, "", 0);
    for (size_t c = 0; c < COLUMNS; c++) table_add_cell(&t, "%s", of.cells[c]);
  }
  return table_print(&t, WIDTH);
}

static void print_markdown_table(const bench_report *report) {
  for (size_t c = 0; c < COLUMNS; c++) printf("| %s ", head_of(report, c));
  fputs("|\n", stdout);
  for (size_t c = 0; c < COLUMNS; c++) fputs(columns[c].right ? "|---:" : "|---", stdout);
  fputs("|\n", stdout);
  for (size_t i = 0; i < report->result_count; i++) {
    line of;
    describe(report, &report->results[i], &of);
    for (size_t c = 0; c < COLUMNS; c++) printf("| %s ", of.cells[c]);
    fputs("|\n", stdout);
  }
}

/* ---- what stands above a table ---- */

static void print_setting(const bench_report *report, const char *mark) {
  const bench_machine *machine = &report->machine;
  printf("%s%s, %ld processor%s, kernels %s\n", mark, machine->processor, machine->processors,
         machine->processors == 1 ? "" : "s", machine->kernels->name);
  for (size_t i = 0; i < report->limit_count; i++) {
    const bench_limits *limits = &report->limits[i];
    printf("%s%u thread%s: reads %.1f ± %.1f GB/s, multiplies %.0f ± %.0f GOPS of int8\n", mark, limits->threads,
           limits->threads == 1 ? "" : "s", bench_mean(&limits->read), bench_deviation(&limits->read),
           bench_mean(&limits->multiply), bench_deviation(&limits->multiply));
  }
  for (size_t i = 0; i < report->model_count; i++) {
    const bench_model *model = &report->models[i];
    char size[32];
    printf("%s%s: %s, %.2f billion parameters, %.3f bits per weight in the layers, activations %s, cache %s\n", mark,
           model->name, tool_bytes(model->size, size), 1e-9 * (double)model->parameters, model->bits_per_weight,
           tq_activations_name(bench_activations(model, report->options)), cache_name(report));
  }
  putchar('\n');
}

/* ---- JSON ---- */

static json_t *series_json(const bench_series *series) {
  json_t *samples = json_array();
  for (size_t i = 0; i < series->count; i++) json_array_append_new(samples, json_real(series->samples[i]));
  return json_pack("{s:f, s:f, s:f, s:o}", "mean", bench_mean(series), "deviation", bench_deviation(series), "median",
                   bench_median(series), "samples", samples);
}

static json_t *machine_json(const bench_report *report) {
  const bench_machine *machine = &report->machine;
  json_t *limits = json_array();
  for (size_t i = 0; i < report->limit_count; i++) {
    const bench_limits *of = &report->limits[i];
    json_array_append_new(limits, json_pack("{s:i, s:o, s:o}", "threads", (int)of->threads, "read_gigabytes_per_second",
                                            series_json(&of->read), "int8_gigaoperations_per_second",
                                            series_json(&of->multiply)));
  }
  return json_pack("{s:s, s:i, s:s, s:o}", "processor", machine->processor, "processors", (int)machine->processors,
                   "kernels", machine->kernels->name, "limits", limits);
}

static json_t *model_json(const bench_report *report, const bench_model *model) {
  char path[4096];
  return json_pack("{s:s, s:s?, s:I, s:I, s:f, s:s, s:s}", "name", model->name, "path",
                   model->path ? tq_printable(model->path, strlen(model->path), path, sizeof path) : NULL, "size",
                   (json_int_t)model->size, "parameters", (json_int_t)model->parameters, "bits_per_weight",
                   model->bits_per_weight, "activations",
                   tq_activations_name(bench_activations(model, report->options)), "cache", cache_name(report));
}

static json_t *result_json(const bench_report *report, const bench_result *result) {
  const char *unit = is_call(result) ? "calls_per_second" : "tokens_per_second";
  json_t *json = json_pack("{s:i, s:i, s:s, s:s, s:I, s:o}", "model", (int)result->model, "threads",
                           (int)report->limits[result->limits].threads, "test", result->name, "kind", result->kind,
                           "count", (json_int_t)result->count, unit, series_json(&result->rate));
  if (result->bytes > 0)
    json_object_update_new(json, json_pack("{s:f, s:f, s:f}", is_call(result) ? "bytes_per_call" : "bytes_per_token",
                                           result->bytes, "gigabytes_per_second", gigabytes(result), "share_of_reading",
                                           share_of_reading(report, result)));
  if (result->operations > 0)
    json_object_update_new(json, json_pack("{s:f, s:f, s:f}",
                                           is_call(result) ? "operations_per_call" : "operations_per_token",
                                           result->operations, "gigaoperations_per_second", gigaoperations(result),
                                           "share_of_int8", share_of_multiplying(report, result)));
  return json;
}

static tq_status print_json(const bench_report *report, tq_error *error) {
  json_t *models = json_array(), *tests = json_array();
  for (size_t i = 0; i < report->model_count; i++)
    json_array_append_new(models, model_json(report, &report->models[i]));
  for (size_t i = 0; i < report->result_count; i++)
    json_array_append_new(tests, result_json(report, &report->results[i]));
  json_t *root = json_pack("{s:s, s:o, s:o, s:o}", "version", TQ_VERSION, "machine", machine_json(report), "models",
                           models, "tests", tests);
  if (!root) return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
  json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
  putchar('\n');
  json_decref(root);
  return TQ_OK;
}

tq_status bench_print(const bench_report *report, bench_form form, tq_error *error) {
  if (form == BENCH_JSON) return print_json(report, error);
  print_setting(report, form == BENCH_MARKDOWN ? "- " : "");
  if (form == BENCH_TABLE) return print_aligned(report, error);
  print_markdown_table(report);
  return TQ_OK;
}
