/* What the test suites share. */
#ifndef TQ_TESTS_SUPPORT_H
#define TQ_TESTS_SUPPORT_H

#include "base/memory.h"
#include "tq/error.h"

#include <check.h>
#include <stddef.h>
#include <stdint.h>

/* Fails the test with the error's message unless the status is TQ_OK. */
#define ck_ok(expression)                                                                                              \
  do {                                                                                                                 \
    tq_error ck_error_ = {0};                                                                                          \
    tq_error *error = &ck_error_;                                                                                      \
    tq_status ck_status_ = (expression);                                                                               \
    ck_assert_msg(ck_status_ == TQ_OK, "%s: status %d: %s", #expression, (int)ck_status_, ck_error_.message);          \
  } while (0)

/* Fails the test unless the status is `expected` and the message contains `part` and is one line. */
#define ck_fails(expression, expected, part)                                                                           \
  do {                                                                                                                 \
    tq_error ck_error_ = {0};                                                                                          \
    tq_error *error = &ck_error_;                                                                                      \
    tq_status ck_status_ = (expression);                                                                               \
    support_check_failure(#expression, ck_status_, &ck_error_, (expected), (part));                                    \
  } while (0)

void support_check_failure(const char *expression, tq_status status, const tq_error *error, tq_status expected,
                           const char *part);

/* The n-th operation from now on fails, the first being 0, and no other; with a negative n all succeed. Operations are
 * counted until fail_no_operation. */
void fail_operation(long n);
void fail_no_operation(void);
/* How many operations of a kind were counted, the failed one included; and the kind of the one that failed, or -1. */
long operations_met(tq_operation operation);
int operation_failed(void);

/* Repeats an attempt with operation 0, 1, 2, ... failing, until it gets through with none failed: that must succeed,
 * and every other end in TQ_ERROR_SYSTEM with a message of one line. Returns how many operations failed. The attempt
 * frees what it made; to look at what is left behind, it calls fail_no_operation first. */
long check_every_fault(tq_status (*attempt)(const void *context, tq_error *error), const void *context);

/* The path of a file of the shared data ($TQ_SHARED or ../shared), in a static buffer that the 8th next call reuses;
 * fails the test when it is missing and TQ_SHARED is set, else prints a line beginning "SKIPPED" and returns NULL. */
const char *shared_path(const char *relative);

/* An empty folder of this test program's own under $TMPDIR, removed when the process ends; and a path inside it (static
 * buffers, reused by the 8th next call). */
const char *temporary_folder(void);
const char *temporary_path(const char *name);

/* The whole of a file, freed by free(); fails the test when it cannot be read. A NUL stands behind it. */
uint8_t *read_file(const char *path, size_t *size);
void write_file(const char *path, const void *data, size_t size);
/* Fails the test when the two files differ, naming the first byte that does. */
void ck_same_files(const char *a, const char *b);

/* A deterministic stream of numbers for test data (splitmix64). */
uint64_t random_u64(uint64_t *state);
/* In [-1, 1). */
float random_float(uint64_t *state);

/* Runs a program of $TQ_BUILD/bin (or build/bin) with arguments up to a NULL, standard input from `input` (may be
 * NULL); stores its outputs (freed by free(), NUL-terminated, may be NULL) and returns its exit status, or 128 +
 * signal. */
int run_tool(const char *const *arguments, const char *input, char **output, char **errors);

/* Runs a suite in Check's normal mode and returns main's exit status. */
int run_suite(Suite *suite);

#endif
