/* The GGUF writer: models go through a .tq file and back, and what GGUF cannot hold is refused. */
#include "base/bytes.h"
#include "base/file.h"
#include "formats/digests.h"
#include "formats/gguf/gguf.h"
#include "formats/import.h"
#include "formats/llama2c/llama2c.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"
#include "tq/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- there and back ---- */

static tq_checkpoint *opened(const char *path) {
  tq_checkpoint *checkpoint;
  ck_ok(open_with(tq_gguf_open, path, NULL, &checkpoint, error));
  return checkpoint;
}

static tq_file *imported(tq_checkpoint *checkpoint) {
  const char *path = temporary_path("model.tq");
  tq_file *file;
  ck_ok(tq_import(checkpoint, path, 0, 0, NULL, error));
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  return file;
}

/* Writes the file as GGUF and opens that; *notes gets the writer's notes as a string, freed by tq_buffer_free. */
static tq_checkpoint *rewritten(const tq_file *file, tq_buffer *notes) {
  const char *path = temporary_path("written.gguf");
  *notes = (tq_buffer){0};
  ck_ok(tq_gguf_write(file, path, &(tq_write_options){0}, notes, error));
  ck_ok(tq_buffer_append(notes, "", 1, error));
  return opened(path);
}

/* Through a .tq file and back to GGUF; closes what it was given. */
static tq_checkpoint *through(tq_checkpoint *checkpoint, tq_buffer *notes) {
  tq_file *file = imported(checkpoint);
  tq_checkpoint *result = rewritten(file, notes);
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
  return result;
}

static bool notes_say(const tq_buffer *notes, const char *text) { return strstr((const char *)notes->data, text); }

static void ck_same_tensors(tq_checkpoint *a, tq_checkpoint *b) {
  ck_assert_uint_eq(a->tensor_count, b->tensor_count);
  for (size_t i = 0; i < a->tensor_count; i++) {
    const tq_source_tensor *x = &a->tensors[i], *y = &b->tensors[i];
    ck_assert_str_eq(x->name, y->name);
    ck_assert_str_eq(x->role, y->role);
    ck_assert_str_eq(x->type_name, y->type_name);
    ck_assert_uint_eq(x->adjacent_heads, y->adjacent_heads);
    ck_assert_uint_eq(x->dimensions, y->dimensions);
    ck_assert_mem_eq(x->shape, y->shape, sizeof x->shape);
    uint8_t *bytes = tensor_bytes(a, x->role), *others = tensor_bytes(b, y->role);
    ck_assert_mem_eq(bytes, others, (size_t)x->size);
    free(others);
    free(bytes);
  }
}

static void ck_same_weights(tq_checkpoint *a, tq_checkpoint *b) {
  tq_digest weights[2], function[2], tokenizer[2];
  ck_ok(tq_checkpoint_digests(a, NULL, NULL, &weights[0], &function[0], &tokenizer[0], NULL, error));
  ck_ok(tq_checkpoint_digests(b, NULL, NULL, &weights[1], &function[1], &tokenizer[1], NULL, error));
  ck_assert_mem_eq(weights[0].bytes, weights[1].bytes, sizeof weights[0].bytes);
  ck_assert_mem_eq(function[0].bytes, function[1].bytes, sizeof function[0].bytes);
  ck_assert_mem_eq(tokenizer[0].bytes, tokenizer[1].bytes, sizeof tokenizer[0].bytes);
}

static void ck_key_at(const tq_checkpoint *checkpoint, size_t index, const char *expected) {
  tq_string key;
  tq_value value;
  tq_metadata_at(checkpoint->metadata, index, &key, &value);
  ck_assert_uint_eq(key.size, strlen(expected));
  ck_assert_mem_eq(key.data, expected, key.size);
}

static bool has_key(const tq_checkpoint *checkpoint, const char *key) {
  tq_value value;
  return tq_metadata_find(checkpoint->metadata, key, &value);
}

