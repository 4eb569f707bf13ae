/* Ternary tensors in memory: codes, scale tables, statistics, content hash. Pure functions; nothing here
 * allocates but the content hash, and nothing knows a file. */
#ifndef TQ_TERNARY_H
#define TQ_TERNARY_H

#include "tq/encoding.h"
#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- codes ----
 * A row is cut into blocks of 4 (2-bit) or 5 (base-3) spans of 32 weights; a block takes 32 bytes, and byte m of
 * it holds the weights m, 32 + m, 64 + m, ... of the block. What is left of a row, r weights, forms a last block with a
 * span of r / 4 or r / 5 rounded up to a multiple of 4, and as many bytes. Places without a weight hold the trit 0.
 * 2-bit: weight l of a byte is bits 2l..2l+1, trit + 1 (3 is +2, in TQ_QUATERNARY_2BIT only). base-3: digits trit + 1,
 * the first weight most significant: n = sum(digit_k * 3^(4-k)), byte = ceil(256 n / 243). Digit k of a byte is
 * ((byte * 3^k mod 256) * 3) >> 8.
 *
 * A matrix is cut into panels of 16 rows, the last of which may have fewer. A panel holds its rows' bytes in pieces of
 * 4: the first piece of each row in turn, then the second of each, and so on. So 64 bytes of a whole panel are 4
 * columns of 16 rows in each of their places, which is what an instruction for products of bytes takes. */
enum { TQ_SPAN = 32, TQ_PANEL_ROWS = 16, TQ_PIECE = 4 };

/* Bytes of one row of `columns` trits; `encoding` is one of the three trit encodings. */
uint64_t tq_trit_row_bytes(uint32_t encoding, uint64_t columns);
void tq_trits_pack(uint32_t encoding, const int8_t *trits, uint64_t columns, uint8_t *row);
void tq_trits_unpack(uint32_t encoding, const uint8_t *row, uint64_t columns, int8_t *trits);
/* True when the row is what tq_trits_pack writes: no code 3 in ternary 2-bit, no byte that is not a base-3 number,
 * padding of zeros. *bad gets the offset of the first wrong byte otherwise. */
bool tq_trits_valid(uint32_t encoding, const uint8_t *row, uint64_t columns, uint64_t *bad);
/* Rows of the panel that `row` of `rows` is in. */
uint64_t tq_panel_height(uint64_t rows, uint64_t row);
/* Puts the bytes of a row into, or takes them out of, the codes of a matrix of `rows` rows of row_bytes bytes. */
void tq_panel_store_row(uint8_t *codes, uint64_t rows, uint64_t row, uint64_t row_bytes, const uint8_t *bytes);
void tq_panel_load_row(const uint8_t *codes, uint64_t rows, uint64_t row, uint64_t row_bytes, uint8_t *bytes);
/* Adds how many -1, 0, +1, +2 there are to counts[4]. */
void tq_trits_count(const int8_t *trits, uint64_t columns, uint64_t counts[4]);

/* ---- scales ----
 * Scales per group lie in panels too: the first group's of each row of the panel in turn, then the second's. */

/* How many scales a tensor has. A row's last group may be shorter than the others. */
uint64_t tq_scale_count(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns);
/* The place in its table of the scale of one weight. */
uint64_t tq_scale_index(uint32_t granularity, uint32_t group, uint64_t rows, uint64_t columns, uint64_t row,
                        uint64_t column);
/* Scale `index` of a table in F32, F16 or BF16 as the float that a trit is multiplied by: d, or f32(1 / s) when
 * inverted. */
float tq_scale_load(uint32_t encoding, uint32_t direction, const void *table, uint64_t index);
/* Stores in `bytes` the scale that tq_scale_load gives back as exactly `scale`: rounded where that loses nothing, and
 * for inverted scales the number nearest to 1 / scale whose reciprocal in f32 it is (infinity for a zero). False, with
 * nothing stored, where there is none, and for NaN and infinities. */
bool tq_scale_store(uint32_t encoding, uint32_t direction, float scale, void *bytes);
/* values[c] = trits[c] * its scale, for row `row` of a tensor of `rows` rows. Zeros are +0: those of a zero trit,
 * whatever its scale, and products that are zero. */
void tq_trits_scale(const int8_t *trits, uint64_t rows, uint64_t row, uint64_t columns, uint32_t granularity,
                    uint32_t group, uint32_t encoding, uint32_t direction, const void *table, float *values);

/* ---- floats ---- */

float tq_f16_to_f32(uint16_t half);
float tq_bf16_to_f32(uint16_t brain);
uint16_t tq_f32_to_f16(float value);  /* round half to even; too large becomes infinity */
uint16_t tq_f32_to_bf16(float value); /* round half to even; NaN stays NaN */
/* `count` numbers of a float or integer encoding up to 32 bits, BOOL, F64 (rounded) or 64-bit integers (rounded) to
 * floats. False for an encoding that has no values to compute with (F8, F6, F4, complex). */
bool tq_numbers_decode(uint32_t encoding, const void *data, uint64_t count, float *values);

/* ---- content hash: XXH3-128 over the shape and the f32 value of every weight in row order ----
 * What is hashed: the number of dimensions as u64, each dimension as u64 (outermost first), then the values as
 * little-endian f32. */
typedef struct tq_content_hash tq_content_hash;
tq_status tq_content_hash_create(const uint64_t *shape, uint32_t dimensions, tq_content_hash **hash, tq_error *error);
void tq_content_hash_update(tq_content_hash *hash, const float *values, uint64_t count);
/* For numbers that have no f32 value: their bytes as they are. */
void tq_content_hash_update_bytes(tq_content_hash *hash, const void *data, size_t size);
/* 16 bytes: what tq_writer_tensor_end wants. */
void tq_content_hash_final(const tq_content_hash *hash, uint8_t digest[16]);
void tq_content_hash_destroy(tq_content_hash *hash); /* NULL is allowed */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
