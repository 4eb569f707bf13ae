/* What the suites of tq-inspect share: running it, looking into its JSON, and files to be looked at. */
#ifndef TQ_TESTS_CLI_INSPECT_SUPPORT_H
#define TQ_TESTS_CLI_INSPECT_SUPPORT_H

#include "tq/container.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Runs tq-inspect with up to three arguments and demands the status; the output, and the errors if asked for, are freed
 * by the caller. */
char *inspect(int expected, char **errors, const char *a, const char *b, const char *c);
/* All that it says of a file. */
json_t *inspect_json(const char *path);

/* The value behind a '/'-separated path of keys and indexes; the test fails where there is none of the kind. */
json_t *at(json_t *json, const char *keys);
const char *string_at(json_t *json, const char *keys);
long long integer_at(json_t *json, const char *keys);
double number_at(json_t *json, const char *keys);

void ck_contains(const char *text, const char *part);

/* ---- tensors made with the writer ---- */

enum { WIDTH = 256, FFN = 320, VOCABULARY = 96 };

typedef struct codes {
  uint32_t encoding, granularity, group, scale_encoding, direction;
  float first, last; /* of the scales, evenly between */
} codes;

/* Zeros; no rows: a vector. */
void add_numbers(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, uint32_t encoding);
/* A quarter of the weights is -1, a quarter 0, the others +1 (or, four-valued, +1 and +2). At most FFN columns. */
void add_codes(tq_writer *writer, const char *role, uint64_t rows, uint64_t columns, const codes *c);

/* A model of two layers; q of the second has another scale, so that a group's range is that of its tensors. */
void write_ternary(const char *path, const char *name, size_t name_size, bool with_four_valued);

#endif
