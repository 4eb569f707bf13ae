/* tq-convert as a user runs it: every way there and back, and the same model whatever carries it. */
#include "base/bytes.h"
#include "tests/container_support.h"
#include "tests/gguf_builder.h"
#include "tests/pickle_builder.h"
#include "tests/support.h"
#include "tests/ternary_files.h"
#include "tq/container.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int convert(const char *input, const char *output, const char *option, const char *value, char **errors) {
  const char *arguments[] = {"tq-convert", input, "-o", output, option, value, NULL};
  return run_tool(arguments, NULL, NULL, errors);
}

static void ck_converts(const char *input, const char *output) {
  char *errors;
  int status = convert(input, output, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "%s -> %s: %d: %s", input, output, status, errors);
  free(errors);
}

/* Converting fails with the status and a line that holds `part`, and nothing appears at the output. */
static void ck_refused(const char *input, const char *output, const char *option, const char *value, int expected,
                       const char *part) {
  char *errors;
  int status = convert(input, output, option, value, &errors);
  ck_assert_msg(status == expected && strstr(errors, part), "%s: %d: %s", input, status, errors);
  ck_assert_msg(access(output, F_OK) != 0, "%s was written", output);
  free(errors);
}

typedef struct digests {
  uint8_t weights[16], function[16], tokenizer[16];
} digests;

static digests digests_of(const char *path) {
  tq_file *file;
  tq_file_info info;
  digests found;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  tq_file_describe(file, &info);
  memcpy(found.weights, info.weights_digest, 16);
  memcpy(found.function, info.function_digest, 16);
  memcpy(found.tokenizer, info.tokenizer_digest, 16);
  tq_file_close(file);
  return found;
}

static void ck_same_digests(const char *path, const digests *expected) {
  digests found = digests_of(path);
  ck_assert_msg(memcmp(found.weights, expected->weights, 16) == 0, "%s: other weights", path);
  ck_assert_msg(memcmp(found.function, expected->function, 16) == 0, "%s: another function", path);
  ck_assert_msg(memcmp(found.tokenizer, expected->tokenizer, 16) == 0, "%s: another tokenizer", path);
}

static char *join(const char *folder, const char *name) {
  static char paths[4][4096];
  static unsigned next;
  char *path = paths[next++ % 4];
  ck_assert(snprintf(path, sizeof paths[0], "%s/%s", folder, name) < (int)sizeof paths[0]);
  return path;
}

/* ---- GGUF there and back ---- */

static void check_gguf_round_trip(const char *path) {
  const char *container = temporary_path("round.tq"), *back = temporary_path("round.gguf");
  ck_converts(path, container);
  ck_converts(container, back);
  ck_same_files(path, back);
}

START_TEST(shared_gguf_files_come_back) {
  static const char *const names[] = {"models/stories260K.gguf",
                                      "golden/tensor-1.f16.gguf",
                                      "golden/row-2.f16.gguf",
                                      "golden/g64-3.f16.gguf",
                                      "golden/bitnet-7.f16.gguf",
                                      "tokenizers/ggml-vocab-gpt-2.gguf",
                                      "tokenizers/ggml-vocab-llama-spm.gguf"};
  const char *path = shared_path(names[_i]);
  if (path) check_gguf_round_trip(path);
}
END_TEST

/* Keys in an odd order, keys nobody knows, tensors that begin elsewhere, padding that is not zero, and -0. */
START_TEST(odd_gguf_files_come_back) {
  gguf_builder builder = {.padding = 0xa5, .alignment = _i ? 64 : 0};
  float vector[] = {-0.0f, 0.0f, 1.0f, -1.0f, -0.0f};
  uint64_t five = 5;
  gguf_key_string(&builder, "zzz.unknown", "kept as it is");
  if (_i) gguf_key_u32(&builder, "general.alignment", 64);
  gguf_tokenizer_keys(&builder);
  gguf_key_u16(&builder, "odd.u16", 65535);
  gguf_llama_keys(&builder);
  gguf_tensor(&builder, "an.unknown.tensor", 0, 1, &five, vector, sizeof vector);
  gguf_llama_tensors(&builder, 0, 0);
  const char *path = temporary_path("odd.gguf");
  gguf_end_file(&builder, path);
  check_gguf_round_trip(path);
}
END_TEST

START_TEST(every_float_type_comes_back) {
  static const uint32_t types[] = {0, 1, 30, 8};
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_llama_tensors(&builder, types[_i], 0);
  const char *path = temporary_path("type.gguf");
  gguf_end_file(&builder, path);
  check_gguf_round_trip(path);
}
END_TEST

