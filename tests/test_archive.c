/* Folders on disk and in archives: the same files either way, and nothing else. */
#include "base/memory.h"
#include "formats/folder.h"
#include "tests/support.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct file {
  const char *name;
  const void *data;
  size_t size;
  unsigned type;    /* 0 for a regular file */
  const char *link; /* of a symbolic or a hard link */
} file;

typedef struct kind {
  const char *extension;
  int (*format)(struct archive *);
  int (*filter)(struct archive *);
  const char *options; /* of the format; NULL for none */
} kind;

static const kind kinds[] = {
    {"pax.tar", archive_write_set_format_pax_restricted, archive_write_add_filter_none, NULL},
    {"ustar.tar", archive_write_set_format_ustar, archive_write_add_filter_none, NULL},
    {"gnu.tar", archive_write_set_format_gnutar, archive_write_add_filter_none, NULL},
    {"tar.gz", archive_write_set_format_pax, archive_write_add_filter_gzip, NULL},
    {"tar.zst", archive_write_set_format_ustar, archive_write_add_filter_zstd, NULL},
    {"tar.xz", archive_write_set_format_gnutar, archive_write_add_filter_xz, NULL},
    {"tar.bz2", archive_write_set_format_pax_restricted, archive_write_add_filter_bzip2, NULL},
    {"deflated.zip", archive_write_set_format_zip, archive_write_add_filter_none, "zip:compression=deflate"},
    {"stored.zip", archive_write_set_format_zip, archive_write_add_filter_none, "zip:compression=store"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const kind *find_kind(const char *extension) {
  for (size_t i = 0; i < KINDS; i++) {
    if (strcmp(kinds[i].extension, extension) == 0) return &kinds[i];
  }
  ck_abort_msg("no kind %s", extension);
  return NULL;
}

static void write_entry(struct archive *archive, const file *from) {
  struct archive_entry *entry = archive_entry_new();
  archive_entry_set_pathname(entry, from->name);
  archive_entry_set_perm(entry, 0644);
  archive_entry_set_filetype(entry, from->type ? from->type : AE_IFREG);
  if (from->link && from->type == AE_IFLNK) archive_entry_set_symlink(entry, from->link);
  if (from->link && from->type != AE_IFLNK) archive_entry_set_hardlink(entry, from->link);
  archive_entry_set_size(entry, (la_int64_t)from->size);
  ck_assert_msg(archive_write_header(archive, entry) >= ARCHIVE_WARN, "%s", archive_error_string(archive));
  for (size_t done = 0; done < from->size;) {
    la_ssize_t wrote = archive_write_data(archive, (const uint8_t *)from->data + done, from->size - done);
    ck_assert_int_gt(wrote, 0);
    done += (size_t)wrote;
  }
  archive_entry_free(entry);
}

/* Packs the files; names are UTF-8, so they are written under such a locale. */
static const char *pack(const kind *how, const file *files, size_t count) {
  static unsigned serial;
  char name[64];
  snprintf(name, sizeof name, "%u.%s", serial++, how->extension);
  const char *path = temporary_path(name);
  locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0), before = uselocale(utf8);
  struct archive *archive = archive_write_new();
  ck_assert_int_eq(how->format(archive), ARCHIVE_OK);
  ck_assert_int_eq(how->filter(archive), ARCHIVE_OK);
  if (how->options) ck_assert_int_eq(archive_write_set_options(archive, how->options), ARCHIVE_OK);
  archive_write_set_bytes_per_block(archive, 512);
  archive_write_set_bytes_in_last_block(archive, 1);
  ck_assert_int_eq(archive_write_open_filename(archive, path), ARCHIVE_OK);
  for (size_t i = 0; i < count; i++) write_entry(archive, &files[i]);
  ck_assert_int_eq(archive_write_close(archive), ARCHIVE_OK);
  archive_write_free(archive);
  uselocale(before);
  freelocale(utf8);
  return path;
}

static tq_status open_archive(const char *path, tq_folder **folder, tq_error *error) {
  tq_input *input;
  *folder = NULL;
  tq_status status = tq_input_open(path, &input, error);
  if (status != TQ_OK) return status;
  status = tq_folder_open_archive(input, folder, error);
  if (status != TQ_OK) tq_input_close(input);
  return status;
}

static tq_status open_memory(const uint8_t *bytes, size_t size, tq_folder **folder, tq_error *error) {
  tq_input *input;
  void *copy = tq_allocate(size, 1, error);
  memcpy(copy, bytes, size);
  *folder = NULL;
  ck_assert_int_eq(tq_input_from_memory("memory", copy, size, &input, error), TQ_OK);
  tq_status status = tq_folder_open_archive(input, folder, error);
  if (status != TQ_OK) tq_input_close(input);
  return status;
}

static tq_input *open_file(tq_folder *folder, const char *name) {
  tq_input *input;
  ck_ok(tq_folder_input(folder, name, &input, error));
  ck_assert_msg(input != NULL, "%s is missing", name);
  return input;
}

static void check_file(tq_folder *folder, const char *name, const void *data, size_t size) {
  tq_input *input = open_file(folder, name);
  ck_assert_uint_eq(tq_input_size(input), size);
  char *read;
  size_t read_size;
  ck_ok(tq_input_read_all(input, size, &read, &read_size, error));
  ck_assert_mem_eq(read, data, size);
  tq_free(read);
  tq_input_close(input);
}

static void check_names(tq_folder *folder, const char *const *expected, size_t expected_count) {
  char *const *names;
  size_t count;
  ck_ok(tq_folder_list(folder, &names, &count, error));
  ck_assert_uint_eq(count, expected_count);
  for (size_t i = 0; i < count; i++) ck_assert_str_eq(names[i], expected[i]);
}

/* ---- what is read ---- */

enum { LARGE = 300000 };
static uint8_t *large_data(void) {
  static uint8_t data[LARGE];
  uint64_t state = 7;
  for (size_t i = 0; i < LARGE; i++) data[i] = (uint8_t)(random_u64(&state) & 15);
  return data;
}

START_TEST(a_folder_on_disk) {
  mkdir(temporary_path("disk"), 0777);
  mkdir(temporary_path("disk/sub"), 0777);
  write_file(temporary_path("disk/b"), "bee", 3);
  write_file(temporary_path("disk/sub/a"), "ay", 2);
  mkdir(temporary_path("disk/.hidden"), 0777);
  write_file(temporary_path("disk/.hidden/no"), "no", 2);
  write_file(temporary_path("disk/.kept"), "yes", 3);
  tq_folder *folder;
  ck_ok(tq_folder_open(temporary_path("disk"), &folder, error));
  ck_assert(!tq_folder_is_archive(folder));
  ck_assert_str_eq(tq_folder_name(folder), temporary_path("disk"));
  check_names(folder, (const char *[]){".kept", "b", "sub/a"}, 3);
  check_names(folder, (const char *[]){".kept", "b", "sub/a"}, 3);
  check_file(folder, "sub/a", "ay", 2);
  tq_input *input;
  ck_ok(tq_folder_input(folder, "missing", &input, error));
  ck_assert_ptr_null(input);
  ck_ok(tq_folder_input(folder, "sub", &input, error));
  ck_assert_ptr_null(input);
  ck_fails(tq_folder_input(folder, "../disk/b", &input, error), TQ_ERROR_CORRUPT, "'../disk/b'");
  ck_fails(tq_folder_input(folder, "/etc/passwd", &input, error), TQ_ERROR_CORRUPT, "'/etc/passwd'");
  tq_folder *nested;
  ck_ok(tq_folder_open_nested(folder, "missing", &nested, error));
  ck_assert_ptr_null(nested);
  ck_fails(tq_folder_open_nested(folder, "b", &nested, error), TQ_ERROR_CORRUPT, "not an archive");
  tq_folder_close(folder);
  ck_fails(tq_folder_open(temporary_path("disk/b"), &folder, error), TQ_ERROR_USAGE, "not a folder");
  ck_fails(tq_folder_open(temporary_path("absent"), &folder, error), TQ_ERROR_SYSTEM, "no such folder");
}
END_TEST

START_TEST(every_kind_gives_the_same_files) {
  const uint8_t *large = large_data();
  const file files[] = {{"m/", NULL, 0, AE_IFDIR, NULL},    {"m/zeta", "z", 1, 0, NULL},
                        {"m/large", large, LARGE, 0, NULL}, {"m/empty", "", 0, 0, NULL},
                        {"m/.git/x", "x", 1, 0, NULL},      {"m/deep/er/file", "deep", 4, 0, NULL}};
  tq_folder *folder;
  const char *path = pack(&kinds[_i], files, sizeof files / sizeof files[0]);
  ck_ok(open_archive(path, &folder, error));
  ck_assert(tq_folder_is_archive(folder));
  ck_assert_str_eq(tq_folder_name(folder), path);
  check_names(folder, (const char *[]){"deep/er/file", "empty", "large", "zeta"}, 4);
  check_file(folder, "large", large, LARGE);
  check_file(folder, "zeta", "z", 1);
  check_file(folder, "empty", "", 0);
  check_file(folder, "deep/er/file", "deep", 4);
  tq_input *input;
  ck_ok(tq_folder_input(folder, "m/zeta", &input, error));
  ck_assert_ptr_null(input);
  tq_folder_close(folder);
}
END_TEST

/* Two members read in any order, back and forth, and after their folder was closed. */
START_TEST(any_range_can_be_read) {
  const uint8_t *large = large_data();
  const file files[] = {{"a", large, LARGE, 0, NULL}, {"b", large + 1000, LARGE - 1000, 0, NULL}};
  tq_folder *folder;
  ck_ok(open_archive(pack(&kinds[_i], files, 2), &folder, error));
  tq_input *inputs[] = {open_file(folder, "a"), open_file(folder, "b")};
  tq_folder_close(folder);
  uint64_t state = 3;
  static uint8_t buffer[LARGE];
  for (int round = 0; round < 60; round++) {
    size_t which = random_u64(&state) & 1, from = 1000 * which, total = LARGE - from;
    size_t offset = random_u64(&state) % total, size = random_u64(&state) % (total - offset + 1);
    if (round & 1 && size > 100) size = 100;
    ck_ok(tq_input_read(inputs[which], offset, buffer, size, error));
    ck_assert_mem_eq(buffer, large + from + offset, size);
  }
  ck_fails(tq_input_read(inputs[0], LARGE - 1, buffer, 2, error), TQ_ERROR_CORRUPT, "truncated");
  tq_input_close(inputs[0]);
  tq_input_close(inputs[1]);
}
END_TEST

/* What is not compressed is read where it lies, in whatever order. */
START_TEST(stored_members_are_not_searched_for) {
  static const char *const extensions[] = {"stored.zip", "pax.tar", "ustar.tar", "gnu.tar"};
  const uint8_t *large = large_data();
  const file files[] = {{"a", "1", 1, 0, NULL}, {"b", large, LARGE, 0, NULL}};
  tq_folder *folder;
  ck_ok(open_archive(pack(find_kind(extensions[_i]), files, 2), &folder, error));
  tq_input *input = open_file(folder, "b");
  char text[8];
  ck_ok(tq_input_read(input, 1, text, sizeof text, error)); /* the first time a zip's CRC-32 is compared */
  fail_operation(-1);
  for (size_t i = 1; i <= 50; i++) ck_ok(tq_input_read(input, LARGE - 5000 * i, text, sizeof text, error));
  fail_no_operation();
  ck_assert_int_eq(operations_met(TQ_OPERATION_READ), 50);
  tq_input_close(input);
  tq_folder_close(folder);
}
END_TEST

/* Converting reads each tensor more than once: the passes over a compressed archive must not become one per tensor. */
START_TEST(reading_twice_piece_by_piece_is_linear) {
  enum { PIECES = 30, PIECE = LARGE / PIECES };
  const file files[] = {{"a", large_data(), LARGE, 0, NULL}, {"b", large_data(), LARGE, 0, NULL}};
  tq_folder *folder;
  size_t size;
  const char *path = pack(find_kind("tar.gz"), files, 2);
  free(read_file(path, &size));
  ck_ok(open_archive(path, &folder, error));
  tq_input *inputs[] = {open_file(folder, "a"), open_file(folder, "b")};
  static uint8_t buffer[PIECE];
  fail_operation(-1);
  for (size_t i = 0; i < 2 * PIECES; i++) {
    for (int pass = 0; pass < 2; pass++)
      ck_ok(tq_input_read(inputs[i / PIECES], i % PIECES * PIECE, buffer, PIECE, error));
    ck_assert_mem_eq(buffer, large_data() + i % PIECES * PIECE, PIECE);
  }
  fail_no_operation();
  ck_assert_int_le(operations_met(TQ_OPERATION_READ), 3 * ((long)size / 65536 + 6));
  tq_input_close(inputs[0]);
  tq_input_close(inputs[1]);
  tq_folder_close(folder);
}
END_TEST

START_TEST(a_common_component_is_dropped_once) {
  static const struct {
    const char *in[2], *out[2];
  } cases[] = {{{"x/y/a", "x/y/b"}, {"y/a", "y/b"}},
               {{"x/a", "y/a"}, {"x/a", "y/a"}},
               {{"x/a", "xa"}, {"x/a", "xa"}},
               {{"./x/a", "./x/b"}, {"a", "b"}},
               {{"./a", ".//b"}, {"a", "b"}}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const file files[] = {{cases[i].in[0], "0", 1, 0, NULL}, {cases[i].in[1], "1", 1, 0, NULL}};
    tq_folder *folder;
    ck_ok(open_archive(pack(&kinds[_i], files, 2), &folder, error));
    check_names(folder, cases[i].out, 2);
    check_file(folder, cases[i].out[1], "1", 1);
    tq_folder_close(folder);
  }
}
END_TEST

/* The tests run in the C locale, in which libarchive by itself can name nothing but ASCII. */
START_TEST(names_are_utf8_in_any_locale) {
  const file files[] = {{"w/m\xc3\xb6"
                         "del",
                         "x", 1, 0, NULL},
                        {"w/\xe6\xa8\xa1\xe5\x9e\x8b", "y", 1, 0, NULL}};
  tq_folder *folder;
  ck_assert_str_eq(setlocale(LC_CTYPE, NULL), "C");
  ck_ok(open_archive(pack(&kinds[_i], files, 2), &folder, error));
  check_names(folder,
              (const char *[]){"m\xc3\xb6"
                               "del",
                               "\xe6\xa8\xa1\xe5\x9e\x8b"},
              2);
  check_file(folder, "\xe6\xa8\xa1\xe5\x9e\x8b", "y", 1);
  tq_folder_close(folder);
  ck_assert_str_eq(setlocale(LC_CTYPE, NULL), "C");
}
END_TEST

/* A zip whose local headers have no sizes, as one written to a pipe has: the central directory has them. */
START_TEST(a_zip_with_data_descriptors) {
  const file one = {"a", "some text some text", 19, 0, NULL};
  size_t size;
  const char *path = pack(find_kind("deflated.zip"), &one, 1);
  uint8_t *bytes = read_file(path, &size);
  ck_assert_mem_eq(bytes, "PK\3\4", 4);
  ck_assert_msg(bytes[6] & 8, "the test's archive has no data descriptor");
  memset(bytes + 14, 0, 12);
  write_file(path, bytes, size);
  free(bytes);
  tq_folder *folder;
  ck_ok(open_archive(path, &folder, error));
  check_file(folder, "a", one.data, one.size);
  tq_folder_close(folder);
}
END_TEST

START_TEST(recognised_by_magic) {
  const file one = {"a", "1", 1, 0, NULL};
  size_t size;
  uint8_t *bytes = read_file(pack(&kinds[_i], &one, 1), &size);
  ck_assert(tq_archive_recognize(bytes, size));
  ck_assert(!tq_archive_recognize(bytes, 1));
  ck_assert(!tq_archive_recognize(bytes + 1, size - 1));
  free(bytes);
  ck_assert(!tq_archive_recognize((const uint8_t *)"GGUF\3\0\0\0", 8));
  ck_assert(!tq_archive_recognize((const uint8_t *)"", 0));
}
END_TEST

/* ---- archives in archives ---- */

/* Packs a file into `levels` archives, each in the next. */
static const char *pack_nested(const char *const *extensions, size_t levels) {
  file inner = {"t/file", "deep", 4, 0, NULL};
  const char *path = pack(find_kind(extensions[0]), &inner, 1);
  for (size_t i = 1; i < levels; i++) {
    size_t size;
    uint8_t *bytes = read_file(path, &size);
    const file files[] = {{"t/before", "1", 1, 0, NULL}, {"t/inner", bytes, size, 0, NULL}};
    path = pack(find_kind(extensions[i]), files, 2);
    free(bytes);
  }
  return path;
}

START_TEST(archives_nest_three_deep_and_no_deeper) {
  static const char *const extensions[] = {"stored.zip", "tar.zst", "pax.tar", "tar.gz"};
  tq_folder *folders[3] = {NULL}, *fourth;
  ck_ok(open_archive(pack_nested(extensions, 3), &folders[0], error));
  ck_ok(tq_folder_open_nested(folders[0], "inner", &folders[1], error));
  ck_ok(tq_folder_open_nested(folders[1], "inner", &folders[2], error));
  tq_input *input = open_file(folders[2], "file");
  for (size_t i = 0; i < 3; i++) tq_folder_close(folders[i]);
  char text[4];
  ck_ok(tq_input_read(input, 0, text, 4, error));
  ck_assert_mem_eq(text, "deep", 4);
  tq_input_close(input);

  ck_ok(open_archive(pack_nested(extensions, 4), &folders[0], error));
  ck_ok(tq_folder_open_nested(folders[0], "inner", &folders[1], error));
  ck_ok(tq_folder_open_nested(folders[1], "inner", &folders[2], error));
  ck_fails(tq_folder_open_nested(folders[2], "inner", &fourth, error), TQ_ERROR_CORRUPT, "nested more than 3 deep");
  for (size_t i = 0; i < 3; i++) tq_folder_close(folders[i]);
}
END_TEST

/* ---- what is refused ---- */

static void check_refused(const kind *how, const file *files, size_t count, const char *part) {
  tq_folder *folder;
  const char *path = pack(how, files, count);
  ck_fails(open_archive(path, &folder, error), TQ_ERROR_CORRUPT, part);
}

START_TEST(unsafe_names) {
  static const char *const names[] = {"../evil",  "a/../evil", "/etc/evil", "a//evil", "a/./evil",
                                      "evil\x01", "..",        "a/b\\evil", "a/.."};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const file files[] = {{"fine/x", "1", 1, 0, NULL}, {names[i], "1", 1, 0, NULL}};
    check_refused(&kinds[_i], files, 2, "has an unsafe name");
  }
  const file folder = {"../evil/", NULL, 0, AE_IFDIR, NULL};
  check_refused(&kinds[_i], &folder, 1, "'../evil/' has an unsafe name");
}
END_TEST

