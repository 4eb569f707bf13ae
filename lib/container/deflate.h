/* zlib streams, written and read piece by piece, with the library's own allocator. */
#ifndef TQ_CONTAINER_DEFLATE_H
#define TQ_CONTAINER_DEFLATE_H

#include "tq/container.h"

/* Compresses one stream after another with one set of buffers. The bytes depend on nothing but the input. */
typedef struct tq_deflater tq_deflater;
tq_status tq_deflater_create(tq_deflater **deflater, tq_error *error);
/* Adds input; what comes out goes to `sink`. */
tq_status tq_deflater_write(tq_deflater *deflater, const void *data, size_t size, tq_sink sink, void *context,
                            tq_error *error);
/* Ends the stream, and makes ready for the next. */
tq_status tq_deflater_end(tq_deflater *deflater, tq_sink sink, void *context, tq_error *error);
void tq_deflater_destroy(tq_deflater *deflater); /* NULL is allowed */

/* Inflates one stream of `stored_size` bytes that must give exactly `size` bytes; never yields more. `place` begins the
 * messages. */
tq_status tq_inflate(const char *place, const uint8_t *stored, uint64_t stored_size, uint64_t size, tq_sink sink,
                     void *context, tq_error *error);

#endif
