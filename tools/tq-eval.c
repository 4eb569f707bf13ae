/* tq-eval: measures how well a model does. */
#include "base/file.h"
#include "base/memory.h"
#include "formats/json.h"
#include "ops/ops.h"
#include "tools/load.h"
#include "tools/tool.h"
#include "tq/model.h"

#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char usage[] = "Usage: tq-eval perplexity MODEL -f FILE [OPTION]...\n"
                            "Measures how well the model in a .tq file predicts a text.\n"
                            "\n"
                            "  -f, --file FILE      the text (-: standard input)\n"
                            "  -c, --context N      tokens in a chunk (what the model was trained for, at most 512)\n"
                            "  -t, --threads N      threads (one per processor)\n"
                            "      --activations KIND\n"
                            "                       what ternary weights meet: float, int8-token or int8-block\n"
                            "                       (what the file records)\n"
                            "      --kv TYPE        keeps keys and values as f16 or q8 (f16)\n"
                            "      --json           prints the result as JSON\n"
                            "      --help, --version\n"
                            "\n"
                            "The text is cut into chunks of N tokens. Each is read from an empty context, its first\n"
                            "token replaced by the one that begins texts, and the predictions of the second half are\n"
                            "scored, as llama.cpp's llama-perplexity does.\n"
                            "Exit status: 0 done; 1 system error; 2 usage; 3 corrupt or not understood.\n";

enum { LEAST_CONTEXT = 4, DEFAULT_CONTEXT = 512, MOST_LOGITS = 1 << 24 };

typedef struct arguments {
  const char *model, *file;
  uint64_t context, threads;
  tq_activations activations;
  tq_cache_type cache;
  bool json;
} arguments;

/* ---- arguments ---- */

enum { OPTION_ACTIVATIONS = 256, OPTION_KV, OPTION_JSON, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {{"file", required_argument, NULL, 'f'},
                                        {"context", required_argument, NULL, 'c'},
                                        {"threads", required_argument, NULL, 't'},
                                        {"activations", required_argument, NULL, OPTION_ACTIVATIONS},
                                        {"kv", required_argument, NULL, OPTION_KV},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"help", no_argument, NULL, OPTION_HELP},
                                        {"version", no_argument, NULL, OPTION_VERSION},
                                        {0}};

/* Returns -1 to go on, or the exit status. */
static int parse_option(int option, arguments *given) {
  switch (option) {
  case 'f':
    return given->file = optarg, -1;
  case 'c':
    if (tool_parse_u64(optarg, LEAST_CONTEXT, INT32_MAX, &given->context)) return -1;
    return tool_usage("-c takes a whole number from %d, not '%s'", LEAST_CONTEXT, optarg);
  case 't':
    if (tool_parse_u64(optarg, 1, tool_most_threads(), &given->threads)) return -1;
    return tool_usage("-t takes a whole number from 1 to %llu, not '%s'", (unsigned long long)tool_most_threads(),
                      optarg);
  case OPTION_ACTIVATIONS:
    if (tq_activations_by_name(optarg, &given->activations)) return -1;
    return tool_usage("--activations takes float, int8-token or int8-block, not '%s'", optarg);
  case OPTION_KV:
    if (tq_cache_type_by_name(optarg, &given->cache)) return -1;
    return tool_usage("--kv takes f16 or q8, not '%s'", optarg);
  case OPTION_JSON:
    return given->json = true, -1;
  case OPTION_HELP:
    return fputs(usage, stdout), TQ_OK;
  case OPTION_VERSION:
    return tool_version();
  default:
    return tool_usage("see the options");
  }
}

static int parse_arguments(int count, char **values, arguments *given) {
  for (int option; (option = getopt_long(count, values, "f:c:t:", options, NULL)) != -1;) {
    int status = parse_option(option, given);
    if (status >= 0) return status;
  }
  if (optind == count) return tool_usage("no command given");
  if (strcmp(values[optind], "perplexity") != 0) return tool_usage("'%s' is not a command", values[optind]);
  if (optind + 2 != count) return tool_usage(optind + 1 == count ? "no model given" : "more than one model given");
  given->model = values[optind + 1];
  if (!given->file) return tool_usage("no text given (-f)");
  return -1;
}

