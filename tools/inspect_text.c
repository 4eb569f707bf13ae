/* The screen: what the file is, the model, its tensors by group, totals, and what identifies it. */
#include "base/text.h"
#include "tools/inspect.h"
#include "tools/inspect_table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { KEY_WIDTH = 14, DEFAULT_WIDTH = 80, LEAST_WIDTH = 60, MOST_WIDTH = 160, LONGEST_NAME = 40, INDENT = 2 };

typedef struct screen {
  size_t width;
  bool trits, four_valued; /* whether any tensor is ternary, or holds a +2 */
  const char *bold, *dim, *reset, *colors[3];
} screen;

static size_t screen_width(void) {
  struct winsize size;
  uint64_t columns = DEFAULT_WIDTH;
  const char *set = getenv("COLUMNS");
  if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col)
    columns = size.ws_col;
  else if (set)
    tool_parse_u64(set, 1, UINT16_MAX, &columns);
  return columns < LEAST_WIDTH ? LEAST_WIDTH : columns > MOST_WIDTH ? MOST_WIDTH : (size_t)columns;
}

static screen make_screen(const inspect_model *model) {
  bool colors = tool_colors(stdout);
  screen s = {.width = screen_width(),
              .bold = colors ? "\033[1m" : "",
              .dim = colors ? "\033[2m" : "",
              .reset = colors ? "\033[0m" : "",
              .colors = {colors ? "\033[34m" : "", colors ? "\033[32m" : "", colors ? "\033[33m" : ""}};
  for (size_t i = 0; i < model->tensor_count; i++) {
    s.trits |= model->tensors[i].kind == INSPECT_TERNARY;
    s.four_valued |= model->tensors[i].trits[3] > 0;
  }
  return s;
}

/* ---- lines of a key and a text ---- */

static void begin_line(const screen *s, const char *key) { printf("  %s%-*s%s", s->dim, KEY_WIDTH, key, s->reset); }

static void line(const screen *s, const char *key, const char *format, ...) TQ_PRINTF(3, 4);
static void line(const screen *s, const char *key, const char *format, ...) {
  va_list arguments;
  begin_line(s, key);
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
}

/* A text of words, on as many lines as it takes, all of them behind the key's column. */
static void paragraph(const screen *s, const char *key, const char *text) {
  size_t room = s->width - INDENT - KEY_WIDTH, used = 0;
  begin_line(s, key);
  for (size_t size; *text; text += size + strspn(text + size, " ")) {
    size = strcspn(text, " ");
    size_t width = 0;
    for (size_t i = 0; i < size; i++) width += (text[i] & 0xc0) != 0x80;
    bool breaks = used && used + 1 + width > room;
    if (breaks) printf("\n%*s", INDENT + KEY_WIDTH, "");
    printf("%s%.*s", used && !breaks ? " " : "", (int)size, text);
    used = breaks || !used ? width : used + 1 + width;
  }
  putchar('\n');
}

/* 1234567 as "1,234,567". */
static const char *grouped(uint64_t number, char text[32]) {
  char digits[24];
  int count = snprintf(digits, sizeof digits, "%" PRIu64, number);
  char *to = text;
  for (int i = 0; i < count; i++) {
    if (i && (count - i) % 3 == 0) *to++ = ',';
    *to++ = digits[i];
  }
  *to = 0;
  return text;
}

/* ---- what the file is ---- */

static void print_format(const screen *s, const inspect_model *model) {
  char size[32], files[32] = "", origin[96] = "";
  if (model->files != 1) snprintf(files, sizeof files, " in %zu files", model->files);
  if (model->origin[0]) snprintf(origin, sizeof origin, ", made from %s", model->origin);
  line(s, "format", "%s%s%s, %s%s%s", model->description, model->version[0] ? ", version " : "", model->version,
       tool_bytes(model->size, size), files, origin);
}

