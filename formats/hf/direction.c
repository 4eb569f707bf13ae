/* Whether a weight_scale multiplies or divides.
 *
 * The evidence is the size of the weights. An output of a layer is a sum over the columns, so with inputs of size 1
 * (all layers come after a norm) it has the size rms(W) * sqrt(columns), whatever the width of the model. That is near
 * 1, where the layers that follow can use it: initial weights of deviation 0.02 give 0.6 to 2.4 at 1024 to 14336
 * columns, those of o and down may begin smaller by the root of twice the layers, and training moves them by small
 * factors. The bounds, 1/32 and 8, leave room for that. The other reading of a scale gives share * columns divided by
 * the true size, share being that of the weights other than 0: several hundred for a model of 1000 columns, and
 * thousands for most. So a size within the bounds under one reading and outside under the other speaks for the one;
 * below some 100 columns both may lie inside, and nothing is known.
 *
 * Of the layers only q, k, o and down count. Where sub-norms follow v, gate and up, their scale cancels out and
 * training leaves it anywhere. Nor is it certain for the others: bitnet-b1.58-2B-4T has scales of 1 to 2 (and norms of
 * 0.02 before q and k to make up for it), which puts both readings outside. Hence the third outcome. */
#include "formats/hf/quantization.h"

#include "base/memory.h"
#include "formats/names.h"
#include "model/architecture.h"
#include "tq/ternary.h"

#include <math.h>
#include <string.h>

static const double SMALLEST = 1.0 / 32, LARGEST = 8.0;

/* The share of the layers that must speak for a reading, in quarters, and the packed rows (of four) that are read of
 * each: 32 rows of 1000 columns know the share of zeros to half a percent. */
enum { QUARTERS_NEEDED = 3, SAMPLED_ROWS = 8 };

typedef struct evidence {
  size_t layers;           /* q, k, o and down that are packed */
  size_t speaking[2];      /* by tq_direction: for which of them that one alone is plausible */
  const char *example;     /* one that speaks, or else any: its name, */
  double example_sizes[2]; /* and its size under each */
  bool example_speaks;
} evidence;

static bool is_plausible(double size) { return size >= SMALLEST && size <= LARGEST; }

/* The share of weights other than 0 in rows spread over the tensor. Rows with a code that means nothing are passed
 * over: that is for the import to say. */
static tq_status sample_share(tq_checkpoint *checkpoint, const tq_dialect *dialect, const tq_source_tensor *tensor,
                              double *share, tq_error *error) {
  uint64_t units = tensor->shape[0], columns = tensor->shape[1];
  uint64_t sampled = units < SAMPLED_ROWS ? units : SAMPLED_ROWS, counts[4] = {0};
  uint8_t *unit = tq_allocate((size_t)columns, 1, error);
  int8_t *trits = unit ? tq_allocate((size_t)columns, 1, error) : NULL;
  tq_status status = trits ? TQ_OK : TQ_ERROR_SYSTEM;
  for (uint64_t i = 0; !status && i < sampled; i++) {
    status = tq_input_read(checkpoint->inputs[tensor->input], tensor->offset + units / sampled * i * columns, unit,
                           (size_t)columns, error);
    for (uint32_t row = 0; !status && row < dialect->shared_rows; row++) {
      if (dialect->decode(unit, columns, row, trits, NULL)) tq_trits_count(trits, columns, counts);
    }
  }
  uint64_t all = counts[0] + counts[1] + counts[2] + counts[3];
  *share = all ? (double)(all - counts[1]) / (double)all : 0;
  tq_free(unit);
  tq_free(trits);
  return status;
}

static bool bears_evidence(const char *role) {
  size_t linear;
  if (!tq_role_is_linear(role, &linear)) return false;
  return linear == TQ_LINEAR_Q || linear == TQ_LINEAR_K || linear == TQ_LINEAR_O || linear == TQ_LINEAR_DOWN;
}

static void weigh(evidence *of, const char *name, const double sizes[2]) {
  bool direct = is_plausible(sizes[TQ_DIRECT]), inverted = is_plausible(sizes[TQ_INVERTED]);
  of->layers++;
  of->speaking[TQ_DIRECT] += direct && !inverted;
  of->speaking[TQ_INVERTED] += inverted && !direct;
  bool speaks = direct != inverted;
  if (of->example && (of->example_speaks || !speaks)) return;
  of->example = name;
  of->example_speaks = speaks;
  memcpy(of->example_sizes, sizes, sizeof of->example_sizes);
}

