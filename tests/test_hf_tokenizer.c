/* The tokenizer's files of a Hugging Face folder: read in all their variants, and made from other carriers' tokenizers.
 */
#include "formats/hf/tokenizer.h"
#include "hf_support.h"
#include "support.h"
#include "tokenizer_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static tq_tokenizer *open_tokenizer(const tq_checkpoint *checkpoint) {
  tq_tokenizer *tokenizer = NULL;
  ck_assert_msg(checkpoint->tokenizer != NULL, "there is no tokenizer: %.*s", (int)checkpoint->notes.size,
                (const char *)checkpoint->notes.data);
  ck_ok(tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &tokenizer, error));
  return tokenizer;
}

/* ---- a small byte-level tokenizer.json ---- */

typedef struct parts {
  const char *normalizer, *pre_tokenizer, *post_processor, *added, *vocabulary, *merges, *flags;
} parts;

static const parts plain = {
    "null",
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
    "null",
    "{\"id\":5,\"content\":\"<s>\",\"special\":true},{\"id\":6,\"content\":\"<tool>\",\"special\":false}",
    "\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4",
    "\"a b\",\"ab c\"",
    "\"type\":\"BPE\"",
};

/* `plain` with the members of `other` that are not NULL. */
static void put_parts(const char *folder, const parts *other) {
  char text[4096];
#define PART(member) (other->member ? other->member : plain.member)
  snprintf(text, sizeof text,
           "{\"version\":\"1.0\",\"added_tokens\":[%s],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,"
           "\"decoder\":null,\"model\":{%s,\"vocab\":{%s},\"merges\":[%s]}}",
           PART(added), PART(normalizer), PART(pre_tokenizer), PART(post_processor), PART(flags), PART(vocabulary),
           PART(merges));
#undef PART
  hf_put(folder, "tokenizer.json", text);
}

START_TEST(test_small_byte_level) {
  hf_put_tiny("m");
  put_parts("m", &plain);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  tq_token_type type;
  float score;
  uint32_t *ids;
  size_t count;
  ck_assert_int_eq(tq_tokenizer_get_kind(tokenizer), TQ_TOKENIZER_BYTE_LEVEL);
  ck_assert_str_eq(tq_tokenizer_pre(tokenizer), "gpt-2");
  ck_assert_uint_eq(tq_tokenizer_merge_count(tokenizer), 2);
  ck_assert(!tq_tokenizer_adds_bos(tokenizer));
  /* The embedding has 16 rows: the ids that no token has are there all the same. */
  ck_assert_uint_eq(tq_tokenizer_token_count(tokenizer), 16);
  tq_string padding = tq_tokenizer_token(tokenizer, 7, &type, &score);
  ck_assert_mem_eq(padding.data, "[PAD7]", 6);
  ck_assert_int_eq(type, TQ_TOKEN_UNUSED);
  tq_tokenizer_token(tokenizer, 5, &type, &score);
  ck_assert_int_eq(type, TQ_TOKEN_CONTROL);
  tq_tokenizer_token(tokenizer, 6, &type, &score);
  ck_assert_int_eq(type, TQ_TOKEN_USER_DEFINED);
  ck_ok(tq_tokenizer_encode(tokenizer, "abcab", 5, 0, &ids, &count, error));
  ck_assert_uint_eq(count, 2);
  ck_assert_uint_eq(ids[0], 4);
  ck_assert_uint_eq(ids[1], 3);
  tq_release(ids);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

#define LLAMA3_REGEX                                                                                                   \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}| "                               \
  "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*"                                                                            \
  "|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define SPLIT(regex, behavior)                                                                                         \
  "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex                      \
  "\"},\"behavior\":\"" behavior "\",\"invert\":false},"                                                               \
  "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"

static const struct {
  parts parts;
  const char *pre, *normalizer;
  bool add_bos, add_eos, ignore_merges;
} understood[] = {
    {{.normalizer = "{\"type\":\"NFC\"}"}, "mpt", "nfc", false, false, false},
    {{.normalizer = "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}"}, "mpt", "nfc", false, false, false},
    {{.pre_tokenizer = SPLIT(LLAMA3_REGEX, "Isolated")}, "llama-bpe", "", false, false, false},
    {{.flags = "\"type\":\"BPE\",\"ignore_merges\":true,\"dropout\":null,\"unk_token\":null"},
     "gpt-2",
     "",
     false,
     false,
     true},
    {{.flags = "\"type\":\"BPE\",\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":\"\""},
     "gpt-2",
     "",
     false,
     false,
     false},
    {{.flags = "\"fuse_unk\":false"}, "gpt-2", "", false, false, false},
    {{.merges = "\"#version: 0.2\",\"a b\",\"ab c\""}, "gpt-2", "", false, false, false},
    {{.merges = "[\"a\",\"b\"] , [\"ab\" , \"c\"]"}, "gpt-2", "", false, false, false},
    {{.post_processor = "{\"type\":\"ByteLevel\"}"}, "gpt-2", "", false, false, false},
    {{.post_processor = "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"},{\"type\":"
                        "\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\",\"type_id\":0}},"
                        "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]}]}"},
     "gpt-2",
     "",
     true,
     false,
     false},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":\"A\"}},"
                        "{\"SpecialToken\":{\"id\":\"<s>\"}}]}"},
     "gpt-2",
     "",
     false,
     true,
     false},
};