/* ---- llama2.c ---- */

START_TEST(llama2c_is_the_same_model) {
  const char *gguf = shared_path("models/stories260K.gguf"), *bin = shared_path("models/stories260K.bin");
  if (!gguf || !bin) return;
  const char *from_gguf = temporary_path("gguf.tq"), *from_bin = temporary_path("bin.tq");
  ck_converts(gguf, from_gguf);
  ck_converts(bin, from_bin);
  digests expected = digests_of(from_gguf);
  ck_same_digests(from_bin, &expected);
}
END_TEST

/* ---- one model, many carriers ---- */

/* A Hugging Face folder of the stories model, made once. */
static const char *make_folder(void) {
  const char *gguf = shared_path("models/stories260K.gguf");
  if (!gguf) return NULL;
  static char folder[4096];
  snprintf(folder, sizeof folder, "%s", temporary_path("folder"));
  if (access(folder, F_OK) != 0) ck_converts(gguf, folder);
  return folder;
}

static void copy_file(const char *from_folder, const char *to_folder, const char *name) {
  size_t size;
  uint8_t *data = read_file(join(from_folder, name), &size);
  write_file(join(to_folder, name), data, size);
  free(data);
}

static const char *const companions[] = {"config.json",           "generation_config.json", "tokenizer.json",
                                         "tokenizer_config.json", "tokenizer.model",        "special_tokens_map.json"};
enum { COMPANIONS = sizeof companions / sizeof companions[0] };

static const char *begin_folder(const char *name, const char *source) {
  const char *folder = temporary_path(name);
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  for (size_t i = 0; i < COMPANIONS; i++) {
    if (access(join(source, companions[i]), F_OK) == 0) copy_file(source, folder, companions[i]);
  }
  return folder;
}

/* A safetensors file in memory: its header and where the data begins. */
typedef struct tensors_file {
  uint8_t *bytes;
  size_t size, data;
  json_t *header;
} tensors_file;

static tensors_file open_tensors(const char *folder) {
  tensors_file file;
  file.bytes = read_file(join(folder, "model.safetensors"), &file.size);
  size_t length = (size_t)tq_load_u64(file.bytes);
  file.data = 8 + length;
  file.header = json_loadb((const char *)file.bytes + 8, length, 0, NULL);
  ck_assert_ptr_nonnull(file.header);
  return file;
}

static void close_tensors(tensors_file *file) {
  json_decref(file->header);
  free(file->bytes);
}

static void range_of(const json_t *entry, size_t *begin, size_t *end) {
  const json_t *offsets = json_object_get(entry, "data_offsets");
  *begin = (size_t)json_integer_value(json_array_get(offsets, 0));
  *end = (size_t)json_integer_value(json_array_get(offsets, 1));
}

/* Every second tensor goes into shard `shard` of two. */
static void write_shard(const char *folder, const tensors_file *file, int shard, json_t *map) {
  char name[64];
  const char *key;
  json_t *entry, *header = json_object();
  uint8_t *data = malloc(file->size);
  size_t size = 0, begin, end;
  int index = 0;
  snprintf(name, sizeof name, "model-%05d-of-00002.safetensors", shard + 1);
  json_object_foreach(file->header, key, entry) {
    if (strcmp(key, "__metadata__") == 0 || index++ % 2 != shard) continue;
    range_of(entry, &begin, &end);
    memcpy(data + size, file->bytes + file->data + begin, end - begin);
    json_t *copy = json_deep_copy(entry);
    json_object_set_new(copy, "data_offsets", json_pack("[I,I]", (json_int_t)size, (json_int_t)(size + end - begin)));
    json_object_set_new(header, key, copy);
    json_object_set_new(map, key, json_string(name));
    size += end - begin;
  }
  char *text = json_dumps(header, JSON_COMPACT);
  size_t length = strlen(text);
  uint8_t *whole = malloc(8 + length + size);
  tq_store_u64(whole, length);
  memcpy(whole + 8, text, length);
  memcpy(whole + 8 + length, data, size);
  write_file(join(folder, name), whole, 8 + length + size);
  free(whole);
  free(text);
  free(data);
  json_decref(header);
}

static const char *make_sharded(const char *name, const char *source) {
  const char *folder = begin_folder(name, source);
  tensors_file file = open_tensors(source);
  json_t *map = json_object();
  for (int shard = 0; shard < 2; shard++) write_shard(folder, &file, shard, map);
  json_t *index = json_pack("{s:{s:i},s:o}", "metadata", "total_size", 0, "weight_map", map);
  char *text = json_dumps(index, JSON_INDENT(2));
  write_file(join(folder, "model.safetensors.index.json"), text, strlen(text));
  free(text);
  json_decref(index);
  close_tensors(&file);
  return folder;
}

