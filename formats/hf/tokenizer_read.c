/* The tokenizer of a folder: tokenizer.json or tokenizer.model, with what the small files beside them add. */
#include "base/memory.h"
#include "formats/hf/hf.h"
#include "formats/hf/tokenizer.h"

#include <stdio.h>
#include <string.h>

/* Everything that is read, kept until the section is made of it. */
typedef struct sources {
  tq_checkpoint *checkpoint;
  const json_t *config; /* config.json; may be NULL */
  json_t *tokenizer_config, *special_tokens, *added_tokens, *generation;
  json_t *template_file; /* chat_template.json */
  char *template_text;   /* chat_template.jinja */
  size_t template_size;
  char *json_path, *model_path; /* of tokenizer.json and tokenizer.model, for messages */
  char *model;                  /* tokenizer.model */
  size_t model_size;
  tq_vocabulary_tables model_tables;
  tq_tokenizer_json json;
  char *texts; /* of tokens added to a tokenizer.model */
  char reason[TQ_REASON_SIZE];
  tq_error *error;
} sources;

static void free_sources(sources *from) {
  tq_tokenizer_json_free(&from->json);
  tq_vocabulary_tables_free(&from->model_tables);
  json_decref(from->tokenizer_config);
  json_decref(from->special_tokens);
  json_decref(from->added_tokens);
  json_decref(from->generation);
  json_decref(from->template_file);
  tq_free(from->template_text);
  tq_free(from->model);
  tq_free(from->model_path);
  tq_free(from->json_path);
  tq_free(from->texts);
}

/* ---- loading ---- */

/* Files of settings have a few kilobytes, with a chat template some tens of them; the one with the most added tokens
 * that is known has 1.2 MB. */
enum { SETTINGS_LIMIT = 4 << 20 };

/* What is held of a tokenizer.json or tokenizer.model that an archive expands to: the largest that the budget for JSON
 * lets through. */
enum { EXPANDED_LIMIT = TQ_JSON_BUDGET };

/* *text is NULL when there is no such file. */
static tq_status load_text(tq_folder *folder, const char *name, size_t limit, char **text, size_t *size,
                           tq_error *error) {
  tq_input *input;
  *text = NULL;
  tq_status status = tq_folder_input(folder, name, &input, error);
  if (status || !input) return status;
  status = tq_input_read_all(input, limit, text, size, error);
  tq_input_close(input);
  return status;
}

static size_t tokenizer_limit(const tq_folder *folder) {
  return tq_folder_is_archive(folder) ? EXPANDED_LIMIT : TQ_TOKENIZER_JSON_LIMIT;
}

tq_status tq_hf_load(tq_folder *folder, const char *name, size_t limit, json_t **json, tq_error *error) {
  char *text;
  size_t size = 0;
  *json = NULL;
  tq_status status = load_text(folder, name, limit, &text, &size, error);
  if (status || !text) return status;
  char *place = tq_format_string(error, "%s/%s", tq_folder_name(folder), name);
  status = place ? tq_json_parse(place, text, size, json, error) : TQ_ERROR_SYSTEM;
  tq_free(place);
  tq_free(text);
  return status;
}

static tq_status load_settings(const sources *from, const char *name, json_t **json) {
  return tq_hf_load(from->checkpoint->folder, name, SETTINGS_LIMIT, json, from->error);
}

static tq_status load_small_files(sources *from) {
  tq_folder *folder = from->checkpoint->folder;
  tq_status status = load_settings(from, "tokenizer_config.json", &from->tokenizer_config);
  if (!status) status = load_settings(from, "special_tokens_map.json", &from->special_tokens);
  if (!status) status = load_settings(from, "added_tokens.json", &from->added_tokens);
  if (!status) status = load_settings(from, "generation_config.json", &from->generation);
  if (!status) status = load_settings(from, "chat_template.json", &from->template_file);
  if (!status) {
    status = load_text(folder, "chat_template.jinja", SETTINGS_LIMIT, &from->template_text, &from->template_size,
                       from->error);
  }
  return status;
}

/* A tokenizer.model that is whole but not understood is remembered as a reason, for tokenizer.json may do without it.
 */
