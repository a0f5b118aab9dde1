//! The access log line of a request, in Envoy's default format as Istio sets it.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::Flags;

/// What is known of a request when it has ended. Empty text is shown as `-`.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When it began.
    pub start: SystemTime,
    /// Method.
    pub method: &'a str,
    /// Path and query, as the client sent them.
    pub path: &'a str,
    /// `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'a str,
    /// Status sent; 0 when there was none.
    pub response_code: u16,
    /// What went wrong.
    pub flags: Flags,
    /// Who answered, in a word.
    pub details: &'a str,
    /// Why the upstream could not be reached.
    pub upstream_failure: &'a str,
    /// Body bytes from the client.
    pub bytes_received: u64,
    /// Body bytes to the client.
    pub bytes_sent: u64,
    /// From the first byte of the request to the last of the response.
    pub duration: Duration,
    /// Until the upstream's response began.
    pub upstream_time: Option<Duration>,
    /// `x-forwarded-for`.
    pub forwarded_for: &'a str,
    /// `user-agent`.
    pub user_agent: &'a str,
    /// `x-request-id`.
    pub request_id: &'a str,
    /// Host.
    pub authority: &'a str,
    /// Endpoint that was asked last.
    pub upstream_host: Option<SocketAddr>,
    /// Service and port, as Istio names its clusters.
    pub upstream_cluster: &'a str,
    /// Address the client asked for.
    pub downstream_local: Option<SocketAddr>,
    /// Address of the client.
    pub downstream_remote: SocketAddr,
    /// Name of the route.
    pub route: &'a str,
}

/// The text form; bytes that could end or split a line are escaped.
impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('[')?;
        timestamp(f, self.start)?;
        f.write_str("] \"")?;
        quoted(f, self.method)?;
        f.write_char(' ')?;
        quoted(f, self.path)?;
        f.write_char(' ')?;
        quoted(f, self.protocol)?;
        write!(f, "\" {} {} ", self.response_code, self.flags)?;
        word(f, self.details)?;
        f.write_str(" - \"")?;
        quoted(f, self.upstream_failure)?;
        write!(f, "\" {} {}", self.bytes_received, self.bytes_sent)?;
        write!(f, " {} ", self.duration.as_millis())?;
        match self.upstream_time {
            Some(time) => write!(f, "{}", time.as_millis())?,
            None => f.write_char('-')?,
        }
        for text in [
            self.forwarded_for,
            self.user_agent,
            self.request_id,
            self.authority,
        ] {
            f.write_str(" \"")?;
            quoted(f, text)?;
            f.write_char('"')?;
        }
        f.write_str(" \"")?;
        address(f, self.upstream_host)?;
        f.write_str("\" ")?;
        word(f, self.upstream_cluster)?;
        // The local address of the upstream socket: a tunnel has none of its own.
        f.write_str(" - ")?;
        address(f, self.downstream_local)?;
        write!(f, " {} - ", self.downstream_remote)?;
        word(f, self.route)
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.is_empty() {
        return f.write_char('-');
    }
    for char in text.chars() {
        match char {
            '"' | '\\' => write!(f, "\\{char}")?,
            _ if char.is_control() => write!(f, "\\x{:02x}", u32::from(char))?,
            _ => f.write_char(char)?,
        }
    }
    Ok(())
}

fn word(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    if text.is_empty() {
        return f.write_char('-');
    }
    for char in text.chars() {
        f.write_char(if char.is_whitespace() || char.is_control() {
            '_'
        } else {
            char
        })?;
    }
    Ok(())
}

fn address(f: &mut fmt::Formatter<'_>, address: Option<SocketAddr>) -> fmt::Result {
    match address {
        Some(address) => write!(f, "{address}"),
        None => f.write_char('-'),
    }
}

/// `2026-11-21T15:04:05.678Z`.
fn timestamp(f: &mut fmt::Formatter<'_>, time: SystemTime) -> fmt::Result {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => write!(f, "{time:.3}"),
        Err(_) => f.write_char('-'),
    }
}
