/* What the suites about ternary types in GGUF share: small models, and taking them in. */
#ifndef TQ_TESTS_GGUF_SUPPORT_H
#define TQ_TESTS_GGUF_SUPPORT_H

#include "tests/gguf_builder.h"
#include "tq/container.h"

/* Opens a GGUF file; `options` may be NULL. */
tq_status gguf_try(const char *path, const tq_open_options *options, tq_checkpoint **checkpoint, tq_error *error);
/* Fails the test unless it opens. */
tq_checkpoint *gguf_opened_as(const char *path, const tq_open_options *options);
tq_checkpoint *gguf_opened(const char *path);
/* Takes the checkpoint in and closes it; the .tq file is verified in full. */
tq_file *gguf_imported_as(tq_checkpoint *checkpoint, uint32_t code);
tq_file *gguf_imported(const char *path);
/* True when the checkpoint's readings contain the text; prints them otherwise. */
bool gguf_reads(const tq_checkpoint *checkpoint, const char *text);
/* The tensor of a role; fails the test when there is none. */
const tq_tensor *gguf_tensor_in(const tq_file *file, const char *role);
void gguf_weights_of(const tq_file *file, uint8_t digest[16]);
/* Fails the test unless the file comes back from its .tq file byte for byte, whatever the code. */
void ck_gguf_comes_back(const char *path, const tq_open_options *options);

/* True for a row of the table of dialects that is GGUF's and packed; NULL is allowed. */
bool gguf_is_packed(const tq_dialect *dialect);
/* What a file of the dialect needs to be read as it. */
tq_open_options gguf_options_for(const tq_dialect *dialect);
/* Writes gguf_ternary_keys and gguf_ternary_tensors as NAME below temporary_folder(); the path is one of its static
 * buffers. */
const char *gguf_write_model(const char *name, const tq_dialect *dialect, const float *scales, size_t scale_count);
/* The same with blk.0.attn_q.scale (0.3) before the weights and blk.0.ffn_down.scale (-0.1) behind them. */
const char *gguf_write_scaled(const char *name, const tq_dialect *dialect, const float *scales, size_t scale_count);
/* A tensor of one F32. */
void gguf_add_scale(gguf_builder *builder, const char *name, float value);

#endif
