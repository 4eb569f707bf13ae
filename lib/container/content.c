/* Whether a file's tensors are what its directory says of them: codes, trit counts and content digests. Hashes prove
 * only that the bytes are those that were written. */
#include "base/hash.h"
#include "container/file.h"
#include "container/parts.h"

#include "base/memory.h"
#include "tq/ternary.h"

#include <inttypes.h>
#include <string.h>

/* Weights at once: whole blocks of every trit code, so that a piece of a row can be unpacked by itself. */
enum { VALUES_AT_ONCE = 25 * TQ_WHOLE_BLOCKS };

typedef struct content {
  const tq_file *file;
  const tq_tensor *tensor;
  const tq_part *values, *scales; /* scales may be NULL */
  size_t left_out;                /* tensors so far that cannot be verified */
  tq_content_hash *hash;
  uint64_t counts[4];
  float *floats; /* VALUES_AT_ONCE of each */
  int8_t *trits;
} content;

/* ---- integers with scales ---- */

/* Hashes `count` integers of a row from `column`: each stretch that shares a scale by itself. */
static void hash_scaled(content *self, const int8_t *integers, uint64_t row, uint64_t column, uint64_t count) {
  const tq_part *scales = self->scales;
  uint64_t columns = self->tensor->columns, group = scales->granularity == TQ_PER_GROUP ? scales->group : columns;
  uint64_t first = tq_scale_index(scales->granularity, scales->group, self->tensor->rows, columns, row, 0);
  uint64_t apart = tq_panel_height(self->tensor->rows, row);
  size_t scale_bytes = tq_encoding_find(scales->encoding)->bytes;
  for (uint64_t i = 0, n; i < count; i += n) {
    uint64_t index = (column + i) / group, left = (index + 1) * group - (column + i);
    n = left < count - i ? left : count - i;
    tq_trits_scale(integers + i, 1, 0, n, TQ_PER_TENSOR, 0, scales->encoding, scales->direction,
                   scales->data + (first + index * apart) * scale_bytes, self->floats + i);
  }
  tq_content_hash_update(self->hash, self->floats, count);
}

static tq_status hash_trit_row(content *self, uint64_t row, tq_error *error) {
  uint64_t columns = self->tensor->columns, bad;
  for (uint64_t column = 0, count; column < columns; column += count) {
    count = columns - column < VALUES_AT_ONCE ? columns - column : VALUES_AT_ONCE;
    if (!tq_tensor_unpack(self->tensor, row, column, count, self->trits, &bad))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: row %" PRIu64 ": byte %" PRIu64 " is no ternary code",
                     self->file->path, self->tensor->role, row, bad);
    tq_trits_count(self->trits, count, self->counts);
    hash_scaled(self, self->trits, row, column, count);
  }
  return TQ_OK;
}

static tq_status hash_trits(content *self, tq_error *error) {
  tq_status status = TQ_OK;
  for (uint64_t row = 0; row < self->tensor->rows && status == TQ_OK; row++) status = hash_trit_row(self, row, error);
  if (status == TQ_OK && memcmp(self->counts, self->tensor->trit_counts, sizeof self->counts) != 0)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its trit counts are not those of its codes",
                     self->file->path, self->tensor->role);
  return status;
}

static void hash_scaled_integers(content *self) {
  uint64_t columns = self->tensor->columns;
  for (uint64_t row = 0; row < self->tensor->rows; row++) {
    for (uint64_t column = 0, count; column < columns; column += count) {
      count = columns - column < VALUES_AT_ONCE ? columns - column : VALUES_AT_ONCE;
      hash_scaled(self, (const int8_t *)self->values->data + row * columns + column, row, column, count);
    }
  }
}

/* ---- numbers and blocks ---- */

static void hash_blocks(content *self, const tq_block_type *type) {
  const uint8_t *data = self->values->data;
  uint64_t at_once = VALUES_AT_ONCE / type->block_elements;
  for (uint64_t left = self->values->size / type->block_bytes, n; left; left -= n, data += n * type->block_bytes) {
    n = left < at_once ? left : at_once;
    type->decode(data, n, self->floats);
    tq_content_hash_update(self->hash, self->floats, n * type->block_elements);
  }
}

