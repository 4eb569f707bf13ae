/* Chat templates: how a conversation becomes the text that a model was trained on. A model's file has a program for
 * that, in Jinja; it is not run here: programs that are known are recognised, and what they write is a row of a table.
 */
#ifndef TQ_CHAT_H
#define TQ_CHAT_H

#include "tq/error.h"
#include "tq/tokenizer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A row of the table; lives as long as the program. */
typedef struct tq_chat_template tq_chat_template;

/* The names are those of the rows 0, 1, ... until NULL: "plain" (no template: messages with an empty line between),
 * "chatml", "llama2", ... */
const char *tq_chat_template_name(size_t row);
const tq_chat_template *tq_chat_template_by_name(const char *name); /* NULL when there is none */
/* The row that writes what the Jinja text writes for messages of system, user and assistant, or NULL where that is not
 * known. The empty text is "plain". */
const tq_chat_template *tq_chat_template_detect(tq_string jinja);
/* The same for a tokenizer's own template; TQ_ERROR_CORRUPT, with its beginning, for one that is not known. */
tq_status tq_chat_template_of(const tq_tokenizer *tokenizer, const tq_chat_template **found, tq_error *error);
/* The text that ends the reply where the vocabulary has no control token for it; "" when there is none. */
const char *tq_chat_template_end_of_turn(const tq_chat_template *row);

typedef enum tq_chat_role { TQ_CHAT_SYSTEM, TQ_CHAT_USER, TQ_CHAT_ASSISTANT } tq_chat_role;

typedef struct tq_chat_message {
  tq_chat_role role;
  tq_string content;
} tq_chat_message;

/* Pieces of a text that follow on from each other. In the template's own, names of control tokens are those tokens; in
 * what the messages say they are text like any other. */
typedef struct tq_chat_piece {
  size_t size;
  bool markup;
} tq_chat_piece;

typedef struct tq_chat_text {
  char *text; /* a NUL stands behind it */
  size_t size;
  tq_chat_piece *pieces;
  size_t piece_count;
} tq_chat_text;

/* Renders a conversation, with the beginning of the reply if `add_generation_prompt`. A BOS that the template would
 * write first is left out, since encoding adds it; the texts of `bos` and `eos` stand for those between. *to is
 * released with tq_chat_text_release. TQ_ERROR_USAGE for an order of roles that the template has no way to write. */
tq_status tq_chat_render(const tq_chat_template *row, const tq_chat_message *messages, size_t count,
                         bool add_generation_prompt, tq_string bos, tq_string eos, tq_chat_text *to, tq_error *error);
void tq_chat_text_release(tq_chat_text *text);

/* tq_tokenizer_encode for a rendered conversation: control tokens are found in the template's own pieces only, and
 * words may reach over where pieces meet. TQ_ENCODE_CONTROL has no meaning here. */
tq_status tq_chat_encode(const tq_tokenizer *tokenizer, const tq_chat_text *text, unsigned flags, uint32_t **ids,
                         size_t *count, tq_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