START_TEST(duplicate_names) {
  const file files[] = {{"a/x", "1", 1, 0, NULL}, {"a/y", "2", 1, 0, NULL}, {"./a/x", "3", 1, 0, NULL}};
  check_refused(&kinds[_i], files, 3, "'x' is there twice");
}
END_TEST

START_TEST(files_that_are_folders_too) {
  const file files[] = {{"m/a", "1", 1, 0, NULL}, {"m/a!", "2", 1, 0, NULL}, {"m/a/b", "3", 1, 0, NULL}};
  check_refused(&kinds[_i], files, 3, "entry 'a' is both a file and a folder");
}
END_TEST

START_TEST(links_and_devices) {
  const file files[] = {{"l", NULL, 0, AE_IFLNK, "/etc/passwd"},
                        {"f", NULL, 0, AE_IFIFO, NULL},
                        {"c", NULL, 0, AE_IFCHR, NULL},
                        {"a", "1", 1, 0, NULL},
                        {"h", NULL, 0, AE_IFREG, "a"}};
  const kind *tar = find_kind("tar.gz");
  check_refused(tar, &files[0], 1, "entry 'l' is a symbolic link");
  check_refused(find_kind("stored.zip"), &files[0], 1, "entry 'l' is a symbolic link");
  check_refused(tar, &files[1], 1, "entry 'f' is a pipe");
  check_refused(tar, &files[2], 1, "entry 'c' is a device");
  check_refused(tar, &files[3], 2, "entry 'h' is a hard link");
}
END_TEST

