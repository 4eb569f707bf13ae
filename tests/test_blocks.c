/* Foreign blocks: against blocks made by hand, and against a decoder that goes the other way round, from each element
 * to its bits. */
#include "base/bytes.h"
#include "tests/support.h"
#include "tq/encoding.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 7 };

static const tq_block_type *type_of(const char *name) {
  const tq_block_type *type = tq_block_type_find(name);
  ck_assert_msg(type != NULL, "%s is not known", name);
  return type;
}

static bool same_bits(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/* ---- from an element to its bits ---- */

/* `count` bits from bit `first` of an array of bytes. */
static unsigned bits_at(const uint8_t *bytes, size_t first, unsigned count) {
  unsigned value = 0;
  for (unsigned i = 0; i < count; i++) value |= (unsigned)(bytes[(first + i) / 8] >> (first + i) % 8 & 1) << i;
  return value;
}

static float half_at(const uint8_t *bytes) { return tq_f16_to_f32(tq_load_u16(bytes)); }

static float element_q8_0(const uint8_t *block, size_t i) {
  float d = half_at(block), q = (float)(int8_t)block[2 + i];
  return d * q;
}

static float element_q4_0(const uint8_t *block, size_t i) {
  float d = half_at(block), q = (float)bits_at(block + 2, i % 16 * 8 + i / 16 * 4, 4) - 8;
  return d * q;
}

static float element_q4_k(const uint8_t *block, size_t i) {
  const uint8_t *packed = block + 4;
  size_t run = i / 32, other = run % 4;
  unsigned scale = bits_at(packed, 8 * other, 6), minimum = bits_at(packed, 32 + 8 * other, 6);
  if (run >= 4) {
    scale = bits_at(packed, 64 + 8 * other, 4) + 16 * bits_at(packed, 8 * other + 6, 2);
    minimum = bits_at(packed, 64 + 8 * other + 4, 4) + 16 * bits_at(packed, 32 + 8 * other + 6, 2);
  }
  float a = half_at(block) * (float)scale, b = half_at(block + 2) * (float)minimum;
  float product = a * (float)bits_at(block + 16, (i / 64 * 32 + i % 32) * 8 + i / 32 % 2 * 4, 4);
  return product - b;
}

static float element_q6_k(const uint8_t *block, size_t i) {
  size_t half = i / 128, within = i % 128, column = within % 32, row = within / 32;
  unsigned low = bits_at(block, (half * 64 + row % 2 * 32 + column) * 8 + row / 2 * 4, 4);
  unsigned high = bits_at(block + 128, (half * 32 + column) * 8 + row * 2, 2);
  float scale = half_at(block + 208) * (float)(int8_t)block[192 + i / 16];
  return scale * ((float)(low + 16 * high) - 32);
}

static const struct {
  const char *name;
  uint32_t elements, bytes;
  float (*element)(const uint8_t *block, size_t i);
  size_t scales[2]; /* where the F16 numbers are */
} types[] = {
    {"Q4_0", 32, 18, element_q4_0, {0, 0}},
    {"Q8_0", 32, 34, element_q8_0, {0, 0}},
    {"Q4_K", 256, 144, element_q4_k, {0, 2}},
    {"Q6_K", 256, 210, element_q6_k, {208, 208}},
};
enum { TYPES = sizeof types / sizeof types[0] };

/* Random blocks whose scales are finite: every bit pattern of the rest. */
static void fill(size_t type, uint8_t *blocks, uint64_t *seed) {
  for (size_t i = 0; i < BLOCKS * types[type].bytes; i++) blocks[i] = (uint8_t)random_u64(seed);
  for (size_t b = 0; b < BLOCKS; b++)
    for (size_t s = 0; s < 2; s++) {
      uint8_t *scale = blocks + b * types[type].bytes + types[type].scales[s] + 1;
      if ((*scale & 0x7c) == 0x7c) *scale ^= 0x40;
    }
}

START_TEST(every_element_is_where_its_bits_are) {
  const tq_block_type *type = type_of(types[_i].name);
  ck_assert_uint_eq(type->block_elements, types[_i].elements);
  ck_assert_uint_eq(type->block_bytes, types[_i].bytes);
  uint8_t *blocks = malloc((size_t)BLOCKS * types[_i].bytes);
  float *values = malloc((size_t)BLOCKS * types[_i].elements * sizeof *values);
  uint64_t seed = 5;
  for (int round = 0; round < 200; round++) {
    fill((size_t)_i, blocks, &seed);
    type->decode(blocks, BLOCKS, values);
    for (size_t i = 0; i < BLOCKS * types[_i].elements; i++) {
      float expected = types[_i].element(blocks + i / types[_i].elements * types[_i].bytes, i % types[_i].elements);
      ck_assert_msg(same_bits(values[i], expected), "%s: element %zu is %a, not %a", types[_i].name, i,
                    (double)values[i], (double)expected);
    }
  }
  type->decode(blocks, 0, values); /* nothing is nothing */
  free(blocks);
  free(values);
}
END_TEST

/* What a block of a scale that is not finite holds, and that its neighbours are none the wiser. */
START_TEST(numbers_that_are_not_finite_stay_in_their_block) {
  const tq_block_type *type = type_of(types[_i].name);
  size_t elements = types[_i].elements, bytes = types[_i].bytes;
  uint8_t *blocks = malloc((size_t)BLOCKS * bytes);
  float *values = malloc((size_t)BLOCKS * elements * sizeof *values);
  static const uint16_t odd[] = {0x7c00, 0xfc00, 0x7c01, 0xfe12, 0x7fff};
  uint64_t seed = 6;
  fill((size_t)_i, blocks, &seed);
  for (size_t b = 0; b < 5; b++) tq_store_u16(blocks + (b + 1) * bytes + types[_i].scales[0], odd[b]);
  memset(blocks + bytes + (types[_i].scales[0] ? 0 : 2), 0, 16); /* numbers that are 0 times infinity, in some types */
  type->decode(blocks, BLOCKS, values);
  for (size_t b = 0; b < 5; b++) {
    float scale = tq_f16_to_f32(odd[b]);
    for (size_t i = 0; i < elements; i++) {
      float value = values[(b + 1) * elements + i];
      ck_assert(!isfinite(value) || isinf(scale));
      if (isnan(scale)) ck_assert_uint_eq(bits_of(value), bits_of(scale) | 0x400000);
      if (isinf(scale) && isnan(value)) ck_assert_uint_eq(bits_of(value), 0xffc00000);
    }
  }
  for (size_t i = 0; i < elements; i++) {
    ck_assert(same_bits(values[i], types[_i].element(blocks, i)));
    ck_assert(same_bits(values[6 * elements + i], types[_i].element(blocks + 6 * bytes, i)));
  }
  free(blocks);
  free(values);
}
END_TEST

START_TEST(q4_k_takes_the_nan_of_its_minimum) {
  uint8_t block[144] = {0};
  float values[256];
  tq_store_u16(block, 0x3c00);
  tq_store_u16(block + 2, 0xfc01); /* a signalling NaN */
  for (int infinite = 0; infinite < 2; infinite++) {
    if (infinite) tq_store_u16(block, 0x7c00); /* times 0: a NaN of its own, but the minimum's counts */
    type_of("Q4_K")->decode(block, 1, values);
    for (size_t i = 0; i < 256; i++) ck_assert_uint_eq(bits_of(values[i]), 0xffc02000);
  }
  tq_store_u16(block, 0x7c00);
  tq_store_u16(block + 2, 0x7c00);
  memset(block + 4, 0x41, 12); /* infinity less infinity, where a number is not 0 */
  memset(block + 16, 0x11, 128);
  type_of("Q4_K")->decode(block, 1, values);
  for (size_t i = 0; i < 256; i++) ck_assert_uint_eq(bits_of(values[i]), 0xffc00000);
}
END_TEST

/* ---- by hand ---- */

START_TEST(q8_0_by_hand) {
  uint8_t blocks[68];
  float values[64];
  for (size_t b = 0; b < 2; b++) {
    tq_store_u16(blocks + 34 * b, b ? 0xb800 : 0x2e66); /* -0.5, and one that is no power of two */
    for (size_t i = 0; i < 32; i++) blocks[34 * b + 2 + i] = (uint8_t)(i * 8 - 128);
  }
  type_of("Q8_0")->decode(blocks, 2, values);
  for (size_t i = 0; i < 64; i++) {
    float expected = (float)((int)(i % 32) * 8 - 128) * (i < 32 ? tq_f16_to_f32(0x2e66) : -0.5f);
    ck_assert(values[i] == expected);
  }
}
END_TEST

START_TEST(q4_0_by_hand) {
  uint8_t block[18] = {0x00, 0xbc, 0x10, 0xf8, 0x8f}; /* d = -1; the other bytes are 0 and 0 */
  float values[32];
  type_of("Q4_0")->decode(block, 1, values);
  ck_assert(values[0] == 8.0f && values[16] == 7.0f);            /* 0 and 1 */
  ck_assert(same_bits(values[1], -0.0f) && values[17] == -7.0f); /* 8 and 15 */
  ck_assert(values[2] == -7.0f && same_bits(values[18], -0.0f)); /* 15 and 8 */
  for (size_t i = 3; i < 16; i++) ck_assert(values[i] == 8.0f && values[16 + i] == 8.0f);
}
END_TEST

START_TEST(q4_k_by_hand) {
  uint8_t block[144] = {0};
  float values[256];
  tq_store_u16(block, 0x3800);     /* d = 0.5 */
  tq_store_u16(block + 2, 0x3400); /* m = 0.25 */
  block[4] = 0xc0 | 3;             /* scale 0 is 3; the top of scale 4 is 3 */
  block[4 + 4] = 0x80 | 5;         /* minimum 0 is 5; the top of minimum 4 is 2 */
  block[4 + 8] = 0x97;             /* scale 4 is 7 + 48, minimum 4 is 9 + 32 */
  block[16] = 0x2e;                /* elements 0 and 32 */
  block[16 + 64 + 31] = 0x5d;      /* elements 128 + 31 and 160 + 31 */
  type_of("Q4_K")->decode(block, 1, values);
  ck_assert(values[0] == 0.5f * 3 * 14 - 0.25f * 5);
  ck_assert(values[1] == -1.25f && values[31] == -1.25f);
  ck_assert(values[32] == 0.0f); /* its scale and minimum are 0 */
  ck_assert(values[159] == 0.5f * 55 * 13 - 0.25f * 41);
  ck_assert(values[128] == -0.25f * 41 && values[191] == 0.0f);
}
END_TEST

START_TEST(q6_k_by_hand) {
  uint8_t block[210] = {0};
  float values[256];
  tq_store_u16(block + 208, 0x3400); /* d = 0.25 */
  block[192] = 0xff;                 /* scale of elements 0-15: -1 */
  block[192 + 15] = 100;             /* scale of elements 240-255 */
  block[0] = 0x0f;                   /* element 0: low half; the high half is element 64 */
  block[128] = 0x02;                 /* element 0: 2 * 16 */
  block[64 + 32 + 31] = 0x40;        /* element 255: low half 4 */
  block[128 + 32 + 31] = 0xc0;       /* element 255: 3 * 16 */
  type_of("Q6_K")->decode(block, 1, values);
  ck_assert(values[0] == 0.25f * -1 * (15 + 32 - 32));
  ck_assert(values[1] == 0.25f * -1 * -32 && values[15] == 8.0f);
  ck_assert(values[16] == 0.0f && values[64] == 0.0f);
  ck_assert(values[255] == 0.25f * 100 * (4 + 48 - 32));
  ck_assert(values[240] == 0.25f * 100 * -32);
}
END_TEST

START_TEST(other_types_are_not_known) {
  ck_assert_ptr_null(tq_block_type_find("Q8_1"));
  ck_assert_ptr_null(tq_block_type_find("q4_K"));
  ck_assert_ptr_null(tq_block_type_find("Q4_K "));
  ck_assert_ptr_null(tq_block_type_find(""));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("blocks");
  TCase *tests = tcase_create("blocks");
  tcase_add_loop_test(tests, every_element_is_where_its_bits_are, 0, TYPES);
  tcase_add_loop_test(tests, numbers_that_are_not_finite_stay_in_their_block, 0, TYPES);
  tcase_add_test(tests, q4_k_takes_the_nan_of_its_minimum);
  tcase_add_test(tests, q8_0_by_hand);
  tcase_add_test(tests, q4_0_by_hand);
  tcase_add_test(tests, q4_k_by_hand);
  tcase_add_test(tests, q6_k_by_hand);
  tcase_add_test(tests, other_types_are_not_known);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
