#include "base/memory.h"
#include "tools/inspect.h"
#include "tq/chat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool has_role(const inspect_model *model, const char *role) {
  for (size_t i = 0; i < model->tensor_count; i++)
    if (strcmp(model->tensors[i].role, role) == 0) return true;
  return false;
}

static const char *chat_template_name(tq_string jinja) {
  const tq_chat_template *found = jinja.size ? tq_chat_template_detect(jinja) : NULL;
  for (size_t i = 0; found && tq_chat_template_name(i); i++)
    if (tq_chat_template_by_name(tq_chat_template_name(i)) == found) return tq_chat_template_name(i);
  return NULL;
}

/* What of the view is read from metadata and tokenizer tables, whichever file they came from. */
static tq_status fill_model(inspect_model *model, tq_error *error) {
  model->unreadable.status = tq_hyperparameters_read(model->metadata, &model->hyperparameters, &model->unreadable);
  model->hyperparameters.tied_head = has_role(model, "embedding") && !has_role(model, "head");
  tq_section section = {0};
  if (model->checkpoint) {
    section.data = model->checkpoint->tokenizer;
    section.size = model->checkpoint->tokenizer_size;
  } else {
    tq_file_find_section(model->file, "tokenizer", &section);
  }
  if (!section.data) return TQ_OK;
  tq_status status = tq_tokenizer_open(section.data, (size_t)section.size, &model->tokenizer, error);
  if (!status) model->chat_template = chat_template_name(tq_tokenizer_chat_template(model->tokenizer));
  return status;
}

/* The readings that were taken of a foreign file, now or when the .tq file was made of it. */
static void fill_readings(inspect_model *model) {
  tq_section section = {0};
  if (model->checkpoint) {
    model->readings = (const char *)model->checkpoint->readings.data;
    model->readings_size = model->checkpoint->readings.size;
  } else if (tq_file_find_section(model->file, "readings", &section)) {
    model->readings = (const char *)section.data;
    model->readings_size = (size_t)section.size;
  }
}

tq_status inspect_open(const char *path, const tq_open_options *options, inspect_needs needs, inspect_model *model,
                       tq_error *error) {
  *model = (inspect_model){.path = path, .verified = needs.verified};
  tq_status status;
  if (tq_file_recognize(path)) {
    status = tq_file_open(path, needs.verified ? TQ_VERIFY_FULL : TQ_VERIFY_LAZY, &model->file, error);
    if (!status) status = inspect_fill_container(model, error);
  } else {
    status = tq_checkpoint_open(path, options, &model->checkpoint, error);
    if (!status) status = inspect_fill_foreign(model, needs, error);
  }
  if (status) return status;
  fill_readings(model);
  status = fill_model(model, error);
  if (!status && model->file && needs.verified == INSPECT_CONTENT) status = inspect_verify_content(model, error);
  return status;
}

void inspect_close(inspect_model *model) {
  tq_tokenizer_close(model->tokenizer);
  tq_free(model->tensors);
  tq_file_close(model->file);
  tq_checkpoint_close(model->checkpoint);
}

const char *inspect_granularity_name(uint32_t granularity) {
  return granularity == TQ_PER_TENSOR ? "tensor" : granularity == TQ_PER_ROW ? "row" : "group";
}

/* The names of ternary codes without the word that the columns of trits say already. */
static const char *short_name(const char *encoding) {
  static const char *const prefixes[] = {"ternary-", "quaternary-"};
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (strncmp(encoding, prefixes[i], strlen(prefixes[i])) == 0) return encoding + strlen(prefixes[i]);
  return encoding;
}

const char *inspect_encoding_summary(const inspect_tensor *tensor, char *text) {
  const inspect_scales *scales = &tensor->scales;
  const tq_encoding_info *info = tq_encoding_find(scales->encoding);
  const char *name = short_name(tensor->encoding);
  if (!scales->count || !info) {
    snprintf(text, INSPECT_ENCODING_SIZE, "%s", name);
    return text;
  }
  const char *inverse = scales->direction == TQ_INVERTED ? "1/" : "";
  if (scales->granularity == TQ_PER_GROUP)
    snprintf(text, INSPECT_ENCODING_SIZE, "%.24s g%u %s%s", name, scales->group, inverse, info->name);
  else
    snprintf(text, INSPECT_ENCODING_SIZE, "%.24s %s %s%s", name, inspect_granularity_name(scales->granularity), inverse,
             info->name);
  return text;
}

void inspect_shape(const inspect_tensor *tensor, char *text, size_t size) {
  size_t used = 0;
  text[0] = 0;
  for (uint32_t i = 0; i < tensor->dimensions && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%" PRIu64, i ? "×" : "", tensor->shape[i]);
}

bool inspect_digest_is_zero(const tq_digest *digest) {
  static const tq_digest zero;
  return memcmp(digest, &zero, sizeof zero) == 0;
}
