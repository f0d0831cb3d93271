#!/usr/bin/env python3
"""`updraft tokenize MODEL --jsonl` against the PyPI package `tokenizers`: every code point, random Unicode, mixed scripts, code,
white space, random ids; then tokenizers put together at random from every component that we read, and random patterns.

    tokenizer.py build/release/updraft [--quick] [--mixtures N] [--patterns N] [--folder FOLDER ...]

Without folders: those of the goldens. Prints its seed; UPDRAFT_SEED repeats it. Exit code 77: skipped, the last line says why.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile

from run_seed import run_seed

try:
    from tokenizers import Tokenizer
except ImportError as error:
    print(f"the Python package {error.name} is missing")
    sys.exit(77)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CODE_POINTS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
WORDS = (
    "the of and to in is that it was for on are with his they I at be this have from or had by not what all were we when "
    "your can there use each which she do how their if will 'll 're 'S 't 'VE don't can't I'm It'S 12 345 6789 3.14 1e-5 "
    "你好 世界 学习模型 こんにちは カタカナ مرحبا Привет नमस्ते สวัสดี é e\u0301 ü 😀 👨\u200d👩\u200d👧 🇩🇪 \u00a0 \u3000 def return "
    "{} [] () == != ::: /* // # <s> </s> <unk> <|endoftext|> <|im_start|> <|im_end|> [INST] [/INST] <|begin_of_text|> "
    "<|eot_id|> ſ 'ſ \u212a ﬁn fin A\u0327 k\u0301 İ ı ǅ ʰ ⅷ ② ½ ١٢ _ __ ▁ ▁▁ <0x0A> <tool_call> strip ABCdef aBC camelCase "
    "HTTPServer \u0308 \u0308\u0308 ก็ 한국어 \u1100\u1161\u11a8 \ufeff \u200b \u2028 \x00 \x7f for(int i=0;i<n;++i) x->y::z"
).split(" ")


def texts_for(rnd, quick):
    texts = ["", " ", "  ", "\n", "a" * 20000, " " * 5000, "ab" * 5000, "\n" * 3000, "é" * 3000, "\u0301" * 3000, "日A" * 2000]
    if not quick:
        texts += ["".join(CODE_POINTS[i:i + 4096]) for i in range(0, len(CODE_POINTS), 4096)]
    step = 61 if quick else 7
    texts += ["x" + c + "y " + c + "' " + c + c for c in CODE_POINTS[rnd.randrange(step)::step]]
    low = CODE_POINTS[:0x600] + CODE_POINTS[0x900:0xA00] + CODE_POINTS[0x1E00:0x2100] + CODE_POINTS[0x3040:0x30FF]
    some = 150 if quick else 600
    for _ in range(some):
        joiner = ["", " ", " ", "  ", "\n", " \n ", "\t"]
        texts.append("".join(rnd.choice(WORDS) + rnd.choice(joiner) for _ in range(rnd.randrange(1, 40))))
        texts.append("".join(rnd.choice(low) for _ in range(rnd.randrange(1, 50))))
        texts.append("".join(rnd.choice(CODE_POINTS) for _ in range(rnd.randrange(1, 30))))
        for alphabet in (" \t\n\r\u00a0\u2003\u3000\u0085a1.'sÁ", "aAbB日ʰ\u0301ǅ1 .\n'/ſsS", "▁ a<s>/"):
            texts.append("".join(rnd.choice(alphabet) for _ in range(rnd.randrange(1, 16))))
    return texts


class Ours:
    def __init__(self, program, model):
        self.command = [program, "tokenize", model, "--jsonl"]

    def ask(self, requests):
        lines = "".join(json.dumps(r) + "\n" for r in requests)
        result = subprocess.run(self.command, input=lines, capture_output=True, text=True, encoding="utf-8")
        if result.returncode != 0:
            return result.stderr.strip()
        answers = [json.loads(line) for line in result.stdout.split("\n") if line]
        assert len(answers) == len(requests), (len(answers), len(requests), result.stderr)
        return answers


def quietly(action):
    """The package panics on some inputs (it means no harm): those are not compared, and what it prints is not shown."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        return action()
    except BaseException as error:  # noqa: B902, a Rust panic is not an Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return None
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def compare(program, model, theirs, texts, rnd, decodes, what):
    requests, wanted = [], []
    for text in texts:
        special = rnd.random() < 0.5
        ids = quietly(lambda: theirs.encode(text, add_special_tokens=special).ids)
        if ids is not None:
            requests.append({"text": text, "special": special})
            wanted.append(("ids", ids))
    size = max(theirs.get_vocab().values()) + 1
    for _ in range(decodes):
        largest = size if rnd.random() < 0.5 else min(size, 270)
        ids = [rnd.randrange(largest) for _ in range(rnd.randrange(0, 20))]
        skip = rnd.random() < 0.5
        text = quietly(lambda: theirs.decode(ids, skip_special_tokens=skip))
        if text is not None:
            requests.append({"ids": ids, "skip_special": skip})
            wanted.append(("text", text))
    answers = Ours(program, model).ask(requests)
    if isinstance(answers, str):
        print(f"FAILED {what}: {answers}")
        return 1
    bad = 0
    for request, (key, value), answer in zip(requests, wanted, answers):
        if answer.get(key) == value:
            continue
        bad += 1
        if bad <= 3:
            print(f"FAILED {what}: {json.dumps(request)[:400]}\n  theirs {str(value)[:400]!r}\n  ours   {str(answer)[:400]!r}")
    if bad or not what.startswith("mixture"):
        print(f"{what}: {len(requests)} cases, {bad} different")
    return bad


