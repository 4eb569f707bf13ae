/* The .tq container: opening, verifying and writing. The format itself is docs/format.md.
 *
 * An opened file is immutable and may be shared by threads; every pointer taken from it lives until
 * tq_file_close. */
#ifndef TQ_CONTAINER_H
#define TQ_CONTAINER_H

#include "tq/encoding.h"
#include "tq/error.h"
#include "tq/metadata.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

enum {
  TQ_FORMAT_MAJOR = 1,
  TQ_FORMAT_MINOR = 0,
  TQ_MAX_DIMENSIONS = 8,
  TQ_MAX_PARTS = 16,
  TQ_CHUNK_SIZE = 1 << 20, /* bytes of a tensor that share one hash */
  TQ_ROLE_SIZE = 256       /* bytes of a role or name, NUL included */
};

/* ---- what a tensor is made of ---- */

typedef enum tq_part_kind {
  TQ_PART_VALUES = 1,     /* plain numbers, ternary codes or foreign blocks: one part of this kind, always the first */
  TQ_PART_SCALES = 2,     /* granularity, group, direction; encoding F32, F16 or BF16 */
  TQ_PART_PATCH = 3,      /* how the original bytes differ from the canonical re-encoding */
  TQ_PART_LOW_RANK_A = 4, /* [rank][columns] */
  TQ_PART_LOW_RANK_B = 5, /* [rows][rank] */
  TQ_PART_SIGNS = 6       /* rotation signs, one per column */
} tq_part_kind;

typedef struct tq_part {
  uint32_t kind;           /* tq_part_kind; other numbers are carried */
  uint32_t encoding;       /* tq_encoding; other numbers are carried */
  uint32_t granularity;    /* SCALES only */
  uint32_t group;          /* SCALES with TQ_PER_GROUP: 32..256 elements */
  uint32_t direction;      /* SCALES only */
  const char *type_name;   /* BLOCKS: the foreign type ("Q8_0"); otherwise "" */
  uint32_t block_elements; /* BLOCKS: elements and bytes of one block */
  uint32_t block_bytes;
  uint64_t offset;     /* from the tensor's start, a multiple of 64 */
  uint64_t size;       /* bytes */
  const uint8_t *data; /* mapped; NULL while writing */
} tq_part;

typedef struct tq_tensor {
  const char *role;        /* canonical name ("layers.3.q"); the tensor's own name when it has no role */
  const char *name;        /* as the file it came from had it */
  const char *source_type; /* the foreign type it came in ("F16", "Q8_0", "TQ2_0"), or "" */
  uint32_t dimensions;
  uint64_t shape[TQ_MAX_DIMENSIONS]; /* outermost first: [rows][columns] for a matrix, rows being output channels */
  uint64_t rows, columns;            /* columns is the last dimension, rows the product of the others (1 for vectors) */
  uint64_t elements;
  uint64_t trit_counts[4];   /* how many -1, 0, +1, +2; all zero where the values are not ternary codes */
  double bits_per_weight;    /* 8 * (bytes of all parts) / elements */
  uint32_t source_row_order; /* heads whose rows the source held in adjacent-pair RoPE order; 0: source order is ours */
  uint64_t data_offset;      /* from the file's start */
  uint64_t data_size;
  const tq_part *parts;
  size_t part_count;
  uint8_t content_digest[16]; /* XXH3-128 over shape and f32 values (the weights digest's ingredient) */
  uint8_t hash[32];           /* over the chunk hashes */
} tq_tensor;

/* ---- reading ---- */

typedef struct tq_file tq_file;

typedef enum tq_verify {
  TQ_VERIFY_HEADER, /* structure and the hashes of all sections but the tensor data */
  TQ_VERIFY_LAZY,   /* and each chunk of a tensor the first time tq_file_touch covers it */
  TQ_VERIFY_FULL    /* and everything, padding included, before tq_file_open returns */
} tq_verify;

/* True when `path` is a file that begins like a .tq file. */
bool tq_file_recognize(const char *path);

