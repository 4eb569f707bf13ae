/* Readers and writers of tokenizer files and keys: the same vocabulary by every way, and files that are cut or changed.
 */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/tokenizer/protobuf.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "support.h"
#include "tokenizer_support.h"
#include "tq/container.h"

#include <stdlib.h>
#include <string.h>

/* ---- one vocabulary, many files ---- */

static void ck_same_sections(const opened *with, const uint8_t *section, size_t size) {
  ck_assert_uint_eq(size, with->size);
  ck_assert(memcmp(section, with->section, size) == 0);
}

static void serialize_file(const void *data, size_t size, uint8_t **section, size_t *section_size) {
  tq_vocabulary_tables tables = {0};
  ck_ok(tq_tokenizer_file_read("file", data, size, &tables, error));
  ck_ok(tq_tokenizer_serialize(&tables.vocabulary, section, section_size, error));
  tq_vocabulary_tables_free(&tables);
}

/* Not only the digests: the sections are the same bytes. */
START_TEST(llama2c_equals_gguf) {
  opened with;
  uint8_t *section;
  size_t size;
  if (!open_shared(&with, "models/stories260K.gguf") || !load_shared("models/tok512.bin", &section, &size)) return;
  ck_same_sections(&with, section, size);
  tq_release(section);
  close_opened(&with);
}
END_TEST

START_TEST(sentencepiece_comes_back) {
  static const char *const files[] = {"models/stories260K.gguf", "tokenizers/ggml-vocab-llama-spm.gguf"};
  opened with;
  uint8_t *section;
  size_t size;
  tq_buffer file = {0};
  if (!open_shared(&with, files[_i])) return;
  ck_ok(tq_sentencepiece_write(with.tokenizer, &file, error));
  serialize_file(file.data, file.size, &section, &size);
  ck_same_sections(&with, section, size);
  tq_release(section);
  tq_buffer_free(&file);
  close_opened(&with);
}
END_TEST

static void metadata_round_trip(const opened *with, uint8_t **section, size_t *size) {
  tq_metadata_builder builder = {0};
  tq_metadata *metadata;
  size_t consumed;
  char reason[TQ_REASON_SIZE];
  ck_ok(tq_vocabulary_to_metadata(with->tokenizer, &builder, error));
  ck_ok(tq_metadata_parse("keys", builder.data, builder.size, builder.count, &consumed, NULL, &metadata, error));
  ck_ok(tq_vocabulary_from_metadata("keys", metadata, section, size, reason, error));
  ck_assert_str_eq(reason, "");
  tq_metadata_free(metadata);
  tq_metadata_builder_free(&builder);
}

START_TEST(metadata_comes_back) {
  static const char *const files[] = {"models/stories260K.gguf", "tokenizers/ggml-vocab-llama-spm.gguf",
                                      "tokenizers/ggml-vocab-gpt-2.gguf", "tokenizers/llama3.tiktoken"};
  opened with;
  uint8_t *section;
  size_t size;
  if (!open_shared(&with, files[_i])) return;
  metadata_round_trip(&with, &section, &size);
  ck_same_sections(&with, section, size);
  tq_release(section);
  close_opened(&with);
}
END_TEST

/* ---- GGUF's keys ---- */

typedef struct keys {
  tq_metadata_builder builder;
} keys;

static void add_string(keys *to, const char *key, const char *value) {
  ck_ok(tq_metadata_add_string(&to->builder, key, value, strlen(value), error));
}

static void add_strings(keys *to, const char *key, const char *const *values, size_t count) {
  tq_buffer items = {0};
  for (size_t i = 0; i < count; i++) {
    uint8_t length[8];
    tq_store_u64(length, strlen(values[i]));
    ck_ok(tq_buffer_append(&items, length, 8, error));
    ck_ok(tq_buffer_append(&items, values[i], strlen(values[i]), error));
  }
  ck_ok(tq_metadata_add_array(&to->builder, key, TQ_VALUE_STRING, count, items.data, items.size, error));
  tq_buffer_free(&items);
}

static void add_i32s(keys *to, const char *key, tq_value_type type, const int32_t *values, size_t count) {
  uint8_t items[256];
  for (size_t i = 0; i < count; i++) tq_store_u32(items + 4 * i, (uint32_t)values[i]);
  ck_ok(tq_metadata_add_array(&to->builder, key, type, count, items, 4 * count, error));
}

