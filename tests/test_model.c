/* The model: every architecture and encoding against a naive one in double; independence of threads, batches and layer
 * ranges; and everything that must be refused. */
#include "tests/random_model.h"
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENGTH = 19 };

static random_spec small(void) {
  return (random_spec){.architecture = "llama",
                       .layers = 2,
                       .dimension = 38,
                       .feed_forward = 53,
                       .heads = 6,
                       .kv_heads = 2,
                       .head_dimension = 10,
                       .vocabulary = 47,
                       .context = 32,
                       .encoding = {.name = "F32", .encoding = TQ_F32},
                       .seed = 7};
}

static void make_tokens(uint32_t vocabulary, uint32_t *tokens, size_t count, uint64_t seed) {
  for (size_t i = 0; i < count; i++) tokens[i] = (uint32_t)(random_u64(&seed) % vocabulary);
}

/* A model written and opened. */
typedef struct opened {
  random_model *random;
  tq_file *file;
  tq_model *model;
} opened;

static opened open_model(const random_spec *spec, tq_verify verify) {
  opened result;
  const char *path = temporary_path("model.tq");
  result.random = random_model_write(spec, path);
  ck_ok(tq_file_open(path, verify, &result.file, error));
  ck_ok(tq_model_create(result.file, &result.model, error));
  return result;
}

static void close_model(opened *of) {
  tq_model_destroy(of->model);
  tq_file_close(of->file);
  random_model_free(of->random);
}

static tq_session *open_session(const opened *of, uint32_t context, uint32_t sequences, uint32_t batch,
                                uint32_t threads) {
  tq_session *session;
  tq_session_options options = {
      .context = context, .sequences = sequences, .batch = batch, .threads = threads, .cache = of->random->spec.cache};
  ck_ok(tq_session_create(of->model, &options, &session, error));
  return session;
}

/* Logits of every token of one sequence, fed `step` tokens at a time. */
static void run(tq_session *session, size_t vocabulary, const uint32_t *tokens, size_t count, size_t step, float *all) {
  uint32_t positions[160];
  bool wanted[160];
  const float *logits;
  for (size_t i = 0; i < 160; i++) wanted[i] = true;
  for (size_t begin = 0; begin < count; begin += step) {
    size_t size = count - begin < step ? count - begin : step;
    for (size_t i = 0; i < size; i++) positions[i] = (uint32_t)(begin + i);
    tq_batch batch = {.count = size, .tokens = tokens + begin, .positions = positions, .wants_logits = wanted};
    ck_ok(tq_forward(session, &batch, &logits, error));
    memcpy(all + begin * vocabulary, logits, size * vocabulary * sizeof *all);
  }
}

/* ---- against the naive model ---- */

static void naive_frequencies(const random_spec *spec, const float *factors, double *frequencies) {
  uint32_t dimensions = spec->rope_dimensions ? spec->rope_dimensions : spec->head_dimension;
  for (uint32_t i = 0; i < dimensions / 2; i++)
    frequencies[i] = pow(5000.0, -2.0 * i / dimensions) / (factors ? (double)factors[i] : 1.0);
}

/* Where a key or a value lies between two numbers of the cache, the naive model in double may round it differently. */
static void check_against_naive(const random_spec *spec, const float *factors, double magnitude) {
  opened of = open_model(spec, TQ_VERIFY_FULL);
  uint32_t tokens[LENGTH];
  double frequencies[64];
  size_t places = LENGTH * spec->vocabulary;
  float *logits = malloc(places * sizeof *logits);
  double *expected = malloc(places * sizeof *expected), largest = 0, worst = 0;
  make_tokens(spec->vocabulary, tokens, LENGTH, spec->seed);
  tq_session *session = open_session(&of, 0, 0, 0, 2);
  run(session, spec->vocabulary, tokens, LENGTH, 64, logits);
  naive_frequencies(spec, factors ? factors : random_model_weights(of.random, "rope_factors"), frequencies);
  random_model_logits(of.random, tokens, LENGTH, frequencies, magnitude, expected);
  for (size_t i = 0; i < places; i++) {
    largest = fmax(largest, fabs(expected[i]));
    worst = fmax(worst, fabs((double)logits[i] - expected[i]));
  }
  ck_assert_msg(largest > 0.5 && largest < 1000, "%s %s: logits up to %g say nothing", spec->architecture,
                spec->encoding.name, largest);
  ck_assert_msg(worst < 1e-4 * largest, "%s %s: off by %g of %g", spec->architecture, spec->encoding.name, worst,
                largest);
  tq_session_destroy(session);
  close_model(&of);
  free(logits);
  free(expected);
}

