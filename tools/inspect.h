/* tq-inspect's pieces: one view of a model, filled from a .tq file or a foreign checkpoint, and what prints it. */
#ifndef TQ_TOOLS_INSPECT_H
#define TQ_TOOLS_INSPECT_H

#include "base/hash.h"
#include "formats/checkpoint.h"
#include "tq/container.h"
#include "tq/model.h"
#include "tq/tokenizer.h"

enum { INSPECT_ENCODING_SIZE = 48, INSPECT_TRITS = 4 };

/* The scales of a tensor of codes. */
typedef struct inspect_scales {
  uint64_t count; /* 0: the tensor has none */
  uint32_t granularity, group, encoding, direction;
  float least, most; /* of what trits are multiplied by: d, or 1 / s when inverted */
} inspect_scales;

typedef enum inspect_kind { INSPECT_NUMBERS, INSPECT_TERNARY, INSPECT_BLOCKS } inspect_kind;

typedef struct inspect_tensor {
  const char *role, *name;
  const char *source_type; /* the type it has in the foreign file, or had there; "" when unknown */
  char encoding[INSPECT_ENCODING_SIZE];
  inspect_kind kind;
  uint32_t dimensions;
  const uint64_t *shape;
  uint64_t elements, bytes;
  uint64_t trits[INSPECT_TRITS]; /* how many -1, 0, +1, +2; all zero when not ternary */
  inspect_scales scales;
  bool is_almost; /* floats of a foreign file that are almost ternary, as tq_survey has it */
  uint32_t almost_granularity, almost_group;
  uint64_t almost_off;
  double almost_furthest;
  tq_digest content;
  const tq_tensor *stored; /* the tensor of the .tq file, or NULL */
} inspect_tensor;

/* What --verify was asked for and found nothing wrong with. */
typedef enum inspect_verified { INSPECT_UNVERIFIED, INSPECT_HASHES, INSPECT_CONTENT } inspect_verified;

typedef struct inspect_model {
  const char *path; /* as the user gave it */
  tq_file *file;    /* one of the two is open */
  tq_checkpoint *checkpoint;
  const char *format; /* "tq", "gguf", "hf", ... */
  char description[128];
  char version[24]; /* of the format, or "" */
  char origin[64];  /* .tq: the format it came from and goes back to byte for byte, or "" */
  uint64_t size;    /* bytes of the file, or of all files */
  size_t files;
  const tq_metadata *metadata;
  tq_hyperparameters hyperparameters;
  tq_error unreadable;       /* why there are no hyperparameters; status TQ_OK when there are */
  tq_tokenizer *tokenizer;   /* or NULL */
  const char *chat_template; /* the name of the one that the tokenizer has; NULL: none, or one that is not known */
  inspect_tensor *tensors;
  size_t tensor_count;
  const char *hash_name; /* of the hash that identifies the file, or NULL when there is none */
  uint8_t hash[TQ_HASH_SIZE];
  size_t hash_size;
  tq_digest weights, function, tokenizer_digest; /* all zero: none */
  inspect_verified verified;
  size_t not_understood; /* tensors whose content could not be verified */
  const char *readings;  /* lines that tell which of several readings was taken, and why */
  size_t readings_size;
} inspect_model;

/* What is needed that is costly. */
typedef struct inspect_needs {
  bool digests;              /* of a foreign checkpoint: reads every tensor */
  bool hash;                 /* of a foreign checkpoint: reads the file */
  inspect_verified verified; /* of a .tq file; a foreign one has nothing to verify */
} inspect_needs;

/* inspect_open.c: opens the file whatever it is, verifies it and fills the view; close it in every case. */
tq_status inspect_open(const char *path, const tq_open_options *options, inspect_needs needs, inspect_model *model,
                       tq_error *error);
void inspect_close(inspect_model *model);

/* inspect_verify.c: checks that the open .tq file, whose hashes are right, is what it says of itself. */
tq_status inspect_verify_content(inspect_model *model, tq_error *error);

/* inspect_container.c, inspect_foreign.c: the two ways to fill it. */
tq_status inspect_fill_container(inspect_model *model, tq_error *error);
tq_status inspect_fill_foreign(inspect_model *model, inspect_needs needs, tq_error *error);

/* "base3 g128 F16", "2bit tensor 1/BF16", "Q8_0", "F16": into text (INSPECT_ENCODING_SIZE bytes). */
const char *inspect_encoding_summary(const inspect_tensor *tensor, char *text);
/* "512×256". */
void inspect_shape(const inspect_tensor *tensor, char *text, size_t size);
/* "tensor", "row" or "group". */
const char *inspect_granularity_name(uint32_t granularity);
bool inspect_digest_is_zero(const tq_digest *digest);

/* ---- groups of tensors (inspect_groups.c) ---- */

/* Tensors of one name (layer numbers replaced by '*', all norms together), shape and encoding. */
typedef struct inspect_group {
  char *name;
  const inspect_tensor *first; /* one of them, for shape and encoding */
  size_t count;
  uint64_t elements, bytes;
  uint64_t trits[INSPECT_TRITS];
  inspect_scales scales; /* the range is that of all of them */
} inspect_group;

/* In the order of a model: embedding, layers, head, norms, the rest. Freed by inspect_free_groups. */
tq_status inspect_make_groups(const inspect_model *model, inspect_group **groups, size_t *count, tq_error *error);
void inspect_free_groups(inspect_group *groups, size_t count);
/* All tensors as one group. */
void inspect_total(const inspect_model *model, inspect_group *total);
/* Adds a tensor's numbers to a group's. */
void inspect_add(inspect_group *group, const inspect_tensor *tensor);

/* ---- printing ---- */

/* inspect_text.c: the screen; with `tensors`, a line per tensor instead of one per group. */
tq_status inspect_print_text(const inspect_model *model, bool tensors, tq_error *error);
/* inspect_json.c: everything, as one JSON object. */
tq_status inspect_print_json(const inspect_model *model, tq_error *error);

#endif
