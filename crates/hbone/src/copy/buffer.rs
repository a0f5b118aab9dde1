//! Read buffers that are small until a stream proves to be long.

use std::future::Future as _;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Size of the first reads. Most connections never need more.
/// Source of the three steps: istio/ztunnel `src/copy.rs`; the 64 bytes less keep an allocation,
/// with its header, within a size class of the allocator.
pub(super) const SMALL: usize = 1 << 10;
/// Size of reads after [`MEDIUM_AFTER`] bytes: one TLS record.
pub(super) const MEDIUM: usize = (16 << 10) - 64;
/// Size of reads after [`LARGE_AFTER`] bytes.
pub(super) const LARGE: usize = (256 << 10) - 64;

const MEDIUM_AFTER: u64 = 128 << 10;
const LARGE_AFTER: u64 = 10 << 20;

/// Memory one direction of a copy reads into; none while it is idle.
///
/// Chunks share the allocation they were read into, and a new one is made when it is used up, so
/// no byte is moved after the read.
#[derive(Debug, Default)]
pub struct Buffer {
    space: BytesMut,
    moved: u64,
}

impl Buffer {
    /// Reads once from `reader`; `None` at its end.
    pub fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<Option<Bytes>>> {
        // A small rest is not worth a system call of its own.
        if self.space.capacity() < self.size() / 2 {
            self.space.reserve(self.size());
        }
        // Polled once and dropped: `read_buf` keeps nothing between polls.
        let read = pin!(reader.read_buf(&mut self.space)).poll(cx);
        match read {
            Poll::Ready(Ok(0)) => Poll::Ready(Ok(None)),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(Some(self.space.split().freeze()))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.release();
                Poll::Pending
            }
        }
    }

    /// Gives the memory back: the stream is idle, perhaps for hours.
    pub fn release(&mut self) {
        self.space = BytesMut::new();
    }

    /// Notes that `bytes` more were moved on; what decides the size of the next allocation.
    pub(super) fn record(&mut self, bytes: usize) {
        self.moved += bytes as u64;
    }

    /// Returns the bytes of memory held for the next read.
    pub fn capacity(&self) -> usize {
        self.space.capacity()
    }

    fn size(&self) -> usize {
        match self.moved {
            0..MEDIUM_AFTER => SMALL,
            MEDIUM_AFTER..LARGE_AFTER => MEDIUM,
            _ => LARGE,
        }
    }
}
