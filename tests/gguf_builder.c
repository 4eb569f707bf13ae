#include "tests/gguf_builder.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "tests/support.h"
#include "tq/ternary.h"
#include "tq/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void append(gguf_bytes *bytes, const void *data, size_t size) {
  if (bytes->size + size > bytes->capacity) {
    bytes->capacity = 2 * (bytes->size + size);
    bytes->data = realloc(bytes->data, bytes->capacity);
    ck_assert_ptr_nonnull(bytes->data);
  }
  if (size) memcpy(bytes->data + bytes->size, data, size);
  bytes->size += size;
}

static void append_u32(gguf_bytes *bytes, uint32_t value) {
  uint8_t raw[4];
  tq_store_u32(raw, value);
  append(bytes, raw, sizeof raw);
}

static void append_u64(gguf_bytes *bytes, uint64_t value) {
  uint8_t raw[8];
  tq_store_u64(raw, value);
  append(bytes, raw, sizeof raw);
}

static void pad(gguf_bytes *bytes, size_t alignment, size_t start, uint8_t value) {
  while ((start + bytes->size) % alignment) append(bytes, &value, 1);
}

void gguf_key(gguf_builder *builder, const char *key, uint32_t type, const void *value, size_t size) {
  append_u64(&builder->keys, strlen(key));
  append(&builder->keys, key, strlen(key));
  append_u32(&builder->keys, type);
  append(&builder->keys, value, size);
  builder->key_count++;
}

void gguf_key_u16(gguf_builder *builder, const char *key, uint16_t value) {
  uint8_t raw[2];
  tq_store_u16(raw, value);
  gguf_key(builder, key, TQ_VALUE_U16, raw, sizeof raw);
}

void gguf_key_u32(gguf_builder *builder, const char *key, uint32_t value) {
  uint8_t raw[4];
  tq_store_u32(raw, value);
  gguf_key(builder, key, TQ_VALUE_U32, raw, sizeof raw);
}

void gguf_key_f32(gguf_builder *builder, const char *key, float value) {
  uint8_t raw[4];
  tq_store_f32(raw, value);
  gguf_key(builder, key, TQ_VALUE_F32, raw, sizeof raw);
}

void gguf_key_string(gguf_builder *builder, const char *key, const char *value) {
  gguf_bytes raw = {0};
  append_u64(&raw, strlen(value));
  append(&raw, value, strlen(value));
  gguf_key(builder, key, TQ_VALUE_STRING, raw.data, raw.size);
  free(raw.data);
}

void gguf_key_array(gguf_builder *builder, const char *key, uint32_t item_type, uint64_t count, const void *items,
                    size_t size) {
  gguf_bytes raw = {0};
  append_u32(&raw, item_type);
  append_u64(&raw, count);
  append(&raw, items, size);
  gguf_key(builder, key, TQ_VALUE_ARRAY, raw.data, raw.size);
  free(raw.data);
}

void gguf_key_strings(gguf_builder *builder, const char *key, const char *const *values, size_t count) {
  gguf_bytes items = {0};
  for (size_t i = 0; i < count; i++) {
    append_u64(&items, strlen(values[i]));
    append(&items, values[i], strlen(values[i]));
  }
  gguf_key_array(builder, key, TQ_VALUE_STRING, count, items.data, items.size);
  free(items.data);
}

void gguf_info(gguf_builder *builder, const char *name, size_t name_size, uint32_t type, uint32_t dimensions,
               const uint64_t *shape, uint64_t offset) {
  append_u64(&builder->infos, name_size);
  append(&builder->infos, name, name_size);
  append_u32(&builder->infos, dimensions);
  for (uint32_t i = 0; i < dimensions; i++) append_u64(&builder->infos, shape[i]);
  append_u32(&builder->infos, type);
  append_u64(&builder->infos, offset);
  builder->tensor_count++;
}

