/* Normalisation of text before it is cut into words. */
#ifndef TQ_TOKENIZER_NORMALIZE_H
#define TQ_TOKENIZER_NORMALIZE_H

#include "base/text.h"

/* Appends text[0, size) in Unicode's NFC (by utf8proc's tables), in time linear in its length. Bytes that are not part
 * of well-formed UTF-8 stay as they are. */
tq_status tq_normalize_nfc(const char *text, size_t size, tq_buffer *normalized, tq_error *error);

#endif
