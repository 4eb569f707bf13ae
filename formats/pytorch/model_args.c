#include "formats/pytorch/model_args.h"

#include "base/text.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef enum argument_kind {
  COUNT,    /* required, a whole number above 0 */
  KV_HEADS, /* the same, or None: as many as heads */
  REAL,     /* optional, a number above 0 */
  IGNORED,  /* says nothing that the tensors do not say, or nothing about the function */
  DERIVED   /* no argument: it follows from the others */
} argument_kind;

static const struct {
  const char *name;
  argument_kind kind;
  size_t field;
  const char *key; /* GGUF's */
} known[] = {
    {"vocab_size", IGNORED, offsetof(tq_model_args, vocabulary), "llama.vocab_size"},
    {"max_seq_len", COUNT, offsetof(tq_model_args, context), "llama.context_length"},
    {"dim", COUNT, offsetof(tq_model_args, dimension), "llama.embedding_length"},
    {"n_layers", COUNT, offsetof(tq_model_args, layers), "llama.block_count"},
    {"hidden_dim", IGNORED, offsetof(tq_model_args, feed_forward), "llama.feed_forward_length"},
    {"n_heads", COUNT, offsetof(tq_model_args, heads), "llama.attention.head_count"},
    {"n_kv_heads", KV_HEADS, offsetof(tq_model_args, kv_heads), "llama.attention.head_count_kv"},
    {"", DERIVED, offsetof(tq_model_args, rope_dimensions), "llama.rope.dimension_count"},
    {"norm_eps", REAL, offsetof(tq_model_args, norm_epsilon), "llama.attention.layer_norm_rms_epsilon"},
    {"rope_theta", REAL, offsetof(tq_model_args, rope_base), "llama.rope.freq_base"},
    {"multiple_of", IGNORED, 0, NULL},
    {"ffn_dim_multiplier", IGNORED, 0, NULL},
    {"max_batch_size", IGNORED, 0, NULL},
    {"dropout", IGNORED, 0, NULL},
};
enum { KNOWN = sizeof known / sizeof known[0] };

static tq_status bad(const tq_state *state, const char *name, const char *reason, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: model_args: %s %s", state->name, name, reason);
}

static uint32_t *count_field(tq_model_args *arguments, size_t field) {
  return (uint32_t *)(void *)((char *)arguments + field);
}

static float *real_field(tq_model_args *arguments, size_t field) {
  return (float *)(void *)((char *)arguments + field);
}

static tq_status read_count(const tq_state *state, size_t index, const tq_pickle_node *value, tq_model_args *arguments,
                            tq_error *error) {
  bool is_none = !value || value->kind == TQ_PICKLE_NONE;
  if (is_none && known[index].kind == KV_HEADS) return TQ_OK;
  if (is_none) return bad(state, known[index].name, "is missing", error);
  if (value->kind != TQ_PICKLE_INTEGER || value->is.integer < 1 || value->is.integer > INT32_MAX)
    return bad(state, known[index].name, "is no whole number above 0", error);
  *count_field(arguments, known[index].field) = (uint32_t)value->is.integer;
  return TQ_OK;
}

static tq_status read_real(const tq_state *state, size_t index, const tq_pickle_node *value, tq_model_args *arguments,
                           tq_error *error) {
  if (!value || value->kind == TQ_PICKLE_NONE) return TQ_OK;
  double number = value->kind == TQ_PICKLE_REAL      ? value->is.real
                  : value->kind == TQ_PICKLE_INTEGER ? (double)value->is.integer
                                                     : 0;
  if (!(isfinite(number) && (float)number > 0)) return bad(state, known[index].name, "is no number above 0", error);
  *real_field(arguments, known[index].field) = (float)number;
  return TQ_OK;
}

static bool is_known(const tq_state *state, const tq_pickle_node *key) {
  for (size_t i = 0; i < KNOWN; i++) {
    if (known[i].kind != DERIVED && tq_pickle_text_is(&state->pickle, key, known[i].name)) return true;
  }
  return false;
}

