"""Every ternary dialect of the formats document, read and written slowly.

Written from that document alone, without sight of tq's C code, so that the two
can be checked against each other.  A dialect is a Layout: where the code of
weight (row, col) lies (a byte, and a slot inside it), how a code is put in its
byte (a Codec), and where the scales lie.  Decoding and encoding both follow
from that one description.  All numbers are little-endian.
"""

import functools
import struct
from array import array

WHOLE_TENSOR = 0  # "weights per scale" of a dialect with one scale in all


def round_f32(value):
    """The float32 nearest to a Python float.

    Sums, products and quotients of two float32 values, computed in double and
    rounded once more here, are exactly what float32 arithmetic gives.
    """
    return struct.unpack("<f", struct.pack("<f", value))[0]


class Ternary:
    """Row-major trits with the scales as stored, one per `group` weights.

    A trit is -1, 0 or +1; code 3 of a two-bit dialect is kept as +2.  Where
    `inverted` is set, the file stores 1/d in place of d.
    """

    def __init__(self, rows, cols, trits, scales, group, inverted=False):
        self.rows = rows
        self.cols = cols
        self.trits = trits
        self.scales = scales
        self.group = group or rows * cols
        self.inverted = inverted

    def values(self):
        """The weights w = d*t as float32."""
        result = array("f")
        for index, scale in enumerate(self.scales):
            d = round_f32(1.0 / scale) if self.inverted else scale
            weight = {trit: d * trit for trit in (-1, 0, 1, 2)}
            start = index * self.group
            result.extend(weight[trit]
                          for trit in self.trits[start:start + self.group])
        return result


# ----------------------------------------------------------------- codecs
# read(byte, slot) gives the code t+1; a byte is made by adding up
# code*unit(slot) over its slots and passing the sum to finish().

class TwoBit:
    """The slot is the code's lowest bit."""

    largest = 3

    @staticmethod
    def read(byte, slot):
        return (byte >> slot) & 3

    @staticmethod
    def unit(slot):
        return 1 << slot

    @staticmethod
    def finish(total):
        return total


class BaseThree:
    """TQ1_0 and PTQ1_0: the slot is the digit, the most significant being 0."""

    largest = 2

    @staticmethod
    def read(byte, slot):
        rest = byte * 3 ** slot % 256
        return (rest * 3) >> 8

    @staticmethod
    def unit(slot):
        # A byte of four digits is written as five with the last one 0.
        return 3 ** (4 - slot)

    @staticmethod
    def finish(total):
        return _ceil_divide(total * 256, 243)


class BaseThreeBn:
    """IQ1_BN: the slot is the digit, the least significant being 0."""

    largest = 2

    @staticmethod
    def read(byte, slot):
        rest = byte * (81, 27, 9, 3, 1)[slot] % 256
        return (rest + (rest >> 1)) >> 7

    @staticmethod
    def unit(slot):
        return 3 ** slot

    @staticmethod
    def finish(total):
        return _ceil_divide(256 * total, 243)


