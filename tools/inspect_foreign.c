/* The view of a foreign checkpoint: its tensors as the file has them, and digests that are computed by reading them. */
#include "base/bytes.h"
#include "base/memory.h"
#include "formats/digests.h"
#include "formats/format.h"
#include "tools/inspect.h"
#include "tools/tool.h"
#include "tq/ternary.h"

#include <stdio.h>
#include <string.h>

/* A GGUF file says its version behind its magic; the other formats have none. */
static tq_status read_version(inspect_model *model, tq_error *error) {
  const tq_checkpoint *checkpoint = model->checkpoint;
  uint8_t version[4];
  if (strcmp(model->format, "gguf") != 0 || !checkpoint->input_count) return TQ_OK;
  tq_status status = tq_input_read(checkpoint->inputs[0], 4, version, sizeof version, error);
  if (!status) snprintf(model->version, sizeof model->version, "%u", tq_load_u32(version));
  return status;
}

static tq_status hash_input(tq_input *input, tq_hash_state *state, tq_error *error) {
  enum { PIECE = 1 << 20 };
  uint8_t *piece = tq_allocate(PIECE, 1, error);
  if (!piece) return TQ_ERROR_SYSTEM;
  tq_progress progress = tool_progress("hashing the file");
  uint64_t total = tq_input_size(input);
  tq_status status = TQ_OK;
  for (uint64_t at = 0, size; at < total && !status; at += size) {
    size = total - at < PIECE ? total - at : PIECE;
    status = tq_input_read(input, at, piece, (size_t)size, error);
    if (!status) tq_hash_update(state, piece, (size_t)size);
    tq_progress_report(&progress, at + size, total);
  }
  tool_progress_end();
  tq_free(piece);
  return status;
}

/* The size and hash of the single file that the user named, archive or not. */
static tq_status describe_file(inspect_model *model, bool hash, tq_error *error) {
  tq_input *input = NULL;
  tq_hash_state *state = NULL;
  tq_status status = tq_input_open(model->path, &input, error);
  if (status) return status;
  model->files = 1;
  model->size = tq_input_size(input);
  if (hash) {
    status = tq_hash_create(TQ_HASH_XXH3_128, &state, error);
    if (!status) status = hash_input(input, state, error);
    if (!status) {
      tq_hash result;
      tq_hash_final(state, &result);
      memcpy(model->hash, result.bytes, sizeof model->hash);
      model->hash_name = tq_hash_name(TQ_HASH_XXH3_128);
      model->hash_size = TQ_DIGEST_SIZE;
    }
    tq_hash_destroy(state);
  }
  tq_input_close(input);
  return status;
}

/* True when all inputs are the file that the user named, or members of that archive; false for a split checkpoint. */
static bool is_one_file(const inspect_model *model) {
  const char *path = model->path;
  if (tq_path_examine(path) != TQ_PATH_FILE) return false;
  for (size_t i = 0; i < model->checkpoint->input_count; i++) {
    const char *name = tq_input_name(model->checkpoint->inputs[i]);
    if (!strchr(path, '/') && strncmp(name, "./", 2) == 0) name += 2;
    size_t length = strlen(path);
    if (strncmp(name, path, length) != 0 || (name[length] && name[length] != '/')) return false;
  }
  return true;
}

static tq_status describe_files(inspect_model *model, bool hash, tq_error *error) {
  const tq_checkpoint *checkpoint = model->checkpoint;
  const tq_format *format = tq_format_find(model->format);
  snprintf(model->description, sizeof model->description, "%s%s", format ? format->description : model->format,
           tq_folder_is_archive(checkpoint->folder) ? ", in an archive" : "");
  if (is_one_file(model)) return describe_file(model, hash, error);
  model->files = checkpoint->input_count;
  for (size_t i = 0; i < checkpoint->input_count; i++) model->size += tq_input_size(checkpoint->inputs[i]);
  return TQ_OK;
}

static void fill_tensor(const tq_source_tensor *tensor, inspect_tensor *view) {
  const tq_encoding_info *info = tq_encoding_find(tensor->encoding);
  bool packed = tensor->form.dialect != NULL, blocks = tensor->encoding == TQ_BLOCKS || !info;
  *view = (inspect_tensor){.role = tensor->role,
                           .name = tensor->name,
                           .source_type = tensor->type_name,
                           .kind = packed   ? INSPECT_TERNARY
                                   : blocks ? INSPECT_BLOCKS
                                            : INSPECT_NUMBERS,
                           .dimensions = tensor->dimensions,
                           .shape = tensor->shape,
                           .elements = 1,
                           .bytes = tensor->size};
  snprintf(view->encoding, sizeof view->encoding, "%s", blocks ? tensor->type_name : info->name);
  for (uint32_t i = 0; i < tensor->dimensions; i++) view->elements *= tensor->shape[i];
}

/* What reading has shown: floats may be ternary as well as packed codes. */
static void fill_survey(const tq_survey *survey, inspect_tensor *view) {
  if (survey->is_almost) {
    view->is_almost = true;
    view->almost_granularity = survey->almost_granularity;
    view->almost_group = survey->almost_group;
    view->almost_off = survey->almost_off;
    view->almost_furthest = survey->almost_furthest;
  }
  if (!survey->is_ternary) return;
  view->kind = INSPECT_TERNARY;
  memcpy(view->trits, survey->counts, sizeof view->trits);
  uint64_t columns = view->shape[view->dimensions - 1];
  view->scales =
      (inspect_scales){.count = tq_scale_count(survey->granularity, survey->group, view->elements / columns, columns),
                       .granularity = survey->granularity,
                       .group = survey->group,
                       .encoding = survey->scale_encoding,
                       .direction = survey->scale_direction,
                       .least = survey->least,
                       .most = survey->most};
}

static tq_status compute_digests(inspect_model *model, tq_error *error) {
  tq_digest *content = tq_allocate(model->tensor_count, sizeof *content, error);
  tq_survey *surveys = content ? tq_allocate(model->tensor_count, sizeof *surveys, error) : NULL;
  tq_progress progress = tool_progress("reading the tensors");
  tq_status status = TQ_ERROR_SYSTEM;
  if (surveys) {
    status = tq_checkpoint_digests(model->checkpoint, content, surveys, &model->weights, &model->function,
                                   &model->tokenizer_digest, &progress, error);
  }
  tool_progress_end();
  for (size_t i = 0; i < model->tensor_count && !status; i++) {
    model->tensors[i].content = content[i];
    fill_survey(&surveys[i], &model->tensors[i]);
  }
  tq_free(surveys);
  tq_free(content);
  return status;
}

tq_status inspect_fill_foreign(inspect_model *model, inspect_needs needs, tq_error *error) {
  const tq_checkpoint *checkpoint = model->checkpoint;
  model->format = checkpoint->format;
  model->metadata = checkpoint->metadata;
  tq_status status = describe_files(model, needs.hash, error);
  if (!status) status = read_version(model, error);
  if (status) return status;
  model->tensor_count = checkpoint->tensor_count;
  model->tensors = tq_allocate(model->tensor_count, sizeof *model->tensors, error);
  if (!model->tensors) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < model->tensor_count; i++) fill_tensor(&checkpoint->tensors[i], &model->tensors[i]);
  return needs.digests ? compute_digests(model, error) : TQ_OK;
}
