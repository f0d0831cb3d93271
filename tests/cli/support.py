"""What the program's tests share: running it, reading goldens, and a small model folder with tokenizer and template.

Standard library only. The program is the first argument of each script; CTest gives it.
"""
import array
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77  # CTest's SKIP_RETURN_CODE
TIMEOUT_S = 600
PROGRAM = ""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][0-9A-Za-z]?")

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


class Terminal:
    """The program on a pseudo-terminal of its own."""

    def __init__(self, *arguments, environment=None):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            extra = {"TERM": "xterm", "LANG": "C.UTF-8", **(environment or {})}
            os.execve(PROGRAM, [PROGRAM, *map(str, arguments)], clean_environment(extra))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.data = b""

    @property
    def text(self):
        return ESCAPES.sub("", self.data.decode("utf-8", "replace"))

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError as error:
            if error.errno != errno.EIO:  # the other side is closed
                raise
            got = b""
        self.data += got
        return bool(got)

    def edits(self):
        """libedit shows the prompt first and takes the terminal over then: a Ctrl-D in between would be lost."""
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def wait_for(self, pattern, seconds=600):
        """The match, in what came since the last `type`. So patient because of the sanitizers of ./check --all."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            match = re.search(pattern, self.text, re.S)
            if match and (self.edits() or not pattern.endswith(("> ", "> $"))):
                return match
            self.read(0.2 if not match else 0.01)
        raise AssertionError(f"{pattern!r} did not come; the terminal shows:\n{self.text[-3000:]}")

    def type(self, keys):
        self.data = b""
        os.write(self.master, keys.encode() if isinstance(keys, str) else keys)

    def end(self, seconds=120):
        """The exit code, after reading to the end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.1)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"the program goes on; the terminal shows:\n{self.text[-3000:]}")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


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
