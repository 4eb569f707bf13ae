#include "formats/hf/forms.h"

#include "base/memory.h"
#include "formats/dialects/scales.h"
#include "formats/hf/quantization.h"
#include "formats/names.h"

#include <stdio.h>
#include <string.h>

void tq_hf_forms_free(tq_hf_forms *forms) { tq_free(forms->of); }

bool tq_hf_is_packed(const tq_dialect *dialect) { return dialect && dialect->scale_place == TQ_SCALE_IN_A_TENSOR; }

static bool is_hf(const tq_dialect *dialect) { return strcmp(dialect->carrier, "hf") == 0 || dialect->is_unpacked; }

/* ---- one tensor ---- */

static const tq_dialect *source_dialect(const tq_tensor *tensor) {
  tq_form form;
  return tq_form_from_name(tensor->source_type, &form) && !form.has_unit_scales ? form.dialect : NULL;
}

/* Transformers packs linear layers; what came packed is one, whatever its name. */
static bool is_packable(const tq_tensor *tensor) {
  size_t linear;
  return tensor->dimensions == 2 &&
         (tq_role_is_linear(tensor->role, &linear) || tq_hf_is_packed(source_dialect(tensor)));
}

/* The weight_scale: in the type it came in if that says it exactly, else in the smaller. */
static tq_status find_scale(const tq_file *file, size_t index, tq_form *form, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(file, index);
  tq_scale_table table;
  tq_scale_problem problem;
  uint32_t encodings[] = {TQ_BF16, TQ_BF16, TQ_F32};
  bool fits = false;
  tq_status status = TQ_OK;
  if (tq_scale_table_of(tensor, &table)) encodings[0] = table.encoding;
  form->scale_direction = form->dialect->direction;
  for (size_t i = 0; !status && !fits && i < sizeof encodings / sizeof *encodings; i++) {
    form->scale_encoding = encodings[i];
    status = tq_scales_as_outer(file, index, form, form->scale, &problem, &fits, error);
  }
  if (status || fits) return status;
  tq_file_info info;
  tq_file_describe(file, &info);
  return tq_fail(error, TQ_ERROR_REFUSED, "%s: tensor %s: %s cannot hold it: row %llu, column %llu: %s", info.path,
                 tensor->name, form->dialect->name, (unsigned long long)problem.row, (unsigned long long)problem.column,
                 problem.reason);
}

static tq_status fit(const tq_file *file, size_t index, const tq_dialect *dialect, tq_team *team, tq_form *form,
                     tq_error *error) {
  *form = (tq_form){.dialect = dialect};
  tq_status status = tq_dialect_fits(file, index, form, team, error);
  return status || !tq_hf_is_packed(dialect) ? status : find_scale(file, index, form, error);
}

/* The smallest floats that are exact; those of F32 say why, where none are. */
static tq_status fit_floats(const tq_file *file, size_t index, tq_team *team, tq_form *form, tq_error *error) {
  const tq_dialect *dialect;
  tq_status status = TQ_ERROR_REFUSED;
  for (size_t i = 0; status == TQ_ERROR_REFUSED && (dialect = tq_dialect_at(i)); i++) {
    if (dialect->is_unpacked) status = fit(file, index, dialect, team, form, error);
  }
  return status;
}

/* ---- all of them ---- */

static tq_status fit_all(const tq_file *file, const tq_dialect *type, tq_team *team, tq_form *of, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (!tq_tensor_is_ternary(tensor)) continue;
    if (tq_hf_is_packed(type) && !is_packable(tensor))
      status = fit_floats(file, i, team, &of[i], error);
    else
      status = fit(file, i, type, team, &of[i], error);
  }
  return status;
}

typedef struct kinds {
  size_t ternary, packable;
  const tq_dialect *preferred; /* of those that pack: as the first came that did, or as the first scales are; or NULL */
} kinds;

