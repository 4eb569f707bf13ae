/* A foreign checkpoint becomes a .tq file. */
#ifndef TQ_FORMATS_IMPORT_H
#define TQ_FORMATS_IMPORT_H

#include "base/progress.h"
#include "base/team.h"
#include "formats/checkpoint.h"

/* Streams the checkpoint into `path`. `code` is what ternary weights are packed in: TQ_TERNARY_BASE3 (0 too) or
 * TQ_TERNARY_2BIT; a tensor with a +2 is TQ_QUATERNARY_2BIT in any case. hash_algorithm: 0 for the default. Memory does
 * not depend on the model's size, tables of scales and tensors in compressed archives aside. An attachment above
 * TQ_ATTACHMENT_LIMIT is TQ_ERROR_REFUSED. What reading the tensors shows (formats/findings.h) is added to the
 * readings. */
tq_status tq_import(tq_checkpoint *checkpoint, const char *path, uint32_t code, uint32_t hash_algorithm,
                    const tq_progress *progress, tq_error *error);
/* The same by a team of one's own; NULL: by the calling thread alone. The file does not depend on the team. */
tq_status tq_import_by(tq_team *team, tq_checkpoint *checkpoint, const char *path, uint32_t code,
                       uint32_t hash_algorithm, const tq_progress *progress, tq_error *error);

#endif
