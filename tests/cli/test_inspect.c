/* tq-inspect: what it says of real files and of files made here, as text, as JSON and as hashes; and its refusals. */
#include "base/bytes.h"
#include "base/hash.h"
#include "container/layout.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/container.h"
#include "tq/model.h"
#include "tq/ternary.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs tq-inspect with up to four arguments and demands the status; the output is freed by the caller. */
static char *inspect(int expected, char **errors, const char *a, const char *b, const char *c) {
  const char *const arguments[] = {"tq-inspect", a, b, c, NULL};
  char *texts[2] = {NULL, NULL};
  int status = run_tool(arguments, NULL, &texts[0], &texts[1]);
  ck_assert_msg(status == expected, "tq-inspect %s: status %d instead of %d: %s", a, status, expected, texts[1]);
  if (errors)
    *errors = texts[1];
  else
    free(texts[1]);
  return texts[0];
}

static json_t *inspect_json(const char *path) {
  char *output = inspect(0, NULL, path, "--json", NULL);
  json_error_t problem;
  json_t *json = json_loads(output, JSON_REJECT_DUPLICATES, &problem);
  ck_assert_msg(json != NULL, "%s: %s", path, problem.text);
  free(output);
  return json;
}

/* The value behind a '/'-separated path of keys and indexes. */
static json_t *at(json_t *json, const char *keys) {
  char copy[256], *rest = copy;
  snprintf(copy, sizeof copy, "%s", keys);
  for (char *key; json && (key = strsep(&rest, "/"));)
    json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key)) : json_object_get(json, key);
  ck_assert_msg(json != NULL, "%s is missing", keys);
  return json;
}

static const char *string_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_string(value), "%s is no string", keys);
  return json_string_value(value);
}

static long long integer_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_integer(value), "%s is no integer", keys);
  return json_integer_value(value);
}

static double number_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_number(value), "%s is no number", keys);
  return json_number_value(value);
}

static void converted(const char *from, const char *to) {
  const char *const arguments[] = {"tq-convert", from, "-o", to, NULL};
  char *errors;
  int status = run_tool(arguments, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "tq-convert %s: %s", from, errors);
  free(errors);
}

static void ck_contains(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

/* ---- a ternary model, made with the writer ---- */

enum { WIDTH = 256, FFN = 320, VOCABULARY = 96, ROW_BYTES = 128 };

static void begin_tensor(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns) {
  tq_tensor tensor = {.role = role, .name = role, .source_type = "", .dimensions = rows ? 2 : 1};
  tensor.shape[0] = rows ? rows : columns;
  tensor.shape[1] = columns;
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
}

static void end_tensor(tq_writer *writer, const char *role, const uint64_t counts[4]) {
  tq_hash hash;
  tq_hash_bytes(TQ_HASH_XXH3_128, role, strlen(role), &hash);
  ck_ok(tq_writer_tensor_end(writer, counts, hash.bytes, error));
}

static void add_numbers(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, uint32_t encoding) {
  uint64_t none[4] = {0}, bytes = (rows ? rows : 1) * columns * tq_encoding_find(encoding)->bytes;
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = encoding, .type_name = ""};
  uint8_t *zeros = calloc(bytes, 1);
  begin_tensor(writer, role, rows, columns);
  ck_ok(tq_writer_part_begin(writer, &part, error));
  ck_ok(tq_writer_part_write(writer, zeros, bytes, error));
  ck_ok(tq_writer_part_end(writer, error));
  end_tensor(writer, role, none);
  free(zeros);
}

static void add_blocks(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns) {
  uint64_t none[4] = {0}, bytes = rows * columns / 32 * 34;
  tq_part part = {
      .kind = TQ_PART_VALUES, .encoding = TQ_BLOCKS, .type_name = "Q8_0", .block_elements = 32, .block_bytes = 34};
  uint8_t *zeros = calloc(bytes, 1);
  begin_tensor(writer, role, rows, columns);
  ck_ok(tq_writer_part_begin(writer, &part, error));
  ck_ok(tq_writer_part_write(writer, zeros, bytes, error));
  ck_ok(tq_writer_part_end(writer, error));
  end_tensor(writer, role, none);
  free(zeros);
}

typedef struct codes {
  uint32_t encoding, granularity, group, scale_encoding, direction;
  float first, last; /* of the scales, evenly between */
} codes;

