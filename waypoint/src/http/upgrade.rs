//! WebSockets: after the endpoint agrees, bytes pass both ways untouched.
//!
//! The request is an HTTP/1.1 request like any other until the answer is 101. Then the client's
//! connection and the endpoint's both come out of their codecs, and what each codec had read
//! beyond the head comes first.

use std::cell::Cell;

use hbone::copy::{self, Counters};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, Response};
use runtime::Drain;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::body::Body;
use super::context::RequestCtx;
use super::error::{Error, Kind};
use super::report::Report;
use super::sanitize;
use super::upstream::Lease;
use crate::connect::Stream;
use crate::plugins::Chain;
use crate::stream::Prefixed;

/// A WebSocket that is being agreed on.
#[derive(Debug)]
pub(crate) struct Upgrade {
    endpoint: oneshot::Receiver<Prefixed<Stream>>,
    /// Told when the WebSocket ends.
    report: Option<(Report, Chain)>,
}

impl Upgrade {
    /// Takes over what is told of the request.
    pub(crate) fn adopt(&mut self, report: Report, plugins: Chain) {
        self.report = Some((report, plugins));
    }
}

/// Asks the endpoint for a WebSocket on this connection.
pub(crate) fn ask(cx: &RequestCtx, lease: &mut Lease, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let upgrade = lease.take_over().map(|endpoint| Upgrade {
        endpoint,
        report: None,
    });
    *cx.tunnel.upgrade.borrow_mut() = upgrade;
}

/// Makes the endpoint's agreement ours.
///
/// # Errors
/// `Protocol` when nobody asked.
pub(crate) fn agree(cx: &RequestCtx, mut parts: Parts) -> Result<Response<Body>, Error> {
    if cx.tunnel.upgrade.borrow().is_none() {
        return Err(Kind::Protocol.into());
    }
    sanitize::answer(&mut parts.headers)?;
    parts
        .headers
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    parts
        .headers
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    Ok(Response::from_parts(parts, Body::empty()))
}

/// Moves bytes until both sides are done, or the drain is over.
pub(crate) async fn run<Io>(upgrade: Upgrade, client: Io, mut drain: Drain)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let Upgrade { endpoint, report } = upgrade;
    let Ok(endpoint) = endpoint.await else { return };
    let moved = Moved::default();
    let copying = copy::bidirectional(copy::Io(client), copy::Io(endpoint), &moved);
    tokio::select! {
        copied = copying => if let Some(failure) = copied.failure {
            tracing::debug!(%failure, "a WebSocket was cut");
        },
        () = drain.expired() => {}
    }
    if let Some((mut report, mut plugins)) = report {
        report.moved(moved.received.get(), moved.sent.get());
        plugins.finish(Some(&report));
        report.tell();
    }
}

/// Bytes of a WebSocket.
#[derive(Debug, Default)]
struct Moved {
    received: Cell<u64>,
    sent: Cell<u64>,
}

impl Counters for Moved {
    fn a_to_b(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
    }

    fn b_to_a(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
    }
}
