/* The directory of tensors: records, their parts and strings, checked against each other and against the data. */
#include "container/file.h"
#include "container/parts.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

typedef struct directory {
  const uint8_t *tensors, *parts, *strings;
  uint32_t tensor_size, part_size; /* bytes of a record; a later minor version may have made them longer */
  uint64_t strings_size;
} directory;

static bool record_size_is_valid(uint32_t size, uint32_t least) {
  return size >= least && size <= TQ_RECORD_SIZE_LIMIT && size % 8 == 0;
}

/* Cuts the section into records and strings. Counts are bounded by the section's size before they are used. */
static tq_status cut_section(tq_file *file, directory *cut, tq_error *error) {
  const tq_section *section = file->known[TQ_SECTION_TENSORS];
  const uint8_t *data = section->data;
  if (section->size < TQ_DIRECTORY_HEADER_SIZE)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: %" PRIu64 " bytes hold no header", file->path,
                   section->size);
  uint64_t tensors = tq_load_u64(data + TQ_DIRECTORY_TENSOR_COUNT), parts = tq_load_u64(data + TQ_DIRECTORY_PART_COUNT);
  cut->strings_size = tq_load_u64(data + TQ_DIRECTORY_STRINGS_SIZE);
  cut->tensor_size = tq_load_u32(data + TQ_DIRECTORY_TENSOR_SIZE);
  cut->part_size = tq_load_u32(data + TQ_DIRECTORY_PART_SIZE);
  if (!record_size_is_valid(cut->tensor_size, TQ_TENSOR_RECORD_SIZE) ||
      !record_size_is_valid(cut->part_size, TQ_PART_RECORD_SIZE))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: records of %" PRIu32 " and %" PRIu32 " bytes",
                   file->path, cut->tensor_size, cut->part_size);
  uint64_t tensor_bytes, part_bytes, size;
  if (!tq_multiply_u64(tensors, cut->tensor_size, &tensor_bytes) ||
      !tq_multiply_u64(parts, cut->part_size, &part_bytes) || !tq_add_u64(tensor_bytes, part_bytes, &size) ||
      !tq_add_u64(size, cut->strings_size, &size) || !tq_add_u64(size, TQ_DIRECTORY_HEADER_SIZE, &size) ||
      size != section->size)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: section tensors: %" PRIu64 " tensors, %" PRIu64 " parts and %" PRIu64
                   " bytes of strings do not make up its %" PRIu64 " bytes",
                   file->path, tensors, parts, cut->strings_size, section->size);
  cut->tensors = data + TQ_DIRECTORY_HEADER_SIZE;
  cut->parts = cut->tensors + tensor_bytes;
  cut->strings = cut->parts + part_bytes;
  file->tensor_count = (size_t)tensors;
  file->part_count = (size_t)parts;
  if (!tq_pool_is_closed(cut->strings, cut->strings_size))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: its strings do not begin and end with a NUL",
                   file->path);
  return tq_check_reserved(file, "section tensors", data + TQ_DIRECTORY_ZERO, 32, error);
}

static tq_status read_string(const tq_file *file, const directory *cut, const uint8_t *field, size_t tensor,
                             const char *what, bool may_be_empty, const char **text, tq_error *error) {
  *text = tq_pool_string(cut->strings, cut->strings_size, tq_load_u32(field), TQ_ROLE_SIZE);
  if (*text && (may_be_empty || **text)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: tensor %zu: its %s is %s", file->path, tensor, what,
                 *text ? "empty" : "outside the strings, longer than 255 bytes or not proper UTF-8");
}

static tq_status read_part(const tq_file *file, const directory *cut, size_t index, const tq_tensor *tensor,
                           tq_part *part, tq_error *error) {
  const uint8_t *record = cut->parts + index * cut->part_size;
  *part = (tq_part){.kind = tq_load_u32(record + TQ_PART_KIND),
                    .encoding = tq_load_u32(record + TQ_PART_ENCODING),
                    .granularity = tq_load_u32(record + TQ_PART_GRANULARITY),
                    .group = tq_load_u32(record + TQ_PART_GROUP),
                    .direction = tq_load_u32(record + TQ_PART_DIRECTION),
                    .block_elements = tq_load_u32(record + TQ_PART_BLOCK_ELEMENTS),
                    .block_bytes = tq_load_u32(record + TQ_PART_BLOCK_BYTES),
                    .offset = tq_load_u64(record + TQ_PART_OFFSET),
                    .size = tq_load_u64(record + TQ_PART_SIZE)};
  tq_status status = read_string(file, cut, record + TQ_PART_TYPE_NAME, (size_t)(tensor - file->tensors),
                                 "part's type name", true, &part->type_name, error);
  if (status == TQ_OK) status = tq_check_reserved(file, "section tensors", record + TQ_PART_ZERO, 16, error);
  return status == TQ_OK ? tq_part_check(file->path, tensor, part, error) : status;
}

