"""A minimal safetensors reader and writer.

File: u64 little-endian header length, a JSON header (name -> dtype, shape and
data_offsets into what follows, plus an optional "__metadata__"), the data.
"""

import json
import struct


class Tensor:
    """A tensor's dtype name, shape (outermost first) and raw bytes."""

    def __init__(self, dtype, shape, data):
        self.dtype = dtype
        self.shape = tuple(shape)
        self.data = data


def parse(data):
    """The tensors of a file's bytes, by name."""
    length = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + length].decode("utf-8"))
    header.pop("__metadata__", None)
    body = data[8 + length:]
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        if not 0 <= start <= end <= len(body):
            raise ValueError("tensor %s lies outside the file" % name)
        tensors[name] = Tensor(entry["dtype"], entry["shape"], body[start:end])
    return tensors


def read(path):
    with open(path, "rb") as stream:
        return parse(stream.read())


def serialize(tensors):
    """The file's bytes, the tensors in the order of the dict."""
    header = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape),
                        "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # the data starts on 8 bytes
    body = b"".join(tensor.data for tensor in tensors.values())
    return struct.pack("<Q", len(text)) + text + body


def write(path, tensors):
    with open(path, "wb") as stream:
        stream.write(serialize(tensors))
