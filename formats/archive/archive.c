#include "formats/archive/archive.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/archive/stream.h"
#include "formats/archive/zip_sums.h"
#include "formats/folder.h"

#include <stdlib.h>
#include <zlib.h>

enum {
  MOST_ENTRIES = 100000,     /* folders and hidden files included */
  LONGEST_NAME = 1024,       /* bytes */
  MOST_NAME_BYTES = 8 << 20, /* of all names together: a compressed archive gives them away almost for nothing */
  DEEPEST = 2,               /* archives around an archive */
  CURSORS = 4,               /* a tensor that is read twice needs two, one more where a zip inside compares its CRC-32
                                ahead, and something else may be read meanwhile */
  WINDOW = 64 << 10          /* bytes kept behind a cursor, for readers that look twice at a header */
};

/* An archive may expand to 200 times its size and 64 MiB. Ternary weights kept as F32 hold 1.58 bits in 32, a
 * twentieth; ten times that is what only a bomb asks for (deflate goes up to 1032, the others further). */
static const uint64_t expansion = 200, expansion_allowance = 64 << 20;

typedef struct member {
  char *name;
  size_t ordinal; /* how many entries precede it */
  uint64_t size;
  bool is_direct;
  uint64_t data_offset;
  bool is_unchecked; /* direct, in a zip archive, and not compared with its CRC-32 yet */
  uint32_t crc;
} member;

/* A pass over the archive that stands at some place in it. Reading at or behind that place goes on from there. */
typedef struct cursor {
  tq_archive_stream *stream; /* NULL when not in use */
  size_t next_ordinal;       /* of the entry that the stream would go to next; the current one is the one before */
  uint64_t offset;           /* bytes of the current entry that the stream has given */
  uint8_t *window;           /* the last of them: [window_start, offset) */
  uint64_t window_start;
  uint64_t last_use;
} cursor;

struct tq_archive {
  size_t references;
  tq_input *input;
  uint64_t limit;  /* bytes it may expand to */
  unsigned depth;  /* archives around it */
  member *members; /* in the order of paths */
  size_t member_count, member_capacity;
  tq_zip_sums sums; /* only while the entries are listed */
  char **names;     /* of the members */
  size_t name_bytes;
  cursor cursors[CURSORS];
  uint64_t clock; /* counts reads, to find the cursor that was used least recently */
};

bool tq_archive_recognize(const uint8_t *start, size_t size) { return tq_archive_stream_recognize(start, size); }

/* ---- listing ---- */

static tq_status refuse(const tq_archive *archive, const char *name, const char *reason, tq_error *error) {
  char text[200];
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: entry '%s' %s", tq_input_name(archive->input),
                 tq_printable(name, strlen(name), text, sizeof text), reason);
}

/* Hidden folders are left out as they are on disk, so that a folder and its archive give the same model. */
static bool is_in_hidden_folder(const char *name) {
  for (const char *slash; (slash = strchr(name, '/')); name = slash + 1) {
    if (*name == '.') return true;
  }
  return false;
}

/* The bytes of the name without "./" before and "/" behind, which tar writes and which mean nothing. */
static const char *trim_name(const char *name, size_t *size) {
  while (name[0] == '.' && name[1] == '/') {
    name += 2;
    while (*name == '/') name++;
  }
  *size = strlen(name);
  if (*size == 1 && name[0] == '.') *size = 0;
  while (*size > 1 && name[*size - 1] == '/') (*size)--;
  return name;
}

static tq_status check_name(tq_archive *archive, const tq_archive_entry *entry, char **name, tq_error *error) {
  size_t size;
  const char *trimmed = trim_name(entry->name, &size);
  *name = NULL;
  if (entry->is_folder && size == 0) return TQ_OK;
  if (size > LONGEST_NAME) return refuse(archive, entry->name, "has too long a name", error);
  archive->name_bytes += size;
  if (archive->name_bytes > MOST_NAME_BYTES)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its entries have too long names", tq_input_name(archive->input));
  *name = tq_copy_string(trimmed, size, error);
  if (!*name) return TQ_ERROR_SYSTEM;
  if (tq_relative_name_is_safe(*name)) return TQ_OK;
  tq_free(*name);
  *name = NULL;
  return refuse(archive, entry->name, "has an unsafe name", error);
}

