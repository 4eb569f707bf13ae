/* Candidate layouts of packed trits, and what each instruction set's kernels do with them: the benchmark `layout`. */
#ifndef TQ_BENCH_LAYOUT_H
#define TQ_BENCH_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* BASE3 is unpacked as suits the instruction set best, OTHER in the next best way, PLAIN has n itself for a byte where
 * the others have ceil(256 n / 243). */
enum { TWO_BIT, BASE3, BASE3_OTHER, BASE3_PLAIN };

/* A panel of `rows` rows whose bytes are interleaved in pieces of `piece` bytes. The weights of a byte lie `span`
 * columns apart. Rows of their own have pieces of 64, which changes nothing. */
typedef struct layout {
  int rows, piece, span, form;
  int streams; /* rows that the kernel for one vector reads side by side */
} layout;

#define CANDIDATES_OF(X, form)                                                                                         \
  X(1, 64, 32, form, 1)                                                                                                \
  X(1, 64, 32, form, 4)                                                                                                \
  X(1, 64, 64, form, 1)                                                                                                \
  X(1, 64, 1, form, 1)                                                                                                 \
  X(4, 4, 32, form, 1)                                                                                                 \
  X(4, 16, 32, form, 1)                                                                                                \
  X(8, 4, 32, form, 1)                                                                                                 \
  X(8, 8, 32, form, 1)                                                                                                 \
  X(16, 4, 32, form, 1)                                                                                                \
  X(16, 4, 1, form, 1)
#define CANDIDATES(X)                                                                                                  \
  CANDIDATES_OF(X, TWO_BIT)                                                                                            \
  CANDIDATES_OF(X, BASE3)                                                                                              \
  X(16, 4, 32, BASE3_OTHER, 1)                                                                                         \
  X(16, 4, 32, BASE3_PLAIN, 1)

enum {
  CHUNK = 64,   /* bytes of a panel that are taken at a time, in 16 lanes of 4 */
  PREFILL = 32, /* vectors at once */
  BACKWARD = 16 /* vectors at once */
};

/* Bytes ahead that the kernels for one vector ask for; 0: they leave that to the processor. */
#ifndef PREFETCH
#define PREFETCH 0
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE int places(layout l) { return l.form == TWO_BIT ? 4 : 5; }
/* Bytes of each row that a chunk has. */
INLINE int width(layout l) { return CHUNK / l.rows; }
/* The row of its panel that a lane of a chunk belongs to, and which 4 of the row's bytes there. */
INLINE int lane_row(layout l, int lane) { return lane / (l.piece / 4) % l.rows; }
INLINE int lane_piece(layout l, int lane) {
  int words = l.piece / 4;
  return lane % words + lane / (words * l.rows) * words;
}

/* With scales per 32 columns, the sums of a few chunks are multiplied by their scales together. Where the weights of a
 * byte are neighbours they share a sum, else each place has its own. */
INLINE int run_chunks(layout l) {
  int chunks = l.rows * (l.span == 1 ? 8 : 32) / CHUNK;
  return chunks ? chunks : 1;
}
INLINE int run_sums(layout l) { return l.span == 1 ? 1 : places(l); }
INLINE int run_scales(layout l) { return run_chunks(l) * CHUNK * places(l) / 32; }
/* The place, among the scales of a run, of a lane's for place k of its bytes. */
INLINE int lane_scale(layout l, int lane, int k) {
  if (l.span == 1) return l.rows == 1 ? lane / 2 : lane_row(l, lane);
  if (l.rows > 1) return k * l.rows + lane_row(l, lane);
  return l.span == 64 ? 2 * k + lane / 8 : lane / 8 * places(l) + k;
}

/* One vector times the rows [begin, end). */
typedef struct product {
  const uint8_t *codes;
  size_t row_bytes, begin, end;
  const int8_t *x;        /* [chunk][place][width]: as the lanes meet it */
  float sum;              /* of x: codes are trit + 1 */
  const int32_t *minus;   /* [run][sum][lane]: minus the sum of what a lane meets */
  const uint16_t *scales; /* F16, in the order of the runs */
  float *y;
} product;

