#include "tests/pickle_builder.h"

#include "base/bytes.h"

#include <archive.h>
#include <archive_entry.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

void emit(pickle *to, const void *bytes, size_t size) {
  if (to->size + size > to->capacity) {
    to->capacity = 2 * (to->size + size);
    to->data = realloc(to->data, to->capacity);
  }
  memcpy(to->data + to->size, bytes, size);
  to->size += size;
}

#define emit_literal(to, literal) emit((to), (literal), sizeof(literal) - 1)

void emit_opcode(pickle *to, int opcode) {
  uint8_t byte = (uint8_t)opcode;
  emit(to, &byte, 1);
}

void emit_text(pickle *to, const char *text) {
  uint8_t header[5] = {'X'};
  tq_store_u32(header + 1, (uint32_t)strlen(text));
  emit(to, header, sizeof header);
  emit(to, text, strlen(text));
}

void emit_integer(pickle *to, int64_t value) {
  uint8_t bytes[10] = {'K', (uint8_t)value};
  if (value >= 0 && value < 256) {
    emit(to, bytes, 2);
  } else if (value >= 0 && value < 65536) {
    bytes[0] = 'M';
    tq_store_u16(bytes + 1, (uint16_t)value);
    emit(to, bytes, 3);
  } else if (value >= INT32_MIN && value <= INT32_MAX) {
    bytes[0] = 'J';
    tq_store_u32(bytes + 1, (uint32_t)value);
    emit(to, bytes, 5);
  } else {
    bytes[0] = 0x8a;
    bytes[1] = 8;
    tq_store_u64(bytes + 2, (uint64_t)value);
    emit(to, bytes, 10);
  }
}

void emit_real(pickle *to, double value) {
  uint8_t bytes[8];
  tq_store_f64(bytes, value);
  emit_opcode(to, 'G');
  for (int i = 7; i >= 0; i--) emit_opcode(to, bytes[i]);
}

void emit_global(pickle *to, const char *module, const char *name) {
  emit_opcode(to, 'c');
  emit(to, module, strlen(module));
  emit(to, "\n", 1);
  emit(to, name, strlen(name));
  emit(to, "\n", 1);
}

void emit_integers(pickle *to, const int64_t *values, size_t count) {
  emit_opcode(to, '(');
  for (size_t i = 0; i < count; i++) emit_integer(to, values[i]);
  emit_opcode(to, 't');
}

void emit_storage(pickle *to, const char *type, const char *key, int64_t count) {
  emit_opcode(to, '(');
  emit_text(to, "storage");
  emit_global(to, "torch", type);
  emit_text(to, key);
  emit_text(to, "cpu");
  emit_integer(to, count);
  emit(to, "tQ", 2);
}

void emit_arguments(pickle *to, const tensor *from) {
  int64_t strides[9], step = 1;
  for (size_t i = from->dimensions; i-- > 0;) {
    strides[i] = step;
    step = (int64_t)((uint64_t)step * (uint64_t)from->shape[i]); /* hostile shapes overflow */
  }
  emit_storage(to, from->type, from->key, from->count);
  emit_integer(to, from->offset);
  emit_integers(to, from->shape, from->dimensions);
  emit_integers(to, from->strides ? from->strides : strides, from->dimensions);
  emit_opcode(to, 0x89);
  emit_global(to, "collections", "OrderedDict");
  emit(to, ")R", 2);
}

void emit_tensor(pickle *to, const tensor *from) {
  emit_global(to, "torch._utils", "_rebuild_tensor_v2");
  emit_opcode(to, '(');
  emit_arguments(to, from);
  emit(to, "tR", 2);
}

void emit_start(pickle *to) { emit(to, "\x80\2}(", 4); }
void emit_end(pickle *to) { emit(to, "u.", 2); }

/* ---- archives ---- */

static const struct {
  int (*format)(struct archive *);
  int (*filter)(struct archive *);
  const char *options;
} kinds[] = {
    [PACK_ZIP] = {archive_write_set_format_zip, archive_write_add_filter_none, "zip:compression=store"},
    [PACK_TAR] = {archive_write_set_format_pax_restricted, archive_write_add_filter_none, NULL},
    [PACK_TAR_GZ] = {archive_write_set_format_pax_restricted, archive_write_add_filter_gzip, NULL},
    [PACK_TAR_ZST] = {archive_write_set_format_pax_restricted, archive_write_add_filter_zstd, NULL},
};

static void pack_member(struct archive *archive, const member *from) {
  struct archive_entry *entry = archive_entry_new();
  archive_entry_set_pathname(entry, from->name);
  archive_entry_set_filetype(entry, AE_IFREG);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_size(entry, (la_int64_t)from->size);
  ck_assert_int_eq(archive_write_header(archive, entry), ARCHIVE_OK);
  if (from->size) ck_assert_int_eq(archive_write_data(archive, from->data, from->size), (la_ssize_t)from->size);
  archive_entry_free(entry);
}

void pack_archive(const char *path, pack_kind kind, const member *members, size_t count) {
  struct archive *archive = archive_write_new();
  ck_assert_int_eq(kinds[kind].format(archive), ARCHIVE_OK);
  ck_assert_int_eq(kinds[kind].filter(archive), ARCHIVE_OK);
  if (kinds[kind].options) ck_assert_int_eq(archive_write_set_options(archive, kinds[kind].options), ARCHIVE_OK);
  ck_assert_int_eq(archive_write_open_filename(archive, path), ARCHIVE_OK);
  for (size_t i = 0; i < count; i++) pack_member(archive, &members[i]);
  ck_assert_int_eq(archive_write_close(archive), ARCHIVE_OK);
  archive_write_free(archive);
}
