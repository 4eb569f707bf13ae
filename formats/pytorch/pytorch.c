#include "formats/pytorch/pytorch.h"

#include "formats/hf/hf.h"
#include "formats/llama2c/llama2c.h"
#include "formats/pytorch/model_args.h"
#include "formats/pytorch/state.h"

#include <string.h>

/* ---- recognising ---- */

/* How a file written before PyTorch 1.6 begins: the pickle of a magic number. */
static const uint8_t legacy_start[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

static bool is_legacy(const uint8_t *start, size_t size) {
  return size >= sizeof legacy_start && memcmp(start, legacy_start, sizeof legacy_start) == 0;
}

static bool has_extension(const char *name) {
  static const char *const extensions[] = {".pt", ".pth", ".bin", ".ckpt"};
  size_t size = strlen(name);
  for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
    size_t length = strlen(extensions[i]);
    if (size > length && strcmp(name + size - length, extensions[i]) == 0) return true;
  }
  return false;
}

bool tq_pytorch_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  (void)file_size;
  if (is_legacy(start, start_size)) return true;
  return start_size >= 4 && memcmp(start, "PK\3\4", 4) == 0 && has_extension(name);
}

bool tq_pytorch_is(tq_folder *archive) {
  tq_input *input = NULL;
  if (!tq_folder_is_archive(archive) || tq_folder_input(archive, "data.pkl", &input, NULL) != TQ_OK) return false;
  tq_input_close(input);
  return input != NULL;
}

/* ---- reading ---- */

/* An old file is refused for what it is, before it is refused for being no archive. */
static tq_status refuse_legacy(tq_checkpoint *checkpoint, const char *name, tq_error *error) {
  tq_input *input;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status != TQ_OK || !input) return status;
  uint8_t start[sizeof legacy_start];
  if (tq_input_size(input) >= sizeof start) {
    status = tq_input_read(input, 0, start, sizeof start, error);
    if (status == TQ_OK && is_legacy(start, sizeof start))
      status =
          tq_fail(error, TQ_ERROR_CORRUPT,
                  "%s: written by PyTorch before 1.6; torch.save(torch.load(...)) with a later one makes it readable",
                  tq_input_name(input));
  }
  tq_input_close(input);
  return status;
}

static tq_status open_state(tq_checkpoint *checkpoint, const char *name, tq_state *state, tq_error *error) {
  tq_status status = refuse_legacy(checkpoint, name, error);
  return status == TQ_OK ? tq_state_open(checkpoint->folder, name, state, error) : status;
}

tq_status tq_pytorch_read(tq_checkpoint *checkpoint, const char *name, tq_error *error) {
  tq_state state = {0};
  tq_status status = open_state(checkpoint, name, &state, error);
  if (status == TQ_OK) status = tq_state_add_tensors(checkpoint, &state, TQ_CARRIER_HF, 0, 0, error);
  tq_state_close(&state);
  return status;
}

static tq_status describe_llama2c(tq_checkpoint *checkpoint, const char *name, const tq_state *state,
                                  const tq_open_options *options, tq_error *error) {
  tq_model_args arguments;
  tq_metadata_builder builder = {0};
  tq_status status = tq_model_args_read(state, &arguments, error);
  if (status == TQ_OK)
    status = tq_state_add_tensors(checkpoint, state, TQ_CARRIER_META, arguments.heads, arguments.kv_heads, error);
  if (status == TQ_OK) status = tq_model_args_describe(&arguments, &builder, error);
  if (status == TQ_OK) status = tq_checkpoint_set_metadata(checkpoint, &builder, error);
  tq_metadata_builder_free(&builder);
  return status == TQ_OK ? tq_llama2c_open_tokenizer(checkpoint, name, arguments.vocabulary, options, error) : status;
}

static tq_status describe_hf(tq_checkpoint *checkpoint, const char *name, const tq_state *state,
                             const tq_open_options *options, tq_error *error) {
  bool is_described = false;
  tq_status status = tq_state_add_tensors(checkpoint, state, TQ_CARRIER_HF, 0, 0, error);
  if (status == TQ_OK) status = tq_hf_describe(checkpoint, options, &is_described, error);
  if (status != TQ_OK || is_described) return status;
  return tq_checkpoint_note(checkpoint, error, "no config.json lies beside %s: what the model computes is not known",
                            name);
}

tq_status tq_pytorch_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                          tq_error *error) {
  tq_state state = {0};
  tq_status status = open_state(checkpoint, name, &state, error);
  if (status == TQ_OK) {
    bool is_meta = tq_state_find_tensor(&state, "tok_embeddings.weight") != NULL;
    status = (is_meta ? describe_llama2c : describe_hf)(checkpoint, name, &state, options, error);
  }
  tq_state_close(&state);
  return status;
}
