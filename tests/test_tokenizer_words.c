/* Pre-tokenizers: how each cuts texts in words, their names and patterns, and that no text makes one slow. */
#include "base/memory.h"
#include "base/text.h"
#include "support.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"
#include "tokenizer_support.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Splits and joins the words with U+00A6. */
static void check_words(const char *pre, const char *text, const char *expected) {
  tq_splitter *splitter;
  tq_words words = {0};
  char joined[512] = "";
  ck_ok(tq_splitter_create(tq_pretokenizer_find(pre), &splitter, error));
  ck_ok(tq_splitter_split(splitter, text, strlen(text), &words, error));
  for (size_t i = 0, begin = 0; i < words.count; begin = words.ends[i++]) {
    if (i) strcat(joined, "¦");
    strncat(joined, text + begin, words.ends[i] - begin);
  }
  ck_assert_msg(strcmp(joined, expected) == 0, "%s: \"%s\" is \"%s\", not \"%s\"", pre, text, joined, expected);
  tq_free(words.ends);
  tq_splitter_destroy(splitter);
}

/* ---- what each does ---- */

/* As Hugging Face's tokenizers cut them by the models' tokenizer.json; the words of the falcon rows with its digits in
 * threes and punctuation in runs, of the default ones with each pattern applied by hand. */
static const struct {
  const char *pre, *text, *words;
} cases[] = {
    {"gpt-2", "Hello  world's 2024!", "Hello¦ ¦ world¦'s¦ 2024¦!"},
    {"gpt-2", "WE'LL x12½ \n\n y", "WE¦'¦LL¦ x¦12½¦ \n\n¦ y"},
    {"phi-2", "a=b", "a¦=¦b"},
    {"mpt", "Hello  world's 2024!", "Hello¦ ¦ world¦'s¦ 2024¦!"},
    {"olmo", "it's", "it¦'s"},

    {"llama-bpe", "Hello  WORLD'S 2024!\n\n x", "Hello¦ ¦ WORLD¦'S¦ ¦202¦4¦!\n\n¦ x"},
    {"falcon3", "I'll pay $1234567", "I¦'ll¦ pay¦ $¦123¦456¦7"},
    {"smaug-bpe", "I'll pay $1234567", "I¦'ll¦ pay¦ $¦123¦456¦7"},
    {"dbrx", "\t\tx", "\t¦\tx"},

    /* Digits one by one; contractions in any case; line breaks go with the punctuation before them. */
    {"qwen2", "Hello  WORLD'S 2024!\n\n x", "Hello¦ ¦ WORLD¦'S¦ ¦2¦0¦2¦4¦!\n\n¦ x"},
    {"qwen2", "'RE you sure? 'M not", "'RE¦ you¦ sure¦?¦ '¦M¦ not"},
    {"qwen2", "a  \n\n  b\r\n", "a¦  \n\n¦ ¦ b¦\r\n"},
    {"qwen2", "½²٣", "½¦²¦٣"},
    {"qwen2", "e\u0301t\u0301a", "e¦\u0301t¦\u0301a"}, /* marks are no letters */
    {"deepseek-r1-qwen", "x12", "x¦1¦2"},
    {"qwen35", "e\u0301t\u0301a", "e\u0301t\u0301a"}, /* here they are */
    {"qwen35", "Vie\u0302\u0301t Nam 12", "Vie\u0302\u0301t¦ Nam¦ ¦1¦2"},
    {"qwen35", "!\u0301!", "!\u0301¦!"},

    {"falcon", "x 12345 1234567, a99!", "x¦ ¦123¦45¦ ¦123¦456¦7¦,¦ a¦99¦!"},
    {"falcon", "def getUserName(self):\n    return 12345", "def¦ getUserName¦(¦self¦):¦\n   ¦ return¦ ¦123¦45"},
    {"falcon", "a$b+c<d=e>f^g`h|i~j", "a¦$¦b¦+¦c¦<¦d¦=¦e¦>¦f¦^¦g¦`¦h¦|¦i¦~¦j"},
    {"falcon", "x += 1; y->z || w <= $5", "x¦ ¦+=¦ ¦1¦;¦ y¦->¦z¦ ¦||¦ w¦ ¦<=¦ ¦$¦5"},
    {"falcon", "it's 3.14159", "it¦'¦s¦ ¦3¦.¦141¦59"},

    {"starcoder", "x 12 = 345", "x¦ ¦1¦2¦ =¦ ¦3¦4¦5"},
    {"starcoder", "don't\n\n\treturn", "don¦'t¦\n\n¦\t¦return"},
    {"refact", "a½b", "a¦½¦b"},
    {"smollm", "it's 42", "it¦'s¦ ¦4¦2"},

    {"deepseek-llm", "Hello, World 2024!\r\n  x", "Hello¦,¦ World¦ ¦2¦0¦2¦4¦!¦\r¦\n¦ ¦ x"},
    {"deepseek-llm", "你好，世界  ", "你好¦，¦世界¦  "},
    {"deepseek-llm", "a\u3000b c   ", "a¦\u3000¦b¦ c¦   "},
    {"deepseek-llm", "한국어 शब्द ƻa", "한국어¦ ¦शब्द¦ ƻ¦a"}, /* letters without case have no space before them */
    {"deepseek-llm", "DON'T", "DON¦'¦T"},

    {"deepseek-coder", "int x1 = f(2);\n\n", "int¦ x¦1¦ =¦ f¦(¦2¦);¦\n¦\n"},
    {"deepseek-coder", "你好，世界", "你好¦，¦世界"},
    {"deepseek-coder", "a\tb  c", "a¦\tb¦ ¦ c"},

    {"deepseek-v3", "Hello  WORLD'S 20241!\n\n x", "Hello¦ ¦ WORLD¦'S¦ ¦202¦41¦!\n\n¦ x"},
    {"deepseek-v3", "日本語のテキスト, 한국어", "日本語のテキスト¦,¦ 한국어"},
    {"deepseek-v3", "(self).x_y $5", "(self¦).¦x¦_y¦ $¦5"},
    {"deepseek-v3", "e\u0301!", "e\u0301¦!"},

    {"default", "In 1987, 12345 people", "In¦ ¦198¦7¦,¦ ¦123¦45¦ people"},
    {"default", "it's 3.14159!\n\n  done", "it¦'¦s¦ ¦3¦.¦141¦59¦!¦\n\n ¦ done"},
    {"default", "Use `code` and ``x`` here", "Use¦ `¦code¦`¦ and¦ ``¦x¦``¦ here"},
    {"default", "٣٤٥٦", "٣٤٥٦"},
};

