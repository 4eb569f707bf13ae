/* tq-run: continues a text. */
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "tools/load.h"
#include "tools/tool.h"
#include "tq/chat.h"
#include "tq/model.h"

#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] = "Usage: tq-run MODEL (-p TEXT | -f FILE) [OPTION]...\n"
                            "Continues a text with the model in a .tq file.\n"
                            "  -p, --prompt TEXT       the text\n"
                            "  -f, --file FILE         the text from a file (-, or no -p: standard input)\n"
                            "  -n, --predict N         at most N tokens (128)\n"
                            "  -c, --context N         at most N positions with the prompt (the model's)\n"
                            "  -t, --threads N         threads (one per processor)\n"
                            "      --temp T            temperature (0.8); 0: always the most likely token\n"
                            "      --top-k K           one of the K most likely tokens (40); 0: of all\n"
                            "      --top-p P           of the most likely that sum to P (0.95)\n"
                            "      --min-p P           at least P times as likely as the most likely (0.05)\n"
                            "      --repeat-penalty R  makes the last 64 tokens less likely (1: no)\n"
                            "      --seed S            of the random numbers (another every time)\n"
                            "      --stop TEXT         ends before this text; may be given several times\n"
                            "      --chat              the text is a message, written by the model's template\n"
                            "      --system TEXT       with --chat: instructions that come before it\n"
                            "      --chat-template T   with --chat: plain, chatml, llama3, ... (the model's)\n"
                            "      --activations A     float, int8-token or int8-block (the model's)\n"
                            "      --kv T              keeps keys and values as f16 or q8 (f16)\n"
                            "      --ids, --echo       prints token ids, not text; prints the prompt first\n"
                            "      --tokenize          prints the text's ids and ends; a vocabulary will do\n"
                            "      --no-bos            with --tokenize: no tokens to begin and end the text\n"
                            "      --help, --version\n"
                            "Exit status: 0 done; 1 system error; 2 usage; 3 corrupt or not understood.\n";

enum { MOST_STOPS = 64, BATCH = TQ_DEFAULT_BATCH };

typedef struct arguments {
  const char *model, *prompt, *file;
  uint64_t predict, context, threads;
  tq_sampler_options sampling;
  bool seeded, ids, echo, tokenize, no_bos, chat;
  const char *system;
  const tq_chat_template *chat_template; /* NULL: the model's */
  tq_activations activations;
  tq_cache_type cache;
  const char *stops[MOST_STOPS + 1]; /* the last is the chat template's */
  size_t stop_count;
} arguments;

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- arguments ---- */

enum {
  OPTION_TEMP = 256,
  OPTION_TOP_K,
  OPTION_TOP_P,
  OPTION_MIN_P,
  OPTION_REPEAT_PENALTY,
  OPTION_SEED,
  OPTION_STOP,
  OPTION_SYSTEM,
  OPTION_CHAT_TEMPLATE,
  OPTION_ACTIVATIONS,
  OPTION_KV,
  OPTION_IDS,
  OPTION_ECHO,
  OPTION_TOKENIZE,
  OPTION_NO_BOS,
  OPTION_CHAT,
  OPTION_HELP,
  OPTION_VERSION
};

static const struct option options[] = {
    {"prompt", required_argument, NULL, 'p'},
    {"file", required_argument, NULL, 'f'},
    {"predict", required_argument, NULL, 'n'},
    {"context", required_argument, NULL, 'c'},
    {"threads", required_argument, NULL, 't'},
    {"temp", required_argument, NULL, OPTION_TEMP},
    {"top-k", required_argument, NULL, OPTION_TOP_K},
    {"top-p", required_argument, NULL, OPTION_TOP_P},
    {"min-p", required_argument, NULL, OPTION_MIN_P},
    {"repeat-penalty", required_argument, NULL, OPTION_REPEAT_PENALTY},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"stop", required_argument, NULL, OPTION_STOP},
    {"chat", no_argument, NULL, OPTION_CHAT},
    {"system", required_argument, NULL, OPTION_SYSTEM},
    {"chat-template", required_argument, NULL, OPTION_CHAT_TEMPLATE},
    {"activations", required_argument, NULL, OPTION_ACTIVATIONS},
    {"kv", required_argument, NULL, OPTION_KV},
    {"ids", no_argument, NULL, OPTION_IDS},
    {"echo", no_argument, NULL, OPTION_ECHO},
    {"tokenize", no_argument, NULL, OPTION_TOKENIZE},
    {"no-bos", no_argument, NULL, OPTION_NO_BOS},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {0},
};