START_TEST(stories) {
  const char *path = shared_path("models/stories260K.gguf");
  if (!path) return;
  tq_buffer notes;
  tq_checkpoint *original = opened(path), *written = through(opened(path), &notes);
  ck_same_tensors(original, written);
  ck_same_weights(original, written);
  ck_key_at(written, 0, "general.architecture");
  ck_key_at(written, 1, "tokenizer.ggml.tokens");
  ck_key_at(written, 18, "llama.attention.layer_norm_rms_epsilon");
  ck_key_at(written, 19, "general.file_type");
  ck_assert_uint_eq(tq_metadata_count(written->metadata), 20);
  ck_assert_uint_eq(tq_metadata_u64(written->metadata, "general.file_type", 99), 0);
  ck_assert_uint_eq(notes.size, 1); /* nothing to say */
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_checkpoint_close(original);
}
END_TEST

START_TEST(every_type) {
  static const struct {
    uint32_t type;
    uint64_t file_type;
  } rows[] = {{0, 0}, {1, 1}, {30, 32}, {8, 7}};
  for (size_t i = 0; i < 4; i++) {
    gguf_builder builder = {0};
    gguf_llama_keys(&builder);
    gguf_tokenizer_keys(&builder);
    gguf_llama_tensors(&builder, rows[i].type, 0);
    const char *path = temporary_path("model.gguf");
    gguf_end_file(&builder, path);
    tq_buffer notes;
    tq_checkpoint *original = opened(path), *written = through(opened(path), &notes);
    ck_same_tensors(original, written);
    ck_same_weights(original, written);
    ck_assert_uint_eq(tq_metadata_u64(written->metadata, "general.file_type", 99), rows[i].file_type);
    ck_assert(has_key(written, "general.quantization_version") == (rows[i].type == 8));
    tq_buffer_free(&notes);
    tq_checkpoint_close(written);
    tq_checkpoint_close(original);
  }
}
END_TEST

/* llama.cpp multiplies by norms in F32 only. */
START_TEST(vectors_become_f32) {
  static const uint32_t types[] = {1, 30};
  for (size_t i = 0; i < 2; i++) {
    static const uint64_t bias[1] = {64};
    uint8_t numbers[128];
    for (uint16_t n = 0; n < 64; n++) tq_store_u16(numbers + 2 * n, (uint16_t)(0x3c00 + n));
    gguf_builder builder = {0};
    gguf_llama_keys(&builder);
    gguf_llama_tensors(&builder, types[i], types[i]);
    gguf_tensor(&builder, "blk.0.attn_q.bias", types[i], 1, bias, numbers, sizeof numbers);
    const char *path = temporary_path("model.gguf");
    gguf_end_file(&builder, path);
    tq_buffer notes;
    tq_checkpoint *original = opened(path), *written = through(opened(path), &notes);
    ck_assert_uint_eq(tensor_of_role(written, "layers.0.ffn_norm")->encoding, TQ_F32);
    ck_assert_uint_eq(tensor_of_role(written, "layers.0.q_bias")->encoding, TQ_F32);
    ck_assert_uint_eq(tensor_of_role(written, "layers.0.q_bias")->adjacent_heads, 4);
    ck_assert_uint_eq(tensor_of_role(written, "layers.0.q")->encoding, i ? TQ_BF16 : TQ_F16);
    ck_same_weights(original, written);
    ck_assert(notes_say(&notes, "4 vectors and norms are written as F32"));
    tq_buffer_free(&notes);
    tq_checkpoint_close(written);
    tq_checkpoint_close(original);
  }
}
END_TEST

START_TEST(alignment_and_keys) {
  gguf_builder builder = {.alignment = 128};
  gguf_key_string(&builder, "zzz", "first");
  gguf_key_u32(&builder, "general.alignment", 128);
  gguf_key_u32(&builder, "general.file_type", 1);
  gguf_key_string(&builder, "tq.note", "ours");
  gguf_key_u16(&builder, "split.count", 1);
  gguf_llama_keys(&builder);
  gguf_llama_tensors(&builder, 0, 0);
  const char *path = temporary_path("model.gguf");
  gguf_end_file(&builder, path);
  tq_buffer notes;
  tq_checkpoint *written = through(opened(path), &notes);
  for (size_t i = 0; i < written->tensor_count; i++) ck_assert_uint_eq(written->tensors[i].offset % 128, 0);
  ck_key_at(written, 0, "general.architecture");
  ck_key_at(written, 1, "zzz");
  ck_assert(!has_key(written, "tq.note") && !has_key(written, "split.count"));
  ck_assert_uint_eq(tq_metadata_u64(written->metadata, "general.file_type", 99), 1);
  ck_assert(notes_say(&notes, "1 keys that only .tq files have are not written"));
  ck_assert_uint_eq(tq_input_size(written->inputs[0]) % 128, 0);
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
}
END_TEST

