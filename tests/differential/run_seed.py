"""The seed of a run, as in the GoogleTest programs: UPDRAFT_SEED repeats a run, without it every run has a fresh one."""
import os
import random


def run_seed():
    given = os.environ.get("UPDRAFT_SEED")
    seed = int(given) if given else random.SystemRandom().randrange(1 << 32)
    print(f"UPDRAFT_SEED={seed}", flush=True)
    return seed
