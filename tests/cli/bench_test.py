#!/usr/bin/env python3
"""`updraft bench` on a small synthetic model: every format, run records, replay, compare, the exit code of a regression."""
import csv
import html.parser
import io
import json
import unittest

import support
from support import run, run_ok

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 96,
          "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 400,
          "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "bos_token_id": 1,
          "eos_token_id": 2, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
ESTIMATE = r"^This takes about [\d.]+ (us|ms|s|min|h)[^:]*: an estimate from [\d.]+ [KMG]?B of weights a step"
SWEEP = ["--prompt", "16,64", "--depth", "0,256", "--batch", "1,3", "--sweep-tokens", 4, "--sweep-samples", 2]


class Outline(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.links, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes another tag")

    def handle_data(self, data):
        self.text.append(data)


class Bench(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.context = support.temporary_folder()
        cls.folder = cls.context.__enter__()
        cls.shape = cls.folder / "config.json"
        cls.shape.write_text(json.dumps(CONFIG))
        cls.record_file = cls.folder / "record.json"
        cls.html_file = cls.folder / "report.html"
        cls.done = run_ok("bench", "--synthetic", cls.shape, "--quick", *SWEEP, "--record", cls.record_file, "--html",
                          cls.html_file, "--lang", "en")
        cls.record = json.loads(cls.record_file.read_text())

    @classmethod
    def tearDownClass(cls):
        cls.context.__exit__(None, None, None)

    def test_table(self):
        table = self.done.stdout
        for text in ("Chinese Q&A", "English Q&A", "Code generation", "Logical reasoning", "Long context", "Average",
                     "synthetic", "cache-resident", "Read bandwidth", "peak resident"):
            self.assertIn(text, table)
        self.assertRegex(self.done.stderr, ESTIMATE)
        self.assertNotIn("\x1b", table + self.done.stderr)

    def test_the_estimate_comes_first(self):
        """Also without a probe, and before anything is loaded: this cache is refused while loading."""
        done = run("bench", "--synthetic", self.shape, "--no-probe", "--no-tasks", "--depth", 16_000_000, "--batch", 4096)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, ESTIMATE + r"[^\n]+\n[^\n]*KV cache of")

    def test_interrupted_in_the_middle_of_a_point(self):
        """Of a sweep, whose steps take seconds: the point is left out; `tune` keeps nothing."""
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder, hidden=128, layers=32)
            flags = [model, "--device", "reference"]
            code, out, error = support.interrupt("bench", *flags, "--no-tasks", "--no-probe", "--prompt", 600, "--batch", 1,
                                                 "--format", "json", after="loaded in")
            self.assertEqual(code, 130, error)
            record = json.loads(out)
            self.assertEqual((record["complete"], record["sweep"]), (False, []))
            self.assertEqual(support.interrupt("tune", *flags, "--dry-run", after="loaded in")[:2], (130, ""))

    def refused(self, *arguments, says):
        """As wrong usage, by name, before anything is read, pulled or measured."""
        done = run("bench", *arguments)
        self.assertEqual((done.returncode, done.stdout), (2, ""), (arguments, done.stderr))
        for part in says:
            self.assertIn(part, done.stderr)
        self.assertNotIn("no/such", done.stderr)

    def test_flags_that_contradict_each_other(self):
        of = ["no/such"]
        self.refused(*of, "--no-tasks", "--rows", 2, "--speculate", says=["--no-tasks", "--speculate"])
        self.refused(*of, "--no-tasks", "--rows", 2, "--tasks", "code", says=["--no-tasks", "--tasks"])
        self.refused(*of, "--fail-below", 0.9, says=["--replay"])
        for flags in (["--depth", "0,9000"], ["--depth", 500], ["--prompt", "16,513"], ["--rows", 600]):
            self.refused(*of, "--context", 512, "--no-tasks", *flags, says=["--context 512", flags[0].replace("rows", "depth")])
        for first, second in (("--output", "--html"), ("--output", "--record"), ("--html", "--record")):
            self.refused(*of, first, self.folder / "x", second, self.folder / "." / "x", says=[first, second, "same file"])

    def test_compare_refuses_what_it_does_not_use(self):
        both = ["--compare", "no/such/a", "no/such/b"]
        for flags in (["no/such"], ["--against", "http://localhost:1"], ["--record", "x"], ["--html", "x"], ["--runs", 3],
                      ["--threads", 1], ["--no-probe"], ["--no-tasks"], ["--depth", 3], ["--quick"]):
            self.refused(*flags, *both, says=[flags[0] if flags[0].startswith("-") else "MODEL", "leave", "--compare"])
        for format in ("csv", "markdown", "html"):
            self.refused(*both, "--format", format, says=[f"--format {format}"])

    def test_flags_win_over_quick(self):
        flags = ["--synthetic", self.shape, "--no-probe", "--tasks", "code", "--quick", "--format", "json"]

        def counts(*more):
            protocol = json.loads(run_ok("bench", *flags, *more).stdout)["protocol"]
            return [protocol[key] for key in ("warmup_runs", "timed_runs", "max_new_tokens")]

        self.assertEqual(counts(), [1, 2, 32])
        self.assertEqual(counts("--runs", 3, "--warmup", 0, "--max-new-tokens", 7), [0, 3, 7])
        self.assertEqual(counts("--runs", 1), [1, 1, 32])

    def test_lists_leave_the_model_behind_them(self):
        with support.temporary_folder() as folder:
            model = support.make_chat_model(folder)
            small = ["--no-probe", "--format", "json", "--sweep-tokens", 2, "--sweep-samples", 1]
            for flags in (["--no-tasks", "--batch", "1,2"], ["--no-tasks", "--rows", 2], ["--no-tasks", "--prompt", 3],
                          ["--no-tasks", "--batch", 1, "--batch", 2, "--depth", "0,4"],
                          ["--runs", 1, "--warmup", 0, "--max-new-tokens", 1, "--tasks", "code,logic"]):
                record = json.loads(run_ok("bench", *small, *flags, model).stdout)
                self.assertEqual(record["model"]["name"], "model", flags)
            self.assertEqual([task["id"] for task in record["tasks"]], ["code", "logic"])
            gaps = record["tasks"][0]["inter_token_latency_s"]
            self.assertEqual(set(gaps.values()), {None}, "one token has no gap")
            batches = json.loads(run_ok("bench", *small, "--no-tasks", "--batch", 1, "--batch", 2, model).stdout)["sweep"]
            self.assertEqual([point["batch"] for point in batches], [1, 2])

    def test_beyond_the_models_own_context(self):
        flags = ["--synthetic", self.shape, "--no-tasks", "--no-probe", "--sweep-samples", 1, "--sweep-tokens", 2]
        done = run_ok("bench", *flags, "--depth", 4095)
        self.assertRegex(done.stderr, "own context of 4096 tokens: --depth 4095")
        self.assertNotIn("own context", run_ok("bench", *flags, "--depth", 4094).stderr)

    def test_controls_of_a_models_text_are_not_passed_on(self):
        page = self.folder / "controls.html"
        done = run_ok("bench", "--synthetic", "tiny", "--synthetic-seed", 6, "--no-probe", "--quick", "--html", page)
        for text in (done.stdout, page.read_bytes().decode()):
            self.assertNotRegex(text, r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
            self.assertIn("\ufffd", text)

    def test_tune(self):
        with support.temporary_folder() as folder:
            cache = {"UPDRAFT_CACHE": str(folder)}
            flags = ["tune", "--synthetic", self.shape, "--seconds", 2]
            text = run_ok(*flags, environment=cache).stdout
            kept, = (folder / "tuning").iterdir()
            file = json.loads(kept.read_text())
            for part, name in (("decode", "decode_threads"), ("prefill", "prefill_threads")):
                gain = file["measured"][part + "_gain"]
                self.assertGreaterEqual(gain, 1)
                if gain == 1:
                    self.assertEqual(file["tuning"][name], 0)
                    self.assertRegex(text, part + r" .*the defaults")
            for dtype in ("int4", "int4-g32-asym"):  # another format is another tuning
                run_ok(*flags, "--dtype", dtype, environment=cache)
            shapes = {json.loads(f.read_text())["for"]["shape"] for f in (folder / "tuning").iterdir()}
            self.assertEqual(len(shapes), 3, shapes)
            self.assertEqual(sum("weights=int4-g32-asym" in shape for shape in shapes), 1, shapes)
        done = run("tune", "--synthetic", self.shape, environment={"UPDRAFT_CACHE": "/proc/nowhere"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("/proc/nowhere/tuning: tunings cannot be written there: No such file", done.stderr)
        self.assertIn("UPDRAFT_CACHE", done.stderr)
        self.assertNotIn("loaded in", done.stderr)

    def test_record(self):
        record = self.record
        self.assertEqual(record["schema"], "updraft.run/1")
        self.assertTrue(record["complete"])
        self.assertEqual(record["protocol"]["max_new_tokens"], 32)
        self.assertEqual(len(record["tasks"]), 5)
        for task in record["tasks"]:
            self.assertEqual((task["new_tokens"], task["finish_reason"]), (32, "length"))
            self.assertEqual(len(task["samples"]), 2)
            self.assertIsNone(task["bandwidth_fraction"])
            self.assertTrue(task["cache_resident"])
            self.assertGreater(task["time_to_first_token_s"]["median"], 0)
            self.assertRegex(task["logits_hash"], "^[0-9a-f]{16}$")
        self.assertEqual([(p["kind"], p.get("depth"), p.get("batch")) for p in record["sweep"]],
                         [("prefill", None, None)] * 2 + [("decode", d, b) for d in (0, 256) for b in (1, 3)])
        self.assertGreater(record["bandwidth"]["read_bandwidth_bytes_per_second"], 1e9)
        self.assertGreaterEqual(record["bandwidth"]["bytes_per_pass"], 4 << 30)
        self.assertGreaterEqual(record["bandwidth"]["passes"], 5)
        self.assertFalse(record["memory"]["peak_includes_probe"])
        self.assertLess(record["memory"]["peak_resident_bytes"], 400e6, "the probe is not the model's")
        self.assertGreater(record["peaks"][0]["per_second"], 1e9)
        average = sum(t["tokens_per_second"] for t in record["tasks"]) / 5
        self.assertAlmostEqual(record["average"]["tokens_per_second"], average)

    def test_html(self):
        page = self.html_file.read_text(encoding="utf-8")
        outline = Outline()
        outline.feed(page)
        outline.close()
        self.assertEqual(outline.open, [])
        self.assertEqual(outline.links, [])
        self.assertNotIn("script", outline.tags)
        self.assertIn("svg", outline.tags)
        self.assertIn("Code generation", "".join(outline.text))

    def test_formats_and_replay(self):
        """One more run in each format; the same model gives the same logits."""
        quick = ["--tasks", "code", "--runs", 1, "--warmup", 0, "--max-new-tokens", 4]
        output = self.folder / "out.csv"
        single = self.folder / "single.json"
        done = run_ok("bench", "--synthetic", self.shape, *quick, "--depth", 200, "--batch", 2, "--sweep-tokens", 2,
                      "--sweep-samples", 1, "--real-fill", "--format", "csv", "--output", output, "--record", single)
        self.assertEqual(done.stdout, "")
        rows = list(csv.reader(io.StringIO(output.read_text())))
        self.assertEqual({len(row) for row in rows}, {len(rows[0])})
        self.assertEqual([row[:2] for row in rows[1:]], [["task", "code"], ["decode", ""]])
        point, = json.loads(single.read_text())["sweep"]
        self.assertEqual((point["depth_fill"], point["depth"], point["batch"]), ("prefill", 200, 2))
        page = self.folder / "again.html"
        replayed = run("bench", "--replay", single, "--format", "json", "--output", self.folder / "again.json", "--html",
                       page, "--lang", "zh")
        self.assertIn("代码生成", page.read_text(encoding="utf-8"))
        self.assertEqual(replayed.returncode, 0, replayed.stderr)
        self.assertIn("代码生成: tok/s", replayed.stdout)
        self.assertIn("仅一个样本", replayed.stdout)
        for format in ("json", "csv", "markdown", "html"):  # a table behind them would break them
            done = run_ok("bench", "--replay", single, "--no-probe", "--format", format, "--lang", "en")
            self.assertIn("code: tokens/s", done.stderr)
            self.assertNotIn("B / A", done.stdout)
            if format == "json":
                self.assertEqual(json.loads(done.stdout)["schema"], "updraft.run/1")
        again = json.loads((self.folder / "again.json").read_text())
        self.assertEqual(again["tasks"][0]["logits_hash"], json.loads(single.read_text())["tasks"][0]["logits_hash"])
        self.assertEqual(again["protocol"], json.loads(single.read_text())["protocol"])
        for more in (["--runs", 2], ["--dtype", "f32"], ["MODEL"]):
            refused = run("bench", *more, "--replay", single)
            self.assertEqual(refused.returncode, 2, refused.stderr)
            self.assertIn("leave", refused.stderr)
        for path, wrong in (
            (("protocol", "warmup_runs"), -1),
            (("protocol", "timed_runs"), 0),
            (("flags", "threads"), 10**9),
            (("flags", "threads"), "many"),
            (("protocol", "timed_runs"), 1e300),
            (("flags", "dtype"), None),  # the key is missing
            (("protocol", "sweep", "prompts"), [-1]),
            (("protocol", "sweep", "prompts"), [1e300]),
            (("protocol", "sweep", "prompts"), 5),
            (("protocol", "sweep", "seed"), 1e300),
        ):
            record = json.loads(single.read_text())
            place = record
            for key in path[:-1]:
                place = place[key]
            if wrong is None:
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            broken = self.folder / "broken.json"
            broken.write_text(json.dumps(record))
            done = run("bench", "--replay", broken)
            self.assertEqual(done.returncode, 1, path)
            self.assertIn("cannot be run again", done.stderr)
            self.assertIn(path[-1], done.stderr)

    def test_depth_alone_is_one_sequence(self):
        done = run_ok("bench", "--synthetic", self.shape, "--no-tasks", "--no-probe", "--depth", 100, "--sweep-tokens", 2,
                      "--sweep-samples", 1, "--format", "json")
        self.assertEqual([(p["depth"], p["batch"]) for p in json.loads(done.stdout)["sweep"]], [(100, 1)])

    def test_compare(self):
        fast, slow = (json.loads(json.dumps(self.record)) for _ in range(2))
        for task in slow["tasks"]:
            for sample in task["samples"]:
                sample["latency_s"] *= 3
                sample["token_times_s"] = [t * 3 for t in sample["token_times_s"]]
        for point in slow["sweep"]:
            point["samples_s"] = [s * 3 for s in point["samples_s"]]
        for record in (slow, fast):  # two samples have wide intervals: repeat them
            for task in record["tasks"]:
                task["samples"] = task["samples"] * 10
        fast_file, slow_file = self.folder / "fast.json", self.folder / "slow.json"
        fast_file.write_text(json.dumps(fast))
        slow_file.write_text(json.dumps(slow))
        done = run_ok("bench", "--compare", fast_file, slow_file)
        self.assertIn("slower", done.stdout)
        worse = run("bench", "--compare", fast_file, slow_file, "--fail-below", 0.9)
        self.assertEqual(worse.returncode, 4, worse.stdout)
        self.assertIn("regression", worse.stderr)
        self.assertEqual(run("bench", "--compare", slow_file, fast_file, "--fail-below", 0.9).returncode, 0)
        self.assertEqual(run("bench", "--compare", fast_file, fast_file, "--fail-below", 0.9).returncode, 0)
        output = self.folder / "comparison.json"
        written = run("bench", "--compare", fast_file, slow_file, "--fail-below", 0.9, "--format", "json", "--output", output)
        self.assertEqual((written.returncode, written.stdout), (4, ""))
        figures = json.loads(output.read_text())["figures"]
        self.assertIn("slower", {figure["verdict"] for figure in figures})
        self.assertEqual(json.loads(run_ok("bench", "--compare", fast_file, slow_file, "--format", "json").stdout)["figures"],
                         figures)
        self.assertIn("更慢", run_ok("bench", "--compare", fast_file, slow_file, "--lang", "zh").stdout)

    def test_one_sample_proves_nothing(self):
        files = []
        for factor in (1, 3):
            record = json.loads(json.dumps(self.record))
            record["sweep"] = []
            for task in record["tasks"]:
                task["samples"] = task["samples"][:1]
                sample, = task["samples"]
                sample["latency_s"] *= factor
                sample["token_times_s"] = [t * factor for t in sample["token_times_s"]]
                task["latency_s"]["confidence_95"] = [1, 1]  # as earlier versions wrote it
            files.append(self.folder / f"one{factor}.json")
            files[-1].write_text(json.dumps(record))
        done = run_ok("bench", "--compare", *files, "--fail-below", 1, "--lang", "en")
        self.assertIn("one sample", done.stdout)
        self.assertIn("no regression is proven", done.stdout)


if __name__ == "__main__":
    support.main()
