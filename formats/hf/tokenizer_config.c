/* The small files beside tokenizer.json. */
#include "formats/hf/tokenizer.h"

#include <string.h>

static const struct {
  tq_special_token which;
  const char *key;
  bool everywhere; /* a key of special_tokens_map.json too */
} specials[] = {
    {TQ_SPECIAL_BOS, "bos_token", true},          {TQ_SPECIAL_EOS, "eos_token", true},
    {TQ_SPECIAL_UNKNOWN, "unk_token", true},      {TQ_SPECIAL_SEPARATOR, "sep_token", true},
    {TQ_SPECIAL_PADDING, "pad_token", true},      {TQ_SPECIAL_MASK, "mask_token", true},
    {TQ_SPECIAL_END_OF_TURN, "eot_token", false},
};

static tq_status set(json_t *object, const char *key, json_t *value, tq_error *error) {
  if (json_object_set_new(object, key, value) == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
}

static tq_status set_specials(const tq_tokenizer *tokenizer, bool map, json_t *json, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < sizeof specials / sizeof specials[0]; i++) {
    int64_t id = tq_tokenizer_special(tokenizer, specials[i].which);
    tq_token_type type;
    float score;
    if (id < 0 || (map && !specials[i].everywhere)) continue;
    tq_string text = tq_tokenizer_token(tokenizer, (uint32_t)id, &type, &score);
    status = set(json, specials[i].key, json_stringn(text.data, text.size), error);
  }
  return status;
}

/* Gives up the object when it could not be filled. */
static tq_status keep(tq_status status, json_t **json) {
  if (!status) return TQ_OK;
  json_decref(*json);
  *json = NULL;
  return status;
}

tq_status tq_special_tokens_write(const tq_tokenizer *tokenizer, json_t **json, tq_error *error) {
  *json = json_object();
  return keep(set_specials(tokenizer, true, *json, error), json);
}

/* The class is the one that does what tokenizer.json says and nothing of its own. */
tq_status tq_tokenizer_config_write(const tq_tokenizer *tokenizer, uint64_t context, json_t **json, tq_error *error) {
  tq_string template = tq_tokenizer_chat_template(tokenizer);
  bool bos = tq_tokenizer_adds_bos(tokenizer), eos = tq_tokenizer_adds_eos(tokenizer);
  if (!tq_is_utf8(template.data, template.size) || memchr(template.data ? template.data : "", 0, template.size)) {
    return tq_fail(error, TQ_ERROR_REFUSED, "the chat template cannot be text in a JSON file");
  }
  *json = json_object();
  tq_status status = set(*json, "tokenizer_class", json_string("PreTrainedTokenizerFast"), error);
  if (!status) status = set_specials(tokenizer, false, *json, error);
  if (!status) status = set(*json, "add_bos_token", json_boolean(bos), error);
  if (!status) status = set(*json, "add_eos_token", json_boolean(eos), error);
  if (!status) {
    bool cleans = tq_tokenizer_cleans_up_spaces(tokenizer);
    status = set(*json, "clean_up_tokenization_spaces", json_boolean(cleans), error);
  }
  if (!status && tq_tokenizer_get_kind(tokenizer) == TQ_TOKENIZER_SENTENCEPIECE) {
    bool prefix = tq_tokenizer_adds_space_prefix(tokenizer);
    status = set(*json, "add_prefix_space", json_boolean(prefix), error);
  }
  if (!status && context) status = set(*json, "model_max_length", json_integer((json_int_t)context), error);
  if (!status && template.size) {
    status = set(*json, "chat_template", json_stringn(template.data, template.size), error);
  }
  return keep(status, json);
}

/* Generation ends at the end of the text and at the end of a turn. */
static json_t *end_ids(int64_t eos, int64_t turn) {
  if (turn < 0 || turn == eos) return json_integer(eos);
  return json_pack("[I, I]", (json_int_t)eos, (json_int_t)turn);
}

tq_status tq_generation_config_write(const tq_tokenizer *tokenizer, json_t **json, tq_error *error) {
  int64_t bos = tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), eos = tq_tokenizer_special(tokenizer, TQ_SPECIAL_EOS);
  int64_t padding = tq_tokenizer_special(tokenizer, TQ_SPECIAL_PADDING);
  int64_t turn = tq_tokenizer_special(tokenizer, TQ_SPECIAL_END_OF_TURN);
  *json = json_object();
  tq_status status = TQ_OK;
  if (bos >= 0) status = set(*json, "bos_token_id", json_integer(bos), error);
  if (!status && eos >= 0) status = set(*json, "eos_token_id", end_ids(eos, turn), error);
  if (!status && padding >= 0) status = set(*json, "pad_token_id", json_integer(padding), error);
  return keep(status, json);
}
