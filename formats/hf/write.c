/* A Hugging Face folder from a .tq file: the files it came with where it came with them, and otherwise made ones. */
#include "base/file.h"
#include "base/memory.h"
#include "formats/hf/hf.h"
#include "formats/hf/quantization.h"
#include "formats/hf/tokenizer.h"
#include "formats/hf/weights.h"
#include "formats/json.h"

#include <string.h>

enum { CONFIG_LIMIT = 1 << 20 };
/* Transformers' own limit. */
static const uint64_t SHARD_BYTES = UINT64_C(5000000000);

typedef struct writing {
  const tq_file *file;
  tq_output_folder *folder;
  tq_tokenizer *tokenizer; /* NULL when there is none */
  tq_hyperparameters model;
  bool understood; /* whether `model` is filled */
  tq_hf_weights weights;
  json_t *config; /* the config.json to write; NULL when the one that the file came with is right */
  bool is_edited; /* `config` is that one, changed */
  tq_buffer *notes;
  tq_error *error;
} writing;

/* ---- files that came with the model ---- */

/* Which tensor is in which file is written anew. */
static bool is_index(const char *name) {
  static const char end[] = ".index.json";
  size_t length = strlen(name);
  return length >= sizeof end - 1 && strcmp(name + length - (sizeof end - 1), end) == 0;
}

static bool is_carried(const tq_attachment *attachment) {
  return attachment->kind == TQ_ATTACHMENT_FILE && !is_index(attachment->name);
}

static bool has_file(const tq_file *file, const char *name) {
  tq_attachment attachment;
  for (size_t i = 0; i < tq_file_attachment_count(file); i++) {
    tq_file_attachment(file, i, &attachment);
    if (is_carried(&attachment) && strcmp(attachment.name, name) == 0) return true;
  }
  return false;
}

static tq_status write_to_output(void *context, const void *data, size_t size, tq_error *error) {
  return tq_output_write(context, data, size, error);
}

static tq_status finish(tq_status status, tq_output *output, tq_error *error) {
  if (!status) return tq_output_commit(output, error);
  tq_output_abandon(output);
  return status;
}

static tq_status copy_files(writing *to) {
  tq_attachment attachment;
  for (size_t i = 0; i < tq_file_attachment_count(to->file); i++) {
    tq_output *output;
    tq_file_attachment(to->file, i, &attachment);
    if (!is_carried(&attachment) || (to->config && strcmp(attachment.name, "config.json") == 0)) continue;
    tq_status status = tq_output_folder_file(to->folder, attachment.name, &output, to->error);
    if (status) return status;
    status = tq_file_attachment_read(to->file, i, write_to_output, output, to->error);
    status = finish(status, output, to->error);
    if (status) return status;
  }
  return TQ_OK;
}

/* ---- files that are made ---- */

static tq_status write_text(writing *to, const char *name, const tq_buffer *text) {
  tq_output *output;
  tq_status status = tq_output_folder_file(to->folder, name, &output, to->error);
  if (status) return status;
  status = tq_output_write(output, text->data, text->size, to->error);
  return finish(status, output, to->error);
}

/* Gives up the reference to `json`. */
static tq_status write_json(writing *to, const char *name, json_t *json) {
  tq_buffer text = {0};
  tq_status status = tq_json_print(&text, json, 2, to->error);
  if (!status) status = tq_buffer_append(&text, "\n", 1, to->error);
  if (!status) status = write_text(to, name, &text);
  tq_buffer_free(&text);
  json_decref(json);
  return status;
}

/* Lists the metadata that config.json has no key for. */
static tq_status note_left_out(writing *to) {
  const tq_metadata *metadata = tq_file_metadata(to->file);
  tq_buffer list = {0};
  char printable[96];
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    if (tq_hf_config_holds(metadata, key)) continue;
    status = tq_buffer_format(&list, to->error, "%s%s", list.size ? ", " : "",
                              tq_printable(key.data, key.size, printable, sizeof printable));
  }
  if (!status && list.size) {
    status = tq_buffer_format(to->notes, to->error,
                              "not carried: metadata that a Hugging Face folder has no place for: %.*s\n",
                              (int)list.size, (const char *)list.data);
  }
  tq_buffer_free(&list);
  return status;
}

static tq_status load_config(const tq_file *file, json_t **config, tq_error *error) {
  char *text;
  size_t size;
  tq_status status = tq_file_attachment_load(file, "config.json", CONFIG_LIMIT, &text, &size, error);
  if (status) return status;
  status = tq_json_parse("config.json", text, size, config, error);
  tq_release(text);
  if (status || json_is_object(*config)) return status;
  json_decref(*config);
  *config = NULL;
  return tq_fail(error, TQ_ERROR_CORRUPT, "config.json: not a JSON object");
}

/* The config.json that the file came with is changed where it does not say how its weights are packed now. */
static tq_status edit_config(writing *to) {
  json_t *config;
  tq_status status = load_config(to->file, &config, to->error);
  if (status) return status;
  status = tq_hf_weights_declare(&to->weights, config, &to->is_edited, to->error);
  if (!status && to->is_edited) {
    to->config = json_incref(config);
    status = tq_buffer_format(to->notes, to->error,
                              "config.json is as it came but for what it says of the packing (quantization_config)\n");
  }
  json_decref(config);
  return status;
}

