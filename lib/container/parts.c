#include "container/parts.h"

#include "base/bytes.h"
#include "tq/ternary.h"

#include <inttypes.h>

enum { GROUP_UNIT = 32, GROUP_LIMIT = 256 };

bool tq_encoding_is_trits(uint32_t encoding) {
  return encoding == TQ_TERNARY_2BIT || encoding == TQ_TERNARY_BASE3 || encoding == TQ_QUATERNARY_2BIT;
}

const tq_part *tq_tensor_part(const tq_tensor *tensor, uint32_t kind) {
  for (size_t i = 0; i < tensor->part_count; i++)
    if (tensor->parts[i].kind == kind) return &tensor->parts[i];
  return NULL;
}

double tq_tensor_bits_per_weight(const tq_tensor *tensor) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensor->part_count; i++) bytes += tensor->parts[i].size;
  return 8.0 * (double)bytes / (double)tensor->elements;
}

/* The rows of a vector, here, are its elements: a bias is ordered like the matrix it belongs to. */
static tq_status check_row_order(const char *file, const tq_tensor *tensor, tq_error *error) {
  uint32_t heads = tensor->source_row_order;
  if (heads == 0 || (tensor->shape[0] % heads == 0 && tensor->shape[0] / heads % 2 == 0)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %" PRIu64 " rows are not %" PRIu32 " heads of pairs", file,
                 tensor->role, tensor->shape[0], heads);
}

tq_status tq_tensor_measure(const char *file, tq_tensor *tensor, tq_error *error) {
  if (tensor->dimensions < 1 || tensor->dimensions > TQ_MAX_DIMENSIONS)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %" PRIu32 " dimensions, where 1 to %d are allowed", file,
                   tensor->role, tensor->dimensions, TQ_MAX_DIMENSIONS);
  uint64_t elements = 1;
  for (uint32_t i = 0; i < TQ_MAX_DIMENSIONS; i++) {
    bool used = i < tensor->dimensions;
    if (!used && tensor->shape[i] != 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: dimension %" PRIu32 " is %" PRIu64 " but is not used",
                     file, tensor->role, i, tensor->shape[i]);
    if (!used) continue;
    if (tensor->shape[i] == 0)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: dimension %" PRIu32 " is zero", file, tensor->role, i);
    if (!tq_multiply_u64(elements, tensor->shape[i], &elements))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: the number of elements overflows", file, tensor->role);
  }
  tensor->elements = elements;
  tensor->columns = tensor->shape[tensor->dimensions - 1];
  tensor->rows = elements / tensor->columns;
  return check_row_order(file, tensor, error);
}

/* ---- one part ---- */

typedef struct part_context {
  const char *file;
  const tq_tensor *tensor;
  const tq_part *part;
  tq_error *error;
} part_context;

static tq_status part_fail(const part_context *context, const char *reason) {
  return tq_fail(context->error, TQ_ERROR_CORRUPT, "%s: tensor %s: part of kind %" PRIu32 ", encoding %" PRIu32 ": %s",
                 context->file, context->tensor->role, context->part->kind, context->part->encoding, reason);
}

static tq_status expect_size(const part_context *context, bool fits, uint64_t expected) {
  if (!fits) return part_fail(context, "its size overflows");
  if (context->part->size == expected) return TQ_OK;
  return tq_fail(context->error, TQ_ERROR_CORRUPT,
                 "%s: tensor %s: part of kind %" PRIu32 ", encoding %" PRIu32 " has %" PRIu64 " bytes where %" PRIu64
                 " are needed",
                 context->file, context->tensor->role, context->part->kind, context->part->encoding,
                 context->part->size, expected);
}

/* `count` numbers that lie in units of `unit_elements` elements and `unit_bytes` bytes. */
static tq_status expect_units(const part_context *context, uint64_t count, uint64_t unit_elements,
                              uint64_t unit_bytes) {
  if (count % unit_elements != 0) return part_fail(context, "the elements do not fill whole bytes or blocks");
  uint64_t size;
  bool fits = tq_multiply_u64(count / unit_elements, unit_bytes, &size);
  return expect_size(context, fits, size);
}

