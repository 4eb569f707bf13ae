/* PyTorch checkpoints, made here opcode by opcode: what is read, and that nothing else is. */
#include "base/bytes.h"
#include "formats/checkpoint.h"
#include "formats/names.h"
#include "formats/pytorch/pickle.h"
#include "formats/pytorch/pytorch.h"
#include "tests/gguf_builder.h"
#include "tests/pickle_builder.h"
#include "tests/support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing files ---- */

static const char *pack(const char *file, pack_kind kind, const member *members, size_t count) {
  const char *path = temporary_path(file);
  pack_archive(path, kind, members, count);
  return path;
}

static uint8_t storage_data[256]; /* of storage 0 in the files below: 64 floats */

/* A file as PyTorch writes it, with storage "0" of 256 bytes; frees the pickle. */
static const char *save(const char *file, pickle *from) {
  for (size_t i = 0; i < sizeof storage_data; i++) storage_data[i] = (uint8_t)(i * 7);
  const member members[] = {{"name/data.pkl", from->data, from->size},
                            {"name/byteorder", "little", 6},
                            {"name/data/0", storage_data, sizeof storage_data},
                            {"name/version", "3\n", 2},
                            {"name/.data/serialization_id", "12", 2}};
  const char *path = pack(file, PACK_ZIP, members, 5);
  free(from->data);
  *from = (pickle){0};
  return path;
}

static tq_checkpoint *open_checkpoint(const char *path) {
  tq_checkpoint *checkpoint;
  ck_ok(tq_checkpoint_open(path, NULL, &checkpoint, error));
  return checkpoint;
}

static void check_refused(const char *path, const char *part) {
  tq_checkpoint *checkpoint;
  ck_fails(tq_checkpoint_open(path, NULL, &checkpoint, error), TQ_ERROR_CORRUPT, part);
}

static const tq_source_tensor *find_tensor(const tq_checkpoint *checkpoint, const char *name) {
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    if (strcmp(checkpoint->tensors[i].name, name) == 0) return &checkpoint->tensors[i];
  }
  ck_abort_msg("no tensor %s", name);
  return NULL;
}

static void check_bytes(tq_checkpoint *checkpoint, const char *name, const void *bytes, size_t size) {
  const tq_source_tensor *found = find_tensor(checkpoint, name);
  ck_assert_uint_eq(found->size, size);
  uint8_t *read = malloc(size);
  ck_ok(tq_input_read(checkpoint->inputs[found->input], found->offset, read, size, error));
  ck_assert_mem_eq(read, bytes, size);
  free(read);
}

static bool has_note(const tq_checkpoint *checkpoint, const char *part) {
  return memmem(checkpoint->notes.data, checkpoint->notes.size, part, strlen(part)) != NULL;
}

/* ---- what is read ---- */

static const tensor plain = {"FloatStorage", "0", 64, 0, 2, {4, 16}, NULL};

