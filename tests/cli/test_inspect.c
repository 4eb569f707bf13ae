/* tq-inspect: what it says of real files and of files made here, as text, as JSON and as hashes; and its refusals. */
#include "base/bytes.h"
#include "base/hash.h"
#include "tests/cli/inspect_support.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"
#include "tq/container.h"
#include "tq/ternary.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void converted(const char *from, const char *to) {
  const char *const arguments[] = {"tq-convert", from, "-o", to, NULL};
  char *errors;
  int status = run_tool(arguments, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "tq-convert %s: %s", from, errors);
  free(errors);
}

/* ---- usage ---- */

START_TEST(help_version_and_wrong_usage) {
  char *output = inspect(0, NULL, "--help", NULL, NULL), *errors;
  size_t lines = 0;
  for (const char *c = output; *c; c++) lines += *c == '\n';
  ck_assert_uint_le(lines, 24);
  ck_contains(output, "--tensors");
  ck_contains(output, "4 which of two readings is right cannot be told");
  free(output);
  output = inspect(0, NULL, "--version", NULL, NULL);
  ck_assert_ptr_eq(strstr(output, "tq-inspect (tq) "), output);
  free(output);
  static const char *const wrong[][3] = {{NULL}, {"--nonsense", "x"}, {"x", "y"}, {"x", "--hash", "--json"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    output = inspect(2, &errors, wrong[i][0], wrong[i][1], wrong[i][2]);
    ck_assert_str_eq(output, "");
    ck_contains(errors, "--help");
    free(output), free(errors);
  }
}
END_TEST

/* Of a .tq file there is one reading. */
START_TEST(readings_of_a_file_that_has_one) {
  static const char *const options[] = {"--assume=float", "--q2-group=64", "--i2s-layout=arm", "--weight-scale=direct"};
  const char *path = temporary_path("one.tq");
  char *errors;
  write_ternary(path, "one", 3, false);
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    free(inspect(2, &errors, options[i], path, NULL));
    ck_contains(errors, "are for files that are no .tq files");
    free(errors);
  }
}
END_TEST

/* ---- a real model, foreign and converted ---- */

static bool is_hash_line(const char *line, const char *name) {
  return strspn(line, "0123456789abcdef") == 32 && strncmp(line + 32, "  ", 2) == 0 &&
         strncmp(line + 34, name, strlen(name)) == 0 && line[34 + strlen(name)] == '\n';
}

START_TEST(hashes_as_md5sum_prints_them) {
  const char *gguf = shared_path("models/stories260K.gguf"), *tq = temporary_path("hashes.tq");
  if (!gguf) return;
  converted(gguf, tq);
  char *foreign = inspect(0, NULL, "--hash", gguf, NULL), *own = inspect(0, NULL, "--hash", tq, NULL);
  ck_assert_msg(is_hash_line(foreign, gguf), "%s", foreign);
  ck_assert_msg(is_hash_line(own, tq), "%s", own);
  ck_assert(strchr(own, '\n')[1] == 0);
  ck_assert(memcmp(foreign, own, 32) == 0);
  free(foreign), free(own);
  foreign = inspect(0, NULL, "--tensors", "--hash", gguf), own = inspect(0, NULL, "--hash", "--tensors", tq);
  ck_assert_str_eq(foreign, own);
  json_t *json = inspect_json(tq);
  const char *line = own;
  for (size_t i = 0; i < json_array_size(at(json, "tensors")); i++) {
    char keys[64];
    snprintf(keys, sizeof keys, "tensors/%zu/role", i);
    ck_assert_msg(is_hash_line(line, string_at(json, keys)), "%s", line);
    snprintf(keys, sizeof keys, "tensors/%zu/digest", i);
    ck_assert(strncmp(string_at(json, keys), line, 32) == 0);
    line = strchr(line, '\n') + 1;
  }
  ck_assert_int_eq(*line, 0);
  json_decref(json);
  free(foreign), free(own);
}
END_TEST

