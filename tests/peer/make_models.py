#!/usr/bin/env python3
"""make_models.py OUTDIR: small ternary models, the same bytes every time.

One-layer, Llama-shaped (dim 256, ffn 512, 4 heads, 2 kv heads, vocab 64):

  tensor-I2_S.gguf      id 36, arch bitnet-b1.58 (sub-norms, tied head)
  tensor-bitlinear/     the same model: HF packed, inverted BF16 scales
  tensor-autobitlinear/ the same model: HF packed, direct F32 scales
  tensor-F32/           the same model: HF, unpacked, its zeros partly -0.0
  g128-Q2_0.gguf        legacy id 42 with g128, arch llama; the embedding and
                        the head are ternary too, as in the published files
  g128-PQ2_0.gguf       the same model, id 142
  g128-PTQ1_0.gguf      the same model, id 143
  g64-Q2_0.gguf         id 42 with g64, arch llama, F16 embedding and head
  expected/{tensor,g128,g64}/<tensor>.f32
                        each model's weights: raw little-endian float32, rows
                        in HF's order, under GGUF's tensor names
"""

import json
import os
import random
import sys

sys.dont_write_bytecode = True  # leave nothing behind in the source tree

import dialects
import gguf
import safetensors
import weights

DIM, FFN, HEADS, KV_HEADS, VOCAB = 256, 512, 4, 2, 64
HEAD_DIM = DIM // HEADS
CONTEXT = 256
EPSILON = 1e-5
BITNET_ROPE_THETA = 500000.0

LINEARS = {
    "blk.0.attn_q.weight": (DIM, DIM),
    "blk.0.attn_k.weight": (KV_HEADS * HEAD_DIM, DIM),
    "blk.0.attn_v.weight": (KV_HEADS * HEAD_DIM, DIM),
    "blk.0.attn_output.weight": (DIM, DIM),
    "blk.0.ffn_gate.weight": (FFN, DIM),
    "blk.0.ffn_up.weight": (FFN, DIM),
    "blk.0.ffn_down.weight": (DIM, FFN),
}
NORMS = {"blk.0.attn_norm.weight": DIM, "blk.0.ffn_norm.weight": DIM,
         "output_norm.weight": DIM}
SUB_NORMS = {"blk.0.attn_sub_norm.weight": DIM,
             "blk.0.ffn_sub_norm.weight": FFN}
EMBEDDING, HEAD = "token_embd.weight", "output.weight"

TYPE_IDS = {"F32": 0, "F16": 1, "I2_S": 36, "Q2_0": 42, "Q2_0_g128": 42,
            "PQ2_0": 142, "PTQ1_0": 143}


class Model:
    """Ternary and float tensors by GGUF name, rows in HF's order.

    A float tensor is (shape outermost first, values).
    """

    def __init__(self, ternary, floats):
        self.ternary = ternary
        self.floats = floats


# ------------------------------------------------------------ random values
# Only Random.random() is used: Python promises its sequence for a seed.

def _below(rng, limit):
    return int(rng.random() * limit)


def _random_trits(rng, count):
    return [(-1, -1, -1, 0, 0, 0, 0, 1, 1, 1)[_below(rng, 10)]
            for _ in range(count)]


def _random_f16_scale(rng):
    """An fp16 number between 1/32 and 1/16 with all its mantissa bits used."""
    return (1024 + _below(rng, 1024)) / 32768


def _random_inverse_scale(rng):
    """A BF16 number between 16 and 32 that is no power of two."""
    return (129 + _below(rng, 127)) / 8


def _random_vector(rng, count):
    """Norm weights from 1/2 to 3/2, exact in F16 and BF16."""
    return [(64 + _below(rng, 128)) / 128 for _ in range(count)]


def _random_matrix(rng, count):
    """Embeddings from -1 to 1, exact in F16 and BF16."""
    return [(_below(rng, 256) - 128) / 128 for _ in range(count)]


