/* Weights folded with a rotation: the transform against a matrix of its definition, the keys that declare it, and whole
 * models that are the same folded and not. */
#include "base/bytes.h"
#include "ops/ops.h"
#include "tests/random_model.h"
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the transform ---- */

/* y = H (signs * x) by the definition: H_ij = (-1)^(bits in common) / sqrt(block). */
static void naive_rotate(const float *x, const float *signs, size_t size, size_t block, double *y) {
  for (size_t i = 0; i < size; i++) {
    y[i] = 0;
    for (size_t j = i / block * block; j < (i / block + 1) * block; j++) {
      double term = (double)x[j] * (signs ? (double)signs[j] : 1);
      bool odd = false;
      for (size_t common = i % block & j % block; common; common &= common - 1) odd = !odd;
      y[i] += odd ? -term : term;
    }
    y[i] /= sqrt((double)block);
  }
}

static const size_t blocks[] = {1, 2, 4, 8, 16, 64, 128, 512, 1024};
enum { LARGEST = 2048 };

START_TEST(the_fast_transform_is_the_matrix) {
  size_t block = blocks[_i];
  for (size_t count = 1; count * block <= LARGEST && count < 4; count++) {
    float x[LARGEST], signs[LARGEST], y[LARGEST], back[LARGEST];
    double expected[LARGEST];
    size_t size = count * block;
    uint64_t seed = block;
    for (size_t i = 0; i < size; i++) x[i] = random_float(&seed), signs[i] = random_u64(&seed) % 2 ? 1 : -1;
    for (int explicit_signs = 0; explicit_signs < 2; explicit_signs++) {
      const tq_rotation rotation = {block, explicit_signs ? signs : NULL};
      naive_rotate(x, rotation.signs, size, block, expected);
      tq_op_rotate(&rotation, x, size, y);
      for (size_t i = 0; i < size; i++) ck_assert_double_eq_tol((double)y[i], expected[i], 2e-6);
      tq_op_rotate_back(&rotation, y, size, back);
      for (size_t i = 0; i < size; i++) ck_assert_double_eq_tol((double)back[i], (double)x[i], 2e-6);
      memcpy(back, x, size * sizeof *x);
      tq_op_rotate(&rotation, back, size, back); /* in place */
      ck_assert_mem_eq(back, y, size * sizeof *y);
      tq_op_rotate_back(&rotation, back, size, back);
      for (size_t i = 0; i < size; i++) ck_assert_double_eq_tol((double)back[i], (double)x[i], 2e-6);
    }
  }
}
END_TEST

/* Signs come before the matrix on the way there, and behind it on the way back. */
START_TEST(the_order_of_signs_and_matrix_is_right) {
  const float signs[] = {1, -1}, x[] = {3, 5};
  const tq_rotation rotation = {2, signs};
  float y[2];
  tq_op_rotate(&rotation, x, 2, y);
  ck_assert(fabsf(y[0] + 2 / sqrtf(2)) < 1e-6f && fabsf(y[1] - 8 / sqrtf(2)) < 1e-6f);
  tq_op_rotate_back(&rotation, x, 2, y);
  ck_assert(fabsf(y[0] - 8 / sqrtf(2)) < 1e-6f && fabsf(y[1] - 2 / sqrtf(2)) < 1e-6f);
}
END_TEST

/* ---- keys ---- */

enum { BLOCK = 16, DIMENSION = 48, QUERY = 96, FEED_FORWARD = 80, MOST_NAMES = 20 };
static const int32_t all_widths[] = {FEED_FORWARD, DIMENSION, QUERY};

/* What the keys say, and what is wrong with them. */
static struct declaration {
  uint32_t version, block;
  const char *transform, *axis, *sign_mode;
  bool tied, grouped;
  int32_t widths[3];
  size_t width_count, value_count;
  int32_t odd_sign; /* in the middle */
  const char *weights[MOST_NAMES], *embeddings[4];
  const char *leave_out, *number_instead, *extra;
  bool wide_signs; /* i64 instead of i8 */
} declared;

static const char *const layer_names[] = {
    "layers.0.q", "layers.0.k", "layers.0.v", "layers.0.o", "layers.0.gate", "layers.0.up", "layers.0.down",
    "layers.1.q", "layers.1.k", "layers.1.v", "layers.1.o", "layers.1.gate", "layers.1.up", "layers.1.down"};

