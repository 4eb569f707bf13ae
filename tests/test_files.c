/* The file layer: mappings, inputs, outputs that appear whole or not at all, listings. */
#include "base/file.h"
#include "base/memory.h"
#include "tests/support.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- helpers ---- */

/* A new empty folder for one test, so that what an operation leaves behind is seen. */
static const char *place(const char *name) {
  const char *path = temporary_path(name);
  ck_assert_msg(mkdir(path, 0777) == 0, "%s: %s", path, strerror(errno));
  return path;
}

static const char *inside(const char *folder, const char *name) {
  static char paths[8][4096];
  static unsigned next;
  char joined[4096];
  snprintf(joined, sizeof joined, "%s/%s", folder, name); /* aside, for `folder` may be one of `paths` */
  return strcpy(paths[next++ % 8], joined);
}

/* How many entries a folder has, hidden ones included. */
static int entries(const char *path) {
  int count = 0;
  DIR *folder = opendir(path);
  ck_assert(folder != NULL);
  while (readdir(folder)) count++;
  closedir(folder);
  return count - 2;
}

static void check_contents(const char *path, const char *expected) {
  size_t size;
  uint8_t *data = read_file(path, &size);
  ck_assert_uint_eq(size, strlen(expected));
  ck_assert_mem_eq(data, expected, size);
  free(data);
}

static tq_status write_text(const char *path, const char *text, tq_error *error) {
  tq_output *output;
  tq_status status = tq_output_create(path, &output, error);
  if (status) return status;
  status = tq_output_write(output, text, strlen(text), error);
  if (!status) return tq_output_commit(output, error);
  tq_output_abandon(output);
  return status;
}

static tq_status write_in_folder(tq_output_folder *folder, const char *name, const char *text, tq_error *error) {
  tq_output *output;
  tq_status status = tq_output_folder_file(folder, name, &output, error);
  if (status) return status;
  status = tq_output_write(output, text, strlen(text), error);
  if (!status) return tq_output_commit(output, error);
  tq_output_abandon(output);
  return status;
}

static tq_status write_tree(const char *path, tq_error *error) {
  tq_output_folder *folder;
  tq_status status = tq_output_folder_create(path, &folder, error);
  if (status) return status;
  status = write_in_folder(folder, "a.txt", "A", error);
  if (!status) status = write_in_folder(folder, "deep/er/b.txt", "B", error);
  if (!status) return tq_output_folder_commit(folder, error);
  tq_output_folder_abandon(folder);
  return status;
}

/* Runs `make` in a child that ends without cleaning up after itself. */
static void in_dying_child(void (*make)(const char *path), const char *path) {
  pid_t child = fork();
  ck_assert(child >= 0);
  if (child == 0) {
    make(path);
    _exit(0);
  }
  int status;
  ck_assert(waitpid(child, &status, 0) == child && status == 0);
}

static void leave_file(const char *path) {
  tq_output *output;
  if (tq_output_create(path, &output, NULL) || tq_output_zeros(output, 1000000, NULL)) _exit(1);
}

/* ---- reading ---- */

START_TEST(mapping_shows_the_file) {
  const char *path = temporary_path("mapped");
  tq_mapping mapping;
  write_file(path, "content", 7);
  ck_ok(tq_mapping_open(path, &mapping, error));
  ck_assert_uint_eq(mapping.size, 7);
  ck_assert_mem_eq(mapping.data, "content", 7);
  tq_mapping_close(&mapping);
  ck_assert(mapping.data == NULL);
  write_file(path, "", 0);
  ck_ok(tq_mapping_open(path, &mapping, error));
  ck_assert(mapping.data == NULL && mapping.size == 0);
  tq_mapping_close(&mapping);
}
END_TEST

START_TEST(only_regular_files_are_read) {
  tq_mapping mapping;
  tq_input *input;
  const char *pipe_path = temporary_path("pipe");
  ck_assert(mkfifo(pipe_path, 0666) == 0);
  const char *others[] = {temporary_folder(), pipe_path, "/dev/null"};
  for (int i = 0; i < 3; i++) {
    ck_fails(tq_mapping_open(others[i], &mapping, error), TQ_ERROR_USAGE, "not a regular file");
    ck_fails(tq_input_open(others[i], &input, error), TQ_ERROR_USAGE, "not a regular file");
  }
  ck_fails(tq_mapping_open("/no/such\nfile", &mapping, error), TQ_ERROR_SYSTEM,
           "/no/such\\x0Afile: cannot open: No such file or directory");
  ck_fails(tq_input_open("/no/such", &input, error), TQ_ERROR_SYSTEM, "/no/such: cannot open");
}
END_TEST

