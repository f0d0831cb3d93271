"""Random templates from a grammar, for template_differential.py. The same seed gives the same templates."""

import random

NAMES = ["s", "n", "f", "t", "z", "words", "numbers", "user", "messages", "empty", "missing", "uni"]
STRINGS = ["''", "'a'", "'b,c'", "' pad '", "'Ünï ß'", '"it\'s"', "'x\\ny'", "'a b  c'", "'<&>'", "'12'", "'3.5'"]
FILTERS = [
    "upper", "lower", "trim", "length", "list", "string", "tojson", "first", "last", "join", "join('-')", "default('d')",
    "default('d', true)", "sort", "reverse", "unique|list", "int", "float", "abs", "title", "capitalize", "safe",
    "replace('a', 'b')", "map('upper')|list", "select|list", "reject('none')|list", "selectattr('role')|list",
    "map(attribute='role')|list", "batch(2)|list", "slice(2)|list", "sum", "max", "min", "round", "round(1)", "items|list",
    "dictsort", "tojson(indent=2)", "indent", "indent(2, true)", "center(9)", "truncate(5)", "wordcount", "e", "count",
    "groupby('role')", "sort(reverse=true)", "tojson(sort_keys=true)", "urlencode", "format(1)", "sort(attribute='role')",
    "reverse|list", "map('length')|list", "select('string')|list", "rejectattr('role', 'equalto', 'user')|list",
]
TESTS = [
    "defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "integer", "float", "boolean",
    "true", "false", "callable", "odd", "even", "divisibleby(2)", "in([1, 'a'])", "eq(1)", "lower", "upper", "sameas(none)",
    "not none", "not defined", "gt(1)", "ne 2", "escaped",
]
METHODS = [
    "upper()", "strip()", "split()", "split(',')", "split(' ', 1)", "lstrip()", "rstrip('c')", "startswith('a')",
    "endswith('c')", "replace('a', 'zz')", "title()", "capitalize()", "find('b')", "count('a')", "join(words)", "items()",
    "get('name')", "get('nope', 5)", "keys()|list", "values()|list", "isdigit()", "isalpha()", "splitlines()",
    "removeprefix('a')", "index('b')", "append(1)", "extend(words)", "update({})", "format(1, 2)", "nope", "name", "0", "copy()",
    "rsplit(None, 1)", "partition(' ')", "zfill(5)", "center(7, '*')", "swapcase()", "islower()", "rfind('a')",
]
BIG = ["9223372036854775807", "-9223372036854775808", "36893488147419103233", "-100000000000000000000000000000"]
OPERATORS = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "and", "or", "in", "not in", "**"]


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, choices):
        return self.random.choice(choices)

    def atom(self):
        kind = self.random.randrange(7)
        if kind < 3:
            return self.pick(NAMES)
        if kind == 3:
            return self.pick(STRINGS)
        if kind == 4:
            return self.pick(["0", "1", "2", "3", "-1", "1.5", "0.1", "2.0", "true", "false", "none", "7", "1e3", "10", *BIG])
        if kind == 5:
            return self.pick(["[]", "[1, 2]", "['b', 'a', 'B']", "(1,)", "(1, 'x')", "{}", "{'a': 1}", "{'b': [1], 'a': none}"])
        return self.pick(["range(3)", "range(1, 7, 2)", "words[0]", "user.name", "messages[0].role", "messages[-1]['content']"])

    def expression(self, depth):
        if depth == 0:
            return self.atom()
        kind = self.random.randrange(14)
        inner = self.expression(depth - 1)
        if kind < 3:
            operator = self.pick(OPERATORS)
            # of a large exponent Python would compute every digit
            right = self.pick(["0", "1", "2", "-1", "7", "0.5", "s"]) if operator == "**" else self.expression(depth - 1)
            return f"{inner} {operator} {right}"
        if kind < 6:
            return f"({inner})|{self.pick(FILTERS)}"
        if kind == 6:
            return f"({inner}) is {self.pick(TESTS)}"
        if kind < 9:
            return f"({inner}).{self.pick(METHODS)}"
        if kind == 9:
            bound = lambda: self.pick(["", "0", "1", "-1", "2", "-2"])  # noqa: E731
            # of a name: jinja2 folds a slice of a constant at compile time, where it hides the error
            return f"{self.pick(NAMES)}[{bound()}:{bound()}{self.pick(['', ':', ':-1', ':2'])}]"
        if kind == 10:
            return f"({inner})[{self.pick(['0', '1', '-1', repr('name'), repr('role')])}]"
        if kind == 11:
            return f"{inner} if {self.expression(depth - 1)}" + self.pick(["", f" else {self.atom()}"])
        if kind == 12:
            return f"not {inner}"
        return f"[{inner}, {self.atom()}]"

    def space(self):
        return self.pick(["", "\n", "  ", "\n  ", " x ", "\n\n", "  y\n"])

    def tag(self, inside):
        return "{%" + self.pick(["", "-", "+", ""]) + f" {inside} " + self.pick(["", "-", "", "+"]) + "%}"

    def output(self):
        return "{{" + self.pick(["", "-", ""]) + f" {self.expression(self.random.randrange(3))} " + self.pick(["", "-"]) + "}}"

    def block(self, depth):
        kind = self.random.randrange(11)
        body = self.statements(depth - 1) if depth else self.output()
        if kind == 0:
            return self.tag(f"if {self.expression(1)}") + body + self.tag("else") + self.space() + self.tag("endif")
        if kind == 1:
            name = self.pick(["i", "s", "n"])
            seen = self.pick(["{{ loop.index }}", "{{ loop.last }}", "{{ loop.previtem }}", "{{ loop.length }}", "{{ " + name + " }}"])
            return self.tag(f"for {name} in {self.expression(1)}") + seen + body + self.tag("endfor")
        # Only new names are set: a variable of the caller that a block reads before the template sets it outside of that
        # block is undefined in jinja2 (its scopes are static) and still the caller's here.
        if kind == 2:
            return self.tag(f"set {self.pick(['v', 'w'])} = {self.expression(2)}") + "{{ s }}{{ v }}"
        if kind == 3:
            return self.tag("set v") + body + self.tag("endset") + "[{{ v }}]"
        if kind == 4:
            return "{% set ns = namespace(x=1) %}" + self.tag(f"set ns.x = {self.expression(1)}") + "{{ ns.x }}"
        if kind == 5:
            call = self.pick(["m()", "m(1)", "m(b=2)", "m(1, 2)", "m(c=3)", "m(1, 2, 3)"])
            return self.tag(f"macro m(a, b={self.atom()})") + "{{ a }}{{ b }}" + body + self.tag("endmacro") + "{{ " + call + " }}"
        if kind == 6:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'indent(2)', 'length'])}") + body + self.tag("endfilter")
        if kind == 7:
            return "{#" + self.pick(["", "-"]) + " note " + self.pick(["", "-"]) + "#}"
        if kind == 8:
            return self.tag(f"for k, w in {self.pick(['user.items()', 'user|items', 'user|dictsort'])}") + "{{ k }}={{ w }};" + self.tag("endfor")
        if kind == 9:
            stop = self.pick(["break", "continue"])
            return self.tag("for i in range(4)") + self.tag(f"if i == {self.atom()}") + self.tag(stop) + self.tag("endif") + "{{ i }}" + self.tag("endfor")
        return self.tag(f"with s = {self.expression(1)}") + body + "{{ s }}" + self.tag("endwith")

    def statements(self, depth):
        return "".join(
            self.space() + (self.block(depth) if self.random.random() < 0.5 else self.output())
            for _ in range(self.random.randrange(1, 3))
        )

    def template(self):
        return self.statements(self.random.randrange(3)) + self.space()