/* A part begins at the next multiple of 64 after the one before; the tensor ends where its last part does. */
static tq_status place_part(const tq_file *file, const tq_tensor *tensor, tq_part *part, uint64_t *end,
                            tq_error *error) {
  uint64_t expected;
  const char *reason = NULL;
  if (!tq_within(part->offset, part->size, tensor->data_size))
    reason = "lies outside its tensor";
  else if (part->offset < *end)
    reason = "overlaps the part before it";
  else if (part->offset % TQ_ALIGNMENT != 0)
    reason = "is misaligned";
  else if (!tq_align_u64(*end, TQ_ALIGNMENT, &expected) || part->offset != expected)
    reason = "leaves a gap before it that alignment does not explain";
  if (reason)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: part at [%" PRIu64 ", +%" PRIu64 ") %s", file->path,
                   tensor->role, part->offset, part->size, reason);
  part->data =
      file->known[TQ_SECTION_DATA]->data + (tensor->data_offset - file->known[TQ_SECTION_DATA]->offset) + part->offset;
  *end = part->offset + part->size;
  return TQ_OK;
}

static tq_status read_parts(tq_file *file, const directory *cut, const uint8_t *record, tq_tensor *tensor,
                            size_t *next_part, tq_error *error) {
  uint32_t first = tq_load_u32(record + TQ_TENSOR_FIRST_PART), count = tq_load_u32(record + TQ_TENSOR_PART_COUNT);
  if (first != *next_part || count < 1 || count > TQ_MAX_PARTS || count > file->part_count - *next_part)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: parts %" PRIu32 ", +%" PRIu32 " where %zu of %zu are not taken", file->path,
                   tensor->role, first, count, file->part_count - *next_part, file->part_count);
  tq_part *parts = file->parts + *next_part;
  tensor->parts = parts;
  tensor->part_count = count;
  uint64_t end = 0;
  for (uint32_t i = 0; i < count; i++) {
    tq_status status = read_part(file, cut, *next_part + i, tensor, &parts[i], error);
    if (status == TQ_OK) status = place_part(file, tensor, &parts[i], &end, error);
    if (status != TQ_OK) return status;
  }
  if (end != tensor->data_size)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its parts end at %" PRIu64 " of %" PRIu64 " bytes",
                   file->path, tensor->role, end, tensor->data_size);
  *next_part += count;
  return TQ_OK;
}

/* A tensor begins at the next multiple of 64 after the one before. */
static tq_status place_tensor(const tq_file *file, const uint8_t *record, tq_tensor *tensor, uint64_t *end,
                              tq_error *error) {
  const tq_section *data = file->known[TQ_SECTION_DATA];
  uint64_t offset = tq_load_u64(record + TQ_TENSOR_DATA_OFFSET), size = tq_load_u64(record + TQ_TENSOR_DATA_SIZE);
  uint64_t expected;
  const char *reason = NULL;
  if (!tq_within(offset, size, data->size))
    reason = "lies outside the section data";
  else if (offset < *end)
    reason = "overlaps the tensor before it";
  else if (offset % TQ_ALIGNMENT != 0)
    reason = "is misaligned";
  else if (!tq_align_u64(*end, TQ_ALIGNMENT, &expected) || offset != expected)
    reason = "leaves a gap before it that alignment does not explain";
  if (reason)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: data at [%" PRIu64 ", +%" PRIu64 ") %s", file->path,
                   tensor->role, offset, size, reason);
  tensor->data_offset = data->offset + offset;
  tensor->data_size = size;
  *end = offset + size;
  return TQ_OK;
}

static tq_status check_bits_per_weight(const tq_file *file, const uint8_t *record, tq_tensor *tensor, tq_error *error) {
  tensor->bits_per_weight = tq_load_f64(record + TQ_TENSOR_BITS_PER_WEIGHT);
  if (!(tensor->bits_per_weight == tq_tensor_bits_per_weight(tensor)))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %g bits per weight, its parts have %g", file->path,
                   tensor->role, tensor->bits_per_weight, tq_tensor_bits_per_weight(tensor));
  return TQ_OK;
}

