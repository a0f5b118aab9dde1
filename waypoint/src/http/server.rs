//! HTTP/1.1 and HTTP/2 on a tunnelled stream.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runtime::{Drain, LocalTasks};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::context::{RequestCtx, Tunnel};
use super::error::{Error, Kind};
use super::framing::Strict;
use super::report::{Report, Reported};
use super::{pipeline, respond, sanitize, upgrade};
use crate::plugins::{self, Chain};
use crate::sniff::Protocol;

/// Header lines a request may have; `sanitize` says the same for HTTP/2.
const MAX_HEADERS: usize = 100;
/// Bytes of a request's head over HTTP/1.1.
const MAX_HEAD: usize = 64 << 10;
/// Decoded bytes of a request's head over HTTP/2.
const MAX_HEADER_LIST: u32 = 64 << 10;
/// Requests at a time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 100;
/// Receive windows of HTTP/2: a stream's, a connection's.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);

/// Spawns hyper's tasks where they belong.
#[derive(Clone, Debug)]
pub(crate) struct LocalExecutor(pub(crate) LocalTasks);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        self.0.spawn("http stream", task);
    }
}

/// Serves the requests of a tunnel until its client is done.
///
/// When a drain starts, or the destination has left this waypoint, the request that is being served
/// is the last.
pub(crate) async fn serve<Io>(tunnel: Rc<Tunnel>, io: Io, protocol: Protocol)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    match protocol {
        Protocol::Http2 => serve_http2(tunnel, io).await,
        Protocol::Http1 | Protocol::Opaque => serve_http1(tunnel, io).await,
    }
}

async fn serve_http1<Io>(tunnel: Rc<Tunnel>, io: Io)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let served = Rc::clone(&tunnel);
    // Boxed, because the connection has to stay movable to be taken apart for an upgrade.
    let service = service_fn(move |request| Box::pin(answer(Rc::clone(&served), request)));
    let mut builder = http1::Builder::new();
    builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEAD);
    let mut connection = builder.serve_connection(TokioIo::new(Strict::new(io)), service);
    let mut drain = tunnel.worker.drain.clone();
    let mut draining = false;
    let outcome = loop {
        tokio::select! {
            outcome = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break outcome,
            () = leave(&tunnel, &mut drain), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, peer = %tunnel.peer.id, "client connection ended");
        if !error.is_parse() {
            // Reset: an answer that was cut short must not look as if it had ended.
            return;
        }
        // The parser's answer is on its way and ends the stream.
    }
    let parts = connection.into_parts();
    let io = parts.io.into_inner().into_inner();
    let mut io = crate::stream::Prefixed::new(parts.read_buf, io);
    let taken = tunnel.upgrade.borrow_mut().take();
    match taken {
        Some(taken) => upgrade::run(taken, io, drain).await,
        // The client may be gone already.
        None => drop(tokio::io::AsyncWriteExt::shutdown(&mut io).await),
    }
}

async fn serve_http2<Io>(tunnel: Rc<Tunnel>, io: Io)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let served = Rc::clone(&tunnel);
    let service = service_fn(move |request| answer(Rc::clone(&served), request));
    let mut builder = http2::Builder::new(LocalExecutor(tunnel.worker.connections.clone()));
    builder
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut drain = tunnel.worker.drain.clone();
    let mut draining = false;
    let outcome = loop {
        tokio::select! {
            outcome = connection.as_mut() => break outcome,
            () = leave(&tunnel, &mut drain), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, peer = %tunnel.peer.id, "client connection ended");
    }
}

/// Waits until the request that is being served then should be the last.
async fn leave(tunnel: &Tunnel, drain: &mut Drain) {
    tokio::select! {
        _ = drain.started() => {}
        () = tunnel.leave.notified() => {}
    }
}

/// One request: makes its context, runs it, and words what failed.
///
/// # Errors
/// `PluginReset` when the client gets no answer but the end of its stream.
async fn answer(
    tunnel: Rc<Tunnel>,
    request: Request<Incoming>,
) -> Result<Response<Reported>, Error> {
    let (parts, body) = request.into_parts();
    let mut report = Report::new(&tunnel, &parts);
    let worker = &tunnel.worker;
    let client = tunnel.peer.addr.ip();
    let head = sanitize::head(parts, worker.normalization, client, || worker.draw.uuid());
    let snapshot = worker.state.current();
    let rules = tunnel.rules(&snapshot);
    let (head, rules) = match (head, rules) {
        (Ok(head), Some(rules)) => (head, rules),
        (Err(error), _) => return Ok(refuse(report, &error)),
        // The service went away while its client's connection did not.
        (Ok(_), None) => return Ok(refuse(report, &Error::new(Kind::NoRoute))),
    };
    report.clean(&head);
    let last = head.last;
    let mut cx = RequestCtx {
        tunnel,
        snapshot,
        rules,
        plugins: Chain::default(),
        report,
        deadline: None,
    };
    let mut response = match pipeline::run(&mut cx, head, body).await {
        Ok(response) => response,
        Err(error) => failed(&mut cx, error)?,
    };
    if let Err(error) = plugins::response(&mut cx, &mut response).await {
        response = failed(&mut cx, error)?;
    }
    Ok(deliver(cx, response, last))
}

/// Words what failed, unless it is not to be answered.
fn failed(cx: &mut RequestCtx, error: Error) -> Result<Response<Body>, Error> {
    let row = respond::row(&error.kind);
    tracing::debug!(error = %runtime::report(&error), status = %row.status, "request failed");
    cx.report.error(&row);
    if error.kind == Kind::PluginReset {
        cx.plugins.finish(Some(&cx.report));
        cx.report.tell();
        return Err(error);
    }
    Ok(respond::response(&row, cx.report.is_grpc()))
}

/// A request that could not even be begun.
fn refuse(mut report: Report, error: &Error) -> Response<Reported> {
    let row = respond::row(&error.kind);
    tracing::debug!(error = %runtime::report(error), status = %row.status, "request refused");
    report.error(&row);
    let mut response = respond::response(&row, report.is_grpc());
    if !report.is_http2() {
        // Whoever sent this may not mean the same by the bytes that follow.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    report.response(&response);
    response.map(|body| Reported::new(body, report, Chain::default()))
}

fn deliver(cx: RequestCtx, mut response: Response<Body>, last: bool) -> Response<Reported> {
    let RequestCtx {
        tunnel,
        mut report,
        plugins,
        ..
    } = cx;
    let agreed = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if last && !agreed {
        // What the client sends from here on may already be frames of its WebSocket.
        *tunnel.upgrade.borrow_mut() = None;
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    report.response(&response);
    if agreed && let Some(upgrade) = tunnel.upgrade.borrow_mut().as_mut() {
        upgrade.adopt(report, plugins);
        return response.map(|_| Reported::silent());
    }
    response.map(|body| Reported::new(body, report, plugins))
}
