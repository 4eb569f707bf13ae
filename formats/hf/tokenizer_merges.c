/* tokenizer.json: the merges, as ranks (byte level) or turned into scores (SentencePiece), and back. */
#include "base/memory.h"
#include "formats/hf/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* What llama.cpp's converter gives tokens that are not the SentencePiece model's own. */
static const float ADDED_SCORE = -1000.0f, PADDING_SCORE = -10000.0f;

/* ---- reading the list ---- */

static int64_t find_base(const tq_tokenizer_json *from, const char *text, size_t size) {
  const json_t *id = json_object_getn(from->vocabulary, text, size);
  return id ? json_integer_value(id) : -1;
}

static tq_status bad_merge(const tq_tokenizer_json *from, size_t rank, const char *reason) {
  return tq_fail(from->error, TQ_ERROR_CORRUPT, "%s: model.merges[%zu]: %s", from->file, rank, reason);
}

/* Either "left right" or ["left", "right"]. */
static tq_status read_merge(const tq_tokenizer_json *from, const json_t *item, size_t rank, tq_merge *merge) {
  const char *left, *right;
  size_t left_size, right_size;
  if (json_is_string(item)) {
    left = json_string_value(item);
    const char *space = strchr(left, ' ');
    if (!space || strchr(space + 1, ' ')) return bad_merge(from, rank, "not two tokens with a space between them");
    left_size = (size_t)(space - left);
    right = space + 1;
    right_size = json_string_length(item) - left_size - 1;
  } else {
    const json_t *a = json_array_get(item, 0), *b = json_array_get(item, 1);
    if (json_array_size(item) != 2 || !json_is_string(a) || !json_is_string(b)) {
      return bad_merge(from, rank, "neither a string nor two");
    }
    left = json_string_value(a);
    left_size = json_string_length(a);
    right = json_string_value(b);
    right_size = json_string_length(b);
  }
  int64_t left_id = find_base(from, left, left_size), right_id = find_base(from, right, right_size);
  if (left_id < 0 || right_id < 0) return bad_merge(from, rank, "a token that is not in the vocabulary");
  *merge = (tq_merge){(uint32_t)left_id, (uint32_t)right_id};
  return TQ_OK;
}

/* Lists written by old trainers begin with a line of their own. */
static bool is_version_line(const json_t *item) {
  const char *text = json_string_value(item);
  return text && strncmp(text, "#version", 8) == 0;
}

/* A merge is one way to cut a token of the model in two, and each way is one merge: no list is longer, unless it says
 * the same again and again. */
static size_t most_merges(const tq_tokenizer_json *from) {
  size_t most = 0;
  for (size_t id = 0; id < from->base_count; id++) most += from->tables.tokens[id].size;
  return most;
}

/* Gives up the text, which is not needed any more and may be larger than the tables. */
static tq_status read_list(tq_tokenizer_json *from) {
  tq_vocabulary_tables *tables = &from->tables;
  size_t cursor = from->merge_span.begin, count = 0, capacity = 0, most = most_merges(from);
  tq_json_span item;
  tq_status status = TQ_OK;
  while (!status && tq_json_next_item(from->text, from->merge_span, &cursor, &item)) {
    json_t *json;
    void *merges = tables->merges;
    status = tq_json_parse(from->file, from->text + item.begin, item.end - item.begin, &json, from->error);
    if (status == TQ_ERROR_CORRUPT) return bad_merge(from, count, "not JSON");
    if (status) return status;
    if (!is_version_line(json)) {
      if (count == most) status = bad_merge(from, count, "more merges than there are ways to cut a token in two");
      if (!status) status = tq_grow(&merges, &capacity, count + 1, sizeof *tables->merges, from->error);
      tables->merges = merges;
      if (!status) status = read_merge(from, json, count, &tables->merges[count]);
      count++;
    }
    json_decref(json);
  }
  tables->vocabulary.merge_count = count;
  tables->vocabulary.merges = tables->merges;
  tq_free(from->text);
  from->text = NULL;
  return status;
}

/* ---- SentencePiece: scores in place of ranks ---- */

