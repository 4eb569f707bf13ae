#include "tests/cli/inspect_support.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/layout.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/model.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *inspect(int expected, char **errors, const char *a, const char *b, const char *c) {
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

json_t *inspect_json(const char *path) {
  char *output = inspect(0, NULL, path, "--json", NULL);
  json_error_t problem;
  json_t *json = json_loads(output, JSON_REJECT_DUPLICATES, &problem);
  ck_assert_msg(json != NULL, "%s: %s", path, problem.text);
  free(output);
  return json;
}

json_t *at(json_t *json, const char *keys) {
  char copy[256], *rest = copy;
  snprintf(copy, sizeof copy, "%s", keys);
  for (char *key; json && (key = strsep(&rest, "/"));)
    json = json_is_array(json) ? json_array_get(json, (size_t)atoi(key)) : json_object_get(json, key);
  ck_assert_msg(json != NULL, "%s is missing", keys);
  return json;
}

const char *string_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_string(value), "%s is no string", keys);
  return json_string_value(value);
}

long long integer_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_integer(value), "%s is no integer", keys);
  return json_integer_value(value);
}

double number_at(json_t *json, const char *keys) {
  json_t *value = at(json, keys);
  ck_assert_msg(json_is_number(value), "%s is no number", keys);
  return json_number_value(value);
}

void ck_contains(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in:\n%s", part, text);
}

/* ---- a ternary model, made with the writer ---- */

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

void add_numbers(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, uint32_t encoding) {
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

void add_codes(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, const codes *c) {
  static const int8_t pattern[2][4] = {{-1, 0, 1, 1}, {-1, 0, 1, 2}};
  int8_t trits[FFN];
  uint8_t *matrix = malloc((size_t)(rows * tq_trit_row_bytes(c->encoding, columns)));
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
    put_trits(c->encoding, trits, rows, r, columns, matrix);
    tq_trits_count(trits, columns, counts);
  }
  ck_ok(tq_writer_part_write(writer, matrix, rows * tq_trit_row_bytes(c->encoding, columns), error));
  free(matrix);
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

void write_ternary(const char *path, const char *name, size_t name_size, bool with_four_valued) {
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
