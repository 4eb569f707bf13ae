#include "formats/pytorch/pickle.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"
#include "tq/encoding.h"

#include <string.h>

/* Everything that a pickle may name. */
static const tq_pickle_global globals[] = {
    {"collections", "OrderedDict", TQ_PICKLE_ORDERED_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", TQ_PICKLE_REBUILD_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor_v3", TQ_PICKLE_REBUILD_TYPED_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", TQ_PICKLE_REBUILD_PARAMETER, 0},
    {"torch", "FloatStorage", TQ_PICKLE_STORAGE_TYPE, TQ_F32},
    {"torch", "HalfStorage", TQ_PICKLE_STORAGE_TYPE, TQ_F16},
    {"torch", "BFloat16Storage", TQ_PICKLE_STORAGE_TYPE, TQ_BF16},
    {"torch", "DoubleStorage", TQ_PICKLE_STORAGE_TYPE, TQ_F64},
    {"torch", "BoolStorage", TQ_PICKLE_STORAGE_TYPE, TQ_BOOL},
    {"torch", "ByteStorage", TQ_PICKLE_STORAGE_TYPE, TQ_U8},
    {"torch", "CharStorage", TQ_PICKLE_STORAGE_TYPE, TQ_I8},
    {"torch", "ShortStorage", TQ_PICKLE_STORAGE_TYPE, TQ_I16},
    {"torch", "IntStorage", TQ_PICKLE_STORAGE_TYPE, TQ_I32},
    {"torch", "LongStorage", TQ_PICKLE_STORAGE_TYPE, TQ_I64},
    {"torch", "ComplexFloatStorage", TQ_PICKLE_STORAGE_TYPE, TQ_C64},
    {"torch.storage", "UntypedStorage", TQ_PICKLE_STORAGE_TYPE, TQ_U8},
    {"torch", "float32", TQ_PICKLE_ELEMENT_TYPE, TQ_F32},
    {"torch", "float16", TQ_PICKLE_ELEMENT_TYPE, TQ_F16},
    {"torch", "bfloat16", TQ_PICKLE_ELEMENT_TYPE, TQ_BF16},
    {"torch", "float64", TQ_PICKLE_ELEMENT_TYPE, TQ_F64},
    {"torch", "bool", TQ_PICKLE_ELEMENT_TYPE, TQ_BOOL},
    {"torch", "uint8", TQ_PICKLE_ELEMENT_TYPE, TQ_U8},
    {"torch", "int8", TQ_PICKLE_ELEMENT_TYPE, TQ_I8},
    {"torch", "uint16", TQ_PICKLE_ELEMENT_TYPE, TQ_U16},
    {"torch", "int16", TQ_PICKLE_ELEMENT_TYPE, TQ_I16},
    {"torch", "uint32", TQ_PICKLE_ELEMENT_TYPE, TQ_U32},
    {"torch", "int32", TQ_PICKLE_ELEMENT_TYPE, TQ_I32},
    {"torch", "uint64", TQ_PICKLE_ELEMENT_TYPE, TQ_U64},
    {"torch", "int64", TQ_PICKLE_ELEMENT_TYPE, TQ_I64},
    {"torch", "complex64", TQ_PICKLE_ELEMENT_TYPE, TQ_C64},
    {"torch", "float8_e4m3fn", TQ_PICKLE_ELEMENT_TYPE, TQ_F8_E4M3},
    {"torch", "float8_e5m2", TQ_PICKLE_ELEMENT_TYPE, TQ_F8_E5M2},
    {"torch", "float8_e8m0fnu", TQ_PICKLE_ELEMENT_TYPE, TQ_F8_E8M0},
    {"torch", "float8_e4m3fnuz", TQ_PICKLE_ELEMENT_TYPE, TQ_F8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", TQ_PICKLE_ELEMENT_TYPE, TQ_F8_E5M2FNUZ},
};

enum { MOST_ARGUMENTS = 8 }; /* of a call that is understood */

typedef struct machine {
  const char *name;
  const uint8_t *data;
  size_t size, at;
  size_t opcode_at; /* for messages */
  tq_pickle *made;
  uint32_t *stack; /* nodes */
  size_t depth, stack_capacity;
  size_t *marks; /* depths of the stack at the marks */
  size_t mark_count, mark_capacity;
  uint32_t *memo; /* nodes; 0 where there is none */
  size_t memo_size, memo_capacity;
  bool has_stopped;
  tq_error *error;
} machine;

static tq_status broken(const machine *self, const char *reason) {
  return tq_fail(self->error, TQ_ERROR_CORRUPT, "%s: pickle, byte %zu: %s", self->name, self->opcode_at, reason);
}

/* Some opcodes of one byte make what takes many: their number is bounded too. */
static tq_status room_for(const machine *self, size_t count, size_t most, const char *what) {
  if (count < most) return TQ_OK;
  return tq_fail(self->error, TQ_ERROR_CORRUPT, "%s: pickle, byte %zu: more than %zu %s, which no model has",
                 self->name, self->opcode_at, most, what);
}

/* ---- nodes and items ---- */

static tq_status new_node(machine *self, tq_pickle_node value, uint32_t *node) {
  tq_pickle *made = self->made;
  tq_status status = room_for(self, made->node_count, TQ_PICKLE_MOST, "values");
  if (status == TQ_OK)
    status =
        tq_grow((void **)&made->nodes, &made->node_capacity, made->node_count + 1, sizeof *made->nodes, self->error);
  if (status != TQ_OK) return status;
  *node = (uint32_t)made->node_count;
  made->nodes[made->node_count++] = value;
  return TQ_OK;
}

static tq_status append_item(machine *self, uint32_t to, uint32_t node) {
  tq_pickle *made = self->made;
  tq_status status = room_for(self, made->item_count, 2 * (size_t)TQ_PICKLE_MOST, "items");
  if (status == TQ_OK)
    status =
        tq_grow((void **)&made->items, &made->item_capacity, made->item_count + 1, sizeof *made->items, self->error);
  if (status != TQ_OK) return status;
  uint32_t item = (uint32_t)made->item_count++;
  made->items[item] = (tq_pickle_item){node, 0};
  tq_pickle_node *list = &made->nodes[to];
  if (list->first)
    made->items[list->is.items.last].next = item;
  else
    list->first = item;
  list->is.items.last = item;
  list->is.items.count++;
  return TQ_OK;
}

/* ---- the stack ---- */

static tq_status push(machine *self, uint32_t node) {
  tq_status status = room_for(self, self->depth, TQ_PICKLE_MOST, "values on the stack");
  if (status == TQ_OK)
    status = tq_grow((void **)&self->stack, &self->stack_capacity, self->depth + 1, sizeof *self->stack, self->error);
  if (status == TQ_OK) self->stack[self->depth++] = node;
  return status;
}

static tq_status push_new(machine *self, tq_pickle_node value) {
  uint32_t node;
  tq_status status = new_node(self, value, &node);
  return status == TQ_OK ? push(self, node) : status;
}

static tq_status push_integer(machine *self, tq_pickle_kind kind, int64_t value) {
  return push_new(self, (tq_pickle_node){.kind = kind, .is.integer = value});
}

/* What lies above the last mark; what lies below it cannot be taken. */
static size_t available(const machine *self) {
  return self->depth - (self->mark_count ? self->marks[self->mark_count - 1] : 0);
}

static tq_status need(const machine *self, size_t count) {
  return available(self) >= count ? TQ_OK : broken(self, "stack underflow");
}

static tq_status pop_mark(machine *self, size_t *depth) {
  *depth = self->depth;
  if (self->mark_count == 0) return broken(self, "no mark");
  *depth = self->marks[--self->mark_count];
  return TQ_OK;
}

static tq_status push_mark(machine *self) {
  tq_status status = room_for(self, self->mark_count, TQ_PICKLE_MOST, "marks");
  if (status == TQ_OK)
    status =
        tq_grow((void **)&self->marks, &self->mark_capacity, self->mark_count + 1, sizeof *self->marks, self->error);
  if (status == TQ_OK) self->marks[self->mark_count++] = self->depth;
  return status;
}

static tq_pickle_node *top(const machine *self, size_t below) {
  return &self->made->nodes[self->stack[self->depth - 1 - below]];
}

/* ---- the bytes ---- */

static tq_status take(machine *self, uint64_t size, const uint8_t **bytes) {
  *bytes = self->data + self->at;
  if (size > self->size - self->at) return broken(self, "truncated");
  self->at += (size_t)size;
  return TQ_OK;
}

/* A little-endian number of 1 to 8 bytes. */
static tq_status take_number(machine *self, unsigned width, uint64_t *number) {
  const uint8_t *bytes;
  *number = 0;
  tq_status status = take(self, width, &bytes);
  for (unsigned i = 0; status == TQ_OK && i < width; i++) *number |= (uint64_t)bytes[i] << (8 * i);
  return status;
}

static int64_t sign_extend(uint64_t number, unsigned width) {
  unsigned unused = 64 - 8 * width;
  return (int64_t)(number << unused) >> unused;
}

static tq_status push_number(machine *self, unsigned width, bool is_signed) {
  uint64_t number;
  tq_status status = take_number(self, width, &number);
  if (status != TQ_OK) return status;
  return push_integer(self, TQ_PICKLE_INTEGER, is_signed ? sign_extend(number, width) : (int64_t)number);
}

static tq_status push_long(machine *self) {
  uint64_t width;
  tq_status status = take_number(self, 1, &width);
  if (status != TQ_OK) return status;
  if (width == 0) return push_integer(self, TQ_PICKLE_INTEGER, 0);
  if (width <= 8) return push_number(self, (unsigned)width, true);
  const uint8_t *ignored;
  status = take(self, width, &ignored);
  return status == TQ_OK ? push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_LARGE_INTEGER}) : status;
}