/* A name must not reorder the line, end it, or send the terminal anything. */
START_TEST(names_are_harmless_to_a_terminal) {
  static const char evil[] = "\xe2\x80\xae"
                             "evil";
  const char *path = temporary_path("a\\b\nc \xff \xe2\x80\xae.tq");
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, NULL, 0, 0, error));
  add_numbers(writer, evil, 4, 8, TQ_F32);
  ck_ok(tq_writer_finish(writer, (const uint8_t[16]){0}, (const uint8_t[16]){0}, error));
  static const char *const modes[][2] = {{NULL}, {"--tensors"}, {"--tensors", "--hash"}};
  for (size_t i = 0; i < 3; i++) {
    char *text = inspect(0, NULL, path, modes[i][0], modes[i][1]);
    ck_assert_ptr_null(strstr(text, "\xe2\x80\xae"));
    ck_assert_ptr_null(strstr(text, "\xff"));
    ck_contains(text, "\\xE2\\x80\\xAEevil");
    if (i < 2) ck_contains(text, "a\\b\\x0Ac \\xFF \\xE2\\x80\\xAE.tq\n");
    free(text);
  }
  char *text = inspect(0, NULL, path, "--hash", NULL);
  ck_assert_int_eq(text[0], '\\');
  ck_assert_uint_eq(strspn(text + 1, "0123456789abcdef"), 32);
  ck_contains(text, "/a\\\\b\\nc \xff \xe2\x80\xae.tq\n");
  free(text);
}
END_TEST

START_TEST(scales_that_are_no_number_have_no_sign) {
  const char *path = temporary_path("nan.tq");
  codes lost = {TQ_TERNARY_BASE3, TQ_PER_TENSOR, 0, TQ_F32, TQ_DIRECT, -NAN, -NAN};
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, NULL, 0, 0, error));
  add_codes(writer, "layers.0.q", 8, WIDTH, &lost);
  ck_ok(tq_writer_finish(writer, (const uint8_t[16]){0}, (const uint8_t[16]){0}, error));
  char *text = inspect(0, NULL, path, NULL, NULL);
  ck_contains(text, "  nan ");
  ck_assert_ptr_null(strstr(text, "-nan"));
  free(text);
}
END_TEST

static void check_stories(json_t *json) {
  ck_assert_str_eq(string_at(json, "hyperparameters/architecture"), "llama");
  ck_assert_int_eq(integer_at(json, "hyperparameters/layers"), 5);
  ck_assert_int_eq(integer_at(json, "hyperparameters/dimension"), 64);
  ck_assert_int_eq(integer_at(json, "hyperparameters/feed_forward"), 172);
  ck_assert_int_eq(integer_at(json, "hyperparameters/heads"), 8);
  ck_assert_int_eq(integer_at(json, "hyperparameters/kv_heads"), 4);
  ck_assert_int_eq(integer_at(json, "hyperparameters/context"), 128);
  ck_assert_int_eq(integer_at(json, "hyperparameters/vocabulary"), 512);
  ck_assert(json_is_false(at(json, "hyperparameters/tied_head")));
  ck_assert(json_is_null(at(json, "not_run_because")));
  ck_assert_str_eq(string_at(json, "tokenizer/kind"), "sentencepiece");
  ck_assert_int_eq(integer_at(json, "tokenizer/tokens"), 512);
  ck_assert_int_eq(integer_at(json, "tokenizer/special/bos"), 1);
  ck_assert_int_eq(integer_at(json, "totals/tensors"), 48);
  ck_assert_int_eq(integer_at(json, "totals/parameters"), 292800);
  ck_assert_int_eq(integer_at(json, "totals/bytes"), 4 * 292800);
  ck_assert_double_eq(number_at(json, "totals/compression_f32"), 1.0);
  ck_assert_double_eq(number_at(json, "totals/compression_f16"), 0.5);
  ck_assert_str_eq(string_at(json, "groups/0/name"), "embedding");
  ck_assert_str_eq(string_at(json, "groups/1/name"), "layers.*.q");
  ck_assert_int_eq(integer_at(json, "groups/1/tensors"), 5);
  ck_assert_str_eq(string_at(json, "groups/1/encoding"), "F32");
  ck_assert_int_eq(integer_at(json, "groups/1/shape/1"), 64);
  ck_assert(json_is_null(at(json, "groups/1/trits")));
  ck_assert_int_eq(integer_at(json, "metadata/llama.block_count"), 5);
}

