/* Models whose files the container accepts, for it carries what it does not understand, and that must be refused. */
#include "tests/random_model.h"
#include "tests/support.h"

/* Scales of an encoding that nobody knows are carried, whatever their measures are. */
START_TEST(scales_of_unknown_encodings_are_refused) {
  static const uint32_t encodings[] = {TQ_TERNARY_2BIT, TQ_TERNARY_BASE3, TQ_QUATERNARY_2BIT, TQ_I8};
  static const struct {
    uint32_t granularity, group;
  } measures[] = {{TQ_PER_TENSOR, 0}, {TQ_PER_ROW, 0}, {TQ_PER_GROUP, 32}, {TQ_PER_GROUP, 7}};
  random_spec spec = {.architecture = "llama",
                      .layers = 1,
                      .dimension = 64,
                      .feed_forward = 96,
                      .heads = 4,
                      .kv_heads = 2,
                      .head_dimension = 16,
                      .vocabulary = 40,
                      .context = 32,
                      .seed = 3};
  const char *path = temporary_path("hostile.tq");
  for (size_t i = 0; i < 16; i++) {
    tq_file *file;
    tq_model *model;
    spec.encoding = (random_encoding){.name = "hostile",
                                      .encoding = encodings[i / 4],
                                      .scale_encoding = 4711,
                                      .granularity = measures[i % 4].granularity,
                                      .group = measures[i % 4].group};
    random_model_free(random_model_write(&spec, path));
    ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
    ck_fails(tq_model_create(file, &model, error), TQ_ERROR_CORRUPT,
             i < 12 ? "hostile.tq: tensor layers.0.q: its scales' encoding cannot be computed with"
                    : "hostile.tq: tensor embedding: its scales' encoding cannot be computed with");
    tq_file_close(file);
  }
}
END_TEST

int main(void) {
  Suite *suite = suite_create("hostile models");
  TCase *refused = tcase_create("refused");
  tcase_add_test(refused, scales_of_unknown_encodings_are_refused);
  suite_add_tcase(suite, refused);
  return run_suite(suite);
}