void gguf_tensor(gguf_builder *builder, const char *name, uint32_t type, uint32_t dimensions, const uint64_t *shape,
                 const void *data, size_t size) {
  pad(&builder->data, builder->alignment ? builder->alignment : 32, 0, builder->padding);
  gguf_info(builder, name, strlen(name), type, dimensions, shape, builder->data.size);
  append(&builder->data, data, size);
}

void gguf_llama_keys(gguf_builder *builder) {
  gguf_key_string(builder, "general.architecture", "llama");
  gguf_key_u32(builder, "llama.context_length", 64);
  gguf_key_u32(builder, "llama.embedding_length", 64);
  gguf_key_u32(builder, "llama.block_count", 1);
  gguf_key_u32(builder, "llama.feed_forward_length", 96);
  gguf_key_u32(builder, "llama.attention.head_count", 4);
  gguf_key_u32(builder, "llama.attention.head_count_kv", 2);
  gguf_key_u32(builder, "llama.rope.dimension_count", 16);
  gguf_key_f32(builder, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

void gguf_tokenizer_keys(gguf_builder *builder) {
  static const char *const tokens[12] = {"<unk>", "<s>", "</s>",    "\u2581", "a", "b",
                                         "c",     "ab",  "\u2581a", "abc",    "d", "e"};
  uint8_t scores[12 * 4], types[12 * 4];
  for (uint32_t i = 0; i < 12; i++) {
    tq_store_f32(scores + 4 * i, i < 3 ? 0.0f : -(float)i);
    tq_store_u32(types + 4 * i, i == 0 ? TQ_TOKEN_UNKNOWN : i < 3 ? TQ_TOKEN_CONTROL : TQ_TOKEN_NORMAL);
  }
  gguf_key_string(builder, "tokenizer.ggml.model", "llama");
  gguf_key_strings(builder, "tokenizer.ggml.tokens", tokens, 12);
  gguf_key_array(builder, "tokenizer.ggml.scores", TQ_VALUE_F32, 12, scores, sizeof scores);
  gguf_key_array(builder, "tokenizer.ggml.token_type", TQ_VALUE_I32, 12, types, sizeof types);
  gguf_key_u32(builder, "tokenizer.ggml.bos_token_id", 1);
  gguf_key_u32(builder, "tokenizer.ggml.eos_token_id", 2);
  gguf_key_u32(builder, "tokenizer.ggml.unknown_token_id", 0);
}

/* Random weights of one of the four types; every eighth is a -0, which must survive. */
static void append_weights(gguf_bytes *bytes, uint32_t type, size_t count, uint64_t *seed) {
  for (size_t i = 0; i < count; i++) {
    float value = i % 8 == 7 ? -0.0f : random_float(seed);
    uint8_t raw[4];
    if (type == 8) {
      if (i % 32 == 0) {
        tq_store_u16(raw, tq_f32_to_f16(0.01f + 0.01f * (float)(random_u64(seed) % 100)));
        append(bytes, raw, 2);
      }
      raw[0] = (uint8_t)random_u64(seed);
      append(bytes, raw, 1);
    } else if (type == 0) {
      tq_store_f32(raw, value);
      append(bytes, raw, 4);
    } else {
      tq_store_u16(raw, type == 1 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value));
      append(bytes, raw, 2);
    }
  }
}

void gguf_llama_tensors(gguf_builder *builder, uint32_t matrices, uint32_t vectors) {
  static const struct {
    const char *name;
    uint64_t columns, rows; /* rows 0: a vector */
  } tensors[] = {
      {"token_embd.weight", 64, 12},     {"output_norm.weight", 64, 0},     {"blk.0.attn_q.weight", 64, 64},
      {"blk.0.attn_k.weight", 64, 32},   {"blk.0.attn_v.weight", 64, 32},   {"blk.0.attn_output.weight", 64, 64},
      {"blk.0.attn_norm.weight", 64, 0}, {"blk.0.ffn_gate.weight", 64, 96}, {"blk.0.ffn_down.weight", 96, 64},
      {"blk.0.ffn_up.weight", 64, 96},   {"blk.0.ffn_norm.weight", 64, 0}};
  uint64_t seed = 7;
  for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
    bool is_vector = tensors[i].rows == 0;
    uint64_t shape[2] = {tensors[i].columns, tensors[i].rows};
    gguf_bytes weights = {0};
    uint32_t type = is_vector ? vectors : matrices;
    append_weights(&weights, type, (size_t)(tensors[i].columns * (is_vector ? 1 : tensors[i].rows)), &seed);
    gguf_tensor(builder, tensors[i].name, type, is_vector ? 1 : 2, shape, weights.data, weights.size);
    free(weights.data);
  }
}