/* The status of reading the keys, which it frees; a tokenizer is opened into *with when there is one. */
static tq_status read_keys(keys *from, opened *with, char *reason, tq_error *error) {
  tq_metadata *metadata;
  size_t consumed;
  tq_error ignored;
  tq_status parsed = tq_metadata_parse("keys", from->builder.data, from->builder.size, from->builder.count, &consumed,
                                       NULL, &metadata, &ignored);
  ck_assert_int_eq(parsed, TQ_OK);
  with->tokenizer = NULL;
  tq_status status = tq_vocabulary_from_metadata("keys", metadata, &with->section, &with->size, reason, error);
  if (!status && with->section) status = tq_tokenizer_open(with->section, with->size, &with->tokenizer, error);
  tq_metadata_free(metadata);
  tq_metadata_builder_free(&from->builder);
  return status;
}

static const char *const three_texts[] = {"a", "b", "ab"};

static keys start_keys(const char *model) {
  keys made = {0};
  add_string(&made, "tokenizer.ggml.model", model);
  add_strings(&made, "tokenizer.ggml.tokens", three_texts, 3);
  return made;
}

START_TEST(defaults_are_llama_cpps) {
  opened with;
  char reason[TQ_REASON_SIZE];
  keys from = start_keys("llama");
  ck_ok(tq_metadata_add_u32(&from.builder, "tokenizer.ggml.padding_token_id", UINT32_MAX, error));
  ck_ok(read_keys(&from, &with, reason, error));
  ck_assert_int_eq(tq_tokenizer_special(with.tokenizer, TQ_SPECIAL_UNKNOWN), 0);
  ck_assert_int_eq(tq_tokenizer_special(with.tokenizer, TQ_SPECIAL_BOS), 1);
  ck_assert_int_eq(tq_tokenizer_special(with.tokenizer, TQ_SPECIAL_EOS), 2);
  ck_assert_int_eq(tq_tokenizer_special(with.tokenizer, TQ_SPECIAL_PADDING), -1);
  ck_assert(tq_tokenizer_adds_bos(with.tokenizer) && !tq_tokenizer_adds_eos(with.tokenizer));
  ck_assert(tq_tokenizer_adds_space_prefix(with.tokenizer));
  close_opened(&with);

  static const struct {
    const char *pre;
    bool add_bos, ignore_merges;
  } pres[] = {
      {"gpt-2", false, false}, {"llama-bpe", true, true}, {"llama-v3", true, true}, {"unheard-of", false, false}};
  for (size_t i = 0; i < sizeof pres / sizeof *pres; i++) {
    from = start_keys("gpt2");
    add_string(&from, "tokenizer.ggml.pre", pres[i].pre);
    add_strings(&from, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    ck_ok(read_keys(&from, &with, reason, error));
    ck_assert_str_eq(tq_tokenizer_pre(with.tokenizer), pres[i].pre);
    ck_assert_int_eq(tq_tokenizer_adds_bos(with.tokenizer), pres[i].add_bos);
    ck_assert_int_eq(tq_tokenizer_ignores_merges(with.tokenizer), pres[i].ignore_merges);
    ck_assert_int_eq(tq_tokenizer_special(with.tokenizer, TQ_SPECIAL_BOS), -1);
    ck_assert(!tq_tokenizer_adds_space_prefix(with.tokenizer));
    close_opened(&with);
  }
}
END_TEST

START_TEST(ids_that_no_token_has) {
  opened with;
  char reason[TQ_REASON_SIZE];
  keys from = start_keys("llama");
  ck_ok(tq_metadata_add_u32(&from.builder, "tokenizer.ggml.bos_token_id", 3, error));
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT,
           "keys: key tokenizer.ggml.bos_token_id is not one of the 3 tokens");
  from = start_keys("llama");
  ck_ok(tq_metadata_add_u32(&from.builder, "tokenizer.ggml.eot_token_id", 99999, error));
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "key tokenizer.ggml.eot_token_id is not one");
}
END_TEST

static void ck_not_understood(keys *from, const char *part) {
  opened with;
  char reason[TQ_REASON_SIZE];
  ck_ok(read_keys(from, &with, reason, error));
  ck_assert_ptr_null(with.section);
  ck_assert_msg(strstr(reason, part) != NULL, "reason \"%s\"", reason);
}

