#!/usr/bin/env python3
"""The shape of Mistral-7B with random BF16 weights as a GGUF file without a vocabulary:   make_mistral_gguf.py LAYERS OUT"""
import os
import sys

import gguf
import numpy as np

HIDDEN, INTERMEDIATE, HEADS, KEY_HEADS, VOCABULARY = 4096, 14336, 32, 8, 32000


def tensors(layers):
    keys = HIDDEN // HEADS * KEY_HEADS
    yield "token_embd.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        shapes = {
            "attn_norm": (HIDDEN,), "attn_q": (HIDDEN, HIDDEN), "attn_k": (keys, HIDDEN), "attn_v": (keys, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN), "ffn_norm": (HIDDEN,), "ffn_gate": (INTERMEDIATE, HIDDEN),
            "ffn_up": (INTERMEDIATE, HIDDEN), "ffn_down": (HIDDEN, INTERMEDIATE)}
        for name, shape in shapes.items():
            yield f"blk.{layer}.{name}.weight", shape
    yield "output_norm.weight", (HIDDEN,)
    yield "output.weight", (VOCABULARY, HIDDEN)


def main():
    layers, out = int(sys.argv[1]), sys.argv[2]
    random = np.random.default_rng(1)
    block = (random.standard_normal(1 << 22, np.float32) * 0.02).view(np.uint32) >> 16  # speed depends on no value
    block = block.astype(np.uint16)
    writer = gguf.GGUFWriter(out + ".part", "llama")
    writer.add_vocab_size(VOCABULARY)
    writer.add_context_length(32768)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INTERMEDIATE)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for name, shape in tensors(layers):
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
        else:
            values = np.resize(block, shape)
            writer.add_tensor(name, values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main()
