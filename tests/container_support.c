#include "tests/container_support.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "container/layout.h"
#include "tests/support.h"
#include "tq/ternary.h"

#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

tq_status put_tensor(tq_writer *writer, const char *name, uint32_t dimensions, const uint64_t *shape,
                     const part_bytes *parts, size_t part_count, const uint64_t trit_counts[4], tq_error *error) {
  static const uint64_t no_trits[4];
  tq_tensor tensor = {.role = name, .name = name, .source_type = "F16", .dimensions = dimensions};
  memcpy(tensor.shape, shape, dimensions * sizeof *shape);
  tq_status status = tq_writer_tensor_begin(writer, &tensor, error);
  for (size_t i = 0; i < part_count && status == TQ_OK; i++) {
    status = tq_writer_part_begin(writer, &parts[i].part, error);
    if (status == TQ_OK) status = tq_writer_part_write(writer, parts[i].data, (size_t)parts[i].part.size, error);
    if (status == TQ_OK) status = tq_writer_part_end(writer, error);
  }
  tq_hash digest; /* stands for the content's: what it is does not matter here, only that tensors differ */
  tq_hash_bytes(TQ_HASH_XXH3_128, name, strlen(name), &digest);
  if (status != TQ_OK) return status;
  return tq_writer_tensor_end(writer, trit_counts ? trit_counts : no_trits, digest.bytes, error);
}

tq_status put_floats(tq_writer *writer, const char *name, uint64_t count, uint64_t seed, tq_error *error) {
  uint8_t *bytes = malloc((size_t)count * 4);
  ck_assert(bytes != NULL);
  for (uint64_t i = 0; i < count; i++) tq_store_f32(bytes + 4 * i, random_float(&seed));
  part_bytes part = {{.kind = TQ_PART_VALUES, .encoding = TQ_F32, .size = count * 4}, bytes};
  tq_status status = put_tensor(writer, name, 1, &count, &part, 1, NULL, error);
  free(bytes);
  return status;
}

tq_status put_attachment(tq_writer *writer, const char *name, uint32_t kind, const void *data, size_t size, size_t step,
                         tq_error *error) {
  tq_status status = tq_writer_attachment_begin(writer, name, kind, error);
  for (size_t at = 0; at < size && status == TQ_OK; at += step)
    status = tq_writer_attachment_write(writer, (const uint8_t *)data + at, size - at < step ? size - at : step, error);
  return status == TQ_OK ? tq_writer_attachment_end(writer, error) : status;
}

void put_trits(uint32_t encoding, const int8_t *trits, uint64_t rows, uint64_t row, uint64_t columns, uint8_t *codes) {
  uint64_t row_bytes = tq_trit_row_bytes(encoding, columns);
  uint8_t *bytes = malloc((size_t)row_bytes);
  ck_assert(bytes != NULL);
  tq_trits_pack(encoding, trits, columns, bytes);
  tq_panel_store_row(codes, rows, row, row_bytes, bytes);
  free(bytes);
}

/* A [3][37] ternary tensor with scales per group of 32 and a patch. */
static tq_status put_ternary(tq_writer *writer, tq_error *error) {
  enum { ROWS = 3, COLUMNS = 37, ROW_BYTES = 8 };
  static const uint64_t shape[] = {ROWS, COLUMNS};
  uint8_t codes[ROWS * ROW_BYTES], scales[ROWS * 2 * 2];
  int8_t trits[COLUMNS];
  uint64_t counts[4] = {0}, state = 7;
  ck_assert_uint_eq(tq_trit_row_bytes(TQ_TERNARY_BASE3, COLUMNS), ROW_BYTES);
  for (size_t row = 0; row < ROWS; row++) {
    for (size_t i = 0; i < COLUMNS; i++) trits[i] = (int8_t)((int)(random_u64(&state) % 3) - 1);
    put_trits(TQ_TERNARY_BASE3, trits, ROWS, row, COLUMNS, codes);
    tq_trits_count(trits, COLUMNS, counts);
  }
  for (size_t i = 0; i < sizeof scales / 2; i++) tq_store_u16(scales + 2 * i, tq_f32_to_f16((float)(i + 1) / 8));
  const part_bytes parts[] = {
      {{.kind = TQ_PART_VALUES, .encoding = TQ_TERNARY_BASE3, .size = sizeof codes}, codes},
      {{.kind = TQ_PART_SCALES, .encoding = TQ_F16, .granularity = TQ_PER_GROUP, .group = 32, .size = sizeof scales},
       scales},
      {{.kind = TQ_PART_PATCH, .encoding = TQ_U8, .size = 5}, "patch"},
  };
  return put_tensor(writer, "layers.0.q", 2, shape, parts, 3, counts, error);
}

