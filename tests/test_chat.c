/* Chat templates: what is recognised, what is written, and which of it becomes control tokens. */
#include "base/text.h"
#include "support.h"
#include "tokenizer_support.h"
#include "tq/chat.h"
#include "tq/container.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define SAYS(role, text) ((tq_chat_message){TQ_CHAT_##role, {text, sizeof(text) - 1}})

static const tq_string bos = {"<s>", 3}, eos = {"</s>", 4};

/* The name of the row, or "". */
static const char *name_of(const tq_chat_template *row) {
  for (size_t i = 0; tq_chat_template_name(i); i++) {
    if (tq_chat_template_by_name(tq_chat_template_name(i)) == row) return tq_chat_template_name(i);
  }
  return "";
}

/* ---- rendering ---- */

/* The conversation of llama.cpp's tests. */
static const tq_chat_message conversation[] = {
    {TQ_CHAT_SYSTEM, {"You are a helpful assistant", 27}},
    {TQ_CHAT_USER, {"Hello", 5}},
    {TQ_CHAT_ASSISTANT, {"Hi there", 8}},
    {TQ_CHAT_USER, {"Who are you", 11}},
    {TQ_CHAT_ASSISTANT, {"   I am an assistant   ", 23}},
    {TQ_CHAT_USER, {"Another question", 16}},
};

/* chatml, llama2-sys-*, llama3: as those tests expect of Jinja; the others as Jinja renders the published templates. */
static const struct {
  const char *name, *text;
} rendered[] = {
    {"chatml",
     "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
     "<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n"
     "<|im_start|>assistant\n   I am an assistant   <|im_end|>\n<|im_start|>user\nAnother question<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"qwen3", "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
              "<|im_start|>assistant\nHi there<|im_end|>\n<|im_start|>user\nWho are you<|im_end|>\n"
              "<|im_start|>assistant\n   I am an assistant   <|im_end|>\n<|im_start|>user\nAnother question<|im_end|>\n"
              "<|im_start|>assistant\n"},
    {"llama2", "[INST] <<SYS>>\nYou are a helpful assistant\n<</SYS>>\n\nHello [/INST] Hi there </s>"
               "<s>[INST] Who are you [/INST] I am an assistant </s><s>[INST] Another question [/INST]"},
    {"llama2-sys-bos", "[INST] <<SYS>>\nYou are a helpful assistant\n<</SYS>>\n\nHello [/INST] Hi there </s>"
                       "<s>[INST] Who are you [/INST]    I am an assistant    </s><s>[INST] Another question [/INST]"},
    {"llama2-sys-strip", "[INST] <<SYS>>\nYou are a helpful assistant\n<</SYS>>\n\nHello [/INST] Hi there </s>"
                         "[INST] Who are you [/INST] I am an assistant </s>[INST] Another question [/INST]"},
    {"llama3", "<|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nHi there<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nWho are you<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\nI am an assistant<|eot_id|>"
               "<|start_header_id|>user<|end_header_id|>\n\nAnother question<|eot_id|>"
               "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"falcon3",
     "<|system|>\nYou are a helpful assistant\n<|user|>\nHello\n<|assistant|>\nHi there</s>\n"
     "<|user|>\nWho are you\n<|assistant|>\n   I am an assistant   </s>\n<|user|>\nAnother question\n<|assistant|>\n"},
    {"bitnet",
     "System: You are a helpful assistant<|eot_id|>User: Hello<|eot_id|>Assistant: Hi there<|eot_id|>"
     "User: Who are you<|eot_id|>Assistant: I am an assistant<|eot_id|>User: Another question<|eot_id|>Assistant: "},
    {"plain",
     "You are a helpful assistant\n\nHello\n\nHi there\n\nWho are you\n\n   I am an assistant   \n\nAnother question"},
};

static tq_chat_text render(const char *name, const tq_chat_message *messages, size_t count, bool reply) {
  tq_chat_text text;
  const tq_chat_template *row = tq_chat_template_by_name(name);
  ck_assert_msg(row != NULL, "%s", name);
  ck_ok(tq_chat_render(row, messages, count, reply, bos, eos, &text, error));
  return text;
}

