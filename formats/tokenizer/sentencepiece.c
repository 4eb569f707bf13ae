/* SentencePiece's tokenizer.model, both ways: a ModelProto of pieces, a trainer's and a normalizer's specification. */
#include "base/memory.h"
#include "formats/tokenizer/protobuf.h"
#include "formats/tokenizer/tables.h"
#include "tokenizer/lookup.h"

#include <string.h>

/* Field numbers of sentencepiece_model.proto. */
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
  TRAINER_MODEL_TYPE = 3,
  TRAINER_VOCABULARY_SIZE = 4,
  TRAINER_SPACE_AS_SUFFIX = 24,
  TRAINER_BYTE_FALLBACK = 35,
  TRAINER_FIRST_ID = 40,   /* of the unknown token, BOS, EOS and padding */
  TRAINER_FIRST_PIECE = 45 /* likewise */
};
enum {
  NORMALIZER_NAME = 1,
  NORMALIZER_TABLE = 2,
  NORMALIZER_SPACE_PREFIX = 3,
  NORMALIZER_REMOVES_SPACES = 4,
  NORMALIZER_ESCAPES_SPACES = 5
};
enum { MODEL_UNIGRAM = 1, MODEL_BPE = 2, MODEL_TYPES = 5 };

/* The special tokens of a model, in the order of their fields: found by text, and only where the type is right. */
static const struct {
  tq_special_token which;
  const char *text; /* unless the trainer's specification names another */
  tq_token_type type;
} special_pieces[] = {
    {TQ_SPECIAL_UNKNOWN, "<unk>", TQ_TOKEN_UNKNOWN},
    {TQ_SPECIAL_BOS, "<s>", TQ_TOKEN_CONTROL},
    {TQ_SPECIAL_EOS, "</s>", TQ_TOKEN_CONTROL},
    {TQ_SPECIAL_PADDING, "<pad>", TQ_TOKEN_CONTROL},
};

enum { SPECIAL_PIECES = sizeof special_pieces / sizeof *special_pieces };

/* ---- reading ---- */

/* What the specifications say, with the defaults of the .proto file. */
typedef struct model_specification {
  size_t pieces, texts_size;
  uint64_t model_type;
  bool space_as_suffix, has_table, denormalizes, space_prefix, removes_spaces, escapes_spaces;
  tq_string normalizer;
  tq_string special[SPECIAL_PIECES];
} model_specification;

static tq_status malformed(const char *name, const char *where, size_t offset, tq_error *error) {
  return tq_fail(error, TQ_ERROR_CORRUPT, "%s: offset %zu of %s is no field of a SentencePiece model", name, offset,
                 where);
}

static bool is_of(const tq_wire_field *field, uint32_t number, tq_wire_type type) {
  return field->number == number && field->type == (uint32_t)type;
}

static tq_status read_trainer(const char *name, tq_string message, model_specification *to, tq_error *error) {
  tq_wire_field field;
  size_t offset = 0;
  while (tq_wire_next(message, &offset, &field)) {
    if (is_of(&field, TRAINER_MODEL_TYPE, TQ_WIRE_VARINT)) to->model_type = field.value;
    if (is_of(&field, TRAINER_SPACE_AS_SUFFIX, TQ_WIRE_VARINT)) to->space_as_suffix = field.value != 0;
    for (uint32_t i = 0; i < SPECIAL_PIECES; i++) {
      if (is_of(&field, TRAINER_FIRST_PIECE + i, TQ_WIRE_BYTES) && field.bytes.size) to->special[i] = field.bytes;
    }
  }
  return offset == message.size ? TQ_OK : malformed(name, "the trainer's specification", offset, error);
}

