#!/usr/bin/env python3
"""Is decoding over pages filled with seeded K and V (`depth_fill: synthetic`) as fast as over pages really computed?

Runs `updraft bench --depth D` with and without --real-fill in turns, on a model whose attention is Mistral-7B's and whose
matrices are thin, so that at 4k K and V are 40 % of the bytes of a step (F16) and computing the depth takes seconds. Prints
the medians and their ratio for each KV type; two minutes on 2 cores. Exit code 1 when a ratio leaves 1 +- --tolerance.

    benchmarks/depth_fill.py build/release/updraft --depth 4096 --kv-dtype f16,int8
"""
import argparse
import json
import statistics
import subprocess
import sys


def step_seconds(options, kv_dtype, real):
    command = [options.updraft, "bench", "--synthetic", options.shape, "--no-tasks", "--no-probe", "--format", "json",
               "--depth", str(options.depth), "--batch", "1", "--sweep-tokens", "16", "--sweep-samples", "5",
               "--kv-dtype", kv_dtype] + (["--real-fill"] if real else [])
    record = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    [point] = [p for p in record["sweep"] if p["kind"] == "decode"]
    if point["depth_fill"] != ("prefill" if real else "synthetic"):
        sys.exit(f"asked for {'prefill' if real else 'synthetic'}, got {point['depth_fill']}")
    return point["step_s"]["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("updraft")
    parser.add_argument("--shape", default="mistral-7b:layers=12,hidden=1024,intermediate=512,vocabulary=2048")
    parser.add_argument("--depth", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kv-dtype", default="f16,int8")
    parser.add_argument("--tolerance", type=float, default=0.05)
    options = parser.parse_args()
    bad = False
    for kv_dtype in options.kv_dtype.split(","):
        times = {True: [], False: []}
        for _ in range(options.rounds):
            for real in (False, True):
                times[real].append(step_seconds(options, kv_dtype, real))
        synthetic, computed = (statistics.median(times[real]) for real in (False, True))
        ratio = statistics.median(c / s for s, c in zip(times[False], times[True]))
        print(f"KV {kv_dtype}, depth {options.depth}, {options.shape}: synthetic {synthetic * 1e3:.2f} ms a token, "
              f"computed {computed * 1e3:.2f} ms, median ratio of pairs {ratio:.3f}")
        bad = bad or abs(ratio - 1) > options.tolerance
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