/* The same tensors as a PyTorch state dict, each in a storage of its own, in a folder with the other files. */
static const char *make_pytorch(const char *source) {
  const char *folder = begin_folder("pytorch", source);
  tensors_file file = open_tensors(source);
  pickle dict = {0};
  member members[256] = {{0}};
  char names[256][40], keys[256][24];
  size_t count = 1, begin, end;
  const char *key;
  json_t *entry;
  emit_start(&dict);
  json_object_foreach(file.header, key, entry) {
    if (strcmp(key, "__metadata__") == 0) continue;
    ck_assert_str_eq(json_string_value(json_object_get(entry, "dtype")), "F32");
    range_of(entry, &begin, &end);
    snprintf(keys[count], sizeof keys[count], "%zu", count - 1);
    snprintf(names[count], sizeof names[count], "archive/data/%zu", count - 1);
    members[count] = (member){names[count], file.bytes + file.data + begin, end - begin};
    tensor described = {.type = "FloatStorage", .key = keys[count], .count = (int64_t)(end - begin) / 4};
    json_t *shape = json_object_get(entry, "shape");
    described.dimensions = json_array_size(shape);
    for (size_t i = 0; i < described.dimensions; i++) described.shape[i] = json_integer_value(json_array_get(shape, i));
    emit_text(&dict, key);
    emit_tensor(&dict, &described);
    ck_assert_uint_lt(++count, 256);
  }
  emit_end(&dict);
  members[0] = (member){"archive/data.pkl", dict.data, dict.size};
  pack_archive(join(folder, "model.pt"), PACK_ZIP, members, count);
  free(dict.data);
  close_tensors(&file);
  return folder;
}

static const char *make_archive(const char *source, pack_kind kind, const char *name) {
  const char *path = temporary_path(name);
  member members[COMPANIONS + 1];
  char names[COMPANIONS + 1][64];
  size_t count = 0;
  for (size_t i = 0; i <= COMPANIONS; i++) {
    const char *file = i < COMPANIONS ? companions[i] : "model.safetensors";
    if (access(join(source, file), F_OK) != 0) continue;
    snprintf(names[count], sizeof names[count], "stories/%s", file);
    members[count].name = names[count];
    members[count].data = read_file(join(source, file), &members[count].size);
    count++;
  }
  pack_archive(path, kind, members, count);
  for (size_t i = 0; i < count; i++) free((void *)members[i].data);
  return path;
}

static void ck_same_model(const char *input, const digests *expected) {
  const char *container = temporary_path("carrier.tq");
  ck_converts(input, container);
  ck_same_digests(container, expected);
}

START_TEST(one_model_in_every_carrier) {
  const char *folder = make_folder();
  if (!folder) return;
  const char *reference = temporary_path("reference.tq");
  ck_converts(shared_path("models/stories260K.gguf"), reference);
  digests expected = digests_of(reference);
  ck_same_model(folder, &expected);
  ck_same_model(make_sharded("sharded", folder), &expected);
  const char *pytorch = make_pytorch(folder);
  ck_same_model(pytorch, &expected);
  ck_same_model(join(pytorch, "model.pt"), &expected);
  ck_same_model(make_archive(folder, PACK_TAR, "stories.tar"), &expected);
  ck_same_model(make_archive(folder, PACK_TAR_GZ, "stories.tar.gz"), &expected);
  ck_same_model(make_archive(folder, PACK_TAR_ZST, "stories.tar.zst"), &expected);
  ck_same_model(make_archive(folder, PACK_ZIP, "stories.zip"), &expected);
}
END_TEST

/* From the folder to GGUF and back to a folder, all by translation: still the same model. */
START_TEST(translation_keeps_the_model) {
  const char *folder = make_folder();
  if (!folder) return;
  const char *container = temporary_path("translated.tq"), *gguf = temporary_path("translated.gguf");
  ck_converts(folder, container);
  digests expected = digests_of(container);
  ck_converts(folder, gguf);
  ck_converts(gguf, container);
  ck_same_digests(container, &expected);
  const char *again = temporary_path("translated");
  ck_converts(gguf, again);
  ck_converts(again, container);
  ck_same_digests(container, &expected);
}
END_TEST

