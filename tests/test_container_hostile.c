/* Hostile files: fields set to what no writer writes, every hash recomputed, so that only the rule can catch it. */
#include "base/bytes.h"
#include "base/hash.h"
#include "container/layout.h"
#include "tests/container_support.h"
#include "tests/support.h"

#include <stdlib.h>
#include <string.h>

/* One field of the sample changed, and what must be said about it. */
typedef struct patch {
  const char *place; /* "header", "@NAME" for a section's entry in the table, "NAME" for a section's bytes */
  size_t offset;
  unsigned width; /* bytes */
  uint64_t value;
  const char *message;
} patch;

enum {
  /* Records of the sample's directory: embedding has part 0, layers.0.q 1 to 3, layers.0.k 4, layers.0.v 5 and 6,
   * layers.0.o 7 to 10, odd 11 and 12. */
  SAMPLE_PARTS = 13,
  EMBEDDING = TQ_DIRECTORY_HEADER_SIZE,
  Q = EMBEDDING + TQ_TENSOR_RECORD_SIZE,
  K = Q + TQ_TENSOR_RECORD_SIZE,
  V = K + TQ_TENSOR_RECORD_SIZE,
  O = V + TQ_TENSOR_RECORD_SIZE,
  ODD = O + TQ_TENSOR_RECORD_SIZE,
  PARTS = ODD + TQ_TENSOR_RECORD_SIZE,
  Q_SCALES = PARTS + 2 * TQ_PART_RECORD_SIZE,
  Q_PATCH = Q_SCALES + TQ_PART_RECORD_SIZE,
  K_BLOCKS = Q_PATCH + TQ_PART_RECORD_SIZE,
  V_VALUES = K_BLOCKS + TQ_PART_RECORD_SIZE,
  V_SCALES = V_VALUES + TQ_PART_RECORD_SIZE,
  O_VALUES = V_SCALES + TQ_PART_RECORD_SIZE,
  O_A = O_VALUES + TQ_PART_RECORD_SIZE,
  O_B = O_A + TQ_PART_RECORD_SIZE,
  O_SIGNS = O_B + TQ_PART_RECORD_SIZE,
  ODD_VALUES = O_SIGNS + TQ_PART_RECORD_SIZE,
  ODD_UNKNOWN = ODD_VALUES + TQ_PART_RECORD_SIZE,
  STRINGS = PARTS + SAMPLE_PARTS * TQ_PART_RECORD_SIZE
};

