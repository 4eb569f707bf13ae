/* Choosing the next token. The steps, in llama.cpp's default order: repeat penalty, top-k, top-p, min-p, temperature,
 * draw. Everything is deterministic: candidates are ordered by logit and then by id, sums run in that order in double,
 * and the random numbers are xoshiro256** (Blackman & Vigna, 2018) seeded by splitmix64. */
#include "base/memory.h"
#include "kernels/exponential.h"
#include "tq/model.h"

#include <string.h>

enum { PENALTY_WINDOW = 64 };

typedef struct candidate {
  float logit;
  uint32_t id;
} candidate;

struct tq_sampler {
  tq_sampler_options options;
  uint32_t vocabulary;
  uint32_t recent[PENALTY_WINDOW]; /* a ring of the tokens last accepted */
  size_t accepted;
  uint64_t random[4];
  candidate *candidates; /* [vocabulary] */
  double *weights;       /* [vocabulary] */
};

/* ---- random numbers ---- */

static uint64_t split_mix(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t value, int bits) { return (value << bits) | (value >> (64 - bits)); }

static uint64_t next_random(uint64_t s[4]) {
  uint64_t result = rotate_left(s[1] * 5, 7) * 9, shifted = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= shifted;
  s[3] = rotate_left(s[3], 45);
  return result;
}

/* In [0, 1), from the upper 53 bits. */
static double next_uniform(uint64_t s[4]) { return (double)(next_random(s) >> 11) * 0x1p-53; }

/* ---- order ---- */

static bool is_better(candidate a, candidate b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); }

/* Restores the heap whose worst candidate is on top, below `place`. */
static void sift(candidate *heap, size_t count, size_t place) {
  candidate moved = heap[place];
  for (size_t child; (child = 2 * place + 1) < count; place = child) {
    if (child + 1 < count && is_better(heap[child], heap[child + 1])) child++;
    if (!is_better(moved, heap[child])) break;
    heap[place] = heap[child];
  }
  heap[place] = moved;
}

/* Leaves the best `keep` of `count` candidates at the front, best first. */
static void select_best(candidate *all, size_t count, size_t keep) {
  for (size_t i = keep / 2; i-- > 0;) sift(all, keep, i);
  for (size_t i = keep; i < count; i++) {
    if (!is_better(all[i], all[0])) continue;
    all[0] = all[i];
    sift(all, keep, 0);
  }
  for (size_t left = keep; left > 1;) {
    candidate worst = all[0];
    all[0] = all[--left];
    all[left] = worst;
    sift(all, left, 0);
  }
}

/* ---- steps ---- */

/* What is not a number cannot be ordered: it counts as impossible. */
static void load(tq_sampler *sampler, const float *logits) {
  for (uint32_t i = 0; i < sampler->vocabulary; i++)
    sampler->candidates[i] = (candidate){logits[i] == logits[i] ? logits[i] : -INFINITY, i};
}

/* Each token of the window once: a positive logit is divided, another multiplied, so that both become less likely. */
static void penalize(tq_sampler *sampler) {
  float penalty = sampler->options.repeat_penalty;
  size_t count = sampler->accepted < PENALTY_WINDOW ? sampler->accepted : PENALTY_WINDOW;
  for (size_t i = 0; penalty != 1.0f && i < count; i++) {
    bool seen = false;
    for (size_t j = 0; j < i; j++) seen = seen || sampler->recent[j] == sampler->recent[i];
    if (seen || sampler->recent[i] >= sampler->vocabulary) continue;
    float *logit = &sampler->candidates[sampler->recent[i]].logit;
    *logit = *logit > 0.0f ? *logit / penalty : *logit * penalty;
  }
}

static uint32_t most_likely(const tq_sampler *sampler) {
  candidate best = sampler->candidates[0];
  for (uint32_t i = 1; i < sampler->vocabulary; i++)
    if (is_better(sampler->candidates[i], best)) best = sampler->candidates[i];
  return best.id;
}

/* weights[i] = exp((logit i - best logit) / temperature); returns their sum. Equal logits differ by 0 even where they
 * are infinite. */
