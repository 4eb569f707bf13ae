/* Writing a .tq file again, its ternary codes in another form. */
#include "base/memory.h"
#include "container/parts.h"
#include "tq/container.h"
#include "tq/ternary.h"

#include <string.h>

/* The sections that the writer makes from what it is given. */
static bool is_made_by_writer(const char *name) {
  static const char *const made[] = {"metadata", "attachments", "data", "tensors", "hashes", "digests"};
  for (size_t i = 0; i < sizeof made / sizeof made[0]; i++) {
    if (strcmp(name, made[i]) == 0) return true;
  }
  return false;
}

static tq_status copy_sections(const tq_file *file, tq_writer *writer, tq_error *error) {
  tq_section section;
  tq_status status = TQ_OK;
  if (tq_file_find_section(file, "metadata", &section)) {
    status = tq_writer_metadata(writer, section.data + 8, (size_t)section.size - 8,
                                tq_metadata_count(tq_file_metadata(file)), error);
  }
  for (size_t i = 0; !status && i < tq_file_section_count(file); i++) {
    tq_file_section(file, i, &section);
    if (is_made_by_writer(section.name)) continue;
    status = tq_writer_section(writer, section.name, section.required, section.data, (size_t)section.size, error);
  }
  return status;
}

static tq_status write_attachment(void *writer, const void *data, size_t size, tq_error *error) {
  return tq_writer_attachment_write(writer, data, size, error);
}

static tq_status copy_attachments(const tq_file *file, tq_writer *writer, tq_error *error) {
  tq_attachment attachment;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_file_attachment_count(file); i++) {
    tq_file_attachment(file, i, &attachment);
    status = tq_writer_attachment_begin(writer, attachment.name, attachment.kind, error);
    if (!status) status = tq_file_attachment_read(file, i, write_attachment, writer, error);
    if (!status) status = tq_writer_attachment_end(writer, error);
  }
  return status;
}

static bool is_ternary(uint32_t encoding) { return encoding == TQ_TERNARY_2BIT || encoding == TQ_TERNARY_BASE3; }

/* What the values of a tensor become. */
static uint32_t target_encoding(const tq_part *part, uint32_t wanted) {
  return wanted && is_ternary(part->encoding) ? wanted : part->encoding;
}

static tq_status recode_row(const tq_tensor *tensor, uint64_t row, uint32_t encoding, int8_t *trits, uint8_t *codes,
                            tq_error *error) {
  uint64_t bad;
  if (!tq_tensor_unpack(tensor, row, 0, tensor->columns, trits, &bad)) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "tensor %s: row %llu, byte %llu is no ternary code", tensor->role,
                   (unsigned long long)row, (unsigned long long)bad);
  }
  tq_trits_pack(encoding, trits, tensor->columns, codes);
  return TQ_OK;
}

/* Panels are written when their last row is there. */
static tq_status recode_values(tq_writer *writer, const tq_tensor *tensor, uint32_t encoding, tq_error *error) {
  uint64_t bytes = tq_trit_row_bytes(encoding, tensor->columns);
  int8_t *trits = tq_allocate((size_t)tensor->columns, 1, error);
  uint8_t *codes = tq_allocate((size_t)bytes, 1, error);
  uint8_t *panel = tq_allocate((size_t)bytes, TQ_PANEL_ROWS, error);
  tq_status status = trits && codes && panel ? TQ_OK : TQ_ERROR_SYSTEM;
  for (uint64_t row = 0; !status && row < tensor->rows; row++) {
    uint64_t place = row % TQ_PANEL_ROWS, height = tq_panel_height(tensor->rows, row);
    status = recode_row(tensor, row, encoding, trits, codes, error);
    if (status) break;
    tq_panel_store_row(panel, height, place, bytes, codes);
    if (place + 1 == height) status = tq_writer_part_write(writer, panel, (size_t)(height * bytes), error);
  }
  tq_free(trits);
  tq_free(codes);
  tq_free(panel);
  return status;
}

static tq_status copy_part(tq_writer *writer, const tq_tensor *tensor, const tq_part *part, uint32_t wanted,
                           tq_error *error) {
  tq_part target = *part;
  if (part->kind == TQ_PART_VALUES) target.encoding = target_encoding(part, wanted);
  tq_status status = tq_writer_part_begin(writer, &target, error);
  if (!status) {
    status = target.encoding == part->encoding ? tq_writer_part_write(writer, part->data, (size_t)part->size, error)
                                               : recode_values(writer, tensor, target.encoding, error);
  }
  return status ? status : tq_writer_part_end(writer, error);
}

static tq_status copy_tensor(const tq_file *file, tq_writer *writer, size_t index, uint32_t wanted, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  tq_status status = tq_file_touch(file, index, 0, tensor->data_size, error);
  if (!status) status = tq_writer_tensor_begin(writer, tensor, error);
  for (size_t i = 0; !status && i < tensor->part_count; i++) {
    status = copy_part(writer, tensor, &tensor->parts[i], wanted, error);
  }
  return status ? status : tq_writer_tensor_end(writer, tensor->trit_counts, tensor->content_digest, error);
}

static tq_status check_recodable(const tq_file *file, uint32_t encoding, tq_error *error) {
  if (encoding && !is_ternary(encoding))
    return tq_fail(error, TQ_ERROR_USAGE, "encoding %u is no ternary code", encoding);
  for (size_t i = 0; encoding == TQ_TERNARY_BASE3 && i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (tensor->parts[0].encoding == TQ_QUATERNARY_2BIT && tensor->trit_counts[3]) {
      return tq_fail(error, TQ_ERROR_REFUSED, "tensor %s: %llu of its weights are +2, which base-3 cannot hold",
                     tensor->role, (unsigned long long)tensor->trit_counts[3]);
    }
  }
  return TQ_OK;
}

tq_status tq_file_recode(const tq_file *file, const char *path, uint32_t encoding, uint32_t hash_algorithm,
                         tq_error *error) {
  tq_writer *writer;
  tq_file_info info;
  tq_file_describe(file, &info);
  tq_status status = check_recodable(file, encoding, error);
  if (!status) status = tq_writer_create(path, hash_algorithm ? hash_algorithm : info.hash_algorithm, &writer, error);
  if (status) return status;
  status = copy_sections(file, writer, error);
  if (!status) status = copy_attachments(file, writer, error);
  for (size_t i = 0; !status && i < tq_file_tensor_count(file); i++) {
    status = copy_tensor(file, writer, i, encoding, error);
  }
  if (!status) status = tq_writer_finish(writer, info.function_digest, info.tokenizer_digest, error);
  if (status) tq_writer_abandon(writer);
  return status;
}
