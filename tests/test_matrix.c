/* Every pair of dialects, for every kind of ternary tensor: what one holds comes out of the other weight for weight, or
 * is refused with nothing written. What is expected is worked out here from what the dialects' descriptions say.
 *
 * With --print it only prints the matrix, which docs/dialects.md holds. */
#include "formats/dialects/encode.h"
#include "formats/format.h"
#include "formats/import.h"
#include "tests/container_support.h"
#include "tests/support.h"
#include "tests/ternary_files.h"
#include "tq/metadata.h"
#include "tq/ternary.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One q matrix, so that GGUF holds its rows in another order than the .tq file and a folder do. */
enum { ROWS = 24, COLUMNS = 512, WEIGHTS = ROWS * COLUMNS, HEADS = 2 };
static const char role[] = "layers.0.q";

/* ---- what the dialects can say, by their descriptions ---- */

enum { ANY = 1 }; /* weights that share a scale in plain floats */

typedef struct facts {
  const char *name, *carriers[2], *i2s;
  unsigned share; /* weights that share a scale */
  char type;      /* of the scale: h F16, b BF16, f F32 */
  bool inverted, fours;
  bool has_scale_beside; /* llama.cpp's own: it multiplies by a tensor NAME.scale */
} facts;

static const facts table[] = {
    {"IQ1_BN", {"gguf"}, NULL, COLUMNS, 'h', false, false, false},
    {"TQ1_0", {"gguf"}, NULL, 256, 'h', false, false, true},
    {"PTQ1_0", {"gguf"}, NULL, 128, 'h', false, false, false},
    {"I2_S", {"gguf"}, NULL, WEIGHTS, 'f', false, false, false},
    {"I2_S_ARM", {"gguf"}, "I2_S_ARM", WEIGHTS, 'f', false, false, false},
    {"I2_S_ROWS", {"gguf"}, "I2_S_ROWS", WEIGHTS, 'f', false, false, false},
    {"IQ2_BN", {"gguf"}, NULL, COLUMNS, 'f', false, false, false},
    {"IQ2_BN_R4", {"gguf"}, NULL, COLUMNS, 'f', false, false, false},
    {"TQ2_0", {"gguf"}, NULL, 256, 'h', false, true, true},
    {"PQ2_0", {"gguf"}, NULL, 128, 'h', false, true, false},
    {"Q2_0_G128", {"gguf"}, NULL, 128, 'h', false, true, false},
    {"Q2_0", {"gguf"}, NULL, 64, 'h', false, true, true},
    {"bitlinear", {"hf"}, NULL, WEIGHTS, 'f', true, false, false},
    {"autobitlinear", {"hf"}, NULL, WEIGHTS, 'f', false, false, false},
    {"BF16", {"gguf", "hf"}, NULL, ANY, 'b', false, false, false},
    {"F16", {"gguf", "hf"}, NULL, ANY, 'h', false, false, false},
    {"F32", {"gguf", "hf"}, NULL, ANY, 'f', false, false, false},
};
enum { DIALECTS = sizeof table / sizeof table[0] };

/* ---- kinds of tensors ---- */

typedef enum palette_kind { POWERS, HALVES, FLOATS, PALETTES } palette_kind;

static const struct {
  const char *name;
  unsigned share;
  uint32_t granularity, group;
} shares[] = {{"tensor", WEIGHTS, TQ_PER_TENSOR, 0},
              {"row", COLUMNS, TQ_PER_ROW, 0},
              {"g256", 256, TQ_PER_GROUP, 256},
              {"g128", 128, TQ_PER_GROUP, 128},
              {"g64", 64, TQ_PER_GROUP, 64}};
enum { SHARES = sizeof shares / sizeof shares[0], KINDS = SHARES * PALETTES * 2 * 2 };

typedef struct kind {
  size_t share; /* index into shares */
  palette_kind palette;
  bool inverted, fours;
} kind;

static kind kind_at(int number) {
  unsigned n = (unsigned)number, palettes = n / 4 % PALETTES;
  return (kind){n / 4 / PALETTES, (palette_kind)palettes, (n & 1) != 0, (n & 2) != 0};
}

static unsigned scale_count(const kind *of) { return WEIGHTS / shares[of->share].share; }

