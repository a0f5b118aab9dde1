//! What a policy may look at.

use std::net::IpAddr;

use crate::request::Request;
use crate::spiffe::SpiffeId;

/// A connection or request, as policies see it.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Verified identity of the peer; `None` without mTLS.
    pub peer: Option<&'a SpiffeId>,
    /// Address of the peer's socket. Never taken from a header.
    pub source_ip: IpAddr,
    /// Address of the original client: the peer's, unless trusted hops in front of it say more.
    pub remote_ip: IpAddr,
    /// Address that was asked for, when it was asked for by address.
    pub destination_ip: Option<IpAddr>,
    /// Port that was asked for.
    pub destination_port: u16,
    /// Server name of the client's TLS, when there is one.
    pub sni: Option<&'a str>,
    /// The request; `None` for opaque bytes.
    pub http: Option<Request<'a>>,
}

impl<'a> Attributes<'a> {
    /// A connection from `source` to a port.
    pub fn connection(
        peer: Option<&'a SpiffeId>,
        source: IpAddr,
        destination_ip: Option<IpAddr>,
        destination_port: u16,
    ) -> Self {
        // An IPv4 client of a dual-stack socket must match IPv4 blocks.
        let source_ip = source.to_canonical();
        Self {
            peer,
            source_ip,
            remote_ip: source_ip,
            destination_ip: destination_ip.map(|ip| ip.to_canonical()),
            destination_port,
            sni: None,
            http: None,
        }
    }

    /// The same connection, carrying a request.
    #[must_use]
    pub fn with_request(self, request: Request<'a>) -> Self {
        Self {
            http: Some(request),
            ..self
        }
    }
}