START_TEST(what_is_not_understood_is_said) {
  keys from = {0};
  add_string(&from, "general.architecture", "llama");
  ck_not_understood(&from, "no tokenizer");
  from = start_keys("bert");
  ck_not_understood(&from, "\"bert\"");
  from = start_keys("gpt2");
  ck_not_understood(&from, "no merges");
  from = start_keys("gpt2");
  add_strings(&from, "tokenizer.ggml.merges", (const char *const[]){"a b", "a z"}, 2);
  ck_not_understood(&from, "merge 1");
  from = start_keys("gpt2");
  add_strings(&from, "tokenizer.ggml.merges", (const char *const[]){"b a"}, 1);
  ck_not_understood(&from, "merge 0 (\"b\" \"a\") makes a text that no token has");
  from = start_keys("llama");
  add_i32s(&from, "tokenizer.ggml.token_type", TQ_VALUE_I32, (int32_t[]){1, 257, 1}, 3);
  ck_not_understood(&from, "token 1 has type 0");
}
END_TEST

START_TEST(contradicting_keys) {
  opened with;
  char reason[TQ_REASON_SIZE];
  keys from = {0};
  add_string(&from, "tokenizer.ggml.model", "llama");
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "keys: key tokenizer.ggml.tokens is missing");
  from = start_keys("llama");
  add_i32s(&from, "tokenizer.ggml.token_type", TQ_VALUE_I32, (int32_t[]){1, 1}, 2);
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "token_type has 2 items for 3 tokens");
  from = start_keys("llama");
  add_i32s(&from, "tokenizer.ggml.scores", TQ_VALUE_F32, (int32_t[]){1, 1}, 2);
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "scores has 2 items");
  from = start_keys("llama");
  add_i32s(&from, "tokenizer.ggml.scores", TQ_VALUE_I32, (int32_t[]){1, 1, 1}, 3);
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "scores is of the wrong type");
  from = start_keys("gpt2");
  ck_ok(tq_metadata_add_u32(&from.builder, "tokenizer.ggml.merges", 3, error));
  ck_fails(read_keys(&from, &with, reason, error), TQ_ERROR_CORRUPT, "merges is of the wrong type");
}
END_TEST

START_TEST(keys_in_the_converters_order) {
  static const char *const expected[] = {"tokenizer.ggml.model",         "tokenizer.ggml.pre",
                                         "tokenizer.ggml.tokens",        "tokenizer.ggml.scores",
                                         "tokenizer.ggml.token_type",    "tokenizer.ggml.bos_token_id",
                                         "tokenizer.ggml.eos_token_id",  "tokenizer.ggml.unknown_token_id",
                                         "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
                                         "tokenizer.chat_template",      "tokenizer.ggml.add_space_prefix"};
  owned vocabulary;
  opened with;
  tq_metadata_builder builder = {0};
  tq_metadata *metadata;
  size_t consumed;
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.add_space_prefix = false;
  vocabulary.vocabulary.chat_template = (tq_string){"t", 1};
  open_owned(&with, &vocabulary);
  ck_ok(tq_vocabulary_to_metadata(with.tokenizer, &builder, error));
  ck_ok(tq_metadata_parse("keys", builder.data, builder.size, builder.count, &consumed, NULL, &metadata, error));
  ck_assert_uint_eq(tq_metadata_count(metadata), sizeof expected / sizeof *expected);
  for (size_t i = 0; i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    ck_assert_msg(key.size == strlen(expected[i]) && memcmp(key.data, expected[i], key.size) == 0, "key %zu is %.*s", i,
                  (int)key.size, key.data);
  }
  ck_assert(!tq_metadata_bool(metadata, "tokenizer.ggml.add_space_prefix", true));
  tq_metadata_free(metadata);
  tq_metadata_builder_free(&builder);
  close_opened(&with);
}
END_TEST

