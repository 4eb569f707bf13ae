/* Dialects as a user meets them: the peers' own files there and back, --type, the scale beside a weight, --list, and
 * what is said of all that. */
#include "tests/gguf_builder.h"
#include "tests/support.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Runs tq-convert with up to four options behind the output and demands the status; what it says is freed by the
 * caller. */
static char *convert(int expected, const char *input, const char *output, const char *const options[4]) {
  const char *arguments[] = {"tq-convert", input, "-o", output, NULL, NULL, NULL, NULL, NULL};
  for (size_t i = 0; options && i < 4; i++) arguments[4 + i] = options[i];
  char *errors;
  int status = run_tool(arguments, NULL, NULL, &errors);
  ck_assert_msg(status == expected, "%s -> %s: %d instead of %d: %s", input, output, status, expected, errors);
  return errors;
}

static void converts(const char *input, const char *output, const char *option, const char *value) {
  free(convert(0, input, output, (const char *[4]){option, value}));
}

static void ck_says(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text);
}

static void ck_does_not_say(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) == NULL, "'%s' is in: %s", part, text);
}

/* The weights digest that tq-inspect --hash prints, in a static buffer that the 4th next call reuses. */
static const char *digest_of(const char *path, const char *option, const char *value) {
  static char digests[4][33];
  static unsigned next;
  const char *arguments[] = {"tq-inspect", "--hash", path, option, value, NULL};
  char *output, *errors, *digest = digests[next++ % 4];
  int status = run_tool(arguments, NULL, &output, &errors);
  ck_assert_msg(status == 0 && strlen(output) > 34 && output[32] == ' ', "%s: %d: %s%s", path, status, output, errors);
  snprintf(digest, sizeof digests[0], "%.32s", output);
  free(output);
  free(errors);
  return digest;
}

/* An empty folder for one output, so that whatever else is left there is seen. */
static const char *output_folder(void) {
  const char *folder = temporary_path("out");
  if (access(folder, F_OK) != 0) ck_assert_int_eq(mkdir(folder, 0777), 0);
  return folder;
}

static void ck_nothing_in(const char *folder) {
  DIR *entries = opendir(folder);
  ck_assert_ptr_nonnull(entries);
  for (const struct dirent *entry; (entry = readdir(entries));)
    ck_assert_msg(entry->d_name[0] == '.' && strspn(entry->d_name, ".") == strlen(entry->d_name), "%s was left",
                  entry->d_name);
  closedir(entries);
}

