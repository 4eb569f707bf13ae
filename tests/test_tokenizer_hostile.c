/* Sections that lie, and memory that is not there. */
#include "base/bytes.h"
#include "base/memory.h"
#include "support.h"
#include "tokenizer/section.h"
#include "tokenizer_support.h"
#include "tq/container.h"

#include <stdlib.h>
#include <string.h>

/* ---- hostile sections ---- */

static uint8_t *make_section(int which, size_t *size) {
  owned vocabulary;
  uint8_t *section;
  if (which)
    letter_vocabulary(&vocabulary);
  else
    small_vocabulary(&vocabulary);
  vocabulary.vocabulary.chat_template = (tq_string){"t", 1};
  ck_ok(tq_tokenizer_serialize(&vocabulary.vocabulary, &section, size, error));
  return section;
}

/* Opens, and uses what opens; whatever it says, it must not crash. Returns whether it opened. */
static bool exercise(const uint8_t *section, size_t size) {
  static const char text[] = "abcab a<x y>\xff<tool>x <s>ab";
  tq_tokenizer *tokenizer;
  tq_error failure = {0};
  tq_status status = tq_tokenizer_open(section, size, &tokenizer, &failure);
  if (status) {
    ck_assert_int_eq(status, TQ_ERROR_CORRUPT);
    ck_assert_str_ne(failure.message, "");
    return false;
  }
  uint32_t *ids;
  size_t count;
  uint8_t digest[16];
  if (!tq_tokenizer_encode(tokenizer, text, sizeof text - 1, 3, &ids, &count, &failure)) {
    char *back;
    size_t back_size;
    ck_ok(tq_tokenizer_decode(tokenizer, ids, count, &back, &back_size, error));
    tq_release(back);
    tq_release(ids);
  }
  tq_tokenizer_digest(tokenizer, digest);
  for (uint32_t id = 0; id < tq_tokenizer_token_count(tokenizer); id++) tq_tokenizer_ends_generation(tokenizer, id);
  tq_tokenizer_close(tokenizer);
  return true;
}

START_TEST(mutated_sections) {
  static const uint8_t changes[] = {0x01, 0x80, 0xff};
  size_t size, opened_count = 0, refused = 0;
  uint8_t *section = make_section(_i, &size);
  ck_assert(exercise(section, size));
  for (size_t i = 0; i < size; i++) {
    for (size_t j = 0; j < sizeof changes; j++) {
      section[i] ^= changes[j];
      if (exercise(section, size))
        opened_count++;
      else
        refused++;
      section[i] ^= changes[j];
    }
  }
  ck_assert_uint_gt(opened_count, 0);
  ck_assert_uint_gt(refused, 3 * TQ_SECTION_HEADER_SIZE / 2);
  tq_release(section);
}
END_TEST

START_TEST(truncated_sections) {
  size_t size;
  uint8_t *section = make_section(_i, &size);
  for (size_t cut = 0; cut < size; cut++) {
    tq_error ignored = {0};
    uint8_t *copy = tq_allocate_aligned(64, cut ? cut : 1, &ignored); /* its end is where reading further is seen */
    memcpy(copy, section, cut);
    ck_assert(!exercise(copy, cut));
    tq_free(copy);
  }
  tq_release(section);
}
END_TEST

