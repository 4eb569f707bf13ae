#include "tools/bench_temporary.h"

#include "base/memory.h"

#include <stdlib.h>

static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
enum { ENDING = sizeof ending / sizeof ending[0] };

static void hold_signals(sigset_t *before) {
  sigset_t held;
  sigemptyset(&held);
  for (size_t i = 0; i < ENDING; i++) sigaddset(&held, ending[i]);
  pthread_sigmask(SIG_BLOCK, &held, before);
}

/* What the program was told to ignore (by nohup, or in the background) waits too, but ends nothing. */
static bool is_ignored(int number) {
  struct sigaction action;
  return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

bool bench_temporary_ends(void) {
  sigset_t waiting;
  if (sigpending(&waiting) != 0) return false;
  for (size_t i = 0; i < ENDING; i++)
    if (sigismember(&waiting, ending[i]) == 1 && !is_ignored(ending[i])) return true;
  return false;
}

/* The folder's name is made of this one and the process, so that the next run removes what a killed one left. */
static tq_status make_folder(bench_temporary *temporary, tq_error *error) {
  const char *where = getenv("TMPDIR");
  char *target = tq_format_string(error, "%s/tq-bench", where && *where ? where : "/tmp");
  if (!target) return TQ_ERROR_SYSTEM;
  tq_scratch_clean(target);
  tq_status status = tq_scratch_create(target, &temporary->folder, error);
  tq_free(target);
  if (status) return status;
  temporary->path = tq_format_string(error, "%s/model.tq", tq_scratch_path(temporary->folder));
  return temporary->path ? TQ_OK : TQ_ERROR_SYSTEM;
}

tq_status bench_temporary_create(bench_temporary *temporary, tq_error *error) {
  *temporary = (bench_temporary){0};
  hold_signals(&temporary->before);
  tq_status status = make_folder(temporary, error);
  if (status) bench_temporary_remove(temporary);
  return status;
}

void bench_temporary_remove(bench_temporary *temporary) {
  tq_scratch_remove(temporary->folder);
  tq_free(temporary->path);
  pthread_sigmask(SIG_SETMASK, &temporary->before, NULL);
}