static const patch patches[] = {
    /* header */
    {"header", TQ_HEADER_FILE_SIZE, 8, UINT64_C(1) << 63, "truncated: the header says 9223372036854775808 bytes"},
    {"header", TQ_HEADER_FILE_SIZE, 8, 128, "bytes behind the end"},
    {"header", TQ_HEADER_HEADER_SIZE, 4, 256, "header: its size is 256"},
    {"header", TQ_HEADER_TABLE_OFFSET, 8, UINT64_MAX - 63, "does not end the file"},
    {"header", TQ_HEADER_TABLE_OFFSET, 8, 192, "does not end the file"},
    {"header", TQ_HEADER_SECTION_COUNT, 4, UINT32_MAX, "does not end the file"},
    {"header", TQ_HEADER_SECTION_COUNT, 4, 0, "does not end the file"},
    {"header", TQ_HEADER_HASH_ALGORITHM, 4, 77, "unknown hash algorithm 77"},
    {"header", TQ_HEADER_HASH_ALGORITHM, 4, 0, "unknown hash algorithm 0"},
    {"header", TQ_HEADER_ZERO_2 + 23, 1, 1, "header: reserved byte at offset 119"},
    /* section table */
    {"@extra", 0, 1, 0, "has no proper name"},
    {"@extra", 0, 1, 0x80, "has no proper name"},
    {"@extra", 15, 1, 'x', "has no proper name"},
    {"@extra", 0, 1, 'E', ""}, /* another name is as good */
    {"@extra", TQ_ENTRY_FLAGS, 4, 2, "section extra: unknown flags 0x2"},
    {"@extra", TQ_ENTRY_ZERO_1, 4, 2, "extra: reserved byte"},
    {"@extra", TQ_ENTRY_ZERO_2, 8, 2, "extra: reserved byte"},
    {"@extra", TQ_ENTRY_OFFSET, 8, UINT64_MAX - 63, "section extra: [18446744073709551552, +13) lies outside the file"},
    {"@extra", TQ_ENTRY_OFFSET, 8, 128, "overlaps what is before it"},
    {"@extra", TQ_ENTRY_OFFSET, 8, 64, "overlaps what is before it"},
    {"@extra", TQ_ENTRY_OFFSET, 8, 704, "leaves a gap before it"},
    {"@extra", TQ_ENTRY_OFFSET, 8, 701, "is misaligned"},
    {"@extra", TQ_ENTRY_SIZE_FIELD, 8, UINT64_MAX, "lies outside the file"},
    {"@extra", TQ_ENTRY_SIZE_FIELD, 8, 65, "section attachments"},
    {"@data", TQ_ENTRY_OFFSET, 8, 1024, "section data: [1024"},
    {"@data", 0, 1, 'D', "section Data is required"},
    {"@metadata", 0, 1, 'M', "section Metadata is required"},
    /* metadata */
    {"metadata", 0, 8, UINT64_MAX, ""},
    {"metadata", 0, 8, 2, "bytes behind its last key"},
    {"metadata", 0, 8, 4, "image.tq"},
    {"metadata", 8, 8, UINT64_MAX, "image.tq"},
    {"metadata", 16, 1, 0xff, "UTF-8"},
    {"metadata", 36, 4, 13, "image.tq"},
    {"metadata", 40, 8, UINT64_MAX - 7, "image.tq"},
    /* directory */
    {"tensors", TQ_DIRECTORY_TENSOR_COUNT, 8, UINT64_MAX, "do not make up"},
    {"tensors", TQ_DIRECTORY_TENSOR_COUNT, 8, UINT64_C(1) << 60, "do not make up"},
    {"tensors", TQ_DIRECTORY_PART_COUNT, 8, UINT64_C(1) << 58, "do not make up"},
    {"tensors", TQ_DIRECTORY_STRINGS_SIZE, 8, UINT64_MAX, "do not make up"},
    {"tensors", TQ_DIRECTORY_STRINGS_SIZE, 8, 0, "do not make up"},
    {"tensors", TQ_DIRECTORY_TENSOR_SIZE, 4, 184, "records of 184 and 64 bytes"},
    {"tensors", TQ_DIRECTORY_TENSOR_SIZE, 4, 200, "do not make up"},
    {"tensors", TQ_DIRECTORY_PART_SIZE, 4, 68, "records of 192 and 68 bytes"},
    {"tensors", TQ_DIRECTORY_PART_SIZE, 4, 0x80000000, "records of 192 and 2147483648 bytes"},
    {"tensors", TQ_DIRECTORY_ZERO, 8, 1, "reserved byte"},
    {"tensors", STRINGS, 1, 'x', "do not begin and end with a NUL"},
    /* a tensor's data */
    {"tensors", EMBEDDING + TQ_TENSOR_DATA_OFFSET, 8, UINT64_C(1) << 63, "tensor embedding: data at"},
    {"tensors", EMBEDDING + TQ_TENSOR_DATA_OFFSET, 8, 64, "leaves a gap before it"},
    {"tensors", EMBEDDING + TQ_TENSOR_DATA_SIZE, 8, UINT64_MAX, "lies outside the section data"},
    {"tensors", EMBEDDING + TQ_TENSOR_DATA_SIZE, 8, 65, "its parts end at 44 of 65 bytes"},
    {"tensors", EMBEDDING + TQ_TENSOR_DATA_SIZE, 8, 43, "lies outside its tensor"},
    {"tensors", Q + TQ_TENSOR_DATA_OFFSET, 8, 0, "tensor layers.0.q: data at [0, +133) overlaps the tensor before it"},
    {"tensors", Q + TQ_TENSOR_DATA_OFFSET, 8, 72, "is misaligned"},
    {"tensors", Q + TQ_TENSOR_DATA_OFFSET, 8, 128, "leaves a gap before it"},
    /* a tensor's shape */
    {"tensors", Q + TQ_TENSOR_ELEMENTS, 8, 112, "112 elements, its shape has 111"},
    {"tensors", Q + TQ_TENSOR_SHAPE, 8, 0, "dimension 0 is zero"},
    {"tensors", Q + TQ_TENSOR_SHAPE + 8, 8, 0, "dimension 1 is zero"},
    {"tensors", Q + TQ_TENSOR_SHAPE, 8, UINT64_C(1) << 59, "the number of elements overflows"},
    {"tensors", Q + TQ_TENSOR_SHAPE + 16, 8, 1, "dimension 2 is 1 but is not used"},
    {"tensors", Q + TQ_TENSOR_DIMENSIONS, 4, 0, "0 dimensions"},
    {"tensors", Q + TQ_TENSOR_DIMENSIONS, 4, 9, "9 dimensions"},
    {"tensors", Q + TQ_TENSOR_DIMENSIONS, 4, UINT32_MAX, "4294967295 dimensions"},
    {"tensors", Q + TQ_TENSOR_DIMENSIONS, 4, 1, "dimension 1 is 37 but is not used"},
    {"tensors", Q + TQ_TENSOR_DIMENSIONS, 4, 3, "dimension 2 is zero"},
    {"tensors", Q + TQ_TENSOR_ROW_ORDER, 4, 2, "3 rows are not 2 heads of pairs"},
    {"tensors", Q + TQ_TENSOR_ROW_ORDER, 4, 3, "3 rows are not 3 heads of pairs"},
    {"tensors", K + TQ_TENSOR_ROW_ORDER, 4, 1, ""},
    {"tensors", Q + TQ_TENSOR_TRIT_COUNTS, 8, UINT64_MAX, "trit counts do not add up to 111"},
    {"tensors", Q + TQ_TENSOR_TRIT_COUNTS + 24, 8, 1, "trit counts do not add up to 111"},
    {"tensors", K + TQ_TENSOR_TRIT_COUNTS, 8, 1, "trit counts do not add up to 0"},
    {"tensors", Q + TQ_TENSOR_BITS_PER_WEIGHT, 8, UINT64_C(0x7ff8000000000000), "bits per weight"},
    {"tensors", Q + TQ_TENSOR_BITS_PER_WEIGHT, 8, 0, "0 bits per weight"},
    {"tensors", Q + TQ_TENSOR_ZERO + 19, 1, 1, "reserved byte"},
    {"tensors", Q + TQ_TENSOR_CONTENT_DIGEST, 1, 0, "the weights digest is not that of the tensors"},
    /* a tensor's names and parts */
    {"tensors", Q + TQ_TENSOR_ROLE, 4, 0, "tensor 1: its role is empty"},
    {"tensors", Q + TQ_TENSOR_NAME, 4, 0, "tensor 1: its name is empty"},
    {"tensors", Q + TQ_TENSOR_ROLE, 4, UINT32_MAX, "tensor 1: its role is outside the strings"},
    {"tensors", Q + TQ_TENSOR_SOURCE_TYPE, 4, UINT32_MAX, "its source type is outside"},
    {"tensors", STRINGS + 3, 1, 0xc0, "not proper UTF-8"},
    {"tensors", STRINGS + 3, 1, '\n', "not proper UTF-8"},
    {"tensors", Q + TQ_TENSOR_ROLE, 4, 1, "duplicate tensor role embedding"},
    {"tensors", Q + TQ_TENSOR_NAME, 4, 11, "duplicate tensor name embedding"},
    {"tensors", Q + TQ_TENSOR_FIRST_PART, 4, 0, "tensor layers.0.q: parts 0, +3"},
    {"tensors", Q + TQ_TENSOR_FIRST_PART, 4, UINT32_MAX, "parts 4294967295, +3"},
    {"tensors", Q + TQ_TENSOR_PART_COUNT, 4, 0, "parts 1, +0"},
    {"tensors", Q + TQ_TENSOR_PART_COUNT, 4, 17, "parts 1, +17"},
    {"tensors", Q + TQ_TENSOR_PART_COUNT, 4, UINT32_MAX, "parts 1, +4294967295"},
    {"tensors", Q + TQ_TENSOR_PART_COUNT, 4, 2, "its parts end at"},
    {"tensors", ODD + TQ_TENSOR_PART_COUNT, 4, 3, "parts 11, +3 where 2 of 13"},
    /* parts */
    {"tensors", PARTS + TQ_PART_KIND, 4, 0, "kind 0 is not a kind"},
    {"tensors", PARTS + TQ_PART_KIND, 4, 7, "its first part is not its values"},
    {"tensors", PARTS + TQ_PART_ENCODING, 4, 0, "encoding 0 is not an encoding"},
    {"tensors", PARTS + TQ_PART_ENCODING, 4, TQ_F16, "has 44 bytes where 22 are needed"},
    {"tensors", PARTS + TQ_PART_ENCODING, 4, TQ_TERNARY_2BIT, "has 44 bytes where 4 are needed"},
    {"tensors", PARTS + TQ_PART_ENCODING, 4, TQ_F4, "do not fill whole bytes"},
    {"tensors", PARTS + TQ_PART_ENCODING, 4, TQ_BLOCKS, "blocks without a type name"},
    {"tensors", PARTS + TQ_PART_GRANULARITY, 4, 1, "outside a part of scales"},
    {"tensors", PARTS + TQ_PART_DIRECTION, 4, 1, "outside a part of scales"},
    {"tensors", PARTS + TQ_PART_BLOCK_BYTES, 4, 1, "without blocks"},
    {"tensors", PARTS + TQ_PART_TYPE_NAME, 4, 1, "without blocks"},
    {"tensors", PARTS + TQ_PART_TYPE_NAME, 4, UINT32_MAX, "part's type name is outside"},
    {"tensors", PARTS + TQ_PART_OFFSET, 8, UINT64_MAX - 63, "lies outside its tensor"},
    {"tensors", PARTS + TQ_PART_SIZE, 8, UINT64_MAX, "where 44 are needed"},
    {"tensors", PARTS + TQ_PART_ZERO, 8, 1, "reserved byte"},
    {"tensors", Q_SCALES + TQ_PART_OFFSET, 8, 0, "overlaps the part before it"},
    {"tensors", Q_SCALES + TQ_PART_OFFSET, 8, 32, "is misaligned"},
    {"tensors", Q_PATCH + TQ_PART_OFFSET, 8, 64, "overlaps the part before it"},
    {"tensors", Q_SCALES + TQ_PART_KIND, 4, TQ_PART_VALUES, "outside a part of scales"},
    {"tensors", Q_SCALES + TQ_PART_KIND, 4, 9, "ternary codes without scales"},
    {"tensors", Q_PATCH + TQ_PART_KIND, 4, TQ_PART_SCALES, "scales must be F32, F16 or BF16"},
    {"tensors", Q_PATCH + TQ_PART_ENCODING, 4, TQ_I8, "a patch must be U8"},
    {"tensors", Q_SCALES + TQ_PART_GRANULARITY, 4, 3, "unknown granularity"},
    {"tensors", Q_SCALES + TQ_PART_GRANULARITY, 4, TQ_PER_ROW, "a group of scales"},
    {"tensors", Q_SCALES + TQ_PART_GROUP, 4, 0, "a group of scales"},
    {"tensors", Q_SCALES + TQ_PART_GROUP, 4, 33, "a group of scales"},
    {"tensors", Q_SCALES + TQ_PART_GROUP, 4, 288, "a group of scales"},
    {"tensors", Q_SCALES + TQ_PART_GROUP, 4, 64, "has 12 bytes where 6 are needed"},
    {"tensors", Q_SCALES + TQ_PART_DIRECTION, 4, 2, "unknown direction"},
    {"tensors", Q_SCALES + TQ_PART_ENCODING, 4, TQ_F64, "scales must be F32, F16 or BF16"},
    {"tensors", Q_SCALES + TQ_PART_TYPE_NAME, 4, 1, "outside a part of values"},
    {"tensors", K_BLOCKS + TQ_PART_BLOCK_ELEMENTS, 4, 0, "blocks of no size"},
    {"tensors", K_BLOCKS + TQ_PART_BLOCK_BYTES, 4, 0, "blocks of no size"},
    {"tensors", K_BLOCKS + TQ_PART_BLOCK_ELEMENTS, 4, 33, "do not fill whole bytes or blocks"},
    {"tensors", K_BLOCKS + TQ_PART_BLOCK_BYTES, 4, UINT32_MAX, "has 136 bytes where 17179869180 are needed"},
    {"tensors", V_VALUES + TQ_PART_ENCODING, 4, TQ_U8, "scales beside values of encoding U8"},
    {"tensors", O_A + TQ_PART_ENCODING, 4, TQ_I16, "low-rank factors must be"},
    {"tensors", O_A + TQ_PART_ENCODING, 4, TQ_F32, "factors A and B of one rank"},
    {"tensors", O_A + TQ_PART_KIND, 4, 9, "factors A and B of one rank"},
    {"tensors", O_B + TQ_PART_KIND, 4, TQ_PART_LOW_RANK_A, "its size is not that of a whole rank"},
    {"tensors", O_SIGNS + TQ_PART_ENCODING, 4, TQ_U8, "signs must be I8"},
    {"tensors", ODD_UNKNOWN + TQ_PART_KIND, 4, TQ_PART_VALUES, "2 parts of kind 1"},
    {"tensors", ODD_UNKNOWN + TQ_PART_SIZE, 8, UINT64_MAX, "lies outside its tensor"},
    {"tensors", ODD_UNKNOWN + TQ_PART_SIZE, 8, 0, "its parts end at"},
    /* hashes and digests */
    {"hashes", TQ_HASHES_CHUNK_SIZE, 8, 1 << 21, "does not hold the hashes of 6 tensors and 6 chunks"},
    {"hashes", TQ_HASHES_TENSOR_COUNT, 8, UINT64_MAX, "does not hold the hashes"},
    {"hashes", TQ_HASHES_CHUNK_COUNT, 8, UINT64_MAX, "does not hold the hashes"},
    {"hashes", TQ_HASHES_ZERO, 8, 1, "reserved byte"},
    {"digests", TQ_DIGESTS_WEIGHTS, 1, 0, "the weights digest is not that of the tensors"},
    {"digests", TQ_DIGESTS_FUNCTION, 1, 0, ""}, /* what the container cannot check */
    {"@digests", TQ_ENTRY_SIZE_FIELD, 8, 47, "section digests: 47 bytes"},
    {"@digests", TQ_ENTRY_SIZE_FIELD, 8, 49, "section digests: 49 bytes"},
};
enum { PATCHES = sizeof patches / sizeof *patches };

