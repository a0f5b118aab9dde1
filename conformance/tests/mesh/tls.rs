//! Certificates, right and wrong, and the TLS of a peer under the test's control.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName as Subject, Error,
    ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use testkit::Mesh;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::places;

const HOUR: Duration = Duration::from_hours(1);

/// An authority that signs what it is told.
pub(crate) struct Authority(Issuer<'static, KeyPair>);

/// What a certificate says; begin with [`Leaf::of`] and spoil one thing.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

/// A certificate with its key.
pub(crate) struct Identity(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Leaf {
    /// A good one.
    pub(crate) fn of(uri: &str) -> Self {
        let now = SystemTime::now();
        Self {
            uris: vec![uri.to_owned()],
            not_before: now - 2 * HOUR,
            not_after: now + HOUR,
        }
    }
}

impl Authority {
    /// The mesh's own.
    pub(crate) fn of(mesh: &Mesh) -> Self {
        let folder = places::state(mesh).join("control/ca");
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
        let key = KeyPair::from_pem(&read("ca-key.pem")).unwrap();
        Self(Issuer::from_ca_cert_pem(&read("ca-cert.pem"), key).unwrap())
    }

    /// One nobody knows, with the name of the mesh's.
    pub(crate) fn stranger() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = &mut params.distinguished_name;
        name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(Issuer::new(params, KeyPair::generate().unwrap()))
    }

    /// Signs a certificate.
    pub(crate) fn sign(&self, leaf: &Leaf) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = |uri: &String| SanType::URI(uri.as_str().try_into().unwrap());
        params.subject_alt_names = leaf.uris.iter().map(uri).collect();
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_before = epoch + since(leaf.not_before);
        params.not_after = epoch + since(leaf.not_after);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Identity(vec![signed.der().clone()], key)
    }
}

/// The identities of a peer's certificate.
pub(crate) fn uris(certificate: &CertificateDer<'_>) -> Vec<String> {
    let (_, parsed) = X509Certificate::from_der(certificate).unwrap();
    let names = parsed.subject_alternative_name().unwrap();
    let names = names.map(|names| names.value.general_names.clone());
    let uri = |name: GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some(uri.to_owned()),
        _ => None,
    };
    names
        .unwrap_or_default()
        .into_iter()
        .filter_map(uri)
        .collect()
}

/// A client that believes any server and shows this, or nothing.
pub(crate) fn client(identity: Option<&Identity>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible(provider())));
    let mut config = match identity {
        Some(Identity(chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_sni = false;
    Arc::new(config)
}

/// A server that believes any client and shows this.
pub(crate) fn server(Identity(chain, key): &Identity) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible(provider())))
        .with_single_cert(chain.clone(), key.clone_key())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// A name to connect to; it is not sent.
pub(crate) fn nobody() -> ServerName<'static> {
    ServerName::from(std::net::IpAddr::from([0, 0, 0, 0]))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Believes anybody: the other side is the one under test.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl Gullible {
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }
}

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[Subject] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
