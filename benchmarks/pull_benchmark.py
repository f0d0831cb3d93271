#!/usr/bin/env python3
"""`updraft pull` beside `curl | tee FILE | sha256sum`, plain curl and huggingface_hub: the same files from the same server on
loopback, plain HTTP, in the same run, round after round; medians.

    ninja -C build/release updraft hub_server
    python3 benchmarks/pull_benchmark.py build/release/updraft build/release/tests/hub_server [--gigabytes 4] [--rounds 3]

The server sends from the page cache (sendfile). Before each run the output of the one before is removed and the disk is idle
(sync). Only updraft flushes what it wrote to the disk before it ends; only updraft and `curl | tee | sha256sum` verify.
huggingface_hub comes from --python (default: the virtual environment of tools/run_oracles.sh), without Xet.
"""
import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HF_SCRIPT = "import sys, huggingface_hub as h; h.snapshot_download('org/model', local_dir=sys.argv[1])"


def make_files(folder, total, shards=2):
    """Random bytes; every file another beginning, so that every file has another hash."""
    block = os.urandom(1 << 20)  # small: a child begins with our memory, as far as getrusage is concerned
    names = [f"model-{i:05}-of-{shards:05}.safetensors" for i in range(1, shards + 1)]
    for i, name in enumerate(names):
        with open(folder / name, "wb") as file:
            left = total // shards
            file.write(bytes([i]) * 4096)
            left -= 4096
            while left > 0:
                left -= file.write(block[:left])
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {str(i): name for i, name in enumerate(names)}}))
    return names


def timed(command, environment, log):
    """Seconds, and the largest resident memory in MB of the command (for a shell: of its largest child)."""
    started = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed: {pathlib.Path(log).read_text()[-2000:]}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("server")
    parser.add_argument("--gigabytes", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the files go (default: a new one in the temporary folder)")
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    parser.add_argument("--python", default=f"{cache}/updraft/oracles/bin/python", help="with huggingface_hub")
    parser.add_argument("--source", help="a folder kept from an earlier run (made when it is not there)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # so that the files go
    total = int(options.gigabytes * 1e9)
    root = pathlib.Path(tempfile.mkdtemp(prefix="updraft_pull_", dir=options.folder))
    source = pathlib.Path(options.source) if options.source else root / "source"
    if shutil.disk_usage(root).free < 3 * total:
        sys.exit(f"{root}: there is no room for twice {options.gigabytes} GB and some more")
    if not source.exists():
        source.mkdir(parents=True)
        make_files(source, total)
    names = sorted(p.name for p in source.iterdir() if p.suffix == ".safetensors")
    for name in names:  # into the page cache
        subprocess.run(["cat", source / name], stdout=subprocess.DEVNULL, check=True)
    server = subprocess.Popen([options.server, str(source)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    url = server.stdout.readline().strip()
    files = [f"{url}/org/model/resolve/main/{name}" for name in names]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment.update(HF_HOME=str(root / "home"), HF_ENDPOINT=url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
    out = root / "out"
    each = " && ".join
    runs = {
        "updraft pull": [os.path.abspath(options.program), "pull", "org/model", "--local-dir", str(out), "--quiet"],
        "curl | tee FILE | sha256sum": ["sh", "-c", each(
            f"curl -sS {file} | tee {out}/{name} | sha256sum" for file, name in zip(files, names))],
        "curl -o FILE": ["sh", "-c", each(f"curl -sS -o {out}/{name} {file}" for file, name in zip(files, names))],
    }
    if subprocess.run([options.python, "-c", "import huggingface_hub"], capture_output=True).returncode == 0:
        version = subprocess.run([options.python, "-c", "import huggingface_hub as h; print(h.__version__)"],
                                 capture_output=True, text=True).stdout.strip()
        runs[f"huggingface_hub {version}"] = [options.python, "-c", HF_SCRIPT, str(out)]
    else:
        print(f"SKIPPED huggingface_hub: {options.python} does not have it")
    seconds = {name: [] for name in runs}
    memory = {name: 0.0 for name in runs}
    try:
        for number in range(options.rounds):
            order = list(runs) if number % 2 == 0 else list(runs)[::-1]
            for name in order:
                shutil.rmtree(out, ignore_errors=True)
                shutil.rmtree(root / "home", ignore_errors=True)
                out.mkdir()
                os.sync()
                took, resident = timed(runs[name], environment, root / "log")
                seconds[name].append(took)
                memory[name] = max(memory[name], resident)
                print(f"round {number + 1}: {name}: {took:.2f} s", file=sys.stderr)
                for file in names:
                    if os.path.getsize(out / file) != os.path.getsize(source / file):
                        sys.exit(f"{name}: {file} has the wrong size")
    finally:
        server.stdin.close()
        server.wait()
        shutil.rmtree(root, ignore_errors=True)
    size = sum(os.path.getsize(source / name) for name in names) if options.source else total
    ours = statistics.median(seconds["updraft pull"])
    print(f"{size / 1e9:.2f} GB in {len(names)} files, {platform.processor() or platform.machine()}, "
          f"{os.cpu_count()} cores, {options.rounds} rounds, load {os.getloadavg()[0]:.1f} at the end")
    print(f"{'':<30} {'median s':>9} {'GB/s':>7} {'fastest s':>10} {'largest MB':>11} {'updraft is':>11}")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<30} {median:9.2f} {size / 1e9 / median:7.2f} {min(times):10.2f} {memory[name]:11.0f} "
              f"{median / ours:9.2f} x")
    reference = statistics.median(seconds["curl | tee FILE | sha256sum"])
    if reference / ours < 0.9 or memory["updraft pull"] >= 100:
        sys.exit("below 90 % of curl | tee FILE | sha256sum, or not under 100 MB")


if __name__ == "__main__":
    main()
