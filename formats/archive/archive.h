/* An archive, listed: its members by name, each an input. formats/folder.c puts it behind the folder's functions.
 *
 * An archive is counted: the folder that opened it and each input of a member hold it, so that a member may outlive
 * the folder. All inputs of one archive are used by one thread at a time. */
#ifndef TQ_FORMATS_ARCHIVE_ARCHIVE_H
#define TQ_FORMATS_ARCHIVE_ARCHIVE_H

#include "base/file.h"

typedef struct tq_archive tq_archive;

/* Lists the archive in `input`, which it takes over on success. `enclosing` is the archive that the input is a member
 * of, or NULL; it is read only during the call. */
tq_status tq_archive_open(tq_input *input, const tq_archive *enclosing, tq_archive **archive, tq_error *error);
void tq_archive_release(tq_archive *archive); /* NULL is allowed */

const char *tq_archive_name(const tq_archive *archive);
/* The names of all files that are in no hidden folder, sorted bytewise; they live as long as the archive. */
char *const *tq_archive_names(const tq_archive *archive, size_t *count);
/* Opens a member; *input is NULL, with TQ_OK, when there is none of that name. */
tq_status tq_archive_input(tq_archive *archive, const char *name, tq_input **input, tq_error *error);

#endif