/* Merges that make every token there is make no difference to words that are taken whole. */
START_TEST(ignored_merges_that_make_no_difference) {
  owned vocabulary;
  opened with;
  tq_metadata_builder builder = {0};
  letter_vocabulary(&vocabulary);
  vocabulary.vocabulary.ignore_merges = true;
  open_owned(&with, &vocabulary);
  ck_ok(tq_vocabulary_to_metadata(with.tokenizer, &builder, error));
  tq_metadata_builder_free(&builder);
  close_opened(&with);
  vocabulary.vocabulary.ignore_merges = false;
  vocabulary.vocabulary.pre = "falcon3"; /* implies that they are */
  open_owned(&with, &vocabulary);
  ck_ok(tq_vocabulary_to_metadata(with.tokenizer, &builder, error));
  tq_metadata_builder_free(&builder);
  close_opened(&with);
}
END_TEST

static void ck_gguf_refuses(const owned *vocabulary, const char *part) {
  opened with;
  tq_metadata_builder builder = {0};
  open_owned(&with, vocabulary);
  ck_fails(tq_vocabulary_to_metadata(with.tokenizer, &builder, error), TQ_ERROR_REFUSED, part);
  tq_metadata_builder_free(&builder);
  close_opened(&with);
}

START_TEST(what_gguf_cannot_hold) {
  owned vocabulary;
  letter_vocabulary(&vocabulary);
  vocabulary.vocabulary.ignore_merges = true; /* no merge makes " a", so that this makes a difference */
  vocabulary.vocabulary.merge_count = 3;
  ck_gguf_refuses(&vocabulary, "ignore_merges");
  letter_vocabulary(&vocabulary);
  vocabulary.vocabulary.normalizer = "nfc";
  ck_gguf_refuses(&vocabulary, "\"nfc\"");
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.special[TQ_SPECIAL_BOS] = -1;
  ck_gguf_refuses(&vocabulary, "no tokenizer.ggml.bos_token_id");
  letter_vocabulary(&vocabulary);
  vocabulary.tokens[0] = (tq_string){" ", 1};
  vocabulary.tokens[3] = (tq_string){" b", 2};
  vocabulary.vocabulary.merges = (tq_merge[]){{0, 1}};
  vocabulary.vocabulary.merge_count = 1;
  ck_gguf_refuses(&vocabulary, "merge 0 has a space");
}
END_TEST

/* ---- tokenizer.model ---- */

/* A model of three pieces, "<unk>", "a" and a user-defined one with a space, with a trainer's and a normalizer's
 * specification of which fields may be overridden by ones behind. */
typedef struct model {
  tq_buffer pieces, trainer, normalizer, denormalizer;
} model;

static void add_piece(model *to, const char *text, float score, uint64_t type) {
  tq_buffer piece = {0};
  ck_ok(tq_wire_add_bytes(&piece, 1, text, strlen(text), error));
  ck_ok(tq_wire_add_f32(&piece, 2, score, error));
  if (type != TQ_TOKEN_NORMAL) ck_ok(tq_wire_add_varint(&piece, 3, type, error));
  ck_ok(tq_wire_add_bytes(&to->pieces, 1, piece.data, piece.size, error));
  tq_buffer_free(&piece);
}

static model start_model(void) {
  model made = {0};
  add_piece(&made, "<unk>", 0, TQ_TOKEN_UNKNOWN);
  add_piece(&made, "a", -0.5f, TQ_TOKEN_NORMAL);
  add_piece(&made, "x\xe2\x96\x81y", -1, TQ_TOKEN_USER_DEFINED);
  ck_ok(tq_wire_add_varint(&made.trainer, 3, 2, error));
  ck_ok(tq_wire_add_bytes(&made.normalizer, 1, "identity", 8, error));
  ck_ok(tq_wire_add_varint(&made.normalizer, 4, 0, error));
  return made;
}

static tq_buffer end_model(model *from) {
  tq_buffer file = from->pieces;
  if (from->trainer.size) ck_ok(tq_wire_add_bytes(&file, 2, from->trainer.data, from->trainer.size, error));
  if (from->normalizer.size) ck_ok(tq_wire_add_bytes(&file, 3, from->normalizer.data, from->normalizer.size, error));
  if (from->denormalizer.size) {
    ck_ok(tq_wire_add_bytes(&file, 5, from->denormalizer.data, from->denormalizer.size, error));
  }
  tq_buffer_free(&from->trainer);
  tq_buffer_free(&from->normalizer);
  tq_buffer_free(&from->denormalizer);
  return file;
}

