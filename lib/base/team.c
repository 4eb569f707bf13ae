#include "base/team.h"

#include "base/memory.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

/* Who waits looks at a counter again and again: at first without pause, as between two steps of a layer; then giving
 * the processor to any other thread that wants it, as between two tokens; then asleep. */
enum {
  MOST_MEMBERS = 4096,
  LOOKS = 2000,                 /* before the first yield: some tens of microseconds */
  YIELD_NANOSECONDS = 20000000, /* before sleep: longer than it takes to choose a token and to print it */
};

typedef struct helper {
  tq_team *team;
  unsigned number;
  pthread_t thread;
} helper;

/* The handshake is two counters. The driver raises `round` to start a task and waits until `busy` is 0; a member waits
 * for a round it has not seen and lowers `busy` when done. Whoever waits too long sleeps, having said so in `sleepers`
 * or `driver_sleeps` before looking at the counter once more; whoever changes a counter looks for sleepers after.
 * Both orders are sequentially consistent, so that one of the two always sees the other. */
struct tq_team {
  unsigned members;
  bool spins;        /* there is a processor for each */
  tq_team_task task; /* NULL ends the members */
  void *context;
  atomic_uint round, busy, sleepers;
  atomic_bool driver_sleeps;
  pthread_mutex_t mutex;
  pthread_cond_t started, finished;
  unsigned running; /* threads that were created */
  helper others[];
};

static unsigned processors(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    int count = CPU_COUNT(&set);
    if (count > 0) return (unsigned)count;
  }
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 && online < MOST_MEMBERS ? (unsigned)online : 1;
}

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

static int64_t nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static bool meets(const atomic_uint *counter, unsigned value, bool until) {
  return (atomic_load_explicit(counter, memory_order_acquire) == value) == until;
}

/* Waits until the counter is (or, for `until` false, is no longer) `value`; false when that took too long. */
static bool wait_awake(const tq_team *team, const atomic_uint *counter, unsigned value, bool until) {
  for (int looks = team->spins ? LOOKS : 1; looks > 0; looks--) {
    if (meets(counter, value, until)) return true;
    pause_briefly();
  }
  int64_t end = nanoseconds() + YIELD_NANOSECONDS;
  while (nanoseconds() < end) {
    if (meets(counter, value, until)) return true;
    sched_yield();
  }
  return false;
}

static void wait_for_round(tq_team *team, unsigned seen) {
  if (wait_awake(team, &team->round, seen, false)) return;
  pthread_mutex_lock(&team->mutex);
  atomic_fetch_add(&team->sleepers, 1);
  while (atomic_load(&team->round) == seen) pthread_cond_wait(&team->started, &team->mutex);
  atomic_fetch_sub(&team->sleepers, 1);
  pthread_mutex_unlock(&team->mutex);
}

static void finish_round(tq_team *team) {
  if (atomic_fetch_sub(&team->busy, 1) != 1 || !atomic_load(&team->driver_sleeps)) return;
  pthread_mutex_lock(&team->mutex);
  pthread_cond_signal(&team->finished);
  pthread_mutex_unlock(&team->mutex);
}

static void *work(void *argument) {
  const helper *self = argument;
  tq_team *team = self->team;
  for (unsigned seen = 0;; seen++) {
    wait_for_round(team, seen);
    tq_team_task task = team->task;
    if (!task) return NULL;
    task(team->context, self->number, team->members);
    finish_round(team);
  }
}

static void start_round(tq_team *team, tq_team_task task, void *context) {
  team->task = task;
  team->context = context;
  atomic_store(&team->busy, team->running);
  atomic_fetch_add(&team->round, 1);
  if (atomic_load(&team->sleepers) == 0) return;
  pthread_mutex_lock(&team->mutex);
  pthread_cond_broadcast(&team->started);
  pthread_mutex_unlock(&team->mutex);
}

static void wait_for_members(tq_team *team) {
  if (wait_awake(team, &team->busy, 0, true)) return;
  pthread_mutex_lock(&team->mutex);
  atomic_store(&team->driver_sleeps, true);
  while (atomic_load(&team->busy) != 0) pthread_cond_wait(&team->finished, &team->mutex);
  atomic_store(&team->driver_sleeps, false);
  pthread_mutex_unlock(&team->mutex);
}

/* The members take no signals: those belong to the program's own threads. */
static tq_status start_members(tq_team *team, tq_error *error) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool failed = false;
  while (!failed && team->running + 1 < team->members) {
    helper *next = &team->others[team->running];
    *next = (helper){.team = team, .number = team->running + 1};
    failed = tq_fault(TQ_OPERATION_ALLOCATE) || pthread_create(&next->thread, NULL, work, next) != 0;
    if (!failed) team->running++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!failed) return TQ_OK;
  return tq_fail(error, TQ_ERROR_SYSTEM, "cannot start thread %u of %u", team->running + 2, team->members);
}

tq_status tq_team_create(unsigned members, tq_team **team, tq_error *error) {
  unsigned available = processors();
  if (members == 0) members = available;
  if (members > MOST_MEMBERS)
    return tq_fail(error, TQ_ERROR_USAGE, "%u threads are more than the %d possible", members, MOST_MEMBERS);
  tq_team *created = tq_allocate(1, sizeof *created + (members - 1) * sizeof created->others[0], error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->members = members;
  created->spins = members <= available;
  pthread_mutex_init(&created->mutex, NULL);
  pthread_cond_init(&created->started, NULL);
  pthread_cond_init(&created->finished, NULL);
  tq_status status = start_members(created, error);
  if (status) {
    tq_team_destroy(created);
    return status;
  }
  *team = created;
  return TQ_OK;
}

unsigned tq_team_members(const tq_team *team) { return team->members; }

void tq_team_run(tq_team *team, tq_team_task task, void *context) {
  if (team->members > 1) start_round(team, task, context);
  task(context, 0, team->members);
  if (team->members > 1) wait_for_members(team);
}

void tq_team_destroy(tq_team *team) {
  if (!team) return;
  if (team->running) start_round(team, NULL, NULL);
  for (unsigned i = 0; i < team->running; i++) pthread_join(team->others[i].thread, NULL);
  pthread_cond_destroy(&team->finished);
  pthread_cond_destroy(&team->started);
  pthread_mutex_destroy(&team->mutex);
  tq_free(team);
}

void tq_team_share(size_t count, unsigned member, unsigned members, size_t *begin, size_t *end) {
  size_t each = count / members, more = count % members;
  *begin = each * member + (member < more ? member : more);
  *end = *begin + each + (member < more ? 1 : 0);
}
