/* Errors, memory, text, hashes and the thread team. The file layer is in test_files.c. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/team.h"
#include "base/text.h"
#include "tests/support.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- errors ---- */

START_TEST(error_has_status_and_message) {
  tq_error error = {0};
  ck_assert_int_eq(tq_fail(&error, TQ_ERROR_REFUSED, "%s: row %d", "a.gguf", 7), TQ_ERROR_REFUSED);
  ck_assert_int_eq(error.status, TQ_ERROR_REFUSED);
  ck_assert_str_eq(error.message, "a.gguf: row 7");
  ck_assert_int_eq(tq_fail(NULL, TQ_ERROR_CORRUPT, "nobody listens"), TQ_ERROR_CORRUPT);
}
END_TEST

START_TEST(error_can_quote_itself) {
  tq_error error = {0};
  tq_error_set(&error, TQ_ERROR_CORRUPT, "inner \x01");
  tq_error_set(&error, TQ_ERROR_CORRUPT, "outer: %s", error.message);
  ck_assert_str_eq(error.message, "outer: inner \\x01");
}
END_TEST

START_TEST(error_escapes_what_is_not_printable) {
  tq_error error = {0};
  tq_error_set(&error, TQ_ERROR_CORRUPT, "a\nb\x1b[31m \xff \xc3\xa9 \xc2\x9b \xe2\x80\xae");
  ck_assert_str_eq(error.message, "a\\x0Ab\\x1B[31m \\xFF \xc3\xa9 \\xC2\\x9B \\xE2\\x80\\xAE");
}
END_TEST

START_TEST(long_error_keeps_file_and_reason) {
  char name[3000];
  for (int hostile = 0; hostile < 3; hostile++) {
    memset(name, "x\x01\xe9"[hostile], sizeof name);
    name[sizeof name - 1] = 0;
    tq_error error = {0};
    tq_error_set(&error, TQ_ERROR_CORRUPT, "file.tq: %s: the reason", name);
    ck_assert(strlen(error.message) < sizeof error.message && strlen(error.message) > sizeof error.message - 8);
    ck_assert(strncmp(error.message, "file.tq: ", 9) == 0);
    ck_assert(strstr(error.message, "...") && strstr(error.message, ": the reason"));
  }
}
END_TEST

START_TEST(long_error_stays_utf8) {
  char name[2000];
  for (size_t shift = 0; shift < 4; shift++) {
    memset(name, 'x', shift);
    for (size_t i = shift; i + 3 < sizeof name; i += 3) memcpy(name + i, "\xe2\x82\xac", 4);
    tq_error error = {0};
    tq_error_set(&error, TQ_ERROR_CORRUPT, "%s", name);
    ck_assert(tq_is_utf8(error.message, strlen(error.message)));
  }
}
END_TEST

/* ---- bytes ---- */

START_TEST(bytes_round_trip_little_endian) {
  uint8_t bytes[8];
  tq_store_u64(bytes, 0x0123456789abcdefu);
  ck_assert_int_eq(bytes[0], 0xef);
  ck_assert_uint_eq(tq_load_u64(bytes), 0x0123456789abcdefu);
  ck_assert_uint_eq(tq_load_u16(bytes), 0xcdef);
  tq_store_f32(bytes, -1.5f);
  ck_assert_uint_eq(tq_load_u32(bytes), 0xbfc00000u);
  tq_store_f64(bytes, 0.1);
  ck_assert(tq_load_f64(bytes) == 0.1);
}
END_TEST

START_TEST(checked_sums_see_overflow) {
  uint64_t result;
  ck_assert(!tq_add_u64(UINT64_MAX, 1, &result));
  ck_assert(!tq_multiply_u64(UINT64_C(1) << 32, UINT64_C(1) << 32, &result));
  ck_assert(!tq_align_u64(UINT64_MAX - 5, 64, &result));
  ck_assert(tq_align_u64(65, 64, &result) && result == 128);
  ck_assert(tq_within(10, 0, 10) && !tq_within(11, 0, 10) && !tq_within(1, UINT64_MAX, 10));
}
END_TEST

