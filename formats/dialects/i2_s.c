/* I2_S: the codes of the whole tensor without a seam between rows, then 32 bytes that begin with its f32 scale. The
 * published layout has blocks of 128 weights; builds of bitnet.cpp for ARM write blocks of 64, and builds without
 * ACT_PARALLEL bytes that hold a column of four rows. Nothing in a file tells them apart. */
#include "formats/dialects/codec.h"

enum { SPAN = 32, ARM_SPAN = 16, TAIL = 32 };

static uint64_t unit_bytes(uint64_t rows, uint64_t columns) { return rows * columns / 4; }

/* A row may begin and end inside blocks of 4 * span weights, which are then decoded beside it. */
static inline bool decode_row(const uint8_t *unit, size_t span, uint64_t columns, uint32_t row, int8_t *trits) {
  int8_t whole[4 * SPAN];
  uint64_t block = 4 * span, first = row * columns;
  for (uint64_t done = 0; done < columns;) {
    const uint8_t *bytes = unit + (first + done) / block * span;
    uint64_t skipped = (first + done) % block, rest = columns - done;
    if (skipped == 0 && rest >= block) {
      tq_planes_decode_high(bytes, span, trits + done);
      done += block;
      continue;
    }
    uint64_t count = rest < block - skipped ? rest : block - skipped;
    tq_planes_decode_high(bytes, span, whole);
    memcpy(trits + done, whole + skipped, (size_t)count);
    done += count;
  }
  return tq_all_are_trits(trits, columns);
}

static bool decode(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)scales;
  return decode_row(unit, SPAN, columns, row, trits);
}

static bool decode_arm(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)scales;
  return decode_row(unit, ARM_SPAN, columns, row, trits);
}

static void encode(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  (void)scales;
  for (uint64_t b = 0; b < rows * columns / (4 * SPAN); b++) {
    tq_planes_encode_high(trits + 4 * SPAN * b, SPAN, unit + SPAN * b);
  }
}

static void encode_arm(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  (void)scales;
  for (uint64_t b = 0; b < rows * columns / (4 * ARM_SPAN); b++) {
    tq_planes_encode_high(trits + 4 * ARM_SPAN * b, ARM_SPAN, unit + ARM_SPAN * b);
  }
}

/* Four rows are the planes of one run of `columns` bytes. */
static bool decode_rows(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales) {
  (void)scales;
  tq_plane_decode(unit, columns, 3 - row, trits);
  return tq_all_are_trits(trits, columns);
}

static void encode_rows(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit) {
  (void)scales;
  (void)rows;
  tq_planes_encode_high(trits, columns, unit);
}

const tq_dialect tq_dialect_i2_s = {
    .name = "I2_S",
    .carrier = "gguf",
    .origin = "bitnet.cpp",
    .gguf_type = 36,
    .file_type = 40,
    .granularity = TQ_PER_TENSOR,
    .scale_encoding = TQ_F32,
    .scale_place = TQ_SCALE_IN_TAIL,
    .column_multiple = 1,
    .row_multiple = 1,
    .element_multiple = 4 * SPAN,
    .shared_rows = 1,
    .tail_bytes = TAIL,
    .limits = "a multiple of 128 weights",
    .unit_bytes = unit_bytes,
    .decode = decode,
    .encode = encode,
};

const tq_dialect tq_dialect_i2_s_arm = {
    .name = "I2_S_ARM",
    .carrier = "gguf",
    .origin = "bitnet.cpp on ARM",
    .gguf_type = 36,
    .file_type = 40,
    .granularity = TQ_PER_TENSOR,
    .scale_encoding = TQ_F32,
    .scale_place = TQ_SCALE_IN_TAIL,
    .is_variant = true,
    .column_multiple = 1,
    .row_multiple = 1,
    .element_multiple = 4 * ARM_SPAN,
    .shared_rows = 1,
    .tail_bytes = TAIL,
    .limits = "a multiple of 64 weights",
    .unit_bytes = unit_bytes,
    .decode = decode_arm,
    .encode = encode_arm,
};

const tq_dialect tq_dialect_i2_s_rows = {
    .name = "I2_S_ROWS",
    .carrier = "gguf",
    .origin = "bitnet.cpp without ACT_PARALLEL",
    .gguf_type = 36,
    .file_type = 40,
    .granularity = TQ_PER_TENSOR,
    .scale_encoding = TQ_F32,
    .scale_place = TQ_SCALE_IN_TAIL,
    .is_variant = true,
    .column_multiple = 1,
    .row_multiple = 4,
    .element_multiple = 1,
    .shared_rows = 4,
    .tail_bytes = TAIL,
    .limits = "a multiple of 4 rows",
    .unit_bytes = unit_bytes,
    .decode = decode_rows,
    .encode = encode_rows,
};
