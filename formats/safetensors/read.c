#include "formats/safetensors/safetensors.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "formats/json.h"
#include "formats/names.h"
#include "tq/encoding.h"

#include <stdlib.h>
#include <string.h>

enum { PREFIX = 8 }; /* the header's size stands before it */

/* One tensor as the header describes it; strings live as long as the header's JSON. */
typedef struct described {
  const char *name;
  const tq_safetensors_type *type;
  uint32_t dimensions;
  uint64_t shape[TQ_MAX_DIMENSIONS];
  uint64_t bytes;      /* what type and shape demand */
  uint64_t begin, end; /* within the data */
} described;

typedef struct parsed_header {
  const char *file; /* for messages */
  uint64_t data;    /* where the data begins in the file */
  uint64_t data_size;
  json_t *json;
  described *entries;
  size_t count, capacity;
} parsed_header;

static tq_status fail_tensor(const parsed_header *header, const char *name, tq_error *error, const char *reason) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %s", header->file, name, reason);
}

/* ---- the header's text ---- */

static tq_status load_header(tq_input *input, parsed_header *header, tq_error *error) {
  uint8_t prefix[PREFIX];
  uint64_t file_size = tq_input_size(input);
  header->file = tq_input_name(input);
  if (file_size < PREFIX) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %llu bytes are too few for a safetensors file", header->file,
                   (unsigned long long)file_size);
  }
  tq_status status = tq_input_read(input, 0, prefix, PREFIX, error);
  if (status) return status;
  uint64_t size = tq_load_u64(prefix);
  if (size > TQ_SAFETENSORS_HEADER_LIMIT) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a header of %llu bytes (at most %d are allowed)", header->file,
                   (unsigned long long)size, TQ_SAFETENSORS_HEADER_LIMIT);
  }
  if (!tq_within(PREFIX, size, file_size)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated: its header of %llu bytes runs past the end at %llu",
                   header->file, (unsigned long long)size, (unsigned long long)file_size);
  }
  header->data = PREFIX + size;
  header->data_size = file_size - header->data;
  char *text = tq_allocate((size_t)size + 1, 1, error);
  if (!text) return TQ_ERROR_SYSTEM;
  status = tq_input_read(input, PREFIX, text, (size_t)size, error);
  if (!status && text[0] != '{') {
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: byte 8: the header does not begin with '{'", header->file);
  }
  if (!status) status = tq_json_parse(header->file, text, (size_t)size, &header->json, error);
  tq_free(text);
  return status;
}

/* ---- what it says ---- */

static tq_status check_free_form(const parsed_header *header, const json_t *metadata, tq_error *error) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: __metadata__ is not an object", header->file);
  }
  json_object_foreach((json_t *)metadata, key, value) {
    if (!json_is_string(value)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: __metadata__: '%s' is not a string", header->file, key);
    }
  }
  return TQ_OK;
}

/* A non-negative integer, or false. */
static bool read_u64(const json_t *json, uint64_t *value) {
  if (!json_is_integer(json) || json_integer_value(json) < 0) return false;
  *value = (uint64_t)json_integer_value(json);
  return true;
}

/* Scalars have no dimension in the file; the container has no tensor without one. */
static tq_status read_shape(const parsed_header *header, const json_t *shape, described *entry, tq_error *error) {
  if (!json_is_array(shape)) return fail_tensor(header, entry->name, error, "its shape is not an array");
  size_t dimensions = json_array_size(shape);
  uint64_t zero_at = UINT64_MAX;
  for (size_t i = 0; i < dimensions; i++) {
    uint64_t extent;
    if (!read_u64(json_array_get(shape, i), &extent)) {
      return fail_tensor(header, entry->name, error, "a dimension is not a non-negative integer");
    }
    if (extent == 0) zero_at = i;
    if (i < TQ_MAX_DIMENSIONS) entry->shape[i] = extent;
  }
  if (zero_at != UINT64_MAX) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: dimension %llu is zero, and the container holds no tensor without elements",
                   header->file, entry->name, (unsigned long long)zero_at);
  }
  if (dimensions > TQ_MAX_DIMENSIONS) {
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %zu dimensions, and the container holds at most %d",
                   header->file, entry->name, dimensions, TQ_MAX_DIMENSIONS);
  }
  entry->dimensions = (uint32_t)dimensions;
  if (dimensions == 0) entry->shape[entry->dimensions++] = 1;
  return TQ_OK;
}

static tq_status measure(const parsed_header *header, described *entry, tq_error *error) {
  const tq_encoding_info *encoding = tq_encoding_find(entry->type->encoding);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < entry->dimensions; i++) {
    if (!tq_multiply_u64(elements, entry->shape[i], &elements)) {
      return fail_tensor(header, entry->name, error, "its dimensions overflow");
    }
  }
  if (elements % encoding->elements) {
    return fail_tensor(header, entry->name, error, "its elements do not fill whole bytes");
  }
  if (!tq_multiply_u64(elements / encoding->elements, encoding->bytes, &entry->bytes)) {
    return fail_tensor(header, entry->name, error, "its size overflows");
  }
  return TQ_OK;
}

static tq_status read_offsets(const parsed_header *header, const json_t *offsets, described *entry, tq_error *error) {
  if (!json_is_array(offsets) || json_array_size(offsets) != 2 ||
      !read_u64(json_array_get(offsets, 0), &entry->begin) || !read_u64(json_array_get(offsets, 1), &entry->end)) {
    return fail_tensor(header, entry->name, error, "its data_offsets are not two non-negative integers");
  }
  if (entry->end < entry->begin) return fail_tensor(header, entry->name, error, "its data ends before it begins");
  if (entry->end > header->data_size) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its data ends at byte %llu of %llu", header->file,
                   entry->name, (unsigned long long)entry->end, (unsigned long long)header->data_size);
  }
  if (entry->end - entry->begin != entry->bytes) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu bytes where its shape and type %s demand %llu",
                   header->file, entry->name, (unsigned long long)(entry->end - entry->begin), entry->type->name,
                   (unsigned long long)entry->bytes);
  }
  return TQ_OK;
}