/* Every file of `a`, which must be just as `b` has it; and the other way round by counting. */
static void ck_same_folders(const char *a, const char *b) {
  char **names, **others;
  size_t count, other_count;
  ck_ok(tq_list_folder(a, &names, &count, error));
  ck_ok(tq_list_folder(b, &others, &other_count, error));
  ck_assert_uint_eq(count, other_count);
  for (size_t i = 0; i < count; i++) {
    ck_assert_str_eq(names[i], others[i]);
    ck_same_files(join(a, names[i]), join(b, names[i]));
  }
  tq_free_names(names, count);
  tq_free_names(others, other_count);
}

static void check_folder_round_trip(const char *folder) {
  const char *container = temporary_path("folder.tq");
  char back[4096];
  snprintf(back, sizeof back, "%s-back", folder);
  ck_converts(folder, container);
  ck_converts(container, back);
  ck_same_folders(folder, back);
}

START_TEST(a_folder_comes_back) {
  const char *folder = make_folder();
  if (folder) check_folder_round_trip(folder);
}
END_TEST

START_TEST(a_sharded_folder_comes_back) {
  const char *folder = make_folder();
  if (folder) check_folder_round_trip(make_sharded("shards", folder));
}
END_TEST

/* A header with its keys in another order, spaces behind it and metadata; a config with keys nobody knows; a file in a
 * folder of its own; -0 among the weights. */
START_TEST(an_odd_folder_comes_back) {
  static const char header[] = "{\"z.weight\":{\"shape\":[2,2],\"data_offsets\":[8,24],\"dtype\":\"F32\"},"
                               "\"__metadata__\":{\"who\":\"a test\",\"a\":\"b\"},"
                               "\"a.weight\":{\"dtype\":\"I16\",\"data_offsets\":[0,8],\"shape\":[4]}}   ";
  float values[] = {-0.0f, 1.0f, -0.0f, -1.0f};
  uint8_t whole[8 + sizeof header - 1 + 24];
  tq_store_u64(whole, sizeof header - 1);
  memcpy(whole + 8, header, sizeof header - 1);
  memcpy(whole + 8 + sizeof header - 1, "\1\0\2\0\3\0\4\0", 8);
  memcpy(whole + 16 + sizeof header - 1, values, sizeof values);
  const char *folder = temporary_path("odd");
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  ck_assert_int_eq(mkdir(join(folder, "extra"), 0777), 0);
  write_file(join(folder, "model.safetensors"), whole, sizeof whole);
  write_file(join(folder, "config.json"), "{ \"unknown\": [1, {\"deep\": null}], \"model_type\": \"novel\" }\n", 57);
  write_file(join(folder, "extra/notes.txt"), "kept\n", 5);
  ck_assert_int_eq(mkdir(join(folder, "extra/deep"), 0777), 0);
  write_file(join(folder, "extra/deep/file.bin"), "not weights\n", 12);
  write_file(join(folder, "empty"), "", 0);
  write_file(join(folder, ".gitattributes"), "*.bin -text\n", 12);
  check_folder_round_trip(folder);
}
END_TEST