START_TEST(archives_without_files) {
  const file folder = {"a/", NULL, 0, AE_IFDIR, NULL};
  check_refused(&kinds[_i], &folder, 1, "an archive without files");
}
END_TEST

START_TEST(compressed_files_that_are_no_archives) {
  const file one = {"ignored", "not a tar archive, and some more text behind", 44, 0, NULL};
  const kind raw = {"gguf.gz", archive_write_set_format_raw, archive_write_add_filter_gzip, NULL};
  check_refused(&raw, &one, 1, "compressed by gzip, but not a tar archive");
}
END_TEST

START_TEST(bombs) {
  enum { SIZE = 100 << 20 };
  void *zeros = calloc(SIZE, 1);
  const file one = {"bomb", zeros, SIZE, 0, NULL};
  check_refused(find_kind("tar.zst"), &one, 1, "which no model does");
  check_refused(find_kind("tar.gz"), &one, 1, "which no model does");
  check_refused(find_kind("deflated.zip"), &one, 1, "which no model does");
  free(zeros);
}
END_TEST

/* Zeros behind the last entry expand too, though no entry says so. */
START_TEST(bombs_behind_the_end) {
  enum { SIZE = 100 << 20 };
  const file one = {"a", "1", 1, 0, NULL};
  size_t tar_size;
  uint8_t *small = read_file(pack(find_kind("ustar.tar"), &one, 1), &tar_size), *tar = calloc(SIZE, 1);
  ck_assert_ptr_nonnull(tar);
  memcpy(tar, small, tar_size);
  free(small);
  const file whole = {"ignored", tar, SIZE, 0, NULL};
  const kind raw = {"tar.zst", archive_write_set_format_raw, archive_write_add_filter_zstd, NULL};
  check_refused(&raw, &whole, 1, "which no model does");
  free(tar);
}
END_TEST

