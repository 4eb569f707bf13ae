/* Measures candidate layouts of packed trits: one vector (scales per tensor, and per group of 32), many vectors, and
 * the transposed product with one vector and with many. Every result is compared with a scalar one first. Prints
 * Markdown. Usage: layout [ROUNDS [MEBIBYTES]] */
#include "layout.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum {
  COLUMNS = 2560,
  CHECKED_ROWS = 64,
  PREFILL_ROWS = 1024,
  BACKWARD_ROWS = 4096,
  MANY_BACKWARD_ROWS = 1024,
  LARGEST_ROUNDS = 99
};

static const instructions *const sets[] = {&layout_avx512, &layout_avx2};
enum { SETS = sizeof sets / sizeof sets[0] };
#define ONE(...) +1
enum { CANDIDATE_COUNT = 0 CANDIDATES(ONE) };

enum { DECODE, DECODE_2, GROUPS, GROUPS_2, MANY, BACK_ONE, BACK_MANY, MEASURES };

/* What all candidates share: random bytes mean other weights in every layout, and are as fast to read. */
static uint8_t *codes;
static size_t codes_bytes;
static uint16_t *scales;
static int8_t x[PREFILL][COLUMNS];
static float dy[BACKWARD][BACKWARD_ROWS];
static float *y;
static int32_t *many_y;
static float back[BACKWARD][COLUMNS];
static uint8_t *scratch;

static uint64_t random_state = 88172645463325252u;

static uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

