//! Who vouches for servers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::error::{Error, Phase, Result};
use crate::settings::Roots;

/// How long roots are used before they are read again: they change while a process runs.
const FRESH: Duration = Duration::from_mins(5);

/// TLS settings for servers whose certificate counts, and for those where it does not.
pub(crate) struct Tls {
    roots: Roots,
    provider: Arc<CryptoProvider>,
    verified: Mutex<Option<(Instant, Arc<ClientConfig>)>>,
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Self {
        Self {
            roots,
            provider: Arc::new(crypto::aws_lc_rs::default_provider()),
            verified: Mutex::default(),
        }
    }

    /// Settings that trust anybody.
    pub(crate) fn unverified(&self) -> Result<Arc<ClientConfig>> {
        let any = Arc::new(Anybody(Arc::clone(&self.provider)));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(any)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Settings that trust whom the machine trusts now.
    pub(crate) async fn verified(&self) -> Result<Arc<ClientConfig>> {
        if let Some((read, config)) = &*self.verified.lock()
            && read.elapsed() < FRESH
        {
            return Ok(Arc::clone(config));
        }
        let roots = self.roots.clone();
        let read = tokio::task::spawn_blocking(move || store(&roots)).await;
        let store = read.map_err(|_| failed("reading them failed"))??;
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error.to_string()))?
            .with_root_certificates(store)
            .with_no_client_auth();
        // Sessions are remembered by name: two servers of one host would be taken for each other.
        config.resumption = Resumption::disabled();
        let config = Arc::new(config);
        *self.verified.lock() = Some((Instant::now(), Arc::clone(&config)));
        Ok(config)
    }
}

/// Reads the roots. Blocks.
fn store(roots: &Roots) -> Result<RootCertStore> {
    let (certificates, problem): (Vec<CertificateDer<'static>>, _) = match roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            let problem = found.errors.first().map(ToString::to_string);
            (found.certs, problem)
        }
        Roots::File(path) => {
            let read = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
            (read, None)
        }
    };
    let mut store = RootCertStore::empty();
    let (added, _) = store.add_parsable_certificates(certificates);
    if added == 0 {
        let problem = problem.unwrap_or_else(|| {
            "there are none; install the package ca-certificates, or name a file in SSL_CERT_FILE"
                .to_owned()
        });
        return Err(failed(&problem));
    }
    Ok(store)
}

fn failed(why: &str) -> Error {
    let why = format!("the certificates of authorities that are trusted cannot be read: {why}");
    Error::new(Phase::Connect, why)
}

/// Takes any certificate, for hosts that the operator called insecure.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
