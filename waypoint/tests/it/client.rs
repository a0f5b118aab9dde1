//! A client as its ztunnel connects it: mutual TLS, CONNECT, then whatever the application says.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hbone::client::{ConnectRequest, Connection, Error};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use runtime::LocalTasks;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::authority::Authority;

/// A pod and its tunnel connection to the waypoint.
pub(crate) struct Client {
    connection: Connection,
    tasks: LocalTasks,
    waypoint: SocketAddr,
}

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header of the request, as the endpoint saw it: `echo` backends list them.
    pub(crate) fn seen(&self, name: &str) -> Option<String> {
        let prefix = format!("{name}: ");
        let line = self
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(&prefix));
        line.map(ToOwned::to_owned)
    }

    /// The request line, as the endpoint saw it.
    pub(crate) fn line(&self) -> &str {
        self.text().lines().next().unwrap_or_default()
    }
}

impl Client {
    /// Connects to a waypoint as somebody.
    pub(crate) async fn connect(
        authority: &Authority,
        id: &str,
        waypoint: SocketAddr,
        expected: &str,
    ) -> Result<Self, identity::handshake::Error> {
        let certified = authority.certify(id);
        let config = certified.client_config(&[expected.parse().unwrap()]);
        let stream = TcpStream::connect(waypoint).await.unwrap();
        let (tls, _) = identity::handshake::connect(config, stream).await?;
        let handshake = Connection::handshake(tls, &hbone::Settings::default()).await;
        let (connection, driver) = handshake.unwrap();
        let tasks = LocalTasks::default();
        tasks.spawn("client tunnel", async move {
            let _ = driver.await;
        });
        Ok(Self {
            connection,
            tasks,
            waypoint,
        })
    }

    pub(crate) fn waypoint(&self) -> SocketAddr {
        self.waypoint
    }

    /// Opens a tunnel.
    pub(crate) async fn tunnel(&self, authority: &str) -> Result<hbone::Tunnel, Error> {
        let authority = authority.parse().unwrap();
        let request = ConnectRequest {
            authority,
            headers: HeaderMap::new(),
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        self.connection
            .open(&request, deadline)
            .await
            .map(|opened| opened.tunnel)
    }

    /// Opens an HTTP/1.1 connection in a tunnel.
    pub(crate) async fn http1(&self, authority: &str) -> http1::SendRequest<Full<Bytes>> {
        let tunnel = self.tunnel(authority).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(tunnel)).await.unwrap();
        self.tasks.spawn("client http", async move {
            let _ = connection.await;
        });
        sender
    }

    /// Opens an HTTP/2 connection in a tunnel.
    pub(crate) async fn http2(&self, authority: &str) -> http2::SendRequest<Full<Bytes>> {
        let tunnel = self.tunnel(authority).await.unwrap();
        let executor = Executor(self.tasks.clone());
        let handshake = http2::Builder::new(executor)
            .handshake(TokioIo::new(tunnel))
            .await;
        let (sender, connection) = handshake.unwrap();
        self.tasks.spawn("client http", async move {
            let _ = connection.await;
        });
        sender
    }

    /// One GET on a connection of its own.
    pub(crate) async fn get(&self, authority: &str, path: &str) -> Answer {
        self.send(authority, get(path)).await
    }

    /// One HTTP/1.1 request on a connection of its own.
    pub(crate) async fn send(&self, authority: &str, request: Request<Full<Bytes>>) -> Answer {
        let mut sender = self.http1(authority).await;
        whole(sender.send_request(request).await.unwrap()).await
    }
}

/// A GET without anything special.
pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    request("GET", path, &[], "")
}

/// A request with headers and a body.
pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    if path.starts_with('/') && !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "cart.shop");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

/// Reads a response to its end.
pub(crate) async fn whole(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: collected.to_bytes(),
        trailers,
    }
}

/// Spawns hyper's tasks on the test's thread.
#[derive(Clone)]
pub(crate) struct Executor(pub(crate) LocalTasks);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.0.spawn("http stream", task);
    }
}
