#!/usr/bin/env python3
"""`updraft chat` through a pipe and through a pseudo-terminal: wide characters, Ctrl-C, Ctrl-D, what a turn keeps."""
import re
import shutil
import time
import unittest

import support
from support import Terminal, answers, run, run_ok

STATISTICS = re.compile(r"(\d+) tokens of prompt, (\d+) of them kept from before; (\d+) new tokens")


class Chat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.context = support.temporary_folder()
        cls.folder = cls.context.__enter__()
        cls.model = support.make_chat_model(cls.folder, max_context=20_000)
        cls.flags = ["--max-new-tokens", 6, "--ignore-eos"]
        cls.cache = {"UPDRAFT_CACHE": str(cls.folder / "cache")}

    @classmethod
    def tearDownClass(cls):
        cls.context.__exit__(None, None, None)

    def chat(self, text, *more):
        return run("chat", self.model, *self.flags, *more, input=text, environment=self.cache)

    def expected(self, *messages):
        answer, = answers("generate", self.model, "--jsonl", *self.flags, lines=[{"messages": list(messages)}])
        return answer["text"]

    def test_pipe(self):
        done = self.chat("你好\n/stats\nmore\n/stats\n/clear\n你好\n/exit\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        first = self.expected({"role": "user", "content": "你好"})
        self.assertTrue(done.stdout.startswith(first + "\n"), (done.stdout, first))
        second = self.expected({"role": "user", "content": "你好"}, {"role": "assistant", "content": first},
                               {"role": "user", "content": "more"})
        self.assertIn(second + "\n", done.stdout)
        self.assertEqual(done.stdout.count(first + "\n"), 2, "after /clear the first answer comes again")

    def test_system_message(self):
        done = self.chat("hi\n", "--system", "Be brief.")
        self.assertIn(self.expected({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}),
                      done.stdout)
        done = self.chat("/system Be brief.\nhi\n")
        self.assertIn(self.expected({"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}),
                      done.stdout)

    def test_second_turn_computes_only_what_is_new(self):
        long = "word " * 300
        done = self.chat(f"{long}\n/stats\nand now?\n/stats\n")
        (p1, k1, n1), (p2, k2, n2) = [tuple(map(int, m)) for m in STATISTICS.findall(done.stdout)]
        self.assertEqual((k1, n1, n2), (0, 6, 6))
        self.assertGreater(p1, 300)
        # All of turn 1 is kept, but for what its answer becomes when it is text again.
        self.assertGreaterEqual(k2, p1)
        self.assertLessEqual(p2 - k2, n1 + 40)

    def test_a_full_context_names_the_way_out(self):
        done = self.chat("word " * 30 + "\n" + "word " * 3000 + "\n/clear\nhi\n", "--context", 400)
        self.assertIn("/clear", done.stderr)
        self.assertIn("--context", done.stderr)
        self.assertIn(self.expected({"role": "user", "content": "hi"}), done.stdout)

    def test_many_lines_and_settings(self):
        done = self.chat('"""one\ntwo"""\n')
        self.assertIn(self.expected({"role": "user", "content": "one\ntwo"}), done.stdout)
        done = self.chat("one\\\ntwo\n")
        self.assertIn(self.expected({"role": "user", "content": "one\ntwo"}), done.stdout)
        done = self.chat("/set max_new_tokens 2\nhi\n/stats\n/set max_new_tokens -1\n/set nonsense 1\nhi\n/nothing\n")
        self.assertIn("; 2 new tokens", done.stdout)
        self.assertIn("max_new_tokens", done.stderr)
        self.assertIn("nonsense", done.stderr)
        self.assertIn("/retry", done.stdout)  # the help
        self.assertEqual(done.returncode, 0)

    def test_retry(self):
        done = self.chat("/retry\nhi\n/retry\n")
        self.assertIn("nothing to answer", done.stderr)
        self.assertEqual(done.stdout.count(self.expected({"role": "user", "content": "hi"}) + "\n"), 2)

    def test_retry_samples_anew(self):
        sampled = self.chat("hi\n/retry\n/retry\n", "--temperature", 2).stdout.split("\n[length]\n")
        self.assertEqual(len(set(sampled[:3])), 3, sampled)
        same = self.chat("hi\n/retry\n", "--temperature", 2, "--seed", 5).stdout.split("\n[length]\n")
        self.assertEqual(same[0], same[1])

    def test_a_failed_retry_keeps_the_conversation(self):
        hi = {"role": "user", "content": "hi"}
        first = self.expected(hi)
        done = self.chat('hi\n/set logit_bias {"999999": 1}\n/retry\n/set logit_bias null\nmore\n/retry\n')
        self.assertIn("999999", done.stderr)
        second = self.expected(hi, {"role": "assistant", "content": first}, {"role": "user", "content": "more"})
        self.assertEqual(done.stdout.count(second + "\n"), 2, "after the failure the first answer is still there")
        done = self.chat('hi\n/set logit_bias {"999999": 1}\n/retry\n/set logit_bias {}\n/retry\n')
        self.assertEqual(done.stdout.count(first + "\n"), 2)

    def test_settings_of_a_conversation(self):
        done = self.chat("/set ids [1]\n/set prompt x\n/set messages []\n/set system x\n/set logprobs 2\nhi\n")
        for name in ("ids", "prompt", "messages", "system", "logprobs"):
            self.assertIn(f"updraft: {name}: ", done.stderr)
        self.assertIn(self.expected({"role": "user", "content": "hi"}), done.stdout)
        done = self.chat("/set max_new_tokens 2\nhi\n/stats\n/set max_new_tokens null\n/set ignore_eos null\n"
                         '/set logit_bias {"2": 1000}\nhi\n/stats\n')
        self.assertIn("; 2 new tokens", done.stdout)
        self.assertIn("; 1 new tokens", done.stdout)  # the bias makes end-of-sequence certain, which is no longer ignored

    def test_an_end_in_the_middle_of_a_text(self):
        for text, said in (('"""one\ntwo', "one\ntwo"), ("one\\\ntwo\\", "one\ntwo\n")):
            self.assertIn(self.expected({"role": "user", "content": said}) + "\n", self.chat(text).stdout)

    def test_lines_that_end_as_on_windows(self):
        done = self.chat("hi\r\n/exit\r\nmore\r\n")
        self.assertEqual((done.returncode, done.stderr.count("updraft:")), (0, 0))
        self.assertEqual(done.stdout, self.expected({"role": "user", "content": "hi"}) + "\n[length]\n")

    def test_a_refusing_template(self):
        model = self.folder / "refusing"
        shutil.copytree(self.model, model, dirs_exist_ok=True)
        (model / "tokenizer_config.json").write_text(
            '{"chat_template": "{% for m in messages %}{% if \'bad\' in m.content %}'
            '{{ raise_exception(\'not that word\') }}{% endif %}{{ m.content }}{% endfor %}"}')
        done = run("chat", model, *self.flags, input="bad\ngood\n/stats\n", environment=self.cache)
        self.assertIn("not that word", done.stderr)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, STATISTICS)

    def terminal(self, *more, environment=None):
        terminal = Terminal("chat", self.model, *more, environment={**self.cache, **(environment or {})})
        self.addCleanup(terminal.close)
        terminal.wait_for("Ctrl-D leaves.*> ")
        return terminal

    def test_terminal_wide_characters(self):
        for encoding in ({"LANG": "C.UTF-8"}, {"LANG": "C"}):
            with self.subTest(encoding):
                terminal = self.terminal(*self.flags, environment=encoding)
                # 你好吗, one wide character erased, 呀 typed; then left over 呀, 们 inserted: 你好们呀
                terminal.type("你好吗\x7f呀\x1b[D们\r")
                terminal.wait_for(re.escape(self.expected({"role": "user", "content": "你好们呀"})) + ".*> ")
                terminal.type("/stats\r")
                self.assertEqual(terminal.wait_for(STATISTICS.pattern + ".*> ").group(3), "6")
                terminal.type("\x04")
                self.assertEqual(terminal.end(), 0)

    def test_terminal_history(self):
        terminal = self.terminal(*self.flags)
        terminal.type("很好\r")
        expected = re.escape(self.expected({"role": "user", "content": "很好"}))
        terminal.wait_for(expected + ".*> ")
        terminal.type("/exit\r")
        self.assertEqual(terminal.end(), 0)
        terminal = self.terminal(*self.flags)  # the next session
        terminal.type("\x1b[A\x1b[A\r")  # over /exit
        terminal.wait_for(expected + ".*> ")

    def test_ctrl_c_stops_the_answer_not_the_program(self):
        terminal = self.terminal("--max-new-tokens", 15_000, "--ignore-eos")
        terminal.type("go\r")
        terminal.wait_for("go\r\n.{5,}")
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.wait_for(r"\[cancelled\].*> ")
        terminal.type("/stats\r")
        made = int(terminal.wait_for(STATISTICS.pattern + ".*> ").group(3))
        self.assertGreater(made, 0)
        self.assertLess(made, 15_000)
        time.sleep(1.2)
        terminal.type("half a line\x03")  # at the prompt: the line is dropped, the program goes on
        terminal.wait_for("> $")
        terminal.type("/set max_new_tokens 3\r")
        terminal.wait_for("> $")
        terminal.type("/clear\r")
        terminal.wait_for("> $")
        terminal.type("hi\r")
        terminal.wait_for(r"\[length\].*> ")
        terminal.type("/stats\r")
        self.assertEqual(terminal.wait_for(STATISTICS.pattern + ".*> ").group(3), "3")
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)

    def test_ctrl_c_while_the_prompt_is_read(self):
        """In the middle of a step of seconds, which no token follows: the bar moves inside it, and the conversation goes on."""
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, hidden=128, layers=32)
            flags = ["--device", "reference", "--max-new-tokens", 3, "--ignore-eos"]
            terminal = Terminal("chat", model, *flags, environment=self.cache)
            self.addCleanup(terminal.close)
            terminal.wait_for("Ctrl-D leaves.*> ")
            long = ("word " * 350).strip()
            terminal.type(long + "\r")
            terminal.wait_for("reading the prompt.* %")
            terminal.type("\x03")
            terminal.wait_for(r"\[cancelled\].*> ")
            terminal.type("/stats\r")
            prompt, kept, made = map(int, terminal.wait_for(STATISTICS.pattern + ".*> ").groups())
            self.assertGreater(prompt, 350)
            self.assertEqual(made, 0)
            said = [{"role": "user", "content": long}, {"role": "assistant", "content": ""},
                    {"role": "user", "content": "hi"}]
            expected, = answers("generate", model, "--jsonl", *flags, lines=[{"messages": said}])
            terminal.type("hi\r")
            terminal.wait_for(re.escape(expected["text"]) + r".*\[length\].*> ")
            terminal.type("\x04")
            self.assertEqual(terminal.end(), 0)

    def test_ctrl_d_leaves_in_the_middle_of_nothing(self):
        terminal = self.terminal(*self.flags)
        terminal.type("\x04")
        self.assertEqual(terminal.end(), 0)
        self.assertRegex(terminal.text, r"\n$")  # the shell's prompt gets a line of its own


if __name__ == "__main__":
    support.main()
