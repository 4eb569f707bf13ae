#include "base/bytes.h"
#include "base/memory.h"
#include "formats/llama2c/llama2c.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "tq/tokenizer.h"

#include <stdio.h>
#include <string.h>

enum {
  MAGIC = 0x616b3432, /* "ak42" */
  LEGACY_HEADER_SIZE = 7 * 4,
  HEADER_SIZE = 256,      /* version 1 and later */
  FIELDS_OFFSET = 8,      /* behind magic and version */
  SHARED_OFFSET = 8 + 28, /* one byte: the embedding is the head */
  DIMENSION_LIMIT = 1 << 22,
  LAYER_LIMIT = 4096
};

/* The numbers that a shape is made of. */
typedef enum measure { ONE, DIMENSION, HIDDEN, KEYS, VOCABULARY, ROPE, MEASURE_COUNT } measure;

typedef struct shape_of_model {
  uint32_t version; /* 0: legacy */
  uint32_t layers, heads, kv_heads, context;
  uint64_t measures[MEASURE_COUNT];
  bool shared; /* the embedding is the head */
  uint64_t data_offset;
} shape_of_model;

/* A stretch of the file: one tensor, or one for each layer. */
typedef struct stretch {
  const char *role, *name; /* %u stands for the layer; NULL for what is computed and not carried */
  bool per_layer, only_when_separate;
  measure rows, columns; /* rows ONE: a vector */
} stretch;

static const stretch legacy_order[] = {
    {"embedding", "tok_embeddings.weight", false, false, VOCABULARY, DIMENSION},
    {"layers.%u.attention_norm", "layers.%u.attention_norm.weight", true, false, ONE, DIMENSION},
    {"layers.%u.q", "layers.%u.attention.wq.weight", true, false, DIMENSION, DIMENSION},
    {"layers.%u.k", "layers.%u.attention.wk.weight", true, false, KEYS, DIMENSION},
    {"layers.%u.v", "layers.%u.attention.wv.weight", true, false, KEYS, DIMENSION},
    {"layers.%u.o", "layers.%u.attention.wo.weight", true, false, DIMENSION, DIMENSION},
    {"layers.%u.ffn_norm", "layers.%u.ffn_norm.weight", true, false, ONE, DIMENSION},
    {"layers.%u.gate", "layers.%u.feed_forward.w1.weight", true, false, HIDDEN, DIMENSION},
    {"layers.%u.down", "layers.%u.feed_forward.w2.weight", true, false, DIMENSION, HIDDEN},
    {"layers.%u.up", "layers.%u.feed_forward.w3.weight", true, false, HIDDEN, DIMENSION},
    {"final_norm", "norm.weight", false, false, ONE, DIMENSION},
    {NULL, NULL, false, false, ONE, ROPE}, /* cosines of RoPE, then sines */
    {NULL, NULL, false, false, ONE, ROPE},
    {"head", "output.weight", false, true, VOCABULARY, DIMENSION},
};

