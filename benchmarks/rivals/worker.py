"""What the workers share: one engine with one model in a process of its own, told over standard input when to measure.

A worker prints {"ready": true, "engine": "name and version"} when its model is loaded, then answers every line
{"prefill": tokens, "prompt": tokens, "decode": tokens} with {"prefill_s": seconds, "decode_s": seconds, "ids": [...]}:
the time of one prefill, and that of `decode` new tokens after a prompt that is not timed. Between the lines it sleeps.
"""
import json
import sys


def prompt_ids(count, vocabulary):
    """The same ids for every engine."""
    state, ids = 1, []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        ids.append((state >> 33) % vocabulary)
    return ids


def serve(engine, measure):
    answers = sys.stdout
    sys.stdout = sys.stderr  # what an engine prints does not disturb the answers
    print(json.dumps({"ready": True, "engine": engine}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), file=answers, flush=True)
