/* tq-bench: what it reports hangs together; how fast anything is, is not asked. */
#include "tests/random_model.h"
#include "tests/support.h"

#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const random_encoding base3_rows = {
    .name = "base-3", .encoding = TQ_TERNARY_BASE3, .scale_encoding = TQ_F32, .granularity = TQ_PER_ROW};
static const random_encoding two_bit_groups = {
    .name = "2-bit", .encoding = TQ_TERNARY_2BIT, .scale_encoding = TQ_F16, .granularity = TQ_PER_GROUP, .group = 32};

/* A model whose layers read `layers_bytes` and multiply `layers_products` times for a token. */
static const char *small_model(const char *name, const random_encoding *encoding) {
  const char *path = temporary_path(name);
  const random_spec spec = {.architecture = "bitnet-b1.58",
                            .layers = 2,
                            .dimension = 96,
                            .feed_forward = 160,
                            .heads = 6,
                            .kv_heads = 3,
                            .head_dimension = 16,
                            .vocabulary = 70,
                            .context = 32,
                            .tied = true,
                            .encoding = *encoding,
                            .seed = 5};
  random_model_free(random_model_write(&spec, path));
  return path;
}

/* Bytes of the matrices of all layers, codes and scales, and of the embedding; and their weights. */
typedef struct reading {
  double layers_bytes, embedding_bytes, embedding_row, layers_weights, embedding_weights;
} reading;

static reading measure(const char *path) {
  tq_file *file;
  reading sums = {0};
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    double bytes = 0;
    for (size_t k = 0; k < tensor->part_count; k++) bytes += (double)tensor->parts[k].size;
    if (tensor->dimensions != 2) continue;
    if (strcmp(tensor->role, "embedding") == 0) {
      sums.embedding_bytes = bytes;
      sums.embedding_row = bytes / (double)tensor->rows;
      sums.embedding_weights = (double)tensor->elements;
    } else {
      sums.layers_bytes += bytes;
      sums.layers_weights += (double)tensor->elements;
    }
  }
  tq_file_close(file);
  return sums;
}

/* The output, freed by the caller; there are no messages. */
static char *bench(const char *const *arguments) {
  char *output, *errors;
  int status = run_tool(arguments, NULL, &output, &errors);
  ck_assert_msg(status == 0, "status %d: %s", status, errors);
  ck_assert_str_eq(errors, "");
  free(errors);
  return output;
}

static json_t *bench_json(const char *const *arguments) {
  json_error_t problem;
  char *output = bench(arguments);
  json_t *json = json_loads(output, JSON_REJECT_DUPLICATES, &problem);
  ck_assert_msg(json != NULL, "%s in %s", problem.text, output);
  free(output);
  return json;
}

static const json_t *member(const json_t *json, const char *key) {
  const json_t *value = json_object_get(json, key);
  ck_assert_msg(value != NULL, "%s is missing", key);
  return value;
}

static double number(const json_t *json, const char *key) {
  const json_t *value = member(json, key);
  ck_assert_msg(json_is_number(value), "%s", key);
  return json_number_value(value);
}

static const char *text(const json_t *json, const char *key) {
  const char *value = json_string_value(member(json, key));
  ck_assert_msg(value != NULL, "%s", key);
  return value;
}

static void ck_close(double found, double expected, const char *what) {
  ck_assert_msg(fabs(found - expected) <= 1e-6 * fabs(expected), "%s: %.12g instead of %.12g", what, found, expected);
}

/* Mean, deviation and median are those of the samples; returns the mean. */
static double check_series(const json_t *series, size_t count) {
  const json_t *samples = member(series, "samples");
  double sum = 0, squares = 0, mean = number(series, "mean"), median = number(series, "median");
  size_t below = 0, above = 0;
  ck_assert_uint_eq(json_array_size(samples), count);
  for (size_t i = 0; i < count; i++) {
    double sample = json_number_value(json_array_get(samples, i));
    ck_assert_double_gt(sample, 0);
    sum += sample;
    squares += (sample - mean) * (sample - mean);
    below += sample < median;
    above += sample > median;
  }
  ck_close(mean, sum / (double)count, "mean");
  ck_assert_double_eq_tol(number(series, "deviation"), count > 1 ? sqrt(squares / (double)(count - 1)) : 0,
                          1e-6 * mean);
  ck_assert_uint_le(below, count / 2);
  ck_assert_uint_le(above, count / 2);
  return mean;
}

