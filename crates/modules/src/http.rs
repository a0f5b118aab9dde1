//! Requests over HTTP/1.1, each on a connection of its own: bounded in time, size and redirects.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use url::Url;

use crate::Digest;
use crate::dial::{Dialer, Failed, Reach, Stream, authority, is_loopback};
use crate::error::{Error, Phase, Result};
use crate::settings::{LoginFrom, Settings};

/// Redirects that are followed.
const MOST_REDIRECTS: usize = 5;
/// Largest answer that is told of in an error.
const LARGEST_COMPLAINT: u64 = 8 << 10;

/// Sends requests.
pub(crate) struct Web {
    pub(crate) dialer: Dialer,
    timeout: Duration,
    login_from: LoginFrom,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Shown to the host of `url` alone.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) reach: Reach,
    /// What an error is about.
    pub(crate) phase: Phase,
}

/// The head of an answer; its body is still to be read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Where it came from, after redirects.
    pub(crate) url: Url,
    wire: Wire,
    body: Incoming,
    deadline: Instant,
    phase: Phase,
    login_from: LoginFrom,
}

impl Call {
    /// A GET.
    pub(crate) fn get(url: Url, phase: Phase, reach: Reach) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            authorization: None,
            reach,
            phase,
        }
    }
}

impl Web {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            dialer: Dialer::new(settings),
            timeout: settings.request_timeout,
            login_from: settings.login_from,
        }
    }

    /// Sends a request and follows redirects. Where one leads to another host, nothing secret goes.
    pub(crate) async fn follow(&self, mut call: Call) -> Result<Answer, Failed> {
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.send(&call).await?;
            let Some(next) = redirect(&answer)? else {
                return Ok(answer);
            };
            if !is_same_origin(&call.url, &next) {
                call.authorization = None;
            }
            // Somebody else's word brings nobody to this machine's own services.
            call.reach.loopback &= is_loopback(&call.url);
            let where_from = authority(&call.url);
            call.url = next;
            if call.url.scheme() != "https" && !self.dialer.may_be_plain(&call.url) {
                let why = format!("{where_from} redirects to http://, which is not followed");
                return Err(Error::new(call.phase, why).into());
            }
        }
        let why = format!("there are more than {MOST_REDIRECTS} redirects");
        Err(Error::new(call.phase, why).into())
    }

    /// Sends one request.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Failed> {
        let deadline = Instant::now() + self.timeout;
        let late = || late(call.phase, &call.url, self.timeout);
        let exchange = Box::pin(self.exchange(call, deadline));
        let answered = tokio::time::timeout_at(deadline, exchange).await;
        answered.unwrap_or_else(|_| Err(Failed::Final(late())))
    }

    async fn exchange(&self, call: &Call, deadline: Instant) -> Result<Answer, Failed> {
        let stream = self.dialer.dial(&call.url, call.reach).await?;
        let broken = |error: hyper::Error| {
            let host = authority(&call.url);
            let error = innermost(&error);
            Error::passing(Phase::Connect, format!("{host} does not answer: {error}"))
        };
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        let mut wire = Wire(Some(Box::pin(connection)));
        let request = request(call)?;
        let answer = wire.drive(sender.send_request(request)).await;
        let (head, body) = answer.map_err(broken)?.into_parts();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            url: call.url.clone(),
            wire,
            body,
            deadline,
            phase: call.phase,
            login_from: self.login_from,
        })
    }
}

impl Answer {
    /// Reads the body, of up to `limit` bytes, and its digest.
    pub(crate) async fn read(mut self, limit: u64) -> Result<(Vec<u8>, Digest)> {
        let size = self.body_size();
        if size.is_some_and(|size| size > limit) {
            return Err(self.too_large(limit));
        }
        let mut bytes = Vec::new();
        let mut hasher = Sha256::new();
        loop {
            let frame = tokio::time::timeout_at(self.deadline, self.wire.drive(self.body.frame()));
            let Ok(frame) = frame.await else {
                let host = authority(&self.url);
                let why = format!(
                    "{host} sends too slowly: {} bytes came within the time of one request",
                    bytes.len()
                );
                return Err(Error::passing(self.phase, why));
            };
            let frame = match frame {
                None => return Ok((bytes, Digest::finish(hasher))),
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    let error = innermost(&error);
                    let why = format!("the answer broke off after {} bytes: {error}", bytes.len());
                    return Err(Error::passing(self.phase, why));
                }
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if bytes.len() as u64 + data.len() as u64 > limit {
                return Err(self.too_large(limit));
            }
            hasher.update(&data);
            bytes.extend_from_slice(&data);
        }
    }

