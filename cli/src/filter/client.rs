//! A client that sends one request and takes in the whole answer, or many, one after the other.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Method, Request, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use runtime::LocalTasks;
use tokio::net::TcpStream;

use super::server::{Executor, Message, Whole, collect, whole};

/// A request to send.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Host.
    pub host: String,
    /// Header lines, without the host.
    pub headers: HeaderMap,
    /// The body, in the pieces it is sent in.
    pub pieces: Vec<Bytes>,
    /// What comes after the body.
    pub trailers: HeaderMap,
    /// Over HTTP/2.
    pub http2: bool,
}

/// A connection.
pub struct Client {
    wire: Wire,
    tasks: LocalTasks,
}

enum Wire {
    Http1(http1::SendRequest<Whole>),
    Http2(http2::SendRequest<Whole>),
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody answers there.
    pub async fn connect(address: SocketAddr, http2: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let io = TokioIo::new(stream);
        let tasks = LocalTasks::default();
        let wire = if http2 {
            let (sender, connection) = http2::handshake(Executor(tasks.clone()), io).await?;
            tasks.spawn("client connection", async move {
                // Requests that fail say why.
                let _ = connection.await;
            });
            Wire::Http2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tasks.spawn("client connection", async move {
                let _ = connection.await;
            });
            Wire::Http1(sender)
        };
        Ok(Self { wire, tasks })
    }

    /// Sends a request and takes in its answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn send(&mut self, sent: &Sent) -> Result<Message, hyper::Error> {
        let request = sent.request();
        let response = match &mut self.wire {
            Wire::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Wire::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        };
        let (parts, body) = response.into_parts();
        let (body, trailers) = collect(body).await?;
        Ok(Message {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            body,
            trailers,
            ..Message::default()
        })
    }
}

impl Sent {
    fn request(&self) -> Request<Whole> {
        let mut request = Request::new(whole(self.pieces.clone(), self.trailers.clone()));
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        if self.http2 {
            *request.version_mut() = Version::HTTP_2;
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(Scheme::HTTP);
            parts.authority = Authority::try_from(self.host.as_str()).ok();
            parts.path_and_query = self.path.parse().ok();
            *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        } else {
            *request.uri_mut() = self.path.parse().unwrap_or_default();
            if let Ok(host) = HeaderValue::from_str(&self.host) {
                request.headers_mut().insert(http::header::HOST, host);
            }
        }
        request
    }

    /// Says what cannot be sent.
    ///
    /// # Errors
    /// Naming the field.
    pub fn check(&self) -> anyhow::Result<()> {
        let path: Result<http::uri::PathAndQuery, _> = self.path.parse();
        path.with_context(|| format!("path: {:?} is no path", self.path))?;
        Authority::try_from(self.host.as_str())
            .with_context(|| format!("host: {:?} is no host", self.host))?;
        Ok(())
    }
}
