/* A foreign checkpoint, opened: plain data that every reader fills and that import, inspect and compare walk over.
 *
 * Nothing of a tensor is read at opening: a tensor is a place in an input, and its rows are fetched when asked for. */
#ifndef TQ_FORMATS_CHECKPOINT_H
#define TQ_FORMATS_CHECKPOINT_H

#include "base/file.h"
#include "base/text.h"
#include "formats/dialects/dialect.h"
#include "formats/folder.h"
#include "tq/container.h"
#include "tq/metadata.h"

typedef struct tq_source_tensor {
  char *name;        /* as in the file */
  char *role;        /* canonical; the same text as `name` when it has none */
  char *type_name;   /* the file's own word for its type: "F16", "Q8_0", "BF16"; tq_form_name's where it is packed */
  uint32_t encoding; /* tq_encoding; TQ_BLOCKS with the block's measures below; 0 where `form` says how it is packed */
  tq_form form; /* of a packed ternary tensor; plain floats that are ternary have none, for that shows only later */
  uint32_t block_elements, block_bytes;
  uint32_t dimensions;
  uint64_t shape[TQ_MAX_DIMENSIONS]; /* outermost first */
  size_t input;                      /* index into tq_checkpoint.inputs */
  uint64_t offset, size;             /* of its bytes there */
  uint32_t adjacent_heads; /* 0, or the number of heads whose rows are in adjacent-pair RoPE order in the file */
} tq_source_tensor;

/* A file of the checkpoint, cut into pieces that lie end to end from 0 to its size: how it is put together again. */
typedef enum tq_piece_kind {
  TQ_PIECE_LITERAL = 1,  /* bytes kept as they are, in a fragment attachment; `source` is their offset in the file */
  TQ_PIECE_METADATA = 2, /* bytes of the metadata; `source` is their offset in tq_checkpoint.metadata_bytes */
  TQ_PIECE_TENSOR = 3    /* the bytes of tensor number `source` */
} tq_piece_kind;

typedef struct tq_piece {
  uint32_t kind;
  uint64_t source, size;
} tq_piece;

typedef struct tq_source_file {
  char *path; /* relative, as it is to be written again */
  size_t input;
  bool is_weights; /* described by pieces; the others are attachments, kept whole under their path */
  tq_piece *pieces;
  size_t piece_count, piece_capacity;
} tq_source_file;

/* What plain floats are taken for; zero-initialised: ternary where that is exact, at the coarsest granularity. */
typedef struct tq_assume {
  bool is_given;
  bool is_float;               /* they stay floats, whatever they hold */
  uint32_t granularity, group; /* otherwise: ternary at this granularity, or refused */
} tq_assume;

/* Bytes of a tensor whose input cannot go back to them, for as long as they are needed again. */
typedef struct tq_held_tensor {
  uint8_t *bytes; /* room for the whole tensor, touched as it is filled; NULL: none is held */
  size_t tensor;
  uint64_t filled; /* bytes from the tensor's start */
  bool grows;      /* what is read is kept */
} tq_held_tensor;

typedef struct tq_checkpoint {
  const char *format; /* name of the row in the table of formats: "gguf", "hf", ... */
  char *path;         /* as the user gave it */
  tq_folder *folder;  /* owned */
  tq_input **inputs;  /* owned; what tensors and files lie in */
  size_t input_count, input_capacity;
  uint8_t *metadata_bytes; /* serialised key-values; owned */
  size_t metadata_size;
  uint64_t metadata_count;
  tq_metadata *metadata; /* index over them; never NULL once opened */
  tq_source_tensor *tensors;
  size_t tensor_count, tensor_capacity;
  size_t *names; /* the tensors in runs sorted by name, one of 2^k for each bit k of tensor_count, longest first */
  size_t name_capacity;  /* and room for as many again, to merge runs in */
  tq_source_file *files; /* empty where the format is not written back byte for byte */
  size_t file_count, file_capacity;
  uint8_t *tokenizer; /* a "tokenizer" section (tq_tokenizer_serialize), 64-byte aligned, or NULL; owned */
  size_t tokenizer_size;
  tq_held_tensor held;
  tq_assume assume;
  bool trained_with_int8; /* it says that its linear layers met int8 activations in training (BitNet) */
  const char *latent_by;  /* what declares latent weights where it is not the file's own key tq.latent, or NULL */
  bool is_told;           /* what reading all tensors has shown stands in the readings (formats/findings.h) */
  tq_buffer notes; /* lines for the user, each ended by a newline; losses begin "not carried: ", dangers "warning: " */
  tq_buffer readings; /* lines that tell which of several readings was taken, on what evidence; they name tensors but no
                         path, for they are kept in the .tq file's "readings" section */
} tq_checkpoint;

/* What the user may override when a file alone does not say enough; zero-initialised means nothing is. */
typedef struct tq_open_options {
  const char *tokenizer_path; /* a tokenizer file for a checkpoint that comes without: llama2.c's, tokenizer.model,
                                 tokenizer.json, tiktoken */
  uint32_t q2_group;          /* the group of GGUF's type 42: 64 or 128; 0: as offsets and sizes show */
  const char *i2s_dialect;    /* the dialect that GGUF's type 36 is: "I2_S_ARM", "I2_S_ROWS"; NULL: "I2_S" */
  enum { TQ_SCALES_AS_DECLARED, TQ_SCALES_DIRECT, TQ_SCALES_INVERTED } weight_scales; /* of Hugging Face's bitnet */
  tq_assume assume;
} tq_open_options;

