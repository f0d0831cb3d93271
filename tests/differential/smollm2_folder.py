#!/usr/bin/env python3
"""SmolLM2's goldens from a Hugging Face folder: the GGUF file of ./try's cache, dequantized by the package gguf, goes through
tests/cli/golden_test.py as a folder with F32 weights."""
import os
import pathlib
import subprocess
import sys
import tempfile

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "rivals"), str(ROOT / "tests" / "cli")]


def skip(why):
    print(why)
    sys.exit(SKIPPED)


def main():
    program = os.path.abspath(sys.argv[1])
    import golden_test
    model = golden_test.smollm2()
    if model is None or os.path.isdir(model):
        skip("SmolLM2 is not in the cache (./try fetches it)")
    try:
        import make_folder
    except ImportError as error:
        skip(str(error))
    with tempfile.TemporaryDirectory() as folder:
        make_folder.write_folder(make_folder.Source(model), folder, "float32")
        done = subprocess.run([sys.executable, golden_test.__file__, program, "SmolLM2"],
                              env={**os.environ, "UPDRAFT_SMOLLM2": folder}, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    if done.returncode == 0:
        print("the goldens' prompts, logits, answers and likelihoods from a folder in F32")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
