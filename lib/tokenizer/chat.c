#include "tq/chat.h"

#include "base/memory.h"
#include "base/text.h"
#include "tokenizer/utf8.h"

#include <string.h>

/* ---- the table ---- */

/* Stand for the texts of those tokens. */
#define BOS "\x01"
#define EOS "\x02"

enum { MOST_MARKS = 8, ROLES = 3, QUOTE_SIZE = 64 };

enum {
  TRIMS = 1,          /* contents lose the spaces around them */
  SYSTEM_IN_USER = 2, /* the system's message stands inside the first of the user's, and roles alternate */
  THINKS = 4,         /* thoughts before "</think>" are left out of replies to earlier questions */
};

typedef struct around {
  const char *before, *after;
} around;

/* Marks are compared with Jinja's escaped line breaks as line breaks and its double quotes as single ones. */
struct tq_chat_template {
  const char *name;
  const char *has[MOST_MARKS];   /* marks of the Jinja text, all of which it has; none for rows that are named only */
  const char *lacks[MOST_MARKS]; /* marks of texts that write something else */
  around roles[ROLES];
  const char
      *after_last; /* what stands behind the assistant's message when it is the last; NULL: as behind the others */
  const char *separator; /* between messages */
  const char *reply;     /* begins the reply */
  const char *end_of_turn;
  const char *system; /* the message where the conversation has none of the system; or NULL */
  unsigned flags;
};

#define CHATML_ROLES                                                                                                   \
  {                                                                                                                    \
    {"<|im_start|>system\n", "<|im_end|>\n"}, {"<|im_start|>user\n", "<|im_end|>\n"}, {                                \
      "<|im_start|>assistant\n", "<|im_end|>\n"                                                                        \
    }                                                                                                                  \
  }
#define CHATML_REPLY "<|im_start|>assistant\n"
#define LLAMA2_ROLES                                                                                                   \
  {                                                                                                                    \
    {"<<SYS>>\n", "\n<</SYS>>\n\n"}, {BOS "[INST] ", " [/INST]"}, { " ", " " EOS }                                     \
  }
#define QWEN25_SYSTEM "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
#define QWEN2_SYSTEM "You are a helpful assistant."

