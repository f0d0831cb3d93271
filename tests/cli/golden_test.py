#!/usr/bin/env python3
"""The goldens of ../shared/models through the program's doors: tokenize, template, logits, generate."""
import json
import math
import os
import pathlib
import unittest

import support
from support import answers, find_golden, goldens_folder, json_lines, read_npy, read_safetensors, run_ok

F32 = ["--dtype", "f32", "--kv-dtype", "f32"]
TOLERANCE = 2e-5  # of the largest logit, F32 weights and KV
# The issue asks for 2e-3. Rounding K and V to F16 alone, everything else in double precision (--device reference), moves
# these random models' logits by up to 3.5e-3: no machine can be nearer, so what is checked is this and TIPPED below.
F16_KV_TOLERANCE = 4e-3
TIPPED = 1.5e-3  # cpu against reference, both with F16 KV: a rounding error tips a K or V to its neighbour now and then


def read_lines(path):
    return json_lines(path.read_text(encoding="utf-8"))


def comma(ids):
    return ",".join(map(str, ids))


class Text(unittest.TestCase):
    def check_tokenizer(self, model, cases, ids, decoded):
        """`ids`, `decoded`: the prefixes of the golden's fields."""
        texts = [c for c in cases if "text" in c]
        plain = answers("tokenize", model, "--jsonl", lines=[{"text": c["text"]} for c in texts])
        special = answers("tokenize", model, "--jsonl", lines=[{"text": c["text"], "special": True} for c in texts])
        for case, a, b in zip(texts, plain, special):
            self.assertEqual(a.get("ids"), case[ids], (model, case["text"], a.get("error")))
            if ids + "_with_special" in case:
                self.assertEqual(b.get("ids"), case[ids + "_with_special"], (model, case["text"], b.get("error")))
        if not decoded:
            return
        for skip, field in ((False, decoded), (True, decoded + "_skip_special")):
            got = answers("tokenize", model, "--jsonl",
                          lines=[{"ids": c[ids], "skip_special": skip} for c in texts])
            for case, a in zip(texts, got):
                self.assertEqual(a.get("text"), case[field], (model, case["text"], a.get("error")))

    def test_byte_level_tokenizers(self):
        for style in ("gpt2", "llama3", "qwen2", "smollm", "tekken"):
            with self.subTest(style):
                cases = read_lines(find_golden(f"tokenizers/{style}/tokenize.jsonl"))
                self.check_tokenizer(find_golden(f"tokenizers/{style}/tokenizer.json"), cases, "ids", "decoded")

    def test_mistral_tokenizers(self):
        folder = find_golden("mistral-7b-instruct-v0.2")
        if not (folder / "tokenize.jsonl").exists():
            self.skipTest(f"{folder}/tokenize.jsonl is not here")
        cases = read_lines(folder / "tokenize.jsonl")
        for generation in ("old", "new"):
            with self.subTest(generation):
                self.check_tokenizer(folder / generation, cases, generation + "_ids", "")
                texts = [c for c in cases if "text" in c]
                for skip, field in ((False, "_decoded"), (True, "_decoded_skip_special")):
                    got = answers("tokenize", folder / generation, "--jsonl",
                                  lines=[{"ids": c[generation + "_ids"], "skip_special": skip}
                                         for c in texts])
                    for case, a in zip(texts, got):
                        self.assertEqual(a.get("text"), case[generation + field], case["text"])
        with self.subTest("tokenizer.model"):
            self.check_tokenizer(folder / "tokenizer.model", cases, "sentencepiece_ids", "")
        with self.subTest("decoding arbitrary ids"):
            bare = [c for c in cases if "text" not in c]
            for skip, field in ((False, "decoded"), (True, "decoded_skip_special")):
                got = answers("tokenize", folder / "new", "--jsonl",
                              lines=[{"ids": c["ids"], "skip_special": skip} for c in bare])
                for case, a in zip(bare, got):
                    self.assertEqual(a.get("text"), case[field], case["ids"])

    def test_mistral_templates(self):
        folder = find_golden("mistral-7b-instruct-v0.2")
        cases = read_lines(folder / "chat.jsonl")
        for generation in ("old", "new"):
            chosen = [c for c in cases if c["template"] == generation]
            self.assertTrue(chosen)
            got = answers("template", folder / generation, "--jsonl",
                          lines=[{"messages": c["messages"]} for c in chosen])
            for case, a in zip(chosen, got):
                if "error" in case:
                    self.assertIn("error", a, case["messages"])
                    self.assertNotIn("prompt", a)
                else:
                    self.assertEqual(a.get("prompt"), case["prompt"], a.get("error"))
            if not (folder / generation / "tokenizer.json").exists():
                continue
            rendered = [c for c in chosen if "ids" in c]
            ids = answers("tokenize", folder / generation, "--jsonl",
                          lines=[{"text": c["prompt"], "special": False} for c in rendered])
            for case, a in zip(rendered, ids):
                self.assertEqual(a.get("ids"), case["ids"], case["prompt"])


