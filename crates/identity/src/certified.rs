//! One certificate with its key and roots, and the TLS configurations made from them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh::Str;
use mesh::spiffe::SpiffeId;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use crate::crypto::{self, ALPN_H2};
use crate::verify::{ClientVerifier, Expected, ServerVerifier};
use crate::{Error, PrivateKey, peer_identity, pem};

#[cfg(test)]
mod tests;

/// Client configurations kept per certificate, one for each set of expected identities.
///
/// A proxy with more destinations than this starts the memo anew, which costs microseconds.
const MAX_CLIENT_CONFIGS: usize = 1024;

/// A workload's certificate, ready to be presented.
///
/// Everything is parsed and built once, when the certificate arrives; it never changes after.
pub struct Certified {
    id: SpiffeId,
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    root_certificates: Vec<CertificateDer<'static>>,
    not_before: SystemTime,
    not_after: SystemTime,
    server: Arc<ServerConfig>,
    client: ClientConfig,
    clients: Mutex<HashMap<Expected, Arc<ClientConfig>>>,
}

impl Certified {
    /// Takes the authority's answer for `id`: the leaf, intermediates, and last all roots.
    ///
    /// Peers of `id`'s trust domain and of `trust_domain_aliases` may call this workload.
    ///
    /// # Errors
    /// When the answer has no roots, certifies another identity or key, or cannot be read.
    pub fn new(
        id: &SpiffeId,
        key: &PrivateKey,
        answer: &[String],
        trust_domain_aliases: &[Str],
    ) -> Result<Self, Error> {
        let certificate = |reason: String| Error::Certificate {
            id: id.clone(),
            reason,
        };
        let no_roots = || Error::NoRoots { id: id.clone() };
        let Some((roots, chain)) = answer.split_last().filter(|(_, chain)| !chain.is_empty())
        else {
            return Err(no_roots());
        };
        let read = |text: &String| pem::read(text.as_bytes());
        let unreadable = |error| certificate(format!("it is not PEM ({error:?})"));
        let chain: Vec<Vec<_>> = chain
            .iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        let chain = chain.concat();
        let root_certificates = read(roots).map_err(unreadable)?;
        if root_certificates.is_empty() {
            return Err(no_roots());
        }

        let got = peer_identity(&chain).map_err(|source| Error::Leaf {
            id: id.clone(),
            source,
        })?;
        if got != *id {
            return Err(Error::Identity {
                wanted: id.clone(),
                got,
            });
        }
        let (not_before, not_after) = validity(&chain)
            .ok_or_else(|| certificate("its validity cannot be read".to_owned()))?;

        let mut roots = RootCertStore::empty();
        for root in &root_certificates {
            roots
                .add(root.clone())
                .map_err(|error| certificate(format!("a root: {error}")))?;
        }
        let roots = Arc::new(roots);
        let key = key.certified(chain)?;
        let trust_domains = std::iter::once(id.trust_domain().into())
            .chain(trust_domain_aliases.iter().cloned())
            .collect();
        let server = server_config(Arc::clone(&key), Arc::clone(&roots), trust_domains)
            .map_err(|error| certificate(error.to_string()))?;
        Ok(Self {
            id: id.clone(),
            client: client_config(Arc::clone(&key), Arc::clone(&roots))?,
            key,
            roots,
            root_certificates,
            not_before,
            not_after,
            server: Arc::new(server),
            clients: Mutex::default(),
        })
    }

    /// Who the certificate is for.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The chain as presented, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The roots peers are checked against.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.root_certificates
    }

    /// When the certificate becomes valid.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When the certificate ceases to be valid.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// How this workload serves HBONE: a client certificate of its trust domain is required.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// How this workload calls a server that must be one of `expected`.
    ///
    /// The configuration is kept, so that asking again is a look-up.
    pub fn client_config(&self, expected: &[SpiffeId]) -> Arc<ClientConfig> {
        let expected = Expected::from(expected);
        let mut clients = self.clients.lock();
        if let Some(config) = clients.get(&expected) {
            return Arc::clone(config);
        }
        if clients.len() >= MAX_CLIENT_CONFIGS {
            clients.clear();
        }
        let mut config = self.client.clone();
        let verifier = ServerVerifier::new(Arc::clone(&self.roots), expected.clone());
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        let config = Arc::new(config);
        clients.insert(expected, Arc::clone(&config));
        config
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certified")
            .field("id", &self.id)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn server_config(
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    trust_domains: Arc<[Str]>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let verifier = ClientVerifier::new(roots, trust_domains)?;
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    // Each connection proves the peer anew: no tickets, no stored sessions, no early data.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The base of every client configuration: it accepts nobody until a verifier is set.
fn client_config(
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
) -> Result<ClientConfig, rustls::Error> {
    let nobody = ServerVerifier::new(roots, Expected::from([].as_slice()));
    let mut config = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(nobody))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn validity(chain: &[CertificateDer<'_>]) -> Option<(SystemTime, SystemTime)> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let time =
        |seconds: i64| UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?));
    let validity = leaf.validity();
    Some((
        time(validity.not_before.timestamp())?,
        time(validity.not_after.timestamp())?,
    ))
}
