#!/usr/bin/env python3
"""Sound and damaged safetensors files, read by us and by the PyPI package: both accept the same ones, with the same tensors.

    safetensors_headers.py build/release/updraft     (uses the program tests/checkpoint_driver beside it)

One difference is wanted: a name that is there twice, which the package lets pass when it is harmless, we refuse.
Exit code 77: skipped, the last line says why.
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

from run_seed import run_seed

try:
    from safetensors import deserialize
except ImportError as error:
    print(f"the Python package {error.name} is missing")
    sys.exit(77)

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16,
        "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64}
FILES = 30000


def sound(rng):
    header, at = {}, 0
    for i in range(rng.randrange(4)):
        dtype, shape, count = rng.choice(list(BITS)), [rng.choice([0, 1, 2, 3, 4, 8]) for _ in range(rng.randrange(4))], 1
        for size in shape:
            count *= size
        size = (count * BITS[dtype] + 7) // 8
        name = f"t{i}" if rng.random() < 0.9 else f'é"\\{i}'
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    if rng.random() < 0.3:
        header["__metadata__"] = rng.choice([{"a": "b"}, {}, None, {"a": 1}, [], {"a": None}])
    items = list(header.items())
    rng.shuffle(items)
    text = json.dumps(dict(items), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.3:
        text = rng.choice([" ", "\n", "\t\r ", "\0", "\x0b"]) + text
    if rng.random() < 0.3:
        text += rng.choice(["   ", "\n", "x", "\0"])
    return bytearray(struct.pack("<Q", len(text.encode())) + text.encode() + bytes(at))


def damage(rng, data):
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        kind, at = rng.random(), rng.randrange(len(data))
        if kind < 0.6:
            data[at] = rng.choice(b'0123456789[]{}",:-.eE+ ntf\\') if rng.random() < 0.8 else rng.randrange(256)
        elif kind < 0.75:
            del data[at:at + rng.randrange(1, 3)]
        elif kind < 0.9:
            data[at:at] = bytes([rng.choice(b'0123456789," ')])
        else:
            data += b"x"
        data = data or bytearray(b"x")
    return bytes(data)


def main():
    driver = os.path.join(os.path.dirname(os.path.abspath(sys.argv[1])), "tests", "checkpoint_driver")
    if not os.path.exists(driver):
        print(f"{driver} is not built")
        sys.exit(77)
    rng = random.Random(run_seed())
    files = [damage(rng, sound(rng)) for _ in range(FILES)]
    with tempfile.TemporaryDirectory() as place:
        cases, answers = os.path.join(place, "cases"), os.path.join(place, "answers")
        with open(cases, "wb") as out:
            for file in files:
                out.write(struct.pack("<I", len(file)) + file)
        subprocess.run([driver, "headers", cases, answers], check=True)
        lines = [json.loads(line) for line in open(answers)]
    assert len(lines) == len(files)
    accepted = 0
    for file, ours in zip(files, lines):
        try:
            theirs = sorted([name, t["dtype"], list(t["shape"]), len(t["data"])] for name, t in deserialize(file))
        except Exception as error:
            assert isinstance(ours, str), f"we accept what the package refuses ({error}): {file!r}"
            continue
        if isinstance(ours, str):
            assert "appears twice" in ours, f"we refuse what the package accepts ({ours}): {file!r}"
            continue
        assert sorted(ours) == theirs, f"{file!r}: {ours}, {theirs}"
        accepted += 1
    assert accepted > FILES // 10
    print(f"{FILES} files, {accepted} of them accepted by both, the others refused by both")


main()