START_TEST(vocabulary_only) {
  const char *path = shared_path("tokenizers/ggml-vocab-gpt-2.gguf");
  if (!path) return;
  tq_buffer notes;
  tq_checkpoint *original = opened(path), *written = through(opened(path), &notes);
  ck_assert_uint_eq(written->tensor_count, 0);
  ck_assert_uint_eq(written->metadata_size, original->metadata_size);
  ck_assert_mem_eq(written->metadata_bytes, original->metadata_bytes, original->metadata_size);
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_checkpoint_close(original);
}
END_TEST

/* ---- from other carriers ---- */

START_TEST(llama2c) {
  const char *path = shared_path("models/stories260K.bin");
  if (!path) return;
  tq_checkpoint *original;
  ck_ok(open_with(tq_llama2c_open, path, NULL, &original, error));
  tq_buffer notes;
  tq_file *file = imported(original);
  tq_checkpoint *written = rewritten(file, &notes);
  ck_same_weights(original, written);
  ck_assert_str_eq(tensor_of_role(written, "layers.0.q")->name, "blk.0.attn_q.weight");
  ck_assert(has_key(written, "tokenizer.ggml.model"));
  tq_buffer_free(&notes);
  tq_file_close(file);
  tq_checkpoint_close(written);
  tq_checkpoint_close(original);
}
END_TEST

/* A .tq file as a program would write it, tensor by tensor. */
typedef struct made {
  tq_writer *writer;
  tq_metadata_builder keys;
} made;

static void make_begin(made *self, const char *architecture) {
  *self = (made){0};
  ck_ok(tq_writer_create(temporary_path("made.tq"), 0, &self->writer, error));
  if (architecture) {
    ck_ok(tq_metadata_add_string(&self->keys, "general.architecture", architecture, strlen(architecture), error));
  }
}

static void make_keys_end(made *self) {
  ck_ok(tq_writer_metadata(self->writer, self->keys.data, self->keys.size, self->keys.count, error));
  tq_metadata_builder_free(&self->keys);
}

static void make_tensor(made *self, const char *role, const char *name, uint32_t encoding, uint32_t dimensions,
                        const uint64_t *shape, const void *data, size_t size) {
  static const uint64_t no_trits[4];
  static const uint8_t no_digest[16];
  tq_tensor tensor = {.role = role, .name = name, .source_type = "", .dimensions = dimensions};
  memcpy(tensor.shape, shape, dimensions * sizeof *shape);
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = encoding, .type_name = ""};
  ck_ok(tq_writer_tensor_begin(self->writer, &tensor, error));
  ck_ok(tq_writer_part_begin(self->writer, &part, error));
  ck_ok(tq_writer_part_write(self->writer, data, size, error));
  ck_ok(tq_writer_part_end(self->writer, error));
  ck_ok(tq_writer_tensor_end(self->writer, no_trits, no_digest, error));
}

static tq_file *make_end(made *self) {
  static const uint8_t no_digest[16];
  tq_file *file;
  ck_ok(tq_writer_finish(self->writer, no_digest, no_digest, error));
  ck_ok(tq_file_open(temporary_path("made.tq"), TQ_VERIFY_LAZY, &file, error));
  return file;
}

