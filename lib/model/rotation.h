/* What a file says of the rotation that its weights are folded with: the keys prism.hadamard.*. */
#ifndef TQ_MODEL_ROTATION_H
#define TQ_MODEL_ROTATION_H

#include "tq/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TQ_MOST_SIGN_WIDTHS = 64 }; /* layers of one model have a handful of widths */

/* Names of tensors, as the file had them, sorted. */
typedef struct tq_rotated_names {
  tq_string *names;
  bool *bound; /* [count]: a layer of that name was found */
  size_t count;
} tq_rotated_names;

typedef struct tq_rotation_keys {
  uint32_t block; /* 0: there is no rotation */
  bool tied;      /* the rotated embedding is the head too (version 2) */
  bool has_signs; /* else every sign is 1 */
  size_t width_count;
  uint32_t widths[TQ_MOST_SIGN_WIDTHS];
  float *signs;                /* widths[0] of them, then widths[1], ... */
  tq_rotated_names weights;    /* whose input is rotated */
  tq_rotated_names embeddings; /* whose rows are rotated back when they are looked up */
} tq_rotation_keys;

/* Reads and checks all keys, names pointing into the metadata. TQ_ERROR_CORRUPT for anything that is not understood; no
 * key is ignored. *keys is to be freed in every case. */
tq_status tq_rotation_read(const tq_metadata *metadata, tq_rotation_keys *keys, tq_error *error);
void tq_rotation_free(tq_rotation_keys *keys);

/* True when the name is listed, which is noted as bound. */
bool tq_rotation_lists(const tq_rotated_names *names, const char *name);
/* A listed name that no layer was found for, or NULL. */
const tq_string *tq_rotation_unbound(const tq_rotated_names *names);
/* The signs of inputs of that width, NULL when there are none. */
const float *tq_rotation_signs(const tq_rotation_keys *keys, uint64_t width);
/* XXH3-128 over all of it (docs/format.md, "Function"). */
tq_status tq_rotation_digest(const tq_rotation_keys *keys, uint8_t digest[16], tq_error *error);

#endif