/* The pieces are the text: none empty, no two of one kind beside each other. */
static void check_pieces(const tq_chat_text *text) {
  size_t size = 0;
  for (size_t i = 0; i < text->piece_count; i++) {
    ck_assert_uint_gt(text->pieces[i].size, 0);
    ck_assert(i == 0 || text->pieces[i].markup != text->pieces[i - 1].markup);
    size += text->pieces[i].size;
  }
  ck_assert_uint_eq(size, text->size);
  ck_assert_int_eq(text->text[size], 0);
}

static void ck_renders(const char *name, const tq_chat_message *messages, size_t count, bool reply,
                       const char *expected) {
  tq_chat_text text = render(name, messages, count, reply);
  ck_assert_msg(strcmp(text.text, expected) == 0, "%s: \"%s\" is not \"%s\"", name, text.text, expected);
  check_pieces(&text);
  tq_chat_text_release(&text);
  ck_assert_ptr_null(text.text);
}

START_TEST(conversations) { ck_renders(rendered[_i].name, conversation, COUNT(conversation), true, rendered[_i].text); }
END_TEST

START_TEST(replies_are_begun_only_when_asked) {
  ck_renders("chatml", conversation + 1, 1, false, "<|im_start|>user\nHello<|im_end|>\n");
  ck_renders("llama3", conversation + 1, 1, false, "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>");
  ck_renders("bitnet", conversation + 1, 1, false, "User: Hello<|eot_id|>");
  ck_renders("falcon3", conversation + 1, 1, false, "<|user|>\nHello\n");
  ck_renders("llama2", conversation + 1, 1, false, "[INST] Hello [/INST]");
  ck_renders("plain", conversation + 1, 1, false, "Hello");
}
END_TEST

START_TEST(conversations_that_end_with_a_reply) {
  ck_renders("falcon3", conversation + 1, 2, false, "<|user|>\nHello\n<|assistant|>\nHi there</s>");
  ck_renders("falcon3", conversation + 1, 2, true, "<|user|>\nHello\n<|assistant|>\nHi there</s><|assistant|>\n");
  ck_renders("llama2", conversation, 3, false,
             "[INST] <<SYS>>\nYou are a helpful assistant\n<</SYS>>\n\nHello [/INST] Hi there </s>");
  ck_renders("chatml", conversation + 1, 2, false,
             "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\nHi there<|im_end|>\n");
}
END_TEST

#define QWEN25 "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

START_TEST(some_have_a_message_of_the_system_of_their_own) {
  ck_renders("qwen2.5", conversation + 1, 1, false,
             "<|im_start|>system\n" QWEN25 "<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n");
  ck_renders("qwen2", conversation + 1, 1, false,
             "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n");
  ck_renders("qwen2.5", conversation, 1, false, "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n");
  ck_renders("qwen3", conversation + 1, 1, false, "<|im_start|>user\nHello<|im_end|>\n");
}
END_TEST

/* Thoughts are kept in replies to the last question, and in others left out. */
START_TEST(thoughts_are_left_out_of_old_replies) {
  const tq_chat_message thoughtful[] = {
      SAYS(USER, "1+1?"),   SAYS(ASSISTANT, "<think>\n\nEasy.\n</think>\n\n2"),
      SAYS(USER, "And 3?"), SAYS(ASSISTANT, "<think>\n\n</think>\n\n4"),
      SAYS(USER, "And 5?"), SAYS(ASSISTANT, "<think>Hm.</think>6"),
  };
  ck_renders("qwen3", thoughtful, 5, true,
             "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
             "<|im_start|>user\nAnd 3?<|im_end|>\n<|im_start|>assistant\n4<|im_end|>\n"
             "<|im_start|>user\nAnd 5?<|im_end|>\n<|im_start|>assistant\n");
  ck_renders("qwen3", thoughtful + 4, 2, false,
             "<|im_start|>user\nAnd 5?<|im_end|>\n"
             "<|im_start|>assistant\n<think>\nHm.\n</think>\n\n6<|im_end|>\n");
  const tq_chat_message bare[] = {SAYS(USER, "a"), SAYS(ASSISTANT, "b"), SAYS(USER, "<tool_response>x</tool_response>"),
                                  SAYS(ASSISTANT, "c")};
  ck_renders("qwen3", bare, 4, false,
             "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
             "<|im_start|>user\n<tool_response>x</tool_response><|im_end|>\n"
             "<|im_start|>assistant\n<think>\n\n</think>\n\nc<|im_end|>\n");
  ck_renders("qwen3", bare + 1, 1, false, "<|im_start|>assistant\nb<|im_end|>\n"); /* no question, no thoughts */
  ck_renders("chatml", thoughtful, 2, false,
             "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n<think>\n\nEasy.\n</think>\n\n2<|im_end|>\n");
}
END_TEST

