//! Asking others, as a service that calls services does.

use std::{io, str::FromStr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use runtime::TaskSet;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// An answer longer than that is cut off: it becomes part of ours.
const ANSWER_MAX: usize = 1 << 20;

/// Headers a service hands on, so that a trace stays one and a user's choice reaches the end.
const HANDED_ON: [&str; 9] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "authorization",
    "cookie",
    "end-user",
    "user-agent",
];

/// The URL of a service to ask.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    uri: Uri,
    host: String,
    port: u16,
}

/// A URL that cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error("is not of the form http://HOST[:PORT]/PATH")]
pub struct InvalidUrl;

impl FromStr for Upstream {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let host = uri
            .host()
            .filter(|_| uri.scheme_str() == Some("http"))
            .ok_or(InvalidUrl)?;
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            uri,
        })
    }
}

impl Upstream {
    /// A connection to the service.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The URL.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

/// Asks each in turn; the answers, or why there is none.
pub(super) async fn ask_all(upstreams: &[Upstream], headers: &HeaderMap, tasks: &TaskSet) -> Value {
    let mut answers = Vec::new();
    for upstream in upstreams {
        let answer = ask(upstream, headers, tasks).await;
        answers.push(
            answer.unwrap_or_else(
                |e| json!({"url": upstream.uri.to_string(), "error": e.to_string()}),
            ),
        );
    }
    Value::Array(answers)
}

async fn ask(upstream: &Upstream, headers: &HeaderMap, tasks: &TaskSet) -> io::Result<Value> {
    let stream = upstream.connect().await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tasks.spawn("upstream", async move {
        // How it ends shows in the answer.
        let _ = connection.await;
    });
    let mut request = Request::get(upstream.path()).header(header::HOST, upstream.authority());
    for name in HANDED_ON.map(HeaderName::from_static) {
        for value in headers.get_all(&name) {
            request = request.header(&name, value);
        }
    }
    let request = request
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), ANSWER_MAX)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let text = || Value::from(String::from_utf8_lossy(&body).into_owned());
    let answer = serde_json::from_slice(&body).unwrap_or_else(|_| text());
    Ok(json!({"url": upstream.uri.to_string(), "status": status, "answer": answer}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_http_urls_are_taken() {
        let upstream: Upstream = "http://reviews:8080/a?b=c".parse().unwrap();
        assert_eq!((upstream.host.as_str(), upstream.port), ("reviews", 8080));
        assert_eq!(
            (upstream.authority(), upstream.path()),
            ("reviews:8080", "/a?b=c")
        );
        assert_eq!("http://reviews".parse::<Upstream>().unwrap().port, 80);
        for bad in ["reviews", "https://reviews/", "/a", "", "http://"] {
            assert!(bad.parse::<Upstream>().is_err(), "{bad}");
        }
    }
}