/* The one number that pickles hold in big-endian order. */
static tq_status push_real(machine *self) {
  const uint8_t *bytes;
  tq_status status = take(self, 8, &bytes);
  if (status != TQ_OK) return status;
  uint8_t reversed[8];
  for (size_t i = 0; i < sizeof reversed; i++) reversed[i] = bytes[7 - i];
  return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_REAL, .is.real = tq_load_f64(reversed)});
}

static tq_status push_text(machine *self, unsigned width) {
  uint64_t size;
  const uint8_t *bytes;
  tq_status status = take_number(self, width, &size);
  if (status == TQ_OK) status = take(self, size, &bytes);
  if (status != TQ_OK) return status;
  if (!tq_is_utf8((const char *)bytes, (size_t)size)) return broken(self, "a text is not UTF-8");
  return push_new(
      self, (tq_pickle_node){.kind = TQ_PICKLE_TEXT, .is.text = {(uint32_t)(bytes - self->data), (uint32_t)size}});
}

/* ---- globals ---- */

static bool is_text(tq_string text, const char *expected) {
  return text.size == strlen(expected) && memcmp(text.data, expected, text.size) == 0;
}

static tq_status push_global(machine *self, tq_string module, tq_string name) {
  for (size_t i = 0; i < sizeof globals / sizeof globals[0]; i++) {
    if (is_text(module, globals[i].module) && is_text(name, globals[i].name))
      return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_GLOBAL, .is.global = &globals[i]});
  }
  char text[2][100];
  return tq_fail(self->error, TQ_ERROR_CORRUPT, "%s: pickle: global '%s.%s' is not allowed; nothing was executed",
                 self->name, tq_printable(module.data, module.size, text[0], sizeof text[0]),
                 tq_printable(name.data, name.size, text[1], sizeof text[1]));
}

