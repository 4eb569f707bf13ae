/* In which dialect ternary tensors are written. */
#include "base/bytes.h"
#include "formats/dialects/scales.h"
#include "formats/gguf/plan.h"
#include "formats/names.h"
#include "formats/source.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <string.h>

static bool is_ternary(const tq_gguf_plan *plan, size_t tensor) {
  return tq_tensor_is_ternary(tq_file_tensor(plan->file, tensor));
}

static size_t count_ternary(const tq_gguf_plan *plan) {
  size_t count = 0;
  for (size_t i = 0; i < tq_file_tensor_count(plan->file); i++) count += is_ternary(plan, i);
  return count;
}

/* ---- the smallest that is exact ---- */

/* A dialect that is read back without being told which it is. */
static bool may_be_default(const tq_dialect *dialect) {
  const tq_gguf_type *type = tq_gguf_type_of_dialect(dialect);
  return type && (dialect->is_unpacked || tq_gguf_type_dialect(type) == dialect);
}

/* Bytes of all ternary tensors; false when a shape does not go. */
static bool total_size(const tq_gguf_plan *plan, const tq_dialect *dialect, uint64_t *total) {
  uint64_t size;
  *total = 0;
  for (size_t i = 0; i < tq_file_tensor_count(plan->file); i++) {
    const tq_tensor *tensor = tq_file_tensor(plan->file, i);
    if (!is_ternary(plan, i)) continue;
    if (!tq_dialect_size(dialect, tensor->rows, tensor->columns, &size)) return false;
    if (!tq_add_u64(*total, size, total)) return false;
  }
  return true;
}

/* The place of a candidate among all: by size, then as the table has them. */
typedef struct candidate {
  const tq_dialect *dialect;
  uint64_t size;
  size_t index;
} candidate;

static bool is_after(const candidate *a, const candidate *b) {
  return a->size != b->size ? a->size > b->size : a->index > b->index;
}

/* Moves to the candidate that follows *at (dialect NULL: the first); false when there is none. */
static bool next_candidate(const tq_gguf_plan *plan, candidate *at) {
  candidate best = {0}, next = {0};
  for (; (next.dialect = tq_dialect_at(next.index)); next.index++) {
    if (!may_be_default(next.dialect) || !total_size(plan, next.dialect, &next.size)) continue;
    if (at->dialect && !is_after(&next, at)) continue;
    if (!best.dialect || is_after(&best, &next)) best = next;
  }
  *at = best;
  return best.dialect != NULL;
}

bool tq_gguf_is_kept_scale(const tq_gguf_plan *plan, size_t tensor) {
  static const char ending[] = "_scale";
  char role[TQ_ROLE_SIZE];
  const char *scale = tq_file_tensor(plan->file, tensor)->role;
  size_t length = strlen(scale), tail = sizeof ending - 1;
  if (length <= tail || length >= sizeof role || strcmp(scale + length - tail, ending) != 0) return false;
  snprintf(role, sizeof role, "%.*s", (int)(length - tail), scale);
  return tq_file_find_role(plan->file, role) != SIZE_MAX;
}

static bool is_all_zeros(const tq_tensor *tensor) { return tensor->trit_counts[1] == tensor->elements; }

/* Scales that are all 1 beside a tensor NAME.scale would be read as nothing but that one: two tensors would become one,
 * and the model another. Only plain floats come so. */
static tq_status refuse_to_fold(const tq_gguf_plan *plan, size_t index, const tq_dialect *dialect, tq_error *error) {
  const tq_tensor *tensor = tq_file_tensor(plan->file, index);
  char role[TQ_ROLE_SIZE + 8];
  uint8_t scale[4];
  bool fits;
  tq_scale_problem problem;
  snprintf(role, sizeof role, "%s_scale", tensor->role);
  size_t kept = tq_file_find_role(plan->file, role);
  if (dialect->is_unpacked || kept == SIZE_MAX || tq_file_tensor(plan->file, kept)->elements != 1) return TQ_OK;
  tq_status status = tq_scales_as_one(plan->file, index, TQ_F32, TQ_DIRECT, scale, &problem, &fits, error);
  if (status || !(is_all_zeros(tensor) || (fits && tq_scale_load(TQ_F32, TQ_DIRECT, scale, 0) == 1))) return status;
  return tq_fail(error, TQ_ERROR_REFUSED,
                 "%s: tensor %s: %s cannot hold it: its scales are 1, and %s would count instead", plan->name,
                 tensor->name, dialect->name, tq_file_tensor(plan->file, kept)->name);
}

