#include "hf_ternary.h"

#include "formats/format.h"
#include "formats/import.h"
#include "formats/json.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *inside(const char *folder, const char *name) {
  char both[256];
  snprintf(both, sizeof both, "%s/%s", folder, name);
  return temporary_path(both);
}

/* ---- any safetensors file ---- */

void hf_put_blobs(const char *folder, const char *name, const hf_blob *blobs, size_t count) {
  tq_safetensors_entry entries[HF_TERNARY_MOST + 8] = {{0}};
  tq_buffer file = {0};
  ck_assert_uint_le(count, HF_TERNARY_MOST + 8);
  for (size_t i = 0; i < count; i++) {
    entries[i] = (tq_safetensors_entry){blobs[i].name,  tq_safetensors_type_by_name(blobs[i].type),
                                        blobs[i].shape, blobs[i].dimensions,
                                        blobs[i].size,  i};
  }
  tq_safetensors_sort(entries, count);
  ck_ok(tq_safetensors_header(&file, entries, count, error));
  for (size_t i = 0; i < count; i++) {
    const hf_blob *blob = &blobs[entries[i].source];
    ck_ok(tq_buffer_append(&file, blob->data, blob->size, error));
  }
  write_file(inside(folder, name), file.data, file.size);
  tq_buffer_free(&file);
}

void hf_free_blobs(hf_blob *blobs, size_t count) {
  for (size_t i = 0; i < count; i++) free(blobs[i].data);
}

uint8_t *hf_floats(const char *type, const float *values, size_t count, size_t *size) {
  bool is_wide = strcmp(type, "F32") == 0, is_half = strcmp(type, "F16") == 0;
  *size = count * (is_wide ? 4 : 2);
  uint8_t *bytes = malloc(*size);
  ck_assert_ptr_nonnull(bytes);
  if (is_wide) memcpy(bytes, values, *size);
  for (size_t i = 0; !is_wide && i < count; i++) {
    uint16_t number = is_half ? tq_f32_to_f16(values[i]) : tq_f32_to_bf16(values[i]);
    memcpy(bytes + 2 * i, &number, 2);
  }
  return bytes;
}

/* ---- a model with ternary layers ---- */

const char *const hf_layers[HF_LAYER_COUNT] = {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                                               "model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.o_proj",
                                               "model.layers.0.mlp.gate_proj",    "model.layers.0.mlp.up_proj",
                                               "model.layers.0.mlp.down_proj"};
static const uint64_t layer_shapes[HF_LAYER_COUNT][2] = {{256, 256}, {128, 256}, {128, 256}, {256, 256},
                                                         {512, 256}, {512, 256}, {256, 512}};

/* A blob of what `values` say, rounded. */
static void put_floats(hf_blob *blob, const char *name, const char *type, uint32_t dimensions, uint64_t rows,
                       uint64_t columns, const float *values) {
  *blob = (hf_blob){.type = type, .dimensions = dimensions, .shape = {rows, columns}};
  snprintf(blob->name, sizeof blob->name, "%s", name);
  blob->data = hf_floats(type, values, (size_t)(rows * columns), &blob->size);
}

static void put_random(hf_blob *blob, const char *name, uint32_t dimensions, uint64_t rows, uint64_t columns,
                       float offset) {
  uint64_t state = strlen(name) * 1000 + (uint64_t)name[strlen(name) / 2];
  float *values = malloc((size_t)(rows * columns) * sizeof *values);
  ck_assert_ptr_nonnull(values);
  for (uint64_t i = 0; i < rows * columns; i++) values[i] = offset + random_float(&state) / 2;
  put_floats(blob, name, "BF16", dimensions, rows, columns, values);
  free(values);
}

/* Trits of layer `index`, the same whatever form they are put in. */
static int8_t *make_trits(size_t index, uint64_t count) {
  uint64_t state = 77 + index;
  int8_t *trits = malloc((size_t)count);
  ck_assert_ptr_nonnull(trits);
  for (uint64_t i = 0; i < count; i++) trits[i] = (int8_t)((int)(random_u64(&state) >> 33 & 0xffff) % 3 - 1);
  return trits;
}

static float layer_scale(const hf_ternary *model, size_t index, uint64_t row) {
  float scale = tq_bf16_to_f32(tq_f32_to_bf16(model->scale * (1.0f + (float)index / 64)));
  return model->by_rows ? scale * (1.0f + (float)(row % 4)) : scale;
}

