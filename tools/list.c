#include "tools/list.h"

#include "formats/dialects/dialect.h"
#include "tools/inspect_table.h"
#include "tools/tool.h"

#include <string.h>
#include <strings.h>

enum { WIDTH = 160, TYPICAL = 2560 /* rows and columns that the bits a weight are told for */ };

static const char *const refused[] = {"TL1", "TL2"};
enum { REFUSED = sizeof refused / sizeof refused[0] };
static const char refusal[] = "the order of its weights depends on the build";

const tq_dialect *list_find(const char *name) {
  for (size_t i = 0; tq_dialect_at(i); i++) {
    if (strcasecmp(tq_dialect_at(i)->name, name) == 0) return tq_dialect_at(i);
  }
  return NULL;
}

bool list_find_refused(const char *name, const char **dialect, const char **reason) {
  for (size_t i = 0; i < REFUSED; i++) {
    if (strcasecmp(refused[i], name) != 0) continue;
    *dialect = refused[i];
    *reason = refusal;
    return true;
  }
  return false;
}

static void add_scales(table *t, const tq_dialect *dialect) {
  const tq_encoding_info *info = tq_encoding_find(dialect->scale_encoding);
  const char *name = info ? info->name : "float";
  char granularity[16];
  if (dialect->is_unpacked)
    snprintf(granularity, sizeof granularity, "any");
  else if (dialect->granularity == TQ_PER_GROUP)
    snprintf(granularity, sizeof granularity, "g%u", dialect->group);
  else
    snprintf(granularity, sizeof granularity, "%s", dialect->granularity == TQ_PER_ROW ? "row" : "tensor");
  table_add_cell(t, "%s %s%s", granularity, dialect->direction == TQ_INVERTED ? "1/" : "", name);
}

static void add_row(table *t, const tq_dialect *dialect) {
  table_add_row(t, "", 0);
  table_add_cell(t, "%s", dialect->name);
  table_add_cell(t, "%s", *dialect->carrier ? dialect->carrier : "gguf, hf");
  table_add_cell(t, "%s", dialect->origin);
  table_add_cell(t, "%s", dialect->is_unpacked ? "float" : dialect->is_base3 ? "base-3" : "2-bit");
  add_scales(t, dialect);
  table_add_cell(t, "%.4g", tq_dialect_bits(dialect, TYPICAL, TYPICAL));
  table_add_cell(t, "%s", dialect->four_valued ? "kept" : "no");
  table_add_cell(t, "%s", "read, write");
  table_add_cell(t, "%s", dialect->limits);
}

static void add_refused(table *t) {
  for (size_t i = 0; i < REFUSED; i++) {
    table_add_row(t, "", 0);
    table_add_cell(t, "%s", refused[i]);
    table_add_cell(t, "%s", "gguf");
    table_add_cell(t, "%s", "bitnet.cpp");
    table_add_cell(t, "%s", "lookup");
    table_add_cell(t, "%s", "tensor F32");
    table_add_cell(t, "%s", "");
    table_add_cell(t, "%s", "");
    table_add_cell(t, "%s", "refused");
    table_add_cell(t, "%s", refusal);
  }
}

int list_dialects(void) {
  tq_error error;
  table t = {.dim = "", .reset = "", .error = &error};
  static const struct {
    const char *head;
    bool right;
  } columns[] = {{"dialect", false}, {"carrier", false}, {"of", false},   {"codes", false}, {"scales", false},
                 {"bits", true},     {"+2", false},      {"does", false}, {"limits", false}};
  for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
    table_add_column(&t, columns[i].head, columns[i].right, 0);
  for (size_t i = 0; tq_dialect_at(i); i++) add_row(&t, tq_dialect_at(i));
  add_refused(&t);
  tq_status status = table_print(&t, WIDTH);
  return status ? tool_fail(&error) : TQ_OK;
}
