#!/usr/bin/env python3
"""Copies a few folders of ../shared/models/tiny into tests/golden/tiny, with fewer prompts, so that a fresh clone can test.

Usage: tools/make_small_goldens.py [SOURCE]   (default: ../shared/models/tiny beside the checkout)
Keeps every file of the model; of the goldens the prompts 0 to 3 and of them the ids and the F64 logits.
"""
import json
import pathlib
import shutil
import sys

from safetensors.numpy import load_file, save_file

NAMES = ["mistral-bf16", "mistral-bin-sharded", "mistral-head-dim", "qwen2", "llama-rope-dynamic"]
PROMPTS = range(4)

root = pathlib.Path(__file__).resolve().parent.parent
source = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "../shared/models/tiny"
for name in NAMES:
    target = root / "tests/golden/tiny" / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in sorted((source / name).iterdir()):
        if not file.name.startswith("golden."):
            shutil.copyfile(file, target / file.name)
    golden = json.loads((source / name / "golden.json").read_text())
    golden["cases"] = [case for case in golden["cases"] if case["prompt"] in PROMPTS]
    (target / "golden.json").write_text(json.dumps(golden) + "\n")
    tensors = load_file(source / name / "golden.safetensors")
    keep = {f"prompt_{i}.{part}" for i in PROMPTS for part in ("ids", "logits64")}
    save_file({key: value for key, value in tensors.items() if key in keep}, target / "golden.safetensors")
