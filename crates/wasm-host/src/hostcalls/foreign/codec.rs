//! zlib (RFC 1950), both ways.

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::Result;
use crate::embed::ForeignError;

/// The most that is made of one byte; text seldom exceeds a fifth of it.
const RATIO: usize = 100;

/// Compresses, quickly rather than well: the worker waits.
pub(crate) fn compress(bytes: &[u8]) -> Result {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .map_err(|_| ForeignError::Serialization)
}

/// Inflates one stream that fills the arguments, up to `limit` and the ratio.
pub(crate) fn uncompress(bytes: &[u8], limit: usize) -> Result {
    let most = bytes.len().saturating_mul(RATIO).min(limit);
    let mut out = Vec::new();
    let mut decoder = ZlibDecoder::new(bytes);
    let beyond = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .by_ref()
        .take(beyond)
        .read_to_end(&mut out)
        .map_err(|_| ForeignError::Serialization)?;
    if out.len() > most {
        return Err(ForeignError::Serialization);
    }
    Ok(out)
}
