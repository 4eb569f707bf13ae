/* A ternary tensor of a .tq file as the bytes of a dialect: for writing it in another form, and for giving back the
 * bytes that it came from. */
#ifndef TQ_FORMATS_DIALECTS_ENCODE_H
#define TQ_FORMATS_DIALECTS_ENCODE_H

#include "base/team.h"
#include "formats/dialects/dialect.h"
#include "tq/container.h"

/* True when the tensor's first part is trit codes. */
bool tq_tensor_is_ternary(const tq_tensor *tensor);

/* TQ_OK when every trit and scale of the tensor can be said in the form exactly; TQ_ERROR_REFUSED with the tensor's
 * name and the reason otherwise, plain floats and +2 included. Reads the codes where the scales alone do not decide. Of
 * *form the outer scale's bytes are not read: with an outer scale the tensor needs one scale in all, of the type and
 * direction that the form says, or, where its scale_encoding is 0, of F32 in the dialect's direction, which holds what
 * the smaller types do. */
tq_status tq_dialect_fits(const tq_file *file, size_t tensor, const tq_form *form, tq_team *team, tq_error *error);

/* How a tensor's bytes are wanted. */
typedef struct tq_encode_options {
  tq_form form;
  uint32_t adjacent_heads; /* whose rows go to adjacent-pair RoPE order; 0: the order stays */
  bool patched;            /* the tensor's patch is applied: the bytes it came from */
  tq_team *team;           /* may be NULL */
} tq_encode_options;

/* Hands the tq_dialect_size bytes to `sink`, in order and in pieces; memory is a few MiB, or a unit for each member of
 * the team where that is more. The bytes do not depend on the team. TQ_ERROR_REFUSED when the tensor does not fit
 * (which the caller has found out before); a scale outside the bytes is not looked at. TQ_ERROR_CORRUPT for codes that
 * mean nothing, and for a patch that is none or is not for these bytes. */
tq_status tq_dialect_encode(const tq_file *file, size_t tensor, const tq_encode_options *options, tq_sink sink,
                            void *context, tq_error *error);

/* ---- patches: where the bytes that a tensor came from differ from what is encoded ----
 * The part's bytes are u32 1 (the version), u32 0, u64 the size of the original bytes, then the XOR of the original and
 * the encoded bytes, deflated (zlib). docs/format.md, "Patches". */

typedef struct tq_patch_writer tq_patch_writer;
/* Begins a PATCH part on `writer` (tq_writer_part_begin is called here). */
tq_status tq_patch_create(tq_writer *writer, uint64_t size, tq_patch_writer **patch, tq_error *error);
/* The next bytes, both ways. */
tq_status tq_patch_write(tq_patch_writer *patch, const uint8_t *original, const uint8_t *encoded, size_t size,
                         tq_error *error);
/* Ends the part. Frees the patch writer in every case. */
tq_status tq_patch_finish(tq_patch_writer *patch, tq_error *error);
void tq_patch_abandon(tq_patch_writer *patch); /* NULL is allowed */

#endif
