/* What the suites about the container share: writing small .tq files, and patching them so that every hash is right
 * again and only the rule that the patch breaks is left to find it. */
#ifndef TQ_TESTS_CONTAINER_SUPPORT_H
#define TQ_TESTS_CONTAINER_SUPPORT_H

#include "tq/container.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ck_assert for inner loops: it reports only failures, where ck_assert reports every call to the parent process. */
#define expect(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) ck_abort_msg("%s", #condition);                                                                  \
  } while (0)

/* A part and its bytes. */
typedef struct part_bytes {
  tq_part part;
  const void *data;
} part_bytes;

/* Writes one tensor of the given parts; role and name are `name`. */
tq_status put_tensor(tq_writer *writer, const char *name, uint32_t dimensions, const uint64_t *shape,
                     const part_bytes *parts, size_t part_count, const uint64_t trit_counts[4], tq_error *error);
/* Writes an F32 tensor of `count` numbers. */
tq_status put_floats(tq_writer *writer, const char *name, uint64_t count, uint64_t seed, tq_error *error);
tq_status put_attachment(tq_writer *writer, const char *name, uint32_t kind, const void *data, size_t size, size_t step,
                         tq_error *error);

/* Packs a row of trits and puts it into the codes of a matrix. */
void put_trits(uint32_t encoding, const int8_t *trits, uint64_t rows, uint64_t row, uint64_t columns, uint8_t *codes);

enum { SAMPLE_TENSORS = 6, SAMPLE_METADATA_KEYS = 3 };
/* A small file with every section, an unknown one too, and tensors of most kinds. */
tq_status write_sample(const char *path, uint32_t hash_algorithm, tq_error *error);

/* A file's bytes in memory, aligned as tq_file_open_memory wants them; freed by free(). */
typedef struct image {
  uint8_t *data;
  size_t size;
} image;
image load_image(const char *path);
image sample_image(uint32_t hash_algorithm);
image copy_image(image from);

/* The entry of a section in the table, and the section's bytes; the test fails when there is none. */
uint8_t *section_entry(image file, const char *name);
uint8_t *section_bytes(image file, const char *name);

/* Makes every hash right again, as far as offsets and sizes lie inside the file. */
void reseal(image file);
/* The same, after the weights digest was computed anew from the content digests. */
void reseal_weights(image file);
/* The same, after the content digest of every tensor that can be decoded was computed anew too. */
void reseal_contents(image file);
/* Only the header's checksum. */
void reseal_header(image file);

/* Opens and closes. */
tq_status try_open(image file, tq_verify verify, tq_error *error);

#endif
