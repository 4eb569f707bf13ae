/* Tokenizers against llama.cpp's vectors, round trips, and hostile sections. */
#include "base/memory.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "support.h"
#include "tokenizer/normalize.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer_support.h"
#include "tq/container.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of the processor, so that a busy machine does not count. */
static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const struct {
  const char *vocabulary, *vectors;
} vector_files[] = {
    {"tokenizers/ggml-vocab-gpt-2.gguf", "tokenizers/ggml-vocab-gpt-2.gguf"},
    {"tokenizers/ggml-vocab-llama-spm.gguf", "tokenizers/ggml-vocab-llama-spm.gguf"},
    {"tokenizers/llama3.tiktoken", "tokenizers/ggml-vocab-llama-bpe.gguf"},
};

/* ---- llama.cpp's vectors ---- */

START_TEST(llama_cpp_vectors) {
  opened with;
  if (!open_shared(&with, vector_files[_i].vocabulary)) return;
  ck_vectors(with.tokenizer, vector_files[_i].vectors);
  close_opened(&with);
}
END_TEST

START_TEST(stories_ids) {
  static const struct {
    const char *text;
    uint32_t ids[8];
    size_t count;
  } cases[] = {{"Once upon a time", {1, 403, 407, 261, 378}, 5},
               {"One day, Tom", {1, 385, 328, 432, 274, 287}, 6},
               {"The big red ball", {1, 291, 370, 352, 266, 268, 388}, 7},
               {"", {1}, 1}};
  opened with;
  if (!open_shared(&with, "models/stories260K.gguf")) return;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    ck_encodes(&with, cases[i].text, TQ_ENCODE_SPECIAL, cases[i].ids, cases[i].count);
    ck_encodes(&with, cases[i].text, 0, cases[i].ids + 1, cases[i].count - 1);
  }
  close_opened(&with);
}
END_TEST

/* ---- round trips ---- */

static void check_round_trip(const opened *with, const char *text, size_t size, unsigned flags) {
  uint32_t *ids;
  size_t count, back_size;
  char *back;
  ck_ok(tq_tokenizer_encode(with->tokenizer, text, size, flags, &ids, &count, error));
  ck_ok(tq_tokenizer_decode(with->tokenizer, ids, count, &back, &back_size, error));
  ck_assert_uint_eq(back_size, size);
  ck_assert(memcmp(back, text, size) == 0);
  ck_assert_int_eq(back[size], 0);
  tq_release(ids);
  tq_release(back);
}

/* Mostly text, with stretches of arbitrary bytes and pieces of characters. */
static size_t random_bytes(uint64_t *state, char *text, size_t room) {
  static const char *const parts[] = {" ",
                                      "  ",
                                      "\n",
                                      "\r\n",
                                      "don't",
                                      "WE'LL",
                                      "123456",
                                      "\xf0\x9f\xa6\x99",
                                      "\xe5\xad\x97",
                                      "e\xcc\x81",
                                      "\xe2\x82",
                                      "\xed\xa0\x80",
                                      "\xc0\xaf",
                                      "\xff",
                                      "\xe1\xa0\x8e",
                                      "\xc2\xa0",
                                      "!?",
                                      "\xf4\x90\x80\x80",
                                      "\xef\xbf\xbd",
                                      "<s>",
                                      "\xe2\x96\x81"};
  size_t size = 0, length = random_u64(state) % room;
  while (size < length) {
    uint64_t choice = random_u64(state);
    if (choice % 3 == 0) {
      const char *part = parts[(choice >> 8) % (sizeof parts / sizeof *parts)];
      if (size + strlen(part) > room) break;
      memcpy(text + size, part, strlen(part));
      size += strlen(part);
    } else {
      text[size++] = (char)(choice % 3 == 1 ? choice >> 8 : 'a' + (choice >> 8) % 26);
    }
  }
  return size;
}

