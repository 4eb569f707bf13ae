#include "formats/archive/stream.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/archive/gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#if defined(__APPLE__)
#include <xlocale.h>
#endif

enum {
  LARGEST_CHUNK = 64 << 10,
  SMALLEST_CHUNK = 4 << 10, /* after a jump: most jumps want a header and no more */
  TAR_BLOCK = 512,
  TAR_END = 2 * TAR_BLOCK, /* two blocks of zeros end a tar archive */
  TAR_MAGIC_OFFSET = 257
};

/* What the first bytes say. A compression is undone by its own pass below the tar reader, so that what it expands to
 * can be counted and a stream that breaks off behind the last entry is noticed. */
typedef struct container {
  const char *name;
  size_t offset;
  size_t magic_size;
  const char *magic;
  int (*support)(struct archive *); /* NULL for gzip, which is undone without libarchive */
  bool is_compression;
} container;

static const container containers[] = {
    {"gzip", 0, 2, "\x1f\x8b", NULL, true},
    {"zstd", 0, 4, "\x28\xb5\x2f\xfd", archive_read_support_filter_zstd, true},
    {"xz", 0, 6, "\xfd\x37\x7aXZ\0", archive_read_support_filter_xz, true},
    {"bzip2", 0, 3, "BZh", archive_read_support_filter_bzip2, true},
    {"zip", 0, 4, "PK\x03\x04", archive_read_support_format_zip_seekable, false},
    {"zip", 0, 4, "PK\x05\x06", archive_read_support_format_zip_seekable, false},
    {"tar", TAR_MAGIC_OFFSET, 5, "ustar", archive_read_support_format_tar, false},
};
enum { START_SIZE = TAR_MAGIC_OFFSET + 5 };

struct tq_archive_stream {
  tq_input *input;
  const container *container;
  struct archive *format;      /* gives the entries */
  struct archive *filter;      /* gives the bytes under them where they are compressed; NULL otherwise */
  tq_gunzip *gunzip;           /* does where they are compressed by gzip */
  struct archive_entry *entry; /* the current one */
  uint64_t entry_left;         /* bytes of it that were not given yet */
  uint8_t *buffer;             /* LARGEST_CHUNK bytes of the input */
  uint64_t position;           /* in the input: what libarchive asks for next */
  size_t chunk;                /* how much of it to read at once */
  uint64_t expanded;           /* bytes the filter gave so far */
  uint64_t limit;              /* and may give */
  uint64_t tar_end;            /* where the entries of a tar archive end, as far as they were seen */
  locale_t locale;             /* a UTF-8 one: libarchive translates names by the thread's locale */
  tq_status status;            /* of the first callback that failed, since libarchive has no room for it */
  tq_error failure;
};

static const container *find_container(const uint8_t *start, size_t size) {
  for (size_t i = 0; i < sizeof containers / sizeof containers[0]; i++) {
    const container *row = &containers[i];
    if (row->offset + row->magic_size <= size && memcmp(start + row->offset, row->magic, row->magic_size) == 0)
      return row;
  }
  return NULL;
}

bool tq_archive_stream_recognize(const uint8_t *start, size_t size) { return find_container(start, size) != NULL; }

/* ---- locale ---- */

static locale_t utf8_locale(void) {
  static const char *const names[] = {"C.UTF-8", "en_US.UTF-8", "UTF-8"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    locale_t locale = newlocale(LC_CTYPE_MASK, names[i], (locale_t)0);
    if (locale) return locale;
  }
  return (locale_t)0;
}

static locale_t enter_locale(const tq_archive_stream *stream) {
  return stream->locale ? uselocale(stream->locale) : (locale_t)0;
}

static void leave_locale(locale_t previous) {
  if (previous) uselocale(previous);
}

/* ---- what libarchive calls ---- */

/* Keeps the first failure of a callback and tells libarchive that there was one. */
static int callback_failed(tq_archive_stream *stream, struct archive *handle, tq_status status,
                           const tq_error *failure) {
  if (stream->status == TQ_OK) {
    stream->status = status;
    stream->failure = *failure;
  }
  archive_set_error(handle, EIO, "%s", failure->message);
  return ARCHIVE_FATAL;
}

static la_ssize_t read_input(struct archive *handle, void *context, const void **buffer) {
  tq_archive_stream *stream = context;
  uint64_t left = tq_input_size(stream->input) - stream->position;
  size_t size = left < stream->chunk ? (size_t)left : stream->chunk;
  tq_error failure = {0};
  tq_status status = tq_input_read(stream->input, stream->position, stream->buffer, size, &failure);
  if (status != TQ_OK) return callback_failed(stream, handle, status, &failure);
  stream->position += size;
  if (stream->chunk < LARGEST_CHUNK) stream->chunk *= 2;
  *buffer = stream->buffer;
  return (la_ssize_t)size;
}

