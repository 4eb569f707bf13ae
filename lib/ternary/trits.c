/* The packed codes: the scalar reference that every other reader of packed rows is checked against. Whole blocks, which
 * are all of a row but its end, have loops of their own: a compiler makes vector code of a loop over bytes with a
 * constant span. */
#include "tq/ternary.h"

#include <string.h>

enum { BASE3_CODES = 243 };

/* Weights that a byte holds. */
static uint64_t weights_per_byte(uint32_t encoding) { return encoding == TQ_TERNARY_BASE3 ? 5 : 4; }

static const uint8_t powers_of_3[5] = {1, 3, 9, 27, 81};

/* The span of the last block: whole pieces, so that the 4 columns of a piece begin at a multiple of 4. */
static uint64_t tail_span(uint64_t per_byte, uint64_t weights) {
  uint64_t per_piece = per_byte * TQ_PIECE;
  return (weights + per_piece - 1) / per_piece * TQ_PIECE;
}

uint64_t tq_trit_row_bytes(uint32_t encoding, uint64_t columns) {
  uint64_t per_byte = weights_per_byte(encoding), per_block = per_byte * TQ_SPAN;
  return columns / per_block * TQ_SPAN + tail_span(per_byte, columns % per_block);
}

/* One block: byte m of `span` bytes holds the weights m, span + m, 2 span + m, ... of `count`. */
typedef struct block {
  uint64_t first; /* index of its first weight, in the row */
  uint64_t count; /* weights */
  uint64_t span;  /* bytes */
} block;

/* Advances *b to the next block of a row, whole ones first; start from all zero. */
static bool next_block(uint32_t encoding, uint64_t columns, block *b) {
  uint64_t per_byte = weights_per_byte(encoding), per_block = per_byte * TQ_SPAN;
  b->first += b->count;
  uint64_t rest = columns - b->first;
  b->count = rest < per_block ? rest : per_block;
  b->span = tail_span(per_byte, b->count);
  return b->count > 0;
}

/* How many bytes of a block have a weight at place k. */
static uint64_t filled(const block *b, uint64_t k) {
  uint64_t before = k * b->span;
  if (before >= b->count) return 0;
  return b->count - before < b->span ? b->count - before : b->span;
}

static void pack_2bit_whole(const int8_t *restrict trits, uint8_t *restrict bytes) {
  for (size_t m = 0; m < TQ_SPAN; m++) {
    uint8_t low = (uint8_t)((trits[m] + 1) | (trits[TQ_SPAN + m] + 1) << 2);
    uint8_t high = (uint8_t)((trits[2 * TQ_SPAN + m] + 1) | (trits[3 * TQ_SPAN + m] + 1) << 2);
    bytes[m] = (uint8_t)(low | high << 4);
  }
}

static void unpack_2bit_whole(const uint8_t *restrict bytes, int8_t *restrict trits) {
  for (size_t m = 0; m < TQ_SPAN; m++) {
    uint8_t byte = bytes[m];
    trits[m] = (int8_t)((byte & 3) - 1);
    trits[TQ_SPAN + m] = (int8_t)((byte >> 2 & 3) - 1);
    trits[2 * TQ_SPAN + m] = (int8_t)((byte >> 4 & 3) - 1);
    trits[3 * TQ_SPAN + m] = (int8_t)((byte >> 6) - 1);
  }
}

static void pack_2bit(const block *b, const int8_t *trits, uint8_t *bytes) {
  for (uint64_t m = 0; m < b->span; m++) bytes[m] = 0;
  for (uint64_t k = 0; k < 4; k++) {
    uint64_t n = filled(b, k);
    for (uint64_t m = 0; m < n; m++) bytes[m] |= (uint8_t)((trits[k * b->span + m] + 1) << (2 * k));
    for (uint64_t m = n; m < b->span; m++) bytes[m] |= (uint8_t)(1 << (2 * k));
  }
}

static void unpack_2bit(const block *b, const uint8_t *bytes, int8_t *trits) {
  for (uint64_t k = 0; k < 4; k++) {
    uint64_t n = filled(b, k);
    for (uint64_t m = 0; m < n; m++) trits[k * b->span + m] = (int8_t)((bytes[m] >> (2 * k) & 3) - 1);
  }
}

/* The byte of a base-3 number: ceil(256 n / 243), so that its digits can be had from the top by multiplication. */
static uint8_t base3_byte(uint8_t number) {
  return (uint8_t)((uint16_t)(256 * number + BASE3_CODES - 1) / BASE3_CODES);
}

