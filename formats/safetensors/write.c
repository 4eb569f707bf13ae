#include "formats/safetensors/safetensors.h"

#include "base/bytes.h"
#include "formats/json.h"

#include <stdlib.h>
#include <string.h>

static int compare_entries(const void *a, const void *b) {
  const tq_safetensors_entry *x = a, *y = b;
  size_t x_rank = tq_safetensors_type_rank(x->type), y_rank = tq_safetensors_type_rank(y->type);
  if (x_rank != y_rank) return x_rank < y_rank ? 1 : -1;
  return strcmp(x->name, y->name);
}

void tq_safetensors_sort(tq_safetensors_entry *entries, size_t count) {
  qsort(entries, count, sizeof *entries, compare_entries);
}

static tq_status append_entry(tq_buffer *buffer, const tq_safetensors_entry *entry, uint64_t begin, tq_error *error) {
  tq_status status = tq_json_print_string(buffer, "tensor name", entry->name, strlen(entry->name), error);
  if (!status) status = tq_buffer_format(buffer, error, ":{\"dtype\":\"%s\",\"shape\":[", entry->type->name);
  for (uint32_t i = 0; !status && i < entry->dimensions; i++) {
    status = tq_buffer_format(buffer, error, "%s%llu", i ? "," : "", (unsigned long long)entry->shape[i]);
  }
  if (status) return status;
  return tq_buffer_format(buffer, error, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                          (unsigned long long)(begin + entry->size));
}

tq_status tq_safetensors_header(tq_buffer *buffer, const tq_safetensors_entry *entries, size_t count, tq_error *error) {
  static const char opening[] = "{\"__metadata__\":{\"format\":\"pt\"}";
  uint8_t prefix[8] = {0};
  size_t start = buffer->size;
  uint64_t position = 0;
  tq_status status = tq_buffer_append(buffer, prefix, sizeof prefix, error);
  if (!status) status = tq_buffer_append(buffer, opening, sizeof opening - 1, error);
  for (size_t i = 0; !status && i < count; i++) {
    status = tq_buffer_append(buffer, ",", 1, error);
    if (!status) status = append_entry(buffer, &entries[i], position, error);
    position += entries[i].size;
  }
  if (!status) status = tq_buffer_append(buffer, "}", 1, error);
  while (!status && (buffer->size - start) % 8) status = tq_buffer_append(buffer, " ", 1, error);
  if (status) return status;
  uint64_t size = buffer->size - start - sizeof prefix;
  if (size > TQ_SAFETENSORS_HEADER_LIMIT) {
    return tq_fail(error, TQ_ERROR_REFUSED, "a safetensors header of %llu bytes is more than the %d allowed",
                   (unsigned long long)size, TQ_SAFETENSORS_HEADER_LIMIT);
  }
  tq_store_u64(buffer->data + start, size);
  return TQ_OK;
}