static tq_status plan_config(writing *to) {
  bool is_changed;
  if (has_file(to->file, "config.json")) return tq_file_tensor_count(to->file) ? edit_config(to) : TQ_OK;
  tq_status status = tq_hf_config_write(to->file, to->understood ? &to->model : NULL, to->tokenizer,
                                        tq_hf_weights_dtype(&to->weights), &to->config, to->error);
  return status ? status : tq_hf_weights_declare(&to->weights, to->config, &is_changed, to->error);
}

static tq_status make_config(writing *to) {
  tq_status status = write_json(to, "config.json", json_incref(to->config));
  return status || to->is_edited ? status : note_left_out(to);
}

static tq_status make_tokenizer_json(writing *to) {
  tq_output *output;
  tq_status status = tq_output_folder_file(to->folder, "tokenizer.json", &output, to->error);
  if (status) return status;
  status = tq_tokenizer_json_write(to->tokenizer, write_to_output, output, to->error);
  return finish(status, output, to->error);
}

static tq_status make_tokenizer_model(writing *to) {
  tq_buffer text = {0};
  if (tq_tokenizer_get_kind(to->tokenizer) != TQ_TOKENIZER_SENTENCEPIECE) return TQ_OK;
  tq_status status = tq_sentencepiece_write(to->tokenizer, &text, to->error);
  if (!status) status = write_text(to, "tokenizer.model", &text);
  tq_buffer_free(&text);
  return status;
}

static tq_status make_tokenizer(writing *to) {
  json_t *json;
  tq_status status = make_tokenizer_json(to);
  if (!status) status = make_tokenizer_model(to);
  if (!status) {
    status = tq_tokenizer_config_write(to->tokenizer, to->understood ? to->model.context : 0, &json, to->error);
  }
  if (!status) status = write_json(to, "tokenizer_config.json", json);
  if (!status) status = tq_special_tokens_write(to->tokenizer, &json, to->error);
  if (!status) status = write_json(to, "special_tokens_map.json", json);
  return status;
}

static tq_status make_generation_config(writing *to) {
  json_t *json;
  tq_status status = tq_generation_config_write(to->tokenizer, &json, to->error);
  return status ? status : write_json(to, "generation_config.json", json);
}

static tq_status write_files(writing *to) {
  bool has_tokenizer =
      has_file(to->file, "tokenizer.json") || has_file(to->file, "tokenizer.model") || has_file(to->file, "vocab.json");
  tq_status status = copy_files(to);
  if (!status && to->config) status = make_config(to);
  if (!status && to->tokenizer && !has_tokenizer) status = make_tokenizer(to);
  if (!status && to->tokenizer && !has_file(to->file, "generation_config.json")) status = make_generation_config(to);
  if (!status && tq_file_tensor_count(to->file)) status = tq_hf_weights_write(&to->weights, to->folder, to->error);
  return status;
}

/* ---- the whole ---- */

static tq_status open_tokenizer(writing *to) {
  tq_section section;
  if (!tq_file_find_section(to->file, "tokenizer", &section)) return TQ_OK;
  return tq_tokenizer_open(section.data, (size_t)section.size, &to->tokenizer, to->error);
}

/* What reading the folder would refuse. */
static tq_status check_packed_shapes(const writing *to) {
  for (size_t i = 0; to->understood && i < tq_file_tensor_count(to->file); i++) {
    const tq_tensor *tensor = tq_file_tensor(to->file, i);
    const tq_dialect *dialect = to->weights.forms.of[i].dialect;
    uint64_t rows;
    if (!tq_hf_is_packed(dialect) || tq_hf_packed_rows_fit(&to->model, tensor->role, tensor->shape[0], &rows)) continue;
    tq_file_info info;
    tq_file_describe(to->file, &info);
    return tq_fail(to->error, TQ_ERROR_REFUSED,
                   "%s: tensor %s: %s cannot hold it: %llu outputs, and the model's are %llu", info.path, tensor->name,
                   dialect->name, (unsigned long long)tensor->shape[0], (unsigned long long)rows);
  }
  return TQ_OK;
}

tq_status tq_hf_write_sharded(const tq_file *file, const char *path, uint64_t shard_bytes,
                              const tq_write_options *options, tq_buffer *notes, tq_error *error) {
  writing to = {.file = file, .notes = notes, .error = error};
  to.understood = tq_hyperparameters_read(tq_file_metadata(file), &to.model, NULL) == TQ_OK;
  tq_status status = open_tokenizer(&to);
  if (!status) {
    status =
        tq_hf_weights_plan(file, to.understood ? &to.model : NULL, options, shard_bytes, &to.weights, notes, error);
  }
  if (!status) status = check_packed_shapes(&to);
  if (!status) status = plan_config(&to);
  if (!status) status = tq_output_folder_create(path, &to.folder, error);
  if (!status) {
    status = write_files(&to);
    if (!status)
      status = tq_output_folder_commit(to.folder, error);
    else
      tq_output_folder_abandon(to.folder);
  }
  json_decref(to.config);
  tq_hf_weights_free(&to.weights);
  tq_tokenizer_close(to.tokenizer);
  return status;
}

tq_status tq_hf_write(const tq_file *file, const char *path, const tq_write_options *options, tq_buffer *notes,
                      tq_error *error) {
  return tq_hf_write_sharded(file, path, SHARD_BYTES, options, notes, error);
}
