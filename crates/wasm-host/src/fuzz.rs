//! The door for fuzz targets: parsers of this crate that take a guest's bytes.
//!
//! Compiled only with `--cfg fuzzing`; no product code may stand here.

use crate::{Host, pairs};

/// Reads a serialised header map as host calls do; `None` when it is malformed.
pub fn read_pairs(bytes: &[u8], max: usize) -> Option<Vec<(&[u8], &[u8])>> {
    pairs::read(bytes, max).ok()
}

/// Serialises a header map as guests get it.
pub fn write_pairs(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut out = vec![];
    pairs::write(&mut out, pairs.iter().copied());
    out
}

/// The functions that guests can import from `module`, with their types.
pub fn functions<'h>(host: &'h Host, module: &str) -> Vec<(&'static str, &'h str)> {
    host.functions(module)
}
