/* An opened tokenizer: a section's tables and what is derived from them once. */
#ifndef TQ_TOKENIZER_TOKENIZER_H
#define TQ_TOKENIZER_TOKENIZER_H

#include "base/bytes.h"
#include "base/text.h"
#include "tokenizer/index.h"
#include "tokenizer/merge.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/section.h"
#include "tq/tokenizer.h"

struct tq_tokenizer {
  tq_tokenizer_kind kind;
  uint32_t flags;
  uint32_t token_count, merge_count, match_count, longest_text;
  const uint8_t *tables[TQ_TABLE_COUNT];
  size_t table_sizes[TQ_TABLE_COUNT];
  tq_index text_index, pair_index;
  uint32_t special[TQ_SPECIAL_COUNT];
  uint32_t byte_tokens[256];           /* the token of each byte, or TQ_SECTION_NO_TOKEN */
  const tq_pretokenizer *pretokenizer; /* NULL when the name is not known */
  tq_splitter *splitter;               /* byte-level with a known pre-tokenizer only */
};

static inline tq_string tq_token_text(const tq_tokenizer *tokenizer, uint32_t id) {
  const uint8_t *offsets = tokenizer->tables[TQ_TABLE_TEXT_OFFSETS] + 4 * (size_t)id;
  uint32_t begin = tq_load_u32(offsets), end = tq_load_u32(offsets + 4);
  return (tq_string){(const char *)tokenizer->tables[TQ_TABLE_TEXTS] + begin, end - begin};
}

static inline tq_token_type tq_token_type_of(const tq_tokenizer *tokenizer, uint32_t id) {
  return (tq_token_type)tokenizer->tables[TQ_TABLE_TYPES][id];
}

/* The id of a text, or TQ_SECTION_NO_TOKEN. */
uint32_t tq_token_find(const tq_tokenizer *tokenizer, const char *text, size_t size);
/* The same, for the tokens that ordinary text consists of: neither control, unknown and byte tokens, whose text must
 * not turn into them, nor user-defined ones, which are looked for in the raw text before. */
uint32_t tq_token_find_ordinary(const tq_tokenizer *tokenizer, const char *text, size_t size);
/* The hash under which a pair of tokens is indexed. */
uint64_t tq_pair_hash(uint32_t left, uint32_t right);

/* The UTF-8 of the printable character that stands for a byte in a byte-level vocabulary: one or two bytes into `text`;
 * returns how many. */
size_t tq_byte_to_printable(uint8_t byte, char text[2]);
/* The byte that the printable character at text[*at] stands for, and *at moved behind it; -1 when it stands for none.
 */
int tq_printable_next(tq_string text, size_t *at);
/* The byte of a text "<0xHH>", or -1. */
int tq_byte_of_text(tq_string text);

/* ---- encoding ---- */

typedef struct tq_encoder {
  const tq_tokenizer *tokenizer;
  uint32_t *ids;
  size_t count, capacity;
  tq_merger merger;
  tq_buffer scratch;
} tq_encoder;

tq_status tq_encoder_add(tq_encoder *encoder, uint32_t id, tq_error *error);
/* Encode text without special tokens in it. */
tq_status tq_encode_sentencepiece(tq_encoder *encoder, const char *text, size_t size, bool space_prefix,
                                  tq_error *error);
tq_status tq_encode_byte_level(tq_encoder *encoder, const char *text, size_t size, tq_error *error);
/* Whether the merges make of every word that is itself a token that very token, so that ignoring merges for such words
 * or not is the same. False for a pre-tokenizer that is not known. Byte level only. */
tq_status tq_merges_make_every_token(const tq_tokenizer *tokenizer, bool *every, tq_error *error);

/* ---- special tokens in raw text ---- */

/* A stretch of raw text, or a token that was found in it. */
typedef struct tq_fragment {
  size_t start, size;
  uint32_t id; /* TQ_SECTION_NO_TOKEN for text */
} tq_fragment;

typedef struct tq_fragments {
  tq_fragment *items;
  size_t count, capacity;
} tq_fragments;

tq_status tq_fragments_add(tq_fragments *fragments, tq_fragment fragment, tq_error *error);

/* Cuts text at user-defined tokens and, when `control`, at control and unknown tokens: the longest are looked for first
 * in the whole text, of equally long ones the leftmost, as llama.cpp does. items are freed by tq_free. */
tq_status tq_split_special(const tq_tokenizer *tokenizer, const char *text, size_t size, bool control,
                           tq_fragments *fragments, tq_error *error);

#endif
