/* tq-inspect --verify, and what is wrong with files: damage, lies, and files that are none. */
#include "base/bytes.h"
#include "container/layout.h"
#include "tests/cli/inspect_support.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- verifying, and what is wrong ---- */

START_TEST(verify_tells_intact_from_damaged) {
  const char *path = temporary_path("verify.tq");
  write_ternary(path, "verify", 6, false);
  char *output = inspect(0, NULL, "--verify", path, NULL), *errors, expected[256];
  json_t *json = inspect_json(path);
  snprintf(expected, sizeof expected, "%s: intact (hashes of 11 tensors, 11 chunks, xxh3-128 %s)\n", path,
           string_at(json, "hash/value"));
  ck_assert_str_eq(output, expected);
  ck_assert(json_is_null(at(json, "verified")));
  free(output);
  output = inspect(0, NULL, "--verify=content", path, NULL);
  snprintf(expected, sizeof expected, "%s: intact (hashes and content of 11 tensors, 11 chunks, xxh3-128 %s)\n", path,
           string_at(json, "hash/value"));
  ck_assert_str_eq(output, expected);
  free(output), json_decref(json);
  for (size_t i = 0; i < 2; i++) {
    output = inspect(0, NULL, i ? "--verify=content" : "--verify", "--json", path);
    json = json_loads(output, 0, NULL);
    ck_assert_str_eq(string_at(json, "verified"), i ? "content" : "hashes");
    free(output), json_decref(json);
    output = inspect(0, NULL, i ? "--verify=content" : "--verify", "--tensors", path);
    ck_contains(output, i ? ", hashes and content verified)" : ", hashes verified)");
    free(output);
  }
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  bytes[size - 100] ^= 4;
  write_file(path, bytes, size);
  output = inspect(3, &errors, "--verify", path, NULL);
  ck_assert_str_eq(output, "");
  ck_contains(errors, path);
  free(output), free(errors), free(bytes);
}
END_TEST

/* A tensor whose scales have an encoding that nobody knows is carried: its hashes are verified, its content is not. */
START_TEST(verify_counts_what_it_does_not_understand) {
  const char *path = temporary_path("carried.tq");
  char expected[256];
  write_ternary(path, "carried", 7, false);
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
  size_t part = 0, count = tq_file_tensor_count(file);
  for (size_t i = tq_file_find_role(file, "layers.0.q"); i-- > 0;) part += tq_file_tensor(file, i)->part_count;
  tq_file_close(file);
  image carried = load_image(path);
  uint8_t *parts = section_bytes(carried, "tensors") + TQ_DIRECTORY_HEADER_SIZE + count * TQ_TENSOR_RECORD_SIZE;
  tq_store_u32(parts + (part + 1) * TQ_PART_RECORD_SIZE + TQ_PART_ENCODING, 4711);
  reseal(carried);
  write_file(path, carried.data, carried.size);
  free(carried.data);
  json_t *json = inspect_json(path);
  char *output = inspect(0, NULL, "--verify=content", path, NULL);
  snprintf(expected, sizeof expected,
           "%s: intact (hashes of 11 tensors, content of 10 tensors, 1 not understood, 11 chunks, xxh3-128 %s)\n", path,
           string_at(json, "hash/value"));
  ck_assert_str_eq(output, expected);
  ck_assert(json_is_null(at(json, "not_understood")));
  free(output), json_decref(json);
  output = inspect(0, NULL, "--verify=content", "--tensors", path);
  ck_contains(output, ", hashes and content verified, tensors not understood: 1)");
  free(output);
  output = inspect(0, NULL, "--verify=content", "--json", path);
  json = json_loads(output, 0, NULL);
  ck_assert_int_eq(integer_at(json, "not_understood"), 1);
  free(output), json_decref(json);
}
END_TEST

/* Hashes that are right for digests that are not. */
START_TEST(verify_computes_the_digests_anew) {
  static const struct {
    size_t offset;
    const char *message;
  } rows[] = {{TQ_DIGESTS_FUNCTION, "the function digest is not that of the hyperparameters"},
              {TQ_DIGESTS_TOKENIZER, "the tokenizer digest is not that of the tokenizer"}};
  const char *path = temporary_path("digests.tq");
  for (int i = 0; i < 3; i++) {
    char *errors;
    write_ternary(path, "digests", 7, true);
    image file = load_image(path);
    if (i < 2)
      section_bytes(file, "digests")[rows[i].offset] ^= 1;
    else
      section_bytes(file, "data")[0] ^= 1;
    reseal(file);
    write_file(path, file.data, file.size);
    free(file.data);
    free(inspect(0, NULL, "--verify", path, NULL));
    free(inspect(3, &errors, "--verify=content", path, NULL));
    ck_contains(errors, i < 2 ? rows[i].message : "tensor embedding: its content digest is not that of its weights");
    free(errors);
  }
}
END_TEST

