/* formats/dialects: the table, sizes and shapes, the names of forms. */
#include "formats/dialects/dialect.h"
#include "tests/dialect_layouts.h"
#include "tests/support.h"

#include <string.h>

/* ---- the table ---- */

START_TEST(the_table) {
  double last = 0;
  for (size_t i = 0; i < LAYOUTS; i++) {
    const tq_dialect *dialect = tq_dialect_at(i);
    ck_assert_ptr_nonnull(dialect);
    ck_assert_str_eq(dialect->name, layouts[i].name);
    ck_assert_ptr_eq(tq_dialect_find(dialect->name), dialect);
    ck_assert_uint_eq(dialect->gguf_type, layouts[i].gguf_type);
    ck_assert_int_eq(dialect->file_type, layouts[i].file_type);
    double bits = tq_dialect_bits(dialect, 1 << 20, 1 << 20);
    ck_assert_double_eq_tol(bits, layouts[i].bits, 1e-4);
    ck_assert(i == GGUF_LAYOUTS || bits > last - 1e-4);
    last = bits;
    ck_assert_str_eq(dialect->carrier, i < GGUF_LAYOUTS ? "gguf" : i < PACKED_LAYOUTS ? "hf" : "");
    ck_assert(dialect->origin[0] != 0 && dialect->limits != NULL);
    ck_assert(dialect->is_unpacked == (i >= PACKED_LAYOUTS));
    ck_assert(dialect->is_variant == (i == 4 || i == 5 || i == 7 || i == 10));
    ck_assert(dialect->is_base3 == layouts[i].is_base3);
    ck_assert(!(dialect->four_valued && dialect->is_base3));
  }
  ck_assert_ptr_null(tq_dialect_at(LAYOUTS));
  ck_assert_ptr_null(tq_dialect_at(SIZE_MAX));
  ck_assert_ptr_null(tq_dialect_find("TL1"));
  ck_assert_ptr_null(tq_dialect_find("tq1_0"));
  ck_assert_ptr_null(tq_dialect_find(""));
}
END_TEST

START_TEST(dialects_of_floats) {
  ck_assert_str_eq(tq_dialect_of_floats(TQ_F32)->name, "F32");
  ck_assert_str_eq(tq_dialect_of_floats(TQ_F16)->name, "F16");
  ck_assert_str_eq(tq_dialect_of_floats(TQ_BF16)->name, "BF16");
  ck_assert_ptr_null(tq_dialect_of_floats(TQ_F64));
  ck_assert_ptr_null(tq_dialect_of_floats(TQ_BLOCKS));
  ck_assert_ptr_null(tq_dialect_of_floats(0));
}
END_TEST

static const struct {
  const char *name;
  uint64_t rows, columns, unit_rows, row_scales, size;
} sizes[] = {
    {"IQ1_BN", 3, 128, 1, 1, 3 * 28},
    {"TQ1_0", 3, 512, 1, 2, 3 * 108},
    {"PTQ1_0", 3, 384, 1, 3, 3 * 84},
    {"I2_S", 3, 128, 1, 0, 3 * 32 + 32},
    {"I2_S", 32, 5460, 32, 0, 32 * 5460 / 4 + 32},
    {"I2_S", 256, 1, 128, 0, 64 + 32},
    {"I2_S_ARM", 3, 64, 1, 0, 3 * 16 + 32},
    {"I2_S_ARM", 16, 5460, 16, 0, 16 * 5460 / 4 + 32},
    {"I2_S_ROWS", 8, 3, 4, 0, 6 + 32},
    {"IQ2_BN", 3, 64, 1, 1, 3 * 20},
    {"IQ2_BN_R4", 8, 64, 4, 1, 2 * 80},
    {"TQ2_0", 3, 256, 1, 1, 3 * 66},
    {"PQ2_0", 3, 256, 1, 2, 3 * 68},
    {"Q2_0_G128", 3, 256, 1, 2, 3 * 68},
    {"Q2_0", 3, 192, 1, 3, 3 * 54},
    {"bitlinear", 8, 5, 4, 0, 10},
    {"autobitlinear", 4, 1, 4, 0, 1},
    {"BF16", 3, 33, 1, 2, 3 * 66},
    {"F16", 1, 32, 1, 1, 64},
    {"F32", 3, 1, 1, 1, 12},
    {"F32", 1, TQ_TERNARY_COLUMNS_LIMIT, 1, TQ_TERNARY_COLUMNS_LIMIT / 32, (uint64_t)4 * TQ_TERNARY_COLUMNS_LIMIT},
};
enum { SIZES = sizeof sizes / sizeof *sizes };

START_TEST(sizes_of_tensors) {
  for (size_t i = 0; i < SIZES; i++) {
    const tq_dialect *dialect = tq_dialect_find(sizes[i].name);
    uint64_t size = 0;
    char reason[64] = "untouched";
    ck_assert(tq_dialect_size(dialect, sizes[i].rows, sizes[i].columns, &size));
    ck_assert_uint_eq(size, sizes[i].size);
    ck_assert_uint_eq(tq_dialect_unit_rows(dialect, sizes[i].columns), sizes[i].unit_rows);
    ck_assert_uint_eq(tq_dialect_row_scales(dialect, sizes[i].columns), sizes[i].row_scales);
    ck_assert(!tq_dialect_shape_problem(dialect, sizes[i].rows, sizes[i].columns, reason, sizeof reason));
    ck_assert_str_eq(reason, "untouched");
    double weights = (double)sizes[i].rows * (double)sizes[i].columns;
    ck_assert_double_eq(tq_dialect_bits(dialect, sizes[i].rows, sizes[i].columns), 8 * (double)size / weights);
  }
}
END_TEST