static void declare_all(void) {
  declared = (struct declaration){.version = 1,
                                  .block = BLOCK,
                                  .transform = "normalized-sylvester-walsh-hadamard",
                                  .axis = "input-last-dimension",
                                  .sign_mode = "explicit",
                                  .width_count = 3,
                                  .value_count = DIMENSION + QUERY + FEED_FORWARD,
                                  .odd_sign = 1};
  memcpy(declared.widths, all_widths, sizeof all_widths);
  memcpy(declared.weights, layer_names, sizeof layer_names);
  declared.weights[14] = "head";
  declared.embeddings[0] = "embedding";
}

/* The sign of an input of that width: the same whatever the order of the widths. */
static int8_t sign_of(size_t width, size_t column) {
  uint64_t seed = width * 1000 + column;
  return random_u64(&seed) % 2 ? 1 : -1;
}

static const char *full_key(const char *name) {
  static char key[64];
  snprintf(key, sizeof key, "prism.hadamard.%s", name);
  return key;
}

static bool begins(tq_metadata_builder *keys, const char *name) {
  if (declared.leave_out && strcmp(declared.leave_out, name) == 0) return false;
  if (!declared.number_instead || strcmp(declared.number_instead, name) != 0) return true;
  ck_ok(tq_metadata_add_f32(keys, full_key(name), 1, error));
  return false;
}

static void put_text(tq_metadata_builder *keys, const char *name, const char *text) {
  if (begins(keys, name)) ck_ok(tq_metadata_add_string(keys, full_key(name), text, strlen(text), error));
}

static void put_number(tq_metadata_builder *keys, const char *name, uint32_t number) {
  if (begins(keys, name)) ck_ok(tq_metadata_add_u32(keys, full_key(name), number, error));
}

static void put_names(tq_metadata_builder *keys, const char *name, const char *const *names, size_t most) {
  uint8_t items[2048];
  size_t size = 0, count = 0;
  for (; count < most && names[count]; count++) {
    size_t length = strlen(names[count]);
    tq_store_u64(items + size, length);
    memcpy(items + size + 8, names[count], length);
    size += 8 + length;
  }
  if (begins(keys, name))
    ck_ok(tq_metadata_add_array(keys, full_key(name), TQ_VALUE_STRING, count, items, size, error));
}

static void put_signs(tq_metadata_builder *keys) {
  uint8_t values[8 * 1024], widths[12];
  size_t count = 0, wide = declared.wide_signs ? 8 : 1;
  for (size_t i = 0; i < declared.width_count; i++) {
    tq_store_u32(widths + 4 * i, (uint32_t)declared.widths[i]);
    for (int32_t c = 0; c < declared.widths[i] && count < 1024; c++, count++) {
      int64_t sign = sign_of((size_t)declared.widths[i], (size_t)c);
      if (count == 100) sign *= declared.odd_sign;
      for (size_t b = 0; b < wide; b++) values[count * wide + b] = (uint8_t)((uint64_t)sign >> 8 * b);
    }
  }
  if (begins(keys, "sign_widths"))
    ck_ok(tq_metadata_add_array(keys, full_key("sign_widths"), TQ_VALUE_I32, declared.width_count, widths,
                                4 * declared.width_count, error));
  if (begins(keys, "sign_values"))
    ck_ok(tq_metadata_add_array(keys, full_key("sign_values"), wide == 8 ? TQ_VALUE_I64 : TQ_VALUE_I8,
                                declared.value_count, values, wide * declared.value_count, error));
}

static void put_keys(tq_metadata_builder *keys) {
  put_number(keys, "version", declared.version);
  put_number(keys, "block_size", declared.block);
  put_text(keys, "transform", declared.transform);
  put_text(keys, "axis", declared.axis);
  put_text(keys, "sign_mode", declared.sign_mode);
  if (declared.width_count) put_signs(keys);
  put_names(keys, "weight_names", declared.weights, MOST_NAMES);
  put_names(keys, "inverse_weight_names", declared.embeddings, 4);
  if (declared.tied) ck_ok(tq_metadata_add_bool(keys, full_key("tied_output"), true, error));
  if (declared.grouped) ck_ok(tq_metadata_add_bool(keys, full_key("gdn_v_grouped"), true, error));
  if (declared.extra) put_number(keys, declared.extra, 1);
}

