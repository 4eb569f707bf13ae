/* An opened .tq file, as the pieces of the reader share it. */
#ifndef TQ_CONTAINER_FILE_H
#define TQ_CONTAINER_FILE_H

#include "base/file.h"
#include "base/hash.h"
#include "container/index.h"
#include "container/layout.h"
#include "tq/container.h"

#include <stdatomic.h>

typedef struct tq_stored_attachment {
  tq_attachment attachment;
  const uint8_t *data; /* deflated */
} tq_stored_attachment;

struct tq_file {
  tq_mapping mapping; /* empty for a file in memory */
  const uint8_t *data;
  tq_file_info info; /* info.path is owned */
  char *path;
  bool lazy; /* opened with TQ_VERIFY_LAZY */

  const uint8_t *table; /* section entries */
  tq_section *sections;
  size_t section_count;
  const tq_section *known[TQ_SECTION_KNOWN]; /* NULL where absent */

  tq_metadata *metadata;

  tq_tensor *tensors;
  tq_part *parts;
  size_t tensor_count, part_count;
  tq_index_entry *roles; /* sorted */

  const uint8_t *tensor_hashes, *chunk_hashes; /* slots of TQ_HASH_SIZE bytes */
  uint64_t *first_chunk;                       /* per tensor, and the total behind the last */
  atomic_uchar *verified;                      /* a bit per chunk, when lazy */

  tq_stored_attachment *attachments;
  size_t attachment_count;
};

/* The steps of opening, each over what the ones before have filled. */
tq_status tq_directory_read(tq_file *file, tq_error *error);
tq_status tq_hashes_read(tq_file *file, tq_error *error);
tq_status tq_digests_read(tq_file *file, tq_error *error);
tq_status tq_attachments_read(tq_file *file, tq_error *error);

/* The hash of one section but "data", against its entry in the table. */
tq_status tq_verify_section(const tq_file *file, size_t index, tq_error *error);
/* The bytes that no section's hash covers: the tensors' chunks and all gaps. */
tq_status tq_verify_data(const tq_file *file, tq_error *error);
/* The header's checksum and the table's hash. */
tq_status tq_verify_header(const char *path, const uint8_t *data, tq_error *error);
tq_status tq_verify_table(const tq_file *file, tq_error *error);

/* Fails unless the bytes are zero, or the file is of a later minor version, which may use what this one reserves. */
tq_status tq_check_reserved(const tq_file *file, const char *place, const uint8_t *data, size_t size, tq_error *error);

/* The NUL-terminated UTF-8 string at `offset` of a pool, at most `limit` bytes long with its NUL; NULL when it is not
 * in the pool, too long or no name. A pool begins and ends with a NUL. */
const char *tq_pool_string(const uint8_t *pool, uint64_t pool_size, uint32_t offset, size_t limit);
bool tq_pool_is_closed(const uint8_t *pool, uint64_t pool_size);

/* The file's offset of a byte that lies in its mapping. */
uint64_t tq_file_offset(const tq_file *file, const uint8_t *place);

#endif
