/* The manual pages say what the tools' --help says. */
#include "tests/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tools[] = {"tq-convert", "tq-inspect", "tq-run", "tq-eval", "tq-bench"};

/* True when the page has the text, and behind it a space or the end of the line. */
static bool has_word(const char *page, const char *text) {
  size_t length = strlen(text);
  for (const char *hit = page; (hit = strstr(hit, text)); hit++)
    if (strchr(" \n", hit[length])) return true;
  return false;
}

/* Looks for every long option of `text` in the manual page, where "--top-k" is written "Fl -top-k", and "-o, --output"
 * "Fl o , -output". Returns how many there are; `absent` gets the first that the page lacks. */
static int compare_options(const char *text, const char *page, char absent[64]) {
  int count = 0;
  absent[0] = 0;
  for (const char *at = text; (at = strstr(at, " --")); count++) {
    at += 3;
    int length = (int)strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789-");
    char alone[64], with_letter[64];
    snprintf(alone, sizeof alone, "Fl -%.*s", length, at);
    snprintf(with_letter, sizeof with_letter, ", -%.*s", length, at);
    if (!absent[0] && !has_word(page, alone) && !has_word(page, with_letter))
      snprintf(absent, 64, "--%.*s", length, at);
  }
  return count;
}

START_TEST(manual_has_every_option) {
  const char *arguments[] = {tools[_i], "--help", NULL};
  char *help, path[64], absent[64];
  ck_assert_int_eq(run_tool(arguments, NULL, &help, NULL), 0);
  snprintf(path, sizeof path, "docs/man/%s.1", tools[_i]);
  size_t size;
  char *page = (char *)read_file(path, &size);
  ck_assert_int_gt(compare_options(help, page, absent), 3);
  ck_assert_msg(absent[0] == 0, "%s says nothing of %s", path, absent);
  free(page);
  free(help);
}
END_TEST

START_TEST(missing_options_are_seen) {
  char absent[64];
  const char *page = ".It Fl t , -threads Ar n\n.It Fl -json\n.It Fl -help\n";
  ck_assert_int_eq(compare_options("  -t, --threads N\n  --help, --json\n", page, absent), 3);
  ck_assert_str_eq(absent, "");
  ck_assert_int_eq(compare_options("  --thread N, --js\n", page, absent), 2);
  ck_assert_str_eq(absent, "--thread");
}
END_TEST

int main(void) {
  Suite *suite = suite_create("manual");
  TCase *tests = tcase_create("manual");
  tcase_add_loop_test(tests, manual_has_every_option, 0, sizeof tools / sizeof *tools);
  tcase_add_test(tests, missing_options_are_seen);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
