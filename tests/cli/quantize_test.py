#!/usr/bin/env python3
"""`updraft quantize` from outside: what it writes opens, eval says what it costs, calibration costs less."""
import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

import support
from support import run, run_ok

TEXTS = support.SOURCE / "tests" / "golden" / "texts"


class Quantize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        context = support.temporary_folder()
        cls.folder = context.__enter__()
        cls.addClassCleanup(context.__exit__, None, None, None)
        cls.model = support.make_chat_model(cls.folder, hidden=128)

    def quantized(self, name, *flags):
        out = self.folder / name
        done = run_ok("quantize", self.model, out, *flags)
        self.assertIn("groups of 128 (256 inputs)", done.stderr)
        self.assertTrue((out / "tokenizer.json").exists())
        config = json.loads((out / "config.json").read_text())["quantization_config"]
        self.assertEqual((config["quant_method"], config["format"]), ("compressed-tensors", "pack-quantized"))
        return out

    def divergence(self, model):
        report = json.loads(run_ok("eval", model, "--reference", self.model, "--text", TEXTS / "the_time_machine.txt",
                                   "--dtype", "f32", "--kv-dtype", "f32", "--max-tokens", 600, "--context", 200,
                                   "--json").stdout)
        return report["against_reference"]["kl_divergence_mean"]

    def test_fewer_bits_cost_more_and_calibration_costs_less(self):
        int8 = self.divergence(self.quantized("int8", "--int8"))
        int4 = self.divergence(self.quantized("int4", "--int4"))
        text = TEXTS / "alice_chapters_1_to_5.txt"
        calibrated = self.divergence(self.quantized("calibrated", "--int4", "--calibrate", text,
                                                    "--calibrate-tokens", 2048))
        asymmetric = self.divergence(self.quantized("asymmetric", "--int4", "--asymmetric"))
        self.assertTrue(0 < int8 < int4 / 20, (int8, int4))
        self.assertLess(calibrated, 0.9 * int4)
        self.assertLess(asymmetric, 1.5 * int4)

    def test_it_says_what_transformers_does_not_open(self):
        """Matrices of 128 and 256 inputs: a row and a group of 128, two sizes. What is said was tried with
        tools/quantized_golden.py."""
        cases = ((("--int4",), "its dequantize=True wants one size of group: --group-size 64 gives one"),
                 (("--int8", "--asymmetric"), "does not open this: zero points"),
                 (("--int4", "--asymmetric", "--group-size", "64"), "dequantize=True) only"),
                 (("--int4", "--group-size", "64"), None))
        for i, (flags, said) in enumerate(cases):
            with self.subTest(flags):
                done = run_ok("quantize", self.model, self.folder / f"said{i}", *flags)
                groups = json.loads((self.folder / f"said{i}" / "config.json").read_text())[
                    "quantization_config"]["config_groups"]
                self.assertEqual(len(groups), 1 if "64" in flags else 2)
                self.assertEqual("transformers" in done.stderr, said is not None, done.stderr)
                self.assertIn(said or "", done.stderr)

    def test_a_gguf_files_vocabulary_and_template_come_along(self):
        for name, known in (("llama", True), ("llama3", False)):  # llama3's merges name a token that it does not have
            gguf, out = support.SOURCE / "tests" / "golden" / "gguf" / f"{name}.gguf", self.folder / name
            done = run_ok("quantize", gguf, out, "--int8")
            self.assertEqual((out / "tokenizer.json").exists(), known)
            self.assertEqual("copy the model's tokenizer.json" in done.stderr, not known, done.stderr)
            self.assertTrue((out / "config.json").exists())
            if not known:
                continue
            lines = [{"ids": [i]} for i in range(32)] + [{"text": "</s> abc", "special": True}]
            self.assertEqual(support.answers("tokenize", out, "--jsonl", lines=lines),
                             support.answers("tokenize", gguf, "--jsonl", lines=lines))
            chat = [{"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": True}]
            self.assertEqual(support.answers("template", out, "--jsonl", lines=chat),
                             support.answers("template", gguf, "--jsonl", lines=chat))

    def test_templates_come_along(self):
        tools = self.model / "additional_chat_templates" / "tool_use.jinja"
        tools.parent.mkdir()
        tools.write_text("{{ tools }}")
        self.addCleanup(shutil.rmtree, tools.parent)
        run_ok("quantize", self.model, self.folder / "templates", "--int8")
        copied = self.folder / "templates" / "additional_chat_templates" / "tool_use.jinja"
        self.assertEqual(copied.read_text(), "{{ tools }}")
        for kept in ("tokenizer.json", "tokenizer_config.json"):
            self.assertEqual((self.folder / "templates" / kept).read_bytes(), (self.model / kept).read_bytes())

    def test_memory_is_counted_as_the_integers_that_are_there(self):
        plan = json.loads(run_ok("inspect", self.quantized("plan", "--int4"), "--json").stdout)["memory"]["packings"]
        self.assertTrue(plan["auto"]["natural"])
        plain = json.loads(run_ok("inspect", self.model, "--json").stdout)["memory"]["packings"]
        self.assertLess(plan["auto"]["bytes_per_decoded_token"], 0.6 * plain["f32"]["bytes_per_decoded_token"])

    def test_exact_means_no_rounded_activations(self):
        arguments = ("--ids", "1,2,3", "--max-new-tokens", 1)
        folder = self.quantized("exact", "--int8")
        self.assertIn("activations int8", run_ok("generate", folder, *arguments).stderr)
        self.assertIn("activations f32", run_ok("generate", folder, *arguments, "--exact").stderr)

    def test_killed_it_leaves_nothing_that_looks_complete(self):
        out, partial = self.folder / "killed", self.folder / "killed.partial"
        large = support.make_chat_model(self.folder / "large", hidden=512, layers=8)
        process = subprocess.Popen([support.PROGRAM, "quantize", str(large), str(out), "--int4"], stderr=subprocess.PIPE,
                                   env=support.clean_environment())
        end = time.monotonic() + 60
        while not any(partial.glob("*.safetensors")) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        process.kill()
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, -signal.SIGKILL, "it was faster than we are")
        self.assertFalse(out.exists())
        self.assertFalse((partial / "config.json").exists())
        run_ok("quantize", large, out, "--int4")
        self.assertTrue((out / "config.json").exists())
        self.assertFalse(partial.exists())

    def test_interrupted_it_ends_at_once_and_leaves_nothing(self):
        out = self.folder / "interrupted"
        wide = support.make_chat_model(self.folder / "wide", hidden=1024, layers=8)
        process = subprocess.Popen([support.PROGRAM, "quantize", str(wide), str(out), "--int4", "--calibrate",
                                    str(TEXTS / "the_time_machine.txt")], stderr=subprocess.PIPE, text=True,
                                   env=support.clean_environment())
        while not any((self.folder / "interrupted.partial").glob("*.safetensors")):
            self.assertIsNone(process.poll(), "it was faster than we are")
            time.sleep(0.01)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertIn("interrupted", process.communicate(timeout=60)[1])
        self.assertEqual(process.returncode, 130)
        self.assertFalse(out.exists() or (self.folder / "interrupted.partial").exists())

    def test_it_takes_the_threads_that_it_is_given(self):
        for i, flags in enumerate(((), ("--calibrate", str(TEXTS / "the_time_machine.txt")))):
            process = subprocess.Popen([support.PROGRAM, "quantize", str(self.model), str(self.folder / f"threads{i}"),
                                        "--int4", "--threads", "1", *flags], stderr=subprocess.DEVNULL,
                                       env=support.clean_environment())
            tasks, most = f"/proc/{process.pid}/task", 0
            while process.poll() is None:
                with contextlib.suppress(OSError):
                    most = max(most, len(os.listdir(tasks)))
            self.assertEqual((process.returncode, most), (0, 1), flags)

    def test_it_says_when_it_rounds_again(self):
        said = "the model is quantized already (packed): its matrices are dequantized and rounded again"
        once, twice = self.folder / "once", self.folder / "twice"
        self.assertNotIn("again", run_ok("quantize", self.model, once, "--int8").stderr)
        self.assertIn(said, run_ok("quantize", once, twice, "--int4").stderr)

    def test_a_file_over_the_users_limit_is_said(self):
        out = self.folder / "limited"
        done = subprocess.run(["sh", "-c", 'ulimit -f 100; exec "$0" "$@"', support.PROGRAM, "quantize",
                               str(self.model), str(out), "--int8"], capture_output=True, text=True,
                              env=support.clean_environment())
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"{out}.partial/model.safetensors: writing failed: File too large; allow larger files", done.stderr)
        self.assertFalse((self.folder / "limited.partial").exists())

    def test_a_place_that_cannot_be_replaced_is_refused_first(self):
        link = self.folder / "link"
        link.symlink_to("nowhere")
        done = run("quantize", self.model, link, "--int4")
        self.assertEqual(done.returncode, 1)
        self.assertIn("link to nowhere, which does not exist", done.stderr)
        (self.folder / "nowhere").mkdir()
        run_ok("quantize", self.model, link, "--int4")
        self.assertTrue((self.folder / "nowhere" / "config.json").exists())

    def test_what_is_wrong_is_said(self):
        self.assertEqual(run("quantize", self.model, self.folder / "x", "--int4", "--device", "foo").returncode, 2)
        self.assertEqual(run("quantize", self.model, self.folder / "x").returncode, 2)
        self.assertEqual(run("quantize", self.model, self.folder / "x", "--int4", "--int8").returncode, 2)
        self.assertEqual(run("quantize", self.model, self.folder / "x", "--int4", "--group-size", "48").returncode, 2)
        done = run("quantize", self.model, self.model, "--int4")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not an empty folder", done.stderr)
        short = self.folder / "short.txt"
        short.write_text("A few words.")
        done = run("quantize", self.model, self.folder / "y", "--int4", "--calibrate", short)
        self.assertEqual(done.returncode, 1)
        self.assertIn("too few", done.stderr)
        self.assertFalse((self.folder / "y").exists())


if __name__ == "__main__":
    support.main()