/* -q hides notes, but not that of a file that is left behind. */
START_TEST(a_loss_is_said_quietly_too) {
  const char *folder = temporary_path("both"), *container = temporary_path("both.tq");
  static const uint8_t empty[10] = {2, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  write_file(join(folder, "model.safetensors"), empty, sizeof empty);
  write_file(join(folder, "model.gguf"), "", 0);
  ck_assert_int_eq(truncate(join(folder, "model.gguf"), (64 << 20) + 1), 0);
  char *errors;
  ck_assert_int_eq(convert(folder, container, "-q", NULL, &errors), 0);
  ck_assert_ptr_eq(strstr(errors, "not carried: model.gguf, 67108865 bytes"), errors);
  ck_assert_ptr_eq(strchr(errors, '\n')[1] ? errors : NULL, NULL);
  free(errors);
}
END_TEST

/* A llama in I2_S whose scales no F16 holds. */
static const char *write_fine(void) {
  static const float fine[1] = {0.3f};
  gguf_builder builder = {0};
  gguf_ternary_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_ternary_tensors(&builder, tq_dialect_find("I2_S"), fine, 1);
  const char *path = temporary_path("fine.gguf");
  gguf_end_file(&builder, path);
  return path;
}

static int convert_with(const char *input, const char *output, const char *const options[4], char **errors) {
  const char *arguments[] = {"tq-convert", input, "-o", output, options[0], options[1], options[2], options[3], NULL};
  return run_tool(arguments, NULL, NULL, errors);
}

/* Nor that of a file that other programs misread. */
START_TEST(a_danger_is_said_quietly_too) {
  char *errors;
  static const char *const options[4] = {"-q", "--type", "tq2_0"};
  ck_assert_int_eq(convert_with(write_fine(), temporary_path("danger.gguf"), options, &errors), 0);
  ck_assert_msg(strstr(errors, "warning: 7 tensors have a scale that TQ2_0 cannot hold") == errors, "%s", errors);
  ck_assert_ptr_eq(strchr(errors, '\n')[1] ? errors : NULL, NULL);
  free(errors);
}
END_TEST

/* ---- refusals and failures ---- */

START_TEST(a_type_that_is_not_written) {
  static const char *const names[] = {"TL1", "tl2"};
  const char *path = write_fine();
  ck_refused(path, temporary_path("tl.gguf"), "--type", names[_i], 4,
             _i ? "TL2 is not written: the order of its weights depends on the build"
                : "TL1 is not written: the order of its weights depends on the build");
  ck_refused(path, temporary_path("tl.gguf"), "--type", "TL3", 2, "no dialect is called 'TL3'");
}
END_TEST

START_TEST(the_way_out_is_told) {
  ck_refused(write_fine(), temporary_path("out.gguf"), "--type", "pq2_0", 4,
             "is not exact in F16 (TQ1_0, TQ2_0 and Q2_0 hold it with a tensor .scale)");
}
END_TEST

/* What a file has been read as is decided; and what is said of nothing in a file is told. */
START_TEST(readings_that_do_not_apply) {
  static const char *const options[][4] = {{"--q2-group", "64", "--q2-group has nothing to apply to: no tensor is of "},
                                           {"--weight-scale", "direct", "--weight-scale has nothing to apply to: "},
                                           {"--i2s-layout", "arm", NULL}};
  const char *path = write_fine(), *container = temporary_path("fine.tq"), *output = temporary_path("again.tq");
  char *errors;
  ck_converts(path, container);
  ck_refused(container, output, "--assume", "float", 2, "it is a .tq file");
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    ck_refused(container, output, options[i][0], options[i][1], 2, "it is a .tq file");
    ck_assert_int_eq(convert(path, container, options[i][0], options[i][1], &errors), 0);
    ck_assert_msg(options[i][2] ? strstr(errors, options[i][2]) != NULL : !strstr(errors, "nothing to apply to"), "%s",
                  errors);
    free(errors);
  }
  const char *folder = make_folder();
  if (!folder) return;
  ck_assert_int_eq(convert(folder, container, "--i2s-layout", "arm", &errors), 0);
  ck_assert_ptr_nonnull(strstr(errors, "--i2s-layout has nothing to apply to: no tensor is of GGUF's type 36\n"));
  free(errors);
}
END_TEST

START_TEST(what_cannot_be_held_is_refused) {
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_llama_tensors(&builder, 8, 0);
  const char *path = temporary_path("q8.gguf"), *container = temporary_path("q8.tq");
  gguf_end_file(&builder, path);
  ck_refused(path, temporary_path("q8"), NULL, NULL, 4, "Q8_0");
  ck_converts(path, container);
  ck_refused(container, temporary_path("q8"), NULL, NULL, 4, "Q8_0");
  ck_refused(container, temporary_path("q8.safetensors"), NULL, NULL, 2, "did not come from");
}
END_TEST

/* How many entries of the temporary folder begin with `start`, hidden ones included. */
static int entries_that_begin(const char *start) {
  int count = 0;
  DIR *folder = opendir(temporary_folder());
  ck_assert(folder != NULL);
  for (struct dirent *entry; (entry = readdir(folder));) count += strncmp(entry->d_name, start, strlen(start)) == 0;
  closedir(folder);
  return count;
}

/* Between two foreign forms nothing of the user's is touched, and what this run or a dead one made does not stay. */
START_TEST(the_way_between_leaves_no_trace) {
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_tokenizer_keys(&builder);
  gguf_llama_tensors(&builder, _i ? 8 : 0, 0);
  const char *path = temporary_path("way.gguf"), *name = _i ? "refused-way" : "way-over";
  const char *output = temporary_path(name);
  char mine[4200], stale[4200];
  snprintf(mine, sizeof mine, "%s.between.tq", output);
  snprintf(stale, sizeof stale, "%s.between.tmp-999999999", output);
  gguf_end_file(&builder, path);
  write_file(mine, "mine", 4);
  ck_assert(mkdir(stale, 0777) == 0);
  write_file(join(stale, "model.tq"), "x", 1);
  if (_i)
    ck_refused(path, output, NULL, NULL, 4, "Q8_0");
  else
    ck_converts(path, output);
  ck_assert_int_eq(entries_that_begin(name), _i ? 1 : 2);
  size_t size;
  uint8_t *kept = read_file(mine, &size);
  ck_assert(size == 4 && memcmp(kept, "mine", 4) == 0);
  free(kept);
}
END_TEST