static void print_name(const screen *s, const inspect_model *model) {
  tq_string name = tq_metadata_string(model->metadata, "general.name");
  char text[160];
  if (name.size) line(s, "name", "%s", tq_printable(name.data, name.size, text, sizeof text));
}

static const char *const scaling_names[] = {
    [TQ_ROPE_NONE] = "", [TQ_ROPE_LINEAR] = "linear", [TQ_ROPE_LLAMA3] = "llama3", [TQ_ROPE_YARN] = "yarn"};

static void print_hyperparameters(const screen *s, const inspect_model *model) {
  const tq_hyperparameters *h = &model->hyperparameters;
  char scaling[64] = "", shared[48] = "";
  const char *head = !model->tensor_count ? "no tensors: a vocabulary only"
                     : h->tied_head       ? "head tied to the embedding"
                                          : "a head of its own";
  if (h->kv_heads != h->heads) snprintf(shared, sizeof shared, ", %u for keys and values", h->kv_heads);
  if (h->rope_scaling != TQ_ROPE_NONE)
    snprintf(scaling, sizeof scaling, ", %s scaling by %g", scaling_names[h->rope_scaling], (double)h->rope_factor);
  line(s, "architecture", "%s, %u layer%s, dimension %u, %s", h->architecture, h->layers, h->layers == 1 ? "" : "s",
       h->dimension, head);
  line(s, "attention", "%u heads of %u%s, context %u", h->heads, h->head_dimension, shared, h->context);
  line(s, "positions", "RoPE, base %g over %u dimensions%s", (double)h->rope_base, h->rope_dimensions, scaling);
  line(s, "feed-forward", "%u, %s gate", h->feed_forward, h->gate == TQ_GATE_SILU ? "SiLU" : "squared ReLU");
  line(s, "norms", "RMS, epsilon %g%s%s", (double)h->norm_epsilon, h->sub_norms ? ", before o and down too" : "",
       h->qk_norms ? ", of the heads of q and k too" : "");
  if (h->rotated) line(s, "rotation", "Walsh-Hadamard, applied to the inputs of layers (prism.hadamard)");
  tq_string activations = tq_metadata_string(model->metadata, "tq.activations");
  char printable[32];
  if (activations.size)
    line(s, "activations", "%s", tq_printable(activations.data, activations.size, printable, sizeof printable));
}

/* The message without what the line says before it. */
static const char *why_not_run(const inspect_model *model, const char *architecture) {
  char start[128];
  const char *message = model->unreadable.message;
  snprintf(start, sizeof start, "architecture %s cannot be run: ", architecture);
  if (tq_begins_with(message, start)) return message + strlen(start);
  return tq_begins_with(message, "unknown architecture ") ? "unknown architecture" : message;
}

/* A vocabulary alone, or a model that is carried and not computed with. */
static void print_unreadable(const screen *s, const inspect_model *model) {
  tq_string name = tq_metadata_string(model->metadata, "general.architecture");
  char text[64], reason[sizeof model->unreadable.message + 128];
  if (!model->tensor_count) {
    line(s, "architecture", "%s, no tensors: a vocabulary only",
         name.size ? tq_printable(name.data, name.size, text, sizeof text) : "none");
  } else if (name.size) {
    tq_printable(name.data, name.size, text, sizeof text);
    snprintf(reason, sizeof reason, "%s, carried but not run: %s", text, why_not_run(model, text));
    paragraph(s, "architecture", reason);
  } else {
    line(s, "architecture", "not stated: tensors alone");
  }
}

static void print_chat_template(const inspect_model *model) {
  if (model->chat_template)
    printf("chat template %s\n", model->chat_template);
  else
    printf("%s\n", tq_tokenizer_chat_template(model->tokenizer).size ? "chat template not known" : "no chat template");
}