START_TEST(words) { check_words(cases[_i].pre, cases[_i].text, cases[_i].words); }
END_TEST

/* ---- names and patterns ---- */

static const char *const rows[] = {"gpt-2",  "mpt",       "llama-bpe",    "smaug-bpe",      "qwen2",       "qwen35",
                                   "falcon", "starcoder", "deepseek-llm", "deepseek-coder", "deepseek-v3", "default"};

/* The patterns lead back to the name, or to the first of those that cut alike. */
START_TEST(patterns_have_names) {
  const tq_pretokenizer *row = tq_pretokenizer_find(rows[_i]);
  ck_assert_str_eq(row->names[0], rows[_i]);
  const char *patterns = tq_pretokenizer_pattern(rows[_i]),
             *name = tq_pretokenizer_by_pattern(patterns, row->normalizer);
  ck_assert_str_eq(name, strcmp(rows[_i], "smaug-bpe") == 0 ? "llama-bpe" : rows[_i]);
  ck_assert_str_eq(tq_pretokenizer_pattern(name), patterns);
  for (size_t i = 0; i < TQ_PRETOKENIZER_NAMES && row->names[i]; i++)
    ck_assert_ptr_eq(tq_pretokenizer_find(row->names[i]), row);
}
END_TEST

START_TEST(normalizers_tell_names_apart) {
  const char *patterns = tq_pretokenizer_pattern("gpt-2");
  ck_assert_str_eq(tq_pretokenizer_by_pattern(patterns, ""), "gpt-2");
  ck_assert_str_eq(tq_pretokenizer_by_pattern(patterns, "nfc"), "mpt");
  ck_assert_str_eq(tq_pretokenizer_by_pattern(patterns, "other"), "gpt-2");
  ck_assert_str_eq(tq_pretokenizer_by_pattern(tq_pretokenizer_pattern("falcon"), "nfc"), "falcon");
  ck_assert_ptr_null(tq_pretokenizer_by_pattern("\\w+", ""));
  ck_assert_ptr_null(tq_pretokenizer_by_pattern("", ""));
  ck_assert_ptr_null(tq_pretokenizer_pattern(""));
  ck_assert_ptr_null(tq_pretokenizer_pattern("martian-7"));
}
END_TEST

