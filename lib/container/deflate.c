#include "container/deflate.h"

#include "base/bytes.h"
#include "base/memory.h"

#include <zlib.h>

#include <inttypes.h>

enum {
  BUFFER_SIZE = 65536,
  INPUT_STEP = 1 << 30, /* zlib counts input in unsigned int */
  LEVEL = 6
};

/* ---- writing ---- */

struct tq_deflater {
  z_stream stream;
  uint8_t buffer[BUFFER_SIZE];
};

tq_status tq_deflater_create(tq_deflater **deflater, tq_error *error) {
  tq_deflater *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->stream.zalloc = tq_hook_zlib_allocate;
  created->stream.zfree = tq_hook_zlib_free;
  if (deflateInit(&created->stream, LEVEL) != Z_OK) {
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

typedef struct inflater {
  z_stream stream;
  const uint8_t *stored;
  uint64_t stored_left, left; /* input not yet given to zlib; output not yet got from it */
  uint8_t buffer[BUFFER_SIZE];
} inflater;

static void feed(inflater *state) {
  if (state->stream.avail_in > 0 || state->stored_left == 0) return;
  uint64_t step = state->stored_left < INPUT_STEP ? state->stored_left : INPUT_STEP;
  state->stream.next_in = (z_const Bytef *)state->stored;
  state->stream.avail_in = (uInt)step;
  state->stored += step;
  state->stored_left -= step;
}

/* The buffer has room for one byte more than is still to come, so that a stream that holds more shows it. */
static tq_status inflate_step(inflater *state, const char *place, bool *ended, tq_sink sink, void *context,
                              tq_error *error) {
  feed(state);
  uInt room = state->left < BUFFER_SIZE ? (uInt)state->left + 1 : BUFFER_SIZE;
  state->stream.next_out = state->buffer;
  state->stream.avail_out = room;
  int result = inflate(&state->stream, Z_NO_FLUSH);
  size_t size = room - state->stream.avail_out;
  if (result == Z_MEM_ERROR) return tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory for inflating", place);
  if (result != Z_OK && result != Z_STREAM_END)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: its deflated bytes are damaged", place);
  if (size > state->left) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: inflates to more than its size", place);
  state->left -= size;
  *ended = result == Z_STREAM_END;
  return size > 0 ? sink(context, state->buffer, size, error) : TQ_OK;
}

tq_status tq_inflate(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size, tq_sink sink,
                     void *context, tq_error *error) {
  inflater *state = tq_allocate(1, sizeof *state, error);
  if (!state) return TQ_ERROR_SYSTEM;
  state->stored = stored;
  state->stored_left = stored_size;
  state->left = size;
  state->stream.zalloc = tq_hook_zlib_allocate;
  state->stream.zfree = tq_hook_zlib_free;
  tq_status status = TQ_OK;
  if (inflateInit(&state->stream) != Z_OK)
    status = tq_fail(error, TQ_ERROR_SYSTEM, "%s: out of memory for inflating", place);
  for (bool ended = false; status == TQ_OK && !ended;)
    status = inflate_step(state, place, &ended, sink, context, error);
  if (status == TQ_OK && state->left > 0)
    status =
        tq_fail(error, TQ_ERROR_CORRUPT, "%s: inflates to %" PRIu64 " bytes less than its size", place, state->left);
  if (status == TQ_OK && (state->stored_left > 0 || state->stream.avail_in > 0))
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: bytes behind the end of its deflated bytes", place);
  inflateEnd(&state->stream);
  tq_free(state);
  return status;
}
