#!/usr/bin/env python3
"""Makes tests/golden/gguf with the PyPI package `gguf` (numpy): small files of every block type and architecture, and
what the package says their values are.

    python tools/make_gguf_goldens.py tests/golden/gguf
    python tools/make_gguf_goldens.py --checksums MODEL.gguf   # prints the JSON of a real model's tensors

types.gguf holds tensors <type>.random (random blocks) and <type>.quantized (normal values, where the package can
quantize) and beside each its dequantized values as F32 in <name>.expected. models.json gives, for each of the other
files, CRC-32 of the dequantized F32 values of every tensor in Hugging Face's name, shape and row order.
"""
import argparse
import json
import os
import zlib

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

TYPES = [T.F32, T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K]
# Where the half-precision scales lie in a block.
HALVES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208]}
PARTS = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def random_blocks(rng, kind, rows, columns):
    """Random bytes whose scales are finite (small and subnormal ones too)."""
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (rows * columns // elements, size), dtype=np.uint8)
    for at in HALVES[kind]:
        scale = (rng.standard_normal(len(blocks)) * 10.0 ** rng.uniform(-7, 1, len(blocks))).astype(np.float16)
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def write_types(path, rng):
    w = GGUFWriter(path, "llama")
    rows, columns = 2, 512

    def add(name, data, kind):
        w.add_tensor(name, data, raw_dtype=kind)
        w.add_tensor(name + ".expected", dequantize(data, kind).reshape(rows, columns).astype(np.float32))

    for kind in TYPES:
        if kind in HALVES:
            add(f"{kind.name}.random", random_blocks(rng, kind, rows, columns), kind)
        if kind not in (T.Q4_K, T.Q5_K, T.Q6_K):
            add(f"{kind.name}.quantized", quantize(rng.standard_normal((rows, columns)).astype(np.float32), kind), kind)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def interleave(x, heads):
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def rotate_half(x, heads):
    return x.reshape(heads, x.shape[0] // heads // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def checksum(x):
    return zlib.crc32(np.ascontiguousarray(x, dtype="<f4").tobytes())


def write_model(folder, name, rng, architecture, hidden=64, heads=4, kv_heads=2, head_dim=16, intermediate=96, vocabulary=40,
                layers=2, tied=False, qkv_bias=False, qk_norm=False, kinds=(T.Q4_1,), keys=None, rope_freqs=None, vocabulary_model="gpt2"):
    w = GGUFWriter(os.path.join(folder, name + ".gguf"), architecture)
    w.add_context_length(512), w.add_embedding_length(hidden), w.add_block_count(layers), w.add_feed_forward_length(intermediate)
    w.add_head_count(heads), w.add_head_count_kv(kv_heads), w.add_layer_norm_rms_eps(1e-5), w.add_rope_freq_base(50000.0)
    w.add_rope_dimension_count(head_dim)
    if head_dim * heads != hidden:
        w.add_key_length(head_dim), w.add_value_length(head_dim)
    for key, add, value in keys or []:
        getattr(w, add)(key, value)
    w.add_tokenizer_model(vocabulary_model)
    w.add_token_list([f"<{i}>" for i in range(vocabulary)])
    w.add_token_types([3] * 3 + [1] * (vocabulary - 3))
    if vocabulary_model == "gpt2":
        w.add_tokenizer_pre("qwen2"), w.add_token_merges(["a b", "c d"])
    else:
        w.add_token_scores([-float(i) for i in range(vocabulary)])
    w.add_bos_token_id(1), w.add_eos_token_id(2), w.add_eot_token_id(5), w.add_add_bos_token(True), w.add_chat_template("{{ messages }}")
    expected, count = {}, 0

    def add(gguf, huggingface, shape, rotary_heads=0, kind=None):
        nonlocal count
        x = (rng.standard_normal(shape) * 0.1).astype(np.float32)
        if rotary_heads and architecture == "llama":
            x = interleave(x, rotary_heads)
        if kind is None:
            kind, count = kinds[count % len(kinds)], count + 1
        data = x if kind == T.F32 else quantize(x, kind)
        w.add_tensor(gguf, data, raw_dtype=kind)
        values = np.asarray(dequantize(data, kind), dtype=np.float32).reshape(shape)
        if rotary_heads and architecture == "llama":
            values = rotate_half(values, rotary_heads)
        expected[huggingface] = {"type": kind.name, "shape": list(shape), "crc32": checksum(values)}

    add("token_embd.weight", "model.embed_tokens.weight", (vocabulary, hidden))
    if rope_freqs is not None:
        w.add_tensor("rope_freqs.weight", rope_freqs.astype(np.float32))
    for n in range(layers):
        shapes = [("attn_norm", (hidden,), 0), ("attn_q", (heads * head_dim, hidden), heads), ("attn_k", (kv_heads * head_dim, hidden), kv_heads),
                  ("attn_v", (kv_heads * head_dim, hidden), 0), ("attn_output", (hidden, heads * head_dim), 0), ("ffn_norm", (hidden,), 0),
                  ("ffn_gate", (intermediate, hidden), 0), ("ffn_up", (intermediate, hidden), 0), ("ffn_down", (hidden, intermediate), 0)]
        if qk_norm:
            shapes += [("attn_q_norm", (head_dim,), 0), ("attn_k_norm", (head_dim,), 0)]
        for part, shape, rotary in shapes:
            add(f"blk.{n}.{part}.weight", f"model.layers.{n}.{PARTS[part]}.weight", shape, rotary, T.F32 if len(shape) == 1 else None)
            if qkv_bias and part in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{n}.{part}.bias", f"model.layers.{n}.{PARTS[part]}.bias", shape[:1], rotary, T.F32)
    add("output_norm.weight", "model.norm.weight", (hidden,), kind=T.F32)
    if not tied:
        add("output.weight", "lm_head.weight", (vocabulary, hidden))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    return expected


def checksums(path):
    r = GGUFReader(path)
    field = lambda key: r.fields[key].contents()
    architecture = field("general.architecture")
    heads = {"attn_q": field(f"{architecture}.attention.head_count"), "attn_k": field(f"{architecture}.attention.head_count_kv")}
    out = {}
    for t in r.tensors:
        values = np.asarray(dequantize(t.data, t.tensor_type), dtype=np.float32)
        fixed = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
        if t.name in fixed:
            name = fixed[t.name]
        else:
            _, n, part, leaf = t.name.split(".")
            name = f"model.layers.{n}.{PARTS[part]}.{leaf}"
            if architecture == "llama" and part in heads:
                values = rotate_half(values, heads[part])
        out[name] = {"type": t.tensor_type.name, "shape": list(values.shape), "crc32": checksum(values)}
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("path"), p.add_argument("--checksums", action="store_true")
    a = p.parse_args()
    if a.checksums:
        print("{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in checksums(a.path).items()) + "\n}")
        return
    os.makedirs(a.path, exist_ok=True)
    rng = np.random.default_rng(20240607)
    write_types(os.path.join(a.path, "types.gguf"), rng)
    low = dict(hidden=32, head_dim=8, intermediate=64, vocabulary=24, layers=1)
    i = np.arange(4)
    models = {
        "llama": write_model(a.path, "llama", rng, "llama", tied=True, qkv_bias=True, intermediate=64, vocabulary=32, kinds=(T.Q8_0, T.Q4_1, T.Q4_0, T.F16, T.Q5_0, T.Q5_1, T.F32), vocabulary_model="llama"),
        "llama3": write_model(a.path, "llama3", rng, "llama", **low, kinds=(T.BF16,), rope_freqs=np.where(i < 2, 1.0, 1.0 + i)),
        "mistral": write_model(a.path, "mistral", rng, "llama", **low, kinds=(T.F16,), keys=[("llama.attention.sliding_window", "add_uint32", 48)]),
        "qwen2": write_model(a.path, "qwen2", rng, "qwen2", **low, tied=True, qkv_bias=True, kinds=(T.Q8_0,),
                             keys=[("qwen2.rope.scaling.type", "add_string", "yarn"), ("qwen2.rope.scaling.factor", "add_float32", 4.0), ("qwen2.rope.scaling.original_context_length", "add_uint32", 128)]),
        "qwen3": write_model(a.path, "qwen3", rng, "qwen3", hidden=32, head_dim=16, heads=4, intermediate=32, vocabulary=24, layers=1, qk_norm=True, kinds=(T.F32, T.BF16)),
    }
    with open(os.path.join(a.path, "models.json"), "w") as f:
        json.dump(models, f, indent=0)


if __name__ == "__main__":
    main()
