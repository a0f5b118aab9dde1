//! gRPC calls of guests, unary and streaming.
//!
//! A message is five bytes of head and the payload; the status is in the trailers, or in the
//! headers of an answer without messages. Source: gRPC over HTTP/2.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Method, Version};
use tokio::sync::mpsc;
use tokio::time::timeout;
use wasm_host::{CalloutEvent, GrpcCall, GrpcMethod, Headers};

use super::callout::{ANSWER_LIMIT, Missing, Reach, Target, list, next};
use crate::http::body::{Inbound, RequestBody};
use crate::http::head::Head;
use crate::http::upstream::Answer;

/// Statuses we make up.
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;

/// Messages a guest may have sent that the endpoint has not taken.
pub(super) const QUEUE: usize = 64;

/// A call, ready to be made.
#[derive(Debug)]
pub(super) struct Call {
    head: Head,
}

impl Call {
    /// Reads what a guest wants; `None` if no message can carry it.
    ///
    /// * `authority` — the upstream's name.
    pub(super) fn of(call: &GrpcCall<'_>, authority: &str) -> Option<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in call
            .metadata
            .iter()
            .filter(|(name, _)| !name.starts_with(':'))
        {
            let name = http::HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        if let GrpcMethod::Unary { timeout, .. } = call.kind {
            let text = format!("{}m", timeout.as_millis());
            headers.insert("grpc-timeout", HeaderValue::from_str(&text).ok()?);
        }
        let host = authority.rsplit('|').next().unwrap_or(authority);
        Some(Self {
            head: Head {
                method: Method::POST,
                authority: Some(host.parse().ok()?),
                target: PathAndQuery::try_from(format!("/{}/{}", call.service, call.method))
                    .ok()?,
                headers,
                version: Version::HTTP_2,
                websocket: false,
                last: false,
            },
        })
    }

    /// One message there, one back: the message, or how it failed.
    pub(super) async fn unary(
        self,
        reach: &Reach,
        target: &Target,
        message: Bytes,
        limit: Duration,
    ) -> CalloutEvent {
        let exchange = async {
            // A queue of one: a body whose length is known gets a content-length.
            let (one, queue) = mpsc::channel(1);
            let queued = one.try_send(message);
            drop(one);
            debug_assert!(queued.is_ok(), "the queue was empty");
            let body = RequestBody::new(Inbound::Queue(queue), false);
            let sent = reach.send(target, &self.head, body, Some(true)).await;
            let (answer, _in_flight) = sent.map_err(of_missing)?;
            let mut messages = Messages::of(answer)?;
            let message = messages.next().await?;
            let closed = messages.end().await;
            match (message, closed) {
                (Some(message), CalloutEvent::GrpcClosed { status: 0, .. }) => {
                    Ok(CalloutEvent::GrpcMessage(message.into()))
                }
                (None, CalloutEvent::GrpcClosed { status: 0, .. }) => {
                    Err(closed_with(INTERNAL, "no message in the answer"))
                }
                (_, closed) => Err(closed),
            }
        };
        match timeout(limit, exchange).await {
            Ok(Ok(event) | Err(event)) => event,
            Err(_) => closed_with(DEADLINE_EXCEEDED, "the call took too long"),
        }
    }

    /// Messages both ways until one side ends.
    ///
    /// * `tell` — hears of each in turn; the next one is read when it has.
    pub(super) async fn stream(
        self,
        reach: &Reach,
        target: &Target,
        messages: mpsc::Receiver<Bytes>,
        tell: &impl AsyncFn(CalloutEvent),
    ) {
        let body = RequestBody::new(Inbound::Queue(messages), false);
        let sent = reach.send(target, &self.head, body, Some(true)).await;
        let closed = match sent.map_err(of_missing) {
            Ok((answer, _in_flight)) => {
                let mut metadata = Headers::new();
                metadata.push(":status", answer.response.status().as_str());
                for (name, value) in list(answer.response.headers()) {
                    metadata.push(&name, value);
                }
                match Messages::of(answer) {
                    Ok(messages) => {
                        tell(CalloutEvent::GrpcInitialMetadata(metadata)).await;
                        messages.each(tell).await
                    }
                    Err(closed) => closed,
                }
            }
            Err(closed) => closed,
        };
        tell(closed).await;
    }
}

/// Puts the five bytes before a message.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

/// The queue of a call is full.
pub(super) fn overrun() -> CalloutEvent {
    closed_with(RESOURCE_EXHAUSTED, "too many messages wait to be sent")
}

/// The messages of an answer.
struct Messages {
    answer: Answer,
    read: BytesMut,
    trailers: Option<HeaderMap>,
}

impl Messages {
    /// Begins to read an answer.
    ///
    /// # Errors
    /// How the call ended, if it has no messages.
    fn of(answer: Answer) -> Result<Self, CalloutEvent> {
        let head = &answer.response;
        if let Some(closed) = status_in(head.headers()) {
            return Err(closed);
        }
        if !head.status().is_success() {
            let message = format!("the answer has status {}", head.status().as_u16());
            return Err(closed_with(of_http(head.status().as_u16()), message));
        }
        Ok(Self {
            answer,
            read: BytesMut::new(),
            trailers: None,
        })
    }

