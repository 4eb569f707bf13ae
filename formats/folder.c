#include "formats/folder.h"

#include "base/memory.h"
#include "formats/archive/archive.h"

#include <string.h>

/* A folder is one of two things: a path on disk, or an archive. */
struct tq_folder {
  char *path;    /* on disk; NULL for an archive */
  char *allowed; /* the name that the user gave; NULL for none */
  char **names;  /* on disk: the listing, made when it is first asked for */
  size_t name_count;
  bool is_listed;
  tq_archive *archive; /* NULL on disk */
};

static tq_status new_folder(tq_folder **folder, tq_error *error) {
  *folder = tq_allocate(1, sizeof **folder, error);
  return *folder ? TQ_OK : TQ_ERROR_SYSTEM;
}

tq_status tq_folder_open(const char *path, tq_folder **folder, tq_error *error) {
  tq_path_kind kind;
  tq_status status = tq_path_identify(path, &kind, error);
  if (status != TQ_OK) return status;
  switch (kind) {
  case TQ_PATH_FOLDER:
    break;
  case TQ_PATH_MISSING:
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: no such folder", path);
  default:
    return tq_fail(error, TQ_ERROR_USAGE, "%s: not a folder", path);
  }
  tq_folder *made;
  status = new_folder(&made, error);
  if (status != TQ_OK) return status;
  made->path = tq_format_string(error, "%s", path);
  if (!made->path) {
    tq_free(made);
    return TQ_ERROR_SYSTEM;
  }
  *folder = made;
  return TQ_OK;
}

tq_status tq_folder_allow(tq_folder *folder, const char *name, tq_error *error) {
  tq_free(folder->allowed);
  folder->allowed = tq_copy_string(name, strlen(name), error);
  return folder->allowed ? TQ_OK : TQ_ERROR_SYSTEM;
}

static tq_status open_archive(tq_input *input, const tq_archive *enclosing, tq_folder **folder, tq_error *error) {
  tq_folder *made;
  tq_status status = new_folder(&made, error);
  if (status != TQ_OK) return status;
  status = tq_archive_open(input, enclosing, &made->archive, error);
  if (status != TQ_OK) {
    tq_free(made);
    return status;
  }
  *folder = made;
  return TQ_OK;
}

tq_status tq_folder_open_archive(tq_input *input, tq_folder **folder, tq_error *error) {
  return open_archive(input, NULL, folder, error);
}

tq_status tq_folder_open_nested(tq_folder *folder, const char *name, tq_folder **nested, tq_error *error) {
  tq_input *input;
  tq_status status = tq_folder_input(folder, name, &input, error);
  if (status != TQ_OK) return status;
  *nested = NULL;
  if (!input) return TQ_OK;
  status = open_archive(input, folder->archive, nested, error);
  if (status != TQ_OK) tq_input_close(input);
  return status;
}

void tq_folder_close(tq_folder *folder) {
  if (!folder) return;
  tq_archive_release(folder->archive);
  tq_free_names(folder->names, folder->name_count);
  tq_free(folder->path);
  tq_free(folder->allowed);
  tq_free(folder);
}

const char *tq_folder_name(const tq_folder *folder) {
  return folder->archive ? tq_archive_name(folder->archive) : folder->path;
}

bool tq_folder_is_archive(const tq_folder *folder) { return folder->archive != NULL; }

/* Names come from files too (an index names its shards), so one that leads out of the folder is refused here. */
static tq_status check_name(const tq_folder *folder, const char *name, tq_error *error) {
  if (tq_relative_name_is_safe(name) || (folder->allowed && strcmp(folder->allowed, name) == 0)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the name '%s' does not lie below the folder", tq_folder_name(folder),
                 name);
}

static tq_status open_on_disk(const tq_folder *folder, const char *name, tq_input **input, tq_error *error) {
  char *path = tq_format_string(error, "%s/%s", folder->path, name);
  if (!path) return TQ_ERROR_SYSTEM;
  tq_path_kind kind;
  tq_status status = tq_path_identify(path, &kind, error);
  if (status == TQ_OK && kind == TQ_PATH_FILE) status = tq_input_open(path, input, error);
  if (status == TQ_OK && kind == TQ_PATH_OTHER)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a regular file", path);
  tq_free(path);
  return status;
}

tq_status tq_folder_input(tq_folder *folder, const char *name, tq_input **input, tq_error *error) {
  *input = NULL;
  tq_status status = check_name(folder, name, error);
  if (status != TQ_OK) return status;
  return folder->archive ? tq_archive_input(folder->archive, name, input, error)
                         : open_on_disk(folder, name, input, error);
}

tq_status tq_folder_list(tq_folder *folder, char *const **names, size_t *count, tq_error *error) {
  if (folder->archive) {
    *names = tq_archive_names(folder->archive, count);
    return TQ_OK;
  }
  if (!folder->is_listed) {
    tq_status status = tq_list_folder(folder->path, &folder->names, &folder->name_count, error);
    if (status != TQ_OK) return status;
    folder->is_listed = true;
  }
  *names = folder->names;
  *count = folder->name_count;
  return TQ_OK;
}
