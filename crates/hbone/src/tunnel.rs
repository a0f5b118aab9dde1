//! One CONNECT stream as a pair of byte streams.
//!
//! Hot path: no lock of our own, no copy on the [`Bytes`] methods. Received bytes count against
//! the peer's window until they are handed out, so a reader that stalls stops its peer; sent bytes
//! wait for the peer's window, so a peer that stalls stops the writer.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::client::Slot;

/// Largest DATA frame sent, whatever the peer allows: the connection alternates between streams
/// frame by frame, so a bulk tunnel delays its neighbours by at most this many bytes.
pub const MAX_SEND_FRAME: usize = 64 << 10;

/// A tunnel: bytes both ways, with a half-close in each direction.
///
/// Dropping it before [`SendHalf::finish`] (or `poll_shutdown`) resets the stream, so that the
/// peer can tell a torn tunnel from one that ended.
#[derive(Debug)]
pub struct Tunnel {
    recv: RecvHalf,
    send: SendHalf,
}

/// The bytes that come out of a tunnel.
#[derive(Debug)]
pub struct RecvHalf {
    stream: RecvStream,
    /// Handed out by h2, not yet by us, and still counted against the peer's window.
    unread: Bytes,
    _slot: Option<Rc<Slot>>,
}

/// The way into a tunnel.
#[derive(Debug)]
pub struct SendHalf {
    stream: SendStream<Bytes>,
    finished: bool,
    slot: Option<Rc<Slot>>,
}

impl Tunnel {
    pub(crate) fn new(recv: RecvStream, send: SendHalf) -> Self {
        let recv = RecvHalf {
            stream: recv,
            unread: Bytes::new(),
            _slot: send.slot.clone(),
        };
        Self { recv, send }
    }

    /// Splits into the two directions. There is no lock between them.
    pub fn into_split(self) -> (RecvHalf, SendHalf) {
        (self.recv, self.send)
    }

    /// Returns both directions of a tunnel that stays whole.
    pub fn split(&mut self) -> (&mut RecvHalf, &mut SendHalf) {
        (&mut self.recv, &mut self.send)
    }
}

impl RecvHalf {
    /// Returns the next bytes as they arrived, without a copy; `None` at the end.
    ///
    /// The peer may send as many again from now on: whoever takes bytes bounds what it keeps.
    ///
    /// # Errors
    /// `ConnectionReset` when the peer reset the stream, `ConnectionAborted` when it gave up the
    /// connection, or what the transport reported.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !ready!(self.poll_fill(cx))? {
            return Poll::Ready(Ok(None));
        }
        let data = std::mem::take(&mut self.unread);
        self.release(data.len());
        Poll::Ready(Ok(Some(data)))
    }

    /// Makes sure that something is unread; false at the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        // A frame may be empty: that is neither bytes nor the end.
        while self.unread.is_empty() {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => self.unread = data,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return Poll::Ready(Ok(false)),
            }
        }
        Poll::Ready(Ok(true))
    }

    fn release(&mut self, n: usize) {
        // Only fails for more bytes than were received. h2 gathers the WINDOW_UPDATEs.
        let released = self.stream.flow_control().release_capacity(n);
        debug_assert!(
            released.is_ok(),
            "released {n} bytes that were not in flight"
        );
    }
}

impl SendHalf {
    pub(crate) fn new(stream: SendStream<Bytes>, slot: Option<Rc<Slot>>) -> Self {
        Self {
            stream,
            finished: false,
            slot,
        }
    }

