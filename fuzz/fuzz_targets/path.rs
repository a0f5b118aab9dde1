//! Path normalisation: what policies see is what backends see, whatever the client wrote.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh::path::{Normalization, normalize};

fuzz_target!(|path: &str| {
    use Normalization::{Base, DecodeAndMergeSlashes, MergeSlashes};

    if let Ok(kept) = normalize(path, Normalization::None) {
        assert_eq!(kept, path);
    }
    for mode in [Base, MergeSlashes, DecodeAndMergeSlashes] {
        let Ok(once) = normalize(path, mode) else {
            assert!(
                normalize(path, Base).is_err(),
                "what is malformed is so in every mode"
            );
            continue;
        };
        assert_eq!(normalize(&once, mode).as_deref(), Ok(&*once), "idempotent");
        assert!(once.starts_with('/'));
        assert!(once.len() <= path.len());
        assert!(
            once.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        );
        assert!(!once.contains('\\') && !once.to_lowercase().contains("%2e"));
        assert!(
            !once
                .split('/')
                .any(|segment| segment == "." || segment == "..")
        );
        if mode != Base {
            assert!(!once.contains("//"));
        }
        if mode == DecodeAndMergeSlashes {
            assert!(!once.contains("%2F") && !once.contains("%5C"));
        }
    }
});