START_TEST(too_many_entries_and_names) {
  enum { COUNT = 100001 };
  file *files = calloc(COUNT, sizeof *files);
  char(*names)[16] = calloc(COUNT, sizeof *names);
  for (size_t i = 0; i < COUNT; i++) {
    snprintf(names[i], sizeof names[i], "%zu", i);
    files[i] = (file){names[i], "", 0, 0, NULL};
  }
  check_refused(find_kind("stored.zip"), files, COUNT, "more than 100000 entries");
  free(names);
  free(files);
  char name[1200];
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = 0;
  const file one = {name, "", 0, 0, NULL};
  check_refused(find_kind("tar.gz"), &one, 1, "has too long a name");
}
END_TEST

static bool reads_whole(tq_folder *folder, const file *files, size_t count, tq_error *error) {
  for (size_t i = 0; i < count; i++) {
    tq_input *input;
    ck_assert_int_eq(tq_folder_input(folder, files[i].name, &input, error), TQ_OK);
    ck_assert_msg(input && tq_input_size(input) == files[i].size, "%s is missing or shorter", files[i].name);
    char *data = NULL;
    size_t size;
    tq_status status = tq_input_read_all(input, 1 << 20, &data, &size, error);
    tq_input_close(input);
    if (status != TQ_OK) return false;
    bool same = memcmp(data, files[i].data, size) == 0;
    tq_free(data);
    ck_assert_msg(same, "%s was read wrongly", files[i].name);
  }
  return true;
}

