/* tq-inspect A --compare B: every way in which two models can be the same or not, in two forms. */
#include "base/bytes.h"
#include "tests/container_support.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a model, and what may be other about it ---- */

enum { DIMENSION = 256, TOKENS = 12 };

typedef struct model {
  const char *type;   /* of its ternary weights; NULL: TQ2_0 */
  float rope_base;    /* 0: not said */
  float norm;         /* added to number 5 of ffn_norm */
  float scale;        /* of ffn_down; 0: as the others */
  bool other_bos;     /* the token that begins texts is another */
  bool other_score;   /* of one token */
  bool flipped;       /* three weights of ffn_down are negated */
  bool narrow;        /* ffn_up has half the rows */
  bool without;       /* there is no ffn_gate */
  bool explicit_head; /* the head is there, and is the embedding */
  bool other_head;    /* the head is there, and another in number 5 */
  bool not_run;       /* its architecture is qwen35 */
  bool no_tokenizer;
  uint32_t interval;  /* of layers with full attention, in a list of two; 0: not said */
  uint32_t rotation;  /* the version of a rotation that is not understood; 0: no rotation is spoken of */
  float rope_factors; /* their value; 0: there is no such tensor */
} model;

static const float usual_scale = 0.0625f;
static const uint64_t flips[] = {3 * DIMENSION + 7, 3 * DIMENSION + 9, 200 * DIMENSION};

static void add_tokenizer(gguf_builder *builder, const model *of) {
  static const char *const tokens[TOKENS] = {"<unk>", "<s>", "</s>",    "\u2581", "a", "b",
                                             "c",     "ab",  "\u2581a", "abc",    "d", "e"};
  uint8_t scores[TOKENS * 4], types[TOKENS * 4];
  for (uint32_t i = 0; i < TOKENS; i++) {
    tq_store_f32(scores + 4 * i, i < 3 ? 0.0f : -(float)i);
    tq_store_u32(types + 4 * i, i == 0 ? 2 : i < 3 ? 3 : 1);
  }
  if (of->other_score) tq_store_f32(scores + 4 * 9, -99);
  gguf_key_string(builder, "tokenizer.ggml.model", "llama");
  gguf_key_strings(builder, "tokenizer.ggml.tokens", tokens, TOKENS);
  gguf_key_array(builder, "tokenizer.ggml.scores", TQ_VALUE_F32, TOKENS, scores, sizeof scores);
  gguf_key_array(builder, "tokenizer.ggml.token_type", TQ_VALUE_I32, TOKENS, types, sizeof types);
  gguf_key_u32(builder, "tokenizer.ggml.bos_token_id", of->other_bos ? 2 : 1);
  gguf_key_u32(builder, "tokenizer.ggml.eos_token_id", 2);
}

/* The trits of a matrix, freed by the caller; never all zero. */
static int8_t *trits_of(const model *of, const char *name, uint64_t rows) {
  int8_t *trits = gguf_trits(rows * DIMENSION, (uint64_t)strlen(name) * 31 + (uint64_t)name[5], false);
  if (strcmp(name, "ffn_down") != 0) return trits;
  for (size_t i = 0; i < 3; i++) trits[flips[i]] = of->flipped ? -1 : 1;
  return trits;
}

static void add_matrix(gguf_builder *builder, const model *of, const char *name, uint64_t rows) {
  const tq_dialect *dialect = tq_dialect_find(of->type ? of->type : "TQ2_0");
  uint64_t shape[] = {DIMENSION, rows};
  float scale = of->scale != 0 && strcmp(name, "ffn_down") == 0 ? of->scale : usual_scale;
  char full[64];
  size_t size;
  int8_t *trits = trits_of(of, name, rows);
  uint8_t *packed = gguf_pack(dialect, rows, DIMENSION, trits, &scale, 1, &size);
  snprintf(full, sizeof full, "blk.0.%s.weight", name);
  gguf_tensor(builder, full, dialect->gguf_type, 2, shape, packed, size);
  free(packed);
  free(trits);
}

static void add_floats(gguf_builder *builder, const char *name, uint64_t rows, float added) {
  uint8_t bytes[TOKENS * DIMENSION * 4];
  const uint64_t shape[] = {DIMENSION, rows};
  uint64_t state = 3;
  for (uint64_t i = 0; i < rows * DIMENSION; i++)
    tq_store_f32(bytes + 4 * i, 1.0f + random_float(&state) + (i == 5 ? added : 0));
  gguf_tensor(builder, name, 0, rows > 1 ? 2 : 1, shape, bytes, (size_t)(4 * rows * DIMENSION));
}

