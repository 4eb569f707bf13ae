/* Hashes: what each covers, and the comparison. Every byte of a file is hashed or must be zero. */
#include "container/file.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/team.h"

#include <inttypes.h>
#include <string.h>

tq_status tq_verify_header(const char *path, const uint8_t *data, tq_error *error) {
  if (tq_hash_xxh3_64(data, TQ_HEADER_CHECKSUM) == tq_load_u64(data + TQ_HEADER_CHECKSUM)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: header: its checksum differs", path);
}

static bool hash_matches(const tq_file *file, const void *data, size_t size, const uint8_t *expected) {
  tq_hash hash;
  tq_hash_bytes(file->info.hash_algorithm, data, size, &hash);
  return memcmp(hash.bytes, expected, TQ_HASH_SIZE) == 0;
}

tq_status tq_verify_table(const tq_file *file, tq_error *error) {
  if (hash_matches(file, file->table, file->section_count * TQ_ENTRY_SIZE, file->data + TQ_HEADER_TABLE_HASH))
    return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section table at offset %" PRIu64 ": its hash differs", file->path,
                 tq_file_offset(file, file->table));
}

tq_status tq_verify_section(const tq_file *file, size_t index, tq_error *error) {
  const tq_section *section = &file->sections[index];
  if (hash_matches(file, section->data, (size_t)section->size, file->table + index * TQ_ENTRY_SIZE + TQ_ENTRY_HASH))
    return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section %s at offset %" PRIu64 ", %" PRIu64 " bytes: its hash differs",
                 file->path, section->name, section->offset, section->size);
}

/* ---- the section "hashes" ---- */

static uint64_t chunks_of(uint64_t size) { return size / TQ_CHUNK_SIZE + (size % TQ_CHUNK_SIZE != 0); }

static tq_status check_hashes_header(const tq_file *file, uint64_t chunks, tq_error *error) {
  const tq_section *section = file->known[TQ_SECTION_HASHES];
  const uint8_t *data = section->data;
  uint64_t slots, bytes;
  if (section->size < TQ_HASHES_HEADER_SIZE || tq_load_u64(data + TQ_HASHES_CHUNK_SIZE) != TQ_CHUNK_SIZE ||
      tq_load_u64(data + TQ_HASHES_TENSOR_COUNT) != file->tensor_count ||
      tq_load_u64(data + TQ_HASHES_CHUNK_COUNT) != chunks || !tq_add_u64(file->tensor_count, chunks, &slots) ||
      !tq_multiply_u64(slots, TQ_HASH_SIZE, &bytes) || bytes != section->size - TQ_HASHES_HEADER_SIZE)
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: section hashes: does not hold the hashes of %zu tensors and %" PRIu64 " chunks of %d bytes",
                   file->path, file->tensor_count, chunks, TQ_CHUNK_SIZE);
  return tq_check_reserved(file, "section hashes", data + TQ_HASHES_ZERO, 8, error);
}

/* The chain from the chunk hashes over the tensors' to the root. */
static tq_status check_chain(tq_file *file, tq_error *error) {
  for (size_t i = 0; i < file->tensor_count; i++) {
    tq_tensor *tensor = &file->tensors[i];
    memcpy(tensor->hash, file->tensor_hashes + i * TQ_HASH_SIZE, TQ_HASH_SIZE);
    size_t chunks = (size_t)(file->first_chunk[i + 1] - file->first_chunk[i]);
    if (!hash_matches(file, file->chunk_hashes + file->first_chunk[i] * TQ_HASH_SIZE, chunks * TQ_HASH_SIZE,
                      tensor->hash))
      return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section hashes: tensor %s: its hash is not that of its chunk hashes",
                     file->path, tensor->role);
  }
  const tq_section *data = file->known[TQ_SECTION_DATA];
  const uint8_t *root = file->table + (size_t)(data - file->sections) * TQ_ENTRY_SIZE + TQ_ENTRY_HASH;
  memcpy(file->info.root, root, TQ_HASH_SIZE);
  if (hash_matches(file, file->tensor_hashes, file->tensor_count * TQ_HASH_SIZE, root)) return TQ_OK;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: section data: its hash is not the root of the tensor hashes",
                 file->path);
}

