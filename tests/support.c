#include "tests/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATHS = 8, PATH_ROOM = 4096 };

void support_check_failure(const char *expression, tq_status status, const tq_error *error, tq_status expected,
                           const char *part) {
  ck_assert_msg(status == expected, "%s: status %d instead of %d: %s", expression, (int)status, (int)expected,
                status ? error->message : "(no message)");
  ck_assert_msg(error->status == expected, "%s: error->status is %d instead of %d", expression, (int)error->status,
                (int)expected);
  ck_assert_msg(strstr(error->message, part) != NULL, "%s: \"%s\" does not contain \"%s\"", expression, error->message,
                part);
  ck_assert_msg(error->message[0] && !strpbrk(error->message, "\n\r"), "%s: \"%s\" is not one line", expression,
                error->message);
}

/* One of a ring of buffers. */
static char *next_path(void) {
  static char paths[PATHS][PATH_ROOM];
  static unsigned next;
  return paths[next++ % PATHS];
}

/* ---- faults ---- */

static struct {
  long left; /* the operation that finds 0 fails */
  long met[TQ_OPERATION_MAP + 1];
  int failed;
} faults;

static bool count_operation(void *context, tq_operation operation) {
  (void)context;
  faults.met[operation]++;
  if (faults.left-- != 0) return false;
  faults.failed = (int)operation;
  return true;
}

void fail_operation(long n) {
  memset(&faults, 0, sizeof faults);
  faults.left = n;
  faults.failed = -1;
  tq_inject_faults(count_operation, NULL);
}

void fail_no_operation(void) { tq_inject_faults(NULL, NULL); }

long operations_met(tq_operation operation) { return faults.met[operation]; }

int operation_failed(void) { return faults.failed; }

long check_every_fault(tq_status (*attempt)(const void *context, tq_error *error), const void *context) {
  for (long n = 0;; n++) {
    tq_error error = {0};
    fail_operation(n);
    tq_status status = attempt(context, &error);
    fail_no_operation();
    if (operation_failed() < 0) {
      ck_assert_msg(status == TQ_OK, "no operation failed: status %d: %s", (int)status, error.message);
      return n;
    }
    char name[64];
    snprintf(name, sizeof name, "operation %ld (kind %d)", n, operation_failed());
    support_check_failure(name, status, &error, TQ_ERROR_SYSTEM, "");
  }
}

/* ---- the shared data ---- */

const char *shared_path(const char *relative) {
  const char *set = getenv("TQ_SHARED"), *folder = set && *set ? set : "../shared";
  char *path = next_path();
  ck_assert(snprintf(path, PATH_ROOM, "%s/%s", folder, relative) < PATH_ROOM);
  if (access(path, R_OK) == 0) return path;
  ck_assert_msg(!(set && *set), "%s is missing, though TQ_SHARED is set", path);
  printf("SKIPPED: %s is missing\n", path);
  fflush(stdout);
  return NULL;
}

/* ---- temporary files ---- */

static char temporary[PATH_ROOM];
static pid_t temporary_owner;

static void remove_tree(int parent, const char *name) {
  if (unlinkat(parent, name, 0) == 0) return;
  int descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  DIR *folder = descriptor < 0 ? NULL : fdopendir(descriptor);
  if (!folder) return;
  for (struct dirent *entry; (entry = readdir(folder));)
    if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) remove_tree(descriptor, entry->d_name);
  closedir(folder);
  unlinkat(parent, name, AT_REMOVEDIR);
}

/* Check runs every test in a process of its own, forked from the one that made the folder. */
static void remove_temporary(void) {
  if (temporary[0] && temporary_owner == getpid()) remove_tree(AT_FDCWD, temporary);
}

const char *temporary_folder(void) {
  if (temporary[0]) return temporary;
  const char *parent = getenv("TMPDIR");
  snprintf(temporary, sizeof temporary, "%s/tq-test-XXXXXX", parent && *parent ? parent : "/tmp");
  if (!mkdtemp(temporary)) {
    fprintf(stderr, "cannot make %s: %s\n", temporary, strerror(errno));
    exit(EXIT_FAILURE);
  }
  temporary_owner = getpid();
  atexit(remove_temporary);
  return temporary;
}

const char *temporary_path(const char *name) {
  char *path = next_path();
  ck_assert(snprintf(path, PATH_ROOM, "%s/%s", temporary_folder(), name) < PATH_ROOM);
  return path;
}

uint8_t *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
  struct stat status;
  ck_assert(fstat(fileno(file), &status) == 0);
  *size = (size_t)status.st_size;
  uint8_t *data = malloc(*size + 1);
  ck_assert(data != NULL);
  ck_assert_msg(fread(data, 1, *size, file) == *size, "%s: cannot be read", path);
  data[*size] = 0;
  fclose(file);
  return data;
}

