#include "formats/safetensors/safetensors.h"

#include "tq/encoding.h"

#include <string.h>

static const tq_safetensors_type types[] = {
    {"BOOL", TQ_BOOL},
    {"F4", TQ_F4},
    {"F6_E2M3", TQ_F6_E2M3},
    {"F6_E3M2", TQ_F6_E3M2},
    {"U8", TQ_U8},
    {"I8", TQ_I8},
    {"F8_E5M2", TQ_F8_E5M2},
    {"F8_E4M3", TQ_F8_E4M3},
    {"F8_E8M0", TQ_F8_E8M0},
    {"F8_E4M3FNUZ", TQ_F8_E4M3FNUZ},
    {"F8_E5M2FNUZ", TQ_F8_E5M2FNUZ},
    {"I16", TQ_I16},
    {"U16", TQ_U16},
    {"F16", TQ_F16},
    {"BF16", TQ_BF16},
    {"I32", TQ_I32},
    {"U32", TQ_U32},
    {"F32", TQ_F32},
    {"C64", TQ_C64},
    {"F64", TQ_F64},
    {"I64", TQ_I64},
    {"U64", TQ_U64},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const tq_safetensors_type *tq_safetensors_type_by_name(const char *name) {
  for (size_t i = 0; i < COUNT(types); i++) {
    if (strcmp(types[i].name, name) == 0) return &types[i];
  }
  return NULL;
}

const tq_safetensors_type *tq_safetensors_type_by_encoding(uint32_t encoding) {
  for (size_t i = 0; i < COUNT(types); i++) {
    if (types[i].encoding == encoding) return &types[i];
  }
  return NULL;
}

size_t tq_safetensors_type_rank(const tq_safetensors_type *type) { return (size_t)(type - types); }
