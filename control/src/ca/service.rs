//! Istio's certificate service.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use mesh::Str;
use mesh::spiffe::SpiffeId;
use prost_types::Struct;
use prost_types::value::Kind;
use proto::ca::istio_certificate_service_server::IstioCertificateService;
use proto::ca::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Request, Response, Status};

use super::authority::Authority;
use super::impersonation;
use super::limits::RateLimits;
use super::pods::PodLookup;
use super::request::Unsignable;
use super::tokens::{AUDIENCE, Authenticated, BearerToken, ServiceAccount, TokenReviewer};

#[cfg(test)]
mod tests;

/// Metadata key that names whom the certificate is for, when that is not the caller.
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// What an operator decides about the authority.
#[derive(Clone, Debug)]
pub struct CaSettings {
    /// The mesh's trust domain.
    pub trust_domain: Str,
    /// Accounts of node proxies, which may ask for the certificates of their node's pods.
    pub trusted_node_accounts: BTreeSet<ServiceAccount>,
}

impl Default for CaSettings {
    /// Trust domain `cluster.local`, node proxies of Istio's name.
    fn default() -> Self {
        Self {
            trust_domain: mesh::spiffe::DEFAULT_TRUST_DOMAIN.into(),
            trusted_node_accounts: BTreeSet::from([ServiceAccount::new("istio-system", "ztunnel")]),
        }
    }
}

/// The certificate service.
pub struct CaService {
    authority: Arc<Authority>,
    reviewer: Arc<dyn TokenReviewer>,
    pods: Arc<dyn PodLookup>,
    settings: CaSettings,
    limits: RateLimits,
}

impl CaService {
    /// A service that signs with `authority` for those `reviewer` vouches for.
    pub fn new(
        authority: Arc<Authority>,
        reviewer: Arc<dyn TokenReviewer>,
        pods: Arc<dyn PodLookup>,
        settings: CaSettings,
    ) -> Self {
        Self {
            authority,
            reviewer,
            pods,
            settings,
            limits: RateLimits::default(),
        }
    }

    /// Who the certificate is for. What the caller learns of a refusal is in the [`Status`]; the
    /// reason goes to the log.
    fn bearer(&self, caller: &Authenticated, wanted: Option<&str>) -> Result<SpiffeId, Status> {
        let trust_domain = &self.settings.trust_domain;
        let account = &caller.account;
        let Some(wanted) = wanted else {
            return SpiffeId::workload(trust_domain, &account.namespace, &account.name).map_err(
                |error| {
                    tracing::warn!(%account, %error, "certificate refused");
                    Status::unauthenticated("request authenticate failure")
                },
            );
        };
        let trusted = &self.settings.trusted_node_accounts;
        impersonation::check(caller, wanted, trust_domain, trusted, &*self.pods).map_err(|error| {
            let pod = &caller.pod.name;
            tracing::warn!(%account, pod, wanted, %error, "impersonation refused");
            Status::unauthenticated("request impersonation authentication failure")
        })
    }
}

impl fmt::Debug for CaService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaService")
            .field("authority", &self.authority)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CaService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let caller = match BearerToken::from_metadata(request.metadata()) {
            Ok(token) => self.reviewer.review(&token, AUDIENCE).await,
            Err(refused) => Err(refused),
        };
        let caller = caller.map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "certificate refused"
            );
            Status::unauthenticated("request authenticate failure")
        })?;
        let request = request.into_inner();
        let id = self.bearer(&caller, wanted(request.metadata.as_ref())?)?;
        // A pod without a node is limited by itself: it cannot use up a node's share.
        if !self
            .limits
            .take(caller.node.as_deref().unwrap_or(&caller.pod.uid))
        {
            tracing::warn!(account = %caller.account, node = ?caller.node, "certificates limited");
            return Err(Status::resource_exhausted("too many certificate requests"));
        }
        let seconds = request.validity_duration;
        let cert_chain = self
            .authority
            .sign_workload(&request.csr, &id, seconds)
            .map_err(|error| {
                tracing::warn!(account = %caller.account, %id, %error, "certificate not signed");
                refusal(&error)
            })?;
        tracing::info!(%id, account = %caller.account, node = ?caller.node, "certificate issued");
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

/// Whom the caller wants to be certified as, if not itself.
fn wanted(metadata: Option<&Struct>) -> Result<Option<&str>, Status> {
    let value = metadata.and_then(|metadata| metadata.fields.get(IMPERSONATED_IDENTITY));
    match value.map(|value| &value.kind) {
        None | Some(None | Some(Kind::NullValue(_))) => Ok(None),
        Some(Some(Kind::StringValue(id))) if id.is_empty() => Ok(None),
        Some(Some(Kind::StringValue(id))) => Ok(Some(id)),
        Some(Some(_)) => Err(Status::unauthenticated(
            "request impersonation authentication failure",
        )),
    }
}

fn refusal(error: &Unsignable) -> Status {
    let text = format!("CSR signing error ({error})");
    match error {
        Unsignable::Malformed(_) | Unsignable::NoPossession | Unsignable::UnfitKey(_) => {
            Status::invalid_argument(text)
        }
        Unsignable::IssuerExpired | Unsignable::Encoding(_) | Unsignable::NoRandomness => {
            Status::internal(text)
        }
    }
}
