//! Is the message well formed? Makes a clean [`Head`] of what a client sent, or refuses.
//!
//! Runs before anything decides. What is refused here could be read in two ways by two readers,
//! or names a resource in a way that policies and backends might not agree on. What is removed
//! concerns the client's own connection, or claims something only a proxy may say.
//! Sources: RFC 9110 §7, RFC 9112 §3, RFC 9113 §8; security rules S-09 to S-14, X-01 to X-07.

use std::net::IpAddr;

use http::header::{
    CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, Uri, Version};
use mesh::path::{Normalization, normalize};
use uuid::Uuid;

use super::error::{Error, Kind};
use super::head::Head;

#[cfg(test)]
mod tests;

/// Header lines a request may have. Envoy and hyper allow as many.
const MAX_HEADERS: usize = 100;
/// Longest target. Envoy answers the same to longer ones, with 414.
const MAX_TARGET: usize = 8 << 10;
/// Longest `traceparent` or `tracestate`.
const MAX_TRACE: usize = 512;

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Fields that concern one connection. `te` is looked at on its own, `trailer` stays: it is what
/// allows trailers on the other side.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// Fields that `Connection` may not name away: what we and policies rely on.
const PROTECTED: [&str; 9] = [
    "authorization",
    "content-length",
    "cookie",
    "forwarded",
    "host",
    "te",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-request-id",
];

/// Fields only a proxy may set; a client's are dropped.
const UNTRUSTED: [&str; 2] = ["x-forwarded-client-cert", "x-forwarded-network"];
const UNTRUSTED_PREFIXES: [&str; 3] = ["x-envoy-", "x-istio-", "x-cairn-"];

/// Makes a clean head.
///
/// * `client` — address of the client, which is added to `x-forwarded-for`.
/// * `id` — a fresh request id, used unless the client sent one.
///
/// # Errors
/// `BadRequest`, `TooLarge` or `Expectation`.
pub(crate) fn head(
    parts: Parts,
    normalization: Normalization,
    client: IpAddr,
    id: impl FnOnce() -> Uuid,
) -> Result<Head, Error> {
    let Parts {
        method,
        uri,
        version,
        mut headers,
        ..
    } = parts;
    if headers.len() > MAX_HEADERS {
        return Err(Kind::TooLarge.into());
    }
    if method == Method::CONNECT {
        return Err(bad("CONNECT is not served"));
    }
    if let Some(expect) = headers.get(EXPECT)
        && !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")
    {
        return Err(Kind::Expectation.into());
    }
    let authority = authority(&uri, version, &headers)?;
    headers.remove(HOST);
    let target = target(&method, &uri, normalization)?;
    let websocket = version == Version::HTTP_11 && wants_websocket(&headers);
    // What `framing` takes for the end of requests, whether or not it is a proper upgrade.
    let last = headers.get_all(UPGRADE).iter().any(is_websocket);
    if version == Version::HTTP_2 {
        join_cookies(&mut headers);
    }
    drop_hop_by_hop(&mut headers)?;
    drop_untrusted(&mut headers);
    identify(&mut headers, client, id);
    check_trace(&mut headers);
    Ok(Head {
        method,
        authority,
        target,
        headers,
        version,
        websocket,
        last,
    })
}

fn bad(why: &'static str) -> Error {
    Kind::BadRequest(why).into()
}

/// The one host a request names. HTTP/1.1 needs exactly one `Host`, and where the target names a
/// host too, they must agree: it is the target's that counts.
fn authority(uri: &Uri, version: Version, headers: &HeaderMap) -> Result<Option<Authority>, Error> {
    let mut lines = headers.get_all(HOST).iter();
    let host = lines.next();
    if lines.next().is_some() {
        return Err(bad("several hosts"));
    }
    let host = host.map(host_of).transpose()?;
    let named = match uri.authority() {
        // The authority form, `GET host:port`, is for CONNECT alone.
        Some(_) if uri.path_and_query().is_none() || uri.scheme().is_none() => {
            return Err(bad("the target is no path"));
        }
        Some(named) => Some(checked(named.clone())?),
        None => None,
    };
    match (named, host) {
        (Some(named), Some(host)) if !same_host(&named, &host) => Err(bad("two different hosts")),
        (Some(named), _) => Ok(Some(named)),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(bad("no host")),
    }
}

fn host_of(value: &HeaderValue) -> Result<Authority, Error> {
    let authority = Authority::try_from(value.as_bytes()).map_err(|_| bad("not a host"))?;
    checked(authority)
}

/// No user, no list, no escape; `http` lets all of them through.
fn checked(authority: Authority) -> Result<Authority, Error> {
    let odd = |byte: u8| matches!(byte, b'@' | b',' | b'%' | b'/' | b'\\' | b';' | b'=');
    if authority.as_str().bytes().any(odd) || authority.host().is_empty() {
        return Err(bad("not a host"));
    }
    Ok(authority)
}

fn same_host(one: &Authority, other: &Authority) -> bool {
    one.as_str().eq_ignore_ascii_case(other.as_str())
}

