/* The one file layer: mapped files, random-access inputs, and outputs that appear whole or not at all. */
#ifndef TQ_BASE_FILE_H
#define TQ_BASE_FILE_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- a file mapped read-only ---- */

typedef struct tq_mapping {
  const uint8_t *data; /* NULL when the file is empty */
  size_t size;
} tq_mapping;

/* Maps a regular file whole, shared and read-only. */
tq_status tq_mapping_open(const char *path, tq_mapping *mapping, tq_error *error);
void tq_mapping_close(tq_mapping *mapping);

/* ---- an input: bytes that can be read from any offset ----
 * A file, or a member of an archive. Archives re-read from their start when asked for an earlier offset, so
 * callers read forwards where they can. An input is used by one thread at a time. */

typedef struct tq_input tq_input;

typedef struct tq_input_operations {
  /* Reads exactly `size` bytes at `offset`; the range was checked against the input's size before. */
  tq_status (*read)(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error);
  void (*close)(void *context); /* may be NULL */
  /* Whether an earlier offset costs no more than a later one does; NULL: always. */
  bool (*seeks)(const void *context);
} tq_input_operations;

/* Opens a regular file with pread; the name in error messages is `path`. */
tq_status tq_input_open(const char *path, tq_input **input, tq_error *error);

/* An input with operations of one's own; takes ownership of `context` only on success. `name` is copied. */
tq_status tq_input_create(const char *name, uint64_t size, const tq_input_operations *operations, void *context,
                          tq_input **input, tq_error *error);

/* An input over memory that it takes over (tq_free when closed). */
tq_status tq_input_from_memory(const char *name, void *data, size_t size, tq_input **input, tq_error *error);

const char *tq_input_name(const tq_input *input);
uint64_t tq_input_size(const tq_input *input);
/* True for what may be read in any order at one cost: plain files, memory, and members that an archive holds as they
 * are. False for members of compressed archives. */
bool tq_input_seeks(const tq_input *input);

/* Reads exactly `size` bytes at `offset`; a range that runs past the end is TQ_ERROR_CORRUPT ("truncated"). */
tq_status tq_input_read(tq_input *input, uint64_t offset, void *buffer, size_t size, tq_error *error);

/* All of an input that is at most `limit` bytes long, in memory owned by the caller (tq_free), with a NUL behind it. */
tq_status tq_input_read_all(tq_input *input, size_t limit, char **data, size_t *size, tq_error *error);

/* All that a stream gives until its end, at most `limit` bytes, in memory owned by the caller (tq_free), with a NUL
 * behind it. `path` may name a pipe or a device; "-" is standard input. */
tq_status tq_stream_read_all(const char *path, size_t limit, char **data, size_t *size, tq_error *error);

void tq_input_close(tq_input *input); /* NULL is allowed */

/* ---- an output: NAME.tmp-PID beside the target, renamed to it when complete ---- */

typedef struct tq_output tq_output;

/* Starts a file that will replace `path`, or what it leads to when it is a symbolic link. Temporaries of the same name
 * left by processes that are dead are removed first. */
tq_status tq_output_create(const char *path, tq_output **output, tq_error *error);
/* Fails as tq_output_create would for a target that a file cannot replace, and makes nothing. */
tq_status tq_output_check(const char *path, tq_error *error);
tq_status tq_output_write(tq_output *output, const void *data, size_t size, tq_error *error);
tq_status tq_output_zeros(tq_output *output, uint64_t size, tq_error *error);
/* Overwrites bytes written before; the position stays. */
tq_status tq_output_write_at(tq_output *output, uint64_t offset, const void *data, size_t size, tq_error *error);
uint64_t tq_output_position(const tq_output *output);
/* Flushes, fsyncs, renames to the target and fsyncs the folder. Frees the output in every case. */
tq_status tq_output_commit(tq_output *output, tq_error *error);
/* Removes the temporary and frees the output; NULL is allowed. */
void tq_output_abandon(tq_output *output);

/* ---- an output folder: NAME.tmp-PID/, renamed to a name that must not exist ---- */

typedef struct tq_output_folder tq_output_folder;
tq_status tq_output_folder_create(const char *path, tq_output_folder **folder, tq_error *error);
/* Fails as tq_output_folder_create would for a name that is taken, and makes nothing. */
tq_status tq_output_folder_check(const char *path, tq_error *error);
/* Starts the file `relative` (components without "..", parents are made) inside the folder. It is ended by
 * tq_output_commit or tq_output_abandon, before the folder is. */
tq_status tq_output_folder_file(tq_output_folder *folder, const char *relative, tq_output **output, tq_error *error);
tq_status tq_output_folder_commit(tq_output_folder *folder, tq_error *error);
void tq_output_folder_abandon(tq_output_folder *folder);

/* ---- a scratch folder, TARGET.between.tmp-PID/, for what is made on the way to a target ---- */

typedef struct tq_scratch tq_scratch;
tq_status tq_scratch_create(const char *target, tq_scratch **scratch, tq_error *error);
const char *tq_scratch_path(const tq_scratch *scratch);
/* Removes the folder with all that is in it; NULL is allowed. */
void tq_scratch_remove(tq_scratch *scratch);
/* Removes the target's scratch folders left by processes that are dead. */
void tq_scratch_clean(const char *target);

/* ---- listing ---- */

typedef enum tq_path_kind { TQ_PATH_MISSING, TQ_PATH_FILE, TQ_PATH_FOLDER, TQ_PATH_OTHER } tq_path_kind;
/* What `path` names, symbolic links followed. */
tq_path_kind tq_path_examine(const char *path);
/* The same, where the system's reason not to tell (a circle of links, too long a name) is a failure. */
tq_status tq_path_identify(const char *path, tq_path_kind *kind, tq_error *error);

/* The regular files below `path` (symbolic links to files followed; links to folders and folders whose names begin with
 * '.' not entered), as '/'-separated relative names sorted bytewise. Freed by tq_free_names. */
tq_status tq_list_folder(const char *path, char ***names, size_t *count, tq_error *error);
void tq_free_names(char **names, size_t count);

/* True when a relative name is safe to create below a folder: not empty, not absolute, no "..", "." or empty
 * component, no NUL or control character, no backslash. */
bool tq_relative_name_is_safe(const char *name);

/* Orders relative names so that what lies below a folder follows the folder's own name at once: bytewise, '/' before
 * all other bytes. */
int tq_compare_paths(const char *a, const char *b);
/* True when `name` lies below `folder`. */
bool tq_path_lies_below(const char *name, const char *folder);

#endif
