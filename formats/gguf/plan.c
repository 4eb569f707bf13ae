#include "formats/gguf/plan.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "formats/names.h"
#include "tq/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  NAME_LIMIT = 63,              /* ggml keeps names in 64 bytes, a NUL included */
  ROPE_DIMENSIONS_LIMIT = 65536 /* far above any head, so that a hostile number asks for no memory */
};

/* What goes into the notes, counted while planning. */
typedef struct plan_tally {
  size_t widened, unnamed, derived, scales, kept;
} plan_tally;

void tq_gguf_plan_free(tq_gguf_plan *plan) {
  for (size_t i = 0; i < plan->tensor_count; i++) tq_free(plan->tensors[i].name);
  tq_free(plan->tensors);
  tq_free(plan->rope_factors);
  tq_metadata_builder_free(&plan->keys);
  *plan = (tq_gguf_plan){0};
}

/* Takes over the tensor's name on success. */
static tq_status append(tq_gguf_plan *plan, const tq_gguf_planned *tensor, tq_error *error) {
  tq_status status =
      tq_grow((void **)&plan->tensors, &plan->tensor_capacity, plan->tensor_count + 1, sizeof *plan->tensors, error);
  if (!status) plan->tensors[plan->tensor_count++] = *tensor;
  return status;
}

static tq_status refuse(const tq_gguf_plan *plan, const tq_tensor *tensor, const char *reason, tq_error *error) {
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: GGUF cannot hold %s", plan->name, tensor->name, reason);
}

/* Frequencies that GGUF readers compute from the hyperparameters; of what is derived they take RoPE's factors only. */
static bool is_computed(const char *role) { return tq_role_is_derived(role) && strcmp(role, "rope_factors") != 0; }

/* llama.cpp computes with vectors and norms in F32 only, so its converter writes them so; no value changes. */
static bool must_be_f32(const tq_tensor *tensor, const char *name) {
  static const char norm[] = "_norm.weight";
  size_t size = strlen(name);
  return tensor->dimensions == 1 || (size >= sizeof norm && strcmp(name + size - (sizeof norm - 1), norm) == 0);
}

static tq_status choose_name(const tq_gguf_plan *plan, const tq_tensor *tensor, tq_gguf_planned *planned,
                             plan_tally *tally, tq_error *error) {
  char translated[TQ_ROLE_SIZE];
  const char *name = tensor->name;
  if (tq_gguf_architecture(tq_file_metadata(plan->file)) &&
      tq_name_from_role(TQ_CARRIER_GGUF, tensor->role, translated, sizeof translated))
    name = translated;
  else
    tally->unnamed++;
  if (strlen(name) > NAME_LIMIT) return refuse(plan, tensor, "a name of more than 63 bytes", error);
  planned->name = tq_copy_string(name, strlen(name), error);
  return planned->name ? TQ_OK : TQ_ERROR_SYSTEM;
}

/* What the bytes of a tensor in the .tq file say is one part, but for ternary weights: codes and scales, and a patch
 * that GGUF does not need. */
static bool has_other_parts(const tq_tensor *tensor) {
  if (!tq_tensor_is_ternary(tensor)) return tensor->part_count != 1 || tensor->parts[0].kind != TQ_PART_VALUES;
  for (size_t i = 0; i < tensor->part_count; i++) {
    uint32_t kind = tensor->parts[i].kind;
    if (kind != TQ_PART_VALUES && kind != TQ_PART_SCALES && kind != TQ_PART_PATCH) return true;
  }
  return false;
}