/* Whether the bytes that libarchive gives do lie where it says the entry begins: only then are they read without it. */
static tq_status confirm_direct(const tq_archive *archive, tq_archive_stream *stream, tq_archive_entry *entry,
                                tq_error *error) {
  uint8_t streamed[256], direct[sizeof streamed];
  size_t size = entry->size < sizeof direct ? (size_t)entry->size : sizeof direct;
  tq_status status = tq_archive_stream_read(stream, streamed, size, error);
  if (status == TQ_OK) status = tq_input_read(archive->input, entry->data_offset, direct, size, error);
  if (status == TQ_OK && memcmp(streamed, direct, size) != 0) entry->is_direct = false;
  return status;
}

static tq_status add_member(tq_archive *archive, tq_archive_stream *stream, tq_archive_entry *entry, size_t ordinal,
                            tq_error *error) {
  char *name;
  tq_status status = check_name(archive, entry, &name, error);
  if (status != TQ_OK || !name) return status;
  if (entry->is_folder || is_in_hidden_folder(name)) {
    tq_free(name);
    return TQ_OK;
  }
  if (entry->is_direct) status = confirm_direct(archive, stream, entry, error);
  const tq_zip_sum *sum = NULL;
  if (entry->is_direct && tq_archive_stream_is_zip(stream)) {
    sum = tq_zip_sums_find(&archive->sums, entry->data_offset, entry->size);
    if (!sum) entry->is_direct = false;
  }
  if (status == TQ_OK)
    status = tq_grow((void **)&archive->members, &archive->member_capacity, archive->member_count + 1, sizeof(member),
                     error);
  if (status != TQ_OK) {
    tq_free(name);
    return status;
  }
  archive->members[archive->member_count++] =
      (member){name, ordinal, entry->size, entry->is_direct, entry->data_offset, sum != NULL, sum ? sum->crc : 0};
  return TQ_OK;
}

static tq_status list_entries(tq_archive *archive, tq_archive_stream *stream, tq_error *error) {
  uint64_t total = 0;
  for (size_t ordinal = 0;; ordinal++) {
    tq_archive_entry entry;
    bool end;
    tq_status status = tq_archive_stream_next(stream, &entry, &end, error);
    if (status != TQ_OK || end) return status;
    if (ordinal == MOST_ENTRIES)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: more than %d entries", tq_input_name(archive->input), MOST_ENTRIES);
    if (!tq_add_u64(total, entry.size, &total) || total > archive->limit)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: expands to more than %llu bytes, which no model does",
                     tq_input_name(archive->input), (unsigned long long)archive->limit);
    status = add_member(archive, stream, &entry, ordinal, error);
    if (status != TQ_OK) return status;
  }
}

/* Bytes of the leading component, its slash included, that all members share; 0 when there is none. */
static size_t common_prefix(const tq_archive *archive) {
  const char *first = archive->members[0].name, *slash = strchr(first, '/');
  size_t size = slash ? (size_t)(slash - first) + 1 : 0;
  for (size_t i = 1; i < archive->member_count && size > 0; i++) {
    if (strncmp(archive->members[i].name, first, size) != 0) size = 0;
  }
  return size;
}

static int compare_members(const void *a, const void *b) {
  return tq_compare_paths(((const member *)a)->name, ((const member *)b)->name);
}

