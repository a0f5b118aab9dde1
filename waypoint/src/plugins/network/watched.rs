//! A stream whose bytes pass plugins on their way.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hbone::copy;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wasm_host::{Peer, Side};

use super::{Connection, Passed};

/// Most that is read at once.
const PIECE: usize = 16 << 10;

/// A client's stream behind the plugins that look at connections.
#[derive(Debug)]
pub(crate) struct Watched<Io> {
    io: Io,
    connection: Rc<Connection>,
    /// What has passed and was not read yet.
    read: Passed,
    /// What has passed and was not written yet.
    write: Bytes,
    client_ended: bool,
    server_ended: bool,
}

impl<Io> Watched<Io> {
    /// `io`, behind the plugins of a connection.
    pub(super) fn new(io: Io, connection: Rc<Connection>) -> Self {
        Self {
            io,
            connection,
            read: Passed::default(),
            write: Bytes::new(),
            client_ended: false,
            server_ended: false,
        }
    }
}

impl<Io> Drop for Watched<Io> {
    fn drop(&mut self) {
        let by = |ended| if ended { Peer::Remote } else { Peer::Local };
        self.connection
            .finish(by(self.client_ended), by(self.server_ended));
    }
}

/// A plugin ended the connection.
fn over() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "a plugin closed the connection",
    )
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Watched<Io> {
    /// Writes what has passed; what plugins resume by themselves passes here, too.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.write.is_empty() {
                let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.write))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.write.advance(written);
            }
            ready!(self.connection.poll_turn(Side::Upstream, cx));
            let resumed = self.connection.resume(Side::Upstream);
            match resumed.map_err(|error| self.connection.fail(&error))? {
                Some(passed) => self.write = passed.data,
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Goes on until there is something to read, or the end.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Whoever reads is always polled; whoever writes may have nothing to write.
        if let Poll::Ready(Err(error)) = self.poll_write_out(cx) {
            return Poll::Ready(Err(error));
        }
        while self.read.data.is_empty() && !self.read.ended {
            ready!(self.poll_next(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the next piece and has it pass.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = Rc::clone(&self.connection);
        ready!(connection.poll_turn(Side::Downstream, cx));
        if let Some(passed) = connection
            .resume(Side::Downstream)
            .map_err(|error| connection.fail(&error))?
        {
            self.read = passed;
            return Poll::Ready(Ok(()));
        }
        if connection.is_over() {
            return Poll::Ready(Err(over()));
        }
        connection.waiting.register(cx.waker());
        if self.client_ended || connection.is_full(Side::Downstream) {
            return Poll::Pending;
        }
        let mut piece = BytesMut::zeroed(PIECE);
        let mut buf = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf))?;
        let read = buf.filled().len();
        piece.truncate(read);
        self.client_ended = read == 0;
        let passed = connection.pass(Side::Downstream, 0, piece.freeze(), read == 0);
        self.read = passed.map_err(|error| connection.fail(&error))?;
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for Watched<Io> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_readable(cx))?;
        let n = this.read.data.len().min(buf.remaining());
        buf.put_slice(&this.read.data.split_to(n));
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<Io> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        if this.connection.is_over() {
            return Poll::Ready(Err(over()));
        }
        this.connection.waiting.register(cx.waker());
        if this.connection.is_full(Side::Upstream) {
            return Poll::Pending;
        }
        let data = Bytes::copy_from_slice(buf);
        let passed = this.connection.pass(Side::Upstream, 0, data, false);
        this.write = passed.map_err(|error| this.connection.fail(&error))?.data;
        // What does not go out now goes with the next call, or the flush.
        if let Poll::Ready(Err(error)) = this.poll_write_out(cx) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_write_out(cx))?;
        if !std::mem::replace(&mut this.server_ended, true) {
            let passed = this.connection.pass(Side::Upstream, 0, Bytes::new(), true);
            this.write = passed.map_err(|error| this.connection.fail(&error))?.data;
        }
        ready!(this.poll_write_out(cx))?;
        if this.connection.is_held(Side::Upstream) && !this.connection.is_over() {
            this.connection.waiting.register(cx.waker());
            return Poll::Pending;
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl<Io: copy::Side + AsyncRead + AsyncWrite + Unpin> copy::Side for Watched<Io> {
    fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut copy::Buffer,
    ) -> Poll<io::Result<Option<Bytes>>> {
        ready!(self.poll_readable(cx))?;
        let data = std::mem::take(&mut self.read.data);
        Poll::Ready(Ok((!data.is_empty()).then_some(data)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<usize>> {
        let sent = ready!(Pin::new(self).poll_write(cx, chunk))?;
        chunk.advance(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(self), cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self).poll_shutdown(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.io.poll_gone(cx)
    }

    fn abort(&mut self) {
        self.io.abort();
    }
}
