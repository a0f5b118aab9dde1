//! Reads the recorded files.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message as _;
use proto::discovery::DeltaDiscoveryResponse;
use serde_json::Value;

/// Where a recorded file is; `path` is relative to `vectors/`.
pub fn path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(path)
}

/// A recorded text.
pub fn text(path: &str) -> anyhow::Result<String> {
    let path = self::path(path);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A recorded JSON document.
pub fn json(path: &str) -> anyhow::Result<Value> {
    serde_json::from_str(&text(path)?).with_context(|| path.to_owned())
}

/// Recorded bytes, kept as base64.
pub fn bytes(path: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD
        .decode(text(path)?.trim())
        .with_context(|| path.to_owned())
}

/// A recorded discovery response.
pub fn response(path: &str) -> anyhow::Result<DeltaDiscoveryResponse> {
    DeltaDiscoveryResponse::decode(bytes(path)?.as_slice()).with_context(|| path.to_owned())
}
