//! What an undeclared protocol is, from its first bytes.
//!
//! A server that speaks first sends nothing before it is connected to, and its client sends
//! nothing either: such a port waits here for ever, as in Istio, and has to be declared. There is
//! no time limit that would turn one protocol into another on a slow day.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::stream::Prefixed;

#[cfg(test)]
mod tests;

/// How a client with prior knowledge opens HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longest request line that is taken for one.
const LINE_LIMIT: usize = 8 << 10;
/// Longest method that is taken for one.
const METHOD_LIMIT: usize = 24;

/// A protocol that was recognised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Anything else.
    Opaque,
}

/// Reads until the protocol is known, and gives back everything that was read.
///
/// * `http` — the port is declared to be HTTP: only its version is looked for.
///
/// # Errors
/// When reading fails. The end of the stream is no error: what was read decides.
pub(crate) async fn sniff<Io>(mut io: Io, http: bool) -> io::Result<(Protocol, Prefixed<Io>)>
where
    Io: AsyncRead + Unpin,
{
    let mut read = BytesMut::with_capacity(1 << 10);
    loop {
        let known = if http {
            version(&read)
        } else {
            classify(&read)
        };
        if let Some(protocol) = known {
            return Ok((protocol, Prefixed::new(read.freeze(), io)));
        }
        if io.read_buf(&mut read).await? == 0 {
            let protocol = if http {
                Protocol::Http1
            } else {
                Protocol::Opaque
            };
            return Ok((protocol, Prefixed::new(read.freeze(), io)));
        }
    }
}

/// The version of HTTP, or `None` while the bytes leave it open.
fn version(read: &[u8]) -> Option<Protocol> {
    if read.starts_with(PREFACE) {
        return Some(Protocol::Http2);
    }
    (!PREFACE.starts_with(read)).then_some(Protocol::Http1)
}

/// The protocol, or `None` while the bytes leave it open.
fn classify(read: &[u8]) -> Option<Protocol> {
    if PREFACE.starts_with(read) || read.starts_with(PREFACE) {
        return version(read);
    }
    let newline = read.iter().position(|byte| *byte == b'\n');
    let line = newline.and_then(|at| read.get(..at)).unwrap_or(read);
    match newline {
        Some(_) if is_request_line(line) => Some(Protocol::Http1),
        None if line.len() <= LINE_LIMIT && may_become_request_line(line) => None,
        _ => Some(Protocol::Opaque),
    }
}

/// Whether a whole line, without its line feed, is a request line of HTTP/1.
fn is_request_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r") else {
        return false;
    };
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    is_method(method.unwrap_or_default())
        && target
            .is_some_and(|target| !target.is_empty() && target.iter().all(u8::is_ascii_graphic))
        && matches!(version, Some(b"HTTP/1.0" | b"HTTP/1.1"))
        && parts.next().is_none()
}

fn may_become_request_line(line: &[u8]) -> bool {
    let mut parts = line.splitn(2, |byte| *byte == b' ');
    let method = parts.next().unwrap_or_default();
    let visible = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\r');
    is_method(method) && parts.next().is_none_or(|rest| rest.iter().all(visible))
}

/// Methods in use are upper case, some with a hyphen.
fn is_method(method: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    !method.is_empty() && method.len() <= METHOD_LIMIT && method.iter().all(letter)
}
