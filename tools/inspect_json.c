/* Everything as one JSON object, its keys always in the same order. */
#include "tools/inspect_json.h"
#include "base/memory.h"
#include "base/text.h"
#include "formats/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Arrays of metadata up to this many items are written out; of longer ones (vocabularies) the size is told. */
enum { LONGEST_ARRAY = 64, INDENT = 2 };

/* Both take over the value. When one cannot be made, for want of memory, what it should be part of is given up as well
 * and becomes NULL, up to the root. */
static void set(json_t **object, const char *key, json_t *value) {
  if (json_object_set_new(*object, key, value) == 0) return;
  json_decref(*object);
  *object = NULL;
}

static void append(json_t **array, json_t *value) {
  if (json_array_append_new(*array, value) == 0) return;
  json_decref(*array);
  *array = NULL;
}

/* A copy in which what is not text is escaped; freed by tq_free. */
static char *printable_copy(const char *data, size_t size) {
  tq_error ignored;
  size_t room = 4 * size + 4;
  char *copy = tq_allocate(room, 1, &ignored);
  if (copy) tq_printable(data, size, copy, room);
  return copy;
}

/* Text of any bytes: what is not UTF-8 is escaped. */
static json_t *text_value(const char *data, size_t size) {
  if (tq_is_utf8(data, size)) return json_stringn(data, size);
  char *copy = printable_copy(data, size);
  json_t *value = copy ? json_string(copy) : NULL;
  tq_free(copy);
  return value;
}

json_t *inspect_json_text(const char *data) { return text_value(data, strlen(data)); }

/* Beyond what JSON readers hold exactly, a number is text. */
static json_t *count_value(uint64_t number) {
  char digits[24];
  if (number <= INT64_MAX) return json_integer((json_int_t)number);
  snprintf(digits, sizeof digits, "%llu", (unsigned long long)number);
  return json_string(digits);
}

static json_t *f32_value(float number) { return isfinite(number) ? tq_json_f32(number) : json_null(); }

static json_t *hex_value(const uint8_t *bytes, size_t size) {
  char digits[2 * TQ_HASH_SIZE + 1];
  tq_hash_print(bytes, size, digits);
  return json_string(digits);
}

static json_t *digest_value(const tq_digest *digest, bool zero_is_none) {
  if (zero_is_none && inspect_digest_is_zero(digest)) return json_null();
  return hex_value(digest->bytes, sizeof digest->bytes);
}

/* ---- metadata ---- */

static json_t *metadata_value(const tq_value *value) {
  switch (value->type) {
  case TQ_VALUE_F32:
    return f32_value((float)value->number);
  case TQ_VALUE_F64:
    return tq_json_real(value->number);
  case TQ_VALUE_BOOL:
    return json_boolean(value->unsigned_integer != 0);
  case TQ_VALUE_STRING:
    return text_value(value->string.data, value->string.size);
  case TQ_VALUE_I8:
  case TQ_VALUE_I16:
  case TQ_VALUE_I32:
  case TQ_VALUE_I64:
    return json_integer((json_int_t)value->integer);
  case TQ_VALUE_ARRAY:
    break;
  default:
    return count_value(value->unsigned_integer);
  }
  if (value->item_count > LONGEST_ARRAY) {
    json_t *summary = json_object();
    set(&summary, "items", count_value(value->item_count));
    return summary;
  }
  json_t *items = json_array();
  tq_value item;
  for (size_t at = 0; tq_array_next(value, &at, &item);) append(&items, metadata_value(&item));
  return items;
}

static json_t *metadata_object(const tq_metadata *metadata) {
  json_t *object = json_object();
  for (size_t i = 0; i < tq_metadata_count(metadata); i++) {
    tq_string key;
    tq_value value;
    tq_metadata_at(metadata, i, &key, &value);
    char *name = printable_copy(key.data, key.size);
    set(&object, name, metadata_value(&value));
    tq_free(name);
  }
  return object;
}

/* ---- the model ---- */