/* Before the import, which would find that the input is none. */
START_TEST(taken_outputs_are_refused_first) {
  const char *folder = temporary_path("taken"), *file = temporary_path("taken.gguf");
  char *errors;
  ck_assert(mkdir(folder, 0777) == 0 && mkdir(file, 0777) == 0);
  ck_assert_int_eq(convert(temporary_path("nothing"), folder, NULL, NULL, &errors), 2);
  ck_assert_ptr_nonnull(strstr(errors, "taken: exists, and a folder is only made under a new name"));
  free(errors);
  ck_assert_int_eq(convert(temporary_path("nothing"), file, NULL, NULL, &errors), 2);
  ck_assert_ptr_nonnull(strstr(errors, "taken.gguf: is a folder"));
  free(errors);
}
END_TEST

/* `dialect` of a matrix in it, or NULL for none. */
static void write_part_of(const char *name, uint16_t number, const tq_dialect *dialect) {
  static const uint64_t shape[1] = {4};
  static const float scale[1] = {0.5f};
  float data[4] = {number, 1, 2, 3};
  char norm[32], matrix[32];
  gguf_builder builder = {0};
  if (number == 0) gguf_llama_keys(&builder);
  gguf_key_u16(&builder, "split.no", number);
  gguf_key_u16(&builder, "split.count", 2);
  gguf_key_u32(&builder, "split.tensors.count", dialect ? 4 : 2);
  snprintf(norm, sizeof norm, "blk.%u.attn_norm.weight", number);
  gguf_tensor(&builder, norm, 0, 1, shape, data, sizeof data);
  if (dialect) {
    snprintf(matrix, sizeof matrix, "blk.%u.ffn_up.weight", number);
    gguf_ternary(&builder, matrix, dialect->gguf_type, dialect, 8, 256, number + 1u, scale, 1);
  }
  gguf_end_file(&builder, temporary_path(name));
}

static void write_part(const char *name, uint16_t number) { write_part_of(name, number, NULL); }

/* One file of a split one is another file, and its weights are what they came as. */
START_TEST(split_gguf_becomes_one) {
  const char *container = temporary_path("ts.tq"), *output = temporary_path("ts.gguf"),
             *back = temporary_path("ts2.tq");
  char *errors;
  write_part_of("ts-00001-of-00002.gguf", 0, tq_dialect_find("TQ2_0"));
  write_part_of("ts-00002-of-00002.gguf", 1, tq_dialect_find("TQ2_0"));
  ck_converts(temporary_path("ts-00001-of-00002.gguf"), container);
  ck_assert_int_eq(convert(container, output, NULL, NULL, &errors), 0);
  ck_assert_msg(strstr(errors, "ternary tensors are written as TQ2_0, as they came; "), "%s", errors);
  free(errors);
  ck_converts(output, back);
  digests expected = digests_of(container);
  ck_same_digests(back, &expected);
}
END_TEST

/* A name that tells no format asks for one file. */
START_TEST(split_gguf_under_an_unknown_extension) {
  const char *container = temporary_path("sp.tq"), *output = temporary_path("sp.weird");
  struct stat status;
  write_part("sp-00001-of-00002.gguf", 0);
  write_part("sp-00002-of-00002.gguf", 1);
  ck_converts(temporary_path("sp-00001-of-00002.gguf"), container);
  ck_assert_int_eq(convert(container, output, "--to", "gguf", NULL), 0);
  ck_assert(stat(output, &status) == 0 && S_ISREG(status.st_mode));
}
END_TEST

START_TEST(pipes_are_no_input) {
  static const char *const tools[][5] = {{"tq-convert", "PIPE", "-o", "OUTPUT"},
                                         {"tq-inspect", "PIPE"},
                                         {"tq-run", "PIPE", "-p", "a"},
                                         {"tq-eval", "perplexity", "PIPE", "-f", "-"}};
  const char *pipe_path = temporary_path("pipe"), *output = temporary_path("piped.tq");
  ck_assert(mkfifo(pipe_path, 0666) == 0);
  for (size_t i = 0; i < sizeof tools / sizeof *tools; i++) {
    const char *arguments[6] = {NULL};
    char *errors, expected[4200];
    for (size_t a = 0; a < 5 && tools[i][a]; a++)
      arguments[a] = strcmp(tools[i][a], "PIPE") == 0     ? pipe_path
                     : strcmp(tools[i][a], "OUTPUT") == 0 ? output
                                                          : tools[i][a];
    ck_assert_int_eq(run_tool(arguments, "", NULL, &errors), 2);
    snprintf(expected, sizeof expected, "%s: %s: not a regular file\n", arguments[0], pipe_path);
    ck_assert_str_eq(errors, expected);
    free(errors);
  }
}
END_TEST

