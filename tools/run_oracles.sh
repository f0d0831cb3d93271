#!/usr/bin/env bash
# Differential tests against the Python packages that define the formats: tests/differential/*.py, each run with the path of
# the updraft program. Their packages come from PyPI into a virtual environment of their own, outside the repository.
#
#   tools/run_oracles.sh UPDRAFT_BINARY     the same random cases every time, others with UPDRAFT_SEED=N
set -euo pipefail
cd "$(dirname "$0")/.."
updraft=$(realpath "$1")
export UPDRAFT_SEED=${UPDRAFT_SEED:-1}
venv=${XDG_CACHE_HOME:-$HOME/.cache}/updraft/oracles
if [ ! -x "$venv/bin/python" ]; then python3 -m venv "$venv"; fi
"$venv/bin/pip" -q --disable-pip-version-check install -r tools/oracles.txt ||
  echo "    the package registry did not answer: tests whose package is missing are skipped by name"
run_oracle() {
  local status=0 output
  output=$("$venv/bin/python" "$1" "$updraft" 2>&1) || status=$?
  case $status in
    0) printf '    passed  %s: %s\n' "$(basename "$1")" "$(tail -n 1 <<<"$output")" ;;
    77) printf '    SKIPPED %s: %s\n' "$(basename "$1")" "$(tail -n 1 <<<"$output")" ;;
    *) printf '%s\nfailed: %s\n' "$(tail -n 40 <<<"$output")" "$1"; return 255 ;;
  esac
}
export -f run_oracle
export venv updraft
log=$(mktemp)
# Those that begin with "#!"; the others are modules of theirs.
grep -lE '^#!' tests/differential/*.py | xargs -P "$(nproc)" -I{} bash -c 'run_oracle {}' | tee "$log"
echo "    oracles: $(grep -c '^    passed' "$log") passed, $(grep -c '^    SKIPPED' "$log" || true) skipped"
rm -f "$log"