START_TEST(test_understood) {
  hf_put_tiny("m");
  put_parts("m", &understood[_i].parts);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_str_eq(tq_tokenizer_pre(tokenizer), understood[_i].pre);
  ck_assert_str_eq(tq_tokenizer_normalizer(tokenizer), understood[_i].normalizer);
  ck_assert_int_eq(tq_tokenizer_adds_bos(tokenizer), understood[_i].add_bos);
  ck_assert_int_eq(tq_tokenizer_adds_eos(tokenizer), understood[_i].add_eos);
  ck_assert_int_eq(tq_tokenizer_ignores_merges(tokenizer), understood[_i].ignore_merges);
  ck_assert_uint_eq(tq_tokenizer_merge_count(tokenizer), 2);
  if (understood[_i].add_bos) ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), 5);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  parts parts;
  const char *reason;
} not_understood[] = {
    {{.flags = "\"type\":\"Unigram\""}, "tokenizer model Unigram is not understood"},
    {{.flags = "\"type\":\"WordPiece\""}, "tokenizer model WordPiece is not understood"},
    {{.flags = "\"type\":7"}, "tokenizer model without a type is not understood"},
    {{.flags = "\"type\":\"BPE\",\"dropout\":0.1"}, "dropping merges at random is not understood"},
    {{.flags = "\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\""}, "word suffixes are not understood"},
    {{.flags = "\"type\":\"BPE\",\"continuing_subword_prefix\":\"##\""}, "subword prefixes"},
    {{.normalizer = "{\"type\":\"Lowercase\"}"}, "normalizer Lowercase is not understood"},
    {{.normalizer = "{\"type\":\"NFKC\"}"}, "normalizer NFKC is not understood"},
    {{.normalizer = "7"}, "normalizer without a type is not understood"},
    {{.normalizer = "{\"type\":\"Prepend\",\"prepend\":\"\\u2581\"}"}, "neither byte-level nor SentencePiece's"},
    {{.pre_tokenizer = "null"}, "neither byte-level nor SentencePiece's"},
    {{.pre_tokenizer = "{\"type\":\"Whitespace\"}"}, "pre-tokenizer Whitespace is not understood"},
    {{.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":true}"}, "a space before the text"},
    {{.pre_tokenizer = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}"},
     "pre-tokenizer pattern  is not understood"},
    {{.pre_tokenizer = SPLIT("x+y", "Isolated")}, "pre-tokenizer pattern x+y is not understood"},
    {{.pre_tokenizer = SPLIT(LLAMA3_REGEX, "MergedWithNext")}, "pre-tokenizer Split is not understood"},
    {{.post_processor = "{\"type\":\"RobertaProcessing\"}"}, "post-processor RobertaProcessing is not understood"},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<s>\"}},"
                        "{\"SpecialToken\":{\"id\":\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}}]}"},
     "a template of more than BOS, text and EOS"},
    {{.post_processor = "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<other>\"}},"
                        "{\"Sequence\":{\"id\":\"A\"}}]}"},
     "the post-processor adds '<other>' for BOS"},
    {{.added = "{\"id\":5,\"content\":\"<s>\",\"special\":true,\"rstrip\":true}"}, "token '<s>' that strips blanks"},
};