/* A truncated archive is refused, or only padding was cut off and everything is still there. */
START_TEST(truncated_anywhere) {
  uint8_t noise[700];
  uint64_t state = 5;
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)random_u64(&state);
  const file files[] = {{"a", noise, sizeof noise, 0, NULL}, {"b", "second", 6, 0, NULL}};
  size_t size, accepted = 0;
  uint8_t *bytes = read_file(pack(&kinds[_i], files, 2), &size);
  for (size_t length = 0; length <= size; length++) {
    tq_folder *folder = NULL;
    tq_error error = {0};
    tq_status status = open_memory(bytes, length, &folder, &error);
    if (status == TQ_OK && reads_whole(folder, files, 2, &error))
      accepted++;
    else
      ck_assert_msg(length < size, "the whole archive: %s", error.message);
    if (status != TQ_OK) ck_assert_msg(status == TQ_ERROR_CORRUPT, "%zu: %s", length, error.message);
    tq_folder_close(folder);
  }
  ck_assert_msg(accepted == 1, "%zu of %zu truncations were accepted", accepted - 1, size);
  free(bytes);
}
END_TEST

/* Flipped bits anywhere give an error or other content, never a crash. */
START_TEST(damaged_anywhere) {
  const file files[] = {{"a", "first first first", 17, 0, NULL}, {"b", "second", 6, 0, NULL}};
  size_t size;
  uint8_t *bytes = read_file(pack(&kinds[_i], files, 2), &size);
  for (size_t at = 0; at < size; at++) {
    bytes[at] ^= (uint8_t)(1u << (at & 7));
    tq_folder *folder = NULL;
    tq_error error = {0};
    tq_status status = open_memory(bytes, size, &folder, &error);
    bytes[at] ^= (uint8_t)(1u << (at & 7));
    ck_assert(status == TQ_OK || (status == TQ_ERROR_CORRUPT && error.message[0]));
    char *const *names = NULL;
    size_t count = 0;
    if (folder) ck_assert_int_eq(tq_folder_list(folder, &names, &count, &error), TQ_OK);
    for (size_t i = 0; i < count; i++) {
      tq_input *input;
      ck_assert_int_eq(tq_folder_input(folder, names[i], &input, &error), TQ_OK);
      char *data;
      size_t data_size;
      if (tq_input_read_all(input, 1 << 20, &data, &data_size, &error) == TQ_OK) tq_free(data);
      tq_input_close(input);
    }
    tq_folder_close(folder);
  }
  free(bytes);
}
END_TEST