static const json_t *limits_of(const json_t *json, const json_t *result) {
  const json_t *limits = member(member(json, "machine"), "limits");
  for (size_t i = 0; i < json_array_size(limits); i++)
    if (number(json_array_get(limits, i), "threads") == number(result, "threads")) return json_array_get(limits, i);
  ck_abort_msg("no limits for that many threads");
  return NULL;
}

/* Derived figures are products and quotients of what they are derived from. */
static void check_derived(const json_t *json, const json_t *result, double rate, const char *unit) {
  char key[64];
  const json_t *limits = limits_of(json, result);
  snprintf(key, sizeof key, "bytes_per_%s", unit);
  if (json_object_get(result, key)) {
    double speed = number(result, "gigabytes_per_second");
    ck_close(speed, number(result, key) * rate * 1e-9, key);
    ck_close(number(result, "share_of_reading"), speed / number(member(limits, "read_gigabytes_per_second"), "mean"),
             "share_of_reading");
  }
  snprintf(key, sizeof key, "operations_per_%s", unit);
  if (json_object_get(result, key)) {
    double speed = number(result, "gigaoperations_per_second");
    ck_close(speed, number(result, key) * rate * 1e-9, key);
    ck_close(number(result, "share_of_int8"), speed / number(member(limits, "int8_gigaoperations_per_second"), "mean"),
             "share_of_int8");
  }
}

static void check_machine(const json_t *json, const double *threads, size_t count, size_t repetitions) {
  const json_t *machine = member(json, "machine"), *limits = member(machine, "limits");
  ck_assert_str_ne(text(machine, "processor"), "");
  ck_assert_str_ne(text(machine, "kernels"), "");
  ck_assert_double_ge(number(machine, "processors"), 1);
  ck_assert_uint_eq(json_array_size(limits), count);
  for (size_t i = 0; i < count; i++) {
    const json_t *of = json_array_get(limits, i);
    ck_assert_double_eq(number(of, "threads"), threads[i]);
    check_series(member(of, "read_gigabytes_per_second"), repetitions);
    check_series(member(of, "int8_gigaoperations_per_second"), repetitions);
  }
}

/* A call reads the layers once and gives logits once; 130 tokens take two calls. */
static void check_test(const json_t *json, const json_t *test, const reading *of) {
  double count = number(test, "count");
  bool generates = strcmp(text(test, "kind"), "generate") == 0;
  double passes = generates ? count : ceil(count / 128), logits = generates ? count : 1;
  char name[32];
  snprintf(name, sizeof name, "%s%.0f", generates ? "tg" : "pp", count);
  ck_assert_str_eq(text(test, "test"), name);
  double rate = check_series(member(test, "tokens_per_second"), 3);
  ck_close(number(test, "bytes_per_token"),
           (of->layers_bytes * passes + of->embedding_bytes * logits) / count + of->embedding_row, name);
  ck_close(number(test, "operations_per_token"),
           2 * (of->layers_weights * count + of->embedding_weights * logits) / count, name);
  check_derived(json, test, rate, "token");
}

START_TEST(figures_hang_together) {
  const char *paths[] = {small_model("a.tq", &base3_rows), small_model("b.tq", &two_bit_groups)};
  static const double counts[] = {130, 5, 3};
  json_t *json = bench_json((const char *[]){"tq-bench", paths[0], paths[1], "-p", "130,5", "-n", "3", "-t", "1,2",
                                             "-r", "3", "--json", "--activations", "int8-block", "--kv", "q8", NULL});
  const json_t *models = member(json, "models"), *tests = member(json, "tests");
  check_machine(json, (const double[]){1, 2}, 2, 3);
  ck_assert_uint_eq(json_array_size(models), 2);
  ck_assert_uint_eq(json_array_size(tests), 12);
  for (size_t m = 0; m < 2; m++) {
    const json_t *model = json_array_get(models, m);
    reading of = measure(paths[m]);
    ck_assert_str_eq(text(model, "path"), paths[m]);
    ck_assert_str_eq(text(model, "name"), m ? "b.tq" : "a.tq");
    ck_assert_str_eq(text(model, "activations"), "int8-block");
    ck_assert_str_eq(text(model, "cache"), "q8");
    ck_close(number(model, "bits_per_weight"), 8 * of.layers_bytes / of.layers_weights, "bits");
    for (size_t t = 0; t < 2; t++)
      for (size_t i = 0; i < 3; i++) {
        const json_t *test = json_array_get(tests, t * 6 + m * 3 + i);
        ck_assert_double_eq(number(test, "model"), (double)m);
        ck_assert_double_eq(number(test, "threads"), (double)t + 1);
        ck_assert_double_eq(number(test, "count"), counts[i]);
        check_test(json, test, &of);
      }
  }
  json_decref(json);
}
END_TEST