/* ---- models ---- */

enum { LENGTH = 9, VOCABULARY = 47 };

static bool is_listed(const char *const *names, size_t most, const char *role) {
  for (size_t i = 0; i < most && names[i]; i++)
    if (strcmp(names[i], role) == 0) return true;
  return false;
}

/* W' = W diag(s) H, for both kinds of tensors: rows of an embedding are rotated like inputs. */
static void fold(const char *role, uint64_t rows, uint64_t columns, float *values) {
  float signs[128];
  double folded[128];
  bool explicit_signs = strcmp(declared.sign_mode, "explicit") == 0;
  if (!is_listed(declared.weights, MOST_NAMES, role) && !is_listed(declared.embeddings, 4, role)) return;
  for (size_t c = 0; c < columns; c++) signs[c] = sign_of((size_t)columns, c);
  for (uint64_t r = 0; r < rows; r++) {
    float *row = values + r * columns;
    naive_rotate(row, explicit_signs ? signs : NULL, (size_t)columns, declared.block, folded);
    for (size_t c = 0; c < columns; c++) row[c] = (float)folded[c];
  }
}

static random_spec small(void) {
  return (random_spec){.architecture = "qwen3",
                       .layers = 2,
                       .dimension = DIMENSION,
                       .feed_forward = FEED_FORWARD,
                       .heads = 6,
                       .kv_heads = 2,
                       .head_dimension = 16,
                       .vocabulary = VOCABULARY,
                       .context = 32,
                       .encoding = {.name = "F32", .encoding = TQ_F32},
                       .seed = 7,
                       .add_keys = put_keys,
                       .fold = fold};
}

static void run(const char *path, tq_activations activations, float *all) {
  tq_file *file;
  tq_model *model;
  tq_session *session;
  tq_session_options options = {.context = LENGTH, .threads = 2, .activations = activations};
  uint32_t tokens[LENGTH], positions[LENGTH];
  bool wanted[LENGTH];
  const float *logits;
  for (uint32_t i = 0; i < LENGTH; i++) tokens[i] = (i * 29 + 5) % VOCABULARY, positions[i] = i, wanted[i] = true;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_model_create(file, &model, error));
  ck_ok(tq_session_create(model, &options, &session, error));
  tq_batch batch = {.count = LENGTH, .tokens = tokens, .positions = positions, .wants_logits = wanted};
  ck_ok(tq_forward(session, &batch, &logits, error));
  memcpy(all, logits, LENGTH * VOCABULARY * sizeof *all);
  tq_session_destroy(session);
  tq_model_destroy(model);
  tq_file_close(file);
}

/* How far the folded model is from the one that it was made of, as a share of the largest logit. */
static double error_of(const random_spec *spec) {
  const char *path = temporary_path("folded.tq");
  random_model *random = random_model_write(spec, path);
  float logits[LENGTH * VOCABULARY];
  double expected[LENGTH * VOCABULARY], frequencies[8], largest = 0, worst = 0;
  uint32_t tokens[LENGTH];
  for (uint32_t i = 0; i < LENGTH; i++) tokens[i] = (i * 29 + 5) % VOCABULARY;
  for (int i = 0; i < 8; i++) frequencies[i] = pow(5000.0, -2.0 * i / 16);
  run(path, TQ_ACTIVATIONS_FLOAT, logits);
  random_model_logits(random, tokens, LENGTH, frequencies, 1, expected);
  for (size_t i = 0; i < LENGTH * VOCABULARY; i++) {
    largest = fmax(largest, fabs(expected[i]));
    worst = fmax(worst, fabs((double)logits[i] - expected[i]));
  }
  random_model_free(random);
  return worst / largest;
}

/* Keys and values are rounded by the cache, now and then to another number than the naive model's. */
#define ck_same_model(spec) ck_assert_double_lt(error_of(spec), 1e-4)

START_TEST(a_folded_model_is_the_model) {
  random_spec spec = small();
  declare_all();
  ck_same_model(&spec);
  declared.wide_signs = declared.grouped = true;
  ck_same_model(&spec);
  declared.sign_mode = "identity";
  declared.width_count = 0;
  ck_same_model(&spec);
  declared.block = 1; /* turns nothing */
  ck_same_model(&spec);
  spec.architecture = "bitnet-b1.58";
  declare_all();
  declared.block = 8;
  ck_same_model(&spec);
}
END_TEST