/* Maps and validates. Messages name the file, the section or tensor, and the offset. */
tq_status tq_file_open(const char *path, tq_verify verify, tq_file **file, tq_error *error);
/* The same over memory that must outlive the file and be aligned to 64 bytes. */
tq_status tq_file_open_memory(const char *name, const void *data, size_t size, tq_verify verify, tq_file **file,
                              tq_error *error);
void tq_file_close(tq_file *file); /* NULL is allowed */

/* Verifies everything now, whatever the level at opening. As opening in full does, it starts a thread for each
 * processor until it is done, and of several chunks that differ it names the first. */
tq_status tq_file_verify(const tq_file *file, tq_error *error);
/* Verifies what the hashes cannot: that codes are codes, that the trit counts are theirs, and that each tensor's
 * content digest is that of its weights. Tensors that are carried, not understood, and those with low-rank factors are
 * left out; *left_out, which may be NULL, becomes their number. Decodes everything, in bounded memory. */
tq_status tq_file_verify_content(const tq_file *file, size_t *left_out, tq_error *error);
/* Verifies the chunks of `tensor` that [offset, offset + size) of its data touches, once each, if the file was
 * opened with TQ_VERIFY_LAZY; otherwise does nothing. Thread-safe. */
tq_status tq_file_touch(const tq_file *file, size_t tensor, uint64_t offset, uint64_t size, tq_error *error);

typedef struct tq_file_info {
  const char *path;
  uint32_t major, minor;
  uint64_t size;
  uint64_t required_features, optional_features;
  uint32_t hash_algorithm;
  uint8_t root[32];       /* root over all tensor hashes */
  uint8_t table_hash[32]; /* hash of the section table: identifies the whole file, for it hashes every section */
  uint8_t weights_digest[16];
  uint8_t function_digest[16];  /* all zero when the model's function is not described */
  uint8_t tokenizer_digest[16]; /* all zero when there is no tokenizer */
} tq_file_info;
void tq_file_describe(const tq_file *file, tq_file_info *info);

const tq_metadata *tq_file_metadata(const tq_file *file);
size_t tq_file_tensor_count(const tq_file *file);
const tq_tensor *tq_file_tensor(const tq_file *file, size_t index);
/* The index of the tensor with that role, or SIZE_MAX. */
size_t tq_file_find_role(const tq_file *file, const char *role);

typedef struct tq_section {
  const char *name;
  bool required;
  uint64_t offset, size;
  const uint8_t *data;
} tq_section;
size_t tq_file_section_count(const tq_file *file);
void tq_file_section(const tq_file *file, size_t index, tq_section *section);
/* False when there is no such section. */
bool tq_file_find_section(const tq_file *file, const char *name, tq_section *section);

/* Files that an input carried, and fragments of them that the "source" section puts together again. */
typedef enum tq_attachment_kind { TQ_ATTACHMENT_FILE = 1, TQ_ATTACHMENT_FRAGMENT = 2 } tq_attachment_kind;
typedef struct tq_attachment {
  const char *name; /* relative path, '/'-separated */
  uint32_t kind;
  uint64_t size;        /* inflated */
  uint64_t stored_size; /* in the file */
} tq_attachment;
size_t tq_file_attachment_count(const tq_file *file);
void tq_file_attachment(const tq_file *file, size_t index, tq_attachment *attachment);
/* Inflates piece by piece; `sink` may stop it by returning another status than TQ_OK. Never yields more than the
 * size stated, whatever the compressed bytes say. */
typedef tq_status (*tq_sink)(void *context, const void *data, size_t size, tq_error *error);
tq_status tq_file_attachment_read(const tq_file *file, size_t index, tq_sink sink, void *context, tq_error *error);
/* Inflates the file attachment called `name` (at most `limit` bytes) into memory that tq_release frees, a NUL behind
 * it; *data is NULL when there is none. */
tq_status tq_file_attachment_load(const tq_file *file, const char *name, size_t limit, char **data, size_t *size,
                                  tq_error *error);
