/* Damage: every bit, every length, lazily and in full; and what faults of the system do to a reader. */
#include "base/bytes.h"
#include "base/hash.h"
#include "container/layout.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- every bit ---- */

typedef struct flipper {
  image file;
  const tq_file *opened;
  size_t from, to;                 /* bytes */
  size_t padding_from, padding_to; /* of these, the long padding before the data */
  size_t undetected, wrong;        /* flips that passed; that failed with another status or without naming the file */
} flipper;

/* Opens the file in full for each flip; in the padding, half a million bits of which nothing is parsed, it verifies the
 * open file in full, which is the same check at less cost. */
static void *flip_bits(void *context) {
  flipper *job = context;
  tq_error error;
  for (size_t at = job->from; at < job->to; at++)
    for (int bit = 0; bit < 8; bit++) {
      bool padding = at >= job->padding_from && at < job->padding_to;
      job->file.data[at] ^= (uint8_t)(1 << bit);
      tq_status status = padding ? tq_file_verify(job->opened, &error) : try_open(job->file, TQ_VERIFY_FULL, &error);
      job->file.data[at] ^= (uint8_t)(1 << bit);
      if (status == TQ_OK)
        job->undetected++;
      else if (status != TQ_ERROR_CORRUPT || strncmp(error.message, "image.tq: ", 10) != 0)
        job->wrong++;
    }
  return NULL;
}

/* Flips the bits of [from, to). */
static void flip_range(image sample, size_t from, size_t to) {
  enum { THREADS = 2 };
  flipper jobs[THREADS];
  pthread_t threads[THREADS];
  tq_file *opened[THREADS];
  size_t attachments = (size_t)(section_bytes(sample, "attachments") - sample.data);
  size_t padding = attachments + tq_load_u64(section_entry(sample, "attachments") + TQ_ENTRY_SIZE_FIELD);
  for (size_t i = 0; i < THREADS; i++) {
    image file = copy_image(sample);
    ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_FULL, &opened[i], error));
    jobs[i] = (flipper){.file = file,
                        .opened = opened[i],
                        .from = from + (to - from) * i / THREADS,
                        .to = from + (to - from) * (i + 1) / THREADS,
                        .padding_from = padding,
                        .padding_to = (size_t)(section_bytes(sample, "data") - sample.data)};
    ck_assert(pthread_create(&threads[i], NULL, flip_bits, &jobs[i]) == 0);
  }
  for (size_t i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
    ck_assert_uint_eq(jobs[i].undetected, 0);
    ck_assert_uint_eq(jobs[i].wrong, 0);
    tq_file_close(opened[i]);
    free(jobs[i].file.data);
  }
}

START_TEST(every_flipped_bit_is_detected) {
  image sample = sample_image(TQ_HASH_XXH3_128);
  ck_assert_uint_lt(sample.size, 80000);
  flip_range(sample, 0, sample.size);
  free(sample.data);
}
END_TEST

/* The padding, which is not hashed, is left to the test above. */
START_TEST(every_flipped_bit_is_detected_by_sha256) {
  image sample = sample_image(TQ_HASH_SHA256);
  flip_range(sample, 0, 4096);
  flip_range(sample, 61440, sample.size);
  free(sample.data);
}
END_TEST