/* A tile of `lanes` rows and `lanes` pieces of 4 bytes of each is loaded in `lanes` vectors and rearranged so that the
 * lanes of one are of different rows (for products with many vectors), or of one row (for the transposed product). */
typedef struct kernels {
  layout layout;
  void (*decode)(const product *product);
  void (*decode_groups)(const product *product);
  void (*load_tile)(const uint8_t *codes, bool rows_in_lanes, uint32_t *words);
  /* All tiles of the rows from `row` on: codes[tile][place][vector][lane], or codes[vector][tile][place][lane]. */
  void (*unpack_across)(const uint8_t *codes, size_t row_bytes, size_t row, uint8_t *unpacked);
  void (*unpack_along)(const uint8_t *codes, size_t row_bytes, size_t row, uint8_t *unpacked);
} kernels;

typedef struct instructions {
  const char *name;
  int lanes;
  bool (*available)(void);
  const kernels *kernels; /* as CANDIDATES lists them */
  /* y[t * rows + row] = sum(codes * x) of PREFILL vectors, the rows in the order of the lanes. */
  void (*prefill)(const kernels *kernels, const uint8_t *codes, size_t row_bytes, size_t rows, const int8_t *x,
                  int32_t *y, uint8_t *scratch);
  /* dx[t * columns + c] += sum(dy[t * rows + r] * code) of `count` vectors, in the order of the tiles. */
  void (*backward)(const kernels *kernels, const uint8_t *codes, size_t row_bytes, size_t rows, size_t count,
                   const float *dy, float *dx, uint8_t *scratch);
} instructions;

/* In an instruction set's file: a function of each kind for each candidate, from its inline functions, and the table.
 */
#define FUNCTION(kind, rows, piece, span, form, streams) kind##_##rows##_##piece##_##span##_##form##_##streams
#define FUNCTIONS(...)                                                                                                 \
  static void FUNCTION(decode, __VA_ARGS__)(const product *p) { decode((layout){__VA_ARGS__}, p); }                    \
  static void FUNCTION(decode_groups, __VA_ARGS__)(const product *p) { decode_groups((layout){__VA_ARGS__}, p); }      \
  static void FUNCTION(load_tile, __VA_ARGS__)(const uint8_t *codes, bool rows_in_lanes, uint32_t *words) {            \
    load_tile((layout){__VA_ARGS__}, codes, rows_in_lanes, words);                                                     \
  }                                                                                                                    \
  static void FUNCTION(across, __VA_ARGS__)(const uint8_t *codes, size_t row_bytes, size_t row, uint8_t *unpacked) {   \
    unpack_tiles((layout){__VA_ARGS__}, codes, row_bytes, row, true, unpacked);                                        \
  }                                                                                                                    \
  static void FUNCTION(along, __VA_ARGS__)(const uint8_t *codes, size_t row_bytes, size_t row, uint8_t *unpacked) {    \
    unpack_tiles((layout){__VA_ARGS__}, codes, row_bytes, row, false, unpacked);                                       \
  }
#define ROW_OF_TABLE(...)                                                                                              \
  {{__VA_ARGS__},                                                                                                      \
   FUNCTION(decode, __VA_ARGS__),                                                                                      \
   FUNCTION(decode_groups, __VA_ARGS__),                                                                               \
   FUNCTION(load_tile, __VA_ARGS__),                                                                                   \
   FUNCTION(across, __VA_ARGS__),                                                                                      \
   FUNCTION(along, __VA_ARGS__)},
#define LAYOUT_KERNELS                                                                                                 \
  CANDIDATES(FUNCTIONS)                                                                                                \
  static const kernels candidates[] = {CANDIDATES(ROW_OF_TABLE)};

extern const instructions layout_avx2, layout_avx512;

#endif