static void print_tokenizer(const screen *s, const inspect_model *model) {
  static const struct {
    tq_special_token which;
    const char *name;
  } specials[] = {{TQ_SPECIAL_BOS, "BOS"}, {TQ_SPECIAL_EOS, "EOS"}, {TQ_SPECIAL_END_OF_TURN, "end of turn"}};
  const tq_tokenizer *t = model->tokenizer;
  char number[32], printable[64];
  if (!t) {
    line(s, "tokenizer", "none");
    return;
  }
  const char *pre = tq_tokenizer_pre(t);
  begin_line(s, "tokenizer");
  printf("%s", tq_tokenizer_get_kind(t) == TQ_TOKENIZER_SENTENCEPIECE ? "SentencePiece BPE" : "byte-level BPE");
  if (*pre) printf(" (%s)", tq_printable(pre, strlen(pre), printable, sizeof printable));
  printf(", %s tokens", grouped(tq_tokenizer_token_count(t), number));
  if (tq_tokenizer_merge_count(t)) printf(", %s merges", grouped(tq_tokenizer_merge_count(t), number));
  putchar('\n');
  const char *separator = "";
  begin_line(s, "");
  for (size_t i = 0; i < sizeof specials / sizeof *specials; i++) {
    int64_t id = tq_tokenizer_special(t, specials[i].which);
    if (id < 0) continue;
    printf("%s%s %" PRId64, separator, specials[i].name, id);
    separator = ", ";
  }
  fputs(separator, stdout);
  print_chat_template(model);
}

/* As many names as the line holds. */
static void print_attachments(const screen *s, const inspect_model *model) {
  static const char more[] = ", ...";
  uint64_t bytes = 0;
  size_t files = 0, named = 0, used = 0;
  char size[32], names[MOST_WIDTH] = "", printable[64];
  for (size_t i = 0; model->file && i < tq_file_attachment_count(model->file); i++) {
    tq_attachment attachment;
    tq_file_attachment(model->file, i, &attachment);
    if (attachment.kind != TQ_ATTACHMENT_FILE) continue;
    bytes += attachment.size;
    tq_printable(attachment.name, strlen(attachment.name), printable, sizeof printable);
    size_t room = s->width - KEY_WIDTH - 20 - sizeof more;
    if (named == files++ && used + strlen(printable) + 2 < room) {
      used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", named ? ", " : ": ", printable);
      named++;
    }
  }
  if (files)
    line(s, "attached", "%zu file%s, %s%s%s", files, files == 1 ? "" : "s", tool_bytes(bytes, size), names,
         named && named < files ? more : "");
}

/* ---- the table ---- */

static void add_shape(table *t, const inspect_tensor *tensor) {
  char text[192];
  inspect_shape(tensor, text, sizeof text);
  table_add_cell(t, "%s", text);
}

/* The start and end of a long name, printable: both say something. */
static const char *shortened(const char *raw, char *text, size_t size) {
  char name[4 * TQ_ROLE_SIZE];
  tq_printable(raw, strlen(raw), name, sizeof name);
  size_t length = strlen(name), head = LONGEST_NAME / 2, tail = length - LONGEST_NAME / 2 + 1;
  if (length <= LONGEST_NAME) return memcpy(text, name, length + 1);
  while (head && (name[head] & 0xc0) == 0x80) head--;
  while ((name[tail] & 0xc0) == 0x80) tail++;
  snprintf(text, size, "%.*s…%s", (int)head, name, name + tail);
  return text;
}

/* "33 34 33", in percent. */
static void add_trits(const screen *s, table *t, const uint64_t trits[INSPECT_TRITS]) {
  uint64_t total = trits[0] + trits[1] + trits[2] + trits[3];
  int shares[INSPECT_TRITS];
  for (size_t i = 0; i < INSPECT_TRITS; i++)
    shares[i] = total ? (int)lround(100.0 * (double)trits[i] / (double)total) : 0;
  if (!total)
    table_add_cell(t, "%s", "");
  else if (s->four_valued)
    table_add_cell(t, "%2d %2d %2d %2d", shares[0], shares[1], shares[2], shares[3]);
  else
    table_add_cell(t, "%2d %2d %2d", shares[0], shares[1], shares[2]);
}