static const stretch version_1_order[] = {
    {"layers.%u.attention_norm", "layers.%u.attention_norm.weight", true, false, ONE, DIMENSION},
    {"layers.%u.ffn_norm", "layers.%u.ffn_norm.weight", true, false, ONE, DIMENSION},
    {"final_norm", "norm.weight", false, false, ONE, DIMENSION},
    {"embedding", "tok_embeddings.weight", false, false, VOCABULARY, DIMENSION},
    {"layers.%u.q", "layers.%u.attention.wq.weight", true, false, DIMENSION, DIMENSION},
    {"layers.%u.k", "layers.%u.attention.wk.weight", true, false, KEYS, DIMENSION},
    {"layers.%u.v", "layers.%u.attention.wv.weight", true, false, KEYS, DIMENSION},
    {"layers.%u.o", "layers.%u.attention.wo.weight", true, false, DIMENSION, DIMENSION},
    {"layers.%u.gate", "layers.%u.feed_forward.w1.weight", true, false, HIDDEN, DIMENSION},
    {"layers.%u.down", "layers.%u.feed_forward.w2.weight", true, false, DIMENSION, HIDDEN},
    {"layers.%u.up", "layers.%u.feed_forward.w3.weight", true, false, HIDDEN, DIMENSION},
    {"head", "output.weight", false, true, VOCABULARY, DIMENSION},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const stretch *order_of(uint32_t version, size_t *count) {
  *count = version ? COUNT(version_1_order) : COUNT(legacy_order);
  return version ? version_1_order : legacy_order;
}

/* ---- the header ---- */

/* Takes the seven numbers; false when they describe no model. A negative vocabulary says that the head is separate, in
 * legacy files. The limits keep every product of two of them, times the layers, within 64 bits. */
static bool take_fields(const uint8_t *fields, shape_of_model *model) {
  int32_t numbers[7];
  for (size_t i = 0; i < 7; i++) numbers[i] = (int32_t)tq_load_u32(fields + 4 * i);
  int32_t vocabulary = numbers[5];
  if (!model->version) {
    model->shared = vocabulary > 0;
    if (vocabulary < 0 && vocabulary > INT32_MIN) vocabulary = -vocabulary;
  }
  if (vocabulary < 1 || vocabulary > DIMENSION_LIMIT) return false;
  for (size_t i = 0; i < 7; i++) {
    if (i != 5 && (numbers[i] < 1 || numbers[i] > DIMENSION_LIMIT)) return false;
  }
  if (numbers[2] > LAYER_LIMIT) return false;
  uint32_t dimension = (uint32_t)numbers[0];
  model->layers = (uint32_t)numbers[2];
  model->heads = (uint32_t)numbers[3];
  model->kv_heads = (uint32_t)numbers[4];
  model->context = (uint32_t)numbers[6];
  if (dimension % model->heads || model->heads % model->kv_heads || (dimension / model->heads) % 2) return false;
  uint32_t head = dimension / model->heads;
  model->measures[ONE] = 1;
  model->measures[DIMENSION] = dimension;
  model->measures[HIDDEN] = (uint64_t)numbers[1];
  model->measures[KEYS] = (uint64_t)head * model->kv_heads;
  model->measures[VOCABULARY] = (uint64_t)vocabulary;
  model->measures[ROPE] = (uint64_t)model->context * (head / 2);
  return true;
}

/* The size that a file with such a header has. */
static uint64_t expected_size(const shape_of_model *model) {
  size_t count;
  const stretch *order = order_of(model->version, &count);
  uint64_t size = model->data_offset;
  for (size_t i = 0; i < count; i++) {
    if (order[i].only_when_separate && model->shared) continue;
    size += 4 * model->measures[order[i].rows] * model->measures[order[i].columns] *
            (order[i].per_layer ? model->layers : 1);
  }
  return size;
}

static bool has_magic(const uint8_t *start, size_t size) { return size >= 8 && tq_load_u32(start) == MAGIC; }

/* A legacy file has nothing that tells what it is but a size that follows from its first seven numbers. */
static bool is_legacy(const uint8_t *start, size_t size, uint64_t file_size, shape_of_model *model) {
  *model = (shape_of_model){.data_offset = LEGACY_HEADER_SIZE};
  return size >= LEGACY_HEADER_SIZE && take_fields(start, model) && expected_size(model) == file_size;
}

bool tq_llama2c_recognize(const char *name, const uint8_t *start, size_t start_size, uint64_t file_size) {
  (void)name;
  shape_of_model model;
  return has_magic(start, start_size) || is_legacy(start, start_size, file_size, &model);
}

static tq_status read_versioned(const char *file, const uint8_t *start, size_t size, uint64_t file_size,
                                shape_of_model *model, tq_error *error) {
  *model = (shape_of_model){.version = tq_load_u32(start + 4), .data_offset = HEADER_SIZE};
  if (model->version == 2) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a llama2.c checkpoint of version 2 (Q8_0 groups) is not supported",
                   file);
  }
  if (model->version != 1) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a llama2.c checkpoint of version %u is not known", file,
                   model->version);
  }
  if (size < HEADER_SIZE) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: truncated in its header of 256 bytes", file);
  if (!take_fields(start + FIELDS_OFFSET, model) || start[SHARED_OFFSET] > 1) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the header of this llama2.c checkpoint describes no model", file);
  }
  model->shared = start[SHARED_OFFSET];
  if (expected_size(model) != file_size) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %llu bytes where the header of this llama2.c checkpoint demands %llu",
                   file, (unsigned long long)file_size, (unsigned long long)expected_size(model));
  }
  return TQ_OK;
}

