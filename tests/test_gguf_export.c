/* Ternary tensors written to GGUF: the same weights in another dialect, or a refusal with nothing written. */
#include "base/bytes.h"
#include "formats/dialects/encode.h"
#include "formats/gguf/gguf.h"
#include "formats/import.h"
#include "tests/gguf_support.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float half[] = {0.5f}, fine[] = {0.3f}, several[] = {0.5f, -0.25f, 2.0f, 0.0078125f};

/* ---- writing ---- */

typedef struct result {
  tq_checkpoint *checkpoint;
  tq_buffer notes; /* as a string */
} result;

static result written_as(const tq_file *file, const tq_dialect *type) {
  result made = {0};
  const char *path = temporary_path("written.gguf");
  remove(path);
  ck_ok(tq_gguf_write(file, path, &(tq_write_options){.type = type}, &made.notes, error));
  ck_ok(tq_buffer_append(&made.notes, "", 1, error));
  tq_open_options options = {0};
  if (type && type->gguf_type != TQ_NO_GGUF_TYPE) options = gguf_options_for(type);
  made.checkpoint = gguf_opened_as(path, &options);
  return made;
}

static bool says(const result *made, const char *text) {
  bool found = strstr((const char *)made->notes.data, text) != NULL;
  if (!found) printf("notes: %s\n", (const char *)made->notes.data);
  return found;
}

static void result_free(result *made) {
  tq_checkpoint_close(made->checkpoint);
  tq_buffer_free(&made->notes);
}

static void ck_not_written(const tq_file *file, const tq_dialect *type, tq_status expected, const char *part) {
  const char *path = temporary_path("refused.gguf");
  tq_buffer notes = {0};
  remove(path);
  ck_fails(tq_gguf_write(file, path, &(tq_write_options){.type = type}, &notes, error), expected, part);
  ck_assert_int_eq(tq_path_examine(path), TQ_PATH_MISSING);
  tq_buffer_free(&notes);
}

/* Every pair: the same weights, or a refusal that names a tensor, with nothing written. */
START_TEST(every_pair) {
  static const float *const sets[] = {half, fine, several};
  static const size_t counts[] = {1, 1, 4};
  const tq_dialect *from = tq_dialect_at((size_t)_i), *to;
  if (!gguf_is_packed(from)) return;
  tq_open_options options = gguf_options_for(from);
  for (size_t set = 0; set < 3; set++) {
    tq_file *file =
        gguf_imported_as(gguf_opened_as(gguf_write_model("model.gguf", from, sets[set], counts[set]), &options), 0);
    uint8_t before[16], after[16];
    size_t written = 0;
    gguf_weights_of(file, before);
    for (size_t i = 0; (to = tq_dialect_at(i)); i++) {
      if (strcmp(to->carrier, "hf") == 0) continue;
      const char *path = temporary_path("pair.gguf");
      tq_buffer notes = {0};
      tq_error problem = {0};
      remove(path);
      tq_status status = tq_gguf_write(file, path, &(tq_write_options){.type = to}, &notes, &problem);
      tq_buffer_free(&notes);
      if (status) {
        ck_assert_int_eq(status, TQ_ERROR_REFUSED);
        ck_assert_msg(strstr(problem.message, "tensor blk.0."), "%s", problem.message);
        ck_assert_int_eq(tq_path_examine(path), TQ_PATH_MISSING);
        continue;
      }
      tq_open_options again = {0};
      if (to->gguf_type != TQ_NO_GGUF_TYPE) again = gguf_options_for(to);
      tq_file *copy = NULL;
      tq_checkpoint *checkpoint = gguf_opened_as(path, &again);
      ck_ok(tq_import(checkpoint, temporary_path("pair.tq"), 0, 0, NULL, error));
      tq_checkpoint_close(checkpoint);
      ck_ok(tq_file_open(temporary_path("pair.tq"), TQ_VERIFY_FULL, &copy, error));
      gguf_weights_of(copy, after);
      ck_assert_msg(memcmp(before, after, 16) == 0, "%s to %s changes the weights", from->name, to->name);
      tq_file_close(copy);
      written++;
    }
    ck_assert_uint_ge(written, 2); /* itself and F32 */
    tq_file_close(file);
  }
}
END_TEST