static void add_llama_keys(gguf_builder *builder, const model *of) {
  gguf_ternary_keys(builder);
  if (of->rope_base != 0) gguf_key_f32(builder, "llama.rope.freq_base", of->rope_base);
}

static void add_qwen35_keys(gguf_builder *builder, const model *of) {
  const uint32_t intervals[] = {4, of->interval};
  uint8_t bytes[8];
  gguf_key_string(builder, "general.architecture", "qwen35");
  gguf_key_u32(builder, "qwen35.block_count", 1);
  gguf_key_u32(builder, "qwen35.embedding_length", DIMENSION);
  gguf_key_u32(builder, "qwen35.attention.head_count", 4);
  gguf_key_u32(builder, "qwen35.attention.head_count_kv", 2);
  if (of->rope_base != 0) gguf_key_f32(builder, "qwen35.rope.freq_base", of->rope_base);
  for (size_t i = 0; i < 2; i++) tq_store_u32(bytes + 4 * i, intervals[i]);
  if (of->interval) gguf_key_array(builder, "qwen35.intervals", TQ_VALUE_U32, 2, bytes, sizeof bytes);
}

static void add_rope_factors(gguf_builder *builder, float value) {
  const uint64_t shape[] = {32};
  uint8_t bytes[32 * 4];
  for (size_t i = 0; i < 32; i++) tq_store_f32(bytes + 4 * i, value);
  gguf_tensor(builder, "rope_freqs.weight", 0, 1, shape, bytes, sizeof bytes);
}

static const char *write_model(const char *name, const model *of) {
  static const struct {
    const char *name;
    uint64_t rows;
  } matrices[] = {{"attn_q", 256}, {"attn_k", 128},   {"attn_v", 128},  {"attn_output", 256},
                  {"ffn_up", 256}, {"ffn_gate", 256}, {"ffn_down", 256}};
  gguf_builder builder = {0};
  (of->not_run ? add_qwen35_keys : add_llama_keys)(&builder, of);
  if (of->rotation) gguf_key_u32(&builder, "prism.hadamard.version", of->rotation);
  if (!of->no_tokenizer) add_tokenizer(&builder, of);
  if (of->rope_factors != 0) add_rope_factors(&builder, of->rope_factors);
  add_floats(&builder, "token_embd.weight", TOKENS, 0);
  if (of->explicit_head || of->other_head) add_floats(&builder, "output.weight", TOKENS, of->other_head ? 0.5f : 0);
  add_floats(&builder, "output_norm.weight", 1, 0);
  add_floats(&builder, "blk.0.attn_norm.weight", 1, 0);
  add_floats(&builder, "blk.0.ffn_norm.weight", 1, of->norm);
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
    if (of->without && strcmp(matrices[i].name, "ffn_gate") == 0) continue;
    bool half = of->narrow && strcmp(matrices[i].name, "ffn_up") == 0;
    add_matrix(&builder, of, matrices[i].name, half ? matrices[i].rows / 2 : matrices[i].rows);
  }
  const char *path = temporary_path(name);
  gguf_end_file(&builder, path);
  return path;
}

/* How many weights of ffn_down are not 0. */
static long long nonzero(void) {
  long long count = 0;
  int8_t *trits = trits_of(&(model){0}, "ffn_down", DIMENSION);
  for (size_t i = 0; i < DIMENSION * DIMENSION; i++) count += trits[i] != 0;
  free(trits);
  return count;
}

/* ---- comparing ---- */

static char *compare(int expected, const char *a, const char *b, const char *option, const char *value) {
  const char *arguments[] = {"tq-inspect", a, "--compare", b, option, value, NULL};
  char *output, *errors;
  int status = run_tool(arguments, NULL, &output, &errors);
  ck_assert_msg(status == expected, "%s, %s: %d instead of %d: %s%s", a, b, status, expected, output, errors);
  if (expected != 0 && expected != 5) {
    free(output);
    return errors;
  }
  ck_assert_str_eq(errors, "");
  free(errors);
  return output;
}

static void ck_says(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "'%s' is not in: %s", part, text);
}