static tq_status load_model(sources *from, bool *usable) {
  tq_folder *folder = from->checkpoint->folder;
  tq_status status =
      load_text(folder, "tokenizer.model", tokenizer_limit(folder), &from->model, &from->model_size, from->error);
  *usable = false;
  if (status || !from->model) return status;
  from->model_path = tq_format_string(from->error, "%s/tokenizer.model", tq_folder_name(folder));
  if (!from->model_path) return TQ_ERROR_SYSTEM;
  tq_error problem = {0};
  status = tq_tokenizer_file_read(from->model_path, from->model, from->model_size, &from->model_tables, &problem);
  *usable = status == TQ_OK;
  if (status && from->model_tables.foreign) {
    size_t path = strlen(from->model_path);
    bool named = strncmp(problem.message, from->model_path, path) == 0;
    snprintf(from->reason, sizeof from->reason, "tokenizer.model%.*s", (int)sizeof from->reason - 16,
             named ? problem.message + path : " is not understood");
    return TQ_OK;
  }
  return status ? tq_fail(from->error, status, "%s", problem.message) : TQ_OK;
}

/* Rows of the embedding: there is an id for each. */
static uint64_t embedding_rows(const tq_checkpoint *checkpoint) {
  size_t index = tq_checkpoint_find_role(checkpoint, "embedding");
  return index == SIZE_MAX ? 0 : checkpoint->tensors[index].shape[0];
}

/* ---- a tokenizer.model without tokenizer.json ---- */

enum { PADDING_SIZE = 24 };

/* Calls `visit` for each token that added_tokens.json or added_tokens_decoder names. */
static tq_status each_added(sources *from, uint64_t most,
                            tq_status (*visit)(sources *from, uint64_t id, const char *text, uint8_t type)) {
  const char *key;
  json_t *value;
  tq_status status = TQ_OK;
  json_object_foreach(from->added_tokens, key, value) {
    uint64_t id = json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value) : most;
    if (id >= most) {
      return tq_fail(from->error, TQ_ERROR_CORRUPT,
                     "%s/added_tokens.json: '%s': its id is not a whole number below %llu",
                     tq_folder_name(from->checkpoint->folder), key, (unsigned long long)most);
    }
    if (!status) status = visit(from, id, key, TQ_TOKEN_USER_DEFINED);
  }
  json_object_foreach(json_object_get(from->tokenizer_config, "added_tokens_decoder"), key, value) {
    char end;
    unsigned long long id;
    const char *text = json_string_value(json_object_get(value, "content"));
    bool special = json_is_true(json_object_get(value, "special"));
    if (sscanf(key, "%20llu%c", &id, &end) != 1 || id >= most || !text) {
      return tq_fail(from->error, TQ_ERROR_CORRUPT,
                     "%s/tokenizer_config.json: added_tokens_decoder: '%s' is not an id below %llu with its content",
                     tq_folder_name(from->checkpoint->folder), key, (unsigned long long)most);
    }
    if (!status) status = visit(from, id, text, special ? TQ_TOKEN_CONTROL : TQ_TOKEN_USER_DEFINED);
  }
  return status;
}

static tq_status count_added(sources *from, uint64_t id, const char *text, uint8_t type) {
  (void)text;
  (void)type;
  size_t *count = &from->model_tables.vocabulary.token_count;
  if (id >= *count) *count = (size_t)id + 1;
  return TQ_OK;
}

/* The model's own types say more than "added" does, but for a normal token that is special here. */
static tq_status place_added(sources *from, uint64_t id, const char *text, uint8_t type) {
  tq_vocabulary_tables *tables = &from->model_tables;
  tq_string *token = &tables->tokens[id];
  size_t size = strlen(text);
  bool same = token->data && token->size == size && memcmp(token->data, text, size) == 0;
  if (same && tables->types[id] != TQ_TOKEN_NORMAL && tables->types[id] != TQ_TOKEN_USER_DEFINED) return TQ_OK;
  tables->types[id] = type;
  if (same) return TQ_OK;
  *token = (tq_string){text, size};
  if (tables->scores) tables->scores[id] = -1000.0f;
  return TQ_OK;
}

static tq_status resize(void **array, size_t count, size_t size, tq_error *error) {
  void *grown = tq_reallocate(*array, count, size, error);
  if (!grown) return TQ_ERROR_SYSTEM;
  *array = grown;
  return TQ_OK;
}

