/* What the types of a GGUF file leave open, decided from evidence or by the user. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/dialects/scales.h"
#include "formats/dialects/trits.h"
#include "formats/gguf/tensors.h"
#include "formats/names.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  TYPE_I2_S = 36,
  TYPE_TL1 = 38,
  TYPE_MXFP4_OR_TL2 = 39,
  TYPE_Q2_0 = 42,
  TYPE_PQ2_0_OR_IQ2_TN = 142,
  TYPE_PTQ1_0_OR_IQ1_TN = 143,
  READ_BYTES = 256 * 1024
};

static const char *file_of(const tq_checkpoint *checkpoint, const tq_gguf_found *found) {
  return tq_input_name(checkpoint->inputs[found->input]);
}

/* The first tensor of a type, or NULL. */
static const tq_gguf_found *first_of(const tq_gguf_tensors *tensors, uint32_t type) {
  for (size_t i = 0; i < tensors->count; i++) {
    if (tensors->items[i].type->id == type) return &tensors->items[i];
  }
  return NULL;
}

static void set_dialect(tq_gguf_tensors *tensors, uint32_t type, const tq_dialect *dialect) {
  for (size_t i = 0; i < tensors->count; i++) {
    if (tensors->items[i].type->id == type) tensors->items[i].form.dialect = dialect;
  }
}

/* ---- what a tensor's place shows ---- */

/* True when `size` bytes are what the tensor's place holds: data is padded to the alignment, but the last of a file
 * need not be. */
static bool fills_its_place(const tq_gguf_found *found, uint64_t size) {
  uint64_t end, aligned;
  if (!tq_add_u64(found->info.offset, size, &end) || !tq_align_u64(end, found->alignment, &aligned)) return false;
  return found->is_last ? end <= found->end && found->end <= aligned : found->end == aligned;
}

typedef struct evidence {
  size_t tensors, fitting;
  const tq_gguf_found *misfit; /* the first */
} evidence;

static evidence look_at(const tq_gguf_tensors *tensors, uint32_t type, const tq_dialect *dialect) {
  evidence result = {0};
  for (size_t i = 0; i < tensors->count; i++) {
    const tq_gguf_found *found = &tensors->items[i];
    uint64_t rows, columns, size;
    if (found->type->id != type) continue;
    bool fits = tq_gguf_matrix_of(&found->info, &rows, &columns) && tq_dialect_size(dialect, rows, columns, &size) &&
                fills_its_place(found, size);
    result.tensors++;
    result.fitting += fits;
    if (!fits && !result.misfit) result.misfit = found;
  }
  return result;
}

/* ---- type 42: groups of 64 or of 128 ---- */

/* The two readings, the one that is taken first. */
typedef struct q2_readings {
  const tq_dialect *dialects[2];
  evidence shown[2];
} q2_readings;

static unsigned block_bytes(const tq_dialect *dialect) { return (unsigned)dialect->unit_bytes(1, dialect->group); }

static tq_status fail_q2(const tq_checkpoint *checkpoint, const q2_readings *readings, uint32_t override,
                         tq_error *error) {
  size_t better = readings->shown[1].fitting > readings->shown[0].fitting && !override;
  const evidence *shown = readings->shown;
  const tq_gguf_found *misfit = shown[better].misfit;
  const tq_dialect *const *dialects = readings->dialects;
  char asked[64] = "";
  if (override) snprintf(asked, sizeof asked, "not groups of %u, as --q2-group says: ", override);
  return tq_fail(
      error, TQ_ERROR_CORRUPT,
      "%s: tensor %s: type Q2_0 (42): %s%llu bytes lie up to what follows; of %zu such tensors, blocks of %u "
      "bytes for %u weights fit %zu, and those of %u bytes for %u fit %zu (--q2-group 64 or 128 is taken "
      "where it fits all)",
      file_of(checkpoint, misfit), misfit->name, asked, (unsigned long long)(misfit->end - misfit->info.offset),
      shown->tensors, block_bytes(dialects[0]), dialects[0]->group, shown[0].fitting, block_bytes(dialects[1]),
      dialects[1]->group, shown[1].fitting);
}