START_TEST(any_layers_may_be_folded) {
  random_spec spec = small();
  for (size_t i = 0; i < sizeof layer_names / sizeof layer_names[0]; i++) {
    declare_all();
    memset(declared.weights, 0, sizeof declared.weights);
    declared.weights[0] = layer_names[i]; /* beside others, of the same input, that are not */
    declared.embeddings[0] = NULL;
    ck_same_model(&spec);
  }
  declare_all();
  declared.weights[14] = NULL; /* the head is not */
  ck_same_model(&spec);
  declare_all();
  declared.embeddings[0] = NULL;
  ck_same_model(&spec);
}
END_TEST

START_TEST(a_tied_head_is_rotated_both_ways) {
  random_spec spec = small();
  declare_all();
  spec.tied = true;
  declared.weights[14] = NULL;
  declared.version = 2;
  declared.tied = true;
  ck_same_model(&spec);
  declared.embeddings[0] = NULL; /* a tied embedding that is not rotated needs no version 2 */
  declared.version = 1;
  declared.tied = false;
  ck_same_model(&spec);
}
END_TEST

START_TEST(without_its_keys_a_folded_model_is_none) {
  random_spec spec = small();
  declare_all();
  spec.add_keys = NULL;
  ck_assert_double_gt(error_of(&spec), 0.3);
}
END_TEST

static void put_keys_of_other_signs(tq_metadata_builder *keys) {
  declared.odd_sign = -1;
  put_keys(keys);
  declared.odd_sign = 1;
}

START_TEST(every_sign_counts) {
  random_spec spec = small();
  declare_all();
  spec.add_keys = put_keys_of_other_signs;
  ck_assert_double_gt(error_of(&spec), 1e-3);
}
END_TEST

/* Ternary weights meet the rotated input as integers. */
START_TEST(rotated_inputs_are_rounded) {
  random_spec spec = small();
  float floats[LENGTH * VOCABULARY], integers[LENGTH * VOCABULARY];
  const char *path = temporary_path("integers.tq");
  declare_all();
  spec.fold = NULL;
  spec.ternary_ends = true;
  spec.encoding = (random_encoding){
      .name = "base-3", .encoding = TQ_TERNARY_BASE3, .scale_encoding = TQ_F32, .granularity = TQ_PER_TENSOR};
  random_model_free(random_model_write(&spec, path));
  run(path, TQ_ACTIVATIONS_FLOAT, floats);
  for (int kind = TQ_ACTIVATIONS_INT8_TOKEN; kind <= TQ_ACTIVATIONS_INT8_BLOCK; kind++) {
    double distance = 0, size = 0;
    run(path, (tq_activations)kind, integers);
    for (size_t i = 0; i < LENGTH * VOCABULARY; i++) {
      distance += fabs((double)integers[i] - (double)floats[i]);
      size += fabs((double)floats[i]);
    }
    ck_assert_double_gt(distance, 1e-4 * size);
    ck_assert_double_lt(distance, 0.15 * size);
  }
}
END_TEST

/* ---- what is refused ---- */

static void ck_refused(const random_spec *spec, const char *part) {
  const char *path = temporary_path("refused.tq");
  tq_file *file;
  tq_model *model;
  random_model_free(random_model_write(spec, path));
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, part);
  ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, "refused.tq: ");
  tq_file_close(file);
}

#define ck_wrong(change, part)                                                                                         \
  do {                                                                                                                 \
    random_spec spec_ = small();                                                                                       \
    declare_all();                                                                                                     \
    spec_.fold = NULL;                                                                                                 \
    change;                                                                                                            \
    ck_refused(&spec_, part);                                                                                          \
  } while (0)

START_TEST(keys_that_are_missing_or_of_another_type_are_named) {
  static const char *const required[] = {"version", "block_size", "transform", "axis", "sign_mode", "weight_names"};
  char message[96];
  for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
    snprintf(message, sizeof message, "prism.hadamard.%s is missing", required[i]);
    ck_wrong(declared.leave_out = required[i], message);
    snprintf(message, sizeof message, "prism.hadamard.%s has a wrong type", required[i]);
    ck_wrong(declared.number_instead = required[i], message);
  }
  ck_wrong(declared.number_instead = "inverse_weight_names", "inverse_weight_names has a wrong type");
  ck_wrong(declared.number_instead = "sign_values", "sign_values has a wrong type");
  ck_wrong(declared.extra = "tied_output", "tied_output has a wrong type");
  ck_wrong(declared.extra = "axes", "the key prism.hadamard.axes is not understood");
  ck_wrong(declared.extra = "", "the key prism.hadamard. is not understood");
}
END_TEST

