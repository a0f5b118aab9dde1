//! gRPC over HTTP/2 without TLS: the server gives each message back, the client sends one.
//!
//! Messages are taken as they are, so any unary method of any service works.
//!
//! Source: gRPC over HTTP2 (grpc/grpc `doc/PROTOCOL-HTTP2.md`).

use anyhow::{Context, bail, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::TaskSet;

use super::{
    server::{AnswerBody, Tasks, never, text},
    upstream::Upstream,
};
use crate::print;

const CONTENT_TYPE: &str = "application/grpc";
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
/// The largest call echoed; gRPC's own default for one message.
const MESSAGE_MAX: usize = 4 << 20;
/// A flag and a length stand before each message.
const PREFIX_LEN: usize = 5;

/// What the client sends and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// `http://HOST[:PORT]`, or with a path for another method than the sample's own.
    url: Upstream,
    /// The message.
    #[arg(default_value = "hello")]
    message: String,
}

/// Whether a request is a gRPC call.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// Gives the messages of a call back.
pub(super) async fn echo(request: Request<Incoming>) -> Response<AnswerBody> {
    if request.method() != Method::POST || request.version() != Version::HTTP_2 {
        return text(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "gRPC is POST over HTTP/2\n",
        );
    }
    let Ok(body) = Limited::new(request.into_body(), MESSAGE_MAX)
        .collect()
        .await
    else {
        return trailers_only("8", "message too large");
    };
    let body = body.to_bytes();
    if messages(&body).is_none() {
        return trailers_only("3", "message cut off");
    }
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let body = Full::new(body)
        .map_err(never)
        .with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(UnsyncBoxBody::new(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// A call that failed: its status stands in the headers.
fn trailers_only(status: &'static str, message: &'static str) -> Response<AnswerBody> {
    let mut response = super::server::empty(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    response
}

/// The messages in a body; `None` when the last one is not whole.
fn messages(body: &Bytes) -> Option<Vec<Bytes>> {
    let mut rest = body.clone();
    let mut messages = Vec::new();
    while rest.has_remaining() {
        if rest.remaining() < PREFIX_LEN {
            return None;
        }
        let _compressed = rest.get_u8();
        let len = usize::try_from(rest.get_u32())
            .ok()
            .filter(|len| *len <= rest.remaining())?;
        messages.push(rest.split_to(len));
    }
    Some(messages)
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_LEN + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// Makes one call and prints the message that comes back and the status.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stream = args
        .url
        .connect()
        .await
        .with_context(|| format!("connect to {}", args.url.uri()))?;
    let tasks = TaskSet::current();
    let builder = hyper::client::conn::http2::Builder::new(Tasks(tasks.clone()))
        .timer(TokioTimer::new())
        .clone();
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tasks.spawn("grpc", async move {
        // How it ends shows in the call.
        let _ = connection.await;
    });
    let path = match args.url.uri().path() {
        "/" => "/cairn.sample.Echo/Unary",
        path => path,
    };
    let authority = args
        .url
        .uri()
        .authority()
        .map_or("", |authority| authority.as_str());
    let request = Request::post(format!("http://{authority}{path}"))
        .version(Version::HTTP_2)
        .header(header::CONTENT_TYPE, CONTENT_TYPE)
        .header(header::TE, "trailers")
        .body(Full::new(framed(args.message.as_bytes())))?;
    let response = sender.send_request(request).await?;
    ensure!(
        response.status() == StatusCode::OK,
        "status {}",
        response.status()
    );
    let in_headers = status(response.headers());
    let body = Limited::new(response.into_body(), MESSAGE_MAX)
        .collect()
        .await
        .map_err(|e| anyhow::anyhow!(e))?;
    let status = body.trailers().map_or(in_headers, status);
    for message in messages(&body.to_bytes()).context("the answer is cut off")? {
        print::out(String::from_utf8_lossy(&message));
    }
    match status {
        Some(code) => print::out(format_args!("{GRPC_STATUS} {code}")),
        None => bail!("the answer has no {GRPC_STATUS}"),
    }
    ensure!(status == Some(0), "the call failed");
    Ok(())
}

fn status(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_out_of_their_frames() {
        let body = Bytes::from([framed(b"a"), framed(b""), framed(b"bcd")].concat());
        assert_eq!(
            messages(&body).unwrap(),
            [Bytes::from("a"), Bytes::new(), Bytes::from("bcd")]
        );
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused() {
        let whole = framed(b"hello");
        for len in 1..whole.len() {
            assert_eq!(messages(&whole.slice(..len)), None, "{len} bytes");
        }
    }
}
