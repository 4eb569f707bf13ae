/* Real vocabularies in the tokenizer's files of a Hugging Face folder: they come back, from each file alone too. */
#include "base/text.h"
#include "formats/hf/hf.h"
#include "formats/json.h"
#include "hf_support.h"
#include "support.h"
#include "tokenizer_support.h"

#include <stdlib.h>
#include <string.h>

static const struct {
  const char *vocabulary, *vectors;
} real[] = {
    {"tokenizers/ggml-vocab-gpt-2.gguf", "tokenizers/ggml-vocab-gpt-2.gguf"},
    {"tokenizers/ggml-vocab-llama-spm.gguf", "tokenizers/ggml-vocab-llama-spm.gguf"},
    {"tokenizers/llama3.tiktoken", "tokenizers/ggml-vocab-llama-bpe.gguf"},
};

static void check_file_vectors(size_t index, const tq_file *file) {
  tq_section section = {0};
  tq_tokenizer *tokenizer = NULL;
  ck_assert(tq_file_find_section(file, "tokenizer", &section));
  ck_ok(tq_tokenizer_open(section.data, (size_t)section.size, &tokenizer, error));
  ck_vectors(tokenizer, real[index].vectors);
  tq_tokenizer_close(tokenizer);
}

START_TEST(test_real_vocabulary_comes_back) {
  tq_file *file = hf_write_shared(real[_i].vocabulary);
  if (!file) return;
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  hf_same_tokenizer(file, again);
  check_file_vectors((size_t)_i, again);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* Without tokenizer.model the scores come from the merges: other numbers, the same ids. */
START_TEST(test_sentencepiece_from_json_alone) {
  tq_file *file = hf_write_shared(real[1].vocabulary);
  if (!file) return;
  tq_file_close(file);
  hf_remove("out", "tokenizer.model");
  file = hf_import(temporary_path("out"), "again.tq");
  check_file_vectors(1, file);
  tq_file_close(file);
}
END_TEST

/* And without tokenizer.json all is in tokenizer.model. */
START_TEST(test_sentencepiece_from_model_alone) {
  tq_file *file = hf_write_shared(real[1].vocabulary);
  if (!file) return;
  hf_remove("out", "tokenizer.json");
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  hf_same_tokenizer(file, again);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* stories260K's scores go by id, so that they come back from the merges too. */
START_TEST(test_scores_by_id_come_back) {
  tq_file *file = hf_write_shared("models/stories260K.gguf");
  if (!file) return;
  hf_remove("out", "tokenizer.model");
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  hf_same_digests(file, again);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* The same tokenizer with merges as pairs, members in reversed order, and members that nobody knows. */
static json_t *reversed(const json_t *object) {
  json_t *copy = json_object(), *value;
  const char *key;
  size_t count = json_object_size(object), at = 0;
  const char **keys = calloc(count + 1, sizeof *keys);
  json_object_foreach((json_t *)object, key, value) keys[at++] = key;
  json_object_set_new(copy, "nobody_knows", json_pack("{s:[i]}", "merges", 1));
  while (at-- > 0) json_object_set(copy, keys[at], json_object_get(object, keys[at]));
  free(keys);
  return copy;
}

START_TEST(test_other_spelling_is_the_same) {
  tq_file *file = hf_write_shared(real[0].vocabulary);
  size_t size, i;
  json_t *json, *item, *pairs = json_array();
  tq_buffer text = {0};
  if (!file) return;
  char *old = (char *)read_file(temporary_path("out/tokenizer.json"), &size);
  ck_ok(tq_json_parse("tokenizer.json", old, size, &json, error));
  json_t *model = json_object_get(json, "model");
  json_array_foreach(json_object_get(model, "merges"), i, item) {
    const char *merge = json_string_value(item), *space = strchr(merge, ' ');
    json_array_append_new(pairs, json_pack("[s%, s]", merge, (int)(space - merge), space + 1));
  }
  json_object_set_new(model, "merges", pairs);
  json_object_set_new(json, "model", reversed(model));
  json_t *other = reversed(json);
  ck_ok(tq_json_print(&text, other, 1, error));
  write_file(temporary_path("out/tokenizer.json"), text.data, text.size);
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  hf_same_tokenizer(file, again);
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&text);
  json_decref(json);
  json_decref(other);
  free(old);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf_vocabularies");
  TCase *vocabularies = tcase_create("vocabularies");
  tcase_add_checked_fixture(vocabularies, hf_clear, NULL);
  tcase_set_timeout(vocabularies, 120);
  tcase_add_loop_test(vocabularies, test_real_vocabulary_comes_back, 0, sizeof real / sizeof *real);
  tcase_add_test(vocabularies, test_sentencepiece_from_json_alone);
  tcase_add_test(vocabularies, test_sentencepiece_from_model_alone);
  tcase_add_test(vocabularies, test_scores_by_id_come_back);
  tcase_add_test(vocabularies, test_other_spelling_is_the_same);
  suite_add_tcase(suite, vocabularies);
  return run_suite(suite);
}
