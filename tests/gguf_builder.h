/* GGUF files made by tests, right or wrong on purpose, and checkpoints opened from them. */
#ifndef TQ_TESTS_GGUF_BUILDER_H
#define TQ_TESTS_GGUF_BUILDER_H

#include "formats/checkpoint.h"

#include <stddef.h>
#include <stdint.h>

typedef struct gguf_bytes {
  uint8_t *data;
  size_t size, capacity;
} gguf_bytes;

/* Zero-initialise, or take gguf_begin()'s. What is zero has the usual value: version 3, alignment 32, padding of zeros.
 */
typedef struct gguf_builder {
  uint32_t version;
  uint32_t alignment; /* what data is laid out by; the key general.alignment is the caller's to add */
  uint8_t padding;
  gguf_bytes keys, infos, data;
  uint64_t key_count, tensor_count;
} gguf_builder;

/* A key with its value as serialised. */
void gguf_key(gguf_builder *builder, const char *key, uint32_t type, const void *value, size_t size);
void gguf_key_u16(gguf_builder *builder, const char *key, uint16_t value);
void gguf_key_u32(gguf_builder *builder, const char *key, uint32_t value);
void gguf_key_f32(gguf_builder *builder, const char *key, float value);
void gguf_key_string(gguf_builder *builder, const char *key, const char *value);
void gguf_key_strings(gguf_builder *builder, const char *key, const char *const *values, size_t count);
void gguf_key_array(gguf_builder *builder, const char *key, uint32_t item_type, uint64_t count, const void *items,
                    size_t size);

/* A tensor whose data follows the last one's, aligned. `shape` is as GGUF has it: innermost first. */
void gguf_tensor(gguf_builder *builder, const char *name, uint32_t type, uint32_t dimensions, const uint64_t *shape,
                 const void *data, size_t size);
/* A tensor's description alone, with any offset, and a name of any bytes. */
void gguf_info(gguf_builder *builder, const char *name, size_t name_size, uint32_t type, uint32_t dimensions,
               const uint64_t *shape, uint64_t offset);

/* The keys of a llama of one layer: dimension 64, 4 heads, 2 of them for keys, feed-forward 96, 12 tokens. */
void gguf_llama_keys(gguf_builder *builder);
/* A SentencePiece tokenizer of 12 tokens. */
void gguf_tokenizer_keys(gguf_builder *builder);
/* The 11 tensors of that model with matrices of type F32 (0), F16 (1), BF16 (30) or Q8_0 (8), vectors of type
 * `vectors`, from a fixed seed. */
void gguf_llama_tensors(gguf_builder *builder, uint32_t matrices, uint32_t vectors);

/* The keys of a llama of one layer whose rows go with every dialect: dimension and feed-forward 256, 4 heads, 2 of them
 * for keys. */
void gguf_ternary_keys(gguf_builder *builder);
/* The bytes of a tensor in a dialect, freed by free(): rows [rows][columns] of trits; of the scales inside, number k of
 * the tensor is scales[k % scale_count], and the one in a tail is the first. */
uint8_t *gguf_pack(const tq_dialect *dialect, uint64_t rows, uint64_t columns, const int8_t *trits, const float *scales,
                   size_t scale_count, size_t *size);
/* Random trits, freed by free(); up to +2 where `four_valued`. */
int8_t *gguf_trits(uint64_t count, uint64_t seed, bool four_valued);
/* A matrix of random trits in a dialect; `type` is the id that is written. */
void gguf_ternary(gguf_builder *builder, const char *name, uint32_t type, const tq_dialect *dialect, uint64_t rows,
                  uint64_t columns, uint64_t seed, const float *scales, size_t scale_count);
/* The 10 tensors of the model of gguf_ternary_keys: embedding and norms F32, the 7 matrices of the layer in a dialect.
 */
void gguf_ternary_tensors(gguf_builder *builder, const tq_dialect *dialect, const float *scales, size_t scale_count);

/* Puts the file together; freed by free(). Frees the builder's parts. */
uint8_t *gguf_end(gguf_builder *builder, size_t *size);
/* The same, into a file. */
void gguf_end_file(gguf_builder *builder, const char *path);

/* Opens a file with the reader of one format, given as tq_format.open. */
typedef tq_status (*reader_open)(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                                 tq_error *error);
tq_status open_with(reader_open open, const char *path, const tq_open_options *options, tq_checkpoint **checkpoint,
                    tq_error *error);

/* The tensor of a role; fails the test when there is none. */
const tq_source_tensor *tensor_of_role(const tq_checkpoint *checkpoint, const char *role);
/* A tensor's bytes in canonical row order; freed by free(). */
uint8_t *tensor_bytes(tq_checkpoint *checkpoint, const char *role);

#endif
