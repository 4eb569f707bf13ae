/* Opening a .tq file: header, section table, and the accessors. Nothing is used before it is validated. */
#include "container/file.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>

uint64_t tq_file_offset(const tq_file *file, const uint8_t *place) { return (uint64_t)(place - file->data); }

tq_status tq_check_reserved(const tq_file *file, const char *place, const uint8_t *data, size_t size, tq_error *error) {
  if (file->info.minor > TQ_FORMAT_MINOR) return TQ_OK;
  for (size_t i = 0; i < size; i++)
    if (data[i] != 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s: reserved byte at offset %" PRIu64 " is not zero", file->path,
                     place, tq_file_offset(file, data + i));
  return TQ_OK;
}

bool tq_pool_is_closed(const uint8_t *pool, uint64_t pool_size) {
  return pool_size > 0 && pool[0] == 0 && pool[pool_size - 1] == 0;
}

const char *tq_pool_string(const uint8_t *pool, uint64_t pool_size, uint32_t offset, size_t limit) {
  if (offset >= pool_size) return NULL;
  uint64_t room = pool_size - offset;
  const uint8_t *end = memchr(pool + offset, 0, room < limit ? (size_t)room : limit);
  const char *text = (const char *)pool + offset;
  return end && tq_is_name(text, (size_t)((const char *)end - text)) ? text : NULL;
}

/* ---- header ---- */

static tq_status read_features(tq_file *file, const uint8_t *header, tq_error *error) {
  file->info.required_features = tq_load_u64(header + TQ_HEADER_REQUIRED_FEATURES);
  file->info.optional_features = tq_load_u64(header + TQ_HEADER_OPTIONAL_FEATURES);
  if (file->info.required_features == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: header: needs feature %d, which this version of tq does not know",
                 file->path, __builtin_ctzll(file->info.required_features));
}

static tq_status read_header(tq_file *file, tq_error *error) {
  const char *path = file->path;
  const uint8_t *header = file->data;
  if (file->info.size < TQ_MAGIC_SIZE || memcmp(header, TQ_MAGIC, TQ_MAGIC_SIZE) != 0)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a .tq file", path);
  if (file->info.size < TQ_HEADER_SIZE)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated: %" PRIu64 " bytes hold no header", path, file->info.size);
  file->info.major = tq_load_u16(header + TQ_HEADER_MAJOR);
  file->info.minor = tq_load_u16(header + TQ_HEADER_MINOR);
  if (file->info.major != TQ_FORMAT_MAJOR)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: header: format version %" PRIu32 ".%" PRIu32 "; this tq reads %d.x",
                   path, file->info.major, file->info.minor, TQ_FORMAT_MAJOR);
  tq_status status = tq_verify_header(path, header, error);
  if (status != TQ_OK) return status;
  uint32_t header_size = tq_load_u32(header + TQ_HEADER_HEADER_SIZE);
  if (header_size != TQ_HEADER_SIZE)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: header: its size is %" PRIu32 ", not %d", path, header_size,
                   TQ_HEADER_SIZE);
  uint64_t size = tq_load_u64(header + TQ_HEADER_FILE_SIZE);
  if (size != file->info.size)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s: the header says %" PRIu64 " bytes, the file has %" PRIu64, path,
                   size > file->info.size ? "truncated" : "bytes behind the end", size, file->info.size);
  file->info.hash_algorithm = tq_load_u32(header + TQ_HEADER_HASH_ALGORITHM);
  if (!tq_hash_name(file->info.hash_algorithm))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: header: unknown hash algorithm %" PRIu32, path,
                   file->info.hash_algorithm);
  status = read_features(file, header, error);
  if (status == TQ_OK) status = tq_check_reserved(file, "header", header + TQ_HEADER_ZERO_1, 8, error);
  return status == TQ_OK ? tq_check_reserved(file, "header", header + TQ_HEADER_ZERO_2, 24, error) : status;
}

/* ---- section table ---- */

/* Finds the table: it ends the file. */
static tq_status locate_table(tq_file *file, tq_error *error) {
  uint64_t offset = tq_load_u64(file->data + TQ_HEADER_TABLE_OFFSET);
  uint32_t count = tq_load_u32(file->data + TQ_HEADER_SECTION_COUNT);
  if (offset < TQ_HEADER_SIZE || offset % TQ_ALIGNMENT != 0 || offset > file->info.size ||
      (uint64_t)count * TQ_ENTRY_SIZE != file->info.size - offset)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: header: a table of %" PRIu32 " sections at offset %" PRIu64 " does not end the file of %" PRIu64
                   " bytes",
                   file->path, count, offset, file->info.size);
  file->table = file->data + offset;
  file->section_count = count;
  memcpy(file->info.table_hash, file->data + TQ_HEADER_TABLE_HASH, TQ_HASH_SIZE);
  return tq_verify_table(file, error);
}