tq_status tq_hashes_read(tq_file *file, tq_error *error) {
  file->first_chunk = tq_allocate(file->tensor_count + 1, sizeof *file->first_chunk, error);
  if (!file->first_chunk) return TQ_ERROR_SYSTEM;
  for (size_t i = 0; i < file->tensor_count; i++)
    file->first_chunk[i + 1] = file->first_chunk[i] + chunks_of(file->tensors[i].data_size);
  uint64_t chunks = file->first_chunk[file->tensor_count];
  tq_status status = check_hashes_header(file, chunks, error);
  if (status != TQ_OK) return status;
  file->tensor_hashes = file->known[TQ_SECTION_HASHES]->data + TQ_HASHES_HEADER_SIZE;
  file->chunk_hashes = file->tensor_hashes + file->tensor_count * TQ_HASH_SIZE;
  if (file->lazy) {
    file->verified = tq_allocate((size_t)(chunks / 8 + 1), sizeof *file->verified, error);
    if (!file->verified) return TQ_ERROR_SYSTEM;
  }
  return check_chain(file, error);
}

/* ---- chunks ---- */

/* Where a chunk lies in the file; chunks are counted over all tensors. */
typedef struct extent {
  const tq_tensor *tensor;
  uint64_t number, within, offset, size; /* `within`: its number in the tensor */
} extent;

static extent find_chunk(const tq_file *file, size_t tensor, uint64_t within) {
  const tq_tensor *of = &file->tensors[tensor];
  uint64_t from = within * TQ_CHUNK_SIZE, left = of->data_size - from;
  return (extent){of, file->first_chunk[tensor] + within, within, of->data_offset + from,
                  left < TQ_CHUNK_SIZE ? left : TQ_CHUNK_SIZE};
}

/* The same by its number: the tensor is the last of those that begin at or before it, for one of no bytes has no
 * chunks. */
static extent find_numbered(const tq_file *file, uint64_t number) {
  size_t low = 0, high = file->tensor_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (file->first_chunk[middle] <= number)
      low = middle;
    else
      high = middle;
  }
  return find_chunk(file, low, number - file->first_chunk[low]);
}

static bool chunk_matches(const tq_file *file, const extent *chunk) {
  return hash_matches(file, file->data + chunk->offset, (size_t)chunk->size,
                      file->chunk_hashes + chunk->number * TQ_HASH_SIZE);
}

static tq_status chunk_differs(const tq_file *file, const extent *chunk, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT,
                 "%s: tensor %s: chunk %" PRIu64 " at offset %" PRIu64 " of the file, %" PRIu64
                 " bytes: its hash differs",
                 file->path, chunk->tensor->role, chunk->within, chunk->offset, chunk->size);
}

/* Two threads may meet at a chunk that neither has seen verified; both then verify it, which is right, if wasteful. */
tq_status tq_file_touch(const tq_file *file, size_t tensor_index, uint64_t offset, uint64_t size, tq_error *error) {
  if (tensor_index >= file->tensor_count)
    return tq_fail(error, TQ_ERROR_USAGE, "%s: there is no tensor %zu", file->path, tensor_index);
  if (!file->lazy || size == 0) return TQ_OK;
  const tq_tensor *tensor = &file->tensors[tensor_index];
  if (!tq_within(offset, size, tensor->data_size))
    return tq_fail(error, TQ_ERROR_USAGE, "%s: tensor %s: [%" PRIu64 ", +%" PRIu64 ") is outside its data", file->path,
                   tensor->role, offset, size);
  uint64_t last = (offset + size - 1) / TQ_CHUNK_SIZE;
  for (uint64_t within = offset / TQ_CHUNK_SIZE; within <= last; within++) {
    extent chunk = find_chunk(file, tensor_index, within);
    unsigned char mask = (unsigned char)(1u << chunk.number % 8);
    atomic_uchar *place = &file->verified[chunk.number / 8];
    if (atomic_load_explicit(place, memory_order_acquire) & mask) continue;
    if (!chunk_matches(file, &chunk)) return chunk_differs(file, &chunk, error);
    atomic_fetch_or_explicit(place, mask, memory_order_release);
  }
  return TQ_OK;
}