void write_file(const char *path, const void *data, size_t size) {
  FILE *file = fopen(path, "wb");
  ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
  size_t written = size ? fwrite(data, 1, size, file) : 0;
  ck_assert_msg(fclose(file) == 0 && written == size, "%s: cannot be written", path);
}

void ck_same_files(const char *a, const char *b) {
  size_t size_a, size_b, same = 0;
  uint8_t *data_a = read_file(a, &size_a), *data_b = read_file(b, &size_b);
  while (same < size_a && same < size_b && data_a[same] == data_b[same]) same++;
  ck_assert_msg(same == size_a && same == size_b, "%s (%zu bytes) and %s (%zu bytes) differ from byte %zu on", a,
                size_a, b, size_b, same);
  free(data_a);
  free(data_b);
}

/* ---- numbers ---- */

uint64_t random_u64(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

float random_float(uint64_t *state) { return (float)(int32_t)(random_u64(state) >> 40) * 0x1p-23f - 1; }

/* ---- running a tool ---- */

typedef struct text {
  char *data;
  size_t size;
} text;

/* False at the end. */
static bool read_more(int descriptor, text *into) {
  char piece[65536];
  ssize_t got = read(descriptor, piece, sizeof piece);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  into->data = realloc(into->data, into->size + (size_t)got + 1);
  ck_assert(into->data != NULL);
  memcpy(into->data + into->size, piece, (size_t)got);
  into->size += (size_t)got;
  into->data[into->size] = 0;
  return true;
}

/* Feeds the input and collects both outputs together, so that no pipe fills while another is waited for. */
static void converse(int in, const char *input, int out, text *output, int err, text *errors) {
  struct pollfd pipes[] = {{in, POLLOUT, 0}, {out, POLLIN, 0}, {err, POLLIN, 0}};
  text *texts[] = {NULL, output, errors};
  size_t left = input ? strlen(input) : 0;
  while (pipes[0].fd >= 0 || pipes[1].fd >= 0 || pipes[2].fd >= 0) {
    if (poll(pipes, 3, -1) < 0 && errno != EINTR) break;
    if (pipes[0].fd >= 0 && pipes[0].revents) {
      ssize_t put = left ? write(in, input, left) : 0;
      if (put > 0) input += put, left -= (size_t)put;
      if (put < 0 || left == 0) close(in), pipes[0].fd = -1;
    }
    for (int i = 1; i < 3; i++)
      if (pipes[i].fd >= 0 && pipes[i].revents && !read_more(pipes[i].fd, texts[i]))
        close(pipes[i].fd), pipes[i].fd = -1;
  }
}

static void take(text *from, char **to) {
  if (to) {
    *to = from->data ? from->data : calloc(1, 1);
    ck_assert(*to != NULL);
  } else {
    free(from->data);
  }
}

int run_tool(const char *const *arguments, const char *input, char **output, char **errors) {
  const char *build = getenv("TQ_BUILD");
  char program[PATH_ROOM];
  snprintf(program, sizeof program, "%s/bin/%s", build && *build ? build : "build", arguments[0]);
  ck_assert_msg(access(program, X_OK) == 0, "%s is missing", program);
  int in[2], out[2], err[2];
  ck_assert(pipe(in) == 0 && pipe(out) == 0 && pipe(err) == 0);
  fflush(NULL);
  pid_t child = fork();
  ck_assert(child >= 0);
  if (child == 0) {
    dup2(in[0], 0), dup2(out[1], 1), dup2(err[1], 2);
    for (int i = 0; i < 2; i++) close(in[i]), close(out[i]), close(err[i]);
    execv(program, (char *const *)(uintptr_t)arguments);
    _exit(127);
  }
  close(in[0]), close(out[1]), close(err[1]);
  void (*before)(int) = signal(SIGPIPE, SIG_IGN); /* a tool may end without reading its input */
  text output_text = {0}, error_text = {0};
  converse(in[1], input, out[0], &output_text, err[0], &error_text);
  signal(SIGPIPE, before);
  take(&output_text, output);
  take(&error_text, errors);
  int status;
  ck_assert(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Check kills a test after 4 seconds unless told otherwise, which a sanitizer on a busy machine needs longer than.
 * Check reads this when a test case is created, before main's suite exists. */
__attribute__((constructor)) static void allow_slow_tests(void) { setenv("CK_DEFAULT_TIMEOUT", "120", 0); }

/* The folder is made before Check forks, so that one process owns it for all tests. */
int run_suite(Suite *suite) {
  temporary_folder();
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_NORMAL);
  int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
