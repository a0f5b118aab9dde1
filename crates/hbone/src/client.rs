//! The side that asks for tunnels.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::authority::Authority;
use crate::keepalive::KeepAlive;
use crate::settings::Settings;
use crate::tunnel::{SendHalf, Tunnel};

/// Why a tunnel did not come up, or why a connection ended.
///
/// Nothing the application sent is lost in any of them: its bytes follow the answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke; the peer may or may not have acted on the request.
    #[error("HBONE connection lost")]
    Closed(#[source] h2::Error),
    /// Time ran out; the peer may have accepted the tunnel.
    #[error("HBONE tunnel not established in time")]
    Deadline,
    /// The peer said that it did not look at the request: it goes away, or is at its limit of
    /// streams. Asking elsewhere is always legal.
    #[error("HBONE peer takes no new tunnels on this connection")]
    Draining(#[source] h2::Error),
    /// The peer reset the stream, broke the protocol, or says that we did.
    #[error("HBONE protocol error")]
    Protocol(#[source] h2::Error),
    /// The peer answered, but not with 200.
    #[error("http status: {0}")]
    Refused(StatusCode),
    /// This connection takes no more tunnels: it carries as many as it may, or is about to end.
    /// Nothing was sent.
    #[error("HBONE connection takes no more tunnels")]
    Unavailable,
    /// The peer left a PING unanswered for the time [`Settings::ping_timeout`] allows.
    #[error("HBONE peer does not answer pings")]
    Unresponsive,
}

impl Error {
    fn from_h2(error: h2::Error) -> Self {
        let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        let goodbye = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
        if error.is_remote() && (refused || goodbye) {
            Self::Draining(error)
        } else if error.is_io() {
            Self::Closed(error)
        } else {
            Self::Protocol(error)
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    /// The target of the tunnel.
    pub authority: Authority,
    /// Everything else, see [`crate::headers`].
    pub headers: HeaderMap,
}

impl ConnectRequest {
    /// Builds the plain CONNECT of RFC 9113 §8.5: an authority, and neither scheme nor path.
    fn to_http(&self) -> Result<Request<()>, http::Error> {
        let uri = Uri::builder()
            .authority(self.authority.to_string())
            .build()?;
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        request.headers_mut().clone_from(&self.headers);
        Ok(request)
    }
}

/// A tunnel the peer agreed to.
#[derive(Debug)]
pub struct Opened {
    /// The bytes.
    pub tunnel: Tunnel,
    /// Headers of the answer, among them the destination's `baggage`.
    pub headers: HeaderMap,
}

/// A client connection; clones share it, on one thread.
#[derive(Clone)]
pub struct Connection {
    send: SendRequest<Bytes>,
    load: Rc<Load>,
}

impl Connection {
    /// Starts HTTP/2 on `io` and returns the handle and the future that moves its bytes.
    ///
    /// Does not wait for the peer: a first CONNECT leaves together with our SETTINGS.
    pub async fn handshake<Io>(io: Io, settings: &Settings) -> Result<(Self, Driver<Io>), Error>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let builder = settings.client(STREAMS_BEFORE_SETTINGS);
        let (send, mut connection) = builder.handshake(io).await.map_err(Error::from_h2)?;
        let load = Rc::new(Load {
            active: Cell::new(0),
            limit: settings.client_max_streams,
            last_used: Cell::new(Instant::now()),
            closed: Cell::new(false),
            settled: Cell::new(false),
            news: Notify::new(),
        });
        let driver = Driver {
            keepalive: KeepAlive::new(connection.ping_pong(), settings),
            connection: Some(connection),
            load: Rc::clone(&load),
        };
        Ok((Self { send, load }, driver))
    }

    /// Asks the peer for a tunnel and waits for its answer, at most until `deadline`.
    ///
    /// Cancel safe: a dropped call resets its stream and frees its place.
    ///
    /// # Errors
    /// * [`Error::Unavailable`] — nothing was sent; open another connection.
    /// * [`Error::Draining`] — the peer did not look at it; open another connection.
    /// * [`Error::Refused`] — the peer answered with another status than 200.
    /// * [`Error::Deadline`], [`Error::Closed`], [`Error::Protocol`] — as they say.
    pub async fn open(&self, request: &ConnectRequest, deadline: Instant) -> Result<Opened, Error> {
        let opening = async {
            let mut slot = self.reserve();
            if slot.is_none() {
                self.load.settled().await;
                slot = self.reserve();
            }
            self.open_in(slot.ok_or(Error::Unavailable)?, request).await
        };
        timeout_at(deadline, opening)
            .await
            .unwrap_or(Err(Error::Deadline))
    }

    /// Returns whether a new tunnel may be asked for: the connection lives, and the peer has not
    /// said goodbye.
    pub fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        // A fresh clone queues nothing, so the answer is never "pending".
        let ready = self.send.clone().poll_ready(&mut cx);
        !self.load.closed.get() && matches!(ready, Poll::Ready(Ok(())))
    }

    /// Returns the number of tunnels on this connection, those being asked for included.
    pub fn active(&self) -> usize {
        self.load.active.get()
    }

    /// Takes a place for one tunnel, if there is one.
    pub(crate) fn reserve(&self) -> Option<Rc<Slot>> {
        let active = self.load.active.get();
        if active >= self.limit() || !self.is_open() {
            return None;
        }
        self.load.active.set(active + 1);
        let load = Rc::clone(&self.load);
        Some(Rc::new(Slot { load }))
    }

    /// Asks for a tunnel in a place taken before.
    pub(crate) async fn open_in(
        &self,
        slot: Rc<Slot>,
        request: &ConnectRequest,
    ) -> Result<Opened, Error> {
        // An `Authority` is always a legal authority component, so this is not taken.
        let malformed = |_| Error::Protocol(Reason::PROTOCOL_ERROR.into());
        let request = request.to_http().map_err(malformed)?;
        let mut send = self.send.clone();
        poll_fn(|cx| send.poll_ready(cx))
            .await
            .map_err(Error::from_h2)?;
        let (answer, stream) = send.send_request(request, false).map_err(Error::from_h2)?;
        // Made before the answer, so that giving up resets the stream.
        let mut half = SendHalf::new(stream, Some(slot));
        let (head, body) = answer.await.map_err(Error::from_h2)?.into_parts();
        // SETTINGS come before everything else (RFC 9113 §3.4).
        self.load.settle();
        if head.status != StatusCode::OK {
            // Nothing will be sent; a reset would only make the peer count an abuse.
            let _ = half.finish();
            return Err(Error::Refused(head.status));
        }
        let tunnel = Tunnel::new(body, half);
        let headers = head.headers;
        Ok(Opened { tunnel, headers })
    }

    /// Streams the peer allows, as far as is known, and no more than we want.
    fn limit(&self) -> usize {
        self.send.current_max_send_streams().min(self.load.limit)
    }

    pub(crate) fn load(&self) -> &Rc<Load> {
        &self.load
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

/// Streams a new connection carries until the peer's SETTINGS tell how many it may.
///
/// h2 would take more and hold back, for as long as the first ones live, those above the limit it
/// learns of a moment later. Only callers that come within that moment have to wait for it.
const STREAMS_BEFORE_SETTINGS: usize = 1;

/// How busy a connection is; shared by its handles, its tunnels and its driver.
#[derive(Debug)]
pub(crate) struct Load {
    active: Cell<usize>,
    limit: usize,
    last_used: Cell<Instant>,
    closed: Cell<bool>,
    /// The peer's limit is known, or will never be.
    settled: Cell<bool>,
    news: Notify,
}

impl Load {
    /// Returns since when no tunnel uses the connection, or `None` while one does.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        (self.active.get() == 0).then(|| self.last_used.get())
    }

    /// Resolves once it is known how many tunnels the peer allows, or the connection has ended.
    pub(crate) async fn settled(&self) {
        if !self.settled.get() {
            self.news.notified().await;
        }
    }

    fn settle(&self) {
        if !self.settled.replace(true) {
            self.news.notify_waiters();
        }
    }

    fn close(&self) {
        self.closed.set(true);
        self.settle();
    }
}

/// A place for one tunnel on a connection, freed on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    load: Rc<Load>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.load
            .active
            .set(self.load.active.get().saturating_sub(1));
        self.load.last_used.set(Instant::now());
    }
}

/// Moves the bytes of a connection; nothing happens on it unless this future is polled.
///
/// Ends well once every handle and tunnel is gone, or the peer has closed. Dropping it breaks all
/// tunnels of the connection.
#[must_use = "a connection stands still unless its driver is polled"]
pub struct Driver<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    /// `None` once it has ended.
    connection: Option<h2::client::Connection<Io, Bytes>>,
    keepalive: KeepAlive,
    load: Rc<Load>,
}

impl<Io> Future for Driver<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(connection) = &mut this.connection else {
            return Poll::Ready(Ok(()));
        };
        let result = if this.keepalive.poll_expired(cx).is_ready() {
            Err(Error::Unresponsive)
        } else {
            match Pin::new(&mut *connection).poll(cx) {
                Poll::Ready(result) => result.map_err(Error::from_h2),
                Poll::Pending => {
                    // A peer that allows exactly this many settles with its first answer.
                    if connection.max_concurrent_send_streams() != STREAMS_BEFORE_SETTINGS {
                        this.load.settle();
                    }
                    return Poll::Pending;
                }
            }
        };
        // Tells the tunnels, which may outlive us, right now.
        this.connection = None;
        this.load.close();
        Poll::Ready(result)
    }
}

impl<Io> Drop for Driver<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    fn drop(&mut self) {
        self.load.close();
    }
}

impl<Io> fmt::Debug for Driver<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("load", &self.load)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