static tq_status fits_plainly(const tq_gguf_plan *plan, size_t tensor, const tq_dialect *dialect, tq_error *error) {
  tq_status status = tq_dialect_fits(plan->file, tensor, &(tq_form){.dialect = dialect}, plan->team, error);
  return status ? status : refuse_to_fold(plan, tensor, dialect, error);
}

static tq_status fits_all(const tq_gguf_plan *plan, const tq_dialect *dialect, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tq_file_tensor_count(plan->file); i++) {
    if (is_ternary(plan, i)) status = fits_plainly(plan, i, dialect, error);
  }
  return status;
}

static tq_status choose_smallest(tq_gguf_plan *plan, size_t count, tq_buffer *notes, tq_error *error) {
  candidate at = {0};
  tq_status status = tq_fail(error, TQ_ERROR_REFUSED, "%s: no type of GGUF holds its ternary tensors", plan->name);
  while (status == TQ_ERROR_REFUSED && next_candidate(plan, &at)) status = fits_all(plan, at.dialect, error);
  if (status) return status;
  plan->dialect = at.dialect;
  char origin[64] = "";
  if (!at.dialect->is_unpacked) snprintf(origin, sizeof origin, " (%s)", at.dialect->origin);
  return tq_buffer_format(notes, error,
                          "ternary tensors are written as %s%s, the smallest type that is exact for all %zu of them; "
                          "--type chooses another\n",
                          at.dialect->name, origin, count);
}

/* ---- a tensor beside the weight ---- */

/* Of programs with types of their own, llama.cpp alone is known to multiply by such a tensor; for others the user says
 * so.
 */
static bool takes_scales(const tq_dialect *dialect) { return strcmp(dialect->origin, "llama.cpp") == 0; }

/* The name of the tensor that llama.cpp would multiply the product by; false when there is none, or it is there. */
static bool scale_name(const tq_gguf_plan *plan, const tq_tensor *tensor, char *name, size_t size) {
  char role[TQ_ROLE_SIZE + 8];
  snprintf(role, sizeof role, "%s_scale", tensor->role);
  return tq_gguf_architecture(tq_file_metadata(plan->file)) && tq_name_from_role(TQ_CARRIER_GGUF, role, name, size) &&
         tq_file_find_role(plan->file, role) == SIZE_MAX;
}

/* Codes with scales of 1 and one scale beside them: *fits says whether that is exact, and *form is that then. */
static tq_status try_unit_scales(const tq_gguf_plan *plan, size_t tensor, const tq_dialect *dialect, tq_form *form,
                                 bool *fits, tq_error *error) {
  tq_form tried = {.dialect = dialect, .has_unit_scales = true, .scale_encoding = TQ_F32};
  char name[TQ_ROLE_SIZE];
  tq_scale_problem problem;
  *fits = false;
  if (!scale_name(plan, tq_file_tensor(plan->file, tensor), name, sizeof name)) return TQ_OK;
  tq_status status = tq_dialect_fits(plan->file, tensor, &tried, plan->team, error);
  if (status) return status == TQ_ERROR_REFUSED ? TQ_OK : status;
  status = tq_scales_as_outer(plan->file, tensor, &tried, tried.scale, &problem, fits, error);
  if (!status && *fits) *form = tried;
  return status;
}

/* The dialect as it is, or where it takes scales with one beside it; TQ_ERROR_REFUSED says why not as it is. */
static tq_status find_form(const tq_gguf_plan *plan, size_t tensor, const tq_dialect *dialect, tq_form *form,
                           tq_error *error) {
  tq_error plain = {0};
  bool fits;
  *form = (tq_form){.dialect = dialect};
  tq_status status = fits_plainly(plan, tensor, dialect, &plain);
  if (status == TQ_ERROR_REFUSED && (plan->takes_scales || takes_scales(dialect))) {
    tq_status second = try_unit_scales(plan, tensor, dialect, form, &fits, error);
    if (second || fits) return second;
  }
  return status ? tq_fail(error, status, "%s", plain.message) : TQ_OK;
}

/* ---- the one that they came in ---- */

/* Plain floats belong to no format: they are GGUF's where the file came from one. */
static tq_status is_of_gguf(const tq_gguf_plan *plan, const tq_dialect *dialect, bool *is, tq_error *error) {
  char origin[64];
  size_t count;
  *is = strcmp(dialect->carrier, "gguf") == 0;
  if (!dialect->is_unpacked) return TQ_OK;
  tq_status status = tq_source_describe(plan->file, origin, sizeof origin, &count, error);
  *is = !status && strcmp(origin, "gguf") == 0;
  return status;
}