START_TEST(test_not_understood) {
  hf_put_tiny("m");
  put_parts("m", &not_understood[_i].parts);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_ptr_null(checkpoint->tokenizer);
  hf_noted(checkpoint, not_understood[_i].reason);
  hf_noted(checkpoint, "tokenizer.json: ");
  hf_noted(checkpoint, "so there is no tokenizer");
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  parts parts;
  const char *message;
} corrupt[] = {
    {{.vocabulary = "\"a\":0,\"b\":0"}, "id 0 is that of 'a' and of 'b'"},
    {{.vocabulary = "\"a\":0,\"a\":1"}, "duplicate"},
    {{.vocabulary = "\"a\":-1"}, "token 'a': its id is not a whole number"},
    {{.vocabulary = "\"a\":\"0\""}, "token 'a': its id is not a whole number"},
    {{.vocabulary = "\"a\":4000000000"}, "token 'a': its id is not a whole number below 65552"},
    {{.vocabulary = "\"\\u0000\":0"}, "not JSON"},
    {{.added = "7"}, "added token 0 has no content"},
    {{.added = "{\"content\":\"x\"}"}, "token 'x': its id is not a whole number"},
    {{.added = "{\"id\":9,\"content\":\"a\"}"}, "token 'a' has two ids"},
    {{.added = "{\"id\":1,\"content\":\"x\"}"}, "id 1 is that of 'b' and of 'x'"},
    {{.merges = "\"a x\""}, "model.merges[0]: a token that is not in the vocabulary"},
    {{.merges = "\"a b\",\"b c\""}, "tokenizer.json: "},
    {{.merges = "\"ab\""}, "model.merges[0]: not two tokens with a space between them"},
    {{.merges = "\"a b c\""}, "model.merges[0]: not two tokens"},
    {{.merges = "\"a b\",\"a b\",\"a b\",\"a b\",\"a b\",\"a b\",\"a b\",\"a b\",\"a b\""},
     "model.merges[8]: more merges than there are ways"},
    {{.merges = "[\"a\"]"}, "model.merges[0]: neither a string nor two"},
    {{.merges = "\"a b\",7"}, "model.merges[1]: neither a string nor two"},
    {{.merges = "\"a b\","}, "model.merges[1]: not JSON"},
    {{.merges = ",\"a b\""}, "model.merges[0]: not JSON"},
    {{.merges = "\"a b\" \"ab c\""}, "model.merges[0]: not JSON"},
    {{.merges = "\"a b\"] x [\"ab c\""}, "not JSON"},
};

START_TEST(test_corrupt) {
  hf_put_tiny("m");
  put_parts("m", &corrupt[_i].parts);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, corrupt[_i].message);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "/m/tokenizer.json: ");
}
END_TEST

START_TEST(test_truncated_anywhere) {
  size_t size;
  hf_put_tiny("m");
  put_parts("m", &plain);
  char *text = (char *)read_file(temporary_path("m/tokenizer.json"), &size);
  for (size_t length = 0; length < size; length++) {
    write_file(temporary_path("m/tokenizer.json"), text, length);
    ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "tokenizer.json");
  }
  free(text);
}
END_TEST

