/* Sampling: each step against its definition, and determinism. */
#include "tests/support.h"
#include "tq/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const tq_sampler_options open_options = {.temperature = 1, .top_p = 1, .repeat_penalty = 1, .seed = 1};

static tq_sampler *create(tq_sampler_options options, uint32_t vocabulary) {
  tq_sampler *sampler;
  ck_ok(tq_sampler_create(&options, vocabulary, &sampler, error));
  return sampler;
}

/* How often each token comes in `draws` draws. */
static void count_draws(tq_sampler_options options, const float *logits, uint32_t vocabulary, int draws, int *counts) {
  tq_sampler *sampler = create(options, vocabulary);
  memset(counts, 0, vocabulary * sizeof *counts);
  for (int i = 0; i < draws; i++) {
    uint32_t token = tq_sampler_sample(sampler, logits);
    ck_assert_uint_lt(token, vocabulary);
    counts[token]++;
  }
  tq_sampler_destroy(sampler);
}

START_TEST(temperature_0_takes_the_best_and_the_lowest_id) {
  tq_sampler_options options = open_options;
  options.temperature = 0;
  tq_sampler *sampler = create(options, 5);
  ck_assert_uint_eq(tq_sampler_sample(sampler, (float[]){1, 3, 2, 3, 0}), 1);
  ck_assert_uint_eq(tq_sampler_sample(sampler, (float[]){-7, -7, -7, -7, -7}), 0);
  ck_assert_uint_eq(tq_sampler_sample(sampler, (float[]){NAN, -9, NAN, -8, NAN}), 3);
  ck_assert_uint_eq(tq_sampler_sample(sampler, (float[]){NAN, NAN, NAN, NAN, NAN}), 0);
  ck_assert_uint_eq(tq_sampler_sample(sampler, (float[]){0, INFINITY, 0, INFINITY, 0}), 1);
  tq_sampler_destroy(sampler);
}
END_TEST

START_TEST(draws_follow_the_softmax) {
  const float logits[] = {1.0f, 0.0f, 2.0f, -1.0f};
  enum { DRAWS = 200000 };
  for (float temperature = 0.5f; temperature < 3; temperature *= 2) {
    tq_sampler_options options = open_options;
    double sum = 0;
    int counts[4];
    options.temperature = temperature;
    count_draws(options, logits, 4, DRAWS, counts);
    for (int i = 0; i < 4; i++) sum += exp((double)(logits[i] / temperature));
    for (int i = 0; i < 4; i++) {
      double share = exp((double)(logits[i] / temperature)) / sum, deviation = sqrt(share * (1 - share) / DRAWS);
      ck_assert_msg(fabs((double)counts[i] / DRAWS - share) < 4.5 * deviation, "token %d at temperature %g: %d of %d",
                    i, (double)temperature, counts[i], DRAWS);
    }
  }
}
END_TEST

/* True when exactly the tokens of `expected` were drawn. */
static bool drawn(const int *counts, const char *expected) {
  for (size_t i = 0; expected[i]; i++)
    if ((counts[i] > 0) != (expected[i] == '1')) return false;
  return true;
}

START_TEST(top_k_keeps_the_best) {
  const float logits[] = {1.0f, 1.2f, 1.1f, 1.2f, 0.9f, 1.2f};
  static const char *const expected[] = {"111111", "010000", "010100", "010101",
                                         "011101", "111101", "111111", "111111"};
  for (uint32_t k = 0; k < 8; k++) {
    tq_sampler_options options = open_options;
    int counts[6];
    options.top_k = k;
    count_draws(options, logits, 6, 2000, counts);
    ck_assert_msg(drawn(counts, expected[k]), "top-k %u", k);
  }
}
END_TEST

