#include "tests/random_model.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights ---- */

/* A part as it is written: the bytes of values, and of scales where there are any. */
typedef struct encoded {
  uint8_t *values, *scales;
  size_t values_size, scales_size;
  uint64_t counts[4];
} encoded;

static bool is_trits(uint32_t encoding) {
  return encoding == TQ_TERNARY_2BIT || encoding == TQ_TERNARY_BASE3 || encoding == TQ_QUATERNARY_2BIT;
}

static size_t float_bytes(uint32_t encoding) { return encoding == TQ_F32 ? 4 : 2; }

/* Stores a float in a narrower type and gives back what it has become. */
static float store_float(uint32_t encoding, float value, uint8_t *to) {
  if (encoding == TQ_F32) return tq_store_f32(to, value), value;
  uint16_t bits = encoding == TQ_F16 ? tq_f32_to_f16(value) : tq_f32_to_bf16(value);
  tq_store_u16(to, bits);
  return encoding == TQ_F16 ? tq_f16_to_f32(bits) : tq_bf16_to_f32(bits);
}

static void encode_floats(uint32_t encoding, random_tensor *tensor, float size, uint64_t *seed, encoded *to) {
  size_t count = (size_t)(tensor->rows * tensor->columns), width = float_bytes(encoding);
  to->values_size = count * width;
  to->values = malloc(to->values_size);
  for (size_t i = 0; i < count; i++)
    tensor->values[i] = store_float(encoding, size * random_float(seed), to->values + i * width);
}

/* Q8_0: an F16 scale and 32 signed bytes. */
static void encode_blocks(random_tensor *tensor, float size, uint64_t *seed, encoded *to) {
  size_t blocks = (size_t)(tensor->rows * tensor->columns / 32);
  to->values_size = blocks * 34;
  to->values = malloc(to->values_size);
  for (size_t b = 0; b < blocks; b++) {
    uint8_t *block = to->values + b * 34;
    float scale = store_float(TQ_F16, size / 127 * (1.5f + random_float(seed) / 2), block);
    for (size_t i = 0; i < 32; i++) {
      int8_t code = (int8_t)(random_u64(seed) % 255 - 127);
      block[2 + i] = (uint8_t)code;
      tensor->values[b * 32 + i] = scale * (float)code;
    }
  }
}

/* Codes (trits, or whole bytes for I8) times scales. */
static void encode_scaled(const random_encoding *how, random_tensor *tensor, float size, uint64_t *seed, encoded *to) {
  uint64_t rows = tensor->rows, columns = tensor->columns;
  size_t count = (size_t)tq_scale_count(how->granularity, how->group, rows, columns);
  size_t width = float_bytes(how->scale_encoding);
  bool trits = is_trits(how->encoding);
  size_t row_bytes = trits ? (size_t)tq_trit_row_bytes(how->encoding, columns) : (size_t)columns;
  float *scales = malloc(count * sizeof *scales);
  int8_t *codes = malloc((size_t)columns);
  uint8_t *row = malloc(row_bytes);
  to->scales_size = count * width;
  to->scales = malloc(to->scales_size);
  to->values_size = (size_t)rows * row_bytes;
  to->values = malloc(to->values_size);
  for (size_t i = 0; i < count; i++) {
    float wanted = size * (1.5f + random_float(seed)) / (trits ? 1.0f : 127.0f);
    float stored =
        store_float(how->scale_encoding, how->direction == TQ_INVERTED ? 1 / wanted : wanted, to->scales + i * width);
    scales[i] = how->direction == TQ_INVERTED ? 1.0f / stored : stored;
  }
  for (uint64_t r = 0; r < rows; r++) {
    for (uint64_t c = 0; c < columns; c++) {
      uint64_t index = tq_scale_index(how->granularity, how->group, rows, columns, r, c);
      uint64_t digits = how->encoding == TQ_QUATERNARY_2BIT ? 4 : 3;
      codes[c] = (int8_t)(trits ? random_u64(seed) % digits - 1 : random_u64(seed) % 255 - 127);
      tensor->values[r * columns + c] = (float)codes[c] * scales[index];
    }
    if (trits) {
      tq_trits_pack(how->encoding, codes, columns, row);
      tq_panel_store_row(to->values, rows, r, row_bytes, row);
      tq_trits_count(codes, columns, to->counts);
    } else {
      memcpy(to->values + r * row_bytes, codes, (size_t)columns);
    }
  }
  free(row);
  free(scales);
  free(codes);
}

