/* The safetensors file: a JSON header with names, types, shapes and offsets, then the bytes of the tensors. */
#ifndef TQ_FORMATS_SAFETENSORS_H
#define TQ_FORMATS_SAFETENSORS_H

#include "base/file.h"
#include "formats/checkpoint.h"

#include <jansson.h>

enum { TQ_SAFETENSORS_HEADER_LIMIT = 100000000 }; /* bytes, as the reference implementation has it */

/* One element type of the specification, in the order of the reference implementation: by rising alignment. */
typedef struct tq_safetensors_type {
  const char *name; /* "BF16" */
  uint32_t encoding;
} tq_safetensors_type;

/* NULL when there is none. Of two rows the later one has the larger `rank`. */
const tq_safetensors_type *tq_safetensors_type_by_name(const char *name);
const tq_safetensors_type *tq_safetensors_type_by_encoding(uint32_t encoding);
size_t tq_safetensors_type_rank(const tq_safetensors_type *type);

/* Adds the tensors of the file `name` of checkpoint->folder, in the order of their data. Whatever breaks the
 * specification is TQ_ERROR_CORRUPT; what only the container cannot hold (no elements, more dimensions than it has) is
 * TQ_ERROR_REFUSED. A scalar (shape []) becomes a vector of one. *input gets the index of the file's input, for
 * tq_checkpoint_add_weights_file when all tensors are what they are to be. */
tq_status tq_safetensors_read(tq_checkpoint *checkpoint, const char *name, size_t *input, tq_error *error);

/* A row of the table of formats: one file on its own. config.json and the tokenizer's files beside it are read where
 * they are, but not carried. */
bool tq_safetensors_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
tq_status tq_safetensors_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                              tq_error *error);

/* ---- writing ---- */

typedef struct tq_safetensors_entry {
  const char *name;
  const tq_safetensors_type *type;
  const uint64_t *shape;
  uint32_t dimensions;
  uint64_t size; /* bytes */
  size_t source; /* the caller's own number for the tensor */
} tq_safetensors_entry;

/* Puts entries in the order in which the reference implementation lays out a file: falling alignment, then name. */
void tq_safetensors_sort(tq_safetensors_entry *entries, size_t count);
/* Appends everything in front of the data: the header's size and text, `__metadata__` saying format "pt". The header is
 * padded so that the data begins at a multiple of 8. */
tq_status tq_safetensors_header(tq_buffer *buffer, const tq_safetensors_entry *entries, size_t count, tq_error *error);

#endif
