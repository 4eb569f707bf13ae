/* tq-run: its text, ids, stops, limits and refusals, on a model whose every word is known and on the real one. */
#include "base/text.h"
#include "tests/chain_model.h"
#include "tests/kernel_sets.h"
#include "tests/support.h"
#include "tq/container.h"
#include "tq/tokenizer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 24 };

/* What a run gave. */
typedef struct outcome {
  int status;
  char *output, *errors;
} outcome;

static void drop(outcome *of) {
  free(of->output);
  free(of->errors);
}

/* Runs "tq-run ARGUMENTS", split at spaces; '_' stands for a space inside an argument, MODEL for the path. */
static outcome run(const char *model, const char *line, const char *input) {
  const char *arguments[MOST_ARGUMENTS] = {"tq-run"};
  char copy[1024];
  size_t count = 1;
  snprintf(copy, sizeof copy, "%s", line);
  for (char *word = strtok(copy, " "); word && count + 1 < MOST_ARGUMENTS; word = strtok(NULL, " ")) {
    for (char *c = word; *c; c++)
      if (*c == '_') *c = ' ';
    arguments[count++] = strcmp(word, "MODEL") == 0 ? model : strcmp(word, "NOTHING") == 0 ? "" : word;
  }
  outcome result;
  result.status = run_tool(arguments, input, &result.output, &result.errors);
  return result;
}

static void ck_output(const char *model, const char *line, const char *expected) {
  outcome of = run(model, line, NULL);
  ck_assert_msg(of.status == 0, "%s: status %d: %s", line, of.status, of.errors);
  ck_assert_msg(strcmp(of.output, expected) == 0, "%s: \"%s\" is not \"%s\"", line, of.output, expected);
  drop(&of);
}

static void ck_run_fails(const char *model, const char *line, int status, const char *part) {
  outcome of = run(model, line, "");
  ck_assert_msg(of.status == status, "%s: status %d, not %d: %s", line, of.status, status, of.errors);
  ck_assert_msg(strstr(of.errors, part) != NULL, "%s: \"%s\" is not in \"%s\"", line, part, of.errors);
  ck_assert_str_eq(of.output, "");
  drop(&of);
}

/* ---- a model whose words are known ---- */

static const chain_token chain[] = {
    {"<unk>", TQ_TOKEN_UNKNOWN}, {"<s>", TQ_TOKEN_CONTROL},
    {"</s>", TQ_TOKEN_CONTROL},  {"\xe2\x96\x81", TQ_TOKEN_NORMAL},
    {"a", TQ_TOKEN_NORMAL},      {"<0xE2>", TQ_TOKEN_BYTE},
    {"<0x82>", TQ_TOKEN_BYTE},   {"<0xAC>", TQ_TOKEN_BYTE},
    {"b", TQ_TOKEN_NORMAL},      {"S", TQ_TOKEN_NORMAL},
    {"T", TQ_TOKEN_NORMAL},      {"O", TQ_TOKEN_NORMAL},
    {"P", TQ_TOKEN_NORMAL},      {"<x>", TQ_TOKEN_CONTROL},
    {"c", TQ_TOKEN_NORMAL},
};
enum { CHAIN = sizeof chain / sizeof chain[0] };

static const char *chain_path(void) {
  const char *path = temporary_path("chain.tq");
  chain_model_write(path, chain, CHAIN, 64, 9, 0);
  return path;
}

START_TEST(text_runs_to_the_token_that_ends_it) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p NOTHING --temp 0",
            " a\xe2\x82\xac"
            "bSTOPc");
  ck_output(model, "MODEL -p a --temp 0",
            "\xe2\x82\xac"
            "bSTOPc");
  ck_output(model, "MODEL -p a --temp 0 --echo",
            "a\xe2\x82\xac"
            "bSTOPc");
  ck_output(model, "MODEL -p a --temp 0 -n 5",
            "\xe2\x82\xac"
            "bS");
  ck_output(model, "MODEL -p a --temp 0 -n 0", "");
  ck_output(model, "MODEL -p a --temp 0 -n 0 --echo", "a");
  ck_output(model, "MODEL --prompt b --temp 0 --predict 2", "ST");
}
END_TEST