/* The keys of a small llama as a Hugging Face folder gives them, with Llama 3's scaling. */
static void make_llama3_keys(made *self, const char *architecture) {
  static const struct {
    const char *key;
    uint32_t value;
  } numbers[] = {{"context_length", 64},
                 {"embedding_length", 16},
                 {"block_count", 1},
                 {"feed_forward_length", 8},
                 {"attention.head_count", 2},
                 {"attention.head_count_kv", 1},
                 {"rope.dimension_count", 8},
                 {"rope.scaling.original_context_length", 16},
                 {"vocab_size", 3}};
  char key[64];
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    snprintf(key, sizeof key, "%s.%s", architecture, numbers[i].key);
    ck_ok(tq_metadata_add_u32(&self->keys, key, numbers[i].value, error));
  }
  static const struct {
    const char *key;
    float value;
  } floats[] = {{"attention.layer_norm_rms_epsilon", 1e-5f},
                {"rope.freq_base", 10000.0f},
                {"rope.scaling.factor", 8.0f},
                {"rope.scaling.low_freq_factor", 1.0f},
                {"rope.scaling.high_freq_factor", 4.0f}};
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
    snprintf(key, sizeof key, "%s.%s", architecture, floats[i].key);
    ck_ok(tq_metadata_add_f32(&self->keys, key, floats[i].value, error));
  }
  snprintf(key, sizeof key, "%s.rope.scaling.type", architecture);
  ck_ok(tq_metadata_add_string(&self->keys, key, "llama3", 6, error));
}

START_TEST(llama3_scaling_becomes_a_tensor) {
  static const uint64_t shape[2] = {16, 16};
  float data[256];
  for (size_t i = 0; i < 256; i++) data[i] = (float)i;
  made self;
  make_begin(&self, "llama");
  make_llama3_keys(&self, "llama");
  make_keys_end(&self);
  make_tensor(&self, "layers.0.q", "model.layers.0.self_attn.q_proj.weight", TQ_F32, 2, shape, data, sizeof data);
  make_tensor(&self, "rope_inverse_frequencies", "model.rotary_emb.inv_freq", TQ_F32, 1, shape, data, 64);
  make_tensor(&self, "layers.0.rope_inverse_frequencies", "model.layers.0.self_attn.rotary_emb.inv_freq", TQ_F32, 1,
              shape, data, 64);
  tq_file *file = make_end(&self);
  tq_hyperparameters parameters;
  float factors[4];
  ck_ok(tq_hyperparameters_read(tq_file_metadata(file), &parameters, error));
  tq_rope_factors(&parameters, factors);
  tq_buffer notes;
  tq_checkpoint *written = rewritten(file, &notes);
  ck_assert_uint_eq(written->tensor_count, 2);
  ck_assert_str_eq(written->tensors[0].name, "rope_freqs.weight");
  ck_assert_str_eq(written->tensors[0].role, "rope_factors");
  uint8_t *bytes = tensor_bytes(written, "rope_factors");
  for (size_t i = 0; i < 4; i++) ck_assert_float_eq(tq_load_f32(bytes + 4 * i), factors[i]);
  ck_assert_float_eq(tq_load_f32(bytes + 12), 8.0f);
  free(bytes);
  static const char *const gone[] = {"type", "factor", "low_freq_factor", "high_freq_factor",
                                     "original_context_length"};
  for (size_t i = 0; i < 5; i++) {
    char key[64];
    snprintf(key, sizeof key, "llama.rope.scaling.%s", gone[i]);
    ck_assert(!has_key(written, key));
  }
  ck_assert(has_key(written, "llama.rope.freq_base"));
  ck_assert(notes_say(&notes, "Llama-3 RoPE scaling is written as the tensor rope_freqs.weight"));
  ck_assert(notes_say(&notes, "2 tensors of RoPE frequencies are not written"));
  /* The file has row 2b + a of a head where the model has row a * 4 + b. */
  size_t size;
  uint8_t *raw = read_file(temporary_path("written.gguf"), &size);
  const uint8_t *q = raw + tensor_of_role(written, "layers.0.q")->offset;
  for (size_t row = 0; row < 16; row++) {
    size_t from = row / 8 * 8 + row % 2 * 4 + row % 8 / 2;
    ck_assert_float_eq(tq_load_f32(q + 64 * row), (float)(16 * from));
  }
  free(raw);
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_file_close(file);
}
END_TEST

