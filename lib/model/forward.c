/* The forward pass: a batch of tokens through a range of layers.
 *
 * A layer is a row of steps. Each step is run by every member of the team on its share, and none begins before the one
 * before it has ended everywhere. What a step computes for a token depends on neither the share nor the batch it is in.
 */
#include "model/model.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* One call of tq_forward. */
typedef struct pass {
  tq_session *session;
  const tq_model *model;
  const tq_batch *batch;
  uint32_t first_layer, end_layer;
  size_t wanted; /* tokens that want logits */
  uint32_t layer;
  const tq_layer *weights; /* of that layer */
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

/* ---- what must be ready before the first step ---- */

static tq_status touch_tensor(const pass *of, const tq_bound_linear *linear, tq_error *error) {
  const tq_file *file = of->model->file;
  return tq_file_touch(file, linear->tensor, 0, tq_file_tensor(file, linear->tensor)->data_size, error);
}

/* Verifies what the pass will read, once in a session; costs nothing unless the file was opened to be verified lazily.
 */
static tq_status touch(const pass *of, tq_error *error) {
  bool *touched = of->session->touched;
  uint32_t layers = of->model->hyperparameters.layers;
  tq_status status = TQ_OK;
  for (uint32_t layer = of->first_layer; !status && layer < of->end_layer; layer++) {
    if (touched[layer]) continue;
    for (size_t i = 0; !status && i < TQ_LINEARS; i++)
      status = touch_tensor(of, &of->model->layers[layer].linears[i], error);
    touched[layer] = !status;
  }
  if (!status && of->first_layer == 0 && !touched[layers]) {
    status = touch_tensor(of, &of->model->embedding, error);
    touched[layers] = !status;
  }
  if (!status && of->wanted && !touched[layers + 1]) {
    status = touch_tensor(of, &of->model->head, error);
    touched[layers + 1] = !status;
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

/* This member's rows of one linear layer, for all tokens. */
static void multiply(const pass *of, const tq_bound_linear *linear, const float *x, size_t count, float *y,
                     unsigned member, unsigned members) {
  tq_input input = input_of(of, x);
  size_t begin, end;
  tq_team_share((size_t)linear->linear.weights.rows, member, members, &begin, &end);
  tq_op_linear(of->session->kernels, &linear->linear, begin, end, &input, count, y, scratch_of(of, member));
}

static void normalize(const pass *of, const float *x, const float *weight, size_t size, float *y) {
  tq_op_rms_norm(of->session->kernels, x, weight, size, of->model->hyperparameters.norm_epsilon, y);
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

static void step_attention_norm(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    normalize(of, of->session->residual + t * size, of->weights->norms[TQ_NORM_ATTENTION], size,
              of->session->normed + t * size);
    prepare(of, &of->weights->linears[TQ_LINEAR_Q], 3, of->session->normed, t);
  }
}

static void step_query_key_value(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_session *session = of->session;
  const tq_bound_linear *linears = of->weights->linears;
  size_t count = of->batch->count;
  multiply(of, &linears[TQ_LINEAR_Q], session->normed, count, session->query, member, members);
  multiply(of, &linears[TQ_LINEAR_K], session->normed, count, session->key, member, members);
  multiply(of, &linears[TQ_LINEAR_V], session->normed, count, session->value, member, members);
}

/* Where the keys (or values) of a token's sequence begin for one head: [position][head_dimension]. */
static float *cached(const pass *of, float *cache, size_t token, uint32_t head) {
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  size_t place = (size_t)of->layer * of->session->sequences + sequence_of(of->batch, token);
  return cache + (place * sizes->kv_heads + head) * of->session->context * sizes->head_dimension;
}

/* Turns the heads of q or k to their position, normalised by `norm` first where there is one. */
static void place_heads(const pass *of, float *heads, uint32_t count, const float *norm, size_t token) {
  size_t size = of->model->hyperparameters.head_dimension, pairs = of->model->hyperparameters.rope_dimensions / 2;
  for (float *head = heads; head < heads + count * size; head += size) {
    if (norm) normalize(of, head, norm, size, head);
    tq_op_rope(head, pairs, of->session->cosines + token * pairs, of->session->sines + token * pairs);
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
    for (uint32_t head = 0; head < sizes->kv_heads; head++) {
      size_t offset = of->batch->positions[t] * size;
      memcpy(cached(of, of->session->keys, t, head) + offset, key + head * size, size * sizeof *key);
      memcpy(cached(of, of->session->values, t, head) + offset, value + head * size, size * sizeof *value);
    }
  }
}

/* Heads are dealt out in turn, since later tokens have more to look back on. */
static void step_attention(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_hyperparameters *sizes = &of->model->hyperparameters;
  size_t size = sizes->head_dimension;
  float scale = 1.0f / sqrtf((float)sizes->head_dimension);
  for (size_t i = member; i < of->batch->count * sizes->heads; i += members) {
    size_t token = i / sizes->heads;
    uint32_t shared = (uint32_t)(i % sizes->heads) / (sizes->heads / sizes->kv_heads);
    tq_op_attention(of->session->kernels, of->session->query + i * size, cached(of, of->session->keys, token, shared),
                    cached(of, of->session->values, token, shared), (size_t)of->batch->positions[token] + 1, size,
                    scale, of->session->attended + i * size, scratch_of(of, member));
  }
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
  const pass *of = context;
  multiply(of, &of->weights->linears[TQ_LINEAR_O], of->session->attended, of->batch->count, of->session->projected,
           member, members);
}

static void step_ffn_norm(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++) {
    tq_op_residual(of->session->residual + t * size, of->session->projected + t * size, size);
    normalize(of, of->session->residual + t * size, of->weights->norms[TQ_NORM_FFN], size,
              of->session->normed + t * size);
    prepare(of, &of->weights->linears[TQ_LINEAR_GATE], 2, of->session->normed, t);
  }
}

static void step_gate_up(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  const tq_session *session = of->session;
  const tq_bound_linear *linears = of->weights->linears;
  multiply(of, &linears[TQ_LINEAR_GATE], session->normed, of->batch->count, session->gate, member, members);
  multiply(of, &linears[TQ_LINEAR_UP], session->normed, of->batch->count, session->up, member, members);
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
      tq_op_gate_squared_relu(of->session->kernels, gate, up, size, gate);
    else
      tq_op_gate_silu(of->session->kernels, gate, up, size, gate);
    if (sizes->sub_norms) normalize(of, gate, of->weights->norms[TQ_NORM_FFN_SUB], size, gate);
    prepare(of, &of->weights->linears[TQ_LINEAR_DOWN], 1, of->session->gate, t);
  }
}

static void step_down(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  multiply(of, &of->weights->linears[TQ_LINEAR_DOWN], of->session->gate, of->batch->count, of->session->projected,
           member, members);
}

static void step_ffn_residual(void *context, unsigned member, unsigned members) {
  const pass *of = context;
  size_t size = of->model->hyperparameters.dimension, begin, end;
  tq_team_share(of->batch->count, member, members, &begin, &end);
  for (size_t t = begin; t < end; t++)
    tq_op_residual(of->session->residual + t * size, of->session->projected + t * size, size);
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
  const pass *of = context;
  multiply(of, &of->model->head, of->session->normed, of->wanted, of->session->logits, member, members);
}

/* ---- the whole ---- */

static const tq_team_task layer_steps[] = {
    step_attention_norm, step_query_key_value, step_rope,     step_attention, step_attended,     step_output,
    step_ffn_norm,       step_gate_up,         step_activate, step_down,      step_ffn_residual,
};

static void run_layers(pass *of) {
  for (of->layer = of->first_layer; of->layer < of->end_layer; of->layer++) {
    of->weights = &of->model->layers[of->layer];
    for (size_t i = 0; i < sizeof layer_steps / sizeof layer_steps[0]; i++) {
      if (layer_steps[i] == step_attended && !has_step_attended(of)) continue;
      tq_team_run(of->session->team, layer_steps[i], of);
    }
  }
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
  if (!status) status = touch(&of, error);
  if (status) return status;
  tq_team_run(session->team, step_begin, &of);
  run_layers(&of);
  keep_positions(&of);
  if (of.end_layer < sizes->layers)
    memcpy(batch->residual, session->residual, batch->count * sizes->dimension * sizeof *batch->residual);
  if (of.wanted) {
    tq_team_run(session->team, step_final_norm, &of);
    tq_team_run(session->team, step_head, &of);
  }
  if (logits) *logits = of.wanted ? session->logits : NULL;
  return TQ_OK;
}
