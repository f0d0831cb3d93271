#!/usr/bin/env python3
"""Times Updraft and other engines in turns, round by round, on the same weights, threads and token counts; prints
medians and ratios as a Markdown table and saves every sample as JSON. Started by run.sh, which prepares what it needs.
"""
import argparse
import datetime
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))


class Updraft:
    """`updraft bench` once a round: it loads the model and times the second of two samples of each."""

    def __init__(self, name, options, model, *flags):
        self.name, self.options, self.model, self.flags = name, options, list(model), list(flags)
        self.engine = None

    def start(self):
        pass

    def command(self, *rest):
        return [self.options.updraft, *rest, *self.model, *self.flags, "--threads", str(self.options.threads)]

    def measure(self):
        o = self.options
        command = self.command("bench") + [
            "--no-tasks", "--no-probe", "--prompt", str(o.prefill), "--depth", str(o.prompt), "--batch", "1",
            "--sweep-tokens", str(o.decode), "--sweep-samples", "1", "--real-fill", "--format", "json"]
        record = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
        self.engine = record["numerics_key"]
        points = {point["kind"]: point for point in record["sweep"]}
        return {"prefill_s": statistics.median(points["prefill"]["samples_s"]),
                "decode_s": statistics.median(points["decode"]["samples_s"]) * o.decode}

    def greedy_ids(self, prompt):
        command = self.command("generate") + ["--ids", ",".join(map(str, prompt)), "--max-new-tokens",
                                              str(self.options.decode), "--ignore-eos", "--json"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        return json.loads(done.stdout)["ids"]

    def close(self):
        pass


class Rival:
    """A worker process that holds its model; it is idle except in its turn."""

    def __init__(self, name, options, script, *arguments):
        self.name, self.options = name, options
        environment = dict(os.environ, OMP_NUM_THREADS=str(options.threads), TRANSFORMERS_VERBOSITY="error",
                           HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
        python = openvino_python(options) if script == "rival_openvino.py" else sys.executable
        self.environment = environment
        self.command = [python, os.path.join(HERE, script), *arguments, "--threads", str(options.threads)]
        self.process = None

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment,
                                        text=True)
        self.engine = self.answer()["engine"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the worker ended with code {self.process.wait()}")
        return json.loads(line)

    def measure(self):
        o = self.options
        print(json.dumps({"prefill": o.prefill, "prompt": o.prompt, "decode": o.decode}), file=self.process.stdin, flush=True)
        return self.answer()

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def installed(module):
    return importlib.util.find_spec(module) is not None


def openvino_python(o):
    """OpenVINO's exporter needs older packages than transformers has: an environment of its own."""
    return os.path.join(o.cache, "venv-openvino", "bin", "python")


def llama_cpp(o, name, file):
    path = os.path.join(o.cache, file)
    if installed("llama_cpp") and os.path.exists(path):
        yield Rival(name, o, "rival_llama_cpp.py", path)


def openvino(o, folder, *precisions):
    path = os.path.join(o.cache, folder)
    if os.path.exists(openvino_python(o)) and os.path.isdir(path):
        for precision in precisions:
            yield Rival(f"OpenVINO {precision}", o, "rival_openvino.py", path, "--precision", precision)


def smollm2(o):
    """SmolLM2-135M, the same BF16 values everywhere."""
    folder = os.path.join(o.cache, "smollm2-135m-bf16")
    yield Updraft("updraft bf16", o, [folder])
    yield Updraft("updraft bf16 --exact", o, [folder], "--exact")
    yield Updraft("updraft f32", o, [folder], "--dtype", "f32", "--kv-dtype", "f32")
    yield Rival("transformers bf16", o, "rival_transformers.py", folder, "--dtype", "bfloat16")
    yield Rival("transformers f32", o, "rival_transformers.py", folder, "--dtype", "float32")
    yield from llama_cpp(o, "llama.cpp bf16", "smollm2-135m-bf16.gguf")
    yield from openvino(o, "openvino-smollm2-135m", "bf16", "f32")


def mistral(o):
    """The shape of Mistral-7B with 4 of its 32 layers, random weights as BF16."""
    yield Updraft("updraft bf16", o, ["--synthetic", "mistral-7b:layers=4", "--dtype", "bf16"])
    yield Updraft("updraft bf16 --exact", o, ["--synthetic", "mistral-7b:layers=4", "--dtype", "bf16", "--exact"])
    yield Rival("transformers bf16", o, "rival_transformers.py", "mistral-7b:layers=4", "--dtype", "bfloat16")
    yield from llama_cpp(o, "llama.cpp bf16", "mistral-7b-4-layers.gguf")
    yield from openvino(o, "openvino-mistral-7b-4-layers", "bf16")


def mistral_integers(o, bits):
    """The same shape as integers: from one GGUF file for both, and in Updraft's own packing."""
    gguf_type = {8: "Q8_0", 4: "Q4_0"}[bits]
    file = f"mistral-7b-4-layers.{gguf_type}.gguf"
    if os.path.exists(os.path.join(o.cache, file)):
        yield Updraft(f"updraft {gguf_type}", o, [os.path.join(o.cache, file)])
    yield Updraft(f"updraft int{bits}", o, ["--synthetic", "mistral-7b:layers=4", "--dtype", f"int{bits}"])
    yield from llama_cpp(o, f"llama.cpp {gguf_type}", file)


def mistral_int8(o):
    """The shape of Mistral-7B with 4 of its 32 layers as Q8_0 and as int8 in groups of 128."""
    return mistral_integers(o, 8)


def mistral_int4(o):
    """The shape of Mistral-7B with 4 of its 32 layers as Q4_0 and as int4 in groups of 128."""
    return mistral_integers(o, 4)


def smollm2_q4_1(o):
    """SmolLM2-135M from its Q4_1 file, as the package ships it."""
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    yield Updraft("updraft Q4_1", o, [os.path.join(o.cache, name)])
    yield from llama_cpp(o, "llama.cpp Q4_1", name)


CASES = {"smollm2": smollm2, "smollm2-q4_1": smollm2_q4_1, "mistral": mistral, "mistral-int8": mistral_int8,
         "mistral-int4": mistral_int4}


def processor():
    with open("/proc/cpuinfo") as file:
        fields = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", "").split())
    known = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if f in flags]
    return f"{fields.get('model name', platform.machine())} (family {fields.get('cpu family')}, model " \
           f"{fields.get('model')}; {' '.join(known)})"


def runnable_others():
    """How many other threads want a processor now, as the least of a few looks: they make every figure smaller."""
    looks = []
    for _ in range(5):
        with open("/proc/stat") as file:
            running = next(int(line.split()[1]) for line in file if line.startswith("procs_running"))
        looks.append(running - 1)
        time.sleep(0.05)
    return min(looks)


def run_case(o, name):
    start = time.monotonic()
    engines, samples, others = list(CASES[name](o)), {}, []
    if o.engines:
        engines = [e for e in engines if e.name in o.engines.split(",")]
    both = {"updraft f32", "transformers f32"} <= {e.name for e in engines}
    try:
        for engine in engines:
            engine.start()
        for round_ in range(-1, o.rounds):  # round -1 warms up and is not counted
            others.append(runnable_others())
            for engine in engines:
                sample = engine.measure()
                if round_ >= 0:
                    samples.setdefault(engine.name, []).append(sample)
            print(f"{name}: round {round_ + 1} of {o.rounds}", file=sys.stderr)
            if round_ >= 0 and time.monotonic() - start > o.at_most:
                break
    finally:
        for engine in engines:
            engine.close()
    return {
        "case": name, "about": CASES[name].__doc__, "processor": processor(), "threads": o.threads,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "running_elsewhere": others, "prefill_tokens": o.prefill, "prompt_tokens": o.prompt, "decode_tokens": o.decode, "rounds": len(others) - 1,
        "engines": [{"name": e.name, "engine": e.engine, "samples": samples[e.name]} for e in engines],
        **({"same_greedy_tokens": agreement(o, engines, samples)} if name == "smollm2" and both else {}),
    }


def agreement(o, engines, samples):
    """How many greedy tokens of ours equal those of transformers in F32 before the first other one: same weights."""
    import worker

    ours = next(e for e in engines if e.name == "updraft f32")
    theirs = samples["transformers f32"][0]["ids"]
    with open(os.path.join(ours.model[0], "config.json")) as file:
        made = ours.greedy_ids(worker.prompt_ids(o.prompt, json.load(file)["vocab_size"]))
    same = next((i for i, (a, b) in enumerate(zip(made, theirs)) if a != b), min(len(made), len(theirs)))
    return {"same": same, "of": o.decode}


def rates(result, engine, what):
    return [result[f"{what}_tokens"] / sample[f"{what}_s"] for sample in engine["samples"]]


def table(result):
    rivals = [e for e in result["engines"] if not e["name"].startswith("updraft")]
    ours = [e for e in result["engines"] if e["name"].startswith("updraft")]
    medians = {(e["name"], what): statistics.median(rates(result, e, what)) for e in result["engines"]
               for what in ("prefill", "decode")}
    lines = [f"**{result['about']}** {result['threads']} threads, prefill of {result['prefill_tokens']} tokens, "
             f"{result['decode_tokens']} tokens decoded after {result['prompt_tokens']}, medians of {result['rounds']} "
             f"interleaved rounds, {result['processor']}, {result['date'][:10]}.", "",
             "| engine | prefill, tokens/s (lowest to highest) | decode, tokens/s (lowest to highest) | what ran |",
             "|---|---|---|---|"]
    for e in result["engines"]:
        cells = [e["name"]]
        for what in ("prefill", "decode"):
            all_rates = rates(result, e, what)
            cells.append(f"{medians[e['name'], what]:.1f} ({min(all_rates):.1f} to {max(all_rates):.1f})")
        lines.append("| " + " | ".join(cells + [e["engine"]]) + " |")
    if busy := sum(count > 0 for count in result["running_elsewhere"]):
        lines += ["", f"**Not a quiet machine:** other programs ran at the beginning of {busy} of "
                      f"{len(result['running_elsewhere'])} rounds; take the ratios with care."]
    lines += ["", "| ratio | prefill | decode |", "|---|---|---|"]
    transformers = [r for r in rivals if r["name"].startswith("transformers")]
    for e in ours:
        def ratio(what, others):
            return f"{medians[e['name'], what] / max(medians[r['name'], what] for r in others):.2f}"
        if len(transformers) > 1:
            lines.append(f"| {e['name']} / the faster of transformers | {ratio('prefill', transformers)} | "
                         f"{ratio('decode', transformers)} |")
        for r in rivals:
            lines.append(f"| {e['name']} / {r['name']} | {ratio('prefill', [r])} | {ratio('decode', [r])} |")
    if "same_greedy_tokens" in result:
        same = result["same_greedy_tokens"]
        lines += ["", f"Greedy tokens equal between updraft f32 and transformers f32: {same['same']} of {same['of']}."]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--root", required=True)
    parser.add_argument("--updraft", help="the program (default: build/release/updraft)")
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    parser.add_argument("--engines", metavar="NAME,NAME", help="only these, named as in the table (default: all there are)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-most", type=float, default=float("inf"), metavar="SECONDS",
                        help="of one case: no further round after that, though --rounds asks for more")
    parser.add_argument("--prefill", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--decode", type=int, default=64)
    parser.add_argument("--output", help="where the samples go (default: results-CASE.json in the cache)")
    options = parser.parse_args()
    options.updraft = options.updraft or os.path.join(options.root, "build", "release", "updraft")
    if not os.access(options.updraft, os.X_OK):
        sys.exit(f"{options.updraft} is not there: build it (cmake --preset release && ninja -C build/release updraft) "
                 "or name another with --updraft")
    if options.prompt > options.prefill:
        sys.exit("--prompt is the beginning of the prompt of --prefill and cannot be longer")
    for name in CASES if options.case == "all" else [options.case]:
        result = run_case(options, name)
        path = options.output or os.path.join(options.cache, f"results-{name}.json")
        with open(path, "w") as file:
            json.dump(result, file, indent=1)
        print(table(result) + "\n")
        print(f"samples: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
