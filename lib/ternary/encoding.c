/* The table of encodings, and the foreign block types that can be decoded. */
#include "tq/encoding.h"

#include "base/bytes.h"
#include "tq/ternary.h"

#include <stddef.h>
#include <string.h>

static const tq_encoding_info encodings[] = {
    {TQ_F32, "F32", 1, 4, true},
    {TQ_F16, "F16", 1, 2, true},
    {TQ_BF16, "BF16", 1, 2, true},
    {TQ_F64, "F64", 1, 8, true},
    {TQ_BOOL, "BOOL", 1, 1, false},
    {TQ_U8, "U8", 1, 1, false},
    {TQ_I8, "I8", 1, 1, false},
    {TQ_U16, "U16", 1, 2, false},
    {TQ_I16, "I16", 1, 2, false},
    {TQ_U32, "U32", 1, 4, false},
    {TQ_I32, "I32", 1, 4, false},
    {TQ_U64, "U64", 1, 8, false},
    {TQ_I64, "I64", 1, 8, false},
    {TQ_F8_E4M3, "F8_E4M3", 1, 1, false},
    {TQ_F8_E5M2, "F8_E5M2", 1, 1, false},
    {TQ_F8_E8M0, "F8_E8M0", 1, 1, false},
    {TQ_F6_E2M3, "F6_E2M3", 4, 3, false},
    {TQ_F6_E3M2, "F6_E3M2", 4, 3, false},
    {TQ_F4, "F4", 2, 1, false},
    {TQ_F8_E4M3FNUZ, "F8_E4M3FNUZ", 1, 1, false},
    {TQ_F8_E5M2FNUZ, "F8_E5M2FNUZ", 1, 1, false},
    {TQ_C64, "C64", 1, 8, false},
    {TQ_TERNARY_2BIT, "ternary-2bit", 1, 0, false},
    {TQ_TERNARY_BASE3, "ternary-base3", 1, 0, false},
    {TQ_QUATERNARY_2BIT, "quaternary-2bit", 1, 0, false},
    {TQ_BLOCKS, "blocks", 1, 0, false},
};

const tq_encoding_info *tq_encoding_find(uint32_t id) {
  for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++)
    if (encodings[i].id == id) return &encodings[i];
  return NULL;
}

/* Q8_0: an F16 scale, then 32 signed bytes. */
enum { Q8_0_ELEMENTS = 32, Q8_0_BYTES = 34 };

static void decode_q8_0(const void *blocks, uint64_t block_count, float *values) {
  const uint8_t *block = blocks;
  for (uint64_t b = 0; b < block_count; b++, block += Q8_0_BYTES, values += Q8_0_ELEMENTS) {
    float scale = tq_f16_to_f32(tq_load_u16(block));
    for (size_t i = 0; i < Q8_0_ELEMENTS; i++) values[i] = scale * (float)(int8_t)block[2 + i];
  }
}

static const tq_block_type block_types[] = {
    {"Q8_0", Q8_0_ELEMENTS, Q8_0_BYTES, decode_q8_0},
};

const tq_block_type *tq_block_type_find(const char *name) {
  for (size_t i = 0; i < sizeof block_types / sizeof *block_types; i++)
    if (strcmp(block_types[i].name, name) == 0) return &block_types[i];
  return NULL;
}
