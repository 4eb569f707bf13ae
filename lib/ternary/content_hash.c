/* The hash of what a tensor's weights are, whatever they are encoded in. */
#include "base/bytes.h"
#include "base/hash.h"
#include "base/memory.h"
#include "tq/ternary.h"

struct tq_content_hash {
  tq_hash_state *state;
};

static void update_u64(tq_hash_state *state, uint64_t value) {
  uint8_t bytes[8];
  tq_store_u64(bytes, value);
  tq_hash_update(state, bytes, sizeof bytes);
}

tq_status tq_content_hash_create(const uint64_t *shape, uint32_t dimensions, tq_content_hash **hash, tq_error *error) {
  tq_content_hash *created = tq_allocate(1, sizeof *created, error);
  if (!created) return TQ_ERROR_SYSTEM;
  tq_status status = tq_hash_create(TQ_HASH_XXH3_128, &created->state, error);
  if (status) {
    tq_free(created);
    return status;
  }
  update_u64(created->state, dimensions);
  for (uint32_t i = 0; i < dimensions; i++) update_u64(created->state, shape[i]);
  *hash = created;
  return TQ_OK;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
void tq_content_hash_update(tq_content_hash *hash, const float *values, uint64_t count) {
  tq_hash_update(hash->state, values, (size_t)count * sizeof *values);
}
#else
void tq_content_hash_update(tq_content_hash *hash, const float *values, uint64_t count) {
  uint8_t bytes[1024];
  while (count) {
    uint64_t part = count < sizeof bytes / 4 ? count : sizeof bytes / 4;
    for (uint64_t i = 0; i < part; i++) tq_store_f32(bytes + 4 * i, values[i]);
    tq_hash_update(hash->state, bytes, (size_t)part * 4);
    values += part;
    count -= part;
  }
}
#endif

void tq_content_hash_update_bytes(tq_content_hash *hash, const void *data, size_t size) {
  tq_hash_update(hash->state, data, size);
}

void tq_content_hash_final(const tq_content_hash *hash, uint8_t digest[16]) {
  tq_hash whole;
  tq_hash_final(hash->state, &whole);
  memcpy(digest, whole.bytes, TQ_DIGEST_SIZE);
}

void tq_content_hash_destroy(tq_content_hash *hash) {
  if (!hash) return;
  tq_hash_destroy(hash->state);
  tq_free(hash);
}
