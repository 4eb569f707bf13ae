/* A foreign checkpoint becomes a .tq file. */
#ifndef TQ_FORMATS_IMPORT_H
#define TQ_FORMATS_IMPORT_H

#include "base/progress.h"
#include "formats/checkpoint.h"

/* Streams the checkpoint into `path`. hash_algorithm: 0 for the default. Memory does not depend on the model's size. An
 * attachment above TQ_ATTACHMENT_LIMIT is TQ_ERROR_REFUSED. */
tq_status tq_import(tq_checkpoint *checkpoint, const char *path, uint32_t hash_algorithm, const tq_progress *progress,
                    tq_error *error);

#endif