static const random_encoding encodings[] = {
    {.name = "F32", .encoding = TQ_F32},
    {.name = "F16", .encoding = TQ_F16},
    {.name = "BF16", .encoding = TQ_BF16},
    {.name = "Q8_0", .encoding = TQ_BLOCKS},
    {.name = "I8 row", .encoding = TQ_I8, .scale_encoding = TQ_F32, .granularity = TQ_PER_ROW},
    {.name = "I8 g32", .encoding = TQ_I8, .scale_encoding = TQ_F16, .granularity = TQ_PER_GROUP, .group = 32},
    {.name = "2-bit tensor", .encoding = TQ_TERNARY_2BIT, .scale_encoding = TQ_F32, .granularity = TQ_PER_TENSOR},
    {.name = "2-bit row", .encoding = TQ_TERNARY_2BIT, .scale_encoding = TQ_F16, .granularity = TQ_PER_ROW},
    {.name = "2-bit g32",
     .encoding = TQ_TERNARY_2BIT,
     .scale_encoding = TQ_BF16,
     .granularity = TQ_PER_GROUP,
     .group = 32},
    {.name = "2-bit inverted",
     .encoding = TQ_TERNARY_2BIT,
     .scale_encoding = TQ_BF16,
     .granularity = TQ_PER_TENSOR,
     .direction = TQ_INVERTED},
    {.name = "base-3 tensor",
     .encoding = TQ_TERNARY_BASE3,
     .scale_encoding = TQ_BF16,
     .granularity = TQ_PER_TENSOR,
     .direction = TQ_INVERTED},
    {.name = "base-3 row",
     .encoding = TQ_TERNARY_BASE3,
     .scale_encoding = TQ_F32,
     .granularity = TQ_PER_ROW,
     .direction = TQ_INVERTED},
    {.name = "base-3 g64",
     .encoding = TQ_TERNARY_BASE3,
     .scale_encoding = TQ_F16,
     .granularity = TQ_PER_GROUP,
     .group = 64},
    {.name = "quaternary g32",
     .encoding = TQ_QUATERNARY_2BIT,
     .scale_encoding = TQ_F16,
     .granularity = TQ_PER_GROUP,
     .group = 32},
};
enum { ENCODINGS = sizeof encodings / sizeof encodings[0] };

START_TEST(every_encoding_and_architecture_is_right) {
  random_spec spec = small();
  spec.encoding = encodings[_i];
  if (spec.encoding.encoding == TQ_BLOCKS) spec.dimension = 64, spec.feed_forward = 96, spec.head_dimension = 16;
  check_against_naive(&spec, NULL, 1);
  spec.architecture = "bitnet";
  spec.tied = true;
  spec.seed++;
  check_against_naive(&spec, NULL, 1);
}
END_TEST

START_TEST(every_architecture_is_right) {
  static const char *const names[] = {"llama", "bitnet", "bitnet-b1.58", "bitnet-25", "qwen2", "qwen3"};
  random_spec spec = small();
  spec.architecture = names[_i];
  check_against_naive(&spec, NULL, 1);
  spec.biases = strcmp(spec.architecture, "qwen2") == 0; /* on all seven, though published models have three */
  spec.head_dimension = 16;                              /* more than dimension / heads */
  spec.rope_dimensions = 12;
  spec.kv_heads = 6;
  check_against_naive(&spec, NULL, 1);
}
END_TEST

/* What llama.cpp keeps beside the weights is the same model as the same scale inside them. */
START_TEST(output_scales_multiply_ternary_weights) {
  random_spec spec = small();
  spec.encoding = encodings[6];
  spec.output_scales = true;
  check_against_naive(&spec, NULL, 1);
  spec.biases = true;
  spec.architecture = "bitnet-b1.58";
  check_against_naive(&spec, NULL, 1);
}
END_TEST

START_TEST(options_of_the_llama_family_are_right) {
  random_spec spec = small();
  spec.biases = true;
  check_against_naive(&spec, NULL, 1);
  spec.output_scales = true;
  check_against_naive(&spec, NULL, 1);
  spec.rope_dimensions = 6;
  check_against_naive(&spec, NULL, 1);
  spec.rope_tensor = true;
  check_against_naive(&spec, NULL, 1);
  spec.heads = spec.kv_heads = 1;
  spec.head_dimension = 2;
  spec.rope_dimensions = 0;
  check_against_naive(&spec, NULL, 1);
}
END_TEST

/* Written out from the papers' words, apart from the library: for a base of 5000, 10 dimensions, an original context
 * of 16. */
