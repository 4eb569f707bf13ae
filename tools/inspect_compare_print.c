/* What a comparison found, as text and as JSON. */
#include "base/memory.h"
#include "base/text.h"
#include "formats/json.h"
#include "tools/inspect_compare.h"
#include "tools/inspect_json.h"
#include "tools/inspect_table.h"
#include "tools/tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEY_WIDTH = 14, TABLE_WIDTH = 160, LISTED = 40, INDENT = 2 };

static const char *const kind_names[] = {[COMPARE_ONLY_FIRST] = "only in the first",
                                         [COMPARE_ONLY_SECOND] = "only in the second",
                                         [COMPARE_SHAPE] = "shape",
                                         [COMPARE_UNREADABLE] = "bytes",
                                         [COMPARE_TRITS] = "trits",
                                         [COMPARE_TRITS_AND_SCALES] = "trits, scales",
                                         [COMPARE_SCALES] = "scales",
                                         [COMPARE_VALUES] = "values"};

/* A head that is not there is the embedding: two roles of one tensor are these. */
static bool is_implied_head(const compare_tensor *tensor) {
  return tensor->first && tensor->second && strcmp(tensor->first->role, tensor->second->role) != 0;
}

static const char *role_of(const compare_tensor *tensor) {
  if (is_implied_head(tensor)) return "head";
  return tensor->first ? tensor->first->role : tensor->second->role;
}

static bool has_numbers(const compare_tensor *tensor) { return tensor->kind >= COMPARE_TRITS; }

/* ---- text ---- */

static void add_details(table *t, const compare_tensor *tensor) {
  char first[192], second[192];
  if (tensor->kind == COMPARE_SHAPE) {
    inspect_shape(tensor->first, first, sizeof first);
    inspect_shape(tensor->second, second, sizeof second);
    table_add_cell(t, "%s / %s", first, second);
  } else if (has_numbers(tensor)) {
    table_add_cell(t, "%" PRIu64 " of %" PRIu64, tensor->different, tensor->first->elements);
  } else {
    table_add_cell(t, "%s", "");
  }
}

static tq_status print_tensors(const comparison *result, tq_error *error) {
  table t = {.dim = "", .reset = "", .error = error};
  char role[4 * TQ_ROLE_SIZE];
  table_add_column(&t, "tensor", false, 0);
  table_add_column(&t, "differs in", false, 0);
  table_add_column(&t, "weights", true, 0);
  table_add_column(&t, "relative", true, 0);
  table_add_column(&t, "furthest", true, 0);
  table_add_column(&t, "first at row, column", false, 0);
  for (size_t i = 0; i < result->tensor_count && i < LISTED; i++) {
    const compare_tensor *tensor = &result->tensors[i];
    const char *name = role_of(tensor);
    table_add_row(&t, "", 0);
    table_add_cell(&t, "%s%s", tq_printable(name, strlen(name), role, sizeof role),
                   is_implied_head(tensor) ? " (the embedding)" : "");
    table_add_cell(&t, "%s", kind_names[tensor->kind]);
    add_details(&t, tensor);
    if (!has_numbers(tensor)) continue;
    table_add_cell(&t, "%.3g", tool_unsigned_nan(tensor->relative));
    table_add_cell(&t, "%.3g", tool_unsigned_nan(tensor->furthest));
    table_add_cell(&t, "%" PRIu64 ", %" PRIu64, tensor->row, tensor->column);
  }
  tq_status status = table_print(&t, TABLE_WIDTH);
  if (!status && result->tensor_count > LISTED) printf("  and %zu more\n", result->tensor_count - LISTED);
  return status;
}

static const char *verdict(const comparison *result) {
  if (compare_is_identical(result)) return "identical: the same model";
  if (result->weights && result->function) return "the same weights and function, another tokenizer";
  if (result->weights && result->tokenizer) return "the same weights and tokenizer, another function";
  if (result->weights) return "the same weights, another function and tokenizer";
  if (result->ternary) return "the same ternary weights, other tensors differ";
  return "different weights";
}

/* What a .tq file says that its layers' inputs are rounded to: "float" where it says nothing. */
static const char *activations_of(const inspect_model *model, char *text, size_t size) {
  tq_string recorded = tq_metadata_string(model->metadata, "tq.activations");
  return recorded.size ? tq_printable(recorded.data, recorded.size, text, size) : "float";
}

/* No difference of the models, but one of what running them gives. */
static bool activations_differ(const comparison *result) {
  char first[32], second[32];
  return result->first->file && result->second->file &&
         strcmp(activations_of(result->first, first, sizeof first),
                activations_of(result->second, second, sizeof second)) != 0;
}

static void print_activations(const comparison *result) {
  char first[32], second[32];
  if (!activations_differ(result)) return;
  printf("  %-*s%s / %s recorded, which is no part of the model\n", KEY_WIDTH, "activations",
         activations_of(result->first, first, sizeof first), activations_of(result->second, second, sizeof second));
}

