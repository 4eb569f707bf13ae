/* The table of foreign formats: one row each. */
#ifndef TQ_FORMATS_FORMAT_H
#define TQ_FORMATS_FORMAT_H

#include "base/team.h"
#include "formats/checkpoint.h"
#include "tq/container.h"

/* How a .tq file is to be written in a foreign format. */
typedef struct tq_write_options {
  const tq_dialect *type; /* of the ternary tensors; NULL: as they came if the format has that, or else the smallest
                             that is exact for all of them */
  bool takes_scales; /* with a type of GGUF's: a scale that does not fit becomes a tensor beside the weight, whoever
                        reads the type; llama.cpp's own types take such tensors anyway */
  tq_team *team;     /* may be NULL */
} tq_write_options;

typedef struct tq_format {
  const char *name;        /* "gguf" */
  const char *description; /* for help and messages */
  const char *extension;   /* ".gguf"; "" for a folder, NULL where nothing is written */
  /* True when a file with these first bytes, this name and size may be of the format. Asked in the table's order. */
  bool (*recognize)(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
  /* Fills *checkpoint (format, path and folder are set) from the file `name` of its folder; name is NULL for a reader
   * that takes the folder as a whole ("hf"). On failure the caller closes the checkpoint. */
  tq_status (*open)(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error);
  /* Writes a .tq file in this format by translation of names, order and keys; NULL where it cannot be written. `notes`
   * gets lines for the user. What cannot be held is TQ_ERROR_REFUSED before anything is written. */
  tq_status (*write)(const tq_file *file, const char *path, const tq_write_options *options, tq_buffer *notes,
                     tq_error *error);
} tq_format;

/* Row `index` of the table, or NULL behind the last. */
const tq_format *tq_format_at(size_t index);
const tq_format *tq_format_find(const char *name);

#endif
