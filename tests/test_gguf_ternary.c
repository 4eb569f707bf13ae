/* Ternary types in GGUF: every file comes back byte for byte, and the peers' files of one model have one weights
 * digest. */
#include "base/bytes.h"
#include "formats/gguf/gguf.h"
#include "tests/gguf_support.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const float one[] = {1.0f}, half[] = {0.5f}, several[] = {0.5f, -0.25f, 2.0f, 0.0078125f};

/* ---- the peers' own files ---- */

static const struct golden {
  const char *model, *file, *form; /* form NULL: plain floats, as the model's source */
} golden[] = {
    {"bitnet-7", "f16", NULL},
    {"bitnet-7", "TQ2_0", "TQ2_0"},
    {"g64-3", "f16", NULL},
    {"g64-3", "Q2_0", "Q2_0"},
    {"row-2", "f16", NULL},
    {"row-2", "TQ2_0", "TQ2_0"},
    {"tensor-1", "f16", NULL},
    {"tensor-1", "Q2_0", "Q2_0"},
    {"tensor-1", "TQ1_0", "TQ1_0"},
    {"tensor-1", "TQ2_0", "TQ2_0"},
    {"tensor-1", "iq1_bn", "IQ1_BN"},
    {"tensor-1", "iq2_bn", "IQ2_BN"},
    {"tensor-1", "iq2_bn_r4", "IQ2_BN_R4"},
};
enum { GOLDEN = sizeof golden / sizeof golden[0] };

static const char *golden_path(size_t index) {
  char relative[64];
  snprintf(relative, sizeof relative, "golden/%s.%s.gguf", golden[index].model, golden[index].file);
  return shared_path(relative);
}

START_TEST(golden_opens) {
  const char *path = golden_path((size_t)_i);
  if (!path) return;
  const struct golden *row = &golden[_i];
  tq_checkpoint *checkpoint = gguf_opened(path);
  const tq_source_tensor *q = tensor_of_role(checkpoint, "layers.0.q");
  ck_assert_uint_eq(q->adjacent_heads, strcmp(row->model, "bitnet-7") ? 4 : 0);
  ck_assert_str_eq(q->type_name, row->form ? row->form : "F16");
  ck_assert(row->form ? q->form.dialect == tq_dialect_find(row->form) : !q->form.dialect);
  if (row->form && strcmp(row->form, "Q2_0") == 0) {
    ck_assert(gguf_reads(checkpoint,
                         "type 42 is Q2_0 with groups of 64: offsets and sizes of all 7 tensors fit blocks of 18 "
                         "bytes for 64 weights, those of 34 bytes for 128 fit none\n"));
  } else {
    ck_assert_uint_eq(checkpoint->readings.size, 0);
  }
  tq_checkpoint_close(checkpoint);
}
END_TEST

START_TEST(golden_comes_back) {
  const char *path = golden_path((size_t)_i);
  if (path) ck_gguf_comes_back(path, NULL);
}
END_TEST

START_TEST(other_shared_files_come_back) {
  static const char *const files[] = {"models/stories260K.gguf", "tokenizers/ggml-vocab-gpt-2.gguf",
                                      "tokenizers/ggml-vocab-llama-spm.gguf"};
  const char *path = shared_path(files[_i]);
  if (path) ck_gguf_comes_back(path, NULL);
}
END_TEST

/* All files made from one source model have one weights digest. */
START_TEST(golden_weights_are_one) {
  uint8_t first[16] = {0}, digest[16];
  for (size_t i = 0; i < GOLDEN; i++) {
    const char *path = golden_path(i);
    if (!path) return;
    tq_file *file = gguf_imported(path);
    gguf_weights_of(file, digest);
    if (!golden[i].form) memcpy(first, digest, 16); /* the source stands first */
    ck_assert_mem_eq(first, digest, 16);
    tq_file_close(file);
  }
}
END_TEST

/* What we write from the F16 source is, byte for byte, what the peer's own program wrote from it. */
START_TEST(golden_is_written_as_the_peer_does) {
  const struct golden *row = &golden[_i];
  char relative[64];
  if (!row->form) return;
  snprintf(relative, sizeof relative, "golden/%s.f16.gguf", row->model);
  const char *path = shared_path(relative), *peer_path = golden_path((size_t)_i);
  if (!path || !peer_path) return;
  tq_file *file = gguf_imported(path);
  const char *written_path = temporary_path("written.gguf");
  tq_buffer notes = {0};
  tq_write_options options = {.type = tq_dialect_find(row->form)};
  ck_ok(tq_gguf_write(file, written_path, &options, &notes, error));
  ck_same_files(written_path, peer_path);
  tq_buffer_free(&notes);
  tq_file_close(file);
}
END_TEST