START_TEST(byte_level_round_trips_any_bytes) {
  opened with;
  if (!open_shared(&with, vector_files[_i].vocabulary)) return;
  if (tq_tokenizer_get_kind(with.tokenizer) == TQ_TOKENIZER_BYTE_LEVEL) {
    uint64_t state = 1;
    char text[300];
    for (unsigned byte = 0; byte < 256; byte++) {
      text[0] = (char)byte;
      check_round_trip(&with, text, 1, 0);
    }
    for (int i = 0; i < 3000; i++) {
      size_t size = random_bytes(&state, text, sizeof text);
      check_round_trip(&with, text, size, i & 1 ? TQ_ENCODE_SPECIAL : 0);
    }
  }
  close_opened(&with);
}
END_TEST

/* A random character that is not U+2581, as UTF-8. */
static size_t random_character(uint64_t *state, char *text) {
  uint64_t choice = random_u64(state);
  uint32_t c = (uint32_t)(choice >> 8);
  switch (choice % 5) {
  case 0:
    c %= 0x80;
    break;
  case 1:
    c %= 0x800;
    break;
  case 2:
    c = c % 0x10000;
    break;
  case 3:
    c = 0x10000 + c % 0x100000;
    break;
  default:
    c = ' ';
    break;
  }
  if ((c >= 0xd800 && c < 0xe000) || c == 0x2581) c = ' ';
  if (c < 0x80) {
    text[0] = (char)c;
    return 1;
  }
  size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = length - 1; i > 0; i--, c >>= 6) text[i] = (char)(0x80 | (c & 0x3f));
  text[0] = (char)(lead[length] | c);
  return length;
}

START_TEST(sentencepiece_round_trips_any_utf8) {
  static const char *const files[] = {"models/stories260K.gguf", "tokenizers/ggml-vocab-llama-spm.gguf"};
  opened with;
  if (!open_shared(&with, files[_i])) return;
  uint64_t state = 7;
  for (int i = 0; i < 3000; i++) {
    char text[260];
    size_t size = 0, length = random_u64(&state) % 256;
    while (size < length) size += random_character(&state, text + size);
    check_round_trip(&with, text, size, i & 1 ? TQ_ENCODE_SPECIAL : 0);
  }
  check_round_trip(&with, "   two  spaces ", 15, TQ_ENCODE_SPECIAL);
  check_round_trip(&with, "\xff\xe2\x96 x\xc0", 6, 0); /* nor do ill-formed bytes get lost */
  close_opened(&with);
}
END_TEST

/* ---- special tokens ---- */

START_TEST(special_tokens) {
  owned vocabulary;
  opened with;
  small_vocabulary(&vocabulary);
  open_owned(&with, &vocabulary);
  /* control tokens only when asked for, and never through merges */
  ck_encodes(&with, "<s>", TQ_ENCODE_CONTROL, (uint32_t[]){1}, 1);
  ck_encodes(&with, "<s>", 0, (uint32_t[]){5, 12, 0}, 3);
  ck_encodes(&with, "ab<s>ab", TQ_ENCODE_CONTROL | TQ_ENCODE_SPECIAL, (uint32_t[]){1, 10, 1, 10, 2}, 5);
  ck_encodes(&with, "<unk>", TQ_ENCODE_CONTROL, (uint32_t[]){0}, 1);
  /* user-defined ones always, the longest first, with a dummy prefix behind */
  ck_encodes(&with, "a<tool>xb<tool>", 0, (uint32_t[]){9, 4, 5, 7, 3}, 5);
  ck_encodes(&with, "<tool><tool>x<tool>", 0, (uint32_t[]){3, 4, 3}, 3);
  ck_encodes(&with, "<tool", 0, (uint32_t[]){5, 13, 0}, 3); /* a run of unknown characters is one token */
  check_round_trip(&with, "ab<tool> a<tool>x  b", 20, TQ_ENCODE_SPECIAL);
  close_opened(&with);
}
END_TEST