static tq_status read_normalizer(const char *name, tq_string message, model_specification *to, tq_error *error) {
  tq_wire_field field;
  size_t offset = 0;
  while (tq_wire_next(message, &offset, &field)) {
    if (is_of(&field, NORMALIZER_NAME, TQ_WIRE_BYTES)) to->normalizer = field.bytes;
    if (is_of(&field, NORMALIZER_TABLE, TQ_WIRE_BYTES)) to->has_table |= field.bytes.size != 0;
    if (is_of(&field, NORMALIZER_SPACE_PREFIX, TQ_WIRE_VARINT)) to->space_prefix = field.value != 0;
    if (is_of(&field, NORMALIZER_REMOVES_SPACES, TQ_WIRE_VARINT)) to->removes_spaces = field.value != 0;
    if (is_of(&field, NORMALIZER_ESCAPES_SPACES, TQ_WIRE_VARINT)) to->escapes_spaces = field.value != 0;
  }
  return offset == message.size ? TQ_OK : malformed(name, "the normalizer's specification", offset, error);
}

/* A denormalizer changes what is decoded; the models in use have none, or an empty one. */
static tq_status read_denormalizer(const char *name, tq_string message, model_specification *to, tq_error *error) {
  model_specification denormalizer = {0};
  tq_status status = read_normalizer(name, message, &denormalizer, error);
  to->denormalizes |= denormalizer.has_table;
  return status;
}

/* The first walk: counts the pieces and reads everything else. */
static tq_status read_specification(const char *name, tq_string model, model_specification *to, tq_error *error) {
  tq_wire_field field;
  size_t offset = 0;
  tq_status status = TQ_OK;
  *to = (model_specification){
      .model_type = MODEL_UNIGRAM, .space_prefix = true, .removes_spaces = true, .escapes_spaces = true};
  for (size_t i = 0; i < SPECIAL_PIECES; i++) {
    to->special[i] = (tq_string){special_pieces[i].text, strlen(special_pieces[i].text)};
  }
  while (!status && tq_wire_next(model, &offset, &field)) {
    if (field.type != TQ_WIRE_BYTES) continue;
    if (field.number == MODEL_PIECES) {
      to->pieces++;
      to->texts_size += field.bytes.size;
    }
    if (field.number == MODEL_TRAINER) status = read_trainer(name, field.bytes, to, error);
    if (field.number == MODEL_NORMALIZER) status = read_normalizer(name, field.bytes, to, error);
    if (field.number == MODEL_DENORMALIZER) status = read_denormalizer(name, field.bytes, to, error);
  }
  if (!status && offset != model.size) status = malformed(name, "the file", offset, error);
  if (!status && to->pieces == 0) return tq_fail(error, TQ_ERROR_CORRUPT, "%s: no pieces", name);
  return status;
}

static tq_status check_specification(const char *name, const model_specification *of, tq_error *error) {
  static const char *const types[MODEL_TYPES] = {"?", "unigram", "BPE", "word", "character"};
  if (of->model_type != MODEL_BPE) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: SentencePiece models of type %llu (%s) are not understood, only BPE",
                   name, (unsigned long long)of->model_type, types[of->model_type < MODEL_TYPES ? of->model_type : 0]);
  }
  if (of->has_table) {
    return tq_fail(error, TQ_ERROR_CORRUPT,
                   "%s: SentencePiece normalizer \"%.*s\" is not understood, only \"identity\"", name,
                   (int)(of->normalizer.size < 64 ? of->normalizer.size : 64), of->normalizer.data);
  }
  if (of->denormalizes) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: SentencePiece model with a denormalizer, which is not understood",
                   name);
  }
  if (of->removes_spaces || of->space_as_suffix || !of->escapes_spaces) {
    const char *what = of->removes_spaces    ? "removes extra spaces"
                       : of->space_as_suffix ? "puts spaces behind words"
                                             : "does not escape spaces";
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: a SentencePiece model that %s is not understood", name, what);
  }
  return TQ_OK;
}