START_TEST(tensors_of_every_type) {
  static const struct {
    const char *storage;
    uint32_t encoding;
    size_t width;
  } types[] = {{"FloatStorage", TQ_F32, 4},  {"HalfStorage", TQ_F16, 2},        {"BFloat16Storage", TQ_BF16, 2},
               {"DoubleStorage", TQ_F64, 8}, {"ByteStorage", TQ_U8, 1},         {"CharStorage", TQ_I8, 1},
               {"ShortStorage", TQ_I16, 2},  {"IntStorage", TQ_I32, 4},         {"LongStorage", TQ_I64, 8},
               {"BoolStorage", TQ_BOOL, 1},  {"ComplexFloatStorage", TQ_C64, 8}};
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    pickle made = {0};
    emit_start(&made);
    emit_text(&made, "t");
    int64_t count = 256 / (int64_t)types[i].width;
    tensor one = {types[i].storage, "0", count, 4, 1, {count - 4}, NULL};
    emit_tensor(&made, &one);
    emit_end(&made);
    tq_checkpoint *checkpoint = open_checkpoint(save("types.pt", &made));
    ck_assert_str_eq(checkpoint->format, "pytorch");
    const tq_source_tensor *found = find_tensor(checkpoint, "t");
    ck_assert_uint_eq(found->encoding, types[i].encoding);
    ck_assert_uint_eq(found->dimensions, 1);
    ck_assert_uint_eq(found->shape[0], (uint64_t)count - 4);
    check_bytes(checkpoint, "t", storage_data + 4 * types[i].width, 256 - 4 * types[i].width);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* A parameter, a scalar, a stride that means nothing, two tensors in one storage, and roles from Hugging Face's names.
 */
START_TEST(shapes_parameters_and_roles) {
  pickle made = {0};
  static const int64_t free_stride[] = {16, 99, 1};
  const tensor row = {"FloatStorage", "0", 64, 16, 1, {8}, NULL}, scalar = {"FloatStorage", "0", 64, 63, 0, {0}, NULL},
               loose = {"FloatStorage", "0", 64, 0, 3, {4, 1, 16}, free_stride};
  emit_start(&made);
  emit_text(&made, "model.layers.2.mlp.down_proj.weight");
  emit_global(&made, "torch._utils", "_rebuild_parameter");
  emit_opcode(&made, '(');
  emit_tensor(&made, &plain);
  emit_opcode(&made, 0x88);
  emit_global(&made, "collections", "OrderedDict");
  emit(&made, ")RtR", 4);
  emit_text(&made, "model.norm.weight");
  emit_tensor(&made, &row);
  emit_text(&made, "scalar");
  emit_tensor(&made, &scalar);
  emit_text(&made, "loose");
  emit_tensor(&made, &loose);
  emit_text(&made, "version");
  emit_integer(&made, 3);
  emit_text(&made, "nothing");
  emit_opcode(&made, 'N');
  emit_end(&made);
  tq_checkpoint *checkpoint = open_checkpoint(save("shapes.pth", &made));
  ck_assert_uint_eq(checkpoint->tensor_count, 4);
  ck_assert_uint_eq(checkpoint->input_count, 1);
  ck_assert_str_eq(find_tensor(checkpoint, "model.layers.2.mlp.down_proj.weight")->role, "layers.2.down");
  ck_assert_str_eq(find_tensor(checkpoint, "model.norm.weight")->role, "final_norm");
  ck_assert_str_eq(find_tensor(checkpoint, "scalar")->role, "scalar");
  ck_assert_uint_eq(find_tensor(checkpoint, "scalar")->dimensions, 1);
  ck_assert_uint_eq(find_tensor(checkpoint, "loose")->dimensions, 3);
  check_bytes(checkpoint, "model.norm.weight", storage_data + 64, 32);
  check_bytes(checkpoint, "scalar", storage_data + 252, 4);
  check_bytes(checkpoint, "loose", storage_data, 256);
  ck_assert(has_note(checkpoint, "2 values that are no tensors are not carried: 'version'"));
  ck_assert(has_note(checkpoint, "no config.json"));
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(the_model_among_other_things) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "optimizer");
  emit(&made, "}(K\0}u", 6);
  emit_text(&made, "best_loss");
  emit_tensor(&made, &plain);
  emit_text(&made, "state_dict");
  emit_opcode(&made, '}');
  emit_opcode(&made, '(');
  emit_text(&made, "module._orig_mod.model.embed_tokens.weight");
  emit_tensor(&made, &plain);
  emit_text(&made, "lm_head.weight");
  emit_tensor(&made, &plain);
  emit_opcode(&made, 'u');
  emit_text(&made, "seed");
  emit(&made, "\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\0", 11);
  emit_text(&made, "rate");
  emit_real(&made, 0.5);
  emit_end(&made);
  tq_checkpoint *checkpoint = open_checkpoint(save("nested.ckpt", &made));
  ck_assert_uint_eq(checkpoint->tensor_count, 1);
  ck_assert_str_eq(checkpoint->tensors[0].name, "model.embed_tokens.weight");
  ck_assert_str_eq(checkpoint->tensors[0].role, "embedding");
  ck_assert(has_note(checkpoint, "only the model of"));
  ck_assert(has_note(checkpoint, "names lost the \"_orig_mod.\""));
  ck_assert(has_note(checkpoint, "lm_head.weight is the embedding's own storage: the head is tied"));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Protocol 4's own opcodes, and a tensor of a type that has no storage class. */
START_TEST(protocol_4_and_typed_tensors) {
  pickle made = {0};
  emit_literal(&made, "\x80\4\x95\0\0\0\0\0\0\0\0}\x94(");
  emit_literal(&made, "\x8c\1f\x94");
  emit_literal(&made, "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v3\x94\x93\x94");
  emit_literal(&made, "((\x8c\7storage\x94\x8c\x0dtorch.storage\x94\x8c\x0eUntypedStorage\x94\x93\x94");
  emit_literal(&made, "\x8c\x01\x30\x94\x8c\3cpu\x94M\0\1t\x94Q");
  emit_literal(&made, "K\x10K\x04K\x08\x86\x94K\x08K\1\x86\x94\x89}\x94");
  emit_literal(&made, "\x8c\5torch\x94\x8c\rfloat8_e4m3fn\x94\x93\x94t\x94R\x94u.");
  tq_checkpoint *checkpoint = open_checkpoint(save("four.pt", &made));
  ck_assert_uint_eq(find_tensor(checkpoint, "f")->encoding, TQ_F8_E4M3);
  ck_assert_uint_eq(find_tensor(checkpoint, "f")->shape[1], 8);
  check_bytes(checkpoint, "f", storage_data + 16, 32);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(names_there_and_back) {
  static const char *const names[] = {"tok_embeddings.weight", "output.weight", "norm.weight",
                                      "layers.31.attention.wq.weight", "layers.0.feed_forward.w3.weight"};
  static const char *const roles[] = {"embedding", "head", "final_norm", "layers.31.q", "layers.0.up"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char text[TQ_ROLE_SIZE];
    ck_assert(tq_role_from_name(TQ_CARRIER_META, names[i], text, sizeof text));
    ck_assert_str_eq(text, roles[i]);
    ck_assert(tq_name_from_role(TQ_CARRIER_META, roles[i], text, sizeof text));
    ck_assert_str_eq(text, names[i]);
  }
}
END_TEST

START_TEST(recognised_by_magic_and_name) {
  const uint8_t zip[] = "PK\3\4", dimension_640[] = {0x80, 0x02, 0, 0, 0, 8, 0, 0, 6, 0, 0, 0, 8, 0, 0, 0};
  ck_assert(tq_pytorch_recognize("a/b.pt", zip, 4, 100));
  ck_assert(tq_pytorch_recognize("pytorch_model.bin", zip, 4, 100));
  ck_assert(!tq_pytorch_recognize("model.zip", zip, 4, 100));
  ck_assert(!tq_pytorch_recognize(".pt", zip, 4, 100));
  ck_assert(!tq_pytorch_recognize("model.bin", dimension_640, sizeof dimension_640, 100));
}
END_TEST

/* ---- llama2.c's checkpoints ---- */

enum { DIMENSION = 64, HIDDEN = 172, LAYERS = 5, HEADS = 8, KV_HEADS = 4, VOCABULARY = 512, CONTEXT = 512 };

static void emit_setting(pickle *to, const char *name, int64_t value) {
  emit_text(to, name);
  emit_integer(to, value);
}

/* The tensors of the checkpoint in the order of llama2.c's .bin, which has each kind for all layers together. */
static const struct {
  const char *name;
  int64_t rows, columns;
  bool per_layer;
} story_tensors[] = {{"tok_embeddings.weight", VOCABULARY, DIMENSION, false},
                     {"layers.%u.attention_norm.weight", 0, DIMENSION, true},
                     {"layers.%u.attention.wq.weight", DIMENSION, DIMENSION, true},
                     {"layers.%u.attention.wk.weight", DIMENSION / 2, DIMENSION, true},
                     {"layers.%u.attention.wv.weight", DIMENSION / 2, DIMENSION, true},
                     {"layers.%u.attention.wo.weight", DIMENSION, DIMENSION, true},
                     {"layers.%u.ffn_norm.weight", 0, DIMENSION, true},
                     {"layers.%u.feed_forward.w1.weight", HIDDEN, DIMENSION, true},
                     {"layers.%u.feed_forward.w2.weight", DIMENSION, HIDDEN, true},
                     {"layers.%u.feed_forward.w3.weight", HIDDEN, DIMENSION, true},
                     {"norm.weight", 0, DIMENSION, false}};

static void emit_story_tensors(pickle *to, int64_t floats) {
  int64_t offset = 0;
  for (size_t i = 0; i < sizeof story_tensors / sizeof story_tensors[0]; i++) {
    for (unsigned layer = 0; layer < (story_tensors[i].per_layer ? LAYERS : 1); layer++) {
      int64_t rows = story_tensors[i].rows, columns = story_tensors[i].columns;
      tensor one = {"FloatStorage", "7", floats, offset, rows ? 2 : 1, {rows ? rows : columns, columns}, NULL};
      char name[80] = "_orig_mod.";
      const char *hole = strstr(story_tensors[i].name, "%u");
      if (hole)
        snprintf(name + 10, 70, "%.*s%u%s", (int)(hole - story_tensors[i].name), story_tensors[i].name, layer,
                 hole + 2);
      else
        snprintf(name + 10, 70, "%s", story_tensors[i].name);
      emit_text(to, name);
      emit_tensor(to, &one);
      offset += (rows ? rows : 1) * columns;
    }
  }
  const tensor head = {"FloatStorage", "7", floats, 0, 2, {VOCABULARY, DIMENSION}, NULL};
  emit_text(to, "_orig_mod.output.weight");
  emit_tensor(to, &head);
}

static const char *save_story(const char *file, const uint8_t *floats, size_t size, const char *extra,
                              bool extra_value) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "model");
  emit(&made, "}(", 2);
  emit_story_tensors(&made, (int64_t)size / 4);
  emit_opcode(&made, 'u');
  emit_text(&made, "model_args");
  emit(&made, "}(", 2);
  emit_setting(&made, "dim", DIMENSION);
  emit_setting(&made, "n_layers", LAYERS);
  emit_setting(&made, "n_heads", HEADS);
  emit_setting(&made, "n_kv_heads", KV_HEADS);
  emit_setting(&made, "vocab_size", VOCABULARY);
  emit_setting(&made, "multiple_of", 4);
  emit_setting(&made, "max_seq_len", CONTEXT);
  emit_text(&made, "norm_eps");
  emit_real(&made, 1e-5);
  if (extra) {
    emit_text(&made, extra);
    emit_opcode(&made, extra_value ? 0x88 : 0x89);
  }
  emit_opcode(&made, 'u');
  emit_end(&made);
  const member members[] = {{"ckpt/data.pkl", made.data, made.size}, {"ckpt/data/7", floats, size}};
  const char *path = pack(file, PACK_ZIP, members, 2);
  free(made.data);
  return path;
}