static tq_status take_line(machine *self, tq_string *line) {
  const uint8_t *start = self->data + self->at, *end = memchr(start, '\n', self->size - self->at);
  if (!end) return broken(self, "truncated");
  *line = (tq_string){(const char *)start, (size_t)(end - start)};
  self->at += line->size + 1;
  return TQ_OK;
}

static tq_status global_from_lines(machine *self) {
  tq_string module, name;
  tq_status status = take_line(self, &module);
  if (status == TQ_OK) status = take_line(self, &name);
  return status == TQ_OK ? push_global(self, module, name) : status;
}

static tq_status global_from_stack(machine *self) {
  tq_status status = need(self, 2);
  if (status != TQ_OK) return status;
  const tq_pickle_node *module = top(self, 1), *name = top(self, 0);
  if (module->kind != TQ_PICKLE_TEXT || name->kind != TQ_PICKLE_TEXT) return broken(self, "a global without a name");
  self->depth -= 2;
  return push_global(self, tq_pickle_text(self->made, module), tq_pickle_text(self->made, name));
}

/* ---- the memo ---- */

/* Picklers number what they memoize one by one, so an index above the pickle's size is none of theirs. */
static tq_status memoize(machine *self, uint64_t index) {
  tq_status status = need(self, 1);
  if (status != TQ_OK) return status;
  if (index >= self->size) return broken(self, "an impossible memo index");
  status = room_for(self, (size_t)index, TQ_PICKLE_MOST, "memo entries");
  if (status != TQ_OK) return status;
  size_t before = self->memo_size, after = (size_t)index + 1;
  if (after > before) {
    status = tq_grow((void **)&self->memo, &self->memo_capacity, after, sizeof *self->memo, self->error);
    if (status != TQ_OK) return status;
    memset(self->memo + before, 0, (after - before) * sizeof *self->memo);
    self->memo_size = after;
  }
  self->memo[index] = self->stack[self->depth - 1];
  return TQ_OK;
}

