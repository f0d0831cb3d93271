"""What the program's tests share: running it, reading goldens, and a small model folder with tokenizer and template.

Standard library only. The program is the first argument of each script; CTest gives it.
"""
import array
import contextlib
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # CTest's SKIP_RETURN_CODE
TIMEOUT_S = 600
PROGRAM = ""

CHAT_TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
                 "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def goldens_folder():
    named = os.environ.get("UPDRAFT_GOLDENS")
    if named:
        return pathlib.Path(named)
    shared = SOURCE.parent / "shared" / "models"
    return shared if shared.exists() else SOURCE / "tests" / "golden"


def find_golden(name):
    for folder in (goldens_folder(), SOURCE / "tests" / "golden"):
        if (folder / name).exists():
            return folder / name
    return None


def clean_environment(extra=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("UPDRAFT_", "LC_", "OPENAI_"))}
    environment.update({"LANG": "C.UTF-8", "NO_COLOR": "1"}, **(extra or {}))
    return environment


def run(*arguments, input=None, environment=None, timeout=TIMEOUT_S):
    """The finished process; standard output and error as text."""
    data = input.encode() if isinstance(input, str) else input
    done = subprocess.run([PROGRAM, *map(str, arguments)], input=data or b"", capture_output=True, timeout=timeout,
                          env=clean_environment(environment))
    done.stdout = done.stdout.decode("utf-8", "replace")
    done.stderr = done.stderr.decode("utf-8", "replace")
    return done


def run_ok(*arguments, **options):
    done = run(*arguments, **options)
    if done.returncode != 0:
        raise AssertionError(f"updraft {' '.join(map(str, arguments))}\nexit code {done.returncode}\n{done.stderr}")
    return done


def json_lines(text):
    """Objects of a JSON lines text. Only \\n separates lines: U+2028 and its like may stand inside a string."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def answers(*arguments, lines):
    """The answers of a --jsonl command, one for each line (an object, or text that is sent as it is)."""
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    got = json_lines(run_ok(*arguments, input=text).stdout)
    if len(got) != len(lines):
        raise AssertionError(f"{len(lines)} lines in, {len(got)} out")
    return got


def read_safetensors(path):
    data = pathlib.Path(path).read_bytes()
    size = struct.unpack_from("<Q", data)[0]
    tensors = {}
    for name, info in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        values = array.array({"I64": "q", "F32": "f", "F64": "d"}[info["dtype"]])
        values.frombytes(data[8 + size + begin:8 + size + end])
        tensors[name] = values
    return tensors


def read_npy(path):
    """(shape, values) of a float32 .npy file."""
    data = pathlib.Path(path).read_bytes()
    if data[:6] != b"\x93NUMPY" or data[6] != 1:
        raise AssertionError(f"{path}: no .npy file of version 1")
    size = struct.unpack_from("<H", data, 8)[0]
    header = eval(data[10:10 + size].decode("latin-1"), {"__builtins__": {}})  # a Python literal, by the format
    if header["descr"] != "<f4" or header["fortran_order"]:
        raise AssertionError(f"{path}: {header}")
    values = array.array("f")
    values.frombytes(data[10 + size:])
    return header["shape"], values


@contextlib.contextmanager
def temporary_folder():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="updraft_cli_"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def interrupt(*arguments, after, seconds=0.5):
    """Runs the program, sends it Ctrl-C `seconds` after it has written `after` on standard error: its exit code, what came
    on standard output, and the rest of standard error."""
    process = subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=clean_environment(), text=True)
    said = ""
    while after not in said:
        character = process.stderr.read(1)
        if not character:
            raise AssertionError(f"{after!r} did not come: {said}")
        said += character
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    return process.returncode, out, error


def make_chat_model(folder, max_context=2048, hidden=64, layers=2):
    """A model folder with random weights, the SmolLM-shaped golden tokenizer and a small chat template."""
    tokenizer = find_golden("tokenizers/smollm/tokenizer.json")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": 2 * hidden, "num_attention_heads": 4, "num_key_value_heads": 2,
        "num_hidden_layers": layers, "vocab_size": 1800, "max_position_embeddings": max_context,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": False,
        "bos_token_id": 0, "eos_token_id": 2, "torch_dtype": "float32",
    }
    source = folder / "source"
    source.mkdir(parents=True)
    (source / "config.json").write_text(json.dumps(config))
    model = folder / "model"
    run_ok("logits", "--synthetic", source / "config.json", "--write", model, "--dtype", "f32", "--ids", "1,2",
           "--output", folder / "unused.npy")
    shutil.copy(tokenizer, model / "tokenizer.json")
    os.chmod(model / "tokenizer.json", 0o644)
    (model / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "chat_template": CHAT_TEMPLATE}))
    return model


def main():
    """unittest on the program named first; the exit code is 77 when every test was skipped."""
    global PROGRAM
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: {sys.argv[0]} PROGRAM [unittest options]")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    program = unittest.main(module="__main__", exit=False, verbosity=2)
    result = program.result
    for test, reason in result.skipped:
        print(f"SKIPPED {test}: {reason}")
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIPPED if result.testsRun and len(result.skipped) == result.testsRun else 0)
