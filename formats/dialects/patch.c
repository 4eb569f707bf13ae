#include "formats/dialects/patch.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "container/deflate.h"
#include "container/parts.h"
#include "formats/dialects/encode.h"

#include <inttypes.h>
#include <stdio.h>

enum { VERSION = 1, HEADER_SIZE = 16, AT_ONCE = 65536 };

/* to[i] ^= with[i] */
static void exclusive_or(uint8_t *to, const uint8_t *with, size_t size) {
  for (size_t i = 0; i < size; i++) to[i] ^= with[i];
}

/* ---- writing ---- */

struct tq_patch_writer {
  tq_writer *writer;
  tq_deflater *deflater;
  uint64_t left;
  uint8_t difference[AT_ONCE];
};

static tq_status begin_part(tq_writer *writer, uint64_t size, tq_error *error) {
  const tq_part part = {.kind = TQ_PART_PATCH, .encoding = TQ_U8, .type_name = ""};
  uint8_t header[HEADER_SIZE] = {0};
  tq_store_u32(header, VERSION);
  tq_store_u64(header + 8, size);
  tq_status status = tq_writer_part_begin(writer, &part, error);
  return status ? status : tq_writer_part_write(writer, header, sizeof header, error);
}

tq_status tq_patch_create(tq_writer *writer, uint64_t size, tq_patch_writer **patch, tq_error *error) {
  tq_patch_writer *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->writer = writer;
  created->left = size;
  tq_status status = tq_deflater_create(TQ_DEFLATE_MOSTLY_ZEROS, &created->deflater, error);
  if (!status) status = begin_part(writer, size, error);
  if (status) {
    tq_patch_abandon(created);
    return status;
  }
  *patch = created;
  return TQ_OK;
}

static tq_status put(void *writer, const void *data, size_t size, tq_error *error) {
  return tq_writer_part_write(writer, data, size, error);
}

tq_status tq_patch_write(tq_patch_writer *patch, const uint8_t *original, const uint8_t *encoded, size_t size,
                         tq_error *error) {
  if (size > patch->left) return tq_fail(error, TQ_ERROR_USAGE, "a patch is given more bytes than its size");
  patch->left -= size;
  tq_status status = TQ_OK;
  for (size_t n; !status && size; size -= n, original += n, encoded += n) {
    n = size < AT_ONCE ? size : AT_ONCE;
    memcpy(patch->difference, original, n);
    exclusive_or(patch->difference, encoded, n);
    status = tq_deflater_write(patch->deflater, patch->difference, n, put, patch->writer, error);
  }
  return status;
}

tq_status tq_patch_finish(tq_patch_writer *patch, tq_error *error) {
  tq_status status = patch->left ? tq_fail(error, TQ_ERROR_USAGE, "a patch is given fewer bytes than its size") : TQ_OK;
  if (!status) status = tq_deflater_end(patch->deflater, put, patch->writer, error);
  if (!status) status = tq_writer_part_end(patch->writer, error);
  tq_patch_abandon(patch);
  return status;
}

void tq_patch_abandon(tq_patch_writer *patch) {
  if (!patch) return;
  tq_deflater_destroy(patch->deflater);
  tq_free(patch);
}

/* ---- reading ---- */

struct tq_patch_reader {
  tq_inflater *inflater;
  char place[TQ_ROLE_SIZE + 32]; /* for messages */
  uint8_t difference[AT_ONCE];
};

static tq_status check_header(const tq_part *part, const char *place, uint64_t size, tq_error *error) {
  if (part->size < HEADER_SIZE) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: it is too short", place);
  uint32_t version = tq_load_u32(part->data);
  if (version != VERSION) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its version %" PRIu32 " is not understood", place, version);
  }
  if (tq_load_u32(part->data + 4)) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: reserved bytes are not zero", place);
  if (tq_load_u64(part->data + 8) != size) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: it is for %" PRIu64 " bytes where the tensor has %" PRIu64, place,
                   tq_load_u64(part->data + 8), size);
  }
  return TQ_OK;
}

tq_status tq_patch_open(const tq_file *file, size_t index, uint64_t size, tq_patch_reader **patch, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  const tq_part *part = tq_tensor_part(tensor, TQ_PART_PATCH);
  *patch = NULL;
  if (!part) return TQ_OK;
  tq_status status = tq_file_touch(file, index, part->offset, part->size, error);
  if (status) return status;
  tq_patch_reader *opened = tq_allocate(1, sizeof *opened, error);
  if (!opened) return TQ_ERROR_SYSTEM;
  snprintf(opened->place, sizeof opened->place, "tensor %s: its patch", tensor->name);
  status = check_header(part, opened->place, size, error);
  if (!status) {
    status = tq_inflater_create(opened->place, part->data + HEADER_SIZE, part->size - HEADER_SIZE, size,
                                &opened->inflater, error);
  }
  if (status) {
    tq_patch_close(opened);
    return status;
  }
  *patch = opened;
  return TQ_OK;
}

tq_status tq_patch_apply(tq_patch_reader *patch, uint8_t *bytes, size_t size, tq_error *error) {
  if (!patch) return TQ_OK;
  tq_status status = TQ_OK;
  for (size_t n; !status && size; size -= n, bytes += n) {
    n = size < AT_ONCE ? size : AT_ONCE;
    status = tq_inflater_read(patch->inflater, patch->difference, n, error);
    if (!status) exclusive_or(bytes, patch->difference, n);
  }
  return status;
}

tq_status tq_patch_end(tq_patch_reader *patch, tq_error *error) {
  return patch ? tq_inflater_finish(patch->inflater, error) : TQ_OK;
}

void tq_patch_close(tq_patch_reader *patch) {
  if (!patch) return;
  tq_inflater_destroy(patch->inflater);
  tq_free(patch);
}