static la_int64_t skip_input(struct archive *handle, void *context, la_int64_t request) {
  (void)handle;
  tq_archive_stream *stream = context;
  uint64_t left = tq_input_size(stream->input) - stream->position;
  if (request <= 0) return 0;
  uint64_t skipped = (uint64_t)request < left ? (uint64_t)request : left;
  stream->position += skipped;
  stream->chunk = SMALLEST_CHUNK;
  return (la_int64_t)skipped;
}

static la_int64_t seek_input(struct archive *handle, void *context, la_int64_t offset, int whence) {
  tq_archive_stream *stream = context;
  uint64_t size = tq_input_size(stream->input);
  la_int64_t base = whence == SEEK_CUR ? (la_int64_t)stream->position : whence == SEEK_END ? (la_int64_t)size : 0;
  la_int64_t target;
  if (__builtin_add_overflow(base, offset, &target) || target < 0 || (uint64_t)target > size) {
    archive_set_error(handle, EINVAL, "the archive points outside the file");
    return ARCHIVE_FATAL;
  }
  stream->position = (uint64_t)target;
  stream->chunk = SMALLEST_CHUNK;
  return target;
}

/* The next bytes under a compressed archive; none at its end. */
static tq_status next_expanded(const tq_archive_stream *stream, const void **buffer, size_t *size, tq_error *error) {
  if (stream->gunzip) return tq_gunzip_next(stream->gunzip, buffer, size, error);
  do {
    la_int64_t offset;
    int result = archive_read_data_block(stream->filter, buffer, size, &offset);
    if (result != ARCHIVE_OK) *size = 0;
    if (result == ARCHIVE_EOF) return TQ_OK;
    if (result != ARCHIVE_OK) {
      const char *reason = archive_error_string(stream->filter);
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s", tq_input_name(stream->input), reason ? reason : "truncated");
    }
  } while (*size == 0);
  return TQ_OK;
}

/* The same, counted, as libarchive calls it. */
static la_ssize_t read_filtered(struct archive *handle, void *context, const void **buffer) {
  tq_archive_stream *stream = context;
  size_t size = 0;
  tq_error failure = {0};
  tq_status status = next_expanded(stream, buffer, &size, &failure);
  if (status != TQ_OK) return callback_failed(stream, handle, status, &failure);
  stream->expanded += size;
  if (stream->expanded > stream->limit) {
    tq_error_set(&failure, TQ_ERROR_CORRUPT, "%s: expands to more than %llu bytes, which no model does",
                 tq_input_name(stream->input), (unsigned long long)stream->limit);
    return callback_failed(stream, handle, TQ_ERROR_CORRUPT, &failure);
  }
  return (la_ssize_t)size;
}

/* ---- opening ---- */

/* The status for what a libarchive handle says went wrong. */
static tq_status handle_failed(const tq_archive_stream *stream, struct archive *handle, tq_error *error) {
  if (stream->status != TQ_OK) {
    if (error) *error = stream->failure;
    return stream->status;
  }
  const char *reason = archive_error_string(handle);
  tq_status status = archive_errno(handle) == ENOMEM ? TQ_ERROR_SYSTEM : TQ_ERROR_CORRUPT;
  return tq_fail(error, status, "%s: %s", tq_input_name(stream->input), reason ? reason : "damaged archive");
}

static tq_status new_handle(const tq_archive_stream *stream, int (*support)(struct archive *), struct archive **handle,
                            tq_error *error) {
  *handle = archive_read_new();
  if (!*handle) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", tq_input_name(stream->input));
  /* Where libarchive was built without a library it would start a program, and warns. */
  if (support(*handle) != ARCHIVE_OK)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: this libarchive cannot read %s", tq_input_name(stream->input),
                   stream->container->name);
  return TQ_OK;
}

static int start_on_input(tq_archive_stream *stream, struct archive *handle) {
  archive_read_set_callback_data(handle, stream);
  archive_read_set_read_callback(handle, read_input);
  archive_read_set_skip_callback(handle, skip_input);
  archive_read_set_seek_callback(handle, seek_input);
  return archive_read_open1(handle);
}

static tq_status start_filter(tq_archive_stream *stream, tq_error *error) {
  if (!stream->container->support) return tq_gunzip_create(stream->input, &stream->gunzip, error);
  tq_status status = new_handle(stream, stream->container->support, &stream->filter, error);
  if (status != TQ_OK) return status;
  struct archive_entry *entry;
  if (archive_read_support_format_raw(stream->filter) != ARCHIVE_OK ||
      start_on_input(stream, stream->filter) != ARCHIVE_OK ||
      archive_read_next_header(stream->filter, &entry) != ARCHIVE_OK)
    return handle_failed(stream, stream->filter, error);
  return TQ_OK;
}

