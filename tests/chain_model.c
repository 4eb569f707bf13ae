#include "tests/chain_model.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "tests/support.h"
#include "tq/model.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEED_FORWARD = 4, HEAD_DIMENSION = 2 };

static void write_matrix(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, const float *values) {
  size_t count = (size_t)((rows ? rows : 1) * columns);
  float *zeros = calloc(count, sizeof *zeros);
  uint8_t *bytes = malloc(4 * count);
  if (!values) values = zeros;
  for (size_t i = 0; i < count; i++) tq_store_f32(bytes + 4 * i, values[i]);
  tq_tensor tensor = {
      .role = role, .name = role, .source_type = "", .dimensions = rows ? 2 : 1, .shape = {rows ? rows : columns}};
  if (rows) tensor.shape[1] = columns;
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = TQ_F32, .type_name = ""};
  uint64_t counts[4] = {0};
  tq_content_hash *hash;
  tq_digest digest;
  ck_ok(tq_content_hash_create(tensor.shape, tensor.dimensions, &hash, error));
  tq_content_hash_update(hash, values, count);
  tq_content_hash_final(hash, digest.bytes);
  tq_content_hash_destroy(hash);
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
  ck_ok(tq_writer_part_begin(writer, &part, error));
  ck_ok(tq_writer_part_write(writer, bytes, 4 * count, error));
  ck_ok(tq_writer_part_end(writer, error));
  ck_ok(tq_writer_tensor_end(writer, counts, digest.bytes, error));
  free(zeros);
  free(bytes);
}

static void write_tokenizer(tq_writer *writer, const chain_token *tokens, size_t count, const char *chat_template) {
  tq_string *texts = calloc(count, sizeof *texts);
  uint8_t *types = calloc(count, 1), *section;
  float *scores = calloc(count, sizeof *scores);
  size_t size;
  for (size_t i = 0; i < count; i++) {
    texts[i] = (tq_string){tokens[i].text, strlen(tokens[i].text)};
    types[i] = (uint8_t)tokens[i].type;
    scores[i] = -(float)i;
  }
  tq_vocabulary vocabulary = {.kind = TQ_TOKENIZER_SENTENCEPIECE,
                              .pre = "",
                              .token_count = count,
                              .tokens = texts,
                              .types = types,
                              .scores = scores,
                              .special = {1, 2, 0, -1, -1, -1, -1},
                              .add_bos = true,
                              .normalizer = "",
                              .chat_template = {chat_template, strlen(chat_template)}};
  ck_ok(tq_tokenizer_serialize(&vocabulary, &section, &size, error));
  ck_ok(tq_writer_section(writer, "tokenizer", false, section, size, error));
  tq_release(section);
  free(texts);
  free(types);
  free(scores);
}

static void write_metadata(tq_writer *writer, uint32_t dimension, uint32_t context) {
  tq_metadata_builder keys = {0};
  ck_ok(tq_metadata_add_string(&keys, "general.architecture", "llama", 5, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.block_count", 1, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.embedding_length", dimension, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.feed_forward_length", FEED_FORWARD, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.attention.head_count", 1, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.attention.key_length", HEAD_DIMENSION, error));
  ck_ok(tq_metadata_add_u32(&keys, "llama.context_length", context, error));
  ck_ok(tq_metadata_add_f32(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-12f, error));
  ck_ok(tq_writer_metadata(writer, keys.data, keys.size, keys.count, error));
  tq_metadata_builder_free(&keys);
}

static size_t next_token(size_t token, size_t count) {
  if (token == 1) return 3;
  return token + 1 < count ? token + 1 : 2;
}

/* Embeddings are the unit vectors; the norm makes them sqrt(dimension) long, which the head takes back. */
static void write_ends(tq_writer *writer, size_t rows, size_t count, float sureness) {
  float *unit = calloc(rows * rows, sizeof *unit), *head = calloc(rows * rows, sizeof *head);
  float *ones = calloc(rows, sizeof *ones), share = sureness / sqrtf((float)rows);
  for (size_t i = 0; i < rows; i++) unit[i * rows + i] = ones[i] = 1;
  for (size_t i = 0; i < count; i++) {
    head[next_token(i, count) * rows + i] = share;
    for (size_t extra = count; extra < rows; extra++) head[extra * rows + i] = 2 * share;
  }
  write_matrix(writer, "embedding", rows, rows, unit);
  write_matrix(writer, "head", rows, rows, head);
  write_matrix(writer, "final_norm", 0, rows, ones);
  free(unit);
  free(head);
  free(ones);
}

void chain_model_write(const char *path, const chain_token *tokens, size_t count, uint32_t context, float sureness,
                       int padding) {
  chain_model_write_chat(path, tokens, count, context, sureness, padding, "");
}

void chain_model_write_chat(const char *path, const chain_token *tokens, size_t count, uint32_t context, float sureness,
                            int padding, const char *chat_template) {
  size_t rows = (size_t)((long)count + padding), known = rows < count ? rows : count;
  tq_writer *writer;
  uint8_t none[16] = {0};
  ck_ok(tq_writer_create(path, 0, &writer, error));
  write_metadata(writer, (uint32_t)rows, context);
  write_tokenizer(writer, tokens, count, chat_template);
  write_ends(writer, rows, known, sureness);
  write_matrix(writer, "layers.0.attention_norm", 0, rows, NULL);
  write_matrix(writer, "layers.0.q", HEAD_DIMENSION, rows, NULL);
  write_matrix(writer, "layers.0.k", HEAD_DIMENSION, rows, NULL);
  write_matrix(writer, "layers.0.v", HEAD_DIMENSION, rows, NULL);
  write_matrix(writer, "layers.0.o", rows, HEAD_DIMENSION, NULL);
  write_matrix(writer, "layers.0.ffn_norm", 0, rows, NULL);
  write_matrix(writer, "layers.0.gate", FEED_FORWARD, rows, NULL);
  write_matrix(writer, "layers.0.up", FEED_FORWARD, rows, NULL);
  write_matrix(writer, "layers.0.down", rows, FEED_FORWARD, NULL);
  ck_ok(tq_writer_finish(writer, none, none, error));
}
