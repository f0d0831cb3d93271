#!/usr/bin/env python3
"""Makes tests/golden/mistral-7b-instruct-v0.2 from the whole goldens: some of the lines of tokenize.jsonl and chat.jsonl, and of
each generation's tokenizer.json the tokens and merges that can play a part in them, under their own ids. The pieces of
tokenizer.model have their place for an id: there the ones left are renumbered, and so are sentencepiece_ids.

    trim_mistral.py ../shared/models/mistral-7b-instruct-v0.2     (the PyPI packages tokenizers and sentencepiece check the result)
"""
import json
import os
import re
import sys

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mistral-7b-instruct-v0.2")


def read_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_lines(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def everything_in(texts):
    """A string with every piece that can come of these texts: a part of one, or of one behind the prefix."""
    parts = [part for text in texts for part in re.split("<unk>|<s>|</s>", text)]
    return "\n".join("▁" + part.replace(" ", "▁") for part in parts + texts)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def trim_model(source, everything):
    """SentencePiece's ModelProto without the pieces that `everything` lacks; {old id: new id}."""
    with open(os.path.join(source, "tokenizer.model"), "rb") as file:
        data = file.read()
    at, piece, out, renumbered = 0, 0, bytearray(), {}
    while at < len(data):
        key, inner = varint(data, at)
        length, inner = varint(data, inner)
        assert key & 7 == 2, "only messages stand in a ModelProto"
        end = inner + length
        if key >> 3 == 1:
            assert data[inner] == 10  # the piece's text comes first
            size, text = varint(data, inner + 1)
            if piece < 259 or data[text:text + size].decode() in everything:
                renumbered[piece] = len(renumbered)
                out += data[at:end]
            piece += 1
        else:
            out += data[at:end]
        at = end
    with open(os.path.join(HERE, "tokenizer.model"), "wb") as file:
        file.write(out)
    return renumbered


def trim(source, generation, everything, ids):
    with open(os.path.join(source, generation, "tokenizer.json"), encoding="utf-8") as file:
        tokenizer = json.load(file)
    model = tokenizer["model"]
    pairs = [m if isinstance(m, list) else m.split(" ") for m in model["merges"]]
    model["merges"] = [m for m, (left, right) in zip(model["merges"], pairs) if left + right in everything]
    kept = {left + right for left, right in pairs if left + right in everything} | set(everything)
    kept |= {part for pair in pairs if "".join(pair) in everything for part in pair}
    last = max(model["vocab"].values())
    model["vocab"] = {t: i for t, i in model["vocab"].items() if t in kept or i in ids or i < 259 or i == last}
    path = os.path.join(HERE, generation, "tokenizer.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    return Tokenizer.from_file(path)


def main():
    source = sys.argv[1]
    lines = read_lines(os.path.join(source, "tokenize.jsonl"))
    texts = [row for row in lines if "text" in row]
    chosen = texts[:100] + texts[100::4] + [row for row in lines if "text" not in row][::3]
    chats = read_lines(os.path.join(HERE, "chat.jsonl"))
    ids = {i for row in chosen if "text" not in row for i in row["ids"]}
    every = everything_in([row["text"] for row in chosen if "text" in row] + [row["prompt"] for row in chats if "ids" in row])
    for generation in ("old", "new"):
        tokenizer = trim(source, generation, every, ids)
        for row in chosen:
            if "text" in row:
                assert tokenizer.encode(row["text"], add_special_tokens=False).ids == row[generation + "_ids"], row
        for row in chats:
            if "ids" in row and row["template"] == generation:
                assert tokenizer.encode(row["prompt"], add_special_tokens=False).ids == row["ids"], row
        print(generation, tokenizer.get_vocab_size(), "tokens")
    renumbered = trim_model(source, every)
    sentencepiece = SentencePieceProcessor(os.path.join(HERE, "tokenizer.model"))
    for row in chosen:
        if "text" in row:
            row["sentencepiece_ids"] = [renumbered[i] for i in row["sentencepiece_ids"]]
            assert sentencepiece.encode(row["text"]) == row["sentencepiece_ids"], row
    write_lines(os.path.join(HERE, "tokenize.jsonl"), chosen)
    print(len(chosen), "lines,", len(chats), "chats")


main()