static double weigh(tq_sampler *sampler, size_t count, float temperature) {
  const candidate *all = sampler->candidates;
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    float difference = all[i].logit == all[0].logit ? 0.0f : all[i].logit - all[0].logit;
    sampler->weights[i] = (double)tq_exp(difference / temperature);
    sum += sampler->weights[i];
  }
  return sum;
}

/* The fewest of the best that have at least `top_p` of the probability together. */
static size_t cut_top_p(tq_sampler *sampler, size_t count) {
  if (sampler->options.top_p >= 1.0f) return count;
  double wanted = (double)sampler->options.top_p * weigh(sampler, count, 1.0f), sum = 0;
  for (size_t i = 0; i < count; i++) {
    sum += sampler->weights[i];
    if (sum >= wanted) return i + 1;
  }
  return count;
}

/* Those at least `min_p` times as likely as the best, which is always kept. */
static size_t cut_min_p(tq_sampler *sampler, size_t count) {
  if (sampler->options.min_p <= 0.0f) return count;
  weigh(sampler, count, 1.0f);
  size_t kept = 1;
  while (kept < count && sampler->weights[kept] >= (double)sampler->options.min_p) kept++;
  return kept;
}

static uint32_t draw(tq_sampler *sampler, size_t count) {
  double target = weigh(sampler, count, sampler->options.temperature) * next_uniform(sampler->random), sum = 0;
  for (size_t i = 0; i + 1 < count; i++) {
    sum += sampler->weights[i];
    if (target < sum) return sampler->candidates[i].id;
  }
  return sampler->candidates[count - 1].id;
}

uint32_t tq_sampler_sample(tq_sampler *sampler, const float *logits) {
  load(sampler, logits);
  penalize(sampler);
  if (sampler->options.temperature <= 0.0f) return most_likely(sampler);
  size_t count = sampler->vocabulary, top_k = sampler->options.top_k;
  size_t kept = top_k && top_k < count ? top_k : count;
  select_best(sampler->candidates, count, kept);
  kept = cut_top_p(sampler, kept);
  kept = cut_min_p(sampler, kept);
  return draw(sampler, kept);
}

/* ---- life ---- */

static bool in_bounds(float value, float least, float most) { return value >= least && value <= most; }

static tq_status check_options(const tq_sampler_options *options, tq_error *error) {
  if (!in_bounds(options->temperature, 0.0f, 1e6f))
    return tq_fail(error, TQ_ERROR_USAGE, "the temperature must be 0 or more");
  if (!in_bounds(options->top_p, 0.0f, 1.0f)) return tq_fail(error, TQ_ERROR_USAGE, "top-p must be from 0 to 1");
  if (!in_bounds(options->min_p, 0.0f, 1.0f)) return tq_fail(error, TQ_ERROR_USAGE, "min-p must be from 0 to 1");
  if (!in_bounds(options->repeat_penalty, 1e-6f, 1e6f))
    return tq_fail(error, TQ_ERROR_USAGE, "the repeat penalty must be above 0");
  return TQ_OK;
}

tq_status tq_sampler_create(const tq_sampler_options *options, uint32_t vocabulary, tq_sampler **sampler,
                            tq_error *error) {
  tq_status status = check_options(options, error);
  if (!status && vocabulary == 0) status = tq_fail(error, TQ_ERROR_USAGE, "an empty vocabulary has no token to choose");
  if (status) return status;
  tq_sampler *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->options = *options;
  created->vocabulary = vocabulary;
  uint64_t seed = options->seed;
  for (size_t i = 0; i < 4; i++) created->random[i] = split_mix(&seed);
  created->candidates = tq_allocate(vocabulary, sizeof *created->candidates, error);
  if (created->candidates) created->weights = tq_allocate(vocabulary, sizeof *created->weights, error);
  if (!created->weights) {
    tq_sampler_destroy(created);
    return TQ_ERROR_SYSTEM;
  }
  *sampler = created;
  return TQ_OK;
}

void tq_sampler_accept(tq_sampler *sampler, uint32_t token) {
  sampler->recent[sampler->accepted++ % PENALTY_WINDOW] = token;
}

void tq_sampler_destroy(tq_sampler *sampler) {
  if (!sampler) return;
  tq_free(sampler->candidates);
  tq_free(sampler->weights);
  tq_free(sampler);
}