/* ---- files that no tidy writer makes ---- */

START_TEST(every_dialect_comes_back) {
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  if (!gguf_is_packed(dialect)) return;
  tq_open_options options = gguf_options_for(dialect);
  ck_gguf_comes_back(gguf_write_model("model.gguf", dialect, several, 4), &options);
  tq_checkpoint *checkpoint = gguf_opened_as(temporary_path("model.gguf"), &options);
  ck_assert_str_eq(tensor_of_role(checkpoint, "layers.0.down")->type_name, dialect->name);
  tq_checkpoint_close(checkpoint);
}
END_TEST

/* One matrix of bytes as they are given, in a file without an architecture. */
static const char *write_bytes(const char *name, uint32_t type, uint64_t rows, uint64_t columns, const uint8_t *bytes,
                               size_t size) {
  uint64_t shape[2] = {columns, rows};
  gguf_builder builder = {0};
  gguf_tensor(&builder, "x", type, 2, shape, bytes, size);
  const char *path = temporary_path(name);
  gguf_end_file(&builder, path);
  return path;
}

/* Packs a matrix, lets `spoil` change its bytes, and wants the file back. */
static void ck_spoilt_comes_back(const tq_dialect *dialect, const int8_t *trits, const float *scales, size_t count,
                                 void (*spoil)(uint8_t *bytes, size_t size)) {
  size_t size;
  uint8_t *bytes = gguf_pack(dialect, 8, 256, trits, scales, count, &size);
  tq_open_options options = gguf_options_for(dialect);
  if (spoil) spoil(bytes, size);
  ck_gguf_comes_back(write_bytes("spoilt.gguf", dialect->gguf_type, 8, 256, bytes, size), &options);
  free(bytes);
}

/* Matrices that are less than a panel of 16 rows, that, and more. */
START_TEST(every_height_comes_back) {
  static const uint64_t heights[] = {1, 4, 15, 16, 17, 32, 40};
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  char reason[160];
  if (!gguf_is_packed(dialect)) return;
  tq_open_options options = gguf_options_for(dialect);
  for (size_t i = 0; i < sizeof heights / sizeof *heights; i++) {
    uint64_t rows = heights[i];
    size_t size;
    if (tq_dialect_shape_problem(dialect, rows, 256, reason, sizeof reason)) continue;
    int8_t *trits = gguf_trits(rows * 256, 20 + i, dialect->four_valued && i % 2);
    uint8_t *bytes = gguf_pack(dialect, rows, 256, trits, several, 4, &size);
    ck_gguf_comes_back(write_bytes("height.gguf", dialect->gguf_type, rows, 256, bytes, size), &options);
    free(bytes);
    free(trits);
  }
}
END_TEST

START_TEST(odd_scales_come_back) {
  static const float infinite[] = {INFINITY, -INFINITY, 1.0f}, negative[] = {-0.5f, -0.0f, 0.0f},
                     undefined[] = {NAN, 1.0f}, tiny[] = {5.9604645e-8f, 65504.0f};
  static const int8_t zeros[8 * 256];
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  if (!gguf_is_packed(dialect)) return;
  int8_t *trits = gguf_trits(8 * 256, 5, false);
  ck_spoilt_comes_back(dialect, zeros, several, 4, NULL); /* groups of zeros with d != 0 */
  ck_spoilt_comes_back(dialect, zeros, half, 1, NULL);
  ck_spoilt_comes_back(dialect, trits, negative, 3, NULL);
  ck_spoilt_comes_back(dialect, trits, infinite, 3, NULL);
  ck_spoilt_comes_back(dialect, trits, undefined, 2, NULL);
  ck_spoilt_comes_back(dialect, trits, tiny, 2, NULL);
  free(trits);
}
END_TEST

START_TEST(fours_come_back) {
  const tq_dialect *dialect = tq_dialect_at((size_t)_i);
  if (!gguf_is_packed(dialect) || !dialect->four_valued) return;
  int8_t *trits = gguf_trits(8 * 256, 6, true);
  ck_spoilt_comes_back(dialect, trits, several, 4, NULL);
  tq_open_options options = gguf_options_for(dialect);
  tq_file *file = gguf_imported_as(gguf_opened_as(temporary_path("spoilt.gguf"), &options), 0);
  ck_assert_uint_eq(gguf_tensor_in(file, "x")->parts[0].encoding, TQ_QUATERNARY_2BIT);
  ck_assert_uint_gt(gguf_tensor_in(file, "x")->trit_counts[3], 400);
  tq_file_close(file);
  free(trits);
}
END_TEST