static json_t *hyperparameters_object(const inspect_model *model) {
  static const char *const scalings[] = {
      [TQ_ROPE_NONE] = "none", [TQ_ROPE_LINEAR] = "linear", [TQ_ROPE_LLAMA3] = "llama3", [TQ_ROPE_YARN] = "yarn"};
  const tq_hyperparameters *h = &model->hyperparameters;
  if (model->unreadable.status) return json_null();
  json_t *object = json_object();
  set(&object, "architecture", inspect_json_text(h->architecture));
  set(&object, "layers", json_integer(h->layers));
  set(&object, "dimension", json_integer(h->dimension));
  set(&object, "feed_forward", json_integer(h->feed_forward));
  set(&object, "heads", json_integer(h->heads));
  set(&object, "kv_heads", json_integer(h->kv_heads));
  set(&object, "head_dimension", json_integer(h->head_dimension));
  set(&object, "vocabulary", json_integer(h->vocabulary));
  set(&object, "context", json_integer(h->context));
  set(&object, "norm_epsilon", f32_value(h->norm_epsilon));
  set(&object, "rope_dimensions", json_integer(h->rope_dimensions));
  set(&object, "rope_base", f32_value(h->rope_base));
  set(&object, "rope_scaling", json_string(scalings[h->rope_scaling]));
  set(&object, "rope_factor", f32_value(h->rope_factor));
  set(&object, "gate", json_string(h->gate == TQ_GATE_SILU ? "silu" : "squared-relu"));
  set(&object, "sub_norms", json_boolean(h->sub_norms));
  set(&object, "qk_norms", json_boolean(h->qk_norms));
  set(&object, "rotated", json_boolean(h->rotated));
  set(&object, "tied_head", json_boolean(h->tied_head));
  return object;
}

static json_t *tokenizer_object(const inspect_model *model) {
  static const char *const specials[TQ_SPECIAL_COUNT] = {[TQ_SPECIAL_BOS] = "bos",
                                                         [TQ_SPECIAL_EOS] = "eos",
                                                         [TQ_SPECIAL_UNKNOWN] = "unknown",
                                                         [TQ_SPECIAL_SEPARATOR] = "separator",
                                                         [TQ_SPECIAL_PADDING] = "padding",
                                                         [TQ_SPECIAL_MASK] = "mask",
                                                         [TQ_SPECIAL_END_OF_TURN] = "end_of_turn"};
  const tq_tokenizer *tokenizer = model->tokenizer;
  if (!tokenizer) return json_null();
  json_t *object = json_object(), *ids = json_object();
  bool pieces = tq_tokenizer_get_kind(tokenizer) == TQ_TOKENIZER_SENTENCEPIECE;
  set(&object, "kind", json_string(pieces ? "sentencepiece" : "byte-level"));
  set(&object, "pre", inspect_json_text(tq_tokenizer_pre(tokenizer)));
  set(&object, "tokens", count_value(tq_tokenizer_token_count(tokenizer)));
  set(&object, "merges", count_value(tq_tokenizer_merge_count(tokenizer)));
  set(&object, "scores", json_boolean(tq_tokenizer_has_scores(tokenizer)));
  for (size_t i = 0; i < TQ_SPECIAL_COUNT; i++) {
    int64_t id = tq_tokenizer_special(tokenizer, (tq_special_token)i);
    set(&ids, specials[i], id < 0 ? json_null() : json_integer(id));
  }
  set(&object, "special", ids);
  set(&object, "adds_bos", json_boolean(tq_tokenizer_adds_bos(tokenizer)));
  set(&object, "adds_eos", json_boolean(tq_tokenizer_adds_eos(tokenizer)));
  set(&object, "chat_template", json_boolean(tq_tokenizer_chat_template(tokenizer).size != 0));
  set(&object, "chat_template_name", model->chat_template ? inspect_json_text(model->chat_template) : json_null());
  return object;
}

/* ---- tensors ---- */

static json_t *shape_array(const inspect_tensor *tensor) {
  json_t *shape = json_array();
  for (uint32_t i = 0; i < tensor->dimensions; i++) append(&shape, count_value(tensor->shape[i]));
  return shape;
}

static json_t *trits_object(const uint64_t trits[INSPECT_TRITS]) {
  static const char *const names[INSPECT_TRITS] = {"-1", "0", "+1", "+2"};
  if (!(trits[0] + trits[1] + trits[2] + trits[3])) return json_null();
  json_t *object = json_object();
  for (size_t i = 0; i < INSPECT_TRITS; i++) set(&object, names[i], count_value(trits[i]));
  return object;
}

