//! What a copy needs of its two ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::buffer::Buffer;
use crate::tunnel::Tunnel;

/// One end of a copy: gives chunks, takes chunks, and can end or break.
///
/// All methods are polled from one task.
pub trait Side {
    /// Returns the next bytes, or `None` at the end. `buffer` is there for sides that do not have
    /// their bytes in memory anyway; they release it when they have nothing.
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<Option<Bytes>>>;

    /// Takes some bytes off the front of `chunk`, which is not empty, and returns their number.
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>>;

    /// Moves what was taken towards the peer.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the peer that there is no more, and keeps reading possible.
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the peer will take no more bytes, as far as the side can tell without sending.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;

    /// Breaks the stream so that the peer can tell; the side is dropped next.
    fn abort(&mut self);
}

impl Side for TcpStream {
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<Option<Bytes>>> {
        // No memory is taken before there is something to read.
        if self.poll_read_ready(cx)?.is_pending() {
            buffer.release();
            return Poll::Pending;
        }
        buffer.poll_fill(cx, self)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(self).poll_write(cx, chunk))?;
        taken(n, chunk)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(self).poll_shutdown(cx)) {
            // The peer was faster; its own bytes may still be unread.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            result => Poll::Ready(result),
        }
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }

    /// Makes the kernel send RST instead of FIN.
    fn abort(&mut self) {
        // Fails only for a socket that is gone already.
        let _ = self.set_zero_linger();
    }
}

impl Side for Tunnel {
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Buffer,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.split().0.poll_data(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        self.split().1.poll_send(cx, chunk)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.split().1.finish())
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.split().1.poll_reset(cx)
    }

    fn abort(&mut self) {
        self.split().1.reset(Reason::CANCEL);
    }
}

/// Any other stream as a [`Side`]: TLS, a Unix socket, one end of a `duplex`.
///
/// It has no way to break, so [`Side::abort`] does nothing and the drop has to do.
#[derive(Debug)]
pub struct Io<T>(pub T);

impl<T: AsyncRead + AsyncWrite + Unpin> Side for Io<T> {
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<Option<Bytes>>> {
        buffer.poll_fill(cx, &mut self.0)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.0).poll_write(cx, chunk))?;
        taken(n, chunk)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }

    fn abort(&mut self) {}
}

/// Takes `n` written bytes off `chunk`. A writer that takes none would be asked for ever.
fn taken(n: usize, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
    if n == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    chunk.advance(n);
    Poll::Ready(Ok(n))
}
