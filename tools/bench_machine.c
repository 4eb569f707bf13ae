/* The machine: its name, and what it can do at most. */
#include "base/file.h"
#include "base/memory.h"
#include "tools/bench.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

enum {
  MEMORY = 512 << 20,
  PASSES = 3, /* over the memory, for one sample */
  FIRST_ROUNDS = 1024,
  PAGE = 4096,
  MOST_TEXT = 1 << 24
};

static const double multiplying_seconds = 0.03;

double bench_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* ---- series ---- */

tq_status bench_series_create(size_t capacity, bench_series *series, tq_error *error) {
  series->count = 0;
  series->samples = tq_allocate(capacity, sizeof *series->samples, error);
  return series->samples ? TQ_OK : TQ_ERROR_SYSTEM;
}

void bench_series_add(bench_series *series, double sample) { series->samples[series->count++] = sample; }

double bench_mean(const bench_series *series) {
  double sum = 0;
  for (size_t i = 0; i < series->count; i++) sum += series->samples[i];
  return sum / (double)series->count;
}

double bench_deviation(const bench_series *series) {
  double mean = bench_mean(series), sum = 0;
  for (size_t i = 0; i < series->count; i++) sum += (series->samples[i] - mean) * (series->samples[i] - mean);
  return series->count > 1 ? sqrt(sum / (double)(series->count - 1)) : 0;
}

/* Counting what is smaller finds the middle without a sorted copy. */
static double sample_of_rank(const bench_series *series, size_t rank) {
  for (size_t i = 0; i < series->count; i++) {
    size_t smaller = 0, equal = 0;
    for (size_t k = 0; k < series->count; k++) {
      smaller += series->samples[k] < series->samples[i];
      equal += series->samples[k] == series->samples[i];
    }
    if (smaller <= rank && rank < smaller + equal) return series->samples[i];
  }
  return NAN;
}

double bench_median(const bench_series *series) {
  return (sample_of_rank(series, (series->count - 1) / 2) + sample_of_rank(series, series->count / 2)) / 2;
}

/* ---- the processor's name ---- */

#if defined(__APPLE__)
static bool find_processor(char *name, size_t room) {
  return sysctlbyname("machdep.cpu.brand_string", name, &room, NULL, 0) == 0;
}
#else
/* The first line "model name : NAME" that Linux gives, which it does on x86. */
static bool find_processor(char *name, size_t room) {
  tq_error ignored;
  char *text;
  size_t size;
  if (tq_stream_read_all("/proc/cpuinfo", MOST_TEXT, &text, &size, &ignored)) return false;
  const char *line = strstr(text, "model name"), *colon = line ? strstr(line, ": ") : NULL;
  if (colon) snprintf(name, room, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
  tq_free(text);
  return colon != NULL;
}
#endif

static void name_processor(char *name, size_t room) {
  struct utsname system;
  if (find_processor(name, room)) return;
  snprintf(name, room, "%s", uname(&system) == 0 ? system.machine : "unknown");
}

/* ---- its limits ---- */

static void fill_memory(uint8_t *memory) {
  for (size_t i = 0; i < MEMORY; i += PAGE) memory[i] = (uint8_t)(i / PAGE);
}

/* As many rounds as take about that long on one thread. */
static size_t choose_rounds(const tq_kernels *kernels) {
  int32_t sum;
  size_t rounds = FIRST_ROUNDS;
  for (;; rounds *= 2) {
    double begin = bench_seconds();
    kernels->multiply_integers(rounds, &sum);
    if (bench_seconds() - begin >= multiplying_seconds / 2) return rounds;
  }
}

tq_status bench_machine_create(bench_machine *machine, tq_error *error) {
  *machine = (bench_machine){.processors = sysconf(_SC_NPROCESSORS_ONLN)};
  name_processor(machine->processor, sizeof machine->processor);
  tq_status status = tq_kernels_choose(NULL, &machine->kernels, error);
  if (status) return status;
  machine->memory = tq_allocate_aligned(PAGE, MEMORY, error);
  if (!machine->memory) return TQ_ERROR_SYSTEM;
  fill_memory(machine->memory);
  machine->rounds = choose_rounds(machine->kernels);
  return TQ_OK;
}

void bench_machine_destroy(bench_machine *machine) { tq_free(machine->memory); }

/* What the members did, so that no compiler can leave it out. */
typedef struct measured {
  const bench_machine *machine;
  atomic_ullong products, sums;
} measured;

/* Another share in every pass: what a member has just read may be in its own cache. */
static void read_shares(void *context, unsigned member, unsigned members) {
  measured *of = context;
  uint64_t sum = 0;
  for (unsigned pass = 0; pass < PASSES; pass++) {
    size_t begin, end;
    tq_team_share(MEMORY / PAGE, (member + pass) % members, members, &begin, &end);
    sum += of->machine->kernels->read_memory(of->machine->memory + begin * PAGE, (end - begin) * PAGE);
  }
  atomic_fetch_add(&of->sums, sum);
}

static void multiply(void *context, unsigned member, unsigned members) {
  measured *of = context;
  int32_t sum = 0;
  (void)member, (void)members;
  atomic_fetch_add(&of->products, of->machine->kernels->multiply_integers(of->machine->rounds, &sum));
  atomic_fetch_add(&of->sums, (uint64_t)(uint32_t)sum);
}

void bench_machine_measure(const bench_machine *machine, tq_team *team, bench_limits *limits) {
  measured of = {.machine = machine};
  double begin = bench_seconds();
  tq_team_run(team, multiply, &of);
  bench_series_add(&limits->multiply, 2e-9 * (double)of.products / (bench_seconds() - begin));
  begin = bench_seconds();
  tq_team_run(team, read_shares, &of);
  bench_series_add(&limits->read, 1e-9 * PASSES * (double)MEMORY / (bench_seconds() - begin));
}
