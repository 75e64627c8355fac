#!/usr/bin/env bash
# Installs the packages that Tandem is built from, on Debian 12, Ubuntu 22.04 and later. Does
# nothing, and needs neither network nor root, when all of them are there.
set -euo pipefail

packages=(
  build-essential cmake ninja-build pkg-config
  libabsl-dev libtbb-dev libeigen3-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)

fail() {
  echo "install_dependencies: $*" >&2
  exit 1
}

command -v dpkg-query > /dev/null || fail "this system has no dpkg; install these packages, or" \
  "what they are called here: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2> /dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "install_dependencies: all ${#packages[@]} packages are installed"
  exit 0
fi
echo "install_dependencies: missing: ${missing[*]}"

as_root=()
if ((EUID != 0)); then
  command -v sudo > /dev/null || fail "neither root nor sudo; run as root: apt-get install ${missing[*]}"
  as_root=(sudo)
fi
command -v apt-get > /dev/null || fail "this system has no apt-get"

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
}

# The lists of packages may be absent or too old; they are fetched only then.
if ! apt-cache show "${missing[@]}" > /dev/null 2>&1 || ! install; then
  echo "install_dependencies: updating the lists of packages"
  "${as_root[@]}" apt-get update || fail "apt-get update failed"
  install || fail "apt-get could not install: ${missing[*]}"
fi