START_TEST(products_are_measured_alone) {
  const char *path = small_model("a.tq", &two_bit_groups);
  reading of = measure(path);
  static const struct {
    const char *name;
    double rows, columns, matrices; /* in a layer */
  } products[] = {{"q/o", 96, 96, 2}, {"k/v", 48, 96, 2}, {"gate/up", 160, 96, 2}, {"down", 96, 160, 1}};
  json_t *json = bench_json((const char *[]){"tq-bench", path, "--kernels", "-t", "1", "-r", "1", "--json",
                                             "--activations", "int8-token", NULL});
  const json_t *tests = member(json, "tests");
  double bytes = 0;
  /* Five products with 1 and with 128 vectors, quantize of two sizes, norm, attention. */
  ck_assert_uint_eq(json_array_size(tests), 14);
  for (size_t i = 0; i < 14; i++) {
    const json_t *test = json_array_get(tests, i);
    check_derived(json, test, check_series(member(test, "calls_per_second"), 1), "call");
    ck_assert_str_eq(text(test, "kind"), i < 10 ? "product" : "operation");
    if (i >= 10) continue;
    char name[64];
    double vectors = i < 5 ? 1 : 128;
    bool head = i % 5 == 4;
    if (head)
      snprintf(name, sizeof name, "head 70x96, %.0f", vectors);
    else
      snprintf(name, sizeof name, "%s %.0fx%.0f, %.0f", products[i % 5].name, products[i % 5].rows,
               products[i % 5].columns, vectors);
    ck_assert_str_eq(text(test, "test"), name);
    double weights = head ? of.embedding_weights : products[i % 5].rows * products[i % 5].columns;
    ck_close(number(test, "operations_per_call"), 2 * weights * vectors, name);
    if (i < 4) bytes += 2 * products[i].matrices * number(test, "bytes_per_call");
    if (i == 4) ck_close(number(test, "bytes_per_call"), of.embedding_bytes, name);
  }
  ck_close(bytes, of.layers_bytes, "bytes of all products");
  json_decref(json);
}
END_TEST

static size_t count_lines(const char *output, const char *beginning) {
  size_t lines = 0;
  for (const char *line = output; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
    lines += strncmp(line, beginning, strlen(beginning)) == 0;
  return lines;
}

START_TEST(tables_have_a_line_for_each_test) {
  const char *path = small_model("a.tq", &base3_rows);
  char *output = bench((const char *[]){"tq-bench", path, "-p", "4", "-n", "2", "-t", "1,2", "-r", "1", NULL});
  ck_assert_uint_eq(count_lines(output, "  a.tq "), 4);
  ck_assert_uint_eq(count_lines(output, "2 threads: reads "), 1);
  free(output);
  output = bench((const char *[]){"tq-bench", path, "-n", "2", "-t", "1", "-r", "1", "--markdown", NULL});
  ck_assert_uint_eq(count_lines(output, "| a.tq | 1 | tg2 | "), 1);
  ck_assert_uint_eq(count_lines(output, "|"), 3);
  free(output);
}
END_TEST

static void ck_bench_fails(int status, const char *part, const char *const *arguments) {
  char *errors, *output;
  ck_assert_int_eq(run_tool(arguments, NULL, &output, &errors), status);
  const char *line = strchr(errors, '\n');
  ck_assert_msg(strstr(errors, part) != NULL, "\"%s\" is not in \"%s\"", part, errors);
  ck_assert_msg(line && (line[1] == '\0' || strncmp(line + 1, "Try '", 5) == 0), "%s", errors);
  ck_assert_str_eq(output, "");
  free(output);
  free(errors);
}

START_TEST(wrong_usage_is_told) {
  static const char *const lists[] = {"0", "1,,2", ",1", "1,", "", "x", "1,-2", "1 2", "99999999999"};
  const char *path = small_model("a.tq", &base3_rows);
  for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
    ck_bench_fails(2, "-p takes whole numbers from 1", (const char *[]){"tq-bench", path, "-p", lists[i], NULL});
    ck_bench_fails(2, "-n takes whole numbers from 1", (const char *[]){"tq-bench", path, "-n", lists[i], NULL});
    ck_bench_fails(2, "-t takes whole numbers from 1", (const char *[]){"tq-bench", path, "-t", lists[i], NULL});
  }
  ck_bench_fails(2, "-r takes a whole number", (const char *[]){"tq-bench", path, "-r", "0", NULL});
  ck_bench_fails(2, "-t takes", (const char *[]){"tq-bench", path, "-t", "1000000", NULL});
  ck_bench_fails(2, "--kv takes f16 or q8, not 'f8'", (const char *[]){"tq-bench", path, "--kv", "f8", NULL});
  ck_bench_fails(2, "--activations takes", (const char *[]){"tq-bench", path, "--activations", "int4", NULL});
  ck_bench_fails(2, "no model given", (const char *[]){"tq-bench", NULL});
  ck_bench_fails(2, "belong to --synthetic", (const char *[]){"tq-bench", path, "--save", "x.tq", NULL});
  ck_bench_fails(2, "--synthetic takes 125m, 700m", (const char *[]){"tq-bench", "--synthetic", "1b", NULL});
  ck_bench_fails(2, "--synthetic takes 125m", (const char *[]){"tq-bench", "--synthetic", "125m,", NULL});
  ck_bench_fails(2, "--code takes 2bit or base3, not '3bit'",
                 (const char *[]){"tq-bench", "--synthetic", "125m", "--code", "3bit", NULL});
  ck_bench_fails(2, "--scale takes tensor, row or g",
                 (const char *[]){"tq-bench", "--synthetic", "125m", "--scale", "g48", NULL});
  char many[200] = "tensor";
  for (size_t i = 1; i < 33; i++) strcat(many, ",row");
  ck_bench_fails(2, "--synthetic takes at most 32", (const char *[]){"tq-bench", "--synthetic", many, NULL});
  ck_bench_fails(2, "--code takes at most 32",
                 (const char *[]){"tq-bench", "--synthetic", "125m", "--code", many, NULL});
  ck_bench_fails(2, "--scale takes at most 32",
                 (const char *[]){"tq-bench", "--synthetic", "125m", "--scale", many, NULL});
  ck_bench_fails(2, "--save keeps one model",
                 (const char *[]){"tq-bench", "--synthetic", "125m,700m", "--save", "x.tq", NULL});
}
END_TEST

