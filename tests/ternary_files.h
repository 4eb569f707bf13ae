/* Random ternary tensors, and .tq files of them. */
#ifndef TQ_TESTS_TERNARY_FILES_H
#define TQ_TESTS_TERNARY_FILES_H

#include "tq/container.h"

/* What the scales of a random tensor are like. */
typedef enum palette {
  SCALES_EXACT, /* few, exact in every small float, one negative, 0 and -0 among them */
  SCALES_ANY,   /* few, of all the bits that their type has */
  SCALES_ONE    /* one of the former in all places */
} palette;

typedef struct ternary {
  uint64_t rows, columns;
  uint32_t code; /* tq_encoding of the codes */
  uint32_t granularity, group, encoding, direction;
  uint32_t heads;          /* source_row_order */
  const char *source_type; /* NULL: "" */
  int8_t *trits;           /* [rows][columns], freed by ternary_free, as the table is */
  uint8_t *table;
} ternary;

/* Fills trits and table. Some groups of trits are all zero. */
void ternary_random(ternary *tensor, palette scales, uint64_t *state);
void ternary_free(ternary *tensor);
uint64_t ternary_scale_count(const ternary *tensor);
/* Stores `value`, rounded, as scale `index`. */
void ternary_set_scale(const ternary *tensor, uint64_t index, float value);

/* Writes the tensor, with a part of U8 behind its scales unless `extra_kind` is 0. */
tq_status ternary_put(tq_writer *writer, const ternary *tensor, const char *name, uint32_t extra_kind,
                      const void *extra, size_t extra_size, tq_error *error);
/* A file, "ternary.tq", of that tensor alone, named "t" and with the bytes of a patch unless they are NULL; opened. */
tq_file *ternary_file(const ternary *tensor, tq_verify verify, const void *patch, size_t patch_size);

/* Every weight of row `row`, [columns]. */
void ternary_weights(const ternary *tensor, uint64_t row, float *values);

/* A sink that collects bytes; zero-initialised is empty. */
typedef struct collected {
  uint8_t *bytes; /* freed by free() */
  size_t size;
} collected;
tq_status collect(void *context, const void *data, size_t size, tq_error *error);
/* The bytes of the patch from one to the other, given to it in pieces of `step`. */
collected patch_bytes(const uint8_t *original, const uint8_t *encoded, size_t size, size_t step);

#endif
