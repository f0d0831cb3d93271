#!/usr/bin/env python3
"""Folders that write_folder made, opened with the PyPI packages safetensors and gguf.

    write_folder.py build/release/updraft     (uses the program tests/checkpoint_driver beside it)

Exit code 77: skipped, the last line says why.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors import deserialize
except ImportError as error:
    print(f"the Python package {error.name} is missing")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TO_FLOAT = {"F32": lambda b: np.frombuffer(b, "<f4"), "F16": lambda b: np.frombuffer(b, "<f2").astype("f4"),
            "BF16": lambda b: (np.frombuffer(b, "<u2").astype("u4") << 16).view("f4")}


def open_folder(folder, dtype):
    """Every tensor as F32, checked against the index."""
    names = sorted(n for n in os.listdir(folder) if n.endswith(".safetensors"))
    tensors, found = {}, {}
    for name in names:
        with open(os.path.join(folder, name), "rb") as f:
            for key, tensor in deserialize(f.read()):
                assert tensor["dtype"] == dtype, (key, tensor["dtype"])
                tensors[key] = TO_FLOAT[dtype](bytes(tensor["data"])).reshape(tensor["shape"])
                found[key] = name
    if len(names) > 1:
        index = json.load(open(os.path.join(folder, "model.safetensors.index.json")))
        assert index["weight_map"] == found, "the index names other files"
        assert index["metadata"]["total_size"] == sum(t.size for t in tensors.values()) * (4 if dtype == "F32" else 2)
        assert names == [f"model-{i + 1:05}-of-{len(names):05}.safetensors" for i in range(len(names))]
    config = json.load(open(os.path.join(folder, "config.json")))
    json.load(open(os.path.join(folder, "generation_config.json")))
    assert tensors["model.embed_tokens.weight"].shape == (config["vocab_size"], config["hidden_size"])
    return tensors, len(names)


def main():
    driver = os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), "tests", "checkpoint_driver")
    gguf = os.path.join(ROOT, "tests", "golden", "gguf", "qwen2.gguf")
    if not os.path.exists(driver):
        print(f"{driver} is not built")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as place:
        subprocess.run([driver, "folders", place, gguf], check=True)
        folders = {name: open_folder(os.path.join(place, name), name.upper()) for name in ("f32", "f16", "bf16")}
        reference, shards = folders["f32"]
        assert shards > 1
        for tensors, _ in folders.values():  # synthetic values are the same in every type
            assert tensors.keys() == reference.keys()
            assert all(np.array_equal(tensors[key], reference[key]) for key in reference)
        qwen2, shards = open_folder(os.path.join(place, "gguf"), "F32")
        assert shards == 1
        theirs = {t.name: np.asarray(dequantize(t.data, t.tensor_type)) for t in GGUFReader(gguf).tensors}
        for ours, name in (("model.embed_tokens.weight", "token_embd.weight"), ("model.layers.0.self_attn.q_proj.weight", "blk.0.attn_q.weight"),
                           ("model.layers.0.self_attn.k_proj.bias", "blk.0.attn_k.bias"), ("model.layers.0.mlp.down_proj.weight", "blk.0.ffn_down.weight")):
            assert np.array_equal(qwen2[ours], theirs[name].reshape(qwen2[ours].shape)), ours
        assert len(qwen2) == len(theirs)
    print(f"{len(reference)} synthetic tensors in three types and {len(qwen2)} of a GGUF file read back equal")


if __name__ == "__main__":
    main()
