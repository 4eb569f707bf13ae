/* Tokenizer files and keys that need no JSON: GGUF's metadata, SentencePiece's tokenizer.model, llama2.c's
 * tokenizer.bin and tiktoken ranks. Each reader fills the same tables, from which a "tokenizer" section is made. */
#ifndef TQ_FORMATS_TOKENIZER_FILES_H
#define TQ_FORMATS_TOKENIZER_FILES_H

#include "formats/checkpoint.h"
#include "tq/metadata.h"
#include "tq/tokenizer.h"

enum { TQ_REASON_SIZE = 256 };

/* A vocabulary with the arrays that it owns. `vocabulary` may be changed before it is serialised (flags, template,
 * special ids); token texts lie in `texts` or in the bytes that were read, which must outlive them. Zero-initialise. */
typedef struct tq_vocabulary_tables {
  tq_vocabulary vocabulary;
  tq_string *tokens;
  uint8_t *types;
  float *scores;
  tq_merge *merges;
  char *texts;
  bool foreign; /* reading failed because the file, though whole, is of a kind that is not understood */
} tq_vocabulary_tables;

void tq_vocabulary_tables_free(tq_vocabulary_tables *tables);

/* ---- GGUF's tokenizer.* keys ---- */

/* Serialises the tokenizer that the keys describe. A tokenizer that is not understood, or none at all, is no error, for
 * the keys themselves are carried: *section is then NULL and `reason` says why, in a clause such as "tokenizer model
 * \"bert\" is not understood". Keys that contradict each other are TQ_ERROR_CORRUPT; `name` begins each message. Absent
 * keys mean what they mean to llama.cpp; of a byte-level vocabulary without special ids nothing is assumed. */
tq_status tq_vocabulary_from_metadata(const char *name, const tq_metadata *metadata, uint8_t **section, size_t *size,
                                      char reason[TQ_REASON_SIZE], tq_error *error);
/* Adds the keys in llama.cpp's converter's order. TQ_ERROR_REFUSED when GGUF cannot say what the tokenizer does. */
tq_status tq_vocabulary_to_metadata(const tq_tokenizer *tokenizer, tq_metadata_builder *builder, tq_error *error);

/* ---- tokenizer.model: SentencePiece's protocol buffer ---- */

/* Reads a BPE model; unigram, word and character models, normalisation other than "identity", and whitespace handling
 * that the tokenizer does not do are TQ_ERROR_CORRUPT by name. Texts may point into `data`. */
tq_status tq_sentencepiece_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                tq_error *error);
/* Appends a tokenizer.model to `file`. TQ_ERROR_REFUSED for a byte-level tokenizer. */
tq_status tq_sentencepiece_write(const tq_tokenizer *tokenizer, tq_buffer *file, tq_error *error);

/* ---- llama2.c's tokenizer.bin ---- */

tq_status tq_llama2c_vocabulary_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                     tq_error *error);

/* ---- tiktoken ranks ---- */

/* Reads ranks that are known by their content (a table in tiktoken.c): special tokens and pre-tokenizer are not in the
 * file. Others are TQ_ERROR_CORRUPT, saying so. */
tq_status tq_tiktoken_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                           tq_error *error);
/* A row of the table of formats: a vocabulary without weights. Its metadata is general.type = "vocabulary" and the
 * tokenizer's keys; the file is attached. */
bool tq_tiktoken_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
tq_status tq_tiktoken_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                           tq_error *error);

/* ---- any of the three files, told apart by content ---- */

tq_status tq_tokenizer_file_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                 tq_error *error);
/* The same, from an input to a serialised section. */
tq_status tq_tokenizer_file_serialize(tq_input *input, uint8_t **section, size_t *size, tq_error *error);

#endif
