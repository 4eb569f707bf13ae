/* The place of a synthetic model's file: a folder of its own in $TMPDIR. From its making to its removal the signals
 * that end a program wait. */
#ifndef TQ_TOOLS_BENCH_TEMPORARY_H
#define TQ_TOOLS_BENCH_TEMPORARY_H

#include "base/file.h"

#include <signal.h>
#include <stdbool.h>

typedef struct bench_temporary {
  tq_scratch *folder;
  char *path; /* where the file is to be */
  sigset_t before;
} bench_temporary;

tq_status bench_temporary_create(bench_temporary *temporary, tq_error *error);
/* True when a signal waits that will end the program. */
bool bench_temporary_ends(void);
/* Removes the folder and what is in it, and lets the signals through. */
void bench_temporary_remove(bench_temporary *temporary);

#endif
