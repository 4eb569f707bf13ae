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

/* Flushes stdout; fails with the reason when what was printed could not be written. */
tq_status tool_flush(tq_error *error);
/* Flushes stdout and returns `status`, or 1 with a message when what was printed could not be written. */
int tool_finish(int status);

/* Prints a name from a file or a user in the form that is harmless to a terminal. */
void tool_print_name(const char *name);

/* A whole decimal number within bounds, or false. */
bool tool_parse_u64(const char *text, uint64_t least, uint64_t most, uint64_t *value);
/* The most threads that -t may ask for on this machine. */
uint64_t tool_most_threads(void);
/* A finite decimal number within bounds, or false. */
bool tool_parse_double(const char *text, double least, double most, double *value);

/* True when `stream` is a terminal and NO_COLOR is not set to anything: colours are then welcome. */
bool tool_colors(FILE *stream);

/* A progress line on stderr when that is a terminal (rate and remaining time), nothing otherwise. `label` must outlive
 * it. */
tq_progress tool_progress(const char *label);
/* Clears the line. */
void tool_progress_end(void);

/* The same number; a NaN without its sign, which means nothing and is not to be printed. */
double tool_unsigned_nan(double number);

/* "1.2 MB" and the like, into text (at least 32 bytes); returns it. */
const char *tool_bytes(uint64_t bytes, char *text);

#endif
