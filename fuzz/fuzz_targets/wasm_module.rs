//! Modules: loaded or refused with a reason, never more than was allowed. What begins with `(` is
//! text, so that seeds can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use wasm_host::{Host, HostSettings};

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let settings = HostSettings {
        module_bytes: 64 << 10,
        module_functions: 200,
        ..Default::default()
    };
    Host::new(settings).expect("an engine")
});

fuzz_target!(|data: &[u8]| {
    let binary = match data {
        [b'(', ..] => str::from_utf8(data)
            .ok()
            .and_then(|text| wat::parse_str(text).ok()),
        _ => None,
    };
    let bytes = binary.as_deref().unwrap_or(data);
    match HOST.compile(bytes) {
        Ok(module) => {
            assert!(bytes.len() <= 64 << 10 && module.size() == bytes.len());
            assert_eq!(module.sha256().len(), 64);
            module.callbacks().iter().for_each(drop);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
