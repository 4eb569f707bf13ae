/* Names across carriers: what the tables say there and back. */
#include "formats/names.h"
#include "model/architecture.h"
#include "tests/support.h"

#include <string.h>

START_TEST(linear_roles) {
  static const struct {
    const char *role;
    size_t linear;
  } linear[] = {{"layers.0.q", TQ_LINEAR_Q},        {"layers.12.k", TQ_LINEAR_K},      {"layers.7.v", TQ_LINEAR_V},
                {"layers.1.o", TQ_LINEAR_O},        {"layers.1.gate", TQ_LINEAR_GATE}, {"layers.1.up", TQ_LINEAR_UP},
                {"layers.123.down", TQ_LINEAR_DOWN}};
  static const char *const others[] = {"embedding", "head",       "layers.0.q_bias", "layers.0.ffn_norm",
                                       "layers.q",  "layers.0.",  "layers.0.q_norm", "xlayers.0.q",
                                       "",          "layers.0.qq"};
  size_t number;
  for (size_t i = 0; i < sizeof linear / sizeof *linear; i++) {
    ck_assert(tq_role_is_linear(linear[i].role, &number));
    ck_assert_uint_eq(number, linear[i].linear);
  }
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) ck_assert(!tq_role_is_linear(others[i], &number));
}
END_TEST

/* Every role that GGUF and Hugging Face both have a name for comes back from each of them. */
START_TEST(names_come_back) {
  static const char *const roles[] = {"embedding",
                                      "head",
                                      "final_norm",
                                      "layers.3.q",
                                      "layers.3.k_bias",
                                      "layers.3.q_norm",
                                      "layers.3.k_norm",
                                      "layers.3.down",
                                      "layers.3.attention_sub_norm",
                                      "layers.3.ffn_sub_norm"};
  char name[128], role[128];
  for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
    for (tq_carrier carrier = TQ_CARRIER_GGUF; carrier <= TQ_CARRIER_HF; carrier++) {
      ck_assert_msg(tq_name_from_role(carrier, roles[i], name, sizeof name), "%s has no name", roles[i]);
      ck_assert(tq_role_from_name(carrier, name, role, sizeof role));
      ck_assert_str_eq(role, roles[i]);
    }
  }
  ck_assert(!tq_role_from_name(TQ_CARRIER_HF, "model.layers.03.self_attn.q_proj.weight", role, sizeof role));
}
END_TEST

START_TEST(scales_have_names_in_gguf_only) {
  char name[128];
  ck_assert(tq_name_from_role(TQ_CARRIER_GGUF, "layers.7.down_scale", name, sizeof name));
  ck_assert_str_eq(name, "blk.7.ffn_down.scale");
  ck_assert(!tq_name_from_role(TQ_CARRIER_HF, "layers.7.down_scale", name, sizeof name));
}
END_TEST

int main(void) {
  Suite *suite = suite_create("names");
  TCase *tests = tcase_create("names");
  tcase_add_test(tests, linear_roles);
  tcase_add_test(tests, names_come_back);
  tcase_add_test(tests, scales_have_names_in_gguf_only);
  suite_add_tcase(suite, tests);
  return run_suite(suite);
}