START_TEST(json_of_a_real_model) {
  const char *gguf = shared_path("models/stories260K.gguf"), *tq = temporary_path("real.tq");
  if (!gguf) return;
  converted(gguf, tq);
  json_t *foreign = inspect_json(gguf), *own = inspect_json(tq);
  check_stories(foreign), check_stories(own);
  ck_assert_str_eq(string_at(foreign, "format"), "gguf");
  ck_assert_str_eq(string_at(foreign, "version"), "3");
  ck_assert_str_eq(string_at(own, "format"), "tq");
  ck_assert_str_eq(string_at(own, "made_from"), "gguf");
  static const char *const same[] = {"digests", "groups", "totals", "hyperparameters", "tokenizer", "metadata"};
  for (size_t i = 0; i < sizeof same / sizeof *same; i++)
    ck_assert_msg(json_equal(at(foreign, same[i]), at(own, same[i])), "%s differs", same[i]);
  size_t size;
  uint8_t *bytes = read_file(gguf, &size);
  tq_hash hash;
  char text[33];
  tq_hash_bytes(TQ_HASH_XXH3_128, bytes, size, &hash);
  tq_hash_print(hash.bytes, 16, text);
  ck_assert_str_eq(string_at(foreign, "hash/value"), text);
  ck_assert_str_eq(string_at(foreign, "hash/algorithm"), "xxh3-128");
  ck_assert_int_eq(integer_at(foreign, "size"), (long long)size);
  free(bytes);
  json_decref(foreign), json_decref(own);
}
END_TEST

START_TEST(json_keys_keep_their_order) {
  static const char *const expected[] = {"path",    "format",          "version",         "made_from",   "size",
                                         "files",   "hyperparameters", "not_run_because", "tokenizer",   "totals",
                                         "groups",  "tensors",         "metadata",        "attachments", "hash",
                                         "digests", "verified",        "not_understood",  "readings",    "notes"};
  const char *path = temporary_path("order.tq");
  write_ternary(path, "order", 5, false);
  json_t *json = inspect_json(path);
  size_t i = 0;
  const char *key;
  json_t *value;
  json_object_foreach(json, key, value) {
    ck_assert_uint_lt(i, sizeof expected / sizeof *expected);
    ck_assert_str_eq(key, expected[i++]);
  }
  ck_assert_uint_eq(i, sizeof expected / sizeof *expected);
  json_decref(json);
  char *first = inspect(0, NULL, path, "--json", NULL), *second = inspect(0, NULL, path, "--json", NULL);
  ck_assert_str_eq(first, second);
  free(first), free(second);
}
END_TEST

START_TEST(the_golden_models) {
  static const char *const sources[] = {"tensor-1", "row-2", "g64-3", "bitnet-7"};
  for (size_t i = 0; i < 4; i++) {
    char name[64];
    snprintf(name, sizeof name, "golden/%s.f16.gguf", sources[i]);
    const char *path = shared_path(name);
    if (!path) return;
    json_t *json = inspect_json(path);
    ck_assert_int_eq(integer_at(json, "hyperparameters/dimension"), 256);
    ck_assert_int_eq(integer_at(json, "hyperparameters/layers"), 1);
    ck_assert_int_eq(json_is_true(at(json, "hyperparameters/sub_norms")), i == 3);
    ck_assert_str_eq(string_at(json, "groups/1/name"), "layers.*.q");
    ck_assert_str_eq(string_at(json, "groups/1/encoding"), "F16");
    ck_assert_double_eq(number_at(json, "groups/1/bits_per_weight"), 16);
    json_decref(json);
  }
}
END_TEST