static tq_status say_q2(tq_checkpoint *checkpoint, const q2_readings *readings, tq_error *error) {
  const tq_dialect *taken = readings->dialects[0], *other = readings->dialects[1];
  const evidence *shown = readings->shown;
  if (!shown[1].misfit) {
    return tq_checkpoint_reading(checkpoint, error,
                                 "type 42 is Q2_0 with groups of %u, as --q2-group says: offsets and sizes of all %zu "
                                 "tensors fit groups of %u too",
                                 taken->group, shown->tensors, other->group);
  }
  char count[32] = "none";
  if (shown[1].fitting) snprintf(count, sizeof count, "%zu of them", shown[1].fitting);
  return tq_checkpoint_reading(checkpoint, error,
                               "type 42 is Q2_0 with groups of %u: offsets and sizes of all %zu tensors fit blocks of "
                               "%u bytes for %u weights, those of %u bytes for %u fit %s",
                               taken->group, shown->tensors, block_bytes(taken), taken->group, block_bytes(other),
                               other->group, count);
}

/* llama.cpp's groups have 64 weights; files that PrismML's fork wrote before it had a type of its own have 128. */
static tq_status decide_q2(tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, uint32_t override, tq_error *error) {
  const tq_gguf_found *first = first_of(tensors, TYPE_Q2_0);
  if (override && override != 64 && override != 128) {
    return tq_fail(error, TQ_ERROR_USAGE, "groups of %u: type 42 has groups of 64 or of 128", override);
  }
  if (!first) return TQ_OK;
  q2_readings readings = {.dialects = {tq_dialect_find("Q2_0"), tq_dialect_find("Q2_0_G128")}};
  for (size_t i = 0; i < 2; i++) readings.shown[i] = look_at(tensors, TYPE_Q2_0, readings.dialects[i]);
  bool fits64 = !readings.shown[0].misfit, fits128 = !readings.shown[1].misfit;
  if (fits64 && fits128 && !override) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: tensor %s: type Q2_0 (42) has groups of 64 or of 128 weights, and offsets and sizes of all %zu "
                   "such tensors fit both: --q2-group 64 or --q2-group 128 says which",
                   file_of(checkpoint, first), first->name, readings.shown->tensors);
  }
  if (override ? override == 128 : !fits64 && fits128) {
    readings = (q2_readings){{readings.dialects[1], readings.dialects[0]}, {readings.shown[1], readings.shown[0]}};
  }
  if (readings.shown[0].misfit) return fail_q2(checkpoint, &readings, override, error);
  set_dialect(tensors, TYPE_Q2_0, readings.dialects[0]);
  return say_q2(checkpoint, &readings, error);
}

/* ---- type 36: three layouts ---- */

static tq_status decide_i2s(tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, const char *override,
                            tq_error *error) {
  const tq_dialect *dialect = tq_dialect_find(override ? override : "I2_S");
  if (!dialect || dialect->gguf_type != TYPE_I2_S) {
    return tq_fail(error, TQ_ERROR_USAGE, "%s is no layout of type 36", override);
  }
  if (!first_of(tensors, TYPE_I2_S)) return TQ_OK;
  set_dialect(tensors, TYPE_I2_S, dialect);
  if (override) {
    return tq_checkpoint_reading(checkpoint, error,
                                 "type 36 is read as %s, as --i2s-layout says: nothing in the file tells its layouts "
                                 "apart",
                                 dialect->name);
  }
  return tq_checkpoint_reading(checkpoint, error,
                               "type 36 is read as %s, the layout of published files: nothing in the file tells its "
                               "layouts apart, and --i2s-layout chooses another",
                               dialect->name);
}

/* ---- types that are not read ---- */