/* ---- writing ---- */

typedef struct author {
  random_model *model;
  tq_writer *writer;
  uint64_t seed;
} author;

static void write_part(author *of, const tq_part *part, const uint8_t *data, size_t size) {
  ck_ok(tq_writer_part_begin(of->writer, part, error));
  ck_ok(tq_writer_part_write(of->writer, data, size, error));
  ck_ok(tq_writer_part_end(of->writer, error));
}

static void write_low_rank(author *of, const random_tensor *tensor) {
  uint8_t zeros[4096] = {0};
  write_part(of, &(tq_part){.kind = TQ_PART_LOW_RANK_A, .encoding = TQ_F32, .type_name = ""}, zeros,
             4 * (size_t)tensor->columns);
  write_part(of, &(tq_part){.kind = TQ_PART_LOW_RANK_B, .encoding = TQ_F32, .type_name = ""}, zeros,
             4 * (size_t)tensor->rows);
}

static void write_tensor(author *of, const random_tensor *tensor, bool vector, const random_encoding *how,
                         const encoded *from) {
  tq_tensor description = {.role = tensor->role, .name = tensor->role, .source_type = "", .dimensions = vector ? 1 : 2};
  if (!vector) description.shape[0] = tensor->rows;
  description.shape[vector ? 0 : 1] = tensor->columns;
  tq_content_hash *hash;
  tq_digest digest;
  ck_ok(tq_content_hash_create(description.shape, description.dimensions, &hash, error));
  tq_content_hash_update(hash, tensor->values, tensor->rows * tensor->columns);
  tq_content_hash_final(hash, digest.bytes);
  tq_content_hash_destroy(hash);
  tq_part values = {.kind = TQ_PART_VALUES, .encoding = how->encoding, .type_name = ""};
  if (how->encoding == TQ_BLOCKS) values.type_name = "Q8_0", values.block_elements = 32, values.block_bytes = 34;
  ck_ok(tq_writer_tensor_begin(of->writer, &description, error));
  write_part(of, &values, from->values, from->values_size);
  if (from->scales)
    write_part(of,
               &(tq_part){.kind = TQ_PART_SCALES,
                          .encoding = how->scale_encoding,
                          .granularity = how->granularity,
                          .group = how->group,
                          .direction = how->direction,
                          .type_name = ""},
               from->scales, from->scales_size);
  if (of->model->spec.low_rank && strcmp(of->model->spec.low_rank, tensor->role) == 0) write_low_rank(of, tensor);
  ck_ok(tq_writer_tensor_end(of->writer, from->counts, digest.bytes, error));
}

static bool is(const char *wanted, const char *role) { return wanted && strcmp(wanted, role) == 0; }

static void fold(const author *of, const random_tensor *tensor, encoded *to) {
  size_t count = (size_t)(tensor->rows * tensor->columns);
  float *folded = malloc(count * sizeof *folded);
  memcpy(folded, tensor->values, count * sizeof *folded);
  of->model->spec.fold(tensor->role, tensor->rows, tensor->columns, folded);
  for (size_t i = 0; i < count; i++) tq_store_f32(to->values + 4 * i, folded[i]);
  free(folded);
}

/* Weights of about `size`, around `center` for vectors. */
static void add(author *of, const char *role, uint64_t rows, uint64_t columns, const random_encoding *how, float size,
                float center) {
  random_model *model = of->model;
  if (is(model->spec.leave_out, role)) return;
  if (is(model->spec.misshape, role)) columns++;
  model->tensors = realloc(model->tensors, (model->tensor_count + 1) * sizeof *model->tensors);
  random_tensor *tensor = &model->tensors[model->tensor_count++];
  snprintf(tensor->role, sizeof tensor->role, "%s", role);
  tensor->rows = rows ? rows : 1;
  tensor->columns = columns;
  tensor->values = malloc((size_t)(tensor->rows * columns) * sizeof *tensor->values);
  encoded to = {0};
  if (how->encoding == TQ_BLOCKS)
    encode_blocks(tensor, size, &of->seed, &to);
  else if (is_trits(how->encoding) || how->encoding == TQ_I8)
    encode_scaled(how, tensor, size, &of->seed, &to);
  else
    encode_floats(how->encoding, tensor, size, &of->seed, &to);
  for (uint64_t i = 0; center != 0.0f && i < columns; i++) {
    tensor->values[i] += center;
    tq_store_f32(to.values + 4 * i, tensor->values[i]);
  }
  if (rows && model->spec.fold) fold(of, tensor, &to);
  write_tensor(of, tensor, rows == 0, how, &to);
  free(to.values);
  free(to.scales);
}