static void check_same_tensor(tq_checkpoint *a, tq_checkpoint *b, size_t index) {
  const tq_source_tensor *first = &a->tensors[index], *second = NULL;
  for (size_t i = 0; i < b->tensor_count; i++) {
    if (strcmp(b->tensors[i].role, first->role) == 0) second = &b->tensors[i];
  }
  ck_assert_msg(second != NULL, "no role %s", first->role);
  ck_assert_str_eq(first->name, second->name);
  ck_assert_uint_eq(first->size, second->size);
  ck_assert_uint_eq(first->adjacent_heads, second->adjacent_heads);
  uint8_t *bytes = malloc((size_t)first->size);
  ck_ok(tq_input_read(a->inputs[first->input], first->offset, bytes, (size_t)first->size, error));
  check_bytes(b, second->name, bytes, (size_t)first->size);
  free(bytes);
}

/* The same model as llama2.c's .pt and as its .bin: one set of tensors, keys and tokens. */
START_TEST(llama2c_checkpoints_are_their_bin) {
  const char *bin = shared_path("models/stories260K.bin"), *tokens = shared_path("models/tok512.bin");
  if (!bin || !tokens) return;
  size_t size;
  uint8_t *bytes = read_file(bin, &size);
  tq_checkpoint *a, *b;
  const tq_open_options options = {.tokenizer_path = tokens};
  ck_ok(tq_checkpoint_open(bin, &options, &a, error));
  const char *path = save_story("story.pt", bytes + 28, size - 28, NULL, false);
  ck_ok(tq_checkpoint_open(path, &options, &b, error));
  ck_assert_uint_eq(a->tensor_count, b->tensor_count);
  for (size_t i = 0; i < a->tensor_count; i++) check_same_tensor(a, b, i);
  ck_assert_uint_eq(find_tensor(b, "layers.4.attention.wk.weight")->adjacent_heads, KV_HEADS);
  ck_assert_uint_eq(a->metadata_size, b->metadata_size);
  ck_assert_mem_eq(a->metadata_bytes, b->metadata_bytes, a->metadata_size);
  ck_assert_uint_eq(a->tokenizer_size, b->tokenizer_size);
  ck_assert_mem_eq(a->tokenizer, b->tokenizer, a->tokenizer_size);
  tq_checkpoint_close(a);
  tq_checkpoint_close(b);

  ck_ok(tq_checkpoint_open(save_story("off.pt", bytes + 28, size - 28, "use_scaled_rope", false), NULL, &b, error));
  tq_checkpoint_close(b);
  check_refused(save_story("on.pt", bytes + 28, size - 28, "use_scaled_rope", true),
                "model_args: use_scaled_rope is not understood");
  free(bytes);
}
END_TEST