static tq_status check_trits_size(const part_context *context) {
  const tq_tensor *tensor = context->tensor;
  uint64_t size;
  bool fits = tq_multiply_u64(tensor->rows, tq_trit_row_bytes(context->part->encoding, tensor->columns), &size);
  return expect_size(context, fits, size);
}

static tq_status check_values(const part_context *context) {
  const tq_part *part = context->part;
  if (part->encoding == TQ_BLOCKS) {
    if (part->type_name[0] == '\0') return part_fail(context, "blocks without a type name");
    if (part->block_elements == 0 || part->block_bytes == 0) return part_fail(context, "blocks of no size");
    return expect_units(context, context->tensor->elements, part->block_elements, part->block_bytes);
  }
  if (part->type_name[0] != '\0' || part->block_elements != 0 || part->block_bytes != 0)
    return part_fail(context, "a type name or block measures without blocks");
  if (tq_encoding_is_trits(part->encoding)) return check_trits_size(context);
  const tq_encoding_info *info = tq_encoding_find(part->encoding);
  return expect_units(context, context->tensor->elements, info->elements, info->bytes);
}

static bool is_small_float(uint32_t encoding) {
  return encoding == TQ_F32 || encoding == TQ_F16 || encoding == TQ_BF16;
}

static tq_status check_scales(const part_context *context) {
  const tq_part *part = context->part;
  const tq_tensor *tensor = context->tensor;
  if (part->granularity > TQ_PER_GROUP) return part_fail(context, "unknown granularity of scales");
  if (part->direction > TQ_INVERTED) return part_fail(context, "unknown direction of scales");
  bool grouped = part->granularity == TQ_PER_GROUP;
  bool group_fits = part->group >= GROUP_UNIT && part->group <= GROUP_LIMIT && part->group % GROUP_UNIT == 0;
  if (grouped ? !group_fits : part->group != 0)
    return part_fail(context, "a group of scales must be a multiple of 32 from 32 to 256, and 0 where there is none");
  if (!is_small_float(part->encoding)) return part_fail(context, "scales must be F32, F16 or BF16");
  const tq_encoding_info *info = tq_encoding_find(part->encoding);
  return expect_units(context, tq_scale_count(part->granularity, part->group, tensor->rows, tensor->columns),
                      info->elements, info->bytes);
}

static tq_status check_patch(const part_context *context) {
  return context->part->encoding == TQ_U8 ? TQ_OK : part_fail(context, "a patch must be U8");
}

static tq_status check_signs(const part_context *context) {
  if (context->part->encoding != TQ_I8) return part_fail(context, "signs must be I8");
  return expect_size(context, true, context->tensor->columns);
}

/* The rank that a low-rank factor's size says, 0 when it says none. */
static uint64_t low_rank_rank(const tq_tensor *tensor, const tq_part *part) {
  const tq_encoding_info *info = tq_encoding_find(part->encoding);
  uint64_t width = part->kind == TQ_PART_LOW_RANK_A ? tensor->columns : tensor->rows, bytes;
  if (!info || !tq_multiply_u64(width, info->bytes, &bytes) || bytes == 0 || part->size % bytes != 0) return 0;
  return part->size / bytes;
}

static tq_status check_low_rank(const part_context *context) {
  const tq_part *part = context->part;
  if (!is_small_float(part->encoding)) return part_fail(context, "low-rank factors must be F32, F16 or BF16");
  if (low_rank_rank(context->tensor, part) == 0) return part_fail(context, "its size is not that of a whole rank");
  return TQ_OK;
}

typedef struct part_rule {
  uint32_t kind;
  bool scaled; /* granularity, group and direction mean something */
  bool typed;  /* type name and block measures mean something */
  tq_status (*check)(const part_context *context);
} part_rule;

static const part_rule part_rules[] = {
    {TQ_PART_VALUES, false, true, check_values},        {TQ_PART_SCALES, true, false, check_scales},
    {TQ_PART_PATCH, false, false, check_patch},         {TQ_PART_LOW_RANK_A, false, false, check_low_rank},
    {TQ_PART_LOW_RANK_B, false, false, check_low_rank}, {TQ_PART_SIGNS, false, false, check_signs},
};
enum { PART_RULES = sizeof part_rules / sizeof *part_rules };

