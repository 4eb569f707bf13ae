#include "formats/gguf/header.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "tq/container.h"

#include <string.h>

enum {
  FIRST_READ = 1 << 20,           /* enough for any header without a large vocabulary */
  HEADER_LIMIT = 1 << 30,         /* a header is held in memory: more than the largest vocabulary by a factor of 50 */
  LEAST_KEY_SIZE = 8 + 1 + 4 + 1, /* length, one character, type, one byte of value */
  LEAST_INFO_SIZE = 8 + 1 + 4 + 8 + 4 + 8 /* length, one character, one dimension with its size, type, offset */
};

/* A place in the loaded bytes. Once it has been asked for more than there is, it stays where it was. */
typedef struct cursor {
  const uint8_t *data;
  size_t size, offset;
  bool truncated;
} cursor;

static const uint8_t *take(cursor *place, uint64_t size) {
  if (!tq_within(place->offset, size, place->size)) {
    place->truncated = true;
    return NULL;
  }
  const uint8_t *bytes = place->data + place->offset;
  place->offset += (size_t)size;
  return bytes;
}

static tq_status fail_truncated(const char *name, const cursor *place, uint64_t index, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated in the description of tensor %llu, at byte %zu", name,
                 (unsigned long long)index, place->offset);
}

/* Reads the dimensions, which the file lists innermost first. */
static tq_status parse_shape(const char *name, cursor *place, uint64_t index, tq_gguf_info *info, tq_error *error) {
  const uint8_t *field = take(place, 4);
  if (!field) return fail_truncated(name, place, index, error);
  info->dimensions = tq_load_u32(field);
  if (info->dimensions < 1 || info->dimensions > TQ_GGUF_DIMENSIONS) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: %u dimensions (GGUF has 1 to %d)", name,
                   (int)info->name.size, info->name.data, info->dimensions, TQ_GGUF_DIMENSIONS);
  }
  for (uint32_t i = info->dimensions; i-- > 0;) {
    field = take(place, 8);
    if (!field) return fail_truncated(name, place, index, error);
    info->shape[i] = tq_load_u64(field);
  }
  return TQ_OK;
}

static tq_status parse_name(const char *name, cursor *place, uint64_t index, tq_gguf_info *info, tq_error *error) {
  const uint8_t *field = take(place, 8);
  if (!field) return fail_truncated(name, place, index, error);
  uint64_t size = tq_load_u64(field);
  if (size < 1 || size >= TQ_ROLE_SIZE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the name of tensor %llu has %llu bytes (1 to %d are allowed)", name,
                   (unsigned long long)index, (unsigned long long)size, TQ_ROLE_SIZE - 1);
  }
  info->name.size = (size_t)size;
  info->name.data = (const char *)take(place, size);
  if (!info->name.data) return fail_truncated(name, place, index, error);
  if (!tq_is_name(info->name.data, info->name.size)) {
    char printable[TQ_ROLE_SIZE];
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the name of tensor %llu, '%s', is not printable UTF-8", name,
                   (unsigned long long)index,
                   tq_printable(info->name.data, info->name.size, printable, sizeof printable));
  }
  return TQ_OK;
}

/* The offset stays relative to the data until the header's end is known. */
static tq_status parse_info(const char *name, cursor *place, uint64_t index, tq_gguf_info *info, tq_error *error) {
  *info = (tq_gguf_info){.type = 0};
  tq_status status = parse_name(name, place, index, info, error);
  if (!status) status = parse_shape(name, place, index, info, error);
  if (status) return status;
  const uint8_t *field = take(place, 12);
  if (!field) return fail_truncated(name, place, index, error);
  info->type = tq_load_u32(field);
  info->offset = tq_load_u64(field + 4);
  return TQ_OK;
}

tq_status tq_gguf_alignment(const char *name, const tq_metadata *metadata, uint32_t *alignment, tq_error *error) {
  tq_value value;
  *alignment = TQ_GGUF_ALIGNMENT;
  if (!tq_metadata_find(metadata, "general.alignment", &value)) return TQ_OK;
  uint64_t number = value.type == TQ_VALUE_U32 ? value.unsigned_integer : 0;
  if (number == 0 || number > TQ_GGUF_MAX_ALIGNMENT || (number & (number - 1)) != 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: general.alignment is not a u32 that is a power of two up to %d", name,
                   TQ_GGUF_MAX_ALIGNMENT);
  }
  *alignment = (uint32_t)number;
  return TQ_OK;
}