static const char *in(const char *folder, const char *name) {
  static char paths[4][4096];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

/* ---- the peers' files ---- */

static const struct {
  const char *source, *file;
} golden[] = {{"tensor-1", "f16"},    {"tensor-1", "TQ1_0"},  {"tensor-1", "TQ2_0"},     {"tensor-1", "Q2_0"},
              {"tensor-1", "iq1_bn"}, {"tensor-1", "iq2_bn"}, {"tensor-1", "iq2_bn_r4"}, {"row-2", "f16"},
              {"row-2", "TQ2_0"},     {"g64-3", "f16"},       {"g64-3", "Q2_0"},         {"bitnet-7", "f16"},
              {"bitnet-7", "TQ2_0"}};
enum { GOLDEN = sizeof golden / sizeof golden[0] };

static const char *golden_path(const char *source, const char *file) {
  char name[128];
  snprintf(name, sizeof name, "golden/%s.%s.gguf", source, file);
  return shared_path(name);
}

/* No file of the folder is left out above. */
START_TEST(all_golden_files_are_named) {
  const char *folder = shared_path("golden");
  size_t found = 0;
  if (!folder) return;
  DIR *entries = opendir(folder);
  ck_assert_ptr_nonnull(entries);
  for (const struct dirent *entry; (entry = readdir(entries));) found += strstr(entry->d_name, ".gguf") != NULL;
  closedir(entries);
  ck_assert_uint_eq(found, GOLDEN);
}
END_TEST

START_TEST(golden_files_come_back) {
  static const char *const codes[] = {"base3", "2bit"};
  const char *path = golden_path(golden[_i].source, golden[_i].file), *source = golden_path(golden[_i].source, "f16");
  if (!path || !source) return;
  const char *expected = digest_of(source, NULL, NULL);
  ck_assert_str_eq(digest_of(path, NULL, NULL), expected);
  for (size_t i = 0; i < 2; i++) {
    const char *container = temporary_path("golden.tq"), *back = temporary_path("golden.gguf");
    converts(path, container, "--code", codes[i]);
    ck_assert_str_eq(digest_of(container, NULL, NULL), expected);
    converts(container, back, NULL, NULL);
    ck_same_files(path, back);
    /* Asked for by its name, which it came in, it is no other file. */
    char type[16] = "";
    for (size_t c = 0; golden[_i].file[c]; c++) type[c] = (char)toupper((unsigned char)golden[_i].file[c]);
    converts(container, back, "--type", type);
    ck_same_files(path, back);
  }
}
END_TEST

/* ---- --type ---- */

typedef struct row {
  const char *type, *extension;
  const char *fits; /* by source: tensor-1, bitnet-7, row-2, g64-3 */
  const char *layout;
} row;

static const char *const sources[] = {"tensor-1", "bitnet-7", "row-2", "g64-3"};
/* The sources' scales are F16 numbers that are none of BF16. */
static const row types[] = {{"IQ1_BN", ".gguf", "yyyn", NULL},
                            {"TQ1_0", ".gguf", "yyyn", NULL},
                            {"PTQ1_0", ".gguf", "yyyn", NULL},
                            {"I2_S", ".gguf", "yynn", NULL},
                            {"I2_S_ARM", ".gguf", "yynn", "arm"},
                            {"I2_S_ROWS", ".gguf", "yynn", "rows"},
                            {"IQ2_BN", ".gguf", "yyyn", NULL},
                            {"IQ2_BN_R4", ".gguf", "yyyn", NULL},
                            {"TQ2_0", ".gguf", "yyyn", NULL},
                            {"PQ2_0", ".gguf", "yyyn", NULL},
                            {"Q2_0_G128", ".gguf", "yyyn", NULL},
                            {"Q2_0", ".gguf", "yyyy", NULL},
                            {"autobitlinear", "", "yynn", NULL},
                            {"BF16", ".gguf", "nnnn", NULL},
                            {"BF16", "", "nnnn", NULL},
                            {"F16", ".gguf", "yyyy", NULL},
                            {"F16", "", "yyyy", NULL},
                            {"F32", ".gguf", "yyyy", NULL},
                            {"F32", "", "yyyy", NULL}};
enum { TYPES = sizeof types / sizeof types[0] };

static void check_type(const row *of, const char *container, const char *expected, bool fits) {
  char name[64];
  const char *folder = output_folder();
  snprintf(name, sizeof name, "model%s", of->extension);
  char *says = convert(fits ? 0 : 4, container, in(folder, name), (const char *[4]){"--type", of->type});
  if (fits) {
    const char *option = of->layout ? "--i2s-layout" : NULL;
    ck_assert_str_eq(digest_of(in(folder, name), option, of->layout), expected);
    converts(in(folder, name), in(folder, "again.tq"), option, of->layout);
    ck_assert_str_eq(digest_of(in(folder, "again.tq"), NULL, NULL), expected);
  } else {
    ck_says(says, "tensor blk.0.");
    ck_says(says, of->type);
    ck_nothing_in(folder);
  }
  free(says);
}

static void empty_output_folder(void) {
  char command[4200];
  snprintf(command, sizeof command, "rm -rf '%s'", temporary_path("out"));
  ck_assert_int_eq(system(command), 0);
}

START_TEST(type_fits_or_is_refused) {
  size_t source = (size_t)_i;
  const char *path = golden_path(sources[source], "f16");
  if (!path) return;
  char expected[33], container[4096]; /* paths in static buffers do not last */
  snprintf(container, sizeof container, "%s", temporary_path("source.tq"));
  converts(path, container, NULL, NULL);
  snprintf(expected, sizeof expected, "%s", digest_of(container, NULL, NULL));
  for (size_t i = 0; i < TYPES; i++) {
    check_type(&types[i], container, expected, types[i].fits[source] == 'y');
    empty_output_folder();
  }
}
END_TEST

/* From one foreign form to another: what is refused leaves nothing of the .tq file that the way leads through. */
START_TEST(refused_without_a_trace) {
  const char *path = golden_path("g64-3", "Q2_0"), *folder = output_folder();
  if (!path) return;
  char *says = convert(4, path, in(folder, "model.gguf"), (const char *[4]){"--type", "TQ2_0"});
  ck_says(says, "meet in one group of 256");
  free(says);
  ck_nothing_in(folder);
  says = convert(4, path, in(folder, "model"), (const char *[4]){"--type", "bitlinear"});
  ck_says(says, "meet in one tensor");
  free(says);
  ck_nothing_in(folder);
}
END_TEST

/* What is there already stays as it was. */
START_TEST(refused_and_the_old_file_stays) {
  const char *path = golden_path("row-2", "TQ2_0"), *target = in(output_folder(), "model.gguf");
  size_t size;
  if (!path) return;
  write_file(target, "old", 3);
  free(convert(4, path, target, (const char *[4]){"--type", "I2_S"}));
  uint8_t *data = read_file(target, &size);
  ck_assert_uint_eq(size, 3);
  ck_assert_mem_eq(data, "old", 3);
  free(data);
}
END_TEST

/* ---- a scale that no F16 holds ---- */

/* A llama with one F32 scale a tensor, and a key that only GGUF has. */
static const char *write_i2s(const char *name) {
  static const float scale[] = {0.0312345679f};
  gguf_builder builder = {0};
  gguf_ternary_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_key_string(&builder, "odd.key", "value");
  gguf_ternary_tensors(&builder, tq_dialect_find("I2_S"), scale, 1);
  const char *path = temporary_path(name);
  gguf_end_file(&builder, path);
  return path;
}

START_TEST(the_scale_beside) {
  static const char *const llamas[] = {"TQ1_0", "TQ2_0", "Q2_0"};
  const char *path = write_i2s("i2s.gguf"), *expected = digest_of(path, NULL, NULL);
  const char *target = in(output_folder(), "model.gguf"), *container = temporary_path("scaled.tq");
  char *says = convert(0, path, target, (const char *[4]){"--type", llamas[_i]});
  ck_says(says, "7 tensors have a scale that ");
  ck_says(says, llamas[_i]);
  ck_says(says, "NAME.scale");
  ck_says(says, "PRINTS GARBAGE");
  free(says);
  ck_assert_str_eq(digest_of(target, NULL, NULL), expected);
  says = convert(0, target, container, NULL);
  ck_says(says, "7 tensors NAME.scale are the scales of their weights");
  free(says);
  ck_assert_str_eq(digest_of(container, NULL, NULL), expected);
  converts(container, temporary_path("again.gguf"), NULL, NULL);
  ck_same_files(target, temporary_path("again.gguf"));
}
END_TEST

/* Only llama.cpp's own programs are known to multiply by it. */
START_TEST(no_scale_beside_for_others) {
  static const char *const others[] = {"PQ2_0", "PTQ1_0", "Q2_0_G128", "IQ1_BN", "F16", "BF16"};
  const char *path = write_i2s("i2s.gguf"), *folder = output_folder();
  char *says = convert(4, path, in(folder, "model.gguf"), (const char *[4]){"--type", others[_i]});
  ck_says(says, "tensor blk.0.");
  ck_says(says, others[_i]);
  ck_says(says, "its scale 0.031234568 is not exact in ");
  free(says);
  ck_nothing_in(folder);
}
END_TEST

/* Unless the user says that whoever reads it does. */
START_TEST(scale_beside_on_request) {
  static const char *const wanted[] = {"PQ2_0+scale", "ptq1_0+SCALE", "IQ1_BN+scale"};
  const char *path = write_i2s("i2s.gguf"), *container = temporary_path("container.tq");
  const char *target = temporary_path("scaled.gguf");
  char *says = convert(0, path, target, (const char *[4]){"-q", "--type", wanted[_i]});
  ck_says(says, "warning: ");
  free(says);
  converts(target, container, NULL, NULL);
  ck_assert_str_eq(digest_of(container, NULL, NULL), digest_of(path, NULL, NULL));
  free(convert(2, path, target, (const char *[4]){"--type", "bitlinear+scale"}));
}
END_TEST

/* ---- what is told ---- */

START_TEST(the_choice_is_told) {
  const char *path = write_i2s("i2s.gguf"), *container = temporary_path("model.tq");
  converts(path, container, NULL, NULL);
  const char *folder = in(output_folder(), "folder");
  char *says = convert(0, container, folder, NULL);
  ck_says(says, "linear, the smallest type that is exact for all of them; --type chooses another");
  ck_says(says, "not carried: metadata that a Hugging Face folder has no place for: odd.key\n");
  free(says);
  /* A folder becomes GGUF in the smallest type that is exact. */
  says = convert(0, folder, temporary_path("chosen.gguf"), NULL);
  ck_says(says, "ternary tensors are written as I2_S (bitnet.cpp), the smallest type that is exact for all 7 of them");
  free(says);
  /* What it came from needs no choice. */
  says = convert(0, container, temporary_path("back.gguf"), NULL);
  ck_does_not_say(says, "smallest");
  free(says);
  ck_same_files(path, temporary_path("back.gguf"));
}
END_TEST

START_TEST(quiet_keeps_losses) {
  const char *path = write_i2s("i2s.gguf"), *folder = output_folder();
  char *says = convert(0, path, in(folder, "folder"), (const char *[4]){"-q"});
  ck_assert_str_eq(says, "not carried: metadata that a Hugging Face folder has no place for: odd.key\n");
  free(says);
  says = convert(0, path, in(folder, "model.tq"), (const char *[4]){"-q"});
  ck_assert_str_eq(says, "");
  free(says);
}
END_TEST

/* A file with two readings says which was taken, when it is taken in and whenever it is looked at. */
START_TEST(readings_are_told) {
  const char *path = golden_path("g64-3", "Q2_0"), *container = temporary_path("reading.tq");
  if (!path) return;
  char *says = convert(0, path, container, NULL), *output;
  ck_says(says, "64");
  free(says);
  const char *files[] = {path, container};
  for (size_t i = 0; i < 2; i++) {
    const char *arguments[] = {"tq-inspect", files[i], NULL};
    ck_assert_int_eq(run_tool(arguments, NULL, &output, NULL), 0);
    ck_says(output, "groups of 64");
    free(output);
  }
}
END_TEST

/* Floats but for one weight: told of the foreign file, when it is taken in, and of what was made of it. */
START_TEST(almost_ternary_is_told) {
  const char *path = golden_path("g64-3", "f16"), *near = temporary_path("near.gguf");
  const char *container = temporary_path("near.tq");
  if (!path) return;
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  bytes[size / 2] ^= 0x10; /* of a number of a layer */
  write_file(near, bytes, size);
  free(bytes);
  char *says = convert(0, near, container, NULL), *output;
  ck_says(says, "is almost ternary: 1 of ");
  free(says);
  const char *files[] = {near, container};
  for (size_t i = 0; i < 2; i++) {
    const char *arguments[] = {"tq-inspect", files[i], NULL};
    ck_assert_int_eq(run_tool(arguments, NULL, &output, NULL), 0);
    ck_says(output, "is almost ternary: 1 of ");
    free(output);
  }
}
END_TEST

START_TEST(the_list) {
  const char *arguments[] = {"tq-convert", "--list", NULL};
  char *output, *errors, line[64];
  ck_assert_int_eq(run_tool(arguments, NULL, &output, &errors), 0);
  ck_assert_str_eq(errors, "");
  for (size_t i = 0; tq_dialect_at(i); i++) {
    snprintf(line, sizeof line, "\n  %s ", tq_dialect_at(i)->name);
    ck_says(output, line);
  }
  ck_says(output, "g64 F16");
  ck_says(output, "rows of a multiple of 256");
  ck_says(output, "2.062");
  ck_says(output, "\n  TL1 ");
  ck_says(output, "refused");
  free(output);
  free(errors);
}
END_TEST

static const struct {
  const char *output, *option, *value, *says;
} wrong[] = {{"x.gguf", "--type", "Q9_9", "no dialect is called 'Q9_9'"},
             {"x.gguf", "--type", "TQ2_1", "no dialect is called 'TQ2_1'"},
             {"x.gguf", "--type", "bitlinear", "bitlinear is a dialect of hf, and gguf is not"},
             {"x", "--type", "TQ2_0", "TQ2_0 is a dialect of gguf, and hf is not"},
             {"x.tq", "--type", "TQ2_0", "TQ2_0 is a dialect of gguf, and tq is not"},
             {"x.tq", "--type", "F16", "as --code says"},
             {"x.tq", "--code", "3bit", "'3bit'"},
             {"x.tq", "--assume", "g96", "'g96'"},
             {"x.tq", "--q2-group", "32", "'32'"},
             {"x.tq", "--i2s-layout", "ARM", "'ARM'"},
             {"x.tq", "--weight-scale", "up", "'up'"}};
enum { WRONG_USAGES = sizeof wrong / sizeof wrong[0] };

START_TEST(wrong_usage) {
  const char *path = write_i2s("i2s.gguf"), *folder = output_folder();
  char *says = convert(2, path, in(folder, wrong[_i].output), (const char *[4]){wrong[_i].option, wrong[_i].value});
  ck_says(says, wrong[_i].says);
  free(says);
  ck_nothing_in(folder);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("dialects on the command line");
  TCase *peers = tcase_create("the peers' files");
  tcase_set_timeout(peers, 120);
  tcase_add_checked_fixture(peers, empty_output_folder, empty_output_folder);
  tcase_add_test(peers, all_golden_files_are_named);
  tcase_add_loop_test(peers, golden_files_come_back, 0, GOLDEN);
  tcase_add_loop_test(peers, type_fits_or_is_refused, 0, (int)(sizeof sources / sizeof sources[0]));
  tcase_add_test(peers, refused_without_a_trace);
  tcase_add_test(peers, refused_and_the_old_file_stays);
  suite_add_tcase(suite, peers);
  TCase *scales = tcase_create("scales");
  tcase_add_checked_fixture(scales, empty_output_folder, empty_output_folder);
  tcase_add_loop_test(scales, the_scale_beside, 0, 3);
  tcase_add_loop_test(scales, no_scale_beside_for_others, 0, 6);
  tcase_add_loop_test(scales, scale_beside_on_request, 0, 3);
  suite_add_tcase(suite, scales);
  TCase *told = tcase_create("what is told");
  tcase_add_checked_fixture(told, empty_output_folder, empty_output_folder);
  tcase_add_test(told, the_choice_is_told);
  tcase_add_test(told, quiet_keeps_losses);
  tcase_add_test(told, readings_are_told);
  tcase_add_test(told, almost_ternary_is_told);
  tcase_add_test(told, the_list);
  tcase_add_loop_test(told, wrong_usage, 0, WRONG_USAGES);
  suite_add_tcase(suite, told);
  return run_suite(suite);
}
