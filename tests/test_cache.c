/* What a session's memory is spent on: keys and values, and little else. */
#include "tests/random_model.h"
#include "tests/support.h"

#include <stdio.h>
#include <stdlib.h>

enum { LAYERS = 16, KV_HEADS = 2, HEAD = 128, CONTEXT = 1024, BATCH = 64, MEGABYTE = 1 << 20 };

static const random_spec spec = {.architecture = "llama",
                                 .layers = LAYERS,
                                 .dimension = 64,
                                 .feed_forward = 96,
                                 .heads = KV_HEADS,
                                 .kv_heads = KV_HEADS,
                                 .head_dimension = HEAD,
                                 .vocabulary = 47,
                                 .context = CONTEXT,
                                 .encoding = {.name = "F32", .encoding = TQ_F32},
                                 .seed = 7};

/* Bytes of this process that lie in memory and in no file, counted page by page; -1 where the system does not say. */
static long anonymous_bytes(void) {
  FILE *file = fopen("/proc/self/smaps_rollup", "r");
  char line[256];
  long kilobytes = -1;
  if (!file) return -1;
  while (kilobytes < 0 && fgets(line, sizeof line, file))
    if (sscanf(line, "Anonymous: %ld kB", &kilobytes) != 1) kilobytes = -1;
  fclose(file);
  return kilobytes < 0 ? -1 : kilobytes * 1024;
}

static void fill(tq_session *session) {
  uint32_t tokens[BATCH], positions[BATCH];
  const float *logits;
  for (uint32_t begin = 0; begin < CONTEXT; begin += BATCH) {
    for (uint32_t i = 0; i < BATCH; i++) tokens[i] = (begin + i) % spec.vocabulary, positions[i] = begin + i;
    tq_batch batch = {.count = BATCH, .tokens = tokens, .positions = positions};
    ck_ok(tq_forward(session, &batch, &logits, error));
  }
}

typedef struct growth {
  long made, filled; /* since before there was a session */
} growth;

static growth measure(const tq_model *model, tq_cache_type type) {
  tq_session *session;
  tq_session_options options = {.batch = BATCH, .threads = 2, .cache = type};
  growth of;
  long before = anonymous_bytes();
  ck_ok(tq_session_create(model, &options, &session, error));
  of.made = anonymous_bytes() - before;
  fill(session);
  of.filled = anonymous_bytes() - before;
  tq_session_destroy(session);
  return of;
}

/* Integers first: memory that the smaller arrays gave back is not large enough for the others, which would else not
 * show. */
START_TEST(memory_is_what_the_cache_explains) {
  const char *path = temporary_path("model.tq");
  const double floats = 2.0 * LAYERS * KV_HEADS * HEAD * CONTEXT * 2;
  tq_file *file;
  tq_model *model;
  if (anonymous_bytes() < 0) return;
  random_model_free(random_model_write(&spec, path));
  ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
  ck_ok(tq_model_create(file, &model, error));
  growth q8 = measure(model, TQ_CACHE_Q8), f16 = measure(model, TQ_CACHE_F16);
  ck_assert_msg(q8.made < 4 * MEGABYTE && f16.made < 4 * MEGABYTE, "%ld and %ld bytes before there are positions",
                q8.made, f16.made);
  ck_assert_msg((double)f16.filled > 0.9 * floats && (double)f16.filled < 1.15 * floats + 4 * MEGABYTE,
                "%ld bytes for a cache of %.0f", f16.filled, floats);
  ck_assert_msg((double)q8.filled > 0.4 * floats && (double)q8.filled < 0.6 * (double)f16.filled,
                "%ld bytes with integers, %ld with floats", q8.filled, f16.filled);
  tq_model_destroy(model);
  tq_file_close(file);
}
END_TEST

/* A sanitizer has memory of its own beside the program's. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(SANITIZED)
enum { MEASURED = 0 };
#else
enum { MEASURED = 1 };
#endif

int main(void) {
  Suite *suite = suite_create("cache");
  TCase *memory = tcase_create("memory");
  tcase_add_loop_test(memory, memory_is_what_the_cache_explains, 0, MEASURED);
  suite_add_tcase(suite, memory);
  return run_suite(suite);
}
