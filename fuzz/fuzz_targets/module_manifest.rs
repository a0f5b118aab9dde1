//! Manifests of images: digests or a reason, whatever a registry sends.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match modules::fuzz::manifest(data) {
        Ok(digests) => {
            assert!(!digests.is_empty() && digests.len() <= 128);
            for digest in digests {
                assert_eq!(modules::Digest::parse(&digest.to_string()), Some(digest));
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