/* Two matrices in two dialects, so that there is none to go back to. */
static tq_file *mixed(const char *first, const char *second, const float *scales, size_t count) {
  const tq_dialect *dialects[] = {tq_dialect_find(first), tq_dialect_find(second)};
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "qwen3");
  gguf_ternary(&builder, "blk.0.ffn_up.weight", dialects[0]->gguf_type, dialects[0], 64, 256, 1, scales, count);
  gguf_ternary(&builder, "blk.0.ffn_gate.weight", dialects[1]->gguf_type, dialects[1], 64, 256, 2, scales, count);
  const char *path = temporary_path("mixed.gguf");
  gguf_end_file(&builder, path);
  return gguf_imported(path);
}

/* What cannot or is not to be restored byte for byte goes back in the dialect that all of it came in. */
START_TEST(it_goes_back_as_it_came) {
  const tq_dialect *from = tq_dialect_at((size_t)_i);
  if (!gguf_is_packed(from)) return;
  char line[96];
  tq_open_options options = gguf_options_for(from);
  tq_file *file = gguf_imported_as(gguf_opened_as(gguf_write_model("model.gguf", from, half, 1), &options), 0);
  result made = {0};
  const char *path = temporary_path("written.gguf");
  ck_ok(tq_gguf_write(file, path, &(tq_write_options){0}, &made.notes, error));
  ck_ok(tq_buffer_append(&made.notes, "", 1, error));
  made.checkpoint = gguf_opened_as(path, &options);
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.up")->type_name, from->name);
  snprintf(line, sizeof line, "ternary tensors are written as %s, as they came; --type chooses another\n", from->name);
  ck_assert(says(&made, line));
  result_free(&made);
  tq_file_close(file);
}
END_TEST

/* A scale beside the weight is part of how it came, where it may be written. */
START_TEST(scales_go_back_as_they_came) {
  static const float ones[] = {1.0f};
  static const struct {
    const char *came, *written;
  } rows[] = {{"TQ2_0", "TQ2_0+scale"}, {"Q2_0", "Q2_0+scale"}, {"PQ2_0", "I2_S"}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    tq_open_options options = gguf_options_for(tq_dialect_find(rows[i].came));
    const char *path = gguf_write_scaled("model.gguf", tq_dialect_find(rows[i].came), ones, 1);
    tq_file *file = gguf_imported_as(gguf_opened_as(path, &options), 0);
    result made = written_as(file, NULL);
    ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.q")->type_name, rows[i].written);
    result_free(&made);
    tq_file_close(file);
  }
}
END_TEST

/* Plain floats that came in a GGUF stay the same floats. */
START_TEST(floats_go_back_as_they_came) {
  tq_file *file = gguf_imported(gguf_write_model("model.gguf", tq_dialect_find("F16"), half, 1));
  ck_assert_str_eq(gguf_tensor_in(file, "layers.0.up")->source_type, "F16");
  ck_assert(tq_tensor_is_ternary(gguf_tensor_in(file, "layers.0.up")));
  result made = written_as(file, NULL);
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.up")->type_name, "F16");
  ck_assert(says(&made, "ternary tensors are written as F16, as they came"));
  result_free(&made);
  tq_file_close(file);
}
END_TEST

