/* What a GGUF file says before its tensors' data: parsed and validated, nothing of it interpreted. */
#ifndef TQ_FORMATS_GGUF_HEADER_H
#define TQ_FORMATS_GGUF_HEADER_H

#include "base/file.h"
#include "tq/metadata.h"

enum {
  TQ_GGUF_FIXED_SIZE = 24, /* magic, version, number of tensors, number of keys: the metadata follows */
  TQ_GGUF_VERSION = 3,     /* the version that is written */
  TQ_GGUF_DIMENSIONS = 4,
  TQ_GGUF_ALIGNMENT = 32,         /* where general.alignment says nothing */
  TQ_GGUF_MAX_ALIGNMENT = 1 << 20 /* more would let a small file ask for gigabytes of padding */
};

typedef struct tq_gguf_info {
  tq_string name; /* points into the header's bytes; a well-formed name */
  uint32_t type;
  uint32_t dimensions;
  uint64_t shape[TQ_GGUF_DIMENSIONS]; /* outermost first */
  uint64_t offset;                    /* from the file's start */
} tq_gguf_info;

typedef struct tq_gguf_header {
  uint8_t *bytes; /* the file from its start, at least as far as the header goes */
  size_t size, capacity;
  uint64_t key_count;
  size_t metadata_size; /* from TQ_GGUF_FIXED_SIZE on */
  tq_metadata *metadata;
  tq_gguf_info *infos;
  size_t info_count, info_capacity;
  uint64_t data_offset; /* where tensor data begins */
} tq_gguf_header;

/* Reads as much of the input as its header turns out to need. *header is zero-initialised by the caller and freed with
 * tq_gguf_header_free whatever the outcome. */
tq_status tq_gguf_header_read(tq_input *input, tq_gguf_header *header, tq_error *error);
void tq_gguf_header_free(tq_gguf_header *header);

/* The alignment that the metadata asks for: a power of two up to TQ_GGUF_MAX_ALIGNMENT, or TQ_ERROR_CORRUPT. */
tq_status tq_gguf_alignment(const char *name, const tq_metadata *metadata, uint32_t *alignment, tq_error *error);

#endif
