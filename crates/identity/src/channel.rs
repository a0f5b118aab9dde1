//! A gRPC channel to the control plane.
//!
//! The server is checked by DNS name against roots from a file, not by SPIFFE ID: a proxy has no
//! identity yet when it first calls. The file and the address are looked up anew at every connect,
//! so that a new root and a moved server need no restart. There is no plaintext channel.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt, service_fn};

use crate::crypto::{self, ALPN_H2};
use crate::{Credentials, Error, pem};

#[cfg(test)]
mod tests;

/// TCP connect and TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// HTTP/2 ping on a quiet connection, and how long its answer may take: a black hole is noticed
/// within 40 s.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// TCP keepalive as ztunnel sets it.
const TCP_KEEPALIVE: Duration = Duration::from_mins(5);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(75);
const TCP_KEEPALIVE_PROBES: u32 = 9;

/// A channel whose every call carries [`Credentials`].
pub type AuthenticatedChannel = InterceptedService<Channel, Credentials>;

/// Roots that vouch for the control plane.
#[derive(Clone, Debug)]
pub enum Roots {
    /// A PEM file, read at every connect.
    File(PathBuf),
    /// PEM text.
    Pem(String),
}

/// A control plane: where it is and how it is recognised.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// `https://host:port`; the scheme may be left out.
    pub address: String,
    /// Who vouches for it.
    pub roots: Roots,
    /// A second name its certificate may have instead of the address' host.
    pub alternative_name: Option<String>,
}

/// Prepares a channel; the first call connects, and so does each one after a lost connection.
///
/// Needs a tokio runtime around it, whose tasks drive the connections.
///
/// # Errors
/// [`Error::Address`] when the address is not `https` or a name is no DNS name.
pub fn open(to: &ControlPlane) -> Result<Channel, Error> {
    let uri = parse_address(&to.address)?;
    let host = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let names = std::iter::once(host)
        .chain(to.alternative_name.as_deref())
        .map(|name| {
            ServerName::try_from(name.to_owned()).map_err(|_| Error::Address {
                address: name.to_owned(),
                reason: "the server is checked by name, and this is neither a DNS name nor an IP",
            })
        })
        .collect::<Result<Arc<[_]>, _>>()?;
    let roots = to.roots.clone();
    let connector = service_fn(move |uri: Uri| connect(uri, Arc::clone(&names), roots.clone()));
    Ok(Endpoint::from(uri)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

/// Like [`open`], with credentials on every call.
///
/// # Errors
/// As [`open`].
pub fn open_authenticated(
    to: &ControlPlane,
    credentials: Credentials,
) -> Result<AuthenticatedChannel, Error> {
    Ok(InterceptedService::new(open(to)?, credentials))
}

fn parse_address(address: &str) -> Result<Uri, Error> {
    let invalid = |reason| Error::Address {
        address: address.to_owned(),
        reason,
    };
    let uri: Uri = address
        .parse()
        .map_err(|_| invalid("write https://host:port"))?;
    if uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS) {
        return Err(invalid("the control plane is reached over https only"));
    }
    let authority: &Authority = uri.authority().ok_or(invalid("the host is missing"))?;
    if authority.port().is_none() {
        return Err(invalid("the port is missing"));
    }
    Uri::builder()
        .scheme(Scheme::HTTPS)
        .authority(authority.clone())
        .path_and_query(PathAndQuery::from_static("/"))
        .build()
        .map_err(|_| invalid("write https://host:port"))
}

async fn connect(
    uri: Uri,
    names: Arc<[ServerName<'static>]>,
    roots: Roots,
) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let config = tls_config(&roots, Arc::clone(&names)).map_err(io::Error::other)?;
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    connector.set_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL));
    connector.set_keepalive_retries(Some(TCP_KEEPALIVE_PROBES));
    let tcp = connector
        .ready()
        .await
        .map_err(io::Error::other)?
        .call(uri)
        .await;
    let tcp = tcp.map_err(io::Error::other)?.into_inner();
    let name = names.first().cloned().ok_or(io::ErrorKind::InvalidInput)?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    if tls.get_ref().1.alpn_protocol() != Some(ALPN_H2) {
        return Err(io::Error::other("the control plane did not agree on h2"));
    }
    Ok(TokioIo::new(tls))
}

fn tls_config(roots: &Roots, names: Arc<[ServerName<'static>]>) -> Result<ClientConfig, Error> {
    let verifier = NamedServerVerifier {
        chain: webpki_verifier(roots)?,
        names,
    };
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn webpki_verifier(roots: &Roots) -> Result<Arc<WebPkiServerVerifier>, Error> {
    let (path, text) = match roots {
        Roots::File(path) => (path.clone(), std::fs::read(path)),
        Roots::Pem(text) => (
            PathBuf::from("the configuration"),
            Ok(text.clone().into_bytes()),
        ),
    };
    let unusable = |reason: String| Error::Roots {
        path: path.clone(),
        reason,
    };
    let text = text.map_err(|error| unusable(error.to_string()))?;
    let mut store = RootCertStore::empty();
    for root in pem::read(&text).map_err(|error| unusable(format!("{error:?}")))? {
        store
            .add(root)
            .map_err(|error| unusable(error.to_string()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), crypto::provider())
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// Accepts a server that has any of `names`.
#[derive(Debug)]
struct NamedServerVerifier {
    chain: Arc<WebPkiServerVerifier>,
    names: Arc<[ServerName<'static>]>,
}

impl ServerCertVerifier for NamedServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut refused = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        for name in self.names.iter() {
            match self
                .chain
                .verify_server_cert(leaf, intermediates, name, ocsp, now)
            {
                Err(
                    error @ rustls::Error::InvalidCertificate(
                        CertificateError::NotValidForName
                        | CertificateError::NotValidForNameContext { .. },
                    ),
                ) => refused = error,
                verdict => return verdict,
            }
        }
        Err(refused)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