START_TEST(the_smallest_is_chosen) {
  tq_file *file = mixed("TQ2_0", "IQ2_BN", half, 1);
  result made = written_as(file, NULL);
  const tq_source_tensor *up = tensor_of_role(made.checkpoint, "layers.0.up");
  ck_assert(strcmp(up->type_name, "TQ1_0") == 0 || strcmp(up->type_name, "IQ1_BN") == 0);
  char line[128];
  snprintf(line, sizeof line, "ternary tensors are written as %s (", up->type_name);
  ck_assert(says(&made, line));
  ck_assert(says(&made, "the smallest type that is exact for all 2 of them; --type chooses another\n"));
  result_free(&made);
  tq_file_close(file);
  /* Groups of 64 leave only Q2_0 and plain floats; an f32 scale for all leaves I2_S. */
  file = mixed("Q2_0", "TQ2_0", several, 4);
  made = written_as(file, NULL);
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.up")->type_name, "Q2_0");
  result_free(&made);
  tq_file_close(file);
  file = mixed("IQ2_BN", "IQ2_BN_R4", fine, 1);
  made = written_as(file, NULL);
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.up")->type_name, "I2_S");
  ck_assert_uint_eq(tq_metadata_u64(made.checkpoint->metadata, "general.file_type", 999), 40);
  result_free(&made);
  tq_file_close(file);
}
END_TEST

START_TEST(a_scale_becomes_a_tensor) {
  static const char *const names[] = {"TQ1_0", "TQ2_0", "Q2_0"};
  tq_file *file = gguf_imported(gguf_write_model("model.gguf", tq_dialect_find("I2_S"), fine, 1)), *again;
  uint8_t before[16], after[16];
  gguf_weights_of(file, before);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char form[32];
    snprintf(form, sizeof form, "%s+scale", names[i]);
    result made = written_as(file, tq_dialect_find(names[i]));
    ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.q")->type_name, form);
    ck_assert_float_eq(tq_load_f32(tensor_of_role(made.checkpoint, "layers.0.q")->form.scale), 0.3f);
    ck_assert(says(&made, "7 tensors have a scale that "));
    ck_assert(says(&made, "PRINTS GARBAGE"));
    size_t size;
    uint8_t *bytes = read_file(temporary_path("written.gguf"), &size);
    ck_assert_uint_eq(tq_load_u64(bytes + 8), 11 + 7);
    free(bytes);
    result_free(&made);
    tq_open_options options = gguf_options_for(tq_dialect_find(names[i]));
    again = gguf_imported_as(gguf_opened_as(temporary_path("written.gguf"), &options), 0);
    gguf_weights_of(again, after);
    ck_assert_mem_eq(before, after, 16);
    tq_file_close(again);
  }
  ck_not_written(file, tq_dialect_find("F16"), TQ_ERROR_REFUSED, "tensor blk.0.attn_q.weight: F16 cannot hold it");
  ck_not_written(file, tq_dialect_find("PQ2_0"), TQ_ERROR_REFUSED, "tensor blk.0.attn_q.weight: PQ2_0 cannot hold it");
  ck_not_written(file, tq_dialect_find("PQ2_0"), TQ_ERROR_REFUSED,
                 "F16 (TQ1_0, TQ2_0 and Q2_0 hold it with a tensor .scale)");
  ck_not_written(file, tq_dialect_find("bitlinear"), TQ_ERROR_USAGE, "bitlinear is no type of GGUF files");
  tq_file_close(file);
}
END_TEST

/* A scale that was a tensor is the weight's, in whatever it is written. */
START_TEST(a_tensor_becomes_a_scale) {
  static const char *const names[] = {"I2_S", "IQ2_BN", "F32"};
  static const float ones[] = {1.0f};
  tq_file *file = gguf_imported(gguf_write_scaled("model.gguf", tq_dialect_find("TQ2_0"), ones, 1)), *again;
  uint8_t before[16], after[16];
  gguf_weights_of(file, before);
  for (size_t i = 0; i < 3; i++) {
    result made = written_as(file, tq_dialect_find(names[i]));
    ck_assert_uint_eq(made.checkpoint->tensor_count, 11);
    result_free(&made);
    again = gguf_imported(temporary_path("written.gguf"));
    gguf_weights_of(again, after);
    ck_assert_mem_eq(before, after, 16);
    tq_file_close(again);
  }
  tq_file_close(file);
}
END_TEST

