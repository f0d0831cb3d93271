#!/usr/bin/env python3
"""A model as OpenVINO's own format, its weights' type kept, by optimum-intel:

    make_openvino.py MODEL OUT        MODEL: a folder, or mistral-7b:layers=N for random weights of that shape

OUT appears only when it is complete.
"""
import os
import shutil
import sys
import tempfile

import torch
from optimum.intel import OVModelForCausalLM

import rival_transformers


def main():
    model, out = sys.argv[1], os.path.abspath(sys.argv[2])
    with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as scratch:
        folder = model
        if model.startswith("mistral-7b:"):
            folder = os.path.join(scratch, "random")
            rival_transformers.load(model, torch.bfloat16).save_pretrained(folder)
            torch.set_default_dtype(torch.float32)
        made = os.path.join(scratch, "made")
        OVModelForCausalLM.from_pretrained(folder, export=True, load_in_8bit=False, compile=False).save_pretrained(made)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(made, out)


if __name__ == "__main__":
    main()
