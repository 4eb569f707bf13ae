#include "tokenizer_support.h"

#include "base/bytes.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "support.h"
#include "tq/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GGUF_HEADER_SIZE = 24, GGUF_KEY_COUNT = 16 };

static void load_gguf(const char *path, const uint8_t *data, size_t size, uint8_t **section, size_t *section_size) {
  tq_metadata *metadata;
  size_t consumed;
  char reason[TQ_REASON_SIZE];
  ck_ok(tq_metadata_parse(path, data + GGUF_HEADER_SIZE, size - GGUF_HEADER_SIZE, tq_load_u64(data + GGUF_KEY_COUNT),
                          &consumed, NULL, &metadata, error));
  ck_ok(tq_vocabulary_from_metadata(path, metadata, section, section_size, reason, error));
  ck_assert_str_eq(reason, "");
  tq_metadata_free(metadata);
}

bool load_shared(const char *relative, uint8_t **section, size_t *section_size) {
  const char *path = shared_path(relative);
  if (!path) return false;
  size_t size;
  uint8_t *data = read_file(path, &size);
  if (size > GGUF_HEADER_SIZE && memcmp(data, "GGUF", 4) == 0) {
    load_gguf(path, data, size, section, section_size);
  } else {
    tq_vocabulary_tables tables = {0};
    ck_ok(tq_tokenizer_file_read(path, data, size, &tables, error));
    ck_ok(tq_tokenizer_serialize(&tables.vocabulary, section, section_size, error));
    tq_vocabulary_tables_free(&tables);
  }
  free(data);
  return true;
}

bool open_shared(opened *with, const char *relative) {
  if (!load_shared(relative, &with->section, &with->size)) return false;
  ck_ok(tq_tokenizer_open(with->section, with->size, &with->tokenizer, error));
  return true;
}

void close_opened(opened *with) {
  tq_tokenizer_close(with->tokenizer);
  tq_release(with->section);
}

void owned_start(owned *vocabulary, tq_tokenizer_kind kind, const char *const *texts, size_t count) {
  memset(vocabulary, 0, sizeof *vocabulary);
  ck_assert_uint_le(count, sizeof vocabulary->tokens / sizeof *vocabulary->tokens);
  for (size_t i = 0; i < count; i++) vocabulary->tokens[i] = (tq_string){texts[i], strlen(texts[i])};
  memset(vocabulary->types, TQ_TOKEN_NORMAL, count);
  tq_vocabulary *tables = &vocabulary->vocabulary;
  *tables = (tq_vocabulary){.kind = kind, .pre = "", .normalizer = "", .token_count = count};
  tables->tokens = vocabulary->tokens;
  tables->types = vocabulary->types;
  tables->scores = vocabulary->scores;
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) tables->special[i] = -1;
}

void open_owned(opened *with, const owned *vocabulary) {
  ck_ok(tq_tokenizer_serialize(&vocabulary->vocabulary, &with->section, &with->size, error));
  ck_ok(tq_tokenizer_open(with->section, with->size, &with->tokenizer, error));
}

void ck_encodes(const opened *with, const char *text, unsigned flags, const uint32_t *ids, size_t count) {
  uint32_t *made;
  size_t made_count;
  char list[512] = "";
  ck_ok(tq_tokenizer_encode(with->tokenizer, text, strlen(text), flags, &made, &made_count, error));
  for (size_t i = 0; i < made_count && strlen(list) < sizeof list - 16; i++) {
    snprintf(list + strlen(list), sizeof list - strlen(list), " %u", made[i]);
  }
  bool same = made_count == count && (count == 0 || memcmp(made, ids, count * sizeof *ids) == 0);
  ck_assert_msg(same, "\"%s\" encodes to%s", text, list);
  tq_release(made);
}

static const char *const small_texts[] = {"<unk>",
                                          "<s>",
                                          "</s>",
                                          "<tool>",
                                          "<tool>x",
                                          "\xe2\x96\x81",
                                          "a",
                                          "b",
                                          "ab",
                                          "\xe2\x96\x81\x61",
                                          "\xe2\x96\x81\x61\x62",
                                          "s>",
                                          "<s",
                                          "<"};