START_TEST(test_flipped_bits) {
  size_t size;
  hf_put_tiny("m");
  put_parts("m", &plain);
  char *text = (char *)read_file(temporary_path("m/tokenizer.json"), &size);
  for (size_t at = 0; at < size; at++) {
    char old = text[at];
    tq_error problem = {0};
    text[at] = (char)(old ^ (1 << (at % 8)));
    write_file(temporary_path("m/tokenizer.json"), text, size);
    tq_status status = hf_status("m", &problem);
    ck_assert_msg(status == TQ_OK || status == TQ_ERROR_CORRUPT, "byte %zu: status %d: %s", at, (int)status,
                  problem.message);
    text[at] = old;
  }
  free(text);
}
END_TEST

/* ---- the files beside it ---- */

static const char config_text[] =
    "{\"bos_token\":{\"content\":\"<s>\",\"__type\":\"AddedToken\"},\"eos_token\":\"<tool>\",\"unk_token\":\"gone\","
    "\"eot_token\":\"<tool>\",\"add_bos_token\":true,\"add_eos_token\":false,\"clean_up_tokenization_spaces\":true,"
    "\"chat_template\":[{\"name\":\"tools\",\"template\":\"T\"},{\"name\":\"default\",\"template\":\"D\"}]}";

static void check_template(const char *expected) {
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  tq_string template = tq_tokenizer_chat_template(tokenizer);
  ck_assert_uint_eq(template.size, strlen(expected));
  ck_assert_mem_eq(template.data, expected, template.size);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}

START_TEST(test_special_tokens) {
  hf_put_tiny("m");
  put_parts("m", &plain);
  hf_put("m", "tokenizer_config.json", config_text);
  hf_put("m", "generation_config.json", "{\"pad_token_id\":[2,3],\"eos_token_id\":1}");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), 5);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_EOS), 6);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_UNKNOWN), -1);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_PADDING), 2);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_END_OF_TURN), 6);
  ck_assert(tq_tokenizer_adds_bos(tokenizer));
  ck_assert(tq_tokenizer_cleans_up_spaces(tokenizer));
  hf_noted(checkpoint, "unk_token 'gone' is not a token of the vocabulary");
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_ids_where_there_are_no_texts) {
  hf_put_tiny("m");
  put_parts("m", &plain);
  hf_put("m", "special_tokens_map.json", "{\"bos_token\":\"<s>\"}");
  hf_put("m", "generation_config.json", "{\"eos_token_id\":[3,4],\"bos_token_id\":0,\"pad_token_id\":-1}");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), 5);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_EOS), 3);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_PADDING), -1);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_ids_that_no_token_has) {
  hf_put_tiny("m");
  put_parts("m", &plain);
  hf_put("m", "generation_config.json", "{\"bos_token_id\":4294967295,\"eos_token_id\":-1,\"pad_token_id\":15}");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), -1);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_EOS), -1);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_PADDING), 15);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
  hf_put("m", "generation_config.json", "{\"eos_token_id\":[16]}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT,
           "/m/generation_config.json: eos_token_id: 16 is not one of the 16 tokens");
  hf_put("m", "generation_config.json", "{\"eos_token_id\":-2}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "eos_token_id: -2 is not one");
}
END_TEST

START_TEST(test_chat_templates) {
  hf_put_tiny("m");
  put_parts("m", &plain);
  check_template("");
  hf_put("m", "tokenizer_config.json", "{\"chat_template\":\"plain\"}");
  check_template("plain");
  hf_put("m", "tokenizer_config.json", config_text);
  check_template("D");
  hf_put("m", "chat_template.json", "{\"chat_template\":\"file\"}");
  check_template("file");
  hf_put("m", "chat_template.jinja", "{{ jinja }}");
  check_template("{{ jinja }}");
}
END_TEST

