/* The CRC-32 of the stored members of a zip archive, which libarchive knows and does not tell. */
#ifndef TQ_FORMATS_ARCHIVE_ZIP_SUMS_H
#define TQ_FORMATS_ARCHIVE_ZIP_SUMS_H

#include "base/file.h"

typedef struct tq_zip_sum {
  uint64_t header_offset; /* of the header that stands before the member's bytes */
  uint64_t size;
  uint32_t crc;
  uint32_t name_size;
} tq_zip_sum;

typedef struct tq_zip_sums {
  tq_zip_sum *sums; /* by header_offset */
  size_t count, capacity;
} tq_zip_sums;

/* Reads the central directory of `input`. What is odd about it is left to libarchive: the members that are then not
 * found here are read through it. Zero-initialise *sums; free it with tq_zip_sums_free in any case. */
tq_status tq_zip_sums_read(tq_input *input, tq_zip_sums *sums, tq_error *error);
void tq_zip_sums_free(tq_zip_sums *sums);

/* The sum of the stored member whose `size` bytes lie at `data_offset`, or NULL. */
const tq_zip_sum *tq_zip_sums_find(const tq_zip_sums *sums, uint64_t data_offset, uint64_t size);

#endif