static bool fits_as_blocks(const tq_gguf_found *found) {
  const tq_gguf_type *type = found->type;
  uint64_t rows, columns, size;
  return tq_gguf_matrix_of(&found->info, &rows, &columns) && columns % type->block_elements == 0 &&
         tq_multiply_u64(rows * (columns / type->block_elements), type->block_bytes, &size) &&
         fills_its_place(found, size);
}

static bool fits_as_packed(const tq_gguf_found *found) {
  uint64_t rows, columns, size;
  return tq_gguf_matrix_of(&found->info, &rows, &columns) &&
         tq_dialect_size(found->form.dialect, rows, columns, &size) && fills_its_place(found, size);
}

/* Why a tensor is not read, behind "type NAME (ID) "; NULL when it is. */
static const char *reason_not_to_read(const tq_gguf_found *found) {
  switch (found->type->id) {
  case TYPE_TL1:
    return "is not read: the order of its weights depends on the build of bitnet.cpp that wrote it";
  case TYPE_MXFP4_OR_TL2:
    if (fits_as_blocks(found)) return NULL;
    return "does not fit its place, so it is TL2, which is not read: the order of its weights depends on the build of "
           "bitnet.cpp that wrote it";
  case TYPE_PQ2_0_OR_IQ2_TN:
    return fits_as_packed(found) ? NULL : "does not fit its place; ik_llama.cpp once gave the number to IQ2_TN";
  case TYPE_PTQ1_0_OR_IQ1_TN:
    return fits_as_packed(found) ? NULL : "does not fit its place; ik_llama.cpp once gave the number to IQ1_TN";
  default:
    return found->type->encoding || found->form.dialect ? NULL : "is not supported";
  }
}

static tq_status check_types(const tq_gguf_tensors *tensors, const tq_checkpoint *checkpoint, tq_error *error) {
  for (size_t i = 0; i < tensors->count; i++) {
    const tq_gguf_found *found = &tensors->items[i];
    const char *reason = reason_not_to_read(found);
    if (!reason) continue;
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: type %s (%u) %s", file_of(checkpoint, found), found->name,
                   found->type->name, found->type->id, reason);
  }
  return TQ_OK;
}

/* ---- scales of products: NAME.scale beside NAME.weight ---- */

static int compare_names(const void *a, const void *b) {
  return strcmp((*(tq_gguf_found *const *)a)->name, (*(tq_gguf_found *const *)b)->name);
}

static bool is_scale(const tq_gguf_found *found) {
  static const char ending[] = "_scale";
  char role[TQ_ROLE_SIZE];
  uint32_t encoding = found->type->encoding;
  uint64_t rows, columns;
  return (encoding == TQ_F32 || encoding == TQ_F16 || encoding == TQ_BF16) &&
         tq_gguf_matrix_of(&found->info, &rows, &columns) && rows == 1 && columns == 1 &&
         tq_role_from_name(TQ_CARRIER_GGUF, found->name, role, sizeof role) && strlen(role) >= sizeof ending &&
         strcmp(role + strlen(role) - (sizeof ending - 1), ending) == 0;
}

/* The packed weight that a scale lies beside, or NULL. `order` is sorted by names. */
static tq_gguf_found *weight_of(tq_gguf_found *const *order, size_t count, const tq_gguf_found *scale) {
  char name[TQ_ROLE_SIZE + 8];
  const char *dot = strrchr(scale->name, '.');
  snprintf(name, sizeof name, "%.*s.weight", (int)(dot ? dot - scale->name : 0), scale->name);
  const tq_gguf_found key = {.name = name}, *wanted = &key;
  tq_gguf_found *const *place = bsearch(&wanted, order, count, sizeof *order, compare_names);
  const tq_dialect *dialect = place ? (*place)->form.dialect : NULL;
  return dialect ? *place : NULL;
}

