//! Mutual TLS on a byte stream, ending in the peer's identity.
//!
//! rustls lets a peer without any application protocol pass; the mesh does not (T-02), so both
//! ends look again once the handshake is done. Note that in TLS 1.3 a client's handshake is over
//! before the server has looked at its certificate: a refused client learns it at its first read.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use mesh::spiffe::SpiffeId;
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::crypto::ALPN_H2;
use crate::verify::{Refused, peer_identity, refusal};

#[cfg(test)]
mod tests;

/// How long a client may take to finish its handshake (T-13).
pub const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection broke, or the peer did not speak TLS.
    #[error("tls error")]
    Io(#[source] io::Error),
    /// The peer did not agree on `h2`.
    #[error("tls error: the peer did not offer h2")]
    Protocol,
    /// The peer is not who it has to be.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The client took longer than [`ACCEPT_TIMEOUT`].
    #[error("tls error: no handshake within {} s", ACCEPT_TIMEOUT.as_secs())]
    Timeout,
    /// The protocol failed, or the chain did not verify.
    #[error("tls error")]
    Tls(#[source] rustls::Error),
}

impl Error {
    /// A word for metrics and logs; the set is closed.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Protocol => "protocol",
            Self::Refused(_) => "refused",
            Self::Timeout => "timeout",
            Self::Tls(_) => "tls",
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            Some(tls) => match refusal(tls) {
                Some(refused) => Self::Refused(refused.clone()),
                None => Self::Tls(tls.clone()),
            },
            None => Self::Io(error),
        }
    }
}

/// Serves the handshake of one client and returns who it is.
///
/// Cancel safe in that nothing but the connection is lost.
///
/// # Errors
/// See [`Error`]; the client gets a TLS alert and not one byte of HTTP/2.
pub async fn accept<IO>(
    config: Arc<ServerConfig>,
    io: IO,
) -> Result<(server::TlsStream<IO>, SpiffeId), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsAcceptor::from(config).accept(io);
    let stream = tokio::time::timeout(ACCEPT_TIMEOUT, handshake)
        .await
        .map_err(|_| Error::Timeout)??;
    let peer = peer(stream.get_ref().1)?;
    Ok((stream, peer))
}

/// Opens the handshake with a server and returns who it is.
///
/// The caller owns the deadline, which also covers the connect before. Cancel safe.
///
/// # Errors
/// See [`Error`].
pub async fn connect<IO>(
    config: Arc<ClientConfig>,
    io: IO,
) -> Result<(client::TlsStream<IO>, SpiffeId), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // rustls wants a name; an address is never sent as SNI, and the verifier ignores it.
    let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let stream = TlsConnector::from(config).connect(nobody, io).await?;
    let peer = peer(stream.get_ref().1)?;
    Ok((stream, peer))
}

fn peer(connection: &CommonState) -> Result<SpiffeId, Error> {
    if connection.alpn_protocol() != Some(ALPN_H2) {
        return Err(Error::Protocol);
    }
    Ok(peer_identity(
        connection.peer_certificates().unwrap_or_default(),
    )?)
}