START_TEST(input_reads_any_range) {
  const char *path = temporary_path("input");
  write_file(path, "0123456789", 10);
  tq_input *input;
  ck_ok(tq_input_open(path, &input, error));
  ck_assert_str_eq(tq_input_name(input), path);
  ck_assert_uint_eq(tq_input_size(input), 10);
  char buffer[16];
  ck_ok(tq_input_read(input, 7, buffer, 3, error));
  ck_assert_mem_eq(buffer, "789", 3);
  ck_ok(tq_input_read(input, 0, buffer, 4, error));
  ck_assert_mem_eq(buffer, "0123", 4);
  ck_ok(tq_input_read(input, 10, buffer, 0, error));
  ck_fails(tq_input_read(input, 7, buffer, 4, error), TQ_ERROR_CORRUPT, "truncated");
  ck_fails(tq_input_read(input, UINT64_MAX, buffer, 2, error), TQ_ERROR_CORRUPT, "truncated");
  ck_fails(tq_input_read(input, 11, buffer, 0, error), TQ_ERROR_CORRUPT, "truncated");
  tq_input_close(input);
  tq_input_close(NULL);
}
END_TEST

START_TEST(input_that_shrinks_is_truncated) {
  const char *path = temporary_path("shrinking");
  write_file(path, "0123456789", 10);
  tq_input *input;
  ck_ok(tq_input_open(path, &input, error));
  ck_assert(truncate(path, 4) == 0);
  char buffer[10];
  ck_fails(tq_input_read(input, 2, buffer, 5, error), TQ_ERROR_CORRUPT, "shrinking: truncated while it was read");
  tq_input_close(input);
}
END_TEST

START_TEST(input_is_read_whole_within_a_limit) {
  const char *path = temporary_path("whole");
  write_file(path, "0123456789", 10);
  tq_input *input;
  char *data;
  size_t size;
  ck_ok(tq_input_open(path, &input, error));
  ck_fails(tq_input_read_all(input, 9, &data, &size, error), TQ_ERROR_CORRUPT, "more than the 9");
  ck_ok(tq_input_read_all(input, 10, &data, &size, error));
  ck_assert_uint_eq(size, 10);
  ck_assert_str_eq(data, "0123456789");
  tq_free(data);
  tq_input_close(input);
}
END_TEST

START_TEST(input_takes_over_memory) {
  tq_input *input;
  char buffer[4];
  ck_ok(tq_input_from_memory("archive.zip:member", tq_copy_string("abcdef", 6, NULL), 6, &input, error));
  ck_assert_str_eq(tq_input_name(input), "archive.zip:member");
  ck_ok(tq_input_read(input, 2, buffer, 4, error));
  ck_assert_mem_eq(buffer, "cdef", 4);
  ck_fails(tq_input_read(input, 3, buffer, 4, error), TQ_ERROR_CORRUPT, "archive.zip:member: truncated");
  tq_input_close(input);
}
END_TEST

/* ---- writing a file ---- */

enum { BIG = 3000000 };

START_TEST(output_is_what_was_written) {
  const char *folder = place("written"), *path = inside(folder, "file");
  static uint8_t expected[BIG + 700000 + 5];
  uint64_t state = 1;
  for (size_t i = 0; i < BIG; i++) expected[i] = (uint8_t)random_u64(&state);
  tq_output *output;
  ck_ok(tq_output_create(path, &output, error));
  size_t at = 0;
  for (size_t piece = 1; at < BIG; piece = piece * 3 + 1) { /* smaller and larger than any buffer */
    size_t size = piece < BIG - at ? piece : BIG - at;
    ck_ok(tq_output_write(output, expected + at, size, error));
    at += size;
    ck_assert_uint_eq(tq_output_position(output), at);
  }
  ck_ok(tq_output_zeros(output, 700000, error));
  ck_ok(tq_output_write(output, NULL, 0, error));
  ck_ok(tq_output_write(output, "tail!", 5, error));
  memcpy(expected + BIG + 700000, "tail!", 5);
  /* Overwritten: long written, across what is still buffered, and buffered only. */
  const size_t places[] = {0, 1000000, BIG + 700000 - 2, BIG + 700001};
  for (int i = 0; i < 4; i++) {
    ck_ok(tq_output_write_at(output, places[i], "####", 4, error));
    memcpy(expected + places[i], "####", 4);
  }
  ck_assert_uint_eq(tq_output_position(output), sizeof expected);
  ck_fails(tq_output_write_at(output, sizeof expected - 3, "####", 4, error), TQ_ERROR_USAGE, "not written before");
  ck_ok(tq_output_commit(output, error));
  size_t size;
  uint8_t *data = read_file(path, &size);
  ck_assert_uint_eq(size, sizeof expected);
  ck_assert(memcmp(data, expected, size) == 0);
  free(data);
  ck_assert_int_eq(entries(folder), 1);
}
END_TEST