/* Memory for looking at the scales of a tensor, and where it is. */
typedef struct scale_reader {
  const tq_dialect *dialect;
  uint64_t columns, unit_rows, unit_bytes, units;
  uint8_t *bytes, *scales;
  int8_t *trits;
} scale_reader;

static void close_scales(scale_reader *self) {
  tq_free(self->trits);
  tq_free(self->scales);
  tq_free(self->bytes);
}

/* Freed by close_scales whatever the outcome. */
static tq_status open_scales(scale_reader *self, const tq_dialect *dialect, uint64_t rows, uint64_t columns,
                             tq_error *error) {
  *self = (scale_reader){.dialect = dialect, .columns = columns};
  self->unit_rows = tq_dialect_unit_rows(dialect, columns);
  self->unit_bytes = dialect->unit_bytes(self->unit_rows, columns);
  self->units = rows / self->unit_rows;
  size_t room = self->unit_bytes < READ_BYTES ? READ_BYTES : (size_t)self->unit_bytes;
  self->bytes = tq_allocate(room, 1, error);
  self->trits = self->bytes ? tq_allocate((size_t)columns, 1, error) : NULL;
  self->scales = self->trits ? tq_allocate((size_t)tq_dialect_row_scales(dialect, columns) + 1, 4, error) : NULL;
  return self->scales ? TQ_OK : TQ_ERROR_SYSTEM;
}

static bool unit_has_ones(const scale_reader *self, const uint8_t *unit) {
  for (uint32_t row = 0; row < self->unit_rows; row++) {
    if (!self->dialect->decode(unit, self->columns, row, self->trits, self->scales)) return false;
    if (self->dialect->scale_place == TQ_SCALE_IN_TAIL && tq_any_trit(self->trits, self->columns)) return false;
    if (!tq_scales_are_ones(self->dialect, self->columns, self->trits, self->scales)) return false;
  }
  return true;
}

/* *one is false where there is no tail. */
static tq_status tail_is_one(const scale_reader *self, tq_input *input, uint64_t offset, bool *one, tq_error *error) {
  uint8_t scale[4];
  *one = false;
  if (self->dialect->scale_place != TQ_SCALE_IN_TAIL) return TQ_OK;
  tq_status status = tq_input_read(input, offset + self->units * self->unit_bytes, scale,
                                   tq_scale_bytes(self->dialect->scale_encoding), error);
  if (!status) *one = tq_scale_load(self->dialect->scale_encoding, self->dialect->direction, scale, 0) == 1;
  return status;
}

/* Reads the units until a scale of weights other than 0 is not 1. */
static tq_status look_at_units(const scale_reader *self, tq_input *input, uint64_t offset, bool *ones,
                               tq_error *error) {
  tq_status status = TQ_OK;
  *ones = true;
  for (uint64_t unit = 0, n; !status && *ones && unit < self->units; unit += n) {
    n = self->unit_bytes < READ_BYTES ? READ_BYTES / self->unit_bytes : 1;
    if (n > self->units - unit) n = self->units - unit;
    status = tq_input_read(input, offset, self->bytes, (size_t)(n * self->unit_bytes), error);
    for (uint64_t i = 0; !status && *ones && i < n; i++)
      *ones = unit_has_ones(self, self->bytes + i * self->unit_bytes);
    offset += n * self->unit_bytes;
  }
  return status;
}

/* What has no readable shape is left to whoever adds it. */
static tq_status has_unit_scales(const tq_checkpoint *checkpoint, const tq_gguf_found *found, bool *ones,
                                 tq_error *error) {
  uint64_t rows, columns, size;
  tq_input *input = checkpoint->inputs[found->input];
  scale_reader self;
  *ones = tq_gguf_matrix_of(&found->info, &rows, &columns) &&
          tq_dialect_size(found->form.dialect, rows, columns, &size) &&
          tq_within(found->info.offset, size, tq_input_size(input));
  if (!*ones) return TQ_OK;
  tq_status status = open_scales(&self, found->form.dialect, rows, columns, error);
  if (!status) status = tail_is_one(&self, input, found->info.offset, ones, error);
  if (!status && !*ones) status = look_at_units(&self, input, found->info.offset, ones, error);
  close_scales(&self);
  return status;
}

