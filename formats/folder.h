/* Where foreign files come from: a folder on disk, or an archive (.tar, .tar.gz, .tar.zst, .zip) read through
 * libarchive. Readers ask a folder for files by relative name and do not know which it is. */
#ifndef TQ_FORMATS_FOLDER_H
#define TQ_FORMATS_FOLDER_H

#include "base/file.h"

typedef struct tq_folder tq_folder;

/* A folder on disk. Nothing is listed until it is asked for. */
tq_status tq_folder_open(const char *path, tq_folder **folder, tq_error *error);
/* Lets the file `name` of a folder on disk be opened whatever its name is: the user named it, no file did. */
tq_status tq_folder_allow(tq_folder *folder, const char *name, tq_error *error);
/* An archive, read from `input`, which it takes over on success. Lists every entry at once: names are checked (no "..",
 * no absolute path, no duplicates, no links), sizes and the expansion are bounded. A leading component shared by all
 * entries is dropped. Nested archives are opened the same way, over an input of this folder. */
tq_status tq_folder_open_archive(tq_input *input, tq_folder **folder, tq_error *error);
/* Opens the archive `name` that lies in a folder; *nested is NULL, with TQ_OK, when there is no such file. An archive
 * in an archive is bounded by what the outermost one may expand to, and lies at most two archives deep in it. */
tq_status tq_folder_open_nested(tq_folder *folder, const char *name, tq_folder **nested, tq_error *error);
/* NULL is allowed. Inputs opened from an archive may be closed after it. */
void tq_folder_close(tq_folder *folder);

/* For messages: the path of the folder or archive. */
const char *tq_folder_name(const tq_folder *folder);
bool tq_folder_is_archive(const tq_folder *folder);
/* Opens a file by relative name; *input is NULL, with TQ_OK, when there is none. */
tq_status tq_folder_input(tq_folder *folder, const char *name, tq_input **input, tq_error *error);
/* All files below, sorted bytewise; names live as long as the folder. */
tq_status tq_folder_list(tq_folder *folder, char *const **names, size_t *count, tq_error *error);

/* True when the first bytes are those of an archive that tq_folder_open_archive reads. */
bool tq_archive_recognize(const uint8_t *start, size_t size);

#endif
