/* The names under which outputs are made, and how what dead processes left of them is removed. Only lib/base includes
 * this. */
#ifndef TQ_BASE_TEMPORARY_H
#define TQ_BASE_TEMPORARY_H

#include "tq/error.h"

/* Where an output will be: the target's path without slashes at its end, the folder it lies in, and the path of the
 * temporary beside it. */
typedef struct tq_target {
  char *path, *folder, *temporary;
} tq_target;

/* Fills *target for `path`, whose last component must be a name. Free it with tq_target_free in every case. */
tq_status tq_target_resolve(const char *path, tq_target *target, tq_error *error);
void tq_target_free(tq_target *target);

/* Removes the target's temporaries that nobody writes any more: the process in their name is dead (or is this one) and
 * nobody holds the lock that a writer takes. What cannot be removed is left. */
void tq_target_clean(const tq_target *target);

/* Marks a temporary as being written, until the descriptor is closed. */
void tq_temporary_lock(int descriptor);

/* Removes a folder with everything below it; symbolic links are removed, not followed. */
void tq_temporary_remove_folder(const char *path);

#endif
