#!/usr/bin/env python3
"""Checkpoints that others quantized, against their packing rules written a second time in numpy.

    tests/differential/quantized_checkpoints.py UPDRAFT_BINARY        (seed: UPDRAFT_SEED)

Each case is a small random model twice: quantized as GPTQ, AWQ or compressed-tensors write it, and dequantized here to
F32. `updraft logits --dtype f32` must print the same bits for both. Where torch and the packages that write the formats
are installed (compressed-tensors; auto-gptq and autoawq, both with pip's --no-deps), their own unpacking must agree too.
Needs numpy; exit code 77 without it.
"""
import collections
import functools
import importlib.util
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

try:
    import numpy as np
except ImportError:
    print("numpy is not installed")
    sys.exit(77)

INNER, HEADS, LAYERS, VOCABULARY = 384, 4, 2, 96
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
TYPES = {np.dtype("float32"): "F32", np.dtype("float16"): "F16", np.dtype("int32"): "I32", np.dtype("int64"): "I64",
         np.dtype("int8"): "I8"}


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, array in tensors.items():
        header[name] = {"dtype": TYPES[array.dtype], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def pack(values, bits, axis):
    """uint8 values along `axis` into int32 words, the first in the lowest bits."""
    values = np.moveaxis(values.astype(np.uint32), axis, -1)
    per_word = 32 // bits
    if values.shape[-1] % per_word:
        filler = per_word - values.shape[-1] % per_word
        values = np.concatenate([values, np.zeros(values.shape[:-1] + (filler,), np.uint32)], -1)
    values = values.reshape(values.shape[:-1] + (-1, per_word))
    words = np.zeros(values.shape[:-1], np.uint32)
    for i in range(per_word):
        words |= values[..., i] << np.uint32(bits * i)
    return np.ascontiguousarray(np.moveaxis(words.view(np.int32), -1, axis))


def matrices(hidden):
    return {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden // 2, hidden),
            "self_attn.v_proj": (hidden // 2, hidden), "self_attn.o_proj": (hidden, hidden),
            "mlp.gate_proj": (INNER, hidden), "mlp.up_proj": (INNER, hidden), "mlp.down_proj": (hidden, INNER)}


class Case:
    def __init__(self, rng, method):
        self.method = method
        self.bits = 4 if method == "awq" else rng.choice([4, 8])
        self.group = rng.choice([32, 64, 128, 0])
        self.symmetric = method != "awq" and rng.random() < 0.5
        self.act_order = method != "awq" and self.group > 0 and rng.random() < 0.5
        self.v2 = rng.random() < 0.5
        self.hidden = rng.choice([128, 192]) if method == "gptq" else 128  # 192: a row's last group is shorter than 128
        self.older = method == "gptq" and rng.random() < 0.3  # quantize_config.json
        self.bytes = method == "compressed-tensors" and self.bits == 8 and rng.random() < 0.5
        self.scale_type = rng.choice(["float16", "float32"]) if method == "compressed-tensors" else "float16"

    def __str__(self):
        return (f"{self.method} {self.bits} bits, {self.hidden} columns, groups of {self.group or 'a row'}"
                f"{', symmetric' if self.symmetric else ''}{', desc_act' if self.act_order else ''}"
                f"{', v2' if self.method == 'gptq' and self.v2 else ''}{', bytes' if self.bytes else ''}"
                f"{', scales ' + self.scale_type if self.scale_type != 'float16' else ''}")

    def config(self):
        group = self.group or -1
        if self.method == "gptq":
            config = {"bits": self.bits, "group_size": group, "desc_act": self.act_order, "sym": self.symmetric,
                      "true_sequential": True, "damp_percent": 0.01}
            if not self.older:
                config["quant_method"] = "gptq"
            if self.v2:
                config["checkpoint_format"] = "gptq_v2"
            return config
        if self.method == "awq":
            return {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm",
                    "modules_to_not_convert": None}
        weights = {"num_bits": self.bits, "type": "int", "symmetric": self.symmetric, "dynamic": False,
                   "strategy": "group" if self.group else "channel", "observer": "minmax"}
        if self.group:
            weights["group_size"] = self.group
        if self.act_order:
            weights["actorder"] = "group"
        activations = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True, "symmetric": True}
        return {"quant_method": "compressed-tensors", "format": "int-quantized" if self.bytes else "pack-quantized",
                "quantization_status": "compressed", "ignore": ["lm_head"], "kv_cache_scheme": None,
                "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "output_activations": None,
                                              "input_activations": activations if self.bytes else None}}}

    def matrix(self, rng, rows, columns):
        """(parts by the end of their names, F32 weights)"""
        group = self.group or columns
        groups, largest, middle = -(-columns // group), 2 ** self.bits - 1, 2 ** (self.bits - 1)
        u = rng.integers(0, largest + 1, (rows, columns))
        zeros = np.full((rows, groups), middle) if self.symmetric else rng.integers(0, largest + 1, (rows, groups))
        scales = (rng.random((rows, groups)) * 0.3 / largest + 1e-4).astype(np.float16)
        group_of = np.arange(columns) // group
        if self.act_order:
            rng.shuffle(group_of)
        dense = scales.astype(np.float32)[:, group_of] * (u - zeros[:, group_of]).astype(np.float32)
        if self.method == "gptq":
            stored = zeros if self.v2 else (zeros - 1) & largest
            parts = {"qweight": pack(u.T, self.bits, 0), "qzeros": pack(stored.T, self.bits, 1), "scales": scales.T,
                     "g_idx": group_of.astype(np.int32)}
        elif self.method == "awq":
            def packed(values):  # [n, rows], eight outputs a word
                return pack(values.reshape(-1, 8)[:, AWQ_ORDER].reshape(values.shape), 4, 1)
            parts = {"qweight": packed(u.T), "qzeros": packed(zeros.T), "scales": scales.T}
        else:
            parts = {"weight_scale": scales.astype(self.scale_type)}
            if self.act_order:
                parts["weight_g_idx"] = group_of.astype(np.int32)
            if self.bytes:
                parts["weight"] = (u - middle).astype(np.int8)
                if not self.symmetric:
                    parts["weight_zero_point"] = (zeros - middle).astype(np.int8)
            else:
                parts["weight_packed"] = pack(u, self.bits, 1)
                parts["weight_shape"] = np.array([rows, columns], np.int64)
                if not self.symmetric:
                    parts["weight_zero_point"] = pack(zeros, self.bits, 0)
        theirs = self.unpacked_by_package(parts, rows, columns)
        if theirs is not None:
            # AutoGPTQ's kernels disagree on a zero point of 0, whose stored 0 - 1 wraps: one gives 0, others 2 ^ bits.
            same = zeros[:, group_of] != 0 if self.method == "gptq" else np.full(dense.shape, True)
            np.testing.assert_array_equal(theirs[same], dense[same])
            Case.checked_by_package[self.method] += 1
        return parts, dense

    checked_by_package = collections.Counter()

    def unpacked_by_package(self, parts, rows, columns):
        """What the package that writes the format makes of the parts; None without it, or where it has no way."""
        try:
            import torch
            state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in parts.items()}
            if self.method == "gptq" and not self.v2:
                linear = module_in("auto_gptq", "nn_modules/qlinear/qlinear_cuda.py").QuantLinear(
                    self.bits, self.group or -1, columns, rows, bias=False)
                for name, tensor in state.items():
                    setattr(linear, name, tensor.float() if name == "scales" else tensor)
                return linear(torch.eye(columns)).numpy().T
            if self.method == "awq":
                unpack = module_in("awq", "utils/packing_utils.py").dequantize_gemm
                return unpack(state["qweight"], state["qzeros"], state["scales"].float(), 4, self.group or columns).numpy().T
            if self.method == "compressed-tensors" and not self.act_order:  # which 0.20 has no more
                from compressed_tensors.compressors import BaseCompressor
                from compressed_tensors.quantization import QuantizationScheme
                state["weight_scale"] = state["weight_scale"].float()
                if not self.bytes:
                    state["weight_shape"] = torch.Size(parts["weight_shape"].tolist())
                config = self.config()
                scheme = QuantizationScheme(targets=["Linear"], weights=config["config_groups"]["group_0"]["weights"])
                return BaseCompressor.get_value_from_registry(config["format"]).decompress(state, scheme)["weight"].numpy()
        except ImportError:
            pass
        return None


