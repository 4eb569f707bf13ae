#include "formats/pytorch/state.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "tq/encoding.h"

#include <stdio.h>
#include <string.h>

enum { NAME_TEXT = 120, BYTE_ORDER_LIMIT = 16 };

/* ---- opening ---- */

/* PyTorch writes a storage as the machine had it, and says so in a member since version 2. */
static tq_status check_byte_order(tq_folder *archive, tq_error *error) {
  tq_input *input;
  tq_status status = tq_folder_input(archive, "byteorder", &input, error);
  if (status != TQ_OK || !input) return status;
  char *text = NULL;
  size_t size = 0;
  status = tq_input_read_all(input, BYTE_ORDER_LIMIT, &text, &size, error);
  tq_input_close(input);
  if (status != TQ_OK) return status;
  if (size != 6 || memcmp(text, "little", 6) != 0)
    status =
        tq_fail(error, TQ_ERROR_CORRUPT, "%s: its tensors are not in little-endian order", tq_folder_name(archive));
  tq_free(text);
  return status;
}

static tq_status read_pickle(tq_state *state, tq_error *error) {
  tq_input *input;
  size_t size;
  tq_status status = tq_folder_input(state->archive, "data.pkl", &input, error);
  if (status != TQ_OK) return status;
  if (!input)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: no PyTorch checkpoint: it holds no data.pkl",
                   tq_folder_name(state->archive));
  state->name = tq_format_string(error, "%s", tq_input_name(input));
  status = state->name ? tq_input_read_all(input, TQ_PICKLE_LIMIT, &state->text, &size, error) : TQ_ERROR_SYSTEM;
  tq_input_close(input);
  if (status != TQ_OK) return status;
  return tq_pickle_read(state->name, (const uint8_t *)state->text, size, &state->pickle, error);
}

static bool holds_tensor(const tq_pickle *pickle, const tq_pickle_node *dict) {
  const tq_pickle_node *key, *value;
  uint32_t cursor = dict->first;
  while (tq_pickle_next(pickle, &cursor, &key, &value)) {
    if (value->kind == TQ_PICKLE_TENSOR) return true;
  }
  return false;
}

/* Trainers save the model under one of these names, with the optimizer and more beside it. */
static tq_status find_state(tq_state *state, tq_error *error) {
  static const char *const names[] = {"model", "state_dict", "model_state_dict", "module"};
  state->root = tq_pickle_node_at(&state->pickle, state->pickle.root);
  if (state->root->kind != TQ_PICKLE_DICT)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the pickle is no dict of tensors", state->name);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const tq_pickle_node *inner = tq_pickle_find(&state->pickle, state->root, names[i]);
    if (!inner || inner->kind != TQ_PICKLE_DICT || !holds_tensor(&state->pickle, inner)) continue;
    state->state = inner;
    return TQ_OK;
  }
  state->state = state->root;
  if (holds_tensor(&state->pickle, state->root)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the pickle holds no tensors where a state dict has them", state->name);
}

tq_status tq_state_open(tq_folder *folder, const char *name, tq_state *state, tq_error *error) {
  tq_status status = tq_folder_open_nested(folder, name, &state->archive, error);
  if (status != TQ_OK) return status;
  if (!state->archive) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: there is no file %s", tq_folder_name(folder), name);
  status = read_pickle(state, error);
  if (status == TQ_OK) status = check_byte_order(state->archive, error);
  return status == TQ_OK ? find_state(state, error) : status;
}

void tq_state_close(tq_state *state) {
  tq_pickle_free(&state->pickle);
  tq_folder_close(state->archive);
  tq_free(state->text);
  tq_free(state->name);
}

/* ---- names ---- */

/* torch.compile and DataParallel put their own module around the model. What is too long for a name stays as it is, so
 * that the work is bounded by the number of names. */
static tq_string strip_wrappers(tq_string name) {
  static const char *const wrappers[] = {"_orig_mod.", "module."};
  bool found = name.size < 2 * TQ_ROLE_SIZE;
  while (found) {
    found = false;
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0]; i++) {
      size_t size = strlen(wrappers[i]);
      if (name.size <= size || memcmp(name.data, wrappers[i], size) != 0) continue;
      name.data += size;
      name.size -= size;
      found = true;
    }
  }
  return name;
}