static void ck_text(int expected, const char *a, const char *b, const char *part) {
  char *output = compare(expected, a, b, NULL, NULL);
  ck_says(output, part);
  free(output);
}

static json_t *compare_json(int expected, const char *a, const char *b) {
  char *output = compare(expected, a, b, "--json", NULL);
  json_error_t problem;
  json_t *json = json_loads(output, JSON_REJECT_DUPLICATES, &problem);
  ck_assert_msg(json != NULL, "%s: %s", problem.text, output);
  ck_assert_int_eq(json_is_true(json_object_get(json, "identical")), expected == 0);
  free(output);
  return json;
}

/* Which of weights, function, tokenizer and the ternary weights are the same: a letter each, w, f, t, 3. */
static void ck_same(const json_t *json, const char *expected) {
  static const struct {
    const char *key;
    char letter;
  } rows[] = {{"weights", 'w'}, {"function", 'f'}, {"tokenizer", 't'}, {"ternary", '3'}};
  char found[5] = {0};
  for (size_t i = 0, length = 0; i < 4; i++) {
    const json_t *value = json_object_get(json, rows[i].key);
    ck_assert_msg(json_is_boolean(value), "%s", rows[i].key);
    if (json_is_true(value)) found[length++] = rows[i].letter;
  }
  ck_assert_str_eq(found, expected);
}

/* The only tensor that differs. */
static const json_t *only_tensor(const json_t *json, const char *role, const char *differs_in) {
  const json_t *tensors = json_object_get(json, "tensors"), *tensor = json_array_get(tensors, 0);
  ck_assert_uint_eq(json_array_size(tensors), 1);
  ck_assert_str_eq(json_string_value(json_object_get(tensor, "role")), role);
  ck_assert_str_eq(json_string_value(json_object_get(tensor, "differs_in")), differs_in);
  return tensor;
}

static long long integer(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  ck_assert_msg(json_is_integer(value), "%s", key);
  return json_integer_value(value);
}

static void ck_number(const json_t *object, const char *key, double expected) {
  const json_t *value = json_object_get(object, key);
  ck_assert_msg(json_is_number(value), "%s", key);
  ck_assert_double_eq_tol(json_number_value(value), expected, 1e-6 * fabs(expected));
}

static void ck_place(const json_t *tensor, long long row, long long column) {
  const json_t *first = json_object_get(tensor, "first");
  ck_assert_uint_eq(json_array_size(first), 2);
  ck_assert_int_eq(json_integer_value(json_array_get(first, 0)), row);
  ck_assert_int_eq(json_integer_value(json_array_get(first, 1)), column);
}

/* The model itself as GGUF and the other one as .tq, for what differs must not depend on the form. */
typedef struct pair {
  char plain[4096], other[4096];
} pair;

static const char *converted(const char *path, const char *name) {
  const char *target = temporary_path(name), *arguments[] = {"tq-convert", "-q", path, "-o", target, NULL};
  char *errors;
  int status = run_tool(arguments, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "%s: %s", path, errors);
  free(errors);
  return target;
}

static pair write_pair(const model *other) {
  pair made;
  snprintf(made.plain, sizeof made.plain, "%s", write_model("plain.gguf", &(model){0}));
  snprintf(made.other, sizeof made.other, "%s", converted(write_model("other.gguf", other), "other.tq"));
  return made;
}

/* ---- the same ---- */

START_TEST(identical_in_two_forms) {
  static const char *const types[] = {"TQ1_0", "Q2_0", "I2_S", "IQ2_BN_R4", "F16", "F32"};
  pair made = write_pair(&(model){.type = types[_i]});
  ck_text(0, made.plain, made.other, "identical: the same model\n");
  json_t *json = compare_json(0, made.other, made.plain);
  ck_same(json, "wft3");
  ck_assert_uint_eq(json_array_size(json_object_get(json, "tensors")), 0);
  ck_assert_uint_eq(json_array_size(json_object_get(json, "keys")), 0);
  json_decref(json);
  char name[32];
  snprintf(name, sizeof name, "folder-%d", _i);
  const char *folder = converted(made.other, name);
  ck_text(0, made.plain, folder, "(gguf) and ");
  ck_text(0, folder, made.plain, "identical: the same model\n");
}
END_TEST

