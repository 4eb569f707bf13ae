#include "tests/gguf_support.h"

#include "base/bytes.h"
#include "formats/gguf/gguf.h"
#include "formats/import.h"
#include "formats/source.h"
#include "tests/support.h"

#include <stdio.h>
#include <string.h>

tq_status gguf_try(const char *path, const tq_open_options *options, tq_checkpoint **checkpoint, tq_error *error) {
  tq_status status = open_with(tq_gguf_open, path, options, checkpoint, error);
  if (!status) (*checkpoint)->format = "gguf";
  return status;
}

tq_checkpoint *gguf_opened_as(const char *path, const tq_open_options *options) {
  tq_checkpoint *checkpoint;
  ck_ok(gguf_try(path, options, &checkpoint, error));
  return checkpoint;
}

tq_checkpoint *gguf_opened(const char *path) { return gguf_opened_as(path, NULL); }

tq_file *gguf_imported_as(tq_checkpoint *checkpoint, uint32_t code) {
  const char *path = temporary_path("model.tq");
  tq_file *file;
  ck_ok(tq_import(checkpoint, path, code, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  ck_ok(tq_file_verify_content(file, NULL, error));
  return file;
}

tq_file *gguf_imported(const char *path) { return gguf_imported_as(gguf_opened(path), 0); }

bool gguf_reads(const tq_checkpoint *checkpoint, const char *text) {
  tq_buffer copy = {0};
  ck_ok(tq_buffer_append(&copy, checkpoint->readings.data, checkpoint->readings.size, error));
  ck_ok(tq_buffer_append(&copy, "", 1, error));
  bool found = strstr((const char *)copy.data, text) != NULL;
  if (!found) printf("readings: %s\n", (const char *)copy.data);
  tq_buffer_free(&copy);
  return found;
}

const tq_tensor *gguf_tensor_in(const tq_file *file, const char *role) {
  size_t index = tq_file_find_role(file, role);
  ck_assert_msg(index != SIZE_MAX, "no tensor %s", role);
  return tq_file_tensor(file, index);
}

void ck_gguf_comes_back(const char *path, const tq_open_options *options) {
  static const uint32_t codes[] = {TQ_TERNARY_BASE3, TQ_TERNARY_2BIT};
  char original[4096], copy[64];
  snprintf(original, sizeof original, "%s", path);
  for (size_t i = 0; i < 2; i++) {
    snprintf(copy, sizeof copy, "back-%zu.gguf", i);
    tq_file *file = gguf_imported_as(gguf_opened_as(original, options), codes[i]);
    remove(temporary_path(copy));
    ck_ok(tq_source_restore(file, temporary_path(copy), NULL, error));
    ck_same_files(original, temporary_path(copy));
    tq_file_close(file);
  }
}

void gguf_weights_of(const tq_file *file, uint8_t digest[16]) {
  tq_file_info info;
  tq_file_describe(file, &info);
  memcpy(digest, info.weights_digest, 16);
}

const char *gguf_write_model(const char *name, const tq_dialect *dialect, const float *scales, size_t scale_count) {
  gguf_builder builder = {0};
  gguf_ternary_keys(&builder);
  gguf_ternary_tensors(&builder, dialect, scales, scale_count);
  const char *path = temporary_path(name);
  gguf_end_file(&builder, path);
  return path;
}

bool gguf_is_packed(const tq_dialect *dialect) {
  return dialect && dialect->gguf_type != TQ_NO_GGUF_TYPE && !dialect->is_unpacked;
}

tq_open_options gguf_options_for(const tq_dialect *dialect) {
  tq_open_options options = {.i2s_dialect = dialect->gguf_type == 36 ? dialect->name : NULL};
  if (dialect->gguf_type == 42) options.q2_group = dialect->group;
  return options;
}

void gguf_add_scale(gguf_builder *builder, const char *name, float value) {
  static const uint64_t shape[1] = {1};
  uint8_t bytes[4];
  tq_store_f32(bytes, value);
  gguf_tensor(builder, name, 0, 1, shape, bytes, 4);
}

const char *gguf_write_scaled(const char *name, const tq_dialect *dialect, const float *scales, size_t scale_count) {
  gguf_builder builder = {0};
  gguf_ternary_keys(&builder);
  gguf_add_scale(&builder, "blk.0.attn_q.scale", 0.3f);
  gguf_ternary_tensors(&builder, dialect, scales, scale_count);
  gguf_add_scale(&builder, "blk.0.ffn_down.scale", -0.1f);
  const char *path = temporary_path(name);
  gguf_end_file(&builder, path);
  return path;
}