/* Room for ids up to `count`; those that nothing names become unused tokens, as in tokenizer_json.c. */
static tq_status extend_tables(sources *from, size_t old, size_t count) {
  tq_vocabulary_tables *tables = &from->model_tables;
  void *tokens = tables->tokens, *types = tables->types, *scores = tables->scores;
  tq_status status = resize(&tokens, count, sizeof *tables->tokens, from->error);
  tables->tokens = tokens;
  if (!status) status = resize(&types, count, sizeof *tables->types, from->error);
  tables->types = types;
  if (!status && scores) status = resize(&scores, count, sizeof *tables->scores, from->error);
  tables->scores = scores;
  if (!status) from->texts = tq_allocate(count - old, PADDING_SIZE, from->error);
  if (status || !from->texts) return TQ_ERROR_SYSTEM;
  for (size_t id = old; id < count; id++) {
    char *text = from->texts + (id - old) * PADDING_SIZE;
    int size = snprintf(text, PADDING_SIZE, "[PAD%zu]", id);
    tables->tokens[id] = (tq_string){text, (size_t)size};
    tables->types[id] = TQ_TOKEN_UNUSED;
    if (tables->scores) tables->scores[id] = -10000.0f;
  }
  tables->vocabulary.tokens = tables->tokens;
  tables->vocabulary.types = tables->types;
  tables->vocabulary.scores = tables->scores;
  return TQ_OK;
}

/* Ids beyond the model's are bounded by what the files or the embedding justify. */
static tq_status extend_model(sources *from) {
  tq_vocabulary *vocabulary = &from->model_tables.vocabulary;
  size_t old = vocabulary->token_count;
  uint64_t rows = embedding_rows(from->checkpoint);
  uint64_t entries = old + json_object_size(from->added_tokens) +
                     json_object_size(json_object_get(from->tokenizer_config, "added_tokens_decoder"));
  uint64_t most = (rows > entries ? rows : entries) + 65536;
  tq_status status = each_added(from, most, count_added);
  if (status) return status;
  if (rows > vocabulary->token_count) vocabulary->token_count = (size_t)rows;
  if (vocabulary->token_count > old) status = extend_tables(from, old, vocabulary->token_count);
  if (!status) status = each_added(from, most, place_added);
  const json_t *prefix = json_object_get(from->tokenizer_config, "add_prefix_space");
  if (json_is_false(prefix)) vocabulary->add_space_prefix = false;
  if (vocabulary->kind == TQ_TOKENIZER_SENTENCEPIECE) vocabulary->add_bos = true;
  return status;
}

/* ---- special tokens ---- */

static const struct {
  tq_special_token which;
  const char *key, *id_key;
} specials[] = {
    {TQ_SPECIAL_BOS, "bos_token", "bos_token_id"},     {TQ_SPECIAL_EOS, "eos_token", "eos_token_id"},
    {TQ_SPECIAL_UNKNOWN, "unk_token", NULL},           {TQ_SPECIAL_SEPARATOR, "sep_token", "sep_token_id"},
    {TQ_SPECIAL_PADDING, "pad_token", "pad_token_id"}, {TQ_SPECIAL_MASK, "mask_token", NULL},
    {TQ_SPECIAL_END_OF_TURN, "eot_token", NULL},
};

/* A token is given as its text, or as an object with it. */
static const char *token_text(const json_t *json) {
  if (json_is_object(json)) json = json_object_get(json, "content");
  return json_string_value(json);
}

static int64_t find_token(const tq_vocabulary *vocabulary, const char *text) {
  size_t size = strlen(text);
  for (size_t i = vocabulary->token_count; i-- > 0;) {
    if (vocabulary->tokens[i].size == size && memcmp(vocabulary->tokens[i].data, text, size) == 0) return (int64_t)i;
  }
  return -1;
}

/* An id, or the first of a list of ids; -1, in 64 or 32 bits, is none. */
static tq_status read_id(const sources *from, const char *file, const json_t *object, const char *key,
                         const tq_vocabulary *vocabulary, int64_t *id) {
  const json_t *json = json_object_get(object, key);
  if (json_is_array(json)) json = json_array_get(json, 0);
  int64_t number = json_is_integer(json) ? json_integer_value(json) : -1;
  if (number == -1 || number == UINT32_MAX) return TQ_OK;
  if (number < 0 || (uint64_t)number >= vocabulary->token_count) {
    return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s/%s: %s: %lld is not one of the %zu tokens",
                   tq_folder_name(from->checkpoint->folder), file, key, (long long)number, vocabulary->token_count);
  }
  *id = number;
  return TQ_OK;
}

