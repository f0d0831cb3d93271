#!/usr/bin/env python3
"""Compares the template engine with jinja2, set up exactly as transformers does.

usage: template_differential.py PROGRAM [--random N] [--write-golden FILE] [--arguments "template - --jsonl"]

PROGRAM reads lines {"template": ..., variables...} and answers {"prompt": ...} or {"error": ...}. The hand-written cases
of template_cases.py come first, then N random templates (UPDRAFT_SEED repeats them). Equal means: the same text, or an
error on both sides. Without jinja2 it says SKIPPED and exits with 77. --write-golden writes the answers of jinja2 to the
hand-written cases.
"""

import argparse
import copy
import json
import re
import subprocess
import sys
from datetime import datetime

from run_seed import run_seed
from template_cases import CASES, VARIABLES
from template_generator import Generator

try:
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    print("SKIPPED: the Python package jinja2 is not installed (Debian: python3-jinja2)")
    sys.exit(77)

ADDRESS = re.compile("0x[0-9a-f]{8}", re.IGNORECASE)


class Generation(jinja2.ext.Extension):
    """{% generation %} renders its body, as a call block: in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_render")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return env


def expected(env, template, variables):
    try:  # a copy, for some filters (indent) change a list that they then refuse
        return {"prompt": env.from_string(template).render(**copy.deepcopy(variables))}
    except Exception as error:  # every kind of error counts as one
        return {"error": f"{type(error).__name__}: {error}"}


def ask(program, arguments, requests):
    lines = "\n".join(json.dumps(request) for request in requests) + "\n"
    done = subprocess.run([program, *arguments], input=lines, capture_output=True, text=True, encoding="utf-8")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(answers) != len(requests):
        sys.exit(f"{program} exited with {done.returncode} after {len(answers)} of {len(requests)} answers\n{done.stderr}")
    return answers


def comparable(ours, theirs):
    """Addresses of objects (a filter may have changed what surrounds them), integers beyond 4300 digits and complex
    numbers (errors here by design) have no common answer."""
    beyond = ("beyond 4300 digits", "a negative number cannot be raised to a fractional power")
    return not ADDRESS.search(theirs.get("prompt", "")) and not any(part in ours.get("error", "") for part in beyond)


def equal(ours, theirs):
    return ours["prompt"] == theirs["prompt"] if "prompt" in theirs and "prompt" in ours else "error" in ours and "error" in theirs


def main():
    options = argparse.ArgumentParser()
    options.add_argument("program")
    options.add_argument("--random", type=int, default=500)
    options.add_argument("--write-golden")
    options.add_argument("--arguments", default="template - --jsonl")
    options = options.parse_args()
    generator = Generator(run_seed())
    cases = [(template, variables or VARIABLES) for template, variables in CASES]
    written = len(cases)
    cases += [(generator.template(), VARIABLES) for _ in range(options.random)]

    env = environment()
    theirs = [expected(env, template, variables) for template, variables in cases]
    if options.write_golden:
        with open(options.write_golden, "w", encoding="utf-8") as file:
            golden = [
                {"template": template, **({} if variables is VARIABLES else {"variables": variables}), **answer}
                for (template, variables), answer in zip(cases[:written], theirs)
            ]
            rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in golden)
            file.write('{"variables": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(VARIABLES, ensure_ascii=False), rows))
    requests = [{"template": template, **variables} for template, variables in cases]
    ours = ask(options.program, options.arguments.split(), requests)
    wrong = 0
    for (template, _), mine, right in zip(cases, ours, theirs):
        if comparable(mine, right) and not equal(mine, right):
            wrong += 1
            if wrong <= 40:
                print(f"template: {template!r}\n  jinja2: {right}\n  ours:   {mine}")
    failed = sum("error" in answer for answer in theirs[written:])
    print(
        f"jinja2 {jinja2.__version__}: {written} written and {options.random} random templates ({failed} of them errors), "
        f"{wrong} differ"
    )
    sys.exit(1 if wrong else 0)


main()
