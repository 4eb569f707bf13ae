#!/usr/bin/env python3
"""selftest.py: checks this folder's own readers and writers.

Against the peers' files in $TQ_SHARED/golden (by default ../shared beside the
project): each must decode to the weights of its F16 source and be encoded back
to the same bytes.  Everything else needs nothing.  Exit 1 on any failure,
those files being absent among them.
"""

import contextlib
import io
import os
import random
import struct
import sys
import tempfile

sys.dont_write_bytecode = True  # leave nothing behind in the source tree

import check_weights
import dialects
import gguf
import make_models
import safetensors
import weights

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")

GOLDEN = {
    "tensor-1": ("Q2_0", "TQ1_0", "TQ2_0", "iq1_bn", "iq2_bn", "iq2_bn_r4"),
    "row-2": ("TQ2_0",),
    "g64-3": ("Q2_0",),
    "bitnet-7": ("TQ2_0",),
}

# (dialect, rows, cols) -> {(row, col): (byte, slot)}: single places worked
# out by hand from the formulas, most of all where no peer's file is at hand.
# The slot is the lowest bit of a two-bit code, or the number of a digit.
PLACES = {
    ("TQ1_0", 1, 256): {(0, 0): (0, 0), (0, 33): (1, 1), (0, 159): (31, 4),
                        (0, 160): (32, 0), (0, 239): (47, 4),
                        (0, 241): (49, 0), (0, 255): (51, 3)},
    ("TQ2_0", 1, 256): {(0, 33): (1, 2), (0, 128): (32, 0), (0, 255): (63, 6)},
    ("Q2_0", 2, 64): {(0, 0): (2, 0), (0, 5): (3, 2), (1, 63): (35, 6)},
    ("PQ2_0", 2, 128): {(0, 0): (2, 0), (0, 127): (33, 6), (1, 1): (36, 2)},
    ("Q2_0_g128", 2, 128): {(0, 127): (33, 6), (1, 0): (36, 0)},
    ("PTQ1_0", 2, 128): {(0, 0): (0, 0), (0, 17): (1, 1), (0, 79): (15, 4),
                         (0, 80): (16, 0), (0, 89): (17, 1),
                         (0, 119): (23, 4), (0, 120): (24, 0),
                         (0, 121): (25, 0), (0, 127): (25, 3),
                         (1, 0): (28, 0)},
    ("I2_S", 4, 64): {(0, 0): (0, 6), (0, 32): (0, 4), (1, 0): (0, 2),
                      (1, 63): (31, 0), (2, 1): (33, 6)},
    ("I2_S_arm", 4, 64): {(0, 0): (0, 6), (0, 17): (1, 4), (0, 63): (15, 0),
                          (1, 0): (16, 6)},
    ("I2_S_rows", 8, 32): {(0, 5): (5, 6), (1, 5): (5, 4), (3, 31): (31, 0),
                           (4, 0): (32, 6)},
    ("IQ1_BN", 2, 64): {(0, 0): (2, 0), (0, 7): (3, 2), (0, 15): (14, 0),
                        (0, 63): (14, 3), (1, 0): (17, 0)},
    ("IQ2_BN", 2, 64): {(0, 0): (4, 0), (0, 17): (5, 2), (1, 63): (39, 6)},
    ("IQ2_BN_R4", 4, 64): {(0, 0): (16, 0), (0, 4): (16, 2), (1, 0): (20, 0),
                           (3, 63): (79, 6), (0, 16): (32, 0)},
    ("HF", 8, 3): {(0, 0): (0, 0), (1, 2): (5, 0), (2, 0): (0, 2),
                   (7, 1): (4, 6)},
}

# A block of the least, the middle or the most of every digit, by its bytes.
BASE_THREE_BYTES = {(0,) * 5: 0, (1,) * 5: 128, (2,) * 5: 255}


class Failure(Exception):
    pass


def require(condition, message, *details):
    if not condition:
        raise Failure(message % details)


def _golden_folder():
    shared = os.environ.get("TQ_SHARED") or os.path.join(ROOT, "..", "shared")
    return os.path.join(shared, "golden")


# -------------------------------------------------------------- peers' files

def _check_reencoding(path):
    """Every tensor of the file, decoded and encoded, gives the same bytes."""
    for tensor in gguf.read(path).tensors.values():
        count = tensor.rows * tensor.cols
        dialect = weights.gguf_dialect(tensor)
        if dialect is None:
            kind = weights.PLAIN_IDS[tensor.type_id]
            values = dialects.decode_plain(kind, tensor.data, count)
            again = dialects.encode_plain(kind, values)
        else:
            decoded = dialects.decode(dialect, tensor.data, tensor.rows,
                                      tensor.cols)
            again = dialects.encode(dialect, decoded)
        require(again == tensor.data[:len(again)] and
                not any(tensor.data[len(again):]),
                "%s: %s is encoded otherwise", path, tensor.name)


