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
passed=0 skipped=0
for script in tests/differential/*.py; do
  [ "$(head -c 2 "$script")" = "#!" ] || continue  # a module of another script
  status=0
  output=$("$venv/bin/python" "$script" "$updraft" 2>&1) || status=$?
  case $status in
    0) passed=$((passed + 1)); printf '    passed  %s: %s\n' "$(basename "$script")" "$(tail -n 1 <<<"$output")" ;;
    77) skipped=$((skipped + 1)); printf '    SKIPPED %s: %s\n' "$(basename "$script")" "$(tail -n 1 <<<"$output")" ;;
    *) printf '%s\n' "$output" | tail -n 40; echo "failed: $script" >&2; exit 1 ;;
  esac
done
echo "    oracles: $passed passed, $skipped skipped"