START_TEST(wrong_usage) {
  const char *no_output[] = {"tq-convert", "x", NULL}, *no_input[] = {"tq-convert", "-o", "x", NULL};
  const char *two[] = {"tq-convert", "x", "y", "-o", "z.tq", NULL};
  char *errors;
  ck_assert_int_eq(run_tool(no_output, NULL, NULL, &errors), 2);
  ck_assert_ptr_nonnull(strstr(errors, "no output"));
  free(errors);
  ck_assert_int_eq(run_tool(no_input, NULL, NULL, NULL), 2);
  ck_assert_int_eq(run_tool(two, NULL, NULL, NULL), 2);
  ck_refused("x", "y.unknown", NULL, NULL, 2, "--to");
  ck_refused("x", "y.tq", "--code", "4bit", 2, "2bit or base3");
  ck_refused("x", "y.tq", "--hash", "md5", 2, "sha256");
  ck_refused("x", "y.tq", "--to", "ggml", 2, "ggml");
}
END_TEST

START_TEST(bad_inputs) {
  const char *missing = temporary_path("missing"), *garbage = temporary_path("garbage"),
             *empty = temporary_path("empty"), *output = temporary_path("bad.tq");
  write_file(garbage, "this is not a model\n", 20);
  write_file(empty, "", 0);
  ck_refused(missing, output, NULL, NULL, 1, "no such file");
  ck_refused(garbage, output, NULL, NULL, 3, "garbage");
  ck_refused(empty, output, NULL, NULL, 3, "empty");
}
END_TEST

/* Cut off anywhere, a GGUF file and a .tq file are refused and the old output stays. */
START_TEST(truncated_inputs_leave_the_output) {
  gguf_builder builder = {0};
  gguf_llama_keys(&builder);
  gguf_llama_tensors(&builder, 0, 0);
  size_t size;
  uint8_t *bytes = gguf_end(&builder, &size);
  const char *path = temporary_path("cut.gguf"), *output = temporary_path("kept.tq");
  write_file(output, "old", 3);
  for (size_t length = 0; length < size; length += 1 + size / 12) {
    char *errors;
    write_file(path, bytes, length);
    int status = convert(path, output, NULL, NULL, &errors);
    ck_assert_msg(status == 3, "%zu bytes: %d: %s", length, status, errors);
    ck_assert_msg(strchr(errors, '\n') == errors + strlen(errors) - 1, "not one line: %s", errors);
    free(errors);
    size_t kept;
    uint8_t *old = read_file(output, &kept);
    ck_assert(kept == 3 && memcmp(old, "old", 3) == 0);
    free(old);
  }
  free(bytes);
}
END_TEST

/* Memory does not grow with the model: a file of 256 MiB, sparse so that the test costs no disk, goes through in less
 * than the 64 MiB that are allowed for any. The resident size counts the program itself too. */
START_TEST(memory_does_not_depend_on_the_model) {
  static const char header[] = "{\"w\":{\"dtype\":\"BF16\",\"shape\":[32768,4096],\"data_offsets\":[0,268435456]}}";
  uint8_t start[8 + sizeof header - 1];
  tq_store_u64(start, sizeof header - 1);
  memcpy(start + 8, header, sizeof header - 1);
  const char *path = temporary_path("large.safetensors"), *output = temporary_path("large.tq");
  write_file(path, start, sizeof start);
  ck_assert_int_eq(truncate(path, (off_t)sizeof start + 268435456), 0);
  ck_converts(path, output);
  struct rusage usage;
  ck_assert_int_eq(getrusage(RUSAGE_CHILDREN, &usage), 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__APPLE__)
  ck_assert_int_lt(usage.ru_maxrss, 64 * 1024);
#endif
  unlink(output);
}
END_TEST

/* ---- codes and hashes ---- */

