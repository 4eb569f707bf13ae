#include "tools/reading.h"

#include "tools/tool.h"

#include <string.h>

bool reading_is_option(int option) { return option >= READING_ASSUME && option <= READING_WEIGHT_SCALE; }

static int parse_assume(const char *value, tq_assume *assume) {
  static const struct {
    const char *name;
    tq_assume assume;
  } rows[] = {{"float", {.is_given = true, .is_float = true}},
              {"tensor", {.is_given = true, .granularity = TQ_PER_TENSOR}},
              {"row", {.is_given = true, .granularity = TQ_PER_ROW}},
              {"g32", {.is_given = true, .granularity = TQ_PER_GROUP, .group = 32}},
              {"g64", {.is_given = true, .granularity = TQ_PER_GROUP, .group = 64}},
              {"g128", {.is_given = true, .granularity = TQ_PER_GROUP, .group = 128}},
              {"g256", {.is_given = true, .granularity = TQ_PER_GROUP, .group = 256}}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (strcmp(rows[i].name, value) != 0) continue;
    *assume = rows[i].assume;
    return -1;
  }
  return tool_usage("--assume is float, tensor, row, g32, g64, g128 or g256, not '%s'", value);
}

static int parse_group(const char *value, uint32_t *group) {
  *group = strcmp(value, "64") == 0 ? 64 : strcmp(value, "128") == 0 ? 128 : 0;
  return *group ? -1 : tool_usage("--q2-group is 64 or 128, not '%s'", value);
}

static int parse_layout(const char *value, const char **dialect) {
  static const struct {
    const char *name, *dialect;
  } rows[] = {{"published", "I2_S"}, {"arm", "I2_S_ARM"}, {"rows", "I2_S_ROWS"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (strcmp(rows[i].name, value) != 0) continue;
    *dialect = rows[i].dialect;
    return -1;
  }
  return tool_usage("--i2s-layout is published, arm or rows, not '%s'", value);
}

static int parse_direction(const char *value, tq_open_options *options) {
  bool direct = strcmp(value, "direct") == 0;
  if (!direct && strcmp(value, "inverted") != 0)
    return tool_usage("--weight-scale is direct or inverted, not '%s'", value);
  options->weight_scales = direct ? TQ_SCALES_DIRECT : TQ_SCALES_INVERTED;
  return -1;
}

int reading_parse(int option, const char *value, tq_open_options *options) {
  switch (option) {
  case READING_ASSUME:
    return parse_assume(value, &options->assume);
  case READING_Q2_GROUP:
    return parse_group(value, &options->q2_group);
  case READING_I2S_LAYOUT:
    return parse_layout(value, &options->i2s_dialect);
  default:
    return parse_direction(value, options);
  }
}

bool reading_is_given(const tq_open_options *options) {
  return options->assume.is_given || options->q2_group || options->i2s_dialect || options->weight_scales;
}

static bool is_q2(const tq_dialect *dialect) { return dialect->gguf_type == 42; }
static bool is_i2s(const tq_dialect *dialect) { return dialect->gguf_type == 36; }
static bool has_weight_scale(const tq_dialect *dialect) { return dialect->scale_place == TQ_SCALE_IN_A_TENSOR; }

static bool has_tensor(const tq_checkpoint *checkpoint, bool (*is_meant)(const tq_dialect *)) {
  for (size_t i = 0; i < checkpoint->tensor_count; i++) {
    const tq_dialect *dialect = checkpoint->tensors[i].form.dialect;
    if (dialect && is_meant(dialect)) return true;
  }
  return false;
}

void reading_print_unused(const tq_checkpoint *checkpoint, const tq_open_options *options) {
  const struct {
    bool is_given;
    const char *name, *needed;
    bool (*is_meant)(const tq_dialect *);
  } rows[] = {{options->q2_group != 0, "--q2-group", "of GGUF's type 42", is_q2},
              {options->i2s_dialect != NULL, "--i2s-layout", "of GGUF's type 36", is_i2s},
              {options->weight_scales != TQ_SCALES_AS_DECLARED, "--weight-scale", "packed with a weight_scale",
               has_weight_scale}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    if (!rows[i].is_given || has_tensor(checkpoint, rows[i].is_meant)) continue;
    fprintf(stderr, "%s has nothing to apply to: no tensor is %s\n", rows[i].name, rows[i].needed);
  }
}

void reading_print_from(const tq_buffer *lines, size_t start) {
  if (lines->size > start) fwrite(lines->data + start, 1, lines->size - start, stderr);
}