START_TEST(output_overwrites_across_its_buffer) {
  const char *path = inside(place("across"), "file");
  static char zeros[600000];
  tq_output *output;
  ck_ok(tq_output_create(path, &output, error));
  ck_ok(tq_output_write(output, zeros, sizeof zeros, error)); /* passed on */
  ck_ok(tq_output_write(output, "abcd", 4, error));           /* buffered */
  ck_ok(tq_output_write_at(output, sizeof zeros - 2, "1234", 4, error));
  ck_ok(tq_output_commit(output, error));
  size_t size;
  uint8_t *data = read_file(path, &size);
  ck_assert_uint_eq(size, sizeof zeros + 4);
  ck_assert_mem_eq(data + sizeof zeros - 2, "1234cd", 6);
  free(data);
}
END_TEST

START_TEST(target_is_unchanged_until_the_commit) {
  const char *folder = place("unchanged"), *path = inside(folder, "file");
  write_file(path, "old", 3);
  tq_output *output;
  ck_ok(tq_output_create(path, &output, error));
  ck_ok(tq_output_zeros(output, 1000000, error));
  check_contents(path, "old");
  tq_output_abandon(output);
  tq_output_abandon(NULL);
  check_contents(path, "old");
  ck_assert_int_eq(entries(folder), 1);
  ck_ok(write_text(path, "new", error));
  check_contents(path, "new");
}
END_TEST

START_TEST(output_follows_the_umask) {
  const char *path = inside(place("mode"), "file");
  mode_t before = umask(027);
  ck_ok(write_text(path, "x", error));
  umask(before);
  struct stat status;
  ck_assert(stat(path, &status) == 0);
  ck_assert_int_eq(status.st_mode & 0777, 0640);
}
END_TEST

START_TEST(targets_that_cannot_be_are_refused_early) {
  const char *folder = place("refused");
  tq_output *output;
  tq_output_folder *made;
  ck_fails(tq_output_create(folder, &output, error), TQ_ERROR_USAGE, "is a folder");
  ck_fails(tq_output_create(inside(folder, "x/"), &output, error), TQ_ERROR_USAGE, "names a folder");
  ck_fails(tq_output_create("/dev/null", &output, error), TQ_ERROR_USAGE, "not a regular file");
  ck_fails(tq_output_create("", &output, error), TQ_ERROR_USAGE, "not a name");
  ck_fails(tq_output_create(inside(folder, "none/x"), &output, error), TQ_ERROR_SYSTEM, "none/x: cannot create");
  ck_fails(tq_output_folder_create(folder, &made, error), TQ_ERROR_USAGE, "exists");
  ck_fails(tq_output_folder_create("/", &made, error), TQ_ERROR_USAGE, "not a name");
  ck_fails(tq_output_folder_create("..", &made, error), TQ_ERROR_USAGE, "not a name");
  ck_assert_int_eq(entries(folder), 0);
}
END_TEST

/* Fails for the target with the status and part of the message, made or only checked. */
static void check_refused(const char *path, tq_status status, const char *part) {
  tq_output *output;
  ck_fails(tq_output_create(path, &output, error), status, part);
  ck_fails(tq_output_check(path, error), status, part);
}

