/* Hugging Face folders of ternary models: weights packed by the method "bitnet", and what they are taken for. */
#include "base/bytes.h"
#include "formats/dialects/encode.h"
#include "formats/import.h"
#include "formats/source.h"
#include "hf_ternary.h"
#include "pickle_builder.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static tq_status try_with(const char *name, const tq_open_options *options, tq_checkpoint **checkpoint,
                          tq_error *error) {
  *checkpoint = NULL;
  return tq_checkpoint_open(temporary_path(name), options, checkpoint, error);
}

/* ---- reading ---- */

START_TEST(test_a_pair_is_one_tensor) {
  hf_put_ternary("m", &hf_inverted);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_uint_eq(checkpoint->tensor_count, 12);
  ck_assert(checkpoint->trained_with_int8);
  const tq_source_tensor *k = hf_tensor_named(checkpoint, "model.layers.0.self_attn.k_proj.weight");
  ck_assert_ptr_nonnull(k);
  ck_assert_ptr_null(hf_tensor_named(checkpoint, "model.layers.0.self_attn.k_proj.weight_scale"));
  ck_assert_str_eq(k->type_name, "bitlinear");
  ck_assert_ptr_eq(k->form.dialect, tq_dialect_find("bitlinear"));
  ck_assert_uint_eq(k->encoding, 0);
  ck_assert_uint_eq(k->form.scale_encoding, TQ_BF16);
  ck_assert_uint_eq(k->form.scale_direction, TQ_INVERTED);
  ck_assert_uint_eq(k->shape[0], 128);
  ck_assert_uint_eq(k->shape[1], 256);
  ck_assert_uint_eq(k->size, 32 * 256);
  ck_assert_str_eq(k->role, "layers.0.k");
  tq_file *file = hf_import_opened(checkpoint, "m.tq");
  const tq_tensor *taken = tq_file_tensor(file, tq_file_find_role(file, "layers.0.k"));
  ck_assert_str_eq(taken->source_type, "bitlinear");
  ck_assert_uint_eq(taken->part_count, 2);
  ck_assert_uint_eq(taken->parts[1].granularity, TQ_PER_TENSOR);
  ck_assert_uint_eq(taken->parts[1].direction, TQ_INVERTED);
  ck_assert_uint_eq(taken->parts[1].encoding, TQ_BF16);
  tq_string activations = tq_metadata_string(tq_file_metadata(file), "tq.activations");
  ck_assert_mem_eq(activations.data, "int8-token", 10);
  tq_file_close(file);
}
END_TEST

/* Trits lie where formats.md says: checked against floats that were made of the same trits. */
START_TEST(test_weights_are_those_of_the_floats) {
  hf_put_ternary("inverted", &hf_inverted);
  hf_put_ternary("direct", &hf_direct);
  hf_put_ternary("floats", &hf_unpacked);
  tq_file *a = hf_import_folder("inverted", "a.tq"), *b = hf_import_folder("direct", "b.tq"),
          *c = hf_import_folder("floats", "c.tq");
  hf_same_weights(a, b);
  hf_same_weights(a, c);
  static float x[512 * 256], y[512 * 256];
  size_t up = tq_file_find_role(a, "layers.0.up"), other = tq_file_find_role(c, "layers.0.up");
  ck_ok(tq_tensor_decode(a, up, 0, 512, x, error));
  ck_ok(tq_tensor_decode(c, other, 0, 512, y, error));
  for (size_t i = 0; i < sizeof x / sizeof *x; i++) ck_assert(x[i] == y[i]);
  tq_file_close(a);
  tq_file_close(b);
  tq_file_close(c);
}
END_TEST

static const tq_open_options as_direct = {.weight_scales = TQ_SCALES_DIRECT},
                             as_inverted = {.weight_scales = TQ_SCALES_INVERTED};

static const char *const scale_types[] = {"BF16", "F32", "F16"};

