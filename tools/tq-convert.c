/* tq-convert: carries a checkpoint from one form to another, bit for bit or not at all. */
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "formats/dialects/encode.h"
#include "formats/format.h"
#include "formats/import.h"
#include "formats/source.h"
#include "tools/list.h"
#include "tools/reading.h"
#include "tools/tool.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char usage[] =
    "Usage: tq-convert IN -o OUT [OPTION]... | tq-convert --list\n"
    "Carries a model from one form to another without losing a bit, or refuses. IN: .tq, GGUF,\n"
    "Hugging Face folder, safetensors, PyTorch, llama2.c, or a .tar[.gz|.zst] or .zip of one.\n"
    "\n"
    "  -o, --output OUT            .tq and .gguf are files, a name without extension a folder\n"
    "      --to FORMAT             tq, gguf or hf, where OUT's name does not say\n"
    "      --type DIALECT          how OUT holds the ternary weights (default: as they came, or\n"
    "                              the smallest that is exact)\n"
    "      --list                  print the dialects and what each can hold\n"
    "      --code CODE             2bit or base3 (default where packed anew): codes of a .tq\n"
    "      --hash ALGORITHM        xxh3-128 (default) or sha256, for the hashes in a .tq\n"
    "      --tokenizer FILE        the tokenizer of a checkpoint that comes without one\n" READING_USAGE
    "  -q, --quiet                 print no notes but warnings and what is not carried\n"
    "      --help, --version\n"
    "\n"
    "Exit status: 0 done; 1 system error; 2 usage; 3 corrupt or not understood; 4 refused.\n";

typedef struct arguments {
  const char *input, *output, *to;
  const tq_dialect *type;
  tq_open_options open;
  uint32_t code, hash;
  bool takes_scales, quiet, list;
} arguments;

enum {
  OPTION_TO = 256,
  OPTION_TYPE,
  OPTION_LIST,
  OPTION_CODE,
  OPTION_HASH,
  OPTION_TOKENIZER,
  OPTION_HELP,
  OPTION_VERSION
};

static const struct option options[] = {{"output", required_argument, NULL, 'o'},
                                        {"to", required_argument, NULL, OPTION_TO},
                                        {"type", required_argument, NULL, OPTION_TYPE},
                                        {"list", no_argument, NULL, OPTION_LIST},
                                        {"code", required_argument, NULL, OPTION_CODE},
                                        {"hash", required_argument, NULL, OPTION_HASH},
                                        {"tokenizer", required_argument, NULL, OPTION_TOKENIZER},
                                        READING_OPTIONS,
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

/* "PQ2_0", or "PQ2_0+scale" for a type of GGUF's with tensors of scales. Returns -1 to go on, or the exit status. */
static int parse_type(const char *name, arguments *given) {
  const char *refused, *reason, *suffix = strrchr(name, '+');
  char plain[64];
  tq_error error;
  given->takes_scales = suffix && strcasecmp(suffix, "+scale") == 0;
  snprintf(plain, sizeof plain, "%.*s", given->takes_scales ? (int)(suffix - name) : (int)strlen(name), name);
  given->type = list_find(plain);
  bool takes = given->type && strcmp(given->type->carrier, "gguf") == 0;
  if (given->type && (takes || !given->takes_scales)) return -1;
  if (!list_find_refused(name, &refused, &reason))
    return tool_usage("--type: no dialect is called '%s'; --list prints them", name);
  tq_error_set(&error, TQ_ERROR_REFUSED, "%s is not written: %s", refused, reason);
  return tool_fail(&error);
}

/* Returns -1 to go on, or the exit status. */
static int parse_option(int option, arguments *given) {
  if (reading_is_option(option)) return reading_parse(option, optarg, &given->open);
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
  case OPTION_TYPE:
    return parse_type(optarg, given);
  case OPTION_LIST:
    given->list = true;
    return -1;
  case OPTION_TOKENIZER:
    given->open.tokenizer_path = optarg;
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
  if (given->list) return list_dialects();
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

/* Nothing is lost silently, and no danger is kept quiet, whatever -q says. */
static bool is_always_said(const char *line, size_t size) {
  static const char *const starts[] = {"not carried: ", "warning: "};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
    if (size >= strlen(starts[i]) && memcmp(line, starts[i], strlen(starts[i])) == 0) return true;
  }
  return false;
}

static void print_notes(const arguments *given, const tq_buffer *notes) {
  const char *at = (const char *)notes->data;
  for (size_t rest = notes->size; rest;) {
    const char *end = memchr(at, '\n', rest);
    size_t size = end ? (size_t)(end - at) + 1 : rest;
    if (!given->quiet || is_always_said(at, size)) fwrite(at, 1, size, stderr);
    at += size;
    rest -= size;
  }
}

static tq_status import(const arguments *given, const char *path, uint32_t code, tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_status status = tq_checkpoint_open(given->input, &given->open, &checkpoint, error);
  if (status) return status;
  size_t told = checkpoint->readings.size; /* what importing adds is printed behind it */
  if (!given->quiet) {
    reading_print_from(&checkpoint->readings, 0);
    reading_print_unused(checkpoint, &given->open);
  }
  print_notes(given, &checkpoint->notes);
  checkpoint->notes.size = 0;
  tq_progress progress = tool_progress("reading");
  status = tq_import(checkpoint, path, code, given->hash, &progress, error);
  tool_progress_end();
  if (!given->quiet) reading_print_from(&checkpoint->readings, told);
  print_notes(given, &checkpoint->notes);
  tq_checkpoint_close(checkpoint);
  return status;
}

/* True when every ternary tensor came in that dialect. */
static bool came_as(const tq_file *file, const tq_dialect *type) {
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    tq_form form;
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (!tq_tensor_is_ternary(tensor)) continue;
    if (!tq_form_from_name(tensor->source_type, &form) || form.dialect != type) return false;
  }
  return true;
}