START_TEST(links_are_kept_and_what_they_lead_to_is_replaced) {
  const char *folder = place("linked"), *other = place("linked-to"), *link = inside(folder, "link");
  struct stat status;
  write_file(inside(other, "file"), "old", 3);
  ck_assert(symlink("../linked-to/file", inside(folder, "second")) == 0 && symlink("second", link) == 0);
  in_dying_child(leave_file, inside(other, "file"));
  ck_ok(tq_output_check(link, error));
  ck_ok(write_text(link, "new", error));
  ck_assert(lstat(link, &status) == 0 && S_ISLNK(status.st_mode));
  ck_assert(lstat(inside(folder, "second"), &status) == 0 && S_ISLNK(status.st_mode));
  check_contents(inside(other, "file"), "new");
  ck_assert_int_eq(entries(folder), 2);
  ck_assert_int_eq(entries(other), 1);
}
END_TEST

START_TEST(links_to_no_file_are_refused) {
  const char *folder = place("misled");
  static const char *const links[][3] = {{"broken", "none", "leads nowhere"},
                                         {"folder", ".", "is a folder"},
                                         {"pipe-link", "pipe", "not a regular file"},
                                         {"process", "/proc/self/status", "which is not replaced"}};
  ck_assert(mkfifo(inside(folder, "pipe"), 0666) == 0);
  for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
    const char *path = inside(folder, links[i][0]);
    struct stat status;
    if (links[i][1][0] == '/' && access(links[i][1], F_OK) != 0) continue;
    ck_assert(symlink(links[i][1], path) == 0);
    check_refused(path, TQ_ERROR_USAGE, links[i][2]);
    ck_assert(lstat(path, &status) == 0 && S_ISLNK(status.st_mode));
  }
}
END_TEST

START_TEST(reasons_of_the_system_are_told) {
  const char *folder = place("reasons"), *circle = inside(folder, "circle");
  char name[300] = "";
  tq_path_kind kind;
  ck_assert(symlink("circle", circle) == 0);
  memset(name, 'x', sizeof name - 1);
  const char *paths[] = {circle, inside(folder, name)};
  static const char *const reasons[] = {"Too many levels of symbolic links", "File name too long"};
  for (int i = 0; i < 2; i++) {
    check_refused(paths[i], TQ_ERROR_SYSTEM, reasons[i]);
    ck_fails(tq_path_identify(paths[i], &kind, error), TQ_ERROR_SYSTEM, reasons[i]);
  }
  ck_ok(tq_path_identify(inside(folder, "none"), &kind, error));
  ck_assert_int_eq(kind, TQ_PATH_MISSING);
}
END_TEST

START_TEST(one_target_is_written_once_at_a_time) {
  const char *folder = place("twice"), *path = inside(folder, "file");
  tq_output *first, *second;
  ck_ok(tq_output_create(path, &first, error));
  ck_fails(tq_output_create(path, &second, error), TQ_ERROR_SYSTEM, "is being written already");
  ck_ok(tq_output_write(first, "first", 5, error));
  ck_ok(tq_output_commit(first, error));
  check_contents(path, "first");
}
END_TEST

START_TEST(a_lost_write_is_never_committed) {
  const char *folder = place("lost"), *path = inside(folder, "file");
  tq_output *output;
  ck_ok(tq_output_create(path, &output, error));
  ck_fails(tq_output_zeros(output, UINT64_MAX, error), TQ_ERROR_SYSTEM, "larger than a file can be");
  ck_fails(tq_output_commit(output, error), TQ_ERROR_SYSTEM, "a write failed before");
  ck_assert_int_eq(entries(folder), 0);
}
END_TEST

/* ---- writing a folder ---- */

START_TEST(folder_appears_whole) {
  const char *parent = place("folder"), *path = inside(parent, "model");
  ck_ok(write_tree(inside(parent, "model//"), error));
  check_contents(inside(path, "a.txt"), "A");
  check_contents(inside(path, "deep/er/b.txt"), "B");
  ck_assert_int_eq(entries(parent), 1);
  ck_fails(write_tree(path, error), TQ_ERROR_USAGE, "exists");
}
END_TEST

START_TEST(folder_does_not_replace_what_came_meanwhile) {
  const char *parent = place("meanwhile"), *path = inside(parent, "model");
  tq_output_folder *folder;
  ck_ok(tq_output_folder_create(path, &folder, error));
  ck_ok(write_in_folder(folder, "a", "A", error));
  ck_assert(mkdir(path, 0777) == 0);
  ck_fails(tq_output_folder_commit(folder, error), TQ_ERROR_USAGE, "exists");
  ck_assert_int_eq(entries(parent), 1);
  ck_assert_int_eq(entries(path), 0);
}
END_TEST