static tq_status choose_type(const tq_gguf_plan *plan, const tq_tensor *tensor, tq_gguf_planned *planned,
                             plan_tally *tally, tq_error *error) {
  if (has_other_parts(tensor)) {
    return refuse(plan, tensor, "a tensor of several parts (low-rank factors or rotation signs)", error);
  }
  if (tensor->dimensions < 1 || tensor->dimensions > TQ_GGUF_DIMENSIONS) {
    return refuse(plan, tensor, "a tensor without dimensions or with more than 4", error);
  }
  bool is_f32 = must_be_f32(tensor, planned->name);
  if (tq_tensor_is_ternary(tensor)) return tq_gguf_plan_ternary(plan, is_f32, planned, error);
  uint32_t encoding = tensor->parts[0].encoding;
  planned->type = tq_gguf_type_for(encoding, tensor->parts[0].type_name);
  if (!planned->type) {
    const tq_encoding_info *info = tq_encoding_find(encoding);
    const char *type_name = encoding == TQ_BLOCKS ? tensor->parts[0].type_name
                            : info                ? info->name
                                                  : "an unknown encoding";
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: GGUF cannot hold %s", plan->name, tensor->name, type_name);
  }
  if ((encoding == TQ_F16 || encoding == TQ_BF16) && is_f32) {
    planned->type = tq_gguf_type_for(TQ_F32, "");
    planned->widened = true;
    tally->widened++;
  }
  return TQ_OK;
}

/* The bytes that type and shape demand, which must be what the file holds, so that nothing is read past a part's end.
 */
static tq_status measure(const tq_gguf_plan *plan, const tq_tensor *tensor, tq_gguf_planned *planned, tq_error *error) {
  planned->dimensions = tensor->dimensions;
  memcpy(planned->shape, tensor->shape, sizeof planned->shape);
  const tq_part *part = &tensor->parts[0];
  const char *name = planned->type->name;
  bool fits;
  if (planned->form.dialect) {
    fits = tq_dialect_size(planned->form.dialect, tensor->rows, tensor->columns, &planned->size);
  } else {
    uint64_t held;
    const tq_gguf_type *type = tq_gguf_type_for(part->encoding, part->type_name);
    name = type->name;
    fits =
        tensor->columns % type->block_elements == 0 &&
        tq_multiply_u64(tensor->elements / type->block_elements, type->block_bytes, &held) && held == part->size &&
        tq_multiply_u64(tensor->elements / planned->type->block_elements, planned->type->block_bytes, &planned->size);
  }
  if (fits) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %llu bytes are not what its shape and type %s demand",
                 plan->name, tensor->name, (unsigned long long)part->size, name);
}

static tq_status choose_row_order(const tq_gguf_plan *plan, const tq_tensor *tensor, tq_gguf_planned *planned,
                                  tq_error *error) {
  tq_status status = tq_gguf_adjacent_heads(plan->name, tq_file_metadata(plan->file), tensor->name, tensor->role,
                                            tensor->shape[0], &planned->heads, error);
  if (status || !planned->heads) return status;
  bool is_plain = tensor->parts[0].encoding != TQ_BLOCKS && !planned->form.dialect;
  if (planned->dimensions > 2 || (planned->dimensions == 1 && !is_plain)) {
    return refuse(plan, tensor, "a q or k tensor of this shape and type in its own row order", error);
  }
  return TQ_OK;
}

/* The tensor that llama.cpp multiplies the weight's product by, right behind the weight. */
static tq_status plan_scale(tq_gguf_plan *plan, const tq_gguf_planned *weight, plan_tally *tally, tq_error *error) {
  char role[TQ_ROLE_SIZE + 8], name[TQ_ROLE_SIZE];
  snprintf(role, sizeof role, "%s_scale", tq_file_tensor(plan->file, weight->tensor)->role);
  if (!tq_name_from_role(TQ_CARRIER_GGUF, role, name, sizeof name)) return TQ_OK;
  tq_gguf_planned planned = {.tensor = weight->tensor,
                             .form = {.scale_encoding = TQ_F32},
                             .is_scale = true,
                             .type = tq_gguf_type_for(TQ_F32, ""),
                             .dimensions = 1,
                             .shape = {1},
                             .size = 4};
  memcpy(planned.form.scale, weight->form.scale, sizeof planned.form.scale);
  planned.name = tq_copy_string(name, strlen(name), error);
  if (!planned.name) return TQ_ERROR_SYSTEM;
  tally->scales++;
  tq_status status = append(plan, &planned, error);
  if (status) tq_free(planned.name);
  return status;
}

