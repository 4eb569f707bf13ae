/* Hyperparameters from metadata, RoPE's factors, and the function digest. */
#include "base/bytes.h"
#include "base/hash.h"
#include "model/function.h"
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static tq_status read_keys(tq_metadata_builder *builder, tq_hyperparameters *sizes, tq_error *error) {
  tq_metadata *metadata;
  size_t consumed;
  tq_status status =
      tq_metadata_parse("test", builder->data, builder->size, builder->count, &consumed, NULL, &metadata, error);
  if (!status) status = tq_hyperparameters_read(metadata, sizes, error);
  if (!status) tq_metadata_free(metadata);
  tq_metadata_builder_free(builder);
  return status;
}

static void add_u32(tq_metadata_builder *builder, const char *key, uint32_t value) {
  ck_ok(tq_metadata_add_u32(builder, key, value, error));
}

static void add_f32(tq_metadata_builder *builder, const char *key, float value) {
  ck_ok(tq_metadata_add_f32(builder, key, value, error));
}

static void add_string(tq_metadata_builder *builder, const char *key, const char *value) {
  ck_ok(tq_metadata_add_string(builder, key, value, strlen(value), error));
}

static tq_metadata_builder llama_keys(void) {
  tq_metadata_builder builder = {0};
  add_string(&builder, "general.architecture", "llama");
  add_u32(&builder, "llama.block_count", 2);
  add_u32(&builder, "llama.embedding_length", 2048);
  add_u32(&builder, "llama.feed_forward_length", 8192);
  add_u32(&builder, "llama.attention.head_count", 32);
  add_u32(&builder, "llama.context_length", 131072);
  add_f32(&builder, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
  return builder;
}

/* Llama 3.2 1B; the three factors between the plateaus were computed apart from the library, in Python. */
START_TEST(llama3_factors_are_right) {
  tq_metadata_builder builder = llama_keys();
  tq_hyperparameters sizes;
  float factors[32];
  add_f32(&builder, "llama.rope.freq_base", 500000.0f);
  add_string(&builder, "llama.rope.scaling.type", "llama3");
  add_f32(&builder, "llama.rope.scaling.factor", 32.0f);
  add_f32(&builder, "llama.rope.scaling.low_freq_factor", 1.0f);
  add_f32(&builder, "llama.rope.scaling.high_freq_factor", 4.0f);
  add_u32(&builder, "llama.rope.scaling.original_context_length", 8192);
  ck_ok(read_keys(&builder, &sizes, error));
  tq_rope_factors(&sizes, factors);
  for (int i = 0; i < 15; i++) ck_assert(factors[i] == 1.0f);
  static const float between[] = {1.65132922f, 3.2922621f, 9.66672897f};
  for (int i = 0; i < 3; i++) ck_assert(fabsf(factors[15 + i] / between[i] - 1) < 1e-6f);
  for (int i = 18; i < 32; i++) ck_assert(factors[i] == 32.0f);
}
END_TEST

START_TEST(defaults_are_those_of_gguf) {
  tq_metadata_builder builder = llama_keys();
  tq_hyperparameters sizes;
  ck_ok(read_keys(&builder, &sizes, error));
  ck_assert_uint_eq(sizes.kv_heads, 32);
  ck_assert_uint_eq(sizes.head_dimension, 64);
  ck_assert_uint_eq(sizes.rope_dimensions, 64);
  ck_assert(sizes.rope_base == 10000.0f && sizes.rope_scaling == TQ_ROPE_NONE && sizes.gate == TQ_GATE_SILU);
  ck_assert(!sizes.sub_norms && !sizes.tied_head);
  builder = llama_keys();
  add_f32(&builder, "llama.rope.scaling.factor", 2.0f);
  ck_ok(read_keys(&builder, &sizes, error));
  ck_assert(sizes.rope_scaling == TQ_ROPE_LINEAR && sizes.rope_factor == 2.0f);
}
END_TEST

START_TEST(yarn_attention_factor_is_replaced_or_multiplied) {
  static const struct {
    const char *key;
    double expected;
  } cases[] = {{"llama.rope.scaling.yarn_attn_factor", 0.5},
               {"llama.rope.scaling.attn_factor", 0.5 * (1 + 0.13862943611198907)}};
  for (size_t i = 0; i < 2; i++) {
    tq_metadata_builder builder = llama_keys();
    tq_hyperparameters sizes;
    add_string(&builder, "llama.rope.scaling.type", "yarn");
    add_f32(&builder, "llama.rope.scaling.factor", 4.0f);
    add_f32(&builder, cases[i].key, 0.5f);
    ck_ok(read_keys(&builder, &sizes, error));
    ck_assert(fabs((double)tq_rope_magnitude(&sizes) - cases[i].expected) < 1e-6);
  }
}
END_TEST

/* ---- the function digest ---- */

static tq_hyperparameters digested(void) {
  tq_metadata_builder builder = llama_keys();
  tq_hyperparameters sizes;
  ck_ok(read_keys(&builder, &sizes, error));
  return sizes;
}

static bool same_function(const tq_hyperparameters *a, const tq_hyperparameters *b) {
  uint8_t one[16], other[16];
  tq_function_digest(a, NULL, one);
  tq_function_digest(b, NULL, other);
  return memcmp(one, other, sizeof one) == 0;
}

START_TEST(function_digest_covers_the_function) {
  const tq_hyperparameters base = digested();
  tq_hyperparameters changed[15];
  for (size_t i = 0; i < 15; i++) changed[i] = base;
  changed[0].layers++, changed[1].dimension++, changed[2].feed_forward++, changed[3].heads++, changed[4].kv_heads = 8;
  changed[5].head_dimension++, changed[6].norm_epsilon = 1e-6f, changed[7].gate = TQ_GATE_SQUARED_RELU;
  changed[8].sub_norms = true, changed[9].rope_dimensions = 32, changed[10].rope_base = 20000;
  changed[11].rope_scaling = TQ_ROPE_LINEAR, changed[11].rope_factor = 2;
  changed[12].rope_scaling = TQ_ROPE_YARN, changed[12].rope_attention_factor = 1.5f, changed[12].rope_beta_fast = 32;
  changed[12].rope_beta_slow = 1;
  changed[13].qk_norms = true, changed[14].rotated = true;
  for (size_t i = 0; i < 15; i++) ck_assert_msg(!same_function(&base, &changed[i]), "change %zu is not seen", i);
  tq_hyperparameters same = base;
  same.vocabulary = 5, same.context = 17, same.tied_head = true;
  snprintf(same.architecture, sizeof same.architecture, "other");
  same.rope_scaling = TQ_ROPE_LINEAR, same.rope_factor = 1;
  ck_assert(same_function(&base, &same));
}
END_TEST

START_TEST(factors_digest_alike_from_parameters_and_from_a_tensor) {
  tq_hyperparameters parameters = digested(), plain = digested();
  float factors[32];
  uint8_t one[16], other[16];
  parameters.rope_scaling = TQ_ROPE_LLAMA3, parameters.rope_factor = 8, parameters.rope_original_context = 8192;
  tq_rope_factors(&parameters, factors);
  tq_function_digest(&parameters, NULL, one);
  tq_function_digest(&plain, factors, other);
  ck_assert_mem_eq(one, other, sizeof one);
}
END_TEST

START_TEST(function_digest_is_stable) {
  /* The bytes of the definition above tq_function_digest, put together in Python and hashed by xxHash alone. */
  static const uint8_t expected[16] = {0x82, 0x15, 0xea, 0x6c, 0x95, 0x0b, 0x87, 0x2e,
                                       0x80, 0x4e, 0x95, 0x4e, 0xa9, 0x75, 0x75, 0x53};
  tq_hyperparameters sizes = digested();
  uint8_t digest[16];
  tq_function_digest(&sizes, NULL, digest);
  ck_assert_mem_eq(digest, expected, sizeof expected);
}
END_TEST

/* What later models have stands behind what all have, and is not there otherwise. */
START_TEST(later_properties_are_records_behind_the_others) {
  static const char text[] = "layers,dimension,feed_forward,heads,kv_heads,head_dimension,norm,gate,sub_norms,streams,"
                             "rope_dimensions,rope_base,rope_magnitude,rope_factors,qk_norms,rotation";
  tq_hyperparameters sizes = digested();
  uint8_t bytes[1024], digest[16];
  const float one = 1;
  size_t size = 0, before_last = 0, record = 0;
  const uint32_t numbers[] = {2, 2048, 8192, 32, 32, 64, 0, 0, 0, 1, 64};
  for (const char *name = text; *name; record++) {
    size_t length = strcspn(name, ",");
    if (record == 14) before_last = size;
    memcpy(bytes + size, name, length);
    bytes[size + length] = 0;
    size += length + 1;
    name += length + (name[length] == ',');
    if (record == 6)
      tq_store_f32(bytes + size, 1e-5f);
    else if (record < 11)
      tq_store_u32(bytes + size, numbers[record]);
    else if (record == 11)
      tq_store_f32(bytes + size, 10000);
    else if (record == 12)
      tq_store_f32(bytes + size, one);
    else if (record == 13)
      for (size_t i = 0; i < 32; i++) tq_store_f32(bytes + size + 4 * i, one);
    else if (record == 14)
      tq_store_u32(bytes + size, 1);
    else
      memset(bytes + size, 0xab, 16);
    size += record == 13 ? 128 : record == 15 ? 16 : 4;
  }
  tq_hash expected;
  tq_function_digest(&sizes, NULL, digest);
  tq_hash_bytes(TQ_HASH_XXH3_128, bytes, before_last, &expected);
  ck_assert_mem_eq(digest, expected.bytes, 16);
  sizes.qk_norms = sizes.rotated = true;
  memset(sizes.rotation_digest, 0xab, 16);
  tq_function_digest(&sizes, NULL, digest);
  tq_hash_bytes(TQ_HASH_XXH3_128, bytes, size, &expected);
  ck_assert_mem_eq(digest, expected.bytes, 16);
}
END_TEST

START_TEST(the_table_of_architectures_is_right) {
  static const struct {
    const char *name;
    tq_gate gate;
    bool sub_norms, qk_norms;
  } rows[] = {{"llama", TQ_GATE_SILU, false, false},
              {"bitnet", TQ_GATE_SILU, true, false},
              {"bitnet-b1.58", TQ_GATE_SQUARED_RELU, true, false},
              {"bitnet-25", TQ_GATE_SQUARED_RELU, true, false},
              {"qwen2", TQ_GATE_SILU, false, false},
              {"qwen3", TQ_GATE_SILU, false, true}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    static const char *const counts[] = {"block_count", "embedding_length", "feed_forward_length",
                                         "attention.head_count", "context_length"};
    tq_metadata_builder builder = {0};
    tq_hyperparameters sizes;
    char key[96];
    add_string(&builder, "general.architecture", rows[i].name);
    for (size_t k = 0; k < 5; k++) {
      snprintf(key, sizeof key, "%s.%s", rows[i].name, counts[k]);
      add_u32(&builder, key, 2);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", rows[i].name);
    add_f32(&builder, key, 1e-6f);
    snprintf(key, sizeof key, "%s.attention.key_length", rows[i].name);
    add_u32(&builder, key, 128);
    ck_ok(read_keys(&builder, &sizes, error));
    ck_assert_str_eq(sizes.architecture, rows[i].name);
    ck_assert(sizes.gate == rows[i].gate && sizes.sub_norms == rows[i].sub_norms && sizes.qk_norms == rows[i].qk_norms);
    ck_assert(sizes.head_dimension == 128 && !sizes.rotated);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hyperparameters");
  TCase *keys = tcase_create("keys"), *digest = tcase_create("digest");
  tcase_add_test(keys, llama3_factors_are_right);
  tcase_add_test(keys, defaults_are_those_of_gguf);
  tcase_add_test(keys, the_table_of_architectures_is_right);
  tcase_add_test(keys, yarn_attention_factor_is_replaced_or_multiplied);
  tcase_add_test(digest, function_digest_covers_the_function);
  tcase_add_test(digest, factors_digest_alike_from_parameters_and_from_a_tensor);
  tcase_add_test(digest, function_digest_is_stable);
  tcase_add_test(digest, later_properties_are_records_behind_the_others);
  suite_add_tcase(suite, keys);
  suite_add_tcase(suite, digest);
  return run_suite(suite);
}
