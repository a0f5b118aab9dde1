//! A request as guests see it: `wasm_host`'s view of our heads, bodies and trailers.
//!
//! Guests see pseudo-headers among the others, and may not touch what frames a message or
//! concerns a connection. A path they write is normalised like a client's.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode, Uri};
use mesh::path::Normalization;
use wasm_host::{Body, Buffer, HeaderMap as GuestMap, Map, Refused, StreamHost, Value};

use super::exchange::{ResponseHead, Seen};
use super::properties;
use crate::http::context::Tunnel;
use crate::http::head::Head;
use crate::http::sanitize;

#[cfg(test)]
mod tests;

/// Fields that frame a message or concern a connection.
const FIXED: [&str; 8] = [
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What the caller of a guest has in its hands and lends it; the rest is in [`Seen`].
#[derive(Debug, Default)]
pub(super) struct Lent<'a> {
    /// The head of a request that has not been sent.
    pub(super) request: Option<&'a mut Head>,
    /// The head of an answer that has not been sent.
    pub(super) response: Option<(&'a mut StatusCode, &'a mut HeaderMap)>,
    /// The bytes a body callback is about.
    pub(super) body: Option<(Body, &'a mut Chunk)>,
    /// Trailers that have not been sent.
    pub(super) trailers: Option<(Body, &'a mut HeaderMap)>,
}

/// A request, lent to a guest for one callback.
pub(super) struct Bridge<'a> {
    tunnel: &'a Tunnel,
    request: Option<RequestMap<'a>>,
    response: Option<ResponseMap<'a>>,
    body: Option<(Body, &'a mut Chunk)>,
    request_trailers: Option<TrailerMap<'a>>,
    response_trailers: Option<TrailerMap<'a>>,
    facts: properties::Facts<'a>,
    own: &'a mut properties::Own,
}

impl<'a> Bridge<'a> {
    /// * `framed` — the guest sees bodies, so that what is said of their length is its business.
    pub(super) fn new(
        tunnel: &'a Tunnel,
        seen: &'a mut Seen,
        lent: Lent<'a>,
        framed: bool,
    ) -> Self {
        let Lent {
            request,
            response,
            body,
            trailers,
        } = lent;
        let writing = Writing {
            normalization: tunnel.worker.normalization,
            changed: &mut seen.changed,
            framed,
        };
        let request = match request {
            Some(head) => Some(RequestMap::writable(head, writing)),
            None => seen.request.map(writing),
        };
        let response = if let Some((status, headers)) = response {
            Some(ResponseMap::writable(status, headers, framed))
        } else {
            let response = seen.response.as_mut();
            response.map(|response| ResponseMap::of(response, framed))
        };
        let (mut up, mut down) = (
            seen.request_trailers.as_mut(),
            seen.response_trailers.as_mut(),
        );
        let mut writable = None;
        match trailers {
            Some((Body::Request, trailers)) => {
                up = Some(trailers);
                writable = Some(Body::Request);
            }
            Some((_, trailers)) => {
                down = Some(trailers);
                writable = Some(Body::Response);
            }
            None => {}
        }
        let map = |headers, body| TrailerMap {
            headers,
            writable: writable == Some(body),
        };
        Self {
            tunnel,
            request,
            response,
            body,
            request_trailers: up.map(|headers| map(headers, Body::Request)),
            response_trailers: down.map(|headers| map(headers, Body::Response)),
            facts: properties::Facts(&seen.facts),
            own: &mut seen.own,
        }
    }
}

impl StreamHost for Bridge<'_> {
    fn headers(&mut self, map: Map) -> Option<&mut dyn GuestMap> {
        fn shown<M: GuestMap>(map: &mut Option<M>) -> Option<&mut dyn GuestMap> {
            map.as_mut().map(|map| map as &mut dyn GuestMap)
        }
        match map {
            Map::RequestHeaders => shown(&mut self.request),
            Map::ResponseHeaders => shown(&mut self.response),
            Map::RequestTrailers => shown(&mut self.request_trailers),
            Map::ResponseTrailers => shown(&mut self.response_trailers),
        }
    }

    fn body(&mut self, body: Body) -> Option<&mut dyn Buffer> {
        match &mut self.body {
            Some((lent, chunk)) if *lent == body => Some(*chunk),
            _ => None,
        }
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        let own = || self.own.get(path);
        properties::of_connection(self.tunnel, path)
            .or_else(|| self.facts.get(self.tunnel, path))
            .or_else(own)
    }

    fn set_property(&mut self, path: &[&str], value: &[u8]) -> bool {
        self.own.set(path, value)
    }
}

/// Bytes on their way: as they came, until a guest changes them.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    parts: Vec<Bytes>,
    len: usize,
    /// A guest has written to it, or to one that was taken out of it before.
    pub(super) changed: bool,
}