const tq_pickle_node *tq_state_find_tensor(const tq_state *state, const char *name) {
  const tq_pickle_node *key, *value;
  uint32_t cursor = state->state->first;
  while (tq_pickle_next(&state->pickle, &cursor, &key, &value)) {
    if (key->kind != TQ_PICKLE_TEXT || value->kind != TQ_PICKLE_TENSOR) continue;
    tq_string stripped = strip_wrappers(tq_pickle_text(&state->pickle, key));
    if (stripped.size == strlen(name) && memcmp(stripped.data, name, stripped.size) == 0) return value;
  }
  return NULL;
}

/* ---- a tensor ---- */

typedef struct place {
  tq_string key; /* of the storage */
  uint64_t storage_bytes;
  uint32_t encoding;
  uint32_t dimensions;
  uint64_t shape[TQ_MAX_DIMENSIONS];
  uint64_t offset, size;
} place;

static tq_status refuse(const tq_state *state, tq_string name, const char *reason, tq_error *error) {
  char text[NAME_TEXT];
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor '%s': %s", state->name,
                 tq_printable(name.data, name.size, text, sizeof text), reason);
}

/* A whole number that is not negative; false for anything else. */
static bool take_count(const tq_pickle_node *node, uint64_t *count) {
  if (!node || node->kind != TQ_PICKLE_INTEGER || node->is.integer < 0) return false;
  *count = (uint64_t)node->is.integer;
  return true;
}

uint64_t tq_state_dimension(const tq_state *state, const tq_pickle_node *tensor, uint32_t index) {
  const tq_pickle_node *shape = tq_pickle_item_at(&state->pickle, tensor, 2);
  uint64_t size;
  return shape && shape->kind == TQ_PICKLE_TUPLE && take_count(tq_pickle_item_at(&state->pickle, shape, index), &size)
             ? size
             : 0;
}

static bool is_type(const tq_pickle_node *node, tq_pickle_role role) {
  return node && node->kind == TQ_PICKLE_GLOBAL && node->is.global->role == role;
}

/* NULL, or what is wrong with the storage. */
static const char *read_storage(const tq_pickle *pickle, const tq_pickle_node *storage, place *to) {
  const tq_pickle_node *type = tq_pickle_item_at(pickle, storage, 1), *key = tq_pickle_item_at(pickle, storage, 2);
  uint64_t count;
  if (!is_type(type, TQ_PICKLE_STORAGE_TYPE)) return "its storage has no type";
  if (key->kind != TQ_PICKLE_TEXT) return "its storage has no name";
  if (!take_count(tq_pickle_item_at(pickle, storage, 4), &count)) return "the size of its storage is no number";
  to->encoding = type->is.global->encoding;
  to->key = tq_pickle_text(pickle, key);
  uint64_t width = tq_encoding_find(to->encoding)->bytes;
  return tq_multiply_u64(count, width, &to->storage_bytes) ? NULL : "the size of its storage overflows";
}

/* NULL, or what is wrong with the shape. Elements must lie one behind another, last dimension first; where there is
 * only one step along a dimension its stride means nothing. */
static const char *read_shape(const tq_pickle *pickle, const tq_pickle_node *shape, const tq_pickle_node *stride,
                              place *to, uint64_t *elements) {
  if (!shape || shape->kind != TQ_PICKLE_TUPLE || !stride || stride->kind != TQ_PICKLE_TUPLE ||
      shape->is.items.count != stride->is.items.count)
    return "its shape is not understood";
  if (shape->is.items.count > TQ_MAX_DIMENSIONS) return "it has too many dimensions";
  *elements = 1;
  to->dimensions = shape->is.items.count;
  for (uint32_t i = to->dimensions; i-- > 0;) {
    uint64_t step;
    if (!take_count(tq_pickle_item_at(pickle, shape, i), &to->shape[i])) return "a dimension is no size";
    if (to->shape[i] == 0) return "a dimension is zero";
    if (to->shape[i] > 1 && (!take_count(tq_pickle_item_at(pickle, stride, i), &step) || step != *elements))
      return "it is not contiguous: its elements do not lie one behind another";
    if (!tq_multiply_u64(*elements, to->shape[i], elements)) return "its dimensions overflow";
  }
  if (to->dimensions == 0) to->shape[to->dimensions++] = 1;
  return NULL;
}

