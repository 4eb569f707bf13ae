/* Weights of a .tq file as safetensors: decided and checked first, then written in one pass. */
#ifndef TQ_FORMATS_HF_WEIGHTS_H
#define TQ_FORMATS_HF_WEIGHTS_H

#include "base/file.h"
#include "formats/hf/forms.h"
#include "formats/safetensors/safetensors.h"
#include "tq/container.h"
#include "tq/model.h"

#include <jansson.h>

typedef struct tq_hf_shard {
  size_t first, count; /* entries */
} tq_hf_shard;

/* What an entry is written from. */
typedef struct tq_hf_item {
  size_t tensor;
  tq_form form;  /* dialect NULL: the tensor's values as they are */
  bool is_scale; /* the weight_scale: form.scale */
  bool patched;  /* the bytes that the tensor came from are those that are written */
  uint64_t shape[TQ_MAX_DIMENSIONS];
} tq_hf_item;

typedef struct tq_hf_weights {
  const tq_file *file;
  tq_team *team;
  tq_hf_forms forms;
  tq_hf_item *items;             /* as many as entries */
  tq_safetensors_entry *entries; /* `source` is the item's index; names are owned */
  size_t count;
  tq_hf_shard *shards;
  size_t shard_count, shard_capacity;
} tq_hf_weights;

/* Decides names, types and shards. What the folder cannot hold is TQ_ERROR_REFUSED with the reason. `model`
 * is changed where the file says its RoPE scaling as a tensor of factors that a config.json can say in numbers; NULL
 * when the hyperparameters are not understood. *weights is zero-initialised by the caller and freed whatever the
 * outcome. */
tq_status tq_hf_weights_plan(const tq_file *file, tq_hyperparameters *model, const tq_write_options *options,
                             uint64_t shard_bytes, tq_hf_weights *weights, tq_buffer *notes, tq_error *error);
/* The torch_dtype that loses none of the matrices' values: "float32", "float16", "bfloat16"; NULL where there are no
 * floats. */
const char *tq_hf_weights_dtype(const tq_hf_weights *weights);
/* Makes the quantization_config of a config.json say how these weights are packed, that they are latent, or nothing
 * (quantization_write.c); *is_changed when it did not before. A type of floats that is stated then grows where the
 * weights need it. */
tq_status tq_hf_weights_declare(const tq_hf_weights *weights, json_t *config, bool *is_changed, tq_error *error);
/* Writes model.safetensors, or the shards and their index. */
tq_status tq_hf_weights_write(const tq_hf_weights *weights, tq_output_folder *folder, tq_error *error);
void tq_hf_weights_free(tq_hf_weights *weights);

#endif