START_TEST(test_given_tokenizer) {
  hf_put_tiny("m");
  hf_folder("t");
  put_parts("t", &understood[9].parts);
  char path[512];
  snprintf(path, sizeof path, "%s", temporary_path("t/tokenizer.json"));
  tq_open_options options = {.tokenizer_path = path};
  tq_checkpoint *checkpoint = NULL;
  ck_ok(tq_checkpoint_open(temporary_path("m"), &options, &checkpoint, error));
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_BOS), 5);
  ck_assert(tq_tokenizer_adds_bos(tokenizer));
  hf_noted(checkpoint, "the tokenizer is that of");
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
  put_parts("t", &not_understood[0].parts);
  ck_fails(tq_checkpoint_open(temporary_path("m"), &options, &checkpoint, error), TQ_ERROR_CORRUPT,
           "tokenizer model Unigram is not understood");
}
END_TEST

/* ---- SentencePiece ---- */

#define MARK "\\u2581"
#define LLAMA_NORMALIZER                                                                                               \
  "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"" MARK "\"},"                           \
  "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}]}"

static const parts sentencepiece = {
    .normalizer = LLAMA_NORMALIZER,
    .pre_tokenizer = "null",
    .added = "{\"id\":0,\"content\":\"<unk>\",\"special\":true},{\"id\":10,\"content\":\"<x>\",\"special\":false}",
    .vocabulary = "\"<unk>\":0,\"<0x41>\":1,\"<0x0a>\":2,"
                  "\"" MARK "\":3,\"a\":4,\"b\":5,\"ab\":6,\"" MARK "a\":7,\"" MARK "ab\":8,\"c\":9",
    .merges = "\"a b\",\"" MARK " a\",\"" MARK " ab\",\"" MARK "a b\"",
    .flags = "\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\"",
};

static void check_score(const tq_tokenizer *tokenizer, uint32_t id, tq_token_type type, float score) {
  tq_token_type found;
  float value;
  tq_tokenizer_token(tokenizer, id, &found, &value);
  ck_assert_int_eq(found, type);
  ck_assert_float_eq(value, score);
}

START_TEST(test_small_sentencepiece) {
  hf_put_tiny("m");
  put_parts("m", &sentencepiece);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_get_kind(tokenizer), TQ_TOKENIZER_SENTENCEPIECE);
  ck_assert(tq_tokenizer_adds_space_prefix(tokenizer));
  ck_assert_int_eq(tq_tokenizer_special(tokenizer, TQ_SPECIAL_UNKNOWN), 0);
  check_score(tokenizer, 0, TQ_TOKEN_UNKNOWN, 0);
  check_score(tokenizer, 1, TQ_TOKEN_BYTE, 0);
  check_score(tokenizer, 2, TQ_TOKEN_NORMAL, 0); /* bytes are written in capitals */
  check_score(tokenizer, 3, TQ_TOKEN_NORMAL, -1);
  check_score(tokenizer, 6, TQ_TOKEN_NORMAL, -4);
  check_score(tokenizer, 8, TQ_TOKEN_NORMAL, -6);
  check_score(tokenizer, 10, TQ_TOKEN_USER_DEFINED, -1000);
  check_score(tokenizer, 15, TQ_TOKEN_UNUSED, -10000);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Where ranks do not rise with ids, tokens are scored in the order in which they are made. */
START_TEST(test_scores_by_rank) {
  parts other = sentencepiece;
  other.merges = "\"" MARK " a\",\"a b\",\"" MARK " ab\",\"" MARK "a b\"";
  hf_put_tiny("m");
  put_parts("m", &other);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  check_score(tokenizer, 7, TQ_TOKEN_NORMAL, 0);
  check_score(tokenizer, 6, TQ_TOKEN_NORMAL, -1);
  check_score(tokenizer, 8, TQ_TOKEN_NORMAL, -2);
  check_score(tokenizer, 2, TQ_TOKEN_NORMAL, -3);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  const char *normalizer, *pre_tokenizer;
  bool prefix;
} marks[] = {
    {"{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}", "null", false},
    {"{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"" MARK "\"}",
     "{\"type\":\"Split\",\"pattern\":{\"String\":\" \"},\"behavior\":\"MergedWithPrevious\",\"invert\":false}", false},
    {"null", "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"first\",\"split\":false}",
     true},
    {"null", "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"always\",\"split\":false}",
     true},
    {"null", "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"never\",\"split\":false}",
     false},
};

