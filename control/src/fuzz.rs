//! The door for fuzz targets: parsers of this crate that take bytes from outside.
//!
//! Compiled only with `--cfg fuzzing`; no product code may stand here.

use crate::ca::request;

/// Whether a signing request would be granted: whether it proves that its sender holds a fit key.
pub fn signing_request(pem: &str) -> bool {
    request::proven_key(pem).is_ok()
}