START_TEST(ids_are_printed_instead) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p b --temp 0 --ids", "9 10 11 12 13 14\n");
  ck_output(model, "MODEL -p b --temp 0 --ids --echo -n 2", "1 8 9 10\n");
  ck_output(model, "MODEL -p b --temp 0 --ids --stop OP", "9 10 11\n");
  ck_output(model, "MODEL -p b --temp 0 --ids -n 0", "\n");
}
END_TEST

START_TEST(stop_texts_do_not_appear) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p a --temp 0 --stop STOP",
            "\xe2\x82\xac"
            "b");
  ck_output(model, "MODEL -p a --temp 0 --stop OPX --stop TO",
            "\xe2\x82\xac"
            "bS");
  ck_output(model, "MODEL -p a --temp 0 --stop STOPx --stop OPcx",
            "\xe2\x82\xac"
            "bSTOPc");
  ck_output(model, "MODEL -p a --temp 0 --stop \xe2\x82\xac", "");
  ck_output(model, "MODEL -p a --temp 0 --stop Pc",
            "\xe2\x82\xac"
            "bSTO");                                         /* the control token between has no text */
  ck_output(model, "MODEL -p S --temp 0 --stop ST", "TOPc"); /* the prompt does not count */
}
END_TEST

/* What was held back comes out when there is no more to wait for. */
START_TEST(held_text_is_not_lost) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p a --temp 0 -n 2", "\xe2\x82");
  ck_output(model, "MODEL -p a --temp 0 -n 6 --stop STOP",
            "\xe2\x82\xac"
            "bST");
}
END_TEST

/* Runs with a socket as standard output that keeps each write apart; calls `check` with each. */
static size_t run_in_pieces(const char *model, const char *stop, bool (*check)(const char *piece, size_t size)) {
  int sockets[2];
  char program[512], piece[512];
  const char *build = getenv("TQ_BUILD");
  snprintf(program, sizeof program, "%s/bin/tq-run", build && *build ? build : "build");
  ck_assert(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets) == 0);
  pid_t child = fork();
  if (child == 0) {
    dup2(sockets[1], 1);
    close(sockets[0]);
    ck_assert_ptr_nonnull(freopen("/dev/null", "w", stderr));
    execl(program, "tq-run", model, "-p", "a", "--temp", "0", "--stop", stop, (char *)NULL);
    _exit(127);
  }
  close(sockets[1]);
  size_t pieces = 0;
  for (ssize_t size; (size = recv(sockets[0], piece, sizeof piece, 0)) > 0; pieces++)
    ck_assert_msg(check(piece, (size_t)size), "piece %zu: \"%.*s\"", pieces, (int)size, piece);
  close(sockets[0]);
  int status;
  ck_assert(waitpid(child, &status, 0) == child);
  ck_assert_int_eq(status, 0);
  return pieces;
}

static bool is_whole(const char *piece, size_t size) { return tq_is_utf8(piece, size); }

static bool is_before_stop(const char *piece, size_t size) {
  return is_whole(piece, size) && !memchr(piece, 'S', size);
}

START_TEST(text_is_streamed_in_whole_characters) {
  const char *model = chain_path();
  ck_assert_uint_eq(run_in_pieces(model, "zzz", is_whole), 7); /* the euro, b, S, T, O, P, c */
  ck_assert_uint_eq(run_in_pieces(model, "STOP", is_before_stop), 2);
}
END_TEST