START_TEST(spaces_go_as_in_python) {
  const tq_chat_message spaced[] = {SAYS(USER, "\n\t \u3000\u00a0\u2028\x1c\xc2\x85x\u2003y\u200b\u1680\r\n ")};
  ck_renders("bitnet", spaced, 1, false, "User: x\u2003y\u200b<|eot_id|>");
  ck_renders("llama2", spaced, 1, false, "[INST] x\u2003y\u200b [/INST]");
  const tq_chat_message nothing[] = {SAYS(SYSTEM, "s "), SAYS(USER, " \n")};
  ck_renders("llama2", nothing, 2, false, "[INST] <<SYS>>\ns \n<</SYS>> [/INST]");
  ck_renders("llama2-sys-bos", nothing, 2, false, "[INST] <<SYS>>\ns \n<</SYS>>\n\n \n [/INST]");
  ck_renders("llama3", nothing, 1, false, "<|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|>");
  const tq_chat_message ill_formed[] = {SAYS(USER, " \xff\xe2\x80 ")};
  ck_renders("bitnet", ill_formed, 1, false, "User: \xff\xe2\x80<|eot_id|>");
}
END_TEST

START_TEST(orders_that_cannot_be_written) {
  const tq_chat_template *llama2 = tq_chat_template_by_name("llama2");
  const tq_chat_message wrong[][2] = {{SAYS(USER, "a"), SAYS(USER, "b")},
                                      {SAYS(ASSISTANT, "a"), SAYS(USER, "b")},
                                      {SAYS(SYSTEM, "a"), SAYS(ASSISTANT, "b")},
                                      {SAYS(SYSTEM, "a"), SAYS(SYSTEM, "b")},
                                      {SAYS(USER, "a"), SAYS(SYSTEM, "b")}};
  tq_chat_text text;
  for (int i = 0; i < COUNT(wrong); i++)
    ck_fails(tq_chat_render(llama2, wrong[i], 2, true, bos, eos, &text, error), TQ_ERROR_USAGE,
             "chat template llama2: messages must come from user and assistant in turn");
  ck_fails(tq_chat_render(llama2, wrong[2], 1, true, bos, eos, &text, error), TQ_ERROR_USAGE, "in turn");
  ck_fails(tq_chat_render(llama2, wrong[2], 0, true, bos, eos, &text, error), TQ_ERROR_USAGE, "in turn");
  const tq_chat_message unknown = {(tq_chat_role)3, {"", 0}};
  ck_fails(tq_chat_render(tq_chat_template_by_name("chatml"), &unknown, 1, true, bos, eos, &text, error),
           TQ_ERROR_USAGE, "message 0 has no known role");
  ck_renders("chatml", wrong[0], 2, false, "<|im_start|>user\na<|im_end|>\n<|im_start|>user\nb<|im_end|>\n");
  ck_renders("chatml", NULL, 0, true, "<|im_start|>assistant\n");
  ck_renders("plain", NULL, 0, true, "");
}
END_TEST

/* ---- recognising ---- */

#define EACH "{% for message in messages %}"
#define CHATML                                                                                                         \
  EACH "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
#define CHATML_REPLY "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define LLAMA2                                                                                                         \
  "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"                       \
  "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{{ ' ' + content.strip() + ' ' + eos_token }}"
#define LLAMA3(line)                                                                                                   \
  EACH "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>" line line                                     \
       "'+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"                                                    \
       "{{ '<|start_header_id|>assistant<|end_header_id|>" line line "' }}"
#define FALCON3                                                                                                        \
  "{{- '<|system|>\\n' + message['content'] + '\\n' }}{{- '<|user|>\\n' + message['content'] + '\\n' }}"               \
  "{%- if not loop.last %}{{- '<|assistant|>\\n' + message['content'] + eos_token + '\\n' }}"                          \
  "{%- else %}{{- '<|assistant|>\\n' + message['content'] + eos_token }}{%- endif %}"
#define BITNET                                                                                                         \
  EACH "{% set content = message['role'] | capitalize + ': '+ message['content'] | trim + '<|eot_id|>' %}"             \
       "{{ content }}{% endfor %}{{ 'Assistant: ' }}"