static tq_status put(machine *self, unsigned width) {
  uint64_t index;
  tq_status status = take_number(self, width, &index);
  return status == TQ_OK ? memoize(self, index) : status;
}

static tq_status get(machine *self, unsigned width) {
  uint64_t index;
  tq_status status = take_number(self, width, &index);
  if (status != TQ_OK) return status;
  if (index >= self->memo_size || !self->memo[index]) return broken(self, "an unknown memo index");
  return push(self, self->memo[index]);
}

/* ---- tuples, lists, dicts ---- */

/* Puts what lies on the stack from `from` on into the node and takes it off. */
static tq_status gather(machine *self, uint32_t to, size_t from) {
  tq_status status = TQ_OK;
  for (size_t i = from; status == TQ_OK && i < self->depth; i++) status = append_item(self, to, self->stack[i]);
  self->depth = from;
  return status;
}

static tq_status make_tuple(machine *self, size_t from) {
  uint32_t node;
  tq_status status = new_node(self, (tq_pickle_node){.kind = TQ_PICKLE_TUPLE}, &node);
  if (status == TQ_OK) status = gather(self, node, from);
  return status == TQ_OK ? push(self, node) : status;
}

static tq_status short_tuple(machine *self, size_t count) {
  tq_status status = need(self, count);
  return status == TQ_OK ? make_tuple(self, self->depth - count) : status;
}

static tq_status marked_tuple(machine *self) {
  size_t from;
  tq_status status = pop_mark(self, &from);
  return status == TQ_OK ? make_tuple(self, from) : status;
}

/* Moves what lies from `from` on into the list or dict below it. */
static tq_status extend(machine *self, size_t from, tq_pickle_kind kind) {
  size_t floor = self->mark_count ? self->marks[self->mark_count - 1] : 0;
  if (from <= floor) return broken(self, "stack underflow");
  uint32_t to = self->stack[from - 1];
  if (self->made->nodes[to].kind != kind)
    return broken(self, kind == TQ_PICKLE_LIST ? "appends to what is no list" : "sets items of what is no dict");
  if (kind == TQ_PICKLE_DICT && (self->depth - from) % 2) return broken(self, "a key without a value");
  return gather(self, to, from);
}

static tq_status extend_marked(machine *self, tq_pickle_kind kind) {
  size_t from;
  tq_status status = pop_mark(self, &from);
  return status == TQ_OK ? extend(self, from, kind) : status;
}

static tq_status extend_by(machine *self, size_t count, tq_pickle_kind kind) {
  tq_status status = need(self, count + 1);
  return status == TQ_OK ? extend(self, self->depth - count, kind) : status;
}

/* ---- calls ---- */

/* Turns the tuple of arguments into a node of its own kind with the same items. */
static tq_status push_made(machine *self, const tq_pickle_node *arguments, tq_pickle_kind kind) {
  tq_pickle_node node = *arguments;
  node.kind = kind;
  return push_new(self, node);
}

static bool is_element_type(const tq_pickle_node *node) {
  return node && node->kind == TQ_PICKLE_GLOBAL && node->is.global->role == TQ_PICKLE_ELEMENT_TYPE;
}

static tq_status rebuild_tensor(machine *self, const tq_pickle_node *arguments, bool is_typed) {
  uint32_t count = arguments->is.items.count;
  const tq_pickle_node *storage = tq_pickle_item_at(self->made, arguments, 0);
  if (count < 6 || count > MOST_ARGUMENTS || storage->kind != TQ_PICKLE_STORAGE)
    return broken(self, "a tensor is rebuilt from other arguments than a storage, its offset, size and stride");
  if (is_element_type(tq_pickle_item_at(self->made, arguments, 6)) != is_typed)
    return broken(self, "the type of a tensor is not understood");
  return push_made(self, arguments, TQ_PICKLE_TENSOR);
}