static void expected_factors(const char *type, double factor, float *factors) {
  for (int i = 0; i < 5; i++) {
    double wavelength = 6.283185307179586 * pow(5000.0, i / 5.0), turns = 2000 / wavelength, mixed;
    factors[i] = (float)factor;
    if (strcmp(type, "llama3") == 0) {
      mixed = turns >= 4 ? 1 : turns <= 1 ? 0 : (turns - 1) / 3;
      factors[i] = (float)(1 / (mixed + (1 - mixed) / factor));
    }
    if (strcmp(type, "yarn") == 0) {
      double low = 10 * log(2000 / (32 * 6.283185307179586)) / (2 * log(5000.0));
      double high = 10 * log(2000 / (1 * 6.283185307179586)) / (2 * log(5000.0));
      low = low < 0 ? 0 : floor(low);
      high = ceil(high);
      double ramp = (i - low) / (high - low);
      mixed = 1 - (ramp < 0 ? 0 : ramp > 1 ? 1 : ramp);
      factors[i] = (float)(1 / (mixed + (1 - mixed) / factor));
    }
  }
}

START_TEST(rope_scaling_is_right) {
  static const char *const types[] = {"none", "linear", "llama3", "yarn"};
  random_spec spec = small();
  float factors[5];
  spec.rope_type = types[_i];
  spec.rope_factor = 8;
  expected_factors(spec.rope_type, _i ? 8 : 1, factors);
  check_against_naive(&spec, factors, _i == 3 ? 1 + 0.1 * log(8.0) : 1);
}
END_TEST

/* Ours is far nearer to the naive model that keeps keys and values as ours does than to the other. */
START_TEST(the_cache_keeps_what_it_is_told_to) {
  random_spec spec = small();
  uint32_t tokens[LENGTH];
  double frequencies[64], naive[2][LENGTH * 47];
  float logits[LENGTH * 47];
  opened of = open_model(&spec, TQ_VERIFY_FULL);
  make_tokens(spec.vocabulary, tokens, LENGTH, 3);
  naive_frequencies(&spec, NULL, frequencies);
  for (int type = TQ_CACHE_F16; type <= TQ_CACHE_Q8; type++) {
    of.random->spec.cache = (tq_cache_type)type;
    random_model_logits(of.random, tokens, LENGTH, frequencies, 1, naive[type]);
  }
  for (int type = TQ_CACHE_F16; type <= TQ_CACHE_Q8; type++) {
    double own = 0, other = 0;
    of.random->spec.cache = (tq_cache_type)type;
    tq_session *session = open_session(&of, LENGTH, 1, LENGTH, 2);
    ck_assert_int_eq(tq_session_cache(session), type);
    run(session, spec.vocabulary, tokens, LENGTH, 4, logits);
    for (size_t i = 0; i < LENGTH * 47; i++) {
      own += fabs((double)logits[i] - naive[type][i]);
      other += fabs((double)logits[i] - naive[1 - type][i]);
    }
    ck_assert_msg(own < other / 10, "type %d: %g from its own, %g from the other", type, own, other);
    tq_session_destroy(session);
  }
  close_model(&of);
}
END_TEST

START_TEST(types_of_cache_have_names) {
  tq_cache_type type = TQ_CACHE_Q8;
  ck_assert(tq_cache_type_by_name("f16", &type) && type == TQ_CACHE_F16);
  ck_assert(tq_cache_type_by_name("q8", &type) && type == TQ_CACHE_Q8);
  ck_assert_str_eq(tq_cache_type_name(TQ_CACHE_F16), "f16");
  ck_assert_str_eq(tq_cache_type_name(TQ_CACHE_Q8), "q8");
  ck_assert(!tq_cache_type_by_name("f32", &type) && !tq_cache_type_by_name("", &type) && type == TQ_CACHE_Q8);
}
END_TEST

/* ---- what results must not depend on ---- */

static float *logits_of(const opened *of, uint32_t threads, size_t step) {
  uint32_t vocabulary = of->random->spec.vocabulary, tokens[LENGTH];
  float *logits = malloc(LENGTH * vocabulary * sizeof *logits);
  tq_session *session = open_session(of, LENGTH, 1, 64, threads);
  make_tokens(vocabulary, tokens, LENGTH, 3);
  run(session, vocabulary, tokens, LENGTH, step, logits);
  tq_session_destroy(session);
  return logits;
}

static void ck_same_floats(const float *a, const float *b, size_t count) {
  for (size_t i = 0; i < count; i++)
    ck_assert_msg(memcmp(a + i, b + i, sizeof *a) == 0, "float %zu: %a is not %a", i, (double)a[i], (double)b[i]);
}

START_TEST(threads_and_batches_do_not_matter) {
  random_spec spec = small();
  spec.encoding = encodings[10];
  spec.architecture = _i % 2 ? "bitnet" : "llama";
  spec.cache = _i < 2 ? TQ_CACHE_F16 : TQ_CACHE_Q8;
  opened of = open_model(&spec, TQ_VERIFY_FULL);
  float *reference = logits_of(&of, 1, 64);
  for (uint32_t threads = 1; threads <= 5; threads += 2) {
    for (size_t step = 1; step <= 8; step += step == 1 ? 2 : 5) {
      float *other = logits_of(&of, threads, step);
      ck_same_floats(reference, other, LENGTH * spec.vocabulary);
      free(other);
    }
  }
  free(reference);
  close_model(&of);
}
END_TEST

