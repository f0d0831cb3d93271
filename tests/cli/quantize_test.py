#!/usr/bin/env python3
"""`updraft quantize` from outside: what it writes opens, eval says what it costs, calibration costs less."""
import json
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

    def test_what_is_wrong_is_said(self):
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