/* ---- perplexity ---- */

typedef struct evaluation {
  const arguments *given;
  const tq_hyperparameters *sizes;
  tq_session *session;
  uint32_t *tokens;
  size_t token_count;
  int64_t first;    /* the token that begins texts, -1: none is put */
  uint32_t context; /* tokens in a chunk */
  uint32_t batch;   /* tokens in a call */
  uint32_t *positions;
  bool *wanted;
  size_t chunks, scored;
  double sum, sum_of_squares; /* of the negative log-likelihoods */
} evaluation;

/* Predictions at positions context / 2 .. context - 2 count: they have seen enough, and the next token is in the chunk.
 */
static bool is_scored(const evaluation *of, uint32_t position) {
  return position >= of->context / 2 && position + 2 <= of->context;
}

static void score(evaluation *of, const uint32_t *chunk, uint32_t begin, uint32_t end, const float *logits) {
  for (uint32_t position = begin; position < end; position++) {
    if (!is_scored(of, position)) continue;
    double loss = tq_op_cross_entropy(logits, of->sizes->vocabulary, chunk[position + 1]);
    logits += of->sizes->vocabulary;
    of->sum += loss;
    of->sum_of_squares += loss * loss;
    of->scored++;
  }
}

static tq_status evaluate_chunk(evaluation *of, uint32_t *chunk, tq_error *error) {
  tq_status status = TQ_OK;
  if (of->first >= 0) chunk[0] = (uint32_t)of->first;
  tq_session_truncate(of->session, 0, 0);
  for (uint32_t begin = 0; !status && begin < of->context; begin += of->batch) {
    uint32_t end = of->context - begin < of->batch ? of->context : begin + of->batch;
    for (uint32_t i = begin; i < end; i++) {
      of->positions[i - begin] = i;
      of->wanted[i - begin] = is_scored(of, i);
    }
    const float *logits;
    tq_batch batch = {
        .count = end - begin, .tokens = chunk + begin, .positions = of->positions, .wants_logits = of->wanted};
    status = tq_forward(of->session, &batch, &logits, error);
    if (!status) score(of, chunk, begin, end, logits);
  }
  return status;
}

static double perplexity(const evaluation *of) { return tool_unsigned_nan(exp(of->sum / (double)of->scored)); }

/* The standard error of the mean log-likelihood, carried over to the perplexity. */
static double uncertainty(const evaluation *of) {
  double count = (double)of->scored, mean = of->sum / count;
  double variance = of->sum_of_squares / count - mean * mean;
  if (isnan(variance)) return tool_unsigned_nan(variance);
  return of->scored > 1 && variance > 0 ? sqrt(variance / (count - 1)) * perplexity(of) : 0;
}

static tq_status evaluate_chunks(evaluation *of, tq_error *error) {
  bool watched = isatty(STDERR_FILENO);
  tq_status status = TQ_OK;
  of->chunks = of->token_count / of->context;
  for (size_t i = 0; !status && i < of->chunks; i++) {
    status = evaluate_chunk(of, of->tokens + i * of->context, error);
    if (watched && !status) fprintf(stderr, "\r\033[K[%zu/%zu] %.4f", i + 1, of->chunks, perplexity(of));
  }
  if (watched) fputs("\r\033[K", stderr);
  return status;
}

/* JSON has no other numbers than finite ones. */
static void print_result(const evaluation *of) {
  if (!of->given->json) {
    printf("PPL = %.4f +/- %.4f (%zu chunks of %u tokens, %zu predictions)\n", perplexity(of), uncertainty(of),
           of->chunks, of->context, of->scored);
    return;
  }
  json_t *result =
      json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:s}", "perplexity", tq_json_real(perplexity(of)), "error",
                tq_json_real(uncertainty(of)), "chunks", (json_int_t)of->chunks, "context", (json_int_t)of->context,
                "predictions", (json_int_t)of->scored, "tokens", (json_int_t)of->token_count, "activations",
                tq_activations_name(tq_session_activations(of->session)), "kv",
                tq_cache_type_name(tq_session_cache(of->session)));
  json_dumpf(result, stdout, JSON_INDENT(2));
  putchar('\n');
  json_decref(result);
}

