/* Tokenizers: SentencePiece BPE and byte-level BPE, from tables that a reader filled or that a .tq file maps. */
#ifndef TQ_TOKENIZER_H
#define TQ_TOKENIZER_H

#include "tq/error.h"
#include "tq/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum tq_tokenizer_kind {
  TQ_TOKENIZER_SENTENCEPIECE = 1, /* merges by score, byte fallback ("llama" in GGUF) */
  TQ_TOKENIZER_BYTE_LEVEL = 2     /* merges by rank over GPT-2's printable bytes ("gpt2" in GGUF) */
} tq_tokenizer_kind;

typedef enum tq_token_type { /* GGUF's and SentencePiece's numbers */
                             TQ_TOKEN_NORMAL = 1,
                             TQ_TOKEN_UNKNOWN = 2,
                             TQ_TOKEN_CONTROL = 3,
                             TQ_TOKEN_USER_DEFINED = 4,
                             TQ_TOKEN_UNUSED = 5,
                             TQ_TOKEN_BYTE = 6
} tq_token_type;

typedef enum tq_special_token {
  TQ_SPECIAL_BOS,
  TQ_SPECIAL_EOS,
  TQ_SPECIAL_UNKNOWN,
  TQ_SPECIAL_SEPARATOR,
  TQ_SPECIAL_PADDING,
  TQ_SPECIAL_MASK,
  TQ_SPECIAL_END_OF_TURN,
  TQ_SPECIAL_COUNT
} tq_special_token;

/* One merge of two tokens into a third, by their ids. */
typedef struct tq_merge {
  uint32_t left, right;
} tq_merge;

/* What a tokenizer is, as plain tables: the canonical form between every reader and writer. Whoever fills it owns it;
 * strings may point into the file it came from. */
typedef struct tq_vocabulary {
  tq_tokenizer_kind kind;
  const char *pre; /* name of the pre-tokenizer ("gpt-2", "llama-bpe", ...), "" for SentencePiece */
  size_t token_count;
  const tq_string *tokens; /* texts as GGUF has them: U+2581 for spaces, or GPT-2's printable bytes */
  const uint8_t *types;    /* tq_token_type, per token */
  const float *scores;     /* per token, or NULL */
  size_t merge_count;
  const tq_merge *merges;            /* in order of rank */
  int64_t special[TQ_SPECIAL_COUNT]; /* ids, -1 where there is none */
  bool add_bos, add_eos;             /* whether encoding adds them by default */
  bool add_space_prefix;             /* SentencePiece's dummy prefix */
  bool ignore_merges;                /* a pre-token that is itself a token is taken whole (Llama 3) */
  bool clean_up_spaces;
  const char *normalizer;  /* "" or "nfc" */
  tq_string chat_template; /* Jinja text, or empty */
} tq_vocabulary;

/* Serialises the vocabulary with its indexes into the bytes of a "tokenizer" section (docs/format.md), released with
 * tq_release. TQ_ERROR_CORRUPT when it contradicts itself: a merge of unknown tokens or into an unknown one, an id out
 * of range. Of two tokens with one text the later is found, as in llama.cpp. An unknown `pre` is carried. Merges of a
 * SentencePiece vocabulary, which follow from its scores, are left out. */
tq_status tq_tokenizer_serialize(const tq_vocabulary *vocabulary, uint8_t **section, size_t *size, tq_error *error);

typedef struct tq_tokenizer tq_tokenizer;

/* Validates a section (every offset, id and index entry in bounds) and makes it usable, without copying its tables:
 * the bytes must be 64-byte aligned and outlive the tokenizer. A pre-tokenizer that is not known opens (its tables can
 * be read) but does not encode. Immutable afterwards: threads may share it. */
tq_status tq_tokenizer_open(const void *section, size_t size, tq_tokenizer **tokenizer, tq_error *error);
void tq_tokenizer_close(tq_tokenizer *tokenizer); /* NULL is allowed */