static tq_status read_entry(const parsed_header *header, const char *name, const json_t *json, described *entry,
                            tq_error *error) {
  *entry = (described){.name = name};
  if (!json_is_object(json)) return fail_tensor(header, name, error, "its description is not an object");
  const char *type = json_string_value(json_object_get(json, "dtype"));
  if (!type) return fail_tensor(header, name, error, "its dtype is missing or not a string");
  entry->type = tq_safetensors_type_by_name(type);
  if (!entry->type) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: type %s is not understood", header->file, name, type);
  }
  tq_status status = read_shape(header, json_object_get(json, "shape"), entry, error);
  if (!status) status = measure(header, entry, error);
  if (!status) status = read_offsets(header, json_object_get(json, "data_offsets"), entry, error);
  return status;
}

static tq_status append_entry(parsed_header *header, const char *name, const json_t *json, tq_error *error) {
  void *entries = header->entries;
  tq_status status = tq_grow(&entries, &header->capacity, header->count + 1, sizeof *header->entries, error);
  header->entries = entries;
  if (!status) status = read_entry(header, name, json, &header->entries[header->count], error);
  header->count++;
  return status;
}

static int compare_entries(const void *a, const void *b) {
  const described *x = a, *y = b;
  return (x->begin > y->begin) - (x->begin < y->begin);
}

/* The data must be covered from its first byte to its last, each byte once: nothing can hide between tensors. */
static tq_status check_cover(const parsed_header *header, tq_error *error) {
  uint64_t position = 0;
  for (size_t i = 0; i < header->count; i++) {
    const described *entry = &header->entries[i];
    if (entry->begin < position) {
      return fail_tensor(header, entry->name, error, "its data overlaps that of another tensor");
    }
    if (entry->begin > position) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a hole of %llu bytes before tensor %s", header->file,
                     (unsigned long long)(entry->begin - position), entry->name);
    }
    position = entry->end;
  }
  if (position != header->data_size) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %llu bytes behind the last tensor belong to none", header->file,
                   (unsigned long long)(header->data_size - position));
  }
  return TQ_OK;
}

static tq_status read_entries(parsed_header *header, tq_error *error) {
  const char *name;
  json_t *value;
  if (!json_is_object(header->json)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the header is not an object", header->file);
  }
  tq_status status = TQ_OK;
  json_object_foreach(header->json, name, value) {
    if (strcmp(name, "__metadata__") == 0) {
      status = check_free_form(header, value, error);
    } else {
      status = append_entry(header, name, value, error);
    }
    /* A description takes more than what it says, so it goes before the checkpoint grows. */
    if (!status) json_object_iter_set_new(header->json, json_object_key_to_iter(name), json_null());
    if (status) return status;
  }
  if (header->count) qsort(header->entries, header->count, sizeof *header->entries, compare_entries);
  return check_cover(header, error);
}

/* ---- into the checkpoint ---- */

static tq_status add_entry(tq_checkpoint *checkpoint, const parsed_header *header, const described *entry, size_t input,
                           tq_error *error) {
  char role[TQ_ROLE_SIZE];
  const char *role_text = tq_role_from_name(TQ_CARRIER_HF, entry->name, role, sizeof role) ? role : entry->name;
  tq_source_tensor tensor = {
      .encoding = entry->type->encoding,
      .dimensions = entry->dimensions,
      .input = input,
      .offset = header->data + entry->begin,
      .size = entry->bytes,
  };
  memcpy(tensor.shape, entry->shape, sizeof tensor.shape);
  tensor.name = tq_copy_string(entry->name, strlen(entry->name), error);
  tensor.role = tq_copy_string(role_text, strlen(role_text), error);
  tensor.type_name = tq_copy_string(entry->type->name, strlen(entry->type->name), error);
  tq_status status = tensor.name && tensor.role && tensor.type_name
                         ? tq_checkpoint_add_tensor(checkpoint, &tensor, error)
                         : TQ_ERROR_SYSTEM;
  if (status) {
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  }
  return status;
}

static tq_status open_input(tq_checkpoint *checkpoint, const char *name, size_t *index, tq_error *error) {
  tq_input *input;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s is missing", tq_folder_name(checkpoint->folder), name);
  }
  status = tq_checkpoint_add_input(checkpoint, input, index, error);
  if (status) tq_input_close(input);
  return status;
}

tq_status tq_safetensors_read(tq_checkpoint *checkpoint, const char *name, size_t *input, tq_error *error) {
  size_t index;
  tq_status status = open_input(checkpoint, name, &index, error);
  if (status) return status;
  parsed_header header = {0};
  status = load_header(checkpoint->inputs[index], &header, error);
  if (!status) status = read_entries(&header, error);
  for (size_t i = 0; !status && i < header.count; i++) {
    status = add_entry(checkpoint, &header, &header.entries[i], index, error);
  }
  tq_free(header.entries);
  json_decref(header.json);
  if (!status) *input = index;
  return status;
}

bool tq_safetensors_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  static const char extension[] = ".safetensors";
  size_t length = strlen(name);
  if (length >= sizeof extension && strcmp(name + length - (sizeof extension - 1), extension) == 0) return true;
  if (start_size < PREFIX + 2 || start[PREFIX] != '{') return false;
  uint64_t size = tq_load_u64(start);
  return size <= TQ_SAFETENSORS_HEADER_LIMIT && tq_within(PREFIX, size, file_size);
}
