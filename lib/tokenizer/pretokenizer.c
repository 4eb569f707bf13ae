#include "tokenizer/pretokenizer.h"

#include "base/memory.h"
#include "base/text.h"
#include "tokenizer/cased_letters.h"
#include "tokenizer/utf8.h"
#include "tq/tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|"
#define LINES_AND_SPACES "[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3_PATTERN CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+" LINES_AND_SPACES
#define QWEN2_PATTERN CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+" LINES_AND_SPACES
/* Marks stay with the letters before them. */
#define QWEN35_PATTERN                                                                                                 \
  CONTRACTIONS "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+" LINES_AND_SPACES
#define CJK "[一-龥ࠀ-一가-퟿]+"
#define DEEPSEEK_LLM_PATTERNS                                                                                          \
  "[\\r\\n]\n"                                                                                                         \
  "\\s?[" TQ_CASED_LETTERS "]+\n"                                                                                      \
  "\\s?[!-/:-~！-／：-～‘-‟　-。]+\n"                                                                        \
  "\\s+$\n" CJK "\n\\p{N}"
#define DEEPSEEK_CODER_PATTERNS "[\\r\\n]\n\\s?\\p{L}+\n\\s?\\p{P}+\n" CJK "\n\\p{N}"
#define DEEPSEEK_V3_PATTERNS                                                                                           \
  "\\p{N}{1,3}\n"                                                                                                      \
  "[一-龥぀-ゟ゠-ヿ]+\n"                                                                                         \
  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                  \
  "| ?[\\p{P}\\p{S}]+" LINES_AND_SPACES

