/* The bytes of a .tq file: offsets of fields, sizes of records and limits, as docs/format.md states them. */
#ifndef TQ_CONTAINER_LAYOUT_H
#define TQ_CONTAINER_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

/* ---- alignment ---- */

enum {
  TQ_ALIGNMENT = 64,        /* of sections, tensors and parts */
  TQ_DATA_ALIGNMENT = 65536 /* of the "data" section */
};

/* ---- header ---- */

#define TQ_MAGIC "\x89TQF\r\n\x1a\n"

enum {
  TQ_MAGIC_SIZE = 8,
  TQ_HEADER_MAJOR = 8,              /* u16 */
  TQ_HEADER_MINOR = 10,             /* u16 */
  TQ_HEADER_HEADER_SIZE = 12,       /* u32 */
  TQ_HEADER_FILE_SIZE = 16,         /* u64 */
  TQ_HEADER_REQUIRED_FEATURES = 24, /* u64 */
  TQ_HEADER_OPTIONAL_FEATURES = 32, /* u64 */
  TQ_HEADER_TABLE_OFFSET = 40,      /* u64 */
  TQ_HEADER_SECTION_COUNT = 48,     /* u32 */
  TQ_HEADER_HASH_ALGORITHM = 52,    /* u32 */
  TQ_HEADER_ZERO_1 = 56,            /* 8 bytes */
  TQ_HEADER_TABLE_HASH = 64,        /* hash slot */
  TQ_HEADER_ZERO_2 = 96,            /* 24 bytes */
  TQ_HEADER_CHECKSUM = 120,         /* u64: XXH3-64 of the bytes before */
  TQ_HEADER_SIZE = 128
};

/* ---- section table ---- */

enum {
  TQ_ENTRY_NAME = 0, /* 15 bytes and a NUL */
  TQ_ENTRY_NAME_SIZE = 16,
  TQ_ENTRY_FLAGS = 16,      /* u32 */
  TQ_ENTRY_ZERO_1 = 20,     /* u32 */
  TQ_ENTRY_OFFSET = 24,     /* u64 */
  TQ_ENTRY_SIZE_FIELD = 32, /* u64 */
  TQ_ENTRY_ZERO_2 = 40,     /* u64 */
  TQ_ENTRY_HASH = 48,       /* hash slot */
  TQ_ENTRY_SIZE = 80,
  TQ_SECTION_REQUIRED = 1 /* flag bit 0 */
};

/* ---- "tensors": the directory ---- */

enum {
  TQ_DIRECTORY_TENSOR_COUNT = 0,  /* u64 */
  TQ_DIRECTORY_PART_COUNT = 8,    /* u64 */
  TQ_DIRECTORY_STRINGS_SIZE = 16, /* u64 */
  TQ_DIRECTORY_TENSOR_SIZE = 24,  /* u32: bytes of a tensor record */
  TQ_DIRECTORY_PART_SIZE = 28,    /* u32: bytes of a part record */
  TQ_DIRECTORY_ZERO = 32,         /* 32 bytes */
  TQ_DIRECTORY_HEADER_SIZE = 64,
  TQ_RECORD_SIZE_LIMIT = 4096 /* no version's record is larger */
};

enum {
  TQ_TENSOR_DATA_OFFSET = 0,       /* u64, from the start of "data" */
  TQ_TENSOR_DATA_SIZE = 8,         /* u64 */
  TQ_TENSOR_ELEMENTS = 16,         /* u64 */
  TQ_TENSOR_SHAPE = 24,            /* u64[8] */
  TQ_TENSOR_TRIT_COUNTS = 88,      /* u64[4] */
  TQ_TENSOR_BITS_PER_WEIGHT = 120, /* f64 */
  TQ_TENSOR_CONTENT_DIGEST = 128,  /* u8[16] */
  TQ_TENSOR_DIMENSIONS = 144,      /* u32 */
  TQ_TENSOR_ROW_ORDER = 148,       /* u32 */
  TQ_TENSOR_FIRST_PART = 152,      /* u32 */
  TQ_TENSOR_PART_COUNT = 156,      /* u32 */
  TQ_TENSOR_ROLE = 160,            /* u32, into the strings */
  TQ_TENSOR_NAME = 164,            /* u32 */
  TQ_TENSOR_SOURCE_TYPE = 168,     /* u32 */
  TQ_TENSOR_ZERO = 172,            /* 20 bytes */
  TQ_TENSOR_RECORD_SIZE = 192
};