@functools.cache
def module_in(package, file):
    """A module of a package whose __init__ would import much more."""
    found = importlib.util.find_spec(package)
    if found is None:
        raise ImportError(package)
    spec = importlib.util.spec_from_file_location(package + "_part", pathlib.Path(found.origin).parent / file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_models(case, rng, quantized, dense):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": case.hidden,
              "intermediate_size": INNER, "num_attention_heads": HEADS, "num_key_value_heads": HEADS // 2,
              "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY, "max_position_embeddings": 256,
              "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float16"}
    plain, packed = {}, {}
    for name, shape in (("model.embed_tokens.weight", (VOCABULARY, case.hidden)), ("model.norm.weight", (case.hidden,)),
                        ("lm_head.weight", (VOCABULARY, case.hidden))):
        plain[name] = packed[name] = rng.standard_normal(shape).astype(np.float16)
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            name = f"model.layers.{layer}.{norm}.weight"
            plain[name] = packed[name] = np.ones(case.hidden, np.float16)
        for module, (rows, columns) in matrices(case.hidden).items():
            parts, weights = case.matrix(rng, rows, columns)
            name = f"model.layers.{layer}.{module}"
            plain[name + ".weight"] = weights
            packed.update({f"{name}.{part}": values for part, values in parts.items()})
            if case.method == "gptq" and case.older:
                packed[name + ".bias"] = np.zeros(rows, np.float16)  # AutoGPTQ writes them
    for folder, tensors in ((quantized, packed), (dense, plain)):
        folder.mkdir()
        write_safetensors(folder / "model.safetensors", tensors)
        own = dict(config)
        if folder == quantized and not case.older:
            own["quantization_config"] = case.config()
        if folder == quantized and case.older:
            (folder / "quantize_config.json").write_text(json.dumps(case.config()))
        (folder / "config.json").write_text(json.dumps(own))