static tq_status read_shape(const tq_file *file, const uint8_t *record, tq_tensor *tensor, tq_error *error) {
  tensor->dimensions = tq_load_u32(record + TQ_TENSOR_DIMENSIONS);
  for (size_t i = 0; i < TQ_MAX_DIMENSIONS; i++) tensor->shape[i] = tq_load_u64(record + TQ_TENSOR_SHAPE + 8 * i);
  for (size_t i = 0; i < 4; i++) tensor->trit_counts[i] = tq_load_u64(record + TQ_TENSOR_TRIT_COUNTS + 8 * i);
  memcpy(tensor->content_digest, record + TQ_TENSOR_CONTENT_DIGEST, TQ_DIGEST_SIZE);
  tensor->source_row_order = tq_load_u32(record + TQ_TENSOR_ROW_ORDER);
  tq_status status = tq_tensor_measure(file->path, tensor, error);
  if (status != TQ_OK) return status;
  uint64_t elements = tq_load_u64(record + TQ_TENSOR_ELEMENTS);
  if (elements != tensor->elements)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %" PRIu64 " elements, its shape has %" PRIu64, file->path,
                   tensor->role, elements, tensor->elements);
  return TQ_OK;
}

static tq_status read_tensor(tq_file *file, const directory *cut, size_t index, uint64_t *end, size_t *next_part,
                             tq_error *error) {
  const uint8_t *record = cut->tensors + index * cut->tensor_size;
  tq_tensor *tensor = &file->tensors[index];
  tq_status status = read_string(file, cut, record + TQ_TENSOR_ROLE, index, "role", false, &tensor->role, error);
  if (status == TQ_OK)
    status = read_string(file, cut, record + TQ_TENSOR_NAME, index, "name", false, &tensor->name, error);
  if (status == TQ_OK)
    status =
        read_string(file, cut, record + TQ_TENSOR_SOURCE_TYPE, index, "source type", true, &tensor->source_type, error);
  if (status == TQ_OK) status = tq_check_reserved(file, "section tensors", record + TQ_TENSOR_ZERO, 20, error);
  if (status == TQ_OK) status = read_shape(file, record, tensor, error);
  if (status == TQ_OK) status = place_tensor(file, record, tensor, end, error);
  if (status == TQ_OK) status = read_parts(file, cut, record, tensor, next_part, error);
  if (status == TQ_OK) status = tq_parts_check(file->path, tensor, error);
  return status == TQ_OK ? check_bits_per_weight(file, record, tensor, error) : status;
}

/* Roles and names are each unique; the index of the roles stays for look-ups. */
static tq_status index_names(tq_file *file, tq_error *error) {
  tq_index_entry *index = tq_allocate(file->tensor_count, sizeof *index, error);
  if (!index) return TQ_ERROR_SYSTEM;
  file->roles = index;
  for (int roles = 0; roles < 2; roles++) {
    for (size_t i = 0; i < file->tensor_count; i++)
      index[i] = (tq_index_entry){roles ? file->tensors[i].role : file->tensors[i].name, i};
    tq_index_sort(index, file->tensor_count);
    const tq_index_entry *twice = tq_index_duplicate(index, file->tensor_count);
    if (twice)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: duplicate tensor %s %s", file->path,
                     roles ? "role" : "name", twice->name);
  }
  return TQ_OK;
}

tq_status tq_directory_read(tq_file *file, tq_error *error) {
  directory cut = {0};
  tq_status status = cut_section(file, &cut, error);
  if (status != TQ_OK) return status;
  file->tensors = tq_allocate(file->tensor_count, sizeof *file->tensors, error);
  file->parts = file->tensors ? tq_allocate(file->part_count, sizeof *file->parts, error) : NULL;
  if (!file->parts) return TQ_ERROR_SYSTEM;
  uint64_t end = 0;
  size_t next_part = 0;
  for (size_t i = 0; i < file->tensor_count && status == TQ_OK; i++)
    status = read_tensor(file, &cut, i, &end, &next_part, error);
  if (status != TQ_OK) return status;
  if (next_part != file->part_count)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section tensors: %zu parts belong to no tensor", file->path,
                   file->part_count - next_part);
  if (end != file->known[TQ_SECTION_DATA]->size)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section data: its tensors end at %" PRIu64 " of %" PRIu64 " bytes",
                   file->path, end, file->known[TQ_SECTION_DATA]->size);
  return index_names(file, error);
}