/* Five trits of -1 are the byte 0, and 1 says the same. */
static void make_base3_unusual(uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i += 3) {
    if (bytes[i] == 0) bytes[i] = 1;
  }
}

START_TEST(base3_bytes_come_back) {
  static const char *const names[] = {"TQ1_0", "PTQ1_0", "IQ1_BN"};
  int8_t trits[8 * 256];
  memset(trits, -1, sizeof trits);
  ck_spoilt_comes_back(tq_dialect_find(names[_i]), trits, one, 1, make_base3_unusual);
  tq_file *file = gguf_imported(temporary_path("spoilt.gguf"));
  const tq_tensor *tensor = gguf_tensor_in(file, "x");
  ck_assert_uint_eq(tensor->trit_counts[0], 8 * 256);
  ck_assert_uint_eq(tensor->parts[tensor->part_count - 1].kind, TQ_PART_PATCH);
  tq_file_close(file);
}
END_TEST

static void make_tail_dirty(uint8_t *bytes, size_t size) {
  for (size_t i = size - 28; i < size; i++) bytes[i] = (uint8_t)(i * 37);
}

START_TEST(dirty_tails_come_back) {
  static const char *const names[] = {"I2_S", "I2_S_ARM", "I2_S_ROWS"};
  int8_t *trits = gguf_trits(8 * 256, 9, false);
  ck_spoilt_comes_back(tq_dialect_find(names[_i]), trits, half, 1, make_tail_dirty);
  free(trits);
}
END_TEST

/* Unpacked weights that are ternary, every other zero a -0. */
START_TEST(negative_zeros_come_back) {
  static const uint32_t types[] = {0, 1, 30}, widths[] = {4, 2, 2};
  static const uint32_t bits[3][3] = {{0xbf000000, 0, 0x3f000000}, {0xb800, 0, 0x3800}, {0xbf00, 0, 0x3f00}};
  static const uint32_t minus[3] = {0x80000000, 0x8000, 0x8000};
  uint8_t bytes[8 * 256 * 4];
  int8_t *trits = gguf_trits(8 * 256, 4, false);
  for (size_t i = 0; i < 8 * 256; i++) {
    uint32_t value = trits[i] || i % 2 ? bits[_i][trits[i] + 1] : minus[_i];
    if (widths[_i] == 4)
      tq_store_u32(bytes + 4 * i, value);
    else
      tq_store_u16(bytes + 2 * i, (uint16_t)value);
  }
  const char *path = write_bytes("zeros.gguf", types[_i], 8, 256, bytes, 8 * 256 * widths[_i]);
  ck_gguf_comes_back(path, NULL);
  tq_file *file = gguf_imported(path);
  const tq_tensor *tensor = gguf_tensor_in(file, "x");
  ck_assert_uint_eq(tensor->parts[0].encoding, TQ_TERNARY_BASE3);
  ck_assert_uint_eq(tensor->parts[1].granularity, TQ_PER_TENSOR);
  tq_file_close(file);
  free(trits);
}
END_TEST

int main(void) {
  enum { DIALECTS = 17 };
  Suite *suite = suite_create("gguf_ternary");
  TCase *peers = tcase_create("the peers' own files");
  tcase_set_timeout(peers, 120);
  tcase_add_loop_test(peers, golden_opens, 0, GOLDEN);
  tcase_add_loop_test(peers, golden_comes_back, 0, GOLDEN);
  tcase_add_loop_test(peers, other_shared_files_come_back, 0, 3);
  tcase_add_test(peers, golden_weights_are_one);
  tcase_add_loop_test(peers, golden_is_written_as_the_peer_does, 0, GOLDEN);
  suite_add_tcase(suite, peers);
  TCase *odd = tcase_create("files that no tidy writer makes");
  tcase_set_timeout(odd, 120);
  tcase_add_loop_test(odd, every_dialect_comes_back, 0, DIALECTS);
  tcase_add_loop_test(odd, every_height_comes_back, 0, DIALECTS);
  tcase_add_loop_test(odd, odd_scales_come_back, 0, DIALECTS);
  tcase_add_loop_test(odd, fours_come_back, 0, DIALECTS);
  tcase_add_loop_test(odd, base3_bytes_come_back, 0, 3);
  tcase_add_loop_test(odd, dirty_tails_come_back, 0, 3);
  tcase_add_loop_test(odd, negative_zeros_come_back, 0, 3);
  suite_add_tcase(suite, odd);
  return run_suite(suite);
}
