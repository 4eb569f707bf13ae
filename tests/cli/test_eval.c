/* tq-eval: perplexities that are known by arithmetic, and those that llama.cpp gives. */
#include "tests/chain_model.h"
#include "tests/kernel_sets.h"
#include "tests/support.h"
#include "tq/tokenizer.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs tq-eval with arguments up to a NULL and demands the status; the output is freed by the caller. */
static char *evaluate(int expected, char **errors, const char *const *arguments, const char *input) {
  char *output, *complaint;
  int status = run_tool(arguments, input, &output, &complaint);
  ck_assert_msg(status == expected, "status %d instead of %d: %s", status, expected, complaint);
  if (errors)
    *errors = complaint;
  else
    free(complaint);
  return output;
}

static json_t *evaluate_json_with(const char *model, const char *file, const char *context, const char *threads,
                                  const char *activations, const char *kv, const char *input) {
  const char *const arguments[] = {"tq-eval",
                                   "perplexity",
                                   model,
                                   "-f",
                                   file,
                                   "-c",
                                   context,
                                   "--json",
                                   "-t",
                                   threads,
                                   "--kv",
                                   kv,
                                   activations ? "--activations" : NULL,
                                   activations,
                                   NULL};
  char *output = evaluate(0, NULL, arguments, input);
  json_error_t problem;
  json_t *json = json_loads(output, JSON_REJECT_DUPLICATES, &problem);
  ck_assert_msg(json != NULL, "%s in %s", problem.text, output);
  free(output);
  return json;
}

/* ---- by arithmetic ---- */

static const chain_token chain[] = {
    {"<unk>", TQ_TOKEN_UNKNOWN}, {"<s>", TQ_TOKEN_CONTROL}, {"</s>", TQ_TOKEN_CONTROL}, {"a", TQ_TOKEN_NORMAL},
    {"b", TQ_TOKEN_NORMAL},      {"c", TQ_TOKEN_NORMAL},    {"d", TQ_TOKEN_NORMAL},     {"e", TQ_TOKEN_NORMAL},
};

static const char *chain_path(void) {
  const char *path = temporary_path("chain.tq");
  chain_model_write(path, chain, 8, 6, 2.0f, 0);
  return path;
}

static json_t *evaluate_json(const char *model, const char *file, const char *context, const char *threads,
                             const char *input) {
  return evaluate_json_with(model, file, context, threads, NULL, "f16", input);
}

static double number(const json_t *json, const char *key) {
  const json_t *value = json_object_get(json, key);
  ck_assert_msg(json_is_number(value), "%s", key);
  return json_number_value(value);
}

/* "<s>" and 12 letters make two chunks of 6 (and one token that is left over). Of each, positions 3 and 4 are scored:
 * the prediction is right for letters that follow each other in the alphabet, with probability e^2 / (e^2 + 7), and
 * otherwise has the probability 1 / (e^2 + 7). */
START_TEST(perplexity_is_the_definitions) {
  /* tokens: <s> a b c d e | a b c c e a | b */
  const char *model = chain_path();
  json_t *json = evaluate_json(model, "-", "6", "1", "abcdeabcceab");
  double right = exp(2.0) / (exp(2.0) + 7), wrong = 1 / (exp(2.0) + 7);
  /* positions 3 and 4 predict tokens 4 and 5: d and e; then e after c (wrong) and a after e (wrong). */
  double mean = -(2 * log(right) + 2 * log(wrong)) / 4, spread = fabs(log(right) - log(wrong)) / 2;
  ck_assert_double_eq_tol(number(json, "perplexity"), exp(mean), 1e-5);
  ck_assert_double_eq_tol(number(json, "error"), exp(mean) * spread / sqrt(3), 1e-5);
  ck_assert_double_eq(number(json, "chunks"), 2);
  ck_assert_double_eq(number(json, "context"), 6);
  ck_assert_double_eq(number(json, "predictions"), 4);
  ck_assert_double_eq(number(json, "tokens"), 13);
  ck_assert_str_eq(json_string_value(json_object_get(json, "activations")), "float");
  ck_assert_str_eq(json_string_value(json_object_get(json, "kv")), "f16");
  json_decref(json);
  const char *const arguments[] = {"tq-eval", "perplexity", model, "-f", "-", NULL};
  char *errors, *output = evaluate(0, &errors, arguments, "abcdeabcceab"), expected[128];
  snprintf(expected, sizeof expected, "PPL = %.4f +/- %.4f (2 chunks of 6 tokens, 4 predictions)\n", exp(mean),
           exp(mean) * spread / sqrt(3));
  ck_assert_str_eq(output, expected);
  ck_assert_str_eq(errors, "");
  free(output);
  free(errors);
}
END_TEST

