/* Attention in lanes: part of floats.h. Lanes are positions where keys are met, and elements of a head where values are
 * added. */
#ifndef TQ_KERNELS_FLOAT_ATTENTION_H
#define TQ_KERNELS_FLOAT_ATTENTION_H

/* A query on its way through the blocks of positions. */
typedef struct attending {
  const tq_query *query;
  float *scores; /* [TQ_ATTENTION_BLOCK]; then weights */
  size_t count;  /* positions of the block */
  float largest, sum, correction;
} attending;

SPECIALIZED lanes load_cached(const void *numbers, bool integers, size_t index) {
  return integers ? lanes_load_i8((const int8_t *)numbers + index) : lanes_load_f16((const uint16_t *)numbers + index);
}

/* The same where fewer than 16 numbers are left. */
static inline lanes load_cached_some(const void *numbers, bool integers, size_t index, size_t count) {
  uint16_t some[LANES] = {0};
  size_t size = integers ? sizeof(int8_t) : sizeof(uint16_t);
  memcpy(some, (const uint8_t *)numbers + index * size, count * size);
  return load_cached(some, integers, 0);
}

/* ---- scores ---- */

/* `queries` with `groups` of 16 positions from `begin` on: that many accumulators. */
SPECIALIZED void score_tile(const tq_cached_head *head, bool integers, attending *const *tile, size_t queries,
                            size_t groups, size_t begin, size_t first, size_t size, float scale) {
  const size_t count = queries * groups;
  lanes sums[TILE_QUERIES];
#pragma GCC unroll 16
  for (size_t k = 0; k < count; k++) sums[k] = lanes_set(0.0f);
  for (size_t d = 0; d < size; d++) {
#pragma GCC unroll 16
    for (size_t g = 0; g < groups; g++) {
      lanes keys = load_cached(head->keys, integers, (begin + first + g * TQ_KEY_LANES) * size + d * TQ_KEY_LANES);
#pragma GCC unroll 16
      for (size_t i = 0; i < queries; i++) {
        lanes element = lanes_set(tile[i]->query->query[d]);
        sums[i * groups + g] = lanes_add(sums[i * groups + g], lanes_mul(element, keys));
      }
    }
  }
#pragma GCC unroll 16
  for (size_t k = 0; k < count; k++) {
    attending *at = tile[k / groups];
    size_t position = first + k % groups * TQ_KEY_LANES;
    if (position >= at->count) continue;
    size_t left = at->count - position;
    lanes factor = lanes_set(scale);
    if (integers && left < LANES)
      factor = lanes_mul(lanes_load_some(head->key_steps + begin + position, left), factor);
    else if (integers)
      factor = lanes_mul(lanes_load(head->key_steps + begin + position), factor);
    lanes_store(at->scores + position, lanes_mul(sums[k], factor));
  }
}

/* All of a block's positions. */
SPECIALIZED void score_queries(const tq_cached_head *head, bool integers, attending *const *tile, size_t queries,
                               size_t begin, size_t size, float scale) {
  const size_t groups = TILE_QUERIES / queries < 4 ? TILE_QUERIES / queries : 4;
  size_t count = 0, first = 0;
  for (size_t i = 0; i < queries; i++) count = tile[i]->count > count ? tile[i]->count : count;
  for (; first + (groups - 1) * TQ_KEY_LANES < count; first += groups * TQ_KEY_LANES)
    score_tile(head, integers, tile, queries, groups, begin, first, size, scale);
  for (; first < count; first += TQ_KEY_LANES) score_tile(head, integers, tile, queries, 1, begin, first, size, scale);
}

/* ---- weights ---- */

static void weigh(const tq_cached_head *head, attending *at, size_t begin) {
  size_t count = at->count;
  lanes most = lanes_set(at->largest), sum = lanes_set(0.0f);
  for (size_t i = count; i % LANES; i++) at->scores[i] = -INFINITY; /* adds 0 to the sum */
  for (size_t i = 0; i < count; i += LANES) most = lanes_larger(lanes_load(at->scores + i), most);
  float largest = lanes_largest(most);
  const lanes offset = lanes_set(largest);
  for (size_t i = 0; i < count; i += LANES) {
    lanes weights = lanes_exp(lanes_sub(lanes_load(at->scores + i), offset));
    sum = lanes_add(sum, weights);
    if (head->value_steps && count - i < LANES)
      weights = lanes_mul(weights, lanes_load_some(head->value_steps + begin + i, count - i));
    else if (head->value_steps)
      weights = lanes_mul(weights, lanes_load(head->value_steps + begin + i));
    lanes_store(at->scores + i, weights);
  }
  at->correction = tq_exp(at->largest - largest);
  at->largest = largest;
  at->sum = at->sum * at->correction + lanes_sum(sum);
}

/* ---- values ---- */