tq_status tq_part_check(const char *file, const tq_tensor *tensor, const tq_part *part, tq_error *error) {
  part_context context = {file, tensor, part, error};
  const part_rule *rule = NULL;
  for (size_t i = 0; i < PART_RULES; i++)
    if (part_rules[i].kind == part->kind) rule = &part_rules[i];
  if (part->kind == 0) return part_fail(&context, "kind 0 is not a kind");
  if (part->encoding == 0) return part_fail(&context, "encoding 0 is not an encoding");
  /* What is not understood is carried: only the extent bounds it. */
  if (!rule || !tq_encoding_find(part->encoding)) return TQ_OK;
  if (!rule->scaled && (part->granularity || part->group || part->direction))
    return part_fail(&context, "granularity, group or direction outside a part of scales");
  if (!rule->typed && (part->type_name[0] != '\0' || part->block_elements || part->block_bytes))
    return part_fail(&context, "a type name or block measures outside a part of values");
  return rule->check(&context);
}

/* ---- the parts together ---- */

static tq_status check_scales_wanted(const char *file, const tq_tensor *tensor, tq_error *error) {
  uint32_t encoding = tensor->parts[0].encoding;
  bool scales = tq_tensor_part(tensor, TQ_PART_SCALES) != NULL;
  if (tq_encoding_is_trits(encoding) && !scales)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: ternary codes without scales", file, tensor->role);
  if (scales && !tq_encoding_is_trits(encoding) && encoding != TQ_I8 && tq_encoding_find(encoding))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: scales beside values of encoding %s", file, tensor->role,
                   tq_encoding_find(encoding)->name);
  return TQ_OK;
}

static tq_status check_low_rank_pair(const char *file, const tq_tensor *tensor, tq_error *error) {
  const tq_part *a = tq_tensor_part(tensor, TQ_PART_LOW_RANK_A), *b = tq_tensor_part(tensor, TQ_PART_LOW_RANK_B);
  if (!a && !b) return TQ_OK;
  bool known = a && b && tq_encoding_find(a->encoding) && tq_encoding_find(b->encoding);
  if (a && b && a < b && (!known || low_rank_rank(tensor, a) == low_rank_rank(tensor, b))) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: low-rank factors A and B of one rank must come as a pair",
                 file, tensor->role);
}

static tq_status check_trit_counts(const char *file, const tq_tensor *tensor, tq_error *error) {
  uint32_t encoding = tensor->parts[0].encoding;
  bool trits = tq_encoding_is_trits(encoding);
  if (!trits && !tq_encoding_find(encoding)) return TQ_OK;
  uint64_t sum = 0;
  bool fits = true;
  for (size_t i = 0; i < 4; i++) fits = fits && tq_add_u64(sum, tensor->trit_counts[i], &sum);
  if (!fits || sum != (trits ? tensor->elements : 0))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: the trit counts do not add up to %" PRIu64, file,
                   tensor->role, trits ? tensor->elements : 0);
  if (tensor->trit_counts[3] != 0 && encoding != TQ_QUATERNARY_2BIT)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: counts +2 among ternary codes", file, tensor->role);
  return TQ_OK;
}

tq_status tq_parts_check(const char *file, const tq_tensor *tensor, tq_error *error) {
  if (tensor->part_count < 1 || tensor->part_count > TQ_MAX_PARTS)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %zu parts, where 1 to %d are allowed", file, tensor->role,
                   tensor->part_count, TQ_MAX_PARTS);
  if (tensor->parts[0].kind != TQ_PART_VALUES)
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: its first part is not its values", file, tensor->role);
  for (size_t i = 0; i < PART_RULES; i++) {
    size_t count = 0;
    for (size_t k = 0; k < tensor->part_count; k++) count += tensor->parts[k].kind == part_rules[i].kind;
    if (count > 1)
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: tensor %s: %zu parts of kind %" PRIu32, file, tensor->role, count,
                     part_rules[i].kind);
  }
  tq_status status = check_scales_wanted(file, tensor, error);
  if (status == TQ_OK) status = check_low_rank_pair(file, tensor, error);
  return status == TQ_OK ? check_trit_counts(file, tensor, error) : status;
}
