/* Kernel sets in tests: those that this processor can run, and those that a test has to have met. */
#ifndef TQ_TESTS_KERNEL_SETS_H
#define TQ_TESTS_KERNEL_SETS_H

#include <stddef.h>

/* The name of the next set that this processor can run, with TQ_CPU set to it for the programs that a test runs; NULL
 * behind the last, with TQ_CPU unset. `index` begins at 0. */
const char *next_kernel_set(size_t *index);

/* Prints which sets are compared with the scalar one, and fails the test if $TQ_REQUIRE_KERNELS, names with commas
 * between them, has one that is not. */
void ck_required_kernels(void);

#endif