/* The parsers return -1 to go on, or the exit status. */
static int parse_whole(const char *name, uint64_t least, uint64_t most, uint64_t *value) {
  if (tool_parse_u64(optarg, least, most, value)) return -1;
  return tool_usage("%s takes a whole number from %llu to %llu, not '%s'", name, (unsigned long long)least,
                    (unsigned long long)most, optarg);
}

static int parse_real(const char *name, double least, double most, float *value) {
  double number;
  if (!tool_parse_double(optarg, least, most, &number))
    return tool_usage("%s takes a number from %g to %g, not '%s'", name, least, most, optarg);
  *value = (float)number;
  return -1;
}

static int parse_stop(arguments *given) {
  if (!*optarg) return tool_usage("--stop takes a text that is not empty");
  if (given->stop_count == MOST_STOPS) return tool_usage("--stop can be given %d times", MOST_STOPS);
  given->stops[given->stop_count++] = optarg;
  return -1;
}

enum { TEMPLATE_NAMES_SIZE = 256 };

/* The names of the chat templates as a list; one that does not fit is left out. */
static void list_templates(char names[TEMPLATE_NAMES_SIZE]) {
  size_t size = 0;
  names[0] = 0;
  for (size_t i = 0; tq_chat_template_name(i); i++) {
    const char *name = tq_chat_template_name(i), *comma = i ? ", " : "";
    if (size + strlen(comma) + strlen(name) >= TEMPLATE_NAMES_SIZE) continue;
    size += (size_t)snprintf(names + size, TEMPLATE_NAMES_SIZE - size, "%s%s", comma, name);
  }
}

static int parse_chat_template(arguments *given) {
  char names[TEMPLATE_NAMES_SIZE];
  given->chat_template = tq_chat_template_by_name(optarg);
  if (given->chat_template) return -1;
  list_templates(names);
  return tool_usage("--chat-template takes one of %s, not '%s'", names, optarg);
}

static int parse_activations(arguments *given) {
  if (tq_activations_by_name(optarg, &given->activations)) return -1;
  return tool_usage("--activations takes float, int8-token or int8-block, not '%s'", optarg);
}

static int parse_cache(arguments *given) {
  if (tq_cache_type_by_name(optarg, &given->cache)) return -1;
  return tool_usage("--kv takes f16 or q8, not '%s'", optarg);
}

static int parse_flag(int option, arguments *given) {
  bool *const flags[] = {&given->ids, &given->echo, &given->tokenize, &given->no_bos, &given->chat};
  if (option == OPTION_HELP) return fputs(usage, stdout), TQ_OK;
  if (option == OPTION_VERSION) return tool_version();
  if (option < OPTION_IDS || option > OPTION_CHAT) return tool_usage("see the options");
  *flags[option - OPTION_IDS] = true;
  return -1;
}

static int parse_option(int option, arguments *given) {
  uint64_t top_k = 0;
  int done;
  switch (option) {
  case 'p':
    return given->prompt = optarg, -1;
  case 'f':
    return given->file = optarg, -1;
  case 'n':
    return parse_whole("-n", 0, INT32_MAX, &given->predict);
  case 'c':
    return parse_whole("-c", 1, INT32_MAX, &given->context);
  case 't':
    return parse_whole("-t", 1, tool_most_threads(), &given->threads);
  case OPTION_TEMP:
    return parse_real("--temp", 0, 1e6, &given->sampling.temperature);
  case OPTION_TOP_K:
    done = parse_whole("--top-k", 0, INT32_MAX, &top_k);
    given->sampling.top_k = (uint32_t)top_k;
    return done;
  case OPTION_TOP_P:
    return parse_real("--top-p", 0, 1, &given->sampling.top_p);
  case OPTION_MIN_P:
    return parse_real("--min-p", 0, 1, &given->sampling.min_p);
  case OPTION_REPEAT_PENALTY:
    return parse_real("--repeat-penalty", 1e-6, 1e6, &given->sampling.repeat_penalty);
  case OPTION_SEED:
    given->seeded = true;
    return parse_whole("--seed", 0, UINT64_MAX, &given->sampling.seed);
  case OPTION_STOP:
    return parse_stop(given);
  case OPTION_SYSTEM:
    return given->system = optarg, -1;
  case OPTION_CHAT_TEMPLATE:
    return parse_chat_template(given);
  case OPTION_ACTIVATIONS:
    return parse_activations(given);
  case OPTION_KV:
    return parse_cache(given);
  default:
    return parse_flag(option, given);
  }
}