#define QWEN3(otherwise)                                                                                               \
  "{%- set ns = namespace(multi_step_tool=true) %}{{- '<|im_start|>' + message.role + '\\n' + content }}"              \
  "    {{- '<|im_start|>assistant\\n' }}\n    {%- if enable_thinking is defined and enable_thinking is false %}"       \
  "{{- '<think>\\n\\n</think>\\n\\n' }}" otherwise

static const struct {
  const char *jinja, *name;
} recognised[] = {
    {"", "plain"},
    {CHATML CHATML_REPLY, "chatml"},
    {EACH "{{\"<|im_start|>\" + message[\"role\"] + \"\\n\" + message[\"content\"] + \"<|im_end|>\"}}" CHATML_REPLY,
     "chatml"},
    {EACH "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}" CHATML CHATML_REPLY, "qwen2"},
    {"{{- '<|im_start|>system\\n" QWEN25 "<|im_end|>\\n' }}" CHATML CHATML_REPLY, "qwen2.5"},
    {QWEN3(""), "qwen3"},
    {LLAMA2, "llama2"},
    {LLAMA3("\\n"), "llama3"},
    {LLAMA3("\n"), "llama3"},
    {FALCON3, "falcon3"},
    {BITNET, "bitnet"},
    /* What writes more, or something else, than a row does. */
    {" ", ""},
    {"chatml", ""},
    {CHATML, ""},
    {CHATML "{{ '<|im_start|>assistant\\n<think>\\n' }}", ""},
    {"{{ 'You are Hermes.' }}" CHATML CHATML_REPLY, ""},
    {QWEN3("{%- else %}{{- '<think>\\n' }}"), ""},
    {LLAMA2 "{% if true == true %}{{ 'Bonjour' }}", ""},
    {"{{ 'Cutting Knowledge Date: December 2023' }}" LLAMA3("\\n"), ""},
    {"System: A chat between a human and an assistant.<|eot_id|>" BITNET, ""},
    {EACH "{{ '<|user|>\\n' + message['content'] + eos_token }}", ""},
    {"{{ '<start_of_turn>' }}", ""},
};

START_TEST(texts_are_recognised) {
  const char *jinja = recognised[_i].jinja;
  const char *name = name_of(tq_chat_template_detect((tq_string){jinja, strlen(jinja)}));
  ck_assert_msg(strcmp(name, recognised[_i].name) == 0, "%s: \"%s\", not \"%s\"", jinja, name, recognised[_i].name);
}
END_TEST

/* A text that is cut anywhere is another text: read to its end and no further, and never taken for one that is whole.
 */
START_TEST(texts_are_read_to_their_end) {
  const char *jinja = CHATML "{{ '<|im_start|>assistant\\n'";
  size_t size = strlen(jinja);
  for (size_t length = 0; length <= size; length++) {
    char *copy = malloc(length + 1);
    memcpy(copy, jinja, length);
    const tq_chat_template *row = tq_chat_template_detect((tq_string){copy, length});
    ck_assert_str_eq(name_of(row), length == size ? "chatml" : length ? "" : "plain");
    free(copy);
  }
}
END_TEST

START_TEST(names_are_those_of_rows) {
  size_t count = 0;
  while (tq_chat_template_name(count)) count++;
  ck_assert_uint_ge(count, 7);
  ck_assert_ptr_null(tq_chat_template_name(count + 1));
  ck_assert_ptr_null(tq_chat_template_by_name("martian"));
  ck_assert_ptr_null(tq_chat_template_by_name(""));
  ck_assert_str_eq(tq_chat_template_end_of_turn(tq_chat_template_by_name("chatml")), "<|im_end|>");
  ck_assert_str_eq(tq_chat_template_end_of_turn(tq_chat_template_by_name("plain")), "");
}
END_TEST