START_TEST(a_vocabulary_alone) {
  const char *path = shared_path("tokenizers/ggml-vocab-gpt-2.gguf");
  if (!path) return;
  json_t *json = inspect_json(path);
  ck_assert_int_eq(integer_at(json, "totals/tensors"), 0);
  ck_assert(json_is_null(at(json, "totals/compression_f32")));
  ck_assert_str_eq(string_at(json, "tokenizer/kind"), "byte-level");
  ck_assert_str_eq(string_at(json, "tokenizer/pre"), "gpt-2");
  ck_assert_int_eq(integer_at(json, "tokenizer/tokens"), 50257);
  ck_assert_int_eq(integer_at(json, "metadata/tokenizer.ggml.tokens/items"), 50257);
  ck_assert(json_is_null(at(json, "digests/weights")));
  ck_assert(json_is_null(at(json, "digests/function")));
  ck_assert_uint_eq(strlen(string_at(json, "digests/tokenizer")), 32);
  json_decref(json);
  char *text = inspect(0, NULL, path, NULL, NULL);
  ck_contains(text, "byte-level BPE (gpt-2), 50,257 tokens, 50,000 merges");
  free(text);
}
END_TEST

/* Many files have no one hash; what they hold has the same digests as the file they were made from. */
START_TEST(a_folder) {
  const char *gguf = shared_path("models/stories260K.gguf"), *folder = temporary_path("folder");
  if (!gguf) return;
  converted(gguf, folder);
  json_t *from = inspect_json(gguf), *json = inspect_json(folder);
  ck_assert_str_eq(string_at(json, "format"), "hf");
  ck_assert_int_gt(integer_at(json, "files"), 2);
  ck_assert(json_is_null(at(json, "hash")));
  ck_assert(json_equal(at(json, "digests"), at(from, "digests")));
  json_decref(from), json_decref(json);
  char *text = inspect(0, NULL, folder, NULL, NULL);
  ck_contains(text, "Hugging Face folder, ");
  ck_assert_ptr_null(strstr(text, "\n  file "));
  free(text);
}
END_TEST

/* ---- ternary ---- */

/* The group of that name. */
static json_t *group(json_t *json, const char *name) {
  size_t i;
  json_t *value;
  json_array_foreach(at(json, "groups"), i, value) {
    if (strcmp(string_at(value, "name"), name) == 0) return value;
  }
  ck_abort_msg("no group %s", name);
}

START_TEST(ternary_tensors) {
  const char *path = temporary_path("ternary.tq");
  write_ternary(path, "a ternary one", 13, true);
  json_t *json = inspect_json(path), *q = group(json, "layers.*.q");
  ck_assert_str_eq(string_at(json, "hyperparameters/gate"), "silu");
  ck_assert_str_eq(string_at(q, "encoding"), "ternary-base3");
  ck_assert_int_eq(integer_at(q, "tensors"), 2);
  ck_assert_int_eq(integer_at(q, "elements"), 2 * WIDTH * WIDTH);
  ck_assert_int_eq(integer_at(q, "trits/-1"), WIDTH * WIDTH / 2);
  ck_assert_int_eq(integer_at(q, "trits/0"), WIDTH * WIDTH / 2);
  ck_assert_int_eq(integer_at(q, "trits/+1"), WIDTH * WIDTH);
  ck_assert_int_eq(integer_at(q, "trits/+2"), 0);
  ck_assert_str_eq(string_at(q, "scales/granularity"), "tensor");
  ck_assert_double_eq(number_at(q, "scales/least"), 0.125);
  ck_assert_double_eq(number_at(q, "scales/most"), 0.25);
  json_t *gate = group(json, "layers.*.gate");
  ck_assert_str_eq(string_at(gate, "scales/granularity"), "group");
  ck_assert_int_eq(integer_at(gate, "scales/group"), 128);
  ck_assert_str_eq(string_at(gate, "scales/encoding"), "F16");
  ck_assert_double_eq(number_at(gate, "scales/least"), -0.5);
  ck_assert_double_eq(number_at(gate, "scales/most"), 2);
  json_t *down = group(json, "layers.*.down");
  ck_assert_str_eq(string_at(down, "encoding"), "ternary-2bit");
  ck_assert_str_eq(string_at(down, "scales/direction"), "inverted");
  ck_assert_int_eq(integer_at(down, "scales/count"), 2 * WIDTH);
  ck_assert_double_eq(number_at(down, "scales/least"), 1.0 / 16);
  ck_assert_double_eq(number_at(down, "scales/most"), 1.0 / 4);
  ck_assert_int_eq(integer_at(group(json, "layers.*.up"), "trits/+2"), FFN * WIDTH / 4);
  ck_assert_str_eq(string_at(group(json, "head"), "encoding"), "Q8_0");
  ck_assert_double_eq(number_at(group(json, "head"), "bits_per_weight"), 8.5);
  ck_assert_int_eq(integer_at(group(json, "norms"), "tensors"), 3);
  ck_assert_str_eq(string_at(json, "tensors/2/parts/1/kind"), "scales");
  ck_assert_int_eq(integer_at(json, "tensors/2/parts/1/bytes"), 4);
  json_decref(json);
}
END_TEST

