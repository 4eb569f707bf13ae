/* tq-bench: measures how fast models run. */
#include "base/memory.h"
#include "tools/bench.h"
#include "tools/load.h"
#include "tools/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "Usage: tq-bench (MODEL... | --synthetic SHAPE,...) [OPTION]...\n"
    "Measures how fast the models in .tq files run: tokens a second of prefill and generation,\n"
    "and what that is of the bandwidth and the int8 rate that the machine shows meanwhile.\n"
    "\n"
    "  -p, --prefill N,...   reads N tokens at once (128)\n"
    "  -n, --generate N,...  generates N tokens one by one (32); with only one of -p and -n\n"
    "                        given, the other is left out\n"
    "  -t, --threads N,...   numbers of threads (one per processor)\n"
    "  -r, --repetitions N   of everything, after a warm-up (5)\n"
    "      --activations A   float, int8-token or int8-block (the model's)\n"
    "      --kv TYPE         keys and values as f16 or q8 (f16)\n"
    "      --kernels         measures each product and operation alone instead\n"
    "      --synthetic S,... makes models with random weights: 125m, 700m, 2b4t,\n"
    "                        falcon3-7b, 8b\n"
    "      --code C,...      their codes: 2bit, base3 (2bit)\n"
    "      --scale S,...     their scales: tensor, row, g32 to g256 (tensor)\n"
    "      --save FILE       keeps the synthetic model\n"
    "      --json, --markdown\n"
    "      --help, --version\n"
    "Exit status: 0 done; 1 system error; 2 usage; 3 corrupt or not understood.\n";

enum { DEFAULT_PREFILL = 128, DEFAULT_GENERATE = 32, DEFAULT_REPETITIONS = 5, MOST_REPETITIONS = 10000 };

/* A synthetic model that is asked for. */
typedef struct synthesis {
  const bench_shape *shape;
  bench_code code;
  char name[BENCH_NAME_SIZE];
} synthesis;

typedef struct arguments {
  bench_options options;
  char *const *models;
  size_t model_count;
  char *shapes, *codes, *scales; /* lists */
  const char *save;
  bool kernels;
  bench_form form;
  synthesis syntheses[BENCH_LIST_LIMIT];
  size_t synthesis_count;
} arguments;

/* ---- arguments ---- */

enum {
  OPTION_ACTIVATIONS = 256,
  OPTION_KV,
  OPTION_KERNELS,
  OPTION_SYNTHETIC,
  OPTION_CODE,
  OPTION_SCALE,
  OPTION_SAVE,
  OPTION_JSON,
  OPTION_MARKDOWN,
  OPTION_HELP,
  OPTION_VERSION
};

static const struct option options[] = {{"prefill", required_argument, NULL, 'p'},
                                        {"generate", required_argument, NULL, 'n'},
                                        {"threads", required_argument, NULL, 't'},
                                        {"repetitions", required_argument, NULL, 'r'},
                                        {"activations", required_argument, NULL, OPTION_ACTIVATIONS},
                                        {"kv", required_argument, NULL, OPTION_KV},
                                        {"kernels", no_argument, NULL, OPTION_KERNELS},
                                        {"synthetic", required_argument, NULL, OPTION_SYNTHETIC},
                                        {"code", required_argument, NULL, OPTION_CODE},
                                        {"scale", required_argument, NULL, OPTION_SCALE},
                                        {"save", required_argument, NULL, OPTION_SAVE},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"markdown", no_argument, NULL, OPTION_MARKDOWN},
                                        {"help", no_argument, NULL, OPTION_HELP},
                                        {"version", no_argument, NULL, OPTION_VERSION},
                                        {0}};

/* The next word of a list with commas between words: ended by a NUL in place. NULL behind the last. */
static char *next_word(char **rest) {
  char *word = *rest, *comma = word ? strchr(word, ',') : NULL;
  *rest = comma ? comma + 1 : NULL;
  if (comma) *comma = '\0';
  return word;
}

/* Returns -1 to go on, or the exit status. */
static int parse_numbers(const char *option, const char *text, uint64_t most, bench_list *list) {
  tq_error error;
  char *words = tq_copy_string(text, strlen(text), &error), *rest = words, *word;
  if (!words) return tool_fail(&error);
  bool fits = true;
  list->count = 0;
  while (fits && (word = next_word(&rest))) {
    uint64_t value = 0;
    fits = list->count < BENCH_LIST_LIMIT && tool_parse_u64(word, 1, most, &value);
    if (fits) list->values[list->count++] = (uint32_t)value;
  }
  tq_free(words);
  if (fits) return -1;
  return tool_usage("%s takes whole numbers from 1 to %llu with commas between them, at most %d, not '%s'", option,
                    (unsigned long long)most, BENCH_LIST_LIMIT, text);
}

static int parse_repetitions(size_t *repetitions) {
  uint64_t value;
  if (!tool_parse_u64(optarg, 1, MOST_REPETITIONS, &value))
    return tool_usage("-r takes a whole number from 1 to %d, not '%s'", MOST_REPETITIONS, optarg);
  *repetitions = (size_t)value;
  return -1;
}

