#!/usr/bin/env python3
"""Writes src/text/unicode_table.cc: the character classes and lower-case mapping of the PyPI package `tokenizers`.

The classes are asked of the package itself (its regex engine and its own predicates, over every code point), so that our
scanners split where it splits, whatever Unicode version it was built with.

    /work/.venv/bin/python tools/make_unicode_table.py > src/text/unicode_table.cc
"""
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
TEXT = "".join(map(chr, CODE_POINTS))
CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "M", "N"]  # 1..7; 8 is White_Space, 0 anything else
# A letter, mark or number first assigned in that version: tells which one the regex engine was built with.
VERSIONS = [("12.0", 0x0E86), ("12.1", 0x32FF), ("13.0", 0x08BE), ("14.0", 0x0870), ("15.0", 0x0CF3), ("15.1", 0x2EBF0),
            ("16.0", 0x1C89), ("17.0", 0xA7CE)]


def regex_class(negated):
    """Code points that remain when everything matching `negated` is removed."""
    return {ord(c) for c in normalizers.Replace(Regex(negated), "").normalize_str(TEXT)}


def isolated_by(pre_tokenizer, filler):
    """Code points that the pre-tokenizer cuts off from a neighbour of another class."""
    text = filler + "".join(c + filler for c in TEXT)
    return {ord(piece) for piece, _ in pre_tokenizer.pre_tokenize_str(text) if len(piece) == 1 and piece != filler}


def normalizing():
    """Code points that a normalization form changes, moves, or puts together with the one before."""
    characters = [chr(c) for c in CODE_POINTS if c != 10]
    changed, seconds = set(), set()
    for form in (normalizers.NFC(), normalizers.NFD(), normalizers.NFKD()):
        for c, result in zip(characters, form.normalize_str("\n".join(characters)).split("\n")):
            if result != c:
                changed.add(ord(c))
                if isinstance(form, normalizers.NFD):
                    seconds.update(map(ord, result[1:]))
    # A combining class other than 0 shows when the character changes places with a mark of class 230 before it or of class 1
    # behind it.
    for pattern in ("\u0300{}", "{}\u0334"):
        texts = ["a" + pattern.format(c) for c in characters]
        for c, text, result in zip(characters, texts, normalizers.NFD().normalize_str("\n".join(texts)).split("\n")):
            if ord(c) not in changed and result != text:
                changed.add(ord(c))
    return changed | seconds


def main():
    category = {}
    for index, name in enumerate(CATEGORIES, 1):
        for c in regex_class(rf"\P{{{name}}}"):
            assert c not in category, hex(c)
            category[c] = index
    spaces = regex_class(r"\S")
    for c in spaces:
        assert c not in category, hex(c)
        category[c] = 8
    kept = "".join(piece for piece, _ in pre_tokenizers.WhitespaceSplit().pre_tokenize_str(TEXT))
    assert set(CODE_POINTS) - set(map(ord, kept)) == spaces, "Rust's White_Space differs from the regex engine's"

    numeric = isolated_by(pre_tokenizers.Digits(individual_digits=True), "a")
    punctuation = isolated_by(pre_tokenizers.Punctuation("isolated"), "a")
    word = isolated_by(pre_tokenizers.Whitespace(), "!") - spaces
    assert ord("a") in word and ord("!") not in word and ord("\u0300") in word

    unstable = normalizing()

    def mask(c):
        flags = (c in numeric) << 4 | (c in word) << 5 | (c in punctuation) << 6 | (c in unstable) << 7
        return category.get(c, 0) | flags

    runs, previous = [], -1
    for c in range(0x110000):
        value = 0 if 0xD800 <= c < 0xE000 else mask(c)
        if value != previous:
            runs.append(c << 8 | value)
            previous = value

    lowered = normalizers.Lowercase().normalize_str("\n".join(chr(c) for c in CODE_POINTS if c != 10)).split("\n")
    pairs = []
    for c, lower in zip((c for c in CODE_POINTS if c != 10), lowered):
        if lower != chr(c):
            if c == 0x130:
                assert lower == "i\u0307"  # the one mapping to two characters, written out in unicode.cc
                continue
            assert len(lower) == 1, hex(c)
            pairs.append((c, ord(lower)))
    ranges = []  # [first, last, step, delta]
    for c, lower in pairs:
        if ranges:
            first, last, step, delta = ranges[-1]
            if lower - c == delta and (c - last == step or (first == last and c - last in (1, 2))):
                ranges[-1] = [first, c, c - last, delta]
                continue
        ranges.append([c, c, 1, lower - c])

    version = max((v for v, c in VERSIONS if category.get(c)), key=lambda v: tuple(map(int, v.split("."))))
    out = sys.stdout.write
    out(f"// Made by tools/make_unicode_table.py from PyPI tokenizers {tokenizers.__version__}; do not edit.\n")
    out('#include "text/unicode_table.h"\n\nnamespace updraft::text {\n\n// clang-format off\n')
    out(f'const char kUnicodeVersion[] = "{version}";\nconst char kUnicodeSource[] = "tokenizers {tokenizers.__version__}";\n\n')
    out(f"const uint32_t kClassRuns[] = {{\n")
    for i in range(0, len(runs), 10):
        out("    " + ", ".join(f"0x{r:x}" for r in runs[i:i + 10]) + ",\n")
    out(f"}};\nconst int kClassRunCount = {len(runs)};\n\n")
    out("const LowerCaseRange kLowerCaseRanges[] = {\n")
    for i in range(0, len(ranges), 4):
        out("    " + ", ".join(f"{{0x{a:x}, 0x{b:x}, {s}, {d}}}" for a, b, s, d in ranges[i:i + 4]) + ",\n")
    out(f"}};\nconst int kLowerCaseRangeCount = {len(ranges)};\n// clang-format on\n\n}}  // namespace updraft::text\n")


main()
