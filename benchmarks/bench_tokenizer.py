#!/usr/bin/env python3
"""Tokens per second, one core: ours (tokenizer_benchmark) beside the PyPI package `tokenizers`, on the same text, in one run.

    cmake --preset release -DUPDRAFT_BENCHMARKS=ON && ninja -C build/release tokenizer_benchmark
    python3 benchmarks/bench_tokenizer.py build/release/benchmarks/tokenizer_benchmark MODEL_FOLDER [--text FILE] [--ours MODEL]

MODEL_FOLDER has the tokenizer.json that both read; --ours names another form of the same vocabulary for us (a .gguf, a
tokenizer.model). Without --text it is the English of Python's own documentation.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"


def english():
    import pydoc_data.topics

    return "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark")
    parser.add_argument("folder")
    parser.add_argument("--text")
    parser.add_argument("--ours")
    options = parser.parse_args()
    try:
        import tokenizers
    except ImportError:
        sys.exit("SKIPPED: the Python package `tokenizers` is not installed, there is nothing to compare with")
    text = open(options.text, encoding="utf-8", newline="").read() if options.text else english()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="", suffix=".txt") as file:
        file.write(text)
        file.flush()
        command = [options.benchmark, options.ours or options.folder, file.name]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    theirs = tokenizers.Tokenizer.from_file(os.path.join(options.folder, "tokenizer.json"))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        tokens = len(theirs.encode(text, add_special_tokens=False).ids)
        seconds.append(time.perf_counter() - start)
    if tokens != ours["tokens"]:
        sys.exit(f"different token counts: ours {ours['tokens']}, theirs {tokens}")
    rate = tokens / statistics.median(seconds)
    print(f"{len(text.encode())} bytes, {tokens} tokens, one core")
    print(f"updraft                {ours['tokens_per_second'] / 1e6:8.2f} million tokens/s  "
          f"(first pass, nothing learnt: {ours['first_pass_tokens_per_second'] / 1e6:.2f})")
    print(f"tokenizers {tokenizers.__version__:11} {rate / 1e6:8.2f} million tokens/s")
    print(f"ratio                  {ours['tokens_per_second'] / rate:8.1f}")


main()