static tq_status start_compressed(tq_archive_stream *stream, tq_error *error) {
  tq_status status = start_filter(stream, error);
  if (status == TQ_OK) status = new_handle(stream, archive_read_support_format_tar, &stream->format, error);
  if (status != TQ_OK) return status;
  archive_read_set_callback_data(stream->format, stream);
  archive_read_set_read_callback(stream->format, read_filtered);
  if (archive_read_open1(stream->format) == ARCHIVE_OK) return TQ_OK;
  if (stream->status != TQ_OK) return handle_failed(stream, stream->format, error);
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: compressed by %s, but not a tar archive: decompress it first",
                 tq_input_name(stream->input), stream->container->name);
}

static tq_status start_plain(tq_archive_stream *stream, tq_error *error) {
  tq_status status = new_handle(stream, stream->container->support, &stream->format, error);
  if (status != TQ_OK) return status;
  if (start_on_input(stream, stream->format) == ARCHIVE_OK) return TQ_OK;
  if (stream->status != TQ_OK) return handle_failed(stream, stream->format, error);
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not a complete %s archive", tq_input_name(stream->input),
                 stream->container->name);
}

static tq_status start(tq_archive_stream *stream, tq_error *error) {
  uint8_t first[START_SIZE];
  uint64_t size = tq_input_size(stream->input);
  size_t first_size = size < sizeof first ? (size_t)size : sizeof first;
  tq_status status = tq_input_read(stream->input, 0, first, first_size, error);
  if (status != TQ_OK) return status;
  stream->container = find_container(first, first_size);
  if (!stream->container) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: not an archive", tq_input_name(stream->input));
  stream->locale = utf8_locale();
  locale_t previous = enter_locale(stream);
  status = stream->container->is_compression ? start_compressed(stream, error) : start_plain(stream, error);
  leave_locale(previous);
  return status;
}

tq_status tq_archive_stream_open(tq_input *input, uint64_t limit, tq_archive_stream **stream, tq_error *error) {
  tq_archive_stream *made = tq_allocate(1, sizeof *made, error);
  if (!made) return TQ_ERROR_SYSTEM;
  made->input = input;
  made->limit = limit;
  made->chunk = SMALLEST_CHUNK;
  made->buffer = tq_allocate(LARGEST_CHUNK, 1, error);
  tq_status status = made->buffer ? start(made, error) : TQ_ERROR_SYSTEM;
  if (status != TQ_OK) {
    tq_archive_stream_close(made);
    return status;
  }
  *stream = made;
  return TQ_OK;
}

void tq_archive_stream_close(tq_archive_stream *stream) {
  if (!stream) return;
  if (stream->format) archive_read_free(stream->format);
  if (stream->filter) archive_read_free(stream->filter);
  tq_gunzip_close(stream->gunzip);
  if (stream->locale) freelocale(stream->locale);
  tq_free(stream->buffer);
  tq_free(stream);
}

bool tq_archive_stream_is_zip(const tq_archive_stream *stream) {
  return stream->container->support == archive_read_support_format_zip_seekable;
}

/* ---- entries ---- */

static tq_status refuse(const tq_archive_stream *stream, const char *name, const char *reason, tq_error *error) {
  char text[200];
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: entry '%s' %s", tq_input_name(stream->input),
                 tq_printable(name, strlen(name), text, sizeof text), reason);
}

/* NULL for what a model may be packed in, else why the entry is refused. */
static const char *reason_against(struct archive_entry *entry) {
  if (archive_entry_hardlink(entry)) return "is a hard link";
  switch (archive_entry_filetype(entry)) {
  case AE_IFREG:
  case AE_IFDIR:
    break;
  case AE_IFLNK:
    return "is a symbolic link";
  case AE_IFCHR:
  case AE_IFBLK:
    return "is a device";
  case AE_IFIFO:
    return "is a pipe";
  default:
    return "is not a regular file";
  }
  if (archive_entry_is_encrypted(entry)) return "is encrypted";
  if (archive_entry_sparse_count(entry) > 0) return "is stored as a sparse file";
  if (!archive_entry_size_is_set(entry) || archive_entry_size(entry) < 0) {
    if (archive_entry_filetype(entry) == AE_IFREG) return "has no size";
  }
  return NULL;
}

