/* Vocabularies for tests: from the shared files, and small ones made up. */
#ifndef TQ_TESTS_TOKENIZER_SUPPORT_H
#define TQ_TESTS_TOKENIZER_SUPPORT_H

#include "tq/tokenizer.h"

/* A tokenizer over a section of its own. */
typedef struct opened {
  uint8_t *section;
  size_t size;
  tq_tokenizer *tokenizer;
} opened;

/* The section of a shared GGUF (by its keys) or tokenizer file; false, after saying so, when the shared data is not
 * there. Released with tq_release. */
bool load_shared(const char *relative, uint8_t **section, size_t *size);
bool open_shared(opened *with, const char *relative);
void close_opened(opened *with);

/* A made-up vocabulary of at most 512 tokens: all normal, scores 0, no special ids, no names. */
typedef struct owned {
  tq_vocabulary vocabulary;
  tq_string tokens[512];
  uint8_t types[512];
  float scores[512];
} owned;

void owned_start(owned *vocabulary, tq_tokenizer_kind kind, const char *const *texts, size_t count);
void open_owned(opened *with, const owned *vocabulary);

/* SentencePiece: unknown, BOS and EOS (0, 1, 2), two user-defined tokens, and a few letters with scores. */
void small_vocabulary(owned *vocabulary);
/* Byte level, gpt-2: the texts, a user-defined token last, and the merges. */
enum { LETTER_TOKENS = 9, LETTER_MERGES = 5 };
extern const char *const letter_texts[LETTER_TOKENS];
extern const tq_merge letter_merges[LETTER_MERGES];
void letter_vocabulary(owned *vocabulary);

/* Fails the test unless `text` encodes to exactly these ids. */
void ck_encodes(const opened *with, const char *text, unsigned flags, const uint32_t *ids, size_t count);

/* Fails the test unless the texts of llama.cpp's test vectors VECTORS.inp become the ids of VECTORS.out, a line for
 * each, and these the texts again. Both are shared files. */
void ck_vectors(const tq_tokenizer *tokenizer, const char *vectors);

#endif
