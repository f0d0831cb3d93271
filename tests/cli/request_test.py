#!/usr/bin/env python3
"""What a request says and how the flags become one: seeds, nulls, lists, limits, and what is refused."""
import json
import os
import pathlib
import pwd
import shutil
import unittest

import support
from support import answers, find_golden, read_npy, run, run_ok

TINY = "tiny/mistral-bf16"
LARGEST_SEED = 2**64 - 1


def one(*arguments):
    return json.loads(run_ok("generate", *arguments, "--json").stdout)


class Refusals(unittest.TestCase):
    def refused(self, code, *arguments, says, **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stdout, done.stderr))
        for part in says:
            self.assertIn(part, done.stderr, arguments)
        self.assertNotIn("loaded in", done.stderr, arguments)
        return done

    def test_values_of_flags(self):
        generate = ["generate", find_golden(TINY), "--ids", "1,2"]
        for flag, value, says in (("--temperature", "-1", "temperature"), ("--temperature", "", "--temperature"),
                                  ("--max-new-tokens", "", "--max-new-tokens"), ("--logprobs", "", "--logprobs"),
                                  ("--max-new-tokens", "0", "max_new_tokens"), ("--logit-bias", "5:3abc", "--logit-bias 5:3abc"),
                                  ("--logit-bias", "5:", "--logit-bias"), ("--logit-bias", "5:nan", "--logit-bias"),
                                  ("--settings", "[1]", "--settings"), ("--settings", "{", "--settings"),
                                  ("--seed", "-1", "--seed"), ("--seed", "", "--seed"), ("--seed", "1.5", "--seed"),
                                  ("--seed", str(LARGEST_SEED + 1), "18446744073709551615")):
            with self.subTest((flag, value)):
                self.refused(2, *generate, flag, value, says=[says])
        done = self.refused(2, *generate, "--settings", '{"logit_bias": []}', "--logit-bias", "5:1", says=["--settings", "logit_bias", "object"])
        self.assertNotIn("json.exception", done.stderr)
        for command in (generate, ["doctor", "--quick"], ["logits", find_golden(TINY), "--ids", "1", "--output", "/dev/null"]):
            done = self.refused(2, *command, "--context", "0", says=["--context"])
            self.assertNotRegex(done.stderr, "[0-9]{40}")

    def test_what_would_be_ignored(self):
        tokenizer, model = find_golden("tokenizers/smollm/tokenizer.json"), find_golden(TINY)
        self.refused(2, "tokenize", tokenizer, "text", "--ids", "1,2", says=["exactly one of TEXT, --ids and --jsonl"])
        self.refused(2, "tokenize", tokenizer, "text", "--jsonl", says=["exactly one of TEXT, --ids and --jsonl"])
        self.refused(2, "template", "-", "--jsonl", "--system", "X", says=["--system", "--jsonl"])
        self.refused(2, "template", "-", "--jsonl", "--no-generation-prompt", says=["--no-generation-prompt", "--jsonl"])
        self.refused(2, "template", "-", "hello", "--jsonl", says=["exactly one of MESSAGE, --show and --jsonl"])
        self.refused(1, "inspect", model, "--device", "nosuch", says=["--device nosuch", "reference"])
        self.refused(1, "inspect", model, "--instruction-set", "foo", says=["foo"])
        run_ok("inspect", model, "--device", "reference")
        self.refused(2, "chat", model, "--logprobs", 5, says=["logprobs", "--json"])
        for settings, says in (({"prompt": "x"}, "prompt"), ({"ids": [1]}, "ids"), ({"messages": []}, "messages"),
                               ({"logprobs": 2}, "logprobs"), ({"context": 9}, "context")):
            self.refused(2, "chat", model, "--settings", json.dumps(settings), says=[says])

    def test_lines(self):
        got = answers("generate", find_golden(TINY), "--jsonl", "--max-new-tokens", 2,
                      lines=["[1]", '"x"', "7", {"ids": [1], "seed": -1}, {"ids": [1], "seed": LARGEST_SEED + 1}])
        for answer, says in zip(got, ("a line is a JSON object, not array", "not string", "not number", "seed: ", "seed: ")):
            self.assertIn(says, answer["error"])
            self.assertNotIn("json.exception", answer["error"])