def _check_container(path):
    with open(path, "rb") as stream:
        data = stream.read()
    file = gguf.parse(data)
    again = gguf.serialize(file.metadata, list(file.tensors.values()))
    require(again == data, "%s: the file is written otherwise", path)


def check_golden():
    folder = _golden_folder()
    require(os.path.isdir(folder), "the peers' files are not at %s "
            "(set TQ_SHARED)", folder)
    for stem, forms in GOLDEN.items():
        source = os.path.join(folder, stem + ".f16.gguf")
        expected = weights.load(source)
        paths = [os.path.join(folder, "%s.%s.gguf" % (stem, form))
                 for form in forms]
        for path in paths:
            found = check_weights.difference(expected, weights.load(path))
            require(found is None, "%s: %s", path, found)
        for path in [source] + paths:
            _check_reencoding(path)
            _check_container(path)


# ------------------------------------------------------------------ dialects

def check_places():
    """Hand-made places, and no two weights in one place."""
    for (dialect, rows, cols), spots in PLACES.items():
        places = dialects.places(dialect, rows, cols)
        for (row, col), place in spots.items():
            found = places[row * cols + col]
            require(found == place, "%s: weight (%d, %d) is at %s, not %s",
                    dialect, row, col, found, place)
        require(len(set(places)) == rows * cols,
                "%s: two weights share a place", dialect)
    require({name for name, _, _ in PLACES} == set(dialects.LAYOUTS),
            "a dialect has no places worked out by hand")


