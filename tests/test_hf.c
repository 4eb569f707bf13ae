/* Hugging Face folders: which files are read, config.json both ways, and what is written. */
#include "formats/hf/hf.h"
#include "formats/import.h"
#include "formats/json.h"
#include "formats/source.h"
#include "hf_support.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- reading folders ---- */

START_TEST(test_reads_a_folder) {
  hf_put_tiny("m");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_str_eq(checkpoint->format, "hf");
  ck_assert_uint_eq(checkpoint->tensor_count, HF_TINY_TENSORS);
  ck_assert_uint_eq(checkpoint->file_count, 2);
  ck_assert_str_eq(hf_value(checkpoint, "general.architecture"), "llama");
  ck_assert_str_eq(hf_value(checkpoint, "llama.embedding_length"), "8");
  ck_assert_str_eq(hf_value(checkpoint, "llama.attention.head_count_kv"), "1");
  ck_assert_str_eq(hf_value(checkpoint, "llama.rope.dimension_count"), "4");
  ck_assert_str_eq(hf_value(checkpoint, "llama.attention.layer_norm_rms_epsilon"), "9.99999975e-06");
  ck_assert_uint_ne(tq_checkpoint_find_role(checkpoint, "layers.0.q"), SIZE_MAX);
  hf_noted(checkpoint, "no tokenizer.json and no tokenizer.model");
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const char index_text[] = "{\"metadata\":{\"total_size\":1},\"weight_map\":{%s}}";

/* Two shards: the first six tensors, and the rest. `change` is put behind the true entries. */
static void put_sharded(const char *folder, const char *change, size_t leave_out) {
  char map[4096] = "", index[4200];
  hf_folder(folder);
  hf_put(folder, "config.json", hf_tiny_config);
  hf_put_weights(folder, "a.safetensors", 0, 6, -1);
  hf_put_weights(folder, "b.safetensors", 6, HF_TINY_TENSORS - 6, -1);
  for (size_t i = 0; i < HF_TINY_TENSORS; i++) {
    if (i == leave_out) continue;
    sprintf(map + strlen(map), "%s\"%s\":\"%s.safetensors\"", *map ? "," : "", hf_tiny[i].name, i < 6 ? "a" : "b");
  }
  strcat(map, change);
  snprintf(index, sizeof index, index_text, map);
  hf_put(folder, "model.safetensors.index.json", index);
}

START_TEST(test_sharded_is_the_same_model) {
  hf_put_tiny("m");
  put_sharded("s", "", SIZE_MAX);
  tq_file *whole = hf_import(temporary_path("m"), "m.tq"), *sharded = hf_import(temporary_path("s"), "s.tq");
  tq_file_info a, b;
  tq_file_describe(whole, &a);
  tq_file_describe(sharded, &b);
  ck_assert_mem_eq(a.weights_digest, b.weights_digest, 16);
  ck_assert_mem_eq(a.function_digest, b.function_digest, 16);
  tq_file_close(whole);
  tq_file_close(sharded);
}
END_TEST

static const struct {
  const char *change;
  size_t leave_out;
  const char *message;
} bad_indexes[] = {
    {"", 2, "tensor model.layers.0.self_attn.q_proj.weight is in a.safetensors, but the index does not have it"},
    {",\"extra\":\"a.safetensors\"", SIZE_MAX, "tensor extra is not in a.safetensors"},
    {",\"extra\":\"b.safetensors\"", SIZE_MAX, "tensor extra is not in b.safetensors"},
    {",\"extra\":\"c.safetensors\"", SIZE_MAX, "c.safetensors is missing"},
    {",\"lm_head.weight\":\"a.safetensors\"", HF_TINY_HEAD, "tensor lm_head.weight is not in a.safetensors"},
    {",\"extra\":7", SIZE_MAX, "weight_map: extra is not put in a file of the folder"},
    {",\"extra\":\"../a.safetensors\"", SIZE_MAX, "weight_map: extra is not put in a file of the folder"},
    {",\"lm_head.weight\":\"b.safetensors\"", SIZE_MAX, "duplicate"},
};

START_TEST(test_bad_index) {
  put_sharded("s", bad_indexes[_i].change, bad_indexes[_i].leave_out);
  ck_fails(hf_status("s", error), TQ_ERROR_CORRUPT, bad_indexes[_i].message);
}
END_TEST

START_TEST(test_index_without_a_map) {
  put_sharded("s", "", SIZE_MAX);
  hf_put("s", "model.safetensors.index.json", "{\"weight_map\":[]}");
  ck_fails(hf_status("s", error), TQ_ERROR_CORRUPT, "/s/model.safetensors.index.json: weight_map is not an object");
}
END_TEST

START_TEST(test_same_tensor_in_two_shards) {
  put_sharded("s", "", SIZE_MAX);
  hf_put_weights("s", "b.safetensors", 5, HF_TINY_TENSORS - 5, -1);
  ck_fails(hf_status("s", error), TQ_ERROR_CORRUPT, "there are two of that name");
}
END_TEST

START_TEST(test_several_files_without_an_index) {
  put_sharded("s", "", SIZE_MAX);
  hf_remove("s", "model.safetensors.index.json");
  ck_fails(hf_status("s", error), TQ_ERROR_CORRUPT, "several .safetensors files");
}
END_TEST

START_TEST(test_what_is_carried) {
  hf_put_tiny("m");
  hf_put("m", "README.md", "hello");
  hf_put("m", "pytorch_model.bin", "not read");
  hf_folder("m/deep");
  hf_put("m/deep", "x.txt", "x");
  hf_put("m/deep", "y.gguf", "y");
  hf_folder("m/original");
  hf_put("m/original", "z.safetensors", "z");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  static const char *const names[] = {"model.safetensors", "README.md",   "config.json",
                                      "deep/x.txt",        "deep/y.gguf", "original/z.safetensors",
                                      "pytorch_model.bin"};
  ck_assert_uint_eq(checkpoint->file_count, 7);
  for (size_t i = 0; i < 7; i++) ck_assert_str_eq(checkpoint->files[i].path, names[i]);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static void put_large(const char *folder, const char *name, int64_t size) {
  char path[256];
  hf_put(folder, name, "");
  snprintf(path, sizeof path, "%s/%s", folder, name);
  ck_assert_int_eq(truncate(temporary_path(path), size), 0);
}

/* Large files are noted where they look like the same model in another form. */
START_TEST(test_other_forms_are_noted) {
  static const char *const names[] = {"pytorch_model-00001-of-00002.bin", "all.gguf", "consolidated.safetensors",
                                      "original/params.safetensors"};
  char note[256];
  hf_put_tiny("m");
  hf_put("m", "model.safetensors.index.json", "{}");
  hf_folder("m/original");
  for (int i = 0; i < COUNT(names); i++) put_large("m", names[i], TQ_ATTACHMENT_LIMIT + 1);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_uint_eq(checkpoint->file_count, 3);
  for (int i = 0; i < COUNT(names); i++) {
    snprintf(note, sizeof note, "not carried: %s, 67108865 bytes: it looks like weights", names[i]);
    hf_noted(checkpoint, note);
  }
  ck_ok(tq_import(checkpoint, temporary_path("m.tq"), 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Any other large file may be looked at, but not be lost. */
START_TEST(test_large_files_are_refused) {
  static const char *const names[] = {"big.dat", "extra.bin", "model.fp16.safetensors"};
  char message[256];
  hf_put_tiny("m");
  put_large("m", names[_i], TQ_ATTACHMENT_LIMIT + 1);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  snprintf(message, sizeof message, "%s is no part of the model that was read, and its 67108865 bytes", names[_i]);
  ck_fails(tq_import(checkpoint, temporary_path("m.tq"), 0, 0, NULL, error), TQ_ERROR_REFUSED, message);
  ck_assert_int_ne(access(temporary_path("m.tq"), F_OK), 0);
  tq_checkpoint_close(checkpoint);
  put_large("m", names[_i], TQ_ATTACHMENT_LIMIT);
  checkpoint = hf_checkpoint("m");
  ck_ok(tq_import(checkpoint, temporary_path("m.tq"), 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_lone_file) {
  hf_put_tiny("m");
  tq_checkpoint *checkpoint = hf_checkpoint("m/model.safetensors");
  ck_assert_str_eq(checkpoint->format, "safetensors");
  ck_assert_uint_eq(checkpoint->file_count, 1);
  ck_assert_str_eq(hf_value(checkpoint, "llama.block_count"), "1");
  hf_noted(checkpoint, "config.json and the tokenizer beside it were read; they are not carried");
  tq_checkpoint_close(checkpoint);
  hf_remove("m", "config.json");
  checkpoint = hf_checkpoint("m/model.safetensors");
  ck_assert_str_eq(hf_value(checkpoint, "general.architecture"), "");
  hf_noted(checkpoint, "the architecture is not known");
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* A folder comes back file by file, whatever its order of keys and whatever nobody knows. */
START_TEST(test_folder_comes_back) {
  static const char *const names[] = {"config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors",
                                      "notes.txt"};
  put_sharded("s", "", SIZE_MAX);
  hf_put("s", "notes.txt", "\xff\xfe anything\n");
  hf_put("s", "config.json",
         "{ \"zzz\": {\"unknown\": [1, 2]},\n\"tie_word_embeddings\":false,\"vocab_size\":16,\"hidden_size\":8,\n\t"
         "\"num_hidden_layers\":1,\"intermediate_size\":12,\"num_attention_heads\":2,\"model_type\":\"llama\",\n"
         "\"num_key_value_heads\":1} \n");
  tq_file *file = hf_import(temporary_path("s"), "s.tq");
  ck_ok(tq_source_restore(file, temporary_path("back"), NULL, error));
  tq_file_close(file);
  for (size_t i = 0; i < 5; i++) {
    char a[64], b[64];
    snprintf(a, sizeof a, "s/%s", names[i]);
    snprintf(b, sizeof b, "back/%s", names[i]);
    ck_same_files(temporary_path(a), temporary_path(b));
  }
}
END_TEST

/* ---- the head ---- */

static void put_tied(const char *folder, const char *tied, bool head, int like) {
  char config[1024];
  const char *end = strstr(hf_tiny_config, ",\"tie_word_embeddings\"");
  hf_folder(folder);
  snprintf(config, sizeof config, "%.*s%s}", (int)(end - hf_tiny_config), hf_tiny_config, tied);
  hf_put(folder, "config.json", config);
  hf_put_weights(folder, "model.safetensors", 0, head ? HF_TINY_TENSORS : HF_TINY_HEAD, like);
}

START_TEST(test_tied_head) {
  put_tied("absent", ",\"tie_word_embeddings\":true", false, -1);
  put_tied("equal", ",\"tie_word_embeddings\":true", true, HF_TINY_EMBEDDING);
  tq_file *absent = hf_import(temporary_path("absent"), "a.tq"), *equal = hf_import(temporary_path("equal"), "b.tq");
  tq_file_info a, b;
  tq_file_describe(absent, &a);
  tq_file_describe(equal, &b);
  ck_assert_mem_eq(a.weights_digest, b.weights_digest, 16);
  ck_assert_mem_eq(a.function_digest, b.function_digest, 16);
  tq_file_close(absent);
  tq_file_close(equal);
  put_tied("other", ",\"tie_word_embeddings\":true", true, -1);
  tq_checkpoint *checkpoint = hf_checkpoint("other");
  hf_noted(checkpoint, "lm_head.weight, which differs, is carried but not used");
  ck_assert_uint_eq(tq_checkpoint_find_role(checkpoint, "head"), SIZE_MAX);
  ck_assert_uint_ne(tq_checkpoint_find_role(checkpoint, "lm_head.weight"), SIZE_MAX);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(test_head_of_its_own) {
  put_tied("missing", ",\"tie_word_embeddings\":false", false, -1);
  ck_fails(hf_status("missing", error), TQ_ERROR_CORRUPT, "tie_word_embeddings is false, but there is no lm_head");
  put_tied("unsaid", "", false, -1);
  tq_checkpoint *checkpoint = hf_checkpoint("unsaid");
  hf_noted(checkpoint, "there is no lm_head.weight, so it is tied");
  tq_checkpoint_close(checkpoint);
  put_tied("own", "", true, -1);
  checkpoint = hf_checkpoint("own");
  ck_assert_uint_ne(tq_checkpoint_find_role(checkpoint, "head"), SIZE_MAX);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- config.json ---- */

static const char sizes[] = "\"vocab_size\":16,\"hidden_size\":8,\"num_hidden_layers\":1,\"intermediate_size\":12,"
                            "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"tie_word_embeddings\":false";

/* The tiny model with other keys behind those of `sizes`. */
static void put_config(const char *folder, const char *type, const char *more) {
  char config[2048];
  snprintf(config, sizeof config, "{\"model_type\":\"%s\",%s%s}", type, sizes, more);
  hf_put(folder, "config.json", config);
}

static const struct {
  const char *more, *key, *value;
} read_keys[] = {
    {"", "llama.context_length", "2048"},
    {"", "llama.attention.layer_norm_rms_epsilon", "9.99999997e-07"},
    {"", "llama.rope.freq_base", "10000"},
    {"", "llama.vocab_size", "16"},
    {"", "llama.attention.key_length", ""},
    {"", "llama.rope.scaling.type", ""},
    {",\"max_position_embeddings\":4096", "llama.context_length", "4096"},
    {",\"rms_norm_eps\":1", "llama.attention.layer_norm_rms_epsilon", "1"},
    {",\"rope_theta\":500000", "llama.rope.freq_base", "500000"},
    {",\"rope_theta\":null,\"rope_scaling\":null", "llama.rope.freq_base", "10000"},
    {",\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"default\"}", "llama.rope.freq_base", "700000"},
    {",\"rope_parameters\":{\"rope_theta\":7e5,\"rope_type\":\"default\"}", "llama.rope.scaling.type", ""},
    {",\"head_dim\":4", "llama.attention.key_length", "4"},
    {",\"head_dim\":6", "llama.attention.value_length", "6"},
    {",\"head_dim\":6", "llama.rope.dimension_count", "6"},
    {",\"head_dim\":20,\"partial_rotary_factor\":1", "llama.rope.dimension_count", "20"},
    {",\"_name_or_path\":\"people/Model-1/\"", "general.name", "Model-1"},
    {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}", "llama.rope.scaling.type", "linear"},
    {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", "llama.rope.scaling.factor", "2"},
    {",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
     "\"original_max_position_embeddings\":8192}",
     "llama.rope.scaling.original_context_length", "8192"},
    {",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
     "\"original_max_position_embeddings\":8192}",
     "llama.rope.scaling.high_freq_factor", "4"},
    {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"attention_factor\":1.5,\"beta_fast\":30}",
     "llama.rope.scaling.yarn_attn_factor", "1.5"},
    {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"attention_factor\":1.5,\"beta_fast\":30}",
     "llama.rope.scaling.yarn_beta_fast", "30"},
};

START_TEST(test_reads_keys) {
  hf_put_tiny("m");
  put_config("m", "llama", read_keys[_i].more);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_str_eq(hf_value(checkpoint, read_keys[_i].key), read_keys[_i].value);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static const struct {
  const char *config, *message;
} bad_configs[] = {
    {"[]", "config.json: not a JSON object"},
    {"{", "not JSON"},
    {"{\"model_type\":\"llama\",\"model_type\":\"llama\"}", "duplicate"},
    {"{\"model_type\":\"\xff\"}", "not JSON"},
    {"{\"model_type\":7}", "model_type: a name"},
    {"{\"model_type\":\"a\\nb\"}", "model_type: a name"},
    {"{\"model_type\":\"llama\"}", "vocab_size is missing"},
    {"{\"model_type\":\"llama\",\"vocab_size\":\"16\"}", "vocab_size: a whole number below 2^31 is needed"},
    {"{\"model_type\":\"llama\",\"vocab_size\":16.0}", "vocab_size: a whole number"},
    {"{\"model_type\":\"llama\",\"vocab_size\":-1}", "vocab_size: a whole number"},
    {"{\"model_type\":\"llama\",\"vocab_size\":2147483648}", "vocab_size: a whole number"},
    {"{\"model_type\":\"llama\",\"vocab_size\":99999999999999999999}", "not JSON"},
    {"{\"model_type\":\"llama\",\"vocab_size\":1e999}", "not JSON"},
    {"{\"model_type\":\"llama\",\"quantization_config\":{\"quant_method\":\"awq\"}}",
     "weights packed by method 'awq' are not understood"},
    {"{\"model_type\":\"other\",\"quantization_config\":{\"quant_method\":\"gptq\"}}", "method 'gptq'"},
};

START_TEST(test_bad_config) {
  hf_put_tiny("m");
  hf_put("m", "config.json", bad_configs[_i].config);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, bad_configs[_i].message);
}
END_TEST

static const struct {
  const char *more, *message;
} bad_keys[] = {
    {",\"hidden_act\":\"gelu\"", "hidden_act: activation gelu is not understood for architecture llama"},
    {",\"hidden_act\":\"relu2\"", "hidden_act: activation relu2"},
    {",\"hidden_act\":1", "hidden_act: a string is needed"},
    {",\"rms_norm_eps\":\"1e-5\"", "rms_norm_eps: a finite number is needed"},
    {",\"rms_norm_eps\":1e300", "rms_norm_eps: a finite number is needed"},
    {",\"rope_theta\":[]", "rope_theta: a finite number is needed"},
    {",\"head_dim\":true", "head_dim: a whole number"},
    {",\"partial_rotary_factor\":0.5", "partial_rotary_factor other than 1 is not understood for llama"},
    {",\"partial_rotary_factor\":\"1\"", "partial_rotary_factor other than 1"},
    {",\"rope_parameters\":{\"rope_type\":\"default\",\"partial_rotary_factor\":0.25}",
     "partial_rotary_factor other than 1"},
    {",\"rope_scaling\":[]", "rope_scaling: an object is needed"},
    {",\"rope_scaling\":{\"type\":7}", "rope_type: a string is needed"},
    {",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2}", "RoPE scaling of type dynamic is not understood"},
    {",\"rope_scaling\":{\"type\":\"linear\"}", "RoPE scaling of type linear: factor is missing"},
    {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":\"2\"}", "factor: a finite number is needed"},
    {",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2}", "original_max_position_embeddings is missing"},
    {",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2,\"mscale\":1}", "RoPE scaling with mscale is not understood"},
    {",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2},\"rope_parameters\":{\"rope_type\":\"yarn\"}",
     "rope_parameters says yarn and rope_scaling says linear"},
};

START_TEST(test_bad_key) {
  hf_put_tiny("m");
  put_config("m", "llama", bad_keys[_i].more);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, bad_keys[_i].message);
}
END_TEST

START_TEST(test_heads_that_do_not_divide) {
  hf_put_tiny("m");
  hf_put("m", "config.json",
         "{\"model_type\":\"llama\",\"vocab_size\":16,\"hidden_size\":8,\"num_hidden_layers\":1,"
         "\"intermediate_size\":12,\"num_attention_heads\":3}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "num_attention_heads 3 does not divide hidden_size 8");
}
END_TEST

START_TEST(test_deep_config) {
  char config[512] = "{\"model_type\":\"llama\",\"x\":";
  hf_put_tiny("m");
  for (size_t i = 0; i < 100; i++) strcat(config, "[");
  hf_put("m", "config.json", config);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "nested deeper than 64");
}
END_TEST

/* Writes a text of `count` items within `begin` and `end`. */
static void put_items(const char *name, const char *begin, const char *item, size_t count, const char *end) {
  tq_buffer text = {0};
  ck_ok(tq_buffer_format(&text, error, "%s%s", begin, item));
  for (size_t i = 1; i < count; i++) ck_ok(tq_buffer_format(&text, error, ",%s", item));
  ck_ok(tq_buffer_format(&text, error, "%s", end));
  write_file(temporary_path(name), text.data, text.size);
  tq_buffer_free(&text);
}

/* Small values in great numbers take far more memory than their text. */
START_TEST(test_memory_is_bounded) {
  static const char message[] = "JSON that takes more memory than 48 MiB";
  hf_put_tiny("m");
  put_items("m/tokenizer.json", "[", "{}", 1000000, "]");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, message);
  put_items("m/tokenizer.json", "[", "0", 2000000, "]");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, message);
  hf_remove("m", "tokenizer.json");
  put_items("m/generation_config.json", "{\"a\":[", "[]", 900000, "]}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, message);
  put_items("m/config.json", "[", "[]", 600000, "]");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "/m/config.json");
  put_items("m/config.json", "[", "[]", 340000, "]");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, message);
}
END_TEST

/* Nor do several files take more than one. */
START_TEST(test_memory_is_bounded_in_all) {
  hf_put_tiny("m");
  put_items("m/tokenizer_config.json", "{\"a\":[", "[]", 150000, "]}");
  tq_checkpoint_close(hf_checkpoint("m"));
  put_items("m/special_tokens_map.json", "{\"a\":[", "[]", 150000, "]}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, "special_tokens_map.json: JSON that takes more memory");
  hf_remove("m", "special_tokens_map.json");
  tq_checkpoint_close(hf_checkpoint("m"));
}
END_TEST

START_TEST(test_unknown_architecture) {
  hf_put_tiny("m");
  put_config("m", "mamba7", ",\"rms_norm_eps\":\"what\",\"head_dim\":[]");
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  hf_noted(checkpoint, "model_type mamba7 is not known");
  ck_assert_str_eq(hf_value(checkpoint, "general.architecture"), "mamba7");
  ck_assert_str_eq(hf_value(checkpoint, "mamba7.embedding_length"), "8");
  ck_assert_uint_eq(checkpoint->tensor_count, HF_TINY_TENSORS);
  tq_checkpoint_close(checkpoint);
  hf_put("m", "config.json", "{\"hidden_size\":8}");
  checkpoint = hf_checkpoint("m");
  hf_noted(checkpoint, "config.json has no model_type");
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- writing ---- */

static const char *const written_variants[] = {
    "",
    ",\"max_position_embeddings\":77,\"rms_norm_eps\":3e-6,\"rope_theta\":1234567.0",
    ",\"head_dim\":4",
    ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}",
    ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
    "\"original_max_position_embeddings\":16}",
    ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":16}",
    ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"attention_factor\":1.5,\"beta_fast\":30,\"beta_slow\":"
    "2}",
    ",\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"rope_theta\":5000}",
};

/* A lone file does not carry config.json, so the folder that is written has a made one. */
START_TEST(test_written_config_says_the_same) {
  tq_buffer notes = {0};
  tq_file_info a, b;
  hf_put_tiny("m");
  put_config("m", "llama", written_variants[_i]);
  tq_file *file = hf_import(temporary_path("m/model.safetensors"), "m.tq");
  ck_ok(tq_hf_write(file, temporary_path("out"), &(tq_write_options){0}, &notes, error));
  ck_assert_uint_eq(notes.size, 0);
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  tq_file_describe(file, &a);
  tq_file_describe(again, &b);
  ck_assert_mem_eq(a.function_digest, b.function_digest, 16);
  ck_assert_mem_eq(a.weights_digest, b.weights_digest, 16);
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

static void check_gguf(const char *shared, uint64_t shard_bytes, const char *weights_name) {
  const char *path = shared_path(shared);
  tq_buffer notes = {0};
  char name[64];
  if (!path) return;
  tq_file *file = hf_import(path, "g.tq");
  ck_ok(tq_hf_write_sharded(file, temporary_path("out"), shard_bytes, &(tq_write_options){0}, &notes, error));
  snprintf(name, sizeof name, "out/%s", weights_name);
  ck_assert_int_eq(access(temporary_path(name), R_OK), 0);
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  hf_same_digests(file, again);
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}

static const char *const models[] = {"models/stories260K.gguf", "golden/tensor-1.f16.gguf", "golden/bitnet-7.f16.gguf"};

START_TEST(test_gguf_becomes_a_folder) { check_gguf(models[_i], UINT64_C(5000000000), "model.safetensors"); }
END_TEST

START_TEST(test_gguf_becomes_shards) { check_gguf(models[_i], 200000, "model.safetensors.index.json"); }
END_TEST

START_TEST(test_carried_files_are_used) {
  tq_buffer notes = {0};
  hf_put_tiny("m");
  hf_put("m", "README.md", "hello");
  tq_file *file = hf_import(temporary_path("m"), "m.tq");
  ck_ok(tq_hf_write_sharded(file, temporary_path("out"), 512, &(tq_write_options){0}, &notes, error));
  ck_same_files(temporary_path("m/config.json"), temporary_path("out/config.json"));
  ck_same_files(temporary_path("m/README.md"), temporary_path("out/README.md"));
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  tq_file_info a, b;
  tq_file_describe(file, &a);
  tq_file_describe(again, &b);
  ck_assert_mem_eq(a.weights_digest, b.weights_digest, 16);
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

/* A .tq file with one tensor, made here. */
static tq_file *write_one(const char *role, uint32_t encoding, const char *type_name, uint64_t columns,
                          const void *data, size_t size, bool scales) {
  static const uint64_t none[4];
  static const uint8_t zero[16];
  tq_writer *writer;
  tq_file *file = NULL;
  tq_metadata_builder builder = {0};
  tq_tensor tensor = {.role = role, .name = role, .source_type = "", .dimensions = 2, .shape = {1, columns}};
  tq_part part = {
      .kind = TQ_PART_VALUES, .encoding = encoding, .type_name = type_name, .block_elements = 32, .block_bytes = 34};
  tq_part scale = {.kind = TQ_PART_SCALES, .encoding = TQ_F32, .granularity = TQ_PER_ROW, .type_name = ""};
  if (encoding != TQ_BLOCKS) part.block_elements = part.block_bytes = 0;
  ck_ok(tq_metadata_add_string(&builder, "odd.key", "x", 1, error));
  ck_ok(tq_writer_create(temporary_path("one.tq"), 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, builder.data, builder.size, builder.count, error));
  ck_ok(tq_writer_tensor_begin(writer, &tensor, error));
  ck_ok(tq_writer_part_begin(writer, &part, error));
  ck_ok(tq_writer_part_write(writer, data, size, error));
  ck_ok(tq_writer_part_end(writer, error));
  if (scales) {
    ck_ok(tq_writer_part_begin(writer, &scale, error));
    ck_ok(tq_writer_part_write(writer, "\0\0\x80\x3f", 4, error));
    ck_ok(tq_writer_part_end(writer, error));
  }
  ck_ok(tq_writer_tensor_end(writer, none, zero, error));
  ck_ok(tq_writer_finish(writer, zero, zero, error));
  tq_metadata_builder_free(&builder);
  ck_ok(tq_file_open(temporary_path("one.tq"), TQ_VERIFY_HEADER, &file, error));
  return file;
}

static void check_refused(tq_file *file, const char *message) {
  tq_buffer notes = {0};
  ck_fails(tq_hf_write(file, temporary_path("out"), &(tq_write_options){0}, &notes, error), TQ_ERROR_REFUSED, message);
  ck_assert_int_ne(access(temporary_path("out"), F_OK), 0);
  tq_file_close(file);
  tq_buffer_free(&notes);
}

START_TEST(test_refuses_what_safetensors_cannot_hold) {
  static const uint8_t block[34];
  static const float factors[2] = {1, 1};
  check_refused(write_one("layers.0.q", TQ_BLOCKS, "Q8_0", 32, block, sizeof block, false),
                "tensor layers.0.q: safetensors has no type for its encoding Q8_0");
  check_refused(write_one("layers.0.q", TQ_I8, "", 32, block, 32, true),
                "tensor layers.0.q: safetensors holds values only, and it has 2 parts");
  check_refused(write_one("rope_factors", TQ_F32, "", 2, factors, sizeof factors, false),
                "tensor rope_factors: a Hugging Face folder has no place for it");
  check_refused(write_one("__metadata__", TQ_F32, "", 2, factors, sizeof factors, false),
                "safetensors keeps that name for itself");
}
END_TEST

/* GGUF can say that only a part of a head is rotated. */
START_TEST(test_refuses_rope_over_parts_of_heads) {
  static const char *const names[] = {
      "block_count",    "embedding_length",     "feed_forward_length", "attention.head_count",
      "context_length", "rope.dimension_count", "vocab_size"};
  static const uint32_t values[] = {1, 8, 12, 2, 64, 2, 16};
  static const uint8_t zero[16];
  tq_metadata_builder builder = {0};
  tq_writer *writer;
  tq_file *file;
  char key[64];
  ck_ok(tq_metadata_add_string(&builder, "general.architecture", "llama", 5, error));
  ck_ok(tq_metadata_add_f32(&builder, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error));
  for (int i = 0; i < COUNT(names); i++) {
    snprintf(key, sizeof key, "llama.%s", names[i]);
    ck_ok(tq_metadata_add_u32(&builder, key, values[i], error));
  }
  ck_ok(tq_writer_create(temporary_path("part.tq"), 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, builder.data, builder.size, builder.count, error));
  ck_ok(tq_writer_finish(writer, zero, zero, error));
  tq_metadata_builder_free(&builder);
  ck_ok(tq_file_open(temporary_path("part.tq"), TQ_VERIFY_HEADER, &file, error));
  check_refused(file, "RoPE over 2 of a head's 4 dimensions");
}
END_TEST

START_TEST(test_notes_what_has_no_place) {
  static const float values[2] = {1, 2};
  tq_buffer notes = {0};
  tq_file *file = write_one("anything", TQ_F32, "", 2, values, sizeof values, false);
  ck_ok(tq_hf_write(file, temporary_path("out"), &(tq_write_options){0}, &notes, error));
  ck_ok(tq_buffer_append(&notes, "", 1, error));
  ck_assert_ptr_nonnull(strstr((char *)notes.data, "no place for: odd.key"));
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* The reader would not take a config.json without them. */
START_TEST(test_refuses_unknown_sizes) {
  tq_metadata_builder builder = {0};
  static const uint8_t zero[16];
  tq_writer *writer;
  tq_file *file = NULL;
  ck_ok(tq_metadata_add_string(&builder, "general.architecture", "llama", 5, error));
  ck_ok(tq_writer_create(temporary_path("bare.tq"), 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, builder.data, builder.size, builder.count, error));
  ck_ok(tq_writer_finish(writer, zero, zero, error));
  tq_metadata_builder_free(&builder);
  ck_ok(tq_file_open(temporary_path("bare.tq"), TQ_VERIFY_HEADER, &file, error));
  check_refused(file, "config.json needs vocab_size, and the file has no llama.vocab_size");
}
END_TEST

START_TEST(test_does_not_replace_a_folder) {
  tq_buffer notes = {0};
  hf_put_tiny("m");
  tq_file *file = hf_import(temporary_path("m"), "m.tq");
  tq_error problem = {0};
  ck_assert_int_ne(tq_hf_write(file, temporary_path("m"), &(tq_write_options){0}, &notes, &problem), TQ_OK);
  ck_assert(problem.message[0]);
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* ---- RoPE factors ---- */

/* The tiny model, which has two RoPE factors, with llama3 scaling; it is made for 40 tokens. */
static void put_scaled(const char *folder, double base, double low, double high, int context) {
  char more[512];
  snprintf(more, sizeof more,
           ",\"head_dim\":4,\"max_position_embeddings\":40,\"rope_theta\":%g,"
           "\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":32.0,"
           "\"low_freq_factor\":%g,\"high_freq_factor\":%g,\"original_max_position_embeddings\":%d}",
           base, low, high, context);
  hf_put_tiny(folder);
  put_config(folder, "llama", more);
}

static const struct {
  double base, low, high;
  int context;
} scalings[] = {{1e9, 1, 4, 8192}, {1e4, 1, 8, 32}, {1e4, 4, 16, 64}, {1e4, 2, 8, 40}};

/* Takes the tiny model with llama3 scaling through a GGUF, which says it only as a tensor. */
START_TEST(test_factors_become_numbers) {
  tq_buffer notes = {0};
  tq_file_info a, b;
  put_scaled("m", scalings[_i].base, scalings[_i].low, scalings[_i].high, scalings[_i].context);
  tq_file *file = hf_import(temporary_path("m/model.safetensors"), "m.tq");
  const tq_format *gguf = tq_format_find("gguf");
  ck_ok(gguf->write(file, temporary_path("m.gguf"), &(tq_write_options){0}, &notes, error));
  notes.size = 0;
  tq_file *from_gguf = hf_import(temporary_path("m.gguf"), "g.tq");
  ck_assert_uint_ne(tq_file_find_role(from_gguf, "rope_factors"), SIZE_MAX);
  ck_ok(tq_hf_write(from_gguf, temporary_path("out"), &(tq_write_options){0}, &notes, error));
  ck_ok(tq_buffer_append(&notes, "", 1, error));
  ck_assert_ptr_nonnull(strstr((char *)notes.data, "is left out: config.json's RoPE scaling says the same"));
  tq_file *again = hf_import(temporary_path("out"), "again.tq");
  tq_file_describe(file, &a);
  tq_file_describe(again, &b);
  ck_assert_mem_eq(a.function_digest, b.function_digest, 16);
  ck_assert_mem_eq(a.weights_digest, b.weights_digest, 16);
  tq_file_close(file);
  tq_file_close(from_gguf);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

START_TEST(test_factors_of_unusual_numbers) {
  tq_buffer notes = {0};
  put_scaled("m", 1e4, 1.25, 8, 37);
  tq_file *file = hf_import(temporary_path("m/model.safetensors"), "m.tq");
  ck_ok(tq_format_find("gguf")->write(file, temporary_path("m.gguf"), &(tq_write_options){0}, &notes, error));
  check_refused(hf_import(temporary_path("m.gguf"), "g.tq"),
                "tensor rope_freqs.weight: config.json says RoPE factors as parameters, and none that were tried");
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* ---- faults ---- */

START_TEST(test_every_operation_of_opening_may_fail) {
  put_sharded("s", "", SIZE_MAX);
  hf_put("s", "README.md", "hello");
  ck_assert_int_gt(hf_check_every_fault("s"), 100);
}
END_TEST

static tq_status write_shards(const void *file, tq_error *error) {
  tq_buffer notes = {0};
  tq_status status = tq_hf_write_sharded(file, temporary_path("out"), 1024, &(tq_write_options){0}, &notes, error);
  fail_no_operation();
  tq_buffer_free(&notes);
  /* Only the last synchronisation comes when the folder is there, and then it is whole. */
  if (status && access(temporary_path("out"), F_OK) == 0) {
    tq_checkpoint_close(hf_checkpoint("out"));
    ck_assert_int_eq(rename(temporary_path("out"), temporary_path("whole")), 0);
  }
  return status;
}

START_TEST(test_every_operation_of_writing_may_fail) {
  hf_put_tiny("m");
  tq_file *file = hf_import(temporary_path("m/model.safetensors"), "m.tq");
  ck_assert_int_gt(check_every_fault(write_shards, file), 100);
  tq_file_close(file);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf");
  TCase *folders = tcase_create("folders");
  tcase_add_checked_fixture(folders, hf_clear, NULL);
  tcase_set_timeout(folders, 60);
  tcase_add_test(folders, test_reads_a_folder);
  tcase_add_test(folders, test_sharded_is_the_same_model);
  tcase_add_loop_test(folders, test_bad_index, 0, COUNT(bad_indexes));
  tcase_add_test(folders, test_index_without_a_map);
  tcase_add_test(folders, test_same_tensor_in_two_shards);
  tcase_add_test(folders, test_several_files_without_an_index);
  tcase_add_test(folders, test_what_is_carried);
  tcase_add_test(folders, test_other_forms_are_noted);
  tcase_add_loop_test(folders, test_large_files_are_refused, 0, 3);
  tcase_add_test(folders, test_lone_file);
  tcase_add_test(folders, test_folder_comes_back);
  tcase_add_test(folders, test_tied_head);
  tcase_add_test(folders, test_head_of_its_own);
  suite_add_tcase(suite, folders);
  TCase *config = tcase_create("config");
  tcase_add_checked_fixture(config, hf_clear, NULL);
  tcase_add_loop_test(config, test_reads_keys, 0, COUNT(read_keys));
  tcase_add_loop_test(config, test_bad_config, 0, COUNT(bad_configs));
  tcase_add_loop_test(config, test_bad_key, 0, COUNT(bad_keys));
  tcase_add_test(config, test_heads_that_do_not_divide);
  tcase_add_test(config, test_deep_config);
  tcase_add_test(config, test_memory_is_bounded_in_all);
  tcase_add_test(config, test_memory_is_bounded);
  tcase_add_test(config, test_unknown_architecture);
  suite_add_tcase(suite, config);
  TCase *writing = tcase_create("writing");
  tcase_add_checked_fixture(writing, hf_clear, NULL);
  tcase_set_timeout(writing, 60);
  tcase_add_loop_test(writing, test_written_config_says_the_same, 0, COUNT(written_variants));
  tcase_add_loop_test(writing, test_gguf_becomes_a_folder, 0, COUNT(models));
  tcase_add_loop_test(writing, test_gguf_becomes_shards, 0, COUNT(models));
  tcase_add_test(writing, test_carried_files_are_used);
  tcase_add_test(writing, test_refuses_what_safetensors_cannot_hold);
  tcase_add_test(writing, test_refuses_rope_over_parts_of_heads);
  tcase_add_test(writing, test_notes_what_has_no_place);
  tcase_add_test(writing, test_does_not_replace_a_folder);
  tcase_add_test(writing, test_refuses_unknown_sizes);
  tcase_add_loop_test(writing, test_factors_become_numbers, 0, COUNT(scalings));
  tcase_add_test(writing, test_factors_of_unusual_numbers);
  suite_add_tcase(suite, writing);
  TCase *faults = tcase_create("faults");
  tcase_add_checked_fixture(faults, hf_clear, NULL);
  tcase_set_timeout(faults, 120);
  tcase_add_test(faults, test_every_operation_of_opening_may_fail);
  tcase_add_test(faults, test_every_operation_of_writing_may_fail);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
