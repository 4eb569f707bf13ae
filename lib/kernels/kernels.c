/* The table of kernels, best first, and the choice from it. */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

static const tq_kernels *const table[] = {
#if defined(__x86_64__)
    &tq_kernels_avx512, &tq_kernels_avx2,
#elif defined(__aarch64__)
    &tq_kernels_neon,
#endif
    &tq_kernels_scalar};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const tq_kernels *tq_kernels_at(size_t index) { return index < COUNT(table) ? table[index] : NULL; }

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
  return tq_fail(error, TQ_ERROR_USAGE, "no kernels of this machine's kind are called \"%s\" (see TQ_CPU)", name);
}