static int base3_digit(uint8_t byte, uint64_t k) { return (uint8_t)(byte * powers_of_3[k]) * 3 >> 8; }

/* Some n has 256 n <= 243 byte < 256 n + 243 just when the middle is less than 243 beyond a multiple of 256. */
static bool base3_is_code(uint8_t byte) { return (uint8_t)(byte * BASE3_CODES) < BASE3_CODES; }

static void pack_base3_whole(const int8_t *restrict trits, uint8_t *restrict bytes) {
  for (size_t m = 0; m < TQ_SPAN; m++) {
    uint8_t number = (uint8_t)(trits[m] + 1);
    number = (uint8_t)(number * 3 + trits[TQ_SPAN + m] + 1);
    number = (uint8_t)(number * 3 + trits[2 * TQ_SPAN + m] + 1);
    number = (uint8_t)(number * 3 + trits[3 * TQ_SPAN + m] + 1);
    number = (uint8_t)(number * 3 + trits[4 * TQ_SPAN + m] + 1);
    bytes[m] = base3_byte(number);
  }
}

/* The digit 3 byte >> 8, less one, by comparisons: a third of 256 is 85 and a bit. */
static int8_t first_trit(uint8_t byte) { return (int8_t)((byte > 85) + (byte > 170) - 1); }

static void unpack_base3_whole(const uint8_t *restrict bytes, int8_t *restrict trits) {
  for (size_t m = 0; m < TQ_SPAN; m++) {
    uint8_t rest = bytes[m];
    trits[m] = first_trit(rest);
    trits[TQ_SPAN + m] = first_trit(rest = (uint8_t)(rest * 3));
    trits[2 * TQ_SPAN + m] = first_trit(rest = (uint8_t)(rest * 3));
    trits[3 * TQ_SPAN + m] = first_trit(rest = (uint8_t)(rest * 3));
    trits[4 * TQ_SPAN + m] = first_trit((uint8_t)(rest * 3));
  }
}

static void pack_base3(const block *b, const int8_t *trits, uint8_t *bytes) {
  for (uint64_t m = 0; m < b->span; m++) bytes[m] = 0;
  for (uint64_t k = 0; k < 5; k++) {
    uint64_t n = filled(b, k);
    for (uint64_t m = 0; m < n; m++) bytes[m] = (uint8_t)(bytes[m] * 3 + trits[k * b->span + m] + 1);
    for (uint64_t m = n; m < b->span; m++) bytes[m] = (uint8_t)(bytes[m] * 3 + 1);
  }
  for (uint64_t m = 0; m < b->span; m++) bytes[m] = base3_byte(bytes[m]);
}

static void unpack_base3(const block *b, const uint8_t *bytes, int8_t *trits) {
  for (uint64_t k = 0; k < 5; k++) {
    uint64_t n = filled(b, k);
    for (uint64_t m = 0; m < n; m++) trits[k * b->span + m] = (int8_t)(base3_digit(bytes[m], k) - 1);
  }
}

static bool is_whole(uint32_t encoding, const block *b) { return b->count == weights_per_byte(encoding) * TQ_SPAN; }

void tq_trits_pack(uint32_t encoding, const int8_t *trits, uint64_t columns, uint8_t *row) {
  bool base3 = encoding == TQ_TERNARY_BASE3;
  for (block b = {0}; next_block(encoding, columns, &b); row += b.span) {
    if (is_whole(encoding, &b))
      (base3 ? pack_base3_whole : pack_2bit_whole)(trits + b.first, row);
    else
      (base3 ? pack_base3 : pack_2bit)(&b, trits + b.first, row);
  }
}

void tq_trits_unpack(uint32_t encoding, const uint8_t *row, uint64_t columns, int8_t *trits) {
  bool base3 = encoding == TQ_TERNARY_BASE3;
  for (block b = {0}; next_block(encoding, columns, &b); row += b.span) {
    if (is_whole(encoding, &b))
      (base3 ? unpack_base3_whole : unpack_2bit_whole)(row, trits + b.first);
    else
      (base3 ? unpack_base3 : unpack_2bit)(&b, row, trits + b.first);
  }
}

static bool code_is_valid(uint32_t encoding, uint8_t byte) {
  if (encoding == TQ_TERNARY_BASE3) return base3_is_code(byte);
  return encoding == TQ_QUATERNARY_2BIT || !(byte & byte >> 1 & 0x55);
}

