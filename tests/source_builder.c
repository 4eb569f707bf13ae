#include "tests/source_builder.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdlib.h>
#include <string.h>

/* ---- matrices ---- */

static size_t scale_bytes(const source_matrix *matrix) { return matrix->encoding == TQ_F32 ? 4 : 2; }

/* Between 1/256 and 1, of 8 bits, so that every encoding has it; neighbours differ. */
static void store_scale(const source_matrix *matrix, size_t index, uint64_t *state) {
  float value = (float)(1 + (index * 7 + random_u64(state) % 3) % 250) / 256;
  uint8_t *at = matrix->scales + index * scale_bytes(matrix);
  if (matrix->encoding == TQ_F32)
    tq_store_f32(at, value);
  else
    tq_store_u16(at, matrix->encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value));
}

source_matrix source_matrix_make(const tq_dialect *dialect, uint64_t rows, uint64_t columns, uint32_t heads,
                                 uint32_t granularity, uint32_t group, bool twos, uint64_t seed) {
  source_matrix made = {.dialect = dialect,
                        .rows = rows,
                        .columns = columns,
                        .heads = heads,
                        .granularity = granularity,
                        .group = group,
                        .encoding = dialect->scale_encoding ? dialect->scale_encoding : TQ_F32,
                        .direction = dialect->direction};
  uint64_t state = seed;
  made.trits = malloc((size_t)(rows * columns));
  made.scale_count = (size_t)tq_scale_count(granularity, group, rows, columns);
  made.scales = malloc(made.scale_count * 4);
  ck_assert(made.trits && made.scales);
  for (uint64_t i = 0; i < rows * columns; i++) made.trits[i] = (int8_t)(random_u64(&state) % (twos ? 4 : 3)) - 1;
  for (size_t i = 0; i < made.scale_count; i++) store_scale(&made, i, &state);
  return made;
}

void source_matrix_free(source_matrix *matrix) {
  free(matrix->trits);
  free(matrix->scales);
}

static size_t scale_index(const source_matrix *matrix, uint64_t row, uint64_t column) {
  return (size_t)tq_scale_index(matrix->granularity, matrix->group, matrix->rows, matrix->columns, row, column);
}

float source_matrix_scale(const source_matrix *matrix, uint64_t row, uint64_t column) {
  return tq_scale_load(matrix->encoding, matrix->direction, matrix->scales, scale_index(matrix, row, column));
}

/* ---- bytes ---- */

static uint64_t unit_count(const source_matrix *matrix) {
  return matrix->rows / tq_dialect_unit_rows(matrix->dialect, matrix->columns);
}

uint64_t source_matrix_row(const source_matrix *matrix, uint64_t unit, uint64_t place) {
  uint64_t units = unit_count(matrix), shared = matrix->rows / units;
  uint64_t row = matrix->dialect->is_strided ? place * units + unit : unit * shared + place;
  if (!matrix->heads) return row;
  uint64_t head_rows = matrix->rows / matrix->heads, head = row / head_rows, within = row % head_rows;
  return head * head_rows + (within & 1 ? head_rows / 2 : 0) + (within >> 1);
}

uint8_t *source_matrix_bytes(const source_matrix *matrix, size_t *size) {
  const tq_dialect *dialect = matrix->dialect;
  uint64_t units = unit_count(matrix), shared = matrix->rows / units, columns = matrix->columns;
  uint64_t row_scales = tq_dialect_row_scales(dialect, columns), unit_bytes = dialect->unit_bytes(shared, columns);
  uint64_t run = dialect->granularity == TQ_PER_GROUP ? dialect->group : columns;
  size_t width = scale_bytes(matrix);
  *size = (size_t)(units * unit_bytes) + dialect->tail_bytes;
  uint8_t *bytes = calloc(1, *size), *scales = malloc((size_t)(shared * row_scales * width) + 1);
  int8_t *trits = malloc((size_t)(shared * columns));
  ck_assert(bytes && scales && trits);
  for (uint64_t u = 0; u < units; u++) {
    for (uint64_t p = 0; p < shared; p++) {
      uint64_t row = source_matrix_row(matrix, u, p);
      memcpy(trits + p * columns, matrix->trits + row * columns, (size_t)columns);
      for (uint64_t i = 0; i < row_scales; i++)
        memcpy(scales + (p * row_scales + i) * width, matrix->scales + scale_index(matrix, row, i * run) * width,
               width);
    }
    dialect->encode(trits, scales, shared, columns, bytes + u * unit_bytes);
  }
  if (dialect->scale_place == TQ_SCALE_IN_TAIL) memcpy(bytes + units * unit_bytes, matrix->scales, width);
  free(scales), free(trits);
  return bytes;
}