/* One thread's time is the processor's, which other programs disturb less. */
static double seconds(size_t threads) {
  struct timespec t;
  clock_gettime(threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Small pages, such as files are mapped with. */
static void *pages(size_t size) {
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("layout: mmap");
    exit(1);
  }
  madvise(memory, size, MADV_NOHUGEPAGE);
  return memory;
}

static bool is_base3(uint8_t byte) { return (uint8_t)(byte * 243) < 243; }

/* Bytes that are numbers in base 3 whichever way they are written. */
static void fill(size_t mebibytes) {
  uint8_t good[256] = {0};
  size_t count = 0, margin = 1 << 16;
  for (int byte = 0; byte < 243; byte++)
    if (is_base3((uint8_t)byte)) good[count++] = (uint8_t)byte;
  codes_bytes = mebibytes << 20;
  codes = pages(codes_bytes + margin);
  for (size_t i = 0; i < codes_bytes + margin; i += 4) {
    uint64_t bits = random_bits();
    for (size_t j = 0; j < 4; j++) codes[i + j] = good[(bits >> (16 * j) & 0xffff) * count >> 16];
  }
  size_t rows = codes_bytes / (COLUMNS / 5), scale_count = rows * (COLUMNS / 32) + 64;
  scales = pages(scale_count * sizeof *scales);
  for (size_t i = 0; i < scale_count; i++) scales[i] = (uint16_t)(0x3c00 | (i * 2654435761u >> 8 & 0x3ff));
  y = pages(rows * sizeof *y);
  many_y = pages(PREFILL * PREFILL_ROWS * sizeof *many_y);
  scratch = pages(COLUMNS * 64);
  for (size_t t = 0; t < PREFILL; t++)
    for (size_t c = 0; c < COLUMNS; c++) x[t][c] = (int8_t)((int)(random_bits() % 255) - 127);
  for (size_t t = 0; t < BACKWARD; t++)
    for (size_t r = 0; r < BACKWARD_ROWS; r++) dy[t][r] = (float)((int)(random_bits() % 255) - 127) / 128.0f;
}

/* ---- what a layout means ---- */

static size_t row_bytes(layout l) { return COLUMNS / (size_t)places(l); }

static size_t decode_rows(layout l) { return codes_bytes / row_bytes(l) / 64 * 64; }

/* The column of place k of a row's byte b. */
static size_t column_of(layout l, size_t b, size_t k) {
  size_t span = (size_t)l.span;
  return b / span * span * (size_t)places(l) + k * span + b % span;
}

/* Where byte b of a row is. */
static size_t offset_of(layout l, size_t row, size_t b) {
  size_t height = (size_t)l.rows, piece = (size_t)l.piece;
  size_t panel = row / height * height * row_bytes(l);
  return panel + b / piece * piece * height + row % height * piece + b % piece;
}

static int trit_of(layout l, uint8_t byte, size_t k) {
  static const int powers[] = {81, 27, 9, 3, 1};
  if (l.form == TWO_BIT) return (byte >> (2 * k) & 3) - 1;
  int n = l.form == BASE3_PLAIN ? byte : byte * 243 / 256;
  return n / powers[k] % 3 - 1;
}

/* The scale of place k of the byte at `offset`. */
static float scale_of(layout l, size_t row, size_t offset, size_t k) {
  size_t panel = row / (size_t)l.rows * (size_t)l.rows * row_bytes(l), run_bytes = (size_t)run_chunks(l) * CHUNK;
  size_t run = panel / run_bytes + (offset - panel) / run_bytes;
  int lane = (int)(offset % CHUNK / 4);
  uint16_t half = scales[run * (size_t)run_scales(l) + (size_t)lane_scale(l, lane, (int)k)];
  return 1.0f + (float)(half & 0x3ff) / 1024.0f;
}

static bool groups_possible(layout l) { return l.form == TWO_BIT || l.span > 1; }

/* ---- running the kernels ---- */

/* What differs between the layouts in their inputs, as quantizing would write it. */
typedef struct arrangement {
  const instructions *set;
  const kernels *kernels;
  int8_t one[COLUMNS], many[PREFILL][COLUMNS];
  int32_t minus[COLUMNS * 4];
  float sum;
  uint32_t across[256], along[256]; /* what lies in each lane of a tile: row * 16 + piece */
  float dy[BACKWARD][BACKWARD_ROWS];
} arrangement;

/* The labels of the pieces of a tile, as the kernels bring them into order. */
static void label(const instructions *set, const kernels *k, bool rows_in_lanes, uint32_t *labels) {
  layout l = k->layout;
  int lanes = set->lanes;
  uint32_t tile[CHUNK * 16 / 4] = {0};
  size_t height = (size_t)l.rows, piece = (size_t)l.piece, bytes = (size_t)lanes * 4;
  for (size_t r = 0; r < 16; r++)
    for (size_t b = 0; b < bytes; b += 4)
      tile[(r / height * height * bytes + b / piece * piece * height + r % height * piece + b % piece) / 4] =
          (uint32_t)(r * 16 + b / 4);
  k->load_tile((const uint8_t *)tile, rows_in_lanes, labels);
}

static void arrange(const instructions *set, const kernels *k, arrangement *a) {
  layout l = k->layout;
  size_t count = (size_t)places(l), w = (size_t)width(l), lanes = (size_t)set->lanes;
  a->set = set;
  a->kernels = k;
  memset(a->minus, 0, sizeof a->minus);
  a->sum = 0;
  for (size_t b = 0; b < row_bytes(l); b++)
    for (size_t p = 0; p < count; p++) {
      int8_t value = x[0][column_of(l, b, p)];
      size_t chunk = b / w, run = chunk / (size_t)run_chunks(l), sums = (size_t)run_sums(l);
      a->one[(chunk * count + p) * w + b % w] = value;
      a->sum += value;
      for (size_t lane = 0; lane < 16; lane++)
        if (lane_piece(l, (int)lane) == (int)(b % w / 4)) a->minus[(run * sums + p % sums) * 16 + lane] -= value;
    }
  label(set, k, true, a->across);
  label(set, k, false, a->along);
  for (size_t tile = 0; tile < row_bytes(l) / (lanes * 4); tile++)
    for (size_t p = 0; p < count; p++)
      for (size_t i = 0; i < lanes; i++)
        for (size_t j = 0; j < 4; j++) {
          size_t column = column_of(l, (tile * lanes + a->across[i * lanes] % 16) * 4 + j, p);
          for (size_t t = 0; t < PREFILL; t++) a->many[t][((tile * count + p) * lanes + i) * 4 + j] = x[t][column];
        }
  for (size_t t = 0; t < BACKWARD; t++)
    for (size_t r = 0; r < BACKWARD_ROWS; r++)
      a->dy[t][r] = dy[t][r / lanes * lanes + a->along[r % lanes * lanes] / 16];
}

typedef struct part {
  void (*run)(const product *product);
  product product;
} part;

/* 0: the second thread has not begun to wait; 1: it waits; 2: it may go. Both are then on a core of their own. */
static atomic_int stage;

static void *run_second(void *argument) {
  const part *p = argument;
  atomic_store(&stage, 1);
  while (atomic_load(&stage) < 2) continue;
  p->run(&p->product);
  return NULL;
}

/* Returns the seconds that it took. */
static double run_parts(const part *parts, size_t threads) {
  pthread_t second;
  part last = parts[1];
  atomic_store(&stage, 0);
  if (threads == 2) {
    if (pthread_create(&second, NULL, run_second, &last)) exit(1);
    while (atomic_load(&stage) < 1) continue;
  }
  double begin = seconds(threads);
  atomic_store(&stage, 2);
  parts[0].run(&parts[0].product);
  if (threads == 2) pthread_join(second, NULL);
  return seconds(threads) - begin;
}

static double run_decode(const arrangement *a, bool groups, size_t threads) {
  layout l = a->kernels->layout;
  size_t share = decode_rows(l) / threads;
  part parts[2];
  for (size_t i = 0; i < 2; i++)
    parts[i] = (part){groups ? a->kernels->decode_groups : a->kernels->decode,
                      {codes, row_bytes(l), i * share, (i + 1) * share, a->one, a->sum, a->minus, scales, y}};
  return run_parts(parts, threads);
}

static double run_prefill(const arrangement *a) {
  double begin = seconds(1);
  a->set->prefill(a->kernels, codes, row_bytes(a->kernels->layout), PREFILL_ROWS, a->many[0], many_y, scratch);
  return seconds(1) - begin;
}

/* The codes are trits + 1, so minus the sum of dy comes first. */
static double run_backward(const arrangement *a, size_t rows, size_t count) {
  float shorter[BACKWARD * MANY_BACKWARD_ROWS];
  const float *factors = a->dy[0];
  if (count > 1) {
    for (size_t t = 0; t < count; t++) memcpy(shorter + t * rows, a->dy[t], rows * sizeof *shorter);
    factors = shorter;
  }
  for (size_t t = 0; t < count; t++) {
    float sum = 0;
    for (size_t r = 0; r < rows; r++) sum += factors[t * rows + r];
    for (size_t c = 0; c < COLUMNS; c++) back[t][c] = -sum;
  }
  double begin = seconds(1);
  a->set->backward(a->kernels, codes, row_bytes(a->kernels->layout), rows, count, factors, back[0], scratch);
  return seconds(1) - begin;
}

/* ---- checking ---- */

static bool decode_is_right(const arrangement *a, bool groups) {
  layout l = a->kernels->layout;
  size_t rows = decode_rows(l);
  run_decode(a, groups, 2);
  for (size_t i = 0; i < CHECKED_ROWS; i++) {
    size_t row = i % 2 ? rows - 1 - i : i;
    double sum = 0;
    for (size_t b = 0; b < row_bytes(l); b++)
      for (size_t k = 0; k < (size_t)places(l); k++) {
        size_t offset = offset_of(l, row, b);
        double term = trit_of(l, codes[offset], k) * x[0][column_of(l, b, k)];
        sum += groups ? term * (double)scale_of(l, row, offset, k) : term;
      }
    if (fabs(sum - (double)y[row]) > (groups ? 0.1 : 0.0)) return false;
  }
  return true;
}

static bool prefill_is_right(const arrangement *a) {
  layout l = a->kernels->layout;
  size_t lanes = (size_t)a->set->lanes;
  run_prefill(a);
  for (size_t i = 0; i < CHECKED_ROWS; i++) {
    size_t place = i * (PREFILL_ROWS / CHECKED_ROWS) + i % 16;
    size_t row = place / lanes * lanes + a->across[place % lanes] / 16, t = i % PREFILL;
    int32_t sum = 0;
    for (size_t b = 0; b < row_bytes(l); b++)
      for (size_t k = 0; k < (size_t)places(l); k++)
        sum += (trit_of(l, codes[offset_of(l, row, b)], k) + 1) * x[t][column_of(l, b, k)];
    if (sum != many_y[t * PREFILL_ROWS + place]) return false;
  }
  return true;
}

static bool backward_is_right(const arrangement *a, size_t count) {
  layout l = a->kernels->layout;
  size_t lanes = (size_t)a->set->lanes, tile_bytes = lanes * 4;
  static double sums[BACKWARD][COLUMNS];
  memset(sums, 0, sizeof sums);
  for (size_t row = 0; row < CHECKED_ROWS; row++)
    for (size_t b = 0; b < row_bytes(l); b++)
      for (size_t k = 0; k < (size_t)places(l); k++)
        for (size_t t = 0; t < count; t++)
          sums[t][column_of(l, b, k)] += trit_of(l, codes[offset_of(l, row, b)], k) * (double)dy[t][row];
  run_backward(a, CHECKED_ROWS, count);
  for (size_t t = 0; t < count; t++)
    for (size_t i = 0; i < COLUMNS; i++) {
      size_t byte = i % tile_bytes, tile = i / tile_bytes / (size_t)places(l), k = i / tile_bytes % (size_t)places(l);
      size_t b = tile * tile_bytes + a->along[byte / 4] % 16 * 4 + byte % 4;
      if (fabs(sums[t][column_of(l, b, k)] - (double)back[t][i]) > 1e-3) return false;
    }
  return true;
}

static const char *name_of(layout l) {
  static char name[96];
  static const char *const forms[] = {"2-bit", "base-3", "base-3, other digits", "base-3, byte = n"};
  char place[32], rows[48];
  if (l.span == 1)
    snprintf(place, sizeof place, "neighbours");
  else
    snprintf(place, sizeof place, "%d apart", l.span);
  if (l.rows == 1)
    snprintf(rows, sizeof rows, "rows apart%s", l.streams > 1 ? ", 4 side by side" : "");
  else
    snprintf(rows, sizeof rows, "%d rows by %d bytes", l.rows, l.piece);
  snprintf(name, sizeof name, "%s | %s | %s", forms[l.form], rows, place);
  return name;
}

static void check(const arrangement *a) {
  const char *wrong = !decode_is_right(a, false)                                         ? "one vector"
                      : groups_possible(a->kernels->layout) && !decode_is_right(a, true) ? "one vector with groups"
                      : !prefill_is_right(a)                                             ? "many vectors"
                      : !backward_is_right(a, 1)                                         ? "transposed"
                      : !backward_is_right(a, BACKWARD)                                  ? "transposed, many"
                                                                                         : NULL;
  if (!wrong) return;
  fprintf(stderr, "layout: %s, %s: wrong result: %s\n", a->set->name, name_of(a->kernels->layout), wrong);
  exit(1);
}

/* ---- measuring ---- */

static double run(const arrangement *a, int measure) {
  switch (measure) {
  case DECODE:
  case DECODE_2:
    return run_decode(a, false, measure == DECODE ? 1 : 2);
  case GROUPS:
  case GROUPS_2:
    return run_decode(a, true, measure == GROUPS ? 1 : 2);
  case MANY:
    return run_prefill(a);
  case BACK_ONE:
    return run_backward(a, BACKWARD_ROWS, 1);
  default:
    return run_backward(a, MANY_BACKWARD_ROWS, BACKWARD);
  }
}

/* 1e9 trits, or products, that a measure went through. */
static double work_of(layout l, int measure) {
  double rows = measure <= GROUPS_2   ? (double)decode_rows(l)
                : measure == MANY     ? (double)PREFILL * PREFILL_ROWS
                : measure == BACK_ONE ? (double)BACKWARD_ROWS
                                      : (double)BACKWARD * MANY_BACKWARD_ROWS;
  return rows * COLUMNS * 1e-9;
}

static int compare(const void *a, const void *b) {
  double d = *(const double *)a - *(const double *)b;
  return (d > 0) - (d < 0);
}

static double median(double *times, size_t rounds) {
  qsort(times, rounds, sizeof *times, compare);
  return times[rounds / 2];
}

static double times[SETS][CANDIDATE_COUNT][MEASURES][LARGEST_ROUNDS];
static double read_times[2][LARGEST_ROUNDS];

static void read_all(const product *p) {
  const uint64_t *words = (const uint64_t *)(const void *)p->codes;
  uint64_t sums[16] = {0};
  for (size_t i = p->begin / 8; i < p->end / 8; i += 16)
    for (size_t j = 0; j < 16; j++) sums[j] ^= words[i + j];
  for (size_t j = 1; j < 16; j++) sums[0] ^= sums[j];
  p->y[0] = (float)sums[0];
}

static double run_read(size_t threads) {
  size_t share = codes_bytes / threads;
  part parts[2];
  for (size_t i = 0; i < 2; i++)
    parts[i] = (part){read_all, {.codes = codes, .begin = i * share, .end = (i + 1) * share, .y = y + 64 * i}};
  return run_parts(parts, threads);
}

static void print_set(size_t s, size_t rounds) {
  printf("\n%s:\n\n", sets[s]->name);
  printf("| code | rows | a byte's weights | 1 thread | 2 threads | groups, 1 | groups, 2 | G trits/s | prefill | dx | "
         "dx, %d |\n",
         BACKWARD);
  printf("|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (size_t c = 0; c < CANDIDATE_COUNT; c++) {
    layout l = sets[s]->kernels[c].layout;
    double speeds[MEASURES];
    for (int m = 0; m < MEASURES; m++) speeds[m] = work_of(l, m) / median(times[s][c][m], rounds);
    double bytes = 1.0 / places(l), group_bytes = bytes + 2.0 / 32;
    printf("| %s | %.1f | %.1f |", name_of(l), speeds[DECODE] * bytes, speeds[DECODE_2] * bytes);
    if (groups_possible(l))
      printf(" %.1f | %.1f |", speeds[GROUPS] * group_bytes, speeds[GROUPS_2] * group_bytes);
    else
      printf(" no | no |");
    printf(" %.0f | %.0f | %.1f | %.1f |\n", speeds[DECODE_2], speeds[MANY], speeds[BACK_ONE], speeds[BACK_MANY]);
  }
}

int main(int count, char **arguments) {
  size_t rounds = count > 1 ? strtoul(arguments[1], NULL, 10) : 5;
  size_t mebibytes = count > 2 ? strtoul(arguments[2], NULL, 10) : 256;
  if (rounds < 1 || rounds > LARGEST_ROUNDS || mebibytes < 4) {
    fprintf(stderr, "usage: layout [ROUNDS [MEBIBYTES]]\n");
    return 2;
  }
  fill(mebibytes);
  static arrangement a;
  for (size_t round = 0; round < rounds; round++) {
    for (size_t threads = 1; threads <= 2; threads++) read_times[threads - 1][round] = run_read(threads);
    for (size_t c = 0; c < CANDIDATE_COUNT; c++)
      for (size_t s = 0; s < SETS; s++) {
        if (!sets[s]->available()) continue;
        arrange(sets[s], &sets[s]->kernels[c], &a);
        if (round == 0) check(&a);
        for (int m = 0; m < MEASURES; m++) {
          if ((m == GROUPS || m == GROUPS_2) && !groups_possible(a.kernels->layout)) continue;
          times[s][c][m][round] = run(&a, m);
        }
      }
  }
  printf("Plain read of %zu MiB: %.1f GB/s with 1 thread, %.1f with 2. Medians of %zu rounds.\n", mebibytes,
         (double)codes_bytes * 1e-9 / median(read_times[0], rounds),
         (double)codes_bytes * 1e-9 / median(read_times[1], rounds), rounds);
  for (size_t s = 0; s < SETS; s++)
    if (sets[s]->available()) print_set(s, rounds);
  return 0;
}