/* More positions than a kernel takes at a time, more queries than a call of it, in sequences of different lengths. */
START_TEST(long_texts_are_cut_in_any_way) {
  enum { TEXT = 140 };
  random_spec spec = small();
  spec.context = TEXT;
  spec.heads = _i % 2 ? 2 : 6;
  spec.cache = _i < 2 ? TQ_CACHE_F16 : TQ_CACHE_Q8;
  opened of = open_model(&spec, TQ_VERIFY_FULL);
  uint32_t tokens[TEXT];
  float *whole = malloc(2 * TEXT * spec.vocabulary * sizeof *whole), *parts = whole + TEXT * spec.vocabulary;
  make_tokens(spec.vocabulary, tokens, TEXT, 5);
  tq_session *session = open_session(&of, 0, 1, TEXT, 1);
  run(session, spec.vocabulary, tokens, TEXT, TEXT, whole);
  for (uint32_t threads = 1; threads <= 4; threads++) {
    tq_session_truncate(session, 0, 0);
    run(session, spec.vocabulary, tokens, TEXT, 31 * threads, parts);
    ck_same_floats(whole, parts, TEXT * spec.vocabulary);
    tq_session_destroy(session);
    session = open_session(&of, 0, 1, TEXT, threads + 1);
  }
  /* A long and a short sequence in one call. */
  tq_session *both = open_session(&of, 0, 2, TEXT, 3);
  uint32_t last[] = {tokens[TEXT - 1], tokens[0]}, positions[] = {TEXT - 1, 0}, sequences[] = {0, 1};
  bool wanted[] = {true, true};
  const float *logits;
  run(both, spec.vocabulary, tokens, TEXT - 1, 64, parts);
  tq_batch batch = {.count = 2, .tokens = last, .positions = positions, .sequences = sequences, .wants_logits = wanted};
  ck_ok(tq_forward(both, &batch, &logits, error));
  ck_same_floats(whole + (TEXT - 1) * spec.vocabulary, logits, spec.vocabulary);
  ck_same_floats(whole, logits + spec.vocabulary, spec.vocabulary);
  tq_session_destroy(both);
  tq_session_destroy(session);
  free(whole);
  close_model(&of);
}
END_TEST

static tq_batch simple_batch(size_t count, const uint32_t *tokens, const uint32_t *positions) {
  return (tq_batch){.count = count, .tokens = tokens, .positions = positions};
}

/* The room for logits grows with what is wanted, and what is not wanted is not given. */
START_TEST(any_tokens_can_want_logits) {
  random_spec spec = small();
  opened of = open_model(&spec, TQ_VERIFY_HEADER);
  float *all = logits_of(&of, 1, LENGTH);
  tq_session *session = open_session(&of, LENGTH, 1, LENGTH, 2);
  uint32_t tokens[LENGTH], positions[LENGTH];
  bool wanted[LENGTH] = {false};
  const float *logits;
  make_tokens(spec.vocabulary, tokens, LENGTH, 3);
  for (uint32_t i = 0; i < LENGTH; i++) positions[i] = i;
  tq_batch batch = {.count = 1, .tokens = tokens, .positions = positions, .wants_logits = wanted};
  ck_ok(tq_forward(session, &batch, &logits, error));
  ck_assert_ptr_null(logits);
  for (size_t begin = 1, size = 3; begin < LENGTH; begin += size, size *= 2) {
    if (size > LENGTH - begin) size = LENGTH - begin;
    for (size_t i = 0; i < size; i++) wanted[i] = i % 3 != 1;
    batch.count = size, batch.tokens = tokens + begin, batch.positions = positions + begin;
    ck_ok(tq_forward(session, &batch, &logits, error));
    for (size_t i = 0, place = 0; i < size; i++)
      if (wanted[i])
        ck_same_floats(all + (begin + i) * spec.vocabulary, logits + place++ * spec.vocabulary, spec.vocabulary);
  }
  tq_session_destroy(session);
  free(all);
  close_model(&of);
}
END_TEST