static const struct {
  const char *name;
  uint64_t rows, columns;
  const char *reason;
} problems[] = {
    {"TQ1_0", 4, 5460, "rows of 5460 are not a multiple of 256"},
    {"TQ2_0", 4, 128, "rows of 128 are not a multiple of 256"},
    {"Q2_0", 1, 32, "rows of 32 are not a multiple of 64"},
    {"PQ2_0", 1, 64, "rows of 64 are not a multiple of 128"},
    {"PTQ1_0", 1, 127, "rows of 127 are not a multiple of 128"},
    {"IQ1_BN", 2, 65, "rows of 65 are not a multiple of 64"},
    {"IQ2_BN_R4", 6, 64, "6 rows are not a multiple of 4"},
    {"IQ2_BN_R4", 6, 63, "rows of 63 are not a multiple of 64"},
    {"I2_S", 3, 455, "its 1365 weights are not a multiple of 128"},
    {"I2_S_ARM", 1, 96, "its 96 weights are not a multiple of 64"},
    {"I2_S_ROWS", 5, 128, "5 rows are not a multiple of 4"},
    {"bitlinear", 5, 3, "5 rows are not a multiple of 4"},
    {"autobitlinear", 2, 3, "2 rows are not a multiple of 4"},
    {"F16", 0, 32, "it has no weights"},
    {"I2_S", 128, 0, "it has no weights"},
    {"F32", 1, TQ_TERNARY_COLUMNS_LIMIT + 1, "rows of 1048577 are longer than 1048576"},
    {"TQ2_0", 1, UINT64_MAX, "rows of 18446744073709551615 are longer than 1048576"},
    {"F32", UINT64_MAX, 1, "18446744073709551615 rows of 1 are too many"},
    {"I2_S", (uint64_t)1 << 62, 4, "4611686018427387904 rows of 4 are too many"},
    {"F16", (uint64_t)1 << 58, 33, "288230376151711744 rows of 33 are too many"},
    {"I2_S", 128, 32769, "rows of 32769 share blocks with too many others"},
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

START_TEST(shapes_that_are_not_allowed) {
  for (size_t i = 0; i < PROBLEMS; i++) {
    const tq_dialect *dialect = tq_dialect_find(problems[i].name);
    char reason[160] = "";
    uint64_t size;
    ck_assert(tq_dialect_shape_problem(dialect, problems[i].rows, problems[i].columns, reason, sizeof reason));
    ck_assert_str_eq(reason, problems[i].reason);
    ck_assert(!tq_dialect_size(dialect, problems[i].rows, problems[i].columns, &size));
    ck_assert_double_eq(tq_dialect_bits(dialect, problems[i].rows, problems[i].columns), 0);
    char cut[8];
    ck_assert(tq_dialect_shape_problem(dialect, problems[i].rows, problems[i].columns, cut, sizeof cut));
    ck_assert_uint_eq(strlen(cut), 7);
  }
}
END_TEST

/* ---- names of forms ---- */

START_TEST(names_of_forms_come_back) {
  char name[64];
  for (size_t i = 0; i < LAYOUTS; i++) {
    for (int outer = 0; outer < (i < GGUF_LAYOUTS ? 2 : 1); outer++) {
      tq_form form = {.dialect = tq_dialect_at(i), .has_unit_scales = outer != 0}, back = {0};
      tq_form_name(&form, name, sizeof name);
      ck_assert(tq_form_from_name(name, &back));
      ck_assert_ptr_eq(back.dialect, form.dialect);
      ck_assert(back.has_unit_scales == form.has_unit_scales);
      ck_assert(tq_form_has_outer_scale(&form) == (outer || (i >= GGUF_LAYOUTS && i < PACKED_LAYOUTS)));
    }
  }
  tq_form form = {.dialect = tq_dialect_find("TQ2_0"), .has_unit_scales = true};
  tq_form_name(&form, name, sizeof name);
  ck_assert_str_eq(name, "TQ2_0+scale");
  form = (tq_form){0};
  tq_form_name(&form, name, sizeof name);
  ck_assert_str_eq(name, "");
  ck_assert(!tq_form_has_outer_scale(&form));
}
END_TEST

START_TEST(names_that_say_no_form) {
  static const char *const names[] = {
      "",
      "+scale",
      "TQ2_0+",
      "TQ2_0+scal",
      "TQ2_0+scale ",
      "TQ2_0+scale+scale",
      "TQ2_0 ",
      "F16+scale",
      "TL1",
      "Q8_0",
      "bitlinear+scale",
      "a name that is longer than any dialect's and longer than what it is copied to+scale",
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    tq_form form = {.dialect = tq_dialect_at(0)};
    ck_assert_msg(!tq_form_from_name(names[i], &form), "'%s'", names[i]);
    ck_assert_ptr_eq(form.dialect, tq_dialect_at(0));
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("table of dialects");
  TCase *table = tcase_create("table");
  tcase_add_test(table, the_table);
  tcase_add_test(table, dialects_of_floats);
  tcase_add_test(table, sizes_of_tensors);
  tcase_add_test(table, shapes_that_are_not_allowed);
  tcase_add_test(table, names_of_forms_come_back);
  tcase_add_test(table, names_that_say_no_form);
  suite_add_tcase(suite, table);
  return run_suite(suite);
}
