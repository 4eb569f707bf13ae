#include "formats/archive/zip_sums.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <stdlib.h>

/* The records of a zip archive (PKWARE's APPNOTE 6.3, sections 4.3.12 to 4.3.16 and 4.5.3). */
enum {
  LOCAL_SIZE = 30,
  CENTRAL_SIZE = 46,
  END_SIZE = 22,
  END64_SIZE = 56,
  LOCATOR_SIZE = 20,
  LONGEST_COMMENT = 65535,
  LARGEST_DIRECTORY = 32 << 20,
  METHOD_STORED = 0,
  EXTRA_ZIP64 = 1
};
static const uint32_t central_magic = 0x02014b50, end_magic = 0x06054b50, end64_magic = 0x06064b50,
                      locator_magic = 0x07064b50, in_zip64 = 0xffffffff;

typedef struct directory {
  uint64_t offset, size;
} directory;

/* The last record that says where the directory lies; size 0 when there is none. */
static tq_status find_directory64(tq_input *input, uint64_t end_offset, directory *found, tq_error *error) {
  uint8_t locator[LOCATOR_SIZE], record[END64_SIZE];
  if (end_offset < LOCATOR_SIZE) return TQ_OK;
  tq_status status = tq_input_read(input, end_offset - LOCATOR_SIZE, locator, sizeof locator, error);
  if (status != TQ_OK || tq_load_u32(locator) != locator_magic) return status;
  uint64_t offset = tq_load_u64(locator + 8);
  if (!tq_within(offset, END64_SIZE, end_offset)) return TQ_OK;
  status = tq_input_read(input, offset, record, sizeof record, error);
  if (status == TQ_OK && tq_load_u32(record) == end64_magic)
    *found = (directory){tq_load_u64(record + 48), tq_load_u64(record + 40)};
  return status;
}

static tq_status find_directory(tq_input *input, directory *found, tq_error *error) {
  uint64_t total = tq_input_size(input);
  size_t size = total < END_SIZE + LONGEST_COMMENT ? (size_t)total : END_SIZE + LONGEST_COMMENT;
  uint8_t *tail = tq_allocate(size, 1, error);
  if (!tail) return TQ_ERROR_SYSTEM;
  tq_status status = tq_input_read(input, total - size, tail, size, error);
  for (size_t at = size < END_SIZE ? 0 : size - END_SIZE + 1; status == TQ_OK && at-- > 0;) {
    const uint8_t *record = tail + at;
    if (tq_load_u32(record) != end_magic) continue;
    *found = (directory){tq_load_u32(record + 16), tq_load_u32(record + 12)};
    status = find_directory64(input, total - size + at, found, error);
    break;
  }
  tq_free(tail);
  return status;
}

/* Replaces what is marked as too large for 32 bits, in the order of the record; false when it is not there. */
static bool widen(const uint8_t *extra, size_t size, uint64_t *const *fields, size_t count) {
  while (size >= 4) {
    size_t length = tq_load_u16(extra + 2);
    if (length > size - 4) return false;
    if (tq_load_u16(extra) == EXTRA_ZIP64) {
      const uint8_t *next = extra + 4, *end = next + length;
      for (size_t i = 0; i < count; i++) {
        if (*fields[i] != in_zip64) continue;
        if (end - next < 8) return false;
        *fields[i] = tq_load_u64(next);
        next += 8;
      }
      return true;
    }
    extra += 4 + length;
    size -= 4 + length;
  }
  return *fields[0] != in_zip64 && *fields[1] != in_zip64 && *fields[2] != in_zip64;
}

static tq_status add_sum(tq_zip_sums *sums, const uint8_t *record, tq_error *error) {
  size_t name = tq_load_u16(record + 28), extra = tq_load_u16(record + 30);
  uint64_t size = tq_load_u32(record + 24), stored = tq_load_u32(record + 20), offset = tq_load_u32(record + 42);
  uint64_t *const fields[] = {&size, &stored, &offset};
  if (tq_load_u16(record + 10) != METHOD_STORED) return TQ_OK;
  if (!widen(record + CENTRAL_SIZE + name, extra, fields, 3) || size != stored) return TQ_OK;
  tq_status status = tq_grow((void **)&sums->sums, &sums->capacity, sums->count + 1, sizeof *sums->sums, error);
  if (status == TQ_OK) sums->sums[sums->count++] = (tq_zip_sum){offset, size, tq_load_u32(record + 16), (uint32_t)name};
  return status;
}

static int compare_sums(const void *a, const void *b) {
  const tq_zip_sum *left = a, *right = b;
  return (left->header_offset > right->header_offset) - (left->header_offset < right->header_offset);
}

tq_status tq_zip_sums_read(tq_input *input, tq_zip_sums *sums, tq_error *error) {
  directory found = {0, 0};
  tq_status status = find_directory(input, &found, error);
  if (status != TQ_OK || found.size > LARGEST_DIRECTORY || !tq_within(found.offset, found.size, tq_input_size(input)))
    return status;
  uint8_t *bytes = tq_allocate((size_t)found.size, 1, error);
  if (!bytes) return TQ_ERROR_SYSTEM;
  size_t at = 0, size = (size_t)found.size;
  status = tq_input_read(input, found.offset, bytes, size, error);
  while (status == TQ_OK && size - at >= CENTRAL_SIZE && tq_load_u32(bytes + at) == central_magic) {
    const uint8_t *record = bytes + at;
    size_t whole =
        (size_t)CENTRAL_SIZE + tq_load_u16(record + 28) + tq_load_u16(record + 30) + tq_load_u16(record + 32);
    if (whole > size - at) break;
    status = add_sum(sums, record, error);
    at += whole;
  }
  tq_free(bytes);
  if (sums->count > 0) qsort(sums->sums, sums->count, sizeof *sums->sums, compare_sums);
  return status;
}

void tq_zip_sums_free(tq_zip_sums *sums) {
  tq_free(sums->sums);
  *sums = (tq_zip_sums){0};
}

const tq_zip_sum *tq_zip_sums_find(const tq_zip_sums *sums, uint64_t data_offset, uint64_t size) {
  size_t low = 0, high = sums->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (sums->sums[middle].header_offset < data_offset)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return NULL;
  const tq_zip_sum *before = &sums->sums[low - 1];
  uint64_t distance = data_offset - before->header_offset;
  return before->size == size && distance >= LOCAL_SIZE + (uint64_t)before->name_size ? before : NULL;
}
