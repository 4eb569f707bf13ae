/* Decoding: the bytes that tokens stand for. */
#include "base/memory.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

/* Counts what is written, and writes what fits. */
typedef struct piece_output {
  char *bytes;
  size_t room, size;
} piece_output;

static void put(piece_output *output, const char *bytes, size_t size) {
  if (output->size < output->room) {
    size_t fits = output->room - output->size;
    memcpy(output->bytes + output->size, bytes, size < fits ? size : fits);
  }
  output->size += size;
}

/* U+2581 stands for a space. */
static void put_unescaped(piece_output *output, tq_string text) {
  for (size_t at = 0; at < text.size;) {
    if (text.size - at >= 3 && memcmp(text.data + at, "\xe2\x96\x81", 3) == 0) {
      put(output, " ", 1);
      at += 3;
    } else {
      put(output, text.data + at++, 1);
    }
  }
}

static bool is_printable(tq_string text) {
  for (size_t at = 0; at < text.size;) {
    if (tq_printable_next(text, &at) < 0) return false;
  }
  return true;
}

/* A text with a character that stands for no byte was added to the vocabulary as it is. */
static void put_printable(piece_output *output, tq_string text) {
  if (!is_printable(text)) {
    put(output, text.data, text.size);
    return;
  }
  for (size_t at = 0; at < text.size;) {
    char byte = (char)tq_printable_next(text, &at);
    put(output, &byte, 1);
  }
}

static bool is_special(tq_token_type type) { return type == TQ_TOKEN_CONTROL || type == TQ_TOKEN_UNKNOWN; }

size_t tq_tokenizer_piece(const tq_tokenizer *tokenizer, uint32_t id, bool control, char *bytes, size_t room) {
  piece_output output = {bytes, room, 0};
  tq_token_type type = tq_token_type_of(tokenizer, id);
  tq_string text = tq_token_text(tokenizer, id);
  int byte = type == TQ_TOKEN_BYTE ? tq_byte_of_text(text) : -1;
  if (is_special(type)) {
    if (control) put(&output, text.data, text.size);
  } else if (byte >= 0) {
    char value = (char)byte;
    put(&output, &value, 1);
  } else if (tokenizer->kind == TQ_TOKENIZER_SENTENCEPIECE) {
    put_unescaped(&output, text);
  } else if (type == TQ_TOKEN_USER_DEFINED) {
    put(&output, text.data, text.size);
  } else {
    put_printable(&output, text);
  }
  return output.size;
}

/* ---- sequences ---- */

/* Encoding puts the dummy prefix at the start and after each special token; there it is taken away again. */
static bool restarts_text(tq_token_type type) { return type == TQ_TOKEN_CONTROL || type == TQ_TOKEN_USER_DEFINED; }

static tq_status append_piece(const tq_tokenizer *tokenizer, uint32_t id, tq_buffer *text, bool *at_start,
                              tq_error *error) {
  char small[256], *piece = small;
  size_t size = tq_tokenizer_piece(tokenizer, id, false, small, sizeof small);
  if (size > sizeof small) {
    piece = tq_allocate(size, 1, error);
    if (!piece) return TQ_ERROR_SYSTEM;
    tq_tokenizer_piece(tokenizer, id, false, piece, size);
  }
  tq_token_type type = tq_token_type_of(tokenizer, id);
  size_t prefix = *at_start && !restarts_text(type) && size && piece[0] == ' ';
  tq_status status = tq_buffer_append(text, piece + prefix, size - prefix, error);
  *at_start = restarts_text(type);
  if (piece != small) tq_free(piece);
  return status;
}

tq_status tq_tokenizer_decode(const tq_tokenizer *tokenizer, const uint32_t *ids, size_t count, char **text,
                              size_t *size, tq_error *error) {
  bool prefixed = tokenizer->kind == TQ_TOKENIZER_SENTENCEPIECE && tq_tokenizer_adds_space_prefix(tokenizer);
  bool at_start = true;
  tq_buffer bytes = {0};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < count && !status; i++) {
    bool strip = prefixed && at_start;
    if (ids[i] >= tokenizer->token_count) {
      status = tq_fail(error, TQ_ERROR_USAGE, "token %u of a vocabulary of %u", ids[i], tokenizer->token_count);
    } else {
      status = append_piece(tokenizer, ids[i], &bytes, &strip, error);
      at_start = strip;
    }
  }
  if (!status) status = tq_buffer_append(&bytes, "", 1, error);
  if (status) {
    tq_buffer_free(&bytes);
    return status;
  }
  *text = (char *)bytes.data;
  *size = bytes.size - 1;
  return TQ_OK;
}
