#include "formats/dialects/codec.h"

#include <stdio.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A variant stands behind the form that is published. */
static const tq_dialect *const dialects[] = {
    &tq_dialect_iq1_bn,    &tq_dialect_tq1_0,  &tq_dialect_ptq1_0,    &tq_dialect_i2_s,          &tq_dialect_i2_s_arm,
    &tq_dialect_i2_s_rows, &tq_dialect_iq2_bn, &tq_dialect_iq2_bn_r4, &tq_dialect_tq2_0,         &tq_dialect_pq2_0,
    &tq_dialect_q2_0_g128, &tq_dialect_q2_0,   &tq_dialect_bitlinear, &tq_dialect_autobitlinear, &tq_dialect_bf16,
    &tq_dialect_f16,       &tq_dialect_f32,
};

const tq_dialect *tq_dialect_at(size_t index) { return index < COUNT(dialects) ? dialects[index] : NULL; }

const tq_dialect *tq_dialect_find(const char *name) {
  for (size_t i = 0; i < COUNT(dialects); i++) {
    if (strcmp(dialects[i]->name, name) == 0) return dialects[i];
  }
  return NULL;
}

const tq_dialect *tq_dialect_of_floats(uint32_t encoding) {
  for (size_t i = 0; i < COUNT(dialects); i++) {
    if (dialects[i]->is_unpacked && dialects[i]->scale_encoding == encoding) return dialects[i];
  }
  return NULL;
}

/* ---- sizes ---- */

enum { UNIT_LIMIT = 4 * TQ_TERNARY_COLUMNS_LIMIT }; /* the weights of a unit, which writers hold in memory */

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b) {
  while (b) {
    uint64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

uint64_t tq_dialect_unit_rows(const tq_dialect *dialect, uint64_t columns) {
  uint64_t multiple = dialect->element_multiple;
  uint64_t whole = multiple / greatest_common_divisor(multiple, columns);
  return whole > dialect->shared_rows ? whole : dialect->shared_rows;
}

uint64_t tq_dialect_row_scales(const tq_dialect *dialect, uint64_t columns) {
  if (dialect->scale_place != TQ_SCALES_INSIDE) return 0;
  if (dialect->granularity == TQ_PER_ROW) return 1;
  return columns / dialect->group + (columns % dialect->group != 0);
}

/* False on overflow. The shape is otherwise allowed. */
static bool size_of(const tq_dialect *dialect, uint64_t rows, uint64_t columns, uint64_t *size) {
  uint64_t unit_rows = tq_dialect_unit_rows(dialect, columns);
  return tq_multiply_u64(rows / unit_rows, dialect->unit_bytes(unit_rows, columns), size) &&
         tq_add_u64(*size, dialect->tail_bytes, size);
}

bool tq_dialect_size(const tq_dialect *dialect, uint64_t rows, uint64_t columns, uint64_t *size) {
  char reason[128];
  if (tq_dialect_shape_problem(dialect, rows, columns, reason, sizeof reason)) return false;
  return size_of(dialect, rows, columns, size);
}

bool tq_dialect_shape_problem(const tq_dialect *dialect, uint64_t rows, uint64_t columns, char *reason, size_t size) {
  unsigned long long r = rows, c = columns;
  uint64_t weights, bytes;
  if (!rows || !columns) {
    snprintf(reason, size, "it has no weights");
  } else if (columns > TQ_TERNARY_COLUMNS_LIMIT) {
    snprintf(reason, size, "rows of %llu are longer than %d", c, TQ_TERNARY_COLUMNS_LIMIT);
  } else if (columns % dialect->column_multiple) {
    snprintf(reason, size, "rows of %llu are not a multiple of %u", c, dialect->column_multiple);
  } else if (rows % dialect->row_multiple) {
    snprintf(reason, size, "%llu rows are not a multiple of %u", r, dialect->row_multiple);
  } else if (!tq_multiply_u64(rows, columns, &weights) || !size_of(dialect, rows, columns, &bytes)) {
    snprintf(reason, size, "%llu rows of %llu are too many", r, c);
  } else if (weights % dialect->element_multiple) {
    snprintf(reason, size, "its %llu weights are not a multiple of %u", (unsigned long long)weights,
             dialect->element_multiple);
  } else if (tq_dialect_unit_rows(dialect, columns) * columns > UNIT_LIMIT) {
    snprintf(reason, size, "rows of %llu share blocks with too many others", c);
  } else {
    return false;
  }
  return true;
}

double tq_dialect_bits(const tq_dialect *dialect, uint64_t rows, uint64_t columns) {
  uint64_t size;
  if (!tq_dialect_size(dialect, rows, columns, &size)) return 0;
  return 8 * (double)size / ((double)rows * (double)columns);
}

/* ---- forms ---- */

static const char unit_scales[] = "+scale";

void tq_form_name(const tq_form *form, char *name, size_t size) {
  const char *dialect = form->dialect ? form->dialect->name : "";
  snprintf(name, size, "%s%s", dialect, form->has_unit_scales ? unit_scales : "");
}

bool tq_form_from_name(const char *name, tq_form *form) {
  char dialect[32];
  size_t length = strcspn(name, "+");
  if (length >= sizeof dialect) return false;
  memcpy(dialect, name, length);
  dialect[length] = 0;
  tq_form found = {.dialect = tq_dialect_find(dialect), .has_unit_scales = name[length] != 0};
  if (!found.dialect) return false;
  if (found.has_unit_scales && (strcmp(name + length, unit_scales) || strcmp(found.dialect->carrier, "gguf")))
    return false;
  *form = found;
  return true;
}

bool tq_form_has_outer_scale(const tq_form *form) {
  return form->dialect && (form->has_unit_scales || form->dialect->scale_place == TQ_SCALE_IN_A_TENSOR);
}