START_TEST(every_truncation_is_detected) {
  image sample = sample_image(0);
  for (size_t size = 0; size < sample.size; size++) {
    image cut = {sample.data, size};
    expect(try_open(cut, TQ_VERIFY_HEADER, NULL) == TQ_ERROR_CORRUPT);
  }
  image cut = {sample.data, sample.size - 1};
  ck_fails(try_open(cut, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "image.tq: truncated: the header says");
  free(sample.data);
}
END_TEST

/* The end moved in with the file's size and the table's place corrected: what the table says lies outside. */
START_TEST(truncation_with_a_right_header) {
  image sample = sample_image(0);
  uint32_t count = tq_load_u32(sample.data + TQ_HEADER_SECTION_COUNT);
  size_t table_size = count * TQ_ENTRY_SIZE;
  for (size_t table = 128; table + table_size < sample.size; table += 64) {
    image cut = copy_image(sample);
    memmove(cut.data + table, sample.data + sample.size - table_size, table_size);
    cut.size = table + table_size;
    tq_store_u64(cut.data + TQ_HEADER_FILE_SIZE, cut.size);
    tq_store_u64(cut.data + TQ_HEADER_TABLE_OFFSET, table);
    reseal_header(cut);
    expect(try_open(cut, TQ_VERIFY_HEADER, NULL) == TQ_ERROR_CORRUPT);
    free(cut.data);
  }
  free(sample.data);
}
END_TEST

/* ---- lazy ---- */

enum { BIG_ELEMENTS = 700001 }; /* three chunks of a mebibyte, the last one short */

static image big_image(void) {
  static const uint8_t no_digest[16];
  tq_writer *writer;
  const char *path = temporary_path("big.tq");
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(put_floats(writer, "small", 3, 1, error));
  ck_ok(put_floats(writer, "big", BIG_ELEMENTS, 2, error));
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  return load_image(path);
}

START_TEST(lazy_verification_waits_for_the_touch) {
  image file = big_image();
  uint64_t big = (uint64_t)(section_bytes(file, "data") - file.data) + 64;
  file.data[big + (2 << 20) + 5] ^= 1;
  tq_file *opened;
  ck_fails(try_open(file, TQ_VERIFY_FULL, error), TQ_ERROR_CORRUPT, "image.tq: tensor big: chunk 2 at offset 2162752");
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_LAZY, &opened, error));
  ck_ok(tq_file_touch(opened, 0, 0, 12, error));
  ck_ok(tq_file_touch(opened, 1, 0, 2 << 20, error));
  ck_ok(tq_file_touch(opened, 1, 4 * BIG_ELEMENTS, 0, error));
  ck_fails(tq_file_touch(opened, 1, (2 << 20) - 1, 2, error), TQ_ERROR_CORRUPT, "tensor big: chunk 2");
  ck_fails(tq_file_touch(opened, 1, 2 << 20, 1, error), TQ_ERROR_CORRUPT, "tensor big: chunk 2");
  ck_fails(tq_file_touch(opened, 1, 4 * BIG_ELEMENTS - 1, 2, error), TQ_ERROR_USAGE, "outside its data");
  ck_fails(tq_file_touch(opened, 1, UINT64_MAX, 2, error), TQ_ERROR_USAGE, "outside its data");
  float *values = malloc(BIG_ELEMENTS * sizeof *values);
  ck_assert(values != NULL);
  ck_fails(tq_tensor_decode(opened, 1, 0, 1, values, error), TQ_ERROR_CORRUPT, "tensor big: chunk 2");
  ck_fails(tq_file_verify(opened, error), TQ_ERROR_CORRUPT, "tensor big: chunk 2");
  /* What was verified once is not read again: chunk 0 is trusted now. */
  file.data[big] ^= 1;
  ck_ok(tq_file_touch(opened, 1, 0, 1 << 20, error));
  tq_file_close(opened);
  /* Without lazy verification a touch does nothing. */
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_HEADER, &opened, error));
  ck_ok(tq_file_touch(opened, 1, 0, 4 * BIG_ELEMENTS, error));
  tq_file_close(opened);
  free(values);
  free(file.data);
}
END_TEST

/* A row is spread over its panel: all of that is verified for it, and nothing of other panels. */
START_TEST(rows_are_verified_by_panels) {
  enum { ROWS = 24, COLUMNS = 1 << 19, ROW_BYTES = COLUMNS / 4, GROUPS = COLUMNS / 256, CODES = ROWS * ROW_BYTES };
  static const uint64_t shape[] = {ROWS, COLUMNS};
  static const struct {
    size_t damaged;     /* of the tensor's bytes */
    bool first, second; /* whether a row of the first panel, and one of the second, is refused for it */
  } places[] = {{1, true, false},
                {(1 << 20) + 9, true, false},
                {16 * ROW_BYTES - 1, true, false},
                {16 * ROW_BYTES, false, true},
                {CODES - 1, false, true},
                {CODES, true, true}}; /* all scales lie in one chunk */
  static int8_t trits[COLUMNS];
  static uint8_t scales[ROWS * GROUPS * 4];
  static const uint8_t no_digest[16];
  uint64_t counts[4] = {0, (uint64_t)ROWS * COLUMNS};
  uint8_t *codes = malloc(CODES);
  float *values = malloc(COLUMNS * sizeof *values);
  ck_assert(codes && values);
  for (uint64_t row = 0; row < ROWS; row++) put_trits(TQ_TERNARY_2BIT, trits, ROWS, row, COLUMNS, codes);
  const part_bytes parts[] = {
      {{.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_2BIT, .size = CODES}, codes},
      {{.kind = TQ_PART_SCALES, .encoding = TQ_F32, .granularity = TQ_PER_GROUP, .group = 256, .size = sizeof scales},
       scales}};
  const char *path = temporary_path("panels.tq");
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(put_tensor(writer, "panels", 2, shape, parts, 2, counts, error));
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  image file = load_image(path);
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    uint8_t *byte = section_bytes(file, "data") + places[i].damaged;
    tq_file *opened;
    *byte ^= 1;
    for (uint64_t row = 3; row < ROWS; row += 14) {
      bool refused = row < 16 ? places[i].first : places[i].second;
      ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_LAZY, &opened, error));
      ck_assert_int_eq(tq_tensor_decode(opened, 0, row, 1, values, NULL), refused ? TQ_ERROR_CORRUPT : TQ_OK);
      tq_file_close(opened);
    }
    *byte ^= 1;
  }
  free(file.data);
  free(values);
  free(codes);
}
END_TEST