/* libarchive names the method of a zip entry in the name of the format only. */
static bool is_stored(const tq_archive_stream *stream) {
  if (stream->container->is_compression) return false;
  if (stream->container->support == archive_read_support_format_tar) return true;
  const char *name = archive_format_name(stream->format);
  return name && strstr(name, "(uncompressed)");
}

static tq_status describe(tq_archive_stream *stream, struct archive_entry *from, tq_archive_entry *entry,
                          tq_error *error) {
  entry->name = archive_entry_pathname_utf8(from);
  if (!entry->name || !tq_is_utf8(entry->name, strlen(entry->name))) {
    const char *raw = archive_entry_pathname(from);
    return refuse(stream, raw ? raw : "?", "has a name that is not UTF-8", error);
  }
  const char *reason = reason_against(from);
  if (reason) return refuse(stream, entry->name, reason, error);
  entry->is_folder = archive_entry_filetype(from) == AE_IFDIR;
  entry->size = entry->is_folder ? 0 : (uint64_t)archive_entry_size(from);
  stream->entry = from;
  stream->entry_left = entry->size;
  entry->data_offset = (uint64_t)archive_filter_bytes(stream->format, 0);
  entry->is_direct = !entry->is_folder && is_stored(stream);
  if (entry->is_direct && !tq_within(entry->data_offset, entry->size, tq_input_size(stream->input)))
    return refuse(stream, entry->name, "is truncated", error);
  uint64_t end;
  if (!tq_add_u64(entry->data_offset, entry->size, &end) || !tq_align_u64(end, TAR_BLOCK, &stream->tar_end))
    return refuse(stream, entry->name, "has an impossible size", error);
  return TQ_OK;
}

/* A tar archive that broke off between two entries looks like a shorter one, but for the blocks of zeros that end it.
 */
static tq_status check_tar_end(tq_archive_stream *stream, tq_error *error) {
  uint64_t total = tq_input_size(stream->input);
  if (stream->container->is_compression) {
    const void *ignored;
    la_ssize_t size;
    do {
      size = read_filtered(stream->format, stream, &ignored);
    } while (size > 0);
    if (size < 0) return handle_failed(stream, stream->format, error);
    total = stream->expanded;
  }
  if (total < stream->tar_end || total - stream->tar_end < TAR_END)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated tar archive", tq_input_name(stream->input));
  return TQ_OK;
}

static tq_status next_entry(tq_archive_stream *stream, tq_archive_entry *entry, bool *end, tq_error *error) {
  struct archive_entry *from;
  int result = archive_read_next_header(stream->format, &from);
  *end = result == ARCHIVE_EOF;
  if (*end) {
    return tq_archive_stream_is_zip(stream) ? TQ_OK : check_tar_end(stream, error);
  }
  if (result != ARCHIVE_OK) return handle_failed(stream, stream->format, error);
  return describe(stream, from, entry, error);
}

tq_status tq_archive_stream_next(tq_archive_stream *stream, tq_archive_entry *entry, bool *end, tq_error *error) {
  locale_t previous = enter_locale(stream);
  tq_status status = next_entry(stream, entry, end, error);
  leave_locale(previous);
  return status;
}

static tq_status read_failed(const tq_archive_stream *stream, tq_error *error) {
  const char *reason = archive_error_string(stream->format), *name = archive_entry_pathname_utf8(stream->entry);
  if (stream->status == TQ_OK && reason && name && strstr(reason, "bad CRC"))
    return refuse(stream, name, "is damaged: its CRC-32 does not match", error);
  return handle_failed(stream, stream->format, error);
}

/* libarchive compares an entry's CRC-32 when it is asked for more than there is. */
static tq_status check_entry_end(tq_archive_stream *stream, tq_error *error) {
  char more;
  la_ssize_t got = archive_read_data(stream->format, &more, 1);
  if (got < 0) return read_failed(stream, error);
  if (got == 0) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: an entry is longer than its size", tq_input_name(stream->input));
}

tq_status tq_archive_stream_read(tq_archive_stream *stream, void *buffer, size_t size, tq_error *error) {
  locale_t previous = enter_locale(stream);
  uint8_t *to = buffer;
  tq_status status = TQ_OK;
  while (size > 0 && status == TQ_OK) {
    la_ssize_t got = archive_read_data(stream->format, to, size);
    if (got < 0)
      status = read_failed(stream, error);
    else if (got == 0)
      status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: an entry ends before its size", tq_input_name(stream->input));
    else {
      to += got;
      size -= (size_t)got;
      stream->entry_left -= (size_t)got;
      if (stream->entry_left == 0) status = check_entry_end(stream, error);
    }
  }
  leave_locale(previous);
  return status;
}
