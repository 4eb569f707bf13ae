/* PyTorch checkpoints made by tests, opcode by opcode, and archives of any files. */
#ifndef TQ_TESTS_PICKLE_BUILDER_H
#define TQ_TESTS_PICKLE_BUILDER_H

#include <stddef.h>
#include <stdint.h>

/* A pickle that grows; zero-initialise, free data with free(). */
typedef struct pickle {
  uint8_t *data;
  size_t size, capacity;
} pickle;

void emit(pickle *to, const void *bytes, size_t size);
/* The bytes of a string literal, NULs among them included. */
#define emit_literal(to, literal) emit((to), (literal), sizeof(literal) - 1)
void emit_opcode(pickle *to, int opcode);
void emit_text(pickle *to, const char *text);
void emit_integer(pickle *to, int64_t value);
void emit_real(pickle *to, double value);
void emit_global(pickle *to, const char *module, const char *name);
/* A tuple. */
void emit_integers(pickle *to, const int64_t *values, size_t count);
/* The persistent id of a storage of `count` elements. */
void emit_storage(pickle *to, const char *type, const char *key, int64_t count);

/* What a test says of a tensor; the strides follow from the shape unless they are given. */
typedef struct tensor {
  const char *type, *key;
  int64_t count, offset;
  size_t dimensions;
  int64_t shape[9];
  const int64_t *strides;
} tensor;
/* The arguments alone, without the call that rebuilds the tensor. */
void emit_arguments(pickle *to, const tensor *from);
void emit_tensor(pickle *to, const tensor *from);

/* A dict that is the whole pickle: keys and values between the two. */
void emit_start(pickle *to);
void emit_end(pickle *to);

/* ---- archives ---- */

typedef struct member {
  const char *name;
  const void *data;
  size_t size;
} member;

typedef enum pack_kind { PACK_ZIP, PACK_TAR, PACK_TAR_GZ, PACK_TAR_ZST } pack_kind;

/* Writes regular files into an archive; those in a zip are stored, as PyTorch stores them. */
void pack_archive(const char *path, pack_kind kind, const member *members, size_t count);

#endif