static void *touch_everything(void *context) {
  const tq_file *file = context;
  size_t failures = 0;
  for (int round = 0; round < 50; round++)
    for (uint64_t at = 0; at < 4 * BIG_ELEMENTS; at += 4096)
      failures +=
          tq_file_touch(file, 1, at, 4 * BIG_ELEMENTS - at < 4096 ? 4 * BIG_ELEMENTS - at : 4096, NULL) != TQ_OK;
  return (void *)(uintptr_t)failures;
}

START_TEST(threads_touch_together) {
  image file = big_image();
  tq_file *opened;
  pthread_t threads[4];
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_LAZY, &opened, error));
  for (size_t i = 0; i < 4; i++) ck_assert(pthread_create(&threads[i], NULL, touch_everything, opened) == 0);
  for (size_t i = 0; i < 4; i++) {
    void *failures;
    pthread_join(threads[i], &failures);
    ck_assert(failures == NULL);
  }
  tq_file_close(opened);
  free(file.data);
}
END_TEST

/* ---- verify after opening ---- */

/* What resealed files say of their tensors is compared with what they hold. */
static void ck_content(image file, const char *message) {
  tq_file *opened;
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_LAZY, &opened, error));
  ck_ok(tq_file_verify(opened, error));
  if (message)
    ck_fails(tq_file_verify_content(opened, NULL, error), TQ_ERROR_CORRUPT, message);
  else
    ck_ok(tq_file_verify_content(opened, NULL, error));
  tq_file_close(opened);
  free(file.data);
}

START_TEST(content_is_verified) {
  image file = sample_image(TQ_HASH_XXH3_128), changed;
  reseal_contents(file);
  ck_content(copy_image(file), NULL);
  tq_file *opened;
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_FULL, &opened, error));
  for (size_t i = 0; i < SAMPLE_TENSORS; i++) {
    const tq_tensor *tensor = tq_file_tensor(opened, i);
    bool checked = strcmp(tensor->role, "odd") != 0 && strcmp(tensor->role, "layers.0.o") != 0;
    bool trits = tensor->parts[0].encoding == TQ_TERNARY_BASE3;
    char message[128];
    snprintf(message, sizeof message, "tensor %s: its content digest is not that of its weights", tensor->role);
    changed = copy_image(file);
    section_bytes(changed,
                  "tensors")[TQ_DIRECTORY_HEADER_SIZE + i * TQ_TENSOR_RECORD_SIZE + TQ_TENSOR_CONTENT_DIGEST] ^= 1;
    reseal_weights(changed);
    ck_content(changed, checked ? message : NULL);
    changed = copy_image(file);
    changed.data[tensor->data_offset] = 1; /* which is no base-3 number */
    reseal(changed);
    ck_content(changed, trits ? "tensor layers.0.q: row 0: byte 0 is no ternary code" : checked ? message : NULL);
    if (!trits) continue;
    changed = copy_image(file);
    uint8_t *counts = section_bytes(changed, "tensors") + TQ_DIRECTORY_HEADER_SIZE + i * TQ_TENSOR_RECORD_SIZE +
                      TQ_TENSOR_TRIT_COUNTS;
    tq_store_u64(counts, tq_load_u64(counts) + 1);
    tq_store_u64(counts + 8, tq_load_u64(counts + 8) - 1);
    reseal(changed);
    ck_content(changed, "tensor layers.0.q: its trit counts are not those of its codes");
  }
  tq_file_close(opened);
  free(file.data);
}
END_TEST

