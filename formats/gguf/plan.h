/* What a GGUF file made from a .tq file will hold, decided and checked before its first byte is written. */
#ifndef TQ_FORMATS_GGUF_PLAN_H
#define TQ_FORMATS_GGUF_PLAN_H

#include "base/text.h"
#include "formats/dialects/encode.h"
#include "formats/gguf/gguf.h"
#include "formats/gguf/header.h"
#include "tq/metadata.h"

typedef struct tq_gguf_planned {
  size_t tensor; /* its index in the .tq file; SIZE_MAX: the plan's RoPE factors */
  tq_form form;  /* of ternary weights: how they are written; no dialect for the others */
  bool is_scale; /* a tensor of one F32, form.scale, that the tensor before it is to be multiplied by */
  char *name;
  const tq_gguf_type *type;
  uint32_t dimensions;
  uint64_t shape[TQ_GGUF_DIMENSIONS]; /* outermost first */
  bool widened;                       /* F16 or BF16 in the .tq file, F32 in the GGUF */
  uint32_t heads;                     /* whose rows go back to adjacent-pair RoPE order; 0: none */
  uint64_t offset, size;              /* offset from where tensor data begins */
} tq_gguf_planned;

typedef struct tq_gguf_plan {
  const tq_file *file;
  const char *name;          /* the .tq file's, for messages */
  const tq_dialect *dialect; /* of ternary tensors; NULL when there are none */
  bool takes_scales;         /* tq_write_options.takes_scales */
  tq_team *team;             /* may be NULL */
  uint32_t alignment;
  tq_metadata_builder keys;
  tq_gguf_planned *tensors;
  size_t tensor_count, tensor_capacity;
  float *rope_factors; /* NULL unless RoPE scaling has to become a tensor */
  size_t rope_factor_count;
} tq_gguf_plan;

/* *plan is zero-initialised by the caller and freed with tq_gguf_plan_free whatever the outcome. What GGUF cannot hold
 * is TQ_ERROR_REFUSED with the tensor's name; what changes its form without losing a value becomes a line of `notes`.
 */
tq_status tq_gguf_plan_make(const tq_file *file, const tq_write_options *options, tq_gguf_plan *plan, tq_buffer *notes,
                            tq_error *error);
void tq_gguf_plan_free(tq_gguf_plan *plan);

/* Sets the plan's dialect; plan_ternary.c. */
tq_status tq_gguf_plan_dialect(tq_gguf_plan *plan, const tq_write_options *options, tq_buffer *notes, tq_error *error);
/* The form and type of a ternary tensor: the plan's dialect, or F32 where nothing else is computed with. */
tq_status tq_gguf_plan_ternary(const tq_gguf_plan *plan, bool must_be_f32, tq_gguf_planned *planned, tq_error *error);

/* True when a matrix is written in another type than it came in, so that what the source says of types does not hold.
 */
bool tq_gguf_types_change(const tq_gguf_plan *plan);
/* The plan's metadata; plan_keys.c. Called when the tensors are decided. */
tq_status tq_gguf_plan_keys(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error);
/* True when the file's RoPE scaling is Llama 3's, which GGUF holds as a tensor of factors instead of keys. */
bool tq_gguf_scales_like_llama3(const tq_metadata *metadata);

/* True for a tensor that multiplies the product of a weight beside it, which readers may not know of. */
bool tq_gguf_is_kept_scale(const tq_gguf_plan *plan, size_t tensor);

#endif
