/* Packed codes in registers of 64 bytes: a line is 4 columns of a panel's 16 rows, in each place of the bytes. For
 * avx512.c alone. */
#ifndef TQ_KERNELS_AVX512_CODES_H
#define TQ_KERNELS_AVX512_CODES_H

#include "kernels/kernels.h"
#include "tq/ternary.h"

#include <immintrin.h>
#include <stdalign.h>
#include <string.h>

/* What has constant arguments is compiled once for each. */
#define INLINE static inline __attribute__((always_inline))

/* Loops over registers must come out without a trace, or these lie in memory. */
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

enum { LINE = TQ_PANEL_ROWS * TQ_PIECE, BLOCK_LINES = TQ_SPAN / TQ_PIECE, MOST_PLACES = 5 };

/* Digits 1 to 4 of each base-3 byte, in bits 0..1, 2..3, 4..5 and 6..7. */
#define DIGIT(byte, power) (((byte) * (power)&255) * 3 >> 8)
#define DIGITS(byte) (DIGIT(byte, 3) | DIGIT(byte, 9) << 2 | DIGIT(byte, 27) << 4 | DIGIT(byte, 81) << 6)
#define DIGITS_4(byte) DIGITS(byte), DIGITS((byte) + 1), DIGITS((byte) + 2), DIGITS((byte) + 3)
#define DIGITS_16(byte) DIGITS_4(byte), DIGITS_4((byte) + 4), DIGITS_4((byte) + 8), DIGITS_4((byte) + 12)
#define DIGITS_64(byte) DIGITS_16(byte), DIGITS_16((byte) + 16), DIGITS_16((byte) + 32), DIGITS_16((byte) + 48)
static const alignas(64) uint8_t base3_digits[256] = {DIGITS_64(0), DIGITS_64(64), DIGITS_64(128), DIGITS_64(192)};

/* A byte's upper half of the table is looked up where its top bit is set, and what that leaves in the lower. */
INLINE __m512i look_up_digits(__m512i bytes) {
  __mmask64 upper = _mm512_movepi8_mask(bytes);
  __m512i found = _mm512_mask2_permutex2var_epi8(_mm512_load_si512(base3_digits + 128), bytes, upper,
                                                 _mm512_load_si512(base3_digits + 192));
  return _mm512_mask2_permutex2var_epi8(_mm512_load_si512(base3_digits), found, ~upper,
                                        _mm512_load_si512(base3_digits + 64));
}

/* Sums of 16 rows. gcc keeps these in one register from one addition to the next, which it does not with __m512i. */
typedef int32_t row_sums __attribute__((vector_size(64)));

/* 4 activations, the same for every row. */
INLINE __m512i broadcast_piece(const int8_t *codes) {
  int32_t piece;
  memcpy(&piece, codes, sizeof piece);
  return _mm512_set1_epi32(piece);
}

INLINE row_sums add_products(row_sums sums, __m512i digits, __m512i piece) {
  return (row_sums)_mm512_dpbusd_epi32((__m512i)sums, digits, piece);
}

/* ---- sums of a line's products ----
 * Places are multiplied where they lie in their byte, which makes sums 1, 4, 16 or 64 times as large: what one shift at
 * the end sets right is spared for every line. The first digit d of a base-3 byte b is in 3 b = 256 d + (3 b mod 256),
 * so its sum comes from two that need no digit. */
typedef struct line_sums {
  row_sums place[4]; /* of base-3 the digits 1 to 4 */
  row_sums bytes, triples;
} line_sums;

INLINE __m512i keep_place(__m512i fields, int place) {
  return _mm512_and_si512(fields, _mm512_set1_epi8((char)(3 << 2 * place)));
}

/* `codes` has the activations of place 0; those of the next are a span further on. */
INLINE void add_line(bool base3, line_sums *sums, __m512i line, const int8_t *codes) {
  __m512i fields = line;
  if (base3) {
    __m512i piece = broadcast_piece(codes), triple = _mm512_add_epi8(_mm512_add_epi8(line, line), line);
    sums->bytes = add_products(sums->bytes, line, piece);
    sums->triples = add_products(sums->triples, triple, piece);
    fields = look_up_digits(line);
    codes += TQ_SPAN;
  }
  sums->place[0] = add_products(sums->place[0], keep_place(fields, 0), broadcast_piece(codes));
  sums->place[1] = add_products(sums->place[1], keep_place(fields, 1), broadcast_piece(codes + TQ_SPAN));
  sums->place[2] = add_products(sums->place[2], keep_place(fields, 2), broadcast_piece(codes + 2 * TQ_SPAN));
  sums->place[3] = add_products(sums->place[3], keep_place(fields, 3), broadcast_piece(codes + 3 * TQ_SPAN));
}

/* The first digit's sum, less the sum of the activations: 256 times that fits 32 bits, though its parts may not. */
INLINE row_sums finish_first(const line_sums *of, int32_t sum) {
  __m512i bytes = (__m512i)of->bytes, times_256 = _mm512_slli_epi32(_mm512_set1_epi32(sum), 8);
  __m512i triples = _mm512_add_epi32(times_256, (__m512i)of->triples);
  return (row_sums)_mm512_sub_epi32(_mm512_add_epi32(_mm512_add_epi32(bytes, bytes), bytes), triples) >> 8;
}

/* Sums of trits with activations, of each place; `sums` are those of the activations alone. */
INLINE void finish_sums(bool base3, const line_sums *of, const int32_t *sums, row_sums *places) {
  if (base3) *places++ = finish_first(of, *sums++);
  places[0] = of->place[0] - sums[0];
  places[1] = (of->place[1] >> 2) - sums[1];
  places[2] = (of->place[2] >> 4) - sums[2];
  places[3] = (of->place[3] >> 6) - sums[3];
}

/* ---- unpacked codes ---- */

/* Each place of a line as codes, trit + 1. */
INLINE void unpack_line(bool base3, __m512i line, __m512i *places) {
  const __m512i low = _mm512_set1_epi8(3);
  if (base3) {
    __m512i one = _mm512_maskz_set1_epi8(_mm512_cmpgt_epu8_mask(line, _mm512_set1_epi8(85)), 1);
    *places++ =
        _mm512_mask_mov_epi8(one, _mm512_cmpgt_epu8_mask(line, _mm512_set1_epi8((char)170)), _mm512_set1_epi8(2));
    line = look_up_digits(line);
  }
  places[0] = _mm512_and_si512(line, low);
  places[1] = _mm512_and_si512(_mm512_srli_epi16(line, 2), low);
  places[2] = _mm512_and_si512(_mm512_srli_epi16(line, 4), low);
  places[3] = _mm512_and_si512(_mm512_srli_epi16(line, 6), low);
}

#endif
