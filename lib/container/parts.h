/* The rules for a tensor and its parts, shared by reader and writer. Messages begin "FILE: tensor ROLE: ". */
#ifndef TQ_CONTAINER_PARTS_H
#define TQ_CONTAINER_PARTS_H

#include "tq/container.h"

/* Checks `dimensions`, `shape` and `source_row_order`, and fills rows, columns and elements. */
tq_status tq_tensor_measure(const char *file, tq_tensor *tensor, tq_error *error);

/* Checks one part's fields and that its size is what they and the tensor's shape demand. */
tq_status tq_part_check(const char *file, const tq_tensor *tensor, const tq_part *part, tq_error *error);

/* Checks which parts stand together, and the trit counts against the encoding. */
tq_status tq_parts_check(const char *file, const tq_tensor *tensor, tq_error *error);

/* 8 * (bytes of all parts) / elements. */
double tq_tensor_bits_per_weight(const tq_tensor *tensor);

/* The part of that kind, or NULL. */
const tq_part *tq_tensor_part(const tq_tensor *tensor, uint32_t kind);

/* True for the encodings that hold trits: the ternary codes and the four-valued one. */
bool tq_encoding_is_trits(uint32_t encoding);

enum { TQ_WHOLE_BLOCKS = 640 }; /* weights that are whole blocks in every trit code */

/* Trits [column, column + count) of a row of a tensor whose values are in a trit code: taken out of their panel,
 * checked and unpacked. `column` is a multiple of TQ_WHOLE_BLOCKS, and so is `count` but at the row's end. False where
 * a byte means nothing: *bad gets its offset in the row's own bytes. The bytes must have been touched. */
bool tq_tensor_unpack(const tq_tensor *tensor, uint64_t row, uint64_t column, uint64_t count, int8_t *trits,
                      uint64_t *bad);

#endif
