/* llama2.c's tokenizer.bin: the longest text's length, then for each token its score, its length and its text, with
 * plain spaces and with line ends around the names of BOS and EOS. Types are not in the file; they follow from the
 * places that the format gives to the unknown token, BOS, EOS and the bytes. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/tokenizer/tables.h"

#include <string.h>

enum { HEADER_SIZE = 4, TOKEN_HEADER_SIZE = 8, FIRST_BYTE = 3, BYTES_END = FIRST_BYTE + 256 };

static const char *const first_texts[FIRST_BYTE] = {"<unk>", "\n<s>\n", "\n</s>\n"};
static const tq_string first_names[FIRST_BYTE] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
static const tq_token_type first_types[FIRST_BYTE] = {TQ_TOKEN_UNKNOWN, TQ_TOKEN_CONTROL, TQ_TOKEN_CONTROL};

bool tq_llama2c_vocabulary_recognize(const uint8_t *start, size_t size) {
  const size_t text = HEADER_SIZE + TOKEN_HEADER_SIZE, length = strlen(first_texts[0]);
  return size >= text + length && tq_load_u32(start + text - 4) == length &&
         memcmp(start + text, first_texts[0], length) == 0;
}

/* The token at *offset, and *offset moved behind it. */
static tq_status next_token(const char *name, const uint8_t *data, size_t size, size_t *offset, tq_string *text,
                            tq_error *error) {
  if (size - *offset < TOKEN_HEADER_SIZE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated in a token at offset %zu", name, *offset);
  }
  uint32_t length = tq_load_u32(data + *offset + 4);
  if (length == 0 || length > size - *offset - TOKEN_HEADER_SIZE || length > tq_load_u32(data)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a token of %u bytes at offset %zu", name, length, *offset);
  }
  *text = (tq_string){(const char *)data + *offset + TOKEN_HEADER_SIZE, length};
  *offset += TOKEN_HEADER_SIZE + length;
  return TQ_OK;
}

static tq_status count_tokens(const char *name, const uint8_t *data, size_t size, size_t *count, tq_error *error) {
  tq_string text;
  tq_status status = TQ_OK;
  *count = 0;
  for (size_t offset = HEADER_SIZE; offset < size && !status; (*count)++) {
    status = next_token(name, data, size, &offset, &text, error);
  }
  return status;
}

static bool is_text(tq_string text, const char *expected) {
  return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

/* The first three tokens are told by their places, and must have the names that belong there. */
static tq_status read_first(const char *name, tq_vocabulary_tables *tables, size_t id, tq_string text,
                            tq_error *error) {
  if (!is_text(text, first_texts[id])) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: token %zu is not %.*s, so this is no llama2.c vocabulary", name, id,
                   (int)first_names[id].size, first_names[id].data);
  }
  tables->tokens[id] = first_names[id];
  tables->types[id] = (uint8_t)first_types[id];
  return TQ_OK;
}

static tq_status read_tokens(const char *name, const uint8_t *data, size_t size, tq_vocabulary_tables *tables,
                             tq_error *error) {
  char *texts = tables->texts;
  size_t offset = HEADER_SIZE;
  tq_status status = TQ_OK;
  for (size_t id = 0; offset < size && !status; id++) {
    tq_string text;
    tables->scores[id] = tq_load_f32(data + offset);
    status = next_token(name, data, size, &offset, &text, error);
    if (status) break;
    if (id < FIRST_BYTE) {
      status = read_first(name, tables, id, text, error);
      continue;
    }
    tables->tokens[id] = (tq_string){texts, tq_escape_spaces(text, texts)};
    texts += tables->tokens[id].size;
    if (id < BYTES_END && tq_is_byte_text(text)) tables->types[id] = TQ_TOKEN_BYTE;
  }
  return status;
}

static void set_behaviour(tq_vocabulary *vocabulary) {
  vocabulary->special[TQ_SPECIAL_UNKNOWN] = 0;
  vocabulary->special[TQ_SPECIAL_BOS] = 1;
  vocabulary->special[TQ_SPECIAL_EOS] = 2;
  vocabulary->add_bos = true;
  vocabulary->add_space_prefix = true;
}

tq_status tq_llama2c_vocabulary_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                     tq_error *error) {
  size_t count = 0, room;
  if (size < HEADER_SIZE) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated in its header", name);
  tq_status status = count_tokens(name, data, size, &count, error);
  if (!status && count < FIRST_BYTE) {
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: %zu tokens are no llama2.c vocabulary", name, count);
  }
  if (!status) status = tq_vocabulary_tables_start(tables, TQ_TOKENIZER_SENTENCEPIECE, count, true, error);
  if (status) return status;
  if (__builtin_mul_overflow(size, TQ_ESCAPED_SPACE_SIZE, &room)) room = SIZE_MAX;
  tables->texts = tq_allocate(room, 1, error);
  if (!tables->texts) return TQ_ERROR_SYSTEM;
  set_behaviour(&tables->vocabulary);
  return read_tokens(name, data, size, tables, error);
}
