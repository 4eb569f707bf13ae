/* tiktoken ranks: a line per token, its bytes in base64 and its rank. What cuts text into words and which special
 * tokens there are is not in such a file, so that only those known by their content can be used. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "formats/tokenizer/tables.h"
#include "tokenizer/lookup.h"
#include "tokenizer/tokenizer.h"

#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_LINE = 4096, SPECIAL_NAME_SIZE = 48 };

/* ---- what is known ---- */

typedef struct known_ranks {
  size_t count;
  const char *fingerprint; /* XXH3-128 over the tokens in order of rank, each its length (u32) and its bytes */
  const char *pre;
  size_t special_count;                                         /* control tokens behind the ranks */
  void (*special_name)(size_t i, char name[SPECIAL_NAME_SIZE]); /* of the i-th of them */
  size_t bos, eos, end_of_turn;                                 /* among them */
} known_ranks;

/* Llama 3's: ten with a meaning or reserved among them, then reserved ones. */
static void llama3_special(size_t i, char name[SPECIAL_NAME_SIZE]) {
  static const char *const first[] = {"<|begin_of_text|>",
                                      "<|end_of_text|>",
                                      "<|reserved_special_token_0|>",
                                      "<|reserved_special_token_1|>",
                                      "<|reserved_special_token_2|>",
                                      "<|reserved_special_token_3|>",
                                      "<|start_header_id|>",
                                      "<|end_header_id|>",
                                      "<|reserved_special_token_4|>",
                                      "<|eot_id|>"};
  enum { FIRST = sizeof first / sizeof *first, NEXT_RESERVED = 5 };
  if (i < FIRST)
    snprintf(name, SPECIAL_NAME_SIZE, "%s", first[i]);
  else
    snprintf(name, SPECIAL_NAME_SIZE, "<|reserved_special_token_%zu|>", i - FIRST + NEXT_RESERVED);
}

static const known_ranks known[] = {
    {128000, "fc4d28a5477b980be0c22a522bea2e79", "llama-bpe", 256, llama3_special, 0, 1, 9},
};

enum { KNOWN = sizeof known / sizeof *known };

/* ---- lines ---- */

typedef struct rank_line {
  size_t offset, text_size; /* the base64 text */
  size_t rank;
  size_t next; /* offset behind the line's end */
} rank_line;

static bool is_base64(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

/* "TEXT RANK" and a line feed, which the last line may lack; false when the bytes at `offset` are something else. */
static bool parse_line(const char *data, size_t size, size_t offset, rank_line *line) {
  size_t at = offset, digits = 0;
  size_t end = size - offset > LONGEST_LINE ? offset + LONGEST_LINE : size;
  while (at < end && is_base64(data[at])) at++;
  line->offset = offset;
  line->text_size = at - offset;
  if (at == offset || line->text_size % 4 || at == end || data[at++] != ' ') return false;
  for (line->rank = 0; at < end && data[at] >= '0' && data[at] <= '9' && digits < 9; digits++) {
    line->rank = line->rank * 10 + (size_t)(data[at++] - '0');
  }
  if (digits == 0 || (at < end && data[at] != '\n') || (at == end && at != size)) return false;
  line->next = at < end ? at + 1 : at;
  return true;
}

bool tq_tiktoken_ranks_recognize(const uint8_t *start, size_t size) {
  rank_line line;
  return size && parse_line((const char *)start, size, 0, &line);
}

bool tq_tiktoken_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  (void)name;
  (void)file_size;
  return tq_tiktoken_ranks_recognize(start, start_size);
}

/* ---- ranks ---- */

/* The tokens as bytes, in order of rank. */
typedef struct rank_list {
  tq_string *tokens;
  size_t count;
  char *bytes;
} rank_list;

static void ranks_free(rank_list *ranks) {
  tq_free(ranks->tokens);
  tq_free(ranks->bytes);
}

static tq_status count_lines(const char *name, const char *data, size_t size, size_t *count, tq_error *error) {
  *count = 0;
  for (size_t offset = 0; offset < size; (*count)++) {
    rank_line line;
    if (!parse_line(data, size, offset, &line) || line.rank != *count) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: offset %zu: not the line of rank %zu", name, offset, *count);
    }
    offset = line.next;
  }
  return *count ? TQ_OK : tq_fail(error, TQ_ERROR_CORRUPT, "%s: no ranks", name);
}

