//! Places of modules, challenges of registries and pull secrets: read alike when they are shown and
//! read again, and never a host that was not written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modules::{Credentials, Reference};

fuzz_target!(|data: &[u8]| {
    drop(Credentials::from_docker_config(data));
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    assert!(modules::fuzz::challenges(text) <= text.len());
    let read = match Reference::parse(text) {
        Ok(read) => read,
        Err(error) => {
            assert!(!error.to_string().contains('\n'));
            return;
        }
    };
    if let Reference::Image(image) = &read {
        let shown = read.to_string();
        assert_eq!(Reference::parse(&shown).as_ref(), Ok(&read), "{shown}");
        let name = &image.repository;
        assert!(!name.is_empty() && !name.contains("..") && !name.contains("//"));
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b))
        );
    }
});