static tq_status put_small_tensors(tq_writer *writer, tq_error *error) {
  static const uint8_t bytes[160] = {0, 60, 1, 2, 3, 0xff, 0xfe};
  static const uint64_t blocks_shape[] = {2, 64}, integers_shape[] = {3, 5}, low_rank_shape[] = {2, 3},
                        odd_shape[] = {7};
  const part_bytes blocks = {{.kind = TQ_PART_VALUES,
                              .encoding = TQ_BLOCKS,
                              .type_name = "Q8_0",
                              .block_elements = 32,
                              .block_bytes = 34,
                              .size = 136},
                             bytes};
  const part_bytes integers[] = {
      {{.kind = TQ_PART_VALUES, .encoding = TQ_I8, .size = 15}, bytes},
      {{.kind = TQ_PART_SCALES, .encoding = TQ_F32, .granularity = TQ_PER_ROW, .direction = TQ_INVERTED, .size = 12},
       bytes}};
  const part_bytes low_rank[] = {{{.kind = TQ_PART_VALUES, .encoding = TQ_BF16, .size = 12}, bytes},
                                 {{.kind = TQ_PART_LOW_RANK_A, .encoding = TQ_F16, .size = 12}, bytes},
                                 {{.kind = TQ_PART_LOW_RANK_B, .encoding = TQ_F16, .size = 8}, bytes},
                                 {{.kind = TQ_PART_SIGNS, .encoding = TQ_I8, .size = 3}, "\1\1\xff"}};
  const part_bytes odd[] = {{{.kind = TQ_PART_VALUES, .encoding = 4711, .size = 3}, bytes},
                            {{.kind = 99, .encoding = 5, .granularity = 17, .size = 1}, bytes}};
  tq_status status = put_tensor(writer, "layers.0.k", 2, blocks_shape, &blocks, 1, NULL, error);
  if (status == TQ_OK) status = put_tensor(writer, "layers.0.v", 2, integers_shape, integers, 2, NULL, error);
  if (status == TQ_OK) status = put_tensor(writer, "layers.0.o", 2, low_rank_shape, low_rank, 4, NULL, error);
  return status == TQ_OK ? put_tensor(writer, "odd", 1, odd_shape, odd, 2, NULL, error) : status;
}

static tq_status put_sections(tq_writer *writer, tq_error *error) {
  tq_metadata_builder metadata = {0};
  tq_status status = tq_metadata_add_string(&metadata, "general.architecture", "llama", 5, error);
  if (status == TQ_OK) status = tq_metadata_add_u32(&metadata, "llama.block_count", 1, error);
  if (status == TQ_OK) status = tq_metadata_add_array(&metadata, "numbers", TQ_VALUE_U16, 3, "\1\0\2\0\3\0", 6, error);
  if (status == TQ_OK) status = tq_writer_metadata(writer, metadata.data, metadata.size, metadata.count, error);
  tq_metadata_builder_free(&metadata);
  if (status == TQ_OK) status = tq_writer_section(writer, "tokenizer", false, "tokens of a kind", 16, error);
  if (status == TQ_OK) status = tq_writer_section(writer, "extra", false, "of the future", 13, error);
  if (status == TQ_OK) status = put_attachment(writer, "config.json", TQ_ATTACHMENT_FILE, "{}\n", 3, 1, error);
  if (status == TQ_OK)
    status = put_attachment(writer, "#model.gguf", TQ_ATTACHMENT_FRAGMENT, "GGUF\3\0\0\0", 8, 8, error);
  return status == TQ_OK ? tq_writer_section(writer, "source", false, "\1\0\0\0", 4, error) : status;
}

tq_status write_sample(const char *path, uint32_t hash_algorithm, tq_error *error) {
  static const uint8_t function_digest[16] = "function digest", tokenizer_digest[16] = "tokenizer";
  tq_writer *writer;
  tq_status status = tq_writer_create(path, hash_algorithm, &writer, error);
  if (status != TQ_OK) return status;
  status = put_sections(writer, error);
  if (status == TQ_OK) status = put_floats(writer, "embedding", 11, 3, error);
  if (status == TQ_OK) status = put_ternary(writer, error);
  if (status == TQ_OK) status = put_small_tensors(writer, error);
  if (status == TQ_OK) status = tq_writer_finish(writer, function_digest, tokenizer_digest, error);
  if (status != TQ_OK) tq_writer_abandon(writer);
  return status;
}