static int parse_arguments(int count, char **values, arguments *given) {
  for (int option; (option = getopt_long(count, values, "p:f:n:c:t:", options, NULL)) != -1;) {
    int status = parse_option(option, given);
    if (status >= 0) return status;
  }
  if (optind + 1 != count) return tool_usage(optind == count ? "no model given" : "more than one model given");
  given->model = values[optind];
  if (given->prompt && given->file) return tool_usage("-p and -f cannot be given together");
  if (given->no_bos && !given->tokenize) return tool_usage("--no-bos goes with --tokenize");
  if (given->system && !given->chat) return tool_usage("--system goes with --chat");
  if (given->chat_template && !given->chat) return tool_usage("--chat-template goes with --chat");
  return -1;
}

/* ---- output ---- */

/* Text on its way out: what may still become part of a stop text, or of a character, is held back. */
typedef struct stream {
  const arguments *given;
  tq_buffer held;
  bool skip_space; /* the space that a dummy prefix put before the first token */
  bool stopped;
  bool any_ids; /* printed */
} stream;

/* How many bytes at the end begin a UTF-8 sequence that is not complete. */
static size_t incomplete_tail(const uint8_t *bytes, size_t size) {
  for (size_t back = 1; back <= 3 && back <= size; back++) {
    uint8_t byte = bytes[size - back];
    if ((byte & 0xc0) == 0x80) continue;
    size_t needed = byte >= 0xf0 && byte <= 0xf4 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return byte < 0xf5 && needed > back ? back : 0;
  }
  return 0;
}

/* How many bytes at the end may be the beginning of a stop text. */
static size_t stop_tail(const stream *out) {
  size_t longest = 0;
  for (size_t i = 0; i < out->given->stop_count; i++) {
    const char *stop = out->given->stops[i];
    size_t length = strlen(stop), tail = length - 1 < out->held.size ? length - 1 : out->held.size;
    while (tail > longest && memcmp(out->held.data + out->held.size - tail, stop, tail) != 0) tail--;
    if (tail > longest) longest = tail;
  }
  return longest;
}

/* Where the first of the stop texts begins, or the size of what is held. */
static size_t find_stop(const stream *out) {
  size_t first = out->held.size;
  for (size_t i = 0; i < out->given->stop_count; i++) {
    const char *stop = out->given->stops[i];
    const uint8_t *found = out->held.size ? memmem(out->held.data, out->held.size, stop, strlen(stop)) : NULL;
    if (found && (size_t)(found - out->held.data) < first) first = (size_t)(found - out->held.data);
  }
  return first;
}

static tq_status release(stream *out, size_t size, tq_error *error) {
  tq_status status = TQ_OK;
  if (!size) return TQ_OK;
  if (!out->given->ids) {
    fwrite(out->held.data, 1, size, stdout);
    status = tool_flush(error);
  }
  memmove(out->held.data, out->held.data + size, out->held.size - size);
  out->held.size -= size;
  return status;
}

static tq_status put(stream *out, const char *bytes, size_t size, tq_error *error) {
  if (out->skip_space && size) {
    out->skip_space = false;
    if (*bytes == ' ') bytes++, size--;
  }
  tq_status status = size ? tq_buffer_append(&out->held, bytes, size, error) : TQ_OK;
  if (status) return status;
  size_t end = find_stop(out);
  out->stopped = end < out->held.size;
  if (!out->stopped) {
    size_t by_stop = stop_tail(out), by_character = incomplete_tail(out->held.data, out->held.size);
    end -= by_stop > by_character ? by_stop : by_character;
  }
  return release(out, end, error);
}

static tq_status print_ids(stream *out, const uint32_t *ids, size_t count, tq_error *error) {
  for (size_t i = 0; i < count; i++, out->any_ids = true) printf("%s%u", out->any_ids ? " " : "", ids[i]);
  return tool_flush(error);
}

static tq_status put_token(stream *out, const tq_tokenizer *tokenizer, uint32_t token, tq_error *error) {
  char few[64], *piece = few;
  size_t size = tq_tokenizer_piece(tokenizer, token, false, few, sizeof few);
  if (size > sizeof few) {
    piece = tq_allocate(size, 1, error);
    if (!piece) return TQ_ERROR_SYSTEM;
    tq_tokenizer_piece(tokenizer, token, false, piece, size);
  }
  tq_status status = put(out, piece, size, error);
  if (piece != few) tq_free(piece);
  return !status && out->given->ids && !out->stopped ? print_ids(out, &token, 1, error) : status;
}

