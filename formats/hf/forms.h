/* Which of Hugging Face's forms the ternary tensors of a .tq file are written in: packed with a weight_scale, or as
 * plain floats. */
#ifndef TQ_FORMATS_HF_FORMS_H
#define TQ_FORMATS_HF_FORMS_H

#include "formats/dialects/encode.h"
#include "formats/format.h"

typedef struct tq_hf_forms {
  tq_form *of;            /* by tensor, dialect NULL for those that are not ternary; owned */
  const tq_dialect *type; /* what was asked for or found; NULL when no tensor is ternary */
} tq_hf_forms;

/* Decides, and says in the notes what and why. With options->type, a tensor that it cannot hold is TQ_ERROR_REFUSED;
 * without, the smallest type is taken that is exact for all, packed scales in the direction that they have before
 * the other. Embeddings and heads are never packed: they become the smallest floats that are exact. *forms is
 * zero-initialised by the caller and freed by tq_hf_forms_free whatever the outcome. */
tq_status tq_hf_forms_choose(const tq_file *file, const tq_write_options *options, tq_hf_forms *forms, tq_buffer *notes,
                             tq_error *error);
void tq_hf_forms_free(tq_hf_forms *forms);

/* True for a dialect with a scale in a tensor of its own. */
bool tq_hf_is_packed(const tq_dialect *dialect);

#endif
