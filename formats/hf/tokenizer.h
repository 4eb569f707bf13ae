/* The tokenizer's files of a Hugging Face folder. */
#ifndef TQ_FORMATS_HF_TOKENIZER_H
#define TQ_FORMATS_HF_TOKENIZER_H

#include "formats/checkpoint.h"
#include "formats/json.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "tq/tokenizer.h"

/* Files larger than this are not read: the largest vocabularies known have a tokenizer.json of 40 MB. */
enum { TQ_TOKENIZER_JSON_LIMIT = 256 << 20 };

/* ---- reading ---- */

/* A tokenizer.json on its way to being a vocabulary. What is well-formed but not understood is no error: `reason` then
 * says what, and reading stops. */
typedef struct tq_tokenizer_json {
  const char *file; /* for messages */
  char *text;
  size_t size;
  json_t *json;             /* without the merges, which would take more memory than all the rest */
  tq_json_span merge_span;  /* where they are in `text` */
  const json_t *vocabulary; /* model.vocab */
  char reason[TQ_REASON_SIZE];
  tq_vocabulary_tables tables; /* token texts lie in `json` or in `padding` */
  size_t base_count;           /* tokens of the model itself; those behind were added */
  const char *bos, *eos;       /* what the post-processor puts around a text, or NULL */
  bool ranks_differ;           /* the merges are not those that the scores of tokenizer.model give */
  char *padding;               /* texts of ids that no token has */
  tq_error *error;
} tq_tokenizer_json;

/* Parses the text, which it takes over. `expanded`: it comes out of an archive, so that no file's size justifies its
 * own. */
tq_status tq_tokenizer_json_load(tq_tokenizer_json *from, const char *file, char *text, size_t size, bool expanded,
                                 tq_error *error);
/* Fills `tables` with everything that the file says; ids up to `least_count` that it does not name become unused tokens
 * "[PADn]", as llama.cpp's converter has it. `sentencepiece` are the tables of the tokenizer.model beside it, or NULL.
 */
tq_status tq_tokenizer_json_read(tq_tokenizer_json *from, uint64_t least_count,
                                 const tq_vocabulary_tables *sentencepiece);
void tq_tokenizer_json_free(tq_tokenizer_json *from);

/* Sets `reason` (escaped, one line) unless it is set; always returns TQ_OK. */
tq_status tq_tokenizer_json_stop(tq_tokenizer_json *from, const char *format, ...) TQ_PRINTF(2, 3);
/* The id of a token's text, in the vocabulary or among the added tokens, or -1. */
int64_t tq_tokenizer_json_find(const tq_tokenizer_json *from, const char *text, size_t size);

/* Normalizer, pre-tokenizer and post-processor: sets the vocabulary's kind, pre, normalizer, add_space_prefix, add_bos
 * and add_eos. */
tq_status tq_tokenizer_json_read_pipeline(tq_tokenizer_json *from, bool byte_fallback);
/* Reads the merges into `tables` (byte level), or turns them into scores (SentencePiece). */
tq_status tq_tokenizer_json_read_merges(tq_tokenizer_json *from, const tq_vocabulary_tables *sentencepiece);

/* Fills checkpoint->tokenizer from the files of checkpoint->folder, if they are there and understood; a note says if
 * they are not. `config` may be NULL. */
tq_status tq_hf_tokenizer_read(tq_checkpoint *checkpoint, const json_t *config, tq_error *error);

/* ---- writing ---- */

/* The text of a tokenizer.json for a tokenizer, handed on in pieces. TQ_ERROR_REFUSED when it cannot say what the
 * tokenizer does. */
tq_status tq_tokenizer_json_write(const tq_tokenizer *tokenizer, tq_sink sink, void *context, tq_error *error);
/* The values of tokenizer_config.json, special_tokens_map.json and generation_config.json. `context` is the model's
 * longest sequence, 0 when unknown. */
tq_status tq_tokenizer_config_write(const tq_tokenizer *tokenizer, uint64_t context, json_t **json, tq_error *error);
tq_status tq_special_tokens_write(const tq_tokenizer *tokenizer, json_t **json, tq_error *error);
tq_status tq_generation_config_write(const tq_tokenizer *tokenizer, json_t **json, tq_error *error);

/* The merges of a SentencePiece vocabulary in order of rank: every way to cut a token in two tokens, by falling score
 * of the whole. *merges is freed with tq_free. */
tq_status tq_sentencepiece_merges(const tq_tokenizer *tokenizer, tq_merge **merges, size_t *count, tq_error *error);

#endif