class TinyModels(unittest.TestCase):
    def compare_logits(self, folder, golden, prompt, flags, tolerance, where):
        ids = golden[f"prompt_{prompt}.ids"]
        output = where / "out.npy"
        run_ok("logits", folder, "--ids", comma(ids), "--output", output, *flags)
        shape, ours = read_npy(output)
        expected = golden[f"prompt_{prompt}.logits64"]
        self.assertEqual(shape, (len(ids), len(expected) // len(ids)))
        largest = max(map(abs, expected))
        worst = max(abs(a - b) for a, b in zip(ours, expected))
        self.assertLessEqual(worst / largest, tolerance, f"{folder.name} prompt {prompt} {flags}")
        return largest

    def compare_f16_kv(self, folder, golden, prompt, where):
        f16_kv = ["--dtype", "f32", "--kv-dtype", "f16"]
        largest = self.compare_logits(folder, golden, prompt, f16_kv, F16_KV_TOLERANCE, where)
        cpu = read_npy(where / "out.npy")[1]
        run_ok("logits", folder, "--ids", comma(golden[f"prompt_{prompt}.ids"]), "--output", where / "out.npy",
               "--device", "reference", *f16_kv)
        reference = read_npy(where / "out.npy")[1]
        self.assertLessEqual(max(abs(a - b) for a, b in zip(cpu, reference)) / largest, TIPPED, folder.name)

    def compare_greedy(self, folder, golden, case, largest, where):
        """Fed with the golden's ids, and running free up to the first margin that rounding could turn."""
        ids, greedy, margins = list(golden[f"prompt_{case['prompt']}.ids"]), case["greedy"], case["margins"]
        name, doubtful = f"{folder.name} prompt {case['prompt']}", 2 * TOLERANCE * largest
        sure = next((i for i, m in enumerate(margins) if m <= doubtful), len(greedy))
        # The goldens go on after an end-of-sequence token; `generate` ends there, or never chooses one.
        eos = json.loads((folder / "config.json").read_text())["eos_token_id"]
        before_eos = greedy.index(eos) if eos in greedy else len(greedy)
        flags = ["--ids", comma(ids), "--max-new-tokens", len(greedy), "--json", *F32]
        ignoring = json.loads(run_ok("generate", folder, "--ignore-eos", *flags).stdout)
        until = min(sure, before_eos)
        self.assertEqual(ignoring["ids"][:until], greedy[:until], name)
        self.assertNotIn(eos, ignoring["ids"])
        self.assertEqual((len(ignoring["ids"]), ignoring["finish_reason"], ignoring["prompt_tokens"]),
                         (len(greedy), "length", len(ids)))
        if before_eos < sure:
            stopping = json.loads(run_ok("generate", folder, *flags).stdout)
            self.assertEqual((stopping["ids"], stopping["finish_reason"]), (greedy[:before_eos + 1], "eos"), name)
        if self.one_rope_table(folder):
            fed = json.loads(run_ok("logits", folder, "--ids", comma(ids + greedy[:-1]), "--output", where / "fed.npy",
                                    "--json", *F32).stdout)
            for i, (ours, golden_id, margin) in enumerate(zip(fed["argmax"][len(ids) - 1:], greedy, margins)):
                if margin > doubtful:
                    self.assertEqual(ours, golden_id, f"{name} token {i}")

    def one_rope_table(self, folder):
        """False where the reference's table depends on the length of the sequence so far (dynamic, longrope)."""
        config = json.loads((folder / "config.json").read_text())
        rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
        return rope.get("rope_type", rope.get("type", "default")) not in ("dynamic", "longrope")

    def test_tiny_models(self):
        folders = sorted(f.parent for f in (goldens_folder() / "tiny").glob("*/golden.safetensors"))
        self.assertTrue(folders, f"no tiny models under {goldens_folder()}")
        for folder in folders:
            with self.subTest(folder.name), support.temporary_folder() as where:
                golden = read_safetensors(folder / "golden.safetensors")
                cases = json.loads((folder / "golden.json").read_text())["cases"]
                for case in cases:
                    largest = self.compare_logits(folder, golden, case["prompt"], F32, TOLERANCE, where)
                    if case.get("greedy"):
                        self.compare_greedy(folder, golden, case, largest, where)
                longest = max(c["prompt"] for c in cases)
                self.compare_f16_kv(folder, golden, longest, where)
                self.check_batch(folder, golden, cases)

    def check_batch(self, folder, golden, cases):
        """All prompts as JSON lines, batched: the ids of each request alone, to the last one (the law of the house)."""
        lines = [{"ids": list(golden[f"prompt_{c['prompt']}.ids"]), "max_new_tokens": 12, "ignore_eos": True}
                 for c in cases]
        together = answers("generate", folder, "--jsonl", *F32, lines=lines)
        alone = answers("generate", folder, "--jsonl", "--batch", 1, "--threads", 1, *F32, lines=lines[::-1])
        self.assertEqual([a.get("ids") for a in together], [a.get("ids") for a in alone[::-1]])


class QuantizedModels(unittest.TestCase):
    """Folders that `updraft quantize` wrote, with logits that transformers and compressed-tensors computed from them
    (tools/quantized_golden.py)."""

    def test_logits(self):
        folders = sorted((support.SOURCE / "tests" / "golden" / "quantized").iterdir())
        self.assertTrue(folders)
        for folder in folders:
            with self.subTest(folder.name), support.temporary_folder() as where:
                data = (folder / "golden.safetensors")
                golden = read_safetensors(data)
                run_ok("logits", folder, "--ids", comma(golden["ids"]), "--output", where / "out.npy", *F32)
                ours, expected = read_npy(where / "out.npy")[1], golden["logits"]
                self.assertEqual(len(ours), len(expected))
                worst = max(abs(a - b) for a, b in zip(ours, expected))
                self.assertLessEqual(worst / max(map(abs, expected)), TOLERANCE)


def smollm2():
    places = [os.environ.get("UPDRAFT_SMOLLM2", "")]
    name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    places += [pathlib.Path.home() / ".cache" / "updraft" / name, pathlib.Path("/work/.cache/smollm2") / name]
    return next((str(p) for p in places if str(p) not in ("", ".") and pathlib.Path(p).exists()), None)


class SmolLM2(unittest.TestCase):
    """The real model, end to end: from its GGUF file, or from the folder that tests/differential/smollm2_folder.py makes of it."""

    @classmethod
    def setUpClass(cls):
        cls.model, golden = smollm2(), find_golden("smollm2-135m-instruct/golden.json")
        if not cls.model:
            raise unittest.SkipTest("SmolLM2 is not in the cache (`./try` fetches it; UPDRAFT_SMOLLM2 names it)")
        if not golden:
            raise unittest.SkipTest("smollm2-135m-instruct/golden.json is not among the goldens")
        cls.golden = json.loads(golden.read_text(encoding="utf-8"))

    def logits(self, ids, where):
        run_ok("logits", self.model, "--ids", comma(ids), "--output", where / "out.npy", *F32)
        return read_npy(where / "out.npy")

    def test_prompts(self):
        chats = self.golden["chats"]
        prompts = answers("template", self.model, "--jsonl", lines=[{"messages": c["messages"]} for c in chats])
        self.assertEqual([p.get("prompt") for p in prompts], [c["prompt"] for c in chats])
        ids = answers("tokenize", self.model, "--jsonl", lines=[{"text": c["prompt"]} for c in chats])
        self.assertEqual([i.get("ids") for i in ids], [c["ids"] for c in chats])

    def test_eval_of_passages(self):
        with support.temporary_folder() as where:
            for passage in self.golden["passages"]:
                (where / "text.txt").write_text(passage["text"], encoding="utf-8")
                report = json.loads(run_ok("eval", self.model, "--text", where / "text.txt", "--json", *F32).stdout)
                self.assertEqual(report["scored_tokens"], len(passage["nll"]))
                self.assertLess(abs(math.log(report["model"]["perplexity"] / passage["perplexity"])), 1e-5)

    def needs_integers(self):
        if os.path.isdir(self.model):
            self.skipTest("this folder has no integers")

    def test_native_integers_cost_little(self):
        self.needs_integers()
        book = support.SOURCE / "tests" / "golden" / "texts" / "the_time_machine.txt"
        report = json.loads(run_ok("eval", self.model, "--text", book, "--max-tokens", 1024, "--json").stdout)
        self.assertIn("packing=int4-g32-asym", report["model"]["numerics_key"])
        self.assertIn("packing=f32", report["reference"]["numerics_key"])
        self.assertLessEqual(report["against_reference"]["kl_divergence_mean"], 0.005)

    def test_quantize_carries_the_vocabulary(self):
        self.needs_integers()
        with support.temporary_folder() as where:
            run_ok("quantize", self.model, where / "int8", "--int8")
            texts = [p["text"] for p in self.golden["passages"]] + [c["text"] for c in self.golden["chats"]]
            lines = [{"text": t, "special": special} for t in texts for special in (False, True)]
            self.assertEqual(answers("tokenize", where / "int8", "--jsonl", lines=lines),
                             answers("tokenize", self.model, "--jsonl", lines=lines))
            chats = [{"messages": c["messages"]} for c in self.golden["chats"]]
            self.assertEqual(answers("template", where / "int8", "--jsonl", lines=chats),
                             answers("template", self.model, "--jsonl", lines=chats))

    def test_first_logits(self):
        with support.temporary_folder() as where:
            for chat in self.golden["chats"]:
                shape, values = self.logits(chat["ids"], where)
                last = values[-shape[1]:]
                tolerance = TOLERANCE * max(map(abs, last))
                for token, logit in chat["first_logits_top20"]:
                    self.assertLessEqual(abs(last[token] - logit), tolerance)
                for ours, logit in zip(last[::997], chat["first_logits_every_997th"]):
                    self.assertLessEqual(abs(ours - logit), tolerance)

    def test_answers(self):
        chats = self.golden["chats"]
        messages = [{"messages": c["messages"], "max_new_tokens": 120} for c in chats]
        running = answers("generate", self.model, "--jsonl", *F32, lines=[{**m, "ignore_eos": True} for m in messages])
        stopping = answers("generate", self.model, "--jsonl", *F32, lines=messages)
        for chat, on, stop in zip(chats, running, stopping):
            margins = chat["margins_ignoring_eos"]
            sure = next((i for i, m in enumerate(margins) if m <= 2 * TOLERANCE * 40), len(margins))
            self.assertEqual(on["prompt_tokens"], len(chat["ids"]))
            self.assertEqual(on["ids"][:sure], chat["greedy_ignoring_eos"][:sure])
            if sure == len(margins):
                self.assertEqual(on["text"], chat["text_ignoring_eos"])
                self.assertEqual(stop["ids"], chat["greedy"])
                self.assertEqual(stop["text"], chat["text"])

    def test_likelihoods(self):
        with support.temporary_folder() as where:
            for passage in self.golden["passages"]:
                ids = passage["ids"]
                (_, columns), values = self.logits(ids, where)
                for i, expected in enumerate(passage["nll"]):
                    row = values[i * columns:(i + 1) * columns]
                    top = max(row)
                    ours = math.log(math.fsum(math.exp(x - top) for x in row)) + top - row[ids[i + 1]]
                    self.assertAlmostEqual(ours, expected, delta=1e-3, msg=f"token {i}")


if __name__ == "__main__":
    support.main()
