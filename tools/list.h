/* The table of dialects, for people. */
#ifndef TQ_TOOLS_LIST_H
#define TQ_TOOLS_LIST_H

#include "formats/dialects/dialect.h"

/* The dialect that a user calls so, in letters of any case, or NULL. */
const tq_dialect *list_find(const char *name);
/* The dialect of that name that is recognised but neither read nor written, and why; false when it is none. */
bool list_find_refused(const char *name, const char **dialect, const char **reason);
/* Prints it; returns the exit status. */
int list_dialects(void);

#endif
