/* Encodings: how the numbers of a tensor lie in memory. The ids are those of the .tq format (docs/format.md). */
#ifndef TQ_ENCODING_H
#define TQ_ENCODING_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum tq_encoding {
  TQ_F32 = 1,
  TQ_F16 = 2,
  TQ_BF16 = 3,
  TQ_F64 = 4,
  TQ_BOOL = 8, /* one byte, 0 or 1 */
  TQ_U8 = 9,
  TQ_I8 = 10,
  TQ_U16 = 11,
  TQ_I16 = 12,
  TQ_U32 = 13,
  TQ_I32 = 14,
  TQ_U64 = 15,
  TQ_I64 = 16,
  TQ_F8_E4M3 = 24, /* OCP 8-bit floats and smaller: carried, not computed with */
  TQ_F8_E5M2 = 25,
  TQ_F8_E8M0 = 26,
  TQ_F6_E2M3 = 27, /* 4 values in 3 bytes */
  TQ_F6_E3M2 = 28,
  TQ_F4 = 29, /* 2 values in a byte */
  TQ_F8_E4M3FNUZ = 30,
  TQ_F8_E5M2FNUZ = 31,
  TQ_C64 = 32,             /* complex: two F32 */
  TQ_TERNARY_2BIT = 64,    /* codes 0, 1, 2 for -1, 0, +1 */
  TQ_TERNARY_BASE3 = 65,   /* five trits a byte */
  TQ_QUATERNARY_2BIT = 66, /* codes 0..3 for -1, 0, +1, +2: four-valued, not ternary */
  TQ_BLOCKS = 96           /* a foreign type's blocks, named by the part's type name */
} tq_encoding;

/* How many elements share one scale. */
typedef enum tq_granularity {
  TQ_PER_TENSOR = 0,
  TQ_PER_ROW = 1,
  TQ_PER_GROUP = 2 /* `group` consecutive elements of a row, the last group of a row may be shorter */
} tq_granularity;

typedef enum tq_direction {
  TQ_DIRECT = 0,  /* w = d * t */
  TQ_INVERTED = 1 /* w = t / s, computed as t * f32(1 / f32(s)) */
} tq_direction;

typedef struct tq_encoding_info {
  uint32_t id;
  const char *name;  /* "F32", "ternary-base3", ... */
  uint32_t elements; /* elements in the smallest whole number of bytes */
  uint32_t bytes;    /* that number; 0 where the layout is by row (ternary codes) or by type name (blocks) */
  bool is_float;     /* F32, F16, BF16, F64: decodable to float exactly or, for F64, by rounding */
} tq_encoding_info;

/* The row of the table, or NULL for an unknown id. */
const tq_encoding_info *tq_encoding_find(uint32_t id);

/* A foreign block type that can be decoded. */
typedef struct tq_block_type {
  const char *name;        /* as GGUF names it: "Q8_0" */
  uint32_t block_elements; /* 32 */
  uint32_t block_bytes;    /* 34 */
  /* block_count blocks to block_count * block_elements floats */
  void (*decode)(const void *blocks, uint64_t block_count, float *values);
} tq_block_type;

/* The row of the table of block types, or NULL for a name that is not known. */
const tq_block_type *tq_block_type_find(const char *name);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
