/* Dialects: the foreign forms that ternary tensors are published in, one row of a table and one file each.
 *
 * A dialect says how the bytes of one tensor hold its trits and scales. The bytes are units end to end, then a tail. A
 * unit holds the trits of one row, or of the few rows that share bytes, and of their scales those that lie inside. All
 * functions are pure; readers and writers of whole tensors are reader.h and encode.h. */
#ifndef TQ_FORMATS_DIALECTS_DIALECT_H
#define TQ_FORMATS_DIALECTS_DIALECT_H

#include "tq/encoding.h"
#include "tq/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tq_scale_place {
  TQ_SCALES_INSIDE,    /* in the units: those of a row are found when the row is decoded */
  TQ_SCALE_IN_TAIL,    /* one, in the first bytes of the tail */
  TQ_SCALE_IN_A_TENSOR /* one, in a tensor of its own */
} tq_scale_place;

enum {
  TQ_NO_GGUF_TYPE = UINT32_MAX,
  /* Longer rows are far above any model; they stay opaque, for a row is what is held in memory. */
  TQ_TERNARY_COLUMNS_LIMIT = 1 << 20
};

typedef struct tq_dialect {
  const char *name;    /* unique: what --type, --list and a .tq file's source_type call it ("TQ2_0") */
  const char *carrier; /* "gguf" or "hf": the row in the table of formats that carries it; "" for plain floats: both */
  const char *origin;  /* whose programs read and write it: "llama.cpp", "bitnet.cpp", "PrismML", "ik_llama.cpp", ... */
  uint32_t gguf_type;  /* TQ_NO_GGUF_TYPE where GGUF has none */
  int32_t file_type;   /* general.file_type of a GGUF file that is mostly of this dialect, -1 where there is none */
  /* What it can say. */
  uint32_t granularity, group; /* tq_granularity */
  uint32_t scale_encoding;     /* TQ_F16, TQ_F32, TQ_BF16; 0: any of these (a tensor of its own) */
  uint32_t direction;          /* tq_direction */
  tq_scale_place scale_place;
  bool four_valued; /* a code for +2 exists and is kept */
  bool is_base3;    /* five trits a byte, for --list */
  bool is_unpacked; /* plain floats: decoding may find that they are not ternary */
  bool is_variant;  /* another layout under a published one's number: written only where it is named, never chosen */
  /* What it cannot say: 1 where anything goes. */
  uint32_t column_multiple, row_multiple, element_multiple;
  /* How the bytes lie. */
  uint32_t shared_rows; /* rows of a unit: 1 or 4. More where the units of an element_multiple take whole rows only */
  bool is_strided;      /* unit k holds the rows k, k + n, k + 2n, ... for n units, instead of neighbours */
  uint32_t tail_bytes;
  const char *limits; /* for --list: "rows of a multiple of 256" */
  /* Bytes of a unit of `rows` rows (tq_dialect_unit_rows). */
  uint64_t (*unit_bytes)(uint64_t rows, uint64_t columns);
  /* Row `row` of a unit: its trits, [columns], and where scales lie inside its scales in file order, as
   * tq_dialect_row_scales encoded numbers of scale_encoding. `scales` is not touched otherwise. False when the row is
   * not ternary (unpacked; `trits` and `scales` are then undefined) or holds a code that means nothing; +2 is no such
   * code in a four-valued dialect, and base-3 bytes that no number maps to have the digits that the peers' formula
   * gives them. */
  bool (*decode)(const uint8_t *unit, uint64_t columns, uint32_t row, int8_t *trits, uint8_t *scales);
  /* The unit of rows [rows][columns] with the scales [rows][tq_dialect_row_scales] that lie inside: every byte of it is
   * determined. Trits and scales must be what the dialect can say. */
  void (*encode)(const int8_t *trits, const uint8_t *scales, uint64_t rows, uint64_t columns, uint8_t *unit);
} tq_dialect;

/* Row `index` of the table, or NULL behind the last: GGUF's packed dialects by falling density, then Hugging Face's,
 * then plain floats from the smallest. */
const tq_dialect *tq_dialect_at(size_t index);
const tq_dialect *tq_dialect_find(const char *name);
/* The plain floats of an encoding (F32, F16, BF16), or NULL. */
const tq_dialect *tq_dialect_of_floats(uint32_t encoding);

/* How many rows share a unit: shared_rows, or as many rows as make a whole number of element_multiple elements. */
uint64_t tq_dialect_unit_rows(const tq_dialect *dialect, uint64_t columns);
/* Scales inside the units for one row: 0 where they lie elsewhere. */
uint64_t tq_dialect_row_scales(const tq_dialect *dialect, uint64_t columns);
/* Bytes of a tensor, tail included. False where tq_dialect_shape_problem finds one: on overflow, on a size of zero, or
 * where the multiples or TQ_TERNARY_COLUMNS_LIMIT do not allow the shape; a unit has at most 4 times that limit. */
bool tq_dialect_size(const tq_dialect *dialect, uint64_t rows, uint64_t columns, uint64_t *size);
/* Why the shape is not allowed ("rows of 5460 are not a multiple of 256"), or false with nothing written when it is. */
bool tq_dialect_shape_problem(const tq_dialect *dialect, uint64_t rows, uint64_t columns, char *reason, size_t size);
/* Bits per weight for a tensor of that shape, scales and tail included; 0 where the shape is not allowed. */
double tq_dialect_bits(const tq_dialect *dialect, uint64_t rows, uint64_t columns);

/* How the bytes of one tensor are to be read: a dialect, and the scale that lies outside them. */
typedef struct tq_form {
  const tq_dialect *dialect; /* NULL: the tensor is numbers or blocks */
  /* llama.cpp's `.scale` tensors: the scales inside are all 1, and the one outside counts instead. */
  bool has_unit_scales;
  /* Set for TQ_SCALE_IN_A_TENSOR and for has_unit_scales. */
  uint32_t scale_encoding, scale_direction;
  uint8_t scale[4];
} tq_form;

/* The text that names a form in a .tq file's source_type: the dialect's name, "+scale" behind it for unit scales; ""
 * for a form without a dialect. Only GGUF's packed dialects can have unit scales. */
void tq_form_name(const tq_form *form, char *name, size_t size);
/* The dialect and has_unit_scales that such a text says; the scale outside is not part of it. False when it says none.
 */
bool tq_form_from_name(const char *name, tq_form *form);
/* True when a scale lies outside the units and the tail. */
bool tq_form_has_outer_scale(const tq_form *form);

#endif