static tq_status read_header(tq_input *input, shape_of_model *model, tq_error *error) {
  const char *file = tq_input_name(input);
  uint64_t file_size = tq_input_size(input);
  uint8_t start[HEADER_SIZE];
  size_t size = file_size < HEADER_SIZE ? (size_t)file_size : HEADER_SIZE;
  tq_status status = tq_input_read(input, 0, start, size, error);
  if (status) return status;
  if (has_magic(start, size)) return read_versioned(file, start, size, file_size, model, error);
  if (is_legacy(start, size, file_size, model)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: not a llama2.c checkpoint: its size does not follow from its first 28 bytes", file);
}

/* ---- tensors and metadata ---- */

static char *layer_name(const char *pattern, uint32_t layer, tq_error *error) {
  const char *hole = strstr(pattern, "%u");
  if (!hole) return tq_copy_string(pattern, strlen(pattern), error);
  return tq_format_string(error, "%.*s%u%s", (int)(hole - pattern), pattern, layer, hole + 2);
}

static uint32_t adjacent_heads(const shape_of_model *model, const char *role) {
  if (strcmp(role, "layers.%u.q") == 0) return model->heads;
  if (strcmp(role, "layers.%u.k") == 0) return model->kv_heads;
  return 0;
}

static tq_status add_tensor(tq_checkpoint *checkpoint, size_t input, const shape_of_model *model, const stretch *part,
                            uint32_t layer, uint64_t *offset, tq_error *error) {
  uint64_t rows = model->measures[part->rows], columns = model->measures[part->columns];
  bool is_vector = part->rows == ONE;
  tq_source_tensor tensor = {.encoding = TQ_F32,
                             .block_elements = 1,
                             .block_bytes = 4,
                             .dimensions = is_vector ? 1 : 2,
                             .shape = {is_vector ? columns : rows, is_vector ? 0 : columns},
                             .input = input,
                             .offset = *offset,
                             .size = 4 * rows * columns,
                             .adjacent_heads = adjacent_heads(model, part->role)};
  *offset += tensor.size;
  tensor.name = layer_name(part->name, layer, error);
  tensor.role = tensor.name ? layer_name(part->role, layer, error) : NULL;
  tensor.type_name = tensor.role ? tq_copy_string("F32", 3, error) : NULL;
  tq_status status = tensor.type_name ? tq_checkpoint_add_tensor(checkpoint, &tensor, error) : TQ_ERROR_SYSTEM;
  if (status) {
    tq_free(tensor.name);
    tq_free(tensor.role);
    tq_free(tensor.type_name);
  }
  return status;
}

static tq_status add_tensors(tq_checkpoint *checkpoint, size_t input, const shape_of_model *model, tq_error *error) {
  size_t count;
  const stretch *order = order_of(model->version, &count);
  uint64_t offset = model->data_offset;
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < count; i++) {
    if (order[i].only_when_separate && model->shared) continue;
    if (!order[i].role) {
      offset += 4 * model->measures[order[i].rows] * model->measures[order[i].columns];
      continue;
    }
    for (uint32_t layer = 0; !status && layer < (order[i].per_layer ? model->layers : 1); layer++) {
      status = add_tensor(checkpoint, input, model, &order[i], layer, &offset, error);
    }
  }
  return status;
}

/* The file leaves out what llama2.c has as constants: the norms' epsilon and RoPE's base. */
static tq_status add_metadata(tq_checkpoint *checkpoint, const shape_of_model *model, tq_error *error) {
  const struct {
    const char *key;
    uint64_t value;
  } numbers[] = {{"llama.vocab_size", model->measures[VOCABULARY]},
                 {"llama.context_length", model->context},
                 {"llama.embedding_length", model->measures[DIMENSION]},
                 {"llama.block_count", model->layers},
                 {"llama.feed_forward_length", model->measures[HIDDEN]},
                 {"llama.attention.head_count", model->heads},
                 {"llama.attention.head_count_kv", model->kv_heads},
                 {"llama.rope.dimension_count", model->measures[DIMENSION] / model->heads}};
  tq_metadata_builder keys = {0};
  tq_status status = tq_metadata_add_string(&keys, "general.architecture", "llama", 5, error);
  for (size_t i = 0; !status && i < COUNT(numbers); i++) {
    status = tq_metadata_add_u32(&keys, numbers[i].key, (uint32_t)numbers[i].value, error);
  }
  if (!status) status = tq_metadata_add_f32(&keys, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error);
  if (!status) status = tq_metadata_add_f32(&keys, "llama.rope.freq_base", 10000.0f, error);
  if (!status) status = tq_checkpoint_set_metadata(checkpoint, &keys, error);
  tq_metadata_builder_free(&keys);
  return status;
}

