/* A reader of the pickles that torch.save writes for tensors. It is an interpreter of a few opcodes that build data;
 * nothing is ever imported, called or executed, and whatever else a pickle holds is refused by name.
 *
 * What was read is a graph of nodes, which may hold itself: who walks over it goes to a fixed depth. Its memory is at
 * most a small multiple of the pickle's size. */
#ifndef TQ_FORMATS_PYTORCH_PICKLE_H
#define TQ_FORMATS_PYTORCH_PICKLE_H

#include "tq/error.h"
#include "tq/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tq_pickle_kind {
  TQ_PICKLE_NONE,
  TQ_PICKLE_BOOL,
  TQ_PICKLE_INTEGER,
  TQ_PICKLE_REAL,
  TQ_PICKLE_LARGE_INTEGER, /* of more than 64 bits: its value is not kept */
  TQ_PICKLE_TEXT,
  TQ_PICKLE_GLOBAL,
  TQ_PICKLE_TUPLE,
  TQ_PICKLE_LIST,
  TQ_PICKLE_DICT,    /* items: key, value, key, value, ... */
  TQ_PICKLE_STORAGE, /* items: "storage", type, key, location, number of elements */
  TQ_PICKLE_TENSOR   /* items: storage, offset, size, stride, ..., and a type where the storage has none */
} tq_pickle_kind;

/* What a global that is allowed stands for. */
typedef enum tq_pickle_role {
  TQ_PICKLE_ORDERED_DICT,
  TQ_PICKLE_REBUILD_TENSOR,
  TQ_PICKLE_REBUILD_TYPED_TENSOR, /* with the type as a seventh argument */
  TQ_PICKLE_REBUILD_PARAMETER,
  TQ_PICKLE_STORAGE_TYPE,
  TQ_PICKLE_ELEMENT_TYPE
} tq_pickle_role;

typedef struct tq_pickle_global {
  const char *module, *name;
  tq_pickle_role role;
  uint32_t encoding; /* tq_encoding, of the two kinds of types */
} tq_pickle_global;

typedef struct tq_pickle_node {
  uint32_t kind;
  uint32_t first; /* item of a kind that has items; 0 for none */
  union {
    int64_t integer; /* BOOL, INTEGER */
    double real;
    const tq_pickle_global *global;
    struct {
      uint32_t offset, size;
    } text; /* in the pickle */
    struct {
      uint32_t last, count;
    } items;
  } is;
} tq_pickle_node;

typedef struct tq_pickle_item {
  uint32_t node;
  uint32_t next; /* 0 behind the last */
} tq_pickle_item;

typedef struct tq_pickle {
  const uint8_t *data;   /* of the pickle: the caller's, who keeps it as long as this */
  tq_pickle_node *nodes; /* from 1 on, so that 0 means none */
  size_t node_count, node_capacity;
  tq_pickle_item *items; /* from 1 on */
  size_t item_count, item_capacity;
  uint32_t root;
} tq_pickle;

/* The largest pickle that is read: that of a model with a hundred thousand tensors. */
enum { TQ_PICKLE_LIMIT = 16 << 20 };
/* The most that such a pickle has of nodes, of memo entries, on the stack, and of marks. */
enum { TQ_PICKLE_MOST = 2 << 20 };

/* Reads a whole pickle of protocol 2 to 5. `name` begins each message. Zero-initialise *pickle; free it with
 * tq_pickle_free in any case. */
tq_status tq_pickle_read(const char *name, const uint8_t *data, size_t size, tq_pickle *pickle, tq_error *error);
void tq_pickle_free(tq_pickle *pickle);

const tq_pickle_node *tq_pickle_node_at(const tq_pickle *pickle, uint32_t node);
/* The node of item `index` of a tuple or the like, or NULL; takes `index` steps. */
const tq_pickle_node *tq_pickle_item_at(const tq_pickle *pickle, const tq_pickle_node *of, uint32_t index);
tq_string tq_pickle_text(const tq_pickle *pickle, const tq_pickle_node *node);
bool tq_pickle_text_is(const tq_pickle *pickle, const tq_pickle_node *node, const char *text);

/* Walks over a dict: set *cursor to dict->first; false at the end. */
bool tq_pickle_next(const tq_pickle *pickle, uint32_t *cursor, const tq_pickle_node **key,
                    const tq_pickle_node **value);
/* The last value of a key of a dict, or NULL. */
const tq_pickle_node *tq_pickle_find(const tq_pickle *pickle, const tq_pickle_node *dict, const char *key);

#endif
