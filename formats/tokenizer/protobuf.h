/* Just enough of protocol buffers' wire format: fields of a message one after another, and appending them. */
#ifndef TQ_FORMATS_TOKENIZER_PROTOBUF_H
#define TQ_FORMATS_TOKENIZER_PROTOBUF_H

#include "base/text.h"
#include "tq/metadata.h"

typedef enum tq_wire_type { TQ_WIRE_VARINT = 0, TQ_WIRE_64 = 1, TQ_WIRE_BYTES = 2, TQ_WIRE_32 = 5 } tq_wire_type;

typedef struct tq_wire_field {
  uint32_t number;
  uint32_t type;   /* tq_wire_type */
  uint64_t value;  /* VARINT; 64 and 32 as they lie in the file */
  tq_string bytes; /* BYTES */
} tq_wire_field;

/* Reads the field at *offset and moves *offset behind it; false at the end of the message or, with *offset short of its
 * size, where the bytes are no field. */
bool tq_wire_next(tq_string message, size_t *offset, tq_wire_field *field);

tq_status tq_wire_add_varint(tq_buffer *message, uint32_t number, uint64_t value, tq_error *error);
tq_status tq_wire_add_f32(tq_buffer *message, uint32_t number, float value, tq_error *error);
tq_status tq_wire_add_bytes(tq_buffer *message, uint32_t number, const void *data, size_t size, tq_error *error);

#endif