/* `parts` of 16 elements from d on for `queries`; `left` elements are there, all or less than one part. */
SPECIALIZED void value_tile(const tq_cached_head *head, bool integers, attending *const *tile, size_t queries,
                            size_t parts, size_t begin, size_t shared, size_t size, size_t d, size_t left) {
  const size_t count = queries * parts;
  const bool some = left < LANES;
  lanes sums[TILE_QUERIES];
#pragma GCC unroll 16
  for (size_t k = 0; k < count; k++) {
    const float *y = tile[k / parts]->query->y + d + k % parts * LANES;
    sums[k] = lanes_mul(some ? lanes_load_some(y, left) : lanes_load(y), lanes_set(tile[k / parts]->correction));
  }
  for (size_t p = 0; p < shared; p++) {
    size_t index = (begin + p) * size + d;
#pragma GCC unroll 16
    for (size_t part = 0; part < parts; part++) {
      lanes values = some ? load_cached_some(head->values, integers, index, left)
                          : load_cached(head->values, integers, index + part * LANES);
#pragma GCC unroll 16
      for (size_t i = 0; i < queries; i++) {
        lanes weight = lanes_set(tile[i]->scores[p]);
        sums[i * parts + part] = lanes_add(sums[i * parts + part], lanes_mul(weight, values));
      }
    }
  }
#pragma GCC unroll 16
  for (size_t k = 0; k < count; k++) {
    const attending *at = tile[k / parts];
    for (size_t p = shared; p < at->count; p++) {
      size_t index = (begin + p) * size + d;
      lanes values = some ? load_cached_some(head->values, integers, index, left)
                          : load_cached(head->values, integers, index + k % parts * LANES);
      sums[k] = lanes_add(sums[k], lanes_mul(lanes_set(at->scores[p]), values));
    }
    float *y = at->query->y + d + k % parts * LANES;
    if (some)
      lanes_store_some(y, left, sums[k]);
    else
      lanes_store(y, sums[k]);
  }
}

SPECIALIZED void value_queries(const tq_cached_head *head, bool integers, attending *const *tile, size_t queries,
                               size_t begin, size_t size) {
  const size_t parts = TILE_QUERIES / queries < 4 ? TILE_QUERIES / queries : 4;
  size_t shared = TQ_ATTENTION_BLOCK, d = 0;
  for (size_t i = 0; i < queries; i++) shared = tile[i]->count < shared ? tile[i]->count : shared;
  for (; d + parts * LANES <= size; d += parts * LANES)
    value_tile(head, integers, tile, queries, parts, begin, shared, size, d, LANES);
  for (; d + LANES <= size; d += LANES) value_tile(head, integers, tile, queries, 1, begin, shared, size, d, LANES);
  if (d < size) value_tile(head, integers, tile, queries, 1, begin, shared, size, d, size - d);
}

/* ---- blocks of positions ---- */

SPECIALIZED void attend_block(const tq_cached_head *head, bool integers, attending *const *active, size_t count,
                              size_t begin, size_t size, float scale) {
  size_t i = 0;
  for (; i + TILE_QUERIES <= count; i += TILE_QUERIES)
    score_queries(head, integers, active + i, TILE_QUERIES, begin, size, scale);
  for (; i + TILE_QUERIES / 2 <= count; i += TILE_QUERIES / 2)
    score_queries(head, integers, active + i, TILE_QUERIES / 2, begin, size, scale);
  for (; i < count; i++) score_queries(head, integers, active + i, 1, begin, size, scale);
  for (i = 0; i < count; i++) weigh(head, active[i], begin);
  for (i = 0; i + TILE_QUERIES <= count; i += TILE_QUERIES)
    value_queries(head, integers, active + i, TILE_QUERIES, begin, size);
  for (; i + TILE_QUERIES / 2 <= count; i += TILE_QUERIES / 2)
    value_queries(head, integers, active + i, TILE_QUERIES / 2, begin, size);
  for (; i < count; i++) value_queries(head, integers, active + i, 1, begin, size);
}

static void attend_halves(const tq_cached_head *head, attending *const *active, size_t count, size_t begin, size_t size,
                          float scale) {
  attend_block(head, false, active, count, begin, size, scale);
}

static void attend_integers(const tq_cached_head *head, attending *const *active, size_t count, size_t begin,
                            size_t size, float scale) {
  attend_block(head, true, active, count, begin, size, scale);
}

static void attention(const tq_cached_head *head, const tq_query *queries, size_t count, size_t size, float scale,
                      float *scratch) {
  attending all[TQ_ATTENTION_QUERIES], *active[TQ_ATTENTION_QUERIES];
  for (size_t i = 0; i < count; i++) {
    all[i] = (attending){.query = &queries[i], .scores = scratch + i * TQ_ATTENTION_BLOCK, .largest = -INFINITY};
    active[i] = &all[i];
    memset(queries[i].y, 0, size * sizeof(float));
  }
  size_t left = count;
  for (size_t begin = 0; left; begin += TQ_ATTENTION_BLOCK) {
    for (size_t i = 0; i < left; i++) {
      size_t positions = active[i]->query->positions - begin;
      active[i]->count = positions < TQ_ATTENTION_BLOCK ? positions : TQ_ATTENTION_BLOCK;
    }
    (head->key_steps ? attend_integers : attend_halves)(head, active, left, begin, size, scale);
    size_t kept = 0;
    for (size_t i = 0; i < left; i++)
      if (active[i]->query->positions > begin + TQ_ATTENTION_BLOCK) active[kept++] = active[i];
    left = kept;
  }
  for (size_t i = 0; i < count; i++) {
    float share = 1.0f / all[i].sum, *y = queries[i].y;
    for (size_t d = 0; d < size; d++) y[d] *= share;
  }
}

#endif