START_TEST(kernels_that_there_are_not_are_told) {
  const char *path = small_model("a.tq", &base3_rows);
  setenv("TQ_CPU", "abacus", 1);
  ck_bench_fails(2, "are called \"abacus\"", (const char *[]){"tq-bench", path, NULL});
  ck_bench_fails(2, "are called \"abacus\"", (const char *[]){"tq-bench", path, "--kernels", NULL});
  unsetenv("TQ_CPU");
}
END_TEST

static void add_latent(tq_metadata_builder *keys) { ck_ok(tq_metadata_add_bool(keys, "tq.latent", true, error)); }

START_TEST(models_that_cannot_run_are_told) {
  const char *latent = temporary_path("latent.tq"), *large = temporary_path("large.tq");
  random_spec spec = {.architecture = "llama",
                      .layers = 4,
                      .dimension = 32,
                      .feed_forward = 32,
                      .heads = 8,
                      .kv_heads = 8,
                      .head_dimension = 128,
                      .vocabulary = 40,
                      .context = 32,
                      .encoding = base3_rows,
                      .seed = 5};
  random_model_free(random_model_write(&spec, large));
  spec.add_keys = add_latent;
  random_model_free(random_model_write(&spec, latent));
  ck_bench_fails(3, "its weights are latent", (const char *[]){"tq-bench", latent, NULL});
  /* 16 TiB at least. */
  ck_bench_fails(2, "-p 2147483647: keys and values of so many tokens take more than ",
                 (const char *[]){"tq-bench", large, "-p", "2147483647", NULL});
  ck_bench_fails(1, "/nonexistent/x", (const char *[]){"tq-bench", "/nonexistent/x", NULL});
  write_file(latent, "no model", 8);
  ck_bench_fails(3, "latent.tq: ", (const char *[]){"tq-bench", latent, NULL});
}
END_TEST

/* Alone as in a model. */
START_TEST(rows_too_long_for_integers_are_told) {
  const char *path = temporary_path("long.tq"), *message = "rows of 262160 weights are too long";
  const random_spec spec = {.architecture = "llama",
                            .layers = 1,
                            .dimension = 4,
                            .feed_forward = (1 << 18) + 16,
                            .heads = 2,
                            .kv_heads = 2,
                            .head_dimension = 2,
                            .vocabulary = 40,
                            .context = 32,
                            .encoding = base3_rows,
                            .seed = 5};
  random_model_free(random_model_write(&spec, path));
  ck_bench_fails(3, message, (const char *[]){"tq-bench", path, "--activations", "int8-token", "-t", "1", NULL});
  ck_bench_fails(3, message,
                 (const char *[]){"tq-bench", path, "--activations", "int8-token", "-t", "1", "--kernels", NULL});
}
END_TEST

/* ---- synthetic models ---- */

