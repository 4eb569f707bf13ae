/* Telling a .tq file from any other by its first bytes. */
#include "base/file.h"
#include "container/layout.h"
#include "tq/container.h"

#include <string.h>

bool tq_file_recognize(const char *path) {
  tq_input *input;
  tq_error ignored;
  uint8_t start[TQ_MAGIC_SIZE];
  if (tq_path_examine(path) != TQ_PATH_FILE || tq_input_open(path, &input, &ignored)) return false;
  bool is_container = tq_input_size(input) >= sizeof start &&
                      tq_input_read(input, 0, start, sizeof start, &ignored) == TQ_OK &&
                      memcmp(start, TQ_MAGIC, sizeof start) == 0;
  tq_input_close(input);
  return is_container;
}