static const kind uncompressed_gzip = {"tar.gz", archive_write_set_format_ustar, archive_write_add_filter_gzip,
                                       "gzip:compression-level=0"};

static tq_status read_part(const uint8_t *bytes, size_t size, const char *name, uint64_t offset, size_t part,
                           tq_error *error) {
  static uint8_t buffer[LARGE];
  tq_folder *folder = NULL;
  tq_input *input = NULL;
  tq_status status = open_memory(bytes, size, &folder, error);
  if (status == TQ_OK) status = tq_folder_input(folder, name, &input, error);
  if (status == TQ_OK) status = tq_input_read(input, offset, buffer, part, error);
  tq_input_close(input);
  tq_folder_close(folder);
  return status;
}

/* One byte that only a sum can tell from the right one. */
START_TEST(sums_are_compared) {
  const file files[] = {{"m/a", large_data(), LARGE, 0, NULL}, {"m/b", "small", 5, 0, NULL}};
  size_t size;
  uint8_t *zip = read_file(pack(find_kind("stored.zip"), files, 2), &size);
  uint8_t *large = memmem(zip, size, large_data(), LARGE), *small = memmem(zip, size, "small", 5);
  ck_ok(read_part(zip, size, "a", 0, LARGE, error));
  large[LARGE / 2] ^= 1;
  ck_ok(read_part(zip, size, "b", 0, 5, error));
  ck_fails(read_part(zip, size, "a", 0, LARGE, error), TQ_ERROR_CORRUPT,
           "memory: entry 'a' is damaged: its CRC-32 does not match");
  ck_fails(read_part(zip, size, "a", LARGE - 9, 7, error), TQ_ERROR_CORRUPT, "its CRC-32 does not match");
  large[LARGE / 2] ^= 1;
  small[1] ^= 1;
  ck_fails(read_part(zip, size, "b", 0, 5, error), TQ_ERROR_CORRUPT,
           "memory: entry 'm/b' is damaged: its CRC-32 does not match");
  free(zip);
  uint8_t *gzip = read_file(pack(&uncompressed_gzip, files, 2), &size);
  ck_ok(read_part(gzip, size, "b", 0, 5, error));
  gzip[size / 2] ^= 1;
  ck_fails(read_part(gzip, size, "b", 0, 5, error), TQ_ERROR_CORRUPT, "memory: its CRC-32 does not match");
  gzip[size / 2] ^= 1;
  gzip[size - 4] ^= 1;
  ck_fails(read_part(gzip, size, "b", 0, 5, error), TQ_ERROR_CORRUPT, "its size is not what its gzip trailer says");
  free(gzip);
}
END_TEST