/// The normalised path and the untouched query.
pub(crate) fn target(
    method: &Method,
    uri: &Uri,
    normalization: Normalization,
) -> Result<PathAndQuery, Error> {
    let Some(target) = uri.path_and_query() else {
        return Err(bad("no path"));
    };
    if target.as_str().len() > MAX_TARGET {
        return Err(Kind::TooLarge.into());
    }
    if target.path() == "*" && *method == Method::OPTIONS {
        return Ok(target.clone());
    }
    let query_is_clean = target
        .query()
        .unwrap_or_default()
        .bytes()
        .all(|b| b.is_ascii_graphic());
    if !query_is_clean {
        return Err(bad("the query holds a byte no query may hold"));
    }
    let path = normalize(target.path(), normalization)
        .map_err(|error| Error::caused(Kind::BadRequest("the path is malformed"), error))?;
    // Of `http://host?query` the path is said to be `/`, and yet the text has none.
    if path == target.path() && target.as_str().starts_with('/') {
        return Ok(target.clone());
    }
    let text = match target.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    PathAndQuery::try_from(text)
        .map_err(|error| Error::caused(Kind::BadRequest("the path is malformed"), error))
}

fn wants_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(UPGRADE).iter();
    upgrades.next().is_some_and(is_websocket)
        && upgrades.next().is_none()
        && connection_tokens(headers).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

fn is_websocket(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"websocket")
}

fn connection_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// HTTP/2 may cut cookies into several fields; HTTP/1 may not (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// Removes what concerns the connection the message came on.
fn drop_hop_by_hop(headers: &mut HeaderMap) -> Result<(), Error> {
    if headers.get_all(TRANSFER_ENCODING).iter().count() > 1 {
        return Err(bad("several transfer codings"));
    }
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter(|token| {
            !PROTECTED
                .iter()
                .any(|name| name.eq_ignore_ascii_case(token))
        })
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    // gRPC asks for trailers this way, and every hop must ask anew.
    let trailers = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"trailers");
    if !headers.get_all(TE).iter().all(trailers) {
        headers.remove(TE);
    }
    Ok(())
}

/// Removes what only a proxy may say, and what a backend might take for it: many servers read
/// `x_forwarded_for` as `x-forwarded-for`.
fn drop_untrusted(headers: &mut HeaderMap) {
    let untrusted = |name: &HeaderName| {
        let name = name.as_str();
        let disguised = name.contains('_') && {
            let plain = name.replace('_', "-");
            PROTECTED.contains(&plain.as_str()) || is_untrusted(&plain)
        };
        disguised || is_untrusted(name)
    };
    let found: Vec<HeaderName> = headers
        .keys()
        .filter(|name| untrusted(name))
        .cloned()
        .collect();
    for name in found {
        headers.remove(name);
    }
}

/// Whether a field is one that only a proxy may set.
pub(crate) fn is_untrusted(name: &str) -> bool {
    UNTRUSTED.contains(&name)
        || UNTRUSTED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Says who the request is from and which one it is.
fn identify(headers: &mut HeaderMap, client: IpAddr, id: impl FnOnce() -> Uuid) {
    let is_id = |value: &&HeaderValue| {
        value
            .to_str()
            .is_ok_and(|text| text.len() == 36 && Uuid::try_parse(text).is_ok())
    };
    if let Some(known) = headers.get(X_REQUEST_ID).filter(is_id).cloned() {
        // Of several the first, and no other beside it.
        headers.insert(X_REQUEST_ID, known);
    } else {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = id().hyphenated().encode_lower(&mut text);
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(X_REQUEST_ID, value);
        }
    }
    append(headers, X_FORWARDED_FOR, &client.to_string());
    if headers.contains_key(FORWARDED) {
        let node = match client {
            IpAddr::V4(ip) => format!("for={ip}"),
            IpAddr::V6(ip) => format!("for=\"[{ip}]\""),
        };
        append(headers, FORWARDED, &node);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// Adds to a list, on one line.
fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let lines: Vec<_> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    let mut joined = lines.join(&b", "[..]);
    if !joined.is_empty() {
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(value.as_bytes());
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(name, value);
    }
}

/// A trace context that is malformed is none (W3C Trace Context §3.2.2.5).
fn check_trace(headers: &mut HeaderMap) {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let valid = parents.next().is_none_or(is_traceparent) && parents.next().is_none();
    let state: usize = headers
        .get_all(TRACESTATE)
        .iter()
        .map(HeaderValue::len)
        .sum();
    if !valid {
        headers.remove(TRACEPARENT);
    }
    if !valid || state > MAX_TRACE {
        headers.remove(TRACESTATE);
    }
}

/// `VERSION-TRACE-SPAN-FLAGS` in lower-case hex, no id all zero; later versions may go on.
fn is_traceparent(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split('-');
    let mut hex = |len: usize| {
        let part = parts.next().unwrap_or_default();
        let digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        (part.len() == len && part.bytes().all(digit)).then_some(part)
    };
    let (Some(version), Some(trace), Some(span), Some(_)) = (hex(2), hex(32), hex(16), hex(2))
    else {
        return false;
    };
    let nonzero = |id: &str| id.bytes().any(|byte| byte != b'0');
    let ended = parts.next().is_none();
    let known = version == "00" && ended || version != "00" && version != "ff";
    known && nonzero(trace) && nonzero(span) && text.len() <= MAX_TRACE
}

/// Removes from an endpoint's answer what concerns the connection it came on, and what only a
/// proxy may say.
///
/// # Errors
/// `Protocol` when the answer could be read in two ways.
pub(crate) fn answer(headers: &mut HeaderMap) -> Result<(), Error> {
    let codings = || headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if codings().count() > 1 || !codings().all(chunked) {
        return Err(Error::new(Kind::Protocol));
    }
    let named: Vec<HeaderName> = connection_tokens(headers)
        .filter(|token| {
            !PROTECTED
                .iter()
                .any(|name| name.eq_ignore_ascii_case(token))
        })
        .filter_map(|token| token.parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    let internal: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_untrusted(name.as_str()))
        .cloned()
        .collect();
    for name in internal {
        headers.remove(name);
    }
    Ok(())
}