static json_t *scales_object(const inspect_scales *scales) {
  const tq_encoding_info *info = tq_encoding_find(scales->encoding);
  if (!scales->count) return json_null();
  json_t *object = json_object();
  set(&object, "granularity", json_string(inspect_granularity_name(scales->granularity)));
  set(&object, "group", scales->granularity == TQ_PER_GROUP ? json_integer(scales->group) : json_null());
  set(&object, "encoding", inspect_json_text(info ? info->name : "unknown"));
  set(&object, "direction", json_string(scales->direction == TQ_INVERTED ? "inverted" : "direct"));
  set(&object, "count", count_value(scales->count));
  set(&object, "least", f32_value(scales->least));
  set(&object, "most", f32_value(scales->most));
  return object;
}

static json_t *almost_object(const inspect_tensor *tensor) {
  if (!tensor->is_almost) return json_null();
  bool grouped = tensor->almost_granularity == TQ_PER_GROUP;
  json_t *object = json_object();
  set(&object, "granularity", json_string(inspect_granularity_name(tensor->almost_granularity)));
  set(&object, "group", grouped ? json_integer(tensor->almost_group) : json_null());
  set(&object, "off", count_value(tensor->almost_off));
  set(&object, "furthest", tq_json_real(tensor->almost_furthest));
  return object;
}

static json_t *parts_array(const tq_tensor *stored) {
  static const char *const kinds[] = {
      [TQ_PART_VALUES] = "values",         [TQ_PART_SCALES] = "scales",         [TQ_PART_PATCH] = "patch",
      [TQ_PART_LOW_RANK_A] = "low-rank-a", [TQ_PART_LOW_RANK_B] = "low-rank-b", [TQ_PART_SIGNS] = "signs"};
  if (!stored) return json_null();
  json_t *parts = json_array();
  for (size_t i = 0; i < stored->part_count; i++) {
    const tq_part *part = &stored->parts[i];
    const tq_encoding_info *info = tq_encoding_find(part->encoding);
    bool known = part->kind >= TQ_PART_VALUES && part->kind <= TQ_PART_SIGNS;
    json_t *object = json_object();
    set(&object, "kind", known ? json_string(kinds[part->kind]) : json_integer(part->kind));
    set(&object, "encoding", info ? json_string(info->name) : json_integer(part->encoding));
    set(&object, "bytes", count_value(part->size));
    append(&parts, object);
  }
  return parts;
}

/* What a group and a tensor have in common. */
static void set_numbers(json_t **object, const inspect_group *numbers, const inspect_tensor *looks) {
  double elements = (double)numbers->elements;
  set(object, "encoding", inspect_json_text(looks->encoding));
  set(object, "shape", shape_array(looks));
  set(object, "elements", count_value(numbers->elements));
  set(object, "bytes", count_value(numbers->bytes));
  set(object, "bits_per_weight", tq_json_real(elements > 0 ? 8 * (double)numbers->bytes / elements : 0));
  set(object, "trits", trits_object(numbers->trits));
  set(object, "scales", scales_object(&numbers->scales));
}

static json_t *tensor_object(const inspect_model *model, const inspect_tensor *tensor) {
  json_t *object = json_object();
  inspect_group numbers = {0};
  inspect_add(&numbers, tensor);
  set(&object, "role", inspect_json_text(tensor->role));
  set(&object, "name", inspect_json_text(tensor->name));
  set(&object, "source_type", inspect_json_text(tensor->source_type));
  set_numbers(&object, &numbers, tensor);
  set(&object, "almost_ternary", almost_object(tensor));
  set(&object, "parts", parts_array(tensor->stored));
  set(&object, "digest", digest_value(&tensor->content, false));
  set(&object, "hash", tensor->stored ? hex_value(tensor->stored->hash, model->hash_size) : json_null());
  return object;
}

static json_t *tensors_array(const inspect_model *model) {
  json_t *tensors = json_array();
  for (size_t i = 0; i < model->tensor_count; i++) append(&tensors, tensor_object(model, &model->tensors[i]));
  return tensors;
}

static tq_status set_groups(json_t **root, const inspect_model *model, tq_error *error) {
  inspect_group *groups;
  size_t count;
  tq_status status = inspect_make_groups(model, &groups, &count, error);
  if (status) return status;
  json_t *array = json_array();
  for (size_t i = 0; i < count; i++) {
    json_t *object = json_object();
    set(&object, "name", inspect_json_text(groups[i].name));
    set(&object, "tensors", count_value(groups[i].count));
    set_numbers(&object, &groups[i], groups[i].first);
    append(&array, object);
  }
  set(root, "groups", array);
  inspect_free_groups(groups, count);
  return TQ_OK;
}