/* ---- gaps ---- */

static tq_status verify_gap(const tq_file *file, uint64_t from, uint64_t to, tq_error *error) {
  static const uint8_t zeros[4096];
  while (from < to) {
    size_t step = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
    if (memcmp(file->data + from, zeros, step) != 0) break;
    from += step;
  }
  if (from >= to) return TQ_OK;
  while (file->data[from] == 0) from++;
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: padding: the byte at offset %" PRIu64 " is not zero", file->path, from);
}

/* Between sections, and between tensors. */
static tq_status verify_gaps(const tq_file *file, tq_error *error) {
  uint64_t end = TQ_HEADER_SIZE;
  tq_status status = TQ_OK;
  for (size_t i = 0; i < file->section_count && status == TQ_OK; i++) {
    status = verify_gap(file, end, file->sections[i].offset, error);
    end = file->sections[i].offset + file->sections[i].size;
  }
  if (status == TQ_OK) status = verify_gap(file, end, tq_file_offset(file, file->table), error);
  end = file->known[TQ_SECTION_DATA]->offset;
  for (size_t i = 0; i < file->tensor_count && status == TQ_OK; i++) {
    status = verify_gap(file, end, file->tensors[i].data_offset, error);
    end = file->tensors[i].data_offset + file->tensors[i].data_size;
  }
  return status;
}

/* ---- everything ---- */

enum { TEAM_BYTES = 16 << 20 }; /* less is hashed sooner than threads are started */

typedef struct checking {
  const tq_file *file;
  uint64_t chunks;
  atomic_ullong taken, differs; /* `differs`: the lowest chunk found so far, or `chunks` */
} checking;

/* Chunks are taken in their order, so that the lowest one that differs is found, whatever the number of members. */
static void check_chunks(void *context, unsigned member, unsigned members) {
  checking *self = context;
  (void)member;
  (void)members;
  for (unsigned long long i; (i = atomic_fetch_add(&self->taken, 1)) < atomic_load(&self->differs);) {
    extent chunk = find_numbered(self->file, i);
    unsigned long long lowest = atomic_load(&self->differs);
    if (chunk_matches(self->file, &chunk)) continue;
    while (i < lowest && !atomic_compare_exchange_weak(&self->differs, &lowest, i)) continue;
  }
}

static tq_status verify_chunks(const tq_file *file, tq_error *error) {
  checking work = {.file = file, .chunks = file->first_chunk[file->tensor_count]};
  tq_team *team = NULL;
  tq_error ignored; /* where no threads can be had, the calling one checks alone */
  atomic_store(&work.differs, work.chunks);
  if (file->known[TQ_SECTION_DATA]->size >= TEAM_BYTES && tq_team_create(0, &team, &ignored) == TQ_OK)
    tq_team_run(team, check_chunks, &work);
  else
    check_chunks(&work, 0, 1);
  tq_team_destroy(team);
  if (atomic_load(&work.differs) == work.chunks) return TQ_OK;
  extent chunk = find_numbered(file, atomic_load(&work.differs));
  return chunk_differs(file, &chunk, error);
}

tq_status tq_verify_data(const tq_file *file, tq_error *error) {
  tq_status status = verify_gaps(file, error);
  return status == TQ_OK ? verify_chunks(file, error) : status;
}