static tq_status call(machine *self, const tq_pickle_global *function, const tq_pickle_node *arguments) {
  const tq_pickle_node *first = tq_pickle_item_at(self->made, arguments, 0);
  switch (function->role) {
  case TQ_PICKLE_ORDERED_DICT:
    if (first) return broken(self, "an OrderedDict made from arguments is not understood");
    return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_DICT});
  case TQ_PICKLE_REBUILD_TENSOR:
  case TQ_PICKLE_REBUILD_TYPED_TENSOR:
    return rebuild_tensor(self, arguments, function->role == TQ_PICKLE_REBUILD_TYPED_TENSOR);
  case TQ_PICKLE_REBUILD_PARAMETER:
    if (!first || first->kind != TQ_PICKLE_TENSOR) return broken(self, "a parameter is rebuilt from no tensor");
    return push_made(self, first, TQ_PICKLE_TENSOR);
  default:
    return broken(self, "calls what is no function");
  }
}

static tq_status reduce(machine *self) {
  tq_status status = need(self, 2);
  if (status != TQ_OK) return status;
  tq_pickle_node function = *top(self, 1), arguments = *top(self, 0);
  if (function.kind != TQ_PICKLE_GLOBAL) return broken(self, "calls what is no function");
  if (arguments.kind != TQ_PICKLE_TUPLE) return broken(self, "calls a function without a tuple of arguments");
  self->depth -= 2;
  return call(self, function.is.global, &arguments);
}

/* The state of an OrderedDict is the versions of modules, which belong to no tensor. */
static tq_status build(machine *self) {
  tq_status status = need(self, 2);
  if (status != TQ_OK) return status;
  if (top(self, 1)->kind != TQ_PICKLE_DICT) return broken(self, "sets the state of what is no dict");
  self->depth--;
  return TQ_OK;
}

static tq_status persistent(machine *self) {
  tq_status status = need(self, 1);
  if (status != TQ_OK) return status;
  tq_pickle_node id = *top(self, 0);
  if (id.kind != TQ_PICKLE_TUPLE || id.is.items.count != 5 ||
      !tq_pickle_text_is(self->made, tq_pickle_item_at(self->made, &id, 0), "storage"))
    return broken(self, "a persistent id that is no storage");
  self->depth--;
  return push_made(self, &id, TQ_PICKLE_STORAGE);
}

/* ---- opcodes ---- */

static tq_status pop(machine *self) {
  if (available(self) > 0)
    self->depth--;
  else if (self->mark_count > 0)
    self->mark_count--;
  else
    return broken(self, "stack underflow");
  return TQ_OK;
}

static tq_status protocol(machine *self) {
  uint64_t version;
  tq_status status = take_number(self, 1, &version);
  if (status == TQ_OK && (version < 2 || version > 5)) return broken(self, "not a protocol from 2 to 5");
  return status;
}

static tq_status stop(machine *self) {
  tq_status status = need(self, 1);
  if (status != TQ_OK) return status;
  self->made->root = self->stack[self->depth - 1];
  self->has_stopped = true;
  return TQ_OK;
}

static tq_status step(machine *self, uint8_t opcode) {
  uint64_t ignored;
  switch (opcode) {
  case 0x80:
    return protocol(self);
  case 0x95:
    return take_number(self, 8, &ignored); /* FRAME: how much to buffer */
  case '.':
    return stop(self);
  case '(':
    return push_mark(self);
  case '0':
    return pop(self);
  case '1': {
    size_t depth;
    tq_status status = pop_mark(self, &depth);
    if (status == TQ_OK) self->depth = depth;
    return status;
  }
  case 'N':
    return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_NONE});
  case 0x88:
    return push_integer(self, TQ_PICKLE_BOOL, 1);
  case 0x89:
    return push_integer(self, TQ_PICKLE_BOOL, 0);
  case 'K':
    return push_number(self, 1, false);
  case 'M':
    return push_number(self, 2, false);
  case 'J':
    return push_number(self, 4, true);
  case 0x8a:
    return push_long(self);
  case 'G':
    return push_real(self);
  case 0x8c:
    return push_text(self, 1);
  case 'X':
    return push_text(self, 4);
  case 0x8d:
    return push_text(self, 8);
  case ')':
    return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_TUPLE});
  case 0x85:
    return short_tuple(self, 1);
  case 0x86:
    return short_tuple(self, 2);
  case 0x87:
    return short_tuple(self, 3);
  case 't':
    return marked_tuple(self);
  case ']':
    return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_LIST});
  case 'a':
    return extend_by(self, 1, TQ_PICKLE_LIST);
  case 'e':
    return extend_marked(self, TQ_PICKLE_LIST);
  case '}':
    return push_new(self, (tq_pickle_node){.kind = TQ_PICKLE_DICT});
  case 's':
    return extend_by(self, 2, TQ_PICKLE_DICT);
  case 'u':
    return extend_marked(self, TQ_PICKLE_DICT);
  case 'q':
    return put(self, 1);
  case 'r':
    return put(self, 4);
  case 0x94:
    return memoize(self, self->memo_size);
  case 'h':
    return get(self, 1);
  case 'j':
    return get(self, 4);
  case 'c':
    return global_from_lines(self);
  case 0x93:
    return global_from_stack(self);
  case 'R':
    return reduce(self);
  case 'b':
    return build(self);
  case 'Q':
    return persistent(self);
  default:
    return tq_fail(self->error, TQ_ERROR_CORRUPT,
                   "%s: pickle, byte %zu: opcode 0x%02x is none that tensors need; nothing was executed", self->name,
                   self->opcode_at, opcode);
  }
}

