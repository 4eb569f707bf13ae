/* Any tokenizer file, told apart by its content. */
#include "base/memory.h"
#include "formats/hf/tokenizer.h"
#include "formats/tokenizer/tables.h"

#include <string.h>

enum { FILE_LIMIT = TQ_TOKENIZER_JSON_LIMIT };

/* The surest first: a llama2.c vocabulary may begin as the others do. */
static const struct {
  bool (*recognize)(const uint8_t *start, size_t size);
  tq_status (*read)(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables, tq_error *error);
} files[] = {
    {tq_llama2c_vocabulary_recognize, tq_llama2c_vocabulary_read},
    {tq_tiktoken_ranks_recognize, tq_tiktoken_read},
    {tq_sentencepiece_recognize, tq_sentencepiece_read},
};

tq_status tq_tokenizer_file_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                 tq_error *error) {
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    if (files[i].recognize(data, size)) return files[i].read(name, data, size, tables, error);
  }
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: not a tokenizer file that is understood (tokenizer.json, tokenizer.model, llama2.c's "
                 "tokenizer.bin, tiktoken ranks)",
                 name);
}

/* Messages of the tables name no file. */
static tq_status serialize(const char *name, const tq_vocabulary *vocabulary, uint8_t **section, size_t *size,
                           tq_error *error) {
  tq_error reason;
  tq_status status = tq_tokenizer_serialize(vocabulary, section, size, &reason);
  return status ? tq_fail(error, status, "%s: %s", name, reason.message) : TQ_OK;
}

static tq_status serialize_tables(const char *name, const void *data, size_t file_size, uint8_t **section, size_t *size,
                                  tq_error *error) {
  tq_vocabulary_tables tables = {0};
  tq_status status = tq_tokenizer_file_read(name, data, file_size, &tables, error);
  if (!status) status = serialize(name, &tables.vocabulary, section, size, error);
  tq_vocabulary_tables_free(&tables);
  return status;
}

static bool is_json(const char *data, size_t size) {
  size_t blank = strspn(data, " \t\r\n");
  return blank < size && data[blank] == '{';
}

/* Takes over `data`. */
static tq_status serialize_json(const char *name, char *data, size_t file_size, uint8_t **section, size_t *size,
                                tq_error *error) {
  tq_tokenizer_json json = {0};
  tq_status status = tq_tokenizer_json_load(&json, name, data, file_size, false, error);
  if (!status) status = tq_tokenizer_json_read(&json, 0, NULL);
  if (!status && json.reason[0]) status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s", name, json.reason);
  if (!status) status = serialize(name, &json.tables.vocabulary, section, size, error);
  tq_tokenizer_json_free(&json);
  return status;
}

tq_status tq_tokenizer_file_serialize(tq_input *input, uint8_t **section, size_t *size, tq_error *error) {
  const char *name = tq_input_name(input);
  char *data;
  size_t file_size;
  tq_status status = tq_input_read_all(input, FILE_LIMIT, &data, &file_size, error);
  if (status) return status;
  if (is_json(data, file_size)) return serialize_json(name, data, file_size, section, size, error);
  status = serialize_tables(name, data, file_size, section, size, error);
  tq_free(data);
  return status;
}