/* Returns -1 to go on, or the exit status. */
static int parse_option(int option, arguments *given) {
  switch (option) {
  case 'p':
    return parse_numbers("-p", optarg, INT32_MAX, &given->options.prefill);
  case 'n':
    return parse_numbers("-n", optarg, INT32_MAX, &given->options.generate);
  case 't':
    return parse_numbers("-t", optarg, tool_most_threads(), &given->options.threads);
  case 'r':
    return parse_repetitions(&given->options.repetitions);
  case OPTION_ACTIVATIONS:
    if (tq_activations_by_name(optarg, &given->options.activations)) return -1;
    return tool_usage("--activations takes float, int8-token or int8-block, not '%s'", optarg);
  case OPTION_KV:
    if (tq_cache_type_by_name(optarg, &given->options.cache)) return -1;
    return tool_usage("--kv takes f16 or q8, not '%s'", optarg);
  case OPTION_KERNELS:
    return given->kernels = true, -1;
  case OPTION_SYNTHETIC:
    return given->shapes = optarg, -1;
  case OPTION_CODE:
    return given->codes = optarg, -1;
  case OPTION_SCALE:
    return given->scales = optarg, -1;
  case OPTION_SAVE:
    return given->save = optarg, -1;
  case OPTION_JSON:
    return given->form = BENCH_JSON, -1;
  case OPTION_MARKDOWN:
    return given->form = BENCH_MARKDOWN, -1;
  case OPTION_HELP:
    return fputs(usage, stdout), TQ_OK;
  case OPTION_VERSION:
    return tool_version();
  default:
    return tool_usage("see the options");
  }
}

/* ---- synthetic models ---- */

static int add_synthesis(arguments *given, const bench_shape *shape, const char *code, const char *scale) {
  if (given->synthesis_count == BENCH_LIST_LIMIT) return tool_usage("more than %d synthetic models", BENCH_LIST_LIMIT);
  synthesis *to = &given->syntheses[given->synthesis_count++];
  to->shape = shape;
  if (!bench_code_by_name(code, &to->code)) return tool_usage("--code takes 2bit or base3, not '%s'", code);
  if (!bench_scale_by_name(scale, &to->code))
    return tool_usage("--scale takes tensor, row or g and a multiple of 32 from 32 to 256, not '%s'", scale);
  snprintf(to->name, sizeof to->name, "%s %s %s", shape->name, code, scale);
  return -1;
}

/* Splits a list. Returns -1 to go on, or the exit status. */
static int split(const char *option, char *list, const char *words[BENCH_LIST_LIMIT], size_t *count) {
  for (*count = 0; list && *count < BENCH_LIST_LIMIT; ++*count) words[*count] = next_word(&list);
  return list ? tool_usage("%s takes at most %d words", option, BENCH_LIST_LIMIT) : -1;
}

/* Every shape in every code with every scale. */
static int plan_syntheses(arguments *given) {
  static char default_code[] = "2bit", default_scale[] = "tensor";
  const char *shapes[BENCH_LIST_LIMIT], *codes[BENCH_LIST_LIMIT], *scales[BENCH_LIST_LIMIT];
  size_t shape_count, code_count, scale_count;
  int status = split("--synthetic", given->shapes, shapes, &shape_count);
  if (status < 0) status = split("--code", given->codes ? given->codes : default_code, codes, &code_count);
  if (status < 0) status = split("--scale", given->scales ? given->scales : default_scale, scales, &scale_count);
  if (status >= 0) return status;
  for (size_t i = 0; i < shape_count; i++) {
    const bench_shape *shape = bench_shape_find(shapes[i]);
    if (!shape) return tool_usage("--synthetic takes 125m, 700m, 2b4t, falcon3-7b or 8b, not '%s'", shapes[i]);
    for (size_t k = 0; k < code_count * scale_count && status < 0; k++)
      status = add_synthesis(given, shape, codes[k / scale_count], scales[k % scale_count]);
  }
  return status;
}

static int check_arguments(arguments *given) {
  if (!given->shapes && given->model_count == 0) return tool_usage("no model given");
  if (!given->shapes && (given->codes || given->scales || given->save))
    return tool_usage("--code, --scale and --save belong to --synthetic");
  int status = given->shapes ? plan_syntheses(given) : -1;
  if (status >= 0) return status;
  if (given->save && given->synthesis_count != 1) return tool_usage("--save keeps one model, not several");
  return -1;
}

static void set_defaults(bench_options *to) {
  if (!to->prefill.count && !to->generate.count) {
    to->prefill = (bench_list){{DEFAULT_PREFILL}, 1};
    to->generate = (bench_list){{DEFAULT_GENERATE}, 1};
  }
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  if (!to->threads.count) to->threads = (bench_list){{processors > 0 ? (uint32_t)processors : 1}, 1};
  if (!to->repetitions) to->repetitions = DEFAULT_REPETITIONS;
}

