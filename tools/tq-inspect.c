/* tq-inspect: says what is in a model file, of whatever form. */
#include "tools/inspect.h"
#include "tools/inspect_compare.h"
#include "tools/reading.h"
#include "tools/tool.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

static const char usage[] =
    "Usage: tq-inspect FILE [OPTION]...\n"
    "Says what is in FILE: a .tq file, a GGUF file, a Hugging Face folder, a safetensors, PyTorch or llama2.c\n"
    "checkpoint, or a .tar, .tar.gz, .tar.zst or .zip of one of these.\n"
    "\n"
    "      --compare B   whether FILE and B, of any two forms, are the same model, and if not in what they differ\n"
    "      --tensors     a line per tensor instead of one per group\n"
    "      --hash        only the digest of the weights, two spaces and FILE, as md5sum prints;\n"
    "                    with --tensors a line per tensor: its digest and its role\n"
    "      --json        everything, as one JSON object\n"
    "      --verify      check every byte of a .tq file against its hashes (only that where nothing else is asked)\n"
    "      --verify=content\n"
    "                    and its codes, patches and digests against what it holds, which takes longer\n" READING_USAGE
    "      --help, --version\n"
    "\n"
    "Two files with the same weights digest hold the same weights, however they are encoded; with the same three\n"
    "digests they are the same model. NO_COLOR turns colours off.\n"
    "Exit status: 0 done, or the same; 1 system error; 2 usage; 3 corrupt or not understood;\n"
    "4 which of two readings is right cannot be told; 5 different.\n";

typedef struct arguments {
  const char *path, *other;
  tq_open_options open;
  bool tensors, hash, json;
  inspect_verified verify;
  bool reads; /* an option says how a foreign file is to be read */
} arguments;

