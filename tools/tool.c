#include "tools/tool.h"

#include "base/text.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
  LONGEST_NAME = 1 << 14, /* a path with every byte escaped */
  FEWEST_THREADS_ALLOWED = 256
};

static const char *name_of_tool = "tq";

void tool_start(const char *name) { name_of_tool = name; }

int tool_fail(const tq_error *error) {
  fflush(stdout);
  fprintf(stderr, "%s: %s\n", name_of_tool, error->message);
  return (int)error->status;
}

int tool_usage(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "%s: ", name_of_tool);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\nTry '%s --help'.\n", name_of_tool);
  va_end(arguments);
  return TQ_ERROR_USAGE;
}

int tool_version(void) {
  printf("%s (tq) %s\n", name_of_tool, TQ_VERSION);
  return TQ_OK;
}

tq_status tool_flush(tq_error *error) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_SYSTEM, "standard output: %s", errno ? strerror(errno) : "a write failed before");
}

int tool_finish(int status) {
  tq_error error;
  return tool_flush(&error) ? tool_fail(&error) : status;
}

void tool_print_name(const char *name) {
  char text[LONGEST_NAME];
  fputs(tq_printable(name, strlen(name), text, sizeof text), stdout);
}

uint64_t tool_most_threads(void) {
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  uint64_t many = processors > 0 ? 4 * (uint64_t)processors : 0;
  return many < FEWEST_THREADS_ALLOWED ? FEWEST_THREADS_ALLOWED : many;
}

bool tool_parse_u64(const char *text, uint64_t least, uint64_t most, uint64_t *value) {
  if (*text < '0' || *text > '9') return false;
  char *end;
  errno = 0;
  unsigned long long parsed = strtoull(text, &end, 10);
  if (errno || *end || parsed < least || parsed > most) return false;
  *value = parsed;
  return true;
}

bool tool_parse_double(const char *text, double least, double most, double *value) {
  char *end;
  errno = 0;
  double parsed = strtod(text, &end);
  if (end == text || *end || errno || !isfinite(parsed) || parsed < least || parsed > most) return false;
  *value = parsed;
  return true;
}

double tool_unsigned_nan(double number) { return isnan(number) ? (double)NAN : number; }

bool tool_colors(FILE *stream) {
  const char *no_color = getenv("NO_COLOR");
  return (!no_color || !*no_color) && isatty(fileno(stream));
}

static struct {
  const char *label;
  double start, last;
} progress;

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void report(void *context, uint64_t done, uint64_t total) {
  (void)context;
  double time = now();
  if (time - progress.last < 0.1 || !total) return;
  progress.last = time;
  double elapsed = time - progress.start, share = (double)done / (double)total;
  char rate[32];
  tool_bytes((uint64_t)((double)done / elapsed), rate);
  fprintf(stderr, "\r\033[K%s %3.0f %%  %s/s  %.0f s left", progress.label, 100 * share, rate,
          share > 0 ? elapsed * (1 - share) / share : 0.0);
}

tq_progress tool_progress(const char *label) {
  if (!isatty(STDERR_FILENO)) return (tq_progress){0};
  progress.label = label;
  progress.start = now();
  progress.last = 0;
  return (tq_progress){report, NULL};
}

void tool_progress_end(void) {
  if (progress.last > 0) fputs("\r\033[K", stderr);
  progress.last = 0;
}

const char *tool_bytes(uint64_t bytes, char *text) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = (double)bytes;
  size_t unit = 0;
  while (value >= 1000 && unit < 6) value /= 1000, unit++;
  snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}