static tq_status plan_tensor(tq_gguf_plan *plan, size_t index, plan_tally *tally, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(plan->file, index);
  if (is_computed(tensor->role)) {
    tally->derived++;
    return TQ_OK;
  }
  tally->kept += tq_gguf_is_kept_scale(plan, index);
  tq_gguf_planned planned = {.tensor = index};
  tq_status status = choose_name(plan, tensor, &planned, tally, error);
  if (!status) status = choose_type(plan, tensor, &planned, tally, error);
  if (!status) status = measure(plan, tensor, &planned, error);
  if (!status) status = choose_row_order(plan, tensor, &planned, error);
  if (!status) status = append(plan, &planned, error);
  if (status) {
    tq_free(planned.name);
    return status;
  }
  return planned.form.has_unit_scales ? plan_scale(plan, &planned, tally, error) : TQ_OK;
}

/* ---- RoPE factors ---- */

bool tq_gguf_scales_like_llama3(const tq_metadata *metadata) {
  static const char middle[] = ".rope.scaling.type";
  char key[64 + sizeof middle];
  tq_string architecture = tq_metadata_string(metadata, "general.architecture");
  if (!architecture.data || architecture.size > 64) return false;
  memcpy(key, architecture.data, architecture.size);
  memcpy(key + architecture.size, middle, sizeof middle);
  tq_string type = tq_metadata_string(metadata, key);
  return type.size == 6 && memcmp(type.data, "llama3", 6) == 0;
}

/* Only the architecture "llama" has such a tensor among those that llama.cpp loads. */
static tq_status plan_rope_factors(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error) {
  if (!tq_gguf_scales_like_llama3(tq_file_metadata(plan->file))) return TQ_OK;
  if (tq_file_find_role(plan->file, "rope_factors") != SIZE_MAX) return TQ_OK;
  tq_hyperparameters parameters;
  tq_status status = tq_hyperparameters_read(tq_file_metadata(plan->file), &parameters, error);
  if (status) return status;
  if (strcmp(parameters.architecture, "llama") != 0 || parameters.rope_dimensions > ROPE_DIMENSIONS_LIMIT) {
    return tq_fail(error, TQ_ERROR_REFUSED,
                   "%s: GGUF cannot hold Llama-3 RoPE scaling of %u dimensions for architecture %s", plan->name,
                   parameters.rope_dimensions, parameters.architecture);
  }
  plan->rope_factor_count = parameters.rope_dimensions / 2;
  plan->rope_factors = tq_allocate(plan->rope_factor_count, sizeof *plan->rope_factors, error);
  if (!plan->rope_factors) return TQ_ERROR_SYSTEM;
  tq_rope_factors(&parameters, plan->rope_factors);
  static const char name[] = "rope_freqs.weight";
  tq_gguf_planned planned = {.tensor = SIZE_MAX,
                             .type = tq_gguf_type_for(TQ_F32, ""),
                             .dimensions = 1,
                             .shape = {plan->rope_factor_count},
                             .size = 4 * (uint64_t)plan->rope_factor_count};
  planned.name = tq_copy_string(name, sizeof name - 1, error);
  if (!planned.name) return TQ_ERROR_SYSTEM;
  status = append(plan, &planned, error);
  if (status) {
    tq_free(planned.name);
    return status;
  }
  return tq_buffer_format(notes, error, "Llama-3 RoPE scaling is written as the tensor %s\n", name);
}

