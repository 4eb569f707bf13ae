/* A Hugging Face folder: weights as safetensors or PyTorch files, config.json, and the tokenizer's files. */
#ifndef TQ_FORMATS_HF_H
#define TQ_FORMATS_HF_H

#include "formats/checkpoint.h"
#include "formats/format.h"
#include "tq/model.h"
#include "tq/tokenizer.h"

#include <jansson.h>

/* The row "hf" in the table of formats; it takes the folder as a whole, so `name` is NULL. */
tq_status tq_hf_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options, tq_error *error);
tq_status tq_hf_write(const tq_file *file, const char *path, const tq_write_options *options, tq_buffer *notes,
                      tq_error *error);
/* The same with shards of at most `shard_bytes` of tensor data (a larger tensor has one of its own). */
tq_status tq_hf_write_sharded(const tq_file *file, const char *path, uint64_t shard_bytes,
                              const tq_write_options *options, tq_buffer *notes, tq_error *error);

/* What config.json and the tokenizer's files in checkpoint->folder say, for weights that are in the checkpoint already:
 * sets the metadata and the tokenizer. *described gets whether there was a config.json. */
tq_status tq_hf_describe(tq_checkpoint *checkpoint, const tq_open_options *options, bool *described, tq_error *error);

/* Serialises the tokenizer of a tokenizer.json that stands alone. TQ_ERROR_CORRUPT also for one that is not understood.
 */
tq_status tq_hf_tokenizer_serialize(tq_input *input, uint8_t **section, size_t *size, tq_error *error);

/* Reads a JSON file of the folder whole, if it has at most `limit` bytes; *json is NULL, with TQ_OK, when there is
 * none.
 */
tq_status tq_hf_load(tq_folder *folder, const char *name, size_t limit, json_t **json, tq_error *error);

/* ---- config.json ---- */

/* Adds the hyperparameters of a config.json with GGUF's keys. A model_type that is not known gives its name and the
 * sizes it states, and a note; a known one must state everything in the right types. `name` begins messages. */
tq_status tq_hf_config_read(tq_checkpoint *checkpoint, const char *name, const json_t *config,
                            tq_metadata_builder *builder, tq_error *error);
/* Makes a config.json from a file's metadata and tensors. `model` are its hyperparameters, NULL when they are not
 * understood; `tokenizer` and `float_type`, the torch_dtype, may be NULL too. TQ_ERROR_REFUSED when a size that the
 * architecture needs is not known. */
tq_status tq_hf_config_write(const tq_file *file, const tq_hyperparameters *model, const tq_tokenizer *tokenizer,
                             const char *float_type, json_t **config, tq_error *error);
/* True when HF's files say what this metadata key says, or need not. */
bool tq_hf_config_holds(const tq_metadata *metadata, tq_string key);

#endif
