/* make-sample OUT.gguf: writes a small Llama model with random weights and a SentencePiece vocabulary of a few words,
 * the same bytes on every machine. It was never trained: what it says means nothing. */
#include "base/bytes.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"
#include "tq/metadata.h"
#include "tq/ternary.h"
#include "tq/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LAYERS = 2, DIMENSION = 96, FEED_FORWARD = 256, HEADS = 6, KV_HEADS = 2, CONTEXT = 128 };
enum { ALIGNMENT = 32, MOST_TOKENS = 2048, MOST_TENSORS = 3 + 9 * LAYERS };
enum { GGUF_F32 = 0, GGUF_F16 = 1 };

#define SPACE "\xe2\x96\x81" /* what stands for a space in a SentencePiece vocabulary */

static const char *const words[] = {
    "a",     "and",    "the",   "one",   "two",   "little", "big",  "old",   "red",    "green",   "cat",   "dog",
    "bird",  "fox",    "bear",  "tree",  "river", "moon",   "sun",  "star",  "garden", "house",   "door",  "window",
    "apple", "bread",  "boat",  "road",  "hill",  "stone",  "song", "story", "name",   "friend",  "child", "mother",
    "ran",   "sang",   "found", "saw",   "gave",  "took",   "made", "slept", "jumped", "laughed", "said",  "was",
    "in",    "on",     "under", "with",  "to",    "from",   "over", "once",  "upon",   "time",    "day",   "night",
    "happy", "sleepy", "kind",  "brave", "quiet", "then",   "when", "very",  "again",  "away",
};
enum { WORDS = sizeof words / sizeof *words };

/* ---- the vocabulary ---- */

typedef struct vocabulary {
  tq_buffer texts, scores, types; /* as GGUF's arrays hold them */
  bool spoken[MOST_TOKENS];       /* tokens that the model may say: whole words */
  const char *seen[MOST_TOKENS];
  size_t sizes[MOST_TOKENS];
  size_t count;
} vocabulary;

/* The token's number, made unless it is there. `text` lives as long as the vocabulary. */
static tq_status add_token(vocabulary *all, const char *text, size_t size, uint32_t type, size_t *id, tq_error *error) {
  for (*id = 0; *id < all->count; ++*id)
    if (all->sizes[*id] == size && memcmp(all->seen[*id], text, size) == 0) return TQ_OK;
  uint8_t length[8], score[4], type_bytes[4];
  tq_store_u64(length, size);
  tq_store_f32(score, type == TQ_TOKEN_NORMAL ? -(float)all->count : 0);
  tq_store_u32(type_bytes, type);
  tq_status status = tq_buffer_append(&all->texts, length, sizeof length, error);
  if (!status) status = tq_buffer_append(&all->texts, text, size, error);
  if (!status) status = tq_buffer_append(&all->scores, score, sizeof score, error);
  if (!status) status = tq_buffer_append(&all->types, type_bytes, sizeof type_bytes, error);
  all->seen[all->count] = text;
  all->sizes[all->count++] = size;
  return status;
}

/* A word and all its beginnings, for a SentencePiece vocabulary reaches a word by one merge after another. */
static tq_status add_word(vocabulary *all, const char *word, tq_error *error) {
  tq_status status = TQ_OK;
  size_t id = 0;
  for (size_t size = sizeof SPACE - 1; size <= strlen(word) && !status; size++)
    status = add_token(all, word, size, TQ_TOKEN_NORMAL, &id, error);
  all->spoken[id] = true;
  return status;
}

static tq_status fill_vocabulary(vocabulary *all, tq_error *error) {
  static const struct {
    const char *text;
    tq_token_type type;
  } special[] = {{"<unk>", TQ_TOKEN_UNKNOWN}, {"<s>", TQ_TOKEN_CONTROL}, {"</s>", TQ_TOKEN_CONTROL}};
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,!?'-";
  static char bytes[256][8], spaced[WORDS][16];
  tq_status status = TQ_OK;
  size_t id;
  for (size_t i = 0; i < 3 && !status; i++)
    status = add_token(all, special[i].text, strlen(special[i].text), special[i].type, &id, error);
  for (unsigned i = 0; i < 256 && !status; i++) {
    snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
    status = add_token(all, bytes[i], strlen(bytes[i]), TQ_TOKEN_BYTE, &id, error);
  }
  for (size_t i = 0; i < sizeof letters - 1 && !status; i++) {
    status = add_token(all, letters + i, 1, TQ_TOKEN_NORMAL, &id, error);
    all->spoken[id] = letters[i] == '.' || letters[i] == ',';
  }
  for (size_t i = 0; i < WORDS && !status; i++) {
    snprintf(spaced[i], sizeof spaced[i], SPACE "%s", words[i]);
    status = add_word(all, spaced[i], error);
  }
  return status;
}

