/* Prints what a model makes of a text: logits MODEL.tq ACTIVATIONS <IDS >LOGITS
 * IDS are token ids separated by white space; LOGITS [ids][vocabulary] little-endian floats. */
#include "tq/container.h"
#include "tq/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TOKENS = 512 };

static tq_status run(tq_session *session, uint32_t vocabulary, const uint32_t *ids, size_t count, tq_error *error) {
  uint32_t positions[MOST_TOKENS];
  bool wanted[MOST_TOKENS];
  const float *logits;
  for (size_t i = 0; i < count; i++) positions[i] = (uint32_t)i;
  memset(wanted, true, sizeof wanted);
  tq_batch batch = {.count = count, .tokens = ids, .positions = positions, .wants_logits = wanted};
  tq_status status = tq_forward(session, &batch, &logits, error);
  if (!status) fwrite(logits, sizeof *logits, count * vocabulary, stdout);
  return status;
}

static tq_status run_model(const tq_file *file, tq_activations activations, const uint32_t *ids, size_t count,
                           tq_error *error) {
  tq_model *model;
  tq_session *session;
  tq_status status = tq_model_create(file, &model, error);
  if (status) return status;
  tq_session_options options = {.context = (uint32_t)count, .batch = (uint32_t)count, .activations = activations};
  status = tq_session_create(model, &options, &session, error);
  if (!status) {
    status = run(session, tq_model_hyperparameters(model)->vocabulary, ids, count, error);
    tq_session_destroy(session);
  }
  tq_model_destroy(model);
  return status;
}

int main(int count, char **arguments) {
  uint32_t ids[MOST_TOKENS];
  size_t given = 0;
  tq_activations activations;
  tq_error error;
  tq_file *file;
  if (count != 3 || !tq_activations_by_name(arguments[2], &activations)) {
    fputs("usage: logits MODEL.tq float|int8-token|int8-block <IDS >LOGITS\n", stderr);
    return TQ_ERROR_USAGE;
  }
  while (given < MOST_TOKENS && scanf("%u", &ids[given]) == 1) given++;
  tq_status status = tq_file_open(arguments[1], TQ_VERIFY_FULL, &file, &error);
  if (!status) {
    status = run_model(file, activations, ids, given, &error);
    tq_file_close(file);
  }
  if (status) fprintf(stderr, "logits: %s\n", error.message);
  return (int)status;
}