/* Frees memory that the library gave to the caller. */
void tq_release(void *pointer);

/* Decodes rows [first, first + count) of a tensor to floats (count * columns of them) from whatever it is encoded
 * in: the exact values in f32. TQ_ERROR_CORRUPT names an encoding that cannot be decoded. Touches what it reads. */
tq_status tq_tensor_decode(const tq_file *file, size_t tensor, uint64_t first, uint64_t count, float *values,
                           tq_error *error);

/* ---- writing: streaming, atomic, deterministic ----
 * Create; metadata, sections, attachments and tensors, each with its parts, in any order; finish. Attachments stream in
 * one run, tensors in another: once tensors have followed attachments (or attachments tensors) there are no more of the
 * first. Metadata and sections given after the first of either are copied and written at the end. After a failure the
 * writer takes nothing more, and the target is untouched; the caller then calls tq_writer_abandon. */

typedef struct tq_writer tq_writer;

/* hash_algorithm: 0 for the default (XXH3-128). */
tq_status tq_writer_create(const char *path, uint32_t hash_algorithm, tq_writer **writer, tq_error *error);
tq_status tq_writer_metadata(tq_writer *writer, const void *data, size_t size, uint64_t count, tq_error *error);
tq_status tq_writer_section(tq_writer *writer, const char *name, bool required, const void *data, size_t size,
                            tq_error *error);
/* An attachment is deflated as it is written. */
tq_status tq_writer_attachment_begin(tq_writer *writer, const char *name, uint32_t kind, tq_error *error);
tq_status tq_writer_attachment_write(tq_writer *writer, const void *data, size_t size, tq_error *error);
tq_status tq_writer_attachment_end(tq_writer *writer, tq_error *error);

/* Of *tensor only role, name, source_type, dimensions, shape and source_row_order are read (and copied). */
tq_status tq_writer_tensor_begin(tq_writer *writer, const tq_tensor *tensor, tq_error *error);
/* Of *part all but offset, size and data. */
tq_status tq_writer_part_begin(tq_writer *writer, const tq_part *part, tq_error *error);
tq_status tq_writer_part_write(tq_writer *writer, const void *data, size_t size, tq_error *error);
/* Checks that the part has the size that its encoding and the tensor's shape demand. */
tq_status tq_writer_part_end(tq_writer *writer, tq_error *error);
tq_status tq_writer_tensor_end(tq_writer *writer, const uint64_t trit_counts[4], const uint8_t content_digest[16],
                               tq_error *error);

/* The weights digest is computed from the tensors; the other two are given (all zero when unknown). Frees the
 * writer on success. */
tq_status tq_writer_finish(tq_writer *writer, const uint8_t function_digest[16], const uint8_t tokenizer_digest[16],
                           tq_error *error);
void tq_writer_abandon(tq_writer *writer); /* NULL is allowed */

/* Writes the file again with the ternary codes of every tensor in `encoding` (TQ_TERNARY_2BIT or TQ_TERNARY_BASE3; 0
 * leaves them as they are); nothing else changes. Verifies what it reads. TQ_ERROR_REFUSED, before anything is written,
 * for base-3 and a tensor that holds +2. */
tq_status tq_file_recode(const tq_file *file, const char *path, uint32_t encoding, uint32_t hash_algorithm,
                         tq_error *error);

/* True for tensors that are computed from hyperparameters ("rope_factors", "rope_inverse_frequencies",
 * "layers.N.rope_inverse_frequencies"): one carrier holds them, another does not, and the model is the same. */
bool tq_role_is_derived(const char *role);

/* The weights digest over tensors given as roles and content digests in any order: XXH3-128 over the sorted (role,
 * digest) pairs; an absent "head" counts as the "embedding", tensors derived from hyperparameters do not count. */
tq_status tq_weights_digest(const char *const *roles, const uint8_t (*content_digests)[16], size_t count,
                            uint8_t digest[16], tq_error *error);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