/* A merge and the token it makes. */
typedef struct made {
  uint64_t pair; /* left << 32 | right */
  uint32_t token;
} made;

static uint64_t pair_of(uint32_t left, uint32_t right) { return (uint64_t)left << 32 | right; }

static int compare_made(const void *a, const void *b) {
  const made *x = a, *y = b;
  return (x->pair > y->pair) - (x->pair < y->pair);
}

/* The token that each merge makes, in order of rank. */
static tq_status find_made(const tq_tokenizer_json *from, made **list) {
  const tq_vocabulary *vocabulary = &from->tables.vocabulary;
  tq_buffer text = {0};
  tq_status status = TQ_OK;
  *list = tq_allocate(vocabulary->merge_count, sizeof **list, from->error);
  if (!*list) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; !status && i < vocabulary->merge_count; i++) {
    tq_merge merge = vocabulary->merges[i];
    tq_string left = vocabulary->tokens[merge.left], right = vocabulary->tokens[merge.right];
    text.size = 0;
    status = tq_buffer_append(&text, left.data, left.size, from->error);
    if (!status) status = tq_buffer_append(&text, right.data, right.size, from->error);
    if (status) break;
    int64_t token = find_base(from, (const char *)text.data, text.size);
    if (token < 0) status = bad_merge(from, i, "it makes a token that is not in the vocabulary");
    (*list)[i] = (made){pair_of(merge.left, merge.right), token < 0 ? 0 : (uint32_t)token};
  }
  tq_buffer_free(&text);
  return status;
}

static bool is_normal(const tq_tokenizer_json *from, size_t id) { return from->tables.types[id] == TQ_TOKEN_NORMAL; }

/* SentencePiece merges what makes the token of the highest score, so ranks say the same only where all merges into one
 * token follow each other; false where they do not. *by_id: tokens are made in the order of their ids. */
static bool check_ranks(const tq_tokenizer_json *from, const made *list, bool *placed, bool *by_id) {
  uint32_t last = UINT32_MAX;
  *by_id = true;
  for (size_t i = 0; i < from->tables.vocabulary.merge_count; i++) {
    uint32_t token = list[i].token;
    if (!is_normal(from, token) || token == last) continue;
    if (placed[token]) return false;
    if (last != UINT32_MAX && token < last) *by_id = false;
    placed[token] = true;
    last = token;
  }
  return true;
}

/* Gives tokens scores from 0 downwards. A trainer numbers tokens as it makes them, so where ranks rise with ids the
 * scores go by id, which gives the tokenizer.model's own again; elsewhere by rank, with what no merge makes behind. */
static void derive_scores(tq_tokenizer_json *from, const made *list, const bool *placed, bool by_id) {
  const tq_vocabulary *vocabulary = &from->tables.vocabulary;
  uint32_t last = UINT32_MAX, next = 0;
  for (size_t i = 0; !by_id && i < vocabulary->merge_count; i++) {
    uint32_t token = list[i].token;
    if (!is_normal(from, token) || token == last) continue;
    from->tables.scores[token] = -(float)next++;
    last = token;
  }
  for (size_t i = 0; i < from->base_count; i++) {
    if (is_normal(from, i) && (by_id || !placed[i])) from->tables.scores[i] = -(float)next++;
  }
}

/* True when the ranks put merges in the order of the scores that are known from elsewhere. */
static bool ranks_follow_scores(const tq_tokenizer_json *from, const made *list) {
  float last = 0;
  bool any = false;
  for (size_t i = 0; i < from->tables.vocabulary.merge_count; i++) {
    if (!is_normal(from, list[i].token)) continue;
    float score = from->tables.scores[list[i].token];
    if (any && score > last) return false;
    any = true;
    last = score;
  }
  return true;
}

/* True when each way to cut a normal token in two normal tokens is among the merges: SentencePiece would do it. Sorts
 * the list. */
