/* The options by which a user says how a foreign file is to be read where it has more than one reading: the same for
 * every tool that opens one. */
#ifndef TQ_TOOLS_READING_H
#define TQ_TOOLS_READING_H

#include "formats/checkpoint.h"

#include <getopt.h>

enum { READING_ASSUME = 512, READING_Q2_GROUP, READING_I2S_LAYOUT, READING_WEIGHT_SCALE };

/* For a tool's table of long options. */
#define READING_OPTIONS                                                                                                \
  {"assume", required_argument, NULL, READING_ASSUME}, {"q2-group", required_argument, NULL, READING_Q2_GROUP},        \
      {"i2s-layout", required_argument, NULL, READING_I2S_LAYOUT}, {                                                   \
    "weight-scale", required_argument, NULL, READING_WEIGHT_SCALE                                                      \
  }

/* For a tool's help. */
#define READING_USAGE                                                                                                  \
  "      --assume HOW            take plain floats for float, or ternary with a scale per tensor,\n"                   \
  "                              row, g32, g64, g128 or g256 (default: what holds exactly)\n"                          \
  "      --q2-group N            GGUF's type 42 has groups of 64 or 128\n"                                             \
  "      --i2s-layout LAYOUT     GGUF's type 36 is published (default), arm or rows\n"                                 \
  "      --weight-scale HOW      Hugging Face's weight_scale is direct or inverted\n"

/* True when `option` is one of these. */
bool reading_is_option(int option);
/* Takes its value; returns -1 to go on, or the exit status after a message. */
int reading_parse(int option, const char *value, tq_open_options *options);

/* True when any of them was given. */
bool reading_is_given(const tq_open_options *options);
/* Says on stderr which of them found nothing in the checkpoint that they could apply to. */
void reading_print_unused(const tq_checkpoint *checkpoint, const tq_open_options *options);

/* Prints readings, which are lines, on stderr: those from byte `start` on. */
void reading_print_from(const tq_buffer *lines, size_t start);

#endif