/* ---- images ---- */

static image allocate_image(size_t size) {
  image file = {aligned_alloc(64, (size + 63) / 64 * 64), size};
  ck_assert(file.data != NULL);
  return file;
}

image load_image(const char *path) {
  size_t size;
  uint8_t *data = read_file(path, &size);
  image file = allocate_image(size);
  memcpy(file.data, data, size);
  free(data);
  return file;
}

image sample_image(uint32_t hash_algorithm) {
  const char *path = temporary_path("sample.tq");
  ck_ok(write_sample(path, hash_algorithm, error));
  return load_image(path);
}

image copy_image(image from) {
  image file = allocate_image(from.size);
  memcpy(file.data, from.data, from.size);
  return file;
}

/* The table as the header gives it, or NULL when it is not in the file. */
static uint8_t *table_of(image file, uint32_t *count) {
  uint64_t offset = tq_load_u64(file.data + TQ_HEADER_TABLE_OFFSET);
  *count = tq_load_u32(file.data + TQ_HEADER_SECTION_COUNT);
  return tq_within(offset, (uint64_t)*count * TQ_ENTRY_SIZE, file.size) ? file.data + offset : NULL;
}

/* The bytes of an entry's section, or NULL when they are not in the file. */
static uint8_t *bytes_of(image file, const uint8_t *entry, uint64_t *size) {
  uint64_t offset = tq_load_u64(entry + TQ_ENTRY_OFFSET);
  *size = tq_load_u64(entry + TQ_ENTRY_SIZE_FIELD);
  return tq_within(offset, *size, file.size) ? file.data + offset : NULL;
}

static uint8_t *find_entry(image file, const char *name) {
  uint32_t count;
  uint8_t *table = table_of(file, &count);
  for (uint32_t i = 0; table && i < count; i++)
    if (strncmp((const char *)table + i * TQ_ENTRY_SIZE, name, TQ_ENTRY_NAME_SIZE) == 0)
      return table + i * TQ_ENTRY_SIZE;
  return NULL;
}

uint8_t *section_entry(image file, const char *name) {
  uint8_t *entry = find_entry(file, name);
  ck_assert_msg(entry != NULL, "no section %s", name);
  return entry;
}

uint8_t *section_bytes(image file, const char *name) {
  return file.data + tq_load_u64(section_entry(file, name) + TQ_ENTRY_OFFSET);
}

/* ---- hashes ---- */

static void put_hash(image file, const void *data, uint64_t size, uint8_t *slot) {
  tq_hash hash;
  tq_hash_bytes(tq_load_u32(file.data + TQ_HEADER_HASH_ALGORITHM), data, (size_t)size, &hash);
  memcpy(slot, hash.bytes, TQ_HASH_SIZE);
}

/* Chunk hashes, tensor hashes and root, for as many tensors as lie inside data and hashes. */
static void reseal_data(image file) {
  uint8_t *directory_entry = find_entry(file, "tensors"), *data_entry = find_entry(file, "data"),
          *hashes_entry = find_entry(file, "hashes");
  if (!directory_entry || !data_entry || !hashes_entry) return;
  uint64_t directory_size, data_size, hashes_size;
  uint8_t *directory = bytes_of(file, directory_entry, &directory_size), *data = bytes_of(file, data_entry, &data_size),
          *hashes = bytes_of(file, hashes_entry, &hashes_size);
  if (!directory || !data || !hashes || directory_size < TQ_DIRECTORY_HEADER_SIZE ||
      hashes_size < TQ_HASHES_HEADER_SIZE)
    return;
  uint64_t count = tq_load_u64(hashes + TQ_HASHES_TENSOR_COUNT);
  if (count > (hashes_size - TQ_HASHES_HEADER_SIZE) / TQ_HASH_SIZE) return;
  uint8_t *slot = hashes + TQ_HASHES_HEADER_SIZE + count * TQ_HASH_SIZE, *end = hashes + hashes_size;
  for (uint64_t i = 0; i < count; i++) {
    if (TQ_DIRECTORY_HEADER_SIZE + (i + 1) * TQ_TENSOR_RECORD_SIZE > directory_size) return;
    const uint8_t *record = directory + TQ_DIRECTORY_HEADER_SIZE + i * TQ_TENSOR_RECORD_SIZE;
    uint64_t offset = tq_load_u64(record + TQ_TENSOR_DATA_OFFSET), size = tq_load_u64(record + TQ_TENSOR_DATA_SIZE);
    if (!tq_within(offset, size, data_size)) return;
    uint8_t *first = slot;
    for (uint64_t at = 0; at < size; at += TQ_CHUNK_SIZE, slot += TQ_HASH_SIZE) {
      if (slot + TQ_HASH_SIZE > end) return;
      put_hash(file, data + offset + at, size - at < TQ_CHUNK_SIZE ? size - at : TQ_CHUNK_SIZE, slot);
    }
    put_hash(file, first, (uint64_t)(slot - first), hashes + TQ_HASHES_HEADER_SIZE + i * TQ_HASH_SIZE);
  }
  put_hash(file, hashes + TQ_HASHES_HEADER_SIZE, count * TQ_HASH_SIZE, data_entry + TQ_ENTRY_HASH);
}

