/* The GGUF reader: real files, files with everything the format allows, and hostile ones. */
#include "base/bytes.h"
#include "formats/digests.h"
#include "formats/gguf/gguf.h"
#include "tests/gguf_builder.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static tq_status open_gguf(const char *path, tq_checkpoint **checkpoint, tq_error *error) {
  return open_with(tq_gguf_open, path, NULL, checkpoint, error);
}

static tq_checkpoint *opened(const char *path) {
  tq_checkpoint *checkpoint;
  ck_ok(open_gguf(path, &checkpoint, error));
  return checkpoint;
}

/* Ends the file, and checks that opening it fails so. */
static void ck_refused(gguf_builder *builder, tq_status expected, const char *part) {
  const char *path = temporary_path("refused.gguf");
  tq_checkpoint *checkpoint;
  gguf_end_file(builder, path);
  ck_fails(open_gguf(path, &checkpoint, error), expected, part);
}

/* The pieces of every file lie end to end and give the file back. */
static void check_pieces(const tq_checkpoint *checkpoint, const char *path) {
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  ck_assert_uint_eq(checkpoint->file_count, 1);
  const tq_source_file *file = &checkpoint->files[0];
  uint64_t position = 0;
  for (size_t i = 0; i < file->piece_count; i++) {
    const tq_piece *piece = &file->pieces[i];
    if (piece->kind == TQ_PIECE_METADATA) {
      ck_assert_mem_eq(bytes + position, checkpoint->metadata_bytes + piece->source, piece->size);
    } else if (piece->kind == TQ_PIECE_TENSOR) {
      ck_assert_uint_eq(checkpoint->tensors[piece->source].offset, position);
      ck_assert_uint_eq(checkpoint->tensors[piece->source].size, piece->size);
    }
    position += piece->size;
  }
  ck_assert_uint_eq(position, size);
  free(bytes);
}

/* ---- real files ---- */

START_TEST(stories) {
  const char *path = shared_path("models/stories260K.gguf");
  if (!path) return;
  tq_checkpoint *checkpoint = opened(path);
  ck_assert_uint_eq(checkpoint->tensor_count, 48);
  ck_assert_uint_eq(tq_metadata_count(checkpoint->metadata), 19);
  ck_assert_uint_eq(checkpoint->notes.size, 0);
  ck_assert_ptr_nonnull(checkpoint->tokenizer);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.4.q")->adjacent_heads, 8);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.k")->adjacent_heads, 4);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.v")->adjacent_heads, 0);
  const tq_source_tensor *gate = tensor_of_role(checkpoint, "layers.2.gate");
  ck_assert_uint_eq(gate->dimensions, 2);
  ck_assert_uint_eq(gate->shape[0], 172);
  ck_assert_uint_eq(gate->shape[1], 64);
  ck_assert_str_eq(gate->name, "blk.2.ffn_gate.weight");
  ck_assert_str_eq(gate->type_name, "F32");
  check_pieces(checkpoint, path);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Row h * hd + a * (hd / 2) + b of the canonical order is row h * hd + 2b + a of the file. */
