/* The table of kernels, best first, and the choice from it. */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

static const tq_kernels *const table[] = {&tq_kernels_scalar};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

tq_status tq_kernels_choose(const char *name, const tq_kernels **kernels, tq_error *error) {
  if (!name) name = getenv("TQ_CPU");
  bool any = !name || !*name;
  for (size_t i = 0; i < COUNT(table); i++) {
    if (!any && strcmp(table[i]->name, name) != 0) continue;
    if (table[i]->available()) {
      *kernels = table[i];
      return TQ_OK;
    }
    if (!any) return tq_fail(error, TQ_ERROR_USAGE, "this processor cannot run the kernels \"%s\"", name);
  }
  return tq_fail(error, TQ_ERROR_USAGE, "no kernels are called \"%s\" (see TQ_CPU); there is \"scalar\"", name);
}
