//! A second, strict opinion on where HTTP/1 messages begin and end.
//!
//! The parser behind it is lenient in ways that let two readers disagree about a message: a bare
//! LF ends a line, a fragment in the target is dropped without a word, `Transfer-Encoding` may
//! stand on several lines. [`Strict`] reads the same bytes first and follows the framing by
//! itself. At the first byte that a strict reader refuses, it hands over a NUL instead and then
//! the end of the stream: the parser refuses that for certain, answers 400 and closes. Whatever
//! the two could disagree about is thus never forwarded. Source: RFC 9112 §2.2, §5, §6, §7.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

mod scan;
#[cfg(test)]
mod tests;

use scan::Scanner;

/// Time a client has to send the rest of a head it has begun.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream of HTTP/1 requests that ends where strict reading ends.
#[derive(Debug)]
pub(crate) struct Strict<Io> {
    io: Io,
    scanner: Scanner,
    /// A violation was handed over; nothing follows.
    refused: bool,
    /// Runs while a head is incomplete.
    patience: Option<Pin<Box<Sleep>>>,
}

impl<Io> Strict<Io> {
    pub(crate) fn new(io: Io) -> Self {
        Self {
            io,
            scanner: Scanner::default(),
            refused: false,
            patience: None,
        }
    }

    /// The stream itself, for what follows an upgrade.
    pub(crate) fn into_inner(self) -> Io {
        self.io
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.scanner.is_inside_head() {
            self.patience = None;
            return Poll::Pending;
        }
        let patience = self.patience.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + HEAD_TIMEOUT))
        });
        ready!(patience.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Strict<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.refused {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if Pin::new(&mut self.io).poll_read(cx, buf)?.is_pending() {
            return self.poll_patience(cx).map(Err);
        }
        let read = buf.filled_mut().get_mut(before..).unwrap_or_default();
        if let Err(at) = self.scanner.scan(read) {
            if let Some(byte) = read.get_mut(at) {
                *byte = 0;
            }
            buf.set_filled(before + at + 1);
            self.refused = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Strict<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