START_TEST(scores_decide) {
  owned vocabulary;
  opened with;
  small_vocabulary(&vocabulary);
  vocabulary.tokens[10].data = "other"; /* U+2581, a and b are no token together */
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "ab", 0, (uint32_t[]){5, 8}, 2);
  close_opened(&with);
  vocabulary.scores[8] = 1;
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "ab", 0, (uint32_t[]){9, 7}, 2);
  close_opened(&with);
  vocabulary.scores[8] = vocabulary.scores[9] = -1; /* of equal ones the leftmost */
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "ab", 0, (uint32_t[]){9, 7}, 2);
  close_opened(&with);
}
END_TEST

START_TEST(missing_tokens) {
  owned vocabulary;
  opened with;
  uint32_t *ids;
  size_t count;
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.special[TQ_SPECIAL_UNKNOWN] = -1;
  open_owned(&with, &vocabulary);
  ck_fails(tq_tokenizer_encode(with.tokenizer, "z", 1, 0, &ids, &count, error), TQ_ERROR_CORRUPT, "no token for \"z\"");
  close_opened(&with);
  static const char *const letters[] = {"a", "b", "ab"};
  owned_start(&vocabulary, TQ_TOKENIZER_BYTE_LEVEL, letters, 3);
  vocabulary.vocabulary.pre = "gpt-2";
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "ab", 0, (uint32_t[]){0, 1}, 2); /* without a merge */
  ck_fails(tq_tokenizer_encode(with.tokenizer, "z", 1, 0, &ids, &count, error), TQ_ERROR_CORRUPT, "byte 0x7A");
  close_opened(&with);
  vocabulary.vocabulary.special[TQ_SPECIAL_UNKNOWN] = 1;
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "za", 0, (uint32_t[]){1, 0}, 2);
  close_opened(&with);
}
END_TEST

START_TEST(generation_ends) {
  static const char *const texts[] = {"a", "<|eot_id|>", "<|im_end|>", "</x>", "<|endoftext|>"};
  owned vocabulary;
  opened with;
  owned_start(&vocabulary, TQ_TOKENIZER_BYTE_LEVEL, texts, 5);
  vocabulary.types[1] = vocabulary.types[2] = vocabulary.types[3] = TQ_TOKEN_CONTROL;
  vocabulary.vocabulary.special[TQ_SPECIAL_EOS] = 3;
  open_owned(&with, &vocabulary);
  static const bool ends[] = {false, true, true, true, false}; /* the last is no control token */
  for (uint32_t id = 0; id < 5; id++) ck_assert_int_eq(tq_tokenizer_ends_generation(with.tokenizer, id), ends[id]);
  ck_assert(!tq_tokenizer_ends_generation(with.tokenizer, 5));
  close_opened(&with);
}
END_TEST

/* ---- byte level ---- */

START_TEST(ranks_decide) {
  owned vocabulary;
  opened with;
  letter_vocabulary(&vocabulary);
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "ab", 0, (uint32_t[]){3}, 1);
  ck_encodes(&with, "abc", 0, (uint32_t[]){5}, 1); /* bc, then a + bc */
  ck_encodes(&with, "abcab", 0, (uint32_t[]){5, 3}, 2);
  ck_encodes(&with, "a a", 0, (uint32_t[]){0, 7}, 2);
  ck_encodes(&with, "a<x y>b", 0, (uint32_t[]){0, 8, 1}, 3);
  check_round_trip(&with, "ab<x y> a", 9, 0);
  close_opened(&with);
  vocabulary.vocabulary.merge_count = 2;
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "abc", 0, (uint32_t[]){0, 4}, 2);
  close_opened(&with);
  vocabulary.vocabulary.ignore_merges = true;
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "abc", 0, (uint32_t[]){5}, 1);
  close_opened(&with);
}
END_TEST