def _ceil_divide(dividend, divisor):
    return -(-dividend // divisor)


# ------------------------------------------------- where a block's codes are
# Each gives, for every weight of a block, its (byte, slot) in the block.

def _tq1_0_block():
    places = [None] * 256
    for k in range(5):
        for m in range(32):
            places[k * 32 + m] = (m, k)
        for m in range(16):
            places[160 + k * 16 + m] = (32 + m, k)
    for k in range(4):
        for m in range(4):
            places[240 + k * 4 + m] = (48 + m, k)
    return places


def _tq2_0_block():
    places = [None] * 256
    for j in (0, 32):
        for l in range(4):
            for m in range(32):
                places[j * 4 + l * 32 + m] = (j + m, 2 * l)
    return places


def _q2_0_block(weights):
    return [(j // 4, 2 * (j % 4)) for j in range(weights)]


def _ptq1_0_place(e):
    if e < 80:
        return e & 15, e >> 4
    if e < 120:
        t = e - 80
        return 16 + (t & 7), t >> 3
    t = e - 120
    return 24 + (t & 1), t >> 1


def _iq1_bn_block():
    places = [None] * 64
    for i in range(4):
        for c in range(3):
            for j in range(5):
                places[16 * i + 5 * c + j] = (3 * i + c, j)
        places[16 * i + 15] = (12, i)
    return places


def _iq2_bn_block():
    places = [None] * 64
    for j in range(16):
        for l in range(4):
            places[j + 16 * l] = (j, 2 * l)
    return places


# ---------------------------------------------------------------- layouts

class BlockLayout:
    """Blocks of one row's weights, each with its own fp16 scale."""

    scale_format = "<e"

    def __init__(self, codec, places, code_bytes, scale_first):
        self.codec = codec
        self.places = places
        self.group = len(places)
        self.block_bytes = code_bytes + 2
        self.codes_at = 2 if scale_first else 0
        self.scale_in_block = 0 if scale_first else code_bytes

    def fits(self, rows, cols):
        return cols % self.group == 0

    def size(self, rows, cols):
        return rows * cols // self.group * self.block_bytes

    def place(self, row, col, rows, cols):
        block = (row * cols + col) // self.group
        byte, slot = self.places[col % self.group]
        return block * self.block_bytes + self.codes_at + byte, slot

    def scales_at(self, rows, cols):
        return [block * self.block_bytes + self.scale_in_block
                for block in range(rows * cols // self.group)]


class RowLayout:
    """A scale before each row, then the row's blocks."""

    def __init__(self, codec, places, code_bytes, scale_format):
        self.codec = codec
        self.places = places
        self.code_bytes = code_bytes
        self.scale_format = scale_format
        self.scale_bytes = struct.calcsize(scale_format)

    def fits(self, rows, cols):
        return cols % len(self.places) == 0

    def stride(self, cols):
        return self.scale_bytes + cols // len(self.places) * self.code_bytes

    def size(self, rows, cols):
        return rows * self.stride(cols)

    def place(self, row, col, rows, cols):
        block, within = divmod(col, len(self.places))
        byte, slot = self.places[within]
        start = row * self.stride(cols) + self.scale_bytes
        return start + block * self.code_bytes + byte, slot

    def scales_at(self, rows, cols):
        return [row * self.stride(cols) for row in range(rows)]


class FourRowLayout:
    """IQ2_BN_R4: four scales, then the codes of four rows interleaved."""

    codec = TwoBit
    scale_format = "<f"

    def fits(self, rows, cols):
        return rows % 4 == 0 and cols % 64 == 0

    def size(self, rows, cols):
        return rows // 4 * (16 + cols)

    def place(self, row, col, rows, cols):
        four, k = divmod(row, 4)
        block, within = divmod(col, 64)
        l, rest = divmod(within, 16)
        s, i = divmod(rest, 4)
        start = four * (16 + cols) + 16 + block * 64
        return start + 4 * k + i + 16 * l, 2 * s

    def scales_at(self, rows, cols):
        return [row // 4 * (16 + cols) + row % 4 * 4 for row in range(rows)]


class I2sLayout:
    """I2_S: all codes, then 32 bytes whose first four are the one scale."""

    codec = TwoBit
    scale_format = "<f"
    group = WHOLE_TENSOR

    def fits(self, rows, cols):
        return rows * cols % 128 == 0

    def size(self, rows, cols):
        return rows * cols // 4 + 32

    def scales_at(self, rows, cols):
        return [rows * cols // 4]


class I2sBlocks(I2sLayout):
    """Blocks that ignore the rows: 128 weights as published, 64 from ARM."""

    def __init__(self, weights):
        self.weights = weights
        self.block_bytes = weights // 4

    def place(self, row, col, rows, cols):
        block, within = divmod(row * cols + col, self.weights)
        g, p = divmod(within, self.block_bytes)
        return block * self.block_bytes + p, 6 - 2 * g


class I2sFourRows(I2sLayout):
    """What a build without ACT_PARALLEL writes: four rows in a byte."""

    def fits(self, rows, cols):
        return super().fits(rows, cols) and rows % 4 == 0

    def place(self, row, col, rows, cols):
        r, q = divmod(row, 4)
        return r * cols + col, 6 - 2 * q


class HfLayout:
    """HF's U8 [out/4, in] tensor; the scale lies in a tensor of its own."""

    codec = TwoBit
    group = WHOLE_TENSOR

    def fits(self, rows, cols):
        return rows % 4 == 0

    def size(self, rows, cols):
        return rows // 4 * cols

    def place(self, row, col, rows, cols):
        i, r = divmod(row, rows // 4)
        return r * cols + col, 2 * i

    def scales_at(self, rows, cols):
        return []


LAYOUTS = {
    "TQ1_0": BlockLayout(BaseThree, _tq1_0_block(), 52, scale_first=False),
    "TQ2_0": BlockLayout(TwoBit, _tq2_0_block(), 64, scale_first=False),
    "Q2_0": BlockLayout(TwoBit, _q2_0_block(64), 16, scale_first=True),
    # The legacy g128 form of id 42 and PQ2_0 are the same bytes.
    "Q2_0_g128": BlockLayout(TwoBit, _q2_0_block(128), 32, scale_first=True),
    "PQ2_0": BlockLayout(TwoBit, _q2_0_block(128), 32, scale_first=True),
    "PTQ1_0": BlockLayout(BaseThree, [_ptq1_0_place(e) for e in range(128)],
                          26, scale_first=False),
    "I2_S": I2sBlocks(128),
    "I2_S_arm": I2sBlocks(64),
    "I2_S_rows": I2sFourRows(),
    "IQ1_BN": RowLayout(BaseThreeBn, _iq1_bn_block(), 13, "<e"),
    "IQ2_BN": RowLayout(TwoBit, _iq2_bn_block(), 16, "<f"),
    "IQ2_BN_R4": FourRowLayout(),
    "HF": HfLayout(),
}


def _group(layout, cols):
    """Weights per scale; layouts that do not say have a scale per row."""
    return getattr(layout, "group", cols)


@functools.lru_cache(maxsize=None)
def places(dialect, rows, cols):
    """(byte, slot) of every weight in row-major order; slow, hence kept."""
    layout = LAYOUTS[dialect]
    if not layout.fits(rows, cols):
        raise ValueError("%s cannot hold %d x %d" % (dialect, rows, cols))
    return [layout.place(row, col, rows, cols)
            for row in range(rows) for col in range(cols)]


def size(dialect, rows, cols):
    return LAYOUTS[dialect].size(rows, cols)


def decode(dialect, data, rows, cols):
    """The tensor's trits and scales; `data` may end with padding."""
    layout = LAYOUTS[dialect]
    if len(data) < layout.size(rows, cols):
        raise ValueError("%s data is too short" % dialect)
    read = layout.codec.read
    trits = [read(data[byte], slot) - 1
             for byte, slot in places(dialect, rows, cols)]
    scales = [struct.unpack_from(layout.scale_format, data, at)[0]
              for at in layout.scales_at(rows, cols)]
    return Ternary(rows, cols, trits, scales, _group(layout, cols))


def _pack_exact(form, value):
    """Packs a scale, refusing one that the form would round."""
    raw = struct.pack(form, value)
    if struct.unpack(form, raw)[0] != value:
        raise ValueError("scale %r does not fit %s" % (value, form))
    return raw


def _encode_codes(dialect, tensor, data):
    codec = LAYOUTS[dialect].codec
    if not all(-1 <= trit < codec.largest for trit in tensor.trits):
        raise ValueError("%s cannot hold these weights" % dialect)
    totals = [0] * len(data)
    spots = places(dialect, tensor.rows, tensor.cols)
    for (byte, slot), trit in zip(spots, tensor.trits):
        totals[byte] += (trit + 1) * codec.unit(slot)
    data[:] = bytes(codec.finish(total) for total in totals)


def _encode_scales(dialect, tensor, data):
    layout = LAYOUTS[dialect]
    spots = layout.scales_at(tensor.rows, tensor.cols)
    for at, scale in zip(spots, tensor.scales):
        raw = _pack_exact(layout.scale_format, scale)
        data[at:at + len(raw)] = raw


def encode(dialect, tensor):
    """The bytes of a Ternary; its scales must have the dialect's grouping."""
    layout = LAYOUTS[dialect]
    wanted = _group(layout, tensor.cols) or tensor.rows * tensor.cols
    if tensor.group != wanted or tensor.inverted:
        raise ValueError("%s keeps its scales otherwise" % dialect)
    data = bytearray(layout.size(tensor.rows, tensor.cols))
    _encode_codes(dialect, tensor, data)
    _encode_scales(dialect, tensor, data)
    return bytes(data)


# ---------------------------------------------------------- plain floats

def decode_plain(kind, data, count):
    """`count` numbers of F32, F16 or BF16 data as float32."""
    if kind == "BF16":
        halves = struct.unpack_from("<%dH" % count, data)
        wide = struct.pack("<%dI" % count, *(half << 16 for half in halves))
        return array("f", struct.unpack("<%df" % count, wide))
    letter = {"F32": "f", "F16": "e"}[kind]
    return array("f", struct.unpack_from("<%d%s" % (count, letter), data))


def _bf16_bits(value):
    """Round to nearest, ties to even, on the upper half of the float32."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def encode_plain(kind, values):
    if kind == "BF16":
        halves = [_bf16_bits(value) for value in values]
        return struct.pack("<%dH" % len(halves), *halves)
    letter = {"F32": "f", "F16": "e"}[kind]
    return struct.pack("<%d%s" % (len(values), letter), *values)


# ------------------------------------------------------------ HF packed
# The linear class says what `weight_scale` means: "bitlinear" layers divide
# by it, "autobitlinear" layers (offline) multiply.

_INVERTED = {"bitlinear": True, "autobitlinear": False}


def decode_hf(linear_class, codes, rows, cols, scale_kind, scale_data):
    tensor = decode("HF", codes, rows, cols)
    tensor.inverted = _INVERTED[linear_class]
    tensor.scales = list(decode_plain(scale_kind, scale_data, 1))
    return tensor


def encode_hf(linear_class, tensor, scale_kind):
    """(code bytes, scale bytes) of a Ternary with the class's scale."""
    if tensor.inverted != _INVERTED[linear_class]:
        raise ValueError("the scale is the other way up in %s" % linear_class)
    codes = bytearray(size("HF", tensor.rows, tensor.cols))
    _encode_codes("HF", tensor, codes)
    scale_data = encode_plain(scale_kind, tensor.scales)
    if list(decode_plain(scale_kind, scale_data, 1)) != tensor.scales:
        raise ValueError("the scale does not fit %s" % scale_kind)
    return bytes(codes), scale_data