static const char *temporaries(const char *name) {
  const char *path = temporary_path(name);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  setenv("TMPDIR", path, 1);
  return path;
}

static size_t count_entries(const char *folder) {
  DIR *stream = opendir(folder);
  size_t count = 0;
  ck_assert_ptr_nonnull(stream);
  while (readdir(stream)) count++;
  closedir(stream);
  return count - 2; /* "." and ".." */
}

static void check_saved(const char *code, const char *scale) {
  const char *paths[] = {temporary_path("one.tq"), temporary_path("two.tq")};
  for (size_t i = 0; i < 2; i++) {
    json_t *json = bench_json((const char *[]){"tq-bench", "--synthetic", "125m", "--code", code, "--scale", scale,
                                               "-p", "1", "-t", "1", "-r", "1", "--save", paths[i], "--json", NULL});
    const json_t *model = json_array_get(member(json, "models"), 0);
    ck_assert_str_eq(text(model, "path"), paths[i]);
    ck_assert_double_eq(number(model, "parameters"), 12 * (768.0 * (4 * 768 + 3 * 2048 + 3) + 2048) + 768 * 32001.0);
    json_decref(json);
  }
  ck_same_files(paths[0], paths[1]);
  char *output = bench((const char *[]){"tq-inspect", paths[0], "--verify", NULL});
  ck_assert_ptr_nonnull(strstr(output, "intact"));
  free(output);
}

START_TEST(synthetic_models_are_what_they_say) {
  const char *folder = temporaries("made");
  check_saved("2bit", "tensor");
  check_saved("base3", "g64");
  json_t *json = bench_json((const char *[]){"tq-bench", "--synthetic", "125m", "--code", "2bit,base3", "--scale",
                                             "row", "-n", "1", "-t", "1", "-r", "1", "--json", NULL});
  const json_t *models = member(json, "models");
  ck_assert_uint_eq(json_array_size(models), 2);
  ck_assert(json_is_null(member(json_array_get(models, 0), "path")));
  ck_assert_str_eq(text(json_array_get(models, 0), "name"), "125m 2bit row");
  ck_assert_str_eq(text(json_array_get(models, 1), "name"), "125m base3 row");
  json_decref(json);
  ck_assert_uint_eq(count_entries(folder), 0);
}
END_TEST

/* The child is stopped while it writes what takes seconds to write. */
START_TEST(nothing_is_left_of_a_model_when_a_signal_ends_it) {
  const char *folder = temporaries("stopped"), *build = getenv("TQ_BUILD");
  char program[4096];
  snprintf(program, sizeof program, "%s/bin/tq-bench", build ? build : "build");
  pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    execl(program, "tq-bench", "--synthetic", "8b", "-n", "1", (char *)NULL);
    _exit(127);
  }
  for (int i = 0; i < 10000 && count_entries(folder) == 0; i++) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  ck_assert_uint_eq(count_entries(folder), 1);
  ck_assert_int_eq(kill(child, SIGTERM), 0);
  int status;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
  ck_assert_uint_eq(count_entries(folder), 0);
}
END_TEST

START_TEST(help_fits_a_screen) {
  char *output = bench((const char *[]){"tq-bench", "--help", NULL});
  size_t lines = 0;
  for (const char *c = output; *c; c++) lines += *c == '\n';
  ck_assert_uint_le(lines, 24);
  free(output);
  output = bench((const char *[]){"tq-bench", "--version", NULL});
  ck_assert_ptr_nonnull(strstr(output, "tq-bench"));
  free(output);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-bench");
  TCase *figures = tcase_create("figures"), *usage = tcase_create("usage"), *synthetic = tcase_create("synthetic");
  tcase_add_test(figures, figures_hang_together);
  tcase_add_test(figures, products_are_measured_alone);
  tcase_add_test(figures, tables_have_a_line_for_each_test);
  tcase_add_test(usage, wrong_usage_is_told);
  tcase_add_test(usage, kernels_that_there_are_not_are_told);
  tcase_add_test(usage, models_that_cannot_run_are_told);
  tcase_add_test(usage, rows_too_long_for_integers_are_told);
  tcase_add_test(usage, help_fits_a_screen);
  tcase_add_test(synthetic, synthetic_models_are_what_they_say);
  tcase_add_test(synthetic, nothing_is_left_of_a_model_when_a_signal_ends_it);
  tcase_set_timeout(figures, 120);
  tcase_set_timeout(synthetic, 300);
  suite_add_tcase(suite, figures);
  suite_add_tcase(suite, usage);
  suite_add_tcase(suite, synthetic);
  return run_suite(suite);
}