static const random_encoding plain = {.name = "F32", .encoding = TQ_F32};

static void add_linear(author *of, uint32_t layer, const char *name, uint64_t rows, uint64_t columns) {
  const random_spec *spec = &of->model->spec;
  char role[64];
  snprintf(role, sizeof role, "layers.%u.%s", layer, name);
  add(of, role, rows, columns, &spec->encoding, 1.5f / sqrtf((float)columns), 0);
  snprintf(role, sizeof role, "layers.%u.%s_bias", layer, name);
  if (spec->biases) add(of, role, 0, rows, &plain, 0.3f, 0);
  snprintf(role, sizeof role, "layers.%u.%s_scale", layer, name);
  if (spec->output_scales) add(of, role, 0, 1, &plain, 0.4f, 1);
}

static void add_norm(author *of, uint32_t layer, const char *name, uint64_t size) {
  static const random_encoding half = {.name = "F16", .encoding = TQ_F16};
  char role[64];
  snprintf(role, sizeof role, "layers.%u.%s", layer, name);
  if (layer % 2)
    add(of, role, 0, size, &half, 1.0f, 0);
  else
    add(of, role, 0, size, &plain, 0.5f, 1);
}

static bool has_sub_norms(const random_spec *spec) { return strncmp(spec->architecture, "bitnet", 6) == 0; }

static bool has_qk_norms(const random_spec *spec) { return strcmp(spec->architecture, "qwen3") == 0; }

/* The gate of BitNet b1.58 2B4T, under both names that it has. */
static bool squares_gate(const random_spec *spec) {
  return strcmp(spec->architecture, "bitnet-b1.58") == 0 || strcmp(spec->architecture, "bitnet-25") == 0;
}

static void add_layer(author *of, uint32_t layer) {
  const random_spec *spec = &of->model->spec;
  uint64_t query = (uint64_t)spec->heads * spec->head_dimension, key = (uint64_t)spec->kv_heads * spec->head_dimension;
  bool sub_norms = has_sub_norms(spec);
  add_norm(of, layer, "attention_norm", spec->dimension);
  if (has_qk_norms(spec)) {
    add_norm(of, layer, "q_norm", spec->head_dimension);
    add_norm(of, layer, "k_norm", spec->head_dimension);
  }
  add_linear(of, layer, "q", query, spec->dimension);
  add_linear(of, layer, "k", key, spec->dimension);
  add_linear(of, layer, "v", key, spec->dimension);
  if (sub_norms) add_norm(of, layer, "attention_sub_norm", query);
  add_linear(of, layer, "o", spec->dimension, query);
  add_norm(of, layer, "ffn_norm", spec->dimension);
  add_linear(of, layer, "gate", spec->feed_forward, spec->dimension);
  add_linear(of, layer, "up", spec->feed_forward, spec->dimension);
  if (sub_norms) add_norm(of, layer, "ffn_sub_norm", spec->feed_forward);
  add_linear(of, layer, "down", spec->dimension, spec->feed_forward);
}

typedef struct key_writer {
  const random_spec *spec;
  tq_metadata_builder builder;
} key_writer;

/* Writes the key unless the test wants it away or wrong. */
static bool begin_key(key_writer *to, const char *key, char full[96]) {
  snprintf(full, 96, "%s%s", key[0] == '.' ? to->spec->architecture : "", key);
  if (is(to->spec->leave_out_key, full)) return false;
  if (!is(to->spec->replace_key, full)) return true;
  ck_ok(tq_metadata_add_string(&to->builder, full, "no", 2, error));
  return false;
}