/* A quarter of the weights is -1, a quarter 0, the others +1 (or, four-valued, +1 and +2). */
static void add_codes(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, const codes *c) {
  static const int8_t pattern[2][4] = {{-1, 0, 1, 1}, {-1, 0, 1, 2}};
  int8_t trits[FFN];
  uint8_t row[ROW_BYTES];
  uint64_t counts[4] = {0}, scales = tq_scale_count(c->granularity, c->group, rows, columns);
  tq_part values = {.kind = TQ_PART_VALUES, .encoding = c->encoding, .type_name = ""};
  tq_part table = {.kind = TQ_PART_SCALES,
                   .encoding = c->scale_encoding,
                   .granularity = c->granularity,
                   .group = c->group,
                   .direction = c->direction,
                   .type_name = ""};
  for (size_t i = 0; i < columns; i++) trits[i] = pattern[c->encoding == TQ_QUATERNARY_2BIT][i % 4];
  begin_tensor(writer, role, rows, columns);
  ck_ok(tq_writer_part_begin(writer, &values, error));
  for (uint64_t r = 0; r < rows; r++) {
    tq_trits_pack(c->encoding, trits, columns, row);
    tq_trits_count(trits, columns, counts);
    ck_ok(tq_writer_part_write(writer, row, tq_trit_row_bytes(c->encoding, columns), error));
  }
  ck_ok(tq_writer_part_end(writer, error));
  ck_ok(tq_writer_part_begin(writer, &table, error));
  for (uint64_t i = 0; i < scales; i++) {
    float scale = scales > 1 ? c->first + (c->last - c->first) * (float)i / (float)(scales - 1) : c->first;
    uint8_t stored[4];
    if (c->scale_encoding == TQ_F32)
      tq_store_f32(stored, scale);
    else
      tq_store_u16(stored, c->scale_encoding == TQ_F16 ? tq_f32_to_f16(scale) : tq_f32_to_bf16(scale));
    ck_ok(tq_writer_part_write(writer, stored, c->scale_encoding == TQ_F32 ? 4 : 2, error));
  }
  ck_ok(tq_writer_part_end(writer, error));
  end_tensor(writer, role, counts);
}