static void put_packed(hf_blob *blob, const char *name, const int8_t *trits, uint64_t rows, uint64_t columns) {
  uint64_t quarter = rows / 4;
  *blob = (hf_blob){.type = "U8", .dimensions = 2, .shape = {quarter, columns}, .size = (size_t)(quarter * columns)};
  snprintf(blob->name, sizeof blob->name, "%s.weight", name);
  blob->data = calloc(1, blob->size);
  ck_assert_ptr_nonnull(blob->data);
  for (uint64_t r = 0; r < rows; r++) {
    for (uint64_t c = 0; c < columns; c++) {
      unsigned code = (unsigned)(trits[r * columns + c] + 1) << (2 * (r / quarter));
      blob->data[r % quarter * columns + c] |= (uint8_t)code;
    }
  }
}

static void put_unpacked(const hf_ternary *model, hf_blob *blob, const char *name, size_t index, const int8_t *trits,
                         uint64_t rows, uint64_t columns) {
  float *values = malloc((size_t)(rows * columns) * sizeof *values);
  uint64_t state = index;
  char text[96];
  ck_assert_ptr_nonnull(values);
  for (uint64_t i = 0; i < rows * columns; i++) {
    float scale = layer_scale(model, index, i / columns);
    values[i] = model->divides ? (float)trits[i] * (1.0f / scale) : (float)trits[i] * scale;
    if (model->latent) values[i] = random_float(&state);
  }
  snprintf(text, sizeof text, "%s.weight", name);
  put_floats(blob, text, model->float_type, 2, rows, columns, values);
  free(values);
}

/* One or two blobs of a linear layer. */
static size_t put_layer(const hf_ternary *model, hf_blob *blobs, size_t index) {
  const char *name = hf_layers[index];
  uint64_t rows = layer_shapes[index][0], columns = layer_shapes[index][1];
  int8_t *trits = make_trits(index, rows * columns);
  bool packed = model->scale_type && !(model->not_packed && strstr(name, model->not_packed));
  if (packed) {
    float scale = layer_scale(model, index, 0);
    if (model->stores_inverse) scale = 1.0f / scale;
    put_packed(&blobs[0], name, trits, rows, columns);
    put_floats(&blobs[1], "", model->scale_type, 1, 1, 1, &scale);
    snprintf(blobs[1].name, sizeof blobs[1].name, "%s.weight_scale", name);
  } else {
    put_unpacked(model, &blobs[0], name, index, trits, rows, columns);
  }
  free(trits);
  return packed ? 2 : 1;
}

static size_t put_extras(const hf_ternary *model, hf_blob *blobs) {
  static const char *const parents[2] = {"self_attn", "mlp"};
  char name[96];
  size_t count = 0;
  for (size_t i = 0; i < 2; i++) {
    if (!model->norm_names[i]) continue;
    snprintf(name, sizeof name, "model.layers.0.%s.%s.weight", parents[i], model->norm_names[i]);
    put_random(&blobs[count++], name, 1, i ? 512 : 256, 1, 1);
  }
  if (model->qk_norms) {
    put_random(&blobs[count++], "model.layers.0.self_attn.q_norm.weight", 1, 64, 1, 1);
    put_random(&blobs[count++], "model.layers.0.self_attn.k_norm.weight", 1, 64, 1, 1);
  }
  for (size_t i = 0; model->qkv_biases && i < 3; i++) {
    snprintf(name, sizeof name, "%s.bias", hf_layers[i]);
    put_random(&blobs[count++], name, 1, layer_shapes[i][0], 1, 0);
  }
  return count;
}

/* Embedding or head. */
static void put_end(const hf_ternary *model, hf_blob *blob, const char *name) {
  if (!model->ternary_ends) {
    put_random(blob, name, 2, 16, 256, 0);
    return;
  }
  int8_t *trits = make_trits(strlen(name), UINT64_C(16) * 256);
  float values[16 * 256];
  for (size_t i = 0; i < 16 * 256; i++) values[i] = 0.75f * (float)trits[i];
  put_floats(blob, name, "F32", 2, 16, 256, values);
  free(trits);
}

size_t hf_make_ternary(const hf_ternary *model, hf_blob blobs[HF_TERNARY_MOST]) {
  size_t count = 0;
  put_end(model, &blobs[count++], "model.embed_tokens.weight");
  put_random(&blobs[count++], "model.layers.0.input_layernorm.weight", 1, 256, 1, 1);
  put_random(&blobs[count++], "model.layers.0.post_attention_layernorm.weight", 1, 256, 1, 1);
  put_random(&blobs[count++], "model.norm.weight", 1, 256, 1, 1);
  if (!model->tied) put_end(model, &blobs[count++], "lm_head.weight");
  for (size_t i = 0; i < HF_LAYER_COUNT; i++) count += put_layer(model, blobs + count, i);
  count += put_extras(model, blobs + count);
  return count;
}

static void put_ternary_config(const char *folder, const hf_ternary *model) {
  char config[2048];
  snprintf(config, sizeof config,
           "{\"vocab_size\":16,\"hidden_size\":256,\"num_hidden_layers\":1,\"intermediate_size\":512,"
           "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"tie_word_embeddings\":%s%s}",
           model->tied ? "true" : "false", model->keys);
  hf_folder(folder);
  hf_put(folder, "config.json", config);
}