START_TEST(full_context_is_said) {
  const char *model = chain_path();
  outcome of = run(model, "MODEL -p a --temp 0 -c 4", NULL);
  ck_assert_int_eq(of.status, 0);
  ck_assert_str_eq(of.output, "\xe2\x82\xac"); /* two tokens of prompt, two more fed, one said after them */
  ck_assert_ptr_nonnull(strstr(of.errors, "tq-run: the context of 4 tokens is full\n"));
  drop(&of);
  of = run(model, "MODEL -p a --temp 0 -c 4 -n 3", NULL);
  ck_assert_ptr_null(strstr(of.errors, "is full"));
  drop(&of);
  ck_run_fails(model, "MODEL -p aaaa -c 4", 2, "the prompt's 5 tokens do not fit the context of 4");
  of = run(model, "MODEL -p a -c 65 -n 1 --temp 0", NULL);
  ck_assert_ptr_nonnull(strstr(of.errors, "warning: the model was trained for a context of 64"));
  drop(&of);
}
END_TEST

/* Embeddings that no token belongs to are never said, though this model prefers them. */
START_TEST(padding_of_the_vocabulary_is_not_said) {
  const char *model = temporary_path("padded.tq");
  chain_model_write(model, chain, CHAIN, 64, 9, 3);
  ck_output(model, "MODEL -p b --temp 0", "STOPc");
  ck_output(model, "MODEL -p b --seed 3 --temp 0.01", "STOPc");
}
END_TEST

START_TEST(tokens_without_embedding_are_told) {
  const char *model = temporary_path("short.tq");
  chain_model_write(model, chain, CHAIN, 64, 9, -1);
  ck_run_fails(model, "MODEL -p c", 3, "short.tq: token 14 of its tokenizer is outside the vocabulary of 14");
}
END_TEST

/* Runs tq-run, with SIGPIPE ignored, into a pipe that nobody reads; gives its exit status and what it said. */
static int run_unread(const char *model, const char *option, char *said, size_t room) {
  int unread[2], errors[2];
  char program[512];
  const char *build = getenv("TQ_BUILD");
  snprintf(program, sizeof program, "%s/bin/tq-run", build && *build ? build : "build");
  ck_assert(pipe(unread) == 0 && pipe(errors) == 0);
  close(unread[0]);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGPIPE, SIG_IGN);
    dup2(unread[1], 1), dup2(errors[1], 2);
    close(errors[0]), close(errors[1]);
    execl(program, "tq-run", model, "-p", "b", "--temp", "0", "-n", "100", option, (char *)NULL);
    _exit(127);
  }
  close(unread[1]), close(errors[1]);
  size_t size = 0;
  for (ssize_t got; size < room - 1 && (got = read(errors[0], said + size, room - 1 - size)) > 0;) size += (size_t)got;
  said[size] = 0;
  close(errors[0]);
  int status;
  ck_assert(waitpid(child, &status, 0) == child && WIFEXITED(status));
  return WEXITSTATUS(status);
}

START_TEST(output_that_cannot_be_written_ends_the_run) {
  static const char *const options[] = {"--echo", "--ids", "--tokenize", NULL};
  const char *model = chain_path();
  char said[1024];
  for (size_t i = 0; i < 4; i++) {
    ck_assert_int_eq(run_unread(model, options[i], said, sizeof said), 1);
    ck_assert_msg(strstr(said, "tq-run: standard output: Broken pipe\n"), "%s", said);
    ck_assert_msg(!strstr(said, "generation"), "%s", said);
  }
}
END_TEST

START_TEST(prompts_come_from_pipes) {
  const char *model = chain_path(), *path = temporary_path("prompt.pipe");
  char line[600];
  ck_assert(mkfifo(path, 0666) == 0);
  pid_t child = fork();
  if (child == 0) {
    FILE *to = fopen(path, "w");
    _exit(to && fputs("b\n", to) >= 0 && fclose(to) == 0 ? 0 : 1);
  }
  snprintf(line, sizeof line, "MODEL --temp 0 -f %s", path);
  ck_output(model, line, "STOPc");
  int status;
  ck_assert(waitpid(child, &status, 0) == child && status == 0);
  snprintf(line, sizeof line, "MODEL --temp 0 -f %s", temporary_folder());
  ck_run_fails(model, line, 1, "cannot read: Is a directory");
}
END_TEST

