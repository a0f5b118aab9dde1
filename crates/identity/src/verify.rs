//! How a peer's certificate is checked, on both ends.
//!
//! webpki proves the chain, its validity and the extended key usage. Here is what it leaves open:
//! the leaf is an end entity meant for signing, carries exactly one SPIFFE ID and nothing else is
//! looked at (no subject, no DNS name); a server asks for its own trust domain or an alias of it,
//! a client for one of the identities it expects.
//! Source: SPIFFE X509-SVID §2–5; the ambient wire contract (ztunnel's `TrustDomainVerifier` and
//! `IdentityVerifier`), stricter in that a second URI SAN is refused (X509-SVID §2).

use std::fmt;
use std::sync::Arc;

use mesh::Str;
use mesh::spiffe::{InvalidSpiffeId, SpiffeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::crypto;

#[cfg(test)]
mod tests;

/// Certificates a peer may present; more is an attack on the path search.
pub const MAX_CHAIN: usize = 8;

/// Tag of a URI among general names (RFC 5280 §4.2.1.6).
const URI_TAG: u32 = 6;

/// Why a peer is not who it has to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    /// The leaf is a certificate authority.
    #[error("the peer's certificate is one of a certificate authority")]
    Authority,
    /// More certificates than [`MAX_CHAIN`].
    #[error("the peer presented a chain of {0} certificates")]
    ChainTooLong(usize),
    /// The URI is not a SPIFFE ID.
    #[error("the peer's URI SAN is invalid")]
    InvalidId(#[from] InvalidSpiffeId),
    /// The key usage does not fit a workload.
    #[error("the peer's key usage {0}")]
    KeyUsage(&'static str),
    /// Nothing was presented.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// There is no URI SAN.
    #[error("the peer's certificate has no URI SAN")]
    NoId,
    /// There is more than one URI SAN.
    #[error("the peer's certificate has {0} URI SANs, and exactly one is allowed")]
    SeveralIds(usize),
    /// The identity is of a foreign trust domain.
    #[error("the peer {peer} is not of trust domain {trust_domain}")]
    TrustDomain {
        /// Who called.
        peer: SpiffeId,
        /// Ours.
        trust_domain: Str,
    },
    /// The identity is none of the expected.
    #[error(
        "identity verification error: peer did not present the expected SAN ({expected}), got {got}"
    )]
    Unexpected {
        /// Who may answer there.
        expected: Expected,
        /// Who answered.
        got: SpiffeId,
    },
    /// The leaf is not an X.509 certificate.
    #[error("the peer's certificate cannot be read")]
    Unreadable,
}

/// The identities a client accepts at the other end.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Expected(Arc<[SpiffeId]>);

impl From<&[SpiffeId]> for Expected {
    fn from(ids: &[SpiffeId]) -> Self {
        Self(ids.into())
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, id) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{id}")?;
        }
        Ok(())
    }
}

/// Reads the identity out of a chain, leaf first, that TLS has verified.
///
/// # Errors
/// When the leaf breaks a rule of this module; a chain of an established connection never does.
pub fn peer_identity(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, Refused> {
    let leaf = chain.first().ok_or(Refused::NoCertificate)?;
    let (rest, leaf) = X509Certificate::from_der(leaf).map_err(|_| Refused::Unreadable)?;
    if !rest.is_empty() {
        return Err(Refused::Unreadable);
    }
    check_usage(&leaf)?;
    only_id(&leaf)
}

/// Checks that the leaf is made for a workload to sign with (T-06).
fn check_usage(leaf: &X509Certificate<'_>) -> Result<(), Refused> {
    let constraints = leaf.basic_constraints().map_err(|_| Refused::Unreadable)?;
    if constraints.is_some_and(|constraints| constraints.value.ca) {
        return Err(Refused::Authority);
    }
    let usage = leaf.key_usage().map_err(|_| Refused::Unreadable)?;
    let usage = usage.ok_or(Refused::KeyUsage("is missing"))?;
    if !usage.critical {
        return Err(Refused::KeyUsage("is not critical"));
    }
    if !usage.value.digital_signature() {
        return Err(Refused::KeyUsage("does not allow digital signatures"));
    }
    if usage.value.key_cert_sign() || usage.value.crl_sign() {
        return Err(Refused::KeyUsage("allows signing certificates"));
    }
    Ok(())
}

/// Reads the leaf's one URI SAN (T-03).
fn only_id(leaf: &X509Certificate<'_>) -> Result<SpiffeId, Refused> {
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| Refused::Unreadable)?;
    let names = names
        .map(|names| names.value.general_names.as_slice())
        .unwrap_or_default();
    let mut ids = names.iter().filter_map(|name| match name {
        GeneralName::URI(uri) => Some(Ok(*uri)),
        GeneralName::Invalid(tag, _) if tag.0 == URI_TAG => Some(Err(Refused::Unreadable)),
        _ => None,
    });
    let id = ids.next().ok_or(Refused::NoId)??;
    match ids.count() {
        0 => Ok(id.parse::<SpiffeId>()?),
        more => Err(Refused::SeveralIds(more + 1)),
    }
}

/// Finds our own reason in an error of rustls.
pub(crate) fn refusal(error: &rustls::Error) -> Option<&Refused> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) => {
            reason.downcast_ref()
        }
        _ => None,
    }
}

fn refuse(reason: Refused) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

fn check_length(intermediates: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    let presented = intermediates.len() + 1;
    if presented > MAX_CHAIN {
        Err(refuse(Refused::ChainTooLong(presented)))
    } else {
        Ok(())
    }
}

/// TLS 1.2 is never negotiated, so its signatures are never asked about.
fn no_tls12() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General(
        "TLS 1.2 is not spoken here".to_owned(),
    ))
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    crypto::provider().signature_verification_algorithms
}

/// What a server asks of its clients: a chain to the roots, and our trust domain.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    /// Our own, then its aliases.
    trust_domains: Arc<[Str]>,
}

impl ClientVerifier {
    /// `trust_domains` is our own, then its aliases.
    pub(crate) fn new(
        roots: Arc<RootCertStore>,
        trust_domains: Arc<[Str]>,
    ) -> Result<Self, rustls::server::VerifierBuilderError> {
        let chain =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots, crypto::provider())
                // Peers have one certificate; hints would only lengthen the handshake.
                .clear_root_hint_subjects()
                .build()?;
        Ok(Self {
            chain,
            trust_domains,
        })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        check_length(intermediates)?;
        let verified = self.chain.verify_client_cert(leaf, intermediates, now)?;
        let peer = peer_identity(std::slice::from_ref(leaf)).map_err(refuse)?;
        if self
            .trust_domains
            .iter()
            .any(|domain| **domain == *peer.trust_domain())
        {
            return Ok(verified);
        }
        let trust_domain = self.trust_domains.first().cloned().unwrap_or_default();
        Err(refuse(Refused::TrustDomain { peer, trust_domain }))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
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

/// What a client asks of the server: a chain to the roots, and one of the expected identities.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    roots: Arc<RootCertStore>,
    expected: Expected,
}

impl ServerVerifier {
    pub(crate) fn new(roots: Arc<RootCertStore>, expected: Expected) -> Self {
        Self { roots, expected }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        check_length(intermediates)?;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            intermediates,
            now,
            algorithms().all,
        )?;
        let got = peer_identity(std::slice::from_ref(leaf)).map_err(refuse)?;
        if self.expected.0.contains(&got) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(refuse(Refused::Unexpected {
            expected: self.expected.clone(),
            got,
        }))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}
