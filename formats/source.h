/* The "source" section of a .tq file: which files a checkpoint consisted of and how they are put together again, byte
 * for byte, from fragments, metadata and tensors (docs/format.md, "source"). */
#ifndef TQ_FORMATS_SOURCE_H
#define TQ_FORMATS_SOURCE_H

#include "base/progress.h"
#include "formats/checkpoint.h"

/* The section's bytes for a checkpoint, appended to `section`. */
tq_status tq_source_serialize(const tq_checkpoint *checkpoint, tq_buffer *section, tq_error *error);

/* The attachment that holds a weights file's literal bytes: "#" and the file's path; freed by tq_free. */
char *tq_source_fragment_name(const char *path, tq_error *error);

/* The format a .tq file came from and can be given back in byte for byte, and the number of weights files; *format is
 * copied into name[size]. An empty name when the file holds no such record. Validates the section. */
tq_status tq_source_describe(const tq_file *file, char *name, size_t size, size_t *file_count, tq_error *error);

/* Writes the checkpoint back as it was. A checkpoint of one file without attachments becomes the file `path`; any other
 * the folder `path`, which must not exist. */
tq_status tq_source_restore(const tq_file *file, const char *path, const tq_progress *progress, tq_error *error);

#endif
