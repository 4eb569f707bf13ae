/* Pre-tokenizers in tokenizer.json: those of the models that are known, as they are published, and each of ours written
 * and read again. */
#include "formats/hf/tokenizer.h"
#include "hf_support.h"
#include "support.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer_support.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- as models have them ---- */

#define NFC "{\"type\":\"NFC\"}"
#define BYTE_LEVEL(regex)                                                                                              \
  "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" regex "}"
#define SEQUENCE(steps) "{\"type\":\"Sequence\",\"pretokenizers\":[" steps "]}"
#define SPLIT(regex)                                                                                                   \
  "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}"
#define DIGITS(individual) "{\"type\":\"Digits\",\"individual_digits\":" individual "}"
/* The pattern of cl100k and its kin, which differ in what is a letter, how many digits there are, and what is left. */
#define CL100K(letters, digits, others)                                                                                \
  SPLIT("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?" letters "+|" digits "| ?" others                 \
        "+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+")

/* Line breaks in DeepSeek's patterns stand there as themselves. */
static const struct {
  const char *normalizer, *pre_tokenizer, *pre;
} families[] = {
    {NFC, SEQUENCE(CL100K("\\\\p{L}", "\\\\p{N}", "[^\\\\s\\\\p{L}\\\\p{N}]") "," BYTE_LEVEL("false")), "qwen2"},
    {NFC,
     SEQUENCE(CL100K("[\\\\p{L}\\\\p{M}]", "\\\\p{N}", "[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]") "," BYTE_LEVEL("false")),
     "qwen35"},
    {"null", SEQUENCE(CL100K("\\\\p{L}", "\\\\p{N}{1,3}", "[^\\\\s\\\\p{L}\\\\p{N}]") "," BYTE_LEVEL("false")),
     "llama-bpe"},
    {"null",
     SEQUENCE("{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}," BYTE_LEVEL("true") "," DIGITS(
         "false") "," SPLIT("[0-9][0-9][0-9]")),
     "falcon"},
    {"null", SEQUENCE(DIGITS("true") "," BYTE_LEVEL("true")), "starcoder"},
    {NFC, BYTE_LEVEL("true"), "mpt"},
    {"null", BYTE_LEVEL("true"), "gpt-2"},
    {"{\"type\":\"Sequence\",\"normalizers\":[]}",
     SEQUENCE(SPLIT("[\\r\\n]") "," SPLIT("\\\\s?\\\\p{L}+") "," SPLIT("\\\\s?\\\\p{P}+") "," SPLIT(
         "[一-龥ࠀ-一가-퟿]+") "," DIGITS("true") "," BYTE_LEVEL("false")),
     "deepseek-coder"},
    {"null",
     SEQUENCE(SPLIT("\\\\p{N}{1,3}") "," SPLIT("[一-龥぀-ゟ゠-ヿ]+") "," SPLIT(
         "[!\\\"#$%&'()*+,\\\\-./:;<=>?@\\\\[\\\\\\\\\\\\]^_`{|}~][A-Za-z]+"
         "|[^\\r\\n\\\\p{L}\\\\p{P}\\\\p{S}]?[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\r\\n]*"
         "|\\\\s*[\\r\\n]+|\\\\s+(?!\\\\S)|\\\\s+") "," BYTE_LEVEL("false")),
     "deepseek-v3"},
};

static void put_tokenizer(const char *normalizer, const char *pre_tokenizer) {
  char text[4096];
  snprintf(text, sizeof text,
           "{\"added_tokens\":[],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":null,\"decoder\":null,"
           "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1},\"merges\":[]}}",
           normalizer, pre_tokenizer);
  hf_put_tiny("m");
  hf_put("m", "tokenizer.json", text);
}