def mixture(rnd):
    """A tokenizer.json of random components over a small random vocabulary."""
    byte_level = rnd.random() < 0.4
    alphabet = list("abcdefghij ABst'.,!?0123456789\n▁éß日本ſⅷ½_-<>") + ["\u0301"]
    if byte_level:
        printable = [c for c in range(256) if 33 <= c <= 126 or 161 <= c <= 172 or c >= 174]
        rest = [256 + i for i in range(256 - len(printable))]
        alphabet = [chr(c) for c in printable + rest]
        if rnd.random() < 0.3:
            rnd.shuffle(alphabet)
            alphabet = alphabet[:200]
    elif rnd.random() < 0.5:
        rnd.shuffle(alphabet)
        alphabet = alphabet[:25]
    vocabulary = {"<unk>": 0, **{c: i + 1 for i, c in enumerate(alphabet)}}
    fallback = not byte_level and rnd.random() < 0.5
    if fallback:
        for b in range(256 if rnd.random() < 0.7 else 0x90):
            vocabulary.setdefault(f"<0x{b:02X}>", len(vocabulary))
    tokens, merges = list(alphabet), []
    for _ in range(rnd.randrange(0, 120)):
        left, right = rnd.choice(tokens), rnd.choice(tokens)
        if len(left + right) > 6:
            continue
        if left + right not in vocabulary:
            vocabulary[left + right] = len(vocabulary)
            tokens.append(left + right)
        if [left, right] not in merges:
            merges.append([left, right])
    if rnd.random() < 0.5 and all(" " not in a + b for a, b in merges):
        merges = [" ".join(m) for m in merges]

    def pattern():
        return rnd.choice([{"String": rnd.choice([" ", "a", "ab", ".", "\u0301"])},
                           {"Regex": rnd.choice(([] if byte_level else [r"\w+|[^\w\s]+"]) + [r"\s+", r"\d", r"[a-c]+", r"\p{N}{1,3}", r"a|b", r"[^\s\p{L}\p{N}]+", r"(?i)ab"])}])

    # One scheme a tokenizer: when a normalizer rewrites the very beginning, what is "first" is an accident. The package asks
    # whether a piece's original text begins at 0: all the pieces of a leading "½" do, once NFKC has made "1⁄2" of it and
    # Digits has cut that. So "first" goes with no normalizer that makes several characters of one.
    first = rnd.choice(["first", "always", "never"])

    def normalizer():
        return rnd.choice([
            {"type": "Prepend", "prepend": rnd.choice(["▁", "x"])} if first != "first" else {"type": "NFC"},
            {"type": "Replace", "pattern": pattern() if first != "first" else {"String": " "}, "content": rnd.choice("▁b ")},
            {"type": rnd.choice(["NFC"] if first == "first" else ["NFC", "NFD", "NFKC", "NFKD"])}, {"type": "Lowercase"},
            {"type": "Strip", "strip_left": rnd.random() < 0.5, "strip_right": rnd.random() < 0.5}])


    def pre_tokenizer():
        behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
        return rnd.choice([
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": first, "split": rnd.random() < 0.5},
            {"type": "Split", "pattern": pattern(), "behavior": rnd.choice(behaviors), "invert": rnd.random() < 0.3},
            {"type": "Digits", "individual_digits": rnd.random() < 0.5},
            {"type": "Punctuation", "behavior": rnd.choice(behaviors)}, {"type": "Whitespace"}, {"type": "WhitespaceSplit"}])

    def decoder():
        return rnd.choice([
            {"type": "Replace", "pattern": pattern(), "content": rnd.choice([" ", "", "b"])}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": rnd.choice(" a"), "start": rnd.randrange(3), "stop": rnd.randrange(2)},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": first, "split": True}, {"type": "ByteLevel"}])

    def sequence(kind, key, parts):
        if not parts:
            return None
        return parts[0] if len(parts) == 1 and rnd.random() < 0.5 else {"type": kind, key: parts}

    pre = [pre_tokenizer() for _ in range(rnd.choice([0, 0, 1, 1, 2]))]
    if byte_level:
        pre.append({"type": "ByteLevel", "add_prefix_space": rnd.random() < 0.3, "trim_offsets": True,
                    "use_regex": rnd.random() < 0.5})
    added, next_id = [{"id": 0, "content": "<unk>", "special": True}], len(vocabulary)
    for content in rnd.sample(["<s>", "</s>", "ab", "b c", "  strip", "é", "e\u0301", "<s>x", "日", "Ab"], rnd.randrange(0, 6)):
        added.append({"id": vocabulary.get(content, next_id), "content": content, "special": rnd.random() < 0.4})
        next_id += content not in vocabulary
    for token in added:
        for flag in ("single_word", "lstrip", "rstrip"):
            token[flag] = rnd.random() < 0.3
        # tokenizers 0.23 does not skip special tokens that the normalizer changes; we do, so none is made here.
        token["normalized"] = not token["special"] and rnd.random() < 0.6
    special = rnd.choice(added)
    template = {"type": "TemplateProcessing", "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "single": [{"SpecialToken": {"id": "x", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"x": {"id": "x", "ids": [special["id"]], "tokens": [special["content"]]}}}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": sequence("Sequence", "normalizers", [normalizer() for _ in range(rnd.choice([0, 0, 1, 2]))]),
        "pre_tokenizer": sequence("Sequence", "pretokenizers", pre),
        "post_processor": template if rnd.random() < 0.5 else None,
        "decoder": sequence("Sequence", "decoders", [decoder() for _ in range(rnd.choice([0, 1, 2, 3, 4]))]),
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>" if rnd.random() < 0.7 else None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": rnd.random() < 0.5,
                  "byte_fallback": fallback, "ignore_merges": rnd.random() < 0.3, "vocab": vocabulary, "merges": merges}}