static void key_u32(key_writer *to, const char *key, uint32_t value) {
  char full[96];
  if (begin_key(to, key, full)) ck_ok(tq_metadata_add_u32(&to->builder, full, value, error));
}

static void key_f32(key_writer *to, const char *key, float value) {
  char full[96];
  if (begin_key(to, key, full)) ck_ok(tq_metadata_add_f32(&to->builder, full, value, error));
}

static void key_string(key_writer *to, const char *key, const char *value) {
  char full[96];
  if (begin_key(to, key, full)) ck_ok(tq_metadata_add_string(&to->builder, full, value, strlen(value), error));
}

static void add_metadata(author *of) {
  const random_spec *spec = &of->model->spec;
  key_writer to = {.spec = spec};
  if (spec->add_keys) spec->add_keys(&to.builder);
  if (spec->add_u32_key) ck_ok(tq_metadata_add_u32(&to.builder, spec->add_u32_key, spec->add_u32_value, error));
  key_string(&to, "general.architecture", spec->architecture);
  key_u32(&to, ".block_count", spec->layers);
  key_u32(&to, ".embedding_length", spec->dimension);
  key_u32(&to, ".feed_forward_length", spec->feed_forward);
  key_u32(&to, ".attention.head_count", spec->heads);
  key_u32(&to, ".attention.head_count_kv", spec->kv_heads);
  key_u32(&to, ".attention.key_length", spec->head_dimension);
  key_u32(&to, ".context_length", spec->context);
  key_f32(&to, ".attention.layer_norm_rms_epsilon", 1e-5f);
  key_f32(&to, ".rope.freq_base", 5000.0f);
  if (spec->rope_dimensions) key_u32(&to, ".rope.dimension_count", spec->rope_dimensions);
  if (spec->rope_type) {
    key_string(&to, ".rope.scaling.type", spec->rope_type);
    key_f32(&to, ".rope.scaling.factor", spec->rope_factor);
    key_u32(&to, ".rope.scaling.original_context_length", 2000);
  }
  ck_ok(tq_writer_metadata(of->writer, to.builder.data, to.builder.size, to.builder.count, error));
  tq_metadata_builder_free(&to.builder);
}

random_model *random_model_write(const random_spec *spec, const char *path) {
  random_model *model = calloc(1, sizeof *model);
  uint8_t none[16] = {0};
  author of = {.model = model, .seed = spec->seed};
  bool ternary = is_trits(spec->encoding.encoding) && !spec->ternary_ends;
  const random_encoding *ends = ternary ? &plain : &spec->encoding;
  model->spec = *spec;
  ck_ok(tq_writer_create(path, 0, &of.writer, error));
  add_metadata(&of);
  add(&of, "embedding", spec->vocabulary, spec->dimension, ends, 1, 0);
  for (uint32_t layer = 0; layer < spec->layers; layer++) add_layer(&of, layer);
  add(&of, "final_norm", 0, spec->dimension, &plain, 0.5f, 1);
  if (!spec->tied) add(&of, "head", spec->vocabulary, spec->dimension, ends, 2.0f / sqrtf((float)spec->dimension), 0);
  uint32_t pairs = (spec->rope_dimensions ? spec->rope_dimensions : spec->head_dimension) / 2;
  if (spec->rope_tensor) add(&of, "rope_factors", 0, pairs, &plain, 0.5f, 2);
  if (spec->extra) add(&of, spec->extra, 0, 5, &plain, 1, 0);
  ck_ok(tq_writer_finish(of.writer, none, none, error));
  return model;
}

void random_model_free(random_model *model) {
  for (size_t i = 0; i < model->tensor_count; i++) free(model->tensors[i].values);
  free(model->tensors);
  free(model);
}

const float *random_model_weights(const random_model *model, const char *role) {
  for (size_t i = 0; i < model->tensor_count; i++)
    if (strcmp(model->tensors[i].role, role) == 0) return model->tensors[i].values;
  return NULL;
}

/* ---- the naive model ---- */

static const float *layer_weights(const random_model *model, uint32_t layer, const char *name, const char *suffix) {
  char role[64];
  snprintf(role, sizeof role, "layers.%u.%s%s", layer, name, suffix);
  return random_model_weights(model, role);
}

