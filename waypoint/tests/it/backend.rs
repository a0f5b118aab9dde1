//! Endpoints that do as told.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use runtime::LocalTasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use crate::authority::Authority;
use crate::client::Executor;

/// An address of 127.0.0.0/8 that no other backend of any test process has.
pub(crate) fn address() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id().to_be_bytes();
    IpAddr::from([127, 64 | (process[3] & 0x3f), process[2] ^ next[2], next[3]])
}

/// What an endpoint does with the next request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers with what it saw.
    Echo,
    /// Answers with this status.
    Status(u16),
    /// Waits before it answers with what it saw.
    Stall(Duration),
    /// Closes the connection instead of answering.
    Close,
    /// Closes the connection inside the answer.
    CloseInside,
    /// Answers with so many bytes.
    Bulk(usize),
}

/// What an endpoint was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An endpoint. Dropping it closes it.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    script: Rc<Script>,
    tasks: LocalTasks,
}

#[derive(Default)]
struct Script {
    name: String,
    acts: RefCell<VecDeque<Act>>,
    seen: RefCell<Vec<Seen>>,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

impl Backend {
    /// An endpoint on plain TCP.
    pub(crate) async fn plain(name: &str, speaks: Speaks) -> Self {
        let listener = TcpListener::bind((address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (script, tasks) = parts(name);
        let (ours, on) = (Rc::clone(&script), tasks.clone());
        tasks.spawn("backend", async move {
            while let Ok((stream, _)) = listener.accept().await {
                on.spawn(
                    "backend connection",
                    serve(Rc::clone(&ours), stream, speaks, on.clone()),
                );
            }
        });
        Self {
            address,
            script,
            tasks,
        }
    }

    /// An endpoint behind a proxy of its node, which presents `id`.
    pub(crate) async fn meshed(
        name: &str,
        speaks: Speaks,
        authority: &Authority,
        id: &str,
    ) -> Self {
        let ip = address();
        let listener = TcpListener::bind((ip, 15008)).await.unwrap();
        let (script, tasks) = parts(name);
        let (ours, on) = (Rc::clone(&script), tasks.clone());
        let config = authority.certify(id).server_config();
        tasks.spawn("backend", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok((tls, _)) = identity::handshake::accept(config.clone(), stream).await else {
                    continue;
                };
                let settings = hbone::Settings::default();
                let Ok(mut tunnels) = hbone::server::accept(tls, &settings).await else {
                    continue;
                };
                let (ours, on) = (Rc::clone(&ours), on.clone());
                on.clone().spawn("backend tunnels", async move {
                    while let Some(Ok(connect)) = tunnels.next().await {
                        let stream = connect.accept(HeaderMap::new()).unwrap();
                        let serving = serve(Rc::clone(&ours), stream, speaks, on.clone());
                        on.spawn("backend connection", serving);
                    }
                });
            }
        });
        Self {
            address: SocketAddr::new(ip, 8080),
            script,
            tasks,
        }
    }

    /// Puts acts before those that follow: echoing, for ever.
    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.script.acts.borrow_mut().extend(acts);
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.script.seen.borrow().clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Its tasks spawn others and so keep their owner alive.
        self.tasks.end();
    }
}

fn parts(name: &str) -> (Rc<Script>, LocalTasks) {
    let script = Script {
        name: name.to_owned(),
        ..Script::default()
    };
    (Rc::new(script), LocalTasks::default())
}

async fn serve<Io>(script: Rc<Script>, io: Io, speaks: Speaks, tasks: LocalTasks)
where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = service_fn(move |request| answer(Rc::clone(&script), request));
    let io = TokioIo::new(io);
    match speaks {
        Speaks::Http1 => drop(http1::Builder::new().serve_connection(io, service).await),
        Speaks::Http2 => {
            drop(
                http2::Builder::new(Executor(tasks))
                    .serve_connection(io, service)
                    .await,
            );
        }
    }
}

async fn answer(
    script: Rc<Script>,
    request: Request<Incoming>,
) -> Result<Response<Reply>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    let line = format!("{} {} {:?}", parts.method, target, parts.version);
    let trailers = parts.headers.contains_key("te");
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let mut text = format!("{line}\n");
    if let Some(authority) = parts.uri.authority() {
        let _ = writeln!(text, "host: {authority}");
    }
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let _ = writeln!(text, "{name}: {value}");
    }
    let seen = Seen {
        line,
        headers: parts.headers,
        body,
    };
    script.seen.borrow_mut().push(seen);
    let act = script.acts.borrow_mut().pop_front().unwrap_or(Act::Echo);
    let mut reply = Reply::of(text.into(), trailers);
    let mut status = 200;
    match act {
        Act::Echo => {}
        Act::Status(code) => status = code,
        Act::Stall(time) => tokio::time::sleep(time).await,
        Act::Close => return Err(std::io::Error::other("told to close")),
        Act::CloseInside => reply.frames.push_back(Err("told to close")),
        Act::Bulk(bytes) => {
            let chunk = Bytes::from(vec![7; 16 << 10]);
            let chunks = std::iter::repeat_n(chunk, bytes.div_ceil(16 << 10));
            reply.frames = chunks.map(Frame::data).map(Ok).collect();
        }
    }
    let response = Response::builder()
        .status(status)
        .header("x-backend", &script.name);
    let response = if trailers {
        response.header("trailer", "grpc-status")
    } else {
        response
    };
    Ok(response.body(reply).unwrap())
}

/// A body of frames.
pub(crate) struct Reply {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    /// Whether what comes before an error has had its chance to be sent.
    flushed: bool,
}

impl Reply {
    fn of(text: Bytes, trailers: bool) -> Self {
        let mut frames = VecDeque::from([Ok(Frame::data(text))]);
        if trailers {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-status", 0.into());
            frames.push_back(Ok(Frame::trailers(fields)));
        }
        Self {
            frames,
            flushed: false,
        }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if matches!(self.frames.front(), Some(Err(_))) && !self.flushed {
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.frames.pop_front())
    }
}
