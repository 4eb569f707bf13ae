/* The table of encodings. */
#include "tq/encoding.h"

#include <stddef.h>

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