/* ---- metadata ---- */

static tq_status add_text(tq_metadata_builder *to, const char *key, const char *value, tq_error *error) {
  return tq_metadata_add_string(to, key, value, strlen(value), error);
}

static tq_status add_shape(tq_metadata_builder *to, tq_error *error) {
  static const struct {
    const char *key;
    uint32_t value;
  } numbers[] = {
      {"llama.block_count", LAYERS},
      {"llama.context_length", CONTEXT},
      {"llama.embedding_length", DIMENSION},
      {"llama.feed_forward_length", FEED_FORWARD},
      {"llama.attention.head_count", HEADS},
      {"llama.attention.head_count_kv", KV_HEADS},
      {"llama.rope.dimension_count", DIMENSION / HEADS},
      {"general.file_type", 1}, /* mostly F16 */
  };
  tq_status status = add_text(to, "general.architecture", "llama", error);
  if (!status) status = add_text(to, "general.name", "tq sample, untrained", error);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !status; i++)
    status = tq_metadata_add_u32(to, numbers[i].key, numbers[i].value, error);
  if (!status) status = tq_metadata_add_f32(to, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error);
  return status;
}

static tq_status add_array(tq_metadata_builder *to, const char *key, tq_value_type type, const vocabulary *all,
                           const tq_buffer *items, tq_error *error) {
  return tq_metadata_add_array(to, key, type, all->count, items->data, items->size, error);
}

static tq_status add_vocabulary(tq_metadata_builder *to, const vocabulary *all, tq_error *error) {
  tq_status status = add_text(to, "tokenizer.ggml.model", "llama", error);
  if (!status) status = add_text(to, "tokenizer.ggml.pre", "default", error);
  if (!status) status = add_array(to, "tokenizer.ggml.tokens", TQ_VALUE_STRING, all, &all->texts, error);
  if (!status) status = add_array(to, "tokenizer.ggml.scores", TQ_VALUE_F32, all, &all->scores, error);
  if (!status) status = add_array(to, "tokenizer.ggml.token_type", TQ_VALUE_I32, all, &all->types, error);
  if (!status) status = tq_metadata_add_u32(to, "tokenizer.ggml.unknown_token_id", 0, error);
  if (!status) status = tq_metadata_add_u32(to, "tokenizer.ggml.bos_token_id", 1, error);
  if (!status) status = tq_metadata_add_u32(to, "tokenizer.ggml.eos_token_id", 2, error);
  if (!status) status = tq_metadata_add_bool(to, "tokenizer.ggml.add_bos_token", true, error);
  return status;
}

/* ---- tensors ---- */

typedef struct tensor {
  char name[48];
  uint64_t rows, columns; /* a norm has one row and is F32 */
  uint64_t offset, size;
} tensor;

typedef struct tensors {
  tensor list[MOST_TENSORS];
  size_t count;
  uint64_t size;
} tensors;

