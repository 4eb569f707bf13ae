#include "container/layout.h"

#include <string.h>

const char *const tq_section_names[TQ_SECTION_KNOWN] = {"metadata", "data",        "tensors",   "hashes",
                                                        "digests",  "attachments", "tokenizer", "source"};

tq_known_section tq_section_by_name(const char *name) {
  tq_known_section section = 0;
  while (section < TQ_SECTION_KNOWN && strcmp(tq_section_names[section], name) != 0) section++;
  return section;
}

uint64_t tq_section_alignment(const char *name) {
  return tq_section_by_name(name) == TQ_SECTION_DATA ? TQ_DATA_ALIGNMENT : TQ_ALIGNMENT;
}

bool tq_attachments_are_bounded(uint64_t size, uint64_t stored) {
  const uint64_t allowance = TQ_ATTACHMENTS_ALLOWANCE;
  return size <= allowance || (size - allowance - 1) / TQ_ATTACHMENTS_RATIO_LIMIT < stored;
}
