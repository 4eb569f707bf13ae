/* llama2.c's checkpoints in F32: the legacy one (no magic, known by its size) and version 1 ("ak42"). Version 2, whose
 * weights are 8-bit groups, is refused by name. */
#ifndef TQ_FORMATS_LLAMA2C_H
#define TQ_FORMATS_LLAMA2C_H

#include "formats/checkpoint.h"

/* The functions of the row "llama2c" in the table of formats (formats/format.h). */
bool tq_llama2c_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size);
tq_status tq_llama2c_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error);

/* The tokenizer of a model with `vocabulary` tokens: options->tokenizer_path, or else tok<vocabulary>.bin or
 * tokenizer.bin beside the file `name`; a note says which, or that there is none. For llama2.c's checkpoints in other
 * forms too. */
tq_status tq_llama2c_open_tokenizer(tq_checkpoint *checkpoint, const char *name, uint64_t vocabulary,
                                    const tq_open_options *options, tq_error *error);

#endif