static tq_status read_piece(const char *name, tq_string message, size_t id, tq_vocabulary_tables *tables, char **texts,
                            tq_error *error) {
  tq_wire_field field;
  tq_string text = {"", 0};
  uint64_t type = TQ_TOKEN_NORMAL;
  uint32_t score = 0;
  size_t offset = 0;
  while (tq_wire_next(message, &offset, &field)) {
    if (is_of(&field, PIECE_TEXT, TQ_WIRE_BYTES)) text = field.bytes;
    if (is_of(&field, PIECE_SCORE, TQ_WIRE_32)) score = (uint32_t)field.value;
    if (is_of(&field, PIECE_TYPE, TQ_WIRE_VARINT)) type = field.value;
  }
  if (offset != message.size || type < TQ_TOKEN_NORMAL || type > TQ_TOKEN_BYTE || text.size == 0) {
    return tq_fail(error, TQ_ERROR_CORRUPT, "%s: piece %zu is malformed", name, id);
  }
  tables->tokens[id] = text;
  tables->types[id] = (uint8_t)type;
  memcpy(&tables->scores[id], &score, sizeof score);
  if (type == TQ_TOKEN_USER_DEFINED) { /* looked for in raw text, where spaces are spaces */
    tables->tokens[id] = (tq_string){*texts, tq_unescape_spaces(text, *texts)};
    *texts += tables->tokens[id].size;
  }
  return TQ_OK;
}

static tq_status read_pieces(const char *name, tq_string model, tq_vocabulary_tables *tables, tq_error *error) {
  tq_wire_field field;
  size_t offset = 0, id = 0;
  char *texts = tables->texts;
  tq_status status = TQ_OK;
  while (!status && tq_wire_next(model, &offset, &field)) {
    if (is_of(&field, MODEL_PIECES, TQ_WIRE_BYTES)) {
      status = read_piece(name, field.bytes, id++, tables, &texts, error);
    }
  }
  return status;
}

static tq_status find_special(const model_specification *of, tq_vocabulary_tables *tables, tq_error *error) {
  tq_lookup lookup = {0};
  tq_status status = tq_lookup_build(&lookup, tables->tokens, tables->vocabulary.token_count, error);
  for (size_t i = 0; i < SPECIAL_PIECES && !status; i++) {
    int64_t id = tq_lookup_find(&lookup, of->special[i].data, of->special[i].size);
    bool right = id >= 0 && tables->types[id] == (uint8_t)special_pieces[i].type;
    tables->vocabulary.special[special_pieces[i].which] = right ? id : -1;
  }
  tq_lookup_free(&lookup);
  return status;
}

bool tq_sentencepiece_recognize(const uint8_t *start, size_t size) {
  return size > 1 && start[0] == (MODEL_PIECES << 3 | TQ_WIRE_BYTES);
}

/* BOS is added as llama.cpp takes it to be where nothing is said: the model does not say. */
tq_status tq_sentencepiece_read(const char *name, const void *data, size_t size, tq_vocabulary_tables *tables,
                                tq_error *error) {
  tq_string model = {data, size};
  model_specification specification;
  tq_status status = read_specification(name, model, &specification, error);
  if (!status) {
    status = check_specification(name, &specification, error);
    tables->foreign = status != TQ_OK;
  }
  if (!status) {
    status = tq_vocabulary_tables_start(tables, TQ_TOKENIZER_SENTENCEPIECE, specification.pieces, true, error);
  }
  if (status) return status;
  tables->texts = tq_allocate(specification.texts_size, 1, error);
  if (!tables->texts) return TQ_ERROR_SYSTEM;
  status = read_pieces(name, model, tables, error);
  if (!status) status = find_special(&specification, tables, error);
  tables->vocabulary.add_bos = true;
  tables->vocabulary.add_space_prefix = specification.space_prefix;
  return status;
}

/* ---- writing ---- */

static tq_status refuse(tq_error *error, const char *what) {
  return tq_fail(error, TQ_ERROR_REFUSED, "tokenizer: a SentencePiece model cannot hold %s", what);
}

