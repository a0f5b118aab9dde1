//! `cairn sample server`: an HTTP server that says who it is and does as it is told.
//!
//! HTTP/1.1 and HTTP/2 (prior knowledge) on one port, WebSocket echo on any path, gRPC echo for
//! any method. Every answer names service, version and pod, so that one `curl` shows where a
//! request went and what became of it on the way.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use parking_lot::Mutex;
use runtime::TaskSet;
use serde_json::{Map, Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

use super::{
    asked_to_end,
    bytes::{Checksum, Pattern, checksum},
    grpc,
    upstream::{self, Upstream},
    websocket,
};
use crate::print;

/// The body of an answer.
pub(super) type AnswerBody = UnsyncBoxBody<Bytes, io::Error>;

/// How long requests get to finish once the server is asked to end.
const DRAIN: Duration = Duration::from_secs(20);
/// Keys whose failures are counted at most: the counter is no place to fill memory.
const KEYS_MAX: usize = 10_000;
/// The longest that `/delay` waits.
const DELAY_MAX: u64 = 600_000;

/// What the server is.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name of the service, as it appears in answers.
    #[arg(long, default_value = "sample")]
    name: String,
    /// Version, as it appears in answers.
    #[arg(long, default_value = "v1")]
    version: String,
    /// Port to listen on; 0 picks one and prints it.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// URLs to ask for every request, `http://HOST[:PORT]/PATH`; their answers become part of
    /// ours.
    #[arg(long, num_args = 1..)]
    upstream: Vec<Upstream>,
    /// Do not print a line per request.
    #[arg(long)]
    quiet: bool,
}

/// The server, shared by its connections.
#[derive(Debug)]
struct Server {
    args: Args,
    pod: String,
    /// How often each key has failed.
    failures: Mutex<BTreeMap<String, u32>>,
    tasks: TaskSet,
}

/// Serves until asked to end, then finishes what is under way.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, args.port)).await?;
    let port = listener.local_addr()?.port();
    print::out(format_args!(
        "{} {} listens on port {port}",
        args.name, args.version
    ));
    let pod = std::env::var_os("HOSTNAME")
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let server = Arc::new(Server {
        args,
        pod,
        failures: Mutex::default(),
        tasks: TaskSet::current(),
    });
    let graceful = GracefulShutdown::new();
    let end = asked_to_end();
    tokio::pin!(end);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, client)) => serve(&server, stream, client, &graceful),
                // Out of descriptors: give connections time to end.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
            () = &mut end => break,
        }
    }
    drop(listener);
    // Who is still there after that is cut off.
    let _ = timeout(DRAIN, graceful.shutdown()).await;
    Ok(())
}

fn serve(server: &Arc<Server>, stream: TcpStream, client: SocketAddr, graceful: &GracefulShutdown) {
    let service = {
        let server = server.clone();
        hyper::service::service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request, client).await) }
        })
    };
    // Small answers must not wait for the client's acknowledgements.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(Tasks(server.tasks.clone()));
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .into_owned();
    let watched = graceful.watch(connection);
    server.tasks.spawn("connection", async move {
        // A client that breaks off is its own affair.
        let _ = watched.await;
    });
}

