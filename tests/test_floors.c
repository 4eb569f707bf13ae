/* The house's floors: who includes whom, and who may talk to the system. Reads the sources, from the repository's root.
 */
#include "base/file.h"
#include "base/memory.h"
#include "tests/support.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the ground up. A folder includes itself and what stands before it. */
static const char *const floors[] = {"base", "ternary", "container", "tokenizer", "kernels",
                                     "ops",  "model",   "train",     "formats",   "tools"};
enum { FLOORS = sizeof floors / sizeof *floors, LIBRARY_FLOORS = 8 };

/* Public headers belong to the folder that implements them. */
static const struct {
  const char *header, *floor;
} owners[] = {
    {"error", "base"},          {"encoding", "ternary"},    {"ternary", "ternary"}, {"metadata", "container"},
    {"container", "container"}, {"tokenizer", "tokenizer"}, {"chat", "tokenizer"},  {"model", "model"},
};

/* Calls that only lib/base makes: memory and files. */
static const char *const base_calls[] = {
    "malloc",  "calloc",   "realloc",   "reallocarray", "free",     "aligned_alloc", "posix_memalign", "strdup",
    "strndup", "asprintf", "vasprintf", "getline",      "fopen",    "fdopen",        "freopen",        "open",
    "openat",  "creat",    "pread",     "pwrite",       "mmap",     "munmap",        "rename",         "renameat",
    "unlink",  "unlinkat", "remove",    "mkdir",        "mkdirat",  "rmdir",         "opendir",        "fdopendir",
    "readdir", "scandir",  "nftw",      "tmpfile",      "mkstemp",  "mkdtemp",       "truncate",       "ftruncate",
    "fsync",   "link",     "symlink",   "popen",        "realpath",
};

/* Calls that neither the library nor the formats make: they belong to the program. */
static const char *const program_calls[] = {
    "printf", "vprintf",   "puts",   "putchar", "fprintf", "vfprintf",  "fputs",  "fputc",
    "putc",   "fwrite",    "perror", "exit",    "_exit",   "abort",     "assert", "quick_exit",
    "signal", "sigaction", "raise",  "system",  "atexit",  "setlocale",
};

typedef struct findings {
  int count;
  char first[512];
} findings;

static void report(findings *found, const char *path, int line, const char *what, const char *which) {
  if (!found->count++) snprintf(found->first, sizeof found->first, "%s:%d: %s %s", path, line, what, which);
}

/* The length of the first component of a path. */
static size_t component(const char *path) { return strcspn(path, "/"); }

static int floor_by_name(const char *name, size_t length) {
  for (int i = 0; i < FLOORS; i++)
    if (strlen(floors[i]) == length && memcmp(floors[i], name, length) == 0) return i;
  return -1;
}

/* The floor of a public header "error.h", or -1 for one that nobody owns. */
static int floor_of_public(const char *header) {
  for (size_t i = 0; i < sizeof owners / sizeof *owners; i++) {
    size_t length = strlen(owners[i].header);
    if (strncmp(header, owners[i].header, length) == 0 && strcmp(header + length, ".h") == 0)
      return floor_by_name(owners[i].floor, strlen(owners[i].floor));
  }
  return -1;
}

/* The floor a source file stands on. */
static int floor_of_file(const char *path) {
  if (strncmp(path, "lib/include/tq/", 15) == 0) return floor_of_public(path + 15);
  const char *folder = strncmp(path, "lib/", 4) == 0 ? path + 4 : path;
  int floor = floor_by_name(folder, component(folder));
  return (folder != path) == (floor < LIBRARY_FLOORS) ? floor : -1;
}

/* The floor that an include names. */
static int floor_of_include(const char *name) {
  if (strncmp(name, "tq/", 3) == 0) return floor_of_public(name + 3);
  return name[component(name)] ? floor_by_name(name, component(name)) : -1;
}

static void check_include(const char *path, int line, const char *text, findings *found) {
  char name[256];
  if (sscanf(text, " # include \"%255[^\"]\"", name) != 1) return;
  int own = floor_of_file(path), other = floor_of_include(name);
  if (other < 0 || other > own) report(found, path, line, "may not include", name);
}

static bool listed(const char *word, size_t length, const char *const *list, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (strlen(list[i]) == length && memcmp(list[i], word, length) == 0) return true;
  return false;
}

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

static void check_word(const char *path, int line, const char *word, size_t length, findings *found) {
  char name[64];
  int own = floor_of_file(path);
  snprintf(name, sizeof name, "%.*s", (int)length, word);
  if (own > 0 && listed(word, length, base_calls, sizeof base_calls / sizeof *base_calls))
    report(found, path, line, "may not call", name);
  if (own < floor_by_name("tools", 5) &&
      listed(word, length, program_calls, sizeof program_calls / sizeof *program_calls))
    report(found, path, line, "may not call", name);
}

/* Looks for calls in one line of code; a call through a member ("input->close(") is not one of the function's name. */
static void check_calls(const char *path, int line, const char *code, findings *found) {
  for (const char *at = code; *at;) {
    if (!in_word(*at)) {
      at++;
      continue;
    }
    size_t length = 0;
    while (in_word(at[length])) length++;
    const char *behind = at + length + strspn(at + length, " ");
    bool member = at > code && (at[-1] == '.' || (at[-1] == '>' && at - code > 1 && at[-2] == '-'));
    if (*behind == '(' && !member) check_word(path, line, at, length, found);
    at += length;
  }
}