START_TEST(layers_can_be_run_in_parts) {
  random_spec spec = small();
  spec.layers = 3;
  opened of = open_model(&spec, TQ_VERIFY_LAZY);
  tq_session *whole = open_session(&of, 8, 1, 8, 2), *first = open_session(&of, 8, 1, 8, 1);
  tq_session *second = open_session(&of, 8, 1, 8, 1);
  uint32_t tokens[] = {1, 2, 3, 4}, positions[] = {0, 1, 2, 3};
  float residual[4 * 38];
  const float *expected, *logits;
  tq_batch batch = simple_batch(4, tokens, positions);
  ck_ok(tq_forward(whole, &batch, &expected, error));
  batch.residual = residual;
  for (uint32_t cut = 1; cut < 3; cut++) {
    tq_session *rest = cut == 1 ? second : first; /* in another session, and in the same one */
    tq_session_truncate(first, 0, 0);
    batch.first_layer = 0, batch.end_layer = cut, batch.tokens = tokens;
    ck_ok(tq_forward(first, &batch, &logits, error));
    ck_assert_ptr_null(logits);
    batch.first_layer = cut, batch.end_layer = 0, batch.tokens = NULL;
    ck_ok(tq_forward(rest, &batch, &logits, error));
    ck_same_floats(expected, logits, spec.vocabulary);
  }
  tq_session_destroy(whole);
  tq_session_destroy(first);
  tq_session_destroy(second);
  close_model(&of);
}
END_TEST

START_TEST(sequences_do_not_see_each_other) {
  random_spec spec = small();
  opened of = open_model(&spec, TQ_VERIFY_HEADER);
  uint32_t tokens[2][6], vocabulary = spec.vocabulary;
  float *alone[2];
  for (uint32_t s = 0; s < 2; s++) {
    make_tokens(vocabulary, tokens[s], 6, 40 + s);
    alone[s] = malloc(6 * vocabulary * sizeof **alone);
    tq_session *session = open_session(&of, 8, 1, 8, 1);
    run(session, vocabulary, tokens[s], 6, 6, alone[s]);
    tq_session_destroy(session);
  }
  tq_session *both = open_session(&of, 8, 3, 16, 2);
  /* Sequences 2 and 0, mixed, in two calls. */
  uint32_t mixed[] = {tokens[0][0], tokens[1][0], tokens[1][1], tokens[0][1], tokens[0][2]},
           positions[] = {0, 0, 1, 1, 2};
  uint32_t sequences[] = {2, 0, 0, 2, 2}, row[] = {0, 0, 1, 1, 2};
  bool wanted[] = {true, false, true, true, true};
  const float *logits;
  tq_batch batch = {
      .count = 5, .tokens = mixed, .positions = positions, .sequences = sequences, .wants_logits = wanted};
  ck_ok(tq_forward(both, &batch, &logits, error));
  for (size_t i = 0, place = 0; i < 5; i++) {
    if (!wanted[i]) continue;
    ck_same_floats(alone[sequences[i] == 0] + row[i] * vocabulary, logits + place++ * vocabulary, vocabulary);
  }
  uint32_t next[] = {tokens[1][2], tokens[0][3]}, places[] = {2, 3}, order[] = {0, 2};
  batch = (tq_batch){.count = 2, .tokens = next, .positions = places, .sequences = order};
  ck_ok(tq_forward(both, &batch, &logits, error));
  ck_same_floats(alone[0] + 3 * vocabulary, logits, vocabulary);
  tq_session_destroy(both);
  for (uint32_t s = 0; s < 2; s++) free(alone[s]);
  close_model(&of);
}
END_TEST

START_TEST(truncation_takes_positions_back) {
  random_spec spec = small();
  opened of = open_model(&spec, TQ_VERIFY_HEADER);
  tq_session *session = open_session(&of, 8, 1, 8, 1);
  uint32_t tokens[] = {5, 6, 7, 8}, others[] = {5, 6, 30, 31}, positions[] = {0, 1, 2, 3};
  const float *logits;
  tq_batch batch = simple_batch(4, others, positions);
  ck_ok(tq_forward(session, &batch, &logits, error));
  tq_session_truncate(session, 0, 2);
  tq_session_truncate(session, 9, 0);
  batch = simple_batch(2, tokens + 2, positions + 2);
  ck_ok(tq_forward(session, &batch, &logits, error));
  float *kept = malloc(spec.vocabulary * sizeof *kept);
  memcpy(kept, logits, spec.vocabulary * sizeof *kept);
  tq_session_truncate(session, 0, 0);
  batch = simple_batch(4, tokens, positions);
  ck_ok(tq_forward(session, &batch, &logits, error));
  ck_same_floats(kept, logits, spec.vocabulary);
  free(kept);
  tq_session_destroy(session);
  close_model(&of);
}
END_TEST

/* ---- what is refused ---- */

static void ck_refused(const random_spec *spec, const char *part) {
  const char *path = temporary_path("refused.tq");
  tq_file *file;
  tq_model *model;
  random_model *random = random_model_write(spec, path);
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, part);
  ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, "refused.tq: ");
  tq_file_close(file);
  random_model_free(random);
}

