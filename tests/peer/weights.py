"""The weights of a GGUF file, an HF folder or a folder of expected values.

All three come out alike, so that they can be compared: GGUF's tensor names,
HF's row order, float32 values.
"""

import json
import os
import re
from array import array

import dialects
import gguf
import safetensors

# HF's name of a tensor -> GGUF's, outside the layers and inside one.
HF_TO_GGUF = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
HF_TO_GGUF_IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.attn_sub_norm": "attn_sub_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.ffn_sub_norm": "ffn_sub_norm",
}

PLAIN_IDS = {0: "F32", 1: "F16", 30: "BF16"}
Q2_0_ID = 42
TERNARY_IDS = {34: "TQ1_0", 35: "TQ2_0", 36: "I2_S", 134: "IQ1_BN",
               135: "IQ2_BN", 142: "PQ2_0", 143: "PTQ1_0", 335: "IQ2_BN_R4"}

# Architectures whose GGUF q/k rows are permuted for adjacent-pair rotation.
PERMUTED_ARCHS = {"llama"}


class Matrix:
    """Float32 values in row-major order; a vector has one row."""

    def __init__(self, cols, values):
        self.cols = cols
        self.values = values


# -------------------------------------------------------------------- GGUF

def _fills(dialect, tensor):
    """Whether the dialect's size, up to padding, is that of the data."""
    size = dialects.size(dialect, tensor.rows, tensor.cols)
    padding = len(tensor.data) - size
    return 0 <= padding < gguf.DEFAULT_ALIGNMENT


def gguf_dialect(tensor):
    """The ternary dialect of a GGUF tensor, None for plain floats."""
    if tensor.type_id in PLAIN_IDS:
        return None
    if tensor.type_id == Q2_0_ID:
        # Two layouts carry this id; only the size tells them apart.
        return "Q2_0" if _fills("Q2_0", tensor) else "Q2_0_g128"
    if tensor.type_id not in TERNARY_IDS:
        raise ValueError("%s has type %d, which is not read here"
                         % (tensor.name, tensor.type_id))
    return TERNARY_IDS[tensor.type_id]


def _decode_gguf(tensor):
    dialect = gguf_dialect(tensor)
    if dialect is None:
        return dialects.decode_plain(PLAIN_IDS[tensor.type_id], tensor.data,
                                     tensor.rows * tensor.cols)
    return dialects.decode(dialect, tensor.data, tensor.rows,
                           tensor.cols).values()


def gguf_row(hf_row, head_dim):
    """Where arch llama puts HF's q/k row."""
    h, within = divmod(hf_row, head_dim)
    a, b = divmod(within, head_dim // 2)
    return h * head_dim + 2 * b + a


def _undo_permutation(matrix, heads):
    cols = matrix.cols
    rows = len(matrix.values) // cols
    values = array("f")
    for row in range(rows):
        start = gguf_row(row, rows // heads) * cols
        values.extend(matrix.values[start:start + cols])
    return Matrix(cols, values)


def _restore_rows(matrices, file, arch):
    heads = file.get(arch + ".attention.head_count")
    kv_heads = file.get(arch + ".attention.head_count_kv", heads)
    for name, matrix in matrices.items():
        if re.fullmatch(r"blk\.\d+\.attn_q\.weight", name):
            matrices[name] = _undo_permutation(matrix, heads)
        elif re.fullmatch(r"blk\.\d+\.attn_k\.weight", name):
            matrices[name] = _undo_permutation(matrix, kv_heads)


def _apply_scales(matrices):
    """Multiplies each `x.weight` by the one number in `x.scale`, if any."""
    for name in [name for name in matrices if name.endswith(".scale")]:
        scale = matrices.pop(name).values[0]
        weight = matrices[name[:-len("scale")] + "weight"]
        weight.values = array("f", (value * scale for value in weight.values))


def load_gguf(path):
    file = gguf.read(path)
    if any(key.startswith("prism.hadamard.") for key in file.metadata):
        raise ValueError("%s: rotated weights are not read here" % path)
    matrices = {tensor.name: Matrix(tensor.cols, _decode_gguf(tensor))
                for tensor in file.tensors.values()}
    _apply_scales(matrices)
    arch = file.get("general.architecture")
    if arch in PERMUTED_ARCHS:
        _restore_rows(matrices, file, arch)
    return matrices


# ---------------------------------------------------------------------- HF

def gguf_name(hf_name):
    module, dot, suffix = hf_name.rpartition(".")
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    if found and found.group(2) in HF_TO_GGUF_IN_LAYER:
        stem = HF_TO_GGUF_IN_LAYER[found.group(2)]
        return "blk.%s.%s.%s" % (found.group(1), stem, suffix)
    if module in HF_TO_GGUF:
        return HF_TO_GGUF[module] + dot + suffix
    raise ValueError("%s: no such tensor is known" % hf_name)


def _read_config(folder):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as stream:
        return json.load(stream)


def _read_tensors(folder):
    """The tensors of all safetensors files (shards) of the folder."""
    tensors = {}
    for name in sorted(os.listdir(folder)):
        if name.endswith(".safetensors"):
            tensors.update(safetensors.read(os.path.join(folder, name)))
    return tensors


def _linear_class(config):
    quantization = config.get("quantization_config", {})
    linear_class = quantization.get("linear_class", "bitlinear")
    mode = quantization.get("quantization_mode", "offline")
    if linear_class == "autobitlinear" and mode != "offline":
        raise ValueError("the weights are latent floats, not ternary")
    return linear_class


def _decode_packed(linear_class, tensor, scale):
    packed_rows, cols = tensor.shape
    return dialects.decode_hf(linear_class, tensor.data, packed_rows * 4, cols,
                              scale.dtype, scale.data).values()


def _decode_float(tensor):
    count = 1
    for dim in tensor.shape:
        count *= dim
    return dialects.decode_plain(tensor.dtype, tensor.data, count)


def load_hf(folder):
    linear_class = _linear_class(_read_config(folder))
    tensors = _read_tensors(folder)
    matrices = {}
    for name, tensor in tensors.items():
        if name.endswith(".weight_scale"):
            continue
        if tensor.dtype == "U8":
            values = _decode_packed(linear_class, tensor,
                                    tensors[name + "_scale"])
        else:
            values = _decode_float(tensor)
        matrices[gguf_name(name)] = Matrix(tensor.shape[-1], values)
    return matrices


# ---------------------------------------------------------------- expected

def load_expected(folder):
    """A folder of raw float32 files, `<tensor>.f32`; they tell no shape."""
    matrices = {}
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        if extension == ".f32":
            with open(os.path.join(folder, name), "rb") as stream:
                data = stream.read()
            count = len(data) // 4
            values = dialects.decode_plain("F32", data, count)
            matrices[stem] = Matrix(count, values)
    return matrices


def load(path):
    """The weights by GGUF name, a tied head written out as `output`."""
    if not os.path.isdir(path):
        matrices = load_gguf(path)
    elif os.path.exists(os.path.join(path, "config.json")):
        matrices = load_hf(path)
    else:
        matrices = load_expected(path)
    if "token_embd.weight" in matrices:
        matrices.setdefault("output.weight", matrices["token_embd.weight"])
    return matrices
