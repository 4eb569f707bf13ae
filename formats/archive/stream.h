/* One pass over an archive through libarchive: entry after entry, and the bytes of each.
 *
 * What is read: tar (ustar, pax, GNU), plain or compressed by gzip, zstd, xz or bzip2, and zip by its central
 * directory. No external program is ever started, and nothing depends on the caller's locale. */
#ifndef TQ_FORMATS_ARCHIVE_STREAM_H
#define TQ_FORMATS_ARCHIVE_STREAM_H

#include "base/file.h"

typedef struct tq_archive_stream tq_archive_stream;

typedef struct tq_archive_entry {
  const char *name; /* UTF-8, as the archive has it; lives until the next entry */
  uint64_t size;
  bool is_folder;
  bool is_direct;       /* its bytes lie uncompressed in the archive's input at data_offset */
  uint64_t data_offset; /* only where is_direct */
} tq_archive_entry;

/* True when the first bytes are those of an archive, or of something compressed that may be one. */
bool tq_archive_stream_recognize(const uint8_t *start, size_t size);

/* Starts a pass over `input`, which stays the caller's. A compressed archive that expands to more than `limit` bytes is
 * refused while it is read. */
tq_status tq_archive_stream_open(tq_input *input, uint64_t limit, tq_archive_stream **stream, tq_error *error);
void tq_archive_stream_close(tq_archive_stream *stream); /* NULL is allowed */
/* True for a zip archive, whose entries have a CRC-32 that is checked here and by none who reads past the stream. */
bool tq_archive_stream_is_zip(const tq_archive_stream *stream);

/* Goes to the next entry, which is a regular file or a folder: everything else is refused by name. Sets *end behind the
 * last, after checking that the archive is complete. */
tq_status tq_archive_stream_next(tq_archive_stream *stream, tq_archive_entry *entry, bool *end, tq_error *error);
/* Reads exactly `size` further bytes of the current entry; that it ends before is TQ_ERROR_CORRUPT. */
tq_status tq_archive_stream_read(tq_archive_stream *stream, void *buffer, size_t size, tq_error *error);

#endif