START_TEST(test_ways_to_mark_spaces) {
  parts other = sentencepiece;
  other.normalizer = marks[_i].normalizer;
  other.pre_tokenizer = marks[_i].pre_tokenizer;
  hf_put_tiny("m");
  put_parts("m", &other);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_int_eq(tq_tokenizer_adds_space_prefix(tokenizer), marks[_i].prefix);
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  const char *merges, *pre_tokenizer, *flags, *reason;
} bad_sentencepiece[] = {
    {"\"a b\",\"" MARK " a\",\"" MARK " ab\"", NULL, NULL, "merges that are not SentencePiece's"},
    {"\"a b\",\"" MARK " ab\",\"" MARK " a\",\"" MARK "a b\"", NULL, NULL, "merges that are not SentencePiece's"},
    {NULL, "{\"type\":\"Metaspace\",\"replacement\":\"" MARK "\",\"prepend_scheme\":\"first\"}", NULL,
     "a Metaspace that splits at spaces"},
    {NULL, NULL, "\"type\":\"BPE\",\"byte_fallback\":false,\"unk_token\":\"<unk>\"", "neither byte-level"},
};

START_TEST(test_not_sentencepiece) {
  parts other = sentencepiece;
  if (bad_sentencepiece[_i].merges) other.merges = bad_sentencepiece[_i].merges;
  if (bad_sentencepiece[_i].pre_tokenizer) other.pre_tokenizer = bad_sentencepiece[_i].pre_tokenizer;
  if (bad_sentencepiece[_i].flags) other.flags = bad_sentencepiece[_i].flags;
  hf_put_tiny("m");
  put_parts("m", &other);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_ptr_null(checkpoint->tokenizer);
  hf_noted(checkpoint, bad_sentencepiece[_i].reason);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_merge_into_nothing) {
  parts other = sentencepiece;
  other.merges = "\"b a\"";
  hf_put_tiny("m");
  put_parts("m", &other);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "model.merges[0]: it makes a token that is not in the vocabulary");
}
END_TEST

/* Makes "out" from stories260K; false where the shared data is absent. */
static bool write_stories(void) {
  tq_file *file = hf_write_shared("models/stories260K.gguf");
  tq_file_close(file);
  return file != NULL;
}

/* Replaces text in a file of "out". */
static void edit(const char *name, const char *from, const char *to) {
  char path[64];
  size_t size;
  snprintf(path, sizeof path, "out/%s", name);
  char *text = (char *)read_file(temporary_path(path), &size), *place = strstr(text, from);
  ck_assert_ptr_nonnull(place);
  tq_buffer changed = {0};
  ck_ok(tq_buffer_append(&changed, text, (size_t)(place - text), error));
  ck_ok(tq_buffer_append(&changed, to, strlen(to), error));
  ck_ok(tq_buffer_append(&changed, place + strlen(from), size - (size_t)(place - text) - strlen(from), error));
  write_file(temporary_path(path), changed.data, changed.size);
  tq_buffer_free(&changed);
  free(text);
}

