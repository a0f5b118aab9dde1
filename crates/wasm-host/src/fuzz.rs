//! The door for fuzz targets: parsers of this crate that take a guest's bytes.
//!
//! Compiled only with `--cfg fuzzing`; no product code may stand here.

use crate::hostcalls::foreign::{self, message};
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

/// Inflates as the foreign function does; `None` when it refuses.
pub fn uncompress(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    foreign::codec::uncompress(bytes, limit).ok()
}

/// Compresses as the foreign function does.
pub fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    foreign::codec::compress(bytes).ok()
}

/// Reads arguments of a foreign function: how many fields, and how many bytes are in them.
pub fn read_message(bytes: &[u8]) -> Option<(usize, usize)> {
    let fields = message::read(bytes)?;
    let size = |field: &message::Field<'_>| match field {
        message::Field::Number(_) => 0,
        message::Field::Bytes(bytes) => bytes.len(),
    };
    Some((
        fields.len(),
        fields.iter().map(|(_, field)| size(field)).sum(),
    ))
}
