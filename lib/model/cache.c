#include "model/cache.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "model/function.h"
#include "tq/ternary.h"

#include <string.h>

static size_t element_bytes(const tq_cache *cache) { return cache->type == TQ_CACHE_Q8 ? 1 : sizeof(uint16_t); }

/* Memory of zeros is untouched until positions are stored in it, so that a context costs what is used of it. */
static tq_status allocate(tq_cache *cache, uint64_t heads, tq_error *error) {
  uint64_t places, elements;
  bool fits = tq_multiply_u64(heads, cache->positions, &places) && tq_multiply_u64(places, cache->size, &elements) &&
              elements <= SIZE_MAX;
  if (!fits) return tq_fail(error, TQ_ERROR_SYSTEM, "a session of this size does not fit in memory");
  cache->keys = tq_allocate((size_t)elements, element_bytes(cache), error);
  if (cache->keys) cache->values = tq_allocate((size_t)elements, element_bytes(cache), error);
  if (!cache->values) return TQ_ERROR_SYSTEM;
  if (cache->type == TQ_CACHE_F16) return TQ_OK;
  cache->key_steps = tq_allocate((size_t)places, sizeof *cache->key_steps, error);
  if (cache->key_steps) cache->value_steps = tq_allocate((size_t)places, sizeof *cache->value_steps, error);
  return cache->value_steps ? TQ_OK : TQ_ERROR_SYSTEM;
}

tq_status tq_cache_create(tq_cache *cache, tq_cache_type type, uint64_t heads, uint32_t positions, uint32_t size,
                          tq_error *error) {
  size_t rounded = ((size_t)positions + TQ_KEY_LANES - 1) / TQ_KEY_LANES * TQ_KEY_LANES;
  *cache = (tq_cache){.type = type, .positions = rounded, .size = size};
  return allocate(cache, heads, error);
}

void tq_cache_free(tq_cache *cache) {
  tq_free(cache->keys);
  tq_free(cache->values);
  tq_free(cache->key_steps);
  tq_free(cache->value_steps);
}

tq_cached_head tq_cache_head(const tq_cache *cache, size_t head) {
  size_t place = head * cache->positions, offset = place * cache->size * element_bytes(cache);
  bool stepped = cache->type == TQ_CACHE_Q8;
  return (tq_cached_head){.keys = (const uint8_t *)cache->keys + offset,
                          .values = (const uint8_t *)cache->values + offset,
                          .key_steps = stepped ? cache->key_steps + place : NULL,
                          .value_steps = stepped ? cache->value_steps + place : NULL};
}

/* Where the first element of a position's key lies; the next is TQ_KEY_LANES behind it. */
static size_t key_place(const tq_cache *cache, size_t head, size_t position) {
  size_t lane = position % TQ_KEY_LANES;
  return (head * cache->positions + position - lane) * cache->size + lane;
}

static size_t value_place(const tq_cache *cache, size_t head, size_t position) {
  return (head * cache->positions + position) * cache->size;
}

static void store_halves(const tq_cache *cache, const tq_kernels *kernels, size_t head, size_t position,
                         const float *key, const float *value) {
  uint16_t halves[TQ_MOST_HEAD_DIMENSION];
  uint16_t *keys = (uint16_t *)cache->keys + key_place(cache, head, position);
  kernels->to_half(key, cache->size, halves);
  for (size_t i = 0; i < cache->size; i++) keys[i * TQ_KEY_LANES] = halves[i];
  kernels->to_half(value, cache->size, (uint16_t *)cache->values + value_place(cache, head, position));
}

static void store_codes(const tq_cache *cache, const tq_kernels *kernels, size_t head, size_t position,
                        const float *key, const float *value) {
  int8_t codes[TQ_MOST_HEAD_DIMENSION + 128]; /* tq_code_stride of it */
  int32_t sums[TQ_MOST_HEAD_DIMENSION / TQ_SPAN];
  size_t place = head * cache->positions + position;
  int8_t *keys = (int8_t *)cache->keys + key_place(cache, head, position);
  kernels->quantize(key, cache->size, 0, codes, &cache->key_steps[place], sums);
  for (size_t i = 0; i < cache->size; i++) keys[i * TQ_KEY_LANES] = codes[i];
  kernels->quantize(value, cache->size, 0, codes, &cache->value_steps[place], sums);
  memcpy((int8_t *)cache->values + value_place(cache, head, position), codes, cache->size);
}

void tq_cache_store(const tq_cache *cache, const tq_kernels *kernels, size_t head, size_t position, const float *key,
                    const float *value) {
  if (cache->type == TQ_CACHE_Q8)
    store_codes(cache, kernels, head, position, key, value);
  else
    store_halves(cache, kernels, head, position, key, value);
}
