#include "formats/tokenizer/protobuf.h"

#include "base/bytes.h"

enum { VARINT_BYTES = 10, TYPE_BITS = 3, TYPE_MASK = 7, LARGEST_FIELD = (1 << 29) - 1 };

static bool next_varint(tq_string message, size_t *offset, uint64_t *value) {
  *value = 0;
  for (unsigned i = 0; i < VARINT_BYTES && *offset < message.size; i++) {
    uint8_t byte = (uint8_t)message.data[(*offset)++];
    if (i == VARINT_BYTES - 1 && byte > 1) return false;
    *value |= (uint64_t)(byte & 0x7f) << (7 * i);
    if (byte < 0x80) return true;
  }
  return false;
}

static bool next_fixed(tq_string message, size_t *offset, size_t size, uint64_t *value) {
  if (message.size - *offset < size) return false;
  *value = size == 4 ? tq_load_u32(message.data + *offset) : tq_load_u64(message.data + *offset);
  *offset += size;
  return true;
}

static bool next_bytes(tq_string message, size_t *offset, tq_string *bytes) {
  uint64_t size;
  if (!next_varint(message, offset, &size) || size > message.size - *offset) return false;
  *bytes = (tq_string){message.data + *offset, (size_t)size};
  *offset += (size_t)size;
  return true;
}

static bool read_value(tq_string message, size_t *offset, tq_wire_field *field) {
  switch (field->type) {
  case TQ_WIRE_VARINT:
    return next_varint(message, offset, &field->value);
  case TQ_WIRE_64:
    return next_fixed(message, offset, 8, &field->value);
  case TQ_WIRE_32:
    return next_fixed(message, offset, 4, &field->value);
  case TQ_WIRE_BYTES:
    return next_bytes(message, offset, &field->bytes);
  default:
    return false;
  }
}

bool tq_wire_next(tq_string message, size_t *offset, tq_wire_field *field) {
  size_t at = *offset;
  uint64_t key;
  if (!next_varint(message, &at, &key)) return false;
  *field = (tq_wire_field){.number = (uint32_t)(key >> TYPE_BITS), .type = (uint32_t)(key & TYPE_MASK)};
  if (key >> TYPE_BITS == 0 || key >> TYPE_BITS > LARGEST_FIELD || !read_value(message, &at, field)) return false;
  *offset = at;
  return true;
}

static tq_status add_raw_varint(tq_buffer *message, uint64_t value, tq_error *error) {
  uint8_t bytes[VARINT_BYTES];
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
  bytes[size++] = (uint8_t)value;
  return tq_buffer_append(message, bytes, size, error);
}

static tq_status add_key(tq_buffer *message, uint32_t number, tq_wire_type type, tq_error *error) {
  return add_raw_varint(message, ((uint64_t)number << TYPE_BITS) | (uint64_t)type, error);
}

tq_status tq_wire_add_varint(tq_buffer *message, uint32_t number, uint64_t value, tq_error *error) {
  tq_status status = add_key(message, number, TQ_WIRE_VARINT, error);
  return status ? status : add_raw_varint(message, value, error);
}

tq_status tq_wire_add_f32(tq_buffer *message, uint32_t number, float value, tq_error *error) {
  uint8_t bytes[4];
  tq_store_f32(bytes, value);
  tq_status status = add_key(message, number, TQ_WIRE_32, error);
  return status ? status : tq_buffer_append(message, bytes, sizeof bytes, error);
}

tq_status tq_wire_add_bytes(tq_buffer *message, uint32_t number, const void *data, size_t size, tq_error *error) {
  tq_status status = add_key(message, number, TQ_WIRE_BYTES, error);
  if (!status) status = add_raw_varint(message, size, error);
  return status ? status : tq_buffer_append(message, data, size, error);
}
