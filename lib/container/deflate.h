/* zlib streams, written and read piece by piece, with the library's own allocator. */
#ifndef TQ_CONTAINER_DEFLATE_H
#define TQ_CONTAINER_DEFLATE_H

#include "tq/container.h"

/* What the bytes are like. A search for repetitions in long stretches of zeros with a bit here and there costs several
 * times the time that it saves in bytes. */
typedef enum tq_deflate_kind { TQ_DEFLATE_ANY, TQ_DEFLATE_MOSTLY_ZEROS } tq_deflate_kind;

/* Compresses one stream after another with one set of buffers. The bytes depend on nothing but the input. */
typedef struct tq_deflater tq_deflater;
tq_status tq_deflater_create(tq_deflate_kind kind, tq_deflater **deflater, tq_error *error);
/* Adds input; what comes out goes to `sink`. */
tq_status tq_deflater_write(tq_deflater *deflater, const void *data, size_t size, tq_sink sink, void *context,
                            tq_error *error);
/* Ends the stream, and makes ready for the next. */
tq_status tq_deflater_end(tq_deflater *deflater, tq_sink sink, void *context, tq_error *error);
void tq_deflater_destroy(tq_deflater *deflater); /* NULL is allowed */

/* Inflates one stream of `stored_size` bytes that must give exactly `size` bytes, as its reader asks for them. `place`
 * begins the messages; it and the stored bytes must outlive the inflater. */
typedef struct tq_inflater tq_inflater;
tq_status tq_inflater_create(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size,
                             tq_inflater **inflater, tq_error *error);
/* The next `size` bytes, or TQ_ERROR_CORRUPT where the stream has fewer. */
tq_status tq_inflater_read(tq_inflater *inflater, void *bytes, size_t size, tq_error *error);
/* Checks, once all bytes are read, that the stream ends there, and that nothing lies behind it. */
tq_status tq_inflater_finish(tq_inflater *inflater, tq_error *error);
void tq_inflater_destroy(tq_inflater *inflater); /* NULL is allowed */

/* The same, handed to `sink` piece by piece; never yields more than `size`. */
tq_status tq_inflate(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size, tq_sink sink,
                     void *context, tq_error *error);

#endif
