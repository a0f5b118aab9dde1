//! Servers on loopback that note what reaches them: what a filter's requests and callouts go to.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use runtime::LocalTasks;
use serde_json::{Map, Value, json};
use tokio::net::{TcpListener, TcpStream};

/// A body that is known whole.
pub(super) type Whole = UnsyncBoxBody<Bytes, Infallible>;

/// A request or an answer, complete.
#[derive(Clone, Debug)]
pub struct Message {
    /// Of a request.
    pub method: Method,
    /// Of a request: path and query.
    pub path: String,
    /// Of an answer.
    pub status: StatusCode,
    /// The version of HTTP it came with.
    pub version: Version,
    /// Header lines. The host of a request is among them whatever the version.
    pub headers: HeaderMap,
    /// The whole body of what was received.
    pub body: Bytes,
    /// The body of what is sent, in the pieces it is sent in.
    pub pieces: Vec<Bytes>,
    /// What came after it.
    pub trailers: HeaderMap,
}

impl Default for Message {
    fn default() -> Self {
        Self {
            method: Method::GET,
            path: "/".to_owned(),
            status: StatusCode::OK,
            version: Version::HTTP_11,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            pieces: vec![],
            trailers: HeaderMap::new(),
        }
    }
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Answers it.
    Answer(Box<Message>),
    /// Never answers.
    Silence,
    /// Closes the connection.
    Hangup,
}

/// Decides what a server does with a request.
pub type Script = Rc<dyn Fn(Message) -> Reaction>;

/// A server. It ends with its drop.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    tasks: LocalTasks,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Server {
    /// Listens on any port of loopback, for HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(script: Script) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen on loopback")?;
        let address = listener.local_addr()?;
        let tasks = LocalTasks::default();
        let connections = tasks.clone();
        tasks.spawn("server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let serving = serve(stream, Rc::clone(&script), connections.clone());
                connections.spawn("server connection", serving);
            }
        });
        Ok(Self { address, tasks })
    }
}

/// Spawns hyper's tasks where they belong.
#[derive(Clone, Debug)]
pub(super) struct Executor(pub(super) LocalTasks);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.0.spawn("http stream", task);
    }
}

async fn serve(stream: TcpStream, script: Script, tasks: LocalTasks) {
    // Hung up on from inside a request: the connection ends with this.
    let hangup = Rc::new(tokio::sync::Notify::new());
    let heard = Rc::clone(&hangup);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (script, hangup) = (Rc::clone(&script), Rc::clone(&hangup));
        async move {
            let request = received(request).await;
            match script(request) {
                Reaction::Answer(answer) => Ok::<_, Infallible>(response(*answer)),
                Reaction::Silence => std::future::pending().await,
                Reaction::Hangup => {
                    hangup.notify_one();
                    std::future::pending().await
                }
            }
        }
    });
    let builder = auto::Builder::new(Executor(tasks));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that goes away is no failure of the server.
        _ = connection => {}
        () = heard.notified() => {}
    }
}

/// Takes in a whole request. What breaks off is told as far as it came.
async fn received(request: Request<Incoming>) -> Message {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query();
    let mut headers = parts.headers;
    if let Some(host) = parts.uri.authority()
        && let Ok(host) = host.as_str().parse()
    {
        headers.entry(http::header::HOST).or_insert(host);
    }
    let (body, trailers) = collect(body).await.unwrap_or_default();
    Message {
        method: parts.method,
        path: path.map_or_else(|| "*".to_owned(), ToString::to_string),
        version: parts.version,
        headers,
        body,
        trailers,
        ..Message::default()
    }
}

/// A whole body and what follows it.
pub(super) async fn collect(body: Incoming) -> Result<(Bytes, HeaderMap), hyper::Error> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes(), trailers))
}

fn response(message: Message) -> Response<Whole> {
    let body = whole(message.pieces, message.trailers);
    let mut response = Response::new(body);
    *response.status_mut() = message.status;
    *response.headers_mut() = message.headers;
    response
}

/// A body of these pieces, each a frame of its own.
pub(super) fn whole(pieces: Vec<Bytes>, trailers: HeaderMap) -> Whole {
    let pieces: Vec<Bytes> = pieces
        .into_iter()
        .filter(|bytes| !bytes.is_empty())
        .collect();
    if trailers.is_empty() && pieces.len() < 2 {
        // Known whole, it goes with its length.
        let bytes = pieces.into_iter().next().unwrap_or_default();
        return http_body_util::Full::new(bytes).boxed_unsync();
    }
    let trailers = (!trailers.is_empty()).then(|| Frame::trailers(trailers));
    let frames = pieces.into_iter().map(Frame::data).chain(trailers);
    StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync()
}

/// What requests go to when nobody says where: answers with what it received, as JSON.
pub fn echo() -> Script {
    Rc::new(|request: Message| {
        let mut headers = Map::new();
        for (name, value) in &request.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            match headers.get_mut(name.as_str()) {
                Some(Value::String(known)) => {
                    known.push_str(", ");
                    known.push_str(&value);
                }
                _ => {
                    headers.insert(name.to_string(), value.into());
                }
            }
        }
        let received = json!({
            "method": request.method.as_str(),
            "path": request.path,
            "headers": headers,
            "body": String::from_utf8_lossy(&request.body),
        });
        let mut answer = Message {
            pieces: vec![format!("{received:#}\n").into()],
            ..Message::default()
        };
        let json = http::HeaderValue::from_static("application/json");
        answer.headers.insert(http::header::CONTENT_TYPE, json);
        Reaction::Answer(Box::new(answer))
    })
}

/// What a server has received, in order.
pub type Received = Rc<RefCell<Vec<Message>>>;

/// An address on loopback at which nobody listens.
///
/// # Errors
/// When no port is to be had.
pub fn nobody() -> io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}
