//! Bytes in bulk: a stream anybody can check, and a sink that says what it got.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use sha2::{Digest, Sha256};

/// How much of the stream is made at a time.
const CHUNK: usize = 64 << 10;

/// The byte at place `at`. Its period is a prime, so that a piece lost, doubled or moved by any
/// buffer's size shows in the checksum.
fn byte(at: u64) -> u8 {
    // The remainder fits.
    (at % 251) as u8
}

/// The first `len` bytes of the stream as a response body; made as it is read.
#[derive(Debug)]
pub struct Pattern {
    at: u64,
    len: u64,
}

impl Pattern {
    /// A stream of `len` bytes.
    pub fn new(len: u64) -> Self {
        Self { at: 0, len }
    }

    fn next(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let take = left.min(CHUNK);
        if take == 0 {
            return None;
        }
        let mut chunk = BytesMut::with_capacity(take);
        chunk.extend((self.at..).take(take).map(byte));
        self.at += take as u64;
        Some(chunk.freeze())
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.len
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len - self.at)
    }
}

/// The checksum of the first `len` bytes of the stream, in hexadecimal.
pub fn checksum(len: u64) -> String {
    let mut pattern = Pattern::new(len);
    let mut seen = Checksum::default();
    while let Some(chunk) = pattern.next() {
        seen.add(&chunk);
    }
    seen.finish()
}

/// SHA-256 of what passes by, and how much that is.
#[derive(Debug, Default)]
pub struct Checksum {
    hash: Sha256,
    /// How many bytes have passed.
    pub len: u64,
}

impl Checksum {
    /// Takes note of more bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// The checksum, in hexadecimal.
    pub fn finish(self) -> String {
        format!("{:x}", self.hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_same_however_it_is_cut() {
        let mut whole = Vec::new();
        let mut pattern = Pattern::new(150_000);
        while let Some(chunk) = pattern.next() {
            assert!(chunk.len() <= CHUNK);
            whole.extend_from_slice(&chunk);
        }
        assert_eq!(whole.len(), 150_000);
        assert!((0..).zip(&whole).all(|(at, seen)| byte(at) == *seen));
        let mut seen = Checksum::default();
        whole.chunks(777).for_each(|piece| seen.add(piece));
        assert_eq!((seen.len, seen.finish()), (150_000, checksum(150_000)));
    }

    #[test]
    fn the_checksum_is_sha256() {
        // `printf '' | sha256sum`
        assert_eq!(
            checksum(0),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_length_is_known_before_the_first_byte() {
        let pattern = Pattern::new(3);
        assert_eq!(pattern.size_hint().exact(), Some(3));
        assert!(!pattern.is_end_stream() && Pattern::new(0).is_end_stream());
    }
}
