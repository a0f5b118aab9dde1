//! Opens connections, and only to addresses that may be called.
//!
//! The address that is checked is the one that is dialled: nothing looks a name up twice.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use crate::error::{Error, Phase, Result};
use crate::settings::{Insecure, Settings};
use crate::tls::Tls;

#[cfg(test)]
mod tests;

/// How long one address may take to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Both ways of a connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections.
pub(crate) struct Dialer {
    blocked: Vec<IpNet>,
    insecure: Insecure,
    tls: Tls,
    names: Names,
}

/// How far the one who asked is trusted with a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Reach {
    /// The user named this machine itself. Nobody is sent here from elsewhere.
    pub(crate) loopback: bool,
}

/// Why no connection was opened.
#[derive(Debug)]
pub(crate) enum Failed {
    /// No other way of calling would help.
    Final(Error),
    /// The server did not speak TLS.
    NotTls(Error),
    /// Nobody listens.
    Silent(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Final(error) | Failed::NotTls(error) | Failed::Silent(error) => error,
        }
    }
}

/// Where names are looked up.
enum Names {
    System,
    #[cfg(test)]
    Fixed(Vec<(&'static str, Vec<IpAddr>)>),
}

impl Dialer {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            blocked: settings.blocked.clone(),
            insecure: settings.insecure.clone(),
            tls: Tls::new(settings.roots.clone()),
            names: Names::System,
        }
    }

    /// Whether a host may be called in plain HTTP, or with a certificate that nobody vouches for.
    pub(crate) fn is_insecure(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        self.insecure.covers(host, port)
    }

    /// Whether a host may be called in plain HTTP.
    pub(crate) fn may_be_plain(&self, url: &Url) -> bool {
        self.is_insecure(url) || is_loopback(url)
    }

    /// Opens a connection to the host of a URL, with TLS if its scheme says so.
    pub(crate) async fn dial(&self, url: &Url, reach: Reach) -> Result<Box<dyn Stream>, Failed> {
        if url.scheme() != "https" && !self.may_be_plain(url) {
            return Err(Error::new(
                Phase::Connect,
                format!(
                    "http:// is not used for {0}, because anybody on the way could change what is \
                     read; use https://, or add {0} to WASM_INSECURE_REGISTRIES",
                    authority(url)
                ),
            )
            .into());
        }
        let addresses = self.addresses(url, reach).await?;
        let mut silent = None;
        for address in addresses {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
            let connected = connecting.await.unwrap_or_else(|_| {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))
            });
            match connected {
                Ok(stream) => {
                    // Small requests wait for nothing; without it they only take longer.
                    let _ = stream.set_nodelay(true);
                    return self.secure(stream, url).await;
                }
                Err(error) => silent = Some((address, error)),
            }
        }
        let why = match silent {
            Some((address, error)) => format!("{address} cannot be reached: {}", brief(&error)),
            None => format!("{} has no address", authority(url)),
        };
        Err(Failed::Silent(Error::passing(Phase::Connect, why)))
    }

    async fn secure(&self, stream: TcpStream, url: &Url) -> Result<Box<dyn Stream>, Failed> {
        if url.scheme() != "https" {
            return Ok(Box::new(stream));
        }
        let config = if self.is_insecure(url) {
            self.tls.unverified()?
        } else {
            self.tls.verified().await?
        };
        let host = url.host_str().unwrap_or_default();
        let name = match url.host() {
            Some(Host::Ipv4(ip)) => ServerName::IpAddress(IpAddr::V4(ip).into()),
            Some(Host::Ipv6(ip)) => ServerName::IpAddress(IpAddr::V6(ip).into()),
            _ => ServerName::try_from(host.to_owned()).map_err(|_| {
                Error::new(Phase::Connect, format!("{host} is no name of a server"))
            })?,
        };
        match TlsConnector::from(config).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(explain(&authority(url), &error)),
        }
    }

    /// Addresses of a host, all of which may be called.
    async fn addresses(&self, url: &Url, reach: Reach) -> Result<Vec<SocketAddr>> {
        let port = url.port_or_known_default().unwrap_or_default();
        let found: Vec<IpAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) => self.look_up(name, port).await?,
            None => vec![],
        };
        if let Some(bad) = found.iter().find_map(|ip| self.refusal(*ip, url, reach)) {
            // All of them, or a second address would be a way around.
            return Err(Error::new(
                Phase::Resolve,
                format!("{} is not called: {bad}", authority(url)),
            ));
        }
        Ok(found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<IpAddr>> {
        let failed = |why: &str| {
            let why = format!("the name {name} cannot be resolved: {why}");
            Error::passing(Phase::Resolve, why)
        };
        match &self.names {
            Names::System => {
                let found = tokio::net::lookup_host((name, port)).await;
                let found = found.map_err(|error| {
                    let text = error.to_string();
                    let known = text.strip_prefix("failed to lookup address information: ");
                    failed(known.unwrap_or(&text))
                })?;
                Ok(found.map(|address| address.ip()).collect())
            }
            #[cfg(test)]
            Names::Fixed(names) => {
                let known = names.iter().find(|(known, _)| *known == name);
                known
                    .map(|(_, addresses)| addresses.clone())
                    .ok_or_else(|| failed("there is no such name"))
            }
        }
    }

    /// Why an address is not called.
    fn refusal(&self, address: IpAddr, url: &Url, reach: Reach) -> Option<String> {
        let address = embedded(address);
        if let Some(what) = never(address) {
            return Some(format!("{address} is {what}, which no module comes from"));
        }
        if address.is_loopback() && !(reach.loopback && is_loopback(url)) {
            return Some(format!(
                "{address} is this machine itself, and that was not asked for by its own name"
            ));
        }
        let blocked = self.blocked.iter().find(|net| net.contains(&address))?;
        Some(format!(
            "{address} is in {blocked}, which BLOCKED_CIDRS_IN_WASM_FETCH forbids"
        ))
    }
}

