#include "base/hash.h"

#include "base/memory.h"

#include <nettle/sha2.h>
#include <nettle/version.h>
#include <stdio.h>
#include <string.h>

/* Inlined, because the library's own way to make a state would bypass our allocator. */
#define XXH_INLINE_ALL
#include <xxhash.h>

typedef union working {
  XXH3_state_t xxh3;
  struct sha256_ctx sha256;
} working;

typedef struct algorithm {
  uint32_t id;
  const char *name;
  void (*reset)(working *state);
  void (*update)(working *state, const void *data, size_t size);
  void (*final)(const working *state, uint8_t *bytes);
  void (*one_shot)(const void *data, size_t size, uint8_t *bytes);
} algorithm;

struct tq_hash_state {
  working state;
  const algorithm *algorithm;
};

static void xxh3_reset(working *state) {
  XXH3_INITSTATE(&state->xxh3);
  XXH3_128bits_reset(&state->xxh3);
}

static void xxh3_update(working *state, const void *data, size_t size) {
  XXH3_128bits_update(&state->xxh3, data, size);
}

static void xxh3_store(XXH128_hash_t value, uint8_t *bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, value);
  memcpy(bytes, canonical.digest, sizeof canonical.digest);
}

static void xxh3_final(const working *state, uint8_t *bytes) { xxh3_store(XXH3_128bits_digest(&state->xxh3), bytes); }

static void xxh3_one_shot(const void *data, size_t size, uint8_t *bytes) {
  xxh3_store(XXH3_128bits(data, size), bytes);
}

static void sha256_reset(working *state) { sha256_init(&state->sha256); }

static void sha256_add(working *state, const void *data, size_t size) { sha256_update(&state->sha256, size, data); }

static void sha256_final(const working *state, uint8_t *bytes) {
  struct sha256_ctx copy = state->sha256; /* taking the digest resets the context */
#if NETTLE_VERSION_MAJOR >= 4
  sha256_digest(&copy, bytes);
#else
  sha256_digest(&copy, SHA256_DIGEST_SIZE, bytes);
#endif
}

static void sha256_one_shot(const void *data, size_t size, uint8_t *bytes) {
  working state;
  sha256_reset(&state);
  sha256_add(&state, data, size);
  sha256_final(&state, bytes);
}

static const algorithm algorithms[] = {
    {TQ_HASH_XXH3_128, "xxh3-128", xxh3_reset, xxh3_update, xxh3_final, xxh3_one_shot},
    {TQ_HASH_SHA256, "sha256", sha256_reset, sha256_add, sha256_final, sha256_one_shot},
};

enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };

static const algorithm *find(uint32_t id) {
  for (size_t i = 0; i < ALGORITHMS; i++)
    if (algorithms[i].id == id) return &algorithms[i];
  return NULL;
}

const char *tq_hash_name(uint32_t id) {
  const algorithm *found = find(id);
  return found ? found->name : NULL;
}

uint32_t tq_hash_by_name(const char *name) {
  for (size_t i = 0; i < ALGORITHMS; i++)
    if (strcmp(algorithms[i].name, name) == 0) return algorithms[i].id;
  return 0;
}

tq_status tq_hash_create(uint32_t id, tq_hash_state **state, tq_error *error) {
  const algorithm *found = find(id);
  if (!found) return tq_fail(error, TQ_ERROR_CORRUPT, "unknown hash algorithm %u", (unsigned)id);
  tq_hash_state *created = tq_allocate_aligned(_Alignof(tq_hash_state), sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  created->algorithm = found;
  found->reset(&created->state);
  *state = created;
  return TQ_OK;
}

void tq_hash_reset(tq_hash_state *state) { state->algorithm->reset(&state->state); }

void tq_hash_update(tq_hash_state *state, const void *data, size_t size) {
  if (size) state->algorithm->update(&state->state, data, size);
}

void tq_hash_final(const tq_hash_state *state, tq_hash *hash) {
  *hash = (tq_hash){0};
  state->algorithm->final(&state->state, hash->bytes);
}

void tq_hash_destroy(tq_hash_state *state) { tq_free(state); }

void tq_hash_bytes(uint32_t id, const void *data, size_t size, tq_hash *hash) {
  const algorithm *found = find(id);
  *hash = (tq_hash){0};
  if (found) found->one_shot(size ? data : "", size, hash->bytes);
}

uint64_t tq_hash_xxh3_64(const void *data, size_t size) { return XXH3_64bits(size ? data : "", size); }

void tq_hash_print(const uint8_t *bytes, size_t size, char *text) {
  for (size_t i = 0; i < size; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  text[2 * size] = 0;
}