START_TEST(names_of_metas_need_model_args) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "tok_embeddings.weight");
  emit_tensor(&made, &plain);
  emit_end(&made);
  check_refused(save("meta.pth", &made), "without \"model_args\"");
}
END_TEST

/* ---- in an archive, and what is no PyTorch file ---- */

START_TEST(inside_an_archive) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "t");
  emit_tensor(&made, &plain);
  emit_end(&made);
  size_t size;
  uint8_t *bytes = read_file(save("inner.pt", &made), &size);
  const member members[] = {{"m/readme.txt", "text", 4}, {"m/inner.pt", bytes, size}};
  tq_checkpoint *checkpoint = open_checkpoint(pack("outer.tar.gz", PACK_TAR_GZ, members, 2));
  free(bytes);
  check_bytes(checkpoint, "t", storage_data, 256);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static tq_status read_tensors(const char *path, tq_error *error) {
  tq_checkpoint *checkpoint = NULL;
  uint8_t buffer[4096];
  tq_status status = tq_checkpoint_open(path, NULL, &checkpoint, error);
  for (size_t i = 0; status == TQ_OK && i < checkpoint->tensor_count; i++)
    status = tq_source_tensor_read(checkpoint, i, 0, checkpoint->tensors[i].size, buffer, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

/* A flipped bit of a storage, whether the tensor is all of it or a part. */
START_TEST(damaged_storages) {
  static const tensor tensors[] = {{"FloatStorage", "0", 1024, 0, 1, {1024}, NULL},
                                   {"FloatStorage", "0", 1024, 8, 1, {64}, NULL}};
  static uint8_t data[4096];
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 5 + i / 256);
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "t");
  emit_tensor(&made, &tensors[_i]);
  emit_end(&made);
  const member members[] = {{"n/data.pkl", made.data, made.size}, {"n/data/0", data, sizeof data}};
  const char *path = pack("storage.pt", PACK_ZIP, members, 2);
  free(made.data);
  ck_ok(read_tensors(path, error));
  size_t size;
  uint8_t *bytes = read_file(path, &size), *storage = memmem(bytes, size, data, sizeof data);
  ck_assert_ptr_nonnull(storage);
  storage[2000] ^= 1;
  write_file(path, bytes, size);
  free(bytes);
  ck_fails(read_tensors(path, error), TQ_ERROR_CORRUPT, "entry 'data/0' is damaged: its CRC-32 does not match");
}
END_TEST