static void ck_model_fails(model *from, const char *part) {
  tq_buffer file = end_model(from);
  tq_vocabulary_tables tables = {0};
  ck_fails(tq_sentencepiece_read("m", file.data, file.size, &tables, error), TQ_ERROR_CORRUPT, part);
  tq_vocabulary_tables_free(&tables);
  tq_buffer_free(&file);
}

START_TEST(model_is_read) {
  model made = start_model();
  ck_ok(tq_wire_add_varint(&made.normalizer, 3, 0, error));
  ck_ok(tq_wire_add_bytes(&made.trainer, 46, "a", 1, error)); /* as BOS it should be a control token */
  tq_buffer file = end_model(&made);
  tq_vocabulary_tables tables = {0};
  ck_ok(tq_tokenizer_file_read("m", file.data, file.size, &tables, error));
  const tq_vocabulary *v = &tables.vocabulary;
  ck_assert_uint_eq(v->token_count, 3);
  ck_assert(v->scores[1] == -0.5f && v->scores[2] == -1);
  ck_assert_uint_eq(v->tokens[2].size, 3);
  ck_assert(memcmp(v->tokens[2].data, "x y", 3) == 0); /* to be found in raw text */
  ck_assert_int_eq(v->types[0], TQ_TOKEN_UNKNOWN);
  ck_assert_int_eq(v->special[TQ_SPECIAL_UNKNOWN], 0);
  ck_assert_int_eq(v->special[TQ_SPECIAL_BOS], -1);
  ck_assert(!v->add_space_prefix && v->add_bos);
  uint8_t *section;
  size_t size;
  tq_tokenizer *tokenizer;
  tq_buffer again = {0};
  ck_ok(tq_tokenizer_serialize(v, &section, &size, error));
  ck_ok(tq_tokenizer_open(section, size, &tokenizer, error));
  ck_ok(tq_sentencepiece_write(tokenizer, &again, error));
  opened with = {section, size, tokenizer};
  serialize_file(again.data, again.size, &section, &size);
  ck_same_sections(&with, section, size);
  tq_release(section);
  close_opened(&with);
  tq_buffer_free(&again);
  tq_vocabulary_tables_free(&tables);
  tq_buffer_free(&file);
}
END_TEST

START_TEST(models_that_are_refused) {
  model made = start_model();
  ck_ok(tq_wire_add_varint(&made.trainer, 3, 1, error));
  ck_model_fails(&made, "m: SentencePiece models of type 1 (unigram)");
  made = start_model();
  made.trainer.size = 0; /* unigram is the default */
  ck_model_fails(&made, "(unigram)");
  made = start_model();
  ck_ok(tq_wire_add_varint(&made.trainer, 24, 1, error));
  ck_model_fails(&made, "spaces behind words");
  made = start_model();
  ck_ok(tq_wire_add_bytes(&made.normalizer, 1, "nmt_nfkc", 8, error));
  ck_ok(tq_wire_add_bytes(&made.normalizer, 2, "table", 5, error));
  ck_model_fails(&made, "normalizer \"nmt_nfkc\"");
  made = start_model();
  made.normalizer.size = 0; /* removing them is the default */
  ck_model_fails(&made, "removes extra spaces");
  made = start_model();
  ck_ok(tq_wire_add_varint(&made.normalizer, 5, 0, error));
  ck_model_fails(&made, "does not escape spaces");
  made = start_model();
  ck_ok(tq_wire_add_bytes(&made.denormalizer, 2, "table", 5, error));
  ck_model_fails(&made, "denormalizer");
  made = start_model();
  add_piece(&made, "b", 0, 7);
  ck_model_fails(&made, "piece 3 is malformed");
  made = start_model();
  add_piece(&made, "", 0, 1);
  ck_model_fails(&made, "piece 3 is malformed");
  made = start_model();
  made.pieces.size = 0;
  ck_model_fails(&made, "no pieces");
  made = start_model();
  ck_ok(tq_buffer_append(&made.pieces, "\x0b", 1, error)); /* a group, which the format does not have */
  ck_model_fails(&made, "is no field");
}
END_TEST

static void ck_model_refuses(const owned *vocabulary, const char *part) {
  opened with;
  tq_buffer file = {0};
  open_owned(&with, vocabulary);
  ck_fails(tq_sentencepiece_write(with.tokenizer, &file, error), TQ_ERROR_REFUSED, part);
  tq_buffer_free(&file);
  close_opened(&with);
}

