//! The side that is asked for tunnels.

use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::authority::{self, Authority};
use crate::keepalive::KeepAlive;
use crate::settings::Settings;
use crate::tunnel::{SendHalf, Tunnel};

/// Why a connection ended, or an answer could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The client did not speak HTTP/2.
    #[error("HBONE handshake failed")]
    Handshake(#[source] h2::Error),
    /// The client connected and then said nothing for [`Settings::handshake_timeout`].
    #[error("HBONE client sent no preface in time")]
    HandshakeTimeout,
    /// The connection broke, or the client broke the protocol.
    #[error("HBONE connection failed")]
    Connection(#[source] h2::Error),
    /// The client is gone, or took the request back.
    #[error("HBONE stream closed before the answer")]
    Stream(#[source] h2::Error),
    /// The client left a PING unanswered for [`Settings::ping_timeout`].
    #[error("HBONE client does not answer pings")]
    Unresponsive,
}

/// Why a request is not one for a tunnel. Answer it with [`Rejected::STATUS`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejected {
    /// The target is missing or makes no sense.
    #[error("CONNECT authority is not usable")]
    Authority(#[source] authority::Error),
    /// Only CONNECT is served.
    #[error("method {0} is not CONNECT")]
    Method(Method),
}

impl Rejected {
    /// What every malformed request is answered with.
    /// Source: istio/ztunnel `src/proxy/inbound.rs` answers the same.
    pub const STATUS: StatusCode = StatusCode::BAD_REQUEST;
}

/// A server connection. It moves bytes only while [`Connection::next`] is awaited, so it needs a
/// task that does so until the end, and others for the tunnels.
pub struct Connection<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    inner: h2::server::Connection<Io, Bytes>,
    keepalive: KeepAlive,
    ended: bool,
}

/// Starts HTTP/2 on `io`: sends our SETTINGS and waits for the client's preface.
///
/// # Errors
/// [`Error::Handshake`], [`Error::HandshakeTimeout`].
pub async fn accept<Io>(io: Io, settings: &Settings) -> Result<Connection<Io>, Error>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = settings.server().handshake(io);
    let mut inner = timeout(settings.handshake_timeout, handshake)
        .await
        .map_err(|_| Error::HandshakeTimeout)?
        .map_err(Error::Handshake)?;
    Ok(Connection {
        keepalive: KeepAlive::new(inner.ping_pong(), settings),
        inner,
        ended: false,
    })
}

impl<Io> Connection<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    /// Returns the next request, or `None` when the connection has ended in good order: the client
    /// closed it, or a drain is complete.
    ///
    /// Cancel safe. After an error there is nothing more to come.
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Unresponsive`].
    pub async fn next(&mut self) -> Option<Result<Connect, Error>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Self::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Connect, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.keepalive.poll_expired(cx).is_ready() {
            self.inner.abrupt_shutdown(Reason::NO_ERROR);
            // One attempt to say so; nobody may be listening.
            let _ = self.inner.poll_closed(cx);
            self.ended = true;
            return Poll::Ready(Some(Err(Error::Unresponsive)));
        }
        let next = match ready!(self.inner.poll_accept(cx)) {
            Some(Ok((request, respond))) => Ok(Connect::new(request, respond)),
            Some(Err(error)) => Err(Error::Connection(error)),
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
        };
        self.ended = next.is_err();
        Poll::Ready(Some(next))
    }

    /// Asks the client to open no more tunnels (GOAWAY); those open go on, and requests already on
    /// their way are still returned. [`Self::next`] then ends with the last tunnel.
    pub fn drain(&mut self) {
        self.inner.graceful_shutdown();
    }

    /// Closes all tunnels at once. [`Self::next`] must be awaited until `None` for the client to
    /// hear of it.
    pub fn abort(&mut self) {
        self.inner.abrupt_shutdown(Reason::NO_ERROR);
    }
}

impl<Io> fmt::Debug for Connection<Io>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A request for a tunnel that waits for its answer. Dropping it resets the stream.
pub struct Connect {
    target: Result<Authority, Rejected>,
    headers: HeaderMap,
    body: RecvStream,
    respond: SendResponse<Bytes>,
}

impl Connect {
    fn new(request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        let target = if head.method == Method::CONNECT {
            let authority = head.uri.authority().map_or("", |a| a.as_str());
            authority.parse().map_err(Rejected::Authority)
        } else {
            Err(Rejected::Method(head.method))
        };
        Self {
            target,
            headers: head.headers,
            body,
            respond,
        }
    }

    /// Returns where the tunnel is to lead.
    ///
    /// # Errors
    /// A [`Rejected`] request has to be refused with [`Rejected::STATUS`].
    pub fn target(&self) -> Result<&Authority, &Rejected> {
        self.target.as_ref()
    }

    /// Returns what the client sent along, see [`crate::headers`]. Never a ground for a decision.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Ready once the client gave up waiting.
    pub async fn cancelled(&mut self) {
        // Both a reset and a lost connection mean that nobody waits.
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers 200 and returns the tunnel. Everything that can refuse it comes before.
    ///
    /// # Errors
    /// [`Error::Stream`] if the client is gone.
    pub fn accept(mut self, headers: HeaderMap) -> Result<Tunnel, Error> {
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        let stream = self
            .respond
            .send_response(response, false)
            .map_err(Error::Stream)?;
        Ok(Tunnel::new(self.body, SendHalf::new(stream, None)))
    }

    /// Answers with `status` and ends the stream.
    ///
    /// # Errors
    /// [`Error::Stream`] if the client is gone.
    pub fn refuse(mut self, status: StatusCode) -> Result<(), Error> {
        let mut response = Response::new(());
        *response.status_mut() = status;
        self.respond
            .send_response(response, true)
            .map_err(Error::Stream)?;
        Ok(())
    }
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
