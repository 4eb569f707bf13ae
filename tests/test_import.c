/* Foreign checkpoints become .tq files: which parts a tensor gets, what is recorded beside the tensors, and that
 * neither the team nor the carrier matters. */
#include "base/bytes.h"
#include "formats/digests.h"
#include "formats/findings.h"
#include "formats/import.h"
#include "formats/source.h"
#include "tests/container_support.h"
#include "tests/source_builder.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a checkpoint of every kind of tensor ---- */

enum { KINDS = 8 };
static const struct {
  const char *role, *dialect;
  uint64_t rows, columns;
  uint32_t heads, granularity, group;
  bool twos, is_dirty;
} kinds[KINDS] = {
    {"layers.0.q", "I2_S", 512, 128, 4, TQ_PER_TENSOR, 0, false, false},
    {"layers.0.k", "TQ2_0", 2304, 512, 9, TQ_PER_ROW, 0, false, false},
    {"layers.0.v", "Q2_0", 96, 256, 0, TQ_PER_GROUP, 64, true, false},
    {"layers.0.o", "F16", 700, 1024, 0, TQ_PER_GROUP, 128, false, false},
    {"layers.0.gate", "bitlinear", 300, 130, 0, TQ_PER_TENSOR, 0, false, false},
    {"layers.0.up", "IQ2_BN_R4", 64, 192, 0, TQ_PER_ROW, 0, false, false},
    {"layers.0.down", "I2_S_ROWS", 64, 100, 0, TQ_PER_TENSOR, 0, false, true},
    {"head", "BF16", 800, 700, 0, TQ_PER_TENSOR, 0, false, true}, /* almost */
};

static source_matrix kind_matrix(size_t i) {
  return source_matrix_make(tq_dialect_find(kinds[i].dialect), kinds[i].rows, kinds[i].columns, kinds[i].heads,
                            kinds[i].granularity, kinds[i].group, kinds[i].twos, 40 + i);
}

static void add_kind(tq_checkpoint *checkpoint, size_t i) {
  source_matrix matrix = kind_matrix(i);
  size_t size;
  uint8_t *bytes = source_matrix_bytes(&matrix, &size);
  tq_form form = {.dialect = matrix.dialect};
  if (tq_form_has_outer_scale(&form)) {
    form.scale_encoding = matrix.encoding;
    form.scale_direction = matrix.direction;
    memcpy(form.scale, matrix.scales, 4);
  }
  if (kinds[i].is_dirty) tq_store_u16(bytes + size - 8, 0x3e99);
  source_add(checkpoint, kinds[i].role, &form, &matrix, source_input(checkpoint, bytes, size, false));
  free(bytes);
  source_matrix_free(&matrix);
}

static void add_norm(tq_checkpoint *checkpoint) {
  uint8_t ones[4 * 64];
  for (size_t i = 0; i < 64; i++) tq_store_f32(ones + 4 * i, 1);
  tq_source_tensor tensor = {.encoding = TQ_F32,
                             .dimensions = 1,
                             .shape = {64},
                             .size = sizeof ones,
                             .input = source_input(checkpoint, ones, sizeof ones, false)};
  tensor.name = tq_copy_string("norm", 4, NULL);
  tensor.role = tq_copy_string("final_norm", 10, NULL);
  tensor.type_name = tq_copy_string("F32", 3, NULL);
  ck_ok(tq_checkpoint_add_tensor(checkpoint, &tensor, error));
}

static tq_checkpoint *every_kind(void) {
  tq_checkpoint *checkpoint = source_checkpoint();
  for (size_t i = 0; i < KINDS; i++) add_kind(checkpoint, i);
  add_norm(checkpoint);
  ck_ok(tq_checkpoint_reading(checkpoint, error, "tensor x is read as y, for z"));
  return checkpoint;
}

