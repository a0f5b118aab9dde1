//! The fetcher against servers: a real registry, and ones that mean harm.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on should stop, and one that is left out should say so"
)]

mod archive;
mod fetching;
mod files;
mod hostile;
mod layouts;
mod policy;
mod registry;
mod server;
mod token;

use std::time::Duration;

use modules::{Fetcher, Module, Reference, Request, Settings};

/// Begins as modules do.
pub(crate) const MODULE: &[u8] = b"\0asm\x01\0\0\0 and what else is in it";

/// Settings that do not make tests wait.
pub(crate) fn quick() -> Settings {
    Settings {
        first_wait: Duration::from_millis(1),
        ..Settings::default()
    }
}

pub(crate) fn request(reference: &str) -> Request {
    Request::new(Reference::parse(reference).expect("a reference"))
}

pub(crate) async fn fetch(settings: Settings, request: &Request) -> Result<Module, modules::Error> {
    let fetcher = Fetcher::new(settings).expect("a fetcher");
    fetcher.fetch(request).await
}

/// A folder that goes with the test.
pub(crate) struct Scratch(pub(crate) std::path::PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let name = format!("modules-it-{}-{}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a scratch folder");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
