#!/usr/bin/env python3
"""GGUF's K-quants end to end, against the package gguf.

    tests/differential/k_quants.py UPDRAFT_BINARY        (seed: UPDRAFT_SEED)

Small models of random blocks. In F32 `updraft logits` must print the same bits for the file and for the values that the
package makes of it. As the file runs by default, the header must say what its types became, and the logits must be near.
Needs gguf and numpy; exit code 77 without them.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from gguf import GGMLQuantizationType as T
    from gguf.constants import GGML_QUANT_SIZES
except ImportError as error:
    print(f"{error.name} is not installed")
    sys.exit(77)

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "tools"))
import make_gguf_goldens
import make_k_quants
from run_seed import run_seed

BECOMES = {T.Q4_K: "Q4_K to int8-g32-asym", T.Q5_K: "Q5_K to int8-g32-asym", T.Q6_K: "Q6_K to int8-g32"}
# Where a block's F16 scales lie, and the sizes that give its weights a mean of zero and a deviation of about 0.1.
SCALES = {T.Q4_K: {0: 5e-4, 2: 7.5 * 5e-4}, T.Q5_K: {0: 2.5e-4, 2: 15.5 * 2.5e-4}, T.Q6_K: {208: 7e-5}}
IDS = "1,17,33,20,5,9,7,12,3,25"


def random_blocks(rng, shape, kind):
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (shape[0] * shape[1] // elements, size), dtype=np.uint8)
    for at, scale in SCALES[kind].items():
        values = (scale * rng.uniform(0.5, 1.5, len(blocks))).astype(np.float16)
        blocks[:, at:at + 2] = values.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(shape[0], -1)


def logits(updraft, model, place, *flags):
    out = place / "out.npy"
    done = subprocess.run([updraft, "logits", model, "--ids", IDS, "--output", out, *flags],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{model.name}: {done.stderr}")
    return np.load(out), done.stderr


def check(updraft, rng, kinds, place):
    names = "+".join(kind.name for kind in kinds)
    make_gguf_goldens.quantize = lambda values, kind: random_blocks(rng, values.shape, kind)
    make_gguf_goldens.write_model(place, names, rng, "llama", hidden=256, heads=4, kv_heads=2, head_dim=64,
                                  intermediate=512, layers=1, kinds=kinds, vocabulary_model="llama")
    file, dense = place / f"{names}.gguf", place / f"{names}-f32.gguf"
    make_k_quants.copy_as_f32(file, dense)
    f32 = ("--dtype", "f32", "--kv-dtype", "f32")
    expected, _ = logits(updraft, dense, place, *f32)
    ours, _ = logits(updraft, file, place, *f32)
    if not np.array_equal(ours, expected):
        raise SystemExit(f"{names}: in F32 the logits differ by up to {np.abs(ours - expected).max()}")
    default, header = logits(updraft, file, place)
    for kind in set(kinds):
        if BECOMES[kind] not in header:
            raise SystemExit(f"{names}: \"{BECOMES[kind]}\" is not said: {header}")
    loss = np.sqrt(np.mean((default - expected) ** 2) / np.mean(expected ** 2))
    if not 0 < loss < 0.05:  # 0.01 to 0.02 in 22 seeds
        raise SystemExit(f"{names}: the logits as the file runs are {loss:.4f} of their size away from F32's")
    return loss


def main():
    rng = np.random.default_rng(run_seed())
    with tempfile.TemporaryDirectory() as place:
        losses = [check(sys.argv[1], rng, kinds, pathlib.Path(place)) for kinds in
                  [(T.Q4_K,), (T.Q5_K,), (T.Q6_K,), (T.Q4_K, T.Q6_K, T.Q5_K)]]
    print(f"{len(losses)} models, the logits at most {max(losses):.4f} of their size away from F32's")


if __name__ == "__main__":
    main()