static uint8_t *locate(image file, const char *place) {
  if (strcmp(place, "header") == 0) return file.data;
  return place[0] == '@' ? section_entry(file, place + 1) : section_bytes(file, place);
}

static void store(uint8_t *to, unsigned width, uint64_t value) {
  for (unsigned i = 0; i < width; i++) to[i] = (uint8_t)(value >> 8 * i);
}

START_TEST(every_rule_is_checked) {
  image sample = sample_image(0);
  for (size_t i = 0; i < PATCHES; i++) {
    const patch *row = &patches[i];
    image file = copy_image(sample);
    store(locate(file, row->place) + row->offset, row->width, row->value);
    reseal(file);
    tq_error error = {0};
    tq_status status = try_open(file, TQ_VERIFY_FULL, &error);
    bool harmless = row->message[0] == '\0' && row->place[0] != 'm';
    if (status != (harmless ? TQ_OK : TQ_ERROR_CORRUPT) ||
        (!harmless && (!strstr(error.message, row->message) || strncmp(error.message, "image.tq: ", 10) != 0)))
      ck_abort_msg("%s+%zu = %llu: status %d: '%s' instead of '%s'", row->place, row->offset,
                   (unsigned long long)row->value, (int)status, error.message, row->message);
    free(file.data);
  }
  free(sample.data);
}
END_TEST

