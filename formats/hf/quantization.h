/* Ternary weights that transformers' method "bitnet" packs: what quantization_config declares of them, and the pairs of
 * a U8 weight and its weight_scale that they are in the files. */
#ifndef TQ_FORMATS_HF_QUANTIZATION_H
#define TQ_FORMATS_HF_QUANTIZATION_H

#include "formats/checkpoint.h"
#include "tq/model.h"

#include <jansson.h>

typedef struct tq_hf_quantization {
  bool is_bitnet;            /* there is a quantization_config of this method */
  const tq_dialect *dialect; /* bitlinear or autobitlinear, as linear_class says; NULL where nothing is declared */
  bool is_online;            /* the linear layers hold latent floats, made ternary whenever they are used */
  const json_t *kept;        /* modules_to_not_convert, or NULL for the default, the head alone; borrowed */
} tq_hf_quantization;

/* What a config.json (NULL when there is none) declares; `name` begins messages. Another method than "bitnet", and what
 * is not understood of this one, are TQ_ERROR_CORRUPT. */
tq_status tq_hf_quantization_read(const char *name, const json_t *config, tq_hf_quantization *quantization,
                                  tq_error *error);
/* True when modules_to_not_convert names the module, or something that it is part of. */
bool tq_hf_quantization_keeps(const tq_hf_quantization *quantization, const char *module, size_t length);

/* Makes packed tensors of the U8 weights that have a weight_scale beside them, wherever it lies: their form gets the
 * scale, their shape is that of the layer, and the scales are tensors no more. Nothing is done where nothing is packed
 * and nothing declared; otherwise whatever does not pair is refused by name. `name` begins messages. */
tq_status tq_hf_pack(tq_checkpoint *checkpoint, const char *name, const tq_hf_quantization *quantization,
                     const tq_open_options *options, tq_error *error);
/* True when a packed tensor's outputs are those that the hyperparameters give its role, which get into *wanted
 * otherwise; always for what is no linear layer. */
bool tq_hf_packed_rows_fit(const tq_hyperparameters *model, const char *role, uint64_t rows, uint64_t *wanted);
/* Compares the shapes of packed layers with those that the hyperparameters give: rows that were filled up to a multiple
 * of four are seen here. */
tq_status tq_hf_check_packed_shapes(const tq_checkpoint *checkpoint, const tq_hyperparameters *model, tq_error *error);

/* ---- which way a scale is meant; direction.c ---- */

/* A packed weight and what its weight_scale says: index of the tensor, and the number. */
typedef struct tq_hf_packed {
  size_t tensor;
  uint32_t scale_encoding;
  uint8_t scale[4];
} tq_hf_packed;

/* Decides between direct and inverted from what is declared, the user's choice and the weights themselves; *dialect is
 * the one with that direction. What was decided, on what evidence, goes to the readings. TQ_ERROR_REFUSED where the
 * weights contradict what is declared, or nothing is and they do not tell. */
tq_status tq_hf_decide_direction(tq_checkpoint *checkpoint, const char *name, const tq_hf_quantization *quantization,
                                 const tq_open_options *options, const tq_hf_packed *packed, size_t count,
                                 const tq_dialect **dialect, tq_error *error);

#endif