/// Host of a URL, with its port if it has one of its own: as credentials and errors name it.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Whether a URL names this machine itself, by a name or address that can mean nothing else.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => embedded(ip.into()).is_loopback(),
        None => false,
    }
}

/// The IPv4 address that an IPv6 one stands for, if it does.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let last = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        // As was meant before there were the others.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => last(high, low),
        // Mapped, NAT64 and 6to4.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => last(high, low),
        _ => address,
    }
}

/// What an address is, if nobody may ever call it.
fn never(address: IpAddr) -> Option<&'static str> {
    const METADATA: [IpAddr; 6] = [
        IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
        IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
        IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
    ];
    let link_local = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
        IpNet::V6(Ipv6Net::new_assert(
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
            10,
        )),
    ];
    let is_this = match address {
        IpAddr::V4(v4) => v4.octets().first() == Some(&0) || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    if METADATA.contains(&address) || address == IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)) {
        Some("a metadata service")
    } else if link_local.iter().any(|net| net.contains(&address)) {
        Some("link-local")
    } else if address.is_multicast() {
        Some("multicast")
    } else if is_this {
        Some("no address of a host")
    } else {
        None
    }
}

/// Says what is wrong with a handshake, and whether it was one.
fn explain(host: &str, error: &io::Error) -> Failed {
    let cause = error.get_ref();
    let cause = cause.and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(why)) => Failed::Final(Error::new(
            Phase::Connect,
            format!(
                "the certificate of {host} is not trusted: {why}; add its authority to the file \
                 that SSL_CERT_FILE names"
            ),
        )),
        Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }) => {
            let why = format!(
                "{host} does not speak TLS; if it is meant to speak plain HTTP, add it to \
                 WASM_INSECURE_REGISTRIES"
            );
            Failed::NotTls(Error::new(Phase::Connect, why))
        }
        Some(other) => Failed::Final(Error::new(
            Phase::Connect,
            format!("TLS with {host} failed: {other}"),
        )),
        None => Failed::NotTls(Error::passing(
            Phase::Connect,
            format!("TLS with {host} failed: {}", brief(error)),
        )),
    }
}

/// An error of the system without its number, which says nothing more.
pub(crate) fn brief(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_owned()
}