static tq_file *imported(tq_checkpoint *checkpoint, tq_team *team, uint32_t code, const char *name) {
  tq_file *file;
  ck_ok(tq_import_by(team, checkpoint, temporary_path(name), code, 0, NULL, error));
  ck_ok(tq_file_open(temporary_path(name), TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  return file;
}

/* How often the lines have the text. */
static size_t times_told(const void *lines, size_t size, const char *text) {
  char *copy = calloc(1, size + 1);
  size_t times = 0;
  if (size) memcpy(copy, lines, size);
  for (const char *at = copy; (at = strstr(at, text)); at++) times++;
  free(copy);
  return times;
}

static size_t times_in(const tq_file *file, const char *text) {
  tq_section section;
  if (!tq_file_find_section(file, "readings", &section)) return 0;
  ck_assert(!section.required);
  return times_told(section.data, (size_t)section.size, text);
}

static size_t times_read(const tq_checkpoint *checkpoint, const char *text) {
  return times_told(checkpoint->readings.data, checkpoint->readings.size, text);
}

static const char almost_told[] = "tensor head.weight is almost ternary: 1 of 560000 weights are off by up to ";

static void check_kind(const tq_tensor *tensor, size_t i, uint32_t code) {
  source_matrix matrix = kind_matrix(i);
  uint8_t content[16];
  bool is_patched = i == 6;
  uint32_t granularity = matrix.granularity;
  ck_assert_str_eq(tensor->role, kinds[i].role);
  ck_assert_str_eq(tensor->source_type, kinds[i].dialect);
  ck_assert_uint_eq(tensor->source_row_order, kinds[i].heads);
  ck_assert_uint_eq(tensor->part_count, is_patched ? 3 : 2);
  ck_assert_uint_eq(tensor->parts[0].encoding, kinds[i].twos ? TQ_QUATERNARY_2BIT : code);
  ck_assert_uint_eq(tensor->parts[1].kind, TQ_PART_SCALES);
  ck_assert_uint_eq(tensor->parts[1].granularity, granularity);
  ck_assert_uint_eq(tensor->parts[1].group, matrix.group);
  ck_assert_uint_eq(tensor->parts[1].encoding, matrix.encoding);
  ck_assert_uint_eq(tensor->parts[1].direction, matrix.direction);
  if (is_patched) ck_assert_uint_eq(tensor->parts[2].kind, TQ_PART_PATCH);
  source_matrix_digest(&matrix, content);
  ck_assert_mem_eq(content, tensor->content_digest, sizeof content);
  source_matrix_free(&matrix);
}

START_TEST(tensors_get_their_parts) {
  static const uint32_t codes[] = {0, TQ_TERNARY_BASE3, TQ_TERNARY_2BIT};
  tq_checkpoint *checkpoint = every_kind();
  tq_file *file = imported(checkpoint, NULL, codes[_i], "kinds.tq");
  for (size_t i = 0; i + 1 < KINDS; i++)
    check_kind(tq_file_tensor(file, i), i, _i == 2 ? TQ_TERNARY_2BIT : TQ_TERNARY_BASE3);
  const tq_tensor *almost = tq_file_tensor(file, KINDS - 1), *norm = tq_file_tensor(file, KINDS);
  ck_assert_uint_eq(almost->parts[0].encoding, TQ_BF16);
  ck_assert_uint_eq(norm->parts[0].encoding, TQ_F32);
  ck_assert_uint_eq(times_in(file, "tensor x is read as y, for z\n"), 1);
  ck_assert_uint_eq(times_in(file, almost_told), 1);
  ck_assert_uint_eq(times_in(file, "\n"), 2);
  ck_assert_uint_eq(checkpoint->notes.size, 0);
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(teams_give_the_same_file) {
  static const unsigned members[] = {1, 2, 5};
  tq_checkpoint *checkpoint = every_kind();
  tq_file_close(imported(checkpoint, NULL, 0, "alone.tq"));
  for (size_t i = 0; i < 3; i++) {
    tq_team *team;
    ck_ok(tq_team_create(members[i], &team, error));
    tq_file_close(imported(checkpoint, team, 0, "team.tq"));
    tq_team_destroy(team);
    ck_same_files(temporary_path("alone.tq"), temporary_path("team.tq"));
  }
  ck_ok(tq_import(checkpoint, temporary_path("own.tq"), 0, 0, NULL, error));
  ck_same_files(temporary_path("alone.tq"), temporary_path("own.tq"));
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Looking at a checkpoint gives the digests that taking it in would. */
START_TEST(digests_are_those_of_an_import) {
  tq_checkpoint *checkpoint = every_kind();
  tq_file *file = imported(checkpoint, NULL, 0, "digests.tq");
  tq_digest content[KINDS + 1], weights, function, tokenizer;
  tq_survey surveys[KINDS + 1];
  tq_file_info info;
  tq_file_describe(file, &info);
  ck_ok(tq_checkpoint_digests(checkpoint, content, surveys, &weights, &function, &tokenizer, NULL, error));
  ck_assert_mem_eq(weights.bytes, info.weights_digest, sizeof weights.bytes);
  for (size_t i = 0; i <= KINDS; i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    ck_assert_mem_eq(content[i].bytes, tensor->content_digest, sizeof content[i].bytes);
    ck_assert_mem_eq(surveys[i].counts, tensor->trit_counts, sizeof surveys[i].counts);
    ck_assert_int_eq(surveys[i].is_ternary, i + 1 < KINDS);
    ck_assert_int_eq(surveys[i].is_almost, i + 1 == KINDS);
  }
  ck_ok(tq_checkpoint_digests(checkpoint, NULL, NULL, &weights, &function, &tokenizer, NULL, error));
  ck_assert_mem_eq(weights.bytes, info.weights_digest, sizeof weights.bytes);
  ck_assert_uint_eq(times_read(checkpoint, almost_told), 1);
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* Looking at a checkpoint tells of it what taking it in does. */
START_TEST(digests_tell_what_was_found) {
  tq_checkpoint *checkpoint = every_kind();
  tq_digest weights, function, tokenizer;
  ck_ok(tq_checkpoint_digests(checkpoint, NULL, NULL, &weights, &function, &tokenizer, NULL, error));
  ck_assert_uint_eq(times_read(checkpoint, almost_told), 1);
  tq_file *file = imported(checkpoint, NULL, 0, "told.tq");
  ck_assert_uint_eq(times_in(file, almost_told), 1);
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- metadata ---- */

static void set_keys(tq_checkpoint *checkpoint, const char *architecture, const char *activations) {
  tq_metadata_builder builder = {0};
  ck_ok(tq_metadata_add_string(&builder, "general.architecture", architecture, strlen(architecture), error));
  if (activations) ck_ok(tq_metadata_add_string(&builder, "tq.activations", activations, strlen(activations), error));
  ck_ok(tq_checkpoint_set_metadata(checkpoint, &builder, error));
}

static const struct {
  const char *architecture, *given;
  bool trained_with_int8;
  size_t kinds[3]; /* KINDS: none */
  const char *expected;
} activation_rows[] = {
    {"llama", NULL, false, {0, 6, KINDS}, "int8-token"},  /* a scale for each tensor */
    {"llama", NULL, false, {0, 1, KINDS}, "int8-block"},  /* and one with rows */
    {"llama", NULL, true, {0, 1, KINDS}, "int8-token"},   /* says so */
    {"bitnet", NULL, false, {1, 2, KINDS}, "int8-token"}, /* is so */
    {"bitnet-25", NULL, false, {1, 2, KINDS}, "int8-token"}, {"bitnet-b1.58", NULL, false, {1, 2, 3}, "int8-token"},
    {"bitnets", NULL, false, {1, 2, KINDS}, "int8-block"},   {"bitnet", "float", false, {1, 2, KINDS}, "float"},
    {"llama", NULL, false, {KINDS, KINDS, KINDS}, ""},       {"llama", NULL, false, {7, KINDS, KINDS}, ""},
};

/* Floats with one scale fit every granularity that may be assumed: their activations are the same. */
START_TEST(activations_do_not_depend_on_what_is_assumed) {
  static const tq_assume assumed[] = {{0},
                                      {.is_given = true, .granularity = TQ_PER_TENSOR},
                                      {.is_given = true, .granularity = TQ_PER_ROW},
                                      {.is_given = true, .granularity = TQ_PER_GROUP, .group = 64},
                                      {.is_given = true, .is_float = true}};
  static const char *const roles[] = {"layers.0.q", "embedding"}, *const expected[] = {"int8-token", "int8-block"};
  for (size_t i = 0; i < 2 * sizeof assumed / sizeof *assumed; i++) {
    const tq_assume *assume = &assumed[i / 2];
    source_matrix matrix = source_matrix_make(tq_dialect_find("F16"), 64, 128, 0, TQ_PER_TENSOR, 0, false, 8);
    size_t size;
    uint8_t *bytes = source_matrix_bytes(&matrix, &size);
    tq_checkpoint *checkpoint = source_of(roles[i % 2], &matrix, bytes, size, false);
    tq_digest weights, function, tokenizer;
    tq_survey survey;
    checkpoint->assume = *assume;
    ck_ok(tq_checkpoint_digests(checkpoint, NULL, &survey, &weights, &function, &tokenizer, NULL, error));
    ck_assert_str_eq(tq_checkpoint_activations(checkpoint, &survey), assume->is_float ? "float" : expected[i % 2]);
    tq_checkpoint_close(checkpoint);
    source_matrix_free(&matrix);
    free(bytes);
  }
}
END_TEST

START_TEST(activations_are_recorded) {
  tq_checkpoint *checkpoint = source_checkpoint();
  set_keys(checkpoint, activation_rows[_i].architecture, activation_rows[_i].given);
  checkpoint->trained_with_int8 = activation_rows[_i].trained_with_int8;
  for (size_t i = 0; i < 3; i++) {
    if (activation_rows[_i].kinds[i] < KINDS) add_kind(checkpoint, activation_rows[_i].kinds[i]);
  }
  add_norm(checkpoint);
  tq_file *file = imported(checkpoint, NULL, 0, "activations.tq");
  tq_string found = tq_metadata_string(tq_file_metadata(file), "tq.activations");
  ck_assert_uint_eq(found.size, strlen(activation_rows[_i].expected));
  if (found.size) ck_assert_mem_eq(found.data, activation_rows[_i].expected, found.size);
  tq_section section;
  ck_assert(tq_file_find_section(file, "metadata", &section));
  ck_assert_uint_ge(section.size, 8 + checkpoint->metadata_size);
  ck_assert_mem_eq(section.data + 8, checkpoint->metadata_bytes, checkpoint->metadata_size);
  ck_assert(!tq_metadata_bool(tq_file_metadata(file), "tq.latent", false));
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static void declare_latent(tq_checkpoint *checkpoint, bool latent) {
  tq_metadata_builder builder = {0};
  ck_ok(tq_metadata_add_string(&builder, "general.architecture", "bitnet", 6, error));
  ck_ok(tq_metadata_add_bool(&builder, "tq.latent", latent, error));
  ck_ok(tq_checkpoint_set_metadata(checkpoint, &builder, error));
}

/* Latent weights are quantized anew whenever they are used, with another scale, ternary or not. */
START_TEST(declared_latent_weights_stay_floats) {
  tq_checkpoint *checkpoint = source_checkpoint();
  tq_value value;
  add_kind(checkpoint, 3);
  declare_latent(checkpoint, true);
  tq_file *file = imported(checkpoint, NULL, 0, "declared.tq");
  ck_assert_uint_eq(tq_file_tensor(file, 0)->parts[0].encoding, TQ_F16);
  ck_assert(tq_metadata_bool(tq_file_metadata(file), "tq.latent", false));
  ck_assert(!tq_metadata_find(tq_file_metadata(file), "tq.activations", &value));
  ck_assert_uint_eq(times_in(file, "the linear layers are latent weights: tq.latent says so, "), 1);
  tq_file_close(file);
  /* Who insists that they are ternary gets trits, and the mark. */
  checkpoint->assume = (tq_assume){.is_given = true, .granularity = TQ_PER_GROUP, .group = 128};
  file = imported(checkpoint, NULL, 0, "declared.tq");
  ck_assert_uint_eq(tq_file_tensor(file, 0)->parts[0].encoding, TQ_TERNARY_BASE3);
  ck_assert(tq_metadata_bool(tq_file_metadata(file), "tq.latent", false));
  tq_file_close(file);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* A BitNet of floats that are not ternary is the one that was trained, unless the user says that it is of floats. */
START_TEST(latent_weights_are_recorded) {
  static const struct {
    const char *architecture, *role, *beside;
    bool is_float, is_denied, expected;
  } rows[] = {
      {"bitnet", "layers.0.q", NULL, false, false, true}, {"llama", "layers.0.q", NULL, false, false, false},
      {"bitnet", "embedding", NULL, false, false, false}, {"bitnet", "layers.0.v", "layers.0.q", false, false, false},
      {"bitnet", "layers.0.q", NULL, false, true, false}, {"bitnet", "layers.0.q", NULL, true, false, false}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    tq_checkpoint *checkpoint = source_checkpoint();
    set_keys(checkpoint, rows[i].architecture, NULL);
    checkpoint->assume = (tq_assume){.is_given = rows[i].is_float, .is_float = rows[i].is_float};
    source_matrix matrix = source_matrix_make(tq_dialect_find("F32"), 64, 64, 0, TQ_PER_ROW, 0, false, 5);
    uint8_t noise[64 * 64 * 4];
    uint64_t state = 6;
    for (size_t k = 0; k < 64 * 64; k++) tq_store_f32(noise + 4 * k, random_float(&state));
    source_add(checkpoint, rows[i].role, &(tq_form){.dialect = matrix.dialect}, &matrix,
               source_input(checkpoint, noise, sizeof noise, false));
    if (rows[i].beside) add_kind(checkpoint, 0);
    if (rows[i].is_denied) declare_latent(checkpoint, false);
    tq_file *file = imported(checkpoint, NULL, 0, "latent.tq");
    ck_assert_uint_eq(times_in(file, "the linear layers are latent weights: architecture bitnet computes with"),
                      rows[i].expected);
    ck_assert_int_eq(tq_metadata_bool(tq_file_metadata(file), "tq.latent", false), rows[i].expected);
    tq_file_close(file);
    source_matrix_free(&matrix);
    tq_checkpoint_close(checkpoint);
  }
}
END_TEST

/* ---- refusals leave nothing behind ---- */

START_TEST(refusals_leave_nothing) {
  const char *path = temporary_path("refused.tq");
  tq_checkpoint *checkpoint = every_kind();
  checkpoint->assume = (tq_assume){.is_given = true, .granularity = TQ_PER_TENSOR};
  ck_fails(tq_import(checkpoint, path, 0, 0, NULL, error), TQ_ERROR_REFUSED, "tensor layers.0.o.weight: row ");
  ck_assert_int_eq(tq_path_examine(path), TQ_PATH_MISSING);
  tq_checkpoint_close(checkpoint);
}
END_TEST

static tq_status attempt(const void *context, tq_error *error) {
  tq_checkpoint *checkpoint = *(tq_checkpoint *const *)context;
  return tq_import_by(NULL, checkpoint, temporary_path("fault.tq"), 0, 0, NULL, error);
}

START_TEST(faults) {
  tq_checkpoint *checkpoint = source_checkpoint();
  set_keys(checkpoint, "bitnet", NULL);
  static const size_t some[] = {2, 5, 6};
  for (size_t i = 0; i < 3; i++) add_kind(checkpoint, some[i]);
  add_norm(checkpoint);
  ck_ok(tq_checkpoint_reading(checkpoint, error, "a reading"));
  ck_assert_int_gt(check_every_fault(attempt, &checkpoint), 50);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* ---- files of the peers ---- */

static const struct {
  const char *source, *files[7];
} golden[] = {
    {"tensor-1",
     {"tensor-1.f16", "tensor-1.TQ1_0", "tensor-1.TQ2_0", "tensor-1.Q2_0", "tensor-1.iq1_bn", "tensor-1.iq2_bn",
      "tensor-1.iq2_bn_r4"}},
    {"row-2", {"row-2.f16", "row-2.TQ2_0"}},
    {"g64-3", {"g64-3.f16", "g64-3.Q2_0"}},
    {"bitnet-7", {"bitnet-7.f16", "bitnet-7.TQ2_0"}},
};

static tq_file *taken_in(const char *path, const char *name) {
  tq_checkpoint *checkpoint;
  ck_ok(tq_checkpoint_open(path, NULL, &checkpoint, error));
  ck_ok(tq_import(checkpoint, temporary_path(name), 0, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  tq_file *file;
  ck_ok(tq_file_open(temporary_path(name), TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  return file;
}

/* All files of one model have one weights digest, and each comes back byte for byte. */
START_TEST(golden_files) {
  tq_file_info first = {0}, info;
  for (size_t i = 0; i < 7 && golden[_i].files[i]; i++) {
    char relative[128];
    snprintf(relative, sizeof relative, "golden/%s.gguf", golden[_i].files[i]);
    const char *path = shared_path(relative), *back = temporary_path("back.gguf");
    if (!path) return;
    tq_file *file = taken_in(path, "golden.tq");
    tq_file_describe(file, &info);
    if (i == 0) first = info;
    ck_assert_msg(memcmp(first.weights_digest, info.weights_digest, 16) == 0, "%s has other weights", relative);
    ck_assert_mem_eq(first.function_digest, info.function_digest, 16);
    ck_ok(tq_source_restore(file, back, NULL, error));
    ck_same_files(path, back);
    remove(back);
    tq_file_close(file);
  }
}
END_TEST

/* ---- archives ---- */

static void pack(const char *path, const char *archive_path, const char *name, bool compressed) {
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  struct archive *archive = archive_write_new();
  struct archive_entry *entry = archive_entry_new();
  archive_write_set_format_ustar(archive);
  if (compressed) archive_write_add_filter_gzip(archive);
  ck_assert_int_eq(archive_write_open_filename(archive, archive_path), ARCHIVE_OK);
  archive_entry_set_pathname(entry, name);
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_size(entry, (la_int64_t)size);
  ck_assert_int_eq(archive_write_header(archive, entry), ARCHIVE_OK);
  ck_assert_int_eq(archive_write_data(archive, bytes, size), (la_ssize_t)size);
  archive_entry_free(entry);
  archive_write_free(archive);
  free(bytes);
}

/* What is held in memory where the input does not seek is the same as what is read twice where it does. */
START_TEST(archives_give_the_same) {
  static const char *const names[] = {"golden/row-2.f16.gguf", "golden/tensor-1.iq2_bn_r4.gguf"};
  const char *path = shared_path(names[_i / 2]), *packed = temporary_path(_i % 2 ? "packed.tar.gz" : "packed.tar");
  if (!path) return;
  pack(path, packed, "model.gguf", _i % 2);
  tq_checkpoint *checkpoint;
  ck_ok(tq_checkpoint_open(packed, NULL, &checkpoint, error));
  ck_assert_int_eq(tq_input_seeks(checkpoint->inputs[0]), _i % 2 == 0);
  tq_checkpoint_close(checkpoint);
  tq_file *plain = taken_in(path, "plain.tq"), *file = taken_in(packed, "packed.tq");
  ck_assert_uint_eq(tq_file_tensor_count(plain), tq_file_tensor_count(file));
  for (size_t k = 0; k < tq_file_tensor_count(plain); k++)
    ck_assert_mem_eq(tq_file_tensor(plain, k)->hash, tq_file_tensor(file, k)->hash, 32);
  tq_file_close(plain);
  tq_file_close(file);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("import");
  TCase *tests = tcase_create("import");
  tcase_set_timeout(tests, 120);
  tcase_add_loop_test(tests, tensors_get_their_parts, 0, 3);
  tcase_add_test(tests, teams_give_the_same_file);
  tcase_add_test(tests, digests_are_those_of_an_import);
  tcase_add_test(tests, digests_tell_what_was_found);
  tcase_add_loop_test(tests, activations_are_recorded, 0, sizeof activation_rows / sizeof *activation_rows);
  tcase_add_test(tests, activations_do_not_depend_on_what_is_assumed);
  tcase_add_test(tests, declared_latent_weights_stay_floats);
  tcase_add_test(tests, latent_weights_are_recorded);
  tcase_add_test(tests, refusals_leave_nothing);
  tcase_add_test(tests, faults);
  tcase_add_loop_test(tests, golden_files, 0, sizeof golden / sizeof *golden);
  tcase_add_loop_test(tests, archives_give_the_same, 0, 4);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
