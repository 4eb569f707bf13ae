/* RoPE's frequencies under each scaling, and the function digest. */
#include "model/function.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static double plain_frequency(const tq_hyperparameters *hyperparameters, uint32_t pair) {
  return pow((double)hyperparameters->rope_base, -2.0 * pair / hyperparameters->rope_dimensions);
}

/* Llama 3.1's rule: waves shorter than original / high keep their frequency, waves longer than original / low are
 * slowed by the whole factor, and between them the frequency is mixed linearly in original / wavelength. */
static double llama3_factor(const tq_hyperparameters *hyperparameters, uint32_t pair) {
  double low = hyperparameters->rope_low_frequency_factor, high = hyperparameters->rope_high_frequency_factor;
  double waves = hyperparameters->rope_original_context * plain_frequency(hyperparameters, pair) / (2.0 * pi);
  double factor = hyperparameters->rope_factor;
  if (waves > high) return 1.0;
  if (waves < low) return factor;
  double smooth = (waves - low) / (high - low);
  return 1.0 / ((1.0 - smooth) / factor + smooth);
}

/* The pair (as a real number) that turns `rotations` times within the original context. */
static double yarn_pair(const tq_hyperparameters *hyperparameters, double rotations) {
  return hyperparameters->rope_dimensions * log(hyperparameters->rope_original_context / (rotations * 2.0 * pi)) /
         (2.0 * log((double)hyperparameters->rope_base));
}

/* Peng et al., "YaRN" (2023), section 3.2, with the bounds rounded outwards as its authors' code, Hugging Face and
 * llama.cpp do: pairs that turn often keep their frequency, pairs that turn less than once are slowed by the whole
 * factor. */
static double yarn_factor(const tq_hyperparameters *hyperparameters, uint32_t pair) {
  double low = floor(yarn_pair(hyperparameters, hyperparameters->rope_beta_fast));
  double high = ceil(yarn_pair(hyperparameters, hyperparameters->rope_beta_slow));
  low = fmax(low, 0.0);
  high = fmin(high, hyperparameters->rope_dimensions - 1.0);
  double slowed = fmin(1.0, fmax(0.0, (pair - low) / fmax(0.001, high - low)));
  return 1.0 / (slowed / hyperparameters->rope_factor + (1.0 - slowed));
}

void tq_rope_factors(const tq_hyperparameters *hyperparameters, float *factors) {
  for (uint32_t pair = 0; pair < hyperparameters->rope_dimensions / 2; pair++) {
    double factor = 1.0;
    if (hyperparameters->rope_scaling == TQ_ROPE_LINEAR) factor = hyperparameters->rope_factor;
    if (hyperparameters->rope_scaling == TQ_ROPE_LLAMA3) factor = llama3_factor(hyperparameters, pair);
    if (hyperparameters->rope_scaling == TQ_ROPE_YARN) factor = yarn_factor(hyperparameters, pair);
    factors[pair] = (float)factor;
  }
}

float tq_yarn_attention_factor(float factor) { return factor > 1.0f ? (float)(0.1 * log((double)factor) + 1.0) : 1.0f; }

float tq_rope_magnitude(const tq_hyperparameters *hyperparameters) {
  if (hyperparameters->rope_scaling != TQ_ROPE_YARN) return 1.0f;
  if (hyperparameters->rope_attention_factor > 0.0f) return hyperparameters->rope_attention_factor;
  return tq_yarn_attention_factor(hyperparameters->rope_factor);
}

void tq_rope_frequencies(const tq_hyperparameters *hyperparameters, const float *factors, double *frequencies) {
  for (uint32_t pair = 0; pair < hyperparameters->rope_dimensions / 2; pair++)
    frequencies[pair] = plain_frequency(hyperparameters, pair) / (double)factors[pair];
}

/* What the digest hashes, as it grows. */
typedef struct record {
  uint8_t bytes[512 + 4 * (TQ_MOST_HEAD_DIMENSION / 2)];
  size_t size;
} record;