START_TEST(values_that_are_not_understood_are_refused) {
  ck_wrong(declared.version = 0, "version: only 1 and 2 are understood");
  ck_wrong(declared.version = 3, "version: only 1 and 2 are understood");
  ck_wrong(declared.version = 2, "version 2 without tied_output");
  ck_wrong(declared.tied = true, "version 1 with tied_output");
  ck_wrong(declared.block = 0, "block_size is not a power of two");
  ck_wrong(declared.block = 24, "block_size is not a power of two");
  ck_wrong(declared.block = 1u << 31, "block_size is not a power of two");
  ck_wrong(declared.transform = "hadamard", "transform: \"hadamard\" is not understood");
  ck_wrong(declared.axis = "output", "axis: \"output\" is not understood");
  ck_wrong(declared.sign_mode = "random", "there are signs, but sign_mode is not \"explicit\"");
  ck_wrong((declared.sign_mode = "random", declared.width_count = 0), "sign_mode: \"random\" is not understood");
  ck_wrong(declared.sign_mode = "identity", "there are signs, but sign_mode is not \"explicit\"");
}
END_TEST

START_TEST(signs_must_fit) {
  ck_wrong(declared.width_count = 0, "there is no width");
  ck_wrong(declared.leave_out = "sign_values", "not as many signs as the widths ask for");
  ck_wrong(declared.value_count--, "not as many signs as the widths ask for");
  ck_wrong(declared.value_count++, "not as many signs as the widths ask for");
  ck_wrong(declared.odd_sign = 0, "a sign is neither 1 nor -1");
  ck_wrong(declared.odd_sign = 127, "a sign is neither 1 nor -1");
  ck_wrong(declared.widths[1] = FEED_FORWARD, "a width stands there twice");
  ck_wrong(declared.widths[1] = -48, "a width is not a multiple of the block");
  ck_wrong(declared.widths[1] = 0, "a width is not a multiple of the block");
  ck_wrong(declared.widths[1] = 56, "a width is not a multiple of the block");
  ck_wrong((declared.widths[2] = 112, declared.value_count += 16), "layers.0.o: the rotation has no signs for inputs");
}
END_TEST

START_TEST(names_must_be_layers_that_are_here) {
  ck_wrong(declared.weights[3] = "layers.7.q", "prism.hadamard lists layers.7.q, which is no layer");
  ck_wrong(declared.weights[3] = "layers.0.q_norm", "lists layers.0.q_norm, which is no layer");
  ck_wrong(declared.weights[3] = "", "lists , which is no layer");
  ck_wrong(declared.weights[3] = "layers.0.v", "weight_names: layers.0.v stands there twice");
  ck_wrong(declared.weights[14] = "embedding", "weight_names and inverse_weight_names both list embedding");
  ck_wrong((declared.weights[14] = "embedding", declared.embeddings[0] = NULL), "lists embedding, which is no layer");
  ck_wrong((declared.weights[14] = NULL, declared.embeddings[0] = "head"), "lists head, which is no layer");
  ck_wrong(declared.embeddings[1] = "embedding", "inverse_weight_names: embedding stands there twice");
  ck_wrong(memset(declared.weights, 0, sizeof declared.weights), "weight_names is empty");
  ck_wrong((declared.block = 32, declared.width_count = 0, declared.sign_mode = "identity"),
           "embedding: the rotation's block does not divide its columns");
  ck_wrong((spec_.tied = true, declared.weights[14] = NULL), "embedding: whether it is rotated and the head too");
  ck_wrong((declared.version = 2, declared.tied = true), "embedding: whether it is rotated and the head too");
  ck_wrong((spec_.tied = true, declared.weights[14] = NULL, declared.embeddings[0] = NULL, declared.version = 2,
            declared.tied = true),
           "embedding: whether it is rotated and the head too");
}
END_TEST

/* ---- the digest ---- */

