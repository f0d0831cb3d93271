#!/usr/bin/env python3
"""The program from outside: help with examples, exit codes, error sentences that name file, field and remedy."""
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import support
from support import answers, find_golden, json_lines, read_npy, run, run_ok

COMMANDS = ["generate", "doctor", "bench", "chat", "inspect", "tokenize", "template", "logits"]
TINY = "tiny/mistral-bf16"
SYNTHETIC = ["--synthetic", "mistral-7b:layers=1"]


class Help(unittest.TestCase):
    def test_every_command_has_examples(self):
        top = run_ok("--help").stdout
        for command in COMMANDS:
            with self.subTest(command):
                self.assertIn(command, top)
                text = run_ok(command, "--help").stdout
                self.assertRegex(text, r"Examples?:\n  (echo .*\| )?updraft " + command)

    def test_version(self):
        self.assertRegex(run_ok("--version").stdout, r"updraft \d+\.\d+\.\d+")


class ExitCodes(unittest.TestCase):
    def check(self, code, *arguments, says=(), **options):
        done = run(*arguments, **options)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        for part in says:
            self.assertIn(part, done.stderr + (done.stdout if code == 2 else ""), arguments)
        self.assertNotIn("terminate", done.stderr)
        return done

    def test_usage(self):
        self.check(2)
        self.check(2, "flyy", says=["flyy"])
        self.check(2, "chat", says=["MODEL"])
        self.check(2, "chat", "--synthetic", "tiny", says=["MODEL"])
        self.check(2, "bench", find_golden(TINY), "--no-tasks", says=["nothing to measure", "--prompt"])
        self.check(2, "bench", "--fail-below", "0.9", says=["--fail-below", "--compare"])
        self.check(2, "generate", "--no-such-flag", says=["--no-such-flag"])
        self.check(2, "generate", find_golden(TINY), says=["PROMPT"])
        self.check(2, "tokenize", find_golden(TINY), says=["TEXT"])
        self.check(2, "logits", find_golden(TINY), "--ids", "1", says=["--output"])
        self.check(2, "logits", find_golden(TINY), "--output", "x.npy", says=["--ids"])
        self.check(2, "bench", "--format", "pdf", says=["--format", "pdf"])
        self.check(2, "generate", find_golden(TINY), "--ids", "1", "--threads", "-3", says=["--threads"])
        self.check(2, "generate", find_golden(TINY), "--ids", "1", "--system", "x", says=["--chat"])
        for more in (["hello", "--ids", "1"], ["hello", "--jsonl"], ["--ids", "1", "--jsonl"]):  # nothing is ignored
            self.check(2, "generate", find_golden(TINY), *more, says=["exactly one of PROMPT, --ids and --jsonl"])
        self.check(2, "generate", find_golden(TINY), "--ids", "1", "--chat", says=["--chat"])
        self.check(2, "generate", find_golden(TINY), "--ids", "1", "--logprobs", "3", says=["--logprobs", "--json"])

    def test_what_cannot_be_printed_is_no_success(self):
        tokenizer = find_golden("tokenizers/smollm/tokenizer.json")
        for command in (["tokenize", tokenizer, "a", "--json"], ["template", tokenizer, "--show"],
                        ["generate", find_golden(TINY), "--ids", "1", "--max-new-tokens", "2", "--json"],
                        ["inspect", find_golden(TINY), "--json"]):
            with self.subTest(command[0]), open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([support.PROGRAM, *map(str, command)], stdout=full, stderr=subprocess.PIPE, text=True,
                                      env=support.clean_environment(), check=False)
                self.assertEqual(done.returncode, 1, done.stderr)
                self.assertIn("No space left", done.stderr)

    def test_devices_and_links_stay_what_they_are(self):
        with support.temporary_folder() as folder:
            (folder / "link.npy").symlink_to("target.npy")
            for output in ("/dev/null", folder / "link.npy"):
                run_ok("logits", find_golden(TINY), "--ids", "1,2", "--output", output)
            self.assertTrue(pathlib.Path("/dev/null").is_char_device())
            self.assertTrue((folder / "link.npy").is_symlink())
            self.assertEqual(support.read_npy(folder / "target.npy")[0], (2, 257))

    def test_missing_folder(self):
        for command in (["generate", "/no/such/model", "hello"], ["chat", "/no/such/model"],
                        ["bench", "/no/such/model"], ["inspect", "/no/such/model"],
                        ["tokenize", "/no/such/model", "x"], ["template", "/no/such/model", "x"],
                        ["logits", "/no/such/model", "--ids", "1", "--output", "/tmp/never.npy"]):
            with self.subTest(command[0]):
                self.check(1, *command, says=["/no/such/model"])

    def test_offline(self):
        with tempfile.TemporaryDirectory() as empty:
            for command in (["generate", "hello"], ["chat"], ["bench"], ["inspect"], ["tokenize", "x"], ["template", "x"],
                            ["logits", "--ids", "1", "--output", "/tmp/never.npy"], ["doctor", "--quick"]):
                with self.subTest(command[0]):
                    self.check(28, command[0], "nobody/no-such-model", *command[1:], "--offline", says=["nobody/no-such-model"],
                               environment={"HF_HOME": empty, "HF_HUB_CACHE": empty})

    def test_no_model(self):
        for command in (["generate", "--ids", "1,2"], ["tune"], ["bench"], ["inspect"]):
            self.check(2, *command, says=["no model", "--synthetic"])

    def test_flag_values(self):
        model = find_golden(TINY)
        ids = ["--ids", "1,2", "--max-new-tokens", "1"]
        self.check(2, "generate", model, *ids, "--dtype", "int3", says=["--dtype", "int3", "bf16"])
        self.check(1, "generate", model, *ids, "--dtype", "int8", "--exact", says=["--exact", "int8"])
        self.check(2, "generate", model, *ids, "--kv-dtype", "bf16", says=["--kv-dtype", "f16"])
        self.check(1, "generate", model, *ids, "--device", "abacus", says=["abacus", "cpu"])
        self.check(1, "generate", model, *ids, "--instruction-set", "mmx", says=["mmx"])
        self.check(1, "generate", model, "--ids", "1,x", says=["--ids", "1,x"])
        self.check(1, "generate", model, "--ids", "99999999999", says=["--ids"])
        self.check(1, "generate", model, "--ids", "5000", says=["5000", "257"])
        self.check(1, "logits", model, "--ids", "257", "--output", "/tmp/never.npy", says=["257"])
        self.check(2, "generate", model, *ids, "--settings", '{"temprature": 1}', says=["temprature"])
        self.check(2, "generate", model, *ids, "--settings", "{", says=["JSON"])
        self.check(2, "generate", model, *ids, "--top-p", "1.5", says=["top_p"])
        self.check(2, "generate", model, *ids, "--logit-bias", "7", says=["--logit-bias"])
        self.check(1, "generate", "--synthetic", "no-such-shape", *ids, says=["no-such-shape"])
        self.check(1, "bench", model, "--tasks", "juggling", "--quick", says=["juggling", "chinese_qa"])
        # Refused before a weight is read: nothing of the model is said yet.
        self.assertNotIn("loaded in", self.check(2, "generate", model, *ids, "--top-p", "1.5").stderr)
        for arguments in (["bench", model, "--tasks", "juggling"],
                          ["logits", model, "--ids", "1", "--output", "/no/such/folder/x.npy"],
                          ["bench", model, "--html", "/no/such/folder/report.html"],
                          ["bench", model, "--record", "/no/such/folder/a.json"]):
            self.assertNotIn("loaded in", self.check(1, *arguments).stderr, arguments)
        self.check(1, "bench", "--compare", "/no/a.json", "/no/b.json", says=["/no/a.json"])
        self.check(1, "bench", "--replay", str(model / "config.json"), says=["config.json", "run record"])

    def test_what_memory_cannot_hold(self):
        """Said before it is loaded: Linux would grant the memory and kill the program while it fills it."""
        done = self.check(1, "generate", "--synthetic", "mistral-7b:layers=64,intermediate=4000000", "--dtype", "f32", "--ids", "1,2",
                          says=["--dtype f32", "GB", "of memory are available"])
        self.assertNotIn("loaded in", done.stderr)
        self.check(1, "generate", "--synthetic", "tiny:layers=100", "--ids", "1,2", "--max-new-tokens", 2_000_000_000,
                   says=["KV cache", "--context", "--kv-dtype int8"])

    def test_no_tokenizer(self):
        model = find_golden(TINY)
        self.check(1, "generate", model, "hello", says=["tokenizer", "--ids", str(model)])
        self.check(1, "tokenize", model, "hello", says=["tokenizer"])
        self.check(1, "chat", model, says=["chat template", "generate"])

    def test_broken_models(self):
        with support.temporary_folder() as folder:
            model = folder / "model"
            shutil.copytree(find_golden(TINY), model)
            for path in model.iterdir():
                os.chmod(path, 0o644)
            os.chmod(model, 0o755)
            config, weights = (model / "config.json").read_bytes(), (model / "model.safetensors").read_bytes()

            def broken(name, data, *says):
                kept = (model / name).read_bytes()
                (model / name).write_bytes(data)
                done = self.check(1, "logits", model, "--ids", "1,2", "--output", folder / "out.npy",
                                  says=[name, *says])
                self.assertEqual(len(done.stderr.strip().split("\n")), 1, done.stderr)
                self.assertFalse((folder / "out.npy").exists())
                (model / name).write_bytes(kept)

            broken("config.json", b"{ not json")
            broken("config.json", b"[]")
            broken("config.json", b"")
            changed = json.loads(config)
            changed["hidden_size"] = "wide"
            broken("config.json", json.dumps(changed).encode(), "hidden_size")
            changed = json.loads(config)
            changed["num_key_value_heads"] = 4
            broken("config.json", json.dumps(changed).encode(), "model.safetensors", "k_proj")
            broken("model.safetensors", weights[:len(weights) // 2])
            broken("model.safetensors", b"")
            broken("model.safetensors", struct.pack("<Q", 1 << 60) + weights[8:])
            (model / "config.json").unlink()
            self.check(1, "inspect", model, says=["config.json"])
        self.assertFalse(folder.exists())

    def test_doctor(self):
        done = run("doctor", "--quick", "--json")
        self.assertIn(done.returncode, (0, 3), done.stderr)
        diagnosis = json.loads(done.stdout)
        self.assertTrue(diagnosis["findings"])
        self.assertEqual(done.returncode, 0 if diagnosis["ready"] else 3)
        # 100 million tokens of context fit nowhere: not ready, and a remedy says what to do.
        done = run("doctor", "Mistral-7B", "--context", 100_000_000, "--quick", "--json")
        self.assertEqual(done.returncode, 3, done.stdout)
        problems = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "problem"]
        self.assertTrue(problems)
        self.assertTrue(all(f["remedy"] for f in problems), problems)
        chinese = run("doctor", "--quick", "--lang", "zh").stdout
        self.assertRegex(chinese, "[\u4e00-\u9fff]")
        done = run("doctor", "mistral-8b", "--quick", "--json")
        self.assertEqual(done.returncode, 3)
        self.assertIn("mistral-8b: there is neither a file nor a known model", done.stdout)

    def test_doctor_of_a_model(self):
        """Whether it fits in each packing; one of them is what --dtype auto keeps."""
        # (known name or file, what is stored)
        for model, stored in (("Mistral-7B", "bf16"), (find_golden("gguf/llama.gguf"), "auto"), (find_golden(TINY), "bf16")):
            with self.subTest(model):
                figures = json.loads(run("doctor", model, "--quick", "--json").stdout)["figures"]["model"]
                natural = [name for name, plan in figures["packings"].items() if plan["natural"]]
                self.assertEqual(natural, [stored])
                for plan in figures["packings"].values():
                    self.assertEqual(plan["total_bytes"], plan["weights_bytes"] + plan["kv_bytes"] + 300_000_000)
                # Seven billion weights stay in no cache, a tiny model's in every one: there reading memory is no limit.
                tiny = model != "Mistral-7B"
                self.assertEqual({plan["cache_resident"] for plan in figures["packings"].values()}, {tiny})
                text = run("doctor", model, "--quick").stdout
                resident = "cache-resident +" if tiny else ""
                self.assertRegex(text, rf"\n +{stored} +[\d.]+ [MG]B  (fits|does not fit) +{resident}\(as stored\)\n")
                self.assertEqual("memory bandwidth sets no limit" in text, tiny)
                self.assertNotIn("not measured", text)  # --quick was told so


class Inspect(unittest.TestCase):
    def test_folder(self):
        model = find_golden(TINY)
        facts = json.loads(run_ok("inspect", model, "--json", "--tensors", "--context", 100).stdout)
        self.assertEqual(facts["config"]["layers"], 3)
        self.assertEqual(facts["config"]["vocabulary_size"], 257)
        self.assertEqual(facts["memory"]["context"], 100)
        self.assertEqual(facts["stored_bytes"], sum(t["bytes"] for t in facts["tensors"]))
        self.assertEqual(list(facts["stored_types"]), ["BF16"])
        self.assertTrue(facts["memory"]["packings"]["bf16"]["natural"])
        # every weight once, two bytes each; norms are kept as F32
        self.assertEqual(facts["config"]["parameters"] * 2, facts["stored_bytes"])
        text = run_ok("inspect", model, "--tensors").stdout
        self.assertIn("model.layers.2.mlp.down_proj.weight", text)
        self.assertNotIn("\x1b", text)

    def test_synthetic(self):
        facts = json.loads(run_ok("inspect", "--synthetic", "mistral-7b", "--json").stdout)
        self.assertEqual(facts["config"]["parameters"], 7241732096)  # Mistral-7B's own count


class JsonLines(unittest.TestCase):
    def test_bad_lines_answer_and_the_rest_goes_on(self):
        tokenizer = find_golden("tokenizers/smollm/tokenizer.json")
        lines = [{"text": "Hello"}, "{broken", "[1]", {"ids": [99999]}, {"txt": "x"}, {"text": 7}, {"ids": "x"},
                 {"text": "line\u2028separator\u0085"}, {"text": ""}]
        got = answers("tokenize", tokenizer, "--jsonl", lines=lines)
        self.assertEqual([sorted(a) for a in got], [["ids"]] + [["error"]] * 6 + [["ids"]] * 2)
        self.assertIn("99999", got[3]["error"])
        for line, named in (({"text": 7}, "text"), ({"ids": "x"}, "ids"), ({"ids": [1.5]}, "ids"), ({"ids": [1 << 70]}, "ids"),
                            ({"text": "a", "special": "yes"}, "special"), ({"text": "a", "ids": [1]}, "either"),
                            ({"ids": [1], "skip_special": 0}, "skip_special")):
            error = answers("tokenize", tokenizer, "--jsonl", lines=[line])[0]["error"]
            self.assertIn(named, error)
            self.assertNotIn("json.exception", error)
        back = answers("tokenize", tokenizer, "--jsonl", lines=[{"ids": got[0]["ids"]}, {"ids": got[7]["ids"]}])
        self.assertEqual([b["text"] for b in back], ["Hello", "line\u2028separator\u0085"])

    def test_invalid_utf8(self):
        tokenizer = find_golden("tokenizers/smollm/tokenizer.json")
        done = run_ok("tokenize", tokenizer, "--jsonl", input=b'{"text": "\xff\xfe"}\n{"text": "ok"}\n')
        first, second = json_lines(done.stdout)
        self.assertIn("error", first)
        self.assertIn("ids", second)

    def test_template_without_model(self):
        lines = [{"template": "{{ bos_token }}{{ messages[0].content }}{{ x }}", "bos_token": "<s>", "x": 3,
                  "messages": [{"role": "user", "content": "你好"}]},
                 {"messages": []},
                 {"template": "{{ raise_exception('no: ' + messages[0].content) }}",
                  "messages": [{"role": "user", "content": "q"}]},
                 {"template": "{% for", "messages": []},
                 {"template": 5, "messages": []}]
        got = answers("template", "-", "--jsonl", lines=lines)
        self.assertEqual(got[0], {"prompt": "<s>你好3"})
        self.assertEqual([list(a) for a in got[1:]], [["error"]] * 4)
        self.assertIn("no: q", got[2]["error"])
        self.assertEqual(got[4]["error"], "template: a string is expected, not 5")

    def interactive(self, arguments, line):
        """Writes one line, reads its answer before the next is written, three times."""
        process = subprocess.Popen([support.PROGRAM, *map(str, arguments)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=support.clean_environment())
        try:
            for _ in range(3):
                process.stdin.write((json.dumps(line) + "\n").encode())
                process.stdin.flush()
                answer = json.loads(process.stdout.readline())
                self.assertNotIn("error", answer)
            process.stdin.close()
            self.assertEqual(process.stdout.read(), b"")
            self.assertEqual(process.wait(60), 0)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def test_one_line_at_a_time(self):
        self.interactive(["tokenize", find_golden("tokenizers/smollm/tokenizer.json"), "--jsonl"], {"text": "a"})
        self.interactive(["template", "-", "--jsonl"], {"template": "x", "messages": []})
        self.interactive(["generate", find_golden(TINY), "--jsonl"], {"ids": [1, 2], "max_new_tokens": 3})

    def test_generate_lines(self):
        lines = [{"ids": [1, 2, 3], "max_new_tokens": 30, "ignore_eos": True},
                 {"ids": [1], "max_new_tokens": 2, "ignore_eos": True},
                 "nonsense",
                 "[1, 2]",
                 {"ids": [1], "temprature": 1},
                 {"ids": [1], "max_new_tokens": 0},
                 {"prompt": "no tokenizer here"},
                 {"ids": [4, 5], "max_new_tokens": 100000},
                 {"ids": []},
                 {"ids": [1], "prompt": "both"},
                 {"ids": [257], "max_new_tokens": 2},
                 {"ids": [7, 8], "max_new_tokens": 4, "ignore_eos": True, "logprobs": 2}]
        got = answers("generate", find_golden(TINY), "--jsonl", lines=lines)
        self.assertEqual([len(got[i]["ids"]) for i in (0, 1, 11)], [30, 2, 4])
        for i in range(2, 11):
            self.assertEqual(list(got[i]), ["error"], (i, got[i]))
        self.assertIn("temprature", got[4]["error"])
        self.assertIn("max_new_tokens", got[5]["error"])
        self.assertEqual([len(t["top"]) for t in got[11]["logprobs"]], [2] * 4)
        for token in got[11]["logprobs"]:  # greedy: what was chosen is the best
            self.assertEqual((token["id"], token["logprob"]), (token["top"][0]["id"], token["top"][0]["logprob"]))


class Generate(unittest.TestCase):
    def ids(self, *arguments, lines):
        return [a.get("ids", a) for a in answers("generate", *arguments, "--jsonl", lines=lines)]

    def test_a_gguf_file_without_a_vocabulary_runs_on_ids(self):
        with support.temporary_folder() as folder:
            data = find_golden("gguf/llama.gguf").read_bytes()
            (folder / "bare.gguf").write_bytes(data.replace(b"tokenizer.ggml.model", b"tokenizer.ggml.xodel"))
            answer = json.loads(run_ok("generate", folder / "bare.gguf", "--ids", "1,2", "--max-new-tokens", 2, "--json").stdout)
            self.assertEqual(answer["prompt_tokens"], 2)

    def test_seeds_under_any_batch_and_thread_count(self):
        model = find_golden(TINY)
        lines = [{"ids": [1 + i, 2, 3 * i], "max_new_tokens": 20, "ignore_eos": True, "temperature": 1.5, "seed": i}
                 for i in range(8)]
        first = self.ids(model, lines=lines)
        self.assertEqual(first, self.ids(model, "--batch", 1, "--threads", 1, lines=lines))
        self.assertEqual(first, self.ids(model, "--batch", 3, "--threads", 2, lines=lines))
        self.assertEqual(first[::-1], self.ids(model, lines=lines[::-1]))
        again = [{**line, "seed": line["seed"] + 100} for line in lines]
        self.assertNotEqual(first, self.ids(model, lines=again))

    def test_ignore_eos_and_minimum(self):
        model = find_golden(TINY)
        # a bias makes end-of-sequence (2) certain
        certain = {"ids": [1, 5], "max_new_tokens": 6, "logit_bias": {"2": 1000}}
        eos, ignored, minimum = answers("generate", model, "--jsonl", lines=[
            certain, {**certain, "ignore_eos": True}, {**certain, "min_new_tokens": 4}])
        self.assertEqual((eos["ids"], eos["finish_reason"]), ([2], "eos"))
        self.assertEqual((len(ignored["ids"]), ignored["finish_reason"]), (6, "length"))
        self.assertNotIn(2, ignored["ids"])
        self.assertEqual((len(minimum["ids"]), minimum["ids"][-1], minimum["finish_reason"]), (5, 2, "eos"))

    def test_stop_strings(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            base = {"prompt": "Once", "max_new_tokens": 24, "ignore_eos": True}
            whole = answers("generate", model, "--jsonl", lines=[base])[0]["text"]
            middle = len(whole) // 2
            stop = whole[middle:middle + 3]
            cut, kept = answers("generate", model, "--jsonl", lines=[
                {**base, "stop": stop}, {**base, "stop": ["never here \u0007", stop], "include_stop": True}])
            at = whole.index(stop)
            self.assertEqual((cut["text"], cut["finish_reason"]), (whole[:at], "stop"))
            self.assertEqual(kept["finish_reason"], "stop")
            self.assertTrue(kept["text"].startswith(whole[:at] + stop), (kept["text"], whole))
            flags = ["--max-new-tokens", 24, "--ignore-eos"]
            self.assertEqual(run_ok("generate", model, "Once", *flags, "--stop", stop).stdout, whole[:at] + "\n")
            self.assertEqual(run_ok("generate", model, "Once", *flags).stdout, whole + "\n")
            self.assertEqual(run_ok("generate", model, "-", *flags, input="Once").stdout, whole + "\n")

    def test_chat_is_the_template(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            prompt = run_ok("template", model, "你好", "--system", "Be brief.").stdout[:-1]
            self.assertEqual(prompt, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n你好<|im_end|>\n"
                                     "<|im_start|>assistant\n")
            ids = answers("tokenize", model, "--jsonl", lines=[{"text": prompt, "special": False}])[0]["ids"]
            flags = ["--max-new-tokens", 8, "--ignore-eos", "--json"]
            chat = json.loads(run_ok("generate", model, "--chat", "你好", "--system", "Be brief.", *flags).stdout)
            raw = json.loads(run_ok("generate", model, "--ids", ",".join(map(str, ids)), *flags).stdout)
            self.assertEqual((chat["ids"], chat["prompt_tokens"]), (raw["ids"], len(ids)))
            self.assertEqual((chat["weights"], chat["kv_dtype"]), ("f32", "f16"))
            self.assertTrue(chat["activations"])
            for field in ("time_to_first_token_s", "prefill_tokens_per_second", "decode_tokens_per_second"):
                self.assertGreater(chat["timings"][field], 0)

    def interrupted(self, arguments, folder, input=None):
        process = subprocess.Popen([support.PROGRAM, *map(str, arguments)], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder,
                                   env=support.clean_environment())
        try:
            if input:
                process.stdin.write(input)
                process.stdin.flush()
            seen = os.read(process.stdout.fileno(), 1)  # it generates
            self.assertTrue(seen)
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(30), 130)
            self.assertLess(time.monotonic() - started, 10)
        finally:
            process.kill()
            process.communicate()

    def test_interrupt(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, max_context=100_000)
            before = sorted(str(p) for p in folder.rglob("*"))
            endless = ["--max-new-tokens", 90_000, "--ignore-eos"]
            self.interrupted(["generate", model, "Once", *endless], folder)
            self.interrupted(["generate", model, "--jsonl", "--ignore-eos"], folder,
                             b'{"prompt": "a", "max_new_tokens": 2}\n{"prompt": "b", "max_new_tokens": 90000}\n')
            self.assertEqual(sorted(str(p) for p in folder.rglob("*")), before)

    def test_interrupt_inside_a_step(self):
        """A prompt that is one step of seconds: on the slow reference machine, through many layers."""
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, hidden=128, layers=48)
            prompt = {"ids": [i % 1700 + 10 for i in range(400)], "max_new_tokens": 1}
            slow = ["generate", model, "--device", "reference"]
            one = [*slow, "--ids", ",".join(map(str, prompt["ids"])), "--max-new-tokens", 1, "--json"]
            started = time.monotonic()
            self.assertEqual(json.loads(run_ok(*one).stdout)["finish_reason"], "length")
            whole = time.monotonic() - started
            lines = "".join(json.dumps({**prompt, "ids": prompt["ids"][i:]}) + "\n" for i in range(8)).encode()
            for arguments, input in ((one, b""), ([*slow, "--jsonl"], lines)):
                process = subprocess.Popen([support.PROGRAM, *map(str, arguments)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                           env=support.clean_environment())
                try:
                    process.stdin.write(input)
                    process.stdin.flush()
                    if input:  # who asks for --json is not told when the model is loaded
                        while b"loaded in" not in process.stderr.readline():
                            self.assertIsNone(process.poll())
                    time.sleep(whole / 3 if input else whole / 2)
                    started = time.monotonic()
                    process.send_signal(signal.SIGINT)
                    output = process.communicate(timeout=60)[0]
                    self.assertLess(time.monotonic() - started, whole / 4)
                    self.assertEqual(process.returncode, 130)
                    got = support.json_lines(output.decode())  # of the lines: those that it had taken
                    self.assertEqual([(a["finish_reason"], a["ids"]) for a in got], [("cancelled", [])] * len(got))
                    self.assertTrue(1 <= len(got) <= (8 if input else 1), len(got))
                finally:
                    process.kill()
                    process.wait()


class Synthetic(unittest.TestCase):
    def test_written_folder_has_the_same_bits(self):
        with support.temporary_folder() as folder:
            shape = folder / "config.json"
            shape.write_text((find_golden(TINY) / "config.json").read_text())
            for dtype in ("f32", "f16", "bf16"):
                with self.subTest(dtype):
                    common = ["--ids", "1,2,3,200", "--dtype", dtype]
                    run_ok("logits", "--synthetic", shape, *common, "--output", folder / "a.npy",
                           "--write", folder / dtype)
                    run_ok("logits", folder / dtype, *common, "--output", folder / "b.npy")
                    self.assertEqual((folder / "a.npy").read_bytes(), (folder / "b.npy").read_bytes())
                    facts = json.loads(run_ok("inspect", folder / dtype, "--json").stdout)
                    self.assertEqual(list(facts["stored_types"]), [dtype.upper()])
            run_ok("logits", "--synthetic", shape, "--synthetic-seed", 2, *common, "--output", folder / "c.npy")
            self.assertNotEqual(read_npy(folder / "a.npy")[1], read_npy(folder / "c.npy")[1])

    def test_integers(self):
        """Rounded while loading: said, planned, close to F32, and the same bits however the work is cut."""
        model = find_golden(TINY)
        with support.temporary_folder() as folder:
            ids = ["--ids", ",".join(str(i * 7 % 257) for i in range(70))]
            run_ok("logits", model, *ids, "--dtype", "f32", "--output", folder / "f32.npy")
            exact = read_npy(folder / "f32.npy")[1]
            size = sum(x * x for x in exact)
            for dtype, most in ("int8", 0.15), ("int8-g32", 0.15), ("int4-g32-asym", 0.9):
                with self.subTest(dtype):
                    outputs = []
                    for flags in (["--threads", 1], ["--threads", 2, "--chunk", 1], ["--chunk", 33]):
                        out = run_ok("logits", model, *ids, "--dtype", dtype, "--output", folder / "x.npy", *flags)
                        outputs.append((folder / "x.npy").read_bytes())
                        self.assertIn(f"weights {dtype}", out.stderr)
                        self.assertIn("int8 per row and group", out.stderr)
                    self.assertEqual(outputs[0], outputs[1])
                    self.assertEqual(outputs[0], outputs[2])
                    error = sum((a - b) ** 2 for a, b in zip(exact, read_npy(folder / "x.npy")[1]))
                    self.assertGreater(error, 0)
                    self.assertLess((error / size) ** 0.5, most)
            plans = json.loads(run_ok("inspect", "--synthetic", "mistral-7b", "--json").stdout)["memory"]["packings"]
            # 6.98 G weights in layers and 0.13 G in the head with 8.125 or 4.125 bits, the embedding with 16
            self.assertAlmostEqual(plans["int8"]["bytes_per_decoded_token"] / 1e9, 7.22, delta=0.01)
            self.assertAlmostEqual(plans["int4"]["bytes_per_decoded_token"] / 1e9, 3.73, delta=0.01)
            self.assertAlmostEqual(plans["int8"]["weights_bytes"] / 1e9, 7.48, delta=0.01)

    def test_chunks_and_threads_change_no_bit(self):
        with support.temporary_folder() as folder:
            ids = ",".join(str(i * 7 % 257) for i in range(70))
            outputs = []
            for flags in (["--threads", 1], ["--threads", 2, "--chunk", 1], ["--chunk", 33]):
                run_ok("logits", find_golden(TINY), "--ids", ids, "--output", folder / "x.npy", *flags)
                outputs.append((folder / "x.npy").read_bytes())
            self.assertEqual(outputs[0], outputs[1])
            self.assertEqual(outputs[0], outputs[2])

    def test_write_needs_synthetic(self):
        with support.temporary_folder() as folder:
            done = run("logits", find_golden(TINY), "--write", folder / "x", "--ids", "1", "--output", folder / "o.npy")
            self.assertEqual(done.returncode, 1)
            self.assertIn("--synthetic", done.stderr)


if __name__ == "__main__":
    support.main()