/* ---- what one number cannot say ---- */

START_TEST(missing_sections) {
  static const char *const names[] = {"metadata", "data", "tensors", "hashes", "digests"};
  for (size_t i = 0; i < 5; i++) {
    image file = sample_image(0);
    uint8_t *entry = section_entry(file, names[i]);
    entry[TQ_ENTRY_FLAGS] = 0;
    entry[0] = 'X';
    /* The place of data fits no other name's alignment. */
    reseal(file);
    ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, i == 1 ? "section Xata" : names[i]);
    free(file.data);
  }
}
END_TEST

/* Names exchanged, so that a section has the few bytes of another. */
START_TEST(sections_too_small) {
  static const struct {
    const char *name, *other, *message;
  } rows[] = {{"metadata", "source", "section metadata: 4 bytes hold no count"},
              {"tensors", "digests", "section tensors: 48 bytes hold no header"},
              {"hashes", "extra", "section hashes: does not hold the hashes"},
              {"digests", "extra", "section digests: 13 bytes, not 48"},
              {"attachments", "extra", "section attachments: 13 bytes hold no trailer"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    image file = sample_image(0);
    uint8_t *a = section_entry(file, rows[i].name), *b = section_entry(file, rows[i].other), kept[TQ_ENTRY_OFFSET];
    memcpy(kept, a, sizeof kept);
    memcpy(a, b, sizeof kept);
    memcpy(b, kept, sizeof kept);
    reseal(file);
    ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, rows[i].message);
    free(file.data);
  }
}
END_TEST