static tq_status decode_lines(const char *name, const char *data, size_t file_size, rank_list *ranks, tq_error *error) {
  uint8_t *bytes = (uint8_t *)ranks->bytes;
  size_t offset = 0;
  for (size_t i = 0; i < ranks->count; i++) {
    rank_line line;
    struct base64_decode_ctx context;
    size_t size = 0;
    parse_line(data, file_size, offset, &line); /* well-formed, as it was counted */
    base64_decode_init(&context);
    if (!base64_decode_update(&context, &size, bytes, line.text_size, data + line.offset) ||
        !base64_decode_final(&context) || size == 0) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: offset %zu: rank %zu is not base64", name, offset, i);
    }
    ranks->tokens[i] = (tq_string){(const char *)bytes, size};
    bytes += size;
    offset = line.next;
  }
  return TQ_OK;
}

static tq_status read_ranks(const char *name, const char *data, size_t size, rank_list *ranks, tq_error *error) {
  tq_status status = count_lines(name, data, size, &ranks->count, error);
  if (status) return status;
  ranks->tokens = tq_allocate(ranks->count, sizeof *ranks->tokens, error);
  ranks->bytes = tq_allocate(size, 1, error);
  if (!ranks->tokens || !ranks->bytes) return TQ_ERROR_SYSTEM;
  return decode_lines(name, data, size, ranks, error);
}

static tq_status fingerprint(const rank_list *ranks, char text[2 * TQ_DIGEST_SIZE + 1], tq_error *error) {
  tq_hash_state *state;
  tq_status status = tq_hash_create(TQ_HASH_XXH3_128, &state, error);
  if (status) return status;
  for (size_t i = 0; i < ranks->count; i++) {
    uint8_t length[4];
    tq_store_u32(length, (uint32_t)ranks->tokens[i].size);
    tq_hash_update(state, length, sizeof length);
    tq_hash_update(state, ranks->tokens[i].data, ranks->tokens[i].size);
  }
  tq_hash hash;
  tq_hash_final(state, &hash);
  tq_hash_destroy(state);
  tq_hash_print(hash.bytes, TQ_DIGEST_SIZE, text);
  return TQ_OK;
}

static tq_status find_known(const char *name, const rank_list *ranks, const known_ranks **row, tq_error *error) {
  char print[2 * TQ_DIGEST_SIZE + 1];
  tq_status status = fingerprint(ranks, print, error);
  if (status) return status;
  for (size_t i = 0; i < KNOWN; i++) {
    *row = &known[i];
    if (known[i].count == ranks->count && strcmp(known[i].fingerprint, print) == 0) return TQ_OK;
  }
  return tq_fail(
      error, TQ_ERROR_CORRUPT,
      "%s: %zu tiktoken ranks that are not known (fingerprint %s): their pre-tokenizer and special tokens are "
      "not in such a file",
      name, ranks->count, print);
}

/* ---- merges ---- */

static int compare_merges(const void *a, const void *b) {
  const tq_merge *left = a, *right = b;
  if (left->left != right->left) return left->left < right->left ? -1 : 1;
  return left->right < right->right ? -1 : left->right > right->right;
}

/* Every way to cut a token in two tokens is a merge into it: by rank of the whole, then of the left part, then of the
 * right, as transformers converts such a file. */
static tq_status add_merges(const tq_lookup *lookup, tq_string token, tq_vocabulary_tables *tables, size_t *capacity,
                            tq_error *error) {
  size_t first = tables->vocabulary.merge_count;
  for (size_t cut = 1; cut < token.size; cut++) {
    int64_t left = tq_lookup_find(lookup, token.data, cut);
    int64_t right = left < 0 ? left : tq_lookup_find(lookup, token.data + cut, token.size - cut);
    if (right < 0) continue;
    void *merges = tables->merges;
    tq_status status = tq_grow(&merges, capacity, tables->vocabulary.merge_count + 1, sizeof *tables->merges, error);
    tables->merges = merges;
    if (status) return status;
    tables->merges[tables->vocabulary.merge_count++] = (tq_merge){(uint32_t)left, (uint32_t)right};
  }
  size_t count = tables->vocabulary.merge_count - first;
  if (count > 1) qsort(tables->merges + first, count, sizeof *tables->merges, compare_merges);
  return TQ_OK;
}

static tq_status derive_merges(const rank_list *ranks, tq_vocabulary_tables *tables, tq_error *error) {
  tq_lookup lookup = {0};
  size_t capacity = 0;
  tq_status status = tq_lookup_build(&lookup, ranks->tokens, ranks->count, error);
  for (size_t i = 0; i < ranks->count && !status; i++) {
    status = add_merges(&lookup, ranks->tokens[i], tables, &capacity, error);
  }
  tq_lookup_free(&lookup);
  tables->vocabulary.merges = tables->merges;
  return status;
}

