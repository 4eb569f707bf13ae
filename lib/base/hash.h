/* Hashes by algorithm id, through one table: XXH3-128 (xxHash) and SHA-256 (nettle). */
#ifndef TQ_BASE_HASH_H
#define TQ_BASE_HASH_H

#include "tq/error.h"

#include <stddef.h>
#include <stdint.h>

enum {
  TQ_HASH_SIZE = 32
}; /* a slot in the file; XXH3-128 fills the first 16 bytes (canonical, big-endian order) and the rest is zero */
enum { TQ_DIGEST_SIZE = 16 };

typedef enum tq_hash_algorithm { TQ_HASH_XXH3_128 = 1, TQ_HASH_SHA256 = 2 } tq_hash_algorithm;

typedef struct tq_hash {
  uint8_t bytes[TQ_HASH_SIZE];
} tq_hash;
typedef struct tq_digest {
  uint8_t bytes[TQ_DIGEST_SIZE];
} tq_digest;

/* "xxh3-128", "sha256", or NULL for an unknown id. */
const char *tq_hash_name(uint32_t algorithm);
/* The id of a name, or 0. */
uint32_t tq_hash_by_name(const char *name);

typedef struct tq_hash_state tq_hash_state;
tq_status tq_hash_create(uint32_t algorithm, tq_hash_state **state, tq_error *error);
void tq_hash_reset(tq_hash_state *state);
void tq_hash_update(tq_hash_state *state, const void *data, size_t size);
void tq_hash_final(const tq_hash_state *state, tq_hash *hash);
void tq_hash_destroy(tq_hash_state *state);

/* One shot; `algorithm` must be known. */
void tq_hash_bytes(uint32_t algorithm, const void *data, size_t size, tq_hash *hash);
uint64_t tq_hash_xxh3_64(const void *data, size_t size);

/* 2 * size lower-case hexadecimal digits and a NUL into `text`. */
void tq_hash_print(const uint8_t *bytes, size_t size, char *text);

#endif
