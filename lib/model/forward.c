/* The forward pass: a batch of tokens through a range of layers.
 *
 * A layer is a row of steps. Each step is run by every member of the team on its share, and none begins before the one
 * before it has ended everywhere. What a step computes for a token depends on neither the share nor the batch it is in.
 */
#include "model/model.h"

#include "base/memory.h"
#include "tq/ternary.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
  UNIT_ROWS = 4 * TQ_PANEL_ROWS, /* of a matrix that are dealt out: what products with many vectors take at once */
  REST_SHARE = 8,                /* one in so many units is not dealt out beforehand */
  MOST_PRODUCTS = 3              /* of one step */
};

/* One call of tq_forward. */
typedef struct pass {
  tq_session *session;
  const tq_model *model;
  const tq_batch *batch;
  uint32_t first_layer, end_layer;
  size_t wanted; /* tokens that want logits */
  uint32_t layer;
  const tq_layer *weights;         /* of that layer */
  const tq_bound_linear *verified; /* what step_verify is about */
  size_t verified_count;
  atomic_bool is_damaged;
  atomic_size_t taken[MOST_PRODUCTS]; /* units of the step's products that were dealt out as members came for them */
} pass;

/* ---- what a call may ask for ---- */

static uint32_t sequence_of(const tq_batch *batch, size_t token) {
  return batch->sequences ? batch->sequences[token] : 0;
}

static bool wants_logits(const tq_batch *batch, size_t token) {
  return batch->wants_logits ? batch->wants_logits[token] : token + 1 == batch->count;
}

static tq_status check_range(const pass *of, tq_error *error) {
  const tq_batch *batch = of->batch;
  uint32_t layers = of->model->hyperparameters.layers;
  if (batch->count == 0 || batch->count > of->session->batch)
    return tq_fail(error, TQ_ERROR_USAGE, "a batch of %zu tokens where the session takes 1 to %u", batch->count,
                   of->session->batch);
  if (of->first_layer >= of->end_layer || of->end_layer > layers)
    return tq_fail(error, TQ_ERROR_USAGE, "layers %u to %u are not a range of the model's %u", of->first_layer,
                   of->end_layer, layers);
  if (!batch->positions) return tq_fail(error, TQ_ERROR_USAGE, "a batch without positions");
  if (of->first_layer == 0 && !batch->tokens) return tq_fail(error, TQ_ERROR_USAGE, "a batch without tokens");
  if ((of->first_layer > 0 || of->end_layer < layers) && !batch->residual)
    return tq_fail(error, TQ_ERROR_USAGE, "a part of the layers without a residual stream to carry on");
  return TQ_OK;
}

static tq_status check_token(const pass *of, size_t index, tq_error *error) {
  const tq_batch *batch = of->batch;
  uint32_t sequence = sequence_of(batch, index), position = batch->positions[index];
  if (of->first_layer == 0 && batch->tokens[index] >= of->model->hyperparameters.vocabulary)
    return tq_fail(error, TQ_ERROR_USAGE, "token %u is outside the vocabulary of %u", batch->tokens[index],
                   of->model->hyperparameters.vocabulary);
  if (sequence >= of->session->sequences)
    return tq_fail(error, TQ_ERROR_USAGE, "sequence %u where the session has %u", sequence, of->session->sequences);
  if (position != of->session->next[sequence])
    return tq_fail(error, TQ_ERROR_USAGE, "sequence %u goes on at position %u, not %u", sequence,
                   of->session->next[sequence], position);
  if (position >= of->session->context)
    return tq_fail(error, TQ_ERROR_USAGE, "position %u of sequence %u does not fit the context of %u", position,
                   sequence, of->session->context);
  of->session->next[sequence]++;
  return TQ_OK;
}

/* Leaves in next[] how far each sequence will reach. All layers of the range must hold the same positions. */
static tq_status check_batch(const pass *of, tq_error *error) {
  tq_session *session = of->session;
  uint32_t layers = of->model->hyperparameters.layers;
  tq_status status = check_range(of, error);
  if (status) return status;
  for (uint32_t s = 0; s < session->sequences; s++)
    session->next[s] = session->held[(size_t)s * layers + of->first_layer];
  for (size_t i = 0; !status && i < of->batch->count; i++) {
    status = check_token(of, i, error);
    const uint32_t *held = session->held + (size_t)sequence_of(of->batch, i) * layers;
    for (uint32_t layer = of->first_layer; !status && layer < of->end_layer; layer++)
      if (held[layer] != held[of->first_layer])
        status = tq_fail(error, TQ_ERROR_USAGE, "sequence %u holds %u positions in layer %u and %u in layer %u",
                         sequence_of(of->batch, i), held[of->first_layer], of->first_layer, held[layer], layer);
  }
  return status;
}

