/* Ternary models as Hugging Face folders, for the suites about reading and about writing them. */
#ifndef TQ_TESTS_HF_TERNARY_H
#define TQ_TESTS_HF_TERNARY_H

#include "hf_support.h"

#include <jansson.h>

/* ---- any safetensors file ---- */

/* A tensor with its bytes; freed by hf_free_blobs. */
typedef struct hf_blob {
  char name[96];
  const char *type; /* "U8", "F32", ... */
  uint32_t dimensions;
  uint64_t shape[2];
  uint8_t *data;
  size_t size;
} hf_blob;

/* Writes the blobs as FOLDER/NAME, in the order that the format's own library has. */
void hf_put_blobs(const char *folder, const char *name, const hf_blob *blobs, size_t count);
void hf_free_blobs(hf_blob *blobs, size_t count);
/* `count` floats in a type, F32, F16 or BF16, rounded: freed by free(). */
uint8_t *hf_floats(const char *type, const float *values, size_t count, size_t *size);

/* ---- a model with ternary layers: dimension 256, one layer, 4 heads, 2 of them for keys, feed-forward 512, 16 tokens;
 * embedding, head and norms are random BF16 ---- */

typedef struct hf_ternary {
  const char *keys;          /* of config.json, behind the sizes: ",\"model_type\":\"llama\"" */
  const char *scale_type;    /* of the weight_scale; NULL: the layers are not packed */
  const char *float_type;    /* of layers that are not packed */
  float scale;               /* what the weight_scale says, or what trits are multiplied by; layer k has k / 64 more */
  bool divides;              /* the weights are trits divided by scales, not multiplied */
  bool stores_inverse;       /* the weight_scale says the inverse */
  const char *norm_names[2]; /* of the sub-norms within self_attn and mlp; NULL: none */
  bool qk_norms, qkv_biases;
  bool tied;
  bool latent;            /* the layers are random floats */
  bool ternary_ends;      /* embedding and head are ternary floats */
  bool by_rows;           /* each row has its own scale; not packed */
  const char *not_packed; /* a part of the name of layers that are floats nonetheless */
} hf_ternary;

enum { HF_LAYER_COUNT = 7, HF_TERNARY_MOST = 32 };
/* The layers' names without ".weight": q, k, v, o, gate, up, down. */
extern const char *const hf_layers[HF_LAYER_COUNT];

/* The tensors of the model; the number of them. */
size_t hf_make_ternary(const hf_ternary *model, hf_blob blobs[HF_TERNARY_MOST]);
/* FOLDER with config.json and model.safetensors. */
void hf_put_ternary(const char *folder, const hf_ternary *model);
/* The same in two shards: scales, and half of the rest, lie in the second. */
void hf_put_ternary_shards(const char *folder, const hf_ternary *model);

/* Keys of config.json. */
#define HF_LLAMA ",\"model_type\":\"llama\""
#define HF_BITNET ",\"model_type\":\"bitnet\",\"architectures\":[\"BitNetForCausalLM\"],\"hidden_act\":\"relu2\""
#define HF_PACKED(more) HF_LLAMA ",\"quantization_config\":{\"quant_method\":\"bitnet\"" more "}"
#define HF_AUTOMATIC ",\"linear_class\":\"autobitlinear\",\"quantization_mode\":\"offline\""
#define HF_SUB_NORMS                                                                                                   \
  { "attn_sub_norm", "ffn_sub_norm" }
#define HF_Q "model.layers.0.self_attn.q_proj"

/* One model in three forms: scales as published ones are, inverted, BF16, no power of two; the same weights multiplied;
 * and unpacked. */
extern const hf_ternary hf_inverted, hf_direct, hf_unpacked;
/* A model whose layers are the floats that it was trained with. */
extern const hf_ternary hf_latent;

/* ---- taking models through files below temporary_folder() ---- */

/* True when one of the lines has the text; otherwise they are printed. */
bool hf_has_text(const tq_buffer *lines, const char *text);
/* NULL when there is none. */
const tq_source_tensor *hf_tensor_named(const tq_checkpoint *checkpoint, const char *name);
/* Takes a checkpoint in, closes it, and verifies what came of it. */
tq_file *hf_import_opened(tq_checkpoint *checkpoint, const char *name);
tq_file *hf_import_folder(const char *folder, const char *name);
/* Fails the test unless the digests of weights and function are equal. */
void hf_same_weights(const tq_file *a, const tq_file *b);
/* Writes FILE as `format` in the type named (NULL: none) and takes what comes of it in again. `notes` may be NULL. */
tq_file *hf_there_and_back(const tq_file *file, const char *format, const char *type, const char *name,
                           tq_buffer *notes);
/* The JSON of a file, freed by json_decref. */
json_t *hf_config_of(const char *path);

#endif