START_TEST(what_a_model_cannot_hold) {
  owned vocabulary;
  letter_vocabulary(&vocabulary);
  ck_model_refuses(&vocabulary, "byte-level");
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.special[TQ_SPECIAL_BOS] = -1;
  ck_model_refuses(&vocabulary, "which token is <s>");
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.special[TQ_SPECIAL_EOS] = 6;
  ck_model_refuses(&vocabulary, "which token is </s>");
  small_vocabulary(&vocabulary);
  vocabulary.tokens[7] = vocabulary.tokens[6];
  ck_model_refuses(&vocabulary, "token 6 has an empty text or that of another");
  small_vocabulary(&vocabulary);
  vocabulary.types[1] = TQ_TOKEN_UNKNOWN;
  ck_model_refuses(&vocabulary, "one unknown token");
  small_vocabulary(&vocabulary);
  vocabulary.types[6] = TQ_TOKEN_BYTE;
  ck_model_refuses(&vocabulary, "byte tokens");
  small_vocabulary(&vocabulary);
  vocabulary.tokens[6] = (tq_string){"<0x41>", 6};
  vocabulary.types[6] = TQ_TOKEN_BYTE;
  ck_model_refuses(&vocabulary, "some bytes only");
  small_vocabulary(&vocabulary);
  vocabulary.types[10] = TQ_TOKEN_USER_DEFINED;
  ck_model_refuses(&vocabulary, "U+2581");
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.normalizer = "nfc";
  ck_model_refuses(&vocabulary, "normalizer");
}
END_TEST

/* ---- llama2.c's and tiktoken's ---- */

START_TEST(llama2c_errors) {
  const char *path = shared_path("models/tok512.bin");
  if (!path) return;
  size_t size;
  uint8_t *data = read_file(path, &size);
  tq_vocabulary_tables tables = {0};
  tq_store_u32(data + 8, 1000000);
  ck_fails(tq_llama2c_vocabulary_read("t", data, size, &tables, error), TQ_ERROR_CORRUPT, "1000000 bytes at offset 4");
  tq_store_u32(data + 8, 5);
  data[12 + 5 + 8] = 'x';
  ck_fails(tq_llama2c_vocabulary_read("t", data, size, &tables, error), TQ_ERROR_CORRUPT, "token 1 is not <s>");
  tq_vocabulary_tables_free(&tables);
  ck_fails(tq_llama2c_vocabulary_read("t", data, 3, &tables, error), TQ_ERROR_CORRUPT, "truncated");
  ck_fails(tq_llama2c_vocabulary_read("t", data, 4, &tables, error), TQ_ERROR_CORRUPT, "0 tokens");
  free(data);
}
END_TEST