/* x as integers times a step of the largest magnitude / 127, in blocks that share the step. */
static void naive_rounding(const double *x, size_t count, size_t block, double *rounded) {
  for (size_t begin = 0; begin < count; begin += block) {
    size_t end = begin + block < count ? begin + block : count;
    double largest = 1e-5;
    for (size_t i = begin; i < end; i++) largest = fmax(largest, fabs(x[i]));
    for (size_t i = begin; i < end; i++) rounded[i] = nearbyint(x[i] * 127 / largest) * largest / 127;
  }
}

/* What ternary weights meet: x, or *rounded [columns]. */
static const double *naive_activations(const random_spec *spec, const double *x, size_t columns, double *rounded) {
  if (spec->activations < TQ_ACTIVATIONS_INT8_TOKEN) return x;
  naive_rounding(x, columns, spec->activations == TQ_ACTIVATIONS_INT8_TOKEN ? columns : 32, rounded);
  return rounded;
}

/* Keys or values of one position, as the cache keeps them. */
static void naive_cache(const random_spec *spec, double *x) {
  size_t size = spec->head_dimension, count = spec->kv_heads * size;
  if (spec->cache == TQ_CACHE_Q8) naive_rounding(x, count, size, x);
  for (size_t i = 0; spec->cache == TQ_CACHE_F16 && i < count; i++)
    x[i] = (double)tq_f16_to_f32(tq_f32_to_f16((float)x[i]));
}

static void naive_linear(const random_model *model, uint32_t layer, const char *name, const double *x, size_t columns,
                         double *y, size_t rows) {
  double rounded[1024];
  if (is_trits(model->spec.encoding.encoding)) x = naive_activations(&model->spec, x, columns, rounded);
  const float *weights = layer_weights(model, layer, name, "");
  const float *bias = layer_weights(model, layer, name, "_bias"), *scale = layer_weights(model, layer, name, "_scale");
  for (size_t r = 0; r < rows; r++) {
    y[r] = 0;
    for (size_t c = 0; c < columns; c++) y[r] += (double)weights[r * columns + c] * x[c];
    if (scale) y[r] *= (double)*scale;
    if (bias) y[r] += (double)bias[r];
  }
}

static void naive_norm(const double *x, const float *weight, size_t size, double *y) {
  double sum = 0;
  for (size_t i = 0; i < size; i++) sum += x[i] * x[i];
  for (size_t i = 0; i < size; i++) y[i] = x[i] / sqrt(sum / (double)size + (double)1e-5f) * (double)weight[i];
}

static void naive_rope(double *x, size_t pairs, size_t position, const double *frequencies, double magnitude) {
  for (size_t i = 0; i < pairs; i++) {
    double angle = (double)position * frequencies[i], a = x[i], b = x[i + pairs];
    x[i] = (a * cos(angle) - b * sin(angle)) * magnitude;
    x[i + pairs] = (a * sin(angle) + b * cos(angle)) * magnitude;
  }
}

static void naive_attention(const random_spec *spec, size_t position, const double *query, const double *keys,
                            const double *values, double *y) {
  size_t size = spec->head_dimension, stride = spec->kv_heads * size;
  double weights[256];
  for (size_t head = 0; head < spec->heads; head++) {
    size_t shared = head * spec->kv_heads / spec->heads * size;
    double sum = 0;
    for (size_t p = 0; p <= position; p++) {
      double product = 0;
      for (size_t i = 0; i < size; i++) product += query[head * size + i] * keys[p * stride + shared + i];
      sum += weights[p] = exp(product / sqrt((double)size));
    }
    for (size_t i = 0; i < size; i++) {
      y[head * size + i] = 0;
      for (size_t p = 0; p <= position; p++) y[head * size + i] += weights[p] / sum * values[p * stride + shared + i];
    }
  }
}