/* The packed form whose scales have the direction that the tensor's have. */
static const tq_dialect *dialect_of_scales(const tq_tensor *tensor) {
  tq_scale_table table;
  if (!tq_scale_table_of(tensor, &table)) return NULL;
  return tq_dialect_find(table.direction == TQ_INVERTED ? "bitlinear" : "autobitlinear");
}

static kinds count_kinds(const tq_file *file) {
  kinds found = {0};
  const tq_dialect *came = NULL, *scaled = NULL;
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (!tq_tensor_is_ternary(tensor)) continue;
    found.ternary++;
    if (!is_packable(tensor)) continue;
    found.packable++;
    if (!came && tq_hf_is_packed(source_dialect(tensor))) came = source_dialect(tensor);
    if (!scaled) scaled = dialect_of_scales(tensor);
  }
  found.preferred = came ? came : scaled;
  return found;
}

/* Tries the table's rows, those that pack first, and of these the one that is preferred. */
static tq_status find_type(const tq_file *file, const kinds *found, tq_team *team, tq_hf_forms *forms,
                           tq_error *error) {
  const tq_dialect *type;
  tq_status status = TQ_ERROR_REFUSED;
  if (found->preferred) {
    forms->type = found->preferred;
    status = fit_all(file, forms->type, team, forms->of, error);
  }
  for (size_t i = 0; status == TQ_ERROR_REFUSED && (type = tq_dialect_at(i)); i++) {
    if (!is_hf(type) || type == found->preferred || (tq_hf_is_packed(type) && !found->packable)) continue;
    forms->type = type;
    status = fit_all(file, type, team, forms->of, error);
  }
  return status;
}

static tq_status check_type(const tq_file *file, const tq_dialect *type, const kinds *found, tq_error *error) {
  if (!is_hf(type)) {
    return tq_fail(error, TQ_ERROR_USAGE, "%s is no type of Hugging Face folders", type->name);
  }
  if (tq_hf_is_packed(type) && !found->packable) {
    tq_file_info info;
    tq_file_describe(file, &info);
    return tq_fail(error, TQ_ERROR_REFUSED, "%s: %s packs linear layers, and none here is ternary", info.path,
                   type->name);
  }
  return TQ_OK;
}

/* ---- telling ---- */

static tq_status note_type(const tq_file *file, const tq_hf_forms *forms, const kinds *found, bool is_asked,
                           tq_buffer *notes, tq_error *error) {
  size_t apart = 0;
  const tq_dialect *floats = NULL;
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    if (!forms->of[i].dialect || forms->of[i].dialect == forms->type) continue;
    apart++;
    floats = forms->of[i].dialect;
  }
  tq_status status =
      tq_buffer_format(notes, error, "ternary tensors are written as %s%s\n", forms->type->name,
                       is_asked ? "" : ", the smallest type that is exact for all of them; --type chooses another");
  if (status || !apart) return status;
  return tq_buffer_format(notes, error,
                          "%zu of %zu ternary tensors are no linear layers, which alone are packed: they are "
                          "written as %s\n",
                          apart, found->ternary, floats->name);
}

tq_status tq_hf_forms_choose(const tq_file *file, const tq_write_options *options, tq_hf_forms *forms, tq_buffer *notes,
                             tq_error *error) {
  kinds found = count_kinds(file);
  forms->of = tq_allocate(tq_file_tensor_count(file), sizeof *forms->of, error);
  if (!forms->of) return TQ_ERROR_SYSTEM;
  if (options->type) {
    tq_status status = check_type(file, options->type, &found, error);
    if (status) return status;
  }
  if (!found.ternary) return TQ_OK;
  tq_status status;
  if (options->type) {
    forms->type = options->type;
    status = fit_all(file, forms->type, options->team, forms->of, error);
  } else {
    status = find_type(file, &found, options->team, forms, error);
  }
  return status ? status : note_type(file, forms, &found, options->type != NULL, notes, error);
}
