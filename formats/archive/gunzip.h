/* gzip undone with its checks: every member's CRC-32 and size, which libarchive's own filter does not look at. */
#ifndef TQ_FORMATS_ARCHIVE_GUNZIP_H
#define TQ_FORMATS_ARCHIVE_GUNZIP_H

#include "base/file.h"

typedef struct tq_gunzip tq_gunzip;

/* Starts at the begin of `input`, which stays the caller's. */
tq_status tq_gunzip_create(tq_input *input, tq_gunzip **gunzip, tq_error *error);
/* The next bytes, which live until the next call; *size is 0 behind the last. Members that follow each other are read
 * as one, and zeros may follow the last. */
tq_status tq_gunzip_next(tq_gunzip *gunzip, const void **bytes, size_t *size, tq_error *error);
void tq_gunzip_close(tq_gunzip *gunzip); /* NULL is allowed */

#endif