START_TEST(longer_contexts_only_warn) {
  const char *model = chain_path();
  const char *const arguments[] = {"tq-eval", "perplexity", model, "-f", "-", "-c", "7", NULL};
  char *errors, *output = evaluate(0, &errors, arguments, "abcdeabcdeabcde");
  ck_assert_ptr_nonnull(strstr(errors, "tq-eval: warning: the model was trained for a context of 6\n"));
  ck_assert_ptr_nonnull(strstr(output, "(2 chunks of 7 tokens, 6 predictions)"));
  free(output);
  free(errors);
}
END_TEST

static void ck_eval_fails(const char *const *arguments, const char *input, int status, const char *part) {
  char *errors, *output = evaluate(status, &errors, arguments, input);
  ck_assert_msg(strstr(errors, part) != NULL, "\"%s\" is not in \"%s\"", part, errors);
  ck_assert_str_eq(output, "");
  free(output);
  free(errors);
}

START_TEST(wrong_usage_is_told) {
  const char *model = chain_path();
  ck_eval_fails((const char *[]){"tq-eval", NULL}, NULL, 2, "no command given");
  ck_eval_fails((const char *[]){"tq-eval", "guess", NULL}, NULL, 2, "'guess' is not a command");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", NULL}, NULL, 2, "no model given");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, NULL}, NULL, 2, "no text given");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, model, "-f", "-", NULL}, NULL, 2,
                "more than one model");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "-c", "3", NULL}, NULL, 2,
                "-c takes a whole number");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "-t", "0", NULL}, NULL, 2,
                "-t takes a whole number");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "--activations", "int4", NULL}, NULL, 2,
                "--activations takes float, int8-token or int8-block, not 'int4'");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "--kv", "f32", NULL}, NULL, 2,
                "--kv takes f16 or q8, not 'f32'");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", NULL}, "abcdeabcde", 2,
                "its 11 tokens are fewer than two chunks of 6");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "/nonexistent/x", NULL}, NULL, 1,
                "/nonexistent/x");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", "/nonexistent/y", "-f", "-", NULL}, NULL, 1,
                "/nonexistent/y");
}
END_TEST

/* The text is looked at before memory is taken for its context. */
START_TEST(contexts_longer_than_the_text_take_no_memory) {
  const char *model = chain_path();
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "-c", "2147483647", NULL}, "abcde", 2,
                "its 6 tokens are fewer than two chunks of 2147483647");
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", "-t", "1000000", NULL}, "abcde", 2,
                "-t takes a whole number from 1 to ");
}
END_TEST

START_TEST(tokens_without_embedding_are_told) {
  const char *model = temporary_path("short.tq");
  chain_model_write(model, chain, 8, 6, 2.0f, -1);
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", model, "-f", "-", NULL}, "abcdeabcdeabcde", 3,
                "short.tq: token 7 of its tokenizer is outside the vocabulary of 7");
}
END_TEST

START_TEST(numbers_that_are_none_have_no_sign) {
  const char *model = temporary_path("nan.tq");
  char *errors;
  chain_model_write(model, chain, 8, 6, -NAN, 0);
  const char *arguments[] = {"tq-eval", "perplexity", model, "-f", "-", NULL, NULL};
  char *output = evaluate(3, &errors, arguments, "abcdeabcdeabcde");
  ck_assert_msg(strncmp(output, "PPL = nan +/- nan (", 19) == 0, "%s", output);
  ck_assert_ptr_nonnull(strstr(errors, "nan.tq: the model gives numbers that are not finite\n"));
  free(output), free(errors);
  arguments[5] = "--json";
  output = evaluate(3, NULL, arguments, "abcdeabcdeabcde");
  json_t *json = json_loads(output, 0, NULL);
  ck_assert(json_is_null(json_object_get(json, "perplexity")));
  json_decref(json);
  free(output);
}
END_TEST

START_TEST(help_fits_a_screen) {
  char *output = evaluate(0, NULL, (const char *[]){"tq-eval", "--help", NULL}, NULL);
  size_t lines = 0;
  for (const char *c = output; *c; c++) lines += *c == '\n';
  ck_assert_uint_le(lines, 24);
  free(output);
  output = evaluate(0, NULL, (const char *[]){"tq-eval", "--version", NULL}, NULL);
  ck_assert_ptr_nonnull(strstr(output, "tq-eval"));
  free(output);
}
END_TEST

/* ---- llama.cpp's figures ---- */

/* Of the whole text and of its first BEGINNING bytes. */
static const struct {
  const char *model, *text, *context;
  double whole, beginning;
} figures[] = {
    {"models/stories260K.gguf", "golden/text30k.txt", "256", 98.5776, 52.2612},
    {"golden/tensor-1.f16.gguf", "golden/text30k.txt", "256", 746.6225, 685.2998},
    {"golden/row-2.f16.gguf", "golden/text30k.txt", "256", 741.9332, 730.2657},
    {"golden/g64-3.f16.gguf", "golden/text30k.txt", "256", 769.1682, 837.7720},
    {"golden/bitnet-7.f16.gguf", "golden/text30k.txt", "256", 716.8308, 716.9605},
    {"models/stories260K.gguf", "text/stories-eval.txt", "128", 3.2003, 2.8102},
    {"models/stories260K.gguf", "text/stories-eval.txt", "256", 2.8915, 2.8634},
};
enum { FIGURES = sizeof figures / sizeof figures[0], BEGINNING = 2000 };

