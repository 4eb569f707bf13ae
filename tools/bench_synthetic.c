#include "tools/bench_synthetic.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "model/architecture.h"
#include "tools/bench_temporary.h"
#include "tools/tool.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q8_ELEMENTS = 32, Q8_BYTES = 34, BLOCK_BYTES = 32, PIECE_ROWS = 64, MOST_PLACES = 5, MOST_CODES = 243 };

/* ---- shapes, as published ---- */

static const bench_shape shapes[] = {
    {"125m", "bitnet", 12, 768, 2048, 12, 12, 64, 32000, 2048, 1e-5f, 10000.0f, true},
    {"700m", "bitnet", 24, 1536, 4096, 16, 16, 96, 32002, 2048, 1e-5f, 10000.0f, true},
    {"2b4t", "bitnet-b1.58", 30, 2560, 6912, 20, 5, 128, 128256, 4096, 1e-5f, 500000.0f, true},
    {"falcon3-7b", "llama", 28, 3072, 23040, 12, 4, 256, 131080, 32768, 1e-6f, 1000042.0f, false},
    {"8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 8192, 1e-5f, 500000.0f, false},
};

const bench_shape *bench_shape_at(size_t index) {
  return index < sizeof shapes / sizeof shapes[0] ? &shapes[index] : NULL;
}

const bench_shape *bench_shape_find(const char *name) {
  for (size_t i = 0; bench_shape_at(i); i++)
    if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
  return NULL;
}

bool bench_code_by_name(const char *name, bench_code *code) {
  if (strcmp(name, "2bit") == 0) return code->encoding = TQ_TERNARY_2BIT, true;
  if (strcmp(name, "base3") == 0) return code->encoding = TQ_TERNARY_BASE3, true;
  return false;
}

bool bench_scale_by_name(const char *name, bench_code *code) {
  uint64_t group = 0;
  if (strcmp(name, "tensor") == 0)
    code->granularity = TQ_PER_TENSOR;
  else if (strcmp(name, "row") == 0)
    code->granularity = TQ_PER_ROW;
  else if (name[0] == 'g' && tool_parse_u64(name + 1, 32, 256, &group) && group % 32 == 0)
    code->granularity = TQ_PER_GROUP;
  else
    return false;
  code->group = (uint32_t)group;
  return true;
}

/* ---- random numbers ---- */

/* splitmix64 */
static uint64_t random_u64(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* Every byte of codes that there is, with how often each trit is in it: three counts of 21 bits. */
typedef struct code_table {
  uint32_t encoding, places, size;
  uint8_t codes[MOST_CODES];
  uint64_t counts[MOST_CODES];
} code_table;

static void make_code_table(uint32_t encoding, code_table *table) {
  bool base3 = encoding == TQ_TERNARY_BASE3;
  *table = (code_table){.encoding = encoding, .places = base3 ? 5 : 4, .size = base3 ? 243 : 81};
  for (uint32_t i = 0; i < table->size; i++) {
    int8_t trits[MOST_PLACES * TQ_SPAN] = {0};
    uint8_t block[BLOCK_BYTES];
    for (uint32_t place = 0, digits = i; place < table->places; place++, digits /= 3) {
      trits[place * TQ_SPAN] = (int8_t)(digits % 3) - 1;
      table->counts[i] += (uint64_t)1 << 21 * (digits % 3);
    }
    tq_trits_pack(encoding, trits, (uint64_t)table->places * TQ_SPAN, block);
    table->codes[i] = block[0];
  }
}

/* Random codes of a row; adds how often each trit is in it. */
static void fill_row(const code_table *table, uint64_t columns, uint64_t *seed, uint8_t *row, uint64_t counts[4]) {
  uint64_t block = (uint64_t)table->places * TQ_SPAN, whole = columns / block * BLOCK_BYTES, sums = 0;
  for (uint64_t i = 0; i < whole; i += 4) {
    uint64_t bits = random_u64(seed);
    for (unsigned k = 0; k < 4; k++, bits >>= 16) {
      uint32_t code = (uint32_t)(bits & 0xffff) * table->size >> 16;
      row[i + k] = table->codes[code];
      sums += table->counts[code];
    }
  }
  for (unsigned trit = 0; trit < 3; trit++) counts[trit] += sums >> 21 * trit & 0x1fffff;
  int8_t tail[MOST_PLACES * TQ_SPAN];
  for (uint64_t c = 0; c < columns % block; c++) tail[c] = (int8_t)(random_u64(seed) % 3) - 1;
  if (columns % block == 0) return;
  tq_trits_pack(table->encoding, tail, columns % block, row + whole);
  tq_trits_count(tail, columns % block, counts);
}

/* ---- writing ---- */

typedef struct author {
  const bench_shape *shape;
  const bench_code *code;
  code_table table;
  tq_writer *writer;
  bool kept; /* the file stays: with the digests of its weights */
  uint64_t seed;
  tq_progress progress;
  uint64_t done, total; /* weights */
  tq_error *error;
} author;

/* A tensor while it is written. */
typedef struct work {
  tq_tensor tensor;
  tq_content_hash *content; /* NULL: not wanted */
  uint64_t counts[4];
} work;

static tq_status begin_tensor(author *of, const char *role, uint64_t rows, uint64_t columns, work *on) {
  *on = (work){.tensor = {.role = role, .name = role, .source_type = "", .rows = rows ? rows : 1, .columns = columns}};
  on->tensor.dimensions = rows ? 2 : 1;
  on->tensor.shape[0] = rows ? rows : columns;
  if (rows) on->tensor.shape[1] = columns;
  tq_status status = tq_writer_tensor_begin(of->writer, &on->tensor, of->error);
  if (!status && of->kept)
    status = tq_content_hash_create(on->tensor.shape, on->tensor.dimensions, &on->content, of->error);
  return status;
}

static tq_status end_tensor(author *of, work *on, tq_status status) {
  tq_digest digest = {0};
  if (on->content) tq_content_hash_final(on->content, digest.bytes);
  tq_content_hash_destroy(on->content);
  of->done += on->tensor.rows * on->tensor.columns;
  tq_progress_report(&of->progress, of->done, of->total);
  return status ? status : tq_writer_tensor_end(of->writer, on->counts, digest.bytes, of->error);
}

static tq_status write_part(author *of, const tq_part *part, const void *data, size_t size) {
  tq_status status = tq_writer_part_begin(of->writer, part, of->error);
  if (!status) status = tq_writer_part_write(of->writer, data, size, of->error);
  return status ? status : tq_writer_part_end(of->writer, of->error);
}

/* Ones: what a norm's weights are before training. */
static tq_status write_norm(author *of, const char *role, uint64_t size) {
  const tq_part part = {.kind = TQ_PART_VALUES, .encoding = TQ_F32, .type_name = ""};
  work on;
  float *ones = tq_allocate((size_t)size, sizeof *ones, of->error);
  if (!ones) return TQ_ERROR_SYSTEM;
  for (uint64_t i = 0; i < size; i++) ones[i] = 1.0f;
  tq_status status = begin_tensor(of, role, 0, size, &on);
  if (on.content) tq_content_hash_update(on.content, ones, size);
  for (uint64_t i = 0; i < size; i++) tq_store_f32((uint8_t *)&ones[i], 1.0f);
  if (!status) status = write_part(of, &part, ones, (size_t)size * sizeof *ones);
  tq_free(ones);
  return end_tensor(of, &on, status);
}

/* Q8_0: blocks of an F16 step and 32 integers, here from -128 to 127 in units that give numbers of about 1. */
static tq_status write_blocks(author *of, const work *on, uint8_t *blocks, float *values) {
  uint64_t row_blocks = on->tensor.columns / Q8_ELEMENTS;
  uint16_t step = tq_f32_to_f16(1.0f / 64);
  tq_status status = TQ_OK;
  for (uint64_t row = 0; !status && row < on->tensor.rows; row++) {
    for (uint64_t b = 0; b < row_blocks; b++) {
      uint8_t *block = blocks + b * Q8_BYTES;
      tq_store_u16(block, step);
      for (size_t i = 0; i < Q8_ELEMENTS; i += 8) tq_store_u64(block + 2 + i, random_u64(&of->seed));
    }
    if (on->content) {
      tq_block_type_find("Q8_0")->decode(blocks, row_blocks, values);
      tq_content_hash_update(on->content, values, on->tensor.columns);
    }
    status = tq_writer_part_write(of->writer, blocks, (size_t)(row_blocks * Q8_BYTES), of->error);
  }
  return status;
}

static tq_status write_ends(author *of, const char *role) {
  const tq_part part = {.kind = TQ_PART_VALUES,
                        .encoding = TQ_BLOCKS,
                        .type_name = "Q8_0",
                        .block_elements = Q8_ELEMENTS,
                        .block_bytes = Q8_BYTES};
  uint64_t columns = of->shape->dimension;
  work on;
  uint8_t *blocks = tq_allocate((size_t)columns / Q8_ELEMENTS, Q8_BYTES, of->error);
  float *values = tq_allocate((size_t)columns, sizeof *values, of->error);
  if (!blocks || !values) return tq_free(blocks), tq_free(values), TQ_ERROR_SYSTEM;
  tq_status status = begin_tensor(of, role, of->shape->vocabulary, columns, &on);
  if (!status) status = tq_writer_part_begin(of->writer, &part, of->error);
  if (!status) status = write_blocks(of, &on, blocks, values);
  if (!status) status = tq_writer_part_end(of->writer, of->error);
  tq_free(blocks);
  tq_free(values);
  return end_tensor(of, &on, status);
}

/* Memory for a matrix while it is written. */
typedef struct room {
  uint8_t *row, *panel, *scales;
  int8_t *trits;
  float *values;
} room;

static void free_room(room *of) {
  tq_free(of->row);
  tq_free(of->panel);
  tq_free(of->scales);
  tq_free(of->trits);
  tq_free(of->values);
}

/* Scales about one over the root of the columns, so that numbers keep their size from layer to layer. */
static void fill_scales(author *of, const tq_part *part, uint64_t columns, uint64_t count, uint8_t *scales) {
  float base = 1.0f / sqrtf((float)columns);
  for (uint64_t i = 0; i < count; i++) {
    float scale = base * (0.75f + (float)(random_u64(&of->seed) >> 40) * 0x1p-25f);
    if (part->encoding == TQ_F32)
      tq_store_f32(scales + 4 * i, scale);
    else
      tq_store_u16(scales + 2 * i, tq_f32_to_f16(scale));
  }
}

static void hash_row(const author *of, const work *on, const tq_part *scales, uint64_t row, const room *in) {
  uint64_t columns = on->tensor.columns;
  tq_trits_unpack(of->code->encoding, in->row, columns, in->trits);
  tq_trits_scale(in->trits, on->tensor.rows, row, columns, scales->granularity, scales->group, scales->encoding,
                 TQ_DIRECT, in->scales, in->values);
  tq_content_hash_update(on->content, in->values, columns);
}

static tq_status write_codes(author *of, work *on, const tq_part *scales, const room *in) {
  const tq_part part = {.kind = TQ_PART_VALUES, .encoding = of->code->encoding, .type_name = ""};
  uint64_t rows = on->tensor.rows, columns = on->tensor.columns, bytes = tq_trit_row_bytes(part.encoding, columns);
  tq_status status = tq_writer_part_begin(of->writer, &part, of->error);
  for (uint64_t first = 0; !status && first < rows; first += TQ_PANEL_ROWS) {
    uint64_t height = tq_panel_height(rows, first);
    for (uint64_t i = 0; i < height; i++) {
      fill_row(&of->table, columns, &of->seed, in->row, on->counts);
      tq_panel_store_row(in->panel, height, i, bytes, in->row);
      if (on->content) hash_row(of, on, scales, first + i, in);
    }
    status = tq_writer_part_write(of->writer, in->panel, (size_t)(height * bytes), of->error);
  }
  return status ? status : tq_writer_part_end(of->writer, of->error);
}

static tq_status write_matrix(author *of, const char *role, uint64_t rows, uint64_t columns) {
  const bench_code *code = of->code;
  const tq_part scales = {.kind = TQ_PART_SCALES,
                          .encoding = code->granularity == TQ_PER_GROUP ? TQ_F16 : TQ_F32,
                          .granularity = code->granularity,
                          .group = code->group,
                          .direction = TQ_DIRECT,
                          .type_name = ""};
  if (!of->kept && bench_temporary_ends())
    return tq_fail(of->error, TQ_ERROR_SYSTEM, "interrupted while a model was made");
  uint64_t bytes = tq_trit_row_bytes(code->encoding, columns);
  uint64_t count = tq_scale_count(code->granularity, code->group, rows, columns);
  size_t scale_bytes = scales.encoding == TQ_F32 ? 4 : 2;
  work on = {0};
  room in = {.row = tq_allocate(1, (size_t)bytes, of->error),
             .panel = tq_allocate(TQ_PANEL_ROWS, (size_t)bytes, of->error),
             .scales = tq_allocate((size_t)count, scale_bytes, of->error),
             .trits = tq_allocate((size_t)columns, 1, of->error),
             .values = tq_allocate((size_t)columns, sizeof(float), of->error)};
  tq_status status = in.row && in.panel && in.scales && in.trits && in.values ? TQ_OK : TQ_ERROR_SYSTEM;
  if (!status) status = begin_tensor(of, role, rows, columns, &on);
  if (!status) fill_scales(of, &scales, columns, count, in.scales);
  if (!status) status = write_codes(of, &on, &scales, &in);
  if (!status) status = write_part(of, &scales, in.scales, (size_t)count * scale_bytes);
  free_room(&in);
  return end_tensor(of, &on, status);
}

static tq_status write_layer(author *of, const tq_hyperparameters *sizes, uint32_t layer) {
  char role[TQ_ROLE_SIZE];
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < TQ_NORMS; i++) {
    if (!tq_has_norm(sizes, i)) continue;
    snprintf(role, sizeof role, "layers.%u.%s", layer, tq_norm_rows[i].role);
    status = write_norm(of, role, tq_extent_size(sizes, tq_norm_rows[i].size));
  }
  for (size_t i = 0; !status && i < TQ_LINEARS; i++) {
    const tq_linear_row *row = &tq_linear_rows[i];
    snprintf(role, sizeof role, "layers.%u.%s", layer, row->role);
    status = write_matrix(of, role, tq_extent_size(sizes, row->rows), tq_extent_size(sizes, row->columns));
  }
  return status;
}

/* ---- metadata ---- */

static tq_status add_text(tq_metadata_builder *to, const char *key, const char *text, tq_error *error) {
  return tq_metadata_add_string(to, key, text, strlen(text), error);
}

/* BitNet models are trained with one scale for a token's vector, others have smaller blocks where their weights do. */
static const char *activations_of(const bench_shape *shape, const bench_code *code) {
  bool token = code->granularity == TQ_PER_TENSOR || strncmp(shape->architecture, "bitnet", 6) == 0;
  return tq_activations_name(token ? TQ_ACTIVATIONS_INT8_TOKEN : TQ_ACTIVATIONS_INT8_BLOCK);
}

static tq_status build_metadata(const author *of, tq_metadata_builder *to) {
  const bench_shape *shape = of->shape;
  const struct {
    const char *key;
    uint32_t value;
  } sizes[] = {
      {"block_count", shape->layers},
      {"embedding_length", shape->dimension},
      {"feed_forward_length", shape->feed_forward},
      {"attention.head_count", shape->heads},
      {"attention.head_count_kv", shape->kv_heads},
      {"attention.key_length", shape->head_dimension},
      {"attention.value_length", shape->head_dimension},
      {"rope.dimension_count", shape->head_dimension},
      {"vocab_size", shape->vocabulary},
      {"context_length", shape->context},
  };
  char key[128], name[64];
  snprintf(name, sizeof name, "synthetic %s", shape->name);
  tq_status status = add_text(to, "general.architecture", shape->architecture, of->error);
  if (!status) status = add_text(to, "general.name", name, of->error);
  for (size_t i = 0; !status && i < sizeof sizes / sizeof sizes[0]; i++) {
    snprintf(key, sizeof key, "%s.%s", shape->architecture, sizes[i].key);
    status = tq_metadata_add_u32(to, key, sizes[i].value, of->error);
  }
  snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", shape->architecture);
  if (!status) status = tq_metadata_add_f32(to, key, shape->norm_epsilon, of->error);
  snprintf(key, sizeof key, "%s.rope.freq_base", shape->architecture);
  if (!status) status = tq_metadata_add_f32(to, key, shape->rope_base, of->error);
  return status ? status : add_text(to, "tq.activations", activations_of(shape, of->code), of->error);
}

/* Writes the metadata, and reads the hyperparameters back from it. */
static tq_status write_metadata(const author *of, tq_hyperparameters *sizes) {
  tq_metadata_builder builder = {0};
  tq_metadata *metadata = NULL;
  size_t consumed;
  tq_status status = build_metadata(of, &builder);
  if (!status) status = tq_writer_metadata(of->writer, builder.data, builder.size, builder.count, of->error);
  if (!status)
    status = tq_metadata_parse(of->shape->name, builder.data, builder.size, builder.count, &consumed, NULL, &metadata,
                               of->error);
  if (!status) status = tq_hyperparameters_read(metadata, sizes, of->error);
  tq_metadata_free(metadata);
  tq_metadata_builder_free(&builder);
  return status;
}

/* ---- the whole ---- */

static uint64_t count_weights(const bench_shape *shape) {
  uint64_t query = (uint64_t)shape->heads * shape->head_dimension;
  uint64_t key = (uint64_t)shape->kv_heads * shape->head_dimension;
  uint64_t layer = shape->dimension * (2 * query + 2 * key + 3 * (uint64_t)shape->feed_forward);
  return shape->layers * layer + (shape->tied ? 1 : 2) * (uint64_t)shape->vocabulary * shape->dimension;
}

static tq_status write_model(author *of, tq_hyperparameters *sizes) {
  tq_status status = write_metadata(of, sizes);
  if (!status) status = write_ends(of, "embedding");
  for (uint32_t layer = 0; !status && layer < of->shape->layers; layer++) status = write_layer(of, sizes, layer);
  if (!status) status = write_norm(of, "final_norm", of->shape->dimension);
  if (!status && !of->shape->tied) status = write_ends(of, "head");
  return status;
}

static tq_status write_file(author *of, const char *path) {
  static const uint8_t no_tokenizer[TQ_DIGEST_SIZE];
  tq_hyperparameters sizes;
  tq_digest function;
  of->progress = tool_progress("making a model");
  of->total = count_weights(of->shape);
  make_code_table(of->code->encoding, &of->table);
  tq_status status = tq_writer_create(path, 0, &of->writer, of->error);
  if (!status) status = write_model(of, &sizes);
  if (!status) tq_function_digest(&sizes, NULL, function.bytes);
  if (!status) status = tq_writer_finish(of->writer, function.bytes, no_tokenizer, of->error);
  if (status) tq_writer_abandon(of->writer);
  tool_progress_end();
  return status;
}

static tq_status make_file(author *of, const char *path, tq_file **file) {
  tq_status status = write_file(of, path);
  return status ? status : tq_file_open(path, TQ_VERIFY_HEADER, file, of->error);
}

tq_status bench_synthetic_open(const bench_shape *shape, const bench_code *code, const char *save, tq_file **file,
                               tq_error *error) {
  author of = {.shape = shape, .code = code, .kept = save != NULL, .seed = 1, .error = error};
  bench_temporary temporary;
  if (save) return make_file(&of, save, file);
  tq_status status = bench_temporary_create(&temporary, error);
  if (status) return status;
  status = make_file(&of, temporary.path, file);
  bench_temporary_remove(&temporary);
  return status;
}