START_TEST(missing_and_misshapen_tensors_are_named) {
  static const char *const roles[] = {"embedding",     "final_norm",        "layers.0.q",
                                      "layers.1.down", "layers.1.ffn_norm", "layers.0.attention_sub_norm"};
  char message[128];
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    random_spec spec = small();
    spec.architecture = "bitnet";
    spec.leave_out = roles[i];
    snprintf(message, sizeof message, "tensor %s: is missing", roles[i]);
    ck_refused(&spec, message);
    spec.leave_out = NULL;
    spec.misshape = roles[i];
    snprintf(message, sizeof message, "tensor %s: its shape is ", roles[i]);
    ck_refused(&spec, message);
  }
  random_spec qwen = small();
  qwen.architecture = "qwen3";
  qwen.leave_out = "layers.1.k_norm";
  ck_refused(&qwen, "tensor layers.1.k_norm: is missing");
  qwen.leave_out = NULL;
  qwen.misshape = "layers.0.q_norm";
  ck_refused(&qwen, "layers.0.q_norm: its shape is 11 where 10 is expected");
  random_spec spec = small();
  spec.misshape = "layers.1.k";
  ck_refused(&spec, "layers.1.k: its shape is 20 x 39 where 20 x 38 is expected");
  spec.misshape = "head";
  ck_refused(&spec, "head: its shape is 47 x 39 where 47 x 38 is expected");
  spec.misshape = "layers.0.v_bias";
  spec.biases = true;
  ck_refused(&spec, "layers.0.v_bias: its shape is 21 where 20 is expected");
}
END_TEST

START_TEST(what_is_not_understood_is_not_ignored) {
  random_spec spec = small();
  spec.extra = "layers.0.q_norm";
  ck_refused(&spec, "layers.0.q_norm: has no place in architecture llama");
  spec.extra = NULL;
  spec.low_rank = "layers.1.up";
  ck_refused(&spec, "layers.1.up: a part of kind 4 is not computed with");
  spec.low_rank = NULL;
  spec.rope_tensor = true;
  spec.rope_type = "linear";
  spec.rope_factor = 2;
  ck_refused(&spec, "rope_factors: stands beside RoPE scaling of another kind");
  spec.rope_tensor = false;
  spec.rope_type = "longrope";
  ck_refused(&spec, "RoPE scaling \"longrope\" is not understood");
  spec.rope_type = NULL;
  spec.add_u32_key = "llama.expert_count";
  spec.add_u32_value = 8;
  ck_refused(&spec, "llama.expert_count: a mixture of experts is not understood");
  spec.add_u32_key = NULL;
  spec.extra = "layers.0.rope_inverse_frequencies"; /* derived: nothing is lost without it */
  opened of = open_model(&spec, TQ_VERIFY_FULL);
  close_model(&of);
}
END_TEST

static void add_latent(tq_metadata_builder *keys) { ck_ok(tq_metadata_add_bool(keys, "tq.latent", true, error)); }

static void add_no_latent(tq_metadata_builder *keys) { ck_ok(tq_metadata_add_bool(keys, "tq.latent", false, error)); }

static void add_latent_number(tq_metadata_builder *keys) { ck_ok(tq_metadata_add_u32(keys, "tq.latent", 0, error)); }

START_TEST(latent_weights_are_refused) {
  random_spec spec = small();
  spec.add_keys = add_latent;
  ck_refused(&spec, "its weights are latent: they must be quantized first");
  spec.add_keys = add_latent_number;
  ck_refused(&spec, "tq.latent is not a bool");
  spec.add_keys = add_no_latent;
  check_against_naive(&spec, NULL, 1);
}
END_TEST

START_TEST(what_is_not_computed_is_refused_with_the_reason) {
  random_spec spec = small();
  spec.architecture = "qwen35";
  ck_refused(&spec, "architecture qwen35 cannot be run: linear attention layers are not computed");
  spec.architecture = "qwen35moe";
  ck_refused(&spec, "architecture qwen35moe cannot be run: linear attention layers are not computed");
}
END_TEST

START_TEST(bad_hyperparameters_are_named) {
  static const char *const required[] = {"general.architecture",
                                         "llama.block_count",
                                         "llama.embedding_length",
                                         "llama.feed_forward_length",
                                         "llama.attention.head_count",
                                         "llama.context_length",
                                         "llama.attention.layer_norm_rms_epsilon"};
  char message[128];
  for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
    random_spec spec = small();
    spec.leave_out_key = required[i];
    snprintf(message, sizeof message, "%s is missing", required[i]);
    ck_refused(&spec, message);
    if (i == 0) continue;
    spec.leave_out_key = NULL;
    spec.replace_key = required[i];
    snprintf(message, sizeof message, "%s is not a", required[i]);
    ck_refused(&spec, message);
  }
  random_spec spec = small();
  spec.replace_key = "general.architecture";
  ck_refused(&spec, "unknown architecture \"no\"");
}
END_TEST

static void ck_key_refused(const char *key, uint32_t value, const char *part) {
  random_spec spec = small();
  spec.leave_out_key = key;
  spec.add_u32_key = key;
  spec.add_u32_value = value;
  ck_refused(&spec, part);
}