/* Rows longer than what is decoded at once, with groups that do not divide it: the digest is that of whole rows. */
START_TEST(content_of_long_rows) {
  enum { ROWS = 2, COLUMNS = 40013, GROUP = 96 };
  static const uint32_t encodings[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3};
  static const uint64_t shape[] = {ROWS, COLUMNS}, none[4];
  static int8_t trits[COLUMNS];
  static uint8_t codes[ROWS * COLUMNS], scales[ROWS * (COLUMNS / GROUP + 1) * 4], bytes[16];
  uint64_t state = 11;
  for (size_t i = 0; i < sizeof scales / 4; i++) tq_store_f32(scales + 4 * i, random_float(&state));
  for (int k = 0; k < 3; k++) { /* two ternary codes, and integers */
    uint64_t counts[4] = {0}, row_bytes = k < 2 ? tq_trit_row_bytes(encodings[k], COLUMNS) : COLUMNS;
    for (uint64_t row = 0; row < ROWS; row++) {
      for (size_t i = 0; i < COLUMNS; i++) trits[i] = (int8_t)((int)(random_u64(&state) % 3) - 1);
      if (k == 2) {
        memcpy(codes + row * row_bytes, trits, COLUMNS);
        continue;
      }
      put_trits(encodings[k], trits, ROWS, row, COLUMNS, codes);
      tq_trits_count(trits, COLUMNS, counts);
    }
    const part_bytes parts[] = {
        {{.kind = TQ_PART_VALUES, .encoding = k < 2 ? encodings[k] : TQ_I8, .size = ROWS * row_bytes}, codes},
        {{.kind = TQ_PART_SCALES,
          .encoding = TQ_F32,
          .granularity = TQ_PER_GROUP,
          .group = GROUP,
          .size = sizeof scales},
         scales}};
    const char *path = temporary_path("long.tq");
    tq_writer *writer;
    ck_ok(tq_writer_create(path, 0, &writer, error));
    ck_ok(put_tensor(writer, "long", 2, shape, parts, 2, k < 2 ? counts : none, error));
    ck_ok(tq_writer_finish(writer, bytes, bytes, error));
    image file = load_image(path);
    reseal_contents(file);
    ck_content(file, NULL);
  }
}
END_TEST

START_TEST(verify_looks_at_everything_again) {
  image file = sample_image(0);
  tq_file *opened;
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_FULL, &opened, error));
  const size_t places[] = {8,
                           121,
                           (size_t)(section_bytes(file, "tokenizer") - file.data),
                           (size_t)(section_bytes(file, "data") - file.data) - 1,
                           (size_t)(section_bytes(file, "data") - file.data),
                           (size_t)(section_bytes(file, "data") - file.data) + 44,
                           file.size - 1};
  static const char *const messages[] = {
      "header: its checksum",      "header: its checksum", "section tokenizer at offset", "padding: the byte",
      "tensor embedding: chunk 0", "padding: the byte",    "section table at offset"};
  ck_ok(tq_file_verify(opened, error));
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    file.data[places[i]] ^= 0x10;
    ck_fails(tq_file_verify(opened, error), TQ_ERROR_CORRUPT, messages[i]);
    file.data[places[i]] ^= 0x10;
  }
  ck_ok(tq_file_verify(opened, error));
  tq_file_close(opened);
  free(file.data);
}
END_TEST

/* ---- by several threads ---- */

/* Chunks of a file that is large enough for a team, wrong in `count` places; the first of them is named, by as many
 * threads as there are processors and by one alone. */
static void ck_first_is_named(image file, const char *const *names, const uint64_t (*places)[2], size_t count) {
  const uint8_t *records = section_bytes(file, "tensors") + TQ_DIRECTORY_HEADER_SIZE;
  uint8_t *data = section_bytes(file, "data");
  for (size_t i = count; i-- > 0;) {
    uint64_t offset = tq_load_u64(records + places[i][0] * TQ_TENSOR_RECORD_SIZE);
    data[offset + places[i][1]] ^= 1;
    for (int round = 0; round < 5; round++) ck_fails(try_open(file, TQ_VERIFY_FULL, error), TQ_ERROR_CORRUPT, names[i]);
  }
  for (size_t i = 0; i < count; i++) {
    uint64_t offset = tq_load_u64(records + places[i][0] * TQ_TENSOR_RECORD_SIZE);
    data[offset + places[i][1]] ^= 1;
  }
  ck_ok(try_open(file, TQ_VERIFY_FULL, error));
}

