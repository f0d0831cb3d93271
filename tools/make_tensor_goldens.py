#!/usr/bin/env python3
"""Writes tests/golden/checkpoint/tensors.json: type, shape and CRC-32 of the stored bytes of every tensor of tiny/*.

Oracles: the PyPI package safetensors, and for pytorch_model*.bin Python's own zipfile and pickle.
Usage: tools/make_tensor_goldens.py [SOURCE]   (default: ../shared/models/tiny beside the checkout)
"""
import io
import json
import pathlib
import pickle
import sys
import zipfile
import zlib

import safetensors

TYPES = {"FloatStorage": ("F32", 4), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2)}


def from_safetensors(path):
    for name, tensor in safetensors.deserialize(path.read_bytes()):
        yield name, tensor["dtype"], list(tensor["shape"]), zlib.crc32(bytes(tensor["data"]))


class Unpickler(pickle.Unpickler):
    def __init__(self, data, archive, root):
        super().__init__(io.BytesIO(data))
        self.archive, self.root = archive, root

    def find_class(self, module, name):
        if name == "OrderedDict":
            return dict
        if name in TYPES:
            return TYPES[name]
        assert (module, name) == ("torch._utils", "_rebuild_tensor_v2"), (module, name)
        return lambda storage, offset, shape, stride, *rest: (storage, offset, shape, stride)

    def persistent_load(self, pid):
        _, (dtype, unit), key, _, _ = pid
        return dtype, unit, self.archive.read(f"{self.root}/data/{key}")


def from_torch(path):
    with zipfile.ZipFile(path) as archive:
        pkl = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        state = Unpickler(archive.read(pkl), archive, pkl.split("/")[0]).load()
        for name, ((dtype, unit, data), offset, shape, stride) in state.items():
            expected, count = [], 1
            for size in reversed(shape):
                expected.insert(0, count)
                count *= size
            assert list(stride) == expected, (name, shape, stride)
            yield name, dtype, list(shape), zlib.crc32(data[offset * unit:(offset + count) * unit])


root = pathlib.Path(__file__).resolve().parent.parent
source = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else root / "../shared/models/tiny"
goldens = {}
for folder in sorted(source.iterdir()):
    tensors = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith("model") and file.suffix == ".safetensors":
            reader = from_safetensors
        elif file.suffix == ".bin":
            reader = from_torch
        else:
            continue
        for name, dtype, shape, crc in reader(file):
            assert name not in tensors
            tensors[name] = [dtype, shape, crc]
    goldens[folder.name] = tensors
out = root / "tests/golden/checkpoint/tensors.json"
out.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in goldens.items()) + "\n}\n")
print({k: len(v) for k, v in goldens.items()})