# What PCRE2, which runs patterns of no known tokenizer, reads otherwise than Oniguruma, for which they are written.
ATOMS = [
    "a", "b", "日", ".", "(?m:.)", r"\w", r"\W", r"\s", r"\S", r"\d", r"\D", r"\h", r"\H", r"\v", r"\R", r"\O", r"\N", r"\u3000", r"\x41", r"\p{Han}",
    r"\p{Latin}", r"\p{Letter}", r"\p{^Lu}", r"\P{L}", r"\p{Punct}", r"\p{Word}", r"\p{alpha}", r"\p{Inherited}", r"(?:a|b\b)", r"(?=\w).",
    r"(?<!a)b", r"(?<=\W)b", "(?>a+)", "(?i:[a-k])", "(?i:'s|'re)", "(?:a(?i)b|c)", "(?x: a b )", "(?#c)a", r"\bb", r"\Ba", "^a", "a$", r"b\Z"]
MEMBERS = [
    "a", "b-x", "A-Z", "0-9", r"\w", r"\W", r"\s", r"\S", r"\d", r"\h", r"\H", r"\p{Han}", r"\p{L}", r"\P{L}", r"\p{^Lu}", r"\p{Punct}", "[:alpha:]",
    "[:^punct:]", "[:word:]", "[b-d]", "[^a-c]", r"[\w&&[^\d]]", r"\]", r"\-", "_", ".", "(", "|", "日", r"\u3000", r"\v"]