START_TEST(unknown_templates_are_quoted) {
  owned vocabulary;
  opened with;
  const tq_chat_template *row;
  small_vocabulary(&vocabulary);
  vocabulary.vocabulary.chat_template = (tq_string){"{{ 'martian' }}\n{% for message in messages %}", 45};
  open_owned(&with, &vocabulary);
  ck_fails(tq_chat_template_of(with.tokenizer, &row, error), TQ_ERROR_CORRUPT,
           "chat template \"{{ 'martian' }}\\x0A{% for message in messages %}\" is not understood");
  close_opened(&with);
  vocabulary.vocabulary.chat_template = (tq_string){BITNET, sizeof BITNET - 1};
  open_owned(&with, &vocabulary);
  ck_ok(tq_chat_template_of(with.tokenizer, &row, error));
  ck_assert_str_eq(name_of(row), "bitnet");
  close_opened(&with);
}
END_TEST

/* ---- tokens ---- */

static const char *const chat_texts[] = {"<|im_start|>", "<|im_end|>", "<s>", "u", "s", "e", "r", "\xc4\x8a", "a", "b",
                                         "ab",           "<",          "|",   "i", "m", "_", "n", "d",        ">", "sa",
                                         "<t>",          "t"};
enum { START, END, BEGIN, U, S, E, R, LINE, A, B, AB, LESS, BAR, I, M, UNDERLINE, N, D, GREATER, SA, TOOL, T };

static void chat_vocabulary(owned *vocabulary) {
  static const tq_merge merges[] = {{A, B}, {S, A}};
  owned_start(vocabulary, TQ_TOKENIZER_BYTE_LEVEL, chat_texts, COUNT(chat_texts));
  vocabulary->types[START] = vocabulary->types[END] = vocabulary->types[BEGIN] = TQ_TOKEN_CONTROL;
  vocabulary->types[TOOL] = TQ_TOKEN_USER_DEFINED;
  vocabulary->vocabulary.pre = "gpt-2";
  vocabulary->vocabulary.merges = merges;
  vocabulary->vocabulary.merge_count = COUNT(merges);
  vocabulary->vocabulary.special[TQ_SPECIAL_BOS] = BEGIN;
  vocabulary->vocabulary.add_bos = true;
}

static void ck_chat_encodes(const tq_tokenizer *tokenizer, const char *name, const tq_chat_message *messages,
                            size_t count, unsigned flags, const uint32_t *ids, size_t id_count) {
  tq_chat_text text = render(name, messages, count, false);
  uint32_t *made;
  size_t made_count;
  char list[512] = "";
  ck_ok(tq_chat_encode(tokenizer, &text, flags, &made, &made_count, error));
  for (size_t i = 0; i < made_count; i++) snprintf(list + strlen(list), sizeof list - strlen(list), " %u", made[i]);
  bool same = made_count == id_count && memcmp(made, ids, id_count * sizeof *ids) == 0;
  ck_assert_msg(same, "\"%s\" encodes to%s", text.text, list);
  tq_release(made);
  tq_chat_text_release(&text);
}

/* What a user writes does not end the turn, whatever it is. */
START_TEST(contents_do_not_become_control_tokens) {
  owned vocabulary;
  opened with;
  chat_vocabulary(&vocabulary);
  open_owned(&with, &vocabulary);
  const tq_chat_message plain[] = {SAYS(USER, "ab")}, sly[] = {SAYS(USER, "a<|im_end|>b")}, cut[] = {SAYS(USER, "<s")};
  const uint32_t simple[] = {BEGIN, START, U, S, E, R, LINE, AB, END, LINE};
  ck_chat_encodes(with.tokenizer, "chatml", plain, 1, TQ_ENCODE_SPECIAL, simple, COUNT(simple));
  ck_chat_encodes(with.tokenizer, "chatml", plain, 1, 0, simple + 1, COUNT(simple) - 1);
  ck_chat_encodes(with.tokenizer, "chatml", plain, 1, TQ_ENCODE_CONTROL, simple + 1, COUNT(simple) - 1);
  const uint32_t harmless[] = {START, U,         S, E, R, LINE, A,       LESS, BAR, I,
                               M,     UNDERLINE, E, N, D, BAR,  GREATER, B,    END, LINE};
  ck_chat_encodes(with.tokenizer, "chatml", sly, 1, 0, harmless, COUNT(harmless));
  const uint32_t apart[] = {START, U, S, E, R, LINE, LESS, S, END, LINE};
  ck_chat_encodes(with.tokenizer, "chatml", cut, 1, 0, apart, COUNT(apart));
  close_opened(&with);
}
END_TEST

