/* Hyperparameters from metadata with GGUF's keys. */
#include "base/text.h"
#include "model/architecture.h"
#include "model/function.h"
#include "model/rotation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SIZE = 160 };

/* Reading stops at the first error: later look-ups then change nothing. */
typedef struct reader {
  const tq_metadata *metadata;
  const char *architecture;
  tq_status status;
  tq_error *error;
} reader;

static bool find(reader *from, const char *key, char full[KEY_SIZE], tq_value *value) {
  snprintf(full, KEY_SIZE, "%s.%s", from->architecture, key);
  return from->status == TQ_OK && tq_metadata_find(from->metadata, full, value);
}

static bool is_integer(tq_value_type type) {
  return type <= TQ_VALUE_I32 || type == TQ_VALUE_U64 || type == TQ_VALUE_I64;
}

static bool is_signed(tq_value_type type) {
  return type == TQ_VALUE_I8 || type == TQ_VALUE_I16 || type == TQ_VALUE_I32 || type == TQ_VALUE_I64;
}

/* A whole number from 1 to 2^31 - 1, so that products of two fit 64 bits; *value is left alone when the key is absent.
 */
static bool read_count(reader *from, const char *key, uint32_t *value) {
  char full[KEY_SIZE];
  tq_value found;
  if (!find(from, key, full, &found)) return false;
  bool fits = is_integer(found.type) && (!is_signed(found.type) || found.integer > 0) && found.unsigned_integer >= 1 &&
              found.unsigned_integer <= INT32_MAX;
  if (fits)
    *value = (uint32_t)found.unsigned_integer;
  else
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s is not a whole number from 1 to %d", full, INT32_MAX);
  return fits;
}

static void require_count(reader *from, const char *key, uint32_t *value) {
  if (!read_count(from, key, value) && from->status == TQ_OK)
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s.%s is missing", from->architecture, key);
}

/* A finite number above 0; *value is left alone when the key is absent. */
static bool read_positive(reader *from, const char *key, float *value) {
  char full[KEY_SIZE];
  tq_value found;
  if (!find(from, key, full, &found)) return false;
  float number = (float)tq_metadata_f64(from->metadata, full, 0.0);
  bool fits = isfinite(number) && number > 0.0f;
  if (fits)
    *value = number;
  else
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s is not a finite number above 0", full);
  return fits;
}

/* A key that would change what the model computes in a way that is not implemented, unless it has its neutral value. */
static void refuse_unless(reader *from, const char *key, double neutral, const char *what) {
  char full[KEY_SIZE];
  tq_value found;
  if (!find(from, key, full, &found) || tq_metadata_f64(from->metadata, full, NAN) == neutral) return;
  from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: %s is not understood", full, what);
}

static void read_architecture(reader *from, tq_hyperparameters *hyperparameters) {
  tq_string name = tq_metadata_string(from->metadata, "general.architecture");
  char printable[80];
  if (!name.data) {
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "general.architecture is missing");
    return;
  }
  if (name.size < sizeof hyperparameters->architecture && !memchr(name.data, 0, name.size))
    memcpy(hyperparameters->architecture, name.data, name.size);
  const tq_architecture *architecture = tq_architecture_find(hyperparameters->architecture);
  if (!architecture) {
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "unknown architecture \"%s\"",
                           tq_printable(name.data, name.size, printable, sizeof printable));
    return;
  }
  if (architecture->refusal) {
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "architecture %s cannot be run: %s", architecture->name,
                           architecture->refusal);
    return;
  }
  from->architecture = architecture->name;
  hyperparameters->gate = architecture->gate;
  hyperparameters->sub_norms = architecture->sub_norms;
  hyperparameters->qk_norms = architecture->qk_norms;
}