QUANTIFIERS = ["", "", "", "+", "*?", "?", "++", "{2}", "{2}?", "{,2}", "{1,2}+", "{1,}", "{1,2}?"]


def random_class(rnd):
    sides = ["".join(rnd.choice(MEMBERS) for _ in range(rnd.randrange(1, 4))) for _ in range(rnd.choice([1, 1, 1, 2, 3]))]
    return "[" + rnd.choice(["", "^"]) + "&&".join(sides) + "]"


def random_quantifier(rnd, atom):
    # "(?=a).+" Oniguruma tries at the beginnings of lines alone, as if it were ".+": a mistake of its own, which no tokenizer asks for.
    return rnd.choice(QUANTIFIERS if atom[0] != "^" and atom[-1] not in "$Z" and not atom.startswith("(?=") else [""])


def random_pattern(rnd):
    def sequence():
        atoms = (rnd.choice(ATOMS) if rnd.random() < 0.5 else random_class(rnd) for _ in range(rnd.randrange(1, 4)))
        return "".join(atom + random_quantifier(rnd, atom) for atom in atoms)

    return "|".join(sequence() for _ in range(rnd.randrange(1, 3)))


def compare_patterns(program, folder, rnd, wanted):
    """The cuts of random patterns, which show in the ids: every character is a token and begins no piece as itself."""
    alphabet = "abcXYZés日本カ한१٣½²Ⅷ0123 \t\n\r\v\u3000\u2028.,!?。_-'[](|&^$\u0301ſ\u212a’µ～<ªʰǅ😀\u180e\u0085"
    vocabulary = {c: i for i, c in enumerate(["<unk>", "▁"] + list(alphabet))}
    file, bad, refused, done = os.path.join(folder, "tokenizer.json"), 0, 0, 0
    while done < wanted:
        pattern = random_pattern(rnd)
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": rnd.choice(["Isolated", "Removed"]), "invert": rnd.random() < 0.3}
        mark = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
        with open(file, "w", encoding="utf-8") as out:
            json.dump({
                "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, mark]},
                "model": {"type": "BPE", "unk_token": "<unk>", "vocab": vocabulary, "merges": []}}, out)
        theirs = quietly(lambda: Tokenizer.from_file(file))
        if theirs is None:
            continue
        texts = ["".join(rnd.choice(alphabet) for _ in range(rnd.randrange(1, 20))) for _ in range(60)]
        texts += ["".join(rnd.choice("aabbcXs日 \n.'") for _ in range(rnd.randrange(1, 14))) for _ in range(60)]
        done += 1
        answers = Ours(program, file).ask([{"text": text} for text in texts])
        if isinstance(answers, str):
            refused += 1
            if "is not supported" not in answers:
                bad += 1
                print(f"FAILED pattern {pattern}: {answers}")
            continue
        for text, answer in zip(texts, answers):
            ids = quietly(lambda: theirs.encode(text).ids)
            # One quantifier on another, "(?:a{1,2})+", can take a backtracking engine forever; each gives up somewhere else.
            if "match limit exceeded" in answer.get("error", ""):
                continue
            if ids is not None and answer.get("ids") != ids:
                bad += 1
                print(f"FAILED pattern {json.dumps(split, ensure_ascii=False)} on {text!r}\n  theirs {ids}\n  ours   {answer}")
                break
    print(f"{done} patterns; {refused} refused, {bad} different")
    return bad


