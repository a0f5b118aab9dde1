//! The door for fuzz targets: parsers of this crate that take a client's bytes, over plain values.
//!
//! Compiled only with `--cfg fuzzing`; no product code may stand here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, request};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh::path::Normalization;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use uuid::Uuid;

use crate::http::framing::Strict;
use crate::http::sanitize;
use crate::sniff::{self, Protocol};

/// A request after sanitising, as far as targets look at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Clean {
    /// Host, or nothing.
    pub host: String,
    /// Method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Header fields.
    pub headers: HeaderMap,
    /// Whether a WebSocket is asked for.
    pub websocket: bool,
}

/// Sanitises the head of a request; `None` when it is refused.
pub fn request_head(parts: request::Parts, normalization: Normalization) -> Option<Clean> {
    let client = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
    let head = sanitize::head(parts, normalization, client, Uuid::nil).ok()?;
    Some(Clean {
        host: head.host().to_owned(),
        method: head.method.clone(),
        target: head.target.as_str().to_owned(),
        headers: head.headers,
        websocket: head.websocket,
    })
}

/// Sanitises the headers of an answer; `false` when it is refused.
pub fn answer_headers(headers: &mut HeaderMap) -> bool {
    sanitize::answer(headers).is_ok()
}

/// What strict framing hands over of a stream that arrives in these pieces.
pub fn framed(pieces: &[&[u8]]) -> Vec<u8> {
    let mut handed_over = vec![];
    let mut stream = Strict::new(Pieces::new(pieces));
    drop(now(stream.read_to_end(&mut handed_over)));
    handed_over
}

/// The protocol that is recognised of a stream, and everything that can still be read of it.
pub fn sniffed(pieces: &[&[u8]], http: bool) -> Option<(&'static str, Vec<u8>)> {
    let (protocol, mut stream) = now(sniff::sniff(Pieces::new(pieces), http))?.ok()?;
    let mut read = vec![];
    now(stream.read_to_end(&mut read))?.ok()?;
    let name = match protocol {
        Protocol::Http1 => "HTTP/1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Opaque => "opaque",
    };
    Some((name, read))
}

/// Method, target and body of every request that comes whole out of framing and parsing a
/// client's stream, as `http::server` puts them together.
pub fn requests(pieces: &[&[u8]]) -> Vec<(Method, String, Vec<u8>)> {
    let found = Rc::new(RefCell::new(vec![]));
    let seen = Rc::clone(&found);
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let (parts, mut body) = request.into_parts();
            let (method, target) = (parts.method.clone(), parts.uri.to_string());
            let last = parts
                .headers
                .get_all("upgrade")
                .iter()
                .any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
            let mut whole = Some(vec![]);
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                match (frame, &mut whole) {
                    (Ok(frame), Some(whole)) => {
                        whole.extend(frame.into_data().unwrap_or_default());
                    }
                    _ => whole = None,
                }
            }
            if let Some(whole) = whole {
                seen.borrow_mut().push((method, target, whole));
            }
            let mut response = Response::new(String::new());
            if last {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(Strict::new(Pieces::new(pieces)));
    drop(now(http1::Builder::new().serve_connection(io, service)));
    found.take()
}

/// Runs a future that waits for nothing; `None` if it does wait.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    // A connection may give way to others between two steps; nothing is ever missing.
    (0..10_000).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    })
}

/// A stream that arrives in pieces and swallows what is written.
struct Pieces(VecDeque<Vec<u8>>);

impl Pieces {
    fn new(pieces: &[&[u8]]) -> Self {
        let some = pieces.iter().filter(|piece| !piece.is_empty());
        Self(some.map(|piece| piece.to_vec()).collect())
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.0.pop_front() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(&piece);
            if !rest.is_empty() {
                self.0.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
