/* What the tools that compute share: opening a model and reading texts. */
#ifndef TQ_TOOLS_LOAD_H
#define TQ_TOOLS_LOAD_H

#include "tq/container.h"
#include "tq/error.h"

#include <stddef.h>
#include <stdint.h>

/* Opens a .tq file whose tensors are verified as they are used. For a foreign checkpoint the message names the command
 * that converts it. */
tq_status tool_open_container(const char *path, tq_file **file, tq_error *error);

/* The longest text that a tool takes, in bytes. */
enum { TOOL_MOST_TEXT = 1 << 30 };

/* Fails when a token of the tokenizer is outside the vocabulary of the model in the file `path`. */
tq_status tool_check_tokens(const char *path, const uint32_t *tokens, size_t count, uint32_t vocabulary,
                            tq_error *error);

#endif