def logits(program, folder, where):
    subprocess.run([program, "logits", folder, "--ids", "1,5,93,20,7,8,64,33", "--dtype", "f32", "--kv-dtype", "f32",
                    "--output", where], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return np.load(where)


def main():
    program, seed = os.path.abspath(sys.argv[1]), int(os.environ.get("UPDRAFT_SEED") or random.randrange(1 << 30))
    choice, rng, cases = random.Random(seed), np.random.default_rng(seed), 24
    for i in range(cases):
        case = Case(choice, ("gptq", "awq", "compressed-tensors")[i % 3])
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            write_models(case, rng, folder / "quantized", folder / "dense")
            try:
                ours = logits(program, folder / "quantized", folder / "a.npy")
                expected = logits(program, folder / "dense", folder / "b.npy")
            except subprocess.CalledProcessError as error:
                sys.exit(f"UPDRAFT_SEED={seed}, case {i}, {case}: {error.stderr.decode()}")
            if not np.isfinite(expected).all() or expected.std() == 0:
                sys.exit(f"UPDRAFT_SEED={seed}, case {i}, {case}: the test's own model is broken")
            if not np.array_equal(ours, expected):
                sys.exit(f"UPDRAFT_SEED={seed}, case {i}, {case}: logits differ by up to {abs(ours - expected).max()}")
    package = "".join(f", {count} matrices as the package unpacks {method}"
                      for method, count in sorted(Case.checked_by_package.items()))
    print(f"{cases} checkpoints: the same bits as their dequantized weights{package} (UPDRAFT_SEED={seed})")


if __name__ == "__main__":
    main()
