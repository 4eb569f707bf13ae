/* Walking over a checkpoint's tensors once, and the three digests of design: weights, function, tokenizer. */
#ifndef TQ_FORMATS_DIGESTS_H
#define TQ_FORMATS_DIGESTS_H

#include "base/hash.h"
#include "base/progress.h"
#include "formats/checkpoint.h"
#include "formats/dialects/reader.h"

/* Memory for walking over tensors of numbers and blocks, reused from one to the next. */
typedef struct tq_walk {
  uint8_t *bytes; /* a piece of a tensor as the file has it */
  float *values;  /* a part of it, decoded */
  size_t capacity;
  uint64_t done, total;        /* bytes of all tensors */
  const tq_progress *progress; /* may be NULL */
} tq_walk;

tq_status tq_walk_create(const tq_checkpoint *checkpoint, const tq_progress *progress, tq_walk *walk, tq_error *error);
void tq_walk_destroy(tq_walk *walk);

/* Hands the bytes of a tensor of numbers or blocks (canonical row order, the file's encoding) to `sink` (may be NULL),
 * and computes its content digest: XXH3-128 over the shape and the f32 value of every weight; numbers that have no f32
 * value (8-bit floats and smaller, complex) are hashed as their bytes. */
tq_status tq_walk_tensor(tq_walk *walk, tq_checkpoint *checkpoint, size_t tensor, tq_sink sink, void *context,
                         tq_digest *content, tq_error *error);

/* Counts a tensor that was read otherwise. */
void tq_walk_past(tq_walk *walk, const tq_source_tensor *tensor);

/* The digest of the model's function; all zero when its architecture is not one that can be run. */
tq_status tq_checkpoint_function_digest(tq_checkpoint *checkpoint, tq_digest *function, tq_error *error);
/* All zero when there is no tokenizer. */
tq_status tq_checkpoint_tokenizer_digest(const tq_checkpoint *checkpoint, tq_digest *tokenizer, tq_error *error);

/* All three, reading every tensor: what an import would give. `content` gets each tensor's own digest and `surveys`
 * what it was found to be, in the checkpoint's order; both may be NULL. What that shows about the model is added to the
 * checkpoint's readings (formats/findings.h). */
tq_status tq_checkpoint_digests(tq_checkpoint *checkpoint, tq_digest *content, tq_survey *surveys, tq_digest *weights,
                                tq_digest *function, tq_digest *tokenizer, const tq_progress *progress,
                                tq_error *error);
#endif
