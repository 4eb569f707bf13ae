/* Hugging Face's packed BitNet: bytes [rows / 4][columns] whose four codes belong to rows a quarter of the tensor
 * apart, and the scale in a tensor of its own. bitlinear layers divide by it, autobitlinear layers multiply. */
#include "formats/dialects/codec.h"

enum { ROWS = 4 };

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows / ROWS * columns; }

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)scales;
  tq_plane_decode(unit, columns, row, trits);
  return tq_all_are_trits(trits, columns);
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  (void)scales;
  (void)rows;
  tq_planes_encode(trits, columns, unit);
}

const tq_dialect tq_dialect_bitlinear = {
    .name = "bitlinear",
    .carrier = "hf",
    .origin = "transformers",
    .gguf_type = TQ_NO_GGUF_TYPE,
    .file_type = -1,
    .granularity = TQ_PER_TENSOR,
    .direction = TQ_INVERTED,
    .scale_place = TQ_SCALE_IN_A_TENSOR,
    .column_multiple = 1,
    .row_multiple = ROWS,
    .element_multiple = 1,
    .shared_rows = ROWS,
    .is_strided = true,
    .limits = "a multiple of 4 rows",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};

const tq_dialect tq_dialect_autobitlinear = {
    .name = "autobitlinear",
    .carrier = "hf",
    .origin = "transformers",
    .gguf_type = TQ_NO_GGUF_TYPE,
    .file_type = -1,
    .granularity = TQ_PER_TENSOR,
    .direction = TQ_DIRECT,
    .scale_place = TQ_SCALE_IN_A_TENSOR,
    .column_multiple = 1,
    .row_multiple = ROWS,
    .element_multiple = 1,
    .shared_rows = ROWS,
    .is_strided = true,
    .limits = "a multiple of 4 rows",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};