START_TEST(metadata_as_json) {
  static const char hostile[] = "\033[31mred\xff\0end";
  const char *path = temporary_path("metadata.tq");
  write_ternary(path, hostile, sizeof hostile - 1, false);
  json_t *json = inspect_json(path);
  ck_assert_str_eq(string_at(json, "metadata/test.huge"), "18446744073709551615");
  ck_assert(json_is_true(at(json, "metadata/test.flag")));
  ck_assert_int_eq(integer_at(json, "metadata/test.few/0"), -1);
  ck_assert_int_eq(integer_at(json, "metadata/test.many/items"), 100);
  ck_contains(string_at(json, "metadata/general.name"), "red\\xFF");
  json_decref(json);
  char *text = inspect(0, NULL, path, NULL, NULL);
  ck_assert_ptr_null(strchr(text, '\033'));
  ck_contains(text, "\\x1B[31mred\\xFF");
  free(text);
}
END_TEST

/* ---- the screen ---- */

/* Columns of a line, a code point being one. */
static size_t line_width(const char *line, size_t size) {
  size_t width = 0;
  for (size_t i = 0; i < size; i++) width += (line[i] & 0xc0) != 0x80;
  return width;
}

/* Every line fits, and none ends in a space. */
static void check_lines(const char *text, size_t most) {
  while (*text) {
    size_t size = strcspn(text, "\n");
    ck_assert_msg(line_width(text, size) <= most, "wider than %zu: %.*s", most, (int)size, text);
    ck_assert_msg(!size || text[size - 1] != ' ', "ends in a space: %.*s", (int)size, text);
    text += size + 1;
  }
}

/* The text of a line that begins with `start` behind the indentation. */
static const char *find_line(const char *text, const char *start) {
  while (text && strncmp(text + strspn(text, " "), start, strlen(start)) != 0)
    text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL;
  ck_assert_msg(text != NULL, "no line begins with %s", start);
  return text;
}

START_TEST(the_screen_fits_and_is_aligned) {
  static const char *const widths[] = {"80", "120"};
  const char *path = temporary_path("screen.tq");
  for (int four = 0; four < 2; four++) {
    write_ternary(path, "screen", 6, four);
    for (size_t i = 0; i < 2; i++) {
      setenv("COLUMNS", widths[i], 1);
      char *text = inspect(0, NULL, path, NULL, NULL);
      check_lines(strchr(text, '\n') + 1, (size_t)atoi(widths[i])); /* the first line is the path */
      const char *heads = find_line(text, "tensors"), *q = find_line(text, "layers.*.q ×2");
      const char *encoding = strstr(heads, "encoding"), *base3 = strstr(q, "base3 tensor F32");
      ck_assert_uint_eq(line_width(heads, (size_t)(encoding - heads)), line_width(q, (size_t)(base3 - q)));
      ck_contains(text, four ? "-1/0/+1/+2 %" : "-1/0/+1 %");
      ck_contains(q, "25 25 50");
      ck_contains(q, "0.125..0.25");
      ck_contains(q, "█");
      ck_contains(text, "base3 g128 F16");
      ck_contains(text, "2bit row 1/BF16");
      ck_contains(text, "4 heads of 64, 2 for keys and values, context 2048");
      ck_contains(text, four ? "against F16" : "% ternary");
      free(text);
    }
  }
}
END_TEST