/* Texts in the tokenizer's own files come before ids in the model's. */
static tq_status read_special(const sources *from, size_t row, tq_vocabulary *vocabulary) {
  const char *key = specials[row].key, *id_key = specials[row].id_key;
  int64_t *special = &vocabulary->special[specials[row].which];
  const char *text = token_text(json_object_get(from->tokenizer_config, key));
  if (!text) text = token_text(json_object_get(from->special_tokens, key));
  if (!text) text = token_text(json_object_get(json_object_get(from->tokenizer_config, "extra_special_tokens"), key));
  int64_t id = text ? find_token(vocabulary, text) : -1;
  tq_status status = TQ_OK;
  if (text && id < 0) {
    status = tq_checkpoint_note(from->checkpoint, from->error, "%s '%s' is not a token of the vocabulary", key, text);
  }
  if (!status && id < 0 && id_key) status = read_id(from, "config.json", from->config, id_key, vocabulary, &id);
  if (!status && id < 0 && id_key) {
    status = read_id(from, "generation_config.json", from->generation, id_key, vocabulary, &id);
  }
  if (id >= 0) *special = id;
  return status;
}

/* The token that a template puts beside a text must be the one that the other files name. */
static void match_template(sources *from, const char *text, tq_special_token which, const char *name,
                           tq_vocabulary *vocabulary) {
  int64_t id = text ? find_token(vocabulary, text) : -1;
  if (!text) return;
  if (vocabulary->special[which] < 0) vocabulary->special[which] = id;
  if (id >= 0 && vocabulary->special[which] == id) return;
  tq_tokenizer_json_stop(&from->json, "the post-processor adds '%s' for %s", text, name);
}

static void read_flag(const json_t *object, const char *key, bool *flag) {
  const json_t *value = json_object_get(object, key);
  if (json_is_boolean(value)) *flag = json_is_true(value);
}

static tq_string find_template(const sources *from) {
  const json_t *value = json_object_get(from->template_file, "chat_template");
  if (from->template_text) return (tq_string){from->template_text, from->template_size};
  if (!value) value = json_object_get(from->tokenizer_config, "chat_template");
  size_t i;
  json_t *named;
  json_array_foreach((json_t *)value, i, named) {
    const char *name = json_string_value(json_object_get(named, "name"));
    if (name && strcmp(name, "default") == 0) {
      value = json_object_get(named, "template");
      break;
    }
  }
  return json_is_string(value) ? (tq_string){json_string_value(value), json_string_length(value)} : (tq_string){0};
}

static tq_status complete(sources *from, tq_vocabulary *vocabulary) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < sizeof specials / sizeof specials[0]; i++) {
    status = read_special(from, i, vocabulary);
  }
  match_template(from, from->json.bos, TQ_SPECIAL_BOS, "BOS", vocabulary);
  match_template(from, from->json.eos, TQ_SPECIAL_EOS, "EOS", vocabulary);
  read_flag(from->tokenizer_config, "add_bos_token", &vocabulary->add_bos);
  read_flag(from->tokenizer_config, "add_eos_token", &vocabulary->add_eos);
  read_flag(from->tokenizer_config, "clean_up_tokenization_spaces", &vocabulary->clean_up_spaces);
  if (vocabulary->special[TQ_SPECIAL_BOS] < 0) vocabulary->add_bos = false;
  if (vocabulary->special[TQ_SPECIAL_EOS] < 0) vocabulary->add_eos = false;
  vocabulary->chat_template = find_template(from);
  return status;
}

/* ---- the whole ---- */

static tq_status serialize(const char *file, const tq_vocabulary *vocabulary, uint8_t **section, size_t *size,
                           tq_error *error) {
  tq_status status = tq_tokenizer_serialize(vocabulary, section, size, error);
  return status && error ? tq_fail(error, status, "%s: %s", file, error->message) : status;
}

