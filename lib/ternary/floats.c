/* Conversions between number formats, by integer arithmetic on the bits: exact, the same on every host, and
 * without branches where whole tensors go through them. */
#include "base/bytes.h"
#include "tq/ternary.h"

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* The exponent biases of F32 and F16 differ by 112; F16's subnormals are multiples of 2^-24. NaNs keep their payload.
 */
float tq_f16_to_f32(uint16_t half) {
  const uint32_t rebias = 112u << 23;
  uint32_t magnitude = half & 0x7fffu, sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t normal = (magnitude << 13) + rebias + (magnitude >= 0x7c00u ? rebias : 0);
  uint32_t subnormal = bits_of((float)(int32_t)magnitude * 0x1p-24f);
  uint32_t mask = 0u - (magnitude < 0x400u);
  return float_of(sign | (subnormal & mask) | (normal & ~mask));
}

float tq_bf16_to_f32(uint16_t brain) { return float_of((uint32_t)brain << 16); }

/* value >> shift, rounded half to even. */
static uint32_t shift_rounded(uint32_t value, uint32_t shift) {
  return (value + (1u << (shift - 1)) - 1 + (value >> shift & 1)) >> shift;
}

uint16_t tq_f32_to_f16(float value) {
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu, half;
  uint32_t exponent = magnitude >> 23;
  if (magnitude > 0x7f800000u) { /* NaN: the payload's top bits, or a quiet NaN where these are all zero */
    uint32_t payload = magnitude >> 13 & 0x3ffu;
    half = 0x7c00u | (payload ? payload : 0x200u);
  } else if (magnitude >= 0x47800000u) { /* 2^16 and more */
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) { /* 2^-14 and more: a carry out of the mantissa goes up to infinity by itself */
    half = shift_rounded(magnitude - (112u << 23), 13);
  } else if (exponent >= 102) { /* 2^-25 and more: subnormal */
    half = shift_rounded((magnitude & 0x7fffffu) | 0x800000u, 126 - exponent);
  } else {
    half = 0;
  }
  return (uint16_t)(sign | half);
}

uint16_t tq_f32_to_bf16(float value) {
  uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | (bits & 0x7f0000u ? 0 : 0x40u));
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* One loop per encoding. */
typedef void (*decoder)(const uint8_t *data, uint64_t count, float *values);

#define DECODER(name, size, expression)                                                                                \
  static void name(const uint8_t *data, uint64_t count, float *values) {                                               \
    for (uint64_t i = 0; i < count; i++) {                                                                             \
      const uint8_t *at = data + (size)*i;                                                                             \
      values[i] = (expression);                                                                                        \
    }                                                                                                                  \
  }

DECODER(decode_f32, 4, tq_load_f32(at))
DECODER(decode_f16, 2, tq_f16_to_f32(tq_load_u16(at)))
DECODER(decode_bf16, 2, tq_bf16_to_f32(tq_load_u16(at)))
DECODER(decode_f64, 8, (float)tq_load_f64(at))
DECODER(decode_u8, 1, (float)*at)
DECODER(decode_i8, 1, (float)(int8_t)*at)
DECODER(decode_u16, 2, (float)tq_load_u16(at))
DECODER(decode_i16, 2, (float)(int16_t)tq_load_u16(at))
DECODER(decode_u32, 4, (float)tq_load_u32(at))
DECODER(decode_i32, 4, (float)(int32_t)tq_load_u32(at))
DECODER(decode_u64, 8, (float)tq_load_u64(at))
DECODER(decode_i64, 8, (float)(int64_t)tq_load_u64(at))

static const struct {
  uint32_t encoding;
  decoder decode;
} decoders[] = {
    {TQ_F32, decode_f32}, {TQ_F16, decode_f16}, {TQ_BF16, decode_bf16}, {TQ_F64, decode_f64}, {TQ_BOOL, decode_u8},
    {TQ_U8, decode_u8},   {TQ_I8, decode_i8},   {TQ_U16, decode_u16},   {TQ_I16, decode_i16}, {TQ_U32, decode_u32},
    {TQ_I32, decode_i32}, {TQ_U64, decode_u64}, {TQ_I64, decode_i64},
};

bool tq_numbers_decode(uint32_t encoding, const void *data, uint64_t count, float *values) {
  for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++) {
    if (decoders[i].encoding != encoding) continue;
    decoders[i].decode(data, count, values);
    return true;
  }
  return false;
}