/* ---- what must be ready before a step ---- */

/* Chunks are dealt out in turn. */
static void step_verify(void *context, unsigned member, unsigned members) {
  pass *of = context;
  const tq_file *file = of->model->file;
  size_t dealt = 0;
  for (size_t i = 0; i < of->verified_count; i++) {
    uint64_t size = tq_file_tensor(file, of->verified[i].tensor)->data_size;
    for (uint64_t offset = 0; offset < size; offset += TQ_CHUNK_SIZE) {
      uint64_t left = size - offset;
      tq_error ignored;
      if (dealt++ % members != member) continue;
      if (tq_file_touch(file, of->verified[i].tensor, offset, left < TQ_CHUNK_SIZE ? left : TQ_CHUNK_SIZE, &ignored))
        atomic_store(&of->is_damaged, true);
    }
  }
}

/* Verifies what the next steps will read, once in a session; costs nothing unless the file was opened to be verified
 * lazily. Damage is looked for again in order, so that the same one is named whoever found it. */
static tq_status verify(pass *of, bool *touched, const tq_bound_linear *linears, size_t count, tq_error *error) {
  const tq_file *file = of->model->file;
  tq_status status = TQ_OK;
  if (*touched) return TQ_OK;
  of->verified = linears;
  of->verified_count = count;
  tq_team_run(of->session->team, step_verify, of);
  for (size_t i = 0; of->is_damaged && !status && i < count; i++)
    status = tq_file_touch(file, linears[i].tensor, 0, tq_file_tensor(file, linears[i].tensor)->data_size, error);
  *touched = !status;
  return status;
}

/* Of the embedding, only the panels that are looked up, and what lies behind the rows. */
static tq_status verify_embeddings(const pass *of, tq_error *error) {
  const tq_matrix *rows = &of->model->embedding.linear.weights;
  const tq_file *file = of->model->file;
  size_t tensor = of->model->embedding.tensor;
  uint64_t end = rows->rows * rows->row_bytes;
  if (of->first_layer > 0) return TQ_OK;
  tq_status status = tq_file_touch(file, tensor, end, tq_file_tensor(file, tensor)->data_size - end, error);
  for (size_t t = 0; !status && t < of->batch->count; t++) {
    uint64_t begin = of->batch->tokens[t] / TQ_PANEL_ROWS * TQ_PANEL_ROWS * rows->row_bytes;
    uint64_t size = TQ_PANEL_ROWS * rows->row_bytes;
    status = tq_file_touch(file, tensor, begin, size < end - begin ? size : end - begin, error);
  }
  return status;
}

/* Notes which tokens want logits and makes room for them. */
static tq_status prepare_logits(pass *of, tq_error *error) {
  tq_session *session = of->session;
  if (of->end_layer < of->model->hyperparameters.layers) return TQ_OK;
  for (size_t i = 0; i < of->batch->count; i++)
    if (wants_logits(of->batch, i)) session->wanted[of->wanted++] = (uint32_t)i;
  if (of->wanted <= session->logits_capacity) return TQ_OK;
  size_t vocabulary = of->model->hyperparameters.vocabulary;
  if (of->wanted > SIZE_MAX / vocabulary) return tq_fail(error, TQ_ERROR_SYSTEM, "the logits do not fit in memory");
  float *logits = tq_allocate(of->wanted * vocabulary, sizeof *logits, error);
  if (!logits) return TQ_ERROR_SYSTEM;
  tq_free(session->logits);
  session->logits = logits;
  session->logits_capacity = of->wanted;
  return TQ_OK;
}

/* ---- the steps ---- */

static float *scratch_of(const pass *of, unsigned member) {
  return of->session->scratch + member * of->session->scratch_size;
}

/* An input of linear layers with the session's room for its other forms: it holds those of one input at a time. */
static tq_input input_of(const pass *of, const float *x) {
  return (tq_input){x, of->session->rotated, {of->session->codes[0], of->session->codes[1]}};
}

/* Makes one vector's forms for the layers that are to be multiplied with it next. */
static void prepare(const pass *of, const tq_bound_linear *linears, size_t count, const float *x, size_t vector) {
  tq_input input = input_of(of, x);
  unsigned made = 0;
  for (size_t i = 0; i < count; i++) tq_op_input(of->session->kernels, &linears[i].linear, &input, vector, &made);
}

