/* Pairs of a packed weight and its scale become one tensor. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/scales.h"
#include "formats/hf/quantization.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char weight_end[] = ".weight", scale_end[] = ".weight_scale";

typedef struct pairing {
  tq_checkpoint *checkpoint;
  const char *name;                       /* of the config.json, for messages */
  const tq_hf_quantization *quantization; /* what is declared */
  const tq_source_tensor **sorted;        /* the tensors by name */
  tq_hf_packed *packed;                   /* room for one a tensor */
  size_t count;
  bool *removed; /* by tensor */
  tq_error *error;
} pairing;

static tq_status refuse(const pairing *self, const tq_source_tensor *tensor, const char *reason) {
  return tq_fail(self->error, TQ_ERROR_CORRUPT, "%s: tensor %s: %s",
                 tq_input_name(self->checkpoint->inputs[tensor->input]), tensor->name, reason);
}

/* ---- finding them ---- */

/* Length of the module's name, or 0 when the tensor's name does not end so. */
static size_t module_length(const char *name, const char *end) {
  size_t length = strlen(name), tail = strlen(end);
  return length > tail && strcmp(name + length - tail, end) == 0 ? length - tail : 0;
}

static int compare_names(const void *a, const void *b) {
  const tq_source_tensor *const *x = a, *const *y = b;
  return strcmp((*x)->name, (*y)->name);
}

static int compare_with_name(const void *name, const void *tensor) {
  return strcmp(name, (*(const tq_source_tensor *const *)tensor)->name);
}

/* The tensor of a module with that end to its name, or NULL. */
static const tq_source_tensor *find(const pairing *self, const char *module, size_t length, const char *end) {
  char name[TQ_ROLE_SIZE];
  int size = snprintf(name, sizeof name, "%.*s%s", (int)length, module, end);
  if (size < 0 || (size_t)size >= sizeof name) return NULL;
  const tq_source_tensor *const *found =
      bsearch(name, self->sorted, self->checkpoint->tensor_count, sizeof *self->sorted, compare_with_name);
  return found ? *found : NULL;
}

static tq_status sort_names(pairing *self) {
  size_t count = self->checkpoint->tensor_count;
  self->sorted = tq_allocate(count, sizeof *self->sorted, self->error);
  self->packed = tq_allocate(count, sizeof *self->packed, self->error);
  self->removed = tq_allocate(count, sizeof *self->removed, self->error);
  if (!self->sorted || !self->packed || !self->removed) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < count; i++) self->sorted[i] = &self->checkpoint->tensors[i];
  qsort(self->sorted, count, sizeof *self->sorted, compare_names);
  return TQ_OK;
}

/* U8 tensors are no weights of this method unless one of them has a scale, or a config.json says that they are. */
static bool has_pairs(const pairing *self) {
  const tq_checkpoint *checkpoint = self->checkpoint;
  if (self->quantization->is_bitnet) return true;
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[i];
    size_t length = module_length(tensor->name, weight_end);
    if (tensor->encoding == TQ_U8 && length && find(self, tensor->name, length, scale_end)) return true;
  }
  return false;
}

/* ---- checking and joining them ---- */

static tq_status read_scale(pairing *self, const tq_source_tensor *scale, tq_hf_packed *packed) {
  uint32_t encoding = scale->encoding;
  if (encoding != TQ_F32 && encoding != TQ_F16 && encoding != TQ_BF16) {
    return refuse(self, scale, "a weight_scale is F32, F16 or BF16");
  }
  if (scale->dimensions != 1 || scale->shape[0] != 1) return refuse(self, scale, "a weight_scale is one number");
  packed->scale_encoding = encoding;
  tq_status status = tq_input_read(self->checkpoint->inputs[scale->input], scale->offset, packed->scale,
                                   (size_t)scale->size, self->error);
  if (status) return status;
  /* Which way it is meant is decided later; it must be a scale both ways. */
  if (!tq_is_weight_scale(encoding, packed->scale)) {
    return refuse(self, scale, "its value is no scale: zero, infinite, not a number, or too small to divide by");
  }
  return TQ_OK;
}