/* Blanks out comments, strings and characters, line breaks kept. */
static void blank_out(char *text) {
  for (char *at = text; *at;) {
    const char *end = NULL;
    if (strncmp(at, "/*", 2) == 0) {
      end = strstr(at + 2, "*/");
      end = end ? end + 2 : at + strlen(at);
    } else if (strncmp(at, "//", 2) == 0) {
      end = at + strcspn(at, "\n");
    } else if (*at == '"' || *at == '\'') {
      const char *close = at + 1;
      while (*close && *close != *at) close += close[0] == '\\' && close[1] ? 2 : 1;
      end = *close ? close + 1 : close;
    }
    if (!end) at++;
    for (; end && at < end; at++)
      if (*at != '\n') *at = ' ';
  }
}

static void check_text(const char *path, const char *text, findings *found) {
  char *code = strdup(text);
  blank_out(code);
  int line = 1;
  for (char *next = code; next; line++) {
    char *end = strchr(next, '\n');
    if (end) *end = 0;
    size_t offset = (size_t)(next - code);
    if (next[strspn(next, " \t")] == '#')
      check_include(path, line, text + offset, found);
    else
      check_calls(path, line, next, found);
    next = end ? end + 1 : NULL;
  }
  free(code);
}

static bool is_source(const char *name) {
  size_t length = strlen(name);
  return length > 2 && name[length - 2] == '.' && (name[length - 1] == 'c' || name[length - 1] == 'h');
}

START_TEST(every_source_keeps_to_its_floor) {
  static const char *const folders[] = {"lib", "formats", "tools"};
  findings found = {0};
  size_t files = 0;
  for (int i = 0; i < 3; i++) {
    char **names;
    size_t count;
    ck_ok(tq_list_folder(folders[i], &names, &count, error));
    for (size_t n = 0; n < count; n++) {
      char path[512];
      snprintf(path, sizeof path, "%s/%s", folders[i], names[n]);
      if (!is_source(path)) continue;
      size_t size;
      uint8_t *text = read_file(path, &size);
      check_text(path, (const char *)text, &found);
      free(text);
      files++;
    }
    tq_free_names(names, count);
  }
  ck_assert_msg(found.count == 0, "%s (one of %d)", found.first, found.count);
  ck_assert_uint_gt(files, 50);
}
END_TEST

static const struct {
  const char *path, *text;
  bool allowed;
} samples[] = {
    {"lib/ops/norm.c", "#include \"kernels/kernels.h\"\n", true},
    {"lib/ops/norm.c", "#include \"model/model.h\"\n", false},
    {"lib/base/file.c", "#include \"tq/ternary.h\"\n", false},
    {"lib/base/file.c", "#  include \"tq/encoding.h\"\n", false},
    {"lib/base/file.c", "#include \"tq/error.h\"\n", true},
    {"lib/container/reader.c", "#include \"tq/tokenizer.h\"\n", false},
    {"lib/model/model.c", "#include \"formats/format.h\"\n", false},
    {"lib/model/model.c", "#include \"train/adam.h\"\n", false},
    {"lib/model/model.c", "#include \"nobody.h\"\n", false},
    {"lib/model/model.c", "#include \"tq/nobody.h\"\n", false},
    {"lib/model/model.c", "#include \"tests/support.h\"\n", false},
    {"lib/model/model.c", "/* #include \"tools/tool.h\" */\n", true},
    {"lib/include/tq/error.h", "#include \"tq/model.h\"\n", false},
    {"lib/include/tq/model.h", "#include \"tq/error.h\"\n", true},
    {"lib/include/tq/nobody.h", "#include \"tq/error.h\"\n", false},
    {"formats/hf/read.c", "#include \"formats/json.h\"\n#include \"base/file.h\"\n", true},
    {"formats/hf/read.c", "#include \"tools/tool.h\"\n", false},
    {"tools/tq-run.c", "#include \"formats/format.h\"\n", true},
    {"lib/model/model.c", "int f(void) { return 1; }\n  x = malloc(4);\n", false},
    {"lib/model/model.c", "x = tq_hook_malloc(4); y = input->free(z); a.open (b);\n", true},
    {"lib/model/model.c", "/* malloc(4) */ s = \"free(\\\"x)\"; // open(x)\n", true},
    {"lib/base/memory.c", "x = malloc(4);\n", true},
    {"lib/base/memory.c", "printf(\"hello\");\n", false},
    {"formats/hf/read.c", "f = fopen (name, mode);\n", false},
    {"formats/hf/read.c", "if (bad) exit(1);\n", false},
    {"tools/tq-run.c", "printf(\"hello\");\n", true},
    {"tools/tq-run.c", "free(x);\n", false},
};

START_TEST(violations_are_seen) {
  findings found = {0};
  check_text(samples[_i].path, samples[_i].text, &found);
  ck_assert_msg((found.count == 0) == samples[_i].allowed, "%s: %s: %d findings", samples[_i].path, samples[_i].text,
                found.count);
}
END_TEST

START_TEST(violations_are_named_with_their_line) {
  findings found = {0};
  check_text("lib/ops/x.c", "/* two\nlines */\n\nint *p = malloc(\"a\nb\");\n", &found);
  ck_assert_str_eq(found.first, "lib/ops/x.c:4: may not call malloc");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("floors");
  TCase *tests = tcase_create("floors");
  tcase_add_test(tests, every_source_keeps_to_its_floor);
  tcase_add_loop_test(tests, violations_are_seen, 0, sizeof samples / sizeof *samples);
  tcase_add_test(tests, violations_are_named_with_their_line);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