START_TEST(duplicate_sections) {
  image file = sample_image(0);
  memcpy(section_entry(file, "extra"), "source\0", 7);
  reseal(file);
  ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "duplicate section source");
  free(file.data);
}
END_TEST

START_TEST(unknown_encodings_are_carried) {
  image file = sample_image(0);
  uint8_t *directory = section_bytes(file, "tensors");
  tq_store_u32(directory + Q_SCALES + TQ_PART_ENCODING, 4711);
  tq_store_u32(directory + O_A + TQ_PART_ENCODING, 4711);
  tq_store_u32(directory + O_SIGNS + TQ_PART_ENCODING, 4711);
  reseal(file);
  tq_file *opened;
  float values[128];
  ck_ok(tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_FULL, &opened, error));
  ck_fails(tq_tensor_decode(opened, 1, 0, 1, values, error), TQ_ERROR_CORRUPT, "its scales' encoding");
  tq_file_close(opened);
  free(file.data);
}
END_TEST

START_TEST(padding_must_be_zero) {
  image sample = sample_image(0);
  uint8_t *data = section_bytes(sample, "data");
  size_t between_sections = (size_t)(data - sample.data) - 1, between_tensors = (size_t)(data - sample.data) + 44;
  const size_t places[] = {between_sections, between_tensors};
  for (size_t i = 0; i < 2; i++) {
    image file = copy_image(sample);
    file.data[places[i]] = 1;
    reseal(file);
    ck_ok(try_open(file, TQ_VERIFY_HEADER, error));
    ck_fails(try_open(file, TQ_VERIFY_FULL, error), TQ_ERROR_CORRUPT, "padding: the byte at offset");
    free(file.data);
  }
  free(sample.data);
}
END_TEST

/* A hash that is right for its bytes, but not what the next level was made from. */
START_TEST(broken_chains) {
  image file = sample_image(0);
  uint8_t *hashes = section_bytes(file, "hashes");
  uint8_t *entry = section_entry(file, "hashes");
  tq_hash hash;
  for (int i = 0; i < 2; i++) {
    uint8_t *slot = hashes + TQ_HASHES_HEADER_SIZE + (i == 0 ? SAMPLE_TENSORS * TQ_HASH_SIZE : 0);
    slot[0] ^= 1;
    tq_hash_bytes(1, hashes, (size_t)tq_load_u64(entry + TQ_ENTRY_SIZE_FIELD), &hash);
    memcpy(entry + TQ_ENTRY_HASH, hash.bytes, TQ_HASH_SIZE);
    uint64_t table = tq_load_u64(file.data + TQ_HEADER_TABLE_OFFSET);
    tq_hash_bytes(1, file.data + table, (size_t)(file.size - table), &hash);
    memcpy(file.data + TQ_HEADER_TABLE_HASH, hash.bytes, TQ_HASH_SIZE);
    reseal_header(file);
    ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT,
             "tensor embedding: its hash is not that of its chunk hashes");
  }
  reseal(file);
  section_entry(file, "data")[TQ_ENTRY_HASH] ^= 1;
  uint64_t table = tq_load_u64(file.data + TQ_HEADER_TABLE_OFFSET);
  tq_hash_bytes(1, file.data + table, (size_t)(file.size - table), &hash);
  memcpy(file.data + TQ_HEADER_TABLE_HASH, hash.bytes, TQ_HASH_SIZE);
  reseal_header(file);
  ck_fails(try_open(file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "its hash is not the root");
  free(file.data);
}
END_TEST