/* The keys of a small model with YaRN of factor 4, and one more of its scaling. */
static void make_yarn(made *self, const char *architecture, const char *key, float value) {
  static const char *const floats[] = {"attention.layer_norm_rms_epsilon", "rope.scaling.factor"};
  static const char *const counts[] = {"context_length",
                                       "embedding_length",
                                       "block_count",
                                       "feed_forward_length",
                                       "vocab_size",
                                       "attention.head_count",
                                       "rope.scaling.original_context_length"};
  char full[96];
  make_begin(self, architecture);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    snprintf(full, sizeof full, "%s.%s", architecture, counts[i]);
    ck_ok(tq_metadata_add_u32(&self->keys, full, i < 2 ? 64 : 1, error));
  }
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) {
    snprintf(full, sizeof full, "%s.%s", architecture, floats[i]);
    ck_ok(tq_metadata_add_f32(&self->keys, full, i ? 4.0f : 1e-5f, error));
  }
  snprintf(full, sizeof full, "%s.rope.scaling.type", architecture);
  ck_ok(tq_metadata_add_string(&self->keys, full, "yarn", 4, error));
  snprintf(full, sizeof full, "%s.rope.scaling.%s", architecture, key);
  ck_ok(tq_metadata_add_f32(&self->keys, full, value, error));
  make_keys_end(self);
}

/* llama.cpp's loaders of these architectures know the magnitude only as a multiplier of 1 + 0.1 ln(factor). */
START_TEST(yarn_magnitude_becomes_a_multiplier) {
  static const char *const architectures[] = {"llama", "bitnet"};
  static const float magnitudes[] = {1.0f, 1.5f, 0.75f, 1.13862944f};
  for (size_t i = 0; i < 8; i++) {
    made self;
    make_yarn(&self, architectures[i / 4], "yarn_attn_factor", magnitudes[i % 4]);
    tq_file *file = make_end(&self);
    tq_hyperparameters before, after;
    uint8_t digest[2][16];
    char key[96];
    tq_buffer notes;
    tq_checkpoint *written = rewritten(file, &notes);
    snprintf(key, sizeof key, "%s.rope.scaling.yarn_attn_factor", architectures[i / 4]);
    ck_assert(!has_key(written, key));
    snprintf(key, sizeof key, "%s.rope.scaling.attn_factor", architectures[i / 4]);
    double multiplier = tq_metadata_f64(written->metadata, key, 0.0);
    ck_assert_double_eq_tol(multiplier * 1.138629436111989, (double)magnitudes[i % 4], 1e-6);
    ck_ok(tq_hyperparameters_read(tq_file_metadata(file), &before, error));
    ck_ok(tq_hyperparameters_read(written->metadata, &after, error));
    tq_function_digest(&before, NULL, digest[0]);
    tq_function_digest(&after, NULL, digest[1]);
    ck_assert_mem_eq(digest[0], digest[1], 16);
    tq_buffer_free(&notes);
    tq_checkpoint_close(written);
    tq_file_close(file);
  }
}
END_TEST

/* What already is a multiplier stays, and so do the betas that llama.cpp takes anyway. */
START_TEST(yarn_keys_that_may_stay) {
  static const char *const keys[] = {"attn_factor", "yarn_beta_fast", "yarn_beta_slow"};
  static const float values[] = {0.7f, 32.0f, 1.0f};
  for (size_t i = 0; i < 3; i++) {
    made self;
    char key[96];
    tq_buffer notes;
    make_yarn(&self, "llama", keys[i], values[i]);
    tq_file *file = make_end(&self);
    tq_checkpoint *written = rewritten(file, &notes);
    snprintf(key, sizeof key, "llama.rope.scaling.%s", keys[i]);
    ck_assert_double_eq(tq_metadata_f64(written->metadata, key, 0.0), (double)values[i]);
    tq_buffer_free(&notes);
    tq_checkpoint_close(written);
    tq_file_close(file);
  }
}
END_TEST