/* *came is NULL when they came in several, or in none of GGUF's. */
static tq_status find_came(const tq_gguf_plan *plan, const tq_dialect **came, tq_error *error) {
  bool is = false;
  *came = NULL;
  for (size_t i = 0; i < tq_file_tensor_count(plan->file); i++) {
    tq_form form;
    if (!is_ternary(plan, i)) continue;
    bool known = tq_form_from_name(tq_file_tensor(plan->file, i)->source_type, &form);
    if (!known || (*came && *came != form.dialect)) {
      *came = NULL;
      return TQ_OK;
    }
    *came = form.dialect;
  }
  tq_status status = is_of_gguf(plan, *came, &is, error);
  if (!is) *came = NULL;
  return status;
}

/* The plan's dialect stays NULL where they do not go back so. */
static tq_status choose_came(tq_gguf_plan *plan, tq_buffer *notes, tq_error *error) {
  const tq_dialect *came;
  tq_status status = find_came(plan, &came, error);
  if (status || !came) return status;
  for (size_t i = 0; !status && i < tq_file_tensor_count(plan->file); i++) {
    tq_form form;
    if (is_ternary(plan, i)) status = find_form(plan, i, came, &form, error);
  }
  if (status) return status == TQ_ERROR_REFUSED ? TQ_OK : status;
  plan->dialect = came;
  return tq_buffer_format(notes, error, "ternary tensors are written as %s, as they came; --type chooses another\n",
                          came->name);
}

/* ---- the choice ---- */

tq_status tq_gguf_plan_dialect(tq_gguf_plan *plan, const tq_write_options *options, tq_buffer *notes, tq_error *error) {
  size_t count = count_ternary(plan);
  plan->team = options->team;
  plan->takes_scales = options->takes_scales;
  if (options->type && !tq_gguf_type_of_dialect(options->type)) {
    return tq_fail(error, TQ_ERROR_USAGE, "%s is no type of GGUF files", options->type->name);
  }
  if (!count) return TQ_OK;
  plan->dialect = options->type;
  if (plan->dialect) return TQ_OK;
  tq_status status = choose_came(plan, notes, error);
  return status || plan->dialect ? status : choose_smallest(plan, count, notes, error);
}

/* ---- one tensor ---- */

/* Which dialects would hold with a scale beside it what `dialect` refuses for its scale alone: " (TQ1_0, TQ2_0 and Q2_0
 * hold it with a tensor .scale)", or nothing. */
static tq_status find_way_out(const tq_gguf_plan *plan, size_t tensor, const tq_dialect *dialect, char *text,
                              size_t size, tq_error *error) {
  const tq_dialect *holding[8], *other;
  size_t count = 0, used = 0;
  tq_form form;
  bool fits;
  *text = 0;
  tq_status status = try_unit_scales(plan, tensor, dialect, &form, &fits, error);
  for (size_t i = 0; !status && fits && (other = tq_dialect_at(i)); i++) {
    bool holds;
    if (!takes_scales(other)) continue;
    status = try_unit_scales(plan, tensor, other, &form, &holds, error);
    if (!status && holds && count < sizeof holding / sizeof *holding) holding[count++] = other;
  }
  for (size_t i = 0; i < count && used < size; i++) {
    const char *before = i == 0 ? " (" : i + 1 == count ? " and " : ", ";
    used += (size_t)snprintf(text + used, size - used, "%s%s", before, holding[i]->name);
  }
  if (count && used < size)
    snprintf(text + used, size - used, " hold%s it with a tensor .scale)", count > 1 ? "" : "s");
  return status;
}

tq_status tq_gguf_plan_ternary(const tq_gguf_plan *plan, bool must_be_f32, tq_gguf_planned *planned, tq_error *error) {
  const tq_dialect *dialect = must_be_f32 ? tq_dialect_of_floats(TQ_F32) : plan->dialect;
  tq_error refused = {0};
  char way_out[128];
  planned->type = tq_gguf_type_of_dialect(dialect);
  tq_status status = find_form(plan, planned->tensor, dialect, &planned->form, &refused);
  if (!status) return TQ_OK;
  if (status != TQ_ERROR_REFUSED) return tq_fail(error, status, "%s", refused.message);
  status = find_way_out(plan, planned->tensor, dialect, way_out, sizeof way_out, error);
  return status ? status : tq_fail(error, TQ_ERROR_REFUSED, "%s%s", refused.message, way_out);
}
