/* How bytes are written in token texts: as GPT-2's printable characters, or as "<0xHH>". */
#include "tokenizer/tokenizer.h"

#include "tokenizer/utf8.h"

#include <string.h>

/* GPT-2 leaves printable Latin-1 as it is and moves the other 68 bytes, in their order, to U+0100 onwards: 0..32 to
 * U+0100, 127..160 to U+0121, and the soft hyphen, 173, to U+0143. */
static uint32_t printable(uint8_t byte) {
  if (byte <= 32) return 0x100u + byte;
  if (byte >= 127 && byte <= 160) return 0x121u + (byte - 127u);
  if (byte == 173) return 0x143;
  return byte;
}

static int byte_of(utf8proc_int32_t character) {
  if (character >= 0x100 && character <= 0x120) return character - 0x100;
  if (character >= 0x121 && character <= 0x142) return character - 0x121 + 127;
  if (character == 0x143) return 173;
  return character >= 0 && character <= 0xff && printable((uint8_t)character) == (uint32_t)character ? character : -1;
}

size_t tq_byte_to_printable(uint8_t byte, char text[2]) {
  uint32_t character = printable(byte);
  if (character < 0x80) {
    text[0] = (char)character;
    return 1;
  }
  text[0] = (char)(0xc0 | (character >> 6));
  text[1] = (char)(0x80 | (character & 0x3f));
  return 2;
}

int tq_printable_next(tq_string text, size_t *at) {
  utf8proc_int32_t character;
  size_t left = text.size - *at;
  utf8proc_ssize_t length =
      utf8proc_iterate((const utf8proc_uint8_t *)text.data + *at, left < 4 ? (utf8proc_ssize_t)left : 4, &character);
  if (length <= 0) return -1;
  *at += (size_t)length;
  return byte_of(character);
}

static int digit_of(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  return -1;
}

int tq_byte_of_text(tq_string text) {
  if (text.size != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
  int high = digit_of(text.data[3]), low = digit_of(text.data[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}
