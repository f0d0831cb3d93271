#!/usr/bin/env python3
"""`updraft eval` from outside: numbers, resuming after Ctrl-C, and one sentence for what is wrong."""
import json
import math
import signal
import subprocess
import time
import unittest

import support
from support import run, run_ok

BOOK = support.SOURCE / "tests" / "golden" / "texts" / "the_time_machine.txt"


class Eval(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.context = support.temporary_folder()
        cls.folder = cls.context.__enter__()
        cls.addClassCleanup(cls.context.__exit__, None, None, None)
        cls.model = support.make_chat_model(cls.folder)

    def test_random_weights_know_nothing(self):
        flags = ["--text", BOOK, "--max-tokens", 700, "--context", 100, "--json"]
        report = json.loads(run_ok("eval", self.model, "--dtype", "bf16", *flags).stdout)
        self.assertEqual((report["windows"], report["scored_tokens"]), (7, 693))
        self.assertGreater(report["model"]["perplexity"], 300)  # of 1800 tokens
        for side in ("model", "reference"):
            facts = report[side]
            bits = facts["nll"] * report["scored_tokens"] / math.log(2) / report["scored_bytes"]
            self.assertAlmostEqual(facts["bits_per_byte"], bits, 9)
            self.assertAlmostEqual(facts["perplexity"], math.exp(facts["nll"]), 6)
        against = report["against_reference"]
        self.assertTrue(0 < against["kl_divergence_mean"] < 1e-3, against)
        self.assertTrue(against["kl_divergence_mean"] < against["kl_divergence_p99"] <= against["kl_divergence_max"])
        self.assertGreater(against["top1_agreement"], 0.9)
        alone = json.loads(run_ok("eval", self.model, "--dtype", "bf16", "--no-reference", *flags).stdout)
        self.assertEqual(alone["model"], report["model"])
        self.assertIsNone(alone["reference"])
        text = run_ok("eval", self.model, "--dtype", "bf16", *flags[:-1]).stdout
        self.assertIn(f"{report['model']['perplexity']:.4f}", text)

    def test_interrupted_it_goes_on(self):
        state = self.folder / "state.json"
        arguments = ["eval", self.model, "--dtype", "bf16", "--text", BOOK, "--max-tokens", 20000, "--context", 200,
                     "--json"]
        whole = json.loads(run_ok(*arguments).stdout)
        process = subprocess.Popen([support.PROGRAM, *map(str, arguments), "--resume", str(state)],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.clean_environment())
        end = time.monotonic() + 60
        while not state.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)
        stopped = json.loads(out)
        if process.returncode == 130:  # else it was faster than we are
            self.assertIn(str(state), error.decode())
            self.assertLess(stopped["windows_done"], whole["windows"])
            self.assertEqual(json.loads(state.read_text())["windows_done"], stopped["windows_done"])
        self.assertEqual(json.loads(run_ok(*arguments, "--resume", state).stdout), whole)

    def test_interrupted_in_the_middle_of_a_window(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, hidden=128, layers=32)
            code, out, error = support.interrupt("eval", model, "--device", "reference", "--no-reference", "--text", BOOK,
                                                 "--max-tokens", 600, "--context", 600, after="loaded in")
        self.assertEqual(code, 130, error)
        self.assertIn("interrupted after 0 of 1 windows", error)
        self.assertEqual(out, "")

    def test_what_is_wrong_is_said(self):
        empty = self.folder / "empty.txt"
        empty.write_bytes(b"")
        latin = self.folder / "latin.txt"
        latin.write_bytes(b"caf\xe9 " * 10)
        wrong_state = self.folder / "wrong.json"
        wrong_state.write_text("[]")
        for arguments, words in (
                (["--text", self.folder / "absent.txt"], ["absent.txt"]),
                (["--text", empty], ["empty.txt", "too few tokens"]),
                (["--text", latin], ["latin.txt", "UTF-8"]),
                (["--text", BOOK, "--resume", wrong_state, "--max-tokens", 50], ["wrong.json"]),
                (["--text", "/dev/null"], ["/dev/null: not a regular file, which it has to be"]),
                (["--text", BOOK, "--resume", "/no/such/folder/x.json"], ["/no/such/folder/x.json", "No such file"]),
                (["--text", BOOK, "--resume", self.folder], ["it is a folder"]),
                (["--text", BOOK, "--reference", self.folder / "nowhere"],
                 ["nowhere: there is no such folder or file."])):
            with self.subTest(arguments):
                done = run("eval", self.model, *arguments)
                self.assertEqual(done.returncode, 1, done.stderr)
                for word in words:
                    self.assertIn(word, done.stderr)
                if "--resume" in arguments and wrong_state not in arguments:
                    self.assertNotIn("loaded in", done.stderr)
        self.assertIn("nope: there is no such folder or file.", run("eval", "nope", "--text", BOOK).stderr)

    def test_wrong_usage(self):
        for arguments, words in (
                ([], "--text"),
                (["--text", BOOK, "--context", 2, "--stride", 5], "--stride 5"),
                (["--text", BOOK, "--stride", 1000], "--stride 1000"),
                (["--text", BOOK, "--context", 1], "--context 1: a window needs at least 2 tokens of text; give 2 or more"),
                (["--text", BOOK, "--dtype", "int3"], "--dtype: int3"),
                *((["--text", BOOK, "--reference-dtype", dtype],
                   f"--reference-dtype: {dtype}: a reference has one of auto, f32, f16, bf16")
                  for dtype in ("int3", "int8", "int4-g32-asym")),
                (["--text", BOOK, "--reference", self.model, "--no-reference"], "--reference excludes --no-reference"),
                (["--text", BOOK, "--reference-dtype", "bf16", "--no-reference"], "--reference-dtype")):
            with self.subTest(arguments):
                done = run("eval", self.model, *arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr + done.stdout)

    def test_bounds_of_numbers_can_be_read(self):
        for flag in ("--stride", "--max-tokens"):
            done = run("eval", self.model, "--text", BOOK, flag, 0)
            self.assertEqual(done.returncode, 2, done.stderr)
            # CLI11's versions differ in what stands around the bounds.
            self.assertRegex(done.stderr, flag + r": Value 0 not in range \[?1 (-|to) 268435456\]?\n")

    def test_a_model_whose_windows_begin_with_bos(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            tokenizer = json.loads((model / "tokenizer.json").read_text())
            bos = {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}
            text = [{"Sequence": {"id": name, "type_id": 0}} for name in "AB"]
            tokenizer["post_processor"] = {
                "type": "TemplateProcessing", "single": [bos, text[0]], "pair": [bos, *text],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}}
            (model / "tokenizer.json").write_text(json.dumps(tokenizer))
            flags = ["eval", model, "--no-reference", "--text", BOOK, "--max-tokens", 200, "--json"]
            side_by_side = json.loads(run_ok(*flags, "--context", 64).stdout)
            self.assertEqual((side_by_side["stride"], side_by_side["scored_tokens"]), (63, 200))
            for stride in (63, 64):
                self.assertEqual(json.loads(run_ok(*flags, "--context", 64, "--stride", stride).stdout), side_by_side)
            for wrong in (["--context", 64, "--stride", 65], ["--context", 2]):
                self.assertEqual(run(*flags, *wrong).returncode, 2)
            self.assertIn("--context 2: a window needs at least 2 tokens of text after this model's BOS; give 3 or more",
                          run(*flags, "--context", 2).stderr)

    def test_a_state_may_lie_in_the_models_folder(self):
        state = self.model / "eval.json"
        arguments = ["eval", self.model, "--no-reference", "--text", BOOK, "--max-tokens", 300, "--context", 100,
                     "--json", "--resume", state]
        first = run_ok(*arguments).stdout
        (self.model / "README.md").write_text("A note.")
        self.assertEqual(run_ok(*arguments).stdout, first)
        state.unlink()

    def test_a_damaged_state_is_refused(self):
        state = self.folder / "damaged.json"
        arguments = ["eval", self.model, "--no-reference", "--text", BOOK, "--max-tokens", 300, "--context", 100,
                     "--resume", state]
        run_ok(*arguments)
        good = json.loads(state.read_text())
        for wrong in (-1, 10**9, 1e300, good["windows_done"] - 1):
            state.write_text(json.dumps({**good, "windows_done": wrong}))
            done = run(*arguments)
            self.assertEqual(done.returncode, 1, wrong)
            self.assertIn(f"{state}: is damaged: ", done.stderr)


if __name__ == "__main__":
    support.main()