START_TEST(contradicting_hyperparameters_are_refused) {
  ck_key_refused("llama.attention.head_count", 0, "llama.attention.head_count is not a whole number from 1");
  ck_key_refused("llama.attention.head_count_kv", 4, "6 attention heads cannot share 4 key heads evenly");
  ck_key_refused("llama.attention.key_length", 5000, "a head dimension of 5000 is above the limit");
  ck_key_refused("llama.attention.value_length", 12, "keys of length 10 with values of length 12");
  ck_key_refused("llama.rope.dimension_count", 7, "RoPE over 7 dimensions of heads of 10 is impossible");
  ck_key_refused("llama.rope.dimension_count", 12, "RoPE over 12 dimensions of heads of 10 is impossible");
  ck_key_refused("llama.rope.freq_base", 1, "llama.rope.freq_base is not above 1");
  ck_key_refused("llama.block_count", 2000000000, "2000000000 layers cannot be made of");
  ck_key_refused("llama.block_count", 3, "tensor layers.2.q: is missing");
  ck_key_refused("llama.block_count", 1, "has no place in architecture llama");
  ck_key_refused("llama.vocab_size", 46, "embedding: its shape is 47 x 38 where 46 x 38 is expected");
  ck_key_refused("llama.attention.layer_norm_rms_epsilon", 0, "is not a finite number above 0");
}
END_TEST

static void ck_batch_refused(tq_session *session, tq_batch batch, const char *part) {
  const float *logits;
  ck_fails(tq_forward(session, &batch, &logits, error), TQ_ERROR_USAGE, part);
}

START_TEST(wrong_batches_are_refused_and_change_nothing) {
  random_spec spec = small();
  opened of = open_model(&spec, TQ_VERIFY_HEADER);
  tq_session *session = open_session(&of, 4, 2, 3, 1);
  uint32_t tokens[] = {1, 2, 3, 4}, positions[] = {0, 1, 2, 3}, sequences[] = {0, 0, 0, 0};
  float residual[4 * 38];
  tq_batch good = simple_batch(2, tokens, positions);
  const float *logits;
  ck_assert_uint_eq(tq_session_context(session), 4);
  ck_batch_refused(session, simple_batch(0, tokens, positions), "a batch of 0 tokens where the session takes 1 to 3");
  ck_batch_refused(session, simple_batch(4, tokens, positions), "a batch of 4 tokens");
  ck_batch_refused(session, simple_batch(2, NULL, positions), "a batch without tokens");
  ck_batch_refused(session, simple_batch(2, tokens, NULL), "a batch without positions");
  tokens[1] = 47;
  ck_batch_refused(session, good, "token 47 is outside the vocabulary of 47");
  tokens[1] = 2;
  ck_batch_refused(session, simple_batch(1, tokens, positions + 1), "sequence 0 goes on at position 0, not 1");
  positions[1] = 0;
  ck_batch_refused(session, good, "sequence 0 goes on at position 1, not 0");
  positions[1] = 1;
  sequences[1] = 2;
  tq_batch bad = good;
  bad.sequences = sequences;
  ck_batch_refused(session, bad, "sequence 2 where the session has 2");
  bad = good, bad.end_layer = 3, bad.residual = residual;
  ck_batch_refused(session, bad, "layers 0 to 3 are not a range of the model's 2");
  bad = good, bad.first_layer = 2, bad.residual = residual;
  ck_batch_refused(session, bad, "layers 2 to 2 are not a range");
  bad = good, bad.end_layer = 1;
  ck_batch_refused(session, bad, "without a residual stream");
  bad.residual = residual;
  ck_ok(tq_forward(session, &bad, &logits, error));
  tq_batch rest = good;
  rest.positions = positions + 2;
  ck_batch_refused(session, rest, "holds 2 positions in layer 0 and 0 in layer 1");
  bad.first_layer = 1, bad.end_layer = 0;
  ck_ok(tq_forward(session, &bad, &logits, error));
  ck_ok(tq_forward(session, &rest, &logits, error));
  uint32_t fifth = 4;
  ck_batch_refused(session, simple_batch(1, tokens, &fifth), "position 4 of sequence 0 does not fit the context of 4");
  tq_session_destroy(session);
  close_model(&of);
}
END_TEST