def added_tokens_are_lots(mix, theirs):
    """Whether what an added token is found by is an accident of tokenizers 0.23. Of two that the normalizer makes equal it finds
    either, from one run to the next (the order of a hash with a fresh seed); one that the normalizer leaves empty it finds
    between any two characters. No real tokenizer has such tokens; we take the last of equal ones and never find an empty one."""
    if theirs.normalizer is None:
        return False
    found = [theirs.normalizer.normalize_str(t["content"]) for t in mix["added_tokens"] if t["normalized"]]
    return "" in found or len(set(found)) < len(found)


def mixture_texts(rnd):
    alphabet = "abcdefghij ABst'.,!?0123456789\n▁éß日本ſⅷ½_-<>\u0301😀\t"
    parts = list(alphabet) + ["<s>", "</s>", "ab", "b c", "  strip", "e\u0301", " ", " ", "Ab", "<unk>", "<0x41>"]
    return ["".join(rnd.choice(parts) for _ in range(rnd.randrange(0, 25))) for _ in range(60)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--folder", action="append", help="a folder with a tokenizer.json; may be repeated")
    parser.add_argument("--only-mixtures", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mixtures", type=int, default=60)
    parser.add_argument("--patterns", type=int, default=60)
    options = parser.parse_args()
    rnd = random.Random(run_seed())
    folders = options.folder or []
    if not folders and not options.only_mixtures:
        goldens = os.environ.get("UPDRAFT_GOLDENS") or os.path.join(ROOT, "..", "shared", "models")
        if not os.path.isdir(goldens):
            goldens = os.path.join(ROOT, "tests", "golden")
        names = [f"tokenizers/{s}" for s in ("gpt2", "llama3", "qwen2", "smollm", "tekken")]
        names += [f"mistral-7b-instruct-v0.2/{g}" for g in ("old", "new")]
        folders = [f for f in (os.path.join(goldens, n) for n in names) if os.path.exists(os.path.join(f, "tokenizer.json"))]
    bad = 0
    for folder in folders:
        file = os.path.join(folder, "tokenizer.json")
        bad += compare(options.program, file, Tokenizer.from_file(file), texts_for(rnd, options.quick), rnd, 400, folder)
    made = 0
    with tempfile.TemporaryDirectory() as folder:
        while made < options.mixtures:
            mix = mixture(rnd)
            file = os.path.join(folder, "tokenizer.json")
            with open(file, "w", encoding="utf-8") as out:
                json.dump(mix, out)
            theirs = quietly(lambda: Tokenizer.from_file(file))
            if theirs is None or added_tokens_are_lots(mix, theirs):
                continue
            made += 1
            if compare(options.program, file, theirs, mixture_texts(rnd), rnd, 40, f"mixture {made}"):
                bad += 1
                del mix["model"]
                print(json.dumps(mix, ensure_ascii=False))
        bad += compare_patterns(options.program, folder, rnd, options.patterns)
    print(f"{made} mixtures; {bad} different in all")
    sys.exit(1 if bad else 0)


main()