static tq_string special_text(const tq_tokenizer *tokenizer, size_t i) {
  int64_t id = tq_tokenizer_special(tokenizer, special_pieces[i].which);
  if (id >= 0) return tq_tokenizer_token(tokenizer, (uint32_t)id, NULL, NULL);
  return (tq_string){special_pieces[i].text, strlen(special_pieces[i].text)};
}

/* A special token comes back only if its text is found and has the type that belongs to it. */
static tq_status check_special(const tq_tokenizer *tokenizer, tq_error *error) {
  for (size_t i = 0; i < SPECIAL_PIECES; i++) {
    tq_string text = special_text(tokenizer, i);
    int64_t id = tq_tokenizer_find(tokenizer, text.data, text.size);
    tq_token_type type = TQ_TOKEN_NORMAL;
    if (id >= 0) tq_tokenizer_token(tokenizer, (uint32_t)id, &type, NULL);
    if (type != special_pieces[i].type) id = -1;
    if (id != tq_tokenizer_special(tokenizer, special_pieces[i].which)) {
      return tq_fail(error, TQ_ERROR_REFUSED, "tokenizer: a SentencePiece model cannot say which token is %s",
                     special_pieces[i].text);
    }
  }
  return TQ_OK;
}

/* What SentencePiece itself demands of a model: texts that are unique and not empty, one unknown token, all bytes or
 * none. */
static tq_status check_tokens(const tq_tokenizer *tokenizer, size_t *bytes, tq_error *error) {
  size_t unknown = 0;
  *bytes = 0;
  for (uint32_t id = 0; id < tq_tokenizer_token_count(tokenizer); id++) {
    tq_token_type type;
    tq_string text = tq_tokenizer_token(tokenizer, id, &type, NULL);
    if (text.size == 0 || tq_tokenizer_find(tokenizer, text.data, text.size) != (int64_t)id) {
      return tq_fail(
          error, TQ_ERROR_REFUSED,
          "tokenizer: token %u has an empty text or that of another, which a SentencePiece model cannot hold", id);
    }
    if (type == TQ_TOKEN_BYTE && !tq_is_byte_text(text)) return refuse(error, "byte tokens of other names than <0xHH>");
    if (type == TQ_TOKEN_USER_DEFINED && memmem(text.data, text.size, TQ_ESCAPED_SPACE, TQ_ESCAPED_SPACE_SIZE)) {
      return refuse(error, "a user-defined token with U+2581");
    }
    unknown += type == TQ_TOKEN_UNKNOWN;
    *bytes += type == TQ_TOKEN_BYTE;
  }
  if (unknown != 1) return refuse(error, "other than one unknown token");
  return *bytes == 0 || *bytes == 256 ? TQ_OK : refuse(error, "tokens for some bytes only");
}

static tq_status write_piece(const tq_tokenizer *tokenizer, uint32_t id, tq_buffer *piece, tq_buffer *escaped,
                             tq_buffer *file, tq_error *error) {
  tq_token_type type;
  float score;
  tq_string text = tq_tokenizer_token(tokenizer, id, &type, &score);
  tq_status status = TQ_OK;
  if (type == TQ_TOKEN_USER_DEFINED) {
    void *data = escaped->data;
    status = tq_grow(&data, &escaped->capacity, TQ_ESCAPED_SPACE_SIZE * text.size, 1, error);
    escaped->data = data;
    if (status) return status;
    tq_string spaced = {(const char *)escaped->data, tq_escape_spaces(text, (char *)escaped->data)};
    text = spaced;
  }
  piece->size = 0;
  status = tq_wire_add_bytes(piece, PIECE_TEXT, text.data, text.size, error);
  if (!status) status = tq_wire_add_f32(piece, PIECE_SCORE, score, error);
  if (!status && type != TQ_TOKEN_NORMAL) status = tq_wire_add_varint(piece, PIECE_TYPE, (uint64_t)type, error);
  return status ? status : tq_wire_add_bytes(file, MODEL_PIECES, piece->data, piece->size, error);
}

