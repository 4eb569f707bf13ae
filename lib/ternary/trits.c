/* The packed codes: the scalar reference that every other reader of packed rows is checked against. */
#include "tq/ternary.h"

enum { BASE3_CODES = 243 };

/* Weights that a byte holds. */
static uint64_t weights_per_byte(uint32_t encoding) { return encoding == TQ_TERNARY_BASE3 ? 5 : 4; }

static const uint8_t powers_of_3[5] = {1, 3, 9, 27, 81};

uint64_t tq_trit_row_bytes(uint32_t encoding, uint64_t columns) {
  uint64_t per_byte = weights_per_byte(encoding), per_block = per_byte * TQ_SPAN;
  return columns / per_block * TQ_SPAN + (columns % per_block + per_byte - 1) / per_byte;
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
  b->span = (b->count + per_byte - 1) / per_byte;
  return b->count > 0;
}

/* How many bytes of a block have a weight at place k. */
static uint64_t filled(const block *b, uint64_t k) {
  uint64_t before = k * b->span;
  if (before >= b->count) return 0;
  return b->count - before < b->span ? b->count - before : b->span;
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

static bool base3_is_code(uint8_t byte) { return base3_byte((uint8_t)(byte * BASE3_CODES >> 8)) == byte; }

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

void tq_trits_pack(uint32_t encoding, const int8_t *trits, uint64_t columns, uint8_t *row) {
  for (block b = {0}; next_block(encoding, columns, &b); row += b.span) {
    if (encoding == TQ_TERNARY_BASE3)
      pack_base3(&b, trits + b.first, row);
    else
      pack_2bit(&b, trits + b.first, row);
  }
}

void tq_trits_unpack(uint32_t encoding, const uint8_t *row, uint64_t columns, int8_t *trits) {
  for (block b = {0}; next_block(encoding, columns, &b); row += b.span) {
    if (encoding == TQ_TERNARY_BASE3)
      unpack_base3(&b, row, trits + b.first);
    else
      unpack_2bit(&b, row, trits + b.first);
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

bool tq_trits_valid(uint32_t encoding, const uint8_t *row, uint64_t columns, uint64_t *bad) {
  uint64_t offset = 0;
  for (block b = {0}; next_block(encoding, columns, &b); offset += b.span) {
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

/* How many of at most 255 trits are `value`: small enough for a compiler to count in bytes, many at a time. */
static uint8_t occurrences(const int8_t *trits, uint64_t count, int8_t value) {
  uint8_t found = 0;
  for (uint64_t i = 0; i < count; i++) found = (uint8_t)(found + (trits[i] == value));
  return found;
}

void tq_trits_count(const int8_t *trits, uint64_t columns, uint64_t counts[4]) {
  for (uint64_t c = 0; c < columns; c += 255) {
    uint64_t part = columns - c < 255 ? columns - c : 255;
    for (int value = -1; value <= 2; value++) counts[value + 1] += occurrences(trits + c, part, (int8_t)value);
  }
}