/* Bits flipped in an archive around another file: none may become weights. */
START_TEST(damaged_archives) {
  static const pack_kind packings[] = {PACK_ZIP, PACK_TAR_GZ};
  static const uint64_t shape[] = {1024};
  static uint8_t values[4096], read[4096];
  for (size_t i = 0; i < sizeof values; i++) values[i] = (uint8_t)(i * 7 + i / 256);
  gguf_builder builder = {0};
  gguf_tensor(&builder, "t", 0, 1, shape, values, sizeof values);
  size_t size;
  uint8_t *model = gguf_end(&builder, &size);
  const member one = {"model.gguf", model, size};
  const char *path = temporary_path("damaged.archive");
  pack_archive(path, packings[_i], &one, 1);
  free(model);
  uint8_t *bytes = read_file(path, &size);
  for (size_t at = 100; at + 200 < size; at += 50) {
    tq_checkpoint *checkpoint = NULL;
    tq_error error = {0};
    bytes[at] ^= 1;
    write_file(path, bytes, size);
    bytes[at] ^= 1;
    tq_status status = tq_checkpoint_open(path, NULL, &checkpoint, &error);
    if (status == TQ_OK) status = tq_source_tensor_read(checkpoint, 0, 0, sizeof values, read, &error);
    tq_checkpoint_close(checkpoint);
    ck_assert_msg(status == TQ_ERROR_CORRUPT, "byte %zu: status %d: %s", at, (int)status, error.message);
  }
  free(bytes);
}
END_TEST

START_TEST(other_files_are_refused) {
  static const uint8_t legacy[] = "\x80\2\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3.\x80\2}q\0(X";
  const char *path = temporary_path("old.bin");
  write_file(path, legacy, sizeof legacy - 1);
  check_refused(path, "written by PyTorch before 1.6");
  const member members[] = {{"r/data.pkl", "\x80\2].", 4}, {"r/byteorder", "big", 3}, {"r/other", "", 0}};
  path = pack("big.pt", PACK_ZIP, members, 2);
  check_refused(path, "not in little-endian order");
  path = pack("other.pt", PACK_ZIP, members + 1, 2);
  check_refused(path, "it holds no data.pkl");
  path = pack("list.pt", PACK_ZIP, members, 1);
  check_refused(path, "the pickle is no dict of tensors");
}
END_TEST

/* ---- hostile tensors ---- */

