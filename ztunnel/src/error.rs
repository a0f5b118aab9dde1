//! Why a connection did not come about or did not last.
//!
//! The texts are those people search logs for; the flags are those dashboards group by.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use mesh::authz::Denied;
use mesh::store::{HopError, MissingPolicy};
use telemetry::tcp::Flag;

/// Why a connection failed. Alphabetical.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("connection failed: {0}")]
    Connect(#[source] io::Error),
    #[error("connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: {0}")]
    ConnectTimeout(SocketAddr),
    #[error("{0}")]
    Copy(hbone::copy::Failure),
    #[error("connection closed due to policy rejection: {0}")]
    Denied(Denied),
    #[error("connection closed due to connection drain")]
    Drained,
    #[error(transparent)]
    Hop(#[from] HopError),
    #[error("{0}")]
    Identity(#[from] identity::keyring::Unavailable),
    #[error("ip mismatch: {0} != {1}")]
    IpMismatch(SocketAddr, SocketAddr),
    #[error("connection closed due to policy rejection: {0}")]
    MissingPolicy(#[from] MissingPolicy),
    #[error("no service for target address: {0}")]
    NoService(String),
    #[error("connection closed due to policy change")]
    PolicyChanged,
    #[error("{0}")]
    Rejected(#[from] hbone::server::Rejected),
    #[error("attempted recursive call to ourselves")]
    SelfCall,
    /// Connecting failed for all who waited for the same connection.
    #[error("{0}")]
    Shared(Arc<Self>),
    #[error("{0}")]
    Server(#[from] hbone::server::Error),
    #[error("{0}")]
    Tls(#[from] identity::handshake::Error),
    #[error("{0}")]
    Tunnel(hbone::client::Error),
    #[error("failed to fetch information about local workload: {0}")]
    UnknownWorkload(String),
}

impl Error {
    /// The label value of `response_flags`.
    pub(crate) fn flag(&self) -> Flag {
        match self {
            Self::Denied(_) | Self::MissingPolicy(_) | Self::PolicyChanged => Flag::Denied,
            Self::ConnectTimeout(_) => Flag::NetworkPolicy,
            Self::Identity(_) => Flag::IdentityError,
            Self::Shared(error) => error.flag(),
            Self::Tls(_) => Flag::TlsFailure,
            Self::Tunnel(hbone::client::Error::Refused(_)) => Flag::Connect,
            Self::Tunnel(_) => Flag::H2Failure,
            _ => Flag::Connect,
        }
    }

    /// What a CONNECT is answered with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Denied(_) | Self::MissingPolicy(_) => StatusCode::UNAUTHORIZED,
            Self::Rejected(_) | Self::IpMismatch(..) => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The whole story in one line: this error and its causes.
    pub(crate) fn line(&self) -> String {
        runtime::report(self)
    }
}
