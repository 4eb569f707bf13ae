/* Comparing two models of any forms: by their digests, and where these differ by what is in them. */
#ifndef TQ_TOOLS_INSPECT_COMPARE_H
#define TQ_TOOLS_INSPECT_COMPARE_H

#include "tools/inspect.h"

/* How a tensor differs; of several the first applies. */
typedef enum compare_kind {
  COMPARE_ONLY_FIRST,  /* the second model has no such tensor */
  COMPARE_ONLY_SECOND, /* the first has none */
  COMPARE_SHAPE,
  COMPARE_UNREADABLE, /* its values cannot be computed with, and its bytes differ */
  COMPARE_TRITS,      /* both are ternary, and trits differ */
  COMPARE_TRITS_AND_SCALES,
  COMPARE_SCALES, /* both are ternary with the same trits */
  COMPARE_VALUES
} compare_kind;

typedef struct compare_tensor {
  const inspect_tensor *first, *second; /* NULL where a model has none */
  compare_kind kind;
  uint64_t different;       /* values */
  uint64_t different_signs; /* those of another sign, 0 being a sign: trits; the others differ in magnitude: scales */
  uint64_t row, column;     /* of the first that differs */
  double furthest;          /* largest difference of two values */
  double relative;          /* root of the sum of squared differences over that of the first model's squares */
} compare_tensor;

/* A property that differs, both values as text. */
typedef struct compare_key {
  char name[64], first[96], second[96];
} compare_key;

enum { COMPARE_KEYS = 64 };

typedef struct comparison {
  const inspect_model *first, *second;
  bool weights, function, tokenizer; /* whether each is the same */
  bool ternary;                      /* whether there are ternary tensors, and all of them are the same */
  compare_tensor *tensors;           /* those that differ */
  size_t tensor_count, capacity;
  size_t compared; /* roles that either has */
  compare_key keys[COMPARE_KEYS];
  size_t key_count; /* more differences than there is room for are left out */
} comparison;

/* Reads the values of tensors that differ. Freed by compare_free in every case. */
tq_status compare_models(inspect_model *first, inspect_model *second, comparison *result, tq_error *error);
void compare_free(comparison *result);
bool compare_is_identical(const comparison *result);

/* inspect_compare_keys.c: whether functions and tokenizers are the same, and the keys that tell them apart. A function
 * that has no digest on both sides is told by the metadata it comes from. */
tq_status compare_functions(comparison *result, tq_error *error);
void compare_tokenizers(comparison *result);
bool compare_has_functions(const comparison *result); /* both digests */

/* NULL when there is no more room: a list of so many differences says enough. */
compare_key *compare_add_key(comparison *result, const char *name);

/* inspect_compare_raw.c: whether all metadata that the function may come from is the same: the architecture, the keys
 * under its name and those of a rotation, and the tensor of RoPE factors. Adds a key for each that is not. */
tq_status compare_raw_functions(comparison *result, bool *same, tq_error *error);

/* inspect_compare_print.c */
tq_status compare_print_text(const comparison *result, tq_error *error);
tq_status compare_print_json(const comparison *result, tq_error *error);

#endif