static void check_tensor_refused(const tensor *bad, const char *part) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "evil");
  emit_tensor(&made, bad);
  emit_end(&made);
  check_refused(save("hostile.pt", &made), part);
}

START_TEST(hostile_tensors) {
  static const int64_t transposed[] = {1, 4}, negative[] = {-16, 1};
  const int64_t huge = INT64_MAX;
  const struct {
    tensor bad;
    const char *part;
  } cases[] = {
      {{"FloatStorage", "0", 64, 1, 2, {4, 16}, NULL}, "tensor 'evil': it lies outside its storage"},
      {{"FloatStorage", "0", 64, -1, 1, {4}, NULL}, "it lies outside its storage"},
      {{"FloatStorage", "0", 64, huge, 1, {4}, NULL}, "it lies outside its storage"},
      {{"FloatStorage", "0", 64, 0, 1, {65}, NULL}, "it lies outside its storage"},
      {{"FloatStorage", "0", 65, 0, 1, {65}, NULL}, "another size than the pickle says"},
      {{"FloatStorage", "0", 63, 0, 1, {63}, NULL}, "another size than the pickle says"},
      {{"DoubleStorage", "0", 64, 0, 1, {64}, NULL}, "another size than the pickle says"},
      {{"FloatStorage", "0", -64, 0, 1, {4}, NULL}, "the size of its storage is no number"},
      {{"FloatStorage", "0", huge, 0, 1, {4}, NULL}, "the size of its storage overflows"},
      {{"FloatStorage", "1", 64, 0, 1, {4}, NULL}, "its storage is missing"},
      {{"FloatStorage", "../version", 64, 0, 1, {4}, NULL}, "its storage is missing"},
      {{"FloatStorage", "0", 64, 0, 1, {-4}, NULL}, "a dimension is no size"},
      {{"FloatStorage", "0", 64, 0, 2, {4, 0}, NULL}, "a dimension is zero"},
      {{"FloatStorage", "0", 64, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, NULL}, "too many dimensions"},
      {{"FloatStorage", "0", 64, 0, 2, {4, 16}, transposed}, "it is not contiguous"},
      {{"FloatStorage", "0", 64, 0, 2, {4, 16}, negative}, "it is not contiguous"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_tensor_refused(&cases[i].bad, cases[i].part);
  static const int64_t strides[] = {1, 1};
  const tensor overflowing = {"FloatStorage", "0", 64, 0, 2, {huge, huge}, strides};
  check_tensor_refused(&overflowing, "it is not contiguous");
}
END_TEST

START_TEST(twice_and_without_names) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "t");
  emit_tensor(&made, &plain);
  emit_text(&made, "module.t");
  emit_tensor(&made, &plain);
  emit_end(&made);
  check_refused(save("twice.pt", &made), "there are two of that name");
  emit_start(&made);
  emit_integer(&made, 1);
  emit_tensor(&made, &plain);
  emit_end(&made);
  check_refused(save("number.pt", &made), "a tensor without a name");
  emit_start(&made);
  emit_text(&made, "a\nb");
  emit_tensor(&made, &plain);
  emit_end(&made);
  check_refused(save("control.pt", &made), "not a name");
}
END_TEST

/* ---- hostile pickles ---- */

static tq_status read_bytes(const void *data, size_t size, tq_error *error) {
  tq_pickle made = {0};
  uint8_t *copy = calloc(size ? size : 1, 1); /* of this size, so that a read behind it is seen */
  memcpy(copy, data, size);
  tq_status status = tq_pickle_read("p", copy, size, &made, error);
  tq_pickle_free(&made);
  free(copy);
  return status;
}

#define check_bad(bytes, part) ck_fails(read_bytes((bytes), sizeof(bytes) - 1, error), TQ_ERROR_CORRUPT, (part))

START_TEST(foreign_globals) {
  check_bad("\x80\2cos\nsystem\n(X\2\0\0\0lstR.", "global 'os.system' is not allowed; nothing was executed");
  check_bad("\x80\4\x8c\5posix\x8c\6system\x93\x8c\2ls\x85R.", "global 'posix.system' is not allowed");
  check_bad("\x80\2cbuiltins\neval\n.", "global 'builtins.eval' is not allowed");
  check_bad("\x80\2c__builtin__\neval\n.", "global '__builtin__.eval' is not allowed");
  check_bad("\x80\2ctorch\nload\n.", "global 'torch.load' is not allowed");
  check_bad("\x80\2ctorch._utils\nFloatStorage\n.", "global 'torch._utils.FloatStorage' is not allowed");
  check_bad("\x80\2cos\x1b[2J\nsystem\n.", "'os\\x1B[2J.system'");
  check_bad("\x80\2ios\nsystem\n.", "opcode 0x69 is none that tensors need; nothing was executed");
  check_bad("\x80\2ccollections\nOrderedDict\n)\x81.", "opcode 0x81");
  check_bad("\x80\2\x82\1.", "opcode 0x82");
}
END_TEST

