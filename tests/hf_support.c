#include "hf_support.h"

#include "base/text.h"
#include "formats/hf/hf.h"
#include "formats/import.h"
#include "formats/safetensors/safetensors.h"
#include "support.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place) {
  (void)status;
  (void)type;
  return place->level ? remove(path) : 0;
}

void hf_clear(void) { ck_assert_int_eq(nftw(temporary_folder(), remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0); }

const char *hf_folder(const char *name) {
  const char *path = temporary_path(name);
  ck_assert_int_eq(mkdir(path, 0777), 0);
  return path;
}

static const char *inside(const char *folder, const char *name) {
  char both[256];
  snprintf(both, sizeof both, "%s/%s", folder, name);
  return temporary_path(both);
}

void hf_put(const char *folder, const char *name, const char *text) {
  write_file(inside(folder, name), text, strlen(text));
}

void hf_remove(const char *folder, const char *name) { ck_assert_int_eq(unlink(inside(folder, name)), 0); }

tq_status hf_try(const char *name, tq_checkpoint **checkpoint, tq_error *error) {
  *checkpoint = NULL;
  return tq_checkpoint_open(temporary_path(name), NULL, checkpoint, error);
}

tq_status hf_status(const char *name, tq_error *error) {
  tq_checkpoint *checkpoint;
  tq_status status = hf_try(name, &checkpoint, error);
  tq_checkpoint_close(checkpoint);
  return status;
}

static tq_status try_named(const void *name, tq_error *error) { return hf_status(name, error); }

long hf_check_every_fault(const char *name) { return check_every_fault(try_named, name); }

tq_checkpoint *hf_checkpoint(const char *name) {
  tq_checkpoint *checkpoint;
  ck_ok(hf_try(name, &checkpoint, error));
  return checkpoint;
}

void hf_noted(const tq_checkpoint *checkpoint, const char *text) {
  char *notes = calloc(1, checkpoint->notes.size + 1);
  ck_assert_ptr_nonnull(notes);
  if (checkpoint->notes.size) memcpy(notes, checkpoint->notes.data, checkpoint->notes.size);
  ck_assert_msg(strstr(notes, text) != NULL, "no note says \"%s\":\n%s", text, notes);
  free(notes);
}

const char *hf_value(const tq_checkpoint *checkpoint, const char *key) {
  static char text[256];
  tq_value value;
  text[0] = 0;
  if (!tq_metadata_find(checkpoint->metadata, key, &value)) return text;
  if (value.type == TQ_VALUE_STRING)
    snprintf(text, sizeof text, "%.*s", (int)value.string.size, value.string.data);
  else
    snprintf(text, sizeof text, "%.9g", tq_metadata_f64(checkpoint->metadata, key, -1));
  return text;
}

tq_file *hf_import(const char *path, const char *name) {
  tq_checkpoint *checkpoint;
  tq_file *file = NULL;
  ck_ok(tq_checkpoint_open(path, NULL, &checkpoint, error));
  ck_ok(tq_import(checkpoint, temporary_path(name), 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  ck_ok(tq_file_open(temporary_path(name), TQ_VERIFY_FULL, &file, error));
  return file;
}

tq_file *hf_write_shared(const char *relative) {
  const char *path = shared_path(relative);
  tq_buffer notes = {0};
  if (!path) return NULL;
  tq_file *file = hf_import(path, "real.tq");
  ck_ok(tq_hf_write(file, temporary_path("out"), &(tq_write_options){0}, &notes, error));
  tq_buffer_free(&notes);
  return file;
}

static bool is_nothing(const uint8_t digest[16]) {
  for (size_t i = 0; i < 16; i++) {
    if (digest[i]) return false;
  }
  return true;
}

void hf_same_tokenizer(const tq_file *a, const tq_file *b) {
  tq_file_info x, y;
  tq_file_describe(a, &x);
  tq_file_describe(b, &y);
  ck_assert(!is_nothing(x.tokenizer_digest));
  ck_assert_mem_eq(x.tokenizer_digest, y.tokenizer_digest, 16);
}

void hf_same_digests(const tq_file *a, const tq_file *b) {
  tq_file_info x, y;
  hf_same_tokenizer(a, b);
  tq_file_describe(a, &x);
  tq_file_describe(b, &y);
  ck_assert(!is_nothing(x.function_digest));
  ck_assert_mem_eq(x.weights_digest, y.weights_digest, 16);
  ck_assert_mem_eq(x.function_digest, y.function_digest, 16);
}

/* ---- the tiny model ---- */

const hf_tensor hf_tiny[] = {
    {"model.embed_tokens.weight", 2, {16, 8}},
    {"model.layers.0.input_layernorm.weight", 1, {8}},
    {"model.layers.0.self_attn.q_proj.weight", 2, {8, 8}},
    {"model.layers.0.self_attn.k_proj.weight", 2, {4, 8}},
    {"model.layers.0.self_attn.v_proj.weight", 2, {4, 8}},
    {"model.layers.0.self_attn.o_proj.weight", 2, {8, 8}},
    {"model.layers.0.post_attention_layernorm.weight", 1, {8}},
    {"model.layers.0.mlp.gate_proj.weight", 2, {12, 8}},
    {"model.layers.0.mlp.up_proj.weight", 2, {12, 8}},
    {"model.layers.0.mlp.down_proj.weight", 2, {8, 12}},
    {"model.norm.weight", 1, {8}},
    {"lm_head.weight", 2, {16, 8}},
};

const char hf_tiny_config[] =
    "{\"model_type\":\"llama\",\"architectures\":[\"LlamaForCausalLM\"],\"vocab_size\":16,\"hidden_size\":8,"
    "\"num_hidden_layers\":1,\"intermediate_size\":12,\"num_attention_heads\":2,\"num_key_value_heads\":1,"
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-05,\"hidden_act\":\"silu\",\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":false}";

static void append_values(tq_buffer *file, size_t number, size_t count) {
  uint64_t state = number;
  for (size_t i = 0; i < count; i++) {
    float value = random_float(&state);
    ck_ok(tq_buffer_append(file, &value, sizeof value, error));
  }
}

void hf_put_weights(const char *folder, const char *name, size_t first, size_t count, int like_for_head) {
  tq_safetensors_entry entries[HF_TINY_TENSORS] = {{0}};
  tq_buffer file = {0};
  for (size_t i = 0; i < count; i++) {
    const hf_tensor *tensor = &hf_tiny[first + i];
    uint64_t elements = tensor->shape[0] * (tensor->dimensions == 2 ? tensor->shape[1] : 1);
    entries[i] = (tq_safetensors_entry){
        tensor->name, tq_safetensors_type_by_name("F32"), tensor->shape, tensor->dimensions, 4 * elements, first + i};
  }
  ck_ok(tq_safetensors_header(&file, entries, count, error));
  for (size_t i = 0; i < count; i++) {
    size_t number = entries[i].source;
    if (number == HF_TINY_HEAD && like_for_head >= 0) number = (size_t)like_for_head;
    append_values(&file, number, entries[i].size / 4);
  }
  write_file(inside(folder, name), file.data, file.size);
  tq_buffer_free(&file);
}

void hf_put_tiny(const char *folder) {
  hf_folder(folder);
  hf_put(folder, "config.json", hf_tiny_config);
  hf_put_weights(folder, "model.safetensors", 0, HF_TINY_TENSORS, -1);
}