/* Scale k as the .tq file stores it. Neighbours differ, so that no coarser granularity is exact. */
static float stored_scale(const kind *of, unsigned k) {
  if (of->palette == POWERS) return ldexpf(1, of->inverted ? (int)(4 + k % 3) : -(int)(4 + k % 3));
  unsigned step = k * 37 % 300;
  /* All 11 bits of an F16 in use. */
  if (of->palette == HALVES) return (float)(1025 + 2 * step) / (of->inverted ? 64.0f : 32768.0f);
  return of->inverted ? 16.1f + 0.037f * (float)step : 0.06f + 0.0007f * (float)step;
}

/* What a trit is multiplied by. */
static float scale_of(const kind *of, unsigned k) {
  float stored = stored_scale(of, k);
  return of->inverted ? 1 / stored : stored;
}

/* ---- what is to be expected ---- */

typedef enum verdict { EXACT, BESIDE, GROUPS, TYPE, RECIPROCAL, FOURS } verdict;

static const char *const words[] = {"exact", ".scale", "groups", "type", "1/s", "+2"};
/* What the message of a refusal says, and of none else. */
static const char *const reasons[] = {
    NULL, NULL, "meet in one", "is not exact in", ", inverted", "of its weights are +2"};

/* True when the number, of usual size, has at most so many bits. */
static bool has_bits(float number, int bits) {
  int exponent;
  float mantissa = ldexpf(frexpf(number, &exponent), bits);
  return mantissa == floorf(mantissa) && exponent > -13 && exponent < 16;
}

static bool has_reciprocal(float number) {
  float near = 1 / number;
  for (int i = 0; i < 8; i++) near = nextafterf(near, 0);
  for (int i = 0; i < 16; i++, near = nextafterf(near, INFINITY)) {
    if (1 / near == number) return true;
  }
  return false;
}

static bool can_say(const facts *dialect, float scale) {
  if (dialect->inverted) return has_reciprocal(scale);
  return dialect->type == 'f' || has_bits(scale, dialect->type == 'h' ? 11 : 8);
}

static bool can_say_all(const facts *dialect, const kind *of) {
  for (unsigned k = 0; k < scale_count(of); k++) {
    if (!can_say(dialect, scale_of(of, k))) return false;
  }
  return true;
}

static verdict expected(const kind *of, const facts *dialect) {
  if (of->fours && !dialect->fours) return FOURS;
  if (dialect->share <= shares[of->share].share && can_say_all(dialect, of)) return EXACT;
  if (dialect->has_scale_beside && shares[of->share].share == WEIGHTS) return BESIDE;
  if (dialect->share > shares[of->share].share) return GROUPS;
  return dialect->inverted ? RECIPROCAL : TYPE;
}

/* ---- the matrix as text ---- */

static void print_name(FILE *out, const kind *of) {
  static const char *const palettes[] = {"2^k", "F16", "F32"};
  fprintf(out, "| %s, %s%s%s |", shares[of->share].name, of->inverted ? "1/" : "", palettes[of->palette],
          of->fours ? ", +2" : "");
}

static void print_matrix(FILE *out) {
  fputs("| tensor |", out);
  for (size_t i = 0; i < DIALECTS; i++) fprintf(out, " %s |", table[i].name);
  fputs("\n|---|", out);
  for (size_t i = 0; i < DIALECTS; i++) fputs("---|", out);
  fputc('\n', out);
  for (int n = 0; n < KINDS; n++) {
    kind of = kind_at(n);
    print_name(out, &of);
    for (size_t i = 0; i < DIALECTS; i++) fprintf(out, " %s |", words[expected(&of, &table[i])]);
    fputc('\n', out);
  }
}

/* ---- a tensor of each kind ---- */

/* Every group has weights other than 0, and a +2 where there is to be one. */
static void fill_trits(const kind *of, int8_t *trits) {
  uint64_t state = 11;
  for (unsigned i = 0; i < WEIGHTS; i++)
    trits[i] = i % 32 == 5 ? 1 : of->fours && i % 32 == 9 ? 2 : (int8_t)((int)(random_u64(&state) % 3) - 1);
}

