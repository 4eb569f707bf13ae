/* The digests that say whether two models are the same. */
#include "container/file.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

bool tq_role_is_derived(const char *role) {
  static const char frequencies[] = "rope_inverse_frequencies", layers[] = "layers.";
  if (strcmp(role, "rope_factors") == 0 || strcmp(role, frequencies) == 0) return true;
  if (strncmp(role, layers, sizeof layers - 1) != 0) return false;
  const char *digits = role + sizeof layers - 1;
  size_t length = strspn(digits, "0123456789");
  return length > 0 && digits[length] == '.' && strcmp(digits + length + 1, frequencies) == 0;
}

/* Lists what counts: every role but the derived ones, and the embedding a second time where there is no head. */
static size_t list_roles(const char *const *roles, size_t count, tq_index_entry *entries) {
  size_t listed = 0, embedding = SIZE_MAX;
  bool head = false;
  for (size_t i = 0; i < count; i++) {
    if (tq_role_is_derived(roles[i])) continue;
    entries[listed++] = (tq_index_entry){roles[i], i};
    if (strcmp(roles[i], "embedding") == 0) embedding = i;
    head = head || strcmp(roles[i], "head") == 0;
  }
  if (!head && embedding != SIZE_MAX) entries[listed++] = (tq_index_entry){"head", embedding};
  return listed;
}

tq_status tq_weights_digest(const char *const *roles, const uint8_t (*content_digests)[16], size_t count,
                            uint8_t digest[16], tq_error *error) {
  tq_hash_state *state = NULL;
  tq_index_entry *entries = tq_allocate(count + 1, sizeof *entries, error);
  tq_status status = entries ? tq_hash_create(TQ_HASH_XXH3_128, &state, error) : TQ_ERROR_SYSTEM;
  if (status == TQ_OK) {
    size_t listed = list_roles(roles, count, entries);
    tq_index_sort(entries, listed);
    for (size_t i = 0; i < listed; i++) {
      tq_hash_update(state, entries[i].name, strlen(entries[i].name) + 1);
      tq_hash_update(state, content_digests[entries[i].index], TQ_DIGEST_SIZE);
    }
    tq_hash hash;
    tq_hash_final(state, &hash);
    memcpy(digest, hash.bytes, TQ_DIGEST_SIZE);
    tq_hash_destroy(state);
  }
  tq_free(entries);
  return status;
}

/* The weights digest of an open file's tensors. */
static tq_status digest_tensors(const tq_file *file, uint8_t digest[16], tq_error *error) {
  const char **roles = tq_allocate(file->tensor_count, sizeof *roles, error);
  uint8_t(*digests)[16] = roles ? tq_allocate(file->tensor_count, sizeof *digests, error) : NULL;
  tq_status status = TQ_ERROR_SYSTEM;
  if (digests) {
    for (size_t i = 0; i < file->tensor_count; i++) {
      roles[i] = file->tensors[i].role;
      memcpy(digests[i], file->tensors[i].content_digest, TQ_DIGEST_SIZE);
    }
    status = tq_weights_digest(roles, (const uint8_t(*)[16])digests, file->tensor_count, digest, error);
  }
  tq_free(digests);
  tq_free(roles);
  return status;
}

tq_status tq_digests_read(tq_file *file, tq_error *error) {
  const tq_section *section = file->known[TQ_SECTION_DIGESTS];
  bool later = file->info.minor > TQ_FORMAT_MINOR;
  if (section->size < TQ_DIGESTS_SIZE || (section->size > TQ_DIGESTS_SIZE && !later))
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section digests: %" PRIu64 " bytes, not %d", file->path, section->size,
                   TQ_DIGESTS_SIZE);
  memcpy(file->info.weights_digest, section->data + TQ_DIGESTS_WEIGHTS, TQ_DIGEST_SIZE);
  memcpy(file->info.function_digest, section->data + TQ_DIGESTS_FUNCTION, TQ_DIGEST_SIZE);
  memcpy(file->info.tokenizer_digest, section->data + TQ_DIGESTS_TOKENIZER, TQ_DIGEST_SIZE);
  uint8_t digest[16];
  tq_status status = digest_tensors(file, digest, error);
  if (status == TQ_OK && memcmp(digest, file->info.weights_digest, sizeof digest) != 0)
    status = tq_fail(error, TQ_ERROR_CORRUPT, "%s: section digests: the weights digest is not that of the tensors",
                     file->path);
  return status;
}