/* The text with its line breaks, and the columns before a line that goes on, as single spaces; freed by the caller. */
static char *joined(const char *text) {
  char *copy = malloc(strlen(text) + 1), *to = copy;
  for (; *text; text++) {
    bool hangs = *text == '\n' && strspn(text + 1, " ") == 16;
    *to++ = hangs ? ' ' : *text;
    if (hangs) text += 16;
  }
  *to = 0;
  return copy;
}

/* 64 rows of 64 weights, each half the magnitude of -1 or 1, but for one. */
static void write_almost(const char *path) {
  static uint8_t bytes[64 * 64 * 4];
  const uint64_t shape[] = {64, 64};
  gguf_builder builder = {0};
  for (size_t i = 0; i < 64 * 64; i++) tq_store_f32(bytes + 4 * i, i % 3 ? 0.5f : -0.5f);
  tq_store_f32(bytes + 4 * 100, 0.75f);
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, shape, bytes, sizeof bytes);
  gguf_end_file(&builder, path);
}

START_TEST(almost_ternary) {
  const char *path = temporary_path("almost.gguf");
  write_almost(path);
  json_t *json = inspect_json(path), *almost = at(json, "tensors/0/almost_ternary");
  ck_assert_int_eq(integer_at(almost, "off"), 1);
  ck_assert_double_eq(number_at(almost, "furthest"), 0.5);
  ck_assert_str_eq(string_at(almost, "granularity"), "tensor");
  ck_assert(json_is_null(at(almost, "group")));
  json_decref(json);
  char *text = inspect(0, NULL, path, NULL, NULL), *one_line = joined(text);
  static const char says[] = "is almost ternary: 1 of 4096 weights are off by up to 0.5 of the scale";
  ck_contains(one_line, says);
  ck_assert_ptr_null(strstr(strstr(one_line, says) + sizeof says, "almost ternary"));
  free(text), free(one_line);
}
END_TEST

START_TEST(long_lines_are_wrapped) {
  const char *path = temporary_path("wrapped.gguf");
  write_almost(path);
  setenv("COLUMNS", "60", 1);
  char *text = inspect(0, NULL, path, NULL, NULL);
  check_lines(strchr(text, '\n') + 1, 60);
  const char *reading = find_line(text, "reading"), *next = strchr(reading, '\n') + 1;
  ck_assert_uint_eq(strspn(next, " "), 16);
  free(text);
}
END_TEST

START_TEST(an_architecture_that_is_not_run) {
  static const char *const rows[][2] = {
      {"qwen35", "qwen35, carried but not run: linear attention layers are not computed\n"},
      {"mystery", "mystery, carried but not run: unknown architecture\n"},
      {"llama", "llama, carried but not run: llama.block_count is missing\n"}};
  const char *path = temporary_path("not-run.gguf");
  uint8_t zeros[32] = {0};
  const uint64_t shape[] = {8};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    gguf_builder builder = {0};
    gguf_key_string(&builder, "general.architecture", rows[i][0]);
    gguf_tensor(&builder, "output_norm.weight", 0, 1, shape, zeros, sizeof zeros);
    gguf_end_file(&builder, path);
    char *text = inspect(0, NULL, path, NULL, NULL), *one_line = joined(text);
    ck_contains(one_line, rows[i][1]);
    free(text), free(one_line);
  }
}
END_TEST