START_TEST(test_both_files_disagree) {
  if (!write_stories()) return;
  edit("tokenizer.json", "\"h e\",", "");
  tq_checkpoint *checkpoint = hf_checkpoint("out");
  ck_assert_ptr_nonnull(checkpoint->tokenizer);
  hf_noted(checkpoint, "the merges in tokenizer.json are not those of tokenizer.model, which is taken");
  tq_checkpoint_close(checkpoint);
  edit("tokenizer.json", "\"~\": 510", "\"\\u00fe\": 510");
  checkpoint = hf_checkpoint("out");
  ck_assert_ptr_null(checkpoint->tokenizer);
  hf_noted(checkpoint, "in tokenizer.model");
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_tokens_added_to_a_model) {
  if (!write_stories()) return;
  hf_remove("out", "tokenizer.json");
  hf_put("out", "added_tokens.json", "{\"<mine>\":513}");
  edit("tokenizer_config.json", "{",
       "{\"added_tokens_decoder\":{\"514\":{\"content\":\"<end>\",\"special\":true},"
       "\"1\":{\"content\":\"<s>\",\"special\":true}},");
  tq_checkpoint *checkpoint = hf_checkpoint("out");
  tq_tokenizer *tokenizer = open_tokenizer(checkpoint);
  ck_assert_uint_eq(tq_tokenizer_token_count(tokenizer), 515);
  check_score(tokenizer, 1, TQ_TOKEN_CONTROL, 0);
  check_score(tokenizer, 512, TQ_TOKEN_UNUSED, -10000);
  check_score(tokenizer, 513, TQ_TOKEN_USER_DEFINED, -1000);
  check_score(tokenizer, 514, TQ_TOKEN_CONTROL, -1000);
  ck_assert_int_eq(tq_tokenizer_find(tokenizer, "<end>", 5), 514);
  ck_assert(tq_tokenizer_adds_bos(tokenizer));
  tq_tokenizer_close(tokenizer);
  tq_checkpoint_close(checkpoint);
  hf_put("out", "added_tokens.json", "{\"<mine>\":4000000000}");
  ck_fails(hf_status("out", error), TQ_ERROR_CORRUPT, "added_tokens.json: '<mine>': its id");
  hf_put("out", "added_tokens.json", "{\"<mine>\":\"1\"}");
  ck_fails(hf_status("out", error), TQ_ERROR_CORRUPT, "added_tokens.json: '<mine>': its id");
}
END_TEST

/* One piece, "a", and no trainer's specification: a unigram model. */
static const char unigram[] = "\x0a\x03\x0a\x01\x61";

