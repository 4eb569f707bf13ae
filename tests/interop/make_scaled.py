#!/usr/bin/env python3
"""make_scaled.py IN.gguf OUT.gguf: a ternary model with scales that F16 has not.

IN is a GGUF file of F32 tensors.  The weights of the linear layers are
multiplied by 1.0001, rounded to float32; everything else stays as it is.
"""

import os
import re
import sys
from array import array

sys.dont_write_bytecode = True  # leave nothing behind in the source tree
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "peer"))

import dialects
import gguf

LINEAR = re.compile(r"blk\.\d+\.(attn_(q|k|v|output)|ffn_(gate|up|down))\.weight")
FACTOR = 1.0001


def scaled(tensor):
    if not LINEAR.fullmatch(tensor.name):
        return tensor
    values = dialects.decode_plain("F32", tensor.data,
                                   tensor.rows * tensor.cols)
    changed = array("f", (value * FACTOR for value in values))
    return gguf.Tensor(tensor.name, (tensor.cols, tensor.rows),
                       tensor.type_id, dialects.encode_plain("F32", changed))


def main(arguments):
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    file = gguf.read(arguments[0])
    gguf.write(arguments[1], file.metadata,
               [scaled(tensor) for tensor in file.tensors.values()])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