static void read_shape(reader *from, tq_hyperparameters *hyperparameters) {
  require_count(from, "block_count", &hyperparameters->layers);
  require_count(from, "embedding_length", &hyperparameters->dimension);
  require_count(from, "feed_forward_length", &hyperparameters->feed_forward);
  require_count(from, "attention.head_count", &hyperparameters->heads);
  require_count(from, "context_length", &hyperparameters->context);
  hyperparameters->kv_heads = hyperparameters->heads;
  read_count(from, "attention.head_count_kv", &hyperparameters->kv_heads);
  if (from->status) return;
  if (hyperparameters->heads % hyperparameters->kv_heads != 0) {
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%u attention heads cannot share %u key heads evenly",
                           hyperparameters->heads, hyperparameters->kv_heads);
    return;
  }
  if (!read_count(from, "attention.key_length", &hyperparameters->head_dimension) && from->status == TQ_OK) {
    hyperparameters->head_dimension = hyperparameters->dimension / hyperparameters->heads;
    if (hyperparameters->dimension % hyperparameters->heads != 0)
      from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%u attention heads do not divide the dimension %u",
                             hyperparameters->heads, hyperparameters->dimension);
  }
  uint32_t value_length = hyperparameters->head_dimension;
  read_count(from, "attention.value_length", &value_length);
  if (from->status == TQ_OK && value_length != hyperparameters->head_dimension)
    from->status =
        tq_fail(from->error, TQ_ERROR_CORRUPT, "keys of length %u with values of length %u are not understood",
                hyperparameters->head_dimension, value_length);
  if (from->status == TQ_OK && hyperparameters->head_dimension > TQ_MOST_HEAD_DIMENSION)
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "a head dimension of %u is above the limit of %d",
                           hyperparameters->head_dimension, TQ_MOST_HEAD_DIMENSION);
}

/* Files that do not state the size list the tokens; where there is neither, it is left 0 and the embedding decides. */
static void read_vocabulary(reader *from, tq_hyperparameters *hyperparameters) {
  tq_value tokens;
  if (read_count(from, "vocab_size", &hyperparameters->vocabulary) || from->status) return;
  if (tq_metadata_find(from->metadata, "tokenizer.ggml.tokens", &tokens) && tokens.type == TQ_VALUE_ARRAY &&
      tokens.item_count <= INT32_MAX)
    hyperparameters->vocabulary = (uint32_t)tokens.item_count;
}

static bool scaling_type(reader *from, bool has_factor, tq_rope_scaling *scaling) {
  static const struct {
    const char *name;
    tq_rope_scaling scaling;
  } types[] = {{"none", TQ_ROPE_NONE}, {"linear", TQ_ROPE_LINEAR}, {"llama3", TQ_ROPE_LLAMA3}, {"yarn", TQ_ROPE_YARN}};
  char full[KEY_SIZE], printable[64];
  tq_value found;
  if (!find(from, "rope.scaling.type", full, &found)) {
    *scaling = has_factor ? TQ_ROPE_LINEAR : TQ_ROPE_NONE;
    return from->status == TQ_OK;
  }
  tq_string name = found.type == TQ_VALUE_STRING ? found.string : (tq_string){"", 0};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    if (name.size != strlen(types[i].name) || memcmp(name.data, types[i].name, name.size) != 0) continue;
    *scaling = types[i].scaling;
    return true;
  }
  from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: RoPE scaling \"%s\" is not understood", full,
                         tq_printable(name.data, name.size, printable, sizeof printable));
  return false;
}

/* llama.cpp's two keys: "attn_factor" multiplies what YaRN computes, "yarn_attn_factor" (its converter's name for
 * Hugging Face's attention_factor) replaces it. */
static void read_yarn(reader *from, tq_hyperparameters *hyperparameters) {
  hyperparameters->rope_beta_fast = 32.0f;
  hyperparameters->rope_beta_slow = 1.0f;
  read_positive(from, "rope.scaling.yarn_beta_fast", &hyperparameters->rope_beta_fast);
  read_positive(from, "rope.scaling.yarn_beta_slow", &hyperparameters->rope_beta_slow);
  refuse_unless(from, "rope.scaling.yarn_ext_factor", 1.0, "another extrapolation factor than 1");
  refuse_unless(from, "rope.scaling.yarn_log_multiplier", 0.0, "a YaRN multiplier");
  float factor = 1.0f;
  bool whole = read_positive(from, "rope.scaling.yarn_attn_factor", &hyperparameters->rope_attention_factor);
  if (!read_positive(from, "rope.scaling.attn_factor", &factor) || factor == 1.0f) return;
  float base = whole ? hyperparameters->rope_attention_factor : tq_yarn_attention_factor(hyperparameters->rope_factor);
  hyperparameters->rope_attention_factor = base * factor;
}