tq_tokenizer_kind tq_tokenizer_get_kind(const tq_tokenizer *tokenizer);
const char *tq_tokenizer_pre(const tq_tokenizer *tokenizer);
size_t tq_tokenizer_token_count(const tq_tokenizer *tokenizer);
/* The text as the vocabulary has it, its type and score (0 when there are no scores). `id` must be in range. */
tq_string tq_tokenizer_token(const tq_tokenizer *tokenizer, uint32_t id, tq_token_type *type, float *score);
bool tq_tokenizer_has_scores(const tq_tokenizer *tokenizer);
size_t tq_tokenizer_merge_count(const tq_tokenizer *tokenizer);
tq_merge tq_tokenizer_merge(const tq_tokenizer *tokenizer, size_t rank);
/* The id of the exact text, or -1. */
int64_t tq_tokenizer_find(const tq_tokenizer *tokenizer, const char *text, size_t size);
int64_t tq_tokenizer_special(const tq_tokenizer *tokenizer, tq_special_token which); /* -1: none */
bool tq_tokenizer_adds_bos(const tq_tokenizer *tokenizer);
bool tq_tokenizer_adds_eos(const tq_tokenizer *tokenizer);
bool tq_tokenizer_adds_space_prefix(const tq_tokenizer *tokenizer);
bool tq_tokenizer_ignores_merges(const tq_tokenizer *tokenizer);
bool tq_tokenizer_cleans_up_spaces(const tq_tokenizer *tokenizer);
const char *tq_tokenizer_normalizer(const tq_tokenizer *tokenizer);
tq_string tq_tokenizer_chat_template(const tq_tokenizer *tokenizer);
/* True for the tokens that end generation: EOS, end of turn, and control tokens known to end one ("<|eot_id|>",
 * "<|eom_id|>", "<|im_end|>", "<|end|>", "<|end_of_text|>", "<|endoftext|>", "<end_of_turn>", "</s>"). */
bool tq_tokenizer_ends_generation(const tq_tokenizer *tokenizer, uint32_t id);

/* XXH3-128 over vocabulary, types, merges or scores, special ids and pre-tokenizer (docs/format.md, "Digests"). */
void tq_tokenizer_digest(const tq_tokenizer *tokenizer, uint8_t digest[16]);

enum {
  TQ_ENCODE_SPECIAL = 1, /* add BOS and EOS where the vocabulary says so */
  TQ_ENCODE_CONTROL = 2  /* texts of control tokens inside the input become those tokens */
};
/* Encodes any bytes. *ids is released with tq_release. TQ_ERROR_CORRUPT for a pre-tokenizer that is not known (named)
 * or text that the vocabulary has no tokens for. */
tq_status tq_tokenizer_encode(const tq_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                              uint32_t **ids, size_t *count, tq_error *error);
/* The bytes a token stands for, without context: SentencePiece's U+2581 as a space, byte tokens as the byte, control
 * tokens as nothing unless `control` (then their text). At most `room` bytes are written; the full size is returned. */
size_t tq_tokenizer_piece(const tq_tokenizer *tokenizer, uint32_t id, bool control, char *bytes, size_t room);
/* The bytes of a sequence: the pieces joined, without the spaces that the dummy prefix put before the first and behind
 * control and user-defined tokens. *text is released with tq_release; a NUL stands behind it. */
tq_status tq_tokenizer_decode(const tq_tokenizer *tokenizer, const uint32_t *ids, size_t count, char **text,
                              size_t *size, tq_error *error);

/* Pre-tokenizers, for readers that meet a pattern instead of a name. */
/* The name whose patterns, joined by newlines, are exactly `patterns`, or NULL; of several the one that implies the
 * normalizer ("" or "nfc"), if there is one. */
const char *tq_pretokenizer_by_pattern(const char *patterns, const char *normalizer);
/* The patterns of a name (aliases included), joined by newlines, or NULL for an unknown name. */
const char *tq_pretokenizer_pattern(const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
