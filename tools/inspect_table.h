/* Tables of text on a terminal: aligned columns, and a bar that takes the room left over. */
#ifndef TQ_TOOLS_INSPECT_TABLE_H
#define TQ_TOOLS_INSPECT_TABLE_H

#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_COLUMNS = 10 };

typedef struct table_column {
  const char *head;
  bool right;        /* numbers */
  unsigned optional; /* 0, or the place in which it is left out where room is short: 1 first */
} table_column;

typedef struct table_row {
  char *cells[TABLE_COLUMNS];
  const char *color; /* escape sequence of the row's bar and marked cells, or "" */
  double share;      /* length of its bar, as a part of the longest */
} table_row;

/* Zero-initialise but for columns and colours. A failure sticks and is told by table_print. */
typedef struct table {
  table_column columns[TABLE_COLUMNS];
  size_t column_count;
  size_t colored; /* the column that has the row's colour */
  bool bars;
  const char *dim, *reset; /* escape sequences, or "" */
  table_row *rows;
  size_t row_count, capacity;
  size_t filled; /* cells of the last row */
  tq_status status;
  tq_error *error;
} table;

void table_add_column(table *t, const char *head, bool right, unsigned optional);
void table_add_row(table *t, const char *color, double share);
/* The next cell of the last row. */
void table_add_cell(table *t, const char *format, ...) TQ_PRINTF(2, 3);
/* Prints on stdout, two spaces before each line, at most `width` columns if that is possible. Frees the rows. */
tq_status table_print(table *t, size_t width);

/* Columns that UTF-8 text takes, a code point being one. */
size_t text_width(const char *text);

#endif
