# Sourced by ./try and ./check: stages with their times, and the packages that are missing. Works as root or with sudo.

readonly kBuildPackages=(g++ cmake ninja-build ccache pkg-config git ca-certificates
  libfmt-dev libboost-dev libcli11-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libedit-dev libcurl4-openssl-dev libssl-dev)
readonly kTryPackages=(python3 python3-pip unzip)
readonly kCheckPackages=(clang clang-tidy clang-format lld libclang-rt-14-dev libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv python3-jinja2 g++-aarch64-linux-gnu qemu-user-static)
readonly kArmPackages=(libfmt-dev:arm64 libgtest-dev:arm64 libgmock-dev:arm64 libpcre2-dev:arm64 libutf8proc-dev:arm64)

started=$(date +%s)
stage_started=$started
stage_name=""

end_stage() {
  [ -z "$stage_name" ] || printf '    (%s: %d s)\n' "$stage_name" "$(($(date +%s) - stage_started))"
  stage_name=""
}
stage() {
  end_stage
  stage_name=$1
  stage_started=$(date +%s)
  printf '\n==> %s\n' "$1"
}
die() {
  printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    die "these packages are missing and only root can install them (no sudo here): ${missing[*]}"
  fi
}

# install_packages PACKAGE...: what is missing of them, from Debian. Does nothing when all are there.
install_packages() {
  missing=()
  local native architecture
  native=$(dpkg --print-architecture)
  for package in "$@"; do
    architecture=$native
    [[ $package == *:* ]] && architecture=${package#*:}
    dpkg-query -W -f='${Architecture} ${db:Status-Status}\n' "${package%:*}" 2>/dev/null |
      grep -qxE "($architecture|all) installed" || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && { echo "all ${#} packages are installed"; return; }
  command -v apt-get >/dev/null || die "no apt-get here; install by hand: ${missing[*]}"
  echo "installing: ${missing[*]}"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/tmp/updraft-apt.log 2>&1 ||
    { tail -n 20 /tmp/updraft-apt.log; die "apt-get could not install: ${missing[*]}"; }
}

# configure PRESET [CMAKE ARGUMENT...], build PRESET [TARGET...]
configure() {
  local preset=$1; shift
  local launcher=()
  command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  cmake --preset "$preset" "${launcher[@]}" "$@" >"/tmp/updraft-cmake-$$.log" 2>&1 || { cat "/tmp/updraft-cmake-$$.log"; die "cmake --preset $preset failed"; }
  rm -f "/tmp/updraft-cmake-$$.log"
}