void gguf_ternary_keys(gguf_builder *builder) {
  gguf_key_string(builder, "general.architecture", "llama");
  gguf_key_u32(builder, "llama.context_length", 64);
  gguf_key_u32(builder, "llama.embedding_length", 256);
  gguf_key_u32(builder, "llama.block_count", 1);
  gguf_key_u32(builder, "llama.feed_forward_length", 256);
  gguf_key_u32(builder, "llama.attention.head_count", 4);
  gguf_key_u32(builder, "llama.attention.head_count_kv", 2);
  gguf_key_u32(builder, "llama.rope.dimension_count", 64);
  gguf_key_f32(builder, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

int8_t *gguf_trits(uint64_t count, uint64_t seed, bool four_valued) {
  int8_t *trits = malloc((size_t)count);
  ck_assert_ptr_nonnull(trits);
  for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)(random_u64(&seed) % (four_valued ? 4 : 3)) - 1;
  return trits;
}

static void store_scale(uint32_t encoding, float value, uint8_t *bytes) {
  if (encoding == TQ_F16)
    tq_store_u16(bytes, tq_f32_to_f16(value));
  else
    tq_store_f32(bytes, value);
}

uint8_t *gguf_pack(const tq_dialect *dialect, uint64_t rows, uint64_t columns, const int8_t *trits, const float *scales,
                   size_t scale_count, size_t *size) {
  uint64_t bytes, unit_rows = tq_dialect_unit_rows(dialect, columns),
                  row_scales = tq_dialect_row_scales(dialect, columns);
  ck_assert(tq_dialect_size(dialect, rows, columns, &bytes) && !dialect->is_strided);
  *size = (size_t)bytes;
  uint8_t *packed = calloc(*size, 1), *inside = malloc((size_t)(unit_rows * row_scales * 4) + 1);
  ck_assert(packed && inside);
  size_t width = dialect->scale_encoding == TQ_F16 ? 2 : 4;
  uint64_t unit_bytes = dialect->unit_bytes(unit_rows, columns), scale = 0;
  for (uint64_t unit = 0; unit < rows / unit_rows; unit++) {
    for (uint64_t i = 0; i < unit_rows * row_scales; i++) {
      store_scale(dialect->scale_encoding, scales[scale++ % scale_count], inside + i * width);
    }
    dialect->encode(trits + unit * unit_rows * columns, inside, unit_rows, columns, packed + unit * unit_bytes);
  }
  if (dialect->scale_place == TQ_SCALE_IN_TAIL) store_scale(TQ_F32, scales[0], packed + *size - dialect->tail_bytes);
  free(inside);
  return packed;
}

void gguf_ternary(gguf_builder *builder, const char *name, uint32_t type, const tq_dialect *dialect, uint64_t rows,
                  uint64_t columns, uint64_t seed, const float *scales, size_t scale_count) {
  uint64_t shape[2] = {columns, rows};
  size_t size;
  int8_t *trits = gguf_trits(rows * columns, seed, false);
  uint8_t *packed = gguf_pack(dialect, rows, columns, trits, scales, scale_count, &size);
  gguf_tensor(builder, name, type, 2, shape, packed, size);
  free(packed);
  free(trits);
}

void gguf_ternary_tensors(gguf_builder *builder, const tq_dialect *dialect, const float *scales, size_t scale_count) {
  static const struct {
    const char *name;
    uint64_t rows;
  } matrices[] = {{"attn_q", 256},   {"attn_k", 128}, {"attn_v", 128},  {"attn_output", 256},
                  {"ffn_gate", 256}, {"ffn_up", 256}, {"ffn_down", 256}};
  static const char *const norms[] = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"};
  static const uint64_t embedding[2] = {256, 12};
  uint64_t seed = 11;
  gguf_bytes weights = {0};
  append_weights(&weights, 0, 256 * 12, &seed);
  gguf_tensor(builder, "token_embd.weight", 0, 2, embedding, weights.data, weights.size);
  for (size_t i = 0; i < 3; i++) gguf_tensor(builder, norms[i], 0, 1, embedding, weights.data + 1024 * i, 1024);
  free(weights.data);
  for (size_t i = 0; i < sizeof matrices / sizeof matrices[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i].name);
    gguf_ternary(builder, name, dialect->gguf_type, dialect, matrices[i].rows, 256, i + 1, scales, scale_count);
  }
}