void small_vocabulary(owned *vocabulary) {
  owned_start(vocabulary, TQ_TOKENIZER_SENTENCEPIECE, small_texts, sizeof small_texts / sizeof *small_texts);
  vocabulary->types[0] = TQ_TOKEN_UNKNOWN;
  vocabulary->types[1] = vocabulary->types[2] = TQ_TOKEN_CONTROL;
  vocabulary->types[3] = vocabulary->types[4] = TQ_TOKEN_USER_DEFINED;
  vocabulary->scores[8] = 3;
  vocabulary->scores[9] = 2;
  vocabulary->scores[10] = 1;
  vocabulary->vocabulary.special[TQ_SPECIAL_UNKNOWN] = 0;
  vocabulary->vocabulary.special[TQ_SPECIAL_BOS] = 1;
  vocabulary->vocabulary.special[TQ_SPECIAL_EOS] = 2;
  vocabulary->vocabulary.add_bos = vocabulary->vocabulary.add_eos = vocabulary->vocabulary.add_space_prefix = true;
}

const char *const letter_texts[LETTER_TOKENS] = {"a", "b", "c", "ab", "bc", "abc", "\xc4\xa0", "\xc4\xa0\x61", "<x y>"};
const tq_merge letter_merges[LETTER_MERGES] = {{1, 2}, {0, 1}, {0, 4}, {6, 0}, {1, 2}};

void letter_vocabulary(owned *vocabulary) {
  owned_start(vocabulary, TQ_TOKENIZER_BYTE_LEVEL, letter_texts, sizeof letter_texts / sizeof *letter_texts);
  vocabulary->types[8] = TQ_TOKEN_USER_DEFINED;
  vocabulary->vocabulary.pre = "gpt-2";
  vocabulary->vocabulary.merges = letter_merges;
  vocabulary->vocabulary.merge_count = sizeof letter_merges / sizeof *letter_merges;
}

/* ---- llama.cpp's vectors ---- */

static size_t parse_ids(const char *line, size_t size, uint32_t *ids, size_t room) {
  size_t count = 0;
  for (const char *at = line, *end = line + size; at < end;) {
    if (*at == ' ') {
      at++;
      continue;
    }
    char *next;
    ck_assert_uint_lt(count, room);
    ids[count++] = (uint32_t)strtoul(at, &next, 10);
    at = next;
  }
  return count;
}

static void check_vector(const tq_tokenizer *tokenizer, const char *text, size_t size, const char *line,
                         size_t line_size) {
  uint32_t expected[512], *ids;
  size_t expected_count = parse_ids(line, line_size, expected, 512), count;
  ck_ok(tq_tokenizer_encode(tokenizer, text, size, 0, &ids, &count, error));
  ck_assert_msg(count == expected_count && memcmp(ids, expected, count * sizeof *ids) == 0,
                "\"%.*s\": %zu ids, expected \"%.*s\"", (int)size, text, count, (int)line_size, line);
  char *back;
  size_t back_size;
  ck_ok(tq_tokenizer_decode(tokenizer, ids, count, &back, &back_size, error));
  ck_assert_uint_eq(back_size, size);
  ck_assert(memcmp(back, text, size) == 0);
  tq_release(ids);
  tq_release(back);
}

void ck_vectors(const tq_tokenizer *tokenizer, const char *vectors) {
  static const char separator[] = "\n__ggml_vocab_test__\n";
  char input_name[128], output_name[128];
  snprintf(input_name, sizeof input_name, "%s.inp", vectors);
  snprintf(output_name, sizeof output_name, "%s.out", vectors);
  const char *input_path = shared_path(input_name), *output_path = shared_path(output_name);
  if (!input_path || !output_path) return;
  size_t input_size, output_size, cases = 0;
  char *input = (char *)read_file(input_path, &input_size), *output = (char *)read_file(output_path, &output_size);
  const char *text = input, *line = output;
  while (text < input + input_size) {
    const char *next = strstr(text, separator), *line_end = strchr(line, '\n');
    size_t size = next ? (size_t)(next - text) : (size_t)(input + input_size - text);
    ck_assert_ptr_nonnull(line_end);
    check_vector(tokenizer, text, size, line, (size_t)(line_end - line));
    text += size + (next ? strlen(separator) : 0);
    line = line_end + 1;
    cases++;
  }
  ck_assert_uint_eq(cases, 46);
  ck_assert_ptr_eq(line, output + output_size);
  free(input);
  free(output);
}