void hf_put_ternary(const char *folder, const hf_ternary *model) {
  hf_blob blobs[HF_TERNARY_MOST];
  size_t count = hf_make_ternary(model, blobs);
  put_ternary_config(folder, model);
  hf_put_blobs(folder, "model.safetensors", blobs, count);
  hf_free_blobs(blobs, count);
}

void hf_put_ternary_shards(const char *folder, const hf_ternary *model) {
  hf_blob blobs[HF_TERNARY_MOST], shards[2][HF_TERNARY_MOST];
  size_t count = hf_make_ternary(model, blobs), counts[2] = {0, 0};
  static const char *const names[2] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
  tq_buffer index = {0};
  put_ternary_config(folder, model);
  ck_ok(tq_buffer_format(&index, error, "{\"metadata\":{},\"weight_map\":{"));
  for (size_t i = 0; i < count; i++) {
    size_t shard = strstr(blobs[i].name, "_scale") || i % 2;
    shards[shard][counts[shard]++] = blobs[i];
    ck_ok(tq_buffer_format(&index, error, "%s\"%s\":\"%s\"", i ? "," : "", blobs[i].name, names[shard]));
  }
  ck_ok(tq_buffer_append(&index, "}}", 3, error));
  hf_put(folder, "model.safetensors.index.json", (const char *)index.data);
  for (size_t i = 0; i < 2; i++) hf_put_blobs(folder, names[i], shards[i], counts[i]);
  tq_buffer_free(&index);
  hf_free_blobs(blobs, count);
}

const hf_ternary hf_inverted = {.keys = HF_PACKED(",\"modules_to_not_convert\":[\"lm_head\"]"),
                                .scale_type = "BF16",
                                .scale = 45.75f,
                                .divides = true};
const hf_ternary hf_direct = {
    .keys = HF_PACKED(HF_AUTOMATIC), .scale_type = "F32", .scale = 45.75f, .divides = true, .stores_inverse = true};
const hf_ternary hf_unpacked = {.keys = HF_LLAMA, .float_type = "F32", .scale = 45.75f, .divides = true};
const hf_ternary hf_latent = {.keys =
                                  HF_BITNET ",\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":"
                                            "\"autobitlinear\",\"quantization_mode\":\"online\"}",
                              .float_type = "BF16",
                              .norm_names = HF_SUB_NORMS,
                              .latent = true};

/* ---- taking models through files ---- */

bool hf_has_text(const tq_buffer *lines, const char *text) {
  char *copy = calloc(1, lines->size + 1);
  ck_assert_ptr_nonnull(copy);
  if (lines->size) memcpy(copy, lines->data, lines->size);
  bool found = strstr(copy, text) != NULL;
  if (!found) printf("not there: \"%s\" in:\n%s", text, copy);
  free(copy);
  return found;
}

const tq_source_tensor *hf_tensor_named(const tq_checkpoint *checkpoint, const char *name) {
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    if (strcmp(checkpoint->tensors[i].name, name) == 0) return &checkpoint->tensors[i];
  }
  return NULL;
}

tq_file *hf_import_opened(tq_checkpoint *checkpoint, const char *name) {
  tq_file *file;
  ck_ok(tq_import(checkpoint, temporary_path(name), 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  ck_ok(tq_file_open(temporary_path(name), TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  return file;
}

tq_file *hf_import_folder(const char *folder, const char *name) {
  return hf_import_opened(hf_checkpoint(folder), name);
}

void hf_same_weights(const tq_file *a, const tq_file *b) {
  tq_file_info x, y;
  tq_file_describe(a, &x);
  tq_file_describe(b, &y);
  ck_assert_mem_eq(x.weights_digest, y.weights_digest, 16);
  ck_assert_mem_eq(x.function_digest, y.function_digest, 16);
}

tq_file *hf_there_and_back(const tq_file *file, const char *format, const char *type, const char *name,
                           tq_buffer *notes) {
  tq_write_options options = {.type = type ? tq_dialect_find(type) : NULL};
  tq_buffer unread = {0};
  char tq_name[64];
  ck_ok(tq_format_find(format)->write(file, temporary_path(name), &options, notes ? notes : &unread, error));
  tq_buffer_free(&unread);
  snprintf(tq_name, sizeof tq_name, "%s.tq", name);
  return hf_import(temporary_path(name), tq_name);
}

json_t *hf_config_of(const char *path) {
  size_t size;
  json_t *json;
  char *text = (char *)read_file(temporary_path(path), &size);
  ck_ok(tq_json_parse(path, text, size, &json, error));
  free(text);
  return json;
}
