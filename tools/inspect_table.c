#include "tools/inspect_table.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 2, WIDE_GAP = 2, NARROW_GAP = 1, GOOD_BAR = 10, SHORT_BAR = 2, LONG_BAR = 32, LONGEST_CELL = 256 };

size_t text_width(const char *text) {
  size_t width = 0;
  for (; *text; text++) width += (*text & 0xc0) != 0x80;
  return width;
}

void table_add_column(table *t, const char *head, bool right, unsigned optional) {
  t->columns[t->column_count++] = (table_column){head, right, optional};
}

void table_add_row(table *t, const char *color, double share) {
  void *rows = t->rows;
  if (t->status) return;
  t->status = tq_grow(&rows, &t->capacity, t->row_count + 1, sizeof *t->rows, t->error);
  if (t->status) return;
  t->rows = rows;
  t->rows[t->row_count++] = (table_row){.color = color, .share = share};
  t->filled = 0;
}

void table_add_cell(table *t, const char *format, ...) {
  if (t->status) return;
  char text[LONGEST_CELL];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  char *cell = tq_copy_string(text, strlen(text), t->error);
  if (!cell)
    t->status = TQ_ERROR_SYSTEM;
  else
    t->rows[t->row_count - 1].cells[t->filled++] = cell;
}

/* How a table is laid out: which columns are shown, how wide they are, what lies between. */
typedef struct layout {
  size_t widths[TABLE_COLUMNS];
  unsigned left_out; /* optional columns up to this number */
  size_t gap, bar;
} layout;

static bool is_shown(const table *t, const layout *l, size_t column) {
  return !t->columns[column].optional || t->columns[column].optional > l->left_out;
}

static void measure(const table *t, layout *l) {
  for (size_t c = 0; c < t->column_count; c++) {
    l->widths[c] = text_width(t->columns[c].head);
    for (size_t r = 0; r < t->row_count; r++) {
      size_t width = t->rows[r].cells[c] ? text_width(t->rows[r].cells[c]) : 0;
      if (width > l->widths[c]) l->widths[c] = width;
    }
  }
}

/* Columns that the table takes without its bar, the gap before the bar included. */
static size_t total_width(const table *t, const layout *l) {
  size_t total = INDENT;
  for (size_t c = 0; c < t->column_count; c++)
    if (is_shown(t, l, c)) total += l->widths[c] + l->gap;
  return t->bars ? total : total - l->gap;
}

/* Leaves out optional columns one by one, then narrows the gaps, until the bar has room; a table that is too wide even
 * so keeps its width. */
static void arrange(const table *t, size_t width, layout *l) {
  unsigned optional = 0;
  for (size_t c = 0; c < t->column_count; c++)
    if (t->columns[c].optional > optional) optional = t->columns[c].optional;
  size_t least = t->bars ? GOOD_BAR : 0;
  for (l->gap = WIDE_GAP; l->left_out < optional && total_width(t, l) + least > width;) l->left_out++;
  if (total_width(t, l) + least > width) l->gap = NARROW_GAP;
  size_t used = total_width(t, l), room = width > used ? width - used : 0;
  l->bar = room < SHORT_BAR ? SHORT_BAR : room > LONG_BAR ? LONG_BAR : room;
}

static void print_spaces(size_t count) { printf("%*s", (int)count, ""); }

/* The cell in its column; nothing is printed behind the last text of a line. */
static void print_cell(const char *text, size_t width, bool right, bool last) {
  size_t space = width - text_width(text);
  if (right) print_spaces(space);
  fputs(text, stdout);
  if (!right && !last) print_spaces(space);
}

static void print_bar(double length, size_t width) {
  static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  size_t eighths = (size_t)(length * (double)width * 8 + 0.5);
  if (eighths == 0 && length > 0) eighths = 1;
  for (; eighths >= 8; eighths -= 8) fputs("█", stdout);
  fputs(parts[eighths], stdout);
}

static size_t last_shown(const table *t, const layout *l) {
  size_t last = 0;
  for (size_t c = 0; c < t->column_count; c++)
    if (is_shown(t, l, c)) last = c;
  return last;
}

static void print_row(const table *t, const layout *l, const table_row *row, double most) {
  size_t last = last_shown(t, l);
  print_spaces(INDENT - l->gap);
  for (size_t c = 0; c < t->column_count; c++) {
    if (!is_shown(t, l, c)) continue;
    bool marked = c == t->colored && *row->color;
    print_spaces(l->gap);
    if (marked) fputs(row->color, stdout);
    print_cell(row->cells[c] ? row->cells[c] : "", l->widths[c], t->columns[c].right, c == last && !t->bars);
    if (marked) fputs(t->reset, stdout);
  }
  if (t->bars && row->share > 0) {
    print_spaces(l->gap);
    fputs(row->color, stdout);
    print_bar(row->share / most, l->bar);
    if (*row->color) fputs(t->reset, stdout);
  }
  putchar('\n');
}

static void print_heads(const table *t, const layout *l) {
  size_t last = last_shown(t, l);
  fputs(t->dim, stdout);
  print_spaces(INDENT - l->gap);
  for (size_t c = 0; c < t->column_count; c++) {
    if (!is_shown(t, l, c)) continue;
    print_spaces(l->gap);
    print_cell(t->columns[c].head, l->widths[c], t->columns[c].right, c == last);
  }
  fputs(t->reset, stdout);
  putchar('\n');
}

static void free_rows(table *t) {
  for (size_t r = 0; r < t->row_count; r++)
    for (size_t c = 0; c < t->column_count; c++) tq_free(t->rows[r].cells[c]);
  tq_free(t->rows);
  t->rows = NULL;
  t->row_count = t->capacity = 0;
}

tq_status table_print(table *t, size_t width) {
  layout l = {0};
  double most = 0;
  if (!t->status) {
    measure(t, &l);
    arrange(t, width, &l);
    for (size_t r = 0; r < t->row_count; r++)
      if (t->rows[r].share > most) most = t->rows[r].share;
    print_heads(t, &l);
    for (size_t r = 0; r < t->row_count; r++) print_row(t, &l, &t->rows[r], most);
  }
  free_rows(t);
  return t->status;
}