    /// Returns the next message; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, CalloutEvent> {
        loop {
            if let Some(message) = self.cut_out()? {
                return Ok(Some(message));
            }
            let frame = next(self.answer.response.body_mut()).await;
            let Some(frame) = frame.map_err(of_missing)? else {
                return Ok(None);
            };
            match frame.into_data() {
                Ok(data) => self.read.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }

    /// Cuts a whole message out of what was read.
    fn cut_out(&mut self) -> Result<Option<Bytes>, CalloutEvent> {
        let Some((&[compressed, a, b, c, d], rest)) = self.read.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if compressed != 0 {
            return Err(closed_with(INTERNAL, "a message is compressed"));
        }
        if length > ANSWER_LIMIT {
            return Err(closed_with(RESOURCE_EXHAUSTED, "a message is too large"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.read.advance(5);
        Ok(Some(self.read.split_to(length).freeze()))
    }

    /// Reads to the end, and returns how the call ended.
    async fn end(&mut self) -> CalloutEvent {
        if self.trailers.is_none() {
            match self.next().await {
                Ok(Some(_)) => return closed_with(INTERNAL, "more than one message"),
                Ok(None) => {}
                Err(closed) => return closed,
            }
        }
        let trailers = self.trailers.take().unwrap_or_default();
        status_in(&trailers).unwrap_or_else(|| closed_with(UNKNOWN, "the answer has no status"))
    }

    /// Tells of each message, and returns how the call ended.
    async fn each(mut self, tell: &impl AsyncFn(CalloutEvent)) -> CalloutEvent {
        loop {
            match self.next().await {
                Ok(Some(message)) => tell(CalloutEvent::GrpcMessage(message.into())).await,
                Ok(None) => break,
                Err(closed) => return closed,
            }
        }
        if let Some(trailers) = &self.trailers {
            tell(CalloutEvent::GrpcTrailingMetadata(list(trailers))).await;
        }
        self.end().await
    }
}

/// The status in headers or trailers.
fn status_in(headers: &HeaderMap) -> Option<CalloutEvent> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let status = text("grpc-status")?.parse().unwrap_or(UNKNOWN);
    let message = text("grpc-message").unwrap_or_default();
    let message = percent_encoding::percent_decode_str(message).decode_utf8_lossy();
    Some(closed_with(status, message))
}

fn closed_with(status: u32, message: impl Into<String>) -> CalloutEvent {
    CalloutEvent::GrpcClosed {
        status,
        message: message.into(),
    }
}

fn of_missing(missing: Missing) -> CalloutEvent {
    let message = match missing {
        Missing::NoEndpoint => "no healthy upstream",
        Missing::Connect => "no connection to the upstream",
        Missing::Reset | Missing::Cut => "the upstream closed the connection",
        Missing::TooLarge => "the answer is too large",
    };
    closed_with(UNAVAILABLE, message)
}

/// The gRPC status that an HTTP status stands for (gRPC, "HTTP to gRPC Status Code Mapping").
fn of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Reads the upstream of a gRPC call: a name, or the name in a serialised
/// `envoy.config.core.v3.GrpcService` (`envoy_grpc.cluster_name` or `google_grpc.target_uri`; both
/// are field 1 of a message in field 1 or 2).
pub(super) fn upstream(raw: &[u8]) -> Option<&str> {
    let service = field(raw, 1).or_else(|| field(raw, 2));
    let inner = service.and_then(|service| field(service, 1));
    let name = inner.unwrap_or(raw);
    std::str::from_utf8(name)
        .ok()
        .filter(|name| !name.chars().any(char::is_control))
}

/// Finds a length-delimited field of a small message; `None` if the bytes are no message.
fn field(mut raw: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut found = None;
    while let Some((&key, rest)) = raw.split_first() {
        if key & 7 != 2 || key & 0x80 != 0 {
            return found;
        }
        let (&length, rest) = rest.split_first()?;
        let (value, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if length & 0x80 != 0 {
            return None;
        }
        if key >> 3 == wanted {
            found = Some(value);
        }
        raw = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{frame, upstream};

    #[test]
    fn an_upstream_is_a_name_or_a_message_with_one() {
        assert_eq!(upstream(b"auth.shop:9000"), Some("auth.shop:9000"));
        assert_eq!(upstream(b"outbound|80||a.b"), Some("outbound|80||a.b"));
        // GrpcService { envoy_grpc: { cluster_name: "auth" } }
        assert_eq!(upstream(b"\x0a\x06\x0a\x04auth"), Some("auth"));
        // GrpcService { google_grpc: { target_uri: "auth:80" }, timeout: {} }
        assert_eq!(
            upstream(b"\x12\x09\x0a\x07auth:80\x1a\x00"),
            Some("auth:80")
        );
        assert_eq!(upstream(b"\xff\xfe"), None);
    }

    #[test]
    fn a_message_has_five_bytes_before_it() {
        assert_eq!(&frame(b"abc")[..], b"\0\0\0\0\x03abc");
    }
}