START_TEST(prompts_come_from_everywhere) {
  const char *model = chain_path(), *file = temporary_path("prompt.txt");
  char line[600];
  write_file(file, "a\n", 2);
  snprintf(line, sizeof line, "MODEL --temp 0 --echo -f %s", file);
  ck_output(model, line,
            "a\xe2\x82\xac"
            "bSTOPc");
  outcome of = run(model, "MODEL --temp 0 --echo", "a\n");
  ck_assert_str_eq(of.output, "a\xe2\x82\xac"
                              "bSTOPc");
  drop(&of);
  of = run(model, "MODEL --temp 0 --echo -f -", "a");
  ck_assert_str_eq(of.output, "a\xe2\x82\xac"
                              "bSTOPc");
  drop(&of);
}
END_TEST

START_TEST(tokenize_prints_ids) {
  const char *model = chain_path();
  ck_output(model, "MODEL --tokenize -p abSa", "1 4 8 9 4\n");
  ck_output(model, "MODEL --tokenize --no-bos -p abSa", "4 8 9 4\n");
  ck_output(model, "MODEL --tokenize --no-bos -p a<x>a", "4 13 4\n");
  ck_output(model, "MODEL --tokenize --no-bos -p NOTHING", "\n");
  outcome of = run(model, "MODEL --tokenize -f -", "ab");
  ck_assert_str_eq(of.output, "1 4 8\n");
  drop(&of);
}
END_TEST

/* ---- conversations ---- */

/* The vocabulary of "plain" texts, with the end of a turn as a token that has a text. */
static const chain_token turns[] = {
    {"<unk>", TQ_TOKEN_UNKNOWN},
    {"<s>", TQ_TOKEN_CONTROL},
    {"</s>", TQ_TOKEN_CONTROL},
    {"\xe2\x96\x81", TQ_TOKEN_NORMAL},
    {"a", TQ_TOKEN_NORMAL},
    {"b", TQ_TOKEN_NORMAL},
    {"<|im_start|>", TQ_TOKEN_CONTROL},
    {"u", TQ_TOKEN_NORMAL},
    {"s", TQ_TOKEN_NORMAL},
    {"e", TQ_TOKEN_NORMAL},
    {"r", TQ_TOKEN_NORMAL},
    {"<0x0A>", TQ_TOKEN_BYTE},
    {"i", TQ_TOKEN_NORMAL},
    {"t", TQ_TOKEN_NORMAL},
    {"n", TQ_TOKEN_NORMAL},
    {"<|im_end|>", TQ_TOKEN_USER_DEFINED},
    {"c", TQ_TOKEN_NORMAL},
    {"y", TQ_TOKEN_NORMAL},
    {"m", TQ_TOKEN_NORMAL},
};
enum { TURNS = sizeof turns / sizeof turns[0] };

#define CHATML_TEMPLATE                                                                                                \
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + "     \
  "'\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

static const char *turns_path(const char *chat_template) {
  const char *path = temporary_path("turns.tq");
  chain_model_write_chat(path, turns, TURNS, 128, 9, 0, chat_template);
  return path;
}

START_TEST(prompts_are_messages) {
  const char *model = turns_path(CHATML_TEMPLATE);
  /* <s> <|im_start|>user LF a b <|im_end|> LF <|im_start|>assistant LF */
  ck_output(model, "MODEL --chat --tokenize -p ab", "1 6 7 8 9 10 11 4 5 15 11 6 4 8 8 12 8 13 4 14 13 11\n");
  ck_output(model, "MODEL --chat --tokenize --no-bos -p a", "6 7 8 9 10 11 4 15 11 6 4 8 8 12 8 13 4 14 13 11\n");
  ck_output(model, "MODEL --chat --system b --tokenize -p a",
            "1 6 8 17 8 13 9 18 11 5 15 11 6 7 8 9 10 11 4 15 11 6 4 8 8 12 8 13 4 14 13 11\n");
  ck_output(model, "MODEL --chat --system NOTHING --tokenize -p a",
            "1 6 8 17 8 13 9 18 11 15 11 6 7 8 9 10 11 4 15 11 6 4 8 8 12 8 13 4 14 13 11\n");
  outcome of = run(model, "MODEL --chat --echo -n 0", "ab\n");
  ck_assert_str_eq(of.output, "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\n");
  drop(&of);
}
END_TEST