static bool has_every_cut(const tq_tokenizer_json *from, made *list) {
  const tq_vocabulary *vocabulary = &from->tables.vocabulary;
  size_t count = vocabulary->merge_count;
  if (count) qsort(list, count, sizeof *list, compare_made);
  for (size_t i = 0; i < from->base_count; i++) {
    tq_string token = vocabulary->tokens[i];
    if (!is_normal(from, i)) continue;
    for (size_t cut = 1; cut < token.size; cut++) {
      if (((uint8_t)token.data[cut] & 0xc0) == 0x80) continue;
      int64_t left = find_base(from, token.data, cut);
      int64_t right = left < 0 ? -1 : find_base(from, token.data + cut, token.size - cut);
      if (right < 0 || !is_normal(from, (size_t)left) || !is_normal(from, (size_t)right)) continue;
      made wanted = {pair_of((uint32_t)left, (uint32_t)right), 0};
      if (!count || !bsearch(&wanted, list, count, sizeof *list, compare_made)) return false;
    }
  }
  return true;
}

/* Scores and types of the tokenizer.model where both files have the same token. Stops where they differ in a token that
 * was not added. */
static tq_status take_scores(tq_tokenizer_json *from, const tq_vocabulary_tables *sentencepiece) {
  const tq_vocabulary *theirs = &sentencepiece->vocabulary, *ours = &from->tables.vocabulary;
  size_t count = theirs->token_count < ours->token_count ? theirs->token_count : ours->token_count;
  char a[48], b[48];
  for (size_t i = 0; i < count; i++) {
    tq_string x = theirs->tokens[i], y = ours->tokens[i];
    uint8_t *type = &from->tables.types[i];
    if (x.size == y.size && memcmp(x.data, y.data, x.size) == 0) {
      from->tables.scores[i] = theirs->scores[i];
      if (*type == TQ_TOKEN_NORMAL || *type == TQ_TOKEN_BYTE) *type = theirs->types[i];
      continue;
    }
    if (*type != TQ_TOKEN_CONTROL && *type != TQ_TOKEN_USER_DEFINED && *type != TQ_TOKEN_UNUSED) {
      return tq_tokenizer_json_stop(from, "token %zu is '%s', and '%s' in tokenizer.model", i,
                                    tq_printable(y.data, y.size, a, sizeof a),
                                    tq_printable(x.data, x.size, b, sizeof b));
    }
  }
  if (theirs->token_count > ours->token_count) {
    return tq_tokenizer_json_stop(from, "tokenizer.model has %zu tokens more", theirs->token_count - ours->token_count);
  }
  return TQ_OK;
}

/* Tokens of the model itself have scores of 0 where nothing else is known; those behind them what a converter gives
 * them. */
static void preset_scores(tq_tokenizer_json *from, size_t model_count) {
  const tq_vocabulary *vocabulary = &from->tables.vocabulary;
  for (size_t i = 0; i < vocabulary->token_count; i++) {
    bool padding = vocabulary->types[i] == TQ_TOKEN_UNUSED;
    from->tables.scores[i] = i < model_count && !padding ? 0.0f : padding ? PADDING_SCORE : ADDED_SCORE;
  }
}

static tq_status score(tq_tokenizer_json *from, const tq_vocabulary_tables *sentencepiece, made *list) {
  if (sentencepiece) {
    preset_scores(from, sentencepiece->vocabulary.token_count);
    tq_status status = take_scores(from, sentencepiece);
    if (status || from->reason[0]) return status;
    from->ranks_differ = !ranks_follow_scores(from, list) || !has_every_cut(from, list);
    return TQ_OK;
  }
  preset_scores(from, from->base_count);
  bool *placed = tq_allocate(from->tables.vocabulary.token_count, sizeof *placed, from->error);
  if (!placed) return TQ_ERROR_SYSTEM;
  bool by_id, follows = check_ranks(from, list, placed, &by_id);
  if (follows) derive_scores(from, list, placed, by_id);
  follows = follows && has_every_cut(from, list);
  tq_free(placed);
  return follows ? TQ_OK : tq_tokenizer_json_stop(from, "byte fallback with merges that are not SentencePiece's");
}

