/* tq-convert: carries a checkpoint from one form to another, bit for bit or not at all. */
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "formats/format.h"
#include "formats/import.h"
#include "formats/source.h"
#include "tools/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char usage[] = "Usage: tq-convert IN -o OUT [OPTION]...\n"
                            "Carries a model from one form to another without losing a bit, or refuses.\n"
                            "IN is a .tq file, a GGUF file, a Hugging Face folder, a safetensors, PyTorch or llama2.c\n"
                            "checkpoint, or a .tar, .tar.gz, .tar.zst or .zip of one of these.\n"
                            "\n"
                            "  -o, --output OUT        what to write; .tq, .gguf and .safetensors are files, a name\n"
                            "                          without extension is a Hugging Face folder\n"
                            "      --to FORMAT         tq, gguf, hf or safetensors, where OUT's name does not say\n"
                            "      --code CODE         2bit or base3: how the ternary weights of a .tq are packed\n"
                            "                          (by default as they are; base3 where they are packed anew)\n"
                            "      --hash ALGORITHM    xxh3-128 (default) or sha256, for the hashes in a .tq\n"
                            "      --tokenizer FILE    the tokenizer of a checkpoint that comes without one\n"
                            "  -q, --quiet             print no notes but those of what is not carried\n"
                            "      --help, --version\n"
                            "\n"
                            "A checkpoint that came from GGUF or Hugging Face goes back there byte for byte.\n"
                            "Exit status: 0 done; 1 system error; 2 usage; 3 corrupt or not understood; 4 refused.\n";

typedef struct arguments {
  const char *input, *output, *to, *tokenizer;
  uint32_t code, hash;
  bool quiet;
} arguments;

enum { OPTION_TO = 256, OPTION_CODE, OPTION_HASH, OPTION_TOKENIZER, OPTION_HELP, OPTION_VERSION };

static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                        {"to", required_argument, NULL, OPTION_TO},
                                        {"code", required_argument, NULL, OPTION_CODE},
                                        {"hash", required_argument, NULL, OPTION_HASH},
                                        {"tokenizer", required_argument, NULL, OPTION_TOKENIZER},
                                        {"quiet", no_argument, NULL, 'q'},
                                        {"help", no_argument, NULL, OPTION_HELP},
                                        {"version", no_argument, NULL, OPTION_VERSION},
                                        {0}};

static const struct {
  const char *name;
  uint32_t encoding;
} codes[] = {{"2bit", TQ_TERNARY_2BIT}, {"base3", TQ_TERNARY_BASE3}};

static bool parse_code(const char *name, uint32_t *encoding) {
  for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
    if (strcmp(codes[i].name, name) == 0) {
      *encoding = codes[i].encoding;
      return true;
    }
  }
  return false;
}