/* This member's rows of one linear layer, for all tokens: whole panels of ternary codes. They are shared out
 * beforehand, so that every member reads bytes that lie together, but for a rest with one token: memory does not serve
 * members evenly, and who is done first takes from it. */
static void multiply(pass *of, const tq_bound_linear *linear, const float *x, size_t count, float *y, unsigned place,
                     unsigned member, unsigned members) {
  const tq_matrix *weights = &linear->linear.weights;
  tq_input input = input_of(of, x);
  size_t units = ((size_t)weights->rows + UNIT_ROWS - 1) / UNIT_ROWS, shared = units, begin, end;
  if (members > 1 && count == 1) shared -= units / REST_SHARE;
  tq_team_share(shared, member, members, &begin, &end);
  while (begin < units) {
    uint64_t first = begin * UNIT_ROWS, behind = end * UNIT_ROWS < weights->rows ? end * UNIT_ROWS : weights->rows;
    if (begin < end)
      tq_op_linear(of->session->kernels, &linear->linear, first, behind, &input, count, y, scratch_of(of, member));
    begin = shared + atomic_fetch_add(&of->taken[place], 1);
    end = begin + 1;
  }
}

static void normalize(const pass *of, const float *x, const float *weight, size_t size, float *y) {
  of->session->kernels->rms_norm(x, weight, size, of->model->hyperparameters.norm_epsilon, y);
}

static void embed(const tq_model *model, uint32_t token, float *stream, float *scratch) {
  const tq_linear *embedding = &model->embedding.linear;
  tq_op_embedding(&embedding->weights, token, stream, scratch);
  if (embedding->rotation) tq_op_rotate_back(embedding->rotation, stream, (size_t)embedding->weights.columns, stream);
}

/* Embeddings, or the residual stream of the layers before; and the angles that all layers share. */
static void step_begin(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_model *model = of->model;
  size_t dimension = model->hyperparameters.dimension, pairs = model->hyperparameters.rope_dimensions / 2, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    float *stream = of->session->residual + t * dimension;
    if (of->first_layer == 0)
      embed(model, of->batch->tokens[t], stream, scratch_of(of, member));
    else
      memcpy(stream, of->batch->residual + t * dimension, dimension * sizeof *stream);
    tq_op_rope_angles(model->frequencies, pairs, of->batch->positions[t], model->magnitude,
                      of->session->cosines + t * pairs, of->session->sines + t * pairs);
  }
}

/* Adds to a token's residual stream what the step before gave. */
static float *add_projected(const pass *of, size_t token) {
  size_t size = of->model->hyperparameters.dimension;
  float *stream = of->session->residual + token * size;
  of->session->kernels->add(stream, of->session->projected + token * size, size);
  return stream;
}

static void step_attention_norm(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    if (of->layer > of->first_layer) add_projected(of, t);
    normalize(of, of->session->residual + t * size, of->weights->norms[TQ_NORM_ATTENTION], size,
              of->session->normed + t * size);
    prepare(of, &of->weights->linears[TQ_LINEAR_Q], 3, of->session->normed, t);
  }
}

static void step_query_key_value(void *context, unsigned member, unsigned members) {
  pass *of = context;
  const tq_session *session = of->session;
  const tq_bound_linear *linears = of->weights->linears;
  size_t count = of->batch->count;
  multiply(of, &linears[TQ_LINEAR_Q], session->normed, count, session->query, 0, member, members);
  multiply(of, &linears[TQ_LINEAR_K], session->normed, count, session->key, 1, member, members);
  multiply(of, &linears[TQ_LINEAR_V], session->normed, count, session->value, 2, member, members);
}

/* A key head in the session's cache. */
static size_t cached(const pass *of, size_t token, uint32_t head) {
  size_t place = (size_t)of->layer * of->session->sequences + sequence_of(of->batch, token);
  return place * of->model->hyperparameters.kv_heads + head;
}

/* Turns the heads of q or k to their position, normalised by `norm` first where there is one. */
static void place_heads(const pass *of, float *heads, uint32_t count, const float *norm, size_t token) {
  size_t size = of->model->hyperparameters.head_dimension, pairs = of->model->hyperparameters.rope_dimensions / 2;
  for (float *head = heads; head < heads + count * size; head += size) {
    if (norm) normalize(of, head, norm, size, head);
    of->session->kernels->rope(head, pairs, of->session->cosines + token * pairs, of->session->sines + token * pairs);
  }
}

