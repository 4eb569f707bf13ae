#include "base/file.h"

#include "base/memory.h"
#include "base/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a file mapped read-only ---- */

static tq_status map(const char *path, int descriptor, uint64_t size, tq_mapping *mapping, tq_error *error) {
  *mapping = (tq_mapping){0};
  if (size == 0) return TQ_OK;
  if (size > SIZE_MAX) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: too large to be mapped on this machine", path);
  void *data = tq_system_map(descriptor, (size_t)size);
  if (!data) return tq_fail_system(error, path, "map");
  *mapping = (tq_mapping){data, (size_t)size};
  return TQ_OK;
}

tq_status tq_mapping_open(const char *path, tq_mapping *mapping, tq_error *error) {
  int descriptor;
  uint64_t size;
  tq_status status = tq_system_open_regular(path, &descriptor, &size, error);
  if (status) return status;
  status = map(path, descriptor, size, mapping, error);
  close(descriptor);
  return status;
}

void tq_mapping_close(tq_mapping *mapping) {
  if (mapping->data) munmap((void *)(uintptr_t)mapping->data, mapping->size);
  *mapping = (tq_mapping){0};
}

/* ---- names ---- */

tq_status tq_path_identify(const char *path, tq_path_kind *kind, tq_error *error) {
  struct stat status;
  *kind = TQ_PATH_OTHER;
  if (stat(path, &status) == 0) {
    if (S_ISREG(status.st_mode)) *kind = TQ_PATH_FILE;
    if (S_ISDIR(status.st_mode)) *kind = TQ_PATH_FOLDER;
    return TQ_OK;
  }
  if (errno != ENOENT && errno != ENOTDIR) return tq_fail_system(error, path, "examine");
  *kind = TQ_PATH_MISSING;
  return TQ_OK;
}

tq_path_kind tq_path_examine(const char *path) {
  tq_path_kind kind;
  tq_error ignored;
  tq_path_identify(path, &kind, &ignored);
  return kind;
}

bool tq_relative_name_is_safe(const char *name) {
  for (const char *component = name;; component++) {
    size_t length = strcspn(component, "/");
    if (length == 0 || (length == 1 && component[0] == '.') || (length == 2 && memcmp(component, "..", 2) == 0))
      return false;
    for (size_t i = 0; i < length; i++)
      if ((unsigned char)component[i] < 0x20 || component[i] == 0x7f || component[i] == '\\') return false;
    component += length;
    if (!*component) return true;
  }
}

int tq_compare_paths(const char *a, const char *b) {
  while (*a && *a == *b) {
    a++;
    b++;
  }
  int left = *a == '/' ? 1 : *a ? (unsigned char)*a + 1 : 0, right = *b == '/' ? 1 : *b ? (unsigned char)*b + 1 : 0;
  return left - right;
}

bool tq_path_lies_below(const char *name, const char *folder) {
  size_t size = strlen(folder);
  return strncmp(name, folder, size) == 0 && name[size] == '/';
}

/* ---- listing ---- */

enum { DEEPEST_FOLDER = 64 }; /* each level holds a descriptor */

typedef struct listing {
  const char *path; /* of the folder listed, for messages */
  char **names;
  size_t count, capacity;
} listing;

static tq_status list_level(listing *list, int descriptor, const char *prefix, int depth, tq_error *error);

/* `name` is taken over when it is added. */
static tq_status add_name(listing *list, char *name, tq_error *error) {
  void *names = list->names;
  tq_status status = tq_grow(&names, &list->capacity, list->count + 1, sizeof *list->names, error);
  list->names = names;
  if (!status) list->names[list->count++] = name;
  return status;
}

static tq_status enter(listing *list, int parent, const char *entry, const char *relative, int depth, tq_error *error) {
  if (depth == DEEPEST_FOLDER)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: folders lie deeper than %d levels", list->path, DEEPEST_FOLDER);
  int descriptor = tq_system_open(parent, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
  if (descriptor < 0) return tq_fail_system(error, list->path, "open a folder in it");
  char *prefix = tq_format_string(error, "%s/", relative);
  tq_status status = TQ_ERROR_SYSTEM;
  if (prefix)
    status = list_level(list, descriptor, prefix, depth + 1, error);
  else
    close(descriptor);
  tq_free(prefix);
  return status;
}

static tq_status add_entry(listing *list, int parent, const char *entry, const char *prefix, int depth,
                           tq_error *error) {
  struct stat status;
  if (fstatat(parent, entry, &status, AT_SYMLINK_NOFOLLOW) < 0) return TQ_OK; /* removed meanwhile */
  bool folder = S_ISDIR(status.st_mode);
  if (S_ISLNK(status.st_mode) && fstatat(parent, entry, &status, 0) < 0) return TQ_OK; /* leads nowhere */
  if (!folder && !S_ISREG(status.st_mode)) return TQ_OK;
  if (folder && entry[0] == '.') return TQ_OK;
  char *relative = tq_format_string(error, "%s%s", prefix, entry);
  if (!relative) return TQ_ERROR_SYSTEM;
  tq_status result = folder ? enter(list, parent, entry, relative, depth, error) : add_name(list, relative, error);
  if (folder || result) tq_free(relative);
  return result;
}

static bool is_self_or_parent(const char *name) { return strcmp(name, ".") == 0 || strcmp(name, "..") == 0; }

/* The next entry; NULL at the end or, with errno set, on failure. */
static const char *next_entry(DIR *folder) {
  struct dirent *entry;
  do {
    errno = 0;
    if (tq_fault(TQ_OPERATION_READ)) {
      errno = EIO;
      return NULL;
    }
    entry = readdir(folder);
  } while (entry && is_self_or_parent(entry->d_name));
  return entry ? entry->d_name : NULL;
}

/* Takes over the descriptor. */
static tq_status list_level(listing *list, int descriptor, const char *prefix, int depth, tq_error *error) {
  DIR *folder = fdopendir(descriptor);
  if (!folder) {
    tq_status status = tq_fail_system(error, list->path, "list");
    close(descriptor);
    return status;
  }
  tq_status status = TQ_OK;
  const char *entry = NULL;
  while (!status && (entry = next_entry(folder))) status = add_entry(list, descriptor, entry, prefix, depth, error);
  if (!status && errno) status = tq_fail_system(error, list->path, "list");
  closedir(folder);
  return status;
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

tq_status tq_list_folder(const char *path, char ***names, size_t *count, tq_error *error) {
  int descriptor = tq_system_open(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
  if (descriptor < 0) return tq_fail_system(error, path, "list");
  listing list = {.path = path};
  tq_status status = list_level(&list, descriptor, "", 0, error);
  if (status) {
    tq_free_names(list.names, list.count);
    return status;
  }
  if (list.count) qsort(list.names, list.count, sizeof *list.names, compare_names);
  *names = list.names;
  *count = list.count;
  return TQ_OK;
}

void tq_free_names(char **names, size_t count) {
  for (size_t i = 0; i < count; i++) tq_free(names[i]);
  tq_free(names);
}