START_TEST(a_head_that_is_the_embedding) {
  pair made = write_pair(&(model){.explicit_head = true});
  ck_text(0, made.plain, made.other, "identical");
  ck_text(0, made.other, made.plain, "identical");
}
END_TEST

START_TEST(the_golden_models) {
  const char *first = shared_path("golden/tensor-1.f16.gguf"), *second = shared_path("golden/tensor-1.iq2_bn_r4.gguf");
  const char *third = shared_path("golden/bitnet-7.TQ2_0.gguf");
  if (!first || !second || !third) return;
  ck_text(0, first, second, "identical: the same model\n");
  ck_text(5, first, third, "different weights\n");
}
END_TEST

/* ---- another function, another tokenizer ---- */

static void ck_only_key(const json_t *json, const char *key, const char *first, const char *second) {
  const json_t *keys = json_object_get(json, "keys"), *found = json_array_get(keys, 0);
  ck_assert_uint_eq(json_array_size(keys), 1);
  ck_assert_str_eq(json_string_value(json_object_get(found, "key")), key);
  ck_assert_str_eq(json_string_value(json_object_get(found, "first")), first);
  ck_assert_str_eq(json_string_value(json_object_get(found, "second")), second);
}

START_TEST(another_function) {
  pair made = write_pair(&(model){.rope_base = 20000});
  ck_text(5, made.plain, made.other, "the same weights and tokenizer, another function\n");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "wt3");
  ck_only_key(json, "RoPE base", "10000", "20000");
  json_decref(json);
}
END_TEST

/* What is said, and is the default, is no other function. */
START_TEST(the_same_function_in_more_words) {
  pair made = write_pair(&(model){.rope_base = 10000});
  ck_text(0, made.plain, made.other, "identical");
}
END_TEST

START_TEST(another_tokenizer) {
  pair made = write_pair(&(model){.other_bos = true});
  ck_text(5, made.plain, made.other, "the same weights and function, another tokenizer\n");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "wf3");
  ck_only_key(json, "BOS", "1", "2");
  json_decref(json);
  made = write_pair(&(model){.other_score = true});
  json = compare_json(5, made.plain, made.other);
  ck_same(json, "wf3");
  ck_only_key(json, "token 9, score", "-9", "-99");
  json_decref(json);
}
END_TEST

/* ---- functions without a digest: what they come from ---- */

static void ck_same_keys(const model *both) {
  const char *first = write_model("first.gguf", both), *second = converted(first, "second.tq");
  ck_text(0, first, second, "identical: the same model\n");
  ck_text(0, second, first, "  function      same       the same keys; not computed here\n");
  json_t *json = compare_json(0, first, second);
  ck_same(json, "wft3");
  ck_assert(json_is_null(json_object_get(json_object_get(json_object_get(json, "second"), "digests"), "function")));
  json_decref(json);
}

START_TEST(functions_that_are_not_run) {
  ck_same_keys(&(model){.not_run = true, .interval = 3, .rope_base = 5000});
  ck_same_keys(&(model){.rotation = 9});
  ck_same_keys(&(model){.rotation = 9, .rope_factors = 2});
}
END_TEST

static void ck_key_differs(const model *a, const model *b, const char *key, const char *first, const char *second) {
  char path[4096];
  snprintf(path, sizeof path, "%s", write_model("first.gguf", a));
  const char *other = converted(write_model("second.gguf", b), "second.tq");
  json_t *json = compare_json(5, path, other);
  ck_same(json, "wt3");
  ck_only_key(json, key, first, second);
  json_decref(json);
  json = compare_json(5, other, path);
  bool named = strcmp(first, "one") == 0; /* in the order of the files, not by what is in them */
  ck_only_key(json, key, named ? first : second, named ? second : first);
  json_decref(json);
  ck_text(5, path, other, "the same weights and tokenizer, another function\n");
}