/* One matrix of a whole panel and three rows, of blocks and a tail in either code. */
static void write_ternary(const char *path) {
  static const uint8_t none[16];
  uint64_t state = 1;
  ternary matrix = {
      .rows = 19, .columns = 331, .code = TQ_TERNARY_BASE3, .granularity = TQ_PER_ROW, .encoding = TQ_F32};
  tq_writer *writer;
  ternary_random(&matrix, SCALES_ANY, &state);
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, NULL, 0, 0, error));
  ck_ok(ternary_put(writer, &matrix, "layers.0.q", 0, NULL, 0, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  ternary_free(&matrix);
  image file = load_image(path);
  reseal_contents(file);
  write_file(path, file.data, file.size);
  free(file.data);
}

static uint32_t encoding_of(const char *path) {
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  uint32_t encoding = tq_file_tensor(file, 0)->parts[0].encoding;
  tq_file_close(file);
  return encoding;
}

START_TEST(codes_change_and_change_back) {
  const char *base3 = temporary_path("base3.tq"), *two = temporary_path("2bit.tq"), *back = temporary_path("back.tq");
  write_ternary(base3);
  digests expected = digests_of(base3);
  ck_assert_int_eq(convert(base3, two, "--code", "2bit", NULL), 0);
  ck_assert_uint_eq(encoding_of(two), TQ_TERNARY_2BIT);
  ck_same_digests(two, &expected);
  ck_assert_int_eq(convert(two, back, "--code", "base3", NULL), 0);
  ck_same_files(base3, back);
}
END_TEST

START_TEST(sha256_on_request) {
  const char *base3 = temporary_path("plain.tq"), *hashed = temporary_path("sha.tq");
  write_ternary(base3);
  ck_assert_int_eq(convert(base3, hashed, "--hash", "sha256", NULL), 0);
  tq_file *file;
  tq_file_info info;
  ck_ok(tq_file_open(hashed, TQ_VERIFY_FULL, &file, error));
  tq_file_describe(file, &info);
  ck_assert_uint_eq(info.hash_algorithm, 2);
  tq_file_close(file);
}
END_TEST

START_TEST(same_input_same_bytes) {
  const char *folder = make_folder();
  if (!folder) return;
  const char *a = temporary_path("a.tq"), *b = temporary_path("b.tq");
  ck_converts(folder, a);
  ck_converts(folder, b);
  ck_same_files(a, b);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-convert");
  TCase *gguf = tcase_create("gguf"), *carriers = tcase_create("carriers"), *failures = tcase_create("failures");
  TCase *codes = tcase_create("codes");
  tcase_set_timeout(gguf, 60);
  tcase_set_timeout(carriers, 120);
  tcase_set_timeout(failures, 60);
  tcase_add_loop_test(gguf, shared_gguf_files_come_back, 0, 7);
  tcase_add_loop_test(gguf, odd_gguf_files_come_back, 0, 2);
  tcase_add_loop_test(gguf, every_float_type_comes_back, 0, 4);
  tcase_add_test(carriers, llama2c_is_the_same_model);
  tcase_add_test(carriers, one_model_in_every_carrier);
  tcase_add_test(carriers, translation_keeps_the_model);
  tcase_add_test(carriers, a_folder_comes_back);
  tcase_add_test(carriers, a_sharded_folder_comes_back);
  tcase_add_test(carriers, an_odd_folder_comes_back);
  tcase_add_test(carriers, a_loss_is_said_quietly_too);
  tcase_add_test(carriers, a_danger_is_said_quietly_too);
  tcase_add_test(carriers, same_input_same_bytes);
  tcase_add_test(failures, what_cannot_be_held_is_refused);
  tcase_add_loop_test(failures, the_way_between_leaves_no_trace, 0, 2);
  tcase_add_test(failures, taken_outputs_are_refused_first);
  tcase_add_loop_test(failures, a_type_that_is_not_written, 0, 2);
  tcase_add_test(failures, the_way_out_is_told);
  tcase_add_test(failures, readings_that_do_not_apply);
  tcase_add_test(failures, split_gguf_becomes_one);
  tcase_add_test(failures, split_gguf_under_an_unknown_extension);
  tcase_add_test(failures, pipes_are_no_input);
  tcase_add_test(failures, wrong_usage);
  tcase_add_test(failures, bad_inputs);
  tcase_add_test(failures, truncated_inputs_leave_the_output);
  tcase_add_test(failures, memory_does_not_depend_on_the_model);
  tcase_add_test(codes, codes_change_and_change_back);
  tcase_add_test(codes, sha256_on_request);
  suite_add_tcase(suite, gguf);
  suite_add_tcase(suite, carriers);
  suite_add_tcase(suite, failures);
  suite_add_tcase(suite, codes);
  return run_suite(suite);
}