/* ---- the whole ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tq_status check_names(const tq_gguf_plan *plan, tq_error *error) {
  if (plan->tensor_count < 2) return TQ_OK;
  const char **names = tq_allocate(plan->tensor_count, sizeof *names, error);
  if (!names) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < plan->tensor_count; i++) names[i] = plan->tensors[i].name;
  qsort(names, plan->tensor_count, sizeof *names, compare_names);
  tq_status status = TQ_OK;
  for (size_t i = 1; !status && i < plan->tensor_count; i++) {
    if (strcmp(names[i - 1], names[i]) != 0) continue;
    status = tq_fail(error, TQ_ERROR_REFUSED, "%s: two tensors would both be called %s", plan->name, names[i]);
  }
  tq_free(names);
  return status;
}

static long layer_of(const tq_gguf_planned *tensor) {
  static const char start[] = "blk.";
  bool in_layer = strncmp(tensor->name, start, sizeof start - 1) == 0;
  return in_layer ? strtol(tensor->name + sizeof start - 1, NULL, 10) : -1;
}

static int compare_places(const void *a, const void *b) {
  const tq_gguf_planned *x = a, *y = b;
  long x_layer = layer_of(x), y_layer = layer_of(y);
  return x_layer != y_layer ? (x_layer > y_layer) - (x_layer < y_layer) : strcmp(x->name, y->name);
}

/* llama-quantize sorts the tensors that it writes, and so does what was forked from it since; ik_llama.cpp's keeps the
 * order of the source. */
static void order_tensors(tq_gguf_plan *plan) {
  bool keeps = !plan->dialect || plan->dialect->is_unpacked || strcmp(plan->dialect->origin, "ik_llama.cpp") == 0;
  if (keeps || !tq_gguf_types_change(plan)) return;
  qsort(plan->tensors, plan->tensor_count, sizeof *plan->tensors, compare_places);
}

static tq_status place_tensors(tq_gguf_plan *plan, tq_error *error) {
  uint64_t offset = 0;
  for (size_t i = 0; i < plan->tensor_count; i++) {
    plan->tensors[i].offset = offset;
    if (!tq_add_u64(offset, plan->tensors[i].size, &offset) || !tq_align_u64(offset, plan->alignment, &offset)) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: the tensors' sizes overflow", plan->name);
    }
  }
  return TQ_OK;
}

static tq_status note_tally(const tq_gguf_plan *plan, const plan_tally *tally, tq_buffer *notes, tq_error *error) {
  tq_status status = TQ_OK;
  if (tally->scales) {
    status = tq_buffer_format(notes, error,
                              "warning: %zu tensors have a scale that %s cannot hold, and a tensor NAME.scale each for "
                              "it: a reader that ignores these (llama.cpp before 2026, its forks) PRINTS GARBAGE\n",
                              tally->scales, plan->dialect->name);
    if (status) return status;
  }
  if (tally->kept) {
    status = tq_buffer_format(notes, error,
                              "warning: %zu tensors NAME.scale multiply what their weights give: a reader that ignores "
                              "these (llama.cpp before 2026, its forks) PRINTS GARBAGE\n",
                              tally->kept);
    if (status) return status;
  }
  if (tally->widened) {
    status = tq_buffer_format(notes, error,
                              "%zu vectors and norms are written as F32, value for value, as llama.cpp needs them\n",
                              tally->widened);
  }
  if (!status && tally->derived) {
    status = tq_buffer_format(notes, error,
                              "%zu tensors of RoPE frequencies are not written: they follow from the metadata\n",
                              tally->derived);
  }
  if (!status && tally->unnamed) {
    status = tq_buffer_format(notes, error, "%zu tensors keep their own names, for GGUF has none for them\n",
                              tally->unnamed);
  }
  return status;
}

tq_status tq_gguf_plan_make(const tq_file *file, const tq_write_options *options, tq_gguf_plan *plan, tq_buffer *notes,
                            tq_error *error) {
  tq_file_info info;
  plan_tally tally = {0};
  tq_file_describe(file, &info);
  plan->file = file;
  plan->name = info.path;
  tq_status status = tq_gguf_alignment(plan->name, tq_file_metadata(file), &plan->alignment, error);
  if (!status) status = plan_rope_factors(plan, notes, error);
  if (!status) status = tq_gguf_plan_dialect(plan, options, notes, error);
  for (size_t i = 0; !status && i < tq_file_tensor_count(file); i++) status = plan_tensor(plan, i, &tally, error);
  if (!status) status = check_names(plan, error);
  if (!status) order_tensors(plan);
  if (!status) status = place_tensors(plan, error);
  if (!status) status = tq_gguf_plan_keys(plan, notes, error);
  return status ? status : note_tally(plan, &tally, notes, error);
}