/* One plain, one scaled: only the tensor that needs it gets the other form. */
START_TEST(only_where_it_is_needed) {
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "qwen3");
  gguf_ternary(&builder, "blk.0.attn_q.weight", 36, tq_dialect_find("I2_S"), 4, 256, 1, half, 1);
  gguf_ternary(&builder, "blk.0.attn_v.weight", 36, tq_dialect_find("I2_S"), 4, 256, 2, fine, 1);
  const char *path = temporary_path("model.gguf");
  gguf_end_file(&builder, path);
  tq_file *file = gguf_imported(path);
  result made = written_as(file, tq_dialect_find("TQ2_0"));
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.q")->type_name, "TQ2_0");
  ck_assert_str_eq(tensor_of_role(made.checkpoint, "layers.0.v")->type_name, "TQ2_0+scale");
  ck_assert(says(&made, "1 tensors have a scale that TQ2_0 cannot hold"));
  result_free(&made);
  tq_file_close(file);
  /* There is no such tensor for the embedding. */
  gguf_key_string(&builder, "general.architecture", "qwen3");
  gguf_ternary(&builder, "token_embd.weight", 36, tq_dialect_find("I2_S"), 4, 256, 2, fine, 1);
  gguf_end_file(&builder, path);
  file = gguf_imported(path);
  ck_not_written(file, tq_dialect_find("TQ2_0"), TQ_ERROR_REFUSED, "tensor token_embd.weight: TQ2_0 cannot hold it");
  tq_file_close(file);
}
END_TEST

/* A scale that is a tensor of its own already leaves no room for another. */
START_TEST(two_scales_refused) {
  gguf_builder builder = {0};
  gguf_key_string(&builder, "general.architecture", "qwen3");
  gguf_ternary(&builder, "blk.0.attn_v.weight", 36, tq_dialect_find("I2_S"), 4, 256, 2, fine, 1);
  gguf_add_scale(&builder, "blk.0.attn_v.scale", 2.0f);
  const char *path = temporary_path("model.gguf");
  gguf_end_file(&builder, path);
  tq_file *file = gguf_imported(path);
  ck_not_written(file, tq_dialect_find("TQ2_0"), TQ_ERROR_REFUSED, "tensor blk.0.attn_v.weight: TQ2_0 cannot hold it");
  result made = written_as(file, tq_dialect_find("IQ2_BN"));
  ck_assert_uint_eq(made.checkpoint->tensor_count, 2);
  result_free(&made);
  tq_file_close(file);
}
END_TEST

/* Only what is refused for its scale alone is held with another scale. */
START_TEST(no_way_out_where_there_is_none) {
  tq_file *file = gguf_imported(gguf_write_model("model.gguf", tq_dialect_find("Q2_0"), several, 4));
  tq_buffer notes = {0};
  tq_error refused = {0};
  tq_write_options options = {.type = tq_dialect_find("PQ2_0")};
  ck_assert_int_eq(tq_gguf_write(file, temporary_path("none.gguf"), &options, &notes, &refused), TQ_ERROR_REFUSED);
  ck_assert_msg(!strstr(refused.message, ".scale"), "%s", refused.message);
  tq_buffer_free(&notes);
  tq_file_close(file);
}
END_TEST

START_TEST(fours_refused) {
  static const uint64_t shape[2] = {256, 8};
  static const char *const refusing[] = {"TQ1_0", "PTQ1_0", "IQ1_BN"};
  size_t size, fours = 0;
  int8_t *trits = gguf_trits(8 * 256, 6, true);
  char reason[64];
  uint8_t *bytes = gguf_pack(tq_dialect_find("Q2_0"), 8, 256, trits, half, 1, &size);
  for (size_t i = 0; i < 8 * 256; i++) fours += trits[i] == 2;
  const char *path = temporary_path("fours.gguf");
  gguf_builder builder = {0};
  gguf_tensor(&builder, "x", 42, 2, shape, bytes, size);
  gguf_end_file(&builder, path);
  tq_file *file = gguf_imported_as(gguf_opened_as(path, &(tq_open_options){.q2_group = 64}), 0);
  snprintf(reason, sizeof reason, "%zu of its weights are +2", fours);
  for (size_t i = 0; i < 3; i++) {
    ck_not_written(file, tq_dialect_find(refusing[i]), TQ_ERROR_REFUSED, "tensor x: ");
    ck_not_written(file, tq_dialect_find(refusing[i]), TQ_ERROR_REFUSED, reason);
  }
  result made = written_as(file, NULL);
  ck_assert(made.checkpoint->tensors[0].form.dialect->four_valued);
  result_free(&made);
  tq_file_close(file);
  free(bytes);
  free(trits);
}
END_TEST