/* ---- any bytes, any length ---- */

static size_t random_text(uint64_t *state, char *text, size_t room) {
  static const char *const parts[] = {" ",      "\n",   "'s",       "12", "½", "é", "字", "か",    "한",
                                      "\u0301", "\xff", "\xe2\x82", "!",  "$", "a", "B",  "\u3000"};
  size_t size = 0;
  for (const char *part; size + 4 < room; size += strlen(part)) {
    part = parts[random_u64(state) % (uint64_t)COUNT(parts)];
    memcpy(text + size, part, strlen(part));
  }
  return size;
}

/* Words follow on from each other, none is empty, and the last ends where the text does. */
START_TEST(nothing_is_lost) {
  tq_splitter *splitter;
  uint64_t state = 11;
  char text[200];
  ck_ok(tq_splitter_create(tq_pretokenizer_find(rows[_i]), &splitter, error));
  for (int round = 0; round < 500; round++) {
    tq_words found = {0};
    size_t size = random_text(&state, text, 1 + random_u64(&state) % sizeof text), previous = 0;
    ck_ok(tq_splitter_split(splitter, text, size, &found, error));
    for (size_t i = 0; i < found.count; previous = found.ends[i++]) ck_assert(found.ends[i] > previous || size == 0);
    ck_assert_uint_eq(previous, size);
    tq_free(found.ends);
  }
  tq_splitter_destroy(splitter);
}
END_TEST

enum { LARGE = 1000000 };

static const char *const fillers[] = {" ", "a", "1", "\n", "!", "字", "\u0301", "a ", " \n", "1 ", "'", "\xff"};

/* A long run of anything, with something else at its end that makes what was tried for it fail. */
START_TEST(long_runs_take_bounded_time) {
  tq_splitter *splitter;
  char *text = malloc(LARGE + 1);
  ck_ok(tq_splitter_create(tq_pretokenizer_find(rows[_i]), &splitter, error));
  for (int i = 0; i < COUNT(fillers); i++) {
    tq_words found = {0};
    size_t length = strlen(fillers[i]), size = 0;
    for (; size + length < LARGE; size += length) memcpy(text + size, fillers[i], length);
    memcpy(text + size++, i % 2 ? "x" : "1", 1);
    clock_t start = clock();
    ck_ok(tq_splitter_split(splitter, text, size, &found, error));
    double taken = (double)(clock() - start) / CLOCKS_PER_SEC;
    ck_assert_msg(taken < 10, "%s: a run of \"%s\" takes %.1f s", rows[_i], fillers[i], taken);
    tq_free(found.ends);
  }
  tq_splitter_destroy(splitter);
  free(text);
}
END_TEST

/* ---- merges that are ignored ---- */

static bool every_token(const owned *vocabulary) {
  opened with;
  bool every;
  open_owned(&with, vocabulary);
  ck_ok(tq_merges_make_every_token(with.tokenizer, &every, error));
  close_opened(&with);
  return every;
}

START_TEST(merges_make_every_token) {
  owned vocabulary;
  letter_vocabulary(&vocabulary);
  ck_assert(every_token(&vocabulary));
  vocabulary.vocabulary.merge_count = 3; /* none makes a space and an a one token */
  ck_assert(!every_token(&vocabulary));
  vocabulary.types[7] = TQ_TOKEN_CONTROL; /* then no word is that token */
  ck_assert(every_token(&vocabulary));
  vocabulary.vocabulary.merge_count = 2;
  ck_assert(!every_token(&vocabulary));
  letter_vocabulary(&vocabulary);
  vocabulary.tokens[5] = (tq_string){"a[b", 3}; /* is cut before it is looked for */
  vocabulary.vocabulary.merges = (tq_merge[]){{1, 2}, {0, 1}, {6, 0}};
  vocabulary.vocabulary.merge_count = 3;
  ck_assert(every_token(&vocabulary));
  vocabulary.vocabulary.pre = "martian-7";
  ck_assert(!every_token(&vocabulary));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_words");
  TCase *tests = tcase_create("words");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, words, 0, COUNT(cases));
  tcase_add_loop_test(tests, patterns_have_names, 0, COUNT(rows));
  tcase_add_test(tests, normalizers_tell_names_apart);
  tcase_add_loop_test(tests, nothing_is_lost, 0, COUNT(rows));
  tcase_add_loop_test(tests, long_runs_take_bounded_time, 0, COUNT(rows));
  tcase_add_test(tests, merges_make_every_token);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