/* Where a team cannot be had, one thread verifies. */
static void ck_verified_without_threads(image file) {
  tq_file *opened;
  bool failed = true;
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_HEADER, &opened, error));
  for (long n = 0; failed; n++) {
    fail_operation(n);
    ck_ok(tq_file_verify(opened, error));
    failed = operation_failed() >= 0;
    fail_no_operation();
    ck_assert(n > 0 || failed);
  }
  uint8_t *last = file.data + tq_file_tensor(opened, 4)->data_offset;
  *last ^= 1;
  fail_operation(0);
  ck_fails(tq_file_verify(opened, error), TQ_ERROR_CORRUPT, "tensor e: chunk 0");
  fail_no_operation();
  *last ^= 1;
  tq_file_close(opened);
}

START_TEST(the_first_chunk_that_differs_is_named) {
  static const uint64_t places[][2] = {{1, 5}, {1, 3 << 20},  {1, (3 << 20) + 1},
                                       {2, 0}, {4, 10 << 20}, {4, (12 << 20) + 9}};
  static const char *const names[] = {"tensor b: chunk 0", "tensor b: chunk 3",  "tensor b: chunk 3",
                                      "tensor c: chunk 0", "tensor e: chunk 10", "tensor e: chunk 12"};
  static const uint64_t sizes[] = {3, 1000003, 1, 7, 3200000};
  static const char *const tensors[] = {"a", "b", "c", "d", "e"};
  static const uint8_t no_digest[16];
  const char *path = temporary_path("large.tq");
  tq_writer *writer;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  for (size_t i = 0; i < 5; i++) ck_ok(put_floats(writer, tensors[i], sizes[i], i, error));
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  image file = load_image(path);
  ck_first_is_named(file, names, places, sizeof names / sizeof *names);
  ck_verified_without_threads(file);
#if defined(__linux__)
  cpu_set_t all, one;
  CPU_ZERO(&one);
  ck_assert_int_eq(sched_getaffinity(0, sizeof all, &all), 0);
  for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
    if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
  ck_assert_int_eq(sched_setaffinity(0, sizeof one, &one), 0);
  ck_first_is_named(file, names, places, sizeof names / sizeof *names);
#endif
  free(file.data);
}
END_TEST

/* ---- faults while reading ---- */

static tq_status read_all_of_it(const void *path, tq_error *error) {
  tq_file *file;
  float values[128];
  char *data;
  size_t size;
  tq_status status = tq_file_open(path, TQ_VERIFY_LAZY, &file, error);
  if (status != TQ_OK) return status;
  status = tq_tensor_decode(file, 1, 0, 3, values, error);
  if (status == TQ_OK) status = tq_file_attachment_load(file, "config.json", 100, &data, &size, error);
  if (status == TQ_OK) tq_release(data);
  tq_file_close(file);
  return status;
}

START_TEST(faults_while_reading) {
  const char *path = temporary_path("sample.tq");
  ck_ok(write_sample(path, 0, error));
  long faults = check_every_fault(read_all_of_it, path);
  ck_assert_int_gt(faults, 20);
  ck_assert_int_lt(faults, 1000);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("container, integrity");
  TCase *damage = tcase_create("damage");
  tcase_add_test(damage, every_flipped_bit_is_detected);
  tcase_add_test(damage, every_flipped_bit_is_detected_by_sha256);
  tcase_add_test(damage, every_truncation_is_detected);
  tcase_add_test(damage, truncation_with_a_right_header);
  tcase_add_test(damage, verify_looks_at_everything_again);
  tcase_add_test(damage, content_is_verified);
  tcase_add_test(damage, content_of_long_rows);
  suite_add_tcase(suite, damage);
  TCase *lazy = tcase_create("lazy");
  tcase_add_test(lazy, lazy_verification_waits_for_the_touch);
  tcase_add_test(lazy, rows_are_verified_by_panels);
  tcase_add_test(lazy, threads_touch_together);
  suite_add_tcase(suite, lazy);
  TCase *team = tcase_create("team");
  tcase_set_timeout(team, 60);
  tcase_add_test(team, the_first_chunk_that_differs_is_named);
  suite_add_tcase(suite, team);
  TCase *faults = tcase_create("faults");
  tcase_add_test(faults, faults_while_reading);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