START_TEST(test_folder_comes_back) {
  static const char *const single[] = {"config.json", "model.safetensors"}, *const sharded[] = {
                                                                                "config.json",
                                                                                "model.safetensors.index.json",
                                                                                "model-00001-of-00002.safetensors",
                                                                                "model-00002-of-00002.safetensors"};
  hf_ternary model = _i % 2 ? hf_inverted : hf_direct;
  bool shards = _i >= 6;
  model.scale_type = scale_types[_i % 6 / 2];
  (shards ? hf_put_ternary_shards : hf_put_ternary)("m", &model);
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_ok(tq_source_restore(file, temporary_path("back"), NULL, error));
  tq_file_close(file);
  for (size_t i = 0; i < (shards ? 4 : 2); i++) {
    char a[64], b[64];
    snprintf(a, sizeof a, "m/%s", shards ? sharded[i] : single[i]);
    snprintf(b, sizeof b, "back/%s", shards ? sharded[i] : single[i]);
    ck_same_files(temporary_path(a), temporary_path(b));
  }
}
END_TEST

START_TEST(test_sharded_is_the_same_model) {
  hf_put_ternary("m", &hf_inverted);
  hf_put_ternary_shards("s", &hf_inverted);
  tq_file *a = hf_import_folder("m", "m.tq"), *b = hf_import_folder("s", "s.tq");
  hf_same_weights(a, b);
  tq_file_close(a);
  tq_file_close(b);
}
END_TEST

START_TEST(test_lone_file) {
  hf_put_ternary("m", &hf_inverted);
  tq_file *a = hf_import_folder("m", "m.tq"), *b = hf_import_folder("m/model.safetensors", "l.tq");
  hf_same_weights(a, b);
  ck_ok(tq_source_restore(b, temporary_path("back.safetensors"), NULL, error));
  ck_same_files(temporary_path("m/model.safetensors"), temporary_path("back.safetensors"));
  tq_file_close(a);
  tq_file_close(b);
}
END_TEST

/* Less than a panel of 16 rows, that, and more: packed matrices of four times so many rows, and floats. */
START_TEST(test_every_height_comes_back) {
  static const uint64_t heights[] = {1, 2, 4, 5, 10, 15, 16, 17, 40};
  enum { HEIGHTS = COUNT(heights), COLUMNS = 53, MOST = 40 * COLUMNS };
  static uint8_t codes[HEIGHTS][MOST];
  static float values[HEIGHTS][MOST];
  hf_blob blobs[3 * HEIGHTS] = {0};
  uint64_t state = 2;
  for (size_t i = 0; i < HEIGHTS; i++) {
    size_t size = (size_t)heights[i] * COLUMNS;
    for (size_t k = 0; k < size; k++) {
      for (int place = 0; place < 8; place += 2) codes[i][k] |= (uint8_t)(random_u64(&state) % 3 << place);
      values[i][k] = (float)((int)(random_u64(&state) % 3) - 1) * (float)(1 + k / COLUMNS); /* a scale for each row */
    }
    blobs[3 * i] = (hf_blob){.type = "U8", .dimensions = 2, .shape = {heights[i], COLUMNS}, .data = codes[i]};
    blobs[3 * i + 1] = (hf_blob){.type = "F32", .dimensions = 1, .shape = {1}, .data = (uint8_t *)"\0\0\x40\x3f"};
    blobs[3 * i + 2] = (hf_blob){.type = "F32", .dimensions = 2, .shape = {heights[i], COLUMNS}};
    blobs[3 * i].size = size;
    blobs[3 * i + 1].size = 4;
    blobs[3 * i + 2].data = (uint8_t *)values[i];
    blobs[3 * i + 2].size = size * sizeof values[i][0];
    snprintf(blobs[3 * i].name, sizeof blobs[0].name, "model.layers.%zu.self_attn.q_proj.weight", i);
    snprintf(blobs[3 * i + 1].name, sizeof blobs[0].name, "model.layers.%zu.self_attn.q_proj.weight_scale", i);
    snprintf(blobs[3 * i + 2].name, sizeof blobs[0].name, "model.layers.%zu.self_attn.o_proj.weight", i);
  }
  hf_folder("m");
  hf_put_blobs("m", "model.safetensors", blobs, (size_t)COUNT(blobs));
  tq_checkpoint *checkpoint;
  ck_ok(try_with("m/model.safetensors", &as_direct, &checkpoint, error));
  tq_file *file = hf_import_opened(checkpoint, "m.tq");
  ck_ok(tq_source_restore(file, temporary_path("back.safetensors"), NULL, error));
  ck_same_files(temporary_path("m/model.safetensors"), temporary_path("back.safetensors"));
  tq_file_close(file);
}
END_TEST