/* NULL, or what is wrong with the tensor. */
static const char *locate(const tq_pickle *pickle, const tq_pickle_node *tensor, place *to) {
  const tq_pickle_node *arguments[7];
  for (uint32_t i = 0; i < 7; i++) arguments[i] = tq_pickle_item_at(pickle, tensor, i);
  uint64_t elements, offset;
  const char *reason = read_storage(pickle, arguments[0], to);
  if (!reason) reason = read_shape(pickle, arguments[2], arguments[3], to, &elements);
  if (reason) return reason;
  if (is_type(arguments[6], TQ_PICKLE_ELEMENT_TYPE)) to->encoding = arguments[6]->is.global->encoding;
  uint64_t width = tq_encoding_find(to->encoding)->bytes;
  if (!take_count(arguments[1], &offset) || !tq_multiply_u64(offset, width, &to->offset) ||
      !tq_multiply_u64(elements, width, &to->size) || !tq_within(to->offset, to->size, to->storage_bytes))
    return "it lies outside its storage";
  return NULL;
}

/* ---- adding them ---- */

typedef struct adding {
  tq_checkpoint *checkpoint;
  const tq_state *state;
  tq_carrier carrier;
  uint32_t heads, kv_heads;
  char *const *members; /* of the archive, sorted */
  size_t member_count;
  size_t *inputs; /* for each member, its input's index + 1 once there is one */
  bool has_embedding;
  place embedding;
  size_t skipped; /* values that are no tensors */
  char first_skipped[NAME_TEXT];
  bool has_stripped;
  tq_error *error;
} adding;

/* The index of the storage's member, or SIZE_MAX. */
static size_t find_member(const adding *self, tq_string key) {
  size_t low = 0, high = self->member_count;
  char name[64];
  int length = snprintf(name, sizeof name, "data/%.*s", key.size < 40 ? (int)key.size : 40, key.data);
  if (key.size >= 40 || length < 0 || strlen(name) != key.size + 5) return SIZE_MAX;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(self->members[middle], name);
    if (order == 0) return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return SIZE_MAX;
}

/* Storages are shared by tensors, so each member is opened once. */
static tq_status find_input(adding *self, tq_string name, const place *from, size_t *index) {
  size_t member = find_member(self, from->key);
  if (member == SIZE_MAX) return refuse(self->state, name, "its storage is missing", self->error);
  if (!self->inputs[member]) {
    tq_input *input;
    tq_status status = tq_folder_input(self->state->archive, self->members[member], &input, self->error);
    if (status == TQ_OK) status = tq_checkpoint_add_input(self->checkpoint, input, index, self->error);
    if (status != TQ_OK) {
      tq_input_close(input);
      return status;
    }
    self->inputs[member] = *index + 1;
  }
  *index = self->inputs[member] - 1;
  if (tq_input_size(self->checkpoint->inputs[*index]) != from->storage_bytes)
    return refuse(self->state, name, "its storage has another size than the pickle says", self->error);
  return TQ_OK;
}

static bool is_same_place(const place *a, const place *b) {
  return a->key.size == b->key.size && memcmp(a->key.data, b->key.data, a->key.size) == 0 &&
         a->encoding == b->encoding && a->dimensions == b->dimensions && a->offset == b->offset &&
         memcmp(a->shape, b->shape, sizeof a->shape) == 0;
}

static uint32_t adjacent_heads(const adding *self, const char *role) {
  bool is_key;
  if (!self->heads || !tq_role_is_rotated(role, &is_key)) return 0;
  return is_key ? self->kv_heads : self->heads;
}

static tq_status add_placed(adding *self, tq_string name, const char *role, const place *from) {
  const tq_encoding_info *info = tq_encoding_find(from->encoding);
  tq_source_tensor tensor = {.encoding = from->encoding,
                             .dimensions = from->dimensions,
                             .offset = from->offset,
                             .size = from->size,
                             .adjacent_heads = adjacent_heads(self, role)};
  memcpy(tensor.shape, from->shape, sizeof tensor.shape);
  tq_status status = find_input(self, name, from, &tensor.input);
  if (status != TQ_OK) return status;
  tensor.name = tq_copy_string(name.data, name.size, self->error);
  tensor.role = tq_copy_string(role, strlen(role), self->error);
  tensor.type_name = tq_copy_string(info->name, strlen(info->name), self->error);
  status = tensor.name && tensor.role && tensor.type_name
               ? tq_checkpoint_add_tensor(self->checkpoint, &tensor, self->error)
               : TQ_ERROR_SYSTEM;
  if (status != TQ_OK) {
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  }
  return status;
}