/* Fails the test unless folder "m" has a tokenizer that cuts text so. */
static void ck_cuts(const char *patterns, const char *normalizer, const char *pre) {
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = NULL;
  ck_assert_msg(checkpoint->tokenizer != NULL, "there is no tokenizer: %.*s", (int)checkpoint->notes.size,
                (const char *)checkpoint->notes.data);
  ck_ok(tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &tokenizer, error));
  if (pre) ck_assert_str_eq(tq_tokenizer_pre(tokenizer), pre);
  ck_assert_str_eq(tq_pretokenizer_pattern(tq_tokenizer_pre(tokenizer)), patterns);
  ck_assert_str_eq(tq_tokenizer_normalizer(tokenizer), normalizer);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}

START_TEST(test_models) {
  const char *pre = families[_i].pre;
  put_tokenizer(families[_i].normalizer, families[_i].pre_tokenizer);
  ck_cuts(tq_pretokenizer_pattern(pre), strcmp(families[_i].normalizer, NFC) == 0 ? "nfc" : "", pre);
}
END_TEST

/* ---- what is none of them ---- */

static const struct {
  const char *pre_tokenizer, *reason;
} others[] = {
    {SEQUENCE(SPLIT("a\\r\\nb") "," BYTE_LEVEL("false")), "pattern a\\r\\nb is not understood"},
    {SEQUENCE("{\"type\":\"Punctuation\",\"behavior\":\"Isolated\"}," BYTE_LEVEL("true")),
     "pre-tokenizer Punctuation is not understood"},
    {SEQUENCE(BYTE_LEVEL("true") ",{\"type\":\"Punctuation\",\"behavior\":\"Contiguous\"}"),
     "pre-tokenizer Punctuation is not understood"},
    {SEQUENCE(BYTE_LEVEL("true") "," DIGITS("true")), "pre-tokenizer Digits is not understood"},
    {SEQUENCE(BYTE_LEVEL("true") "," SPLIT("[0-9]")), "pre-tokenizer Split is not understood"},
    {SEQUENCE(DIGITS("false") "," BYTE_LEVEL("true")), "pattern \\p{N}+"},
    {SEQUENCE(DIGITS("true") "," SPLIT("[0-9][0-9][0-9]") "," BYTE_LEVEL("true")), "pattern \\p{N}"},
    {SEQUENCE(BYTE_LEVEL("true") "," BYTE_LEVEL("true")), "pre-tokenizer ByteLevel is not understood"},
};

START_TEST(test_others) {
  put_tokenizer("null", others[_i].pre_tokenizer);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_ptr_null(checkpoint->tokenizer);
  hf_noted(checkpoint, others[_i].reason);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- written and read again ---- */

static tq_status keep(void *context, const void *data, size_t size, tq_error *error) {
  return tq_buffer_append(context, data, size, error);
}

static const char *const names[] = {
    "gpt-2",  "mpt",          "llama-bpe",      "smaug-bpe",   "qwen2",  "deepseek-r1-qwen",
    "qwen35", "falcon",       "falcon3",        "starcoder",   "refact", "smollm",
    "dbrx",   "deepseek-llm", "deepseek-coder", "deepseek-v3", "default"};

START_TEST(test_all_come_back) {
  const tq_pretokenizer *row = tq_pretokenizer_find(names[_i]);
  owned vocabulary;
  opened with;
  tq_buffer text = {0};
  static const char *const tokens[] = {"a", "b"};
  owned_start(&vocabulary, TQ_TOKENIZER_BYTE_LEVEL, tokens, 2);
  vocabulary.vocabulary.pre = names[_i];
  vocabulary.vocabulary.normalizer = row->normalizer;
  open_owned(&with, &vocabulary);
  ck_ok(tq_tokenizer_json_write(with.tokenizer, keep, &text, error));
  hf_put_tiny("m");
  write_file(temporary_path("m/tokenizer.json"), text.data, text.size);
  ck_cuts(row->patterns, row->normalizer, NULL);
  tq_buffer_free(&text);
  close_opened(&with);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf_pretokenizer");
  TCase *tests = tcase_create("pre-tokenizers");
  tcase_add_checked_fixture(tests, hf_clear, NULL);
  tcase_add_loop_test(tests, test_models, 0, COUNT(families));
  tcase_add_loop_test(tests, test_others, 0, COUNT(others));
  tcase_add_loop_test(tests, test_all_come_back, 0, COUNT(names));
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
