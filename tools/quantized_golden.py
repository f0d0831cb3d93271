#!/usr/bin/env python3
"""Opens a folder that `updraft quantize` wrote with transformers and compressed-tensors, and compares logits.

    tools/quantized_golden.py UPDRAFT FOLDER [--ids 1,2,3] [--write golden.safetensors]

Needs torch, transformers and compressed-tensors (not part of ./check). The weights that compressed-tensors unpacks, in
F32, must give the logits that updraft computes in F32 from its own reading. compressed-tensors multiplies in the type of
the scales, so it is given a copy of the folder whose scales (and everything else) are widened to F32. --write keeps transformers' logits for
tests/golden/quantized.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils.quantization_config import CompressedTensorsConfig


def widened(folder, place):
    """A copy with every floating-point tensor in F32."""
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, place / "model.safetensors",
              metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}))
    return place


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("updraft")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--ids", default="1,17,33,200,5,9,77,120,3,250,64,65,66,1,8,2")
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        model = AutoModelForCausalLM.from_pretrained(widened(arguments.folder, pathlib.Path(place)), dtype=torch.float32,
                                                     attn_implementation="eager",
                                                     quantization_config=CompressedTensorsConfig(run_compressed=False))
    ids = [int(i) for i in arguments.ids.split(",")]
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].float().numpy()
    with tempfile.TemporaryDirectory() as place:
        output = os.path.join(place, "out.npy")
        subprocess.run([arguments.updraft, "logits", arguments.folder, "--ids", arguments.ids, "--dtype", "f32",
                        "--kv-dtype", "f32", "--output", output], check=True, stdout=subprocess.DEVNULL)
        ours = np.load(output)
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"{arguments.folder}: largest difference {difference:.2e} of the largest logit")
    if arguments.write:
        save_file({"ids": torch.tensor(ids), "logits": torch.from_numpy(theirs.copy())}, arguments.write)
    sys.exit(0 if difference < 2e-5 else 1)


if __name__ == "__main__":
    main()