static void hash_numbers(content *self) {
  const uint8_t *data = self->values->data;
  size_t bytes = tq_encoding_find(self->values->encoding)->bytes;
  for (uint64_t left = self->tensor->elements, n; left; left -= n, data += n * bytes) {
    n = left < VALUES_AT_ONCE ? left : VALUES_AT_ONCE;
    tq_numbers_decode(self->values->encoding, data, n, self->floats);
    tq_content_hash_update(self->hash, self->floats, n);
  }
}

/* Blocks that can be decoded, or NULL. */
static const tq_block_type *known_blocks(const tq_part *values) {
  const tq_block_type *type = tq_block_type_find(values->type_name);
  bool fits = type && type->block_elements == values->block_elements && type->block_bytes == values->block_bytes;
  return fits && type->block_elements <= VALUES_AT_ONCE ? type : NULL;
}

/* What has no f32 value enters the digest as its bytes. */
static tq_status hash_values(content *self, tq_error *error) {
  const tq_part *values = self->values;
  if (tq_encoding_is_trits(values->encoding)) return hash_trits(self, error);
  const tq_block_type *type = values->encoding == TQ_BLOCKS ? known_blocks(values) : NULL;
  if (self->scales)
    hash_scaled_integers(self);
  else if (type)
    hash_blocks(self, type);
  else if (values->encoding != TQ_BLOCKS && tq_numbers_decode(values->encoding, values->data, 0, self->floats))
    hash_numbers(self);
  else
    tq_content_hash_update_bytes(self->hash, values->data, (size_t)values->size);
  return TQ_OK;
}

/* ---- a tensor ---- */

/* Finds the parts that the digest is over; false for a tensor with parts or encodings that are carried, not understood,
 * and for one with low-rank factors. */
static bool find_parts(content *self) {
  const tq_tensor *tensor = self->tensor;
  self->values = &tensor->parts[0];
  self->scales = NULL;
  for (size_t i = 1; i < tensor->part_count; i++) {
    uint32_t kind = tensor->parts[i].kind;
    if (kind == TQ_PART_SCALES)
      self->scales = &tensor->parts[i];
    else if (kind != TQ_PART_PATCH && kind != TQ_PART_SIGNS)
      return false;
  }
  return tq_encoding_find(self->values->encoding) && (!self->scales || tq_encoding_find(self->scales->encoding));
}

static tq_status verify_tensor(content *self, size_t index, tq_error *error) {
  self->tensor = &self->file->tensors[index];
  memset(self->counts, 0, sizeof self->counts);
  if (!find_parts(self)) return self->left_out++, TQ_OK;
  tq_status status = tq_file_touch(self->file, index, 0, self->tensor->data_size, error);
  if (status == TQ_OK)
    status = tq_content_hash_create(self->tensor->shape, self->tensor->dimensions, &self->hash, error);
  if (status != TQ_OK) return status;
  status = hash_values(self, error);
  tq_digest digest;
  tq_content_hash_final(self->hash, digest.bytes);
  tq_content_hash_destroy(self->hash);
  if (status == TQ_OK && memcmp(digest.bytes, self->tensor->content_digest, sizeof digest.bytes) != 0)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its content digest is not that of its weights",
                     self->file->path, self->tensor->role);
  return status;
}

tq_status tq_file_verify_content(const tq_file *file, size_t *left_out, tq_error *error) {
  content self = {.file = file};
  self.floats = tq_allocate(VALUES_AT_ONCE, sizeof *self.floats, error);
  self.trits = self.floats ? tq_allocate(VALUES_AT_ONCE, sizeof *self.trits, error) : NULL;
  tq_status status = self.trits ? TQ_OK : TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < file->tensor_count && status == TQ_OK; i++) status = verify_tensor(&self, i, error);
  tq_free(self.trits);
  tq_free(self.floats);
  if (left_out) *left_out = self.left_out;
  return status;
}