/* ---- the tokenizer, which is another file ---- */

/* Looks beside the checkpoint: first for the file that names the vocabulary's size. *input is NULL when there is none.
 */
static tq_status find_tokenizer(tq_checkpoint *checkpoint, const char *name, uint64_t vocabulary, tq_input **input,
                                tq_error *error) {
  const char *slash = strrchr(name, '/');
  int parent = slash ? (int)(slash - name) + 1 : 0;
  char *sized = tq_format_string(error, "%.*stok%llu.bin", parent, name, (unsigned long long)vocabulary);
  char *plain = sized ? tq_format_string(error, "%.*stokenizer.bin", parent, name) : NULL;
  tq_status status = plain ? tq_folder_input(checkpoint->folder, sized, input, error) : TQ_ERROR_SYSTEM;
  if (!status && !*input) status = tq_folder_input(checkpoint->folder, plain, input, error);
  tq_free(sized);
  tq_free(plain);
  return status;
}

/* A tokenizer of another size would answer with ids that the model has no rows for, or leave rows without a token. */
static tq_status check_tokenizer(const tq_checkpoint *checkpoint, const char *file, uint64_t vocabulary,
                                 tq_error *error) {
  tq_tokenizer *tokenizer;
  tq_status status = tq_tokenizer_open(checkpoint->tokenizer, checkpoint->tokenizer_size, &tokenizer, error);
  if (status) return status;
  size_t tokens = tq_tokenizer_token_count(tokenizer);
  tq_tokenizer_close(tokenizer);
  if (tokens == vocabulary) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: %zu tokens, but the model's vocabulary has %llu", file, tokens,
                 (unsigned long long)vocabulary);
}

tq_status tq_llama2c_open_tokenizer(tq_checkpoint *checkpoint, const char *name, uint64_t vocabulary,
                                    const tq_open_options *options, tq_error *error) {
  tq_input *input = NULL;
  tq_status status = options->tokenizer_path ? tq_input_open(options->tokenizer_path, &input, error)
                                             : find_tokenizer(checkpoint, name, vocabulary, &input, error);
  if (status) return status;
  if (!input) {
    return tq_checkpoint_note(checkpoint, error, "no tokenizer: neither tok%llu.bin nor tokenizer.bin lies beside %s",
                              (unsigned long long)vocabulary, name);
  }
  status = tq_tokenizer_file_serialize(input, &checkpoint->tokenizer, &checkpoint->tokenizer_size, error);
  if (!status) status = check_tokenizer(checkpoint, tq_input_name(input), vocabulary, error);
  if (!status) status = tq_checkpoint_note(checkpoint, error, "the tokenizer is %s", tq_input_name(input));
  tq_input_close(input);
  return status;
}

/* ---- the whole ---- */

tq_status tq_llama2c_open(tq_checkpoint *checkpoint, const char *name, const tq_open_options *options,
                          tq_error *error) {
  tq_input *input;
  size_t index;
  tq_status status = tq_folder_input(checkpoint->folder, name, &input, error);
  if (status) return status;
  if (!input)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: there is no file %s", tq_folder_name(checkpoint->folder), name);
  status = tq_checkpoint_add_input(checkpoint, input, &index, error);
  if (status) {
    tq_input_close(input);
    return status;
  }
  shape_of_model model;
  status = read_header(input, &model, error);
  if (!status) status = add_metadata(checkpoint, &model, error);
  if (!status) status = add_tensors(checkpoint, index, &model, error);
  if (!status && !model.version) {
    status = tq_checkpoint_note(checkpoint, error,
                                "the RoPE tables in %s are not carried: they follow from its numbers", name);
  }
  return status ? status : tq_llama2c_open_tokenizer(checkpoint, name, model.measures[VOCABULARY], options, error);
}