static void add_tensor(tensors *all, int layer, const char *name, uint64_t rows, uint64_t columns) {
  tensor *next = &all->list[all->count++];
  if (layer < 0)
    snprintf(next->name, sizeof next->name, "%s.weight", name);
  else
    snprintf(next->name, sizeof next->name, "blk.%d.%s.weight", layer, name);
  next->rows = rows;
  next->columns = columns;
  next->offset = all->size;
  next->size = rows * columns * (rows == 1 ? sizeof(float) : sizeof(uint16_t));
  all->size += (next->size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void list_tensors(tensors *all, size_t tokens) {
  static const struct {
    const char *name;
    uint64_t rows, columns;
  } of_layer[] = {
      {"attn_norm", 1, DIMENSION},
      {"attn_q", DIMENSION, DIMENSION},
      {"attn_k", DIMENSION / HEADS * KV_HEADS, DIMENSION},
      {"attn_v", DIMENSION / HEADS * KV_HEADS, DIMENSION},
      {"attn_output", DIMENSION, DIMENSION},
      {"ffn_norm", 1, DIMENSION},
      {"ffn_gate", FEED_FORWARD, DIMENSION},
      {"ffn_up", FEED_FORWARD, DIMENSION},
      {"ffn_down", DIMENSION, FEED_FORWARD},
  };
  add_tensor(all, -1, "token_embd", tokens, DIMENSION);
  for (int layer = 0; layer < LAYERS; layer++)
    for (size_t i = 0; i < sizeof of_layer / sizeof *of_layer; i++)
      add_tensor(all, layer, of_layer[i].name, of_layer[i].rows, of_layer[i].columns);
  add_tensor(all, -1, "output_norm", 1, DIMENSION);
  add_tensor(all, -1, "output", tokens, DIMENSION);
}

/* splitmix64, as a float in [-1, 1). */
static float next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1;
}

/* Rows of the head that belong to other tokens than words are zero, so that the model speaks in words. */
static tq_status write_matrix(tq_output *output, const tensor *matrix, const bool *spoken, uint64_t *state,
                              tq_error *error) {
  bool head = strcmp(matrix->name, "output.weight") == 0;
  float spread = sqrtf(3.0f / (float)matrix->columns) * (head ? 4 : 1);
  uint8_t row[2 * FEED_FORWARD];
  tq_status status = TQ_OK;
  for (uint64_t r = 0; r < matrix->rows && !status; r++) {
    for (uint64_t c = 0; c < matrix->columns; c++) {
      float value = next_random(state) * spread;
      tq_store_u16(row + 2 * c, tq_f32_to_f16(head && !spoken[r] ? 0 : value));
    }
    status = tq_output_write(output, row, 2 * matrix->columns, error);
  }
  return status;
}

static tq_status write_norm(tq_output *output, const tensor *norm, tq_error *error) {
  uint8_t one[4];
  tq_store_f32(one, 1);
  tq_status status = TQ_OK;
  for (uint64_t c = 0; c < norm->columns && !status; c++) status = tq_output_write(output, one, sizeof one, error);
  return status;
}

/* ---- the file ---- */

static tq_status describe_tensor(tq_buffer *to, const tensor *one, tq_error *error) {
  uint8_t bytes[8 + sizeof one->name + 4 + 2 * 8 + 4 + 8], *at = bytes;
  size_t length = strlen(one->name);
  bool norm = one->rows == 1;
  tq_store_u64(at, length), at += 8;
  memcpy(at, one->name, length), at += length;
  tq_store_u32(at, norm ? 1 : 2), at += 4;
  tq_store_u64(at, one->columns), at += 8;
  if (!norm) tq_store_u64(at, one->rows), at += 8;
  tq_store_u32(at, norm ? GGUF_F32 : GGUF_F16), at += 4;
  tq_store_u64(at, one->offset), at += 8;
  return tq_buffer_append(to, bytes, (size_t)(at - bytes), error);
}

static tq_status pad(tq_output *output, tq_error *error) {
  return tq_output_zeros(output, (ALIGNMENT - tq_output_position(output) % ALIGNMENT) % ALIGNMENT, error);
}

static tq_status write_file(tq_output *output, const tq_metadata_builder *metadata, const vocabulary *tokens,
                            const tensors *all, tq_error *error) {
  uint8_t header[24] = "GGUF";
  tq_buffer directory = {0};
  tq_store_u32(header + 4, 3);
  tq_store_u64(header + 8, all->count);
  tq_store_u64(header + 16, metadata->count);
  tq_status status = TQ_OK;
  for (size_t i = 0; i < all->count && !status; i++) status = describe_tensor(&directory, &all->list[i], error);
  if (!status) status = tq_output_write(output, header, sizeof header, error);
  if (!status) status = tq_output_write(output, metadata->data, metadata->size, error);
  if (!status) status = tq_output_write(output, directory.data, directory.size, error);
  uint64_t state = 1;
  for (size_t i = 0; i < all->count && !status; i++) {
    const tensor *one = &all->list[i];
    status = pad(output, error);
    if (!status)
      status =
          one->rows == 1 ? write_norm(output, one, error) : write_matrix(output, one, tokens->spoken, &state, error);
  }
  if (!status) status = pad(output, error);
  tq_buffer_free(&directory);
  return status;
}

static tq_status make_sample(const char *path, tq_error *error) {
  static vocabulary tokens;
  static tensors all;
  tq_metadata_builder metadata = {0};
  tq_output *output = NULL;
  tq_status status = fill_vocabulary(&tokens, error);
  if (!status) status = add_shape(&metadata, error);
  if (!status) status = add_vocabulary(&metadata, &tokens, error);
  list_tensors(&all, tokens.count);
  if (!status) status = tq_output_create(path, &output, error);
  if (!status) status = write_file(output, &metadata, &tokens, &all, error);
  if (status)
    tq_output_abandon(output);
  else
    status = tq_output_commit(output, error);
  tq_metadata_builder_free(&metadata);
  tq_buffer_free(&tokens.texts);
  tq_buffer_free(&tokens.scores);
  tq_buffer_free(&tokens.types);
  return status;
}

int main(int count, char **arguments) {
  if (count != 2) {
    fprintf(stderr, "Usage: make-sample OUT.gguf\n");
    return TQ_ERROR_USAGE;
  }
  tq_error error;
  tq_status status = make_sample(arguments[1], &error);
  if (status) fprintf(stderr, "make-sample: %s\n", error.message);
  return (int)status;
}
