/* Which properties tell two functions or two tokenizers apart. */
#include "base/text.h"
#include "tools/inspect_compare.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

compare_key *compare_add_key(comparison *result, const char *name) {
  if (result->key_count == COMPARE_KEYS) return NULL;
  compare_key *key = &result->keys[result->key_count++];
  snprintf(key->name, sizeof key->name, "%s", name);
  return key;
}

static void add_text(comparison *result, const char *name, const char *first, const char *second) {
  compare_key *key = strcmp(first, second) != 0 ? compare_add_key(result, name) : NULL;
  if (!key) return;
  tq_printable(first, strlen(first), key->first, sizeof key->first);
  tq_printable(second, strlen(second), key->second, sizeof key->second);
}

static void add_count(comparison *result, const char *name, int64_t first, int64_t second) {
  compare_key *key = first != second ? compare_add_key(result, name) : NULL;
  if (!key) return;
  snprintf(key->first, sizeof key->first, "%lld", (long long)first);
  snprintf(key->second, sizeof key->second, "%lld", (long long)second);
}

static void add_real(comparison *result, const char *name, double first, double second) {
  compare_key *key = first != second ? compare_add_key(result, name) : NULL;
  if (!key) return;
  snprintf(key->first, sizeof key->first, "%.9g", first);
  snprintf(key->second, sizeof key->second, "%.9g", second);
}

/* ---- functions ---- */

typedef enum field_kind { COUNT_FIELD, REAL_FIELD, FLAG_FIELD } field_kind;

static const struct {
  const char *name;
  size_t offset;
  field_kind kind;
} fields[] = {
    {"layers", offsetof(tq_hyperparameters, layers), COUNT_FIELD},
    {"dimension", offsetof(tq_hyperparameters, dimension), COUNT_FIELD},
    {"feed-forward", offsetof(tq_hyperparameters, feed_forward), COUNT_FIELD},
    {"heads", offsetof(tq_hyperparameters, heads), COUNT_FIELD},
    {"heads for keys and values", offsetof(tq_hyperparameters, kv_heads), COUNT_FIELD},
    {"head dimension", offsetof(tq_hyperparameters, head_dimension), COUNT_FIELD},
    {"norm epsilon", offsetof(tq_hyperparameters, norm_epsilon), REAL_FIELD},
    {"sub-norms", offsetof(tq_hyperparameters, sub_norms), FLAG_FIELD},
    {"norms of q and k heads", offsetof(tq_hyperparameters, qk_norms), FLAG_FIELD},
    {"rotated inputs", offsetof(tq_hyperparameters, rotated), FLAG_FIELD},
    {"RoPE dimensions", offsetof(tq_hyperparameters, rope_dimensions), COUNT_FIELD},
    {"RoPE base", offsetof(tq_hyperparameters, rope_base), REAL_FIELD},
    {"RoPE scaling factor", offsetof(tq_hyperparameters, rope_factor), REAL_FIELD},
};

static void compare_field(comparison *result, size_t i) {
  const char *a = (const char *)&result->first->hyperparameters + fields[i].offset;
  const char *b = (const char *)&result->second->hyperparameters + fields[i].offset;
  switch (fields[i].kind) {
  case COUNT_FIELD:
    add_count(result, fields[i].name, *(const uint32_t *)(const void *)a, *(const uint32_t *)(const void *)b);
    return;
  case REAL_FIELD:
    add_real(result, fields[i].name, (double)*(const float *)(const void *)a, (double)*(const float *)(const void *)b);
    return;
  case FLAG_FIELD:
    add_text(result, fields[i].name, *(const bool *)a ? "yes" : "no", *(const bool *)b ? "yes" : "no");
    return;
  }
}

static void compare_hyperparameters(comparison *result) {
  static const char *const gates[] = {[TQ_GATE_SILU] = "SiLU", [TQ_GATE_SQUARED_RELU] = "squared ReLU"};
  const tq_hyperparameters *a = &result->first->hyperparameters, *b = &result->second->hyperparameters;
  size_t before = result->key_count;
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) compare_field(result, i);
  add_text(result, "gate", gates[a->gate], gates[b->gate]);
  if (result->key_count == before) add_text(result, "RoPE factors or rotation", "one", "another");
}

bool compare_has_functions(const comparison *result) {
  return !inspect_digest_is_zero(&result->first->function) && !inspect_digest_is_zero(&result->second->function);
}

tq_status compare_functions(comparison *result, tq_error *error) {
  const inspect_model *a = result->first, *b = result->second;
  bool computed = compare_has_functions(result), same_keys;
  result->function = computed && memcmp(&a->function, &b->function, sizeof a->function) == 0;
  if (result->function) return TQ_OK;
  if (computed && !a->unreadable.status && !b->unreadable.status) {
    compare_hyperparameters(result);
    return TQ_OK;
  }
  tq_status status = compare_raw_functions(result, &same_keys, error);
  if (!status) result->function = !computed && same_keys;
  return status;
}