impl Chunk {
    /// Adds what came.
    pub(super) fn push(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.len += data.len();
            self.parts.push(data);
        }
    }

    /// Drops the bytes.
    pub(super) fn clear(&mut self) {
        self.parts.clear();
        self.len = 0;
        self.changed = true;
    }

    /// Takes everything out as one piece.
    pub(super) fn take(&mut self) -> Bytes {
        self.join();
        self.len = 0;
        self.parts.pop().unwrap_or_default()
    }

    /// Makes one piece of many.
    fn join(&mut self) {
        if self.parts.len() > 1 {
            let joined = self.parts.concat();
            self.parts.clear();
            self.parts.push(joined.into());
        }
    }
}

impl Buffer for Chunk {
    fn len(&self) -> usize {
        self.len
    }

    fn copy_to(&self, start: usize, out: &mut [u8]) {
        let (mut skip, mut out) = (start, out);
        for part in &self.parts {
            let rest = part.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(part.len());
            let n = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(rest.get(..n).unwrap_or_default());
            out = later;
        }
    }

    fn splice(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), Refused> {
        self.join();
        let old = self.parts.pop().unwrap_or_default();
        let (before, after) = (old.get(..range.start), old.get(range.end..));
        let parts = [before.unwrap_or_default(), with, after.unwrap_or_default()];
        let new = Bytes::from(parts.concat());
        self.len = new.len();
        self.parts.push(new);
        self.changed = true;
        Ok(())
    }
}

/// Request headers.
pub(super) struct RequestMap<'a>(Access<'a>);

enum Access<'a> {
    Write(&'a mut Head, Writing<'a>),
    Read(&'a Head),
}

/// What writing needs.
pub(super) struct Writing<'a> {
    pub(super) normalization: Normalization,
    pub(super) changed: &'a mut bool,
    pub(super) framed: bool,
}

impl<'a> RequestMap<'a> {
    pub(super) fn writable(head: &'a mut Head, writing: Writing<'a>) -> Self {
        Self(Access::Write(head, writing))
    }

    pub(super) fn read_only(head: &'a Head) -> Self {
        Self(Access::Read(head))
    }

    fn head(&self) -> &Head {
        match &self.0 {
            Access::Write(head, _) => head,
            Access::Read(head) => head,
        }
    }

    fn write(&mut self) -> Result<(&mut Head, &mut Writing<'a>), Refused> {
        match &mut self.0 {
            Access::Write(head, writing) => {
                *writing.changed = true;
                Ok((head, writing))
            }
            Access::Read(_) => Err("the request has been sent".into()),
        }
    }

    fn set_pseudo(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let (head, writing) = self.write()?;
        match name {
            ":method" => {
                head.method = Method::from_bytes(value).map_err(|_| "not a method")?;
            }
            ":authority" => {
                let authority = Authority::try_from(value).map_err(|_| "not a host")?;
                head.authority = Some(authority);
            }
            ":path" => {
                let uri = Uri::try_from(value).map_err(|_| "not a path")?;
                let target = sanitize::target(&head.method, &uri, writing.normalization);
                head.target = target.map_err(|_| "not a path")?;
            }
            // What we speak to the endpoint is not for a guest to say.
            ":scheme" => return Err("the scheme cannot be changed".into()),
            _ => return Err("no such pseudo-header".into()),
        }
        Ok(())
    }
}

