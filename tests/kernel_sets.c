#include "tests/kernel_sets.h"

#include "kernels/kernels.h"
#include "tests/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *next_kernel_set(size_t *index) {
  const tq_kernels *kernels;
  while ((kernels = tq_kernels_at((*index)++)) && !kernels->available()) {
  }
  if (!kernels) {
    unsetenv("TQ_CPU");
    return NULL;
  }
  setenv("TQ_CPU", kernels->name, 1);
  return kernels->name;
}

static bool is_compared(const char *name) {
  const tq_kernels *kernels;
  for (size_t i = 0; (kernels = tq_kernels_at(i)); i++)
    if (strcmp(kernels->name, name) == 0) return kernels != &tq_kernels_scalar && kernels->available();
  return false;
}

void ck_required_kernels(void) {
  const tq_kernels *kernels;
  const char *required = getenv("TQ_REQUIRE_KERNELS");
  char names[256];
  printf("compared:");
  for (size_t i = 0; (kernels = tq_kernels_at(i)); i++)
    if (is_compared(kernels->name)) printf(" %s", kernels->name);
  printf("\n");
  fflush(stdout);
  ck_assert(snprintf(names, sizeof names, "%s", required ? required : "") < (int)sizeof names);
  for (char *name = strtok(names, ","); name; name = strtok(NULL, ","))
    ck_assert_msg(is_compared(name), "the kernels \"%s\" are required, and not compared here", name);
}
