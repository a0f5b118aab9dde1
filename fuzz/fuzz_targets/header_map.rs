//! Serialised header maps, as guests hand them over.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wasm_host::fuzz::{read_pairs, write_pairs};

const MAX: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let Some(pairs) = read_pairs(bytes, MAX) else {
        return;
    };
    assert!(pairs.len() <= MAX);
    let written = write_pairs(&pairs);
    assert_eq!(read_pairs(&written, MAX), Some(pairs.clone()));
    // There is one way to write a map, and two more to write an empty one.
    if !pairs.is_empty() {
        assert_eq!(written, bytes);
        assert_eq!(read_pairs(&bytes[..bytes.len() - 1], MAX), None);
    }
});