/* A PyTorch file with one storage a tensor. */
static void put_pytorch(const char *path, const hf_blob *blobs, size_t count) {
  pickle to = {0};
  member members[HF_TERNARY_MOST + 1];
  static char keys[HF_TERNARY_MOST][32];
  emit_start(&to);
  for (size_t i = 0; i < count; i++) {
    const char *type = strcmp(blobs[i].type, "U8") == 0 ? "ByteStorage" : "BFloat16Storage";
    size_t width = strcmp(blobs[i].type, "U8") == 0 ? 1 : 2;
    char key[24];
    snprintf(key, sizeof key, "%zu", i);
    snprintf(keys[i], sizeof keys[i], "m/data/%zu", i);
    tensor from = {.type = type,
                   .key = key,
                   .count = (int64_t)(blobs[i].size / width),
                   .dimensions = blobs[i].dimensions,
                   .shape = {(int64_t)blobs[i].shape[0], (int64_t)blobs[i].shape[1]}};
    emit_text(&to, blobs[i].name);
    emit_tensor(&to, &from);
    members[i + 1] = (member){keys[i], blobs[i].data, blobs[i].size};
  }
  emit_end(&to);
  members[0] = (member){"m/data.pkl", to.data, to.size};
  pack_archive(path, PACK_ZIP, members, count + 1);
  free(to.data);
}

START_TEST(test_pytorch_file) {
  hf_blob blobs[HF_TERNARY_MOST];
  size_t count = hf_make_ternary(&hf_inverted, blobs);
  hf_put_ternary("m", &hf_inverted);
  tq_file *a = hf_import_folder("m", "m.tq");
  hf_remove("m", "model.safetensors");
  put_pytorch(temporary_path("m/pytorch_model.bin"), blobs, count);
  tq_file *b = hf_import_folder("m", "p.tq");
  hf_same_weights(a, b);
  tq_file_close(a);
  tq_file_close(b);
  hf_free_blobs(blobs, count);
}
END_TEST

/* ---- which way a scale is meant ---- */

START_TEST(test_declared_and_confirmed) {
  hf_put_ternary("i", &hf_inverted);
  hf_put_ternary("d", &hf_direct);
  tq_checkpoint *i = hf_checkpoint("i"), *d = hf_checkpoint("d");
  ck_assert(hf_has_text(&i->readings,
                        "weight_scale is inverted, as linear_class bitlinear declares, and confirmed: of 4 "
                        "layers (q, k, o, down), rms(W) * sqrt(columns) lies within 0.03125 to 8 only as "
                        "direct for 0, only as inverted for 4; model.layers.0."));
  ck_assert(hf_has_text(&d->readings, "weight_scale is direct, as linear_class autobitlinear declares, and confirmed"));
  ck_assert(!strstr((const char *)d->readings.data, temporary_folder()));
  tq_checkpoint_close(i);
  tq_checkpoint_close(d);
}
END_TEST