START_TEST(nested_metadata) {
  /* "k", array of array of ... : one level deeper than is allowed */
  uint8_t bytes[256] = {1, 0, 0, 0, 0, 0, 0, 0, 'k', 9};
  size_t size = 13;
  for (int depth = 0; depth < 5; depth++) {
    tq_store_u32(bytes + size, depth == 4 ? TQ_VALUE_U8 : TQ_VALUE_ARRAY);
    tq_store_u64(bytes + size + 4, 1);
    size += 12;
  }
  bytes[size++] = 7;
  tq_writer *writer;
  tq_file *file;
  uint8_t digest[16] = {0};
  ck_ok(tq_writer_create(temporary_path("nested.tq"), 0, &writer, error));
  ck_ok(tq_writer_metadata(writer, bytes, size, 1, error));
  ck_ok(tq_writer_finish(writer, digest, digest, error));
  ck_fails(tq_file_open(temporary_path("nested.tq"), TQ_VERIFY_HEADER, &file, error), TQ_ERROR_CORRUPT, "nested.tq");
}
END_TEST

/* ---- attachments ---- */

typedef struct attachments {
  image file;
  uint8_t *section, *record, *names, *trailer;
} attachments;

static attachments open_attachments(void) {
  attachments at = {.file = sample_image(0)};
  at.section = section_bytes(at.file, "attachments");
  uint64_t size = tq_load_u64(section_entry(at.file, "attachments") + TQ_ENTRY_SIZE_FIELD);
  at.trailer = at.section + size - TQ_TRAILER_SIZE;
  at.record = at.section + tq_load_u64(at.trailer + TQ_TRAILER_INDEX_OFFSET);
  at.names = at.record + 2 * TQ_ATTACHMENT_RECORD_SIZE;
  return at;
}

typedef struct attachment_patch {
  int where; /* 0: first record, 1: second record, 2: trailer, 3: names */
  size_t offset;
  unsigned width;
  uint64_t value;
  const char *message;
} attachment_patch;

static const attachment_patch attachment_patches[] = {
    {0, TQ_ATTACHMENT_OFFSET, 8, 8, "attachment config.json: [8, +11) does not follow"},
    {0, TQ_ATTACHMENT_OFFSET, 8, UINT64_MAX, "does not follow"},
    {0, TQ_ATTACHMENT_STORED_SIZE, 8, UINT64_MAX, "does not follow"},
    {0, TQ_ATTACHMENT_STORED_SIZE, 8, 10, "attachment #model.gguf: [11, +16) does not follow"},
    {1, TQ_ATTACHMENT_STORED_SIZE, 8, 5, "bytes that belong to no attachment"},
    {0, TQ_ATTACHMENT_SIZE, 8, 1 << 20, "config.json: 1048576 bytes cannot be deflated to 11"},
    {0, TQ_ATTACHMENT_SIZE, 8, UINT64_MAX, "cannot be deflated to 11"},
    {0, TQ_ATTACHMENT_NAME, 4, 0, "attachment 0 has no proper name"},
    {0, TQ_ATTACHMENT_NAME, 4, UINT32_MAX, "attachment 0 has no proper name"},
    {0, TQ_ATTACHMENT_ZERO, 8, 1, "reserved byte"},
    {1, TQ_ATTACHMENT_KIND, 4, TQ_ATTACHMENT_FILE, ""},
    {2, TQ_TRAILER_COUNT, 8, UINT64_MAX, "do not make up"},
    {2, TQ_TRAILER_COUNT, 8, 1, "do not make up"},
    {2, TQ_TRAILER_INDEX_OFFSET, 8, UINT64_MAX - 7, "do not make up"},
    {2, TQ_TRAILER_INDEX_OFFSET, 8, 1, "do not make up"},
    {2, TQ_TRAILER_NAMES_SIZE, 8, UINT64_MAX, "do not make up"},
    {2, TQ_TRAILER_NAMES_SIZE, 8, 0, "do not make up"},
    {2, TQ_TRAILER_ZERO, 8, 1, "reserved byte"},
    {3, 0, 1, 'x', "do not begin and end with a NUL"},
    {3, 1, 1, '/', "leads out of its folder"},
    {3, 1, 2, 0x2e2e, ""},
    {3, 1, 1, 0xff, "attachment 0 has no proper name"},
};