/* ---- setting up ---- */

/* As many tokens in a call as give no more logits than fit in 64 MiB; the result does not depend on it. */
static uint32_t choose_batch(const evaluation *of) {
  uint32_t batch = MOST_LOGITS / of->sizes->vocabulary;
  if (batch > TQ_DEFAULT_BATCH) batch = TQ_DEFAULT_BATCH;
  if (batch > of->context) batch = of->context;
  return batch ? batch : 1;
}

static void choose_context(evaluation *of) {
  of->context = of->given->context                     ? (uint32_t)of->given->context
                : of->sizes->context < DEFAULT_CONTEXT ? of->sizes->context
                                                       : DEFAULT_CONTEXT;
  if (of->context < LEAST_CONTEXT) of->context = LEAST_CONTEXT;
  if (of->context > of->sizes->context)
    fprintf(stderr, "tq-eval: warning: the model was trained for a context of %u\n", of->sizes->context);
}

static tq_status start(evaluation *of, const tq_model *model, tq_error *error) {
  of->batch = choose_batch(of);
  of->positions = tq_allocate(of->batch, sizeof *of->positions, error);
  of->wanted = tq_allocate(of->batch, sizeof *of->wanted, error);
  if (!of->positions || !of->wanted) return TQ_ERROR_SYSTEM;
  tq_session_options wanted = {.context = of->context,
                               .batch = of->batch,
                               .threads = (uint32_t)of->given->threads,
                               .activations = of->given->activations,
                               .cache = of->given->cache};
  return tq_session_create(model, &wanted, &of->session, error);
}

/* llama.cpp asks for two chunks at least, and so do we, to give the same figures or none. A tokenizer may know tokens
 * that the model has no logits for. */
static tq_status check_tokens(const evaluation *of, tq_error *error) {
  if (of->token_count / 2 < of->context)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: its %zu tokens are fewer than two chunks of %u", of->given->file,
                   of->token_count, of->context);
  return tool_check_tokens(of->given->model, of->tokens, of->token_count, of->sizes->vocabulary, error);
}

static tq_status read_tokens(evaluation *of, const tq_model *model, tq_error *error) {
  const tq_tokenizer *tokenizer = tq_model_tokenizer(model);
  char *text;
  size_t size;
  if (!tokenizer) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: has no tokenizer", of->given->model);
  of->first = tq_tokenizer_adds_bos(tokenizer) ? tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS) : -1;
  tq_status status = tq_stream_read_all(of->given->file, TOOL_MOST_TEXT, &text, &size, error);
  if (status) return status;
  status = tq_tokenizer_encode(tokenizer, text, size, TQ_ENCODE_SPECIAL, &of->tokens, &of->token_count, error);
  tq_release(text);
  return status ? status : check_tokens(of, error);
}

static tq_status evaluate(evaluation *of, const tq_model *model, tq_error *error) {
  of->sizes = tq_model_hyperparameters(model);
  choose_context(of);
  /* The text bounds the context that memory is taken for. */
  tq_status status = read_tokens(of, model, error);
  if (!status) status = start(of, model, error);
  if (!status) status = evaluate_chunks(of, error);
  if (!status) {
    print_result(of);
    if (!isfinite(of->sum))
      status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: the model gives numbers that are not finite", of->given->model);
  }
  tq_session_destroy(of->session);
  tq_free(of->positions);
  tq_free(of->wanted);
  tq_release(of->tokens);
  return status;
}

static tq_status evaluate_file(const arguments *given, tq_error *error) {
  evaluation of = {.given = given};
  tq_file *file;
  tq_model *model;
  tq_status status = tool_open_container(given->model, &file, error);
  if (status) return status;
  status = tq_model_create(file, &model, error);
  if (!status) {
    status = evaluate(&of, model, error);
    tq_model_destroy(model);
  }
  tq_file_close(file);
  return status;
}

int main(int count, char **values) {
  arguments given = {0};
  tq_error error;
  tool_start("tq-eval");
  int done = parse_arguments(count, values, &given);
  if (done >= 0) return tool_finish(done);
  tq_status status = evaluate_file(&given, &error);
  return status ? tool_fail(&error) : tool_finish(TQ_OK);
}