START_TEST(test_declared_and_contradicted) {
  tq_checkpoint *checkpoint;
  hf_ternary model = hf_inverted;
  model.stores_inverse = true;
  hf_put_ternary("i", &model);
  ck_fails(hf_status("i", error), TQ_ERROR_REFUSED, "linear_class bitlinear makes weight_scale inverted");
  ck_fails(hf_status("i", error), TQ_ERROR_REFUSED, "--weight-scale direct or inverted decides");
  ck_fails(hf_status("i", error), TQ_ERROR_REFUSED, "only as direct for 4, only as inverted for 0");
  model = hf_direct;
  model.stores_inverse = false;
  hf_put_ternary("d", &model);
  ck_fails(hf_status("d", error), TQ_ERROR_REFUSED, "linear_class autobitlinear makes weight_scale direct");
  /* Either way it is taken as it is said to be meant, and the weights are what they should be. */
  ck_ok(try_with("i", &as_direct, &checkpoint, error));
  ck_assert(hf_has_text(&checkpoint->readings, "weight_scale is direct, as --weight-scale says"));
  ck_assert_str_eq(hf_tensor_named(checkpoint, "model.layers.0.mlp.up_proj.weight")->type_name, "autobitlinear");
  hf_put_ternary("right", &hf_unpacked);
  model = hf_inverted;
  model.scale_type = "F32";
  model.stores_inverse = true;
  hf_put_ternary("exact", &model);
  tq_checkpoint_close(checkpoint);
  ck_ok(try_with("exact", &as_direct, &checkpoint, error));
  tq_file *a = hf_import_opened(checkpoint, "a.tq"), *b = hf_import_folder("right", "b.tq");
  hf_same_weights(a, b);
  tq_file_close(a);
  tq_file_close(b);
  ck_ok(try_with("d", &as_inverted, &checkpoint, error));
  ck_assert(hf_has_text(&checkpoint->readings, "weight_scale is inverted, as --weight-scale says"));
  tq_checkpoint_close(checkpoint);
  ck_ok(try_with("i", &as_inverted, &checkpoint, error));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Scales near 1, as bitnet-b1.58-2B-4T has them, say nothing. */
START_TEST(test_declared_and_not_decided) {
  hf_ternary model = hf_inverted;
  model.scale = 1.0f;
  hf_put_ternary("i", &model);
  tq_checkpoint *checkpoint = hf_checkpoint("i");
  ck_assert(hf_has_text(&checkpoint->readings, "weight_scale is inverted, as linear_class bitlinear declares, which is "
                                               "taken without proof: of 4 layers"));
  tq_checkpoint_close(checkpoint);
  model.keys = HF_PACKED(HF_AUTOMATIC);
  hf_put_ternary("d", &model);
  checkpoint = hf_checkpoint("d");
  ck_assert(hf_has_text(&checkpoint->readings,
                        "weight_scale is direct, as linear_class autobitlinear declares, which is "
                        "taken without proof"));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* The scales of some of the four layers are the other way round. */
static void put_mixed(const char *folder, size_t wrong) {
  static const size_t bearing[] = {0, 1, 3, 6};
  hf_blob blobs[HF_TERNARY_MOST];
  char name[96];
  size_t count = hf_make_ternary(&hf_inverted, blobs);
  hf_put_ternary(folder, &hf_inverted);
  for (size_t i = 0; i < wrong; i++) {
    snprintf(name, sizeof name, "%s.weight_scale", hf_layers[bearing[i]]);
    for (size_t k = 0; k < count; k++) {
      if (strcmp(blobs[k].name, name) == 0) tq_store_u16(blobs[k].data, 0x3cb3); /* 0.0219 */
    }
  }
  hf_put_blobs(folder, "model.safetensors", blobs, count);
  hf_free_blobs(blobs, count);
}

START_TEST(test_three_quarters_decide) {
  static const char *const outcomes[] = {"and confirmed", "and confirmed", "taken without proof"};
  for (size_t wrong = 0; wrong <= 4; wrong++) {
    char folder[8];
    snprintf(folder, sizeof folder, "m%zu", wrong);
    put_mixed(folder, wrong);
    if (wrong >= 3) {
      ck_fails(hf_status(folder, error), TQ_ERROR_REFUSED, "the weights contradict it");
      continue;
    }
    tq_checkpoint *checkpoint = hf_checkpoint(folder);
    ck_assert(hf_has_text(&checkpoint->readings, outcomes[wrong]));
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

START_TEST(test_nothing_declared) {
  tq_checkpoint *checkpoint;
  hf_ternary model = hf_inverted;
  model.keys = HF_LLAMA;
  hf_put_ternary("i", &model);
  checkpoint = hf_checkpoint("i");
  ck_assert(hf_has_text(&checkpoint->readings, "weight_scale is inverted, as the weights show (there is no "
                                               "quantization_config)"));
  ck_assert(!checkpoint->trained_with_int8);
  tq_checkpoint_close(checkpoint);
  hf_remove("i", "config.json");
  tq_checkpoint_close(hf_checkpoint("i"));
  model = hf_direct;
  model.keys = HF_LLAMA;
  hf_put_ternary("d", &model);
  checkpoint = hf_checkpoint("d");
  ck_assert(hf_has_text(&checkpoint->readings, "weight_scale is direct, as the weights show"));
  tq_checkpoint_close(checkpoint);
  model.scale = 1;
  hf_put_ternary("n", &model);
  ck_fails(hf_status("n", error), TQ_ERROR_REFUSED,
           "no quantization_config says whether weight_scale is direct or inverted");
  ck_ok(try_with("n", &as_inverted, &checkpoint, error));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Rows are so short that both readings are plausible. */
START_TEST(test_short_rows_do_not_tell) {
  uint8_t codes[4 * 16];
  hf_blob blobs[] = {{"model.layers.0.self_attn.q_proj.weight", "U8", 2, {4, 16}, codes, sizeof codes},
                     {"model.layers.0.self_attn.q_proj.weight_scale", "F32", 1, {1}, (uint8_t *)"\0\0\x80\x3f", 4}};
  for (size_t i = 0; i < sizeof codes; i++) codes[i] = (uint8_t)(i % 3 | (i + 1) % 3 << 2 | (i / 3) % 3 << 4 | 2 << 6);
  hf_folder("m");
  hf_put_blobs("m", "model.safetensors", blobs, 2);
  ck_fails(hf_status("m", error), TQ_ERROR_REFUSED, "only as direct for 0, only as inverted for 0");
}
END_TEST

/* ---- hostile files ---- */

/* What is done to the tensor called `name` of the packed model. */
typedef struct damage {
  const char *name;
  const char *new_name, *type;
  uint32_t dimensions;
  uint64_t shape[2];
  uint32_t value; /* of a scale, in its bytes */
  const char *keys, *message;
} damage;

static const damage damages[] = {
    {.name = HF_Q ".weight_scale",
     .new_name = "other",
     .message = "q_proj.weight: it is packed in U8, and has no weight"},
    {.name = HF_Q ".weight", .new_name = "other", .message = "there is no weight that it is the scale of"},
    {.name = HF_Q ".weight", .type = "I8", .message = "the weight that it is the scale of is not packed in U8"},
    {.name = HF_Q ".weight_scale", .type = "U16", .message = "a weight_scale is F32, F16 or BF16"},
    {.name = HF_Q ".weight_scale", .dimensions = 2, .shape = {1, 1}, .message = "a weight_scale is one number"},
    {.name = HF_Q ".weight_scale", .dimensions = 1, .shape = {2}, .message = "a weight_scale is one number"},
    {.name = HF_Q ".weight_scale", .value = 0x0000, .message = "its value is no scale"},
    {.name = HF_Q ".weight_scale", .value = 0x8000, .message = "its value is no scale"},
    {.name = HF_Q ".weight_scale", .value = 0x7fc0, .message = "its value is no scale"},
    {.name = HF_Q ".weight_scale", .value = 0x7f80, .message = "its value is no scale"},
    {.name = HF_Q ".weight_scale", .value = 0xff80, .message = "its value is no scale"},
    {.name = HF_Q ".weight_scale", .value = 0x0001, .message = "its value is no scale"},
    {.name = HF_Q ".weight", .dimensions = 1, .shape = {64 * 256}, .message = "a packed weight has two dimensions"},
    {.name = HF_Q ".weight",
     .shape = {32, 512},
     .message = "128 outputs are packed four in a byte, and config.json says"},
    {.name = "model.layers.0.mlp.up_proj.weight",
     .keys = HF_PACKED(",\"modules_to_not_convert\":[\"lm_head\",\"mlp.up_proj\"]"),
     .message = "up_proj.weight: it is packed, but modules_to_not_convert has it"},
    {.name = HF_Q ".weight",
     .keys = HF_PACKED(",\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"online\""),
     .message = "it is packed, but quantization_mode is \"online\""},
};

static void put_damaged(const char *folder, const damage *how) {
  hf_blob blobs[HF_TERNARY_MOST];
  hf_ternary model = hf_inverted;
  if (how->keys) model.keys = how->keys;
  hf_put_ternary(folder, &model);
  size_t count = hf_make_ternary(&model, blobs), found = 0;
  while (strcmp(blobs[found].name, how->name) != 0) ck_assert_uint_lt(++found, count);
  hf_blob *blob = &blobs[found];
  if (how->new_name) snprintf(blob->name, sizeof blob->name, "%s", how->new_name);
  if (how->type) blob->type = how->type;
  if (how->dimensions) blob->dimensions = how->dimensions;
  if (how->shape[0]) memcpy(blob->shape, how->shape, sizeof blob->shape);
  if (blob->size <= 4) {
    size_t width = (size_t)(blob->shape[0] * (blob->dimensions == 2 ? blob->shape[1] : 1)) * 2;
    blob->data = realloc(blob->data, 4);
    ck_assert_ptr_nonnull(blob->data);
    if (!how->new_name && !how->type && !how->dimensions) tq_store_u16(blob->data, (uint16_t)how->value);
    blob->size = width;
  }
  hf_put_blobs(folder, "model.safetensors", blobs, count);
  hf_free_blobs(blobs, count);
}

START_TEST(test_damage_is_named) {
  put_damaged("m", &damages[_i]);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, damages[_i].message);
}
END_TEST

START_TEST(test_code_that_means_nothing) {
  tq_checkpoint *checkpoint;
  hf_blob blobs[HF_TERNARY_MOST];
  size_t count = hf_make_ternary(&hf_inverted, blobs), found = 0;
  hf_put_ternary("m", &hf_inverted);
  while (strcmp(blobs[found].name, "model.layers.0.mlp.up_proj.weight") != 0) found++;
  blobs[found].data[1000] |= 3 << 4;
  hf_put_blobs("m", "model.safetensors", blobs, count);
  hf_free_blobs(blobs, count);
  checkpoint = hf_checkpoint("m");
  ck_fails(tq_import(checkpoint, temporary_path("m.tq"), 0, 0, NULL, error), TQ_ERROR_CORRUPT, "up_proj.weight");
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Rows that transformers fills up to a multiple of four: the layer has more outputs than the config says. */
START_TEST(test_filled_up_rows) {
  hf_put_ternary("m", &hf_inverted);
  hf_put("m", "config.json",
         "{\"vocab_size\":16,\"hidden_size\":256,\"num_hidden_layers\":1,\"intermediate_size\":510,"
         "\"num_attention_heads\":4,\"num_key_value_heads\":2" HF_PACKED("") "}");
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT,
           "512 outputs are packed four in a byte, and config.json says 510, which is not a multiple of 4");
}
END_TEST

static const struct {
  const char *more, *message;
} bad_quantizations[] = {
    {",\"linear_class\":\"other\"", "linear_class: \"bitlinear\" or \"autobitlinear\" is needed"},
    {",\"linear_class\":7", "linear_class: \"bitlinear\" or"},
    {",\"quantization_mode\":\"late\"", "quantization_mode: \"offline\" or \"online\" is needed"},
    {",\"use_rms_norm\":true,\"rms_norm_eps\":1e-6", "use_rms_norm, an RMSNorm before each linear layer, is not"},
    {",\"use_rms_norm\":1", "use_rms_norm: true or false is needed"},
    {",\"modules_to_not_convert\":\"lm_head\"", "modules_to_not_convert: a list of names is needed"},
    {",\"modules_to_not_convert\":[1]", "modules_to_not_convert: a list of names is needed"},
    {",\"modules_to_not_convert\":[\"\"]", "modules_to_not_convert: a list of names is needed"},
};

START_TEST(test_bad_quantization) {
  char keys[256];
  hf_ternary model = hf_inverted;
  snprintf(keys, sizeof keys, HF_LLAMA ",\"quantization_config\":{\"quant_method\":\"bitnet\"%s}",
           bad_quantizations[_i].more);
  model.keys = keys;
  hf_put_ternary("m", &model);
  ck_fails(hf_status("m", error), TQ_ERROR_CORRUPT, bad_quantizations[_i].message);
}
END_TEST

static const char *const good_quantizations[] = {
    HF_PACKED(""),
    HF_PACKED(",\"linear_class\":\"bitlinear\""),
    HF_PACKED(",\"linear_class\":null,\"quantization_mode\":null,\"modules_to_not_convert\":null,\"bits\":2"),
    HF_PACKED(",\"quantization_mode\":\"online\""), /* which bitlinear does not look at */
    HF_PACKED(",\"use_rms_norm\":false,\"rms_norm_eps\":1e-6"),
    HF_PACKED(",\"modules_to_not_convert\":[]"),
    HF_PACKED(
        ",\"modules_to_not_convert\":[\"up_pro\",\"_proj\",\"layers.0.self\",\"layers.01\"]"), /* parts of no name */
    HF_PACKED("") ",\"is_bitnet_config\":true,\"mlp_bias\":false,\"attention_bias\":false,\"hidden_act\":\"silu\"",
};

START_TEST(test_good_quantization) {
  hf_ternary model = hf_inverted;
  model.keys = good_quantizations[_i];
  hf_put_ternary("m", &model);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_uint_eq(checkpoint->tensor_count, 12);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Without packed weights or anything declared, U8 is U8. */
START_TEST(test_plain_bytes_stay) {
  hf_blob blobs[] = {{"a.weight", "U8", 2, {1, 2}, (uint8_t *)"xy", 2}, {"b.weight_scale", "F32", 1, {1}, NULL, 4}};
  blobs[1].data = (uint8_t *)"\0\0\0\0";
  hf_folder("m");
  hf_put_blobs("m", "model.safetensors", blobs, 2);
  tq_checkpoint *checkpoint = hf_checkpoint("m");
  ck_assert_uint_eq(checkpoint->tensor_count, 2);
  ck_assert_uint_eq(hf_tensor_named(checkpoint, "a.weight")->encoding, TQ_U8);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- latent weights ---- */

static bool is_latent(const tq_metadata *metadata) { return tq_metadata_bool(metadata, "tq.latent", false); }

static bool tells_latent(const tq_file *file, const char *why) {
  char line[160];
  tq_section section;
  snprintf(line, sizeof line, "the linear layers are latent weights: %s", why);
  if (!tq_file_find_section(file, "readings", &section)) return false;
  const tq_buffer lines = {.data = (uint8_t *)section.data, .size = (size_t)section.size};
  return hf_has_text(&lines, line);
}

START_TEST(test_latent_weights) {
  hf_ternary model = hf_latent;
  hf_put_ternary("online", &model);
  tq_checkpoint *checkpoint = hf_checkpoint("online");
  ck_assert(is_latent(checkpoint->metadata));
  tq_file *file = hf_import_opened(checkpoint, "online.tq");
  ck_assert(is_latent(tq_file_metadata(file)));
  ck_assert(tells_latent(file, "quantization_mode \"online\" says so"));
  tq_file_close(file);
  model.keys = HF_BITNET;
  hf_put_ternary("undeclared", &model);
  file = hf_import_folder("undeclared", "undeclared.tq");
  ck_assert(is_latent(tq_file_metadata(file)));
  ck_assert(tells_latent(file, "architecture bitnet-b1.58 computes with ternary ones, and all 7 of them"));
  tq_file_close(file);
  tq_open_options options = {.assume = {.is_given = true, .is_float = true}};
  ck_ok(try_with("undeclared", &options, &checkpoint, error));
  file = hf_import_opened(checkpoint, "floats.tq");
  ck_assert(!is_latent(tq_file_metadata(file)));
  tq_file_close(file);
}
END_TEST

/* What is quantized whenever it is used has another scale then, even where it happens to be ternary. */
START_TEST(test_ternary_latent_weights_stay_floats) {
  hf_ternary model = hf_latent;
  model.latent = false;
  model.scale = 2;
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m", "m.tq");
  ck_assert(is_latent(tq_file_metadata(file)));
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) ck_assert(!tq_tensor_is_ternary(tq_file_tensor(file, i)));
  tq_file_close(file);
}
END_TEST

START_TEST(test_not_latent) {
  hf_ternary model = hf_latent;
  model.keys = HF_BITNET;
  model.latent = false;
  model.scale = 2;
  hf_put_ternary("ternary", &model);
  tq_file *file = hf_import_folder("ternary", "ternary.tq");
  ck_assert(!is_latent(tq_file_metadata(file)));
  tq_file_close(file);
  model.latent = true;
  model.keys = HF_LLAMA;
  hf_put_ternary("floats", &model);
  file = hf_import_folder("floats", "floats.tq");
  ck_assert(!is_latent(tq_file_metadata(file)));
  tq_file_close(file);
}
END_TEST

/* A GGUF file has no words of its own for it: the key goes along, and what other programs make of it is said. */
START_TEST(test_latent_through_gguf) {
  tq_buffer notes = {0};
  hf_put_ternary("m", &hf_latent);
  tq_file *file = hf_import_folder("m", "m.tq");
  tq_file *again = hf_there_and_back(file, "gguf", NULL, "out.gguf", &notes);
  ck_assert(is_latent(tq_file_metadata(again)));
  ck_assert(tells_latent(again, "tq.latent says so"));
  ck_assert(
      hf_has_text(&notes, "warning: the linear layers are latent weights, not quantized yet: other programs take"));
  hf_same_weights(file, again);
  tq_buffer_free(&notes);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* A made folder of latent weights must say so, or it would be taken for a model of floats. */
START_TEST(test_latent_there_and_back) {
  size_t size;
  hf_put_ternary("m", &hf_latent);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_file *again = hf_there_and_back(file, "hf", NULL, "out", NULL);
  ck_assert(is_latent(tq_file_metadata(again)));
  hf_same_weights(file, again);
  char *config = (char *)read_file(temporary_path("out/config.json"), &size);
  ck_assert_ptr_nonnull(strstr(config, "\"quantization_mode\": \"online\""));
  free(config);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* 1bitLLM's class quantizes by itself, and knows no quantization_config. */
START_TEST(test_latent_of_its_own_class) {
  hf_ternary model = hf_latent;
  model.keys = ",\"model_type\":\"llama\",\"architectures\":[\"BitnetForCausalLM\"]";
  hf_put_ternary("m", &model);
  tq_file *file = hf_import_folder("m/model.safetensors", "m.tq");
  tq_file *again = hf_there_and_back(file, "hf", NULL, "out", NULL);
  ck_assert(is_latent(tq_file_metadata(file)) && is_latent(tq_file_metadata(again)));
  json_t *json = hf_config_of("out/config.json");
  ck_assert_ptr_null(json_object_get(json, "quantization_config"));
  json_decref(json);
  tq_file_close(file);
  tq_file_close(again);
}
END_TEST

/* ---- faults ---- */

START_TEST(test_every_operation_of_opening_may_fail) {
  hf_put_ternary_shards("m", &hf_inverted);
  ck_assert_int_gt(hf_check_every_fault("m"), 100);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hf_bitnet");
  TCase *reading = tcase_create("reading");
  tcase_add_checked_fixture(reading, hf_clear, NULL);
  tcase_set_timeout(reading, 60);
  tcase_add_test(reading, test_a_pair_is_one_tensor);
  tcase_add_test(reading, test_weights_are_those_of_the_floats);
  tcase_add_loop_test(reading, test_folder_comes_back, 0, 12);
  tcase_add_test(reading, test_sharded_is_the_same_model);
  tcase_add_test(reading, test_lone_file);
  tcase_add_test(reading, test_every_height_comes_back);
  tcase_add_test(reading, test_pytorch_file);
  suite_add_tcase(suite, reading);
  TCase *direction = tcase_create("direction");
  tcase_add_checked_fixture(direction, hf_clear, NULL);
  tcase_set_timeout(direction, 60);
  tcase_add_test(direction, test_declared_and_confirmed);
  tcase_add_test(direction, test_declared_and_contradicted);
  tcase_add_test(direction, test_declared_and_not_decided);
  tcase_add_test(direction, test_three_quarters_decide);
  tcase_add_test(direction, test_nothing_declared);
  tcase_add_test(direction, test_short_rows_do_not_tell);
  suite_add_tcase(suite, direction);
  TCase *hostile = tcase_create("hostile");
  tcase_add_checked_fixture(hostile, hf_clear, NULL);
  tcase_set_timeout(hostile, 60);
  tcase_add_loop_test(hostile, test_damage_is_named, 0, COUNT(damages));
  tcase_add_test(hostile, test_code_that_means_nothing);
  tcase_add_test(hostile, test_filled_up_rows);
  tcase_add_loop_test(hostile, test_bad_quantization, 0, COUNT(bad_quantizations));
  tcase_add_loop_test(hostile, test_good_quantization, 0, COUNT(good_quantizations));
  tcase_add_test(hostile, test_plain_bytes_stay);
  suite_add_tcase(suite, hostile);
  TCase *latents = tcase_create("latent");
  tcase_add_checked_fixture(latents, hf_clear, NULL);
  tcase_set_timeout(latents, 60);
  tcase_add_test(latents, test_latent_weights);
  tcase_add_test(latents, test_ternary_latent_weights_stay_floats);
  tcase_add_test(latents, test_not_latent);
  tcase_add_test(latents, test_latent_through_gguf);
  tcase_add_test(latents, test_latent_there_and_back);
  tcase_add_test(latents, test_latent_of_its_own_class);
  suite_add_tcase(suite, latents);
  TCase *faults = tcase_create("faults");
  tcase_add_checked_fixture(faults, hf_clear, NULL);
  tcase_set_timeout(faults, 240);
  tcase_add_test(faults, test_every_operation_of_opening_may_fail);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