static int parse_arguments(int count, char **values, arguments *given) {
  for (int option; (option = getopt_long(count, values, "p:n:t:r:", options, NULL)) != -1;) {
    int status = parse_option(option, given);
    if (status >= 0) return status;
  }
  given->models = values + optind;
  given->model_count = (size_t)(count - optind);
  set_defaults(&given->options);
  return check_arguments(given);
}

/* ---- the models ---- */

static const char *last_component(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash && slash[1] ? slash + 1 : path;
}

/* Keys and values that this machine has no memory for would only be found out while they are written. */
static tq_status check_context(const bench_model *model, const bench_options *wanted, const bench_list *lengths,
                               const char *option, tq_error *error) {
  const tq_hyperparameters *sizes = tq_model_hyperparameters(model->model);
  double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
  double position = 2.0 * sizes->layers * sizes->kv_heads * sizes->head_dimension;
  if (wanted->cache == TQ_CACHE_F16) position *= 2;
  for (size_t i = 0; i < lengths->count; i++) {
    if (position * lengths->values[i] < memory) continue;
    char text[32];
    return tq_fail(error, TQ_ERROR_USAGE, "%s %u: keys and values of so many tokens take more than %s, all memory",
                   option, lengths->values[i], tool_bytes((uint64_t)memory, text));
  }
  return TQ_OK;
}

static tq_status add_model(bench_report *report, const char *name, const char *path, tq_file *file, tq_error *error) {
  bench_model *model = &report->models[report->model_count];
  tq_status status = bench_model_open(name, path, file, model, error);
  if (status) return status;
  report->model_count++;
  status = check_context(model, report->options, &report->options->prefill, "-p", error);
  return status ? status : check_context(model, report->options, &report->options->generate, "-n", error);
}

static tq_status open_models(const arguments *given, bench_report *report, tq_error *error) {
  tq_status status = TQ_OK;
  tq_file *file;
  report->models = tq_allocate(given->model_count + given->synthesis_count, sizeof *report->models, error);
  if (!report->models) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; !status && i < given->model_count; i++) {
    const char *path = given->models[i];
    status = tool_open_container(path, &file, error);
    if (!status) status = add_model(report, last_component(path), path, file, error);
  }
  for (size_t i = 0; !status && i < given->synthesis_count; i++) {
    const synthesis *of = &given->syntheses[i];
    status = bench_synthetic_open(of->shape, &of->code, given->save, &file, error);
    if (!status) status = add_model(report, of->name, given->save, file, error);
  }
  return status;
}

/* ---- measuring ---- */

tq_status bench_result_add(bench_report *report, const bench_result *result, tq_error *error) {
  void *results = report->results;
  tq_status status =
      tq_grow(&results, &report->result_capacity, report->result_count + 1, sizeof *report->results, error);
  report->results = results;
  if (status) return status;
  bench_result *added = &report->results[report->result_count];
  *added = *result;
  added->limits = report->limit_count - 1;
  status = bench_series_create(report->options->repetitions, &added->rate, error);
  if (!status) report->result_count++;
  return status;
}

static tq_status run_with_threads(const arguments *given, bench_report *report, uint32_t threads, tq_error *error) {
  bench_limits *limits = &report->limits[report->limit_count++];
  limits->threads = threads;
  tq_status status = bench_series_create(given->options.repetitions, &limits->read, error);
  if (!status) status = bench_series_create(given->options.repetitions, &limits->multiply, error);
  if (status) return status;
  return given->kernels ? bench_run_kernels(report, error) : bench_run_models(report, error);
}

static tq_status run(const arguments *given, bench_report *report, tq_error *error) {
  const bench_list *threads = &given->options.threads;
  tq_status status = open_models(given, report, error);
  if (!status) status = bench_machine_create(&report->machine, error);
  for (size_t i = 0; !status && i < threads->count; i++)
    status = run_with_threads(given, report, threads->values[i], error);
  bench_progress_end();
  return status ? status : bench_print(report, given->form, error);
}

static void free_report(bench_report *report) {
  for (size_t i = 0; i < report->model_count; i++) bench_model_close(&report->models[i]);
  for (size_t i = 0; i < report->result_count; i++) tq_free(report->results[i].rate.samples);
  for (size_t i = 0; i < report->limit_count; i++) {
    tq_free(report->limits[i].read.samples);
    tq_free(report->limits[i].multiply.samples);
  }
  tq_free(report->models);
  tq_free(report->results);
  bench_machine_destroy(&report->machine);
}

int main(int count, char **values) {
  arguments given = {0};
  tq_error error;
  tool_start("tq-bench");
  int done = parse_arguments(count, values, &given);
  if (done >= 0) return tool_finish(done);
  bench_report report = {.options = &given.options};
  tq_status status = run(&given, &report, &error);
  free_report(&report);
  return status ? tool_fail(&error) : tool_finish(TQ_OK);
}