static tq_status run(machine *self) {
  tq_status status = TQ_OK;
  if (self->size < 2 || self->data[0] != 0x80) return broken(self, "not a pickle of protocol 2 or later");
  while (status == TQ_OK && !self->has_stopped) {
    self->opcode_at = self->at;
    if (self->at == self->size) return broken(self, "truncated");
    status = step(self, self->data[self->at++]);
  }
  return status;
}

tq_status tq_pickle_read(const char *name, const uint8_t *data, size_t size, tq_pickle *pickle, tq_error *error) {
  machine self = {.name = name, .data = data, .size = size, .made = pickle, .error = error};
  pickle->data = data;
  if (size > TQ_PICKLE_LIMIT)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a pickle of more than %d bytes", name, TQ_PICKLE_LIMIT);
  tq_status status = tq_grow((void **)&pickle->nodes, &pickle->node_capacity, 1, sizeof *pickle->nodes, error);
  if (status == TQ_OK)
    status = tq_grow((void **)&pickle->items, &pickle->item_capacity, 1, sizeof *pickle->items, error);
  if (status == TQ_OK) {
    pickle->nodes[0] = (tq_pickle_node){.kind = TQ_PICKLE_NONE};
    pickle->items[0] = (tq_pickle_item){0, 0};
    pickle->node_count = pickle->item_count = 1;
    status = run(&self);
  }
  tq_free(self.stack);
  tq_free(self.marks);
  tq_free(self.memo);
  return status;
}

void tq_pickle_free(tq_pickle *pickle) {
  tq_free(pickle->nodes);
  tq_free(pickle->items);
  *pickle = (tq_pickle){0};
}

/* ---- looking at what was read ---- */

const tq_pickle_node *tq_pickle_node_at(const tq_pickle *pickle, uint32_t node) { return &pickle->nodes[node]; }

const tq_pickle_node *tq_pickle_item_at(const tq_pickle *pickle, const tq_pickle_node *of, uint32_t index) {
  uint32_t item = of->first;
  for (; item && index > 0; index--) item = pickle->items[item].next;
  return item ? &pickle->nodes[pickle->items[item].node] : NULL;
}

tq_string tq_pickle_text(const tq_pickle *pickle, const tq_pickle_node *node) {
  return (tq_string){(const char *)pickle->data + node->is.text.offset, node->is.text.size};
}

bool tq_pickle_text_is(const tq_pickle *pickle, const tq_pickle_node *node, const char *text) {
  return node && node->kind == TQ_PICKLE_TEXT && is_text(tq_pickle_text(pickle, node), text);
}

bool tq_pickle_next(const tq_pickle *pickle, uint32_t *cursor, const tq_pickle_node **key,
                    const tq_pickle_node **value) {
  if (!*cursor) return false;
  const tq_pickle_item *first = &pickle->items[*cursor], *second = &pickle->items[first->next];
  *key = &pickle->nodes[first->node];
  *value = &pickle->nodes[second->node];
  *cursor = second->next;
  return true;
}

const tq_pickle_node *tq_pickle_find(const tq_pickle *pickle, const tq_pickle_node *dict, const char *key) {
  const tq_pickle_node *found = NULL, *candidate, *value;
  uint32_t cursor = dict->first;
  while (tq_pickle_next(pickle, &cursor, &candidate, &value)) {
    if (tq_pickle_text_is(pickle, candidate, key)) found = value;
  }
  return found;
}
