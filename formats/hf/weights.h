/* Weights of a .tq file as safetensors: decided and checked first, then written in one pass. */
#ifndef TQ_FORMATS_HF_WEIGHTS_H
#define TQ_FORMATS_HF_WEIGHTS_H

#include "base/file.h"
#include "formats/safetensors/safetensors.h"
#include "tq/container.h"
#include "tq/model.h"

typedef struct tq_hf_shard {
  size_t first, count; /* entries */
} tq_hf_shard;

typedef struct tq_hf_weights {
  const tq_file *file;
  tq_safetensors_entry *entries; /* `source` is the tensor's index; names are owned */
  size_t count;
  tq_hf_shard *shards;
  size_t shard_count, shard_capacity;
} tq_hf_weights;

/* Decides names, types and shards. A tensor that safetensors cannot hold is TQ_ERROR_REFUSED with the reason. `model`
 * is changed where the file says its RoPE scaling as a tensor of factors that a config.json can say in numbers; NULL
 * when the hyperparameters are not understood. *weights is zero-initialised by the caller and freed whatever the
 * outcome. */
tq_status tq_hf_weights_plan(const tq_file *file, tq_hyperparameters *model, uint64_t shard_bytes,
                             tq_hf_weights *weights, tq_buffer *notes, tq_error *error);
/* Writes model.safetensors, or the shards and their index. */
tq_status tq_hf_weights_write(const tq_hf_weights *weights, tq_output_folder *folder, tq_error *error);
void tq_hf_weights_free(tq_hf_weights *weights);

#endif