static void digest_now(uint8_t digest[16]) {
  tq_metadata_builder keys = {0};
  tq_metadata *metadata;
  tq_hyperparameters sizes;
  size_t consumed;
  static const char *const counts[] = {"block_count", "embedding_length", "feed_forward_length", "attention.head_count",
                                       "context_length"};
  ck_ok(tq_metadata_add_string(&keys, "general.architecture", "llama", 5, error));
  for (size_t i = 0; i < 5; i++) {
    char key[64];
    snprintf(key, sizeof key, "llama.%s", counts[i]);
    ck_ok(tq_metadata_add_u32(&keys, key, 2 + 2 * (i == 1), error));
  }
  ck_ok(tq_metadata_add_f32(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error));
  if (declared.version) put_keys(&keys);
  ck_ok(tq_metadata_parse("test", keys.data, keys.size, keys.count, &consumed, NULL, &metadata, error));
  ck_ok(tq_hyperparameters_read(metadata, &sizes, error));
  ck_assert(sizes.rotated == (declared.version != 0));
  tq_function_digest(&sizes, NULL, digest);
  tq_metadata_free(metadata);
  tq_metadata_builder_free(&keys);
}

#define ck_digest(change, same)                                                                                        \
  do {                                                                                                                 \
    uint8_t before_[16], after_[16];                                                                                   \
    declare_all();                                                                                                     \
    digest_now(before_);                                                                                               \
    change;                                                                                                            \
    digest_now(after_);                                                                                                \
    ck_assert_msg((memcmp(before_, after_, 16) == 0) == (same), "%s", #change);                                        \
  } while (0)

START_TEST(the_function_digest_covers_the_rotation) {
  ck_digest(declared.version = 0, false);
  ck_digest(declared.block = 8, false);
  ck_digest(declared.odd_sign = -1, false);
  ck_digest(declared.weights[14] = NULL, false);
  ck_digest(declared.weights[14] = "hea", false);
  ck_digest(declared.embeddings[0] = NULL, false);
  ck_digest((declared.version = 2, declared.tied = true), false);
  ck_digest((declared.weights[0] = "layers.0.k", declared.weights[1] = "layers.0.q"), true);
  ck_digest((declared.widths[0] = QUERY, declared.widths[2] = FEED_FORWARD), true);
  ck_digest(declared.wide_signs = declared.grouped = true, true);
}
END_TEST

static tq_status create_model(const void *file, tq_error *error) {
  tq_model *model;
  tq_session *session;
  tq_session_options options = {.context = 4, .threads = 1, .activations = TQ_ACTIVATIONS_INT8_BLOCK};
  tq_status status = tq_model_create(file, &model, error);
  if (status) return status;
  status = tq_session_create(model, &options, &session, error);
  if (!status) tq_session_destroy(session);
  tq_model_destroy(model);
  return status;
}

START_TEST(every_failing_allocation_is_reported) {
  random_spec spec = small();
  const char *path = temporary_path("allocations.tq");
  tq_file *file;
  declare_all();
  random_model_free(random_model_write(&spec, path));
  ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
  ck_assert_int_gt(check_every_fault(create_model, file), 40);
  tq_file_close(file);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("rotation");
  TCase *transform = tcase_create("transform"), *models = tcase_create("models"), *refused = tcase_create("refused");
  tcase_add_loop_test(transform, the_fast_transform_is_the_matrix, 0, sizeof blocks / sizeof blocks[0]);
  tcase_add_test(transform, the_order_of_signs_and_matrix_is_right);
  tcase_add_test(models, a_folded_model_is_the_model);
  tcase_add_test(models, any_layers_may_be_folded);
  tcase_add_test(models, a_tied_head_is_rotated_both_ways);
  tcase_add_test(models, without_its_keys_a_folded_model_is_none);
  tcase_add_test(models, every_sign_counts);
  tcase_add_test(models, rotated_inputs_are_rounded);
  tcase_add_test(models, the_function_digest_covers_the_rotation);
  tcase_add_test(refused, keys_that_are_missing_or_of_another_type_are_named);
  tcase_add_test(refused, values_that_are_not_understood_are_refused);
  tcase_add_test(refused, signs_must_fit);
  tcase_add_test(refused, names_must_be_layers_that_are_here);
  tcase_add_test(refused, every_failing_allocation_is_reported);
  suite_add_tcase(suite, transform);
  suite_add_tcase(suite, models);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