static tq_status check_weight(const pairing *self, const tq_source_tensor *weight, size_t length) {
  const tq_dialect *dialect = tq_dialect_find("bitlinear");
  char reason[160];
  uint64_t rows;
  if (self->quantization->is_online) {
    return refuse(self, weight, "it is packed, but quantization_mode is \"online\", where weights are floats");
  }
  if (self->quantization->is_bitnet && tq_hf_quantization_keeps(self->quantization, weight->name, length)) {
    return refuse(self, weight, "it is packed, but modules_to_not_convert has it");
  }
  if (weight->dimensions != 2) return refuse(self, weight, "a packed weight has two dimensions");
  if (!tq_multiply_u64(weight->shape[0], 4, &rows)) return refuse(self, weight, "its rows overflow");
  if (tq_dialect_shape_problem(dialect, rows, weight->shape[1], reason, sizeof reason)) {
    return refuse(self, weight, reason);
  }
  return TQ_OK;
}

static tq_status join(pairing *self, const tq_source_tensor *weight, const tq_source_tensor *scale, size_t length) {
  tq_hf_packed *packed = &self->packed[self->count++];
  packed->tensor = (size_t)(weight - self->checkpoint->tensors);
  self->removed[scale - self->checkpoint->tensors] = true;
  tq_status status = check_weight(self, weight, length);
  return status ? status : read_scale(self, scale, packed);
}

static tq_status pair_tensor(pairing *self, const tq_source_tensor *tensor) {
  size_t length = module_length(tensor->name, scale_end);
  if (length) {
    const tq_source_tensor *weight = find(self, tensor->name, length, weight_end);
    if (!weight) return refuse(self, tensor, "there is no weight that it is the scale of");
    if (weight->encoding != TQ_U8)
      return refuse(self, tensor, "the weight that it is the scale of is not packed in U8");
    return TQ_OK;
  }
  length = module_length(tensor->name, weight_end);
  if (tensor->encoding != TQ_U8 || !length) return TQ_OK;
  const tq_source_tensor *scale = find(self, tensor->name, length, scale_end);
  return scale ? join(self, tensor, scale, length)
               : refuse(self, tensor, "it is packed in U8, and has no weight_scale");
}

static tq_status pair_all(pairing *self) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < self->checkpoint->tensor_count; i++) {
    status = pair_tensor(self, &self->checkpoint->tensors[i]);
  }
  return status;
}

/* ---- what comes of them ---- */

static tq_status give_form(pairing *self, const tq_hf_packed *packed, const tq_dialect *dialect) {
  tq_source_tensor *tensor = &self->checkpoint->tensors[packed->tensor];
  char text[64];
  tensor->form =
      (tq_form){.dialect = dialect, .scale_encoding = packed->scale_encoding, .scale_direction = dialect->direction};
  memcpy(tensor->form.scale, packed->scale, sizeof tensor->form.scale);
  tensor->encoding = 0;
  tensor->shape[0] *= 4;
  tq_form_name(&tensor->form, text, sizeof text);
  char *name = tq_copy_string(text, strlen(text), self->error);
  if (!name) return TQ_ERROR_SYSTEM;
  tq_free(tensor->type_name);
  tensor->type_name = name;
  return TQ_OK;
}

static tq_status pack(pairing *self, const tq_open_options *options) {
  const tq_dialect *dialect;
  tq_status status = pair_all(self);
  if (status || !self->count) return status;
  status = tq_hf_decide_direction(self->checkpoint, self->name, self->quantization, options, self->packed, self->count,
                                  &dialect, self->error);
  for (size_t i = 0; !status && i < self->count; i++) status = give_form(self, &self->packed[i], dialect);
  if (!status) tq_checkpoint_remove_tensors(self->checkpoint, self->removed);
  return status;
}

tq_status tq_hf_pack(tq_checkpoint *checkpoint, const char *name, const tq_hf_quantization *quantization,
                     const tq_open_options *options, tq_error *error) {
  pairing self = {.checkpoint = checkpoint, .name = name, .quantization = quantization, .error = error};
  tq_status status = sort_names(&self);
  if (!status && has_pairs(&self)) status = pack(&self, options);
  tq_free(self.sorted);
  tq_free(self.packed);
  tq_free(self.removed);
  return status;
}