static const tq_pretokenizer pretokenizers[] = {
    {{"gpt-2", "phi-2"}, GPT2_PATTERN, false, false, ""},
    {{"mpt", "olmo"}, GPT2_PATTERN, false, false, "nfc"},
    {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1"}, LLAMA3_PATTERN, true, true, ""},
    {{"smaug-bpe", "dbrx"}, LLAMA3_PATTERN, false, false, ""},
    {{"qwen2", "deepseek-r1-qwen"}, QWEN2_PATTERN, false, false, "nfc"},
    {{"qwen35"}, QWEN35_PATTERN, false, false, "nfc"},
    {{"falcon"},
     TQ_PATTERN_PUNCTUATION "\n" GPT2_PATTERN "\n" TQ_PATTERN_MAPPED_DIGITS "\n" TQ_PATTERN_DIGIT_TRIPLE,
     false,
     false,
     ""},
    {{"starcoder", "refact", "smollm"}, "\\p{N}\n" GPT2_PATTERN, false, false, ""},
    {{"deepseek-llm"}, DEEPSEEK_LLM_PATTERNS, false, false, ""},
    {{"deepseek-coder"}, DEEPSEEK_CODER_PATTERNS, false, false, ""},
    {{"deepseek-v3"}, DEEPSEEK_V3_PATTERNS, false, false, ""},
    {{"default"}, "[\\p{P}\\$\\+<=>\\^~\\|]+\n" GPT2_PATTERN "\n\\p{N}+\n" TQ_PATTERN_DIGIT_TRIPLE, false, false, ""},
};

enum { PRETOKENIZERS = sizeof pretokenizers / sizeof *pretokenizers };

const tq_pretokenizer *tq_pretokenizer_find(const char *name) {
  for (size_t i = 0; i < PRETOKENIZERS; i++) {
    for (size_t j = 0; j < TQ_PRETOKENIZER_NAMES && pretokenizers[i].names[j]; j++) {
      if (strcmp(pretokenizers[i].names[j], name) == 0) return &pretokenizers[i];
    }
  }
  return NULL;
}

const char *tq_pretokenizer_by_pattern(const char *patterns, const char *normalizer) {
  const char *name = NULL;
  for (size_t i = 0; i < PRETOKENIZERS; i++) {
    if (strcmp(pretokenizers[i].patterns, patterns) != 0) continue;
    if (strcmp(pretokenizers[i].normalizer, normalizer) == 0) return pretokenizers[i].names[0];
    if (!name) name = pretokenizers[i].names[0];
  }
  return name;
}

const char *tq_pretokenizer_pattern(const char *name) {
  const tq_pretokenizer *row = tq_pretokenizer_find(name);
  return row ? row->patterns : NULL;
}

/* ---- compiling ---- */

struct tq_splitter {
  pcre2_general_context *general;
  pcre2_match_context *match;
  pcre2_code *codes[TQ_PRETOKENIZER_PATTERNS];
  size_t count;
};

static void *hook_malloc(PCRE2_SIZE size, void *context) {
  (void)context;
  return tq_hook_malloc(size);
}

static void hook_free(void *pointer, void *context) {
  (void)context;
  tq_free(pointer);
}

static tq_status out_of_memory(tq_error *error) {
  return tq_fail(error, TQ_ERROR_SYSTEM, "out of memory for a pre-tokenizer's pattern");
}

/* Patterns that, as they are published, take the square of a text's length where there is no just-in-time compiler, and
 * the same without that: a run of spaces is tried at its start only. */
static const struct { const char *published, *compiled; } quicker[] = {{"\\s+$", "(?<!\\s)\\s++$"}};

static tq_string find_quicker(tq_string pattern) {
  for (size_t i = 0; i < sizeof quicker / sizeof *quicker; i++) {
    const char *published = quicker[i].published, *compiled = quicker[i].compiled;
    if (strlen(published) == pattern.size && memcmp(published, pattern.data, pattern.size) == 0)
      return (tq_string){compiled, strlen(compiled)};
  }
  return pattern;
}

/* Without a just-in-time compiler the pattern is interpreted: slower, and the same. */
static tq_status compile(tq_splitter *splitter, tq_string published, tq_error *error) {
  tq_string pattern = find_quicker(published);
  pcre2_compile_context *context = pcre2_compile_context_create(splitter->general);
  if (!context) return out_of_memory(error);
  int code;
  PCRE2_SIZE offset;
  pcre2_code *compiled =
      pcre2_compile((PCRE2_SPTR)pattern.data, pattern.size, PCRE2_UTF | PCRE2_UCP, &code, &offset, context);
  pcre2_compile_context_free(context);
  if (!compiled) {
    return tq_fail(error, TQ_ERROR_SYSTEM, "PCRE2 does not compile a pre-tokenizer's pattern: error %d at %zu", code,
                   (size_t)offset);
  }
  pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  splitter->codes[splitter->count++] = compiled;
  return TQ_OK;
}

/* The limits are those of a service that runs patterns of strangers; ours are known not to explode, and a long run of
 * spaces must not fail. */
static tq_status create_contexts(tq_splitter *splitter, tq_error *error) {
  splitter->general = pcre2_general_context_create(hook_malloc, hook_free, NULL);
  if (!splitter->general) return out_of_memory(error);
  splitter->match = pcre2_match_context_create(splitter->general);
  if (!splitter->match) return out_of_memory(error);
  pcre2_set_match_limit(splitter->match, UINT32_MAX);
  pcre2_set_depth_limit(splitter->match, UINT32_MAX);
  pcre2_set_heap_limit(splitter->match, UINT32_MAX);
  return TQ_OK;
}

tq_status tq_splitter_create(const tq_pretokenizer *pretokenizer, tq_splitter **splitter, tq_error *error) {
  tq_splitter *made = tq_allocate(1, sizeof *made, error);
  if (!made) return TQ_ERROR_SYSTEM;
  tq_status status = create_contexts(made, error);
  for (const char *at = pretokenizer->patterns; *at && !status;) {
    size_t size = strcspn(at, "\n");
    status = compile(made, (tq_string){at, size}, error);
    at += size + (at[size] == '\n');
  }
  if (status) {
    tq_splitter_destroy(made);
    return status;
  }
  *splitter = made;
  return TQ_OK;
}

void tq_splitter_destroy(tq_splitter *splitter) {
  if (!splitter) return;
  for (size_t i = 0; i < splitter->count; i++) pcre2_code_free(splitter->codes[i]);
  pcre2_match_context_free(splitter->match);
  pcre2_general_context_free(splitter->general);
  tq_free(splitter);
}

/* ---- what the patterns see ----
 * PCRE2 takes well-formed UTF-8 only, and counts U+180E as a space, which Unicode has not done since 6.3 (nor does any
 * tokenizer). Where a text has such bytes the patterns are shown a copy with U+FFFD, and U+200B, another format
 * character of the same length, in their place. */

static const char replacement[] = "\xef\xbf\xbd", vowel_separator[] = "\xe1\xa0\x8e",
                  zero_width_space[] = "\xe2\x80\x8b";
enum { REPLACEMENT_SIZE = 3 };

static bool is_vowel_separator(const char *text, size_t length) {
  return length == REPLACEMENT_SIZE && memcmp(text, vowel_separator, REPLACEMENT_SIZE) == 0;
}

static bool needs_copy(const char *text, size_t size) {
  for (size_t at = 0; at < size;) {
    size_t length = tq_utf8_length(text + at, size - at);
    if (length == 0 || is_vowel_separator(text + at, length)) return true;
    at += length;
  }
  return false;
}

static tq_status copy_for_patterns(const char *text, size_t size, tq_buffer *copy, tq_error *error) {
  tq_status status = TQ_OK;
  for (size_t at = 0; at < size && !status;) {
    size_t length = tq_utf8_length(text + at, size - at);
    if (length == 0) {
      status = tq_buffer_append(copy, replacement, REPLACEMENT_SIZE, error);
      at++;
    } else {
      const char *shown = is_vowel_separator(text + at, length) ? zero_width_space : text + at;
      status = tq_buffer_append(copy, shown, length, error);
      at += length;
    }
  }
  return status;
}

/* Turns ends in the copy into ends in the text, walking along both. */
static void translate_ends(const char *text, size_t size, tq_words *words) {
  size_t at = 0, shown = 0;
  for (size_t i = 0; i < words->count; i++) {
    while (shown < words->ends[i] && at < size) {
      size_t length = tq_utf8_length(text + at, size - at);
      shown += length ? length : REPLACEMENT_SIZE;
      at += length ? length : 1;
    }
    words->ends[i] = at;
  }
}

/* ---- splitting ---- */

static tq_status add_end(tq_words *words, size_t end, tq_error *error) {
  void *ends = words->ends;
  tq_status status = tq_grow(&ends, &words->capacity, words->count + 1, sizeof *words->ends, error);
  words->ends = ends;
  if (!status) words->ends[words->count++] = end;
  return status;
}

static int match(const tq_splitter *splitter, const pcre2_code *code, const char *text, size_t size, size_t from,
                 pcre2_match_data *data) {
  PCRE2_SPTR subject = (PCRE2_SPTR)text;
  int result = pcre2_match(code, subject, size, from, PCRE2_NO_UTF_CHECK, data, splitter->match);
  if (result != PCRE2_ERROR_JIT_STACKLIMIT) return result;
  return pcre2_match(code, subject, size, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data, splitter->match);
}

/* Cuts text[begin, end) at one pattern's matches: each match is a word, and so is what lies between two. */
static tq_status split_piece(const tq_splitter *splitter, const pcre2_code *code, const char *text, size_t begin,
                             size_t end, pcre2_match_data *data, tq_words *words, tq_error *error) {
  const char *piece = text + begin;
  size_t size = end - begin, done = 0;
  const PCRE2_SIZE *found = pcre2_get_ovector_pointer(data);
  tq_status status = TQ_OK;
  for (size_t from = 0; from < size && !status;) {
    int result = match(splitter, code, piece, size, from, data);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) return tq_fail(error, TQ_ERROR_SYSTEM, "a pre-tokenizer's pattern failed: PCRE2 error %d", result);
    if (found[1] == found[0]) { /* no pattern of the table can match nothing */
      from += tq_utf8_length(piece + from, size - from);
      continue;
    }
    if (found[0] > done) status = add_end(words, begin + found[0], error);
    if (!status) status = add_end(words, begin + found[1], error);
    from = done = found[1];
  }
  if (!status && done < size) status = add_end(words, end, error);
  return status;
}