static int compare_names(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static tq_status index_members(tq_archive *archive, tq_error *error) {
  if (archive->member_count == 0)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: an archive without files", tq_input_name(archive->input));
  size_t prefix = common_prefix(archive);
  archive->names = tq_allocate(archive->member_count, sizeof *archive->names, error);
  if (!archive->names) return TQ_ERROR_SYSTEM;
  qsort(archive->members, archive->member_count, sizeof(member), compare_members);
  for (size_t i = 0; i < archive->member_count; i++) {
    char *name = archive->members[i].name;
    memmove(name, name + prefix, strlen(name) - prefix + 1);
    archive->names[i] = name;
    if (i == 0) continue;
    const char *before = archive->names[i - 1];
    if (strcmp(before, name) == 0) return refuse(archive, name, "is there twice", error);
    if (tq_path_lies_below(name, before))
      return refuse(archive, before, "is both a file and a folder with files in it", error);
  }
  qsort(archive->names, archive->member_count, sizeof *archive->names, compare_names);
  return TQ_OK;
}

static tq_status list(tq_archive *archive, tq_error *error) {
  tq_archive_stream *stream;
  tq_status status = tq_archive_stream_open(archive->input, archive->limit, &stream, error);
  if (status != TQ_OK) return status;
  if (tq_archive_stream_is_zip(stream)) status = tq_zip_sums_read(archive->input, &archive->sums, error);
  if (status == TQ_OK) status = list_entries(archive, stream, error);
  tq_zip_sums_free(&archive->sums);
  tq_archive_stream_close(stream);
  return status == TQ_OK ? index_members(archive, error) : status;
}

static uint64_t expansion_limit(uint64_t size, const tq_archive *enclosing) {
  uint64_t limit;
  if (!tq_multiply_u64(size, expansion, &limit) || !tq_add_u64(limit, expansion_allowance, &limit)) limit = UINT64_MAX;
  return enclosing && enclosing->limit < limit ? enclosing->limit : limit;
}

tq_status tq_archive_open(tq_input *input, const tq_archive *enclosing, tq_archive **archive, tq_error *error) {
  if (enclosing && enclosing->depth == DEEPEST)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: archives nested more than %d deep", tq_input_name(input), DEEPEST + 1);
  tq_archive *made = tq_allocate(1, sizeof *made, error);
  if (!made) return TQ_ERROR_SYSTEM;
  made->references = 1;
  made->input = input;
  made->limit = expansion_limit(tq_input_size(input), enclosing);
  made->depth = enclosing ? enclosing->depth + 1 : 0;
  tq_status status = list(made, error);
  if (status != TQ_OK) {
    made->input = NULL;
    tq_archive_release(made);
    return status;
  }
  *archive = made;
  return TQ_OK;
}

static void drop_cursor(cursor *old) {
  tq_archive_stream_close(old->stream);
  tq_free(old->window);
  *old = (cursor){0};
}

void tq_archive_release(tq_archive *archive) {
  if (!archive || --archive->references > 0) return;
  for (size_t i = 0; i < CURSORS; i++) drop_cursor(&archive->cursors[i]);
  for (size_t i = 0; i < archive->member_count; i++) tq_free(archive->members[i].name);
  tq_free(archive->members);
  tq_free(archive->names);
  tq_input_close(archive->input);
  tq_free(archive);
}

const char *tq_archive_name(const tq_archive *archive) { return tq_input_name(archive->input); }

char *const *tq_archive_names(const tq_archive *archive, size_t *count) {
  *count = archive->member_count;
  return archive->names;
}

/* ---- reading members ---- */

/* True when the cursor stands at or before the place, so that it can go on to it. */
static bool can_reach(const cursor *from, const member *target, uint64_t offset) {
  if (!from->stream || from->next_ordinal > target->ordinal + 1) return false;
  return from->next_ordinal <= target->ordinal || from->window_start <= offset;
}

static bool is_ahead(const cursor *a, const cursor *b) {
  if (a->next_ordinal != b->next_ordinal) return a->next_ordinal > b->next_ordinal;
  return a->window_start > b->window_start;
}

/* The cursor with the least way to go, or else one that was not used for the longest time, to start again. */
static cursor *choose_cursor(tq_archive *archive, const member *target, uint64_t offset) {
  cursor *best = NULL, *oldest = &archive->cursors[0];
  for (size_t i = 0; i < CURSORS; i++) {
    cursor *one = &archive->cursors[i];
    if (can_reach(one, target, offset) && (!best || is_ahead(one, best))) best = one;
    if (one->last_use < oldest->last_use) oldest = one;
  }
  if (best) return best;
  drop_cursor(oldest);
  return oldest;
}

static tq_status start_cursor(tq_archive *archive, cursor *fresh, tq_error *error) {
  fresh->window = tq_allocate(WINDOW, 1, error);
  if (!fresh->window) return TQ_ERROR_SYSTEM;
  return tq_archive_stream_open(archive->input, archive->limit, &fresh->stream, error);
}

static tq_status go_to_member(const tq_archive *archive, cursor *at, const member *target, tq_error *error) {
  while (at->next_ordinal <= target->ordinal) {
    tq_archive_entry entry = {0};
    bool end;
    tq_status status = tq_archive_stream_next(at->stream, &entry, &end, error);
    if (status != TQ_OK) return status;
    at->next_ordinal++;
    at->offset = at->window_start = 0;
    if (end || (at->next_ordinal > target->ordinal && entry.size != target->size))
      return refuse(archive, target->name, "changed while it was read", error);
  }
  return TQ_OK;
}

/* Lets the stream give the next bytes of the member: straight to `buffer` when they are many and wanted, or else into
 * the window. */
static tq_status pull(cursor *at, const member *target, uint64_t offset, uint8_t *buffer, size_t size, size_t *pulled,
                      tq_error *error) {
  *pulled = 0;
  uint64_t left = target->size - at->offset;
  if (offset == at->offset && size >= WINDOW) {
    tq_status status = tq_archive_stream_read(at->stream, buffer, size, error);
    if (status != TQ_OK) return status;
    *pulled = size;
    at->offset += size;
    at->window_start = at->offset;
    return TQ_OK;
  }
  size_t amount = left < WINDOW ? (size_t)left : WINDOW;
  tq_status status = tq_archive_stream_read(at->stream, at->window, amount, error);
  if (status != TQ_OK) return status;
  at->window_start = at->offset;
  at->offset += amount;
  return TQ_OK;
}

static tq_status read_forward(cursor *at, const member *target, uint64_t offset, uint8_t *buffer, size_t size,
                              tq_error *error) {
  while (size > 0) {
    size_t taken;
    if (offset < at->offset) {
      uint64_t there = at->offset - offset;
      taken = there < size ? (size_t)there : size;
      memcpy(buffer, at->window + (offset - at->window_start), taken);
    } else {
      tq_status status = pull(at, target, offset, buffer, size, &taken, error);
      if (status != TQ_OK) return status;
    }
    offset += taken;
    buffer += taken;
    size -= taken;
  }
  return TQ_OK;
}

static tq_status compare_crc(const tq_archive *archive, member *target, uLong crc, tq_error *error) {
  if (crc != target->crc) return refuse(archive, target->name, "is damaged: its CRC-32 does not match", error);
  target->is_unchecked = false;
  return TQ_OK;
}

/* Reads a stored member for the first time: before any of its bytes is given, all of them are compared with the CRC-32.
 */
static tq_status read_checked(const tq_archive *archive, member *target, uint64_t offset, uint8_t *buffer, size_t size,
                              tq_error *error) {
  bool is_whole = size == target->size;
  size_t room = is_whole ? size : WINDOW;
  uint8_t *window = is_whole ? buffer : tq_allocate(WINDOW, 1, error);
  if (!window) return TQ_ERROR_SYSTEM;
  tq_status status = TQ_OK;
  uLong crc = crc32(0, NULL, 0);
  for (uint64_t at = 0; at < target->size && status == TQ_OK;) {
    uint64_t left = target->size - at;
    size_t piece = left < room ? (size_t)left : room;
    status = tq_input_read(archive->input, target->data_offset + at, window, piece, error);
    if (status == TQ_OK) crc = crc32_z(crc, window, piece);
    at += piece;
  }
  if (!is_whole) tq_free(window);
  if (status == TQ_OK) status = compare_crc(archive, target, crc, error);
  if (status != TQ_OK || is_whole) return status;
  return tq_input_read(archive->input, target->data_offset + offset, buffer, size, error);
}

typedef struct member_context {
  tq_archive *archive;
  member *member;
} member_context;

static tq_status read_member(void *context, uint64_t offset, void *buffer, size_t size, tq_error *error) {
  member_context *self = context;
  tq_archive *archive = self->archive;
  member *target = self->member;
  if (size == 0) return TQ_OK;
  if (target->is_unchecked) return read_checked(archive, target, offset, buffer, size, error);
  if (target->is_direct) return tq_input_read(archive->input, target->data_offset + offset, buffer, size, error);
  cursor *at = choose_cursor(archive, target, offset);
  at->last_use = ++archive->clock;
  tq_status status = at->stream ? TQ_OK : start_cursor(archive, at, error);
  if (status == TQ_OK) status = go_to_member(archive, at, target, error);
  if (status == TQ_OK) status = read_forward(at, target, offset, buffer, size, error);
  if (status != TQ_OK) drop_cursor(at);
  return status;
}

static bool member_seeks(const void *context) {
  const member_context *self = context;
  return self->member->is_direct && tq_input_seeks(self->archive->input);
}

static void close_member(void *context) {
  member_context *self = context;
  tq_archive_release(self->archive);
  tq_free(self);
}

static const tq_input_operations member_operations = {read_member, close_member, member_seeks};

static tq_status open_member(tq_archive *archive, member *found, tq_input **input, tq_error *error) {
  member_context *context = tq_allocate(1, sizeof *context, error);
  char *name = tq_format_string(error, "%s/%s", tq_archive_name(archive), found->name);
  tq_status status = context && name ? TQ_OK : TQ_ERROR_SYSTEM;
  if (status == TQ_OK) {
    *context = (member_context){archive, found};
    status = tq_input_create(name, found->size, &member_operations, context, input, error);
  }
  tq_free(name);
  if (status == TQ_OK)
    archive->references++;
  else
    tq_free(context);
  return status;
}

tq_status tq_archive_input(tq_archive *archive, const char *name, tq_input **input, tq_error *error) {
  member key = {.name = (char *)(uintptr_t)name};
  member *found = bsearch(&key, archive->members, archive->member_count, sizeof(member), compare_members);
  *input = NULL;
  return found ? open_member(archive, found, input, error) : TQ_OK;
}