START_TEST(functions_that_are_not_run_differ) {
  const model plain = {.not_run = true}, llama = {0};
  ck_key_differs(&plain, &(model){.not_run = true, .rope_base = 5000}, "qwen35.rope.freq_base", "absent", "5000");
  ck_key_differs(&(model){.not_run = true, .rope_base = 100}, &(model){.not_run = true, .rope_base = 5000},
                 "qwen35.rope.freq_base", "100", "5000");
  ck_key_differs(&plain, &(model){.not_run = true, .interval = 3}, "qwen35.intervals", "absent", "2 items");
  ck_key_differs(&(model){.not_run = true, .interval = 2}, &(model){.not_run = true, .interval = 3},
                 "qwen35.intervals, item 1", "2", "3");
  ck_key_differs(&(model){.rotation = 9}, &(model){.rotation = 9, .rope_factors = 2}, "RoPE factors", "absent",
                 "present");
  ck_key_differs(&(model){.rotation = 9, .rope_factors = 3}, &(model){.rotation = 9, .rope_factors = 2}, "RoPE factors",
                 "one", "another");
  ck_key_differs(&(model){.rotation = 8}, &(model){.rotation = 9}, "prism.hadamard.version", "8", "9");
  ck_key_differs(&llama, &(model){.rotation = 9}, "prism.hadamard.version", "absent", "9"); /* one has a digest */
}
END_TEST

START_TEST(another_architecture) {
  char path[4096];
  snprintf(path, sizeof path, "%s", write_model("first.gguf", &(model){.rotation = 9}));
  json_t *json = compare_json(5, path, write_model("second.gguf", &(model){.not_run = true, .rotation = 9}));
  ck_assert(json_is_false(json_object_get(json, "function")));
  ck_only_key(json, "architecture", "llama", "qwen35");
  json_decref(json);
}
END_TEST

START_TEST(no_tokenizer) {
  const char *path = write_model("without.gguf", &(model){.no_tokenizer = true}),
             *other = converted(path, "without.tq");
  ck_text(0, path, other, "  tokenizer     same       none\n");
  json_t *json = compare_json(5, path, write_model("with.gguf", &(model){0}));
  ck_same(json, "wf3");
  ck_only_key(json, "tokenizer", "none", "present");
  json_decref(json);
}
END_TEST

START_TEST(another_function_and_tokenizer) {
  pair made = write_pair(&(model){.rope_base = 20000, .other_bos = true});
  ck_text(5, made.plain, made.other, "the same weights, another function and tokenizer\n");
}
END_TEST

/* ---- other weights ---- */

START_TEST(a_norm_differs) {
  pair made = write_pair(&(model){.norm = 0.5f});
  ck_text(5, made.plain, made.other, "the same ternary weights, other tensors differ\n");
  ck_text(5, made.plain, made.other, "1 of 11 tensors differ, none of them ternary\n");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "ft3");
  const json_t *tensor = only_tensor(json, "layers.0.ffn_norm", "values");
  ck_assert_int_eq(integer(tensor, "weights"), 1);
  ck_assert_int_eq(integer(tensor, "signs"), 0);
  ck_number(tensor, "furthest", 0.5);
  ck_place(tensor, 0, 5);
  json_decref(json);
}
END_TEST

START_TEST(trits_differ) {
  pair made = write_pair(&(model){.flipped = true});
  ck_text(5, made.plain, made.other, "different weights\n");
  ck_text(5, made.plain, made.other, "3 of 65536");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "ft");
  const json_t *tensor = only_tensor(json, "layers.0.down", "trits");
  ck_assert_int_eq(integer(tensor, "weights"), 3);
  ck_assert_int_eq(integer(tensor, "signs"), 3);
  ck_number(tensor, "furthest", 2 * (double)usual_scale);
  ck_number(tensor, "relative", sqrt(3 * 4.0 / (double)nonzero()));
  ck_place(tensor, 3, 7);
  json_decref(json);
}
END_TEST

START_TEST(trits_and_scales_differ) {
  pair made = write_pair(&(model){.flipped = true, .scale = 0.078125f});
  ck_text(5, made.plain, made.other, "  trits, scales  ");
  json_t *json = compare_json(5, made.plain, made.other);
  const json_t *tensor = only_tensor(json, "layers.0.down", "trits, scales");
  ck_assert_int_eq(integer(tensor, "weights"), nonzero());
  ck_assert_int_eq(integer(tensor, "signs"), 3);
  ck_assert_int_eq(integer(tensor, "magnitudes"), nonzero() - 3);
  json_decref(json);
}
END_TEST

/* A head of its own beside one that is the embedding. */
START_TEST(another_head) {
  pair made = write_pair(&(model){.other_head = true});
  for (int turned = 0; turned < 2; turned++) {
    const char *a = turned ? made.other : made.plain, *b = turned ? made.plain : made.other;
    ck_text(5, a, b, "  head (the embedding)  values ");
    json_t *json = compare_json(5, a, b);
    only_tensor(json, "head", "values");
    json_decref(json);
  }
}
END_TEST