enum { OPTION_TENSORS = 256, OPTION_COMPARE, OPTION_HASH, OPTION_JSON, OPTION_VERIFY, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {{"tensors", no_argument, NULL, OPTION_TENSORS},
                                        {"compare", required_argument, NULL, OPTION_COMPARE},
                                        READING_OPTIONS,
                                        {"hash", no_argument, NULL, OPTION_HASH},
                                        {"json", no_argument, NULL, OPTION_JSON},
                                        {"verify", optional_argument, NULL, OPTION_VERIFY},
                                        {"help", no_argument, NULL, OPTION_HELP},
                                        {"version", no_argument, NULL, OPTION_VERSION},
                                        {0}};

/* Returns -1 to go on, or the exit status. */
static int parse_option(int option, arguments *given) {
  if (reading_is_option(option)) {
    given->reads = true;
    return reading_parse(option, optarg, &given->open);
  }
  switch (option) {
  case OPTION_COMPARE:
    given->other = optarg;
    return -1;
  case OPTION_TENSORS:
    given->tensors = true;
    return -1;
  case OPTION_HASH:
    given->hash = true;
    return -1;
  case OPTION_JSON:
    given->json = true;
    return -1;
  case OPTION_VERIFY:
    if (optarg && strcmp(optarg, "content") != 0) return tool_usage("--verify takes nothing or =content");
    given->verify = optarg ? INSPECT_CONTENT : INSPECT_HASHES;
    return -1;
  case OPTION_HELP:
    fputs(usage, stdout);
    return TQ_OK;
  case OPTION_VERSION:
    return tool_version();
  default:
    return tool_usage("see the options");
  }
}

static int parse_arguments(int count, char **values, arguments *given) {
  for (int option; (option = getopt_long(count, values, "", options, NULL)) != -1;) {
    int status = parse_option(option, given);
    if (status >= 0) return status;
  }
  if (optind + 1 != count) return tool_usage(optind == count ? "no file given" : "more than one file given");
  given->path = values[optind];
  if (given->hash && given->json) return tool_usage("--hash and --json exclude each other");
  if (given->other && (given->hash || given->verify || given->tensors))
    return tool_usage("--compare goes with --json only");
  if (given->reads && tq_file_recognize(given->path) && (!given->other || tq_file_recognize(given->other)))
    return tool_usage("--assume, --q2-group, --i2s-layout and --weight-scale are for files that are no .tq files");
  return -1;
}

/* True when nothing is to be printed but whether the file is intact. */
static bool only_verifies(const arguments *given) {
  return given->verify && !given->tensors && !given->hash && !given->json;
}

static tq_status refuse_foreign(const inspect_model *model, tq_error *error) {
  return tq_fail(error, TQ_ERROR_USAGE, "%s: --verify: a %s carries no hashes; only a .tq file can be verified",
                 model->path, model->description);
}

static void print_intact(const inspect_model *model) {
  uint64_t chunks = 0;
  char hash[2 * TQ_HASH_SIZE + 1];
  for (size_t i = 0; i < model->tensor_count; i++)
    chunks += (model->tensors[i].stored->data_size + TQ_CHUNK_SIZE - 1) / TQ_CHUNK_SIZE;
  tq_hash_print(model->hash, model->hash_size, hash);
  tool_print_name(model->path);
  printf(": intact (");
  if (model->not_understood)
    printf("hashes of %zu tensors, content of %zu tensors, %zu not understood", model->tensor_count,
           model->tensor_count - model->not_understood, model->not_understood);
  else
    printf("%s of %zu tensors", model->verified == INSPECT_CONTENT ? "hashes and content" : "hashes",
           model->tensor_count);
  printf(", %" PRIu64 " chunks, %s %s)\n", chunks, model->hash_name, hash);
}

static void print_digest(const tq_digest *digest) {
  char text[2 * TQ_DIGEST_SIZE + 1];
  tq_hash_print(digest->bytes, sizeof digest->bytes, text);
  printf("%s  ", text);
}

/* A path that would break the line is escaped, and a backslash before the digest says so, as md5sum has it; other paths
 * come out byte for byte, for a script to use. */
static void print_file_digest(const tq_digest *digest, const char *path) {
  if (path[strcspn(path, "\\\n\r")]) putchar('\\');
  print_digest(digest);
  for (const char *c = path; *c; c++) {
    if (*c == '\\' || *c == '\n' || *c == '\r')
      printf("\\%c", *c == '\\' ? '\\' : *c == '\n' ? 'n' : 'r');
    else
      putchar(*c);
  }
  putchar('\n');
}

static void print_digests(const inspect_model *model, bool tensors) {
  if (!tensors) print_file_digest(&model->weights, model->path);
  for (size_t i = 0; tensors && i < model->tensor_count; i++) {
    print_digest(&model->tensors[i].content);
    tool_print_name(model->tensors[i].role);
    putchar('\n');
  }
}

static tq_status print(const arguments *given, const inspect_model *model, tq_error *error) {
  if (given->json) return inspect_print_json(model, error);
  if (given->hash)
    print_digests(model, given->tensors);
  else if (only_verifies(given))
    print_intact(model);
  else
    return inspect_print_text(model, given->tensors, error);
  return TQ_OK;
}

/* Returns the exit status. */
static int compare(const arguments *given) {
  static const inspect_needs needs = {.digests = true};
  tq_error error;
  inspect_model first = {0}, second = {0};
  comparison result = {0};
  tq_status status = inspect_open(given->path, &given->open, needs, &first, &error);
  if (!status) status = inspect_open(given->other, &given->open, needs, &second, &error);
  if (!status) status = compare_models(&first, &second, &result, &error);
  if (!status) status = given->json ? compare_print_json(&result, &error) : compare_print_text(&result, &error);
  int done = status ? tool_fail(&error) : tool_finish(compare_is_identical(&result) ? TQ_OK : TQ_DIFFERENT);
  compare_free(&result);
  inspect_close(&second);
  inspect_close(&first);
  return done;
}

int main(int count, char **values) {
  arguments given = {0};
  tq_error error;
  inspect_model model;
  tool_start("tq-inspect");
  int done = parse_arguments(count, values, &given);
  if (done >= 0) return tool_finish(done);
  if (given.other) return compare(&given);
  inspect_needs needs = {.digests = !given.verify, .hash = !given.verify && !given.hash, .verified = given.verify};
  tq_status status = inspect_open(given.path, &given.open, needs, &model, &error);
  if (!status && given.verify && !model.file) status = refuse_foreign(&model, &error);
  if (!status) status = print(&given, &model, &error);
  int result = status ? tool_fail(&error) : tool_finish(TQ_OK);
  inspect_close(&model);
  return result;
}