/* Gives queries and keys their positions, and puts keys and values where the session keeps them. */
static void step_rope(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  size_t size = sizes->head_dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    float *key = of->session->key + t * sizes->kv_heads * size;
    const float *value = of->session->value + t * sizes->kv_heads * size;
    place_heads(of, of->session->query + t * sizes->heads * size, sizes->heads, of->weights->norms[TQ_NORM_Q], t);
    place_heads(of, key, sizes->kv_heads, of->weights->norms[TQ_NORM_K], t);
    for (uint32_t head = 0; head < sizes->kv_heads; head++)
      tq_cache_store(&of->session->cache, of->session->kernels, cached(of, t, head), of->batch->positions[t],
                     key + head * size, value + head * size);
  }
}

/* Queries that share a head's keys and values, on their way to the kernel. */
typedef struct tile {
  tq_query queries[TQ_ATTENTION_QUERIES];
  size_t count, head;
} tile;

static void attend(const pass *of, tile *ready, float *scratch) {
  const tq_cached_head head = tq_cache_head(&of->session->cache, ready->head);
  size_t size = of->model->hyperparameters.head_dimension;
  if (ready->count)
    of->session->kernels->attention(&head, ready->queries, ready->count, size, 1.0f / sqrtf((float)size), scratch);
  ready->count = 0;
}

static void add_query(const pass *of, tile *to, size_t token, uint32_t head, float *scratch) {
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  size_t shared = cached(of, token, head / (sizes->heads / sizes->kv_heads));
  size_t offset = (token * sizes->heads + head) * sizes->head_dimension;
  if (to->head != shared || to->count == TQ_ATTENTION_QUERIES) attend(of, to, scratch);
  to->head = shared;
  to->queries[to->count++] =
      (tq_query){of->session->query + offset, of->session->attended + offset, (size_t)of->batch->positions[token] + 1};
}

/* The work of all queries, a query's being the positions that it looks back on, is cut into equal shares; a query
 * belongs to the share that its work begins in. */
static void step_attention(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  uint32_t group = sizes->heads / sizes->kv_heads;
  size_t work = 0, begin, end;
  tile gathered = {.count = 0};
  for (size_t t = 0; t < of->batch->count; t++) work += ((size_t)of->batch->positions[t] + 1) * sizes->heads;
  tq_team_share(work, member, members, &begin, &end);
  work = 0;
  for (uint32_t first = 0; first < sizes->heads; first += group)
    for (size_t t = 0; t < of->batch->count; t++)
      for (uint32_t head = first; head < first + group; head++) {
        if (work >= begin && work < end) add_query(of, &gathered, t, head, scratch_of(of, member));
        work += (size_t)of->batch->positions[t] + 1;
      }
  attend(of, &gathered, scratch_of(of, member));
}

/* What o meets: heads are spread over the team, so that a token's vector is whole only after that step. */
static void step_attended(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = (size_t)tq_extent_size(&of->model->hyperparameters, TQ_EXTENT_QUERY), begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    float *attended = of->session->attended + t * size;
    if (of->model->hyperparameters.sub_norms)
      normalize(of, attended, of->weights->norms[TQ_NORM_ATTENTION_SUB], size, attended);
    prepare(of, &of->weights->linears[TQ_LINEAR_O], 1, of->session->attended, t);
  }
}

static bool has_step_attended(const pass *of) {
  return of->model->hyperparameters.sub_norms || of->weights->linears[TQ_LINEAR_O].linear.rotation ||
         of->session->activations != TQ_ACTIVATIONS_FLOAT;
}

static void step_output(void *context, unsigned member, unsigned members) {
  pass *of = context;
  multiply(of, &of->weights->linears[TQ_LINEAR_O], of->session->attended, of->batch->count, of->session->projected, 0,
           member, members);
}

static void step_ffn_norm(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    normalize(of, add_projected(of, t), of->weights->norms[TQ_NORM_FFN], size, of->session->normed + t * size);
    prepare(of, &of->weights->linears[TQ_LINEAR_GATE], 2, of->session->normed, t);
  }
}

static void step_gate_up(void *context, unsigned member, unsigned members) {
  pass *of = context;
  const tq_session *session = of->session;
  const tq_bound_linear *linears = of->weights->linears;
  multiply(of, &linears[TQ_LINEAR_GATE], session->normed, of->batch->count, session->gate, 0, member, members);
  multiply(of, &linears[TQ_LINEAR_UP], session->normed, of->batch->count, session->up, 1, member, members);
}

