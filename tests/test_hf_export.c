/* Ternary models written as Hugging Face folders, and the architectures that go both ways. */
#include "base/bytes.h"
#include "formats/hf/hf.h"
#include "formats/import.h"
#include "formats/source.h"
#include "hf_ternary.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- writing ---- */

static const char *const models[] = {"inverted", "direct", "floats"};
static const char *const types[] = {NULL, "bitlinear", "autobitlinear", "F32"};

/* Every form of a model becomes every other, and is the same model. */
START_TEST(test_forms_become_each_other) {
  const hf_ternary *made[] = {&hf_inverted, &hf_direct, &hf_unpacked};
  char name[32];
  hf_put_ternary("m", made[_i]);
  tq_file *file = hf_import_folder("m", "m.tq");
  for (int i = 0; i < COUNT(types); i++) {
    snprintf(name, sizeof name, "to-%s-%d", models[_i], i);
    tq_file *again = hf_there_and_back(file, "hf", types[i], name, NULL);
    hf_same_weights(file, again);
    const tq_tensor *q = tq_file_tensor(again, tq_file_find_role(again, "layers.0.q"));
    if (types[i]) ck_assert_str_eq(q->source_type, types[i]);
    /* Scales keep their direction, and those of floats are direct. */
    if (!types[i]) ck_assert_str_eq(q->source_type, _i == 0 ? "bitlinear" : "autobitlinear");
    tq_file_close(again);
  }
  tq_file *gguf = hf_there_and_back(file, "gguf", "I2_S", "m.gguf", NULL);
  hf_same_weights(file, gguf);
  tq_file *back = hf_there_and_back(gguf, "hf", NULL, "from-gguf", NULL);
  hf_same_weights(file, back);
  tq_file_close(gguf);
  tq_file_close(back);
  tq_file_close(file);
}
END_TEST

/* What lies in FOLDER/model.safetensors under a name. */
static const tq_source_tensor *written_as(const char *folder, const char *name, tq_checkpoint **checkpoint) {
  *checkpoint = hf_checkpoint(folder);
  const tq_source_tensor *found = hf_tensor_named(*checkpoint, name);
  ck_assert_ptr_nonnull(found);
  return found;
}

/* The type that a scale came in is kept where the direction stays, and is otherwise the smallest that is exact. */
START_TEST(test_types_of_scales) {
  static const struct {
    const hf_ternary *model;
    const char *scale_type, *to;
    float scale;
    uint32_t expected;
  } cases[] = {
      {&hf_inverted, "BF16", "bitlinear", 45.75f, TQ_BF16},  {&hf_inverted, "F32", "bitlinear", 45.75f, TQ_F32},
      {&hf_inverted, "F16", "bitlinear", 45.75f, TQ_F16},    {&hf_inverted, "BF16", "autobitlinear", 45.75f, TQ_F32},
      {&hf_inverted, "F32", "autobitlinear", 32.0f, TQ_F32}, {&hf_direct, "F32", "bitlinear", 45.75f, TQ_F32},
  };
  for (int i = 0; i < COUNT(cases); i++) {
    char name[16];
    tq_checkpoint *checkpoint;
    hf_ternary model = *cases[i].model;
    model.scale_type = cases[i].scale_type;
    model.scale = cases[i].scale;
    hf_clear();
    hf_put_ternary("m", &model);
    tq_file *file = hf_import_folder("m", "m.tq");
    snprintf(name, sizeof name, "out%d", i);
    tq_file *again = hf_there_and_back(file, "hf", cases[i].to, name, NULL);
    hf_same_weights(file, again);
    const tq_source_tensor *q = written_as(name, HF_Q ".weight", &checkpoint);
    ck_assert_msg(q->form.scale_encoding == cases[i].expected, "case %d: %u", i, q->form.scale_encoding);
    tq_checkpoint_close(checkpoint);
    tq_file_close(file);
    tq_file_close(again);
  }
}
END_TEST

