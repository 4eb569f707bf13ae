/* The tensors of a PyTorch file: its pickle, its state dict, and where each tensor's bytes lie. */
#ifndef TQ_FORMATS_PYTORCH_STATE_H
#define TQ_FORMATS_PYTORCH_STATE_H

#include "formats/checkpoint.h"
#include "formats/names.h"
#include "formats/pytorch/pickle.h"

typedef struct tq_state {
  tq_folder *archive;
  char *text; /* of the pickle */
  tq_pickle pickle;
  char *name;                  /* of the pickle, for messages */
  const tq_pickle_node *root;  /* a dict */
  const tq_pickle_node *state; /* the dict in it that holds the model, or itself */
} tq_state;

/* Opens the file `name` of a folder and finds its state dict. Zero-initialise *state; free it with tq_state_close in
 * any case. */
tq_status tq_state_open(tq_folder *folder, const char *name, tq_state *state, tq_error *error);
void tq_state_close(tq_state *state);

/* The tensor of a state dict by name, without what wrappers put before names; NULL when there is none. */
const tq_pickle_node *tq_state_find_tensor(const tq_state *state, const char *name);
/* Dimension `index` of a tensor, or 0. */
uint64_t tq_state_dimension(const tq_state *state, const tq_pickle_node *tensor, uint32_t index);

/* Adds the tensors to the checkpoint, named as the carrier names them; `heads` and `kv_heads` say how many heads the
 * rows of q and k are for where the carrier has them in adjacent-pair order, and are 0 where it does not. */
tq_status tq_state_add_tensors(tq_checkpoint *checkpoint, const tq_state *state, tq_carrier carrier, uint32_t heads,
                               uint32_t kv_heads, tq_error *error);

#endif
