/* Operations of a forward pass that are more than a kernel (kernels/kernels.h): linear layers and the forms of their
 * input, rotation, embedding, RoPE's angles, cross entropy. Each works on one vector or a range of rows, so that the
 * caller decides what runs on which thread, and gives the same bits however the work is cut. The first lines of each
 * file give shapes and source; the backward of an operation belongs behind its forward in the same file. Operations
 * that are one kernel (norm, gates, residual, attention) have no file here; their backward passes get one, beside the
 * kernels' forwards. */
#ifndef TQ_OPS_OPS_H
#define TQ_OPS_OPS_H

#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* Blocks of a vector turned by a Walsh-Hadamard matrix, its signs flipped first. */
typedef struct tq_rotation {
  size_t block;       /* elements, a power of two that divides the vector */
  const float *signs; /* 1 or -1 per element; NULL: all 1 */
} tq_rotation;

/* y = H (signs * x), H being normalised in blocks: Hadamard matrices of Sylvester's order. `y` may be `x`. */
void tq_op_rotate(const tq_rotation *rotation, const float *x, size_t size, float *y);
/* The inverse: y = signs * (H x). */
void tq_op_rotate_back(const tq_rotation *rotation, const float *x, size_t size, float *y);

/* One linear layer: y = scale * (W T(x)) + bias. What later models add has its place in this order: adapters see x;
 * then the input transform (a rotation) and the quantization of activations give what the weight parts meet; the output
 * scale, the adapters' product and the bias come last. */
typedef struct tq_linear {
  tq_matrix weights;
  const tq_rotation *rotation; /* NULL: none */
  float output_scale;          /* 1: none */
  const float *bias;           /* [rows], or NULL */
} tq_linear;

/* The input of linear layers, in the forms that their weights meet. */
typedef struct tq_input {
  const float *plain; /* [vector][columns]: what adapters see */
  float *rotated;     /* the same, rotated: room for it where a layer has a rotation */
  tq_codes codes[2];  /* of plain and of rotated: room for them where activations are integers */
} tq_input;

/* Makes the forms that the layer needs of one vector. Layers that share an input share the forms: a form whose bit is
 * in *made is there already, and is then set. */
void tq_op_input(const tq_kernels *kernels, const tq_linear *linear, const tq_input *input, size_t vector,
                 unsigned *made);

/* y[count][rows] for the rows [begin, end), from the forms of `count` vectors; scratch is tq_linear_scratch(columns)
 * floats. Of ternary weights, `begin` is a multiple of TQ_PANEL_ROWS, and `end` is one or the number of rows. */
void tq_op_linear(const tq_kernels *kernels, const tq_linear *linear, uint64_t begin, uint64_t end,
                  const tq_input *input, size_t count, float *y, float *scratch);

/* y[size] = the embedding of `token`; scratch is tq_linear_scratch(columns) floats. */
void tq_op_embedding(const tq_matrix *embedding, uint32_t token, float *y, float *scratch);

/* cosines[pairs], sines[pairs] of position * frequencies[pair], times `magnitude`. */
void tq_op_rope_angles(const double *frequencies, size_t pairs, uint32_t position, double magnitude, float *cosines,
                       float *sines);

/* -log softmax(logits)[target], in double. */
double tq_op_cross_entropy(const float *logits, size_t size, size_t target);

#endif