/* ---- tables ---- */

/* Ranks as printable characters, then the special tokens. */
static tq_status write_texts(const rank_list *ranks, const known_ranks *row, tq_vocabulary_tables *tables,
                             tq_error *error) {
  size_t room = row->special_count * SPECIAL_NAME_SIZE;
  for (size_t i = 0; i < ranks->count; i++) room += 2 * ranks->tokens[i].size;
  char *at = tables->texts = tq_allocate(room, 1, error);
  if (!at) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < ranks->count; i++) {
    tables->tokens[i].data = at;
    for (size_t j = 0; j < ranks->tokens[i].size; j++)
      at += tq_byte_to_printable((uint8_t)ranks->tokens[i].data[j], at);
    tables->tokens[i].size = (size_t)(at - tables->tokens[i].data);
  }
  for (size_t i = 0; i < row->special_count; i++, at += SPECIAL_NAME_SIZE) {
    row->special_name(i, at);
    tables->tokens[ranks->count + i] = (tq_string){at, strlen(at)};
    tables->types[ranks->count + i] = TQ_TOKEN_CONTROL;
  }
  return TQ_OK;
}

static void set_behaviour(const known_ranks *row, tq_vocabulary *vocabulary) {
  const tq_pretokenizer *pretokenizer = tq_pretokenizer_find(row->pre);
  vocabulary->pre = row->pre;
  vocabulary->ignore_merges = pretokenizer->ignore_merges;
  vocabulary->add_bos = pretokenizer->add_bos;
  vocabulary->special[TQ_SPECIAL_BOS] = (int64_t)(row->count + row->bos);
  vocabulary->special[TQ_SPECIAL_EOS] = (int64_t)(row->count + row->eos);
  vocabulary->special[TQ_SPECIAL_END_OF_TURN] = (int64_t)(row->count + row->end_of_turn);
}

static tq_status fill_tables(const rank_list *ranks, const known_ranks *row, tq_vocabulary_tables *tables,
                             tq_error *error) {
  size_t count = row->count + row->special_count;
  tq_status status = tq_vocabulary_tables_start(tables, TQ_TOKENIZER_BYTE_LEVEL, count, false, error);
  if (!status) status = write_texts(ranks, row, tables, error);
  if (!status) status = derive_merges(ranks, tables, error);
  if (!status) set_behaviour(row, &tables->vocabulary);
  return status;
}

tq_status tq_tiktoken_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                           tq_error *error) {
  rank_list ranks = {0};
  const known_ranks *row;
  tq_status status = read_ranks(name, data, size, &ranks, error);
  if (!status) {
    status = find_known(name, &ranks, &row, error);
    tables->foreign = status == TQ_ERROR_CORRUPT;
  }
  if (!status) status = fill_tables(&ranks, row, tables, error);
  ranks_free(&ranks);
  return status;
}

/* ---- as a checkpoint ---- */

static tq_status set_metadata(tq_checkpoint *checkpoint, const tq_tokenizer *tokenizer, tq_error *error) {
  static const char type[] = "vocabulary";
  tq_metadata_builder builder = {0};
  tq_status status = tq_metadata_add_string(&builder, "general.type", type, sizeof type - 1, error);
  if (!status) status = tq_vocabulary_to_metadata(tokenizer, &builder, error);
  if (!status) status = tq_checkpoint_set_metadata(checkpoint, &builder, error);
  tq_metadata_builder_free(&builder);
  return status;
}

static tq_status fill_checkpoint(tq_checkpoint *checkpoint, tq_input *input, tq_error *error) {
  tq_tokenizer *tokenizer;
  tq_status status = tq_tokenizer_file_serialize(input, &checkpoint->tokenizer, &checkpoint->tokenizer_size, error);
  if (!status) status = tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &tokenizer, error);
  if (status) return status;
  status = set_metadata(checkpoint, tokenizer, error);
  tq_tokenizer_close(tokenizer);
  return status;
}

tq_status tq_tiktoken_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                           tq_error *error) {
  (void)options;
  tq_input *input;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: no such file", name);
  size_t index;
  status = fill_checkpoint(checkpoint, input, error);
  if (!status) status = tq_checkpoint_add_input(checkpoint, input, &index, error);
  if (status) {
    tq_input_close(input);
    return status;
  }
  return tq_checkpoint_add_attachment(checkpoint, name, index, error);
}