static const tq_chat_template templates[] = {
    {.name = "plain", .roles = {{"", ""}, {"", ""}, {"", ""}}, .separator = "\n\n", .reply = "", .end_of_turn = ""},
    {.name = "qwen3",
     .has = {"multi_step_tool", "'<|im_start|>' + message.role + '\n' + content",
             "'<|im_start|>assistant\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}"},
     .lacks = {"'<think>\n' }}"},
     .roles = CHATML_ROLES,
     .reply = CHATML_REPLY,
     .end_of_turn = "<|im_end|>",
     .flags = THINKS},
    {.name = "qwen2.5",
     .has = {"'<|im_start|>system\n" QWEN25_SYSTEM "<|im_end|>\n'", "'<|im_start|>assistant\n'"},
     .lacks = {"<think>"},
     .roles = CHATML_ROLES,
     .reply = CHATML_REPLY,
     .end_of_turn = "<|im_end|>",
     .system = QWEN25_SYSTEM},
    {.name = "qwen2",
     .has = {"'<|im_start|>system\n" QWEN2_SYSTEM "<|im_end|>\n'", "'<|im_start|>assistant\n'"},
     .lacks = {"<think>"},
     .roles = CHATML_ROLES,
     .reply = CHATML_REPLY,
     .end_of_turn = "<|im_end|>",
     .system = QWEN2_SYSTEM},
    {.name = "chatml",
     .has = {"'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'",
             "'<|im_start|>assistant\n'"},
     .lacks = {"think", "You are", "strftime", "trim", "tool", "system_message"},
     .roles = CHATML_ROLES,
     .reply = CHATML_REPLY,
     .end_of_turn = "<|im_end|>"},
    {.name = "llama2",
     .has = {"'<<SYS>>\n'", "bos_token + '[INST] ' + content.strip() + ' [/INST]'",
             "' ' + content.strip() + ' ' + eos_token"},
     .lacks = {"true == true", "DEFAULT", "You are"},
     .roles = LLAMA2_ROLES,
     .reply = "",
     .end_of_turn = "</s>",
     .flags = SYSTEM_IN_USER | TRIMS},
    {.name = "llama2-sys-bos", .roles = LLAMA2_ROLES, .reply = "", .end_of_turn = "</s>", .flags = SYSTEM_IN_USER},
    {.name = "llama2-sys-strip",
     .roles = {{"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"[INST] ", " [/INST]"}, {" ", " " EOS}},
     .reply = "",
     .end_of_turn = "</s>",
     .flags = SYSTEM_IN_USER | TRIMS},
    {.name = "llama3",
     .has = {"'<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'", "message['content'] | trim",
             "'<|eot_id|>'", "'<|start_header_id|>assistant<|end_header_id|>\n\n'"},
     .lacks = {"Cutting Knowledge Date", "think", "tool", "function", "You are"},
     .roles = {{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
               {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
               {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
     .reply = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .end_of_turn = "<|eot_id|>",
     .flags = TRIMS},
    {.name = "falcon3",
     .has = {"'<|system|>\n' + message['content'] + '\n'", "'<|user|>\n' + message['content'] + '\n'",
             "'<|assistant|>\n' + message['content'] + eos_token + '\n'",
             "'<|assistant|>\n' + message['content'] + eos_token }}"},
     .roles = {{"<|system|>\n", "\n"}, {"<|user|>\n", "\n"}, {"<|assistant|>\n", EOS "\n"}},
     .after_last = EOS,
     .reply = "<|assistant|>\n",
     .end_of_turn = "<|user|>"},
    {.name = "bitnet",
     .has = {"message['role'] | capitalize + ': '", "message['content'] | trim + '<|eot_id|>'", "'Assistant: '"},
     .lacks = {"System:"},
     .roles = {{"System: ", "<|eot_id|>"}, {"User: ", "<|eot_id|>"}, {"Assistant: ", "<|eot_id|>"}},
     .reply = "Assistant: ",
     .end_of_turn = "<|eot_id|>",
     .flags = TRIMS},
};

enum { TEMPLATES = sizeof templates / sizeof *templates };

const char *tq_chat_template_name(size_t row) { return row < TEMPLATES ? templates[row].name : NULL; }

const tq_chat_template *tq_chat_template_by_name(const char *name) {
  for (size_t i = 0; i < TEMPLATES; i++) {
    if (strcmp(templates[i].name, name) == 0) return &templates[i];
  }
  return NULL;
}

const char *tq_chat_template_end_of_turn(const tq_chat_template *row) { return row->end_of_turn; }

/* ---- recognising ---- */

/* With the line ends and quotes of a string in Jinja. */
static bool has_mark_at(tq_string jinja, size_t at, const char *mark) {
  for (; *mark && at < jinja.size; mark++) {
    char c = jinja.data[at++];
    if (c == '\\' && at < jinja.size && jinja.data[at] == 'n') c = '\n', at++;
    if ((c == '"' ? '\'' : c) != *mark) return false;
  }
  return *mark == 0;
}

static bool has_mark(tq_string jinja, const char *mark) {
  for (size_t at = 0; at < jinja.size; at++) {
    if (has_mark_at(jinja, at, mark)) return true;
  }
  return false;
}

static bool is_of(const tq_chat_template *row, tq_string jinja) {
  for (size_t i = 0; i < MOST_MARKS && row->has[i]; i++) {
    if (!has_mark(jinja, row->has[i])) return false;
  }
  for (size_t i = 0; i < MOST_MARKS && row->lacks[i]; i++) {
    if (has_mark(jinja, row->lacks[i])) return false;
  }
  return row->has[0] != NULL;
}

const tq_chat_template *tq_chat_template_detect(tq_string jinja) {
  if (jinja.size == 0) return tq_chat_template_by_name("plain");
  for (size_t i = 0; i < TEMPLATES; i++) {
    if (is_of(&templates[i], jinja)) return &templates[i];
  }
  return NULL;
}

tq_status tq_chat_template_of(const tq_tokenizer *tokenizer, const tq_chat_template **found, tq_error *error) {
  tq_string jinja = tq_tokenizer_chat_template(tokenizer);
  char quote[QUOTE_SIZE];
  *found = tq_chat_template_detect(jinja);
  if (*found) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "chat template \"%s\" is not understood",
                 tq_printable(jinja.data, jinja.size, quote, sizeof quote));
}

/* ---- texts ---- */

/* A text in the making. After a failure nothing is added. */
typedef struct builder {
  const tq_chat_template *row;
  tq_string bos, eos;
  tq_buffer text;
  tq_chat_piece *pieces;
  size_t count, capacity;
  tq_status status;
  tq_error *error;
} builder;

static void put(builder *to, tq_string text, bool markup) {
  if (to->status || text.size == 0) return;
  to->status = tq_buffer_append(&to->text, text.data, text.size, to->error);
  if (to->status) return;
  if (to->count && to->pieces[to->count - 1].markup == markup) {
    to->pieces[to->count - 1].size += text.size;
    return;
  }
  void *pieces = to->pieces;
  to->status = tq_grow(&pieces, &to->capacity, to->count + 1, sizeof *to->pieces, to->error);
  to->pieces = pieces;
  if (!to->status) to->pieces[to->count++] = (tq_chat_piece){text.size, markup};
}

static void put_content(builder *to, tq_string text) { put(to, text, false); }

/* Of the template's own texts, with what stands for tokens replaced. */
static void put_markup(builder *to, const char *text) {
  while (*text) {
    size_t size = strcspn(text, BOS EOS);
    put(to, (tq_string){text, size}, true);
    text += size;
    if (*text == *BOS && to->text.size) put(to, to->bos, true);
    if (*text == *EOS) put(to, to->eos, true);
    text += *text != 0;
  }
}

/* ---- spaces, as Python's strip() knows them ---- */

static bool is_space(const char *text, size_t length) {
  utf8proc_int32_t character;
  if (utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)length, &character) <= 0) return false;
  const utf8proc_property_t *property = utf8proc_get_property(character);
  return property->category == UTF8PROC_CATEGORY_ZS || property->bidi_class == UTF8PROC_BIDI_CLASS_WS ||
         property->bidi_class == UTF8PROC_BIDI_CLASS_B || property->bidi_class == UTF8PROC_BIDI_CLASS_S;
}

static tq_string trim_start(tq_string text) {
  while (text.size) {
    size_t length = tq_utf8_length(text.data, text.size);
    if (!length || !is_space(text.data, length)) break;
    text = (tq_string){text.data + length, text.size - length};
  }
  return text;
}

/* How many bytes the space at the end takes, 0 when there is none. */
static size_t last_space(const char *text, size_t size) {
  for (size_t length = 1; length <= 3 && length <= size; length++) {
    const char *at = text + size - length;
    if (tq_utf8_length(at, length) == length) return is_space(at, length) ? length : 0;
  }
  return 0;
}

/* Takes spaces away at the end of what was put since the text had `from` bytes. */
static void trim_end(builder *to, size_t from) {
  for (size_t space; !to->status && to->text.size > from; to->text.size -= space) {
    space = last_space((const char *)to->text.data + from, to->text.size - from);
    if (!space) return;
    for (size_t left = space; left;) {
      tq_chat_piece *last = &to->pieces[to->count - 1];
      size_t taken = left < last->size ? left : last->size;
      last->size -= taken;
      left -= taken;
      if (!last->size) to->count--;
    }
  }
}

/* ---- messages ---- */

static bool trims(const builder *to) { return to->row->flags & TRIMS; }

static void put_trimmed(builder *to, tq_string content) {
  size_t from = to->text.size;
  put_content(to, trims(to) ? trim_start(content) : content);
  if (trims(to)) trim_end(to, from);
}

static void put_message(builder *to, const tq_chat_message *message, bool last) {
  const around *role = &to->row->roles[message->role];
  bool ends = last && message->role == TQ_CHAT_ASSISTANT && to->row->after_last;
  put_markup(to, role->before);
  put_trimmed(to, message->content);
  put_markup(to, ends ? to->row->after_last : role->after);
}

/* The system's message, if there is one, and the user's, whose spaces are those around both. */
static void put_with_system(builder *to, const tq_chat_message *system, const tq_chat_message *user) {
  const around *roles = to->row->roles;
  put_markup(to, roles[TQ_CHAT_USER].before);
  size_t from = to->text.size;
  put_markup(to, roles[TQ_CHAT_SYSTEM].before);
  put_content(to, system->content);
  put_markup(to, roles[TQ_CHAT_SYSTEM].after);
  put_content(to, user->content);
  if (trims(to)) trim_end(to, from);
  put_markup(to, roles[TQ_CHAT_USER].after);
}

/* ---- thoughts ---- */

static tq_string trim_lines(tq_string text) {
  while (text.size && text.data[0] == '\n') text = (tq_string){text.data + 1, text.size - 1};
  while (text.size && text.data[text.size - 1] == '\n') text.size--;
  return text;
}

static const char *find(tq_string text, const char *part) {
  return text.size ? memmem(text.data, text.size, part, strlen(part)) : NULL;
}

/* What follows the last `part` in the text, or the whole. */
static tq_string behind_last(tq_string text, const char *part) {
  for (const char *found; (found = find(text, part));) {
    size_t skipped = (size_t)(found - text.data) + strlen(part);
    text = (tq_string){text.data + skipped, text.size - skipped};
  }
  return text;
}

static bool is_tool_response(tq_string text) {
  static const char start[] = "<tool_response>", end[] = "</tool_response>";
  return text.size >= sizeof end - 1 && memcmp(text.data, start, sizeof start - 1) == 0 &&
         memcmp(text.data + text.size - (sizeof end - 1), end, sizeof end - 1) == 0;
}

/* The last question; what came before is answered. */
static size_t last_question(const tq_chat_message *messages, size_t count) {
  for (size_t i = count; i-- > 0;) {
    if (messages[i].role == TQ_CHAT_USER && !is_tool_response(messages[i].content)) return i;
  }
  return count ? count - 1 : 0;
}

static void put_reply_with_thoughts(builder *to, tq_string content, bool answered, bool last) {
  const around *role = &to->row->roles[TQ_CHAT_ASSISTANT];
  const char *thought_end = find(content, "</think>");
  tq_string thoughts = {content.data, thought_end ? (size_t)(thought_end - content.data) : 0};
  if (thought_end) {
    thoughts = trim_lines(behind_last(trim_lines(thoughts), "<think>"));
    content = behind_last(content, "</think>");
    while (content.size && content.data[0] == '\n') content = (tq_string){content.data + 1, content.size - 1};
  }
  put_markup(to, role->before);
  if (!answered && (last || thoughts.size)) {
    put_markup(to, "<think>\n");
    put_content(to, thoughts);
    put_markup(to, "\n</think>\n\n");
    while (content.size && content.data[0] == '\n') content = (tq_string){content.data + 1, content.size - 1};
  }
  put_content(to, content);
  put_markup(to, role->after);
}

/* ---- conversations ---- */

static bool alternates(const tq_chat_message *messages, size_t count) {
  size_t first = count && messages[0].role == TQ_CHAT_SYSTEM;
  for (size_t i = first; i < count; i++) {
    if (messages[i].role != ((i - first) % 2 ? TQ_CHAT_ASSISTANT : TQ_CHAT_USER)) return false;
  }
  return count > first;
}

static void put_conversation(builder *to, const tq_chat_message *messages, size_t count) {
  unsigned flags = to->row->flags;
  size_t question = last_question(messages, count);
  for (size_t i = 0; i < count; i++) {
    bool last = i + 1 == count;
    if (i && to->row->separator) put_markup(to, to->row->separator);
    if (messages[i].role == TQ_CHAT_SYSTEM && flags & SYSTEM_IN_USER) {
      put_with_system(to, &messages[i], &messages[i + 1]);
      i++;
    } else if (messages[i].role == TQ_CHAT_ASSISTANT && flags & THINKS) {
      put_reply_with_thoughts(to, messages[i].content, i <= question, last);
    } else {
      put_message(to, &messages[i], last);
    }
  }
}

static tq_status check(const tq_chat_template *row, const tq_chat_message *messages, size_t count, tq_error *error) {
  for (size_t i = 0; i < count; i++) {
    if ((unsigned)messages[i].role >= ROLES) return tq_fail(error, TQ_ERROR_USAGE, "message %zu has no known role", i);
  }
  if (!(row->flags & SYSTEM_IN_USER) || alternates(messages, count)) return TQ_OK;
  return tq_fail(
      error, TQ_ERROR_USAGE,
      "chat template %s: messages must come from user and assistant in turn, after one of the system at most",
      row->name);
}

tq_status tq_chat_render(const tq_chat_template *row, const tq_chat_message *messages, size_t count,
                         bool add_generation_prompt, tq_string bos, tq_string eos, tq_chat_text *to, tq_error *error) {
  builder made = {.row = row, .bos = bos, .eos = eos, .error = error};
  made.status = check(row, messages, count, error);
  bool without_system = count == 0 || messages[0].role != TQ_CHAT_SYSTEM;
  if (!made.status && row->system && without_system) {
    put_markup(&made, row->roles[TQ_CHAT_SYSTEM].before);
    put_markup(&made, row->system);
    put_markup(&made, row->roles[TQ_CHAT_SYSTEM].after);
  }
  if (!made.status) put_conversation(&made, messages, count);
  if (add_generation_prompt) put_markup(&made, row->reply);
  if (!made.status) made.status = tq_buffer_append(&made.text, "", 1, error);
  if (made.status) {
    tq_buffer_free(&made.text);
    tq_free(made.pieces);
    return made.status;
  }
  *to = (tq_chat_text){(char *)made.text.data, made.text.size - 1, made.pieces, made.count};
  return TQ_OK;
}

void tq_chat_text_release(tq_chat_text *text) {
  tq_free(text->text);
  tq_free(text->pieces);
  *text = (tq_chat_text){0};
}
