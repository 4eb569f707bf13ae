/* llama2.c checkpoints: the real one beside its GGUF twin, both float versions made by the test, and wrong ones. */
#include "base/bytes.h"
#include "formats/digests.h"
#include "formats/gguf/gguf.h"
#include "formats/llama2c/llama2c.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIMENSION = 8, HIDDEN = 6, LAYERS = 2, HEADS = 2, KV_HEADS = 1, VOCABULARY = 12, CONTEXT = 5 };

static tq_status open_llama2c(const char *path, const tq_open_options *options, tq_checkpoint **checkpoint,
                              tq_error *error) {
  return open_with(tq_llama2c_open, path, options, checkpoint, error);
}

static const char *notes_of(tq_checkpoint *checkpoint) {
  ck_ok(tq_buffer_append(&checkpoint->notes, "", 1, error));
  return (const char *)checkpoint->notes.data;
}

/* ---- the real one ---- */

START_TEST(stories) {
  const char *path = shared_path("models/stories260K.bin"), *twin_path = shared_path("models/stories260K.gguf");
  if (!path || !twin_path) return;
  tq_checkpoint *checkpoint, *twin;
  ck_ok(open_llama2c(path, NULL, &checkpoint, error));
  ck_ok(open_with(tq_gguf_open, twin_path, NULL, &twin, error));
  ck_assert_uint_eq(checkpoint->tensor_count, 47); /* no head of its own */
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i], *other = tensor_of_role(twin, tensor->role);
    ck_assert_uint_eq(tensor->dimensions, other->dimensions);
    ck_assert_uint_eq(tensor->size, other->size);
    ck_assert_uint_eq(tensor->adjacent_heads, other->adjacent_heads);
    uint8_t *bytes = tensor_bytes(checkpoint, tensor->role), *expected = tensor_bytes(twin, tensor->role);
    ck_assert_mem_eq(bytes, expected, (size_t)tensor->size);
    free(expected);
    free(bytes);
  }
  ck_assert_str_eq(tensor_of_role(checkpoint, "layers.3.up")->name, "layers.3.feed_forward.w3.weight");
  ck_assert_uint_eq(tq_metadata_u64(checkpoint->metadata, "llama.context_length", 0), 512);
  ck_assert_uint_eq(tq_metadata_u64(checkpoint->metadata, "llama.rope.dimension_count", 0), 8);
  ck_assert_ptr_nonnull(checkpoint->tokenizer); /* tok512.bin lies beside it */
  ck_assert_ptr_nonnull(strstr(notes_of(checkpoint), "tok512.bin"));
  tq_checkpoint_close(twin);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(one_weights_digest_with_the_gguf) {
  const char *path = shared_path("models/stories260K.bin"), *twin_path = shared_path("models/stories260K.gguf");
  if (!path || !twin_path) return;
  tq_checkpoint *checkpoint, *twin;
  tq_digest weights[2], function[2], tokenizer[2];
  ck_ok(open_llama2c(path, NULL, &checkpoint, error));
  ck_ok(open_with(tq_gguf_open, twin_path, NULL, &twin, error));
  ck_ok(tq_checkpoint_digests(checkpoint, NULL, NULL, &weights[0], &function[0], &tokenizer[0], NULL, error));
  ck_ok(tq_checkpoint_digests(twin, NULL, NULL, &weights[1], &function[1], &tokenizer[1], NULL, error));
  ck_assert_mem_eq(weights[0].bytes, weights[1].bytes, sizeof weights[0].bytes);
  ck_assert_mem_eq(function[0].bytes, function[1].bytes, sizeof function[0].bytes);
  tq_checkpoint_close(twin);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- made ones ---- */

typedef struct file_image {
  uint8_t bytes[8192];
  size_t size;
} file_image;

static void put_u32(file_image *image, uint32_t value) {
  tq_store_u32(image->bytes + image->size, value);
  image->size += 4;
}

/* `count` floats: number, number + 1, ... */
static void put_floats(file_image *image, size_t count, float number) {
  ck_assert_uint_le(image->size + 4 * count, sizeof image->bytes);
  for (size_t i = 0; i < count; i++, image->size += 4) tq_store_f32(image->bytes + image->size, number + (float)i);
}

static void put_fields(file_image *image, int32_t vocabulary) {
  const int32_t fields[7] = {DIMENSION, HIDDEN, LAYERS, HEADS, KV_HEADS, vocabulary, CONTEXT};
  for (size_t i = 0; i < 7; i++) put_u32(image, (uint32_t)fields[i]);
}

enum { SQUARE = DIMENSION * DIMENSION, KEYS = 4 * DIMENSION, WIDE = HIDDEN * DIMENSION };

static void make_legacy(file_image *image, bool separate_head) {
  *image = (file_image){.size = 0};
  put_fields(image, separate_head ? -VOCABULARY : VOCABULARY);
  put_floats(image, VOCABULARY * DIMENSION, 1000);
  put_floats(image, LAYERS * DIMENSION, 2000); /* attention norms */
  put_floats(image, LAYERS * SQUARE, 3000);
  put_floats(image, LAYERS * KEYS, 4000);
  put_floats(image, LAYERS * KEYS, 5000);
  put_floats(image, LAYERS * SQUARE, 6000);
  put_floats(image, LAYERS * DIMENSION, 7000); /* ffn norms */
  put_floats(image, LAYERS * WIDE, 8000);
  put_floats(image, LAYERS * WIDE, 9000);
  put_floats(image, LAYERS * WIDE, 10000);
  put_floats(image, DIMENSION, 11000);
  put_floats(image, 2 * CONTEXT * 2, 12000); /* RoPE tables */
  if (separate_head) put_floats(image, VOCABULARY * DIMENSION, 13000);
}

static void make_version_1(file_image *image, uint32_t version, bool shared) {
  *image = (file_image){.size = 0};
  put_u32(image, 0x616b3432);
  put_u32(image, version);
  put_fields(image, VOCABULARY);
  image->bytes[image->size] = shared;
  image->size = 256;
  put_floats(image, LAYERS * DIMENSION, 2000);
  put_floats(image, LAYERS * DIMENSION, 7000);
  put_floats(image, DIMENSION, 11000);
  put_floats(image, VOCABULARY * DIMENSION, 1000);
  put_floats(image, LAYERS * SQUARE, 3000);
  put_floats(image, LAYERS * KEYS, 4000);
  put_floats(image, LAYERS * KEYS, 5000);
  put_floats(image, LAYERS * SQUARE, 6000);
  put_floats(image, LAYERS * WIDE, 8000);
  put_floats(image, LAYERS * WIDE, 9000);
  put_floats(image, LAYERS * WIDE, 10000);
  if (!shared) put_floats(image, VOCABULARY * DIMENSION, 13000);
}

/* The first number of what lies at [row][0] of a tensor, in canonical order. */
static float at_row(tq_checkpoint *checkpoint, const char *role, size_t row) {
  const tq_source_tensor *tensor = tensor_of_role(checkpoint, role);
  uint8_t *bytes = tensor_bytes(checkpoint, role);
  float value = tq_load_f32(bytes + row * 4 * (size_t)(tensor->dimensions == 2 ? tensor->shape[1] : 1));
  free(bytes);
  return value;
}

static void check_made(const file_image *image, bool has_head) {
  const char *path = temporary_path("made.bin");
  tq_checkpoint *checkpoint;
  write_file(path, image->bytes, image->size);
  ck_assert(tq_llama2c_recognize("made.bin", image->bytes, image->size < 4096 ? image->size : 4096, image->size));
  ck_ok(open_llama2c(path, NULL, &checkpoint, error));
  ck_assert_uint_eq(checkpoint->tensor_count, 2 + 9 * LAYERS + has_head);
  ck_assert_float_eq(at_row(checkpoint, "embedding", 1), 1000 + DIMENSION);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.attention_norm", 0), 2000 + DIMENSION);
  /* Two heads of four rows: canonical row 1 is row 2 of the file. */
  ck_assert_float_eq(at_row(checkpoint, "layers.1.q", 1), 3000 + SQUARE + 2 * DIMENSION);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.k", 2), 4000 + KEYS + 1 * DIMENSION);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.v", 1), 5000 + KEYS + 1 * DIMENSION);
  ck_assert_float_eq(at_row(checkpoint, "layers.0.o", 1), 6000 + DIMENSION);
  ck_assert_float_eq(at_row(checkpoint, "layers.0.ffn_norm", 0), 7000);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.gate", 0), 8000 + WIDE);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.down", 1), 9000 + WIDE + HIDDEN);
  ck_assert_float_eq(at_row(checkpoint, "layers.1.up", 0), 10000 + WIDE);
  ck_assert_float_eq(at_row(checkpoint, "final_norm", 0), 11000);
  if (has_head) ck_assert_float_eq(at_row(checkpoint, "head", 0), 13000);
  ck_assert_ptr_null(checkpoint->tokenizer);
  ck_assert_ptr_nonnull(strstr(notes_of(checkpoint), "no tokenizer: neither tok12.bin nor tokenizer.bin"));
  ck_assert_uint_eq(checkpoint->file_count, 0);
  tq_checkpoint_close(checkpoint);
}