START_TEST(folder_checks_its_names) {
  const char *parent = place("names");
  tq_output_folder *folder;
  tq_output *output;
  ck_ok(tq_output_folder_create(inside(parent, "model"), &folder, error));
  ck_fails(tq_output_folder_file(folder, "../x", &output, error), TQ_ERROR_CORRUPT, "'../x' is not a name");
  ck_fails(tq_output_folder_file(folder, "a\nb", &output, error), TQ_ERROR_CORRUPT, "a\\x0Ab");
  ck_ok(write_in_folder(folder, "a", "A", error));
  ck_fails(write_in_folder(folder, "a", "B", error), TQ_ERROR_SYSTEM, "model/a: is being written already");
  ck_fails(write_in_folder(folder, "a/b", "B", error), TQ_ERROR_SYSTEM, "model/a/b: cannot create");
  ck_ok(tq_output_folder_file(folder, "c", &output, error));
  ck_ok(tq_output_write(output, "C", 1, error));
  tq_output_abandon(output);
  ck_ok(tq_output_folder_commit(folder, error));
  ck_assert_int_eq(entries(inside(parent, "model")), 1);
  ck_ok(tq_output_folder_create(inside(parent, "other"), &folder, error));
  tq_output_folder_abandon(folder);
  tq_output_folder_abandon(NULL);
  ck_assert_int_eq(entries(parent), 1);
}
END_TEST

/* ---- what dead processes left ---- */

static void leave_folder(const char *path) {
  tq_output_folder *folder;
  tq_output *output;
  if (tq_output_folder_create(path, &folder, NULL)) _exit(1);
  if (tq_output_folder_file(folder, "deep/er/file", &output, NULL)) _exit(1);
}

START_TEST(next_run_removes_what_a_dead_process_left) {
  const char *folder = place("stale"), *path = inside(folder, "file");
  in_dying_child(leave_file, path);
  in_dying_child(leave_folder, inside(folder, "tree"));
  ck_assert_int_eq(entries(folder), 2);
  ck_ok(write_text(path, "new", error));
  ck_ok(write_tree(inside(folder, "tree"), error));
  ck_assert_int_eq(entries(folder), 2);
  in_dying_child(leave_folder, inside(folder, "other"));
  ck_ok(write_text(inside(folder, "other"), "x", error)); /* a file where a folder was meant to be */
  ck_assert_int_eq(entries(folder), 3);
}
END_TEST

static void leave_scratch(const char *path) {
  tq_scratch *scratch;
  if (tq_scratch_create(path, &scratch, NULL)) _exit(1);
  write_file(inside(tq_scratch_path(scratch), "model.tq"), "x", 1);
}

START_TEST(scratch_folders_go_with_their_run) {
  const char *folder = place("scratch"), *path = inside(folder, "model");
  tq_scratch *scratch;
  write_file(inside(folder, "model.between"), "the user's", 10);
  in_dying_child(leave_scratch, path);
  ck_assert_int_eq(entries(folder), 2);
  ck_ok(tq_scratch_create(inside(folder, "model/"), &scratch, error));
  ck_assert_int_eq(entries(folder), 2);
  ck_assert_int_eq(entries(tq_scratch_path(scratch)), 0);
  write_file(inside(tq_scratch_path(scratch), "model.tq"), "x", 1);
  tq_scratch_clean(path); /* the living stay */
  ck_assert_int_eq(entries(tq_scratch_path(scratch)), 1);
  tq_scratch_remove(scratch);
  tq_scratch_remove(NULL);
  in_dying_child(leave_scratch, path);
  tq_scratch_clean(path);
  ck_assert_int_eq(entries(folder), 1);
  ck_fails(tq_scratch_create(inside(folder, "none/x"), &scratch, error), TQ_ERROR_SYSTEM, "none/x: cannot create");
}
END_TEST

START_TEST(own_number_from_a_former_life_is_removed) {
  const char *folder = place("reborn");
  char name[64];
  snprintf(name, sizeof name, "file.tmp-%ld", (long)getpid());
  write_file(inside(folder, name), "left over", 9);
  ck_ok(write_text(inside(folder, "file"), "new", error));
  ck_assert_int_eq(entries(folder), 1);
}
END_TEST