static void add_name(record *to, const char *name) {
  size_t size = strlen(name) + 1;
  memcpy(to->bytes + to->size, name, size);
  to->size += size;
}

static void add_u32(record *to, const char *name, uint32_t value) {
  add_name(to, name);
  tq_store_u32(to->bytes + to->size, value);
  to->size += 4;
}

static void add_digest(record *to, const char *name, const uint8_t digest[TQ_DIGEST_SIZE]) {
  add_name(to, name);
  memcpy(to->bytes + to->size, digest, TQ_DIGEST_SIZE);
  to->size += TQ_DIGEST_SIZE;
}

static void add_f32(record *to, const char *name, const float *values, size_t count) {
  add_name(to, name);
  for (size_t i = 0; i < count; i++, to->size += 4) tq_store_f32(to->bytes + to->size, values[i]);
}

/* The function digest is XXH3-128 (canonical byte order) over these records, one behind the other, each a name as ASCII
 * with a NUL behind it and then little-endian u32 or f32 numbers: "layers" u32, "dimension" u32, "feed_forward" u32,
 * "heads" u32, "kv_heads" u32, "head_dimension" u32, "norm" f32: the epsilon of the RMS norms, "gate" u32: 0 SiLU, 1
 * squared ReLU, "sub_norms" u32: 1 with norms before o and down, else 0, "streams" u32: residual streams, 1,
 *   "rope_dimensions" u32, "rope_base" f32,
 *   "rope_magnitude" f32: the factor of cosines and sines, 1 but for YaRN,
 *   "rope_factors" f32[rope_dimensions / 2]: what the frequencies base^(-2i / rope_dimensions) are divided by,
 *   "qk_norms" u32, only with norms of the heads of q and k before RoPE: 1,
 *   "rotation" 16 bytes, only where weights are folded with one: its digest.
 * Sizes of the vocabulary and of the context are not part of it, nor whether the head is tied, nor the architecture's
 * name: the weights and the tokenizer have digests of their own, and two names for one function are one function. A
 * later property is a record behind these, written only where it differs from what all earlier models have. */
void tq_function_digest(const tq_hyperparameters *hyperparameters, const float *rope_factors, uint8_t digest[16]) {
  float factors[TQ_MOST_HEAD_DIMENSION / 2];
  size_t pairs = hyperparameters->rope_dimensions / 2;
  if (!rope_factors) {
    tq_rope_factors(hyperparameters, factors);
    rope_factors = factors;
  }
  float magnitude = tq_rope_magnitude(hyperparameters);
  record all = {.size = 0};
  add_u32(&all, "layers", hyperparameters->layers);
  add_u32(&all, "dimension", hyperparameters->dimension);
  add_u32(&all, "feed_forward", hyperparameters->feed_forward);
  add_u32(&all, "heads", hyperparameters->heads);
  add_u32(&all, "kv_heads", hyperparameters->kv_heads);
  add_u32(&all, "head_dimension", hyperparameters->head_dimension);
  add_f32(&all, "norm", &hyperparameters->norm_epsilon, 1);
  add_u32(&all, "gate", hyperparameters->gate == TQ_GATE_SQUARED_RELU);
  add_u32(&all, "sub_norms", hyperparameters->sub_norms);
  add_u32(&all, "streams", 1);
  add_u32(&all, "rope_dimensions", hyperparameters->rope_dimensions);
  add_f32(&all, "rope_base", &hyperparameters->rope_base, 1);
  add_f32(&all, "rope_magnitude", &magnitude, 1);
  add_f32(&all, "rope_factors", rope_factors, pairs);
  if (hyperparameters->qk_norms) add_u32(&all, "qk_norms", 1);
  if (hyperparameters->rotated) add_digest(&all, "rotation", hyperparameters->rotation_digest);
  tq_hash hash;
  tq_hash_bytes(TQ_HASH_XXH3_128, all.bytes, all.size, &hash);
  memcpy(digest, hash.bytes, TQ_DIGEST_SIZE);
}
