/* Texts to their numbers: the index of a section's texts, and of any list of texts while one is read. */
#ifndef TQ_TOKENIZER_LOOKUP_H
#define TQ_TOKENIZER_LOOKUP_H

#include "tokenizer/index.h"
#include "tq/metadata.h"

enum { TQ_LOOKUP_NONE = -1 };

/* Zero-initialise; the texts must outlive it. */
typedef struct tq_lookup {
  const tq_string *texts;
  tq_index index;
  uint8_t *slots; /* owned */
} tq_lookup;

/* Indexes `count` texts. Empty ones are left out; of two that are equal the later is found. */
tq_status tq_lookup_build(tq_lookup *lookup, const tq_string *texts, size_t count, tq_error *error);
/* The number of a text, or TQ_LOOKUP_NONE. */
int64_t tq_lookup_find(const tq_lookup *lookup, const char *text, size_t size);
void tq_lookup_free(tq_lookup *lookup);

#endif
