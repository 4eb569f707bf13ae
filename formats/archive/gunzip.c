#include "formats/archive/gunzip.h"

#include "base/memory.h"

#include <string.h>
#include <zlib.h>

enum {
  BUFFER_SIZE = 64 << 10,
  GZIP_WINDOW = 15 + 16 /* the largest window, in a gzip wrapper whose trailer zlib checks */
};

struct tq_gunzip {
  tq_input *input;
  uint64_t position; /* in the input, of what is read next */
  z_stream stream;
  bool is_between_members;
  uint8_t compressed[BUFFER_SIZE], expanded[BUFFER_SIZE];
};

tq_status tq_gunzip_create(tq_input *input, tq_gunzip **gunzip, tq_error *error) {
  tq_gunzip *made = tq_allocate(1, sizeof *made, error);
  if (!made) return TQ_ERROR_SYSTEM;
  made->input = input;
  made->stream.zalloc = tq_hook_zlib_allocate;
  made->stream.zfree = tq_hook_zlib_free;
  if (inflateInit2(&made->stream, GZIP_WINDOW) != Z_OK) {
    tq_free(made);
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", tq_input_name(input));
  }
  *gunzip = made;
  return TQ_OK;
}

void tq_gunzip_close(tq_gunzip *gunzip) {
  if (!gunzip) return;
  inflateEnd(&gunzip->stream);
  tq_free(gunzip);
}

/* Reads on when everything read before was used; at the end of the input nothing is there then. */
static tq_status fill(tq_gunzip *self, tq_error *error) {
  if (self->stream.avail_in > 0) return TQ_OK;
  uint64_t left = tq_input_size(self->input) - self->position;
  size_t size = left < BUFFER_SIZE ? (size_t)left : BUFFER_SIZE;
  tq_status status = tq_input_read(self->input, self->position, self->compressed, size, error);
  if (status != TQ_OK) return status;
  self->position += size;
  self->stream.next_in = self->compressed;
  self->stream.avail_in = (uInt)size;
  return TQ_OK;
}

/* Behind a member: the next one begins, or zeros fill the input up. */
static tq_status begin_member(tq_gunzip *self, bool *is_end, tq_error *error) {
  *is_end = false;
  tq_status status = fill(self, error);
  if (status != TQ_OK) return status;
  if (self->stream.avail_in > 0 && *self->stream.next_in != 0) {
    self->is_between_members = false;
    inflateReset(&self->stream);
    return TQ_OK;
  }
  *is_end = true;
  while (self->stream.avail_in > 0) {
    for (; self->stream.avail_in > 0; self->stream.avail_in--)
      if (*self->stream.next_in++ != 0)
        return tq_fail(error, TQ_ERROR_CORRUPT, "%s: something follows its gzip stream", tq_input_name(self->input));
    status = fill(self, error);
    if (status != TQ_OK) return status;
  }
  return TQ_OK;
}

static tq_status damaged(const tq_gunzip *self, tq_error *error) {
  const char *reason = self->stream.msg ? self->stream.msg : "damaged gzip stream";
  /* How zlib names the two fields of the trailer. */
  if (strcmp(reason, "incorrect data check") == 0) reason = "its CRC-32 does not match";
  if (strcmp(reason, "incorrect length check") == 0) reason = "its size is not what its gzip trailer says";
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %s", tq_input_name(self->input), reason);
}

tq_status tq_gunzip_next(tq_gunzip *gunzip, const void **bytes, size_t *size, tq_error *error) {
  z_stream *stream = &gunzip->stream;
  *bytes = gunzip->expanded;
  *size = 0;
  stream->next_out = gunzip->expanded;
  stream->avail_out = BUFFER_SIZE;
  while (stream->avail_out == BUFFER_SIZE) {
    if (gunzip->is_between_members) {
      bool is_end;
      tq_status status = begin_member(gunzip, &is_end, error);
      if (status != TQ_OK || is_end) return status;
    }
    tq_status status = fill(gunzip, error);
    if (status != TQ_OK) return status;
    if (stream->avail_in == 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated gzip stream", tq_input_name(gunzip->input));
    switch (inflate(stream, Z_NO_FLUSH)) {
    case Z_OK:
      break;
    case Z_STREAM_END:
      gunzip->is_between_members = true;
      break;
    case Z_MEM_ERROR:
      return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory", tq_input_name(gunzip->input));
    default:
      return damaged(gunzip, error);
    }
  }
  *size = BUFFER_SIZE - stream->avail_out;
  return TQ_OK;
}
