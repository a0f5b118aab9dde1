//! Bytes to an endpoint: through a pooled tunnel to its node's proxy, or plain TCP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hbone::client::ConnectRequest;
use hbone::headers::{FORWARDED, Forwarded};
use hbone::pool::{self, Pool};
use hbone::{Authority, Tunnel};
use http::HeaderMap;
use identity::keyring::Unavailable;
use identity::{CertSource, handshake};
use mesh::spiffe::SpiffeId;
use runtime::LocalTasks;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::endpoint::{Endpoint, Transport};

/// How long a connection to an endpoint may take, tunnel included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to an endpoint. Nothing of the client's has been sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// TCP failed.
    #[error("cannot connect to {0}")]
    Tcp(SocketAddr, #[source] io::Error),
    /// TCP or the tunnel took too long.
    #[error("no connection to {0} in time")]
    Timeout(SocketAddr),
    /// The node's proxy gave no tunnel.
    #[error("no tunnel to {0}")]
    Tunnel(SocketAddr, #[source] pool::Error<DialError>),
    /// HTTP did not begin.
    #[error("no HTTP with {0}")]
    Http(SocketAddr, #[source] hyper::Error),
}

/// Why there is no connection to a node's proxy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// TCP failed.
    #[error("cannot connect to {0}")]
    Tcp(SocketAddr, #[source] io::Error),
    /// There is no certificate to connect with.
    #[error(transparent)]
    Identity(#[from] Unavailable),
    /// The other end is not who it has to be, or TLS failed.
    #[error(transparent)]
    Tls(#[from] handshake::Error),
}

/// What makes two tunnel connections differ. Our own identity is the same for all.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct TunnelKey {
    to: SocketAddr,
    identities: Box<[SpiffeId]>,
}

/// Makes connections; one for each worker.
#[derive(Debug)]
pub(crate) struct Connector {
    pool: Pool<TunnelKey, DialError>,
    certificate: CertSource,
    own: SocketAddr,
}

impl Connector {
    /// A connector that acts as `certificate` says and has its connections run by `tasks`.
    ///
    /// * `own` — our address, told to the other end for its logs.
    pub(crate) fn new(certificate: CertSource, own: SocketAddr, tasks: LocalTasks) -> Self {
        let spawn = move |driver| tasks.spawn("tunnel connection", driver);
        Self {
            pool: Pool::new(hbone::Settings::default(), spawn),
            certificate,
            own,
        }
    }

    /// Opens a stream of bytes to an endpoint, at most until `deadline`.
    ///
    /// * `host` — the service it is for, a hint for the other end's metrics.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// See [`Error`]; trying another endpoint is always legal.
    pub(crate) async fn open(
        &self,
        endpoint: &Endpoint,
        host: Option<&str>,
        deadline: Instant,
    ) -> Result<Stream, Error> {
        let address = endpoint.address;
        match &endpoint.transport {
            Transport::Plain => {
                let connected = timeout_at(deadline, TcpStream::connect(address)).await;
                let stream = connected.map_err(|_| Error::Timeout(address))?;
                let stream = stream.map_err(|error| Error::Tcp(address, error))?;
                // Without it small messages wait; a socket that refuses works all the same.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
            Transport::Tunnel {
                to,
                identity,
                alternatives,
            } => {
                let identities = std::iter::once(identity)
                    .chain(alternatives)
                    .cloned()
                    .collect();
                let key = TunnelKey {
                    to: *to,
                    identities,
                };
                let mut headers = HeaderMap::new();
                if let Some(forwarded) = Forwarded::header(self.own, host) {
                    headers.insert(FORWARDED, forwarded);
                }
                let request = ConnectRequest {
                    authority: Authority::from(address),
                    headers,
                };
                let connect = async || self.dial(&key).await;
                let opened = self.pool.open(&key, connect, &request, deadline).await;
                let opened = opened.map_err(|error| Error::Tunnel(address, error))?;
                Ok(Stream::Tunnel(opened.tunnel))
            }
        }
    }

    async fn dial(
        &self,
        key: &TunnelKey,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DialError> {
        let certified = self.certificate.get().await?;
        let stream = TcpStream::connect(key.to).await;
        let stream = stream.map_err(|error| DialError::Tcp(key.to, error))?;
        let _ = stream.set_nodelay(true);
        let config = certified.client_config(&key.identities);
        let (tls, _) = handshake::connect(config, stream).await?;
        Ok(tls)
    }
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// A tunnel.
    Tunnel(Tunnel),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tunnel(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tunnel(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tunnel(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tunnel(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
