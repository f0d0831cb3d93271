#!/usr/bin/env python3
"""Opens a folder that `updraft quantize` wrote with transformers and compressed-tensors, and compares logits.

    tools/quantized_golden.py UPDRAFT FOLDER [--ids 1,2,3] [--write golden.safetensors]

Needs torch, transformers and compressed-tensors (not part of ./check). What transformers computes in F32 must be what
updraft computes in F32 from its own reading. transformers opens such a folder in two ways, and each that can is tried
(seen in transformers 5.23 and 5.24 with compressed-tensors 0.20):
- as it is, it keeps the integers and unpacks each matrix by the config group that names it. Not with zero points: the
  layer that waits for the file (PackedQuantizationCompressor.compress on the meta device) expects them unpacked.
- with dequantize=True it unpacks while loading, every matrix by the first config group (get_dense_scheme), so there must
  be one only. It multiplies in the type of the scales, so it is given a copy of the folder widened to F32.
--write keeps transformers' logits for tests/golden/quantized.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import compressed_tensors
import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file


def widened(folder, place):
    """A copy with every floating-point tensor in F32."""
    tensors = {}
    for file in folder.glob("*.safetensors"):
        if not file.name.startswith("golden"):
            tensors.update(load_file(file))
    save_file({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, place / "model.safetensors",
              metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "torch_dtype": "float32"}))
    return place


def their_logits(folder, ids, **how):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **how)
    if any(report.values()):
        raise SystemExit(f"{folder}: transformers misses or ignores tensors: {report}")
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()


def our_logits(updraft, folder, ids, place):
    subprocess.run([updraft, "logits", folder, "--ids", ids, "--dtype", "f32", "--kv-dtype", "f32", "--output",
                    place / "out.npy"], check=True, stdout=subprocess.DEVNULL)
    return np.load(place / "out.npy")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("updraft", type=os.path.abspath)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--ids", default="1,17,33,200,5,9,77,120,3,250,64,65,66,1,8,2")
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    ids = [int(i) for i in arguments.ids.split(",")]
    config = json.loads((arguments.folder / "config.json").read_text())["quantization_config"]
    schemes = [group["weights"] for group in config["config_groups"].values()]
    print(f"{arguments.folder}: transformers {transformers.__version__}, compressed-tensors "
          f"{compressed_tensors.__version__}, groups of {', '.join(str(s['group_size'] or 'a row') for s in schemes)}")

    worst, answers = 0, []
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        ours = our_logits(arguments.updraft, arguments.folder, arguments.ids, place)

        def compare(way, theirs):
            answers.append(theirs)
            difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
            print(f"    {way}: largest difference {difference:.2e} of the largest logit")
            return max(worst, difference)

        if all(scheme["symmetric"] for scheme in schemes):
            worst = compare("as it is", their_logits(arguments.folder, ids))
        if len(schemes) == 1:
            dequantize = transformers.CompressedTensorsConfig(dequantize=True)
            worst = compare("dequantize=True", their_logits(widened(arguments.folder, place), ids,
                                                            quantization_config=dequantize))
    if not answers:
        raise SystemExit("transformers opens zero points with one size of group only")
    if arguments.write:
        save_file({"ids": torch.tensor(ids), "logits": torch.from_numpy(answers[0].copy())}, arguments.write)
    sys.exit(0 if worst < 2e-5 else 1)


if __name__ == "__main__":
    main()