static tq_status write_pieces(const tq_tokenizer *tokenizer, tq_buffer *file, tq_error *error) {
  tq_buffer piece = {0}, escaped = {0};
  tq_status status = TQ_OK;
  for (uint32_t id = 0; id < tq_tokenizer_token_count(tokenizer) && !status; id++) {
    status = write_piece(tokenizer, id, &piece, &escaped, file, error);
  }
  tq_buffer_free(&piece);
  tq_buffer_free(&escaped);
  return status;
}

static tq_status write_trainer(const tq_tokenizer *tokenizer, bool byte_fallback, tq_buffer *file, tq_error *error) {
  tq_buffer trainer = {0};
  tq_status status = tq_wire_add_varint(&trainer, TRAINER_MODEL_TYPE, MODEL_BPE, error);
  if (!status) {
    status = tq_wire_add_varint(&trainer, TRAINER_VOCABULARY_SIZE, tq_tokenizer_token_count(tokenizer), error);
  }
  if (!status) status = tq_wire_add_varint(&trainer, TRAINER_BYTE_FALLBACK, byte_fallback, error);
  for (uint32_t i = 0; i < SPECIAL_PIECES && !status; i++) { /* -1 is none, sign-extended as protocol buffers have it */
    int64_t id = tq_tokenizer_special(tokenizer, special_pieces[i].which);
    status = tq_wire_add_varint(&trainer, TRAINER_FIRST_ID + i, (uint64_t)id, error);
  }
  for (uint32_t i = 0; i < SPECIAL_PIECES && !status; i++) {
    tq_string text = special_text(tokenizer, i);
    status = tq_wire_add_bytes(&trainer, TRAINER_FIRST_PIECE + i, text.data, text.size, error);
  }
  if (!status) status = tq_wire_add_bytes(file, MODEL_TRAINER, trainer.data, trainer.size, error);
  tq_buffer_free(&trainer);
  return status;
}

static tq_status write_normalizer(const tq_tokenizer *tokenizer, tq_buffer *file, tq_error *error) {
  static const char identity[] = "identity";
  tq_buffer spec = {0};
  tq_status status = tq_wire_add_bytes(&spec, NORMALIZER_NAME, identity, sizeof identity - 1, error);
  if (!status) status = tq_wire_add_bytes(&spec, NORMALIZER_TABLE, "", 0, error);
  if (!status) {
    status = tq_wire_add_varint(&spec, NORMALIZER_SPACE_PREFIX, tq_tokenizer_adds_space_prefix(tokenizer), error);
  }
  if (!status) status = tq_wire_add_varint(&spec, NORMALIZER_REMOVES_SPACES, false, error);
  if (!status) status = tq_wire_add_varint(&spec, NORMALIZER_ESCAPES_SPACES, true, error);
  if (!status) status = tq_wire_add_bytes(file, MODEL_NORMALIZER, spec.data, spec.size, error);
  tq_buffer_free(&spec);
  return status;
}

tq_status tq_sentencepiece_write(const tq_tokenizer *tokenizer, tq_buffer *file, tq_error *error) {
  size_t bytes;
  if (tq_tokenizer_get_kind(tokenizer) != TQ_TOKENIZER_SENTENCEPIECE) return refuse(error, "a byte-level tokenizer");
  if (*tq_tokenizer_normalizer(tokenizer)) return refuse(error, "the tokenizer's normalizer");
  tq_status status = check_tokens(tokenizer, &bytes, error);
  if (!status) status = check_special(tokenizer, error);
  if (!status) status = write_pieces(tokenizer, file, error);
  if (!status) status = write_trainer(tokenizer, bytes == 256, file, error);
  return status ? status : write_normalizer(tokenizer, file, error);
}
