//! The listener's own certificate, signed by our authority and renewed at half its life.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use identity::crypto::{self, ALPN_H2};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ServeError;
use crate::ca::Authority;

#[cfg(test)]
mod tests;

/// Rest after a renewal that failed, and the longest sleep: a wall clock that was set is noticed
/// this soon.
const PAUSE: Duration = Duration::from_mins(1);

/// The names of a control plane in `namespace`, as proxies know it: Istio's service and ourselves.
pub fn default_names(namespace: &str, cluster_domain: &str) -> Vec<String> {
    vec![
        format!("istiod.{namespace}.svc"),
        format!("istiod.{namespace}.svc.{cluster_domain}"),
        format!("istiod.{namespace}"),
        "istiod".to_owned(),
        "localhost".to_owned(),
    ]
}

/// Who the listener is.
pub(super) struct ServerIdentity {
    authority: Arc<Authority>,
    names: Vec<String>,
    presented: Arc<Presented>,
    config: Arc<ServerConfig>,
}

/// What the next client is shown.
struct Presented(ArcSwap<Certificate>);

struct Certificate {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("renew_at", &self.0.load().renew_at)
            .finish()
    }
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().key))
    }
}

impl ServerIdentity {
    pub(super) fn new(authority: Arc<Authority>, names: Vec<String>) -> Result<Self, ServeError> {
        let certificate = sign(&authority, &names)?;
        let presented = Arc::new(Presented(ArcSwap::from_pointee(certificate)));
        let config = server_config(Arc::clone(&presented))?;
        Ok(Self {
            authority,
            names,
            presented,
            config: Arc::new(config),
        })
    }

    /// How the listener speaks TLS.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Renews the certificate for ever; connections that are open keep what they saw.
    pub(super) async fn renew(&self) -> Infallible {
        loop {
            let renew_at = self.presented.0.load().renew_at;
            let left = renew_at
                .duration_since(SystemTime::now())
                .unwrap_or_default();
            if !left.is_zero() {
                tokio::time::sleep(left.min(PAUSE)).await;
                continue;
            }
            match sign(&self.authority, &self.names) {
                Ok(certificate) => {
                    self.presented.0.store(Arc::new(certificate));
                    tracing::info!("listener certificate renewed");
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "listener certificate not renewed",
                    );
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// TLS 1.3 and h2 only. Clients are known by their tokens.
fn server_config(presented: Arc<Presented>) -> Result<ServerConfig, ServeError> {
    let mut config = ServerConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(presented);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn sign(authority: &Authority, names: &[String]) -> Result<Certificate, ServeError> {
    let signed = authority.sign_server(names)?;
    let (from, to) = signed.valid;
    let renew_at = from + to.duration_since(from).unwrap_or_default() / 2;
    Ok(Certificate {
        key: signed.key.certified(signed.chain)?,
        renew_at,
    })
}