START_TEST(chat_templates) {
  static const struct {
    const char *jinja, *says, *name;
  } rows[] = {{"{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'}}"
               "{{ '<|im_start|>assistant\n' }}",
               ", chat template chatml\n", "chatml"},
              {"{{ mystery }}", ", chat template not known\n", NULL},
              {NULL, ", no chat template\n", NULL}};
  const char *path = temporary_path("chat.gguf");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    gguf_builder builder = {0};
    gguf_llama_keys(&builder);
    gguf_tokenizer_keys(&builder);
    if (rows[i].jinja) gguf_key_string(&builder, "tokenizer.chat_template", rows[i].jinja);
    gguf_end_file(&builder, path);
    char *text = inspect(0, NULL, path, NULL, NULL);
    ck_contains(text, rows[i].says);
    free(text);
    json_t *json = inspect_json(path);
    ck_assert_int_eq(json_is_true(at(json, "tokenizer/chat_template")), rows[i].jinja != NULL);
    if (rows[i].name)
      ck_assert_str_eq(string_at(json, "tokenizer/chat_template_name"), rows[i].name);
    else
      ck_assert(json_is_null(at(json, "tokenizer/chat_template_name")));
    json_decref(json);
  }
}
END_TEST

START_TEST(a_line_per_tensor) {
  const char *path = temporary_path("lines.tq");
  write_ternary(path, "lines", 5, false);
  char *text = inspect(0, NULL, "--tensors", path, NULL);
  find_line(text, "layers.0.q ");
  find_line(text, "layers.1.q ");
  find_line(text, "final_norm ");
  ck_assert_ptr_null(strstr(text, "layers.*"));
  free(text);
}
END_TEST

/* Runs tq-inspect with its output on a terminal and gives what came. */
static char *on_terminal(const char *path) {
  const char *build = getenv("TQ_BUILD");
  char program[4096], *text = calloc(1 << 16, 1);
  size_t size = 0;
  snprintf(program, sizeof program, "%s/bin/tq-inspect", build && *build ? build : "build");
  int terminal = posix_openpt(O_RDWR | O_NOCTTY);
  ck_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
  int other = open(ptsname(terminal), O_RDWR | O_NOCTTY);
  ck_assert_int_ge(other, 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(other, STDOUT_FILENO);
    execl(program, program, path, (char *)NULL);
    _exit(127);
  }
  close(other);
  for (ssize_t got; (got = read(terminal, text + size, (1 << 16) - 1 - size)) > 0;) size += (size_t)got;
  int status;
  ck_assert(waitpid(child, &status, 0) == child);
  ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  close(terminal);
  return text;
}

START_TEST(colors_on_a_terminal_only) {
  const char *path = temporary_path("colors.tq");
  write_ternary(path, "colors", 6, false);
  unsetenv("NO_COLOR");
  char *text = on_terminal(path);
  ck_contains(text, "\033[");
  free(text);
  setenv("NO_COLOR", "1", 1);
  text = on_terminal(path);
  ck_assert_ptr_null(strchr(text, '\033'));
  ck_contains(text, "layers.*.q ×2");
  free(text);
  unsetenv("NO_COLOR");
  text = inspect(0, NULL, path, NULL, NULL);
  ck_assert_ptr_null(strchr(text, '\033'));
  free(text);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-inspect");
  TCase *shown = tcase_create("what it shows");
  tcase_add_test(shown, help_version_and_wrong_usage);
  tcase_add_test(shown, readings_of_a_file_that_has_one);
  tcase_add_test(shown, hashes_as_md5sum_prints_them);
  tcase_add_test(shown, names_are_harmless_to_a_terminal);
  tcase_add_test(shown, scales_that_are_no_number_have_no_sign);
  tcase_add_test(shown, json_of_a_real_model);
  tcase_add_test(shown, json_keys_keep_their_order);
  tcase_add_test(shown, the_golden_models);
  tcase_add_test(shown, a_vocabulary_alone);
  tcase_add_test(shown, a_folder);
  tcase_add_test(shown, ternary_tensors);
  tcase_add_test(shown, metadata_as_json);
  tcase_add_test(shown, the_screen_fits_and_is_aligned);
  tcase_add_test(shown, almost_ternary);
  tcase_add_test(shown, long_lines_are_wrapped);
  tcase_add_test(shown, an_architecture_that_is_not_run);
  tcase_add_test(shown, chat_templates);
  tcase_add_test(shown, a_line_per_tensor);
  tcase_add_test(shown, colors_on_a_terminal_only);
  suite_add_tcase(suite, shown);
  return run_suite(suite);
}