/* ---- memory ---- */

static bool always(void *context, tq_operation operation) {
  (void)context, (void)operation;
  return true;
}

static tq_status as_status(const void *pointer) { return pointer ? TQ_OK : TQ_ERROR_SYSTEM; }

START_TEST(allocation_is_zeroed_and_empty_ones_are_distinct) {
  uint8_t *bytes = tq_allocate(1000, 3, NULL);
  for (int i = 0; i < 3000; i++) ck_assert_int_eq(bytes[i], 0);
  void *a = tq_allocate(0, 8, NULL), *b = tq_allocate(8, 0, NULL);
  ck_assert(a && b && a != b);
  tq_free(a), tq_free(b), tq_free(bytes), tq_free(NULL);
}
END_TEST

START_TEST(allocation_refuses_overflow) {
  void *array = NULL;
  size_t capacity = 0;
  ck_fails(as_status(tq_allocate(SIZE_MAX / 2, 3, error)), TQ_ERROR_SYSTEM, "too many");
  ck_fails(as_status(tq_allocate(1, SIZE_MAX, error)), TQ_ERROR_SYSTEM, "too many");
  ck_fails(as_status(tq_reallocate(NULL, SIZE_MAX / 2, 3, error)), TQ_ERROR_SYSTEM, "too many");
  ck_fails(as_status(tq_allocate_aligned(64, SIZE_MAX - 3, error)), TQ_ERROR_SYSTEM, "too many");
  ck_fails(tq_grow(&array, &capacity, SIZE_MAX / 2, 16, error), TQ_ERROR_SYSTEM, "too many");
  ck_assert(array == NULL && capacity == 0);
  tq_buffer buffer = {.size = SIZE_MAX - 1, .capacity = SIZE_MAX - 1};
  ck_fails(tq_buffer_append(&buffer, "abc", 3, error), TQ_ERROR_SYSTEM, "out of memory");
}
END_TEST

START_TEST(aligned_allocation_is_aligned) {
  for (size_t alignment = sizeof(void *); alignment <= 65536; alignment *= 2) {
    uint8_t *block = tq_allocate_aligned(alignment, 100, NULL);
    ck_assert(block && (uintptr_t)block % alignment == 0);
    for (int i = 0; i < 100; i++) ck_assert_int_eq(block[i], 0);
    tq_free(block);
  }
}
END_TEST

START_TEST(growing_array_keeps_its_items) {
  void *array = NULL;
  size_t capacity = 0;
  for (uint32_t i = 0; i < 10000; i++) {
    ck_ok(tq_grow(&array, &capacity, i + 1, sizeof i, error));
    ((uint32_t *)array)[i] = i;
  }
  for (uint32_t i = 0; i < 10000; i++) ck_assert_uint_eq(((uint32_t *)array)[i], i);
  ck_assert_uint_lt(capacity, 20001);
  tq_free(array);
}
END_TEST

START_TEST(strings_are_copied_and_formatted) {
  char *copy = tq_copy_string("abcdef", 3, NULL), *formatted = tq_format_string(NULL, "%d-%s", 5, "x");
  ck_assert_str_eq(copy, "abc");
  ck_assert_str_eq(formatted, "5-x");
  tq_free(copy), tq_free(formatted);
}
END_TEST