/// Lets hyper run tasks in our set.
#[derive(Clone, Debug)]
pub(super) struct Tasks(pub(super) TaskSet);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.spawn("http2", task);
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Response<AnswerBody> {
        let (method, uri, version) = (
            request.method().clone(),
            request.uri().clone(),
            request.version(),
        );
        let path = uri
            .path_and_query()
            .map_or("/", |path| path.as_str())
            .to_owned();
        let mut response = self.route(request, client).await;
        let headers = response.headers_mut();
        for (name, text) in [
            ("x-service", &self.args.name),
            ("x-version", &self.args.version),
            ("x-pod", &self.pod),
        ] {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        }
        if !self.args.quiet {
            let status = response.status().as_u16();
            print::out(format_args!(
                "{client} {method} {path} {version:?} {status}"
            ));
        }
        response
    }

    async fn route(&self, request: Request<Incoming>, client: SocketAddr) -> Response<AnswerBody> {
        if websocket::is_upgrade(request.headers()) {
            return websocket::echo(request, &self.tasks);
        }
        if grpc::is_grpc(request.headers()) {
            return grpc::echo(request).await;
        }
        let path = request.uri().path().to_owned();
        let mut words = path.trim_matches('/').splitn(2, '/');
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        match (words.next().unwrap_or_default(), words.next()) {
            ("healthz", None) => text(StatusCode::OK, "ok\n"),
            ("version", None) => text(
                StatusCode::OK,
                &format!("{} {}\n", self.args.name, self.args.version),
            ),
            ("fail", None) => self.fail(&request, client),
            ("echo", None) => echo(request),
            ("upload", None) => upload(request).await,
            ("status", code) => match number(code)
                .and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok())
            {
                Some(code) if code.as_u16() >= 200 => text(code, &format!("{code}\n")),
                _ => text(StatusCode::BAD_REQUEST, "say /status/200 to /status/999\n"),
            },
            ("delay", millis) => match number(millis).filter(|millis| *millis <= DELAY_MAX) {
                Some(millis) => {
                    sleep(Duration::from_millis(millis)).await;
                    self.describe(request, client).await
                }
                None => text(
                    StatusCode::BAD_REQUEST,
                    "say /delay/MILLISECONDS, at most ten minutes\n",
                ),
            },
            ("bytes", len) => match number(len) {
                Some(len) => bytes(Pattern::new(len)),
                None => text(StatusCode::BAD_REQUEST, "say /bytes/NUMBER\n"),
            },
            ("sha256", len) => match number(len) {
                Some(len) => text(StatusCode::OK, &format!("{}\n", checksum(len))),
                None => text(
                    StatusCode::BAD_REQUEST,
                    "say /sha256/NUMBER: the checksum of /bytes/NUMBER\n",
                ),
            },
            _ => self.describe(request, client).await,
        }
    }

    /// Fails the first `times` requests with the same `key`, then answers.
    fn fail(&self, request: &Request<Incoming>, client: SocketAddr) -> Response<AnswerBody> {
        let query = query(request.uri().query());
        let times = query
            .get("times")
            .and_then(|times| times.parse().ok())
            .unwrap_or(1);
        let key = query.get("key").cloned().unwrap_or_default();
        let mut failures = self.failures.lock();
        if failures.len() >= KEYS_MAX && !failures.contains_key(&key) {
            return text(StatusCode::INSUFFICIENT_STORAGE, "too many keys\n");
        }
        let failed = failures.entry(key).or_default();
        if *failed < times {
            *failed += 1;
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("failure {failed} of {times}\n"),
            );
        }
        let attempts = *failed + 1;
        drop(failures);
        let mut about = self.about(request, client);
        about.insert("attempts".to_owned(), json!(attempts));
        pretty(StatusCode::OK, &about.into())
    }

    /// Says who answers, and what arrived.
    async fn describe(
        &self,
        request: Request<Incoming>,
        client: SocketAddr,
    ) -> Response<AnswerBody> {
        let mut about = self.about(&request, client);
        let headers = request.headers().clone();
        // The body is read so that the connection can be used again.
        let len = drain(request.into_body()).await.map_or(0, |seen| seen.len);
        if len > 0 {
            about.insert("bodyBytes".to_owned(), json!(len));
        }
        if !self.args.upstream.is_empty() {
            let upstream = upstream::ask_all(&self.args.upstream, &headers, &self.tasks).await;
            about.insert("upstream".to_owned(), upstream);
        }
        let wants_text = headers
            .get(header::ACCEPT)
            .is_some_and(|accept| accept.as_bytes().starts_with(b"text/plain"));
        if wants_text {
            return text(
                StatusCode::OK,
                &format!("{} {} {}\n", self.args.name, self.args.version, self.pod),
            );
        }
        pretty(StatusCode::OK, &about.into())
    }

    fn about(&self, request: &Request<Incoming>, client: SocketAddr) -> Map<String, Value> {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let about = [
            ("service", json!(self.args.name)),
            ("version", json!(self.args.version)),
            ("pod", json!(self.pod)),
            ("client", json!(client.to_string())),
            ("protocol", json!(format!("{:?}", request.version()))),
            ("method", json!(request.method().as_str())),
            ("path", json!(path)),
            ("host", json!(request.uri().host())),
            ("headers", headers_as_json(request.headers())),
        ];
        about
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

/// All values of each header, joined as HTTP joins them.
fn headers_as_json(headers: &HeaderMap) -> Value {
    let mut all: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        all.entry(name.as_str())
            .and_modify(|joined| joined.extend([", ", &text]))
            .or_insert_with(|| text.into_owned());
    }
    json!(all)
}

/// The parameters of a query; of several with one name the last counts.
fn query(query: Option<&str>) -> BTreeMap<String, String> {
    let pairs = query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty());
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Gives back what was sent, as it comes.
fn echo(request: Request<Incoming>) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(UnsyncBoxBody::new(body.map_err(io::Error::other)));
    if let Some(kind) = head.headers.get(header::CONTENT_TYPE) {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, kind.clone());
    }
    response
}

/// Takes what is sent and says how much it was and what its checksum is.
async fn upload(request: Request<Incoming>) -> Response<AnswerBody> {
    if !matches!(*request.method(), Method::POST | Method::PUT) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "send something\n");
    }
    match drain(request.into_body()).await {
        Ok(seen) => {
            let len = seen.len;
            pretty(
                StatusCode::OK,
                &json!({"bytes": len, "sha256": seen.finish()}),
            )
        }
        Err(e) => text(StatusCode::BAD_REQUEST, &format!("{e}\n")),
    }
}

async fn drain(mut body: Incoming) -> Result<Checksum, hyper::Error> {
    let mut seen = Checksum::default();
    while let Some(frame) = body.frame().await.transpose()? {
        if let Some(data) = frame.data_ref() {
            seen.add(data);
        }
    }
    Ok(seen)
}

pub(super) fn text(status: StatusCode, text: &str) -> Response<AnswerBody> {
    with_type(
        status,
        "text/plain; charset=utf-8",
        Bytes::from(text.to_owned()),
    )
}

fn pretty(status: StatusCode, value: &Value) -> Response<AnswerBody> {
    with_type(
        status,
        "application/json",
        Bytes::from(format!("{value:#}\n")),
    )
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response<AnswerBody> {
    let mut response = Response::new(UnsyncBoxBody::new(Full::new(body).map_err(never)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

pub(super) fn empty(status: StatusCode) -> Response<AnswerBody> {
    let mut response = Response::new(UnsyncBoxBody::new(Empty::new().map_err(never)));
    *response.status_mut() = status;
    response
}

fn bytes(pattern: Pattern) -> Response<AnswerBody> {
    let mut response = Response::new(UnsyncBoxBody::new(pattern.map_err(never)));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

pub(super) fn never(never: Infallible) -> io::Error {
    match never {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_values_of_a_header_are_joined() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        assert_eq!(headers_as_json(&headers), json!({"x-a": "1, 2"}));
    }

    #[test]
    fn queries_are_decoded() {
        let found = query(Some("times=2&key=a%20b&&flag"));
        let expected = [("flag", ""), ("key", "a b"), ("times", "2")];
        assert!(
            found
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .eq(expected)
        );
    }
}