impl GuestMap for RequestMap<'_> {
    fn len(&self) -> usize {
        4 + self.head().headers.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let head = self.head();
        let text = match name {
            ":authority" => head.host(),
            ":method" => head.method.as_str(),
            ":path" => head.target.as_str(),
            ":scheme" => "http",
            _ => return head.headers.get(name).map(|value| value.as_bytes().into()),
        };
        Some(text.as_bytes().into())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for name in [":authority", ":path", ":method", ":scheme"] {
            visit(name.as_bytes(), &self.get(name).unwrap_or_default());
        }
        each(&self.head().headers, visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if name.starts_with(':') {
            return self.set_pseudo(name, value);
        }
        let (head, writing) = self.write()?;
        set(&mut head.headers, field(name, writing.framed)?, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if name.starts_with(':') {
            return self.set_pseudo(name, value);
        }
        let (head, writing) = self.write()?;
        add(&mut head.headers, field(name, writing.framed)?, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        let (head, writing) = self.write()?;
        head.headers.remove(field(name, writing.framed)?);
        Ok(())
    }
}

/// Response headers.
pub(super) struct ResponseMap<'a> {
    status: &'a mut StatusCode,
    headers: &'a mut HeaderMap,
    writable: bool,
    framed: bool,
}

impl<'a> ResponseMap<'a> {
    pub(super) fn writable(
        status: &'a mut StatusCode,
        headers: &'a mut HeaderMap,
        framed: bool,
    ) -> Self {
        Self {
            status,
            headers,
            writable: true,
            framed,
        }
    }

    pub(super) fn read_only(status: &'a mut StatusCode, headers: &'a mut HeaderMap) -> Self {
        Self {
            writable: false,
            ..Self::writable(status, headers, false)
        }
    }

    /// The head of an answer that is kept; it can be changed unless it has been sent.
    pub(super) fn of(head: &'a mut ResponseHead, framed: bool) -> Self {
        let (status, headers) = (&mut head.status, &mut head.headers);
        if head.sent {
            Self::read_only(status, headers)
        } else {
            Self::writable(status, headers, framed)
        }
    }

    fn write(&self) -> Result<(), Refused> {
        if self.writable {
            Ok(())
        } else {
            Err("the response has been sent".into())
        }
    }

    fn set_status(&mut self, value: &[u8]) -> Result<(), Refused> {
        let status = StatusCode::from_bytes(value).map_err(|_| "not a status")?;
        if status.is_informational() || self.status.is_informational() {
            return Err("an informational status cannot be changed".into());
        }
        *self.status = status;
        Ok(())
    }
}

impl GuestMap for ResponseMap<'_> {
    fn len(&self) -> usize {
        1 + self.headers.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if name == ":status" {
            return Some(self.status.as_str().as_bytes().into());
        }
        self.headers.get(name).map(|value| value.as_bytes().into())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b":status", self.status.as_str().as_bytes());
        each(self.headers, visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write()?;
        if name == ":status" {
            return self.set_status(value);
        }
        set(self.headers, field(name, self.framed)?, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write()?;
        if name == ":status" {
            return self.set_status(value);
        }
        add(self.headers, field(name, self.framed)?, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.write()?;
        self.headers.remove(field(name, self.framed)?);
        Ok(())
    }
}

/// Trailers of either side.
struct TrailerMap<'a> {
    headers: &'a mut HeaderMap,
    writable: bool,
}

impl TrailerMap<'_> {
    fn write(&mut self) -> Result<&mut HeaderMap, Refused> {
        if self.writable {
            Ok(self.headers)
        } else {
            Err("the trailers have been sent".into())
        }
    }
}

impl GuestMap for TrailerMap<'_> {
    fn len(&self) -> usize {
        self.headers.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.headers.get(name).map(|value| value.as_bytes().into())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        each(self.headers, visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        set(self.write()?, trailer(name)?, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        add(self.write()?, trailer(name)?, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.write()?.remove(trailer(name)?);
        Ok(())
    }
}

fn each(headers: &HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
    for (name, value) in headers {
        visit(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Checks that a header may be written. A guest that sees bodies may say how long they are: what
/// it says is held against what it sends.
fn field(name: &str, framed: bool) -> Result<HeaderName, Refused> {
    if FIXED.contains(&name) || (name == "content-length" && !framed) {
        return Err("the field frames the message or concerns the connection".into());
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a header name".into())
}

/// Checks that a trailer may be written: no pseudo-header, nothing about framing.
fn trailer(name: &str) -> Result<HeaderName, Refused> {
    if name.starts_with(':') {
        return Err("trailers have no pseudo-headers".into());
    }
    field(name, false)
}

fn content(value: &[u8]) -> Result<HeaderValue, Refused> {
    HeaderValue::from_bytes(value).map_err(|_| "not a header value".into())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) -> Result<(), Refused> {
    headers.insert(name, content(value)?);
    Ok(())
}

fn add(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) -> Result<(), Refused> {
    headers.append(name, content(value)?);
    Ok(())
}
