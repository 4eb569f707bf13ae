/* A model that says one thing: after token i it is most sure of token i + 1. Its layers add nothing to the embedding,
 * so that its text and its perplexity are known exactly. */
#ifndef TQ_TESTS_CHAIN_MODEL_H
#define TQ_TESTS_CHAIN_MODEL_H

#include <stddef.h>
#include <stdint.h>

typedef struct chain_token {
  const char *text; /* as a SentencePiece vocabulary has it */
  int type;         /* tq_token_type */
} chain_token;

/* Token 1 begins texts and token 2 ends them; the chain leads from 1 over 3, 4, ... to the last and then to 2. The
 * logit of the next token is `sureness`, those of the others are 0. With `padding` the model has that many more
 * embeddings than tokens, which it would rather say than anything; when that is negative, it has fewer. */
void chain_model_write(const char *path, const chain_token *tokens, size_t count, uint32_t context, float sureness,
                       int padding);
/* The same with a chat template. */
void chain_model_write_chat(const char *path, const chain_token *tokens, size_t count, uint32_t context, float sureness,
                            int padding, const char *chat_template);

#endif