static void step_activate(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  size_t size = sizes->feed_forward, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    float *gate = of->session->gate + t * size;
    const float *up = of->session->up + t * size;
    if (sizes->gate == TQ_GATE_SQUARED_RELU)
      of->session->kernels->gate_squared_relu(gate, up, gate, size);
    else
      of->session->kernels->gate_silu(gate, up, gate, size);
    if (sizes->sub_norms) normalize(of, gate, of->weights->norms[TQ_NORM_FFN_SUB], size, gate);
    prepare(of, &of->weights->linears[TQ_LINEAR_DOWN], 1, of->session->gate, t);
  }
}

static void step_down(void *context, unsigned member, unsigned members) {
  pass *of = context;
  multiply(of, &of->weights->linears[TQ_LINEAR_DOWN], of->session->gate, of->batch->count, of->session->projected, 0,
           member, members);
}

/* The residual stream behind the last layer, given to the caller when more layers follow. */
static void step_end(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    const float *stream = add_projected(of, t);
    if (of->end_layer < of->model->hyperparameters.layers)
      memcpy(of->batch->residual + t * size, stream, size * sizeof *stream);
  }
}

/* The final norm of the tokens that want logits, packed together. */
static void step_final_norm(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->wanted, member, members, &begin, &end);
  for (size_t i = begin; i < end; i++) {
    normalize(of, of->session->residual + of->session->wanted[i] * size, of->model->final_norm, size,
              of->session->normed + i * size);
    prepare(of, &of->model->head, 1, of->session->normed, i);
  }
}

static void step_head(void *context, unsigned member, unsigned members) {
  pass *of = context;
  multiply(of, &of->model->head, of->session->normed, of->wanted, of->session->logits, 0, member, members);
}

/* ---- the whole ---- */

static const tq_team_task layer_steps[] = {
    step_attention_norm, step_query_key_value, step_rope,    step_attention, step_attended,
    step_output,         step_ffn_norm,        step_gate_up, step_activate,  step_down,
};

static void run(pass *of, tq_team_task step) {
  for (size_t i = 0; i < MOST_PRODUCTS; i++) atomic_store(&of->taken[i], 0);
  tq_team_run(of->session->team, step, of);
}

/* A layer is verified just before it is computed, so that it is read from memory once. */
static tq_status run_layers(pass *of, tq_error *error) {
  tq_status status = TQ_OK;
  for (of->layer = of->first_layer; !status && of->layer < of->end_layer; of->layer++) {
    of->weights = &of->model->layers[of->layer];
    status = verify(of, &of->session->touched[of->layer], of->weights->linears, TQ_LINEARS, error);
    for (size_t i = 0; !status && i < sizeof layer_steps / sizeof layer_steps[0]; i++)
      if (layer_steps[i] != step_attended || has_step_attended(of)) run(of, layer_steps[i]);
  }
  return status;
}

static tq_status run_head(pass *of, tq_error *error) {
  if (!of->wanted) return TQ_OK;
  tq_status status = verify(of, &of->session->touched[of->model->hyperparameters.layers], &of->model->head, 1, error);
  if (status) return status;
  run(of, step_final_norm);
  run(of, step_head);
  return TQ_OK;
}

static void keep_positions(const pass *of) {
  uint32_t layers = of->model->hyperparameters.layers;
  for (uint32_t s = 0; s < of->session->sequences; s++) {
    uint32_t *held = of->session->held + (size_t)s * layers;
    if (of->session->next[s] == held[of->first_layer]) continue;
    for (uint32_t layer = of->first_layer; layer < of->end_layer; layer++) held[layer] = of->session->next[s];
  }
}

tq_status tq_forward(tq_session *session, const tq_batch *batch, const float **logits, tq_error *error) {
  const tq_model *model = session->model;
  const tq_hyperparameters *sizes = &model->hyperparameters;
  pass of = {.session = session, .model = model, .batch = batch, .first_layer = batch->first_layer};
  of.end_layer = batch->end_layer ? batch->end_layer : sizes->layers;
  tq_status status = check_batch(&of, error);
  if (!status) status = prepare_logits(&of, error);
  if (!status) status = verify_embeddings(&of, error);
  if (status) return status;
  run(&of, step_begin);
  status = run_layers(&of, error);
  if (status) return status;
  run(&of, step_end);
  status = run_head(&of, error);
  if (status) return status;
  keep_positions(&of);
  if (logits) *logits = of.wanted ? session->logits : NULL;
  return TQ_OK;
}
