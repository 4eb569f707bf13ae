/* What looking at all tensors shows about the model: how import records it and tq-inspect tells it. `surveys` is
 * [tensor_count], what tq_ternary_survey gave for each. */
#ifndef TQ_FORMATS_FINDINGS_H
#define TQ_FORMATS_FINDINGS_H

#include "formats/checkpoint.h"
#include "formats/dialects/reader.h"

/* What the activations were rounded to in training, that ternary weights are meant to meet: "float" where no tensor is
 * ternary; "int8-token" for BitNet architectures, where quantization_config says bitnet, and where each ternary linear
 * layer (there is one) can have a single scale, whatever granularity was assumed; "int8-block" otherwise. A key
 * tq.activations in the checkpoint's metadata goes before it. */
const char *tq_checkpoint_activations(const tq_checkpoint *checkpoint, const tq_survey *surveys);

/* True when the linear layers are latent weights, floats that a BitNet is trained with and that are made ternary
 * whenever they are used: the key tq.latent says so, or there is none and a BitNet architecture has linear layers that
 * are plain floats, all of them, none ternary or almost; never where the user says that floats are floats. */
bool tq_checkpoint_is_latent(const tq_checkpoint *checkpoint, const tq_survey *surveys);

/* Adds what was found to the readings, the first time: tensors that are almost ternary, and latent weights. */
tq_status tq_checkpoint_tell_findings(tq_checkpoint *checkpoint, const tq_survey *surveys, tq_error *error);

#endif
