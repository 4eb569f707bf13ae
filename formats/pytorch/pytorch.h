/* PyTorch's checkpoints: a zip archive with a pickle, data.pkl, and a member for each storage. Old ones, before PyTorch
 * 1.6, which are pickles and no archives, are recognised and refused. */
#ifndef TQ_FORMATS_PYTORCH_PYTORCH_H
#define TQ_FORMATS_PYTORCH_PYTORCH_H

#include "formats/checkpoint.h"

/* True when an opened archive is a PyTorch checkpoint. */
bool tq_pytorch_is(tq_folder *archive);

/* Adds all tensors of the file `name` of checkpoint->folder, with Hugging Face's names. The inputs keep the archive
 * that they lie in. */
tq_status tq_pytorch_read(tq_checkpoint *checkpoint, const char *name, tq_error *error);

/* The row "pytorch" in the table of formats: a file that stands alone. Names of Hugging Face's models need a
 * config.json beside it to be described; llama2.c's checkpoints (names of Meta's) say in their "model_args" what they
 * are. */
bool tq_pytorch_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
tq_status tq_pytorch_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error);

#endif