    fn body_size(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.body).exact()
    }

    fn too_large(&self, limit: u64) -> Error {
        let host = authority(&self.url);
        let why = format!("{host} sends more than the {limit} bytes that are read");
        Error::new(self.phase, why)
    }

    /// One header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Turns an answer that is none into an error; `about` is what was asked for.
    pub(crate) async fn refused(self, about: &str) -> Error {
        let (status, phase, login_from) = (self.status, self.phase, self.login_from);
        let host = authority(&self.url);
        let is_json = self
            .header("content-type")
            .is_some_and(|kind| kind.contains("json"));
        let told = match self.read(LARGEST_COMPLAINT).await {
            Ok((bytes, _)) if is_json => complaint(&bytes),
            _ => None,
        };
        let hint = match status.as_u16() {
            401 | 403 => login_from.advice(),
            404 => "; check the name, the tag and the URL, and whether it was published",
            429 => "; too much was asked in too short a time",
            _ => "",
        };
        let told = told.map_or_else(String::new, |told| format!(" ({told})"));
        let why = format!("{host} answers {status} for {about}{told}{hint}");
        let phase = match status.as_u16() {
            401 | 403 => Phase::Authenticate,
            _ => phase,
        };
        if is_passing(status) {
            Error::passing(phase, why)
        } else {
            Error::new(phase, why)
        }
    }
}

/// A connection that moves while something is waited for on it, so that no task is needed.
struct Wire(Option<Pin<Box<Moving>>>);

type Moving = Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>>;

impl Wire {
    async fn drive<F: Future>(&mut self, waited_for: F) -> F::Output {
        let mut waited_for = pin!(waited_for);
        poll_fn(|context| {
            if let Some(connection) = &mut self.0
                && connection.as_mut().poll(context).is_ready()
            {
                // What it ended with is told to the request or the body too.
                self.0 = None;
            }
            waited_for.as_mut().poll(context)
        })
        .await
    }
}

fn request(call: &Call) -> Result<Request<Full<Bytes>>> {
    let url = &call.url;
    let mut target = url.path().to_owned();
    if let Some(query) = url.query() {
        target.push('?');
        target.push_str(query);
    }
    let request = Request::builder()
        .method(call.method.clone())
        .uri(target)
        .header(HOST, authority(url))
        .header(
            USER_AGENT,
            concat!("cairn-modules/", env!("CARGO_PKG_VERSION")),
        )
        .body(Full::new(call.body.clone()));
    let mut request = request.map_err(|error| {
        Error::new(call.phase, format!("no request can be made of it: {error}"))
    })?;
    request.headers_mut().extend(call.headers.clone());
    if let Some(authorization) = &call.authorization {
        let mut authorization = authorization.clone();
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    Ok(request)
}

/// Where an answer leads, if it leads elsewhere.
fn redirect(answer: &Answer) -> Result<Option<Url>> {
    if ![301, 302, 303, 307, 308].contains(&answer.status.as_u16()) {
        return Ok(None);
    }
    let bad = |why: &str| {
        let host = authority(&answer.url);
        Error::new(answer.phase, format!("{host} redirects {why}"))
    };
    let location = answer.headers.get(LOCATION).and_then(|at| at.to_str().ok());
    let location = location.ok_or_else(|| bad("to nowhere"))?;
    let next = answer
        .url
        .join(location)
        .map_err(|_| bad("to what is no URL"))?;
    if !matches!(next.scheme(), "http" | "https") || next.host().is_none() {
        return Err(bad("to what is no place on the web"));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(bad("to a URL with a password in it"));
    }
    Ok(Some(next))
}

/// Whether two URLs are of one host, port and scheme.
pub(crate) fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host() == other.host()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Whether a status may be another in a moment.
fn is_passing(status: StatusCode) -> bool {
    match status.as_u16() {
        // Neither becomes another by asking again.
        501 | 505 | 511 => false,
        408 | 429 => true,
        _ => status.is_server_error(),
    }
}

/// What a registry says was wrong.
fn complaint(bytes: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let first = value.get("errors")?.get(0)?;
    let text = |key| first.get(key).and_then(serde_json::Value::as_str);
    let told = match (text("code"), text("message")) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(told), None) | (None, Some(told)) => told.to_owned(),
        (None, None) => return None,
    };
    Some(told.escape_debug().take(200).collect())
}

fn late(phase: Phase, url: &Url, limit: Duration) -> Error {
    let host = authority(url);
    let phase = match phase {
        Phase::Upload => phase,
        _ => Phase::Connect,
    };
    Error::passing(phase, format!("{host} does not answer within {limit:?}"))
}

/// The cause at the bottom, which says what happened.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// The value of an `Authorization` header.
pub(crate) fn header_value(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        let why = "the credentials have characters that cannot be sent";
        Error::new(Phase::Authenticate, why)
    })?;
    value.set_sensitive(true);
    Ok(value)
}