START_TEST(later_duplicate_is_found) {
  static const char *const texts[] = {"a", "b", "ab", "b", "ab"};
  owned vocabulary;
  opened with;
  owned_start(&vocabulary, TQ_TOKENIZER_BYTE_LEVEL, texts, 5);
  vocabulary.vocabulary.pre = "gpt-2";
  vocabulary.vocabulary.merges = (tq_merge[]){{0, 1}};
  vocabulary.vocabulary.merge_count = 1;
  open_owned(&with, &vocabulary);
  ck_assert_int_eq(tq_tokenizer_find(with.tokenizer, "b", 1), 3);
  ck_assert_int_eq(tq_tokenizer_find(with.tokenizer, "", 0), -1);
  ck_assert_int_eq(tq_tokenizer_find(with.tokenizer, "abc", 3), -1);
  ck_encodes(&with, "ab", 0, (uint32_t[]){4}, 1); /* merges follow the text, not the id they came with */
  close_opened(&with);
}
END_TEST

/* ---- what is not understood ---- */

START_TEST(unknown_names_are_refused) {
  owned vocabulary;
  opened with;
  uint32_t *ids;
  size_t count;
  letter_vocabulary(&vocabulary);
  vocabulary.vocabulary.pre = "martian-7";
  open_owned(&with, &vocabulary);
  ck_assert_str_eq(tq_tokenizer_pre(with.tokenizer), "martian-7");
  ck_assert_int_eq(tq_tokenizer_find(with.tokenizer, "ab", 2), 3);
  ck_fails(tq_tokenizer_encode(with.tokenizer, "ab", 2, 0, &ids, &count, error), TQ_ERROR_CORRUPT, "\"martian-7\"");
  close_opened(&with);
  vocabulary.vocabulary.pre = "gpt-2";
  vocabulary.vocabulary.normalizer = "lower-case";
  open_owned(&with, &vocabulary);
  ck_fails(tq_tokenizer_encode(with.tokenizer, "ab", 2, 0, &ids, &count, error), TQ_ERROR_CORRUPT, "\"lower-case\"");
  close_opened(&with);
}
END_TEST

START_TEST(contradictions_are_refused) {
  owned vocabulary;
  uint8_t *section;
  size_t size;
  static char long_name[300];
  memset(long_name, 'x', sizeof long_name - 1);
#define refused(part, ...)                                                                                             \
  do {                                                                                                                 \
    letter_vocabulary(&vocabulary);                                                                                    \
    __VA_ARGS__;                                                                                                       \
    ck_fails(tq_tokenizer_serialize(&vocabulary.vocabulary, &section, &size, error), TQ_ERROR_CORRUPT, part);          \
  } while (0)
  refused("merge 0", vocabulary.vocabulary.merges = (tq_merge[]){{0, 99}}; vocabulary.vocabulary.merge_count = 1);
  refused("merge 0 (\"c\" \"c\") makes a text that no token has", vocabulary.vocabulary.merges = (tq_merge[]){{2, 2}};
          vocabulary.vocabulary.merge_count = 1);
  refused("merge 0", vocabulary.vocabulary.merges = (tq_merge[]){{8, 8}}; vocabulary.vocabulary.merge_count = 1);
  refused("empty token", vocabulary.tokens[0].size = 0);
  refused("token 4 has type 0", vocabulary.types[4] = 0);
  refused("token 4 has type 7", vocabulary.types[4] = 7);
  refused("score of token 3", vocabulary.scores[3] = __builtin_nanf(""));
  refused("id 9", vocabulary.vocabulary.special[TQ_SPECIAL_EOS] = 9);
  refused("id -2", vocabulary.vocabulary.special[TQ_SPECIAL_EOS] = -2);
  refused("pre-tokenizer", vocabulary.vocabulary.pre = long_name);
  refused("normalizer", vocabulary.vocabulary.normalizer = long_name);
  refused("0 tokens", vocabulary.vocabulary.token_count = 0);
  refused("kind 3", vocabulary.vocabulary.kind = 3);
#undef refused
}
END_TEST

/* ---- pre-tokenizers ---- */