static void add_keys(tq_metadata_builder *keys) {
  static const struct {
    const char *key;
    uint32_t value;
  } sizes[] = {{"llama.block_count", 1},
               {"llama.context_length", 64},
               {"llama.embedding_length", COLUMNS},
               {"llama.feed_forward_length", COLUMNS},
               {"llama.attention.head_count", HEADS},
               {"llama.attention.head_count_kv", HEADS},
               {"llama.attention.key_length", ROWS / HEADS},
               {"llama.attention.value_length", ROWS / HEADS},
               {"llama.rope.dimension_count", ROWS / HEADS},
               {"llama.vocab_size", 32}};
  ck_ok(tq_metadata_add_string(keys, "general.architecture", "llama", 5, error));
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
    ck_ok(tq_metadata_add_u32(keys, sizes[i].key, sizes[i].value, error));
  ck_ok(tq_metadata_add_f32(keys, "llama.attention.layer_norm_rms_epsilon", 1e-5f, error));
}

static void write_container(const ternary *tensor, const char *path) {
  static const uint8_t none[16];
  tq_metadata_builder keys = {0};
  tq_writer *writer;
  add_keys(&keys);
  ck_ok(tq_writer_create(path, 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, keys.data, keys.size, keys.count, error));
  ck_ok(ternary_put(writer, tensor, role, 0, NULL, 0, error));
  ck_ok(tq_writer_finish(writer, none, none, error));
  tq_metadata_builder_free(&keys);
}

/* The weights, by their definition. */
typedef struct logical {
  float values[WEIGHTS];
  uint8_t digest[16];
} logical;

static tq_file *make(const kind *of, logical *wanted) {
  static const uint64_t shape[] = {ROWS, COLUMNS};
  int8_t trits[WEIGHTS];
  uint8_t scales[4 * WEIGHTS / 64];
  ternary tensor = {.rows = ROWS,
                    .columns = COLUMNS,
                    .code = of->fours ? TQ_QUATERNARY_2BIT : TQ_TERNARY_BASE3,
                    .granularity = shares[of->share].granularity,
                    .group = shares[of->share].group,
                    .encoding = of->palette == FLOATS ? TQ_F32 : TQ_F16,
                    .direction = of->inverted ? TQ_INVERTED : TQ_DIRECT,
                    .trits = trits,
                    .table = scales};
  fill_trits(of, trits);
  for (unsigned k = 0; k < scale_count(of); k++) {
    unsigned first = k * shares[of->share].share; /* of the weights that have it */
    uint64_t index = tq_scale_index(tensor.granularity, tensor.group, ROWS, COLUMNS, first / COLUMNS, first % COLUMNS);
    ternary_set_scale(&tensor, index, stored_scale(of, k));
  }
  for (unsigned i = 0; i < WEIGHTS; i++)
    wanted->values[i] = trits[i] ? (float)trits[i] * scale_of(of, i / shares[of->share].share) : 0;
  tq_content_hash *hash;
  ck_ok(tq_content_hash_create(shape, 2, &hash, error));
  tq_content_hash_update(hash, wanted->values, WEIGHTS);
  tq_content_hash_final(hash, wanted->digest);
  tq_content_hash_destroy(hash);
  const char *path = temporary_path("made.tq");
  tq_file *file;
  write_container(&tensor, path);
  ck_ok(tq_file_open(path, TQ_VERIFY_FULL, &file, error));
  return file;
}

/* ---- from a .tq file to a dialect and back ---- */

static void remove_folder(const char *path) {
  DIR *folder = opendir(path);
  char inside[4096];
  if (!folder) return;
  for (const struct dirent *entry; (entry = readdir(folder));) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
    if (unlink(inside)) remove_folder(inside);
  }
  closedir(folder);
  ck_assert_int_eq(rmdir(path), 0);
}

static bool is_empty(const char *path) {
  DIR *folder = opendir(path);
  size_t count = 0;
  ck_assert_ptr_nonnull(folder);
  while (readdir(folder)) count++;
  closedir(folder);
  return count == 2;
}

/* What was to be done, for messages. */
typedef struct step {
  const kind *of;
  const char *from;
  const facts *to;
  const char *carrier;
} step;

