#include "formats/findings.h"

#include "formats/names.h"

#include <string.h>

static bool is_bitnet(const tq_metadata *metadata) {
  static const char *const names[] = {"bitnet", "bitnet-25", "bitnet-b1.58"};
  tq_string name = tq_metadata_string(metadata, "general.architecture");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (name.size == strlen(names[i]) && memcmp(name.data, names[i], name.size) == 0) return true;
  }
  return false;
}

static bool is_linear(const tq_source_tensor *tensor) {
  size_t linear;
  return tq_role_is_linear(tensor->role, &linear);
}

/* ---- activations ---- */

const char *tq_checkpoint_activations(const tq_checkpoint *checkpoint, const tq_survey *surveys) {
  uint64_t ternary = 0, layers = 0, layers_of_one_scale = 0;
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    if (!surveys[i].is_ternary) continue;
    bool is_layer = is_linear(&checkpoint->tensors[i]);
    ternary++;
    layers += is_layer;
    layers_of_one_scale += is_layer && surveys[i].fits_one_scale;
  }
  if (!ternary) return "float";
  if (is_bitnet(checkpoint->metadata) || checkpoint->trained_with_int8) return "int8-token";
  return layers && layers_of_one_scale == layers ? "int8-token" : "int8-block";
}

/* ---- latent weights ---- */

static bool is_plain_float(const tq_source_tensor *tensor) {
  return tensor->encoding == TQ_F32 || tensor->encoding == TQ_F16 || tensor->encoding == TQ_BF16;
}

/* The number of linear layers where all of them are floats that are not ternary, else 0. */
static size_t count_float_layers(const tq_checkpoint *checkpoint, const tq_survey *surveys) {
  size_t count = 0;
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    if (!is_linear(tensor)) continue;
    if (!is_plain_float(tensor) || surveys[i].is_ternary || surveys[i].is_almost) return 0;
    count++;
  }
  return count;
}

/* The number of layers that show it; 0 where they do not, or it is declared either way. */
static size_t shown_latent(const tq_checkpoint *checkpoint, const tq_survey *surveys) {
  tq_value value;
  bool is_float = checkpoint->assume.is_given && checkpoint->assume.is_float;
  if (is_float || tq_metadata_find(checkpoint->metadata, "tq.latent", &value)) return 0;
  return is_bitnet(checkpoint->metadata) ? count_float_layers(checkpoint, surveys) : 0;
}

bool tq_checkpoint_is_latent(const tq_checkpoint *checkpoint, const tq_survey *surveys) {
  return tq_checkpoint_declares_latent(checkpoint) || shown_latent(checkpoint, surveys) > 0;
}

/* ---- what is told ---- */

static tq_status tell_almost(tq_checkpoint *checkpoint, const tq_survey *surveys, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    if (!surveys[i].is_almost) continue;
    status = tq_checkpoint_reading(
        checkpoint, error,
        "tensor %s is almost ternary: %llu of %llu weights are off by up to %.3g of the scale: left as floats",
        tensor->name, (unsigned long long)surveys[i].almost_off,
        (unsigned long long)(tensor->shape[0] * tensor->shape[1]), surveys[i].almost_furthest);
  }
  return status;
}

static tq_status tell_latent(tq_checkpoint *checkpoint, const tq_survey *surveys, tq_error *error) {
  size_t count = shown_latent(checkpoint, surveys);
  if (tq_checkpoint_declares_latent(checkpoint)) {
    return tq_checkpoint_reading(checkpoint, error,
                                 "the linear layers are latent weights: %s says so, and they are not ternary before "
                                 "they are quantized as in training",
                                 checkpoint->latent_by ? checkpoint->latent_by : "tq.latent");
  }
  if (!count) return TQ_OK;
  tq_string architecture = tq_metadata_string(checkpoint->metadata, "general.architecture");
  return tq_checkpoint_reading(checkpoint, error,
                               "the linear layers are latent weights: architecture %.*s computes with ternary ones, "
                               "and all %zu of them hold floats that are not",
                               (int)architecture.size, architecture.data, count);
}

tq_status tq_checkpoint_tell_findings(tq_checkpoint *checkpoint, const tq_survey *surveys, tq_error *error) {
  if (checkpoint->is_told) return TQ_OK;
  size_t before = checkpoint->readings.size;
  tq_status status = tell_almost(checkpoint, surveys, error);
  if (!status) status = tell_latent(checkpoint, surveys, error);
  if (status)
    checkpoint->readings.size = before; /* the next time tells all of it */
  else
    checkpoint->is_told = true;
  return status;
}
