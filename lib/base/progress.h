/* Progress as the library reports it: a callback that a tool turns into a line on a terminal. */
#ifndef TQ_BASE_PROGRESS_H
#define TQ_BASE_PROGRESS_H

#include <stdint.h>

typedef struct tq_progress {
  void (*report)(void *context, uint64_t done, uint64_t total); /* NULL: nobody watches */
  void *context;
} tq_progress;

static inline void tq_progress_report(const tq_progress *progress, uint64_t done, uint64_t total) {
  if (progress && progress->report) progress->report(progress->context, done, total);
}

#endif