START_TEST(tiktoken_errors) {
  static const struct {
    const char *text, *part;
  } cases[] = {{"IQ== 0\nIg== 1\n", "2 tiktoken ranks that are not known"},
               {"IQ== 0\nIg== 1", "2 tiktoken ranks that are not known"},
               {"IQ== 0\nIg== 2\n", "offset 7: not the line of rank 1"},
               {"IQ== 0\nIg= 1\n", "offset 7: not the line"},
               {"IQ== 0\r\n", "offset 0: not the line"},
               {"IQ==\n", "offset 0"},
               {"", "no ranks"},
               {"I=== 0\n", "is not base64"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tq_vocabulary_tables tables = {0};
    ck_fails(tq_tiktoken_read("t", cases[i].text, strlen(cases[i].text), &tables, error), TQ_ERROR_CORRUPT,
             cases[i].part);
    tq_vocabulary_tables_free(&tables);
  }
}
END_TEST

START_TEST(llama3_tables) {
  opened with;
  if (!open_shared(&with, "tokenizers/llama3.tiktoken")) return;
  const tq_tokenizer *t = with.tokenizer;
  ck_assert_uint_eq(tq_tokenizer_token_count(t), 128256);
  ck_assert_uint_eq(tq_tokenizer_merge_count(t), 280147); /* as Llama 3's tokenizer.json has */
  ck_assert_int_eq(tq_tokenizer_find(t, "<|begin_of_text|>", 17), 128000);
  ck_assert_int_eq(tq_tokenizer_find(t, "<|eot_id|>", 10), 128009);
  ck_assert_int_eq(tq_tokenizer_find(t, "<|reserved_special_token_5|>", 28), 128010);
  ck_assert_int_eq(tq_tokenizer_find(t, "<|reserved_special_token_250|>", 30), 128255);
  ck_assert_int_eq(tq_tokenizer_special(t, TQ_SPECIAL_BOS), 128000);
  ck_assert_int_eq(tq_tokenizer_special(t, TQ_SPECIAL_EOS), 128001);
  ck_assert(tq_tokenizer_ends_generation(t, 128009) && tq_tokenizer_ends_generation(t, 128001));
  ck_encodes(&with, "Hello<|eot_id|>", TQ_ENCODE_SPECIAL | TQ_ENCODE_CONTROL, (uint32_t[]){128000, 9906, 128009}, 3);
  close_opened(&with);
}
END_TEST

START_TEST(tiktoken_as_a_checkpoint) {
  const char *path = shared_path("tokenizers/llama3.tiktoken");
  if (!path) return;
  tq_checkpoint *checkpoint;
  ck_ok(tq_checkpoint_open(path, NULL, &checkpoint, error));
  ck_assert_str_eq(checkpoint->format, "tiktoken");
  ck_assert_uint_eq(checkpoint->tensor_count, 0);
  ck_assert_uint_eq(checkpoint->file_count, 1);
  ck_assert_str_eq(checkpoint->files[0].path, "llama3.tiktoken");
  tq_string type = tq_metadata_string(checkpoint->metadata, "general.type");
  ck_assert(type.size == 10 && memcmp(type.data, "vocabulary", 10) == 0);
  ck_assert_uint_eq(tq_metadata_u64(checkpoint->metadata, "tokenizer.ggml.bos_token_id", 0), 128000);
  opened with;
  ck_ok(tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &with.tokenizer, error));
  ck_encodes(&with, "Hello world", 0, (uint32_t[]){9906, 1917}, 2);
  tq_tokenizer_close(with.tokenizer);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(files_of_no_kind) {
  static const char *const texts[] = {"", "x", "PK\x03\x04", "\x08\x01", "hello world\n"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    tq_vocabulary_tables tables = {0};
    ck_fails(tq_tokenizer_file_read("t", texts[i], strlen(texts[i]), &tables, error), TQ_ERROR_CORRUPT,
             "t: not a tokenizer file");
  }
}
END_TEST

/* From an input a tokenizer.json is taken too. */
START_TEST(inputs) {
  static const char json[] =
      "{\"added_tokens\":[],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
      "\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\","
      "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
  tq_input *input;
  opened with;
  char *text = tq_copy_string(json, strlen(json), NULL);
  ck_ok(tq_input_from_memory("t.json", text, strlen(json), &input, error));
  ck_ok(tq_tokenizer_file_serialize(input, &with.section, &with.size, error));
  ck_ok(tq_tokenizer_open(with.section, with.size, &with.tokenizer, error));
  ck_assert_str_eq(tq_tokenizer_pre(with.tokenizer), "gpt-2");
  ck_encodes(&with, "ab", 0, (uint32_t[]){2}, 1);
  close_opened(&with);
  tq_input_close(input);
  text = tq_copy_string("{", 1, NULL);
  ck_ok(tq_input_from_memory("t.json", text, 1, &input, error));
  ck_fails(tq_tokenizer_file_serialize(input, &with.section, &with.size, error), TQ_ERROR_CORRUPT, "t.json");
  tq_input_close(input);
}
END_TEST

/* ---- cut and changed files ---- */

/* Reads from memory that ends where the data ends; returns the status. */
static tq_status read_cut(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size ? size : 1);
  memcpy(copy, data, size);
  tq_vocabulary_tables tables = {0};
  tq_error error = {0};
  uint8_t *section = NULL;
  size_t section_size;
  tq_status status = tq_tokenizer_file_read("cut", copy, size, &tables, &error);
  if (!status) status = tq_tokenizer_serialize(&tables.vocabulary, &section, &section_size, &error);
  ck_assert(status == TQ_OK || status == TQ_ERROR_CORRUPT);
  tq_release(section);
  tq_vocabulary_tables_free(&tables);
  free(copy);
  return status;
}