def _grouped_ternary(rng, shape, group):
    rows, cols = shape
    count = rows * cols
    scales = [_random_f16_scale(rng) for _ in range(count // group)]
    return dialects.Ternary(rows, cols, _random_trits(rng, count), scales,
                            group)


def _inverted_ternary(rng, shape):
    rows, cols = shape
    return dialects.Ternary(rows, cols, _random_trits(rng, rows * cols),
                            [_random_inverse_scale(rng)],
                            dialects.WHOLE_TENSOR, inverted=True)


def _random_norms(rng, sizes):
    return {name: ((size,), _random_vector(rng, size))
            for name, size in sizes.items()}


def _random_embedding(rng):
    return (VOCAB, DIM), _random_matrix(rng, VOCAB * DIM)


def tensor_model():
    """A scale per tensor, kept inverted; sub-norms; no separate head."""
    rng = random.Random(1)
    ternary = {name: _inverted_ternary(rng, shape)
               for name, shape in LINEARS.items()}
    floats = {EMBEDDING: _random_embedding(rng)}
    floats.update(_random_norms(rng, {**NORMS, **SUB_NORMS}))
    return Model(ternary, floats)


def g128_model():
    """A scale per 128 weights, in the embedding and the head too."""
    rng = random.Random(2)
    shapes = {EMBEDDING: (VOCAB, DIM), HEAD: (VOCAB, DIM), **LINEARS}
    ternary = {name: _grouped_ternary(rng, shape, 128)
               for name, shape in shapes.items()}
    return Model(ternary, _random_norms(rng, NORMS))


def g64_model():
    """A scale per 64 weights; a float embedding and head."""
    rng = random.Random(3)
    ternary = {name: _grouped_ternary(rng, shape, 64)
               for name, shape in LINEARS.items()}
    floats = {EMBEDDING: _random_embedding(rng),
              HEAD: _random_embedding(rng)}
    floats.update(_random_norms(rng, NORMS))
    return Model(ternary, floats)


# ---------------------------------------------------------------- tokenizer

SPECIAL_TOKENS = ["<unk>", "<s>", "</s>"]
SPACE = "\u2581"
CHARACTERS = (SPACE + "etaoinshrdlucmfwygpbvkxqjz"
              "ETAOINSHRDLUCMFWYGPBVKXQJZ" ".,!?'\"-\n")
TOKENS = SPECIAL_TOKENS + list(CHARACTERS)
assert len(TOKENS) == VOCAB

UNKNOWN, NORMAL, CONTROL = 2, 1, 3  # GGUF's token types


def _gguf_tokenizer():
    types = [UNKNOWN, CONTROL, CONTROL] + [NORMAL] * len(CHARACTERS)
    # The rarer a character, the lower it scores, as SentencePiece has it.
    scores = [0.0] * 3 + [-float(rank) for rank in range(len(CHARACTERS))]
    array, value = gguf.ARRAY, gguf.Value
    return {
        "tokenizer.ggml.tokens": value(array, TOKENS, gguf.STRING),
        "tokenizer.ggml.scores": value(array, scores, gguf.F32),
        "tokenizer.ggml.token_type": value(array, types, gguf.I32),
        "tokenizer.ggml.model": value(gguf.STRING, "llama"),
        "tokenizer.ggml.unknown_token_id": value(gguf.U32, 0),
        "tokenizer.ggml.bos_token_id": value(gguf.U32, 1),
        "tokenizer.ggml.eos_token_id": value(gguf.U32, 2),
    }


def _hf_tokenizer():
    """The same vocabulary as tokenizer.json: BPE in which nothing merges."""
    added = [{"id": index, "content": token, "single_word": False,
              "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for index, token in enumerate(SPECIAL_TOKENS)]
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>",
             "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": True, "byte_fallback": True,
             "vocab": {token: index for index, token in enumerate(TOKENS)},
             "merges": []}
    normalizers = [{"type": "Prepend", "prepend": SPACE},
                   {"type": "Replace", "pattern": {"String": " "},
                    "content": SPACE}]
    decoders = [{"type": "Replace", "pattern": {"String": SPACE},
                 "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": None, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": model}


# --------------------------------------------------------------------- GGUF

def _gguf_metadata(arch, name):
    def number(value):
        return gguf.Value(gguf.U32, value)

    metadata = {
        "general.architecture": gguf.Value(gguf.STRING, arch),
        "general.name": gguf.Value(gguf.STRING, name),
        arch + ".vocab_size": number(VOCAB),
        arch + ".context_length": number(CONTEXT),
        arch + ".embedding_length": number(DIM),
        arch + ".block_count": number(1),
        arch + ".feed_forward_length": number(FFN),
        arch + ".attention.head_count": number(HEADS),
        arch + ".attention.head_count_kv": number(KV_HEADS),
        arch + ".attention.layer_norm_rms_epsilon":
            gguf.Value(gguf.F32, EPSILON),
        arch + ".rope.dimension_count": number(HEAD_DIM),
    }
    if arch not in weights.PERMUTED_ARCHS:
        metadata[arch + ".rope.freq_base"] = gguf.Value(gguf.F32,
                                                        BITNET_ROPE_THETA)
    metadata.update(_gguf_tokenizer())
    return metadata


def _permuted(tensor, heads):
    """The rows as arch llama stores them, each with its own scales."""
    cols = tensor.cols
    per_row = cols // tensor.group
    head_dim = tensor.rows // heads
    trits = [None] * len(tensor.trits)
    scales = [None] * len(tensor.scales)
    for row in range(tensor.rows):
        to = weights.gguf_row(row, head_dim)
        trits[to * cols:(to + 1) * cols] = \
            tensor.trits[row * cols:(row + 1) * cols]
        scales[to * per_row:(to + 1) * per_row] = \
            tensor.scales[row * per_row:(row + 1) * per_row]
    return dialects.Ternary(tensor.rows, cols, trits, scales, tensor.group)


def _in_gguf_order(name, tensor, arch):
    heads = {"blk.0.attn_q.weight": HEADS,
             "blk.0.attn_k.weight": KV_HEADS}.get(name)
    if heads is None or arch not in weights.PERMUTED_ARCHS:
        return tensor
    return _permuted(tensor, heads)


def _gguf_float(name, shape, values):
    kind = "F32" if len(shape) == 1 else "F16"
    return gguf.Tensor(name, reversed(shape), TYPE_IDS[kind],
                       dialects.encode_plain(kind, values))


def _write_gguf(path, model, dialect, arch):
    tensors = [_gguf_float(name, shape, values)
               for name, (shape, values) in model.floats.items()]
    for name, tensor in model.ternary.items():
        data = dialects.encode(dialect, _in_gguf_order(name, tensor, arch))
        tensors.append(gguf.Tensor(name, (tensor.cols, tensor.rows),
                                   TYPE_IDS[dialect], data))
    stem = os.path.splitext(os.path.basename(path))[0]
    gguf.write(path, _gguf_metadata(arch, stem), tensors)


# ----------------------------------------------------------------------- HF

def _hf_name(name):
    if not name.startswith("blk."):
        names = weights.HF_TO_GGUF
        prefix, stem = "", name[:-len(".weight")]
    else:
        names = weights.HF_TO_GGUF_IN_LAYER
        _, layer, stem, _ = name.split(".")
        prefix = "model.layers.%s." % layer
    module = next(hf for hf, ours in names.items() if ours == stem)
    return prefix + module + ".weight"


def _hf_config(quantization):
    config = {
        "architectures": ["BitNetForCausalLM"], "model_type": "bitnet",
        "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "relu2",
        "hidden_size": DIM, "intermediate_size": FFN,
        "max_position_embeddings": CONTEXT, "num_attention_heads": HEADS,
        "num_hidden_layers": 1, "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": EPSILON, "rope_theta": BITNET_ROPE_THETA,
        "tie_word_embeddings": True, "vocab_size": VOCAB,
        "torch_dtype": "bfloat16" if quantization else "float32",
    }
    if quantization:
        config["quantization_config"] = quantization
    return config


def _hf_floats(model, kind):
    return {_hf_name(name): safetensors.Tensor(
                kind, shape, dialects.encode_plain(kind, values))
            for name, (shape, values) in model.floats.items()}


def _hf_packed(model, linear_class, scale_kind):
    tensors = _hf_floats(model, "BF16")
    for name, tensor in model.ternary.items():
        codes, scale = dialects.encode_hf(linear_class, tensor, scale_kind)
        shape = (tensor.rows // 4, tensor.cols)
        tensors[_hf_name(name)] = safetensors.Tensor("U8", shape, codes)
        tensors[_hf_name(name) + "_scale"] = safetensors.Tensor(
            scale_kind, (1,), scale)
    return tensors


def _with_negative_zeros(values):
    """Every other zero as -0.0; what is trained and unpacked is full of it."""
    return [-0.0 if value == 0 and index % 2 else value
            for index, value in enumerate(values)]


def _hf_unpacked(model):
    tensors = _hf_floats(model, "F32")
    for name, tensor in model.ternary.items():
        values = _with_negative_zeros(tensor.values())
        tensors[_hf_name(name)] = safetensors.Tensor(
            "F32", (tensor.rows, tensor.cols),
            dialects.encode_plain("F32", values))
    return tensors


def _write_json(path, content):
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        json.dump(content, stream, indent=2)
        stream.write("\n")


def _write_hf(folder, tensors, quantization=None):
    os.makedirs(folder, exist_ok=True)
    safetensors.write(os.path.join(folder, "model.safetensors"), tensors)
    _write_json(os.path.join(folder, "config.json"), _hf_config(quantization))
    _write_json(os.path.join(folder, "tokenizer.json"), _hf_tokenizer())
    _write_json(os.path.join(folder, "tokenizer_config.json"), {
        "tokenizer_class": "LlamaTokenizer", "add_bos_token": True,
        "add_eos_token": False, "unk_token": "<unk>", "bos_token": "<s>",
        "eos_token": "</s>"})


# ------------------------------------------------------------------ the lot

def _write_expected(folder, model):
    os.makedirs(folder, exist_ok=True)
    values = {name: values for name, (_, values) in model.floats.items()}
    values.update((name, tensor.values())
                  for name, tensor in model.ternary.items())
    for name in values:
        with open(os.path.join(folder, name + ".f32"), "wb") as stream:
            stream.write(dialects.encode_plain("F32", values[name]))


def _with_direct_scales(model):
    """The model with d itself, f32(1/f32(s)), in place of the stored s."""
    ternary = {}
    for name, tensor in model.ternary.items():
        d = dialects.round_f32(1.0 / tensor.scales[0])
        ternary[name] = dialects.Ternary(tensor.rows, tensor.cols,
                                         tensor.trits, [d],
                                         dialects.WHOLE_TENSOR)
    return Model(ternary, model.floats)


def _write_tensor_models(outdir):
    inverted = tensor_model()
    direct = _with_direct_scales(inverted)
    _write_gguf(os.path.join(outdir, "tensor-I2_S.gguf"), direct, "I2_S",
                "bitnet-b1.58")
    # Without a "linear_class" the class is "bitlinear".
    _write_hf(os.path.join(outdir, "tensor-bitlinear"),
              _hf_packed(inverted, "bitlinear", "BF16"),
              {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head"]})
    _write_hf(os.path.join(outdir, "tensor-autobitlinear"),
              _hf_packed(direct, "autobitlinear", "F32"),
              {"quant_method": "bitnet", "linear_class": "autobitlinear",
               "quantization_mode": "offline"})
    _write_hf(os.path.join(outdir, "tensor-F32"), _hf_unpacked(direct))
    _write_expected(os.path.join(outdir, "expected", "tensor"), direct)


def _write_group_models(outdir):
    g128, g64 = g128_model(), g64_model()
    for stem, dialect in (("Q2_0", "Q2_0_g128"), ("PQ2_0", "PQ2_0"),
                          ("PTQ1_0", "PTQ1_0")):
        _write_gguf(os.path.join(outdir, "g128-%s.gguf" % stem), g128,
                    dialect, "llama")
    _write_gguf(os.path.join(outdir, "g64-Q2_0.gguf"), g64, "Q2_0", "llama")
    _write_expected(os.path.join(outdir, "expected", "g128"), g128)
    _write_expected(os.path.join(outdir, "expected", "g64"), g64)


def write_models(outdir):
    os.makedirs(outdir, exist_ok=True)
    _write_tensor_models(outdir)
    _write_group_models(outdir)


def main(arguments):
    if len(arguments) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    write_models(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