static json_t *totals_object(const inspect_model *model) {
  inspect_group total;
  json_t *object = json_object();
  inspect_total(model, &total);
  double elements = (double)total.elements, bytes = (double)total.bytes;
  set(&object, "tensors", count_value(total.count));
  set(&object, "parameters", count_value(total.elements));
  set(&object, "bytes", count_value(total.bytes));
  set(&object, "bits_per_weight", tq_json_real(total.elements ? 8 * bytes / elements : 0));
  set(&object, "compression_f32", total.bytes ? tq_json_real(4 * elements / bytes) : json_null());
  set(&object, "compression_f16", total.bytes ? tq_json_real(2 * elements / bytes) : json_null());
  set(&object, "trits", trits_object(total.trits));
  return object;
}

/* ---- the file ---- */

static json_t *attachments_array(const tq_file *file) {
  json_t *array = json_array();
  for (size_t i = 0; file && i < tq_file_attachment_count(file); i++) {
    tq_attachment attachment;
    tq_file_attachment(file, i, &attachment);
    json_t *object = json_object();
    set(&object, "name", inspect_json_text(attachment.name));
    set(&object, "kind", json_string(attachment.kind == TQ_ATTACHMENT_FILE ? "file" : "fragment"));
    set(&object, "size", count_value(attachment.size));
    set(&object, "stored_size", count_value(attachment.stored_size));
    append(&array, object);
  }
  return array;
}

static json_t *lines_array(const char *lines, size_t size) {
  json_t *array = json_array();
  const char *at = lines, *end = lines + size;
  while (at < end) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    const char *stop = newline ? newline : end;
    append(&array, text_value(at, (size_t)(stop - at)));
    at = stop + 1;
  }
  return array;
}

static json_t *hash_object(const inspect_model *model) {
  if (!model->hash_name) return json_null();
  json_t *object = json_object();
  set(&object, "algorithm", json_string(model->hash_name));
  set(&object, "value", hex_value(model->hash, model->hash_size));
  return object;
}

json_t *inspect_json_digests(const inspect_model *model) {
  json_t *object = json_object();
  set(&object, "weights", model->tensor_count ? digest_value(&model->weights, false) : json_null());
  set(&object, "function", digest_value(&model->function, true));
  set(&object, "tokenizer", digest_value(&model->tokenizer_digest, true));
  return object;
}

static json_t *verified_value(inspect_verified verified) {
  return verified ? json_string(verified == INSPECT_CONTENT ? "content" : "hashes") : json_null();
}

static tq_status fill_root(json_t **root, const inspect_model *model, tq_error *error) {
  set(root, "path", inspect_json_text(model->path));
  set(root, "format", inspect_json_text(model->format));
  set(root, "version", model->version[0] ? inspect_json_text(model->version) : json_null());
  set(root, "made_from", model->origin[0] ? inspect_json_text(model->origin) : json_null());
  set(root, "size", count_value(model->size));
  set(root, "files", count_value(model->files));
  set(root, "hyperparameters", hyperparameters_object(model));
  set(root, "not_run_because", model->unreadable.status ? inspect_json_text(model->unreadable.message) : json_null());
  set(root, "tokenizer", tokenizer_object(model));
  set(root, "totals", totals_object(model));
  tq_status status = set_groups(root, model, error);
  if (status) return status;
  set(root, "tensors", tensors_array(model));
  set(root, "metadata", metadata_object(model->metadata));
  set(root, "attachments", attachments_array(model->file));
  set(root, "hash", hash_object(model));
  set(root, "digests", inspect_json_digests(model));
  set(root, "verified", verified_value(model->verified));
  set(root, "not_understood", model->verified == INSPECT_CONTENT ? count_value(model->not_understood) : json_null());
  set(root, "readings", lines_array(model->readings, model->readings_size));
  const tq_buffer *notes = model->checkpoint ? &model->checkpoint->notes : NULL;
  set(root, "notes", notes ? lines_array((const char *)notes->data, notes->size) : json_array());
  return TQ_OK;
}

tq_status inspect_print_json(const inspect_model *model, tq_error *error) {
  tq_json_prepare();
  json_t *root = json_object();
  tq_buffer buffer = {0};
  tq_status status = fill_root(&root, model, error);
  if (!status && !root) status = tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
  if (!status) status = tq_json_print(&buffer, root, INDENT, error);
  if (!status) status = tq_buffer_append(&buffer, "\n", 1, error);
  if (!status) fwrite(buffer.data, 1, buffer.size, stdout);
  tq_buffer_free(&buffer);
  json_decref(root);
  return status;
}