static const char *convert(const char *relative) {
  const char *source = shared_path(relative), *target = temporary_path("model.tq");
  if (!source) return NULL;
  char *errors;
  int status = run_tool((const char *[]){"tq-convert", source, "-o", target, NULL}, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "%s: %s", relative, errors);
  free(errors);
  return target;
}

/* A sanitizer is too slow for whole texts. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

#if defined(SANITIZED)
static const bool takes_whole_texts = false;
#else
static const bool takes_whole_texts = true;
#endif

/* The first bytes of a text in a file of the test's own. */
static const char *beginning(const char *relative, size_t most) {
  const char *whole = shared_path(relative), *part = temporary_path("text.txt");
  size_t size;
  if (!whole) return NULL;
  uint8_t *bytes = read_file(whole, &size);
  write_file(part, bytes, size < most ? size : most);
  free(bytes);
  return part;
}

/* What separates two implementations of the same floats, and rounding the activations, or keys and values: measured
 * 1.2e-4 at most, 1.1e-3 and 2.4e-3. */
static const struct {
  const char *activations, *kv;
  double tolerance;
} kinds[] = {{"float", "f16", 5e-4}, {"int8-token", "f16", 2e-3}, {"int8-block", "f16", 2e-3}, {"float", "q8", 4e-3}};

static void ck_perplexity(const char *model, const char *text, const char *context, double expected) {
  enum { KINDS = sizeof kinds / sizeof *kinds };
  double perplexities[KINDS];
  for (size_t k = 0; k < KINDS; k++) {
    json_t *json = evaluate_json_with(model, text, context, "2", kinds[k].activations, kinds[k].kv, NULL);
    double actual = perplexities[k] = number(json, "perplexity"), off = fabs(actual / expected - 1);
    const char *kernels = getenv("TQ_CPU");
    ck_assert_msg(off < kinds[k].tolerance, "with %s, %s, kernels %s: %.4f is off by %.1e of %.4f",
                  kinds[k].activations, kinds[k].kv, kernels ? kernels : "by default", actual, off, expected);
    ck_assert_str_eq(json_string_value(json_object_get(json, "activations")), kinds[k].activations);
    ck_assert_str_eq(json_string_value(json_object_get(json, "kv")), kinds[k].kv);
    json_decref(json);
  }
  ck_assert_msg(perplexities[0] != perplexities[KINDS - 1], "%.17g with either type of cache", perplexities[0]);
}

/* The whole texts with the kernels that there are by default, their beginnings with all. */
START_TEST(perplexities_are_llama_cpps) {
  const char *model = convert(figures[_i].model), *part = beginning(figures[_i].text, BEGINNING);
  if (!model || !part) return;
  if (takes_whole_texts) ck_perplexity(model, shared_path(figures[_i].text), figures[_i].context, figures[_i].whole);
  for (size_t i = 0; next_kernel_set(&i);) ck_perplexity(model, part, figures[_i].context, figures[_i].beginning);
}
END_TEST

START_TEST(threads_do_not_matter) {
  const char *model = convert("models/stories260K.gguf"), *text = beginning("text/stories-eval.txt", 4000);
  if (!model || !text) return;
  json_t *one = evaluate_json(model, text, "64", "1", NULL), *three = evaluate_json(model, text, "64", "3", NULL);
  ck_assert(json_equal(one, three));
  json_decref(one);
  json_decref(three);
}
END_TEST

START_TEST(foreign_files_are_told_how_to_convert) {
  const char *source = shared_path("golden/row-2.f16.gguf");
  if (!source) return;
  ck_eval_fails((const char *[]){"tq-eval", "perplexity", source, "-f", "-", NULL}, "", 3, "-o row-2.f16.tq\n");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-eval");
  TCase *known = tcase_create("known"), *real = tcase_create("real");
  tcase_add_test(known, perplexity_is_the_definitions);
  tcase_add_test(known, longer_contexts_only_warn);
  tcase_add_test(known, wrong_usage_is_told);
  tcase_add_test(known, contexts_longer_than_the_text_take_no_memory);
  tcase_add_test(known, tokens_without_embedding_are_told);
  tcase_add_test(known, numbers_that_are_none_have_no_sign);
  tcase_add_test(known, help_fits_a_screen);
  tcase_add_loop_test(real, perplexities_are_llama_cpps, 0, FIGURES);
  tcase_add_test(real, threads_do_not_matter);
  tcase_add_test(real, foreign_files_are_told_how_to_convert);
  suite_add_tcase(suite, known);
  suite_add_tcase(suite, real);
  return run_suite(suite);
}