void reseal_header(image file) {
  tq_store_u64(file.data + TQ_HEADER_CHECKSUM, tq_hash_xxh3_64(file.data, TQ_HEADER_CHECKSUM));
}

void reseal(image file) {
  uint32_t count;
  uint8_t *table = table_of(file, &count);
  if (table) {
    reseal_data(file);
    for (uint32_t i = 0; i < count; i++) {
      uint64_t size;
      uint8_t *entry = table + i * TQ_ENTRY_SIZE, *bytes = bytes_of(file, entry, &size);
      if (bytes && memcmp(entry, "data\0", 5) != 0) put_hash(file, bytes, size, entry + TQ_ENTRY_HASH);
    }
    put_hash(file, table, (uint64_t)count * TQ_ENTRY_SIZE, file.data + TQ_HEADER_TABLE_HASH);
  }
  reseal_header(file);
}

/* The record of a tensor in the directory. */
static uint8_t *tensor_record(image file, uint64_t index) {
  return section_bytes(file, "tensors") + TQ_DIRECTORY_HEADER_SIZE + index * TQ_TENSOR_RECORD_SIZE;
}

void reseal_weights(image file) {
  const uint8_t *directory = section_bytes(file, "tensors");
  uint64_t count = tq_load_u64(directory + TQ_DIRECTORY_TENSOR_COUNT),
           parts = tq_load_u64(directory + TQ_DIRECTORY_PART_COUNT);
  const char *strings = (const char *)tensor_record(file, count) + parts * TQ_PART_RECORD_SIZE;
  const char **roles = calloc(count + 1, sizeof *roles);
  uint8_t(*digests)[16] = calloc(count + 1, sizeof *digests);
  ck_assert(roles != NULL && digests != NULL);
  for (uint64_t i = 0; i < count; i++) {
    roles[i] = strings + tq_load_u32(tensor_record(file, i) + TQ_TENSOR_ROLE);
    memcpy(digests[i], tensor_record(file, i) + TQ_TENSOR_CONTENT_DIGEST, 16);
  }
  ck_ok(tq_weights_digest(roles, (const uint8_t(*)[16])digests, count,
                          section_bytes(file, "digests") + TQ_DIGESTS_WEIGHTS, error));
  free(digests), free(roles);
  reseal(file);
}

void reseal_contents(image file) {
  tq_file *opened;
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_HEADER, &opened, error));
  for (size_t i = 0; i < tq_file_tensor_count(opened); i++) {
    const tq_tensor *tensor = tq_file_tensor(opened, i);
    float *values = malloc((size_t)tensor->elements * sizeof *values);
    ck_assert(values != NULL);
    if (tq_tensor_decode(opened, i, 0, tensor->rows, values, NULL) == TQ_OK) {
      tq_content_hash *hash;
      tq_digest digest;
      ck_ok(tq_content_hash_create(tensor->shape, tensor->dimensions, &hash, error));
      tq_content_hash_update(hash, values, tensor->elements);
      tq_content_hash_final(hash, digest.bytes);
      tq_content_hash_destroy(hash);
      memcpy(tensor_record(file, i) + TQ_TENSOR_CONTENT_DIGEST, digest.bytes, sizeof digest.bytes);
    }
    free(values);
  }
  tq_file_close(opened);
  reseal_weights(file);
}

tq_status try_open(image file, tq_verify verify, tq_error *error) {
  tq_file *opened = NULL;
  tq_status status = tq_file_open_memory("image.tq", file.data, file.size, verify, &opened, error);
  if (status == TQ_OK) tq_file_close(opened);
  return status;
}