START_TEST(every_allocation_can_be_made_to_fail) {
  void *array = tq_allocate(4, 4, NULL);
  size_t capacity = 4;
  tq_buffer buffer = {0};
  tq_hash_state *state;
  tq_team *team;
  tq_inject_faults(always, NULL);
  ck_fails(as_status(tq_allocate(1, 7, error)), TQ_ERROR_SYSTEM, "7 bytes");
  ck_fails(as_status(tq_reallocate(array, 8, 4, error)), TQ_ERROR_SYSTEM, "32 bytes");
  ck_fails(as_status(tq_allocate_aligned(64, 7, error)), TQ_ERROR_SYSTEM, "7 bytes");
  ck_fails(as_status(tq_copy_string("a", 1, error)), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(as_status(tq_format_string(error, "a")), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(tq_grow(&array, &capacity, 5, 4, error), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(tq_buffer_append(&buffer, "a", 1, error), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(tq_buffer_format(&buffer, error, "a"), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(tq_hash_create(TQ_HASH_XXH3_128, &state, error), TQ_ERROR_SYSTEM, "out of memory");
  ck_fails(tq_team_create(3, &team, error), TQ_ERROR_SYSTEM, "out of memory");
  ck_assert(tq_hook_malloc(1) == NULL);
  tq_inject_faults(NULL, NULL);
  ck_assert_uint_eq(capacity, 4);
  tq_free(array);
  void *hooked = tq_hook_malloc(0);
  ck_assert(hooked != NULL);
  tq_free(hooked);
}
END_TEST

/* ---- text ---- */

START_TEST(buffer_takes_bytes_and_formats) {
  tq_buffer buffer = {0};
  ck_ok(tq_buffer_append(&buffer, "ab\0", 3, error));
  ck_ok(tq_buffer_append(&buffer, NULL, 0, error));
  ck_ok(tq_buffer_format(&buffer, error, "%03d%s", 7, "xyz"));
  ck_assert_uint_eq(buffer.size, 9);
  ck_assert_mem_eq(buffer.data,
                   "ab\0"
                   "007xyz",
                   9);
  tq_buffer_free(&buffer);
  ck_assert(buffer.data == NULL && buffer.size == 0 && buffer.capacity == 0);
}
END_TEST

static const struct {
  const char *bytes;
  size_t size;
  bool utf8, name;
} texts[] = {
    {"", 0, true, true},
    {"plain", 5, true, true},
    {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, true, true},
    {"a\0b", 3, true, false},
    {"a\nb", 3, true, false},
    {"\x7f", 1, true, false},
    {"\xc2\x85", 2, true, false},          /* a control character beyond ASCII */
    {"\xc0\xaf", 2, false, false},         /* overlong */
    {"\xe0\x80\x80", 3, false, false},     /* overlong */
    {"\xed\xa0\x80", 3, false, false},     /* surrogate */
    {"\xf4\x90\x80\x80", 4, false, false}, /* beyond U+10FFFF */
    {"\xe2\x82", 2, false, false},         /* cut short */
    {"\x80", 1, false, false},
    {"ok\xff", 3, false, false},
};

START_TEST(utf8_and_names_are_told_apart) {
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    ck_assert_msg(tq_is_utf8(texts[i].bytes, texts[i].size) == texts[i].utf8, "text %zu as UTF-8", i);
    ck_assert_msg(tq_is_name(texts[i].bytes, texts[i].size) == texts[i].name, "text %zu as a name", i);
  }
}
END_TEST

START_TEST(utf8_is_not_read_past_its_end) {
  char *exact = malloc(2); /* a longer read is caught by AddressSanitizer */
  memcpy(exact, "\xe2\x82", 2);
  ck_assert(!tq_is_utf8(exact, 2) && !tq_is_name(exact, 2));
  char text[32];
  ck_assert_str_eq(tq_printable(exact, 2, text, sizeof text), "\\xE2\\x82");
  free(exact);
}
END_TEST

START_TEST(printable_text_is_cut_to_fit) {
  char text[64];
  ck_assert_str_eq(tq_printable("abcdefgh", 8, text, 9), "abcdefgh");
  ck_assert_str_eq(tq_printable("abcdefgh", 8, text, 8), "abcd...");
  ck_assert_str_eq(tq_printable("\x01\x02\x03", 3, text, 12), "\\x01\\x02...");
  ck_assert_str_eq(tq_printable("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", 9, text, 9), "\xe2\x82\xac...");
  ck_assert_str_eq(tq_printable("abcdefgh", 8, text, 3), "..");
  ck_assert_str_eq(tq_printable("abcdefgh", 8, text, 1), "");
  ck_assert_str_eq(tq_printable("a\0b", 3, text, 64), "a\\x00b");
}
END_TEST

START_TEST(beginnings_and_ends_of_text) {
  ck_assert(tq_begins_with("tq.rotation", "tq.") && tq_begins_with("tq.", "tq.") && tq_begins_with("", ""));
  ck_assert(!tq_begins_with("tq", "tq.") && !tq_begins_with("a tq.", "tq."));
  ck_assert(tq_ends_with("model.safetensors", ".safetensors") && tq_ends_with(".bin", ".bin") && tq_ends_with("a", ""));
  ck_assert(!tq_ends_with("bin", ".bin") && !tq_ends_with("a.bin.gz", ".bin"));
  char *exact = malloc(2); /* nothing is read behind it */
  memcpy(exact, "tq", 2);
  ck_assert(tq_bytes_begin_with(exact, 2, "tq") && tq_bytes_begin_with(exact, 2, ""));
  ck_assert(!tq_bytes_begin_with(exact, 2, "tq.") && !tq_bytes_begin_with(exact, 0, "t"));
  free(exact);
}
END_TEST

/* ---- hashes ---- */

/* The bytes that xxHash's own test vectors are taken over. */
static void fill_xxhash_vector(uint8_t *bytes, size_t size) {
  uint64_t generator = 2654435761u;
  for (size_t i = 0; i < size; i++) {
    bytes[i] = (uint8_t)(generator >> 56);
    generator *= 11400714785074694797u;
  }
}

static const struct {
  size_t size;
  const char *hash;
} xxh3_vectors[] = {
    {0, "99aa06d3014798d86001c324468d497f"},    {1, "a6cd5e9392000f6ac44bdff4074eecdb"},
    {6, "082afe0b8162d12a3e7039bdda43cfc6"},    {12, "6e3efd8fc7802b18061a192713f69ad9"},
    {24, "0ce966e4678d37611e7044d28b1b901d"},   {48, "a002ac4e5478227ef942219aed80f67b"},
    {222, "337e09641b948717f1aebd597cec6b3a"},  {403, "1b6de21e332dd73dcdeb804d65c6dea4"},
    {512, "18d2d110dcc9bca1617e49599013cb6b"},  {2048, "f736557fd47073a5dd59e2c3a5f038e0"},
    {2240, "ccb134fbfa7ce49d6e73a90539cf2948"}, {2367, "e89c0f6ff369b427cb37aeb9e5d361ed"},
};

static const struct {
  const char *text;
  size_t times;
  const char *hash;
} sha256_vectors[] = {
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

/* Hashes in one go and in two unequal pieces, and compares both with the digits expected. */
static void check_hash(uint32_t algorithm, const uint8_t *data, size_t size, const char *digits) {
  tq_hash hash;
  char text[2 * TQ_HASH_SIZE + 1];
  tq_hash_bytes(algorithm, data, size, &hash);
  tq_hash_print(hash.bytes, strlen(digits) / 2, text);
  ck_assert_str_eq(text, digits);
  for (size_t i = strlen(digits) / 2; i < TQ_HASH_SIZE; i++) ck_assert_int_eq(hash.bytes[i], 0);

  tq_hash pieces;
  tq_hash_state *state;
  ck_ok(tq_hash_create(algorithm, &state, error));
  tq_hash_update(state, "spoilt", 6);
  tq_hash_reset(state);
  tq_hash_update(state, data, size / 3);
  tq_hash_final(state, &pieces); /* may be asked for at any time */
  tq_hash_update(state, data + size / 3, size - size / 3);
  tq_hash_final(state, &pieces);
  ck_assert_mem_eq(&pieces, &hash, sizeof hash);
  tq_hash_destroy(state);
}

START_TEST(xxh3_gives_the_published_values) {
  uint8_t bytes[4096];
  fill_xxhash_vector(bytes, sizeof bytes);
  for (size_t i = 0; i < sizeof xxh3_vectors / sizeof *xxh3_vectors; i++)
    check_hash(TQ_HASH_XXH3_128, bytes, xxh3_vectors[i].size, xxh3_vectors[i].hash);
  ck_assert_uint_eq(tq_hash_xxh3_64(bytes, 0), 0x2d06800538d394c2u);
  ck_assert_uint_eq(tq_hash_xxh3_64(bytes, 1), 0xc44bdff4074eecdbu);
}
END_TEST

START_TEST(sha256_gives_the_published_values) {
  for (size_t i = 0; i < sizeof sha256_vectors / sizeof *sha256_vectors; i++) {
    size_t length = strlen(sha256_vectors[i].text), size = length * sha256_vectors[i].times;
    uint8_t *data = malloc(size + 1);
    for (size_t at = 0; at < size; at += length) memcpy(data + at, sha256_vectors[i].text, length);
    check_hash(TQ_HASH_SHA256, data, size, sha256_vectors[i].hash);
    free(data);
  }
}
END_TEST

START_TEST(hash_algorithms_have_names) {
  ck_assert_str_eq(tq_hash_name(TQ_HASH_XXH3_128), "xxh3-128");
  ck_assert_uint_eq(tq_hash_by_name("sha256"), TQ_HASH_SHA256);
  ck_assert(tq_hash_name(3) == NULL && tq_hash_by_name("md5") == 0);
  tq_hash_state *state;
  ck_fails(tq_hash_create(3, &state, error), TQ_ERROR_CORRUPT, "unknown hash algorithm 3");
}
END_TEST

/* ---- the team ---- */

enum { ITEMS = 1003, TASKS = 2000 };

typedef struct sums {
  uint64_t items[ITEMS];
  atomic_uint calls;
  unsigned members;
} sums;

static void add_one(void *context, unsigned member, unsigned members) {
  sums *work = context;
  size_t begin, end;
  tq_team_share(ITEMS, member, members, &begin, &end);
  for (size_t i = begin; i < end; i++) work->items[i]++;
  atomic_fetch_add(&work->calls, 1);
}

static const unsigned team_sizes[] = {1, 2, 5, 0};

START_TEST(team_does_every_item_of_every_task) {
  tq_team *team;
  ck_ok(tq_team_create(team_sizes[_i], &team, error));
  unsigned members = tq_team_members(team);
  ck_assert(team_sizes[_i] ? members == team_sizes[_i] : members >= 1);
  sums *work = calloc(1, sizeof *work);
  for (unsigned task = 0; task < TASKS; task++) {
    tq_team_run(team, add_one, work);
    /* Everything a member wrote is seen here, and nobody is still writing. */
    ck_assert_uint_eq(work->items[task % ITEMS], task + 1);
    ck_assert_uint_eq(atomic_load(&work->calls), (task + 1) * members);
  }
  for (size_t i = 0; i < ITEMS; i++) ck_assert_uint_eq(work->items[i], TASKS);
  free(work);
  tq_team_destroy(team);
}
END_TEST

/* In microseconds: so long that the members yield, and so long that they sleep. */
static const useconds_t pauses[] = {2000, 30000};

START_TEST(team_wakes_up_after_a_pause) {
  tq_team *team;
  ck_ok(tq_team_create(3, &team, error));
  sums *work = calloc(1, sizeof *work);
  for (unsigned task = 0; task < 8; task++) {
    usleep(pauses[task % 2]);
    tq_team_run(team, add_one, work);
  }
  for (size_t i = 0; i < ITEMS; i++) ck_assert_uint_eq(work->items[i], 8);
  free(work);
  tq_team_destroy(team);
}
END_TEST

static void be_late(void *context, unsigned member, unsigned members) {
  atomic_uint *calls = context;
  if (member + 1 == members) usleep(pauses[atomic_load(calls) / members % 2]);
  atomic_fetch_add(calls, 1);
}

START_TEST(team_waits_for_a_late_member) {
  tq_team *team;
  ck_ok(tq_team_create(3, &team, error));
  atomic_uint calls = 0;
  for (unsigned task = 0; task < 8; task++) {
    tq_team_run(team, be_late, &calls);
    ck_assert_uint_eq(atomic_load(&calls), 3 * (task + 1));
  }
  tq_team_destroy(team);
}
END_TEST

static void note_thread(void *context, unsigned member, unsigned members) {
  (void)members;
  ((pthread_t *)context)[member] = pthread_self();
}

START_TEST(caller_is_member_0_and_members_keep_their_threads) {
  tq_team *team;
  ck_ok(tq_team_create(3, &team, error));
  pthread_t first[3], second[3];
  tq_team_run(team, note_thread, first);
  tq_team_run(team, note_thread, second);
  ck_assert(pthread_equal(first[0], pthread_self()));
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < 3; j++) ck_assert((pthread_equal(first[i], second[j]) != 0) == (i == j));
  tq_team_destroy(team);
}
END_TEST

static tq_status start_team(const void *members, tq_error *error) {
  tq_team *team;
  tq_status status = tq_team_create(*(const unsigned *)members, &team, error);
  if (!status) tq_team_destroy(team);
  return status;
}

START_TEST(team_that_cannot_start_leaves_nothing) {
  static const unsigned members = 4;
  ck_assert_int_eq(check_every_fault(start_team, &members), 4); /* the memory and three threads */
  tq_team *team;
  ck_fails(tq_team_create(1000000, &team, error), TQ_ERROR_USAGE, "1000000 threads");
  tq_team_destroy(NULL);
}
END_TEST

START_TEST(shares_are_contiguous_and_even) {
  for (unsigned members = 1; members < 9; members++)
    for (size_t count = 0; count < 40; count++) {
      size_t next = 0;
      for (unsigned member = 0; member < members; member++) {
        size_t begin, end;
        tq_team_share(count, member, members, &begin, &end);
        ck_assert(begin == next && end >= begin);
        ck_assert(end - begin == count / members || end - begin == count / members + 1);
        next = end;
      }
      ck_assert_uint_eq(next, count);
    }
  size_t begin, end;
  tq_team_share(SIZE_MAX, 4, 5, &begin, &end);
  ck_assert_uint_eq(end, SIZE_MAX);
}
END_TEST

static TCase *cases(const char *name, const TTest *const *tests, size_t count) {
  TCase *group = tcase_create(name);
  for (size_t i = 0; i < count; i++) tcase_add_test(group, tests[i]);
  return group;
}

static Suite *base_suite(void) {
  Suite *suite = suite_create("base");
  const TTest *general[] = {
      error_has_status_and_message,
      error_can_quote_itself,
      error_escapes_what_is_not_printable,
      long_error_keeps_file_and_reason,
      long_error_stays_utf8,
      bytes_round_trip_little_endian,
      checked_sums_see_overflow,
      allocation_is_zeroed_and_empty_ones_are_distinct,
      allocation_refuses_overflow,
      aligned_allocation_is_aligned,
      growing_array_keeps_its_items,
      strings_are_copied_and_formatted,
      every_allocation_can_be_made_to_fail,
      buffer_takes_bytes_and_formats,
      utf8_and_names_are_told_apart,
      utf8_is_not_read_past_its_end,
      printable_text_is_cut_to_fit,
      beginnings_and_ends_of_text,
      xxh3_gives_the_published_values,
      sha256_gives_the_published_values,
      hash_algorithms_have_names,
  };
  suite_add_tcase(suite, cases("general", general, sizeof general / sizeof *general));
  const TTest *team[] = {
      team_wakes_up_after_a_pause,
      team_waits_for_a_late_member,
      caller_is_member_0_and_members_keep_their_threads,
      team_that_cannot_start_leaves_nothing,
      shares_are_contiguous_and_even,
  };
  TCase *group = cases("team", team, sizeof team / sizeof *team);
  tcase_add_loop_test(group, team_does_every_item_of_every_task, 0, sizeof team_sizes / sizeof *team_sizes);
  suite_add_tcase(suite, group);
  return suite;
}

int main(void) { return run_suite(base_suite()); }
