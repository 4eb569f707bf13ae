/* One safetensors file on its own. */
#include "formats/hf/hf.h"
#include "formats/safetensors/safetensors.h"

tq_status tq_safetensors_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                              tq_error *error) {
  bool described;
  size_t input;
  tq_status status = tq_safetensors_read(checkpoint, name, &input, error);
  if (!status) status = tq_hf_describe(checkpoint, options, &described, error);
  if (!status) status = tq_checkpoint_add_weights_file(checkpoint, name, input, 0, 0, error);
  if (status) return status;
  if (!described)
    return tq_checkpoint_note(checkpoint, error, "no config.json beside it, so the architecture is not known");
  return tq_checkpoint_note(checkpoint, error,
                            "config.json and the tokenizer beside it were read; they are not carried");
}