/* The reply ends where its turn does, though the token for that is one with a text. */
START_TEST(replies_end_with_their_turn) {
  const char *model = turns_path(CHATML_TEMPLATE);
  ck_output(model, "MODEL --chat -p a --temp 0", "itn");
  ck_output(model, "MODEL --chat -p a --temp 0 --ids", "12 13 14\n");
  ck_output(model, "MODEL --chat -p a --temp 0 --stop t", "i");
  ck_output(model, "MODEL --chat --chat-template plain -p i --temp 0", "tn<|im_end|>cym");
  ck_output(model, "MODEL -p i --temp 0", "tn<|im_end|>cym");
}
END_TEST

/* The names of control tokens in the message are text. */
START_TEST(messages_do_not_end_turns) {
  const char *model = turns_path("");
  ck_output(model, "MODEL --tokenize --no-bos -p a</s>b", "4 2 5\n");
  ck_output(model, "MODEL --chat --tokenize --no-bos -p a</s>b", "4 0 8 0 5\n");
  ck_output(model, "MODEL --chat --chat-template chatml --tokenize --no-bos -p a", /* asked for */
            "6 7 8 9 10 11 4 15 11 6 4 8 8 12 8 13 4 14 13 11\n");
}
END_TEST

START_TEST(unknown_chat_templates_are_refused) {
  const char *model = turns_path("{{_'martian'_}}");
  ck_run_fails(model, "MODEL --chat -p a", 3,
               "turns.tq: chat template \"{{_'martian'_}}\" is not understood; --chat-template takes one of plain, ");
  ck_run_fails(model, "MODEL --chat --tokenize -p a", 3, "is not understood");
  ck_output(model, "MODEL --chat --chat-template plain --tokenize -p a", "1 4\n");
  ck_output(model, "MODEL --tokenize -p a", "1 4\n");
}
END_TEST

/* Floats are what there is where no weight is a trit. */
START_TEST(activations_are_chosen) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p b --temp 0 --activations float", "STOPc");
  ck_output(model, "MODEL -p b --temp 0 --activations int8-token", "STOPc");
  ck_output(model, "MODEL -p b --temp 0 --activations int8-block", "STOPc");
}
END_TEST

START_TEST(types_of_cache_are_chosen) {
  const char *model = chain_path();
  ck_output(model, "MODEL -p b --temp 0 --kv f16", "STOPc");
  ck_output(model, "MODEL -p b --temp 0 --kv q8", "STOPc");
}
END_TEST

START_TEST(timing_and_seed_are_on_stderr) {
  const char *model = chain_path();
  outcome of = run(model, "MODEL -p a", NULL);
  unsigned long long seed;
  ck_assert_msg(sscanf(of.errors, "seed %llu", &seed) == 1, "%s", of.errors);
  ck_assert_ptr_nonnull(strstr(of.errors, "load "));
  ck_assert_ptr_nonnull(strstr(of.errors, "prompt 2 tokens, "));
  ck_assert_ptr_nonnull(strstr(of.errors, "generation "));
  drop(&of);
  of = run(model, "MODEL -p a --seed 5", NULL);
  ck_assert_ptr_null(strstr(of.errors, "seed"));
  drop(&of);
}
END_TEST