static void add_metadata(tq_writer *writer, const char *name, size_t name_size) {
  tq_metadata_builder keys = {0};
  ck_ok(tq_metadata_add_string(&keys, "general.architecture", "bitnet", 6, error));
  ck_ok(tq_metadata_add_string(&keys, "general.name", name, name_size, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.block_count", 2, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.context_length", 2048, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.embedding_length", WIDTH, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.feed_forward_length", FFN, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.attention.head_count", 4, error));
  ck_ok(tq_metadata_add_u32(&keys, "bitnet.attention.head_count_kv", 2, error));
  ck_ok(tq_metadata_add_f32(&keys, "bitnet.attention.layer_norm_rms_epsilon", 1e-5f, error));
  ck_ok(tq_metadata_add_u64(&keys, "test.huge", UINT64_MAX, error));
  ck_ok(tq_metadata_add_bool(&keys, "test.flag", true, error));
  ck_ok(tq_metadata_add_array(&keys, "test.few", TQ_VALUE_I8, 3, "\xff\0\1", 3, error));
  uint8_t many[100] = {0};
  ck_ok(tq_metadata_add_array(&keys, "test.many", TQ_VALUE_U8, sizeof many, many, sizeof many, error));
  ck_ok(tq_writer_metadata(writer, keys.data, keys.size, keys.count, error));
  tq_metadata_builder_free(&keys);
}

static const codes per_tensor = {TQ_TERNARY_BASE3, TQ_PER_TENSOR, 0, TQ_F32, TQ_DIRECT, 0.25f, 0.25f};
static const codes per_group = {TQ_TERNARY_BASE3, TQ_PER_GROUP, 128, TQ_F16, TQ_DIRECT, -0.5f, 2.0f};
static const codes inverted = {TQ_TERNARY_2BIT, TQ_PER_ROW, 0, TQ_BF16, TQ_INVERTED, 4.0f, 16.0f};
static const codes four_valued = {TQ_QUATERNARY_2BIT, TQ_PER_TENSOR, 0, TQ_F32, TQ_DIRECT, 1.0f, 1.0f};

/* Puts in the digests of what the file holds. */
static void put_true_digests(const char *path) {
  image file = load_image(path);
  tq_file *opened;
  tq_hyperparameters hyperparameters;
  ck_ok(tq_file_open_memory(path, file.data, file.size, TQ_VERIFY_HEADER, &opened, error));
  ck_ok(tq_hyperparameters_read(tq_file_metadata(opened), &hyperparameters, error));
  tq_file_close(opened);
  tq_function_digest(&hyperparameters, NULL, section_bytes(file, "digests") + TQ_DIGESTS_FUNCTION);
  reseal(file);
  reseal_contents(file);
  write_file(path, file.data, file.size);
  free(file.data);
}

/* Two layers; q of the second has another scale, so that a group's range is that of its tensors. */
static void write_ternary(const char *path, const char *name, size_t name_size, bool with_four_valued) {
  static const uint8_t no_digest[16];
  codes second = per_tensor;
  tq_writer *writer;
  char role[64];
  second.first = 0.125f;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  add_metadata(writer, name, name_size);
  add_numbers(writer, "embedding", VOCABULARY, WIDTH, TQ_F16);
  for (int layer = 0; layer < 2; layer++) {
    snprintf(role, sizeof role, "layers.%d.attention_norm", layer);
    add_numbers(writer, role, 0, WIDTH, TQ_F32);
    snprintf(role, sizeof role, "layers.%d.q", layer);
    add_codes(writer, role, WIDTH, WIDTH, layer ? &second : &per_tensor);
    snprintf(role, sizeof role, "layers.%d.gate", layer);
    add_codes(writer, role, FFN, WIDTH, &per_group);
    snprintf(role, sizeof role, "layers.%d.down", layer);
    add_codes(writer, role, WIDTH, FFN, &inverted);
  }
  if (with_four_valued) add_codes(writer, "layers.0.up", FFN, WIDTH, &four_valued);
  add_blocks(writer, "head", VOCABULARY, WIDTH);
  add_numbers(writer, "final_norm", 0, WIDTH, TQ_F32);
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  put_true_digests(path);
}

/* ---- usage ---- */

START_TEST(help_version_and_wrong_usage) {
  char *output = inspect(0, NULL, "--help", NULL, NULL), *errors;
  size_t lines = 0;
  for (const char *c = output; *c; c++) lines += *c == '\n';
  ck_assert_uint_le(lines, 24);
  ck_contains(output, "--tensors");
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
  static const char *const expected[] = {"path",
                                         "format",
                                         "version",
                                         "made_from",
                                         "size",
                                         "files",
                                         "hyperparameters",
                                         "not_run_because",
                                         "tokenizer",
                                         "totals",
                                         "groups",
                                         "tensors",
                                         "metadata",
                                         "attachments",
                                         "hash",
                                         "digests",
                                         "verified",
                                         "notes"};
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

/* ---- verifying, and what is wrong ---- */

START_TEST(verify_tells_intact_from_damaged) {
  const char *path = temporary_path("verify.tq");
  write_ternary(path, "verify", 6, false);
  char *output = inspect(0, NULL, "--verify", path, NULL), *errors, expected[256];
  json_t *json = inspect_json(path);
  snprintf(expected, sizeof expected, "%s: intact (11 tensors, 11 chunks, xxh3-128 %s)\n", path,
           string_at(json, "hash/value"));
  ck_assert_str_eq(output, expected);
  ck_assert(json_is_false(at(json, "verified")));
  free(output), json_decref(json);
  output = inspect(0, NULL, "--verify", "--json", path);
  json = json_loads(output, 0, NULL);
  ck_assert(json_is_true(at(json, "verified")));
  free(output), json_decref(json);
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  bytes[size - 100] ^= 4;
  write_file(path, bytes, size);
  output = inspect(3, &errors, "--verify", path, NULL);
  ck_assert_str_eq(output, "");
  ck_contains(errors, path);
  free(output), free(errors), free(bytes);
}
END_TEST

/* Hashes that are right for digests that are not. */
START_TEST(verify_computes_the_digests_anew) {
  static const struct {
    size_t offset;
    const char *message;
  } rows[] = {{TQ_DIGESTS_FUNCTION, "the function digest is not that of the hyperparameters"},
              {TQ_DIGESTS_TOKENIZER, "the tokenizer digest is not that of the tokenizer"}};
  const char *path = temporary_path("digests.tq");
  for (int i = 0; i < 3; i++) {
    char *errors;
    write_ternary(path, "digests", 7, true);
    image file = load_image(path);
    if (i < 2)
      section_bytes(file, "digests")[rows[i].offset] ^= 1;
    else
      section_bytes(file, "data")[0] ^= 1;
    reseal(file);
    write_file(path, file.data, file.size);
    free(file.data);
    free(inspect(3, &errors, "--verify", path, NULL));
    ck_contains(errors, i < 2 ? rows[i].message : "tensor embedding: its content digest is not that of its weights");
    free(errors);
  }
}
END_TEST

START_TEST(only_tq_files_are_verified) {
  const char *path = shared_path("models/stories260K.gguf");
  char *errors;
  if (!path) return;
  free(inspect(2, &errors, "--verify", path, NULL));
  ck_contains(errors, "carries no hashes");
  free(errors);
}
END_TEST

/* The status, one line on stderr that names the file, and nothing on stdout. */
static void check_refused(int status, const char *path) {
  static const char *const modes[] = {NULL, "--json", "--hash", "--verify"};
  for (size_t i = 0; i < 4; i++) {
    char *errors, *output = inspect(status, &errors, path, modes[i], NULL);
    ck_assert_str_eq(output, "");
    ck_assert_ptr_eq(strstr(errors, "tq-inspect: "), errors);
    ck_contains(errors, path);
    ck_assert(strchr(errors, '\n') == errors + strlen(errors) - 1);
    free(output), free(errors);
  }
}

START_TEST(files_that_are_none) {
  const char *path = temporary_path("none");
  check_refused(1, temporary_path("missing"));
  write_file(path, "", 0);
  check_refused(3, path);
  uint8_t garbage[5000];
  uint64_t state = 17;
  for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (uint8_t)random_u64(&state);
  write_file(path, garbage, sizeof garbage);
  check_refused(3, path);
  write_file(path, "\x89TQF\r\n\x1a\n", 8);
  check_refused(3, path);
}
END_TEST

START_TEST(truncated_files) {
  const char *whole = temporary_path("whole.tq"), *cut = temporary_path("cut.tq");
  write_ternary(whole, "cut", 3, false);
  size_t size;
  uint8_t *bytes = read_file(whole, &size);
  static const size_t left[] = {4, 8, 127, 128, 1000, 65536, 70000};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
    write_file(cut, bytes, left[i]);
    check_refused(3, cut);
  }
  write_file(cut, bytes, size - 1);
  check_refused(3, cut);
  free(bytes);
  const char *gguf = shared_path("models/stories260K.gguf");
  if (!gguf) return;
  bytes = read_file(gguf, &size);
  write_file(cut, bytes, size - 1);
  check_refused(3, cut);
  free(bytes);
}
END_TEST

/* Damage in a scale table is met while its range is read, without --verify. */
START_TEST(damaged_scales) {
  const char *path = temporary_path("scales.tq");
  write_ternary(path, "scales", 6, false);
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
  size_t index = tq_file_find_role(file, "layers.1.gate");
  ck_assert_uint_ne(index, SIZE_MAX);
  const tq_tensor *tensor = tq_file_tensor(file, index);
  uint64_t offset = tensor->data_offset + tensor->parts[1].offset;
  tq_file_close(file);
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  bytes[offset] ^= 1;
  write_file(path, bytes, size);
  free(bytes);
  check_refused(3, path);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-inspect");
  TCase *shown = tcase_create("what it shows");
  tcase_add_test(shown, help_version_and_wrong_usage);
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
  tcase_add_test(shown, a_line_per_tensor);
  tcase_add_test(shown, colors_on_a_terminal_only);
  suite_add_tcase(suite, shown);
  TCase *refused = tcase_create("what is wrong");
  tcase_add_test(refused, verify_tells_intact_from_damaged);
  tcase_add_test(refused, verify_computes_the_digests_anew);
  tcase_add_test(refused, only_tq_files_are_verified);
  tcase_add_test(refused, files_that_are_none);
  tcase_add_test(refused, truncated_files);
  tcase_add_test(refused, damaged_scales);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
