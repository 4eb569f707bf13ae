/* The cache of keys and values, as the kernels for attention read it. */
#ifndef TQ_MODEL_CACHE_H
#define TQ_MODEL_CACHE_H

#include "kernels/kernels.h"
#include "tq/model.h"

/* Heads lie one after the other, [layer][sequence][kv head], each with room for all positions: keys in blocks of 16
 * positions, values a position at a time (tq_cached_head). */
typedef struct tq_cache {
  tq_cache_type type;
  size_t positions, size;         /* room of a head, a multiple of TQ_KEY_LANES; elements of one position */
  void *keys, *values;            /* F16 or I8 */
  float *key_steps, *value_steps; /* [head][position]: of I8 */
} tq_cache;

/* Room for that many heads. Fields are to be freed in every case. */
tq_status tq_cache_create(tq_cache *cache, tq_cache_type type, uint64_t heads, uint32_t positions, uint32_t size,
                          tq_error *error);
void tq_cache_free(tq_cache *cache);

tq_cached_head tq_cache_head(const tq_cache *cache, size_t head);
/* Puts the key and the value of one position there, rounded to the cache's type. */
void tq_cache_store(const tq_cache *cache, const tq_kernels *kernels, size_t head, size_t position, const float *key,
                    const float *value);

#endif
