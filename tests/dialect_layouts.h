/* The layouts of the packed dialects as index formulas, from their descriptions: what codecs are checked against. */
#ifndef TQ_TESTS_DIALECT_LAYOUTS_H
#define TQ_TESTS_DIALECT_LAYOUTS_H

#include <stdbool.h>
#include <stdint.h>

/* One weight of a tensor. */
typedef struct place {
  uint64_t rows, columns, r, c;
} place;

typedef struct layout {
  const char *name;
  uint32_t gguf_type;
  int32_t file_type;
  double bits; /* a weight, without scales of rows and tails */
  int (*trit)(const uint8_t *data, const place *p);
  uint64_t (*scale)(const place *p); /* offset of the weight's scale; NULL when it does not lie among the codes */
  bool is_base3;
} layout;

/* In the order of the table of dialects: GGUF's, Hugging Face's, plain floats. */
enum { LAYOUTS = 17, GGUF_LAYOUTS = 12, PACKED_LAYOUTS = 14 };
extern const layout layouts[LAYOUTS];

#endif