/* A name is 1 to 15 printable ASCII bytes, then zeros. */
static bool entry_name_is_valid(const char name[TQ_ENTRY_NAME_SIZE]) {
  size_t length = 0;
  while (length < TQ_ENTRY_NAME_SIZE && name[length] > 0x20 && name[length] < 0x7f) length++;
  if (length == 0 || length == TQ_ENTRY_NAME_SIZE) return false;
  for (size_t i = length; i < TQ_ENTRY_NAME_SIZE; i++)
    if (name[i] != 0) return false;
  return true;
}

/* A section begins where its alignment puts it after the end of the one before: nothing overlaps, nothing hides. */
static tq_status check_place(const tq_file *file, const tq_section *section, uint64_t end, tq_error *error) {
  uint64_t limit = tq_file_offset(file, file->table), alignment = tq_section_alignment(section->name), expected;
  const char *reason = NULL;
  if (!tq_within(section->offset, section->size, limit))
    reason = "lies outside the file";
  else if (section->offset < end)
    reason = "overlaps what is before it";
  else if (section->offset % alignment != 0)
    reason = "is misaligned";
  else if (!tq_align_u64(end, alignment, &expected) || section->offset != expected)
    reason = "leaves a gap before it that alignment does not explain";
  if (!reason) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section %s: [%" PRIu64 ", +%" PRIu64 ") %s", file->path, section->name,
                 section->offset, section->size, reason);
}

static tq_status read_entry(tq_file *file, size_t index, uint64_t *end, tq_error *error) {
  const uint8_t *entry = file->table + index * TQ_ENTRY_SIZE;
  tq_section *section = &file->sections[index];
  section->name = (const char *)entry + TQ_ENTRY_NAME;
  if (!entry_name_is_valid(section->name))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section table: entry %zu has no proper name", file->path, index);
  uint32_t flags = tq_load_u32(entry + TQ_ENTRY_FLAGS);
  section->required = (flags & TQ_SECTION_REQUIRED) != 0;
  section->offset = tq_load_u64(entry + TQ_ENTRY_OFFSET);
  section->size = tq_load_u64(entry + TQ_ENTRY_SIZE_FIELD);
  if ((flags & ~(uint32_t)TQ_SECTION_REQUIRED) != 0 && file->info.minor <= TQ_FORMAT_MINOR)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section %s: unknown flags %#" PRIx32, file->path, section->name,
                   flags);
  tq_known_section known = tq_section_by_name(section->name);
  if (known == TQ_SECTION_KNOWN && section->required)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section %s is required, and this version of tq does not know it",
                   file->path, section->name);
  tq_status status = tq_check_reserved(file, section->name, entry + TQ_ENTRY_ZERO_1, 4, error);
  if (status == TQ_OK) status = tq_check_reserved(file, section->name, entry + TQ_ENTRY_ZERO_2, 8, error);
  if (status == TQ_OK) status = check_place(file, section, *end, error);
  if (status != TQ_OK) return status;
  section->data = file->data + section->offset;
  *end = section->offset + section->size;
  if (known != TQ_SECTION_KNOWN) file->known[known] = section;
  return TQ_OK;
}

static tq_status check_section_names(const tq_file *file, tq_error *error) {
  tq_index_entry *names = tq_allocate(file->section_count, sizeof *names, error);
  if (!names) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < file->section_count; i++) names[i] = (tq_index_entry){file->sections[i].name, i};
  tq_index_sort(names, file->section_count);
  const tq_index_entry *twice = tq_index_duplicate(names, file->section_count);
  tq_status status = TQ_OK;
  if (twice)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: section table: duplicate section %s", file->path, twice->name);
  tq_free(names);
  return status;
}

static tq_status read_table(tq_file *file, tq_error *error) {
  tq_status status = locate_table(file, error);
  if (status != TQ_OK) return status;
  file->sections = tq_allocate(file->section_count, sizeof *file->sections, error);
  if (!file->sections) return TQ_ERROR_SYSTEM;
  uint64_t end = TQ_HEADER_SIZE, expected;
  for (size_t i = 0; i < file->section_count && status == TQ_OK; i++) status = read_entry(file, i, &end, error);
  if (status != TQ_OK) return status;
  if (!tq_align_u64(end, TQ_ALIGNMENT, &expected) || expected != tq_file_offset(file, file->table))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section table: a gap before it that alignment does not explain",
                   file->path);
  for (size_t i = 0; i < TQ_SECTION_MANDATORY; i++)
    if (!file->known[i])
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section table: no section %s", file->path, tq_section_names[i]);
  return check_section_names(file, error);
}

/* ---- metadata ---- */