/* Returns -1 to go on, or the exit status. */
static int parse_option(int option, arguments *given) {
  switch (option) {
  case 'o':
    given->output = optarg;
    return -1;
  case 'q':
    given->quiet = true;
    return -1;
  case OPTION_TO:
    given->to = optarg;
    return -1;
  case OPTION_TOKENIZER:
    given->tokenizer = optarg;
    return -1;
  case OPTION_CODE:
    return parse_code(optarg, &given->code) ? -1 : tool_usage("--code is 2bit or base3, not '%s'", optarg);
  case OPTION_HASH:
    given->hash = tq_hash_by_name(optarg);
    return given->hash ? -1 : tool_usage("--hash is xxh3-128 or sha256, not '%s'", optarg);
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
  for (int option; (option = getopt_long(count, values, "o:q", options, NULL)) != -1;) {
    int status = parse_option(option, given);
    if (status >= 0) return status;
  }
  if (optind + 1 != count) return tool_usage(optind == count ? "no input given" : "more than one input given");
  given->input = values[optind];
  if (!given->output) return tool_usage("no output given (-o)");
  return -1;
}

/* The name of the format that the output's name stands for, or NULL. */
static const char *format_of_name(const char *path) {
  size_t length = strlen(path);
  const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
  if (length && path[length - 1] == '/') return "hf";
  if (!dot || (slash && dot < slash)) return "hf";
  if (strcmp(dot, ".tq") == 0) return "tq";
  if (strcmp(dot, ".safetensors") == 0) return "safetensors";
  for (size_t i = 0; tq_format_at(i); i++) {
    const char *extension = tq_format_at(i)->extension;
    if (extension && *extension && strcmp(dot, extension) == 0) return tq_format_at(i)->name;
  }
  return NULL;
}

static bool names_folder(const char *path) {
  const char *format = format_of_name(path);
  return format && strcmp(format, "hf") == 0;
}

/* Nothing is lost silently: lines that tell of a loss are printed whatever -q says. */
static void print_notes(const arguments *given, const tq_buffer *notes) {
  static const char loss[] = "not carried: ";
  const char *at = (const char *)notes->data;
  for (size_t rest = notes->size; rest;) {
    const char *end = memchr(at, '\n', rest);
    size_t size = end ? (size_t)(end - at) + 1 : rest;
    bool is_loss = size >= sizeof loss - 1 && memcmp(at, loss, sizeof loss - 1) == 0;
    if (is_loss || !given->quiet) fwrite(at, 1, size, stderr);
    at += size;
    rest -= size;
  }
}

static tq_status import(const arguments *given, const char *path, tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_open_options open_options = {.tokenizer_path = given->tokenizer};
  tq_status status = tq_checkpoint_open(given->input, &open_options, &checkpoint, error);
  if (status) return status;
  print_notes(given, &checkpoint->notes);
  tq_progress progress = tool_progress("reading");
  status = tq_import(checkpoint, path, given->hash, &progress, error);
  tool_progress_end();
  tq_checkpoint_close(checkpoint);
  return status;
}

/* Gives the file back as what it came from, if `to` is that; *restored tells. */
static tq_status restore(const tq_file *file, const arguments *given, const char *to, bool *restored, tq_error *error) {
  char origin[64];
  size_t count;
  *restored = false;
  tq_status status = tq_source_describe(file, origin, sizeof origin, &count, error);
  if (status || strcmp(origin, to) != 0) return status;
  /* A split GGUF goes back into its parts in a folder; a name that ends in .gguf asks for one file. */
  if (strcmp(to, "gguf") == 0 && count > 1 && !names_folder(given->output)) return TQ_OK;
  *restored = true;
  tq_progress progress = tool_progress("writing");
  status = tq_source_restore(file, given->output, &progress, error);
  tool_progress_end();
  return status;
}

static tq_status export(const tq_file *file, const arguments *given, const char *to, tq_error *error) {
  bool restored;
  tq_status status = restore(file, given, to, &restored, error);
  if (status || restored) return status;
  const tq_format *format = tq_format_find(to);
  if (!format->write) {
    return tq_fail(error, TQ_ERROR_USAGE, "%s: the file did not come from %s, and only such a file is written as one",
                   given->output, to);
  }
  tq_buffer notes = {0};
  status = format->write(file, given->output, &notes, error);
  print_notes(given, &notes);
  tq_buffer_free(&notes);
  return status;
}

static tq_status convert_container(const arguments *given, const char *path, const char *to, tq_error *error) {
  tq_file *file;
  tq_status status = tq_file_open(path, TQ_VERIFY_LAZY, &file, error);
  if (status) return status;
  status = strcmp(to, "tq") == 0 ? tq_file_recode(file, given->output, given->code, given->hash, error)
                                 : export(file, given, to, error);
  tq_file_close(file);
  return status;
}

/* What goes wrong with the intermediate file is told of the output: the user knows no other. */
static void name_output(const char *intermediate, const char *output, tq_error *error) {
  char hidden[sizeof error->message], before[sizeof error->message];
  tq_printable(intermediate, strlen(intermediate), hidden, sizeof hidden);
  const char *found = strstr(error->message, hidden);
  if (!found) return;
  tq_status status = error->status;
  snprintf(before, sizeof before, "%.*s", (int)(found - error->message), error->message);
  tq_fail(error, status, "%s%s%s", before, output, found + strlen(hidden));
}

static tq_status convert_through(const char *folder, const arguments *given, const char *to, tq_error *error) {
  char *intermediate = tq_format_string(error, "%s/model.tq", folder);
  if (!intermediate) return TQ_ERROR_SYSTEM;
  tq_status status = import(given, intermediate, error);
  if (!status) status = convert_container(given, intermediate, to, error);
  if (status) name_output(intermediate, given->output, error);
  tq_free(intermediate);
  return status;
}

/* From one foreign form to another the way leads through a .tq file beside the output, which is removed again. What can
 * be known to fail in the end is refused before that is made. */
static tq_status convert_foreign(const arguments *given, const char *to, tq_error *error) {
  if (strcmp(to, "tq") == 0) return import(given, given->output, error);
  tq_scratch *scratch;
  tq_status status =
      strcmp(to, "hf") == 0 ? tq_output_folder_check(given->output, error) : tq_output_check(given->output, error);
  if (!status) status = tq_scratch_create(given->output, &scratch, error);
  if (status) return status;
  status = convert_through(tq_scratch_path(scratch), given, to, error);
  tq_scratch_remove(scratch);
  return status;
}

int main(int count, char **values) {
  arguments given = {0};
  tq_error error;
  tool_start("tq-convert");
  int done = parse_arguments(count, values, &given);
  if (done >= 0) return tool_finish(done);
  const char *to = given.to ? given.to : format_of_name(given.output);
  if (!to) return tool_usage("%s: the name does not tell a format that can be written; say --to", given.output);
  if (strcmp(to, "tq") != 0 && !tq_format_find(to)) return tool_usage("--to: no format is called '%s'", to);
  tq_scratch_clean(given.output);
  tq_status status = tq_file_recognize(given.input) ? convert_container(&given, given.input, to, &error)
                                                    : convert_foreign(&given, to, &error);
  return status ? tool_fail(&error) : TQ_OK;
}