static const char *quantization_text(const char *path, const char *key) {
  static char text[64];
  json_t *json = hf_config_of(path);
  const char *value = json_string_value(json_object_get(json_object_get(json, "quantization_config"), key));
  snprintf(text, sizeof text, "%s", value ? value : "");
  json_decref(json);
  return text;
}

START_TEST(test_made_config) {
  hf_put_ternary("m", &hf_unpacked);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_buffer notes = {0};
  tq_file_close(hf_there_and_back(file, "hf", NULL, "out", &notes));
  ck_assert(
      hf_has_text(&notes, "ternary tensors are written as autobitlinear, the smallest type that is exact for all"));
  ck_assert_str_eq(quantization_text("out/config.json", "quant_method"), "bitnet");
  ck_assert_str_eq(quantization_text("out/config.json", "linear_class"), "autobitlinear");
  ck_assert_str_eq(quantization_text("out/config.json", "quantization_mode"), "offline");
  json_t *json = hf_config_of("out/config.json");
  json_t *kept = json_object_get(json_object_get(json, "quantization_config"), "modules_to_not_convert");
  ck_assert_uint_eq(json_array_size(kept), 1);
  ck_assert_str_eq(json_string_value(json_array_get(kept, 0)), "lm_head");
  json_decref(json);
  tq_file_close(hf_there_and_back(file, "hf", "F32", "floats", NULL));
  ck_assert_str_eq(quantization_text("floats/config.json", "quant_method"), "");
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* The config.json that a folder came with is not touched where it is right, and otherwise only where it must be. */
START_TEST(test_carried_config) {
  tq_buffer notes = {0};
  hf_put_ternary("m", &hf_inverted);
  tq_file *file = hf_import_folder("m", "m.tq");
  tq_file_close(hf_there_and_back(file, "hf", NULL, "same", &notes));
  ck_same_files(temporary_path("m/config.json"), temporary_path("same/config.json"));
  ck_assert(!strstr((const char *)notes.data, "config.json"));
  notes.size = 0;
  tq_file_close(hf_there_and_back(file, "hf", "autobitlinear", "other", &notes));
  ck_assert(hf_has_text(&notes, "config.json is as it came but for what it says of the packing"));
  ck_assert_str_eq(quantization_text("other/config.json", "linear_class"), "autobitlinear");
  tq_file_close(hf_there_and_back(file, "hf", "F32", "none", NULL));
  json_t *json = hf_config_of("none/config.json");
  ck_assert_ptr_null(json_object_get(json, "quantization_config"));
  ck_assert_int_eq(json_integer_value(json_object_get(json, "vocab_size")), 16);
  json_decref(json);
  tq_file_close(file);
  hf_ternary model = hf_unpacked;
  model.keys = HF_LLAMA ",\"torch_dtype\":\"bfloat16\",\"mine\":[1]";
  hf_put_ternary("u", &model);
  file = hf_import_folder("u", "u.tq");
  tq_file_close(hf_there_and_back(file, "hf", "autobitlinear", "packed", NULL));
  json = hf_config_of("packed/config.json");
  ck_assert_str_eq(json_string_value(json_object_get(json, "torch_dtype")), "float32");
  ck_assert_uint_eq(json_array_size(json_object_get(json, "mine")), 1);
  json_decref(json);
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* Layers that are floats beside packed ones are named. */
START_TEST(test_some_layers_are_floats) {
  hf_ternary model = hf_inverted;
  model.keys = HF_PACKED(",\"modules_to_not_convert\":[\"lm_head\",\"down_proj\"]");
  model.not_packed = "down_proj";
  model.float_type = "BF16";
  model.latent = true;
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_file *again = hf_there_and_back(file, "hf", NULL, "out", NULL);
  hf_same_weights(file, again);
  json_t *json = hf_config_of("out/config.json");
  json_t *kept = json_object_get(json_object_get(json, "quantization_config"), "modules_to_not_convert");
  ck_assert_uint_eq(json_array_size(kept), 2);
  ck_assert_str_eq(json_string_value(json_array_get(kept, 1)), "model.layers.0.mlp.down_proj");
  json_decref(json);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

START_TEST(test_ends_are_not_packed) {
  tq_checkpoint *checkpoint;
  tq_buffer notes = {0};
  hf_ternary model = hf_unpacked;
  model.ternary_ends = true;
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m", "m.tq");
  tq_file *again = hf_there_and_back(file, "hf", NULL, "out", &notes);
  hf_same_weights(file, again);
  ck_assert(hf_has_text(&notes,
                        "2 of 9 ternary tensors are no linear layers, which alone are packed: they are written as "
                        "BF16"));
  const tq_source_tensor *embedding = written_as("out", "model.embed_tokens.weight", &checkpoint);
  ck_assert_uint_eq(embedding->encoding, TQ_BF16);
  ck_assert_str_eq(hf_tensor_named(checkpoint, HF_Q ".weight")->type_name, "autobitlinear");
  tq_checkpoint_close(checkpoint);
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

static void ck_refused(const tq_file *file, const char *type, tq_status expected, const char *message) {
  tq_buffer notes = {0};
  tq_write_options options = {.type = type ? tq_dialect_find(type) : NULL};
  ck_fails(tq_hf_write(file, temporary_path("refused"), &options, &notes, error), expected, message);
  ck_assert_int_ne(access(temporary_path("refused"), F_OK), 0);
  tq_buffer_free(&notes);
}

/* Scales by rows cannot be packed: nothing is then, and it is refused where it was asked for. */
START_TEST(test_scales_by_rows) {
  tq_buffer notes = {0};
  hf_ternary model = hf_unpacked;
  model.divides = false;
  model.scale = 0.5f;
  model.by_rows = true;
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_refused(file, "bitlinear", TQ_ERROR_REFUSED, "_proj.weight: bitlinear cannot hold it");
  ck_refused(file, "autobitlinear", TQ_ERROR_REFUSED, "_proj.weight: autobitlinear cannot hold it");
  ck_refused(file, "TQ2_0", TQ_ERROR_USAGE, "TQ2_0 is no type of Hugging Face folders");
  tq_file *again = hf_there_and_back(file, "hf", NULL, "out", &notes);
  hf_same_weights(file, again);
  ck_assert_str_eq(tq_file_tensor(again, tq_file_find_role(again, "layers.0.q"))->source_type, "BF16");
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

/* What reading the folder would refuse is not written. */
START_TEST(test_outputs_that_the_config_denies) {
  hf_ternary model = hf_unpacked;
  hf_put_ternary("m", &model);
  hf_put("m", "config.json",
         "{\"vocab_size\":16,\"hidden_size\":256,\"num_hidden_layers\":1,\"intermediate_size\":510,"
         "\"num_attention_heads\":4,\"num_key_value_heads\":2" HF_LLAMA "}");
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_refused(file, "bitlinear", TQ_ERROR_REFUSED,
             "_proj.weight: bitlinear cannot hold it: 512 outputs, and the model's are 510");
  tq_file_close(file);
}
END_TEST

START_TEST(test_floats_that_do_not_hold_it) {
  hf_put_ternary("m", &hf_inverted);
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_refused(file, "F16", TQ_ERROR_REFUSED, "F16");
  ck_refused(file, "BF16", TQ_ERROR_REFUSED, "BF16");
  tq_file_close(file);
  hf_ternary model = hf_latent;
  model.keys = HF_LLAMA;
  model.norm_names[0] = model.norm_names[1] = NULL;
  hf_put_ternary("f", &model);
  file = hf_import_folder("f", "f.tq");
  ck_refused(file, "bitlinear", TQ_ERROR_REFUSED, "bitlinear packs linear layers, and none here is ternary");
  tq_file_close(hf_there_and_back(file, "hf", "F32", "out", NULL));
  tq_file_close(file);
}
END_TEST

/* Zeros that are -0 come back where the type stays, and are told of where it does not. */
START_TEST(test_signs_of_zeros) {
  tq_buffer notes = {0};
  hf_ternary model = hf_unpacked;
  hf_blob blobs[HF_TERNARY_MOST];
  size_t count = hf_make_ternary(&model, blobs);
  hf_put_ternary("m", &model);
  for (size_t i = 0; i < count; i++) {
    for (size_t k = 0; strstr(blobs[i].name, "gate_proj") && k < blobs[i].size; k += 4) {
      if (tq_load_u32(blobs[i].data + k) == 0) blobs[i].data[k + 3] = 0x80;
    }
  }
  hf_put_blobs("m", "model.safetensors", blobs, count);
  hf_free_blobs(blobs, count);
  tq_file *file = hf_import_folder("m", "m.tq");
  tq_file_close(hf_there_and_back(file, "hf", "F32", "same", &notes));
  ck_same_files(temporary_path("m/model.safetensors"), temporary_path("same/model.safetensors"));
  ck_assert(!strstr((const char *)notes.data, "not carried"));
  notes.size = 0;
  tq_file *packed = hf_there_and_back(file, "hf", NULL, "packed", &notes);
  ck_assert(hf_has_text(&notes,
                        "not carried: what is no weight in the bytes of 1 ternary tensors, such as the signs of "
                        "zeros; model.layers.0.mlp.gate_proj.weight is the first"));
  hf_same_weights(file, packed);
  tq_file_close(packed);
  tq_file_close(file);
  tq_buffer_free(&notes);
}
END_TEST

/* Of rows in another order the bytes that a tensor came from are not what is written. */
START_TEST(test_signs_of_zeros_in_another_order) {
  tq_buffer notes = {0};
  size_t size;
  hf_put_ternary("m", &hf_unpacked);
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_ok(tq_format_find("gguf")->write(file, temporary_path("m.gguf"),
                                      &(tq_write_options){.type = tq_dialect_find("F32")}, &notes, error));
  tq_file_close(file);
  uint8_t *bytes = read_file(temporary_path("m.gguf"), &size);
  tq_checkpoint *checkpoint = hf_checkpoint("m.gguf");
  const tq_source_tensor *q = hf_tensor_named(checkpoint, "blk.0.attn_q.weight");
  ck_assert_uint_ne(q->adjacent_heads, 0);
  for (uint64_t i = q->offset; i < q->offset + q->size; i += 4) {
    if (tq_load_u32(bytes + i) == 0) bytes[i + 3] = 0x80;
  }
  write_file(temporary_path("m.gguf"), bytes, size);
  free(bytes);
  tq_checkpoint_close(checkpoint);
  file = hf_import(temporary_path("m.gguf"), "g.tq");
  notes.size = 0;
  tq_file *again = hf_there_and_back(file, "hf", "F32", "out", &notes);
  hf_same_weights(file, again);
  ck_assert(hf_has_text(&notes, "not carried: what is no weight in the bytes of 1 ternary tensors"));
  tq_file_close(file);
  tq_file_close(again);
  tq_buffer_free(&notes);
}
END_TEST

/* A .tq file with one tensor and one key. */
static tq_file *write_one(const char *role, const char *key) {
  static const uint64_t none[4];
  static const uint8_t zero[16];
  tq_writer *writer;
  tq_file *file = NULL;
  tq_metadata_builder builder = {0};
  tq_tensor made = {.role = role, .name = role, .source_type = "", .dimensions = 1, .shape = {1}};
  tq_part part = {.kind = TQ_PART_VALUES, .encoding = TQ_F32, .type_name = ""};
  ck_ok(tq_metadata_add_u32(&builder, key, 1, error));
  ck_ok(tq_writer_create(temporary_path("one.tq"), 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, builder.data, builder.size, builder.count, error));
  ck_ok(tq_writer_tensor_begin(writer, &made, error));
  ck_ok(tq_writer_part_begin(writer, &part, error));
  ck_ok(tq_writer_part_write(writer, "\0\0\0\x40", 4, error));
  ck_ok(tq_writer_part_end(writer, error));
  ck_ok(tq_writer_tensor_end(writer, none, zero, error));
  ck_ok(tq_writer_finish(writer, zero, zero, error));
  tq_metadata_builder_free(&builder);
  ck_ok(tq_file_open(temporary_path("one.tq"), TQ_VERIFY_HEADER, &file, error));
  return file;
}

START_TEST(test_what_only_gguf_can_say) {
  tq_file *file = write_one("layers.0.q_scale", "odd.key");
  ck_refused(file, NULL, TQ_ERROR_REFUSED, "a Hugging Face folder has no place for a scale of a layer's product");
  tq_file_close(file);
  file = write_one("layers.0.q", "prism.hadamard.version");
  ck_refused(file, NULL, TQ_ERROR_REFUSED, "folded with a rotation (prism.hadamard.version)");
  tq_file_close(file);
}
END_TEST

/* ---- architectures ---- */

#define QWEN2 ",\"model_type\":\"qwen2\",\"architectures\":[\"Qwen2ForCausalLM\"]"
#define QWEN3 ",\"model_type\":\"qwen3\",\"architectures\":[\"Qwen3ForCausalLM\"],\"head_dim\":64"

static const struct {
  hf_ternary model;
  const char *architecture, *key, *value;
} architectures[] = {
    {{.keys = ",\"model_type\":\"llama\",\"architectures\":[\"BitnetForCausalLM\"],\"weight_bits\":1,\"input_bits\":8",
      .norm_names = {"inner_attn_ln", "ffn_layernorm"},
      .tied = true},
     "bitnet",
     "bitnet.attention.layer_norm_rms_epsilon",
     "9.99999997e-07"},
    {{.keys = ",\"model_type\":\"bitnet_b1_58\"", .norm_names = HF_SUB_NORMS},
     "bitnet",
     "bitnet.context_length",
     "2048"},
    {{.keys = HF_BITNET, .norm_names = HF_SUB_NORMS, .tied = true},
     "bitnet-b1.58",
     "bitnet-b1.58.rope.freq_base",
     "500000"},
    {{.keys = HF_BITNET, .norm_names = HF_SUB_NORMS},
     "bitnet-b1.58",
     "bitnet-b1.58.attention.layer_norm_rms_epsilon",
     "9.99999975e-06"},
    {{.keys = QWEN2 ",\"use_sliding_window\":false,\"sliding_window\":131072,\"max_window_layers\":70",
      .qkv_biases = true},
     "qwen2",
     "qwen2.context_length",
     "32768"},
    {{.keys =
          QWEN3 ",\"attention_bias\":false,\"sliding_window\":null,\"layer_types\":[\"full_attention\"],"
                "\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4.0,\"original_max_position_embeddings\":32768}",
      .qk_norms = true},
     "qwen3",
     "qwen3.rope.scaling.type",
     "yarn"},
    {{.keys = QWEN3, .qk_norms = true}, "qwen3", "qwen3.attention.key_length", "64"},
    {{.keys = HF_LLAMA ",\"activation\":\"swiglu\",\"hidden_act\":\"silu\",\"attention_bias\":false,\"mlp_bias\":false,"
                       "\"rope_theta\":1000042,\"head_dim\":64,\"pretraining_tp\":1"},
     "llama",
     "llama.rope.freq_base",
     "1000042"},
};

/* A folder, what is read of it, a made folder, and a GGUF in between: one model. */
START_TEST(test_architecture) {
  hf_ternary model = architectures[_i].model;
  model.float_type = "BF16";
  model.scale = 0.5f;
  hf_put_ternary("m", &model);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_str_eq(hf_value(checkpoint, "general.architecture"), architectures[_i].architecture);
  ck_assert_str_eq(hf_value(checkpoint, architectures[_i].key), architectures[_i].value);
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    ck_assert_str_ne(checkpoint->tensors[i].role, checkpoint->tensors[i].name);
  }
  tq_checkpoint_close(checkpoint);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_hyperparameters read;
  ck_ok(tq_hyperparameters_read(tq_file_metadata(file), &read, error));
  tq_model *bound;
  ck_ok(tq_model_create(file, &bound, error));
  tq_model_destroy(bound);
  tq_file *made = hf_there_and_back(file, "hf", "BF16", "made", NULL);
  hf_same_weights(file, made);
  tq_file *gguf = hf_there_and_back(file, "gguf", "F32", "m.gguf", NULL);
  hf_same_weights(file, gguf);
  tq_file *back = hf_there_and_back(gguf, "hf", NULL, "back", NULL);
  hf_same_weights(file, back);
  tq_file_close(file);
  tq_file_close(made);
  tq_file_close(gguf);
  tq_file_close(back);
}
END_TEST

/* 1bitLLM's class has names of its own, which llama.cpp's converter knows alone. */
START_TEST(test_names_of_the_class) {
  static const char *const names[][2] = {{"inner_attn_ln", "ffn_layernorm"}, {"attn_sub_norm", "ffn_sub_norm"}};
  hf_ternary model = {.keys = _i ? HF_BITNET : ",\"model_type\":\"bitnet_b1_58\"",
                      .norm_names = {names[_i][0], names[_i][1]},
                      .float_type = "BF16",
                      .scale = 1};
  tq_checkpoint *checkpoint;
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_file_close(hf_there_and_back(file, "hf", NULL, "out", NULL));
  written_as("out", _i ? "model.layers.0.mlp.ffn_sub_norm.weight" : "model.layers.0.mlp.ffn_layernorm.weight",
             &checkpoint);
  tq_checkpoint_close(checkpoint);
  json_t *json = hf_config_of("out/config.json");
  ck_assert_str_eq(json_string_value(json_array_get(json_object_get(json, "architectures"), 0)),
                   _i ? "BitNetForCausalLM" : "BitnetForCausalLM");
  ck_assert_str_eq(json_string_value(json_object_get(json, "hidden_act")), _i ? "relu2" : "silu");
  json_decref(json);
  tq_file_close(file);
}
END_TEST

static const struct {
  const char *keys;
  bool qkv_biases;
  const char *message;
} bad_architectures[] = {
    {QWEN2 ",\"use_sliding_window\":true,\"sliding_window\":4096", true,
     "use_sliding_window: attention within a window"},
    {QWEN2 ",\"use_sliding_window\":1", true, "use_sliding_window"},
    {QWEN3 ",\"layer_types\":[\"sliding_attention\"]", false,
     "a layer of type sliding_attention is not understood for"},
    {QWEN3 ",\"layer_types\":[7]", false, "a layer of type unnamed"},
    {QWEN3 ",\"layer_types\":{}", false, "layer_types: a list is needed"},
    {QWEN3, true, "k_proj.bias is a bias, and attention_bias or mlp_bias says none"},
    {HF_LLAMA, true, "k_proj.bias is a bias, and attention_bias or mlp_bias says none"},
    {HF_LLAMA ",\"attention_bias\":false", true, "k_proj.bias is a bias"},
    {HF_LLAMA ",\"attention_bias\":1", true, "attention_bias: true or false is needed"},
    {HF_BITNET ",\"hidden_act\":\"silu\"", false, "duplicate"},
    {",\"model_type\":\"bitnet\",\"hidden_act\":\"silu\"", false, "activation silu is not understood for architecture"},
    {",\"model_type\":\"bitnet_b1_58\",\"hidden_act\":\"relu2\"", false, "activation relu2 is not understood"},
};

START_TEST(test_bad_architecture) {
  hf_ternary model = {.keys = bad_architectures[_i].keys,
                      .qkv_biases = bad_architectures[_i].qkv_biases,
                      .float_type = "BF16",
                      .scale = 1};
  hf_put_ternary("m", &model);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, bad_architectures[_i].message);
}
END_TEST

START_TEST(test_biases_that_are_declared) {
  hf_ternary model = {
      .keys = HF_LLAMA ",\"attention_bias\":true", .qkv_biases = true, .float_type = "BF16", .scale = 1};
  hf_put_ternary("m", &model);
  tq_checkpoint_close(hf_checkpoint("m"));
}
END_TEST

START_TEST(test_hybrid_is_recognised) {
  tq_checkpoint *checkpoint;
  hf_ternary model = {
      .keys = ",\"model_type\":\"qwen3_5\",\"text_config\":{\"hidden_size\":333}", .float_type = "BF16", .scale = 1};
  hf_put_ternary("m", &model);
  checkpoint = hf_checkpoint("m");
  ck_assert_str_eq(hf_value(checkpoint, "general.architecture"), "qwen35");
  ck_assert_str_eq(hf_value(checkpoint, "qwen35.embedding_length"), "333");
  hf_noted(checkpoint,
           "model_type qwen3_5 is not understood: its tensors and files are carried, but it cannot be run: ");
  tq_file *file = hf_import_opened(checkpoint, "m.tq");
  tq_model *bound;
  tq_error problem = {0};
  ck_assert_int_eq(tq_model_create(file, &bound, &problem), TQ_ERROR_CORRUPT);
  ck_ok(tq_source_restore(file, temporary_path("back"), NULL, error));
  ck_same_files(temporary_path("m/model.safetensors"), temporary_path("back/model.safetensors"));
  tq_file_close(file);
}
END_TEST

/* ---- faults ---- */

static tq_status write_packed(const void *file, tq_error *error) {
  tq_buffer notes = {0};
  tq_write_options options = {.type = tq_dialect_find("autobitlinear")};
  tq_status status = tq_hf_write(file, temporary_path("out"), &options, &notes, error);
  fail_no_operation();
  tq_buffer_free(&notes);
  if (status && access(temporary_path("out"), F_OK) == 0) {
    tq_checkpoint_close(hf_checkpoint("out"));
    ck_assert_int_eq(rename(temporary_path("out"), temporary_path("whole")), 0);
  }
  return status;
}

START_TEST(test_every_operation_of_writing_may_fail) {
  hf_put_ternary("m", &hf_inverted);
  tq_file *file = hf_import_folder(_i ? "m" : "m/model.safetensors", "m.tq");
  ck_assert_int_gt(check_every_fault(write_packed, file), 100);
  tq_file_close(file);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf_export");
  TCase *writing = tcase_create("writing");
  tcase_add_checked_fixture(writing, hf_clear, NULL);
  tcase_set_timeout(writing, 120);
  tcase_add_loop_test(writing, test_forms_become_each_other, 0, COUNT(models));
  tcase_add_test(writing, test_types_of_scales);
  tcase_add_test(writing, test_made_config);
  tcase_add_test(writing, test_carried_config);
  tcase_add_test(writing, test_some_layers_are_floats);
  tcase_add_test(writing, test_ends_are_not_packed);
  tcase_add_test(writing, test_scales_by_rows);
  tcase_add_test(writing, test_outputs_that_the_config_denies);
  tcase_add_test(writing, test_floats_that_do_not_hold_it);
  tcase_add_test(writing, test_signs_of_zeros);
  tcase_add_test(writing, test_signs_of_zeros_in_another_order);
  tcase_add_test(writing, test_what_only_gguf_can_say);
  suite_add_tcase(suite, writing);
  TCase *architecture = tcase_create("architectures");
  tcase_add_checked_fixture(architecture, hf_clear, NULL);
  tcase_set_timeout(architecture, 60);
  tcase_add_loop_test(architecture, test_architecture, 0, COUNT(architectures));
  tcase_add_loop_test(architecture, test_names_of_the_class, 0, 2);
  tcase_add_loop_test(architecture, test_bad_architecture, 0, COUNT(bad_architectures));
  tcase_add_test(architecture, test_biases_that_are_declared);
  tcase_add_test(architecture, test_hybrid_is_recognised);
  suite_add_tcase(suite, architecture);
  TCase *faults = tcase_create("faults");
  tcase_add_checked_fixture(faults, hf_clear, NULL);
  tcase_set_timeout(faults, 240);
  tcase_add_loop_test(faults, test_every_operation_of_writing_may_fail, 0, 2);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
