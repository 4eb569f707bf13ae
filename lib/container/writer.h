/* A .tq file being written, as the pieces of the writer share it. */
#ifndef TQ_CONTAINER_WRITER_H
#define TQ_CONTAINER_WRITER_H

#include "base/file.h"
#include "base/hash.h"
#include "base/text.h"
#include "container/deflate.h"
#include "container/layout.h"
#include "tq/container.h"

/* Sections whose content streams through: one at a time, each once. */
typedef enum tq_writer_stream { TQ_STREAM_NONE, TQ_STREAM_ATTACHMENTS, TQ_STREAM_DATA } tq_writer_stream;

/* A section that was given while another was streaming: written when the file is finished. */
typedef struct tq_held_section {
  char name[TQ_ENTRY_NAME_SIZE];
  bool required;
  uint8_t *data;
  size_t size;
} tq_held_section;

struct tq_writer {
  char *path; /* for messages */
  tq_output *output;
  uint32_t algorithm;
  bool failed; /* after any failure nothing more is accepted */

  tq_buffer entries; /* section table, each entry but a streaming section's complete */
  tq_held_section *held;
  size_t held_count, held_capacity;
  bool taken[TQ_SECTION_OWN]; /* sections of the container's own that were begun */
  tq_writer_stream stream;
  uint64_t stream_offset; /* where the streaming section starts */
  tq_hash_state *hash;    /* of the attachments; of a chunk while data streams */

  tq_deflater *deflater; /* made by the first attachment */
  bool in_attachment;
  uint64_t attachment_size, attachment_offset;
  uint64_t attachments_size; /* of those that ended, inflated */
  uint32_t attachment_kind, attachment_name;
  tq_buffer attachment_records, attachment_names;

  bool in_tensor, in_part;
  tq_tensor tensor;            /* the one being written; its strings lie in `strings` only */
  tq_part parts[TQ_MAX_PARTS]; /* type names are those of the strings of the caller, copied below */
  char role[TQ_ROLE_SIZE], type_names[TQ_MAX_PARTS][TQ_ROLE_SIZE];
  uint32_t role_offset, name_offset, source_type_offset;
  uint64_t extent;     /* bytes of the tensor so far */
  uint64_t chunk_fill; /* of those, bytes since the last chunk was closed */
  size_t chunk_first;  /* the tensor's first slot in chunk_hashes, in bytes */
  tq_buffer tensor_records, part_records, strings, tensor_hashes, chunk_hashes;
};

/* Refuses to go on after a failure. */
tq_status tq_writer_ready(const tq_writer *writer, tq_error *error);
/* Remembers a failure; returns `status`. */
tq_status tq_writer_result(tq_writer *writer, tq_status status);

/* Starts a streaming section at its alignment, ending another. */
tq_status tq_writer_stream_begin(tq_writer *writer, tq_writer_stream stream, tq_error *error);
/* Ends the streaming section, if there is one. */
tq_status tq_writer_stream_end(tq_writer *writer, tq_error *error);
/* Appends index and trailer to the attachments. */
tq_status tq_writer_attachments_finish(tq_writer *writer, tq_error *error);
/* Writes a section whole: `prefix` and `data` end to end. */
tq_status tq_writer_emit(tq_writer *writer, const char *name, bool required, const tq_buffer *prefix, const void *data,
                         size_t size, tq_error *error);
/* Writes the sections "tensors", "hashes" and "digests". */
tq_status tq_writer_directory(tq_writer *writer, const uint8_t function_digest[16], const uint8_t tokenizer_digest[16],
                              tq_error *error);

/* Appends a NUL-terminated string to a pool that begins with a NUL, the empty string being offset 0. */
tq_status tq_pool_append(tq_buffer *pool, const char *path, const char *text, uint32_t *offset, tq_error *error);

#endif