/* Makes the scale part of its weight's form where the weight's own are all 1; *folded says whether. It is so wherever
 * it can be: otherwise writing the same weights in another type could make one tensor of two. */
static tq_status fold(const tq_checkpoint *checkpoint, tq_gguf_found *scale, tq_gguf_found *weight, bool *folded,
                      tq_error *error) {
  tq_input *input = checkpoint->inputs[scale->input];
  size_t size = tq_scale_bytes(scale->type->encoding);
  *folded = false;
  if (!tq_within(scale->info.offset, size, tq_input_size(input))) return TQ_OK;
  tq_status status = has_unit_scales(checkpoint, weight, folded, error);
  if (status || !*folded) return status;
  weight->form.has_unit_scales = true;
  weight->form.scale_encoding = scale->type->encoding;
  weight->form.scale_direction = TQ_DIRECT;
  scale->is_folded = true;
  return tq_input_read(input, scale->info.offset, weight->form.scale, size, error);
}

static tq_status say_folded(tq_checkpoint *checkpoint, size_t folded, size_t kept, const char *kept_name,
                            tq_error *error) {
  tq_status status = TQ_OK;
  if (folded) {
    status = tq_checkpoint_reading(
        checkpoint, error, "%zu tensors NAME.scale are the scales of their weights, whose own are all exactly 1",
        folded);
  }
  if (status || !kept) return status;
  return tq_checkpoint_reading(checkpoint, error,
                               "%zu tensors NAME.scale are kept beside their weights, whose own are not all 1 (%s)",
                               kept, kept_name);
}

static tq_status fold_each(tq_gguf_tensors *tensors, tq_gguf_found **order, tq_checkpoint *checkpoint,
                           tq_error *error) {
  size_t counts[2] = {0};
  const char *kept = "";
  tq_status status = TQ_OK;
  for (size_t i = 0; !status && i < tensors->count; i++) {
    tq_gguf_found *scale = &tensors->items[i];
    tq_gguf_found *weight = is_scale(scale) ? weight_of(order, tensors->count, scale) : NULL;
    bool folded;
    if (!weight) continue;
    if (weight->form.has_unit_scales) {
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: there are two of that name", file_of(checkpoint, scale),
                     scale->name);
    }
    status = fold(checkpoint, scale, weight, &folded, error);
    if (status) return status;
    if (!folded && !counts[0]) kept = scale->name;
    counts[folded]++;
  }
  return status ? status : say_folded(checkpoint, counts[1], counts[0], kept, error);
}

static tq_status fold_scales(tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, tq_error *error) {
  if (!tensors->count || !tq_gguf_architecture(checkpoint->metadata)) return TQ_OK;
  tq_gguf_found **order = tq_allocate(tensors->count, sizeof *order, error);
  if (!order) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < tensors->count; i++) order[i] = &tensors->items[i];
  qsort(order, tensors->count, sizeof *order, compare_names);
  tq_status status = fold_each(tensors, order, checkpoint, error);
  tq_free(order);
  return status;
}

/* ---- the whole ---- */

tq_status tq_gguf_decide_readings(tq_gguf_tensors *tensors, tq_checkpoint *checkpoint, const tq_open_options *options,
                                  tq_error *error) {
  for (size_t i = 0; i < tensors->count; i++) {
    tensors->items[i].form.dialect = tq_gguf_type_dialect(tensors->items[i].type);
  }
  tq_status status = decide_q2(tensors, checkpoint, options->q2_group, error);
  if (!status) status = decide_i2s(tensors, checkpoint, options->i2s_dialect, error);
  if (!status) status = check_types(tensors, checkpoint, error);
  return status ? status : fold_scales(tensors, checkpoint, error);
}