static const char *told(const step *at) {
  static char text[256];
  snprintf(text, sizeof text, "%s, palette %d, inverted %d, +2 %d: %s -> %s (%s)", shares[at->of->share].name,
           (int)at->of->palette, at->of->inverted, at->of->fours, at->from, at->to->name, at->carrier);
  return text;
}

static verdict judge(tq_status status, const char *message, const char *source_type) {
  if (!status) return strstr(source_type, "+scale") ? BESIDE : EXACT;
  for (size_t i = FOURS; i > EXACT; i--) {
    if (reasons[i] && strstr(message, reasons[i])) return (verdict)i;
  }
  return EXACT;
}

static void ck_weights(const step *at, const tq_file *file, const logical *wanted) {
  float values[WEIGHTS];
  size_t index = tq_file_find_role(file, role);
  ck_assert_msg(index != SIZE_MAX && tq_file_tensor_count(file) == 1, "%s", told(at));
  const tq_tensor *tensor = tq_file_tensor(file, index);
  ck_ok(tq_tensor_decode(file, index, 0, ROWS, values, error));
  ck_assert_msg(tq_tensor_is_ternary(tensor), "%s: it is no more ternary", told(at));
  ck_assert_msg(memcmp(values, wanted->values, sizeof values) == 0, "%s: other weights", told(at));
  ck_assert_msg(memcmp(tensor->content_digest, wanted->digest, 16) == 0, "%s: another digest", told(at));
  ck_assert_msg(strncmp(tensor->source_type, at->to->name, strlen(at->to->name)) == 0, "%s: came back as %s", told(at),
                tensor->source_type);
}

static tq_file *take_in(const step *at, const char *path, const char *container) {
  tq_checkpoint *checkpoint;
  tq_file *file;
  static unsigned turn;
  tq_open_options options = {.i2s_dialect = at->to->i2s};
  ck_ok(tq_checkpoint_open(path, &options, &checkpoint, error));
  ck_ok(tq_import_by(NULL, checkpoint, container, turn++ % 2 ? TQ_TERNARY_2BIT : TQ_TERNARY_BASE3, 0, NULL, error));
  tq_checkpoint_close(checkpoint);
  ck_ok(tq_file_open(container, TQ_VERIFY_FULL, &file, error));
  return file;
}

/* Writes `file` in a dialect and takes it in again as `container`, which is NULL where it was refused. Whatever happens
 * must be what is expected. */
static tq_file *carry(const step *at, const tq_file *file, const logical *wanted, const char *container) {
  const char *folder = temporary_path("out");
  char path[4096];
  tq_buffer notes = {0};
  tq_error problem = {0};
  tq_file *copy = NULL;
  remove_folder(folder); /* a test that failed leaves it */
  ck_assert_int_eq(mkdir(folder, 0777), 0);
  snprintf(path, sizeof path, "%s/model%s", folder, strcmp(at->carrier, "gguf") == 0 ? ".gguf" : "");
  tq_write_options options = {.type = tq_dialect_find(at->to->name)};
  tq_status status = tq_format_find(at->carrier)->write(file, path, &options, &notes, &problem);
  verdict wants = expected(at->of, at->to);
  if (!status) {
    copy = take_in(at, path, container);
    ck_weights(at, copy, wanted);
    const char *type = tq_file_tensor(copy, 0)->source_type;
    ck_assert_msg(judge(status, "", type) == wants, "%s: should be '%s', is %s", told(at), words[wants], type);
  } else {
    ck_assert_msg(status == TQ_ERROR_REFUSED && judge(status, problem.message, "") == wants,
                  "%s: should be '%s', is %d: %s", told(at), words[wants], (int)status, problem.message);
    ck_assert_msg(strstr(problem.message, tq_file_tensor(file, 0)->name), "%s: no tensor is named: %s", told(at),
                  problem.message);
    ck_assert_msg(is_empty(folder), "%s: refused, and something written", told(at));
  }
  bool is_said = memmem(notes.data ? notes.data : (const uint8_t *)"", notes.size, ".scale", 6) != NULL;
  ck_assert_msg(is_said == (!status && wants == BESIDE), "%s: the notes do not tell of .scale", told(at));
  tq_buffer_free(&notes);
  remove_folder(folder);
  return copy;
}