/* Where the bytes of the first patch lie in a .tq file. */
static uint64_t find_patch(const char *path, uint64_t *size) {
  tq_file *file;
  uint64_t offset = 0;
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  for (size_t i = 0; !offset && i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    const tq_part *last = &tensor->parts[tensor->part_count - 1];
    if (last->kind != TQ_PART_PATCH) continue;
    offset = tensor->data_offset + last->offset;
    *size = last->size;
  }
  tq_file_close(file);
  ck_assert_uint_gt(offset, 0);
  return offset;
}

/* A patch whose hash is right and that says nothing sensible. */
START_TEST(verify_applies_patches) {
  const char *source = shared_path("golden/bitnet-7.f16.gguf");
  const char *packed = temporary_path("packed.gguf"), *path = temporary_path("patched.tq");
  if (!source) return;
  ck_assert_int_eq(
      run_tool((const char *[]){"tq-convert", "-q", source, "-o", packed, "--type", "I2_S", NULL}, NULL, NULL, NULL),
      0);
  size_t bytes;
  uint8_t *gguf = read_file(packed, &bytes);
  gguf[bytes - 1] = 0xa5; /* of the last tensor's tail, which no program defines */
  write_file(packed, gguf, bytes);
  free(gguf);
  ck_assert_int_eq(run_tool((const char *[]){"tq-convert", "-q", packed, "-o", path, NULL}, NULL, NULL, NULL), 0);
  free(inspect(0, NULL, "--verify=content", path, NULL));
  uint64_t size, offset = find_patch(path, &size);
  image file = load_image(path);
  memset(file.data + offset + 16, 0x55, (size_t)size - 16);
  reseal(file);
  write_file(path, file.data, file.size);
  free(file.data);
  char *errors;
  free(inspect(0, NULL, "--verify", path, NULL));
  free(inspect(3, &errors, "--verify=content", path, NULL));
  ck_contains(errors, "patch");
  free(errors);
}
END_TEST

START_TEST(only_tq_files_are_verified) {
  const char *path = shared_path("models/stories260K.gguf");
  char *errors;
  if (!path) return;
  free(inspect(2, &errors, "--verify", path, NULL));
  ck_contains(errors, "carries no hashes");
  free(errors);
}
END_TEST

/* The status, one line on stderr that names the file, and nothing on stdout. */
static void check_refused(int status, const char *path) {
  static const char *const modes[] = {NULL, "--json", "--hash", "--verify"};
  for (size_t i = 0; i < 4; i++) {
    char *errors, *output = inspect(status, &errors, path, modes[i], NULL);
    ck_assert_str_eq(output, "");
    ck_assert_ptr_eq(strstr(errors, "tq-inspect: "), errors);
    ck_contains(errors, path);
    ck_assert(strchr(errors, '\n') == errors + strlen(errors) - 1);
    free(output), free(errors);
  }
}

START_TEST(files_that_are_none) {
  const char *path = temporary_path("none");
  check_refused(1, temporary_path("missing"));
  write_file(path, "", 0);
  check_refused(3, path);
  uint8_t garbage[5000];
  uint64_t state = 17;
  for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (uint8_t)random_u64(&state);
  write_file(path, garbage, sizeof garbage);
  check_refused(3, path);
  write_file(path, "\x89TQF\r\n\x1a\n", 8);
  check_refused(3, path);
}
END_TEST

START_TEST(truncated_files) {
  const char *whole = temporary_path("whole.tq"), *cut = temporary_path("cut.tq");
  write_ternary(whole, "cut", 3, false);
  size_t size;
  uint8_t *bytes = read_file(whole, &size);
  static const size_t left[] = {4, 8, 127, 128, 1000, 65536, 70000};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
    write_file(cut, bytes, left[i]);
    check_refused(3, cut);
  }
  write_file(cut, bytes, size - 1);
  check_refused(3, cut);
  free(bytes);
  const char *gguf = shared_path("models/stories260K.gguf");
  if (!gguf) return;
  bytes = read_file(gguf, &size);
  write_file(cut, bytes, size - 1);
  check_refused(3, cut);
  free(bytes);
}
END_TEST

/* Damage in a scale table is met while its range is read, without --verify. */
START_TEST(damaged_scales) {
  const char *path = temporary_path("scales.tq");
  write_ternary(path, "scales", 6, false);
  tq_file *file;
  ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
  size_t index = tq_file_find_role(file, "layers.1.gate");
  ck_assert_uint_ne(index, SIZE_MAX);
  const tq_tensor *tensor = tq_file_tensor(file, index);
  uint64_t offset = tensor->data_offset + tensor->parts[1].offset;
  tq_file_close(file);
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  bytes[offset] ^= 1;
  write_file(path, bytes, size);
  free(bytes);
  check_refused(3, path);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-inspect --verify");
  TCase *refused = tcase_create("what is wrong");
  tcase_add_test(refused, verify_tells_intact_from_damaged);
  tcase_add_test(refused, verify_counts_what_it_does_not_understand);
  tcase_add_test(refused, verify_computes_the_digests_anew);
  tcase_add_test(refused, verify_applies_patches);
  tcase_add_test(refused, only_tq_files_are_verified);
  tcase_add_test(refused, files_that_are_none);
  tcase_add_test(refused, truncated_files);
  tcase_add_test(refused, damaged_scales);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
