/* GGUF: the reader (version 2 and 3, split files included) and the writer (version 3). */
#ifndef TQ_FORMATS_GGUF_H
#define TQ_FORMATS_GGUF_H

#include "formats/checkpoint.h"
#include "formats/format.h"
#include "formats/names.h"
#include "tq/container.h"

/* A tensor type of GGUF. Where `encoding` is 0 the type is a dialect's, or only its name is known: such tensors are
 * refused by it. */
typedef struct tq_gguf_type {
  uint32_t id;
  const char *name;
  uint32_t encoding; /* tq_encoding; TQ_BLOCKS where `name` is a block type's name */
  uint32_t block_elements, block_bytes;
  int32_t file_type; /* general.file_type of a file that is mostly of this type; -1: none, or not one alone */
} tq_gguf_type;

/* The row of the table, or NULL for an unknown id. */
const tq_gguf_type *tq_gguf_type_find(uint32_t id);
/* The type that holds an encoding; `block_name` matters for TQ_BLOCKS only. NULL when there is none. */
const tq_gguf_type *tq_gguf_type_for(uint32_t encoding, const char *block_name);
/* The dialect of the name that the type has itself: the one that is meant by its id where nothing says otherwise. NULL
 * when it has none. */
const tq_dialect *tq_gguf_type_dialect(const tq_gguf_type *type);
/* The type that a dialect's tensors are written as, plain floats included; NULL for those of other formats. */
const tq_gguf_type *tq_gguf_type_of_dialect(const tq_dialect *dialect);

/* The metadata's architecture, or NULL when it has none that is known: tensors then keep their own names as roles, for
 * what they mean is not known either. */
const tq_architecture_name *tq_gguf_architecture(const tq_metadata *metadata);

/* The heads whose rows a GGUF file of the metadata's architecture holds in adjacent-pair RoPE order in the tensor with
 * that role: 0 for other tensors and architectures. `rows` is its number of output channels. TQ_ERROR_CORRUPT when the
 * metadata does not say how many heads there are, or the rows are not that many heads of pairs. `file` and the tensor's
 * `name` begin messages. */
tq_status tq_gguf_adjacent_heads(const char *file, const tq_metadata *metadata, const char *name, const char *role,
                                 uint64_t rows, uint32_t *heads, tq_error *error);

/* The functions of the row "gguf" in the table of formats (formats/format.h). */
bool tq_gguf_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
tq_status tq_gguf_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error);
tq_status tq_gguf_write(const tq_file *file, const char *path, const tq_write_options *options, tq_buffer *notes,
                        tq_error *error);

#endif
