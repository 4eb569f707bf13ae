/* What the suites about Hugging Face folders share: small folders, and taking them in. */
#ifndef TQ_TESTS_HF_SUPPORT_H
#define TQ_TESTS_HF_SUPPORT_H

#include "formats/checkpoint.h"
#include "tq/container.h"

/* Empties temporary_folder(): a fixture, so that every test may use the same names. */
void hf_clear(void);
/* A new empty folder below temporary_folder(); the path is in one of its static buffers. */
const char *hf_folder(const char *name);
/* Writes a text as FOLDER/NAME below temporary_folder(), making or replacing it. */
void hf_put(const char *folder, const char *name, const char *text);
void hf_remove(const char *folder, const char *name);

/* Opens a file or folder below temporary_folder(). */
tq_status hf_try(const char *name, tq_checkpoint **checkpoint, tq_error *error);
/* The same, where only the status matters. */
tq_status hf_status(const char *name, tq_error *error);
/* The same with each operation failing in turn: check_every_fault. */
long hf_check_every_fault(const char *name);
/* Fails the test unless it opens. */
tq_checkpoint *hf_checkpoint(const char *name);
/* Fails the test unless one of the checkpoint's notes contains the text. */
void hf_noted(const tq_checkpoint *checkpoint, const char *text);
/* The text of a metadata value as %g or the string itself, in a static buffer; "" when it is absent. */
const char *hf_value(const tq_checkpoint *checkpoint, const char *key);

/* Takes any checkpoint in and opens the .tq file that comes of it, which is called NAME below temporary_folder(). */
tq_file *hf_import(const char *path, const char *name);
/* Takes a file of the shared data in and writes the folder "out" below temporary_folder() from it. NULL, after saying
 * so, where that file is absent. */
tq_file *hf_write_shared(const char *relative);
/* Fails the test unless all three digests are equal, and none is that of nothing. */
void hf_same_digests(const tq_file *a, const tq_file *b);
void hf_same_tokenizer(const tq_file *a, const tq_file *b);

/* ---- a tiny Llama model: dimension 8, one layer, two heads, 16 tokens, F32 ---- */

typedef struct hf_tensor {
  const char *name;
  uint32_t dimensions;
  uint64_t shape[2];
} hf_tensor;

extern const hf_tensor hf_tiny[];
enum { HF_TINY_TENSORS = 12, HF_TINY_HEAD = 11, HF_TINY_EMBEDDING = 0 };
extern const char hf_tiny_config[];

/* Writes tensors [first, first + count) of the tiny model as FOLDER/NAME. The values of a tensor depend on its number
 * only, or, where `like` is not negative, are those of that tensor. */
void hf_put_weights(const char *folder, const char *name, size_t first, size_t count, int like_for_head);
/* A folder with config.json and model.safetensors. */
void hf_put_tiny(const char *folder);

#endif
