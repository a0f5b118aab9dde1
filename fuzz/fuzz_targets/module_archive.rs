//! What comes as a module: one that begins as modules do and is within the limit, or a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;

const LIMIT: u64 = 64 << 10;

fuzz_target!(|data: &[u8]| {
    for is_layer in [false, true] {
        match modules::fuzz::unpack(data, is_layer, LIMIT) {
            Ok(module) => {
                assert!(module.starts_with(b"\0asm") && module.len() as u64 <= LIMIT);
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
});