START_TEST(wrong_usage_is_told) {
  const char *model = chain_path();
  static const char *const wrong[][2] = {
      {"-p a", "no model given"},
      {"MODEL MODEL -p a", "more than one model"},
      {"MODEL -p a -f b", "-p and -f cannot be given together"},
      {"MODEL -p a --no-bos", "--no-bos goes with --tokenize"},
      {"MODEL -p a -n x", "-n takes a whole number from 0"},
      {"MODEL -p a -n -1", "-n takes a whole number from 0"},
      {"MODEL -p a -c 0", "-c takes a whole number from 1"},
      {"MODEL -p a -t 0", "-t takes a whole number from 1 to "},
      {"MODEL -p a -t 1000000", "-t takes a whole number from 1 to "},
      {"MODEL -p a --temp -1", "--temp takes a number from 0"},
      {"MODEL -p a --top-k 1.5", "--top-k takes a whole number"},
      {"MODEL -p a --top-p 2", "--top-p takes a number from 0 to 1"},
      {"MODEL -p a --min-p nan", "--min-p takes a number from 0 to 1"},
      {"MODEL -p a --repeat-penalty 0", "--repeat-penalty takes a number"},
      {"MODEL -p a --seed -1", "--seed takes a whole number"},
      {"MODEL -p a --stop NOTHING", "--stop takes a text that is not empty"},
      {"MODEL -p a --unknown", "--unknown"},
      {"MODEL -p a --system b", "--system goes with --chat"},
      {"MODEL -p a --chat-template plain", "--chat-template goes with --chat"},
      {"MODEL -p a --chat --chat-template martian", "takes one of plain, qwen3, "},
      {"MODEL -p a --chat --chat-template martian", "bitnet, not 'martian'"},
      {"MODEL -p a --activations int8", "--activations takes float, int8-token or int8-block, not 'int8'"},
      {"MODEL -p a --kv f32", "--kv takes f16 or q8, not 'f32'"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) ck_run_fails(model, wrong[i][0], 2, wrong[i][1]);
}
END_TEST

START_TEST(help_fits_a_screen) {
  outcome of = run("", "--help", NULL);
  size_t lines = 0, width = 0;
  ck_assert_int_eq(of.status, 0);
  for (const char *c = of.output; *c; c++) {
    width = *c == '\n' ? 0 : width + 1;
    lines += *c == '\n';
    ck_assert_uint_le(width, 80);
  }
  ck_assert_uint_le(lines, 24);
  drop(&of);
  of = run("", "--version", NULL);
  ck_assert_int_eq(of.status, 0);
  ck_assert_ptr_nonnull(strstr(of.output, "tq-run"));
  drop(&of);
}
END_TEST

START_TEST(files_that_cannot_be_run_are_refused) {
  const char *model = chain_path(), *bad = temporary_path("bad.tq");
  size_t size;
  ck_run_fails("", "/nonexistent/x.tq -p a", 1, "/nonexistent/x.tq");
  ck_run_fails(model, "MODEL -f /nonexistent/x", 1, "/nonexistent/x");
  uint8_t *bytes = read_file(model, &size);
  write_file(bad, bytes, size / 2);
  ck_run_fails(bad, "MODEL -p a", 3, "bad.tq");
  free(bytes);
  write_file(bad, "neither fish nor fowl", 21);
  ck_run_fails(bad, "MODEL -p a", 3, "bad.tq");
}
END_TEST

/* ---- the real model ---- */

/* Converts a shared file, with a shared tokenizer if one is named; NULL without shared data. */
static const char *convert_with(const char *relative, const char *tokenizer, const char *name) {
  const char *source = shared_path(relative), *target = temporary_path(name);
  if (!source) return NULL;
  const char *arguments[] = {"tq-convert", source, "-o", target, NULL, NULL, NULL};
  if (tokenizer) arguments[4] = "--tokenizer", arguments[5] = shared_path(tokenizer);
  char *errors;
  int status = run_tool(arguments, NULL, NULL, &errors);
  ck_assert_msg(status == 0, "%s: %s", relative, errors);
  free(errors);
  return target;
}

static const char *convert(const char *relative, const char *name) { return convert_with(relative, NULL, name); }

/* One of the continuations in golden/expected.txt. */
typedef struct golden {
  char prompt[64], ids[64], text[512];
} golden;

/* The text between two marks, without space around it. */
static void take_between(const char *from, const char *begin, const char *end, char *to, size_t room) {
  const char *start = strstr(from, begin);
  ck_assert_ptr_nonnull(start);
  start += strlen(begin);
  const char *stop = strstr(start, end);
  if (!stop) stop = start + strlen(start);
  while (start < stop && (*start == ' ' || *start == '\n')) start++;
  while (stop > start && (stop[-1] == ' ' || stop[-1] == '\n')) stop--;
  snprintf(to, room, "%.*s", (int)(stop - start), start);
}

static bool read_golden(int index, golden *to) {
  const char *path = shared_path("golden/expected.txt");
  size_t size;
  if (!path) return false;
  char *all = (char *)read_file(path, &size), *at = all;
  for (int i = 0; i <= index; i++) at = strstr(at, "# prompt: ") + 2;
  take_between(at, "prompt:", "\n", to->prompt, sizeof to->prompt);
  take_between(at, "ids with BOS: [", "]", to->ids, sizeof to->ids);
  take_between(at, "]\n", "\n# ", to->text, sizeof to->text);
  free(all);
  return true;
}

static void ck_greedy(const char *model, const golden *wanted, const char *kernels) {
  const char *const arguments[] = {"tq-run", model, "-p", wanted->prompt, "-n", "64", "--temp", "0", "--echo", NULL};
  char *output, *errors, trimmed[600];
  int status = run_tool(arguments, NULL, &output, &errors);
  ck_assert_msg(status == 0, "kernels %s: status %d: %s", kernels, status, errors);
  take_between(output, "", "\x01", trimmed, sizeof trimmed);
  ck_assert_msg(strcmp(trimmed, wanted->text) == 0, "kernels %s: \"%s\" is not \"%s\"", kernels, trimmed, wanted->text);
  free(output);
  free(errors);
}

START_TEST(greedy_texts_are_llama_cpps) {
  const char *model = _i % 2 ? convert_with("models/stories260K.bin", "models/tok512.bin", "stories.tq")
                             : convert("models/stories260K.gguf", "stories.tq");
  golden wanted;
  if (!model || !read_golden(_i / 2, &wanted)) return;
  const char *kernels;
  for (size_t i = 0; (kernels = next_kernel_set(&i));) ck_greedy(model, &wanted, kernels);
  char *output, *errors;
  const char *const tokenize[] = {"tq-run", model, "-p", wanted.prompt, "--tokenize", NULL};
  ck_assert_int_eq(run_tool(tokenize, NULL, &output, &errors), 0);
  char ids[64] = "";
  for (const char *c = output; *c && *c != '\n'; c++)
    snprintf(ids + strlen(ids), sizeof ids - strlen(ids), *c == ' ' ? ", " : "%c", *c);
  ck_assert_str_eq(ids, wanted.ids);
  free(output);
  free(errors);
}
END_TEST

/* The text is what the ids say, and both hang on the seed alone: not on the number of threads. */
START_TEST(seeds_decide_and_threads_do_not) {
  const char *model = convert("models/stories260K.gguf", "stories.tq");
  if (!model) return;
  outcome reference = run(model, "MODEL -p Once_upon -n 40 --temp 1.5 --top-p 1 --min-p 0 --seed 11 -t 1", NULL);
  outcome same = run(model, "MODEL -p Once_upon -n 40 --temp 1.5 --top-p 1 --min-p 0 --seed 11 -t 3", NULL);
  outcome other = run(model, "MODEL -p Once_upon -n 40 --temp 1.5 --top-p 1 --min-p 0 --seed 12 -t 1", NULL);
  outcome ids = run(model, "MODEL -p Once_upon -n 40 --temp 1.5 --top-p 1 --min-p 0 --seed 11 --ids", NULL);
  ck_assert_str_eq(reference.output, same.output);
  ck_assert_str_ne(reference.output, other.output);
  tq_file *file;
  tq_section section;
  tq_tokenizer *tokenizer;
  char text[2048];
  size_t size = 0, count = 0;
  ck_ok(tq_file_open(model, TQ_VERIFY_HEADER, &file, error));
  ck_assert(tq_file_find_section(file, "tokenizer", &section));
  ck_ok(tq_tokenizer_open(section.data, (size_t)section.size, &tokenizer, error));
  for (char *word = strtok(ids.output, " \n"); word; word = strtok(NULL, " \n"), count++)
    size += tq_tokenizer_piece(tokenizer, (uint32_t)atoi(word), false, text + size, sizeof text - size);
  text[size] = 0;
  ck_assert_uint_eq(count, 40);
  ck_assert_str_eq(reference.output, text);
  tq_tokenizer_close(tokenizer);
  tq_file_close(file);
  drop(&reference);
  drop(&same);
  drop(&other);
  drop(&ids);
}
END_TEST

START_TEST(foreign_files_are_told_how_to_convert) {
  const char *source = shared_path("models/stories260K.gguf"), *copy = temporary_path("it's mine.gguf");
  char expected[1200];
  size_t size;
  if (!source) return;
  snprintf(expected, sizeof expected, "first run: tq-convert %s -o stories260K.tq\n", source);
  ck_run_fails(source, "MODEL -p a", 3, expected);
  uint8_t *bytes = read_file(source, &size);
  write_file(copy, bytes, size);
  free(bytes);
  ck_run_fails(copy, "MODEL -p a", 3, "/it'\\''s mine.gguf' -o 'it'\\''s mine.tq'\n");
}
END_TEST

START_TEST(a_vocabulary_alone_tokenizes) {
  const char *model = convert("tokenizers/ggml-vocab-gpt-2.gguf", "vocabulary.tq");
  if (!model) return;
  ck_output(model, "MODEL --tokenize --no-bos -p Hello_World", "15496 2159\n");
  ck_run_fails(model, "MODEL -p Hello", 3, "unknown architecture \"gpt2\"");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("tq-run");
  TCase *known = tcase_create("known"), *real = tcase_create("real");
  tcase_add_test(known, text_runs_to_the_token_that_ends_it);
  tcase_add_test(known, ids_are_printed_instead);
  tcase_add_test(known, stop_texts_do_not_appear);
  tcase_add_test(known, held_text_is_not_lost);
  tcase_add_test(known, text_is_streamed_in_whole_characters);
  tcase_add_test(known, full_context_is_said);
  tcase_add_test(known, padding_of_the_vocabulary_is_not_said);
  tcase_add_test(known, tokens_without_embedding_are_told);
  tcase_add_test(known, output_that_cannot_be_written_ends_the_run);
  tcase_add_test(known, prompts_come_from_pipes);
  tcase_add_test(known, prompts_come_from_everywhere);
  tcase_add_test(known, tokenize_prints_ids);
  tcase_add_test(known, prompts_are_messages);
  tcase_add_test(known, replies_end_with_their_turn);
  tcase_add_test(known, messages_do_not_end_turns);
  tcase_add_test(known, unknown_chat_templates_are_refused);
  tcase_add_test(known, activations_are_chosen);
  tcase_add_test(known, types_of_cache_are_chosen);
  tcase_add_test(known, timing_and_seed_are_on_stderr);
  tcase_add_test(known, wrong_usage_is_told);
  tcase_add_test(known, help_fits_a_screen);
  tcase_add_test(known, files_that_cannot_be_run_are_refused);
  tcase_add_loop_test(real, greedy_texts_are_llama_cpps, 0, 6);
  tcase_add_test(real, seeds_decide_and_threads_do_not);
  tcase_add_test(real, foreign_files_are_told_how_to_convert);
  tcase_add_test(real, a_vocabulary_alone_tokenizes);
  suite_add_tcase(suite, known);
  suite_add_tcase(suite, real);
  return run_suite(suite);
}
