/* The tensors of a GGUF checkpoint, split or not, before it is decided how they are read: a type alone does not always
 * say that, but all of them together may. */
#ifndef TQ_FORMATS_GGUF_TENSORS_H
#define TQ_FORMATS_GGUF_TENSORS_H

#include "formats/gguf/gguf.h"
#include "formats/gguf/header.h"

typedef struct tq_gguf_found {
  tq_gguf_info info; /* its name is in `name` */
  char *name;
  const tq_gguf_type *type;
  size_t input;
  uint64_t end; /* where the next tensor of its file begins, or the file's end */
  bool is_last; /* of its file */
  uint32_t alignment;
  tq_form form;   /* a dialect where it is packed; set by tq_gguf_decide_readings */
  bool is_folded; /* a scale that has become part of its weight's form; set likewise */
} tq_gguf_found;

/* Zero-initialise; free with tq_gguf_tensors_free. */
typedef struct tq_gguf_tensors {
  tq_gguf_found *items;
  size_t count, capacity;
} tq_gguf_tensors;

void tq_gguf_tensors_free(tq_gguf_tensors *tensors);
/* Takes down what the header of an input of the checkpoint says. TQ_ERROR_CORRUPT for an unknown type. */
tq_status tq_gguf_tensors_gather(tq_gguf_tensors *tensors, const tq_checkpoint *checkpoint, size_t input,
                                 const tq_gguf_header *header, tq_error *error);
/* Rows (the product of all dimensions but the last) and columns. False when a dimension is zero or the product
 * overflows. */
bool tq_gguf_matrix_of(const tq_gguf_info *info, uint64_t *rows, uint64_t *columns);

/* Decides how every tensor is read, and says in the checkpoint's readings what was decided on what evidence;
 * readings.c. TQ_ERROR_CORRUPT names a tensor where the file does not say enough. */
tq_status tq_gguf_decide_readings(tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, const tq_open_options *options,
                                  tq_error *error);

/* Adds them to the checkpoint, but for those that are folded. */
tq_status tq_gguf_tensors_add(const tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, tq_error *error);

#endif