START_TEST(temporaries_of_the_living_stay) {
  const char *folder = place("living"), *path = inside(folder, "file");
  int ready[2], done[2];
  ck_assert(pipe(ready) == 0 && pipe(done) == 0);
  pid_t child = fork();
  ck_assert(child >= 0);
  if (child == 0) {
    char byte = 0;
    leave_file(path);
    if (write(ready[1], &byte, 1) != 1 || read(done[0], &byte, 1) != 1) _exit(1);
    _exit(0);
  }
  char byte;
  ck_assert(read(ready[0], &byte, 1) == 1);
  ck_ok(write_text(path, "new", error));
  ck_assert_int_eq(entries(folder), 2);
  ck_assert(write(done[1], &byte, 1) == 1);
  ck_assert(waitpid(child, NULL, 0) == child);
  ck_ok(write_text(path, "newer", error));
  ck_assert_int_eq(entries(folder), 1);
}
END_TEST

START_TEST(only_temporaries_are_removed) {
  const char *folder = place("others");
  const char *const names[] = {"file.tmp-",  "file.tmp-0", "file.tmp-12x",     "file.tmp-99999999999999999999",
                               "file.tmp-1", "file.tmp",   "xfile.tmp-999999", "file2.tmp-999999"};
  for (int i = 0; i < 8; i++) write_file(inside(folder, names[i]), "x", 1);
  ck_ok(write_text(inside(folder, "file"), "new", error));
  ck_assert_int_eq(entries(folder), 9);
}
END_TEST

START_TEST(removal_does_not_follow_links) {
  const char *folder = place("links"), *precious = place("precious");
  write_file(inside(precious, "file"), "keep", 4);
  in_dying_child(leave_folder, inside(folder, "tree"));
  int linked = 0;
  DIR *listing = opendir(folder);
  for (struct dirent *entry; (entry = readdir(listing));)
    if (strncmp(entry->d_name, "tree.tmp-", 9) == 0)
      linked += symlink(precious, inside(inside(folder, entry->d_name), "link")) == 0;
  closedir(listing);
  ck_assert_int_eq(linked, 1);
  ck_assert(symlink(precious, inside(folder, "tree.tmp-999999999")) == 0);
  ck_ok(write_tree(inside(folder, "tree"), error));
  check_contents(inside(precious, "file"), "keep");
}
END_TEST

/* ---- faults ---- */

typedef struct scenario {
  tq_status (*run)(const char *path, tq_error *error);
  const char *path;
  void (*check)(const char *path);
} scenario;

static tq_status run_scenario(const void *context, tq_error *error) {
  const scenario *of = context;
  tq_status status = of->run(of->path, error);
  fail_no_operation();
  if (status) {
    support_check_failure("scenario", status, error, TQ_ERROR_SYSTEM,
                          operation_failed() == TQ_OPERATION_ALLOCATE ? "out of memory" : "Input/output error");
    of->check(of->path);
  }
  return status;
}

/* Makes each operation of a scenario fail; after each failure `check` looks at what is left. The operations counted in
 * the end are those of the last, successful, run. */
static void fail_everywhere(tq_status (*run)(const char *path, tq_error *error), const char *path,
                            void (*check)(const char *path)) {
  ck_assert_int_lt(check_every_fault(run_scenario, &(scenario){run, path, check}), 100);
}

static const char *parent_of_scenario;

static void nothing_left(const char *path) {
  ck_assert_msg(entries(parent_of_scenario) == (tq_path_examine(path) != TQ_PATH_MISSING), "something is left behind");
}

/* Only the sync of the folder comes after the rename: the target is then the new one. */
static void old_or_new(const char *path) {
  ck_assert_int_eq(entries(parent_of_scenario), 1);
  bool renamed = operation_failed() == TQ_OPERATION_SYNC && operations_met(TQ_OPERATION_RENAME) == 1;
  check_contents(path, renamed ? "new" : "old");
}

static tq_status replace(const char *path, tq_error *error) { return write_text(path, "new", error); }

START_TEST(file_is_old_or_new_whatever_fails) {
  parent_of_scenario = place("faulty file");
  const char *path = inside(parent_of_scenario, "file");
  write_file(path, "old", 3);
  fail_everywhere(replace, path, old_or_new);
  check_contents(path, "new");
  ck_assert(operations_met(TQ_OPERATION_ALLOCATE) && operations_met(TQ_OPERATION_OPEN) == 2 &&
            operations_met(TQ_OPERATION_WRITE) == 1 && operations_met(TQ_OPERATION_SYNC) == 2 &&
            operations_met(TQ_OPERATION_RENAME) == 1);
}
END_TEST

