//! `forwarded`: who opened the connection that the tunnel carries, and the service it was for.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderValue};

use super::{FORWARDED, bounded};
use crate::authority::Authority;

/// The first element of a `forwarded` header.
///
/// ztunnel writes `for="<ip>:<port>"` and, if it knows the service dialled, `;host=<name>`. The
/// receiver may use `host` to choose a telemetry label; `for` decides nothing.
///
/// Source: RFC 7239; istio/ztunnel `src/proxy/outbound.rs`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forwarded {
    /// Address in `for`.
    pub client_ip: Option<IpAddr>,
    /// Port in `for`.
    pub client_port: Option<u16>,
    /// Host name of the service that was dialled, in lower case.
    pub host: Option<Box<str>>,
}

impl Forwarded {
    /// Renders the header as ztunnel does: the address quoted, the host not.
    ///
    /// `None` only for a host that no header can carry.
    pub fn header(client: SocketAddr, host: Option<&str>) -> Option<HeaderValue> {
        let mut text = format!("for=\"{client}\"");
        if let Some(host) = host {
            // Writing to a string cannot fail.
            let _ = write!(text, ";host={host}");
        }
        HeaderValue::try_from(text).ok()
    }

    /// Reads the first element of the first `forwarded` line; what is malformed stays unset.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let mut forwarded = Self::default();
        let Some(mut rest) = headers.get(FORWARDED).and_then(bounded) else {
            return forwarded;
        };
        while let Some((name, after)) = rest.split_once('=') {
            let Some((value, after)) = take_value(after) else {
                break;
            };
            forwarded.set(name.trim(), &value);
            match after.trim_start().strip_prefix(';') {
                Some(next) => rest = next,
                None => break,
            }
        }
        forwarded
    }

    fn set(&mut self, name: &str, value: &str) {
        if name.eq_ignore_ascii_case("for") {
            (self.client_ip, self.client_port) = parse_node(value);
        } else if name.eq_ignore_ascii_case("host") {
            self.host = parse_host(value);
        }
    }
}

/// Splits a token or a quoted string off the front.
fn take_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, quoted.get(i + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// Reads an RFC 7239 node: an address, in brackets if IPv6, with or without port.
fn parse_node(text: &str) -> (Option<IpAddr>, Option<u16>) {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return (Some(addr.ip()), Some(addr.port()));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    (bare.unwrap_or(text).parse().ok(), None)
}

/// Reads a host, with or without port, by the rules of [`Authority`].
fn parse_host(text: &str) -> Option<Box<str>> {
    let authority = text.parse().or_else(|_| format!("{text}:1").parse());
    match authority {
        Ok(Authority::Host { host, .. }) => Some(host),
        Ok(Authority::Socket(_)) | Err(_) => None,
    }
}