static tq_status turn_into_scores(tq_tokenizer_json *from, const tq_vocabulary_tables *sentencepiece) {
  tq_vocabulary_tables *tables = &from->tables;
  made *list = NULL;
  tables->scores = tq_allocate(tables->vocabulary.token_count, sizeof *tables->scores, from->error);
  tq_status status = tables->scores ? find_made(from, &list) : TQ_ERROR_SYSTEM;
  if (!status) status = score(from, sentencepiece, list);
  tq_free(list);
  tq_free(tables->merges);
  tables->merges = NULL;
  tables->vocabulary.merges = NULL;
  tables->vocabulary.merge_count = 0;
  tables->vocabulary.scores = tables->scores;
  return status;
}

tq_status tq_tokenizer_json_read_merges(tq_tokenizer_json *from, const tq_vocabulary_tables *sentencepiece) {
  tq_status status = read_list(from);
  if (status || from->tables.vocabulary.kind == TQ_TOKENIZER_BYTE_LEVEL) return status;
  return turn_into_scores(from, sentencepiece);
}

/* ---- writing: ranks in place of scores ---- */

/* A token with its score, to be sorted. */
typedef struct scored {
  float score;
  uint32_t token;
} scored;

static int compare_scored(const void *a, const void *b) {
  const scored *x = a, *y = b;
  if (x->score != y->score) return x->score < y->score ? 1 : -1;
  return (x->token > y->token) - (x->token < y->token);
}

static int compare_merges(const void *a, const void *b) {
  const tq_merge *x = a, *y = b;
  uint64_t p = pair_of(x->left, x->right), q = pair_of(y->left, y->right);
  return (p > q) - (p < q);
}

/* Control tokens, bytes and the unknown token are never made from text. */
static int64_t find_piece(const tq_tokenizer *tokenizer, const char *text, size_t size) {
  tq_token_type type;
  float value;
  int64_t id = tq_tokenizer_find(tokenizer, text, size);
  if (id < 0) return -1;
  tq_tokenizer_token(tokenizer, (uint32_t)id, &type, &value);
  return type == TQ_TOKEN_NORMAL || type == TQ_TOKEN_USER_DEFINED ? id : -1;
}

static tq_status append_cuts(const tq_tokenizer *tokenizer, uint32_t id, tq_merge **merges, size_t *count,
                             size_t *capacity, tq_error *error) {
  tq_token_type type;
  float value;
  size_t first = *count;
  tq_string token = tq_tokenizer_token(tokenizer, id, &type, &value);
  for (size_t cut = 1; cut < token.size; cut++) {
    if (((uint8_t)token.data[cut] & 0xc0) == 0x80) continue;
    int64_t left = find_piece(tokenizer, token.data, cut);
    int64_t right = left < 0 ? -1 : find_piece(tokenizer, token.data + cut, token.size - cut);
    if (right < 0) continue;
    void *array = *merges;
    tq_status status = tq_grow(&array, capacity, *count + 1, sizeof **merges, error);
    *merges = array;
    if (status) return status;
    (*merges)[(*count)++] = (tq_merge){(uint32_t)left, (uint32_t)right};
  }
  if (*count > first) qsort(*merges + first, *count - first, sizeof **merges, compare_merges);
  return TQ_OK;
}

tq_status tq_sentencepiece_merges(const tq_tokenizer *tokenizer, tq_merge **merges, size_t *count, tq_error *error) {
  size_t tokens = tq_tokenizer_token_count(tokenizer), pieces = 0, capacity = 0;
  scored *order = tq_allocate(tokens, sizeof *order, error);
  *merges = NULL;
  *count = 0;
  if (!order) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < tokens; i++) {
    tq_token_type type;
    scored entry = {0, (uint32_t)i};
    tq_tokenizer_token(tokenizer, (uint32_t)i, &type, &entry.score);
    if (type == TQ_TOKEN_NORMAL) order[pieces++] = entry;
  }
  qsort(order, pieces, sizeof *order, compare_scored);
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < pieces; i++) {
    status = append_cuts(tokenizer, order[i].token, merges, count, &capacity, error);
  }
  tq_free(order);
  if (status) tq_free(*merges);
  if (status) *merges = NULL;
  return status;
}