/* The format says neither how many tokens there are nor that they end: a file cut between two is whole. */
START_TEST(llama2c_cut_anywhere) {
  const char *path = shared_path("models/tok512.bin");
  if (!path) return;
  size_t size, whole = 0;
  uint8_t *data = read_file(path, &size);
  for (size_t cut = 0; cut <= size; cut++) whole += read_cut(data, cut) == TQ_OK;
  ck_assert_uint_eq(whole, 512 - 2);
  free(data);
}
END_TEST

static uint8_t *stories_model(size_t *size) {
  opened with;
  tq_buffer file = {0};
  if (!open_shared(&with, "models/stories260K.gguf")) return NULL;
  ck_ok(tq_sentencepiece_write(with.tokenizer, &file, error));
  close_opened(&with);
  uint8_t *data = malloc(file.size);
  memcpy(data, file.data, file.size);
  *size = file.size;
  tq_buffer_free(&file);
  return data;
}

START_TEST(model_cut_anywhere) {
  size_t size;
  uint8_t *data = stories_model(&size);
  if (!data) return;
  for (size_t cut = 0; cut < size; cut++) ck_assert_int_eq(read_cut(data, cut), TQ_ERROR_CORRUPT);
  ck_assert_int_eq(read_cut(data, size), TQ_OK);
  free(data);
}
END_TEST

START_TEST(tiktoken_cut) {
  const char *path = shared_path("tokenizers/llama3.tiktoken");
  if (!path) return;
  size_t size;
  uint8_t *data = read_file(path, &size);
  for (size_t cut = 0; cut < 2000; cut++) ck_assert_int_eq(read_cut(data, cut), TQ_ERROR_CORRUPT);
  for (size_t cut = size - 30; cut < size - 1; cut++) ck_assert_int_eq(read_cut(data, cut), TQ_ERROR_CORRUPT);
  ck_assert_int_eq(read_cut(data, size - 1), TQ_OK); /* without its last line feed it is the same */
  data[size / 2] ^= 1;
  ck_assert_int_eq(read_cut(data, size), TQ_ERROR_CORRUPT);
  free(data);
}
END_TEST

/* Whatever a changed byte makes of a file, it is read or refused. */
START_TEST(changed_files) {
  static const uint8_t changes[] = {0x01, 0x80, 0x7f};
  size_t size;
  const char *path = _i ? NULL : shared_path("models/tok512.bin");
  uint8_t *data = _i ? stories_model(&size) : path ? read_file(path, &size) : NULL;
  if (!data) return;
  for (size_t i = 0; i < size; i++) {
    for (size_t j = 0; j < sizeof changes; j++) {
      data[i] ^= changes[j];
      read_cut(data, size);
      data[i] ^= changes[j];
    }
  }
  free(data);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tokenizer_files");
  TCase *tests = tcase_create("tokenizer_files");
  tcase_set_timeout(tests, 120);
  tcase_add_test(tests, llama2c_equals_gguf);
  tcase_add_loop_test(tests, sentencepiece_comes_back, 0, 2);
  tcase_add_loop_test(tests, metadata_comes_back, 0, 4);
  tcase_add_test(tests, defaults_are_llama_cpps);
  tcase_add_test(tests, ids_that_no_token_has);
  tcase_add_test(tests, what_is_not_understood_is_said);
  tcase_add_test(tests, contradicting_keys);
  tcase_add_test(tests, keys_in_the_converters_order);
  tcase_add_test(tests, ignored_merges_that_make_no_difference);
  tcase_add_test(tests, what_gguf_cannot_hold);
  tcase_add_test(tests, model_is_read);
  tcase_add_test(tests, models_that_are_refused);
  tcase_add_test(tests, what_a_model_cannot_hold);
  tcase_add_test(tests, llama2c_errors);
  tcase_add_test(tests, tiktoken_errors);
  tcase_add_test(tests, llama3_tables);
  tcase_add_test(tests, tiktoken_as_a_checkpoint);
  tcase_add_test(tests, files_of_no_kind);
  tcase_add_test(tests, inputs);
  tcase_add_test(tests, llama2c_cut_anywhere);
  tcase_add_test(tests, model_cut_anywhere);
  tcase_add_test(tests, tiktoken_cut);
  tcase_add_loop_test(tests, changed_files, 0, 2);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