START_TEST(damage_is_found_when_it_is_read) {
  static const char *const roles[] = {"layers.1.up", "embedding", "head", "layers.0.ffn_norm"};
  random_spec spec = small();
  const char *path = temporary_path("damaged.tq");
  random_model_free(random_model_write(&spec, path));
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  for (size_t i = 0; i < 4; i++) {
    tq_file *file;
    tq_model *model;
    tq_session *session;
    uint32_t token = 1, position = 0;
    const float *logits;
    char message[64];
    write_file(path, bytes, size);
    ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
    size_t place = (size_t)tq_file_tensor(file, tq_file_find_role(file, roles[i]))->data_offset + 5;
    tq_file_close(file);
    bytes[place] ^= 1;
    write_file(path, bytes, size);
    bytes[place] ^= 1;
    ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
    snprintf(message, sizeof message, "tensor %s: chunk 0", roles[i]);
    if (i == 3) {
      ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT, message);
    } else {
      tq_session_options options = {.threads = 1};
      tq_batch batch = simple_batch(1, &token, &position);
      ck_ok(tq_model_create(file, &model, error));
      ck_ok(tq_session_create(model, &options, &session, error));
      ck_fails(tq_forward(session, &batch, &logits, error), TQ_ERROR_CORRUPT, message);
      tq_session_destroy(session);
      tq_model_destroy(model);
    }
    tq_file_close(file);
  }
  free(bytes);
}
END_TEST

static tq_status create_all(const void *file, tq_error *error) {
  tq_model *model;
  tq_session *session = NULL;
  tq_session_options options = {.context = 4, .threads = 2};
  uint32_t token = 1, position = 0;
  const float *logits;
  tq_batch batch = simple_batch(1, &token, &position);
  tq_status status = tq_model_create(file, &model, error);
  if (status) return status;
  status = tq_session_create(model, &options, &session, error);
  if (!status) status = tq_forward(session, &batch, &logits, error);
  tq_session_destroy(session);
  tq_model_destroy(model);
  return status;
}

START_TEST(every_failing_allocation_is_reported) {
  random_spec spec = small();
  const char *path = temporary_path("allocations.tq");
  tq_file *file;
  random_model_free(random_model_write(&spec, path));
  ck_ok(tq_file_open(path, TQ_VERIFY_LAZY, &file, error));
  ck_assert_int_gt(check_every_fault(create_all, file), 25);
  tq_file_close(file);
}
END_TEST

/* Sanitizers end the program at an absurd request unless told to fail it as the system would. */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1"; }
const char *__tsan_default_options(void) { return "allocator_may_return_null=1"; }

START_TEST(sessions_too_large_are_refused) {
  random_spec spec = small();
  opened of = open_model(&spec, TQ_VERIFY_HEADER);
  tq_session *session;
  tq_session_options huge = {.context = UINT32_MAX, .sequences = 65536, .threads = 1};
  ck_fails(tq_session_create(of.model, &huge, &session, error), TQ_ERROR_SYSTEM, "memory");
  huge.sequences = 65537;
  ck_fails(tq_session_create(of.model, &huge, &session, error), TQ_ERROR_USAGE, "65537 sequences");
  setenv("TQ_CPU", "abacus", 1);
  ck_fails(tq_session_create(of.model, NULL, &session, error), TQ_ERROR_USAGE, "are called \"abacus\"");
  setenv("TQ_CPU", "scalar", 1);
  ck_ok(tq_session_create(of.model, NULL, &session, error));
  tq_session_destroy(session);
  unsetenv("TQ_CPU");
  close_model(&of);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("model");
  TCase *right = tcase_create("right"), *independent = tcase_create("independent"), *refused = tcase_create("refused");
  tcase_add_loop_test(right, every_encoding_and_architecture_is_right, 0, ENCODINGS);
  tcase_add_loop_test(right, every_architecture_is_right, 0, 6);
  tcase_add_test(right, output_scales_multiply_ternary_weights);
  tcase_add_test(right, options_of_the_llama_family_are_right);
  tcase_add_loop_test(right, rope_scaling_is_right, 0, 4);
  tcase_add_test(right, the_cache_keeps_what_it_is_told_to);
  tcase_add_test(right, types_of_cache_have_names);
  tcase_add_loop_test(independent, threads_and_batches_do_not_matter, 0, 4);
  tcase_add_loop_test(independent, long_texts_are_cut_in_any_way, 0, 4);
  tcase_add_test(independent, any_tokens_can_want_logits);
  tcase_add_test(independent, layers_can_be_run_in_parts);
  tcase_add_test(independent, sequences_do_not_see_each_other);
  tcase_add_test(independent, truncation_takes_positions_back);
  tcase_add_test(refused, missing_and_misshapen_tensors_are_named);
  tcase_add_test(refused, what_is_not_understood_is_not_ignored);
  tcase_add_test(refused, latent_weights_are_refused);
  tcase_add_test(refused, what_is_not_computed_is_refused_with_the_reason);
  tcase_add_test(refused, bad_hyperparameters_are_named);
  tcase_add_test(refused, contradicting_hyperparameters_are_refused);
  tcase_add_test(refused, wrong_batches_are_refused_and_change_nothing);
  tcase_add_test(refused, damage_is_found_when_it_is_read);
  tcase_add_test(refused, every_failing_allocation_is_reported);
  tcase_add_test(refused, sessions_too_large_are_refused);
  suite_add_tcase(suite, right);
  suite_add_tcase(suite, independent);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