/* llama2.c's older checkpoints hold RoPE's table, which follows from the hyperparameters. */
static bool is_rope_table(const adding *self, const char *name) {
  return self->carrier == TQ_CARRIER_META && (strcmp(name, "freqs_cos") == 0 || strcmp(name, "freqs_sin") == 0);
}

static tq_status add_tensor(adding *self, tq_string name, const tq_pickle_node *tensor) {
  char text[TQ_ROLE_SIZE], role[TQ_ROLE_SIZE];
  if (name.size == 0 || name.size >= sizeof text || !tq_is_name(name.data, name.size))
    return refuse(self->state, name, "not a name", self->error);
  memcpy(text, name.data, name.size);
  text[name.size] = 0;
  if (is_rope_table(self, text))
    return tq_checkpoint_note(self->checkpoint, self->error, "%s is not carried: it follows from the hyperparameters",
                              text);
  place at = {0};
  const char *reason = locate(&self->state->pickle, tensor, &at);
  if (reason) return refuse(self->state, name, reason, self->error);
  if (!tq_role_from_name(self->carrier, text, role, sizeof role)) memcpy(role, text, name.size + 1);
  if (strcmp(role, "head") == 0 && self->has_embedding && is_same_place(&at, &self->embedding))
    return tq_checkpoint_note(self->checkpoint, self->error, "%s is the embedding's own storage: the head is tied",
                              text);
  return add_placed(self, name, role, &at);
}

/* Where the embedding lies, so that a head that is the same bytes is seen to be tied wherever it comes. */
static void find_embedding(adding *self) {
  char name[TQ_ROLE_SIZE];
  if (!tq_name_from_role(self->carrier, "embedding", name, sizeof name)) return;
  const tq_pickle_node *tensor = tq_state_find_tensor(self->state, name);
  self->has_embedding = tensor && !locate(&self->state->pickle, tensor, &self->embedding);
}

static void skip_value(adding *self, const tq_pickle_node *key) {
  tq_string name = {"?", 1};
  if (key->kind == TQ_PICKLE_TEXT) name = tq_pickle_text(&self->state->pickle, key);
  if (self->skipped++ == 0) tq_printable(name.data, name.size, self->first_skipped, sizeof self->first_skipped);
}

static tq_status add_value(adding *self, const tq_pickle_node *key, const tq_pickle_node *value) {
  if (value->kind != TQ_PICKLE_TENSOR) {
    skip_value(self, key);
    return TQ_OK;
  }
  if (key->kind != TQ_PICKLE_TEXT)
    return tq_fail(self->error, TQ_ERROR_CORRUPT, "%s: a tensor without a name", self->state->name);
  tq_string full = tq_pickle_text(&self->state->pickle, key), name = strip_wrappers(full);
  self->has_stripped = self->has_stripped || name.size != full.size;
  return add_tensor(self, name, value);
}

static tq_status note_losses(adding *self) {
  tq_status status = TQ_OK;
  if (self->state->state != self->state->root)
    status = tq_checkpoint_note(self->checkpoint, self->error,
                                "only the model of %s is carried, not what was saved beside it", self->state->name);
  if (status == TQ_OK && self->has_stripped)
    status = tq_checkpoint_note(self->checkpoint, self->error,
                                "names lost the \"_orig_mod.\" or \"module.\" that training had put before them");
  if (status == TQ_OK && self->skipped)
    status = tq_checkpoint_note(self->checkpoint, self->error,
                                "%zu values that are no tensors are not carried: '%s' is the first", self->skipped,
                                self->first_skipped);
  return status;
}

tq_status tq_state_add_tensors(tq_checkpoint *checkpoint, const tq_state *state, tq_carrier carrier, uint32_t heads,
                               uint32_t kv_heads, tq_error *error) {
  adding self = {.checkpoint = checkpoint,
                 .state = state,
                 .carrier = carrier,
                 .heads = heads,
                 .kv_heads = kv_heads,
                 .error = error};
  tq_status status = tq_folder_list(state->archive, &self.members, &self.member_count, error);
  if (status != TQ_OK) return status;
  self.inputs = tq_allocate(self.member_count, sizeof *self.inputs, error);
  if (!self.inputs) return TQ_ERROR_SYSTEM;
  find_embedding(&self);
  const tq_pickle_node *key, *value;
  uint32_t cursor = state->state->first;
  while (status == TQ_OK && tq_pickle_next(&state->pickle, &cursor, &key, &value))
    status = add_value(&self, key, value);
  if (status == TQ_OK) status = note_losses(&self);
  tq_free(self.inputs);
  return status;
}
