/* Pieces of JSON that describing a model and comparing two have in common. */
#ifndef TQ_TOOLS_INSPECT_JSON_H
#define TQ_TOOLS_INSPECT_JSON_H

#include "tools/inspect.h"

#include <jansson.h>

/* Text of any bytes: what is not UTF-8 is escaped. NULL for want of memory, as of everything here. */
json_t *inspect_json_text(const char *data);
/* The three digests by name; null for one that there is not. */
json_t *inspect_json_digests(const inspect_model *model);

#endif
