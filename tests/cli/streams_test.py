#!/usr/bin/env python3
"""Standard streams that are closed, full or a folder, and signals: the work goes on, and what is lost is said."""
import os
import pathlib
import signal
import subprocess
import time
import unittest

import support
from support import Terminal, find_golden, read_npy

TINY = "tiny/mistral-bf16"


def shell(redirections, *arguments):
    """The program with the redirections that a shell makes of this text."""
    command = ["sh", "-c", 'exec "$0" "$@" ' + redirections, support.PROGRAM, *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=support.clean_environment(), text=True,
                          timeout=support.TIMEOUT_S, check=False)


class StandardStreams(unittest.TestCase):
    def test_an_error_stream_that_takes_nothing(self):
        model = find_golden(TINY)
        generate = ["generate", model, "--ids", "1,2", "--max-new-tokens", 3, "--ignore-eos"]
        for redirection in ("2>/dev/full", "2>&-"):
            with self.subTest(redirection):
                self.assertEqual(shell(redirection, *generate).returncode, 0)
                self.assertEqual(shell(redirection, "generate", "/no/such/model", "--ids", "1").returncode, 1)
                self.assertEqual(shell(redirection, "generate", model, "--ids", "1", "--no-such-flag").returncode, 2)
        self.assertEqual(shell(">/dev/full 2>&1", *generate).returncode, 1)
        self.assertEqual(shell("2>&-", "bench", model, "--no-tasks", "--prompt", 8, "--batch", 1, "--sweep-tokens", 2,
                               "--sweep-samples", 2).returncode, 0)

    def test_closed_streams_are_not_the_next_file(self):
        with support.temporary_folder() as folder:
            logits = ["logits", find_golden(TINY), "--ids", "1,2,3", "--output", folder / "x.npy"]
            for redirection, code in (("2>&-", 0), ("<&-", 0), (">&-", 1), ("<&- >&- 2>&-", 1)):
                with self.subTest(redirection):
                    done = shell(redirection, *logits)
                    self.assertEqual(done.returncode, code, done.stderr)
                    self.assertEqual(read_npy(folder / "x.npy")[0], (3, 257))
                    if code and "2" not in redirection:
                        self.assertIn("standard output cannot be written: Bad file descriptor", done.stderr)
            model = support.make_chat_model(folder / "chat")
            done = shell("<&-", "chat", model, "--no-history", "--max-new-tokens", 2)
            self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def test_an_input_that_cannot_be_read(self):
        tokenizer = find_golden("tokenizers/smollm/tokenizer.json")
        for redirection, reason in (("</", "Is a directory"), ("<&-", "Bad file descriptor")):
            for command in (["tokenize", tokenizer, "-"], ["generate", find_golden(TINY), "-"]):
                with self.subTest(redirection):
                    done = shell(redirection, *command)
                    self.assertEqual(done.returncode, 1, done.stdout)
                    self.assertIn(f"standard input cannot be read: {reason}", done.stderr)

    def test_the_closing_line_comes_after_the_answer(self):
        done = shell("2>&1", "generate", find_golden(TINY), "--ids", "1,2", "--max-new-tokens", 3, "--ignore-eos")
        self.assertRegex(done.stdout, r"\n\[2 \+ 3 tokens, [^\n]*\]\n$")

    def test_a_dumb_terminal_is_not_drawn_over(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, hidden=128, layers=32)
            slow = ["generate", model, "word " * 350, "--device", "reference", "--max-new-tokens", 1, "--ignore-eos"]
            for kind, drawn in (("xterm", True), ("dumb", False)):
                terminal = Terminal(*slow, environment={"TERM": kind})
                self.addCleanup(terminal.close)
                self.assertEqual(terminal.end(support.TIMEOUT_S), 0)
                self.assertEqual("reading the prompt" in terminal.text, drawn)
                self.assertEqual(b"\x1b[K" in terminal.data, drawn)


class Termination(unittest.TestCase):
    """SIGTERM ends a conversation wherever it is, and what was typed is kept."""

    @classmethod
    def setUpClass(cls):
        cls.context = support.temporary_folder()
        cls.folder = cls.context.__enter__()
        cls.model = support.make_chat_model(cls.folder, max_context=100_000)

    @classmethod
    def tearDownClass(cls):
        cls.context.__exit__(None, None, None)

    def terminal(self, cache):
        terminal = Terminal("chat", self.model, "--max-new-tokens", 90_000, "--ignore-eos", environment={"UPDRAFT_CACHE": str(cache)})
        self.addCleanup(terminal.close)
        terminal.wait_for("Ctrl-D leaves.*> ")
        return terminal

    def ended(self, terminal, cache, typed):
        started = time.monotonic()
        os.kill(terminal.pid, signal.SIGTERM)
        self.assertEqual(terminal.end(), 130)
        self.assertLess(time.monotonic() - started, 10)
        self.assertIn(typed, (cache / "chat_history").read_text())

    def test_at_the_prompt(self):
        cache = self.folder / "prompt"
        terminal = self.terminal(cache)
        terminal.type("/stats\r")
        terminal.wait_for("tokens of prompt.*> ")
        terminal.type("half a line")
        terminal.wait_for("half a line")
        self.ended(terminal, cache, "/stats")

    def test_in_an_answer(self):
        cache = self.folder / "answer"
        terminal = self.terminal(cache)
        terminal.type("go on\r")
        terminal.wait_for("go on\r\n.{5,}")
        self.ended(terminal, cache, "go\\040on")

    def test_over_a_pipe(self):
        process = subprocess.Popen([support.PROGRAM, "chat", str(self.model), "--max-new-tokens", "2", "--no-history"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   env=support.clean_environment())
        try:
            process.stdin.write(b"hi\n")
            process.stdin.flush()
            self.assertTrue(os.read(process.stdout.fileno(), 1))
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 130)
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    support.main()