START_TEST(patterns_and_names) {
  static const char llama3[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                               "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
  ck_assert_str_eq(tq_pretokenizer_by_pattern(llama3, ""), "llama-bpe");
  ck_assert_str_eq(tq_pretokenizer_pattern("llama3"), llama3);
  ck_assert_str_eq(tq_pretokenizer_pattern("llama-v3"), llama3);
  ck_assert_str_eq(tq_pretokenizer_by_pattern(tq_pretokenizer_pattern("gpt-2"), ""), "gpt-2");
  ck_assert_ptr_null(tq_pretokenizer_by_pattern("\\w+", ""));
  ck_assert_ptr_null(tq_pretokenizer_pattern(""));
}
END_TEST

/* Splits and joins the words with '|'. */
static void check_words(const char *pre, const char *text, const char *expected) {
  tq_splitter *splitter;
  tq_words words = {0};
  char joined[256] = "";
  ck_ok(tq_splitter_create(tq_pretokenizer_find(pre), &splitter, error));
  ck_ok(tq_splitter_split(splitter, text, strlen(text), &words, error));
  for (size_t i = 0, begin = 0; i < words.count; begin = words.ends[i++]) {
    if (i) strcat(joined, "|");
    strncat(joined, text + begin, words.ends[i] - begin);
  }
  ck_assert_str_eq(joined, expected);
  tq_free(words.ends);
  tq_splitter_destroy(splitter);
}

START_TEST(words) {
  check_words("gpt-2", "Hello  world's 2024!", "Hello| | world|'s| 2024|!");
  check_words("llama-bpe", "Hello  WORLD'S 2024!\n\n x", "Hello| | WORLD|'S| |202|4|!\n\n| x");
  check_words("llama-bpe",
              "a\xc2\xa0"
              "b",
              "a|\xc2\xa0"
              "b");
  check_words("gpt-2",
              "a\xe3\x80\x80"
              "b",
              "a|\xe3\x80\x80|b");
  check_words("gpt-2",
              "a \xe1\xa0\x8e"
              "b",
              "a| \xe1\xa0\x8e|b"); /* U+180E is no space */
  /* ill-formed bytes are punctuation, each by itself */
  check_words("gpt-2",
              "a\xff\xfe"
              "b",
              "a|\xff\xfe|b");
  check_words("llama-bpe",
              "a \xff"
              "b",
              "a| \xff|b");
  check_words("llama-bpe",
              "a\xff\xff"
              "b",
              "a|\xff\xff|b");
  check_words("llama-bpe", "\xe2\x82", "\xe2\x82");
  check_words("llama-bpe", "x\xff\xe1\xa0\x8ey", "x|\xff\xe1\xa0\x8e|y");
}
END_TEST

START_TEST(normal_form) {
  static const struct {
    const char *text, *nfc;
  } cases[] = {{"e\xcc\x81", "\xc3\xa9"},
               {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"},               /* marks in the order of their classes */
               {"\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81"}, /* Hangul */
               {"\xff"
                "e\xcc\x81\xe2\x82"
                "x",
                "\xff\xc3\xa9\xe2\x82x"}, /* ill-formed bytes stay */
               {"\xe2\x84\xab", "\xc3\x85"},
               {"", ""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tq_buffer buffer = {0};
    ck_ok(tq_normalize_nfc(cases[i].text, strlen(cases[i].text), &buffer, error));
    ck_assert_uint_eq(buffer.size, strlen(cases[i].nfc));
    ck_assert(buffer.size == 0 || memcmp(buffer.data, cases[i].nfc, buffer.size) == 0);
    tq_buffer_free(&buffer);
  }
  owned vocabulary;
  opened with;
  static const char *const texts[] = {"\xc3\x83", "\xc2\xa9", "\xc3\x83\xc2\xa9"}; /* the bytes of e with acute */
  owned_start(&vocabulary, TQ_TOKENIZER_BYTE_LEVEL, texts, 3);
  vocabulary.vocabulary.pre = "gpt-2";
  vocabulary.vocabulary.normalizer = "nfc";
  vocabulary.vocabulary.merges = (tq_merge[]){{0, 1}};
  vocabulary.vocabulary.merge_count = 1;
  open_owned(&with, &vocabulary);
  ck_encodes(&with, "e\xcc\x81", 0, (uint32_t[]){2}, 1);
  close_opened(&with);
}
END_TEST

/* ---- time ---- */

enum { LARGE = 1000000 };

/* Work on the first bytes of a text. */
typedef void work_function(const void *context, const char *text, size_t size);

static double time_of(work_function *work, const void *context, const char *text, size_t size) {
  double start = seconds();
  work(context, text, size);
  return seconds() - start;
}

/* Fails the test unless four times the text takes about four times as long: quadratic work takes 16. The least of some
 * attempts counts, as whatever else the processor does only adds to it. */
static void check_growth(work_function *work, const void *context, const char *text, size_t size) {
  double part = INFINITY, whole = INFINITY;
  for (int attempt = 0; attempt < 5 && !(whole < 8 * part && attempt > 0); attempt++) {
    part = fmin(part, time_of(work, context, text, size / 4));
    whole = fmin(whole, time_of(work, context, text, size));
  }
  ck_assert_msg(whole < 8 * part, "%zu bytes take %.1f times as long as %zu", size, whole / part, size / 4);
}

static void encode(const void *context, const char *text, size_t size) {
  const opened *with = context;
  uint32_t *ids;
  size_t count;
  ck_ok(tq_tokenizer_encode(with->tokenizer, text, size, TQ_ENCODE_CONTROL, &ids, &count, error));
  tq_release(ids);
}

static void check_time(const opened *with, const char *text, size_t size) { check_growth(encode, with, text, size); }

START_TEST(large_words_take_bounded_time) {
  opened with;
  if (!open_shared(&with, vector_files[_i].vocabulary)) return;
  char *text = malloc(LARGE);
  uint64_t state = 3;
  memset(text, 'a', LARGE);
  check_time(&with, text, LARGE);
  memset(text, ' ', LARGE);
  check_time(&with, text, LARGE);
  for (size_t i = 0; i < LARGE; i++) text[i] = (char)('a' + random_u64(&state) % 4);
  check_time(&with, text, LARGE);
  memset(text, '\xff', LARGE);
  check_time(&with, text, LARGE);
  free(text);
  close_opened(&with);
}
END_TEST

static void normalize_marks(const void *context, const char *text, size_t size) {
  tq_buffer buffer = {0};
  (void)context;
  ck_ok(tq_normalize_nfc(text, size, &buffer, error));
  ck_assert_uint_eq(buffer.size, size);
  ck_assert(memcmp(buffer.data, "\xcc\x96\xcc\x96", 4) == 0);
  tq_buffer_free(&buffer);
}

START_TEST(long_runs_of_marks_take_bounded_time) {
  char *text = malloc(LARGE);
  for (size_t i = 0; i < LARGE; i += 4) memcpy(text + i, "\xcc\x81\xcc\x96", 4);
  check_growth(normalize_marks, NULL, text, LARGE);
  free(text);
}
END_TEST

/* Many lengths of user-defined tokens, each of which nearly matches everywhere. */
START_TEST(many_special_tokens_take_bounded_time) {
  enum { TOKENS = 400, SIZE = 200000 };
  static char texts[TOKENS][TOKENS + 2];
  const char *list[TOKENS];
  owned vocabulary;
  opened with;
  for (size_t i = 0; i < TOKENS; i++) {
    memset(texts[i], 'a', i + 1);
    texts[i][i + 1] = 'b';
    list[i] = texts[i];
  }
  owned_start(&vocabulary, TQ_TOKENIZER_SENTENCEPIECE, list, TOKENS);
  memset(vocabulary.types, TQ_TOKEN_USER_DEFINED, TOKENS);
  vocabulary.types[0] = TQ_TOKEN_UNKNOWN;
  vocabulary.vocabulary.special[TQ_SPECIAL_UNKNOWN] = 0;
  open_owned(&with, &vocabulary);
  char *text = malloc(SIZE);
  memset(text, 'a', SIZE);
  check_time(&with, text, SIZE);
  text[SIZE / 2] = 'b';
  uint32_t *ids;
  size_t count;
  ck_ok(tq_tokenizer_encode(with.tokenizer, text, SIZE, 0, &ids, &count, error));
  ck_assert_uint_eq(count, 3);
  ck_assert_uint_eq(ids[1], TOKENS - 1); /* the longest */
  tq_release(ids);
  free(text);
  close_opened(&with);
}
END_TEST

/* ---- tables and digest ---- */

START_TEST(tables_come_back) {
  owned vocabulary;
  opened with;
  letter_vocabulary(&vocabulary);
  vocabulary.scores[3] = -1.5f;
  vocabulary.vocabulary.chat_template = (tq_string){"{{ x }}", 7};
  vocabulary.vocabulary.special[TQ_SPECIAL_MASK] = 2;
  vocabulary.vocabulary.add_eos = vocabulary.vocabulary.clean_up_spaces = true;
  open_owned(&with, &vocabulary);
  const tq_tokenizer *t = with.tokenizer;
  ck_assert_uint_eq(tq_tokenizer_token_count(t), 9);
  for (uint32_t id = 0; id < 9; id++) {
    tq_token_type type;
    float score;
    tq_string text = tq_tokenizer_token(t, id, &type, &score);
    ck_assert_uint_eq(text.size, strlen(letter_texts[id]));
    ck_assert(memcmp(text.data, letter_texts[id], text.size) == 0);
    ck_assert_int_eq((int)type, vocabulary.types[id]);
    ck_assert(score == vocabulary.scores[id]);
  }
  ck_assert_uint_eq(tq_tokenizer_merge_count(t), 5);
  for (size_t i = 0; i < 5; i++) {
    ck_assert_uint_eq(tq_tokenizer_merge(t, i).left, letter_merges[i].left);
    ck_assert_uint_eq(tq_tokenizer_merge(t, i).right, letter_merges[i].right);
  }
  ck_assert_int_eq(tq_tokenizer_special(t, TQ_SPECIAL_MASK), 2);
  ck_assert_int_eq(tq_tokenizer_special(t, TQ_SPECIAL_BOS), -1);
  ck_assert(tq_tokenizer_adds_eos(t) && tq_tokenizer_cleans_up_spaces(t) && tq_tokenizer_has_scores(t));
  ck_assert(!tq_tokenizer_adds_bos(t) && !tq_tokenizer_adds_space_prefix(t) && !tq_tokenizer_ignores_merges(t));
  ck_assert_uint_eq(tq_tokenizer_chat_template(t).size, 7);
  ck_assert_str_eq(tq_tokenizer_normalizer(t), "");
  close_opened(&with);
}
END_TEST

START_TEST(pieces) {
  opened with;
  if (!open_shared(&with, "models/stories260K.gguf")) return;
  char bytes[8] = "zzzzzzz";
  ck_assert_uint_eq(tq_tokenizer_piece(with.tokenizer, 403, false, bytes, 2), 5);
  ck_assert(memcmp(bytes, " Ozzzzz", 7) == 0);
  ck_assert_uint_eq(tq_tokenizer_piece(with.tokenizer, 1, false, bytes, 8), 0);
  ck_assert_uint_eq(tq_tokenizer_piece(with.tokenizer, 1, true, bytes, 8), 3);
  ck_assert(memcmp(bytes, "<s>", 3) == 0);
  ck_assert_uint_eq(tq_tokenizer_piece(with.tokenizer, 3 + 10, false, bytes, 8), 1);
  ck_assert_int_eq(bytes[0], '\n');
  char *text;
  size_t size;
  ck_fails(tq_tokenizer_decode(with.tokenizer, (uint32_t[]){512}, 1, &text, &size, error), TQ_ERROR_USAGE, "token 512");
  close_opened(&with);
}
END_TEST

START_TEST(digest_covers_what_it_should) {
  owned vocabulary;
  uint8_t first[16], other[16];
  static const char *other_texts[] = {"a", "b", "c", "ab", "bc", "abc", "\xc4\xa0", "\xc4\xa0\x61", "<x z>"};
#define digest_of(change, digest)                                                                                      \
  do {                                                                                                                 \
    opened with;                                                                                                       \
    letter_vocabulary(&vocabulary);                                                                                    \
    change;                                                                                                            \
    open_owned(&with, &vocabulary);                                                                                    \
    tq_tokenizer_digest(with.tokenizer, digest);                                                                       \
    close_opened(&with);                                                                                               \
  } while (0)
#define same(change)                                                                                                   \
  do {                                                                                                                 \
    digest_of(change, other);                                                                                          \
    ck_assert(memcmp(first, other, 16) == 0);                                                                          \
  } while (0)
#define different(change)                                                                                              \
  do {                                                                                                                 \
    digest_of(change, other);                                                                                          \
    ck_assert(memcmp(first, other, 16) != 0);                                                                          \
  } while (0)
  digest_of((void)0, first);
  different(vocabulary.vocabulary.pre = "llama-bpe");
  different(vocabulary.vocabulary.normalizer = "nfc");
  different(vocabulary.tokens[8].data = other_texts[8]);
  different(vocabulary.types[8] = TQ_TOKEN_CONTROL);
  different(vocabulary.vocabulary.merge_count = 4);
  different(vocabulary.vocabulary.special[TQ_SPECIAL_BOS] = 0);
  different(vocabulary.vocabulary.kind = TQ_TOKENIZER_SENTENCEPIECE);
  same(vocabulary.vocabulary.chat_template = ((tq_string){"x", 1}));
  same(vocabulary.vocabulary.clean_up_spaces = true);
  same(vocabulary.vocabulary.add_bos = true);
  same(vocabulary.scores[0] = 1); /* byte level is decided by merges */
  digest_of(vocabulary.vocabulary.pre = "llama-bpe", first);
  same(vocabulary.vocabulary.pre = "llama3"); /* another name of the same */
  digest_of(vocabulary.vocabulary.kind = TQ_TOKENIZER_SENTENCEPIECE, first);
  different(vocabulary.vocabulary.kind = TQ_TOKENIZER_SENTENCEPIECE; vocabulary.scores[0] = 1);
#undef digest_of
#undef same
#undef different
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer");
  TCase *tests = tcase_create("tokenizer");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, llama_cpp_vectors, 0, 3);
  tcase_add_test(tests, stories_ids);
  tcase_add_loop_test(tests, byte_level_round_trips_any_bytes, 0, 3);
  tcase_add_loop_test(tests, sentencepiece_round_trips_any_utf8, 0, 2);
  tcase_add_test(tests, special_tokens);
  tcase_add_test(tests, scores_decide);
  tcase_add_test(tests, missing_tokens);
  tcase_add_test(tests, generation_ends);
  tcase_add_test(tests, ranks_decide);
  tcase_add_test(tests, later_duplicate_is_found);
  tcase_add_test(tests, unknown_names_are_refused);
  tcase_add_test(tests, contradictions_are_refused);
  tcase_add_test(tests, patterns_and_names);
  tcase_add_test(tests, words);
  tcase_add_test(tests, normal_form);
  tcase_add_loop_test(tests, large_words_take_bounded_time, 0, 3);
  tcase_add_test(tests, long_runs_of_marks_take_bounded_time);
  tcase_add_test(tests, many_special_tokens_take_bounded_time);
  tcase_add_test(tests, tables_come_back);
  tcase_add_test(tests, pieces);
  tcase_add_test(tests, digest_covers_what_it_should);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