static tq_status read_metadata(tq_file *file, tq_error *error) {
  const tq_section *section = file->known[TQ_SECTION_METADATA];
  if (section->size < 8)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section metadata: %" PRIu64 " bytes hold no count", file->path,
                   section->size);
  size_t room = (size_t)section->size - 8, consumed;
  tq_status status = tq_metadata_parse(file->path, section->data + 8, room, tq_load_u64(section->data), &consumed, NULL,
                                       &file->metadata, error);
  if (status == TQ_OK && consumed != room)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: section metadata: %zu bytes behind its last key", file->path,
                     room - consumed);
  return status;
}

/* ---- opening ---- */

static tq_status verify_sections(const tq_file *file, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; i < file->section_count && status == TQ_OK; i++)
    if (&file->sections[i] != file->known[TQ_SECTION_DATA]) status = tq_verify_section(file, i, error);
  return status;
}

static tq_status read_everything(tq_file *file, tq_verify verify, tq_error *error) {
  static tq_status (*const steps[])(tq_file *, tq_error *) = {read_header,     read_table,         NULL,
                                                              read_metadata,   tq_directory_read,  tq_hashes_read,
                                                              tq_digests_read, tq_attachments_read};
  tq_status status = TQ_OK;
  for (size_t i = 0; i < sizeof steps / sizeof *steps && status == TQ_OK; i++)
    status = steps[i] ? steps[i](file, error) : verify_sections(file, error);
  if (status == TQ_OK && verify == TQ_VERIFY_FULL) status = tq_verify_data(file, error);
  return status;
}

/* Takes over the mapping, if there is one. */
static tq_status open_file(const char *path, const tq_mapping *mapping, const void *data, size_t size, tq_verify verify,
                           tq_file **result, tq_error *error) {
  tq_file *file = tq_allocate(1, sizeof *file, error);
  if (!file) return TQ_ERROR_SYSTEM;
  file->path = tq_copy_string(path, strlen(path), error);
  file->data = data;
  file->lazy = verify == TQ_VERIFY_LAZY;
  file->info.path = file->path;
  file->info.size = size;
  tq_status status = file->path ? read_everything(file, verify, error) : TQ_ERROR_SYSTEM;
  if (status != TQ_OK) {
    tq_file_close(file);
    return status;
  }
  if (mapping) file->mapping = *mapping;
  *result = file;
  return TQ_OK;
}

tq_status tq_file_open(const char *path, tq_verify verify, tq_file **file, tq_error *error) {
  tq_mapping mapping;
  tq_status status = tq_mapping_open(path, &mapping, error);
  if (status != TQ_OK) return status;
  status = open_file(path, &mapping, mapping.data, mapping.size, verify, file, error);
  if (status != TQ_OK) tq_mapping_close(&mapping);
  return status;
}

tq_status tq_file_open_memory(const char *name, const void *data, size_t size, tq_verify verify, tq_file **file,
                              tq_error *error) {
  if ((uintptr_t)data % TQ_ALIGNMENT != 0)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: memory that holds a .tq file must be aligned to %d bytes", name,
                   TQ_ALIGNMENT);
  return open_file(name, NULL, data, size, verify, file, error);
}

void tq_file_close(tq_file *file) {
  if (!file) return;
  tq_metadata_free(file->metadata);
  tq_free(file->attachments);
  tq_free(file->verified);
  tq_free(file->first_chunk);
  tq_free(file->roles);
  tq_free(file->parts);
  tq_free(file->tensors);
  tq_free(file->sections);
  tq_free(file->path);
  tq_mapping_close(&file->mapping);
  tq_free(file);
}

/* ---- accessors ---- */

tq_status tq_file_verify(const tq_file *file, tq_error *error) {
  tq_status status = tq_verify_header(file->path, file->data, error);
  if (status == TQ_OK) status = tq_verify_table(file, error);
  if (status == TQ_OK) status = verify_sections(file, error);
  return status == TQ_OK ? tq_verify_data(file, error) : status;
}

void tq_file_describe(const tq_file *file, tq_file_info *info) { *info = file->info; }

const tq_metadata *tq_file_metadata(const tq_file *file) { return file->metadata; }

size_t tq_file_tensor_count(const tq_file *file) { return file->tensor_count; }

const tq_tensor *tq_file_tensor(const tq_file *file, size_t index) { return &file->tensors[index]; }

size_t tq_file_find_role(const tq_file *file, const char *role) {
  return tq_index_find(file->roles, file->tensor_count, role);
}

size_t tq_file_section_count(const tq_file *file) { return file->section_count; }

void tq_file_section(const tq_file *file, size_t index, tq_section *section) { *section = file->sections[index]; }

bool tq_file_find_section(const tq_file *file, const char *name, tq_section *section) {
  for (size_t i = 0; i < file->section_count; i++)
    if (strcmp(file->sections[i].name, name) == 0) {
      *section = file->sections[i];
      return true;
    }
  return false;
}

void tq_release(void *pointer) { tq_free(pointer); }