/* A deflated entry whose last bytes fill libarchive's buffer exactly. */
START_TEST(sums_of_deflated_entries_are_compared) {
  enum { SIZE = 256 << 10 };
  const file one = {"a", large_data(), SIZE, 0, NULL};
  size_t size;
  uint8_t *zip = read_file(pack(find_kind("deflated.zip"), &one, 1), &size);
  ck_ok(read_part(zip, size, "a", 0, SIZE, error));
  uint8_t *entry = memmem(zip, size, "PK\1\2", 4);
  ck_assert_ptr_nonnull(entry);
  entry[16] ^= 1;
  ck_fails(read_part(zip, size, "a", 0, SIZE, error), TQ_ERROR_CORRUPT, "its CRC-32 does not match");
  free(zip);
}
END_TEST

/* A .tar.gz may be several gzip streams end to end, and be filled up with zeros. */
START_TEST(gzip_in_several_streams) {
  const kind raw = {"gz", archive_write_set_format_raw, archive_write_add_filter_gzip, NULL};
  const file one = {"a", large_data(), LARGE, 0, NULL};
  size_t size, half_size[2], total = 0;
  uint8_t *tar = read_file(pack(find_kind("ustar.tar"), &one, 1), &size), *joined = calloc(size, 1);
  const file halves[] = {{"x", tar, 100000, 0, NULL}, {"x", tar + 100000, size - 100000, 0, NULL}};
  for (size_t i = 0; i < 2; i++) {
    uint8_t *packed = read_file(pack(&raw, &halves[i], 1), &half_size[i]);
    memcpy(joined + total, packed, half_size[i]);
    total += half_size[i];
    free(packed);
  }
  free(tar);
  ck_ok(read_part(joined, total, "a", 0, LARGE, error));
  ck_ok(read_part(joined, total + 100, "a", 0, LARGE, error));
  ck_fails(read_part(joined, half_size[0], "a", 0, LARGE, error), TQ_ERROR_CORRUPT, "");
  joined[total + 99] = 1;
  ck_fails(read_part(joined, total + 100, "a", 0, LARGE, error), TQ_ERROR_CORRUPT, "something follows its gzip stream");
  joined[half_size[0] - 5] ^= 1;
  ck_fails(read_part(joined, total, "a", 0, LARGE, error), TQ_ERROR_CORRUPT, "its CRC-32 does not match");
  free(joined);
}
END_TEST

