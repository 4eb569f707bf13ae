/* Applying a tensor's patch to the bytes that encoding gives; writing one is encode.h. */
#ifndef TQ_FORMATS_DIALECTS_PATCH_H
#define TQ_FORMATS_DIALECTS_PATCH_H

#include "tq/container.h"

typedef struct tq_patch_reader tq_patch_reader;

/* *patch stays NULL for a tensor without a patch. `size` is that of the encoded bytes, which the patch must be for. */
tq_status tq_patch_open(const tq_file *file, size_t tensor, uint64_t size, tq_patch_reader **patch, tq_error *error);
/* Turns the next encoded bytes into the original ones. NULL for no patch. */
tq_status tq_patch_apply(tq_patch_reader *patch, uint8_t *bytes, size_t size, tq_error *error);
/* Checks that the patch ends here. NULL for no patch. */
tq_status tq_patch_end(tq_patch_reader *patch, tq_error *error);
void tq_patch_close(tq_patch_reader *patch); /* NULL is allowed */

#endif
