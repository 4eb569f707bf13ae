#include "tests/dialect_layouts.h"

#include "base/bytes.h"
#include "formats/dialects/dialect.h"

/* Digit `k` of a byte, the most significant being 0. */
static int digit(uint8_t byte, uint64_t k) {
  static const int powers[] = {1, 3, 9, 27, 81};
  return (byte * powers[k] & 0xff) * 3 >> 8;
}

static int code(uint8_t byte, uint64_t plane) { return byte >> (2 * plane) & 3; }

static int tq1_0(const uint8_t *data, const place *p) {
  const uint8_t *block = data + (p->r * p->columns + p->c) / 256 * 54;
  uint64_t e = p->c % 256;
  if (e < 160) return digit(block[e % 32], e / 32) - 1;
  if (e < 240) return digit(block[32 + (e - 160) % 16], (e - 160) / 16) - 1;
  return digit(block[48 + (e - 240) % 4], (e - 240) / 4) - 1;
}
static uint64_t tq1_0_scale(const place *p) { return (p->r * p->columns + p->c) / 256 * 54 + 52; }

static int tq2_0(const uint8_t *data, const place *p) {
  const uint8_t *block = data + (p->r * p->columns + p->c) / 256 * 66;
  uint64_t e = p->c % 256, j = e / 128 * 32, l = e % 128 / 32, m = e % 32;
  return code(block[j + m], l) - 1;
}
static uint64_t tq2_0_scale(const place *p) { return (p->r * p->columns + p->c) / 256 * 66 + 64; }

static int q2_0(const uint8_t *data, const place *p) {
  uint64_t j = p->c % 64;
  return code(data[(p->r * p->columns + p->c) / 64 * 18 + 2 + j / 4], j % 4) - 1;
}
static uint64_t q2_0_scale(const place *p) { return (p->r * p->columns + p->c) / 64 * 18; }

static int pq2_0(const uint8_t *data, const place *p) {
  uint64_t j = p->c % 128;
  return code(data[(p->r * p->columns + p->c) / 128 * 34 + 2 + j / 4], j % 4) - 1;
}
static uint64_t pq2_0_scale(const place *p) { return (p->r * p->columns + p->c) / 128 * 34; }

static int ptq1_0(const uint8_t *data, const place *p) {
  const uint8_t *block = data + (p->r * p->columns + p->c) / 128 * 28;
  uint64_t e = p->c % 128, t = e - 80;
  if (e < 80) return digit(block[e & 15], e >> 4) - 1;
  if (e < 120) return digit(block[16 + (t & 7)], t >> 3) - 1;
  t = e - 120;
  return digit(block[24 + (t & 1)], t >> 1) - 1;
}
static uint64_t ptq1_0_scale(const place *p) { return (p->r * p->columns + p->c) / 128 * 28 + 26; }

static int i2_s(const uint8_t *data, const place *p) {
  uint64_t n = p->r * p->columns + p->c, e = n % 128;
  return code(data[n / 128 * 32 + e % 32], 3 - e / 32) - 1;
}

static int i2_s_arm(const uint8_t *data, const place *p) {
  uint64_t n = p->r * p->columns + p->c, e = n % 64;
  return code(data[n / 64 * 16 + e % 16], 3 - e / 16) - 1;
}

static int i2_s_rows(const uint8_t *data, const place *p) {
  return code(data[p->r / 4 * p->columns + p->c], 3 - p->r % 4) - 1;
}

static int iq1_bn(const uint8_t *data, const place *p) {
  static const int powers[] = {81, 27, 9, 3, 1};
  const uint8_t *block = data + p->r * (2 + 13 * p->columns / 64) + 2 + p->c / 64 * 13;
  uint64_t i = p->c % 64 / 16, e = p->c % 16;
  int v = e == 15 ? block[12] * powers[i] & 0xff : block[3 * i + e / 5] * powers[e % 5] & 0xff;
  return ((v + (v >> 1)) >> 7) - 1;
}
static uint64_t iq1_bn_scale(const place *p) { return p->r * (2 + 13 * p->columns / 64); }

static int iq2_bn(const uint8_t *data, const place *p) {
  uint64_t e = p->c % 64;
  return code(data[p->r * (4 + p->columns / 4) + 4 + p->c / 64 * 16 + e % 16], e / 16) - 1;
}
static uint64_t iq2_bn_scale(const place *p) { return p->r * (4 + p->columns / 4); }

static int iq2_bn_r4(const uint8_t *data, const place *p) {
  const uint8_t *block = data + p->r / 4 * (16 + p->columns) + 16 + p->c / 64 * 64;
  uint64_t k = p->r % 4, e = p->c % 64, l = e / 16, s = e % 16 / 4, i = e % 4;
  return code(block[4 * k + i + 16 * l], s) - 1;
}
static uint64_t iq2_bn_r4_scale(const place *p) { return p->r / 4 * (16 + p->columns) + 4 * (p->r % 4); }

static int bitnet(const uint8_t *data, const place *p) {
  uint64_t quarter = p->rows / 4;
  return code(data[p->r % quarter * p->columns + p->c], p->r / quarter) - 1;
}

static int float_trit(uint32_t sign, uint32_t magnitude) { return !magnitude ? 0 : sign ? -1 : 1; }

static int narrow(const uint8_t *data, const place *p) {
  uint16_t number = tq_load_u16(data + 2 * (p->r * p->columns + p->c));
  return float_trit(number >> 15, number & 0x7fff);
}

static int wide(const uint8_t *data, const place *p) {
  uint32_t number = tq_load_u32(data + 4 * (p->r * p->columns + p->c));
  return float_trit(number >> 31, number & 0x7fffffff);
}

const layout layouts[LAYOUTS] = {
    {"IQ1_BN", 134, 136, 1.625, iq1_bn, iq1_bn_scale, true},
    {"TQ1_0", 34, 36, 1.6875, tq1_0, tq1_0_scale, true},
    {"PTQ1_0", 143, 143, 1.75, ptq1_0, ptq1_0_scale, true},
    {"I2_S", 36, 40, 2, i2_s, NULL, false},
    {"I2_S_ARM", 36, 40, 2, i2_s_arm, NULL, false},
    {"I2_S_ROWS", 36, 40, 2, i2_s_rows, NULL, false},
    {"IQ2_BN", 135, 137, 2, iq2_bn, iq2_bn_scale, false},
    {"IQ2_BN_R4", 335, 337, 2, iq2_bn_r4, iq2_bn_r4_scale, false},
    {"TQ2_0", 35, 37, 2.0625, tq2_0, tq2_0_scale, false},
    {"PQ2_0", 142, 141, 2.125, pq2_0, pq2_0_scale, false},
    {"Q2_0_G128", 42, 41, 2.125, pq2_0, pq2_0_scale, false},
    {"Q2_0", 42, 41, 2.25, q2_0, q2_0_scale, false},
    {"bitlinear", TQ_NO_GGUF_TYPE, -1, 2, bitnet, NULL, false},
    {"autobitlinear", TQ_NO_GGUF_TYPE, -1, 2, bitnet, NULL, false},
    {"BF16", 30, 32, 16, narrow, NULL, false},
    {"F16", 1, 1, 16, narrow, NULL, false},
    {"F32", 0, 0, 32, wide, NULL, false},
};