def check_base_three():
    """All 243 numbers survive in both base-3 codecs."""
    for codec in (dialects.BaseThree, dialects.BaseThreeBn):
        for number in range(243):
            digits = [number // 3 ** k % 3 for k in range(5)]
            byte = codec.finish(sum(digit * codec.unit(slot)
                                    for slot, digit in enumerate(digits)))
            found = [codec.read(byte, slot) for slot in range(5)]
            require(found == digits, "%s: %s is read as %s",
                    codec.__name__, digits, found)
            wanted = BASE_THREE_BYTES.get(tuple(digits), byte)
            require(byte == wanted, "%s: %s is written as %d",
                    codec.__name__, digits, byte)


def _random_tensor(rng, dialect, rows, cols):
    layout = dialects.LAYOUTS[dialect]
    trits = [int(rng.random() * (layout.codec.largest + 1)) - 1
             for _ in range(rows * cols)]
    scales = [(1 + int(rng.random() * 2047)) / 4096
              for _ in layout.scales_at(rows, cols)]
    group = rows * cols // len(scales) if scales else dialects.WHOLE_TENSOR
    return dialects.Ternary(rows, cols, trits, scales, group)


def check_round_trips():
    """Random codes, code 3 among them where there are two bits for it."""
    rng = random.Random(4)
    for dialect in dialects.LAYOUTS:
        tensor = _random_tensor(rng, dialect, 8, 512)
        data = dialects.encode(dialect, tensor)
        decoded = dialects.decode(dialect, data, 8, 512)
        require(decoded.trits == tensor.trits and
                decoded.scales == tensor.scales and
                decoded.values() == tensor.values(),
                "%s: decode(encode(x)) is not x", dialect)
        require(dialects.encode(dialect, decoded) == data,
                "%s: encode(decode(x)) is not x", dialect)


def check_hf_scales():
    """Inverted and direct scales, in every type a scale comes in."""
    trits = [-1, 0, 1, 1]
    for linear_class, weight in (("bitlinear", 1 / 19), ("autobitlinear", 19)):
        expected = [dialects.round_f32(weight * trit) for trit in trits]
        for kind in ("F32", "F16", "BF16"):
            tensor = dialects.Ternary(4, 1, trits, [19.0], 4,
                                      inverted=linear_class == "bitlinear")
            codes, scale = dialects.encode_hf(linear_class, tensor, kind)
            again = dialects.decode_hf(linear_class, codes, 4, 1, kind, scale)
            require(codes == bytes([0b10100100]) and
                    again.values().tolist() == expected and
                    dialects.encode_hf(linear_class, again, kind)
                    == (codes, scale), "%s, %s scale", linear_class, kind)


def check_plain():
    """Every finite F16 and BF16 number, and BF16's rounding."""
    for kind, infinity in (("F16", 0x7C00), ("BF16", 0x7F80)):
        halves = [half | sign for half in range(infinity)
                  for sign in (0, 0x8000)]
        data = struct.pack("<%dH" % len(halves), *halves)
        values = dialects.decode_plain(kind, data, len(halves))
        require(dialects.encode_plain(kind, values) == data,
                "%s: encode(decode(x)) is not x", kind)
    # Just half of BF16's last place above 1 and above the next number.
    ties = dialects.encode_plain("BF16", [1 + 2 ** -8, 1 + 3 * 2 ** -8])
    require(ties == struct.pack("<2H", 0x3F80, 0x3F82),
            "BF16: ties are not rounded to even")


def check_refusals():
    """What a dialect cannot hold exactly is refused, not bent."""
    code_three = dialects.Ternary(1, 256, [2] * 256, [1.0], 256)
    long_scale = dialects.Ternary(1, 256, [1] * 256, [0.1], 256)
    wrong_group = dialects.Ternary(1, 256, [1] * 256, [1.0, 1.0], 128)
    for dialect, tensor in (("TQ1_0", code_three), ("TQ2_0", long_scale),
                            ("TQ2_0", wrong_group)):
        try:
            dialects.encode(dialect, tensor)
        except ValueError:
            continue
        raise Failure("%s took a tensor that it cannot hold" % dialect)


# ---------------------------------------------------------------- containers

def check_gguf_values():
    """Every metadata type, arrays and arrays of arrays."""
    scalars = [(gguf.U8, 255), (gguf.I8, -128), (gguf.U16, 65535),
               (gguf.I16, -32768), (gguf.U32, 2 ** 32 - 1),
               (gguf.I32, -2 ** 31), (gguf.F32, 0.5), (gguf.BOOL, True),
               (gguf.STRING, "na\u00efve"), (gguf.U64, 2 ** 64 - 1),
               (gguf.I64, -2 ** 63), (gguf.F64, 0.1)]
    metadata = {}
    for kind, value in scalars:
        metadata["one.%d" % kind] = gguf.Value(kind, value)
        metadata["many.%d" % kind] = gguf.Value(gguf.ARRAY, [value] * 3, kind)
    inner = gguf.Value(gguf.ARRAY, ["a", ""], gguf.STRING)
    metadata["nested"] = gguf.Value(gguf.ARRAY, [inner, inner], gguf.ARRAY)
    tensors = [gguf.Tensor("a", (3, 2), 0, bytes(range(24))),
               gguf.Tensor("b", (1,), 0, b"\1\2\3\4")]
    data = gguf.serialize(metadata, tensors)
    file = gguf.parse(data)
    for kind, value in scalars:
        require(file.get("one.%d" % kind) == value and
                file.get("many.%d" % kind) == [value] * 3,
                "GGUF: metadata type %d is not read as written", kind)
    require(file.get("nested")[1].value == ["a", ""],
            "GGUF: an array of arrays is not read as written")
    require(file.tensors["b"].data[:4] == b"\1\2\3\4" and
            gguf.serialize(file.metadata, list(file.tensors.values())) == data,
            "GGUF: the file is written otherwise")


def check_safetensors():
    tensors = {"x": safetensors.Tensor("U8", (2, 3), bytes(range(6))),
               "y": safetensors.Tensor("F32", (1,), b"\0\0\x80\x3f")}
    data = safetensors.serialize(tensors)
    again = safetensors.parse(data)
    header_size = struct.unpack_from("<Q", data)[0]
    require(header_size % 8 == 0 and again["x"].shape == (2, 3) and
            again["y"].data == b"\0\0\x80\x3f" and
            safetensors.serialize(again) == data,
            "safetensors: the file is written otherwise")


# -------------------------------------------------------------------- models

FORMS = {
    "tensor": ("tensor-I2_S.gguf", "tensor-bitlinear",
               "tensor-autobitlinear", "tensor-F32"),
    "g128": ("g128-Q2_0.gguf", "g128-PQ2_0.gguf", "g128-PTQ1_0.gguf"),
    "g64": ("g64-Q2_0.gguf",),
}


def _run_check(*paths):
    """check_weights' exit status, without its output."""
    with contextlib.redirect_stdout(io.StringIO()):
        return check_weights.main(list(paths))


def _change_one_byte(path, new_path):
    """Copies a GGUF file with one code of its last tensor changed."""
    with open(path, "rb") as stream:
        data = bytearray(stream.read())
    data[-40] ^= 0b01  # the codes end 32 bytes before the file's end
    with open(new_path, "wb") as stream:
        stream.write(data)


def check_models():
    with tempfile.TemporaryDirectory() as folder:
        make_models.write_models(folder)
        for stem, forms in FORMS.items():
            expected = os.path.join(folder, "expected", stem)
            paths = [os.path.join(folder, form) for form in forms]
            require(_run_check(expected, *paths) == 0,
                    "the models %s are not as expected", ", ".join(forms))
        source = os.path.join(folder, "tensor-I2_S.gguf")
        changed = os.path.join(folder, "changed.gguf")
        _change_one_byte(source, changed)
        require(_run_check(source, changed) == 1, "a changed weight is missed")


CHECKS = (check_places, check_base_three, check_round_trips, check_hf_scales,
          check_plain, check_refusals, check_gguf_values, check_safetensors,
          check_golden, check_models)


def main():
    failures = 0
    for check in CHECKS:
        try:
            check()
        except Failure as failure:
            failures += 1
            print("%s: %s" % (check.__name__, failure))
    print("%d of %d checks passed" % (len(CHECKS) - failures, len(CHECKS)))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
