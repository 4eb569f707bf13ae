#include "formats/gguf/gguf.h"

#include <string.h>

/* A type whose blocks are carried as they are; `number` is general.file_type's where one number means the type. */
#define BLOCKS(id, name, elements, bytes, number)                                                                      \
  { id, name, TQ_BLOCKS, elements, bytes, number }
/* A ternary type, described by its dialects; or one that is known by its name only: its rows share bytes or begin with
 * numbers of their own, it is kept in memory only, or its layout is not fixed. */
#define NAMED(id, name)                                                                                                \
  { id, name, 0, 0, 0, -1 }

/* llama.cpp's ids, then those of its forks: bitnet.cpp (36..39), ik_llama.cpp (97..99, 133.., 200..) and PrismML (142,
 * 143). 39 is bitnet.cpp's TL2 too; 42 has two layouts and 36 three. */
static const tq_gguf_type types[] = {
    {0, "F32", TQ_F32, 1, 4, 0},
    {1, "F16", TQ_F16, 1, 2, 1},
    BLOCKS(2, "Q4_0", 32, 18, 2),
    BLOCKS(3, "Q4_1", 32, 20, 3),
    BLOCKS(6, "Q5_0", 32, 22, 8),
    BLOCKS(7, "Q5_1", 32, 24, 9),
    BLOCKS(8, "Q8_0", 32, 34, 7),
    NAMED(9, "Q8_1"),
    BLOCKS(10, "Q2_K", 256, 84, -1),
    BLOCKS(11, "Q3_K", 256, 110, -1),
    BLOCKS(12, "Q4_K", 256, 144, -1),
    BLOCKS(13, "Q5_K", 256, 176, -1),
    BLOCKS(14, "Q6_K", 256, 210, 18),
    NAMED(15, "Q8_K"),
    BLOCKS(16, "IQ2_XXS", 256, 66, 19),
    BLOCKS(17, "IQ2_XS", 256, 74, 20),
    BLOCKS(18, "IQ3_XXS", 256, 98, 23),
    BLOCKS(19, "IQ1_S", 256, 50, 24),
    BLOCKS(20, "IQ4_NL", 32, 18, 25),
    BLOCKS(21, "IQ3_S", 256, 110, -1),
    BLOCKS(22, "IQ2_S", 256, 82, -1),
    BLOCKS(23, "IQ4_XS", 256, 136, 30),
    {24, "I8", TQ_I8, 1, 1, -1},
    {25, "I16", TQ_I16, 1, 2, -1},
    {26, "I32", TQ_I32, 1, 4, -1},
    {27, "I64", TQ_I64, 1, 8, -1},
    {28, "F64", TQ_F64, 1, 8, -1},
    BLOCKS(29, "IQ1_M", 256, 56, 31),
    {30, "BF16", TQ_BF16, 1, 2, 32},
    NAMED(31, "Q4_0_4_4"),
    NAMED(32, "Q4_0_4_8"),
    NAMED(33, "Q4_0_8_8"),
    NAMED(34, "TQ1_0"),
    NAMED(35, "TQ2_0"),
    NAMED(36, "I2_S"),
    NAMED(37, "I8_S"),
    NAMED(38, "TL1"),
    BLOCKS(39, "MXFP4", 32, 17, 38),
    BLOCKS(40, "NVFP4", 64, 36, 39),
    BLOCKS(41, "Q1_0", 128, 18, -1),
    NAMED(42, "Q2_0"),
    NAMED(97, "Q8_0_X4"),
    NAMED(98, "Q8_1_X4"),
    NAMED(99, "Q8_2_X4"),
    BLOCKS(133, "Q6_0", 32, 26, 135),
    NAMED(134, "IQ1_BN"),
    NAMED(135, "IQ2_BN"),
    NAMED(136, "Q8_K64"),
    BLOCKS(137, "IQ2_K", 256, 76, 138),
    BLOCKS(138, "IQ3_K", 256, 110, 139),
    BLOCKS(139, "IQ4_K", 256, 144, 140),
    BLOCKS(140, "IQ5_K", 256, 176, 141),
    BLOCKS(141, "IQ6_K", 256, 212, 142),
    NAMED(142, "PQ2_0"),
    NAMED(143, "PTQ1_0"),
    NAMED(144, "IQ4_KS"),
    NAMED(145, "IQ2_KS"),
    NAMED(146, "IQ4_KSS"),
    NAMED(148, "Q8_K32"),
    NAMED(151, "Q8_KV"),
    NAMED(152, "IQ5_KS"),
    NAMED(153, "IQ2_KT"),
    NAMED(154, "IQ3_KT"),
    NAMED(155, "IQ4_KT"),
    NAMED(156, "IQ3_KS"),
    NAMED(157, "IQ2_KL"),
    NAMED(158, "IQ1_KT"),
    NAMED(202, "Q4_0_R8"),
    NAMED(206, "Q5_0_R4"),
    NAMED(208, "Q8_0_R8"),
    NAMED(210, "Q2_K_R4"),
    NAMED(211, "Q3_K_R4"),
    NAMED(212, "Q4_K_R4"),
    NAMED(213, "Q5_K_R4"),
    NAMED(214, "Q6_K_R4"),
    NAMED(216, "IQ2_XXS_R4"),
    NAMED(217, "IQ2_XS_R4"),
    NAMED(218, "IQ3_XXS_R4"),
    NAMED(219, "IQ1_S_R4"),
    NAMED(220, "IQ4_NL_R4"),
    NAMED(221, "IQ3_S_R4"),
    NAMED(222, "IQ2_S_R4"),
    NAMED(223, "IQ4_XS_R8"),
    NAMED(229, "IQ1_M_R4"),
    NAMED(230, "BF16_R16"),
    NAMED(233, "Q6_0_R4"),
    NAMED(335, "IQ2_BN_R4"),
    NAMED(337, "IQ2_K_R4"),
    NAMED(338, "IQ3_K_R4"),
    NAMED(339, "IQ4_K_R4"),
    NAMED(340, "IQ5_K_R4"),
    NAMED(344, "IQ4_KS_R4"),
    NAMED(352, "IQ5_KS_R4"),
    NAMED(353, "MXFP4_R8"),
    NAMED(397, "Q8_K_R16"),
    NAMED(398, "Q8_KV_R8"),
    NAMED(399, "Q8_K_R8"),
};

#undef BLOCKS
#undef NAMED

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

const tq_gguf_type *tq_gguf_type_find(uint32_t id) {
  for (size_t i = 0; i < COUNT(types); i++) {
    if (types[i].id == id) return &types[i];
  }
  return NULL;
}

const tq_gguf_type *tq_gguf_type_for(uint32_t encoding, const char *block_name) {
  for (size_t i = 0; encoding && i < COUNT(types); i++) {
    if (types[i].encoding != encoding) continue;
    if (encoding != TQ_BLOCKS || strcmp(types[i].name, block_name) == 0) return &types[i];
  }
  return NULL;
}

const tq_dialect *tq_gguf_type_dialect(const tq_gguf_type *type) {
  const tq_dialect *dialect = type->encoding ? NULL : tq_dialect_find(type->name);
  return dialect && dialect->gguf_type == type->id ? dialect : NULL;
}

const tq_gguf_type *tq_gguf_type_of_dialect(const tq_dialect *dialect) { return tq_gguf_type_find(dialect->gguf_type); }