/* ---- faults ---- */

static tq_status read_nested(const void *path, tq_error *error) {
  tq_folder *outer = NULL, *inner = NULL;
  tq_input *input = NULL;
  char text[4];
  tq_status status = open_archive(path, &outer, error);
  if (status == TQ_OK) status = tq_folder_open_nested(outer, "inner", &inner, error);
  if (status == TQ_OK) status = tq_folder_input(inner, "file", &input, error);
  if (status == TQ_OK) status = tq_input_read(input, 0, text, 4, error);
  tq_input_close(input);
  tq_folder_close(inner);
  tq_folder_close(outer);
  return status;
}

START_TEST(every_fault_is_reported) {
  static const char *const extensions[] = {"stored.zip", "tar.gz"};
  ck_assert_int_gt(check_every_fault(read_nested, pack_nested(extensions, 2)), 20);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("archive");
  TCase *reading = tcase_create("reading");
  tcase_set_timeout(reading, 60);
  tcase_add_test(reading, a_folder_on_disk);
  tcase_add_loop_test(reading, every_kind_gives_the_same_files, 0, KINDS);
  tcase_add_loop_test(reading, any_range_can_be_read, 0, KINDS);
  tcase_add_loop_test(reading, stored_members_are_not_searched_for, 0, 4);
  tcase_add_test(reading, reading_twice_piece_by_piece_is_linear);
  tcase_add_loop_test(reading, a_common_component_is_dropped_once, 0, KINDS);
  tcase_add_loop_test(reading, names_are_utf8_in_any_locale, 0, KINDS);
  tcase_add_loop_test(reading, recognised_by_magic, 0, KINDS);
  tcase_add_test(reading, a_zip_with_data_descriptors);
  tcase_add_test(reading, archives_nest_three_deep_and_no_deeper);
  suite_add_tcase(suite, reading);
  TCase *hostile = tcase_create("hostile");
  tcase_set_timeout(hostile, 60);
  tcase_add_loop_test(hostile, unsafe_names, 0, KINDS);
  tcase_add_loop_test(hostile, duplicate_names, 0, KINDS);
  tcase_add_loop_test(hostile, files_that_are_folders_too, 0, KINDS);
  tcase_add_test(hostile, links_and_devices);
  tcase_add_loop_test(hostile, archives_without_files, 0, KINDS);
  tcase_add_test(hostile, compressed_files_that_are_no_archives);
  tcase_add_test(hostile, bombs);
  tcase_add_test(hostile, bombs_behind_the_end);
  tcase_add_test(hostile, too_many_entries_and_names);
  tcase_add_loop_test(hostile, truncated_anywhere, 0, KINDS);
  tcase_add_loop_test(hostile, damaged_anywhere, 0, KINDS);
  tcase_add_test(hostile, sums_are_compared);
  tcase_add_test(hostile, sums_of_deflated_entries_are_compared);
  tcase_add_test(hostile, gzip_in_several_streams);
  tcase_add_test(hostile, every_fault_is_reported);
  suite_add_tcase(suite, hostile);
  return run_suite(suite);
}