START_TEST(row_order) {
  const char *path = shared_path("models/stories260K.gguf");
  if (!path) return;
  tq_checkpoint *checkpoint = opened(path);
  size_t size;
  uint8_t *file = read_file(path, &size), *rows = tensor_bytes(checkpoint, "layers.1.k");
  const uint8_t *raw = file + tensor_of_role(checkpoint, "layers.1.k")->offset;
  for (size_t h = 0; h < 4; h++) {
    for (size_t a = 0; a < 2; a++) {
      for (size_t b = 0; b < 4; b++) {
        ck_assert_mem_eq(rows + (h * 8 + a * 4 + b) * 256, raw + (h * 8 + 2 * b + a) * 256, 256);
      }
    }
  }
  free(rows);
  free(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(vocabularies) {
  static const struct {
    const char *path;
    size_t keys;
  } files[] = {{"tokenizers/ggml-vocab-gpt-2.gguf", 16}, {"tokenizers/ggml-vocab-llama-spm.gguf", 22}};
  for (size_t i = 0; i < 2; i++) {
    const char *path = shared_path(files[i].path);
    if (!path) return;
    tq_checkpoint *checkpoint = opened(path);
    ck_assert_uint_eq(checkpoint->tensor_count, 0);
    ck_assert_uint_eq(tq_metadata_count(checkpoint->metadata), files[i].keys);
    ck_assert_ptr_nonnull(checkpoint->tokenizer);
    check_pieces(checkpoint, path);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

START_TEST(golden_f16) {
  static const char *const names[] = {"tensor-1", "row-2", "g64-3", "bitnet-7"};
  for (size_t i = 0; i < 4; i++) {
    char relative[64];
    snprintf(relative, sizeof relative, "golden/%s.f16.gguf", names[i]);
    const char *path = shared_path(relative);
    if (!path) return;
    tq_checkpoint *checkpoint = opened(path);
    ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.q")->adjacent_heads, i == 3 ? 0 : 4);
    ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.down")->encoding, TQ_F16);
    check_pieces(checkpoint, path);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* ---- what the format allows ---- */

START_TEST(all_value_types) {
  gguf_builder builder = {0};
  static const uint8_t sizes[13] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  uint8_t value[8] = {1};
  gguf_key_string(&builder, "zzz.unknown", "kept \u2581 \"as it is\"");
  for (uint32_t type = 0; type < 13; type++) {
    char key[16];
    snprintf(key, sizeof key, "type.%u", type);
    if (sizes[type]) gguf_key(&builder, key, type, value, sizes[type]);
  }
  /* [[1, 2], [], [3]] of u8, then an empty array of strings. */
  static const uint8_t nested[] = {0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0,
                                   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3};
  gguf_key_array(&builder, "nested", TQ_VALUE_ARRAY, 3, nested, sizeof nested);
  gguf_key_strings(&builder, "empty", NULL, 0);
  gguf_key_string(&builder, "general.architecture", "made-up");
  const char *path = temporary_path("types.gguf");
  gguf_end_file(&builder, path);

  tq_checkpoint *checkpoint = opened(path);
  ck_assert_uint_eq(tq_metadata_count(checkpoint->metadata), 15);
  tq_string key;
  tq_value item, inner;
  tq_metadata_at(checkpoint->metadata, 0, &key, &item);
  ck_assert_uint_eq(key.size, strlen("zzz.unknown"));
  ck_assert_uint_eq(tq_metadata_u64(checkpoint->metadata, "type.11", 0), 1);
  ck_assert(tq_metadata_bool(checkpoint->metadata, "type.7", false));
  tq_value array;
  ck_assert(tq_metadata_find(checkpoint->metadata, "nested", &array));
  size_t cursor = 0, inside = 0;
  ck_assert(tq_array_next(&array, &cursor, &item));
  ck_assert_uint_eq(item.item_count, 2);
  ck_assert(tq_array_next(&item, &inside, &inner) && tq_array_next(&item, &inside, &inner));
  ck_assert_uint_eq(inner.unsigned_integer, 2);
  check_pieces(checkpoint, path);
  ck_assert_ptr_null(checkpoint->tokenizer);
  ck_assert_ptr_nonnull(strstr((const char *)checkpoint->notes.data, "no tokenizer: "));
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(model_in_every_type) {
  static const struct {
    uint32_t type, encoding;
    const char *name;
  } rows[] = {{0, TQ_F32, "F32"}, {1, TQ_F16, "F16"}, {30, TQ_BF16, "BF16"}, {8, TQ_BLOCKS, "Q8_0"}};
  for (size_t i = 0; i < 4; i++) {
    gguf_builder builder = {.version = i % 2 ? 2 : 3, .alignment = 64, .padding = 0xa5};
    gguf_llama_keys(&builder);
    gguf_key_u32(&builder, "general.alignment", 64);
    gguf_tokenizer_keys(&builder);
    gguf_llama_tensors(&builder, rows[i].type, 0);
    const char *path = temporary_path("model.gguf");
    gguf_end_file(&builder, path);
    tq_checkpoint *checkpoint = opened(path);
    ck_assert_uint_eq(checkpoint->tensor_count, 11);
    for (size_t t = 0; t < 11; t++) ck_assert_uint_eq(checkpoint->tensors[t].offset % 64, 0);
    const tq_source_tensor *q = tensor_of_role(checkpoint, "layers.0.q");
    ck_assert_uint_eq(q->encoding, rows[i].encoding);
    ck_assert_str_eq(q->type_name, rows[i].name);
    ck_assert_uint_eq(q->adjacent_heads, 4);
    check_pieces(checkpoint, path);
    tq_digest weights, function, tokenizer;
    ck_ok(tq_checkpoint_digests(checkpoint, NULL, NULL, &weights, &function, &tokenizer, NULL, error));
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* What the user names is opened; what is recorded of it is a name to write a file by. */
START_TEST(names_of_the_users_own) {
  static const char *const names[] = {"c\\d.gguf", "n\nl.gguf", "odd.g\ngu", "\xff.gguf"};
  static const char *const recorded[] = {"model.gguf", "model.gguf", "model", "model.gguf"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    gguf_builder builder = {0};
    const char *path = temporary_path(names[i]);
    gguf_end_file(&builder, path);
    tq_checkpoint *checkpoint;
    ck_ok(tq_checkpoint_open(path, NULL, &checkpoint, error));
    ck_assert_uint_eq(checkpoint->file_count, 1);
    ck_assert_str_eq(checkpoint->files[0].path, recorded[i]);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

START_TEST(integers_and_doubles) {
  static const uint32_t types[] = {24, 25, 26, 27, 28}, encodings[] = {TQ_I8, TQ_I16, TQ_I32, TQ_I64, TQ_F64};
  static const uint64_t shape[4] = {3, 1, 2, 5};
  uint8_t data[240];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37);
  gguf_builder builder = {0};
  for (size_t i = 0; i < 5; i++) {
    char name[8];
    snprintf(name, sizeof name, "t%zu", i);
    gguf_tensor(&builder, name, types[i], 4, shape, data, 30 * (i == 0 ? 1 : i == 1 ? 2 : i == 2 ? 4 : 8));
  }
  const char *path = temporary_path("integers.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = opened(path);
  for (size_t i = 0; i < 5; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    ck_assert_uint_eq(tensor->encoding, encodings[i]);
    ck_assert_uint_eq(tensor->shape[0], 5);
    ck_assert_uint_eq(tensor->shape[3], 3);
    ck_assert_str_eq(tensor->role, tensor->name);
    uint8_t *bytes = tensor_bytes(checkpoint, tensor->role);
    ck_assert_mem_eq(bytes, data, tensor->size);
    free(bytes);
  }
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* A role says what a tensor means, which nobody knows of an unknown architecture. */
START_TEST(unknown_architecture_has_no_roles) {
  static const uint64_t shape[2] = {2, 2};
  static const float data[4] = {1, 2, 3, 4};
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "gpt2");
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, shape, data, sizeof data);
  const char *path = temporary_path("unknown.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = opened(path);
  ck_assert_str_eq(checkpoint->tensors[0].role, "blk.0.attn_q.weight");
  ck_assert_uint_eq(checkpoint->tensors[0].adjacent_heads, 0);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(heads_per_layer_and_biases) {
  static const uint64_t bias[1] = {16}, square[2] = {4, 16};
  uint8_t heads[8], kv_heads[8], data[256] = {0};
  for (uint32_t i = 0; i < 2; i++) tq_store_u32(heads + 4 * i, 4 + 4 * i);
  for (uint32_t i = 0; i < 2; i++) tq_store_u32(kv_heads + 4 * i, 2 - i);
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_array(&builder, "llama.attention.head_count", TQ_VALUE_U32, 2, heads, sizeof heads);
  gguf_key_array(&builder, "llama.attention.head_count_kv", TQ_VALUE_I32, 2, kv_heads, sizeof kv_heads);
  for (uint16_t i = 0; i < 16; i++) tq_store_u16(data + 2 * i, i);
  gguf_tensor(&builder, "blk.1.attn_k.bias", 1, 1, bias, data, 32);
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, square, data, 256);
  gguf_tensor(&builder, "blk.1.attn_q.weight", 0, 2, square, data, 256);
  gguf_tensor(&builder, "blk.0.attn_k.weight", 0, 2, square, data, 256);
  const char *path = temporary_path("heads.gguf");
  gguf_end_file(&builder, path);
  tq_checkpoint *checkpoint = opened(path);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.q")->adjacent_heads, 4);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.1.q")->adjacent_heads, 8);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.0.k")->adjacent_heads, 2);
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.1.k_bias")->adjacent_heads, 1);
  uint8_t *bytes = tensor_bytes(checkpoint, "layers.1.k_bias");
  for (uint16_t i = 0; i < 16; i++) ck_assert_uint_eq(tq_load_u16(bytes + 2 * i), i < 8 ? 2 * i : 2 * (i - 8) + 1);
  free(bytes);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* The header outgrows the first read several times over. */
START_TEST(large_header) {
  enum { STRINGS = 400000 };
  uint8_t *items = calloc(STRINGS, 9);
  ck_assert_ptr_nonnull(items);
  for (size_t i = 0; i < STRINGS; i++) {
    items[9 * i] = 1;
    items[9 * i + 8] = 'x';
  }
  gguf_builder builder = {0};
  gguf_key_array(&builder, "many", TQ_VALUE_STRING, STRINGS, items, STRINGS * 9);
  gguf_llama_keys(&builder);
  gguf_llama_tensors(&builder, 0, 0);
  const char *path = temporary_path("large.gguf");
  gguf_end_file(&builder, path);
  free(items);
  tq_checkpoint *checkpoint = opened(path);
  ck_assert_uint_eq(checkpoint->tensor_count, 11);
  check_pieces(checkpoint, path);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- split files ---- */

/* A model in three parts as NAME-0000N-of-00003.gguf; the arguments make one of them wrong. */
static const char *write_split(const char *name, uint16_t number_of_second, uint32_t total) {
  static const uint64_t shape[1] = {4};
  char file[64];
  const char *first = NULL;
  for (uint16_t part = 0; part < 3; part++) {
    float data[4] = {part, 1, 2, 3};
    gguf_builder builder = {0};
    if (part == 0) gguf_llama_keys(&builder);
    if (part == 2) gguf_key_string(&builder, "general.name", "not used");
    gguf_key_u16(&builder, "split.no", part == 1 ? number_of_second : part);
    gguf_key_u16(&builder, "split.count", 3);
    gguf_key_u32(&builder, "split.tensors.count", total);
    char tensor[32];
    snprintf(tensor, sizeof tensor, "blk.%u.attn_norm.weight", part);
    gguf_tensor(&builder, tensor, 0, 1, shape, data, sizeof data);
    snprintf(file, sizeof file, "%s-%05d-of-00003.gguf", name, part + 1);
    const char *path = temporary_path(file);
    gguf_end_file(&builder, path);
    if (!part) first = path;
  }
  return first;
}

START_TEST(split) {
  const char *first = write_split("model", 1, 3);
  tq_checkpoint *checkpoint = opened(first);
  ck_assert_uint_eq(checkpoint->tensor_count, 3);
  ck_assert_uint_eq(checkpoint->input_count, 3);
  ck_assert_uint_eq(checkpoint->file_count, 3);
  ck_assert_str_eq(checkpoint->files[1].path, "model-00002-of-00003.gguf");
  ck_assert_uint_eq(tensor_of_role(checkpoint, "layers.2.attention_norm")->input, 2);
  uint8_t *bytes = tensor_bytes(checkpoint, "layers.2.attention_norm");
  ck_assert_float_eq(tq_load_f32(bytes), 2.0f);
  free(bytes);
  ck_assert_ptr_nonnull(strstr((const char *)checkpoint->notes.data, "1 metadata keys of this part are not used"));
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(split_wrong) {
  tq_checkpoint *checkpoint;
  write_split("model", 1, 3);
  ck_fails(open_gguf(temporary_path("model-00002-of-00003.gguf"), &checkpoint, error), TQ_ERROR_USAGE,
           "part 2 of 3 of a model: open the first, model-00001-of-00003.gguf");
  ck_fails(open_gguf(write_split("number", 2, 3), &checkpoint, error), TQ_ERROR_CORRUPT,
           "do not say that it is part 2 of 3");
  ck_fails(open_gguf(write_split("total", 1, 4), &checkpoint, error), TQ_ERROR_CORRUPT,
           "3 tensors in 3 parts where split.tensors.count says 4");
  const char *first = write_split("missing", 1, 3);
  remove(temporary_path("missing-00003-of-00003.gguf"));
  ck_fails(open_gguf(first, &checkpoint, error), TQ_ERROR_CORRUPT, "there is no file missing-00003-of-00003.gguf");
  first = write_split("renamed", 1, 3);
  const char *other = temporary_path("other.gguf");
  ck_assert_int_eq(rename(first, other), 0);
  ck_fails(open_gguf(other, &checkpoint, error), TQ_ERROR_CORRUPT,
           "/other.gguf: part 1 of 3, but its name does not end in -00001-of-00003.gguf");
}
END_TEST

START_TEST(split_numbers_wrong) {
  gguf_builder builder = {0};
  gguf_key_u32(&builder, "split.count", 70000);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "part 1 of 70000 is not possible");
  gguf_key_u16(&builder, "split.count", 2);
  gguf_key_u16(&builder, "split.no", 2);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "part 3 of 2 is not possible");
  gguf_key_string(&builder, "split.count", "three");
  ck_refused(&builder, TQ_ERROR_CORRUPT, "split.count is not a number");
}
END_TEST

/* ---- hostile files ---- */

START_TEST(versions) {
  tq_checkpoint *checkpoint;
  gguf_builder builder = {.version = 1};
  ck_refused(&builder, TQ_ERROR_CORRUPT, "GGUF version 1 is not supported");
  builder.version = 4;
  ck_refused(&builder, TQ_ERROR_CORRUPT, "GGUF version 4 is not supported");
  builder.version = 0x03000000;
  ck_refused(&builder, TQ_ERROR_CORRUPT, "a big-endian GGUF file");
  const char *path = temporary_path("other.gguf");
  write_file(path, "GGUG\3\0\0\0", 8);
  ck_fails(open_gguf(path, &checkpoint, error), TQ_ERROR_CORRUPT, "not a GGUF file");
  write_file(path, "", 0);
  ck_fails(open_gguf(path, &checkpoint, error), TQ_ERROR_CORRUPT, "not a GGUF file");
  ck_assert(tq_gguf_recognize("x", (const uint8_t *)"GGUF\1", 5, 5));
  ck_assert(!tq_gguf_recognize("x.gguf", (const uint8_t *)"GGU", 3, 3));
}
END_TEST

START_TEST(counts) {
  gguf_builder builder = {.key_count = UINT64_C(1) << 63};
  ck_refused(&builder, TQ_ERROR_CORRUPT, "9223372036854775808 metadata keys do not fit");
  builder.tensor_count = UINT64_C(1) << 63;
  ck_refused(&builder, TQ_ERROR_CORRUPT, "9223372036854775808 tensors do not fit");
  gguf_llama_keys(&builder);
  builder.tensor_count = 2;
  ck_refused(&builder, TQ_ERROR_CORRUPT, "the name of tensor 0 has 0 bytes");
}
END_TEST

static void ck_info_refused(const char *name, size_t name_size, uint32_t type, uint32_t dimensions,
                            const uint64_t *shape, uint64_t offset, const char *part) {
  static const uint8_t data[64] = {0};
  gguf_builder builder = {0};
  static const uint64_t one[1] = {8};
  gguf_tensor(&builder, "first", 0, 1, one, data, 32);
  gguf_info(&builder, name, name_size, type, dimensions, shape, offset);
  gguf_tensor(&builder, "last", 0, 1, one, data, 32);
  ck_refused(&builder, TQ_ERROR_CORRUPT, part);
}

START_TEST(infos) {
  static const uint64_t eight[1] = {8}, zero[2] = {8, 0}, five[5] = {1, 1, 1, 1, 1}, huge[2] = {UINT64_C(1) << 63, 2},
                        wide[1] = {UINT64_MAX / 2}, big[2] = {1 << 20, 1 << 20}, odd[1] = {33};
  char longest[256];
  memset(longest, 'x', sizeof longest);
  ck_info_refused("", 0, 0, 1, eight, 0, "the name of tensor 1 has 0 bytes");
  ck_info_refused(longest, 256, 0, 1, eight, 0, "the name of tensor 1 has 256 bytes");
  ck_info_refused("a\xff", 2, 0, 1, eight, 0, "the name of tensor 1, 'a\\xFF', is not printable UTF-8");
  ck_info_refused("a\0b", 3, 0, 1, eight, 0, "is not printable UTF-8");
  ck_info_refused("first", 5, 0, 1, eight, 32, "tensor first: there are two of that name");
  ck_info_refused("x", 1, 0, 0, eight, 0, "tensor x: 0 dimensions (GGUF has 1 to 4)");
  ck_info_refused("x", 1, 0, 5, five, 0, "tensor x: 5 dimensions");
  ck_info_refused("x", 1, 0, 2, zero, 0, "tensor x: its dimensions contain a zero");
  ck_info_refused("x", 1, 0, 2, huge, 0, "tensor x: its dimensions overflow");
  ck_info_refused("x", 1, 0, 1, wide, 0, "tensor x: its size overflows");
  ck_info_refused("x", 1, 0, 2, big, 0, "tensor x: bytes ");
  ck_info_refused("x", 1, 8, 1, odd, 0, "tensor x: rows of 33 are not a multiple of the 32 of type Q8_0");
  ck_info_refused("x", 1, 9999, 1, eight, 0, "tensor x: type 9999 is not known");
  ck_info_refused("x", 1, 4, 1, eight, 0, "tensor x: type 4 is not known");
  ck_info_refused("x", 1, 14, 1, eight, 0, "tensor x: rows of 8 are not a multiple of the 256 of type Q6_K");
  ck_info_refused("x", 1, 9, 1, eight, 0, "tensor x: type Q8_1 (9) is not supported");
  ck_info_refused("x", 1, 212, 1, eight, 0, "tensor x: type Q4_K_R4 (212) is not supported");
  ck_info_refused("x", 1, 35, 1, eight, 0,
                  "tensor x: type TQ2_0 (35) does not go with its shape: rows of 8 are not a multiple of 256");
  ck_info_refused("x", 1, 35, 2, zero, 0, "tensor x: its dimensions contain a zero");
  ck_info_refused("x", 1, 35, 2, huge, 0, "tensor x: its dimensions overflow");
  ck_info_refused("x", 1, 0, 1, eight, 31, "tensor x: offset 31 is not a multiple of the alignment 32");
  ck_info_refused("x", 1, 0, 1, eight, UINT64_MAX - 31, "tensor x: offset 18446744073709551584 overflows");
  ck_info_refused("x", 1, 0, 1, eight, 64, "outside the file");
  ck_info_refused("x", 1, 0, 1, eight, 0, "overlaps");
}
END_TEST

START_TEST(alignments) {
  static const uint32_t wrong[] = {0, 3, 48, 1u << 21, UINT32_MAX};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    gguf_builder builder = {0};
    gguf_key_u32(&builder, "general.alignment", wrong[i]);
    ck_refused(&builder, TQ_ERROR_CORRUPT, "general.alignment is not a u32 that is a power of two");
  }
  gguf_builder builder = {0};
  gguf_key_u16(&builder, "general.alignment", 32);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "general.alignment is not a u32");
}
END_TEST

START_TEST(heads_wrong) {
  static const uint64_t shape[2] = {1, 12}, three[3] = {1, 1, 12}, bias[1] = {32};
  static const uint8_t data[64] = {0};
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, shape, data, 48);
  ck_refused(&builder, TQ_ERROR_CORRUPT,
             "tensor blk.0.attn_q.weight: llama.attention.head_count does not say how many heads it has");
  static const uint32_t wrong[] = {0, 5, 4, UINT32_MAX};
  for (size_t i = 0; i < 4; i++) {
    gguf_key_string(&builder, "general.architecture", "llama");
    gguf_key_u32(&builder, "llama.attention.head_count", wrong[i]);
    gguf_tensor(&builder, "blk.0.attn_k.weight", 0, 2, shape, data, 48);
    ck_refused(&builder, TQ_ERROR_CORRUPT, wrong[i] ? "12 rows are not" : "does not say how many heads");
  }
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_array(&builder, "llama.attention.head_count", TQ_VALUE_U8, 2, data, 2);
  gguf_tensor(&builder, "blk.2.attn_q.weight", 0, 2, shape, data, 48);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "does not say how many heads it has");
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_u32(&builder, "llama.attention.head_count", 1);
  gguf_tensor(&builder, "blk.2.attn_q.bias", 8, 1, bias, data, 34);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "a q or k tensor of 1 dimensions and type Q8_0");
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_u32(&builder, "llama.attention.head_count", 1);
  gguf_tensor(&builder, "blk.2.attn_q.weight", 0, 3, three, data, 48);
  ck_refused(&builder, TQ_ERROR_CORRUPT, "a q or k tensor of 3 dimensions and type F32");
}
END_TEST

/* A whole small model, without the padding behind its last tensor. */
static uint8_t *small_model(size_t *size) {
  static const uint64_t matrix[2] = {2, 4};
  static const float data[8] = {1, -0.0f, 3, 4, 5, 6, 7, 8};
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "llama");
  gguf_key_u32(&builder, "llama.attention.head_count", 2);
  gguf_key_u32(&builder, "general.alignment", 32);
  gguf_tensor(&builder, "blk.0.attn_q.weight", 0, 2, matrix, data, sizeof data);
  gguf_tensor(&builder, "output.weight", 1, 2, matrix, data, sizeof data / 2);
  return gguf_end(&builder, size);
}

START_TEST(truncated_anywhere) {
  size_t size;
  uint8_t *bytes = small_model(&size);
  const char *path = temporary_path("truncated.gguf");
  tq_checkpoint *checkpoint;
  for (size_t cut = 0; cut < size; cut++) {
    write_file(path, bytes, cut);
    ck_fails(open_gguf(path, &checkpoint, error), TQ_ERROR_CORRUPT, "truncated.gguf");
  }
  write_file(path, bytes, size);
  tq_checkpoint_close(opened(path));
  free(bytes);
}
END_TEST

/* Every field of the header at its extremes: an error in one line, or a file that is still consistent. */
START_TEST(extremes_anywhere) {
  static const uint64_t values[] = {0, 1, 2, 0x7f, 0xff, 0x80000000, UINT32_MAX, UINT64_C(1) << 63, UINT64_MAX};
  size_t size, failures = 0;
  uint8_t *bytes = small_model(&size);
  const char *path = temporary_path("extreme.gguf");
  for (size_t place = 0; place + 8 <= size - 64; place++) {
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
      uint8_t saved[8];
      memcpy(saved, bytes + place, 8);
      if (i % 2)
        tq_store_u64(bytes + place, values[i]);
      else
        tq_store_u32(bytes + place, (uint32_t)values[i]);
      write_file(path, bytes, size);
      memcpy(bytes + place, saved, 8);
      tq_checkpoint *checkpoint;
      tq_error error = {0};
      tq_status status = open_gguf(path, &checkpoint, &error);
      ck_assert(status == TQ_OK || status == TQ_ERROR_CORRUPT);
      if (status) {
        failures++;
        ck_assert_ptr_nonnull(strstr(error.message, "extreme.gguf"));
        ck_assert_ptr_null(strchr(error.message, '\n'));
      }
      tq_checkpoint_close(checkpoint);
    }
  }
  ck_assert_uint_gt(failures, 1000);
  free(bytes);
}
END_TEST

/* ---- faults ---- */

static tq_status open_once(const void *path, tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_status status = open_gguf(path, &checkpoint, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

/* Each operation fails in turn: an error, and nothing that a leak checker would find. */
START_TEST(faults) {
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_llama_tensors(&builder, 0, 0);
  const char *path = temporary_path("faults.gguf");
  gguf_end_file(&builder, path);
  ck_assert_int_gt(check_every_fault(open_once, path), 30);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("gguf");
  TCase *real = tcase_create("real files");
  tcase_add_test(real, stories);
  tcase_add_test(real, row_order);
  tcase_add_test(real, vocabularies);
  tcase_add_test(real, golden_f16);
  suite_add_tcase(suite, real);
  TCase *allowed = tcase_create("what the format allows");
  tcase_add_test(allowed, all_value_types);
  tcase_add_test(allowed, model_in_every_type);
  tcase_add_test(allowed, integers_and_doubles);
  tcase_add_test(allowed, names_of_the_users_own);
  tcase_add_test(allowed, unknown_architecture_has_no_roles);
  tcase_add_test(allowed, heads_per_layer_and_biases);
  tcase_add_test(allowed, large_header);
  tcase_add_test(allowed, split);
  suite_add_tcase(suite, allowed);
  TCase *hostile = tcase_create("hostile files");
  tcase_set_timeout(hostile, 60);
  tcase_add_test(hostile, split_wrong);
  tcase_add_test(hostile, split_numbers_wrong);
  tcase_add_test(hostile, versions);
  tcase_add_test(hostile, counts);
  tcase_add_test(hostile, infos);
  tcase_add_test(hostile, alignments);
  tcase_add_test(hostile, heads_wrong);
  tcase_add_test(hostile, truncated_anywhere);
  tcase_add_test(hostile, extremes_anywhere);
  tcase_add_test(hostile, faults);
  suite_add_tcase(suite, hostile);
  return run_suite(suite);
}