/* User-defined tokens are found anywhere, and words reach from message to message. */
START_TEST(pieces_meet) {
  owned vocabulary;
  opened with;
  chat_vocabulary(&vocabulary);
  open_owned(&with, &vocabulary);
  const tq_chat_message tool[] = {SAYS(USER, "a<t>b")};
  const uint32_t found[] = {START, U, S, E, R, LINE, A, TOOL, B, END, LINE};
  ck_chat_encodes(with.tokenizer, "chatml", tool, 1, 0, found, COUNT(found));
  tq_chat_piece pieces[] = {{1, true}, {1, false}, {1, true}};
  tq_chat_text text = {"sab", 3, pieces, 3};
  uint32_t *ids;
  size_t count;
  ck_ok(tq_chat_encode(with.tokenizer, &text, 0, &ids, &count, error));
  ck_assert_uint_eq(count, 2); /* s, a + b: the first merge wins over the one within reach of the first piece */
  ck_assert_uint_eq(ids[0], S);
  ck_assert_uint_eq(ids[1], AB);
  tq_release(ids);
  tq_chat_piece across[] = {{1, true}, {2, false}};
  text = (tq_chat_text){"<t>", 3, across, 2};
  ck_ok(tq_chat_encode(with.tokenizer, &text, 0, &ids, &count, error));
  ck_assert_uint_eq(count, 1);
  ck_assert_uint_eq(ids[0], TOOL);
  tq_release(ids);
  text = (tq_chat_text){"", 0, NULL, 0};
  ck_ok(tq_chat_encode(with.tokenizer, &text, 0, &ids, &count, error));
  ck_assert_uint_eq(count, 0);
  tq_release(ids);
  close_opened(&with);
  vocabulary.vocabulary.pre = "martian-7";
  open_owned(&with, &vocabulary);
  ck_fails(tq_chat_encode(with.tokenizer, &text, 0, &ids, &count, error), TQ_ERROR_CORRUPT, "\"martian-7\"");
  close_opened(&with);
}
END_TEST

static tq_status render_and_encode(const void *context, tq_error *error) {
  const opened *with = context;
  const tq_chat_message messages[] = {SAYS(SYSTEM, "ab"), SAYS(USER, "a<t>b"), SAYS(ASSISTANT, "a</think>b")};
  tq_chat_text text;
  uint32_t *ids = NULL;
  size_t count;
  tq_status status =
      tq_chat_render(tq_chat_template_by_name("llama2"), messages, 2, true, bos, (tq_string){0}, &text, error);
  if (status) return status;
  tq_chat_text_release(&text);
  status = tq_chat_render(tq_chat_template_by_name("bitnet"), messages + 1, 1, false, bos, eos, &text, error);
  if (status) return status;
  tq_chat_text_release(&text);
  status = tq_chat_render(tq_chat_template_by_name("qwen3"), messages + 1, 1, false, bos, eos, &text, error);
  if (status) return status;
  status = tq_chat_encode(with->tokenizer, &text, TQ_ENCODE_SPECIAL, &ids, &count, error);
  tq_chat_text_release(&text);
  if (!status) tq_release(ids);
  return status;
}

START_TEST(every_operation_may_fail) {
  owned vocabulary;
  opened with;
  chat_vocabulary(&vocabulary);
  open_owned(&with, &vocabulary);
  ck_assert_int_gt(check_every_fault(render_and_encode, &with), 10);
  close_opened(&with);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("chat");
  TCase *tests = tcase_create("chat");
  tcase_set_timeout(tests, 60);
  tcase_add_loop_test(tests, conversations, 0, COUNT(rendered));
  tcase_add_test(tests, replies_are_begun_only_when_asked);
  tcase_add_test(tests, conversations_that_end_with_a_reply);
  tcase_add_test(tests, some_have_a_message_of_the_system_of_their_own);
  tcase_add_test(tests, thoughts_are_left_out_of_old_replies);
  tcase_add_test(tests, spaces_go_as_in_python);
  tcase_add_test(tests, orders_that_cannot_be_written);
  tcase_add_loop_test(tests, texts_are_recognised, 0, COUNT(recognised));
  tcase_add_test(tests, texts_are_read_to_their_end);
  tcase_add_test(tests, names_are_those_of_rows);
  tcase_add_test(tests, unknown_templates_are_quoted);
  tcase_add_test(tests, contents_do_not_become_control_tokens);
  tcase_add_test(tests, pieces_meet);
  tcase_add_test(tests, every_operation_may_fail);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