    /// Takes as many bytes off the front of `data` as the peer's window and our queue allow, and
    /// returns their number; waits when that would be none.
    ///
    /// # Errors
    /// `BrokenPipe` once the peer reads no more or [`Self::finish`] was called; `ConnectionReset`
    /// when the peer reset the stream.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        let mut sent = 0;
        while !data.is_empty() {
            let room = match self.poll_room(cx, data.len()) {
                Poll::Ready(room) => room?,
                Poll::Pending if sent > 0 => break,
                Poll::Pending => return Poll::Pending,
            };
            let frame = data.split_to(room.min(data.len()).min(MAX_SEND_FRAME));
            sent += frame.len();
            self.stream.send_data(frame, false).map_err(io_error)?;
        }
        Poll::Ready(Ok(sent))
    }

    /// Ends this direction: the peer reads what was sent and then the end.
    ///
    /// # Errors
    /// As [`Self::poll_send`]; finishing twice is fine.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.finished {
            self.finished = true;
            self.stream
                .send_data(Bytes::new(), true)
                .map_err(io_error)?;
        }
        Ok(())
    }

    /// Ready once the peer has reset the stream or the connection is gone, also while there is
    /// nothing to send.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        match ready!(self.stream.poll_reset(cx)) {
            Ok(reason) => Poll::Ready(reset_error(reason)),
            Err(error) => Poll::Ready(io_error(error)),
        }
    }

    /// Tears the stream down in both directions; unsent bytes are dropped.
    pub fn reset(&mut self, reason: Reason) {
        self.finished = true;
        self.stream.send_reset(reason);
    }

    /// Waits until at least one of `wanted` bytes may be sent.
    fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.stream.reserve_capacity(wanted);
        loop {
            // Asked first: `poll_capacity` tells of increases only.
            let room = self.stream.capacity();
            if room > 0 {
                return Poll::Ready(Ok(room));
            }
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
                None => return self.poll_reset(cx).map(Err),
            }
        }
    }
}

impl Drop for SendHalf {
    fn drop(&mut self) {
        if !self.finished {
            self.stream.send_reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for RecvHalf {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() > 0 && ready!(self.poll_fill(cx))? {
            let n = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(n));
            self.release(n);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SendHalf {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, buf.len().min(MAX_SEND_FRAME)))?;
        let n = room.min(buf.len()).min(MAX_SEND_FRAME);
        let frame = Bytes::copy_from_slice(buf.get(..n).unwrap_or(buf));
        self.stream.send_data(frame, false).map_err(io_error)?;
        Poll::Ready(Ok(n))
    }

    /// Gathers the slices into one frame: a message head and its body travel together.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, total.min(MAX_SEND_FRAME)))?;
        let n = room.min(total).min(MAX_SEND_FRAME);
        let mut frame = BytesMut::with_capacity(n);
        for buf in bufs {
            let left = n - frame.len();
            frame.extend_from_slice(buf.get(..left).unwrap_or(buf));
        }
        self.stream
            .send_data(frame.freeze(), false)
            .map_err(io_error)?;
        Poll::Ready(Ok(n))
    }

    /// True although a frame is one buffer: gathering here costs one copy, gathering in the caller
    /// first would cost two.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the connection's driver writes what was accepted as soon as it can.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.finish())
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.recv).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.send.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.send).poll_shutdown(cx)
    }
}

/// Words an HTTP/2 failure as the failure of a byte stream.
fn io_error(error: h2::Error) -> io::Error {
    if error.is_io() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        return error.into_io().unwrap_or_else(closed);
    }
    let kind = if error.is_reset() {
        io::ErrorKind::ConnectionReset
    } else if error.is_go_away() {
        io::ErrorKind::ConnectionAborted
    } else {
        // Sending after the end of the stream.
        io::ErrorKind::BrokenPipe
    };
    io::Error::new(kind, error)
}

/// A peer that answered in full may stop reading with `NO_ERROR` (RFC 9113 §8.1): for the writer
/// that is a closed pipe. Everything else tore the tunnel.
fn reset_error(reason: Reason) -> io::Error {
    let kind = match reason {
        Reason::NO_ERROR => io::ErrorKind::BrokenPipe,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(kind, h2::Error::from(reason))
}

#[cfg(test)]
mod tests;