class Seeds(unittest.TestCase):
    LINE = {"ids": [1, 2, 3], "max_new_tokens": 20, "ignore_eos": True, "temperature": 1.5}

    def lines(self, *flags, lines):
        return answers("generate", find_golden(TINY), "--jsonl", *flags, lines=lines)

    def test_each_request_has_its_own_and_names_it(self):
        got = self.lines(lines=[self.LINE] * 3)
        self.assertEqual(len({a["seed"] for a in got}), 3)
        self.assertEqual(len({tuple(a["ids"]) for a in got}), 3)
        again = self.lines(lines=[{**self.LINE, "seed": a["seed"]} for a in got])
        self.assertEqual([(a["ids"], a["seed"]) for a in again], [(a["ids"], a["seed"]) for a in got])
        greedy, = self.lines(lines=[{**self.LINE, "temperature": 0}])
        self.assertNotIn("seed", greedy)

    def test_one_prompt(self):
        flags = [find_golden(TINY), "--ids", "1,2,3", "--max-new-tokens", 20, "--ignore-eos", "--temperature", 1.5]
        first, second = one(*flags), one(*flags)
        self.assertNotEqual(first["ids"], second["ids"])
        self.assertEqual(one(*flags, "--seed", first["seed"])["ids"], first["ids"])
        self.assertRegex(run_ok("generate", *flags).stderr, r", seed \d+\]\n$")

    def test_a_given_seed_is_for_all_and_of_64_bits(self):
        for seed in (0, 7, 2**63, LARGEST_SEED):
            flagged = self.lines("--seed", seed, lines=[self.LINE] * 2)
            named, = self.lines(lines=[{**self.LINE, "seed": seed}])
            for answer in (*flagged, named):
                self.assertEqual((answer["seed"], answer["ids"]), (seed, flagged[0]["ids"]))
        self.assertNotEqual(flagged[0]["ids"], self.lines("--seed", 2**63 - 1, lines=[self.LINE])[0]["ids"])

    def test_off_does_not_sample(self):
        flags = [find_golden(TINY), "--ids", "1,2,3", "--max-new-tokens", 20, "--ignore-eos"]
        greedy = one(*flags)["ids"]
        for flag, off in (("--top-k", 0), ("--top-p", 1), ("--min-p", 0), ("--typical-p", 1), ("--epsilon-cutoff", 0),
                          ("--eta-cutoff", 0)):
            answer = one(*flags, flag, off)
            self.assertEqual((answer["ids"], answer.get("seed")), (greedy, None), flag)

    def test_null_is_not_given(self):
        nulls = {name: None for name in ("temperature", "top_p", "seed", "stop", "do_sample", "max_new_tokens", "prompt", "logit_bias")}
        plain, nothing = self.lines("--max-new-tokens", 5, lines=[{"ids": [1, 2], "ignore_eos": True},
                                                                  {**nulls, "ids": [1, 2], "ignore_eos": True}])
        self.assertEqual(nothing["ids"], plain["ids"])
        self.assertEqual(len(plain["ids"]), 5)
        sampled = one(find_golden(TINY), "--ids", "1", "--max-new-tokens", 2, "--temperature", 1, "--settings", '{"temperature": null}')
        self.assertIn("seed", sampled)


class Limits(unittest.TestCase):
    def test_new_tokens_of_settings_and_of_the_model(self):
        flags = ["--ids", "1,2", "--ignore-eos"]
        answer = one(find_golden(TINY), *flags, "--settings", '{"max_new_tokens": 300}')
        self.assertEqual(len(answer["ids"]), 300)
        self.assertEqual(len(one(find_golden(TINY), *flags)["ids"]), 256)
        with support.temporary_folder() as folder:
            model = folder / "model"
            shutil.copytree(find_golden(TINY), model)
            os.chmod(model, 0o755)
            (model / "generation_config.json").unlink(missing_ok=True)
            (model / "generation_config.json").write_text('{"max_new_tokens": 280}')
            self.assertEqual(len(one(model, *flags)["ids"]), 280)
            self.assertEqual(len(one(model, *flags, "--max-new-tokens", 5)["ids"]), 5)

    def test_logits(self):
        with support.temporary_folder() as folder:
            output = folder / "x.npy"
            done = run("logits", find_golden(TINY), "--ids", "1,2,3", "--context", 2, "--output", output)
            self.assertEqual(done.returncode, 1)
            self.assertIn("--context 2: the text has 3 tokens", done.stderr)
            self.assertFalse(output.exists())
            run_ok("logits", find_golden(TINY), "--ids", "1,2,3", "--context", 3, "--output", output)
            # The bytes of the text after BOS, as `generate` has them.
            run_ok("logits", "--synthetic", "tiny", "--prompt", "hello", "--output", output)
            self.assertEqual(read_npy(output)[0][0], one("--synthetic", "tiny", "hello", "--max-new-tokens", 1)["prompt_tokens"])


class Lists(unittest.TestCase):
    """A flag that may be repeated takes one value each time, not the words behind it."""

    def test_generate(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            flags = ["--max-new-tokens", 12, "--ignore-eos"]
            whole = one(model, "Once", *flags)
            stop = whole["text"][4:7]
            cut = one(*flags, model, "--stop", "never here \u0007", "--stop", stop, "Once")
            self.assertEqual((cut["text"], cut["finish_reason"]), (whole["text"][:whole["text"].index(stop)], "stop"))
            biased = one(*flags, "--logit-bias", "7:1000", "--logit-bias", "8:-5", model, "Once")
            self.assertEqual(biased["ids"], [7] * 12)


class Doctor(unittest.TestCase):
    def test_looking_makes_no_folder(self):
        with support.temporary_folder() as folder:
            nowhere = folder / "a" / "b"
            report = json.loads(run("doctor", "--quick", "--json", "--disk", nowhere).stdout)
            self.assertGreater(report["figures"]["disk"]["free_bytes"], 0)
            run("doctor", "--quick", environment={"HOME": str(folder / "home"), "XDG_CACHE_HOME": ""})
            self.assertEqual(list(folder.iterdir()), [])

    def test_without_home_the_user_has_one(self):
        report = json.loads(run("doctor", "--quick", "--json", environment={"HOME": "", "XDG_CACHE_HOME": ""}).stdout)
        home = pathlib.Path(pwd.getpwuid(os.getuid()).pw_dir)
        self.assertEqual(report["figures"]["disk"]["folder"], str(home / ".cache" / "updraft"))


class Templates(unittest.TestCase):
    def test_one_that_cannot_be_read_is_refused_when_it_is_used(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            config = model / "tokenizer_config.json"
            config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": "{% block x %}"}))
            self.assertEqual(len(one(model, "--ids", "1,2", "--max-new-tokens", 2, "--ignore-eos")["ids"]), 2)
            done = run("generate", model, "--chat", "Hello", "--max-new-tokens", 2)
            self.assertEqual(done.returncode, 1)
            self.assertIn("tokenizer_config.json does not parse at line 1", done.stderr)


if __name__ == "__main__":
    support.main()
