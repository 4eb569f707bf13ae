#include "tests/ternary_files.h"

#include "base/bytes.h"
#include "formats/dialects/encode.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdlib.h>

static size_t scale_bytes(uint32_t encoding) { return encoding == TQ_F32 ? 4 : 2; }

uint64_t ternary_scale_count(const ternary *tensor) {
  return tq_scale_count(tensor->granularity, tensor->group, tensor->rows, tensor->columns);
}

void ternary_set_scale(const ternary *tensor, uint64_t index, float value) {
  if (tensor->encoding == TQ_F32)
    tq_store_f32(tensor->table + 4 * index, value);
  else
    tq_store_u16(tensor->table + 2 * index, tensor->encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value));
}

static void random_scales(const ternary *tensor, palette scales, uint64_t *state) {
  static const float exact[] = {0.5f, 1, 0.03125f, -0.25f, 4, 0, -0.0f};
  float any[4];
  for (size_t i = 0; i < 4; i++) any[i] = expf(4 * random_float(state)) * (random_u64(state) % 8 ? 1.0f : -1.0f);
  unsigned kinds = random_u64(state) % 2 ? 2 : 7;
  for (uint64_t i = 0; i < ternary_scale_count(tensor); i++) {
    float value = scales == SCALES_EXACT ? exact[random_u64(state) % kinds] : any[random_u64(state) % 4];
    if (tensor->direction == TQ_INVERTED && value == 0) value = INFINITY;
    ternary_set_scale(tensor, i, scales == SCALES_ONE ? any[0] : value);
  }
}

/* Stretches of 32 that are all zero are frequent. */
static void random_trits(const ternary *tensor, uint64_t *state) {
  unsigned values = tensor->code == TQ_QUATERNARY_2BIT ? 4 : 3;
  unsigned zeros = 1 + (unsigned)(random_u64(state) % 4);
  for (uint64_t r = 0; r < tensor->rows; r++) {
    for (uint64_t c = 0, zero = 0; c < tensor->columns; c++) {
      if (c % 32 == 0) zero = random_u64(state) % zeros != 0;
      int8_t trit = (int8_t)((int)(random_u64(state) % values) - 1);
      tensor->trits[r * tensor->columns + c] = zero ? 0 : trit;
    }
  }
}

void ternary_random(ternary *tensor, palette scales, uint64_t *state) {
  tensor->trits = malloc((size_t)(tensor->rows * tensor->columns));
  tensor->table = malloc((size_t)ternary_scale_count(tensor) * 4);
  ck_assert(tensor->trits && tensor->table);
  random_trits(tensor, state);
  random_scales(tensor, scales, state);
}

void ternary_free(ternary *tensor) {
  free(tensor->trits);
  free(tensor->table);
}

tq_status ternary_put(tq_writer *writer, const ternary *tensor, const char *name, uint32_t extra_kind,
                      const void *extra, size_t extra_size, tq_error *error) {
  size_t row_bytes = (size_t)tq_trit_row_bytes(tensor->code, tensor->columns), count = extra_kind ? 3 : 2;
  uint8_t *codes = malloc(row_bytes * (size_t)tensor->rows);
  uint64_t counts[4] = {0};
  ck_assert(codes != NULL);
  for (uint64_t r = 0; r < tensor->rows; r++)
    put_trits(tensor->code, tensor->trits + r * tensor->columns, tensor->rows, r, tensor->columns, codes);
  tq_trits_count(tensor->trits, tensor->rows * tensor->columns, counts);
  part_bytes parts[3] = {{{.kind = TQ_PART_VALUES, .encoding = tensor->code, .size = row_bytes * tensor->rows}, codes},
                         {{.kind = TQ_PART_SCALES,
                           .encoding = tensor->encoding,
                           .granularity = tensor->granularity,
                           .group = tensor->group,
                           .direction = tensor->direction,
                           .size = ternary_scale_count(tensor) * scale_bytes(tensor->encoding)},
                          tensor->table},
                         {{.kind = extra_kind, .encoding = TQ_U8, .size = extra_size}, extra}};
  tq_tensor described = {.role = name,
                         .name = name,
                         .source_type = tensor->source_type ? tensor->source_type : "",
                         .dimensions = 2,
                         .shape = {tensor->rows, tensor->columns},
                         .source_row_order = tensor->heads};
  static const uint8_t digest[16];
  tq_status status = tq_writer_tensor_begin(writer, &described, error);
  for (size_t i = 0; i < count && status == TQ_OK; i++) {
    status = tq_writer_part_begin(writer, &parts[i].part, error);
    if (status == TQ_OK) status = tq_writer_part_write(writer, parts[i].data, (size_t)parts[i].part.size, error);
    if (status == TQ_OK) status = tq_writer_part_end(writer, error);
  }
  free(codes);
  return status == TQ_OK ? tq_writer_tensor_end(writer, counts, digest, error) : status;
}

tq_file *ternary_file(const ternary *tensor, tq_verify verify, const void *patch, size_t patch_size) {
  static const uint8_t none[16];
  const char *path = temporary_path("ternary.tq");
  tq_writer *writer;
  tq_file *file;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(ternary_put(writer, tensor, "t", patch ? TQ_PART_PATCH : 0, patch, patch_size, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  ck_ok(tq_file_open(path, verify, &file, error));
  return file;
}

void ternary_weights(const ternary *tensor, uint64_t row, float *values) {
  tq_trits_scale(tensor->trits + row * tensor->columns, tensor->rows, row, tensor->columns, tensor->granularity,
                 tensor->group, tensor->encoding, tensor->direction, tensor->table, values);
}

tq_status collect(void *context, const void *data, size_t size, tq_error *error) {
  (void)error;
  collected *all = context;
  all->bytes = realloc(all->bytes, all->size + size + 1);
  ck_assert(all->bytes != NULL);
  memcpy(all->bytes + all->size, data, size);
  all->size += size;
  return TQ_OK;
}

/* Out of a file that holds nothing else. */
collected patch_bytes(const uint8_t *original, const uint8_t *encoded, size_t size, size_t step) {
  static const uint8_t none[16];
  static const uint64_t no_trits[4];
  const tq_tensor tensor = {.role = "p", .name = "p", .source_type = "", .dimensions = 1, .shape = {1}};
  const tq_part values = {.kind = TQ_PART_VALUES, .encoding = TQ_U8};
  tq_writer *writer;
  tq_patch_writer *patch;
  tq_file *file;
  collected all = {0};
  ck_ok(tq_writer_create(temporary_path("patch.tq"), 0, &writer, error));
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
  ck_ok(tq_writer_part_begin(writer, &values, error));
  ck_ok(tq_writer_part_write(writer, "v", 1, error));
  ck_ok(tq_writer_part_end(writer, error));
  ck_ok(tq_patch_create(writer, size, &patch, error));
  for (size_t at = 0, n; at < size; at += n) {
    n = size - at < step ? size - at : step;
    ck_ok(tq_patch_write(patch, original + at, encoded + at, n, error));
  }
  ck_ok(tq_patch_finish(patch, error));
  ck_ok(tq_writer_tensor_end(writer, no_trits, none, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  ck_ok(tq_file_open(temporary_path("patch.tq"), TQ_VERIFY_FULL, &file, error));
  const tq_part *part = &tq_file_tensor(file, 0)->parts[1];
  ck_ok(collect(&all, part->data, (size_t)part->size, error));
  tq_file_close(file);
  return all;
}