/* From one dialect to all. */
static void check_source(const kind *of, const tq_file *made, const facts *source, const char *carrier,
                         const logical *wanted) {
  tq_file *first = carry(&(step){of, ".tq", source, carrier}, made, wanted, temporary_path("first.tq"));
  if (!first) return;
  for (size_t i = 0; i < DIALECTS; i++) {
    for (size_t c = 0; c < 2 && table[i].carriers[c]; c++) {
      step at = {of, source->name, &table[i], table[i].carriers[c]};
      tq_file_close(carry(&at, first, wanted, temporary_path("second.tq")));
    }
  }
  tq_file_close(first);
}

START_TEST(every_pair) {
  static logical wanted;
  kind of = kind_at(_i);
  tq_file *made = make(&of, &wanted);
  for (size_t i = 0; i < DIALECTS; i++) {
    for (size_t c = 0; c < 2 && table[i].carriers[c]; c++)
      check_source(&of, made, &table[i], table[i].carriers[c], &wanted);
  }
  tq_file_close(made);
}
END_TEST

/* ---- that the test asks what it is meant to ---- */

START_TEST(every_dialect_is_there) {
  for (size_t i = 0; i < DIALECTS; i++) {
    ck_assert_ptr_nonnull(tq_dialect_at(i));
    ck_assert_str_eq(tq_dialect_at(i)->name, table[i].name);
  }
  ck_assert_ptr_null(tq_dialect_at(DIALECTS));
}
END_TEST

/* The scales are what their palettes promise. */
START_TEST(palettes) {
  for (int n = 0; n < KINDS; n++) {
    kind of = kind_at(n);
    for (unsigned k = 0; k < scale_count(&of); k++) {
      float scale = scale_of(&of, k);
      bool is_power = of.palette == POWERS, is_half = is_power || (of.palette == HALVES && !of.inverted);
      ck_assert(has_bits(scale, 8) == is_power && has_bits(scale, 11) == is_half);
      ck_assert(k == 0 || scale != scale_of(&of, k - 1));
    }
  }
}
END_TEST

/* Every outcome is met with every dialect that can have it. */
START_TEST(outcomes) {
  bool met[DIALECTS][FOURS + 1] = {{0}};
  for (int n = 0; n < KINDS; n++) {
    kind of = kind_at(n);
    for (size_t i = 0; i < DIALECTS; i++) met[i][expected(&of, &table[i])] = true;
  }
  for (size_t i = 0; i < DIALECTS; i++) {
    const facts *dialect = &table[i];
    ck_assert(met[i][EXACT]);
    ck_assert(met[i][BESIDE] == dialect->has_scale_beside);
    ck_assert(met[i][GROUPS] == (dialect->share > 64));
    ck_assert(met[i][TYPE] == (dialect->type != 'f'));
    ck_assert(met[i][RECIPROCAL] == dialect->inverted);
    ck_assert(met[i][FOURS] == !dialect->fours);
  }
}
END_TEST

START_TEST(the_document_has_the_matrix) {
  char *text;
  size_t size, length;
  FILE *out = open_memstream(&text, &size);
  ck_assert_ptr_nonnull(out);
  print_matrix(out);
  fclose(out);
  char *page = (char *)read_file("docs/dialects.md", &length);
  ck_assert_msg(strstr(page, text),
                "docs/dialects.md has another matrix; 'test_matrix --print' prints the one it should");
  free(page);
  free(text);
}
END_TEST

int main(int count, char **arguments) {
  print_matrix(stdout);
  fflush(stdout);
  if (count == 2 && strcmp(arguments[1], "--print") == 0) return 0;
  Suite *suite = suite_create("matrix");
  TCase *pairs = tcase_create("pairs");
  tcase_set_timeout(pairs, 120);
  tcase_add_loop_test(pairs, every_pair, 0, KINDS);
  suite_add_tcase(suite, pairs);
  TCase *sense = tcase_create("sense");
  tcase_add_test(sense, every_dialect_is_there);
  tcase_add_test(sense, palettes);
  tcase_add_test(sense, outcomes);
  tcase_add_test(sense, the_document_has_the_matrix);
  suite_add_tcase(suite, sense);
  return run_suite(suite);
}