START_TEST(file_type_follows_the_types) {
  gguf_builder builder = {0};
  gguf_ternary_keys(&builder);
  gguf_key_u32(&builder, "general.file_type", 37);
  gguf_key_u32(&builder, "prism.hadamard.version", 1);
  gguf_ternary_tensors(&builder, tq_dialect_find("TQ2_0"), half, 1);
  const char *path = temporary_path("model.gguf");
  gguf_end_file(&builder, path);
  tq_file *file = gguf_imported(path);
  static const struct {
    const char *type;
    uint64_t number;
  } rows[] = {{"TQ2_0", 37}, {"TQ1_0", 36}, {"Q2_0", 41}, {"F16", 1}, {"BF16", 32}, {"F32", 0}, {"IQ2_BN_R4", 337}};
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    result made = written_as(file, tq_dialect_find(rows[i].type));
    tq_value value;
    ck_assert_uint_eq(tq_metadata_u64(made.checkpoint->metadata, "general.file_type", 999), rows[i].number);
    ck_assert(tq_metadata_find(made.checkpoint->metadata, "prism.hadamard.version", &value));
    ck_assert(!tq_metadata_find(made.checkpoint->metadata, "tq.activations", &value));
    bool packed = !tq_dialect_find(rows[i].type)->is_unpacked;
    ck_assert_msg(tq_metadata_find(made.checkpoint->metadata, "general.quantization_version", &value) == packed, "%s",
                  rows[i].type);
    result_free(&made);
  }
  tq_file_close(file);
}
END_TEST

/* ---- faults ---- */

static tq_status write_once(const void *file, tq_error *error) {
  tq_buffer notes = {0};
  const char *path = temporary_path("faults-out.gguf");
  tq_status status = tq_gguf_write(file, path, &(tq_write_options){.type = tq_dialect_find("TQ2_0")}, &notes, error);
  fail_no_operation();
  tq_buffer_free(&notes);
  return status;
}

START_TEST(writing_faults) {
  tq_file *file = gguf_imported(gguf_write_model("model.gguf", tq_dialect_find("I2_S"), fine, 1));
  ck_assert_int_gt(check_every_fault(write_once, file), 30);
  tq_file_close(file);
}
END_TEST

int main(void) {
  enum { DIALECTS = 17 };
  Suite *suite = suite_create("gguf_export");
  TCase *writing = tcase_create("writing");
  tcase_set_timeout(writing, 120);
  tcase_add_loop_test(writing, every_pair, 0, DIALECTS);
  tcase_add_loop_test(writing, it_goes_back_as_it_came, 0, DIALECTS);
  tcase_add_test(writing, scales_go_back_as_they_came);
  tcase_add_test(writing, floats_go_back_as_they_came);
  tcase_add_test(writing, the_smallest_is_chosen);
  tcase_add_test(writing, no_way_out_where_there_is_none);
  tcase_add_test(writing, a_scale_becomes_a_tensor);
  tcase_add_test(writing, a_tensor_becomes_a_scale);
  tcase_add_test(writing, only_where_it_is_needed);
  tcase_add_test(writing, two_scales_refused);
  tcase_add_test(writing, fours_refused);
  tcase_add_test(writing, file_type_follows_the_types);
  suite_add_tcase(suite, writing);
  TCase *faults = tcase_create("faults");
  tcase_set_timeout(faults, 120);
  tcase_add_test(faults, writing_faults);
  suite_add_tcase(suite, faults);
  return run_suite(suite);
}