START_TEST(malformed_pickles) {
  check_bad("", "not a pickle of protocol 2");
  check_bad("(lp0\n.", "not a pickle of protocol 2");
  check_bad("\x80\1.", "not a protocol from 2 to 5");
  check_bad("\x80\6.", "not a protocol from 2 to 5");
  check_bad("\x80\2.", "stack underflow");
  check_bad("\x80\2R.", "stack underflow");
  check_bad("\x80\2N(\x85.", "stack underflow");
  check_bad("\x80\2](Na(a.", "stack underflow");
  check_bad("\x80\2t.", "no mark");
  check_bad("\x80\2NNe.", "no mark");
  check_bad("\x80\2(0N0"
            "0.",
            "stack underflow");
  check_bad("\x80\2h\0.", "an unknown memo index");
  check_bad("\x80\2Nq\2h\1.", "an unknown memo index");
  check_bad("\x80\2Nr\xff\xff\xff\xff.", "an impossible memo index");
  check_bad("\x80\2NNa.", "appends to what is no list");
  check_bad("\x80\2(NNu.", "stack underflow");
  check_bad("\x80\2](NNu.", "sets items of what is no dict");
  check_bad("\x80\2}(Nu.", "a key without a value");
  check_bad("\x80\2NN\x86Q.", "a persistent id that is no storage");
  check_bad("\x80\2NNb.", "sets the state of what is no dict");
  check_bad("\x80\2N)R.", "calls what is no function");
  check_bad("\x80\2ctorch\nFloatStorage\n)R.", "calls what is no function");
  check_bad("\x80\2ccollections\nOrderedDict\nNR.", "without a tuple of arguments");
  check_bad("\x80\2ccollections\nOrderedDict\n]\x85R.", "made from arguments");
  check_bad("\x80\2ctorch._utils\n_rebuild_tensor_v2\n)R.", "from other arguments");
  check_bad("\x80\2ctorch._utils\n_rebuild_parameter\nN\x85R.", "from no tensor");
  check_bad("\x80\4NN\x93.", "a global without a name");
  check_bad("\x80\2X\xff\xff\xff\xff"
            "a.",
            "truncated");
  check_bad("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
            "a.",
            "truncated");
  check_bad("\x80\2\x8a\xff"
            "a.",
            "truncated");
  check_bad("\x80\2\x8b\xff\xff\xff\x7f.", "opcode 0x8b");
  check_bad("\x80\2X\1\0\0\0\xff.", "a text is not UTF-8");
  check_bad("\x80\2N", "truncated");
}
END_TEST

/* Nesting, repetition and cycles cost what their bytes cost. */
START_TEST(deep_and_endless_pickles) {
  enum { DEPTH = 1000000 };
  pickle made = {0};
  emit(&made, "\x80\2", 2);
  for (int i = 0; i < DEPTH; i++) emit_opcode(&made, ']');
  for (int i = 1; i < DEPTH; i++) emit_opcode(&made, 'a');
  emit_opcode(&made, '.');
  ck_ok(read_bytes(made.data, made.size, error));
  made.size = 2;
  for (int i = 0; i < DEPTH; i++) emit_opcode(&made, '(');
  for (int i = 0; i < DEPTH; i++) emit_opcode(&made, 't');
  emit_opcode(&made, '.');
  ck_ok(read_bytes(made.data, made.size, error));
  made.size = 2;
  emit(&made, ")q\0", 3);
  for (int i = 0; i < DEPTH / 10; i++) emit(&made, "h\0h\0\x86q\0", 7);
  emit_opcode(&made, '.');
  ck_ok(read_bytes(made.data, made.size, error));
  made.size = TQ_PICKLE_LIMIT + 1;
  made.data = realloc(made.data, made.size);
  memset(made.data + 2, ']', made.size - 2);
  ck_fails(read_bytes(made.data, made.size, error), TQ_ERROR_CORRUPT, "a pickle of more than");
  free(made.data);

  pickle cycle = {0};
  emit(&cycle, "\x80\2}q\0(", 6);
  emit_text(&cycle, "model");
  emit(&cycle, "h\0", 2);
  emit_text(&cycle, "list");
  emit(&cycle, "]q\1h\1a", 6);
  emit_text(&cycle, "t");
  emit_tensor(&cycle, &plain);
  emit_end(&cycle);
  tq_checkpoint *checkpoint = open_checkpoint(save("cycle.pt", &cycle));
  ck_assert_uint_eq(checkpoint->tensor_count, 1);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* What one byte makes again and again. */
START_TEST(pickles_that_grow) {
  static const struct {
    uint8_t opcode;
    const char *part;
  } rows[] = {{'}', "more than 2097152 values"},
              {0x85, "more than 2097152 values"},
              {'(', "more than 2097152 marks"},
              {0x94, "more than 2097152 memo entries"}};
  size_t size = 4 << 20;
  uint8_t *bytes = malloc(size);
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    memset(bytes, rows[i].opcode, size);
    memcpy(bytes, "\x80\4N", 3);
    ck_fails(read_bytes(bytes, size, error), TQ_ERROR_CORRUPT, rows[i].part);
  }
  memcpy(bytes, "\x80\2Nr\xff\xff\x3f\0.", 9);
  ck_fails(read_bytes(bytes, size, error), TQ_ERROR_CORRUPT, "more than 2097152 memo entries");
  free(bytes);
}
END_TEST