START_TEST(scales_differ) {
  pair made = write_pair(&(model){.scale = 0.078125f});
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "ft");
  const json_t *tensor = only_tensor(json, "layers.0.down", "scales");
  ck_assert_int_eq(integer(tensor, "weights"), nonzero());
  ck_assert_int_eq(integer(tensor, "signs"), 0);
  ck_number(tensor, "furthest", 0.015625);
  ck_number(tensor, "relative", 0.25);
  json_decref(json);
}
END_TEST

/* The other way round every sign is another: the trits differ, though it is one number. */
START_TEST(a_negative_scale) {
  pair made = write_pair(&(model){.scale = -usual_scale});
  json_t *json = compare_json(5, made.plain, made.other);
  const json_t *tensor = only_tensor(json, "layers.0.down", "trits");
  ck_assert_int_eq(integer(tensor, "signs"), nonzero());
  json_decref(json);
}
END_TEST

/* A ternary tensor and floats. */
START_TEST(floats_differ_from_trits) {
  pair made = write_pair(&(model){.type = "F32", .flipped = true});
  const char *arguments[] = {"tq-convert", "-q", made.other, "-o", temporary_path("x.gguf"), NULL};
  ck_assert_int_eq(run_tool(arguments, NULL, NULL, NULL), 0);
  char *output = compare(5, made.plain, temporary_path("x.gguf"), "--assume", "float");
  ck_says(output, "different weights\n");
  ck_says(output, "values");
  free(output);
}
END_TEST

START_TEST(a_shape_differs) {
  pair made = write_pair(&(model){.narrow = true});
  ck_text(5, made.plain, made.other,
          "256\xc3\x97"
          "256 / 128\xc3\x97"
          "256");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "ft");
  only_tensor(json, "layers.0.up", "shape");
  json_decref(json);
}
END_TEST

START_TEST(a_tensor_is_missing) {
  pair made = write_pair(&(model){.without = true});
  json_t *json = compare_json(5, made.plain, made.other);
  only_tensor(json, "layers.0.gate", "only in the first");
  ck_assert_str_eq(json_string_value(json_object_get(json, "verdict")), "different weights");
  json_decref(json);
  json = compare_json(5, made.other, made.plain);
  only_tensor(json, "layers.0.gate", "only in the second");
  json_decref(json);
}
END_TEST

START_TEST(several_differences) {
  pair made = write_pair(&(model){.norm = 1, .flipped = true, .without = true, .rope_base = 5, .other_bos = true});
  ck_text(5, made.plain, made.other, "3 of 11 tensors differ\n");
  json_t *json = compare_json(5, made.plain, made.other);
  ck_same(json, "");
  ck_assert_uint_eq(json_array_size(json_object_get(json, "tensors")), 3);
  ck_assert_uint_eq(json_array_size(json_object_get(json, "keys")), 2);
  json_decref(json);
}
END_TEST

/* ---- what is said of both ---- */

static json_t *digests_of(const char *path) {
  const char *arguments[] = {"tq-inspect", path, "--json", NULL};
  char *output;
  ck_assert_int_eq(run_tool(arguments, NULL, &output, NULL), 0);
  json_t *json = json_loads(output, 0, NULL), *digests = json_incref(json_object_get(json, "digests"));
  ck_assert_uint_eq(json_object_size(digests), 3);
  free(output);
  json_decref(json);
  return digests;
}

static void ck_side(const json_t *json, const char *key, const char *path, const char *format) {
  const json_t *side = json_object_get(json, key);
  json_t *digests = digests_of(path);
  ck_assert_str_eq(json_string_value(json_object_get(side, "path")), path);
  ck_assert_str_eq(json_string_value(json_object_get(side, "format")), format);
  ck_assert(json_equal(json_object_get(side, "digests"), digests));
  json_decref(digests);
}

START_TEST(both_sides_in_json) {
  pair made = write_pair(&(model){.flipped = true, .no_tokenizer = true});
  json_t *json = compare_json(5, made.plain, made.other);
  ck_side(json, "first", made.plain, "gguf");
  ck_side(json, "second", made.other, "tq");
  const json_t *digests = json_object_get(json_object_get(json, "second"), "digests");
  ck_assert(json_is_null(json_object_get(digests, "tokenizer")));
  json_decref(json);
}
END_TEST