static void add_scales(table *t, const inspect_scales *scales) {
  double least = tool_unsigned_nan((double)scales->least), most = tool_unsigned_nan((double)scales->most);
  if (!scales->count)
    table_add_cell(t, "%s", "");
  else if (least == most || (isnan(least) && isnan(most)))
    table_add_cell(t, "%.3g", least);
  else
    table_add_cell(t, "%.3g..%.3g", least, most);
}

static double bits_per_weight(uint64_t bytes, uint64_t elements) {
  return elements ? 8.0 * (double)bytes / (double)elements : 0;
}

static void add_common_columns(const screen *s, table *t, const char *first) {
  table_add_column(t, first, false, 0);
  table_add_column(t, "shape", true, 0);
  table_add_column(t, "encoding", false, 0);
  table_add_column(t, "bits", true, 0);
  t->colored = 2;
  if (!s->trits) return;
  table_add_column(t, s->four_valued ? "-1/0/+1/+2 %" : "-1/0/+1 %", false, 0);
  table_add_column(t, "scales", false, 0);
}

static void add_common_cells(const screen *s, table *t, const inspect_group *numbers, const inspect_tensor *looks) {
  char summary[INSPECT_ENCODING_SIZE], printable[4 * INSPECT_ENCODING_SIZE];
  add_shape(t, looks);
  inspect_encoding_summary(looks, summary);
  table_add_cell(t, "%s", tq_printable(summary, strlen(summary), printable, sizeof printable));
  table_add_cell(t, "%.2f", bits_per_weight(numbers->bytes, numbers->elements));
  if (!s->trits) return;
  add_trits(s, t, numbers->trits);
  add_scales(t, &numbers->scales);
}

static tq_status print_groups(const screen *s, const inspect_model *model, tq_error *error) {
  inspect_group *groups, total;
  size_t count;
  char name[LONGEST_NAME + 8], bytes[32];
  tq_status status = inspect_make_groups(model, &groups, &count, error);
  if (status) return status;
  inspect_total(model, &total);
  table t = {.bars = true, .dim = s->dim, .reset = s->reset, .error = error};
  add_common_columns(s, &t, "tensors");
  table_add_column(&t, "bytes", true, 1);
  table_add_column(&t, "share", true, 2);
  for (size_t i = 0; i < count; i++) {
    const inspect_group *group = &groups[i];
    double share = total.bytes ? (double)group->bytes / (double)total.bytes : 0;
    table_add_row(&t, s->colors[group->first->kind], share);
    if (group->count == 1)
      table_add_cell(&t, "%s", shortened(group->first->role, name, sizeof name));
    else
      table_add_cell(&t, "%s ×%zu", shortened(group->name, name, sizeof name), group->count);
    add_common_cells(s, &t, group, group->first);
    table_add_cell(&t, "%s", tool_bytes(group->bytes, bytes));
    table_add_cell(&t, "%.1f%%", 100 * share);
  }
  inspect_free_groups(groups, count);
  return table_print(&t, s->width);
}

static tq_status print_tensors(const screen *s, const inspect_model *model, tq_error *error) {
  char role[LONGEST_NAME + 8], name[4 * TQ_ROLE_SIZE], bytes[32];
  table t = {.dim = s->dim, .reset = s->reset, .error = error};
  add_common_columns(s, &t, "tensor");
  table_add_column(&t, "bytes", true, 2);
  table_add_column(&t, "name in the file", false, 1);
  for (size_t i = 0; i < model->tensor_count; i++) {
    const inspect_tensor *tensor = &model->tensors[i];
    inspect_group numbers = {0};
    inspect_add(&numbers, tensor);
    table_add_row(&t, s->colors[tensor->kind], 0);
    table_add_cell(&t, "%s", shortened(tensor->role, role, sizeof role));
    add_common_cells(s, &t, &numbers, tensor);
    table_add_cell(&t, "%s", tool_bytes(tensor->bytes, bytes));
    table_add_cell(&t, "%s", tq_printable(tensor->name, strlen(tensor->name), name, sizeof name));
  }
  return table_print(&t, s->width);
}