/* ---- prompts ---- */

/* What is put before the model. */
typedef struct prompt {
  tq_chat_text chat; /* a rendered conversation, or empty */
  const char *text;  /* as it is printed */
  size_t size;
  uint32_t *ids;
  size_t count;
} prompt;

static void prompt_free(prompt *of) {
  tq_chat_text_release(&of->chat);
  tq_release(of->ids);
}

static tq_string special_text(const tq_tokenizer *tokenizer, tq_special_token which) {
  int64_t id = tq_tokenizer_special(tokenizer, which);
  if (id < 0) return (tq_string){0};
  return tq_tokenizer_token(tokenizer, (uint32_t)id, NULL, NULL);
}

/* Of a model whose template is not known, an error that says what to do. */
static tq_status choose_template(const arguments *given, const tq_tokenizer *tokenizer, const tq_chat_template **row,
                                 tq_error *error) {
  tq_error reason;
  char names[TEMPLATE_NAMES_SIZE];
  *row = given->chat_template;
  if (*row || tq_chat_template_of(tokenizer, row, &reason) == TQ_OK) return TQ_OK;
  list_templates(names);
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s; --chat-template takes one of %s", given->model, reason.message,
                 names);
}

static tq_status render(const arguments *given, const tq_tokenizer *tokenizer, const tq_chat_template *row,
                        tq_string text, prompt *to, tq_error *error) {
  const char *system = given->system ? given->system : "";
  const tq_chat_message messages[] = {{TQ_CHAT_SYSTEM, {system, strlen(system)}}, {TQ_CHAT_USER, text}};
  size_t skipped = given->system ? 0 : 1;
  tq_status status = tq_chat_render(row, messages + skipped, 2 - skipped, true, special_text(tokenizer, TQ_SPECIAL_BOS),
                                    special_text(tokenizer, TQ_SPECIAL_EOS), &to->chat, error);
  to->text = to->chat.text;
  to->size = to->chat.size;
  return status;
}

/* Text as it is, or as the message of a conversation; freed by prompt_free, whatever is returned. `turn_end` gets the
 * text that ends the reply. */
static tq_status make_prompt(const arguments *given, const tq_tokenizer *tokenizer, tq_string text, prompt *to,
                             const char **turn_end, tq_error *error) {
  unsigned flags = given->no_bos ? 0u : (unsigned)TQ_ENCODE_SPECIAL;
  const tq_chat_template *row;
  *to = (prompt){.text = text.data, .size = text.size};
  *turn_end = "";
  if (!given->chat)
    return tq_tokenizer_encode(tokenizer, text.data, text.size, flags | TQ_ENCODE_CONTROL, &to->ids, &to->count, error);
  tq_status status = choose_template(given, tokenizer, &row, error);
  if (!status) status = render(given, tokenizer, row, text, to, error);
  if (status) return status;
  *turn_end = tq_chat_template_end_of_turn(row);
  return tq_chat_encode(tokenizer, &to->chat, flags, &to->ids, &to->count, error);
}

/* ---- running ---- */

typedef struct run {
  const arguments *given;
  const tq_tokenizer *tokenizer;
  tq_session *session;
  tq_sampler *sampler;
  const prompt *prompt;
  uint32_t vocabulary; /* of the logits */
  uint32_t limit;      /* of positions */
  uint32_t position;   /* of the next token */
  const float *logits; /* of the last token */
  size_t generated;
  size_t passed; /* of these through the model: the last needs no pass */
  bool full;     /* the context, before the text ended */
  double loaded, prompted;
} run;

/* Numbers that are none come of scales that are none, and would be taken for a text that ends at once. */
static tq_status check_logits(const run *of, tq_error *error) {
  for (uint32_t i = 0; i < of->vocabulary; i++) {
    if (isnan(of->logits[i]))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: what the model computes at position %u is not a number",
                     of->given->model, of->position - 1);
  }
  return TQ_OK;
}

static tq_status feed(run *of, const uint32_t *tokens, size_t count, tq_error *error) {
  uint32_t positions[BATCH];
  for (size_t i = 0; i < count; i++) positions[i] = of->position++;
  tq_batch batch = {.count = count, .tokens = tokens, .positions = positions};
  tq_status status = tq_forward(of->session, &batch, &of->logits, error);
  return status ? status : check_logits(of, error);
}

