#!/usr/bin/env bash
# Gets modules that others wrote, for the suite of outside modules: sources from crates.io, npm and
# the Go module proxy, whose lock files and checksums stand in outside/, built here with compilers
# of several ages. They come out beside the guests, as outside-*.wasm.
set -euo pipefail
cd "$(dirname "$0")"
. ./common.sh
WORK="$CACHE/outside"
LLVM=16
mkdir -p "$WORK"

# The examples of Rust SDKs, out of their packages.
rust_examples() {
  rust_compiler
  local folder
  for folder in outside/rust/*/; do
    rust_package "$(basename "$folder")" wasm32-unknown-unknown
  done
  rust_package proxy-wasm-0-2-0 wasm32-wasip1 hello_world
}

# rust_package FOLDER TARGET [EXAMPLE…]: all examples when none is named.
rust_package() {
  local folder=$1 target=$2 suffix= name hash
  shift 2
  local examples=("$@")
  [ $# -gt 0 ] || mapfile -t examples < <(
    sed -n '/^\[\[example/,/^name/s/^name = "\(.*\)"/\1/p' "outside/rust/$folder/Cargo.toml")
  [ "$target" = wasm32-unknown-unknown ] || suffix=-wasip1
  hash=$(hash_of "$(/usr/bin/rustc --version) $target" "outside/rust/$folder")
  for name in "${examples[@]}"; do
    if fresh "outside-$folder-$name$suffix" "$hash"; then continue; fi
    rust_sources "$folder"
    # Imports without a module, as SDKs of that time declare them, are only left to the host when
    # the linker is told.
    (cd "$WORK/$folder" && rust_cargo "$target" rustc --example "$name" -- -Awarnings \
      -C link-arg=--allow-undefined)
    cp "$RUST_TARGET/$target/release/examples/$name.wasm" "$OUT/outside-$folder-$name$suffix.wasm"
    done_with "outside-$folder-$name$suffix" "$hash"
  done
}

# A package of ours with the examples of the one it depends on.
rust_sources() {
  local folder=$1 package
  rm -rf "${WORK:?}/$folder"
  cp -r "outside/rust/$folder" "$WORK/$folder"
  touch "$WORK/$folder/lib.rs"
  package=$(cd "$WORK/$folder" && mkdir -p examples &&
    sed -n '/^\[\[example/,/^name/s/^name = "\(.*\)"/examples\/\1.rs/p' Cargo.toml | xargs touch &&
    cargo metadata --quiet --locked --format-version 1 | python3 -c '
import json, os, sys
found = [it["manifest_path"] for it in json.load(sys.stdin)["packages"]
         if it["name"].startswith("proxy-wasm") and it["source"]]
print(os.path.dirname(found[0]))')
  cp "$package"/examples/*.rs "$WORK/$folder/examples/"
}

# TinyGo from its sources, and the examples of the SDK for it.
tinygo_examples() {
  local hash name examples
  examples="helloworld http_auth_random http_body http_headers http_routing metrics shared_data
    shared_queue/sender vm_plugin_configuration"
  go_is_here
  hash=$(hash_of "LLVM $LLVM" outside/tinygo)
  for name in $examples; do
    if fresh "outside-tinygo-${name//\//-}" "$hash"; then continue; fi
    tinygo_compiler "$hash"
    (
      cd "$WORK/tinygo"
      PATH="/usr/lib/llvm-$LLVM/bin:$PATH" TINYGOROOT="$WORK/tinygo/root" GOTOOLCHAIN=go1.21.13 \
        ./tinygo build -o "$OUT/outside-tinygo-${name//\//-}.wasm" -scheduler=none \
        -target="$WORK/tinygo/wasi.json" \
        "github.com/tetratelabs/proxy-wasm-go-sdk/examples/$name"
    )
    done_with "outside-tinygo-${name//\//-}" "$hash"
  done
}

tinygo_compiler() {
  local root="$WORK/tinygo/root" source
  [ "$(cat "$WORK/tinygo/hash" 2>/dev/null)" = "$1" ] && return
  apt "/usr/lib/llvm-$LLVM/include/llvm-c/Core.h" "llvm-$LLVM-dev"
  apt "/usr/lib/llvm-$LLVM/include/clang-c/Index.h" "libclang-$LLVM-dev"
  apt "/usr/lib/llvm-$LLVM/bin/clang" "clang-$LLVM"
  apt "/usr/lib/llvm-$LLVM/bin/wasm-ld" "lld-$LLVM"
  apt g++ g++
  apt /usr/lib/wasm32-wasi/libc.a wasi-libc
  say "building TinyGo"
  rm -rf "$WORK/tinygo"
  cp -r outside/tinygo "$WORK/tinygo"
  (
    cd "$WORK/tinygo"
    export GOTOOLCHAIN=go1.21.13 GOFLAGS=-mod=mod
    go build -tags "llvm$LLVM" -o tinygo github.com/tinygo-org/tinygo
    source=$(go list -m -f '{{.Dir}}' github.com/tinygo-org/tinygo)
    mkdir -p "$root/lib/wasi-libc/sysroot/lib"
    cp -r "$source/src" "$source/targets" "$root/"
    chmod -R u+w "$root"
    # The package of TinyGo lacks what it takes from other repositories: the C library is
    # Debian's, and the runtime of the compiler is not needed.
    ln -s /usr/lib/wasm32-wasi "$root/lib/wasi-libc/sysroot/lib/wasm32-wasi"
    ln -s /usr/include/wasm32-wasi "$root/lib/wasi-libc/sysroot/include"
    sed '/"rtlib"/d' "$source/targets/wasi.json" >wasi.json
  )
  echo "$1" >"$WORK/tinygo/hash"
}

go_is_here() {
  command -v go >/dev/null || { say "there is no Go: install 1.24 or later"; exit 1; }
}

# The same examples with standard Go and its SDK, whose names are the same. In a library `main` does
# not run, so what is in it becomes `init`.
go_examples() {
  local hash name source
  go_is_here
  hash=$(hash_of "$(go version)" outside/go)
  for name in helloworld http_headers http_routing metrics; do
    if fresh "outside-go-$name" "$hash"; then continue; fi
    rm -rf "$WORK/go" && cp -r outside/go "$WORK/go"
    (
      cd "$WORK/go"
      export GOFLAGS=-mod=mod
      source=$(go list -m -f '{{.Dir}}' github.com/tetratelabs/proxy-wasm-go-sdk)
      mkdir "$name"
      sed -e 's#github.com/tetratelabs/#github.com/proxy-wasm/#' \
        -e 's/^func main() {$/func main() {}\n\nfunc init() {/' \
        "$source/examples/$name/main.go" >"$name/main.go"
      GOOS=wasip1 GOARCH=wasm go build -trimpath -buildmode=c-shared \
        -o "$OUT/outside-go-$name.wasm" "./$name"
    )
    done_with "outside-go-$name" "$hash"
  done
}

# A module in C++, as a package of the Go module proxy carries it: compiled with emscripten in 2020.
cpp_module() {
  local hash=6bd194566fcdeeff762d9a9afc3e031d714b36e4a93cdcf60f031ceda2260c22
  local module="$OUT/outside-cpp-http.wasm" package
  if fresh outside-cpp-http "$hash"; then return; fi
  go_is_here
  package=$(cd "$WORK" && GOFLAGS=-mod=mod go mod download -json mosn.io/proxy-wasm-go-host@v0.2.0 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
  install -m 644 "$package/example/data/http.wasm" "$module"
  echo "$hash  $module" | sha256sum --check --quiet
  done_with outside-cpp-http "$hash"
}

# The filter that the page of each AssemblyScript SDK shows, as its package has it.
as_examples() {
  local folder name hash
  apt npm nodejs npm
  for folder in outside/as/*/; do
    name=$(basename "$folder")
    hash=$(hash_of "optimized" "$folder")
    if fresh "outside-as-$name" "$hash"; then continue; fi
    rm -rf "${WORK:?}/as-$name" && cp -r "$folder" "$WORK/as-$name"
    (
      cd "$WORK/as-$name"
      npm ci --silent --no-audit --no-fund
      mkdir -p assembly
      awk '/^```/ { code = /```(ts|typescript)/; next } code' node_modules/@*/*proxy*/README.md \
        >assembly/index.ts
      npm run --silent build -- "$OUT/outside-as-$name.wasm"
    )
    done_with "outside-as-$name" "$hash"
  done
}

# Two halves, for two processors. Packages are installed by one at a time, so those of the first come
# before.
everything() {
  rust_compiler
  rust_examples &
  local rust=$!
  tinygo_examples
  go_examples
  cpp_module
  as_examples
  wait "$rust"
}

case "${1:-all}" in
all) everything ;;
rust) rust_examples ;;
tinygo) tinygo_examples ;;
go) go_examples ;;
cpp) cpp_module ;;
as) as_examples ;;
*)
  echo "$0: $1 is none of all, rust, tinygo, go, cpp, as" >&2
  exit 2
  ;;
esac