START_TEST(test_model_that_is_not_understood) {
  if (!write_stories()) return;
  hf_put("out", "tokenizer.model", unigram);
  tq_checkpoint *checkpoint = hf_checkpoint("out");
  ck_assert_ptr_nonnull(checkpoint->tokenizer);
  hf_noted(checkpoint, "scores are made from tokenizer.json's merges: tokenizer.model: SentencePiece models of type 1");
  tq_checkpoint_close(checkpoint);
  hf_remove("out", "tokenizer.json");
  checkpoint = hf_checkpoint("out");
  ck_assert_ptr_null(checkpoint->tokenizer);
  hf_noted(checkpoint, "so there is no tokenizer");
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Whether tokenizer.json could do without it or not. */
START_TEST(test_model_that_is_damaged) {
  static const struct {
    const char *text, *message;
  } damaged[] = {{"garbage", "/out/tokenizer.model: not a tokenizer file"},
                 {"", "/out/tokenizer.model: not a tokenizer file"},
                 {"\x0a\x03\x0a\x01", "/out/tokenizer.model: offset 0 of the file"},
                 {"\x0a\x03\x0a\x01\x61\x12\x02\x18", "/out/tokenizer.model: offset 5 of the file"}};
  if (!write_stories()) return;
  for (int i = 0; i < 2 * COUNT(damaged); i++) {
    if (i == COUNT(damaged)) hf_remove("out", "tokenizer.json");
    hf_put("out", "tokenizer.model", damaged[i % COUNT(damaged)].text);
    ck_fails(hf_status("out", error), TQ_ERROR_CORRUPT, damaged[i % COUNT(damaged)].message);
  }
}
END_TEST

/* ---- what tokenizer.json cannot hold ---- */

static tq_status discard(void *context, const void *data, size_t size, tq_error *error) {
  (void)context;
  (void)data;
  (void)size;
  (void)error;
  return TQ_OK;
}

static tq_status write_tokens(const char *pre, const char *third, size_t third_size, tq_error *error) {
  const tq_string tokens[] = {{"a", 1}, {"b", 1}, {third, third_size}};
  static const uint8_t types[] = {TQ_TOKEN_NORMAL, TQ_TOKEN_NORMAL, TQ_TOKEN_NORMAL};
  tq_vocabulary vocabulary = {.kind = TQ_TOKENIZER_BYTE_LEVEL,
                              .pre = pre,
                              .token_count = 3,
                              .tokens = tokens,
                              .types = types,
                              .special = {-1, -1, -1, -1, -1, -1, -1},
                              .normalizer = ""};
  uint8_t *section = NULL;
  size_t size = 0;
  tq_tokenizer *tokenizer = NULL;
  tq_status status = tq_tokenizer_serialize(&vocabulary, &section, &size, error);
  if (!status) status = tq_tokenizer_open(section, size, &tokenizer, error);
  if (!status) status = tq_tokenizer_json_write(tokenizer, discard, NULL, error);
  tq_tokenizer_close(tokenizer);
  tq_release(section);
  return status;
}

START_TEST(test_refuses_to_write) {
  ck_ok(write_tokens("gpt-2", "c", 1, error));
  ck_fails(write_tokens("nobody-knows", "c", 1, error), TQ_ERROR_REFUSED, "the pattern of nobody-knows is not known");
  ck_fails(write_tokens("gpt-2", "a", 1, error), TQ_ERROR_REFUSED, "cannot hold token 'a' twice, as 0 and 2");
  ck_fails(write_tokens("gpt-2", "\xff", 1, error), TQ_ERROR_REFUSED, "cannot be text in a JSON file");
}
END_TEST

/* ---- faults ---- */

START_TEST(test_every_operation_may_fail) {
  hf_put_tiny("m");
  put_parts("m", _i ? &sentencepiece : &plain);
  hf_put("m", "tokenizer_config.json", config_text);
  hf_put("m", "chat_template.jinja", "x");
  ck_assert_int_gt(hf_check_every_fault("m"), 200);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf_tokenizer");
  TCase *variants = tcase_create("variants");
  tcase_add_checked_fixture(variants, hf_clear, NULL);
  tcase_set_timeout(variants, 60);
  tcase_add_test(variants, test_small_byte_level);
  tcase_add_loop_test(variants, test_understood, 0, COUNT(understood));
  tcase_add_loop_test(variants, test_not_understood, 0, COUNT(not_understood));
  tcase_add_loop_test(variants, test_corrupt, 0, COUNT(corrupt));
  tcase_add_test(variants, test_truncated_anywhere);
  tcase_add_test(variants, test_flipped_bits);
  tcase_add_test(variants, test_special_tokens);
  tcase_add_test(variants, test_ids_that_no_token_has);
  tcase_add_test(variants, test_ids_where_there_are_no_texts);
  tcase_add_test(variants, test_chat_templates);
  tcase_add_test(variants, test_given_tokenizer);
  suite_add_tcase(suite, variants);
  TCase *pieces = tcase_create("sentencepiece");
  tcase_add_checked_fixture(pieces, hf_clear, NULL);
  tcase_add_test(pieces, test_small_sentencepiece);
  tcase_add_test(pieces, test_scores_by_rank);
  tcase_add_loop_test(pieces, test_ways_to_mark_spaces, 0, COUNT(marks));
  tcase_add_loop_test(pieces, test_not_sentencepiece, 0, COUNT(bad_sentencepiece));
  tcase_add_test(pieces, test_merge_into_nothing);
  tcase_add_test(pieces, test_both_files_disagree);
  tcase_add_test(pieces, test_tokens_added_to_a_model);
  tcase_add_test(pieces, test_model_that_is_not_understood);
  tcase_add_test(pieces, test_model_that_is_damaged);
  suite_add_tcase(suite, pieces);
  TCase *limits = tcase_create("limits");
  tcase_add_checked_fixture(limits, hf_clear, NULL);
  tcase_set_timeout(limits, 120);
  tcase_add_test(limits, test_refuses_to_write);
  tcase_add_loop_test(limits, test_every_operation_may_fail, 0, 2);
  suite_add_tcase(suite, limits);
  return run_suite(suite);
}
