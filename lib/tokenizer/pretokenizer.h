/* Pre-tokenizers: how byte-level vocabularies cut text into words before merging. One row each, matched by PCRE2. */
#ifndef TQ_TOKENIZER_PRETOKENIZER_H
#define TQ_TOKENIZER_PRETOKENIZER_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TQ_PRETOKENIZER_NAMES = 6, TQ_PRETOKENIZER_PATTERNS = 6 };

/* What tokenizer.json says without a pattern, as the patterns that do the same: ASCII or Unicode punctuation in runs,
 * and runs of digits in text whose bytes have become printable characters. There the characters of some bytes beyond
 * ASCII count as digits too; a vocabulary that was made with such cuts has no token that spans one, so that leaving
 * them out changes nothing. */
#define TQ_PATTERN_PUNCTUATION "[\\p{P}$+<=>^`|~]+"
#define TQ_PATTERN_MAPPED_DIGITS "[0-9]+"
#define TQ_PATTERN_DIGIT_TRIPLE "[0-9][0-9][0-9]"

typedef struct tq_pretokenizer {
  const char *names[TQ_PRETOKENIZER_NAMES]; /* GGUF's; the first is canonical, the others mean the same */
  const char *patterns; /* as tokenizer.json has them, a newline between two; each cuts what the ones before left */
  /* What the name alone implies, since GGUF has no keys for it. */
  bool ignore_merges;
  bool add_bos;
  const char *normalizer;
} tq_pretokenizer;

/* The row of a name, or NULL. */
const tq_pretokenizer *tq_pretokenizer_find(const char *name);

/* A row's patterns, compiled. Immutable: threads share it. */
typedef struct tq_splitter tq_splitter;
tq_status tq_splitter_create(const tq_pretokenizer *pretokenizer, tq_splitter **splitter, tq_error *error);
void tq_splitter_destroy(tq_splitter *splitter); /* NULL is allowed */

/* Where words end, in order; the last end is the text's size. Zero-initialise; `ends` is freed by tq_free. */
typedef struct tq_words {
  size_t *ends;
  size_t count, capacity;
} tq_words;

/* Cuts any bytes into words that follow on from each other. A byte that is not part of well-formed UTF-8 counts as one
 * U+FFFD, so that arbitrary bytes are cut as llama.cpp would cut them, and none is lost. */
tq_status tq_splitter_split(const tq_splitter *splitter, const char *text, size_t size, tq_words *words,
                            tq_error *error);

#endif