enum {
  TQ_PART_KIND = 0,            /* u32 */
  TQ_PART_ENCODING = 4,        /* u32 */
  TQ_PART_GRANULARITY = 8,     /* u32 */
  TQ_PART_GROUP = 12,          /* u32 */
  TQ_PART_DIRECTION = 16,      /* u32 */
  TQ_PART_BLOCK_ELEMENTS = 20, /* u32 */
  TQ_PART_BLOCK_BYTES = 24,    /* u32 */
  TQ_PART_TYPE_NAME = 28,      /* u32, into the strings */
  TQ_PART_OFFSET = 32,         /* u64, from the tensor's start */
  TQ_PART_SIZE = 40,           /* u64 */
  TQ_PART_ZERO = 48,           /* 16 bytes */
  TQ_PART_RECORD_SIZE = 64
};

/* ---- "hashes" ---- */

enum {
  TQ_HASHES_CHUNK_SIZE = 0,   /* u64 */
  TQ_HASHES_TENSOR_COUNT = 8, /* u64 */
  TQ_HASHES_CHUNK_COUNT = 16, /* u64 */
  TQ_HASHES_ZERO = 24,        /* u64 */
  TQ_HASHES_HEADER_SIZE = 32  /* tensor hashes, then chunk hashes follow */
};

/* ---- "digests" ---- */

enum { TQ_DIGESTS_WEIGHTS = 0, TQ_DIGESTS_FUNCTION = 16, TQ_DIGESTS_TOKENIZER = 32, TQ_DIGESTS_SIZE = 48 };

/* ---- "attachments": deflated files end to end, index records, names, trailer ---- */

enum {
  TQ_ATTACHMENT_OFFSET = 0,      /* u64, from the section's start */
  TQ_ATTACHMENT_STORED_SIZE = 8, /* u64 */
  TQ_ATTACHMENT_SIZE = 16,       /* u64, inflated */
  TQ_ATTACHMENT_KIND = 24,       /* u32 */
  TQ_ATTACHMENT_NAME = 28,       /* u32, into the names */
  TQ_ATTACHMENT_ZERO = 32,       /* u64 */
  TQ_ATTACHMENT_RECORD_SIZE = 40,
  TQ_TRAILER_INDEX_OFFSET = 0, /* u64, from the section's start */
  TQ_TRAILER_COUNT = 8,        /* u64 */
  TQ_TRAILER_NAMES_SIZE = 16,  /* u64 */
  TQ_TRAILER_ZERO = 24,        /* u64 */
  TQ_TRAILER_SIZE = 32,
  TQ_ATTACHMENT_ALIGNMENT = 8,   /* of index and trailer */
  TQ_DEFLATE_RATIO_LIMIT = 1032, /* bytes that one byte of a deflate stream can stand for: 258 in two bits */
  TQ_ATTACHMENT_NAME_LIMIT = 4096,
  /* All attachments inflate to at most 200 times what is stored and 64 MiB, as much as an archive may: what deflate
   * could do, 1032 times, would let a file of some megabytes fill a disk. */
  TQ_ATTACHMENTS_RATIO_LIMIT = 200,
  TQ_ATTACHMENTS_ALLOWANCE = 64 << 20
};

/* True when the attachments together, `size` bytes inflated and `stored` deflated, keep to that limit. */
bool tq_attachments_are_bounded(uint64_t size, uint64_t stored);

/* ---- the sections that the container knows ---- */

typedef enum tq_known_section {
  TQ_SECTION_METADATA,
  TQ_SECTION_DATA,
  TQ_SECTION_TENSORS,
  TQ_SECTION_HASHES,
  TQ_SECTION_DIGESTS,
  TQ_SECTION_ATTACHMENTS,
  TQ_SECTION_TOKENIZER,
  TQ_SECTION_SOURCE,
  TQ_SECTION_KNOWN
} tq_known_section;

/* The first of them are in every file; the container itself writes those and the attachments. */
enum { TQ_SECTION_MANDATORY = TQ_SECTION_DIGESTS + 1, TQ_SECTION_OWN = TQ_SECTION_ATTACHMENTS + 1 };

/* Indexed by tq_known_section. */
extern const char *const tq_section_names[TQ_SECTION_KNOWN];

/* The known section of that name, or TQ_SECTION_KNOWN. */
tq_known_section tq_section_by_name(const char *name);
/* Where a section of that name may start: multiples of this. */
uint64_t tq_section_alignment(const char *name);

#endif