static tq_status feed_prompt(run *of, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < of->prompt->count; i += BATCH) {
    size_t count = of->prompt->count - i < BATCH ? of->prompt->count - i : BATCH;
    status = feed(of, of->prompt->ids + i, count, error);
  }
  for (size_t i = 0; i < of->prompt->count; i++) tq_sampler_accept(of->sampler, of->prompt->ids[i]);
  return status;
}

static tq_status generate(run *of, stream *out, tq_error *error) {
  tq_status status = TQ_OK;
  while (!status && of->generated < of->given->predict) {
    uint32_t token = tq_sampler_sample(of->sampler, of->logits);
    if (tq_tokenizer_ends_generation(of->tokenizer, token)) break;
    tq_sampler_accept(of->sampler, token);
    of->generated++;
    status = put_token(out, of->tokenizer, token, error);
    if (status || out->stopped || of->generated == of->given->predict) break;
    of->full = of->position == of->limit;
    if (of->full) break;
    status = feed(of, &token, 1, error);
    if (!status) of->passed++;
  }
  return !status && !out->stopped ? release(out, out->held.size, error) : status;
}

static double rate(size_t count, double time) { return time > 0 ? (double)count / time : 0; }

static tq_status print_prompt(const run *of, stream *out, tq_error *error) {
  if (of->given->ids) return print_ids(out, of->prompt->ids, of->prompt->count, error);
  fwrite(of->prompt->text, 1, of->prompt->size, stdout);
  return tool_flush(error);
}

static tq_status run_model(run *of, tq_error *error) {
  bool starts_text = of->prompt->size == 0 || of->given->chat;
  bool skip_space = starts_text && tq_tokenizer_adds_space_prefix(of->tokenizer);
  stream out = {.given = of->given, .skip_space = skip_space && !of->given->ids};
  tq_status status = of->given->echo ? print_prompt(of, &out, error) : TQ_OK;
  if (!status) status = feed_prompt(of, error);
  of->prompted = seconds();
  if (!status) status = generate(of, &out, error);
  double end = seconds();
  tq_buffer_free(&out.held);
  if (status) return status;
  bool line_ended = of->given->ids || isatty(STDOUT_FILENO);
  if (line_ended) putchar('\n');
  status = tool_flush(error);
  if (status) return status;
  /* The text ends without a line break, and both streams may go to one place. */
  if (!line_ended) fputc('\n', stderr);
  if (of->full) fprintf(stderr, "tq-run: the context of %u tokens is full\n", of->limit);
  fprintf(stderr, "prompt %zu tokens, %.1f t/s; generation %zu tokens", of->prompt->count,
          rate(of->prompt->count, of->prompted - of->loaded), of->generated);
  if (of->passed) fprintf(stderr, ", %.1f t/s", rate(of->passed, end - of->prompted));
  fputc('\n', stderr);
  return TQ_OK;
}

/* Models may have more embeddings than tokens, for the sake of a round number: those cannot be said. */
static uint32_t speakable(const run *of, const tq_hyperparameters *sizes) {
  size_t tokens = tq_tokenizer_token_count(of->tokenizer);
  return tokens < sizes->vocabulary ? (uint32_t)tokens : sizes->vocabulary;
}

/* Positions for the whole run and no more, since memory is taken for each. */
static tq_status start_session(run *of, const tq_model *model, double start, tq_error *error) {
  const tq_hyperparameters *sizes = tq_model_hyperparameters(model);
  const arguments *given = of->given;
  of->vocabulary = sizes->vocabulary;
  of->limit = given->context ? (uint32_t)given->context : sizes->context;
  if (of->limit > sizes->context)
    fprintf(stderr, "tq-run: warning: the model was trained for a context of %u\n", sizes->context);
  if (of->prompt->count > of->limit)
    return tq_fail(error, TQ_ERROR_USAGE, "the prompt's %zu tokens do not fit the context of %u", of->prompt->count,
                   of->limit);
  uint64_t needed = of->prompt->count + given->predict;
  tq_session_options wanted = {.context = needed < of->limit ? (uint32_t)needed : of->limit,
                               .batch = of->prompt->count < BATCH ? (uint32_t)of->prompt->count : BATCH,
                               .threads = (uint32_t)given->threads,
                               .activations = given->activations,
                               .cache = given->cache};
  tq_status status = tq_session_create(model, &wanted, &of->session, error);
  if (!status) status = tq_sampler_create(&given->sampling, speakable(of, sizes), &of->sampler, error);
  of->loaded = seconds();
  if (status) return status;
  if (!given->seeded && given->sampling.temperature > 0)
    fprintf(stderr, "seed %llu\n", (unsigned long long)given->sampling.seed);
  fprintf(stderr, "load %.0f ms\n", 1e3 * (of->loaded - start));
  return TQ_OK;
}

