/* Where things lie in a "tokenizer" section (docs/tokenizer-section.md): a header, then tables in a fixed order, each
 * beginning at the next multiple of 64 bytes. All numbers are little-endian. */
#ifndef TQ_TOKENIZER_SECTION_H
#define TQ_TOKENIZER_SECTION_H

#include "tq/tokenizer.h"

enum {
  TQ_SECTION_VERSION = 1,
  TQ_SECTION_ALIGNMENT = 64,
  TQ_SECTION_HEADER_SIZE = 320,
  TQ_SECTION_NAME_LIMIT = 255, /* bytes of a pre-tokenizer's or normalizer's name */
};

#define TQ_SECTION_MAGIC "tqtk"
#define TQ_SECTION_NO_TOKEN UINT32_MAX

/* Offsets of the header's fields. */
enum {
  TQ_AT_MAGIC = 0,
  TQ_AT_VERSION = 4,
  TQ_AT_KIND = 8,
  TQ_AT_FLAGS = 12,
  TQ_AT_TOKEN_COUNT = 16,
  TQ_AT_MERGE_COUNT = 20,
  TQ_AT_MATCH_COUNT = 24,
  TQ_AT_LONGEST_TEXT = 28,
  TQ_AT_TEXT_INDEX = 32, /* bits, seed */
  TQ_AT_PAIR_INDEX = 40, /* bits, seed */
  TQ_AT_SPECIAL = 48,    /* TQ_SPECIAL_COUNT ids */
  TQ_AT_RESERVED = 76,   /* zero */
  TQ_AT_DIRECTORY = 80   /* offset and size of each table */
};

enum {
  TQ_FLAG_ADD_BOS = 1,
  TQ_FLAG_ADD_EOS = 2,
  TQ_FLAG_SPACE_PREFIX = 4,
  TQ_FLAG_IGNORE_MERGES = 8,
  TQ_FLAG_CLEAN_UP_SPACES = 16,
  TQ_FLAG_SCORES = 32,
  TQ_FLAGS_KNOWN = 63
};

typedef enum tq_section_table {
  TQ_TABLE_PRE,
  TQ_TABLE_NORMALIZER,
  TQ_TABLE_CHAT_TEMPLATE,
  TQ_TABLE_TEXT_OFFSETS, /* u32, one more than there are tokens */
  TQ_TABLE_TEXTS,
  TQ_TABLE_TYPES,         /* u8 per token */
  TQ_TABLE_SCORES,        /* f32 per token */
  TQ_TABLE_MERGES,        /* left, right */
  TQ_TABLE_MERGE_RESULTS, /* u32 per merge */
  TQ_TABLE_MATCHES,       /* ids of tokens that are looked for in raw text, longest first */
  TQ_TABLE_TEXT_INDEX,
  TQ_TABLE_PAIR_INDEX,
  TQ_TABLE_COUNT
} tq_section_table;

/* True for tokens that stand for themselves in raw text: found there before anything else is done with it. */
static inline bool tq_type_is_matched(tq_token_type type) {
  return type == TQ_TOKEN_CONTROL || type == TQ_TOKEN_USER_DEFINED || type == TQ_TOKEN_UNKNOWN;
}

#endif
