//! The doors of fuzz targets: what reads bytes that strangers wrote.

use crate::auth;
use crate::manifest::{self, Manifest};
use crate::unpack::{self, Wanted};

/// Reads a manifest; returns the digests it leads to.
///
/// # Errors
/// What is wrong with it.
pub fn manifest(bytes: &[u8]) -> Result<Vec<crate::Digest>, String> {
    Ok(match manifest::parse(bytes)? {
        Manifest::Image(candidates) => candidates.iter().map(|one| one.digest).collect(),
        Manifest::Index(digests) => digests,
    })
}

/// Unpacks a module of up to `limit` bytes, from a file or from a layer.
///
/// # Errors
/// Why there is none.
pub fn unpack(bytes: &[u8], is_layer: bool, limit: u64) -> Result<Vec<u8>, String> {
    let wanted = if is_layer {
        Wanted::Plugin
    } else {
        Wanted::First
    };
    unpack::module(bytes, wanted, limit)
}

/// Reads challenges; returns how many.
pub fn challenges(text: &str) -> usize {
    auth::parse(text).len()
}
