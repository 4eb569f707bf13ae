/* What the readers of tokenizer files share. */
#ifndef TQ_FORMATS_TOKENIZER_TABLES_H
#define TQ_FORMATS_TOKENIZER_TABLES_H

#include "formats/tokenizer/tokenizer_files.h"

/* U+2581, which stands for a space in token texts. */
#define TQ_ESCAPED_SPACE "\xe2\x96\x81"
enum { TQ_ESCAPED_SPACE_SIZE = 3 };

/* Allocates tokens, types and, if asked for, scores of `count` tokens, all types NORMAL, no special ids, no names. */
tq_status tq_vocabulary_tables_start(tq_vocabulary_tables *tables, tq_tokenizer_kind kind, size_t count, bool scores,
                                     tq_error *error);

/* Copies `text` to `to` with spaces escaped, which takes up to three times its size; returns the size. */
size_t tq_escape_spaces(tq_string text, char *to);
/* Copies `text` to `to` with U+2581 turned into spaces; returns the size. */
size_t tq_unescape_spaces(tq_string text, char *to);

/* True for the text "<0xHH>" of a byte token. */
bool tq_is_byte_text(tq_string text);

/* True when the bytes may be a SentencePiece model, a llama2.c vocabulary, tiktoken ranks. */
bool tq_sentencepiece_recognize(const uint8_t *start, size_t size);
bool tq_llama2c_vocabulary_recognize(const uint8_t *start, size_t size);
bool tq_tiktoken_ranks_recognize(const uint8_t *start, size_t size);

#endif
