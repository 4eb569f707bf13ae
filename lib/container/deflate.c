#include "container/deflate.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <zlib.h>

#include <inttypes.h>

enum {
  BUFFER_SIZE = 65536,
  INPUT_STEP = 1 << 30, /* zlib counts input in unsigned int */
  LEVEL = 6,
  MEMORY_LEVEL = 8 /* zlib's default */
};

/* ---- writing ---- */

struct tq_deflater {
  z_stream stream;
  uint8_t buffer[BUFFER_SIZE];
};

tq_status tq_deflater_create(tq_deflate_kind kind, tq_deflater **deflater, tq_error *error) {
  int strategy = kind == TQ_DEFLATE_MOSTLY_ZEROS ? Z_RLE : Z_DEFAULT_STRATEGY;
  tq_deflater *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->stream.zalloc = tq_hook_zlib_allocate;
  created->stream.zfree = tq_hook_zlib_free;
  if (deflateInit2(&created->stream, LEVEL, Z_DEFLATED, MAX_WBITS, MEMORY_LEVEL, strategy) != Z_OK) {
    tq_free(created);
    return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory for compression");
  }
  *deflater = created;
  return TQ_OK;
}

/* Runs the stream over its input until zlib asks for more, or, when flushing, until its end. */
static tq_status deflate_all(tq_deflater *deflater, int flush, tq_sink sink, void *context, tq_error *error) {
  z_stream *stream = &deflater->stream;
  do {
    stream->next_out = deflater->buffer;
    stream->avail_out = BUFFER_SIZE;
    deflate(stream, flush);
    size_t size = BUFFER_SIZE - stream->avail_out;
    tq_status status = size > 0 ? sink(context, deflater->buffer, size, error) : TQ_OK;
    if (status != TQ_OK) return status;
  } while (stream->avail_out == 0);
  return TQ_OK;
}

tq_status tq_deflater_write(tq_deflater *deflater, const void *data, size_t size, tq_sink sink, void *context,
                            tq_error *error) {
  const uint8_t *bytes = data;
  tq_status status = TQ_OK;
  while (size > 0 && status == TQ_OK) {
    size_t step = size < INPUT_STEP ? size : INPUT_STEP;
    deflater->stream.next_in = (z_const Bytef *)bytes;
    deflater->stream.avail_in = (uInt)step;
    status = deflate_all(deflater, Z_NO_FLUSH, sink, context, error);
    bytes += step;
    size -= step;
  }
  return status;
}

tq_status tq_deflater_end(tq_deflater *deflater, tq_sink sink, void *context, tq_error *error) {
  deflater->stream.next_in = NULL;
  deflater->stream.avail_in = 0;
  tq_status status = deflate_all(deflater, Z_FINISH, sink, context, error);
  deflateReset(&deflater->stream);
  return status;
}

void tq_deflater_destroy(tq_deflater *deflater) {
  if (!deflater) return;
  deflateEnd(&deflater->stream);
  tq_free(deflater);
}

/* ---- reading ---- */

struct tq_inflater {
  z_stream stream;
  const char *place;
  const uint8_t *stored;
  uint64_t stored_left, left; /* input not yet given to zlib; output not yet got from it */
  bool ended;
};

tq_status tq_inflater_create(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size,
                             tq_inflater **inflater, tq_error *error) {
  tq_inflater *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->place = place;
  created->stored = stored;
  created->stored_left = stored_size;
  created->left = size;
  created->stream.zalloc = tq_hook_zlib_allocate;
  created->stream.zfree = tq_hook_zlib_free;
  if (inflateInit(&created->stream) != Z_OK) {
    tq_free(created);
    return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory for inflating", place);
  }
  *inflater = created;
  return TQ_OK;
}

static void feed(tq_inflater *inflater) {
  if (inflater->stream.avail_in > 0 || inflater->stored_left == 0) return;
  uint64_t step = inflater->stored_left < INPUT_STEP ? inflater->stored_left : INPUT_STEP;
  inflater->stream.next_in = (z_const Bytef *)inflater->stored;
  inflater->stream.avail_in = (uInt)step;
  inflater->stored += step;
  inflater->stored_left -= step;
}

/* Inflates up to `room` bytes. */
static tq_status inflate_step(tq_inflater *inflater, uint8_t *bytes, size_t room, size_t *size, tq_error *error) {
  feed(inflater);
  inflater->stream.next_out = bytes;
  inflater->stream.avail_out = room < INPUT_STEP ? (uInt)room : INPUT_STEP;
  int result = inflate(&inflater->stream, Z_NO_FLUSH);
  *size = (size_t)(inflater->stream.next_out - bytes);
  inflater->ended = result == Z_STREAM_END;
  if (result == Z_MEM_ERROR) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory for inflating", inflater->place);
  if (result == Z_OK || result == Z_STREAM_END) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its deflated bytes are damaged", inflater->place);
}

tq_status tq_inflater_read(tq_inflater *inflater, void *bytes, size_t size, tq_error *error) {
  uint8_t *to = bytes;
  tq_status status = TQ_OK;
  for (size_t n; size > 0 && status == TQ_OK; to += n, size -= n) {
    n = 0;
    if (inflater->ended || size > inflater->left)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: inflates to %" PRIu64 " bytes less than its size", inflater->place,
                     inflater->left);
    status = inflate_step(inflater, to, size, &n, error);
    inflater->left -= n;
  }
  return status;
}

/* A byte of room shows a stream that holds more. */
tq_status tq_inflater_finish(tq_inflater *inflater, tq_error *error) {
  uint8_t more;
  size_t size = 0;
  tq_status status = TQ_OK;
  while (status == TQ_OK && !inflater->ended && size == 0) status = inflate_step(inflater, &more, 1, &size, error);
  if (status != TQ_OK) return status;
  if (size > 0) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: inflates to more than its size", inflater->place);
  if (inflater->stored_left > 0 || inflater->stream.avail_in > 0)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: bytes behind the end of its deflated bytes", inflater->place);
  return TQ_OK;
}

void tq_inflater_destroy(tq_inflater *inflater) {
  if (!inflater) return;
  inflateEnd(&inflater->stream);
  tq_free(inflater);
}

tq_status tq_inflate(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size, tq_sink sink,
                     void *context, tq_error *error) {
  tq_inflater *inflater;
  uint8_t *buffer = tq_allocate(BUFFER_SIZE, 1, error);
  if (!buffer) return TQ_ERROR_SYSTEM;
  tq_status status = tq_inflater_create(place, stored, stored_size, size, &inflater, error);
  if (status != TQ_OK) {
    tq_free(buffer);
    return status;
  }
  while (status == TQ_OK && size > 0) {
    size_t step = size < BUFFER_SIZE ? (size_t)size : BUFFER_SIZE;
    status = tq_inflater_read(inflater, buffer, step, error);
    if (status == TQ_OK) status = sink(context, buffer, step, error);
    size -= step;
  }
  if (status == TQ_OK) status = tq_inflater_finish(inflater, error);
  tq_inflater_destroy(inflater);
  tq_free(buffer);
  return status;
}
