"""A minimal GGUF v3 reader and writer, kept apart from tq's own C code.

File: 'GGUF', u32 version, u64 tensor count, u64 metadata count, the metadata
pairs, the tensor infos, padding to the alignment, then the tensor data (each
tensor starts on the alignment too).  Everything is little-endian.
"""

import struct

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32

# Metadata value types, by the number that is stored before the value.
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)

_SCALAR_FORMATS = {
    U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i",
    U64: "<Q", I64: "<q", F32: "<f", F64: "<d", BOOL: "<?",
}


class Value:
    """A metadata value and its stored type; arrays also say their items'."""

    def __init__(self, kind, value, item_kind=None):
        self.kind = kind
        self.value = value
        self.item_kind = item_kind

    def __repr__(self):
        return "Value(%d, %r)" % (self.kind, self.value)


class Tensor:
    """A tensor's name, dimensions (innermost first), type id and raw bytes.

    When read from a file, `data` reaches up to the next tensor (or the end of
    the file): it may end with padding, and the dialect knows the true size.
    """

    def __init__(self, name, dims, type_id, data):
        self.name = name
        self.dims = tuple(dims)
        self.type_id = type_id
        self.data = data

    @property
    def cols(self):
        return self.dims[0]

    @property
    def rows(self):
        rows = 1
        for dim in self.dims[1:]:
            rows *= dim
        return rows


class File:
    """Metadata (name -> Value, in file order) and tensors (name -> Tensor)."""

    def __init__(self, metadata, tensors):
        self.metadata = metadata
        self.tensors = {tensor.name: tensor for tensor in tensors}

    def get(self, key, default=None):
        entry = self.metadata.get(key)
        return default if entry is None else entry.value


# ---------------------------------------------------------------- reading

class _Cursor:
    """A position in the file's bytes; refuses to read past the end."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        piece = self.data[self.at:self.at + count]
        if len(piece) != count:
            raise ValueError("GGUF file ends inside its header")
        self.at += count
        return piece

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def string(self):
        return self.take(self.number("<Q")).decode("utf-8")


def _read_payload(cursor, kind):
    if kind == STRING:
        return cursor.string()
    if kind not in _SCALAR_FORMATS:
        raise ValueError("unknown metadata type %d" % kind)
    return cursor.number(_SCALAR_FORMATS[kind])


def _read_array(cursor):
    """Returns (items, item kind); an array of arrays holds Values."""
    item_kind = cursor.number("<I")
    count = cursor.number("<Q")
    if item_kind == ARRAY:
        items = [_read_value(cursor, ARRAY) for _ in range(count)]
    else:
        items = [_read_payload(cursor, item_kind) for _ in range(count)]
    return items, item_kind


def _read_value(cursor, kind):
    if kind == ARRAY:
        items, item_kind = _read_array(cursor)
        return Value(ARRAY, items, item_kind)
    return Value(kind, _read_payload(cursor, kind))


def _read_metadata(cursor, count):
    metadata = {}
    for _ in range(count):
        key = cursor.string()
        metadata[key] = _read_value(cursor, cursor.number("<I"))
    return metadata


def _read_infos(cursor, count):
    """The tensor infos as (name, dims, type id, offset)."""
    infos = []
    for _ in range(count):
        name = cursor.string()
        n_dims = cursor.number("<I")
        dims = [cursor.number("<Q") for _ in range(n_dims)]
        type_id = cursor.number("<I")
        infos.append((name, dims, type_id, cursor.number("<Q")))
    return infos


def _cut_tensors(infos, data):
    """Gives each tensor the bytes from its offset to the next one's."""
    starts = sorted(offset for _, _, _, offset in infos) + [len(data)]
    ends = dict(zip(starts, starts[1:]))
    return [Tensor(name, dims, type_id, data[offset:ends[offset]])
            for name, dims, type_id, offset in infos]


def parse(data):
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise ValueError("not a GGUF file")
    version = cursor.number("<I")
    if version != VERSION:
        raise ValueError("GGUF version %d is not read here" % version)
    tensor_count = cursor.number("<Q")
    metadata_count = cursor.number("<Q")
    metadata = _read_metadata(cursor, metadata_count)
    infos = _read_infos(cursor, tensor_count)
    alignment = DEFAULT_ALIGNMENT
    if "general.alignment" in metadata:
        alignment = metadata["general.alignment"].value
    start = cursor.at + _padding(cursor.at, alignment)
    return File(metadata, _cut_tensors(infos, data[start:]))


def read(path):
    with open(path, "rb") as stream:
        return parse(stream.read())


# ---------------------------------------------------------------- writing

def _padding(size, alignment=DEFAULT_ALIGNMENT):
    return -size % alignment


def _string_bytes(text):
    raw = text.encode("utf-8")
    return struct.pack("<Q", len(raw)) + raw


def _payload_bytes(kind, value):
    if kind == STRING:
        return _string_bytes(value)
    return struct.pack(_SCALAR_FORMATS[kind], value)


def _value_bytes(entry):
    """The value without its type number (an array's items carry none)."""
    if entry.kind != ARRAY:
        return _payload_bytes(entry.kind, entry.value)
    head = struct.pack("<IQ", entry.item_kind, len(entry.value))
    if entry.item_kind == ARRAY:
        return head + b"".join(_value_bytes(item) for item in entry.value)
    return head + b"".join(_payload_bytes(entry.item_kind, item)
                           for item in entry.value)


def _info_bytes(tensor, offset):
    head = _string_bytes(tensor.name) + struct.pack("<I", len(tensor.dims))
    dims = b"".join(struct.pack("<Q", dim) for dim in tensor.dims)
    return head + dims + struct.pack("<IQ", tensor.type_id, offset)


def _lay_out(tensors):
    """The infos and the data section, each tensor on the alignment."""
    infos, data, offset = [], [], 0
    for tensor in tensors:
        infos.append(_info_bytes(tensor, offset))
        piece = tensor.data + bytes(_padding(len(tensor.data)))
        data.append(piece)
        offset += len(piece)
    return b"".join(infos), b"".join(data)


def serialize(metadata, tensors):
    """The file's bytes, at the default alignment (so none is declared)."""
    head = MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata))
    pairs = b"".join(_string_bytes(key) + struct.pack("<I", entry.kind)
                     + _value_bytes(entry)
                     for key, entry in metadata.items())
    infos, data = _lay_out(tensors)
    header = head + pairs + infos
    return header + bytes(_padding(len(header))) + data


def write(path, metadata, tensors):
    with open(path, "wb") as stream:
        stream.write(serialize(metadata, tensors))