static tq_status split_with(const tq_splitter *splitter, const pcre2_code *code, const char *text,
                            const tq_words *pieces, tq_words *words, tq_error *error) {
  pcre2_match_data *data = pcre2_match_data_create(1, splitter->general);
  if (!data) return out_of_memory(error);
  tq_status status = TQ_OK;
  for (size_t i = 0; i < pieces->count && !status; i++) {
    size_t begin = i ? pieces->ends[i - 1] : 0;
    status = split_piece(splitter, code, text, begin, pieces->ends[i], data, words, error);
  }
  pcre2_match_data_free(data);
  return status;
}

/* Every pattern in turn cuts the words that the ones before made. */
static tq_status split_well_formed(const tq_splitter *splitter, const char *text, size_t size, tq_words *words,
                                   tq_error *error) {
  words->count = 0;
  tq_status status = add_end(words, size, error);
  for (size_t i = 0; i < splitter->count && !status; i++) {
    tq_words finer = {0};
    status = split_with(splitter, splitter->codes[i], text, words, &finer, error);
    tq_free(words->ends);
    *words = finer;
  }
  return status;
}

tq_status tq_splitter_split(const tq_splitter *splitter, const char *text, size_t size, tq_words *words,
                            tq_error *error) {
  if (!needs_copy(text, size)) return split_well_formed(splitter, text, size, words, error);
  tq_buffer copy = {0};
  tq_status status = copy_for_patterns(text, size, &copy, error);
  if (!status) status = split_well_formed(splitter, (const char *)copy.data, copy.size, words, error);
  if (!status) translate_ends(text, size, words);
  tq_buffer_free(&copy);
  return status;
}