static tq_status run_prompt(run *of, const tq_model *model, double start, tq_error *error) {
  tq_status status = TQ_OK;
  if (of->prompt->count == 0) status = tq_fail(error, TQ_ERROR_USAGE, "the prompt is empty");
  if (!status)
    status = tool_check_tokens(of->given->model, of->prompt->ids, of->prompt->count,
                               tq_model_hyperparameters(model)->vocabulary, error);
  if (!status) status = start_session(of, model, start, error);
  if (!status) status = run_model(of, error);
  tq_sampler_destroy(of->sampler);
  tq_session_destroy(of->session);
  return status;
}

static tq_status run_with_model(const arguments *given, const tq_model *model, tq_string text, double start,
                                tq_error *error) {
  arguments with = *given;
  prompt made;
  run of = {.given = &with, .tokenizer = tq_model_tokenizer(model), .prompt = &made};
  const char *turn_end;
  if (!of.tokenizer) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: has no tokenizer", given->model);
  tq_status status = make_prompt(given, of.tokenizer, text, &made, &turn_end, error);
  if (*turn_end) with.stops[with.stop_count++] = turn_end;
  if (!status) status = run_prompt(&of, model, start, error);
  prompt_free(&made);
  return status;
}

static tq_status run_text(const arguments *given, const tq_file *file, tq_string text, double start, tq_error *error) {
  tq_model *model;
  tq_status status = tq_model_create(file, &model, error);
  if (status) return status;
  status = run_with_model(given, model, text, start, error);
  tq_model_destroy(model);
  return status;
}

static tq_status tokenize(const arguments *given, const tq_file *file, tq_string text, tq_error *error) {
  tq_section section;
  tq_tokenizer *tokenizer;
  prompt made;
  const char *turn_end;
  if (!tq_file_find_section(file, "tokenizer", &section))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: has no tokenizer", given->model);
  tq_status status = tq_tokenizer_open(section.data, (size_t)section.size, &tokenizer, error);
  if (status) return status;
  status = make_prompt(given, tokenizer, text, &made, &turn_end, error);
  if (!status) {
    status = print_ids(&(stream){0}, made.ids, made.count, error);
    putchar('\n');
  }
  prompt_free(&made);
  tq_tokenizer_close(tokenizer);
  return status;
}

/* The text from where the arguments say; of a prompt in a file, one newline at its end is the file's. */
static tq_status read_prompt(const arguments *given, char **text, size_t *size, tq_error *error) {
  if (given->prompt) {
    *size = strlen(given->prompt);
    *text = tq_copy_string(given->prompt, *size, error);
    return *text ? TQ_OK : TQ_ERROR_SYSTEM;
  }
  tq_status status = tq_stream_read_all(given->file ? given->file : "-", TOOL_MOST_TEXT, text, size, error);
  if (!status && !given->tokenize && *size && (*text)[*size - 1] == '\n') --*size;
  return status;
}

static tq_status run_tool_on(const arguments *given, double start, tq_error *error) {
  tq_file *file;
  char *text;
  size_t size;
  tq_status status = tool_open_container(given->model, &file, error);
  if (status) return status;
  status = read_prompt(given, &text, &size, error);
  if (!status) {
    tq_string whole = {text, size};
    status = given->tokenize ? tokenize(given, file, whole, error) : run_text(given, file, whole, start, error);
    tq_release(text);
  }
  tq_file_close(file);
  return status;
}

static uint64_t choose_seed(void) {
  uint64_t seed;
  if (getentropy(&seed, sizeof seed) != 0) seed = (uint64_t)time(NULL) ^ (uint64_t)getpid() << 32;
  return seed;
}

int main(int count, char **values) {
  double start = seconds();
  arguments given = {
      .predict = 128,
      .sampling = {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.0f},
  };
  tq_error error;
  tool_start("tq-run");
  int done = parse_arguments(count, values, &given);
  if (done >= 0) return tool_finish(done);
  if (!given.seeded) given.sampling.seed = choose_seed();
  tq_status status = run_tool_on(&given, start, &error);
  return status ? tool_fail(&error) : tool_finish(TQ_OK);
}