static tq_status note_reason(const sources *from, const char *file, const char *reason) {
  return tq_checkpoint_note(from->checkpoint, from->error, "%s: %s, so there is no tokenizer", file, reason);
}

static tq_status read_json(sources *from, char *text, size_t size) {
  tq_checkpoint *checkpoint = from->checkpoint;
  bool usable;
  from->json_path = tq_format_string(from->error, "%s/tokenizer.json", tq_folder_name(checkpoint->folder));
  if (!from->json_path) {
    tq_free(text);
    return TQ_ERROR_SYSTEM;
  }
  bool expanded = tq_folder_is_archive(checkpoint->folder);
  tq_status status = tq_tokenizer_json_load(&from->json, from->json_path, text, size, expanded, from->error);
  if (!status) status = load_model(from, &usable);
  if (status) return status;
  usable = usable && from->model_tables.vocabulary.kind == TQ_TOKENIZER_SENTENCEPIECE;
  status = tq_tokenizer_json_read(&from->json, embedding_rows(checkpoint), usable ? &from->model_tables : NULL);
  if (status) return status;
  if (!from->json.reason[0]) status = complete(from, &from->json.tables.vocabulary);
  if (status) return status;
  if (from->json.reason[0]) return note_reason(from, "tokenizer.json", from->json.reason);
  if (from->json.ranks_differ) {
    status = tq_checkpoint_note(checkpoint, from->error,
                                "the merges in tokenizer.json are not those of tokenizer.model, which is taken");
  } else if (from->reason[0] && from->json.tables.vocabulary.kind == TQ_TOKENIZER_SENTENCEPIECE) {
    status =
        tq_checkpoint_note(checkpoint, from->error, "scores are made from tokenizer.json's merges: %s", from->reason);
  }
  if (status) return status;
  return serialize(from->json_path, &from->json.tables.vocabulary, &checkpoint->tokenizer, &checkpoint->tokenizer_size,
                   from->error);
}

static tq_status read_model(sources *from) {
  tq_checkpoint *checkpoint = from->checkpoint;
  bool usable;
  tq_status status = load_model(from, &usable);
  if (status) return status;
  if (!from->model) return tq_checkpoint_note(checkpoint, from->error, "no tokenizer.json and no tokenizer.model");
  if (!usable) return tq_checkpoint_note(checkpoint, from->error, "%s, so there is no tokenizer", from->reason);
  tq_vocabulary *vocabulary = &from->model_tables.vocabulary;
  status = extend_model(from);
  if (!status) status = complete(from, vocabulary);
  if (status) return status;
  return serialize(from->model_path, vocabulary, &checkpoint->tokenizer, &checkpoint->tokenizer_size, from->error);
}

tq_status tq_hf_tokenizer_read(tq_checkpoint *checkpoint, const json_t *config, tq_error *error) {
  sources from = {.checkpoint = checkpoint, .config = config, .error = error};
  char *text;
  size_t size = 0;
  tq_status status = load_small_files(&from);
  if (!status) {
    status = load_text(checkpoint->folder, "tokenizer.json", tokenizer_limit(checkpoint->folder), &text, &size, error);
  }
  if (!status) status = text ? read_json(&from, text, size) : read_model(&from);
  free_sources(&from);
  return status;
}

tq_status tq_hf_tokenizer_serialize(tq_input *input, uint8_t **section, size_t *size, tq_error *error) {
  tq_tokenizer_json from = {0};
  char *text;
  size_t text_size;
  *section = NULL;
  tq_status status = tq_input_read_all(input, TQ_TOKENIZER_JSON_LIMIT, &text, &text_size, error);
  if (!status) status = tq_tokenizer_json_load(&from, tq_input_name(input), text, text_size, false, error);
  if (!status) status = tq_tokenizer_json_read(&from, 0, NULL);
  tq_vocabulary *vocabulary = &from.tables.vocabulary;
  if (!status && from.reason[0]) status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s", from.file, from.reason);
  if (!status && from.bos) vocabulary->special[TQ_SPECIAL_BOS] = find_token(vocabulary, from.bos);
  if (!status && from.eos) vocabulary->special[TQ_SPECIAL_EOS] = find_token(vocabulary, from.eos);
  if (!status) status = serialize(from.file, vocabulary, section, size, error);
  tq_tokenizer_json_free(&from);
  return status;
}
