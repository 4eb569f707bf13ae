#!/usr/bin/env python3
"""Writes a synthetic BitNet b1.58 model as a Hugging Face folder, packed as published ones are.

Usage: make_bitnet.py FOLDER [LAYERS DIMENSION FEED_FORWARD HEADS KV_HEADS VOCABULARY]
By default 30 2560 6912 20 5 128256: the shape of the 2B model. Random weights from a fixed seed; no tokenizer.
"""

import json
import os
import random
import struct
import sys

PIECE = 1 << 24
# A byte of four 2-bit codes, none of them 3.
TERNARY = bytes(sum(v // 3**i % 3 << 2 * i for i in range(4)) for v in (b % 81 for b in range(256)))
# The upper byte of a small bfloat16 of either sign.
BF16_HIGH = bytes((0x3B, 0x3C, 0xBB, 0xBC)[b & 3] for b in range(256))


def packed(source, size):
    return source.randbytes(size).translate(TERNARY)


def bfloat16(source, size):
    data = bytearray(source.randbytes(size))
    data[1::2] = bytes(data[1::2]).translate(BF16_HIGH)
    return data


def ones(_, size):
    return b"\x80\x3f" * (size // 2)


def scale(source, _):
    """1 / mean|W| of a layer, rounded to bfloat16: between 30 and 60."""
    return struct.pack("<f", 30 + 30 * source.random())[2:]


def tensors(layers, dimension, feed_forward, heads, kv_heads, vocabulary):
    """Yields name, dtype, shape, maker of bytes."""
    keys = dimension // heads * kv_heads
    yield "model.embed_tokens.weight", "BF16", [vocabulary, dimension], bfloat16
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        linears = (
            ("self_attn.q_proj", dimension, dimension),
            ("self_attn.k_proj", keys, dimension),
            ("self_attn.v_proj", keys, dimension),
            ("self_attn.o_proj", dimension, dimension),
            ("mlp.gate_proj", feed_forward, dimension),
            ("mlp.up_proj", feed_forward, dimension),
            ("mlp.down_proj", dimension, feed_forward),
        )
        for name, rows, columns in linears:
            yield f"{prefix}{name}.weight", "U8", [rows // 4, columns], packed
            yield f"{prefix}{name}.weight_scale", "BF16", [1], scale
        norms = (
            ("input_layernorm", dimension),
            ("self_attn.attn_sub_norm", dimension),
            ("post_attention_layernorm", dimension),
            ("mlp.ffn_sub_norm", feed_forward),
        )
        for name, size in norms:
            yield f"{prefix}{name}.weight", "BF16", [size], ones
    yield "model.norm.weight", "BF16", [dimension], ones


def byte_size(dtype, shape):
    size = {"U8": 1, "BF16": 2}[dtype]
    for extent in shape:
        size *= extent
    return size


def write_weights(path, entries):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in entries:
        size = byte_size(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    source = random.Random(1)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, dtype, shape, make in entries:
            left = byte_size(dtype, shape)
            while left:
                size = min(left, PIECE)
                file.write(make(source, size))
                left -= size


def write_config(path, layers, dimension, feed_forward, heads, kv_heads, vocabulary):
    config = {
        "architectures": ["BitNetForCausalLM"],
        "model_type": "bitnet",
        "hidden_act": "relu2",
        "hidden_size": dimension,
        "intermediate_size": feed_forward,
        "max_position_embeddings": 4096,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-05,
        "rope_theta": 500000.0,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "vocab_size": vocabulary,
        "quantization_config": {
            "quant_method": "bitnet",
            "linear_class": "bitlinear",
            "quantization_mode": "offline",
            "modules_to_not_convert": None,
        },
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


def main():
    folder = sys.argv[1]
    shape = [int(text) for text in sys.argv[2:]] or [30, 2560, 6912, 20, 5, 128256]
    os.makedirs(folder, exist_ok=True)
    write_weights(os.path.join(folder, "model.safetensors"), list(tensors(*shape)))
    write_config(os.path.join(folder, "config.json"), *shape)


if __name__ == "__main__":
    main()