void source_matrix_digest(const source_matrix *matrix, uint8_t content[16]) {
  const uint64_t shape[2] = {matrix->rows, matrix->columns};
  float *row = malloc((size_t)matrix->columns * sizeof *row);
  tq_content_hash *hash;
  ck_assert_ptr_nonnull(row);
  ck_ok(tq_content_hash_create(shape, 2, &hash, error));
  for (uint64_t r = 0; r < matrix->rows; r++) {
    for (uint64_t c = 0; c < matrix->columns; c++) {
      int8_t trit = matrix->trits[r * matrix->columns + c];
      row[c] = trit ? (float)trit * source_matrix_scale(matrix, r, c) : 0.0f;
      if (row[c] == 0) row[c] = 0.0f;
    }
    tq_content_hash_update(hash, row, matrix->columns);
  }
  tq_content_hash_final(hash, content);
  tq_content_hash_destroy(hash);
  free(row);
}

/* ---- inputs ---- */

typedef struct stream {
  uint8_t *bytes;
  uint64_t position;
} stream;

static tq_status read_forwards(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  stream *self = context;
  (void)error;
  if (offset < self->position) ck_abort_msg("byte %llu was read before", (unsigned long long)offset);
  memcpy(buffer, self->bytes + offset, size);
  self->position = offset + size;
  return TQ_OK;
}

static void close_stream(void *context) {
  stream *self = context;
  free(self->bytes);
  free(self);
}

static bool never_seeks(const void *context) {
  (void)context;
  return false;
}

static const tq_input_operations forwards_operations = {read_forwards, close_stream, never_seeks};

/* ---- checkpoints ---- */

tq_checkpoint *source_checkpoint(void) {
  tq_checkpoint *checkpoint = tq_allocate(1, sizeof *checkpoint, NULL);
  tq_metadata_builder builder = {0};
  ck_assert_ptr_nonnull(checkpoint);
  checkpoint->format = "gguf";
  checkpoint->path = tq_copy_string("hand", 4, NULL);
  ck_ok(tq_metadata_add_string(&builder, "general.name", "hand", 4, error));
  ck_ok(tq_checkpoint_set_metadata(checkpoint, &builder, error));
  return checkpoint;
}

size_t source_input(tq_checkpoint *checkpoint, const void *bytes, size_t size, bool forwards) {
  tq_input *input;
  size_t index;
  if (forwards) {
    stream *self = calloc(1, sizeof *self);
    ck_assert_ptr_nonnull(self);
    self->bytes = malloc(size + 1);
    memcpy(self->bytes, bytes, size);
    ck_ok(tq_input_create("hand", size, &forwards_operations, self, &input, error));
  } else {
    uint8_t *copy = tq_allocate(size, 1, NULL);
    memcpy(copy, bytes, size);
    ck_ok(tq_input_from_memory("hand", copy, size, &input, error));
  }
  ck_assert_int_eq(tq_input_seeks(input), !forwards);
  ck_ok(tq_checkpoint_add_input(checkpoint, input, &index, error));
  return index;
}

void source_add(tq_checkpoint *checkpoint, const char *role, const tq_form *form, const source_matrix *matrix,
                size_t input) {
  bool plain = matrix->dialect->is_unpacked;
  char name[64];
  tq_form_name(form, name, sizeof name);
  tq_source_tensor tensor = {.encoding = plain ? matrix->encoding : 0,
                             .dimensions = 2,
                             .shape = {matrix->rows, matrix->columns},
                             .input = input,
                             .size = tq_input_size(checkpoint->inputs[input]),
                             .adjacent_heads = matrix->heads};
  if (!plain) tensor.form = *form;
  tensor.name = tq_format_string(NULL, "%s.weight", role);
  tensor.role = tq_copy_string(role, strlen(role), NULL);
  tensor.type_name = tq_copy_string(name, strlen(name), NULL);
  ck_ok(tq_checkpoint_add_tensor(checkpoint, &tensor, error));
}

tq_checkpoint *source_of(const char *role, const source_matrix *matrix, const void *bytes, size_t size, bool forwards) {
  tq_checkpoint *checkpoint = source_checkpoint();
  tq_form form = {.dialect = matrix->dialect};
  if (tq_form_has_outer_scale(&form)) {
    form.scale_encoding = matrix->encoding;
    form.scale_direction = matrix->direction;
    memcpy(form.scale, matrix->scales, scale_bytes(matrix));
  }
  source_add(checkpoint, role, &form, matrix, source_input(checkpoint, bytes, size, forwards));
  return checkpoint;
}