START_TEST(broken_tables_are_named) {
  size_t size;
  uint8_t *section = make_section(1, &size);
  tq_tokenizer *tokenizer;
#define table(which) (section + tq_load_u64(section + TQ_AT_DIRECTORY + 16 * (size_t)(which)))
#define broken(part, ...)                                                                                              \
  do {                                                                                                                 \
    uint8_t *kept = malloc(size);                                                                                      \
    memcpy(kept, section, size);                                                                                       \
    __VA_ARGS__;                                                                                                       \
    ck_fails(tq_tokenizer_open(section, size, &tokenizer, error), TQ_ERROR_CORRUPT, part);                             \
    memcpy(section, kept, size);                                                                                       \
    free(kept);                                                                                                        \
  } while (0)
  broken("magic", section[0] = 'x');
  broken("version 2", tq_store_u32(section + TQ_AT_VERSION, 2));
  broken("kind 9", tq_store_u32(section + TQ_AT_KIND, 9));
  broken("flags", tq_store_u32(section + TQ_AT_FLAGS, 64));
  broken("token count", tq_store_u32(section + TQ_AT_TOKEN_COUNT, 0));
  broken("text offsets", tq_store_u32(section + TQ_AT_TOKEN_COUNT, 10));
  broken("special token 0", tq_store_u32(section + TQ_AT_SPECIAL, 9));
  broken("index", tq_store_u32(section + TQ_AT_TEXT_INDEX, 60));
  broken("longest", tq_store_u32(section + TQ_AT_LONGEST_TEXT, 99));
  broken("not where it belongs", tq_store_u64(section + TQ_AT_DIRECTORY, 384));
  broken("runs past", tq_store_u64(section + TQ_AT_DIRECTORY + 8, UINT64_MAX));
  broken("pre-tokenizer name", table(TQ_TABLE_PRE)[5] = 'x');
  broken("padding", table(TQ_TABLE_PRE)[6] = 'x');
  broken("does not ascend", tq_store_u32(table(TQ_TABLE_TEXT_OFFSETS) + 4, 1000));
  broken("types", table(TQ_TABLE_TYPES)[0] = 0);
  broken("scores", tq_store_u32(table(TQ_TABLE_SCORES), 0x7fc00000));
  broken("merges", tq_store_u32(table(TQ_TABLE_MERGES), 9));
  broken("merge results", tq_store_u32(table(TQ_TABLE_MERGE_RESULTS), 9));
  broken("matched tokens", tq_store_u32(table(TQ_TABLE_MATCHES), 9));
  broken("matched tokens", tq_store_u32(table(TQ_TABLE_MATCHES), 0));
  broken("text index", tq_store_u32(table(TQ_TABLE_TEXT_INDEX) + 4, 9));
  broken("pair index", tq_store_u32(table(TQ_TABLE_PAIR_INDEX) + 4, 5));
#undef broken
#undef table
  ck_fails(tq_tokenizer_open(section + 1, size - 1, &tokenizer, error), TQ_ERROR_USAGE, "aligned");
  tq_release(section);
}
END_TEST

/* An index without an empty slot, all of whose tags agree, must not be walked forever. */
START_TEST(full_index_ends) {
  size_t size;
  uint8_t *section = make_section(1, &size);
  for (size_t table = TQ_TABLE_TEXT_INDEX; table <= TQ_TABLE_PAIR_INDEX; table++) {
    uint8_t *entry = section + TQ_AT_DIRECTORY + 16 * table;
    uint8_t *slots = section + tq_load_u64(entry);
    for (size_t i = 0; i < tq_load_u64(entry + 8) / 8; i++) tq_store_u32(slots + 8 * i + 4, 0);
  }
  ck_assert(exercise(section, size));
  tq_release(section);
}
END_TEST

/* ---- memory that is not there ---- */

static tq_status whole_life(const tq_vocabulary *vocabulary, tq_error *error) {
  uint8_t *section = NULL;
  size_t size, count, back_size;
  tq_tokenizer *tokenizer = NULL;
  uint32_t *ids = NULL;
  char *back = NULL;
  static const char text[] = "ab c e\xcc\x81 \xff<x y>abcabcabcabcab";
  tq_status status = tq_tokenizer_serialize(vocabulary, &section, &size, error);
  if (!status) status = tq_tokenizer_open(section, size, &tokenizer, error);
  if (!status) status = tq_tokenizer_encode(tokenizer, text, sizeof text - 1, 3, &ids, &count, error);
  if (!status) status = tq_tokenizer_decode(tokenizer, ids, count, &back, &back_size, error);
  tq_release(back);
  tq_release(ids);
  tq_tokenizer_close(tokenizer);
  tq_release(section);
  return status;
}

/* A just-in-time compiler that gets no memory leaves the pattern to the interpreter: nothing fails then. */
static tq_status live_once(const void *vocabulary, tq_error *error) {
  tq_status status = whole_life(vocabulary, error);
  if (status || operation_failed() < 0) return status;
  return tq_fail(error, TQ_ERROR_SYSTEM, "done without");
}

START_TEST(every_allocation_may_fail) {
  owned vocabulary;
  if (_i)
    letter_vocabulary(&vocabulary);
  else
    small_vocabulary(&vocabulary);
  vocabulary.vocabulary.special[TQ_SPECIAL_UNKNOWN] = 0;
  vocabulary.vocabulary.normalizer = "nfc";
  ck_assert_int_gt(check_every_fault(live_once, &vocabulary.vocabulary), 10);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_hostile");
  TCase *tests = tcase_create("tokenizer_hostile");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, mutated_sections, 0, 2);
  tcase_add_loop_test(tests, truncated_sections, 0, 2);
  tcase_add_test(tests, broken_tables_are_named);
  tcase_add_test(tests, full_index_ends);
  tcase_add_loop_test(tests, every_allocation_may_fail, 0, 2);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
