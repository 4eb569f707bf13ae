/* Whether a .tq file is what it says of itself, which hashes do not prove: codes, counts, patches and digests. */
#include "base/memory.h"
#include "formats/dialects/encode.h"
#include "tools/inspect.h"
#include "tq/ternary.h"

#include <string.h>

static tq_status check_digest(const inspect_model *model, const tq_digest *stored, const tq_digest *computed,
                              const char *name, const char *source, tq_error *error) {
  if (memcmp(stored, computed, sizeof *stored) == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section digests: the %s digest is not that of the %s", model->path, name,
                 source);
}

/* The values of the tensor of RoPE factors (NULL when there is none), freed by tq_free. */
static tq_status read_rope_factors(const inspect_model *model, float **factors, tq_error *error) {
  size_t index = tq_file_find_role(model->file, "rope_factors"), count = model->hyperparameters.rope_dimensions / 2;
  *factors = NULL;
  if (index == SIZE_MAX) return TQ_OK;
  const tq_tensor *tensor = tq_file_tensor(model->file, index);
  if (tensor->elements != count || tensor->parts[0].encoding != TQ_F32 || tensor->part_count != 1) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: not the %zu values of F32 that RoPE needs", model->path,
                   tensor->role, count);
  }
  *factors = tq_allocate(count, sizeof **factors, error);
  if (!*factors) return TQ_ERROR_SYSTEM;
  tq_numbers_decode(TQ_F32, tensor->parts[0].data, count, *factors);
  return TQ_OK;
}

/* A model without tensors, or one whose hyperparameters are not understood here, has no function to compare with. */
static tq_status check_function(const inspect_model *model, tq_error *error) {
  float *factors;
  tq_digest computed;
  if (model->tensor_count == 0 || model->unreadable.status) return TQ_OK;
  tq_status status = read_rope_factors(model, &factors, error);
  if (status) return status;
  tq_function_digest(&model->hyperparameters, factors, computed.bytes);
  tq_free(factors);
  return check_digest(model, &model->function, &computed, "function", "hyperparameters", error);
}

static tq_status check_tokenizer(const inspect_model *model, tq_error *error) {
  tq_digest computed = {0};
  if (model->tokenizer) tq_tokenizer_digest(model->tokenizer, computed.bytes);
  return check_digest(model, &model->tokenizer_digest, &computed, "tokenizer", "tokenizer", error);
}

static tq_status take_nothing(void *context, const void *data, size_t size, tq_error *error) {
  (void)context;
  (void)data;
  (void)size;
  (void)error;
  return TQ_OK;
}

static bool has_patch(const tq_tensor *tensor) {
  for (size_t i = 0; i < tensor->part_count; i++) {
    if (tensor->parts[i].kind == TQ_PART_PATCH) return true;
  }
  return false;
}

/* A patch is good when the bytes that the tensor came from can be made with it. */
static tq_status check_patches(const inspect_model *model, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < model->tensor_count; i++) {
    const tq_tensor *tensor = model->tensors[i].stored;
    tq_encode_options options = {.adjacent_heads = tensor->source_row_order, .patched = true};
    if (!has_patch(tensor) || !tq_tensor_is_ternary(tensor)) continue;
    if (!tq_form_from_name(tensor->source_type, &options.form)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: a patch of bytes in a form that is not known",
                     model->path, tensor->name);
    }
    status = tq_dialect_encode(model->file, i, &options, take_nothing, NULL, error);
  }
  return status;
}

tq_status inspect_verify_content(inspect_model *model, tq_error *error) {
  tq_status status = tq_file_verify_content(model->file, &model->not_understood, error);
  if (!status) status = check_patches(model, error);
  if (!status) status = check_function(model, error);
  return status ? status : check_tokenizer(model, error);
}