static tq_status gather(tq_checkpoint *checkpoint, const tq_hf_packed *packed, size_t count, evidence *of,
                        tq_error *error) {
  const tq_dialect *dialect = tq_dialect_find("bitlinear"); /* the codes of both are the same */
  tq_status status = TQ_OK;
  *of = (evidence){0};
  for (size_t i = 0; !status && i < count; i++) {
    const tq_source_tensor *tensor = &checkpoint->tensors[packed[i].tensor];
    double share;
    if (!bears_evidence(tensor->role)) continue;
    status = sample_share(checkpoint, dialect, tensor, &share, error);
    double scale = fabs((double)tq_scale_load(packed[i].scale_encoding, TQ_DIRECT, packed[i].scale, 0));
    double unit = sqrt(share * (double)tensor->shape[1]);
    if (!status) weigh(of, tensor->name, (double[2]){[TQ_DIRECT] = unit * scale, [TQ_INVERTED] = unit / scale});
  }
  return status;
}

static bool is_conclusive(const evidence *of, uint32_t direction) {
  return of->layers && 4 * of->speaking[direction] >= QUARTERS_NEEDED * of->layers;
}

static const char *word(uint32_t direction) { return direction == TQ_DIRECT ? "direct" : "inverted"; }

/* What the weights show, for a message: "of 28 layers (q, k, o, down), rms(W) * sqrt(columns) lies within ..." */
static void describe(const evidence *of, char *text, size_t size) {
  if (!of->layers) {
    snprintf(text, size, "no q, k, o or down layer is packed, so the weights say nothing of it");
    return;
  }
  snprintf(text, size,
           "of %zu layers (q, k, o, down), rms(W) * sqrt(columns) lies within %g to %g only as direct for %zu, only as "
           "inverted for %zu; %s: %.4g direct, %.4g inverted",
           of->layers, SMALLEST, LARGEST, of->speaking[TQ_DIRECT], of->speaking[TQ_INVERTED], of->example,
           of->example_sizes[TQ_DIRECT], of->example_sizes[TQ_INVERTED]);
}

static tq_status say(tq_checkpoint *checkpoint, uint32_t direction, const char *why, const evidence *of,
                     tq_error *error) {
  char text[512];
  describe(of, text, sizeof text);
  return tq_checkpoint_reading(checkpoint, error, "weight_scale is %s, %s: %s", word(direction), why, text);
}

static tq_status decide_declared(tq_checkpoint *checkpoint, const char *name, const tq_dialect *declared,
                                 const evidence *of, tq_error *error) {
  char text[512], why[96];
  uint32_t direction = declared->direction, other = direction == TQ_DIRECT ? TQ_INVERTED : TQ_DIRECT;
  if (is_conclusive(of, other)) {
    describe(of, text, sizeof text);
    return tq_fail(error, TQ_ERROR_REFUSED,
                   "%s: linear_class %s makes weight_scale %s, and the weights contradict it (%s); --weight-scale "
                   "direct or inverted decides",
                   name, declared->name, word(direction), text);
  }
  snprintf(why, sizeof why, "as linear_class %s declares, %s", declared->name,
           is_conclusive(of, direction) ? "and confirmed" : "which is taken without proof");
  return say(checkpoint, direction, why, of, error);
}

static tq_status decide_alone(tq_checkpoint *checkpoint, const char *name, const evidence *of, uint32_t *direction,
                              tq_error *error) {
  char text[512];
  *direction = is_conclusive(of, TQ_DIRECT) ? TQ_DIRECT : TQ_INVERTED;
  if (is_conclusive(of, *direction)) {
    return say(checkpoint, *direction, "as the weights show (there is no quantization_config)", of, error);
  }
  describe(of, text, sizeof text);
  return tq_fail(error, TQ_ERROR_REFUSED,
                 "%s: no quantization_config says whether weight_scale is direct or inverted (%s); --weight-scale "
                 "decides",
                 name, text);
}

tq_status tq_hf_decide_direction(tq_checkpoint *checkpoint, const char *name, const tq_hf_quantization *quantization,
                                 const tq_open_options *options, const tq_hf_packed *packed, size_t count,
                                 const tq_dialect **dialect, tq_error *error) {
  evidence of;
  int chosen = options ? (int)options->weight_scales : TQ_SCALES_AS_DECLARED;
  uint32_t direction = chosen == TQ_SCALES_DIRECT ? TQ_DIRECT : TQ_INVERTED;
  tq_status status = gather(checkpoint, packed, count, &of, error);
  if (status) return status;
  if (chosen != TQ_SCALES_AS_DECLARED) {
    status = say(checkpoint, direction, "as --weight-scale says", &of, error);
  } else if (quantization->dialect) {
    direction = quantization->dialect->direction;
    status = decide_declared(checkpoint, name, quantization->dialect, &of, error);
  } else {
    status = decide_alone(checkpoint, name, &of, &direction, error);
  }
  *dialect = tq_dialect_find(direction == TQ_DIRECT ? "autobitlinear" : "bitlinear");
  return status;
}