/* Gives the file back as what it came from, if `to` is that; *restored tells. */
static tq_status restore(const tq_file *file, const arguments *given, const char *to, bool *restored, tq_error *error) {
  char origin[64];
  size_t count;
  *restored = false;
  tq_status status = tq_source_describe(file, origin, sizeof origin, &count, error);
  if (status || strcmp(origin, to) != 0) return status;
  /* A folder's config.json may say another direction of scales than the one that was taken: a type that is asked for is
   * written as what it is. */
  if (given->type && (strcmp(to, "hf") == 0 || !came_as(file, given->type))) return TQ_OK;
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
  tq_write_options wanted = {.type = given->type, .takes_scales = given->takes_scales};
  status = tq_team_create(0, &wanted.team, error);
  if (!status) status = format->write(file, given->output, &wanted, &notes, error);
  print_notes(given, &notes);
  tq_buffer_free(&notes);
  tq_team_destroy(wanted.team);
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
  tq_status status = import(given, intermediate, TQ_TERNARY_2BIT, error);
  if (!status) status = convert_container(given, intermediate, to, error);
  if (status) name_output(intermediate, given->output, error);
  tq_free(intermediate);
  return status;
}

/* From one foreign form to another the way leads through a .tq file beside the output, which is removed again; its
 * codes are those that are made and read fastest. What can be known to fail in the end is refused before that is made.
 */
static tq_status convert_foreign(const arguments *given, const char *to, tq_error *error) {
  if (strcmp(to, "tq") == 0) return import(given, given->output, given->code, error);
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
  if (given.type && *given.type->carrier && strcmp(given.type->carrier, to) != 0)
    return tool_usage("--type: %s is a dialect of %s, and %s is not", given.type->name, given.type->carrier, to);
  if (given.type && strcmp(to, "tq") == 0)
    return tool_usage("--type: a .tq file holds every dialect's weights as --code says");
  bool is_container = tq_file_recognize(given.input);
  if (is_container && reading_is_given(&given.open))
    return tool_usage("%s: it is a .tq file, which has been read already: options on how to read are for other forms",
                      given.input);
  tq_scratch_clean(given.output);
  tq_status status =
      is_container ? convert_container(&given, given.input, to, &error) : convert_foreign(&given, to, &error);
  return status ? tool_fail(&error) : TQ_OK;
}
