/* Little-endian loads and stores, and sums and products that cannot overflow unseen. */
#ifndef TQ_BASE_BYTES_H
#define TQ_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t tq_load_u16(const void *from) {
  const uint8_t *b = from;
  return (uint16_t)(b[0] | (b[1] << 8));
}

static inline uint32_t tq_load_u32(const void *from) {
  const uint8_t *b = from;
  return (uint32_t)b[0] | ((uint32_t)b[1] << 8) | ((uint32_t)b[2] << 16) | ((uint32_t)b[3] << 24);
}

static inline uint64_t tq_load_u64(const void *from) {
  const uint8_t *b = from;
  return (uint64_t)tq_load_u32(b) | ((uint64_t)tq_load_u32(b + 4) << 32);
}

static inline float tq_load_f32(const void *from) {
  uint32_t bits = tq_load_u32(from);
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline double tq_load_f64(const void *from) {
  uint64_t bits = tq_load_u64(from);
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline void tq_store_u16(void *to, uint16_t value) {
  uint8_t *b = to;
  b[0] = (uint8_t)value;
  b[1] = (uint8_t)(value >> 8);
}

static inline void tq_store_u32(void *to, uint32_t value) {
  uint8_t *b = to;
  b[0] = (uint8_t)value;
  b[1] = (uint8_t)(value >> 8);
  b[2] = (uint8_t)(value >> 16);
  b[3] = (uint8_t)(value >> 24);
}

static inline void tq_store_u64(void *to, uint64_t value) {
  uint8_t *b = to;
  tq_store_u32(b, (uint32_t)value);
  tq_store_u32(b + 4, (uint32_t)(value >> 32));
}

static inline void tq_store_f32(void *to, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  tq_store_u32(to, bits);
}

static inline void tq_store_f64(void *to, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  tq_store_u64(to, bits);
}

/* false when the result does not fit; *result is then undefined. */
static inline bool tq_add_u64(uint64_t a, uint64_t b, uint64_t *result) {
  return !__builtin_add_overflow(a, b, result);
}
static inline bool tq_multiply_u64(uint64_t a, uint64_t b, uint64_t *result) {
  return !__builtin_mul_overflow(a, b, result);
}

/* `value` rounded up to a multiple of `alignment` (a power of two); false when that overflows. */
static inline bool tq_align_u64(uint64_t value, uint64_t alignment, uint64_t *result) {
  if (!tq_add_u64(value, alignment - 1, result)) return false;
  *result &= ~(alignment - 1);
  return true;
}

/* True when [offset, offset + size) lies inside [0, total). */
static inline bool tq_within(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

#endif