static void print_line(const char *key, bool same, const tq_digest *first, const tq_digest *second) {
  char a[2 * TQ_DIGEST_SIZE + 1], b[2 * TQ_DIGEST_SIZE + 1];
  tq_hash_print(first->bytes, sizeof first->bytes, a);
  tq_hash_print(second->bytes, sizeof second->bytes, b);
  if (inspect_digest_is_zero(first)) snprintf(a, sizeof a, "none");
  if (inspect_digest_is_zero(second)) snprintf(b, sizeof b, "none");
  if (strcmp(a, b) == 0)
    printf("  %-*s%s  %s\n", KEY_WIDTH, key, same ? "same     " : "different", a);
  else
    printf("  %-*s%s  %s / %s\n", KEY_WIDTH, key, same ? "same     " : "different", a, b);
}

tq_status compare_print_text(const comparison *result, tq_error *error) {
  const inspect_model *a = result->first, *b = result->second;
  tool_print_name(a->path);
  printf(" (%s) and ", a->format);
  tool_print_name(b->path);
  printf(" (%s): %s\n", b->format, verdict(result));
  print_line("weights", result->weights, &a->weights, &b->weights);
  if (result->function && !compare_has_functions(result))
    printf("  %-*ssame       the same keys; not computed here\n", KEY_WIDTH, "function");
  else
    print_line("function", result->function, &a->function, &b->function);
  print_line("tokenizer", result->tokenizer, &a->tokenizer_digest, &b->tokenizer_digest);
  for (size_t i = 0; i < result->key_count; i++) {
    const compare_key *key = &result->keys[i];
    printf("  %-*s%s: %s / %s\n", KEY_WIDTH, i ? "" : "differs in", key->name, key->first, key->second);
  }
  print_activations(result);
  if (!result->tensor_count) return TQ_OK;
  printf("\n  %zu of %zu tensors differ%s\n", result->tensor_count, result->compared,
         result->ternary ? ", none of them ternary" : "");
  return print_tensors(result, error);
}

/* ---- JSON ---- */

static json_t *tensor_object(const compare_tensor *tensor) {
  if (!has_numbers(tensor))
    return json_pack("{s:s, s:s}", "role", role_of(tensor), "differs_in", kind_names[tensor->kind]);
  return json_pack(
      "{s:s, s:s, s:I, s:I, s:I, s:o, s:o, s:[I, I]}", "role", role_of(tensor), "differs_in", kind_names[tensor->kind],
      "weights", (json_int_t)tensor->different, "signs", (json_int_t)tensor->different_signs, "magnitudes",
      (json_int_t)(tensor->different - tensor->different_signs), "relative", tq_json_real(tensor->relative), "furthest",
      tq_json_real(tensor->furthest), "first", (json_int_t)tensor->row, (json_int_t)tensor->column);
}

/* NULL, for want of memory, where an item could not be added: whatever takes the array then fails too. */
static json_t *finished(json_t *array, bool failed) {
  if (failed) json_decref(array);
  return failed ? NULL : array;
}

static json_t *tensors_array(const comparison *result) {
  json_t *array = json_array();
  bool failed = false;
  for (size_t i = 0; !failed && i < result->tensor_count; i++)
    failed = json_array_append_new(array, tensor_object(&result->tensors[i]));
  return finished(array, failed);
}

static json_t *keys_array(const comparison *result) {
  json_t *array = json_array();
  bool failed = false;
  for (size_t i = 0; !failed && i < result->key_count; i++) {
    const compare_key *key = &result->keys[i];
    json_t *object = json_pack("{s:s, s:s, s:s}", "key", key->name, "first", key->first, "second", key->second);
    failed = json_array_append_new(array, object);
  }
  return finished(array, failed);
}

static json_t *side_object(const inspect_model *model) {
  tq_string recorded = tq_metadata_string(model->metadata, "tq.activations");
  char text[32];
  const char *activations = recorded.size ? tq_printable(recorded.data, recorded.size, text, sizeof text) : NULL;
  return json_pack("{s:o, s:s, s:o, s:s?}", "path", inspect_json_text(model->path), "format", model->format, "digests",
                   inspect_json_digests(model), "activations", activations);
}

tq_status compare_print_json(const comparison *result, tq_error *error) {
  tq_json_prepare();
  tq_buffer buffer = {0};
  json_t *root =
      json_pack("{s:o, s:o, s:b, s:s, s:b, s:b, s:b, s:b, s:b, s:o, s:o}", "first", side_object(result->first),
                "second", side_object(result->second), "identical", compare_is_identical(result), "verdict",
                verdict(result), "weights", result->weights, "function", result->function, "tokenizer",
                result->tokenizer, "ternary", result->weights || result->ternary, "activations",
                !activations_differ(result), "keys", keys_array(result), "tensors", tensors_array(result));
  tq_status status =
      root ? tq_json_print(&buffer, root, INDENT, error) : tq_fail(error, TQ_ERROR_SYSTEM, "out of memory");
  if (!status) status = tq_buffer_append(&buffer, "\n", 1, error);
  if (!status) fwrite(buffer.data, 1, buffer.size, stdout);
  tq_buffer_free(&buffer);
  json_decref(root);
  return status;
}