/* True when byte m of the block has the trit 0 in every place without a weight. */
static bool padding_is_valid(uint32_t encoding, const block *b, uint64_t m, uint8_t byte) {
  for (uint64_t k = 0; k < weights_per_byte(encoding); k++) {
    if (k * b->span + m < b->count) continue;
    int digit = encoding == TQ_TERNARY_BASE3 ? base3_digit(byte, k) : byte >> (2 * k) & 3;
    if (digit != 1) return false;
  }
  return true;
}

static bool whole_is_valid(uint32_t encoding, const uint8_t *bytes) {
  uint8_t bad = 0;
  if (encoding == TQ_TERNARY_BASE3) {
    for (size_t m = 0; m < TQ_SPAN; m++) bad |= !base3_is_code(bytes[m]);
  } else if (encoding == TQ_TERNARY_2BIT) {
    for (size_t m = 0; m < TQ_SPAN; m++) bad |= bytes[m] & bytes[m] >> 1 & 0x55;
  }
  return !bad;
}

bool tq_trits_valid(uint32_t encoding, const uint8_t *row, uint64_t columns, uint64_t *bad) {
  uint64_t offset = 0;
  for (block b = {0}; next_block(encoding, columns, &b); offset += b.span) {
    if (is_whole(encoding, &b) && whole_is_valid(encoding, row + offset)) continue;
    bool padded = b.span * weights_per_byte(encoding) > b.count;
    for (uint64_t m = 0; m < b.span; m++) {
      uint8_t byte = row[offset + m];
      if (code_is_valid(encoding, byte) && (!padded || padding_is_valid(encoding, &b, m, byte))) continue;
      *bad = offset + m;
      return false;
    }
  }
  return true;
}

/* ---- panels ---- */

uint64_t tq_panel_height(uint64_t rows, uint64_t row) {
  uint64_t left = rows - row / TQ_PANEL_ROWS * TQ_PANEL_ROWS;
  return left < TQ_PANEL_ROWS ? left : TQ_PANEL_ROWS;
}

/* Where a row's first piece lies. */
static uint64_t row_offset(uint64_t row, uint64_t row_bytes) {
  uint64_t place = row % TQ_PANEL_ROWS;
  return (row - place) * row_bytes + place * TQ_PIECE;
}

void tq_panel_store_row(uint8_t *codes, uint64_t rows, uint64_t row, uint64_t row_bytes, const uint8_t *bytes) {
  uint64_t apart = tq_panel_height(rows, row) * TQ_PIECE;
  codes += row_offset(row, row_bytes);
  for (uint64_t i = 0; i < row_bytes; i += TQ_PIECE, codes += apart) memcpy(codes, bytes + i, TQ_PIECE);
}

void tq_panel_load_row(const uint8_t *codes, uint64_t rows, uint64_t row, uint64_t row_bytes, uint8_t *bytes) {
  uint64_t apart = tq_panel_height(rows, row) * TQ_PIECE;
  uint64_t i = 0;
  codes += row_offset(row, row_bytes);
  for (; row_bytes - i >= 4 * TQ_PIECE; i += 4 * TQ_PIECE, codes += 4 * apart) { /* twice as fast as one by one */
    uint8_t four[4 * TQ_PIECE];
    for (size_t k = 0; k < 4; k++) memcpy(four + k * TQ_PIECE, codes + k * apart, TQ_PIECE);
    memcpy(bytes + i, four, sizeof four);
  }
  for (; i < row_bytes; i += TQ_PIECE, codes += apart) memcpy(bytes + i, codes, TQ_PIECE);
}

/* How many of at most 255 trits are `value`: small enough for a compiler to count in bytes, many at a time. */
static uint8_t occurrences(const int8_t *trits, uint64_t count, int8_t value) {
  uint8_t found = 0;
  for (uint64_t i = 0; i < count; i++) found = (uint8_t)(found + (trits[i] == value));
  return found;
}

void tq_trits_count(const int8_t *trits, uint64_t columns, uint64_t counts[4]) {
  for (uint64_t c = 0; c < columns; c += 255) {
    uint64_t part = columns - c < 255 ? columns - c : 255;
    uint64_t minus = occurrences(trits + c, part, -1), plus = occurrences(trits + c, part, 1);
    uint64_t two = occurrences(trits + c, part, 2);
    counts[0] += minus;
    counts[1] += part - minus - plus - two;
    counts[2] += plus;
    counts[3] += two;
  }
}
