//! What requests and callouts come to: a server that remembers what it saw.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use conformance::wasm::lines::tells;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A running server; it lives as long as the process.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts one on a thread of its own.
    pub(crate) fn start(name: &'static str) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = Arc::clone(&seen);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let mut connections = JoinSet::new();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    connections.spawn(serve(name, stream, Arc::clone(&lines)));
                }
            });
        });
        let address = told.recv().unwrap();
        Self { address, seen }
    }

    /// What it saw since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock())
    }
}

async fn serve(name: &'static str, stream: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let _ = stream.set_nodelay(true);
    let mut first = [0; 3];
    let Ok(read) = stream.peek(&mut first).await else {
        return;
    };
    let is_http2 = &first[..read] == b"PRI";
    let service = service_fn(move |request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer(name, request, &seen).await) }
    });
    let stream = TokioIo::new(stream);
    // A proxy that breaks off is seen in what the client got.
    if is_http2 {
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(stream, service).await;
    } else {
        let http1 = hyper::server::conn::http1::Builder::new();
        let _ = http1.serve_connection(stream, service).await;
    }
}

/// Frames that are there already.
pub(crate) struct Frames(pub(crate) VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        let lengths = self.0.iter().map(|frame| frame.data_ref().map(Bytes::len));
        match lengths.sum::<Option<usize>>() {
            Some(length) => hyper::body::SizeHint::with_exact(length as u64),
            None => hyper::body::SizeHint::default(),
        }
    }
}

impl Frames {
    /// A body of one piece, and trailers.
    pub(crate) fn new(body: impl Into<Bytes>, trailers: &[(&'static str, &'static str)]) -> Self {
        let body = body.into();
        let mut frames = VecDeque::new();
        if !body.is_empty() {
            frames.push_back(Frame::data(body));
        }
        if !trailers.is_empty() {
            let pairs = trailers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            frames.push_back(Frame::trailers(pairs.collect()));
        }
        Self(frames)
    }
}

async fn answer(
    name: &'static str,
    request: Request<Incoming>,
    seen: &Mutex<Vec<String>>,
) -> Response<Frames> {
    let (head, body) = request.into_parts();
    let mut lines = vec![format!(
        "{name}: {} {}",
        head.method,
        head.uri.path_and_query().unwrap()
    )];
    let authority = head
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    let host = head
        .headers
        .get("host")
        .map(|host| host.to_str().unwrap().to_owned());
    lines.push(format!(
        "{name} authority: {}",
        authority.or(host).unwrap_or_default()
    ));
    lines.extend(headers(&format!("{name} header"), &head.headers));
    if head.uri.path() == "/silent" {
        seen.lock().extend(lines);
        return std::future::pending().await;
    }
    match body.collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned().unwrap_or_default();
            let body = body.to_bytes();
            lines.push(format!("{name} body: {:?}", String::from_utf8_lossy(&body)));
            lines.extend(headers(&format!("{name} trailer"), &trailers));
            seen.lock().extend(lines);
            reply(&head, &body)
        }
        // How much of a request comes before its proxy gives it up is a matter of timing.
        Err(_) => Response::new(Frames::new("", &[])),
    }
}

fn reply(head: &http::request::Parts, body: &Bytes) -> Response<Frames> {
    let response = Response::builder().header("server-test", "upstream");
    if head.uri.path() == "/test.Echo/Say" {
        let trailers = [("grpc-status", "0"), ("x-trailing", "last")];
        return response
            .header("content-type", "application/grpc")
            .header("x-initial", "first")
            .body(Frames::new(body.clone(), &trailers))
            .unwrap();
    }
    let text = match head.uri.path() {
        "/ok" => "answer".to_owned(),
        "/none" => String::new(),
        _ => format!("hello {}", head.uri.path()),
    };
    let with_trailers = head.headers.contains_key("x-want-trailers");
    let trailers: &[_] = if with_trailers {
        &[("x-server-trailer", "there")]
    } else {
        &[]
    };
    let response = response.header("content-type", "text/plain");
    response.body(Frames::new(text, trailers)).unwrap()
}

/// The headers that tell something, in order of their names.
pub(crate) fn headers(what: &str, map: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<String> = map
        .iter()
        .filter(|(name, _)| tells(name.as_str()) && *name != "host")
        .map(|(name, value)| format!("{what}: {name}={}", value.as_bytes().escape_ascii()))
        .collect();
    lines.sort();
    lines
}
