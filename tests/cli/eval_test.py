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
                (["--text", BOOK, "--context", 1], ["--context 1"]),
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
                (["--text", BOOK, "--dtype", "int3"], "--dtype: int3"),
                (["--text", BOOK, "--reference-dtype", "int3"], "--reference-dtype: int3"),
                (["--text", BOOK, "--reference", self.model, "--no-reference"], "--reference excludes --no-reference"),
                (["--text", BOOK, "--reference-dtype", "bf16", "--no-reference"], "--reference-dtype")):
            with self.subTest(arguments):
                done = run("eval", self.model, *arguments)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(words, done.stderr + done.stdout)

    def test_a_state_may_lie_in_the_models_folder(self):
        state = self.model / "eval.json"
        arguments = ["eval", self.model, "--no-reference", "--text", BOOK, "--max-tokens", 300, "--context", 100,
                     "--json", "--resume", state]
        first = run_ok(*arguments).stdout
        (self.model / "README.md").write_text("A note.")
        self.assertEqual(run_ok(*arguments).stdout, first)
        state.unlink()


if __name__ == "__main__":
    support.main()