static tq_status write_tree_once(const char *path, tq_error *error) {
  if (tq_path_examine(path) != TQ_PATH_MISSING) { /* the sync of the parent failed, after the rename */
    char command[4200];
    snprintf(command, sizeof command, "rm -r '%s'", path);
    ck_assert(system(command) == 0);
  }
  return write_tree(path, error);
}

START_TEST(folder_is_whole_or_absent_whatever_fails) {
  parent_of_scenario = place("faulty folder");
  const char *path = inside(parent_of_scenario, "tree");
  fail_everywhere(write_tree_once, path, nothing_left);
  check_contents(inside(path, "deep/er/b.txt"), "B");
  ck_assert(operations_met(TQ_OPERATION_SYNC) == 6 && operations_met(TQ_OPERATION_RENAME) == 1);
}
END_TEST

static tq_status overwrite(const char *path, tq_error *error) {
  tq_output *output;
  tq_status status = tq_output_create(path, &output, error);
  if (status) return status;
  status = tq_output_zeros(output, 20000000, error);
  if (!status) status = tq_output_write_at(output, 5, "x", 1, error);
  if (!status) return tq_output_commit(output, error);
  tq_output_abandon(output);
  return status;
}

START_TEST(large_file_is_whole_or_absent_whatever_fails) {
  parent_of_scenario = place("faulty large file");
  const char *path = inside(parent_of_scenario, "file");
  fail_everywhere(overwrite, path, nothing_left);
}
END_TEST

static tq_status read_everything(const char *path, tq_error *error) {
  tq_input *input;
  tq_mapping mapping;
  char *data;
  size_t size;
  tq_status status = tq_mapping_open(path, &mapping, error);
  if (status) return status;
  tq_mapping_close(&mapping);
  status = tq_input_open(path, &input, error);
  if (status) return status;
  status = tq_input_read_all(input, 100, &data, &size, error);
  tq_input_close(input);
  if (!status) tq_free(data);
  return status;
}

static tq_status list_everything(const char *path, tq_error *error) {
  char **names;
  size_t count;
  tq_status status = tq_list_folder(path, &names, &count, error);
  if (status) return status;
  ck_assert_uint_eq(count, 2);
  tq_free_names(names, count);
  return TQ_OK;
}

static void nothing_to_check(const char *path) { (void)path; }

START_TEST(reading_reports_whatever_fails) {
  const char *parent = place("faulty reading"), *path = inside(parent, "tree");
  ck_ok(write_tree(path, error));
  fail_everywhere(read_everything, inside(path, "a.txt"), nothing_to_check);
  ck_assert(operations_met(TQ_OPERATION_MAP) == 1 && operations_met(TQ_OPERATION_OPEN) == 2 &&
            operations_met(TQ_OPERATION_READ) == 1);
  fail_everywhere(list_everything, path, nothing_to_check);
  ck_assert(operations_met(TQ_OPERATION_OPEN) == 3 && operations_met(TQ_OPERATION_READ) >= 7);
}
END_TEST

/* ---- names and listings ---- */

START_TEST(unsafe_names_are_known) {
  const char *const safe[] = {"a", "a/b", "a.b/..c/...", "-x", "\xc3\xa9"};
  const char *const unsafe[] = {"",     "/",   "/a",   "a/",     "a//b", ".",    "..",   "./a",
                                "../a", "a/.", "a/..", "a/../b", "a\\b", "a\nb", "\x7f", "a/\x01"};
  for (size_t i = 0; i < sizeof safe / sizeof *safe; i++)
    ck_assert_msg(tq_relative_name_is_safe(safe[i]), "'%s' is safe", safe[i]);
  for (size_t i = 0; i < sizeof unsafe / sizeof *unsafe; i++)
    ck_assert_msg(!tq_relative_name_is_safe(unsafe[i]), "'%s' is not safe", unsafe[i]);
}
END_TEST

