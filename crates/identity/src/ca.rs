//! The certificate authority's client.
//!
//! Source: `istio.v1.auth.IstioCertificateService`; the ambient wire contract, "CA service".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh::Str;
use mesh::spiffe::SpiffeId;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use proto::ca::IstioCertificateRequest;
use proto::ca::istio_certificate_service_client::IstioCertificateServiceClient;

use crate::channel::AuthenticatedChannel;
use crate::{Certified, Error, Fetcher, PrivateKey};

#[cfg(test)]
mod tests;

/// Metadata key that names whom the certificate is for, when that is not the caller.
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// Asks the authority to sign fresh keys.
#[derive(Clone, Debug)]
pub struct CaClient {
    client: IstioCertificateServiceClient<AuthenticatedChannel>,
    request: RequestShape,
}

/// What is the same in every request.
#[derive(Clone, Debug)]
pub struct RequestShape {
    /// Whether certificates are for others than the caller: a ztunnel asks for its node's pods.
    pub impersonate: bool,
    /// The lifetime asked for; the authority may give less.
    pub validity: Duration,
    /// Trust domains accepted from peers beside each certificate's own.
    pub trust_domain_aliases: Arc<[Str]>,
}

impl Default for RequestShape {
    /// A caller asking for itself, for a day.
    fn default() -> Self {
        Self {
            impersonate: false,
            validity: Duration::from_hours(24),
            trust_domain_aliases: Arc::default(),
        }
    }
}

impl CaClient {
    /// A client that calls over `channel`.
    pub fn new(channel: AuthenticatedChannel, request: RequestShape) -> Self {
        Self {
            client: IstioCertificateServiceClient::new(channel),
            request,
        }
    }
}

impl Fetcher for CaClient {
    async fn fetch(&self, id: &SpiffeId) -> Result<Certified, Error> {
        let key = PrivateKey::generate()?;
        let request = IstioCertificateRequest {
            csr: key.signing_request(id)?,
            validity_duration: i64::try_from(self.request.validity.as_secs()).unwrap_or(i64::MAX),
            metadata: self.request.impersonate.then(|| impersonation(id)),
        };
        let answer = self.client.clone().create_certificate(request).await;
        let answer = answer.map_err(|status| Error::Authority {
            id: id.clone(),
            source: Box::new(status),
        })?;
        let chain = answer.into_inner().cert_chain;
        Certified::new(id, &key, &chain, &self.request.trust_domain_aliases)
    }
}

fn impersonation(id: &SpiffeId) -> Struct {
    let id = Value {
        kind: Some(Kind::StringValue(id.to_string())),
    };
    Struct {
        fields: BTreeMap::from([(IMPERSONATED_IDENTITY.to_owned(), id)]),
    }
}
