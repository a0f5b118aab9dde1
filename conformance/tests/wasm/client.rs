//! Requests, and what came back.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Version};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::server::{Frames, headers};

/// The longest a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request to send.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) http2: bool,
    pub(crate) path: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: &'static str,
    pub(crate) trailers: &'static [(&'static str, &'static str)],
}

impl Ask {
    /// A request without a body.
    pub(crate) fn get(path: &'static str) -> Self {
        Self {
            http2: false,
            path,
            headers: vec![],
            body: "",
            trailers: &[],
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    /// Over HTTP/2, with trailers both ways.
    pub(crate) fn with_trailers(mut self) -> Self {
        self.http2 = true;
        self.trailers = &[("x-client-trailer", "sent")];
        self.header("x-want-trailers", "1")
    }

    fn request(&self) -> Request<Frames> {
        let method = if self.body.is_empty() { "GET" } else { "POST" };
        let mut request = Request::builder().method(method);
        request = if self.http2 {
            let uri = format!("http://upstream.test{}", self.path);
            request.version(Version::HTTP_2).uri(uri)
        } else {
            request.uri(self.path).header("host", "upstream.test")
        };
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let mut frames = VecDeque::new();
        if !self.body.is_empty() {
            frames.push_back(Frame::data(Bytes::from_static(self.body.as_bytes())));
        }
        if !self.trailers.is_empty() {
            let pairs = self
                .trailers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            frames.push_back(Frame::trailers(pairs.collect()));
        }
        request.body(Frames(frames)).unwrap()
    }

    /// Sends it, and tells what came back line by line.
    pub(crate) async fn send(&self, to: SocketAddr) -> Vec<String> {
        match tokio::time::timeout(PATIENCE, self.exchange(to)).await {
            Ok(Ok(lines)) => lines,
            // Which error a client sees of a stream that was reset depends on timing.
            Ok(Err(_)) => vec!["response: broken off".to_owned()],
            Err(_) => vec!["response: none".to_owned()],
        }
    }

    async fn exchange(&self, to: SocketAddr) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let stream = TokioIo::new(TcpStream::connect(to).await?);
        let mut driver = JoinSet::new();
        let response = if self.http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
            driver.spawn(async { connection.await.is_ok() });
            sender.send_request(self.request()).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
            driver.spawn(async { connection.await.is_ok() });
            sender.send_request(self.request()).await?
        };
        let (head, body) = response.into_parts();
        let mut lines = vec![format!("response: {}", head.status.as_u16())];
        lines.extend(headers("response header", &head.headers));
        match body.collect().await {
            Ok(body) => {
                let trailers = body.trailers().cloned().unwrap_or_default();
                let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
                lines.push(format!("response body: {text:?}"));
                lines.extend(headers("response trailer", &trailers));
            }
            Err(_) => lines.push("response body: broken off".to_owned()),
        }
        Ok(lines)
    }
}
