/* What the tools share: messages, exit statuses, number arguments, terminals. */
#ifndef TQ_TOOLS_TOOL_H
#define TQ_TOOLS_TOOL_H

#include "base/progress.h"
#include "tq/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Remembers the tool's name for messages. Call first. */
void tool_start(const char *name);

/* Prints "tq-convert: MESSAGE" on stderr and returns the exit status of the error. */
int tool_fail(const tq_error *error);

/* Prints "tq-convert: MESSAGE" and a pointer to --help on stderr; returns 2. */
int tool_usage(const char *format, ...) TQ_PRINTF(1, 2);

/* Prints the version of the tool; returns 0. */
int tool_version(void);

/* Flushes stdout and returns `status`, or 1 with a message when what was printed could not be written. */
int tool_finish(int status);

/* A whole decimal number within bounds, or false. */
bool tool_parse_u64(const char *text, uint64_t least, uint64_t most, uint64_t *value);
/* A finite decimal number within bounds, or false. */
bool tool_parse_double(const char *text, double least, double most, double *value);

/* True when `stream` is a terminal and NO_COLOR is not set to anything: colours are then welcome. */
bool tool_colors(FILE *stream);

/* A progress line on stderr when that is a terminal (rate and remaining time), nothing otherwise. `label` must outlive
 * it. */
tq_progress tool_progress(const char *label);
/* Clears the line. */
void tool_progress_end(void);

/* "1.2 MB" and the like, into text (at least 32 bytes); returns it. */
const char *tool_bytes(uint64_t bytes, char *text);

#endif