/* One .tq file as the other, but for what it records of activations. */
static const char *with_block_activations(const char *from) {
  static const char token[] = "int8-token", block[] = "int8-block";
  const char *path = temporary_path("block.tq");
  image file = load_image(from);
  uint8_t *at = section_bytes(file, "metadata");
  while (memcmp(at, token, strlen(token)) != 0) at++;
  memcpy(at, block, strlen(block));
  reseal(file);
  write_file(path, file.data, file.size);
  free(file.data);
  return path;
}

START_TEST(other_activations) {
  char plain[4096];
  snprintf(plain, sizeof plain, "%s", write_model("plain.gguf", &(model){0}));
  const char *token = converted(plain, "token.tq"), *block = with_block_activations(token);
  ck_text(0, token, block, "  activations   int8-token / int8-block recorded, which is no part of the model\n");
  json_t *json = compare_json(0, token, block);
  ck_assert(json_is_false(json_object_get(json, "activations")));
  const json_t *second = json_object_get(json, "second");
  ck_assert_str_eq(json_string_value(json_object_get(second, "activations")), "int8-block");
  json_decref(json);
  json = compare_json(0, plain, block);
  ck_assert(json_is_true(json_object_get(json, "activations")));
  ck_assert(json_is_null(json_object_get(json_object_get(json, "first"), "activations")));
  json_decref(json);
  char *text = compare(0, token, token, NULL, NULL);
  ck_assert_ptr_null(strstr(text, "activations"));
  free(text);
}
END_TEST

/* ---- what cannot be compared ---- */

START_TEST(wrong_usage) {
  const char *path = write_model("plain.gguf", &(model){0}), *text = temporary_path("text.txt");
  static const char *const options[] = {"--hash", "--verify", "--tensors"};
  for (size_t i = 0; i < 3; i++) free(compare(2, path, path, options[i], NULL));
  free(compare(1, path, temporary_path("none.tq"), NULL, NULL));
  write_file(text, "no model", 8);
  free(compare(3, path, text, NULL, NULL));
  free(compare(3, text, path, "--json", NULL));
  const char *container = converted(path, "plain.tq");
  free(compare(2, container, container, "--assume", "tensor"));
  free(compare(0, container, path, "--assume", "tensor"));
  free(compare(0, path, container, "--assume", "tensor"));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("comparing");
  TCase *same = tcase_create("the same");
  tcase_add_loop_test(same, identical_in_two_forms, 0, 6);
  tcase_add_test(same, a_head_that_is_the_embedding);
  tcase_add_test(same, the_golden_models);
  suite_add_tcase(suite, same);
  TCase *computed = tcase_create("function and tokenizer");
  tcase_add_test(computed, another_function);
  tcase_add_test(computed, the_same_function_in_more_words);
  tcase_add_test(computed, another_tokenizer);
  tcase_add_test(computed, functions_that_are_not_run);
  tcase_add_test(computed, functions_that_are_not_run_differ);
  tcase_add_test(computed, another_architecture);
  tcase_add_test(computed, no_tokenizer);
  tcase_add_test(computed, another_function_and_tokenizer);
  suite_add_tcase(suite, computed);
  TCase *weights = tcase_create("weights");
  tcase_add_test(weights, a_norm_differs);
  tcase_add_test(weights, trits_differ);
  tcase_add_test(weights, trits_and_scales_differ);
  tcase_add_test(weights, another_head);
  tcase_add_test(weights, scales_differ);
  tcase_add_test(weights, a_negative_scale);
  tcase_add_test(weights, floats_differ_from_trits);
  tcase_add_test(weights, a_shape_differs);
  tcase_add_test(weights, a_tensor_is_missing);
  tcase_add_test(weights, several_differences);
  suite_add_tcase(suite, weights);
  TCase *sides = tcase_create("both sides");
  tcase_add_test(sides, both_sides_in_json);
  tcase_add_test(sides, other_activations);
  suite_add_tcase(suite, sides);
  TCase *usage = tcase_create("usage");
  tcase_add_test(usage, wrong_usage);
  suite_add_tcase(suite, usage);
  return run_suite(suite);
}
