//! What a CONNECT asks for: an address and port, or a service host name and port.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Longest authority looked at: a 253-byte name, its trailing dot, a colon and five digits, and
/// one byte to spare.
const MAX_LEN: usize = 261;

/// Longest host name (RFC 1035 §2.3.4, without the trailing dot).
const MAX_HOST: usize = 253;

/// Longest label of a host name (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// The target of a tunnel, as its CONNECT names it.
///
/// Parsing is stricter than [`http::uri::Authority`], because the text decides where bytes go: no
/// user info, scope id, percent-encoding, sign, blank or leading zero, and nothing that a looser
/// parser could read as another address. Host names come out in lower case and without the
/// trailing dot, so equal targets are equal values.
///
/// Source: Istio's ztunnel accepts `IP:port` and `hostname:port` (`src/proxy/inbound.rs`).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Authority {
    /// An address: a pod's, or a service's virtual address as the application dialled it.
    Socket(SocketAddr),
    /// A service by name. The port is the service port, never the target port.
    Host {
        /// Lower case, at most 253 bytes, no trailing dot.
        host: Box<str>,
        /// 1–65535.
        port: u16,
    },
}

/// Why a text is not an [`Authority`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Error {
    /// Nothing, or more than any legal authority has.
    #[error("authority is empty or longer than {MAX_LEN} bytes")]
    Length,
    /// The text before the port is neither an address nor a host name.
    #[error("authority has no valid host")]
    Host,
    /// There is no `:port`.
    #[error("authority has no port")]
    NoPort,
    /// The port is not a decimal number between 1 and 65535 without leading zeros.
    #[error("authority has no valid port")]
    Port,
}

impl Authority {
    /// Returns the port, whichever form the target has.
    pub fn port(&self) -> u16 {
        match self {
            Self::Socket(addr) => addr.port(),
            Self::Host { port, .. } => *port,
        }
    }

    /// Returns the address, unless the target is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Socket(addr) => Some(addr.ip()),
            Self::Host { .. } => None,
        }
    }
}

impl From<SocketAddr> for Authority {
    fn from(addr: SocketAddr) -> Self {
        Self::Socket(addr)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Host { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl FromStr for Authority {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(Error::Length);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let (ip, port) = rest.split_once(']').ok_or(Error::Host)?;
            let port = port.strip_prefix(':').ok_or(Error::NoPort)?;
            // `Ipv6Addr` knows no scope id, so `fe80::1%eth0` ends here.
            let ip: Ipv6Addr = ip.parse().map_err(|_| Error::Host)?;
            return Ok(Self::Socket(SocketAddr::new(ip.into(), parse_port(port)?)));
        }
        let (host, port) = text.rsplit_once(':').ok_or(Error::NoPort)?;
        let port = parse_port(port)?;
        // `Ipv4Addr` takes four plain decimal numbers only.
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Socket(SocketAddr::new(ip.into(), port)));
        }
        let host = parse_host(host).ok_or(Error::Host)?;
        Ok(Self::Host { host, port })
    }
}

fn parse_port(text: &str) -> Result<u16, Error> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    let port = text.parse().ok().filter(|_| plain);
    port.ok_or(Error::Port)
}

/// Returns the normalised name, or `None` when it is no host name.
///
/// Underscores are legal: names of hosts outside Kubernetes contain them. A last label of digits
/// (or `0x…`) is not: some resolvers read `127.1` and `0x7f000001` as addresses.
fn parse_host(text: &str) -> Option<Box<str>> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let legal_label = |label: &str| {
        let ends_ok = !label.starts_with('-') && !label.ends_with('-');
        let bytes_ok = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        !label.is_empty() && label.len() <= MAX_LABEL && ends_ok && bytes_ok
    };
    let last = text.rsplit('.').next().unwrap_or(text);
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.get(..2).is_some_and(|p| p.eq_ignore_ascii_case("0x"));
    let legal = text.len() <= MAX_HOST && !numeric && text.split('.').all(legal_label);
    legal.then(|| text.to_ascii_lowercase().into_boxed_str())
}

#[cfg(test)]
mod tests;