uint8_t *gguf_end(gguf_builder *builder, size_t *size) {
  gguf_bytes file = {0};
  append(&file, "GGUF", 4);
  append_u32(&file, builder->version ? builder->version : 3);
  append_u64(&file, builder->tensor_count);
  append_u64(&file, builder->key_count);
  append(&file, builder->keys.data, builder->keys.size);
  append(&file, builder->infos.data, builder->infos.size);
  if (builder->tensor_count) pad(&file, builder->alignment ? builder->alignment : 32, 0, builder->padding);
  append(&file, builder->data.data, builder->data.size);
  free(builder->keys.data);
  free(builder->infos.data);
  free(builder->data.data);
  *builder = (gguf_builder){0};
  *size = file.size;
  return file.data;
}

void gguf_end_file(gguf_builder *builder, const char *path) {
  size_t size;
  uint8_t *bytes = gguf_end(builder, &size);
  write_file(path, bytes, size);
  free(bytes);
}

tq_status open_with(reader_open open, const char *path, const tq_open_options *options, tq_checkpoint **checkpoint,
                    tq_error *error) {
  static const tq_open_options no_options;
  const char *slash = strrchr(path, '/');
  ck_assert_ptr_nonnull(slash);
  char *parent = tq_copy_string(path, (size_t)(slash - path), error);
  tq_checkpoint *opened = parent ? tq_allocate(1, sizeof *opened, error) : NULL;
  tq_status status = opened ? TQ_OK : TQ_ERROR_SYSTEM;
  if (!status) opened->format = "test";
  if (!status) opened->path = tq_copy_string(path, strlen(path), error);
  if (!status && !opened->path) status = TQ_ERROR_SYSTEM;
  if (!status) status = tq_folder_open(parent, &opened->folder, error);
  if (!status) status = open(opened, slash + 1, options ? options : &no_options, error);
  tq_free(parent);
  if (status) {
    tq_checkpoint_close(opened);
    opened = NULL;
  }
  *checkpoint = opened;
  return status;
}

const tq_source_tensor *tensor_of_role(const tq_checkpoint *checkpoint, const char *role) {
  size_t index = tq_checkpoint_find_role(checkpoint, role);
  ck_assert_msg(index != SIZE_MAX, "%s: no tensor with the role %s", checkpoint->path, role);
  return &checkpoint->tensors[index];
}

uint8_t *tensor_bytes(tq_checkpoint *checkpoint, const char *role) {
  const tq_source_tensor *tensor = tensor_of_role(checkpoint, role);
  uint8_t *bytes = malloc((size_t)tensor->size);
  ck_assert_ptr_nonnull(bytes);
  ck_ok(tq_source_tensor_read(checkpoint, (size_t)(tensor - checkpoint->tensors), 0, tensor->size, bytes, error));
  return bytes;
}
