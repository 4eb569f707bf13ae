#include "formats/gguf/gguf.h"
#include "formats/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The layer in a role such as "layers.3.q". */
static uint64_t role_layer(const char *role) {
  const char *digits = strchr(role, '.');
  return digits ? strtoull(digits + 1, NULL, 10) : 0;
}

static bool integer_of(const tq_value *value, uint64_t *number) {
  switch (value->type) {
  case TQ_VALUE_U8:
  case TQ_VALUE_U16:
  case TQ_VALUE_U32:
  case TQ_VALUE_U64:
    *number = value->unsigned_integer;
    return true;
  case TQ_VALUE_I8:
  case TQ_VALUE_I16:
  case TQ_VALUE_I32:
  case TQ_VALUE_I64:
    *number = value->unsigned_integer;
    return value->integer >= 0;
  default:
    return false;
  }
}

/* A head count is one number, or an array with a number per layer. False when it is neither. */
static bool count_of_layer(const tq_value *value, uint64_t layer, uint64_t *count) {
  if (value->type != TQ_VALUE_ARRAY) return integer_of(value, count);
  size_t cursor = 0;
  tq_value item;
  for (uint64_t i = 0; tq_array_next(value, &cursor, &item); i++) {
    if (i == layer) return integer_of(&item, count);
  }
  return false;
}

const tq_architecture_name *tq_gguf_architecture(const tq_metadata *metadata) {
  char name[64] = "";
  tq_string string = tq_metadata_string(metadata, "general.architecture");
  if (!string.data || string.size >= sizeof name) return NULL;
  memcpy(name, string.data, string.size);
  return tq_architecture_by_gguf(name);
}

tq_status tq_gguf_adjacent_heads(const char *file, const tq_metadata *metadata, const char *name, const char *role,
                                 uint64_t rows, uint32_t *heads, tq_error *error) {
  const tq_architecture_name *architecture = tq_gguf_architecture(metadata);
  bool is_key;
  *heads = 0;
  if (!architecture || !architecture->gguf_adjacent || !tq_role_is_rotated(role, &is_key)) return TQ_OK;

  char key[128];
  tq_value value;
  uint64_t count;
  snprintf(key, sizeof key, "%s.attention.head_count%s", architecture->gguf, is_key ? "_kv" : "");
  bool found = tq_metadata_find(metadata, key, &value);
  if (!found && is_key) { /* without grouped queries there are as many */
    snprintf(key, sizeof key, "%s.attention.head_count", architecture->gguf);
    found = tq_metadata_find(metadata, key, &value);
  }
  if (!found || !count_of_layer(&value, role_layer(role), &count) || count == 0 || count > UINT32_MAX) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: %s does not say how many heads it has, which its RoPE row order needs", file, name,
                   key);
  }
  if (rows % count || (rows / count) % 2) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu rows are not %llu heads of pairs of rows", file, name,
                   (unsigned long long)rows, (unsigned long long)count);
  }
  *heads = (uint32_t)count;
  return TQ_OK;
}
