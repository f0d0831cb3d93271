#!/usr/bin/env python3
"""Checks the floors of DESIGN.md: a file includes only its own folder and folders of lower floors.

    tools/check_floors.py [ROOT]        exit code 1 and one line per wrong include
"""
import pathlib
import re
import sys

FLOORS = {
    "base": 1,
    "text": 2, "checkpoint": 2, "hub": 2,
    "compute": 3,
    "compute/cpu": 4, "compute/cuda": 4, "compute/ascend": 4, "model": 4,
    "engine": 5,
    "session": 6,
    "measure": 7,
    "cli": 8, "serve": 8, "python": 8, "library": 8,
}
# Only the doors read the environment.
ENVIRONMENT = re.compile(r"\b(secure_)?getenv\s*\(")


def folder_of(path: str) -> str | None:
    """The longest known folder that holds `path` (relative to src/)."""
    parts = path.split("/")[:-1]
    while parts:
        name = "/".join(parts)
        if name in FLOORS:
            return name
        parts.pop()
    return None


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent) / "src"
    wrong = []
    files = 0
    for file in sorted(root.rglob("*")):
        if file.suffix not in (".h", ".cc", ".inc"):
            continue
        files += 1
        relative = str(file.relative_to(root))
        own = folder_of(relative)
        if own is None:
            wrong.append(f"src/{relative}: this folder has no floor in tools/check_floors.py")
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            if FLOORS[own] < 8 and ENVIRONMENT.search(line):
                wrong.append(f"src/{relative}:{number}: reads the environment below the top floor")
            include = re.match(r'\s*#include "([^"]+)"', line)
            if not include or include.group(1).startswith("updraft/"):
                continue
            other = folder_of(include.group(1))
            if other is None:
                wrong.append(f"src/{relative}:{number}: \"{include.group(1)}\" is not below src/")
            elif other != own and FLOORS[other] >= FLOORS[own]:
                wrong.append(f"src/{relative}:{number}: {own} (floor {FLOORS[own]}) includes {other} (floor {FLOORS[other]})")
    print("\n".join(wrong) if wrong else f"floors: {files} files, every include points down")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