/* ---- totals and digests ---- */

static void print_totals(const screen *s, const inspect_model *model) {
  inspect_group total;
  uint64_t ternary = 0;
  char parameters[32], bytes[32], share[48] = "";
  inspect_total(model, &total);
  for (size_t i = 0; i < model->tensor_count; i++)
    if (model->tensors[i].kind == INSPECT_TERNARY) ternary += model->tensors[i].elements;
  if (ternary) snprintf(share, sizeof share, ", %.1f%% ternary", 100 * (double)ternary / (double)total.elements);
  line(s, "parameters", "%s in %zu tensors%s", grouped(total.elements, parameters), total.count, share);
  line(s, "bytes", "%s, %.2f bits a weight", tool_bytes(total.bytes, bytes),
       bits_per_weight(total.bytes, total.elements));
  line(s, "compression", "%.2f× against F32, %.2f× against F16", 4 * (double)total.elements / (double)total.bytes,
       2 * (double)total.elements / (double)total.bytes);
}

static void print_digest(const screen *s, const char *key, const tq_digest *digest, const char *none) {
  char text[2 * TQ_DIGEST_SIZE + 1];
  tq_hash_print(digest->bytes, sizeof digest->bytes, text);
  line(s, key, "%s", inspect_digest_is_zero(digest) ? none : text);
}

static void print_identity(const screen *s, const inspect_model *model) {
  char text[2 * TQ_HASH_SIZE + 1];
  tq_hash_print(model->hash, model->hash_size, text);
  static const char *const verified[] = {"", ", hashes verified", ", hashes and content verified"};
  char left_out[48] = "";
  if (model->not_understood)
    snprintf(left_out, sizeof left_out, ", tensors not understood: %zu", model->not_understood);
  if (model->hash_name) line(s, "file", "%s (%s%s%s)", text, model->hash_name, verified[model->verified], left_out);
  static const tq_digest nothing;
  print_digest(s, "weights", model->tensor_count ? &model->weights : &nothing, "none");
  print_digest(s, "function", &model->function, "not described");
  print_digest(s, "tokenizer", &model->tokenizer_digest, "none");
}

/* Lines that come from a file, so that they are made harmless first. */
static void print_lines(const screen *s, const char *key, const char *text, size_t size) {
  const char *at = text, *end = text + size;
  char printable[1024];
  if (size) putchar('\n');
  while (at < end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    const char *stop = newline ? newline : end;
    paragraph(s, key, tq_printable(at, (size_t)(stop - at), printable, sizeof printable));
    at = stop + 1;
  }
}

static void print_notes(const screen *s, const inspect_model *model) {
  print_lines(s, "reading", model->readings, model->readings_size);
  if (model->checkpoint)
    print_lines(s, "note", (const char *)model->checkpoint->notes.data, model->checkpoint->notes.size);
}

tq_status inspect_print_text(const inspect_model *model, bool tensors, tq_error *error) {
  screen s = make_screen(model);
  fputs(s.bold, stdout);
  tool_print_name(model->path);
  printf("%s\n", s.reset);
  print_format(&s, model);
  print_name(&s, model);
  if (model->unreadable.status)
    print_unreadable(&s, model);
  else
    print_hyperparameters(&s, model);
  print_tokenizer(&s, model);
  line(&s, "metadata", "%zu keys", tq_metadata_count(model->metadata));
  print_attachments(&s, model);
  if (model->tensor_count) {
    putchar('\n');
    tq_status status = tensors ? print_tensors(&s, model, error) : print_groups(&s, model, error);
    if (status) return status;
    putchar('\n');
    print_totals(&s, model);
  }
  printf("\n  %sdigests%s\n", s.bold, s.reset);
  print_identity(&s, model);
  print_notes(&s, model);
  return TQ_OK;
}