static void naive_layer(const random_model *model, uint32_t layer, size_t count, const double *frequencies,
                        double magnitude, double *stream) {
  const random_spec *spec = &model->spec;
  size_t dimension = spec->dimension, query = spec->heads * spec->head_dimension, ffn = spec->feed_forward;
  size_t key = spec->kv_heads * spec->head_dimension;
  size_t pairs = (spec->rope_dimensions ? spec->rope_dimensions : spec->head_dimension) / 2;
  bool sub_norms = has_sub_norms(spec), qk_norms = has_qk_norms(spec);
  double *keys = calloc(count * key, sizeof *keys), *values = calloc(count * key, sizeof *values);
  double *normed = calloc(dimension, sizeof *normed), *queries = calloc(query, sizeof *queries);
  double *attended = calloc(query, sizeof *attended), *gate = calloc(ffn, sizeof *gate), *up = calloc(ffn, sizeof *up);
  double *added = calloc(dimension, sizeof *added);
  for (size_t t = 0; t < count; t++) {
    double *x = stream + t * dimension;
    naive_norm(x, layer_weights(model, layer, "attention_norm", ""), dimension, normed);
    naive_linear(model, layer, "q", normed, dimension, queries, query);
    naive_linear(model, layer, "k", normed, dimension, keys + t * key, key);
    naive_linear(model, layer, "v", normed, dimension, values + t * key, key);
    for (size_t h = 0; qk_norms && h < spec->heads; h++)
      naive_norm(queries + h * spec->head_dimension, layer_weights(model, layer, "q_norm", ""), spec->head_dimension,
                 queries + h * spec->head_dimension);
    for (size_t h = 0; qk_norms && h < spec->kv_heads; h++)
      naive_norm(keys + t * key + h * spec->head_dimension, layer_weights(model, layer, "k_norm", ""),
                 spec->head_dimension, keys + t * key + h * spec->head_dimension);
    for (size_t h = 0; h < spec->heads; h++)
      naive_rope(queries + h * spec->head_dimension, pairs, t, frequencies, magnitude);
    for (size_t h = 0; h < spec->kv_heads; h++)
      naive_rope(keys + t * key + h * spec->head_dimension, pairs, t, frequencies, magnitude);
    naive_cache(spec, keys + t * key);
    naive_cache(spec, values + t * key);
    naive_attention(spec, t, queries, keys, values, attended);
    if (sub_norms) naive_norm(attended, layer_weights(model, layer, "attention_sub_norm", ""), query, attended);
    naive_linear(model, layer, "o", attended, query, added, dimension);
    for (size_t i = 0; i < dimension; i++) x[i] += added[i];
    naive_norm(x, layer_weights(model, layer, "ffn_norm", ""), dimension, normed);
    naive_linear(model, layer, "gate", normed, dimension, gate, ffn);
    naive_linear(model, layer, "up", normed, dimension, up, ffn);
    for (size_t i = 0; i < ffn; i++)
      gate[i] = up[i] * (squares_gate(spec) ? pow(fmax(gate[i], 0), 2) : gate[i] / (1 + exp(-gate[i])));
    if (sub_norms) naive_norm(gate, layer_weights(model, layer, "ffn_sub_norm", ""), ffn, gate);
    naive_linear(model, layer, "down", gate, ffn, added, dimension);
    for (size_t i = 0; i < dimension; i++) x[i] += added[i];
  }
  double *all[] = {keys, values, normed, queries, attended, gate, up, added};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

void random_model_logits(const random_model *model, const uint32_t *tokens, size_t count, const double *frequencies,
                         double magnitude, double *logits) {
  const random_spec *spec = &model->spec;
  size_t dimension = spec->dimension, vocabulary = spec->vocabulary;
  const float *embedding = random_model_weights(model, "embedding");
  const float *head = spec->tied ? embedding : random_model_weights(model, "head");
  double *stream = calloc(count * dimension, sizeof *stream), *normed = calloc(dimension, sizeof *normed);
  double rounded[1024];
  for (size_t i = 0; i < count * dimension; i++)
    stream[i] = (double)embedding[tokens[i / dimension] * dimension + i % dimension];
  for (uint32_t layer = 0; layer < spec->layers; layer++)
    naive_layer(model, layer, count, frequencies, magnitude, stream);
  for (size_t t = 0; t < count; t++) {
    naive_norm(stream + t * dimension, random_model_weights(model, "final_norm"), dimension, normed);
    const double *input = spec->ternary_ends ? naive_activations(spec, normed, dimension, rounded) : normed;
    for (size_t v = 0; v < vocabulary; v++) {
      double sum = 0;
      for (size_t i = 0; i < dimension; i++) sum += (double)head[v * dimension + i] * input[i];
      logits[t * vocabulary + v] = sum;
    }
  }
  free(stream);
  free(normed);
}
