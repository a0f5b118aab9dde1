//! What two proxy-wasm hosts did with the same module and requests, made comparable.
//!
//! A run comes to lines of text. Addresses, sizes, ids and times that differ from run to run are
//! taken out of them; what is left and still differs must stand in
//! `conformance/wasm/differences.yaml` with a reason.

pub mod differences;
pub mod lines;

use std::path::PathBuf;

/// Where `conformance/wasm/build.sh` puts what it makes.
pub fn cache() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test has no Config")]
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/root".to_owned()));
    variable("XDG_CACHE_HOME")
        .map_or_else(|| home().join(".cache"), PathBuf::from)
        .join("cairn/wasm-conformance")
}

/// Envoy, if it is installed.
pub fn envoy() -> Option<PathBuf> {
    let program = cache().join("envoy");
    program.exists().then_some(program)
}

/// A guest, if it is built.
pub fn guest(name: &str) -> Option<PathBuf> {
    let path = cache().join(format!("guests/{name}.wasm"));
    path.exists().then_some(path)
}