/* Probabilities 0.5, 0.25, 0.125, 0.125. */
START_TEST(top_p_keeps_the_fewest_that_reach_it) {
  const float logits[] = {-2 * 0.6931472f, -3 * 0.6931472f, -1 * 0.6931472f, -3 * 0.6931472f};
  static const struct {
    float p;
    const char *expected;
  } cases[] = {{0.0f, "0010"}, {0.4f, "0010"}, {0.6f, "1010"}, {0.74f, "1010"},
               {0.8f, "1110"}, {0.9f, "1111"}, {1.0f, "1111"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tq_sampler_options options = open_options;
    int counts[4];
    options.top_p = cases[i].p;
    count_draws(options, logits, 4, 3000, counts);
    ck_assert_msg(drawn(counts, cases[i].expected), "top-p %g", (double)cases[i].p);
  }
}
END_TEST

START_TEST(min_p_is_relative_to_the_best) {
  const float logits[] = {-2 * 0.6931472f, -3 * 0.6931472f, -1 * 0.6931472f, -3 * 0.6931472f};
  static const struct {
    float p;
    const char *expected;
  } cases[] = {{0.0f, "1111"}, {0.2f, "1111"}, {0.3f, "1010"}, {0.45f, "1010"}, {0.6f, "0010"}, {1.0f, "0010"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    tq_sampler_options options = open_options;
    int counts[4];
    options.min_p = cases[i].p;
    count_draws(options, logits, 4, 3000, counts);
    ck_assert_msg(drawn(counts, cases[i].expected), "min-p %g", (double)cases[i].p);
  }
}
END_TEST

/* The shares that top-p and min-p look at are those before the temperature, as in llama.cpp's default order. */
START_TEST(temperature_comes_last) {
  const float logits[] = {0.0f, -0.6931472f, -4.0f};
  tq_sampler_options options = open_options;
  int counts[3];
  options.temperature = 100;
  options.min_p = 0.4f;
  count_draws(options, logits, 3, 2000, counts);
  ck_assert(drawn(counts, "110"));
  ck_assert_int_gt(counts[1], 850);
}
END_TEST

START_TEST(penalty_divides_and_multiplies_within_the_window) {
  tq_sampler_options options = open_options;
  options.temperature = 0;
  options.repeat_penalty = 2;
  tq_sampler *sampler = create(options, 100);
  float logits[100];
  for (int i = 0; i < 100; i++) logits[i] = -50;
  logits[7] = 4, logits[8] = 2.5f, logits[9] = 1.9f;
  ck_assert_uint_eq(tq_sampler_sample(sampler, logits), 7);
  tq_sampler_accept(sampler, 7);
  tq_sampler_accept(sampler, 7); /* twice in the window: penalised once */
  ck_assert_uint_eq(tq_sampler_sample(sampler, logits), 8);
  tq_sampler_accept(sampler, 8); /* 4 / 2 is left, 2.5 / 2 too little */
  ck_assert_uint_eq(tq_sampler_sample(sampler, logits), 7);
  tq_sampler_accept(sampler, 4000); /* not of this vocabulary: of no consequence */
  for (uint32_t i = 0; i < 63; i++) tq_sampler_accept(sampler, 20 + i % 9);
  ck_assert_uint_eq(tq_sampler_sample(sampler, logits), 7);
  for (int i = 0; i < 100; i++) logits[i] = -50;
  logits[20] = -1, logits[30] = -1.5f;
  ck_assert_uint_eq(tq_sampler_sample(sampler, logits), 30);
  tq_sampler_destroy(sampler);
}
END_TEST

START_TEST(one_seed_gives_one_sequence) {
  enum { VOCABULARY = 5000 };
  float *logits = malloc(VOCABULARY * sizeof *logits);
  uint64_t state = 5;
  for (int i = 0; i < VOCABULARY; i++) logits[i] = 3 * random_float(&state);
  tq_sampler_options options = {
      .temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1.1f, .seed = 42};
  tq_sampler *one = create(options, VOCABULARY), *same = create(options, VOCABULARY);
  options.seed = 43;
  tq_sampler *other = create(options, VOCABULARY);
  int differences = 0;
  for (int i = 0; i < 200; i++) {
    uint32_t token = tq_sampler_sample(one, logits);
    ck_assert_uint_eq(tq_sampler_sample(same, logits), token);
    differences += tq_sampler_sample(other, logits) != token;
    tq_sampler_accept(one, token);
    tq_sampler_accept(same, token);
    tq_sampler_accept(other, token);
  }
  ck_assert_int_gt(differences, 100);
  tq_sampler_destroy(one);
  tq_sampler_destroy(same);
  tq_sampler_destroy(other);
  free(logits);
}
END_TEST

/* The generator's first numbers for seed 1, computed from its authors' definitions in Python: the draws among equals
 * they choose. */
START_TEST(random_numbers_are_the_documented_ones) {
  static const uint32_t expected[] = {702, 520, 574, 391, 697, 143};
  float logits[1000] = {0};
  tq_sampler *sampler = create(open_options, 1000);
  for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
    ck_assert_uint_eq(tq_sampler_sample(sampler, logits), expected[i]);
  tq_sampler_destroy(sampler);
}
END_TEST

START_TEST(wrong_options_are_refused) {
  tq_sampler *sampler;
  tq_sampler_options options = open_options;
  options.temperature = -1;
  ck_fails(tq_sampler_create(&options, 5, &sampler, error), TQ_ERROR_USAGE, "temperature");
  options.temperature = NAN;
  ck_fails(tq_sampler_create(&options, 5, &sampler, error), TQ_ERROR_USAGE, "temperature");
  options = open_options, options.top_p = 1.5f;
  ck_fails(tq_sampler_create(&options, 5, &sampler, error), TQ_ERROR_USAGE, "top-p");
  options = open_options, options.min_p = -0.5f;
  ck_fails(tq_sampler_create(&options, 5, &sampler, error), TQ_ERROR_USAGE, "min-p");
  options = open_options, options.repeat_penalty = 0;
  ck_fails(tq_sampler_create(&options, 5, &sampler, error), TQ_ERROR_USAGE, "repeat penalty");
  ck_fails(tq_sampler_create(&open_options, 0, &sampler, error), TQ_ERROR_USAGE, "empty vocabulary");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("sampling");
  TCase *steps = tcase_create("steps");
  tcase_add_test(steps, temperature_0_takes_the_best_and_the_lowest_id);
  tcase_add_test(steps, draws_follow_the_softmax);
  tcase_add_test(steps, top_k_keeps_the_best);
  tcase_add_test(steps, top_p_keeps_the_fewest_that_reach_it);
  tcase_add_test(steps, min_p_is_relative_to_the_best);
  tcase_add_test(steps, temperature_comes_last);
  tcase_add_test(steps, penalty_divides_and_multiplies_within_the_window);
  tcase_add_test(steps, one_seed_gives_one_sequence);
  tcase_add_test(steps, random_numbers_are_the_documented_ones);
  tcase_add_test(steps, wrong_options_are_refused);
  suite_add_tcase(suite, steps);
  return run_suite(suite);
}
