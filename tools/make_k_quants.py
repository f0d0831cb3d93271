#!/usr/bin/env python3
"""Makes K-quant files of a real model with llama.cpp's own quantizer, for measuring what they lose (docs/guide.md), and
any other type for benchmarks/rivals.

    tools/make_k_quants.py SOURCE.gguf OUT.gguf --type Q4_K_M [--widen 256] [--dequantized OUT_F32.gguf]

Needs the packages gguf and llama-cpp-python (benchmarks/rivals/run.sh --with-llama-cpp installs both). A K-quant's blocks
have 256 columns: where a matrix's inputs are no multiple of that (SmolLM2: 576), llama.cpp takes Q5_0, Q5_1 or Q8_0 for
it. --widen N first gives the model zero columns and zero heads up to the next multiple of N, norms and epsilon scaled so
that it computes the same, and every matrix becomes a K-quant. --dequantized writes what the package gguf makes of the
values, as F32.
"""
import argparse
import ctypes
import math
import os
import tempfile

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

OF_THE_READER = ("GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture")


def copy_as_f32(source, out, change_field=lambda name, value: value, change_tensor=lambda name, values: values):
    reader = GGUFReader(source)
    writer = GGUFWriter(out, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name not in OF_THE_READER:
            element = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, change_field(name, field.contents()), field.types[0], element)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, change_tensor(tensor.name, values), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def widen(source, out, multiple):
    """Zeros add nothing to a product, but the mean in RMSNorm is over more columns: its weights and epsilon make up."""
    fields = {name: field.contents() for name, field in GGUFReader(source).fields.items()}
    architecture = fields["general.architecture"]
    hidden, heads, key_heads = (fields[f"{architecture}.{name}"] for name in (
        "embedding_length", "attention.head_count", "attention.head_count_kv"))
    head, per_key = hidden // heads, heads // key_heads
    wide = math.ceil(hidden / multiple) * multiple
    while wide % (head * per_key):  # whole key heads with all their queries
        wide += multiple
    sizes = {"embedding_length": wide, "attention.head_count": wide // head,
             "attention.head_count_kv": wide // head // per_key}

    def change_field(name, value):
        name = name.removeprefix(architecture + ".")
        if name == "attention.layer_norm_rms_epsilon":
            return value * hidden / wide
        return sizes.get(name, value)

    def change_tensor(name, values):
        if "norm" in name:
            return np.pad(values * np.float32(math.sqrt(hidden / wide)), (0, wide - hidden))
        keys = ".attn_k." in name or ".attn_v." in name
        rows = wide // per_key if keys else wide if values.shape[0] == hidden else values.shape[0]
        columns = wide if values.shape[1] == hidden else values.shape[1]
        return np.pad(values, ((0, rows - values.shape[0]), (0, columns - values.shape[1])))

    copy_as_f32(source, out, change_field, change_tensor)


def quantize(source, out, type_name):
    import llama_cpp
    silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + type_name)
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(out), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp could not make {out}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("out")
    parser.add_argument("--type", default="Q4_K_M", help="Q4_K_M, Q5_K_M, Q6_K, ...")
    parser.add_argument("--widen", type=int, help="columns to a multiple of this")
    parser.add_argument("--dequantized", help="a file to write too: the values as F32")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(arguments.out))) as place:
        source = arguments.source
        if arguments.widen:
            source = os.path.join(place, "wide.gguf")
            widen(arguments.source, source, arguments.widen)
        quantize(source, arguments.out, arguments.type)
    types = [tensor.tensor_type.name for tensor in GGUFReader(arguments.out).tensors]
    print(f"{arguments.out}:", ", ".join(f"{types.count(name)} {name}" for name in sorted(set(types))))
    if arguments.dequantized:
        copy_as_f32(arguments.out, arguments.dequantized)


if __name__ == "__main__":
    main()
