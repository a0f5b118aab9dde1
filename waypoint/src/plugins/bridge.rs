//! A request as guests see it: `wasm_host`'s view of our heads.
//!
//! Guests see pseudo-headers among the others, and may not touch what frames a message or
//! concerns a connection. A path they write is normalised like a client's.

use std::borrow::Cow;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode, Uri};
use mesh::path::Normalization;
use wasm_host::{HeaderMap as GuestMap, Map, Refused, StreamHost, Value};

use crate::http::context::{Destination, Tunnel};
use crate::http::head::Head;
use crate::http::sanitize;

#[cfg(test)]
mod tests;

/// Fields that frame a message or concern a connection.
const FIXED: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A request, lent to a guest for one callback.
pub(super) struct Bridge<'a> {
    tunnel: &'a Tunnel,
    request: Option<RequestMap<'a>>,
    response: Option<ResponseMap<'a>>,
}

impl<'a> Bridge<'a> {
    pub(super) fn new(
        tunnel: &'a Tunnel,
        request: Option<RequestMap<'a>>,
        response: Option<ResponseMap<'a>>,
    ) -> Self {
        Self {
            tunnel,
            request,
            response,
        }
    }
}

impl StreamHost for Bridge<'_> {
    fn headers(&mut self, map: Map) -> Option<&mut dyn GuestMap> {
        match map {
            Map::RequestHeaders => self.request.as_mut().map(|map| map as &mut dyn GuestMap),
            Map::ResponseHeaders => self.response.as_mut().map(|map| map as &mut dyn GuestMap),
            Map::RequestTrailers | Map::ResponseTrailers => None,
        }
    }

    fn property(&self, path: &[&str]) -> Option<Value<'_>> {
        let peer = &self.tunnel.peer;
        Some(match path {
            ["source", "address"] => peer.addr.to_string().into(),
            ["source", "port"] => i64::from(peer.addr.port()).into(),
            ["destination", "address"] => self.tunnel.asked?.to_string().into(),
            ["destination", "port"] => i64::from(self.tunnel.destination.port()).into(),
            ["connection", "mtls"] => true.into(),
            ["connection", "uri_san_peer_certificate"] => peer.id.as_str().into(),
            ["cluster_name"] => match &self.tunnel.destination {
                Destination::Service(service, port) => {
                    format!("inbound-vip|{port}|http|{}", service.key.hostname).into()
                }
                Destination::Workload(..) => "encap".into(),
            },
            _ => return None,
        })
    }
}

/// Request headers.
pub(super) struct RequestMap<'a> {
    head: &'a mut Head,
    /// `None` when it is too late to change anything.
    writing: Option<Writing<'a>>,
    /// Path and query as one text.
    path: String,
}

struct Writing<'a> {
    normalization: Normalization,
    changed: &'a mut bool,
}

impl<'a> RequestMap<'a> {
    pub(super) fn writable(
        head: &'a mut Head,
        normalization: Normalization,
        changed: &'a mut bool,
    ) -> Self {
        let path = head.target.as_str().to_owned();
        Self {
            head,
            writing: Some(Writing {
                normalization,
                changed,
            }),
            path,
        }
    }

    pub(super) fn read_only(head: &'a mut Head) -> Self {
        let path = head.target.as_str().to_owned();
        Self {
            head,
            writing: None,
            path,
        }
    }

    fn write(&mut self) -> Result<Normalization, Refused> {
        let writing = self
            .writing
            .as_mut()
            .ok_or(Refused::from("the request has been sent"))?;
        *writing.changed = true;
        Ok(writing.normalization)
    }

    fn set_pseudo(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        let normalization = self.write()?;
        match name {
            ":method" => {
                self.head.method = Method::from_bytes(value).map_err(|_| "not a method")?;
            }
            ":authority" => {
                let authority = Authority::try_from(value).map_err(|_| "not a host")?;
                self.head.authority = Some(authority);
            }
            ":path" => {
                let uri = Uri::try_from(value).map_err(|_| "not a path")?;
                let target = sanitize::target(&self.head.method, &uri, normalization);
                self.head.target = target.map_err(|_| "not a path")?;
                self.head.target.as_str().clone_into(&mut self.path);
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
        4 + self.head.headers.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let text = match name {
            ":authority" => self.head.host(),
            ":method" => self.head.method.as_str(),
            ":path" => &self.path,
            ":scheme" => "http",
            _ => {
                return self
                    .head
                    .headers
                    .get(name)
                    .map(|value| value.as_bytes().into());
            }
        };
        Some(text.as_bytes().into())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        for name in [":authority", ":path", ":method", ":scheme"] {
            visit(name.as_bytes(), &self.get(name).unwrap_or_default());
        }
        each(&self.head.headers, visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if name.starts_with(':') {
            return self.set_pseudo(name, value);
        }
        self.write()?;
        set(&mut self.head.headers, name, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if name.starts_with(':') {
            return self.set_pseudo(name, value);
        }
        self.write()?;
        add(&mut self.head.headers, name, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.write()?;
        remove(&mut self.head.headers, name)
    }
}

/// Response headers.
pub(super) struct ResponseMap<'a> {
    status: &'a mut StatusCode,
    headers: &'a mut HeaderMap,
    writable: bool,
    /// The status as text.
    text: String,
}

impl<'a> ResponseMap<'a> {
    pub(super) fn writable(status: &'a mut StatusCode, headers: &'a mut HeaderMap) -> Self {
        let text = status.as_str().to_owned();
        Self {
            status,
            headers,
            writable: true,
            text,
        }
    }

    pub(super) fn read_only(status: &'a mut StatusCode, headers: &'a mut HeaderMap) -> Self {
        Self {
            writable: false,
            ..Self::writable(status, headers)
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
        status.as_str().clone_into(&mut self.text);
        Ok(())
    }
}

impl GuestMap for ResponseMap<'_> {
    fn len(&self) -> usize {
        1 + self.headers.len()
    }

    fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if name == ":status" {
            return Some(self.text.as_bytes().into());
        }
        self.headers.get(name).map(|value| value.as_bytes().into())
    }

    fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        visit(b":status", self.text.as_bytes());
        each(self.headers, visit);
    }

    fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write()?;
        if name == ":status" {
            return self.set_status(value);
        }
        set(self.headers, name, value)
    }

    fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        self.write()?;
        add(self.headers, name, value)
    }

    fn remove(&mut self, name: &str) -> Result<(), Refused> {
        self.write()?;
        remove(self.headers, name)
    }
}

fn each(headers: &HeaderMap, visit: &mut dyn FnMut(&[u8], &[u8])) {
    for (name, value) in headers {
        visit(name.as_str().as_bytes(), value.as_bytes());
    }
}

fn field(name: &str) -> Result<HeaderName, Refused> {
    if FIXED.contains(&name) {
        return Err("the field frames the message or concerns the connection".into());
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| "not a header name".into())
}

fn content(value: &[u8]) -> Result<HeaderValue, Refused> {
    HeaderValue::from_bytes(value).map_err(|_| "not a header value".into())
}

fn set(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Refused> {
    headers.insert(field(name)?, content(value)?);
    Ok(())
}

fn add(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Refused> {
    headers.append(field(name)?, content(value)?);
    Ok(())
}

fn remove(headers: &mut HeaderMap, name: &str) -> Result<(), Refused> {
    headers.remove(field(name)?);
    Ok(())
}