static void read_rope(reader *from, tq_hyperparameters *hyperparameters) {
  hyperparameters->rope_dimensions = hyperparameters->head_dimension;
  hyperparameters->rope_base = 10000.0f;
  hyperparameters->rope_factor = 1.0f;
  hyperparameters->rope_original_context = hyperparameters->context;
  hyperparameters->rope_low_frequency_factor = 1.0f;
  hyperparameters->rope_high_frequency_factor = 4.0f;
  read_count(from, "rope.dimension_count", &hyperparameters->rope_dimensions);
  read_positive(from, "rope.freq_base", &hyperparameters->rope_base);
  if (from->status == TQ_OK && hyperparameters->rope_base <= 1.0f)
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "%s.rope.freq_base is not above 1", from->architecture);
  if (from->status == TQ_OK &&
      (hyperparameters->rope_dimensions % 2 != 0 || hyperparameters->rope_dimensions > hyperparameters->head_dimension))
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT, "RoPE over %u dimensions of heads of %u is impossible",
                           hyperparameters->rope_dimensions, hyperparameters->head_dimension);
  bool has_factor = read_positive(from, "rope.scaling.factor", &hyperparameters->rope_factor) ||
                    read_positive(from, "rope.scale_linear", &hyperparameters->rope_factor);
  if (!scaling_type(from, has_factor, &hyperparameters->rope_scaling)) return;
  read_count(from, "rope.scaling.original_context_length", &hyperparameters->rope_original_context);
  if (hyperparameters->rope_scaling == TQ_ROPE_NONE) hyperparameters->rope_factor = 1.0f;
  if (hyperparameters->rope_scaling == TQ_ROPE_YARN) read_yarn(from, hyperparameters);
  if (hyperparameters->rope_scaling != TQ_ROPE_LLAMA3) return;
  read_positive(from, "rope.scaling.low_freq_factor", &hyperparameters->rope_low_frequency_factor);
  read_positive(from, "rope.scaling.high_freq_factor", &hyperparameters->rope_high_frequency_factor);
  if (from->status == TQ_OK &&
      hyperparameters->rope_low_frequency_factor >= hyperparameters->rope_high_frequency_factor)
    from->status = tq_fail(from->error, TQ_ERROR_CORRUPT,
                           "%s.rope.scaling: low_freq_factor is not below high_freq_factor", from->architecture);
}

static void read_rotation(reader *from, tq_hyperparameters *hyperparameters) {
  tq_rotation_keys keys;
  if (from->status) return;
  from->status = tq_rotation_read(from->metadata, &keys, from->error);
  hyperparameters->rotated = keys.block != 0;
  if (!from->status && hyperparameters->rotated)
    from->status = tq_rotation_digest(&keys, hyperparameters->rotation_digest, from->error);
  tq_rotation_free(&keys);
}

tq_status tq_hyperparameters_read(const tq_metadata *metadata, tq_hyperparameters *hyperparameters, tq_error *error) {
  reader from = {.metadata = metadata, .architecture = "", .error = error};
  *hyperparameters = (tq_hyperparameters){0};
  read_architecture(&from, hyperparameters);
  read_shape(&from, hyperparameters);
  read_vocabulary(&from, hyperparameters);
  if (!read_positive(&from, "attention.layer_norm_rms_epsilon", &hyperparameters->norm_epsilon) && from.status == TQ_OK)
    from.status = tq_fail(error, TQ_ERROR_CORRUPT, "%s.attention.layer_norm_rms_epsilon is missing", from.architecture);
  read_rope(&from, hyperparameters);
  refuse_unless(&from, "expert_count", 0.0, "a mixture of experts");
  read_rotation(&from, hyperparameters);
  return from.status;
}
