# What build.sh and outside.sh share. Sourced, with the folder of the scripts as current one.
HERE=$PWD
CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/cairn/wasm-conformance"
OUT="$CACHE/guests"
mkdir -p "$OUT"

say() { echo "wasm conformance: $*"; }

# apt PROGRAM PACKAGE…: installs the packages unless the program is there.
apt() {
  local program=$1
  shift
  if command -v "$program" >/dev/null || [ -e "$program" ]; then return; fi
  say "installing $*"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# What a guest is built from, as one hash: its folder, what it shares, and the compiler's version.
hash_of() {
  local compiler=$1
  shift
  { echo "$compiler"; find "$@" -type f -not -path '*/target/*' -not -path '*/node_modules/*' \
      -not -path '*/build/*' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-64
}

# fresh NAME HASH: whether NAME was built from this already.
fresh() {
  [ -e "$OUT/$1.wasm" ] && [ "$(cat "$OUT/$1.hash" 2>/dev/null)" = "$2" ]
}

# done_with NAME HASH: remembers what NAME was built from.
done_with() {
  [ -s "$OUT/$1.wasm" ] || { say "$1 was not built"; exit 1; }
  echo "$2" >"$OUT/$1.hash"
  say "built $1, $(stat -c %s "$OUT/$1.wasm") bytes"
}

rust_compiler() {
  apt /usr/bin/wasm-ld-22 rustc-web rust-web-src lld-22
  apt /usr/lib/wasm32-wasi/libc.a wasi-libc
}

# rust_cargo TARGET COMMAND…: cargo with Debian's compiler, in the folder and with the flags of
# filters/, whose standard library is the same. Modules come out below $RUST_TARGET.
RUST_TARGET="$(cd "$HERE/../../filters" && pwd)/target/wasm"
rust_cargo() {
  local target=$1 command=$2 cargo_home="${CARGO_HOME:-$HOME/.cargo}" flags
  shift 2
  flags="--remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=${RUST_TARGET%/target/wasm}=/filters"
  if [ "$target" = wasm32-wasip1 ]; then
    flags="$flags -C link-self-contained=no -L native=/usr/lib/wasm32-wasi"
  fi
  (
    unset RUSTUP_TOOLCHAIN CARGO_ENCODED_RUSTFLAGS RUSTFLAGS CARGO_INCREMENTAL
    RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$RUST_TARGET" \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 \
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="$flags" \
      CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld-22 \
      CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS="$flags" \
      cargo "$command" --quiet --release --locked --target "$target" \
      -Zbuild-std=std,panic_abort "$@"
  )
}