/* Recognises and opens any foreign checkpoint: a file, a folder, or an archive of either. TQ_ERROR_CORRUPT says what it
 * looks like when it is not understood. The checkpoint is freed by tq_checkpoint_close. */
tq_status tq_checkpoint_open(const char *path, const tq_open_options *options, tq_checkpoint **checkpoint,
                             tq_error *error);
void tq_checkpoint_close(tq_checkpoint *checkpoint); /* NULL is allowed */

/* ---- for readers ---- */

/* Takes over the input on success. */
tq_status tq_checkpoint_add_input(tq_checkpoint *checkpoint, tq_input *input, size_t *index, tq_error *error);
/* Appends *tensor, taking over its strings on success. Checks the name (UTF-8, length, not a duplicate: refused by
 * name), the dimensions (none zero, the product and byte size without overflow), that `size` is what encoding or form
 * and shape demand, and that the bytes lie within the input. */
tq_status tq_checkpoint_add_tensor(tq_checkpoint *checkpoint, tq_source_tensor *tensor, tq_error *error);
/* Takes out the tensors marked in `removed`, [tensor_count]: what they say is part of others. The rest keep their order
 * and get new indices, so this comes before any weights file is added. */
void tq_checkpoint_remove_tensors(tq_checkpoint *checkpoint, const bool *removed);
/* The largest files that come with a model, tokenizers, have under 40 MB; what is larger is not taken into a .tq file.
 */
enum { TQ_ATTACHMENT_LIMIT = 64 << 20 };
/* Adds a file that is kept whole as an attachment; one above TQ_ATTACHMENT_LIMIT is refused when the checkpoint is
 * imported, so that it may still be looked at. */
tq_status tq_checkpoint_add_attachment(tq_checkpoint *checkpoint, const char *path, size_t input, tq_error *error);
/* Adds a weights file and cuts it into pieces from the tensors that lie in `input`: what is neither metadata nor tensor
 * becomes literals. Overlapping tensors are TQ_ERROR_CORRUPT. `metadata_offset` is where in the file the
 * bytes of metadata_bytes lie; metadata_size 0 when they do not. */
tq_status tq_checkpoint_add_weights_file(tq_checkpoint *checkpoint, const char *path, size_t input,
                                         uint64_t metadata_offset, uint64_t metadata_size, tq_error *error);
/* Takes over builder's bytes and indexes them. */
tq_status tq_checkpoint_set_metadata(tq_checkpoint *checkpoint, tq_metadata_builder *builder, tq_error *error);
tq_status tq_checkpoint_note(tq_checkpoint *checkpoint, tq_error *error, const char *format, ...) TQ_PRINTF(3, 4);
/* Adds a line to the readings. */
tq_status tq_checkpoint_reading(tq_checkpoint *checkpoint, tq_error *error, const char *format, ...) TQ_PRINTF(3, 4);

/* ---- for whoever walks over it ---- */

/* True when the metadata's key tq.latent says that the linear layers are latent weights: floats to be made ternary as
 * the model was trained, and not ternary before that, whatever they hold. */
bool tq_checkpoint_declares_latent(const tq_checkpoint *checkpoint);
/* The tensor with that role, or SIZE_MAX. */
size_t tq_checkpoint_find_role(const tq_checkpoint *checkpoint, const char *role);

/* The smallest piece of a tensor that can be read alone, in bytes: an element or block, or all rows of a head of at
 * most 4 MiB where the file has adjacent-pair order. So whole heads are read forwards, and yet none is held that does
 * not fit any memory. */
uint64_t tq_source_tensor_unit(const tq_source_tensor *tensor);
/* Reads bytes [offset, offset + size) of a tensor in canonical row order and the file's encoding; both are multiples of
 * the unit. For tensors of numbers and blocks. */
tq_status tq_source_tensor_read(tq_checkpoint *checkpoint, size_t tensor, uint64_t offset, uint64_t size, void *buffer,
                                tq_error *error);
/* The same as they lie in the file, for any tensor and any range of it. */
tq_status tq_source_tensor_bytes(tq_checkpoint *checkpoint, size_t tensor, uint64_t offset, uint64_t size, void *buffer,
                                 tq_error *error);

/* For who reads a tensor more than once: where its input does not seek, or rows that are far apart share bytes, what is
 * read of it from now on is kept in memory. One tensor is held at a time. tq_source_tensor_hold_no_more leaves it at
 * what was read so far. */
tq_status tq_source_tensor_hold(tq_checkpoint *checkpoint, size_t tensor, tq_error *error);
void tq_source_tensor_hold_no_more(tq_checkpoint *checkpoint);
void tq_source_tensor_release(tq_checkpoint *checkpoint);

/* Moves the rows of whole heads to the canonical RoPE order: row 2 b + a of a head of n rows in adjacent-pair order is
 * row a * (n / 2) + b (a in 0..1). `from` and `to` hold `heads` heads of `head_rows` rows and do not overlap. */
void tq_rows_to_half_split(const uint8_t *from, uint8_t *to, uint64_t heads, uint64_t head_rows, uint64_t row_bytes);

#endif
