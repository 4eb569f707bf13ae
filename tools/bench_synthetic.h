/* Models of well-known shapes with random weights, so that speed can be measured without a download. */
#ifndef TQ_TOOLS_BENCH_SYNTHETIC_H
#define TQ_TOOLS_BENCH_SYNTHETIC_H

#include "tq/container.h"

typedef struct bench_shape {
  const char *name, *architecture;
  uint32_t layers, dimension, feed_forward, heads, kv_heads, head_dimension, vocabulary, context;
  float norm_epsilon, rope_base;
  bool tied; /* the embedding is the head */
} bench_shape;

/* The row of that name, or NULL. */
const bench_shape *bench_shape_find(const char *name);
/* Row `index`, or NULL behind the last. */
const bench_shape *bench_shape_at(size_t index);

/* How the layers' matrices are encoded; embedding and head are Q8_0. */
typedef struct bench_code {
  uint32_t encoding, granularity, group;
} bench_code;

/* "2bit" or "base3"; "tensor", "row" or "g32" to "g256". False for another name. */
bool bench_code_by_name(const char *name, bench_code *code);
bool bench_scale_by_name(const char *name, bench_code *code);

/* Writes the model to `save`, its digests included; or, for NULL, to a file in $TMPDIR that is gone as soon as it is
 * mapped. The same shape and code give the same bytes. */
tq_status bench_synthetic_open(const bench_shape *shape, const bench_code *code, const char *save, tq_file **file,
                               tq_error *error);

#endif
