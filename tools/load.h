/* What the tools that compute share: opening a model and reading texts. */
#ifndef TQ_TOOLS_LOAD_H
#define TQ_TOOLS_LOAD_H

#include "tq/container.h"
#include "tq/error.h"

#include <stddef.h>

/* Opens a .tq file whose tensors are verified as they are used. For a foreign checkpoint the message names the command
 * that converts it. */
tq_status tool_open_container(const char *path, tq_file **file, tq_error *error);

/* All of a file, or of standard input for "-", released with tq_release. */
tq_status tool_read_text(const char *path, char **text, size_t *size, tq_error *error);

#endif