START_TEST(legacy) {
  file_image image;
  make_legacy(&image, false);
  check_made(&image, false);
  make_legacy(&image, true);
  check_made(&image, true);
}
END_TEST

START_TEST(version_1) {
  file_image image;
  make_version_1(&image, 1, true);
  check_made(&image, false);
  make_version_1(&image, 1, false);
  check_made(&image, true);
}
END_TEST

/* ---- tokenizers ---- */

/* 12 tokens: maximal length, then score, length and text of each. */
static void write_tokenizer(const char *path, uint32_t count) {
  file_image image = {.size = 0};
  put_u32(&image, 7);
  for (uint32_t i = 0; i < count; i++) {
    char text[8];
    int length = i < 3 ? snprintf(text, sizeof text, "%s",
                                  i == 0   ? "<unk>"
                                  : i == 1 ? "\n<s>\n"
                                           : "\n</s>\n")
                       : snprintf(text, sizeof text, "%c", 'a' + (int)i);
    put_floats(&image, 1, -(float)i);
    put_u32(&image, (uint32_t)length);
    memcpy(image.bytes + image.size, text, (size_t)length);
    image.size += (size_t)length;
  }
  write_file(path, image.bytes, image.size);
}

START_TEST(tokenizer_beside_it_or_named) {
  file_image image;
  tq_checkpoint *checkpoint;
  make_legacy(&image, false);
  const char *path = temporary_path("made.bin"), *plain = temporary_path("tokenizer.bin"),
             *named = temporary_path("elsewhere.tok");
  write_file(path, image.bytes, image.size);
  write_tokenizer(plain, VOCABULARY);
  ck_ok(open_llama2c(path, NULL, &checkpoint, error));
  ck_assert_ptr_nonnull(checkpoint->tokenizer);
  ck_assert_ptr_nonnull(strstr(notes_of(checkpoint), "the tokenizer is"));
  ck_assert_ptr_nonnull(strstr(notes_of(checkpoint), "tokenizer.bin"));
  tq_checkpoint_close(checkpoint);

  write_tokenizer(plain, VOCABULARY + 1);
  ck_fails(open_llama2c(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT,
           "tokenizer.bin: 13 tokens, but the model's vocabulary has 12");
  write_tokenizer(named, VOCABULARY);
  ck_ok(open_llama2c(path, &(tq_open_options){.tokenizer_path = named}, &checkpoint, error));
  ck_assert_ptr_nonnull(strstr(notes_of(checkpoint), "elsewhere.tok"));
  tq_checkpoint_close(checkpoint);
  remove(named);
  ck_fails(open_llama2c(path, &(tq_open_options){.tokenizer_path = named}, &checkpoint, error), TQ_ERROR_SYSTEM,
           "elsewhere.tok");
  remove(plain);
}
END_TEST

/* ---- wrong ones ---- */

START_TEST(other_sizes_are_not_recognized) {
  file_image image;
  tq_checkpoint *checkpoint;
  make_legacy(&image, false);
  const char *path = temporary_path("wrong.bin");
  for (int change = -1; change <= 1; change += 2) {
    uint64_t size = image.size + (uint64_t)(int64_t)change;
    ck_assert(!tq_llama2c_recognize("wrong.bin", image.bytes, 100, size));
    write_file(path, image.bytes, (size_t)size);
    ck_fails(open_llama2c(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, "its size does not follow");
  }
  ck_assert(!tq_llama2c_recognize("wrong.bin", image.bytes, 27, image.size));
  /* Every number at its extremes, at the size that the others would have. */
  static const uint32_t values[] = {0, 3, 7, 1u << 22, 1u << 23, 0x7fffffff, 0x80000000, UINT32_MAX};
  for (size_t field = 0; field < 7; field++) {
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
      make_legacy(&image, false);
      tq_store_u32(image.bytes + 4 * field, values[i]);
      ck_assert(!tq_llama2c_recognize("wrong.bin", image.bytes, 100, image.size));
    }
  }
}
END_TEST

/* With no bound on the layers the size that a header demands could overflow. */
START_TEST(layers_are_bounded) {
  for (uint32_t layers = 4096; layers <= 4097; layers++) {
    const uint32_t fields[7] = {2, 1, layers, 1, 1, 1, 1};
    file_image image = {.size = 0};
    for (size_t i = 0; i < 7; i++) put_u32(&image, fields[i]);
    uint64_t size = 28 + 4 * (6 + 26 * (uint64_t)layers);
    ck_assert(tq_llama2c_recognize("layers.bin", image.bytes, 28, size) == (layers == 4096));
  }
}
END_TEST

START_TEST(other_versions) {
  file_image image;
  tq_checkpoint *checkpoint;
  const char *path = temporary_path("version.bin");
  static const struct {
    uint32_t version;
    size_t size;
    const char *message;
  } rows[] = {{2, 8192, "version 2 (Q8_0 groups) is not supported"},
              {3, 8192, "version 3 is not known"},
              {1, 200, "truncated in its header"},
              {1, 8192, "8192 bytes where the header of this llama2.c checkpoint demands "}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    make_version_1(&image, rows[i].version, true);
    write_file(path, image.bytes, rows[i].size);
    ck_assert(tq_llama2c_recognize("version.bin", image.bytes, 100, rows[i].size));
    ck_fails(open_llama2c(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, rows[i].message);
  }
  make_version_1(&image, 1, true);
  image.bytes[36] = 2; /* neither shared nor separate */
  write_file(path, image.bytes, image.size);
  ck_fails(open_llama2c(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, "describes no model");
  make_version_1(&image, 1, true);
  tq_store_u32(image.bytes + 8, 7); /* a dimension that the heads do not divide */
  write_file(path, image.bytes, image.size);
  ck_fails(open_llama2c(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, "describes no model");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("llama2c");
  TCase *real = tcase_create("the real one");
  tcase_add_test(real, stories);
  tcase_add_test(real, one_weights_digest_with_the_gguf);
  suite_add_tcase(suite, real);
  TCase *made = tcase_create("made ones");
  tcase_add_test(made, legacy);
  tcase_add_test(made, version_1);
  tcase_add_test(made, tokenizer_beside_it_or_named);
  suite_add_tcase(suite, made);
  TCase *wrong = tcase_create("wrong ones");
  tcase_add_test(wrong, other_sizes_are_not_recognized);
  tcase_add_test(wrong, layers_are_bounded);
  tcase_add_test(wrong, other_versions);
  suite_add_tcase(suite, wrong);
  return run_suite(suite);
}