/* An argument that is switched off changes nothing, whatever it means. */
static bool is_off(const tq_pickle_node *value) {
  return value->kind == TQ_PICKLE_NONE || (value->kind == TQ_PICKLE_BOOL && !value->is.integer);
}

static tq_status check_unknown(const tq_state *state, const tq_pickle_node *dict, tq_error *error) {
  const tq_pickle_node *key, *value;
  uint32_t cursor = dict->first;
  while (tq_pickle_next(&state->pickle, &cursor, &key, &value)) {
    if (is_known(state, key) || is_off(value)) continue;
    char name[80] = "?";
    if (key->kind == TQ_PICKLE_TEXT) {
      tq_string text = tq_pickle_text(&state->pickle, key);
      tq_printable(text.data, text.size, name, sizeof name);
    }
    return bad(state, name, "is not understood", error);
  }
  return TQ_OK;
}

/* A dimension that a tensor must have. */
static tq_status measure(const tq_state *state, const char *name, uint32_t *size, tq_error *error) {
  const tq_pickle_node *tensor = tq_state_find_tensor(state, name);
  uint64_t rows = tensor ? tq_state_dimension(state, tensor, 0) : 0;
  if (rows < 1 || rows > INT32_MAX) return bad(state, name, "is missing, or no matrix", error);
  *size = (uint32_t)rows;
  return TQ_OK;
}

static tq_status check_heads(const tq_state *state, tq_model_args *arguments, tq_error *error) {
  uint32_t heads = arguments->heads;
  if (arguments->dimension % heads || (arguments->dimension / heads) % 2)
    return bad(state, "n_heads", "does not cut dim into heads of pairs", error);
  if (heads % arguments->kv_heads) return bad(state, "n_kv_heads", "does not divide n_heads", error);
  arguments->rope_dimensions = arguments->dimension / heads;
  return TQ_OK;
}

tq_status tq_model_args_read(const tq_state *state, tq_model_args *arguments, tq_error *error) {
  const tq_pickle_node *dict = tq_pickle_find(&state->pickle, state->root, "model_args");
  if (!dict || dict->kind != TQ_PICKLE_DICT)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: names of Meta's without \"model_args\", which say how many heads there are", state->name);
  *arguments = (tq_model_args){.norm_epsilon = 1e-5f, .rope_base = 10000.0f};
  tq_status status = check_unknown(state, dict, error);
  for (size_t i = 0; status == TQ_OK && i < KNOWN; i++) {
    const tq_pickle_node *value = tq_pickle_find(&state->pickle, dict, known[i].name);
    if (known[i].kind == COUNT || known[i].kind == KV_HEADS)
      status = read_count(state, i, value, arguments, error);
    else if (known[i].kind == REAL)
      status = read_real(state, i, value, arguments, error);
  }
  if (!arguments->kv_heads) arguments->kv_heads = arguments->heads;
  if (status == TQ_OK) status = measure(state, "tok_embeddings.weight", &arguments->vocabulary, error);
  if (status == TQ_OK) status = measure(state, "layers.0.feed_forward.w1.weight", &arguments->feed_forward, error);
  return status == TQ_OK ? check_heads(state, arguments, error) : status;
}

tq_status tq_model_args_describe(const tq_model_args *arguments, tq_metadata_builder *builder, tq_error *error) {
  tq_model_args copy = *arguments;
  tq_status status = tq_metadata_add_string(builder, "general.architecture", "llama", 5, error);
  for (size_t i = 0; status == TQ_OK && i < KNOWN; i++) {
    if (!known[i].key) continue;
    status = known[i].kind == REAL
                 ? tq_metadata_add_f32(builder, known[i].key, *real_field(&copy, known[i].field), error)
                 : tq_metadata_add_u32(builder, known[i].key, *count_field(&copy, known[i].field), error);
  }
  return status;
}