START_TEST(missing_tokens_are_filled_up) {
  static const uint64_t shape[2] = {15, 4};
  static const float data[60];
  gguf_builder builder = {0};
  gguf_tokenizer_keys(&builder);
  const char *path = temporary_path("vocabulary.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *vocabulary = opened(path);
  made self;
  make_begin(&self, "llama");
  make_keys_end(&self);
  ck_ok(tq_writer_section(self.writer, "tokenizer", false, vocabulary->tokenizer, vocabulary->tokenizer_size, error));
  make_tensor(&self, "embedding", "model.embed_tokens.weight", TQ_F32, 2, shape, data, sizeof data);
  tq_file *file = make_end(&self);
  tq_buffer notes;
  tq_checkpoint *written = rewritten(file, &notes);
  static const char *const arrays[] = {"tokenizer.ggml.tokens", "tokenizer.ggml.scores", "tokenizer.ggml.token_type"};
  for (size_t i = 0; i < 3; i++) {
    tq_value value, item = {0};
    size_t cursor = 0;
    ck_assert(tq_metadata_find(written->metadata, arrays[i], &value));
    ck_assert_uint_eq(value.item_count, 15);
    while (tq_array_next(&value, &cursor, &item)) continue;
    if (i == 0) ck_assert(item.string.size == 7 && memcmp(item.string.data, "[PAD14]", 7) == 0);
    if (i == 2) ck_assert_int_eq(item.integer, TQ_TOKEN_UNUSED);
  }
  ck_assert(notes_say(&notes, "3 unused tokens fill the vocabulary up to the embedding's 15 rows"));
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_file_close(file);
  tq_checkpoint_close(vocabulary);
}
END_TEST

/* A file has a key once, whatever the metadata has of a tokenizer that it does not name. */
START_TEST(keys_give_way_to_the_tokenizer) {
  gguf_builder builder = {0};
  gguf_tokenizer_keys(&builder);
  const char *path = temporary_path("vocabulary.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *vocabulary = opened(path);
  made self;
  make_begin(&self, "llama");
  ck_ok(tq_metadata_add_u32(&self.keys, "tokenizer.ggml.bos_token_id", 1, error));
  ck_ok(tq_metadata_add_u32(&self.keys, "tokenizer.ggml.tokens", 7, error));
  make_keys_end(&self);
  ck_ok(tq_writer_section(self.writer, "tokenizer", false, vocabulary->tokenizer, vocabulary->tokenizer_size, error));
  tq_file *file = make_end(&self);
  tq_buffer notes;
  tq_checkpoint *written = rewritten(file, &notes);
  ck_assert_ptr_nonnull(written->tokenizer);
  ck_assert(notes_say(&notes, "2 keys of the metadata give way to those of the tokenizer"));
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_file_close(file);
  tq_checkpoint_close(vocabulary);
}
END_TEST

START_TEST(no_architecture_keeps_names) {
  static const uint64_t shape[2] = {2, 2};
  static const float data[4];
  made self;
  make_begin(&self, NULL);
  make_keys_end(&self);
  make_tensor(&self, "layers.0.q", "model.layers.0.self_attn.q_proj.weight", TQ_F32, 2, shape, data, sizeof data);
  tq_file *file = make_end(&self);
  tq_buffer notes;
  tq_checkpoint *written = rewritten(file, &notes);
  ck_assert_str_eq(written->tensors[0].name, "model.layers.0.self_attn.q_proj.weight");
  ck_assert(notes_say(&notes, "the metadata has no general.architecture"));
  ck_assert(notes_say(&notes, "1 tensors keep their own names"));
  tq_buffer_free(&notes);
  tq_checkpoint_close(written);
  tq_file_close(file);
}
END_TEST

/* ---- what GGUF cannot hold ---- */

/* Writing fails so, and leaves nothing. */
static void ck_not_written(made *self, tq_status expected, const char *part) {
  tq_file *file = make_end(self);
  const char *path = temporary_path("refused.gguf");
  tq_buffer notes = {0};
  ck_fails(tq_gguf_write(file, path, &(tq_write_options){0}, &notes, error), expected, part);
  ck_assert_int_eq(tq_path_examine(path), TQ_PATH_MISSING);
  tq_buffer_free(&notes);
  tq_file_close(file);
}

START_TEST(encodings_refused) {
  static const struct {
    uint32_t encoding;
    size_t bytes;
    const char *message;
  } rows[] = {{TQ_U8, 4, "tensor x: GGUF cannot hold U8"},
              {TQ_BOOL, 4, "tensor x: GGUF cannot hold BOOL"},
              {TQ_U64, 32, "tensor x: GGUF cannot hold U64"},
              {TQ_F8_E4M3, 4, "tensor x: GGUF cannot hold F8_E4M3"},
              {TQ_C64, 32, "tensor x: GGUF cannot hold C64"}};
  static const uint64_t shape[2] = {2, 2};
  static const uint8_t data[32];
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    made self;
    make_begin(&self, NULL);
    make_keys_end(&self);
    make_tensor(&self, "x", "x", rows[i].encoding, 2, shape, data, rows[i].bytes);
    ck_not_written(&self, TQ_ERROR_REFUSED, rows[i].message);
  }
}
END_TEST

START_TEST(parts_refused) {
  static const uint64_t no_trits[4];
  static const uint8_t no_digest[16];
  static const float numbers[128];
  static const uint8_t minus[128];
  made self;
  make_begin(&self, NULL);
  make_keys_end(&self);
  tq_tensor tensor = {.role = "x", .name = "x", .source_type = "", .dimensions = 2, .shape = {1, 128}};
  tq_part values = {.kind = TQ_PART_VALUES, .encoding = TQ_F32, .type_name = ""};
  tq_part signs = {.kind = TQ_PART_SIGNS, .encoding = TQ_I8, .type_name = ""};
  ck_ok(tq_writer_tensor_begin(self.writer, &tensor, error));
  ck_ok(tq_writer_part_begin(self.writer, &values, error));
  ck_ok(tq_writer_part_write(self.writer, numbers, sizeof numbers, error));
  ck_ok(tq_writer_part_end(self.writer, error));
  ck_ok(tq_writer_part_begin(self.writer, &signs, error));
  ck_ok(tq_writer_part_write(self.writer, minus, sizeof minus, error));
  ck_ok(tq_writer_part_end(self.writer, error));
  ck_ok(tq_writer_tensor_end(self.writer, no_trits, no_digest, error));
  ck_not_written(&self, TQ_ERROR_REFUSED, "tensor x: GGUF cannot hold a tensor of several parts");
}
END_TEST

START_TEST(shapes_and_names_refused) {
  static const uint64_t shape[5] = {2, 1, 1, 1, 1};
  static const float data[4];
  char longest[65];
  memset(longest, 'n', 64);
  longest[64] = 0;
  made self;
  make_begin(&self, NULL);
  make_keys_end(&self);
  make_tensor(&self, "x", "x", TQ_F32, 5, shape, data, 8);
  ck_not_written(&self, TQ_ERROR_REFUSED, "tensor x: GGUF cannot hold a tensor without dimensions or with more than 4");
  make_begin(&self, NULL);
  make_keys_end(&self);
  make_tensor(&self, longest, longest, TQ_F32, 1, shape, data, 8);
  ck_not_written(&self, TQ_ERROR_REFUSED, "a name of more than 63 bytes");
  make_begin(&self, "llama");
  make_keys_end(&self);
  make_tensor(&self, "output.weight", "output.weight", TQ_F32, 1, shape, data, 8);
  make_tensor(&self, "head", "lm_head.weight", TQ_F32, 1, shape, data, 8);
  ck_not_written(&self, TQ_ERROR_REFUSED, "two tensors would both be called output.weight");
}
END_TEST

START_TEST(rotations_refused) {
  static const uint64_t shape[2] = {6, 2};
  static const float data[12];
  made self;
  make_begin(&self, "llama");
  make_keys_end(&self);
  make_tensor(&self, "layers.0.q", "q", TQ_F32, 2, shape, data, 48);
  ck_not_written(&self, TQ_ERROR_CORRUPT, "tensor q: llama.attention.head_count does not say how many heads it has");
  make_begin(&self, "llama");
  ck_ok(tq_metadata_add_u32(&self.keys, "llama.attention.head_count", 2, error));
  make_keys_end(&self);
  make_tensor(&self, "layers.0.q", "q", TQ_F32, 2, shape, data, 48);
  ck_not_written(&self, TQ_ERROR_CORRUPT, "6 rows are not 2 heads of pairs");
  make_begin(&self, "bitnet");
  make_llama3_keys(&self, "bitnet");
  make_keys_end(&self);
  make_tensor(&self, "layers.0.q", "q", TQ_F32, 2, shape, data, 48);
  ck_not_written(&self, TQ_ERROR_REFUSED, "cannot hold Llama-3 RoPE scaling of 8 dimensions for architecture bitnet");
}
END_TEST

START_TEST(yarn_refused) {
  made self;
  make_yarn(&self, "llama", "yarn_beta_fast", 30.0f);
  ck_not_written(&self, TQ_ERROR_REFUSED, "llama.rope.scaling.yarn_beta_fast is 30: llama.cpp takes its defaults");
  make_yarn(&self, "bitnet", "yarn_beta_slow", 2.0f);
  ck_not_written(&self, TQ_ERROR_REFUSED, "bitnet.rope.scaling.yarn_beta_slow is 2: llama.cpp takes its defaults");
  make_yarn(&self, "llama", "yarn_attn_factor", 1.13862991f);
  ck_not_written(&self, TQ_ERROR_REFUSED, "llama.rope.scaling.yarn_attn_factor is 1.13862991: llama.cpp multiplies");
}
END_TEST

/* ---- faults ---- */

static void ck_no_temporary_left(void) {
  char **names;
  size_t count;
  ck_ok(tq_list_folder(temporary_folder(), &names, &count, error));
  for (size_t i = 0; i < count; i++) ck_assert_msg(!strstr(names[i], ".tmp-"), "%s is left", names[i]);
  tq_free_names(names, count);
}

typedef struct writing {
  const tq_file *file;
  const char *target;
} writing;

static tq_status write_once(const void *context, tq_error *error) {
  const writing *what = context;
  tq_buffer notes = {0};
  tq_status status = tq_gguf_write(what->file, what->target, &(tq_write_options){0}, &notes, error);
  fail_no_operation();
  tq_buffer_free(&notes);
  ck_no_temporary_left();
  return status;
}

/* Each operation fails in turn: an error, no file, and nothing that a leak checker would find. */
START_TEST(faults) {
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_llama_tensors(&builder, 1, 1);
  static const uint64_t large[2] = {1024, 512}; /* more than an output keeps back until its end */
  static const uint8_t zeros[1024 * 512 * 4];
  gguf_tensor(&builder, "large", 0, 2, large, zeros, sizeof zeros);
  const char *path = temporary_path("model.gguf"), *target = temporary_path("faults.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = opened(path);
  tq_file *file = imported(checkpoint);
  ck_assert_int_gt(check_every_fault(write_once, &(writing){file, target}), 20);
  tq_checkpoint_close(opened(target));
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gguf_write");
  TCase *back = tcase_create("there and back");
  tcase_add_test(back, stories);
  tcase_add_test(back, every_type);
  tcase_add_test(back, vectors_become_f32);
  tcase_add_test(back, alignment_and_keys);
  tcase_add_test(back, vocabulary_only);
  suite_add_tcase(suite, back);
  TCase *carriers = tcase_create("from other carriers");
  tcase_add_test(carriers, llama2c);
  tcase_add_test(carriers, llama3_scaling_becomes_a_tensor);
  tcase_add_test(carriers, yarn_magnitude_becomes_a_multiplier);
  tcase_add_test(carriers, yarn_keys_that_may_stay);
  tcase_add_test(carriers, missing_tokens_are_filled_up);
  tcase_add_test(carriers, keys_give_way_to_the_tokenizer);
  tcase_add_test(carriers, no_architecture_keeps_names);
  suite_add_tcase(suite, carriers);
  TCase *refused = tcase_create("what GGUF cannot hold");
  tcase_add_test(refused, encodings_refused);
  tcase_add_test(refused, parts_refused);
  tcase_add_test(refused, shapes_and_names_refused);
  tcase_add_test(refused, rotations_refused);
  tcase_add_test(refused, yarn_refused);
  tcase_add_test(refused, faults);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