/* ---- tokenizers ---- */

static void compare_tokens(comparison *result, const tq_tokenizer *a, const tq_tokenizer *b) {
  size_t count = tq_tokenizer_token_count(a);
  char name[64];
  if (tq_tokenizer_token_count(b) < count) count = tq_tokenizer_token_count(b);
  for (uint32_t id = 0; id < count; id++) {
    tq_token_type x_type, y_type;
    float x_score, y_score;
    tq_string x = tq_tokenizer_token(a, id, &x_type, &x_score), y = tq_tokenizer_token(b, id, &y_type, &y_score);
    bool same_text = x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
    if (same_text && x_type == y_type && x_score == y_score) continue;
    snprintf(name, sizeof name, "token %u%s", id, !same_text ? "" : x_type != y_type ? ", type" : ", score");
    compare_key *key = compare_add_key(result, name);
    if (!key) return;
    if (same_text) {
      snprintf(key->first, sizeof key->first, "%g", x_type != y_type ? (double)x_type : (double)x_score);
      snprintf(key->second, sizeof key->second, "%g", x_type != y_type ? (double)y_type : (double)y_score);
      return;
    }
    tq_printable(x.data, x.size, key->first, sizeof key->first);
    tq_printable(y.data, y.size, key->second, sizeof key->second);
    return; /* the first is enough */
  }
}

static void compare_merges(comparison *result, const tq_tokenizer *a, const tq_tokenizer *b) {
  size_t count = tq_tokenizer_merge_count(a);
  if (tq_tokenizer_merge_count(b) < count) count = tq_tokenizer_merge_count(b);
  for (size_t rank = 0; rank < count; rank++) {
    tq_merge x = tq_tokenizer_merge(a, rank), y = tq_tokenizer_merge(b, rank);
    if (x.left == y.left && x.right == y.right) continue;
    compare_key *key = compare_add_key(result, "first merge that differs");
    if (!key) return;
    snprintf(key->first, sizeof key->first, "rank %zu: %u + %u", rank, x.left, x.right);
    snprintf(key->second, sizeof key->second, "rank %zu: %u + %u", rank, y.left, y.right);
    return;
  }
}

void compare_tokenizers(comparison *result) {
  static const char *const specials[TQ_SPECIAL_COUNT] = {[TQ_SPECIAL_BOS] = "BOS",
                                                         [TQ_SPECIAL_EOS] = "EOS",
                                                         [TQ_SPECIAL_UNKNOWN] = "unknown token",
                                                         [TQ_SPECIAL_SEPARATOR] = "separator",
                                                         [TQ_SPECIAL_PADDING] = "padding",
                                                         [TQ_SPECIAL_MASK] = "mask",
                                                         [TQ_SPECIAL_END_OF_TURN] = "end of turn"};
  static const char *const kinds[] = {
      [TQ_TOKENIZER_SENTENCEPIECE] = "SentencePiece", [TQ_TOKENIZER_BYTE_LEVEL] = "byte-level"};
  const tq_tokenizer *a = result->first->tokenizer, *b = result->second->tokenizer;
  if (result->tokenizer) return;
  if (!a || !b) {
    add_text(result, "tokenizer", a ? "present" : "none", b ? "present" : "none");
    return;
  }
  size_t before = result->key_count;
  add_text(result, "tokenizer kind", kinds[tq_tokenizer_get_kind(a)], kinds[tq_tokenizer_get_kind(b)]);
  add_text(result, "pre-tokenizer", tq_tokenizer_pre(a), tq_tokenizer_pre(b));
  add_count(result, "tokens", (int64_t)tq_tokenizer_token_count(a), (int64_t)tq_tokenizer_token_count(b));
  add_count(result, "merges", (int64_t)tq_tokenizer_merge_count(a), (int64_t)tq_tokenizer_merge_count(b));
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) {
    add_count(result, specials[i], tq_tokenizer_special(a, (tq_special_token)i),
              tq_tokenizer_special(b, (tq_special_token)i));
  }
  add_text(result, "adds BOS", tq_tokenizer_adds_bos(a) ? "yes" : "no", tq_tokenizer_adds_bos(b) ? "yes" : "no");
  add_text(result, "adds EOS", tq_tokenizer_adds_eos(a) ? "yes" : "no", tq_tokenizer_adds_eos(b) ? "yes" : "no");
  add_text(result, "space prefix", tq_tokenizer_adds_space_prefix(a) ? "yes" : "no",
           tq_tokenizer_adds_space_prefix(b) ? "yes" : "no");
  compare_tokens(result, a, b);
  compare_merges(result, a, b);
  if (result->key_count == before) add_text(result, "how text is split or normalised", "one way", "another");
}