START_TEST(attachment_rules_are_checked) {
  for (size_t i = 0; i < sizeof attachment_patches / sizeof *attachment_patches; i++) {
    const attachment_patch *row = &attachment_patches[i];
    attachments at = open_attachments();
    uint8_t *const places[] = {at.record, at.record + TQ_ATTACHMENT_RECORD_SIZE, at.trailer, at.names};
    store(places[row->where] + row->offset, row->width, row->value);
    reseal(at.file);
    tq_error error = {0};
    tq_status status = try_open(at.file, TQ_VERIFY_HEADER, &error);
    if (status != (row->message[0] ? TQ_ERROR_CORRUPT : TQ_OK) || !strstr(error.message, row->message))
      ck_abort_msg("%d+%zu = %llu: status %d: '%s' instead of '%s'", row->where, row->offset,
                   (unsigned long long)row->value, (int)status, error.message, row->message);
    free(at.file.data);
  }
}
END_TEST

START_TEST(duplicate_attachments) {
  attachments at = open_attachments();
  uint8_t *second = at.record + TQ_ATTACHMENT_RECORD_SIZE;
  tq_store_u32(second + TQ_ATTACHMENT_NAME, tq_load_u32(at.record + TQ_ATTACHMENT_NAME));
  reseal(at.file);
  ck_ok(try_open(at.file, TQ_VERIFY_HEADER, error)); /* a file and a fragment may share a name */
  tq_store_u32(second + TQ_ATTACHMENT_KIND, TQ_ATTACHMENT_FILE);
  reseal(at.file);
  ck_fails(try_open(at.file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT, "duplicate attachment config.json");
  free(at.file.data);
}
END_TEST

/* A file of that name would stand where the folder of the other must be. */
START_TEST(attachments_that_are_folders_too) {
  attachments at = open_attachments();
  uint8_t *second = at.record + TQ_ATTACHMENT_RECORD_SIZE;
  char *file = (char *)at.names + tq_load_u32(at.record + TQ_ATTACHMENT_NAME);
  char *fragment = (char *)at.names + tq_load_u32(second + TQ_ATTACHMENT_NAME);
  ck_assert_str_eq(file, "config.json");
  memcpy(file, "model.g/uf!", 11);
  memcpy(fragment, "model.g", 8);
  tq_store_u32(second + TQ_ATTACHMENT_KIND, TQ_ATTACHMENT_FILE);
  reseal(at.file);
  ck_fails(try_open(at.file, TQ_VERIFY_HEADER, error), TQ_ERROR_CORRUPT,
           "model.g is both a file and the folder of model.g/uf!");
  free(at.file.data);
}
END_TEST

/* Comparing each attachment with all of its name would take minutes. */
START_TEST(many_attachments_of_one_name) {
  enum { COUNT = 60000 };
  static const uint8_t no_digest[16];
  const char *path = temporary_path("many.tq");
  tq_writer *writer;
  tq_file *file;
  ck_ok(tq_writer_create(path, 0, &writer, error));
  for (uint32_t i = 0; i < COUNT; i++) ck_ok(put_attachment(writer, "a", i, "", 0, 1, error));
  ck_ok(tq_writer_finish(writer, no_digest, no_digest, error));
  ck_ok(tq_file_open(path, TQ_VERIFY_HEADER, &file, error));
  ck_assert_uint_eq(tq_file_attachment_count(file), COUNT);
  tq_file_close(file);
}
END_TEST

static tq_status count_bytes(void *context, const void *data, size_t size, tq_error *error) {
  (void)data, (void)error;
  *(size_t *)context += size;
  return TQ_OK;
}

/* Stated sizes that lie within what deflate could do, and bytes that are not deflated: found when read. */
START_TEST(attachments_that_lie) {
  static const struct {
    uint64_t size;
    int damage; /* byte of the stream to change, or -1 */
    const char *message;
  } rows[] = {{2, -1, "inflates to more than its size"},
              {0, -1, "inflates to more than its size"},
              {4, -1, "inflates to 1 bytes less than its size"},
              {3, 0, "its deflated bytes are damaged"},
              {3, 4, "attachment config.json"},
              {3, 10, "its deflated bytes are damaged"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    attachments at = open_attachments();
    tq_store_u64(at.record + TQ_ATTACHMENT_SIZE, rows[i].size);
    if (rows[i].damage >= 0) at.section[rows[i].damage] ^= 0x5a;
    reseal(at.file);
    tq_file *file;
    size_t yielded = 0, size;
    char *data;
    ck_ok(tq_file_open_memory("image.tq", at.file.data, at.file.size, TQ_VERIFY_FULL, &file, error));
    ck_fails(tq_file_attachment_read(file, 0, count_bytes, &yielded, error), TQ_ERROR_CORRUPT, rows[i].message);
    ck_assert_uint_le(yielded, rows[i].size);
    ck_fails(tq_file_attachment_load(file, "config.json", 100, &data, &size, error), TQ_ERROR_CORRUPT, "image.tq: ");
    ck_assert(!data);
    tq_file_close(file);
    free(at.file.data);
  }
}
END_TEST

/* The border between two attachments moved: a stream cut short, and one with a byte behind it. */
START_TEST(attachments_with_a_wrong_end) {
  for (int longer = 0; longer < 2; longer++) {
    attachments at = open_attachments();
    uint8_t *second = at.record + TQ_ATTACHMENT_RECORD_SIZE;
    uint64_t border = tq_load_u64(second + TQ_ATTACHMENT_OFFSET);
    uint64_t end = border + tq_load_u64(second + TQ_ATTACHMENT_STORED_SIZE);
    border = longer ? border + 1 : border - 1;
    tq_store_u64(at.record + TQ_ATTACHMENT_STORED_SIZE, border);
    tq_store_u64(second + TQ_ATTACHMENT_OFFSET, border);
    tq_store_u64(second + TQ_ATTACHMENT_STORED_SIZE, end - border);
    reseal(at.file);
    tq_file *file;
    size_t yielded = 0;
    ck_ok(tq_file_open_memory("image.tq", at.file.data, at.file.size, TQ_VERIFY_FULL, &file, error));
    ck_fails(tq_file_attachment_read(file, 0, count_bytes, &yielded, error), TQ_ERROR_CORRUPT,
             longer ? "bytes behind the end" : "its deflated bytes are damaged");
    tq_file_close(file);
    free(at.file.data);
  }
}
END_TEST

/* ---- no crash, whatever is in it ---- */

static void use_everything(const tq_file *file) {
  size_t yielded = 0;
  for (size_t i = 0; i < tq_file_attachment_count(file); i++)
    tq_file_attachment_read(file, i, count_bytes, &yielded, NULL);
  float values[4096];
  for (size_t i = 0; i < tq_file_tensor_count(file); i++) {
    const tq_tensor *tensor = tq_file_tensor(file, i);
    if (tensor->elements <= 4096) tq_tensor_decode(file, i, 0, tensor->rows, values, NULL);
  }
}

/* Random bytes anywhere but in the magic and the version, resealed: the rules hold or the file is refused. */
START_TEST(random_damage) {
  enum { ROUNDS = 20000 };
  image sample = sample_image(0);
  static const char *const places[] = {"header",  "@extra", "@data",       "@hashes", "metadata",
                                       "tensors", "hashes", "attachments", "digests"};
  static const size_t sizes[] = {112, 80, 80, 80, 120, STRINGS, 224, 180, 48};
  uint64_t state = 11, opened = 0;
  for (int round = 0; round < ROUNDS; round++) {
    image file = copy_image(sample);
    for (uint64_t i = 0, count = random_u64(&state) % 3 + 1; i < count; i++) {
      size_t place = random_u64(&state) % 9, offset = random_u64(&state) % sizes[place];
      uint8_t *byte = locate(sample, places[place]) - sample.data + file.data + offset + (place == 0 ? 12 : 0);
      static const uint8_t values[] = {0, 1, 2, 0x40, 0x7f, 0x80, 0xff};
      uint64_t value = random_u64(&state);
      *byte = value % 8 == 7 ? (uint8_t)(value >> 8) : values[value % 8];
    }
    reseal(file);
    tq_file *damaged = NULL;
    tq_error error = {0};
    tq_status status = tq_file_open_memory("image.tq", file.data, file.size, TQ_VERIFY_LAZY, &damaged, &error);
    expect(status == TQ_OK || status == TQ_ERROR_CORRUPT);
    if (status == TQ_OK) use_everything(damaged), tq_file_close(damaged), opened++;
    free(file.data);
  }
  ck_assert_uint_gt(opened, ROUNDS / 100);
  ck_assert_uint_lt(opened, ROUNDS / 2);
  free(sample.data);
}
END_TEST

int main(void) {
  Suite *suite = suite_create("container, hostile");
  TCase *fields = tcase_create("fields");
  tcase_add_test(fields, every_rule_is_checked);
  tcase_add_test(fields, missing_sections);
  tcase_add_test(fields, sections_too_small);
  tcase_add_test(fields, duplicate_sections);
  tcase_add_test(fields, unknown_encodings_are_carried);
  tcase_add_test(fields, padding_must_be_zero);
  tcase_add_test(fields, broken_chains);
  tcase_add_test(fields, nested_metadata);
  suite_add_tcase(suite, fields);
  TCase *attached = tcase_create("attachments");
  tcase_add_test(attached, attachment_rules_are_checked);
  tcase_add_test(attached, duplicate_attachments);
  tcase_add_test(attached, attachments_that_are_folders_too);
  tcase_add_test(attached, many_attachments_of_one_name);
  tcase_add_test(attached, attachments_that_lie);
  tcase_add_test(attached, attachments_with_a_wrong_end);
  suite_add_tcase(suite, attached);
  TCase *random = tcase_create("random");
  tcase_add_test(random, random_damage);
  suite_add_tcase(suite, random);
  return run_suite(suite);
}