START_TEST(paths_are_examined) {
  const char *folder = place("examined");
  write_file(inside(folder, "file"), "x", 1);
  ck_assert(symlink("file", inside(folder, "link")) == 0 && symlink("none", inside(folder, "broken")) == 0);
  ck_assert_int_eq(tq_path_examine(folder), TQ_PATH_FOLDER);
  ck_assert_int_eq(tq_path_examine(inside(folder, "file")), TQ_PATH_FILE);
  ck_assert_int_eq(tq_path_examine(inside(folder, "link")), TQ_PATH_FILE);
  ck_assert_int_eq(tq_path_examine(inside(folder, "broken")), TQ_PATH_MISSING);
  ck_assert_int_eq(tq_path_examine(inside(folder, "file/x")), TQ_PATH_MISSING);
  ck_assert_int_eq(tq_path_examine("/dev/null"), TQ_PATH_OTHER);
}
END_TEST

START_TEST(listing_is_sorted_and_stays_inside) {
  const char *folder = place("listed"), *outside = place("outside");
  const char *const files[] = {"b", "a/z", "a/b/c", "a.x", "\xc3\xa9", ".hidden", "a/.git/x"};
  ck_assert(mkdir(inside(folder, "a"), 0777) == 0 && mkdir(inside(folder, "a/b"), 0777) == 0);
  ck_assert(mkdir(inside(folder, "a/.git"), 0777) == 0 && mkdir(inside(folder, "empty"), 0777) == 0);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) write_file(inside(folder, files[i]), "x", 1);
  write_file(inside(outside, "file"), "x", 1);
  ck_assert(symlink(inside(outside, "file"), inside(folder, "linked")) == 0);
  ck_assert(symlink(outside, inside(folder, "linked folder")) == 0);
  ck_assert(symlink("..", inside(folder, "a/loop")) == 0 && symlink("none", inside(folder, "broken")) == 0);
  ck_assert(mkfifo(inside(folder, "pipe"), 0666) == 0);
  const char *const expected[] = {".hidden", "a.x", "a/b/c", "a/z", "b", "linked", "\xc3\xa9"};
  char **names;
  size_t count;
  ck_ok(tq_list_folder(folder, &names, &count, error));
  ck_assert_uint_eq(count, 7);
  for (size_t i = 0; i < count; i++) ck_assert_str_eq(names[i], expected[i]);
  tq_free_names(names, count);
  ck_fails(tq_list_folder(inside(folder, "none"), &names, &count, error), TQ_ERROR_SYSTEM, "none: cannot list");
  ck_fails(tq_list_folder(inside(folder, "b"), &names, &count, error), TQ_ERROR_SYSTEM, "b: cannot list");
}
END_TEST

START_TEST(listing_of_deep_folders_ends) {
  char path[4096];
  snprintf(path, sizeof path, "%s", place("deep"));
  for (int i = 0; i < 70; i++) {
    strcat(path, "/d");
    ck_assert(mkdir(path, 0777) == 0);
  }
  char **names;
  size_t count;
  ck_fails(tq_list_folder(temporary_path("deep"), &names, &count, error), TQ_ERROR_CORRUPT, "deeper than 64");
}
END_TEST

static Suite *file_suite(void) {
  Suite *suite = suite_create("files");
  TCase *tests = tcase_create("files");
  const TTest *all[] = {
      mapping_shows_the_file,
      only_regular_files_are_read,
      input_reads_any_range,
      input_that_shrinks_is_truncated,
      input_is_read_whole_within_a_limit,
      input_takes_over_memory,
      output_is_what_was_written,
      output_overwrites_across_its_buffer,
      target_is_unchanged_until_the_commit,
      output_follows_the_umask,
      targets_that_cannot_be_are_refused_early,
      links_are_kept_and_what_they_lead_to_is_replaced,
      links_to_no_file_are_refused,
      reasons_of_the_system_are_told,
      one_target_is_written_once_at_a_time,
      a_lost_write_is_never_committed,
      folder_appears_whole,
      folder_does_not_replace_what_came_meanwhile,
      folder_checks_its_names,
      next_run_removes_what_a_dead_process_left,
      scratch_folders_go_with_their_run,
      own_number_from_a_former_life_is_removed,
      temporaries_of_the_living_stay,
      only_temporaries_are_removed,
      removal_does_not_follow_links,
      file_is_old_or_new_whatever_fails,
      folder_is_whole_or_absent_whatever_fails,
      large_file_is_whole_or_absent_whatever_fails,
      reading_reports_whatever_fails,
      unsafe_names_are_known,
      paths_are_examined,
      listing_is_sorted_and_stays_inside,
      listing_of_deep_folders_ends,
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tcase_add_test(tests, all[i]);
  suite_add_tcase(suite, tests);
  return suite;
}

int main(void) { return run_suite(file_suite()); }