/* Every truncation is refused; every flipped bit gives another pickle or a refusal. */
START_TEST(damaged_pickles) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "t");
  emit_tensor(&made, &plain);
  emit_text(&made, "n");
  emit_integer(&made, INT64_MIN);
  emit_end(&made);
  for (size_t size = 0; size < made.size; size++) {
    tq_error error = {0};
    ck_assert_int_eq(read_bytes(made.data, size, &error), TQ_ERROR_CORRUPT);
    ck_assert(error.message[0]);
  }
  for (size_t bit = 0; bit < 8 * made.size; bit++) {
    tq_error error = {0};
    made.data[bit / 8] ^= (uint8_t)(1u << (bit & 7));
    tq_status status = read_bytes(made.data, made.size, &error);
    made.data[bit / 8] ^= (uint8_t)(1u << (bit & 7));
    ck_assert(status == TQ_OK || (status == TQ_ERROR_CORRUPT && error.message[0]));
  }
  ck_ok(read_bytes(made.data, made.size, error));
  free(made.data);
}
END_TEST

/* ---- faults ---- */

static tq_status open_once(const void *path, tq_error *error) {
  tq_checkpoint *checkpoint = NULL;
  tq_status status = tq_checkpoint_open(path, NULL, &checkpoint, error);
  if (status == TQ_OK) tq_checkpoint_close(checkpoint);
  return status;
}

START_TEST(every_fault_is_reported) {
  pickle made = {0};
  emit_start(&made);
  emit_text(&made, "t");
  emit_tensor(&made, &plain);
  emit_text(&made, "u");
  emit_tensor(&made, &plain);
  emit_end(&made);
  ck_assert_int_gt(check_every_fault(open_once, save("faults.pt", &made)), 20);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("pytorch");
  TCase *reading = tcase_create("reading");
  tcase_add_test(reading, tensors_of_every_type);
  tcase_add_test(reading, shapes_parameters_and_roles);
  tcase_add_test(reading, the_model_among_other_things);
  tcase_add_test(reading, protocol_4_and_typed_tensors);
  tcase_add_test(reading, names_there_and_back);
  tcase_add_loop_test(reading, damaged_storages, 0, 2);
  tcase_add_loop_test(reading, damaged_archives, 0, 2);
  tcase_add_test(reading, recognised_by_magic_and_name);
  tcase_add_test(reading, llama2c_checkpoints_are_their_bin);
  tcase_add_test(reading, names_of_metas_need_model_args);
  tcase_add_test(reading, inside_an_archive);
  suite_add_tcase(suite, reading);
  TCase *hostile = tcase_create("hostile");
  tcase_set_timeout(hostile, 60);
  tcase_add_test(hostile, other_files_are_refused);
  tcase_add_test(hostile, hostile_tensors);
  tcase_add_test(hostile, twice_and_without_names);
  tcase_add_test(hostile, foreign_globals);
  tcase_add_test(hostile, malformed_pickles);
  tcase_add_test(hostile, deep_and_endless_pickles);
  tcase_add_test(hostile, pickles_that_grow);
  tcase_add_test(hostile, damaged_pickles);
  tcase_add_test(hostile, every_fault_is_reported);
  suite_add_tcase(suite, hostile);
  return run_suite(suite);
}
