/* A thread team: a fixed set of threads that all run the same task and meet at its end. Between tasks the members stay
 * awake for some milliseconds before they sleep, so that the layers of a forward pass, and the tokens of a text, follow
 * each other without a wake-up; other threads that want a processor get it meanwhile. */
#ifndef TQ_BASE_TEAM_H
#define TQ_BASE_TEAM_H

#include "tq/error.h"

#include <stddef.h>

typedef struct tq_team tq_team;

/* Called once by every member, 0 <= member < members. */
typedef void (*tq_team_task)(void *context, unsigned member, unsigned members);

/* `members` includes the calling thread; 0 means one per available processor. */
tq_status tq_team_create(unsigned members, tq_team **team, tq_error *error);
unsigned tq_team_members(const tq_team *team);
/* Runs the task on every member, the caller being member 0, and returns when all have finished. A team runs one
 * task at a time and is driven by one thread. */
void tq_team_run(tq_team *team, tq_team_task task, void *context);
void tq_team_destroy(tq_team *team); /* NULL is allowed */

/* The contiguous share [*begin, *end) of `count` items that belongs to `member`; shares differ by at most one. */
void tq_team_share(size_t count, unsigned member, unsigned members, size_t *begin, size_t *end);

#endif