/* Makes the tensors' offsets absolute. */
static tq_status place_data(const char *name, tq_gguf_header *header, size_t end, tq_error *error) {
  uint32_t alignment;
  tq_status status = tq_gguf_alignment(name, header->metadata, &alignment, error);
  if (status) return status;
  if (!tq_align_u64(end, alignment, &header->data_offset)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the header's size overflows", name);
  }
  for (size_t i = 0; i < header->info_count; i++) {
    tq_gguf_info *info = &header->infos[i];
    if (info->offset % alignment) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: offset %llu is not a multiple of the alignment %u",
                     name, (int)info->name.size, info->name.data, (unsigned long long)info->offset, alignment);
    }
    uint64_t absolute;
    if (!tq_add_u64(header->data_offset, info->offset, &absolute)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %.*s: offset %llu overflows", name, (int)info->name.size,
                     info->name.data, (unsigned long long)info->offset);
    }
    info->offset = absolute;
  }
  return TQ_OK;
}

static tq_status check_version(const char *name, uint32_t version, tq_error *error) {
  if (version == 2 || version == TQ_GGUF_VERSION) return TQ_OK;
  if ((version & 0xffff) == 0 && version) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a big-endian GGUF file, which is not supported", name);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: GGUF version %u is not supported (2 and 3 are)", name, version);
}

/* The fixed fields; the counts are checked against what a file of that size can hold, so that they bound memory. */
static tq_status parse_fixed(const char *name, const uint8_t *bytes, size_t size, uint64_t file_size,
                             uint64_t *tensor_count, uint64_t *key_count, tq_error *error) {
  if (size < 8 || memcmp(bytes, "GGUF", 4) != 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a GGUF file, or truncated in its first 8 bytes", name);
  }
  tq_status status = check_version(name, tq_load_u32(bytes + 4), error);
  if (status) return status;
  if (size < TQ_GGUF_FIXED_SIZE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated at byte %zu, inside the header", name, size);
  }
  *tensor_count = tq_load_u64(bytes + 8);
  *key_count = tq_load_u64(bytes + 16);
  uint64_t room = file_size - TQ_GGUF_FIXED_SIZE;
  if (*key_count > room / LEAST_KEY_SIZE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %llu metadata keys do not fit a file of %llu bytes (truncated?)", name,
                   (unsigned long long)*key_count, (unsigned long long)file_size);
  }
  if (*tensor_count > room / LEAST_INFO_SIZE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %llu tensors do not fit a file of %llu bytes (truncated?)", name,
                   (unsigned long long)*tensor_count, (unsigned long long)file_size);
  }
  return TQ_OK;
}

/* Parses what is loaded; *truncated says that more of the file is needed. */
static tq_status parse(const char *name, uint64_t file_size, tq_gguf_header *header, bool *truncated, tq_error *error) {
  uint64_t tensor_count = 0;
  *truncated = false;
  tq_metadata_free(header->metadata);
  header->metadata = NULL;
  header->info_count = 0;
  tq_status status =
      parse_fixed(name, header->bytes, header->size, file_size, &tensor_count, &header->key_count, error);
  if (status) return status;
  status = tq_metadata_parse(name, header->bytes + TQ_GGUF_FIXED_SIZE, header->size - TQ_GGUF_FIXED_SIZE,
                             header->key_count, &header->metadata_size, truncated, &header->metadata, error);
  if (status) return status;
  cursor place = {header->bytes, header->size, TQ_GGUF_FIXED_SIZE + header->metadata_size, false};
  while (!status && header->info_count < tensor_count) {
    status =
        tq_grow((void **)&header->infos, &header->info_capacity, header->info_count + 1, sizeof *header->infos, error);
    if (status) return status;
    status = parse_info(name, &place, header->info_count, &header->infos[header->info_count], error);
    header->info_count += !status;
  }
  *truncated = place.truncated;
  return status ? status : place_data(name, header, place.offset, error);
}

/* Reads on, to twice what is loaded. */
static tq_status load_more(tq_input *input, tq_gguf_header *header, tq_error *error) {
  uint64_t size = header->size ? 2 * (uint64_t)header->size : FIRST_READ;
  if (size > tq_input_size(input)) size = tq_input_size(input);
  tq_status status = tq_grow((void **)&header->bytes, &header->capacity, (size_t)size, 1, error);
  if (!status) {
    status = tq_input_read(input, header->size, header->bytes + header->size, (size_t)size - header->size, error);
  }
  if (!status) header->size = (size_t)size;
  return status;
}

tq_status tq_gguf_header_read(tq_input *input, tq_gguf_header *header, tq_error *error) {
  const char *name = tq_input_name(input);
  for (bool truncated = true; truncated;) {
    if (header->size >= HEADER_LIMIT) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the header is larger than %d bytes", name, HEADER_LIMIT);
    }
    tq_status status = load_more(input, header, error);
    if (status) return status;
    status = parse(name, tq_input_size(input), header, &truncated, error);
    if (!truncated || header->size == tq_input_size(input)) return status;
  }
  return TQ_OK;
}

void tq_gguf_header_free(tq_gguf_header *header) {
  tq_metadata_free(header->metadata);
  tq_free(header->infos);
  tq_free(header->bytes);
  *header = (tq_gguf_header){0};
}
